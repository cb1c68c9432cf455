/*
 * The engine without a mount: a closed file becomes a version, is made cold and hot again, and is forgotten.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <unistd.h>
#include <cmocka.h>
#include <ckpt/engine.h>
#include <ckpt/verify.h>

enum { SIZE = 3 << 20 };

struct world {
    char dir[64];
    char store_dir[80];
    struct ckpt_store *store;
    struct ckpt_filter *filter;
    struct ckpt_engine *engine;
    uint8_t *bytes;
};

static void start(struct world *w)
{
    struct ckpt_report none = {0};
    assert_int_equal(ckpt_store_open(w->store_dir, CKPT_WRITE, "a test", &none, &w->store), CKPT_OK);
    struct ckpt_engine_config config = {
        .threads = 2, .hot_limit = UINT64_MAX, .filter = w->filter};
    assert_int_equal(ckpt_engine_start(w->store, &config, &w->engine), CKPT_OK);
}

static void stop(struct world *w)
{
    ckpt_engine_stop(w->engine, true);
    ckpt_store_close(w->store);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    struct ckpt_report none = {0};
    const char *bad = NULL;
    strcpy(w->dir, "/var/tmp/ckpt-engine-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->store_dir, sizeof w->store_dir, "%s/store", w->dir);
    assert_int_equal(ckpt_store_create(w->store_dir, &none), CKPT_OK);
    assert_int_equal(ckpt_filter_parse("default", &w->filter, &bad), CKPT_OK);
    w->bytes = malloc(SIZE);
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; i < SIZE; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        w->bytes[i] = (uint8_t)x;
    }
    start(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    char command[128];
    stop(w);
    ckpt_filter_free(w->filter);
    snprintf(command, sizeof command, "rm -rf '%s'", w->dir);
    assert_int_equal(system(command), 0);
    free(w->bytes);
    free(w);
    return 0;
}

/* Writes the file, closes it, and waits until it is a version. */
static void save(struct world *w, const char *name, const uint8_t *bytes, size_t n)
{
    unsigned still_open = 0;
    int fd = openat(ckpt_store_livefd(w->store), name, O_RDWR | O_CREAT | O_TRUNC, 0644);
    assert_int_equal(write(fd, bytes, n), n);
    close(fd);
    fd = openat(ckpt_store_livefd(w->store), name, O_PATH);
    assert_int_equal(ckpt_engine_capture(w->engine, fd), CKPT_OK);
    close(fd);
    assert_int_equal(ckpt_engine_flush(w->engine, &still_open), CKPT_OK);
    assert_int_equal(still_open, 0);
}

static void assert_clean(struct world *w, uint64_t versions)
{
    struct ckpt_verify_result result;
    assert_int_equal(ckpt_verify(w->store, false, NULL, NULL, &result), CKPT_OK);
    assert_int_equal(result.problems, 0);
    assert_int_equal(result.versions, versions);
}

static void a_closed_file_is_a_version_and_restores(void **state)
{
    struct world *w = *state;
    struct ckpt_version version;
    bool same = false;
    save(w, "a.pt", w->bytes, SIZE);
    assert_int_equal(ckpt_catalog_version(w->store, CKPT_DIR_ROOT, "a.pt", 0, &version), CKPT_OK);
    assert_int_equal(version.number, 1);
    assert_int_equal(version.size, SIZE);
    int fd = openat(ckpt_store_livefd(w->store), "a.pt", O_RDONLY);
    assert_int_equal(ckpt_compare(w->store, &version.recipe, "a.pt", fd, 2, &same), CKPT_OK);
    assert_true(same);
    close(fd);
    assert_clean(w, 1);
}

static void equal_contents_share_everything_but_their_rows(void **state)
{
    struct world *w = *state;
    struct ckpt_counters one;
    struct ckpt_counters two;
    save(w, "a.pt", w->bytes, SIZE);
    assert_int_equal(ckpt_store_counters(w->store, &one), CKPT_OK);
    save(w, "b.pt", w->bytes, SIZE);
    assert_int_equal(ckpt_store_counters(w->store, &two), CKPT_OK);
    assert_int_equal(one.stored, two.stored);
    assert_int_equal(two.versions, 2);
    assert_clean(w, 2);
}

static void a_cold_file_comes_back_bit_by_bit(void **state)
{
    struct world *w = *state;
    struct ckpt_stub stub;
    bool cold = false;
    uint8_t *back = malloc(SIZE);
    save(w, "a.pt", w->bytes, SIZE);
    assert_int_equal(ckpt_engine_demote(w->engine, "a.pt"), CKPT_OK);
    int fd = openat(ckpt_store_livefd(w->store), "a.pt", O_RDWR);
    assert_int_equal(ckpt_live_stub(fd, &stub, &cold), CKPT_OK);
    assert_true(cold);
    assert_int_equal(stub.size, SIZE);
    uint32_t number = 1;
    assert_int_equal(ckpt_engine_forget(w->engine, "a.pt", &number, 1), CKPT_ERR_NEEDED);
    assert_int_equal(ckpt_engine_promote(w->engine, fd, true), CKPT_OK);
    assert_int_equal(pread(fd, back, SIZE, 0), SIZE);
    assert_memory_equal(back, w->bytes, SIZE);
    close(fd);
    free(back);
    assert_clean(w, 1);
}

static void forgetting_gives_everything_back(void **state)
{
    struct world *w = *state;
    struct ckpt_counters counters;
    uint32_t number = 1;
    save(w, "a.pt", w->bytes, SIZE);
    assert_int_equal(unlinkat(ckpt_store_livefd(w->store), "a.pt", 0), 0);
    assert_int_equal(ckpt_engine_forget(w->engine, "a.pt", &number, 1), CKPT_OK);
    assert_int_equal(ckpt_store_counters(w->store, &counters), CKPT_OK);
    assert_int_equal(counters.objects, 0);
    assert_int_equal(counters.stored, 0);
    assert_int_equal(ckpt_engine_forget(w->engine, "a.pt", &number, 1), CKPT_ERR_NOT_FOUND);
    assert_clean(w, 0);
}

static void what_changed_while_nobody_looked_is_found_at_start(void **state)
{
    struct world *w = *state;
    unsigned still_open = 0;
    struct ckpt_version version;
    stop(w);
    char path[128];
    snprintf(path, sizeof path, "%s/live/late.pt", w->store_dir);
    int fd = open(path, O_WRONLY | O_CREAT, 0644);
    assert_int_equal(write(fd, w->bytes, SIZE), SIZE);
    close(fd);
    start(w);
    assert_int_equal(ckpt_engine_flush(w->engine, &still_open), CKPT_OK);
    assert_int_equal(ckpt_catalog_version(w->store, CKPT_DIR_ROOT, "late.pt", 0, &version), CKPT_OK);
    assert_clean(w, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_closed_file_is_a_version_and_restores, setup, teardown),
        cmocka_unit_test_setup_teardown(equal_contents_share_everything_but_their_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cold_file_comes_back_bit_by_bit, setup, teardown),
        cmocka_unit_test_setup_teardown(forgetting_gives_everything_back, setup, teardown),
        cmocka_unit_test_setup_teardown(what_changed_while_nobody_looked_is_found_at_start, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
