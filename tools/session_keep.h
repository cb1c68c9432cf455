/*
 * Changing what is known and kept of checkpoints, as ckpt/keep.h has it, through a session.
 *
 * Failures are recorded in the tool. WHAT is what the user called it, for these messages.
 */
#ifndef CKPT_TOOL_SESSION_KEEP_H
#define CKPT_TOOL_SESSION_KEEP_H

#include "session.h"
#include <ckpt/keep.h>

/* find_store() for the CHECKPOINT WHAT, and session_open(). Returns an exit code; session_close() in any case. */
int session_open_for(struct tool *tool, const char *what, struct session *session);

/* find_checkpoint(), and find_run(); what isn't found is looked for once more when all that was closed so far is in the
   store. Return exit codes. */
int session_find(struct session *session, const char *what, uint64_t *run, uint32_t *number);
int session_find_run(struct session *session, const char *what, uint64_t *run, char path[PATH_MAX]);

/* Both for one CHECKPOINT. */
int session_open_at(struct tool *tool, const char *what, struct session *session, uint64_t *run, uint32_t *number);

CKPT_MUST_USE enum ckpt_err session_tag(struct session *session, const char *what, uint64_t run, uint32_t number,
                                        const char *tag, bool set);
CKPT_MUST_USE enum ckpt_err session_pin(struct session *session, const char *what, uint64_t run, uint32_t number,
                                        bool set);
CKPT_MUST_USE enum ckpt_err session_metric(struct session *session, const char *what, uint64_t run, uint32_t number,
                                           const char *name, double value);
CKPT_MUST_USE enum ckpt_err session_undelete(struct session *session, const char *what, uint64_t run, uint32_t number);
CKPT_MUST_USE enum ckpt_err session_finish(struct session *session, const char *what, uint64_t run, bool finished);
/* TEXT NULL: no policy any more. */
CKPT_MUST_USE enum ckpt_err session_policy(struct session *session, const char *path, const char *text);
/* ROTATION is added to. */
CKPT_MUST_USE enum ckpt_err session_rotate(struct session *session, const char *what, uint64_t run, bool all,
                                           struct ckpt_rotation *rotation);

#endif
