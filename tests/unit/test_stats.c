/*
 * Where the space goes: what counts once, what counts for whom, and what dropping a version really gives
 * back.
 *
 * The histories are those of a training: one tensor of floats in a safetensors file, of which each version
 * changes the low bits.
 */
#include "object/garbage.h"
#include "object/object.h"
#include "object/recipe.h"
#include "unit.h"
#include <ckpt/engine.h>
#include <ckpt/stats.h>
#include <ckpt/verify.h>
#include <fcntl.h>
#include <sys/stat.h>

enum { WORDS = 200000, HEADER = 256, SIZE = 8 + HEADER + 4 * WORDS, VERSIONS = 7, SEEN_MAX = 16 };

struct world {
    struct unit_store *unit;
    struct ckpt_store *store;
    struct ckpt_filter *filter;
    struct ckpt_engine *engine;
    uint8_t *bytes; /* of the file that is saved next */
    uint64_t seed;
};

/* ---- files ---- */

static uint32_t word_at(const struct world *w, size_t i)
{
    uint32_t word;
    memcpy(&word, w->bytes + 8 + HEADER + 4 * i, sizeof word);
    return word;
}

static void set_word(struct world *w, size_t i, uint32_t word)
{
    memcpy(w->bytes + 8 + HEADER + 4 * i, &word, sizeof word);
}

/* TENSORS of equal size, of floats between 1 and 2. */
static void make_file(struct world *w, unsigned tensors)
{
    char header[HEADER + 1];
    int n = 0;
    uint64_t size = HEADER;
    unsigned each = 4 * WORDS / tensors;
    for (unsigned i = 0; i < tensors; i++) {
        n += snprintf(header + n, sizeof header - (size_t)n,
                      "%s\"t%u\":{\"dtype\":\"F32\",\"shape\":[%u],\"data_offsets\":[%u,%u]}",
                      i == 0 ? "{" : ",", i, each / 4, i * each, (i + 1) * each);
        assert_in_range(n, 1, HEADER - 2);
    }
    memset(w->bytes, ' ', 8 + HEADER);
    memcpy(w->bytes, &size, sizeof size);
    memcpy(w->bytes + 8, header, (size_t)n);
    w->bytes[8 + n] = '}';
    for (size_t i = 0; i < WORDS; i++) {
        set_word(w, i, 0x3f800000 | (uint32_t)(unit_random(&w->seed) >> 42));
    }
}

/* A step of training moves every word by less than 2^BITS. */
static void train(struct world *w, unsigned bits)
{
    for (size_t i = 0; i < WORDS; i++) {
        set_word(w, i, word_at(w, i) ^ (uint32_t)(unit_random(&w->seed) >> (64 - bits)));
    }
}

static void save(struct world *w, const char *path)
{
    unsigned still_open = 0;
    int live = ckpt_store_livefd(w->store);
    int fd = openat(live, path, O_RDWR | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, w->bytes, SIZE), SIZE);
    close(fd);
    /* Captured by a reader: what looks open for writing when its turn comes would be left for later. */
    fd = openat(live, path, O_RDONLY);
    assert_true(fd >= 0);
    assert_ok(ckpt_engine_capture(w->engine, fd));
    close(fd);
    assert_ok(ckpt_engine_flush(w->engine, &still_open));
    assert_int_equal(still_open, 0);
}

static void save_history(struct world *w, const char *path)
{
    make_file(w, 1);
    for (unsigned i = 0; i < VERSIONS; i++) {
        save(w, path);
        train(w, 14 - i);
    }
}

static uint64_t run_of(struct world *w, const char *path)
{
    uint64_t dir = 0;
    char name[NAME_MAX + 1];
    assert_ok(ckpt_catalog_resolve(w->store, path, &dir, name));
    return dir;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    void *unit = NULL;
    const char *bad = NULL;
    assert_non_null(w);
    unit_store_setup(&unit);
    w->unit = unit;
    w->store = w->unit->store;
    w->seed = 7;
    w->bytes = malloc(SIZE);
    assert_non_null(w->bytes);
    assert_ok(ckpt_filter_parse("default", &w->filter, &bad));
    struct ckpt_engine_config config = {
        .threads = 2, .depth = 3, .hot_limit = UINT64_MAX, .filter = w->filter};
    assert_ok(ckpt_engine_start(w->store, &config, &w->engine));
    assert_int_equal(mkdirat(ckpt_store_livefd(w->store), "one", 0755), 0);
    assert_int_equal(mkdirat(ckpt_store_livefd(w->store), "two", 0755), 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    void *unit = w->unit;
    ckpt_engine_stop(w->engine, true);
    ckpt_filter_free(w->filter);
    unit_store_teardown(&unit);
    free(w->bytes);
    free(w);
    return 0;
}

/* ---- what was told ---- */

struct seen {
    size_t n;
    size_t most; /* then it is enough */
    uint64_t dirs[SEEN_MAX];
    struct ckpt_stats runs[SEEN_MAX];
    uint32_t numbers[SEEN_MAX];
    struct ckpt_stats_version versions[SEEN_MAX];
};

static bool see_run(void *arg, uint64_t dir, const struct ckpt_stats *stats)
{
    struct seen *seen = arg;
    assert_in_range(seen->n, 0, SEEN_MAX - 1);
    seen->dirs[seen->n] = dir;
    seen->runs[seen->n++] = *stats;
    return seen->n != seen->most;
}

static bool see_version(void *arg, const struct ckpt_stats_version *version)
{
    struct seen *seen = arg;
    assert_in_range(seen->n, 0, SEEN_MAX - 1);
    seen->numbers[seen->n] = version->version->number;
    seen->versions[seen->n++] = *version;
    return seen->n != seen->most;
}

static struct ckpt_counters counters(struct world *w)
{
    struct ckpt_counters c;
    assert_ok(ckpt_store_counters(w->store, &c));
    return c;
}

/* Whatever there is: each chunk has a codec and a depth, and nothing is in two places. */
static void assert_adds_up(const struct ckpt_stats *stats)
{
    struct ckpt_stats_part codecs = {0};
    struct ckpt_stats_part depths = {0};
    for (unsigned i = 0; i < CKPT_STATS_CODECS; i++) {
        codecs.count += stats->codecs[i].count;
        codecs.raw += stats->codecs[i].raw;
        codecs.stored += stats->codecs[i].stored;
    }
    for (unsigned i = 0; i < CKPT_STATS_DEPTHS; i++) {
        depths.count += stats->depths[i].count;
        depths.raw += stats->depths[i].raw;
        depths.stored += stats->depths[i].stored;
    }
    assert_memory_equal(&codecs, &depths, sizeof codecs);
    assert_int_equal(codecs.raw, stats->unique);
    assert_int_equal(codecs.stored + stats->recipes.stored, stats->stored);
    assert_in_range(stats->unshared, 0, stats->stored);
}

static void look(struct world *w, struct seen *runs, struct ckpt_stats *stats)
{
    uint64_t loose = 1;
    *runs = (struct seen){0};
    assert_ok(ckpt_stats_store(w->store, see_run, runs, stats, &loose));
    assert_int_equal(loose, 0);
    assert_adds_up(stats);
    for (size_t i = 0; i < runs->n; i++) {
        assert_adds_up(&runs->runs[i]);
    }
    struct ckpt_counters c = counters(w);
    assert_int_equal(stats->versions, c.versions);
    assert_int_equal(stats->logical, c.logical);
    assert_int_equal(stats->stored, c.stored);
    assert_int_equal(stats->unique + stats->recipes.raw, c.unique);
}

static void look_at(struct world *w, const char *path, bool whole_run, struct seen *versions,
                    struct ckpt_stats *stats)
{
    uint64_t dir = 0;
    char name[NAME_MAX + 1];
    assert_ok(ckpt_catalog_resolve(w->store, path, &dir, name));
    *versions = (struct seen){0};
    assert_ok(ckpt_stats_run(w->store, dir, whole_run ? NULL : name, see_version, versions, stats));
    assert_adds_up(stats);
}

static uint64_t forget(struct world *w, const char *path, uint32_t number)
{
    struct ckpt_verify_result result;
    uint64_t before = counters(w).stored;
    assert_ok(ckpt_engine_forget(w->engine, path, &number, 1));
    assert_ok(ckpt_verify(w->store, false, NULL, NULL, &result));
    assert_int_equal(result.problems, 0);
    assert_int_equal(result.unused, 0);
    return before - counters(w).stored;
}

/* ---- the tests ---- */

static void every_codec_has_a_name(void **state)
{
    (void)state;
    static const char *const names[] = {"raw", "zstd", "planes", "delta", "grouped"};
    for (unsigned i = 0; i < CKPT_STATS_CODECS; i++) {
        assert_string_equal(ckpt_stats_codec(i), names[i]);
    }
    assert_null(ckpt_stats_codec(CKPT_STATS_CODECS));
}

static void an_empty_store_has_nothing(void **state)
{
    struct world *w = *state;
    struct seen seen;
    struct ckpt_stats stats;
    look(w, &seen, &stats);
    assert_int_equal(seen.n, 0);
    assert_int_equal(stats.stored, 0);
    stats.versions = 99;
    assert_int_equal(ckpt_stats_run(w->store, CKPT_DIR_ROOT, NULL, see_version, &seen, &stats),
                     CKPT_ERR_NOT_FOUND);
    assert_int_equal(stats.versions, 99);
}

static void one_version_is_all_there_is(void **state)
{
    struct world *w = *state;
    struct seen seen;
    struct ckpt_stats whole;
    struct ckpt_stats run;
    make_file(w, 1);
    save(w, "a.safetensors"); /* the top is a run as well */
    look(w, &seen, &whole);
    assert_int_equal(seen.n, 1);
    assert_int_equal(seen.dirs[0], CKPT_DIR_ROOT);
    assert_memory_equal(&seen.runs[0], &whole, sizeof whole);
    assert_int_equal(whole.logical, SIZE);
    assert_int_equal(whole.unique, SIZE);
    assert_int_equal(whole.unshared, whole.stored);
    assert_int_equal(whole.recipes.count, 1);
    look_at(w, "a.safetensors", false, &seen, &run);
    assert_memory_equal(&run, &whole, sizeof run);
    assert_int_equal(seen.n, 1);
    assert_int_equal(seen.versions[0].stored, whole.stored);
    assert_int_equal(seen.versions[0].leaned, 0);
    assert_int_equal(seen.versions[0].sole, whole.stored);
    assert_int_equal(seen.versions[0].recoded, 0);
    assert_int_equal(seen.versions[0].frees, forget(w, "a.safetensors", 1));
    assert_int_equal(counters(w).stored, 0);
}

static void what_two_runs_share_counts_in_both_and_frees_nothing(void **state)
{
    struct world *w = *state;
    struct seen seen;
    struct ckpt_stats stats;
    make_file(w, 1);
    save(w, "one/a.safetensors");
    save(w, "two/b.safetensors");
    look(w, &seen, &stats);
    assert_int_equal(seen.n, 2);
    assert_int_equal(stats.logical, 2 * SIZE);
    assert_int_equal(stats.unique, SIZE);
    assert_int_equal(stats.unshared, 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(seen.runs[i].versions, 1);
        assert_int_equal(seen.runs[i].stored, stats.stored);
        assert_int_equal(seen.runs[i].unshared, 0);
    }
    look_at(w, "one/a.safetensors", true, &seen, &stats);
    assert_int_equal(seen.versions[0].sole, 0);
    assert_int_equal(seen.versions[0].frees, forget(w, "one/a.safetensors", 1));
    look(w, &seen, &stats);
    assert_int_equal(stats.unshared, stats.stored);
}

static void what_two_files_of_a_run_share_is_the_runs_own(void **state)
{
    struct world *w = *state;
    struct seen seen;
    struct ckpt_stats run;
    struct ckpt_stats file;
    make_file(w, 1);
    save(w, "one/a.safetensors");
    save(w, "one/b.safetensors");
    look_at(w, "one/a.safetensors", true, &seen, &run);
    assert_int_equal(seen.n, 2);
    assert_int_equal(run.unshared, run.stored);
    look_at(w, "one/a.safetensors", false, &seen, &file);
    assert_int_equal(seen.n, 1);
    assert_int_equal(file.stored, run.stored);
    assert_int_equal(file.unshared, 0);
}

/* Two tensors with the same bytes are one chunk, twice in the recipe. */
static void a_chunk_that_stands_twice_in_a_file_counts_once(void **state)
{
    struct world *w = *state;
    struct seen seen;
    struct ckpt_stats stats;
    make_file(w, 2);
    for (size_t i = 0; i < WORDS / 2; i++) {
        set_word(w, WORDS / 2 + i, word_at(w, i));
    }
    save(w, "one/a.safetensors");
    look(w, &seen, &stats);
    assert_int_equal(stats.logical, SIZE);
    assert_int_equal(stats.unique, 8 + HEADER + 2 * WORDS);
    look_at(w, "one/a.safetensors", true, &seen, &stats);
    assert_int_equal(seen.versions[0].sole, stats.stored);
    assert_int_equal(seen.versions[0].frees, forget(w, "one/a.safetensors", 1));
    assert_int_equal(counters(w).stored, 0);
}

static void a_history_is_a_chain_of_differences(void **state)
{
    struct world *w = *state;
    struct seen seen;
    struct ckpt_stats stats;
    save_history(w, "one/a.safetensors");
    look(w, &seen, &stats);
    uint64_t differences = stats.codecs[CKPT_CODEC_DELTA].count + stats.codecs[CKPT_CODEC_GROUPED].count;
    assert_true(differences >= VERSIONS - 3);
    for (unsigned depth = 0; depth < CKPT_STATS_DEPTHS; depth++) {
        assert_int_equal(stats.depths[depth].count > 0, depth <= 3);
    }
    look_at(w, "one/a.safetensors", true, &seen, &stats);
    assert_int_equal(seen.n, VERSIONS);
    uint64_t sole = 0;
    for (unsigned i = 0; i < VERSIONS; i++) {
        assert_int_equal(seen.numbers[i], i + 1);
        sole += seen.versions[i].sole;
    }
    /* Whole, three differences, whole. A reader of the fourth needs what the three before it have. */
    assert_int_equal(seen.versions[0].leaned, 0);
    assert_true(seen.versions[3].leaned > seen.versions[0].stored * 9 / 10);
    assert_true(seen.versions[3].leaned > seen.versions[2].leaned);
    assert_true(seen.versions[4].leaned < seen.versions[4].stored);
    assert_in_range(sole, stats.stored * 9 / 10, stats.stored);
    assert_int_equal(seen.versions[VERSIONS - 1].recoded, 0);
}

/* Of a history of its own each time: whole with something on it, a difference in between, the end of a chain,
   the whole one after it, the last one. */
static void dropping_frees_what_was_said(void **state)
{
    struct world *w = *state;
    for (uint32_t number = 1; number <= VERSIONS; number++) {
        struct seen seen;
        struct ckpt_stats stats;
        char path[64];
        snprintf(path, sizeof path, "one/%u.safetensors", number);
        save_history(w, path);
        look_at(w, path, false, &seen, &stats);
        int64_t said = seen.versions[number - 1].frees;
        int64_t really = (int64_t)forget(w, path, number);
        assert_true(really > 0);
        assert_in_range(said, really - really / 10, really + really / 10);
        if (seen.versions[number - 1].recoded == 0) {
            assert_int_equal(said, really);
        }
    }
}

/* A reference that nobody counted stands for whatever waits in the garbage. */
static void what_waits_to_be_released_holds_what_it_refers_to(void **state)
{
    struct world *w = *state;
    struct seen seen;
    struct ckpt_stats stats;
    struct ckpt_version version;
    struct ckpt_recipe recipe;
    struct ckpt_refs refs;
    struct ckpt_codec *codec = NULL;
    struct ckpt_txn *txn = NULL;
    uint64_t key = 0;
    make_file(w, 1);
    save(w, "one/a.safetensors");
    ckpt_recipe_init(&recipe);
    assert_ok(ckpt_catalog_version(w->store, run_of(w, "one/a.safetensors"), "a.safetensors", 1, &version));
    assert_ok(ckpt_codec_create(&codec));
    assert_ok(ckpt_txn_write(w->store->db, &txn));
    assert_ok(ckpt_recipe_load(w->store, codec, txn, &version.recipe, &recipe));
    assert_ok(ckpt_object_refs(txn, &recipe.chunks[0].id, &refs));
    assert_ok(ckpt_object_ref(txn, &recipe.chunks[0].id));
    assert_ok(ckpt_garbage_add(txn, NULL, &recipe.chunks[0].id, 1, &key));
    assert_ok(ckpt_txn_commit(txn));
    look_at(w, "one/a.safetensors", true, &seen, &stats);
    assert_int_equal(stats.unshared, stats.stored - refs.record_size);
    assert_int_equal(seen.versions[0].sole, stats.stored - refs.record_size);
    ckpt_recipe_clear(&recipe);
    ckpt_codec_free(codec);
    /* Now that version goes, and only garbage is left. */
    assert_ok(ckpt_catalog_drop(w->store, version.dir, version.name, &version.number, 1));
    uint64_t loose = 0;
    assert_ok(ckpt_stats_store(w->store, NULL, NULL, &stats, &loose));
    assert_int_equal(stats.stored, 0);
    assert_int_equal(loose, counters(w).stored);
    assert_true(loose > 0);
}

static void a_callback_that_has_seen_enough_ends_the_call(void **state)
{
    struct world *w = *state;
    struct seen seen = {.most = 1};
    struct ckpt_stats stats;
    uint64_t loose = 0;
    save_history(w, "one/a.safetensors");
    save(w, "two/a.safetensors");
    assert_ok(ckpt_stats_store(w->store, see_run, &seen, &stats, &loose));
    assert_int_equal(seen.n, 1);
    seen = (struct seen){.most = 2};
    assert_ok(ckpt_stats_run(w->store, run_of(w, "one/a.safetensors"), NULL, see_version, &seen, &stats));
    assert_int_equal(seen.n, 2);
    assert_int_equal(stats.versions, VERSIONS);
}

/* ---- damage ---- */

static void first_chunk_refs(struct world *w, struct ckpt_txn *txn, uint32_t number, struct ckpt_id *id)
{
    struct ckpt_version version;
    struct ckpt_recipe recipe;
    struct ckpt_codec *codec = NULL;
    ckpt_recipe_init(&recipe);
    assert_ok(
        ckpt_catalog_version(w->store, run_of(w, "one/a.safetensors"), "a.safetensors", number, &version));
    assert_ok(ckpt_codec_create(&codec));
    assert_ok(ckpt_recipe_load(w->store, codec, txn, &version.recipe, &recipe));
    assert_true(recipe.chunk_count >= 2);
    *id = recipe.chunks[1].id; /* behind the header's */
    ckpt_recipe_clear(&recipe);
    ckpt_codec_free(codec);
}

static void assert_corrupt(struct world *w)
{
    struct seen seen = {0};
    struct ckpt_stats stats;
    uint64_t loose = 0;
    uint64_t dir = run_of(w, "one/a.safetensors");
    alarm(60);
    assert_int_equal(ckpt_stats_store(w->store, NULL, NULL, &stats, &loose), CKPT_ERR_CORRUPT);
    assert_non_null(strstr(w->unit->text, "ckpt verify"));
    w->unit->text[0] = '\0';
    assert_int_equal(ckpt_stats_run(w->store, dir, NULL, see_version, &seen, &stats), CKPT_ERR_CORRUPT);
    assert_non_null(strstr(w->unit->text, "ckpt verify"));
    alarm(0);
}

static void a_chunk_that_is_not_there_is_told(void **state)
{
    struct world *w = *state;
    struct ckpt_txn *txn = NULL;
    struct ckpt_id id;
    save_history(w, "one/a.safetensors");
    assert_ok(ckpt_txn_write(w->store->db, &txn));
    first_chunk_refs(w, txn, 1, &id);
    assert_ok(ckpt_db_del(txn, CKPT_TABLE_REFS, id.bytes, CKPT_ID_SIZE));
    assert_ok(ckpt_txn_commit(txn));
    assert_corrupt(w);
}

static void chunks_that_lean_on_each_other_are_told(void **state)
{
    struct world *w = *state;
    struct ckpt_txn *txn = NULL;
    struct ckpt_id earlier;
    struct ckpt_id later;
    save_history(w, "one/a.safetensors");
    assert_ok(ckpt_txn_write(w->store->db, &txn));
    first_chunk_refs(w, txn, 2, &earlier);
    first_chunk_refs(w, txn, 3, &later);
    assert_ok(ckpt_object_relink(txn, &earlier, &later));
    assert_ok(ckpt_txn_commit(txn));
    assert_corrupt(w);
}

static void a_row_of_a_version_that_is_none_is_told(void **state)
{
    struct world *w = *state;
    struct ckpt_txn *txn = NULL;
    uint8_t key[8 + 2 + 4] = {0};
    make_file(w, 1);
    save(w, "one/a.safetensors");
    key[8] = 'x';
    key[13] = 1;
    assert_ok(ckpt_txn_write(w->store->db, &txn));
    assert_ok(ckpt_db_put(txn, CKPT_TABLE_VERSIONS, key, sizeof key, "bad", 3));
    assert_ok(ckpt_txn_commit(txn));
    struct ckpt_stats stats;
    uint64_t loose = 0;
    assert_int_equal(ckpt_stats_store(w->store, NULL, NULL, &stats, &loose), CKPT_ERR_CORRUPT);
    assert_int_equal(ckpt_stats_run(w->store, CKPT_DIR_ROOT, NULL, NULL, NULL, &stats), CKPT_ERR_CORRUPT);
    assert_ok(ckpt_stats_run(w->store, run_of(w, "one/a.safetensors"), NULL, NULL, NULL, &stats));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_codec_has_a_name),
        cmocka_unit_test_setup_teardown(an_empty_store_has_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(one_version_is_all_there_is, setup, teardown),
        cmocka_unit_test_setup_teardown(what_two_runs_share_counts_in_both_and_frees_nothing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_two_files_of_a_run_share_is_the_runs_own, setup, teardown),
        cmocka_unit_test_setup_teardown(a_chunk_that_stands_twice_in_a_file_counts_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_history_is_a_chain_of_differences, setup, teardown),
        cmocka_unit_test_setup_teardown(dropping_frees_what_was_said, setup, teardown),
        cmocka_unit_test_setup_teardown(what_waits_to_be_released_holds_what_it_refers_to, setup, teardown),
        cmocka_unit_test_setup_teardown(a_callback_that_has_seen_enough_ends_the_call, setup, teardown),
        cmocka_unit_test_setup_teardown(a_chunk_that_is_not_there_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(chunks_that_lean_on_each_other_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(a_row_of_a_version_that_is_none_is_told, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
