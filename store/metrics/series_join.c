/*
 * Which points of a series are values of a checkpoint: series.h has the rules.
 */
#include "series_parts.h"
#include <stdlib.h>

static const int64_t tolerance_ns = 2000000000;

/* How well a point fits: the highest counts. */
enum fit {
    FIT_NOT,
    FIT_TRIAL,
    FIT_AFTER,
    FIT_BEFORE,
    FIT_NEAR,
    FIT_EPOCH,
    FIT_STEP,
    FIT_STEP_IN_EPOCH,
    FIT_CHECKPOINT,
};

/* What one joining asks for. */
struct query {
    struct ckpt_join_key key;
    bool any_trial;
    int64_t from_ns; /* later than this */
    int64_t to_ns;   /* not later than this */
};

static enum fit fit_by_time(const struct query *q, const struct ckpt_series_point *point)
{
    const struct ckpt_join_key *key = &q->key;
    bool told = (key->has_step && point->has_step) || (key->has_epoch && point->has_epoch);
    if (told || key->saved_ns == 0 || point->time_ns == 0 || point->time_ns <= q->from_ns ||
        point->time_ns > q->to_ns) {
        return FIT_NOT;
    }
    return point->time_ns <= key->saved_ns ? FIT_BEFORE : FIT_AFTER;
}

static enum fit fit_of(const struct query *q, const struct ckpt_series_point *point)
{
    const struct ckpt_join_key *key = &q->key;
    bool steps = key->has_step && point->has_step;
    bool epochs = key->has_epoch && point->has_epoch;
    bool same_epoch = epochs && ckpt_series_whole_epoch(point) == (double)key->epoch;
    if (point->has_trial && !(key->has_trial ? point->trial == key->trial : q->any_trial)) {
        return FIT_NOT;
    }
    if (point->has_checkpoint && key->has_number) {
        return point->checkpoint == key->number ? FIT_CHECKPOINT : FIT_NOT;
    }
    if (point->kind == CKPT_METRICS_OPTUNA && point->has_step && key->has_epoch && !key->has_step) {
        return point->step == key->epoch ? FIT_EPOCH : FIT_NOT;
    }
    if (steps && point->step == key->step) {
        return epochs && !same_epoch ? FIT_STEP : FIT_STEP_IN_EPOCH;
    }
    bool between =
        steps && point->step < key->step && (!key->has_previous_step || point->step > key->previous_step);
    if (same_epoch && (!steps || between)) {
        return FIT_EPOCH;
    }
    if (between) {
        return FIT_NEAR;
    }
    if (point->has_trial && !point->has_step && !point->has_epoch) {
        return key->has_trial ? FIT_TRIAL : fit_by_time(q, point);
    }
    return fit_by_time(q, point);
}

/* Of two points that fit equally well, whether A counts rather than B. */
static bool is_better(enum fit fit, const struct ckpt_series_point *a, const struct ckpt_series_point *b)
{
    int r = 0;
    switch (fit) {
    case FIT_EPOCH:
        r = (a->epoch > b->epoch) - (a->epoch < b->epoch);
        r = r != 0 ? r : ckpt_series_order(a->step, b->step);
        r = r != 0 ? r : (a->time_ns > b->time_ns) - (a->time_ns < b->time_ns);
        break;
    case FIT_NEAR:
        r = ckpt_series_order(a->step, b->step);
        break;
    case FIT_BEFORE:
        r = (a->time_ns > b->time_ns) - (a->time_ns < b->time_ns);
        break;
    case FIT_AFTER:
        r = (a->time_ns < b->time_ns) - (a->time_ns > b->time_ns);
        break;
    case FIT_NOT:
    case FIT_TRIAL:
    case FIT_STEP:
    case FIT_STEP_IN_EPOCH:
    case FIT_CHECKPOINT:
        break;
    }
    return r != 0 ? r > 0 : a->arrival > b->arrival;
}

static enum ckpt_join join_of(enum fit fit)
{
    switch (fit) {
    case FIT_STEP:
    case FIT_STEP_IN_EPOCH:
    case FIT_CHECKPOINT:
    case FIT_NEAR:
        return CKPT_JOIN_STEP;
    case FIT_EPOCH:
        return CKPT_JOIN_EPOCH;
    case FIT_TRIAL:
        return CKPT_JOIN_TRIAL;
    case FIT_NOT:
    case FIT_BEFORE:
    case FIT_AFTER:
        break;
    }
    return CKPT_JOIN_TIME;
}

/* Whether all points that are of a trial are of one. */
static bool one_trial(const struct ckpt_series *series)
{
    const struct ckpt_series_point *first = NULL;
    for (size_t i = 0; i < series->metric_count; i++) {
        const struct ckpt_series_metric *metric = &series->metrics[i];
        for (size_t j = 0; j < metric->count; j++) {
            const struct ckpt_series_point *point = &metric->points[j];
            if (point->has_trial && first != NULL && point->trial != first->trial) {
                return false;
            }
            first = point->has_trial ? point : first;
        }
    }
    return true;
}

static bool has_epoch(const struct ckpt_series *series, uint64_t epoch)
{
    for (size_t i = 0; i < series->metric_count; i++) {
        const struct ckpt_series_metric *metric = &series->metrics[i];
        for (size_t j = 0; j < metric->count; j++) {
            const struct ckpt_series_point *point = &metric->points[j];
            if (point->has_epoch && !point->has_trial && ckpt_series_whole_epoch(point) == (double)epoch) {
                return true;
            }
        }
    }
    return false;
}

/* Where the report of the checkpoint of that number stands. */
static bool at_checkpoint(const struct ckpt_series *series, uint64_t number, struct ckpt_series_place *place)
{
    const struct ckpt_series_point *last = NULL;
    for (size_t i = 0; i < series->metric_count; i++) {
        const struct ckpt_series_metric *metric = &series->metrics[i];
        for (size_t j = 0; j < metric->count; j++) {
            const struct ckpt_series_point *p = &metric->points[j];
            if (p->has_checkpoint && p->checkpoint == number && (last == NULL || p->arrival > last->arrival)) {
                last = p;
            }
        }
    }
    if (last == NULL || !(last->has_step || last->has_epoch)) {
        return false;
    }
    *place = (struct ckpt_series_place){
        .has_step = last->has_step,
        .has_epoch = last->has_epoch,
        .step = last->step,
        .epoch = (uint64_t)ckpt_series_whole_epoch(last),
    };
    return true;
}

/* Says of a bare number what it is. */
static void resolve_number(const struct ckpt_series *series, struct ckpt_join_key *key)
{
    struct ckpt_series_place place = {0};
    if (!key->has_number || key->has_step || key->has_epoch) {
        return;
    }
    if (series->says_checkpoints) {
        key->has_step = at_checkpoint(series, key->number, &place) && place.has_step;
        key->step = place.step;
        key->has_previous_step = false; /* it was a number too */
        return;
    }
    bool known = key->saved_ns != 0 && ckpt_series_at_time(series, key->saved_ns, &place);
    if (known && place.has_step && place.step == key->number) {
        key->has_step = true;
    } else if (known && place.has_epoch && place.epoch == key->number) {
        key->has_epoch = true;
    } else {
        key->has_epoch = has_epoch(series, key->number);
        key->has_step = !key->has_epoch;
    }
    key->step = key->number;
    key->epoch = key->number;
}

static struct query query_of(const struct ckpt_series *series, const struct ckpt_join_key *key)
{
    struct query q = {.key = *key, .any_trial = !key->has_trial && one_trial(series), .from_ns = INT64_MIN};
    int64_t gap = 4 * tolerance_ns;
    resolve_number(series, &q.key);
    /* Training went back: what the checkpoint before says about steps is of another time. */
    q.key.has_previous_step &= q.key.previous_step < q.key.step;
    if (key->previous_ns > 0 && key->previous_ns < key->saved_ns && key->saved_ns - key->previous_ns < gap) {
        gap = key->saved_ns - key->previous_ns;
    }
    if (key->previous_ns > 0 && key->previous_ns < key->saved_ns) {
        q.from_ns = key->previous_ns + gap / 4;
    }
    q.to_ns = key->saved_ns > INT64_MAX - gap ? INT64_MAX : key->saved_ns + gap / 4;
    return q;
}

enum ckpt_err ckpt_series_join(struct ckpt_series *series, const struct ckpt_join_key *key,
                               struct ckpt_joined **list, size_t *count)
{
    struct query q = query_of(series, key);
    struct ckpt_joined *joined = calloc(series->metric_count + 1, sizeof *joined);
    size_t n = 0;
    if (joined == NULL) {
        return CKPT_ERR_NOMEM;
    }
    for (size_t i = 0; i < series->metric_count; i++) {
        struct ckpt_series_metric *metric = &series->metrics[i];
        const struct ckpt_series_point *best = NULL;
        enum fit best_fit = FIT_NOT;
        ckpt_series_settle(series, metric);
        for (size_t j = 0; j < metric->count; j++) {
            const struct ckpt_series_point *point = &metric->points[j];
            enum fit fit = fit_of(&q, point);
            if (fit != FIT_NOT && (fit > best_fit || (fit == best_fit && is_better(fit, point, best)))) {
                best = point;
                best_fit = fit;
            }
        }
        if (best != NULL) {
            joined[n++] = (struct ckpt_joined){
                .name = metric->name,
                .normalised = metric->normalised,
                .value = best->value,
                .source = (enum ckpt_metrics_kind)best->kind,
                .path = series->sources[best->source].path,
                .by = join_of(best_fit),
            };
        }
    }
    *list = joined;
    *count = n;
    return CKPT_OK;
}

bool ckpt_series_at_time(const struct ckpt_series *series, int64_t saved_ns, struct ckpt_series_place *place)
{
    const struct ckpt_series_point *step = NULL;
    const struct ckpt_series_point *epoch = NULL;
    for (size_t i = 0; i < series->metric_count; i++) {
        const struct ckpt_series_metric *metric = &series->metrics[i];
        for (size_t j = 0; j < metric->count; j++) {
            const struct ckpt_series_point *p = &metric->points[j];
            if (p->has_trial || p->time_ns == 0 || p->time_ns > saved_ns) {
                continue;
            }
            if (p->has_step && (step == NULL || p->time_ns > step->time_ns ||
                                (p->time_ns == step->time_ns && p->step > step->step))) {
                step = p;
            }
            if (p->has_epoch && (epoch == NULL || p->time_ns > epoch->time_ns ||
                                 (p->time_ns == epoch->time_ns && p->epoch > epoch->epoch))) {
                epoch = p;
            }
        }
    }
    if (step == NULL && epoch == NULL) {
        return false;
    }
    *place = (struct ckpt_series_place){
        .has_step = step != NULL,
        .has_epoch = epoch != NULL,
        .step = step != NULL ? step->step : 0,
        .epoch = epoch != NULL ? (uint64_t)ckpt_series_whole_epoch(epoch) : 0,
    };
    return true;
}

bool ckpt_series_find_place(const struct ckpt_series *series, const struct ckpt_join_key *key,
                            struct ckpt_series_place *place)
{
    if (series->says_checkpoints && key->has_number) {
        return at_checkpoint(series, key->number, place);
    }
    return ckpt_series_at_time(series, key->saved_ns, place);
}

bool ckpt_series_epoch_of(const struct ckpt_series *series, uint64_t step, uint64_t *epoch)
{
    for (size_t i = 0; i < series->metric_count; i++) {
        const struct ckpt_series_metric *metric = &series->metrics[i];
        for (size_t j = 0; j < metric->count; j++) {
            const struct ckpt_series_point *p = &metric->points[j];
            if (!p->has_trial && p->has_step && p->step == step && p->has_epoch && ckpt_series_whole_epoch(p) == p->epoch) {
                *epoch = (uint64_t)p->epoch;
                return true;
            }
        }
    }
    return false;
}
