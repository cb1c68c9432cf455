/*
 * Runs: what is found in one, what readers see of them all, and how the engine's own picture gets ahead of the database and of
 * the readers, and is given up when it can't be saved.
 *
 * In the store of these tests exp (directory 5) holds the runs exp/a (7) and exp/a/x/y (9); z (20) is a run below nothing.
 */
#include "run_samples.h"

#include "common/bytes.h"
#include "publish/keeper.h"

enum { EXP = 5, RUN_A = 7, DIR_X = 8, RUN_Y = 9, RUN_Z = 20 };

/* ---- one run ---- */

/* Its number is its place in the table, its sequence ten times that. */
static const struct one {
    int epoch; /* -1: none */
    int step;
    const char *tag;    /* NULL: none */
    const char *metric; /* NULL: none */
    enum { SHOWN, HIDDEN, WRITING, INVALID, DROPPED } state;
} history[] = {
    {0, 100, "first", "val_loss", SHOWN}, /* number 1 */
    {1, 200, "good", "val_loss", SHOWN},
    {1, 300, "good", "acc", SHOWN}, /* epoch 1 once more */
    {2, 400, "hidden", "secret", HIDDEN},
    {-1, -1, NULL, NULL, SHOWN},
    {3, 500, "writing", "secret", WRITING},
    {3, 500, "invalid", "secret", INVALID},
    {3, 500, "dropped", "secret", DROPPED},
    {-1, 50, NULL, "Loss", SHOWN}, /* number 9: the steps began again */
};
enum { HISTORY = sizeof history / sizeof history[0] };

static struct ckpt_checkpoint *make(const struct one *one, uint32_t number)
{
    struct ckpt_checkpoint *c = sample_checkpoint(RUN_A, number, 10 * (uint64_t)number);
    c->has_epoch = one->epoch >= 0;
    c->epoch = c->has_epoch ? (uint64_t)one->epoch : 0;
    c->has_step = one->step >= 0;
    c->step = c->has_step ? (uint64_t)one->step : 0;
    c->hidden = one->state == HIDDEN;
    c->dropped = one->state == DROPPED;
    c->status = one->state == WRITING   ? CKPT_STATUS_WRITING
                : one->state == INVALID ? CKPT_STATUS_INVALID
                                        : CKPT_STATUS_COMPLETE;
    if (one->tag != NULL) {
        sample_tag(c, one->tag);
    }
    if (one->metric != NULL) {
        sample_value(c, one->metric, 1, CKPT_FROM_NAME);
    }
    return c;
}

/* In an order that is none. */
static struct ckpt_run *make_history(void)
{
    struct ckpt_run *run = ckpt_run_new(RUN_A);
    assert_non_null(run);
    for (size_t i = 0; i < HISTORY; i++) {
        size_t at = i * 4 % HISTORY;
        assert_ok(ckpt_run_put(run, make(&history[at], (uint32_t)at + 1)));
    }
    assert_int_equal(run->count, HISTORY);
    return run;
}

static uint32_t number_of(const struct ckpt_checkpoint *c)
{
    return c == NULL ? 0 : c->number;
}

static void what_is_found_in_a_run(void **state)
{
    static const struct {
        const char *by;
        const char *key;
        uint32_t expected; /* 0: nothing */
    } cases[] = {
        {"epoch", "0", 1},     {"epoch", "1", 3},       {"epoch", "2", 0},     {"epoch", "3", 0},
        {"epoch", "4", 0},     {"step", "100", 1},      {"step", "300", 3},    {"step", "400", 0},
        {"step", "500", 0},    {"step", "50", 9},       {"step", "0", 0},      {"tag", "first", 1},
        {"tag", "good", 3},    {"tag", "hidden", 0},    {"tag", "writing", 0}, {"tag", "invalid", 0},
        {"tag", "dropped", 0}, {"tag", "", 0},          {"number", "1", 1},    {"number", "4", 4},
        {"number", "8", 8},    {"number", "0", 0},      {"number", "10", 0},   {"best", "2", 2},
        {"best", "0", 0},      {"best", "4", 0},        {"best", "77", 0},     {"final", "yes", 9},
        {"final", "", 0},      {"latest", "", 9},
    };
    (void)state;
    struct ckpt_run *run = make_history();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *by = cases[i].by;
        const char *key = cases[i].key;
        uint64_t n = strtoull(key, NULL, 10);
        const struct ckpt_checkpoint *c = NULL;
        run->best = (uint32_t)n;
        run->finished = *key != '\0';
        c = strcmp(by, "epoch") == 0    ? ckpt_run_epoch(run, n)
            : strcmp(by, "step") == 0   ? ckpt_run_step(run, n)
            : strcmp(by, "tag") == 0    ? ckpt_run_tag(run, key)
            : strcmp(by, "number") == 0 ? ckpt_run_number(run, (uint32_t)n)
            : strcmp(by, "best") == 0   ? ckpt_run_best(run)
            : strcmp(by, "final") == 0  ? ckpt_run_final(run)
                                        : ckpt_run_latest(run);
        if (number_of(c) != cases[i].expected) {
            fail_msg("%s %s: %u", by, key, number_of(c));
        }
    }
    ckpt_run_free(run);
}

static void an_empty_run_has_nothing(void **state)
{
    (void)state;
    struct ckpt_run *run = ckpt_run_new(RUN_A);
    assert_non_null(run);
    run->best = 1;
    run->finished = true;
    assert_null(ckpt_run_latest(run));
    assert_null(ckpt_run_best(run));
    assert_null(ckpt_run_final(run));
    assert_null(ckpt_run_epoch(run, 0));
    assert_null(ckpt_run_step(run, 0));
    assert_null(ckpt_run_tag(run, "x"));
    assert_null(ckpt_run_number(run, 1));
    ckpt_run_free(run);
    ckpt_run_free(NULL);
}

struct words {
    char text[128];
    unsigned left; /* so many more */
};

static bool add_text(void *arg, const char *text)
{
    struct words *words = arg;
    size_t n = strlen(words->text);
    (void)snprintf(words->text + n, sizeof words->text - n, "%s%s", n == 0 ? "" : " ", text);
    return --words->left > 0;
}

static bool add_number(void *arg, uint64_t number)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%u", (unsigned)number);
    return add_text(arg, text);
}

static void what_there_is_once_and_in_order(void **state)
{
    static const struct {
        const char *what;
        unsigned most;
        const char *expected;
    } cases[] = {
        {"epochs", 99, "0 1"},        {"epochs", 1, "0"}, {"steps", 99, "50 100 200 300"}, {"steps", 2, "50 100"},
        {"tags", 99, "first good"},   {"tags", 1, "first"},
        {"metrics", 99, "Loss acc val_loss"}, {"metrics", 2, "Loss acc"},
    };
    (void)state;
    struct ckpt_run *run = make_history();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct words words = {.left = cases[i].most};
        if (strcmp(cases[i].what, "epochs") == 0) {
            ckpt_run_each_epoch(run, add_number, &words);
        } else if (strcmp(cases[i].what, "steps") == 0) {
            ckpt_run_each_step(run, add_number, &words);
        } else if (strcmp(cases[i].what, "tags") == 0) {
            assert_ok(ckpt_run_each_tag(run, add_text, &words));
        } else {
            assert_ok(ckpt_run_each_metric(run, add_text, &words));
        }
        assert_string_equal(words.text, cases[i].expected);
    }
    ckpt_run_free(run);
}

/* Against what looking at each of them says; changed in place and by a copy, in every way that counts. */
static void what_is_found_follows_every_change(void **state)
{
    enum { MANY = 40, CHANGES = 4000, KEYS = 6 };
    uint64_t random = 1;
    (void)state;
    struct ckpt_run *run = ckpt_run_new(RUN_A);
    assert_non_null(run);
    for (uint32_t i = 1; i <= MANY; i++) {
        assert_ok(ckpt_run_put(run, sample_checkpoint(RUN_A, i, i)));
    }
    for (unsigned change = 0; change < CHANGES; change++) {
        uint64_t r = unit_random(&random);
        uint32_t number = (uint32_t)(r % MANY) + 1;
        struct ckpt_checkpoint *c = ckpt_run_find(run, number);
        assert_non_null(c);
        bool in_place = (r >> 8) % 2 == 0;
        c = in_place ? c : ckpt_checkpoint_copy(c);
        assert_non_null(c);
        c->has_epoch = (r >> 9) % 4 > 0;
        c->has_step = (r >> 11) % 4 > 0;
        c->epoch = (r >> 13) % KEYS;
        c->step = (r >> 17) % KEYS;
        c->hidden = (r >> 21) % 3 == 0;
        c->sequence = (r >> 24) % 8 == 0 ? 1000 + change : c->sequence;
        if (in_place) {
            ckpt_run_change(run, c);
        } else {
            assert_ok(ckpt_run_put(run, c));
        }
        for (uint64_t key = 0; key < KEYS; key++) {
            const struct ckpt_checkpoint *epoch = NULL;
            const struct ckpt_checkpoint *step = NULL;
            for (size_t i = 0; i < run->count; i++) {
                const struct ckpt_checkpoint *at = run->list[i];
                bool shown = ckpt_checkpoint_shown(at);
                if (shown && at->has_epoch && at->epoch == key && (epoch == NULL || at->sequence > epoch->sequence)) {
                    epoch = at;
                }
                if (shown && at->has_step && at->step == key && (step == NULL || at->sequence > step->sequence)) {
                    step = at;
                }
            }
            assert_ptr_equal(ckpt_run_epoch(run, key), epoch);
            assert_ptr_equal(ckpt_run_step(run, key), step);
        }
    }
    ckpt_run_free(run);
}

static void what_was_changed_is_listed_once(void **state)
{
    (void)state;
    struct ckpt_run *run = make_history();
    uint64_t generation = run->generation;
    assert_null(run->changed);
    ckpt_run_change(run, NULL);
    assert_true(run->dirty && run->changed == NULL);
    for (unsigned i = 0; i < 3; i++) {
        ckpt_run_change(run, ckpt_run_find(run, 2));
        ckpt_run_change(run, ckpt_run_find(run, 5));
    }
    assert_true(run->generation > generation);
    assert_int_equal(run->changed->number + run->changed->next->number, 7);
    assert_null(run->changed->next->next);
    assert_ok(ckpt_run_put(run, make(&history[4], 5))); /* the listed one is freed */
    assert_int_equal(run->changed->number, 2);
    assert_null(run->changed->next);
    ckpt_run_settle(run);
    assert_false(run->dirty || ckpt_run_find(run, 2)->dirty);
    assert_null(run->changed);
    assert_null(ckpt_run_find(run, 77));
    ckpt_run_free(run);
}

/* ---- readers ---- */

struct world {
    struct unit_store *u;
    struct ckpt_store *store;
    struct ckpt_runs *runs;
    struct ckpt_keeper *keeper;
    struct ckpt_version file; /* exp/a/epoch_1.pt@v1, the member of checkpoint 1 of RUN_A */
};

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    void *u = NULL;
    assert_non_null(w);
    assert_int_equal(unit_store_setup(&u), 0);
    w->u = u;
    w->store = w->u->store;
    sample_dir(w->store, EXP, CKPT_DIR_ROOT, "exp");
    sample_dir(w->store, RUN_A, EXP, "a");
    sample_dir(w->store, DIR_X, RUN_A, "x");
    sample_dir(w->store, RUN_Y, DIR_X, "y");
    sample_dir(w->store, RUN_Z, CKPT_DIR_ROOT, "z");
    w->file = sample_version(w->store, RUN_A, "epoch_1.pt", 1000);
    for (uint32_t i = 1; i <= HISTORY; i++) {
        struct ckpt_checkpoint *c = make(&history[i - 1], i);
        if (i == 1) {
            (void)sample_member_of(c, &w->file);
        }
        sample_put(w->store, c);
    }
    sample_put_run(w->store, RUN_A, HISTORY + 1);
    sample_put_run(w->store, RUN_Y, 1);
    sample_put_run(w->store, RUN_Z, 1);
    assert_ok(ckpt_runs_create(w->store, &w->runs));
    assert_ok(ckpt_keeper_create(w->store, w->runs, &w->keeper));
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    void *u = w->u;
    ckpt_keeper_free(w->keeper);
    ckpt_runs_free(w->runs);
    assert_int_equal(unit_store_teardown(&u), 0);
    free(w);
    return 0;
}

/* What readers see: "1 2 3h", or "-" without a run. */
static const char *seen(struct world *w, uint64_t dir, struct words *words)
{
    const struct ckpt_run *run = NULL;
    *words = (struct words){.left = 99};
    if (ckpt_runs_hold(w->runs, dir, &run) != CKPT_OK) {
        return "-";
    }
    for (size_t i = 0; i < run->count; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "%u%s", run->list[i]->number, ckpt_checkpoint_shown(run->list[i]) ? "" : "h");
        (void)add_text(words, text);
    }
    ckpt_runs_release(w->runs);
    return words->text;
}

static void a_run_is_read_when_it_is_asked_for(void **state)
{
    struct world *w = *state;
    const struct ckpt_run *run = NULL;
    struct words words;
    assert_string_equal(seen(w, RUN_A, &words), "1 2 3 4h 5 6h 7h 8h 9");
    assert_string_equal(seen(w, RUN_Y, &words), "");
    assert_string_equal(seen(w, EXP, &words), "-");
    assert_int_equal(ckpt_runs_hold(w->runs, EXP, &run), CKPT_ERR_NOT_FOUND);
    assert_null(run);
    assert_ok(ckpt_runs_hold(w->runs, RUN_A, &run));
    assert_int_equal(run->next_number, HISTORY + 1);
    assert_int_equal(number_of(ckpt_run_epoch(run, 1)), 3);
    ckpt_runs_release(w->runs);
}

static void a_damaged_run_is_no_run(void **state)
{
    struct world *w = *state;
    struct ckpt_txn *txn = NULL;
    const struct ckpt_run *run = NULL;
    struct words words;
    uint8_t key[12] = {0};
    key[7] = RUN_A;
    key[11] = 2;
    assert_ok(ckpt_store_begin(w->store, &txn));
    assert_ok(ckpt_db_put(txn, CKPT_TABLE_CHECKPOINTS, key, sizeof key, "CKP1", 4));
    assert_ok(ckpt_store_commit(w->store, txn));
    assert_int_equal(ckpt_runs_hold(w->runs, RUN_A, &run), CKPT_ERR_CORRUPT);
    sample_put(w->store, make(&history[1], 2));
    assert_string_equal(seen(w, RUN_A, &words), "1 2 3 4h 5 6h 7h 8h 9");
}

static void checkpoints_are_found_by_the_beginning_of_their_id(void **state)
{
    static const struct {
        const char *prefix;
        enum ckpt_err err;
        uint32_t number;
    } cases[] = {
        {"0000000000007001", CKPT_OK, 1},        {"0000000000007009", CKPT_OK, 9},
        {"000000000000700", CKPT_ERR_EXISTS, 0}, {"0", CKPT_ERR_EXISTS, 0},
        {"e", CKPT_OK, 33},                      {"E", CKPT_OK, 33},
        {"eeff", CKPT_OK, 33},                   {"eefe", CKPT_ERR_NOT_FOUND, 0},
        {"f", CKPT_ERR_NOT_FOUND, 0},            {"", CKPT_ERR_NOT_FOUND, 0},
        {"0x70", CKPT_ERR_NOT_FOUND, 0},         {"-1", CKPT_ERR_NOT_FOUND, 0},
        {"g", CKPT_ERR_NOT_FOUND, 0},            {"00000000000070011", CKPT_ERR_NOT_FOUND, 0},
    };
    struct world *w = *state;
    struct ckpt_checkpoint *far = sample_checkpoint(RUN_Z, 33, 1);
    far->id = 0xeeff000000000000;
    sample_put(w->store, far);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t dir = 0;
        uint32_t number = 0;
        enum ckpt_err err = ckpt_runs_by_id(w->runs, cases[i].prefix, &dir, &number);
        if (err != cases[i].err || number != cases[i].number) {
            fail_msg("\"%s\": %s, %u", cases[i].prefix, ckpt_err_text(err), number);
        }
        assert_int_equal(dir, err != CKPT_OK ? 0 : number == 33 ? RUN_Z : RUN_A);
    }
}

static void checkpoints_are_found_by_their_versions(void **state)
{
    struct world *w = *state;
    struct ckpt_checkpoint *second = make(&history[8], 9);
    uint64_t run = 0;
    uint32_t number = 0;
    (void)sample_member_of(second, &w->file);
    sample_put(w->store, second);
    assert_ok(ckpt_runs_by_version(w->runs, RUN_A, "epoch_1.pt", 1, &run, &number));
    assert_int_equal(run, RUN_A);
    assert_int_equal(number, 1); /* the oldest of the two */
    assert_int_equal(ckpt_runs_by_version(w->runs, RUN_A, "epoch_1.pt", 2, &run, &number), CKPT_ERR_NOT_FOUND);
    assert_int_equal(ckpt_runs_by_version(w->runs, RUN_A, "epoch_1", 1, &run, &number), CKPT_ERR_NOT_FOUND);
    assert_int_equal(ckpt_runs_by_version(w->runs, RUN_Z, "epoch_1.pt", 1, &run, &number), CKPT_ERR_NOT_FOUND);
}

static void assert_below(struct world *w, uint64_t above, const char *expected)
{
    struct words words = {.left = 99};
    uint64_t *dirs = NULL;
    size_t n = 0;
    assert_ok(ckpt_runs_below(w->runs, above, &dirs, &n));
    for (size_t i = 0; i < n; i++) {
        (void)add_number(&words, dirs[i]);
    }
    free(dirs);
    assert_string_equal(words.text, expected);
}

static void runs_are_found_below_a_directory(void **state)
{
    struct world *w = *state;
    uint64_t *dirs = NULL;
    size_t n = 0;
    assert_below(w, EXP, "7 9");
    assert_below(w, RUN_A, "9"); /* not itself */
    assert_below(w, DIR_X, "9");
    assert_below(w, RUN_Y, "");
    assert_below(w, CKPT_DIR_ROOT, "7 20"); /* exp/a/x/y stands too deep */
    assert_ok(ckpt_runs_all(w->runs, &dirs, &n));
    assert_int_equal(n, 3);
    free(dirs);
    sample_dir(w->store, RUN_Z, EXP, "z");
    ckpt_runs_moved(w->runs);
    assert_below(w, EXP, "7 9 20");
    sample_dir(w->store, RUN_Y, 4711, "y"); /* below what has no row */
    ckpt_runs_moved(w->runs);
    assert_below(w, 4711, "9");
    assert_below(w, EXP, "7 20");
}

static void processes_are_known_by_their_text(void **state)
{
    static const char json[] = "{\"host\":\"node7\",\"pid\":42}";
    struct world *w = *state;
    struct ckpt_txn *txn = NULL;
    uint64_t process = 0;
    uint64_t again = 0;
    char *text = NULL;
    assert_ok(ckpt_store_begin(w->store, &txn));
    assert_ok(ckpt_process_put_in(txn, json, &process));
    assert_ok(ckpt_process_put_in(txn, json, &again));
    assert_ok(ckpt_store_commit(w->store, txn));
    assert_true(process != 0 && process == again);
    assert_int_equal(sample_rows(w->store, CKPT_TABLE_PROCESSES), 1);
    assert_ok(ckpt_runs_process(w->runs, process, &text));
    assert_string_equal(text, json);
    free(text);
    assert_int_equal(ckpt_runs_process(w->runs, process + 1, &text), CKPT_ERR_NOT_FOUND);
}

/* ---- policies ---- */

static enum ckpt_err put_policy(struct world *w, uint64_t dir, const char *text)
{
    struct ckpt_txn *txn = NULL;
    assert_ok(ckpt_store_begin(w->store, &txn));
    enum ckpt_err err = ckpt_policy_put_in(txn, dir, text, (int64_t)dir + 100);
    if (err == CKPT_OK) {
        return ckpt_store_commit(w->store, txn);
    }
    ckpt_txn_abort(txn);
    return err;
}

static void assert_policy(struct world *w, uint64_t dir, uint64_t expected)
{
    char *text = NULL;
    uint64_t owner = 0;
    int64_t changed_ns = 0;
    assert_ok(ckpt_policy_find(w->store, dir, &text, &owner, &changed_ns));
    assert_int_equal(owner, expected);
    assert_int_equal(changed_ns, expected + 100);
    assert_string_equal(text, "keep last 3\n");
    free(text);
}

static void the_nearest_policy_applies(void **state)
{
    struct world *w = *state;
    char *text = NULL;
    uint64_t owner = 0;
    int64_t changed_ns = 0;
    assert_int_equal(ckpt_policy_find(w->store, RUN_Y, &text, &owner, &changed_ns), CKPT_ERR_NOT_FOUND);
    assert_ok(put_policy(w, CKPT_DIR_ROOT, "keep last 3\n"));
    assert_policy(w, RUN_Y, CKPT_DIR_ROOT);
    assert_policy(w, CKPT_DIR_ROOT, CKPT_DIR_ROOT);
    assert_ok(put_policy(w, EXP, "keep last 3\n"));
    assert_policy(w, RUN_Y, EXP);
    assert_policy(w, EXP, EXP);
    assert_policy(w, RUN_Z, CKPT_DIR_ROOT);
    assert_ok(put_policy(w, RUN_Y, "keep last 3\n"));
    assert_policy(w, RUN_Y, RUN_Y);
    assert_policy(w, DIR_X, EXP);
    assert_ok(put_policy(w, RUN_Y, NULL));
    assert_policy(w, RUN_Y, EXP);
    assert_int_equal(put_policy(w, RUN_Y, NULL), CKPT_ERR_NOT_FOUND);

    char *huge = malloc(CKPT_POLICY_TEXT + 2);
    assert_non_null(huge);
    memset(huge, '#', CKPT_POLICY_TEXT + 1);
    huge[CKPT_POLICY_TEXT + 1] = '\0';
    assert_int_equal(put_policy(w, RUN_Y, huge), CKPT_ERR_INVALID);
    huge[CKPT_POLICY_TEXT] = '\0';
    assert_ok(put_policy(w, RUN_Y, huge));
    free(huge);
}

/* A circle of directories ends, and is no answer. */
static void a_policy_above_a_circle(void **state)
{
    struct world *w = *state;
    char *text = NULL;
    uint64_t owner = 0;
    int64_t changed_ns = 0;
    sample_dir(w->store, EXP, RUN_A, "exp");
    assert_int_equal(ckpt_policy_find(w->store, RUN_A, &text, &owner, &changed_ns), CKPT_ERR_CORRUPT);
    assert_null(text);
}

/* ---- the keeper ---- */

static struct ckpt_run *kept(struct world *w, uint64_t dir, bool make)
{
    struct ckpt_run *run = NULL;
    assert_ok(ckpt_keeper_run(w->keeper, dir, make, &run));
    return run;
}

static struct ckpt_checkpoint *begin(struct world *w, struct ckpt_run *run, const char *name)
{
    struct ckpt_checkpoint *c = ckpt_keeper_begin(w->keeper, run);
    assert_non_null(c);
    c->status = CKPT_STATUS_COMPLETE;
    assert_ok(ckpt_text_set(&c->root, name));
    assert_ok(ckpt_text_set(&c->group, name));
    ckpt_keeper_touch(w->keeper, run, c);
    return c;
}

static void changes_are_seen_when_they_are_committed(void **state)
{
    struct world *w = *state;
    struct words words;
    struct ckpt_run *run = kept(w, RUN_A, false);
    assert_ptr_equal(kept(w, RUN_A, false), run);
    assert_string_equal(seen(w, RUN_A, &words), "1 2 3 4h 5 6h 7h 8h 9");

    struct ckpt_checkpoint *c = ckpt_keeper_checkpoint(run, 2);
    c->hidden = true;
    ckpt_keeper_touch(w->keeper, run, c);
    c = begin(w, run, "new.pt");
    assert_int_equal(c->number, HISTORY + 1);
    assert_true(c->id != 0);
    assert_int_equal(run->next_number, HISTORY + 2);
    run->best = 3;
    ckpt_keeper_touch(w->keeper, run, NULL);
    assert_string_equal(seen(w, RUN_A, &words), "1 2 3 4h 5 6h 7h 8h 9");

    uint64_t id = c->id;
    assert_ok(ckpt_keeper_commit(w->keeper));
    assert_string_equal(seen(w, RUN_A, &words), "1 2h 3 4h 5 6h 7h 8h 9 10");
    assert_ptr_equal(kept(w, RUN_A, false), run); /* still the same picture */
    ckpt_keeper_checkpoint(run, 1)->hidden = true;
    ckpt_keeper_touch(w->keeper, run, ckpt_keeper_checkpoint(run, 1));
    assert_string_equal(seen(w, RUN_A, &words), "1 2h 3 4h 5 6h 7h 8h 9 10");
    assert_ok(ckpt_keeper_commit(w->keeper));
    assert_string_equal(seen(w, RUN_A, &words), "1h 2h 3 4h 5 6h 7h 8h 9 10");
    assert_true(run->changed == NULL && !run->dirty);

    /* And in the database: for who has never seen it, and after a start. */
    struct ckpt_runs *others = NULL;
    const struct ckpt_run *read = NULL;
    assert_ok(ckpt_runs_create(w->store, &others));
    assert_ok(ckpt_runs_hold(others, RUN_A, &read));
    assert_int_equal(read->count, HISTORY + 1);
    assert_int_equal(read->best, 3);
    assert_int_equal(read->next_number, HISTORY + 2);
    assert_true(ckpt_run_number(read, 2)->hidden);
    assert_int_equal(ckpt_run_number(read, HISTORY + 1)->id, id);
    ckpt_runs_release(others);
    ckpt_runs_free(others);
}

static void a_new_run_is_found_after_its_commit(void **state)
{
    struct world *w = *state;
    struct words words;
    struct ckpt_run *run = NULL;
    sample_dir(w->store, 30, EXP, "new");
    assert_int_equal(ckpt_keeper_run(w->keeper, 30, false, &run), CKPT_ERR_NOT_FOUND);
    assert_below(w, EXP, "7 9");
    run = kept(w, 30, true);
    (void)begin(w, run, "a.pt");
    assert_string_equal(seen(w, 30, &words), "-");
    assert_below(w, EXP, "7 9");
    assert_ok(ckpt_keeper_commit(w->keeper));
    assert_string_equal(seen(w, 30, &words), "1");
    assert_below(w, EXP, "7 9 30");
}

static void what_could_not_be_saved_is_forgotten(void **state)
{
    struct world *w = *state;
    struct words words;
    struct ckpt_txn *txn = NULL;
    struct ckpt_run *run = kept(w, RUN_A, false);
    struct ckpt_run *other = kept(w, RUN_Z, false);
    (void)begin(w, run, "new.pt");
    ckpt_keeper_checkpoint(run, 1)->pinned = true;
    ckpt_keeper_touch(w->keeper, run, ckpt_keeper_checkpoint(run, 1));
    assert_ok(ckpt_store_begin(w->store, &txn));
    assert_ok(ckpt_keeper_save_in(w->keeper, txn));
    ckpt_txn_abort(txn);
    ckpt_keeper_saved(w->keeper, false);
    run = kept(w, RUN_A, false);
    assert_int_equal(run->count, HISTORY);
    assert_int_equal(run->next_number, HISTORY + 1);
    assert_false(ckpt_keeper_checkpoint(run, 1)->pinned);
    assert_ptr_equal(kept(w, RUN_Z, false), other); /* it had no part in it */
    assert_string_equal(seen(w, RUN_A, &words), "1 2 3 4h 5 6h 7h 8h 9");

    /* What can't be written at all. */
    (void)ckpt_keeper_begin(w->keeper, run); /* without a name */
    assert_int_equal(ckpt_keeper_commit(w->keeper), CKPT_ERR_INVALID);
    assert_int_equal(kept(w, RUN_A, false)->count, HISTORY);
    ckpt_store_stop(w->store, "a test says so");
    (void)begin(w, kept(w, RUN_A, false), "new.pt");
    assert_int_equal(ckpt_keeper_commit(w->keeper), CKPT_ERR_STOPPED);
    assert_int_equal(kept(w, RUN_A, false)->count, HISTORY);
    assert_ok(ckpt_keeper_commit(w->keeper)); /* nothing is left to do */
}

/* What isn't touched isn't written: the rows of the others are damaged here, and stay so. */
static void only_what_was_touched_is_written(void **state)
{
    struct world *w = *state;
    struct ckpt_txn *txn = NULL;
    struct ckpt_slice value;
    uint8_t key[12] = {0};
    struct ckpt_run *run = kept(w, RUN_A, false);
    key[7] = RUN_A;
    for (uint8_t i = 1; i <= HISTORY; i++) {
        key[11] = i;
        assert_ok(ckpt_store_begin(w->store, &txn));
        assert_ok(ckpt_db_put(txn, CKPT_TABLE_CHECKPOINTS, key, sizeof key, "x", 1));
        assert_ok(ckpt_store_commit(w->store, txn));
    }
    ckpt_keeper_touch(w->keeper, run, ckpt_keeper_checkpoint(run, 3));
    assert_ok(ckpt_keeper_commit(w->keeper));
    assert_ok(ckpt_txn_read(w->store->db, &txn));
    for (uint8_t i = 1; i <= HISTORY; i++) {
        key[11] = i;
        assert_ok(ckpt_db_get(txn, CKPT_TABLE_CHECKPOINTS, key, sizeof key, &value));
        assert_int_equal(value.size > 1, i == 3);
    }
    ckpt_txn_abort(txn);
}

struct visit {
    unsigned runs;
    enum ckpt_err answer;
};

static enum ckpt_err visit(void *arg, struct ckpt_run *run)
{
    struct visit *v = arg;
    assert_non_null(run);
    v->runs++;
    return v->answer;
}

static void each_run_is_visited(void **state)
{
    struct world *w = *state;
    struct visit v = {.answer = CKPT_OK};
    (void)kept(w, RUN_Z, false);
    assert_ok(ckpt_keeper_each(w->keeper, false, visit, &v));
    assert_int_equal(v.runs, 1);
    assert_ok(ckpt_keeper_each(w->keeper, true, visit, &v));
    assert_int_equal(v.runs, 1 + 3);
    v = (struct visit){.answer = CKPT_ERR_BUSY};
    assert_int_equal(ckpt_keeper_each(w->keeper, true, visit, &v), CKPT_ERR_BUSY);
    assert_int_equal(v.runs, 1);
}

/* ---- versions that go ---- */

static void a_forgotten_version_leaves_its_checkpoints(void **state)
{
    static const uint32_t one[] = {1};
    struct world *w = *state;
    struct words words;
    struct ckpt_version other = sample_version(w->store, RUN_A, "last.pt", 2000);
    struct ckpt_checkpoint *two = make(&history[1], 2);
    uint64_t *dirs = NULL;
    size_t n = 0;
    (void)sample_member_of(two, &w->file);
    (void)sample_member_of(two, &other);
    sample_put(w->store, two);
    assert_int_equal(sample_rows(w->store, CKPT_TABLE_MEMBERS), 3);
    struct ckpt_run *run = kept(w, RUN_A, false);
    assert_int_equal(ckpt_keeper_checkpoint(run, 2)->n_members, 2);
    assert_string_equal(seen(w, RUN_A, &words), "1 2 3 4h 5 6h 7h 8h 9");

    assert_ok(ckpt_member_runs(w->store, RUN_A, "epoch_1.pt", &dirs, &n));
    assert_int_equal(n, 1);
    assert_int_equal(dirs[0], RUN_A);
    free(dirs);
    assert_ok(ckpt_catalog_drop(w->store, RUN_A, "epoch_1.pt", one, 1));
    assert_ok(ckpt_member_runs(w->store, RUN_A, "epoch_1.pt", &dirs, &n));
    assert_int_equal(n, 0);
    assert_int_equal(sample_rows(w->store, CKPT_TABLE_MEMBERS), 1);
    struct ckpt_checkpoint *c = sample_get(w->store, RUN_A, 1);
    assert_true(c->dropped && c->n_members == 0);
    ckpt_checkpoint_free(c);
    c = sample_get(w->store, RUN_A, 2);
    assert_true(!c->dropped && c->n_members == 1);
    assert_string_equal(c->members[0].name, "last.pt");
    ckpt_checkpoint_free(c);

    /* Pictures in memory have to be told. */
    ckpt_runs_reload(w->runs, RUN_A);
    ckpt_runs_reload(w->runs, 4711);
    assert_string_equal(seen(w, RUN_A, &words), "1h 2 3 4h 5 6h 7h 8h 9");
    ckpt_keeper_reload(w->keeper, RUN_A);
    ckpt_keeper_reload(w->keeper, 4711);
    assert_true(ckpt_keeper_checkpoint(kept(w, RUN_A, false), 1)->dropped);
}

/* All of it or nothing: the second number doesn't exist. */
static void nothing_leaves_when_forgetting_fails(void **state)
{
    static const uint32_t numbers[] = {1, 2};
    struct world *w = *state;
    assert_int_equal(ckpt_catalog_drop(w->store, RUN_A, "epoch_1.pt", numbers, 2), CKPT_ERR_NOT_FOUND);
    struct ckpt_checkpoint *c = sample_get(w->store, RUN_A, 1);
    assert_true(!c->dropped && c->n_members == 1);
    ckpt_checkpoint_free(c);
    assert_int_equal(sample_rows(w->store, CKPT_TABLE_MEMBERS), 1);
}

static void a_version_is_held_until_the_last_checkpoint_releases_it(void **state)
{
    static const uint32_t one[] = {1};
    struct world *w = *state;
    struct ckpt_txn *txn = NULL;
    struct ckpt_checkpoint *nine = make(&history[8], 9);
    bool last = true;
    (void)sample_member_of(nine, &w->file);
    sample_put(w->store, nine);
    nine = sample_get(w->store, RUN_A, 9);
    struct ckpt_checkpoint *first = sample_get(w->store, RUN_A, 1);
    assert_ok(ckpt_store_begin(w->store, &txn));
    assert_ok(ckpt_member_release_in(txn, first, &first->members[0], &last));
    assert_false(last);
    assert_ok(ckpt_member_release_in(txn, nine, &nine->members[0], &last));
    assert_true(last);
    assert_ok(ckpt_member_release_in(txn, nine, &nine->members[0], &last));
    assert_true(last);
    assert_ok(ckpt_store_commit(w->store, txn));

    /* Then dropping finds nobody who would lose it: the record keeps its list. */
    assert_ok(ckpt_catalog_drop(w->store, RUN_A, "epoch_1.pt", one, 1));
    ckpt_checkpoint_free(first);
    first = sample_get(w->store, RUN_A, 1);
    assert_int_equal(first->n_members, 1);
    assert_false(first->dropped);
    ckpt_checkpoint_free(first);
    ckpt_checkpoint_free(nine);
}

/* Names that begin with one another, and numbers that do, stand apart. */
static void holders_are_those_of_this_version(void **state)
{
    struct world *w = *state;
    struct ckpt_checkpoint *c = make(&history[4], 5);
    uint64_t run = 0;
    uint32_t number = 0;
    uint64_t *dirs = NULL;
    size_t n = 0;
    (void)sample_member(c, RUN_A, "a", 1);
    (void)sample_member(c, RUN_A, "a.pt", 256);
    sample_put(w->store, c);
    assert_ok(ckpt_runs_by_version(w->runs, RUN_A, "a", 1, &run, &number));
    assert_ok(ckpt_runs_by_version(w->runs, RUN_A, "a.pt", 256, &run, &number));
    assert_int_equal(ckpt_runs_by_version(w->runs, RUN_A, "a.pt", 1, &run, &number), CKPT_ERR_NOT_FOUND);
    assert_int_equal(ckpt_runs_by_version(w->runs, RUN_A, "a.p", 256, &run, &number), CKPT_ERR_NOT_FOUND);
    assert_ok(ckpt_member_runs(w->store, RUN_A, "a.p", &dirs, &n));
    assert_int_equal(n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_found_in_a_run),
        cmocka_unit_test(an_empty_run_has_nothing),
        cmocka_unit_test(what_there_is_once_and_in_order),
        cmocka_unit_test(what_is_found_follows_every_change),
        cmocka_unit_test(what_was_changed_is_listed_once),
        cmocka_unit_test_setup_teardown(a_run_is_read_when_it_is_asked_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_run_is_no_run, set_up, tear_down),
        cmocka_unit_test_setup_teardown(checkpoints_are_found_by_the_beginning_of_their_id, set_up, tear_down),
        cmocka_unit_test_setup_teardown(checkpoints_are_found_by_their_versions, set_up, tear_down),
        cmocka_unit_test_setup_teardown(runs_are_found_below_a_directory, set_up, tear_down),
        cmocka_unit_test_setup_teardown(processes_are_known_by_their_text, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_nearest_policy_applies, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_policy_above_a_circle, set_up, tear_down),
        cmocka_unit_test_setup_teardown(changes_are_seen_when_they_are_committed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_new_run_is_found_after_its_commit, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_could_not_be_saved_is_forgotten, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_what_was_touched_is_written, set_up, tear_down),
        cmocka_unit_test_setup_teardown(each_run_is_visited, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_forgotten_version_leaves_its_checkpoints, set_up, tear_down),
        cmocka_unit_test_setup_teardown(nothing_leaves_when_forgetting_fails, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_version_is_held_until_the_last_checkpoint_releases_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(holders_are_those_of_this_version, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
