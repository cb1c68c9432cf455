/*
 * Packed rows: what is packed comes out again, what is cut or too long is refused at every place, and an error stays.
 */
#include "unit.h"

#include "common/pack.h"
#include <math.h>

enum { TEXT_TOO_LONG = 0xffff, TEXT_LONGEST = 0xfffe };

static struct ckpt_pack pack_all(void)
{
    struct ckpt_pack p = {0};
    ckpt_pack_bytes(&p, "CKT1", 4);
    ckpt_pack_u8(&p, 0xfe);
    ckpt_pack_u16(&p, 0xfedc);
    ckpt_pack_u32(&p, 0xfedcba98);
    ckpt_pack_u64(&p, 0xfedcba9876543210);
    ckpt_pack_f64(&p, -0.0);
    ckpt_pack_f64(&p, NAN);
    ckpt_pack_text(&p, "some text");
    ckpt_pack_text(&p, "");
    ckpt_pack_text(&p, NULL);
    ckpt_pack_u32(&p, 2);
    ckpt_pack_text(&p, "a");
    ckpt_pack_text(&p, "b");
    return p;
}

/* Takes apart what pack_all has made, as far as it goes. */
static enum ckpt_err unpack_all(const uint8_t *bytes, size_t size)
{
    struct ckpt_unpack u = {.bytes = bytes, .size = size};
    char magic[4];
    char *texts[5] = {NULL};
    ckpt_unpack_bytes(&u, magic, sizeof magic);
    uint8_t one = ckpt_unpack_u8(&u);
    uint16_t two = ckpt_unpack_u16(&u);
    uint32_t four = ckpt_unpack_u32(&u);
    uint64_t eight = ckpt_unpack_u64(&u);
    double zero = ckpt_unpack_f64(&u);
    double nan = ckpt_unpack_f64(&u);
    for (size_t i = 0; i < 3; i++) {
        texts[i] = ckpt_unpack_text(&u);
    }
    size_t n = ckpt_unpack_count(&u, 2);
    texts[3] = ckpt_unpack_some_text(&u);
    texts[4] = ckpt_unpack_some_text(&u);
    if (u.err == CKPT_OK) {
        assert_memory_equal(magic, "CKT1", 4);
        assert_int_equal(one, 0xfe);
        assert_int_equal(two, 0xfedc);
        assert_int_equal(four, 0xfedcba98);
        assert_int_equal(eight, 0xfedcba9876543210);
        assert_true(zero == 0 && signbit(zero));
        assert_true(isnan(nan));
        assert_string_equal(texts[0], "some text");
        assert_string_equal(texts[1], "");
        assert_null(texts[2]);
        assert_int_equal(n, 2);
        assert_string_equal(texts[3], "a");
        assert_string_equal(texts[4], "b");
        assert_int_equal(u.size, 0);
    }
    for (size_t i = 0; i < 5; i++) {
        free(texts[i]);
    }
    return u.err;
}

static void everything_comes_back(void **state)
{
    (void)state;
    struct ckpt_pack p = pack_all();
    assert_ok(p.err);
    assert_int_equal(p.size, 4 + 1 + 2 + 4 + 8 + 8 + 8 + 11 + 2 + 2 + 4 + 3 + 3);
    assert_ok(unpack_all(p.bytes, p.size));
    free(p.bytes);
}

/* As FORMAT.md says: little-endian, u16 lengths, 0xffff for an absent string. */
static void the_bytes_are_as_documented(void **state)
{
    static const uint8_t expected[] = {0x34, 0x12, 1, 0, 'x', 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0xf0, 0x3f};
    (void)state;
    struct ckpt_pack p = {0};
    ckpt_pack_u16(&p, 0x1234);
    ckpt_pack_text(&p, "x");
    ckpt_pack_text(&p, NULL);
    ckpt_pack_f64(&p, 1);
    assert_int_equal(p.size, sizeof expected);
    assert_memory_equal(p.bytes, expected, sizeof expected);
    free(p.bytes);
}

/* Each in a buffer of just that size, where a sanitizer sees a byte read too much. */
static void cut_anywhere_it_is_damage(void **state)
{
    (void)state;
    struct ckpt_pack p = pack_all();
    for (size_t n = 0; n < p.size; n++) {
        uint8_t *cut = malloc(n > 0 ? n : 1);
        assert_non_null(cut);
        memcpy(cut, p.bytes, n);
        assert_int_equal(unpack_all(cut, n), CKPT_ERR_CORRUPT);
        free(cut);
    }
    assert_int_equal(unpack_all(NULL, 0), CKPT_ERR_CORRUPT);
    free(p.bytes);
}

static void strings_have_their_bounds(void **state)
{
    (void)state;
    char *text = malloc(TEXT_TOO_LONG + 1);
    assert_non_null(text);
    memset(text, 'x', TEXT_TOO_LONG);
    text[TEXT_TOO_LONG] = '\0';
    struct ckpt_pack p = {0};
    ckpt_pack_text(&p, text);
    assert_int_equal(p.err, CKPT_ERR_INVALID);
    assert_int_equal(p.size, 0);
    ckpt_pack_u64(&p, 1);
    assert_int_equal(p.size, 0); /* nothing follows an error */
    free(p.bytes);

    p = (struct ckpt_pack){0};
    text[TEXT_LONGEST] = '\0';
    ckpt_pack_text(&p, text);
    assert_ok(p.err);
    struct ckpt_unpack u = {.bytes = p.bytes, .size = p.size};
    char *back = ckpt_unpack_text(&u);
    assert_string_equal(back, text);
    free(back);
    free(p.bytes);
    free(text);
}

static void what_is_refused(void **state)
{
    static const struct {
        const char *what;
        const char *bytes;
        size_t size;
        bool some; /* ckpt_unpack_some_text, else ckpt_unpack_text */
        enum ckpt_err err;
    } cases[] = {
        {"a text", "\2\0ab", 4, true, CKPT_OK},
        {"an empty one", "\0\0", 2, true, CKPT_OK},
        {"a NUL in it", "\2\0a\0", 4, false, CKPT_ERR_CORRUPT},
        {"longer than the row", "\3\0ab", 4, false, CKPT_ERR_CORRUPT},
        {"the longest, and no bytes", "\xfe\xff", 2, false, CKPT_ERR_CORRUPT},
        {"half a length", "\2", 1, false, CKPT_ERR_CORRUPT},
        {"absent", "\xff\xff", 2, false, CKPT_OK},
        {"absent where one must be", "\xff\xff", 2, true, CKPT_ERR_CORRUPT},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ckpt_unpack u = {.bytes = (const uint8_t *)cases[i].bytes, .size = cases[i].size};
        char *text = cases[i].some ? ckpt_unpack_some_text(&u) : ckpt_unpack_text(&u);
        if (u.err != cases[i].err) {
            fail_msg("%s: %s", cases[i].what, ckpt_err_text(u.err));
        }
        assert_true(text == NULL || u.err == CKPT_OK);
        free(text);
    }
}

/* Before memory is asked for. */
static void a_count_is_bounded_by_what_follows(void **state)
{
    static const struct {
        uint32_t count;
        size_t least;
        size_t follow;
        enum ckpt_err err;
    } cases[] = {
        {0, 8, 0, CKPT_OK},
        {2, 8, 16, CKPT_OK},
        {2, 8, 15, CKPT_ERR_CORRUPT},
        {1, 8, 0, CKPT_ERR_CORRUPT},
        {UINT32_MAX, 8, 100, CKPT_ERR_CORRUPT},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ckpt_pack p = {0};
        ckpt_pack_u32(&p, cases[i].count);
        for (size_t n = 0; n < cases[i].follow; n++) {
            ckpt_pack_u8(&p, 0);
        }
        struct ckpt_unpack u = {.bytes = p.bytes, .size = p.size};
        assert_int_equal(ckpt_unpack_count(&u, cases[i].least), cases[i].err == CKPT_OK ? cases[i].count : 0);
        assert_int_equal(u.err, cases[i].err);
        free(p.bytes);
    }
}

static void after_an_error_all_is_zero(void **state)
{
    (void)state;
    struct ckpt_unpack u = {.bytes = (const uint8_t *)"\xff\xff\xff", .size = 3};
    uint8_t bytes[4] = {1, 1, 1, 1};
    ckpt_unpack_bytes(&u, bytes, sizeof bytes);
    assert_int_equal(u.err, CKPT_ERR_CORRUPT);
    assert_int_equal(bytes[0] | bytes[1] | bytes[2] | bytes[3], 0);
    assert_int_equal(ckpt_unpack_u8(&u), 0); /* though there are bytes */
    assert_int_equal(ckpt_unpack_u16(&u), 0);
    assert_int_equal(ckpt_unpack_count(&u, 1), 0);
    assert_null(ckpt_unpack_text(&u));
    assert_int_equal(u.err, CKPT_ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_comes_back),
        cmocka_unit_test(the_bytes_are_as_documented),
        cmocka_unit_test(cut_anywhere_it_is_damage),
        cmocka_unit_test(strings_have_their_bounds),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(a_count_is_bounded_by_what_follows),
        cmocka_unit_test(after_an_error_all_is_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
