/*
 * Content-defined cut points: a gear hash over the bytes, so that two files that differ by an
 * insertion agree on their cuts again soon after it.
 *
 * Sizes in bytes: no chunk but the last of a run is smaller than CKPT_CHUNK_MIN, none is larger than
 * CKPT_CHUNK_MAX; the usual one is near CKPT_CHUNK_TARGET.
 */
#ifndef CKPT_STORE_CHUNKER_H
#define CKPT_STORE_CHUNKER_H

#include <stddef.h>
#include <stdint.h>

enum {
    CKPT_CHUNK_MIN = 128 << 10,
    CKPT_CHUNK_TARGET = 256 << 10,
    CKPT_CHUNK_MAX = 512 << 10,
};

struct ckpt_chunker {
    uint64_t gear[256];
};

/* The table follows from the store's seed, so cut points don't tell content across stores. */
void ckpt_chunker_init(struct ckpt_chunker *chunker, uint64_t seed);

/*
 * The length of the first chunk of BYTES. When N < CKPT_CHUNK_MAX the bytes must be all that is left
 * of the run (data up to a hole or the end of the file).
 */
size_t ckpt_chunker_cut(const struct ckpt_chunker *chunker, const void *bytes, size_t n);

#endif
