#include "find.h"
#include "forecast.h"
#include "locate.h"
#include "options.h"
#include "output.h"
#include "session_keep.h"
#include <inttypes.h>
#include <stdio.h>

static void tell(struct tool *tool, const struct ckpt_rotation *r)
{
    char size[OUTPUT_SIZE];
    json_t *more =
        json_pack("{s:o, s:o, s:o, s:o}", "hidden", output_number(r->hidden), "dropped", output_number(r->dropped),
                  "bytes", output_number(r->bytes), "held", output_number(r->held));
    (void)json_object_update(tool->result, more);
    json_decref(more);
    if (tool->json) {
        return;
    }
    printf("rotated %" PRIu64 " %s, dropped %" PRIu64 " for good: about %s\n", r->hidden,
           output_plural(r->hidden, "checkpoint", "checkpoints"), r->dropped, output_size(size, r->bytes));
    if (r->held > 0) {
        printf("%" PRIu64 " %s to go and %s open or being written: tried again by itself\n", r->held,
               output_plural(r->held, "is", "are"), output_plural(r->held, "is", "are"));
    }
}

static int rotate(struct tool *tool, const char *arg)
{
    struct session session = {.tool = tool};
    struct ckpt_rotation rotation = {0};
    struct found_run *list = NULL;
    size_t n = 0;
    struct target target;
    char path[PATH_MAX];
    uint64_t dir = 0;
    int code = session_open(tool, &session);
    if (code == TOOL_OK && arg == NULL) {
        code = tool_exit_code(session_rotate(&session, "the runs", 0, true, &rotation));
    } else if (code == TOOL_OK) {
        code = locate_target(tool, arg, &target);
        code = code == TOOL_OK ? find_runs_at(tool, target.path, &list, &n) : code;
        if (code == TOOL_OK && n == 0) { /* says why, unless it just wasn't in the store yet */
            find_free(list, n);
            list = NULL;
            code = session_find_run(&session, arg, &dir, path);
            code = code == TOOL_OK ? find_runs_at(tool, target.path, &list, &n) : code;
        }
        for (size_t i = 0; code == TOOL_OK && i < n; i++) {
            code = tool_exit_code(session_rotate(&session, list[i].path, list[i].dir, false, &rotation));
        }
    }
    session_close(&session);
    find_free(list, n);
    if (code == TOOL_OK) {
        tell(tool, &rotation);
    }
    return code;
}

static int forecast(struct tool *tool, const char *arg)
{
    struct target target;
    struct found_run *list = NULL;
    size_t n = 0;
    char path[PATH_MAX];
    uint64_t dir = 0;
    int code = tool_open_read(tool);
    if (code == TOOL_OK && arg != NULL) {
        code = locate_target(tool, arg, &target);
    }
    if (code == TOOL_OK) {
        code = find_runs_at(tool, arg != NULL ? target.path : NULL, &list, &n);
    }
    if (code == TOOL_OK && arg != NULL && n == 0) {
        code = find_run(tool, arg, &dir, path); /* says why */
    }
    if (code == TOOL_OK) {
        code = forecast_show(tool, list, n, NULL);
    }
    find_free(list, n);
    return code;
}

int cmd_rotate(struct tool *tool, int argc, char **argv)
{
    bool dry_run = false;
    const struct option_spec own[] = {{.name = "dry-run", .letter = 'n', .flag = &dry_run}, {0}};
    int code = options_parse(tool, own, false, &argc, argv);
    if (code == TOOL_OK && argc > 1) {
        code = tool_usage(tool, "rotate takes one RUN, or none for all of them");
    }
    if (code == TOOL_OK) {
        code = locate_store(tool, argv, argc);
    }
    if (code != TOOL_OK) {
        return code;
    }
    const char *arg = argc == 1 ? argv[0] : NULL;
    return dry_run ? forecast(tool, arg) : rotate(tool, arg);
}
