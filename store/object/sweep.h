/*
 * The sweeper: releases what garbage.h books, in bounded steps. Where a chunk goes that others are differences from, those
 * are coded anew first, so that space comes back at once and nothing that was dropped stays on disk for others' sake.
 *
 * Rows of a recipe that an open reader pins wait. Call it only where no ingest runs: its hits must not vanish under it.
 */
#ifndef CKPT_STORE_SWEEP_H
#define CKPT_STORE_SWEEP_H

#include "chunk/codec.h"
#include "chunk/pool.h"
#include <ckpt/err.h>
#include <ckpt/store.h>
#include <stdbool.h>

struct ckpt_sweeper;

/* POOL's workers code; it outlives the sweeper. One thread. */
CKPT_MUST_USE enum ckpt_err ckpt_sweeper_create(struct ckpt_store *store, struct ckpt_codec *codec,
                                                struct ckpt_pool *pool, struct ckpt_sweeper **sweeper);
void ckpt_sweeper_free(struct ckpt_sweeper *sweeper); /* NULL is fine */

/* New garbage has come: look at all of it again before the next step. */
void ckpt_sweeper_refresh(struct ckpt_sweeper *sweeper);

/*
 * Releases some of what may go, in one transaction; *MORE says whether there is something left that can go now.
 * NOT_FOUND: nothing can go.
 */
CKPT_MUST_USE enum ckpt_err ckpt_sweep(struct ckpt_sweeper *sweeper, bool *more);

#endif
