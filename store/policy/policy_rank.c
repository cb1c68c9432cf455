/*
 * The order of a run's checkpoints in time and by a metric, and early stopping, which follows from
 * the latter.
 */
#include "policy_rank.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FEW = 32 }; /* for which looking at all of a run is faster than sorting it */

static int compare_items(const void *a, const void *b)
{
    const struct ckpt_policy_item *x = a;
    const struct ckpt_policy_item *y = b;
    if (x->checkpoint->sequence != y->checkpoint->sequence) {
        return x->checkpoint->sequence < y->checkpoint->sequence ? -1 : 1;
    }
    return x->index < y->index ? -1 : x->index > y->index;
}

static bool is_ordered(const struct ckpt_policy_item *items, size_t n)
{
    for (size_t i = 1; i < n; i++) {
        if (compare_items(&items[i - 1], &items[i]) > 0) {
            return false;
        }
    }
    return true;
}

static int64_t advance(int64_t from, int64_t to)
{
    int64_t ns = 0;
    if (to <= from) {
        return 0;
    }
    return __builtin_sub_overflow(to, from, &ns) ? INT64_MAX : ns;
}

/* What the clock went back is lost; from there on it is believed again. (The greatest time so far
   would stand still until the clock has caught up with one save in a wrong future, and keep nothing
   by time until then.) */
static void correct_times(struct ckpt_policy_item *items, size_t n)
{
    items[0].time_ns = items[0].checkpoint->saved_ns;
    for (size_t i = 1; i < n; i++) {
        items[i].time_ns =
            ckpt_add_saturated(items[i - 1].time_ns, advance(items[i - 1].checkpoint->saved_ns,
                                                             items[i].checkpoint->saved_ns));
    }
}

/* The grid is fixed, so that an overwritten version that goes doesn't change which others are
 * snapshots. */
static void take_snapshots(struct ckpt_policy_item *items, size_t n, int64_t every_ns)
{
    bool any = false;
    int64_t last = 0;
    for (size_t i = 0; i < n; i++) {
        const struct ckpt_policy_checkpoint *c = items[i].checkpoint;
        if (c->gone != CKPT_GONE_OVERWRITTEN || c->state != CKPT_STATE_COMPLETE || every_ns <= 0) {
            continue;
        }
        int64_t cell = ckpt_floor_div(items[i].time_ns, every_ns);
        items[i].counts = items[i].candidate && (!any || cell != last);
        any = true;
        last = cell;
    }
}

struct ckpt_policy_item *ckpt_policy_order(const struct ckpt_policy *policy,
                                           const struct ckpt_policy_checkpoint *checkpoints,
                                           size_t n)
{
    struct ckpt_policy_item *items = calloc(n, sizeof *items);
    if (items == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        const struct ckpt_policy_checkpoint *c = &checkpoints[i];
        bool candidate = c->state == CKPT_STATE_COMPLETE && !c->dropped;
        items[i] = (struct ckpt_policy_item){
            .checkpoint = c, .index = i, .candidate = candidate, .counts = candidate};
    }
    /* Runs are in order, nearly always, and sorting would take most of a judgement's time. */
    if (!is_ordered(items, n)) {
        qsort(items, n, sizeof *items, compare_items);
    }
    correct_times(items, n);
    take_snapshots(items, n, policy->snapshot_ns);
    return items;
}

/* The name that suits best; of equals the one that came first. */
static const char *find_primary(const struct ckpt_policy_item *items, size_t n)
{
    const struct ckpt_policy_checkpoint *before = NULL;
    const char *best = NULL;
    unsigned primacy = 0;
    for (size_t i = 0; i < n; i++) {
        const struct ckpt_policy_checkpoint *c = items[i].checkpoint;
        for (size_t k = 0; k < c->n_values; k++) {
            const char *name = c->values[k].name;
            /* Nearly always the names of the one before. */
            if (before != NULL && k < before->n_values &&
                strcmp(name, before->values[k].name) == 0) {
                continue;
            }
            unsigned p = ckpt_policy_primacy(name);
            if (p > primacy) {
                primacy = p;
                best = name;
            }
            if (p == CKPT_PRIMACY_MAX) {
                return name;
            }
        }
        before = c;
    }
    return best;
}

struct ckpt_policy_ranking ckpt_policy_ranking(const struct ckpt_policy *policy,
                                               const struct ckpt_policy_item *items, size_t n,
                                               const char *name)
{
    struct ckpt_policy_ranking ranking = {.smooth = 1};
    bool primary = name == NULL || name[0] == '\0';
    for (size_t i = 0; i < policy->n_metrics; i++) {
        const struct ckpt_policy_metric *m = &policy->metrics[i];
        if (primary || strcmp(m->name, name) == 0) {
            ranking.name = m->name;
            ranking.direction = m->direction;
            ranking.min_delta = m->min_delta;
            ranking.smooth = m->smooth;
            return ranking;
        }
    }
    ranking.name = primary ? find_primary(items, n) : name;
    if (ranking.name != NULL) {
        ranking.direction = ckpt_policy_direction(ranking.name);
    }
    return ranking;
}

static bool find_value(const struct ckpt_policy_checkpoint *c, const char *name, double *value)
{
    for (size_t i = 0; i < c->n_values; i++) {
        if (strcmp(c->values[i].name, name) == 0) {
            *value = c->values[i].value;
            return true;
        }
    }
    return false;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The last values, NaN left out. */
struct window {
    double values[CKPT_POLICY_SMOOTH_MAX];
    size_t n;
    size_t next;
    size_t size;
};

/* Of the same values the same mean, in whatever order they came: summed in order of size, with more
 * bits than the result. */
static double window_mean(struct window *w, double value)
{
    if (w->size <= 1) {
        return value;
    }
    w->values[w->next] = value;
    w->next = (w->next + 1) % w->size;
    w->n += w->n < w->size;
    double sorted[CKPT_POLICY_SMOOTH_MAX];
    memcpy(sorted, w->values, w->n * sizeof sorted[0]);
    qsort(sorted, w->n, sizeof sorted[0], compare_doubles);
    long double sum = 0;
    for (size_t i = 0; i < w->n; i++) {
        sum += sorted[i];
    }
    return (double)(sum / (long double)w->n);
}

/*
 * Whether V is less than BEST by DELTA or more. A difference that is DELTA in decimal notation (0.3
 * and 0.2 with 0.1) is, though its binary one may be a few units of the last place less.
 */
static bool improves(double v, double best, double delta)
{
    if (!(v < best)) {
        return false;
    }
    double gain = best - v;
    if (delta <= 0 || !isfinite(gain)) {
        return true;
    }
    double size = fabs(v) > fabs(best) ? fabs(v) : fabs(best);
    return gain + 4 * DBL_EPSILON * size >= delta;
}

/* The history of a metric, told value by value in the order of saves. */
struct history {
    const struct ckpt_policy_ranking *ranking;
    struct window window;
    bool any;
    double best; /* key */
};

static struct history start_history(const struct ckpt_policy_ranking *ranking)
{
    struct history h = {.ranking = ranking, .window = {.size = ranking->smooth}};
    return h;
}

/* False: C has no value, or NaN. */
static bool take_value(struct history *h, const struct ckpt_policy_checkpoint *c, double *key,
                       double *value)
{
    double v = 0;
    if (!find_value(c, h->ranking->name, &v) || isnan(v)) {
        return false;
    }
    v = window_mean(&h->window, v);
    *value = v;
    *key = h->ranking->direction == CKPT_DIRECTION_MAX ? -v : v;
    return !isnan(v); /* a mean of infinities of both signs */
}

/* Whether KEY is the new best. */
static bool take_best(struct history *h, double key)
{
    bool better = !h->any || improves(key, h->best, h->ranking->min_delta);
    if (better) {
        h->any = true;
        h->best = key;
    }
    return better;
}

static int compare_ranked(const void *a, const void *b)
{
    const struct ckpt_policy_ranked *x = a;
    const struct ckpt_policy_ranked *y = b;
    if (x->key < y->key || x->key > y->key) {
        return x->key < y->key ? -1 : 1;
    }
    return x->position < y->position ? -1 : x->position > y->position;
}

/* The first MOST of N in order, the others behind them in any. */
static void order_first(struct ckpt_policy_ranked *ranked, size_t n, size_t most)
{
    if (most > FEW || most >= n) {
        qsort(ranked, n, sizeof *ranked, compare_ranked);
        return;
    }
    for (size_t i = 1; i < n; i++) {
        struct ckpt_policy_ranked one = ranked[i];
        size_t at = i;
        if (i >= most) {
            if (most == 0 || compare_ranked(&one, &ranked[most - 1]) >= 0) {
                continue;
            }
            at = most - 1;
            ranked[i] = ranked[at];
        }
        for (; at > 0 && compare_ranked(&one, &ranked[at - 1]) < 0; at--) {
            ranked[at] = ranked[at - 1];
        }
        ranked[at] = one;
    }
}

size_t ckpt_policy_rank_items(const struct ckpt_policy_item *items, size_t n,
                              const struct ckpt_policy_ranking *ranking, size_t most,
                              struct ckpt_policy_ranked *ranked)
{
    size_t found = 0;
    if (ranking->name == NULL || ranking->direction == CKPT_DIRECTION_UNKNOWN) {
        return 0;
    }
    struct history h = start_history(ranking);
    for (size_t i = 0; i < n; i++) {
        double key = 0;
        double value = 0;
        if (!take_value(&h, items[i].checkpoint, &key, &value)) {
            continue;
        }
        /* An invalid save isn't a best that others must improve on; one that was dropped is. */
        if (items[i].checkpoint->state == CKPT_STATE_COMPLETE && !take_best(&h, key) &&
            key < h.best) {
            key = h.best; /* too small an improvement: equal, and younger */
        }
        if (items[i].candidate) {
            ranked[found++] =
                (struct ckpt_policy_ranked){.key = key, .value = value, .position = i};
        }
    }
    order_first(ranked, found, most);
    return found;
}

enum ckpt_err ckpt_policy_rank(const struct ckpt_policy *policy,
                               const struct ckpt_policy_checkpoint *checkpoints, size_t n,
                               const char *metric, size_t *indices, size_t *count)
{
    struct ckpt_policy none;
    struct ckpt_policy_item *items = NULL;
    struct ckpt_policy_ranked *ranked = NULL;
    enum ckpt_err err = CKPT_ERR_NOMEM;
    ckpt_policy_init(&none);
    policy = policy != NULL ? policy : &none;
    if (n == 0) {
        *count = 0;
        return CKPT_OK;
    }
    items = ckpt_policy_order(policy, checkpoints, n);
    ranked = calloc(n, sizeof *ranked);
    if (items == NULL || ranked == NULL) {
        goto out;
    }
    struct ckpt_policy_ranking ranking = ckpt_policy_ranking(policy, items, n, metric);
    size_t found = ckpt_policy_rank_items(items, n, &ranking, n, ranked);
    for (size_t i = 0; i < found; i++) {
        indices[i] = items[ranked[i].position].index;
    }
    *count = found;
    err = CKPT_OK;
out:
    free(ranked);
    free(items);
    return err;
}

enum ckpt_err ckpt_policy_early_stop(const struct ckpt_policy *policy,
                                     const struct ckpt_policy_checkpoint *checkpoints, size_t n,
                                     struct ckpt_policy_stop *stop)
{
    struct ckpt_policy none;
    struct ckpt_policy_stop s = {.best = CKPT_POLICY_NONE};
    ckpt_policy_init(&none);
    policy = policy != NULL ? policy : &none;
    if (n == 0) {
        *stop = s;
        return CKPT_OK;
    }
    struct ckpt_policy_item *items = ckpt_policy_order(policy, checkpoints, n);
    if (items == NULL) {
        return CKPT_ERR_NOMEM;
    }
    struct ckpt_policy_ranking ranking = ckpt_policy_ranking(policy, items, n, NULL);
    struct history h = start_history(&ranking);
    bool known = ranking.name != NULL && ranking.direction != CKPT_DIRECTION_UNKNOWN;
    for (size_t i = 0; known && i < n; i++) {
        double key = 0;
        double value = 0;
        /* The evaluation took place, whatever became of the file. */
        if (take_value(&h, items[i].checkpoint, &key, &value) && take_best(&h, key)) {
            s.best = items[i].index;
            s.since_best = 0;
            s.evaluations++;
        } else if (find_value(items[i].checkpoint, ranking.name, &value)) {
            s.since_best++;
            s.evaluations++;
        }
    }
    s.should_stop = policy->patience > 0 && s.since_best >= policy->patience;
    free(items);
    *stop = s;
    return CKPT_OK;
}
