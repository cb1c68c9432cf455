/*
 * A checkpoint as JSON: every key, and that any bytes make a document that can be read.
 */
#include "unit.h"

#include "catalog/run_rows.h"
#include "publish/keeper.h"
#include <ckpt/describe.h>
#include <ckpt/policy.h>
#include <jansson.h>
#include <math.h>

enum { DIR = 7 };

static const char PROCESS[] = "{\"command\": [\"train.py\", \"--lr\", \"3e-4\"], \"pid\": 12}";

struct bench {
    struct unit_store *u;
    struct ckpt_runs *runs;
    struct ckpt_keeper *keeper;
    struct ckpt_run *run;
    struct ckpt_checkpoint *c;
};

static int setup(void **state)
{
    struct bench *b = calloc(1, sizeof *b);
    void *u = NULL;
    assert_non_null(b);
    assert_int_equal(unit_store_setup(&u), 0);
    b->u = u;
    assert_ok(ckpt_catalog_set_dir(b->u->store, DIR, CKPT_DIR_ROOT, "run"));
    assert_ok(ckpt_runs_create(b->u->store, &b->runs));
    assert_ok(ckpt_keeper_create(b->u->store, b->runs, &b->keeper));
    assert_ok(ckpt_keeper_run(b->keeper, DIR, true, &b->run));
    b->c = ckpt_keeper_begin(b->keeper, b->run);
    assert_non_null(b->c);
    *state = b;
    return 0;
}

static int teardown(void **state)
{
    struct bench *b = *state;
    void *u = b->u;
    ckpt_keeper_free(b->keeper);
    ckpt_runs_free(b->runs);
    assert_int_equal(unit_store_teardown(&u), 0);
    free(b);
    return 0;
}

static void add_member(struct ckpt_checkpoint *c, const char *path, uint64_t size, enum ckpt_holds holds)
{
    struct ckpt_member *m = ckpt_checkpoint_add_member(c);
    assert_non_null(m);
    m->dir = DIR;
    m->number = 3;
    m->size = size;
    m->added = size / 2;
    m->holds = holds;
    m->root = (uint16_t)strlen(path);
    assert_ok(ckpt_text_set(&m->name, path));
    assert_ok(ckpt_text_set(&m->path, path));
}

static void set_value(struct ckpt_checkpoint *c, const char *name, double value, enum ckpt_from from, enum ckpt_by by,
                      const char *path)
{
    struct ckpt_value v = {.name = (char *)(uintptr_t)name,
                           .value = value,
                           .from = from,
                           .by = by,
                           .path = (char *)(uintptr_t)path};
    bool changed = false;
    assert_ok(ckpt_checkpoint_set_value(c, &v, &changed));
    assert_true(changed);
}

static json_t *describe(struct bench *b, const struct ckpt_policy_verdict *verdict)
{
    char *text = NULL;
    assert_ok(ckpt_describe(b->runs, b->u->store, b->run, b->c, verdict, &text));
    assert_int_equal(text[strlen(text) - 1], '\n');
    json_error_t error;
    json_t *json = json_loads(text, 0, &error);
    if (json == NULL) {
        fail_msg("%s in %s", error.text, text);
    }
    free(text);
    return json;
}

/* What is at a path of keys and indices ("files/0/path"), as compact JSON. */
static void expect(json_t *json, const char *path, const char *expected)
{
    char copy[UNIT_TEXT];
    char *rest = NULL;
    json_t *at = json;
    snprintf(copy, sizeof copy, "%s", path);
    for (char *key = strtok_r(copy, "/", &rest); key != NULL; key = strtok_r(NULL, "/", &rest)) {
        at = json_is_array(at) ? json_array_get(at, strtoul(key, NULL, 10)) : json_object_get(at, key);
    }
    char *text = at == NULL ? NULL : json_dumps(at, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(15));
    if (expected == NULL) {
        assert_null(text);
    } else {
        if (text == NULL) {
            fail_msg("%s isn't there", path);
        }
        assert_string_equal(text, expected);
    }
    free(text);
}

static const struct {
    const char *path;
    const char *expected;
} expected_full[] = {
    {"run", "\"run\""},
    {"number", "1"},
    {"root", "\"resnet50_cifar10_seed3_epoch7.pt\""},
    {"epoch", "7"},
    {"step", "null"},
    {"kind", "\"full\""},
    {"resumable", "true"},
    {"state", "\"complete\""},
    {"why", "\"alone\""},
    {"framework", "\"plain\""},
    {"saved", "\"2024-11-24T15:30:00.250Z\""},
    {"metrics/val_loss/value", "0.21"},
    {"metrics/val_loss/source", "\"metrics\""},
    {"metrics/val_loss/by", "\"epoch\""},
    {"metrics/val_loss/path", "\"run/log.csv\""},
    {"metrics/acc/value", "\"nan\""},
    {"metrics/acc/source", "\"user\""},
    {"metrics/acc/path", NULL},
    {"metrics/ratio/value", "\"-inf\""},
    {"files/0/path", "\"resnet50_cifar10_seed3_epoch7.pt\""},
    {"files/0/size", "100"},
    {"files/0/version", "3"},
    {"files/0/kind", "\"full\""},
    {"files/1", NULL},
    {"size", "100"},
    {"added", "50"},
    {"tags", "[\"stable\"]"},
    {"pinned", "true"},
    {"left", "\"overwritten\""},
    {"hidden", "false"},
    {"dropped", "false"},
    {"parent", "\"00c0ffee00c0ffee\""},
    {"process/command/0", "\"train.py\""},
    {"naming/model", "\"resnet50\""},
    {"naming/dataset", "\"cifar10\""},
    {"naming/seed", "3"},
    {"naming/fold", NULL},
    {"kept", NULL},
};

static void everything_known_is_there(void **state)
{
    struct bench *b = *state;
    struct ckpt_checkpoint *c = b->c;
    struct ckpt_txn *txn = NULL;
    bool changed = false;
    assert_ok(ckpt_store_begin(b->u->store, &txn));
    assert_ok(ckpt_process_put_in(txn, PROCESS, &c->process));
    assert_ok(ckpt_store_commit(b->u->store, txn));
    c->status = CKPT_STATUS_COMPLETE;
    c->holds = CKPT_HOLDS_FULL;
    c->has_epoch = true;
    c->epoch = 7;
    c->saved_ns = INT64_C(1732462200250) * 1000000;
    c->pinned = true;
    c->left = CKPT_LEFT_OVERWRITTEN;
    c->parent = UINT64_C(0x00c0ffee00c0ffee);
    assert_ok(ckpt_text_set(&c->root, "resnet50_cifar10_seed3_epoch7.pt"));
    assert_ok(ckpt_text_set(&c->why, "alone"));
    assert_ok(ckpt_checkpoint_add_tag(c, "stable", &changed));
    add_member(c, c->root, 100, CKPT_HOLDS_FULL);
    set_value(c, "val_loss", 0.21, CKPT_FROM_METRICS, CKPT_BY_EPOCH, "run/log.csv");
    set_value(c, "acc", NAN, CKPT_FROM_USER, CKPT_BY_ITSELF, NULL);
    set_value(c, "ratio", -INFINITY, CKPT_FROM_NAME, CKPT_BY_ITSELF, NULL);
    json_t *json = describe(b, NULL);
    for (size_t i = 0; i < sizeof expected_full / sizeof *expected_full; i++) {
        expect(json, expected_full[i].path, expected_full[i].expected);
    }
    assert_int_equal(json_string_length(json_object_get(json, "id")), 16);
    json_decref(json);
}

static void what_is_not_known_is_null(void **state)
{
    struct bench *b = *state;
    json_t *json = describe(b, NULL);
    static const char *const unknown[] = {"root", "epoch", "step", "why", "left", "parent", "process"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        expect(json, unknown[i], "null");
    }
    expect(json, "metrics", "{}");
    expect(json, "files", "[]");
    expect(json, "tags", "[]");
    expect(json, "naming", "{}");
    expect(json, "state", "\"writing\"");
    expect(json, "resumable", "false");
    json_decref(json);
}

static void a_verdict_is_told(void **state)
{
    struct bench *b = *state;
    struct ckpt_policy_verdict verdict = {.kind = CKPT_VERDICT_KEEP, .reason = CKPT_REASON_LATEST};
    char sentence[256];
    char quoted[sizeof sentence + 2];
    ckpt_policy_explain(&verdict, sentence, sizeof sentence);
    snprintf(quoted, sizeof quoted, "\"%s\"", sentence);
    json_t *json = describe(b, &verdict);
    expect(json, "kept", quoted);
    json_decref(json);
}

/* A file's name may be anything. */
static const struct {
    const char *name;
    const char *shown;
} names[] = {
    {"caf\xc3\xa9.pt", "caf\xc3\xa9.pt"},
    {"caf\xe9.pt", "caf\\xe9.pt"},
    {"\xc0\x80", "\\xc0\\x80"},          /* overlong */
    {"\xed\xa0\x80", "\\xed\\xa0\\x80"}, /* half a pair */
    {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},
    {"\xf0\x9f\x94\xa5", "\xf0\x9f\x94\xa5"},
    {"cut\xe2\x82", "cut\\xe2\\x82"},
    {"a\"b\\c\n\x01", "a\"b\\c\n\x01"},
};

static void any_bytes_make_a_document(void **state)
{
    struct bench *b = *state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_ok(ckpt_text_set(&b->c->root, names[i].name));
        assert_ok(ckpt_text_set(&b->c->why, names[i].name));
        json_t *json = describe(b, NULL);
        assert_string_equal(json_string_value(json_object_get(json, "root")), names[i].shown);
        assert_string_equal(json_string_value(json_object_get(json, "why")), names[i].shown);
        json_decref(json);
    }
}

static void any_metric_makes_a_document(void **state)
{
    struct bench *b = *state;
    set_value(b->c, "l\xf6ss", 1.0, CKPT_FROM_USER, CKPT_BY_ITSELF, NULL);
    json_t *json = describe(b, NULL);
    expect(json, "metrics/l\\xf6ss/value", "1.0");
    json_decref(json);
}

/* A process is text that was stored, by whatever version of the program. */
static void a_process_that_is_no_json_is_text(void **state)
{
    struct bench *b = *state;
    struct ckpt_txn *txn = NULL;
    assert_ok(ckpt_store_begin(b->u->store, &txn));
    assert_ok(ckpt_process_put_in(txn, "{\"cut", &b->c->process));
    assert_ok(ckpt_store_commit(b->u->store, txn));
    json_t *json = describe(b, NULL);
    assert_string_equal(json_string_value(json_object_get(json, "process")), "{\"cut");
    json_decref(json);
}

static void a_number_reads_back_as_it_was(void **state)
{
    struct bench *b = *state;
    static const double numbers[] = {0.21, 1.0 / 3, 5e-324, 1e308, 0.1 + 0.2, -0.0, 87.4};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        char name[16];
        snprintf(name, sizeof name, "m%zu", i);
        set_value(b->c, name, numbers[i], CKPT_FROM_USER, CKPT_BY_ITSELF, NULL);
    }
    json_t *json = describe(b, NULL);
    json_t *metrics = json_object_get(json, "metrics");
    assert_int_equal(json_object_size(metrics), sizeof numbers / sizeof *numbers);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        const struct ckpt_value *v = &b->c->values[i];
        double read = json_real_value(json_object_get(json_object_get(metrics, v->name), "value"));
        assert_memory_equal(&read, &v->value, sizeof read);
    }
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(everything_known_is_there, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_not_known_is_null, setup, teardown),
        cmocka_unit_test_setup_teardown(a_verdict_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(any_bytes_make_a_document, setup, teardown),
        cmocka_unit_test_setup_teardown(any_metric_makes_a_document, setup, teardown),
        cmocka_unit_test_setup_teardown(a_process_that_is_no_json_is_text, setup, teardown),
        cmocka_unit_test_setup_teardown(a_number_reads_back_as_it_was, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
