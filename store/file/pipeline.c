#include "chunk/chunker.h"
#include "chunk/probe.h"
#include "object/internal.h"
#include "pipeline.h"
#include <ckpt/host.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
#ifdef CKPT_FAULT
    SLOTS = 8, /* a test starts an engine a thousand times */
#else
    /* A commit of one batch lasts as long as the workers need for about as many chunks. */
    SLOTS = 160,
#endif
    WINDOW = 4 << 20,   /* of a region, read at a time; holds at least one chunk of the largest size */
    SAMPLE = 64 << 10,  /* of a region, to see what it holds */
    SAMPLES = 3,
};

struct slot {
    struct ckpt_pipeline *pipeline;
    uint8_t *raw;
    struct ckpt_draft draft;
    struct ckpt_product product;
    struct ckpt_piece piece; /* of a region's chunk */
    bool filled;             /* the feeder has read it */
    enum ckpt_err err;
    bool done; /* pipeline->lock */
};

struct ckpt_pipeline {
    struct ckpt_store *store;
    struct ckpt_pool *pool;
    struct ckpt_pool *feeder; /* one thread */
    struct slot *ring;
    uint8_t *window;

    /* The file in work. */
    int fd;
    uint64_t size;
    const struct ckpt_plan *plan;
    const struct ckpt_base *base;

    pthread_mutex_t lock; /* everything below */
    pthread_cond_t moved; /* for the caller */
    pthread_cond_t room;  /* for the feeder */
    uint64_t head;        /* next slot to hand out */
    uint64_t tail;        /* next slot to fill */
    unsigned running;     /* feeder and workers that have something of this file */
    bool fed;             /* nothing more will be filled */
    bool stop;
    enum ckpt_err feed_err;
};

enum ckpt_err ckpt_pipeline_create(struct ckpt_store *store, struct ckpt_pool *pool,
                                   struct ckpt_pipeline **pipeline)
{
    struct ckpt_pipeline *p = calloc(1, sizeof *p);
    if (p == NULL) {
        return CKPT_ERR_NOMEM;
    }
    p->store = store;
    p->pool = pool;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->moved, NULL);
    pthread_cond_init(&p->room, NULL);
    p->ring = calloc(SLOTS, sizeof *p->ring);
    p->window = malloc(WINDOW);
    enum ckpt_err err = ckpt_pool_create(1, true, &p->feeder);
    bool complete = err == CKPT_OK && p->ring != NULL && p->window != NULL;
    for (unsigned i = 0; complete && i < SLOTS; i++) {
        struct slot *slot = &p->ring[i];
        slot->pipeline = p;
        slot->raw = malloc(CKPT_CHUNK_MAX);
        slot->draft.record = malloc(ckpt_record_bound(CKPT_CHUNK_MAX));
        complete = slot->raw != NULL && slot->draft.record != NULL;
    }
    if (!complete) {
        ckpt_pipeline_free(p);
        return err == CKPT_OK ? CKPT_ERR_NOMEM : err;
    }
    *pipeline = p;
    return CKPT_OK;
}

void ckpt_pipeline_free(struct ckpt_pipeline *p)
{
    if (p == NULL) {
        return;
    }
    ckpt_pool_free(p->feeder);
    for (unsigned i = 0; p->ring != NULL && i < SLOTS; i++) {
        free(p->ring[i].raw);
        free(p->ring[i].draft.record);
    }
    free(p->ring);
    free(p->window);
    pthread_cond_destroy(&p->room);
    pthread_cond_destroy(&p->moved);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

/* ---- workers ---- */

static enum ckpt_err read_at(int fd, void *buf, size_t n, uint64_t offset)
{
    ssize_t got = ckpt_host_read_all(fd, buf, n, (off_t)offset);
    if (got < 0) {
        return ckpt_err_from_errno(errno);
    }
    return (size_t)got < n ? CKPT_ERR_CHANGED : CKPT_OK;
}

static enum ckpt_err fill(struct slot *slot)
{
    enum ckpt_err err = CKPT_OK;
    size_t at = 0;
    for (size_t i = 0; err == CKPT_OK && i < slot->product.count; i++) {
        const struct ckpt_piece *piece = &slot->product.pieces[i];
        err = read_at(slot->pipeline->fd, slot->raw + at, piece->size, piece->offset);
        at += piece->size;
    }
    return err;
}

static void finish_slot(struct slot *slot, enum ckpt_err err)
{
    struct ckpt_pipeline *p = slot->pipeline;
    pthread_mutex_lock(&p->lock);
    slot->err = err;
    slot->done = true;
    p->running--;
    pthread_cond_signal(&p->moved);
    pthread_mutex_unlock(&p->lock);
}

static void prepare_slot(void *arg, struct ckpt_codec *codec)
{
    struct slot *slot = arg;
    struct ckpt_pipeline *p = slot->pipeline;
    pthread_mutex_lock(&p->lock);
    bool stop = p->stop;
    pthread_mutex_unlock(&p->lock);
    enum ckpt_err err = CKPT_OK;
    if (!stop && !slot->filled) {
        err = fill(slot);
    }
    if (!stop && err == CKPT_OK) {
        err = ckpt_object_prepare(p->store, codec, &slot->draft);
    }
    finish_slot(slot, err);
}

/* ---- the feeder ---- */

/* The next slot to fill; NULL: stop. */
static struct slot *take_slot(struct ckpt_pipeline *p)
{
    pthread_mutex_lock(&p->lock);
    while (p->tail - p->head == SLOTS && !p->stop) {
        pthread_cond_wait(&p->room, &p->lock);
    }
    struct slot *slot = p->stop ? NULL : &p->ring[p->tail % SLOTS];
    pthread_mutex_unlock(&p->lock);
    if (slot != NULL) {
        slot->filled = slot->done = false;
        slot->err = CKPT_OK;
        slot->draft.record_size = 0;
        slot->draft.base = (struct ckpt_id){0};
        slot->product = (struct ckpt_product){0};
    }
    return slot;
}

/* A slot that take_slot gave is on its way. */
static enum ckpt_err pass_on(struct slot *slot, bool done)
{
    struct ckpt_pipeline *p = slot->pipeline;
    pthread_mutex_lock(&p->lock);
    slot->done = done;
    p->running += !done;
    p->tail++;
    pthread_cond_signal(&p->moved);
    pthread_mutex_unlock(&p->lock);
    enum ckpt_err err = done ? CKPT_OK : ckpt_pool_submit(p->pool, prepare_slot, slot);
    if (err != CKPT_OK) {
        finish_slot(slot, err);
    }
    return err;
}

static enum ckpt_err feed_chunk(struct slot *slot, uint64_t key, size_t size, uint8_t width,
                                const struct ckpt_id *base)
{
    slot->draft.kind = CKPT_KIND_CHUNK;
    slot->draft.raw = slot->raw;
    slot->draft.raw_size = size;
    slot->draft.width = width;
    if (base != NULL) {
        slot->draft.base = *base;
    }
    slot->product.draft = &slot->draft;
    slot->product.key = key;
    slot->product.width = width;
    return pass_on(slot, false);
}

static enum ckpt_err feed_planned(struct ckpt_pipeline *p, const struct ckpt_step *step)
{
    const struct ckpt_base_chunk *base = ckpt_base_find(p->base, step->key);
    struct slot *slot = take_slot(p);
    if (slot == NULL) {
        return CKPT_OK;
    }
    slot->product.pieces = p->plan->pieces + step->first;
    slot->product.count = step->pieces;
    return feed_chunk(slot, step->key, (size_t)step->size, step->width, base != NULL ? &base->id : NULL);
}

/* Where a region is being cut. */
struct cutting {
    const struct ckpt_step *region;
    uint64_t index;   /* of the next chunk */
    bool like_before; /* it holds numbers and a base has cut it: the same cuts serve to compare */
};

/* Content-defined cuts of two states of the same numbers would agree nowhere. */
static bool holds_numbers(struct ckpt_pipeline *p, const struct ckpt_step *region)
{
    unsigned numbers = 0;
    if (region->size < (uint64_t)SAMPLES * SAMPLE) {
        return false;
    }
    for (unsigned i = 0; i < SAMPLES; i++) {
        uint64_t offset = region->offset + (region->size - SAMPLE) / (SAMPLES + 1) * (i + 1);
        if (read_at(p->fd, p->window, SAMPLE, offset) != CKPT_OK) {
            return false;
        }
        numbers += ckpt_probe_numbers(p->window, SAMPLE).width != 0;
    }
    return numbers > SAMPLES / 2;
}

/* The first chunk of the N > 0 bytes at BYTES, which come next in the region (all that is left when fewer than the largest
   chunk has). */
static enum ckpt_err feed_cut(struct ckpt_pipeline *p, struct cutting *cutting, const uint8_t *bytes,
                              size_t n, uint64_t offset, size_t *used)
{
    uint64_t key = ckpt_plan_region_key(cutting->region, cutting->index++);
    const struct ckpt_base_chunk *base =
        cutting->like_before ? ckpt_base_find(p->base, key) : NULL;
    size_t size = base != NULL && base->size <= n && base->size <= CKPT_CHUNK_MAX
                      ? base->size
                      : ckpt_chunker_cut(&p->store->chunker, bytes, n);
    struct slot *slot = take_slot(p);
    *used = size;
    if (slot == NULL) {
        return CKPT_OK;
    }
    memcpy(slot->raw, bytes, size);
    slot->filled = true;
    slot->piece = (struct ckpt_piece){.offset = offset, .size = (uint32_t)size};
    slot->product.pieces = &slot->piece;
    slot->product.count = 1;
    return feed_chunk(slot, key, size, 0, base != NULL && base->size == size ? &base->id : NULL);
}

static bool stopped(struct ckpt_pipeline *p)
{
    pthread_mutex_lock(&p->lock);
    bool stop = p->stop;
    pthread_mutex_unlock(&p->lock);
    return stop;
}

/* Cuts [START, END), which has no hole in it. */
static enum ckpt_err feed_data(struct ckpt_pipeline *p, struct cutting *cutting, uint64_t start,
                               uint64_t end)
{
    size_t have = 0;
    uint64_t at = start; /* what the window ends with */
    while ((at < end || have > 0) && !stopped(p)) {
        size_t want = WINDOW - have;
        want = want > end - at ? (size_t)(end - at) : want;
        enum ckpt_err err = want > 0 ? read_at(p->fd, p->window + have, want, at) : CKPT_OK;
        have += want;
        at += want;
        size_t used = 0;
        while (err == CKPT_OK && (have - used >= CKPT_CHUNK_MAX || (at == end && used < have))) {
            size_t n = 0;
            err = feed_cut(p, cutting, p->window + used, have - used, at - (have - used), &n);
            used += n;
        }
        if (err != CKPT_OK) {
            return err;
        }
        memmove(p->window, p->window + used, have - used);
        have -= used;
    }
    return CKPT_OK;
}

static enum ckpt_err feed_hole(struct ckpt_pipeline *p, uint64_t offset, uint64_t size)
{
    struct slot *slot = take_slot(p);
    if (slot == NULL) {
        return CKPT_OK;
    }
    slot->product.hole_offset = offset;
    slot->product.hole_size = size;
    return pass_on(slot, true);
}

/* Where the data that starts at AT ends. A hole smaller than a chunk isn't worth an extent: it counts as
   the zeros it reads as. */
static uint64_t data_end(int fd, uint64_t at, uint64_t end)
{
    for (;;) {
        off_t hole = ckpt_host_lseek(fd, (off_t)at, SEEK_HOLE);
        if (hole < 0 || (uint64_t)hole >= end) {
            return end;
        }
        off_t data = ckpt_host_lseek(fd, hole, SEEK_DATA);
        if (data < 0 || data - hole >= CKPT_CHUNK_MIN) {
            return (uint64_t)hole;
        }
        at = (uint64_t)data;
    }
}

/* What stands behind the end of a file looks like a hole. */
static enum ckpt_err check_size(struct ckpt_pipeline *p)
{
    struct stat st;
    if (ckpt_host_fstat(p->fd, &st) != 0) {
        return ckpt_err_from_errno(errno);
    }
    return (uint64_t)st.st_size < p->size ? CKPT_ERR_CHANGED : CKPT_OK;
}

static enum ckpt_err feed_region(struct ckpt_pipeline *p, const struct ckpt_step *region)
{
    struct cutting cutting = {.region = region};
    uint64_t at = region->offset;
    uint64_t end = at + region->size;
    enum ckpt_err err = CKPT_OK;
    if (ckpt_base_find(p->base, ckpt_plan_region_key(region, 0)) != NULL) {
        cutting.like_before = holds_numbers(p, region);
    }
    while (err == CKPT_OK && at < end && !stopped(p)) {
        off_t data = ckpt_host_lseek(p->fd, (off_t)at, SEEK_DATA);
        uint64_t from = data >= 0 ? (uint64_t)data : errno == ENXIO ? end : at;
        from = from > end ? end : from;
        /* Within a container a hole is zeros like others: only a whole file keeps its holes. */
        if (from > at && region->size == p->size) {
            err = check_size(p);
            if (err == CKPT_OK) {
                err = feed_hole(p, at, from - at);
            }
            at = from;
            continue;
        }
        uint64_t to = region->size == p->size ? data_end(p->fd, at, end) : end;
        err = feed_data(p, &cutting, at, to);
        at = to;
    }
    return err;
}

static void feed(void *arg, struct ckpt_codec *codec)
{
    struct ckpt_pipeline *p = arg;
    enum ckpt_err err = CKPT_OK;
    (void)codec;
    for (size_t i = 0; err == CKPT_OK && i < p->plan->count && !stopped(p); i++) {
        const struct ckpt_step *step = &p->plan->steps[i];
        err = step->pieces > 0 ? feed_planned(p, step) : feed_region(p, step);
    }
    pthread_mutex_lock(&p->lock);
    p->feed_err = err;
    p->fed = true;
    p->running--;
    pthread_cond_signal(&p->moved);
    pthread_mutex_unlock(&p->lock);
}

/* ---- the caller ---- */

enum ckpt_err ckpt_pipeline_start(struct ckpt_pipeline *p, int fd, uint64_t size,
                                  const struct ckpt_plan *plan, const struct ckpt_base *base)
{
    p->fd = fd;
    p->size = size;
    p->plan = plan;
    p->base = base;
    p->head = p->tail = 0;
    p->fed = p->stop = false;
    p->feed_err = CKPT_OK;
    p->running = 1;
    enum ckpt_err err = ckpt_pool_submit(p->feeder, feed, p);
    if (err != CKPT_OK) {
        p->running = 0;
        p->fed = true;
    }
    return err;
}

enum ckpt_err ckpt_pipeline_next(struct ckpt_pipeline *p, struct ckpt_product *product)
{
    pthread_mutex_lock(&p->lock);
    while (p->head == p->tail ? !p->fed : !p->ring[p->head % SLOTS].done) {
        pthread_cond_wait(&p->moved, &p->lock);
    }
    bool end = p->head == p->tail;
    enum ckpt_err err = end ? p->feed_err : p->ring[p->head % SLOTS].err;
    pthread_mutex_unlock(&p->lock);
    if (err != CKPT_OK || end) {
        return err != CKPT_OK ? err : CKPT_ERR_NOT_FOUND;
    }
    *product = p->ring[p->head % SLOTS].product;
    return CKPT_OK;
}

void ckpt_pipeline_release(struct ckpt_pipeline *p)
{
    pthread_mutex_lock(&p->lock);
    p->head++;
    pthread_cond_signal(&p->room);
    pthread_mutex_unlock(&p->lock);
}

void ckpt_pipeline_stop(struct ckpt_pipeline *p)
{
    pthread_mutex_lock(&p->lock);
    p->stop = true;
    pthread_cond_signal(&p->room);
    while (p->running > 0) {
        pthread_cond_wait(&p->moved, &p->lock);
    }
    pthread_mutex_unlock(&p->lock);
}
