/*
 * Records: the bytes that FORMAT.md promises, and that no other bytes pass.
 */
#include "common/bytes.h"
#include "object/record.h"
#include "unit.h"

enum { N = 5000 };

static const uint64_t seed = 0x1122334455667788;

struct fixture {
    struct ckpt_codec *codec;
    uint8_t *raw;
    uint8_t *record; /* of RAW, a chunk with salt 3 */
    size_t size;
    struct ckpt_id id;
    struct ckpt_recording what;
    struct ckpt_coding coding;
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
    f->what = (struct ckpt_recording){
        .kind = CKPT_KIND_CHUNK, .id = f->id, .salt = 3, .raw = f->raw, .raw_size = N, .width = 1};
    assert_ok(ckpt_record_encode(f->codec, seed, &f->what, f->record, &f->size, &f->coding));
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
    assert_int_equal(record.coding.id, CKPT_CODEC_ZSTD);
    assert_int_equal(record.salt, 3);
    assert_int_equal(record.raw_size, N);
    assert_int_equal(record.payload_size, f->size - 64);
    assert_true(ckpt_id_equal(&record.id, &f->id));
    assert_ptr_equal(record.payload, f->record + 64);
    assert_ok(ckpt_record_decode(f->codec, seed, &record, NULL, back));
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
        {5, 0, CKPT_ERR_FORMAT},   {5, 3, CKPT_ERR_FORMAT},   /* kind */
        {6, 5, CKPT_ERR_FORMAT},   {6, 255, CKPT_ERR_FORMAT}, /* codec */
        {7, 2, CKPT_ERR_CORRUPT},                             /* width, which zstd has none of */
        {40, 1, CKPT_ERR_CORRUPT},                            /* base, which it doesn't need */
        {55, 1, CKPT_ERR_CORRUPT}, {9, 1, CKPT_ERR_CORRUPT},  /* reserved */
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

/* A difference: of words of 4 bytes, from a base of which one in 16 is another. */
static void test_a_difference_names_its_base(void **state)
{
    struct fixture *f = *state;
    struct ckpt_record record;
    uint8_t base[N];
    uint8_t back[N];
    memcpy(base, f->raw, N);
    for (size_t i = 0; i + 4 <= N; i += 64) {
        base[i] ^= 5;
    }
    struct ckpt_recording what = f->what;
    what.width = 4;
    what.base = base;
    what.base_id = ckpt_id_of(seed, 0, base, N);
    assert_ok(ckpt_record_encode(f->codec, seed, &what, f->record, &f->size, &f->coding));
    assert_int_equal(f->coding.id, CKPT_CODEC_DELTA);
    assert_int_equal(f->record[6], CKPT_CODEC_DELTA);
    assert_int_equal(f->record[7], 4);
    assert_memory_equal(f->record + 40, what.base_id.bytes, 16);
    assert_ok(ckpt_record_parse(seed, f->record, f->size, &record));
    assert_int_equal(record.coding.id, CKPT_CODEC_DELTA);
    assert_int_equal(record.coding.width, 4);
    assert_true(ckpt_id_equal(&record.base, &what.base_id));
    assert_ok(ckpt_record_decode(f->codec, seed, &record, base, back));
    assert_memory_equal(back, f->raw, N);
    base[100] ^= 1; /* not the base that it was made from */
    assert_int_equal(ckpt_record_decode(f->codec, seed, &record, base, back), CKPT_ERR_CORRUPT);
    assert_int_equal(ckpt_record_decode(f->codec, seed, &record, NULL, back), CKPT_ERR_CORRUPT);
}

static void test_a_base_that_does_not_help_is_not_named(void **state)
{
    struct fixture *f = *state;
    static const uint8_t zeros[16];
    uint8_t *base = unit_noise(N, 9);
    struct ckpt_recording what = f->what;
    what.width = 4;
    what.base = base;
    what.base_id = ckpt_id_of(seed, 0, base, N);
    assert_ok(ckpt_record_encode(f->codec, seed, &what, f->record, &f->size, &f->coding));
    assert_int_equal(f->coding.id, CKPT_CODEC_PLANES);
    assert_memory_equal(f->record + 40, zeros, 16);
    what.kind = CKPT_KIND_RECIPE; /* never more than zstd */
    what.base = f->raw;
    assert_ok(ckpt_record_encode(f->codec, seed, &what, f->record, &f->size, &f->coding));
    assert_int_equal(f->coding.id, CKPT_CODEC_ZSTD);
    assert_memory_equal(f->record + 40, zeros, 16);
    free(base);
}

/* An intact record whose fields don't go together is no newer one. */
static void test_fields_that_contradict_each_other_are_corrupt(void **state)
{
    struct fixture *f = *state;
    static const struct {
        uint8_t kind;
        uint8_t codec;
        uint8_t width;
        uint8_t base;
        enum ckpt_err expected;
    } table[] = {
        {1, 1, 0, 0, CKPT_OK},           {1, 2, 2, 0, CKPT_OK},
        {1, 2, 4, 0, CKPT_OK},           {1, 2, 8, 0, CKPT_OK},
        {1, 3, 4, 1, CKPT_OK},           {1, 4, 4, 1, CKPT_OK},
        {2, 1, 0, 0, CKPT_OK},           {1, 1, 4, 0, CKPT_ERR_CORRUPT},
        {1, 1, 0, 1, CKPT_ERR_CORRUPT},  {1, 2, 0, 0, CKPT_ERR_CORRUPT},
        {1, 2, 1, 0, CKPT_ERR_CORRUPT},  {1, 2, 3, 0, CKPT_ERR_CORRUPT},
        {1, 2, 16, 0, CKPT_ERR_CORRUPT}, {1, 2, 4, 1, CKPT_ERR_CORRUPT},
        {1, 3, 4, 0, CKPT_ERR_CORRUPT},  {1, 4, 4, 0, CKPT_ERR_CORRUPT},
        {1, 3, 0, 1, CKPT_ERR_CORRUPT},  {2, 2, 4, 0, CKPT_ERR_CORRUPT},
        {2, 3, 4, 1, CKPT_ERR_CORRUPT},  {2, 4, 4, 1, CKPT_ERR_CORRUPT},
        {1, 5, 4, 0, CKPT_ERR_FORMAT},   {3, 2, 4, 0, CKPT_ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        f->record[5] = table[i].kind;
        f->record[6] = table[i].codec;
        f->record[7] = table[i].width;
        f->record[47] = table[i].base;
        seal(f);
        assert_int_equal(parse(f, f->size), table[i].expected);
    }
}

static void test_the_id_of_what_comes_out_is_checked(void **state)
{
    struct fixture *f = *state;
    struct ckpt_record record;
    uint8_t back[N];
    f->record[30] ^= 1; /* in the id */
    seal(f);
    assert_ok(ckpt_record_parse(seed, f->record, f->size, &record));
    assert_int_equal(ckpt_record_decode(f->codec, seed, &record, NULL, back), CKPT_ERR_CORRUPT);
    f->record[30] ^= 1;
    f->record[8] = 4; /* salt */
    seal(f);
    assert_ok(ckpt_record_parse(seed, f->record, f->size, &record));
    assert_int_equal(ckpt_record_decode(f->codec, seed, &record, NULL, back), CKPT_ERR_CORRUPT);
    f->record[8] = 3;
    ckpt_put_le32(f->record + 16, N - 1);
    seal(f);
    assert_ok(ckpt_record_parse(seed, f->record, f->size, &record));
    assert_int_equal(ckpt_record_decode(f->codec, seed, &record, NULL, back), CKPT_ERR_CORRUPT);
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
    static const struct {
        enum ckpt_kind kind;
        size_t size;
        enum ckpt_err expected;
    } table[] = {
        {CKPT_KIND_CHUNK, 0, CKPT_ERR_INVALID},
        {CKPT_KIND_CHUNK, CKPT_CHUNK_RAW_MAX, CKPT_OK},
        {CKPT_KIND_CHUNK, CKPT_CHUNK_RAW_MAX + 1, CKPT_ERR_INVALID},
        {CKPT_KIND_RECIPE, 0, CKPT_ERR_INVALID},
        {CKPT_KIND_RECIPE, CKPT_CHUNK_RAW_MAX + 1, CKPT_OK},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct ckpt_recording what = {
            .kind = table[i].kind, .id = f->id, .raw = raw, .raw_size = table[i].size};
        assert_int_equal(ckpt_record_encode(f->codec, seed, &what, out, &size, &f->coding),
                         table[i].expected);
    }
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
        cmocka_unit_test_setup_teardown(test_a_difference_names_its_base, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_base_that_does_not_help_is_not_named, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_fields_that_contradict_each_other_are_corrupt, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_the_id_of_what_comes_out_is_checked, setup, teardown),
        cmocka_unit_test_setup_teardown(test_chunks_have_a_limit_and_nothing_is_empty, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
