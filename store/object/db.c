/*
 * The database over LMDB 0.9.
 *
 * Two things LMDB leaves open are settled here.
 *
 * A truncated file. LMDB reads through a map, so a page beyond the end of the file is a SIGBUS.
 * Before anything is read the file's length is compared with the last page of the newest commit.
 * That page may never have been written, though: pages that a transaction took from the end and
 * gave up again stay unwritten. So the file is always kept longer than its pages by a sparse
 * margin, which no transaction of the store can outgrow, and a file that is too short really was
 * cut.
 *
 * Free pages. LMDB never shrinks its file; ckpt_db_punch gives the free pages back as holes. The
 * list of them is LMDB's database 0: transaction id -> list of the page numbers that it freed,
 * descending. A page may be punched when no snapshot that could still be read has it: not the one
 * of a reader, and not the one before the newest commit, to which LMDB falls back when the newest
 * can't be read. Both the map and the list are stable while the write lock is held. LMDB moves what
 * is left of old entries to other keys, so "punched already" can't be remembered by key; the host
 * knows (SEEK_DATA).
 */
#include "db.h"
#include <ckpt/host.h>
#include <errno.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <lmdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
    RUN_LEAST = 4,          /* pages: smaller holes only fragment the file */
    WALK_MAX = 1 << 20,     /* free pages looked at in one step of punching */
};

/* One pass over the free list, in steps. All fields: LMDB's write lock. */
struct punch {
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
    struct punch punch;
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

static enum ckpt_err from_mdb(int rc)
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

static int data_fd(const struct ckpt_db *db)
{
    mdb_filehandle_t fd = -1;
    return mdb_env_get_fd(db->env, &fd) == MDB_SUCCESS ? fd : -1;
}

/* LMDB says EIO for a write that came back short, which is what a full host does. */
static enum ckpt_err from_mdb_write(const struct ckpt_db *db, int rc)
{
    struct statvfs host;
    if (rc == EIO && ckpt_host_fstatvfs(data_fd(db), &host) == 0) {
        uint64_t blocks = geteuid() == 0 ? host.f_bfree : host.f_bavail;
        if (blocks * host.f_frsize < NEARLY_FULL) {
            return CKPT_ERR_NOSPC;
        }
    }
    return from_mdb(rc);
}

/* ---- Opening ---- */

/* The file's size and what its pages need. */
static enum ckpt_err lengths(const struct ckpt_db *db, uint64_t *have, uint64_t *need)
{
    MDB_envinfo info;
    struct stat st;
    int rc = mdb_env_info(db->env, &info);
    if (rc != MDB_SUCCESS) {
        return from_mdb(rc);
    }
    /* After the info: a writer in another process only makes the file longer. */
    if (ckpt_host_fstat(data_fd(db), &st) != 0) {
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
        return from_mdb(rc);
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
    int fd = data_fd(db);
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
        return from_mdb(rc);
    }
    int dead = 0;
    rc = mdb_reader_check(db->env, &dead);
    return from_mdb(rc);
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
    enum ckpt_err err = from_mdb(rc);
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
    return from_mdb(rc);
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
        return from_mdb(rc);
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
    return from_mdb(rc);
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
    return from_mdb(rc);
}

enum ckpt_err ckpt_db_host_bytes(struct ckpt_db *db, uint64_t *bytes)
{
    struct stat st;
    if (ckpt_host_fstat(data_fd(db), &st) != 0) {
        return ckpt_err_from_errno(errno);
    }
    *bytes = (uint64_t)st.st_blocks * 512;
    return CKPT_OK;
}

/* ---- Giving free pages back ---- */

/* One step of a pass. */
struct step {
    struct ckpt_db *db;
    int fd;
    size_t last_page;
    uint64_t room;    /* pages that may still be punched */
    uint64_t walk;    /* pages that may still be looked at */
    uint64_t punched; /* pages */
    bool full;        /* one of the two bounds is reached */
};

/* A line of mdb_reader_list: "pid thread txnid", "-" for a reader at rest. Covers every process. */
static int note_reader(const char *line, void *arg)
{
    size_t *oldest = arg;
    const char *last = strrchr(line, ' ');
    char *end = NULL;
    if (last != NULL && last[1] >= '0' && last[1] <= '9') {
        unsigned long long id = strtoull(last + 1, &end, 10);
        if (id < *oldest) {
            *oldest = (size_t)id;
        }
    }
    return 0;
}

/* Entries of the free list below *LIMIT may be punched. SNAPSHOT sees the last commit. */
static enum ckpt_err punch_limit(MDB_env *env, MDB_txn *snapshot, size_t *limit)
{
    int dead = 0;
    size_t last = mdb_txn_id(snapshot);
    size_t oldest = last;
    int rc = mdb_reader_check(env, &dead);
    if (rc == MDB_SUCCESS) {
        rc = mdb_reader_list(env, note_reader, &oldest);
    }
    if (rc < 0) {
        return from_mdb(rc);
    }
    /* Not those of the last commit and of the one before. */
    size_t settled = last > 0 ? last - 1 : 0;
    *limit = oldest < settled ? oldest : settled;
    return CKPT_OK;
}

/* Punches the pages LOW..HIGH or, when there is too little room, the upper part of them; *LOW is
   then raised to the lowest page punched. */
static enum ckpt_err punch_run(struct step *step, size_t *low, size_t high)
{
    struct ckpt_db *db = step->db;
    size_t pages = high - *low + 1;
    if (pages < RUN_LEAST) {
        return CKPT_OK;
    }
    off_t offset = (off_t)(*low * db->page_size);
    off_t size = (off_t)(pages * db->page_size);
    /* Holes already? The file offset is free for use: only the holder of the write lock writes. */
    off_t data = ckpt_host_lseek(step->fd, offset, SEEK_DATA);
    if (data >= offset + size || (data < 0 && errno == ENXIO)) {
        return CKPT_OK;
    }
    if (pages > step->room && pages - step->room >= RUN_LEAST) {
        *low += pages - step->room;
        pages = step->room;
        offset = (off_t)(*low * db->page_size);
        size = (off_t)(pages * db->page_size);
    }
    if (ckpt_host_fallocate(step->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, size) !=
        0) {
        return errno == EOPNOTSUPP || errno == ENOSYS ? CKPT_ERR_UNSUPPORTED
                                                      : ckpt_err_from_errno(errno);
    }
    step->punched += pages;
    step->room -= pages < step->room ? pages : step->room;
    step->full = step->room < RUN_LEAST;
    return CKPT_OK;
}

static size_t listed(const MDB_val *list, size_t i)
{
    size_t value;
    memcpy(&value, (const char *)list->mv_data + i * sizeof value, sizeof value);
    return value;
}

/* The pages below BELOW (0 for all) of one entry. When the step is full, *BELOW is where to go on.
 */
static enum ckpt_err punch_entry(struct step *step, const MDB_val *list, size_t *below)
{
    size_t slots = list->mv_size / sizeof(size_t);
    size_t count = slots > 0 ? listed(list, 0) : SIZE_MAX;
    if (count >= slots) {
        return CKPT_ERR_CORRUPT;
    }
    size_t i = 1;
    while (i <= count && !step->full) {
        size_t high = listed(list, i);
        size_t low = high;
        size_t first = i++;
        if (*below != 0 && high >= *below) {
            continue;
        }
        while (i <= count && listed(list, i) == low - 1) {
            low--;
            i++;
        }
        if (low < 2 || high > step->last_page) {
            return CKPT_ERR_CORRUPT;
        }
        enum ckpt_err err = punch_run(step, &low, high);
        if (err != CKPT_OK) {
            return err;
        }
        *below = low;
        step->walk -= i - first < step->walk ? i - first : step->walk;
        step->full = step->full || step->walk == 0;
    }
    return CKPT_OK;
}

/* Goes on with the pass over the entries below LIMIT until the step is full or the pass is over. */
static enum ckpt_err punch_walk(struct step *step, MDB_cursor *cursor, size_t limit)
{
    struct punch *punch = &step->db->punch;
    size_t start = punch->key;
    MDB_val key = {.mv_size = sizeof start, .mv_data = &start};
    MDB_val list;
    int rc = mdb_cursor_get(cursor, &key, &list, MDB_SET_RANGE);
    while (rc == MDB_SUCCESS) {
        size_t id;
        if (key.mv_size != sizeof id) {
            return CKPT_ERR_CORRUPT;
        }
        memcpy(&id, key.mv_data, sizeof id);
        if (id >= limit) {
            break;
        }
        if (id != punch->key) {
            punch->below = 0;
        }
        punch->key = id;
        enum ckpt_err err = punch_entry(step, &list, &punch->below);
        if (err != CKPT_OK || step->full) {
            return err;
        }
        rc = mdb_cursor_get(cursor, &key, &list, MDB_NEXT);
    }
    if (rc != MDB_SUCCESS && rc != MDB_NOTFOUND) {
        return from_mdb(rc);
    }
    punch->active = false;
    punch->done = punch->goal;
    return CKPT_OK;
}

static void punch_cannot(struct ckpt_db *db)
{
    db->punch.unsupported = true;
    ckpt_reportf(&db->report, CKPT_WARNING,
                 "%s: the host filesystem can't punch holes, so the space of forgotten versions is "
                 "used again but not given back; put the store on ext4, XFS or btrfs",
                 db->file);
}

enum ckpt_err ckpt_db_punch(struct ckpt_db *db, uint64_t max_bytes, uint64_t *punched, bool *more)
{
    MDB_txn *lock = NULL;
    MDB_txn *snapshot = NULL;
    MDB_cursor *cursor = NULL;
    MDB_envinfo info;
    size_t limit = 0;
    struct step step = {.db = db, .fd = data_fd(db), .walk = WALK_MAX};
    struct punch *punch = &db->punch;

    /* The order matters: the lock first, so that the snapshot is and stays the last commit. */
    enum ckpt_err err = from_mdb(mdb_txn_begin(db->env, NULL, 0, &lock));
    if (err == CKPT_OK && punch->unsupported) {
        err = CKPT_ERR_UNSUPPORTED;
    }
    if (err == CKPT_OK) {
        err = from_mdb(mdb_txn_begin(db->env, NULL, MDB_RDONLY, &snapshot));
    }
    if (err == CKPT_OK) {
        err = punch_limit(db->env, snapshot, &limit);
    }
    if (err == CKPT_OK) {
        err = from_mdb(mdb_env_info(db->env, &info));
    }
    if (err != CKPT_OK) {
        goto out;
    }
    step.last_page = info.me_last_pgno;
    step.room = max_bytes / db->page_size > RUN_LEAST ? max_bytes / db->page_size : RUN_LEAST;
    if (!punch->active && limit > punch->done) {
        *punch = (struct punch){.active = true, .goal = limit, .done = punch->done};
    }
    if (punch->active) {
        err = from_mdb(mdb_cursor_open(snapshot, 0, &cursor));
        if (err == CKPT_OK) {
            err = punch_walk(&step, cursor, limit);
        }
    }
    if (err == CKPT_ERR_UNSUPPORTED) {
        punch_cannot(db);
    }
    if (err == CKPT_OK) {
        *punched = step.punched * db->page_size;
        *more = punch->active || limit > punch->done;
    }
out:
    if (cursor != NULL) {
        mdb_cursor_close(cursor);
    }
    if (snapshot != NULL) {
        mdb_txn_abort(snapshot);
    }
    if (lock != NULL) {
        mdb_txn_abort(lock);
    }
    return err;
}
