/*
 * Metrics: what the files of a run say, and which checkpoints it is about.
 *
 * The points are held in memory only, because the files are there to be read again; the values that a checkpoint has are in its
 * row. Files are found once for a run, when its first checkpoint is published, and then looked at while it is written to.
 */
#include "keeper.h"
#include "metrics.h"
#include "naming.h"
#include "publish.h"
#include "recognise.h"
#include "run_parts.h"
#include "run_rows.h"
#include "series.h"
#include "sources.h"
#include <ckpt/host.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

enum {
    RECENT = 64,                    /* checkpoints that new points are most likely about */
    POLL_MS = 2000,                 /* files of a run that is written to */
    SLOW_MS = 60 * 1000,            /* of others */
    ACTIVE_MS = 60 * 60 * 1000,     /* so long after its last capture a run counts as written to */
    LEARNERS = 64,                  /* runs whose files are followed at a time */
    POLLS = 16,                     /* in a row, of files of which there is more */
};

static void free_learner(struct ckpt_learner *l)
{
    ckpt_series_free(l->series);
    ckpt_sources_free(l->sources);
    free(l);
}

void ckpt_publish_learners_free(struct ckpt_publisher *p)
{
    struct ckpt_learner *l = NULL;
    struct ckpt_learner *next = NULL;
    LL_FOREACH_SAFE (p->learners, l, next) {
        free_learner(l);
    }
    p->learners = NULL;
}

/* The one that has been silent longest makes room. */
static void make_room(struct ckpt_publisher *p)
{
    struct ckpt_learner *l = NULL;
    struct ckpt_learner *oldest = NULL;
    int count = 0;
    LL_FOREACH (p->learners, l) {
        count++;
        oldest = oldest == NULL || l->active_ms < oldest->active_ms ? l : oldest;
    }
    if (count >= LEARNERS) {
        LL_DELETE(p->learners, oldest);
        free_learner(oldest);
    }
}

static enum ckpt_err learner_of(struct ckpt_publisher *p, uint64_t run, struct ckpt_learner **out)
{
    struct ckpt_learner *l = NULL;
    LL_FOREACH (p->learners, l) {
        if (l->run == run) {
            *out = l;
            return CKPT_OK;
        }
    }
    make_room(p);
    l = calloc(1, sizeof *l);
    if (l == NULL) {
        return CKPT_ERR_NOMEM;
    }
    l->run = run;
    l->discover = l->join_all = true;
    enum ckpt_err err = ckpt_series_create(&l->series);
    if (err == CKPT_OK) {
        err = ckpt_sources_create(&l->sources);
    }
    if (err != CKPT_OK) {
        free_learner(l);
        return err;
    }
    LL_PREPEND(p->learners, l);
    *out = l;
    return CKPT_OK;
}

/* ---- reading ---- */

struct sharing {
    struct ckpt_publisher *publisher;
    uint64_t run;
};

/* A directory above the run with other runs in it as well: what is logged there could be any one's. */
static bool is_shared(void *arg, const char *ancestor)
{
    const struct sharing *s = arg;
    struct ckpt_engine *engine = s->publisher->engine;
    char path[PATH_MAX];
    char name[NAME_MAX + 1];
    uint64_t above = 0;
    uint64_t *dirs = NULL;
    size_t n = 0;
    bool shared = false;
    if (engine->config.runs == NULL ||
        (size_t)snprintf(path, sizeof path, "%s%sx", ancestor, ancestor[0] == '\0' ? "" : "/") >= sizeof path ||
        ckpt_catalog_resolve(engine->store, path, &above, name) != CKPT_OK ||
        ckpt_runs_below(engine->config.runs, above, &dirs, &n) != CKPT_OK) {
        return true;
    }
    for (size_t i = 0; i < n; i++) {
        shared |= dirs[i] != s->run;
    }
    free(dirs);
    return shared;
}

static enum ckpt_err read_on(struct ckpt_publisher *p, struct ckpt_learner *l, bool *changed)
{
    char path[PATH_MAX];
    struct sharing sharing = {.publisher = p, .run = l->run};
    struct ckpt_polled polled = {.more = true};
    enum ckpt_err err = ckpt_catalog_path(p->engine->store, l->run, path, sizeof path);
    for (int i = 0; err == CKPT_OK && polled.more && i < POLLS; i++) {
        err = ckpt_sources_poll(l->sources, p->engine->store, path, l->discover, is_shared, &sharing, l->series,
                                &polled);
        *changed |= polled.changed;
        l->discover = false;
    }
    return err;
}

/* ---- joining ---- */

static const struct ckpt_checkpoint *before(const struct ckpt_run *run, size_t i)
{
    while (i-- > 0) {
        if (run->list[i]->status != CKPT_STATUS_INVALID) {
            return run->list[i];
        }
    }
    return NULL;
}

static void fill_key(const struct ckpt_run *run, size_t i, struct ckpt_join_key *key)
{
    const struct ckpt_checkpoint *c = run->list[i];
    const struct ckpt_checkpoint *previous = before(run, i);
    struct ckpt_naming naming;
    ckpt_naming_read(c->root, &naming);
    *key = (struct ckpt_join_key){.has_step = c->has_step,
                                  .step = c->step,
                                  .has_epoch = c->has_epoch,
                                  .epoch = c->epoch,
                                  .has_number = naming.has_number,
                                  .number = naming.number,
                                  .saved_ns = c->saved_ns};
    if (previous != NULL) {
        key->previous_ns = previous->saved_ns;
        key->has_previous_step = previous->has_step;
        key->previous_step = previous->step;
    }
}

/* Where training was when a checkpoint was saved whose name and content don't say it. */
static bool take_place(const struct ckpt_series *series, const struct ckpt_join_key *key, struct ckpt_checkpoint *c)
{
    struct ckpt_series_place place = {0};
    if ((c->has_epoch && c->epoch_from != CKPT_FROM_METRICS) || (c->has_step && c->step_from != CKPT_FROM_METRICS) ||
        !ckpt_series_find_place(series, key, &place)) {
        return false;
    }
    bool news = place.has_epoch != c->has_epoch || place.has_step != c->has_step ||
                (place.has_epoch && place.epoch != c->epoch) || (place.has_step && place.step != c->step);
    c->has_epoch = place.has_epoch;
    c->epoch = place.epoch;
    c->epoch_from = CKPT_FROM_METRICS;
    c->has_step = place.has_step;
    c->step = place.step;
    c->step_from = CKPT_FROM_METRICS;
    return news;
}

static enum ckpt_err set_joined(struct ckpt_checkpoint *c, const struct ckpt_joined *joined, bool *changed)
{
    static const enum ckpt_by by[] = {[CKPT_JOIN_STEP] = CKPT_BY_STEP,
                                      [CKPT_JOIN_EPOCH] = CKPT_BY_EPOCH,
                                      [CKPT_JOIN_TIME] = CKPT_BY_TIME,
                                      [CKPT_JOIN_TRIAL] = CKPT_BY_ITSELF};
    bool news = false;
    struct ckpt_value value = {.name = (char *)(uintptr_t)joined->name,
                               .value = joined->value,
                               .from = CKPT_FROM_METRICS,
                               .by = by[joined->by],
                               .kind = (uint8_t)joined->source,
                               .path = (char *)(uintptr_t)joined->path};
    enum ckpt_err err = ckpt_checkpoint_set_value(c, &value, &news);
    *changed |= news;
    return err;
}

static enum ckpt_err join_one(struct ckpt_publisher *p, struct ckpt_learner *l, struct ckpt_run *run, size_t i)
{
    struct ckpt_checkpoint *c = run->list[i];
    struct ckpt_join_key key;
    struct ckpt_joined *list = NULL;
    size_t count = 0;
    fill_key(run, i, &key);
    bool changed = take_place(l->series, &key, c);
    fill_key(run, i, &key);
    enum ckpt_err err = ckpt_series_join(l->series, &key, &list, &count);
    for (size_t k = 0; err == CKPT_OK && k < count; k++) {
        /* What is no number of training, as an epoch's own column, is no metric either. */
        if (strcmp(list[k].normalised, "epoch") != 0 && strcmp(list[k].normalised, "step") != 0) {
            err = set_joined(c, &list[k], &changed);
        }
    }
    free(list);
    if (err == CKPT_OK && changed) {
        ckpt_keeper_touch(p->engine->keeper, run, c);
        err = ckpt_publish_changed(p, run->dir);
    }
    return err;
}

static enum ckpt_err join(struct ckpt_publisher *p, struct ckpt_learner *l, struct ckpt_run *run)
{
    size_t first = !l->join_all && run->count > RECENT ? run->count - RECENT : 0;
    enum ckpt_err err = CKPT_OK;
    for (size_t i = first; err == CKPT_OK && i < run->count; i++) {
        if (run->list[i]->status != CKPT_STATUS_INVALID) {
            err = join_one(p, l, run, i);
        }
    }
    l->join_all = false;
    return err;
}

/* The metrics in a checkpoint's own directory. */
static enum ckpt_err read_members(struct ckpt_publisher *p, struct ckpt_learner *l, const struct ckpt_run *run)
{
    char above[PATH_MAX];
    char path[PATH_MAX];
    enum ckpt_err err = ckpt_catalog_path(p->engine->store, run->dir, above, sizeof above);
    const struct ckpt_checkpoint *c = run->count > 0 ? run->list[run->count - 1] : NULL;
    for (size_t i = 0; err == CKPT_OK && c != NULL && i < c->n_members; i++) {
        struct ckpt_recognised what;
        bool changed = false;
        const struct ckpt_member *m = &c->members[i];
        if (!m->directory || m->replaced || m->gone) {
            continue;
        }
        ckpt_recognise(m->path, true, &what);
        if (what.metrics == CKPT_LOGS_NONE ||
            (size_t)snprintf(path, sizeof path, "%s%s%s", above, above[0] == '\0' ? "" : "/", m->path) >= sizeof path) {
            continue;
        }
        err = ckpt_sources_read_file(p->engine->store, path, l->series, &changed);
        /* A file that can't be read says nothing. */
        err = err == CKPT_ERR_NOMEM ? err : CKPT_OK;
    }
    return err;
}

enum ckpt_err ckpt_publish_learn(struct ckpt_publisher *p, struct ckpt_run *run, bool news)
{
    struct ckpt_learner *l = NULL;
    bool changed = news;
    enum ckpt_err err = learner_of(p, run->dir, &l);
    if (err != CKPT_OK) {
        return err;
    }
    if (news) {
        l->active_ms = ckpt_now_ms();
        err = read_members(p, l, run);
    }
    if (err == CKPT_OK) {
        err = read_on(p, l, &changed);
    }
    int64_t now = ckpt_now_ms();
    l->next_ms = now + (now - l->active_ms < ACTIVE_MS ? POLL_MS : SLOW_MS);
    return err == CKPT_OK && changed ? join(p, l, run) : err;
}

/* ---- following ---- */

/* Files that somebody has made, closed or renamed: they may be logs of a run. */
static enum ckpt_err take_notes(struct ckpt_publisher *p)
{
    struct ckpt_look *notes = NULL;
    struct ckpt_look *note = NULL;
    struct ckpt_look *next = NULL;
    struct ckpt_learner *l = NULL;
    enum ckpt_err err = CKPT_OK;
    pthread_mutex_lock(&p->engine->lock);
    notes = p->engine->notes;
    p->engine->notes = NULL;
    p->engine->note_count = 0;
    pthread_mutex_unlock(&p->engine->lock);
    LL_FOREACH_SAFE (notes, note, next) {
        LL_FOREACH (p->learners, l) {
            char path[PATH_MAX];
            bool is = false;
            if (err == CKPT_OK && ckpt_catalog_path(p->engine->store, l->run, path, sizeof path) == CKPT_OK) {
                err = ckpt_sources_note(l->sources, path, note->path, &is);
            }
            if (is) {
                l->next_ms = 0;
                l->join_all = true;
            }
        }
        free(note);
    }
    return err;
}

enum ckpt_err ckpt_publish_poll(struct ckpt_publisher *p, bool now)
{
    struct ckpt_learner *l = NULL;
    struct ckpt_learner *next = NULL;
    enum ckpt_err err = take_notes(p);
    LL_FOREACH_SAFE (p->learners, l, next) {
        struct ckpt_run *run = NULL;
        if (err != CKPT_OK || (!now && ckpt_now_ms() < l->next_ms)) {
            continue;
        }
        err = ckpt_keeper_run(p->engine->keeper, l->run, false, &run);
        if (err == CKPT_OK) {
            err = ckpt_publish_learn(p, run, false);
        }
        err = err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
    }
    return err;
}
