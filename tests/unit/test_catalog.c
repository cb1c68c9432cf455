/*
 * The catalog: numbers, deduplication against the newest version, directories, paths, counters.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "catalog/catalog_txn.h"
#include "object/internal.h"
#include "object/object.h"
#include "object/recipe.h"
#include <ckpt/catalog.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fixture {
    char dir[256];
    struct ckpt_store *store;
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
    snprintf(f->dir, sizeof f->dir, "%s/ckpt-catalog-XXXXXX", base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(ckpt_store_create(f->dir, NULL), CKPT_OK);
    assert_int_equal(ckpt_store_open(f->dir, CKPT_WRITE, NULL, NULL, &f->store), CKPT_OK);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    ckpt_store_close(f->store);
    nftw(f->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

/* A recipe of one hole of SIZE bytes, stored with one reference in TXN. */
static struct ckpt_id put_recipe_in(struct fixture *f, struct ckpt_codec *codec,
                                    struct ckpt_txn *txn, uint64_t size)
{
    struct ckpt_recipe recipe;
    struct ckpt_draft draft = {.kind = CKPT_KIND_RECIPE};
    uint8_t *raw = NULL;
    uint32_t added = 0;
    uint32_t record_size = 0;
    ckpt_recipe_init(&recipe);
    assert_int_equal(ckpt_recipe_append(&recipe, CKPT_HOLE, 0, size), CKPT_OK);
    assert_int_equal(ckpt_recipe_encode(&recipe, &raw, &draft.raw_size), CKPT_OK);
    draft.raw = raw;
    draft.record = malloc(ckpt_record_bound(draft.raw_size));
    assert_non_null(draft.record);
    assert_int_equal(ckpt_object_prepare(f->store, codec, &draft), CKPT_OK);
    assert_int_equal(ckpt_object_commit(f->store, codec, txn, &draft, &added, &record_size),
                     CKPT_OK);
    free(draft.record);
    free(raw);
    ckpt_recipe_clear(&recipe);
    return draft.id;
}

/* What an ingest does: the reference is taken and the version recorded in one transaction. */
static struct ckpt_version capture(struct fixture *f, uint64_t dir, const char *name, uint64_t size,
                                   bool *added)
{
    struct ckpt_codec *codec = NULL;
    struct ckpt_txn *txn = NULL;
    struct ckpt_version version = {.dir = dir, .size = size, .mtime_ns = -5, .mode = 0100640};
    struct ckpt_stamp stamp = {.ino = 7, .size = size, .mtime_ns = -5, .ctime_ns = 9};
    snprintf(version.name, sizeof version.name, "%s", name);
    assert_int_equal(ckpt_codec_create(&codec), CKPT_OK);
    assert_int_equal(ckpt_store_begin(f->store, &txn), CKPT_OK);
    version.recipe = put_recipe_in(f, codec, txn, size);
    assert_int_equal(
        ckpt_catalog_put_version_in(f->store, codec, txn, &version, &stamp, size, added), CKPT_OK);
    assert_int_equal(ckpt_store_commit(f->store, txn), CKPT_OK);
    ckpt_codec_free(codec);
    return version;
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

static void test_numbers_and_sequence(void **state)
{
    struct fixture *f = *state;
    struct ckpt_version out;
    bool added = false;
    assert_int_equal(capture(f, 0, "a", 10, &added).number, 1);
    struct ckpt_version b = capture(f, 0, "ab", 10, &added);
    assert_int_equal(b.number, 1);
    struct ckpt_version second = capture(f, 0, "a", 20, &added);
    assert_true(added);
    assert_int_equal(second.number, 2);
    assert_true(second.sequence > b.sequence);

    assert_int_equal(ckpt_catalog_version(f->store, 0, "a", 0, &out), CKPT_OK);
    assert_int_equal(out.number, 2);
    assert_int_equal(out.size, 20);
    assert_int_equal(out.mtime_ns, -5);
    assert_int_equal(out.mode, 0100640);
    assert_string_equal(out.name, "a");
    assert_int_equal(ckpt_catalog_version(f->store, 0, "a", 3, &out), CKPT_ERR_NOT_FOUND);
    assert_int_equal(ckpt_catalog_version(f->store, 0, "b", 0, &out), CKPT_ERR_NOT_FOUND);
    assert_int_equal(ckpt_catalog_version(f->store, 1, "a", 0, &out), CKPT_ERR_NOT_FOUND);
}

static void test_same_content_adds_nothing(void **state)
{
    struct fixture *f = *state;
    struct ckpt_counters before;
    struct ckpt_counters after;
    struct ckpt_file file;
    bool added = false;
    struct ckpt_version first = capture(f, 0, "a", 10, &added);
    assert_int_equal(ckpt_store_counters(f->store, &before), CKPT_OK);
    struct ckpt_version again = capture(f, 0, "a", 10, &added);
    assert_false(added);
    assert_int_equal(again.number, first.number);
    assert_int_equal(again.sequence, first.sequence);
    assert_int_equal(references(f, &first.recipe), 1);
    assert_int_equal(ckpt_store_counters(f->store, &after), CKPT_OK);
    assert_memory_equal(&before, &after, sizeof before);

    /* Only the newest counts: going back to an older content is a version. */
    (void)capture(f, 0, "a", 20, &added);
    assert_int_equal(capture(f, 0, "a", 10, &added).number, 3);
    assert_true(added);
    assert_int_equal(references(f, &first.recipe), 2);
    assert_int_equal(ckpt_catalog_file(f->store, 0, "a", &file), CKPT_OK);
    assert_int_equal(file.next_number, 4);
    assert_true(ckpt_id_equal(&file.recipe, &first.recipe));
}

static void test_put_version_takes_a_reference(void **state)
{
    struct fixture *f = *state;
    bool added = false;
    struct ckpt_stamp stamp = {0};
    struct ckpt_version copy = capture(f, 0, "a", 10, &added);
    strcpy(copy.name, "b");
    assert_int_equal(ckpt_catalog_put_version(f->store, &copy, &stamp, 0, &added), CKPT_OK);
    assert_true(added);
    assert_int_equal(references(f, &copy.recipe), 2);
    assert_int_equal(ckpt_catalog_put_version(f->store, &copy, &stamp, 0, &added), CKPT_OK);
    assert_false(added);
    assert_int_equal(references(f, &copy.recipe), 2);
    memset(&copy.recipe, 0xee, sizeof copy.recipe);
    assert_int_equal(ckpt_catalog_put_version(f->store, &copy, &stamp, 0, &added),
                     CKPT_ERR_NOT_FOUND);
}

static enum ckpt_err drop(struct ckpt_store *store, const char *name, uint32_t number)
{
    return ckpt_catalog_drop(store, 0, name, &number, 1);
}

static void test_drop(void **state)
{
    struct fixture *f = *state;
    struct ckpt_counters counters;
    struct ckpt_version out;
    bool added = false;
    struct ckpt_version first = capture(f, 0, "a", 10, &added);
    (void)capture(f, 0, "a", 20, &added);
    assert_int_equal(drop(f->store, "a", 0), CKPT_ERR_INVALID);
    assert_int_equal(drop(f->store, "a", 9), CKPT_ERR_NOT_FOUND);
    assert_int_equal(ckpt_catalog_drop(f->store, 0, "a", (const uint32_t[]){2, 9}, 2), CKPT_ERR_NOT_FOUND);
    assert_int_equal(ckpt_catalog_version(f->store, 0, "a", 2, &out), CKPT_OK); /* all or none */
    assert_int_equal(drop(f->store, "a", 2), CKPT_OK);
    assert_int_equal(ckpt_catalog_version(f->store, 0, "a", 0, &out), CKPT_OK);
    assert_int_equal(out.number, 1);
    assert_int_equal(drop(f->store, "a", 1), CKPT_OK);
    assert_int_equal(references(f, &first.recipe), 0);
    assert_int_equal(ckpt_store_counters(f->store, &counters), CKPT_OK);
    assert_int_equal(counters.logical, 0);
    assert_int_equal(counters.versions, 0);
    assert_int_equal(counters.objects, 0);
    /* The row stays, and so a number is never used twice. */
    assert_int_equal(capture(f, 0, "a", 10, &added).number, 3);
}

static void test_stamp(void **state)
{
    struct fixture *f = *state;
    struct ckpt_stamp stamp = {.ino = 1, .size = 2, .mtime_ns = -3, .ctime_ns = 4};
    struct ckpt_file file;
    bool added = false;
    assert_int_equal(ckpt_catalog_set_stamp(f->store, 0, "a", &stamp, 5), CKPT_ERR_NOT_FOUND);
    (void)capture(f, 0, "a", 10, &added);
    assert_int_equal(ckpt_catalog_set_stamp(f->store, 0, "a", &stamp, 5), CKPT_OK);
    assert_int_equal(ckpt_catalog_file(f->store, 0, "a", &file), CKPT_OK);
    assert_memory_equal(&file.stamp, &stamp, sizeof stamp);
    assert_int_equal(file.hot_bytes, 5);
}

static void test_stopped_store_refuses(void **state)
{
    struct fixture *f = *state;
    struct ckpt_stamp stamp = {0};
    bool added = false;
    struct ckpt_version version = capture(f, 0, "a", 10, &added);
    ckpt_store_stop(f->store, "the test says so");
    assert_int_equal(ckpt_catalog_set_dir(f->store, 5, 0, "d"), CKPT_ERR_STOPPED);
    assert_int_equal(ckpt_catalog_put_version(f->store, &version, &stamp, 0, &added),
                     CKPT_ERR_STOPPED);
    assert_int_equal(ckpt_catalog_set_stamp(f->store, 0, "a", &stamp, 0), CKPT_ERR_STOPPED);
    assert_int_equal(drop(f->store, "a", 1), CKPT_ERR_STOPPED);
    assert_int_equal(ckpt_catalog_version(f->store, 0, "a", 1, &version), CKPT_OK);
}

static void test_directories(void **state)
{
    struct fixture *f = *state;
    char path[PATH_MAX];
    uint64_t dir = 99;
    assert_int_equal(ckpt_catalog_set_dir(f->store, 5, 0, "run"), CKPT_OK);
    assert_int_equal(ckpt_catalog_set_dir(f->store, 6, 5, "sub"), CKPT_OK);
    assert_int_equal(ckpt_catalog_path(f->store, 6, path, sizeof path), CKPT_OK);
    assert_string_equal(path, "run/sub");
    assert_int_equal(ckpt_catalog_path(f->store, 0, path, sizeof path), CKPT_OK);
    assert_string_equal(path, "");
    assert_int_equal(ckpt_catalog_path(f->store, 6, path, strlen("run/sub")), CKPT_ERR_INVALID);
    assert_int_equal(ckpt_catalog_path(f->store, 77, path, sizeof path), CKPT_ERR_NOT_FOUND);

    /* A renamed directory leaves its old name ... */
    assert_int_equal(ckpt_catalog_set_dir(f->store, 5, 0, "run2"), CKPT_OK);
    assert_int_equal(ckpt_catalog_subdir(f->store, 0, "run", &dir), CKPT_ERR_NOT_FOUND);
    assert_int_equal(ckpt_catalog_path(f->store, 6, path, sizeof path), CKPT_OK);
    assert_string_equal(path, "run2/sub");
    /* ... unless another one has taken it meanwhile. */
    assert_int_equal(ckpt_catalog_set_dir(f->store, 8, 0, "run2"), CKPT_OK);
    assert_int_equal(ckpt_catalog_set_dir(f->store, 5, 0, "run3"), CKPT_OK);
    assert_int_equal(ckpt_catalog_subdir(f->store, 0, "run2", &dir), CKPT_OK);
    assert_int_equal(dir, 8);
    assert_int_equal(ckpt_catalog_subdir(f->store, 0, "run3", &dir), CKPT_OK);
    assert_int_equal(dir, 5);
}

static void test_resolve(void **state)
{
    struct fixture *f = *state;
    char name[NAME_MAX + 1];
    char longest[NAME_MAX + 2];
    uint64_t dir = 99;
    assert_int_equal(ckpt_catalog_set_dir(f->store, 5, 0, "run"), CKPT_OK);
    assert_int_equal(ckpt_catalog_resolve(f->store, "//run///a.pt", &dir, name), CKPT_OK);
    assert_int_equal(dir, 5);
    assert_string_equal(name, "a.pt");
    assert_int_equal(ckpt_catalog_resolve(f->store, "/", &dir, name), CKPT_OK);
    assert_int_equal(dir, CKPT_DIR_ROOT);
    assert_string_equal(name, "");
    assert_int_equal(ckpt_catalog_resolve(f->store, "run/", &dir, name), CKPT_OK);
    assert_int_equal(dir, CKPT_DIR_ROOT);
    assert_string_equal(name, "run");
    assert_int_equal(ckpt_catalog_resolve(f->store, "none/a", &dir, name), CKPT_ERR_NOT_FOUND);
    assert_int_equal(ckpt_catalog_resolve(f->store, "run/../a", &dir, name), CKPT_ERR_INVALID);
    assert_int_equal(ckpt_catalog_resolve(f->store, "run/..a", &dir, name), CKPT_OK);
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    assert_int_equal(ckpt_catalog_resolve(f->store, longest, &dir, name), CKPT_ERR_INVALID);
}

struct seen {
    char text[256];
    unsigned stop_after;
};

static bool note_file(void *arg, const struct ckpt_file *file, uint32_t versions)
{
    struct seen *seen = arg;
    size_t n = strlen(seen->text);
    snprintf(seen->text + n, sizeof seen->text - n, "%s:%u ", file->name, (unsigned)versions);
    return --seen->stop_after > 0;
}

static bool note_version(void *arg, const struct ckpt_version *version)
{
    struct seen *seen = arg;
    size_t n = strlen(seen->text);
    snprintf(seen->text + n, sizeof seen->text - n, "%u ", (unsigned)version->number);
    return --seen->stop_after > 0;
}

static void test_walks(void **state)
{
    struct fixture *f = *state;
    bool added = false;
    struct ckpt_version latest;
    assert_int_equal(ckpt_catalog_latest(f->store, 0, &latest), CKPT_ERR_NOT_FOUND);
    (void)capture(f, 0, "b", 10, &added);
    (void)capture(f, 0, "a", 10, &added);
    (void)capture(f, 0, "a", 20, &added);
    (void)capture(f, 0, "aa", 30, &added);
    (void)capture(f, 1, "other", 30, &added);

    struct seen files = {.stop_after = 100};
    assert_int_equal(ckpt_catalog_each_file(f->store, 0, note_file, &files), CKPT_OK);
    assert_string_equal(files.text, "a:2 aa:1 b:1 ");
    struct seen one = {.stop_after = 1};
    assert_int_equal(ckpt_catalog_each_file(f->store, 0, note_file, &one), CKPT_OK);
    assert_string_equal(one.text, "a:2 ");
    struct seen versions = {.stop_after = 100};
    assert_int_equal(ckpt_catalog_each_version(f->store, 0, "a", note_version, &versions), CKPT_OK);
    assert_string_equal(versions.text, "1 2 ");

    assert_int_equal(ckpt_catalog_latest(f->store, 0, &latest), CKPT_OK);
    assert_string_equal(latest.name, "aa");
    /* The newest capture is forgotten: the next one counts, and the file isn't listed any more. */
    assert_int_equal(drop(f->store, "aa", 1), CKPT_OK);
    assert_int_equal(ckpt_catalog_latest(f->store, 0, &latest), CKPT_OK);
    assert_string_equal(latest.name, "a");
    assert_int_equal(latest.number, 2);
    struct seen left = {.stop_after = 100};
    assert_int_equal(ckpt_catalog_each_file(f->store, 0, note_file, &left), CKPT_OK);
    assert_string_equal(left.text, "a:2 b:1 ");
    struct seen all = {.stop_after = 100};
    assert_int_equal(ckpt_catalog_each_file_of_all(f->store, note_file, &all), CKPT_OK);
    assert_string_equal(all.text, "a:2 aa:0 b:1 other:1 ");
}

static void test_damaged_rows(void **state)
{
    struct ckpt_version version;
    struct ckpt_file file;
    const uint8_t key[16] = {[8] = 'a'};
    const uint8_t row[96] = {'C', 'K', 'V', '1'};
    struct ckpt_slice name = {.data = key, .size = 9};
    struct ckpt_slice numbered = {.data = key, .size = 14};
    struct ckpt_slice value = {.data = row, .size = 96};
    struct ckpt_slice shorter = {.data = row, .size = 95};
    (void)state;
    assert_int_equal(ckpt_version_parse(&numbered, &value, &version), CKPT_OK);
    assert_int_equal(ckpt_version_parse(&numbered, &shorter, &version), CKPT_ERR_CORRUPT);
    assert_int_equal(ckpt_version_parse(&name, &value, &version), CKPT_ERR_CORRUPT);
    value.size = 80;
    assert_int_equal(ckpt_file_parse(&name, &value, &file), CKPT_ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_numbers_and_sequence, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_same_content_adds_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_put_version_takes_a_reference, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_drop, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stamp, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_stopped_store_refuses, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_directories, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_resolve, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_walks, set_up, tear_down),
        cmocka_unit_test(test_damaged_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
