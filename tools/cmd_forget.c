#include "find.h"
#include "listing.h"
#include "locate.h"
#include "options.h"
#include "output.h"
#include "session.h"
#include <stdio.h>
#include <stdlib.h>

struct forget {
    struct tool *tool;
    struct session session;
    unsigned long keep; /* 0: the versions are named */
    bool dry_run;
    bool pending; /* not versions, but what is to become one */
    uint64_t forgotten;
};

static int forget_numbers(struct forget *f, const struct target *target, const uint32_t *numbers,
                          size_t n)
{
    f->forgotten += n;
    for (size_t i = 0; i < n && f->dry_run && !f->tool->json; i++) {
        printf("would forget %s@v%u\n", target->path, numbers[i]);
    }
    if (n == 0 || f->dry_run) {
        return TOOL_OK;
    }
    enum ckpt_err err = session_forget(&f->session, target->path, numbers, n);
    return err == CKPT_OK ? TOOL_OK : tool_exit_code(err);
}

static int forget_one(struct forget *f, const char *arg)
{
    struct target target;
    struct version_list list = {0};
    int code = find_target(f->tool, arg, &target);
    if (code != TOOL_OK) {
        return code;
    }
    if (f->keep == 0 && target.version == 0) {
        return tool_usage(f->tool, "%s names no version: say which one (%s@v1), or --keep N", arg, arg);
    }
    enum ckpt_err err = target.captured
                            ? version_list_read(f->tool->store, target.dir, target.name, &list)
                            : CKPT_ERR_NOT_FOUND;
    if (err != CKPT_OK) {
        version_list_free(&list);
        return tool_fail(f->tool, err, "the store has no versions of %s; \"ckpt log\" lists what it has",
                         arg);
    }
    uint32_t *numbers = calloc(list.n > 0 ? list.n : 1, sizeof *numbers);
    size_t n = 0;
    for (size_t i = 0; numbers != NULL && i < list.n; i++) {
        bool named = list.versions[i].number == target.version;
        if (f->keep > 0 ? i + f->keep < list.n : named) {
            numbers[n++] = list.versions[i].number;
        }
    }
    if (numbers == NULL) {
        code = tool_fail(f->tool, CKPT_ERR_NOMEM, "out of memory");
    } else if (f->keep == 0 && n == 0) {
        code = tool_fail(f->tool, CKPT_ERR_NOT_FOUND, "there is no version %u of %s; \"ckpt log\" lists what there is",
                         target.version, target.path);
    } else {
        code = forget_numbers(f, &target, numbers, n);
    }
    free(numbers);
    version_list_free(&list);
    return code;
}

static int measure(struct tool *tool, struct ckpt_counters *counters, struct ckpt_space *space)
{
    enum ckpt_err err = ckpt_store_counters(tool->store, counters);
    if (err == CKPT_OK) {
        err = ckpt_store_space(tool->store, space);
    }
    return err == CKPT_OK ? TOOL_OK
                          : tool_store_fail(tool, err, "cannot read the counters of %s: %s",
                                            tool->store_dir, ckpt_err_text(err));
}

static uint64_t less(uint64_t before, uint64_t after)
{
    return before > after ? before - after : 0;
}

static int forget_all(struct forget *f, int argc, char **argv)
{
    struct ckpt_counters before = {0};
    struct ckpt_counters after = {0};
    struct ckpt_space space_before = {0};
    struct ckpt_space space_after = {0};
    char stored[OUTPUT_SIZE];
    char host[OUTPUT_SIZE];
    int code = measure(f->tool, &before, &space_before);
    for (int i = 0; code == TOOL_OK && i < argc; i++) {
        code = forget_one(f, argv[i]);
    }
    if (code == TOOL_OK) {
        code = measure(f->tool, &after, &space_after);
    }
    if (code != TOOL_OK) {
        return code;
    }
    uint64_t freed = less(before.stored, after.stored);
    uint64_t host_freed = less(space_before.db_bytes, space_after.db_bytes);
    (void)json_object_set_new(f->tool->result, "versions", output_number(f->forgotten));
    (void)json_object_set_new(f->tool->result, "stored_freed", output_number(freed));
    (void)json_object_set_new(f->tool->result, "host_freed", output_number(host_freed));
    if (!f->tool->json && !f->dry_run) {
        printf("forgot %llu %s: %s in the store, %s on the host\n", (unsigned long long)f->forgotten,
               output_plural(f->forgotten, "version", "versions"), output_size(stored, freed),
               output_size(host, host_freed));
    }
    return TOOL_OK;
}

/* Not recorded yet: nothing of it is in the counters. */
static int forget_pending(struct forget *f, int argc, char **argv)
{
    char size[OUTPUT_SIZE];
    uint64_t all_files = 0;
    uint64_t all_bytes = 0;
    for (int i = 0; i < argc; i++) {
        struct target target;
        uint64_t files = 0;
        uint64_t bytes = 0;
        int code = find_target(f->tool, argv[i], &target);
        if (code != TOOL_OK) {
            return code;
        }
        enum ckpt_err err = session_forget_pending(&f->session, target.path, &files, &bytes);
        if (err != CKPT_OK) {
            return tool_exit_code(err);
        }
        all_files += files;
        all_bytes += bytes;
    }
    (void)json_object_set_new(f->tool->result, "files", output_number(all_files));
    (void)json_object_set_new(f->tool->result, "host_freed", output_number(all_bytes));
    if (!f->tool->json) {
        printf("gave up %llu %s that waited: %s on the host\n", (unsigned long long)all_files,
               output_plural(all_files, "file", "files"), output_size(size, all_bytes));
    }
    return TOOL_OK;
}

int cmd_forget(struct tool *tool, int argc, char **argv)
{
    struct forget f = {.tool = tool};
    const char *keep = NULL;
    const struct option_spec own[] = {
        {.name = "keep", .value = &keep},
        {.name = "dry-run", .letter = 'n', .flag = &f.dry_run},
        {.name = "pending", .flag = &f.pending},
        {0}};
    int code = options_parse(tool, own, false, &argc, argv);
    if (code == TOOL_OK && argc == 0) {
        code = tool_usage(tool, "forget takes one or more PATHs");
    }
    if (code == TOOL_OK && f.pending && (keep != NULL || f.dry_run)) {
        code = tool_usage(tool, "--pending takes neither --keep nor --dry-run");
    }
    if (code == TOOL_OK && keep != NULL) {
        code = options_number(tool, "keep", keep, 1, UINT32_MAX, &f.keep);
    }
    if (code == TOOL_OK) {
        code = locate_store(tool, argv, argc);
    }
    if (code == TOOL_OK) {
        code = session_open(tool, &f.session);
    }
    if (code == TOOL_OK) {
        code = f.pending ? forget_pending(&f, argc, argv) : forget_all(&f, argc, argv);
    }
    session_close(&f.session);
    return code;
}
