/*
 * Garbage: what a recipe's last reference leaves behind, and what the sweeper takes and leaves
 * alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "chunk/pool.h"
#include "object/garbage.h"
#include "object/internal.h"
#include "object/object.h"
#include "object/recipe.h"
#include "object/sweep.h"
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fixture {
    char dir[256];
    struct ckpt_store *store;
    struct ckpt_codec *codec;
    struct ckpt_pool *pool;
    struct ckpt_sweeper *sweeper;
};

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    const char *base = getenv("TMPDIR");
    assert_non_null(f);
    snprintf(f->dir, sizeof f->dir, "%s/ckpt-garbage-XXXXXX", base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(ckpt_store_create(f->dir, NULL), CKPT_OK);
    assert_int_equal(ckpt_store_open(f->dir, CKPT_WRITE, NULL, NULL, &f->store), CKPT_OK);
    assert_int_equal(ckpt_codec_create(&f->codec), CKPT_OK);
    assert_int_equal(ckpt_pool_create(2, false, &f->pool), CKPT_OK);
    assert_int_equal(ckpt_sweeper_create(f->store, f->codec, f->pool, &f->sweeper), CKPT_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    ckpt_sweeper_free(f->sweeper);
    ckpt_pool_free(f->pool);
    ckpt_codec_free(f->codec);
    ckpt_store_close(f->store);
    nftw(f->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

/* Stores RAW (or takes one more reference to it) in TXN. */
static struct ckpt_id put_in(struct fixture *f, struct ckpt_txn *txn, enum ckpt_kind kind,
                             const void *raw, size_t n)
{
    struct ckpt_draft draft = {.kind = kind, .raw = raw, .raw_size = n};
    uint32_t added = 0;
    uint32_t record_size = 0;
    draft.record = malloc(ckpt_record_bound(n));
    assert_non_null(draft.record);
    assert_int_equal(ckpt_object_prepare(f->store, f->codec, &draft), CKPT_OK);
    assert_int_equal(ckpt_object_commit(f->store, f->codec, txn, &draft, &added, &record_size),
                     CKPT_OK);
    free(draft.record);
    return draft.id;
}

static struct ckpt_id put_chunk(struct fixture *f, uint64_t content)
{
    struct ckpt_txn *txn = NULL;
    assert_int_equal(ckpt_store_begin(f->store, &txn), CKPT_OK);
    struct ckpt_id id = put_in(f, txn, CKPT_KIND_CHUNK, &content, sizeof content);
    assert_int_equal(ckpt_store_commit(f->store, txn), CKPT_OK);
    return id;
}

/* A file of a hole and N chunks, all of the same bytes, which get a reference for each of them. */
static struct ckpt_id put_file(struct fixture *f, uint64_t content, size_t n, struct ckpt_id *chunk)
{
    struct ckpt_recipe recipe;
    struct ckpt_txn *txn = NULL;
    uint8_t *raw = NULL;
    size_t size = 0;
    ckpt_recipe_init(&recipe);
    assert_int_equal(ckpt_recipe_append(&recipe, CKPT_HOLE, 0, 4096), CKPT_OK);
    assert_int_equal(ckpt_store_begin(f->store, &txn), CKPT_OK);
    for (uint32_t i = 0; i < n; i++) {
        struct ckpt_recipe_chunk row = {.size = sizeof content};
        *chunk = row.id = put_in(f, txn, CKPT_KIND_CHUNK, &content, sizeof content);
        assert_int_equal(ckpt_recipe_add(&recipe, &row), CKPT_OK);
        /* Its reference is one, in however many places its bytes stand. */
        assert_int_equal(ckpt_recipe_append(&recipe, i, 0, 3), CKPT_OK);
        assert_int_equal(ckpt_recipe_append(&recipe, i, 3, sizeof content - 3), CKPT_OK);
    }
    assert_int_equal(ckpt_recipe_encode(&recipe, &raw, &size), CKPT_OK);
    struct ckpt_id id = put_in(f, txn, CKPT_KIND_RECIPE, raw, size);
    assert_int_equal(ckpt_store_commit(f->store, txn), CKPT_OK);
    free(raw);
    ckpt_recipe_clear(&recipe);
    return id;
}

static enum ckpt_err unref(struct fixture *f, const struct ckpt_id *recipe)
{
    struct ckpt_txn *txn = NULL;
    assert_int_equal(ckpt_store_begin(f->store, &txn), CKPT_OK);
    enum ckpt_err err = ckpt_recipe_unref(f->store, f->codec, txn, recipe);
    if (err == CKPT_OK) {
        return ckpt_store_commit(f->store, txn);
    }
    ckpt_txn_abort(txn);
    return err;
}

static uint64_t add_row(struct fixture *f, const struct ckpt_id *recipe, const struct ckpt_id *id)
{
    struct ckpt_txn *txn = NULL;
    uint64_t key = 0;
    assert_int_equal(ckpt_store_begin(f->store, &txn), CKPT_OK);
    assert_int_equal(ckpt_garbage_add(txn, recipe, id, 1, &key), CKPT_OK);
    assert_int_equal(ckpt_store_commit(f->store, txn), CKPT_OK);
    return key;
}

static uint64_t references(struct fixture *f, const struct ckpt_id *id)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_refs refs = {0};
    assert_int_equal(ckpt_txn_read(f->store->db, &txn), CKPT_OK);
    enum ckpt_err err = ckpt_object_refs(txn, id, &refs);
    ckpt_txn_abort(txn);
    assert_true(err == CKPT_OK || err == CKPT_ERR_NOT_FOUND);
    return refs.count;
}

static uint64_t rows(struct fixture *f)
{
    struct ckpt_txn *txn = NULL;
    uint64_t n = 0;
    assert_int_equal(ckpt_txn_read(f->store->db, &txn), CKPT_OK);
    assert_int_equal(ckpt_db_count(txn, CKPT_TABLE_GARBAGE, &n), CKPT_OK);
    ckpt_txn_abort(txn);
    return n;
}

static enum ckpt_err sweep(struct fixture *f, bool *more)
{
    ckpt_sweeper_refresh(f->sweeper);
    return ckpt_sweep(f->sweeper, more);
}

static void test_nothing_to_sweep(void **state)
{
    struct fixture *f = *state;
    bool more = true;
    assert_int_equal(sweep(f, &more), CKPT_ERR_NOT_FOUND);
    assert_false(more);
}

static void test_recipe_leaves_rows(void **state)
{
    struct fixture *f = *state;
    struct ckpt_counters counters;
    struct ckpt_id chunk;
    bool more = false;
    struct ckpt_id recipe = put_file(f, 1, CKPT_GARBAGE_ROW + 1, &chunk);
    assert_int_equal(unref(f, &recipe), CKPT_OK);
    /* The recipe goes at once, its chunks (not the hole) row by row. */
    assert_int_equal(references(f, &recipe), 0);
    assert_int_equal(references(f, &chunk), CKPT_GARBAGE_ROW + 1);
    assert_int_equal(rows(f), 2);
    assert_int_equal(sweep(f, &more), CKPT_OK);
    assert_true(more);
    assert_int_equal(references(f, &chunk), CKPT_GARBAGE_ROW); /* the newest row first */
    assert_int_equal(sweep(f, &more), CKPT_OK);
    assert_false(more);
    assert_int_equal(references(f, &chunk), 0);
    assert_int_equal(rows(f), 0);
    assert_int_equal(ckpt_store_counters(f->store, &counters), CKPT_OK);
    assert_int_equal(counters.objects, 0);
    assert_int_equal(counters.stored, 0);
    assert_int_equal(counters.unique, 0);
}

static void test_shared_recipe_stays(void **state)
{
    struct fixture *f = *state;
    struct ckpt_txn *txn = NULL;
    struct ckpt_id chunk;
    struct ckpt_id recipe = put_file(f, 1, 2, &chunk);
    assert_int_equal(ckpt_store_begin(f->store, &txn), CKPT_OK);
    assert_int_equal(ckpt_object_ref(txn, &recipe), CKPT_OK);
    assert_int_equal(ckpt_store_commit(f->store, txn), CKPT_OK);
    assert_int_equal(unref(f, &recipe), CKPT_OK);
    assert_int_equal(references(f, &recipe), 1);
    assert_int_equal(rows(f), 0);
    /* A chunk is no recipe. */
    assert_int_equal(unref(f, &chunk), CKPT_ERR_CORRUPT);
}

static void test_pinned_rows_wait(void **state)
{
    struct fixture *f = *state;
    struct ckpt_id pinned_chunk;
    struct ckpt_id other_chunk;
    bool more = true;
    struct ckpt_id pinned = put_file(f, 1, 1, &pinned_chunk);
    struct ckpt_id other = put_file(f, 2, 1, &other_chunk);
    assert_int_equal(ckpt_pin(f->store, &pinned), CKPT_OK);
    assert_int_equal(ckpt_pin(f->store, &pinned), CKPT_OK);
    assert_int_equal(unref(f, &pinned), CKPT_OK);
    assert_int_equal(unref(f, &other), CKPT_OK);
    assert_int_equal(sweep(f, &more), CKPT_OK);
    assert_false(more);
    assert_int_equal(references(f, &pinned_chunk), 1);
    assert_int_equal(references(f, &other_chunk), 0);
    ckpt_unpin(f->store, &pinned);
    assert_int_equal(sweep(f, &more), CKPT_ERR_NOT_FOUND);
    ckpt_unpin(f->store, &pinned);
    assert_int_equal(sweep(f, &more), CKPT_OK);
    assert_int_equal(references(f, &pinned_chunk), 0);
}

static void test_finished_ingest_keeps_its_chunks(void **state)
{
    struct fixture *f = *state;
    struct ckpt_txn *txn = NULL;
    bool more = true;
    struct ckpt_id chunk = put_chunk(f, 1);
    uint64_t key = add_row(f, NULL, &chunk);
    assert_int_equal(ckpt_store_begin(f->store, &txn), CKPT_OK);
    assert_int_equal(ckpt_garbage_del(txn, key), CKPT_OK);
    assert_int_equal(ckpt_garbage_del(txn, key), CKPT_ERR_NOT_FOUND);
    assert_int_equal(ckpt_store_commit(f->store, txn), CKPT_OK);
    assert_int_equal(sweep(f, &more), CKPT_ERR_NOT_FOUND);
    assert_int_equal(references(f, &chunk), 1);
    /* Its key is not given out again. */
    assert_true(add_row(f, NULL, &chunk) > key);
}

static void test_refusals(void **state)
{
    struct fixture *f = *state;
    struct ckpt_txn *txn = NULL;
    uint64_t key = 0;
    bool more = true;
    struct ckpt_id *ids = calloc(CKPT_GARBAGE_ROW + 1, sizeof *ids);
    assert_non_null(ids);
    assert_int_equal(ckpt_store_begin(f->store, &txn), CKPT_OK);
    assert_int_equal(ckpt_garbage_add(txn, NULL, ids, CKPT_GARBAGE_ROW + 1, &key),
                     CKPT_ERR_INVALID);
    ckpt_txn_abort(txn);
    free(ids);
    struct ckpt_id chunk = put_chunk(f, 1);
    (void)add_row(f, NULL, &chunk);
    ckpt_store_stop(f->store, "the test says so");
    assert_int_equal(sweep(f, &more), CKPT_ERR_STOPPED);
    assert_false(more);
    assert_int_equal(rows(f), 1);
}

/* A row that names what isn't there stays, and keeps no other one. */
static void test_bad_row(void **state)
{
    struct fixture *f = *state;
    struct ckpt_id none;
    bool more = true;
    memset(&none, 0xee, sizeof none);
    struct ckpt_id chunk = put_chunk(f, 1);
    (void)add_row(f, NULL, &chunk);
    (void)add_row(f, NULL, &none);
    enum ckpt_err err = CKPT_OK;
    for (unsigned i = 0; i < 4 && err == CKPT_OK; i++) {
        err = sweep(f, &more);
    }
    assert_int_equal(err, CKPT_ERR_NOT_FOUND);
    assert_false(more);
    assert_int_equal(rows(f), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_nothing_to_sweep, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_recipe_leaves_rows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_shared_recipe_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_pinned_rows_wait, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_finished_ingest_keeps_its_chunks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_refusals, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_bad_row, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
