/*
 * Recipes: what comes back of what was put in, and what is refused of bytes that somebody else
 * wrote.
 */
#include "unit.h"

#include "common/bytes.h"
#include "object/recipe.h"

enum {
    HEADER = 24,
    CHUNK = 32,
    EXTENT = 16,
    CHUNKS = 2,
    EXTENTS = 5,
    FIRST_EXTENT = HEADER + CHUNKS * CHUNK,
    SIZE = FIRST_EXTENT + EXTENTS * EXTENT,
};

/* The first byte that no offset reaches. */
static const uint64_t beyond = UINT64_C(1) << 63;

static struct ckpt_recipe_chunk chunk_of(uint8_t byte, uint32_t size, uint8_t width, uint64_t key)
{
    struct ckpt_recipe_chunk chunk = {.size = size, .width = width, .key = key};
    memset(&chunk.id, byte, sizeof chunk.id);
    return chunk;
}

/* Two chunks, of 10 and of 20 bytes. The file: the first, a hole of 1000, the first half of the second, the
   first again, the second half of the second. Written out by hand. */
static void sample(uint8_t bytes[SIZE])
{
    static const struct {
        uint64_t size;
        uint32_t chunk;
        uint32_t at;
    } extents[EXTENTS] = {{10, 0, 0}, {1000, UINT32_MAX, 0}, {12, 1, 0}, {10, 0, 0}, {8, 1, 12}};
    memset(bytes, 0, SIZE);
    memcpy(bytes, "CKR2", 4);
    ckpt_put_le32(bytes + 4, CHUNKS);
    ckpt_put_le64(bytes + 8, 1040);
    ckpt_put_le64(bytes + 16, EXTENTS);
    memset(bytes + HEADER, 1, CKPT_ID_SIZE);
    ckpt_put_le32(bytes + HEADER + 16, 10);
    memset(bytes + HEADER + CHUNK, 2, CKPT_ID_SIZE);
    ckpt_put_le32(bytes + HEADER + CHUNK + 16, 20);
    bytes[HEADER + CHUNK + 20] = 4;
    ckpt_put_le64(bytes + HEADER + CHUNK + 24, UINT64_C(0x8877665544332211));
    for (size_t i = 0; i < EXTENTS; i++) {
        uint8_t *at = bytes + FIRST_EXTENT + i * EXTENT;
        ckpt_put_le64(at, extents[i].size);
        ckpt_put_le32(at + 8, extents[i].chunk);
        ckpt_put_le32(at + 12, extents[i].at);
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
    const struct ckpt_recipe_chunk chunks[] = {chunk_of(1, 10, 0, 0),
                                               chunk_of(2, 20, 4, UINT64_C(0x8877665544332211))};
    (void)state;
    ckpt_recipe_init(&recipe);
    assert_ok(ckpt_recipe_add(&recipe, &chunks[0]));
    assert_ok(ckpt_recipe_append(&recipe, 0, 0, 10));
    assert_ok(ckpt_recipe_append(&recipe, CKPT_HOLE, 0, 400));
    assert_ok(ckpt_recipe_append(&recipe, CKPT_HOLE, 0, 600)); /* joins the hole before it */
    assert_ok(ckpt_recipe_add(&recipe, &chunks[1]));
    assert_ok(ckpt_recipe_append(&recipe, 1, 0, 12));
    assert_ok(ckpt_recipe_append(&recipe, 0, 0, 10));
    assert_ok(ckpt_recipe_append(&recipe, 1, 12, 8));
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
        uint32_t chunk;
        uint32_t at;
    } expected[EXTENTS] = {
        {0, 10, 0, 0}, {10, 1000, CKPT_HOLE, 0}, {1010, 12, 1, 0}, {1022, 10, 0, 0}, {1032, 8, 1, 12}};
    uint8_t bytes[SIZE];
    (void)state;
    sample(bytes);
    struct ckpt_recipe recipe = decoded(bytes, SIZE);
    assert_int_equal(recipe.size, 1040);
    assert_int_equal(recipe.count, EXTENTS);
    for (size_t i = 0; i < EXTENTS; i++) {
        assert_int_equal(recipe.extents[i].offset, expected[i].offset);
        assert_int_equal(recipe.extents[i].size, expected[i].size);
        assert_int_equal(recipe.extents[i].chunk, expected[i].chunk);
        assert_int_equal(recipe.extents[i].at, expected[i].at);
        assert_int_equal(ckpt_extent_is_hole(&recipe.extents[i]), expected[i].chunk == CKPT_HOLE);
    }
    assert_int_equal(recipe.chunk_count, CHUNKS);
    for (uint8_t i = 0; i < CHUNKS; i++) {
        const struct ckpt_recipe_chunk *chunk = &recipe.chunks[i];
        const struct ckpt_recipe_chunk wanted = chunk_of((uint8_t)(i + 1), i == 0 ? 10 : 20, i == 0 ? 0 : 4,
                                                         i == 0 ? 0 : UINT64_C(0x8877665544332211));
        assert_memory_equal(&chunk->id, &wanted.id, sizeof wanted.id);
        assert_int_equal(chunk->size, wanted.size);
        assert_int_equal(chunk->width, wanted.width);
        assert_int_equal(chunk->key, wanted.key);
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
    assert_int_equal(recipe.chunk_count, 0);
    free(bytes);
    ckpt_recipe_clear(&recipe);
}

static void test_the_extent_at_an_offset(void **state)
{
    static const struct {
        uint64_t offset;
        size_t extent;
    } cases[] = {{0, 0}, {9, 0}, {10, 1}, {1009, 1}, {1010, 2}, {1021, 2},
                 {1022, 3}, {1031, 3}, {1032, 4}, {1039, 4}};
    uint8_t bytes[SIZE];
    (void)state;
    sample(bytes);
    struct ckpt_recipe recipe = decoded(bytes, SIZE);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(ckpt_recipe_at(&recipe, cases[i].offset), cases[i].extent);
    }
    ckpt_recipe_clear(&recipe);
}

static void set_extent(uint8_t *bytes, size_t extent, uint64_t size, uint32_t chunk, uint32_t at)
{
    ckpt_put_le64(bytes + FIRST_EXTENT + extent * EXTENT, size);
    ckpt_put_le32(bytes + FIRST_EXTENT + extent * EXTENT + 8, chunk);
    ckpt_put_le32(bytes + FIRST_EXTENT + extent * EXTENT + 12, at);
}

static void set_size(uint8_t *bytes, uint64_t size)
{
    ckpt_put_le64(bytes + 8, size);
}

static void set_chunk_size(uint8_t *bytes, uint32_t size)
{
    ckpt_put_le32(bytes + HEADER + 16, size);
}

static void magic(uint8_t *b)
{
    b[3] = '1';
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
    ckpt_put_le64(b + 16, EXTENTS + (UINT64_C(1) << 60));
}
static void too_many_chunks(uint8_t *b)
{
    ckpt_put_le32(b + 4, CHUNKS + 1);
}
static void too_few_chunks(uint8_t *b)
{
    ckpt_put_le32(b + 4, CHUNKS - 1);
}
/* As long as the bytes are, but for what the extents need. */
static void only_chunks(uint8_t *b)
{
    ckpt_put_le32(b + 4, UINT32_MAX);
}
/* Two extents less make room for a chunk, which is none. */
static void extent_as_chunk(uint8_t *b)
{
    ckpt_put_le32(b + 4, CHUNKS + 1);
    ckpt_put_le64(b + 16, EXTENTS - 2);
}
static void empty_extent(uint8_t *b)
{
    set_extent(b, 0, 0, 0, 0);
    set_size(b, 1030);
}
static void empty_hole(uint8_t *b)
{
    set_extent(b, 1, 0, CKPT_HOLE, 0);
    set_size(b, 40);
}
static void empty_chunk(uint8_t *b)
{
    set_chunk_size(b, 0);
}
static void chunk_without_id(uint8_t *b)
{
    memset(b + HEADER, 0, CKPT_ID_SIZE);
}
static void hole_within_a_chunk(uint8_t *b)
{
    set_extent(b, 1, 1000, CKPT_HOLE, 1);
}
static void two_holes(uint8_t *b)
{
    set_extent(b, 2, 12, CKPT_HOLE, 0);
}
static void no_such_chunk(uint8_t *b)
{
    set_extent(b, 2, 12, CHUNKS, 0);
}
static void beyond_its_chunk(uint8_t *b)
{
    set_extent(b, 4, 8, 1, 13);
}
static void longer_than_its_chunk(uint8_t *b)
{
    set_extent(b, 0, 11, 0, 0);
    set_size(b, 1041);
}
static void starts_behind_its_chunk(uint8_t *b)
{
    set_extent(b, 4, 8, 1, 21);
}
/* Offset and length come to 4 again in 32 bits. */
static void overflowing_extent(uint8_t *b)
{
    set_extent(b, 4, 8, 1, UINT32_MAX - 3);
}
static void chunk_too_long(uint8_t *b)
{
    set_chunk_size(b, CKPT_CHUNK_RAW_MAX + 1);
}
static void odd_width(uint8_t *b)
{
    b[HEADER + 20] = 3;
}
static void wide(uint8_t *b)
{
    b[HEADER + 20] = 16;
}
static void first_reserved(uint8_t *b)
{
    b[HEADER + 21] = 1;
}
static void second_reserved(uint8_t *b)
{
    b[HEADER + 22] = 1;
}
static void last_reserved(uint8_t *b)
{
    b[HEADER + CHUNK + 23] = 0x80;
}
static void sum_too_big(uint8_t *b)
{
    set_extent(b, 1, beyond - 1, CKPT_HOLE, 0);
    set_size(b, beyond + 39);
}
static void sum_beyond_an_offset(uint8_t *b)
{
    set_extent(b, 1, beyond - 40, CKPT_HOLE, 0);
    set_size(b, beyond);
}

static void test_hostile_bytes_are_corrupt(void **state)
{
    static const struct {
        const char *name;
        void (*change)(uint8_t *bytes);
    } cases[] = {
        {"magic", magic},
        {"size less than the sum", size_too_small},
        {"size more than the sum", size_too_big},
        {"fewer extents than bytes", too_few},
        {"more extents than bytes", too_many},
        {"a number of extents that overflows", overflowing_count},
        {"more chunks than bytes", too_many_chunks},
        {"fewer chunks than bytes", too_few_chunks},
        {"nothing but chunks", only_chunks},
        {"extents in the place of a chunk", extent_as_chunk},
        {"an empty extent", empty_extent},
        {"an empty hole", empty_hole},
        {"an empty chunk", empty_chunk},
        {"a chunk without an id", chunk_without_id},
        {"a chunk longer than any", chunk_too_long},
        {"elements of three bytes", odd_width},
        {"elements of sixteen bytes", wide},
        {"first reserved byte of a chunk", first_reserved},
        {"second reserved byte of a chunk", second_reserved},
        {"last reserved byte of a chunk", last_reserved},
        {"a hole with an offset in a chunk", hole_within_a_chunk},
        {"two holes side by side", two_holes},
        {"an extent of a chunk that isn't there", no_such_chunk},
        {"an extent that ends behind its chunk", beyond_its_chunk},
        {"an extent longer than its chunk", longer_than_its_chunk},
        {"an extent that starts behind its chunk", starts_behind_its_chunk},
        {"an extent whose end overflows", overflowing_extent},
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
            recipe.extents != NULL || recipe.chunks != NULL) {
            print_error("%s\n", cases[i].name);
            fail();
        }
    }
}

/* The boundaries on the other side of what is refused. */
static void every_width(uint8_t *b)
{
    b[HEADER + 20] = 8;
}
static void longest_chunk(uint8_t *b)
{
    set_chunk_size(b, CKPT_CHUNK_RAW_MAX);
}
static void longest_hole(uint8_t *b)
{
    set_extent(b, 1, beyond - 41, CKPT_HOLE, 0);
    set_size(b, beyond - 1);
}
static void unused_chunk(uint8_t *b)
{
    set_extent(b, 0, 10, 1, 0);
    set_extent(b, 3, 10, 1, 10);
}

static void test_what_is_unusual_is_taken(void **state)
{
    static void (*const changes[])(uint8_t *) = {every_width, longest_chunk, longest_hole, unused_chunk};
    (void)state;
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        uint8_t bytes[SIZE];
        sample(bytes);
        changes[i](bytes);
        struct ckpt_recipe recipe = decoded(bytes, SIZE);
        assert_int_equal(recipe.count, EXTENTS);
        ckpt_recipe_clear(&recipe);
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
                const struct ckpt_extent *extent = &recipe.extents[i];
                assert_true(extent->size > 0);
                if (!ckpt_extent_is_hole(extent)) {
                    assert_true(extent->chunk < recipe.chunk_count);
                    assert_true(extent->at + extent->size <= recipe.chunks[extent->chunk].size);
                }
                at += recipe.extents[i].size;
            }
            assert_int_equal(at, recipe.size);
            assert_true(at < beyond);
        }
        ckpt_recipe_clear(&recipe);
    }
}

static void test_what_cannot_be_added(void **state)
{
    const struct {
        const char *name;
        struct ckpt_recipe_chunk chunk;
    } cases[] = {
        {"no bytes", chunk_of(1, 0, 0, 0)},
        {"too many bytes", chunk_of(1, CKPT_CHUNK_RAW_MAX + 1, 0, 0)},
        {"no id", chunk_of(0, 1, 0, 0)},
        {"elements of three bytes", chunk_of(1, 1, 3, 0)},
        {"elements of sixteen bytes", chunk_of(1, 1, 16, 0)},
    };
    struct ckpt_recipe recipe;
    (void)state;
    ckpt_recipe_init(&recipe);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (ckpt_recipe_add(&recipe, &cases[i].chunk) != CKPT_ERR_INVALID) {
            print_error("%s\n", cases[i].name);
            fail();
        }
    }
    assert_int_equal(recipe.chunk_count, 0);
    ckpt_recipe_clear(&recipe);
}

static void test_what_cannot_be_appended(void **state)
{
    struct ckpt_recipe recipe;
    const struct ckpt_recipe_chunk one = chunk_of(1, 10, 0, 0);
    (void)state;
    ckpt_recipe_init(&recipe);
    assert_int_equal(ckpt_recipe_append(&recipe, 0, 0, 1), CKPT_ERR_INVALID); /* no chunk yet */
    assert_ok(ckpt_recipe_add(&recipe, &one));
    assert_int_equal(ckpt_recipe_append(&recipe, 0, 0, 0), CKPT_ERR_INVALID);
    assert_int_equal(ckpt_recipe_append(&recipe, 0, 0, 11), CKPT_ERR_INVALID);
    assert_int_equal(ckpt_recipe_append(&recipe, 0, 10, 1), CKPT_ERR_INVALID);
    assert_int_equal(ckpt_recipe_append(&recipe, 0, 11, 1), CKPT_ERR_INVALID);
    assert_int_equal(ckpt_recipe_append(&recipe, 0, UINT32_MAX, 1), CKPT_ERR_INVALID);
    assert_int_equal(ckpt_recipe_append(&recipe, 1, 0, 1), CKPT_ERR_INVALID);
    assert_int_equal(ckpt_recipe_append(&recipe, CKPT_HOLE, 1, 1), CKPT_ERR_INVALID);
    assert_int_equal(ckpt_recipe_append(&recipe, CKPT_HOLE, 0, beyond), CKPT_ERR_INVALID);
    assert_int_equal(recipe.count, 0);
    assert_ok(ckpt_recipe_append(&recipe, CKPT_HOLE, 0, beyond - 1));
    assert_int_equal(ckpt_recipe_append(&recipe, 0, 0, 1), CKPT_ERR_INVALID);
    assert_int_equal(ckpt_recipe_append(&recipe, CKPT_HOLE, 0, 1), CKPT_ERR_INVALID);
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
        cmocka_unit_test(test_what_is_unusual_is_taken),
        cmocka_unit_test(test_any_other_length_is_corrupt),
        cmocka_unit_test(test_random_damage_never_breaks_an_invariant),
        cmocka_unit_test(test_what_cannot_be_added),
        cmocka_unit_test(test_what_cannot_be_appended),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
