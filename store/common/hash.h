/*
 * XXH3, for id.c. hash.c is compiled twice, for any processor and for those with AVX2 (CMakeLists.txt), because xxhash.h
 * chooses its vectors when it is compiled. Both give the same values. The only file that knows xxhash.h is hash.c.
 *
 * Pure functions; any thread.
 */
#ifndef CKPT_STORE_HASH_H
#define CKPT_STORE_HASH_H

#include <ckpt/id.h>
#include <stddef.h>
#include <stdint.h>

struct ckpt_hash {
    /* XXH3-128 in canonical byte order. */
    struct ckpt_id (*id)(uint64_t seed, const void *bytes, size_t n);
    /* XXH3-64 of A followed by B. */
    uint64_t (*checksum)(uint64_t seed, const void *a, size_t na, const void *b, size_t nb);
};

extern const struct ckpt_hash ckpt_hash_any;
extern const struct ckpt_hash ckpt_hash_avx2; /* only where CKPT_HASH_AVX2 is defined */

#endif
