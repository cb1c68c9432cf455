/*
 * Where to look first for a checkpoint of a run: the newest one with such a state, group, root, epoch or step, and the one that
 * such a path was last put into, which need not be the newest. With hashes, so that one more costs the same however many there
 * are. What is found is a hint, to be looked at before it is believed.
 *
 * Thread rules: one thread each.
 */
#ifndef CKPT_STORE_FINDER_H
#define CKPT_STORE_FINDER_H

#include <ckpt/run.h>

enum ckpt_find {
    CKPT_FIND_PATH = 1, /* of a member, relative to the run */
    CKPT_FIND_STATE,    /* struct ckpt_id */
    CKPT_FIND_GROUP,
    CKPT_FIND_ROOT,
    CKPT_FIND_EPOCH, /* uint64_t */
    CKPT_FIND_STEP,  /* uint64_t */
};

struct ckpt_finder;
struct ckpt_found_run;

CKPT_MUST_USE enum ckpt_err ckpt_finder_create(struct ckpt_finder **finder);
void ckpt_finder_free(struct ckpt_finder *finder); /* NULL is fine */
/* All runs: they may have checkpoints by now that aren't the ones they had. */
void ckpt_finder_forget(struct ckpt_finder *finder);

/* RUN, with all its checkpoints when it is asked for first; valid until ckpt_finder_forget. NOMEM. */
CKPT_MUST_USE enum ckpt_err ckpt_finder_run(struct ckpt_finder *finder, const struct ckpt_run *run,
                                            struct ckpt_found_run **found);

/* C, or a member of it, is there to be found. NOMEM. */
CKPT_MUST_USE enum ckpt_err ckpt_find_put(struct ckpt_found_run *found, const struct ckpt_checkpoint *c);
CKPT_MUST_USE enum ckpt_err ckpt_find_put_member(struct ckpt_found_run *found, const struct ckpt_checkpoint *c,
                                                 const struct ckpt_member *m);

/* By the N bytes that it is to have as KIND. NULL: none. */
struct ckpt_checkpoint *ckpt_find(const struct ckpt_found_run *found, struct ckpt_run *run, enum ckpt_find kind,
                                  const void *bytes, size_t n);

#endif
