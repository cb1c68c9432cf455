/*
 * Recipes: what comes back of what was put in, and what is refused of bytes that somebody else
 * wrote.
 */
#include "unit.h"

#include "bytes.h"
#include "recipe.h"

enum { HEADER = 24, EXTENT = 24, EXTENTS = 4, SIZE = HEADER + EXTENTS * EXTENT };

static const uint64_t hole_bit = UINT64_C(1) << 63;

static struct ckpt_id id_of(uint8_t byte)
{
    struct ckpt_id id;
    memset(&id, byte, sizeof id);
    return id;
}

/* A chunk of 10, a hole of 1000, a chunk of 20, the first chunk again: written out by hand. */
static void sample(uint8_t bytes[SIZE])
{
    static const struct {
        uint8_t id;
        uint64_t word;
    } extents[EXTENTS] = {{1, 10}, {0, 1000 | UINT64_C(1) << 63}, {2, 20}, {1, 10}};
    memset(bytes, 0, SIZE);
    memcpy(bytes, "CKR1", 4);
    ckpt_put_le64(bytes + 8, 1040);
    ckpt_put_le64(bytes + 16, EXTENTS);
    for (size_t i = 0; i < EXTENTS; i++) {
        memset(bytes + HEADER + i * EXTENT, extents[i].id, CKPT_ID_SIZE);
        ckpt_put_le64(bytes + HEADER + i * EXTENT + 16, extents[i].word);
    }
}

static struct ckpt_recipe decoded(const uint8_t *bytes, size_t size)
{
    struct ckpt_recipe recipe;
    ckpt_recipe_init(&recipe);
    assert_ok(ckpt_recipe_decode(bytes, size, &recipe));
    return recipe;
}

static void test_bytes_are_as_documented(void **state)
{
    uint8_t expected[SIZE];
    uint8_t *bytes = NULL;
    size_t size = 0;
    struct ckpt_recipe recipe;
    struct ckpt_id one = id_of(1);
    struct ckpt_id two = id_of(2);
    (void)state;
    ckpt_recipe_init(&recipe);
    assert_ok(ckpt_recipe_append(&recipe, &one, 10));
    assert_ok(ckpt_recipe_append(&recipe, NULL, 400));
    assert_ok(ckpt_recipe_append(&recipe, NULL, 600)); /* joins the hole before it */
    assert_ok(ckpt_recipe_append(&recipe, &two, 20));
    assert_ok(ckpt_recipe_append(&recipe, &one, 10));
    assert_ok(ckpt_recipe_encode(&recipe, &bytes, &size));
    sample(expected);
    assert_int_equal(size, SIZE);
    assert_memory_equal(bytes, expected, SIZE);
    free(bytes);
    ckpt_recipe_clear(&recipe);
}

static void test_what_was_written_comes_back(void **state)
{
    static const struct {
        uint64_t offset;
        uint64_t size;
        bool hole;
    } expected[EXTENTS] = {{0, 10, false}, {10, 1000, true}, {1010, 20, false}, {1030, 10, false}};
    uint8_t bytes[SIZE];
    (void)state;
    sample(bytes);
    struct ckpt_recipe recipe = decoded(bytes, SIZE);
    assert_int_equal(recipe.size, 1040);
    assert_int_equal(recipe.count, EXTENTS);
    for (size_t i = 0; i < EXTENTS; i++) {
        assert_int_equal(recipe.extents[i].offset, expected[i].offset);
        assert_int_equal(recipe.extents[i].size, expected[i].size);
        assert_int_equal(ckpt_extent_is_hole(&recipe.extents[i]), expected[i].hole);
    }
    ckpt_recipe_clear(&recipe);
}

static void test_an_empty_file_has_no_extents(void **state)
{
    uint8_t *bytes = NULL;
    size_t size = 0;
    struct ckpt_recipe empty;
    (void)state;
    ckpt_recipe_init(&empty);
    assert_ok(ckpt_recipe_encode(&empty, &bytes, &size));
    assert_int_equal(size, HEADER);
    struct ckpt_recipe recipe = decoded(bytes, size);
    assert_int_equal(recipe.size, 0);
    assert_int_equal(recipe.count, 0);
    free(bytes);
    ckpt_recipe_clear(&recipe);
}

static void test_the_extent_at_an_offset(void **state)
{
    static const struct {
        uint64_t offset;
        size_t extent;
    } cases[] = {{0, 0}, {9, 0}, {10, 1}, {1009, 1}, {1010, 2}, {1029, 2}, {1030, 3}, {1039, 3}};
    uint8_t bytes[SIZE];
    (void)state;
    sample(bytes);
    struct ckpt_recipe recipe = decoded(bytes, SIZE);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(ckpt_recipe_at(&recipe, cases[i].offset), cases[i].extent);
    }
    ckpt_recipe_clear(&recipe);
}

static void set_word(uint8_t *bytes, size_t extent, uint64_t word)
{
    ckpt_put_le64(bytes + HEADER + extent * EXTENT + 16, word);
}

static void set_id(uint8_t *bytes, size_t extent, uint8_t byte)
{
    memset(bytes + HEADER + extent * EXTENT, byte, CKPT_ID_SIZE);
}

static void set_size(uint8_t *bytes, uint64_t size)
{
    ckpt_put_le64(bytes + 8, size);
}

static void magic(uint8_t *b)
{
    b[3] = '2';
}
static void reserved_first(uint8_t *b)
{
    b[4] = 1;
}
static void reserved_last(uint8_t *b)
{
    b[7] = 0x80;
}
static void size_too_small(uint8_t *b)
{
    set_size(b, 1039);
}
static void size_too_big(uint8_t *b)
{
    set_size(b, 1041);
}
static void too_few(uint8_t *b)
{
    ckpt_put_le64(b + 16, EXTENTS - 1);
}
static void too_many(uint8_t *b)
{
    ckpt_put_le64(b + 16, EXTENTS + 1);
}
/* EXTENTS again when it is multiplied by the size of an extent in 64 bits. */
static void overflowing_count(uint8_t *b)
{
    ckpt_put_le64(b + 16, EXTENTS + (UINT64_C(1) << 61));
}
static void empty_chunk(uint8_t *b)
{
    set_word(b, 0, 0);
    set_size(b, 1030);
}
static void empty_hole(uint8_t *b)
{
    set_word(b, 1, hole_bit);
    set_size(b, 40);
}
static void chunk_without_id(uint8_t *b)
{
    set_id(b, 0, 0);
}
static void hole_with_id(uint8_t *b)
{
    set_id(b, 1, 3);
}
static void two_holes(uint8_t *b)
{
    set_id(b, 2, 0);
    set_word(b, 2, 20 | hole_bit);
}
static void chunk_too_long(uint8_t *b)
{
    set_word(b, 0, CKPT_CHUNK_RAW_MAX + 1);
    set_size(b, 1030 + CKPT_CHUNK_RAW_MAX + 1);
}
static void sum_too_big(uint8_t *b)
{
    set_word(b, 1, hole_bit | (hole_bit - 1));
    set_size(b, hole_bit + 39);
}
static void sum_beyond_an_offset(uint8_t *b)
{
    set_word(b, 1, hole_bit | (hole_bit - 40));
    set_size(b, hole_bit);
}

static void test_hostile_bytes_are_corrupt(void **state)
{
    static const struct {
        const char *name;
        void (*change)(uint8_t *bytes);
    } cases[] = {
        {"magic", magic},
        {"first reserved byte", reserved_first},
        {"last reserved byte", reserved_last},
        {"size less than the sum", size_too_small},
        {"size more than the sum", size_too_big},
        {"fewer extents than bytes", too_few},
        {"more extents than bytes", too_many},
        {"a number of extents that overflows", overflowing_count},
        {"an empty chunk", empty_chunk},
        {"an empty hole", empty_hole},
        {"a chunk without an id", chunk_without_id},
        {"a hole with an id", hole_with_id},
        {"two holes side by side", two_holes},
        {"a chunk longer than any", chunk_too_long},
        {"lengths that overflow", sum_too_big},
        {"a size that no offset reaches", sum_beyond_an_offset},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t bytes[SIZE];
        struct ckpt_recipe recipe;
        ckpt_recipe_init(&recipe);
        sample(bytes);
        cases[i].change(bytes);
        if (ckpt_recipe_decode(bytes, SIZE, &recipe) != CKPT_ERR_CORRUPT ||
            recipe.extents != NULL) {
            print_error("%s\n", cases[i].name);
            fail();
        }
    }
}

/* In a buffer of its own, so that a sanitizer sees a byte read behind the end. */
static void test_any_other_length_is_corrupt(void **state)
{
    uint8_t bytes[SIZE + EXTENT] = {0};
    (void)state;
    sample(bytes);
    for (size_t size = 0; size <= sizeof bytes; size++) {
        struct ckpt_recipe recipe;
        uint8_t *copy = malloc(size > 0 ? size : 1);
        assert_non_null(copy);
        memcpy(copy, bytes, size);
        ckpt_recipe_init(&recipe);
        enum ckpt_err err = ckpt_recipe_decode(copy, size, &recipe);
        assert_int_equal(err, size == SIZE ? CKPT_OK : CKPT_ERR_CORRUPT);
        ckpt_recipe_clear(&recipe);
        free(copy);
    }
}

/* Whatever the bytes: refused, or extents that follow each other up to the size. */
static void test_random_damage_never_breaks_an_invariant(void **state)
{
    enum { ROUNDS = 20000 };
    uint64_t seed = 7;
    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        uint8_t bytes[SIZE];
        struct ckpt_recipe recipe;
        ckpt_recipe_init(&recipe);
        sample(bytes);
        for (uint64_t n = 1 + unit_random(&seed) % 4; n > 0; n--) {
            bytes[unit_random(&seed) % SIZE] = (uint8_t)(unit_random(&seed) >> 8 * (round % 2));
        }
        if (ckpt_recipe_decode(bytes, SIZE, &recipe) == CKPT_OK) {
            uint64_t at = 0;
            for (size_t i = 0; i < recipe.count; i++) {
                assert_int_equal(recipe.extents[i].offset, at);
                assert_true(recipe.extents[i].size > 0);
                at += recipe.extents[i].size;
            }
            assert_int_equal(at, recipe.size);
            assert_true(at < hole_bit);
        }
        ckpt_recipe_clear(&recipe);
    }
}

static void test_what_cannot_be_appended(void **state)
{
    struct ckpt_recipe recipe;
    struct ckpt_id one = id_of(1);
    (void)state;
    ckpt_recipe_init(&recipe);
    assert_int_equal(ckpt_recipe_append(&recipe, &one, 0), CKPT_ERR_INVALID);
    assert_int_equal(ckpt_recipe_append(&recipe, NULL, hole_bit), CKPT_ERR_INVALID);
    assert_ok(ckpt_recipe_append(&recipe, NULL, hole_bit - 1));
    assert_int_equal(ckpt_recipe_append(&recipe, &one, 1), CKPT_ERR_INVALID);
    assert_int_equal(recipe.count, 1);
    ckpt_recipe_clear(&recipe);
    ckpt_recipe_clear(&recipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_are_as_documented),
        cmocka_unit_test(test_what_was_written_comes_back),
        cmocka_unit_test(test_an_empty_file_has_no_extents),
        cmocka_unit_test(test_the_extent_at_an_offset),
        cmocka_unit_test(test_hostile_bytes_are_corrupt),
        cmocka_unit_test(test_any_other_length_is_corrupt),
        cmocka_unit_test(test_random_damage_never_breaks_an_invariant),
        cmocka_unit_test(test_what_cannot_be_appended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
