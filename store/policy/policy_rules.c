/*
 * What keeps checkpoints. Every rule picks by an order or a grid that doesn't depend on what it
 * doesn't pick, so what is removed because of a verdict never changes the next one.
 */
#include "policy_rules.h"
#include <stdlib.h>

static struct ckpt_policy_verdict *keep(struct ckpt_policy_run *run, size_t position,
                                        enum ckpt_policy_reason reason,
                                        const struct ckpt_policy_rule *rule)
{
    struct ckpt_policy_verdict *v = &run->verdicts[position];
    if (v->kind == CKPT_VERDICT_KEEP) {
        return NULL;
    }
    *v = (struct ckpt_policy_verdict){.kind = CKPT_VERDICT_KEEP, .reason = reason, .rule = rule};
    return v;
}

static void keep_ranked(struct ckpt_policy_run *run, size_t rank, const char *metric,
                        enum ckpt_policy_reason reason, const struct ckpt_policy_rule *rule)
{
    const struct ckpt_policy_ranked *r = &run->ranked[rank];
    struct ckpt_policy_verdict *v = keep(run, r->position, reason, rule);
    if (v != NULL) {
        v->metric = metric;
        v->rank = rank + 1;
        v->value = r->value;
    }
}

static void keep_best_and_latest(struct ckpt_policy_run *run,
                                 const struct ckpt_policy_ranking *ranking)
{
    size_t candidates = 0;
    for (size_t i = 0; i < run->n; i++) {
        if (run->items[i].candidate) {
            candidates++;
            run->latest = i;
        }
    }
    bool any = ckpt_policy_rank_items(run->items, run->n, ranking, 1, run->ranked) > 0;
    if (any) {
        run->best = run->ranked[0].position;
    }
    if (run->situation->run_deleted || candidates == 0) {
        return;
    }
    if (candidates == 1) {
        (void)keep(run, run->latest, CKPT_REASON_ONLY, NULL);
    }
    if (any) {
        keep_ranked(run, 0, ranking->name, CKPT_REASON_BEST, NULL);
    }
    (void)keep(run, run->latest, CKPT_REASON_LATEST, NULL);
}

void ckpt_policy_keep_safe(struct ckpt_policy_run *run, const struct ckpt_policy_ranking *ranking)
{
    keep_best_and_latest(run, ranking);
    for (size_t i = 0; i < run->n; i++) {
        const struct ckpt_policy_checkpoint *c = run->items[i].checkpoint;
        const struct {
            bool holds;
            enum ckpt_policy_reason reason;
        } flags[] = {
            {c->state == CKPT_STATE_WRITING, CKPT_REASON_WRITING},
            {c->pinned, CKPT_REASON_PINNED},
            {c->tagged, CKPT_REASON_TAGGED},
            {c->parent, CKPT_REASON_PARENT},
            {c->open, CKPT_REASON_OPEN},
            {c->alias, CKPT_REASON_ALIAS},
        };
        for (size_t k = 0; k < sizeof flags / sizeof flags[0] && !c->dropped; k++) {
            if (flags[k].holds) {
                (void)keep(run, i, flags[k].reason, NULL);
            }
        }
    }
}

static void keep_last(struct ckpt_policy_run *run, const struct ckpt_policy_rule *rule)
{
    uint64_t left = rule->count;
    for (size_t i = run->n; i-- > 0 && left > 0;) {
        if (run->items[i].counts) {
            (void)keep(run, i, CKPT_REASON_RULE, rule);
            left--;
        }
    }
}

static void keep_first(struct ckpt_policy_run *run, const struct ckpt_policy_rule *rule)
{
    for (size_t i = 0; i < run->n; i++) {
        if (run->items[i].counts) {
            (void)keep(run, i, CKPT_REASON_RULE, rule);
            return;
        }
    }
}

/* What can't be decided removes nothing: without any ranking the rule keeps everything. Overwritten
   versions between snapshots take part: a good value is worth more than an even spacing. */
static void keep_best(struct ckpt_policy_run *run, const struct ckpt_policy_rule *rule)
{
    struct ckpt_policy_ranking ranking =
        ckpt_policy_ranking(run->policy, run->items, run->n, rule->metric);
    size_t found = ckpt_policy_rank_items(run->items, run->n, &ranking, rule->count, run->ranked);
    for (size_t i = 0; i < found && i < rule->count; i++) {
        keep_ranked(run, i, ranking.name, CKPT_REASON_RULE, rule);
    }
    if (found > 0) {
        return;
    }
    bool undirected = ranking.name != NULL && ranking.direction == CKPT_DIRECTION_UNKNOWN;
    if (undirected && run->unranked == NULL) {
        run->unranked = ranking.name;
    }
    for (size_t i = 0; i < run->n; i++) {
        enum ckpt_policy_reason reason = undirected ? CKPT_REASON_DIRECTION : CKPT_REASON_UNRANKED;
        struct ckpt_policy_verdict *v = run->items[i].counts ? keep(run, i, reason, rule) : NULL;
        if (v != NULL) {
            v->metric = ranking.name;
        }
    }
}

/* By cell, in it by value, of equal values the youngest. */
static int compare_cells(const void *a, const void *b)
{
    const struct ckpt_policy_cell *x = a;
    const struct ckpt_policy_cell *y = b;
    if (x->cell != y->cell) {
        return x->cell < y->cell ? -1 : 1;
    }
    if (x->value != y->value) {
        return x->value < y->value ? -1 : 1;
    }
    return x->position > y->position ? -1 : x->position < y->position;
}

/* Cell 0 is that of the multiple 0, which only an epoch 0 stands for: a run that counts from 1 has
 * no claim to keep 1. */
static void keep_multiples(struct ckpt_policy_run *run, const struct ckpt_policy_rule *rule)
{
    size_t found = 0;
    for (size_t i = 0; i < run->n; i++) {
        const struct ckpt_policy_checkpoint *c = run->items[i].checkpoint;
        bool by_epoch = rule->kind == CKPT_RULE_EPOCHS;
        uint64_t value = by_epoch ? c->epoch : c->step;
        bool known = by_epoch ? c->has_epoch : c->has_step;
        if (run->items[i].counts && known && (value == 0 || value >= rule->count)) {
            run->cells[found++] = (struct ckpt_policy_cell){
                .cell = value / rule->count, .value = value, .position = i};
        }
    }
    qsort(run->cells, found, sizeof *run->cells, compare_cells);
    for (size_t i = 0; i < found; i++) {
        if (i == 0 || run->cells[i].cell != run->cells[i - 1].cell) {
            (void)keep(run, run->cells[i].position, CKPT_REASON_RULE, rule);
        }
    }
}

static void keep_every(struct ckpt_policy_run *run, const struct ckpt_policy_rule *rule)
{
    bool any = false;
    int64_t last = 0;
    for (size_t i = 0; i < run->n; i++) {
        int64_t cell = ckpt_floor_div(run->items[i].time_ns, rule->duration_ns);
        if (run->items[i].counts && (!any || cell != last)) {
            (void)keep(run, i, CKPT_REASON_RULE, rule);
            any = true;
            last = cell;
        }
    }
}

static void keep_within(struct ckpt_policy_run *run, const struct ckpt_policy_rule *rule)
{
    if (run->latest == CKPT_POLICY_NONE) {
        return;
    }
    int64_t since = ckpt_add_saturated(run->items[run->latest].time_ns, -rule->duration_ns);
    for (size_t i = 0; i < run->n; i++) {
        if (run->items[i].counts && run->items[i].time_ns >= since) {
            (void)keep(run, i, CKPT_REASON_RULE, rule);
        }
    }
}

/* The newest of a cell, so that the one that stands for a day is among those that stand for its
 * hours. */
static void keep_thinning(struct ckpt_policy_run *run, const struct ckpt_policy_rule *rule)
{
    for (size_t k = 0; k < rule->n_thinnings; k++) {
        const struct ckpt_thinning *thinning = &rule->thinnings[k];
        uint64_t left = thinning->count;
        bool any = false;
        int64_t last = 0;
        for (size_t i = run->n; i-- > 0 && left > 0;) {
            int64_t cell = ckpt_floor_div(run->items[i].time_ns, thinning->step_ns);
            if (run->items[i].counts && (!any || cell != last)) {
                (void)keep(run, i, CKPT_REASON_RULE, rule);
                any = true;
                last = cell;
                left--;
            }
        }
    }
}

void ckpt_policy_keep_by_rules(struct ckpt_policy_run *run)
{
    for (size_t i = 0; i < run->policy->n_rules; i++) {
        const struct ckpt_policy_rule *rule = &run->policy->rules[i];
        switch (rule->kind) {
        case CKPT_RULE_LAST:
            keep_last(run, rule);
            break;
        case CKPT_RULE_BEST:
            keep_best(run, rule);
            break;
        case CKPT_RULE_EPOCHS:
        case CKPT_RULE_STEPS:
            keep_multiples(run, rule);
            break;
        case CKPT_RULE_EVERY:
            keep_every(run, rule);
            break;
        case CKPT_RULE_FIRST:
            keep_first(run, rule);
            break;
        case CKPT_RULE_WITHIN:
            keep_within(run, rule);
            break;
        case CKPT_RULE_THINNING:
            keep_thinning(run, rule);
            break;
        }
    }
}
