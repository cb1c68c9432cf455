/*
 * The database: named tables of ordered byte keys in one LMDB environment. Only db*.c know
 * lmdb.h, through db_parts.h.
 *
 * Values returned by get and by cursors live until the next change in the same transaction or until
 * its end. Every function may return NOMEM, IO, NOSPC, CORRUPT.
 *
 * Thread rules: a write transaction stays on the thread that began it; there is one at a time (a second
 * begin waits). Read transactions may move between threads. Keep them short: a long reader makes the
 * file grow.
 */
#ifndef CKPT_STORE_DB_H
#define CKPT_STORE_DB_H

#include <ckpt/err.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ckpt_db;
struct ckpt_txn;
struct ckpt_cursor;

/* See FORMAT.md for keys and values. */
enum ckpt_table {
    CKPT_TABLE_META,
    CKPT_TABLE_OBJECTS,
    CKPT_TABLE_REFS,
    CKPT_TABLE_DEPENDENTS,
    CKPT_TABLE_GARBAGE,
    CKPT_TABLE_DIRS,
    CKPT_TABLE_DIRNAMES,
    CKPT_TABLE_FILES,
    CKPT_TABLE_VERSIONS,
    CKPT_TABLE_CAPTURES,
    CKPT_TABLE_FRESH,
    CKPT_TABLE_RUNS,
    CKPT_TABLE_CHECKPOINTS,
    CKPT_TABLE_MEMBERS,
    CKPT_TABLE_IDS,
    CKPT_TABLE_PROCESSES,
    CKPT_TABLE_POLICIES,
    CKPT_TABLES
};

struct ckpt_slice {
    const void *data;
    size_t size;
};

/*
 * Opens STORE/db (PATH, an existing directory), creating the tables when WRITABLE. MAP_SIZE bounds the
 * database; it is address space, not memory. Checks that the file is as long as its pages say before
 * anything is read through the map. Commits with an I/O error are final: see ckpt_txn_commit.
 */
CKPT_MUST_USE enum ckpt_err ckpt_db_open(const char *path, bool writable, size_t map_size,
                                         const struct ckpt_report *report, struct ckpt_db **db);
void ckpt_db_close(struct ckpt_db *db); /* NULL is fine */

CKPT_MUST_USE enum ckpt_err ckpt_txn_read(struct ckpt_db *db, struct ckpt_txn **txn);
CKPT_MUST_USE enum ckpt_err ckpt_txn_write(struct ckpt_db *db, struct ckpt_txn **txn);

/* Frees TXN in every case. NOSPC: nothing was changed, try later. IO: the sync or the write failed; the
   caller stops the store. */
CKPT_MUST_USE enum ckpt_err ckpt_txn_commit(struct ckpt_txn *txn);
void ckpt_txn_abort(struct ckpt_txn *txn); /* NULL is fine */

CKPT_MUST_USE enum ckpt_err ckpt_db_get(struct ckpt_txn *txn, enum ckpt_table table,
                                        const void *key, size_t key_size, struct ckpt_slice *value);
CKPT_MUST_USE enum ckpt_err ckpt_db_put(struct ckpt_txn *txn, enum ckpt_table table, const void *key,
                                        size_t key_size, const void *value, size_t size);
/* EXISTS when the key is there. */
CKPT_MUST_USE enum ckpt_err ckpt_db_insert(struct ckpt_txn *txn, enum ckpt_table table,
                                           const void *key, size_t key_size, const void *value,
                                           size_t size);
CKPT_MUST_USE enum ckpt_err ckpt_db_del(struct ckpt_txn *txn, enum ckpt_table table, const void *key,
                                        size_t key_size);

CKPT_MUST_USE enum ckpt_err ckpt_cursor_open(struct ckpt_txn *txn, enum ckpt_table table,
                                             struct ckpt_cursor **cursor);
void ckpt_cursor_close(struct ckpt_cursor *cursor); /* before its transaction ends; NULL is fine */

/* The first entry with key >= KEY (any, when KEY is NULL); then the next and the previous one.
   NOT_FOUND at either end. prev after a failed seek gives the last entry of the table. */
CKPT_MUST_USE enum ckpt_err ckpt_cursor_seek(struct ckpt_cursor *cursor, const void *key,
                                             size_t key_size, struct ckpt_slice *found,
                                             struct ckpt_slice *value);
CKPT_MUST_USE enum ckpt_err ckpt_cursor_next(struct ckpt_cursor *cursor, struct ckpt_slice *found,
                                             struct ckpt_slice *value);
CKPT_MUST_USE enum ckpt_err ckpt_cursor_prev(struct ckpt_cursor *cursor, struct ckpt_slice *found,
                                             struct ckpt_slice *value);

/* VALUE is going to be read: lets the host fetch it from the disk meanwhile. Costs nothing where it is there already. */
void ckpt_db_prefetch(const struct ckpt_slice *value);

/* Entries in a table, and host bytes that the database file occupies. */
CKPT_MUST_USE enum ckpt_err ckpt_db_count(struct ckpt_txn *txn, enum ckpt_table table, uint64_t *n);
CKPT_MUST_USE enum ckpt_err ckpt_db_host_bytes(struct ckpt_db *db, uint64_t *bytes);

/*
 * Gives free pages back to the host filesystem by punching holes, at most MAX_BYTES in this step;
 * *PUNCHED receives the bytes, *MORE whether pages are left that could go now. Pages freed by the last
 * two transactions, or visible to a reader, wait. UNSUPPORTED: the host can't punch (reported once).
 */
CKPT_MUST_USE enum ckpt_err ckpt_db_punch(struct ckpt_db *db, uint64_t max_bytes, uint64_t *punched,
                                          bool *more);

#endif
