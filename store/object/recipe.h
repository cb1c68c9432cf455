/*
 * Recipes: which chunks make up one file, and where in it their bytes stand. A recipe is itself an object, so equal files
 * share one, and dropping the last version that holds it releases its chunks.
 *
 * A chunk may be spread over several places of the file: the small tensors of a checkpoint share one, and so do the bytes
 * between them. A chunk's KEY says which part of which tensor it is, so that the same part is found in the next version.
 */
#ifndef CKPT_STORE_RECIPE_H
#define CKPT_STORE_RECIPE_H

#include "object.h"
#include <ckpt/err.h>
#include <ckpt/id.h>
#include <ckpt/store.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ckpt_recipe_chunk {
    struct ckpt_id id;
    uint32_t size;
    uint8_t width; /* bytes of an element, 1, 2, 4, 8; 0 when it isn't known */
    uint64_t key;  /* equal for chunks that are states of the same part of a file, of the same size; 0 for none */
};

#define CKPT_HOLE UINT32_MAX

struct ckpt_extent {
    uint64_t offset; /* in the file */
    uint64_t size;
    uint32_t chunk;  /* which one, or CKPT_HOLE */
    uint32_t at;     /* offset in the chunk */
};

struct ckpt_recipe {
    struct ckpt_id id;
    uint64_t size; /* of the file */
    size_t chunk_count;
    size_t chunk_room;
    struct ckpt_recipe_chunk *chunks;
    size_t count;
    size_t room;
    struct ckpt_extent *extents; /* in file order, without gaps or overlaps, none empty */
};

void ckpt_recipe_init(struct ckpt_recipe *recipe);
void ckpt_recipe_clear(struct ckpt_recipe *recipe); /* frees; may be initialised or zero */

/* Adds a chunk, which has no place in the file yet; its index is the number of chunks before it. NOMEM, INVALID. */
CKPT_MUST_USE enum ckpt_err ckpt_recipe_add(struct ckpt_recipe *recipe,
                                            const struct ckpt_recipe_chunk *chunk);

/* Continues the file with SIZE bytes of chunk number CHUNK from AT on; or with a hole (CKPT_HOLE), merged with a hole
   before it. NOMEM, INVALID. */
CKPT_MUST_USE enum ckpt_err ckpt_recipe_append(struct ckpt_recipe *recipe, uint32_t chunk, uint32_t at,
                                               uint64_t size);

/* The extent that holds OFFSET (< recipe->size), by binary search. */
size_t ckpt_recipe_at(const struct ckpt_recipe *recipe, uint64_t offset);

bool ckpt_extent_is_hole(const struct ckpt_extent *extent);

/* Serialises into a fresh buffer that the caller frees; and back, checking every bound. */
CKPT_MUST_USE enum ckpt_err ckpt_recipe_encode(const struct ckpt_recipe *recipe, uint8_t **out,
                                               size_t *size);
CKPT_MUST_USE enum ckpt_err ckpt_recipe_decode(const void *bytes, size_t size,
                                               struct ckpt_recipe *recipe);

/* Loads the recipe with this id; clear it afterwards. */
CKPT_MUST_USE enum ckpt_err ckpt_recipe_load(struct ckpt_store *store, struct ckpt_codec *codec,
                                             struct ckpt_txn *txn, const struct ckpt_id *id,
                                             struct ckpt_recipe *recipe);

/* Tells that the file LABEL can't be read at OFFSET, where CHUNK stands, and why. */
void ckpt_report_chunk(struct ckpt_store *store, const char *label, uint64_t offset,
                       const struct ckpt_id *chunk, enum ckpt_err err);

#endif
