/*
 * Recipes: the list of extents (chunks and holes) that make up one file. A recipe is itself an object,
 * so equal files share one, and dropping the last version that holds it releases its chunks.
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

struct ckpt_extent {
    struct ckpt_id id; /* all zero for a hole */
    uint64_t offset;   /* in the file */
    uint64_t size;
};

struct ckpt_recipe {
    struct ckpt_id id;
    uint64_t size; /* of the file */
    size_t count;
    size_t room;
    struct ckpt_extent *extents; /* in file order, without gaps or overlaps, none empty */
};

void ckpt_recipe_init(struct ckpt_recipe *recipe);
void ckpt_recipe_clear(struct ckpt_recipe *recipe); /* frees the extents; may be initialised or zero */

/* Appends a chunk; or a hole (ID NULL), merged with a hole before it. */
CKPT_MUST_USE enum ckpt_err ckpt_recipe_append(struct ckpt_recipe *recipe, const struct ckpt_id *id,
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

/* Tells that the file LABEL can't be read at EXTENT, and why. */
void ckpt_report_chunk(struct ckpt_store *store, const char *label,
                       const struct ckpt_extent *extent, enum ckpt_err err);

#endif
