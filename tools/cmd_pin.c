#include "options.h"
#include "session_keep.h"
#include <stdio.h>

static int change_pin(struct tool *tool, int argc, char **argv, bool set)
{
    struct session session = {.tool = tool};
    uint64_t run = 0;
    uint32_t number = 0;
    int code = options_parse(tool, NULL, false, &argc, argv);
    if (code == TOOL_OK && argc != 1) {
        code = tool_usage(tool, "%s takes one CHECKPOINT", tool->command->name);
    }
    if (code == TOOL_OK) {
        code = session_open_at(tool, argv[0], &session, &run, &number);
    }
    if (code == TOOL_OK) {
        code = tool_exit_code(session_pin(&session, argv[0], run, number, set));
    }
    session_close(&session);
    if (code == TOOL_OK && !tool->json) {
        printf(set ? "%s is pinned: it stays, whatever the policy says\n" : "%s is no longer pinned\n", argv[0]);
    }
    return code;
}

int cmd_pin(struct tool *tool, int argc, char **argv)
{
    return change_pin(tool, argc, argv, true);
}

int cmd_unpin(struct tool *tool, int argc, char **argv)
{
    return change_pin(tool, argc, argv, false);
}
