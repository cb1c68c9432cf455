/*
 * Words to byte planes and back.
 *
 * Each loop is written once, for any width and kind of plane, and inlined with both as constants.
 */
#include "planes.h"
#include "words.h"
#include <assert.h>

/* What the planes are of. */
enum what { AS_IS, ROTATED, DIFFERENCES };

INLINE void split_portable(size_t from, size_t count, unsigned width, enum what what,
                           const uint8_t *words, const uint8_t *base, uint8_t *planes,
                           size_t stride)
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

#else

INLINE void split_avx2(size_t count, unsigned width, enum what what, const uint8_t *words,
                       const uint8_t *base, uint8_t *planes, size_t stride)
{
    split_portable(0, count, width, what, words, base, planes, stride);
}

INLINE void merge_avx2(size_t count, unsigned width, enum what what,
                       const uint8_t *const planes[CKPT_PLANES], const uint8_t *base,
                       uint8_t *words)
{
    merge_portable(0, count, width, what, planes, base, words);
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
    AVX2 static void merge_avx2_##W##_##WHAT(size_t count,                                         \
                                             const uint8_t *const planes[CKPT_PLANES],             \
                                             const uint8_t *base, uint8_t *words)                  \
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
    static void (*const table[3][3])(const struct ckpt_shape *, const uint8_t *const[CKPT_PLANES],
                                     const uint8_t *, uint8_t *) = {
        {merge_2_AS_IS, merge_2_ROTATED, merge_2_DIFFERENCES},
        {merge_4_AS_IS, merge_4_ROTATED, merge_4_DIFFERENCES},
        {merge_8_AS_IS, merge_8_ROTATED, merge_8_DIFFERENCES},
    };
    assert(shape->width == 2 || shape->width == 4 || shape->width == 8);
    table[shape->width / 4][what](shape, planes, base, words);
}

void ckpt_planes_split_plain(const struct ckpt_shape *shape, const uint8_t *words, uint8_t *planes,
                             size_t stride)
{
    split(shape, AS_IS, words, NULL, planes, stride);
}

void ckpt_planes_merge_plain(const struct ckpt_shape *shape,
                             const uint8_t *const planes[CKPT_PLANES], uint8_t *words)
{
    merge(shape, AS_IS, planes, NULL, words);
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
