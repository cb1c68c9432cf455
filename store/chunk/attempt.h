/*
 * What to try with each plane, and what it should take: estimates from samples and from counts, so
 * that not everything has to be made to find what is smallest. They depend on the arguments alone.
 * Any thread, each with its own frames and scratch.
 */
#ifndef CKPT_STORE_ATTEMPT_H
#define CKPT_STORE_ATTEMPT_H

#include "frame.h"
#include "groups.h"
#include "planes.h"
#include <ckpt/err.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The words of a chunk, at least one. */
struct ckpt_words {
    struct ckpt_shape shape;
    const uint8_t *words;
    const uint8_t *base; /* as many; NULL for none */
};

/* What one plane is to become. */
struct ckpt_attempt {
    float size;   /* expected */
    bool huffman; /* what to try; nothing: the bytes as they are */
    bool zstd;
    size_t cut_count; /* where Huffman's blocks end */
    uint32_t cuts[CKPT_HUFFMAN_CUTS];
};

/* Bytes of scratch that the functions below need. */
size_t ckpt_attempt_scratch(void);

/* Plans for the planes of the words, or of their differences; *SIZE is what all should take. NOMEM.
 */
CKPT_MUST_USE enum ckpt_err ckpt_attempt_planes(struct ckpt_frames *frames,
                                             const struct ckpt_words *words, bool differences,
                                             uint8_t *scratch, struct ckpt_attempt plans[CKPT_PLANES],
                                             float *size);

/* Whether the words themselves repeat, as far as a sample can tell: then zstd may do better than
 * planes. */
bool ckpt_attempt_repeats(const struct ckpt_words *words, uint8_t *scratch);

/* Where groups end that are worth a table, neighbours taken together. Returns how many. */
size_t ckpt_attempt_cuts(const struct ckpt_groups *groups, uint32_t cuts[CKPT_HUFFMAN_CUTS]);

/* Plans for the grouped differences, whose PLANES these are (each of the words' count); WITHOUT are
 *those for plain differences. *PLAIN and GROUPED are the sizes without and with groups, from counts
 *and so nearly exact. */
void ckpt_attempt_groups(const struct ckpt_words *words, const uint8_t *planes, const uint32_t *cuts,
                      size_t cut_count, const struct ckpt_attempt without[CKPT_PLANES],
                      struct ckpt_attempt with[CKPT_PLANES], float *plain, float *grouped);

#endif
