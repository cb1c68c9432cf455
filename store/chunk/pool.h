/*
 * A fixed set of worker threads, each with its own codec state.
 */
#ifndef CKPT_STORE_POOL_H
#define CKPT_STORE_POOL_H

#include "codec.h"
#include <ckpt/err.h>
#include <stdbool.h>

struct ckpt_pool;

typedef void ckpt_pool_fn(void *arg, struct ckpt_codec *codec);

/* BACKGROUND: lowest CPU and I/O priority, so that training isn't disturbed. */
CKPT_MUST_USE enum ckpt_err ckpt_pool_create(unsigned threads, bool background,
                                             struct ckpt_pool **pool);

/* Runs what is queued, then ends the threads. NULL is fine. */
void ckpt_pool_free(struct ckpt_pool *pool);

/* Queues FN(ARG); first in, first out. */
CKPT_MUST_USE enum ckpt_err ckpt_pool_submit(struct ckpt_pool *pool, ckpt_pool_fn *fn, void *arg);

/* Gives the calling thread the lowest CPU and I/O priority. */
void ckpt_thread_background(void);

#endif
