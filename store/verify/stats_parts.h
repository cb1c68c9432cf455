/*
 * What the parts of stats share. Each object that is looked at has an entry, made when it is met first;
 * entries live as long as the work. One thread.
 */
#ifndef CKPT_STORE_STATS_PARTS_H
#define CKPT_STORE_STATS_PARTS_H

#include "chunk/codec.h"
#include "object/db.h"
#include "object/lineage.h"
#include "object/object.h"
#include "object/recipe.h"
#include <ckpt/stats.h>
#include <stdbool.h>
#include <stdint.h>
#define HASH_NONFATAL_OOM 1 /* then an element that could not be added has no hh.tbl */
#include <uthash.h>

struct ckpt_stats_chunk {
    struct ckpt_id id;
    struct ckpt_id previous;
    uint64_t references; /* of the whole store */
    uint32_t raw;
    uint32_t record;
    enum ckpt_codec_id codec;
    unsigned width; /* bytes of a word; 0 for raw and zstd */
    unsigned depth;
    struct ckpt_stats_chunk *base; /* decoding needs it; NULL for none */

    uint64_t run;                  /* the last that referred to it; 0: it is only leaned on */
    uint64_t own;                  /* references by recipes that only that run has */
    struct ckpt_stats_chunk *next; /* of that run */

    uint64_t version; /* the last that was found to need it */
    uint64_t times;   /* references by that version's recipe */
    uint64_t leaves;  /* the last version that it would go with */
    UT_hash_handle hh;
};

struct ckpt_stats_recipe {
    struct ckpt_id id;
    uint64_t references;
    uint32_t raw;
    uint32_t record;
    uint64_t run;                   /* the last that has it */
    uint64_t own;                   /* versions of that run with it */
    struct ckpt_stats_recipe *next; /* of that run */
    UT_hash_handle hh;
};

struct ckpt_stats_work {
    struct ckpt_store *store;
    struct ckpt_codec *codec;
    struct ckpt_txn *txn;
    struct ckpt_stats_chunk *chunks;
    struct ckpt_stats_recipe *recipes;
    unsigned longest; /* chain */

    uint64_t run; /* the one in work: 1, 2, ... */
    struct ckpt_stats_chunk *run_chunks;
    struct ckpt_stats_recipe *run_recipes;

    uint64_t version; /* the one in work: 1, 2, ... */
    ckpt_stats_version_fn *fn;
    void *arg;
    bool stop;
    struct ckpt_stats *out; /* of the run in work */
};

/* The chunk with this id, with all that decoding it goes through. Something refers to it, so CORRUPT when it
 * isn't there. */
CKPT_MUST_USE enum ckpt_err ckpt_stats_get_chunk(struct ckpt_stats_work *w, struct ckpt_id id,
                                                 struct ckpt_stats_chunk **out);

/* The same for a recipe. */
CKPT_MUST_USE enum ckpt_err ckpt_stats_get_recipe(struct ckpt_stats_work *w, const struct ckpt_id *id,
                                                  struct ckpt_stats_recipe **out);

/* Its content; clear it afterwards. */
CKPT_MUST_USE enum ckpt_err ckpt_stats_load(struct ckpt_stats_work *w, const struct ckpt_id *id,
                                            struct ckpt_recipe *recipe);

/* Measures a version of the run in work, which has been counted, and calls w->fn. */
CKPT_MUST_USE enum ckpt_err ckpt_stats_tell(struct ckpt_stats_work *w, const struct ckpt_version *version);

#endif
