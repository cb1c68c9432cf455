/*
 * Ingest: a pending file becomes chunks, a recipe and a version.
 *
 * The engine's thread reads and cuts the file and hands the chunks to the workers, which hash, look up and
 * encode them (ckpt_object_prepare). A ring of slots keeps the order and bounds the memory: the thread
 * commits the oldest slot when it needs room. Chunks go into the database in transactions of at most
 * BATCH_BYTES; those of an unfinished file are booked as garbage with each commit (store/DESIGN.md), and
 * the last transaction turns them into a version. Small files share a transaction.
 */
#include "catalog_txn.h"
#include "engine_parts.h"
#include "garbage.h"
#include "internal.h"
#include "live.h"
#include "object.h"
#include "recipe.h"
#include <ckpt/host.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
#ifdef CKPT_FAULT
    BATCH_BYTES = 1 << 20, /* several in a file that a test makes a thousand times */
#else
    BATCH_BYTES = 64 << 20,
#endif
    BATCH_JOBS = 256,
    PAGE_BYTES = 4096, /* of the database: a record fills whole ones */
    WINDOW = 4 << 20, /* read at a time; holds at least one chunk of the largest size */
    /* A write within one tick of the clock after a stamp would not show in mtime. */
    TICK_NS = 20 * 1000 * 1000,
};

struct slot {
    struct ckpt_ingest *ingest;
    uint8_t *raw;
    struct ckpt_draft draft;
    enum ckpt_err err;
    bool done; /* ingest->lock */
};

/* A file whose version stands in the open transaction. */
struct published {
    struct ckpt_job *job;
    int fd;
    struct ckpt_stamp stamp;
};

/* A chunk of the file in work, for what it costs. */
struct cost {
    struct ckpt_id id;
    uint32_t record_size;
};

struct ckpt_ingest {
    struct ckpt_engine *engine;
    struct ckpt_store *store;
    pthread_mutex_t lock;
    pthread_cond_t done;
    unsigned slots;
    struct slot *ring;
    uint64_t head; /* next slot to commit */
    uint64_t tail; /* next slot to fill */
    uint8_t *window;

    struct ckpt_txn *txn; /* NULL between batches */
    uint64_t batch_bytes; /* record bytes added in it */
    struct published published[BATCH_JOBS];
    unsigned publishing;

    /* The file in work. */
    uint64_t file_size;
    bool measuring;    /* nothing is stored, only counted in EXPECTED */
    uint64_t expected; /* at most so many bytes will be new in the database */
    struct ckpt_recipe recipe;
    struct cost *costs;
    size_t costs_count;
    size_t costs_room;
    uint64_t added;
    size_t booked;          /* costs[0..booked) are held by garbage rows */
    uint64_t *rows;         /* their keys */
    size_t rows_count;
};

static void prepare_slot(void *arg, struct ckpt_codec *codec)
{
    struct slot *slot = arg;
    struct ckpt_ingest *in = slot->ingest;
    enum ckpt_err err = ckpt_object_prepare(in->store, codec, &slot->draft);
    pthread_mutex_lock(&in->lock);
    slot->err = err;
    slot->done = true;
    pthread_cond_signal(&in->done);
    pthread_mutex_unlock(&in->lock);
}

enum ckpt_err ckpt_ingest_create(struct ckpt_engine *engine, struct ckpt_ingest **ingest)
{
    struct ckpt_ingest *in = calloc(1, sizeof *in);
    if (in == NULL) {
        return CKPT_ERR_NOMEM;
    }
    in->engine = engine;
    in->store = engine->store;
    pthread_mutex_init(&in->lock, NULL);
    pthread_cond_init(&in->done, NULL);
    ckpt_recipe_init(&in->recipe);
    in->slots = 4 * engine->config.threads + 4;
    in->ring = calloc(in->slots, sizeof *in->ring);
    in->window = malloc(WINDOW);
    bool complete = in->ring != NULL && in->window != NULL;
    for (unsigned i = 0; complete && i < in->slots; i++) {
        struct slot *slot = &in->ring[i];
        slot->ingest = in;
        slot->raw = malloc(CKPT_CHUNK_MAX);
        slot->draft.record = malloc(ckpt_record_bound(CKPT_CHUNK_MAX));
        complete = slot->raw != NULL && slot->draft.record != NULL;
    }
    if (!complete) {
        ckpt_ingest_free(in);
        return CKPT_ERR_NOMEM;
    }
    *ingest = in;
    return CKPT_OK;
}

void ckpt_ingest_free(struct ckpt_ingest *in)
{
    if (in == NULL) {
        return;
    }
    for (unsigned i = 0; in->ring != NULL && i < in->slots; i++) {
        free(in->ring[i].raw);
        free(in->ring[i].draft.record);
    }
    free(in->ring);
    free(in->window);
    free(in->costs);
    free(in->rows);
    ckpt_recipe_clear(&in->recipe);
    pthread_cond_destroy(&in->done);
    pthread_mutex_destroy(&in->lock);
    free(in);
}

/* ---- the transaction ---- */

/* Host bytes that must be free for BYTES more in the database. */
static uint64_t needed(uint64_t bytes)
{
    return bytes + bytes / 8 + CKPT_SPARE_BYTES;
}

static enum ckpt_err begin(struct ckpt_ingest *in)
{
    if (in->txn != NULL) {
        return CKPT_OK;
    }
    if (ckpt_store_stopped(in->store)) {
        return CKPT_ERR_STOPPED;
    }
    /* LMDB answers a full disk in the middle of a commit with an I/O error: look before. */
    struct ckpt_space space;
    enum ckpt_err err = ckpt_store_space(in->store, &space);
    if (err != CKPT_OK) {
        return err;
    }
    uint64_t rest = in->expected > in->added ? in->expected - in->added : 0;
    if (space.host_free < needed(rest < BATCH_BYTES ? rest : BATCH_BYTES)) {
        return CKPT_ERR_NOSPC;
    }
    in->batch_bytes = 0;
    err = ckpt_store_begin(in->store, &in->txn);
    /* Before the versions: what was seen of a file before is older than they are. */
    return err == CKPT_OK ? ckpt_stamps_put(in->engine, in->txn) : err;
}

/* Jobs whose transaction has come to nothing are queued as before; as failed when that was no fault of a full disk or
   of another job. */
static void unpublish(struct ckpt_ingest *in, bool failed)
{
    pthread_mutex_lock(&in->engine->lock);
    for (unsigned i = 0; i < in->publishing; i++) {
        in->published[i].job->running = false;
        in->published[i].job->recorded = false;
        in->published[i].job->failed |= failed;
    }
    pthread_cond_broadcast(&in->engine->quiet);
    pthread_mutex_unlock(&in->engine->lock);
    for (unsigned i = 0; i < in->publishing; i++) {
        ckpt_host_close(in->published[i].fd);
    }
    in->publishing = 0;
}

static void abort_batch(struct ckpt_ingest *in)
{
    ckpt_txn_abort(in->txn);
    in->txn = NULL;
    unpublish(in, false);
}

/* After the pending link has gone: how the live file looks while it is known to equal its version. */
static void stamp_live(struct ckpt_ingest *in, const struct published *p)
{
    struct ckpt_engine *engine = in->engine;
    struct stat st;
    struct ckpt_stamp stamp = {0};
    uint64_t hot_bytes = 0;
    if (ckpt_host_fstat(p->fd, &st) != 0) {
        return;
    }
    if (st.st_nlink > 0) {
        struct ckpt_stamp now = ckpt_stamp_of(&st);
        const struct ckpt_engine_hooks *hooks = &engine->config.hooks;
        bool writing =
            hooks->writing != NULL && hooks->writing(engine->config.hooks_arg, st.st_dev, st.st_ino);
        hot_bytes = (uint64_t)st.st_blocks * 512;
        if (!writing && now.ino == p->stamp.ino && now.size == p->stamp.size &&
            now.mtime_ns == p->stamp.mtime_ns &&
            ckpt_realtime_ns() - now.mtime_ns > TICK_NS) {
            stamp = now;
        }
        stamp.ino = now.ino;
    }
    ckpt_stamp_save(engine, p->job->dir, p->job->name, &stamp, hot_bytes);
}

static void finish(struct ckpt_ingest *in, struct published *p)
{
    struct stat before;
    bool known = ckpt_host_fstat(p->fd, &before) == 0;
    in->engine->recorded++;
    ckpt_pending_finish(in->engine, p->job);
    if (known) {
        ckpt_touched(in->engine, &before, p->fd);
    }
    stamp_live(in, p);
    ckpt_host_close(p->fd);
    free(p->job);
}

enum ckpt_err ckpt_ingest_commit(struct ckpt_ingest *in)
{
    if (in->txn == NULL) {
        return CKPT_OK;
    }
    enum ckpt_err err = ckpt_txn_commit(in->txn);
    in->txn = NULL;
    if (err == CKPT_ERR_IO) {
        ckpt_store_stop(in->store, "a commit of the database failed");
    } else if (err != CKPT_OK && err != CKPT_ERR_NOSPC) {
        ckpt_reportf(CKPT_REPORT(in->engine), CKPT_ERROR,
                     "%s: closed files could not be recorded: %s; they stay in pending/ and are tried again",
                     ckpt_store_path(in->store), ckpt_err_text(err));
    }
    if (err != CKPT_OK) {
        unpublish(in, err != CKPT_ERR_NOSPC);
        return err;
    }
    for (unsigned i = 0; i < in->publishing; i++) {
        finish(in, &in->published[i]);
    }
    in->publishing = 0;
    return CKPT_OK;
}

/* ---- chunks ---- */

/* Books what this batch references as garbage, so that a crash before the file is done leaks nothing. */
static enum ckpt_err book(struct ckpt_ingest *in)
{
    while (in->booked < in->costs_count) {
        struct ckpt_id *ids = malloc(CKPT_GARBAGE_ROW * sizeof *ids);
        uint64_t *rows = realloc(in->rows, (in->rows_count + 1) * sizeof *rows);
        if (rows != NULL) {
            in->rows = rows;
        }
        if (ids == NULL || rows == NULL) {
            free(ids);
            return CKPT_ERR_NOMEM;
        }
        size_t n = 0;
        while (n < CKPT_GARBAGE_ROW && in->booked + n < in->costs_count) {
            ids[n] = in->costs[in->booked + n].id;
            n++;
        }
        enum ckpt_err err = ckpt_garbage_add(in->txn, NULL, ids, n, &in->rows[in->rows_count]);
        free(ids);
        if (err != CKPT_OK) {
            return err;
        }
        in->rows_count++;
        in->booked += n;
    }
    return CKPT_OK;
}

static enum ckpt_err add_cost(struct ckpt_ingest *in, const struct ckpt_id *id, uint32_t record_size)
{
    if (in->costs_count == in->costs_room) {
        size_t room = in->costs_room == 0 ? 1024 : 2 * in->costs_room;
        struct cost *costs = realloc(in->costs, room * sizeof *costs);
        if (costs == NULL) {
            return CKPT_ERR_NOMEM;
        }
        in->costs = costs;
        in->costs_room = room;
    }
    in->costs[in->costs_count++] = (struct cost){.id = *id, .record_size = record_size};
    return CKPT_OK;
}

/* Waits for the oldest slot and writes it, unless an error has made that pointless. */
static enum ckpt_err commit_slot(struct ckpt_ingest *in, enum ckpt_err so_far)
{
    struct slot *slot = &in->ring[in->head % in->slots];
    pthread_mutex_lock(&in->lock);
    while (!slot->done) {
        pthread_cond_wait(&in->done, &in->lock);
    }
    pthread_mutex_unlock(&in->lock);
    in->head++;
    enum ckpt_err err = so_far != CKPT_OK ? so_far : slot->err;
    if (in->measuring) {
        in->expected += (slot->draft.record_size + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
        return err;
    }
    if (err == CKPT_OK) {
        err = begin(in);
    }
    uint32_t added = 0;
    uint32_t record_size = 0;
    if (err == CKPT_OK) {
        err = ckpt_object_commit(in->store, in->engine->codec, in->txn, &slot->draft, &added,
                                 &record_size);
    }
    if (err == CKPT_OK) {
        err = add_cost(in, &slot->draft.id, record_size);
    }
    if (err == CKPT_OK) {
        err = ckpt_recipe_append(&in->recipe, &slot->draft.id, slot->draft.raw_size);
    }
    if (err != CKPT_OK) {
        return err;
    }
    in->added += added;
    in->batch_bytes += added;
    if (in->batch_bytes >= BATCH_BYTES) {
        err = book(in);
        if (err == CKPT_OK) {
            err = ckpt_ingest_commit(in);
        }
    }
    return err;
}

static enum ckpt_err drain(struct ckpt_ingest *in, enum ckpt_err so_far)
{
    while (in->head < in->tail) {
        enum ckpt_err err = commit_slot(in, so_far);
        if (so_far == CKPT_OK) {
            so_far = err;
        }
    }
    return so_far;
}

static enum ckpt_err submit(struct ckpt_ingest *in, const uint8_t *bytes, size_t n)
{
    enum ckpt_err err = CKPT_OK;
    if (in->tail - in->head == in->slots) {
        err = commit_slot(in, CKPT_OK);
    }
    if (err != CKPT_OK) {
        return err;
    }
    struct slot *slot = &in->ring[in->tail % in->slots];
    memcpy(slot->raw, bytes, n);
    slot->draft.kind = CKPT_KIND_CHUNK;
    slot->draft.raw = slot->raw;
    slot->draft.raw_size = n;
    slot->draft.record_size = 0;
    slot->done = false;
    err = ckpt_pool_submit(in->engine->pool, prepare_slot, slot);
    if (err == CKPT_OK) {
        in->tail++;
    }
    return err;
}

/* Cuts and submits [START, END) of the file, which has no hole in it. */
static enum ckpt_err take_data(struct ckpt_ingest *in, int fd, uint64_t start, uint64_t end)
{
    size_t have = 0;
    uint64_t at = start;
    while (at < end || have > 0) {
        if (at < end) {
            size_t want = WINDOW - have;
            if (want > end - at) {
                want = (size_t)(end - at);
            }
            ssize_t n = ckpt_host_read_all(fd, in->window + have, want, (off_t)at);
            if (n < 0) {
                return ckpt_err_from_errno(errno);
            }
            if ((size_t)n < want) {
                return CKPT_ERR_CHANGED;
            }
            have += want;
            at += want;
        }
        size_t used = 0;
        while (have - used >= CKPT_CHUNK_MAX || (at == end && used < have)) {
            size_t n = ckpt_chunker_cut(&in->store->chunker, in->window + used, have - used);
            enum ckpt_err err = submit(in, in->window + used, n);
            if (err != CKPT_OK) {
                return err;
            }
            used += n;
        }
        memmove(in->window, in->window + used, have - used);
        have -= used;
    }
    return CKPT_OK;
}

/* Holes must come after the chunks before them: they wait for the ring. */
static enum ckpt_err take_hole(struct ckpt_ingest *in, uint64_t size)
{
    enum ckpt_err err = drain(in, CKPT_OK);
    return err == CKPT_OK && !in->measuring ? ckpt_recipe_append(&in->recipe, NULL, size) : err;
}

/* Where the data that starts at AT ends. A hole smaller than a chunk isn't worth an extent: it counts as
   the zeros it reads as. */
static uint64_t data_end(int fd, uint64_t at, uint64_t size)
{
    for (;;) {
        off_t hole = ckpt_host_lseek(fd, (off_t)at, SEEK_HOLE);
        if (hole < 0 || (uint64_t)hole >= size) {
            return size;
        }
        off_t data = ckpt_host_lseek(fd, hole, SEEK_DATA);
        if (data < 0 || data - hole >= CKPT_CHUNK_MIN) {
            return (uint64_t)hole;
        }
        at = (uint64_t)data;
    }
}

static enum ckpt_err take_file(struct ckpt_ingest *in, int fd, uint64_t size)
{
    uint64_t at = 0;
    enum ckpt_err err = CKPT_OK;
    while (err == CKPT_OK && at < size) {
        off_t data = ckpt_host_lseek(fd, (off_t)at, SEEK_DATA);
        uint64_t from = data >= 0 ? (uint64_t)data : errno == ENXIO ? size : at;
        if (from > size) {
            from = size;
        }
        if (from > at) {
            err = take_hole(in, from - at);
            at = from;
            continue;
        }
        uint64_t to = data_end(fd, at, size);
        err = take_data(in, fd, at, to);
        at = to;
    }
    return drain(in, err);
}

/* ---- the version ---- */

static int by_id(const void *a, const void *b)
{
    return memcmp(&((const struct cost *)a)->id, &((const struct cost *)b)->id, sizeof(struct ckpt_id));
}

/* Record bytes of the distinct chunks. */
static uint64_t stored_bytes(struct ckpt_ingest *in)
{
    uint64_t sum = 0;
    if (in->costs_count > 0) {
        qsort(in->costs, in->costs_count, sizeof *in->costs, by_id);
    }
    for (size_t i = 0; i < in->costs_count; i++) {
        if (i == 0 || by_id(&in->costs[i - 1], &in->costs[i]) != 0) {
            sum += in->costs[i].record_size;
        }
    }
    return sum;
}

/* The recipe, holding one reference that the caller passes on. */
static enum ckpt_err put_recipe(struct ckpt_ingest *in, struct ckpt_id *id, bool *was_there)
{
    struct ckpt_draft draft = {.kind = CKPT_KIND_RECIPE};
    uint8_t *raw = NULL;
    size_t size = 0;
    uint32_t added = 0;
    uint32_t record_size = 0;
    enum ckpt_err err = ckpt_recipe_encode(&in->recipe, &raw, &size);
    if (err != CKPT_OK) {
        return err;
    }
    draft.raw = raw;
    draft.raw_size = size;
    draft.record = malloc(ckpt_record_bound(size));
    err = draft.record == NULL ? CKPT_ERR_NOMEM
                               : ckpt_object_prepare(in->store, in->engine->codec, &draft);
    if (err == CKPT_OK) {
        err = ckpt_object_commit(in->store, in->engine->codec, in->txn, &draft, &added, &record_size);
    }
    if (err == CKPT_OK) {
        *id = draft.id;
        *was_there = added == 0;
        in->added += added;
        in->batch_bytes += added;
    }
    free(draft.record);
    free(raw);
    return err;
}

/* A recipe that was in the store holds references of its own: those just taken go back. */
static enum ckpt_err release_chunks(struct ckpt_ingest *in)
{
    for (size_t i = 0; i < in->costs_count; i++) {
        bool gone = false;
        enum ckpt_err err = ckpt_object_unref(in->txn, &in->costs[i].id, &gone);
        if (err != CKPT_OK) {
            return err;
        }
    }
    return CKPT_OK;
}

static enum ckpt_err put_version(struct ckpt_ingest *in, const struct ckpt_job *job, int fd,
                                 const struct stat *st, const struct ckpt_id *recipe,
                                 uint64_t stored)
{
    /* The times follow when the pending link has gone; which inode it is must be known at any moment, to find the
       other names of a file with hard links. */
    struct ckpt_stamp unknown = {.ino = st->st_ino};
    bool added = false;
    struct stat now;
    enum ckpt_err err = ckpt_engine_stat(in->engine, fd, &now);
    if (err != CKPT_OK) {
        return err;
    }
    struct ckpt_version version = {.dir = job->dir,
                                   .recipe = *recipe,
                                   .size = (uint64_t)st->st_size,
                                   .stored = stored,
                                   .added = in->added,
                                   .mtime_ns = ckpt_stamp_of(st).mtime_ns,
                                   .captured_ns = ckpt_realtime_ns(),
                                   .mode = st->st_mode & 07777,
                                   .uid = st->st_uid,
                                   .gid = st->st_gid};
    memcpy(version.name, job->name, sizeof version.name);
    return ckpt_catalog_put_version_in(in->store, in->engine->codec, in->txn, &version, &unknown,
                                       now.st_nlink > 0 ? (uint64_t)now.st_blocks * 512 : 0, &added);
}

/* Still the same inode under the pending name, and untouched: then what was read is what was closed. */
static bool unchanged(struct ckpt_ingest *in, const struct ckpt_job *job, const struct stat *before)
{
    char path[CKPT_PENDING_PATH];
    struct stat now;
    ckpt_pending_path(job, path);
    if (ckpt_host_fstatat(ckpt_store_pendingfd(in->store), path, &now, AT_SYMLINK_NOFOLLOW) != 0) {
        return false;
    }
    struct ckpt_stamp a = ckpt_stamp_of(before);
    struct ckpt_stamp b = ckpt_stamp_of(&now);
    return before->st_dev == now.st_dev && ckpt_stamp_equal(&a, &b);
}

static enum ckpt_err publish(struct ckpt_ingest *in, struct ckpt_job *job, int fd,
                             const struct stat *st)
{
    enum ckpt_err err = begin(in);
    if (err != CKPT_OK) {
        return err;
    }
    /* From here a change of the file exchanges the link, and is a capture of its own. */
    pthread_mutex_lock(&in->engine->lock);
    job->recorded = true;
    pthread_mutex_unlock(&in->engine->lock);
    if (!unchanged(in, job, st)) {
        return CKPT_ERR_CHANGED;
    }
    struct ckpt_id recipe;
    bool was_there = false;
    err = put_recipe(in, &recipe, &was_there);
    if (err == CKPT_OK && was_there) {
        err = release_chunks(in);
    }
    if (err == CKPT_OK) {
        err = put_version(in, job, fd, st, &recipe, stored_bytes(in));
    }
    for (size_t i = 0; err == CKPT_OK && i < in->rows_count; i++) {
        err = ckpt_garbage_del(in->txn, in->rows[i]);
    }
    if (err == CKPT_OK) {
        in->published[in->publishing++] =
            (struct published){.job = job, .fd = fd, .stamp = ckpt_stamp_of(st)};
    }
    return err;
}

/* The file can't be taken, but the transaction and the files before it are fine: what it has referenced
   so far becomes garbage. Any other error leaves nothing to build on. */
static void give_up_file(struct ckpt_ingest *in, enum ckpt_err why)
{
    in->engine->sweep = true;
    bool only_this_file = why == CKPT_ERR_CHANGED;
    if (!only_this_file || (in->txn != NULL && book(in) != CKPT_OK)) {
        abort_batch(in);
    }
}

/*
 * Whether there is room for the file. Where it may be tight it is read once only to see what would be new of it, because
 * a file that turns out too big in the end would take the last of the space from the trainer, again and again.
 */
static enum ckpt_err check_space(struct ckpt_ingest *in, struct ckpt_job *job, int fd)
{
    struct ckpt_space space;
    enum ckpt_err err = ckpt_store_space(in->store, &space);
    if (err != CKPT_OK) {
        return err;
    }
    uint64_t open_batch = in->txn != NULL ? in->batch_bytes + in->batch_bytes / 8 : 0;
    uint64_t room = space.host_free > open_batch ? space.host_free - open_batch : 0;
    in->expected = in->file_size;
    job->lacks_space = false;
    if (room >= needed(in->file_size)) {
        return CKPT_OK;
    }
    if (job->measured_at != in->engine->recorded) {
        in->expected = 0;
        in->measuring = true;
        err = take_file(in, fd, in->file_size);
        in->measuring = false;
        job->measured = in->expected;
        job->measured_at = in->engine->recorded;
    }
    in->expected = job->measured;
    if (err == CKPT_OK && room < needed(job->measured)) {
        job->lacks_space = true;
        err = CKPT_ERR_NOSPC;
    }
    return err;
}

static enum ckpt_err open_job(struct ckpt_ingest *in, const struct ckpt_job *job, int *fd,
                              struct stat *st)
{
    char path[CKPT_PENDING_PATH];
    ckpt_pending_path(job, path);
    *fd = ckpt_host_openat(ckpt_store_pendingfd(in->store), path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (*fd < 0 || ckpt_host_fstat(*fd, st) != 0) {
        return ckpt_err_from_errno(errno);
    }
    const struct ckpt_engine_hooks *hooks = &in->engine->config.hooks;
    if (hooks->writing != NULL &&
        hooks->writing(in->engine->config.hooks_arg, st->st_dev, st->st_ino)) {
        return CKPT_ERR_BUSY;
    }
    if (!ckpt_live_lease(*fd)) {
        return CKPT_ERR_BUSY;
    }
    ckpt_live_unlease(*fd);
    return CKPT_OK;
}

enum ckpt_err ckpt_ingest_file(struct ckpt_ingest *in, struct ckpt_job *job)
{
    int fd = -1;
    struct stat st = {0};
    ckpt_recipe_clear(&in->recipe);
    ckpt_recipe_init(&in->recipe);
    in->costs_count = in->booked = in->rows_count = 0;
    in->added = 0;

    enum ckpt_err err = open_job(in, job, &fd, &st);
    if (err == CKPT_OK) {
        in->file_size = (uint64_t)st.st_size;
        err = check_space(in, job, fd);
    }
    if (err == CKPT_OK) {
        err = take_file(in, fd, in->file_size);
        if (err == CKPT_OK) {
            err = publish(in, job, fd, &st);
        }
        if (err != CKPT_OK) {
            give_up_file(in, err);
        }
    }
    if (err != CKPT_OK) {
        ckpt_host_close(fd);
        return err;
    }
    if (in->publishing == BATCH_JOBS || in->batch_bytes >= BATCH_BYTES) {
        return ckpt_ingest_commit(in);
    }
    return CKPT_OK;
}
