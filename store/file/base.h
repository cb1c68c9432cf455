/*
 * The base of a file: the older version whose chunks the file's own may be differences from.
 *
 * It is the newest version of the same name, or else the capture of the same directory, from the newest on, that has the same
 * tensors: the checkpoint before; or else what the run was started from.
 */
#ifndef CKPT_STORE_BASE_H
#define CKPT_STORE_BASE_H

#include "chunk/codec.h"
#include "plan.h"
#include <ckpt/err.h>
#include <ckpt/id.h>
#include <ckpt/store.h>
#include <stddef.h>
#include <stdint.h>

struct ckpt_base_chunk {
    uint64_t key;
    struct ckpt_id id;
    uint32_t size;
};

struct ckpt_base {
    struct ckpt_base_chunk *chunks; /* by key */
    size_t count;
};

/* Chooses a base for the file NAME of directory DIR; an empty one when nothing fits. ORIGIN: the recipe of what its writer had
   read before, or NULL. Looks at what is committed. Damaged versions are passed over. */
CKPT_MUST_USE enum ckpt_err ckpt_base_choose(struct ckpt_store *store, struct ckpt_codec *codec,
                                             uint64_t dir, const char *name,
                                             const struct ckpt_id *origin,
                                             const struct ckpt_plan *plan, struct ckpt_base *base);
void ckpt_base_clear(struct ckpt_base *base);

/* The chunk with that key, NULL for none. */
const struct ckpt_base_chunk *ckpt_base_find(const struct ckpt_base *base, uint64_t key);

#endif
