/*
 * Changing what is known about checkpoints, and what is kept of them. Each call is carried out by the engine's thread and
 * waits for it; when it returns CKPT_OK the change is durable and shown.
 *
 * RUN is the id of the run's directory, NUMBER that of the checkpoint in it (ckpt/run.h). NOT_FOUND: there is none. A reason
 * that a person can act on has been reported.
 */
#ifndef CKPT_KEEP_H
#define CKPT_KEEP_H

#include <ckpt/engine.h>
#include <ckpt/err.h>
#include <ckpt/policy.h>
#include <ckpt/run.h>
#include <stdbool.h>
#include <stdint.h>

/* A tag is 1 to 64 characters of letters, digits, ".", "_", "-", not beginning with ".". A run's tag stands on one checkpoint:
   setting it takes it from another one. INVALID; NOT_FOUND also when it is to be removed and isn't there. */
CKPT_MUST_USE enum ckpt_err ckpt_engine_tag(struct ckpt_engine *engine, uint64_t run, uint32_t number, const char *tag,
                                            bool set);
CKPT_MUST_USE enum ckpt_err ckpt_engine_pin(struct ckpt_engine *engine, uint64_t run, uint32_t number, bool pin);
CKPT_MUST_USE enum ckpt_err ckpt_engine_metric(struct ckpt_engine *engine, uint64_t run, uint32_t number,
                                               const char *name, double value);
/* The run is over (final/ appears), or it isn't. */
CKPT_MUST_USE enum ckpt_err ckpt_engine_finish(struct ckpt_engine *engine, uint64_t run, bool finished);
/* Gives the files of a rotated or deleted checkpoint their names back and pins it, so that it isn't rotated again. EXISTS: a
   file of that name is there with other content; nothing was done. NOT_FOUND: its bytes are gone. */
CKPT_MUST_USE enum ckpt_err ckpt_engine_undelete(struct ckpt_engine *engine, uint64_t run, uint32_t number);

/* The policy of the directory PATH (relative to live/, "" for the root) and of those below it without one of their own; TEXT
   NULL: it has none any more. Judges the runs in question at once. INVALID: the report has the line and the cause. */
CKPT_MUST_USE enum ckpt_err ckpt_engine_set_policy(struct ckpt_engine *engine, const char *path, const char *text);

struct ckpt_rotation {
    uint64_t hidden;  /* checkpoints rotated now */
    uint64_t dropped; /* whose bytes were given back now */
    uint64_t bytes;   /* about, that came free */
    uint64_t held;    /* that were to go and couldn't: open, being written */
};

/* Judges a run (all of them: ALL) now, and carries it out. */
CKPT_MUST_USE enum ckpt_err ckpt_engine_rotate(struct ckpt_engine *engine, uint64_t run, bool all,
                                               struct ckpt_rotation *rotation);

/* ---- judging, without changing anything; any thread, no engine needed ---- */

/* What the policy says about each checkpoint of a run, in the order of run->list. Points into RUN and POLICY. */
struct ckpt_judgement {
    struct ckpt_policy_checkpoint *checkpoints;
    struct ckpt_policy_verdict *verdicts;
    size_t count;
    struct ckpt_policy_summary summary;
    struct ckpt_policy_stop stop;
    struct ckpt_policy_value *values; /* of all of them */
};

/* What only a running daemon knows; all zero: nothing is open, nobody needs anything. */
struct ckpt_judge_context {
    int64_t now_ns;
    int64_t changed_ns;    /* of the policy */
    uint64_t bytes_wanted; /* see struct ckpt_policy_situation */
    bool run_deleted;      /* the same */
    bool (*open)(void *arg, const struct ckpt_checkpoint *c);
    bool (*parent)(void *arg, const struct ckpt_checkpoint *c); /* of a running run */
    void *arg;
};

CKPT_MUST_USE enum ckpt_err ckpt_judge(const struct ckpt_run *run, const struct ckpt_policy *policy,
                                       const struct ckpt_judge_context *context, struct ckpt_judgement *judgement);
void ckpt_judgement_clear(struct ckpt_judgement *judgement);

/* The numbers of the checkpoints that are shown and have a value of METRIC (NULL: the primary one), best first, to be freed by
   the caller; none when nothing says what is better. */
CKPT_MUST_USE enum ckpt_err ckpt_judge_rank(const struct ckpt_run *run, const struct ckpt_policy *policy, const char *metric,
                                            uint32_t **numbers, size_t *n);

/* The policy that applies in a directory, parsed: that of an empty text when there is none (*CHANGED_NS 0). */
CKPT_MUST_USE enum ckpt_err ckpt_judge_policy(struct ckpt_store *store, uint64_t dir, struct ckpt_policy *policy,
                                              int64_t *changed_ns);

#endif
