/*
 * Whole files: writing one out, and comparing one with what is stored. Threads take chunks in turn, each with
 * its own buffers, so memory is bounded by their number; a chunk is decoded once, however many places it has.
 */
#include "object/garbage.h"
#include "object/internal.h"
#include "object/object.h"
#include "object/recipe.h"
#include <ckpt/host.h>
#include <ckpt/reader.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct transfer {
    struct ckpt_store *store;
    const struct ckpt_recipe *recipe;
    const struct ckpt_extent **order; /* its extents by chunk; holes are last */
    const char *label;
    int fd;
    bool compare;
    pthread_mutex_t lock; /* everything below */
    pthread_cond_t moved;
    size_t next; /* in ORDER */
    size_t fetched; /* the disk has been asked for what stands before this one in ORDER */
    uint64_t done;
    unsigned running;
    enum ckpt_err err;
    bool differs;
};

struct buffers {
    struct ckpt_codec *codec;
    uint8_t *stored;
    uint8_t *found;
    size_t size;
};

static enum ckpt_err make_room(struct buffers *buffers, size_t size, bool compare)
{
    if (size <= buffers->size) {
        return CKPT_OK;
    }
    free(buffers->stored);
    free(buffers->found);
    buffers->size = 0;
    buffers->stored = malloc(size);
    buffers->found = compare ? malloc(size) : NULL;
    if (buffers->stored == NULL || (compare && buffers->found == NULL)) {
        return CKPT_ERR_NOMEM;
    }
    buffers->size = size;
    return CKPT_OK;
}

/* BYTES: what stands at EXTENT. */
static enum ckpt_err write_extent(struct transfer *t, const struct ckpt_extent *extent,
                                  const uint8_t *bytes)
{
    if (ckpt_host_write_all(t->fd, bytes, (size_t)extent->size, (off_t)extent->offset) != 0) {
        return ckpt_err_from_errno(errno);
    }
    return CKPT_OK;
}

static enum ckpt_err compare_extent(struct transfer *t, const struct ckpt_extent *extent,
                                    const uint8_t *bytes, uint8_t *found, bool *differs)
{
    ssize_t n = ckpt_host_read_all(t->fd, found, (size_t)extent->size, (off_t)extent->offset);
    if (n < 0) {
        return ckpt_err_from_errno(errno);
    }
    *differs = (uint64_t)n != extent->size || memcmp(found, bytes, (size_t)n) != 0;
    return CKPT_OK;
}

/* A hole is compared in pieces: it may be larger than memory. */
static enum ckpt_err compare_hole(struct transfer *t, const struct ckpt_extent *extent,
                                  struct buffers *buffers, bool *differs)
{
    enum { PIECE = 256 << 10 };
    enum ckpt_err err = make_room(buffers, PIECE, true);
    if (err != CKPT_OK) {
        return err;
    }
    memset(buffers->stored, 0, PIECE);
    for (uint64_t at = 0; err == CKPT_OK && !*differs && at < extent->size; at += PIECE) {
        struct ckpt_extent piece = {.offset = extent->offset + at, .size = extent->size - at};
        if (piece.size > PIECE) {
            piece.size = PIECE;
        }
        err = compare_extent(t, &piece, buffers->stored, buffers->found, differs);
    }
    return err;
}

static enum ckpt_err read_chunk(struct transfer *t, const struct ckpt_extent *extent,
                                struct buffers *buffers)
{
    const struct ckpt_recipe_chunk *chunk = &t->recipe->chunks[extent->chunk];
    struct ckpt_txn *txn = NULL;
    enum ckpt_err err = make_room(buffers, chunk->size, t->compare);
    if (err == CKPT_OK) {
        err = ckpt_txn_read(t->store->db, &txn);
    }
    if (err != CKPT_OK) {
        return err;
    }
    err = ckpt_object_read(t->store, buffers->codec, txn, &chunk->id, CKPT_KIND_CHUNK, buffers->stored,
                           chunk->size);
    ckpt_txn_abort(txn);
    if (err != CKPT_OK) {
        ckpt_report_chunk(t->store, t->label, extent->offset, &chunk->id, err);
    }
    return err == CKPT_ERR_NOT_FOUND ? CKPT_ERR_CORRUPT : err;
}

/* N extents of one chunk, or one hole. */
static enum ckpt_err do_extents(struct transfer *t, const struct ckpt_extent **extents, size_t n,
                                struct buffers *buffers, bool *differs)
{
    if (ckpt_extent_is_hole(extents[0])) {
        return t->compare ? compare_hole(t, extents[0], buffers, differs) : CKPT_OK;
    }
    enum ckpt_err err = read_chunk(t, extents[0], buffers);
    for (size_t i = 0; err == CKPT_OK && !*differs && i < n; i++) {
        const uint8_t *bytes = buffers->stored + extents[i]->at;
        err = t->compare ? compare_extent(t, extents[i], bytes, buffers->found, differs)
                         : write_extent(t, extents[i], bytes);
    }
    return err;
}

/* How many extents from NEXT on are done together. */
static size_t together(const struct transfer *t, uint64_t *bytes)
{
    size_t n = 0;
    const struct ckpt_extent **order = t->order + t->next;
    *bytes = 0;
    do {
        *bytes += order[n++]->size;
    } while (t->next + n < t->recipe->count && !ckpt_extent_is_hole(order[0]) &&
             order[n]->chunk == order[0]->chunk);
    return n;
}

/* What is to be done next comes from the disk while this is decoded. With the lock, which is let go. */
static void fetch_ahead(struct transfer *t)
{
    enum { AHEAD = 32 };
    struct ckpt_txn *txn = NULL;
    size_t from = t->fetched > t->next ? t->fetched : t->next;
    size_t end = t->next + AHEAD < t->recipe->count ? t->next + AHEAD : t->recipe->count;
    if (from + AHEAD / 4 > end && end < t->recipe->count) {
        return; /* not worth a look yet */
    }
    t->fetched = end;
    pthread_mutex_unlock(&t->lock);
    if (from < end && ckpt_txn_read(t->store->db, &txn) == CKPT_OK) {
        for (size_t i = from; i < end; i++) {
            const struct ckpt_extent *extent = t->order[i];
            bool same = i > 0 && t->order[i - 1]->chunk == extent->chunk;
            if (!ckpt_extent_is_hole(extent) && !same) {
                ckpt_object_prefetch(txn, &t->recipe->chunks[extent->chunk].id);
            }
        }
        ckpt_txn_abort(txn);
    }
    pthread_mutex_lock(&t->lock);
}

static void *work(void *arg)
{
    struct transfer *t = arg;
    struct buffers buffers = {0};
    enum ckpt_err err = ckpt_codec_create(&buffers.codec);
    pthread_mutex_lock(&t->lock);
    while (err == CKPT_OK && t->err == CKPT_OK && !t->differs && t->next < t->recipe->count) {
        fetch_ahead(t);
        if (t->next >= t->recipe->count) {
            break;
        }
        const struct ckpt_extent **extents = t->order + t->next;
        uint64_t bytes = 0;
        size_t n = together(t, &bytes);
        bool differs = false;
        t->next += n;
        pthread_mutex_unlock(&t->lock);
        err = do_extents(t, extents, n, &buffers, &differs);
        pthread_mutex_lock(&t->lock);
        t->done += bytes;
        t->differs |= differs;
        pthread_cond_signal(&t->moved);
    }
    if (t->err == CKPT_OK) {
        t->err = err;
    }
    t->running--;
    pthread_cond_signal(&t->moved);
    pthread_mutex_unlock(&t->lock);
    ckpt_codec_free(buffers.codec);
    free(buffers.stored);
    free(buffers.found);
    return NULL;
}

static void run(struct transfer *t, unsigned threads, ckpt_progress_fn *progress, void *arg)
{
    enum { MAX_THREADS = 64 };
    pthread_t started[MAX_THREADS];
    unsigned n = 0;
    if (threads > MAX_THREADS) {
        threads = MAX_THREADS;
    }
    pthread_mutex_lock(&t->lock);
    while (n < threads && pthread_create(&started[n], NULL, work, t) == 0) {
        t->running++;
        n++;
    }
    if (n == 0) {
        t->running++;
        pthread_mutex_unlock(&t->lock);
        work(t);
        pthread_mutex_lock(&t->lock);
    }
    while (t->running > 0) {
        pthread_cond_wait(&t->moved, &t->lock);
        uint64_t done = t->done;
        if (progress != NULL) {
            pthread_mutex_unlock(&t->lock);
            progress(arg, done, t->recipe->size);
            pthread_mutex_lock(&t->lock);
        }
    }
    pthread_mutex_unlock(&t->lock);
    for (unsigned i = 0; i < n; i++) {
        pthread_join(started[i], NULL);
    }
}

static enum ckpt_err load(struct ckpt_store *store, const struct ckpt_id *id, const char *label,
                          struct ckpt_recipe *recipe)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_codec *codec = NULL;
    enum ckpt_err err = ckpt_codec_create(&codec);
    if (err == CKPT_OK) {
        err = ckpt_txn_read(store->db, &txn);
    }
    if (err == CKPT_OK) {
        err = ckpt_recipe_load(store, codec, txn, id, recipe);
    }
    ckpt_txn_abort(txn);
    ckpt_codec_free(codec);
    if (err == CKPT_ERR_CORRUPT || err == CKPT_ERR_NOT_FOUND) {
        char hex[CKPT_ID_HEX];
        ckpt_id_hex(id, hex);
        ckpt_reportf(&store->report, CKPT_ERROR,
                     "%s can't be read: its recipe %s is damaged or missing; run: ckpt verify", label,
                     hex);
    }
    return err;
}

static int by_chunk(const void *a, const void *b)
{
    const struct ckpt_extent *one = *(const struct ckpt_extent *const *)a;
    const struct ckpt_extent *other = *(const struct ckpt_extent *const *)b;
    if (one->chunk != other->chunk) {
        return one->chunk < other->chunk ? -1 : 1;
    }
    return one->offset < other->offset ? -1 : one->offset > other->offset;
}

static enum ckpt_err put_in_order(struct transfer *t)
{
    t->order = malloc((t->recipe->count + 1) * sizeof(void *));
    if (t->order == NULL) {
        return CKPT_ERR_NOMEM;
    }
    for (size_t i = 0; i < t->recipe->count; i++) {
        t->order[i] = &t->recipe->extents[i];
    }
    qsort(t->order, t->recipe->count, sizeof(void *), by_chunk);
    return CKPT_OK;
}

static enum ckpt_err transfer(struct ckpt_store *store, const struct ckpt_id *id, const char *label,
                              int fd, bool compare, unsigned threads, ckpt_progress_fn *progress,
                              void *arg, bool *differs)
{
    struct ckpt_recipe recipe;
    struct stat st;
    ckpt_recipe_init(&recipe);
    enum ckpt_err err = ckpt_pin(store, id);
    if (err != CKPT_OK) {
        return err;
    }
    err = load(store, id, label, &recipe);
    struct transfer t = {
        .store = store, .recipe = &recipe, .label = label, .fd = fd, .compare = compare};
    if (err == CKPT_OK && !compare && ckpt_host_ftruncate(fd, (off_t)recipe.size) != 0) {
        err = ckpt_err_from_errno(errno);
    }
    if (err == CKPT_OK && compare && ckpt_host_fstat(fd, &st) != 0) {
        err = ckpt_err_from_errno(errno);
    }
    if (err == CKPT_OK) {
        err = put_in_order(&t);
    }
    bool other_size = err == CKPT_OK && compare && (uint64_t)st.st_size != recipe.size;
    if (err == CKPT_OK && !other_size) {
        pthread_mutex_init(&t.lock, NULL);
        pthread_cond_init(&t.moved, NULL);
        run(&t, threads, progress, arg);
        pthread_cond_destroy(&t.moved);
        pthread_mutex_destroy(&t.lock);
        err = t.err;
    }
    if (err == CKPT_OK && differs != NULL) {
        *differs = other_size || t.differs;
    }
    free(t.order);
    ckpt_recipe_clear(&recipe);
    ckpt_unpin(store, id);
    return err;
}

enum ckpt_err ckpt_restore(struct ckpt_store *store, const struct ckpt_id *recipe, const char *label,
                           int fd, unsigned threads, ckpt_progress_fn *progress, void *arg)
{
    return transfer(store, recipe, label, fd, false, threads, progress, arg, NULL);
}

enum ckpt_err ckpt_compare(struct ckpt_store *store, const struct ckpt_id *recipe, const char *label,
                           int fd, unsigned threads, bool *same)
{
    bool differs = false;
    enum ckpt_err err =
        transfer(store, recipe, label, fd, true, threads, NULL, NULL, &differs);
    if (err == CKPT_OK) {
        *same = !differs;
    }
    return err;
}
