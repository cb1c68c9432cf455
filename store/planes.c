/*
 * Words to byte planes and back.
 *
 * Each loop is written once, for any width and kind of plane, and inlined with both as constants.
 */
#include "planes.h"
#include <assert.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#define HAVE_AVX2 1
#else
#define HAVE_AVX2 0
#endif

#define INLINE static inline __attribute__((always_inline))

/* Words that are grouped in one go. */
enum { PART = 64 };

/* What the planes are of. */
enum what { AS_IS, ROTATED, DIFFERENCES };

INLINE uint64_t load(const uint8_t *p, unsigned width)
{
    uint64_t v = (uint64_t)p[0] | (uint64_t)p[1] << 8;
    if (width >= 4) {
        v |= (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24;
    }
    if (width == 8) {
        v |= (uint64_t)p[4] << 32 | (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 | (uint64_t)p[7] << 56;
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

/* The group of a word of the base: the top byte of the rotated word. */
INLINE unsigned group_of(const uint8_t *p, unsigned width)
{
    return (unsigned)(p[width - 1] << 1 | p[width - 2] >> 7) & 0xff;
}

INLINE void split_portable(size_t from, size_t count, unsigned width, enum what what,
                           const uint8_t *words, const uint8_t *base, uint8_t *planes, size_t stride)
{
    for (size_t i = from; i < count; i++) {
        uint64_t v = load(words + i * width, width);
        if (what != AS_IS) {
            v = rotate_left(v, width);
        }
        if (what == DIFFERENCES) {
            v = difference(v, rotate_left(load(base + i * width, width), width), width);
        }
        for (unsigned j = 0; j < width; j++) {
            planes[j * stride + i] = (uint8_t)(v >> (8 * j));
        }
    }
}

INLINE void merge_portable(size_t from, size_t count, unsigned width, enum what what,
                           const uint8_t *const planes[CKPT_PLANES], const uint8_t *base,
                           uint8_t *words)
{
    for (size_t i = from; i < count; i++) {
        uint64_t v = 0;
        for (unsigned j = 0; j < width; j++) {
            v |= (uint64_t)planes[j][i] << (8 * j);
        }
        if (what == DIFFERENCES) {
            v = add_difference(v, rotate_left(load(base + i * width, width), width), width);
        }
        if (what != AS_IS) {
            v = rotate_right(v, width);
        }
        store(words + i * width, v, width);
    }
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

/* One step of vectors_to_planes: each run of SPAN vectors to one of even bytes and one of odd ones. */
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

/* WIDTH vectors of words to a vector of each plane, in place: parting halves the words' width until they are bytes. Odd bytes go to
   the upper half of a run, so plane j ends at the index that has j's bits reversed. No loop over the steps: only with constants all
   around are these arrays registers. */
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

AVX2 INLINE void split_avx2(size_t count, unsigned width, enum what what, const uint8_t *words,
                            const uint8_t *base, uint8_t *planes, size_t stride)
{
    size_t i = 0;
    for (; i + BLOCK <= count; i += BLOCK) {
        __m256i v[CKPT_PLANES];
        for (unsigned k = 0; k < width; k++) {
            v[k] = vector_load(words + i * width + (size_t)k * BLOCK);
            if (what != AS_IS) {
                v[k] = vector_rotate_left(v[k], width);
            }
            if (what == DIFFERENCES) {
                __m256i b = vector_load(base + i * width + (size_t)k * BLOCK);
                v[k] = vector_difference(v[k], vector_rotate_left(b, width), width);
            }
        }
        vectors_to_planes(v, width);
        for (unsigned k = 0; k < width; k++) {
            vector_store(planes + plane_at(k, width) * stride + i, v[k]);
        }
    }
    split_portable(i, count, width, what, words, base, planes, stride);
}

AVX2 INLINE void merge_avx2(size_t count, unsigned width, enum what what,
                            const uint8_t *const planes[CKPT_PLANES], const uint8_t *base,
                            uint8_t *words)
{
    size_t i = 0;
    for (; i + BLOCK <= count; i += BLOCK) {
        __m256i v[CKPT_PLANES];
        for (unsigned k = 0; k < width; k++) {
            v[k] = vector_load(planes[plane_at(k, width)] + i);
        }
        planes_to_vectors(v, width);
        for (unsigned k = 0; k < width; k++) {
            if (what == DIFFERENCES) {
                __m256i b = vector_load(base + i * width + (size_t)k * BLOCK);
                v[k] = vector_add_difference(v[k], vector_rotate_left(b, width), width);
            }
            if (what != AS_IS) {
                v[k] = vector_rotate_right(v[k], width);
            }
            vector_store(words + i * width + (size_t)k * BLOCK, v[k]);
        }
    }
    merge_portable(i, count, width, what, planes, base, words);
}

/* The groups of PART words of the base. */
AVX2 INLINE void part_groups(unsigned width, const uint8_t *base, uint8_t groups[PART])
{
    for (size_t i = 0; i < PART; i += BLOCK) {
        __m256i v[CKPT_PLANES];
        for (unsigned k = 0; k < width; k++) {
            v[k] = vector_rotate_left(vector_load(base + i * width + (size_t)k * BLOCK), width);
        }
        vectors_to_planes(v, width);
        vector_store(groups + i, v[width - 1]);
    }
}

AVX2 INLINE void part_differences(unsigned width, const uint8_t *words, const uint8_t *base,
                                  uint8_t *differences)
{
    for (size_t i = 0; i < (size_t)PART * width; i += sizeof(__m256i)) {
        __m256i v = vector_rotate_left(vector_load(words + i), width);
        __m256i b = vector_rotate_left(vector_load(base + i), width);
        vector_store(differences + i, vector_difference(v, b, width));
    }
}

AVX2 INLINE void part_words(unsigned width, const uint8_t *differences, const uint8_t *base,
                            uint8_t *words)
{
    for (size_t i = 0; i < (size_t)PART * width; i += sizeof(__m256i)) {
        __m256i b = vector_rotate_left(vector_load(base + i), width);
        __m256i v = vector_add_difference(vector_load(differences + i), b, width);
        vector_store(words + i, vector_rotate_right(v, width));
    }
}

#else /* never called */

#define AVX2

INLINE void split_avx2(size_t count, unsigned width, enum what what, const uint8_t *words,
                       const uint8_t *base, uint8_t *planes, size_t stride)
{
    split_portable(0, count, width, what, words, base, planes, stride);
}

INLINE void merge_avx2(size_t count, unsigned width, enum what what,
                       const uint8_t *const planes[CKPT_PLANES], const uint8_t *base, uint8_t *words)
{
    merge_portable(0, count, width, what, planes, base, words);
}

INLINE void part_groups(unsigned width, const uint8_t *base, uint8_t groups[PART])
{
    (void)width;
    (void)base;
    (void)groups;
}

INLINE void part_differences(unsigned width, const uint8_t *words, const uint8_t *base,
                             uint8_t *differences)
{
    (void)width;
    (void)words;
    (void)base;
    (void)differences;
}

INLINE void part_words(unsigned width, const uint8_t *differences, const uint8_t *base,
                       uint8_t *words)
{
    (void)width;
    (void)differences;
    (void)base;
    (void)words;
}

#endif

bool ckpt_planes_avx2(void)
{
#if HAVE_AVX2
    return __builtin_cpu_supports("avx2") != 0;
#else
    return false;
#endif
}

/* One instance per width and kind of plane. */
#define INSTANCES(W, WHAT)                                                                         \
    AVX2 static void split_avx2_##W##_##WHAT(size_t count, const uint8_t *words,                   \
                                             const uint8_t *base, uint8_t *planes, size_t stride)  \
    {                                                                                              \
        split_avx2(count, W, WHAT, words, base, planes, stride);                                   \
    }                                                                                              \
    AVX2 static void merge_avx2_##W##_##WHAT(                                                      \
        size_t count, const uint8_t *const planes[CKPT_PLANES], const uint8_t *base,               \
        uint8_t *words)                                                                            \
    {                                                                                              \
        merge_avx2(count, W, WHAT, planes, base, words);                                           \
    }                                                                                              \
    static void split_##W##_##WHAT(const struct ckpt_shape *shape, const uint8_t *words,           \
                                   const uint8_t *base, uint8_t *planes, size_t stride)            \
    {                                                                                              \
        if (shape->avx2) {                                                                         \
            split_avx2_##W##_##WHAT(shape->count, words, base, planes, stride);                    \
        } else {                                                                                   \
            split_portable(0, shape->count, W, WHAT, words, base, planes, stride);                 \
        }                                                                                          \
    }                                                                                              \
    static void merge_##W##_##WHAT(const struct ckpt_shape *shape,                                 \
                                   const uint8_t *const planes[CKPT_PLANES], const uint8_t *base,  \
                                   uint8_t *words)                                                 \
    {                                                                                              \
        if (shape->avx2) {                                                                         \
            merge_avx2_##W##_##WHAT(shape->count, planes, base, words);                            \
        } else {                                                                                   \
            merge_portable(0, shape->count, W, WHAT, planes, base, words);                         \
        }                                                                                          \
    }

INSTANCES(2, AS_IS)
INSTANCES(2, ROTATED)
INSTANCES(2, DIFFERENCES)
INSTANCES(4, AS_IS)
INSTANCES(4, ROTATED)
INSTANCES(4, DIFFERENCES)
INSTANCES(8, AS_IS)
INSTANCES(8, ROTATED)
INSTANCES(8, DIFFERENCES)

static void split(const struct ckpt_shape *shape, enum what what, const uint8_t *words,
                  const uint8_t *base, uint8_t *planes, size_t stride)
{
    static void (*const table[3][3])(const struct ckpt_shape *, const uint8_t *, const uint8_t *,
                                     uint8_t *, size_t) = {
        {split_2_AS_IS, split_2_ROTATED, split_2_DIFFERENCES},
        {split_4_AS_IS, split_4_ROTATED, split_4_DIFFERENCES},
        {split_8_AS_IS, split_8_ROTATED, split_8_DIFFERENCES},
    };
    assert(shape->width == 2 || shape->width == 4 || shape->width == 8);
    table[shape->width / 4][what](shape, words, base, planes, stride);
}

static void merge(const struct ckpt_shape *shape, enum what what,
                  const uint8_t *const planes[CKPT_PLANES], const uint8_t *base, uint8_t *words)
{
    static void (*const table[3][3])(const struct ckpt_shape *,
                                     const uint8_t *const[CKPT_PLANES], const uint8_t *,
                                     uint8_t *) = {
        {merge_2_AS_IS, merge_2_ROTATED, merge_2_DIFFERENCES},
        {merge_4_AS_IS, merge_4_ROTATED, merge_4_DIFFERENCES},
        {merge_8_AS_IS, merge_8_ROTATED, merge_8_DIFFERENCES},
    };
    assert(shape->width == 2 || shape->width == 4 || shape->width == 8);
    table[shape->width / 4][what](shape, planes, base, words);
}

void ckpt_planes_split(const struct ckpt_shape *shape, const uint8_t *words, const uint8_t *base,
                       uint8_t *planes, size_t stride)
{
    split(shape, base == NULL ? ROTATED : DIFFERENCES, words, base, planes, stride);
}

void ckpt_planes_merge(const struct ckpt_shape *shape, const uint8_t *const planes[CKPT_PLANES],
                       const uint8_t *base, uint8_t *words)
{
    merge(shape, base == NULL ? ROTATED : DIFFERENCES, planes, base, words);
}

/*
 * Lane l walks the words from l * lane_size() on, all lanes in step: with one, the same counter would mostly be needed again before it is
 * written. What the lanes leave over belongs to the last one. A lane is whole parts, and its size not a multiple of 4 KiB: a processor
 * takes loads and stores at the same place of different pages for related, and waits. Few words are walked by the last lane alone.
 */
INLINE size_t lane_size(size_t count)
{
    size_t size = count / CKPT_LANES / PART * PART;
    return size < (size_t)4 * PART ? 0 : size - PART;
}

INLINE void count_part(uint32_t next[CKPT_LANES][CKPT_GROUPS],
                       const uint8_t groups[CKPT_LANES][PART])
{
    for (size_t i = 0; i < PART; i++) {
        for (size_t lane = 0; lane < CKPT_LANES; lane++) {
            next[lane][groups[lane][i]]++;
        }
    }
}

INLINE void count_words(uint32_t next[CKPT_GROUPS], size_t from, size_t to, unsigned width,
                        const uint8_t *base)
{
    for (size_t i = from; i < to; i++) {
        next[group_of(base + i * width, width)]++;
    }
}

INLINE void sort_words(uint32_t next[CKPT_GROUPS], size_t from, size_t to, unsigned width,
                       const uint8_t *words, const uint8_t *base, uint8_t *sorted)
{
    for (size_t i = from; i < to; i++) {
        uint64_t word = rotate_left(load(words + i * width, width), width);
        uint64_t older = rotate_left(load(base + i * width, width), width);
        size_t at = next[older >> (8 * width - 8)]++;
        store(sorted + at * width, difference(word, older, width), width);
    }
}

INLINE void unsort_words(uint32_t next[CKPT_GROUPS], size_t from, size_t to, unsigned width,
                         const uint8_t *sorted, const uint8_t *base, uint8_t *words)
{
    for (size_t i = from; i < to; i++) {
        uint64_t older = rotate_left(load(base + i * width, width), width);
        size_t at = next[older >> (8 * width - 8)]++;
        uint64_t word = add_difference(load(sorted + at * width, width), older, width);
        store(words + i * width, rotate_right(word, width), width);
    }
}

INLINE void count_portable(struct ckpt_groups *groups, size_t count, unsigned width,
                           const uint8_t *base)
{
    size_t size = lane_size(count);
    for (size_t lane = 0; lane < CKPT_LANES; lane++) {
        size_t end = lane + 1 < CKPT_LANES ? (lane + 1) * size : count;
        count_words(groups->next[lane], lane * size, end, width, base);
    }
}

INLINE void sort_portable(struct ckpt_groups *groups, size_t count, unsigned width,
                          const uint8_t *words, const uint8_t *base, uint8_t *sorted)
{
    size_t size = lane_size(count);
    for (size_t lane = 0; lane < CKPT_LANES; lane++) {
        size_t end = lane + 1 < CKPT_LANES ? (lane + 1) * size : count;
        sort_words(groups->next[lane], lane * size, end, width, words, base, sorted);
    }
}

INLINE void unsort_portable(struct ckpt_groups *groups, size_t count, unsigned width,
                            const uint8_t *sorted, const uint8_t *base, uint8_t *words)
{
    size_t size = lane_size(count);
    for (size_t lane = 0; lane < CKPT_LANES; lane++) {
        size_t end = lane + 1 < CKPT_LANES ? (lane + 1) * size : count;
        unsort_words(groups->next[lane], lane * size, end, width, sorted, base, words);
    }
}

AVX2 INLINE void count_avx2(struct ckpt_groups *groups, size_t count, unsigned width,
                            const uint8_t *base)
{
    uint8_t keys[CKPT_LANES][PART];
    size_t size = lane_size(count);
    for (size_t i = 0; i < size; i += PART) {
        for (size_t lane = 0; lane < CKPT_LANES; lane++) {
            part_groups(width, base + (lane * size + i) * width, keys[lane]);
        }
        count_part(groups->next, keys);
    }
    count_words(groups->next[CKPT_LANES - 1], CKPT_LANES * size, count, width, base);
}

AVX2 INLINE void sort_avx2(struct ckpt_groups *groups, size_t count, unsigned width,
                           const uint8_t *words, const uint8_t *base, uint8_t *sorted)
{
    uint8_t keys[CKPT_LANES][PART];
    uint8_t differences[CKPT_LANES][PART * CKPT_PLANES];
    size_t size = lane_size(count);
    for (size_t i = 0; i < size; i += PART) {
        for (size_t lane = 0; lane < CKPT_LANES; lane++) {
            size_t at = (lane * size + i) * width;
            part_groups(width, base + at, keys[lane]);
            part_differences(width, words + at, base + at, differences[lane]);
        }
        for (size_t k = 0; k < PART; k++) {
            for (size_t lane = 0; lane < CKPT_LANES; lane++) {
                size_t at = groups->next[lane][keys[lane][k]]++;
                store(sorted + at * width, load(differences[lane] + k * width, width), width);
            }
        }
    }
    sort_words(groups->next[CKPT_LANES - 1], CKPT_LANES * size, count, width, words, base, sorted);
}

AVX2 INLINE void unsort_avx2(struct ckpt_groups *groups, size_t count, unsigned width,
                             const uint8_t *sorted, const uint8_t *base, uint8_t *words)
{
    uint8_t keys[CKPT_LANES][PART];
    uint8_t differences[CKPT_LANES][PART * CKPT_PLANES];
    size_t size = lane_size(count);
    for (size_t i = 0; i < size; i += PART) {
        for (size_t lane = 0; lane < CKPT_LANES; lane++) {
            part_groups(width, base + (lane * size + i) * width, keys[lane]);
        }
        for (size_t k = 0; k < PART; k++) {
            for (size_t lane = 0; lane < CKPT_LANES; lane++) {
                size_t at = groups->next[lane][keys[lane][k]]++;
                store(differences[lane] + k * width, load(sorted + at * width, width), width);
            }
        }
        for (size_t lane = 0; lane < CKPT_LANES; lane++) {
            size_t at = (lane * size + i) * width;
            part_words(width, differences[lane], base + at, words + at);
        }
    }
    unsort_words(groups->next[CKPT_LANES - 1], CKPT_LANES * size, count, width, sorted, base,
                 words);
}

/* One instance per width. */
#define GROUPS(W)                                                                                  \
    AVX2 static void count_avx2_##W(struct ckpt_groups *groups, size_t count, const uint8_t *base) \
    {                                                                                              \
        count_avx2(groups, count, W, base);                                                        \
    }                                                                                              \
    AVX2 static void sort_avx2_##W(struct ckpt_groups *groups, size_t count, const uint8_t *words, \
                                   const uint8_t *base, uint8_t *sorted)                           \
    {                                                                                              \
        sort_avx2(groups, count, W, words, base, sorted);                                          \
    }                                                                                              \
    AVX2 static void unsort_avx2_##W(struct ckpt_groups *groups, size_t count,                     \
                                     const uint8_t *sorted, const uint8_t *base, uint8_t *words)   \
    {                                                                                              \
        unsort_avx2(groups, count, W, sorted, base, words);                                        \
    }                                                                                              \
    static void count_##W(struct ckpt_groups *groups, const struct ckpt_shape *shape,              \
                          const uint8_t *base)                                                     \
    {                                                                                              \
        if (shape->avx2) {                                                                         \
            count_avx2_##W(groups, shape->count, base);                                            \
        } else {                                                                                   \
            count_portable(groups, shape->count, W, base);                                         \
        }                                                                                          \
    }                                                                                              \
    static void sort_##W(struct ckpt_groups *groups, const struct ckpt_shape *shape,               \
                         const uint8_t *words, const uint8_t *base, uint8_t *sorted)               \
    {                                                                                              \
        if (shape->avx2) {                                                                         \
            sort_avx2_##W(groups, shape->count, words, base, sorted);                              \
        } else {                                                                                   \
            sort_portable(groups, shape->count, W, words, base, sorted);                           \
        }                                                                                          \
    }                                                                                              \
    static void unsort_##W(struct ckpt_groups *groups, const struct ckpt_shape *shape,             \
                           const uint8_t *sorted, const uint8_t *base, uint8_t *words)             \
    {                                                                                              \
        if (shape->avx2) {                                                                         \
            unsort_avx2_##W(groups, shape->count, sorted, base, words);                            \
        } else {                                                                                   \
            unsort_portable(groups, shape->count, W, sorted, base, words);                         \
        }                                                                                          \
    }

GROUPS(2)
GROUPS(4)
GROUPS(8)

void ckpt_groups_count(struct ckpt_groups *groups, const struct ckpt_shape *shape,
                       const uint8_t *base)
{
    static void (*const table[3])(struct ckpt_groups *, const struct ckpt_shape *,
                                  const uint8_t *) = {count_2, count_4, count_8};
    uint32_t at = 0;
    memset(groups->next, 0, sizeof groups->next);
    table[shape->width / 4](groups, shape, base);
    for (size_t group = 0; group < CKPT_GROUPS; group++) {
        groups->start[group] = at;
        for (size_t lane = 0; lane < CKPT_LANES; lane++) {
            uint32_t n = groups->next[lane][group];
            groups->next[lane][group] = at;
            at += n;
        }
    }
    groups->start[CKPT_GROUPS] = at;
}

void ckpt_groups_split(struct ckpt_groups *groups, const struct ckpt_shape *shape,
                       const uint8_t *words, const uint8_t *base, uint8_t *sorted, uint8_t *planes,
                       size_t stride)
{
    static void (*const table[3])(struct ckpt_groups *, const struct ckpt_shape *, const uint8_t *,
                                  const uint8_t *, uint8_t *) = {sort_2, sort_4, sort_8};
    table[shape->width / 4](groups, shape, words, base, sorted);
    split(shape, AS_IS, sorted, NULL, planes, stride);
}

void ckpt_groups_merge(struct ckpt_groups *groups, const struct ckpt_shape *shape,
                       const uint8_t *const planes[CKPT_PLANES], const uint8_t *base,
                       uint8_t *sorted, uint8_t *words)
{
    static void (*const table[3])(struct ckpt_groups *, const struct ckpt_shape *, const uint8_t *,
                                  const uint8_t *, uint8_t *) = {unsort_2, unsort_4, unsort_8};
    merge(shape, AS_IS, planes, NULL, sorted);
    table[shape->width / 4](groups, shape, sorted, base, words);
}
