/*
 * Differences sorted by what they are differences from.
 *
 * Vectors prepare some words at a time, so that the loop that counts and moves them does nothing
 * else.
 */
#include "groups.h"
#include "words.h"
#include <string.h>

/* Words that are prepared in one go. */
enum { PART = 64 };

/* The group of a word of the base: the top byte of the rotated word. */
INLINE unsigned group_of(const uint8_t *p, unsigned width)
{
    return (unsigned)(p[width - 1] << 1 | p[width - 2] >> 7) & 0xff;
}

#if HAVE_AVX2

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

#else

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

/*
 * Lane l walks the words from l * lane_size() on, all lanes in step: with one, the same counter
 * would mostly be needed again before it is written. What the lanes leave over belongs to the last
 * one. A lane is whole parts, and its size not a multiple of 4 KiB: a processor takes loads and
 * stores at the same place of different pages for related, and waits. Few words are walked by the
 * last lane alone.
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
    ckpt_planes_split_plain(shape, sorted, planes, stride);
}

void ckpt_groups_merge(struct ckpt_groups *groups, const struct ckpt_shape *shape,
                       const uint8_t *const planes[CKPT_PLANES], const uint8_t *base,
                       uint8_t *sorted, uint8_t *words)
{
    static void (*const table[3])(struct ckpt_groups *, const struct ckpt_shape *, const uint8_t *,
                                  const uint8_t *, uint8_t *) = {unsort_2, unsort_4, unsort_8};
    ckpt_planes_merge_plain(shape, planes, sorted);
    table[shape->width / 4](groups, shape, sorted, base, words);
}
