/*
 * Payloads: what is encoded comes back, and nothing else is accepted.
 */
#include "codec.h"
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

/* Encodes into a fresh buffer, which the caller frees, with ROOM bytes more than needed. */
static uint8_t *encode(struct ckpt_codec *codec, const uint8_t *raw, size_t n, size_t room,
                       size_t *size, enum ckpt_codec_id *id)
{
    uint8_t *out = malloc(ckpt_codec_bound(n) + room);
    assert_non_null(out);
    assert_ok(ckpt_codec_encode(codec, raw, n, out, size, id));
    assert_true(*size <= n);
    return out;
}

static void test_everything_comes_back(void **state)
{
    static const size_t sizes[] = {1, 2, 100, 4096, 131072, 262144, 524288, 3 << 20};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t n = sizes[i];
        uint8_t *contents[] = {unit_noise(n, 1), unit_weights(n, 2), calloc(1, n)};
        static const enum ckpt_codec_id expected[] = {CKPT_CODEC_RAW, CKPT_CODEC_ZSTD,
                                                      CKPT_CODEC_ZSTD};
        for (size_t k = 0; k < 3; k++) {
            size_t size = 0;
            enum ckpt_codec_id id = CKPT_CODEC_RAW;
            uint8_t *payload = encode(*state, contents[k], n, 0, &size, &id);
            uint8_t *back = malloc(n);
            assert_non_null(back);
            if (n >= 4096) {
                assert_int_equal(id, expected[k]);
            }
            assert_true((id == CKPT_CODEC_RAW) == (size == n));
            assert_ok(ckpt_codec_decode(*state, id, payload, size, back, n));
            assert_memory_equal(back, contents[k], n);
            free(back);
            free(payload);
            free(contents[k]);
        }
    }
}

static void test_nothing_is_a_payload_too(void **state)
{
    uint8_t room[1024];
    size_t size = 1;
    enum ckpt_codec_id id = CKPT_CODEC_ZSTD;
    assert_true(ckpt_codec_bound(0) <= sizeof room);
    assert_ok(ckpt_codec_encode(*state, NULL, 0, room, &size, &id));
    assert_int_equal(size, 0);
    assert_int_equal(id, CKPT_CODEC_RAW);
    assert_ok(ckpt_codec_decode(*state, id, room, 0, NULL, 0));
}

static void test_the_encoding_depends_on_the_bytes_alone(void **state)
{
    struct ckpt_codec *fresh = NULL;
    size_t size = 0;
    size_t other_size = 0;
    enum ckpt_codec_id id;
    enum ckpt_codec_id other_id;
    uint8_t *raw = unit_weights(SOME, 3);
    uint8_t *noise = unit_noise(SOME, 4);
    free(encode(*state, noise, SOME, 0, &size, &id)); /* leaves something in the state */
    uint8_t *one = encode(*state, raw, SOME, 0, &size, &id);
    assert_ok(ckpt_codec_create(&fresh));
    uint8_t *other = encode(fresh, raw, SOME, 0, &other_size, &other_id);
    assert_int_equal(id, other_id);
    assert_int_equal(size, other_size);
    assert_memory_equal(one, other, size);
    ckpt_codec_free(fresh);
    free(other);
    free(one);
    free(noise);
    free(raw);
}

static void expect_corrupt(struct ckpt_codec *codec, unsigned id, const uint8_t *payload,
                           size_t size, size_t n)
{
    uint8_t *back = malloc(n + 1);
    assert_non_null(back);
    assert_int_equal(ckpt_codec_decode(codec, (enum ckpt_codec_id)id, payload, size, back, n),
                     CKPT_ERR_CORRUPT);
    free(back);
}

static void test_other_than_one_whole_frame_is_corrupt(void **state)
{
    /* A skippable frame of four bytes, which the decoder alone would step over. */
    static const uint8_t skippable[] = {0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4};
    size_t size = 0;
    enum ckpt_codec_id id;
    uint8_t *raw = unit_weights(SOME, 5);
    uint8_t *payload = encode(*state, raw, SOME, SOME, &size, &id);
    assert_int_equal(id, CKPT_CODEC_ZSTD);

    expect_corrupt(*state, id, payload, size, SOME - 1);
    expect_corrupt(*state, id, payload, size, SOME + 1);
    expect_corrupt(*state, id, payload, size - 1, SOME);
    expect_corrupt(*state, id, payload, 3, SOME);
    expect_corrupt(*state, id, payload, 0, SOME);
    expect_corrupt(*state, id, payload, 0, 0);
    expect_corrupt(*state, 2, payload, size, SOME);
    expect_corrupt(*state, 255, payload, size, SOME);

    payload[size] = 0; /* a byte behind the frame */
    expect_corrupt(*state, id, payload, size + 1, SOME);
    memcpy(payload + size, skippable, sizeof skippable);
    expect_corrupt(*state, id, payload, size + sizeof skippable, SOME);
    memcpy(payload + size, payload, size); /* two frames */
    expect_corrupt(*state, id, payload, 2 * size, SOME);
    expect_corrupt(*state, id, payload, 2 * size, (size_t)2 * SOME);

    memmove(payload + sizeof skippable, payload, size);
    memcpy(payload, skippable, sizeof skippable);
    expect_corrupt(*state, id, payload, size + sizeof skippable, SOME);
    expect_corrupt(*state, id, skippable, sizeof skippable, 0);
    free(payload);
    free(raw);
}

static void test_raw_must_have_the_exact_size(void **state)
{
    static const uint8_t bytes[4] = {1, 2, 3, 4};
    expect_corrupt(*state, CKPT_CODEC_RAW, bytes, 4, 3);
    expect_corrupt(*state, CKPT_CODEC_RAW, bytes, 3, 4);
    expect_corrupt(*state, CKPT_CODEC_RAW, bytes, 0, 4);
}

/* The record's checksum keeps such bytes away; should they come, nothing is written out of bounds.
 */
static void test_damaged_frames_do_no_harm(void **state)
{
    enum { N = 20000 };
    size_t size = 0;
    enum ckpt_codec_id id;
    uint64_t random = 6;
    uint8_t *raw = unit_weights(N, 7);
    uint8_t *payload = encode(*state, raw, N, 0, &size, &id);
    uint8_t *back = malloc(N);
    assert_non_null(back);
    for (int i = 0; i < 2000; i++) {
        size_t at = i < 64 ? (size_t)i / 4 : unit_random(&random) % size;
        uint8_t was = payload[at];
        payload[at] = (uint8_t)unit_random(&random);
        enum ckpt_err err = ckpt_codec_decode(*state, id, payload, size, back, N);
        assert_true(err == CKPT_OK || err == CKPT_ERR_CORRUPT);
        payload[at] = was;
    }
    assert_ok(ckpt_codec_decode(*state, id, payload, size, back, N));
    assert_memory_equal(back, raw, N);
    free(back);
    free(payload);
    free(raw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_comes_back),
        cmocka_unit_test(test_nothing_is_a_payload_too),
        cmocka_unit_test(test_the_encoding_depends_on_the_bytes_alone),
        cmocka_unit_test(test_other_than_one_whole_frame_is_corrupt),
        cmocka_unit_test(test_raw_must_have_the_exact_size),
        cmocka_unit_test(test_damaged_frames_do_no_harm),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
