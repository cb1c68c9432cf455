/*
 * Retention with a real store and engine: what a policy says becomes of live files, rows and space.
 *
 * Checkpoints are what the publisher makes of files with the names that trainers give. Rows are changed by hand where only time,
 * a crash or damage would do it.
 */
#include "unit.h"

#include "catalog/catalog_txn.h"
#include "catalog/run_rows.h"
#include "engine/engine_parts.h"
#include "retain/retain.h"
#include <ckpt/verify.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { SIZE = 200000 };

static const int64_t second_ns = 1000000000;

struct world {
    char dir[UNIT_PATH];
    char store_dir[UNIT_PATH + 8];
    char told[UNIT_TEXT]; /* the last report */
    struct ckpt_store *store;
    struct ckpt_runs *runs;
    struct ckpt_filter *filter;
    struct ckpt_engine *engine;
    uint64_t reserve;
    unsigned final_ms;
    ino_t open_ino; /* open for writing */
    uint64_t seed;
};

static bool seems_open(void *arg, dev_t dev, ino_t ino)
{
    (void)dev;
    return ino == ((struct world *)arg)->open_ino;
}

static void hear(void *arg, enum ckpt_level level, const char *text)
{
    struct world *w = arg;
    (void)level;
    snprintf(w->told, sizeof w->told, "%s", text);
}

static void start(struct world *w)
{
    struct ckpt_report report = {.fn = hear, .arg = w};
    assert_ok(ckpt_store_open(w->store_dir, CKPT_WRITE, "a test", &report, &w->store));
    assert_ok(ckpt_runs_create(w->store, &w->runs));
    struct ckpt_engine_config config = {.threads = 2,
                                        .hot_limit = UINT64_MAX,
                                        .reserve = w->reserve,
                                        .final_ms = w->final_ms,
                                        .quiet_ms = 1000,
                                        .filter = w->filter,
                                        .runs = w->runs,
                                        .hooks.writing = seems_open,
                                        .hooks_arg = w};
    assert_ok(ckpt_engine_start(w->store, &config, &w->engine));
}

static void stop(struct world *w)
{
    ckpt_engine_stop(w->engine, true);
    ckpt_runs_free(w->runs);
    ckpt_store_close(w->store);
    w->engine = NULL;
    w->runs = NULL;
    w->store = NULL;
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    struct ckpt_report none = {0};
    const char *bad = NULL;
    unit_mkdir(w->dir);
    snprintf(w->store_dir, sizeof w->store_dir, "%s/store", w->dir);
    assert_ok(ckpt_store_create(w->store_dir, &none));
    assert_ok(ckpt_filter_parse("default", &w->filter, &bad));
    start(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    stop(w);
    ckpt_filter_free(w->filter);
    unit_rmdir(w->dir);
    free(w);
    return 0;
}

static void flush(struct world *w)
{
    unsigned still_open = 0;
    assert_ok(ckpt_engine_flush(w->engine, &still_open));
}

/* ---- files ---- */

/* What the filesystem tells after a file was written under another name, and moved. THREAD (0: nobody) has written it. */
static void put(struct world *w, const char *path, const void *bytes, size_t n, pid_t thread)
{
    int live = ckpt_store_livefd(w->store);
    int fd = openat(live, "new.tmp", O_RDWR | O_CREAT | O_EXCL, 0644);
    assert_int_equal(write(fd, bytes, n), n);
    if (thread != 0) {
        ckpt_engine_writes(w->engine, thread, fd);
    }
    close(fd);
    assert_int_equal(renameat(live, "new.tmp", live, path), 0);
    fd = openat(live, path, O_PATH);
    assert_ok(ckpt_engine_capture(w->engine, fd));
    close(fd);
}

/* Bytes that no other file has. */
static void write_file(struct world *w, const char *path)
{
    uint8_t *bytes = unit_noise(SIZE, unit_random(&w->seed));
    put(w, path, bytes, SIZE, 0);
    free(bytes);
}

static void make_dir(struct world *w, const char *path)
{
    (void)mkdirat(ckpt_store_livefd(w->store), path, 0755);
}

static bool is_there(struct world *w, const char *path)
{
    return faccessat(ckpt_store_livefd(w->store), path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void write_name(char path[UNIT_PATH], const char *run, unsigned epoch)
{
    (void)snprintf(path, UNIT_PATH, "%s/net_epoch_%u.pt", run, epoch);
}

/* Epoch EPOCH of RUN, and waits until it is judged. */
static void save(struct world *w, const char *run, unsigned epoch)
{
    char path[UNIT_PATH];
    make_dir(w, run);
    write_name(path, run, epoch);
    write_file(w, path);
    flush(w);
}

static bool has(struct world *w, const char *run, unsigned epoch)
{
    char path[UNIT_PATH];
    write_name(path, run, epoch);
    return is_there(w, path);
}

/* A directory of Transformers with model and optimizer, complete. OPTIMIZER: that one is written, too. */
static void save_dir(struct world *w, const char *path, bool optimizer)
{
    char name[UNIT_PATH];
    char text[64];
    make_dir(w, path);
    (void)snprintf(name, sizeof name, "%s/pytorch_model.bin", path);
    write_file(w, name);
    (void)snprintf(name, sizeof name, "%s/optimizer.pt", path);
    if (optimizer) {
        write_file(w, name);
    }
    (void)snprintf(name, sizeof name, "%s/rng_state.pth", path);
    put(w, name, &w->seed, sizeof w->seed, 0);
    flush(w);
    (void)snprintf(name, sizeof name, "%s/trainer_state.json", path);
    (void)snprintf(text, sizeof text, "{\"is_world_process_zero\": %u}", (unsigned)unit_random(&w->seed));
    put(w, name, text, strlen(text), 0);
    flush(w);
}

/* ---- rows; on the engine's thread ---- */

/* What has become of a checkpoint's row while nobody looked. */
struct change {
    struct ckpt_command command;
    uint64_t dir;
    uint32_t number;
    int64_t left_before_ns; /* it has left so much earlier */
    bool gone;              /* its files are said to be gone */
    bool hidden;            /* it is said to be hidden, and the names are there */
};

static enum ckpt_err run_change(struct ckpt_engine *engine, struct ckpt_command *command)
{
    struct change *change = (struct change *)command;
    struct ckpt_run *run = NULL;
    assert_ok(ckpt_keeper_run(engine->keeper, change->dir, false, &run));
    struct ckpt_checkpoint *c = ckpt_keeper_checkpoint(run, change->number);
    assert_non_null(c);
    for (size_t i = 0; i < c->n_members; i++) {
        c->members[i].gone |= change->gone;
    }
    if (change->gone) {
        c->left = CKPT_LEFT_DELETED;
        c->left_ns = 0;
    }
    c->left_ns -= change->left_before_ns;
    c->hidden = change->hidden;
    c->hidden_ns = change->hidden ? ckpt_realtime_ns() : 0;
    ckpt_keeper_touch(engine->keeper, run, c);
    assert_ok(ckpt_keeper_commit(engine->keeper));
    return CKPT_OK;
}

static void change_row(struct world *w, struct change change)
{
    change.command.run = run_change;
    assert_ok(ckpt_command_submit(w->engine, &change.command));
}

static uint64_t dir_of(struct world *w, const char *run)
{
    char path[512];
    char name[NAME_MAX + 1];
    uint64_t dir = 0;
    snprintf(path, sizeof path, "%s/x", run);
    assert_ok(ckpt_catalog_resolve(w->store, path, &dir, name));
    return dir;
}

static void remove_file(struct world *w, const char *path)
{
    char parent[UNIT_PATH];
    const char *slash = strrchr(path, '/');
    (void)snprintf(parent, sizeof parent, "%.*s", (int)(slash - path), path);
    int fd = openat(ckpt_store_livefd(w->store), parent, O_PATH | O_DIRECTORY);
    assert_int_equal(unlinkat(fd, slash + 1, 0), 0);
    ckpt_engine_name_gone(w->engine, fd, slash + 1, false);
    close(fd);
    flush(w);
}

/* The trainer has deleted an epoch, which is checkpoint NUMBER, so many seconds ago. */
static void delete(struct world *w, const char *run, uint32_t number, unsigned epoch, int64_t seconds)
{
    char path[UNIT_PATH];
    write_name(path, run, epoch);
    remove_file(w, path);
    change_row(w, (struct change){.dir = dir_of(w, run), .number = number, .left_before_ns = seconds * second_ns});
}

static struct ckpt_rotation rotate(struct world *w, const char *run)
{
    struct ckpt_rotation rotation;
    assert_ok(ckpt_engine_rotate(w->engine, dir_of(w, run), false, &rotation));
    return rotation;
}

/* ---- what is there ---- */

enum kept { SHOWN, HIDDEN, DROPPED };

static void assert_kept(struct world *w, const char *dir, uint32_t number, enum kept expected)
{
    const struct ckpt_run *run = NULL;
    assert_ok(ckpt_runs_hold(w->runs, dir_of(w, dir), &run));
    const struct ckpt_checkpoint *c = ckpt_run_number(run, number);
    assert_non_null(c);
    enum kept kept = c->dropped ? DROPPED : c->hidden ? HIDDEN : SHOWN;
    ckpt_runs_release(w->runs);
    assert_int_equal(kept, expected);
}

/* One that nothing marks as complete is so after a quiet period. */
static void wait_until_complete(struct world *w, const char *dir, uint32_t number)
{
    enum ckpt_status status = CKPT_STATUS_WRITING;
    for (int i = 0; i < 100 && status == CKPT_STATUS_WRITING; i++) {
        const struct ckpt_run *run = NULL;
        usleep(i == 0 ? 0 : 50000);
        flush(w);
        assert_ok(ckpt_runs_hold(w->runs, dir_of(w, dir), &run));
        assert_non_null(ckpt_run_number(run, number));
        status = ckpt_run_number(run, number)->status;
        ckpt_runs_release(w->runs);
    }
    assert_int_equal(status, CKPT_STATUS_COMPLETE);
}

static void assert_clean(struct world *w, uint64_t versions)
{
    struct ckpt_verify_result result;
    assert_ok(ckpt_verify(w->store, false, NULL, NULL, &result));
    assert_int_equal(result.problems, 0);
    assert_int_equal(result.versions, versions);
}

static uint64_t stored(struct world *w)
{
    struct ckpt_counters counters;
    assert_ok(ckpt_store_counters(w->store, &counters));
    return counters.stored;
}

/* ---- tests ---- */

static void the_last_two_stay_and_space_comes_back(void **state)
{
    struct world *w = *state;
    make_dir(w, "run");
    assert_ok(ckpt_engine_set_policy(w->engine, "run", "keep last 2\ngrace 0s\n"));
    for (unsigned epoch = 1; epoch <= 4; epoch++) {
        save(w, "run", epoch);
    }
    assert_false(has(w, "run", 1));
    assert_false(has(w, "run", 2));
    assert_true(has(w, "run", 3));
    assert_true(has(w, "run", 4));
    assert_kept(w, "run", 1, DROPPED);
    assert_kept(w, "run", 2, DROPPED);
    assert_kept(w, "run", 3, SHOWN);
    assert_kept(w, "run", 4, SHOWN);
    (void)rotate(w, "run");
    assert_true(stored(w) < 3 * SIZE);
    assert_true(stored(w) > 2 * SIZE - 2000);
    assert_clean(w, 2);
}

static void a_policy_applies_to_what_was_there_before(void **state)
{
    struct world *w = *state;
    save(w, "run", 1);
    save(w, "run", 2);
    save(w, "run", 3);
    uint64_t before = stored(w);
    assert_ok(ckpt_engine_set_policy(w->engine, "run", "keep last 1\n"));
    assert_kept(w, "run", 1, HIDDEN);
    assert_kept(w, "run", 2, HIDDEN);
    assert_kept(w, "run", 3, SHOWN);
    assert_false(has(w, "run", 1));
    assert_int_equal(stored(w), before); /* within the grace */
    assert_clean(w, 3);
    /* A changed rule brings back what it wants. */
    assert_ok(ckpt_engine_set_policy(w->engine, "run", "keep last 2\n"));
    assert_kept(w, "run", 1, HIDDEN);
    assert_kept(w, "run", 2, SHOWN);
    assert_true(has(w, "run", 2));
    assert_clean(w, 3);
}

static void the_best_stays(void **state)
{
    struct world *w = *state;
    const struct ckpt_run *run = NULL;
    make_dir(w, "run");
    assert_ok(ckpt_engine_set_policy(w->engine, "run", "metric val_loss min\nkeep best 1\ngrace 0s\n"));
    static const char *const names[] = {"run/net_epoch_1_valLoss_3.0.pt", "run/net_epoch_2_valLoss_1.0.pt",
                                        "run/net_epoch_3_valLoss_2.0.pt", "run/net_epoch_4_valLoss_4.0.pt"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        write_file(w, names[i]);
        flush(w);
    }
    assert_true(is_there(w, names[1]));
    assert_false(is_there(w, names[2]));
    assert_kept(w, "run", 1, DROPPED);
    assert_kept(w, "run", 2, SHOWN);
    assert_kept(w, "run", 3, DROPPED);
    assert_kept(w, "run", 4, SHOWN); /* the latest */
    assert_ok(ckpt_runs_hold(w->runs, dir_of(w, "run"), &run));
    assert_int_equal(run->best, 2);
    assert_string_equal(run->metric, "val_loss");
    ckpt_runs_release(w->runs);
    /* What a person says counts. */
    assert_ok(ckpt_engine_metric(w->engine, dir_of(w, "run"), 4, "val_loss", 0.5));
    assert_ok(ckpt_runs_hold(w->runs, dir_of(w, "run"), &run));
    assert_int_equal(run->best, 4);
    ckpt_runs_release(w->runs);
    assert_kept(w, "run", 2, DROPPED);
    assert_clean(w, 1);
}

static void a_rotated_one_can_be_had_back_and_stays(void **state)
{
    struct world *w = *state;
    make_dir(w, "run");
    assert_ok(ckpt_engine_set_policy(w->engine, "run", "keep last 1\n"));
    save(w, "run", 1);
    save(w, "run", 2);
    save(w, "run", 3);
    assert_kept(w, "run", 1, HIDDEN);
    assert_ok(ckpt_engine_undelete(w->engine, dir_of(w, "run"), 1));
    assert_kept(w, "run", 1, SHOWN);
    assert_true(has(w, "run", 1));
    (void)rotate(w, "run");
    assert_kept(w, "run", 1, SHOWN);
    /* Pinning does the same for one that is hidden; a tag too, and its loss lets it go. */
    assert_ok(ckpt_engine_pin(w->engine, dir_of(w, "run"), 2, true));
    assert_true(has(w, "run", 2));
    assert_ok(ckpt_engine_pin(w->engine, dir_of(w, "run"), 2, false));
    assert_false(has(w, "run", 2));
    assert_ok(ckpt_engine_tag(w->engine, dir_of(w, "run"), 2, "paper", true));
    assert_true(has(w, "run", 2));
    assert_ok(ckpt_engine_tag(w->engine, dir_of(w, "run"), 3, "paper", true));
    assert_false(has(w, "run", 2));
    assert_int_equal(ckpt_engine_tag(w->engine, dir_of(w, "run"), 2, "paper", false), CKPT_ERR_NOT_FOUND);
    assert_clean(w, 3);
}

static void undelete_takes_nobodys_name(void **state)
{
    struct world *w = *state;
    const struct ckpt_run *run = NULL;
    make_dir(w, "run");
    assert_ok(ckpt_engine_set_policy(w->engine, "run", "keep last 1\n"));
    save(w, "run", 1);
    save(w, "run", 2);
    save(w, "run", 1); /* once more, and other bytes */
    assert_kept(w, "run", 1, HIDDEN);
    assert_kept(w, "run", 3, SHOWN);
    assert_int_equal(ckpt_engine_undelete(w->engine, dir_of(w, "run"), 1), CKPT_ERR_EXISTS);
    assert_non_null(strstr(w->told, "another file"));
    assert_kept(w, "run", 1, HIDDEN);
    /* A policy that wants it back shows it, without the name. */
    assert_ok(ckpt_engine_set_policy(w->engine, "run", "keep last 3\n"));
    assert_kept(w, "run", 1, SHOWN);
    assert_kept(w, "run", 3, SHOWN);
    assert_ok(ckpt_runs_hold(w->runs, dir_of(w, "run"), &run));
    assert_int_equal(ckpt_run_number(run, 1)->left, CKPT_LEFT_OVERWRITTEN);
    assert_int_equal(ckpt_run_number(run, 3)->left, CKPT_LEFT_NOT);
    ckpt_runs_release(w->runs);
    assert_clean(w, 3);
}

static void what_was_dropped_is_not_to_be_had_back(void **state)
{
    struct world *w = *state;
    make_dir(w, "run");
    assert_ok(ckpt_engine_set_policy(w->engine, "run", "keep last 1\ngrace 0s\n"));
    save(w, "run", 1);
    save(w, "run", 2);
    assert_int_equal(ckpt_engine_undelete(w->engine, dir_of(w, "run"), 1), CKPT_ERR_NOT_FOUND);
    assert_int_equal(ckpt_engine_pin(w->engine, dir_of(w, "run"), 1, true), CKPT_ERR_NOT_FOUND);
    assert_int_equal(ckpt_engine_pin(w->engine, dir_of(w, "run"), 99, true), CKPT_ERR_NOT_FOUND);
    assert_clean(w, 1);
}

static void wrong_words_are_refused(void **state)
{
    struct world *w = *state;
    static const char *const tags[] = {"", ".x", "a b", "a/b", "\xc3\xa4"};
    save(w, "run", 1);
    for (size_t i = 0; i < sizeof tags / sizeof tags[0]; i++) {
        assert_int_equal(ckpt_engine_tag(w->engine, dir_of(w, "run"), 1, tags[i], true), CKPT_ERR_INVALID);
    }
    assert_int_equal(ckpt_engine_metric(w->engine, dir_of(w, "run"), 1, "", 1), CKPT_ERR_INVALID);
    assert_int_equal(ckpt_engine_set_policy(w->engine, "run", "keep last 1\nkeep lots\n"), CKPT_ERR_INVALID);
    assert_non_null(strstr(w->told, "line 2"));
    assert_int_equal(ckpt_engine_set_policy(w->engine, "nowhere", "keep last 1\n"), CKPT_ERR_NOT_FOUND);
    assert_int_equal(ckpt_engine_set_policy(w->engine, "run", NULL), CKPT_ERR_NOT_FOUND);
}

static void the_nearest_policy_counts(void **state)
{
    struct world *w = *state;
    make_dir(w, "a");
    save(w, "a/run", 1);
    save(w, "a/run", 2);
    save(w, "a/other", 1);
    save(w, "a/other", 2);
    assert_ok(ckpt_engine_set_policy(w->engine, "a/other", "keep last 5\n"));
    assert_ok(ckpt_engine_set_policy(w->engine, "a", "keep last 1\n"));
    assert_kept(w, "a/run", 1, HIDDEN);
    assert_kept(w, "a/other", 1, SHOWN);
    assert_ok(ckpt_engine_set_policy(w->engine, "a/other", NULL));
    assert_kept(w, "a/other", 1, HIDDEN);
    assert_ok(ckpt_engine_set_policy(w->engine, "a", NULL));
    assert_kept(w, "a/run", 1, SHOWN);
    assert_kept(w, "a/other", 1, SHOWN);
    assert_clean(w, 4);
}

/* Without rules what the trainer gave up must not go at once because its grace would have been over long ago. */
static void who_takes_a_policy_away_starts_a_new_grace(void **state)
{
    struct world *w = *state;
    make_dir(w, "run");
    assert_ok(ckpt_engine_set_policy(w->engine, "run", "keep last 9\n"));
    save(w, "run", 1);
    save(w, "run", 2);
    delete(w, "run", 1, 1, 30 * 86400);
    (void)rotate(w, "run");
    assert_kept(w, "run", 1, SHOWN);
    assert_ok(ckpt_engine_set_policy(w->engine, "run", NULL));
    assert_kept(w, "run", 1, SHOWN);
    assert_clean(w, 2);
}

static void beyond_the_quota_the_oldest_go(void **state)
{
    struct world *w = *state;
    make_dir(w, "run");
    assert_ok(ckpt_engine_set_policy(w->engine, "run", "keep last 9\nquota 500K\ngrace 0s\n"));
    save(w, "run", 1);
    save(w, "run", 2);
    save(w, "run", 3);
    assert_kept(w, "run", 1, DROPPED);
    assert_kept(w, "run", 2, SHOWN);
    assert_kept(w, "run", 3, SHOWN);
    assert_clean(w, 2);
}

static void without_a_policy_only_what_the_trainer_gave_up_goes(void **state)
{
    struct world *w = *state;
    save(w, "run", 1);
    save(w, "run", 2);
    save(w, "run", 3);
    delete(w, "run", 2, 2, 6 * 86400);
    delete(w, "run", 1, 1, 8 * 86400);
    struct ckpt_rotation rotation = rotate(w, "run");
    assert_int_equal(rotation.dropped, 1);
    assert_int_equal(rotation.hidden, 0);
    assert_kept(w, "run", 1, DROPPED);
    assert_kept(w, "run", 2, SHOWN);
    assert_kept(w, "run", 3, SHOWN);
    assert_true(has(w, "run", 3));
    assert_clean(w, 2);
}

/* Whoever is short of space loses what could have been had back, the oldest first, and nothing else. */
static void a_full_host_shortens_the_grace(void **state)
{
    struct world *w = *state;
    save(w, "run", 1);
    save(w, "run", 2);
    save(w, "run", 3);
    delete(w, "run", 1, 1, 60);
    (void)rotate(w, "run");
    assert_kept(w, "run", 1, SHOWN);
    stop(w);
    w->reserve = UINT64_MAX / 2;
    start(w);
    for (int i = 0; i < 200 && stored(w) > 2 * SIZE + 2000; i++) {
        usleep(100000);
    }
    assert_kept(w, "run", 1, DROPPED);
    assert_kept(w, "run", 2, SHOWN);
    assert_true(has(w, "run", 2));
    assert_clean(w, 2);
}

/* The row was committed, the names were not taken away: the next start does that. */
static void a_crash_between_row_and_name_is_made_good(void **state)
{
    struct world *w = *state;
    make_dir(w, "run");
    save(w, "run", 1);
    save(w, "run", 2);
    struct ckpt_txn *txn = NULL;
    uint64_t dir = dir_of(w, "run");
    assert_ok(ckpt_store_begin(w->store, &txn));
    assert_ok(ckpt_policy_put_in(txn, dir, "keep last 1\n", ckpt_realtime_ns()));
    assert_ok(ckpt_store_commit(w->store, txn));
    change_row(w, (struct change){.dir = dir, .number = 1, .hidden = true});
    assert_true(has(w, "run", 1));
    stop(w);
    start(w);
    flush(w); /* a file that is looked at anew isn't taken away meanwhile */
    (void)rotate(w, "run");
    assert_false(has(w, "run", 1));
    assert_kept(w, "run", 1, HIDDEN);
    assert_true(has(w, "run", 2));
    assert_clean(w, 2);
}

static void files_of_one_go_together_or_not_at_all(void **state)
{
    static const char *const names[][2] = {
        {"run/net_epoch_1.pt", "run/weights_epoch_1.pt"},
        {"run/pytorch_model-00001-of-00002.bin", "run/pytorch_model-00002-of-00002.bin"},
        {"run/epoch_1/model.pt", "run/epoch_1/sub/optimizer.pt"},
    };
    struct world *w = *state;
    make_dir(w, "run");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct stat st;
        uint32_t number = (uint32_t)(2 * i + 1);
        make_dir(w, "run/epoch_1");
        make_dir(w, "run/epoch_1/sub");
        assert_ok(ckpt_engine_set_policy(w->engine, "run", "keep last 99\n"));
        write_file(w, names[i][0]);
        write_file(w, names[i][1]);
        flush(w);
        wait_until_complete(w, "run", number);
        save(w, "run", 100 + (unsigned)i);
        assert_kept(w, "run", number, SHOWN);
        assert_int_equal(fstatat(ckpt_store_livefd(w->store), names[i][1], &st, 0), 0);
        w->open_ino = st.st_ino;
        assert_ok(ckpt_engine_set_policy(w->engine, "run", "keep last 1\ngrace 0s\n"));
        struct ckpt_rotation rotation = rotate(w, "run");
        assert_int_equal(rotation.held, 1);
        assert_int_equal(rotation.hidden + rotation.dropped, 0);
        assert_true(is_there(w, names[i][0]));
        assert_true(is_there(w, names[i][1]));
        assert_kept(w, "run", number, SHOWN);
        assert_clean(w, 3);
        w->open_ino = 0;
        rotation = rotate(w, "run");
        assert_int_equal(rotation.dropped, 1);
        assert_false(is_there(w, names[i][0]));
        assert_false(is_there(w, names[i][1]));
        assert_kept(w, "run", number, DROPPED);
        assert_clean(w, 1);
    }
}

static void a_directory_goes_as_a_whole_and_comes_back(void **state)
{
    struct world *w = *state;
    make_dir(w, "run");
    save_dir(w, "run/checkpoint-1", true);
    save_dir(w, "run/checkpoint-2", true);
    assert_ok(ckpt_engine_set_policy(w->engine, "run", "keep last 1\n"));
    assert_false(is_there(w, "run/checkpoint-1"));
    assert_true(is_there(w, "run/checkpoint-2/trainer_state.json"));
    assert_ok(ckpt_engine_undelete(w->engine, dir_of(w, "run"), 1));
    assert_true(is_there(w, "run/checkpoint-1/pytorch_model.bin"));
    assert_true(is_there(w, "run/checkpoint-1/optimizer.pt"));
    assert_true(is_there(w, "run/checkpoint-1/trainer_state.json"));
    assert_kept(w, "run", 1, SHOWN);
    assert_clean(w, 8);
}

/* last.pt is what epoch 1 is: as long as it is there, so is the checkpoint. */
static void a_live_alias_keeps(void **state)
{
    struct world *w = *state;
    uint8_t *bytes = unit_noise(SIZE, 17);
    make_dir(w, "run");
    assert_ok(ckpt_engine_set_policy(w->engine, "run", "keep last 1\ngrace 0s\n"));
    put(w, "run/net_epoch_1.pt", bytes, SIZE, 0);
    put(w, "run/last.pt", bytes, SIZE, 0);
    flush(w);
    free(bytes);
    save(w, "run", 2);
    assert_kept(w, "run", 1, SHOWN);
    assert_true(has(w, "run", 1));
    assert_true(is_there(w, "run/last.pt"));
    assert_clean(w, 3);
    write_file(w, "run/last.pt");
    flush(w);
    assert_kept(w, "run", 1, DROPPED);
    assert_false(has(w, "run", 1));
    assert_true(is_there(w, "run/last.pt"));
}

/* A cold file consists of a version; whatever rows say, that one stays. */
static void the_bytes_of_a_cold_file_stay(void **state)
{
    struct world *w = *state;
    save(w, "run", 1);
    save(w, "run", 2);
    assert_ok(ckpt_engine_demote(w->engine, "run/net_epoch_1.pt"));
    /* Somebody says it is gone, and it isn't. */
    change_row(w, (struct change){.dir = dir_of(w, "run"), .number = 1, .gone = true});
    struct ckpt_rotation rotation = rotate(w, "run");
    assert_int_equal(rotation.dropped, 1);
    assert_true(has(w, "run", 1));
    assert_clean(w, 2);
}

static bool has_version(struct world *w, const char *path, uint32_t number)
{
    char name[NAME_MAX + 1];
    uint64_t dir = 0;
    struct ckpt_version version;
    assert_ok(ckpt_catalog_resolve(w->store, path, &dir, name));
    return ckpt_catalog_version(w->store, dir, name, number, &version) == CKPT_OK;
}

/* A directory is saved again, but for one file: that one's version is both checkpoints', and stays until both are gone. */
static void what_another_checkpoint_needs_stays(void **state)
{
    struct world *w = *state;
    make_dir(w, "run");
    save_dir(w, "run/checkpoint-1", true);
    save_dir(w, "run/checkpoint-1", false);
    assert_kept(w, "run", 2, SHOWN);
    assert_ok(ckpt_engine_set_policy(w->engine, "run", "keep last 1\ngrace 0s\n"));
    assert_kept(w, "run", 1, DROPPED);
    assert_true(is_there(w, "run/checkpoint-1/pytorch_model.bin"));
    assert_true(is_there(w, "run/checkpoint-1/optimizer.pt"));
    assert_false(has_version(w, "run/checkpoint-1/pytorch_model.bin", 1));
    assert_true(has_version(w, "run/checkpoint-1/pytorch_model.bin", 2));
    assert_true(has_version(w, "run/checkpoint-1/optimizer.pt", 1));
    save(w, "run", 5);
    assert_kept(w, "run", 2, DROPPED);
    assert_false(has_version(w, "run/checkpoint-1/optimizer.pt", 1));
    assert_clean(w, 1);
}

static void a_policy_limits_its_hot_files(void **state)
{
    struct world *w = *state;
    struct stat st;
    int live = ckpt_store_livefd(w->store);
    save(w, "run", 1);
    save(w, "run", 2);
    save(w, "run", 3);
    save(w, "other", 1);
    assert_ok(ckpt_engine_set_policy(w->engine, "run", "hot 300K\n"));
    for (int i = 0; i < 100; i++) {
        assert_int_equal(fstatat(live, "run/net_epoch_2.pt", &st, 0), 0);
        if (st.st_blocks == 0) {
            break;
        }
        usleep(50000);
    }
    assert_int_equal(st.st_blocks, 0);
    assert_int_equal(fstatat(live, "run/net_epoch_1.pt", &st, 0), 0);
    assert_int_equal(st.st_blocks, 0);
    assert_int_equal(fstatat(live, "run/net_epoch_3.pt", &st, 0), 0);
    assert_true(st.st_blocks > 0);
    assert_int_equal(fstatat(live, "other/net_epoch_1.pt", &st, 0), 0);
    assert_true(st.st_blocks > 0);
    flush(w);
    assert_clean(w, 4);
}

static bool is_finished(struct world *w, const char *dir)
{
    const struct ckpt_run *run = NULL;
    assert_ok(ckpt_runs_hold(w->runs, dir_of(w, dir), &run));
    bool finished = run->finished;
    ckpt_runs_release(w->runs);
    return finished;
}

static bool becomes_finished(struct world *w, const char *dir, int tenths)
{
    for (int i = 0; i < tenths && !is_finished(w, dir); i++) {
        usleep(100000);
    }
    return is_finished(w, dir);
}

static void set_final(struct world *w, unsigned ms)
{
    stop(w);
    w->final_ms = ms;
    start(w);
}

static void a_run_is_over_when_nothing_comes(void **state)
{
    struct world *w = *state;
    set_final(w, 1000);
    save(w, "run", 1);
    assert_false(is_finished(w, "run"));
    assert_true(becomes_finished(w, "run", 50));
    assert_ok(ckpt_engine_finish(w->engine, dir_of(w, "run"), false));
    assert_false(is_finished(w, "run"));
    assert_ok(ckpt_engine_finish(w->engine, dir_of(w, "run"), true));
    assert_true(is_finished(w, "run"));
    save(w, "run", 2); /* and goes on */
    assert_false(is_finished(w, "run"));
    assert_int_equal(ckpt_engine_finish(w->engine, 12345, true), CKPT_ERR_NOT_FOUND);
}

/* Somebody who trains: a program that does nothing until it is killed. */
static pid_t start_trainer(void)
{
    int started[2];
    char byte = 0;
    assert_int_equal(pipe2(started, O_CLOEXEC), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)execlp("sleep", "sleep", "1000", (char *)NULL);
        _exit(1);
    }
    close(started[1]);
    assert_int_equal(read(started[0], &byte, 1), 0); /* by then it doesn't hold what this process has open */
    close(started[0]);
    return child;
}

static void kill_trainer(pid_t child)
{
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

static void save_by(struct world *w, pid_t trainer, const char *path)
{
    uint8_t *bytes = unit_noise(SIZE, unit_random(&w->seed));
    put(w, path, bytes, SIZE, trainer);
    free(bytes);
    flush(w);
}

static void a_run_is_not_over_while_its_writer_lives(void **state)
{
    struct world *w = *state;
    set_final(w, 500);
    make_dir(w, "run");
    pid_t trainer = start_trainer();
    save_by(w, trainer, "run/net_epoch_1.pt");
    assert_false(becomes_finished(w, "run", 15));
    /* Nor after a restart: the store knows who it was. */
    set_final(w, 500);
    assert_false(becomes_finished(w, "run", 10));
    kill_trainer(trainer);
    assert_true(becomes_finished(w, "run", 50));
}

static void a_run_is_not_over_while_its_last_checkpoint_is_incomplete(void **state)
{
    struct world *w = *state;
    set_final(w, 300);
    make_dir(w, "run");
    make_dir(w, "run/checkpoint-1");
    write_file(w, "run/checkpoint-1/pytorch_model.bin");
    flush(w);
    assert_false(becomes_finished(w, "run", 10)); /* it can only be completed by its trainer_state.json */
    put(w, "run/checkpoint-1/trainer_state.json", "{}", 2, 0);
    flush(w);
    assert_true(becomes_finished(w, "run", 50));
}

/* What a training that runs was started from stays, even if it doesn't write for long; afterwards it goes. */
static void what_a_running_training_was_started_from_stays(void **state)
{
    struct world *w = *state;
    pid_t trainer = start_trainer();
    save(w, "old", 1);
    save(w, "old", 2);
    make_dir(w, "new");
    int fd = openat(ckpt_store_livefd(w->store), "old/net_epoch_1.pt", O_RDONLY);
    ckpt_engine_reads(w->engine, trainer, fd);
    close(fd);
    save_by(w, trainer, "new/net_epoch_1.pt");
    assert_ok(ckpt_engine_set_policy(w->engine, "old", "keep last 1\ngrace 0s\n"));
    (void)rotate(w, "old");
    assert_kept(w, "old", 1, SHOWN);
    assert_true(has(w, "old", 1));
    kill_trainer(trainer);
    (void)rotate(w, "old");
    assert_kept(w, "old", 1, DROPPED);
    assert_false(has(w, "old", 1));
    assert_clean(w, 2);
}

/* A run that can't be read is told of, and keeps nobody waiting. */
static void a_damaged_run_keeps_no_flush_waiting(void **state)
{
    struct world *w = *state;
    struct ckpt_txn *txn = NULL;
    static const uint8_t key[8] = {1};
    save(w, "run", 1);
    stop(w);
    assert_ok(ckpt_store_open(w->store_dir, CKPT_WRITE, "a test", NULL, &w->store));
    assert_ok(ckpt_store_begin(w->store, &txn));
    assert_ok(ckpt_db_put(txn, CKPT_TABLE_RUNS, key, sizeof key, "?", 1));
    assert_ok(ckpt_store_commit(w->store, txn));
    ckpt_store_close(w->store);
    start(w);
    alarm(20);
    save(w, "run", 2);
    alarm(0);
    assert_true(has(w, "run", 1));
    assert_true(has(w, "run", 2));
    stop(w);
    assert_ok(ckpt_store_open(w->store_dir, CKPT_WRITE, "a test", NULL, &w->store));
    assert_ok(ckpt_store_begin(w->store, &txn));
    assert_ok(ckpt_db_del(txn, CKPT_TABLE_RUNS, key, sizeof key));
    assert_ok(ckpt_store_commit(w->store, txn));
    ckpt_store_close(w->store);
    start(w);
    assert_clean(w, 2);
}

/* What a checkpoint consists of is forgotten: the picture that judges it knows at once. */
static void what_was_forgotten_is_judged_again(void **state)
{
    struct world *w = *state;
    const uint32_t first = 1;
    make_dir(w, "run");
    assert_ok(ckpt_engine_set_policy(w->engine, "run", "keep last 2\ngrace 0s\n"));
    save(w, "run", 1);
    save(w, "run", 2);
    assert_ok(ckpt_engine_forget(w->engine, "run/net_epoch_2.pt", &first, 1));
    flush(w);
    assert_kept(w, "run", 2, DROPPED);
    save(w, "run", 3);
    assert_kept(w, "run", 1, SHOWN);
    assert_kept(w, "run", 3, SHOWN);
    save(w, "run", 4);
    assert_kept(w, "run", 1, DROPPED);
    assert_false(has(w, "run", 1));
    assert_clean(w, 2);
}

/* Its directory was removed, so nothing of it is wanted any more: after the grace it goes, the latest one too. */
static void a_removed_run_goes_after_its_grace(void **state)
{
    struct world *w = *state;
    save(w, "run", 1);
    delete(w, "run", 1, 1, 8 * 86400);
    (void)rotate(w, "run");
    assert_kept(w, "run", 1, SHOWN);
    assert_int_equal(unlinkat(ckpt_store_livefd(w->store), "run", AT_REMOVEDIR), 0);
    (void)rotate(w, "run");
    assert_kept(w, "run", 1, SHOWN); /* it may just be moved */
    usleep(1100000);
    (void)rotate(w, "run");
    assert_kept(w, "run", 1, DROPPED);
    assert_clean(w, 0);
}

/* ---- versions of no checkpoint ---- */

struct orphans_call {
    struct ckpt_command command;
    uint64_t dir;
    bool fresh;
    bool more;
};

/* FRESH: whoever makes checkpoints hasn't looked at the first version yet. */
static enum ckpt_err run_orphans(struct ckpt_engine *engine, struct ckpt_command *command)
{
    struct orphans_call *call = (struct orphans_call *)command;
    struct ckpt_version version;
    struct ckpt_txn *txn = NULL;
    if (call->fresh) {
        struct ckpt_fresh row = {.dir = call->dir, .number = 1, .name = "log.csv"};
        assert_ok(ckpt_catalog_version(engine->store, call->dir, row.name, 1, &version));
        row.sequence = version.sequence;
        assert_ok(ckpt_store_begin(engine->store, &txn));
        assert_ok(ckpt_fresh_put_in(txn, &row));
        assert_ok(ckpt_store_commit(engine->store, txn));
    }
    return ckpt_retain_orphans(engine, &call->more);
}

/* Captured so many days earlier. */
static void age(struct world *w, const char *run, const char *name, int64_t days)
{
    struct ckpt_txn *txn = NULL;
    assert_ok(ckpt_store_begin(w->store, &txn));
    struct ckpt_version version;
    uint8_t key[300] = {0};
    struct ckpt_slice value;
    uint8_t copy[96];
    uint64_t dir = dir_of(w, run);
    size_t n = strlen(name);
    for (uint32_t number = 1; ckpt_catalog_version_in(txn, dir, name, number, &version) == CKPT_OK; number++) {
        for (int i = 0; i < 8; i++) {
            key[i] = (uint8_t)(dir >> (56 - 8 * i));
        }
        memcpy(key + 8, name, n);
        key[8 + n + 4] = (uint8_t)number;
        assert_ok(ckpt_db_get(txn, CKPT_TABLE_VERSIONS, key, n + 13, &value));
        assert_int_equal(value.size, sizeof copy);
        memcpy(copy, value.data, sizeof copy);
        int64_t captured = version.captured_ns - days * 86400 * second_ns;
        memcpy(copy + 64, &captured, sizeof captured);
        assert_ok(ckpt_db_put(txn, CKPT_TABLE_VERSIONS, key, n + 13, copy, sizeof copy));
    }
    assert_ok(ckpt_store_commit(w->store, txn));
}

static void versions_of_no_checkpoint_go_some_day(void **state)
{
    static const struct {
        int64_t days;
        bool fresh;
        uint64_t left; /* of four versions of a log that is kept, and the same of a checkpoint */
    } cases[] = {
        {6, false, 8},
        {8, true, 8},
        {8, false, 5},
    };
    struct world *w = *state;
    const char *bad = NULL;
    stop(w);
    ckpt_filter_free(w->filter);
    assert_ok(ckpt_filter_parse("*.csv:*.pt", &w->filter, &bad));
    start(w);
    make_dir(w, "run");
    for (size_t i = 0; i < 4; i++) {
        write_file(w, "run/log.csv");
        write_file(w, "run/last.pt");
        flush(w);
    }
    int64_t aged = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct orphans_call call = {.command.run = run_orphans, .dir = dir_of(w, "run"), .fresh = cases[i].fresh};
        age(w, "run", "log.csv", cases[i].days - aged);
        age(w, "run", "last.pt", cases[i].days - aged);
        aged = cases[i].days;
        assert_ok(ckpt_command_submit(w->engine, &call.command));
        assert_false(call.more);
        flush(w);
        assert_clean(w, cases[i].left);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        TEST(the_last_two_stay_and_space_comes_back),
        TEST(a_policy_applies_to_what_was_there_before),
        TEST(the_best_stays),
        TEST(a_rotated_one_can_be_had_back_and_stays),
        TEST(undelete_takes_nobodys_name),
        TEST(what_was_dropped_is_not_to_be_had_back),
        TEST(wrong_words_are_refused),
        TEST(the_nearest_policy_counts),
        TEST(who_takes_a_policy_away_starts_a_new_grace),
        TEST(beyond_the_quota_the_oldest_go),
        TEST(without_a_policy_only_what_the_trainer_gave_up_goes),
        TEST(a_full_host_shortens_the_grace),
        TEST(a_crash_between_row_and_name_is_made_good),
        TEST(files_of_one_go_together_or_not_at_all),
        TEST(a_directory_goes_as_a_whole_and_comes_back),
        TEST(a_live_alias_keeps),
        TEST(the_bytes_of_a_cold_file_stay),
        TEST(what_another_checkpoint_needs_stays),
        TEST(a_policy_limits_its_hot_files),
        TEST(a_run_is_over_when_nothing_comes),
        TEST(a_run_is_not_over_while_its_writer_lives),
        TEST(a_run_is_not_over_while_its_last_checkpoint_is_incomplete),
        TEST(what_a_running_training_was_started_from_stays),
        TEST(a_damaged_run_keeps_no_flush_waiting),
        TEST(what_was_forgotten_is_judged_again),
        TEST(a_removed_run_goes_after_its_grace),
        TEST(versions_of_no_checkpoint_go_some_day),
#undef TEST
    };
    cmocka_set_test_filter(getenv("FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
