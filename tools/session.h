/*
 * Changing a store: through the daemon that has it mounted, or else with an engine of our own.
 *
 * Failures are recorded in the tool (tool_fail).
 */
#ifndef CKPT_TOOL_SESSION_H
#define CKPT_TOOL_SESSION_H

#include "tool.h"
#include <stddef.h>
#include <stdint.h>

struct ckpt_cache;
struct ckpt_engine;
struct ckpt_filter;

struct session {
    struct tool *tool;
    bool daemon; /* the store is open for reading, the daemon changes it */
    struct ckpt_filter *filter;
    struct ckpt_cache *cache;
    struct ckpt_engine *engine;
};

/*
 * Opens tool->store and gets ready to change it. BUSY when another process holds it that can't be asked.
 * Returns an exit code; session_close() in any case.
 */
int session_open(struct tool *tool, struct session *session);
void session_close(struct session *session);

/* Whether a daemon holds the store and answers. WHO (may be NULL) is the holder's line, "" without one. */
bool session_daemon_runs(const char *store_dir, char *who, size_t size);

/* Asks the daemon and takes REQUEST (NULL: no memory). ANSWER may be NULL; it is the caller's when the call succeeds. */
CKPT_MUST_USE enum ckpt_err session_ask(struct session *session, json_t *request, json_t **answer);

/* Whether the daemon can be told of PATH. */
CKPT_MUST_USE enum ckpt_err session_check_path(struct session *session, const char *path);

/* See ckpt/engine.h. PATH is relative to live/. */
CKPT_MUST_USE enum ckpt_err session_flush(struct session *session, unsigned *still_open);
CKPT_MUST_USE enum ckpt_err session_forget(struct session *session, const char *path,
                                           const uint32_t *numbers, size_t n);
CKPT_MUST_USE enum ckpt_err session_forget_pending(struct session *session, const char *path,
                                                   uint64_t *files, uint64_t *bytes);
CKPT_MUST_USE enum ckpt_err session_demote(struct session *session, const char *path);

#endif
