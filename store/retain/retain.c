/*
 * Which run is to be judged next, and with what knowledge.
 */
#include "catalog/run_rows.h"
#include "object/garbage.h"
#include "object/internal.h"
#include "publish/publish.h"
#include "retain_parts.h"
#include <ckpt/host.h>
#include <stdlib.h>
#include <string.h>

enum {
    REST = 20,          /* times what the last judgement took */
    HELD_MS = 10000,    /* until what was held is tried again */
    FAILED_MS = 10000,
    MISSING_MS = 1000,  /* a directory that is just being moved isn't there either */
    ORPHANS_MS = 3600 * 1000,
    ALIVE_PART = 10,    /* of the time that makes a run final: until its writer is looked at again */
};

static const int64_t ms_ns = 1000000;
static const int64_t running_ns = INT64_C(600) * 1000000000;

enum ckpt_err ckpt_retainer_create(struct ckpt_engine *engine, struct ckpt_retainer **out)
{
    struct ckpt_retainer *retainer = calloc(1, sizeof *retainer);
    if (retainer == NULL) {
        return CKPT_ERR_NOMEM;
    }
    retainer->engine = engine;
    retainer->orphans_ms = ckpt_now_ms() + ORPHANS_MS;
    *out = retainer;
    return CKPT_OK;
}

void ckpt_retainer_free(struct ckpt_retainer *retainer)
{
    if (retainer == NULL) {
        return;
    }
    struct ckpt_due_run *d = retainer->runs;
    HASH_CLEAR(hh, retainer->runs);
    while (d != NULL) {
        struct ckpt_due_run *next = d->hh.next;
        free(d);
        d = next;
    }
    free(retainer);
}

/* ---- what is due ---- */

/* NULL: no memory. */
static struct ckpt_due_run *find(struct ckpt_retainer *retainer, uint64_t dir)
{
    struct ckpt_due_run *d = NULL;
    HASH_FIND(hh, retainer->runs, &dir, sizeof dir, d);
    if (d == NULL && (d = calloc(1, sizeof *d)) != NULL) {
        d->dir = dir;
        d->unfinished = true; /* who knows what a crash has left */
        d->next_ns = INT64_MAX;
        HASH_ADD(hh, retainer->runs, dir, sizeof d->dir, d);
        if (d->hh.tbl == NULL) {
            free(d);
            d = NULL;
        }
    }
    return d;
}

static void set_due(struct ckpt_engine *engine, struct ckpt_due_run *d, bool due)
{
    if (d->due == due) {
        return;
    }
    d->due = due;
    pthread_mutex_lock(&engine->lock);
    engine->judging += due ? 1U : -1U;
    pthread_cond_broadcast(&engine->quiet);
    pthread_mutex_unlock(&engine->lock);
}

void ckpt_retain_due(struct ckpt_engine *engine, uint64_t run)
{
    struct ckpt_due_run *d = find(engine->retainer, run);
    if (d == NULL) {
        engine->retainer->loaded = false; /* found with the others, some time */
    } else {
        set_due(engine, d, true);
    }
}

static enum ckpt_err see_run(void *arg, struct ckpt_run *run)
{
    struct ckpt_engine *engine = arg;
    struct ckpt_due_run *d = find(engine->retainer, run->dir);
    if (d == NULL) {
        return CKPT_ERR_NOMEM;
    }
    set_due(engine, d, true);
    return CKPT_OK;
}

/* ---- what is known about a run ---- */

/* Which process that is. False: not known. */
static bool find_writer(struct ckpt_engine *engine, uint64_t process, struct ckpt_process_key *key)
{
    struct ckpt_txn *txn = NULL;
    char *json = NULL;
    enum ckpt_err err = ckpt_txn_read(engine->store->db, &txn);
    if (err == CKPT_OK) {
        err = ckpt_process_get_in(txn, process, &json);
    }
    ckpt_txn_abort(txn);
    bool found = err == CKPT_OK && ckpt_process_key_from_json(json, key);
    free(json);
    return found;
}

/* Who has ended stays so; whether one that lives still does is asked each time. */
static enum ckpt_writer look_at_writer(struct ckpt_engine *engine, struct ckpt_due_run *d, const struct ckpt_run *run)
{
    if (d->process != run->process) {
        bool found = find_writer(engine, run->process, &d->key);
        d->process = run->process;
        d->writer = found ? CKPT_WRITER_LIVES : CKPT_WRITER_UNKNOWN;
    }
    if (d->writer == CKPT_WRITER_LIVES && !ckpt_process_alive(&d->key)) {
        d->writer = CKPT_WRITER_ENDED;
    }
    return d->writer;
}

bool ckpt_retain_is_running(struct ckpt_engine *engine, const struct ckpt_run *run, int64_t now_ns)
{
    struct ckpt_due_run *d = run->finished ? NULL : find(engine->retainer, run->dir);
    enum ckpt_writer writer = d == NULL ? CKPT_WRITER_UNKNOWN : look_at_writer(engine, d, run);
    bool recent = now_ns - run->written_ns < running_ns;
    return !run->finished && (writer == CKPT_WRITER_UNKNOWN ? recent : writer == CKPT_WRITER_LIVES);
}

/* A hidden one too: whether its bytes may go depends on it. */
static bool is_open(void *arg, const struct ckpt_checkpoint *c)
{
    const struct ckpt_knowledge *k = arg;
    for (size_t i = 0; i < c->n_members; i++) {
        if (!c->members[i].replaced && ckpt_is_pinned(k->engine->store, &c->members[i].recipe)) {
            return true;
        }
    }
    return false;
}

static int by_id(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static bool is_parent(void *arg, const struct ckpt_checkpoint *c)
{
    const struct ckpt_knowledge *k = arg;
    return k->n_parents > 0 && bsearch(&c->id, k->parents, k->n_parents, sizeof c->id, by_id) != NULL;
}

/* What the present writer of a run that is running has started from. */
static enum ckpt_err add_parents(void *arg, struct ckpt_run *run)
{
    struct ckpt_knowledge *k = arg;
    uint64_t last = 0;
    bool running = ckpt_retain_is_running(k->engine, run, k->now_ns);
    for (size_t i = 0; running && i < run->count; i++) {
        const struct ckpt_checkpoint *c = run->list[i];
        if (c->parent == 0 || c->parent == last || (run->process != 0 && c->process != run->process)) {
            continue;
        }
        if (k->n_parents == k->room) {
            size_t room = k->room == 0 ? 64 : 2 * k->room;
            uint64_t *parents = reallocarray(k->parents, room, sizeof *parents);
            if (parents == NULL) {
                return CKPT_ERR_NOMEM;
            }
            k->parents = parents;
            k->room = room;
        }
        k->parents[k->n_parents++] = last = c->parent;
    }
    return CKPT_OK;
}

enum ckpt_err ckpt_retain_learn(struct ckpt_engine *engine, struct ckpt_knowledge *k)
{
    *k = (struct ckpt_knowledge){.engine = engine, .now_ns = ckpt_realtime_ns()};
    enum ckpt_err err = ckpt_keeper_each(engine->keeper, true, add_parents, k);
    if (err == CKPT_OK && k->n_parents > 0) {
        qsort(k->parents, k->n_parents, sizeof *k->parents, by_id);
    }
    return err;
}

/* Whether its directory was removed. Not at first sight: somebody may be about to tell where it has gone. */
static enum ckpt_err is_deleted(struct ckpt_engine *engine, struct ckpt_due_run *d, bool *deleted)
{
    int fd = -1;
    *deleted = false;
    enum ckpt_err err = ckpt_dir_rows_save(engine);
    if (err == CKPT_OK) {
        err = ckpt_live_open_dir(engine, d->dir, &fd);
    }
    if (err == CKPT_OK && fd < 0) {
        d->missing_ms = d->missing_ms != 0 ? d->missing_ms : ckpt_now_ms();
        *deleted = ckpt_now_ms() - d->missing_ms >= MISSING_MS;
    } else {
        d->missing_ms = 0;
    }
    ckpt_host_close(fd);
    return err;
}

/* ---- judging one ---- */

static int64_t final_ns(const struct ckpt_engine *engine)
{
    return (engine->config.final_ms == 0 ? CKPT_FINAL_MS : (int64_t)engine->config.final_ms) * ms_ns;
}

/* NULL: there are records only. */
static const struct ckpt_checkpoint *last_of(const struct ckpt_run *run)
{
    for (size_t i = run->count; i-- > 0;) {
        if (!run->list[i]->dropped) {
            return run->list[i];
        }
    }
    return NULL;
}

/* Nothing came for a while, the last one is published, and the writer has ended, or nobody knows him. */
static bool is_over(struct ckpt_engine *engine, struct ckpt_due_run *d, const struct ckpt_run *run, int64_t now_ns)
{
    const struct ckpt_checkpoint *last = last_of(run);
    return !run->finished && last != NULL && last->status == CKPT_STATUS_COMPLETE &&
           now_ns - run->written_ns >= final_ns(engine) && look_at_writer(engine, d, run) != CKPT_WRITER_LIVES;
}

static void earlier(int64_t *next, int64_t time)
{
    *next = time < *next ? time : *next;
}

/* When there will be something to do without anybody doing anything. */
static int64_t next_time(const struct ckpt_engine *engine, const struct ckpt_due_run *d, const struct ckpt_run *run,
                         const struct ckpt_judgement *judgement, bool again, int64_t now_ns)
{
    int64_t next = INT64_MAX;
    for (size_t i = 0; i < judgement->count; i++) {
        const struct ckpt_policy_verdict *v = &judgement->verdicts[i];
        if (v->until_ns > now_ns) {
            earlier(&next, v->until_ns);
        }
        /* Nobody says when that ends. */
        again = again || v->reason == CKPT_REASON_OPEN || v->reason == CKPT_REASON_PARENT;
    }
    if (!run->finished && run->count > 0 && run->written_ns + final_ns(engine) > now_ns) {
        earlier(&next, run->written_ns + final_ns(engine));
    } else if (!run->finished && d->writer == CKPT_WRITER_LIVES) {
        earlier(&next, now_ns + final_ns(engine) / ALIVE_PART);
    }
    if (again) {
        earlier(&next, now_ns + HELD_MS * ms_ns);
    }
    if (d->missing_ms != 0 && ckpt_now_ms() - d->missing_ms < MISSING_MS) {
        earlier(&next, now_ns + MISSING_MS * ms_ns);
    }
    return next;
}

/* What the run's row says of the judgement. */
static enum ckpt_err note(struct ckpt_engine *engine, struct ckpt_due_run *d, struct ckpt_run *run,
                          const struct ckpt_judgement *judgement, int64_t now_ns)
{
    const struct ckpt_policy_summary *s = &judgement->summary;
    uint32_t best = s->best == CKPT_POLICY_NONE ? 0 : run->list[s->best]->number;
    const char *old = run->metric == NULL ? "" : run->metric;
    bool over = is_over(engine, d, run, now_ns);
    if (!over && best == run->best && run->stop == judgement->stop.should_stop &&
        strcmp(old, s->metric == NULL ? "" : s->metric) == 0) {
        return CKPT_OK;
    }
    enum ckpt_err err = CKPT_OK;
    char *metric = s->metric == NULL ? NULL : strdup(s->metric);
    if (s->metric != NULL && metric == NULL) {
        err = CKPT_ERR_NOMEM;
    } else {
        free(run->metric);
        run->metric = metric;
        run->best = best;
        run->stop = judgement->stop.should_stop;
        if (over) {
            run->finished = true;
            run->finished_ns = now_ns;
        }
        ckpt_keeper_touch(engine->keeper, run, NULL);
    }
    return err;
}

static void tell_unranked(struct ckpt_engine *engine, struct ckpt_due_run *d, const struct ckpt_judgement *judgement)
{
    char path[PATH_MAX];
    const char *metric = judgement->summary.unranked;
    if (metric != NULL && !d->unranked && ckpt_catalog_path(engine->store, d->dir, path, sizeof path) == CKPT_OK) {
        ckpt_reportf(CKPT_REPORT(engine), CKPT_WARNING,
                     "%s: the policy keeps the best by %s, but nothing says whether more or less of it is better, so "
                     "everything is kept; add a line \"metric %s min\" (or max)",
                     path[0] == '\0' ? "the top directory" : path, metric, metric);
    }
    d->unranked = metric != NULL;
}

enum ckpt_err ckpt_retain_look(struct ckpt_engine *engine, struct ckpt_due_run *d, const struct ckpt_knowledge *k,
                           uint64_t bytes_wanted, struct ckpt_policy *policy, struct ckpt_run **run,
                           struct ckpt_judgement *judgement)
{
    struct ckpt_judge_context context = {.now_ns = k->now_ns,
                                         .bytes_wanted = bytes_wanted,
                                         .open = is_open,
                                         .parent = is_parent,
                                         .arg = (void *)k};
    enum ckpt_err err = ckpt_keeper_run(engine->keeper, d->dir, false, run);
    if (err == CKPT_OK) {
        err = ckpt_judge_policy(engine->store, d->dir, policy, &context.changed_ns);
    }
    if (err == CKPT_OK) {
        err = is_deleted(engine, d, &context.run_deleted);
    }
    return err == CKPT_OK ? ckpt_judge(*run, policy, &context, judgement) : err;
}

static enum ckpt_err judge_and_apply(struct ckpt_engine *engine, struct ckpt_due_run *d, uint64_t bytes_wanted,
                                     struct ckpt_rotation *rotation)
{
    struct ckpt_policy policy;
    struct ckpt_judgement judgement = {0};
    struct ckpt_knowledge k;
    struct ckpt_run *run = NULL;
    enum ckpt_err err = ckpt_retain_learn(engine, &k);
    if (err == CKPT_OK) {
        err = ckpt_retain_look(engine, d, &k, bytes_wanted, &policy, &run, &judgement);
    }
    if (err == CKPT_OK) {
        err = note(engine, d, run, &judgement, k.now_ns);
    }
    if (err == CKPT_OK) {
        tell_unranked(engine, d, &judgement);
        struct ckpt_retention r = {.engine = engine,
                                   .run = run,
                                   .judgement = &judgement,
                                   .now_ns = k.now_ns,
                                   .unfinished = d->unfinished};
        err = ckpt_retain_apply(&r);
        rotation->hidden += r.rotation.hidden;
        rotation->dropped += r.rotation.dropped;
        rotation->bytes += r.rotation.bytes;
        rotation->held += r.rotation.held;
        d->unfinished = r.unfinished || err != CKPT_OK;
        engine->retainer->hot |= policy.has_hot;
        if (err == CKPT_OK) {
            d->next_ns = next_time(engine, d, run, &judgement, r.unfinished || r.rotation.held > 0, k.now_ns);
        }
    }
    ckpt_judgement_clear(&judgement);
    free(k.parents);
    return err;
}

static void tell_failed(struct ckpt_engine *engine, struct ckpt_due_run *d, enum ckpt_err err)
{
    char path[PATH_MAX];
    if (!d->failed && err != CKPT_ERR_STOPPED &&
        ckpt_catalog_path(engine->store, d->dir, path, sizeof path) == CKPT_OK) {
        ckpt_reportf(CKPT_REPORT(engine), CKPT_ERROR,
                     "%s: what is to be kept of its checkpoints could not be decided or done: %s; it is tried again",
                     path[0] == '\0' ? "the top directory" : path, ckpt_err_text(err));
    }
    d->failed = true;
}

static bool any_fresh(struct ckpt_engine *engine)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_fresh fresh;
    enum ckpt_err err = ckpt_txn_read(engine->store->db, &txn);
    if (err == CKPT_OK) {
        err = ckpt_fresh_next_in(txn, 0, &fresh);
    }
    ckpt_txn_abort(txn);
    return err != CKPT_ERR_NOT_FOUND;
}

/* A hidden checkpoint whose file was saved again, as it was, is about to come back: its version must not be dropped before. */
static enum ckpt_err publish_first(struct ckpt_engine *engine)
{
    bool worked = true;
    enum ckpt_err err = CKPT_OK;
    while (err == CKPT_OK && worked && any_fresh(engine)) {
        worked = false;
        err = ckpt_publish_step(engine->publisher, &worked);
    }
    return err;
}

enum ckpt_err ckpt_retain_run(struct ckpt_engine *engine, struct ckpt_due_run *d, uint64_t bytes_wanted,
                               struct ckpt_rotation *rotation)
{
    int64_t began = ckpt_now_ms();
    enum ckpt_err err = publish_first(engine);
    if (err == CKPT_OK) {
        err = judge_and_apply(engine, d, bytes_wanted, rotation);
    }
    if (err == CKPT_ERR_NOSPC && ckpt_ballast_drop(engine)) {
        err = judge_and_apply(engine, d, bytes_wanted, rotation);
    }
    int64_t now = ckpt_now_ms();
    d->ready_ms = now + REST * (now - began);
    if (err == CKPT_ERR_NOT_FOUND) {
        d->next_ns = INT64_MAX; /* there is no such run */
    } else if (err != CKPT_OK) {
        tell_failed(engine, d, err);
        d->ready_ms = now + FAILED_MS;
        d->next_ns = 0;
    } else {
        d->failed = false;
    }
    set_due(engine, d, false);
    return err;
}

enum ckpt_err ckpt_retain_now(struct ckpt_engine *engine, uint64_t run, struct ckpt_rotation *rotation)
{
    struct ckpt_due_run *d = find(engine->retainer, run);
    return d == NULL ? CKPT_ERR_NOMEM : ckpt_retain_run(engine, d, 0, rotation);
}

/* ---- steps ---- */

static enum ckpt_err load(struct ckpt_engine *engine, bool *worked)
{
    struct ckpt_retainer *retainer = engine->retainer;
    enum ckpt_err err = ckpt_keeper_each(engine->keeper, true, see_run, engine);
    retainer->loaded = err == CKPT_OK;
    retainer->load_ms = ckpt_now_ms() + FAILED_MS;
    *worked = err == CKPT_OK;
    return err;
}

static struct ckpt_due_run *next_run(struct ckpt_engine *engine)
{
    struct ckpt_due_run *d = NULL;
    struct ckpt_due_run *next = NULL;
    int64_t now_ms = ckpt_now_ms();
    int64_t now_ns = ckpt_realtime_ns();
    pthread_mutex_lock(&engine->lock);
    bool hurry = engine->hurry > 0;
    pthread_mutex_unlock(&engine->lock);
    HASH_ITER (hh, engine->retainer->runs, d, next) {
        if ((d->due && hurry) || ((d->due || d->next_ns <= now_ns) && now_ms >= d->ready_ms)) {
            return d;
        }
    }
    return NULL;
}

enum ckpt_err ckpt_retain_step(struct ckpt_engine *engine, bool *worked)
{
    struct ckpt_retainer *retainer = engine->retainer;
    struct ckpt_rotation rotation = {0};
    bool held = false;
    *worked = false;
    if (ckpt_store_stopped(engine->store)) {
        return CKPT_OK;
    }
    if (!retainer->loaded && ckpt_now_ms() >= retainer->load_ms) {
        return load(engine, worked);
    }
    struct ckpt_due_run *d = next_run(engine);
    if (d != NULL) {
        *worked = true;
        return ckpt_retain_run(engine, d, 0, &rotation);
    }
    if (retainer->hot && ckpt_now_ms() >= retainer->hot_ms) {
        enum ckpt_err err = ckpt_retain_hot(engine, &held);
        retainer->hot = err != CKPT_OK || held;
        retainer->hot_ms = ckpt_now_ms() + (retainer->hot ? HELD_MS : 0);
        return err;
    }
    if (ckpt_now_ms() >= retainer->orphans_ms) {
        enum ckpt_err err = ckpt_retain_orphans(engine, worked);
        retainer->orphans_ms = ckpt_now_ms() + (*worked ? 0 : ORPHANS_MS);
        return err;
    }
    return ckpt_retain_space(engine, worked);
}
