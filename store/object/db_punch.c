/*
 * Giving free pages back. LMDB never shrinks its file; ckpt_db_punch makes holes of its free pages.
 *
 * The list of them is LMDB's database 0: transaction id -> list of the page numbers that it freed,
 * descending. A page may be punched when no snapshot that could still be read has it: not the one
 * of a reader, and not the one before the newest commit, to which LMDB falls back when the newest
 * can't be read. Both the map and the list are stable while the write lock is held. LMDB moves what
 * is left of old entries to other keys, so "punched already" can't be remembered by key; the host
 * knows (SEEK_DATA).
 */
#include "db_parts.h"
#include <ckpt/host.h>
#include <errno.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    RUN_LEAST = 4,      /* pages: smaller holes only fragment the file */
    WALK_MAX = 1 << 20, /* free pages looked at in one step of punching */
};

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
        return ckpt_db_err(rc);
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
    struct ckpt_punch *punch = &step->db->punch;
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
        return ckpt_db_err(rc);
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
    struct step step = {.db = db, .fd = ckpt_db_fd(db), .walk = WALK_MAX};
    struct ckpt_punch *punch = &db->punch;

    /* The order matters: the lock first, so that the snapshot is and stays the last commit. */
    enum ckpt_err err = ckpt_db_err(mdb_txn_begin(db->env, NULL, 0, &lock));
    if (err == CKPT_OK && punch->unsupported) {
        err = CKPT_ERR_UNSUPPORTED;
    }
    if (err == CKPT_OK) {
        err = ckpt_db_err(mdb_txn_begin(db->env, NULL, MDB_RDONLY, &snapshot));
    }
    if (err == CKPT_OK) {
        err = punch_limit(db->env, snapshot, &limit);
    }
    if (err == CKPT_OK) {
        err = ckpt_db_err(mdb_env_info(db->env, &info));
    }
    if (err != CKPT_OK) {
        goto out;
    }
    step.last_page = info.me_last_pgno;
    step.room = max_bytes / db->page_size > RUN_LEAST ? max_bytes / db->page_size : RUN_LEAST;
    if (!punch->active && limit > punch->done) {
        *punch = (struct ckpt_punch){.active = true, .goal = limit, .done = punch->done};
    }
    if (punch->active) {
        err = ckpt_db_err(mdb_cursor_open(snapshot, 0, &cursor));
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
