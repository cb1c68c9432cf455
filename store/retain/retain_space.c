/*
 * A host that is nearly full: what can be had back for some more time is given up before its time, the oldest saves of all
 * runs first.
 */
#include "object/internal.h"
#include "retain_parts.h"
#include <stdlib.h>

enum {
    SPACE_MS = 2000, /* until space that was given up has come free */
    SPACE_IDLE_MS = 60000,
};

/* What can go before its grace is over. */
struct grace {
    uint64_t sequence;
    uint64_t bytes;
    struct ckpt_due_run *run;
};

struct graces {
    struct grace *list;
    size_t count;
    size_t room;
    uint64_t leaving; /* bytes that go anyway */
};

static bool has_grace(const struct ckpt_policy_verdict *v)
{
    return v->kind != CKPT_VERDICT_DROP && v->until_ns != 0;
}

static enum ckpt_err add_grace(struct graces *graces, struct ckpt_due_run *d, const struct ckpt_policy_checkpoint *c)
{
    if (graces->count == graces->room) {
        size_t room = graces->room == 0 ? 64 : 2 * graces->room;
        struct grace *list = reallocarray(graces->list, room, sizeof *list);
        if (list == NULL) {
            return CKPT_ERR_NOMEM;
        }
        graces->list = list;
        graces->room = room;
    }
    graces->list[graces->count++] = (struct grace){.sequence = c->sequence, .bytes = c->bytes, .run = d};
    return CKPT_OK;
}

static enum ckpt_err find_graces(struct ckpt_engine *engine, struct graces *graces)
{
    struct ckpt_due_run *d = NULL;
    struct ckpt_due_run *next = NULL;
    struct ckpt_knowledge k;
    enum ckpt_err err = ckpt_retain_learn(engine, &k);
    HASH_ITER (hh, engine->retainer->runs, d, next) {
        struct ckpt_policy policy;
        struct ckpt_judgement judgement = {0};
        struct ckpt_run *run = NULL;
        enum ckpt_err judged = err == CKPT_OK ? ckpt_retain_look(engine, d, &k, 0, &policy, &run, &judgement) : err;
        for (size_t i = 0; judged == CKPT_OK && err == CKPT_OK && i < judgement.count; i++) {
            if (has_grace(&judgement.verdicts[i])) {
                err = add_grace(graces, d, &judgement.checkpoints[i]);
            }
        }
        graces->leaving += judged == CKPT_OK ? judgement.summary.dropped_bytes : 0;
        ckpt_judgement_clear(&judgement);
    }
    free(k.parents);
    return err;
}

static int by_sequence(const void *a, const void *b)
{
    uint64_t x = ((const struct grace *)a)->sequence;
    uint64_t y = ((const struct grace *)b)->sequence;
    return x < y ? -1 : x > y;
}

/* All that a run has to give up, from the sum of it. */
static enum ckpt_err give_up(struct ckpt_engine *engine, struct ckpt_due_run *d, const struct graces *graces, size_t n,
                             struct ckpt_rotation *rotation)
{
    uint64_t wanted = 0;
    for (size_t i = 0; i < n; i++) {
        wanted += graces->list[i].run == d ? graces->list[i].bytes : 0;
    }
    return wanted == 0 ? CKPT_OK : ckpt_retain_run(engine, d, wanted, rotation);
}

/* The oldest saves of all runs go first. */
static enum ckpt_err make_space(struct ckpt_engine *engine, uint64_t bytes_wanted, bool *worked)
{
    struct graces graces = {0};
    struct ckpt_rotation rotation = {0};
    struct ckpt_due_run *d = NULL;
    struct ckpt_due_run *next = NULL;
    size_t n = 0;
    enum ckpt_err err = find_graces(engine, &graces);
    if (graces.count > 0) {
        qsort(graces.list, graces.count, sizeof *graces.list, by_sequence);
    }
    for (uint64_t sum = graces.leaving; n < graces.count && sum < bytes_wanted; n++) {
        sum += graces.list[n].bytes;
    }
    HASH_ITER (hh, engine->retainer->runs, d, next) {
        if (err == CKPT_OK) {
            err = give_up(engine, d, &graces, n, &rotation);
        }
    }
    free(graces.list);
    *worked = rotation.dropped > 0;
    if (*worked) {
        ckpt_reportf(CKPT_REPORT(engine), CKPT_WARNING,
                     "%s: the host filesystem is nearly full: %llu checkpoints that could have been had back for some "
                     "more time were given up",
                     ckpt_store_path(engine->store), (unsigned long long)rotation.dropped);
    }
    return err;
}

enum ckpt_err ckpt_retain_space(struct ckpt_engine *engine, bool *worked)
{
    struct ckpt_retainer *retainer = engine->retainer;
    struct ckpt_space space;
    if (!engine->short_of_space || engine->sweep || engine->swept || engine->punch ||
        ckpt_now_ms() < retainer->space_ms || ckpt_store_space(engine->store, &space) != CKPT_OK ||
        space.host_free >= engine->config.reserve) {
        return CKPT_OK;
    }
    enum ckpt_err err = make_space(engine, engine->config.reserve - space.host_free, worked);
    if (err == CKPT_OK) {
        bool more = false;
        err = ckpt_retain_orphans(engine, &more);
        *worked = *worked || more;
    }
    retainer->space_ms = ckpt_now_ms() + (*worked ? SPACE_MS : SPACE_IDLE_MS);
    return err;
}
