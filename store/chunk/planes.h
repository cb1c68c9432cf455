/*
 * Words and their byte planes.
 *
 * A word is a little-endian integer of 2, 4 or 8 bytes, whatever number its bytes stand for;
 * nothing here needs alignment. Every word is rotated left by one bit, which puts the sign of a
 * float at the bottom and its whole exponent into the top byte. A difference is the rotated word
 * minus the rotated word of the base, modulo the width, with the sign folded to the bottom (0, -1,
 * 1, -2, ... become 0, 1, 2, 3, ...). Plane 0 has the lowest bytes.
 *
 * There are two implementations with the same results, in portable C and with AVX2. All functions
 * are pure; any thread.
 */
#ifndef CKPT_STORE_PLANES_H
#define CKPT_STORE_PLANES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CKPT_PLANES = 8 };

struct ckpt_shape {
    size_t count;   /* of words, less than 2^32 */
    unsigned width; /* bytes of a word: 2, 4 or 8 */
    bool avx2;      /* only where ckpt_planes_avx2() */
};

/* Whether this processor has AVX2 (and this compiler knows how to use it). */
bool ckpt_planes_avx2(void);

/* The planes of the words, or of their differences from BASE when that isn't NULL; plane j goes to
 * PLANES + j * STRIDE. */
void ckpt_planes_split(const struct ckpt_shape *shape, const uint8_t *words, const uint8_t *base,
                       uint8_t *planes, size_t stride);

/* The words again. */
void ckpt_planes_merge(const struct ckpt_shape *shape, const uint8_t *const planes[CKPT_PLANES],
                       const uint8_t *base, uint8_t *words);

/* The same with the words' bytes as they are: neither rotated nor differences. */
void ckpt_planes_split_plain(const struct ckpt_shape *shape, const uint8_t *words, uint8_t *planes,
                             size_t stride);
void ckpt_planes_merge_plain(const struct ckpt_shape *shape,
                             const uint8_t *const planes[CKPT_PLANES], uint8_t *words);

#endif
