/*
 * The order of checkpoints by a metric, in a run and over the runs of a sweep.
 *
 * Whoever walks top/ asks for each of its places, so the last few rankings are kept as long as nothing has changed. In a run it is
 * that of its policy (means, the older of equals first). In a sweep values count as they are: those of different runs have no
 * mean in common.
 */
#include "view_parts.h"
#include <ckpt/id.h>
#include <ckpt/keep.h>
#include <ckpt/policy.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RANKINGS = 16 };

struct ranking {
    uint64_t dir;
    uint64_t state; /* of all that it depends on */
    char *metric;   /* as in a directory's name; NULL: unused */
    struct view_ranked *list;
    size_t n;
};

struct view_ranks {
    pthread_mutex_t lock;
    struct ranking rankings[RANKINGS]; /* lock */
    unsigned next;                     /* lock */
};

struct view_ranks *view_ranks_create(void)
{
    struct view_ranks *ranks = calloc(1, sizeof *ranks);
    if (ranks != NULL) {
        pthread_mutex_init(&ranks->lock, NULL);
    }
    return ranks;
}

void view_ranks_free(struct view_ranks *ranks)
{
    if (ranks == NULL) {
        return;
    }
    for (size_t i = 0; i < RANKINGS; i++) {
        free(ranks->rankings[i].metric);
        free(ranks->rankings[i].list);
    }
    pthread_mutex_destroy(&ranks->lock);
    free(ranks);
}

/* ---- names of metrics ---- */

void view_metric_name(const char *metric, char name[NAME_MAX + 1])
{
    size_t n = strnlen(metric, NAME_MAX);
    memcpy(name, metric, n);
    name[n] = '\0';
    for (char *slash = name; (slash = strchr(slash, '/')) != NULL;) {
        *slash = '_';
    }
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
        name[0] = '_';
    }
}

struct names {
    char **list;
    size_t n;
    bool failed;
};

static bool add_metric(void *arg, const char *metric)
{
    struct names *names = arg;
    char name[NAME_MAX + 1];
    view_metric_name(metric, name);
    char **list = reallocarray(names->list, names->n + 1, sizeof *list);
    if (list != NULL) {
        names->list = list;
        list[names->n] = strdup(name);
    }
    names->failed = list == NULL || list[names->n] == NULL;
    names->n += !names->failed;
    return !names->failed;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_names(struct names *names)
{
    size_t kept = 0;
    if (names->n > 0) {
        qsort(names->list, names->n, sizeof *names->list, by_name);
    }
    for (size_t i = 0; i < names->n; i++) {
        if (kept > 0 && strcmp(names->list[kept - 1], names->list[i]) == 0) {
            free(names->list[i]);
        } else {
            names->list[kept++] = names->list[i];
        }
    }
    names->n = kept;
}

static enum ckpt_err add_metrics(void *arg, const struct ckpt_run *run)
{
    struct names *names = arg;
    enum ckpt_err err = ckpt_run_each_metric(run, add_metric, names);
    if (err == CKPT_OK && names->failed) {
        err = CKPT_ERR_NOMEM;
    }
    sort_names(names); /* most runs of a sweep have the same ones */
    return err;
}

int view_metrics(struct ckptfs *fs, const struct view_place *place, char ***out, size_t *n)
{
    struct names names = {0};
    enum ckpt_err err = view_place_each(fs, place, add_metrics, &names);
    if (err != CKPT_OK) {
        view_names_free(names.list, names.n);
        return ckpt_err_errno(err);
    }
    *out = names.list;
    *n = names.n;
    return 0;
}

void view_names_free(char **names, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(names[i]);
    }
    free(names);
}

/* ---- the primary metric of a sweep ---- */

struct shared {
    char *name;
    size_t runs;
};

struct votes {
    struct shared *list;
    size_t n;
};

static enum ckpt_err vote(void *arg, const struct ckpt_run *run)
{
    struct votes *votes = arg;
    if (run->metric == NULL) {
        return CKPT_OK;
    }
    for (size_t i = 0; i < votes->n; i++) {
        if (strcmp(votes->list[i].name, run->metric) == 0) {
            votes->list[i].runs++;
            return CKPT_OK;
        }
    }
    struct shared *list = reallocarray(votes->list, votes->n + 1, sizeof *list);
    if (list == NULL) {
        return CKPT_ERR_NOMEM;
    }
    votes->list = list;
    list[votes->n] = (struct shared){.name = strdup(run->metric), .runs = 1};
    if (list[votes->n].name == NULL) {
        return CKPT_ERR_NOMEM;
    }
    votes->n++;
    return CKPT_OK;
}

/* The one that most runs share, of several the first by name, to be freed by the caller. NOT_FOUND: none has one. */
static enum ckpt_err primary_of(struct ckptfs *fs, const struct view_place *place, char **metric)
{
    struct votes votes = {0};
    struct shared *most = NULL;
    enum ckpt_err err = view_place_each(fs, place, vote, &votes);
    for (size_t i = 0; votes.list != NULL && i < votes.n; i++) {
        struct shared *s = &votes.list[i];
        if (most == NULL || s->runs > most->runs || (s->runs == most->runs && strcmp(s->name, most->name) < 0)) {
            most = s;
        }
    }
    if (err == CKPT_OK && most == NULL) {
        err = CKPT_ERR_NOT_FOUND;
    }
    if (err == CKPT_OK) {
        *metric = most->name;
        most->name = NULL;
    }
    for (size_t i = 0; votes.list != NULL && i < votes.n; i++) {
        free(votes.list[i].name);
    }
    free(votes.list);
    return err;
}

/* ---- rankings ---- */

struct candidate {
    double rank; /* the value, so turned that less is better */
    uint64_t sequence;
    struct view_ranked which;
};

struct candidates {
    const struct ckpt_policy *policy;
    const char *metric;  /* as in a directory's name, or as written if EXACT */
    bool exact;
    bool best_only; /* of each run, by its own judgement */
    struct candidate *list;
    size_t n;
    size_t room;
};

static enum ckpt_err add_candidate(struct candidates *all, const struct ckpt_run *run, const struct ckpt_checkpoint *c,
                                   const char *metric, enum ckpt_direction direction)
{
    const struct ckpt_value *v = ckpt_checkpoint_shown(c) ? ckpt_checkpoint_value(c, metric) : NULL;
    if (v == NULL || isnan(v->value) || direction == CKPT_DIRECTION_UNKNOWN) {
        return CKPT_OK;
    }
    if (all->n == all->room) {
        size_t room = all->room == 0 ? 64 : 2 * all->room;
        struct candidate *list = reallocarray(all->list, room, sizeof *list);
        if (list == NULL) {
            return CKPT_ERR_NOMEM;
        }
        all->list = list;
        all->room = room;
    }
    all->list[all->n++] = (struct candidate){.rank = direction == CKPT_DIRECTION_MIN ? v->value : -v->value,
                                             .sequence = c->sequence,
                                             .which = {.dir = run->dir, .number = c->number}};
    return CKPT_OK;
}

struct search {
    const char *wanted;
    char *found; /* the metric's name as written */
    bool failed;
};

static bool match_metric(void *arg, const char *metric)
{
    struct search *search = arg;
    char name[NAME_MAX + 1];
    view_metric_name(metric, name);
    if (strcmp(name, search->wanted) != 0) {
        return true;
    }
    search->found = strdup(metric);
    search->failed = search->found == NULL;
    return false;
}

/* The metric of RUN that is WANTED by its directory's name, to be freed by the caller. NOT_FOUND. */
static enum ckpt_err metric_of(const struct ckpt_run *run, const char *wanted, char **metric)
{
    struct search search = {.wanted = wanted};
    enum ckpt_err err = ckpt_run_each_metric(run, match_metric, &search);
    if (err == CKPT_OK && search.found == NULL) {
        err = search.failed ? CKPT_ERR_NOMEM : CKPT_ERR_NOT_FOUND;
    }
    if (err != CKPT_OK) {
        free(search.found);
        return err;
    }
    *metric = search.found;
    return CKPT_OK;
}

static enum ckpt_err collect(void *arg, const struct ckpt_run *run)
{
    struct candidates *all = arg;
    char *metric = NULL;
    if (all->best_only) {
        const struct ckpt_checkpoint *c = ckpt_run_best(run);
        bool same = c != NULL && run->metric != NULL && strcmp(run->metric, all->metric) == 0;
        return same ? add_candidate(all, run, c, run->metric, ckpt_policy_direction_of(all->policy, run->metric)) : CKPT_OK;
    }
    enum ckpt_err err = all->exact ? CKPT_OK : metric_of(run, all->metric, &metric);
    if (err != CKPT_OK) {
        return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
    }
    const char *name = all->exact ? all->metric : metric;
    enum ckpt_direction direction = ckpt_policy_direction_of(all->policy, name);
    for (size_t i = 0; err == CKPT_OK && i < run->count; i++) {
        err = add_candidate(all, run, run->list[i], name, direction);
    }
    free(metric);
    return err;
}

/* The older of equals is the better one. */
static int by_rank(const void *a, const void *b)
{
    const struct candidate *x = a;
    const struct candidate *y = b;
    return x->rank != y->rank ? (x->rank < y->rank ? -1 : 1) : x->sequence < y->sequence ? -1 : x->sequence > y->sequence;
}

static enum ckpt_err rank_sweep(struct ckptfs *fs, const struct view_place *place, const struct ckpt_policy *policy,
                                const char *metric, bool best_only, struct ranking *out)
{
    struct candidates all = {.policy = policy, .metric = metric, .exact = metric[0] == '\0', .best_only = best_only};
    char *primary = NULL;
    enum ckpt_err err = all.exact ? primary_of(fs, place, &primary) : CKPT_OK;
    if (err == CKPT_OK) {
        all.metric = all.exact ? primary : metric;
        err = view_place_each(fs, place, collect, &all);
    }
    if (err == CKPT_OK && all.n > 0) {
        qsort(all.list, all.n, sizeof *all.list, by_rank);
        out->list = calloc(all.n, sizeof *out->list);
        err = out->list == NULL ? CKPT_ERR_NOMEM : CKPT_OK;
        for (size_t i = 0; err == CKPT_OK && i < all.n; i++) {
            out->list[out->n++] = all.list[i].which;
        }
    }
    free(primary);
    free(all.list);
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

static enum ckpt_err rank_run(struct ckptfs *fs, uint64_t dir, const struct ckpt_policy *policy, const char *metric,
                              struct ranking *out)
{
    const struct ckpt_run *run = NULL;
    uint32_t *numbers = NULL;
    char *name = NULL;
    size_t n = 0;
    enum ckpt_err err = ckpt_runs_hold(fs->runs, dir, &run);
    if (err != CKPT_OK) {
        return err;
    }
    if (metric[0] != '\0') {
        err = metric_of(run, metric, &name);
    }
    if (err == CKPT_OK) {
        err = ckpt_judge_rank(run, policy, name, &numbers, &n);
    }
    ckpt_runs_release(fs->runs);
    if (err == CKPT_OK && n > 0) {
        out->list = calloc(n, sizeof *out->list);
        err = out->list == NULL ? CKPT_ERR_NOMEM : CKPT_OK;
        for (size_t i = 0; err == CKPT_OK && i < n; i++) {
            out->list[out->n++] = (struct view_ranked){.dir = dir, .number = numbers[i]};
        }
    }
    free(numbers);
    free(name);
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

/* ---- those that are kept ---- */

static enum ckpt_err mix(void *arg, const struct ckpt_run *run)
{
    uint64_t both[3] = {*(uint64_t *)arg, run->dir, run->generation};
    *(uint64_t *)arg = ckpt_checksum(0, both, sizeof both);
    return CKPT_OK;
}

/* With the lock. */
static struct ranking *find_kept(struct view_ranks *ranks, uint64_t dir, uint64_t state, const char *metric)
{
    for (size_t i = 0; i < RANKINGS; i++) {
        struct ranking *r = &ranks->rankings[i];
        if (r->metric != NULL && r->dir == dir && r->state == state && strcmp(r->metric, metric) == 0) {
            return r;
        }
    }
    return NULL;
}

static enum ckpt_err copy_ranking(const struct ranking *from, struct view_ranked **list, size_t *n)
{
    struct view_ranked *copy = calloc(from->n + 1, sizeof *copy);
    if (copy == NULL) {
        return CKPT_ERR_NOMEM;
    }
    memcpy(copy, from->list == NULL ? copy : from->list, from->n * sizeof *copy);
    *list = copy;
    *n = from->n;
    return CKPT_OK;
}

/* R's content is the set's from here. */
static void keep(struct view_ranks *ranks, struct ranking *r, const char *metric)
{
    char *name = strdup(metric);
    if (name == NULL) {
        free(r->list);
        return;
    }
    r->metric = name;
    pthread_mutex_lock(&ranks->lock);
    struct ranking *old = &ranks->rankings[ranks->next++ % RANKINGS];
    free(old->metric);
    free(old->list);
    *old = *r;
    pthread_mutex_unlock(&ranks->lock);
}

int view_rank(struct ckptfs *fs, const struct view_place *place, const char *metric, struct view_ranked **list, size_t *n)
{
    struct view_ranks *ranks = fs->views->ranks;
    struct ckpt_policy policy;
    struct ranking fresh = {.dir = place->dir};
    int64_t changed_ns = 0;
    enum ckpt_err err = ckpt_judge_policy(fs->store, place->dir, &policy, &changed_ns);
    fresh.state = (uint64_t)changed_ns;
    if (err == CKPT_OK) {
        err = view_place_each(fs, place, mix, &fresh.state);
    }
    if (err != CKPT_OK) {
        return ckpt_err_errno(err);
    }
    pthread_mutex_lock(&ranks->lock);
    const struct ranking *kept = find_kept(ranks, place->dir, fresh.state, metric);
    err = kept == NULL ? CKPT_OK : copy_ranking(kept, list, n);
    bool known = kept != NULL;
    pthread_mutex_unlock(&ranks->lock);
    if (known) {
        return ckpt_err_errno(err);
    }
    err = place->is_run ? rank_run(fs, place->dir, &policy, metric, &fresh)
                        : rank_sweep(fs, place, &policy, metric, false, &fresh);
    if (err == CKPT_OK) {
        err = copy_ranking(&fresh, list, n);
    }
    if (err == CKPT_OK) {
        keep(ranks, &fresh, metric);
    } else {
        free(fresh.list);
    }
    return ckpt_err_errno(err);
}

int view_rank_best(struct ckptfs *fs, const struct view_place *place, struct view_ranked *best)
{
    struct ckpt_policy policy;
    struct ranking r = {0};
    int64_t changed_ns = 0;
    enum ckpt_err err = ckpt_judge_policy(fs->store, place->dir, &policy, &changed_ns);
    if (err == CKPT_OK) {
        err = rank_sweep(fs, place, &policy, "", true, &r);
    }
    if (err == CKPT_OK && r.n > 0) {
        *best = r.list[0];
    }
    free(r.list);
    return err != CKPT_OK ? ckpt_err_errno(err) : r.n > 0 ? 0 : ENOENT;
}
