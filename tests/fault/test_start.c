/* Making, opening and reading a store while host calls fail. */
#include "fault.h"
#include <ckpt/filter.h>
#include <ckpt/verify.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ALL = SPACE_KIND | IO_KIND | SYNC_KIND };

/* ---- start-up ---- */

static void in_store(const struct world *w, const char *name, char *path, size_t size)
{
    int n = snprintf(path, size, "%s/%s", w->store_dir, name);
    assert_in_range(n, 1, size - 1);
}

/* What a process can leave behind that was killed at a bad moment, and what somebody did by hand since. */
static void disorder(struct world *w)
{
    char path[2 * WORLD_PATH];
    assert_int_equal(world_save(w, "a.pt", SMALL_A), CKPT_OK);
    assert_int_equal(world_save(w, "cold.pt", SMALL_B), CKPT_OK);
    assert_int_equal(world_flush(w), CKPT_OK);
    assert_int_equal(world_demote(w, "cold.pt"), CKPT_OK);
    world_mkdir(w, "run");
    /* Part of a file in the database, held by garbage rows. */
    assert_int_equal(world_save(w, "big.pt", BIG), CKPT_OK);
    ckpt_fault_arm(3, CKPT_FAULT_SYNC);
    assert_int_not_equal(world_flush(w), CKPT_OK);
    assert_true(ckpt_fault_fired());
    ckpt_fault_arm(0, CKPT_FAULT_SYNC);
    struct ckpt_verify_result result;
    assert_int_equal(ckpt_verify(w->store, true, NULL, NULL, &result), CKPT_OK);
    assert_true(result.unused > 0);
    /* The store has stopped, so these stay pending. */
    assert_int_equal(world_save(w, "b.pt", SMALL_B), CKPT_OK);
    assert_int_equal(world_save(w, "holes.pt", HOLES), CKPT_OK);
    world_close(w, false);
    world_write_raw(w, "a.pt", SMALL_C);
    world_write_raw(w, "run/new.pt", SMALL_A);
    in_store(w, "pending/0000000000000000.0000000000000001", path, sizeof path);
    assert_int_equal(mkdir(path, 0700), 0);
    in_store(w, "tmp/0000000000000000", path, sizeof path);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
}

static void start_twice(struct world *w)
{
    if (world_open(w) == CKPT_OK) {
        (void)!world_flush(w);
        world_close(w, true);
    }
    if (world_open(w) == CKPT_OK) {
        (void)!world_flush(w);
    }
}

static void start_up(void **state)
{
    (void)state;
    fault_loop(&(struct scenario){.name = "start-up",
                                  .kinds = ALL | SHORT_KIND,
                                  .prepare = disorder,
                                  .run = start_twice,
                                  .closed = true});
}

/* ---- reading ---- */

static void versions(struct world *w)
{
    assert_int_equal(world_save(w, "a.pt", SMALL_A), CKPT_OK);
    assert_int_equal(world_save(w, "holes.pt", HOLES), CKPT_OK);
    assert_int_equal(world_save(w, "cold.pt", SMALL_C), CKPT_OK);
    assert_int_equal(world_flush(w), CKPT_OK);
    assert_int_equal(world_demote(w, "cold.pt"), CKPT_OK);
}

/* Without an engine, whose thread makes calls of its own. A check that could not look at everything must not say that all
   is well. */
static void read_all(struct world *w)
{
    struct ckpt_verify_result result;
    if (ckpt_store_open(w->store_dir, CKPT_READ, NULL, NULL, &w->store) != CKPT_OK) {
        return;
    }
    (void)!world_restore(w, "a.pt", 1, SMALL_A);
    (void)!world_restore(w, "holes.pt", 1, HOLES);
    bool before = ckpt_fault_fired();
    enum ckpt_err err = ckpt_verify(w->store, false, NULL, NULL, &result);
    if (ckpt_fault_fired() == before) {
        assert_int_equal(err, CKPT_OK);
        assert_int_equal(result.problems, 0);
    } else {
        assert_true(err != CKPT_OK || result.problems > 0);
    }
}

static void restore_and_verify(void **state)
{
    (void)state;
    fault_loop(&(struct scenario){.name = "restore and verify",
                                  .kinds = IO_KIND | SPACE_KIND | SHORT_KIND,
                                  .prepare = versions,
                                  .run = read_all,
                                  .closed = true});
}

/* ---- making a store ---- */

static unsigned reports;

static void count_report(void *arg, enum ckpt_level level, const char *text)
{
    (void)arg;
    (void)level;
    assert_true(strlen(text) > 0);
    reports++;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

/* Complete or absent, and a second try succeeds. */
static bool create_once(const char *parent, enum ckpt_fault_kind kind, unsigned n)
{
    char dir[2 * WORLD_PATH];
    struct ckpt_report to = {.fn = count_report};
    struct ckpt_store *store = NULL;
    struct stat st;
    (void)snprintf(dir, sizeof dir, "%s/store", parent);
    reports = 0;
    ckpt_fault_arm(n, kind);
    enum ckpt_err err = ckpt_store_create(dir, &to);
    bool fired = ckpt_fault_fired();
    ckpt_fault_arm(0, kind);
    if (err != CKPT_OK) {
        assert_true(reports > 0);
        /* Taken away again as far as that went: at most the empty directory, when that was what failed. */
        assert_true((stat(dir, &st) != 0 && errno == ENOENT) || rmdir(dir) == 0);
        assert_int_equal(ckpt_store_create(dir, &to), CKPT_OK);
    }
    assert_int_equal(ckpt_store_open(dir, CKPT_WRITE, NULL, &to, &store), CKPT_OK);
    ckpt_store_close(store);
    (void)nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    return fired;
}

/* Somebody else's files, with the names that a store has. */
static bool refuse_once(const char *parent, enum ckpt_fault_kind kind, unsigned n)
{
    char path[2 * WORLD_PATH];
    struct ckpt_report to = {.fn = count_report};
    static const char *const dirs[] = {"full", "full/db", "full/live"};
    static const char *const files[] = {"full/db/data.mdb", "full/FORMAT", "full/tmp"};
    struct stat st;
    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", parent, dirs[i]);
        assert_true(mkdir(path, 0700) == 0 || errno == EEXIST);
    }
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", parent, files[i]);
        int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        close(fd);
    }
    (void)snprintf(path, sizeof path, "%s/full", parent);
    reports = 0;
    ckpt_fault_arm(n, kind);
    assert_int_not_equal(ckpt_store_create(path, &to), CKPT_OK);
    bool fired = ckpt_fault_fired();
    ckpt_fault_arm(0, kind);
    assert_true(reports > 0);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", parent, files[i]);
        assert_int_equal(stat(path, &st), 0);
    }
    return fired;
}

static void each_fault(bool (*once)(const char *, enum ckpt_fault_kind, unsigned))
{
    char parent[WORLD_PATH];
    const char *base = getenv("TMPDIR");
    (void)snprintf(parent, sizeof parent, "%.100s/ckpt-fault-XXXXXX", base != NULL ? base : "/var/tmp");
    assert_non_null(mkdtemp(parent));
    for (enum ckpt_fault_kind kind = CKPT_FAULT_ENOSPC; kind <= CKPT_FAULT_SYNC; kind++) {
        for (unsigned n = 1; once(parent, kind, n); n++) {
        }
    }
    (void)nftw(parent, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static void making_a_store(void **state)
{
    (void)state;
    each_fault(create_once);
}

static void refusing_to_make_one(void **state)
{
    (void)state;
    each_fault(refuse_once);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(making_a_store),
        fault_test(refusing_to_make_one),
        fault_test(start_up),
        fault_test(restore_and_verify),
    };
    cmocka_set_test_filter(getenv("FAULT_TEST"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
