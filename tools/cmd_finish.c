#include "find.h"
#include "locate.h"
#include "options.h"
#include "session_keep.h"
#include <stdio.h>

int cmd_finish(struct tool *tool, int argc, char **argv)
{
    bool undo = false;
    char path[PATH_MAX];
    uint64_t run = 0;
    struct session session = {.tool = tool};
    const struct option_spec own[] = {{.name = "undo", .flag = &undo}, {0}};
    int code = options_parse(tool, own, false, &argc, argv);
    if (code == TOOL_OK && argc != 1) {
        code = tool_usage(tool, "finish takes one RUN");
    }
    if (code == TOOL_OK) {
        code = locate_store(tool, argv, argc);
    }
    if (code == TOOL_OK) {
        code = session_open(tool, &session);
    }
    if (code == TOOL_OK) {
        code = session_find_run(&session, argv[0], &run, path);
    }
    if (code == TOOL_OK) {
        code = tool_exit_code(session_finish(&session, argv[0], run, !undo));
    }
    session_close(&session);
    if (code == TOOL_OK && !tool->json) {
        printf(undo ? "%s goes on\n" : "%s is finished\n", argv[0]);
    }
    return code;
}
