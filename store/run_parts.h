/*
 * A run's picture in memory, for those who change it: the engine's own one, which is ahead of the database until it commits,
 * and the ones in struct ckpt_runs, which follow.
 */
#ifndef CKPT_STORE_RUN_PARTS_H
#define CKPT_STORE_RUN_PARTS_H

#include <ckpt/run.h>

/* A run without checkpoints. NULL: no memory. */
struct ckpt_run *ckpt_run_new(uint64_t dir);
void ckpt_run_free(struct ckpt_run *run); /* NULL is fine */

/* Takes C over, in place of the one with its number if there is one. What is in the run must not change what ckpt_run_epoch
   and the like go by (its epoch, step, state) in place, but by putting a changed copy. NOMEM: C is freed. */
CKPT_MUST_USE enum ckpt_err ckpt_run_put(struct ckpt_run *run, struct ckpt_checkpoint *c);

/* What the row says, without the checkpoints. NOMEM. */
CKPT_MUST_USE enum ckpt_err ckpt_run_set(struct ckpt_run *run, const struct ckpt_run *row);

/* Shows readers what was just committed: copies of CHANGED[0..N) and of the row of RUN, if the run is in memory there. NEW_RUN:
   it was made. After NOMEM the run is read from the database when it is asked for next. */
void ckpt_runs_apply(struct ckpt_runs *runs, const struct ckpt_run *run, struct ckpt_checkpoint *const *changed,
                     size_t n, bool new_run);
/* Directories were moved: what lies below what is to be found out anew. */
void ckpt_runs_moved(struct ckpt_runs *runs);

#endif
