#include "find.h"
#include "listing.h"
#include "locate.h"
#include "options.h"
#include "output.h"
#include "session.h"
#include <stdio.h>

struct demote {
    struct tool *tool;
    struct session session;
    bool recursive;
    uint64_t files;
};

static int demote_path(struct demote *d, const char *path)
{
    enum ckpt_err err = session_demote(&d->session, path);
    if (err != CKPT_OK) {
        return tool_exit_code(err);
    }
    d->files++;
    return TOOL_OK;
}

/* All captured files of a directory that are hot; one that is open doesn't keep the others. */
static int demote_dir(struct demote *d, const struct target *target)
{
    struct listing listing = {0};
    int worst = TOOL_OK;
    enum ckpt_err err =
        listing_read(d->tool->store, target->path, target->self, d->recursive, &listing);
    if (err != CKPT_OK) {
        worst = tool_store_fail(d->tool, err, "cannot list %s: %s", target->arg, ckpt_err_text(err));
    }
    for (size_t i = 0; err == CKPT_OK && i < listing.n_files; i++) {
        enum live_state state = listing.files[i].state;
        if (state == LIVE_HOT || state == LIVE_CHANGED) {
            int code = demote_path(d, listing.files[i].path);
            worst = code != TOOL_OK ? code : worst;
        }
    }
    listing_free(&listing);
    return worst;
}

static int demote_one(struct demote *d, const char *arg)
{
    struct target target;
    int code = find_target(d->tool, arg, &target);
    if (code != TOOL_OK) {
        return code;
    }
    if (!target.exists) {
        return tool_fail(d->tool, CKPT_ERR_NOT_FOUND, "there is no file %s", arg);
    }
    if (target.is_dir) {
        return target.self_known ? demote_dir(d, &target) : TOOL_OK;
    }
    return demote_path(d, target.path);
}

int cmd_demote(struct tool *tool, int argc, char **argv)
{
    struct demote d = {.tool = tool};
    const struct option_spec own[] = {{.name = "recursive", .letter = 'r', .flag = &d.recursive}, {0}};
    int code = options_parse(tool, own, false, &argc, argv);
    if (code == TOOL_OK && argc == 0) {
        code = tool_usage(tool, "demote takes one or more PATHs");
    }
    if (code == TOOL_OK) {
        code = locate_store(tool, argv, argc);
    }
    if (code == TOOL_OK) {
        code = session_open(tool, &d.session);
    }
    for (int i = 0; code == TOOL_OK && i < argc; i++) {
        code = demote_one(&d, argv[i]);
    }
    (void)json_object_set_new(tool->result, "files", output_number(d.files));
    if (code == TOOL_OK && !tool->json) {
        printf("%llu %s cold\n", (unsigned long long)d.files,
               output_plural(d.files, "file is", "files are"));
    }
    session_close(&d.session);
    return code;
}
