/*
 * Stats: rows of refs, looked at once per chunk and kept in a hash table; recipes say who refers to which.
 *
 * A reference of a recipe stands for all versions that have that recipe. So a chunk belongs to a run alone
 * when all its references come from recipes that have all theirs from versions of the run.
 */
#include "catalog/catalog_txn.h"
#include "common/bytes.h"
#include "object/internal.h"
#include "stats_parts.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

static_assert((int)CKPT_STATS_CODECS == (int)CKPT_CODECS, "a name for each codec");
static_assert((int)CKPT_STATS_DEPTHS == (int)CKPT_LINEAGE_MAX + 1, "a row for each depth");

enum {
    DIR_KEY = 8,    /* bytes that a key of versions begins with: the directory */
    NO_DEPTH = 255, /* its chain is being followed */
};

const char *ckpt_stats_codec(unsigned codec)
{
    static const char *const names[CKPT_CODECS] = {
        [CKPT_CODEC_RAW] = "raw",     [CKPT_CODEC_ZSTD] = "zstd",       [CKPT_CODEC_PLANES] = "planes",
        [CKPT_CODEC_DELTA] = "delta", [CKPT_CODEC_GROUPED] = "grouped",
    };
    return codec < CKPT_CODECS ? names[codec] : NULL;
}

/* ---- objects ---- */

/* The row of an object that something refers to, so that it has to be there. */
static enum ckpt_err get_refs(struct ckpt_stats_work *w, const struct ckpt_id *id, enum ckpt_kind kind,
                              struct ckpt_refs *refs)
{
    enum ckpt_err err = ckpt_object_refs(w->txn, id, refs);
    if (err == CKPT_OK && refs->kind != kind) {
        return CKPT_ERR_CORRUPT;
    }
    return err == CKPT_ERR_NOT_FOUND ? CKPT_ERR_CORRUPT : err;
}

static enum ckpt_err new_chunk(struct ckpt_stats_work *w, const struct ckpt_id *id,
                               struct ckpt_stats_chunk **out)
{
    struct ckpt_refs refs;
    enum ckpt_err err = get_refs(w, id, CKPT_KIND_CHUNK, &refs);
    if (err != CKPT_OK) {
        return err;
    }
    struct ckpt_stats_chunk *chunk = calloc(1, sizeof *chunk);
    if (chunk == NULL) {
        return CKPT_ERR_NOMEM;
    }
    chunk->id = *id;
    chunk->previous = refs.previous;
    chunk->references = refs.count;
    chunk->raw = refs.raw_size;
    chunk->record = refs.record_size;
    chunk->codec = refs.coding.id;
    chunk->width = refs.coding.width;
    chunk->depth = NO_DEPTH;
    HASH_ADD(hh, w->chunks, id, sizeof chunk->id, chunk);
    if (chunk->hh.tbl == NULL) {
        free(chunk);
        return CKPT_ERR_NOMEM;
    }
    *out = chunk;
    return CKPT_OK;
}

/* The chunk, with all that decoding it goes through. */
enum ckpt_err ckpt_stats_get_chunk(struct ckpt_stats_work *w, struct ckpt_id id,
                                   struct ckpt_stats_chunk **out)
{
    struct ckpt_stats_chunk *chain[CKPT_LINEAGE_MAX + 1];
    struct ckpt_stats_chunk *chunk = NULL;
    unsigned n = 0;
    for (;;) {
        HASH_FIND(hh, w->chunks, &id, sizeof id, chunk);
        if (chunk != NULL) {
            break;
        }
        if (n > CKPT_LINEAGE_MAX) {
            return CKPT_ERR_CORRUPT;
        }
        enum ckpt_err err = new_chunk(w, &id, &chunk);
        if (err != CKPT_OK) {
            return err;
        }
        if (!ckpt_codec_needs_base(chunk->codec)) {
            chunk->depth = 0;
            break;
        }
        chain[n++] = chunk;
        id = chunk->previous;
    }
    if (chunk->depth == NO_DEPTH || chunk->depth + n > CKPT_LINEAGE_MAX) { /* a circle; a chain too long */
        return CKPT_ERR_CORRUPT;
    }
    while (n-- > 0) {
        chain[n]->base = chunk;
        chain[n]->depth = chunk->depth + 1;
        chunk = chain[n];
    }
    w->longest = chunk->depth > w->longest ? chunk->depth : w->longest;
    *out = chunk;
    return CKPT_OK;
}

enum ckpt_err ckpt_stats_get_recipe(struct ckpt_stats_work *w, const struct ckpt_id *id,
                                    struct ckpt_stats_recipe **out)
{
    struct ckpt_stats_recipe *recipe = NULL;
    struct ckpt_refs refs;
    HASH_FIND(hh, w->recipes, id, sizeof *id, recipe);
    if (recipe != NULL) {
        *out = recipe;
        return CKPT_OK;
    }
    enum ckpt_err err = get_refs(w, id, CKPT_KIND_RECIPE, &refs);
    if (err != CKPT_OK) {
        return err;
    }
    recipe = calloc(1, sizeof *recipe);
    if (recipe == NULL) {
        return CKPT_ERR_NOMEM;
    }
    recipe->id = *id;
    recipe->references = refs.count;
    recipe->raw = refs.raw_size;
    recipe->record = refs.record_size;
    HASH_ADD(hh, w->recipes, id, sizeof recipe->id, recipe);
    if (recipe->hh.tbl == NULL) {
        free(recipe);
        return CKPT_ERR_NOMEM;
    }
    *out = recipe;
    return CKPT_OK;
}

enum ckpt_err ckpt_stats_load(struct ckpt_stats_work *w, const struct ckpt_id *id, struct ckpt_recipe *recipe)
{
    enum ckpt_err err = ckpt_recipe_load(w->store, w->codec, w->txn, id, recipe);
    return err == CKPT_ERR_NOT_FOUND ? CKPT_ERR_CORRUPT : err;
}

/* ---- versions ---- */

typedef enum ckpt_err version_fn(struct ckpt_stats_work *w, const struct ckpt_version *version);

/* Of the directory, or of its file NAME. */
static enum ckpt_err each_version(struct ckpt_stats_work *w, uint64_t dir, const char *name, version_fn *fn)
{
    uint8_t from[DIR_KEY + NAME_MAX];
    struct ckpt_cursor *cursor = NULL;
    struct ckpt_slice key;
    struct ckpt_slice value;
    size_t n = name == NULL ? 0 : strnlen(name, NAME_MAX);
    ckpt_put_be64(from, dir);
    if (n > 0) {
        memcpy(from + DIR_KEY, name, n);
    }
    enum ckpt_err err = ckpt_cursor_open(w->txn, CKPT_TABLE_VERSIONS, &cursor);
    if (err != CKPT_OK) {
        return err;
    }
    err = ckpt_cursor_seek(cursor, from, DIR_KEY + n, &key, &value);
    while (err == CKPT_OK && !w->stop) {
        struct ckpt_version version;
        err = ckpt_version_parse(&key, &value, &version);
        if (err == CKPT_OK && (version.dir != dir || (name != NULL && strcmp(version.name, name) != 0))) {
            break;
        }
        if (err == CKPT_OK) {
            err = fn(w, &version);
        }
        if (err == CKPT_OK) {
            err = ckpt_cursor_next(cursor, &key, &value);
        }
    }
    ckpt_cursor_close(cursor);
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

/* The first directory from *DIR on that has a version. NOT_FOUND. */
static enum ckpt_err next_run(struct ckpt_stats_work *w, uint64_t *dir)
{
    uint8_t from[DIR_KEY];
    struct ckpt_cursor *cursor = NULL;
    struct ckpt_slice key;
    struct ckpt_slice value;
    ckpt_put_be64(from, *dir);
    enum ckpt_err err = ckpt_cursor_open(w->txn, CKPT_TABLE_VERSIONS, &cursor);
    if (err != CKPT_OK) {
        return err;
    }
    err = ckpt_cursor_seek(cursor, from, sizeof from, &key, &value);
    if (err == CKPT_OK) {
        struct ckpt_version version;
        err = ckpt_version_parse(&key, &value, &version);
        *dir = err == CKPT_OK ? version.dir : *dir;
    }
    ckpt_cursor_close(cursor);
    return err;
}

/* ---- a run ---- */

static enum ckpt_err count_version(struct ckpt_stats_work *w, const struct ckpt_version *version)
{
    struct ckpt_stats_recipe *recipe = NULL;
    enum ckpt_err err = ckpt_stats_get_recipe(w, &version->recipe, &recipe);
    if (err != CKPT_OK) {
        return err;
    }
    if (recipe->run != w->run) {
        recipe->run = w->run;
        recipe->own = 0;
        recipe->next = w->run_recipes;
        w->run_recipes = recipe;
    }
    recipe->own++;
    w->out->versions++;
    w->out->logical += version->size;
    return CKPT_OK;
}

static enum ckpt_err count_recipe(struct ckpt_stats_work *w, const struct ckpt_stats_recipe *recipe)
{
    struct ckpt_recipe content;
    ckpt_recipe_init(&content);
    enum ckpt_err err = ckpt_stats_load(w, &recipe->id, &content);
    for (size_t i = 0; err == CKPT_OK && i < content.chunk_count; i++) {
        struct ckpt_stats_chunk *chunk = NULL;
        err = ckpt_stats_get_chunk(w, content.chunks[i].id, &chunk);
        if (err != CKPT_OK) {
            break;
        }
        if (chunk->run != w->run) {
            chunk->run = w->run;
            chunk->own = 0;
            chunk->next = w->run_chunks;
            w->run_chunks = chunk;
        }
        chunk->own += recipe->own == recipe->references;
    }
    ckpt_recipe_clear(&content);
    return err;
}

static void add_part(struct ckpt_stats_part *part, uint32_t raw, uint32_t record)
{
    part->count++;
    part->raw += raw;
    part->stored += record;
}

static void add_chunk(struct ckpt_stats *out, const struct ckpt_stats_chunk *chunk)
{
    out->unique += chunk->raw;
    out->stored += chunk->record;
    add_part(&out->codecs[chunk->codec], chunk->raw, chunk->record);
    add_part(&out->depths[chunk->depth], chunk->raw, chunk->record);
}

static void add_recipe(struct ckpt_stats *out, const struct ckpt_stats_recipe *recipe)
{
    out->stored += recipe->record;
    add_part(&out->recipes, recipe->raw, recipe->record);
}

static enum ckpt_err count_run(struct ckpt_stats_work *w, uint64_t dir, const char *name,
                               struct ckpt_stats *out)
{
    *out = (struct ckpt_stats){0};
    w->out = out;
    w->run++;
    w->run_chunks = NULL;
    w->run_recipes = NULL;
    enum ckpt_err err = each_version(w, dir, name, count_version);
    for (const struct ckpt_stats_recipe *r = w->run_recipes; err == CKPT_OK && r != NULL; r = r->next) {
        err = count_recipe(w, r);
        add_recipe(out, r);
        out->unshared += r->own == r->references ? r->record : 0;
    }
    for (const struct ckpt_stats_chunk *c = w->run_chunks; err == CKPT_OK && c != NULL; c = c->next) {
        add_chunk(out, c);
        out->unshared += c->own == c->references ? c->record : 0;
    }
    w->out = NULL;
    return err;
}

/* ---- the calls ---- */

static enum ckpt_err begin(struct ckpt_stats_work *w)
{
    enum ckpt_err err = ckpt_codec_create(&w->codec);
    w->longest = ckpt_store_depth(w->store);
    return err == CKPT_OK ? ckpt_txn_read(w->store->db, &w->txn) : err;
}

static enum ckpt_err end(struct ckpt_stats_work *w, enum ckpt_err err)
{
    struct ckpt_stats_chunk *chunk = w->chunks;
    struct ckpt_stats_recipe *recipe = w->recipes;
    HASH_CLEAR(hh, w->chunks);
    HASH_CLEAR(hh, w->recipes);
    while (chunk != NULL) {
        struct ckpt_stats_chunk *next = chunk->hh.next;
        free(chunk);
        chunk = next;
    }
    while (recipe != NULL) {
        struct ckpt_stats_recipe *next = recipe->hh.next;
        free(recipe);
        recipe = next;
    }
    ckpt_txn_abort(w->txn);
    ckpt_codec_free(w->codec);
    if (err == CKPT_ERR_CORRUPT) {
        ckpt_reportf(
            &w->store->report, CKPT_ERROR,
            "%s: where the space goes can't be told, because the database is damaged; run: ckpt verify",
            w->store->path);
    }
    return err;
}

enum ckpt_err ckpt_stats_run(struct ckpt_store *store, uint64_t dir, const char *name,
                             ckpt_stats_version_fn *fn, void *arg, struct ckpt_stats *out)
{
    struct ckpt_stats_work w = {.store = store, .fn = fn, .arg = arg};
    struct ckpt_stats stats = {0};
    enum ckpt_err err = begin(&w);
    if (err == CKPT_OK) {
        err = count_run(&w, dir, name, &stats);
    }
    if (err == CKPT_OK && fn != NULL) {
        err = each_version(&w, dir, name, ckpt_stats_tell);
    }
    if (err == CKPT_OK && stats.versions == 0) {
        err = CKPT_ERR_NOT_FOUND;
    }
    if (err == CKPT_OK) {
        *out = stats;
    }
    return end(&w, err);
}

static enum ckpt_err count_store(struct ckpt_stats_work *w, ckpt_stats_run_fn *fn, void *arg,
                                 struct ckpt_stats *out)
{
    uint64_t dir = 0;
    enum ckpt_err err = next_run(w, &dir);
    while (err == CKPT_OK && !w->stop) {
        struct ckpt_stats run;
        err = count_run(w, dir, NULL, &run);
        if (err != CKPT_OK) {
            break;
        }
        out->versions += run.versions;
        out->logical += run.logical;
        out->unshared += run.unshared;
        w->stop = fn != NULL && !fn(arg, dir, &run);
        err = dir++ < UINT64_MAX ? next_run(w, &dir) : CKPT_ERR_NOT_FOUND;
    }
    if (err != CKPT_OK && err != CKPT_ERR_NOT_FOUND) {
        return err;
    }
    for (const struct ckpt_stats_chunk *c = w->chunks; c != NULL; c = c->hh.next) {
        if (c->run > 0) {
            add_chunk(out, c);
        }
    }
    for (const struct ckpt_stats_recipe *r = w->recipes; r != NULL; r = r->hh.next) {
        add_recipe(out, r);
    }
    return CKPT_OK;
}

enum ckpt_err ckpt_stats_store(struct ckpt_store *store, ckpt_stats_run_fn *fn, void *arg,
                               struct ckpt_stats *out, uint64_t *loose)
{
    struct ckpt_stats_work w = {.store = store};
    struct ckpt_stats stats = {0};
    struct ckpt_counters counters;
    enum ckpt_err err = begin(&w);
    if (err == CKPT_OK) {
        err = count_store(&w, fn, arg, &stats);
    }
    if (err == CKPT_OK) {
        err = ckpt_counters_get(w.txn, &counters);
    }
    if (err == CKPT_OK) {
        *out = stats;
        *loose = counters.stored > stats.stored ? counters.stored - stats.stored : 0;
    }
    return end(&w, err);
}
