/*
 * Differences in groups.
 *
 * Grouping sorts differences, stably, by the top byte of the base's rotated word: the exponent of
 * what changed says most about how much it changed. Who has the base can compute the same order, so
 * it needs no bytes.
 *
 * Pure functions, as those of planes.h.
 */
#ifndef CKPT_STORE_GROUPS_H
#define CKPT_STORE_GROUPS_H

#include "planes.h"
#include <stddef.h>
#include <stdint.h>

enum { CKPT_GROUPS = 256 };

/* Where each group's words go. The words are walked in several lanes at a time, each of which has
 * its own counters. */
enum { CKPT_LANES = 4 };

struct ckpt_groups {
    uint32_t start[CKPT_GROUPS + 1];        /* of each group; the last one is the count */
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
