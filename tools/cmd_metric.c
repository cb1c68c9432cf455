#include "options.h"
#include "session_keep.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct setting {
    char *name;
    double value;
};

static int parse(struct tool *tool, const char *text, struct setting *setting)
{
    char *end = NULL;
    const char *equals = strrchr(text, '=');
    if (equals == NULL || equals == text) {
        return tool_usage(tool, "\"%s\" is no metric: NAME=VALUE, as in val_loss=0.25", text);
    }
    setting->value = strtod(equals + 1, &end);
    if (equals[1] == '\0' || *end != '\0') {
        return tool_usage(tool, "\"%s\" is no number: NAME=VALUE, as in val_loss=0.25", equals + 1);
    }
    setting->name = strndup(text, (size_t)(equals - text));
    if (setting->name == NULL) {
        return tool_fail(tool, CKPT_ERR_NOMEM, "out of memory");
    }
    json_t *string = json_string(setting->name);
    json_decref(string);
    return string != NULL ? TOOL_OK : tool_usage(tool, "the metric's name in \"%s\" isn't UTF-8", text);
}

static int set_metrics(struct tool *tool, const char *what, const struct setting *settings, int n)
{
    struct session session = {.tool = tool};
    uint64_t run = 0;
    uint32_t number = 0;
    int code = session_open_at(tool, what, &session, &run, &number);
    for (int i = 0; code == TOOL_OK && i < n; i++) {
        code = tool_exit_code(session_metric(&session, what, run, number, settings[i].name, settings[i].value));
        if (code == TOOL_OK && !tool->json) {
            printf("%s: %s is %.10g\n", what, settings[i].name, settings[i].value);
        }
    }
    session_close(&session);
    return code;
}

int cmd_metric(struct tool *tool, int argc, char **argv)
{
    int code = options_parse(tool, NULL, false, &argc, argv);
    if (code == TOOL_OK && argc < 2) {
        code = tool_usage(tool, "metric takes a CHECKPOINT and one or more NAME=VALUE");
    }
    if (code != TOOL_OK) {
        return code;
    }
    struct setting *settings = calloc((size_t)argc, sizeof *settings);
    if (settings == NULL) {
        return tool_fail(tool, CKPT_ERR_NOMEM, "out of memory");
    }
    for (int i = 1; code == TOOL_OK && i < argc; i++) { /* all of them, before one is set */
        code = parse(tool, argv[i], &settings[i - 1]);
    }
    if (code == TOOL_OK) {
        code = set_metrics(tool, argv[0], settings, argc - 1);
    }
    for (int i = 0; i < argc; i++) {
        free(settings[i].name);
    }
    free(settings);
    return code;
}
