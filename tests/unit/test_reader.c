/*
 * Reading back: random access, holes, read-ahead, whole files. Whatever is damaged is an error that
 * names file, offset and chunk; never wrong bytes.
 *
 * The file: noise, a hole, bytes that compress, a hole at its end.
 */
#include "unit.h"

#include "chunk/codec.h"
#include "object/recipe.h"
#include <ckpt/engine.h>
#include <ckpt/reader.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>

enum {
    NOISE = 1200 << 10,
    HOLE = 1 << 20,
    WEIGHTS = 700 << 10,
    TAIL = 512 << 10,
    DATA_AGAIN = NOISE + HOLE,
    DATA_END = DATA_AGAIN + WEIGHTS,
    SIZE = DATA_END + TAIL,
};

struct world {
    struct unit_store *u;
    struct ckpt_filter *filter;
    struct ckpt_engine *engine;
    uint8_t *content;
    struct ckpt_id id;
    struct ckpt_recipe recipe;
};

static void stop_engine(struct world *w)
{
    ckpt_engine_stop(w->engine, true);
    w->engine = NULL;
}

static struct ckpt_id capture(struct world *w, const char *name)
{
    unsigned still_open = 0;
    struct ckpt_version version;
    int fd = openat(ckpt_store_livefd(w->u->store), name, O_PATH | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_ok(ckpt_engine_capture(w->engine, fd));
    assert_int_equal(close(fd), 0);
    assert_ok(ckpt_engine_flush(w->engine, &still_open));
    assert_ok(ckpt_catalog_version(w->u->store, CKPT_DIR_ROOT, name, 0, &version));
    return version.recipe;
}

static void make_file(struct world *w)
{
    uint8_t *noise = unit_noise(NOISE, 1);
    uint8_t *weights = unit_weights(WEIGHTS, 2);
    w->content = calloc(1, SIZE);
    assert_non_null(w->content);
    memcpy(w->content, noise, NOISE);
    memcpy(w->content + DATA_AGAIN, weights, WEIGHTS);
    int fd = openat(ckpt_store_livefd(w->u->store), "a.pt", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, noise, NOISE, 0), NOISE);
    assert_int_equal(pwrite(fd, weights, WEIGHTS, DATA_AGAIN), WEIGHTS);
    assert_int_equal(ftruncate(fd, SIZE), 0);
    assert_int_equal(close(fd), 0);
    free(noise);
    free(weights);
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    void *u = NULL;
    struct ckpt_codec *codec = NULL;
    struct ckpt_txn *txn = NULL;
    assert_non_null(w);
    assert_int_equal(unit_store_setup(&u), 0);
    w->u = u;
    assert_ok(ckpt_filter_parse("default", &w->filter, NULL));
    struct ckpt_engine_config config = {.threads = 2, .hot_limit = UINT64_MAX, .filter = w->filter};
    assert_ok(ckpt_engine_start(w->u->store, &config, &w->engine));
    make_file(w);
    w->id = capture(w, "a.pt");
    ckpt_recipe_init(&w->recipe);
    assert_ok(ckpt_codec_create(&codec));
    assert_ok(ckpt_txn_read(w->u->store->db, &txn));
    assert_ok(ckpt_recipe_load(w->u->store, codec, txn, &w->id, &w->recipe));
    ckpt_txn_abort(txn);
    ckpt_codec_free(codec);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    void *u = w->u;
    stop_engine(w);
    ckpt_filter_free(w->filter);
    ckpt_recipe_clear(&w->recipe);
    assert_int_equal(unit_store_teardown(&u), 0);
    free(w->content);
    free(w);
    return 0;
}

static struct ckpt_cache *cache_of(struct world *w, size_t bytes)
{
    struct ckpt_cache *cache = NULL;
    assert_ok(ckpt_cache_create(w->u->store, bytes, 2, &cache));
    return cache;
}

static struct ckpt_reader *reader_of(struct world *w, struct ckpt_cache *cache)
{
    struct ckpt_reader *reader = NULL;
    assert_ok(ckpt_reader_open(cache, &w->id, "the file", &reader));
    return reader;
}

/* The bytes at OFFSET are those of the file, and no byte behind them is touched. */
static void assert_reads(struct world *w, struct ckpt_reader *reader, uint64_t offset, size_t n)
{
    size_t got = 77;
    size_t expected = offset >= SIZE ? 0 : n > SIZE - offset ? SIZE - (size_t)offset : n;
    uint8_t *buf = malloc(n + 1);
    assert_non_null(buf);
    memset(buf, 0xaa, n + 1);
    assert_ok(ckpt_reader_pread(reader, buf, n, offset, &got));
    assert_int_equal(got, expected);
    assert_true(expected == 0 || memcmp(buf, w->content + offset, expected) == 0);
    assert_int_equal(buf[expected], 0xaa);
    free(buf);
}

static void test_reads_at_the_edges(void **state)
{
    static const struct {
        uint64_t offset;
        size_t n;
    } cases[] = {
        {0, 0},
        {0, 1},
        {0, SIZE},
        {0, SIZE + 1},
        {NOISE - 1, 1},
        {NOISE - 1, 2},
        {NOISE, 1},
        {NOISE, HOLE},
        {NOISE, HOLE + 1},
        {NOISE - 1, HOLE + 2},
        {DATA_AGAIN - 1, 1},
        {DATA_AGAIN, 1},
        {DATA_END - 1, 2},
        {DATA_END, TAIL},
        {SIZE - 1, 1},
        {SIZE - 1, 100},
        {SIZE, 1},
        {SIZE + 1, 1},
        {UINT64_MAX, 1},
        {UINT64_MAX - 5, 100},
    };
    struct world *w = *state;
    struct ckpt_cache *cache = cache_of(w, 64 << 20);
    struct ckpt_reader *reader = reader_of(w, cache);
    assert_int_equal(ckpt_reader_size(reader), SIZE);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_reads(w, reader, cases[i].offset, cases[i].n);
    }
    ckpt_reader_close(reader);
    ckpt_cache_free(cache);
}

/* Caches that hold everything, a chunk or two, nothing. */
static void test_random_and_sequential_access_with_any_cache(void **state)
{
    static const size_t sizes[] = {64 << 20, 300 << 10, 0};
    struct world *w = *state;
    uint64_t seed = 5;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct ckpt_cache *cache = cache_of(w, sizes[i]);
        struct ckpt_reader *reader = reader_of(w, cache);
        for (unsigned round = 0; round < 60; round++) {
            assert_reads(w, reader, unit_random(&seed) % SIZE, unit_random(&seed) % (512 << 10));
        }
        for (uint64_t at = 0; at < SIZE; at += 128 << 10) {
            assert_reads(w, reader, at, 128 << 10);
        }
        ckpt_reader_close(reader);
        ckpt_cache_free(cache);
    }
}

struct job {
    struct world *w;
    struct ckpt_cache *cache;
    struct ckpt_reader *reader;
    uint64_t seed;
};

static void *read_here_and_there(void *arg)
{
    struct job *job = arg;
    struct ckpt_reader *own = reader_of(job->w, job->cache);
    for (unsigned round = 0; round < 40; round++) {
        uint64_t offset = unit_random(&job->seed) % SIZE;
        assert_reads(job->w, round % 2 == 0 ? job->reader : own, offset, 200 << 10);
    }
    ckpt_reader_close(own);
    return NULL;
}

static void test_many_threads_share_a_small_cache(void **state)
{
    enum { THREADS = 4 };
    struct world *w = *state;
    pthread_t threads[THREADS];
    struct job jobs[THREADS];
    struct ckpt_cache *cache = cache_of(w, 600 << 10);
    struct ckpt_reader *reader = reader_of(w, cache);
    for (unsigned i = 0; i < THREADS; i++) {
        jobs[i] = (struct job){w, cache, reader, i};
        assert_int_equal(pthread_create(&threads[i], NULL, read_here_and_there, &jobs[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    ckpt_reader_close(reader);
    ckpt_cache_free(cache);
}

static void test_data_and_holes_are_found(void **state)
{
    enum { NONE = -1 };
    static const struct {
        off_t offset;
        off_t data;
        off_t hole;
    } cases[] = {
        {0, 0, NOISE},
        {NOISE - 1, NOISE - 1, NOISE},
        {NOISE, DATA_AGAIN, NOISE},
        {DATA_AGAIN - 1, DATA_AGAIN, DATA_AGAIN - 1},
        {DATA_AGAIN, DATA_AGAIN, DATA_END},
        {DATA_END - 1, DATA_END - 1, DATA_END},
        {DATA_END, NONE, DATA_END},
        {SIZE - 1, NONE, SIZE - 1},
        {SIZE, NONE, NONE},
        {(off_t)SIZE * 2, NONE, NONE},
        {-1, NONE, NONE},
    };
    struct world *w = *state;
    struct ckpt_cache *cache = cache_of(w, 64 << 20);
    struct ckpt_reader *reader = reader_of(w, cache);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        errno = 0;
        assert_int_equal(ckpt_reader_seek(reader, cases[i].offset, SEEK_DATA), cases[i].data);
        assert_int_equal(errno, cases[i].data == NONE ? ENXIO : 0);
        errno = 0;
        assert_int_equal(ckpt_reader_seek(reader, cases[i].offset, SEEK_HOLE), cases[i].hole);
        assert_int_equal(errno, cases[i].hole == NONE ? ENXIO : 0);
    }
    ckpt_reader_close(reader);
    ckpt_cache_free(cache);
}

static void test_an_empty_file(void **state)
{
    struct world *w = *state;
    int fd =
        openat(ckpt_store_livefd(w->u->store), "empty.pt", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(close(fd), 0);
    struct ckpt_id id = capture(w, "empty.pt");
    struct ckpt_cache *cache = cache_of(w, 64 << 20);
    struct ckpt_reader *reader = NULL;
    uint8_t byte = 0;
    size_t got = 77;
    assert_ok(ckpt_reader_open(cache, &id, "empty", &reader));
    assert_int_equal(ckpt_reader_size(reader), 0);
    assert_ok(ckpt_reader_pread(reader, &byte, 1, 0, &got));
    assert_int_equal(got, 0);
    assert_int_equal(ckpt_reader_seek(reader, 0, SEEK_HOLE), -1);
    ckpt_reader_close(reader);
    ckpt_cache_free(cache);
}

/* Forgotten and swept, but for what the reader holds. */
static void test_an_open_reader_keeps_its_chunks(void **state)
{
    struct world *w = *state;
    const uint32_t one = 1;
    struct ckpt_counters counters;
    struct ckpt_cache *cache = cache_of(w, 0);
    struct ckpt_reader *reader = reader_of(w, cache);
    assert_int_equal(unlinkat(ckpt_store_livefd(w->u->store), "a.pt", 0), 0);
    assert_ok(ckpt_engine_forget(w->engine, "a.pt", &one, 1));
    assert_reads(w, reader, 0, SIZE);
    ckpt_reader_close(reader);
    stop_engine(w);
    struct ckpt_engine_config config = {.threads = 2, .hot_limit = UINT64_MAX, .filter = w->filter};
    assert_ok(ckpt_engine_start(w->u->store, &config, &w->engine));
    unsigned tries = 0;
    do { /* it sweeps in its own time */
        assert_int_equal(usleep(10000), 0);
        assert_ok(ckpt_store_counters(w->u->store, &counters));
    } while (counters.objects > 0 && ++tries < 6000);
    assert_int_equal(counters.objects, 0);
    assert_int_equal(ckpt_reader_open(cache, &w->id, "the file", &reader), CKPT_ERR_NOT_FOUND);
    ckpt_cache_free(cache);
}

/* ---- damage ---- */

/* The record of object ID loses a bit (or, GONE, everything). */
static void damage(struct world *w, const struct ckpt_id *id, bool gone)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_slice value;
    assert_ok(ckpt_txn_write(w->u->store->db, &txn));
    assert_ok(ckpt_db_get(txn, CKPT_TABLE_OBJECTS, id->bytes, CKPT_ID_SIZE, &value));
    uint8_t *copy = malloc(value.size);
    size_t size = value.size;
    assert_non_null(copy);
    memcpy(copy, value.data, size);
    copy[size - 1] ^= 4;
    if (gone) {
        assert_ok(ckpt_db_del(txn, CKPT_TABLE_OBJECTS, id->bytes, CKPT_ID_SIZE));
    } else {
        assert_ok(ckpt_db_put(txn, CKPT_TABLE_OBJECTS, id->bytes, CKPT_ID_SIZE, copy, size));
    }
    assert_ok(ckpt_txn_commit(txn));
    free(copy);
}

static const struct ckpt_id *chunk_id(const struct world *w, const struct ckpt_extent *extent)
{
    return &w->recipe.chunks[extent->chunk].id;
}

static void assert_reported(struct world *w, const char *label, const struct ckpt_id *id,
                            const uint64_t *offset)
{
    char hex[CKPT_ID_HEX];
    char at[48] = "";
    ckpt_id_hex(id, hex);
    if (offset != NULL) {
        (void)snprintf(at, sizeof at, " at offset %" PRIu64 ":", *offset);
    }
    assert_int_equal(strncmp(w->u->text, label, strlen(label)), 0);
    assert_non_null(strstr(w->u->text, hex));
    assert_non_null(strstr(w->u->text, at));
}

/* Every chunk in turn; the pieces around it stay readable. */
static void test_a_damaged_chunk_is_named_and_never_read(void **state)
{
    struct world *w = *state;
    for (size_t i = 0; i < w->recipe.count; i++) {
        const struct ckpt_extent *bad = &w->recipe.extents[i];
        if (ckpt_extent_is_hole(bad)) {
            continue;
        }
        damage(w, chunk_id(w, bad), false);
        struct ckpt_cache *cache = cache_of(w, 64 << 20);
        struct ckpt_reader *reader = reader_of(w, cache);
        size_t got = 77;
        uint8_t *buf = malloc(SIZE);
        assert_non_null(buf);
        memset(buf, 0xaa, SIZE);
        for (int again = 0; again < 2; again++) { /* nor does the cache keep it */
            w->u->text[0] = '\0';
            assert_int_equal(ckpt_reader_pread(reader, buf, SIZE, 0, &got), CKPT_ERR_CORRUPT);
            assert_int_equal(got, 77);
            assert_reported(w, "the file", chunk_id(w, bad), &bad->offset);
        }
        for (uint64_t at = bad->offset; at < SIZE; at++) {
            assert_int_equal(buf[at], 0xaa);
        }
        assert_int_equal(ckpt_reader_pread(reader, buf, 1, bad->offset + bad->size - 1, &got),
                         CKPT_ERR_CORRUPT);
        if (bad->offset > 0) {
            assert_reads(w, reader, 0, (size_t)bad->offset);
        }
        assert_reads(w, reader, bad->offset + bad->size, SIZE);
        free(buf);
        ckpt_reader_close(reader);
        ckpt_cache_free(cache);
        damage(w, chunk_id(w, bad), false); /* the same bit again */
    }
}

static void test_a_missing_chunk_is_damage(void **state)
{
    struct world *w = *state;
    const struct ckpt_extent *bad = &w->recipe.extents[0];
    struct ckpt_cache *cache = cache_of(w, 64 << 20);
    struct ckpt_reader *reader = reader_of(w, cache);
    uint8_t byte = 0xaa;
    size_t got = 0;
    damage(w, chunk_id(w, bad), true);
    assert_int_equal(ckpt_reader_pread(reader, &byte, 1, 5, &got), CKPT_ERR_CORRUPT);
    assert_reported(w, "the file", chunk_id(w, bad), &bad->offset);
    assert_int_equal(byte, 0xaa);
    ckpt_reader_close(reader);
    ckpt_cache_free(cache);
}

static void test_a_damaged_recipe_opens_nothing(void **state)
{
    struct world *w = *state;
    struct ckpt_cache *cache = cache_of(w, 64 << 20);
    struct ckpt_reader *reader = NULL;
    bool same = false;
    damage(w, &w->id, false);
    assert_int_equal(ckpt_reader_open(cache, &w->id, "the file", &reader), CKPT_ERR_CORRUPT);
    assert_null(reader);
    assert_reported(w, "the file", &w->id, NULL);
    int fd = openat(ckpt_store_livefd(w->u->store), "a.pt", O_RDONLY | O_CLOEXEC);
    assert_int_equal(ckpt_compare(w->u->store, &w->id, "compared", fd, 2, &same), CKPT_ERR_CORRUPT);
    assert_reported(w, "compared", &w->id, NULL);
    assert_int_equal(close(fd), 0);
    ckpt_cache_free(cache);
}

/* ---- whole files ---- */

static int empty_file(struct world *w)
{
    int fd =
        openat(ckpt_store_tmpfd(w->u->store), "out", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    return fd;
}

struct progress {
    uint64_t done;
    uint64_t total;
};

static void note_progress(void *arg, uint64_t done, uint64_t total)
{
    struct progress *progress = arg;
    assert_true(done >= progress->done);
    *progress = (struct progress){done, total};
}

static void test_a_file_is_restored_with_its_holes(void **state)
{
    static const unsigned threads[] = {0, 1, 4, 1000};
    struct world *w = *state;
    for (size_t i = 0; i < sizeof threads / sizeof threads[0]; i++) {
        struct progress progress = {0};
        struct stat st;
        int fd = empty_file(w);
        uint8_t *back = malloc(SIZE);
        assert_non_null(back);
        assert_ok(ckpt_restore(w->u->store, &w->id, "a", fd, threads[i], note_progress, &progress));
        assert_int_equal(fstat(fd, &st), 0);
        assert_int_equal(st.st_size, SIZE);
        assert_int_equal(pread(fd, back, SIZE, 0), SIZE);
        assert_memory_equal(back, w->content, SIZE);
        assert_int_equal(lseek(fd, 0, SEEK_HOLE), NOISE);
        assert_int_equal(lseek(fd, NOISE, SEEK_DATA), DATA_AGAIN);
        assert_int_equal(lseek(fd, DATA_AGAIN, SEEK_HOLE), DATA_END);
        if (threads[i] > 0) { /* else it may be through before anybody asks */
            assert_int_equal(progress.done, SIZE);
            assert_int_equal(progress.total, SIZE);
        }
        free(back);
        assert_int_equal(close(fd), 0);
    }
}

static void test_a_damaged_file_is_not_restored(void **state)
{
    struct world *w = *state;
    const struct ckpt_extent *bad =
        &w->recipe.extents[w->recipe.count - 2]; /* before the last hole */
    bool same = false;
    int fd = empty_file(w);
    damage(w, chunk_id(w, bad), false);
    assert_int_equal(ckpt_restore(w->u->store, &w->id, "restored", fd, 2, NULL, NULL),
                     CKPT_ERR_CORRUPT);
    assert_reported(w, "restored", chunk_id(w, bad), &bad->offset);
    assert_int_equal(close(fd), 0);
    fd = openat(ckpt_store_livefd(w->u->store), "a.pt", O_RDONLY | O_CLOEXEC);
    assert_int_equal(ckpt_compare(w->u->store, &w->id, "compared", fd, 2, &same), CKPT_ERR_CORRUPT);
    assert_reported(w, "compared", chunk_id(w, bad), &bad->offset);
    assert_false(same);
    assert_int_equal(close(fd), 0);
}

static void test_files_are_compared(void **state)
{
    static const struct {
        const char *name;
        off_t size;
        off_t at; /* a byte that differs; -1 for none */
        bool same;
    } cases[] = {
        {"equal", SIZE, -1, true},
        {"the first byte", SIZE, 0, false},
        {"a byte of a chunk", SIZE, DATA_AGAIN + 1000, false},
        {"the first byte of a hole", SIZE, NOISE, false},
        {"the last byte of a hole", SIZE, DATA_AGAIN - 1, false},
        {"the last byte", SIZE, SIZE - 1, false},
        {"one byte less", SIZE - 1, -1, false},
        {"one byte more", SIZE + 1, -1, false},
        {"nothing", 0, -1, false},
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool same = !cases[i].same;
        int fd = empty_file(w);
        assert_int_equal(pwrite(fd, w->content, SIZE, 0), SIZE); /* holes written as zeros */
        assert_int_equal(ftruncate(fd, cases[i].size), 0);
        if (cases[i].at >= 0) {
            uint8_t other = (uint8_t)(w->content[cases[i].at] + 1);
            assert_int_equal(pwrite(fd, &other, 1, cases[i].at), 1);
        }
        assert_ok(ckpt_compare(w->u->store, &w->id, cases[i].name, fd, 2, &same));
        if (same != cases[i].same) {
            print_error("%s\n", cases[i].name);
            fail();
        }
        assert_int_equal(close(fd), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_reads_at_the_edges, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_random_and_sequential_access_with_any_cache, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_many_threads_share_a_small_cache, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_data_and_holes_are_found, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_empty_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_an_open_reader_keeps_its_chunks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_damaged_chunk_is_named_and_never_read, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_a_missing_chunk_is_damage, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_damaged_recipe_opens_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_file_is_restored_with_its_holes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_damaged_file_is_not_restored, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_files_are_compared, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
