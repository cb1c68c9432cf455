/*
 * A run in the policy's terms.
 */
#include "unit.h"

#include "catalog/run_parts.h"
#include "catalog/run_rows.h"
#include <ckpt/keep.h>

static const int64_t now_ns = INT64_C(1700000000) * 1000000000;
static const int64_t day_ns = INT64_C(86400) * 1000000000;

static struct ckpt_checkpoint *add(struct ckpt_run *run)
{
    struct ckpt_checkpoint *c = ckpt_checkpoint_new();
    assert_non_null(c);
    c->run = run->dir;
    c->number = run->next_number++;
    c->id = 1000 + c->number;
    c->sequence = c->number;
    c->saved_ns = now_ns - day_ns + c->number;
    c->status = CKPT_STATUS_COMPLETE;
    assert_ok(ckpt_text_set(&c->root, "x"));
    assert_ok(ckpt_text_set(&c->group, "x"));
    assert_ok(ckpt_run_put(run, c));
    return c;
}

static void add_value(struct ckpt_checkpoint *c, const char *name, double number)
{
    struct ckpt_value value = {.name = (char *)name, .value = number, .from = CKPT_FROM_METRICS};
    bool changed = false;
    assert_ok(ckpt_checkpoint_set_value(c, &value, &changed));
}

static struct ckpt_member *add_member(struct ckpt_checkpoint *c, uint64_t added)
{
    struct ckpt_member *m = ckpt_checkpoint_add_member(c);
    assert_non_null(m);
    m->number = 1;
    m->added = added;
    assert_ok(ckpt_text_set(&m->name, "x"));
    assert_ok(ckpt_text_set(&m->path, "x"));
    return m;
}

static struct ckpt_policy parse(const char *text)
{
    struct ckpt_policy policy;
    assert_ok(ckpt_policy_parse(text, strlen(text), &policy, NULL));
    return policy;
}

static struct ckpt_judgement judge(const struct ckpt_run *run, const struct ckpt_policy *policy)
{
    struct ckpt_judge_context context = {.now_ns = now_ns};
    struct ckpt_judgement judgement;
    assert_ok(ckpt_judge(run, policy, &context, &judgement));
    return judgement;
}

static void what_a_status_is(void **state)
{
    static const struct {
        enum ckpt_status status;
        enum ckpt_left left;
        enum ckpt_policy_state expected;
        enum ckpt_policy_gone gone;
    } cases[] = {
        {CKPT_STATUS_COMPLETE, CKPT_LEFT_NOT, CKPT_STATE_COMPLETE, CKPT_GONE_NOT},
        {CKPT_STATUS_COMPLETE, CKPT_LEFT_OVERWRITTEN, CKPT_STATE_COMPLETE, CKPT_GONE_OVERWRITTEN},
        {CKPT_STATUS_COMPLETE, CKPT_LEFT_DELETED, CKPT_STATE_COMPLETE, CKPT_GONE_DELETED},
        {CKPT_STATUS_INVALID, CKPT_LEFT_NOT, CKPT_STATE_INVALID, CKPT_GONE_NOT},
        {CKPT_STATUS_WRITING, CKPT_LEFT_NOT, CKPT_STATE_WRITING, CKPT_GONE_NOT},
        /* Nobody completes what isn't there any more. */
        {CKPT_STATUS_WRITING, CKPT_LEFT_DELETED, CKPT_STATE_INVALID, CKPT_GONE_DELETED},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ckpt_run *run = ckpt_run_new(7);
        struct ckpt_policy policy = parse("");
        struct ckpt_checkpoint *c = add(run);
        c->status = cases[i].status;
        c->left = cases[i].left;
        c->left_ns = 5;
        struct ckpt_judgement j = judge(run, &policy);
        assert_int_equal(j.checkpoints[0].state, cases[i].expected);
        assert_int_equal(j.checkpoints[0].gone, cases[i].gone);
        assert_int_equal(j.checkpoints[0].gone_ns, 5);
        ckpt_judgement_clear(&j);
        ckpt_run_free(run);
    }
}

static void an_alias_counts_while_it_is_live(void **state)
{
    static const struct {
        bool alias;
        bool gone;
        bool replaced;
        bool expected;
    } cases[] = {
        {false, false, false, false},
        {true, false, false, true},
        {true, true, false, false},
        {true, false, true, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ckpt_run *run = ckpt_run_new(7);
        struct ckpt_policy policy = parse("");
        struct ckpt_checkpoint *c = add(run);
        add_member(c, 10);
        struct ckpt_member *m = add_member(c, 5);
        m->alias = cases[i].alias;
        m->gone = cases[i].gone;
        m->replaced = cases[i].replaced;
        struct ckpt_judgement j = judge(run, &policy);
        assert_int_equal(j.checkpoints[0].alias, cases[i].expected);
        assert_int_equal(j.checkpoints[0].bytes, 15);
        ckpt_judgement_clear(&j);
        ckpt_run_free(run);
    }
}

static void flags_times_and_numbers_are_those_of_the_checkpoint(void **state)
{
    (void)state;
    struct ckpt_run *run = ckpt_run_new(7);
    struct ckpt_policy policy = parse("");
    struct ckpt_checkpoint *c = add(run);
    bool changed = false;
    c->has_epoch = c->has_step = true;
    c->epoch = 3;
    c->step = 300;
    c->pinned = c->hidden = true;
    c->hidden_ns = 17;
    assert_ok(ckpt_checkpoint_add_tag(c, "t", &changed));
    add(run)->dropped = true;
    struct ckpt_judgement j = judge(run, &policy);
    const struct ckpt_policy_checkpoint *p = &j.checkpoints[0];
    assert_true(p->has_epoch && p->has_step && p->pinned && p->hidden && p->tagged && !p->dropped);
    assert_int_equal(p->epoch, 3);
    assert_int_equal(p->step, 300);
    assert_int_equal(p->hidden_ns, 17);
    assert_int_equal(p->sequence, 1);
    assert_int_equal(p->saved_ns, c->saved_ns);
    assert_true(j.checkpoints[1].dropped && !j.checkpoints[1].tagged);
    assert_int_equal(j.verdicts[1].reason, CKPT_REASON_DROPPED);
    assert_int_equal(j.summary.latest, 0);
    ckpt_judgement_clear(&j);
    ckpt_run_free(run);
}

static bool is_first(void *arg, const struct ckpt_checkpoint *c)
{
    (void)arg;
    return c->number == 1;
}

static void what_only_a_daemon_knows_keeps(void **state)
{
    (void)state;
    static const struct {
        bool open;
        bool parent;
        bool run_deleted;
        enum ckpt_verdict_kind kind;
        enum ckpt_policy_reason reason;
    } cases[] = {
        {false, false, false, CKPT_VERDICT_HIDE, CKPT_REASON_NO_RULE},
        {true, false, false, CKPT_VERDICT_KEEP, CKPT_REASON_OPEN},
        {false, true, false, CKPT_VERDICT_KEEP, CKPT_REASON_PARENT},
        {false, false, true, CKPT_VERDICT_HIDE, CKPT_REASON_NO_RULE},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ckpt_run *run = ckpt_run_new(7);
        struct ckpt_policy policy = parse("keep last 1");
        struct ckpt_judge_context context = {.now_ns = now_ns,
                                             .run_deleted = cases[i].run_deleted,
                                             .open = cases[i].open ? is_first : NULL,
                                             .parent = cases[i].parent ? is_first : NULL};
        struct ckpt_judgement j;
        add(run);
        add(run);
        assert_ok(ckpt_judge(run, &policy, &context, &j));
        assert_int_equal(j.verdicts[0].kind, cases[i].kind);
        assert_int_equal(j.verdicts[0].reason, cases[i].reason);
        assert_int_equal(j.verdicts[1].kind, cases[i].run_deleted ? CKPT_VERDICT_HIDE : CKPT_VERDICT_KEEP);
        ckpt_judgement_clear(&j);
        ckpt_run_free(run);
    }
}

/* val_loss in a file's name, val/loss in a log and valLoss in the policy are one metric. */
static void a_metric_has_many_spellings(void **state)
{
    static const char *const policies[] = {"metric val_loss min\nkeep best 1", "metric val/loss min\nkeep best 1",
                                           "keep best 1 by valLoss", "keep best 1"};
    (void)state;
    for (size_t i = 0; i < sizeof policies / sizeof policies[0]; i++) {
        struct ckpt_run *run = ckpt_run_new(7);
        struct ckpt_policy policy = parse(policies[i]);
        add_value(add(run), "val_loss", 3);
        add_value(add(run), "val/loss", 1);
        add_value(add(run), "valLoss", 2);
        struct ckpt_judgement j = judge(run, &policy);
        assert_int_equal(j.verdicts[0].kind, CKPT_VERDICT_HIDE);
        assert_int_equal(j.verdicts[1].kind, CKPT_VERDICT_KEEP);
        assert_int_equal(j.summary.best, 1);
        ckpt_judgement_clear(&j);
        ckpt_run_free(run);
    }
}

static void ranking_is_of_what_is_shown(void **state)
{
    static const struct {
        const char *metric;
        size_t n;
        uint32_t numbers[4];
    } cases[] = {
        {NULL, 3, {4, 3, 1}},
        {"val/loss", 3, {4, 3, 1}},
        {"acc", 1, {1}},
        {"unheard", 0, {0}},
    };
    (void)state;
    struct ckpt_run *run = ckpt_run_new(7);
    struct ckpt_policy policy = parse("");
    add_value(add(run), "val_loss", 3);
    add_value(run->list[0], "acc", 0.5);
    add_value(add(run), "val_loss", 0);
    add_value(add(run), "val_loss", 2);
    add_value(add(run), "val_loss", 1);
    add_value(add(run), "val_loss", -1);
    run->list[1]->hidden = true;
    run->list[4]->status = CKPT_STATUS_INVALID;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t *numbers = NULL;
        size_t n = 0;
        assert_ok(ckpt_judge_rank(run, &policy, cases[i].metric, &numbers, &n));
        assert_int_equal(n, cases[i].n);
        for (size_t k = 0; k < n; k++) {
            assert_int_equal(numbers[k], cases[i].numbers[k]);
        }
        free(numbers);
    }
    ckpt_run_free(run);
}

static void a_run_without_checkpoints_is_judged(void **state)
{
    (void)state;
    struct ckpt_run *run = ckpt_run_new(7);
    struct ckpt_policy policy = parse("keep last 1");
    struct ckpt_judgement j = judge(run, &policy);
    assert_int_equal(j.count, 0);
    assert_true(j.summary.best == CKPT_POLICY_NONE);
    ckpt_judgement_clear(&j);
    ckpt_run_free(run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_status_is),
        cmocka_unit_test(an_alias_counts_while_it_is_live),
        cmocka_unit_test(flags_times_and_numbers_are_those_of_the_checkpoint),
        cmocka_unit_test(what_only_a_daemon_knows_keeps),
        cmocka_unit_test(a_metric_has_many_spellings),
        cmocka_unit_test(ranking_is_of_what_is_shown),
        cmocka_unit_test(a_run_without_checkpoints_is_judged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
