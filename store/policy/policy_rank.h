/*
 * The order of a run's checkpoints in time and by a metric. For policy.c and policy_rules.c.
 */
#ifndef CKPT_STORE_POLICY_RANK_H
#define CKPT_STORE_POLICY_RANK_H

#include <ckpt/policy.h>

/* A checkpoint at its place in the order of saves. */
struct ckpt_policy_item {
    const struct ckpt_policy_checkpoint *checkpoint;
    size_t index;    /* in the caller's array */
    int64_t time_ns; /* corrected */
    bool candidate;  /* complete and there: can be the best and the latest */
    bool counts;     /* a candidate, and no overwritten version between two snapshots */
};

/* The items of N checkpoints; the caller frees. NULL: no memory. N > 0. */
struct ckpt_policy_item *ckpt_policy_order(const struct ckpt_policy *policy,
                                           const struct ckpt_policy_checkpoint *checkpoints,
                                           size_t n);

/* How a metric is ranked. */
struct ckpt_policy_ranking {
    const char *name; /* NULL: there is no such metric */
    enum ckpt_direction direction;
    double min_delta;
    unsigned smooth;
};

/* The ranking by NAME, "" or NULL for the primary one. */
struct ckpt_policy_ranking ckpt_policy_ranking(const struct ckpt_policy *policy,
                                               const struct ckpt_policy_item *items, size_t n,
                                               const char *name);

/* One item in a ranking. */
struct ckpt_policy_ranked {
    double key;      /* less is better */
    double value;    /* as people know it */
    size_t position; /* in items */
};

/* The candidates that have a value, the best MOST of them first and in order, in RANKED, which has room for N; how many. */
size_t ckpt_policy_rank_items(const struct ckpt_policy_item *items, size_t n,
                              const struct ckpt_policy_ranking *ranking, size_t most,
                              struct ckpt_policy_ranked *ranked);

/* How well a name suits as the primary metric. */
enum {
    CKPT_PRIMACY_NONE,       /* not at all: "loss", "acc", "train_iou" */
    CKPT_PRIMACY_EVALUATION, /* "iou", "best_acc" */
    CKPT_PRIMACY_VALIDATION, /* "val_acc" */
    CKPT_PRIMACY_LOSS,       /* "val_aux_loss" */
    CKPT_PRIMACY_MAX,        /* "val_loss" */
};
unsigned ckpt_policy_primacy(const char *name);

/* The largest N with N * UNIT <= V for V of either sign. */
static inline int64_t ckpt_floor_div(int64_t v, int64_t unit)
{
    return v / unit - (v % unit < 0);
}

static inline int64_t ckpt_add_saturated(int64_t a, int64_t b)
{
    int64_t sum = 0;
    if (__builtin_add_overflow(a, b, &sum)) {
        return b < 0 ? INT64_MIN : INT64_MAX;
    }
    return sum;
}

#endif
