/*
 * The series of one run: the points that its metric files gave, and which of them are values of a checkpoint.
 * Pure: no I/O. sources.h fills it.
 *
 * What is kept. A point's *place* is its trial, epoch and step, or its time when it has neither epoch nor step.
 * Points of one metric at the same place are one: who arrives later wins, from whichever file, because a run
 * that is resumed from an older checkpoint does the same steps again and the checkpoints that are there are
 * those of the second time. Names are compared as ckpt_metric_normalise makes them; the first spelling is kept.
 * The value isn't looked at: NaN is a value. Step 0 of MLflow is no step, as it writes that when there is none.
 *
 * Memory is bounded: NAMES metrics of POINTS points each, TOTAL points together, some 50 MB. When a bound is
 * reached, the older half of the points of that metric (of the longest one) is thinned to every second one: old
 * checkpoints have been joined already, and those that are new want the exact point. Metrics beyond NAMES are
 * left out.
 *
 * Thread rules: the caller's; no two calls at a time.
 */
#ifndef CKPT_STORE_SERIES_H
#define CKPT_STORE_SERIES_H

#include "metrics.h"
#include <ckpt/err.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CKPT_SERIES_POINTS = 1 << 16,
    CKPT_SERIES_TOTAL = 1 << 19,
    CKPT_SERIES_NAMES = 512,
    CKPT_SERIES_SOURCES = 256,
};

struct ckpt_series;

CKPT_MUST_USE enum ckpt_err ckpt_series_create(struct ckpt_series **series);
void ckpt_series_free(struct ckpt_series *series); /* NULL is fine */

/*
 * The number of the file PATH, for ckpt_series_add; good until the next call with another path. A file whose
 * points have all been replaced makes room. Errors: NOMEM; NEEDED: SOURCES files have points.
 */
CKPT_MUST_USE enum ckpt_err ckpt_series_source(struct ckpt_series *series, const char *path, unsigned *source);

/* READ_NS: the latest time at which the point can have been written; it stands in for a time that the point
   doesn't have. *CHANGED becomes true when something is there that wasn't; else it stays. Errors: NOMEM. */
CKPT_MUST_USE enum ckpt_err ckpt_series_add(struct ckpt_series *series, unsigned source,
                                            const struct ckpt_metric_point *point, int64_t read_ns,
                                            bool *changed);

/* Forgets all points that PATH gave, as it was rewritten; how many there were. */
size_t ckpt_series_forget(struct ckpt_series *series, const char *path);

size_t ckpt_series_points(const struct ckpt_series *series); /* held now */

/* Numbers from FROM to TO. */
struct ckpt_series_span {
    bool any;
    int64_t from;
    int64_t to;
};

/* Where points have come, changed or gone: the span of what they say. */
struct ckpt_series_news {
    struct ckpt_series_span steps;
    struct ckpt_series_span epochs; /* that fractions are in */
    struct ckpt_series_span checkpoints;
    struct ckpt_series_span times;
};

/* Adds to *NEWS what there was since the last time. */
void ckpt_series_take_news(struct ckpt_series *series, struct ckpt_series_news *news);
void ckpt_series_add_news(struct ckpt_series_news *news, const struct ckpt_series_news *other);
/* As if everything were news. */
void ckpt_series_all_news(struct ckpt_series_news *news);
bool ckpt_series_any_news(const struct ckpt_series_news *news);

/* What is known of a checkpoint. Each number counts only with its flag, each time only when it isn't 0. */
struct ckpt_join_key {
    bool has_step;
    bool has_previous_step;
    bool has_epoch;
    bool has_number; /* of which the name doesn't say whether it is a step or an epoch */
    bool has_trial;
    uint64_t step;
    uint64_t previous_step; /* of the checkpoint before */
    uint64_t epoch;
    uint64_t number;
    uint64_t trial;
    int64_t saved_ns;
    int64_t previous_ns; /* when the checkpoint before was saved */
};

/* What NEWS is to the checkpoint KEY: all of it is about later ones; some may be about it; it isn't about it, but
   may be about earlier ones. Takes no longer with many points than with few. */
enum ckpt_series_touch { CKPT_TOUCH_LATER, CKPT_TOUCH_IT, CKPT_TOUCH_EARLIER };
enum ckpt_series_touch ckpt_series_touches(const struct ckpt_series_news *news, const struct ckpt_join_key *key);

enum ckpt_join {
    CKPT_JOIN_STEP,
    CKPT_JOIN_EPOCH,
    CKPT_JOIN_TIME,
    CKPT_JOIN_TRIAL, /* the one value of its trial */
};

struct ckpt_joined {
    const char *name;       /* as written */
    const char *normalised; /* "val_loss" */
    double value;
    enum ckpt_metrics_kind source;
    const char *path;
    enum ckpt_join by;
};

/*
 * The value of each metric that has one for the checkpoint KEY, in the order in which the metrics came up.
 * *LIST is the caller's to free(); its names and paths live until the series is changed. Of the points of a
 * metric the first of these is taken:
 *
 *     0  of a report that says that it is about the checkpoint of that number (Ray); those that say another
 *        number are never taken
 *     1  at that step; one of the same epoch first, where "step" counts within the epoch; then who came last
 *     2  the last one within that epoch: fractions belong to the epoch that they are in, 2 is the end of the
 *        second as 1.5 is its middle. Not past the step, and not before the previous checkpoint's
 *     3  the last one before that step and after the previous checkpoint's: an evaluation every 100 steps is
 *        the value of the checkpoint of step 450, once
 *     4  by time: the newest one not later than saved_ns and later than previous_ns; else the first one up to 2
 *        seconds later (a quarter of the time since the checkpoint before, if that is less), as some log after
 *        they save. Who logs so has the last checkpoint's values as long after previous_ns: they don't count
 *     5  the only value of its trial
 *
 * A point that has a step, or an epoch, isn't joined by time with a checkpoint that has another one.
 *
 * A bare number is the step or the epoch that the points had when the checkpoint was saved, if it is one of
 * them; if that can't be told, an epoch if there is that epoch, else a step. Where points say numbers of
 * checkpoints it is neither, but the step of those that say this one. Points of a trial count for the
 * checkpoints of this trial; for one whose trial isn't known only if there is no other trial. The steps of
 * Optuna's journal are epochs to a checkpoint that has only an epoch.
 *
 * Errors: NOMEM.
 */
CKPT_MUST_USE enum ckpt_err ckpt_series_join(struct ckpt_series *series, const struct ckpt_join_key *key,
                                             struct ckpt_joined **list, size_t *count);

/* Where training was. */
struct ckpt_series_place {
    bool has_step;
    bool has_epoch;
    uint64_t step;
    uint64_t epoch; /* that a fraction is in */
};

/* The newest step and epoch at SAVED_NS; false when nothing is known. Points of trials don't count. */
bool ckpt_series_at_time(const struct ckpt_series *series, int64_t saved_ns, struct ckpt_series_place *place);

/* For a checkpoint whose name has neither step nor epoch: those of the report that says its number; else, if no
   report says a number, those at its time. */
bool ckpt_series_find_place(const struct ckpt_series *series, const struct ckpt_join_key *key,
                            struct ckpt_series_place *place);

/* For a checkpoint whose name has a step only: the epoch that ended with STEP, if a point says so. One in the middle of an
   epoch is of none. */
bool ckpt_series_epoch_of(const struct ckpt_series *series, uint64_t step, uint64_t *epoch);

#endif
