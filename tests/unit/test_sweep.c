/*
 * The sweeper: when a version goes, what was a difference from its chunks becomes one from the nearest
 * chunk before that stays, or whole; nothing that stays is lost, and nothing that went is kept for
 * others' sake.
 *
 * Versions are files of chunks that are put into the catalog by hand; version number N + 1 of "a" is state N.
 */
#include "lab.h"

#include "catalog/catalog_txn.h"
#include "common/bytes.h"
#include "object/garbage.h"
#include "object/recipe.h"
#include "object/sweep.h"
#include <ckpt/verify.h>

enum { SIZE = 8 << 10 };

/* ---- versions ---- */

struct chunk {
    uint8_t *bytes;
    struct ckpt_id id;
};

/* Stores a file of these chunks, each a state after the one of BASES (may be NULL; an id of zero is none).
   Returns its number. */
static uint32_t save(struct lab *lab, const char *name, struct chunk *chunks, size_t n, size_t size,
                     const struct ckpt_id *bases)
{
    struct ckpt_recipe recipe;
    struct ckpt_version version = {.dir = CKPT_DIR_ROOT, .size = n * size, .mode = 0100644};
    struct ckpt_stamp stamp = {.ino = 1, .size = n * size};
    struct ckpt_txn *txn = NULL;
    uint8_t *raw = NULL;
    size_t raw_size = 0;
    bool added = false;
    (void)snprintf(version.name, sizeof version.name, "%s", name);
    ckpt_recipe_init(&recipe);
    assert_ok(ckpt_store_begin(lab->store, &txn));
    for (uint32_t i = 0; i < n; i++) {
        struct ckpt_recipe_chunk row = {.size = (uint32_t)size, .width = 4, .key = i + 1};
        row.id = chunks[i].id = lab_put_in(lab, txn, CKPT_KIND_CHUNK, chunks[i].bytes, size,
                                           bases != NULL ? &bases[i] : NULL);
        assert_ok(ckpt_recipe_add(&recipe, &row));
        assert_ok(ckpt_recipe_append(&recipe, i, 0, size));
    }
    assert_ok(ckpt_recipe_encode(&recipe, &raw, &raw_size));
    version.recipe = lab_put_in(lab, txn, CKPT_KIND_RECIPE, raw, raw_size, NULL);
    assert_ok(ckpt_catalog_put_version_in(lab->store, lab->codec, txn, &version, &stamp, 1, &added));
    assert_ok(ckpt_store_commit(lab->store, txn));
    ckpt_recipe_clear(&recipe);
    free(raw);
    return version.number;
}

static void drop(struct lab *lab, const char *name, const uint32_t *numbers, size_t n)
{
    assert_ok(ckpt_catalog_drop(lab->store, CKPT_DIR_ROOT, name, numbers, n));
}

static struct ckpt_sweeper *sweeper_of(struct lab *lab)
{
    struct ckpt_sweeper *sweeper = NULL;
    assert_ok(ckpt_sweeper_create(lab->store, lab->codec, lab->pool, &sweeper));
    return sweeper;
}

/* Returns the number of steps. */
static unsigned sweep_to_the_end(struct ckpt_sweeper *sweeper)
{
    unsigned steps = 0;
    bool more = true;
    ckpt_sweeper_refresh(sweeper);
    while (more) {
        enum ckpt_err err = ckpt_sweep(sweeper, &more);
        if (err == CKPT_ERR_NOT_FOUND) {
            assert_false(more);
            break;
        }
        assert_ok(err);
        assert_true(steps++ < 1000);
    }
    return steps;
}

static unsigned sweep(struct lab *lab)
{
    struct ckpt_sweeper *sweeper = sweeper_of(lab);
    unsigned steps = sweep_to_the_end(sweeper);
    ckpt_sweeper_free(sweeper);
    return steps;
}

/* Counters, references, rows of dependents, every byte. */
static void assert_clean(struct lab *lab)
{
    struct ckpt_verify_result result;
    assert_ok(ckpt_verify(lab->store, false, NULL, NULL, &result));
    if (result.problems != 0) {
        print_error("%s\n", lab->u->text);
    }
    assert_int_equal(result.problems, 0);
}

/* ---- one lineage ---- */

enum { STATES = 8, NONE = -1 };

/* COUNT states of one chunk, each saved after the one before. */
static void save_states(struct lab *lab, struct chunk *states, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        states[i].bytes = unit_floats(SIZE, 1);
        for (size_t n = 0; n < i; n++) {
            unit_train(states[i].bytes, SIZE, n);
        }
        assert_int_equal(save(lab, "a", &states[i], 1, SIZE, i > 0 ? &states[i - 1].id : NULL), i + 1);
    }
}

static void free_states(struct chunk *states, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(states[i].bytes);
    }
}

struct left {
    int state;
    int previous; /* NONE */
    bool difference;
};

static void assert_left(struct lab *lab, const char *name, const struct chunk *states, const struct left *left,
                        size_t count)
{
    uint64_t linked = 0;
    for (size_t i = 0; i < count; i++) {
        const struct chunk *chunk = &states[left[i].state];
        const struct ckpt_id *previous =
            left[i].previous == NONE ? &lab_none : &states[left[i].previous].id;
        struct ckpt_refs refs = lab_refs(lab, &chunk->id);
        bool difference = ckpt_codec_needs_base(refs.coding.id);
        if (difference != left[i].difference || refs.alone || !ckpt_id_equal(&refs.previous, previous)) {
            print_error("%s: state %d is %s, and its previous is%s that\n", name, left[i].state,
                        difference ? "a difference" : "whole",
                        ckpt_id_equal(&refs.previous, previous) ? "" : "n't");
            fail();
        }
        linked += left[i].previous != NONE;
        assert_int_equal(refs.count, 1);
        assert_ok(lab_read(lab, &chunk->id, chunk->bytes, SIZE));
    }
    assert_int_equal(lab_rows(lab, CKPT_TABLE_DEPENDENTS), linked);
    assert_int_equal(lab_rows(lab, CKPT_TABLE_OBJECTS), 2 * count); /* with the recipes */
    assert_int_equal(lab_rows(lab, CKPT_TABLE_GARBAGE), 0);
    assert_clean(lab);
}

/* With depth 2, before: 0 whole, 1 and 2 differences, 3 whole (after 2), 4 and 5 differences, 6 whole
   (after 5). */
static const struct {
    const char *name;
    unsigned depth;
    int states;
    int gone[STATES]; /* ends with NONE */
    struct left left[STATES]; /* ends after the number of states that stay */
} lineages[] = {
    {"the first", 4, 4, {0, NONE}, {{1, NONE, false}, {2, 1, true}, {3, 2, true}}},
    {"one in the middle", 4, 4, {1, NONE}, {{0, NONE, false}, {2, 0, true}, {3, 2, true}}},
    {"the last", 4, 3, {2, NONE}, {{0, NONE, false}, {1, 0, true}}},
    {"all but the last", 4, 5, {0, 1, 2, 3, NONE}, {{4, NONE, false}}},
    {"all but the first", 4, 4, {1, 2, 3, NONE}, {{0, NONE, false}}},
    {"all between", 4, 5, {1, 2, 3, NONE}, {{0, NONE, false}, {4, 0, true}}},
    {"the first two", 4, 4, {0, 1, NONE}, {{2, NONE, false}, {3, 2, true}}},
    {"every second", 4, 5, {0, 2, NONE}, {{1, NONE, false}, {3, 1, true}, {4, 3, true}}},
    {"in no order", 4, 5, {3, 0, 2, NONE}, {{1, NONE, false}, {4, 1, true}}},
    {"all", 4, 4, {0, 1, 2, 3, NONE}, {{0}}},
    {"before a whole one: it only gets another previous",
     2,
     7,
     {2, NONE},
     {{0, NONE, false}, {1, 0, true}, {3, 1, false}, {4, 3, true}, {5, 4, true}, {6, 5, false}}},
    {"a whole one: who comes next takes its place",
     2,
     7,
     {3, NONE},
     {{0, NONE, false}, {1, 0, true}, {2, 1, true}, {4, 2, false}, {5, 4, true}, {6, 5, false}}},
    {"a whole one and the next",
     2,
     7,
     {3, 4, NONE},
     {{0, NONE, false}, {1, 0, true}, {2, 1, true}, {5, 2, false}, {6, 5, false}}},
    {"before a whole one with nothing on it: it becomes a difference",
     2,
     7,
     {4, 5, NONE},
     {{0, NONE, false}, {1, 0, true}, {2, 1, true}, {3, 2, false}, {6, 3, true}}},
    {"all between two whole ones", 2, 7, {1, 2, 3, 4, 5, NONE}, {{0, NONE, false}, {6, 0, true}}},
    {"before a whole one with too much on it",
     2,
     7,
     {1, 2, NONE},
     {{0, NONE, false}, {3, 0, false}, {4, 3, true}, {5, 4, true}, {6, 5, false}}},
    {"everything before a whole one",
     2,
     7,
     {0, 1, 2, NONE},
     {{3, NONE, false}, {4, 3, true}, {5, 4, true}, {6, 5, false}}},
    {"no differences at all", 0, 3, {1, NONE}, {{0, NONE, false}, {2, 0, false}}},
};

static void sweep_lineage(void **state, size_t number)
{
    struct lab *lab = *state;
    struct chunk states[STATES];
    size_t count = (size_t)lineages[number].states;
    uint32_t numbers[STATES];
    size_t gone = 0;
    lab->store->depth = lineages[number].depth;
    save_states(lab, states, count);
    for (; lineages[number].gone[gone] != NONE; gone++) {
        numbers[gone] = (uint32_t)lineages[number].gone[gone] + 1;
    }
    drop(lab, "a", numbers, gone);
    (void)sweep(lab);
    for (size_t i = 0; i < gone; i++) {
        assert_false(lab_has(lab, &states[numbers[i] - 1].id));
    }
    assert_left(lab, lineages[number].name, states, lineages[number].left, count - gone);
    free_states(states, count);
}

static void test_what_leans_on_what_is_left(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof lineages / sizeof lineages[0]; i++) {
        void *lab = NULL;
        assert_int_equal(lab_setup(&lab), 0);
        sweep_lineage(&lab, i);
        assert_int_equal(lab_teardown(&lab), 0);
    }
}

/* A copy of a record; the caller frees. */
static uint8_t *record_of(struct lab *lab, const struct ckpt_id *id, size_t *size)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_slice value;
    assert_ok(ckpt_txn_read(lab->store->db, &txn));
    assert_ok(ckpt_db_get(txn, CKPT_TABLE_OBJECTS, id->bytes, CKPT_ID_SIZE, &value));
    uint8_t *copy = malloc(value.size);
    assert_non_null(copy);
    memcpy(copy, value.data, value.size);
    *size = value.size;
    ckpt_txn_abort(txn);
    return copy;
}

/* Of several versions that go, each is a row and a step. Already in the first, what stays leans past all of
   them, and it is left alone from then on. */
static void test_nothing_leans_on_what_is_about_to_go(void **state)
{
    static const uint32_t numbers[] = {2, 3, 4};
    struct lab *lab = *state;
    struct chunk states[5];
    size_t size = 0;
    size_t size_then = 0;
    bool more = false;
    save_states(lab, states, 5);
    drop(lab, "a", numbers, 3);
    struct ckpt_sweeper *sweeper = sweeper_of(lab);
    assert_ok(ckpt_sweep(sweeper, &more));
    assert_true(more);
    assert_false(lab_has(lab, &states[3].id));
    assert_true(lab_has(lab, &states[1].id));
    struct ckpt_refs refs = lab_refs(lab, &states[4].id);
    assert_true(ckpt_id_equal(&refs.previous, &states[0].id));
    assert_true(ckpt_codec_needs_base(refs.coding.id));
    uint8_t *then = record_of(lab, &states[4].id, &size_then);
    assert_int_equal(sweep_to_the_end(sweeper), 2);
    uint8_t *record = record_of(lab, &states[4].id, &size);
    assert_int_equal(size, size_then);
    assert_memory_equal(record, then, size);
    free(record);
    free(then);
    ckpt_sweeper_free(sweeper);
    assert_clean(lab);
    free_states(states, 5);
}

/* A sweeper that was told of new garbage looks at all of it. */
static void test_new_garbage_is_seen(void **state)
{
    static const uint32_t numbers[] = {2, 3};
    struct lab *lab = *state;
    struct chunk states[4];
    struct chunk others[] = {{.bytes = unit_floats(SIZE, 98)}, {.bytes = unit_floats(SIZE, 99)}};
    bool more = false;
    save_states(lab, states, 4);
    (void)save(lab, "b", &others[0], 1, SIZE, NULL);
    (void)save(lab, "b", &others[1], 1, SIZE, NULL);
    drop(lab, "b", (const uint32_t[]){1, 2}, 2); /* two rows */
    struct ckpt_sweeper *sweeper = sweeper_of(lab);
    assert_ok(ckpt_sweep(sweeper, &more));
    assert_true(more);
    drop(lab, "a", numbers, 2);
    ckpt_sweeper_refresh(sweeper);
    assert_ok(ckpt_sweep(sweeper, &more));
    struct ckpt_refs refs = lab_refs(lab, &states[3].id);
    assert_true(ckpt_id_equal(&refs.previous, &states[0].id));
    (void)sweep_to_the_end(sweeper);
    ckpt_sweeper_free(sweeper);
    assert_clean(lab);
    free(others[0].bytes);
    free(others[1].bytes);
    free_states(states, 4);
}

static void test_several_that_lean_on_one(void **state)
{
    enum { FORKS = 5 };
    struct lab *lab = *state;
    struct chunk states[2];
    struct chunk forks[FORKS];
    save_states(lab, states, 2);
    for (unsigned i = 0; i < FORKS; i++) {
        forks[i].bytes = unit_floats(SIZE, 1);
        unit_train(forks[i].bytes, SIZE, 1000 + i);
        (void)save(lab, "b", &forks[i], 1, SIZE, &states[1].id);
    }
    drop(lab, "a", (const uint32_t[]){2}, 1);
    (void)sweep(lab);
    for (unsigned i = 0; i < FORKS; i++) {
        struct ckpt_refs refs = lab_refs(lab, &forks[i].id);
        assert_true(ckpt_codec_needs_base(refs.coding.id));
        assert_true(ckpt_id_equal(&refs.previous, &states[0].id));
        assert_ok(lab_read(lab, &forks[i].id, forks[i].bytes, SIZE));
    }
    assert_clean(lab);
    drop(lab, "a", (const uint32_t[]){1}, 1);
    (void)sweep(lab);
    for (unsigned i = 0; i < FORKS; i++) {
        assert_false(lab_is_difference(lab, &forks[i].id));
        assert_ok(lab_read(lab, &forks[i].id, forks[i].bytes, SIZE));
        free(forks[i].bytes);
    }
    assert_int_equal(lab_rows(lab, CKPT_TABLE_DEPENDENTS), 0);
    assert_clean(lab);
    free_states(states, 2);
}

/* A chunk that becomes a difference from something too different stands alone, and says so. */
static void test_a_survivor_that_is_too_different(void **state)
{
    struct lab *lab = *state;
    struct chunk noise = {.bytes = unit_noise(SIZE, 3)};
    struct chunk key = {.bytes = unit_floats(SIZE, 1)};
    struct chunk next = {.bytes = unit_floats(SIZE, 1)};
    unit_train(next.bytes, SIZE, 2);
    lab->store->depth = 0; /* so that the one in the middle names what it has nothing in common with */
    (void)save(lab, "a", &noise, 1, SIZE, NULL);
    (void)save(lab, "a", &key, 1, SIZE, &noise.id);
    lab->store->depth = 4;
    (void)save(lab, "a", &next, 1, SIZE, &key.id);
    assert_true(lab_is_difference(lab, &next.id));
    drop(lab, "a", (const uint32_t[]){2}, 1);
    (void)sweep(lab);
    struct ckpt_refs refs = lab_refs(lab, &next.id);
    assert_false(ckpt_codec_needs_base(refs.coding.id));
    assert_true(refs.alone);
    assert_true(ckpt_id_is_zero(&refs.previous));
    assert_int_equal(lab_rows(lab, CKPT_TABLE_DEPENDENTS), 0);
    assert_ok(lab_read(lab, &next.id, next.bytes, SIZE));
    assert_clean(lab);
    free(noise.bytes);
    free(key.bytes);
    free(next.bytes);
}

static void test_what_a_reader_holds_is_leant_on(void **state)
{
    struct lab *lab = *state;
    struct chunk states[3];
    struct ckpt_version pinned;
    save_states(lab, states, 3);
    assert_ok(ckpt_catalog_version(lab->store, CKPT_DIR_ROOT, "a", 1, &pinned));
    assert_ok(ckpt_pin(lab->store, &pinned.recipe));
    drop(lab, "a", (const uint32_t[]){1, 2}, 2);
    (void)sweep(lab);
    struct ckpt_refs refs = lab_refs(lab, &states[2].id);
    assert_true(ckpt_id_equal(&refs.previous, &states[0].id));
    assert_true(ckpt_codec_needs_base(refs.coding.id));
    ckpt_unpin(lab->store, &pinned.recipe);
    (void)sweep(lab);
    assert_false(lab_has(lab, &states[0].id));
    assert_false(lab_is_difference(lab, &states[2].id));
    assert_clean(lab);
    free_states(states, 3);
}

/* A reader lets go of a version between two steps, which has a chunk and the state before it: one of them
   is about to become what the other's dependent leans on, and goes in the same step. */
static void test_what_a_reader_lets_go_meanwhile(void **state)
{
    enum { ORDERS = 2 };
    (void)state;
    for (unsigned order = 0; order < ORDERS; order++) {
        void *world = NULL;
        struct ckpt_version pinned;
        bool more = false;
        assert_int_equal(lab_setup(&world), 0);
        struct lab *lab = world;
        struct chunk others[] = {{.bytes = unit_floats(SIZE, 98)}, {.bytes = unit_floats(SIZE, 99)}};
        struct chunk old = {.bytes = unit_floats(SIZE, 1)};
        struct chunk trained = {.bytes = unit_floats(SIZE, 1)};
        struct chunk stays = {.bytes = unit_floats(SIZE, 1)};
        unit_train(trained.bytes, SIZE, 2);
        unit_train(stays.bytes, SIZE, 3);
        (void)save(lab, "b", &others[0], 1, SIZE, NULL);
        (void)save(lab, "b", &others[1], 1, SIZE, NULL);
        (void)save(lab, "a", &old, 1, SIZE, NULL);
        struct chunk both[] = {order == 0 ? old : trained, order == 0 ? trained : old};
        const struct ckpt_id bases[] = {order == 0 ? lab_none : old.id, order == 0 ? old.id : lab_none};
        (void)save(lab, "a", both, 2, SIZE, bases);
        trained.id = both[1 - order].id;
        (void)save(lab, "a", &stays, 1, SIZE, &trained.id);
        assert_ok(ckpt_catalog_version(lab->store, CKPT_DIR_ROOT, "a", 2, &pinned));
        drop(lab, "a", (const uint32_t[]){1}, 1);
        (void)sweep(lab);
        assert_ok(ckpt_pin(lab->store, &pinned.recipe));
        drop(lab, "b", (const uint32_t[]){1}, 1);
        drop(lab, "a", (const uint32_t[]){2}, 1);
        drop(lab, "b", (const uint32_t[]){2}, 1);
        struct ckpt_sweeper *sweeper = sweeper_of(lab);
        assert_ok(ckpt_sweep(sweeper, &more));
        assert_true(more);
        ckpt_unpin(lab->store, &pinned.recipe);
        assert_ok(ckpt_sweep(sweeper, &more));
        assert_false(lab_has(lab, &old.id));
        assert_false(lab_has(lab, &trained.id));
        assert_false(lab_is_difference(lab, &stays.id));
        assert_ok(lab_read(lab, &stays.id, stays.bytes, SIZE));
        (void)sweep_to_the_end(sweeper);
        ckpt_sweeper_free(sweeper);
        assert_clean(lab);
        free(others[0].bytes);
        free(others[1].bytes);
        free(old.bytes);
        free(trained.bytes);
        free(stays.bytes);
        assert_int_equal(lab_teardown(&world), 0);
    }
}

/* ---- much of it ---- */

/* More on one chunk than are coded in a step. */
static void test_a_chunk_with_many_dependents(void **state)
{
    enum { MANY = 1500, LITTLE = 1 << 10 };
    struct lab *lab = *state;
    struct chunk *chunks = calloc(MANY, sizeof *chunks);
    struct ckpt_id *bases = calloc(MANY, sizeof *bases);
    struct chunk base = {.bytes = unit_floats(LITTLE, 1)};
    assert_non_null(chunks);
    assert_non_null(bases);
    (void)save(lab, "a", &base, 1, LITTLE, NULL);
    for (unsigned i = 0; i < MANY; i++) {
        chunks[i].bytes = unit_floats(LITTLE, 1);
        unit_train(chunks[i].bytes, LITTLE, i);
        bases[i] = base.id;
    }
    (void)save(lab, "b", chunks, MANY, LITTLE, bases);
    assert_int_equal(lab_rows(lab, CKPT_TABLE_DEPENDENTS), MANY);
    drop(lab, "a", (const uint32_t[]){1}, 1);
    (void)sweep(lab);
    assert_false(lab_has(lab, &base.id));
    assert_int_equal(lab_rows(lab, CKPT_TABLE_DEPENDENTS), 0);
    for (unsigned i = 0; i < MANY; i++) {
        assert_ok(lab_read(lab, &chunks[i].id, chunks[i].bytes, LITTLE));
        free(chunks[i].bytes);
    }
    assert_clean(lab);
    free(base.bytes);
    free(bases);
    free(chunks);
}

/* More bytes than are coded in a step: the row gets shorter, and what is left of it is right at any time. */
static void test_a_version_goes_in_steps(void **state)
{
    enum { MANY = 20, LARGE = 1 << 20, STEP = 16 };
    struct lab *lab = *state;
    struct chunk one[MANY];
    struct chunk other[MANY];
    struct ckpt_id bases[MANY];
    bool more = false;
    for (unsigned i = 0; i < MANY; i++) {
        one[i].bytes = unit_floats(LARGE, i);
        other[i].bytes = unit_floats(LARGE, i);
        unit_train(other[i].bytes, LARGE, i);
    }
    (void)save(lab, "a", one, MANY, LARGE, NULL);
    for (unsigned i = 0; i < MANY; i++) {
        bases[i] = one[i].id;
    }
    (void)save(lab, "a", other, MANY, LARGE, bases);
    drop(lab, "a", (const uint32_t[]){1}, 1);
    struct ckpt_sweeper *sweeper = sweeper_of(lab);
    assert_ok(ckpt_sweep(sweeper, &more));
    assert_true(more);
    assert_int_equal(lab_rows(lab, CKPT_TABLE_GARBAGE), 1);
    assert_int_equal(lab_rows(lab, CKPT_TABLE_DEPENDENTS), MANY - STEP);
    assert_clean(lab);
    assert_int_equal(sweep_to_the_end(sweeper), 1);
    ckpt_sweeper_free(sweeper);
    assert_int_equal(lab_rows(lab, CKPT_TABLE_DEPENDENTS), 0);
    for (unsigned i = 0; i < MANY; i++) {
        assert_false(lab_has(lab, &one[i].id));
        assert_ok(lab_read(lab, &other[i].id, other[i].bytes, LARGE));
        free(one[i].bytes);
        free(other[i].bytes);
    }
    assert_clean(lab);
}

/* ---- damage ---- */

/* What can't be read can't be coded anew: it stays as it is, with what it leans on, and that is said once.
   Everything else goes. */
static void test_what_leans_on_damage_stays(void **state)
{
    struct lab *lab = *state;
    struct chunk states[4];
    struct chunk other = {.bytes = unit_floats(SIZE, 99)};
    save_states(lab, states, 4);
    (void)save(lab, "b", &other, 1, SIZE, NULL);
    drop(lab, "b", (const uint32_t[]){1}, 1);
    drop(lab, "a", (const uint32_t[]){1, 2}, 2);
    lab_damage(lab, CKPT_TABLE_OBJECTS, &states[0].id, -1);
    struct ckpt_sweeper *sweeper = sweeper_of(lab);
    (void)sweep_to_the_end(sweeper);
    assert_int_equal(lab->u->reports, 2); /* a row for each of the two versions */
    assert_non_null(strstr(lab->u->text, "can't be released"));
    (void)sweep_to_the_end(sweeper);
    (void)sweep_to_the_end(sweeper);
    assert_int_equal(lab->u->reports, 2);
    assert_int_equal(lab_rows(lab, CKPT_TABLE_GARBAGE), 2);
    assert_false(lab_has(lab, &other.id));
    for (size_t i = 0; i < 4; i++) {
        struct ckpt_refs refs = lab_refs(lab, &states[i].id);
        assert_int_equal(refs.count, 1);
        assert_true(ckpt_id_equal(&refs.previous, i > 0 ? &states[i - 1].id : &lab_none));
        assert_int_equal(lab_read(lab, &states[i].id, states[i].bytes, SIZE), CKPT_ERR_CORRUPT);
    }
    ckpt_sweeper_free(sweeper);
    lab_damage(lab, CKPT_TABLE_OBJECTS, &states[0].id, -1); /* put right again */
    (void)sweep(lab);
    static const struct left left[] = {{2, NONE, false}, {3, 2, true}};
    assert_left(lab, "put right", states, left, 2);
    free(other.bytes);
    free_states(states, 4);
}

/* What could become a difference from a damaged chunk becomes whole. */
static void test_a_damaged_survivor_is_not_leant_on(void **state)
{
    struct lab *lab = *state;
    struct chunk states[4]; /* with depth 1: whole, difference, whole, difference */
    lab->store->depth = 1;
    save_states(lab, states, 4);
    drop(lab, "a", (const uint32_t[]){1}, 1);
    (void)sweep(lab);
    assert_false(lab_is_difference(lab, &states[1].id));
    lab_damage(lab, CKPT_TABLE_OBJECTS, &states[1].id, -1);
    drop(lab, "a", (const uint32_t[]){3}, 1);
    (void)sweep(lab);
    assert_false(lab_has(lab, &states[2].id));
    assert_false(lab_is_difference(lab, &states[3].id));
    assert_ok(lab_read(lab, &states[3].id, states[3].bytes, SIZE));
    lab_damage(lab, CKPT_TABLE_OBJECTS, &states[1].id, -1);
    assert_clean(lab);
    free_states(states, 4);
}

/* Rows that say that a chunk comes after itself, directly or by way of others: nothing becomes a difference
   from itself, and nothing goes on for ever. Before: all whole, each after the one before. */
static void test_rows_in_a_circle(void **state)
{
    static const struct {
        const char *name;
        unsigned first; /* is said to come after ... */
        unsigned last;
        uint32_t gone[3];
    } circles[] = {
        {"of two, one goes", 0, 1, {1}},      {"of two, the other goes", 0, 1, {2}},
        {"of two, both go", 0, 1, {1, 2}},    {"of three, one goes", 0, 2, {1}},
        {"of three, two go", 0, 2, {1, 2}},   {"of three, all go", 0, 2, {1, 2, 3}},
        {"of one, it goes", 1, 1, {2}},       {"beyond what goes", 0, 1, {3}},
        {"of four, two go", 0, 3, {2, 3}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof circles / sizeof circles[0]; i++) {
        void *world = NULL;
        struct chunk states[4];
        size_t gone = 0;
        assert_int_equal(lab_setup(&world), 0);
        struct lab *lab = world;
        lab->store->depth = 0;
        save_states(lab, states, 4);
        lab->store->depth = 4;
        const struct ckpt_id *first = &states[circles[i].first].id;
        const struct ckpt_id *last = &states[circles[i].last].id;
        struct ckpt_txn *txn = NULL;
        assert_ok(ckpt_store_begin(lab->store, &txn));
        assert_ok(ckpt_object_relink(txn, first, last));
        assert_ok(ckpt_store_commit(lab->store, txn));
        while (gone < 3 && circles[i].gone[gone] != 0) {
            gone++;
        }
        drop(lab, "a", circles[i].gone, gone);
        (void)sweep(lab);
        for (uint32_t n = 0; n < 4; n++) {
            bool stays = true;
            for (size_t g = 0; g < gone; g++) {
                stays &= circles[i].gone[g] != n + 1;
            }
            if (stays && lab_read(lab, &states[n].id, states[n].bytes, SIZE) != CKPT_OK) {
                print_error("%s: state %u is lost\n", circles[i].name, n);
                fail();
            }
        }
        free_states(states, 4);
        assert_int_equal(lab_teardown(&world), 0);
    }
}

/* A row says that what goes comes after a chunk that is itself a difference from what is to be coded. */
static void test_a_survivor_that_leans_on_who_is_to_lean_on_it(void **state)
{
    struct lab *lab = *state;
    struct chunk states[4];
    lab->store->depth = 1; /* whole, difference, whole, difference */
    save_states(lab, states, 4);
    lab->store->depth = 4;
    struct ckpt_txn *txn = NULL;
    assert_ok(ckpt_store_begin(lab->store, &txn));
    assert_ok(ckpt_object_relink(txn, &states[0].id, &states[3].id));
    assert_ok(ckpt_store_commit(lab->store, txn));
    /* So 2 is to become a difference from 3, which is one from 2. */
    drop(lab, "a", (const uint32_t[]){1, 2}, 2);
    (void)sweep(lab);
    assert_ok(lab_read(lab, &states[2].id, states[2].bytes, SIZE));
    assert_ok(lab_read(lab, &states[3].id, states[3].bytes, SIZE));
    free_states(states, 4);
}

/* ---- anything ---- */

enum { TENSORS = 3, MOST = 400 };

/* What should be there. */
struct model {
    struct known {
        struct ckpt_id id;
        struct ckpt_id previous; /* when it came; that of one that went is remembered */
        uint8_t *bytes;
        unsigned used; /* by versions */
    } chunks[MOST];
    size_t count;
    struct file {
        const char *name;
        uint32_t number; /* 0: gone */
        size_t chunks[TENSORS];
    } files[MOST];
    size_t files_count;
    uint64_t seed;
};

static size_t find(const struct model *m, const struct ckpt_id *id)
{
    size_t i = 0;
    while (i < m->count && !ckpt_id_equal(&m->chunks[i].id, id)) {
        i++;
    }
    return i;
}

/* A version after FROM (NULL: out of nothing): most tensors trained, some the same. */
static void insert(struct lab *lab, struct model *m, const struct file *from)
{
    static const char *const names[] = {"a", "b"};
    struct file *file = &m->files[m->files_count];
    struct chunk chunks[TENSORS];
    struct ckpt_id bases[TENSORS] = {0};
    for (size_t i = 0; i < TENSORS; i++) {
        const struct known *base = from != NULL ? &m->chunks[from->chunks[i]] : NULL;
        chunks[i].bytes = unit_floats(SIZE, i);
        if (base != NULL) {
            bases[i] = base->id;
            memcpy(chunks[i].bytes, base->bytes, SIZE);
        }
        if (i == 0 || unit_random(&m->seed) % 3 != 0) {
            unit_train(chunks[i].bytes, SIZE, unit_random(&m->seed));
        }
    }
    file->name = names[unit_random(&m->seed) % 2];
    file->number = save(lab, file->name, chunks, TENSORS, SIZE, bases);
    m->files_count++;
    for (size_t i = 0; i < TENSORS; i++) {
        size_t known = find(m, &chunks[i].id);
        if (known == m->count) {
            struct ckpt_refs refs = lab_refs(lab, &chunks[i].id);
            m->chunks[m->count++] =
                (struct known){.id = chunks[i].id, .previous = refs.previous, .bytes = chunks[i].bytes};
        } else {
            free(chunks[i].bytes);
        }
        file->chunks[i] = known;
        m->chunks[known].used++;
    }
}

static void forget(struct lab *lab, struct model *m)
{
    const char *name = unit_random(&m->seed) % 2 == 0 ? "a" : "b";
    uint32_t numbers[MOST];
    size_t n = 0;
    unsigned one_of = 1 + unit_random(&m->seed) % 4;
    for (size_t i = 0; i < m->files_count; i++) {
        struct file *file = &m->files[i];
        if (file->number == 0 || strcmp(file->name, name) != 0 || unit_random(&m->seed) % one_of != 0) {
            continue;
        }
        numbers[n++] = file->number;
        file->number = 0;
        for (size_t t = 0; t < TENSORS; t++) {
            m->chunks[file->chunks[t]].used--;
        }
    }
    if (n > 0) {
        drop(lab, name, numbers, n);
    }
}

/* After everything has been swept. EXACT: nobody came while something was about to go, so each leans on the
   nearest that is left. */
static void check(struct lab *lab, const struct model *m, bool exact)
{
    uint64_t linked = 0;
    for (size_t i = 0; i < m->count; i++) {
        const struct known *chunk = &m->chunks[i];
        if (chunk->used == 0) {
            assert_false(lab_has(lab, &chunk->id));
            continue;
        }
        struct ckpt_refs refs = lab_refs(lab, &chunk->id);
        assert_int_equal(refs.count, chunk->used);
        assert_false(refs.alone);
        assert_true(lab_depth(lab, &chunk->id) <= lab->store->depth);
        assert_ok(lab_read(lab, &chunk->id, chunk->bytes, SIZE));
        struct ckpt_id expected = chunk->previous;
        while (!ckpt_id_is_zero(&expected) && (m->chunks[find(m, &expected)].used == 0 ||
                                               (!exact && !ckpt_id_equal(&expected, &refs.previous)))) {
            expected = m->chunks[find(m, &expected)].previous;
        }
        assert_true(ckpt_id_equal(&refs.previous, &expected));
        linked += !ckpt_id_is_zero(&expected);
    }
    assert_int_equal(lab_rows(lab, CKPT_TABLE_DEPENDENTS), linked);
    assert_int_equal(lab_rows(lab, CKPT_TABLE_GARBAGE), 0);
    assert_clean(lab);
}

static const struct file *newest_or_any(struct model *m)
{
    const struct file *newest = NULL;
    for (size_t i = 0; i < m->files_count; i++) {
        if (m->files[i].number != 0 && (newest == NULL || unit_random(&m->seed) % 4 != 0)) {
            newest = &m->files[i];
        }
    }
    return newest;
}

static void come_and_go(struct lab *lab, uint64_t seed, unsigned rounds, bool exact)
{
    struct model *m = calloc(1, sizeof *m);
    struct ckpt_sweeper *sweeper = sweeper_of(lab);
    bool more = false;
    assert_non_null(m);
    m->seed = seed;
    lab->store->depth = (unsigned)(seed % 4);
    for (unsigned round = 0; round < rounds; round++) {
        for (uint64_t n = unit_random(&m->seed) % 4; n > 0; n--) {
            insert(lab, m, newest_or_any(m));
        }
        ckpt_sweeper_refresh(sweeper);
        forget(lab, m);
        if (exact || unit_random(&m->seed) % 4 == 0) {
            (void)sweep_to_the_end(sweeper);
            check(lab, m, exact);
        } else {
            enum ckpt_err err = ckpt_sweep(sweeper, &more);
            assert_true(err == CKPT_OK || err == CKPT_ERR_NOT_FOUND);
        }
    }
    (void)sweep_to_the_end(sweeper);
    check(lab, m, exact);
    ckpt_sweeper_free(sweeper);
    for (size_t i = 0; i < m->count; i++) {
        free(m->chunks[i].bytes);
    }
    free(m);
}

static void in_stores_of_their_own(bool exact)
{
    enum { SEEDS = 8, ROUNDS = 12 };
    for (uint64_t seed = 0; seed < SEEDS; seed++) {
        void *lab = NULL;
        assert_int_equal(lab_setup(&lab), 0);
        come_and_go(lab, seed, ROUNDS, exact);
        assert_int_equal(lab_teardown(&lab), 0);
    }
}

static void test_versions_come_and_go_in_any_order(void **state)
{
    (void)state;
    in_stores_of_their_own(true);
}

static void test_versions_come_while_others_go(void **state)
{
    (void)state;
    in_stores_of_their_own(false);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, lab_setup, lab_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_leans_on_what_is_left),
        TEST(test_nothing_leans_on_what_is_about_to_go),
        TEST(test_new_garbage_is_seen),
        TEST(test_several_that_lean_on_one),
        TEST(test_a_survivor_that_is_too_different),
        TEST(test_what_a_reader_holds_is_leant_on),
        cmocka_unit_test(test_what_a_reader_lets_go_meanwhile),
        TEST(test_a_chunk_with_many_dependents),
        TEST(test_a_version_goes_in_steps),
        TEST(test_what_leans_on_damage_stays),
        TEST(test_a_damaged_survivor_is_not_leant_on),
        cmocka_unit_test(test_rows_in_a_circle),
        TEST(test_a_survivor_that_leans_on_who_is_to_lean_on_it),
        cmocka_unit_test(test_versions_come_and_go_in_any_order),
        cmocka_unit_test(test_versions_come_while_others_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
