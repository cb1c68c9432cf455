/*
 * The rows of runs and checkpoints: every field comes back, damage anywhere is refused or makes another checkpoint that makes
 * sense, and what would not be read again isn't written. Then checkpoints as values.
 */
#include "run_samples.h"

#include "../fuzz/rows.h"
#include "catalog/upgrade.h"
#include "common/bytes.h"
#include "samples.h"
#include <math.h>

static struct ckpt_pack pack(const struct ckpt_checkpoint *c)
{
    struct ckpt_pack row = {0};
    assert_ok(ckpt_checkpoint_pack(c, &row));
    return row;
}

static void assert_same_member(const struct ckpt_member *a, const struct ckpt_member *b)
{
    assert_int_equal(a->dir, b->dir);
    assert_int_equal(a->number, b->number);
    assert_string_equal(a->name, b->name);
    assert_string_equal(a->path, b->path);
    assert_int_equal(a->root, b->root);
    assert_int_equal(a->sequence, b->sequence);
    assert_int_equal(a->size, b->size);
    assert_int_equal(a->added, b->added);
    assert_int_equal(a->holds, b->holds);
    assert_int_equal(a->directory, b->directory);
    assert_int_equal(a->alias, b->alias);
    assert_int_equal(a->invalid, b->invalid);
    assert_int_equal(a->replaced, b->replaced);
    assert_int_equal(a->gone, b->gone);
    assert_true(ckpt_id_equal(&a->state, &b->state));
    assert_true(ckpt_id_equal(&a->recipe, &b->recipe));
}

static void assert_same_value(const struct ckpt_value *a, const struct ckpt_value *b)
{
    assert_string_equal(a->name, b->name);
    assert_memory_equal(&a->value, &b->value, sizeof a->value);
    assert_int_equal(a->from, b->from);
    assert_int_equal(a->by, b->by);
    assert_int_equal(a->kind, b->kind);
    assert_true((a->path == NULL) == (b->path == NULL));
    assert_true(a->path == NULL || strcmp(a->path, b->path) == 0);
}

static void assert_same(const struct ckpt_checkpoint *a, const struct ckpt_checkpoint *b)
{
    assert_int_equal(a->run, b->run);
    assert_int_equal(a->number, b->number);
    assert_int_equal(a->id, b->id);
    assert_int_equal(a->sequence, b->sequence);
    assert_int_equal(a->saved_ns, b->saved_ns);
    assert_int_equal(a->status, b->status);
    assert_int_equal(a->framework, b->framework);
    assert_int_equal(a->holds, b->holds);
    assert_string_equal(a->why, b->why);
    assert_string_equal(a->root, b->root);
    assert_string_equal(a->group, b->group);
    assert_int_equal(a->has_epoch, b->has_epoch);
    assert_int_equal(a->has_step, b->has_step);
    assert_int_equal(a->epoch_from, b->epoch_from);
    assert_int_equal(a->step_from, b->step_from);
    assert_int_equal(a->epoch, b->epoch);
    assert_int_equal(a->step, b->step);
    assert_int_equal(a->pinned, b->pinned);
    assert_int_equal(a->hidden, b->hidden);
    assert_int_equal(a->dropped, b->dropped);
    assert_int_equal(a->left, b->left);
    assert_int_equal(a->left_ns, b->left_ns);
    assert_int_equal(a->hidden_ns, b->hidden_ns);
    assert_int_equal(a->parent, b->parent);
    assert_int_equal(a->process, b->process);
    assert_int_equal(a->n_tags, b->n_tags);
    for (size_t i = 0; i < a->n_tags; i++) {
        assert_string_equal(a->tags[i], b->tags[i]);
    }
    assert_int_equal(a->n_values, b->n_values);
    for (size_t i = 0; i < a->n_values; i++) {
        assert_same_value(&a->values[i], &b->values[i]);
    }
    assert_int_equal(a->n_members, b->n_members);
    for (size_t i = 0; i < a->n_members; i++) {
        assert_same_member(&a->members[i], &b->members[i]);
    }
}

static void every_field_comes_back(void **state)
{
    (void)state;
    struct ckpt_checkpoint *c = sample_full_checkpoint();
    struct ckpt_checkpoint *back = NULL;
    struct ckpt_pack row = pack(c);
    struct ckpt_slice key = {.data = fuzz_key, .size = 12};
    struct ckpt_slice value = {.data = row.bytes, .size = row.size};
    assert_ok(ckpt_checkpoint_parse(&key, &value, &back));
    assert_same(c, back);
    struct ckpt_checkpoint *copy = ckpt_checkpoint_copy(back);
    assert_non_null(copy);
    ckpt_checkpoint_free(back);
    assert_same(c, copy);
    ckpt_checkpoint_free(copy);
    ckpt_checkpoint_free(c);
    free(row.bytes);
}

/* FORMAT.md's table, byte by byte. */
static void the_bytes_are_as_documented(void **state)
{
    static const uint8_t expected[] = {
        'C', 'K', 'P', '1', 1,   1,    1,    8 | 2, 1,    0,    1,    0,    8, 7, 6, 5, 4, 3, 2, 1,
        9,   0,   0,   0,   0,   0,    0,    0,     0xff, 0xff, 0xff, 0xff, /* id, sequence, saved_ns */
        0xff, 0xff, 0xff, 0xff, 0,   0,   0,   0,   0,    0,    0,    0,    /* no epoch */
        100, 0,   0,   0,   0,   0,    0,    0,     2,    0,    0,    0,    0, 0, 0, 0, 3, 0, 0, 0,
        0,   0,   0,   0,   4,   0,    0,    0,     0,    0,    0,    0,    5, 0, 0, 0, 0, 0, 0, 0,
        0xff, 0xff, 1,  0,   'r', 1,   0,    'g',   1,    0,    0,    0,    1, 0, 't', /* texts, tags */
        0,   0,   0,   0,   0,   0,    0,    0,                                        /* values, members */
    };
    (void)state;
    struct ckpt_checkpoint *c = sample_checkpoint(7, 3, 9);
    c->framework = CKPT_FRAMEWORK_TRANSFORMERS;
    c->holds = CKPT_HOLDS_FULL;
    c->hidden = c->has_step = true;
    c->step = 100;
    c->step_from = CKPT_FROM_NAME;
    c->left = CKPT_LEFT_OVERWRITTEN;
    c->id = 0x0102030405060708;
    c->saved_ns = -1;
    c->left_ns = 2;
    c->hidden_ns = 3;
    c->parent = 4;
    c->process = 5;
    sample_tag(c, "t");
    assert_ok(ckpt_text_set(&c->root, "r"));
    assert_ok(ckpt_text_set(&c->group, "g"));
    struct ckpt_pack row = pack(c);
    assert_int_equal(row.size, sizeof expected);
    assert_memory_equal(row.bytes, expected, sizeof expected);
    free(row.bytes);
    ckpt_checkpoint_free(c);
}

typedef bool row_fn(const uint8_t *bytes, size_t n);

/* Cut at every byte, longer by one, and with every byte changed in every bit; returns how many were taken. */
static size_t damage(row_fn *fn, const struct ckpt_pack *row)
{
    size_t taken = 0;
    uint8_t *copy = malloc(row->size + 1);
    assert_non_null(copy);
    for (size_t n = 0; n < row->size; n++) {
        uint8_t *cut = malloc(n > 0 ? n : 1); /* no more than that, for a sanitizer */
        assert_non_null(cut);
        memcpy(cut, row->bytes, n);
        assert_false(fn(cut, n));
        free(cut);
    }
    memcpy(copy, row->bytes, row->size);
    copy[row->size] = 0;
    assert_false(fn(copy, row->size + 1));
    for (size_t at = 0; at < row->size; at++) {
        for (unsigned difference = 1; difference < 256; difference++) {
            copy[at] = (uint8_t)(row->bytes[at] ^ difference);
            taken += fn(copy, row->size);
        }
        copy[at] = row->bytes[at];
    }
    assert_true(fn(copy, row->size));
    free(copy);
    return taken;
}

static void damage_anywhere_is_refused_or_makes_sense(void **state)
{
    (void)state;
    struct ckpt_checkpoint *c = sample_full_checkpoint();
    c->dropped = c->hidden = false;
    c->status = CKPT_STATUS_COMPLETE;
    struct ckpt_pack row = pack(c);
    assert_true(damage(fuzz_checkpoint, &row) > 255); /* an id of another value is one */
    free(row.bytes);
    ckpt_checkpoint_free(c);

    struct ckpt_run run = {.dir = 7, .next_number = 4, .best = 2, .finished = true, .metric = (char[]){"val_loss"}};
    row = (struct ckpt_pack){0};
    assert_ok(ckpt_run_pack(&run, &row));
    assert_true(damage(fuzz_run, &row) > 255);
    free(row.bytes);
}

static void a_run_comes_back(void **state)
{
    (void)state;
    struct ckpt_run run = {.dir = 7,
                           .next_number = 4,
                           .finished = true,
                           .stop = true,
                           .finished_ns = -1,
                           .written_ns = 5,
                           .process = 6,
                           .best = 2,
                           .metric = (char[]){"val_loss"}};
    struct ckpt_run back = {0};
    struct ckpt_pack row = {0};
    struct ckpt_slice key = {.data = fuzz_key, .size = 8};
    assert_ok(ckpt_run_pack(&run, &row));
    struct ckpt_slice value = {.data = row.bytes, .size = row.size};
    assert_ok(ckpt_run_parse(&key, &value, &back));
    assert_int_equal(back.dir, 7);
    assert_int_equal(back.next_number, 4);
    assert_true(back.finished && back.stop);
    assert_int_equal(back.finished_ns, -1);
    assert_int_equal(back.written_ns, 5);
    assert_int_equal(back.process, 6);
    assert_int_equal(back.best, 2);
    assert_string_equal(back.metric, "val_loss");
    free(back.metric);
    key.size = 7;
    assert_int_equal(ckpt_run_parse(&key, &value, &back), CKPT_ERR_CORRUPT);
    free(row.bytes);
    run.next_number = 0;
    row = (struct ckpt_pack){0};
    assert_int_equal(ckpt_run_pack(&run, &row), CKPT_ERR_INVALID);
}

/* ---- what isn't written ---- */

static void no_number(struct ckpt_checkpoint *c)
{
    c->number = 0;
}

static void no_root(struct ckpt_checkpoint *c)
{
    assert_ok(ckpt_text_set(&c->root, NULL));
}

static void no_group(struct ckpt_checkpoint *c)
{
    assert_ok(ckpt_text_set(&c->group, NULL));
}

static void member_name(struct ckpt_checkpoint *c, const char *name)
{
    assert_ok(ckpt_text_set(&c->members[0].name, name));
}

static void no_name(struct ckpt_checkpoint *c)
{
    member_name(c, NULL);
}

static void empty_name(struct ckpt_checkpoint *c)
{
    member_name(c, "");
}

static void path_as_name(struct ckpt_checkpoint *c)
{
    member_name(c, "a/b");
}

static void long_name(struct ckpt_checkpoint *c)
{
    char name[NAME_MAX + 2];
    memset(name, 'x', NAME_MAX + 1);
    name[NAME_MAX + 1] = '\0';
    member_name(c, name);
}

static void no_path(struct ckpt_checkpoint *c)
{
    assert_ok(ckpt_text_set(&c->members[0].path, NULL));
}

static void long_root(struct ckpt_checkpoint *c)
{
    c->members[0].root = (uint16_t)(strlen(c->members[0].path) + 1);
}

static void version_zero(struct ckpt_checkpoint *c)
{
    c->members[0].number = 0;
}

static void unknown_kind(struct ckpt_checkpoint *c)
{
    c->values[0].kind = CKPT_METRICS_MLFLOW + 1;
}

static void what_would_not_be_read_is_not_written(void **state)
{
    static void (*const changes[])(struct ckpt_checkpoint *) = {
        no_number, no_root, no_group,  no_name,      empty_name,   path_as_name,
        long_name, no_path, long_root, version_zero, unknown_kind,
    };
    struct unit_store *u = *state;
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        struct ckpt_txn *txn = NULL;
        struct ckpt_checkpoint *c = sample_full_checkpoint();
        changes[i](c);
        assert_ok(ckpt_store_begin(u->store, &txn));
        if (ckpt_checkpoint_put_in(txn, c) != CKPT_ERR_INVALID) {
            fail_msg("change %zu was written", i);
        }
        assert_ok(ckpt_store_commit(u->store, txn));
        ckpt_checkpoint_free(c);
    }
    assert_int_equal(sample_rows(u->store, CKPT_TABLE_CHECKPOINTS), 0);
    assert_int_equal(sample_rows(u->store, CKPT_TABLE_IDS), 0);
    assert_int_equal(sample_rows(u->store, CKPT_TABLE_MEMBERS), 0);
}

/* ---- fresh ---- */

static void fresh_rows_come_in_order(void **state)
{
    struct unit_store *u = *state;
    struct ckpt_txn *txn = NULL;
    struct ckpt_fresh out;
    assert_ok(ckpt_store_begin(u->store, &txn));
    for (uint64_t sequence = 300; sequence >= 100; sequence -= 100) {
        struct ckpt_fresh fresh = {.sequence = sequence, .dir = 5, .number = 2};
        (void)snprintf(fresh.name, sizeof fresh.name, "f%u", (unsigned)sequence);
        assert_ok(ckpt_fresh_put_in(txn, &fresh));
    }
    assert_ok(ckpt_fresh_next_in(txn, 0, &out));
    assert_int_equal(out.sequence, 100);
    assert_int_equal(out.dir, 5);
    assert_int_equal(out.number, 2);
    assert_string_equal(out.name, "f100");
    assert_ok(ckpt_fresh_next_in(txn, 101, &out));
    assert_int_equal(out.sequence, 200);
    assert_ok(ckpt_fresh_del_in(txn, 200));
    assert_ok(ckpt_fresh_next_in(txn, 101, &out));
    assert_int_equal(out.sequence, 300);
    assert_int_equal(ckpt_fresh_next_in(txn, 301, &out), CKPT_ERR_NOT_FOUND);
    assert_int_equal(ckpt_fresh_del_in(txn, 200), CKPT_ERR_NOT_FOUND);
    ckpt_txn_abort(txn);
}

/* What an older store has captured is all fresh, in the order of its captures, and once however often it is upgraded. */
static void an_older_store_has_everything_fresh(void **state)
{
    static const struct {
        uint64_t dir;
        const char *name;
    } captures[] = {{9, "a.pt"}, {5, "last.pt"}, {9, "b.pt"}, {5, "last.pt"}};
    enum { N = sizeof captures / sizeof captures[0] };
    struct unit_store *u = *state;
    uint64_t sequences[N];
    uint32_t numbers[N];
    struct ckpt_txn *txn = NULL;
    for (size_t i = 0; i < N; i++) {
        struct ckpt_version v = sample_version(u->store, captures[i].dir, captures[i].name, 1000 + i);
        sequences[i] = v.sequence;
        numbers[i] = v.number;
        assert_ok(ckpt_store_begin(u->store, &txn));
        assert_ok(ckpt_fresh_del_in(txn, v.sequence));
        assert_ok(ckpt_store_commit(u->store, txn));
    }
    assert_int_equal(sample_rows(u->store, CKPT_TABLE_FRESH), 0);
    assert_ok(ckpt_upgrade(u->store, 2));
    assert_ok(ckpt_upgrade(u->store, 2));
    assert_int_equal(sample_rows(u->store, CKPT_TABLE_FRESH), N);
    assert_ok(ckpt_txn_read(u->store->db, &txn));
    struct ckpt_fresh fresh = {.sequence = 0};
    for (size_t i = 0; i < N; i++) {
        assert_ok(ckpt_fresh_next_in(txn, fresh.sequence + 1, &fresh));
        assert_int_equal(fresh.sequence, sequences[i]);
        assert_int_equal(fresh.dir, captures[i].dir);
        assert_int_equal(fresh.number, numbers[i]);
        assert_string_equal(fresh.name, captures[i].name);
    }
    ckpt_txn_abort(txn);
}

/* A file that is saved again with what it had is no new version, but it is news. */
static void saving_the_same_again_is_fresh(void **state)
{
    struct unit_store *u = *state;
    struct ckpt_txn *txn = NULL;
    struct ckpt_fresh fresh;
    struct ckpt_version first = sample_version(u->store, 5, "last.pt", 1000);
    struct ckpt_version again = sample_version(u->store, 5, "last.pt", 1000);
    assert_int_equal(again.number, first.number);
    assert_int_equal(sample_rows(u->store, CKPT_TABLE_VERSIONS), 1);
    assert_int_equal(sample_rows(u->store, CKPT_TABLE_FRESH), 2);
    assert_ok(ckpt_txn_read(u->store->db, &txn));
    assert_ok(ckpt_fresh_next_in(txn, first.sequence + 1, &fresh));
    assert_int_equal(fresh.number, first.number);
    ckpt_txn_abort(txn);
}

static void fresh_rows_that_are_refused(void **state)
{
    static const struct {
        const char *what;
        size_t key_size;
        const char *row;
        size_t size;
        enum ckpt_err err;
    } cases[] = {
        {"a row", 8, "\5\0\0\0\0\0\0\0\1\0\0\0a.pt", 16, CKPT_OK},
        {"no name", 8, "\5\0\0\0\0\0\0\0\1\0\0\0", 12, CKPT_ERR_CORRUPT},
        {"half a row", 8, "\5\0\0\0", 4, CKPT_ERR_CORRUPT},
        {"number 0", 8, "\5\0\0\0\0\0\0\0\0\0\0\0a.pt", 16, CKPT_ERR_CORRUPT},
        {"a path", 8, "\5\0\0\0\0\0\0\0\1\0\0\0a/pt", 16, CKPT_ERR_CORRUPT},
        {"a NUL", 8, "\5\0\0\0\0\0\0\0\1\0\0\0a\0pt", 16, CKPT_ERR_CORRUPT},
        {"a short key", 7, "\5\0\0\0\0\0\0\0\1\0\0\0a.pt", 16, CKPT_ERR_CORRUPT},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ckpt_fresh out;
        struct ckpt_slice key = {.data = fuzz_key, .size = cases[i].key_size};
        struct ckpt_slice value = {.data = cases[i].row, .size = cases[i].size};
        if (ckpt_fresh_parse(&key, &value, &out) != cases[i].err) {
            fail_msg("%s", cases[i].what);
        }
    }
}

/* ---- as values ---- */

static void values_are_set_once_under_any_spelling(void **state)
{
    static const struct {
        const char *name;
        double value;
        enum ckpt_from from;
        bool changed;
        double then; /* of val_loss */
    } steps[] = {
        {"val_loss", 1, CKPT_FROM_NAME, true, 1},     {"val_loss", 1, CKPT_FROM_NAME, false, 1},
        {"valLoss", 2, CKPT_FROM_METRICS, true, 2},   {"val/loss", 3, CKPT_FROM_USER, true, 3},
        {"val_loss", 4, CKPT_FROM_METRICS, false, 3}, {"val_loss", 5, CKPT_FROM_USER, true, 5},
        {"val_acc", 9, CKPT_FROM_NAME, true, 5},
    };
    (void)state;
    struct ckpt_checkpoint *c = sample_checkpoint(7, 1, 1);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        struct ckpt_value value = {
            .name = (char *)(uintptr_t)steps[i].name, .value = steps[i].value, .from = steps[i].from};
        bool changed = !steps[i].changed;
        assert_ok(ckpt_checkpoint_set_value(c, &value, &changed));
        assert_int_equal(changed, steps[i].changed);
        assert_true(ckpt_checkpoint_value(c, "val_loss")->value == steps[i].then);
    }
    assert_int_equal(c->n_values, 2);
    assert_null(ckpt_checkpoint_value(c, "loss"));
    ckpt_checkpoint_free(c);
}

/* Any NaN is the same, or every reading of a metrics file would be news. */
static void nan_is_no_news(void **state)
{
    (void)state;
    struct ckpt_checkpoint *c = sample_checkpoint(7, 1, 1);
    struct ckpt_value value = {.name = (char[]){"loss"}, .value = NAN, .from = CKPT_FROM_NAME};
    bool changed = false;
    assert_ok(ckpt_checkpoint_set_value(c, &value, &changed));
    assert_true(changed);
    value.value = -value.value;
    assert_ok(ckpt_checkpoint_set_value(c, &value, &changed));
    assert_false(changed);
    ckpt_checkpoint_free(c);
}

/* Names as MLflow has them differ where others end. */
static void long_names_are_compared_to_their_end(void **state)
{
    (void)state;
    char one[200];
    char other[200];
    struct ckpt_checkpoint *c = sample_checkpoint(7, 1, 1);
    (void)memset(one, 'a', sizeof one);
    memcpy(other, one, sizeof one);
    (void)snprintf(one + 150, sizeof one - 150, "/loss");
    (void)snprintf(other + 150, sizeof other - 150, "/accuracy");
    sample_value(c, one, 1, CKPT_FROM_METRICS);
    sample_value(c, other, 2, CKPT_FROM_METRICS);
    assert_int_equal(c->n_values, 2);
    ckpt_checkpoint_free(c);
}

static void tags_are_set_once(void **state)
{
    (void)state;
    struct ckpt_checkpoint *c = sample_checkpoint(7, 1, 1);
    bool changed = false;
    for (unsigned i = 0; i < 9; i++) {
        char tag[8];
        (void)snprintf(tag, sizeof tag, "t%u", i);
        assert_ok(ckpt_checkpoint_add_tag(c, tag, &changed));
        assert_true(changed);
    }
    assert_ok(ckpt_checkpoint_add_tag(c, "t3", &changed));
    assert_false(changed);
    assert_true(ckpt_checkpoint_remove_tag(c, "t3"));
    assert_false(ckpt_checkpoint_remove_tag(c, "t3"));
    assert_false(ckpt_checkpoint_has_tag(c, "t3"));
    assert_true(ckpt_checkpoint_has_tag(c, "t8"));
    assert_int_equal(c->n_tags, 8);
    sample_tag(c, "t3");
    assert_string_equal(c->tags[8], "t3");
    ckpt_checkpoint_free(c);
}

/* Versions of one file. */
static void losing_a_version(void **state)
{
    static const struct {
        const char *what;
        const char *members; /* number, and 'r': replaced */
        uint32_t lost;
        const char *then;
        bool was_one;
        bool dropped;
    } cases[] = {
        {"the only one", "1-", 1, "", true, true},
        {"another one", "1-", 2, "1-", false, false},
        {"none there", "", 1, "", false, false},
        {"what replaced another", "1r2-", 2, "1-", true, false},
        {"the newest of two comes back", "1r2r3-", 3, "1r2-", true, false},
        {"what was replaced", "1r2-", 1, "2-", true, false},
        {"listed twice", "1-1-", 1, "", true, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ckpt_checkpoint *c = sample_checkpoint(7, 1, 1);
        char then[32] = "";
        for (const char *at = cases[i].members; *at != '\0'; at += 2) {
            struct ckpt_member *m = sample_member(c, 7, "f.pt", (uint32_t)(at[0] - '0'));
            m->sequence = m->number;
            m->replaced = at[1] == 'r';
        }
        assert_false(ckpt_checkpoint_lose_version(c, 8, "f.pt", cases[i].lost));
        assert_false(ckpt_checkpoint_lose_version(c, 7, "g.pt", cases[i].lost));
        assert_int_equal(ckpt_checkpoint_lose_version(c, 7, "f.pt", cases[i].lost), cases[i].was_one);
        for (size_t m = 0; m < c->n_members; m++) {
            char text[16];
            (void)snprintf(text, sizeof text, "%u%c", c->members[m].number, c->members[m].replaced ? 'r' : '-');
            strncat(then, text, sizeof then - strlen(then) - 1);
        }
        if (strcmp(then, cases[i].then) != 0 || c->dropped != cases[i].dropped) {
            fail_msg("%s: %s, %s", cases[i].what, then, c->dropped ? "dropped" : "not dropped");
        }
        ckpt_checkpoint_free(c);
    }
}

/* Of a checkpoint with two files. */
static void losing_a_part(void **state)
{
    static const struct {
        const char *what;
        bool directory;
        const char *root; /* what of the path names the checkpoint */
        bool replaced;
        enum ckpt_status status;
        enum ckpt_status then;
    } cases[] = {
        {"a file of several", false, "a.pt", false, CKPT_STATUS_COMPLETE, CKPT_STATUS_COMPLETE},
        {"of a directory", true, "ckpt", false, CKPT_STATUS_COMPLETE, CKPT_STATUS_INVALID},
        {"of a set of shards", false, "", false, CKPT_STATUS_COMPLETE, CKPT_STATUS_INVALID},
        {"what was replaced", true, "ckpt", true, CKPT_STATUS_COMPLETE, CKPT_STATUS_COMPLETE},
        {"of one that is written", true, "ckpt", false, CKPT_STATUS_WRITING, CKPT_STATUS_WRITING},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ckpt_checkpoint *c = sample_checkpoint(7, 1, 1);
        c->status = cases[i].status;
        (void)sample_member(c, 7, "b.pt", 1);
        struct ckpt_member *m = sample_member(c, 7, "a.pt", 1);
        m->directory = cases[i].directory;
        m->root = (uint16_t)strlen(cases[i].root);
        m->replaced = cases[i].replaced;
        assert_true(ckpt_checkpoint_lose_version(c, 7, "a.pt", 1));
        if (c->status != cases[i].then) {
            fail_msg("%s: %s", cases[i].what, ckpt_status_name(c->status));
        }
        if (cases[i].then == CKPT_STATUS_INVALID) {
            assert_string_equal(c->why, "a.pt was forgotten");
        }
        ckpt_checkpoint_free(c);
    }
}

static void replay(const char *path, const uint8_t *bytes, size_t n, void *arg)
{
    (void)path;
    (void)arg;
    fuzz_rows(bytes, n);
}

static void what_fuzzing_kept(void **state)
{
    (void)state;
    assert_true(sample_walk("fuzz/rows", replay, NULL) > 0);
}

/* "path:root" with the flags d (in a directory), a (alias), r (replaced) in front, and where each is shown. */
static void members_are_shown_where_the_shape_of_all_says(void **state)
{
    static const struct {
        const char *members[4];
        const char *shown[4];
    } table[] = {
        {{" a.pt:4", "a last.pt:7", "r a.pt:4"}, {"a.pt", NULL, NULL}},
        {{"a last.pt:7", "a best.pt:7", "r old.pt:6"}, {"last.pt", "best.pt", NULL}},
        {{"d c-5/m.pt:3", "d c-5/sub/x:3", "rd c-4/m.pt:3"}, {"m.pt", "sub/x", NULL}},
        {{"d c-5/m.pt:3", "d c-6/m.pt:3"}, {"c-5/m.pt", "c-6/m.pt"}},
        {{"d c-5/m.pt:3", "d c-50/m.pt:4"}, {"c-5/m.pt", "c-50/m.pt"}},
        {{"d c-5/m.pt:3", " a.pt:4"}, {"c-5/m.pt", "a.pt"}},
        {{"d c-5/m.pt:3", "a last.pt:7"}, {"m.pt", NULL}},
        {{"da last/m.pt:4", "da last/n.pt:4"}, {"m.pt", "n.pt"}},
        {{"r a.pt:4"}, {NULL}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct ckpt_checkpoint *c = sample_checkpoint(7, 1, 1);
        for (size_t j = 0; j < 4 && table[i].members[j] != NULL; j++) {
            char flags[4] = "";
            char path[32] = "";
            int root = 0;
            const char *text = table[i].members[j];
            assert_int_equal(sscanf(text[0] == ' ' ? text : strchr(text, ' '), " %31[^:]:%d", path, &root), 2);
            memcpy(flags, text, strcspn(text, " "));
            struct ckpt_member *m = sample_member(c, 7, path, 1);
            m->root = (uint16_t)root;
            m->directory = strchr(flags, 'd') != NULL;
            m->alias = strchr(flags, 'a') != NULL;
            m->replaced = strchr(flags, 'r') != NULL;
        }
        struct ckpt_shape shape = ckpt_checkpoint_shape(c);
        for (size_t j = 0; j < c->n_members; j++) {
            const char *shown = ckpt_member_shown(shape, &c->members[j]);
            assert_true(table[i].shown[j] == NULL ? shown == NULL
                                                  : shown != NULL && strcmp(shown, table[i].shown[j]) == 0);
        }
        ckpt_checkpoint_free(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(members_are_shown_where_the_shape_of_all_says),
        cmocka_unit_test(every_field_comes_back),
        cmocka_unit_test(the_bytes_are_as_documented),
        cmocka_unit_test(damage_anywhere_is_refused_or_makes_sense),
        cmocka_unit_test(a_run_comes_back),
        cmocka_unit_test_setup_teardown(what_would_not_be_read_is_not_written, unit_store_setup, unit_store_teardown),
        cmocka_unit_test(what_fuzzing_kept),
        cmocka_unit_test_setup_teardown(fresh_rows_come_in_order, unit_store_setup, unit_store_teardown),
        cmocka_unit_test_setup_teardown(an_older_store_has_everything_fresh, unit_store_setup, unit_store_teardown),
        cmocka_unit_test_setup_teardown(saving_the_same_again_is_fresh, unit_store_setup, unit_store_teardown),
        cmocka_unit_test(fresh_rows_that_are_refused),
        cmocka_unit_test(values_are_set_once_under_any_spelling),
        cmocka_unit_test(nan_is_no_news),
        cmocka_unit_test(long_names_are_compared_to_their_end),
        cmocka_unit_test(tags_are_set_once),
        cmocka_unit_test(losing_a_version),
        cmocka_unit_test(losing_a_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
