/*
 * What a series keeps, for series.c, series_join.c and series_news.c.
 *
 * The points of a metric stand in the order of their places as far as `sorted`; behind that are those that came
 * out of order. Mostly there are none: files are written in the order of training. What comes out of order is
 * put into its place when the array would grow or somebody wants to look.
 */
#ifndef CKPT_STORE_SERIES_PARTS_H
#define CKPT_STORE_SERIES_PARTS_H

#include "series.h"
#include <math.h>

enum { CKPT_SERIES_SLOTS = 2 * CKPT_SERIES_NAMES };

struct ckpt_series_point {
    double value;
    double epoch;
    uint64_t step;
    uint64_t trial;
    uint64_t arrival;
    int64_t time_ns;
    uint32_t checkpoint;
    uint16_t source;
    uint8_t kind; /* enum ckpt_metrics_kind */
    bool has_step : 1;
    bool has_epoch : 1;
    bool has_trial : 1;
    bool has_checkpoint : 1;
};

struct ckpt_series_metric {
    char *name; /* as written first */
    char *normalised;
    struct ckpt_series_point *points;
    size_t count;
    size_t sorted;
    size_t capacity;
};

struct ckpt_series_file {
    char *path; /* NULL: free */
    size_t points;
};

struct ckpt_series {
    struct ckpt_series_metric metrics[CKPT_SERIES_NAMES];
    size_t metric_count;
    uint16_t slots[CKPT_SERIES_SLOTS]; /* by checksum of the normalised name: 1 + the metric's index; 0: free */
    struct ckpt_series_file sources[CKPT_SERIES_SOURCES];
    size_t total;
    uint64_t arrivals;
    struct ckpt_series_news news;
    bool says_checkpoints; /* some point was about a numbered checkpoint */
};

static inline int ckpt_series_order(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

/* The epoch that a point is in. */
static inline double ckpt_series_whole_epoch(const struct ckpt_series_point *point)
{
    return ceil(point->epoch);
}

/* Puts every point into its place; of those of one place the last one stays. */
void ckpt_series_settle(struct ckpt_series *series, struct ckpt_series_metric *metric);

/* POINT has come, changed or gone. */
void ckpt_series_note_news(struct ckpt_series *series, const struct ckpt_series_point *point);

#endif
