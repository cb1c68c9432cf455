/*
 * What a series keeps: series_parts.h says how. The joining is in series_join.c, what is new for whom in series_news.c.
 */
#include "recognise/naming.h"
#include <assert.h>
#include "series_parts.h"
#include <ckpt/id.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_POINTS = 16, NAME_SIZE = 2 * CKPT_METRIC_NAME_MAX + 1 };

enum ckpt_err ckpt_series_create(struct ckpt_series **series)
{
    *series = calloc(1, sizeof **series);
    return *series == NULL ? CKPT_ERR_NOMEM : CKPT_OK;
}

static void metric_clear(struct ckpt_series_metric *metric)
{
    free(metric->name);
    free(metric->normalised);
    free(metric->points);
    *metric = (struct ckpt_series_metric){0};
}

void ckpt_series_free(struct ckpt_series *series)
{
    if (series == NULL) {
        return;
    }
    for (size_t i = 0; i < series->metric_count; i++) {
        metric_clear(&series->metrics[i]);
    }
    for (size_t i = 0; i < CKPT_SERIES_SOURCES; i++) {
        free(series->sources[i].path);
    }
    free(series);
}

size_t ckpt_series_points(const struct ckpt_series *series)
{
    return series->total;
}

/* ---- sources ---- */

enum ckpt_err ckpt_series_source(struct ckpt_series *series, const char *path, unsigned *source)
{
    unsigned unused = CKPT_SERIES_SOURCES;
    for (unsigned i = 0; i < CKPT_SERIES_SOURCES; i++) {
        const struct ckpt_series_file *s = &series->sources[i];
        if (s->path != NULL && strcmp(s->path, path) == 0) {
            *source = i;
            return CKPT_OK;
        }
        if (s->points == 0 && unused == CKPT_SERIES_SOURCES) {
            unused = i;
        }
    }
    if (unused == CKPT_SERIES_SOURCES) {
        return CKPT_ERR_NEEDED;
    }
    char *copy = strdup(path);
    if (copy == NULL) {
        return CKPT_ERR_NOMEM;
    }
    free(series->sources[unused].path);
    series->sources[unused].path = copy;
    *source = unused;
    return CKPT_OK;
}

static void drop_point(struct ckpt_series *series, const struct ckpt_series_point *point)
{
    series->sources[point->source].points--;
    series->total--;
}

/* ---- places ---- */

static int compare_places(const struct ckpt_series_point *a, const struct ckpt_series_point *b)
{
    int r = ckpt_series_order(a->has_trial, b->has_trial);
    r = r != 0 ? r : ckpt_series_order(a->trial, b->trial);
    r = r != 0 ? r : ckpt_series_order(a->has_epoch, b->has_epoch);
    r = r != 0 ? r : (a->epoch > b->epoch) - (a->epoch < b->epoch);
    r = r != 0 ? r : ckpt_series_order(a->has_step, b->has_step);
    r = r != 0 ? r : ckpt_series_order(a->step, b->step);
    if (r == 0 && !a->has_step && !a->has_epoch && !a->has_trial) {
        r = (a->time_ns > b->time_ns) - (a->time_ns < b->time_ns);
    }
    return r;
}

static int compare_points(const void *left, const void *right)
{
    const struct ckpt_series_point *a = left;
    const struct ckpt_series_point *b = right;
    int r = compare_places(a, b);
    return r != 0 ? r : ckpt_series_order(a->arrival, b->arrival);
}

void ckpt_series_settle(struct ckpt_series *series, struct ckpt_series_metric *metric)
{
    size_t n = 0;
    if (metric->sorted == metric->count) {
        return;
    }
    qsort(metric->points, metric->count, sizeof *metric->points, compare_points);
    for (size_t i = 0; i < metric->count; i++) {
        if (n > 0 && compare_places(&metric->points[n - 1], &metric->points[i]) == 0) {
            drop_point(series, &metric->points[n - 1]);
            n--;
        }
        metric->points[n++] = metric->points[i];
    }
    metric->count = n;
    metric->sorted = n;
}

/* The point at the place of POINT, among those in order. */
static struct ckpt_series_point *find_place(const struct ckpt_series_metric *metric,
                                            const struct ckpt_series_point *point)
{
    size_t low = 0;
    size_t high = metric->sorted;
    if (high > 0 && compare_places(&metric->points[high - 1], point) < 0) {
        return NULL;
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int r = compare_places(&metric->points[middle], point);
        if (r == 0) {
            return &metric->points[middle];
        }
        if (r < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

/* ---- bounds ---- */

/* Drops every second point of the older half. */
static void thin(struct ckpt_series *series, struct ckpt_series_metric *metric)
{
    size_t half = metric->count / 2;
    size_t n = 0;
    for (size_t i = 0; i < metric->count; i++) {
        if (i < half && i % 2 == 0) {
            drop_point(series, &metric->points[i]);
        } else {
            metric->points[n++] = metric->points[i];
        }
    }
    metric->count = n;
    metric->sorted = n;
    struct ckpt_series_point *smaller = realloc(metric->points, (n + n / 4 + 1) * sizeof *smaller);
    if (smaller != NULL) {
        metric->points = smaller;
        metric->capacity = n + n / 4 + 1;
    }
}

static struct ckpt_series_metric *longest(struct ckpt_series *series)
{
    struct ckpt_series_metric *found = &series->metrics[0];
    for (size_t i = 1; i < series->metric_count; i++) {
        found = series->metrics[i].count > found->count ? &series->metrics[i] : found;
    }
    return found;
}

/* Room for one more point. */
static enum ckpt_err make_room(struct ckpt_series *series, struct ckpt_series_metric *metric)
{
    if (series->total >= CKPT_SERIES_TOTAL) {
        struct ckpt_series_metric *most = longest(series);
        ckpt_series_settle(series, most);
        thin(series, most);
    }
    if (metric->count < metric->capacity && metric->count < CKPT_SERIES_POINTS) {
        return CKPT_OK;
    }
    ckpt_series_settle(series, metric);
    if (metric->count > CKPT_SERIES_POINTS - CKPT_SERIES_POINTS / 8) { /* or it would be settled too often */
        thin(series, metric);
    }
    if (metric->count < metric->capacity / 2) {
        return CKPT_OK;
    }
    size_t capacity = metric->count < FIRST_POINTS ? FIRST_POINTS : 2 * metric->count;
    capacity = capacity > CKPT_SERIES_POINTS ? CKPT_SERIES_POINTS : capacity;
    struct ckpt_series_point *points = realloc(metric->points, capacity * sizeof *points);
    if (points == NULL) {
        return CKPT_ERR_NOMEM;
    }
    metric->points = points;
    metric->capacity = capacity;
    return CKPT_OK;
}

/* ---- names ---- */

/* The slot of a name, or the free one where it would be. */
static uint16_t *find_slot(struct ckpt_series *series, const char *normalised)
{
    size_t at = ckpt_checksum(0, normalised, strlen(normalised)) % CKPT_SERIES_SLOTS;
    while (series->slots[at] != 0 &&
           strcmp(series->metrics[series->slots[at] - 1].normalised, normalised) != 0) {
        at = (at + 1) % CKPT_SERIES_SLOTS;
    }
    return &series->slots[at];
}

/* *METRIC stays NULL when there are too many. */
static enum ckpt_err get_metric(struct ckpt_series *series, const char *name,
                                struct ckpt_series_metric **metric)
{
    char normalised[NAME_SIZE];
    ckpt_metric_normalise(name, strlen(name), normalised, sizeof normalised);
    const char *key = normalised[0] == '\0' ? name : normalised;
    uint16_t *slot = find_slot(series, key);
    if (*slot == 0 && series->metric_count == CKPT_SERIES_NAMES) {
        return CKPT_OK;
    }
    if (*slot == 0) {
        struct ckpt_series_metric fresh = {.name = strdup(name), .normalised = strdup(key)};
        if (fresh.name == NULL || fresh.normalised == NULL) {
            metric_clear(&fresh);
            return CKPT_ERR_NOMEM;
        }
        series->metrics[series->metric_count++] = fresh;
        *slot = (uint16_t)series->metric_count;
    }
    *metric = &series->metrics[*slot - 1];
    return CKPT_OK;
}

static void drop_empty_metrics(struct ckpt_series *series)
{
    size_t n = 0;
    for (size_t i = 0; i < series->metric_count; i++) {
        if (series->metrics[i].count == 0) {
            metric_clear(&series->metrics[i]);
        } else {
            series->metrics[n++] = series->metrics[i];
        }
    }
    series->metric_count = n;
    memset(series->slots, 0, sizeof series->slots);
    for (size_t i = 0; i < n; i++) {
        *find_slot(series, series->metrics[i].normalised) = (uint16_t)(i + 1);
    }
}

/* ---- points ---- */

static bool same_value(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

/* What is said again has its old time and its checkpoint, and counts as its old file's unless that is another one. */
static void replace(struct ckpt_series *series, struct ckpt_series_point *old,
                    const struct ckpt_series_point *point, bool own_time, bool *changed)
{
    struct ckpt_series_point next = *point;
    if (same_value(old->value, point->value)) {
        next.time_ns = own_time ? point->time_ns : old->time_ns;
        if (!next.has_checkpoint) {
            next.has_checkpoint = old->has_checkpoint;
            next.checkpoint = old->checkpoint;
        }
    } else {
        *changed = true;
        ckpt_series_note_news(series, &next);
    }
    series->sources[old->source].points--;
    series->sources[next.source].points++;
    *old = next;
}

enum ckpt_err ckpt_series_add(struct ckpt_series *series, unsigned source,
                              const struct ckpt_metric_point *point, int64_t read_ns, bool *changed)
{
    struct ckpt_series_metric *metric = NULL;
    /* MLflow has no step but 0 for "none". */
    bool has_step = point->has_step && !(point->source == CKPT_METRICS_MLFLOW && point->step == 0);
    bool has_checkpoint = point->has_checkpoint && point->checkpoint <= UINT32_MAX;
    struct ckpt_series_point p = {
        .value = point->value,
        .epoch = point->has_epoch ? point->epoch : 0,
        .step = has_step ? point->step : 0,
        .trial = point->has_trial ? point->trial : 0,
        .arrival = series->arrivals++,
        .time_ns = point->time_ns != 0 ? point->time_ns : read_ns,
        .source = (uint16_t)source,
        .kind = (uint8_t)point->source,
        .has_step = has_step,
        .has_epoch = point->has_epoch,
        .has_trial = point->has_trial,
        .checkpoint = has_checkpoint ? (uint32_t)point->checkpoint : 0,
        .has_checkpoint = has_checkpoint,
    };
    series->says_checkpoints |= has_checkpoint;
    enum ckpt_err err = get_metric(series, point->name, &metric);
    if (err != CKPT_OK || metric == NULL) {
        return err;
    }
    struct ckpt_series_point *old = find_place(metric, &p);
    if (old != NULL) {
        replace(series, old, &p, point->time_ns != 0, changed);
        return CKPT_OK;
    }
    err = make_room(series, metric);
    if (err != CKPT_OK) {
        return err;
    }
    bool in_order = metric->sorted == metric->count &&
                    (metric->count == 0 || compare_places(&metric->points[metric->count - 1], &p) < 0);
    assert(metric->points != NULL && metric->count < metric->capacity);
    metric->points[metric->count++] = p;
    metric->sorted += in_order ? 1 : 0;
    series->sources[source].points++;
    series->total++;
    *changed = true;
    ckpt_series_note_news(series, &p);
    return CKPT_OK;
}

size_t ckpt_series_forget(struct ckpt_series *series, const char *path)
{
    size_t before = series->total;
    unsigned source = 0;
    while (source < CKPT_SERIES_SOURCES &&
           (series->sources[source].path == NULL || strcmp(series->sources[source].path, path) != 0)) {
        source++;
    }
    if (source == CKPT_SERIES_SOURCES || series->sources[source].points == 0) {
        return 0;
    }
    for (size_t i = 0; i < series->metric_count; i++) {
        struct ckpt_series_metric *metric = &series->metrics[i];
        size_t n = 0;
        ckpt_series_settle(series, metric);
        for (size_t j = 0; j < metric->count; j++) {
            if (metric->points[j].source == source) {
                ckpt_series_note_news(series, &metric->points[j]);
                drop_point(series, &metric->points[j]);
            } else {
                metric->points[n++] = metric->points[j];
            }
        }
        metric->count = n;
        metric->sorted = n;
    }
    drop_empty_metrics(series);
    return before - series->total;
}
