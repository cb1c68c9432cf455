/*
 * The pipeline: reads a file by its plan, cuts, hashes, looks up and encodes on several threads, and hands the chunks out in
 * the order of the plan.
 *
 *     feeder (one thread)       walks the plan, finds the cuts of regions
 *     workers (engine->pool)    read, hash, look up, encode
 *     caller                    takes the oldest chunk and commits it
 *
 * A ring of slots connects them and bounds the memory; it is long enough to keep the workers busy while the caller waits for
 * the disk. One file at a time.
 */
#ifndef CKPT_STORE_PIPELINE_H
#define CKPT_STORE_PIPELINE_H

#include "base.h"
#include "chunk/pool.h"
#include "object/object.h"
#include "plan.h"
#include <ckpt/err.h>
#include <ckpt/store.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ckpt_pipeline;

/* POOL's workers do the work; it outlives the pipeline. */
CKPT_MUST_USE enum ckpt_err ckpt_pipeline_create(struct ckpt_store *store, struct ckpt_pool *pool,
                                                 struct ckpt_pipeline **pipeline);
void ckpt_pipeline_free(struct ckpt_pipeline *pipeline); /* stopped; NULL is fine */

/* What comes out: a chunk with the places where its bytes stand, or a hole. Lives until release. */
struct ckpt_product {
    struct ckpt_draft *draft; /* prepared; NULL for a hole */
    uint64_t key;
    uint8_t width;
    const struct ckpt_piece *pieces;
    size_t count;
    uint64_t hole_offset;
    uint64_t hole_size;
};

/* Starts on the SIZE bytes of FD. What is passed lives until stop. NOMEM. */
CKPT_MUST_USE enum ckpt_err ckpt_pipeline_start(struct ckpt_pipeline *pipeline, int fd, uint64_t size,
                                                const struct ckpt_plan *plan,
                                                const struct ckpt_base *base);

/* Waits for the next one. NOT_FOUND: that was all. CHANGED: the file is shorter than it was. Whatever reading and encoding
   run into. */
CKPT_MUST_USE enum ckpt_err ckpt_pipeline_next(struct ckpt_pipeline *pipeline,
                                               struct ckpt_product *product);
void ckpt_pipeline_release(struct ckpt_pipeline *pipeline);

/* Ends what is under way and waits for it. After every start. */
void ckpt_pipeline_stop(struct ckpt_pipeline *pipeline);

#endif
