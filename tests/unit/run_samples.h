/*
 * Runs and checkpoints for the unit tests: in memory, and in a real store with versions that they consist of.
 */
#ifndef CKPT_TEST_RUN_SAMPLES_H
#define CKPT_TEST_RUN_SAMPLES_H

#include "unit.h"

#include "catalog/catalog_txn.h"
#include "catalog/run_parts.h"
#include "catalog/run_rows.h"
#include "object/object.h"
#include "object/recipe.h"

/* A complete checkpoint of RUN without members, captured as number SEQUENCE. */
static inline struct ckpt_checkpoint *sample_checkpoint(uint64_t run, uint32_t number, uint64_t sequence)
{
    struct ckpt_checkpoint *c = ckpt_checkpoint_new();
    char root[32];
    assert_non_null(c);
    (void)snprintf(root, sizeof root, "epoch_%u.pt", number);
    c->run = run;
    c->number = number;
    c->id = 0x1000 * run + number;
    c->sequence = sequence;
    c->status = CKPT_STATUS_COMPLETE;
    assert_ok(ckpt_text_set(&c->root, root));
    assert_ok(ckpt_text_set(&c->group, root));
    return c;
}

static inline struct ckpt_member *sample_member(struct ckpt_checkpoint *c, uint64_t dir, const char *name,
                                                uint32_t number)
{
    struct ckpt_member *m = ckpt_checkpoint_add_member(c);
    assert_non_null(m);
    m->dir = dir;
    m->number = number;
    m->root = (uint16_t)strlen(name);
    assert_ok(ckpt_text_set(&m->name, name));
    assert_ok(ckpt_text_set(&m->path, name));
    return m;
}

static inline void sample_value(struct ckpt_checkpoint *c, const char *name, double number, enum ckpt_from from)
{
    struct ckpt_value value = {.name = (char *)(uintptr_t)name, .value = number, .from = from};
    bool changed = false;
    assert_ok(ckpt_checkpoint_set_value(c, &value, &changed));
}

static inline void sample_tag(struct ckpt_checkpoint *c, const char *tag)
{
    bool changed = false;
    assert_ok(ckpt_checkpoint_add_tag(c, tag, &changed));
}

/* One with something in every field. */
static inline struct ckpt_checkpoint *sample_full_checkpoint(void)
{
    struct ckpt_checkpoint *c = sample_checkpoint(7, 3, 41);
    struct ckpt_value value = {.name = (char[]){"val/Loss"},
                               .value = 0.25,
                               .from = CKPT_FROM_METRICS,
                               .by = CKPT_BY_EPOCH,
                               .kind = 9,
                               .path = (char[]){"logs/events.out.tfevents.1"}};
    bool changed = false;
    c->id = 0xfedcba9876543210;
    c->saved_ns = -5;
    c->status = CKPT_STATUS_INVALID;
    c->framework = CKPT_FRAMEWORK_RAY;
    c->holds = CKPT_HOLDS_EXTRA;
    assert_ok(ckpt_text_set(&c->why, "it is cut"));
    assert_ok(ckpt_text_set(&c->root, "checkpoint-100"));
    assert_ok(ckpt_text_set(&c->group, "step=100"));
    c->has_epoch = c->has_step = c->pinned = c->hidden = c->dropped = true;
    c->epoch_from = CKPT_FROM_INSIDE;
    c->step_from = CKPT_FROM_USER;
    c->epoch = UINT64_MAX;
    c->step = 100;
    c->left = CKPT_LEFT_DELETED;
    c->left_ns = 6;
    c->hidden_ns = 7;
    c->parent = 8;
    c->process = 9;
    sample_tag(c, "good");
    sample_tag(c, "paper-v2");
    assert_ok(ckpt_checkpoint_set_value(c, &value, &changed));
    sample_value(c, "acc", -1.5, CKPT_FROM_USER);
    struct ckpt_member *m = sample_member(c, 11, "model.bin", 2);
    assert_ok(ckpt_text_set(&m->path, "checkpoint-100/model.bin"));
    m->root = 14;
    m->sequence = 41;
    m->size = 1000;
    m->added = 300;
    m->holds = CKPT_HOLDS_WEIGHTS;
    m->directory = m->alias = m->invalid = m->replaced = m->gone = true;
    memset(m->state.bytes, 0xa1, sizeof m->state.bytes);
    memset(m->recipe.bytes, 0xb2, sizeof m->recipe.bytes);
    (void)sample_member(c, 7, "last.pt", 1);
    return c;
}

/* ---- in a store ---- */

static inline void sample_dir(struct ckpt_store *store, uint64_t dir, uint64_t parent, const char *name)
{
    assert_ok(ckpt_catalog_set_dir(store, dir, parent, name));
}

/* A recipe of one hole, with a reference in TXN. */
static inline struct ckpt_id sample_recipe(struct ckpt_store *store, struct ckpt_codec *codec, struct ckpt_txn *txn,
                                           uint64_t size)
{
    struct ckpt_recipe recipe;
    struct ckpt_draft draft = {.kind = CKPT_KIND_RECIPE};
    uint8_t *raw = NULL;
    uint32_t added = 0;
    uint32_t record_size = 0;
    ckpt_recipe_init(&recipe);
    assert_ok(ckpt_recipe_append(&recipe, CKPT_HOLE, 0, size));
    assert_ok(ckpt_recipe_encode(&recipe, &raw, &draft.raw_size));
    draft.raw = raw;
    draft.record = malloc(ckpt_record_bound(draft.raw_size));
    assert_non_null(draft.record);
    assert_ok(ckpt_object_prepare(store, codec, &draft));
    assert_ok(ckpt_object_commit(store, codec, txn, &draft, &added, &record_size));
    free(draft.record);
    free(raw);
    ckpt_recipe_clear(&recipe);
    return draft.id;
}

/* Records a file of SIZE zeros; its version, which is the newest one when the size is the same. */
static inline struct ckpt_version sample_version(struct ckpt_store *store, uint64_t dir, const char *name,
                                                 uint64_t size)
{
    struct ckpt_codec *codec = NULL;
    struct ckpt_txn *txn = NULL;
    struct ckpt_version version = {.dir = dir, .size = size, .mode = 0100644};
    struct ckpt_stamp stamp = {.ino = 7, .size = size, .mtime_ns = 5, .ctime_ns = 9};
    bool added = false;
    (void)snprintf(version.name, sizeof version.name, "%s", name);
    assert_ok(ckpt_codec_create(&codec));
    assert_ok(ckpt_store_begin(store, &txn));
    version.recipe = sample_recipe(store, codec, txn, size);
    assert_ok(ckpt_catalog_put_version_in(store, codec, txn, &version, &stamp, size, &added));
    assert_ok(ckpt_store_commit(store, txn));
    ckpt_codec_free(codec);
    return version;
}

/* Makes VERSION a member of C, in the run's directory. */
static inline struct ckpt_member *sample_member_of(struct ckpt_checkpoint *c, const struct ckpt_version *version)
{
    struct ckpt_member *m = sample_member(c, version->dir, version->name, version->number);
    m->sequence = version->sequence;
    m->size = version->size;
    m->recipe = version->recipe;
    return m;
}

/* Writes the checkpoint, and frees it. */
static inline void sample_put(struct ckpt_store *store, struct ckpt_checkpoint *c)
{
    struct ckpt_txn *txn = NULL;
    assert_ok(ckpt_store_begin(store, &txn));
    assert_ok(ckpt_checkpoint_put_in(txn, c));
    assert_ok(ckpt_store_commit(store, txn));
    ckpt_checkpoint_free(c);
}

static inline void sample_put_run(struct ckpt_store *store, uint64_t dir, uint32_t next_number)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_run run = {.dir = dir, .next_number = next_number};
    assert_ok(ckpt_store_begin(store, &txn));
    assert_ok(ckpt_run_put_in(txn, &run));
    assert_ok(ckpt_store_commit(store, txn));
}

/* The checkpoint as the database has it; to be freed. NULL: there is none. */
static inline struct ckpt_checkpoint *sample_get(struct ckpt_store *store, uint64_t run, uint32_t number)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_checkpoint *c = NULL;
    assert_ok(ckpt_txn_read(store->db, &txn));
    enum ckpt_err err = ckpt_checkpoint_get_in(txn, run, number, &c);
    ckpt_txn_abort(txn);
    assert_true(err == CKPT_OK || err == CKPT_ERR_NOT_FOUND);
    return c;
}

static inline uint64_t sample_rows(struct ckpt_store *store, enum ckpt_table table)
{
    struct ckpt_txn *txn = NULL;
    uint64_t n = 0;
    assert_ok(ckpt_txn_read(store->db, &txn));
    assert_ok(ckpt_db_count(txn, table, &n));
    ckpt_txn_abort(txn);
    return n;
}

#endif
