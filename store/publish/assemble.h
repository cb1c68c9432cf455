/*
 * Which checkpoint a version belongs to.
 *
 *     in a checkpoint's directory   to the newest checkpoint of that directory while it is incomplete, and later if it has no file of that name;
 *                                   a file that is there and changed begins another one, which has the rest in common
 *     a file of a run               to the one that holds the same tensors; else to the one with the same epoch or step that has no file of that
 *                                   name yet; else it begins one. What is truncated or damaged begins one always, and is joined by nothing.
 *     saved again as it was         it is where it was
 *
 * Everything happens in the keeper's picture of a run. Thread rules: the engine's thread.
 */
#ifndef CKPT_STORE_ASSEMBLE_H
#define CKPT_STORE_ASSEMBLE_H

#include "inspect.h"
#include "keeper.h"
#include "recognise/recognise.h"
#include <ckpt/catalog.h>

/* A version that was just recorded. */
struct ckpt_arrival {
    const struct ckpt_version *version;
    uint64_t sequence;     /* of the capture, see struct ckpt_fresh */
    const char *path;      /* relative to the run's directory */
    size_t root_size;      /* so many bytes of it name the root; 0: a set of shards in the run's directory */
    const struct ckpt_recognised *what;
    const struct ckpt_inspection *content;
    struct ckpt_id state;  /* of its tensors, or its recipe's id */
    uint64_t process;      /* 0: not known */
    uint64_t parent;       /* id of a checkpoint; 0: none known */
};

struct ckpt_assembler;

CKPT_MUST_USE enum ckpt_err ckpt_assembler_create(struct ckpt_keeper *keeper, struct ckpt_assembler **assembler);
void ckpt_assembler_free(struct ckpt_assembler *assembler); /* NULL is fine */

/* The keeper has forgotten what it hadn't saved. */
void ckpt_assembler_forget(struct ckpt_assembler *assembler);

/* Puts it where it belongs; *CHECKPOINT, which is hidden or a former one when the file has been one of its before, for the caller
   to show again. NOMEM and what reading rows may give. */
CKPT_MUST_USE enum ckpt_err ckpt_assemble(struct ckpt_assembler *assembler, struct ckpt_run *run,
                                          const struct ckpt_arrival *arrival, struct ckpt_checkpoint **checkpoint);

/* A live file of the run isn't there any more, or isn't the version that it was (at NOW_NS). *CHECKPOINT: the one that had it,
   or NULL. */
void ckpt_assemble_gone(struct ckpt_keeper *keeper, struct ckpt_run *run, struct ckpt_checkpoint *checkpoint,
                        struct ckpt_member *member, enum ckpt_left left, int64_t now_ns);

/* What the members say together: kind and validity. */
void ckpt_assemble_sum(struct ckpt_checkpoint *checkpoint);

#endif
