/*
 * What no single judgement is about: versions that belong to no checkpoint, and the policies' limits for hot files.
 */
#include "catalog/catalog_txn.h"
#include "catalog/run_rows.h"
#include "common/live.h"
#include "object/internal.h"
#include "object/sweep.h"
#include "retain.h"
#include <ckpt/host.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- versions without a checkpoint ---- */

enum { ORPHANS = 256 /* in one transaction */ };

struct orphan {
    uint64_t dir;
    char name[NAME_MAX + 1];
    uint32_t number;
};

struct orphans {
    struct ckpt_txn *txn;
    int64_t before_ns; /* captured */
    uint64_t fresh;    /* captures from here on haven't been looked at by whoever makes checkpoints */
    struct orphan list[ORPHANS];
    size_t count;
};

static bool see_holder(void *arg, uint64_t run, uint32_t checkpoint)
{
    (void)run;
    (void)checkpoint;
    *(bool *)arg = true;
    return false;
}

static enum ckpt_err look_at(struct orphans *o, const struct ckpt_version *version)
{
    bool held = false;
    if (version->captured_ns > o->before_ns || version->sequence >= o->fresh) {
        return CKPT_OK;
    }
    enum ckpt_err err =
        ckpt_member_each_holder_in(o->txn, version->dir, version->name, version->number, see_holder, &held);
    if (err == CKPT_OK && !held) {
        struct orphan *orphan = &o->list[o->count++];
        orphan->dir = version->dir;
        orphan->number = version->number;
        memcpy(orphan->name, version->name, sizeof orphan->name);
    }
    return err;
}

/* Versions of a file stand together, by number: one that another of its file follows isn't the newest. */
static enum ckpt_err find_orphans(struct orphans *o)
{
    struct ckpt_cursor *cursor = NULL;
    struct ckpt_slice key;
    struct ckpt_slice value;
    struct ckpt_version before = {.number = 0};
    enum ckpt_err err = ckpt_cursor_open(o->txn, CKPT_TABLE_VERSIONS, &cursor);
    if (err == CKPT_OK) {
        err = ckpt_cursor_seek(cursor, NULL, 0, &key, &value);
    }
    while (err == CKPT_OK && o->count < ORPHANS) {
        struct ckpt_version version;
        err = ckpt_version_parse(&key, &value, &version);
        if (err == CKPT_OK && before.number != 0 && before.dir == version.dir &&
            strcmp(before.name, version.name) == 0) {
            err = look_at(o, &before);
        }
        before = version;
        if (err == CKPT_OK) {
            err = ckpt_cursor_next(cursor, &key, &value);
        }
    }
    ckpt_cursor_close(cursor);
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

static enum ckpt_err list_orphans(struct ckpt_engine *engine, struct orphans *o)
{
    struct ckpt_fresh fresh;
    o->before_ns = ckpt_realtime_ns() - CKPT_POLICY_GRACE_DEFAULT;
    o->fresh = UINT64_MAX;
    enum ckpt_err err = ckpt_txn_read(engine->store->db, &o->txn);
    if (err == CKPT_OK) {
        err = ckpt_fresh_next_in(o->txn, 0, &fresh);
        o->fresh = err == CKPT_OK ? fresh.sequence : UINT64_MAX;
        err = err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
    }
    if (err == CKPT_OK) {
        err = find_orphans(o);
    }
    ckpt_txn_abort(o->txn);
    o->txn = NULL;
    return err;
}

/* *DROPPED is counted up; a version that a cold live file consists of stays. */
static enum ckpt_err drop_orphan(struct ckpt_engine *engine, struct ckpt_txn *txn, const struct orphan *orphan,
                                 const struct ckpt_needed *needed, size_t *dropped)
{
    size_t found = 0;
    bool survives = false;
    enum ckpt_err err = ckpt_needed_survives_in(txn, needed, orphan->dir, orphan->name, &orphan->number, 1, &found,
                                                &survives);
    if (err == CKPT_OK && found > 0 && survives) {
        err = ckpt_catalog_drop_in(engine->store, engine->codec, txn, orphan->dir, orphan->name, &orphan->number, 1);
        ++*dropped;
    }
    return err;
}

static enum ckpt_err drop_orphans(struct ckpt_engine *engine, const struct orphans *o, size_t *dropped)
{
    struct ckpt_txn *txn = NULL;
    enum ckpt_err err = ckpt_store_begin(engine->store, &txn);
    for (size_t i = 0; err == CKPT_OK && i < o->count; i++) {
        struct ckpt_needed needed;
        err = ckpt_needed_find(engine, o->list[i].dir, o->list[i].name, &needed);
        if (err == CKPT_OK) {
            err = drop_orphan(engine, txn, &o->list[i], &needed, dropped);
        } else if (err == CKPT_ERR_CORRUPT) {
            err = CKPT_OK; /* the live file may consist of anything */
        }
    }
    if (err != CKPT_OK) {
        ckpt_txn_abort(txn);
        return err;
    }
    return ckpt_store_commit(engine->store, txn);
}

enum ckpt_err ckpt_retain_orphans(struct ckpt_engine *engine, bool *more)
{
    struct orphans *o = calloc(1, sizeof *o);
    size_t dropped = 0;
    *more = false;
    if (o == NULL) {
        return CKPT_ERR_NOMEM;
    }
    enum ckpt_err err = ckpt_dir_rows_save(engine);
    if (err == CKPT_OK) {
        err = list_orphans(engine, o);
    }
    if (err == CKPT_OK && o->count > 0) {
        err = drop_orphans(engine, o, &dropped);
    }
    if (err == CKPT_OK && dropped > 0) {
        engine->sweep = true;
        ckpt_sweeper_refresh(engine->sweeper);
    }
    /* Those that must stay are found again, and would be for ever. */
    *more = err == CKPT_OK && o->count == ORPHANS && dropped > 0;
    free(o);
    return err;
}

/* ---- hot files under a policy ---- */

/* A live name of a checkpoint. */
struct hot_name {
    uint64_t owner; /* directory that the policy stands at */
    uint64_t limit;
    uint64_t dir;
    const char *name; /* in the keeper's run */
    uint64_t sequence;
    bool newest; /* of its run: goes last */
    uint64_t bytes;
};

struct hot_names {
    struct ckpt_engine *engine;
    struct hot_name *list;
    size_t count;
    size_t room;
};

static enum ckpt_err add_name(struct hot_names *names, const struct hot_name *name)
{
    if (names->count == names->room) {
        size_t room = names->room == 0 ? 64 : 2 * names->room;
        struct hot_name *list = reallocarray(names->list, room, sizeof *list);
        if (list == NULL) {
            return CKPT_ERR_NOMEM;
        }
        names->list = list;
        names->room = room;
    }
    names->list[names->count++] = *name;
    return CKPT_OK;
}

static enum ckpt_err add_run(void *arg, struct ckpt_run *run)
{
    struct hot_names *names = arg;
    struct ckpt_policy policy;
    struct hot_name name = {0};
    int64_t changed_ns = 0;
    char *text = NULL;
    enum ckpt_err err = ckpt_policy_find(names->engine->store, run->dir, &text, &name.owner, &changed_ns);
    if (err == CKPT_OK) {
        err = ckpt_policy_parse(text, strlen(text), &policy, NULL);
    }
    free(text);
    if (err != CKPT_OK || !policy.has_hot) {
        return err == CKPT_ERR_NOT_FOUND || err == CKPT_ERR_INVALID ? CKPT_OK : err;
    }
    name.limit = policy.hot;
    const struct ckpt_checkpoint *latest = ckpt_run_latest(run);
    for (size_t i = 0; err == CKPT_OK && i < run->count; i++) {
        const struct ckpt_checkpoint *c = run->list[i];
        for (size_t k = 0; err == CKPT_OK && !c->dropped && !c->hidden && k < c->n_members; k++) {
            const struct ckpt_member *m = &c->members[k];
            if (m->gone || m->replaced) {
                continue;
            }
            name.dir = m->dir;
            name.name = m->name;
            name.sequence = c->sequence;
            name.newest = c == latest;
            err = add_name(names, &name);
        }
    }
    return err;
}

static int by_name(const void *a, const void *b)
{
    const struct hot_name *x = a;
    const struct hot_name *y = b;
    if (x->dir != y->dir) {
        return x->dir < y->dir ? -1 : 1;
    }
    int order = strcmp(x->name, y->name);
    return order != 0 ? order : x->sequence > y->sequence ? -1 : x->sequence < y->sequence;
}

static int by_worth(const void *a, const void *b)
{
    const struct hot_name *x = a;
    const struct hot_name *y = b;
    if (x->owner != y->owner) {
        return x->owner < y->owner ? -1 : 1;
    }
    if (x->newest != y->newest) {
        return x->newest ? 1 : -1;
    }
    return x->sequence < y->sequence ? -1 : x->sequence > y->sequence;
}

/* Where it is, and the host bytes that it has. False: it isn't there. */
static bool look(struct ckpt_engine *engine, struct hot_name *name, char path[PATH_MAX])
{
    struct stat st;
    name->bytes = 0;
    if (ckpt_catalog_path(engine->store, name->dir, path, PATH_MAX) != CKPT_OK) {
        return false;
    }
    size_t n = strlen(path);
    if (n + 1 + strlen(name->name) >= PATH_MAX) {
        return false;
    }
    if (n > 0) {
        path[n++] = '/';
    }
    strcpy(path + n, name->name);
    if (ckpt_host_fstatat(ckpt_store_livefd(engine->store), path, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
        !S_ISREG(st.st_mode)) {
        return false;
    }
    name->bytes = (uint64_t)st.st_blocks * 512;
    return true;
}

/* Names FROM to TO are those of one policy. */
static enum ckpt_err limit(struct ckpt_engine *engine, struct hot_name *list, size_t from, size_t to, bool *held)
{
    char path[PATH_MAX];
    uint64_t sum = 0;
    for (size_t i = from; i < to; i++) {
        sum += look(engine, &list[i], path) ? list[i].bytes : 0;
    }
    for (size_t i = from; i < to && sum > list[i].limit; i++) {
        uint64_t before = list[i].bytes;
        if (before == 0) {
            continue;
        }
        enum ckpt_err err = look(engine, &list[i], path) ? ckpt_hot_demote(engine, path, false) : CKPT_OK;
        if (err == CKPT_ERR_STOPPED || err == CKPT_ERR_NOSPC) {
            return err;
        }
        sum -= before;
        sum += look(engine, &list[i], path) ? list[i].bytes : 0;
    }
    *held = *held || (to > from && sum > list[from].limit);
    return CKPT_OK;
}

enum ckpt_err ckpt_retain_hot(struct ckpt_engine *engine, bool *held)
{
    struct hot_names names = {.engine = engine};
    size_t n = 0;
    *held = false;
    enum ckpt_err err = ckpt_dir_rows_save(engine);
    if (err == CKPT_OK) {
        err = ckpt_keeper_each(engine->keeper, true, add_run, &names);
    }
    if (err == CKPT_OK && names.count > 0) {
        qsort(names.list, names.count, sizeof *names.list, by_name);
        for (size_t i = 0; i < names.count; i++) {
            bool again = i > 0 && names.list[i].dir == names.list[n - 1].dir &&
                         strcmp(names.list[i].name, names.list[n - 1].name) == 0;
            if (!again) {
                names.list[n++] = names.list[i];
            }
        }
        qsort(names.list, n, sizeof *names.list, by_worth);
    }
    for (size_t from = 0; err == CKPT_OK && from < n;) {
        size_t to = from;
        while (to < n && names.list[to].owner == names.list[from].owner) {
            to++;
        }
        err = limit(engine, names.list, from, to, held);
        from = to;
    }
    free(names.list);
    return err;
}
