/*
 * The checkpoint of a run, or of the runs below a directory, that a selection means.
 */
#ifndef CKPT_TOOL_FIND_PICK_H
#define CKPT_TOOL_FIND_PICK_H

#include "find.h"
#include "selection.h"

/* In the run DIR, which users know as PATH. NOT_FOUND names what there is. Returns an exit code. */
int find_pick(struct tool *tool, uint64_t dir, const char *path, const struct selection *selection, uint32_t *number);

/* Fails because several ids begin with DIGITS, in the run ONLY (NULL: in any), and names some. Returns an exit code. */
int find_ambiguous(struct tool *tool, const char *digits, const uint64_t *only);

/* Over the N runs of LIST, which stand below PATH: the best or the latest. Returns an exit code. */
int find_pick_below(struct tool *tool, const struct found_run *list, size_t n, const char *path,
                    const struct selection *selection, uint64_t *dir, uint32_t *number);

#endif
