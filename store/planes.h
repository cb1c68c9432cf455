/*
 * Words and their byte planes.
 *
 * A word is a little-endian integer of 2, 4 or 8 bytes, whatever number its bytes stand for; nothing here needs alignment. Every
 * word is rotated left by one bit, which puts the sign of a float at the bottom and its whole exponent into the top byte. A
 * difference is the rotated word minus the rotated word of the base, modulo the width, with the sign folded to the bottom (0, -1, 1,
 * -2, ... become 0, 1, 2, 3, ...). Plane 0 has the lowest bytes.
 *
 * Grouping sorts differences, stably, by the top byte of the base's rotated word: the exponent of what changed says most about how
 * much it changed. Who has the base can compute the same order, so it needs no bytes.
 *
 * There are two implementations with the same results, in portable C and with AVX2. All functions are pure; any thread.
 */
#ifndef CKPT_STORE_PLANES_H
#define CKPT_STORE_PLANES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CKPT_PLANES = 8, CKPT_GROUPS = 256 };

struct ckpt_shape {
    size_t count;   /* of words, less than 2^32 */
    unsigned width; /* bytes of a word: 2, 4 or 8 */
    bool avx2;      /* only where ckpt_planes_avx2() */
};

/* Whether this processor has AVX2 (and this compiler knows how to use it). */
bool ckpt_planes_avx2(void);

/* The planes of the words, or of their differences from BASE when that isn't NULL; plane j goes to PLANES + j * STRIDE. */
void ckpt_planes_split(const struct ckpt_shape *shape, const uint8_t *words, const uint8_t *base,
                       uint8_t *planes, size_t stride);

/* The words again. */
void ckpt_planes_merge(const struct ckpt_shape *shape, const uint8_t *const planes[CKPT_PLANES],
                       const uint8_t *base, uint8_t *words);

/* Where each group's words go. The words are walked in several lanes at a time, each of which has its own counters. */
enum { CKPT_LANES = 4 };

struct ckpt_groups {
    uint32_t start[CKPT_GROUPS + 1];          /* of each group; the last one is the count */
    uint32_t next[CKPT_LANES][CKPT_GROUPS]; /* where the lane's next word of the group goes */
};

/* Counts the words of BASE. Needed again before each split and merge, which use the counters up. */
void ckpt_groups_count(struct ckpt_groups *groups, const struct ckpt_shape *shape,
                       const uint8_t *base);

/* The planes of the sorted differences; SORTED is scratch of count * width bytes. */
void ckpt_groups_split(struct ckpt_groups *groups, const struct ckpt_shape *shape,
                       const uint8_t *words, const uint8_t *base, uint8_t *sorted, uint8_t *planes,
                       size_t stride);

/* The words again; SORTED as above. */
void ckpt_groups_merge(struct ckpt_groups *groups, const struct ckpt_shape *shape,
                       const uint8_t *const planes[CKPT_PLANES], const uint8_t *base,
                       uint8_t *sorted, uint8_t *words);

#endif
