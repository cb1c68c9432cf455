/*
 * Random access to a stored file, over a cache of decoded chunks that all readers of a store share.
 *
 * An entry is inserted before it is decoded, so that everybody else who wants the chunk waits for that one
 * decoding. Sequential readers have the following chunks decoded ahead by the cache's pool.
 */
#include "chunk/pool.h"
#include "object/garbage.h"
#include "object/internal.h"
#include "object/object.h"
#include "object/recipe.h"
#include <ckpt/reader.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#define HASH_NONFATAL_OOM 1 /* then an element that could not be added has no hh.tbl */
#include <uthash.h>
#include <utlist.h>

enum {
    AHEAD = 8 << 20,      /* bytes decoded in front of a sequential reader */
    SEQUENTIAL = 4 << 20, /* the kernel's own read-ahead comes a little out of order */
};

struct entry {
    struct ckpt_id id;
    uint8_t *bytes;
    size_t size;
    bool ready;
    enum ckpt_err err; /* when decoding failed; such an entry leaves with its last user */
    unsigned users;
    UT_hash_handle hh;
    struct entry *prev; /* least recently used first */
    struct entry *next;
};

/* Decoding state for the threads that read; there are as many as were ever busy at once. */
struct spare_codec {
    struct ckpt_codec *codec;
    struct spare_codec *next;
};

struct ckpt_cache {
    struct ckpt_store *store;
    struct ckpt_pool *pool;
    size_t limit;
    pthread_mutex_t lock; /* everything below */
    pthread_cond_t ready;
    struct entry *entries;
    struct entry *order;
    size_t bytes;
    struct spare_codec *codecs;
};

struct ckpt_reader {
    struct ckpt_cache *cache;
    struct ckpt_recipe recipe;
    char *label;
    pthread_mutex_t lock;
    uint64_t expected; /* where a sequential reader goes on; lock */
};

/* ---- the cache ---- */

enum ckpt_err ckpt_cache_create(struct ckpt_store *store, size_t bytes, unsigned threads,
                                struct ckpt_cache **out)
{
    struct ckpt_cache *cache = calloc(1, sizeof *cache);
    if (cache == NULL) {
        return CKPT_ERR_NOMEM;
    }
    cache->store = store;
    cache->limit = bytes;
    enum ckpt_err err = ckpt_pool_create(threads, false, &cache->pool);
    if (err != CKPT_OK) {
        free(cache);
        return err;
    }
    pthread_mutex_init(&cache->lock, NULL);
    pthread_cond_init(&cache->ready, NULL);
    *out = cache;
    return CKPT_OK;
}

static void remove_entry(struct ckpt_cache *cache, struct entry *entry)
{
    HASH_DEL(cache->entries, entry);
    DL_DELETE(cache->order, entry);
    cache->bytes -= entry->size;
    free(entry->bytes);
    free(entry);
}

void ckpt_cache_free(struct ckpt_cache *cache)
{
    if (cache == NULL) {
        return;
    }
    ckpt_pool_free(cache->pool);
    struct entry *entry = NULL;
    struct entry *next_entry = NULL;
    HASH_ITER (hh, cache->entries, entry, next_entry) {
        remove_entry(cache, entry);
    }
    struct spare_codec *spare = NULL;
    struct spare_codec *next = NULL;
    LL_FOREACH_SAFE (cache->codecs, spare, next) {
        ckpt_codec_free(spare->codec);
        free(spare);
    }
    pthread_cond_destroy(&cache->ready);
    pthread_mutex_destroy(&cache->lock);
    free(cache);
}

/* With cache->lock: room for SIZE more, as far as nobody uses what is there. */
static void evict(struct ckpt_cache *cache, size_t size)
{
    struct entry *entry = NULL;
    struct entry *next = NULL;
    DL_FOREACH_SAFE (cache->order, entry, next) {
        if (cache->bytes + size <= cache->limit) {
            break;
        }
        if (entry->users == 0) {
            remove_entry(cache, entry);
        }
    }
}

/* With cache->lock: the chunk's entry with one more user; *MINE when the caller has to decode it. */
static struct entry *claim(struct ckpt_cache *cache, const struct ckpt_id *id, size_t size,
                           bool *mine)
{
    struct entry *entry = NULL;
    HASH_FIND(hh, cache->entries, id, sizeof *id, entry);
    *mine = entry == NULL;
    if (entry != NULL) {
        DL_DELETE(cache->order, entry);
        DL_APPEND(cache->order, entry);
        entry->users++;
        return entry;
    }
    evict(cache, size);
    entry = calloc(1, sizeof *entry);
    if (entry == NULL || (entry->bytes = malloc(size)) == NULL) {
        free(entry);
        return NULL;
    }
    entry->id = *id;
    entry->size = size;
    entry->users = 1;
    HASH_ADD(hh, cache->entries, id, sizeof entry->id, entry);
    if (entry->hh.tbl == NULL) {
        free(entry->bytes);
        free(entry);
        return NULL;
    }
    cache->bytes += size;
    DL_APPEND(cache->order, entry);
    return entry;
}

static void unclaim(struct ckpt_cache *cache, struct entry *entry)
{
    pthread_mutex_lock(&cache->lock);
    if (--entry->users == 0 && entry->err != CKPT_OK) {
        remove_entry(cache, entry);
    }
    pthread_mutex_unlock(&cache->lock);
}

static void decode(struct ckpt_cache *cache, struct ckpt_codec *codec, struct entry *entry)
{
    struct ckpt_txn *txn = NULL;
    enum ckpt_err err = ckpt_txn_read(cache->store->db, &txn);
    if (err == CKPT_OK) {
        err = ckpt_object_read(cache->store, codec, txn, &entry->id, CKPT_KIND_CHUNK, entry->bytes,
                               entry->size);
    }
    ckpt_txn_abort(txn);
    pthread_mutex_lock(&cache->lock);
    entry->err = err;
    entry->ready = true;
    pthread_cond_broadcast(&cache->ready);
    pthread_mutex_unlock(&cache->lock);
}

static struct spare_codec *take_codec(struct ckpt_cache *cache)
{
    pthread_mutex_lock(&cache->lock);
    struct spare_codec *spare = cache->codecs;
    if (spare != NULL) {
        LL_DELETE(cache->codecs, spare);
    }
    pthread_mutex_unlock(&cache->lock);
    if (spare == NULL && (spare = calloc(1, sizeof *spare)) != NULL &&
        ckpt_codec_create(&spare->codec) != CKPT_OK) {
        free(spare);
        spare = NULL;
    }
    return spare;
}

static void return_codec(struct ckpt_cache *cache, struct spare_codec *spare)
{
    pthread_mutex_lock(&cache->lock);
    LL_PREPEND(cache->codecs, spare);
    pthread_mutex_unlock(&cache->lock);
}

/* The decoded chunk, in use until unclaim; or its error. */
static enum ckpt_err get(struct ckpt_cache *cache, const struct ckpt_recipe_chunk *chunk,
                         struct entry **out)
{
    bool mine = false;
    pthread_mutex_lock(&cache->lock);
    struct entry *entry = claim(cache, &chunk->id, chunk->size, &mine);
    while (entry != NULL && !mine && !entry->ready) {
        pthread_cond_wait(&cache->ready, &cache->lock);
    }
    pthread_mutex_unlock(&cache->lock);
    if (entry == NULL) {
        return CKPT_ERR_NOMEM;
    }
    if (mine) {
        struct spare_codec *spare = take_codec(cache);
        if (spare != NULL) {
            decode(cache, spare->codec, entry);
            return_codec(cache, spare);
        } else {
            pthread_mutex_lock(&cache->lock);
            entry->err = CKPT_ERR_NOMEM;
            entry->ready = true;
            pthread_cond_broadcast(&cache->ready);
            pthread_mutex_unlock(&cache->lock);
        }
    }
    enum ckpt_err err = entry->err;
    if (err == CKPT_OK && entry->size != chunk->size) {
        err = CKPT_ERR_CORRUPT;
    }
    if (err != CKPT_OK) {
        unclaim(cache, entry);
        return err;
    }
    *out = entry;
    return CKPT_OK;
}

struct ahead {
    struct ckpt_cache *cache;
    struct entry *entry;
};

static void decode_ahead(void *arg, struct ckpt_codec *codec)
{
    struct ahead *ahead = arg;
    decode(ahead->cache, codec, ahead->entry);
    unclaim(ahead->cache, ahead->entry);
    free(ahead);
}

/* TXN: for the disk to be asked while others are decoded; NULL for none. */
static void look_ahead(struct ckpt_cache *cache, const struct ckpt_recipe_chunk *chunk,
                       struct ckpt_txn *txn)
{
    bool mine = false;
    struct ahead *ahead = malloc(sizeof *ahead);
    if (ahead == NULL) {
        return;
    }
    pthread_mutex_lock(&cache->lock);
    struct entry *entry = claim(cache, &chunk->id, chunk->size, &mine);
    pthread_mutex_unlock(&cache->lock);
    if (entry == NULL || !mine) {
        if (entry != NULL) {
            unclaim(cache, entry);
        }
        free(ahead);
        return;
    }
    if (txn != NULL) {
        ckpt_object_prefetch(txn, &chunk->id);
    }
    *ahead = (struct ahead){.cache = cache, .entry = entry};
    if (ckpt_pool_submit(cache->pool, decode_ahead, ahead) != CKPT_OK) {
        pthread_mutex_lock(&cache->lock);
        entry->err = CKPT_ERR_NOMEM;
        entry->ready = true;
        pthread_cond_broadcast(&cache->ready);
        pthread_mutex_unlock(&cache->lock);
        unclaim(cache, entry);
        free(ahead);
    }
}

/* ---- readers ---- */

enum ckpt_err ckpt_reader_open(struct ckpt_cache *cache, const struct ckpt_id *recipe,
                               const char *label, struct ckpt_reader **out)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL || (reader->label = strdup(label)) == NULL) {
        free(reader);
        return CKPT_ERR_NOMEM;
    }
    reader->cache = cache;
    pthread_mutex_init(&reader->lock, NULL);
    /* Pinned before it is looked up: what is found then stays. */
    enum ckpt_err err = ckpt_pin(cache->store, recipe);
    bool pinned = err == CKPT_OK;
    struct spare_codec *spare = pinned ? take_codec(cache) : NULL;
    if (err == CKPT_OK && spare == NULL) {
        err = CKPT_ERR_NOMEM;
    }
    if (err == CKPT_OK) {
        err = ckpt_txn_read(cache->store->db, &txn);
    }
    if (err == CKPT_OK) {
        err = ckpt_recipe_load(cache->store, spare->codec, txn, recipe, &reader->recipe);
    }
    ckpt_txn_abort(txn);
    if (spare != NULL) {
        return_codec(cache, spare);
    }
    if (err == CKPT_ERR_CORRUPT) {
        char hex[CKPT_ID_HEX];
        ckpt_id_hex(recipe, hex);
        ckpt_reportf(&cache->store->report, CKPT_ERROR,
                     "%s can't be read: its recipe %s is damaged; run: ckpt verify", label, hex);
    }
    if (err != CKPT_OK) {
        if (pinned) {
            ckpt_unpin(cache->store, recipe);
        }
        pthread_mutex_destroy(&reader->lock);
        free(reader->label);
        free(reader);
        return err;
    }
    *out = reader;
    return CKPT_OK;
}

void ckpt_reader_close(struct ckpt_reader *reader)
{
    if (reader == NULL) {
        return;
    }
    ckpt_unpin(reader->cache->store, &reader->recipe.id);
    ckpt_recipe_clear(&reader->recipe);
    pthread_mutex_destroy(&reader->lock);
    free(reader->label);
    free(reader);
}

uint64_t ckpt_reader_size(const struct ckpt_reader *reader)
{
    return reader->recipe.size;
}

void ckpt_report_chunk(struct ckpt_store *store, const char *label, uint64_t offset,
                       const struct ckpt_id *chunk, enum ckpt_err err)
{
    char hex[CKPT_ID_HEX];
    ckpt_id_hex(chunk, hex);
    ckpt_reportf(&store->report, CKPT_ERROR,
                 "%s can't be read at offset %llu: chunk %s: %s; run: ckpt verify", label,
                 (unsigned long long)offset, hex, ckpt_err_text(err));
}

static void read_ahead(struct ckpt_reader *reader, uint64_t offset, uint64_t end)
{
    pthread_mutex_lock(&reader->lock);
    uint64_t expected = reader->expected;
    bool sequential = offset + SEQUENTIAL >= expected && offset <= expected + SEQUENTIAL;
    if (!sequential || end > expected) {
        reader->expected = end;
    }
    pthread_mutex_unlock(&reader->lock);
    if (!sequential || end >= reader->recipe.size) {
        return;
    }
    struct ckpt_txn *txn = NULL;
    uint64_t stop = end + AHEAD;
    (void)!ckpt_txn_read(reader->cache->store->db, &txn);
    for (size_t i = ckpt_recipe_at(&reader->recipe, end);
         i < reader->recipe.count && reader->recipe.extents[i].offset < stop; i++) {
        const struct ckpt_extent *extent = &reader->recipe.extents[i];
        if (!ckpt_extent_is_hole(extent)) {
            look_ahead(reader->cache, &reader->recipe.chunks[extent->chunk], txn);
        }
    }
    ckpt_txn_abort(txn);
}

enum ckpt_err ckpt_reader_pread(struct ckpt_reader *reader, void *buf, size_t n, uint64_t offset,
                                size_t *got)
{
    const struct ckpt_recipe *recipe = &reader->recipe;
    uint8_t *out = buf;
    size_t done = 0;
    if (offset >= recipe->size) {
        *got = 0;
        return CKPT_OK;
    }
    if (n > recipe->size - offset) {
        n = (size_t)(recipe->size - offset);
    }
    read_ahead(reader, offset, offset + n);
    for (size_t i = ckpt_recipe_at(recipe, offset); done < n; i++) {
        const struct ckpt_extent *extent = &recipe->extents[i];
        size_t from = (size_t)(offset + done - extent->offset);
        size_t take = (size_t)(extent->size - (offset + done - extent->offset));
        if (take > n - done) {
            take = n - done;
        }
        if (ckpt_extent_is_hole(extent)) {
            memset(out + done, 0, take);
        } else {
            const struct ckpt_recipe_chunk *chunk = &recipe->chunks[extent->chunk];
            struct entry *entry = NULL;
            enum ckpt_err err = get(reader->cache, chunk, &entry);
            if (err != CKPT_OK) {
                ckpt_report_chunk(reader->cache->store, reader->label, extent->offset, &chunk->id, err);
                return err == CKPT_ERR_NOT_FOUND ? CKPT_ERR_CORRUPT : err;
            }
            memcpy(out + done, entry->bytes + extent->at + from, take);
            unclaim(reader->cache, entry);
        }
        done += take;
    }
    *got = n;
    return CKPT_OK;
}

off_t ckpt_reader_seek(const struct ckpt_reader *reader, off_t offset, int whence)
{
    const struct ckpt_recipe *recipe = &reader->recipe;
    if (offset < 0 || (uint64_t)offset >= recipe->size) {
        errno = ENXIO;
        return -1;
    }
    bool want_hole = whence == SEEK_HOLE;
    for (size_t i = ckpt_recipe_at(recipe, (uint64_t)offset); i < recipe->count; i++) {
        const struct ckpt_extent *extent = &recipe->extents[i];
        if (ckpt_extent_is_hole(extent) == want_hole) {
            return extent->offset > (uint64_t)offset ? (off_t)extent->offset : offset;
        }
    }
    if (want_hole) {
        return (off_t)recipe->size; /* the end of a file counts as a hole */
    }
    errno = ENXIO;
    return -1;
}
