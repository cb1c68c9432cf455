/*
 * What the policy says about the checkpoints of a run: the catalog's picture of them in the policy's terms.
 *
 * A metric has one name in policy.c, compared byte by byte, and several spellings outside: "val/loss" in a log,
 * "val_loss" in a file's name and in the policy. The spelling that is seen first stands for all, the policy's before others.
 */
#include "recognise/naming.h"
#include <ckpt/keep.h>
#include <stdlib.h>
#include <string.h>
#define HASH_NONFATAL_OOM 1 /* then an element that could not be added has no hh.tbl */
#include <uthash.h>

struct spelling {
    char key[CKPT_NAMING_TEXT];
    const char *name; /* in the policy or the run */
    UT_hash_handle hh;
};

static void free_spellings(struct spelling *spellings)
{
    struct spelling *s = spellings;
    HASH_CLEAR(hh, spellings);
    while (s != NULL) {
        struct spelling *next = s->hh.next;
        free(s);
        s = next;
    }
}

/* The spelling that stands for NAME. NULL: no memory. */
static const char *spell(struct spelling **spellings, const char *name)
{
    struct spelling *s = NULL;
    char key[CKPT_NAMING_TEXT] = {0};
    ckpt_metric_normalise(name, strlen(name), key, sizeof key);
    HASH_FIND_STR(*spellings, key, s);
    if (s != NULL) {
        return s->name;
    }
    s = calloc(1, sizeof *s);
    if (s == NULL) {
        return NULL;
    }
    memcpy(s->key, key, sizeof s->key);
    s->name = name;
    HASH_ADD_STR(*spellings, key, s);
    if (s->hh.tbl == NULL) {
        free(s);
        return NULL;
    }
    return name;
}

static enum ckpt_err spell_policy(struct spelling **spellings, const struct ckpt_policy *policy)
{
    for (size_t i = 0; i < policy->n_metrics; i++) {
        if (spell(spellings, policy->metrics[i].name) == NULL) {
            return CKPT_ERR_NOMEM;
        }
    }
    for (size_t i = 0; i < policy->n_rules; i++) {
        const char *metric = policy->rules[i].metric;
        if (metric[0] != '\0' && spell(spellings, metric) == NULL) {
            return CKPT_ERR_NOMEM;
        }
    }
    return CKPT_OK;
}

/* Values come in the same order in nearly every checkpoint: the name at the same place in BEFORE (may be NULL) is tried
   first. */
static enum ckpt_err take_values(struct spelling **spellings, const struct ckpt_checkpoint *c,
                                 const struct ckpt_checkpoint *before, const struct ckpt_policy_value *values_before,
                                 struct ckpt_policy_value *values)
{
    for (size_t i = 0; i < c->n_values; i++) {
        const char *name = c->values[i].name;
        bool known = before != NULL && i < before->n_values && strcmp(before->values[i].name, name) == 0;
        values[i].name = known ? values_before[i].name : spell(spellings, name);
        values[i].value = c->values[i].value;
        if (values[i].name == NULL) {
            return CKPT_ERR_NOMEM;
        }
    }
    return CKPT_OK;
}

static enum ckpt_policy_state state_of(const struct ckpt_checkpoint *c)
{
    /* Nothing to be best or latest any more, and no rule's business: it has its grace. */
    if (c->former) {
        return CKPT_STATE_INVALID;
    }
    switch (c->status) {
    case CKPT_STATUS_WRITING:
        /* Nobody completes one of which nothing is left. */
        return c->left == CKPT_LEFT_NOT ? CKPT_STATE_WRITING : CKPT_STATE_INVALID;
    case CKPT_STATUS_COMPLETE:
        return CKPT_STATE_COMPLETE;
    case CKPT_STATUS_INVALID:
        break;
    }
    return CKPT_STATE_INVALID;
}

static enum ckpt_policy_gone gone_of(const struct ckpt_checkpoint *c)
{
    switch (c->left) {
    case CKPT_LEFT_NOT:
        return CKPT_GONE_NOT;
    case CKPT_LEFT_OVERWRITTEN:
        return CKPT_GONE_OVERWRITTEN;
    case CKPT_LEFT_DELETED:
        break;
    }
    return CKPT_GONE_DELETED;
}

static bool has_live_alias(const struct ckpt_checkpoint *c)
{
    for (size_t i = 0; i < c->n_members; i++) {
        const struct ckpt_member *m = &c->members[i];
        if (m->alias && !m->gone && !m->replaced) {
            return true;
        }
    }
    return false;
}

static struct ckpt_policy_checkpoint translate(const struct ckpt_checkpoint *c, const struct ckpt_judge_context *context,
                                               const struct ckpt_policy_value *values)
{
    return (struct ckpt_policy_checkpoint){
        .sequence = c->sequence,
        .saved_ns = c->saved_ns,
        .epoch = c->epoch,
        .step = c->step,
        .has_epoch = c->has_epoch,
        .has_step = c->has_step,
        .bytes = ckpt_checkpoint_added(c),
        .state = state_of(c),
        .pinned = c->pinned,
        .tagged = c->n_tags > 0,
        .open = !c->dropped && context->open != NULL && context->open(context->arg, c),
        .parent = !c->dropped && context->parent != NULL && context->parent(context->arg, c),
        .alias = has_live_alias(c),
        .dropped = c->dropped,
        .hidden = c->hidden,
        .hidden_ns = c->hidden_ns,
        .gone = gone_of(c),
        .gone_ns = c->left_ns,
        .values = values,
        .n_values = c->n_values,
    };
}

/* JUDGEMENT: all zeros. Its checkpoints and their values. */
static enum ckpt_err fill(const struct ckpt_run *run, const struct ckpt_policy *policy,
                          const struct ckpt_judge_context *context, struct spelling **spellings,
                          struct ckpt_judgement *judgement)
{
    size_t n_values = 0;
    for (size_t i = 0; i < run->count; i++) {
        n_values += run->list[i]->n_values;
    }
    judgement->count = run->count;
    judgement->checkpoints = calloc(run->count + 1, sizeof *judgement->checkpoints);
    judgement->verdicts = calloc(run->count + 1, sizeof *judgement->verdicts);
    judgement->values = calloc(n_values + 1, sizeof *judgement->values);
    if (judgement->checkpoints == NULL || judgement->verdicts == NULL || judgement->values == NULL) {
        return CKPT_ERR_NOMEM;
    }
    enum ckpt_err err = spell_policy(spellings, policy);
    struct ckpt_policy_value *values = judgement->values;
    const struct ckpt_policy_value *values_before = NULL;
    for (size_t i = 0; err == CKPT_OK && i < run->count; i++) {
        const struct ckpt_checkpoint *c = run->list[i];
        err = take_values(spellings, c, i == 0 ? NULL : run->list[i - 1], values_before, values);
        judgement->checkpoints[i] = translate(c, context, values);
        values_before = values;
        values += c->n_values;
    }
    return err;
}

enum ckpt_err ckpt_judge(const struct ckpt_run *run, const struct ckpt_policy *policy,
                         const struct ckpt_judge_context *context, struct ckpt_judgement *out)
{
    struct ckpt_judgement judgement = {0};
    struct spelling *spellings = NULL;
    struct ckpt_policy_situation situation = {.now_ns = context->now_ns,
                                              .changed_ns = context->changed_ns,
                                              .bytes_wanted = context->bytes_wanted,
                                              .run_deleted = context->run_deleted};
    enum ckpt_err err = fill(run, policy, context, &spellings, &judgement);
    if (err == CKPT_OK) {
        err = ckpt_policy_judge(policy, judgement.checkpoints, judgement.count, &situation, judgement.verdicts,
                                &judgement.summary);
    }
    if (err == CKPT_OK) {
        err = ckpt_policy_early_stop(policy, judgement.checkpoints, judgement.count, &judgement.stop);
    }
    free_spellings(spellings);
    if (err != CKPT_OK) {
        ckpt_judgement_clear(&judgement);
        return err;
    }
    *out = judgement;
    return CKPT_OK;
}

void ckpt_judgement_clear(struct ckpt_judgement *judgement)
{
    free(judgement->checkpoints);
    free(judgement->verdicts);
    free(judgement->values);
    *judgement = (struct ckpt_judgement){0};
}

enum ckpt_err ckpt_judge_rank(const struct ckpt_run *run, const struct ckpt_policy *policy, const char *metric,
                              uint32_t **numbers, size_t *n)
{
    struct ckpt_judgement judgement = {0};
    struct ckpt_judge_context nothing = {0};
    struct spelling *spellings = NULL;
    const char *name = NULL;
    size_t count = 0;
    size_t *indices = calloc(run->count + 1, sizeof *indices);
    uint32_t *list = calloc(run->count + 1, sizeof *list);
    enum ckpt_err err = indices == NULL || list == NULL ? CKPT_ERR_NOMEM : CKPT_OK;
    if (err == CKPT_OK) {
        err = fill(run, policy, &nothing, &spellings, &judgement);
    }
    /* What isn't shown is history, as if it had been dropped. */
    for (size_t i = 0; err == CKPT_OK && i < run->count; i++) {
        judgement.checkpoints[i].dropped = !ckpt_checkpoint_shown(run->list[i]);
    }
    if (err == CKPT_OK && metric != NULL) {
        name = spell(&spellings, metric);
        err = name == NULL ? CKPT_ERR_NOMEM : CKPT_OK;
    }
    if (err == CKPT_OK) {
        err = ckpt_policy_rank(policy, judgement.checkpoints, judgement.count, name, indices, &count);
    }
    for (size_t i = 0; err == CKPT_OK && i < count; i++) {
        list[i] = run->list[indices[i]]->number;
    }
    free_spellings(spellings);
    ckpt_judgement_clear(&judgement);
    free(indices);
    if (err != CKPT_OK) {
        free(list);
        return err;
    }
    *numbers = list;
    *n = count;
    return CKPT_OK;
}

enum ckpt_err ckpt_judge_policy(struct ckpt_store *store, uint64_t dir, struct ckpt_policy *policy, int64_t *changed_ns)
{
    char *text = NULL;
    uint64_t owner = CKPT_DIR_ROOT;
    int64_t changed = 0;
    struct ckpt_policy_error error;
    ckpt_policy_init(policy);
    *changed_ns = 0;
    enum ckpt_err err = ckpt_policy_find(store, dir, &text, &owner, &changed);
    if (err != CKPT_OK) {
        return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
    }
    err = ckpt_policy_parse(text, strlen(text), policy, &error);
    if (err == CKPT_OK) {
        *changed_ns = changed;
    } else if (err == CKPT_ERR_INVALID) {
        /* It was parsed before it was written, so it has been damaged, or is from a later version. */
        ckpt_reportf(ckpt_store_report(store), CKPT_ERROR, "a policy in the store makes no sense: %s; set it anew",
                     error.text);
        err = CKPT_ERR_CORRUPT;
    }
    free(text);
    return err;
}
