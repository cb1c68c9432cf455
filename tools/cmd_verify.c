#include "locate.h"
#include "options.h"
#include "output.h"
#include <ckpt/verify.h>
#include <stdio.h>

static void print_result(const struct ckpt_verify_result *r)
{
    char bytes[OUTPUT_SIZE];
    printf("%llu objects, %s, %llu versions, %llu cold files\n", (unsigned long long)r->objects,
           output_size(bytes, r->bytes), (unsigned long long)r->versions,
           (unsigned long long)r->stubs);
    if (r->problems == 0) {
        printf("no problems\n");
    } else {
        printf("%llu %s\n", (unsigned long long)r->problems,
               output_plural(r->problems, "problem", "problems"));
    }
}

int cmd_verify(struct tool *tool, int argc, char **argv)
{
    bool quick = false;
    struct ckpt_verify_result r = {0};
    struct output_progress progress;
    const struct option_spec own[] = {{.name = "quick", .flag = &quick}, {0}};
    int code = options_parse(tool, own, false, &argc, argv);
    if (code == TOOL_OK) {
        code = locate_store(tool, argv, argc);
    }
    if (code == TOOL_OK) {
        code = tool_open_read(tool);
    }
    if (code != TOOL_OK) {
        return code;
    }
    output_progress_start(&progress, "verifying", !tool->json);
    enum ckpt_err err = ckpt_verify(tool->store, quick, output_progress_update, &progress, &r);
    output_progress_end(&progress);
    if (err != CKPT_OK) {
        return tool_store_fail(tool, err, "%s could not be verified: %s", tool->store_dir,
                               ckpt_err_text(err));
    }
    json_t *reported = tool_take_reported(tool);
    size_t i = 0;
    json_t *text = NULL;
    json_array_foreach(reported, i, text)
    {
        if (!tool->json) {
            fprintf(stderr, "%s\n", json_string_value(text));
        }
    }
    (void)json_object_set_new(tool->result, "objects", output_number(r.objects));
    (void)json_object_set_new(tool->result, "bytes", output_number(r.bytes));
    (void)json_object_set_new(tool->result, "versions", output_number(r.versions));
    (void)json_object_set_new(tool->result, "cold_files", output_number(r.stubs));
    (void)json_object_set_new(tool->result, "unused", output_number(r.unused));
    (void)json_object_set_new(tool->result, "problems", output_number(r.problems));
    (void)json_object_set_new(tool->result, "reports", reported);
    if (!tool->json) {
        print_result(&r);
    }
    return r.problems == 0 ? TOOL_OK : TOOL_PROBLEMS;
}
