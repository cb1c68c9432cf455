/*
 * What the name of a number in a checkpoint says. For inspect.c. Pure.
 */
#ifndef CKPT_STORE_INSPECT_NAMES_H
#define CKPT_STORE_INSPECT_NAMES_H

#include "format/container.h"

enum ckpt_meaning {
    CKPT_MEANING_OTHER,
    CKPT_MEANING_EPOCH,
    CKPT_MEANING_STEP,
    CKPT_MEANING_METRIC,
};

/*
 * Of the number NAME in the dictionary GROUP, which is empty for the outermost one. *RANK of an epoch or step: of several
 * the lowest is meant.
 */
enum ckpt_meaning ckpt_inspect_meaning(struct ckpt_name group, struct ckpt_name name, unsigned *rank);

/* The name that is told of it: with the data that the group is about, if any, in front. False: it is none, or too long. */
bool ckpt_inspect_full_name(struct ckpt_name group, struct ckpt_name name, char *out, size_t size);

#endif
