/*
 * Retention: runs are judged by their policy, and what it says is carried out.
 *
 *     judge.c          a run's rows in the policy's terms
 *     retain.c         which runs are to be judged, and when
 *     retain_apply.c   carrying a judgement out
 *     retain_space.c   on a host that is nearly full
 *     retain_sweep.c   versions that belong to no checkpoint; the policy's limit for hot files
 *     retire.c, revive.c   taking live names away and giving them back, see retire.h
 *     keep.c           the calls of ckpt/keep.h
 *
 * A run is judged when something has come of it (ckpt_retain_due), when a grace ends, when it may be over, and when the host
 * runs short of space. Judging again too early costs time and changes nothing, so a run rests for a multiple of what its last
 * judgement took, unless somebody waits.
 *
 * A checkpoint goes as a whole or not at all: one of whose files is open or being written is *held* and tried again. Rows say
 * "hidden" before names are taken away, and after a crash the rest is taken: the first judgement of a run after the start
 * looks at all hidden ones. Rows say "dropped" in the transaction that drops the versions.
 *
 * Thread rules: the engine's thread, without a transaction.
 */
#ifndef CKPT_STORE_RETAIN_H
#define CKPT_STORE_RETAIN_H

#include "engine/engine_parts.h"
#include "publish/keeper.h"
#include <ckpt/keep.h>

CKPT_MUST_USE enum ckpt_err ckpt_retainer_create(struct ckpt_engine *engine, struct ckpt_retainer **retainer);
void ckpt_retainer_free(struct ckpt_retainer *retainer); /* NULL is fine */

/* ---- retain.c ---- */

/* Something has come of the run of directory RUN: a checkpoint was published, has left, was changed. */
void ckpt_retain_due(struct ckpt_engine *engine, uint64_t run);

/* One step of what is to be done; *WORKED: there may be more. An error was reported and is tried again later. */
CKPT_MUST_USE enum ckpt_err ckpt_retain_step(struct ckpt_engine *engine, bool *worked);

/* Judges a run at once and carries it out. ROTATION is added to. */
CKPT_MUST_USE enum ckpt_err ckpt_retain_now(struct ckpt_engine *engine, uint64_t run, struct ckpt_rotation *rotation);

/* Whether somebody is training there, as far as is known: its last writer lives, or (nobody knows him) it was written to in the
   last 10 minutes. */
bool ckpt_retain_is_running(struct ckpt_engine *engine, const struct ckpt_run *run, int64_t now_ns);

/* ---- retain_apply.c ---- */

struct ckpt_retention {
    struct ckpt_engine *engine;
    struct ckpt_run *run;
    const struct ckpt_judgement *judgement;
    int64_t now_ns;
    bool unfinished; /* names of hidden ones may still be there; afterwards: some still are */
    struct ckpt_rotation rotation;
};

/* After an error the run isn't valid any more: it is to be asked for and judged anew. */
CKPT_MUST_USE enum ckpt_err ckpt_retain_apply(struct ckpt_retention *retention);

/* Whether the directory of C, which is hidden or has left, is that of another save by now: files of two must not be mixed. */
bool ckpt_retain_is_superseded(const struct ckpt_run *run, const struct ckpt_checkpoint *c);

/* The live names of those members of C for which WANTED, for the caller to free. */
typedef bool ckpt_member_fn(struct ckpt_shape shape, const struct ckpt_member *m);
CKPT_MUST_USE enum ckpt_err ckpt_retain_names(const struct ckpt_checkpoint *c, ckpt_member_fn *wanted,
                                              struct ckpt_live_name **names, size_t *n);

/* ---- retain_sweep.c ---- */

/* Versions that belong to no checkpoint, aren't the newest of their file and are older than the usual grace: drops some of
   them. *MORE: there are others. */
CKPT_MUST_USE enum ckpt_err ckpt_retain_orphans(struct ckpt_engine *engine, bool *more);

/* "hot SIZE" of policies: makes live files of checkpoints beyond it cold, the oldest first. *HELD: some could not be. */
CKPT_MUST_USE enum ckpt_err ckpt_retain_hot(struct ckpt_engine *engine, bool *held);

#endif
