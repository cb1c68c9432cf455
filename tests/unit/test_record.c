/*
 * Records: the bytes that FORMAT.md promises, and that no other bytes pass.
 */
#include "bytes.h"
#include "record.h"
#include "unit.h"

enum { N = 5000 };

static const uint64_t seed = 0x1122334455667788;

struct fixture {
    struct ckpt_codec *codec;
    uint8_t *raw;
    uint8_t *record; /* of RAW, a chunk with salt 3 */
    size_t size;
    struct ckpt_id id;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    assert_ok(ckpt_codec_create(&f->codec));
    f->raw = unit_weights(N, 1);
    f->record = malloc(ckpt_record_bound(N) + 1);
    assert_non_null(f->record);
    f->id = ckpt_id_of(seed, 3, f->raw, N);
    assert_ok(ckpt_record_encode(f->codec, seed, CKPT_KIND_CHUNK, &f->id, 3, f->raw, N, f->record,
                                 &f->size));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    ckpt_codec_free(f->codec);
    free(f->record);
    free(f->raw);
    free(f);
    return 0;
}

static enum ckpt_err parse(const struct fixture *f, size_t size)
{
    struct ckpt_record record;
    return ckpt_record_parse(seed, f->record, size, &record);
}

/* As a writer of other formats would leave it: with a true checksum. */
static void seal(struct fixture *f)
{
    ckpt_put_le64(f->record + 56,
                  ckpt_checksum2(seed, f->record, 56, f->record + 64, f->size - 64));
}

static void test_the_header_stands_as_documented(void **state)
{
    struct fixture *f = *state;
    static const uint8_t zeros[16];
    const uint8_t *p = f->record;
    assert_memory_equal(p, "CKO1", 4);
    assert_int_equal(p[4], 1); /* format */
    assert_int_equal(p[5], 1); /* a chunk */
    assert_int_equal(p[6], 1); /* zstd */
    assert_int_equal(p[7], 0); /* width */
    assert_int_equal(p[8], 3); /* salt */
    assert_memory_equal(p + 9, zeros, 7);
    assert_int_equal(ckpt_get_le32(p + 16), N);
    assert_int_equal(ckpt_get_le32(p + 20), f->size - 64);
    assert_memory_equal(p + 24, f->id.bytes, 16);
    assert_memory_equal(p + 40, zeros, 16);
    uint8_t whole[64 + N];
    memcpy(whole, p, 56);
    memcpy(whole + 56, p + 64, f->size - 64);
    assert_true(ckpt_get_le64(p + 56) == ckpt_checksum(seed, whole, f->size - 8));
}

static void test_a_record_comes_back(void **state)
{
    struct fixture *f = *state;
    struct ckpt_record record;
    uint8_t back[N];
    assert_ok(ckpt_record_parse(seed, f->record, f->size, &record));
    assert_int_equal(record.kind, CKPT_KIND_CHUNK);
    assert_int_equal(record.codec, CKPT_CODEC_ZSTD);
    assert_int_equal(record.salt, 3);
    assert_int_equal(record.raw_size, N);
    assert_int_equal(record.payload_size, f->size - 64);
    assert_true(ckpt_id_equal(&record.id, &f->id));
    assert_ptr_equal(record.payload, f->record + 64);
    assert_ok(ckpt_record_decode(f->codec, seed, &record, back));
    assert_memory_equal(back, f->raw, N);
}

static void test_any_flipped_bit_is_corrupt(void **state)
{
    struct fixture *f = *state;
    for (size_t at = 0; at < f->size; at += at < 80 ? 1 : 37) {
        for (int bit = 0; bit < 8; bit++) {
            f->record[at] = (uint8_t)(f->record[at] ^ 1 << bit);
            assert_int_equal(parse(f, f->size), CKPT_ERR_CORRUPT);
            f->record[at] = (uint8_t)(f->record[at] ^ 1 << bit);
        }
    }
    assert_ok(parse(f, f->size));
}

static void test_a_wrong_length_is_corrupt(void **state)
{
    struct fixture *f = *state;
    f->record[f->size] = 0;
    assert_int_equal(parse(f, f->size + 1), CKPT_ERR_CORRUPT);
    for (size_t size = 0; size < f->size; size += size < 70 ? 1 : 100) {
        assert_int_equal(parse(f, size), CKPT_ERR_CORRUPT);
    }
}

static void test_another_store_s_record_is_corrupt(void **state)
{
    struct fixture *f = *state;
    struct ckpt_record record;
    assert_int_equal(ckpt_record_parse(seed + 1, f->record, f->size, &record), CKPT_ERR_CORRUPT);
}

static void test_what_is_intact_but_unknown_is_newer_or_refused(void **state)
{
    struct fixture *f = *state;
    static const struct {
        size_t at;
        uint8_t value;
        enum ckpt_err expected;
    } table[] = {
        {4, 2, CKPT_ERR_FORMAT},                              /* record format */
        {5, 0, CKPT_ERR_FORMAT},                              /* kind */
        {5, 3, CKPT_ERR_FORMAT},   {6, 2, CKPT_ERR_FORMAT},   /* codec */
        {7, 2, CKPT_ERR_FORMAT},                              /* element width */
        {40, 1, CKPT_ERR_FORMAT},                             /* base */
        {55, 1, CKPT_ERR_FORMAT},  {9, 1, CKPT_ERR_CORRUPT},  /* reserved */
        {15, 1, CKPT_ERR_CORRUPT}, {19, 2, CKPT_ERR_CORRUPT}, /* a chunk of more than 16 MiB */
        {6, 0, CKPT_ERR_CORRUPT},                             /* raw, of two different lengths */
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        uint8_t was = f->record[table[i].at];
        f->record[table[i].at] = table[i].value;
        seal(f);
        assert_int_equal(parse(f, f->size), table[i].expected);
        f->record[table[i].at] = was;
    }
    ckpt_put_le32(f->record + 16, 0); /* an empty chunk */
    seal(f);
    assert_int_equal(parse(f, f->size), CKPT_ERR_CORRUPT);
}

static void test_the_id_of_what_comes_out_is_checked(void **state)
{
    struct fixture *f = *state;
    struct ckpt_record record;
    uint8_t back[N];
    f->record[30] ^= 1; /* in the id */
    seal(f);
    assert_ok(ckpt_record_parse(seed, f->record, f->size, &record));
    assert_int_equal(ckpt_record_decode(f->codec, seed, &record, back), CKPT_ERR_CORRUPT);
    f->record[30] ^= 1;
    f->record[8] = 4; /* salt */
    seal(f);
    assert_ok(ckpt_record_parse(seed, f->record, f->size, &record));
    assert_int_equal(ckpt_record_decode(f->codec, seed, &record, back), CKPT_ERR_CORRUPT);
    f->record[8] = 3;
    ckpt_put_le32(f->record + 16, N - 1);
    seal(f);
    assert_ok(ckpt_record_parse(seed, f->record, f->size, &record));
    assert_int_equal(ckpt_record_decode(f->codec, seed, &record, back), CKPT_ERR_CORRUPT);
}

static void test_chunks_have_a_limit_and_nothing_is_empty(void **state)
{
    struct fixture *f = *state;
    size_t n = CKPT_CHUNK_RAW_MAX + 1;
    size_t size = 0;
    uint8_t *raw = calloc(1, n);
    uint8_t *out = malloc(ckpt_record_bound(n));
    assert_non_null(raw);
    assert_non_null(out);
    assert_int_equal(
        ckpt_record_encode(f->codec, seed, CKPT_KIND_CHUNK, &f->id, 0, raw, n, out, &size),
        CKPT_ERR_INVALID);
    assert_int_equal(
        ckpt_record_encode(f->codec, seed, CKPT_KIND_CHUNK, &f->id, 0, raw, 0, out, &size),
        CKPT_ERR_INVALID);
    assert_ok(
        ckpt_record_encode(f->codec, seed, CKPT_KIND_CHUNK, &f->id, 0, raw, n - 1, out, &size));
    assert_ok(ckpt_record_encode(f->codec, seed, CKPT_KIND_RECIPE, &f->id, 0, raw, n, out, &size));
    free(out);
    free(raw);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_the_header_stands_as_documented, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_record_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(test_any_flipped_bit_is_corrupt, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_wrong_length_is_corrupt, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_store_s_record_is_corrupt, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_intact_but_unknown_is_newer_or_refused, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_the_id_of_what_comes_out_is_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_chunks_have_a_limit_and_nothing_is_empty, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
