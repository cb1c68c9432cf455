#include "options.h"
#include "session_keep.h"
#include <stdio.h>

int cmd_undelete(struct tool *tool, int argc, char **argv)
{
    struct session session = {.tool = tool};
    uint64_t run = 0;
    uint32_t number = 0;
    int code = options_parse(tool, NULL, false, &argc, argv);
    if (code == TOOL_OK && argc != 1) {
        code = tool_usage(tool, "undelete takes one CHECKPOINT");
    }
    if (code == TOOL_OK) {
        code = session_open_at(tool, argv[0], &session, &run, &number);
    }
    if (code == TOOL_OK) {
        code = tool_exit_code(session_undelete(&session, argv[0], run, number));
    }
    session_close(&session);
    if (code == TOOL_OK && !tool->json) {
        printf("%s is back under its own names, and pinned\n", argv[0]);
    }
    return code;
}
