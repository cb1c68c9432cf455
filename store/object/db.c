/*
 * The database over LMDB 0.9: opening, transactions and entries.
 *
 * A truncated file. LMDB reads through a map, so a page beyond the end of the file is a SIGBUS.
 * Before anything is read the file's length is compared with the last page of the newest commit.
 * That page may never have been written, though: pages that a transaction took from the end and
 * gave up again stay unwritten. So the file is always kept longer than its pages by a sparse
 * margin, which no transaction of the store can outgrow, and a file that is too short really was
 * cut.
 */
#include "db_parts.h"
#include <ckpt/host.h>
#include <errno.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    READERS_MAX = 1024,
    LOCK_FILE = 17 * 4096, /* bytes: so many readers, and the header */
    MARGIN_LEAST =
        128 << 20, /* bytes: more than a transaction allocates (64 MiB and its indices) */
    MARGIN = 256 << 20,
    NEARLY_FULL = 16 << 20, /* bytes free on the host below which EIO is taken for a short write */
};

struct ckpt_txn {
    MDB_txn *mdb;
    struct ckpt_db *db;
    bool write;
};

struct ckpt_cursor {
    MDB_cursor *mdb;
    struct ckpt_db *db;
    enum { AT_ENTRY, AT_START, AT_END } at;
};

static const char *const table_names[CKPT_TABLES] = {
    [CKPT_TABLE_META] = "meta",   [CKPT_TABLE_OBJECTS] = "objects",
    [CKPT_TABLE_REFS] = "refs",   [CKPT_TABLE_GARBAGE] = "garbage",
    [CKPT_TABLE_DIRS] = "dirs",   [CKPT_TABLE_DIRNAMES] = "dirnames",
    [CKPT_TABLE_FILES] = "files", [CKPT_TABLE_VERSIONS] = "versions",
    [CKPT_TABLE_DEPENDENTS] = "dependents", [CKPT_TABLE_CAPTURES] = "captures",
    [CKPT_TABLE_FRESH] = "fresh", [CKPT_TABLE_RUNS] = "runs",
    [CKPT_TABLE_CHECKPOINTS] = "checkpoints", [CKPT_TABLE_MEMBERS] = "members",
    [CKPT_TABLE_IDS] = "ids", [CKPT_TABLE_PROCESSES] = "processes",
    [CKPT_TABLE_POLICIES] = "policies",
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
static enum ckpt_err from_mdb_write(const struct ckpt_db *db, int rc)
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

/* ---- Opening ---- */

/* The file's size and what its pages need. */
static enum ckpt_err lengths(const struct ckpt_db *db, uint64_t *have, uint64_t *need)
{
    MDB_envinfo info;
    struct stat st;
    int rc = mdb_env_info(db->env, &info);
    if (rc != MDB_SUCCESS) {
        return ckpt_db_err(rc);
    }
    /* After the info: a writer in another process only makes the file longer. */
    if (ckpt_host_fstat(ckpt_db_fd(db), &st) != 0) {
        return ckpt_err_from_errno(errno);
    }
    *have = (uint64_t)st.st_size;
    if (__builtin_add_overflow(info.me_last_pgno, 1, need) ||
        __builtin_mul_overflow(*need, db->page_size, need)) {
        *need = UINT64_MAX;
    }
    return CKPT_OK;
}

static enum ckpt_err check_length(struct ckpt_db *db)
{
    MDB_stat stat;
    uint64_t have = 0;
    uint64_t need = 0;
    int rc = mdb_env_stat(db->env, &stat);
    if (rc != MDB_SUCCESS) {
        return ckpt_db_err(rc);
    }
    db->page_size = stat.ms_psize;
    enum ckpt_err err = lengths(db, &have, &need);
    if (err == CKPT_OK && have < need) {
        db->refused = true;
        ckpt_reportf(&db->report, CKPT_ERROR,
                     "%s: the database is truncated: it has %ju bytes and needs %ju; "
                     "put back a complete copy of the store",
                     db->file, (uintmax_t)have, (uintmax_t)need);
        err = CKPT_ERR_CORRUPT;
    }
    return err;
}

/* Keeps the sparse margin behind the last page; with the write lock. */
static enum ckpt_err keep_margin(const struct ckpt_db *db)
{
    uint64_t have = 0;
    uint64_t need = 0;
    enum ckpt_err err = lengths(db, &have, &need);
    if (err != CKPT_OK || have >= need + MARGIN_LEAST) {
        return err;
    }
    int fd = ckpt_db_fd(db);
    if (ckpt_host_ftruncate(fd, (off_t)(need + MARGIN)) != 0 || ckpt_host_fsync(fd) != 0) {
        return ckpt_err_from_errno(errno);
    }
    return CKPT_OK;
}

/* An empty file would be taken for a new database: it is one that lost its bytes. */
static enum ckpt_err check_not_empty(struct ckpt_db *db)
{
    struct stat st;
    if (ckpt_host_fstatat(AT_FDCWD, db->file, &st, 0) != 0) {
        return errno == ENOENT && db->writable ? CKPT_OK : ckpt_err_from_errno(errno);
    }
    if (st.st_size == 0) {
        db->refused = true;
        ckpt_reportf(&db->report, CKPT_ERROR,
                     "%s: the database is truncated: it has 0 bytes; "
                     "put back a complete copy of the store",
                     db->file);
        return CKPT_ERR_CORRUPT;
    }
    return CKPT_OK;
}

/* LMDB maps its lock file for writing: a hole in it on a full host would be a SIGBUS. */
static enum ckpt_err fill_lock_file(const struct ckpt_db *db, const char *path)
{
    char name[PATH_MAX];
    if (snprintf(name, sizeof name, "%s/lock.mdb", path) >= (int)sizeof name) {
        return CKPT_ERR_INVALID;
    }
    /* Before LMDB opens it: closing would take LMDB's record locks along. */
    int fd = ckpt_host_openat(AT_FDCWD, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct stat st;
    bool filled = fd >= 0 && ckpt_host_fstat(fd, &st) == 0;
    if (filled && st.st_size == 0) {
        /* btrfs would write each page somewhere else; where there is no such flag it isn't needed. */
        int flags = FS_NOCOW_FL;
        (void)ioctl(fd, FS_IOC_SETFLAGS, &flags);
    }
    /* Full as well, XFS would refuse even what it has already. */
    if (filled && st.st_blocks * 512 < LOCK_FILE) {
        filled = ckpt_host_fallocate(fd, 0, 0, LOCK_FILE) == 0 || errno == EOPNOTSUPP;
    }
    enum ckpt_err err = filled ? CKPT_OK : ckpt_err_from_errno(errno);
    ckpt_host_close(fd);
    if (err != CKPT_OK) {
        ckpt_reportf(&db->report, CKPT_ERROR, "%s: no room for it: %s; free some space there", name,
                     ckpt_err_text(err));
    }
    return err;
}

static enum ckpt_err open_env(struct ckpt_db *db, const char *path, size_t map_size)
{
    /* Records are asked for as a whole (ckpt_db_prefetch). The host's own read-ahead around each page would fetch two to three
       times as much: what stands side by side in the file seldom belongs together. */
    unsigned flags = MDB_NOTLS | MDB_NORDAHEAD | (db->writable ? 0 : MDB_RDONLY);
    int rc = mdb_env_create(&db->env);
    if (rc == MDB_SUCCESS) {
        rc = mdb_env_set_maxdbs(db->env, CKPT_TABLES);
    }
    if (rc == MDB_SUCCESS) {
        rc = mdb_env_set_maxreaders(db->env, READERS_MAX);
    }
    if (rc == MDB_SUCCESS) {
        rc = mdb_env_set_mapsize(db->env, map_size);
    }
    if (rc == MDB_SUCCESS) {
        rc = mdb_env_open(db->env, path, flags, 0600);
    }
    if (rc != MDB_SUCCESS) {
        db->refused = true;
        ckpt_reportf(&db->report, CKPT_ERROR, "%s: the database can't be opened: %s%s", db->file,
                     mdb_strerror(rc),
                     rc == ENOMEM ? " (it needs address space for twice the size of the host "
                                    "filesystem; see ulimit -v)"
                                  : "");
        return ckpt_db_err(rc);
    }
    int dead = 0;
    rc = mdb_reader_check(db->env, &dead);
    return ckpt_db_err(rc);
}

static enum ckpt_err open_tables_in(struct ckpt_db *db, struct ckpt_txn *txn, unsigned flags)
{
    for (int i = 0; i < CKPT_TABLES; i++) {
        int rc = mdb_dbi_open(txn->mdb, table_names[i], flags, &db->tables[i]);
        if (rc != MDB_SUCCESS) {
            return from_mdb_write(db, rc);
        }
    }
    return CKPT_OK;
}

static enum ckpt_err open_tables(struct ckpt_db *db)
{
    struct ckpt_txn *txn = NULL;
    enum ckpt_err err = ckpt_txn_read(db, &txn);
    if (err == CKPT_OK) {
        err = open_tables_in(db, txn, 0);
    }
    if (err == CKPT_ERR_NOT_FOUND && db->writable) {
        ckpt_txn_abort(txn);
        txn = NULL;
        err = ckpt_txn_write(db, &txn);
        if (err == CKPT_OK) {
            err = open_tables_in(db, txn, MDB_CREATE);
        }
    }
    if (err == CKPT_OK) {
        /* Handles opened in a transaction stay only when it is committed, a reading one too. */
        err = ckpt_txn_commit(txn);
        txn = NULL;
    }
    ckpt_txn_abort(txn);
    if (err == CKPT_ERR_NOT_FOUND) {
        db->refused = true;
        ckpt_reportf(&db->report, CKPT_ERROR,
                     "%s: the database lacks a table; put back a complete copy of the store",
                     db->file);
        err = CKPT_ERR_CORRUPT;
    }
    return err;
}

enum ckpt_err ckpt_db_open(const char *path, bool writable, size_t map_size,
                           const struct ckpt_report *report, struct ckpt_db **db)
{
    enum ckpt_err err = CKPT_ERR_NOMEM;
    struct ckpt_db *opened = calloc(1, sizeof *opened);
    if (opened == NULL) {
        goto out;
    }
    opened->writable = writable;
    if (report != NULL) {
        opened->report = *report;
    }
    if (asprintf(&opened->file, "%s/data.mdb", path) < 0) {
        opened->file = NULL;
        goto out;
    }
    err = check_not_empty(opened);
    if (err == CKPT_OK && writable) {
        err = fill_lock_file(opened, path);
    }
    if (err == CKPT_OK) {
        err = open_env(opened, path, map_size);
    }
    if (err == CKPT_OK) {
        err = check_length(opened);
    }
    if (err == CKPT_OK) {
        err = open_tables(opened);
    }
    if (err == CKPT_OK) {
        *db = opened;
        opened = NULL;
    } else if (!opened->refused) {
        ckpt_reportf(report, CKPT_ERROR, "%s: the database can't be opened: %s", opened->file,
                     ckpt_err_text(err));
    }
out:
    ckpt_db_close(opened);
    return err;
}

void ckpt_db_close(struct ckpt_db *db)
{
    if (db == NULL) {
        return;
    }
    mdb_env_close(db->env);
    free(db->file);
    free(db);
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
        err = keep_margin(db);
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
        err = from_mdb_write(txn->db, rc);
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
    return from_mdb_write(txn->db, rc);
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
    return from_mdb_write(txn->db, rc);
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
