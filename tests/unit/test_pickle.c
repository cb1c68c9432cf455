/*
 * torch's pickles: what is found of the storages that they name, and that they can't take more than they are given.
 */
#include "../fuzz/fuzz.h"
#include "format/pickle.h"
#include "format/pickle_machine.h"
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
    {"by a number behind a text",
     CODE("}(" KEY("\1", "a") KEY("\1", "b") "K\3" TENSOR("IntStorage", "0") "u."),
     {{"0", "3", "IntStorage", 4}}},
    {"by a fraction behind a text",
     CODE("}(" KEY("\1", "a") KEY("\1", "b") "G\x3f\xf8\0\0\0\0\0\0" TENSOR("IntStorage", "0") "u."),
     {{"0", "#1", "IntStorage", 4}}},
    {"beside numbers",
     CODE("}(" KEY("\1", "a") "G\x3f\xf8\0\0\0\0\0\0N" TENSOR("IntStorage", "0") "u."),
     {{"0", "#1", "IntStorage", 4}}},
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

/* ---- Entries of the outermost dictionary ---- */

#define HALF "G\x3f\xe0\0\0\0\0\0\0" /* 0.5 */
/* A NumPy scalar of 8 or 4 bytes, and its order. */
#define DTYPE(type, order) "cnumpy\ndtype\n(" KEY("\2", type) "K\0K\1tR(K\3" KEY("\1", order) "NNNJ\xff\xff\xff\xff" "K\0tb"
#define ENCODED(length, text) "c_codecs\nencode\n" KEY(length, text) KEY("\6", "latin1") "\x86R"
#define SCALAR(type, order, length, text) \
    "cnumpy.core.multiarray\nscalar\n" DTYPE(type, order) ENCODED(length, text) "\x86R"

static const struct entry_row {
    const char *what;
    const char *code;
    size_t size;
    const char *entries; /* "name=number", "group:name=number", "name" of what is no number, each with a space behind it */
} entry_rows[] = {
    {"one number", CODE("}" KEY("\1", "a") "K\7s."), "a=7 "},
    {"numbers of every kind",
     CODE("}(" KEY("\1", "a") "K\7" KEY("\1", "b") "M\1\2" KEY("\1", "c") "J\xff\xff\xff\xff" KEY("\1", "d") HALF
          KEY("\1", "e") "\x8a\0" KEY("\1", "f") "\x8a\1\xfb" KEY("\1", "g") "I12\n" "u."),
     "a=7 b=513 c=-1 d=0.5 e=0 f=-5 g=12 "},
    {"what is no number",
     CODE("}(" KEY("\1", "a") "N" KEY("\1", "b") "\x88" KEY("\1", "c") KEY("\1", "x") KEY("\1", "d") "]" KEY("\1", "e")
          "](K\1eu."),
     "e "},
    {"other names", CODE("}(K\1K\2NK\3K\4" HALF HALF HALF "u."), ""},
    {"OrderedDict", CODE("ccollections\nOrderedDict\n)R(" KEY("\1", "a") HALF "u."), "a=0.5 "},
    {"a dictionary within",
     CODE("}(" KEY("\1", "m") "}(" KEY("\1", "a") HALF KEY("\1", "b") "K\2u" KEY("\1", "c") HALF "u."),
     "c=0.5 m m:a=0.5 m:b=2 "},
    {"without marks", CODE("}" KEY("\1", "m") "}" KEY("\1", "a") HALF "ss."), "m m:a=0.5 "},
    {"two dictionaries deep", CODE("}" KEY("\1", "m") "}" KEY("\1", "n") "}" KEY("\1", "a") HALF "sss."), "m "},
    {"in a list", CODE("}" KEY("\1", "m") "]}" KEY("\1", "a") HALF "sas."), "m "},
    {"in an object's state", CODE("}" KEY("\1", "m") "cnet\nNet\n)\x81}" KEY("\1", "a") HALF "sbs."), "m "},
    {"the outermost is a list", CODE("](" HALF "}" KEY("\1", "a") HALF "se."), ""},
    {"the outermost is a number", CODE("K\1."), ""},
    {"thrown away", CODE("}" KEY("\1", "a") HALF "s0}" KEY("\1", "b") "K\1s."), "b=1 "},
    {"the dictionary itself within", CODE("}q\0" KEY("\1", "a") "h\0s" KEY("\1", "b") HALF "s."), "b=0.5 a a:b=0.5 "},
    {"never finished", CODE("}" KEY("\1", "a") "K\7s"), ""},
    {"marks that are taken for values", CODE("}" KEY("\1", "a") "(s(0(0" KEY("\1", "b") HALF "s."), "b=0.5 "},
    {"NumPy scalars",
     CODE("}(" KEY("\1", "a") SCALAR("f4", "<", "\4", "\0\0\0?") KEY("\1", "b") SCALAR("i2", "<", "\3", "\1\xc3\xbf") "u."),
     "a=0.5 b=-255 "},
    {"of another order of bytes, size, type and coding",
     CODE("}(" KEY("\1", "a") SCALAR("f4", ">", "\4", "?\0\0\0") KEY("\1", "b") SCALAR("f8", "<", "\4", "\0\0\0?")
          KEY("\1", "c") SCALAR("U1", "<", "\4", "\0\0\0?") KEY("\1", "d") SCALAR("f4", "<", "\5", "\0\0\0\xc4\xbf")
          KEY("\1", "e") "cnumpy.core.multiarray\nscalar\nNN\x86Ru."),
     "a b c d e "},
};

static void test_entries_of_the_outermost_dictionary(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof entry_rows / sizeof entry_rows[0]; i++) {
        const struct entry_row *row = &entry_rows[i];
        struct ckpt_pickle pickle = {0};
        char found[256] = "";
        size_t n = 0;
        read_code(row->code, row->size, &pickle);
        for (size_t k = 0; k < pickle.entry_count && n < sizeof found; k++) {
            const struct ckpt_pickle_entry *entry = &pickle.entries[k];
            n += (size_t)snprintf(found + n, sizeof found - n, "%.*s%s%.*s", (int)entry->group.size, entry->group.bytes,
                                  entry->group.size > 0 ? ":" : "", (int)entry->name.size, entry->name.bytes);
            if (entry->is_number && n < sizeof found) {
                n += (size_t)snprintf(found + n, sizeof found - n, "=%g", entry->number);
            }
            if (n + 1 < sizeof found) {
                found[n++] = ' ';
                found[n] = '\0';
            }
        }
        if (strcmp(found, row->entries) != 0) {
            fail_msg("%s: \"%s\" instead of \"%s\"", row->what, found, row->entries);
        }
        ckpt_pickle_clear(&pickle);
    }
}

/* ---- Limits ---- */

struct code {
    char *bytes;
    size_t n;
};

static void add_code(struct code *code, const char *bytes, size_t n, size_t times)
{
    code->bytes = realloc(code->bytes, code->n + n * times);
    assert_non_null(code->bytes);
    for (size_t i = 0; i < times; i++, code->n += n) {
        memcpy(code->bytes + code->n, bytes, n);
    }
}

#define ADD(code, text, times) add_code((code), (text), sizeof(text) - 1, (times))

/* The numbers that are kept, and the room for fractions. */
static void run_code(struct code *code, size_t *numbers, size_t *reals)
{
    struct fuzz_bytes at = {(const uint8_t *)code->bytes, code->n};
    struct ckpt_source source = {fuzz_pread, &at, code->n};
    struct ckpt_machine *machine = calloc(1, sizeof *machine);
    uint64_t root = 0;
    assert_non_null(machine);
    machine->stream.source = &source;
    machine->stream.end = code->n;
    assert_ok(ckpt_machine_run(machine, &root));
    *numbers = machine->values.numbers.count;
    *reals = machine->values.reals.count;
    ckpt_machine_free(machine);
    free(machine);
    free(code->bytes);
    *code = (struct code){0};
}

static void test_numbers_take_little_room(void **state)
{
    struct code code = {0};
    size_t numbers = 0;
    size_t reals = 0;
    (void)state;

    /* A million losses, beside one number. */
    ADD(&code, "}(" KEY("\1", "a") HALF KEY("\1", "l") "](", 1);
    ADD(&code, HALF, 500000);
    ADD(&code, "K\1", 500000);
    ADD(&code, "eu.", 1);
    run_code(&code, &numbers, &reals);
    assert_int_equal(numbers, 1);
    assert_int_equal(reals, 1);

    /* In the outermost dictionary. */
    ADD(&code, "}(", 1);
    ADD(&code, KEY("\1", "a") HALF, 100000);
    ADD(&code, "u.", 1);
    run_code(&code, &numbers, &reals);
    assert_int_equal(numbers, CKPT_VALUE_NUMBERS_MAX);
    assert_int_equal(reals, CKPT_VALUE_REALS_MAX);

    /* In one that stands in it. */
    ADD(&code, "}(" KEY("\1", "m") "}(", 1);
    ADD(&code, KEY("\1", "a") "K\1", 100000);
    ADD(&code, "u" KEY("\1", "b") "K\1u.", 1);
    run_code(&code, &numbers, &reals);
    assert_int_equal(numbers, CKPT_VALUE_NUMBERS_BOX + 1);

    /* In many, and then in the outermost. */
    ADD(&code, "}(", 1);
    ADD(&code, KEY("\1", "m") "}(" KEY("\1", "a") "K\1" KEY("\1", "b") HALF "u", 10000);
    ADD(&code, KEY("\1", "b") "K\1u.", 1);
    run_code(&code, &numbers, &reals);
    assert_int_equal(numbers, CKPT_VALUE_NUMBERS_MAX / 2 + 1);

    /* As an optimizer has them, deeper. */
    ADD(&code, "}(" KEY("\1", "o") "}(" KEY("\1", "s") "}(", 1);
    ADD(&code, KEY("\1", "0") "}(" KEY("\1", "t") "K\1" KEY("\1", "b") HALF "u", 10000);
    ADD(&code, "uuu.", 1);
    run_code(&code, &numbers, &reals);
    assert_int_equal(numbers, 0);
    assert_int_equal(reals, 0);
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
        cmocka_unit_test(test_entries_of_the_outermost_dictionary),
        cmocka_unit_test(test_numbers_take_little_room),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_long_strings_are_not_read),
        cmocka_unit_test(test_no_more_is_read_than_is_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
