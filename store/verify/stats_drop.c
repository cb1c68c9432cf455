/*
 * Stats: what one version costs, and what dropping it gives back: its own records, less what those grow by
 * that lean on them.
 *
 * What the sweeper does with them is in lineage.c (ckpt_rebase_prepare); how big their new records are taken
 * to be is told in ckpt/stats.h.
 */
#include "stats_parts.h"
#include <stdlib.h>

enum { STEPS_MAX = 1 << 20 }; /* from one previous to the next; more only in a circle */

/* ---- what leans on what goes ---- */

/* The longest chain of differences that hangs on ID, looked at up to MOST. */
static enum ckpt_err height_of(struct ckpt_stats_work *w, const struct ckpt_id *id, unsigned most,
                               unsigned *height)
{
    struct ckpt_id dependent = {0};
    enum ckpt_err err = CKPT_OK;
    *height = 0;
    while (*height < most && (err = ckpt_lineage_next(w->txn, id, &dependent, &dependent)) == CKPT_OK) {
        struct ckpt_stats_chunk *chunk = NULL;
        unsigned below = 0;
        err = ckpt_stats_get_chunk(w, dependent, &chunk);
        if (err == CKPT_OK && chunk->depth > 0) {
            err = height_of(w, &dependent, most - 1, &below);
            *height = below + 1 > *height ? below + 1 : *height;
        }
        if (err != CKPT_OK) {
            return err;
        }
    }
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

/* Whether CHUNK, which leans on GOES, may lean on the nearest one before GOES that stays. */
static enum ckpt_err fits(struct ckpt_stats_work *w, const struct ckpt_stats_chunk *goes,
                          const struct ckpt_stats_chunk *chunk, bool *yes)
{
    struct ckpt_stats_chunk *survivor = NULL;
    struct ckpt_id at = goes->previous;
    unsigned height = 0;
    enum ckpt_err err = CKPT_OK;
    *yes = false;
    for (unsigned steps = 0; !ckpt_id_is_zero(&at); at = survivor->previous) {
        err = steps++ < STEPS_MAX ? ckpt_stats_get_chunk(w, at, &survivor) : CKPT_ERR_CORRUPT;
        if (err != CKPT_OK) {
            return err;
        }
        if (survivor->leaves != w->version) {
            err = height_of(w, &chunk->id, w->longest, &height);
            *yes = survivor->raw == chunk->raw && survivor->depth + 1 + height <= w->longest;
            return err;
        }
    }
    return CKPT_OK;
}

/*
 * The record of CHUNK, a difference from GOES, which is a difference itself, when it spans both steps. Where
 * both change every word that is a good half bit per word more than the bigger one when they are as big as
 * each other, and less the more they differ. Where they change little, it isn't more than both of them.
 */
static uint64_t spanning(const struct ckpt_stats_chunk *goes, const struct ckpt_stats_chunk *chunk)
{
    uint64_t words = chunk->raw / (chunk->width > 0 ? chunk->width : 1);
    uint64_t big = goes->record > chunk->record ? goes->record : chunk->record;
    uint64_t both = (uint64_t)goes->record + chunk->record;
    uint64_t apart = big - (both - big);
    uint64_t more = words > 0 ? words * words / (16 * (words + 8 * apart)) : 0;
    return big + more < both ? big + more : both;
}

static uint64_t at_most(uint64_t size, uint64_t limit)
{
    return size < limit ? size : limit;
}

/* The record size of CHUNK, which leans on GOES, once that has gone: see ckpt/stats.h. FIT: it may lean on
 * one before. */
static uint64_t estimate(const struct ckpt_stats_chunk *goes, const struct ckpt_stats_chunk *chunk, bool fit)
{
    const struct ckpt_stats_chunk *root = chunk;
    while (root->base != NULL) {
        root = root->base;
    }
    if (!fit) {
        return root->record;
    }
    if (goes->depth == 0) {
        return chunk->record; /* nothing is known about the step before */
    }
    return chunk->depth > 0 ? at_most(spanning(goes, chunk), root->record)
                            : at_most(goes->record, chunk->record);
}

/* All that lean on GOES and stay. */
static enum ckpt_err rebase(struct ckpt_stats_work *w, const struct ckpt_stats_chunk *goes,
                            struct ckpt_stats_version *out)
{
    struct ckpt_id dependent = {0};
    enum ckpt_err err = CKPT_OK;
    while ((err = ckpt_lineage_next(w->txn, &goes->id, &dependent, &dependent)) == CKPT_OK) {
        struct ckpt_stats_chunk *chunk = NULL;
        bool fit = false;
        err = ckpt_stats_get_chunk(w, dependent, &chunk);
        if (err == CKPT_OK && chunk->leaves != w->version) {
            err = fits(w, goes, chunk, &fit);
        }
        if (err != CKPT_OK) {
            return err;
        }
        if (chunk->leaves != w->version && (fit || chunk->depth > 0)) {
            out->recoded++;
            out->frees += chunk->record - (int64_t)estimate(goes, chunk, fit);
        }
    }
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

/* ---- a version ---- */

/* The distinct chunks of a recipe, N of them in LIST. */
static enum ckpt_err list_chunks(struct ckpt_stats_work *w, const struct ckpt_recipe *recipe,
                                 struct ckpt_stats_chunk **list, size_t *n)
{
    *n = 0;
    for (size_t i = 0; i < recipe->chunk_count; i++) {
        struct ckpt_stats_chunk *chunk = NULL;
        enum ckpt_err err = ckpt_stats_get_chunk(w, recipe->chunks[i].id, &chunk);
        if (err != CKPT_OK) {
            return err;
        }
        if (chunk->version != w->version) {
            chunk->version = w->version;
            chunk->times = 0;
            list[(*n)++] = chunk;
        }
        chunk->times++;
    }
    return CKPT_OK;
}

static enum ckpt_err measure(struct ckpt_stats_work *w, const struct ckpt_stats_recipe *recipe,
                             struct ckpt_stats_chunk *const *list, size_t n, struct ckpt_stats_version *out)
{
    bool goes = recipe->references == 1;
    enum ckpt_err err = CKPT_OK;
    out->chunks = n;
    out->stored = recipe->record;
    out->sole = goes ? recipe->record : 0;
    for (size_t i = 0; i < n; i++) {
        out->stored += list[i]->record;
        /* Where a chain was walked before, or is the version's own, somebody else walks on. */
        for (struct ckpt_stats_chunk *b = list[i]->base; b != NULL && b->version != w->version; b = b->base) {
            b->version = w->version;
            out->leaned += b->record;
        }
        if (goes && list[i]->times == list[i]->references) {
            list[i]->leaves = w->version;
            out->sole += list[i]->record;
        }
    }
    out->frees = (int64_t)out->sole;
    for (size_t i = 0; err == CKPT_OK && i < n; i++) {
        if (list[i]->leaves == w->version) {
            err = rebase(w, list[i], out);
        }
    }
    return err;
}

enum ckpt_err ckpt_stats_tell(struct ckpt_stats_work *w, const struct ckpt_version *version)
{
    struct ckpt_recipe content;
    struct ckpt_stats_recipe *recipe = NULL;
    struct ckpt_stats_chunk **list = NULL;
    size_t n = 0;
    struct ckpt_stats_version out = {.version = version};
    ckpt_recipe_init(&content);
    w->version++;
    enum ckpt_err err = ckpt_stats_get_recipe(w, &version->recipe, &recipe);
    if (err == CKPT_OK) {
        err = ckpt_stats_load(w, &version->recipe, &content);
    }
    if (err == CKPT_OK) {
        list = calloc(content.chunk_count + 1, sizeof(struct ckpt_stats_chunk *));
        err = list == NULL ? CKPT_ERR_NOMEM : list_chunks(w, &content, list, &n);
    }
    if (err == CKPT_OK) {
        err = measure(w, recipe, list, n, &out);
    }
    if (err == CKPT_OK) {
        w->stop = !w->fn(w->arg, &out);
    }
    free(list);
    ckpt_recipe_clear(&content);
    return err;
}
