#include "client.h"
#include "find.h"
#include "judged.h"
#include "listing.h"
#include "locate.h"
#include "options.h"
#include "output.h"
#include "session.h"
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void line(const char *label, const char *text)
{
    printf("%-13s %s\n", label, text);
}

static void size_line(const char *label, const char *text, uint64_t bytes)
{
    char size[OUTPUT_SIZE];
    printf("%-13s %s%s\n", label, output_size(size, bytes), text);
}

static uint64_t number(const json_t *object, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

/* What the daemon knows; or, without one, that there is none. */
static int ask_daemon(struct tool *tool)
{
    json_t *answer = NULL;
    bool runs = session_daemon_runs(tool->store_dir, NULL, 0);
    if (runs) {
        json_t *request = json_pack("{s:s}", "op", "status");
        enum ckpt_err err = client_request(tool, request, &answer);
        json_decref(request);
        if (err != CKPT_OK) {
            return tool_exit_code(err);
        }
        (void)json_object_del(answer, "ok");
        (void)json_object_update(tool->result, answer);
        json_decref(answer);
    }
    (void)json_object_set_new(tool->result, "store", output_text(tool->store_dir));
    (void)json_object_set_new(tool->result, "mounted", json_boolean(runs));
    return TOOL_OK;
}

static int add_counters(struct tool *tool)
{
    struct ckpt_counters c;
    struct ckpt_space s;
    enum ckpt_err err = ckpt_store_counters(tool->store, &c);
    if (err == CKPT_OK) {
        err = ckpt_store_space(tool->store, &s);
    }
    if (err != CKPT_OK) {
        return tool_store_fail(tool, err, "cannot read the counters of %s: %s", tool->store_dir,
                               ckpt_err_text(err));
    }
    json_t *more = json_pack("{s:o, s:o, s:o, s:o, s:o, s:f, s:o, s:o, s:o}", "versions",
                             output_number(c.versions), "objects", output_number(c.objects), "logical",
                             output_number(c.logical), "unique", output_number(c.unique), "stored",
                             output_number(c.stored), "ratio",
                             c.stored > 0 ? (double)c.logical / (double)c.stored : 1.0, "host_free",
                             output_number(s.host_free), "host_size", output_number(s.host_size),
                             "database_bytes", output_number(s.db_bytes));
    (void)json_object_update(tool->result, more);
    json_decref(more);
    return TOOL_OK;
}

/* What early stopping says of a run, which is held. */
static int tell_stop(struct tool *tool, const struct ckpt_run *run, const char *path, json_t *told)
{
    struct judged judged;
    int code = judged_make(tool, run, NULL, &judged);
    if (code == TOOL_OK) {
        const struct ckpt_judgement *j = &judged.judgement;
        bool has_epoch = j->stop.best != CKPT_POLICY_NONE && j->checkpoints[j->stop.best].has_epoch;
        json_t *epoch = has_epoch ? output_number(j->checkpoints[j->stop.best].epoch) : json_null();
        (void)json_array_append_new(told, json_pack("{s:o, s:o, s:o, s:o}", "path", output_text(path), "metric",
                                                    j->summary.metric != NULL ? output_text(j->summary.metric) : json_null(),
                                                    "since_best", output_number(j->stop.since_best), "best_epoch", epoch));
        judged_clear(&judged);
    }
    return code;
}

/* "early_stop": paths of runs that no longer improve; "early_stops": the same with what is known. */
static int add_stops(struct tool *tool)
{
    struct found_run *list = NULL;
    size_t n = 0;
    json_t *paths = json_array();
    json_t *told = json_array();
    int code = find_runs_at(tool, NULL, &list, &n);
    for (size_t i = 0; code == TOOL_OK && i < n; i++) {
        const struct ckpt_run *run = NULL;
        enum ckpt_err err = ckpt_runs_hold(tool->runs, list[i].dir, &run);
        if (err == CKPT_OK) {
            if (run->stop) {
                (void)json_array_append_new(paths, output_text(list[i].path));
                code = tell_stop(tool, run, list[i].path, told);
            }
            ckpt_runs_release(tool->runs);
        } else if (err != CKPT_ERR_NOT_FOUND) {
            code = tool_store_fail(tool, err, "cannot read the run %s: %s", list[i].path, ckpt_err_text(err));
        }
    }
    find_free(list, n);
    (void)json_object_set_new(tool->result, "early_stop", paths);
    (void)json_object_set_new(tool->result, "early_stops", told);
    return code;
}

static void print_stops(const json_t *told)
{
    size_t i;
    const json_t *stop;
    json_array_foreach (told, i, stop) {
        const char *metric = json_string_value(json_object_get(stop, "metric"));
        const json_t *epoch = json_object_get(stop, "best_epoch");
        printf("%-13s ", i == 0 ? "early stop" : "");
        output_name(json_string_value(json_object_get(stop, "path")));
        printf(": no better %s in %llu %s", metric != NULL ? metric : "metric", (unsigned long long)number(stop, "since_best"),
               output_plural(number(stop, "since_best"), "evaluation", "evaluations"));
        if (json_is_integer(epoch)) {
            printf(" since epoch %llu", (unsigned long long)json_integer_value(epoch));
        }
        putchar('\n');
    }
}

static void print_waiting(const json_t *r)
{
    size_t i;
    const json_t *item;
    char size[OUTPUT_SIZE];
    line("", "the queue waits for space: the host filesystem is full");
    json_array_foreach (json_object_get(r, "waiting"), i, item) {
        printf("%-13s   %10s  %s  ", "", output_size(size, number(item, "bytes")),
               json_is_true(json_object_get(item, "live")) ? "       " : "deleted");
        output_name(json_string_value(json_object_get(item, "path")));
        putchar('\n');
    }
    line("", "delete other files, or forget versions; ckpt forget --pending PATH gives up a file of these");
}

static void print_daemon(const json_t *r)
{
    char size[OUTPUT_SIZE];
    if (!json_is_true(json_object_get(r, "mounted"))) {
        line("mount", "not mounted");
        return;
    }
    line("mount", json_string_value(json_object_get(r, "mountpoint")));
    line("passthrough", json_string_value(json_object_get(r, "passthrough_text")));
    printf("%-13s %llu %s, %s\n", "queue", (unsigned long long)number(r, "queued_files"),
           output_plural(number(r, "queued_files"), "file", "files"),
           output_size(size, number(r, "queued_bytes")));
    if (json_is_true(json_object_get(r, "waiting_for_space"))) {
        print_waiting(r);
    }
    if (json_is_true(json_object_get(r, "stopped"))) {
        line("", "STOPPED: a sync failed, nothing is recorded any more; see the log, then mount again");
    }
    char limit[OUTPUT_SIZE];
    bool unlimited = number(r, "hot_limit") == INT64_MAX;
    printf("%-13s %s of %s\n", "hot", output_size(size, number(r, "hot_bytes")),
           unlimited ? "no limit" : output_size(limit, number(r, "hot_limit")));
}

static void print_status(const json_t *r)
{
    line("store", json_string_value(json_object_get(r, "store")));
    print_daemon(r);
    printf("%-13s %llu\n", "versions", (unsigned long long)number(r, "versions"));
    size_line("logical", " in all versions, as they were written", number(r, "logical"));
    size_line("unique", " of it differ", number(r, "unique"));
    size_line("stored", " they take, compressed", number(r, "stored"));
    printf("%-13s %.2f\n", "ratio", json_real_value(json_object_get(r, "ratio")));
    size_line("database", " on the host", number(r, "database_bytes"));
    size_line("free", " on the host", number(r, "host_free"));
    print_stops(json_object_get(r, "early_stops"));
}

int cmd_status(struct tool *tool, int argc, char **argv)
{
    int code = options_parse(tool, NULL, false, &argc, argv);
    if (code == TOOL_OK) {
        code = locate_store(tool, argv, argc);
    }
    if (code == TOOL_OK) {
        code = tool_open_read(tool);
    }
    if (code == TOOL_OK) {
        code = ask_daemon(tool);
    }
    if (code == TOOL_OK) {
        code = add_counters(tool);
    }
    if (code == TOOL_OK) {
        code = add_stops(tool);
    }
    if (code == TOOL_OK && !tool->json) {
        print_status(tool->result);
    }
    return code;
}
