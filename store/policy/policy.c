/*
 * Verdicts: what is kept (policy_rules.c), what becomes of the rest.
 */
#include "policy_rules.h"
#include <stdlib.h>

static uint64_t add_bytes(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* Without a keep rule the trainer alone decides what goes. */
static void keep_by_default(struct ckpt_policy_run *run)
{
    for (size_t i = 0; i < run->n; i++) {
        const struct ckpt_policy_checkpoint *c = run->items[i].checkpoint;
        struct ckpt_policy_verdict *v = &run->verdicts[i];
        if (c->gone == CKPT_GONE_NOT && !c->dropped && v->kind != CKPT_VERDICT_KEEP) {
            *v = (struct ckpt_policy_verdict){.kind = CKPT_VERDICT_KEEP,
                                              .reason = CKPT_REASON_DEFAULT};
        }
    }
}

static bool only_rules_keep(const struct ckpt_policy_run *run, size_t position)
{
    const struct ckpt_policy_verdict *v = &run->verdicts[position];
    return v->kind == CKPT_VERDICT_KEEP && !ckpt_policy_is_safe(v);
}

/*
 * The youngest that fit stay. What is hidden already comes behind all others: else one that was let
 * go could come back for a place that another was let go for, and drive the next one out.
 */
static void apply_quota(struct ckpt_policy_run *run)
{
    uint64_t sum = 0;
    bool over = false;
    if (!run->policy->has_quota) {
        return;
    }
    for (size_t i = 0; i < run->n; i++) {
        sum = add_bytes(
            sum, ckpt_policy_is_safe(&run->verdicts[i]) ? run->items[i].checkpoint->bytes : 0);
    }
    for (unsigned hidden = 0; hidden < 2; hidden++) {
        for (size_t i = run->n; i-- > 0;) {
            const struct ckpt_policy_checkpoint *c = run->items[i].checkpoint;
            if (!only_rules_keep(run, i) || c->hidden != (hidden == 1)) {
                continue;
            }
            uint64_t with = add_bytes(sum, c->bytes);
            over = over || with > run->policy->quota;
            if (over) {
                run->verdicts[i] = (struct ckpt_policy_verdict){.kind = CKPT_VERDICT_HIDE,
                                                                .reason = CKPT_REASON_QUOTA};
            } else {
                sum = with;
            }
        }
    }
}

/* Starts or goes on with the grace of one that was let go. SHOWN: it stays as it is for so long. */
static void set_grace(const struct ckpt_policy_run *run, struct ckpt_policy_verdict *v,
                      int64_t since, bool shown)
{
    v->since_ns = since;
    v->until_ns = ckpt_add_saturated(since, run->policy->grace_ns);
    if (v->until_ns <= run->situation->now_ns) {
        v->kind = CKPT_VERDICT_DROP;
    } else {
        v->kind = shown ? CKPT_VERDICT_KEEP : CKPT_VERDICT_HIDE;
    }
}

static enum ckpt_policy_reason why_let_go(const struct ckpt_policy_item *item, bool by_rules)
{
    if (item->checkpoint->state == CKPT_STATE_INVALID) {
        return CKPT_REASON_INVALID;
    }
    return by_rules && item->candidate && !item->counts ? CKPT_REASON_SNAPSHOT
                                                        : CKPT_REASON_NO_RULE;
}

/* Without rules that decide (BY_RULES false) the deed of the trainer counts: it is neither hidden
 * nor kept longer than that says. */
static void let_go(const struct ckpt_policy_run *run, size_t position, bool by_rules)
{
    const struct ckpt_policy_checkpoint *c = run->items[position].checkpoint;
    const struct ckpt_policy_situation *s = run->situation;
    struct ckpt_policy_verdict *v = &run->verdicts[position];
    if (!by_rules && c->gone != CKPT_GONE_NOT) {
        int64_t since = later(c->gone_ns, s->changed_ns);
        v->reason = c->gone == CKPT_GONE_DELETED ? CKPT_REASON_DELETED : CKPT_REASON_OVERWRITTEN;
        /* What was hidden by rules that are no more stays so: shown again it would lose the rest of
         * its grace. */
        set_grace(run, v, c->hidden ? later(since, c->hidden_ns) : since, !c->hidden);
        return;
    }
    if (v->reason != CKPT_REASON_QUOTA) {
        v->reason = why_let_go(&run->items[position], by_rules);
    }
    /* A broken file shouldn't vanish under the eyes of who has just written it. */
    if (v->reason == CKPT_REASON_INVALID && by_rules && !c->hidden && c->gone == CKPT_GONE_NOT) {
        set_grace(run, v, later(c->saved_ns, s->changed_ns), true);
        if (v->kind == CKPT_VERDICT_KEEP) {
            return;
        }
    }
    set_grace(run, v, c->hidden ? c->hidden_ns : s->now_ns, false);
}

/* Whether it has a grace, so that it may go before that is over. */
static bool has_grace(const struct ckpt_policy_verdict *v)
{
    return v->kind == CKPT_VERDICT_HIDE ||
           (v->kind == CKPT_VERDICT_KEEP &&
            (v->reason == CKPT_REASON_OVERWRITTEN || v->reason == CKPT_REASON_DELETED ||
             v->reason == CKPT_REASON_INVALID));
}

static void make_space(struct ckpt_policy_run *run)
{
    uint64_t freed = 0;
    for (size_t i = 0; i < run->n; i++) {
        bool drop =
            run->verdicts[i].kind == CKPT_VERDICT_DROP && !run->items[i].checkpoint->dropped;
        freed = add_bytes(freed, drop ? run->items[i].checkpoint->bytes : 0);
    }
    for (size_t i = 0; i < run->n && freed < run->situation->bytes_wanted; i++) {
        struct ckpt_policy_verdict *v = &run->verdicts[i];
        if (has_grace(v)) {
            v->kind = CKPT_VERDICT_DROP;
            v->reason = CKPT_REASON_SPACE;
            freed = add_bytes(freed, run->items[i].checkpoint->bytes);
        }
    }
}

static void judge(struct ckpt_policy_run *run, const struct ckpt_policy_ranking *ranking)
{
    bool by_rules = run->policy->n_rules > 0 && !run->situation->run_deleted;
    for (size_t i = 0; i < run->n; i++) {
        bool dropped = run->items[i].checkpoint->dropped;
        run->verdicts[i] = (struct ckpt_policy_verdict){
            .kind = dropped ? CKPT_VERDICT_DROP : CKPT_VERDICT_HIDE,
            .reason = dropped ? CKPT_REASON_DROPPED : CKPT_REASON_NO_RULE};
    }
    ckpt_policy_keep_safe(run, ranking);
    if (by_rules) {
        ckpt_policy_keep_by_rules(run);
    } else if (!run->situation->run_deleted) {
        keep_by_default(run);
    }
    apply_quota(run);
    for (size_t i = 0; i < run->n; i++) {
        if (run->verdicts[i].kind == CKPT_VERDICT_HIDE) {
            let_go(run, i, by_rules);
        }
    }
    make_space(run);
}

static void sum_up(const struct ckpt_policy_run *run, const struct ckpt_policy_ranking *ranking,
                   struct ckpt_policy_verdict *verdicts, struct ckpt_policy_summary *summary)
{
    struct ckpt_policy_summary s = {.best = CKPT_POLICY_NONE,
                                    .latest = CKPT_POLICY_NONE,
                                    .metric = ranking->name,
                                    .direction = ranking->direction,
                                    .unranked = run->unranked};
    for (size_t i = 0; i < run->n; i++) {
        const struct ckpt_policy_item *item = &run->items[i];
        const struct ckpt_policy_verdict *v = &run->verdicts[i];
        uint64_t *sums[] = {&s.kept_bytes, &s.hidden_bytes, &s.dropped_bytes};
        verdicts[item->index] = *v;
        if (!item->checkpoint->dropped) {
            *sums[v->kind] = add_bytes(*sums[v->kind], item->checkpoint->bytes);
        }
    }
    if (run->best != CKPT_POLICY_NONE) {
        s.best = run->items[run->best].index;
    }
    if (run->latest != CKPT_POLICY_NONE) {
        s.latest = run->items[run->latest].index;
    }
    *summary = s;
}

enum ckpt_err ckpt_policy_judge(const struct ckpt_policy *policy,
                                const struct ckpt_policy_checkpoint *checkpoints, size_t n,
                                const struct ckpt_policy_situation *situation,
                                struct ckpt_policy_verdict *verdicts,
                                struct ckpt_policy_summary *summary)
{
    struct ckpt_policy none;
    ckpt_policy_init(&none);
    struct ckpt_policy_run run = {.policy = policy != NULL ? policy : &none,
                                  .situation = situation,
                                  .n = n,
                                  .best = CKPT_POLICY_NONE,
                                  .latest = CKPT_POLICY_NONE};
    struct ckpt_policy_ranking ranking = {.smooth = 1};
    enum ckpt_err err = CKPT_ERR_NOMEM;
    if (n > 0) {
        run.items = ckpt_policy_order(run.policy, checkpoints, n);
        run.verdicts = calloc(n, sizeof *run.verdicts);
        run.ranked = calloc(n, sizeof *run.ranked);
        run.cells = calloc(n, sizeof *run.cells);
        if (run.items == NULL || run.verdicts == NULL || run.ranked == NULL || run.cells == NULL) {
            goto out;
        }
        ranking = ckpt_policy_ranking(run.policy, run.items, n, NULL);
        judge(&run, &ranking);
    }
    sum_up(&run, &ranking, verdicts, summary);
    err = CKPT_OK;
out:
    free(run.cells);
    free(run.ranked);
    free(run.verdicts);
    free(run.items);
    return err;
}
