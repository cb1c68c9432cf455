/*
 * Payloads: what is encoded comes back, and nothing else is accepted.
 */
#include "chunk/codec.h"
#include "common/bytes.h"
#include "unit.h"

enum { SOME = 100000 };

static int setup(void **state)
{
    struct ckpt_codec *codec = NULL;
    assert_ok(ckpt_codec_create(&codec));
    *state = codec;
    return 0;
}

static int teardown(void **state)
{
    ckpt_codec_free(*state);
    return 0;
}

/* What a test encodes: RAW (and BASE) stand at odd addresses, as they may in a file. */
struct contents {
    const char *name;
    uint8_t *(*make)(size_t n, uint64_t seed);
};

static uint8_t *zeros(size_t n, uint64_t seed)
{
    (void)seed;
    return calloc(1, n);
}

/* About a normal distribution. */
static double gauss(uint64_t *random)
{
    double sum = 0;
    for (int i = 0; i < 8; i++) {
        sum += (double)(unit_random(random) >> 11) / (double)((uint64_t)1 << 53) - 0.5;
    }
    return sum;
}

static uint8_t *floats32(size_t n, uint64_t seed)
{
    uint8_t *bytes = unit_noise(n, seed);
    for (size_t i = 0; i + 4 <= n; i += 4) {
        float f = (float)(0.02 * gauss(&seed));
        memcpy(bytes + i, &f, 4);
    }
    return bytes;
}

static uint8_t *floats64(size_t n, uint64_t seed)
{
    uint8_t *bytes = unit_noise(n, seed);
    for (size_t i = 0; i + 8 <= n; i += 8) {
        double f = 3 * gauss(&seed);
        memcpy(bytes + i, &f, 8);
    }
    return bytes;
}

/* The upper halves of floats. */
static uint8_t *bfloats16(size_t n, uint64_t seed)
{
    uint8_t *bytes = unit_noise(n, seed);
    for (size_t i = 0; i + 2 <= n; i += 2) {
        float f = (float)(0.02 * gauss(&seed));
        memcpy(bytes + i, (const uint8_t *)&f + 2, 2);
    }
    return bytes;
}

static uint8_t *counters64(size_t n, uint64_t seed)
{
    uint8_t *bytes = unit_noise(n, seed);
    for (size_t i = 0; i + 8 <= n; i += 8) {
        ckpt_put_le64(bytes + i, i / 8);
    }
    return bytes;
}

static uint8_t *text(size_t n, uint64_t seed)
{
    static const char *const words[] = {"layer", "weight",    "bias", ".",
                                        "norm",  "attention", "\n",   " "};
    uint8_t *bytes = malloc(n + 16);
    assert_non_null(bytes);
    for (size_t i = 0; i < n;) {
        const char *word = words[unit_random(&seed) % 8];
        memcpy(bytes + i, word, strlen(word));
        i += strlen(word);
    }
    return bytes;
}

static const struct contents all_contents[] = {
    {"noise", unit_noise},      {"halves", unit_weights}, {"zeros", zeros},
    {"floats32", floats32},     {"floats64", floats64},   {"bfloats16", bfloats16},
    {"counters64", counters64}, {"text", text},
};

enum { CONTENTS = sizeof all_contents / sizeof all_contents[0] };

/* An older state: words of WIDTH bytes as integers that differ by less than 2^BITS, one in four not
 * at all. */
static uint8_t *older(const uint8_t *raw, size_t n, unsigned width, unsigned bits, uint64_t seed)
{
    uint8_t *base = malloc(n + 1);
    assert_non_null(base);
    memcpy(base, raw, n);
    for (size_t i = 0; i + width <= n; i += width) {
        uint64_t v = 0;
        uint64_t r = unit_random(&seed);
        memcpy(&v, base + i, width);
        v += r % 4 == 0 ? 0 : (r >> 8 & ((1U << bits) - 1)) - (1U << bits) / 2;
        memcpy(base + i, &v, width);
    }
    return base;
}

/* Encodes into a fresh buffer, which the caller frees, with ROOM bytes more than needed. */
static uint8_t *encode(struct ckpt_codec *codec, const uint8_t *raw, size_t n, uint8_t width,
                       const uint8_t *base, size_t room, size_t *size, struct ckpt_coding *coding)
{
    struct ckpt_hint hint = {.width = width, .base = base};
    uint8_t *out = malloc(ckpt_codec_bound(n) + room);
    assert_non_null(out);
    assert_ok(ckpt_codec_encode(codec, raw, n, width == 0 && base == NULL ? NULL : &hint, out, size,
                                coding));
    assert_true(*size <= n);
    return out;
}

static void expect_back(struct ckpt_codec *codec, const struct ckpt_coding *coding,
                        const uint8_t *payload, size_t size, const uint8_t *base,
                        const uint8_t *raw, size_t n)
{
    uint8_t *back = malloc(n + 1); /* an odd address again, and exactly so many bytes */
    assert_non_null(back);
    assert_ok(ckpt_codec_decode(codec, coding, payload, size,
                                ckpt_codec_needs_base(coding->id) ? base : NULL, back + 1, n));
    assert_memory_equal(back + 1, raw, n);
    free(back);
}

static void test_everything_comes_back(void **state)
{
    static const size_t sizes[] = {1,      2,      3,      7,      8,      9,     63,
                                   100,    255,    512,    1023,   4096,   16387, 65551,
                                   131072, 262144, 262143, 524294, 3 << 20};
    static const uint8_t widths[] = {0, 1, 2, 4, 8};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (size_t k = 0; k < CONTENTS; k++) {
            size_t n = sizes[i];
            uint8_t *whole = all_contents[k].make(n + 1, i + 10 * k);
            uint8_t *raw = whole + (i + k) % 2;
            uint8_t *base = older(raw, n, 4 >> (k == 5), 6, k);
            for (size_t w = 0; w < 2 * sizeof widths; w++) {
                size_t size = 0;
                struct ckpt_coding coding = {.id = CKPT_CODEC_RAW};
                const uint8_t *used = w % 2 == 0 ? NULL : base;
                uint8_t *payload = encode(*state, raw, n, widths[w / 2], used, 0, &size, &coding);
                assert_true((coding.id == CKPT_CODEC_RAW) == (size == n));
                assert_true(used != NULL || !ckpt_codec_needs_base(coding.id));
                expect_back(*state, &coding, payload, size, used, raw, n);
                free(payload);
            }
            free(base);
            free(whole);
        }
    }
}

static void test_the_longest_chunk_comes_back(void **state)
{
    enum { MOST = 16 << 20 }; /* all words change by as much: nothing to group */
    for (size_t over = 0; over < 2; over++) {
        size_t size = 0;
        struct ckpt_coding coding;
        uint8_t *raw = bfloats16(MOST + over, 1);
        uint8_t *base = older(raw, MOST + over, 2, 3, 2);
        uint8_t *payload = encode(*state, raw, MOST + over, 2, base, 0, &size, &coding);
        assert_int_equal(coding.id, over == 0 ? CKPT_CODEC_DELTA : CKPT_CODEC_ZSTD);
        expect_back(*state, &coding, payload, size, base, raw, MOST + over);
        free(payload);
        free(base);
        free(raw);
    }
}

/* Which coding, and at most how much of the raw size. */
static void test_the_coding_suits_the_bytes(void **state)
{
    enum { N = 256 << 10 };
    static const struct {
        uint8_t *(*make)(size_t, uint64_t);
        uint8_t width;    /* the hint */
        unsigned changed; /* a base whose words differ in so many bits; 0 for none */
        enum ckpt_codec_id id;
        uint8_t expected_width;
        unsigned percent;
    } table[] = {
        {unit_noise, 0, 0, CKPT_CODEC_RAW, 0, 100},
        {unit_noise, 4, 0, CKPT_CODEC_RAW, 0, 100},
        {unit_noise, 1, 0, CKPT_CODEC_RAW, 0, 100},
        {unit_weights, 0, 0, CKPT_CODEC_PLANES, 2, 51},
        {unit_weights, 1, 0, CKPT_CODEC_ZSTD, 0, 70},
        {text, 0, 0, CKPT_CODEC_ZSTD, 0, 20},
        {text, 4, 0, CKPT_CODEC_ZSTD, 0, 20},
        {floats32, 4, 0, CKPT_CODEC_PLANES, 4, 85},
        {floats32, 0, 0, CKPT_CODEC_PLANES, 4, 85},
        {floats32, 1, 0, CKPT_CODEC_ZSTD, 0, 95},
        {floats64, 8, 0, CKPT_CODEC_PLANES, 8, 95},
        {floats64, 0, 0, CKPT_CODEC_PLANES, 8, 95},
        {bfloats16, 2, 0, CKPT_CODEC_PLANES, 2, 70},
        {bfloats16, 0, 0, CKPT_CODEC_PLANES, 2, 70},
        {counters64, 8, 0, CKPT_CODEC_PLANES, 8, 2},
        {floats32, 4, 8, CKPT_CODEC_DELTA, 4, 27},
        {bfloats16, 2, 3, CKPT_CODEC_DELTA, 2, 20},
        {unit_noise, 4, 8, CKPT_CODEC_DELTA, 4, 27},
        {text, 1, 8, CKPT_CODEC_ZSTD, 0, 20}, /* bytes have no differences */
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        size_t size = 0;
        struct ckpt_coding coding;
        uint8_t *raw = table[i].make(N, i);
        uint8_t *base = NULL;
        if (table[i].changed > 0) {
            base = older(raw, N, table[i].width, table[i].changed, i + 100);
        }
        uint8_t *payload = encode(*state, raw, N, table[i].width, base, 0, &size, &coding);
        assert_int_equal(coding.id, table[i].id);
        assert_int_equal(coding.width, table[i].expected_width);
        assert_in_range(size * 100, 0, (size_t)N * table[i].percent);
        expect_back(*state, &coding, payload, size, base, raw, N);
        free(payload);
        free(base);
        free(raw);
    }
}

/* What training does: large weights change by more. Then grouping pays; a base that has nothing to
 * do with the bytes doesn't. */
static void test_groups_win_where_the_exponent_tells_the_change(void **state)
{
    enum { N = 256 << 10 };
    size_t size = 0;
    struct ckpt_coding coding;
    uint64_t random = 1;
    uint8_t *base = floats32(N, 2);
    uint8_t *raw = malloc(N);
    assert_non_null(raw);
    for (size_t i = 0; i < N; i += 4) {
        float f;
        memcpy(&f, base + i, 4);
        f += (float)(1e-5 * gauss(&random)); /* so in the bits: the smaller the float, the more */
        memcpy(raw + i, &f, 4);
    }
    uint8_t *payload = encode(*state, raw, N, 4, base, 0, &size, &coding);
    assert_int_equal(coding.id, CKPT_CODEC_GROUPED);
    expect_back(*state, &coding, payload, size, base, raw, N);
    free(payload);
    uint8_t *other = floats32(N, 3);
    payload = encode(*state, raw, N, 4, other, 0, &size, &coding);
    assert_int_equal(coding.id, CKPT_CODEC_PLANES);
    free(payload);
    free(other);
    free(raw);
    free(base);
}

/* Numbers begin anywhere in a file of unknown format. */
static void test_words_are_found_at_any_phase(void **state)
{
    enum { N = 100000 };
    for (size_t head = 0; head < 8; head++) {
        for (size_t k = 3; k < 6; k++) {
            size_t size = 0;
            struct ckpt_coding coding;
            uint8_t *whole = all_contents[k].make(N + 8, 20 + k);
            uint8_t *payload = encode(*state, whole + head, N, 0, NULL, 0, &size, &coding);
            assert_int_equal(coding.id, CKPT_CODEC_PLANES);
            assert_int_equal(payload[0], (coding.width - head % coding.width) % coding.width);
            expect_back(*state, &coding, payload, size, NULL, whole + head, N);
            free(payload);
            free(whole);
        }
    }
}

/* Rows of an embedding that were never used: nothing moved there, in the rows between everything.
 */
static void test_rows_that_repeat_are_seen(void **state)
{
    enum { N = 256 << 10, ROW = 1024 };
    size_t size = 0;
    struct ckpt_coding coding;
    uint8_t *raw = floats32(N, 4);
    for (size_t row = 0; row < N / ROW; row++) {
        if (row % 4 != 0) {
            memset(raw + row * ROW, 0, ROW);
        }
    }
    uint8_t *payload = encode(*state, raw, N, 4, NULL, 0, &size, &coding);
    assert_in_range(size, 1, N * 23 / 100);
    expect_back(*state, &coding, payload, size, NULL, raw, N);
    free(payload);
    free(raw);
}

static void test_the_payload_stands_as_documented(void **state)
{
    /* 128 words of 2 bytes, 0x0100 + i: rotated 0x0200 + 2i; and a byte behind them. */
    enum { N = 257 };
    uint8_t raw[N];
    for (size_t i = 0; i < N; i++) {
        raw[i] = (uint8_t)(i % 2 == 0 ? i / 2 : 1);
    }
    raw[N - 1] = 0xee;
    size_t size = 0;
    struct ckpt_coding coding = {.id = CKPT_CODEC_PLANES, .width = 2};
    uint8_t *payload = encode(*state, raw, N, 2, NULL, 0, &size, &coding);
    assert_int_equal(coding.id, CKPT_CODEC_PLANES);
    assert_int_equal(coding.width, 2);
    static const uint8_t header[] = {0, 0, 0, 0, 128, 0, 0, 0, 1, 0, 0, 2, 0xee};
    assert_int_equal(size, sizeof header + 128 + 1);
    assert_memory_equal(payload, header, sizeof header);
    for (size_t i = 0; i < 128; i++) {
        assert_int_equal(payload[sizeof header + i], 2 * i);
    }
    assert_int_equal(payload[size - 1], 2);
    free(payload);
}

static void test_nothing_is_a_payload_too(void **state)
{
    uint8_t room[2048];
    size_t size = 1;
    struct ckpt_coding coding = {.id = CKPT_CODEC_ZSTD};
    assert_true(ckpt_codec_bound(0) <= sizeof room);
    assert_ok(ckpt_codec_encode(*state, NULL, 0, NULL, room, &size, &coding));
    assert_int_equal(size, 0);
    assert_int_equal(coding.id, CKPT_CODEC_RAW);
    assert_ok(ckpt_codec_decode(*state, &coding, room, 0, NULL, NULL, 0));
}

static void test_the_encoding_depends_on_the_arguments_alone(void **state)
{
    for (size_t k = 0; k < CONTENTS; k++) {
        struct ckpt_codec *fresh = NULL;
        size_t size = 0;
        size_t other_size = 0;
        struct ckpt_coding coding;
        struct ckpt_coding other_coding;
        uint8_t *raw = all_contents[k].make(SOME, 3);
        uint8_t *base = older(raw, SOME, 4, 6, 4);
        uint8_t *noise = unit_noise(2 * SOME, 4);
        free(encode(*state, noise, 2 * SOME, 0, NULL, 0, &size,
                    &coding)); /* leaves something behind */
        uint8_t *one = encode(*state, raw, SOME, 4, base, 0, &size, &coding);
        assert_ok(ckpt_codec_create(&fresh));
        uint8_t *other = encode(fresh, raw, SOME, 4, base, 0, &other_size, &other_coding);
        assert_int_equal(coding.id, other_coding.id);
        assert_int_equal(coding.width, other_coding.width);
        assert_int_equal(size, other_size);
        assert_memory_equal(one, other, size);
        ckpt_codec_free(fresh);
        free(other);
        free(one);
        free(noise);
        free(base);
        free(raw);
    }
}

static void expect_corrupt(struct ckpt_codec *codec, struct ckpt_coding coding,
                           const uint8_t *payload, size_t size, size_t n)
{
    /* Its own allocations, so that a sanitizer sees a byte read or written beyond. */
    uint8_t *copy = malloc(size + 1);
    uint8_t *back = malloc(n + 1);
    uint8_t *base = calloc(1, n + 1);
    assert_non_null(copy);
    assert_non_null(back);
    assert_non_null(base);
    memcpy(copy + 1, payload, size);
    assert_int_equal(ckpt_codec_decode(codec, &coding, copy + 1, size, base + 1, back + 1, n),
                     CKPT_ERR_CORRUPT);
    free(base);
    free(back);
    free(copy);
}

static void test_other_than_one_whole_frame_is_corrupt(void **state)
{
    /* A skippable frame of four bytes, which the decoder alone would step over. */
    static const uint8_t skippable[] = {0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4};
    size_t size = 0;
    struct ckpt_coding coding;
    uint8_t *raw = unit_weights(SOME, 5);
    uint8_t *payload = encode(*state, raw, SOME, 1, NULL, SOME, &size, &coding);
    assert_int_equal(coding.id, CKPT_CODEC_ZSTD);

    expect_corrupt(*state, coding, payload, size, SOME - 1);
    expect_corrupt(*state, coding, payload, size, SOME + 1);
    expect_corrupt(*state, coding, payload, size - 1, SOME);
    expect_corrupt(*state, coding, payload, 3, SOME);
    expect_corrupt(*state, coding, payload, 0, SOME);
    expect_corrupt(*state, coding, payload, 0, 0);
    for (unsigned id = 0; id < 256; id++) {
        if (id != CKPT_CODEC_ZSTD) {
            struct ckpt_coding other = {.id = (enum ckpt_codec_id)id, .width = 4};
            expect_corrupt(*state, other, payload, size, SOME);
        }
    }
    struct ckpt_coding wide = {.id = CKPT_CODEC_ZSTD, .width = 4};
    expect_corrupt(*state, wide, payload, size, SOME);

    payload[size] = 0; /* a byte behind the frame */
    expect_corrupt(*state, coding, payload, size + 1, SOME);
    memcpy(payload + size, skippable, sizeof skippable);
    expect_corrupt(*state, coding, payload, size + sizeof skippable, SOME);
    memcpy(payload + size, payload, size); /* two frames */
    expect_corrupt(*state, coding, payload, 2 * size, SOME);
    expect_corrupt(*state, coding, payload, 2 * size, (size_t)2 * SOME);

    memmove(payload + sizeof skippable, payload, size);
    memcpy(payload, skippable, sizeof skippable);
    expect_corrupt(*state, coding, payload, size + sizeof skippable, SOME);
    expect_corrupt(*state, coding, skippable, sizeof skippable, 0);
    free(payload);
    free(raw);
}

static void test_raw_must_have_the_exact_size(void **state)
{
    static const uint8_t bytes[4] = {1, 2, 3, 4};
    struct ckpt_coding raw = {.id = CKPT_CODEC_RAW};
    expect_corrupt(*state, raw, bytes, 4, 3);
    expect_corrupt(*state, raw, bytes, 3, 4);
    expect_corrupt(*state, raw, bytes, 0, 4);
}

static void test_other_than_whole_planes_is_corrupt(void **state)
{
    enum { N = 4 * 20 + 3 };
    static const enum ckpt_codec_id ids[] = {CKPT_CODEC_PLANES, CKPT_CODEC_DELTA,
                                             CKPT_CODEC_GROUPED};
    /* head 1, so 20 words and a tail of 2: planes raw, constant, constant, raw */
    uint8_t good[4 + 16 + 3 + 20 + 1 + 1 + 20 + 1] = {1, 0, 0, 0, 20, 0, 0, 0, 1,
                                                      0, 0, 2, 1, 0,  0, 2, 20};
    enum { SIZE = sizeof good - 1 };
    static const struct {
        size_t at;
        uint8_t value;
    } table[] = {
        {0, 4},  {0, 255},                    /* the head */
        {0, 0},  {0, 2},                      /* a possible one, for other lengths */
        {1, 1},  {2, 1},   {3, 1},            /* reserved */
        {4, 19}, {4, 21},  {5, 1},  {6, 255}, /* a raw plane of another length */
        {7, 1},  {7, 2},   {7, 3},  {7, 255}, /* modes that don't fit, that don't exist */
        {8, 0},  {8, 2},   {10, 1},           /* a constant is one byte */
        {11, 0}, {11, 1},  {16, 0},
    };
    for (size_t k = 0; k < 3; k++) {
        struct ckpt_coding coding = {.id = ids[k], .width = 4};
        uint8_t back[N];
        uint8_t base[N] = {0};
        assert_ok(ckpt_codec_decode(*state, &coding, good, SIZE, base, back, N));
        for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
            uint8_t was = good[table[i].at];
            good[table[i].at] = table[i].value;
            if (table[i].at == 0 && table[i].value < 3) {
                /* Another head is another tail: what adds up to the same words is as good. */
                assert_int_equal(was, 1);
            } else {
                expect_corrupt(*state, coding, good, SIZE, N);
            }
            good[table[i].at] = was;
        }
        for (size_t size = 0; size < SIZE; size++) {
            expect_corrupt(*state, coding, good, size, N);
        }
        expect_corrupt(*state, coding, good, SIZE + 1, N);
        expect_corrupt(*state, coding, good, SIZE, N - 4);
        expect_corrupt(*state, coding, good, SIZE, N + 4);
        expect_corrupt(*state, coding, good, SIZE, 3); /* no word */
        expect_corrupt(*state, coding, good, SIZE, 0);
        for (unsigned width = 0; width < 256; width++) {
            if (width != 4) {
                coding.width = (uint8_t)width;
                expect_corrupt(*state, coding, good, SIZE, N);
            }
        }
        coding.width = 4;
        assert_int_equal(ckpt_codec_decode(*state, &coding, good, SIZE, NULL, back, N),
                         ids[k] == CKPT_CODEC_PLANES ? CKPT_OK : CKPT_ERR_CORRUPT);
    }
}

/* The record's checksum keeps such bytes away; should they come, nothing is written out of bounds.
 */
static void test_damaged_payloads_do_no_harm(void **state)
{
    enum { N = 20000 };
    static const uint8_t widths[] = {1, 2, 4, 8};
    uint64_t random = 6;
    for (size_t k = 0; k < 2 * sizeof widths; k++) {
        size_t size = 0;
        struct ckpt_coding coding;
        uint8_t *raw = k < 4 ? unit_weights(N, 7) : floats32(N, 7);
        uint8_t *base = older(raw, N, 4, 16, 8);
        const uint8_t *used = k % 2 == 0 ? base : NULL;
        uint8_t *payload = encode(*state, raw, N, widths[k % 4], used, 0, &size, &coding);
        uint8_t *back = malloc(N);
        assert_non_null(back);
        for (int i = 0; i < 2000; i++) {
            size_t at = i < 128 ? (size_t)i / 4 : unit_random(&random) % size;
            size_t length = i % 8 == 0 ? unit_random(&random) % size : size;
            uint8_t *copy = malloc(length + 1);
            assert_non_null(copy);
            memcpy(copy, payload, length);
            if (at < length) {
                copy[at] = (uint8_t)unit_random(&random);
            }
            enum ckpt_err err = ckpt_codec_decode(*state, &coding, copy, length, base, back, N);
            assert_true(err == CKPT_OK || err == CKPT_ERR_CORRUPT);
            free(copy);
        }
        expect_back(*state, &coding, payload, size, base, raw, N);
        free(back);
        free(payload);
        free(base);
        free(raw);
    }
}

static void test_buffers_last_until_the_next_of_their_kind(void **state)
{
    uint8_t *buffers[4];
    for (unsigned i = 0; i < 4; i++) {
        buffers[i] = ckpt_codec_buffer(*state, i, 1000 + i);
        assert_non_null(buffers[i]);
        memset(buffers[i], (int)i + 1, 1000 + i);
    }
    uint8_t *raw = floats32(SOME, 1);
    uint8_t *base = older(raw, SOME, 4, 10, 2);
    size_t size = 0;
    struct ckpt_coding coding;
    uint8_t *payload = encode(*state, raw, SOME, 4, base, 0, &size, &coding);
    expect_back(*state, &coding, payload, size, base, raw, SOME);
    for (unsigned i = 0; i < 4; i++) {
        for (size_t k = 0; k < 1000 + i; k++) {
            assert_int_equal(buffers[i][k], i + 1);
        }
    }
    assert_non_null(ckpt_codec_buffer(*state, 0, 0));
    assert_null(ckpt_codec_buffer(*state, 4, 1));
    free(payload);
    free(base);
    free(raw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_comes_back),
        cmocka_unit_test(test_the_longest_chunk_comes_back),
        cmocka_unit_test(test_the_coding_suits_the_bytes),
        cmocka_unit_test(test_groups_win_where_the_exponent_tells_the_change),
        cmocka_unit_test(test_words_are_found_at_any_phase),
        cmocka_unit_test(test_rows_that_repeat_are_seen),
        cmocka_unit_test(test_the_payload_stands_as_documented),
        cmocka_unit_test(test_nothing_is_a_payload_too),
        cmocka_unit_test(test_the_encoding_depends_on_the_arguments_alone),
        cmocka_unit_test(test_other_than_one_whole_frame_is_corrupt),
        cmocka_unit_test(test_raw_must_have_the_exact_size),
        cmocka_unit_test(test_other_than_whole_planes_is_corrupt),
        cmocka_unit_test(test_damaged_payloads_do_no_harm),
        cmocka_unit_test(test_buffers_last_until_the_next_of_their_kind),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
