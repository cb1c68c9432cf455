/*
 * The rows of the tables, as bytes that somebody else may have written: what each parser takes and
 * what it refuses. Records and recipes have tests of their own.
 */
#include "unit.h"

#include "catalog/catalog_txn.h"
#include "common/bytes.h"
#include "object/garbage.h"
#include "object/object.h"

enum { ROOM = 512 };

struct row {
    uint8_t key[ROOM];
    size_t key_size;
    uint8_t
        *value; /* VALUE_SIZE bytes and no more, so that a sanitizer sees one read behind the end */
    size_t value_size;
};

static struct row make(const void *key, size_t key_size, const void *value, size_t value_size)
{
    struct row row = {.key_size = key_size, .value_size = value_size};
    memcpy(row.key, key, key_size);
    row.value = malloc(value_size > 0 ? value_size : 1);
    assert_non_null(row.value);
    memcpy(row.value, value, value_size);
    return row;
}

typedef enum ckpt_err parse_fn(struct ckpt_slice key, struct ckpt_slice value);

static enum ckpt_err parse(parse_fn *fn, const void *key, size_t key_size, const void *value,
                           size_t value_size)
{
    struct row row = make(key, key_size, value, value_size);
    enum ckpt_err err = fn((struct ckpt_slice){.data = row.key, .size = row.key_size},
                           (struct ckpt_slice){.data = row.value, .size = row.value_size});
    free(row.value);
    return err;
}

static enum ckpt_err version(struct ckpt_slice key, struct ckpt_slice value)
{
    struct ckpt_version out;
    return ckpt_version_parse(&key, &value, &out);
}

static enum ckpt_err file(struct ckpt_slice key, struct ckpt_slice value)
{
    struct ckpt_file out;
    return ckpt_file_parse(&key, &value, &out);
}

static enum ckpt_err dir(struct ckpt_slice key, struct ckpt_slice value)
{
    struct ckpt_dir out;
    return ckpt_dir_parse(&key, &value, &out);
}

static enum ckpt_err dirname_(struct ckpt_slice key, struct ckpt_slice value)
{
    struct ckpt_dir out;
    return ckpt_dirname_parse(&key, &value, &out);
}

static enum ckpt_err capture(struct ckpt_slice key, struct ckpt_slice value)
{
    struct ckpt_capture out;
    return ckpt_capture_parse(&key, &value, &out);
}

static enum ckpt_err garbage(struct ckpt_slice key, struct ckpt_slice value)
{
    struct ckpt_garbage out;
    return ckpt_garbage_parse(&key, &value, &out);
}

/* Keys, with their lengths. */
#define NUMBER "\0\0\0\0\0\0\0\x07", 8
#define ROOT   "\0\0\0\0\0\0\0\0", 8
#define NAME                                                                                       \
    "\0\0\0\0\0\0\0\x07"                                                                           \
    "a.pt",                                                                                        \
        12
#define NAME_1                                                                                     \
    "\0\0\0\0\0\0\0\x07"                                                                           \
    "a.pt\0\0\0\0\x01",                                                                            \
        17

#define CAPTURE "\0\0\0\0\0\0\0\x07\0\0\0\0\0\0\x01\x02", 16

static void test_sizes_and_names(void **state)
{
    static const struct {
        const char *name;
        parse_fn *fn;
        const char *key;
        size_t key_size;
        char value[12]; /* its first bytes; zeros follow */
        size_t value_size;
        enum ckpt_err expected;
    } cases[] = {
        {"version", version, NAME_1, "CKV1", 96, CKPT_OK},
        {"version: too short", version, NAME_1, "CKV1", 95, CKPT_ERR_CORRUPT},
        {"version: too long", version, NAME_1, "CKV1", 97, CKPT_ERR_CORRUPT},
        {"version: empty", version, NAME_1, "", 0, CKPT_ERR_CORRUPT},
        {"version: a file's magic", version, NAME_1, "CKF1", 96, CKPT_ERR_CORRUPT},
        {"version: no number", version, NAME, "CKV1", 96, CKPT_ERR_CORRUPT},
        {"version: no name", version, "\0\0\0\0\0\0\0\x07\0\0\0\0\x01", 13, "CKV1", 96,
         CKPT_ERR_CORRUPT},
        {"version: half a key", version, "\0\0\0\0", 4, "CKV1", 96, CKPT_ERR_CORRUPT},
        {"version: a slash", version,
         "\0\0\0\0\0\0\0\x07"
         "a/b\0\0\0\0\x01",
         16, "CKV1", 96, CKPT_ERR_CORRUPT},
        {"version: a NUL in the name", version,
         "\0\0\0\0\0\0\0\x07"
         "a\0b\0\0\0\0\x01",
         16, "CKV1", 96, CKPT_ERR_CORRUPT},
        {"file", file, NAME, "CKF1", 80, CKPT_OK},
        {"file: too short", file, NAME, "CKF1", 79, CKPT_ERR_CORRUPT},
        {"file: too long", file, NAME, "CKF1", 81, CKPT_ERR_CORRUPT},
        {"file: a version's magic", file, NAME, "CKV1", 80, CKPT_ERR_CORRUPT},
        {"file: no name", file, NUMBER, "CKF1", 80, CKPT_ERR_CORRUPT},
        {"file: a slash", file, "\0\0\0\0\0\0\0\x07/", 9, "CKF1", 80, CKPT_ERR_CORRUPT},
        {"directory", dir, NUMBER, "\x05\0\0\0\0\0\0\0run", 11, CKPT_OK},
        {"directory: no name", dir, NUMBER, "\x05\0\0\0\0\0\0\0", 8, CKPT_ERR_CORRUPT},
        {"directory: half a parent", dir, NUMBER, "\x05\0\0\0", 4, CKPT_ERR_CORRUPT},
        {"directory: empty", dir, NUMBER, "", 0, CKPT_ERR_CORRUPT},
        {"directory: a NUL", dir, NUMBER, "\x05\0\0\0\0\0\0\0r\0n", 11, CKPT_ERR_CORRUPT},
        {"directory: a slash", dir, NUMBER, "\x05\0\0\0\0\0\0\0r/n", 11, CKPT_ERR_CORRUPT},
        {"directory: the root, which has no row", dir, ROOT, "\x05\0\0\0\0\0\0\0run", 11,
         CKPT_ERR_CORRUPT},
        {"directory: a longer key", dir, NAME, "\x05\0\0\0\0\0\0\0run", 11, CKPT_ERR_CORRUPT},
        {"name", dirname_, NAME, "\x09\0\0\0\0\0\0\0", 8, CKPT_OK},
        {"name: of the root", dirname_, NAME, "\0\0\0\0\0\0\0\0", 8, CKPT_ERR_CORRUPT},
        {"name: too short", dirname_, NAME, "\x09\0\0\0\0\0\0", 7, CKPT_ERR_CORRUPT},
        {"name: too long", dirname_, NAME, "\x09\0\0\0\0\0\0\0", 9, CKPT_ERR_CORRUPT},
        {"name: none", dirname_, NUMBER, "\x09\0\0\0\0\0\0\0", 8, CKPT_ERR_CORRUPT},
        {"capture", capture, CAPTURE, "\x07\0\0\0a.pt", 8, CKPT_OK},
        {"capture: no name", capture, CAPTURE, "\x07\0\0\0", 4, CKPT_ERR_CORRUPT},
        {"capture: half a number", capture, CAPTURE, "\x07\0", 2, CKPT_ERR_CORRUPT},
        {"capture: empty", capture, CAPTURE, "", 0, CKPT_ERR_CORRUPT},
        {"capture: a NUL in the name", capture, CAPTURE, "\x07\0\0\0a\0b", 7, CKPT_ERR_CORRUPT},
        {"capture: half a key", capture, NUMBER, "\x07\0\0\0a.pt", 8, CKPT_ERR_CORRUPT},
        {"capture: a longer key", capture, NAME_1, "\x07\0\0\0a.pt", 8, CKPT_ERR_CORRUPT},
        {"garbage: no ids", garbage, NUMBER, "", 16, CKPT_OK},
        {"garbage: one", garbage, NUMBER, "", 32, CKPT_OK},
        {"garbage: no recipe", garbage, NUMBER, "", 0, CKPT_ERR_CORRUPT},
        {"garbage: half an id", garbage, NUMBER, "", 24, CKPT_ERR_CORRUPT},
        {"garbage: a longer key", garbage, NAME, "", 32, CKPT_ERR_CORRUPT},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t value[ROOM] = {0};
        memcpy(value, cases[i].value, sizeof cases[i].value);
        enum ckpt_err err =
            parse(cases[i].fn, cases[i].key, cases[i].key_size, value, cases[i].value_size);
        if (err != cases[i].expected) {
            print_error("%s: %s\n", cases[i].name, ckpt_err_text(err));
            fail();
        }
    }
}

static void test_the_parts_of_a_capture(void **state)
{
    const uint8_t key[] = "\x01\x02\x03\x04\x05\x06\x07\x08\x11\x12\x13\x14\x15\x16\x17\x18";
    const uint8_t value[] = "\x21\x22\x23\x24" "a.pt";
    struct ckpt_slice key_slice = {.data = key, .size = 16};
    struct ckpt_slice value_slice = {.data = value, .size = 8};
    struct ckpt_capture out;
    (void)state;
    assert_ok(ckpt_capture_parse(&key_slice, &value_slice, &out));
    assert_true(out.dir == UINT64_C(0x0102030405060708));
    assert_true(out.sequence == UINT64_C(0x1112131415161718));
    assert_true(out.number == 0x24232221);
    assert_string_equal(out.name, "a.pt");
}

/* A name of NAME_MAX bytes is the longest. */
static void test_the_longest_name(void **state)
{
    (void)state;
    for (size_t n = NAME_MAX; n <= NAME_MAX + 1; n++) {
        enum ckpt_err expected = n == NAME_MAX ? CKPT_OK : CKPT_ERR_CORRUPT;
        uint8_t key[8 + NAME_MAX + 1 + 5] = {[7] = 7};
        uint8_t row[8 + NAME_MAX + 1] = {0};
        memset(key + 8, 'x', n);
        memcpy(row, "CKF1", 4);
        assert_int_equal(parse(file, key, 8 + n, row, 80), expected);
        memcpy(row, "CKV1", 4);
        assert_int_equal(parse(version, key, 8 + n + 5, row, 96), expected);
        memset(row, 0, sizeof row);
        row[0] = 9;
        assert_int_equal(parse(dirname_, key, 8 + n, row, 8), expected);
        memset(row + 8, 'x', n);
        assert_int_equal(parse(dir, key, 8, row, 8 + n), expected);
        memset(row + 4, 'x', n);
        assert_int_equal(parse(capture, key, 16, row, 4 + n), expected);
    }
}

/* FORMAT.md: reserved bytes are refused when they are not zero; every other byte is free to be
 * anything. */
static void test_every_reserved_byte_is_refused(void **state)
{
    static const struct {
        const char *name;
        parse_fn *fn;
        const char *key;
        size_t key_size;
        const char *magic;
        size_t size;
        struct {
            size_t from;
            size_t to;
        } reserved[2];
    } rows[] = {
        {"version", version, NAME_1, "CKV1", 96, {{4, 8}, {84, 96}}},
        {"file", file, NAME, "CKF1", 80, {{72, 80}, {0, 0}}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (size_t at = strlen(rows[i].magic); at < rows[i].size; at++) {
            uint8_t value[ROOM] = {0};
            bool reserved = false;
            for (size_t r = 0; r < 2; r++) {
                reserved |= at >= rows[i].reserved[r].from && at < rows[i].reserved[r].to;
            }
            memcpy(value, rows[i].magic, strlen(rows[i].magic));
            value[at] = 0x80;
            enum ckpt_err err =
                parse(rows[i].fn, rows[i].key, rows[i].key_size, value, rows[i].size);
            if (err != (reserved ? CKPT_ERR_CORRUPT : CKPT_OK)) {
                print_error("%s: byte %zu: %s\n", rows[i].name, at, ckpt_err_text(err));
                fail();
            }
        }
    }
}

static void test_a_garbage_row_has_an_end(void **state)
{
    enum { MOST = (CKPT_GARBAGE_ROW + 1) * CKPT_ID_SIZE };
    uint8_t *bytes = calloc(1, MOST + CKPT_ID_SIZE);
    (void)state;
    assert_non_null(bytes);
    assert_int_equal(parse(garbage, NUMBER, bytes, MOST), CKPT_OK);
    assert_int_equal(parse(garbage, NUMBER, bytes, MOST + CKPT_ID_SIZE), CKPT_ERR_CORRUPT);
    free(bytes);
}

/* Rows of refs are parsed where they are looked up. */
static void test_refs(void **state)
{
    static const struct {
        const char *name;
        size_t at;
        uint8_t byte;
        enum ckpt_err expected;
    } cases[] = {
        {"as it is", 0, 1, CKPT_OK},
        {"no reference", 0, 0, CKPT_ERR_CORRUPT},
        {"another raw length", 8, 9, CKPT_OK},
        {"another record length", 12, 9, CKPT_OK},
        {"a recipe", 16, 2, CKPT_OK},
        {"no kind", 16, 0, CKPT_ERR_CORRUPT},
        {"an unknown kind", 16, 3, CKPT_ERR_CORRUPT},
        {"planes", 17, CKPT_CODEC_PLANES, CKPT_OK},
        {"a difference from nothing", 17, CKPT_CODEC_DELTA, CKPT_ERR_CORRUPT},
        {"a grouped difference from nothing", 17, CKPT_CODEC_GROUPED, CKPT_ERR_CORRUPT},
        {"an unknown codec", 17, CKPT_CODECS, CKPT_ERR_CORRUPT},
        {"a width", 18, 4, CKPT_OK},
        {"alone", 19, 1, CKPT_OK},
        {"an unknown flag", 19, 2, CKPT_ERR_CORRUPT},
        {"an unknown flag beside alone", 19, 3, CKPT_ERR_CORRUPT},
        {"reserved 20", 20, 1, CKPT_ERR_CORRUPT},
        {"reserved 21", 21, 1, CKPT_ERR_CORRUPT},
        {"reserved 22", 22, 1, CKPT_ERR_CORRUPT},
        {"reserved 23", 23, 1, CKPT_ERR_CORRUPT},
        {"a previous", 24, 1, CKPT_OK},
        {"a previous with only a last byte", 39, 1, CKPT_OK},
    };
    struct unit_store *u = *state;
    const struct ckpt_id id = {.bytes = {1}};
    struct ckpt_refs refs;
    struct ckpt_txn *txn = NULL;
    assert_ok(ckpt_txn_write(u->store->db, &txn));
    assert_int_equal(ckpt_object_refs(txn, &id, &refs), CKPT_ERR_NOT_FOUND);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint8_t row[40] = {[0] = 1, [8] = 10, [12] = 74, [16] = CKPT_KIND_CHUNK};
        row[cases[i].at] = cases[i].byte;
        assert_ok(ckpt_db_put(txn, CKPT_TABLE_REFS, id.bytes, CKPT_ID_SIZE, row, sizeof row));
        enum ckpt_err err = ckpt_object_refs(txn, &id, &refs);
        if (err != cases[i].expected) {
            print_error("%s: %s\n", cases[i].name, ckpt_err_text(err));
            fail();
        }
        assert_ok(ckpt_db_put(txn, CKPT_TABLE_REFS, id.bytes, CKPT_ID_SIZE, row, sizeof row - 1));
        assert_int_equal(ckpt_object_refs(txn, &id, &refs), CKPT_ERR_CORRUPT);
    }
    ckpt_txn_abort(txn);
}

static void test_refs_of_a_difference(void **state)
{
    struct unit_store *u = *state;
    const struct ckpt_id id = {.bytes = {1}};
    struct ckpt_refs refs;
    struct ckpt_txn *txn = NULL;
    uint8_t row[40] = {[0] = 3,  [8] = 10, [12] = 74, [16] = CKPT_KIND_CHUNK, [17] = CKPT_CODEC_DELTA,
                       [18] = 4, [19] = 1, [24] = 7,  [39] = 9};
    assert_ok(ckpt_txn_write(u->store->db, &txn));
    assert_ok(ckpt_db_put(txn, CKPT_TABLE_REFS, id.bytes, CKPT_ID_SIZE, row, sizeof row));
    assert_ok(ckpt_object_refs(txn, &id, &refs));
    assert_int_equal(refs.count, 3);
    assert_int_equal(refs.raw_size, 10);
    assert_int_equal(refs.record_size, 74);
    assert_int_equal(refs.kind, CKPT_KIND_CHUNK);
    assert_int_equal(refs.coding.id, CKPT_CODEC_DELTA);
    assert_int_equal(refs.coding.width, 4);
    assert_true(refs.alone);
    assert_memory_equal(refs.previous.bytes, row + 24, CKPT_ID_SIZE);
    ckpt_txn_abort(txn);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes_and_names),
        cmocka_unit_test(test_the_parts_of_a_capture),
        cmocka_unit_test(test_the_longest_name),
        cmocka_unit_test(test_every_reserved_byte_is_refused),
        cmocka_unit_test(test_a_garbage_row_has_an_end),
        cmocka_unit_test_setup_teardown(test_refs, unit_store_setup, unit_store_teardown),
        cmocka_unit_test_setup_teardown(test_refs_of_a_difference, unit_store_setup, unit_store_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
