#include "catalog/run_parts.h"
#include "catalog/run_rows.h"
#include "common/bytes.h"
#include "keeper.h"
#include "object/internal.h"
#include <assert.h>
#include <ckpt/id.h>
#include <stdlib.h>
#include <string.h>
#define HASH_NONFATAL_OOM 1 /* then an element that could not be added has no hh.tbl */
#include <uthash.h>

enum { DIR_KEY = 8 };

struct kept_run {
    uint64_t dir;
    struct ckpt_run *run;
    bool made;             /* and not saved yet */
    struct kept_run *next; /* of those that were touched */
    UT_hash_handle hh;
};

struct ckpt_keeper {
    struct ckpt_store *store;
    struct ckpt_runs *readers;
    struct kept_run *kept;
    struct kept_run *touched; /* those whose run is dirty */
};

enum ckpt_err ckpt_keeper_create(struct ckpt_store *store, struct ckpt_runs *readers, struct ckpt_keeper **out)
{
    struct ckpt_keeper *keeper = calloc(1, sizeof *keeper);
    if (keeper == NULL) {
        return CKPT_ERR_NOMEM;
    }
    keeper->store = store;
    keeper->readers = readers;
    *out = keeper;
    return CKPT_OK;
}

static void forget(struct ckpt_keeper *keeper, struct kept_run *kept)
{
    HASH_DEL(keeper->kept, kept);
    ckpt_run_free(kept->run);
    free(kept);
}

void ckpt_keeper_free(struct ckpt_keeper *keeper)
{
    struct kept_run *kept = NULL;
    struct kept_run *next = NULL;
    if (keeper == NULL) {
        return;
    }
    HASH_ITER (hh, keeper->kept, kept, next) {
        forget(keeper, kept);
    }
    free(keeper);
}

static struct kept_run *find(const struct ckpt_keeper *keeper, uint64_t dir)
{
    struct kept_run *kept = NULL;
    HASH_FIND(hh, keeper->kept, &dir, sizeof dir, kept);
    return kept;
}

static enum ckpt_err load(struct ckpt_keeper *keeper, uint64_t dir, struct ckpt_run **run)
{
    struct ckpt_txn *txn = NULL;
    enum ckpt_err err = ckpt_txn_read(keeper->store->db, &txn);
    if (err == CKPT_OK) {
        err = ckpt_run_load_in(txn, dir, run);
    }
    ckpt_txn_abort(txn);
    return err;
}

enum ckpt_err ckpt_keeper_run(struct ckpt_keeper *keeper, uint64_t dir, bool make, struct ckpt_run **run)
{
    struct kept_run *kept = find(keeper, dir);
    struct ckpt_run *found = NULL;
    if (kept != NULL) {
        *run = kept->run;
        return CKPT_OK;
    }
    enum ckpt_err err = load(keeper, dir, &found);
    bool made = err == CKPT_ERR_NOT_FOUND && make;
    if (made) {
        found = ckpt_run_new(dir);
        err = found == NULL ? CKPT_ERR_NOMEM : CKPT_OK;
    }
    if (err != CKPT_OK) {
        return err;
    }
    kept = calloc(1, sizeof *kept);
    if (kept != NULL) {
        kept->dir = dir;
        kept->run = found;
        kept->made = made;
        HASH_ADD(hh, keeper->kept, dir, sizeof kept->dir, kept);
        if (kept->hh.tbl != NULL) {
            *run = found;
            return CKPT_OK;
        }
    }
    free(kept);
    ckpt_run_free(found);
    return CKPT_ERR_NOMEM;
}

struct ckpt_checkpoint *ckpt_keeper_checkpoint(struct ckpt_run *run, uint32_t number)
{
    return ckpt_run_find(run, number);
}

/* The same for the same run and number in the same store, and in no other; 0 means none. */
static uint64_t id_of(const struct ckpt_keeper *keeper, const struct ckpt_run *run, uint32_t number)
{
    uint8_t key[12];
    ckpt_put_be64(key, run->dir);
    ckpt_put_be32(key + 8, number);
    uint64_t id = ckpt_checksum(keeper->store->seed, key, sizeof key);
    return id == 0 ? 1 : id;
}

struct ckpt_checkpoint *ckpt_keeper_begin(struct ckpt_keeper *keeper, struct ckpt_run *run)
{
    struct ckpt_checkpoint *c = ckpt_checkpoint_new();
    if (c == NULL) {
        return NULL;
    }
    c->run = run->dir;
    c->number = run->next_number;
    c->id = id_of(keeper, run, c->number);
    if (ckpt_run_put(run, c) != CKPT_OK) {
        return NULL;
    }
    run->next_number++;
    ckpt_keeper_touch(keeper, run, c);
    return c;
}

void ckpt_keeper_touch(struct ckpt_keeper *keeper, struct ckpt_run *run, struct ckpt_checkpoint *c)
{
    if (!run->dirty) {
        struct kept_run *kept = find(keeper, run->dir);
        assert(kept != NULL && kept->run == run);
        kept->next = keeper->touched;
        keeper->touched = kept;
    }
    ckpt_run_change(run, c);
}

enum ckpt_err ckpt_keeper_save_in(struct ckpt_keeper *keeper, struct ckpt_txn *txn)
{
    enum ckpt_err err = CKPT_OK;
    for (const struct kept_run *kept = keeper->touched; err == CKPT_OK && kept != NULL; kept = kept->next) {
        err = ckpt_run_put_in(txn, kept->run);
        for (const struct ckpt_checkpoint *c = kept->run->changed; err == CKPT_OK && c != NULL; c = c->next) {
            err = ckpt_checkpoint_put_in(txn, c);
        }
    }
    return err;
}

static void show(struct ckpt_keeper *keeper, struct kept_run *kept)
{
    if (keeper->readers != NULL) {
        ckpt_runs_apply(keeper->readers, kept->run, kept->made);
    }
    ckpt_run_settle(kept->run);
    kept->made = false;
}

void ckpt_keeper_saved(struct ckpt_keeper *keeper, bool committed)
{
    while (keeper->touched != NULL) {
        struct kept_run *kept = keeper->touched;
        keeper->touched = kept->next;
        kept->next = NULL;
        if (committed) {
            show(keeper, kept);
        } else {
            forget(keeper, kept);
        }
    }
}

enum ckpt_err ckpt_keeper_commit(struct ckpt_keeper *keeper)
{
    struct ckpt_txn *txn = NULL;
    if (keeper->touched == NULL) {
        return CKPT_OK;
    }
    enum ckpt_err err = ckpt_store_begin(keeper->store, &txn);
    if (err == CKPT_OK) {
        err = ckpt_keeper_save_in(keeper, txn);
    }
    if (err == CKPT_OK) {
        err = ckpt_store_commit(keeper->store, txn);
    } else {
        ckpt_txn_abort(txn);
    }
    ckpt_keeper_saved(keeper, err == CKPT_OK);
    return err;
}

void ckpt_keeper_reload(struct ckpt_keeper *keeper, uint64_t dir)
{
    struct kept_run *kept = find(keeper, dir);
    if (kept == NULL) {
        return;
    }
    for (struct kept_run **at = &keeper->touched; *at != NULL; at = &(*at)->next) {
        if (*at == kept) {
            *at = kept->next;
            break;
        }
    }
    forget(keeper, kept);
}

static enum ckpt_err load_all(struct ckpt_keeper *keeper)
{
    struct ckpt_runs *runs = NULL;
    uint64_t *dirs = NULL;
    size_t n = 0;
    enum ckpt_err err = ckpt_runs_create(keeper->store, &runs);
    if (err == CKPT_OK) {
        err = ckpt_runs_all(runs, &dirs, &n);
    }
    for (size_t i = 0; err == CKPT_OK && i < n; i++) {
        struct ckpt_run *run = NULL;
        err = ckpt_keeper_run(keeper, dirs[i], false, &run);
    }
    free(dirs);
    ckpt_runs_free(runs);
    return err;
}

enum ckpt_err ckpt_keeper_each(struct ckpt_keeper *keeper, bool all, ckpt_keeper_fn *fn, void *arg)
{
    struct kept_run *kept = NULL;
    struct kept_run *next = NULL;
    enum ckpt_err err = all ? load_all(keeper) : CKPT_OK;
    HASH_ITER (hh, keeper->kept, kept, next) {
        if (err == CKPT_OK) {
            err = fn(arg, kept->run);
        }
    }
    return err;
}
