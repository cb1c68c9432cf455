/*
 * A plan: how a file is cut into chunks.
 *
 * Where its container names tensors, each large one has chunks of its own, cut at fixed distances from its start, so that the
 * same part is found again in the next version; small ones share chunks, and so do the bytes between them (headers, names,
 * checksums: they differ in every save). Everything else is a region for the chunker.
 */
#ifndef CKPT_STORE_PLAN_H
#define CKPT_STORE_PLAN_H

#include "format/container.h"
#include <ckpt/err.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the file that stand in a chunk, in order. */
struct ckpt_piece {
    uint64_t offset;
    uint32_t size;
};

/* A chunk, or (PIECES 0) a region that is cut where its content says. */
struct ckpt_step {
    uint64_t offset; /* of the first byte in the file */
    uint64_t size;
    uint64_t key;    /* of the chunk; of the region, 0 for the whole file */
    size_t first;    /* piece */
    uint32_t pieces;
    uint8_t width;
};

struct ckpt_plan {
    struct ckpt_step *steps; /* by offset */
    size_t count;
    size_t room;
    struct ckpt_piece *pieces;
    size_t piece_count;
    size_t piece_room;
};

/* Plans a file of SIZE > 0 bytes with these parts (none: one region). PLAN need not be initialised and is empty after an
   error. NOMEM. */
CKPT_MUST_USE enum ckpt_err ckpt_plan_make(const struct ckpt_parts *parts, uint64_t size,
                                           struct ckpt_plan *plan);
void ckpt_plan_clear(struct ckpt_plan *plan);

/* The key of chunk number INDEX of a region. */
uint64_t ckpt_plan_region_key(const struct ckpt_step *region, uint64_t index);

#endif
