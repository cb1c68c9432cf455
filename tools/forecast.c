#include "forecast.h"
#include "judged.h"
#include "output.h"
#include "table.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct forecast {
    struct tool *tool;
    const struct forecast_policy *policy;
    json_t *runs;
    struct {
        uint64_t checkpoints;
        uint64_t bytes;
    } sums[CKPT_VERDICT_DROP + 1];
    uint64_t back; /* rotated ones that would be shown again */
};

/* Whether a directory below that of the policy to be tested has one of its own, which goes on to apply: *OWNER. */
static int has_nearer(struct forecast *f, const struct found_run *found, bool *nearer, char owner[PATH_MAX])
{
    char *text = NULL;
    uint64_t dir = 0;
    int64_t changed = 0;
    *nearer = false;
    if (f->policy == NULL) {
        return TOOL_OK;
    }
    enum ckpt_err err = ckpt_policy_find(f->tool->store, found->dir, &text, &dir, &changed);
    if (err == CKPT_OK) {
        err = ckpt_catalog_path(f->tool->store, dir, owner, PATH_MAX);
        /* Both stand above the run, so the longer path is the nearer one. */
        *nearer = err == CKPT_OK && strlen(owner) > strlen(f->policy->path);
    }
    free(text);
    return err == CKPT_OK || err == CKPT_ERR_NOT_FOUND
               ? TOOL_OK
               : tool_store_fail(f->tool, err, "cannot read the policy of %s: %s", found->path, ckpt_err_text(err));
}

static void add_row(struct forecast *f, struct table *table, const struct ckpt_run *run, size_t i,
                    const struct judged *judged)
{
    const struct ckpt_checkpoint *c = run->list[i];
    const struct ckpt_policy_verdict *verdict = &judged->judgement.verdicts[i];
    char text[JUDGED_TEXT];
    char marks[256];
    char size[OUTPUT_SIZE];
    char epoch[24] = "";
    if (c->has_epoch) {
        snprintf(epoch, sizeof epoch, "%" PRIu64, c->epoch);
    }
    judged_marks(run, c, marks, sizeof marks);
    judged_explain(verdict, judged->now_ns, text);
    table_cell(table, "%s%s", judged_verdict_name(verdict->kind), judged_changes(c, verdict) ? " *" : "");
    table_cell(table, "%08" PRIx64, c->id >> 32);
    table_cell(table, "%s", epoch);
    table_cell(table, "%s", c->root == NULL ? "" : c->root);
    table_cell(table, "%s", output_size(size, ckpt_checkpoint_added(c)));
    table_cell(table, "%s", marks);
    table_cell(table, "%s", text);
    if (judged_changes(c, verdict)) {
        f->back += verdict->kind == CKPT_VERDICT_KEEP;
    }
    f->sums[verdict->kind].checkpoints++;
    f->sums[verdict->kind].bytes += ckpt_checkpoint_added(c);
}

/* The run is held and judged. Records aren't told: nothing can happen to them any more. */
static int add_rows(struct forecast *f, const struct ckpt_run *run, const struct judged *judged, struct table *table,
                    json_t *rows)
{
    static const char *const names[] = {"verdict", "id", "epoch", "name", "added", "marks", "why"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        table_column(table, names[i], i == 2 || i == 4);
    }
    for (size_t i = 0; i < run->count; i++) {
        if (run->list[i]->dropped) {
            continue;
        }
        json_t *row = judged_row(f->tool, run, i, judged);
        if (row == NULL) {
            return TOOL_FAILED;
        }
        (void)json_array_append_new(rows, row);
        add_row(f, table, run, i, judged);
    }
    return table->failed ? tool_fail(f->tool, CKPT_ERR_NOMEM, "out of memory") : TOOL_OK;
}

static void print_run(const struct tool *tool, const struct found_run *found, const struct table *table)
{
    if (!tool->json && table->n > table->columns) {
        output_name(found->path[0] != '\0' ? found->path : "the top of the store");
        printf(":\n");
        table_print(table);
        putchar('\n');
    }
}

static int forecast_run(struct forecast *f, const struct found_run *found)
{
    const struct ckpt_run *run = NULL;
    struct judged judged;
    struct table table = {0};
    char owner[PATH_MAX];
    bool nearer = false;
    int code = has_nearer(f, found, &nearer, owner);
    if (code != TOOL_OK) {
        return code;
    }
    if (nearer) {
        tool_warn(f->tool, "%s isn't touched: it goes by the policy of %s", found->path, owner);
        return TOOL_OK;
    }
    enum ckpt_err err = ckpt_runs_hold(f->tool->runs, found->dir, &run);
    if (err != CKPT_OK) {
        return err == CKPT_ERR_NOT_FOUND
                   ? TOOL_OK
                   : tool_store_fail(f->tool, err, "cannot read the run %s: %s", found->path, ckpt_err_text(err));
    }
    json_t *rows = json_array();
    code = judged_make(f->tool, run, f->policy == NULL ? NULL : f->policy->policy, &judged);
    if (code == TOOL_OK) {
        code = add_rows(f, run, &judged, &table, rows);
        judged_clear(&judged);
    }
    ckpt_runs_release(f->tool->runs);
    if (code == TOOL_OK) {
        print_run(f->tool, found, &table);
    }
    table_clear(&table);
    (void)json_array_append_new(f->runs,
                                json_pack("{s:o, s:o}", "path", output_text(found->path), "checkpoints", rows));
    return code;
}

static void add_sums(const struct forecast *f)
{
    char kept[OUTPUT_SIZE];
    char hidden[OUTPUT_SIZE];
    char dropped[OUTPUT_SIZE];
    json_t *summary = json_object();
    for (int kind = CKPT_VERDICT_KEEP; kind <= CKPT_VERDICT_DROP; kind++) {
        (void)json_object_set_new(summary, judged_verdict_name((enum ckpt_verdict_kind)kind),
                                  json_pack("{s:o, s:o}", "checkpoints", output_number(f->sums[kind].checkpoints),
                                            "bytes", output_number(f->sums[kind].bytes)));
    }
    (void)json_object_set_new(f->tool->result, "summary", summary);
    if (!f->tool->json) {
        printf("keeps %" PRIu64 " (%s), rotates %" PRIu64
               " (%s, to be had back until their grace is over), drops %" PRIu64 " for good (%s)%s\n",
               f->sums[CKPT_VERDICT_KEEP].checkpoints, output_size(kept, f->sums[CKPT_VERDICT_KEEP].bytes),
               f->sums[CKPT_VERDICT_HIDE].checkpoints, output_size(hidden, f->sums[CKPT_VERDICT_HIDE].bytes),
               f->sums[CKPT_VERDICT_DROP].checkpoints, output_size(dropped, f->sums[CKPT_VERDICT_DROP].bytes),
               f->back > 0 ? "; some of those that it keeps come back" : "");
        printf("* differs from what is now; nothing was changed\n");
    }
}

int forecast_show(struct tool *tool, const struct found_run *list, size_t n, const struct forecast_policy *policy)
{
    struct forecast f = {.tool = tool, .policy = policy, .runs = json_array()};
    int code = TOOL_OK;
    for (size_t i = 0; code == TOOL_OK && i < n; i++) {
        code = forecast_run(&f, &list[i]);
    }
    (void)json_object_set_new(tool->result, "runs", f.runs);
    if (code == TOOL_OK) {
        add_sums(&f);
    }
    return code;
}
