/*
 * Verify: a real store, built by the engine, is damaged in every way that can be thought of. Each
 * damage must be found and told with the name of what is wrong; the same store before and after is
 * clean.
 *
 * The store:
 *
 *     gone.pt          was deleted and forgotten
 *     same.pt          v1 = A
 *     run/a.pt         v1 = A, v2 = A with another beginning
 *     run/sub/c.pt     v1 = C: compressible, a hole in its middle
 *     run/w.pt         v1 = W: floats, v2 = W after a step of training: differences from v1
 *     run/cold.pt      v1 = D, cold
 *
 * In an expected report {shared} stands for the last chunk of A, {lone} for the first of C,
 * {recipe} for C's recipe, {common} for A's, {base} and {delta} for the first chunks of W's versions,
 * {run} and {sub} for the directories' ids, {none} for an id that nothing has.
 */
#include "unit.h"

#include "catalog/catalog_txn.h"
#include "changed_rows.h"
#include "chunk/codec.h"
#include "common/bytes.h"
#include "common/live.h"
#include "object/garbage.h"
#include "object/object.h"
#include "object/recipe.h"
#include "verify/verify_parts.h"
#include <ckpt/engine.h>
#include <ckpt/verify.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/xattr.h>

enum {
    SIZE_A = 1536 << 10,
    OTHER = 64 << 10, /* bytes at the beginning of run/a.pt that version 2 changes: no cut depends
                         on them */
    HALF_C = 300 << 10,
    HOLE_C = 1 << 20,
    SIZE_D = 300 << 10,
    SIZE_W = 400 << 10,
    KEY_ROOM = 512,
    REPORTS_MAX = 2000,
    DEPTH = 2,
};

/* One row as it was before the damage. */
struct world {
    struct unit_store u;
    struct ckpt_store *store;
    struct ckpt_codec *codec;
    struct ckpt_filter *filter;
    struct ckpt_engine *engine;
    struct unit_row *changed;
    char *reports[REPORTS_MAX];
    size_t report_count;
    struct ckpt_id shared, lone, recipe, common, base, delta, none;
    uint64_t shared_at; /* its offset in A */
    uint64_t run, sub;
    struct ckpt_recipe recipe_c;
};

/* ---- building ---- */

static void collect(void *arg, enum ckpt_level level, const char *text)
{
    struct world *w = arg;
    (void)level;
    (void)pthread_mutex_lock(&w->u.lock);
    if (w->report_count < REPORTS_MAX) {
        w->reports[w->report_count++] = strdup(text);
    }
    (void)pthread_mutex_unlock(&w->u.lock);
}

static void forget_reports(struct world *w)
{
    for (size_t i = 0; i < w->report_count; i++) {
        free(w->reports[i]);
    }
    w->report_count = 0;
}

static void start_engine(struct world *w)
{
    struct ckpt_engine_config config = {
        .threads = 2, .depth = DEPTH, .hot_limit = UINT64_MAX, .filter = w->filter};
    assert_ok(ckpt_engine_start(w->store, &config, &w->engine));
}

static void stop_engine(struct world *w)
{
    ckpt_engine_stop(w->engine, true);
    w->engine = NULL;
}

static int open_live(struct world *w, const char *path, int flags)
{
    int fd = openat(ckpt_store_livefd(w->store), path, flags | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    return fd;
}

static void capture(struct world *w, const char *path)
{
    unsigned still_open = 0;
    int fd = open_live(w, path, O_PATH);
    assert_ok(ckpt_engine_capture(w->engine, fd));
    assert_int_equal(close(fd), 0);
    assert_ok(ckpt_engine_flush(w->engine, &still_open));
    assert_int_equal(still_open, 0);
}

static void save(struct world *w, const char *path, const uint8_t *bytes, size_t n)
{
    int fd = open_live(w, path, O_WRONLY | O_CREAT | O_TRUNC);
    assert_int_equal(write(fd, bytes, n), n);
    assert_int_equal(close(fd), 0);
    capture(w, path);
}

static void save_all(struct world *w)
{
    uint8_t *a = unit_noise(SIZE_A, 1);
    uint8_t *other = unit_noise(OTHER, 2);
    uint8_t *c = unit_weights(2 * HALF_C, 3);
    uint8_t *d = unit_noise(SIZE_D, 4);
    uint8_t *floats = unit_floats(SIZE_W, 5);
    assert_int_equal(mkdirat(ckpt_store_livefd(w->store), "run", 0755), 0);
    assert_int_equal(mkdirat(ckpt_store_livefd(w->store), "run/sub", 0755), 0);
    const uint32_t one = 1;
    save(w, "gone.pt", d, SIZE_D);
    assert_int_equal(unlinkat(ckpt_store_livefd(w->store), "gone.pt", 0), 0);
    assert_ok(ckpt_engine_forget(w->engine, "gone.pt", &one, 1));
    save(w, "same.pt", a, SIZE_A);
    save(w, "run/a.pt", a, SIZE_A);
    memcpy(a, other, OTHER);
    save(w, "run/a.pt", a, SIZE_A);
    int fd = open_live(w, "run/sub/c.pt", O_WRONLY | O_CREAT);
    assert_int_equal(pwrite(fd, c, HALF_C, 0), HALF_C);
    assert_int_equal(pwrite(fd, c + HALF_C, HALF_C, HALF_C + HOLE_C), HALF_C);
    assert_int_equal(close(fd), 0);
    capture(w, "run/sub/c.pt");
    save(w, "run/w.pt", floats, SIZE_W);
    unit_train(floats, SIZE_W, 6);
    save(w, "run/w.pt", floats, SIZE_W);
    save(w, "run/cold.pt", d, SIZE_D);
    assert_ok(ckpt_engine_demote(w->engine, "run/cold.pt"));
    free(a);
    free(other);
    free(c);
    free(d);
    free(floats);
}

static void load(struct world *w, const struct ckpt_id *id, struct ckpt_recipe *recipe)
{
    struct ckpt_txn *txn = NULL;
    ckpt_recipe_init(recipe);
    assert_ok(ckpt_txn_read(w->store->db, &txn));
    assert_ok(ckpt_recipe_load(w->store, w->codec, txn, id, recipe));
    ckpt_txn_abort(txn);
}

static struct ckpt_refs refs_of(struct world *w, const struct ckpt_id *id)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_refs refs;
    assert_ok(ckpt_txn_read(w->store->db, &txn));
    assert_ok(ckpt_object_refs(txn, id, &refs));
    ckpt_txn_abort(txn);
    return refs;
}

static struct ckpt_id first_chunk(struct world *w, uint64_t dir, const char *name, uint32_t number)
{
    struct ckpt_recipe recipe;
    struct ckpt_version version;
    assert_ok(ckpt_catalog_version(w->store, dir, name, number, &version));
    load(w, &version.recipe, &recipe);
    struct ckpt_id id = recipe.chunks[0].id;
    ckpt_recipe_clear(&recipe);
    return id;
}

static void look_around(struct world *w)
{
    struct ckpt_recipe a;
    struct ckpt_version version;
    char name[NAME_MAX + 1];
    assert_ok(ckpt_catalog_resolve(w->store, "run/a.pt", &w->run, name));
    assert_ok(ckpt_catalog_resolve(w->store, "run/sub/c.pt", &w->sub, name));
    assert_ok(ckpt_catalog_version(w->store, CKPT_DIR_ROOT, "same.pt", 1, &version));
    w->common = version.recipe;
    load(w, &w->common, &a);
    assert_true(a.count >= 3);
    w->shared = a.chunks[a.extents[a.count - 1].chunk].id;
    w->shared_at = a.extents[a.count - 1].offset;
    ckpt_recipe_clear(&a);
    assert_ok(ckpt_catalog_version(w->store, w->sub, "c.pt", 1, &version));
    w->recipe = version.recipe;
    load(w, &w->recipe, &w->recipe_c);
    w->lone = w->recipe_c.chunks[0].id;
    memset(&w->none, 0xee, sizeof w->none);
    w->base = first_chunk(w, w->run, "w.pt", 1);
    w->delta = first_chunk(w, w->run, "w.pt", 2);
    struct ckpt_refs delta = refs_of(w, &w->delta);
    assert_true(ckpt_codec_needs_base(delta.coding.id));
    assert_true(ckpt_id_equal(&delta.previous, &w->base));
    assert_true(refs_of(w, &w->lone).coding.id != CKPT_CODEC_RAW);
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    assert_int_equal(pthread_mutex_init(&w->u.lock, NULL), 0);
    struct ckpt_report report = {.fn = collect, .arg = w};
    unit_mkdir(w->u.dir);
    assert_ok(ckpt_store_create(w->u.dir, &report));
    assert_ok(ckpt_store_open(w->u.dir, CKPT_WRITE, NULL, &report, &w->store));
    assert_ok(ckpt_codec_create(&w->codec));
    assert_ok(ckpt_filter_parse("default", &w->filter, NULL));
    start_engine(w);
    save_all(w);
    stop_engine(w);
    look_around(w);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    ckpt_recipe_clear(&w->recipe_c);
    ckpt_filter_free(w->filter);
    ckpt_codec_free(w->codec);
    ckpt_store_close(w->store);
    forget_reports(w);
    unit_rmdir(w->u.dir);
    assert_int_equal(pthread_mutex_destroy(&w->u.lock), 0);
    free(w);
    return 0;
}

/* ---- damaging, with a memory of what was there ---- */

/* Sets a row, or removes it (VALUE is NULL). */
static void set_row(struct world *w, enum ckpt_table table, const void *key, size_t key_size,
                    const void *value, size_t size)
{
    unit_row_set(&w->changed, w->store->db, table, key, key_size, value, size);
}

static void put_back(struct world *w)
{
    unit_row_undo(&w->changed, w->store->db);
}

/* A copy of a row with room for MORE bytes; the caller frees. */
static uint8_t *get_row(struct world *w, enum ckpt_table table, const void *key, size_t key_size,
                        size_t more, size_t *size)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_slice value;
    assert_ok(ckpt_txn_read(w->store->db, &txn));
    assert_ok(ckpt_db_get(txn, table, key, key_size, &value));
    uint8_t *copy = calloc(1, value.size + more);
    assert_non_null(copy);
    memcpy(copy, value.data, value.size);
    *size = value.size;
    ckpt_txn_abort(txn);
    return copy;
}

/* Adds DIFFERENCE to the byte at AT (from the end when negative). */
static void change_byte(struct world *w, enum ckpt_table table, const void *key, size_t key_size,
                        int at, int difference)
{
    size_t size = 0;
    uint8_t *row = get_row(w, table, key, key_size, 0, &size);
    size_t index = at < 0 ? size - (size_t)-at : (size_t)at;
    assert_true(index < size);
    row[index] = (uint8_t)(row[index] + difference);
    set_row(w, table, key, key_size, row, size);
    free(row);
}

static void change_object(struct world *w, const struct ckpt_id *id, int at, int difference)
{
    change_byte(w, CKPT_TABLE_OBJECTS, id->bytes, CKPT_ID_SIZE, at, difference);
}

static void change_refs(struct world *w, const struct ckpt_id *id, int at, int difference)
{
    change_byte(w, CKPT_TABLE_REFS, id->bytes, CKPT_ID_SIZE, at, difference);
}

static void drop(struct world *w, enum ckpt_table table, const struct ckpt_id *id)
{
    set_row(w, table, id->bytes, CKPT_ID_SIZE, NULL, 0);
}

/* Keys as FORMAT.md has them. */
struct key {
    uint8_t bytes[KEY_ROOM];
    size_t size;
};

static struct key name_key(uint64_t dir, const char *name)
{
    struct key key;
    ckpt_put_be64(key.bytes, dir);
    memcpy(key.bytes + 8, name, strlen(name));
    key.size = 8 + strlen(name);
    return key;
}

static struct key version_key(uint64_t dir, const char *name, uint32_t number)
{
    struct key key = name_key(dir, name);
    key.bytes[key.size] = 0;
    ckpt_put_be32(key.bytes + key.size + 1, number);
    key.size += 5;
    return key;
}

static struct key number_key(uint64_t number)
{
    struct key key = {.size = 8};
    ckpt_put_be64(key.bytes, number);
    return key;
}

static void set_key(struct world *w, enum ckpt_table table, struct key key, const void *value,
                    size_t size)
{
    set_row(w, table, key.bytes, key.size, value, size);
}

static void change_key(struct world *w, enum ckpt_table table, struct key key, int at,
                       int difference)
{
    change_byte(w, table, key.bytes, key.size, at, difference);
}

static void set_meta(struct world *w, const char *name, const void *value, size_t size)
{
    set_row(w, CKPT_TABLE_META, name, strlen(name), value, size);
}

static void change_meta(struct world *w, const char *name, int at, int difference)
{
    change_byte(w, CKPT_TABLE_META, name, strlen(name), at, difference);
}

static void add_garbage(struct world *w, uint64_t key, const struct ckpt_id *id, size_t n)
{
    struct ckpt_id *ids = calloc(n + 1, sizeof *ids);
    assert_non_null(ids);
    for (size_t i = 1; i <= n; i++) {
        ids[i] = *id;
    }
    set_key(w, CKPT_TABLE_GARBAGE, number_key(key), ids, (n + 1) * sizeof *ids);
    free(ids);
}

/* An object as it should be, but for what its bytes say. */
static struct ckpt_id put_object(struct world *w, enum ckpt_kind kind, const uint8_t *raw, size_t n,
                                 uint64_t references)
{
    uint8_t refs[40] = {0};
    size_t size = 0;
    uint8_t *record = malloc(ckpt_record_bound(n));
    assert_non_null(record);
    struct ckpt_recording recording = {
        .kind = kind, .id = ckpt_id_of(w->store->seed, 0, raw, n), .raw = raw, .raw_size = n};
    struct ckpt_id id = recording.id;
    struct ckpt_coding coding;
    assert_ok(ckpt_record_encode(w->codec, w->store->seed, &recording, record, &size, &coding));
    set_row(w, CKPT_TABLE_OBJECTS, id.bytes, CKPT_ID_SIZE, record, size);
    ckpt_put_le64(refs, references);
    ckpt_put_le32(refs + 8, (uint32_t)n);
    ckpt_put_le32(refs + 12, (uint32_t)size);
    refs[16] = (uint8_t)kind;
    refs[17] = (uint8_t)coding.id;
    refs[18] = coding.width;
    set_row(w, CKPT_TABLE_REFS, id.bytes, CKPT_ID_SIZE, refs, sizeof refs);
    free(record);
    return id;
}

static void point_version(struct world *w, const struct ckpt_id *recipe)
{
    struct key key = version_key(w->sub, "c.pt", 1);
    size_t size = 0;
    uint8_t *row = get_row(w, CKPT_TABLE_VERSIONS, key.bytes, key.size, 0, &size);
    memcpy(row + 8, recipe->bytes, CKPT_ID_SIZE);
    set_key(w, CKPT_TABLE_VERSIONS, key, row, size);
    free(row);
}

static void count_again(struct world *w, const struct ckpt_id *gone, const struct ckpt_id *come)
{
    size_t size = 0;
    uint8_t *old = get_row(w, CKPT_TABLE_REFS, gone->bytes, CKPT_ID_SIZE, 0, &size);
    uint8_t *new = get_row(w, CKPT_TABLE_REFS, come->bytes, CKPT_ID_SIZE, 0, &size);
    uint8_t *counters = get_row(w, CKPT_TABLE_META, "counters", 8, 0, &size);
    ckpt_put_le64(counters + 8,
                  ckpt_get_le64(counters + 8) + ckpt_get_le32(new + 8) - ckpt_get_le32(old + 8));
    ckpt_put_le64(counters + 16,
                  ckpt_get_le64(counters + 16) + ckpt_get_le32(new + 12) - ckpt_get_le32(old + 12));
    set_meta(w, "counters", counters, size);
    free(old);
    free(new);
    free(counters);
}

/* The recipe of C is exchanged for another one that is booked correctly. */
static void exchange_recipe(struct world *w, const uint8_t *raw, size_t n)
{
    struct ckpt_id id = put_object(w, CKPT_KIND_RECIPE, raw, n, 1);
    count_again(w, &w->recipe, &id);
    point_version(w, &id);
    drop(w, CKPT_TABLE_OBJECTS, &w->recipe);
    drop(w, CKPT_TABLE_REFS, &w->recipe);
}

/* ---- the damages ---- */

static void payload_byte(struct world *w)
{
    change_object(w, &w->shared, -1, 1);
}

static void header_byte(struct world *w)
{
    change_object(w, &w->lone, 8, 1);
}

static void record_of_another(struct world *w)
{
    size_t size = 0;
    uint8_t *row = get_row(w, CKPT_TABLE_OBJECTS, w->lone.bytes, CKPT_ID_SIZE, 0, &size);
    set_row(w, CKPT_TABLE_OBJECTS, w->shared.bytes, CKPT_ID_SIZE, row, size);
    free(row);
}

static void newer_record(struct world *w)
{
    size_t size = 0;
    uint8_t *row = get_row(w, CKPT_TABLE_OBJECTS, w->lone.bytes, CKPT_ID_SIZE, 0, &size);
    row[4] = 2;
    ckpt_put_le64(row + 56, ckpt_checksum2(w->store->seed, row, 56, row + 64, size - 64));
    set_row(w, CKPT_TABLE_OBJECTS, w->lone.bytes, CKPT_ID_SIZE, row, size);
    free(row);
}

/* The id of other bytes than those that come out, under a valid checksum: a codec that is wrong. */
static void other_content(struct world *w)
{
    size_t size = 0;
    uint8_t raw[100] = {1};
    uint8_t *record = malloc(ckpt_record_bound(sizeof raw));
    assert_non_null(record);
    struct ckpt_recording recording = {
        .kind = CKPT_KIND_CHUNK, .id = w->lone, .raw = raw, .raw_size = sizeof raw};
    struct ckpt_coding coding;
    assert_ok(ckpt_record_encode(w->codec, w->store->seed, &recording, record, &size, &coding));
    set_row(w, CKPT_TABLE_OBJECTS, w->lone.bytes, CKPT_ID_SIZE, record, size);
    free(record);
}

static void object_gone(struct world *w)
{
    drop(w, CKPT_TABLE_OBJECTS, &w->shared);
}

static void refs_gone(struct world *w)
{
    drop(w, CKPT_TABLE_REFS, &w->shared);
}

static void both_gone(struct world *w)
{
    object_gone(w);
    refs_gone(w);
}

static void count_raised(struct world *w)
{
    change_refs(w, &w->lone, 0, 1);
}

static void count_lowered(struct world *w)
{
    change_refs(w, &w->shared, 0, -1);
}

static void count_zero(struct world *w)
{
    change_refs(w, &w->lone, 0, -1);
}

static void refs_reserved(struct world *w)
{
    change_refs(w, &w->lone, 23, 1);
}

static void refs_raw_size(struct world *w)
{
    change_refs(w, &w->lone, 8, 1);
}

static void refs_record_size(struct world *w)
{
    change_refs(w, &w->lone, 12, 1);
}

static void chunk_booked_as_recipe(struct world *w)
{
    change_refs(w, &w->lone, 16, 1);
}

static void recipe_booked_as_chunk(struct world *w)
{
    change_refs(w, &w->recipe, 16, -1);
}

static void odd_keys(struct world *w)
{
    set_row(w, CKPT_TABLE_REFS, "abc", 3, "x", 1);
    set_row(w, CKPT_TABLE_OBJECTS, "abcd", 4, "x", 1);
}

static void recipe_byte(struct world *w)
{
    change_object(w, &w->recipe, -1, 1);
}

static void common_recipe_byte(struct world *w)
{
    change_object(w, &w->common, -1, 1);
}

static void recipe_gone(struct world *w)
{
    drop(w, CKPT_TABLE_OBJECTS, &w->recipe);
}

static void recipe_refs_gone(struct world *w)
{
    drop(w, CKPT_TABLE_REFS, &w->recipe);
}

static void recipe_and_refs_gone(struct world *w)
{
    recipe_gone(w);
    recipe_refs_gone(w);
}

/* C with one of its chunks said to be another one, or one of another length. */
static void first_chunk_is(struct world *w, const struct ckpt_id *id, uint32_t size)
{
    struct ckpt_recipe_chunk *chunk = &w->recipe_c.chunks[0];
    const struct ckpt_recipe_chunk before = *chunk;
    uint8_t *raw = NULL;
    size_t n = 0;
    chunk->id = *id;
    chunk->size = size;
    assert_ok(ckpt_recipe_encode(&w->recipe_c, &raw, &n));
    *chunk = before;
    exchange_recipe(w, raw, n);
    free(raw);
}

static void chunk_length(struct world *w)
{
    first_chunk_is(w, &w->lone, w->recipe_c.chunks[0].size + 1);
}

static void recipe_reserved(struct world *w)
{
    uint8_t *raw = NULL;
    size_t n = 0;
    assert_ok(ckpt_recipe_encode(&w->recipe_c, &raw, &n));
    raw[24 + 21] = 1;
    exchange_recipe(w, raw, n);
    free(raw);
}

static void chunk_that_is_not_there(struct world *w)
{
    first_chunk_is(w, &w->none, w->recipe_c.chunks[0].size);
}

static void chunk_that_is_a_recipe(struct world *w)
{
    first_chunk_is(w, &w->common, w->recipe_c.chunks[0].size);
}

static void version_without_recipe(struct world *w)
{
    point_version(w, &w->none);
}

static void version_of_a_chunk(struct world *w)
{
    point_version(w, &w->shared);
}

static void version_size(struct world *w)
{
    change_key(w, CKPT_TABLE_VERSIONS, version_key(w->run, "a.pt", 2), 32, 1);
}

static void version_reserved(struct world *w)
{
    change_key(w, CKPT_TABLE_VERSIONS, version_key(w->run, "a.pt", 2), 95, 1);
}

static void version_gone(struct world *w)
{
    set_key(w, CKPT_TABLE_VERSIONS, version_key(w->run, "a.pt", 2), NULL, 0);
}

static void next_number(struct world *w)
{
    change_key(w, CKPT_TABLE_FILES, name_key(w->run, "a.pt"), 4, -1);
}

static void file_sequence(struct world *w)
{
    change_key(w, CKPT_TABLE_FILES, name_key(w->run, "a.pt"), 8, -1);
}

static void file_gone(struct world *w)
{
    set_key(w, CKPT_TABLE_FILES, name_key(w->run, "a.pt"), NULL, 0);
}

static void file_reserved(struct world *w)
{
    change_key(w, CKPT_TABLE_FILES, name_key(w->run, "a.pt"), 79, 1);
}

static void run_gone(struct world *w)
{
    set_key(w, CKPT_TABLE_DIRS, number_key(w->run), NULL, 0);
}

static void sub_gone(struct world *w)
{
    set_key(w, CKPT_TABLE_DIRS, number_key(w->sub), NULL, 0);
}

static void sub_and_its_name_gone(struct world *w)
{
    sub_gone(w);
    set_key(w, CKPT_TABLE_DIRNAMES, name_key(w->run, "sub"), NULL, 0);
}

static void dir_is(struct world *w, uint64_t dir, uint64_t parent, const char *name)
{
    uint8_t row[64];
    ckpt_put_le64(row, parent);
    memcpy(row + 8, name, strlen(name));
    set_key(w, CKPT_TABLE_DIRS, number_key(dir), row, 8 + strlen(name));
}

static void circle(struct world *w)
{
    dir_is(w, w->run, w->sub, "run");
}

static void dir_without_name(struct world *w)
{
    dir_is(w, 77, CKPT_DIR_ROOT, "");
}

static void orphan(struct world *w)
{
    dir_is(w, 77, 78, "orphan");
}

static void name_is(struct world *w, const char *name, uint64_t dir, size_t size)
{
    uint8_t row[8];
    ckpt_put_le64(row, dir);
    set_key(w, CKPT_TABLE_DIRNAMES, name_key(CKPT_DIR_ROOT, name), row, size);
}

static void second_name(struct world *w)
{
    name_is(w, "other", w->run, 8);
}

static void name_of_nothing(struct world *w)
{
    name_is(w, "other", 77, 8);
}

static void short_name_row(struct world *w)
{
    name_is(w, "other", w->run, 7);
}

static void meta_format(struct world *w)
{
    change_meta(w, "format", 0, 1);
}

static void meta_store(struct world *w)
{
    change_meta(w, "store", 3, 1);
}

static void counter_logical(struct world *w)
{
    change_meta(w, "counters", 0, 1);
}

static void counter_unique(struct world *w)
{
    change_meta(w, "counters", 8, 1);
}

static void counter_stored(struct world *w)
{
    change_meta(w, "counters", 16, 1);
}

static void counter_objects(struct world *w)
{
    change_meta(w, "counters", 24, 1);
}

static void counter_versions(struct world *w)
{
    change_meta(w, "counters", 32, 1);
}

static void sequence_behind(struct world *w)
{
    change_meta(w, "sequence", 0, -1);
}

static void garbage_behind(struct world *w)
{
    change_refs(w, &w->lone, 0, 1);
    add_garbage(w, 1000, &w->lone, 1);
}

static void meta_rows_gone(struct world *w)
{
    set_meta(w, "format", NULL, 0);
    set_meta(w, "store", NULL, 0);
    set_meta(w, "counters", NULL, 0);
    set_meta(w, "sequence", NULL, 0);
    set_meta(w, "garbage", NULL, 0);
}

static void meta_size(struct world *w)
{
    set_meta(w, "counters", "1234", 4);
}

static void garbage_of_nothing(struct world *w)
{
    add_garbage(w, 1, &w->none, 1);
}

static void garbage_twice(struct world *w)
{
    add_garbage(w, 1, &w->lone, 1);
}

static void garbage_odd(struct world *w)
{
    set_key(w, CKPT_TABLE_GARBAGE, number_key(1), "0123456789abcdefg", 17);
}

static void garbage_too_long(struct world *w)
{
    add_garbage(w, 1, &w->none, CKPT_GARBAGE_ROW + 1);
}

static struct key pair_key(const struct ckpt_id *previous, const struct ckpt_id *id)
{
    struct key key = {.size = 2 * CKPT_ID_SIZE};
    memcpy(key.bytes, previous->bytes, CKPT_ID_SIZE);
    memcpy(key.bytes + CKPT_ID_SIZE, id->bytes, CKPT_ID_SIZE);
    return key;
}

static void add_dependent(struct world *w, const struct ckpt_id *previous, const struct ckpt_id *id)
{
    set_key(w, CKPT_TABLE_DEPENDENTS, pair_key(previous, id), "", 0);
}

static void dependent_too_many(struct world *w)
{
    add_dependent(w, &w->lone, &w->shared);
}

static void dependent_twice(struct world *w)
{
    add_dependent(w, &w->lone, &w->delta);
}

static void dependent_that_is_not_there(struct world *w)
{
    add_dependent(w, &w->lone, &w->none);
}

static void dependent_gone(struct world *w)
{
    set_key(w, CKPT_TABLE_DEPENDENTS, pair_key(&w->base, &w->delta), NULL, 0);
}

static void dependent_with_a_value(struct world *w)
{
    set_key(w, CKPT_TABLE_DEPENDENTS, pair_key(&w->lone, &w->shared), "x", 1);
}

static void dependent_of_half_a_key(struct world *w)
{
    set_row(w, CKPT_TABLE_DEPENDENTS, w->lone.bytes, CKPT_ID_SIZE, "", 0);
}

/* A chunk that is no difference is said to come after another one; the rows agree about it. */
static void previous_is(struct world *w, const struct ckpt_id *previous)
{
    size_t size = 0;
    uint8_t *row = get_row(w, CKPT_TABLE_REFS, w->lone.bytes, CKPT_ID_SIZE, 0, &size);
    memcpy(row + 24, previous->bytes, CKPT_ID_SIZE);
    set_row(w, CKPT_TABLE_REFS, w->lone.bytes, CKPT_ID_SIZE, row, size);
    add_dependent(w, previous, &w->lone);
    free(row);
}

static void previous_that_is_not_there(struct world *w)
{
    previous_is(w, &w->none);
}

static void previous_of_another_size(struct world *w)
{
    assert_true(refs_of(w, &w->delta).raw_size != refs_of(w, &w->lone).raw_size);
    previous_is(w, &w->delta);
}

/* The difference is said to be one from another chunk of its size; the rows agree, its record doesn't. */
static void base_is_another(struct world *w)
{
    const uint8_t *raw = unit_noise(refs_of(w, &w->delta).raw_size, 9);
    struct ckpt_id other = put_object(w, CKPT_KIND_CHUNK, raw, refs_of(w, &w->delta).raw_size, 1);
    size_t size = 0;
    uint8_t *row = get_row(w, CKPT_TABLE_REFS, w->delta.bytes, CKPT_ID_SIZE, 0, &size);
    memcpy(row + 24, other.bytes, CKPT_ID_SIZE);
    set_row(w, CKPT_TABLE_REFS, w->delta.bytes, CKPT_ID_SIZE, row, size);
    dependent_gone(w);
    add_dependent(w, &other, &w->delta);
    add_garbage(w, 1, &other, 1);
    free((void *)raw);
    free(row);
}

static void base_byte(struct world *w)
{
    change_object(w, &w->base, -1, 1);
}

static void coding_booked_as_raw(struct world *w)
{
    change_refs(w, &w->lone, 17, -(int)refs_of(w, &w->lone).coding.id);
}

static void width_booked_wrong(struct world *w)
{
    change_refs(w, &w->delta, 18, 4);
}

static void coding_of_a_recipe(struct world *w)
{
    change_refs(w, &w->recipe, 17, refs_of(w, &w->recipe).coding.id == CKPT_CODEC_RAW ? 1 : -1);
}

/* ---- captures ---- */

static struct key capture_key(uint64_t dir, uint64_t sequence)
{
    struct key key = {.size = 16};
    ckpt_put_be64(key.bytes, dir);
    ckpt_put_be64(key.bytes + 8, sequence);
    return key;
}

static void add_capture(struct world *w, uint64_t sequence, uint32_t number, const char *name)
{
    uint8_t row[64];
    ckpt_put_le32(row, number);
    memcpy(row + 4, name, strlen(name));
    set_key(w, CKPT_TABLE_CAPTURES, capture_key(w->run, sequence), row, 4 + strlen(name));
}

static uint64_t sequence_of(struct world *w, uint32_t number)
{
    struct ckpt_version version;
    assert_ok(ckpt_catalog_version(w->store, w->run, "a.pt", number, &version));
    return version.sequence;
}

static void capture_too_many(struct world *w)
{
    add_capture(w, 1, 2, "a.pt");
}

static void capture_of_no_version(struct world *w)
{
    add_capture(w, 1, 9, "a.pt");
}

static void capture_of_number_zero(struct world *w)
{
    add_capture(w, 1, 0, "a.pt");
}

static void capture_gone(struct world *w)
{
    set_key(w, CKPT_TABLE_CAPTURES, capture_key(w->run, sequence_of(w, 2)), NULL, 0);
}

static void capture_wrong(struct world *w)
{
    add_capture(w, sequence_of(w, 2), 1, "a.pt");
}

static void capture_short(struct world *w)
{
    add_capture(w, 1, 2, "");
}

static void capture_key_short(struct world *w)
{
    set_key(w, CKPT_TABLE_CAPTURES, number_key(w->run), "\1\0\0\0a.pt", 8);
}

/* ---- what is expected of each ---- */

enum { EXPECTED_MAX = 6 };

static const struct damage {
    const char *name;
    void (*damage)(struct world *w);
    enum { ALWAYS, WITH_BYTES } seen;  /* all of it by --quick too, or not */
    const char *reports[EXPECTED_MAX]; /* each is part of one; there are no others but warnings */
} damages[] = {
    {"a payload byte",
     payload_byte,
     WITH_BYTES,
     {"chunk {shared}: stored data is damaged; used by same.pt@v1 at offset {at}, "}},
    {"a header byte",
     header_byte,
     WITH_BYTES,
     {"chunk {lone}: stored data is damaged; used by run/sub/c.pt@v1 at offset 0"}},
    {"an intact record of another object",
     record_of_another,
     WITH_BYTES,
     {"object {shared}: its record has",
      "chunk {shared}: stored data is damaged; used by same.pt@v1"}},
    {"a record of a newer format",
     newer_record,
     WITH_BYTES,
     {"chunk {lone}: written by a newer version of ckptfs; used by run/sub/c.pt@v1 at offset 0"}},
    {"other content under a valid checksum",
     other_content,
     WITH_BYTES,
     {"object {lone}: its record has",
      "chunk {lone}: stored data is damaged; used by run/sub/c.pt@v1"}},
    {"a refs row without an object",
     object_gone,
     ALWAYS,
     {"chunk {shared}: not found; used by same.pt@v1 at offset {at}, "}},
    {"an object without a refs row", refs_gone, ALWAYS, {"object {shared} has no reference count"}},
    {"a chunk without either",
     both_gone,
     ALWAYS,
     {"chunk {shared}: not found; used by same.pt@v1 at offset {at}, ", "meta: the counters say"}},
    {"a count raised", count_raised, ALWAYS, {"chunk {lone} has 2 references booked and 1 found"}},
    {"a count lowered",
     count_lowered,
     ALWAYS,
     {"chunk {shared} has 1 references booked and 2 found"}},
    {"a count of zero", count_zero, ALWAYS, {"object {lone}: its reference count is damaged"}},
    {"reserved bytes of a refs row",
     refs_reserved,
     ALWAYS,
     {"object {lone}: its reference count is damaged"}},
    {"another raw length in a refs row",
     refs_raw_size,
     WITH_BYTES,
     {"chunk {lone}: its record doesn't have the length, kind and coding", "recipe {recipe} has ",
      "meta: the counters say"}},
    {"another record length in a refs row",
     refs_record_size,
     ALWAYS,
     {"object {lone}: its record has", "meta: the counters say"}},
    {"a chunk booked as a recipe",
     chunk_booked_as_recipe,
     ALWAYS,
     {"chunk {lone}: its record doesn't have the length, kind and coding that are booked for it; used "
      "by "
      "run/sub/c.pt@v1"}},
    {"a recipe booked as a chunk",
     recipe_booked_as_chunk,
     ALWAYS,
     {"recipe {recipe}: its record doesn't have the length, kind and coding that are booked for it; "
      "used "
      "by run/sub/c.pt@v1"}},
    {"keys that are no ids",
     odd_keys,
     ALWAYS,
     {"refs: a key of 3 bytes", "objects: a key of 4 bytes"}},
    {"a recipe's byte",
     recipe_byte,
     ALWAYS,
     {"recipe {recipe}: stored data is damaged; used by run/sub/c.pt@v1"}},
    {"a byte of a recipe that two versions have",
     common_recipe_byte,
     ALWAYS,
     {"recipe {common}: stored data is damaged; used by same.pt@v1, run/a.pt@v1"}},
    {"a recipe's object gone",
     recipe_gone,
     ALWAYS,
     {"recipe {recipe}: not found; used by run/sub/c.pt@v1"}},
    {"a recipe's refs row gone",
     recipe_refs_gone,
     ALWAYS,
     {"object {recipe} has no reference count"}},
    {"a recipe gone",
     recipe_and_refs_gone,
     ALWAYS,
     {"recipe {recipe}: not found; used by run/sub/c.pt@v1", "meta: the counters say"}},
    {"a chunk longer than it is",
     chunk_length,
     ALWAYS,
     {" bytes for chunk {lone}, which has "}},
    {"reserved bytes of a recipe",
     recipe_reserved,
     ALWAYS,
     {": stored data is damaged; used by run/sub/c.pt@v1"}},
    {"a chunk that isn't there",
     chunk_that_is_not_there,
     ALWAYS,
     {"chunk {none}: not found; used by run/sub/c.pt@v1 at offset 0",
      "chunk {lone} has 1 references booked and 0 found"}},
    {"a recipe for a chunk",
     chunk_that_is_a_recipe,
     ALWAYS,
     {"has another recipe, {common}, for a chunk; used by run/sub/c.pt@v1",
      "chunk {lone} has 1 references booked and 0 found",
      "recipe {common} has 2 references booked and 3 found"}},
    {"a version of a recipe that isn't there",
     version_without_recipe,
     ALWAYS,
     {"recipe {none}: not found; used by run/sub/c.pt@v1"}},
    {"a version of a chunk",
     version_of_a_chunk,
     ALWAYS,
     {"recipe {shared}: stored data is damaged; used by ",
      "has another recipe, {shared}, for a chunk", "has another recipe, {shared}, for a chunk",
      "recipe {shared} has 2 references booked and 3 found"}},
    {"another size of a version",
     version_size,
     ALWAYS,
     {"run/a.pt@v2 has 1572865 bytes, and its recipe 1572864", "meta: the counters say"}},
    {"reserved bytes of a version",
     version_reserved,
     ALWAYS,
     {"versions: a row of 96 bytes with a key of 17 is damaged"}},
    {"a version gone",
     version_gone,
     ALWAYS,
     {"has 1 references booked and 0 found", "is said to be a.pt@v2, which isn't there",
      "meta: the counters say"}},
    {"a number to be given out again",
     next_number,
     ALWAYS,
     {"run/a.pt@v2: the next version of the file would get number 2"}},
    {"a file behind its versions", file_sequence, ALWAYS, {"run/a.pt@v2 is capture "}},
    {"a file's row gone",
     file_gone,
     ALWAYS,
     {"run/a.pt@v1: its file has no row", "run/a.pt@v2: its file has no row"}},
    {"reserved bytes of a file",
     file_reserved,
     ALWAYS,
     {"files: a row of 80 bytes with a key of 12 is damaged"}},
    {"a directory's row gone",
     run_gone,
     ALWAYS,
     {"directory {sub} (sub): the one above it, {run}, has no row",
      "the name \"run\" leads to directory {run}, which has no row",
      "directory {run}, which a.pt and perhaps others belong to, has no row"}},
    {"a directory's row and name gone",
     sub_and_its_name_gone,
     ALWAYS,
     {"directory {sub}, which c.pt and perhaps others belong to, has no row"}},
    {"directories in a circle",
     circle,
     ALWAYS,
     {" stands below itself", "the name \"run\" leads to directory {run}, whose row says"}},
    {"a directory without a name",
     dir_without_name,
     ALWAYS,
     {"dirs: a row of 8 bytes with a key of 8 is damaged"}},
    {"a directory below one that isn't there",
     orphan,
     ALWAYS,
     {"directory 000000000000004d (orphan): the one above it, 000000000000004e, has no row"}},
    {"a second name of a directory",
     second_name,
     ALWAYS,
     {"the name \"other\" leads to directory {run}, whose row says \"run\""}},
    {"a name of no directory",
     name_of_nothing,
     ALWAYS,
     {"the name \"other\" leads to directory 000000000000004d, which has no row"}},
    {"a damaged name",
     short_name_row,
     ALWAYS,
     {"dirnames: a row of 7 bytes with a key of 13 is damaged"}},
    {"another format in meta", meta_format, ALWAYS, {"meta: the format is 4, not 3"}},
    {"another store in meta",
     meta_store,
     ALWAYS,
     {"meta: the id is not that of the store's FORMAT file"}},
    {"wrong logical bytes", counter_logical, ALWAYS, {"meta: the counters say"}},
    {"wrong unique bytes", counter_unique, ALWAYS, {"meta: the counters say"}},
    {"wrong stored bytes", counter_stored, ALWAYS, {"meta: the counters say"}},
    {"wrong number of objects", counter_objects, ALWAYS, {"meta: the counters say"}},
    {"wrong number of versions", counter_versions, ALWAYS, {"meta: the counters say"}},
    {"the last capture forgotten",
     sequence_behind,
     ALWAYS,
     {"and run/cold.pt has the capture 8", "and run/cold.pt@v1 is 8"}},
    {"the last garbage row forgotten",
     garbage_behind,
     ALWAYS,
     {"meta: the last garbage row given out is "}},
    {"meta rows gone",
     meta_rows_gone,
     ALWAYS,
     {"meta: the row \"format\" is missing", "meta: the row \"store\" is missing",
      "meta: the row \"counters\" is missing", "meta: the row \"sequence\" is missing",
      "meta: the row \"garbage\" is missing"}},
    {"a meta row of another size",
     meta_size,
     ALWAYS,
     {"meta: the row \"counters\" has 4 bytes, not 40"}},
    {"garbage that isn't there",
     garbage_of_nothing,
     ALWAYS,
     {"garbage row 1 is to release object {none}, which isn't there"}},
    {"garbage that isn't booked",
     garbage_twice,
     ALWAYS,
     {"chunk {lone} has 1 references booked and 2 found"}},
    {"a garbage row of half an id",
     garbage_odd,
     ALWAYS,
     {"garbage: a row of 17 bytes with a key of 8 is damaged"}},
    {"a dependent that isn't one",
     dependent_too_many,
     ALWAYS,
     {"dependents: chunk {shared} isn't booked as a state after {lone}"}},
    {"a dependent of two chunks",
     dependent_twice,
     ALWAYS,
     {"dependents: chunk {delta} isn't booked as a state after {lone}"}},
    {"a dependent that isn't there",
     dependent_that_is_not_there,
     ALWAYS,
     {"dependents: chunk {none} isn't booked as a state after {lone}"}},
    {"a dependent's row gone",
     dependent_gone,
     ALWAYS,
     {"dependents: 1 chunks have a previous state and no row"}},
    {"a dependent's row with a value",
     dependent_with_a_value,
     ALWAYS,
     {"dependents: a row of 1 bytes with a key of 32 is damaged"}},
    {"half a dependent's row",
     dependent_of_half_a_key,
     ALWAYS,
     {"dependents: a row of 0 bytes with a key of 16 is damaged"}},
    {"a previous state that isn't there",
     previous_that_is_not_there,
     ALWAYS,
     {"chunk {lone}: the state before it isn't there; used by run/sub/c.pt@v1 at offset 0"}},
    {"a previous state of another size",
     previous_of_another_size,
     ALWAYS,
     {"chunk {lone}: the state before it has another size; used by run/sub/c.pt@v1 at offset 0"}},
    {"a difference from another chunk than is booked",
     base_is_another,
     WITH_BYTES,
     {"chunk {delta}: its record doesn't have the length, kind and coding that are booked for it; used "
      "by run/w.pt@v2",
      "meta: the counters say"}},
    {"a byte of a chunk that another is a difference from",
     base_byte,
     WITH_BYTES,
     {"chunk {base}: stored data is damaged; used by run/w.pt@v1",
      "chunk {delta}: stored data is damaged; used by run/w.pt@v2"}},
    {"another coding in a refs row",
     coding_booked_as_raw,
     WITH_BYTES,
     {"chunk {lone}: its record doesn't have the length, kind and coding that are booked for it; used "
      "by run/sub/c.pt@v1"}},
    {"another width in a refs row",
     width_booked_wrong,
     WITH_BYTES,
     {"chunk {delta}: its record doesn't have the length, kind and coding that are booked for it; used "
      "by run/w.pt@v2"}},
    {"another coding in a recipe's refs row",
     coding_of_a_recipe,
     ALWAYS,
     {"recipe {recipe}: its record doesn't have the length, kind and coding that are booked for it; "
      "used by run/sub/c.pt@v1"}},
    {"a second capture of a version",
     capture_too_many,
     ALWAYS,
     {"captures: capture 1 is said to be a.pt@v2, which is another"}},
    {"a capture of no version",
     capture_of_no_version,
     ALWAYS,
     {"captures: capture 1 is said to be a.pt@v9, which isn't there"}},
    {"a capture of a number that no version has",
     capture_of_number_zero,
     ALWAYS,
     {"captures: capture 1 is said to be a.pt@v0, which isn't there"}},
    {"a version's capture gone", capture_gone, ALWAYS, {"captures: 1 versions have no row"}},
    {"a capture of another version",
     capture_wrong,
     ALWAYS,
     {"is said to be a.pt@v1, which is another", "captures: 1 versions have no row"}},
    {"a capture without a name",
     capture_short,
     ALWAYS,
     {"captures: a row of 4 bytes with a key of 16 is damaged"}},
    {"a capture without a sequence",
     capture_key_short,
     ALWAYS,
     {"captures: a row of 8 bytes with a key of 8 is damaged"}},
    {"a garbage row that is too long", garbage_too_long, ALWAYS, {"garbage: a row of 65568 bytes"}},
};

/* TEXT with its names in braces replaced. */
static const char *expand(struct world *w, const char *text, char *out, size_t size)
{
    char at[24];
    char run[17];
    char sub[17];
    char hex[7][CKPT_ID_HEX];
    ckpt_id_hex(&w->shared, hex[0]);
    ckpt_id_hex(&w->lone, hex[1]);
    ckpt_id_hex(&w->recipe, hex[2]);
    ckpt_id_hex(&w->common, hex[3]);
    ckpt_id_hex(&w->none, hex[4]);
    ckpt_id_hex(&w->base, hex[5]);
    ckpt_id_hex(&w->delta, hex[6]);
    (void)snprintf(at, sizeof at, "%" PRIu64, w->shared_at);
    (void)snprintf(run, sizeof run, "%016" PRIx64, w->run);
    (void)snprintf(sub, sizeof sub, "%016" PRIx64, w->sub);
    const struct {
        const char *name;
        const char *value;
    } names[] = {{"{shared}", hex[0]}, {"{lone}", hex[1]}, {"{recipe}", hex[2]},
                 {"{common}", hex[3]}, {"{none}", hex[4]}, {"{at}", at},
                 {"{base}", hex[5]},   {"{delta}", hex[6]},  {"{run}", run},
                 {"{sub}", sub}};
    size_t n = 0;
    while (*text != '\0' && n + CKPT_ID_HEX < size) {
        size_t i = 0;
        while (i < sizeof names / sizeof names[0] &&
               strncmp(text, names[i].name, strlen(names[i].name)) != 0) {
            i++;
        }
        if (i < sizeof names / sizeof names[0]) {
            n += (size_t)snprintf(out + n, size - n, "%s", names[i].value);
            text += strlen(names[i].name);
        } else {
            out[n++] = *text++;
        }
    }
    out[n] = '\0';
    return out;
}

static void assert_reported(struct world *w, const char *name, const char *expected)
{
    char text[1024];
    (void)expand(w, expected, text, sizeof text);
    for (size_t i = 0; i < w->report_count; i++) {
        if (strstr(w->reports[i], text) != NULL) {
            return;
        }
    }
    print_error("%s: nobody said \"%s\" but:\n", name, text);
    for (size_t i = 0; i < w->report_count; i++) {
        print_error("    %s\n", w->reports[i]);
    }
    fail();
}

static struct ckpt_verify_result verify(struct world *w, bool quick)
{
    struct ckpt_verify_result result;
    forget_reports(w);
    assert_ok(ckpt_verify(w->store, quick, NULL, NULL, &result));
    return result;
}

static void assert_clean(struct world *w, const char *when)
{
    for (int quick = 0; quick < 2; quick++) {
        struct ckpt_verify_result result = verify(w, quick);
        if (result.problems != 0 || w->report_count != 0) {
            print_error("%s: %s\n", when, w->report_count > 0 ? w->reports[0] : "problems untold");
        }
        assert_int_equal(result.problems, 0);
        assert_int_equal(w->report_count, 0);
    }
}

static void check_damage(struct world *w, const struct damage *d)
{
    size_t expected = 0;
    d->damage(w);
    while (expected < EXPECTED_MAX && d->reports[expected] != NULL) {
        expected++;
    }
    struct ckpt_verify_result quick = verify(w, true);
    if (d->seen == WITH_BYTES ? quick.problems >= expected : quick.problems != expected) {
        print_error("%s: --quick found %" PRIu64 "\n", d->name, quick.problems);
        assert_reported(w, d->name, "(see these)");
    }
    struct ckpt_verify_result result = verify(w, false);
    for (size_t i = 0; i < expected; i++) {
        assert_reported(w, d->name, d->reports[i]);
    }
    if (result.problems != expected) {
        print_error("%s: %" PRIu64 " problems, not %zu\n", d->name, result.problems, expected);
        assert_reported(w, d->name, "(see these)");
    }
    put_back(w);
    assert_clean(w, d->name);
}

static void every_damage_is_found_and_named(void **state)
{
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        check_damage(*state, &damages[i]);
    }
}

static void a_store_is_clean_and_counted(void **state)
{
    struct world *w = *state;
    struct ckpt_counters counters;
    assert_clean(w, "undamaged");
    assert_ok(ckpt_store_counters(w->store, &counters));
    struct ckpt_verify_result result = verify(w, false);
    assert_int_equal(result.objects, counters.objects);
    assert_int_equal(result.bytes, counters.stored);
    assert_int_equal(result.versions, 7);
    assert_int_equal(result.stubs, 1);
    assert_int_equal(result.unused, 0);
}

/* Quick reads the recipes and nothing else. */
static void quick_reads_no_chunk(void **state)
{
    struct world *w = *state;
    uint64_t recipes = 0;
    const struct ckpt_id ids[] = {w->common, w->recipe};
    for (size_t i = 0; i < 2; i++) {
        size_t size = 0;
        free(get_row(w, CKPT_TABLE_OBJECTS, ids[i].bytes, CKPT_ID_SIZE, 0, &size));
        recipes += size;
    }
    struct ckpt_verify_result result = verify(w, true);
    assert_true(result.bytes > recipes && result.bytes < 4096);
}

static void what_only_garbage_holds_is_unused(void **state)
{
    struct world *w = *state;
    const uint8_t raw[] = "garbage";
    struct ckpt_id id = put_object(w, CKPT_KIND_CHUNK, raw, sizeof raw, 1);
    add_garbage(w, 1, &id, 1);
    struct ckpt_verify_result result = verify(w, false);
    assert_int_equal(result.unused, 1);
    assert_int_equal(result.problems, 1); /* the counters */
    put_back(w);
}

struct progress {
    uint64_t done;
    uint64_t total;
    unsigned calls;
};

static void note_progress(void *arg, uint64_t done, uint64_t total)
{
    struct progress *progress = arg;
    assert_true(done >= progress->done && done <= total);
    *progress = (struct progress){done, total, progress->calls + 1};
}

static void progress_ends_with_every_byte(void **state)
{
    struct world *w = *state;
    struct progress progress = {0};
    struct ckpt_verify_result result;
    assert_ok(ckpt_verify(w->store, false, note_progress, &progress, &result));
    assert_true(progress.calls > 0);
    assert_int_equal(progress.done, progress.total);
    assert_int_equal(progress.done, result.bytes);
}

static void only_so_many_problems_are_told(void **state)
{
    enum { MANY = CKPT_VERIFY_REPORTS + 100 };
    struct world *w = *state;
    struct ckpt_id *ids = calloc(MANY + 1, sizeof *ids);
    assert_non_null(ids);
    for (size_t i = 1; i <= MANY; i++) {
        memset(&ids[i], 0xee, sizeof ids[i]);
        ids[i].bytes[0] = (uint8_t)i;
        ids[i].bytes[1] = (uint8_t)(i >> 8);
    }
    set_key(w, CKPT_TABLE_GARBAGE, number_key(1), ids, (MANY + 1) * sizeof *ids);
    struct ckpt_verify_result result = verify(w, true);
    assert_int_equal(result.problems, MANY);
    assert_int_equal(w->report_count, CKPT_VERIFY_REPORTS + 1);
    assert_string_equal(w->reports[CKPT_VERIFY_REPORTS], "100 more problems are not listed");
    put_back(w);
    free(ids);
}

/* Every chunk of the store is bad: each is told, with the files that it harms. */
static void many_bad_chunks_are_all_named(void **state)
{
    struct world *w = *state;
    struct ckpt_recipe a;
    load(w, &w->common, &a);
    for (size_t i = 0; i < a.count; i++) {
        change_object(w, &a.chunks[a.extents[i].chunk].id, -1, 1);
    }
    struct ckpt_verify_result result = verify(w, false);
    assert_int_equal(result.problems, a.count);
    for (size_t i = 0; i < a.count; i++) {
        char hex[CKPT_ID_HEX];
        char text[256];
        ckpt_id_hex(&a.chunks[a.extents[i].chunk].id, hex);
        (void)snprintf(text, sizeof text,
                       "chunk %s: stored data is damaged; used by same.pt@v1 at offset %" PRIu64,
                       hex, a.extents[i].offset);
        assert_reported(w, "all chunks", text);
    }
    put_back(w);
    ckpt_recipe_clear(&a);
}

/* ---- live/ ---- */

static void set_mark(int fd, const struct ckpt_stub *stub)
{
    assert_ok(ckpt_live_set_stub(fd, stub));
}

static void a_cold_file_without_its_version_is_found(void **state)
{
    struct world *w = *state;
    struct ckpt_stub stub = {.recipe = w->none, .size = 10};
    int fd = open_live(w, "run/sub/x.pt", O_RDWR | O_CREAT);
    assert_int_equal(ftruncate(fd, 10), 0);
    set_mark(fd, &stub);
    struct ckpt_verify_result result = verify(w, true);
    assert_int_equal(result.problems, 1);
    assert_int_equal(result.stubs, 2);
    assert_reported(w, "no such recipe",
                    "live/run/sub/x.pt is cold and no version of it has its bytes");

    /* That other files have these bytes is not enough: theirs may be forgotten. */
    stub.recipe = w->common;
    stub.size = SIZE_A;
    assert_int_equal(ftruncate(fd, SIZE_A), 0);
    set_mark(fd, &stub);
    assert_int_equal(verify(w, true).problems, 1);
    assert_reported(w, "of another file",
                    "live/run/sub/x.pt is cold and no version of it has its bytes");
    assert_int_equal(close(fd), 0);
    assert_int_equal(unlinkat(ckpt_store_livefd(w->store), "run/sub/x.pt", 0), 0);

    /* The last version of a cold file, removed behind the engine's back. */
    struct key key = version_key(w->run, "cold.pt", 1);
    set_key(w, CKPT_TABLE_VERSIONS, key, NULL, 0);
    (void)verify(w, true);
    assert_reported(w, "version removed",
                    "live/run/cold.pt is cold and no version of it has its bytes");
    put_back(w);
    assert_clean(w, "put back");
}

static void a_damaged_mark_is_found(void **state)
{
    static const char attribute[] = "user.ckptfs.cold";
    struct world *w = *state;
    uint8_t mark[64];
    int fd = open_live(w, "run/cold.pt", O_RDWR);
    ssize_t n = fgetxattr(fd, attribute, mark, sizeof mark);
    assert_int_equal(n, 36);
    static const struct {
        const char *what;
        size_t at;
        const char *report;
    } cases[] = {
        {"its magic", 0, "live/run/cold.pt carries a damaged mark of a cold file"},
        {"its recipe", 4, "live/run/cold.pt is cold and no version of it has its bytes"},
        {"its size", 20, "live/run/cold.pt carries a damaged mark of a cold file"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        mark[cases[i].at]++;
        assert_int_equal(fsetxattr(fd, attribute, mark, (size_t)n, 0), 0);
        mark[cases[i].at]--;
        assert_int_equal(verify(w, true).problems, 1);
        assert_reported(w, cases[i].what, cases[i].report);
    }
    assert_int_equal(fsetxattr(fd, attribute, mark, (size_t)n, 0), 0);
    assert_int_equal(close(fd), 0);
    assert_clean(w, "put back");
}

/* Host and mark agree on a size that the version doesn't have. */
static void a_cold_file_of_another_size_is_found(void **state)
{
    struct world *w = *state;
    struct ckpt_stub stub;
    bool cold = false;
    int fd = open_live(w, "run/cold.pt", O_RDWR);
    assert_ok(ckpt_live_stub(fd, &stub, &cold));
    assert_true(cold);
    stub.size++;
    assert_int_equal(ftruncate(fd, (off_t)stub.size), 0);
    set_mark(fd, &stub);
    assert_int_equal(verify(w, true).problems, 1);
    assert_reported(w, "size", "live/run/cold.pt is cold and no version of it has its bytes");
    stub.size--;
    assert_int_equal(ftruncate(fd, (off_t)stub.size), 0);
    set_mark(fd, &stub);
    assert_int_equal(close(fd), 0);
    assert_clean(w, "put back");
}

static void a_directory_that_cannot_be_opened_is_told(void **state)
{
    struct world *w = *state;
    struct rlimit before;
    int next = dup(0);
    assert_true(next >= 0);
    assert_int_equal(close(next), 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    /* One more descriptor: live/ itself opens, nothing in it does. */
    struct rlimit tight = {.rlim_cur = (rlim_t)next + 1, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    struct ckpt_verify_result result = verify(w, true);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    assert_int_equal(result.problems, 2);
    assert_reported(w, "no descriptors", "live/run could not be checked: Too many open files");
    assert_reported(w, "no descriptors", "live/same.pt could not be checked: Too many open files");
}

/* ---- beside a working engine ---- */

/* What is forgotten between the look at the tables and the reading of the chunks is no problem. */
static void chunks_may_go_meanwhile(void **state)
{
    struct world *w = *state;
    const uint32_t both[] = {1, 2};
    struct ckpt_verify v = {.store = w->store, .codec = w->codec};
    v.bads = calloc(CKPT_VERIFY_REPORTS, sizeof *v.bads);
    assert_non_null(v.bads);
    assert_ok(ckpt_txn_read(w->store->db, &v.txn));
    assert_ok(ckpt_verify_objects(&v));
    ckpt_txn_abort(v.txn);
    start_engine(w);
    assert_ok(ckpt_engine_forget(w->engine, "run/a.pt", both, 2));
    assert_ok(ckpt_engine_forget(w->engine, "same.pt", both, 1));
    stop_engine(w);
    assert_ok(ckpt_verify_chunks(&v, NULL, NULL));
    assert_int_equal(v.bad_count, 0);
    assert_true(v.result.bytes > SIZE_A);
    free(v.objects);
    free(v.bads);
    assert_clean(w, "forgotten");
}

struct trainer {
    struct world *w;
    atomic_bool stop;
    atomic_uint steps;
};

/* One file of the trainer's: overwritten, renamed, made cold and hot, linked; what it is a difference from
   is forgotten. */
static void train_step(struct world *w, unsigned step)
{
    char path[64];
    char target[64];
    struct ckpt_version version;
    size_t n = 100000 + step % 4 * 100000;
    uint8_t *bytes = unit_floats(n, step % 3);
    unit_train(bytes, n, step % 24);
    char name[NAME_MAX + 1];
    uint64_t dir = 0;
    int live = ckpt_store_livefd(w->store);
    (void)snprintf(path, sizeof path, "dir%u", step % 3);
    (void)mkdirat(live, path, 0755);
    (void)snprintf(path, sizeof path, "dir%u/f%u.pt", step % 3, step % 4);
    (void)unlinkat(live, path, 0); /* as O_TRUNC of a pending or cold file does */
    save(w, path, bytes, n);
    free(bytes);
    if (step % 2 == 0) {
        enum ckpt_err err = ckpt_engine_demote(w->engine, path);
        assert_true(err == CKPT_OK || err == CKPT_ERR_BUSY);
    }
    if (step % 3 == 0) {
        (void)snprintf(target, sizeof target, "dir%u/moved.pt", step % 3);
        char parent[16];
        (void)snprintf(parent, sizeof parent, "dir%u", step % 3);
        int dirfd = open_live(w, parent, O_PATH);
        int fd = open_live(w, path, O_PATH);
        assert_ok(ckpt_engine_name_stub(w->engine, fd, dirfd, "moved.pt"));
        assert_int_equal(renameat(live, path, live, target), 0);
        assert_ok(ckpt_engine_capture(w->engine, fd));
        assert_int_equal(close(fd), 0);
        assert_int_equal(close(dirfd), 0);
    }
    if (step % 4 == 0) {
        int fd = openat(live, path, O_PATH);
        if (fd >= 0) {
            assert_ok(ckpt_engine_promote(w->engine, fd, true));
            assert_int_equal(close(fd), 0);
        }
    }
    if (ckpt_catalog_resolve(w->store, path, &dir, name) == CKPT_OK &&
        ckpt_catalog_version(w->store, dir, name, 0, &version) == CKPT_OK) {
        for (uint32_t number = version.number > 2 ? version.number - 2 : 1;
             number < version.number; number++) {
            enum ckpt_err err = ckpt_engine_forget(w->engine, path, &number, 1);
            assert_true(err == CKPT_OK || err == CKPT_ERR_NOT_FOUND || err == CKPT_ERR_NEEDED);
        }
    }
}

static void *train(void *arg)
{
    struct trainer *t = arg;
    while (!atomic_load(&t->stop)) {
        train_step(t->w, atomic_fetch_add(&t->steps, 1));
    }
    return NULL;
}

static unsigned differences(struct world *w)
{
    unsigned n = 0;
    struct ckpt_txn *txn = NULL;
    struct ckpt_cursor *cursor = NULL;
    struct ckpt_slice key;
    struct ckpt_slice value;
    assert_ok(ckpt_txn_read(w->store->db, &txn));
    assert_ok(ckpt_cursor_open(txn, CKPT_TABLE_REFS, &cursor));
    enum ckpt_err err = ckpt_cursor_seek(cursor, NULL, 0, &key, &value);
    while (err == CKPT_OK) {
        n += ((const uint8_t *)value.data)[17] >= CKPT_CODEC_DELTA;
        err = ckpt_cursor_next(cursor, &key, &value);
    }
    assert_int_equal(err, CKPT_ERR_NOT_FOUND);
    ckpt_cursor_close(cursor);
    ckpt_txn_abort(txn);
    return n;
}

static void verify_stays_clean_beside_a_working_engine(void **state)
{
    enum { ROUNDS = 40, STEPS = 40 };
    struct world *w = *state;
    struct trainer trainer = {.w = w};
    pthread_t thread;
    start_engine(w);
    assert_int_equal(pthread_create(&thread, NULL, train, &trainer), 0);
    for (unsigned round = 0; round < ROUNDS || atomic_load(&trainer.steps) < STEPS; round++) {
        struct ckpt_verify_result result;
        assert_ok(ckpt_verify(w->store, round % 4 == 3, NULL, NULL, &result));
        if (result.problems > 0) {
            print_error("round %u: %s\n", round, w->reports[0]);
        }
        assert_int_equal(result.problems, 0);
    }
    atomic_store(&trainer.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    stop_engine(w);
    assert_clean(w, "at the end");
    assert_true(differences(w) > 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_store_is_clean_and_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(quick_reads_no_chunk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_only_garbage_holds_is_unused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(progress_ends_with_every_byte, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_damage_is_found_and_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_so_many_problems_are_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_bad_chunks_are_all_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_cold_file_without_its_version_is_found, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_mark_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_cold_file_of_another_size_is_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_directory_that_cannot_be_opened_is_told, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(chunks_may_go_meanwhile, set_up, tear_down),
        cmocka_unit_test_setup_teardown(verify_stays_clean_beside_a_working_engine, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
