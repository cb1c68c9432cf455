#include "options.h"
#include "output.h"
#include <stdio.h>
#include <stdlib.h>

int cmd_init(struct tool *tool, int argc, char **argv)
{
    int code = options_parse(tool, NULL, false, &argc, argv);
    if (code != TOOL_OK) {
        return code;
    }
    const char *dir = argc > 0 ? argv[0] : tool->store_option;
    if (!dir || argc > 1 || (argc == 1 && tool->store_option)) {
        return tool_usage(tool, "init needs one DIR");
    }
    enum ckpt_err err = ckpt_store_create(dir, &tool->report);
    if (err != CKPT_OK) {
        return tool_store_fail(tool, err, "cannot make a store in %s: %s", dir, ckpt_err_text(err));
    }
    char absolute[PATH_MAX];
    const char *path = realpath(dir, absolute) ? absolute : dir;
    (void)json_object_set_new(tool->result, "store", output_text(path));
    if (!tool->json) {
        printf("made the store %s\nmount it: ckptfs %s MOUNTPOINT\n", path, path);
    }
    return TOOL_OK;
}
