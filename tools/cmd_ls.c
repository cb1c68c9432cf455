#include "find.h"
#include "judged.h"
#include "locate.h"
#include "options.h"
#include "output.h"
#include "table.h"
#include <ckpt/kind.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { METRICS = 40 }; /* columns of them */

struct ls {
    struct tool *tool;
    bool all;
    bool metrics;
    char **names; /* of the metrics to show */
    size_t n_names;
    bool failed;    /* out of memory */
    size_t rotated; /* not listed, to be had back */
    size_t records; /* not listed, gone for good */
};

static bool add_name(void *arg, const char *name)
{
    struct ls *ls = arg;
    char *copy = strdup(name);
    char **names = reallocarray(ls->names, ls->n_names + 1, sizeof *names);
    ls->names = names != NULL ? names : ls->names;
    ls->failed = copy == NULL || names == NULL;
    if (ls->failed) {
        free(copy);
        return false;
    }
    names[ls->n_names++] = copy;
    return ls->n_names < METRICS;
}

static enum ckpt_err choose_metrics(struct ls *ls, const struct ckpt_run *run)
{
    if (run->metric != NULL) {
        (void)add_name(ls, run->metric);
    }
    enum ckpt_err err = ls->metrics && !ls->failed ? ckpt_run_each_metric(run, add_name, ls) : CKPT_OK;
    return ls->failed ? CKPT_ERR_NOMEM : err;
}

static void add_columns(const struct ls *ls, struct table *table)
{
    table_column(table, "id", false);
    table_column(table, "epoch", true);
    table_column(table, "step", true);
    for (size_t i = 0; i < ls->n_names; i++) {
        if (i == 0 || strcmp(ls->names[i], ls->names[0]) != 0) {
            table_column(table, ls->names[i], true);
        }
    }
    table_column(table, "kind", false);
    table_column(table, "age", true);
    table_column(table, "size", true);
    table_column(table, "state", false);
    table_column(table, "marks", false);
    table_column(table, "name", false);
    table_column(table, "why", false);
}

static void add_number(struct table *table, bool has, uint64_t number)
{
    if (has) {
        table_cell(table, "%" PRIu64, number);
    } else {
        table_cell(table, "%s", "");
    }
}

static void add_row(const struct ls *ls, struct table *table, const struct ckpt_run *run, size_t i,
                    const struct judged *judged)
{
    const struct ckpt_checkpoint *c = run->list[i];
    char text[JUDGED_TEXT];
    char marks[256];
    char value[32];
    char size[OUTPUT_SIZE];
    table_cell(table, "%08" PRIx64, c->id >> 32);
    add_number(table, c->has_epoch, c->epoch);
    add_number(table, c->has_step, c->step);
    for (size_t m = 0; m < ls->n_names; m++) {
        if (m == 0 || strcmp(ls->names[m], ls->names[0]) != 0) {
            judged_value(c, ls->names[m], value);
            table_cell(table, "%s", value);
        }
    }
    bool cannot_resume = c->holds == CKPT_HOLDS_WEIGHTS || c->holds == CKPT_HOLDS_EMA;
    table_cell(table, "%s%s", ckpt_holds_name(c->holds), cannot_resume ? " (can't resume)" : "");
    table_cell(table, "%s", output_age(size, c->saved_ns));
    table_cell(table, "%s", output_size(size, ckpt_checkpoint_size(c)));
    table_cell(table, "%s", ckpt_status_name(c->status));
    judged_marks(run, c, marks, sizeof marks);
    table_cell(table, "%s", marks);
    table_cell(table, "%s", c->root == NULL ? "" : c->root);
    judged_explain(&judged->judgement.verdicts[i], judged->now_ns, text);
    bool told = c->status != CKPT_STATUS_COMPLETE && c->why != NULL;
    table_cell(table, "%s%s%s", told ? c->why : "", told ? "; " : "", text);
}

/* The run is held and judged. */
static int list(struct ls *ls, const struct ckpt_run *run, const struct judged *judged, struct table *table,
                json_t *out)
{
    add_columns(ls, table);
    for (size_t i = 0; i < run->count; i++) {
        const struct ckpt_checkpoint *c = run->list[i];
        if (!ls->all && !judged_listed(c)) {
            ls->rotated += !c->dropped;
            ls->records += c->dropped;
            continue;
        }
        json_t *row = judged_row(ls->tool, run, i, judged);
        if (row == NULL) {
            return TOOL_FAILED;
        }
        (void)json_array_append_new(out, row);
        add_row(ls, table, run, i, judged);
    }
    return table->failed ? tool_fail(ls->tool, CKPT_ERR_NOMEM, "out of memory") : TOOL_OK;
}

static void print_rest(const struct ls *ls)
{
    if (ls->rotated > 0) {
        printf("%zu rotated, to be had back with \"ckpt undelete\"; --all lists %s\n", ls->rotated,
               ls->rotated == 1 ? "it" : "them");
    }
    if (ls->records > 0) {
        printf("%zu gone for good; --all lists what is known of %s\n", ls->records, ls->records == 1 ? "it" : "them");
    }
}

static int list_run(struct ls *ls, uint64_t dir, const char *path)
{
    const struct ckpt_run *run = NULL;
    struct judged judged = {0};
    struct table table = {0};
    enum ckpt_err err = ckpt_runs_hold(ls->tool->runs, dir, &run);
    if (err != CKPT_OK) {
        return tool_store_fail(ls->tool, err, "cannot read the run %s: %s", path, ckpt_err_text(err));
    }
    json_t *out = json_array();
    err = choose_metrics(ls, run);
    int code = err == CKPT_OK ? judged_make(ls->tool, run, NULL, &judged) : tool_fail(ls->tool, err, "out of memory");
    if (code == TOOL_OK) {
        code = list(ls, run, &judged, &table, out);
        judged_clear(&judged);
    }
    ckpt_runs_release(ls->tool->runs);
    if (code == TOOL_OK && !ls->tool->json) {
        if (table.n > table.columns) {
            table_print(&table);
        }
        print_rest(ls);
    }
    table_clear(&table);
    (void)json_object_set_new(ls->tool->result, "path", output_text(path));
    (void)json_object_set_new(ls->tool->result, "checkpoints", out);
    (void)json_object_set_new(ls->tool->result, "rotated", output_number(ls->rotated));
    (void)json_object_set_new(ls->tool->result, "records", output_number(ls->records));
    return code;
}

int cmd_ls(struct tool *tool, int argc, char **argv)
{
    struct ls ls = {.tool = tool};
    char path[PATH_MAX];
    uint64_t dir = 0;
    char here[] = ".";
    char *run[] = {here};
    const struct option_spec own[] = {
        {.name = "all", .letter = 'a', .flag = &ls.all}, {.name = "metrics", .letter = 'm', .flag = &ls.metrics}, {0}};
    int code = options_parse(tool, own, false, &argc, argv);
    if (code == TOOL_OK && argc > 1) {
        code = tool_usage(tool, "ls takes one RUN");
    }
    if (argc == 1) {
        run[0] = argv[0];
    }
    if (code == TOOL_OK) {
        code = locate_store(tool, run, argc);
    }
    if (code == TOOL_OK) {
        code = tool_open_read(tool);
    }
    if (code == TOOL_OK) {
        code = find_run(tool, run[0], &dir, path);
    }
    if (code == TOOL_OK) {
        code = list_run(&ls, dir, path);
    }
    for (size_t i = 0; i < ls.n_names; i++) {
        free(ls.names[i]);
    }
    free(ls.names);
    return code;
}
