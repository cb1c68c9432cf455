#include "find.h"
#include "listing.h"
#include "locate.h"
#include "options.h"
#include "output.h"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void print_row(const struct ckpt_version *version, enum live_state state)
{
    char captured[OUTPUT_TIME];
    char size[OUTPUT_SIZE];
    char stored[OUTPUT_SIZE];
    char added[OUTPUT_SIZE];
    printf("%7u  %-19s  %10s  %10s  %10s  %-7s", version->number,
           output_time(captured, version->captured_ns), output_size(size, version->size),
           output_size(stored, version->stored), output_size(added, version->added),
           listing_state_name(state));
}

static void print_header(const char *last)
{
    printf("%7s  %-19s  %10s  %10s  %10s  %-7s%s\n", "version", "captured", "size", "stored",
           "added", "live", last);
}

/* The checkpoint that a version belongs to; for people: its id, and what is wrong with it. */
static void add_checkpoint(struct tool *tool, const struct ckpt_version *version, json_t *item)
{
    const struct ckpt_run *run = NULL;
    uint64_t dir = 0;
    uint32_t number = 0;
    (void)json_object_set_new(item, "checkpoint", json_null());
    if (ckpt_runs_by_version(tool->runs, version->dir, version->name, version->number, &dir, &number) != CKPT_OK ||
        ckpt_runs_hold(tool->runs, dir, &run) != CKPT_OK) {
        return;
    }
    const struct ckpt_checkpoint *c = ckpt_run_number(run, number);
    if (c != NULL) {
        bool complete = c->status == CKPT_STATUS_COMPLETE;
        (void)json_object_set_new(item, "checkpoint",
                                  json_pack("{s:o, s:s, s:o}", "id", json_sprintf("%016" PRIx64, c->id), "state",
                                            ckpt_status_name(c->status), "why",
                                            c->why != NULL ? output_text(c->why) : json_null()));
        if (!tool->json) {
            printf("  %08" PRIx64 "%s%s", c->id >> 32, complete ? "" : " ", complete ? "" : ckpt_status_name(c->status));
            if (!complete && c->why != NULL) {
                printf(": ");
                output_name(c->why);
            }
        }
    }
    ckpt_runs_release(tool->runs);
}

static int log_file(struct tool *tool, const struct target *target, json_t *out)
{
    struct version_list list = {0};
    enum ckpt_err err = CKPT_ERR_NOT_FOUND;
    int code = TOOL_OK;
    if (target->captured) {
        err = version_list_read(tool->store, target->dir, target->name, &list);
    }
    if (err == CKPT_ERR_NOT_FOUND || (err == CKPT_OK && list.n == 0)) {
        code = tool_fail(tool, CKPT_ERR_NOT_FOUND,
                         target->exists ? "%s has no versions; \"ckpt flush\" waits for files that "
                                          "were just closed, and ckptfs captures what its option "
                                          "capture= names"
                                        : "the store knows no file %s; \"ckpt log\" of the "
                                          "directory above lists what it knows",
                         target->arg);
        goto out;
    }
    if (err != CKPT_OK) {
        code = tool_store_fail(tool, err, "cannot read the versions of %s: %s", target->arg,
                               ckpt_err_text(err));
        goto out;
    }
    enum live_state newest = listing_state(tool->store, target->path, &list.versions[list.n - 1]);
    if (!tool->json) {
        output_name(target->path);
        putchar('\n');
        print_header("  checkpoint");
    }
    bool found = false;
    for (size_t i = 0; i < list.n; i++) {
        enum live_state state = i + 1 == list.n ? newest : LIVE_NONE;
        if (target->version != 0 && list.versions[i].number != target->version) {
            continue;
        }
        found = true;
        json_t *item = listing_json(target->path, &list.versions[i], state);
        if (!tool->json) {
            print_row(&list.versions[i], state);
        }
        add_checkpoint(tool, &list.versions[i], item);
        (void)json_array_append_new(out, item);
        if (!tool->json) {
            putchar('\n');
        }
    }
    if (!found) {
        code = tool_fail(tool, CKPT_ERR_NOT_FOUND, "%s has no version %u", target->path,
                         target->version);
    }
out:
    version_list_free(&list);
    return code;
}

static void print_directory(const struct target *target, const struct listing *listing,
                            bool recursive)
{
    size_t skip = target->path[0] ? strlen(target->path) + 1 : 0;
    printf("%s%s\n", target->path[0] ? "" : "the top of the store", target->path);
    if (listing->n_files > 0) {
        print_header(" file (versions)");
    }
    for (size_t i = 0; i < listing->n_files; i++) {
        const struct listed_file *file = &listing->files[i];
        print_row(&file->newest, file->state);
        putchar(' ');
        output_name(file->path + skip);
        printf(" (%u)\n", file->versions);
    }
    for (size_t i = 0; !recursive && i < listing->n_dirs; i++) {
        printf("%s", i == 0 ? "directories below (-r shows their files):\n  " : "  ");
        output_name(listing->dirs[i].path + skip);
        printf("/\n");
    }
    if (listing->n_files == 0 && (recursive || listing->n_dirs == 0)) {
        printf("no versions yet\n");
    }
}

static int log_directory(struct tool *tool, const struct target *target, bool recursive,
                         json_t *files, json_t *dirs)
{
    struct listing listing = {0};
    int code = TOOL_OK;
    if (target->self_known) {
        enum ckpt_err err =
            listing_read(tool->store, target->path, target->self, recursive, &listing);
        if (err != CKPT_OK) {
            code = tool_store_fail(tool, err, "cannot read the versions in %s: %s", target->arg,
                                   ckpt_err_text(err));
            goto out;
        }
    }
    for (size_t i = 0; i < listing.n_files; i++) {
        const struct listed_file *file = &listing.files[i];
        json_t *item = listing_json(file->path, &file->newest, file->state);
        (void)json_object_set_new(item, "versions", output_number(file->versions));
        (void)json_array_append_new(files, item);
    }
    for (size_t i = 0; i < listing.n_dirs; i++) {
        (void)json_array_append_new(dirs, output_text(listing.dirs[i].path));
    }
    if (!tool->json) {
        print_directory(target, &listing, recursive);
    }
out:
    listing_free(&listing);
    return code;
}

static int log_one(struct tool *tool, const char *arg, bool recursive, json_t *out)
{
    struct target target;
    int code = find_target(tool, arg, &target);
    if (code != TOOL_OK) {
        return code;
    }
    json_t *versions = json_array();
    json_t *dirs = json_array();
    if (target.is_dir) {
        code = log_directory(tool, &target, recursive, versions, dirs);
    } else {
        code = log_file(tool, &target, versions);
    }
    if (code == TOOL_OK && target.is_dir) {
        (void)json_array_append_new(out, json_pack("{s:o, s:s, s:O, s:O}", "path",
                                                   output_text(target.path), "kind", "directory",
                                                   "files", versions, "directories", dirs));
    } else if (code == TOOL_OK) {
        (void)json_array_append_new(out,
                                    json_pack("{s:o, s:s, s:O}", "path", output_text(target.path),
                                              "kind", "file", "versions", versions));
    }
    json_decref(versions);
    json_decref(dirs);
    return code;
}

int cmd_log(struct tool *tool, int argc, char **argv)
{
    bool recursive = false;
    const struct option_spec own[] = {{"recursive", 'r', &recursive, NULL}, {0}};
    int code = options_parse(tool, own, false, &argc, argv);
    if (code == TOOL_OK) {
        code = locate_store(tool, argv, argc);
    }
    if (code == TOOL_OK) {
        code = tool_open_read(tool);
    }
    if (code == TOOL_OK) {
        code = find_runs(tool);
    }
    if (code != TOOL_OK) {
        return code;
    }
    char here[] = ".";
    char *const defaults[] = {here};
    json_t *out = json_array();
    int n = argc > 0 ? argc : 1;
    int first = TOOL_OK;
    for (int i = 0; i < n; i++) {
        code = log_one(tool, argc > 0 ? argv[i] : defaults[0], recursive, out);
        first = first == TOOL_OK ? code : first;
        if (!tool->json && i + 1 < n && code == TOOL_OK) {
            putchar('\n');
        }
    }
    (void)json_object_set_new(tool->result, "paths", out);
    return first;
}
