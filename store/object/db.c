/*
 * The database over LMDB 0.9: transactions and entries, and what LMDB's errors mean.
 */
#include "db_parts.h"
#include <ckpt/host.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Bytes free on the host below which EIO is taken for a short write. */
enum { NEARLY_FULL = 16 << 20 };

struct ckpt_cursor {
    MDB_cursor *mdb;
    struct ckpt_db *db;
    enum { AT_ENTRY, AT_START, AT_END } at;
};

enum ckpt_err ckpt_db_err(int rc)
{
    switch (rc) {
    case MDB_SUCCESS:
        return CKPT_OK;
    case MDB_NOTFOUND:
        return CKPT_ERR_NOT_FOUND;
    case MDB_KEYEXIST:
        return CKPT_ERR_EXISTS;
    case MDB_MAP_FULL:
        return CKPT_ERR_NOSPC;
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_INCOMPATIBLE:
        return CKPT_ERR_CORRUPT;
    case MDB_VERSION_MISMATCH:
        return CKPT_ERR_FORMAT;
    case MDB_READERS_FULL:
        return CKPT_ERR_BUSY;
    case MDB_TXN_FULL:
    case MDB_CURSOR_FULL:
        return CKPT_ERR_NOMEM;
    case MDB_BAD_VALSIZE:
        return CKPT_ERR_INVALID;
    default:
        return rc > 0 ? ckpt_err_from_errno(rc) : CKPT_ERR_IO;
    }
}

int ckpt_db_fd(const struct ckpt_db *db)
{
    mdb_filehandle_t fd = -1;
    return mdb_env_get_fd(db->env, &fd) == MDB_SUCCESS ? fd : -1;
}

/* LMDB says EIO for a write that came back short, which is what a full host does. */
enum ckpt_err ckpt_db_write_err(const struct ckpt_db *db, int rc)
{
    struct statvfs host;
    if (rc == EIO && ckpt_host_fstatvfs(ckpt_db_fd(db), &host) == 0) {
        uint64_t blocks = geteuid() == 0 ? host.f_bfree : host.f_bavail;
        if (blocks * host.f_frsize < NEARLY_FULL) {
            return CKPT_ERR_NOSPC;
        }
    }
    return ckpt_db_err(rc);
}

/* ---- Transactions ---- */

static enum ckpt_err begin(struct ckpt_db *db, bool write, struct ckpt_txn **txn)
{
    struct ckpt_txn *begun = calloc(1, sizeof *begun);
    if (begun == NULL) {
        return CKPT_ERR_NOMEM;
    }
    begun->db = db;
    begun->write = write;
    int rc = mdb_txn_begin(db->env, NULL, write ? 0 : MDB_RDONLY, &begun->mdb);
    enum ckpt_err err = ckpt_db_err(rc);
    if (err == CKPT_OK && write) {
        err = ckpt_db_keep_margin(db);
    }
    if (err != CKPT_OK) {
        ckpt_txn_abort(begun);
        return err;
    }
    *txn = begun;
    return CKPT_OK;
}

enum ckpt_err ckpt_txn_read(struct ckpt_db *db, struct ckpt_txn **txn)
{
    return begin(db, false, txn);
}

enum ckpt_err ckpt_txn_write(struct ckpt_db *db, struct ckpt_txn **txn)
{
    return begin(db, true, txn);
}

enum ckpt_err ckpt_txn_commit(struct ckpt_txn *txn)
{
    enum ckpt_err err;
    if (txn->write && ckpt_host_commit() != 0) {
        err = errno == ENOSPC ? CKPT_ERR_NOSPC : CKPT_ERR_IO;
    } else {
        int rc = mdb_txn_commit(txn->mdb); /* frees it in every case */
        txn->mdb = NULL;
        err = ckpt_db_write_err(txn->db, rc);
    }
    ckpt_txn_abort(txn);
    return err;
}

void ckpt_txn_abort(struct ckpt_txn *txn)
{
    if (txn == NULL) {
        return;
    }
    if (txn->mdb != NULL) {
        mdb_txn_abort(txn->mdb);
    }
    free(txn);
}

/* ---- Entries ---- */

/* LMDB's values are not const, though it doesn't change what it is given. */
static MDB_val to_mdb(const void *data, size_t size)
{
    union {
        const void *from;
        void *to;
    } cast = {.from = data};
    return (MDB_val){.mv_size = size, .mv_data = cast.to};
}

static struct ckpt_slice from_val(const MDB_val *val)
{
    return (struct ckpt_slice){.data = val->mv_data, .size = val->mv_size};
}

enum ckpt_err ckpt_db_get(struct ckpt_txn *txn, enum ckpt_table table, const void *key,
                          size_t key_size, struct ckpt_slice *value)
{
    MDB_val k = to_mdb(key, key_size);
    MDB_val v;
    int rc = mdb_get(txn->mdb, txn->db->tables[table], &k, &v);
    if (rc == MDB_SUCCESS) {
        *value = from_val(&v);
    }
    return ckpt_db_err(rc);
}

static enum ckpt_err put(struct ckpt_txn *txn, enum ckpt_table table, const void *key,
                         size_t key_size, const void *value, size_t size, unsigned flags)
{
    MDB_val k = to_mdb(key, key_size);
    MDB_val v = to_mdb(value, size);
    int rc = mdb_put(txn->mdb, txn->db->tables[table], &k, &v, flags);
    return ckpt_db_write_err(txn->db, rc);
}

void ckpt_db_prefetch(const struct ckpt_slice *value)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = (uintptr_t)value->data & ~(page - 1);
    uintptr_t end = (uintptr_t)value->data + value->size;
    (void)madvise((void *)from, end - from, MADV_WILLNEED); /* NOLINT(performance-no-int-to-ptr) */
}

enum ckpt_err ckpt_db_put(struct ckpt_txn *txn, enum ckpt_table table, const void *key,
                          size_t key_size, const void *value, size_t size)
{
    return put(txn, table, key, key_size, value, size, 0);
}

enum ckpt_err ckpt_db_insert(struct ckpt_txn *txn, enum ckpt_table table, const void *key,
                             size_t key_size, const void *value, size_t size)
{
    return put(txn, table, key, key_size, value, size, MDB_NOOVERWRITE);
}

enum ckpt_err ckpt_db_del(struct ckpt_txn *txn, enum ckpt_table table, const void *key,
                          size_t key_size)
{
    MDB_val k = to_mdb(key, key_size);
    int rc = mdb_del(txn->mdb, txn->db->tables[table], &k, NULL);
    return ckpt_db_write_err(txn->db, rc);
}

enum ckpt_err ckpt_cursor_open(struct ckpt_txn *txn, enum ckpt_table table,
                               struct ckpt_cursor **cursor)
{
    struct ckpt_cursor *opened = calloc(1, sizeof *opened);
    if (opened == NULL) {
        return CKPT_ERR_NOMEM;
    }
    opened->at = AT_START;
    int rc = mdb_cursor_open(txn->mdb, txn->db->tables[table], &opened->mdb);
    if (rc != MDB_SUCCESS) {
        free(opened);
        return ckpt_db_err(rc);
    }
    *cursor = opened;
    return CKPT_OK;
}

void ckpt_cursor_close(struct ckpt_cursor *cursor)
{
    if (cursor != NULL) {
        mdb_cursor_close(cursor->mdb);
        free(cursor);
    }
}

/* Moves by OP; the cursor stands at LIMIT (one of its ends) when there is no such entry. */
static enum ckpt_err move(struct ckpt_cursor *cursor, MDB_cursor_op op, MDB_val *key, int limit,
                          struct ckpt_slice *found, struct ckpt_slice *value)
{
    MDB_val v;
    int rc = mdb_cursor_get(cursor->mdb, key, &v, op);
    if (rc == MDB_NOTFOUND) {
        cursor->at = limit == AT_END ? AT_END : AT_START;
    } else if (rc == MDB_SUCCESS) {
        cursor->at = AT_ENTRY;
        *found = from_val(key);
        *value = from_val(&v);
    }
    return ckpt_db_err(rc);
}

enum ckpt_err ckpt_cursor_seek(struct ckpt_cursor *cursor, const void *key, size_t key_size,
                               struct ckpt_slice *found, struct ckpt_slice *value)
{
    MDB_val k = to_mdb(key, key_size);
    return move(cursor, key == NULL ? MDB_FIRST : MDB_SET_RANGE, &k, AT_END, found, value);
}

enum ckpt_err ckpt_cursor_next(struct ckpt_cursor *cursor, struct ckpt_slice *found,
                               struct ckpt_slice *value)
{
    MDB_val k;
    if (cursor->at == AT_END) {
        return CKPT_ERR_NOT_FOUND;
    }
    return move(cursor, cursor->at == AT_START ? MDB_FIRST : MDB_NEXT, &k, AT_END, found, value);
}

enum ckpt_err ckpt_cursor_prev(struct ckpt_cursor *cursor, struct ckpt_slice *found,
                               struct ckpt_slice *value)
{
    MDB_val k;
    if (cursor->at == AT_START) {
        return CKPT_ERR_NOT_FOUND;
    }
    return move(cursor, cursor->at == AT_END ? MDB_LAST : MDB_PREV, &k, AT_START, found, value);
}

enum ckpt_err ckpt_db_count(struct ckpt_txn *txn, enum ckpt_table table, uint64_t *n)
{
    MDB_stat stat;
    int rc = mdb_stat(txn->mdb, txn->db->tables[table], &stat);
    if (rc == MDB_SUCCESS) {
        *n = stat.ms_entries;
    }
    return ckpt_db_err(rc);
}

enum ckpt_err ckpt_db_host_bytes(struct ckpt_db *db, uint64_t *bytes)
{
    struct stat st;
    if (ckpt_host_fstat(ckpt_db_fd(db), &st) != 0) {
        return ckpt_err_from_errno(errno);
    }
    *bytes = (uint64_t)st.st_blocks * 512;
    return CKPT_OK;
}
