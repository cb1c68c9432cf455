/*
 * What judging runs would do to them now, shown: for `policy test` and `rotate --dry-run`.
 */
#ifndef CKPT_TOOL_FORECAST_H
#define CKPT_TOOL_FORECAST_H

#include "find.h"
#include <ckpt/policy.h>

struct forecast_policy {
    const struct ckpt_policy *policy;
    const char *path; /* of the directory that it is to be the policy of: runs with a nearer one aren't touched */
};

/* POLICY NULL: each run by the one that applies to it. Prints, and fills tool->result. Returns an exit code. */
int forecast_show(struct tool *tool, const struct found_run *list, size_t n, const struct forecast_policy *policy);

#endif
