#include "find.h"
#include "judged.h"
#include "locate.h"
#include "options.h"
#include "output.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PARENTS = 32, LABEL = 12 };

/* ---- collecting ---- */

/* A path through a view that shows C: ".ckpt/epoch/3". False when it is shown in none that stays. */
static bool view_of(const struct ckpt_run *run, const struct ckpt_checkpoint *c, char text[PATH_MAX])
{
    if (!ckpt_checkpoint_shown(c)) {
        return false;
    }
    if (c->has_epoch && ckpt_run_epoch(run, c->epoch) == c) {
        snprintf(text, PATH_MAX, ".ckpt/epoch/%" PRIu64, c->epoch);
    } else if (c->has_step && ckpt_run_step(run, c->step) == c) {
        snprintf(text, PATH_MAX, ".ckpt/step/%" PRIu64, c->step);
    } else if (c->n_tags > 0 && ckpt_run_tag(run, c->tags[0]) == c) {
        snprintf(text, PATH_MAX, ".ckpt/tag/%s", c->tags[0]);
    } else if (ckpt_run_best(run) == c || ckpt_run_latest(run) == c) {
        snprintf(text, PATH_MAX, ".ckpt/%s", ckpt_run_best(run) == c ? "best" : "latest");
    } else {
        return false;
    }
    return true;
}

/* The one file that is shown of C; NULL: there are several, or it is a directory. */
static const char *only_file(const struct ckpt_checkpoint *c)
{
    struct ckpt_shape shape = ckpt_checkpoint_shape(c);
    const char *only = NULL;
    for (size_t i = 0; i < c->n_members; i++) {
        const char *shown = ckpt_member_shown(shape, &c->members[i]);
        if (shown != NULL && (only != NULL || c->members[i].directory)) {
            return NULL;
        }
        only = shown != NULL ? shown : only;
    }
    return only;
}

/* A word of a shell's, to be freed. */
static char *quoted(const char *text)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+=:,@%";
    char *out = malloc(4 * strlen(text) + 3);
    if (out == NULL || strspn(text, plain) == strlen(text)) {
        return out == NULL ? NULL : strcpy(out, text);
    }
    char *at = out;
    *at++ = '\'';
    for (; *text != '\0'; text++) {
        at = *text == '\'' ? stpcpy(at, "'\\''") : (*at = *text, at + 1);
    }
    *at++ = '\'';
    *at = '\0';
    return out;
}

/* How to get it out: with cp from the mount, or with ckpt. */
static json_t *how_to_restore(struct tool *tool, const struct ckpt_run *run, const struct ckpt_checkpoint *c)
{
    char path[PATH_MAX];
    char view[PATH_MAX];
    struct mount_point mount;
    char *source = NULL;
    char *word = NULL;
    json_t *line = NULL;
    const char *file = only_file(c);
    if (c->dropped) {
        return json_null();
    }
    if (view_of(run, c, view) && locate_mount(tool->store_dir, &mount) &&
        ckpt_catalog_path(tool->store, run->dir, path, sizeof path) == CKPT_OK &&
        asprintf(&source, "%s/%s%s%s%s%s", mount.dir, path, path[0] != '\0' ? "/" : "", view, file != NULL ? "/" : "",
                 file != NULL ? file : "") >= 0) {
        word = quoted(source);
        line = word == NULL ? NULL : json_sprintf("cp %s%s DEST", file != NULL ? "" : "-r ", word);
    } else {
        word = quoted(tool->store_dir);
        line = word == NULL ? NULL : json_sprintf("ckpt --store %s restore %016" PRIx64 " DEST", word, c->id);
    }
    free(source);
    free(word);
    return line != NULL ? line : json_null(); /* a path that is no UTF-8 */
}

/* The checkpoints that it was begun from, the nearest first. The last one may have no record any more. */
static json_t *parents_of(struct tool *tool, uint64_t parent)
{
    json_t *parents = json_array();
    for (unsigned i = 0; parent != 0 && i < PARENTS; i++) {
        char id[20];
        char path[PATH_MAX] = "";
        uint64_t dir = 0;
        uint32_t number = 0;
        const struct ckpt_run *run = NULL;
        snprintf(id, sizeof id, "%016" PRIx64, parent);
        json_t *one = json_pack("{s:s, s:n, s:n, s:n, s:n}", "id", id, "run", "name", "epoch", "step");
        (void)json_array_append_new(parents, one);
        parent = 0;
        if (ckpt_runs_by_id(tool->runs, id, &dir, &number) != CKPT_OK ||
            ckpt_catalog_path(tool->store, dir, path, sizeof path) != CKPT_OK ||
            ckpt_runs_hold(tool->runs, dir, &run) != CKPT_OK) {
            break;
        }
        const struct ckpt_checkpoint *c = ckpt_run_number(run, number);
        if (c != NULL) {
            (void)json_object_set_new(one, "run", output_text(path));
            (void)json_object_set_new(one, "name", c->root == NULL ? json_null() : output_text(c->root));
            (void)json_object_set_new(one, "epoch", c->has_epoch ? output_number(c->epoch) : json_null());
            (void)json_object_set_new(one, "step", c->has_step ? output_number(c->step) : json_null());
            parent = c->parent;
        }
        ckpt_runs_release(tool->runs);
    }
    return parents;
}

static int collect(struct tool *tool, uint64_t dir, uint32_t number, char kept[JUDGED_TEXT])
{
    const struct ckpt_run *run = NULL;
    struct judged judged;
    json_t *row = NULL;
    uint64_t parent = 0;
    enum ckpt_err err = ckpt_runs_hold(tool->runs, dir, &run);
    if (err != CKPT_OK) {
        return tool_store_fail(tool, err, "cannot read the run: %s", ckpt_err_text(err));
    }
    int code = judged_make(tool, run, NULL, &judged);
    for (size_t i = 0; code == TOOL_OK && row == NULL && i < run->count; i++) {
        if (run->list[i]->number == number) {
            row = judged_row(tool, run, i, &judged);
            code = row == NULL ? TOOL_FAILED : TOOL_OK;
            parent = run->list[i]->parent;
            judged_explain(&judged.judgement.verdicts[i], judged.now_ns, kept);
            (void)json_object_set_new(tool->result, "restore", how_to_restore(tool, run, run->list[i]));
        }
    }
    if (code == TOOL_OK) {
        judged_clear(&judged);
    }
    ckpt_runs_release(tool->runs);
    if (code == TOOL_OK) {
        (void)json_object_set_new(tool->result, "checkpoint", row);
        (void)json_object_set_new(tool->result, "parents", parents_of(tool, parent));
    }
    return code;
}

/* ---- for people ---- */

static void label(const char *name)
{
    printf("%-*s ", LABEL, name);
}

static void line(const char *name, const char *text)
{
    if (text != NULL && text[0] != '\0') {
        label(name);
        output_name(text);
        putchar('\n');
    }
}

static const char *text_in(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static void number_line(const json_t *c, const char *key)
{
    const json_t *number = json_object_get(c, key);
    if (json_is_integer(number)) {
        label(key);
        printf("%" JSON_INTEGER_FORMAT "\n", json_integer_value(number));
    }
}

static void print_state(const json_t *c)
{
    label("state");
    printf("%s", text_in(c, "state"));
    if (text_in(c, "left") != NULL) {
        printf(", %s by the trainer", text_in(c, "left"));
    }
    if (json_is_true(json_object_get(c, "dropped"))) {
        printf(", its bytes are gone");
    } else if (json_is_true(json_object_get(c, "hidden"))) {
        printf(", rotated: \"ckpt undelete\" brings it back");
    }
    if (json_is_true(json_object_get(c, "pinned"))) {
        printf(", pinned");
    }
    putchar('\n');
    line("", text_in(c, "why"));
}

static void print_metrics(const json_t *metrics)
{
    const char *name = NULL;
    json_t *metric = NULL;
    const char *title = "metrics";
    json_object_foreach((json_t *)(uintptr_t)metrics, name, metric)
    {
        const json_t *value = json_object_get(metric, "value");
        const char *path = text_in(metric, "path");
        label(title);
        output_name(name);
        if (json_is_string(value)) {
            printf(" %s", json_string_value(value));
        } else {
            printf(" %.10g", json_number_value(value));
        }
        printf("  (%s", text_in(metric, "source"));
        if (path != NULL) {
            printf(": ");
            output_name(path);
            printf(", by its %s", text_in(metric, "by"));
        }
        printf(")\n");
        title = "";
    }
}

static void print_files(const json_t *files)
{
    size_t i;
    const json_t *file;
    char size[OUTPUT_SIZE];
    json_array_foreach(files, i, file)
    {
        label(i == 0 ? "files" : "");
        output_name(text_in(file, "path"));
        printf("  %s, %s, version %" JSON_INTEGER_FORMAT "\n",
               output_size(size, (uint64_t)json_integer_value(json_object_get(file, "size"))), text_in(file, "kind"),
               json_integer_value(json_object_get(file, "version")));
    }
}

static void print_command(const json_t *command)
{
    size_t i;
    const json_t *word;
    if (json_array_size(command) == 0) {
        return;
    }
    label("command");
    json_array_foreach(command, i, word)
    {
        char *text = quoted(json_is_string(word) ? json_string_value(word) : "");
        printf("%s", i > 0 ? " " : "");
        output_name(text == NULL ? "?" : text[0] == '\0' ? "''" : text);
        free(text);
    }
    putchar('\n');
}

static void print_process(const json_t *process)
{
    const char *name = NULL;
    json_t *value = NULL;
    const json_t *git = json_object_get(process, "git");
    const char *title = "environment";
    char time[OUTPUT_TIME];
    if (json_is_string(process)) { /* no document that is understood */
        line("process", json_string_value(process));
    }
    print_command(json_object_get(process, "command"));
    line("directory", text_in(process, "directory"));
    line("user", text_in(process, "user"));
    line("host", text_in(process, "host"));
    const json_t *started = json_object_get(process, "started");
    if (json_is_number(started)) {
        line("started", output_time(time, (int64_t)(json_number_value(started) * 1e9)));
    }
    line("git commit", text_in(git, "commit"));
    line("git branch", text_in(git, "branch"));
    json_object_foreach(json_object_get(process, "environment"), name, value)
    {
        label(title);
        output_name(name);
        putchar('=');
        output_name(json_is_string(value) ? json_string_value(value) : "");
        putchar('\n');
        title = "";
    }
}

static void print_parents(const json_t *parents)
{
    size_t i;
    const json_t *parent;
    json_array_foreach(parents, i, parent)
    {
        const json_t *epoch = json_object_get(parent, "epoch");
        label(i == 0 ? "parents" : "");
        printf("%s", text_in(parent, "id"));
        if (text_in(parent, "run") == NULL) {
            printf("  not known any more");
        } else {
            printf("  ");
            output_name(text_in(parent, "run"));
            printf(" ");
            output_name(text_in(parent, "name") != NULL ? text_in(parent, "name") : "");
        }
        if (json_is_integer(epoch)) {
            printf(", epoch %" JSON_INTEGER_FORMAT, json_integer_value(epoch));
        }
        putchar('\n');
    }
}

static void print_checkpoint(const json_t *result, const char *kept)
{
    char size[OUTPUT_SIZE];
    char added[OUTPUT_SIZE];
    const json_t *c = json_object_get(result, "checkpoint");
    size_t i;
    const json_t *tag;
    line("id", text_in(c, "id"));
    line("run", text_in(c, "run"));
    line("name", text_in(c, "root"));
    number_line(c, "epoch");
    number_line(c, "step");
    label("kind");
    printf("%s%s\n", text_in(c, "kind"),
           json_is_true(json_object_get(c, "resumable")) ? "" : ", can't resume training");
    line("framework", text_in(c, "framework"));
    print_state(c);
    line("saved", text_in(c, "saved"));
    label("size");
    printf("%s, %s new to the store\n", output_size(size, (uint64_t)json_integer_value(json_object_get(c, "size"))),
           output_size(added, (uint64_t)json_integer_value(json_object_get(c, "added"))));
    json_array_foreach(json_object_get(c, "tags"), i, tag)
    {
        line(i == 0 ? "tags" : "", json_string_value(tag));
    }
    print_metrics(json_object_get(c, "metrics"));
    print_files(json_object_get(c, "files"));
    print_process(json_object_get(c, "process"));
    print_parents(json_object_get(result, "parents"));
    line("kept", kept);
    line("restore", text_in(result, "restore"));
}

int cmd_show(struct tool *tool, int argc, char **argv)
{
    uint64_t dir = 0;
    uint32_t number = 0;
    char kept[JUDGED_TEXT] = "";
    int code = options_parse(tool, NULL, false, &argc, argv);
    if (code == TOOL_OK && argc != 1) {
        code = tool_usage(tool, "show takes one CHECKPOINT");
    }
    if (code == TOOL_OK) {
        code = find_store(tool, argv, argc);
    }
    if (code == TOOL_OK) {
        code = tool_open_read(tool);
    }
    if (code == TOOL_OK) {
        code = find_checkpoint(tool, argv[0], &dir, &number);
    }
    if (code == TOOL_OK) {
        code = collect(tool, dir, number, kept);
    }
    if (code == TOOL_OK && !tool->json) {
        print_checkpoint(tool->result, kept);
    }
    return code;
}
