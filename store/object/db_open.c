/*
 * Opening the database, so that reading it is never a SIGBUS.
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

enum {
    READERS_MAX = 1024,
    LOCK_FILE = 17 * 4096, /* bytes: so many readers, and the header */
    MARGIN_LEAST =
        128 << 20, /* bytes: more than a transaction allocates (64 MiB and its indices) */
    MARGIN = 256 << 20,
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

enum ckpt_err ckpt_db_keep_margin(const struct ckpt_db *db)
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
            return ckpt_db_write_err(db, rc);
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
