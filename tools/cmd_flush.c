#include "locate.h"
#include "options.h"
#include "output.h"
#include "session.h"
#include <stdio.h>

int cmd_flush(struct tool *tool, int argc, char **argv)
{
    struct session session = {0};
    struct ckpt_counters before = {0};
    struct ckpt_counters after = {0};
    unsigned still_open = 0;
    int code = options_parse(tool, NULL, false, &argc, argv);
    if (code == TOOL_OK && argc > 0) {
        code = tool_usage(tool, "flush takes no PATH, it waits for the whole store");
    }
    if (code == TOOL_OK) {
        code = locate_store(tool, NULL, 0);
    }
    if (code == TOOL_OK) {
        code = session_open(tool, &session);
    }
    if (code != TOOL_OK) {
        goto out;
    }
    enum ckpt_err err = ckpt_store_counters(tool->store, &before);
    if (err != CKPT_OK) {
        code = tool_store_fail(tool, err, "cannot read the counters of %s: %s", tool->store_dir,
                               ckpt_err_text(err));
        goto out;
    }
    err = session_flush(&session, &still_open);
    if (err != CKPT_OK) {
        code = tool_exit_code(err);
        goto out;
    }
    err = ckpt_store_counters(tool->store, &after);
    uint64_t added = err == CKPT_OK && after.versions > before.versions
                         ? after.versions - before.versions
                         : 0;
    (void)json_object_set_new(tool->result, "versions_added", output_number(added));
    (void)json_object_set_new(tool->result, "still_open", output_number(still_open));
    if (!tool->json) {
        printf("everything closed so far is in the store; this waited for %llu new %s\n",
               (unsigned long long)added, output_plural(added, "version", "versions"));
    }
    if (!tool->json && still_open > 0) {
        printf("left out: %u %s still open for writing\n", still_open,
               output_plural(still_open, "file", "files"));
    }
out:
    session_close(&session);
    return code;
}
