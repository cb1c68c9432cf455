#include "tool.h"
#include "output.h"
#include <ckpt/run.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Before main knows better, and when memory runs out while an error is told. */
static const char out_of_memory[] = "out of memory";

static void report(void *arg, enum ckpt_level level, const char *text)
{
    struct tool *tool = arg;
    pthread_mutex_lock(&tool->lock);
    json_t *string = output_text(text);
    if (level == CKPT_ERROR) {
        (void)json_array_append(tool->reported, string);
    } else if (tool->json) {
        (void)json_array_append(tool->warnings, string);
    } else {
        output_clear_progress();
        fprintf(stderr, "ckpt: %s\n", text);
    }
    json_decref(string);
    pthread_mutex_unlock(&tool->lock);
}

int tool_init(struct tool *tool)
{
    *tool = (struct tool){.lock = PTHREAD_MUTEX_INITIALIZER};
    tool->report = (struct ckpt_report){.fn = report, .arg = tool};
    tool->result = json_object();
    tool->reported = json_array();
    tool->warnings = json_array();
    return tool->result && tool->reported && tool->warnings ? 0 : -1;
}

void tool_free(struct tool *tool)
{
    ckpt_runs_free(tool->runs);
    ckpt_store_close(tool->store);
    json_decref(tool->result);
    json_decref(tool->reported);
    json_decref(tool->warnings);
    free(tool->message);
    pthread_mutex_destroy(&tool->lock);
}

int tool_exit_code(enum ckpt_err err)
{
    switch (err) {
    case CKPT_OK:
        return TOOL_OK;
    case CKPT_ERR_INVALID:
        return TOOL_USAGE;
    case CKPT_ERR_NOT_FOUND:
    case CKPT_ERR_NOT_STORE:
        return TOOL_NOT_FOUND;
    case CKPT_ERR_BUSY:
    case CKPT_ERR_EXISTS:
    case CKPT_ERR_NEEDED:
    case CKPT_ERR_STOPPED:
        return TOOL_REFUSED;
    default:
        return TOOL_FAILED;
    }
}

enum ckpt_err tool_err_named(const char *name)
{
    for (int err = CKPT_ERR_NOMEM; err <= CKPT_ERR_STOPPED; err++) {
        if (strcmp(ckpt_err_name((enum ckpt_err)err), name) == 0) {
            return (enum ckpt_err)err;
        }
    }
    return CKPT_ERR_IO;
}

static char *format_text(const char *format, va_list args)
{
    char *text = NULL;
    return vasprintf(&text, format, args) < 0 ? NULL : text;
}

/* Takes TEXT. */
static int record(struct tool *tool, enum ckpt_err err, char *text)
{
    if (tool->err != CKPT_OK) { /* what went wrong first explains the most */
        free(text);
        return tool_exit_code(tool->err);
    }
    tool->err = err;
    tool->message = text;
    return tool_exit_code(err);
}

int tool_fail(struct tool *tool, enum ckpt_err err, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = format_text(format, args);
    va_end(args);
    return record(tool, err, text);
}

/* All that the store has reported, one per line; NULL when it was silent. */
static char *reported_text(struct tool *tool)
{
    char *text = NULL;
    json_t *reported = tool_take_reported(tool);
    size_t i;
    json_t *line;
    json_array_foreach (reported, i, line) {
        char *longer = NULL;
        if (asprintf(&longer, "%s%s%s", text ? text : "", text ? "\n" : "",
                     json_string_value(line)) < 0) {
            break;
        }
        free(text);
        text = longer;
    }
    json_decref(reported);
    return text;
}

int tool_store_fail(struct tool *tool, enum ckpt_err err, const char *format, ...)
{
    char *text = reported_text(tool);
    if (!text) {
        va_list args;
        va_start(args, format);
        text = format_text(format, args);
        va_end(args);
    }
    return record(tool, err, text);
}

int tool_usage(struct tool *tool, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *what = format_text(format, args);
    va_end(args);
    char *text = NULL;
    if (asprintf(&text, "%s; \"ckpt%s%s --help\" explains", what ? what : out_of_memory,
                 tool->command ? " " : "", tool->command ? tool->command->name : "") < 0) {
        text = NULL;
    }
    free(what);
    return record(tool, CKPT_ERR_INVALID, text);
}

void tool_warn(struct tool *tool, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = format_text(format, args);
    va_end(args);
    report(tool, CKPT_WARNING, text ? text : out_of_memory);
    free(text);
}

json_t *tool_take_reported(struct tool *tool)
{
    pthread_mutex_lock(&tool->lock);
    json_t *taken = json_copy(tool->reported);
    (void)json_array_clear(tool->reported);
    pthread_mutex_unlock(&tool->lock);
    return taken;
}

void tool_forgive(struct tool *tool)
{
    free(tool->message);
    tool->message = NULL;
    tool->err = CKPT_OK;
}

static int print_document(struct tool *tool, int code)
{
    json_t *document = json_object();
    int failed = json_object_set_new(document, "ok", json_boolean(code == TOOL_OK));
    if (code != TOOL_OK) {
        const char *text = tool->message ? tool->message : out_of_memory;
        failed |= json_object_set_new(document, "error", json_string(ckpt_err_name(tool->err)));
        failed |= json_object_set_new(document, "message", output_text(text));
    }
    failed |= json_object_update(document, tool->result);
    if (json_array_size(tool->warnings) > 0) {
        failed |= json_object_set(document, "warnings", tool->warnings);
    }
    if (failed == 0) {
        failed = json_dumpf(document, stdout, JSON_INDENT(2));
        putchar('\n');
    }
    json_decref(document);
    return failed;
}

int tool_finish(struct tool *tool, int code)
{
    int failed = 0;
    if (tool->json) {
        failed = print_document(tool, code);
    } else if (code != TOOL_OK) {
        const char *text = tool->message ? tool->message : out_of_memory;
        if (tool->command) {
            fprintf(stderr, "ckpt %s: %s\n", tool->command->name, text);
        } else {
            fprintf(stderr, "ckpt: %s\n", text);
        }
    }
    if (failed != 0 || fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "ckpt: cannot write the result to standard output: %m\n");
        return code == TOOL_OK ? TOOL_FAILED : code;
    }
    return code;
}

int tool_open_read(struct tool *tool)
{
    enum ckpt_err err =
        ckpt_store_open(tool->store_dir, CKPT_READ, NULL, &tool->report, &tool->store);
    if (err != CKPT_OK) {
        return tool_store_fail(tool, err, "cannot open the store %s: %s", tool->store_dir,
                               ckpt_err_text(err));
    }
    return TOOL_OK;
}
