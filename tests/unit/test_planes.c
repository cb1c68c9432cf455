/*
 * Words to planes and back: as a plain definition says, for every width, length and alignment, and
 * the same with and without vectors.
 */
#include "chunk/groups.h"
#include "unit.h"

enum { MOST = 5000 };

static const unsigned widths[] = {2, 4, 8};

/* Lengths around those of vectors, parts and lanes. */
static const size_t counts[] = {0,    1,    2,    31,   32,   33,   63,  64,  65,
                                127,  128,  255,  256,  257,  511,  512, 777, 1023,
                                1024, 1025, 1279, 1280, 1281, 2048, MOST};

static uint64_t get(const uint8_t *p, unsigned width)
{
    uint64_t v = 0;
    for (unsigned i = width; i-- > 0;) {
        v = v << 8 | p[i];
    }
    return v;
}

static uint64_t ones(unsigned width)
{
    return width == 8 ? UINT64_MAX : ((uint64_t)1 << 8 * width) - 1;
}

static uint64_t rotated(const uint8_t *p, unsigned width)
{
    uint64_t v = get(p, width);
    return (v * 2 + v / ((ones(width) >> 1) + 1)) & ones(width);
}

/* By the words of planes.h: 0, -1, 1, -2, ... become 0, 1, 2, 3, ... */
static uint64_t folded(uint64_t difference, unsigned width)
{
    difference &= ones(width);
    bool negative = difference > ones(width) >> 1;
    return negative ? ((ones(width) - difference) * 2 + 1) & ones(width) : difference * 2;
}

static uint64_t expected(const uint8_t *words, const uint8_t *base, size_t i, unsigned width)
{
    uint64_t v = rotated(words + i * width, width);
    return base == NULL ? v : folded(v - rotated(base + i * width, width), width);
}

struct made {
    uint8_t *planes; /* the upper byte of each room stays 0xa5 */
    const uint8_t *each[CKPT_PLANES];
};

static struct made room_for(size_t count, unsigned width)
{
    struct made m = {.planes = malloc(width * (count + 1) + 1)};
    assert_non_null(m.planes);
    memset(m.planes, 0xa5, width * (count + 1) + 1);
    for (unsigned j = 0; j < width; j++) {
        m.each[j] = m.planes + j * (count + 1);
    }
    return m;
}

static void expect_untouched(const struct made *m, size_t count, unsigned width)
{
    for (unsigned j = 0; j < width; j++) {
        assert_int_equal(m->each[j][count], 0xa5);
    }
}

/* Random words, and a base some of whose words are equal, near, and extreme. At odd addresses: the
 * caller frees one byte before. */
static void make(size_t n, unsigned width, uint64_t seed, uint8_t **words, uint8_t **base)
{
    *words = unit_noise(n + 1, seed);
    *base = unit_noise(n + 1, seed + 1);
    ++*words;
    ++*base;
    for (size_t i = 0; i + width <= n; i += width) {
        switch (unit_random(&seed) % 8) {
        case 0:
            memcpy(*base + i, *words + i, width);
            break;
        case 1:
            memset(*base + i, 0, width);
            break;
        case 2:
            memset(*words + i, 0xff, width);
            break;
        case 3:
            memset(*words + i, 0, width);
            (*words)[i + width - 1] = 0x80;
            break;
        default:
            /* Few exponents, as numbers have. */
            (*base)[i + width - 1] = (uint8_t)(0x3c + unit_random(&seed) % 3);
        }
    }
}

static void test_planes_are_as_defined_and_merge_again(void **state)
{
    (void)state;
    for (size_t w = 0; w < 3; w++) {
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
            for (int way = 0; way < 4; way++) {
                unsigned width = widths[w];
                size_t count = counts[c];
                size_t n = count * width;
                struct ckpt_shape shape = {
                    .count = count, .width = width, .avx2 = way % 2 == 1 && ckpt_planes_avx2()};
                uint8_t *words;
                uint8_t *base;
                make(n, width, c, &words, &base);
                const uint8_t *used = way < 2 ? NULL : base;
                struct made m = room_for(count, width);
                ckpt_planes_split(&shape, words, used, m.planes, count + 1);
                expect_untouched(&m, count, width);
                for (size_t i = 0; i < count; i++) {
                    uint64_t v = expected(words, used, i, width);
                    for (unsigned j = 0; j < width; j++) {
                        assert_int_equal(m.each[j][i], v >> 8 * j & 0xff);
                    }
                }
                uint8_t *back = malloc(n + 2);
                assert_non_null(back);
                back[n + 1] = 0xa5;
                ckpt_planes_merge(&shape, m.each, used, back + 1);
                assert_memory_equal(back + 1, words, n);
                assert_int_equal(back[n + 1], 0xa5);
                free(back);
                free(m.planes);
                free(base - 1);
                free(words - 1);
            }
        }
    }
}

/* Sorted by the top byte of the base's rotated word; equal ones stay in order. */
static void test_groups_are_sorted_stably_and_come_back(void **state)
{
    (void)state;
    for (size_t w = 0; w < 3; w++) {
        for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
            for (int avx2 = 0; avx2 < 2; avx2++) {
                unsigned width = widths[w];
                size_t count = counts[c];
                size_t n = count * width;
                struct ckpt_shape shape = {
                    .count = count, .width = width, .avx2 = avx2 == 1 && ckpt_planes_avx2()};
                struct ckpt_groups groups;
                uint8_t *words;
                uint8_t *base;
                uint8_t *sorted = malloc(n + 1);
                uint8_t *back = malloc(n + 2);
                assert_non_null(sorted);
                assert_non_null(back);
                make(n, width, c, &words, &base);
                struct made m = room_for(count, width);
                ckpt_groups_count(&groups, &shape, base);
                ckpt_groups_split(&groups, &shape, words, base, sorted, m.planes, count + 1);
                expect_untouched(&m, count, width);
                size_t at = 0;
                for (unsigned group = 0; group < CKPT_GROUPS; group++) {
                    assert_int_equal(groups.start[group], at);
                    for (size_t i = 0; i < count; i++) {
                        if (rotated(base + i * width, width) >> (8 * width - 8) != group) {
                            continue;
                        }
                        uint64_t v = expected(words, base, i, width);
                        for (unsigned j = 0; j < width; j++) {
                            assert_int_equal(m.each[j][at], v >> 8 * j & 0xff);
                        }
                        at++;
                    }
                }
                assert_int_equal(groups.start[CKPT_GROUPS], count);
                assert_int_equal(at, count);
                back[n + 1] = 0xa5;
                ckpt_groups_count(&groups, &shape, base);
                ckpt_groups_merge(&groups, &shape, m.each, base, sorted, back + 1);
                assert_memory_equal(back + 1, words, n);
                assert_int_equal(back[n + 1], 0xa5);
                free(m.planes);
                free(back);
                free(sorted);
                free(base - 1);
                free(words - 1);
            }
        }
    }
}

/* The exponent of a float fills the top plane, its sign is the lowest bit. */
static void test_a_float_s_parts_stand_where_they_should(void **state)
{
    (void)state;
    static const struct {
        float value;
        uint8_t planes[4];
    } table[] = {
        {1.0F, {0, 0, 0, 127}},    {-1.0F, {1, 0, 0, 127}}, {2.0F, {0, 0, 0, 128}},
        {1.5F, {0, 0, 0x80, 127}}, {-0.0F, {1, 0, 0, 0}},   {0.15625F, {0, 0, 0x40, 124}},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct ckpt_shape shape = {.count = 1, .width = 4};
        uint8_t planes[4];
        ckpt_planes_split(&shape, (const uint8_t *)&table[i].value, NULL, planes, 1);
        assert_memory_equal(planes, table[i].planes, 4);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_planes_are_as_defined_and_merge_again),
        cmocka_unit_test(test_groups_are_sorted_stably_and_come_back),
        cmocka_unit_test(test_a_float_s_parts_stand_where_they_should),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
