/*
 * Estimates: near what the encoders make, and numbers are told from other bytes.
 */
#include "chunk/frame.h"
#include "chunk/probe.h"
#include "unit.h"
#include <math.h>

enum { N = 65536 };

static double uniform(uint64_t *random)
{
    return (double)(unit_random(random) >> 11) / (double)((uint64_t)1 << 53);
}

/* Bytes of a geometric distribution: the smaller P, the more of them matter. */
static uint8_t *geometric(size_t n, double p, uint64_t seed)
{
    uint8_t *bytes = malloc(n);
    assert_non_null(bytes);
    for (size_t i = 0; i < n; i++) {
        double v = log(uniform(&seed) + 1e-12) / log(1 - p);
        bytes[i] = (uint8_t)(v < 255 ? v : 255);
    }
    return bytes;
}

static void test_counts_are_exact_or_of_a_share(void **state)
{
    (void)state;
    uint8_t *bytes = unit_noise(N, 1);
    for (size_t n = 0; n < 70; n++) {
        uint32_t counts[CKPT_BYTES] = {0};
        uint32_t expected[CKPT_BYTES] = {0};
        ckpt_probe_count(bytes + n, n, 1, counts);
        for (size_t i = 0; i < n; i++) {
            expected[bytes[n + i]]++;
        }
        assert_memory_equal(counts, expected, sizeof counts);
    }
    uint32_t counts[CKPT_BYTES] = {0};
    uint32_t total = 0;
    for (size_t at = 0; at < N; at += 1000) { /* in runs, as of groups */
        ckpt_probe_count(bytes + at, N - at < 1000 ? N - at : 1000, 4, counts);
    }
    for (size_t b = 0; b < CKPT_BYTES; b++) {
        total += counts[b];
    }
    assert_in_range(total, N / 4 - N / 40, N / 4 + N / 40);
    free(bytes);
}

static void test_estimates_are_near_the_encoder_s_sizes(void **state)
{
    (void)state;
    static const double chances[] = {0.004, 0.01, 0.03, 0.1, 0.3, 0.5, 0.7, 0.9};
    static const unsigned every[] = {1, 4};
    struct ckpt_frames *frames = NULL;
    assert_ok(ckpt_frames_create(&frames));
    uint8_t *out = malloc(ckpt_frame_bound(N));
    assert_non_null(out);
    for (size_t i = 0; i < sizeof chances / sizeof chances[0]; i++) {
        for (size_t k = 0; k < 2; k++) {
            const uint32_t cuts[] = {N};
            size_t size = 0;
            uint32_t counts[CKPT_BYTES] = {0};
            uint8_t *bytes = geometric(N, chances[i], i);
            assert_ok(ckpt_frame_huffman(frames, bytes, N, cuts, 1, out, &size));
            ckpt_probe_count(bytes, N, every[k], counts);
            struct ckpt_estimate e = ckpt_probe_estimate(counts, (float)every[k]);
            assert_true(fabsf(e.block - (float)size) < 0.05F * (float)size);
            assert_true(e.entropy <= e.code && e.code <= e.block);
            free(bytes);
        }
    }
    free(out);
    ckpt_frames_free(frames);
}

static void test_the_extremes_are_estimated_too(void **state)
{
    (void)state;
    uint32_t counts[CKPT_BYTES] = {0};
    struct ckpt_estimate e = ckpt_probe_estimate(counts, 1);
    assert_true(e.entropy == 0 && e.code == 0 && e.block < 10);
    counts[7] = N;
    e = ckpt_probe_estimate(counts, 1);
    assert_true(e.entropy == 0 && e.code == 0 && e.block < 10);
    for (size_t b = 0; b < CKPT_BYTES; b++) {
        counts[b] = N / CKPT_BYTES;
    }
    e = ckpt_probe_estimate(counts, 1);
    assert_true(fabsf(e.entropy - N) < 0.001F * N && e.block <= N + 3);
}

static void test_repeats_are_told_from_skewed_bytes(void **state)
{
    (void)state;
    static const struct ckpt_glances glances = {.step = 1, .look = 256, .piece = 256};
    uint8_t *bytes = geometric(N, 0.1, 1);
    assert_false(ckpt_probe_repeats(bytes, 4096, &glances));
    memcpy(bytes + 2048, bytes, 512);
    assert_true(ckpt_probe_repeats(bytes, 4096, &glances));
    assert_false(ckpt_probe_repeats(bytes, 0, &glances));
    assert_false(ckpt_probe_repeats(bytes, 8, &glances));
    memset(bytes, 0, 20);
    assert_true(ckpt_probe_repeats(bytes, 20, &glances));
    free(bytes);
}

enum make { NOISE, TEXT, F16, BF16, F32, F64, I32, I64, BYTES };

static void put(uint8_t *at, enum make make, uint64_t *random)
{
    static const char letters[] = "layers.attention.weight and bias\n";
    double g = uniform(random) + uniform(random) + uniform(random) + uniform(random) - 2;
    float f = (float)(0.02 * g);
    uint32_t bits;
    int32_t i32 = (int32_t)(1000 * uniform(random));
    int64_t i64 = (int64_t)(50257 * uniform(random));
    memcpy(&bits, &f, 4);
    /* A half float of the same value, without rounding, which none of these values needs. */
    uint16_t half =
        (uint16_t)((bits >> 16 & 0x8000) |
                   ((((bits >> 23 & 0xff) > 112 ? (bits >> 23 & 0xff) - 112 : 0) << 10) |
                    (bits >> 13 & 0x3ff)));
    switch (make) {
    case NOISE:
        *at = (uint8_t)unit_random(random);
        break;
    case TEXT:
        *at = (uint8_t)letters[unit_random(random) % (sizeof letters - 1)];
        break;
    case BYTES:
        *at = (uint8_t)(20 + 10 * g);
        break;
    case F16:
        memcpy(at, &half, 2);
        break;
    case BF16:
        memcpy(at, (const uint8_t *)&f + 2, 2);
        break;
    case F32:
        memcpy(at, &f, 4);
        break;
    case F64:
        memcpy(at, &g, 8);
        break;
    case I32:
        memcpy(at, &i32, 4);
        break;
    case I64:
        memcpy(at, &i64, 8);
        break;
    }
}

static void test_numbers_are_found_with_width_and_phase(void **state)
{
    (void)state;
    static const struct {
        enum make make;
        uint8_t size;  /* of an element */
        uint8_t width; /* expected */
    } table[] = {
        {NOISE, 1, 0}, {TEXT, 1, 0}, {BYTES, 1, 0}, {F16, 2, 2}, {BF16, 2, 2},
        {F32, 4, 4},   {F64, 8, 8},  {I32, 4, 4},   {I64, 8, 8},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        for (size_t n = 8000; n < 300000; n = n * 5 + 3) {
            uint64_t random = n;
            uint8_t *bytes = malloc(n + 16);
            assert_non_null(bytes);
            for (size_t at = 0; at < n + 8; at += table[i].size) {
                put(bytes + at, table[i].make, &random);
            }
            for (size_t skip = 0; skip < table[i].size; skip++) {
                struct ckpt_numbers numbers = ckpt_probe_numbers(bytes + skip, n);
                assert_int_equal(numbers.width, table[i].width);
                if (table[i].make != I32 &&
                    table[i].make != I64) { /* their zeros could stand at either end */
                    assert_int_equal(numbers.head, (table[i].size - skip) % table[i].size);
                }
                assert_true(numbers.head < table[i].size);
            }
            free(bytes);
        }
    }
}

static void test_few_bytes_are_no_numbers(void **state)
{
    (void)state;
    uint8_t bytes[2000] = {0};
    for (size_t n = 0; n < sizeof bytes; n++) {
        struct ckpt_numbers numbers = ckpt_probe_numbers(bytes, n);
        assert_true(numbers.width == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts_are_exact_or_of_a_share),
        cmocka_unit_test(test_estimates_are_near_the_encoder_s_sizes),
        cmocka_unit_test(test_the_extremes_are_estimated_too),
        cmocka_unit_test(test_repeats_are_told_from_skewed_bytes),
        cmocka_unit_test(test_numbers_are_found_with_width_and_phase),
        cmocka_unit_test(test_few_bytes_are_no_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
