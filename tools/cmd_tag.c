#include "find.h"
#include "options.h"
#include "session_keep.h"
#include <stdio.h>
#include <string.h>

enum { TAG_MAX = 64 };

/* As ckpt/keep.h has it; told here, because not every text can be sent to a daemon. */
static int check_tag(struct tool *tool, const char *tag)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t n = strlen(tag);
    if (n == 0 || n > TAG_MAX || tag[0] == '.' || strspn(tag, allowed) != n) {
        return tool_fail(tool, CKPT_ERR_INVALID,
                         "\"%s\" is no tag: 1 to %d letters, digits, \".\", \"_\", \"-\", the first one not \".\"", tag,
                         TAG_MAX);
    }
    return TOOL_OK;
}

/* "untag RUN NAME" means the checkpoint of that run which has it. */
static int find_tagged(struct session *session, const char *what, const char *tag, uint64_t *run, uint32_t *number)
{
    char path[PATH_MAX];
    char tagged[2 * PATH_MAX];
    if (find_run(session->tool, what, run, path) != TOOL_OK) {
        tool_forgive(session->tool);
        return session_find(session, what, run, number);
    }
    (void)snprintf(tagged, sizeof tagged, "%s@tag=%s", what, tag);
    return session_find(session, tagged, run, number);
}

static int change_tag(struct tool *tool, const char *what, const char *tag, bool set)
{
    struct session session = {.tool = tool};
    uint64_t run = 0;
    uint32_t number = 0;
    int code = check_tag(tool, tag);
    if (code == TOOL_OK) {
        code = session_open_for(tool, what, &session);
    }
    if (code == TOOL_OK) {
        code = set ? session_find(&session, what, &run, &number) : find_tagged(&session, what, tag, &run, &number);
    }
    if (code == TOOL_OK) {
        code = tool_exit_code(session_tag(&session, what, run, number, tag, set));
    }
    session_close(&session);
    if (code == TOOL_OK && !tool->json) {
        printf(set ? "%s is tagged %s\n" : "%s is no longer tagged %s\n", what, tag);
    }
    return code;
}

int cmd_tag(struct tool *tool, int argc, char **argv)
{
    int code = options_parse(tool, NULL, false, &argc, argv);
    if (code == TOOL_OK && argc != 2) {
        code = tool_usage(tool, "tag takes a CHECKPOINT and a NAME");
    }
    return code == TOOL_OK ? change_tag(tool, argv[0], argv[1], true) : code;
}

int cmd_untag(struct tool *tool, int argc, char **argv)
{
    int code = options_parse(tool, NULL, false, &argc, argv);
    if (code == TOOL_OK && argc != 2) {
        code = tool_usage(tool, "untag takes a CHECKPOINT or a RUN, and a NAME");
    }
    return code == TOOL_OK ? change_tag(tool, argv[0], argv[1], false) : code;
}
