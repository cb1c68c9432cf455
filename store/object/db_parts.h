/*
 * The parts of the database and what they share.
 *
 *     db.c         transactions and entries; LMDB's errors
 *     db_open.c    opening, and the length of the file
 *     db_punch.c   free pages go back to the host
 */
#ifndef CKPT_STORE_DB_PARTS_H
#define CKPT_STORE_DB_PARTS_H

#include "db.h"
#include <lmdb.h>

/* One pass over the free list, in steps. All fields: LMDB's write lock. */
struct ckpt_punch {
    bool active;      /* in the middle of a pass */
    bool unsupported; /* the host can't; reported */
    size_t key;       /* go on at this entry ... */
    size_t below;     /* ... with the pages below this one; 0 for all */
    size_t goal;      /* entries that could be punched when the pass began: those below */
    size_t done;      /* the goal of the last finished pass */
};

struct ckpt_db {
    MDB_env *env;
    MDB_dbi tables[CKPT_TABLES];
    char *file; /* path of data.mdb, for reports */
    struct ckpt_report report;
    bool writable;
    bool refused; /* while it is opened: the reason has been reported */
    size_t page_size;
    struct ckpt_punch punch;
};

struct ckpt_txn {
    MDB_txn *mdb;
    struct ckpt_db *db;
    bool write;
};

/* What a return code of LMDB says: one of its own (NOT_FOUND, EXISTS, NOSPC for a full map, CORRUPT ...) or an errno. */
CKPT_MUST_USE enum ckpt_err ckpt_db_err(int rc);
/* The same when something was to be written: NOSPC also for the EIO that LMDB says on a full host. */
CKPT_MUST_USE enum ckpt_err ckpt_db_write_err(const struct ckpt_db *db, int rc);

/* The descriptor of data.mdb, which remains LMDB's to close; -1 when there is none. */
int ckpt_db_fd(const struct ckpt_db *db);

/* Keeps the sparse margin behind the last page (db_open.c); with the write lock. NOSPC, IO. */
CKPT_MUST_USE enum ckpt_err ckpt_db_keep_margin(const struct ckpt_db *db);

#endif
