#include "find.h"
#include "forecast.h"
#include "locate.h"
#include "options.h"
#include "output.h"
#include "session_keep.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct policy_call {
    struct tool *tool;
    const char *path; /* as it was given */
    const char *file; /* NULL: none was given */
    const char *inline_text;
};

/* ---- texts ---- */

static int read_file(struct tool *tool, const char *name, char **text)
{
    bool in = strcmp(name, "-") == 0;
    FILE *file = in ? stdin : fopen(name, "re");
    char *buffer = malloc(CKPT_POLICY_TEXT + 2);
    int code = TOOL_OK;
    if (file == NULL) {
        code = tool_fail(tool, ckpt_err_from_errno(errno), "cannot read the policy %s: %m", name);
    } else if (buffer == NULL) {
        code = tool_fail(tool, CKPT_ERR_NOMEM, "out of memory");
    }
    size_t n = code == TOOL_OK ? fread(buffer, 1, CKPT_POLICY_TEXT + 1, file) : 0;
    if (code == TOOL_OK && ferror(file)) {
        code = tool_fail(tool, ckpt_err_from_errno(errno), "cannot read the policy %s: %m", name);
    } else if (code == TOOL_OK && (n > CKPT_POLICY_TEXT || memchr(buffer, '\0', n) != NULL)) {
        code = tool_fail(tool, CKPT_ERR_INVALID, "%s is no policy: it is longer than %d bytes, or no text", name,
                         CKPT_POLICY_TEXT);
    }
    if (file != NULL && !in) {
        (void)fclose(file);
    }
    if (code != TOOL_OK) {
        free(buffer);
        return code;
    }
    buffer[n] = '\0';
    *text = buffer;
    return TOOL_OK;
}

/* ";" is the end of a line; spaces behind it are for the eye. */
static int read_inline(struct tool *tool, const char *given, char **text)
{
    char *copy = NULL;
    if (asprintf(&copy, "%s\n", given) < 0) {
        return tool_fail(tool, CKPT_ERR_NOMEM, "out of memory");
    }
    for (char *at = copy; (at = strchr(at, ';')) != NULL;) {
        size_t spaces = strspn(at + 1, " ");
        *at++ = '\n';
        memmove(at, at + spaces, strlen(at + spaces) + 1);
    }
    *text = copy;
    return TOOL_OK;
}

/* *TEXT: to be freed. It has been parsed. */
static int read_text(const struct policy_call *call, char **text, struct ckpt_policy *policy)
{
    struct ckpt_policy_error error;
    *text = NULL;
    int code = call->inline_text != NULL ? read_inline(call->tool, call->inline_text, text)
                                         : read_file(call->tool, call->file, text);
    if (code != TOOL_OK || *text == NULL) {
        return code;
    }
    enum ckpt_err err = ckpt_policy_parse(*text, strlen(*text), policy, &error);
    if (err != CKPT_OK) {
        free(*text);
        *text = NULL;
        return tool_fail(call->tool, err, "this is no policy: %s",
                         err == CKPT_ERR_INVALID ? error.text : ckpt_err_text(err));
    }
    return TOOL_OK;
}

/* ---- show ---- */

/* The id of PATH, or of the nearest directory above it that has one: what has none has no policy either. */
static enum ckpt_err nearest_dir(struct tool *tool, const char *path, uint64_t *dir)
{
    char at[PATH_MAX];
    snprintf(at, sizeof at, "%s", path);
    while (at[0] != '\0') {
        uint64_t parent = 0;
        char name[NAME_MAX + 1];
        enum ckpt_err err = ckpt_catalog_resolve(tool->store, at, &parent, name);
        if (err == CKPT_OK) {
            err = ckpt_catalog_subdir(tool->store, parent, name, dir);
        }
        if (err != CKPT_ERR_NOT_FOUND) {
            return err;
        }
        char *slash = strrchr(at, '/');
        *(slash != NULL ? slash : at) = '\0';
    }
    *dir = CKPT_DIR_ROOT;
    return CKPT_OK;
}

static int policy_show(const struct policy_call *call)
{
    struct tool *tool = call->tool;
    struct target target;
    char *text = NULL;
    char owner[PATH_MAX] = "";
    char date[OUTPUT_TIME];
    uint64_t dir = 0;
    int64_t changed = 0;
    int code = tool_open_read(tool);
    if (code == TOOL_OK) {
        code = locate_target(tool, call->path, &target);
    }
    if (code != TOOL_OK) {
        return code;
    }
    enum ckpt_err err = nearest_dir(tool, target.path, &dir);
    if (err == CKPT_OK) {
        err = ckpt_policy_find(tool->store, dir, &text, &dir, &changed);
    }
    if (err == CKPT_OK) {
        err = ckpt_catalog_path(tool->store, dir, owner, sizeof owner);
    } else if (err == CKPT_ERR_NOT_FOUND) {
        err = CKPT_OK;
    }
    if (text != NULL && text[0] == '\0') { /* what stands in for none (store/retain/keep.c) */
        free(text);
        text = NULL;
    }
    if (err != CKPT_OK) {
        free(text);
        return tool_store_fail(tool, err, "cannot read the policy of %s: %s", call->path, ckpt_err_text(err));
    }
    json_t *more = json_pack("{s:o, s:o, s:o, s:o}", "path", output_text(target.path), "policy",
                             text != NULL ? output_text(text) : json_null(), "owner",
                             text != NULL ? output_text(owner) : json_null(), "changed",
                             text != NULL ? output_json_time(changed) : json_null());
    (void)json_object_update(tool->result, more);
    json_decref(more);
    if (!tool->json && text != NULL) {
        printf("# of ");
        output_name(owner[0] != '\0' ? owner : "the top of the store");
        printf(", since %s\n%s%s", output_time(date, changed), text, text[strlen(text) - 1] == '\n' ? "" : "\n");
    } else if (!tool->json) {
        printf("# no policy applies to %s: nothing that is live is rotated\n", call->path);
    }
    free(text);
    return TOOL_OK;
}

/* ---- set, unset ---- */

static int change_policy(const struct policy_call *call, const char *text)
{
    struct tool *tool = call->tool;
    struct session session = {.tool = tool};
    struct target target;
    int code = session_open(tool, &session);
    if (code == TOOL_OK) {
        code = locate_target(tool, call->path, &target);
    }
    if (code == TOOL_OK && (!target.exists || !target.is_dir) && !target.self_known) {
        code =
            tool_fail(tool, CKPT_ERR_NOT_FOUND,
                      "there is no directory %s; a policy belongs to a run or to a directory above runs", call->path);
    }
    if (code == TOOL_OK) {
        code = tool_exit_code(session_policy(&session, target.path, text));
    }
    session_close(&session);
    if (code == TOOL_OK && !tool->json) {
        printf("%s has %s\n", call->path,
               text != NULL ? "a new policy; \"ckpt ls\" says what it makes of a run"
                            : "no policy of its own any more");
    }
    return code;
}

static int policy_set(const struct policy_call *call)
{
    char *text = NULL;
    struct ckpt_policy policy;
    int code = read_text(call, &text, &policy);
    if (code == TOOL_OK) {
        code = change_policy(call, text);
    }
    free(text);
    return code;
}

static int policy_unset(const struct policy_call *call)
{
    return change_policy(call, NULL);
}

/* ---- test ---- */

static int policy_test(const struct policy_call *call)
{
    struct tool *tool = call->tool;
    struct target target;
    struct found_run *list = NULL;
    struct ckpt_policy policy;
    char *text = NULL;
    char path[PATH_MAX];
    uint64_t dir = 0;
    size_t n = 0;
    bool given = call->file != NULL || call->inline_text != NULL;
    int code = given ? read_text(call, &text, &policy) : TOOL_OK;
    free(text);
    if (code == TOOL_OK) {
        code = tool_open_read(tool);
    }
    if (code == TOOL_OK) {
        code = locate_target(tool, call->path, &target);
    }
    if (code == TOOL_OK) {
        code = find_runs_at(tool, target.path, &list, &n);
    }
    if (code == TOOL_OK && n == 0) {
        code = find_run(tool, call->path, &dir, path); /* says why */
    }
    if (code == TOOL_OK) {
        const struct forecast_policy forecast = {.policy = &policy, .path = target.path};
        code = forecast_show(tool, list, n, given ? &forecast : NULL);
    }
    find_free(list, n);
    return code;
}

/* ---- the command ---- */

static const struct {
    const char *name;
    int (*fn)(const struct policy_call *call);
    bool text;        /* takes one */
    bool needed;      /* and must have it */
    const char *more; /* what it takes besides the PATH */
} verbs[] = {
    {"show", policy_show, false, false, " and nothing else"},
    {"set", policy_set, true, true, " and a FILE, \"-\" or --text"},
    {"unset", policy_unset, false, false, " and nothing else"},
    {"test", policy_test, true, false, " and at most one FILE, \"-\" or --text"},
};

int cmd_policy(struct tool *tool, int argc, char **argv)
{
    struct policy_call call = {.tool = tool};
    const struct option_spec own[] = {{.name = "text", .value = &call.inline_text}, {0}};
    int code = options_parse(tool, own, false, &argc, argv);
    if (code != TOOL_OK) {
        return code;
    }
    for (size_t i = 0; argc > 0 && i < sizeof verbs / sizeof *verbs; i++) {
        if (strcmp(verbs[i].name, argv[0]) != 0) {
            continue;
        }
        call.path = argc > 1 ? argv[1] : NULL;
        call.file = argc > 2 ? argv[2] : NULL;
        int texts = (call.file != NULL) + (call.inline_text != NULL);
        if (call.path == NULL || argc > 3 || texts > (verbs[i].text ? 1 : 0) || (verbs[i].needed && texts == 0)) {
            return tool_usage(tool, "policy %s takes a PATH%s", argv[0], verbs[i].more);
        }
        code = locate_store(tool, &argv[1], 1);
        return code == TOOL_OK ? verbs[i].fn(&call) : code;
    }
    return tool_usage(tool, "policy takes one of show, set, unset, test");
}
