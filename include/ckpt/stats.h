/*
 * Where the space of a store goes: by run, by codec, by depth of a chain of differences, by version.
 *
 * A RUN is a directory that directly holds captured files. A chunk is counted once however often the versions
 * that are looked at refer to it. Runs share what is equal: such a chunk counts in each run that refers to
 * it, so `stored` of all runs can add up to more than the store has; `unshared` is what nothing outside of
 * the run refers to. What waits to be released holds references too, until it is swept.
 *
 * Bytes are raw bytes of chunks (what was written, holes aside) or record bytes (what the database stores for
 * them).
 *
 * Works beside a running daemon, in one snapshot of the tables per call: it reads rows and recipes, no chunk.
 * Memory goes by the number of chunks of what is looked at. Nothing is changed. Any thread; callbacks run
 * inside the snapshot: be quick, don't call the store.
 *
 * Errors: NOMEM, IO, CORRUPT (damaged rows, which has been reported).
 */
#ifndef CKPT_STATS_H
#define CKPT_STATS_H

#include <ckpt/catalog.h>
#include <ckpt/err.h>
#include <ckpt/store.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    CKPT_STATS_CODECS = 5,  /* named by ckpt_stats_codec */
    CKPT_STATS_DEPTHS = 65, /* no chain is longer */
};

/* Some of the objects. */
struct ckpt_stats_part {
    uint64_t count;
    uint64_t raw;
    uint64_t stored;
};

struct ckpt_stats {
    uint64_t versions;
    uint64_t logical;  /* sizes of the versions, added up */
    uint64_t unique;   /* raw bytes of the distinct chunks that they refer to */
    uint64_t stored;   /* record bytes of those chunks, and of the recipes */
    uint64_t unshared; /* of that: what nothing else refers to. Of the whole store: the sum of its runs' */
    struct ckpt_stats_part recipes;
    struct ckpt_stats_part codecs[CKPT_STATS_CODECS]; /* of the chunks */
    struct ckpt_stats_part
        depths[CKPT_STATS_DEPTHS]; /* of the chunks, by the differences that decoding them goes through */
};

/* "raw", "zstd", "planes", "delta", "grouped"; NULL from CKPT_STATS_CODECS on. */
const char *ckpt_stats_codec(unsigned codec);

/*
 * One run of the store; the top of the store is one too when files were captured there. False ends the walk,
 * and with it the call.
 */
typedef bool ckpt_stats_run_fn(void *arg, uint64_t dir, const struct ckpt_stats *stats);

/* The whole store, and each of its runs (in no useful order; FN may be NULL). *LOOSE: record bytes of what no
   version refers to: a file that is being captured, or what waits to be released. */
CKPT_MUST_USE enum ckpt_err ckpt_stats_store(struct ckpt_store *store, ckpt_stats_run_fn *fn, void *arg,
                                             struct ckpt_stats *out, uint64_t *loose);

/*
 * What one version costs.
 *
 * To read it takes stored + leaned. Dropping it, and nothing else, gives back the records that only it refers
 * to: `sole`, exactly. Chunks of other versions that are differences from those are coded anew then, and
 * their records become bigger or smaller; how much can't be known before it is done. `frees` is `sole` less
 * that change, estimated like this:
 *
 *   - a difference that has to be stored whole gets the size of the record that its chain begins with: an
 *     older state of the same part of the same tensor, stored whole;
 *   - a difference that has to span two steps becomes bigger than the bigger one of the two differences that
 *     it takes the place of: by half a bit per word when they are equal, less the more they differ; not
 *     bigger than their sum, or than whole (on training histories of float32 and bfloat16 that was within 5 %
 *     of what came free, 11 % where little did);
 *   - a whole record that may become a difference, now that the chain before it is shorter, becomes as big as
 *     the difference that went.
 *
 * The longest chain that is allowed is taken to be the longest that was seen. Two versions together free more
 * than the sum when they share chunks that nobody else has. A version can free less than nothing: when two
 * others lean on it.
 */
struct ckpt_stats_version {
    const struct ckpt_version *version;
    uint64_t chunks;  /* distinct ones */
    uint64_t stored;  /* record bytes of those and of the recipe */
    uint64_t leaned;  /* record bytes of other chunks that decoding those goes through */
    uint64_t sole;    /* record bytes that go with it */
    uint64_t recoded; /* chunks of other versions that would be coded anew; 0: `frees` is exact */
    int64_t frees;
};
typedef bool ckpt_stats_version_fn(void *arg, const struct ckpt_stats_version *version);

/* The run DIR, or the one file NAME of it, and each version (by file name, oldest first; FN may be NULL;
   false ends the call). NOT_FOUND: it has no version. */
CKPT_MUST_USE enum ckpt_err ckpt_stats_run(struct ckpt_store *store, uint64_t dir, const char *name,
                                           ckpt_stats_version_fn *fn, void *arg, struct ckpt_stats *out);

#endif
