#include "base.h"
#include "catalog/catalog_txn.h"
#include "object/internal.h"
#include "object/recipe.h"
#include <stdlib.h>
#include <string.h>

enum { CANDIDATES = 16 /* captures looked at: a checkpoint is seldom more files */ };

static int by_key(const void *a, const void *b)
{
    const struct ckpt_base_chunk *one = a;
    const struct ckpt_base_chunk *other = b;
    return one->key < other->key ? -1 : one->key > other->key;
}

void ckpt_base_clear(struct ckpt_base *base)
{
    free(base->chunks);
    memset(base, 0, sizeof *base);
}

const struct ckpt_base_chunk *ckpt_base_find(const struct ckpt_base *base, uint64_t key)
{
    struct ckpt_base_chunk wanted = {.key = key};
    return base->count == 0
               ? NULL
               : bsearch(&wanted, base->chunks, base->count, sizeof *base->chunks, by_key);
}

static enum ckpt_err index_recipe(const struct ckpt_recipe *recipe, struct ckpt_base *base)
{
    struct ckpt_base_chunk *chunks = malloc((recipe->chunk_count + 1) * sizeof *chunks);
    size_t n = 0;
    if (chunks == NULL) {
        return CKPT_ERR_NOMEM;
    }
    for (size_t i = 0; i < recipe->chunk_count; i++) {
        const struct ckpt_recipe_chunk *chunk = &recipe->chunks[i];
        if (chunk->key != 0) {
            chunks[n++] =
                (struct ckpt_base_chunk){.key = chunk->key, .id = chunk->id, .size = chunk->size};
        }
    }
    qsort(chunks, n, sizeof *chunks, by_key);
    base->chunks = chunks;
    base->count = n;
    return CKPT_OK;
}

/* Bytes of the plan that have a counterpart in BASE. */
static uint64_t common(const struct ckpt_plan *plan, const struct ckpt_base *base)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < plan->count; i++) {
        const struct ckpt_step *step = &plan->steps[i];
        uint64_t key = step->pieces > 0 ? step->key : ckpt_plan_region_key(step, 0);
        const struct ckpt_base_chunk *chunk = ckpt_base_find(base, key);
        bytes += chunk != NULL && (step->pieces == 0 || chunk->size == step->size) ? step->size : 0;
    }
    return bytes;
}

static uint64_t planned(const struct ckpt_plan *plan)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < plan->count; i++) {
        bytes += plan->steps[i].size;
    }
    return bytes;
}

struct choice {
    struct ckpt_store *store;
    struct ckpt_codec *codec;
    struct ckpt_txn *txn;
    const struct ckpt_plan *plan;
    uint64_t wanted; /* so many bytes in common are good enough */
    uint64_t best;
    struct ckpt_base base;
    struct ckpt_id seen[CANDIDATES + 1]; /* recipes */
    unsigned count;
    enum ckpt_err err;
};

/* Whether to go on looking. */
static bool consider_recipe(struct choice *choice, const struct ckpt_id *id)
{
    struct ckpt_recipe recipe;
    struct ckpt_base base = {0};
    for (unsigned i = 0; i < choice->count; i++) {
        if (ckpt_id_equal(&choice->seen[i], id)) {
            return true;
        }
    }
    if (choice->count > CANDIDATES) {
        return false;
    }
    choice->seen[choice->count++] = *id;
    ckpt_recipe_init(&recipe);
    enum ckpt_err err =
        ckpt_recipe_load(choice->store, choice->codec, choice->txn, id, &recipe);
    if (err == CKPT_OK) {
        err = index_recipe(&recipe, &base);
    }
    ckpt_recipe_clear(&recipe);
    if (err != CKPT_OK) {
        choice->err = err == CKPT_ERR_NOMEM ? err : CKPT_OK;
        return choice->err == CKPT_OK;
    }
    uint64_t bytes = common(choice->plan, &base);
    if (bytes > choice->best) {
        ckpt_base_clear(&choice->base);
        choice->base = base;
        choice->best = bytes;
    } else {
        ckpt_base_clear(&base);
    }
    return choice->best < choice->wanted;
}

static bool consider(void *arg, const struct ckpt_version *version)
{
    return consider_recipe(arg, &version->recipe);
}

enum ckpt_err ckpt_base_choose(struct ckpt_store *store, struct ckpt_codec *codec, uint64_t dir,
                               const char *name, const struct ckpt_id *origin,
                               const struct ckpt_plan *plan, struct ckpt_base *base)
{
    struct choice choice = {.store = store, .codec = codec, .plan = plan, .wanted = planned(plan) / 2 + 1};
    struct ckpt_version version;
    bool more = true;
    enum ckpt_err err = ckpt_txn_read(store->db, &choice.txn);
    if (err == CKPT_OK) {
        err = ckpt_catalog_version_in(choice.txn, dir, name, 0, &version);
        more = err != CKPT_OK || consider(&choice, &version);
    }
    if (more && (err == CKPT_OK || err == CKPT_ERR_NOT_FOUND || err == CKPT_ERR_CORRUPT)) {
        err = ckpt_catalog_each_capture_in(choice.txn, dir, consider, &choice);
    }
    if (err == CKPT_OK && origin != NULL && choice.best < choice.wanted) {
        choice.count = 0; /* what was seen in vain is seen once more at most */
        (void)consider_recipe(&choice, origin);
    }
    ckpt_txn_abort(choice.txn);
    /* New data needs no base: damaged rows must not keep it out. */
    if (err == CKPT_OK || err == CKPT_ERR_NOT_FOUND || err == CKPT_ERR_CORRUPT) {
        err = choice.err;
    }
    if (err != CKPT_OK) {
        ckpt_base_clear(&choice.base);
        return err;
    }
    *base = choice.base;
    return CKPT_OK;
}
