#include "session_keep.h"
#include "find.h"
#include "output.h"
#include <inttypes.h>
#include <stdio.h>

static json_t *run_text(uint64_t run)
{
    return json_sprintf("%016" PRIx64, run);
}

/* After what wasn't found: all that was closed so far is in the store then. */
static int catch_up(struct session *session)
{
    struct tool *tool = session->tool;
    unsigned still_open = 0;
    tool_forgive(tool);
    enum ckpt_err err = session_flush(session, &still_open);
    if (err == CKPT_OK && session->daemon) { /* nobody tells this process of what has changed */
        ckpt_runs_free(tool->runs);
        tool->runs = NULL;
    }
    return tool_exit_code(err);
}

int session_find_run(struct session *session, const char *what, uint64_t *run, char path[PATH_MAX])
{
    int code = find_run(session->tool, what, run, path);
    if (code == TOOL_NOT_FOUND) {
        code = catch_up(session);
        code = code == TOOL_OK ? find_run(session->tool, what, run, path) : code;
    }
    return code;
}

int session_find(struct session *session, const char *what, uint64_t *run, uint32_t *number)
{
    int code = find_checkpoint(session->tool, what, run, number);
    if (code == TOOL_NOT_FOUND) {
        code = catch_up(session);
        code = code == TOOL_OK ? find_checkpoint(session->tool, what, run, number) : code;
    }
    return code;
}

int session_open_for(struct tool *tool, const char *what, struct session *session)
{
    char text[PATH_MAX];
    char *const args[] = {text};
    *session = (struct session){.tool = tool};
    if (snprintf(text, sizeof text, "%s", what) >= (int)sizeof text) {
        return tool_fail(tool, CKPT_ERR_INVALID, "%s: the path is too long", what);
    }
    int code = find_store(tool, args, 1);
    return code == TOOL_OK ? session_open(tool, session) : code;
}

int session_open_at(struct tool *tool, const char *what, struct session *session, uint64_t *run, uint32_t *number)
{
    int code = session_open_for(tool, what, session);
    return code == TOOL_OK ? session_find(session, what, run, number) : code;
}

/* Records how a call of an engine of our own has failed. */
static enum ckpt_err told(struct session *session, enum ckpt_err err, const char *doing, const char *what)
{
    if (err != CKPT_OK) {
        (void)tool_store_fail(session->tool, err, "cannot %s %s: %s", doing, what, ckpt_err_text(err));
    }
    return err;
}

enum ckpt_err session_tag(struct session *session, const char *what, uint64_t run, uint32_t number, const char *tag,
                          bool set)
{
    if (session->daemon) {
        return session_ask(session,
                           json_pack("{s:s, s:o, s:I, s:s, s:b}", "op", "tag", "run", run_text(run), "checkpoint",
                                     (json_int_t)number, "tag", tag, "set", set),
                           NULL);
    }
    return told(session, ckpt_engine_tag(session->engine, run, number, tag, set), set ? "tag" : "take the tag from",
                what);
}

enum ckpt_err session_pin(struct session *session, const char *what, uint64_t run, uint32_t number, bool set)
{
    if (session->daemon) {
        return session_ask(session,
                           json_pack("{s:s, s:o, s:I, s:b}", "op", "pin", "run", run_text(run), "checkpoint",
                                     (json_int_t)number, "set", set),
                           NULL);
    }
    return told(session, ckpt_engine_pin(session->engine, run, number, set), set ? "pin" : "unpin", what);
}

enum ckpt_err session_metric(struct session *session, const char *what, uint64_t run, uint32_t number, const char *name,
                             double value)
{
    if (session->daemon) {
        return session_ask(session,
                           json_pack("{s:s, s:o, s:I, s:s, s:o}", "op", "metric", "run", run_text(run), "checkpoint",
                                     (json_int_t)number, "name", name, "value", output_value(value)),
                           NULL);
    }
    return told(session, ckpt_engine_metric(session->engine, run, number, name, value), "set a metric of", what);
}

enum ckpt_err session_undelete(struct session *session, const char *what, uint64_t run, uint32_t number)
{
    if (session->daemon) {
        return session_ask(
            session,
            json_pack("{s:s, s:o, s:I}", "op", "undelete", "run", run_text(run), "checkpoint", (json_int_t)number),
            NULL);
    }
    return told(session, ckpt_engine_undelete(session->engine, run, number), "bring back", what);
}

enum ckpt_err session_finish(struct session *session, const char *what, uint64_t run, bool finished)
{
    if (session->daemon) {
        return session_ask(session, json_pack("{s:s, s:o, s:b}", "op", "finish", "run", run_text(run), "set", finished),
                           NULL);
    }
    return told(session, ckpt_engine_finish(session->engine, run, finished), "change", what);
}

/* What an engine has just taken up waits to be read and couldn't be rotated, and there is no engine here later on. */
static enum ckpt_err settle(struct session *session)
{
    unsigned still_open = 0;
    return session_flush(session, &still_open);
}

enum ckpt_err session_policy(struct session *session, const char *path, const char *text)
{
    if (!session->daemon) {
        enum ckpt_err failed = settle(session);
        return failed != CKPT_OK ? failed : told(session, ckpt_engine_set_policy(session->engine, path, text), "change the policy of", path);
    }
    enum ckpt_err err = session_check_path(session, path);
    return err == CKPT_OK
               ? session_ask(session, json_pack("{s:s, s:s, s:s?}", "op", "policy", "path", path, "text", text), NULL)
               : err;
}

static uint64_t number_in(const json_t *answer, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(answer, key));
}

enum ckpt_err session_rotate(struct session *session, const char *what, uint64_t run, bool all,
                             struct ckpt_rotation *rotation)
{
    struct ckpt_rotation one = {0};
    json_t *answer = NULL;
    enum ckpt_err err = settle(session);
    if (err != CKPT_OK) {
        return err;
    }
    if (session->daemon) {
        err = session_ask(session, json_pack("{s:s, s:o}", "op", "rotate", "run", all ? json_null() : run_text(run)),
                          &answer);
        one = (struct ckpt_rotation){.hidden = number_in(answer, "hidden"),
                                     .dropped = number_in(answer, "dropped"),
                                     .bytes = number_in(answer, "bytes"),
                                     .held = number_in(answer, "held")};
        json_decref(answer);
    } else {
        err = told(session, ckpt_engine_rotate(session->engine, run, all, &one), "rotate", what);
    }
    rotation->hidden += one.hidden;
    rotation->dropped += one.dropped;
    rotation->bytes += one.bytes;
    rotation->held += one.held;
    return err;
}
