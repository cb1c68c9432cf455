/*
 * Bases: which older version a file's chunks are compared with.
 *
 * A file is a handful of tensors, each a letter: "abc". A capital is a tensor of the same name and
 * another size.
 */
#include "lab.h"

#include "catalog/catalog_txn.h"
#include "common/bytes.h"
#include "file/base.h"
#include "file/plan.h"
#include "object/recipe.h"

enum { SIZE = 64 << 10, OTHER_SIZE = SIZE + 4096, DIR = 0, OTHER_DIR = 7 };

static struct ckpt_plan plan_of(const char *tensors)
{
    struct ckpt_part parts[16];
    struct ckpt_plan plan;
    uint64_t at = 0;
    size_t n = 0;
    for (; tensors[n] != '\0'; n++) {
        uint64_t size = tensors[n] < 'a' ? OTHER_SIZE : SIZE;
        parts[n] = (struct ckpt_part){
            .offset = at, .size = size, .key = (uint64_t)tensors[n], .kind = CKPT_PART_TENSOR, .width = 4};
        at += size;
    }
    assert_ok(ckpt_plan_make(&(struct ckpt_parts){.list = parts, .count = n}, at > 0 ? at : SIZE, &plan));
    return plan;
}

/* Saves a version of these tensors, or (NULL) of one region, whose bytes no other has. Returns its recipe;
   *FIRST receives its first chunk. */
static struct ckpt_id save(struct lab *lab, uint64_t dir, const char *name, const char *tensors, uint64_t seed,
                           struct ckpt_id *first)
{
    struct ckpt_plan plan = plan_of(tensors != NULL ? tensors : "");
    struct ckpt_recipe recipe;
    struct ckpt_version version = {.dir = dir, .mode = 0100644};
    struct ckpt_stamp stamp = {.ino = 1};
    struct ckpt_txn *txn = NULL;
    uint8_t *raw = NULL;
    size_t raw_size = 0;
    bool added = false;
    (void)snprintf(version.name, sizeof version.name, "%s", name);
    ckpt_recipe_init(&recipe);
    assert_ok(ckpt_store_begin(lab->store, &txn));
    for (size_t i = 0; i < plan.count; i++) {
        const struct ckpt_step *step = &plan.steps[i];
        uint8_t *bytes = unit_noise((size_t)step->size, seed * 100 + i);
        struct ckpt_recipe_chunk chunk = {
            .size = (uint32_t)step->size,
            .width = step->width,
            .key = step->pieces > 0 ? step->key : ckpt_plan_region_key(step, 0)};
        chunk.id = lab_put_in(lab, txn, CKPT_KIND_CHUNK, bytes, (size_t)step->size, NULL);
        assert_ok(ckpt_recipe_add(&recipe, &chunk));
        assert_ok(ckpt_recipe_append(&recipe, (uint32_t)i, 0, step->size));
        free(bytes);
    }
    *first = recipe.chunks[0].id;
    version.size = recipe.size;
    assert_ok(ckpt_recipe_encode(&recipe, &raw, &raw_size));
    version.recipe = lab_put_in(lab, txn, CKPT_KIND_RECIPE, raw, raw_size, NULL);
    assert_ok(ckpt_catalog_put_version_in(lab->store, lab->codec, txn, &version, &stamp, 1, &added));
    assert_true(added);
    assert_ok(ckpt_store_commit(lab->store, txn));
    ckpt_recipe_clear(&recipe);
    ckpt_plan_clear(&plan);
    free(raw);
    return version.recipe;
}

/* Whether the base of NAME with these tensors is the version with FIRST for the chunk of the plan's first
   step; NULL: that there is none. */
static bool base_is(struct lab *lab, const char *name, const char *tensors, const struct ckpt_id *first)
{
    struct ckpt_plan plan = plan_of(tensors != NULL ? tensors : "");
    struct ckpt_base base;
    assert_ok(ckpt_base_choose(lab->store, lab->codec, DIR, name, NULL, &plan, &base));
    uint64_t key = plan.steps[0].pieces > 0 ? plan.steps[0].key : ckpt_plan_region_key(&plan.steps[0], 0);
    const struct ckpt_base_chunk *chunk = ckpt_base_find(&base, key);
    bool right = first != NULL ? chunk != NULL && ckpt_id_equal(&chunk->id, first) &&
                                     (tensors == NULL || chunk->size == plan.steps[0].size)
                               : base.count == 0;
    ckpt_base_clear(&base);
    ckpt_plan_clear(&plan);
    return right;
}

/* ---- which one ---- */

enum { SAVED = 6, NONE = -1 };

static const struct {
    const char *what;
    struct {
        uint64_t dir;
        const char *name;
        const char *tensors; /* NULL with a name: one region */
    } saved[SAVED]; /* in this order */
    const char *name;
    const char *tensors;
    int base;
} cases[] = {
    {"nothing saved yet", {{0}}, "x", "abc", NONE},
    {"the only version", {{DIR, "x", "abc"}}, "x", "abc", 0},
    {"the newest of its versions", {{DIR, "x", "abc"}, {DIR, "x", "abc"}}, "x", "abc", 1},
    {"its own version before a newer file", {{DIR, "x", "abc"}, {DIR, "y", "abc"}}, "x", "abc", 0},
    {"the newest file of the directory",
     {{DIR, "1", "abc"}, {DIR, "2", "abc"}, {DIR, "3", "abc"}},
     "4",
     "abc",
     2},
    {"the newest capture, not the last name",
     {{DIR, "b", "abc"}, {DIR, "a", "abc"}},
     "c",
     "abc",
     1},
    {"passing what has other tensors",
     {{DIR, "1", "abc"}, {DIR, "optimizer1", "xyz"}},
     "2",
     "abc",
     0},
    {"passing a version of its own with other tensors",
     {{DIR, "1", "abc"}, {DIR, "2", "xyz"}},
     "2",
     "abc",
     0},
    {"more than half is enough", {{DIR, "1", "abcd"}, {DIR, "2", "abcx"}}, "3", "abcd", 1},
    {"half isn't", {{DIR, "1", "abcd"}, {DIR, "2", "abxy"}}, "3", "abcd", 0},
    {"less than half, where nothing has more", {{DIR, "1", "axyz"}, {DIR, "2", "uvwx"}}, "3", "abcd", 0},
    {"the better one of two that have little",
     {{DIR, "1", "abyz"}, {DIR, "2", "axyz"}},
     "3",
     "abcd",
     0},
    {"nothing in common", {{DIR, "1", "xyz"}, {DIR, "2", "uvw"}}, "3", "abc", NONE},
    {"tensors of another size", {{DIR, "1", "ABC"}}, "1", "abc", NONE},
    {"another directory", {{OTHER_DIR, "1", "abc"}}, "1", "abc", NONE},
    {"a file without tensors", {{DIR, "1", NULL}}, "1", NULL, 0},
    {"a file without tensors for one with", {{DIR, "1", NULL}}, "1", "abc", NONE},
    {"one with tensors for a file without", {{DIR, "1", "abc"}}, "1", NULL, NONE},
};

static void test_which_version_it_is(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        void *lab = NULL;
        struct ckpt_id first[SAVED];
        assert_int_equal(lab_setup(&lab), 0);
        for (unsigned n = 0; n < SAVED && cases[i].saved[n].name != NULL; n++) {
            (void)save(lab, cases[i].saved[n].dir, cases[i].saved[n].name, cases[i].saved[n].tensors, n,
                       &first[n]);
        }
        if (!base_is(lab, cases[i].name, cases[i].tensors,
                     cases[i].base == NONE ? NULL : &first[cases[i].base])) {
            print_error("%s\n", cases[i].what);
            fail();
        }
        assert_int_equal(lab_teardown(&lab), 0);
    }
}

/* A directory may hold any number of other files: only the newest are looked at, whatever older ones have. */
static void test_only_so_many_are_looked_at(void **state)
{
    enum { LOOKED_AT = 16 };
    struct lab *lab = *state;
    struct ckpt_id first;
    struct ckpt_id other;
    char name[16];
    (void)save(lab, DIR, "right", "abc", 0, &first);
    for (unsigned i = 1; i <= 3 * LOOKED_AT; i++) {
        (void)snprintf(name, sizeof name, "other%u", i);
        (void)save(lab, DIR, name, "xyz", i, &other);
        bool seen = base_is(lab, "new", "abc", &first);
        assert_true(seen || base_is(lab, "new", "abc", NULL));
        assert_true(i < LOOKED_AT ? seen : i <= LOOKED_AT + 1 || !seen);
    }
}

/* The same content many times is one candidate. */
static void test_the_same_content_is_looked_at_once(void **state)
{
    struct lab *lab = *state;
    struct ckpt_id first;
    struct ckpt_id other;
    char name[16];
    (void)save(lab, DIR, "right", "abc", 0, &first);
    for (unsigned i = 1; i <= 40; i++) {
        (void)snprintf(name, sizeof name, "other%u", i);
        (void)save(lab, DIR, name, "xyz", 1, &other);
    }
    assert_true(base_is(lab, "new", "abc", &first));
}

static void test_chunks_are_found_by_key(void **state)
{
    struct lab *lab = *state;
    struct ckpt_id first;
    struct ckpt_base base;
    struct ckpt_plan plan = plan_of("abcdefgh");
    struct ckpt_plan other = plan_of("ijkl");
    (void)save(lab, DIR, "x", "hgfedcba", 0, &first);
    assert_ok(ckpt_base_choose(lab->store, lab->codec, DIR, "x", NULL, &plan, &base));
    assert_int_equal(base.count, 8);
    for (size_t i = 0; i < plan.count; i++) {
        const struct ckpt_base_chunk *chunk = ckpt_base_find(&base, plan.steps[i].key);
        assert_non_null(chunk);
        assert_true(chunk->key == plan.steps[i].key);
        assert_true(ckpt_id_equal(&chunk->id, &first) == (i == 7));
    }
    for (size_t i = 0; i < other.count; i++) {
        assert_null(ckpt_base_find(&base, other.steps[i].key));
    }
    assert_null(ckpt_base_find(&base, 0));
    ckpt_base_clear(&base);
    assert_null(ckpt_base_find(&base, plan.steps[0].key));
    ckpt_plan_clear(&plan);
    ckpt_plan_clear(&other);
}

/* ---- damage ---- */

static void set_row(struct lab *lab, enum ckpt_table table, const uint8_t *key, size_t key_size, const char *row)
{
    struct ckpt_txn *txn = NULL;
    assert_ok(ckpt_txn_write(lab->store->db, &txn));
    assert_ok(ckpt_db_put(txn, table, key, key_size, row, strlen(row)));
    assert_ok(ckpt_txn_commit(txn));
}

/* The newest version of the same name can't be used in one way or another: the next best is, and nothing
   fails. */
static void test_damaged_versions_are_passed_over(void **state)
{
    enum { RECIPE, RECIPE_GONE, REFS, VERSION, CAPTURE, WAYS };
    static const char *const names[WAYS] = {"recipe", "no recipe", "refs", "version", "capture"};
    (void)state;
    for (int way = 0; way < WAYS; way++) {
        void *world = NULL;
        struct ckpt_id good;
        struct ckpt_id bad;
        assert_int_equal(lab_setup(&world), 0);
        struct lab *lab = world;
        (void)save(lab, DIR, "1", "abc", 1, &good);
        struct ckpt_id recipe = save(lab, DIR, "2", "abc", 2, &bad);
        uint8_t version[] = "\0\0\0\0\0\0\0\0" "2\0\0\0\0\1";
        uint8_t capture[16] = {0};
        ckpt_put_be64(capture + 8, 1000);
        switch (way) {
        case RECIPE:
            lab_damage(lab, CKPT_TABLE_OBJECTS, &recipe, -1);
            break;
        case RECIPE_GONE: {
            struct ckpt_txn *txn = NULL;
            assert_ok(ckpt_txn_write(lab->store->db, &txn));
            assert_ok(ckpt_db_del(txn, CKPT_TABLE_OBJECTS, recipe.bytes, CKPT_ID_SIZE));
            assert_ok(ckpt_db_del(txn, CKPT_TABLE_REFS, recipe.bytes, CKPT_ID_SIZE));
            assert_ok(ckpt_txn_commit(txn));
            break;
        }
        case REFS:
            lab_damage(lab, CKPT_TABLE_REFS, &recipe, 20);
            break;
        case VERSION:
            set_row(lab, CKPT_TABLE_VERSIONS, version, sizeof version - 1, "x");
            break;
        default:
            set_row(lab, CKPT_TABLE_CAPTURES, capture, sizeof capture, "x");
            break;
        }
        /* A damaged row hides the captures before it, and does no more. */
        const struct ckpt_id *expected = way >= VERSION ? NULL : &good;
        if (!base_is(lab, way == CAPTURE ? "3" : "2", "abc", expected)) {
            print_error("%s\n", names[way]);
            fail();
        }
        assert_int_equal(lab_teardown(&world), 0);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, lab_setup, lab_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_which_version_it_is),
        TEST(test_only_so_many_are_looked_at),
        TEST(test_the_same_content_is_looked_at_once),
        TEST(test_chunks_are_found_by_key),
        cmocka_unit_test(test_damaged_versions_are_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
