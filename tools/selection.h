/*
 * What the text of a CHECKPOINT argument says, by its letters alone: "RUN@best", "RUN@epoch=12", an id, a path in a
 * view.
 */
#ifndef CKPT_TOOL_SELECTION_H
#define CKPT_TOOL_SELECTION_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SELECTION_DIGITS = 4, SELECTION_ID = 16 }; /* of an id: the fewest that are enough, and all */

enum selection_by {
    SELECT_BEST,
    SELECT_LATEST,
    SELECT_FINAL,
    SELECT_EPOCH, /* number */
    SELECT_STEP,  /* number */
    SELECT_TAG,   /* text */
    SELECT_ID,    /* text: the first digits of an id */
    SELECT_TOP,   /* text: the metric as a directory has it, "" for the primary one; number: the place from 1 on */
};

struct selection {
    enum selection_by by;
    uint64_t number;
    char text[NAME_MAX + 1];
};

/* The first digits of an id, all of it, or more than that (false). */
bool selection_is_id(const char *text);

/* Whether TEXT is "RUN@WHAT": RUN, "." if it is empty, and WHAT as a selection. The last "@" counts. */
bool selection_parse(const char *text, char run[PATH_MAX], struct selection *selection);

/* Whether VIEW is what stands behind a run's path in a view's: "best", "epoch/3/model.pt". *REST: "model.pt", or "". */
bool selection_of_view(const char *view, struct selection *selection, const char **rest);

/* "epoch 12", "the best one"; cut to SIZE. */
void selection_print(const struct selection *selection, char *text, size_t size);

#endif
