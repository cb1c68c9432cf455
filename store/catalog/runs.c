/*
 * The runs that somebody has asked for, and where all of them stand.
 *
 * A picture is filled while the lock is held for writing, and brought up to date under it after a commit, so it can't miss one.
 */
#include "catalog_txn.h"
#include "common/bytes.h"
#include "object/internal.h"
#include "run_parts.h"
#include "run_rows.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#define HASH_NONFATAL_OOM 1 /* then an element that could not be added has no hh.tbl */
#include <uthash.h>

enum { LEVELS = 3, DIR_KEY = 8, ID_KEY = 8, ID_ROW = 12, ID_DIGITS = 16 };

struct known_run {
    uint64_t dir;
    struct ckpt_run *run;
    UT_hash_handle hh;
};

/* Where a run stands: the directories above it. */
struct standing {
    uint64_t dir;
    uint64_t above[LEVELS];
    unsigned levels;
};

struct ckpt_runs {
    struct ckpt_store *store;
    pthread_rwlock_t lock; /* all that follows, and the runs */
    struct known_run *known;
    struct standing *standings;
    size_t standing_count;
    bool standings_known;
};

enum ckpt_err ckpt_runs_create(struct ckpt_store *store, struct ckpt_runs **out)
{
    struct ckpt_runs *runs = calloc(1, sizeof *runs);
    if (runs == NULL) {
        return CKPT_ERR_NOMEM;
    }
    runs->store = store;
    if (pthread_rwlock_init(&runs->lock, NULL) != 0) {
        free(runs);
        return CKPT_ERR_NOMEM;
    }
    *out = runs;
    return CKPT_OK;
}

static void forget(struct ckpt_runs *runs, struct known_run *known)
{
    HASH_DEL(runs->known, known);
    ckpt_run_free(known->run);
    free(known);
}

void ckpt_runs_free(struct ckpt_runs *runs)
{
    if (runs == NULL) {
        return;
    }
    struct known_run *next = NULL;
    struct known_run *known = runs->known;
    HASH_CLEAR(hh, runs->known); /* leaves the elements as they are */
    for (; known != NULL; known = next) {
        next = known->hh.next;
        ckpt_run_free(known->run);
        free(known);
    }
    free(runs->standings);
    pthread_rwlock_destroy(&runs->lock);
    free(runs);
}

/* With the lock. */
static struct known_run *find(struct ckpt_runs *runs, uint64_t dir)
{
    struct known_run *known = NULL;
    HASH_FIND(hh, runs->known, &dir, sizeof dir, known);
    return known;
}

/* With the lock for writing. */
static enum ckpt_err fill(struct ckpt_runs *runs, uint64_t dir)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_run *run = NULL;
    enum ckpt_err err = ckpt_txn_read(runs->store->db, &txn);
    if (err == CKPT_OK) {
        err = ckpt_run_load_in(txn, dir, &run);
    }
    ckpt_txn_abort(txn);
    if (err != CKPT_OK) {
        return err;
    }
    struct known_run *known = calloc(1, sizeof *known);
    if (known != NULL) {
        known->dir = dir;
        known->run = run;
        HASH_ADD(hh, runs->known, dir, sizeof known->dir, known);
        if (known->hh.tbl != NULL) {
            return CKPT_OK;
        }
    }
    free(known);
    ckpt_run_free(run);
    return CKPT_ERR_NOMEM;
}

/* Asked for every directory that names are looked up in, so without the lock for writing. */
static enum ckpt_err is_run(struct ckpt_runs *runs, uint64_t dir)
{
    struct ckpt_txn *txn = NULL;
    bool exists = false;
    enum ckpt_err err = ckpt_txn_read(runs->store->db, &txn);
    if (err == CKPT_OK) {
        err = ckpt_run_exists_in(txn, dir, &exists);
    }
    ckpt_txn_abort(txn);
    return err == CKPT_OK && !exists ? CKPT_ERR_NOT_FOUND : err;
}

enum ckpt_err ckpt_runs_hold(struct ckpt_runs *runs, uint64_t dir, const struct ckpt_run **run)
{
    for (;;) {
        pthread_rwlock_rdlock(&runs->lock);
        const struct known_run *known = find(runs, dir);
        if (known != NULL) {
            *run = known->run;
            return CKPT_OK;
        }
        pthread_rwlock_unlock(&runs->lock);
        enum ckpt_err err = is_run(runs, dir);
        if (err != CKPT_OK) {
            return err;
        }
        pthread_rwlock_wrlock(&runs->lock);
        if (find(runs, dir) == NULL) {
            err = fill(runs, dir);
        }
        pthread_rwlock_unlock(&runs->lock);
        if (err != CKPT_OK) {
            return err;
        }
    }
}

void ckpt_runs_release(struct ckpt_runs *runs)
{
    pthread_rwlock_unlock(&runs->lock);
}

/* ---- following the engine ---- */

static enum ckpt_err copy_changes(struct ckpt_run *to, const struct ckpt_run *from)
{
    enum ckpt_err err = ckpt_run_set(to, from);
    for (const struct ckpt_checkpoint *c = from->changed; err == CKPT_OK && c != NULL; c = c->next) {
        struct ckpt_checkpoint *copy = ckpt_checkpoint_copy(c);
        err = copy == NULL ? CKPT_ERR_NOMEM : ckpt_run_put(to, copy);
    }
    return err;
}

void ckpt_runs_apply(struct ckpt_runs *runs, const struct ckpt_run *run, bool new_run)
{
    pthread_rwlock_wrlock(&runs->lock);
    struct known_run *known = find(runs, run->dir);
    if (known != NULL && copy_changes(known->run, run) != CKPT_OK) {
        forget(runs, known);
    }
    if (new_run) {
        runs->standings_known = false;
    }
    pthread_rwlock_unlock(&runs->lock);
}

void ckpt_runs_reload(struct ckpt_runs *runs, uint64_t dir)
{
    pthread_rwlock_wrlock(&runs->lock);
    struct known_run *known = find(runs, dir);
    if (known != NULL) {
        forget(runs, known);
    }
    pthread_rwlock_unlock(&runs->lock);
}

void ckpt_runs_moved(struct ckpt_runs *runs)
{
    pthread_rwlock_wrlock(&runs->lock);
    runs->standings_known = false;
    pthread_rwlock_unlock(&runs->lock);
}

/* ---- where runs stand ---- */

static enum ckpt_err add_standing(struct ckpt_runs *runs, struct ckpt_txn *txn, uint64_t dir)
{
    struct standing standing = {.dir = dir};
    struct ckpt_dir row;
    uint64_t at = dir;
    enum ckpt_err err = CKPT_OK;
    while (err == CKPT_OK && at != CKPT_DIR_ROOT && standing.levels < LEVELS) {
        err = ckpt_catalog_dir_in(txn, at, &row);
        if (err == CKPT_OK) {
            at = row.parent;
            standing.above[standing.levels++] = at;
        }
    }
    if (err != CKPT_OK && err != CKPT_ERR_NOT_FOUND) {
        return err;
    }
    if ((runs->standing_count & (runs->standing_count - 1)) == 0) {
        size_t room = runs->standing_count == 0 ? 1 : 2 * runs->standing_count;
        struct standing *list = reallocarray(runs->standings, room, sizeof *list);
        if (list == NULL) {
            return CKPT_ERR_NOMEM;
        }
        runs->standings = list;
    }
    runs->standings[runs->standing_count++] = standing;
    return CKPT_OK;
}

/* With the lock for writing. */
static enum ckpt_err find_standings(struct ckpt_runs *runs)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_cursor *cursor = NULL;
    struct ckpt_slice key;
    struct ckpt_slice value;
    runs->standing_count = 0;
    enum ckpt_err err = ckpt_txn_read(runs->store->db, &txn);
    if (err == CKPT_OK) {
        err = ckpt_cursor_open(txn, CKPT_TABLE_RUNS, &cursor);
    }
    if (err == CKPT_OK) {
        err = ckpt_cursor_seek(cursor, NULL, 0, &key, &value);
    }
    while (err == CKPT_OK) {
        err = key.size == DIR_KEY ? add_standing(runs, txn, ckpt_get_be64(key.data)) : CKPT_ERR_CORRUPT;
        if (err == CKPT_OK) {
            err = ckpt_cursor_next(cursor, &key, &value);
        }
    }
    ckpt_cursor_close(cursor);
    ckpt_txn_abort(txn);
    runs->standings_known = err == CKPT_ERR_NOT_FOUND;
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

static bool stands_below(const struct standing *standing, uint64_t above)
{
    for (unsigned i = 0; i < standing->levels; i++) {
        if (standing->above[i] == above) {
            return true;
        }
    }
    return false;
}

/* ABOVE NULL: all. */
static enum ckpt_err list_runs(struct ckpt_runs *runs, const uint64_t *above, uint64_t **dirs, size_t *n)
{
    enum ckpt_err err = CKPT_OK;
    pthread_rwlock_rdlock(&runs->lock);
    while (err == CKPT_OK && !runs->standings_known) {
        pthread_rwlock_unlock(&runs->lock);
        pthread_rwlock_wrlock(&runs->lock);
        err = runs->standings_known ? CKPT_OK : find_standings(runs);
        pthread_rwlock_unlock(&runs->lock);
        pthread_rwlock_rdlock(&runs->lock);
    }
    uint64_t *list = err == CKPT_OK ? calloc(runs->standing_count + 1, sizeof *list) : NULL;
    size_t count = 0;
    for (size_t i = 0; list != NULL && i < runs->standing_count; i++) {
        if (above == NULL || stands_below(&runs->standings[i], *above)) {
            list[count++] = runs->standings[i].dir;
        }
    }
    pthread_rwlock_unlock(&runs->lock);
    if (err == CKPT_OK && list == NULL) {
        err = CKPT_ERR_NOMEM;
    }
    if (err == CKPT_OK) {
        *dirs = list;
        *n = count;
    }
    return err;
}

enum ckpt_err ckpt_runs_below(struct ckpt_runs *runs, uint64_t above, uint64_t **dirs, size_t *n)
{
    return list_runs(runs, &above, dirs, n);
}

enum ckpt_err ckpt_runs_all(struct ckpt_runs *runs, uint64_t **dirs, size_t *n)
{
    return list_runs(runs, NULL, dirs, n);
}

/* ---- single rows ---- */

/* The lowest id with that prefix, and the bits that it leaves open. */
static bool parse_prefix(const char *prefix, uint64_t *id, unsigned *open)
{
    size_t n = strlen(prefix);
    if (n == 0 || n > ID_DIGITS || strspn(prefix, "0123456789abcdefABCDEF") != n) {
        return false;
    }
    *open = 4 * (ID_DIGITS - (unsigned)n);
    *id = strtoull(prefix, NULL, 16) << *open;
    return true;
}

enum ckpt_err ckpt_runs_by_id(struct ckpt_runs *runs, const char *prefix, uint64_t *dir, uint32_t *number)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_cursor *cursor = NULL;
    struct ckpt_slice key;
    struct ckpt_slice value;
    uint8_t from[ID_KEY];
    uint64_t id = 0;
    unsigned open = 0;
    uint64_t found_dir = 0;
    uint32_t found_number = 0;
    if (!parse_prefix(prefix, &id, &open)) {
        return CKPT_ERR_NOT_FOUND;
    }
    ckpt_put_be64(from, id);
    enum ckpt_err err = ckpt_txn_read(runs->store->db, &txn);
    if (err == CKPT_OK) {
        err = ckpt_cursor_open(txn, CKPT_TABLE_IDS, &cursor);
    }
    if (err == CKPT_OK) {
        err = ckpt_cursor_seek(cursor, from, sizeof from, &key, &value);
    }
    for (unsigned found = 0; err == CKPT_OK; found++) {
        if (key.size != ID_KEY || value.size != ID_ROW) {
            err = CKPT_ERR_CORRUPT;
        } else if ((ckpt_get_be64(key.data) ^ id) >> open != 0) {
            err = found == 0 ? CKPT_ERR_NOT_FOUND : CKPT_OK;
            break;
        } else if (found > 0) {
            err = CKPT_ERR_EXISTS;
        } else {
            found_dir = ckpt_get_le64(value.data);
            found_number = ckpt_get_le32((const uint8_t *)value.data + 8);
            err = ckpt_cursor_next(cursor, &key, &value);
            if (err == CKPT_ERR_NOT_FOUND) {
                err = CKPT_OK;
                break;
            }
        }
    }
    ckpt_cursor_close(cursor);
    ckpt_txn_abort(txn);
    if (err == CKPT_OK) {
        *dir = found_dir;
        *number = found_number;
    }
    return err;
}

struct holder {
    uint64_t run;
    uint32_t checkpoint;
};

static bool take_first(void *arg, uint64_t run, uint32_t checkpoint)
{
    *(struct holder *)arg = (struct holder){.run = run, .checkpoint = checkpoint};
    return false;
}

enum ckpt_err ckpt_runs_by_version(struct ckpt_runs *runs, uint64_t dir, const char *name, uint32_t number,
                                   uint64_t *run, uint32_t *checkpoint)
{
    struct ckpt_txn *txn = NULL;
    struct holder holder = {0};
    enum ckpt_err err = ckpt_txn_read(runs->store->db, &txn);
    if (err == CKPT_OK) {
        err = ckpt_member_each_holder_in(txn, dir, name, number, take_first, &holder);
    }
    ckpt_txn_abort(txn);
    if (err == CKPT_OK && holder.checkpoint == 0) {
        err = CKPT_ERR_NOT_FOUND;
    }
    if (err == CKPT_OK) {
        *run = holder.run;
        *checkpoint = holder.checkpoint;
    }
    return err;
}

enum ckpt_err ckpt_runs_process(struct ckpt_runs *runs, uint64_t process, char **json)
{
    struct ckpt_txn *txn = NULL;
    enum ckpt_err err = ckpt_txn_read(runs->store->db, &txn);
    if (err == CKPT_OK) {
        err = ckpt_process_get_in(txn, process, json);
    }
    ckpt_txn_abort(txn);
    return err;
}
