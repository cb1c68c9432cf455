/*
 * What holds for the verdicts of any history under any policy: the never-list, that carrying
 * verdicts out changes nothing more, and that a further keep rule costs nothing.
 */
#include "policy_history.h"

enum { RUN_MAX = 60, ROUNDS = 6000, MANY = 10000 };

struct run {
    struct ckpt_policy policy;
    struct ckpt_policy_checkpoint checkpoints[RUN_MAX];
    struct ckpt_policy_value values[RUN_MAX][2];
    struct ckpt_policy_verdict verdicts[RUN_MAX];
    struct ckpt_policy_summary summary;
    struct ckpt_policy_situation situation;
    size_t n;
};

static uint64_t below(uint64_t *seed, uint64_t n)
{
    return unit_random(seed) % n;
}

static bool one_in(uint64_t *seed, uint64_t n)
{
    return below(seed, n) == 0;
}

static double random_value(uint64_t *seed)
{
    static const double odd[] = {NAN, INFINITY, -INFINITY, 0.0, -0.0};
    if (one_in(seed, 12)) {
        return odd[below(seed, 5)];
    }
    return (double)below(seed, 20) / 10;
}

/* Now and then far away: a clock may say anything. */
static int64_t random_time(uint64_t *seed)
{
    static const int64_t odd[] = {INT64_MIN, INT64_MAX, 0, -1};
    if (one_in(seed, 40)) {
        return odd[below(seed, 4)];
    }
    return (NOW - (int64_t)below(seed, 20 * D)) * NS;
}

static void random_checkpoint(struct run *run, size_t i, int64_t *clock, uint64_t *seed)
{
    struct ckpt_policy_checkpoint *c = &run->checkpoints[i];
    *clock += (int64_t)below(seed, 6 * H) * NS;
    *c = (struct ckpt_policy_checkpoint){
        .sequence = i + 1 - below(seed, 2), /* some are equal */
        .saved_ns = one_in(seed, 10) ? random_time(seed) : *clock,
        .epoch = i / 2,
        .step = i * 50,
        .has_epoch = !one_in(seed, 8),
        .has_step = !one_in(seed, 8),
        .bytes = one_in(seed, 50) ? UINT64_MAX : below(seed, 100),
        .state = one_in(seed, 8)    ? CKPT_STATE_INVALID
                 : one_in(seed, 15) ? CKPT_STATE_WRITING
                                    : CKPT_STATE_COMPLETE,
        .pinned = one_in(seed, 15),
        .tagged = one_in(seed, 15),
        .open = one_in(seed, 15),
        .parent = one_in(seed, 25),
        .alias = one_in(seed, 25),
        .dropped = one_in(seed, 6),
        .hidden = one_in(seed, 5),
        .hidden_ns = random_time(seed),
        .gone = (enum ckpt_policy_gone)below(seed, 3),
        .gone_ns = random_time(seed),
        .values = run->values[i],
        .n_values = below(seed, 3),
    };
    run->values[i][0] = (struct ckpt_policy_value){.name = "val_loss", .value = random_value(seed)};
    run->values[i][1] = (struct ckpt_policy_value){.name = "val_acc", .value = random_value(seed)};
}

static size_t add_rule(char *text, size_t size, uint64_t *seed)
{
    static const char *const rules[] = {
        "keep last %d",         "keep best %d",          "keep best %d by val_acc",
        "keep every %d epochs", "keep every %d00 steps", "keep every %dh",
        "keep first #%d",       "keep within %dd",       "keep thinning 1h:%d 1d:3",
        "keep best %d by odd",
    };
    int n = snprintf(text, size, rules[below(seed, 60) == 0 ? 9 : below(seed, 9)],
                     1 + (int)below(seed, 5));
    return (size_t)n + (size_t)snprintf(text + n, size - (size_t)n, "\n");
}

/* LIMITED: with a quota and a want of space. */
static void random_run(struct run *run, bool limited, size_t least_rules, uint64_t *seed)
{
    static const char *const others[] = {
        "metric val_loss min min-delta 0.2\n",
        "metric val_loss min min-delta 0.5 smooth 3\n",
        "metric val_acc max smooth 2\n",
        "snapshot every 3h\n",
        "grace 0\n",
        "grace 3d\n",
    };
    char text[1024] = "";
    size_t n = 0;
    int64_t clock = (NOW - 15 * D) * NS;
    run->n = 1 + below(seed, RUN_MAX);
    for (size_t i = 0; i < run->n; i++) {
        random_checkpoint(run, i, &clock, seed);
    }
    for (size_t i = least_rules + below(seed, 4); i-- > 0;) {
        n += add_rule(text + n, sizeof text - n, seed);
    }
    size_t metric = below(seed, 5);
    size_t grace = 4 + below(seed, 3);
    n += (size_t)snprintf(text + n, sizeof text - n, "%s%s%s", metric < 3 ? others[metric] : "",
                          one_in(seed, 3) ? others[3] : "", grace < 6 ? others[grace] : "");
    if (limited && one_in(seed, 2)) {
        n += (size_t)snprintf(text + n, sizeof text - n, "quota %d\n", 1 + (int)below(seed, 2000));
    }
    parse(text, &run->policy);
    run->situation = (struct ckpt_policy_situation){
        .now_ns = NOW * NS,
        .changed_ns = one_in(seed, 2) ? 0 : random_time(seed),
        .bytes_wanted = limited && one_in(seed, 2) ? below(seed, 2000) : 0,
        .run_deleted = one_in(seed, 10),
    };
}

static void judge(struct run *run)
{
    assert_ok(ckpt_policy_judge(&run->policy, run->checkpoints, run->n, &run->situation,
                                run->verdicts, &run->summary));
}

/* The oldest of those with the least value, worked out the long way. */
static size_t plain_best(const struct run *run)
{
    size_t best = CKPT_POLICY_NONE;
    double least = 0;
    for (size_t i = 0; i < run->n; i++) {
        const struct ckpt_policy_checkpoint *c = &run->checkpoints[i];
        bool known = c->n_values > 0 && !isnan(c->values[0].value);
        if (!known || c->dropped || c->state != CKPT_STATE_COMPLETE) {
            continue;
        }
        double value = c->values[0].value;
        bool older = best != CKPT_POLICY_NONE && c->sequence < run->checkpoints[best].sequence;
        if (best == CKPT_POLICY_NONE || value < least || (value <= least && older)) {
            best = i;
            least = value;
        }
    }
    return best;
}

static void check_never_list(const struct run *run)
{
    size_t latest = CKPT_POLICY_NONE;
    for (size_t i = 0; i < run->n; i++) {
        const struct ckpt_policy_checkpoint *c = &run->checkpoints[i];
        const struct ckpt_policy_verdict *v = &run->verdicts[i];
        bool kept = v->kind == CKPT_VERDICT_KEEP;
        char text[256];
        ckpt_policy_explain(v, text, sizeof text);
        assert_int_equal(kept, strncmp(text, "keep: ", 6) == 0);
        if (c->dropped) {
            assert_int_equal(v->reason, CKPT_REASON_DROPPED);
            assert_int_equal(v->kind, CKPT_VERDICT_DROP);
            continue;
        }
        assert_int_not_equal(v->reason, CKPT_REASON_DROPPED);
        if (c->pinned || c->tagged || c->open || c->parent || c->alias ||
            c->state == CKPT_STATE_WRITING) {
            assert_true(kept);
        }
        if (c->state == CKPT_STATE_COMPLETE &&
            (latest == CKPT_POLICY_NONE || c->sequence >= run->checkpoints[latest].sequence)) {
            latest = i;
        }
        if (run->policy.n_rules == 0 && !run->policy.has_quota && !run->situation.run_deleted &&
            c->gone == CKPT_GONE_NOT) {
            assert_true(kept);
        }
        if (v->kind == CKPT_VERDICT_HIDE) {
            assert_true(v->until_ns > run->situation.now_ns);
        }
    }
    assert_int_equal(run->summary.latest, latest);
    if (run->policy.n_metrics == 0 && run->summary.metric != NULL &&
        strcmp(run->summary.metric, "val_loss") == 0) {
        assert_int_equal(run->summary.best, plain_best(run));
    }
    const size_t shown[] = {latest, run->summary.best};
    for (size_t i = 0; i < 2; i++) {
        if (shown[i] != CKPT_POLICY_NONE) {
            assert_int_equal(run->checkpoints[shown[i]].state, CKPT_STATE_COMPLETE);
            assert_true(run->situation.run_deleted ||
                        run->verdicts[shown[i]].kind == CKPT_VERDICT_KEEP);
        }
    }
}

static void test_the_never_list(void **state)
{
    struct run *run = malloc(sizeof *run);
    uint64_t seed = 1;
    (void)state;
    assert_non_null(run);
    for (unsigned round = 0; round < ROUNDS; round++) {
        random_run(run, true, 0, &seed);
        judge(run);
        check_never_list(run);
    }
    free(run);
}

static void carry_out(struct run *run)
{
    for (size_t i = 0; i < run->n; i++) {
        struct ckpt_policy_checkpoint *c = &run->checkpoints[i];
        const struct ckpt_policy_verdict *v = &run->verdicts[i];
        c->dropped = v->kind == CKPT_VERDICT_DROP;
        c->hidden = v->kind == CKPT_VERDICT_HIDE;
        c->hidden_ns = v->since_ns;
    }
}

/* A second time nothing more goes, nor does what is shown change, nor do the best and the latest.
 */
static void test_carrying_verdicts_out_settles_it(void **state)
{
    struct run *run = malloc(sizeof *run);
    uint64_t seed = 2;
    (void)state;
    assert_non_null(run);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct ckpt_policy_verdict before[RUN_MAX];
        random_run(run, true, 0, &seed);
        judge(run);
        memcpy(before, run->verdicts, sizeof before);
        struct ckpt_policy_summary summary = run->summary;
        carry_out(run);
        run->situation.bytes_wanted = 0;
        judge(run);
        check_never_list(run);
        for (size_t i = 0; i < run->n; i++) {
            bool went = before[i].kind == CKPT_VERDICT_DROP;
            assert_int_equal(run->verdicts[i].kind == CKPT_VERDICT_DROP, went);
            assert_true(before[i].kind != CKPT_VERDICT_KEEP ||
                        run->verdicts[i].kind == CKPT_VERDICT_KEEP);
        }
        if (!run->situation.run_deleted) {
            assert_int_equal(run->summary.best, summary.best);
            assert_int_equal(run->summary.latest, summary.latest);
        }
        assert_int_equal(run->summary.dropped_bytes, 0);
    }
    free(run);
}

/* Without a limit on space. With the first keep rule the rules begin to decide, so there is one
 * before. */
static void test_more_rules_keep_more(void **state)
{
    struct run *run = malloc(sizeof *run);
    uint64_t seed = 3;
    (void)state;
    assert_non_null(run);
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct ckpt_policy_verdict before[RUN_MAX];
        struct ckpt_policy more;
        char text[64];
        random_run(run, false, 1, &seed);
        judge(run);
        memcpy(before, run->verdicts, sizeof before);
        parse((add_rule(text, sizeof text, &seed), text), &more);
        run->policy.rules[run->policy.n_rules++] = more.rules[0];
        judge(run);
        for (size_t i = 0; i < run->n; i++) {
            assert_true(run->verdicts[i].kind <= before[i].kind);
        }
    }
    free(run);
}

/* A run goes on: whatever came and went, the best value seen among all that were complete is still
 * there. */
static void test_the_best_survives_a_whole_run(void **state)
{
    struct run *run = malloc(sizeof *run);
    uint64_t seed = 6;
    (void)state;
    assert_non_null(run);
    for (unsigned round = 0; round < ROUNDS / 20; round++) {
        memset(run, 0, sizeof *run);
        parse("keep last 2\nkeep best 2\nkeep every 7 epochs\ngrace 1d\nquota 400\n", &run->policy);
        double least = INFINITY;
        for (run->n = 0; run->n < RUN_MAX;) {
            struct ckpt_policy_checkpoint *c = &run->checkpoints[run->n];
            run->values[run->n][0] = (struct ckpt_policy_value){
                .name = "val_loss", .value = (double)(1 + below(&seed, 1000))};
            *c = (struct ckpt_policy_checkpoint){.sequence = run->n + 1,
                                                 .saved_ns = (NOW + (int64_t)run->n * 5 * H) * NS,
                                                 .epoch = run->n,
                                                 .has_epoch = true,
                                                 .bytes = 90,
                                                 .values = run->values[run->n],
                                                 .n_values = 1};
            least = c->values[0].value < least ? c->values[0].value : least;
            run->situation.now_ns = c->saved_ns;
            run->n++;
            judge(run);
            carry_out(run);
            assert_int_equal(run->summary.latest, run->n - 1);
            assert_true(run->checkpoints[run->summary.best].values[0].value == least);
            assert_false(run->checkpoints[run->summary.best].dropped);
            assert_true(run->summary.kept_bytes <= 400);
        }
    }
    free(run);
}

/* Every rule at once over a long run; what takes quadratic time shows as a timeout under a
 * sanitizer. */
static void test_a_long_run(void **state)
{
    static const char text[] =
        "metric val_loss min min-delta 0.001 smooth 100\nkeep last 5\nkeep best 3\n"
        "keep every 10 epochs\nkeep every 1000 steps\nkeep every 2h\nkeep first\n"
        "keep within 7d\nkeep thinning 1h:24 1d:7 1w:8\nsnapshot every 30m\nquota 5000\n";
    struct ckpt_policy policy;
    struct ckpt_policy_checkpoint *checkpoints = calloc(MANY, sizeof *checkpoints);
    struct ckpt_policy_value *values = calloc(MANY, sizeof *values);
    struct ckpt_policy_verdict *verdicts = calloc(MANY, sizeof *verdicts);
    struct ckpt_policy_situation situation = {.now_ns = NOW * NS};
    struct ckpt_policy_summary summary;
    uint64_t seed = 7;
    (void)state;
    assert_non_null(checkpoints);
    assert_non_null(values);
    assert_non_null(verdicts);
    parse(text, &policy);
    for (size_t i = 0; i < MANY; i++) {
        /* in no order */
        uint64_t sequence = (i * 7919) % MANY;
        values[i] =
            (struct ckpt_policy_value){.name = "val_loss", .value = (double)below(&seed, 1000)};
        checkpoints[i] = (struct ckpt_policy_checkpoint){
            .sequence = sequence,
            .saved_ns = (NOW - (int64_t)(MANY - sequence) * 10 * M) * NS,
            .epoch = sequence / 4,
            .step = sequence * 25,
            .has_epoch = true,
            .has_step = true,
            .bytes = 1,
            .gone = sequence % 3 == 0 ? CKPT_GONE_OVERWRITTEN : CKPT_GONE_NOT,
            .values = &values[i],
            .n_values = 1,
        };
    }
    assert_ok(ckpt_policy_judge(&policy, checkpoints, MANY, &situation, verdicts, &summary));
    assert_int_equal(checkpoints[summary.latest].sequence, MANY - 1);
    assert_in_range(summary.kept_bytes, 1000, 5000);
    assert_int_equal(summary.kept_bytes + summary.hidden_bytes + summary.dropped_bytes, MANY);
    free(verdicts);
    free(values);
    free(checkpoints);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_the_never_list),
        cmocka_unit_test(test_carrying_verdicts_out_settles_it),
        cmocka_unit_test(test_more_rules_keep_more),
        cmocka_unit_test(test_the_best_survives_a_whole_run),
        cmocka_unit_test(test_a_long_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
