/*
 * The client's side of ckpt/ctl.h.
 */
#ifndef CKPT_TOOL_CLIENT_H
#define CKPT_TOOL_CLIENT_H

#include "tool.h"

/* A connection to the daemon of the store DIR, or -1 with errno. One request each. */
int client_connect(const char *dir);

/*
 * Sends REQUEST over a new connection and waits for the answer, however long it takes. CKPT_OK: *ANSWER is an
 * object that the caller releases. Otherwise the failure is recorded in TOOL (tool_fail): the daemon's own words, or
 * why there was no answer.
 */
CKPT_MUST_USE enum ckpt_err client_request(struct tool *tool, const json_t *request,
                                           json_t **answer);

#endif
