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

/* Takes C over, in place of the one with its number if there is one. NOMEM: C is freed. */
CKPT_MUST_USE enum ckpt_err ckpt_run_put(struct ckpt_run *run, struct ckpt_checkpoint *c);

/* The checkpoint to be changed in place; ckpt_run_change must follow. NULL: there is none. */
struct ckpt_checkpoint *ckpt_run_find(struct ckpt_run *run, uint32_t number);

/* RUN's row was changed, and C (may be NULL) in place: brings what ckpt_run_epoch and the like go by up to date, and puts C into
   the list of what differs from the database. Takes as long with many checkpoints as with few. */
void ckpt_run_change(struct ckpt_run *run, struct ckpt_checkpoint *c);
/* Nothing differs any more. */
void ckpt_run_settle(struct ckpt_run *run);

/* What the row says, without the checkpoints. NOMEM. */
CKPT_MUST_USE enum ckpt_err ckpt_run_set(struct ckpt_run *run, const struct ckpt_run *row);

/* Shows readers what was just committed: copies of the row of RUN and of what RUN->changed lists, if the run is in memory there.
   NEW_RUN: it was made. Without memory for that the run is read from the database when it is asked for next. */
void ckpt_runs_apply(struct ckpt_runs *runs, const struct ckpt_run *run, bool new_run);
/* The run of directory DIR was changed in the database by somebody else: it is read anew when it is asked for next. */
void ckpt_runs_reload(struct ckpt_runs *runs, uint64_t dir);
/* Directories were moved: what lies below what is to be found out anew. */
void ckpt_runs_moved(struct ckpt_runs *runs);

#endif
