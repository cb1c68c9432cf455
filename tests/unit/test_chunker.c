/*
 * Cut points: sizes, constant data, and how two files find each other again.
 */
#include "chunk/chunker.h"
#include "unit.h"

/* Cuts all of BYTES; the offsets after each chunk. Returns their number. */
static size_t cut_all(const struct ckpt_chunker *chunker, const uint8_t *bytes, size_t n,
                      size_t *ends, size_t room)
{
    size_t count = 0;
    for (size_t at = 0; at < n;) {
        size_t size = ckpt_chunker_cut(chunker, bytes + at, n - at);
        assert_in_range(size, 1, CKPT_CHUNK_MAX);
        assert_true(size <= n - at);
        assert_true(size >= CKPT_CHUNK_MIN || at + size == n);
        at += size;
        assert_true(count < room);
        ends[count++] = at;
    }
    return count;
}

static void test_sizes_on_random_data_are_near_the_target(void **state)
{
    (void)state;
    enum { N = 64 << 20, ROOM = N / CKPT_CHUNK_MIN + 1 };
    struct ckpt_chunker chunker;
    size_t ends[ROOM];
    uint8_t *bytes = unit_noise(N, 1);
    ckpt_chunker_init(&chunker, 99);
    size_t count = cut_all(&chunker, bytes, N, ends, ROOM);
    size_t forced = 0;
    for (size_t i = 1; i < count; i++) {
        forced += ends[i] - ends[i - 1] == CKPT_CHUNK_MAX;
    }
    assert_in_range(N / count, CKPT_CHUNK_TARGET * 9 / 10, CKPT_CHUNK_TARGET * 12 / 10);
    /* A chunk at the maximum has no cut point of its own; few may be. */
    assert_true(forced * 20 < count);
    free(bytes);
}

static void test_every_length_is_cut_validly(void **state)
{
    (void)state;
    struct ckpt_chunker chunker;
    uint8_t *bytes = unit_noise(2 * CKPT_CHUNK_MAX, 2);
    uint64_t random = 3;
    static const size_t special[] = {
        1,
        2,
        63,
        64,
        65,
        CKPT_CHUNK_MIN - 1,
        CKPT_CHUNK_MIN,
        CKPT_CHUNK_MIN + 1,
        CKPT_CHUNK_TARGET - 1,
        CKPT_CHUNK_TARGET,
        CKPT_CHUNK_TARGET + 1,
        CKPT_CHUNK_MAX - 1,
        CKPT_CHUNK_MAX,
        CKPT_CHUNK_MAX + 1,
        2 * CKPT_CHUNK_MAX,
    };
    enum { SPECIAL = sizeof special / sizeof special[0] };
    ckpt_chunker_init(&chunker, 4);
    for (size_t i = 0; i < SPECIAL + 200; i++) {
        size_t n = i < SPECIAL ? special[i] : 1 + unit_random(&random) % (2 * CKPT_CHUNK_MAX);
        size_t size = ckpt_chunker_cut(&chunker, bytes, n);
        assert_in_range(size, n < CKPT_CHUNK_MIN ? n : CKPT_CHUNK_MIN,
                        n < CKPT_CHUNK_MAX ? n : CKPT_CHUNK_MAX);
    }
    free(bytes);
}

static void test_bytes_beyond_the_maximum_do_not_matter(void **state)
{
    (void)state;
    struct ckpt_chunker chunker;
    uint8_t *bytes = unit_noise(3 * CKPT_CHUNK_MAX, 5);
    ckpt_chunker_init(&chunker, 6);
    assert_int_equal(ckpt_chunker_cut(&chunker, bytes, CKPT_CHUNK_MAX),
                     ckpt_chunker_cut(&chunker, bytes, 3 * CKPT_CHUNK_MAX));
    free(bytes);
}

static void test_constant_data_gives_the_largest_chunks(void **state)
{
    (void)state;
    static uint8_t bytes[CKPT_CHUNK_MAX + 1];
    for (uint64_t seed = 0; seed < 3; seed++) {
        struct ckpt_chunker chunker;
        ckpt_chunker_init(&chunker, seed * 0x123456789abcdef);
        for (int value = 0; value < 256; value += seed == 0 ? 1 : 51) {
            memset(bytes, value, sizeof bytes);
            assert_int_equal(ckpt_chunker_cut(&chunker, bytes, sizeof bytes), CKPT_CHUNK_MAX);
        }
    }
}

static void test_cuts_agree_again_after_an_insertion(void **state)
{
    (void)state;
    enum { N = 16 << 20, ROOM = N / CKPT_CHUNK_MIN + 8, AT = 5 << 20 };
    static const size_t lengths[] = {1, 17, 4096, 300000};
    size_t before[ROOM];
    size_t after[ROOM];
    struct ckpt_chunker chunker;
    uint8_t *bytes = unit_noise(N, 7);
    ckpt_chunker_init(&chunker, 8);
    size_t n_before = cut_all(&chunker, bytes, N, before, ROOM);
    for (size_t k = 0; k < sizeof lengths / sizeof lengths[0]; k++) {
        size_t more = lengths[k];
        uint8_t *longer = malloc(N + more);
        uint8_t *inserted = unit_noise(more, 9);
        assert_non_null(longer);
        memcpy(longer, bytes, AT);
        memcpy(longer + AT, inserted, more);
        memcpy(longer + AT + more, bytes + AT, N - AT);
        size_t n_after = cut_all(&chunker, longer, N + more, after, ROOM);

        /* From the end, the cuts are the same ones up to soon after the insertion. */
        size_t same = 0;
        while (same < n_before && same < n_after &&
               before[n_before - 1 - same] + more == after[n_after - 1 - same]) {
            same++;
        }
        assert_true(before[n_before - same] < AT + 4 * (size_t)CKPT_CHUNK_MAX);
        /* And before it nothing has moved. */
        for (size_t i = 0; before[i] <= AT; i++) {
            assert_int_equal(before[i], after[i]);
        }
        free(inserted);
        free(longer);
    }
    free(bytes);
}

static void test_the_seed_decides(void **state)
{
    (void)state;
    enum { N = 4 << 20, ROOM = N / CKPT_CHUNK_MIN + 1 };
    struct ckpt_chunker chunker;
    size_t one[ROOM];
    size_t again[ROOM];
    size_t other[ROOM];
    uint8_t *bytes = unit_noise(N, 10);
    ckpt_chunker_init(&chunker, 11);
    size_t n_one = cut_all(&chunker, bytes, N, one, ROOM);
    ckpt_chunker_init(&chunker, 12);
    size_t n_other = cut_all(&chunker, bytes, N, other, ROOM);
    ckpt_chunker_init(&chunker, 11);
    size_t n_again = cut_all(&chunker, bytes, N, again, ROOM);
    assert_int_equal(n_one, n_again);
    assert_memory_equal(one, again, n_one * sizeof one[0]);
    assert_true(n_one != n_other || memcmp(one, other, n_one * sizeof one[0]) != 0);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes_on_random_data_are_near_the_target),
        cmocka_unit_test(test_every_length_is_cut_validly),
        cmocka_unit_test(test_bytes_beyond_the_maximum_do_not_matter),
        cmocka_unit_test(test_constant_data_gives_the_largest_chunks),
        cmocka_unit_test(test_cuts_agree_again_after_an_insertion),
        cmocka_unit_test(test_the_seed_decides),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
