/*
 * Lineage: which chunks become differences from which, how long a chain gets, and what damage does to it.
 */
#include "lab.h"

#include "object/garbage.h"

enum {
    SIZE = 16 << 10,
    SMALL = 8, /* of chunks of whose bytes nothing matters */
};

static struct ckpt_id put_small(struct lab *lab, uint64_t content)
{
    uint8_t bytes[SMALL];
    memcpy(bytes, &content, sizeof bytes);
    return lab_put(lab, bytes, sizeof bytes, NULL);
}

/* ---- chains ---- */

/* Each state is a difference from the one before, until the chain is as long as it may be: then one is
   whole and names it all the same. */
static void test_a_chain_has_an_end(void **state)
{
    static const unsigned depths[] = {0, 1, 4, CKPT_LINEAGE_MAX};
    enum { MOST = CKPT_LINEAGE_MAX + 3 };
    struct lab *lab = *state;
    uint64_t rows = 0;
    for (size_t d = 0; d < sizeof depths / sizeof depths[0]; d++) {
        struct ckpt_id ids[MOST];
        unsigned states = depths[d] + 3;
        uint8_t *all = malloc((size_t)MOST * SIZE);
        uint8_t *bytes = unit_floats(SIZE, 100 + d);
        assert_non_null(all);
        lab->store->depth = depths[d];
        for (unsigned i = 0; i < states; i++) {
            unit_train(bytes, SIZE, i);
            memcpy(all + (size_t)i * SIZE, bytes, SIZE);
            ids[i] = lab_put(lab, bytes, SIZE, i > 0 ? &ids[i - 1] : NULL);
            struct ckpt_refs refs = lab_refs(lab, &ids[i]);
            assert_int_equal(ckpt_codec_needs_base(refs.coding.id), i % (depths[d] + 1) != 0);
            assert_int_equal(lab_depth(lab, &ids[i]), i % (depths[d] + 1));
            assert_false(refs.alone);
            if (i > 0) {
                assert_memory_equal(&refs.previous, &ids[i - 1], sizeof ids[i]);
                assert_true(lab_is_dependent(lab, &ids[i - 1], &ids[i]));
            } else {
                assert_true(ckpt_id_is_zero(&refs.previous));
            }
        }
        for (unsigned i = 0; i < states; i++) {
            assert_ok(lab_read(lab, &ids[i], all + (size_t)i * SIZE, SIZE));
        }
        assert_int_equal(lab_rows(lab, CKPT_TABLE_DEPENDENTS), rows += states - 1);
        free(bytes);
        free(all);
    }
}

/* A difference costs a part of what the whole would. */
static void test_a_difference_is_small(void **state)
{
    struct lab *lab = *state;
    uint8_t *bytes = unit_floats(SIZE, 1);
    struct ckpt_id first = lab_put(lab, bytes, SIZE, NULL);
    unit_train(bytes, SIZE, 2);
    struct ckpt_id second = lab_put(lab, bytes, SIZE, &first);
    assert_true(lab_refs(lab, &second).record_size < lab_refs(lab, &first).record_size / 2);
    free(bytes);
}

/* The same bytes again are the same chunk, whatever they are said to come after. */
static void test_a_known_state_gets_no_other_previous(void **state)
{
    struct lab *lab = *state;
    uint8_t *bytes = unit_floats(SIZE, 1);
    uint8_t *trained = unit_floats(SIZE, 1);
    unit_train(trained, SIZE, 2);
    struct ckpt_id first = lab_put(lab, bytes, SIZE, NULL);
    struct ckpt_id second = lab_put(lab, trained, SIZE, &first);
    struct ckpt_id again = lab_put(lab, bytes, SIZE, &second);
    assert_true(ckpt_id_equal(&again, &first));
    struct ckpt_refs refs = lab_refs(lab, &first);
    assert_int_equal(refs.count, 2);
    assert_true(ckpt_id_is_zero(&refs.previous));
    assert_int_equal(lab_rows(lab, CKPT_TABLE_DEPENDENTS), 1);
    again = lab_put(lab, trained, SIZE, NULL);
    assert_true(lab_is_difference(lab, &second));
    free(bytes);
    free(trained);
}

/* ---- alone ---- */

static void test_a_difference_that_does_not_pay(void **state)
{
    struct lab *lab = *state;
    uint8_t *bytes = unit_floats(SIZE, 1);
    uint8_t *noise = unit_noise(SIZE, 2);
    struct ckpt_id base = lab_put(lab, noise, SIZE, NULL);
    struct ckpt_id id = lab_put(lab, bytes, SIZE, &base);
    assert_false(lab_is_difference(lab, &id));
    struct ckpt_refs refs = lab_refs(lab, &id);
    assert_true(refs.alone);
    assert_true(ckpt_id_is_zero(&refs.previous));
    assert_int_equal(lab_rows(lab, CKPT_TABLE_DEPENDENTS), 0);
    assert_ok(lab_read(lab, &id, bytes, SIZE));
    free(bytes);
    free(noise);
}

/* What comes after it isn't tried either, but for one of eight: those whose id says so. */
static void test_alone_is_tried_again_now_and_then(void **state)
{
    enum { TRIES = 48 };
    struct lab *lab = *state;
    uint8_t *bytes = unit_floats(SIZE, 1);
    uint8_t *noise = unit_noise(SIZE, 2);
    unsigned tried = 0;
    struct ckpt_id base = lab_put(lab, noise, SIZE, NULL);
    struct ckpt_id alone = lab_put(lab, bytes, SIZE, &base);
    for (unsigned i = 0; i < TRIES; i++) {
        uint8_t *next = unit_floats(SIZE, 1);
        unit_train(next, SIZE, i);
        struct ckpt_id id = lab_put(lab, next, SIZE, &alone);
        struct ckpt_refs refs = lab_refs(lab, &id);
        bool difference = ckpt_codec_needs_base(refs.coding.id);
        assert_int_equal(difference, id.bytes[0] % 8 == 0);
        assert_int_equal(refs.alone, !difference);
        assert_true(ckpt_id_equal(&refs.previous, difference ? &alone : &lab_none));
        assert_ok(lab_read(lab, &id, next, SIZE));
        tried += difference;
        free(next);
    }
    assert_in_range(tried, 1, TRIES / 2);
    assert_int_equal(lab_rows(lab, CKPT_TABLE_DEPENDENTS), tried);
    free(bytes);
    free(noise);
}

/* ---- bases that can't be one ---- */

enum { CHAIN = 3 };

static void nothing(struct lab *lab, struct ckpt_id *ids)
{
    (void)lab;
    (void)ids;
}
static void not_there(struct lab *lab, struct ckpt_id *ids)
{
    (void)lab;
    memset(&ids[CHAIN - 1], 0xee, sizeof *ids);
}
static void of_another_size(struct lab *lab, struct ckpt_id *ids)
{
    uint8_t *bytes = unit_floats(SIZE + 4, 1);
    ids[CHAIN - 1] = lab_put(lab, bytes, SIZE + 4, NULL);
    free(bytes);
}
static void a_recipe(struct lab *lab, struct ckpt_id *ids)
{
    struct ckpt_txn *txn = NULL;
    uint8_t *bytes = unit_floats(SIZE, 77);
    assert_ok(ckpt_store_begin(lab->store, &txn));
    ids[CHAIN - 1] = lab_put_in(lab, txn, CKPT_KIND_RECIPE, bytes, SIZE, NULL);
    assert_ok(ckpt_store_commit(lab->store, txn));
    free(bytes);
}
static void a_byte_of_it(struct lab *lab, struct ckpt_id *ids)
{
    lab_damage(lab, CKPT_TABLE_OBJECTS, &ids[CHAIN - 1], -1);
}
static void a_byte_of_what_it_leans_on(struct lab *lab, struct ckpt_id *ids)
{
    lab_damage(lab, CKPT_TABLE_OBJECTS, &ids[0], 70);
}
static void its_refs_row(struct lab *lab, struct ckpt_id *ids)
{
    lab_damage(lab, CKPT_TABLE_REFS, &ids[CHAIN - 1], 20);
}
static void refs_of_what_it_leans_on(struct lab *lab, struct ckpt_id *ids)
{
    lab_damage(lab, CKPT_TABLE_REFS, &ids[0], 20);
}
static void what_it_leans_on_gone(struct lab *lab, struct ckpt_id *ids)
{
    struct ckpt_id none;
    memset(&none, 0xee, sizeof none);
    lab_lie(lab, &ids[1], &none);
}
static void a_circle(struct lab *lab, struct ckpt_id *ids)
{
    lab_lie(lab, &ids[1], &ids[CHAIN - 1]);
}
static void itself(struct lab *lab, struct ckpt_id *ids)
{
    lab_lie(lab, &ids[CHAIN - 1], &ids[CHAIN - 1]);
}

/* New data is stored whole then, and is readable whatever becomes of the old. */
static void test_bases_that_are_passed_over(void **state)
{
    static const struct {
        const char *name;
        void (*damage)(struct lab *lab, struct ckpt_id *ids);
        bool difference;
    } cases[] = {
        {"nothing wrong", nothing, true},
        {"a base that isn't there", not_there, false},
        {"a base of another size", of_another_size, false},
        {"a recipe", a_recipe, false},
        {"a damaged base", a_byte_of_it, false},
        {"a base that leans on a damaged chunk", a_byte_of_what_it_leans_on, false},
        {"a base with a damaged refs row", its_refs_row, false},
        {"a base that leans on a chunk with a damaged refs row", refs_of_what_it_leans_on, false},
        {"a base that leans on nothing", what_it_leans_on_gone, false},
        {"bases in a circle", a_circle, false},
        {"a base that leans on itself", itself, false},
    };
    struct lab *lab = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ckpt_id ids[CHAIN];
        uint8_t *bytes = unit_floats(SIZE, 100 + i);
        for (unsigned n = 0; n < CHAIN; n++) {
            unit_train(bytes, SIZE, n);
            ids[n] = lab_put(lab, bytes, SIZE, n > 0 ? &ids[n - 1] : NULL);
        }
        cases[i].damage(lab, ids);
        unit_train(bytes, SIZE, CHAIN);
        struct ckpt_id id = lab_put(lab, bytes, SIZE, &ids[CHAIN - 1]);
        struct ckpt_refs refs = lab_refs(lab, &id);
        bool difference = ckpt_codec_needs_base(refs.coding.id);
        if (difference != cases[i].difference || refs.alone ||
            ckpt_id_is_zero(&refs.previous) != !cases[i].difference) {
            print_error("%s: %s%s\n", cases[i].name, difference ? "a difference" : "whole",
                        refs.alone ? ", alone" : "");
            fail();
        }
        assert_ok(lab_read(lab, &id, bytes, SIZE));
        free(bytes);
    }
}

/* Not even where it wouldn't be read, because the chain is long enough. */
static void test_what_is_no_state_of_it_is_not_named(void **state)
{
    static void (*const others[])(struct lab *, struct ckpt_id *) = {of_another_size, a_recipe, not_there};
    struct lab *lab = *state;
    lab->store->depth = 0;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        struct ckpt_id ids[CHAIN];
        uint8_t *bytes = unit_floats(SIZE, 200 + i);
        others[i](lab, ids);
        struct ckpt_id id = lab_put(lab, bytes, SIZE, &ids[CHAIN - 1]);
        struct ckpt_refs refs = lab_refs(lab, &id);
        assert_true(ckpt_id_is_zero(&refs.previous));
        free(bytes);
    }
    assert_int_equal(lab_rows(lab, CKPT_TABLE_DEPENDENTS), 0);
}

/* ---- reading what is damaged ---- */

static void test_a_damaged_base_is_damage_of_all_that_lean_on_it(void **state)
{
    enum { STATES = 6, BAD = 2 }; /* 0 to 4 are a chain, 5 is whole again */
    struct lab *lab = *state;
    struct ckpt_id ids[STATES];
    uint8_t *all[STATES];
    for (unsigned i = 0; i < STATES; i++) {
        all[i] = unit_floats(SIZE, 1);
        for (unsigned n = 0; n < i; n++) {
            unit_train(all[i], SIZE, n);
        }
        ids[i] = lab_put(lab, all[i], SIZE, i > 0 ? &ids[i - 1] : NULL);
    }
    lab_damage(lab, CKPT_TABLE_OBJECTS, &ids[BAD], -1);
    for (unsigned i = 0; i < STATES; i++) {
        assert_int_equal(lab_read(lab, &ids[i], all[i], SIZE),
                         i >= BAD && i < 5 ? CKPT_ERR_CORRUPT : CKPT_OK);
    }
    lab_damage(lab, CKPT_TABLE_OBJECTS, &ids[BAD], -1);
    for (unsigned i = 0; i < STATES; i++) {
        assert_ok(lab_read(lab, &ids[i], all[i], SIZE));
        free(all[i]);
    }
}

/* An intact record of the bytes TRAINED that says to be a difference from BASE. */
static void put_difference(struct lab *lab, const struct ckpt_id *id, const uint8_t *trained,
                           const uint8_t *from, const struct ckpt_id *base)
{
    struct ckpt_recording recording = {.kind = CKPT_KIND_CHUNK,
                                       .id = *id,
                                       .raw = trained,
                                       .raw_size = SIZE,
                                       .width = 4,
                                       .base_id = *base,
                                       .base = from};
    struct ckpt_coding coding;
    size_t size = 0;
    uint8_t *record = malloc(ckpt_record_bound(SIZE));
    assert_non_null(record);
    assert_ok(ckpt_record_encode(lab->codec, lab->store->seed, &recording, record, &size, &coding));
    assert_true(ckpt_codec_needs_base(coding.id));
    lab_set(lab, CKPT_TABLE_OBJECTS, id, record, size);
    free(record);
}

static void test_records_in_a_circle_are_damage(void **state)
{
    struct lab *lab = *state;
    uint8_t *bytes = unit_floats(SIZE, 1);
    uint8_t *trained = unit_floats(SIZE, 1);
    unit_train(trained, SIZE, 2);
    struct ckpt_id one = lab_put(lab, bytes, SIZE, NULL);
    struct ckpt_id other = lab_put(lab, trained, SIZE, NULL);
    put_difference(lab, &one, bytes, trained, &other);
    assert_ok(lab_read(lab, &one, bytes, SIZE));
    put_difference(lab, &other, trained, bytes, &one);
    assert_int_equal(lab_read(lab, &one, bytes, SIZE), CKPT_ERR_CORRUPT);
    assert_int_equal(lab_read(lab, &other, trained, SIZE), CKPT_ERR_CORRUPT);
    put_difference(lab, &one, bytes, bytes, &one);
    assert_int_equal(lab_read(lab, &one, bytes, SIZE), CKPT_ERR_CORRUPT);
    /* What is the same as damaged data is stored, under another id. */
    struct ckpt_id again = lab_put(lab, bytes, SIZE, NULL);
    assert_false(ckpt_id_equal(&again, &one));
    assert_ok(lab_read(lab, &again, bytes, SIZE));
    free(bytes);
    free(trained);
}

static void test_a_record_that_names_another_base_is_damage(void **state)
{
    struct lab *lab = *state;
    struct ckpt_id none;
    uint8_t *bytes = unit_floats(SIZE, 1);
    uint8_t *trained = unit_floats(SIZE, 1);
    uint8_t *larger = unit_floats(SIZE + 4, 1);
    unit_train(trained, SIZE, 2);
    struct ckpt_id id = lab_put(lab, trained, SIZE, NULL);
    struct ckpt_id long_one = lab_put(lab, larger, SIZE + 4, NULL);
    memset(&none, 0xee, sizeof none);
    put_difference(lab, &id, trained, bytes, &none);
    assert_int_equal(lab_read(lab, &id, trained, SIZE), CKPT_ERR_CORRUPT);
    put_difference(lab, &id, trained, bytes, &long_one);
    assert_int_equal(lab_read(lab, &id, trained, SIZE), CKPT_ERR_CORRUPT);
    /* Of the right size, and the wrong bytes. */
    uint8_t *others = unit_floats(SIZE, 3);
    struct ckpt_id wrong = lab_put(lab, others, SIZE, NULL);
    put_difference(lab, &id, trained, bytes, &wrong);
    assert_int_equal(lab_read(lab, &id, trained, SIZE), CKPT_ERR_CORRUPT);
    free(others);
    free(bytes);
    free(trained);
    free(larger);
}

/* ---- rows ---- */

static struct ckpt_id id_of(uint8_t first, uint8_t last)
{
    return (struct ckpt_id){.bytes = {[0] = first, [CKPT_ID_SIZE - 1] = last}};
}

static void test_dependents_are_walked_in_order(void **state)
{
    /* Those of 2, between those of its neighbours; the last one's are the last of the table. */
    static const uint8_t rows[][4] = {{1, 255, 9, 9}, {2, 0, 1, 1}, {2, 0, 1, 2}, {2, 0, 255, 255},
                                      {2, 1, 5, 5},   {255, 255, 3, 3}};
    static const uint8_t walks[][2] = {{1, 255}, {2, 0}, {2, 1}, {255, 255}, {0, 0}, {3, 0}};
    struct lab *lab = *state;
    struct ckpt_txn *txn = NULL;
    assert_ok(ckpt_txn_write(lab->store->db, &txn));
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ckpt_id previous = id_of(rows[i][0], rows[i][1]);
        struct ckpt_id id = id_of(rows[i][2], rows[i][3]);
        assert_ok(ckpt_lineage_add(txn, &previous, &id));
    }
    for (size_t w = 0; w < sizeof walks / sizeof walks[0]; w++) {
        struct ckpt_id previous = id_of(walks[w][0], walks[w][1]);
        struct ckpt_id id = {0};
        bool any = false;
        bool expected = false;
        for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
            if (rows[i][0] == walks[w][0] && rows[i][1] == walks[w][1]) {
                struct ckpt_id wanted = id_of(rows[i][2], rows[i][3]);
                assert_ok(ckpt_lineage_next(txn, &previous, &id, &id));
                assert_true(ckpt_id_equal(&id, &wanted));
                expected = true;
            }
        }
        assert_int_equal(ckpt_lineage_next(txn, &previous, &id, &id), CKPT_ERR_NOT_FOUND);
        assert_ok(ckpt_lineage_any(txn, &previous, &any));
        assert_int_equal(any, expected);
    }
    ckpt_txn_abort(txn);
}

static void test_rows_go_once(void **state)
{
    struct lab *lab = *state;
    struct ckpt_txn *txn = NULL;
    struct ckpt_id previous = id_of(1, 1);
    struct ckpt_id id = id_of(2, 2);
    bool any = true;
    assert_ok(ckpt_txn_write(lab->store->db, &txn));
    assert_ok(ckpt_lineage_add(txn, &previous, &id));
    assert_int_equal(ckpt_lineage_del(txn, &id, &previous), CKPT_ERR_CORRUPT);
    assert_ok(ckpt_lineage_del(txn, &previous, &id));
    assert_int_equal(ckpt_lineage_del(txn, &previous, &id), CKPT_ERR_CORRUPT);
    assert_ok(ckpt_lineage_any(txn, &previous, &any));
    assert_false(any);
    ckpt_txn_abort(txn);
}

/* ---- who needs whom ---- */

static enum ckpt_err unref(struct lab *lab, const struct ckpt_id *id, bool *gone)
{
    struct ckpt_txn *txn = NULL;
    assert_ok(ckpt_store_begin(lab->store, &txn));
    enum ckpt_err err = ckpt_object_unref(txn, id, gone);
    if (err == CKPT_OK) {
        return ckpt_store_commit(lab->store, txn);
    }
    ckpt_txn_abort(txn);
    return err;
}

static void test_a_chunk_with_dependents_stays(void **state)
{
    struct lab *lab = *state;
    struct ckpt_counters counters;
    uint8_t *bytes = unit_floats(SIZE, 1);
    bool gone = true;
    struct ckpt_id first = lab_put(lab, bytes, SIZE, NULL);
    first = lab_put(lab, bytes, SIZE, NULL);
    unit_train(bytes, SIZE, 2);
    struct ckpt_id second = lab_put(lab, bytes, SIZE, &first);
    assert_ok(unref(lab, &first, &gone)); /* one of two references */
    assert_false(gone);
    assert_int_equal(unref(lab, &first, &gone), CKPT_ERR_NEEDED);
    assert_int_equal(lab_refs(lab, &first).count, 1);
    assert_ok(lab_read(lab, &second, bytes, SIZE));
    assert_ok(unref(lab, &second, &gone));
    assert_true(gone);
    assert_int_equal(lab_rows(lab, CKPT_TABLE_DEPENDENTS), 0);
    assert_ok(unref(lab, &first, &gone));
    assert_true(gone);
    assert_ok(ckpt_store_counters(lab->store, &counters));
    assert_int_equal(counters.objects, 0);
    assert_int_equal(counters.stored, 0);
    assert_int_equal(counters.unique, 0);
    free(bytes);
}

/* ---- what is about to go ---- */

static void add_garbage(struct lab *lab, const struct ckpt_id *recipe, const struct ckpt_id *ids, size_t n)
{
    struct ckpt_txn *txn = NULL;
    uint64_t key = 0;
    assert_ok(ckpt_store_begin(lab->store, &txn));
    assert_ok(ckpt_garbage_add(txn, recipe, ids, n, &key));
    assert_ok(ckpt_store_commit(lab->store, txn));
}

static enum ckpt_err collect(struct lab *lab, struct ckpt_doomed **doomed)
{
    struct ckpt_txn *txn = NULL;
    assert_ok(ckpt_txn_read(lab->store->db, &txn));
    enum ckpt_err err = ckpt_doomed_collect(lab->store, txn, doomed);
    ckpt_txn_abort(txn);
    return err;
}

static void test_doomed_are_those_whose_last_reference_is_garbage(void **state)
{
    struct lab *lab = *state;
    struct ckpt_doomed *doomed = NULL;
    const struct ckpt_id pinned = id_of(9, 9);
    struct ckpt_id once = put_small(lab, 1);
    struct ckpt_id shared = put_small(lab, 2);
    struct ckpt_id twice = put_small(lab, 3);
    struct ckpt_id read = put_small(lab, 4);
    struct ckpt_id kept = put_small(lab, 5);
    shared = put_small(lab, 2);
    twice = put_small(lab, 3);
    read = put_small(lab, 4);
    assert_ok(collect(lab, &doomed));
    assert_false(ckpt_is_doomed(doomed, &once));
    ckpt_doomed_free(doomed);
    const struct ckpt_id first[] = {once, shared, twice};
    const struct ckpt_id second[] = {twice, read};
    add_garbage(lab, NULL, first, 3);
    add_garbage(lab, NULL, second, 2);
    add_garbage(lab, &pinned, &read, 1);
    assert_ok(ckpt_pin(lab->store, &pinned));
    assert_ok(collect(lab, &doomed));
    assert_true(ckpt_is_doomed(doomed, &once));
    assert_false(ckpt_is_doomed(doomed, &shared)); /* one of its two */
    assert_true(ckpt_is_doomed(doomed, &twice));
    assert_false(ckpt_is_doomed(doomed, &read)); /* a reader has it open */
    assert_false(ckpt_is_doomed(doomed, &kept));
    assert_false(ckpt_is_doomed(NULL, &once));
    ckpt_doomed_free(doomed);
    ckpt_unpin(lab->store, &pinned);
    assert_ok(collect(lab, &doomed));
    assert_true(ckpt_is_doomed(doomed, &read));
    ckpt_doomed_free(doomed);
    ckpt_doomed_free(NULL);
}

static void test_garbage_of_what_is_not_there(void **state)
{
    struct lab *lab = *state;
    struct ckpt_doomed *doomed = NULL;
    struct ckpt_id none = id_of(0xee, 0xee);
    add_garbage(lab, NULL, &none, 1);
    assert_ok(collect(lab, &doomed));
    assert_false(ckpt_is_doomed(doomed, &none));
    ckpt_doomed_free(doomed);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, lab_setup, lab_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_chain_has_an_end),
        TEST(test_a_difference_is_small),
        TEST(test_a_known_state_gets_no_other_previous),
        TEST(test_a_difference_that_does_not_pay),
        TEST(test_alone_is_tried_again_now_and_then),
        TEST(test_bases_that_are_passed_over),
        TEST(test_what_is_no_state_of_it_is_not_named),
        TEST(test_a_damaged_base_is_damage_of_all_that_lean_on_it),
        TEST(test_records_in_a_circle_are_damage),
        TEST(test_a_record_that_names_another_base_is_damage),
        TEST(test_dependents_are_walked_in_order),
        TEST(test_rows_go_once),
        TEST(test_a_chunk_with_dependents_stays),
        TEST(test_doomed_are_those_whose_last_reference_is_garbage),
        TEST(test_garbage_of_what_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
