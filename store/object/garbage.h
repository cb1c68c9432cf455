/*
 * Garbage: references that nobody needs any more, released in bounded steps.
 *
 * A row is a list of chunk ids, one reference each, headed by the recipe they came from. Two things
 * write rows: dropping the last reference to a recipe, and an ingest, which books the chunks of its
 * unfinished file here, so that a crash leaves exactly what has to be released. A finished ingest
 * deletes its rows: the references pass to the recipe.
 *
 * The sweeper (sweep.h) leaves rows of a recipe alone that an open reader pins.
 */
#ifndef CKPT_STORE_GARBAGE_H
#define CKPT_STORE_GARBAGE_H

#include "chunk/codec.h"
#include "db.h"
#include <ckpt/err.h>
#include <ckpt/id.h>
#include <ckpt/store.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ckpt_pins;

/* Adds one row of N ids (at most CKPT_GARBAGE_ROW); *KEY receives its key. RECIPE may be NULL. */
enum { CKPT_GARBAGE_ROW = 4096 };
CKPT_MUST_USE enum ckpt_err ckpt_garbage_add(struct ckpt_txn *txn, const struct ckpt_id *recipe,
                                             const struct ckpt_id *ids, size_t n, uint64_t *key);
CKPT_MUST_USE enum ckpt_err ckpt_garbage_del(struct ckpt_txn *txn, uint64_t key);
/* Only the first SIZE bytes of its value, which are ROW, are left of a row. */
CKPT_MUST_USE enum ckpt_err ckpt_garbage_shrink(struct ckpt_txn *txn, uint64_t key, const void *row,
                                                size_t size);

/* Takes a row apart: its key, the recipe, and N ids that each stand for one reference. CORRUPT. */
struct ckpt_garbage {
    uint64_t key;
    struct ckpt_id recipe;
    const uint8_t *ids; /* into the row; CKPT_ID_SIZE bytes each */
    size_t n;
};
CKPT_MUST_USE enum ckpt_err ckpt_garbage_parse(const struct ckpt_slice *key,
                                               const struct ckpt_slice *value,
                                               struct ckpt_garbage *out);

/*
 * One reference to RECIPE less; at zero the recipe object goes and its chunks become garbage rows.
 */
CKPT_MUST_USE enum ckpt_err ckpt_recipe_unref(struct ckpt_store *store, struct ckpt_codec *codec,
                                              struct ckpt_txn *txn, const struct ckpt_id *recipe);

/* Pins, by recipe; held by open readers. */
CKPT_MUST_USE enum ckpt_err ckpt_pin(struct ckpt_store *store, const struct ckpt_id *recipe);
void ckpt_unpin(struct ckpt_store *store, const struct ckpt_id *recipe);
bool ckpt_is_pinned(struct ckpt_store *store, const struct ckpt_id *recipe);
void ckpt_pins_free(struct ckpt_pins *pins); /* with the store; NULL is fine */

#endif
