/*
 * The engine without a mount: a closed file becomes a version, is made cold and hot again, and is forgotten.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <unistd.h>
#include <cmocka.h>
#include "engine/engine_parts.h"
#include "object/internal.h"
#include "run_samples.h"
#include <ckpt/engine.h>
#include <ckpt/verify.h>
#include <sys/stat.h>

enum { SIZE = 3 << 20 };

struct world {
    char dir[64];
    char store_dir[80];
    struct ckpt_store *store;
    struct ckpt_filter *filter;
    struct ckpt_runs *runs;
    struct ckpt_engine *engine;
    uint8_t *bytes;
    atomic_ullong open_ino; /* seems open for writing the next LOOKS times */
    atomic_int looks;
};

static bool seems_open(void *arg, dev_t dev, ino_t ino)
{
    struct world *w = arg;
    (void)dev;
    return ino == w->open_ino && atomic_fetch_sub(&w->looks, 1) > 0;
}

static void start(struct world *w)
{
    struct ckpt_report none = {0};
    assert_int_equal(ckpt_store_open(w->store_dir, CKPT_WRITE, "a test", &none, &w->store), CKPT_OK);
    assert_int_equal(ckpt_runs_create(w->store, &w->runs), CKPT_OK);
    struct ckpt_engine_config config = {.threads = 2,
                                        .hot_limit = UINT64_MAX,
                                        .filter = w->filter,
                                        .runs = w->runs,
                                        .hooks.writing = seems_open,
                                        .hooks_arg = w};
    assert_int_equal(ckpt_engine_start(w->store, &config, &w->engine), CKPT_OK);
}

static void stop(struct world *w)
{
    ckpt_engine_stop(w->engine, true);
    ckpt_runs_free(w->runs);
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

/* Writes a new file, puts it in the place of NAME and hands it over. LOOKS: so often it still seems open. */
static void replace(struct world *w, const char *name, const uint8_t *bytes, size_t n, int looks)
{
    struct stat st;
    int live = ckpt_store_livefd(w->store);
    int fd = openat(live, "new.tmp", O_RDWR | O_CREAT | O_EXCL, 0644);
    assert_int_equal(write(fd, bytes, n), n);
    assert_int_equal(fstat(fd, &st), 0);
    close(fd);
    assert_int_equal(renameat(live, "new.tmp", live, name), 0);
    if (looks > 0) {
        w->open_ino = st.st_ino;
        w->looks = looks;
    }
    fd = openat(live, name, O_PATH);
    assert_int_equal(ckpt_engine_capture(w->engine, fd), CKPT_OK);
    close(fd);
}

/* The same, and waits until it is a version. */
static void save(struct world *w, const char *name, const uint8_t *bytes, size_t n)
{
    unsigned still_open = 0;
    replace(w, name, bytes, n, 0);
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

static void assert_size(struct world *w, const char *name, uint32_t number, uint64_t size)
{
    struct ckpt_version version;
    assert_int_equal(ckpt_catalog_version(w->store, CKPT_DIR_ROOT, name, number, &version), CKPT_OK);
    assert_int_equal(version.size, size);
}

static void wait_until_looked(struct world *w, int left)
{
    while (w->looks > left) {
        usleep(1000);
    }
}

static void versions_come_in_the_order_of_the_closes(void **state)
{
    struct world *w = *state;
    struct ckpt_version latest;
    unsigned still_open = 0;
    replace(w, "a.pt", w->bytes, 1000, 1);
    wait_until_looked(w, 0); /* the close isn't through yet: put off */
    replace(w, "a.pt", w->bytes, 2000, 0);
    replace(w, "b.pt", w->bytes, 3000, 0);
    assert_int_equal(ckpt_engine_flush(w->engine, &still_open), CKPT_OK);
    assert_int_equal(still_open, 0);
    assert_size(w, "a.pt", 1, 1000);
    assert_size(w, "a.pt", 2, 2000);
    assert_size(w, "b.pt", 1, 3000);
    assert_int_equal(ckpt_catalog_latest(w->store, CKPT_DIR_ROOT, &latest), CKPT_OK);
    assert_string_equal(latest.name, "b.pt");
    assert_clean(w, 3);
}

/* A file that another one has replaced; it has a further name, so that it is still there. */
static int replaced(struct world *w, const char *name)
{
    int live = ckpt_store_livefd(w->store);
    save(w, name, w->bytes, SIZE);
    assert_int_equal(linkat(live, name, live, "further", 0), 0);
    int old = openat(live, name, O_PATH);
    save(w, name, w->bytes, SIZE / 2);
    return old;
}

static void check_newest(struct world *w, const char *name, uint32_t number)
{
    struct ckpt_version version;
    unsigned still_open = 0;
    assert_int_equal(ckpt_engine_flush(w->engine, &still_open), CKPT_OK);
    assert_int_equal(ckpt_catalog_version(w->store, CKPT_DIR_ROOT, name, 0, &version), CKPT_OK);
    assert_int_equal(version.number, number);
    assert_int_equal(version.size, SIZE / 2);
}

/* The engine was looking at a directory meanwhile. */
static void what_was_found_under_a_name_has_lost_it(void **state)
{
    struct world *w = *state;
    bool captured = true;
    int old = replaced(w, "a.pt");
    assert_int_equal(ckpt_capture_whatever(w->engine, old, ckpt_store_livefd(w->store), "a.pt", &captured), CKPT_OK);
    assert_false(captured);
    close(old);
    check_newest(w, "a.pt", 2);
}

/* Two have closed a file of that name at once, and the later one was faster. */
static void what_has_the_name_is_its_newest_version(void **state)
{
    struct world *w = *state;
    int old = replaced(w, "a.pt");
    assert_int_equal(ckpt_engine_capture_name(w->engine, old, ckpt_store_livefd(w->store), "a.pt"), CKPT_OK);
    close(old);
    check_newest(w, "a.pt", 4);
}

static void a_file_that_stays_open_holds_up_nobody(void **state)
{
    struct world *w = *state;
    unsigned still_open = 0;
    replace(w, "a.pt", w->bytes, 1000, 1000000);
    wait_until_looked(w, 999999);
    replace(w, "a.pt", w->bytes, 2000, 0);
    assert_int_equal(ckpt_engine_flush(w->engine, &still_open), CKPT_OK);
    assert_int_equal(still_open, 1);
    assert_size(w, "a.pt", 1, 2000);
    w->looks = 0;
    assert_int_equal(ckpt_engine_flush(w->engine, &still_open), CKPT_OK);
    assert_int_equal(still_open, 0);
    assert_size(w, "a.pt", 2, 1000);
    assert_clean(w, 2);
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

/* The row of where a directory was is damaged, so where it is now can't be recorded; nobody waits for that for ever. */
static void a_flush_ends_when_a_directory_cannot_be_recorded(void **state)
{
    struct world *w = *state;
    struct ckpt_txn *txn = NULL;
    unsigned still_open = 0;
    const uint8_t key[] = {0, 0, 0, 0, 0, 0, 0, 0, 'r', 'u', 'n'};
    int live = ckpt_store_livefd(w->store);
    assert_int_equal(mkdirat(live, "run", 0755), 0);
    save(w, "run/a.pt", w->bytes, SIZE);
    assert_int_equal(ckpt_txn_write(w->store->db, &txn), CKPT_OK);
    assert_int_equal(ckpt_db_put(txn, CKPT_TABLE_DIRNAMES, key, sizeof key, "bad", 3), CKPT_OK);
    assert_int_equal(ckpt_txn_commit(txn), CKPT_OK);
    assert_int_equal(renameat(live, "run", live, "run2"), 0);
    int fd = openat(live, "run2", O_PATH | O_DIRECTORY);
    assert_int_equal(ckpt_engine_dir_moved(w->engine, fd), CKPT_OK);
    close(fd);
    alarm(120);
    assert_int_equal(ckpt_engine_flush(w->engine, &still_open), CKPT_ERR_CORRUPT);
    alarm(0);
}

/* Readers see at once that a checkpoint has lost its file. */
static void forgetting_is_seen_in_the_checkpoints(void **state)
{
    static const uint32_t first[] = {1};
    enum { RUN = 1234 };
    struct world *w = *state;
    struct ckpt_version version;
    const struct ckpt_run *run = NULL;
    save(w, "last.pt", w->bytes, SIZE);
    save(w, "last.pt", w->bytes + 1, SIZE - 1);
    for (uint32_t number = 1; number <= 2; number++) {
        struct ckpt_checkpoint *c = sample_checkpoint(RUN, number, number);
        assert_ok(ckpt_catalog_version(w->store, CKPT_DIR_ROOT, "last.pt", number, &version));
        (void)sample_member_of(c, &version);
        sample_put(w->store, c);
    }
    sample_put_run(w->store, RUN, 3);
    assert_ok(ckpt_runs_hold(w->runs, RUN, &run));
    assert_true(ckpt_checkpoint_shown(ckpt_run_number(run, 1)));
    ckpt_runs_release(w->runs);
    assert_ok(ckpt_engine_forget(w->engine, "last.pt", first, 1));
    assert_ok(ckpt_runs_hold(w->runs, RUN, &run));
    assert_false(ckpt_checkpoint_shown(ckpt_run_number(run, 1)));
    assert_true(ckpt_checkpoint_shown(ckpt_run_number(run, 2)));
    ckpt_runs_release(w->runs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_closed_file_is_a_version_and_restores, setup, teardown),
        cmocka_unit_test_setup_teardown(equal_contents_share_everything_but_their_rows, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cold_file_comes_back_bit_by_bit, setup, teardown),
        cmocka_unit_test_setup_teardown(forgetting_gives_everything_back, setup, teardown),
        cmocka_unit_test_setup_teardown(forgetting_is_seen_in_the_checkpoints, setup, teardown),
        cmocka_unit_test_setup_teardown(versions_come_in_the_order_of_the_closes, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_found_under_a_name_has_lost_it, setup, teardown),
        cmocka_unit_test_setup_teardown(what_has_the_name_is_its_newest_version, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_that_stays_open_holds_up_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(what_changed_while_nobody_looked_is_found_at_start, setup, teardown),
        cmocka_unit_test_setup_teardown(a_flush_ends_when_a_directory_cannot_be_recorded, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
