/*
 * Ids, checksums and the table of errors.
 */
#include "unit.h"

#include "common/hash.h"
#include <ckpt/err.h>
#include <ckpt/id.h>
#include <errno.h>

static void test_id_is_xxh3_128_in_canonical_order(void **state)
{
    (void)state;
    /* Vectors from xxhsum -H2: a store must stay readable whatever library builds the program. */
    static const struct {
        const char *text;
        const char *hex;
    } vectors[] = {
        {"", "99aa06d3014798d86001c324468d497f"},
        {"abc", "06b05ab6733a618578af5f94892f3950"},
    };
    for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
        char hex[CKPT_ID_HEX];
        struct ckpt_id id = ckpt_id_of(0, 0, vectors[i].text, strlen(vectors[i].text));
        ckpt_id_hex(&id, hex);
        assert_string_equal(hex, vectors[i].hex);
    }
}

static void test_salt_is_added_to_the_seed(void **state)
{
    (void)state;
    struct ckpt_id salted = ckpt_id_of(41, 1, "abc", 3);
    struct ckpt_id next_seed = ckpt_id_of(42, 0, "abc", 3);
    struct ckpt_id plain = ckpt_id_of(41, 0, "abc", 3);
    assert_true(ckpt_id_equal(&salted, &next_seed));
    assert_false(ckpt_id_equal(&salted, &plain));
    /* Past the largest seed it goes on at zero. */
    struct ckpt_id wrapped = ckpt_id_of(UINT64_MAX, 1, "abc", 3);
    struct ckpt_id zero = ckpt_id_of(0, 0, "abc", 3);
    assert_true(ckpt_id_equal(&wrapped, &zero));
}

static void test_checksum_of_two_ranges_is_that_of_the_whole(void **state)
{
    (void)state;
    enum { N = 5000 };
    uint8_t *bytes = unit_noise(N, 1);
    uint64_t whole = ckpt_checksum(7, bytes, N);
    static const size_t cuts[] = {0, 1, 56, 63, 64, 240, 241, 1024, N - 1, N};
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        assert_true(ckpt_checksum2(7, bytes, cuts[i], bytes + cuts[i], N - cuts[i]) == whole);
    }
    assert_true(ckpt_checksum2(8, bytes, 10, bytes + 10, N - 10) != whole);
    assert_true(ckpt_checksum2(7, bytes, N, NULL, 0) == whole);
    free(bytes);
}

static void test_only_the_zero_id_is_zero(void **state)
{
    (void)state;
    struct ckpt_id id = {0};
    assert_true(ckpt_id_is_zero(&id));
    for (size_t i = 0; i < CKPT_ID_SIZE; i++) {
        id.bytes[i] = 1;
        assert_false(ckpt_id_is_zero(&id));
        id.bytes[i] = 0;
    }
}

static void test_every_error_has_a_name_a_text_and_an_errno(void **state)
{
    (void)state;
    for (int err = CKPT_OK; err <= CKPT_ERR_STOPPED; err++) {
        assert_non_null(ckpt_err_name((enum ckpt_err)err));
        assert_non_null(ckpt_err_text((enum ckpt_err)err));
        assert_int_equal(ckpt_err_errno((enum ckpt_err)err) == 0, err == CKPT_OK);
        for (int other = CKPT_OK; other < err; other++) {
            assert_string_not_equal(ckpt_err_name((enum ckpt_err)err),
                                    ckpt_err_name((enum ckpt_err)other));
        }
    }
    /* A code from nowhere is still an error and still has a text. */
    assert_int_equal(ckpt_err_errno((enum ckpt_err)1000), EIO);
    assert_non_null(ckpt_err_text((enum ckpt_err)1000));
}

static void test_errno_becomes_a_code(void **state)
{
    (void)state;
    static const struct {
        int host_errno;
        enum ckpt_err err;
    } table[] = {
        {0, CKPT_OK},
        {ENOMEM, CKPT_ERR_NOMEM},
        {ENOSPC, CKPT_ERR_NOSPC},
        {EDQUOT, CKPT_ERR_NOSPC},
        {EACCES, CKPT_ERR_PERM},
        {EPERM, CKPT_ERR_PERM},
        {ENOENT, CKPT_ERR_NOT_FOUND},
        {ENODATA, CKPT_ERR_NOT_FOUND},
        {EEXIST, CKPT_ERR_EXISTS},
        {EBUSY, CKPT_ERR_BUSY},
        {EINVAL, CKPT_ERR_INVALID},
        {EOPNOTSUPP, CKPT_ERR_UNSUPPORTED},
        {EIO, CKPT_ERR_IO},
        {EMFILE, CKPT_ERR_IO}, /* not listed */
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        assert_int_equal(ckpt_err_from_errno(table[i].host_errno), table[i].err);
    }
}

/* Whichever code the processor gets: a store may move to another one. */
static void test_every_processor_gives_the_same(void **state)
{
    enum { MOST = 5000 };
    uint8_t bytes[MOST];
    (void)state;
    for (size_t i = 0; i < MOST; i++) {
        bytes[i] = (uint8_t)(i * 131 + i / 7);
    }
    for (size_t n = 0; n < MOST; n += 1 + n / 5) {
        struct ckpt_id any = ckpt_hash_any.id(7, bytes, n);
        struct ckpt_id here = ckpt_id_of(7, 0, bytes, n);
        assert_memory_equal(&any, &here, sizeof any);
        assert_int_equal(ckpt_hash_any.checksum(7, bytes, n, bytes, MOST - n),
                         ckpt_checksum2(7, bytes, n, bytes, MOST - n));
        assert_int_equal(ckpt_hash_any.checksum(7, bytes, n, NULL, 0), ckpt_checksum(7, bytes, n));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_processor_gives_the_same),
        cmocka_unit_test(test_id_is_xxh3_128_in_canonical_order),
        cmocka_unit_test(test_salt_is_added_to_the_seed),
        cmocka_unit_test(test_checksum_of_two_ranges_is_that_of_the_whole),
        cmocka_unit_test(test_only_the_zero_id_is_zero),
        cmocka_unit_test(test_every_error_has_a_name_a_text_and_an_errno),
        cmocka_unit_test(test_errno_becomes_a_code),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
