/*
 * What keeps checkpoints: the never-list and the keep rules. For policy.c.
 */
#ifndef CKPT_STORE_POLICY_RULES_H
#define CKPT_STORE_POLICY_RULES_H

#include "policy_rank.h"

/* One checkpoint with one number of a "keep every" rule, to find the first in each cell of a grid.
 */
struct ckpt_policy_cell {
    uint64_t cell;
    uint64_t value;
    size_t position;
};

/* A run while it is judged. Positions are those of items. */
struct ckpt_policy_run {
    const struct ckpt_policy *policy;
    const struct ckpt_policy_situation *situation;
    struct ckpt_policy_item *items;
    struct ckpt_policy_verdict *verdicts; /* by position */
    struct ckpt_policy_ranked *ranked;    /* room for one ranking */
    struct ckpt_policy_cell *cells;       /* room for one rule */
    size_t n;
    size_t best;   /* position, or CKPT_POLICY_NONE */
    size_t latest; /* the same */
    const char *unranked;
};

/* Whether CKPT_VERDICT_KEEP was given for a reason that no quota overrules. */
static inline bool ckpt_policy_is_safe(const struct ckpt_policy_verdict *verdict)
{
    return verdict->kind == CKPT_VERDICT_KEEP && verdict->reason <= CKPT_REASON_ALIAS;
}

/* Both keep what isn't kept yet; RANKING is the primary one. */
void ckpt_policy_keep_safe(struct ckpt_policy_run *run, const struct ckpt_policy_ranking *ranking);
void ckpt_policy_keep_by_rules(struct ckpt_policy_run *run);

#endif
