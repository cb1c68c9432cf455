#include "client.h"
#include "locate.h"
#include "options.h"
#include "session.h"
#include <stdio.h>

int cmd_views(struct tool *tool, int argc, char **argv)
{
    bool show = false;
    struct target target;
    json_t *answer = NULL;
    const struct option_spec own[] = {{.name = "show", .flag = &show}, {0}};
    int code = options_parse(tool, own, false, &argc, argv);
    if (code == TOOL_OK && (argc != 1 || !show)) {
        code = tool_usage(tool, "views takes one run and --show");
    }
    if (code == TOOL_OK) {
        code = locate_store(tool, argv, argc);
    }
    if (code == TOOL_OK) {
        code = tool_open_read(tool);
    }
    if (code == TOOL_OK) {
        code = locate_target(tool, argv[0], &target);
    }
    if (code != TOOL_OK) {
        return code;
    }
    if (!session_daemon_runs(tool->store_dir, NULL, 0)) {
        return tool_fail(tool, CKPT_ERR_BUSY, "%s is not mounted; views exist in a mount only",
                         tool->store_dir);
    }
    json_t *request = json_pack("{s:s, s:s, s:b}", "op", "views", "path", target.path, "show", 1);
    enum ckpt_err err = client_request(tool, request, &answer);
    json_decref(request);
    json_decref(answer);
    if (err != CKPT_OK) {
        return tool_exit_code(err);
    }
    if (!tool->json) {
        printf("%s shows its views again\n", argv[0]);
    }
    return TOOL_OK;
}
