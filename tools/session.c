#include "session.h"
#include "client.h"
#include "find.h"
#include <ckpt/engine.h>
#include <ckpt/filter.h>
#include <ckpt/reader.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { HOLDER_SIZE = 512, CACHE_BYTES = 16 << 20 };

bool session_daemon_runs(const char *store_dir, char *who, size_t size)
{
    char holder[HOLDER_SIZE] = "";
    bool held = ckpt_store_holder(store_dir, holder, sizeof(holder)) == 1;
    if (who) {
        snprintf(who, size, "%s", held ? holder : "");
    }
    int fd = held ? client_connect(store_dir) : -1;
    if (fd < 0) {
        return false;
    }
    close(fd);
    return true;
}

static int start_engine(struct tool *tool, struct session *session)
{
    int code = find_runs(tool);
    if (code != TOOL_OK) {
        return code;
    }
    enum ckpt_err err = ckpt_filter_parse(CKPT_FILTER_DEFAULT, &session->filter, NULL);
    if (err == CKPT_OK) {
        err = ckpt_cache_create(tool->store, CACHE_BYTES, 1, &session->cache);
    }
    if (err == CKPT_OK) {
        /* Nobody waits beside us: no settling. And nothing is made cold but what the user names. */
        const struct ckpt_engine_config config = {
            .depth = CKPT_DEPTH,
            .hot_limit = UINT64_MAX,
            .filter = session->filter,
            .cache = session->cache,
            .runs = tool->runs,
        };
        err = ckpt_engine_start(tool->store, &config, &session->engine);
    }
    if (err != CKPT_OK) {
        return tool_store_fail(tool, err, "cannot start working on the store %s: %s",
                               tool->store_dir, ckpt_err_text(err));
    }
    return TOOL_OK;
}

int session_open(struct tool *tool, struct session *session)
{
    char who[HOLDER_SIZE];
    *session = (struct session){.tool = tool};
    session->daemon = session_daemon_runs(tool->store_dir, who, sizeof(who));
    if (session->daemon) {
        return tool_open_read(tool);
    }
    if (who[0]) {
        return tool_fail(tool, CKPT_ERR_BUSY,
                         "the store %s is held by %s, which takes no commands; try again when it "
                         "has finished",
                         tool->store_dir, who);
    }
    char holder[64];
    snprintf(holder, sizeof(holder), "ckpt %s, pid %ld", tool->command->name, (long)getpid());
    enum ckpt_err err =
        ckpt_store_open(tool->store_dir, CKPT_WRITE, holder, &tool->report, &tool->store);
    if (err != CKPT_OK) {
        return tool_store_fail(tool, err, "cannot open the store %s: %s", tool->store_dir,
                               ckpt_err_text(err));
    }
    return start_engine(tool, session);
}

void session_close(struct session *session)
{
    ckpt_engine_stop(session->engine, false);
    ckpt_cache_free(session->cache);
    ckpt_filter_free(session->filter);
    *session = (struct session){0};
}

enum ckpt_err session_ask(struct session *session, json_t *request, json_t **answer)
{
    json_t *got = NULL;
    enum ckpt_err err = CKPT_ERR_NOMEM;
    if (request) {
        err = client_request(session->tool, request, &got);
    } else {
        (void)tool_fail(session->tool, err, "out of memory");
    }
    json_decref(request);
    if (err == CKPT_OK && answer) {
        *answer = got;
    } else {
        json_decref(got);
    }
    return err;
}

/* The protocol is JSON, which can't carry every file name that a disk can. */
enum ckpt_err session_check_path(struct session *session, const char *path)
{
    json_t *string = json_string(path);
    if (string) {
        json_decref(string);
        return CKPT_OK;
    }
    (void)tool_fail(session->tool, CKPT_ERR_UNSUPPORTED,
                    "the path %s is not UTF-8 and can't be sent to the daemon; unmount the store "
                    "and run the command again, or rename the file",
                    path);
    return CKPT_ERR_UNSUPPORTED;
}

enum ckpt_err session_flush(struct session *session, unsigned *still_open)
{
    json_t *answer = NULL;
    if (session->daemon) {
        enum ckpt_err err = session_ask(session, json_pack("{s:s}", "op", "flush"), &answer);
        if (err == CKPT_OK) {
            *still_open =
                (unsigned)json_integer_value(json_object_get(answer, "still_open"));
        }
        json_decref(answer);
        return err;
    }
    enum ckpt_err err = ckpt_engine_flush(session->engine, still_open);
    if (err != CKPT_OK) {
        (void)tool_store_fail(session->tool, err, "cannot bring closed files into the store %s: %s",
                              session->tool->store_dir, ckpt_err_text(err));
    }
    return err;
}

static json_t *number_array(const uint32_t *numbers, size_t n)
{
    json_t *array = json_array();
    for (size_t i = 0; i < n; i++) {
        if (json_array_append_new(array, json_integer(numbers[i])) != 0) {
            json_decref(array);
            return NULL;
        }
    }
    return array;
}

enum ckpt_err session_forget(struct session *session, const char *path, const uint32_t *numbers,
                             size_t n)
{
    enum ckpt_err err;
    if (session->daemon) {
        err = session_check_path(session, path);
        if (err != CKPT_OK) {
            return err;
        }
        return session_ask(session,
                   json_pack("{s:s, s:s, s:o}", "op", "forget", "path", path, "versions",
                             number_array(numbers, n)),
                   NULL);
    }
    err = ckpt_engine_forget(session->engine, path, numbers, n);
    if (err == CKPT_ERR_NEEDED) {
        (void)tool_store_fail(session->tool, err,
                              "%s: the file is cold and consists of one of these versions; mount "
                              "the store and rewrite or delete the file first",
                              path);
    } else if (err != CKPT_OK) {
        (void)tool_store_fail(session->tool, err, "cannot forget versions of %s: %s", path,
                              ckpt_err_text(err));
    }
    return err;
}

enum ckpt_err session_forget_pending(struct session *session, const char *path, uint64_t *files,
                                     uint64_t *bytes)
{
    json_t *answer = NULL;
    enum ckpt_err err;
    if (session->daemon) {
        err = session_check_path(session, path);
        if (err == CKPT_OK) {
            err = session_ask(session, json_pack("{s:s, s:s}", "op", "forget_pending", "path", path), &answer);
        }
        *files = (uint64_t)json_integer_value(json_object_get(answer, "files"));
        *bytes = (uint64_t)json_integer_value(json_object_get(answer, "bytes"));
        json_decref(answer);
        return err;
    }
    err = ckpt_engine_forget_pending(session->engine, path, files, bytes);
    if (err != CKPT_OK) {
        (void)tool_store_fail(session->tool, err, "cannot give up what waits under the name %s: %s",
                              path, ckpt_err_text(err));
    }
    return err;
}

static enum ckpt_err demote_once(struct session *session, const char *path)
{
    if (session->daemon) {
        return session_ask(session, json_pack("{s:s, s:s}", "op", "demote", "path", path), NULL);
    }
    enum ckpt_err err = ckpt_engine_demote(session->engine, path);
    if (err != CKPT_OK) {
        (void)tool_store_fail(session->tool, err, "cannot make %s cold: %s", path,
                              ckpt_err_text(err));
    }
    return err;
}

enum ckpt_err session_demote(struct session *session, const char *path)
{
    unsigned still_open = 0;
    enum ckpt_err err = session->daemon ? session_check_path(session, path) : CKPT_OK;
    if (err != CKPT_OK) {
        return err;
    }
    err = demote_once(session, path);
    if (err != CKPT_ERR_BUSY && err != CKPT_ERR_NOT_FOUND) {
        return err;
    }
    /* A file that was closed a moment ago is still on its way into the store: wait for that, once. */
    struct tool *tool = session->tool;
    tool_forgive(tool);
    err = session_flush(session, &still_open);
    return err == CKPT_OK ? demote_once(session, path) : err;
}
