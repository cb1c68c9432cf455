/*
 * The retention policy: which checkpoints of a run stay, which go, and why. Pure functions without
 * I/O, and without knowledge of where checkpoints and policies are stored.
 *
 * The text form, one rule a line; "#" at the start of a word begins a comment. Whatever any keep
 * rule wants stays.
 *
 *     metric val_loss min min-delta 0.001 smooth 3     the first one is the primary metric
 *     keep last 5
 *     keep best 3                                      by the primary metric
 *     keep best 2 by val_acc
 *     keep every 10 epochs                             the first at or after each multiple of 10
 *     keep every 1000 steps
 *     keep every 2h                                    the first of each 2 hours
 *     keep first
 *     keep within 7d                                   before the latest one
 *     keep thinning 1h:24 1d:7 1w:8                    the newest of each of the last 24 hours, 7
 * days, 8 weeks that have one snapshot every 30m                               of an overwritten
 * file only the first of each 30 minutes is a checkpoint grace 7d how long what was let go can be
 * had back quota 500G                                       for what is kept hot 20G not judged
 * here: live bytes beyond it become cold patience 5 evaluations without improvement until early
 * stopping
 *
 * Durations have one unit of s, m, h, d, w. Sizes are those of ckpt_size_parse. A policy without a
 * keep rule removes nothing that is live, but for a quota.
 *
 * The primary metric, when the policy names none: the loss of a validation or evaluation
 * ("val_loss", "eval/loss"), else the first other metric that says validation, evaluation, dev or
 * test, else the first that nobody measures but to evaluate (iou, map, f1, bleu, wer, fid, auc,
 * psnr, top1, reward, ... and "best_..." of whatever has a direction) and that doesn't say
 * training. "loss", "acc" and "error" alone say nothing about which data: without any of these
 * there is none, and no best.
 *
 * Time. The order of checkpoints is that of their sequence numbers, never that of the clock. Rules
 * with durations use a *corrected time*: it starts at the first save and advances from each save to
 * the next by what the clock advanced, by nothing when the clock went back. "within" and "thinning"
 * count back from the latest save, so a run that has ended is not eaten up by the calendar. Only
 * the grace looks at the present: a clock that is behind makes things stay longer.
 *
 * Metrics. Comparison is strict: the older of equals wins. NaN never wins and is no part of a mean.
 * With "smooth N" a checkpoint has the mean of the last N values up to its own. A value that
 * improves on the best before it by less than min-delta counts as equal to that one.
 *
 * Thread rules: none; everything works on its arguments alone.
 */
#ifndef CKPT_POLICY_H
#define CKPT_POLICY_H

#include <ckpt/err.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CKPT_POLICY_TEXT_MAX = 65536,
    CKPT_POLICY_RULES_MAX = 32,
    CKPT_POLICY_METRICS_MAX = 16,
    CKPT_POLICY_THINNINGS_MAX = 8,
    CKPT_POLICY_SMOOTH_MAX = 100,
    CKPT_POLICY_NAME_MAX = 127, /* bytes of a metric's name */
    CKPT_POLICY_MESSAGE_MAX = 511,
};

/* Nanoseconds: "grace" when the policy doesn't say. */
#define CKPT_POLICY_GRACE_DEFAULT (INT64_C(7) * 24 * 3600 * 1000000000)

/* No such checkpoint. */
#define CKPT_POLICY_NONE SIZE_MAX

enum ckpt_direction { CKPT_DIRECTION_UNKNOWN, CKPT_DIRECTION_MIN, CKPT_DIRECTION_MAX };

enum ckpt_rule_kind {
    CKPT_RULE_LAST,   /* count */
    CKPT_RULE_BEST,   /* count, metric */
    CKPT_RULE_EPOCHS, /* count */
    CKPT_RULE_STEPS,  /* count */
    CKPT_RULE_EVERY,  /* duration_ns */
    CKPT_RULE_FIRST,
    CKPT_RULE_WITHIN,   /* duration_ns */
    CKPT_RULE_THINNING, /* thinnings */
};

struct ckpt_thinning {
    int64_t step_ns;
    uint64_t count;
};

/* One keep rule; what its kind doesn't use is 0. */
struct ckpt_policy_rule {
    enum ckpt_rule_kind kind;
    uint64_t count;
    int64_t duration_ns;
    char metric[CKPT_POLICY_NAME_MAX + 1]; /* "": the primary one */
    struct ckpt_thinning thinnings[CKPT_POLICY_THINNINGS_MAX];
    size_t n_thinnings;
};

struct ckpt_policy_metric {
    char name[CKPT_POLICY_NAME_MAX + 1];
    enum ckpt_direction direction;
    double min_delta; /* 0: any improvement counts */
    unsigned smooth;  /* 1: values as they are */
};

/* A plain value: no pointers, nothing to free. */
struct ckpt_policy {
    struct ckpt_policy_metric metrics[CKPT_POLICY_METRICS_MAX];
    size_t n_metrics;
    struct ckpt_policy_rule rules[CKPT_POLICY_RULES_MAX];
    size_t n_rules;
    int64_t snapshot_ns; /* 0: every overwritten version is a checkpoint */
    int64_t grace_ns;
    bool has_grace; /* else grace_ns is the default */
    bool has_quota;
    bool has_hot;
    uint64_t quota;    /* bytes */
    uint64_t hot;      /* bytes */
    uint64_t patience; /* 0: no early stopping */
};

struct ckpt_policy_error {
    unsigned line; /* from 1 */
    char text[CKPT_POLICY_MESSAGE_MAX +
              1]; /* a sentence with line, word, cause and an example of what is right */
};

/* The policy of an empty text. */
void ckpt_policy_init(struct ckpt_policy *policy);

/*
 * SIZE bytes of TEXT, any bytes at all. INVALID: *ERROR (may be NULL) says what is wrong; *POLICY
 * is untouched.
 */
CKPT_MUST_USE enum ckpt_err ckpt_policy_parse(const char *text, size_t size,
                                              struct ckpt_policy *policy,
                                              struct ckpt_policy_error *error);

/*
 * The policy as text that parses to the same policy, with its NUL at most SIZE bytes; returns the
 * length that it has or would have, as snprintf does. TEXT may be NULL when SIZE is 0.
 */
size_t ckpt_policy_print(const struct ckpt_policy *policy, char *text, size_t size);

/* The same of one keep rule ("best 2 by val_acc") and of a duration ("90m"). */
size_t ckpt_policy_print_rule(const struct ckpt_policy_rule *rule, char *text, size_t size);
size_t ckpt_policy_print_duration(int64_t ns, char *text, size_t size);

/* What is better, by the metric's name: the last part of a path, with or without what usually
 * stands around it. */
enum ckpt_direction ckpt_policy_direction(const char *name);

/* What POLICY says of the metric of that very name, else what its name says. */
enum ckpt_direction ckpt_policy_direction_of(const struct ckpt_policy *policy, const char *name);

struct ckpt_policy_value {
    const char *name;
    double value;
};

enum ckpt_policy_state {
    CKPT_STATE_COMPLETE,
    CKPT_STATE_WRITING, /* incomplete, and somebody is still at it */
    CKPT_STATE_INVALID, /* truncated or damaged, for good */
};

enum ckpt_policy_gone {
    CKPT_GONE_NOT, /* the trainer has left it where it was */
    CKPT_GONE_OVERWRITTEN,
    CKPT_GONE_DELETED,
};

/*
 * A checkpoint of the run. Those that were dropped stay in the array as long as the catalog
 * remembers them: their values are history for means and for min-delta, and their times carry the
 * corrected time. Without them both are worked out from what is left.
 */
struct ckpt_policy_checkpoint {
    uint64_t sequence; /* order of saves */
    int64_t saved_ns;  /* wall clock, since the epoch; may jump */
    uint64_t epoch;
    uint64_t step;
    bool has_epoch;
    bool has_step;
    uint64_t bytes; /* that dropping it would free */
    enum ckpt_policy_state state;
    bool pinned;
    bool tagged;
    bool open;
    bool parent;  /* of a run that is running */
    bool alias;   /* a live name besides its own needs it */
    bool dropped; /* only a record */
    bool hidden;  /* an earlier CKPT_VERDICT_HIDE was carried out; if that took the live name away,
                     it is not gone for that */
    int64_t hidden_ns; /* that verdict's since_ns */
    enum ckpt_policy_gone gone;
    int64_t gone_ns; /* wall clock */
    const struct ckpt_policy_value *values;
    size_t n_values;
};

struct ckpt_policy_situation {
    int64_t now_ns;        /* wall clock */
    int64_t changed_ns;    /* when the policy was last changed; 0: never. What was let go before has
                              its grace from then */
    uint64_t bytes_wanted; /* free space is below the low-water mark by so many bytes: what has a
                              grace goes before it is over */
    bool run_deleted; /* the run's directory was removed: no rule keeps anything, nor does being
                         best, latest or the only one */
};

enum ckpt_verdict_kind {
    CKPT_VERDICT_KEEP, /* and shown: one that was hidden comes back */
    CKPT_VERDICT_HIDE, /* gone for the user, who can have it back until until_ns */
    CKPT_VERDICT_DROP,
};

/* Of several that hold the first in this order is told. */
enum ckpt_policy_reason {
    /* never rotated */
    CKPT_REASON_WRITING,
    CKPT_REASON_ONLY,
    CKPT_REASON_BEST,
    CKPT_REASON_LATEST,
    CKPT_REASON_PINNED,
    CKPT_REASON_TAGGED,
    CKPT_REASON_PARENT,
    CKPT_REASON_OPEN,
    CKPT_REASON_ALIAS,
    /* kept */
    CKPT_REASON_RULE,
    CKPT_REASON_UNRANKED,  /* a rule asks for the best, and no checkpoint has a value: it keeps them
                              all */
    CKPT_REASON_DIRECTION, /* the same, and nothing says what is better of the metric */
    CKPT_REASON_DEFAULT,   /* there is no keep rule */
    /* kept for the grace and then dropped */
    CKPT_REASON_OVERWRITTEN,
    CKPT_REASON_DELETED,
    CKPT_REASON_INVALID,
    /* rotated */
    CKPT_REASON_NO_RULE,
    CKPT_REASON_SNAPSHOT, /* overwritten between two snapshots */
    CKPT_REASON_QUOTA,
    CKPT_REASON_SPACE,
    CKPT_REASON_DROPPED, /* it was a record only */
};

struct ckpt_policy_verdict {
    enum ckpt_verdict_kind kind;
    enum ckpt_policy_reason reason;
    int64_t since_ns; /* wall clock; of what is hidden or has a grace: when that began */
    int64_t until_ns; /* and when it ends */
    const struct ckpt_policy_rule *rule; /* RULE, UNRANKED, DIRECTION: in the policy */
    const char *metric; /* BEST and rules about the best: in the policy or a checkpoint; NULL: there
                           is none */
    size_t rank;        /* from 1 */
    double value;       /* that decided: the mean if the metric is smoothed */
};

struct ckpt_policy_summary {
    size_t best;        /* index of the checkpoint, or CKPT_POLICY_NONE */
    size_t latest;      /* the same */
    const char *metric; /* the primary one, in the policy or a checkpoint; NULL: none */
    enum ckpt_direction direction;
    const char
        *unranked; /* a metric that the policy wants ranked and that has no direction; NULL: none */
    uint64_t kept_bytes; /* of what is kept, hidden and dropped now */
    uint64_t hidden_bytes;
    uint64_t dropped_bytes;
};

/*
 * N verdicts, in the order of the checkpoints, for one run. POLICY NULL is none.
 *
 * Never rotated are the best, the latest and the only complete one, pinned and tagged ones, open
 * ones, those still being written, parents of a running run, and what another live name needs.
 * Invalid ones are never best or latest and no rule keeps them.
 *
 * What no rule keeps is let go: hidden from now on, dropped when its grace is over. Without a keep
 * rule only what the trainer overwrote or deleted is let go, and stays as it is until it is
 * dropped. When space is wanted, the oldest saves among what has a grace are dropped at once. When
 * what is kept exceeds the quota, the oldest that only rules keep are let go.
 *
 * Carrying the verdicts out and asking again drops nothing more at the same time. O(n log n).
 * NOMEM.
 */
CKPT_MUST_USE enum ckpt_err ckpt_policy_judge(const struct ckpt_policy *policy,
                                              const struct ckpt_policy_checkpoint *checkpoints,
                                              size_t n,
                                              const struct ckpt_policy_situation *situation,
                                              struct ckpt_policy_verdict *verdicts,
                                              struct ckpt_policy_summary *summary);

/* "keep: best val_loss 0.021", "rotate: no rule keeps it"; cut to SIZE bytes with the NUL. */
void ckpt_policy_explain(const struct ckpt_policy_verdict *verdict, char *text, size_t size);

/* Stable machine names, as in --json output ("no_rule"); static storage. */
const char *ckpt_policy_reason_name(enum ckpt_policy_reason reason);

/*
 * The complete checkpoints that have a value of METRIC (NULL: the primary one), best first: *COUNT
 * indices in INDICES, which has room for N. Nothing when the direction is not known. NOMEM.
 */
CKPT_MUST_USE enum ckpt_err ckpt_policy_rank(const struct ckpt_policy *policy,
                                             const struct ckpt_policy_checkpoint *checkpoints,
                                             size_t n, const char *metric, size_t *indices,
                                             size_t *count);

struct ckpt_policy_stop {
    bool should_stop;
    size_t best; /* index of the best evaluation, dropped or not, or CKPT_POLICY_NONE */
    size_t evaluations;
    size_t since_best; /* evaluations after the best one; NaN is an evaluation */
};

/* Whether training should stop: no improvement by min-delta of the primary metric in "patience"
 * evaluations. NOMEM. */
CKPT_MUST_USE enum ckpt_err ckpt_policy_early_stop(const struct ckpt_policy *policy,
                                                   const struct ckpt_policy_checkpoint *checkpoints,
                                                   size_t n, struct ckpt_policy_stop *stop);

#endif
