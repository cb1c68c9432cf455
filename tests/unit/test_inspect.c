/*
 * What the content of a file says: samples as trainers write them (tests/files/make-inspect), the state that they hold, and
 * that no bytes whatsoever do any harm.
 */
#include "../fuzz/fuzz.h"
#include "samples.h"
#include "unit.h"

#include "chunk/codec.h"
#include "file/plan.h"
#include "format/pickle_stream.h"
#include "object/garbage.h"
#include "publish/inspect.h"
#include <ckpt/catalog.h>
#include <ckpt/engine.h>
#include <fcntl.h>
#include <math.h>

enum { NONE = -1, VALUES = 20, SMALL_SAMPLE = 16 << 10 };

struct row {
    const char *name;
    enum ckpt_holds holds;
    int64_t epoch; /* NONE */
    int64_t step;
    struct {
        const char *name;
        double value;
    } values[VALUES]; /* all that are told, in any order */
};

static const struct row rows[] = {
    /* torch */
    {"last.pt", CKPT_HOLDS_FULL, 3, NONE, {{"best_acc1", 76.125}}},
    {"epoch_3.pt", CKPT_HOLDS_FULL, 3, NONE, {{"best_acc1", 76.125}}},
    {"weights.pt", CKPT_HOLDS_WEIGHTS, NONE, NONE, {{NULL, 0}}},
    {"module.pt", CKPT_HOLDS_WEIGHTS, NONE, NONE, {{NULL, 0}}},
    {"optimizer.pt", CKPT_HOLDS_OPTIMIZER, NONE, NONE, {{NULL, 0}}},
    {"sgd.pt", CKPT_HOLDS_FULL, NONE, 1999, {{NULL, 0}}},        /* "optimizer" has no tensors */
    {"deepspeed.pt", CKPT_HOLDS_WEIGHTS, NONE, 40, {{NULL, 0}}}, /* "optimizer" is None */
    {"named.pt", CKPT_HOLDS_WEIGHTS, NONE, NONE, {{NULL, 0}}},   /* "optimizer" is a word, and "args" has an epoch */
    {"lightning.ckpt", CKPT_HOLDS_FULL, 4, 1250, {{NULL, 0}}},
    {"meta.pth", CKPT_HOLDS_WEIGHTS, 12, 3000, {{NULL, 0}}},
    {"numbers.pt",
     CKPT_HOLDS_WEIGHTS,
     12,
     70,
     {{"val_loss", 0.1},     {"best_acc", 0.9},       {"train_loss", 0.25},   {"recall", -3},     {"f1", 0.5},
      {"best_prec1", 93.5},  {"psnr", -7},            {"half_loss", 1.5},     {"bf16_loss", -2.5}, {"reward", -5},
      {"return", -0x1p40},   {"nll_loss", NAN},       {"top5", 98},           {"mAP50(B)", 0.75}, {"fitness", 0.5},
      {"val/loss", 0.375},   {"val/acc", 0.625},      {"test/loss", 0.125},   {"val_acc", 0.0625}}},
    /* safetensors: numbers of other names too */
    {"model.safetensors", CKPT_HOLDS_WEIGHTS, 5, 1200, {{"val_loss", 0.15}, {"size", 12}}},
    {"ema.safetensors", CKPT_HOLDS_EMA, NONE, NONE, {{NULL, 0}}},
    {"full.safetensors", CKPT_HOLDS_FULL, NONE, 17, {{NULL, 0}}},
    /* DCP: torch 1.13, then as torch 2.5 has it */
    {"dcp.metadata", CKPT_HOLDS_FULL, NONE, NONE, {{NULL, 0}}},
    {"dcp-weights.metadata", CKPT_HOLDS_WEIGHTS, NONE, NONE, {{NULL, 0}}},
    {"dcp-optimizer.metadata", CKPT_HOLDS_OPTIMIZER, NONE, NONE, {{NULL, 0}}},
    {"dcp-2.metadata", CKPT_HOLDS_FULL, NONE, NONE, {{NULL, 0}}},
    {"dcp-2-weights.metadata", CKPT_HOLDS_WEIGHTS, NONE, NONE, {{NULL, 0}}},
    {"dcp-2-sgd.metadata", CKPT_HOLDS_FULL, NONE, NONE, {{NULL, 0}}}, /* an optimizer without tensors */
    {"dcp-2-bytes.metadata", CKPT_HOLDS_EXTRA, NONE, NONE, {{NULL, 0}}},
    /* NumPy */
    {"arrays.npz", CKPT_HOLDS_UNKNOWN, NONE, NONE, {{NULL, 0}}},
    {"state.npz", CKPT_HOLDS_FULL, NONE, NONE, {{NULL, 0}}},
    /* Keras: that there is no optimizer isn't seen */
    {"full.h5", CKPT_HOLDS_FULL, NONE, NONE, {{NULL, 0}}},
    {"inference.h5", CKPT_HOLDS_UNKNOWN, NONE, NONE, {{NULL, 0}}},
    {"full.weights.h5", CKPT_HOLDS_FULL, NONE, NONE, {{NULL, 0}}},
    {"latest.h5", CKPT_HOLDS_UNKNOWN, NONE, NONE, {{NULL, 0}}},
    {"full.keras", CKPT_HOLDS_FULL, NONE, NONE, {{NULL, 0}}},
    {"plain.keras", CKPT_HOLDS_UNKNOWN, NONE, NONE, {{NULL, 0}}},
};

static uint8_t *read_sample(const char *name, size_t *n)
{
    char path[SAMPLE_PATH];
    (void)snprintf(path, sizeof path, "%s/inspect/%s", CKPT_FILES, name);
    return sample_read(path, n);
}

static enum ckpt_err inspect(const uint8_t *bytes, size_t n, const char *name, struct ckpt_inspection *out)
{
    struct fuzz_bytes at = {bytes, n};
    struct ckpt_source source = {.pread = fuzz_pread, .arg = &at, .size = n};
    return ckpt_inspect(&source, name, out);
}

/* ---- What is told ---- */

static void check_count(const char *what, const char *name, bool has, uint64_t count, int64_t expected)
{
    if (has != (expected != NONE) || (has && count != (uint64_t)expected)) {
        fail_msg("%s: %s %d %llu instead of %lld", name, what, (int)has, (unsigned long long)count,
                 (long long)expected);
    }
}

static void check_values(const struct row *row, const struct ckpt_inspection *told)
{
    size_t count = 0;
    for (; count < VALUES && row->values[count].name != NULL; count++) {
        size_t i = 0;
        while (i < told->n_values && strcmp(told->values[i].name, row->values[count].name) != 0) {
            i++;
        }
        if (i == told->n_values) {
            fail_msg("%s: no %s", row->name, row->values[count].name);
        }
        double value = told->values[i].value;
        double expected = row->values[count].value;
        if (isnan(expected) ? !isnan(value) : !(value == expected)) {
            fail_msg("%s: %s is %.17g", row->name, row->values[count].name, value);
        }
    }
    if (told->n_values != count) {
        fail_msg("%s: %zu values instead of %zu; the last is %s", row->name, told->n_values, count,
                 told->values[told->n_values - 1].name);
    }
}

static void check_row(const struct row *row, const struct ckpt_inspection *told)
{
    assert_int_equal(told->validity, CKPT_VALIDITY_VALID);
    assert_string_equal(told->why, "");
    if (told->holds != row->holds) {
        fail_msg("%s holds %d instead of %d", row->name, (int)told->holds, (int)row->holds);
    }
    check_count("epoch", row->name, told->has_epoch, told->epoch, row->epoch);
    check_count("step", row->name, told->has_step, told->step, row->step);
    check_values(row, told);
}

static void test_samples_say_what_they_are(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ckpt_inspection told;
        size_t n = 0;
        uint8_t *bytes = read_sample(rows[i].name, &n);
        assert_ok(inspect(bytes, n, rows[i].name, &told));
        check_row(&rows[i], &told);
        free(bytes);
    }
}

static void test_of_an_invalid_file_nothing_is_told(void **state)
{
    struct ckpt_inspection told;
    size_t n = 0;
    uint8_t *bytes = read_sample("full.safetensors", &n);
    (void)state;
    assert_ok(inspect(bytes, n - 1, "full.safetensors", &told));
    assert_int_equal(told.validity, CKPT_VALIDITY_INVALID);
    assert_string_equal(told.format, "safetensors");
    assert_true(told.why[0] != '\0');
    assert_int_equal(told.holds, CKPT_HOLDS_UNKNOWN);
    assert_false(told.has_step);
    free(bytes);
}

/* A safetensors file without tensors, whose metadata is TEXT. */
static void inspect_metadata(const char *text, struct ckpt_inspection *told)
{
    char file[16 << 10];
    int n = snprintf(file + 8, sizeof file - 8, "{\"__metadata__\":{%s}}", text);
    assert_in_range(n, 1, sizeof file - 9);
    memset(file, 0, 8);
    file[0] = (char)(n & 0xff);
    file[1] = (char)(n >> 8);
    assert_ok(inspect((const uint8_t *)file, (size_t)n + 8, "a.safetensors", told));
    assert_int_equal(told->validity, CKPT_VALIDITY_VALID);
}

static void test_what_names_mean(void **state)
{
    static const struct {
        const char *text;
        int64_t epoch;
        int64_t step;
    } names[] = {
        {"\"epoch\":\"3\"", 3, NONE},
        {"\"Epoch\":\"3\"", 3, NONE},
        {"\"current_epoch\":\"4\",\"epoch\":\"3\"", 3, NONE},
        {"\"epoch\":\"3\",\"current_epoch\":\"4\"", 3, NONE},
        {"\"epoch\":\"1.5\"", NONE, NONE},
        {"\"epoch\":\"-1\"", NONE, NONE},
        {"\"epoch\":\"1e30\"", NONE, NONE},
        {"\"epochs\":\"100\",\"max_steps\":\"5\",\"best_epoch\":\"2\"", NONE, NONE},
        {"\"step\":\"1\",\"global_step\":\"2\"", NONE, 2},
        {"\"iteration\":\"7\"", NONE, 7},
        {"\"ss_epoch\":\"2\",\"ss_steps\":\"900\"", 2, 900},
    };
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct ckpt_inspection told;
        inspect_metadata(names[i].text, &told);
        check_count("epoch", names[i].text, told.has_epoch, told.epoch, names[i].epoch);
        check_count("step", names[i].text, told.has_step, told.step, names[i].step);
    }
}

/* There is no room for all: metrics stay, whatever comes first. */
static void test_metrics_go_before_other_numbers(void **state)
{
    char text[8 << 10];
    size_t n = 0;
    struct ckpt_inspection told;
    (void)state;
    for (int i = 0; i < 40; i++) {
        n += (size_t)snprintf(text + n, sizeof text - n, "\"size%d\":\"%d\",", i, i);
    }
    for (int i = 0; i < 31; i++) {
        n += (size_t)snprintf(text + n, sizeof text - n, "\"val%d_loss\":\"%d\",", i, i);
    }
    text[n - 1] = '\0';
    inspect_metadata(text, &told);
    assert_int_equal(told.n_values, CKPT_INSPECT_VALUES);
    for (size_t i = 0; i < 31; i++) {
        assert_non_null(strstr(told.values[i].name, "_loss"));
        assert_true(told.values[i].value == (double)i);
    }
    assert_non_null(strstr(told.values[31].name, "size"));
}

static void test_names_that_cannot_be_shown(void **state)
{
    char text[512];
    struct ckpt_inspection told;
    (void)state;
    (void)snprintf(text, sizeof text, "\"a\x7f\":\"1\",\"\xc3\xa4\":\"2\",\"\":\"3\",\"%0200d\":\"4\",\"%0127d\":\"5\"", 0,
                   0);
    inspect_metadata(text, &told);
    assert_int_equal(told.n_values, 1);
    assert_int_equal(strlen(told.values[0].name), CKPT_INSPECT_NAME - 1);
    assert_true(told.values[0].value == 5);
}

/* ---- Hostile bytes ---- */

/* The pickle of an object that has the dictionary NAMES, and what describes a tensor, and bytes, in it. */
#define METADATA(names) "\x80\2cm\nMetadata\n)\x81}X\x13\0\0\0state_dict_metadata" names "sb."
#define A_TENSOR "cm\nTensor\n)\x81}X\4\0\0\0sizeNsb"
#define BYTES "cm\nBytes\n)\x81"
#define NAMED(object) "X\1\0\0\0w" object "s"

static void test_what_is_no_metadata_says_nothing(void **state)
{
    static const struct {
        const char *what;
        const char *code;
        size_t size;
        enum ckpt_holds holds;
    } codes[] = {
#define CODE(text) (text), sizeof(text) - 1
        {"a tensor", CODE(METADATA("}" NAMED(A_TENSOR))), CKPT_HOLDS_WEIGHTS},
        {"an optimizer's", CODE(METADATA("}X\7\0\0\0optim.w" A_TENSOR "s")), CKPT_HOLDS_OPTIMIZER},
        {"bytes", CODE(METADATA("}" NAMED(BYTES))), CKPT_HOLDS_UNKNOWN},
        {"bytes, before Python 3.11", CODE(METADATA("}" NAMED(BYTES "}b"))), CKPT_HOLDS_UNKNOWN},
        {"a number", CODE(METADATA("}" NAMED("K\1"))), CKPT_HOLDS_UNKNOWN},
        {"a number as the name", CODE(METADATA("}K\1" A_TENSOR "s")), CKPT_HOLDS_UNKNOWN},
        {"a list", CODE(METADATA("]" A_TENSOR "a")), CKPT_HOLDS_UNKNOWN},
        {"none", CODE(METADATA("N")), CKPT_HOLDS_UNKNOWN},
        {"in itself", CODE(METADATA("}q\0" NAMED("h\0"))), CKPT_HOLDS_UNKNOWN},
        {"another attribute", CODE("\x80\2cm\nMetadata\n)\x81}" NAMED("}" NAMED(A_TENSOR)) "b."), CKPT_HOLDS_UNKNOWN},
        {"no attributes", CODE("\x80\2cm\nMetadata\n)\x81."), CKPT_HOLDS_UNKNOWN},
        {"no object", CODE("\x80\2}X\x13\0\0\0state_dict_metadata}" NAMED(A_TENSOR) "s."), CKPT_HOLDS_UNKNOWN},
        {"its own state", CODE("\x80\2cm\nMetadata\n)\x81q\0h\0b."), CKPT_HOLDS_UNKNOWN},
        {"nothing", CODE("\x80\2."), CKPT_HOLDS_UNKNOWN},
        {"an unknown opcode", CODE("\x80\2\xff."), CKPT_HOLDS_UNKNOWN},
#undef CODE
    };
    (void)state;
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        struct ckpt_inspection told;
        assert_ok(inspect((const uint8_t *)codes[i].code, codes[i].size, ".metadata", &told));
        assert_int_equal(told.validity, CKPT_VALIDITY_VALID);
        if (told.holds != codes[i].holds) {
            fail_msg("%s: %d instead of %d", codes[i].what, (int)told.holds, (int)codes[i].holds);
        }
    }
}

/* Of a part of the names nothing follows: the optimizer's may be the others. */
static void test_a_metadata_that_is_cut_says_nothing(void **state)
{
    struct ckpt_inspection told;
    size_t n = 0;
    uint8_t *bytes = read_sample("dcp.metadata", &n);
    (void)state;
    for (size_t cut = 1; cut < n; cut++) {
        assert_ok(inspect(bytes, cut, ".metadata", &told));
        assert_int_equal(told.validity, bytes[cut - 1] == '.' ? CKPT_VALIDITY_VALID : CKPT_VALIDITY_INVALID);
        assert_int_equal(told.holds, CKPT_HOLDS_UNKNOWN);
    }
    free(bytes);
}

/* One tensor's name, then something so often that a limit is reached. */
static void test_a_metadata_that_is_too_big_says_nothing(void **state)
{
    enum { LONG = CKPT_PICKLE_TEXT_MAX };
    static const char before[] = "q\0000cm\nBytes\n)\x81q\0010"
                                 "cm\nMetadata\n)\x81}X\x13\0\0\0state_dict_metadata}" NAMED(A_TENSOR);
    static const struct {
        const char *code;
        size_t size;
        size_t times;
        enum ckpt_holds holds;
    } fillers[] = {
        {"]0", 2, 1 << 20, CKPT_HOLDS_WEIGHTS},
        {"]0", 2, 2 << 20, CKPT_HOLDS_UNKNOWN}, /* boxes */
        {"h\0h\1s", 5, 1 << 14, CKPT_HOLDS_WEIGHTS},
        {"h\0h\1s", 5, 1 << 16, CKPT_HOLDS_UNKNOWN}, /* one long name again and again */
    };
    (void)state;
    for (size_t i = 0; i < sizeof fillers / sizeof fillers[0]; i++) {
        struct ckpt_inspection told;
        size_t room = LONG + sizeof before + fillers[i].size * fillers[i].times + 16;
        uint8_t *code = malloc(room);
        assert_non_null(code);
        size_t n = 0;
        memcpy(code, "\x80\2X\0\4\0\0", 7);
        memset(code + 7, 'x', LONG);
        n = 7 + LONG;
        memcpy(code + n, before, sizeof before - 1);
        n += sizeof before - 1;
        for (size_t k = 0; k < fillers[i].times; k++) {
            memcpy(code + n, fillers[i].code, fillers[i].size);
            n += fillers[i].size;
        }
        memcpy(code + n, "sb.", 3);
        assert_ok(inspect(code, n + 3, ".metadata", &told));
        assert_int_equal(told.holds, fillers[i].holds);
        free(code);
    }
}

/* Is what it says it is, or nothing. */
static void check_any(const uint8_t *bytes, size_t n, const char *name)
{
    struct ckpt_inspection told;
    assert_ok(inspect(bytes, n, name, &told));
    assert_true(told.n_values <= CKPT_INSPECT_VALUES);
    for (size_t i = 0; i < told.n_values; i++) {
        size_t length = strnlen(told.values[i].name, CKPT_INSPECT_NAME);
        assert_in_range(length, 1, CKPT_INSPECT_NAME - 1);
        for (size_t k = 0; k < length; k++) {
            assert_in_range(told.values[i].name[k], ' ', '~');
        }
    }
    if (told.validity == CKPT_VALIDITY_INVALID) {
        assert_int_equal(told.holds, CKPT_HOLDS_UNKNOWN);
        assert_int_equal(told.n_values, 0);
    }
}

static void damage_sample(const char *path, const uint8_t *bytes, size_t n, void *arg)
{
    uint64_t *random = arg;
    size_t step = n > SMALL_SAMPLE ? n / 1024 : 1;
    for (size_t i = 0; i < n; i += step) {
        /* In memory of exactly that size, so that the sanitizer sees a step beyond it. */
        uint8_t *copy = malloc(n);
        assert_non_null(copy);
        memcpy(copy, bytes, n);
        copy[i] ^= (uint8_t)(1 + unit_random(random) % 255);
        check_any(copy, n, path);
        free(copy);
        copy = malloc(i + 1);
        assert_non_null(copy);
        memcpy(copy, bytes, i + 1);
        check_any(copy, i + 1, path);
        free(copy);
    }
}

static void test_samples_damaged_in_any_way(void **state)
{
    uint64_t random = 1;
    (void)state;
    assert_true(sample_walk("inspect", damage_sample, &random) > 20);
}

static void check_sample(const char *path, const uint8_t *bytes, size_t n, void *arg)
{
    (void)arg;
    check_any(bytes, n, path);
}

static void check_metadata(const char *path, const uint8_t *bytes, size_t n, void *arg)
{
    (void)path;
    (void)arg;
    check_any(bytes, n, ".metadata");
}

static void test_samples_of_the_readers(void **state)
{
    static const char *const folders[] = {"good", "bad", "fuzz/zip", "fuzz/safetensors", "validity"};
    (void)state;
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        assert_true(sample_walk(folders[i], check_sample, NULL) > 10);
    }
    assert_true(sample_walk("fuzz/pickle", check_metadata, NULL) > 10);
}

/* A file of which the Nth read fails. */
struct failing {
    struct fuzz_bytes bytes;
    unsigned left;
};

static int failing_pread(void *arg, void *buf, size_t n, uint64_t offset)
{
    struct failing *failing = arg;
    return failing->left-- == 0 ? -1 : fuzz_pread(&failing->bytes, buf, n, offset);
}

static void test_a_read_that_fails_is_an_io_error(void **state)
{
    static const char *const names[] = {"numbers.pt", "model.safetensors", "state.npz", "full.h5", "full.keras",
                                        "dcp.metadata"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        size_t n = 0;
        uint8_t *bytes = read_sample(names[i], &n);
        enum ckpt_err err = CKPT_ERR_IO;
        unsigned reads = 0;
        for (; err != CKPT_OK; reads++) {
            struct failing failing = {{bytes, n}, reads};
            struct ckpt_source source = {.pread = failing_pread, .arg = &failing, .size = n};
            struct ckpt_inspection told;
            err = ckpt_inspect(&source, names[i], &told);
            assert_true(err == CKPT_OK || err == CKPT_ERR_IO);
            if (err != CKPT_OK) {
                assert_int_equal(told.holds, CKPT_HOLDS_UNKNOWN);
                assert_int_equal(told.n_values, 0);
            }
        }
        assert_in_range(reads, 3, 1000);
        free(bytes);
    }
}

/* ---- States ---- */

/* The recipe that a file gets, as ingest_chunks.c makes it, without a store. */
static void recipe_of(const char *name, struct ckpt_recipe *recipe)
{
    size_t n = 0;
    uint8_t *bytes = read_sample(name, &n);
    uint8_t *raw = malloc(n);
    struct fuzz_bytes at = {bytes, n};
    struct ckpt_source source = {.pread = fuzz_pread, .arg = &at, .size = n};
    struct ckpt_parts parts = {0};
    struct ckpt_plan plan;
    assert_non_null(raw);
    ckpt_recipe_init(recipe);
    assert_ok(ckpt_container_read(&source, &parts));
    assert_ok(ckpt_plan_make(&parts, n, &plan));
    for (size_t i = 0; i < plan.count; i++) {
        const struct ckpt_step *step = &plan.steps[i];
        size_t size = 0;
        for (size_t k = 0; k < step->pieces; k++) {
            const struct ckpt_piece *piece = &plan.pieces[step->first + k];
            memcpy(raw + size, bytes + piece->offset, piece->size);
            size += piece->size;
        }
        struct ckpt_recipe_chunk chunk = {.id = ckpt_id_of(7, 0, raw, size),
                                          .size = (uint32_t)(size > 0 ? size : step->size),
                                          .width = step->width,
                                          .key = step->key};
        assert_ok(ckpt_recipe_add(recipe, &chunk));
    }
    ckpt_plan_clear(&plan);
    ckpt_parts_clear(&parts);
    free(raw);
    free(bytes);
}

static void test_equal_states_in_different_files(void **state)
{
    static const struct {
        const char *one;
        const char *other;
        bool same;
    } pairs[] = {
        {"last.pt", "epoch_3.pt", true},          /* one state under two names, which torch writes into the file */
        {"weights.pt", "weights-again.pt", true}, /* another class of dictionary */
        {"weights.pt", "weights-later.pt", false},
        {"last.pt", "weights.pt", false},
        {"sgd.pt", "last.pt", false},
        {"model.safetensors", "full.safetensors", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        struct ckpt_recipe recipes[2];
        struct ckpt_id states[2];
        bool known[2];
        recipe_of(pairs[i].one, &recipes[0]);
        recipe_of(pairs[i].other, &recipes[1]);
        for (size_t k = 0; k < 2; k++) {
            assert_ok(ckpt_inspect_state(&recipes[k], &states[k], &known[k]));
            assert_true(known[k]);
            ckpt_recipe_clear(&recipes[k]);
        }
        if (ckpt_id_equal(&states[0], &states[1]) != pairs[i].same) {
            fail_msg("%s and %s: the states %s", pairs[i].one, pairs[i].other, pairs[i].same ? "differ" : "are equal");
        }
    }
}

static struct ckpt_id state_of(const struct ckpt_recipe_chunk *chunks, size_t n, bool *known)
{
    struct ckpt_recipe recipe;
    struct ckpt_id state = {{0}};
    ckpt_recipe_init(&recipe);
    for (size_t i = 0; i < n; i++) {
        assert_ok(ckpt_recipe_add(&recipe, &chunks[i]));
    }
    assert_ok(ckpt_inspect_state(&recipe, &state, known));
    ckpt_recipe_clear(&recipe);
    return state;
}

static void test_what_a_state_is(void **state)
{
    struct ckpt_recipe_chunk chunks[] = {
        {.id = {{1}}, .size = 4, .width = 4, .key = 10},
        {.id = {{2}}, .size = 4, .width = 4, .key = 20},
        {.id = {{3}}, .size = 4, .width = 0, .key = 30}, /* bytes between */
        {.id = {{4}}, .size = 4, .width = 4, .key = 0},
    };
    struct ckpt_recipe_chunk turned[] = {chunks[1], chunks[0]};
    struct ckpt_recipe_chunk other[] = {chunks[0], chunks[1]};
    bool known = false;
    (void)state;
    struct ckpt_id all = state_of(chunks, 4, &known);
    assert_true(known);
    struct ckpt_id any_order = state_of(turned, 2, &known);
    assert_true(ckpt_id_equal(&all, &any_order));
    struct ckpt_id fewer = state_of(chunks, 1, &known);
    assert_false(ckpt_id_equal(&all, &fewer));
    other[1].id.bytes[15] = 1;
    struct ckpt_id other_bytes = state_of(other, 2, &known);
    assert_false(ckpt_id_equal(&all, &other_bytes));
    other[1] = chunks[1];
    other[1].key = 21;
    struct ckpt_id other_name = state_of(other, 2, &known);
    assert_false(ckpt_id_equal(&all, &other_name));
    (void)state_of(chunks + 2, 2, &known);
    assert_false(known);
    (void)state_of(chunks, 0, &known);
    assert_false(known);
}

/* ---- Versions ---- */

struct world {
    struct unit_store *u;
    struct ckpt_filter *filter;
    struct ckpt_engine *engine;
    struct ckpt_codec *codec;
};

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    void *u = NULL;
    assert_non_null(w);
    assert_int_equal(unit_store_setup(&u), 0);
    w->u = u;
    assert_ok(ckpt_filter_parse("default:*.metadata", &w->filter, NULL));
    assert_ok(ckpt_codec_create(&w->codec));
    struct ckpt_engine_config config = {.threads = 2, .hot_limit = UINT64_MAX, .filter = w->filter};
    assert_ok(ckpt_engine_start(w->u->store, &config, &w->engine));
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    void *u = w->u;
    ckpt_engine_stop(w->engine, true);
    ckpt_filter_free(w->filter);
    ckpt_codec_free(w->codec);
    assert_int_equal(unit_store_teardown(&u), 0);
    free(w);
    return 0;
}

/* The recipe of the sample, saved in the store. */
static struct ckpt_id save(struct world *w, const char *name)
{
    unsigned still_open = 0;
    struct ckpt_version version;
    size_t n = 0;
    uint8_t *bytes = read_sample(name, &n);
    int fd = openat(ckpt_store_livefd(w->u->store), name, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), n);
    assert_int_equal(close(fd), 0);
    fd = openat(ckpt_store_livefd(w->u->store), name, O_PATH | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_ok(ckpt_engine_capture(w->engine, fd));
    assert_int_equal(close(fd), 0);
    assert_ok(ckpt_engine_flush(w->engine, &still_open));
    assert_ok(ckpt_catalog_version(w->u->store, CKPT_DIR_ROOT, name, 0, &version));
    free(bytes);
    return version.recipe;
}

static void test_versions_say_the_same(void **state)
{
    struct world *w = *state;
    struct ckpt_id states[2];
    bool known = false;
    struct ckpt_inspection told;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ckpt_id recipe = save(w, rows[i].name);
        assert_ok(ckpt_inspect_version(w->u->store, w->codec, &recipe, rows[i].name, &told, &states[i % 2], &known));
        check_row(&rows[i], &told);
        assert_false(ckpt_is_pinned(w->u->store, &recipe));
        if (i == 1) {
            assert_true(known);
            assert_true(ckpt_id_equal(&states[0], &states[1])); /* last.pt and epoch_3.pt */
        }
    }
    assert_int_equal(w->u->reports, 0);
}

static void load(struct world *w, const struct ckpt_id *id, struct ckpt_recipe *recipe)
{
    struct ckpt_txn *txn = NULL;
    ckpt_recipe_init(recipe);
    assert_ok(ckpt_txn_read(w->u->store->db, &txn));
    assert_ok(ckpt_recipe_load(w->u->store, w->codec, txn, id, recipe));
    ckpt_txn_abort(txn);
}

/* The record of object ID loses a bit. */
static void damage(struct world *w, const struct ckpt_id *id)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_slice value;
    assert_ok(ckpt_txn_write(w->u->store->db, &txn));
    assert_ok(ckpt_db_get(txn, CKPT_TABLE_OBJECTS, id->bytes, CKPT_ID_SIZE, &value));
    size_t size = value.size;
    uint8_t *copy = malloc(size);
    assert_non_null(copy);
    memcpy(copy, value.data, size);
    copy[size - 1] ^= 4;
    assert_ok(ckpt_db_put(txn, CKPT_TABLE_OBJECTS, id->bytes, CKPT_ID_SIZE, copy, size));
    assert_ok(ckpt_txn_commit(txn));
    free(copy);
}

/* The first chunk of a large tensor is damaged, and nobody notices. */
static void test_large_tensors_are_not_read(void **state)
{
    struct world *w = *state;
    struct ckpt_inspection told;
    struct ckpt_recipe recipe;
    struct ckpt_id kept;
    bool known = false;
    struct ckpt_id id = save(w, "last.pt");
    load(w, &id, &recipe);
    size_t i = 0;
    while (i < recipe.chunk_count && (recipe.chunks[i].width == 0 || recipe.chunks[i].size < 64 << 10)) {
        i++;
    }
    assert_true(i < recipe.chunk_count);
    damage(w, &recipe.chunks[i].id);
    assert_ok(ckpt_inspect_version(w->u->store, w->codec, &id, "last.pt", &told, &kept, &known));
    check_row(&rows[0], &told);
    ckpt_recipe_clear(&recipe);
}

static void test_damage_is_told(void **state)
{
    struct world *w = *state;
    struct ckpt_inspection told;
    struct ckpt_recipe recipe;
    struct ckpt_id kept;
    bool known = false;
    struct ckpt_id id = save(w, "last.pt");
    load(w, &id, &recipe);
    damage(w, &recipe.chunks[recipe.extents[0].chunk].id);
    assert_int_equal(ckpt_inspect_version(w->u->store, w->codec, &id, "last.pt", &told, &kept, &known),
                     CKPT_ERR_CORRUPT);
    assert_int_equal(strncmp(w->u->text, "last.pt ", 8), 0);
    assert_int_equal(told.holds, CKPT_HOLDS_UNKNOWN);
    assert_true(known); /* the recipe is good */
    damage(w, &id);
    assert_int_equal(ckpt_inspect_version(w->u->store, w->codec, &id, "last.pt", &told, &kept, &known),
                     CKPT_ERR_CORRUPT);
    assert_non_null(strstr(w->u->text, "recipe"));
    assert_false(known);
    assert_true(ckpt_id_is_zero(&kept));
    assert_false(ckpt_is_pinned(w->u->store, &id));
    id.bytes[0] ^= 1;
    assert_int_equal(ckpt_inspect_version(w->u->store, w->codec, &id, "last.pt", &told, &kept, &known),
                     CKPT_ERR_NOT_FOUND);
    ckpt_recipe_clear(&recipe);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples_say_what_they_are),
        cmocka_unit_test(test_of_an_invalid_file_nothing_is_told),
        cmocka_unit_test(test_what_names_mean),
        cmocka_unit_test(test_metrics_go_before_other_numbers),
        cmocka_unit_test(test_names_that_cannot_be_shown),
        cmocka_unit_test(test_what_is_no_metadata_says_nothing),
        cmocka_unit_test(test_a_metadata_that_is_cut_says_nothing),
        cmocka_unit_test(test_a_metadata_that_is_too_big_says_nothing),
        cmocka_unit_test(test_samples_damaged_in_any_way),
        cmocka_unit_test(test_samples_of_the_readers),
        cmocka_unit_test(test_a_read_that_fails_is_an_io_error),
        cmocka_unit_test(test_equal_states_in_different_files),
        cmocka_unit_test(test_what_a_state_is),
        cmocka_unit_test_setup_teardown(test_versions_say_the_same, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_large_tensors_are_not_read, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_damage_is_told, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
