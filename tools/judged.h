/*
 * A run as its policy judges it, and its checkpoints as they are listed. What only a running daemon knows (which files
 * are open, whose checkpoints a running run has started from) isn't in the verdicts.
 */
#ifndef CKPT_TOOL_JUDGED_H
#define CKPT_TOOL_JUDGED_H

#include "tool.h"
#include <ckpt/keep.h>

struct judged {
    struct ckpt_policy policy;
    struct ckpt_judgement judgement;
    int64_t now_ns;
};

/* The run is held. POLICY NULL: the one that applies; else as if it were set now. Errors are recorded; nothing is to be
   cleared then. Returns an exit code. */
int judged_make(struct tool *tool, const struct ckpt_run *run, const struct ckpt_policy *policy, struct judged *judged);
void judged_clear(struct judged *judged);

enum { JUDGED_TEXT = 640 };

/* Why it is kept or goes, and when, for people. */
void judged_explain(const struct ckpt_policy_verdict *verdict, int64_t now_ns, char text[JUDGED_TEXT]);

/* Whether the verdict changes anything: it is to be hidden or dropped and isn't, or comes back. */
bool judged_changes(const struct ckpt_checkpoint *c, const struct ckpt_policy_verdict *verdict);

/* "keep", "hide", "drop". */
const char *judged_verdict_name(enum ckpt_verdict_kind kind);

/* Checkpoint I of the held RUN as ckpt_describe has it, with "verdict", "reason", "until", "best", "latest". NULL:
 * recorded. */
json_t *judged_row(struct tool *tool, const struct ckpt_run *run, size_t i, const struct judged *judged);

/* Whether it is listed without --all: a checkpoint that is shown, or one that never was complete. */
bool judged_listed(const struct ckpt_checkpoint *c);

/* "best latest stable pinned ..."; cut to SIZE. */
void judged_marks(const struct ckpt_run *run, const struct ckpt_checkpoint *c, char *text, size_t size);

/* A metric's value as people write it. "" without one. */
void judged_value(const struct ckpt_checkpoint *c, const char *metric, char text[32]);

#endif
