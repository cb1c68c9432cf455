#include "judged.h"
#include "output.h"
#include <ckpt/describe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int judged_make(struct tool *tool, const struct ckpt_run *run, const struct ckpt_policy *policy, struct judged *judged)
{
    struct ckpt_judge_context context = {.now_ns = output_now()};
    enum ckpt_err err = CKPT_OK;
    judged->judgement = (struct ckpt_judgement){0};
    if (policy != NULL) {
        judged->policy = *policy;
        context.changed_ns = context.now_ns;
    } else {
        err = ckpt_judge_policy(tool->store, run->dir, &judged->policy, &context.changed_ns);
    }
    judged->now_ns = context.now_ns;
    if (err == CKPT_OK) {
        err = ckpt_judge(run, &judged->policy, &context, &judged->judgement);
    }
    return err == CKPT_OK ? TOOL_OK : tool_store_fail(tool, err, "cannot judge a run: %s", ckpt_err_text(err));
}

void judged_clear(struct judged *judged)
{
    ckpt_judgement_clear(&judged->judgement);
}

void judged_explain(const struct ckpt_policy_verdict *verdict, int64_t now_ns, char text[JUDGED_TEXT])
{
    char date[OUTPUT_TIME];
    ckpt_policy_explain(verdict, text, JUDGED_TEXT);
    size_t n = strlen(text);
    if (verdict->until_ns > now_ns && verdict->kind != CKPT_VERDICT_DROP) {
        snprintf(text + n, JUDGED_TEXT - n, ", %suntil %s", verdict->kind == CKPT_VERDICT_HIDE ? "to be had back " : "",
                 output_time(date, verdict->until_ns));
    }
}

bool judged_changes(const struct ckpt_checkpoint *c, const struct ckpt_policy_verdict *verdict)
{
    switch (verdict->kind) {
    case CKPT_VERDICT_KEEP:
        return c->hidden && !c->dropped;
    case CKPT_VERDICT_HIDE:
        return !c->hidden && !c->dropped;
    case CKPT_VERDICT_DROP:
        return !c->dropped;
    }
    return false;
}

const char *judged_verdict_name(enum ckpt_verdict_kind kind)
{
    return kind == CKPT_VERDICT_KEEP ? "keep" : kind == CKPT_VERDICT_HIDE ? "hide" : "drop";
}

json_t *judged_row(struct tool *tool, const struct ckpt_run *run, size_t i, const struct judged *judged)
{
    char *text = NULL;
    json_t *row = NULL;
    const struct ckpt_checkpoint *c = run->list[i];
    const struct ckpt_policy_verdict *verdict = &judged->judgement.verdicts[i];
    enum ckpt_err err = ckpt_describe(tool->runs, tool->store, run, c, verdict, &text);
    if (err == CKPT_OK) {
        row = json_loads(text, 0, NULL);
        err = row == NULL ? CKPT_ERR_NOMEM : CKPT_OK;
    }
    free(text);
    if (err != CKPT_OK) {
        (void)tool_store_fail(tool, err, "cannot describe a checkpoint: %s", ckpt_err_text(err));
        return NULL;
    }
    bool ends = verdict->until_ns > 0 && verdict->kind != CKPT_VERDICT_DROP;
    (void)json_object_set_new(row, "verdict", json_string(judged_verdict_name(verdict->kind)));
    (void)json_object_set_new(row, "reason", json_string(ckpt_policy_reason_name(verdict->reason)));
    (void)json_object_set_new(row, "until", ends ? output_json_time(verdict->until_ns) : json_null());
    (void)json_object_set_new(row, "best", json_boolean(ckpt_run_best(run) == c));
    (void)json_object_set_new(row, "latest", json_boolean(ckpt_run_latest(run) == c));
    return row;
}

bool judged_listed(const struct ckpt_checkpoint *c)
{
    return !c->hidden && !c->dropped && !c->former;
}

void judged_marks(const struct ckpt_run *run, const struct ckpt_checkpoint *c, char *text, size_t size)
{
    size_t used = 0;
    /* Asked for every one of them, and looked for among all of them. */
    bool may_be_final = run->finished || strcmp(c->group, "final") == 0;
    const char *const fixed[] = {
        ckpt_run_best(run) == c ? "best" : NULL,
        ckpt_run_latest(run) == c ? "latest" : NULL,
        may_be_final && ckpt_run_final(run) == c ? "final" : NULL,
        c->pinned ? "pinned" : NULL,
        c->dropped  ? "dropped"
        : c->former ? "with its run"
        : c->hidden ? "rotated"
                    : NULL,
        ckpt_left_name(c->left),
    };
    size_t n = sizeof fixed / sizeof *fixed;
    text[0] = '\0';
    for (size_t i = 0; i < n + c->n_tags && used < size; i++) {
        const char *mark = i < n ? fixed[i] : c->tags[i - n];
        if (mark != NULL) {
            used += (size_t)snprintf(text + used, size - used, "%s%s%s", used > 0 ? " " : "", i < n ? "" : "#", mark);
        }
    }
}

void judged_value(const struct ckpt_checkpoint *c, const char *metric, char text[32])
{
    const struct ckpt_value *v = metric == NULL ? NULL : ckpt_checkpoint_value(c, metric);
    text[0] = '\0';
    if (v != NULL) {
        snprintf(text, 32, "%.6g", v->value);
    }
}
