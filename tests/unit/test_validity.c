/*
 * Whether files are structurally whole: samples by the libraries that trainers use
 * (tests/files/make-validity), every truncation of each, and bytes that lie.
 */
#include "unit.h"

#include "common/bytes.h"
#include "format/validity.h"

#ifndef CKPT_FILES
#define CKPT_FILES "tests/files"
#endif

enum { EXACT_PATH = 1024 };

struct memory {
    const uint8_t *bytes;
    size_t size;
    bool fails;
};

static int memory_pread(void *arg, void *buf, size_t n, uint64_t offset)
{
    const struct memory *memory = arg;
    if (memory->fails || offset > memory->size || n > memory->size - offset) {
        return -1;
    }
    memcpy(buf, memory->bytes + offset, n);
    return 0;
}

/* The first N of the bytes, in memory of exactly that size, so that reading beyond it is noticed. */
static struct ckpt_validity_report check(const uint8_t *bytes, size_t n, const char *name)
{
    uint8_t *copy = malloc(n > 0 ? n : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, n);
    struct memory memory = {copy, n, false};
    struct ckpt_source source = {memory_pread, &memory, n};
    struct ckpt_validity_report report;
    assert_ok(ckpt_validity_check(&source, name, &report));
    assert_true((report.why[0] == '\0') == (report.validity == CKPT_VALIDITY_VALID));
    free(copy);
    return report;
}

/* The tests run anywhere: beside this source, where CKPT_FILES isn't given. */
static uint8_t *read_sample(const char *name, size_t *n)
{
    char path[EXACT_PATH];
    (void)snprintf(path, sizeof path, "%s/validity/%s", CKPT_FILES, name);
    FILE *f = fopen(path, "rb");
    if (f == NULL) {
        const char *slash = strrchr(__FILE__, '/');
        (void)snprintf(path, sizeof path, "%.*s/../files/validity/%s", (int)(slash - __FILE__), __FILE__,
                       name);
        f = fopen(path, "rb");
    }
    assert_non_null(f);
    uint8_t *bytes = malloc(1 << 20);
    assert_non_null(bytes);
    *n = fread(bytes, 1, 1 << 20, f);
    assert_int_equal(fclose(f), 0);
    assert_in_range(*n, 1, (1 << 20) - 1);
    return bytes;
}

static const struct sample {
    const char *name;
    const char *format;
    enum ckpt_validity whole;
    const char *cut_may_be_valid; /* why a truncation can't be told, where it can't */
} samples[] = {
    {"full.pt", "zip", CKPT_VALIDITY_VALID, NULL},
    {"arrays.npz", "zip", CKPT_VALIDITY_VALID, NULL},
    {"packed.npz", "zip", CKPT_VALIDITY_VALID, NULL},
    {"model.keras", "zip", CKPT_VALIDITY_VALID, NULL},
    {"model.safetensors", "safetensors", CKPT_VALIDITY_VALID, NULL},
    {"earliest.h5", "hdf5", CKPT_VALIDITY_VALID, NULL},
    {"v108.h5", "hdf5", CKPT_VALIDITY_VALID, NULL},
    {"latest.h5", "hdf5", CKPT_VALIDITY_VALID, NULL},
    {"userblock.h5", "hdf5", CKPT_VALIDITY_VALID, NULL},
    {"array.npy", "npy", CKPT_VALIDITY_VALID, NULL},
    {"scalar.npy", "npy", CKPT_VALIDITY_VALID, NULL},
    {"version2.npy", "npy", CKPT_VALIDITY_VALID, NULL},
    {"objects.npy", "npy", CKPT_VALIDITY_VALID, "a pickle ends in a full stop, and others stand in it"},
    {"fields.npy", "npy", CKPT_VALIDITY_UNKNOWN, NULL},
    {"legacy.pt", "", CKPT_VALIDITY_UNKNOWN, NULL},
};

static void test_whole_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++) {
        size_t n = 0;
        uint8_t *bytes = read_sample(samples[i].name, &n);
        struct ckpt_validity_report report = check(bytes, n, samples[i].name);
        if (report.validity != samples[i].whole || strcmp(report.format, samples[i].format) != 0) {
            print_error("%s: %d, %s, %s\n", samples[i].name, (int)report.validity, report.format, report.why);
            fail();
        }
        free(bytes);
    }
}

/* Of no length but the whole one is a file valid, whether its name says what it should be or not. */
static void test_every_truncation(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++) {
        size_t n = 0;
        uint8_t *bytes = read_sample(samples[i].name, &n);
        for (size_t cut = 0; cut < n; cut++) {
            enum ckpt_validity named = check(bytes, cut, samples[i].name).validity;
            enum ckpt_validity unnamed = check(bytes, cut, "file").validity;
            bool told = named != CKPT_VALIDITY_VALID && unnamed != CKPT_VALIDITY_VALID;
            /* .pt says nothing of the format, and the first bytes of a zip archive are no zip archive yet. */
            bool knows = strcmp(strrchr(samples[i].name, '.'), ".pt") != 0;
            if ((!told && (samples[i].cut_may_be_valid == NULL || bytes[cut - 1] != '.')) ||
                (knows && samples[i].whole == CKPT_VALIDITY_VALID && told &&
                 named != CKPT_VALIDITY_INVALID)) {
                print_error("%s cut to %zu of %zu bytes: %d, %d\n", samples[i].name, cut, n, (int)named,
                            (int)unnamed);
                fail();
            }
        }
        free(bytes);
    }
}

/*
 * A file of the right length of which the second half was never written: what a crash leaves of a file that
 * was made long first.
 */
static void test_zeros_where_bytes_should_be(void **state)
{
    static const struct {
        const char *name;
        enum ckpt_validity
            half; /* the tensors' own bytes aren't looked at, so where only they are zeros it can't be told */
    } cases[] = {
        {"full.pt", CKPT_VALIDITY_INVALID},
        {"arrays.npz", CKPT_VALIDITY_INVALID},
        {"model.keras", CKPT_VALIDITY_INVALID},
        {"model.safetensors", CKPT_VALIDITY_INVALID},
        {"array.npy", CKPT_VALIDITY_VALID},
        {"earliest.h5", CKPT_VALIDITY_VALID},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t n = 0;
        uint8_t *bytes = read_sample(cases[i].name, &n);
        memset(bytes + n / 2, 0, n - n / 2);
        assert_int_equal(check(bytes, n, cases[i].name).validity, cases[i].half);
        memset(bytes, 0, n);
        bool pt = strcmp(cases[i].name, "full.pt") == 0;
        assert_int_equal(check(bytes, n, cases[i].name).validity,
                         pt ? CKPT_VALIDITY_UNKNOWN : CKPT_VALIDITY_INVALID);
        free(bytes);
    }
}

static void test_names_that_say_another_format(void **state)
{
    static const struct {
        const char *sample;
        const char *name;
        enum ckpt_validity is;
    } cases[] = {
        {"full.pt", "model.safetensors", CKPT_VALIDITY_INVALID},
        {"full.pt", "epoch_3.ckpt", CKPT_VALIDITY_VALID},
        {"full.pt", "x.npz", CKPT_VALIDITY_VALID},
        {"legacy.pt", "model.h5", CKPT_VALIDITY_INVALID},
        {"legacy.pt", "model.bin", CKPT_VALIDITY_UNKNOWN},
        {"legacy.pt", ".metadata", CKPT_VALIDITY_INVALID}, /* it doesn't end like a pickle */
        {"array.npy", ".metadata", CKPT_VALIDITY_VALID},
        {"array.npy", "model.npz", CKPT_VALIDITY_INVALID},
        {"earliest.h5", "model.hdf5", CKPT_VALIDITY_VALID},
        {"earliest.h5", "model.keras", CKPT_VALIDITY_INVALID},
        {"model.safetensors", "MODEL.SAFETENSORS", CKPT_VALIDITY_VALID},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t n = 0;
        uint8_t *bytes = read_sample(cases[i].sample, &n);
        assert_int_equal(check(bytes, n, cases[i].name).validity, cases[i].is);
        free(bytes);
    }
    assert_int_equal(check((const uint8_t *)"", 0, "model.pt").validity, CKPT_VALIDITY_INVALID);
    assert_int_equal(check((const uint8_t *)"x", 1, "model.pt").validity, CKPT_VALIDITY_UNKNOWN);
}

/* The superblock says where the file ends; flags of version 3 say that somebody writes. */
static void test_hdf5_superblocks(void **state)
{
    size_t n = 0;
    uint8_t *bytes = read_sample("latest.h5", &n);
    (void)state;
    assert_int_equal(bytes[8], 3);
    bytes[11] = 1;
    assert_string_equal(check(bytes, n, "x.h5").why, "the HDF5 file was not closed by its writer");
    bytes[11] = 5;
    assert_int_equal(check(bytes, n, "x.h5").validity, CKPT_VALIDITY_INVALID);
    bytes[11] = 0;
    assert_int_equal(check(bytes, n, "x.h5").validity, CKPT_VALIDITY_VALID);
    ckpt_put_le64(bytes + 28, n + 1);
    assert_int_equal(check(bytes, n, "x.h5").validity, CKPT_VALIDITY_INVALID);
    ckpt_put_le64(bytes + 28, 0);
    assert_int_equal(check(bytes, n, "x.h5").validity, CKPT_VALIDITY_INVALID);
    ckpt_put_le64(bytes + 28, UINT64_MAX);
    assert_int_equal(check(bytes, n, "x.h5").validity, CKPT_VALIDITY_INVALID);
    ckpt_put_le64(bytes + 28, n - 1);
    assert_int_equal(check(bytes, n, "x.h5").validity, CKPT_VALIDITY_VALID);
    bytes[9] = 3;
    assert_int_equal(check(bytes, n, "x.h5").validity, CKPT_VALIDITY_INVALID);
    bytes[8] = 4;
    assert_int_equal(check(bytes, n, "x.h5").validity, CKPT_VALIDITY_UNKNOWN);
    free(bytes);
    /* Version 1 is version 0 with four more bytes. */
    bytes = read_sample("earliest.h5", &n);
    assert_int_equal(bytes[8], 0);
    bytes[8] = 1;
    memmove(bytes + 28, bytes + 24, 32);
    assert_int_equal(check(bytes, n, "x.h5").validity, CKPT_VALIDITY_VALID);
    ckpt_put_le64(bytes + 28 + 16, n + 1);
    assert_int_equal(check(bytes, n, "x.h5").validity, CKPT_VALIDITY_INVALID);
    free(bytes);
    /* A tar archive's first file begins at 512 as well. */
    bytes = read_sample("earliest.h5", &n);
    memmove(bytes + 512, bytes, n);
    memset(bytes, 'x', 512);
    assert_int_equal(check(bytes, n + 512, "x.tar").validity, CKPT_VALIDITY_UNKNOWN);
    free(bytes);
}

/* Elements and shape say the same, to the byte. */
static void test_npy_with_too_much(void **state)
{
    size_t n = 0;
    uint8_t *bytes = read_sample("array.npy", &n);
    (void)state;
    bytes[n] = 0;
    assert_int_equal(check(bytes, n + 1, "x.npy").validity, CKPT_VALIDITY_INVALID);
    uint8_t *shape = memmem(bytes, n, "(4, 6)", 6);
    assert_non_null(shape);
    shape[1] = '5';
    assert_int_equal(check(bytes, n, "x.npy").validity, CKPT_VALIDITY_INVALID);
    assert_int_equal(check(bytes, n + 24, "x.npy").validity, CKPT_VALIDITY_VALID);
    shape[1] = '-';
    assert_int_equal(check(bytes, n, "x.npy").validity, CKPT_VALIDITY_INVALID);
    free(bytes);
}

static void test_safetensors_that_lie(void **state)
{
    static const struct {
        const char *header;
        size_t data;
        enum ckpt_validity is;
    } cases[] = {
        {"{}", 0, CKPT_VALIDITY_VALID},
        {"{}", 1, CKPT_VALIDITY_INVALID},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, CKPT_VALIDITY_VALID},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7, CKPT_VALIDITY_INVALID},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 9, CKPT_VALIDITY_INVALID},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, CKPT_VALIDITY_INVALID},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[0,0]}}", 0, CKPT_VALIDITY_VALID},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[18446744073709551615,1]}}", 8,
         CKPT_VALIDITY_INVALID},
        {"{\"a\":", 8, CKPT_VALIDITY_INVALID},
        {"{\"__metadata__\":{\"epoch\":\"3\"}}", 0, CKPT_VALIDITY_VALID},
    };
    uint8_t bytes[512];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t n = strlen(cases[i].header);
        memset(bytes, 0, sizeof bytes);
        ckpt_put_le64(bytes, n);
        memcpy(bytes + 8, cases[i].header, n);
        struct ckpt_validity_report report = check(bytes, 8 + n + cases[i].data, "x.safetensors");
        if (report.validity != cases[i].is) {
            print_error("%s and %zu bytes: %d, %s\n", cases[i].header, cases[i].data, (int)report.validity,
                        report.why);
            fail();
        }
    }
}

/*
 * A byte of a zip archive's records that is wrong: each field of end record, directory and local header
 * that is checked.
 */
static void test_zip_records_that_lie(void **state)
{
    static const struct {
        size_t from_end; /* of the end record's 22 bytes */
        uint8_t value;
    } cases[] = {
        {22, 0},    /* its magic */
        {12, 0x7f}, /* the number of entries */
        {10, 0x7f}, /* the directory's size */
        {5, 0x7f},  /* its offset, beyond all bytes */
    };
    size_t n = 0;
    uint8_t *bytes = read_sample("arrays.npz", &n);
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t before = bytes[n - cases[i].from_end];
        bytes[n - cases[i].from_end] = cases[i].value;
        assert_int_equal(check(bytes, n, "x.npz").validity, CKPT_VALIDITY_INVALID);
        bytes[n - cases[i].from_end] = before;
    }
    /* The first record of each kind but for the one that shows that it is a zip archive at all. */
    static const uint8_t magics[][4] = {{'P', 'K', 1, 2}, {'P', 'K', 3, 4}};
    for (size_t i = 0; i < 2; i++) {
        uint8_t *record = memmem(bytes + 4, n - 4, magics[i], 4);
        assert_non_null(record);
        record[2] = 9;
        assert_int_equal(check(bytes, n, "x.npz").validity, CKPT_VALIDITY_INVALID);
        record[2] = magics[i][2];
        assert_int_equal(check(bytes, n, "x.npz").validity, CKPT_VALIDITY_VALID);
    }
    free(bytes);
}

/* Whatever the bytes are: an answer, and no harm. */
static void test_damaged_bytes_do_no_harm(void **state)
{
    uint64_t seed = 3;
    (void)state;
    for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++) {
        size_t n = 0;
        uint8_t *bytes = read_sample(samples[i].name, &n);
        uint8_t *damaged = malloc(n);
        assert_non_null(damaged);
        for (size_t round = 0; round < 2000; round++) {
            memcpy(damaged, bytes, n);
            for (uint64_t flips = 1 + unit_random(&seed) % 8; flips > 0; flips--) {
                /* Mostly where records are: at the start and at the end. */
                size_t room = unit_random(&seed) % 4 == 0 || n < 128 ? n : 64;
                size_t at = (size_t)(unit_random(&seed) % room);
                at = room < n && unit_random(&seed) % 2 == 0 ? n - 1 - at : at;
                static const uint8_t values[] = {0, 1, 0x7f, 0x80, 0xff};
                uint64_t value = unit_random(&seed);
                damaged[at] = value % 2 == 0 ? (uint8_t)(value >> 8) : values[value / 2 % sizeof values];
            }
            (void)check(damaged, n, round % 2 == 0 ? samples[i].name : "file");
        }
        free(damaged);
        free(bytes);
    }
}

static void test_errors_of_reading_are_told(void **state)
{
    size_t n = 0;
    uint8_t *bytes = read_sample("full.pt", &n);
    struct memory memory = {bytes, n, true};
    struct ckpt_source source = {memory_pread, &memory, n};
    struct ckpt_validity_report report;
    (void)state;
    assert_int_equal(ckpt_validity_check(&source, "full.pt", &report), CKPT_ERR_IO);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole_files),
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_zeros_where_bytes_should_be),
        cmocka_unit_test(test_names_that_say_another_format),
        cmocka_unit_test(test_hdf5_superblocks),
        cmocka_unit_test(test_npy_with_too_much),
        cmocka_unit_test(test_safetensors_that_lie),
        cmocka_unit_test(test_zip_records_that_lie),
        cmocka_unit_test(test_damaged_bytes_do_no_harm),
        cmocka_unit_test(test_errors_of_reading_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
