/*
 * What planes.c and groups.c do with one word, and with a vector of them. Everything is inlined,
 * with the width as a constant.
 */
#ifndef CKPT_STORE_WORDS_H
#define CKPT_STORE_WORDS_H

#include "planes.h"
#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define HAVE_AVX2 1
#else
#define HAVE_AVX2 0
#endif

#define INLINE static inline __attribute__((always_inline))

INLINE uint64_t load(const uint8_t *p, unsigned width)
{
    uint64_t v = (uint64_t)p[0] | (uint64_t)p[1] << 8;
    if (width >= 4) {
        v |= (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24;
    }
    if (width == 8) {
        v |= (uint64_t)p[4] << 32 | (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 |
             (uint64_t)p[7] << 56;
    }
    return v;
}

INLINE void store(uint8_t *p, uint64_t v, unsigned width)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
    if (width >= 4) {
        p[2] = (uint8_t)(v >> 16);
        p[3] = (uint8_t)(v >> 24);
    }
    if (width == 8) {
        p[4] = (uint8_t)(v >> 32);
        p[5] = (uint8_t)(v >> 40);
        p[6] = (uint8_t)(v >> 48);
        p[7] = (uint8_t)(v >> 56);
    }
}

/* WIDTH bytes of ones. */
INLINE uint64_t mask(unsigned width)
{
    return UINT64_MAX >> (64 - 8 * width);
}

INLINE uint64_t rotate_left(uint64_t v, unsigned width)
{
    return (v << 1 | v >> (8 * width - 1)) & mask(width);
}

INLINE uint64_t rotate_right(uint64_t v, unsigned width)
{
    return (v >> 1 | v << (8 * width - 1)) & mask(width);
}

/* The difference of two rotated words, folded. */
INLINE uint64_t difference(uint64_t word, uint64_t base, unsigned width)
{
    uint64_t d = (word - base) & mask(width);
    return ((d << 1) ^ (0 - (d >> (8 * width - 1)))) & mask(width);
}

INLINE uint64_t add_difference(uint64_t folded, uint64_t base, unsigned width)
{
    return (((folded >> 1) ^ (0 - (folded & 1))) + base) & mask(width);
}

#if HAVE_AVX2

#define AVX2 __attribute__((target("avx2")))

enum { BLOCK = 32 }; /* words at a time: a vector of each plane */

AVX2 INLINE __m256i vector_load(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

AVX2 INLINE void vector_store(uint8_t *p, __m256i v)
{
    _mm256_storeu_si256((__m256i *)(void *)p, v);
}

AVX2 INLINE __m256i vector_rotate_left(__m256i v, unsigned width)
{
    switch (width) {
    case 2:
        return _mm256_or_si256(_mm256_slli_epi16(v, 1), _mm256_srli_epi16(v, 15));
    case 4:
        return _mm256_or_si256(_mm256_slli_epi32(v, 1), _mm256_srli_epi32(v, 31));
    default:
        return _mm256_or_si256(_mm256_slli_epi64(v, 1), _mm256_srli_epi64(v, 63));
    }
}

AVX2 INLINE __m256i vector_rotate_right(__m256i v, unsigned width)
{
    switch (width) {
    case 2:
        return _mm256_or_si256(_mm256_srli_epi16(v, 1), _mm256_slli_epi16(v, 15));
    case 4:
        return _mm256_or_si256(_mm256_srli_epi32(v, 1), _mm256_slli_epi32(v, 31));
    default:
        return _mm256_or_si256(_mm256_srli_epi64(v, 1), _mm256_slli_epi64(v, 63));
    }
}

AVX2 INLINE __m256i vector_difference(__m256i v, __m256i base, unsigned width)
{
    __m256i zero = _mm256_setzero_si256();
    __m256i d;
    switch (width) {
    case 2:
        d = _mm256_sub_epi16(v, base);
        return _mm256_xor_si256(_mm256_slli_epi16(d, 1), _mm256_srai_epi16(d, 15));
    case 4:
        d = _mm256_sub_epi32(v, base);
        return _mm256_xor_si256(_mm256_slli_epi32(d, 1), _mm256_srai_epi32(d, 31));
    default:
        d = _mm256_sub_epi64(v, base);
        return _mm256_xor_si256(_mm256_slli_epi64(d, 1), _mm256_cmpgt_epi64(zero, d));
    }
}

AVX2 INLINE __m256i vector_add_difference(__m256i folded, __m256i base, unsigned width)
{
    __m256i zero = _mm256_setzero_si256();
    __m256i sign;
    switch (width) {
    case 2:
        sign = _mm256_sub_epi16(zero, _mm256_and_si256(folded, _mm256_set1_epi16(1)));
        return _mm256_add_epi16(_mm256_xor_si256(_mm256_srli_epi16(folded, 1), sign), base);
    case 4:
        sign = _mm256_sub_epi32(zero, _mm256_and_si256(folded, _mm256_set1_epi32(1)));
        return _mm256_add_epi32(_mm256_xor_si256(_mm256_srli_epi32(folded, 1), sign), base);
    default:
        sign = _mm256_sub_epi64(zero, _mm256_and_si256(folded, _mm256_set1_epi64x(1)));
        return _mm256_add_epi64(_mm256_xor_si256(_mm256_srli_epi64(folded, 1), sign), base);
    }
}

/* The even bytes of the 64 of A and B, and the odd ones. */
AVX2 INLINE void part(__m256i a, __m256i b, __m256i *even, __m256i *odd)
{
    __m256i low = _mm256_set1_epi16(0xff);
    __m256i e = _mm256_packus_epi16(_mm256_and_si256(a, low), _mm256_and_si256(b, low));
    __m256i o = _mm256_packus_epi16(_mm256_srli_epi16(a, 8), _mm256_srli_epi16(b, 8));
    *even = _mm256_permute4x64_epi64(e, 0xd8); /* packus works in halves */
    *odd = _mm256_permute4x64_epi64(o, 0xd8);
}

/* The inverse of part. */
AVX2 INLINE void join(__m256i even, __m256i odd, __m256i *a, __m256i *b)
{
    __m256i low = _mm256_unpacklo_epi8(even, odd);
    __m256i high = _mm256_unpackhi_epi8(even, odd);
    *a = _mm256_permute2x128_si256(low, high, 0x20);
    *b = _mm256_permute2x128_si256(low, high, 0x31);
}

/* One step of vectors_to_planes: each run of SPAN vectors to one of even bytes and one of odd ones.
 */
AVX2 INLINE void part_runs(__m256i v[CKPT_PLANES], unsigned width, unsigned span)
{
    __m256i t[CKPT_PLANES];
    for (unsigned i = 0; i < width / 2; i++) {
        unsigned at = i / (span / 2) * span;
        unsigned in = i % (span / 2);
        part(v[at + 2 * in], v[at + 2 * in + 1], &t[at + in], &t[at + span / 2 + in]);
    }
    for (unsigned i = 0; i < width; i++) {
        v[i] = t[i];
    }
}

AVX2 INLINE void join_runs(__m256i v[CKPT_PLANES], unsigned width, unsigned span)
{
    __m256i t[CKPT_PLANES];
    for (unsigned i = 0; i < width / 2; i++) {
        unsigned at = i / (span / 2) * span;
        unsigned in = i % (span / 2);
        join(v[at + in], v[at + span / 2 + in], &t[at + 2 * in], &t[at + 2 * in + 1]);
    }
    for (unsigned i = 0; i < width; i++) {
        v[i] = t[i];
    }
}

/* WIDTH vectors of words to a vector of each plane, in place: parting halves the words' width until
   they are bytes. Odd bytes go to the upper half of a run, so plane j ends at the index that has
   j's bits reversed. No loop over the steps: only with constants all around are these arrays
   registers. */
AVX2 INLINE void vectors_to_planes(__m256i v[CKPT_PLANES], unsigned width)
{
    if (width == 8) {
        part_runs(v, 8, 8);
    }
    if (width >= 4) {
        part_runs(v, width, 4);
    }
    part_runs(v, width, 2);
}

AVX2 INLINE void planes_to_vectors(__m256i v[CKPT_PLANES], unsigned width)
{
    join_runs(v, width, 2);
    if (width >= 4) {
        join_runs(v, width, 4);
    }
    if (width == 8) {
        join_runs(v, width, 8);
    }
}

/* Which plane is at index I, see above. */
INLINE unsigned plane_at(unsigned i, unsigned width)
{
    unsigned plane = 0;
    for (unsigned bit = 1; bit < width; bit *= 2) {
        plane = plane * 2 + (i / bit & 1);
    }
    return plane;
}

#else /* what wants AVX2 is never called */

#define AVX2

#endif

#endif
