/*
 * The engine's own picture of the runs: what its thread works on, ahead of the database until it saves. Changes are made in
 * place, marked, written into a transaction, and shown to readers (struct ckpt_runs) when that is committed. After a failure
 * everything that was changed is forgotten and read again.
 *
 *     ckpt_keeper_run(keeper, dir, false, &run);
 *     c->pinned = true;
 *     ckpt_keeper_touch(keeper, run, c);
 *     ckpt_keeper_commit(keeper);
 *
 * Thread rules: the engine's thread.
 */
#ifndef CKPT_STORE_KEEPER_H
#define CKPT_STORE_KEEPER_H

#include "object/db.h"
#include <ckpt/run.h>

struct ckpt_keeper;

/* READERS may be NULL. */
CKPT_MUST_USE enum ckpt_err ckpt_keeper_create(struct ckpt_store *store, struct ckpt_runs *readers,
                                               struct ckpt_keeper **keeper);
void ckpt_keeper_free(struct ckpt_keeper *keeper); /* NULL is fine */

/* The run of directory DIR; MAKE: with no checkpoint if there is none, else NOT_FOUND. Valid until the next commit that fails. */
CKPT_MUST_USE enum ckpt_err ckpt_keeper_run(struct ckpt_keeper *keeper, uint64_t dir, bool make, struct ckpt_run **run);

/* The checkpoint to be changed. NULL: there is none. */
struct ckpt_checkpoint *ckpt_keeper_checkpoint(struct ckpt_run *run, uint32_t number);

/* A new checkpoint of RUN with its number and id, to be filled in and touched. NULL: no memory. */
struct ckpt_checkpoint *ckpt_keeper_begin(struct ckpt_keeper *keeper, struct ckpt_run *run);

/* RUN's row was changed, and checkpoint C (may be NULL). */
void ckpt_keeper_touch(struct ckpt_keeper *keeper, struct ckpt_run *run, struct ckpt_checkpoint *c);

/* Writes what was touched into TXN. After its commit, or its abort, ckpt_keeper_saved must follow. */
CKPT_MUST_USE enum ckpt_err ckpt_keeper_save_in(struct ckpt_keeper *keeper, struct ckpt_txn *txn);
void ckpt_keeper_saved(struct ckpt_keeper *keeper, bool committed);

/* All of that in a transaction of its own, which is none when nothing was touched. */
CKPT_MUST_USE enum ckpt_err ckpt_keeper_commit(struct ckpt_keeper *keeper);

/* The run of directory DIR was changed in the database by somebody else: it is read anew when it is asked for next. What was
   touched in it and not saved is lost, and pointers to it are. */
void ckpt_keeper_reload(struct ckpt_keeper *keeper, uint64_t dir);

/* Every run of the store that is in memory here, or (ALL) every one there is, until FN fails. FN may touch, not commit. */
typedef enum ckpt_err ckpt_keeper_fn(void *arg, struct ckpt_run *run);
CKPT_MUST_USE enum ckpt_err ckpt_keeper_each(struct ckpt_keeper *keeper, bool all, ckpt_keeper_fn *fn, void *arg);

#endif
