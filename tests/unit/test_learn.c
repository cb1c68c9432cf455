/*
 * How the checkpoints of a run get the values of its metrics files: before and after them, in whatever way the files are written,
 * and what that costs when there are many. Without an engine's thread: each test takes the steps itself.
 */
#include "unit.h"

#include "catalog/catalog_txn.h"
#include "catalog/run_rows.h"
#include "engine/engine_parts.h"
#include "metrics/sources.h"
#include "publish/keeper.h"
#include "publish/publish.h"
#include <ckpt/host.h>
#include <math.h>
#include <inttypes.h>
#include <sys/stat.h>

enum { RUN_DIR = 5, MANY = 10000, TEXT = 1024 };

static const int64_t second = 1000000000;

struct world {
    struct unit_store *u;
    struct ckpt_engine engine;
    struct ckpt_publisher *publisher;
    int64_t clock; /* of saves */
};

static void start(struct world *w)
{
    assert_ok(ckpt_runs_create(w->u->store, &w->engine.config.runs));
    assert_ok(ckpt_keeper_create(w->u->store, w->engine.config.runs, &w->engine.keeper));
    assert_ok(ckpt_publisher_create(&w->engine, &w->publisher));
}

static void stop(struct world *w)
{
    ckpt_publisher_free(w->publisher);
    ckpt_keeper_free(w->engine.keeper);
    ckpt_runs_free(w->engine.config.runs);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    void *u = NULL;
    assert_non_null(w);
    assert_int_equal(unit_store_setup(&u), 0);
    w->u = u;
    w->engine.store = w->u->store;
    assert_int_equal(pthread_mutex_init(&w->engine.lock, NULL), 0);
    assert_int_equal(pthread_cond_init(&w->engine.wake, NULL), 0);
    w->clock = ckpt_realtime_ns() - MANY * 100 * second;
    assert_ok(ckpt_catalog_set_dir(w->u->store, RUN_DIR, CKPT_DIR_ROOT, "run"));
    assert_int_equal(mkdirat(ckpt_store_livefd(w->u->store), "run", 0755), 0);
    start(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    void *u = w->u;
    stop(w);
    pthread_cond_destroy(&w->engine.wake);
    pthread_mutex_destroy(&w->engine.lock);
    assert_int_equal(unit_store_teardown(&u), 0);
    free(w);
    return 0;
}

/* ---- steps ---- */

static void commit(struct world *w)
{
    assert_ok(ckpt_keeper_commit(w->engine.keeper));
}

static struct ckpt_run *run_of(struct world *w)
{
    struct ckpt_run *run = NULL;
    assert_ok(ckpt_keeper_run(w->engine.keeper, RUN_DIR, true, &run));
    return run;
}

/* A checkpoint that was saved 100 s after the one before. STEP < 0: its name has none. */
static void save(struct world *w, const char *root, int64_t step)
{
    struct ckpt_run *run = run_of(w);
    struct ckpt_checkpoint *c = ckpt_keeper_begin(w->engine.keeper, run);
    assert_non_null(c);
    w->clock += 100 * second;
    c->saved_ns = w->clock;
    c->sequence = c->number;
    c->status = CKPT_STATUS_COMPLETE;
    c->has_step = step >= 0;
    c->step = step >= 0 ? (uint64_t)step : 0;
    c->step_from = step >= 0 ? CKPT_FROM_NAME : 0;
    assert_ok(ckpt_text_set(&c->root, root));
    assert_ok(ckpt_text_set(&c->group, root));
    ckpt_keeper_touch(w->engine.keeper, run, c);
}

static void save_steps(struct world *w, int64_t first, int64_t last)
{
    for (int64_t step = first; step <= last; step++) {
        char root[64];
        (void)snprintf(root, sizeof root, "net_step_%" PRId64 ".pt", step);
        save(w, root, step);
    }
}

/* The checkpoints that were saved are published. */
static void publish(struct world *w)
{
    commit(w);
    assert_ok(ckpt_publish_learn(w->publisher, run_of(w), true));
    commit(w);
}

/* Writes a file as MODE of fopen says, and closes it. */
static void put(struct world *w, const char *path, const char *mode, const char *text)
{
    char full[2 * UNIT_PATH];
    (void)snprintf(full, sizeof full, "%s/live/%s", w->u->dir, path);
    FILE *file = fopen(full, mode);
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    ckpt_note_path(&w->engine, path);
}

static struct ckpt_learner *learner(struct world *w)
{
    return w->publisher->learners;
}

/* One look at the files. */
static void look(struct world *w)
{
    assert_ok(ckpt_publish_poll(w->publisher, true));
    commit(w);
}

/* Takes steps until nothing is put off; how many. */
static unsigned catch_up(struct world *w)
{
    unsigned n = 0;
    while (learner(w)->backlog.left > 0) {
        assert_true(n++ < 100000);
        learner(w)->backlog.next_ms = 0;
        assert_ok(ckpt_publish_poll(w->publisher, false));
        commit(w);
    }
    return n;
}

/* Of the checkpoint with that number, from 1: NAN for none. */
static double value(struct world *w, uint32_t number, const char *name)
{
    const struct ckpt_checkpoint *c = ckpt_run_number(run_of(w), number);
    assert_non_null(c);
    const struct ckpt_value *v = ckpt_checkpoint_value(c, name);
    return v == NULL ? (double)NAN : v->value;
}

static size_t with_value(struct world *w, const char *name)
{
    const struct ckpt_run *run = run_of(w);
    size_t n = 0;
    for (size_t i = 0; i < run->count; i++) {
        n += ckpt_checkpoint_value(run->list[i], name) != NULL;
    }
    return n;
}

#define assert_value(w, number, name, expected) assert_true(value(w, number, name) == (expected))
#define assert_no_value(w, number, name) assert_true(isnan(value(w, number, name)))

/* ---- late metrics ---- */

static void a_file_that_comes_later(void **state)
{
    struct world *w = *state;
    save_steps(w, 1, 3);
    publish(w);
    put(w, "run/metrics.csv", "w", "step,val_loss\n1,0.5\n2,0.25\n");
    look(w);
    assert_value(w, 1, "val_loss", 0.5);
    assert_value(w, 2, "val_loss", 0.25);
    assert_no_value(w, 3, "val_loss");
    put(w, "run/metrics.csv", "a", "3,0.125\n");
    look(w);
    assert_value(w, 3, "val_loss", 0.125);
}

static void a_file_that_is_rewritten(void **state)
{
    struct world *w = *state;
    put(w, "run/metrics.csv", "w", "step,val_loss\n1,0.5\n2,0.25\n");
    save_steps(w, 1, 200);
    publish(w);
    catch_up(w);
    assert_value(w, 1, "val_loss", 0.5);
    put(w, "run/metrics.csv", "w", "step,val_loss,val_acc\n1,0.75,10\n2,0.25,20\n");
    look(w);
    catch_up(w);
    assert_value(w, 1, "val_loss", 0.75);
    assert_value(w, 1, "val_acc", 10);
    assert_value(w, 2, "val_acc", 20);
}

static void an_evaluation_of_old_checkpoints(void **state)
{
    struct world *w = *state;
    put(w, "run/eval.csv", "w", "step,val_loss\n");
    save_steps(w, 1, 1000);
    publish(w);
    catch_up(w);
    put(w, "run/eval.csv", "a", "7,0.5\n");
    look(w);
    (void)catch_up(w);
    assert_value(w, 7, "val_loss", 0.5);
    assert_int_equal(with_value(w, "val_loss"), 1);
    put(w, "run/eval.csv", "a", "8,0.25\n300,0.125\n");
    look(w);
    (void)catch_up(w);
    assert_value(w, 8, "val_loss", 0.25);
    assert_value(w, 300, "val_loss", 0.125);
    assert_int_equal(with_value(w, "val_loss"), 3);
}

static void after_a_restart(void **state)
{
    struct world *w = *state;
    put(w, "run/metrics.csv", "w", "step,val_loss\n1,0.5\n");
    save_steps(w, 1, 2);
    publish(w);
    stop(w);
    start(w);
    assert_null(learner(w));
    look(w);
    assert_value(w, 1, "val_loss", 0.5);
    /* Nothing is captured any more: the file itself says which run it may be of. */
    put(w, "run/metrics.csv", "a", "2,0.25\n");
    assert_int_equal(mkdirat(ckpt_store_livefd(w->u->store), "run/logs", 0755), 0);
    look(w);
    assert_value(w, 2, "val_loss", 0.25);
    put(w, "run/logs/other.csv", "w", "step,val_acc\n2,80\n");
    look(w);
    assert_value(w, 2, "val_acc", 80);
}

static void a_file_that_is_nobodys_is_not_followed(void **state)
{
    struct world *w = *state;
    save_steps(w, 1, 1);
    commit(w);
    assert_ok(ckpt_catalog_set_dir(w->u->store, RUN_DIR + 1, CKPT_DIR_ROOT, "data"));
    assert_int_equal(mkdirat(ckpt_store_livefd(w->u->store), "data", 0755), 0);
    put(w, "data/metrics.csv", "w", "step,val_loss\n1,0.5\n");
    put(w, "run/notes.txt", "w", "nothing");
    look(w);
    assert_null(learner(w));
}

static void a_closed_file_is_looked_at_soon(void **state)
{
    struct world *w = *state;
    save_steps(w, 1, 1);
    publish(w);
    learner(w)->next_ms = ckpt_now_ms() + 60000; /* a run that is silent */
    put(w, "run/metrics.csv", "w", "step,val_loss\n1,0.5\n");
    for (int i = 0; i < 100 && isnan(value(w, 1, "val_loss")); i++) {
        assert_ok(ckpt_publish_poll(w->publisher, false));
        commit(w);
        assert_true(!isnan(value(w, 1, "val_loss")) || ckpt_publish_wait(w->publisher) <= 1000);
        (void)usleep(20000);
    }
    assert_value(w, 1, "val_loss", 0.5);
}

/* ---- which checkpoint ---- */

static void rays_reports(void **state)
{
    struct world *w = *state;
    save(w, "checkpoint_000000", -1);
    save(w, "checkpoint_000001", -1);
    publish(w);
    put(w, "run/result.json", "w",
        "{\"training_iteration\": 1, \"acc\": 1, \"checkpoint_dir_name\": \"checkpoint_000000\"}\n"
        "{\"training_iteration\": 2, \"acc\": 2, \"checkpoint_dir_name\": null}\n"
        "{\"training_iteration\": 3, \"acc\": 3, \"checkpoint_dir_name\": \"checkpoint_000001\"}\n");
    look(w);
    assert_value(w, 1, "acc", 1);
    assert_value(w, 2, "acc", 3);
    assert_int_equal(run_of(w)->list[0]->step, 1);
    assert_int_equal(run_of(w)->list[1]->step, 3);
    save(w, "checkpoint_000002", -1);
    publish(w);
    assert_false(run_of(w)->list[2]->has_step); /* its report is still to come */
    assert_no_value(w, 3, "acc");
    put(w, "run/result.json", "a",
        "{\"training_iteration\": 4, \"acc\": 4, \"checkpoint_dir_name\": \"checkpoint_000002\"}\n");
    look(w);
    assert_value(w, 3, "acc", 4);
    assert_int_equal(run_of(w)->list[2]->step, 4);
}

static void an_evaluation_belongs_to_one_of_two_bare_numbers(void **state)
{
    struct world *w = *state;
    save(w, "net_100.pt", -1);
    save(w, "net_200.pt", -1);
    publish(w);
    put(w, "run/metrics.csv", "w", "step,val_loss\n90,0.5\n");
    look(w);
    assert_value(w, 1, "val_loss", 0.5);
    assert_no_value(w, 2, "val_loss");
}

static void what_was_found_by_step_stays(void **state)
{
    struct world *w = *state;
    char line[128];
    save_steps(w, 1, 1);
    put(w, "run/metrics.csv", "w", "step,val_loss\n1,0.5\n");
    publish(w);
    assert_int_equal(unlinkat(ckpt_store_livefd(w->u->store), "run/metrics.csv", 0), 0);
    stop(w);
    start(w);
    (void)snprintf(line, sizeof line, "{\"_timestamp\": %.3f, \"val_loss\": 0.75, \"acc\": 9}", (double)(w->clock / second) - 1);
    put(w, "run/wandb-summary.json", "w", line);
    look(w);
    assert_value(w, 1, "acc", 9);
    assert_value(w, 1, "val_loss", 0.5);
}

/* ---- many ---- */

static void ten_thousand(void **state)
{
    struct world *w = *state;
    char *csv = malloc(MANY * 32);
    size_t n = 0;
    assert_non_null(csv);
    save_steps(w, 1, MANY);
    publish(w);
    catch_up(w);

    /* The newest at once, the others by and by. */
    n = (size_t)sprintf(csv, "step,val_loss\n");
    for (int i = 1; i <= MANY; i++) {
        n += (size_t)sprintf(csv + n, "%d,%d\n", i, i);
    }
    put(w, "run/metrics.csv", "w", csv);
    look(w);
    assert_value(w, MANY, "val_loss", MANY);
    assert_in_range(with_value(w, "val_loss"), 64, MANY - 1);
    assert_true(ckpt_publish_wait(w->publisher) <= 1000);
    assert_in_range(catch_up(w), 2, MANY);
    assert_int_equal(with_value(w, "val_loss"), MANY);
    assert_value(w, 1, "val_loss", 1);

    /* A line more, and its checkpoint. */
    for (int i = MANY + 1; i < MANY + 5; i++) {
        (void)sprintf(csv, "%d,%d\n", i, i);
        put(w, "run/metrics.csv", "a", csv);
        look(w);
        assert_int_equal(learner(w)->backlog.left, 0);
        save_steps(w, i, i);
        publish(w);
        assert_int_equal(learner(w)->backlog.left, 0);
        assert_value(w, (uint32_t)i, "val_loss", i);
    }

    /* A log without metrics is closed for each line. */
    for (int i = 0; i < 4; i++) {
        put(w, "run/train.log", "a", "a line\nanother line\n");
        look(w);
        assert_int_equal(learner(w)->backlog.left, 0);
    }
    free(csv);
}

static void news_during_a_backlog_lose_nothing(void **state)
{
    struct world *w = *state;
    enum { N = 3000 };
    char line[64];
    save_steps(w, 1, N);
    publish(w);
    catch_up(w);
    put(w, "run/a.csv", "w", "step,a\n");
    put(w, "run/b.csv", "w", "step,b\n");
    for (int i = 1; i <= N; i += 100) {
        (void)snprintf(line, sizeof line, "%d,%d\n", i, i);
        put(w, "run/a.csv", "a", line);
        look(w);
        (void)snprintf(line, sizeof line, "%d,%d\n", N + 1 - i, i);
        put(w, "run/b.csv", "a", line);
        look(w);
    }
    catch_up(w);
    assert_int_equal(with_value(w, "a"), N / 100);
    assert_int_equal(with_value(w, "b"), N / 100);
}

/* ---- failures ---- */

static void a_commit_that_fails(void **state)
{
    struct world *w = *state;
    save_steps(w, 1, 2);
    publish(w);
    put(w, "run/metrics.csv", "w", "step,val_loss\n1,0.5\n2,0.25\n");
    assert_ok(ckpt_publish_poll(w->publisher, true));
    ckpt_keeper_saved(w->engine.keeper, false);
    ckpt_publish_unlearn(w->publisher);
    assert_no_value(w, 1, "val_loss");
    look(w);
    assert_value(w, 1, "val_loss", 0.5);
    assert_value(w, 2, "val_loss", 0.25);
}

static void a_run_that_has_gone(void **state)
{
    struct world *w = *state;
    save_steps(w, 1, 1);
    commit(w);
    assert_ok(ckpt_publish_follow(w->publisher, RUN_DIR + 7));
    assert_ok(ckpt_publish_poll(w->publisher, false));
    assert_null(learner(w));
    assert_int_equal(ckpt_publish_wait(w->publisher), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_file_that_comes_later, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_that_is_rewritten, setup, teardown),
        cmocka_unit_test_setup_teardown(an_evaluation_of_old_checkpoints, setup, teardown),
        cmocka_unit_test_setup_teardown(after_a_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(a_file_that_is_nobodys_is_not_followed, setup, teardown),
        cmocka_unit_test_setup_teardown(a_closed_file_is_looked_at_soon, setup, teardown),
        cmocka_unit_test_setup_teardown(rays_reports, setup, teardown),
        cmocka_unit_test_setup_teardown(an_evaluation_belongs_to_one_of_two_bare_numbers, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_found_by_step_stays, setup, teardown),
        cmocka_unit_test_setup_teardown(ten_thousand, setup, teardown),
        cmocka_unit_test_setup_teardown(news_during_a_backlog_lose_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_commit_that_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(a_run_that_has_gone, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
