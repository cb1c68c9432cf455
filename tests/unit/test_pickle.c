/*
 * torch's pickles: what is found of the storages that they name, and that they can't take more than they are given.
 */
#include "pickle.h"
#include "../fuzz/fuzz.h"
#include "pickle_stream.h"
#include "unit.h"

/* A storage, and a tensor made of it; ID is one character. */
#define STORAGE(type, id) \
    "(X\7\0\0\0storage" \
    "ctorch\n" type "\nX\1\0\0\0" id "X\3\0\0\0cpuK\2tQ"
#define TENSOR(type, id) "ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE(type, id) "K\0K\2\x85K\1\x85\x89NtR"
#define KEY(length, text) "X" length "\0\0\0" text

struct expected {
    const char *id;
    const char *path; /* NULL: none */
    const char *type;
    uint8_t width;
};

struct row {
    const char *what;
    const char *code;
    size_t size;
    struct expected storages[3];
};

#define CODE(text) (text), sizeof(text) - 1

static const struct row rows[] = {
    {"a tensor alone", CODE(TENSOR("FloatStorage", "0") "."), {{"0", "", "FloatStorage", 4}}},
    {"a storage alone", CODE(STORAGE("ByteStorage", "0") "."), {{"0", "", "ByteStorage", 1}}},
    {"in a dictionary", CODE("}" KEY("\1", "w") TENSOR("HalfStorage", "0") "s."), {{"0", "w", "HalfStorage", 2}}},
    {"several at once",
     CODE("}(" KEY("\1", "w") TENSOR("HalfStorage", "0") KEY("\1", "b") TENSOR("LongStorage", "1") "u."),
     {{"0", "w", "HalfStorage", 2}, {"1", "b", "LongStorage", 8}}},
    {"numbers count, though they aren't kept",
     CODE("](K\1K\2N" TENSOR("IntStorage", "0") "e."),
     {{"0", "3", "IntStorage", 4}}},
    {"by numbers", CODE("}K\7" TENSOR("IntStorage", "0") "s."), {{"0", "7", "IntStorage", 4}}},
    {"by what is no name", CODE("}NNsG\0\0\0\0\0\0\0\0" TENSOR("IntStorage", "0") "s."), {{"0", "#1", "IntStorage", 4}}},
    {"dictionaries within",
     CODE("}" KEY("\5", "model") "}" KEY("\1", "w") TENSOR("BFloat16Storage", "0") "ss."),
     {{"0", "model.w", "BFloat16Storage", 2}}},
    {"OrderedDict",
     CODE("ccollections\nOrderedDict\n)R" KEY("\1", "w") TENSOR("CharStorage", "0") "s."),
     {{"0", "w", "CharStorage", 1}}},
    {"a parameter",
     CODE("}" KEY("\1", "w") "ctorch._utils\n_rebuild_parameter\n(" TENSOR("FloatStorage", "0") "\x88NtRs."),
     {{"0", "w", "FloatStorage", 4}}},
    {"an object's state adds nothing to the path",
     CODE("cnet\nNet\n)\x81}" KEY("\1", "w") TENSOR("FloatStorage", "0") "sb."),
     {{"0", "w", "FloatStorage", 4}}},
    {"arguments of an unknown function",
     CODE("cnet\nmake\nN" TENSOR("FloatStorage", "0") "\x86R."),
     {{"0", "1", "FloatStorage", 4}}},
    {"two tensors of one storage: the first path",
     CODE("](" TENSOR("FloatStorage", "0") TENSOR("FloatStorage", "0") "e."),
     {{"0", "0", "FloatStorage", 4}}},
    {"the same tensor again, from the memo",
     CODE("](" TENSOR("FloatStorage", "0") "q\3h\3e."),
     {{"0", "0", "FloatStorage", 4}}},
    {"a type that is only known to the tensor",
     CODE("ctorch._utils\n_rebuild_tensor_v3\n(" STORAGE("UntypedStorage", "0") "NNNNNctorch\nfloat8_e5m2\nNtR."),
     {{"0", "", "float8_e5m2", 1}}},
    {"an unknown type", CODE(TENSOR("NewStorage", "0") "."), {{"0", "", "", 0}}},
    {"the class named on the stack (protocol 4)",
     CODE("(X\7\0\0\0storage\x8c\5torch\x8c\15DoubleStorage\x93X\1\0\0\0000X\3\0\0\0cpuK\2tQ."),
     {{"0", "", "DoubleStorage", 8}}},
    {"thrown away", CODE(TENSOR("FloatStorage", "0") "0N."), {{"0", NULL, "FloatStorage", 4}}},
    {"never finished", CODE("}" KEY("\1", "w") TENSOR("FloatStorage", "0") "s"), {{"0", NULL, "FloatStorage", 4}}},
    {"another kind of persistent thing", CODE("(X\6\0\0\0moduleNX\1\0\0\0000tQ."), {{NULL, NULL, NULL, 0}}},
};

static void read_code(const void *code, size_t n, struct ckpt_pickle *pickle)
{
    struct fuzz_bytes at = {code, n};
    struct ckpt_source source = {fuzz_pread, &at, n};
    assert_ok(ckpt_pickle_read(&source, 0, n, pickle));
}

static void check_name(const struct row *row, struct ckpt_name name, const char *text)
{
    if ((text == NULL) != (name.bytes == NULL) || (text != NULL && !ckpt_name_is(name, text))) {
        fail_msg("%s: %.*s instead of %s", row->what, (int)name.size, name.bytes, text);
    }
}

static void test_storages_have_paths_and_types(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct row *row = &rows[i];
        struct ckpt_pickle pickle = {0};
        size_t count = 0;
        read_code(row->code, row->size, &pickle);
        for (; count < 3 && row->storages[count].id != NULL; count++) {
            const struct expected *expected = &row->storages[count];
            struct ckpt_name id = {expected->id, strlen(expected->id)};
            const struct ckpt_storage *storage = ckpt_pickle_find(&pickle, id);
            if (storage == NULL) {
                fail_msg("%s: storage %s isn't found", row->what, expected->id);
            }
            check_name(row, storage->path, expected->path);
            check_name(row, storage->type, expected->type);
            assert_int_equal(storage->width, expected->width);
        }
        if (pickle.count != count) {
            fail_msg("%s: %zu storages instead of %zu", row->what, pickle.count, count);
        }
        ckpt_pickle_clear(&pickle);
    }
}

/* A tensor, then something so often that a limit is reached: what was found stays, without paths. */
static void test_limits(void **state)
{
    static const char tensor[] = "]q\0" TENSOR("FloatStorage", "0") "a";
    static char long_text[5 + CKPT_PICKLE_TEXT_MAX] = "X\0\4\0\0";
    static const struct {
        const char *what;
        const char *code;
        size_t size;
        size_t times;
        bool fits;
    } limits[] = {
        {"the stack", CODE("N"), (1 << 20) - 2, true},
        {"the stack", CODE("N"), 1 << 20, false},
        {"boxes", CODE("]0"), (2 << 20) - 4, true},
        {"boxes", CODE("]0"), 2 << 20, false},
        {"children", CODE("h\0h\0a0"), (2 << 20) - 6, true},
        {"children", CODE("h\0h\0a0"), 2 << 20, false},
        {"the memo", CODE("\x94"), (4 << 20) - 1, true},
        {"the memo", CODE("\x94"), 4 << 20, false},
        {"places in the memo that are far away", CODE("r\0\0\x3f\0"), 1000, true},
        {"text", long_text, sizeof long_text, 33 << 10, false},
        {"text that is let go", "X\0\0\0\0000", 6, 1 << 20, true},
        {"namings", CODE(STORAGE("FloatStorage", "0") "0"), 1 << 10, true},
    };
    (void)state;
    memset(long_text + 5, 'x', CKPT_PICKLE_TEXT_MAX);
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++) {
        size_t n = sizeof tensor - 1 + limits[i].size * limits[i].times + 3;
        char *code = malloc(n);
        struct ckpt_pickle pickle = {0};
        assert_non_null(code);
        memcpy(code, tensor, sizeof tensor - 1);
        for (size_t k = 0; k < limits[i].times; k++) {
            memcpy(code + sizeof tensor - 1 + k * limits[i].size, limits[i].code, limits[i].size);
        }
        memcpy(code + n - 3, "h\0.", 3);
        read_code(code, n, &pickle);
        assert_int_equal(pickle.count, 1);
        assert_int_equal(pickle.list[0].width, 4);
        if ((pickle.list[0].path.bytes != NULL) != limits[i].fits) {
            fail_msg("%s: %zu times %s", limits[i].what, limits[i].times, limits[i].fits ? "failed" : "fitted");
        }
        ckpt_pickle_clear(&pickle);
        free(code);
    }
}

/* Bytes of which only the opcodes are there; COUNT is what was read. */
struct huge {
    const char *code;
    size_t code_size;
    uint64_t read;
};

static int huge_pread(void *arg, void *buf, size_t n, uint64_t offset)
{
    struct huge *huge = arg;
    memset(buf, 'N', n);
    if (offset < huge->code_size) {
        size_t some = huge->code_size - (size_t)offset;
        memcpy(buf, huge->code + offset, some < n ? some : n);
    }
    huge->read += n;
    return 0;
}

static void test_long_strings_are_not_read(void **state)
{
    /* BINBYTES8 of 1 TiB. */
    static const char code[] = "]" TENSOR("FloatStorage", "0") "a\x8e\0\0\0\0\0\1\0\0";
    struct huge huge = {code, sizeof code - 1, 0};
    uint64_t size = sizeof code - 1 + (UINT64_C(1) << 40) + 1;
    struct ckpt_source source = {huge_pread, &huge, size};
    struct ckpt_pickle pickle = {0};
    (void)state;
    assert_ok(ckpt_pickle_read(&source, 0, size, &pickle));
    assert_int_equal(pickle.count, 1);
    assert_in_range(huge.read, 1, 2 * CKPT_PICKLE_BUFFER);
    ckpt_pickle_clear(&pickle);
}

static void test_no_more_is_read_than_is_allowed(void **state)
{
    /* FLOAT, a line that doesn't end. */
    static const char code[] = TENSOR("FloatStorage", "0") "F";
    struct huge huge = {code, sizeof code - 1, 0};
    struct ckpt_source source = {huge_pread, &huge, UINT64_C(1) << 40};
    struct ckpt_pickle pickle = {0};
    (void)state;
    assert_ok(ckpt_pickle_read(&source, 0, source.size, &pickle));
    assert_int_equal(pickle.count, 1);
    assert_in_range(huge.read, 1, (uint64_t)CKPT_PICKLE_READ_MAX + 2 * CKPT_PICKLE_BUFFER);
    ckpt_pickle_clear(&pickle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_storages_have_paths_and_types),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_long_strings_are_not_read),
        cmocka_unit_test(test_no_more_is_read_than_is_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
