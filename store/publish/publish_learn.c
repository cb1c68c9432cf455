/*
 * Metrics: what the files of a run say, and which checkpoints it is about.
 *
 * The points are held in memory only, because the files are there to be read again; the values that a checkpoint has are in its
 * row. Files are found once for a run, when its first checkpoint is published, and then looked at while it is written to, and when
 * somebody closes one.
 *
 * Values are only ever added or changed: those of a file that goes, or of a point that is thinned out, stay.
 */
#include "catalog/run_parts.h"
#include "catalog/run_rows.h"
#include "keeper.h"
#include "metrics/metrics.h"
#include "metrics/series.h"
#include "metrics/sources.h"
#include "metrics/sources_walk.h"
#include "publish.h"
#include "recognise/naming.h"
#include "recognise/recognise.h"
#include <ckpt/host.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

enum {
    RECENT = 64,                /* checkpoints that are joined at once */
    FRESH = 8,                  /* checkpoints that a capture may have changed */
    SURE = 64,                  /* after so many in a row that the news are too late for, those before them aren't looked at */
    BEFORE = 64,                /* how far back the checkpoint before one is looked for */
    SLICE_MS = 20,              /* of a backlog */
    REST = 3,                   /* times as long as a slice took is between it and the next */
    POLL_MS = 2000,             /* files of a run that is written to */
    SLOW_MS = 60 * 1000,        /* of others */
    NOTED_MS = 300,             /* at least between two looks because of files that were closed */
    ACTIVE_MS = 60 * 60 * 1000, /* so long after its last capture a run counts as written to */
    LEARNERS = 64,              /* runs whose files are followed at a time */
    POLLS = 16,                 /* in a row, of files of which there is more */
    LEVELS = 10,                /* directories between a file and a run that it may be a source of */
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
    ckpt_series_all_news(&l->news); /* what the rows have may be from before a crash */
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

static enum ckpt_err read_on(struct ckpt_publisher *p, struct ckpt_learner *l)
{
    char path[PATH_MAX];
    struct sharing sharing = {.publisher = p, .run = l->run};
    struct ckpt_polled polled = {.more = true};
    enum ckpt_err err = ckpt_catalog_path(p->engine->store, l->run, path, sizeof path);
    for (int i = 0; err == CKPT_OK && polled.more && i < POLLS; i++) {
        err = ckpt_sources_poll(l->sources, p->engine->store, path, false, is_shared, &sharing, l->series, &polled);
    }
    ckpt_series_take_news(l->series, &l->news);
    return err;
}

/* ---- joining ---- */

static const struct ckpt_checkpoint *before(const struct ckpt_run *run, size_t i)
{
    for (size_t n = 0; n < BEFORE && i > 0; n++) {
        i--;
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
    if (previous != NULL && naming.has_number && !c->has_step && !previous->has_step) {
        ckpt_naming_read(previous->root, &naming); /* if one is a step, the other is */
        key->has_previous_step = naming.has_number;
        key->previous_step = naming.number;
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

/* The epoch of one that only says its step. */
static bool take_epoch(const struct ckpt_series *series, struct ckpt_checkpoint *c)
{
    uint64_t epoch = 0;
    if (!c->has_step || c->step_from == CKPT_FROM_METRICS || (c->has_epoch && c->epoch_from != CKPT_FROM_METRICS) ||
        !ckpt_series_epoch_of(series, c->step, &epoch) || (c->has_epoch && c->epoch == epoch)) {
        return false;
    }
    c->has_epoch = true;
    c->epoch = epoch;
    c->epoch_from = CKPT_FROM_METRICS;
    return true;
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
    /* What was found by its step isn't given up for what is only of about that time. */
    const struct ckpt_value *old = ckpt_checkpoint_value(c, value.name);
    if (old != NULL && old->from == CKPT_FROM_METRICS && value.by == CKPT_BY_TIME &&
        (old->by == CKPT_BY_STEP || old->by == CKPT_BY_EPOCH)) {
        return CKPT_OK;
    }
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
    changed |= take_epoch(l->series, c);
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

/* Joins the one at I if NEWS may be about it. */
static enum ckpt_err join_touched(struct ckpt_publisher *p, struct ckpt_learner *l, struct ckpt_run *run, size_t i,
                                  const struct ckpt_series_news *news)
{
    struct ckpt_join_key key;
    if (run->list[i]->status == CKPT_STATUS_INVALID) {
        return CKPT_OK;
    }
    fill_key(run, i, &key);
    return ckpt_series_touches(news, &key) == CKPT_TOUCH_IT ? join_one(p, l, run, i) : CKPT_OK;
}

/* The index of the oldest checkpoint that NEWS may be about. */
static size_t oldest_touched(const struct ckpt_run *run, const struct ckpt_series_news *news)
{
    size_t oldest = run->count;
    size_t sure = 0;
    for (size_t i = run->count; i-- > 0 && sure < SURE;) {
        struct ckpt_join_key key;
        fill_key(run, i, &key);
        enum ckpt_series_touch touch = ckpt_series_touches(news, &key);
        oldest = touch == CKPT_TOUCH_IT ? i : oldest;
        sure = touch == CKPT_TOUCH_LATER ? sure + 1 : 0;
    }
    return oldest;
}

/* Those from FIRST up to END are to be joined later. It goes on where it is: with news coming again and again, each has its turn. */
static void put_off(struct ckpt_learner *l, size_t first, size_t end, const struct ckpt_series_news *news)
{
    if (l->backlog.left == 0) {
        l->backlog.news = (struct ckpt_series_news){0};
        l->backlog.first = l->backlog.at = first;
        l->backlog.end = end;
    }
    l->backlog.first = first < l->backlog.first ? first : l->backlog.first;
    l->backlog.end = end > l->backlog.end ? end : l->backlog.end;
    l->backlog.left = l->backlog.end - l->backlog.first;
    ckpt_series_add_news(&l->backlog.news, news);
}

/* A slice of what was put off. */
static enum ckpt_err catch_up(struct ckpt_publisher *p, struct ckpt_learner *l, struct ckpt_run *run)
{
    int64_t start = ckpt_now_ms();
    int64_t now = start;
    enum ckpt_err err = CKPT_OK;
    if (l->backlog.end > run->count) { /* it was read anew, and has lost some */
        l->backlog.end = run->count;
        l->backlog.first = l->backlog.first < run->count ? l->backlog.first : 0;
        l->backlog.left = l->backlog.end - l->backlog.first;
    }
    for (; err == CKPT_OK && l->backlog.left > 0 && now - start < SLICE_MS; now = ckpt_now_ms()) {
        l->backlog.at = l->backlog.at < l->backlog.end ? l->backlog.at : l->backlog.first;
        err = join_touched(p, l, run, l->backlog.at, &l->backlog.news);
        l->backlog.at++;
        l->backlog.left--;
    }
    l->backlog.next_ms = now + REST * (now - start) + 1;
    return err;
}

/* CAPTURED: the newest ones may have changed, whatever the news are. */
static enum ckpt_err join(struct ckpt_publisher *p, struct ckpt_learner *l, struct ckpt_run *run, bool captured)
{
    bool any = ckpt_series_any_news(&l->news);
    size_t first = any ? oldest_touched(run, &l->news) : run->count;
    size_t recent = run->count > RECENT ? run->count - RECENT : 0;
    enum ckpt_err err = CKPT_OK;
    for (size_t i = recent; err == CKPT_OK && i < run->count; i++) {
        bool fresh = captured && (i + FRESH >= run->count || (l->joined > 0 && run->list[i]->number > l->joined));
        if (fresh && run->list[i]->status != CKPT_STATUS_INVALID) {
            err = join_one(p, l, run, i);
        } else if (any) {
            err = join_touched(p, l, run, i, &l->news);
        }
    }
    if (err == CKPT_OK && first < recent) {
        put_off(l, first, recent, &l->news);
    }
    if (err == CKPT_OK) {
        l->news = (struct ckpt_series_news){0};
        l->joined = run->count > 0 ? run->list[run->count - 1]->number : 0;
    }
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

enum ckpt_err ckpt_publish_learn(struct ckpt_publisher *p, struct ckpt_run *run, bool captured)
{
    struct ckpt_learner *l = NULL;
    enum ckpt_err err = learner_of(p, run->dir, &l);
    if (err != CKPT_OK) {
        return err;
    }
    if (captured) {
        l->active_ms = ckpt_now_ms();
        err = read_members(p, l, run);
    }
    if (err == CKPT_OK) {
        err = read_on(p, l);
    }
    int64_t now = ckpt_now_ms();
    l->next_ms = now + (now - l->active_ms < ACTIVE_MS ? POLL_MS : SLOW_MS);
    l->read_ms = now;
    return err == CKPT_OK && (captured || ckpt_series_any_news(&l->news)) ? join(p, l, run, captured) : err;
}

/* ---- following ---- */

enum ckpt_err ckpt_publish_follow(struct ckpt_publisher *p, uint64_t run)
{
    struct ckpt_learner *l = NULL;
    int count = 0;
    LL_COUNT(p->learners, l, count);
    if (count >= LEARNERS) {
        return CKPT_OK;
    }
    enum ckpt_err err = learner_of(p, run, &l);
    if (err == CKPT_OK) {
        l->active_ms = ckpt_now_ms();
    }
    return err;
}

void ckpt_publish_unlearn(struct ckpt_publisher *p)
{
    struct ckpt_learner *l = NULL;
    LL_FOREACH (p->learners, l) {
        ckpt_series_all_news(&l->news);
    }
}

/* Those of NOTES that may be sources of the run, whose directory is PATH. */
static enum ckpt_err take_notes_of(struct ckpt_learner *l, const char *path, const struct ckpt_look *notes)
{
    const struct ckpt_look *note = NULL;
    enum ckpt_err err = CKPT_OK;
    bool any = false;
    for (note = notes; err == CKPT_OK && note != NULL; note = note->next) {
        bool is = false;
        err = ckpt_sources_note(l->sources, path, note->path, &is);
        any |= is;
    }
    if (any && l->read_ms + NOTED_MS < l->next_ms) {
        l->next_ms = l->read_ms + NOTED_MS;
    }
    return err;
}

/* The run that the directory ABOVE is, or the only one that lies below it; 0: there is none. */
static uint64_t run_at(struct ckpt_publisher *p, uint64_t above)
{
    struct ckpt_run *run = NULL;
    uint64_t *dirs = NULL;
    uint64_t found = 0;
    size_t n = 0;
    if (ckpt_keeper_run(p->engine->keeper, above, false, &run) == CKPT_OK) {
        return above;
    }
    if (p->engine->config.runs != NULL && ckpt_runs_below(p->engine->config.runs, above, &dirs, &n) == CKPT_OK) {
        found = n == 1 ? dirs[0] : 0;
        free(dirs);
    }
    return found;
}

/* The file PATH may be a source of a run to which nothing has been captured since the start: it is followed from now on. */
static enum ckpt_err follow_owner(struct ckpt_publisher *p, const char *path)
{
    char beside[PATH_MAX];
    char name[NAME_MAX + 1];
    char run_path[PATH_MAX];
    size_t n = strlen(path);
    for (unsigned up = 0; up < LEVELS && n > 0; up++) {
        uint64_t above = 0;
        const char *slash = memrchr(path, '/', n);
        n = slash == NULL ? 0 : (size_t)(slash - path);
        if ((size_t)snprintf(beside, sizeof beside, "%.*s%sx", (int)n, path, n == 0 ? "" : "/") >= sizeof beside ||
            ckpt_catalog_resolve(p->engine->store, beside, &above, name) != CKPT_OK) {
            continue; /* the directories of loggers aren't in the catalog */
        }
        uint64_t run = run_at(p, above);
        if (run != 0) {
            return ckpt_catalog_path(p->engine->store, run, run_path, sizeof run_path) == CKPT_OK &&
                           ckpt_walk_reaches(run_path, CKPT_WALK_ABOVE, path)
                       ? ckpt_publish_follow(p, run)
                       : CKPT_OK;
        }
    }
    return CKPT_OK;
}

/* Files that somebody has made, closed or renamed: they may be logs of a run. */
static enum ckpt_err take_notes(struct ckpt_publisher *p)
{
    struct ckpt_look *notes = NULL;
    struct ckpt_look *note = NULL;
    struct ckpt_look *next = NULL;
    struct ckpt_look *newest_first = NULL;
    struct ckpt_learner *l = NULL;
    enum ckpt_err err = CKPT_OK;
    pthread_mutex_lock(&p->engine->lock);
    newest_first = p->engine->notes;
    p->engine->notes = NULL;
    p->engine->note_count = 0;
    pthread_mutex_unlock(&p->engine->lock);
    /* What was written last is to be read last. */
    LL_FOREACH_SAFE (newest_first, note, next) {
        LL_PREPEND(notes, note);
    }
    LL_FOREACH (notes, note) {
        if (err == CKPT_OK && ckpt_walk_what(note->path) == CKPT_WALK_METRICS) {
            err = follow_owner(p, note->path);
        }
    }
    LL_FOREACH (p->learners, l) {
        char path[PATH_MAX];
        if (err == CKPT_OK && notes != NULL && ckpt_catalog_path(p->engine->store, l->run, path, sizeof path) == CKPT_OK) {
            err = take_notes_of(l, path, notes);
        }
    }
    LL_FOREACH_SAFE (notes, note, next) {
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
        bool look = now || ckpt_now_ms() >= l->next_ms;
        bool behind = l->backlog.left > 0 && ckpt_now_ms() >= l->backlog.next_ms;
        if (err != CKPT_OK || (!look && !behind)) {
            continue;
        }
        err = ckpt_keeper_run(p->engine->keeper, l->run, false, &run);
        if (err == CKPT_ERR_NOT_FOUND) {
            LL_DELETE(p->learners, l);
            free_learner(l);
            err = CKPT_OK;
            continue;
        }
        if (err == CKPT_OK && look) {
            err = ckpt_publish_learn(p, run, false);
        }
        if (err == CKPT_OK && behind) {
            err = catch_up(p, l, run);
        }
        err = err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
    }
    return err;
}
