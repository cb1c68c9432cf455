#include "find.h"
#include "locate.h"
#include "options.h"
#include "output.h"
#include "table.h"
#include <inttypes.h>
#include <stdio.h>

/* What is told of a run, added up over what is left of it. */
struct summary {
    size_t shown;
    size_t left; /* not only a record */
    uint64_t epochs;
    uint64_t size;
    uint64_t added;
};

static bool count_epoch(void *arg, uint64_t epoch)
{
    (void)epoch;
    ++*(uint64_t *)arg;
    return true;
}

static struct summary summarise(const struct ckpt_run *run)
{
    struct summary s = {0};
    ckpt_run_each_epoch(run, count_epoch, &s.epochs);
    for (size_t i = 0; i < run->count; i++) {
        const struct ckpt_checkpoint *c = run->list[i];
        s.shown += ckpt_checkpoint_shown(c);
        s.left += !c->dropped;
        s.size += c->dropped ? 0 : ckpt_checkpoint_size(c);
        s.added += c->dropped ? 0 : ckpt_checkpoint_added(c);
    }
    return s;
}

static json_t *epoch_of(const struct ckpt_checkpoint *c)
{
    return c->has_epoch ? output_number(c->epoch) : json_null();
}

static json_t *best_json(const struct ckpt_run *run)
{
    const struct ckpt_checkpoint *c = ckpt_run_best(run);
    const struct ckpt_value *v = c == NULL || run->metric == NULL ? NULL : ckpt_checkpoint_value(c, run->metric);
    return c == NULL ? json_null()
                     : json_pack("{s:o, s:o, s:o}", "id", json_sprintf("%016" PRIx64, c->id), "epoch", epoch_of(c),
                                 "value", v == NULL ? json_null() : output_value(v->value));
}

static json_t *latest_json(const struct ckpt_run *run)
{
    const struct ckpt_checkpoint *c = ckpt_run_latest(run);
    return c == NULL ? json_null()
                     : json_pack("{s:o, s:o, s:o}", "id", json_sprintf("%016" PRIx64, c->id), "epoch", epoch_of(c),
                                 "saved", output_json_time(c->saved_ns));
}

static json_t *run_json(const struct ckpt_run *run, const char *path, const struct summary *s)
{
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:b}",              /**/
                     "path", output_text(path),                                              /**/
                     "checkpoints", output_number(s->shown),                                 /**/
                     "total", output_number(run->count),                                     /**/
                     "epochs", output_number(s->epochs),                                     /**/
                     "metric", run->metric == NULL ? json_null() : output_text(run->metric), /**/
                     "best", best_json(run),                                                 /**/
                     "latest", latest_json(run),                                             /**/
                     "size", output_number(s->size),                                         /**/
                     "added", output_number(s->added),                                       /**/
                     "finished", run->finished,                                              /**/
                     "early_stop", run->stop);
}

static void add_row(struct table *table, const struct ckpt_run *run, const char *path, const struct summary *s)
{
    char size[OUTPUT_SIZE];
    char age[OUTPUT_SIZE];
    const struct ckpt_checkpoint *best = ckpt_run_best(run);
    const struct ckpt_checkpoint *latest = ckpt_run_latest(run);
    const struct ckpt_value *v = best == NULL || run->metric == NULL ? NULL : ckpt_checkpoint_value(best, run->metric);
    table_cell(table, "%s", path[0] == '\0' ? "." : path);
    table_cell(table, "%zu/%zu", s->shown, run->count);
    table_cell(table, "%" PRIu64, s->epochs);
    if (v == NULL) {
        table_cell(table, "%s", "");
    } else {
        table_cell(table, "%s %.6g", run->metric, v->value);
    }
    table_cell(table, "%s", latest == NULL ? "" : output_age(age, latest->saved_ns));
    table_cell(table, "%s", output_size(size, s->size));
    table_cell(table, "%s", output_size(size, s->added));
    table_cell(table, "%s", run->finished ? "finished" : "running");
    table_cell(table, "%s", run->stop ? "stop: no improvement" : "");
}

static int list_one(struct tool *tool, const struct found_run *found, bool all, struct table *table, json_t *out)
{
    const struct ckpt_run *run = NULL;
    enum ckpt_err err = ckpt_runs_hold(tool->runs, found->dir, &run);
    if (err == CKPT_ERR_NOT_FOUND) {
        return TOOL_OK;
    }
    if (err != CKPT_OK) {
        return tool_store_fail(tool, err, "cannot read the run %s: %s", found->path, ckpt_err_text(err));
    }
    struct summary s = summarise(run);
    if (all || s.left > 0) {
        (void)json_array_append_new(out, run_json(run, found->path, &s));
        add_row(table, run, found->path, &s);
    }
    ckpt_runs_release(tool->runs);
    return TOOL_OK;
}

static int list_runs(struct tool *tool, const struct found_run *list, size_t n, bool all)
{
    struct table table = {0};
    json_t *out = json_array();
    int code = TOOL_OK;
    table_column(&table, "run", false);
    table_column(&table, "checkpoints", true);
    table_column(&table, "epochs", true);
    table_column(&table, "best", false);
    table_column(&table, "latest", true);
    table_column(&table, "size", true);
    table_column(&table, "added", true);
    table_column(&table, "state", false);
    table_column(&table, "early stop", false);
    for (size_t i = 0; code == TOOL_OK && i < n; i++) {
        code = list_one(tool, &list[i], all, &table, out);
    }
    if (code == TOOL_OK && table.failed) {
        code = tool_fail(tool, CKPT_ERR_NOMEM, "out of memory");
    }
    if (code == TOOL_OK && !tool->json && table.n > table.columns) {
        table_print(&table);
    } else if (code == TOOL_OK && !tool->json) {
        printf("no runs%s\n", n > 0 && !all ? " of which something is left; --all lists the others" : "");
    }
    (void)json_object_set_new(tool->result, "runs", out);
    table_clear(&table);
    return code;
}

int cmd_runs(struct tool *tool, int argc, char **argv)
{
    bool all = false;
    struct target target = {0};
    struct found_run *list = NULL;
    size_t n = 0;
    const struct option_spec own[] = {{.name = "all", .letter = 'a', .flag = &all}, {0}};
    int code = options_parse(tool, own, false, &argc, argv);
    if (code == TOOL_OK && argc > 1) {
        code = tool_usage(tool, "runs takes one PATH");
    }
    if (code == TOOL_OK) {
        code = locate_store(tool, argv, argc);
    }
    if (code == TOOL_OK) {
        code = tool_open_read(tool);
    }
    if (code == TOOL_OK && argc == 1) {
        code = locate_target(tool, argv[0], &target);
    }
    if (code == TOOL_OK && argc == 1 && !target.exists && !target.self_known && !target.captured) {
        code = tool_fail(tool, CKPT_ERR_NOT_FOUND, "there is no directory %s, and never was one with checkpoints",
                         argv[0]);
    }
    if (code == TOOL_OK) {
        code = find_runs_at(tool, argc == 1 ? target.path : NULL, &list, &n);
    }
    if (code == TOOL_OK) {
        code = list_runs(tool, list, n, all);
    }
    find_free(list, n);
    return code;
}
