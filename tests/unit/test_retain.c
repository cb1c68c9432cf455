/*
 * Retention with a real store and engine: what a policy says becomes of live files, rows and space.
 *
 * Files are captured by the engine; their checkpoints' rows are made here, through the keeper, as the publisher would.
 */
#include "unit.h"

#include "catalog_txn.h"
#include "engine_parts.h"
#include "retain.h"
#include "run_rows.h"
#include <ckpt/verify.h>
#include <fcntl.h>
#include <sys/stat.h>

enum { SIZE = 200000, MEMBERS = 3 };

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

static void write_file(struct world *w, const char *path)
{
    int live = ckpt_store_livefd(w->store);
    uint8_t *bytes = malloc(SIZE);
    for (size_t i = 0; i + 8 <= SIZE; i += 8) {
        uint64_t x = unit_random(&w->seed);
        memcpy(bytes + i, &x, 8);
    }
    int fd = openat(live, "new.tmp", O_RDWR | O_CREAT | O_EXCL, 0644);
    assert_int_equal(write(fd, bytes, SIZE), SIZE);
    close(fd);
    free(bytes);
    assert_int_equal(renameat(live, "new.tmp", live, path), 0);
    fd = openat(live, path, O_PATH);
    assert_ok(ckpt_engine_capture(w->engine, fd));
    close(fd);
}

static void make_dir(struct world *w, const char *path)
{
    (void)mkdirat(ckpt_store_livefd(w->store), path, 0755);
}

static bool is_there(struct world *w, const char *path)
{
    return faccessat(ckpt_store_livefd(w->store), path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* ---- rows; on the engine's thread ---- */

struct publish {
    struct ckpt_command command;
    const char *run;                   /* path of its directory */
    const char *members[MEMBERS + 1];  /* paths relative to it */
    bool alias[MEMBERS];
    bool directory;
    double val_loss; /* 0: none */
    int64_t saved_ns; /* 0: now */
    uint32_t number; /* what comes of it */
    uint64_t dir;
};

static void fill_member(struct ckpt_engine *engine, const struct publish *p, size_t i, struct ckpt_checkpoint *c)
{
    char path[512];
    char name[NAME_MAX + 1];
    struct ckpt_version version;
    uint64_t dir = 0;
    snprintf(path, sizeof path, "%s/%s", p->run, p->members[i]);
    assert_ok(ckpt_catalog_resolve(engine->store, path, &dir, name));
    assert_ok(ckpt_catalog_version(engine->store, dir, name, 0, &version));
    struct ckpt_member *m = ckpt_checkpoint_add_member(c);
    assert_non_null(m);
    m->dir = dir;
    m->number = version.number;
    m->sequence = version.sequence;
    m->size = version.size;
    m->added = version.added;
    m->recipe = version.recipe;
    m->alias = p->alias[i];
    m->directory = p->directory;
    m->root = (uint16_t)strcspn(p->members[i], "/");
    assert_ok(ckpt_text_set(&m->name, name));
    assert_ok(ckpt_text_set(&m->path, p->members[i]));
    c->sequence = c->sequence == 0 ? version.sequence : c->sequence;
}

static enum ckpt_err run_publish(struct ckpt_engine *engine, struct ckpt_command *command)
{
    struct publish *p = (struct publish *)command;
    struct ckpt_run *run = NULL;
    char path[512];
    char name[NAME_MAX + 1];
    bool changed = false;
    assert_ok(ckpt_dir_rows_save(engine));
    snprintf(path, sizeof path, "%s/x", p->run);
    assert_ok(ckpt_catalog_resolve(engine->store, path, &p->dir, name));
    assert_ok(ckpt_keeper_run(engine->keeper, p->dir, true, &run));
    struct ckpt_checkpoint *c = ckpt_keeper_begin(engine->keeper, run);
    assert_non_null(c);
    for (size_t i = 0; i < MEMBERS && p->members[i] != NULL; i++) {
        fill_member(engine, p, i, c);
    }
    c->status = CKPT_STATUS_COMPLETE;
    c->saved_ns = p->saved_ns != 0 ? p->saved_ns : ckpt_realtime_ns();
    assert_ok(ckpt_text_set(&c->root, p->members[0]));
    assert_ok(ckpt_text_set(&c->group, p->members[0]));
    if (p->val_loss != 0) {
        struct ckpt_value value = {.name = (char *)"val_loss", .value = p->val_loss, .from = CKPT_FROM_METRICS};
        assert_ok(ckpt_checkpoint_set_value(c, &value, &changed));
    }
    run->written_ns = ckpt_realtime_ns();
    p->number = c->number;
    ckpt_keeper_touch(engine->keeper, run, c);
    assert_ok(ckpt_keeper_commit(engine->keeper));
    ckpt_retain_due(engine, p->dir);
    return CKPT_OK;
}

/* Writes the files, waits until they are versions, makes a checkpoint of them, and waits until that is judged. */
static uint32_t publish(struct world *w, struct publish p)
{
    char path[512];
    make_dir(w, p.run);
    for (size_t i = 0; i < MEMBERS && p.members[i] != NULL; i++) {
        snprintf(path, sizeof path, "%s/%s", p.run, p.members[i]);
        write_file(w, path);
    }
    flush(w);
    p.command.run = run_publish;
    assert_ok(ckpt_command_submit(w->engine, &p.command));
    flush(w);
    return p.number;
}

static void save(struct world *w, const char *run, const char *name, double val_loss)
{
    (void)publish(w, (struct publish){.run = run, .members = {name}, .val_loss = val_loss});
}

/* Changes a checkpoint's row as the publisher would. */
struct change {
    struct ckpt_command command;
    uint64_t dir;
    uint32_t number;
    bool gone;
    enum ckpt_left left;
    int64_t left_ns;
    bool hidden;
};

static enum ckpt_err run_change(struct ckpt_engine *engine, struct ckpt_command *command)
{
    struct change *change = (struct change *)command;
    struct ckpt_run *run = NULL;
    assert_ok(ckpt_keeper_run(engine->keeper, change->dir, false, &run));
    struct ckpt_checkpoint *c = ckpt_keeper_checkpoint(run, change->number);
    assert_non_null(c);
    for (size_t i = 0; i < c->n_members; i++) {
        c->members[i].gone = change->gone;
    }
    c->left = change->left;
    c->left_ns = change->left_ns;
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

/* The trainer has deleted it, so many seconds ago. */
static void delete(struct world *w, const char *run, uint32_t number, const char *path, int64_t seconds)
{
    assert_int_equal(unlinkat(ckpt_store_livefd(w->store), path, 0), 0);
    change_row(w, (struct change){.dir = dir_of(w, run),
                                  .number = number,
                                  .gone = true,
                                  .left = CKPT_LEFT_DELETED,
                                  .left_ns = ckpt_realtime_ns() - seconds * second_ns});
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
    const char *names[] = {"e1.pt", "e2.pt", "e3.pt", "e4.pt"};
    make_dir(w, "run");
    assert_ok(ckpt_engine_set_policy(w->engine, "run", "keep last 2\ngrace 0s\n"));
    for (size_t i = 0; i < 4; i++) {
        save(w, "run", names[i], 0);
    }
    assert_false(is_there(w, "run/e1.pt"));
    assert_false(is_there(w, "run/e2.pt"));
    assert_true(is_there(w, "run/e3.pt"));
    assert_true(is_there(w, "run/e4.pt"));
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
    save(w, "run", "e1.pt", 0);
    save(w, "run", "e2.pt", 0);
    save(w, "run", "e3.pt", 0);
    uint64_t before = stored(w);
    assert_ok(ckpt_engine_set_policy(w->engine, "run", "keep last 1\n"));
    assert_kept(w, "run", 1, HIDDEN);
    assert_kept(w, "run", 2, HIDDEN);
    assert_kept(w, "run", 3, SHOWN);
    assert_false(is_there(w, "run/e1.pt"));
    assert_int_equal(stored(w), before); /* within the grace */
    assert_clean(w, 3);
    /* A changed rule brings back what it wants. */
    assert_ok(ckpt_engine_set_policy(w->engine, "run", "keep last 2\n"));
    assert_kept(w, "run", 1, HIDDEN);
    assert_kept(w, "run", 2, SHOWN);
    assert_true(is_there(w, "run/e2.pt"));
    assert_clean(w, 3);
}

static void the_best_stays(void **state)
{
    struct world *w = *state;
    const struct ckpt_run *run = NULL;
    make_dir(w, "run");
    assert_ok(ckpt_engine_set_policy(w->engine, "run", "metric val_loss min\nkeep best 1\ngrace 0s\n"));
    save(w, "run", "e1.pt", 3.0);
    save(w, "run", "e2.pt", 1.0);
    save(w, "run", "e3.pt", 2.0);
    save(w, "run", "e4.pt", 4.0);
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
    save(w, "run", "e1.pt", 0);
    save(w, "run", "e2.pt", 0);
    save(w, "run", "e3.pt", 0);
    assert_kept(w, "run", 1, HIDDEN);
    assert_ok(ckpt_engine_undelete(w->engine, dir_of(w, "run"), 1));
    assert_kept(w, "run", 1, SHOWN);
    assert_true(is_there(w, "run/e1.pt"));
    (void)rotate(w, "run");
    assert_kept(w, "run", 1, SHOWN);
    /* Pinning does the same for one that is hidden; a tag too, and its loss lets it go. */
    assert_ok(ckpt_engine_pin(w->engine, dir_of(w, "run"), 2, true));
    assert_true(is_there(w, "run/e2.pt"));
    assert_ok(ckpt_engine_pin(w->engine, dir_of(w, "run"), 2, false));
    assert_false(is_there(w, "run/e2.pt"));
    assert_ok(ckpt_engine_tag(w->engine, dir_of(w, "run"), 2, "paper", true));
    assert_true(is_there(w, "run/e2.pt"));
    assert_ok(ckpt_engine_tag(w->engine, dir_of(w, "run"), 3, "paper", true));
    assert_false(is_there(w, "run/e2.pt"));
    assert_int_equal(ckpt_engine_tag(w->engine, dir_of(w, "run"), 2, "paper", false), CKPT_ERR_NOT_FOUND);
    assert_clean(w, 3);
}

static void undelete_takes_nobodys_name(void **state)
{
    struct world *w = *state;
    make_dir(w, "run");
    assert_ok(ckpt_engine_set_policy(w->engine, "run", "keep last 1\n"));
    save(w, "run", "e1.pt", 0);
    save(w, "run", "e2.pt", 0);
    write_file(w, "run/e1.pt");
    flush(w);
    assert_int_equal(ckpt_engine_undelete(w->engine, dir_of(w, "run"), 1), CKPT_ERR_EXISTS);
    assert_non_null(strstr(w->told, "another file"));
    assert_kept(w, "run", 1, HIDDEN);
    /* A policy that wants it back shows it, without the name. */
    assert_ok(ckpt_engine_set_policy(w->engine, "run", "keep last 2\n"));
    assert_kept(w, "run", 1, SHOWN);
    assert_clean(w, 3);
}

static void what_was_dropped_is_not_to_be_had_back(void **state)
{
    struct world *w = *state;
    make_dir(w, "run");
    assert_ok(ckpt_engine_set_policy(w->engine, "run", "keep last 1\ngrace 0s\n"));
    save(w, "run", "e1.pt", 0);
    save(w, "run", "e2.pt", 0);
    assert_int_equal(ckpt_engine_undelete(w->engine, dir_of(w, "run"), 1), CKPT_ERR_NOT_FOUND);
    assert_int_equal(ckpt_engine_pin(w->engine, dir_of(w, "run"), 1, true), CKPT_ERR_NOT_FOUND);
    assert_int_equal(ckpt_engine_pin(w->engine, dir_of(w, "run"), 99, true), CKPT_ERR_NOT_FOUND);
    assert_clean(w, 1);
}

static void wrong_words_are_refused(void **state)
{
    struct world *w = *state;
    static const char *const tags[] = {"", ".x", "a b", "a/b", "\xc3\xa4"};
    save(w, "run", "e1.pt", 0);
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
    save(w, "a/run", "e1.pt", 0);
    save(w, "a/run", "e2.pt", 0);
    save(w, "a/other", "e1.pt", 0);
    save(w, "a/other", "e2.pt", 0);
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
    save(w, "run", "e1.pt", 0);
    save(w, "run", "e2.pt", 0);
    delete(w, "run", 1, "run/e1.pt", 30 * 86400);
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
    save(w, "run", "e1.pt", 0);
    save(w, "run", "e2.pt", 0);
    save(w, "run", "e3.pt", 0);
    assert_kept(w, "run", 1, DROPPED);
    assert_kept(w, "run", 2, SHOWN);
    assert_kept(w, "run", 3, SHOWN);
    assert_clean(w, 2);
}

static void without_a_policy_only_what_the_trainer_gave_up_goes(void **state)
{
    struct world *w = *state;
    save(w, "run", "e1.pt", 0);
    save(w, "run", "e2.pt", 0);
    save(w, "run", "e3.pt", 0);
    delete(w, "run", 1, "run/e1.pt", 8 * 86400);
    delete(w, "run", 2, "run/e2.pt", 6 * 86400);
    struct ckpt_rotation rotation = rotate(w, "run");
    assert_int_equal(rotation.dropped, 1);
    assert_int_equal(rotation.hidden, 0);
    assert_kept(w, "run", 1, DROPPED);
    assert_kept(w, "run", 2, SHOWN);
    assert_kept(w, "run", 3, SHOWN);
    assert_true(is_there(w, "run/e3.pt"));
    assert_clean(w, 2);
}

/* Whoever is short of space loses what could have been had back, the oldest first, and nothing else. */
static void a_full_host_shortens_the_grace(void **state)
{
    struct world *w = *state;
    save(w, "run", "e1.pt", 0);
    save(w, "run", "e2.pt", 0);
    save(w, "run", "e3.pt", 0);
    delete(w, "run", 1, "run/e1.pt", 60);
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
    assert_true(is_there(w, "run/e2.pt"));
    assert_clean(w, 2);
}

/* The row was committed, the names were not taken away: the next start does that. */
static void a_crash_between_row_and_name_is_made_good(void **state)
{
    struct world *w = *state;
    make_dir(w, "run");
    save(w, "run", "e1.pt", 0);
    save(w, "run", "e2.pt", 0);
    struct ckpt_txn *txn = NULL;
    uint64_t dir = dir_of(w, "run");
    assert_ok(ckpt_store_begin(w->store, &txn));
    assert_ok(ckpt_policy_put_in(txn, dir, "keep last 1\n", ckpt_realtime_ns()));
    assert_ok(ckpt_store_commit(w->store, txn));
    change_row(w, (struct change){.dir = dir, .number = 1, .hidden = true});
    assert_true(is_there(w, "run/e1.pt"));
    stop(w);
    start(w);
    flush(w); /* a file that is looked at anew isn't taken away meanwhile */
    (void)rotate(w, "run");
    assert_false(is_there(w, "run/e1.pt"));
    assert_kept(w, "run", 1, HIDDEN);
    assert_true(is_there(w, "run/e2.pt"));
    assert_clean(w, 2);
}

static void shards_go_together_or_not_at_all(void **state)
{
    struct world *w = *state;
    struct stat st;
    (void)publish(w, (struct publish){.run = "run", .members = {"1-of-2.bin", "2-of-2.bin"}});
    save(w, "run", "next.pt", 0);
    assert_int_equal(fstatat(ckpt_store_livefd(w->store), "run/2-of-2.bin", &st, 0), 0);
    w->open_ino = st.st_ino;
    assert_ok(ckpt_engine_set_policy(w->engine, "run", "keep last 1\ngrace 0s\n"));
    struct ckpt_rotation rotation = rotate(w, "run");
    assert_int_equal(rotation.held, 1);
    assert_int_equal(rotation.hidden + rotation.dropped, 0);
    assert_true(is_there(w, "run/1-of-2.bin"));
    assert_true(is_there(w, "run/2-of-2.bin"));
    assert_kept(w, "run", 1, SHOWN);
    assert_clean(w, 3);
    w->open_ino = 0;
    rotation = rotate(w, "run");
    assert_int_equal(rotation.dropped, 1);
    assert_false(is_there(w, "run/1-of-2.bin"));
    assert_false(is_there(w, "run/2-of-2.bin"));
    assert_clean(w, 1);
}

static void a_directory_goes_as_a_whole_and_comes_back(void **state)
{
    struct world *w = *state;
    make_dir(w, "run");
    make_dir(w, "run/step-1");
    (void)publish(w, (struct publish){
                         .run = "run", .members = {"step-1/model.pt", "step-1/optim.pt"}, .directory = true});
    save(w, "run", "next.pt", 0);
    assert_ok(ckpt_engine_set_policy(w->engine, "run", "keep last 1\n"));
    assert_false(is_there(w, "run/step-1"));
    assert_ok(ckpt_engine_undelete(w->engine, dir_of(w, "run"), 1));
    assert_true(is_there(w, "run/step-1/model.pt"));
    assert_true(is_there(w, "run/step-1/optim.pt"));
    assert_clean(w, 3);
}

/* last.pt is what e1.pt is: as long as it is there, so is the checkpoint. */
static void a_live_alias_keeps(void **state)
{
    struct world *w = *state;
    make_dir(w, "run");
    assert_ok(ckpt_engine_set_policy(w->engine, "run", "keep last 1\ngrace 0s\n"));
    (void)publish(w, (struct publish){.run = "run", .members = {"e1.pt", "last.pt"}, .alias = {false, true}});
    save(w, "run", "e2.pt", 0);
    assert_kept(w, "run", 1, SHOWN);
    assert_true(is_there(w, "run/e1.pt"));
    assert_clean(w, 3);
}

/* A cold file consists of a version; whatever rows say, that one stays. */
static void the_bytes_of_a_cold_file_stay(void **state)
{
    struct world *w = *state;
    save(w, "run", "e1.pt", 0);
    save(w, "run", "e2.pt", 0);
    assert_ok(ckpt_engine_demote(w->engine, "run/e1.pt"));
    /* Somebody says it is gone, and it isn't. */
    change_row(w, (struct change){.dir = dir_of(w, "run"), .number = 1, .gone = true, .left = CKPT_LEFT_DELETED});
    struct ckpt_rotation rotation = rotate(w, "run");
    assert_int_equal(rotation.dropped, 1);
    assert_true(is_there(w, "run/e1.pt"));
    assert_clean(w, 2);
}

/* A version that two checkpoints have stays until both are gone. */
static void what_another_checkpoint_needs_stays(void **state)
{
    struct world *w = *state;
    (void)publish(w, (struct publish){.run = "run", .members = {"config.bin", "e1.pt"}});
    write_file(w, "run/e2.pt");
    flush(w);
    struct publish p = {.command.run = run_publish, .run = "run", .members = {"config.bin", "e2.pt"}};
    assert_ok(ckpt_command_submit(w->engine, &p.command));
    assert_ok(ckpt_engine_set_policy(w->engine, "run", "keep last 1\ngrace 0s\n"));
    assert_kept(w, "run", 1, DROPPED);
    assert_false(is_there(w, "run/e1.pt"));
    assert_true(is_there(w, "run/config.bin"));
    assert_clean(w, 2);
}

static void a_policy_limits_its_hot_files(void **state)
{
    struct world *w = *state;
    struct stat st;
    int live = ckpt_store_livefd(w->store);
    save(w, "run", "e1.pt", 0);
    save(w, "run", "e2.pt", 0);
    save(w, "run", "e3.pt", 0);
    save(w, "other", "e1.pt", 0);
    assert_ok(ckpt_engine_set_policy(w->engine, "run", "hot 300K\n"));
    for (int i = 0; i < 100; i++) {
        assert_int_equal(fstatat(live, "run/e2.pt", &st, 0), 0);
        if (st.st_blocks == 0) {
            break;
        }
        usleep(50000);
    }
    assert_int_equal(st.st_blocks, 0);
    assert_int_equal(fstatat(live, "run/e1.pt", &st, 0), 0);
    assert_int_equal(st.st_blocks, 0);
    assert_int_equal(fstatat(live, "run/e3.pt", &st, 0), 0);
    assert_true(st.st_blocks > 0);
    assert_int_equal(fstatat(live, "other/e1.pt", &st, 0), 0);
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

static void a_run_is_over_when_nothing_comes(void **state)
{
    struct world *w = *state;
    stop(w);
    w->final_ms = 1500;
    start(w);
    save(w, "run", "e1.pt", 0);
    assert_false(is_finished(w, "run"));
    for (int i = 0; i < 100 && !is_finished(w, "run"); i++) {
        usleep(100000);
    }
    assert_true(is_finished(w, "run"));
    assert_ok(ckpt_engine_finish(w->engine, dir_of(w, "run"), false));
    assert_false(is_finished(w, "run"));
    assert_ok(ckpt_engine_finish(w->engine, dir_of(w, "run"), true));
    assert_true(is_finished(w, "run"));
    assert_int_equal(ckpt_engine_finish(w->engine, 12345, true), CKPT_ERR_NOT_FOUND);
}

/* Its directory was removed, so nothing of it is wanted any more: after the grace it goes, the latest one too. */
static void a_removed_run_goes_after_its_grace(void **state)
{
    struct world *w = *state;
    save(w, "run", "e1.pt", 0);
    delete(w, "run", 1, "run/e1.pt", 8 * 86400);
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
    bool more;
};

static enum ckpt_err run_orphans(struct ckpt_engine *engine, struct ckpt_command *command)
{
    return ckpt_retain_orphans(engine, &((struct orphans_call *)command)->more);
}

/* Captured so many days ago, and looked at by whoever makes checkpoints, or not. */
static void age(struct world *w, const char *run, const char *name, int64_t days, bool fresh)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_fresh row;
    assert_ok(ckpt_store_begin(w->store, &txn));
    while (!fresh && ckpt_fresh_next_in(txn, 0, &row) == CKPT_OK) {
        assert_ok(ckpt_fresh_del_in(txn, row.sequence));
    }
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
        uint64_t left; /* of four versions, of which a checkpoint has the second */
    } cases[] = {
        {8, true, 4},
        {6, false, 4},
        {8, false, 2},
    };
    struct world *w = *state;
    make_dir(w, "run");
    for (size_t i = 0; i < 4; i++) {
        if (i == 1) {
            save(w, "run", "a.pt", 0);
        } else {
            write_file(w, "run/a.pt");
            flush(w);
        }
    }
    int64_t aged = 0;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct orphans_call call = {.command.run = run_orphans};
        age(w, "run", "a.pt", cases[i].days - aged, cases[i].fresh);
        aged = cases[i].days;
        assert_ok(ckpt_command_submit(w->engine, &call.command));
        assert_false(call.more);
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
        TEST(shards_go_together_or_not_at_all),
        TEST(a_directory_goes_as_a_whole_and_comes_back),
        TEST(a_live_alias_keeps),
        TEST(the_bytes_of_a_cold_file_stay),
        TEST(what_another_checkpoint_needs_stays),
        TEST(a_policy_limits_its_hot_files),
        TEST(a_run_is_over_when_nothing_comes),
        TEST(a_removed_run_goes_after_its_grace),
        TEST(versions_of_no_checkpoint_go_some_day),
#undef TEST
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
