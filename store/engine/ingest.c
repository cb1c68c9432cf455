/*
 * Ingest: a pending file becomes chunks, a recipe and a version.
 *
 * The chunks (ingest_chunks.c) go into the database in transactions of at most CKPT_BATCH_BYTES (ingest_batch.c). Those
 * of an unfinished file are booked as garbage with each commit (store/DESIGN.md); the last transaction turns them into a
 * version. Small files share a transaction.
 */
#include "catalog/catalog_txn.h"
#include "common/live.h"
#include "file/pipeline.h"
#include "ingest_parts.h"
#include "object/garbage.h"
#include "object/object.h"
#include <ckpt/host.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum ckpt_err ckpt_ingest_create(struct ckpt_engine *engine, struct ckpt_ingest **ingest)
{
    struct ckpt_ingest *in = calloc(1, sizeof *in);
    if (in == NULL) {
        return CKPT_ERR_NOMEM;
    }
    in->engine = engine;
    in->store = engine->store;
    ckpt_recipe_init(&in->recipe);
    enum ckpt_err err = ckpt_pipeline_create(engine->store, engine->pool, &in->pipeline);
    if (err != CKPT_OK) {
        ckpt_ingest_free(in);
        return err;
    }
    *ingest = in;
    return CKPT_OK;
}

void ckpt_ingest_free(struct ckpt_ingest *in)
{
    if (in == NULL) {
        return;
    }
    ckpt_pipeline_free(in->pipeline);
    free(in->places);
    free(in->costs);
    free(in->rows);
    ckpt_recipe_clear(&in->recipe);
    free(in);
}

/* ---- the version ---- */

static int by_id(const void *a, const void *b)
{
    const struct ckpt_ingest_cost *one = a;
    const struct ckpt_ingest_cost *other = b;
    return memcmp(&one->id, &other->id, sizeof one->id);
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
    enum ckpt_err err = ckpt_ingest_complete_recipe(in);
    if (err == CKPT_OK) {
        err = ckpt_recipe_encode(&in->recipe, &raw, &size);
    }
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
    err = ckpt_catalog_put_version_in(in->store, in->engine->codec, in->txn, &version, &unknown,
                                      now.st_nlink > 0 ? (uint64_t)now.st_blocks * 512 : 0, &added);
    if (err == CKPT_OK && added) {
        ckpt_origin_publish(in->engine, version.sequence, st);
    }
    return err;
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
    enum ckpt_err err = ckpt_ingest_begin(in);
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
            (struct ckpt_ingest_published){.job = job, .fd = fd, .stamp = ckpt_stamp_of(st)};
    }
    return err;
}

/* ---- one file ---- */

/* The file can't be taken, but the transaction and the files before it are fine: what it has referenced
   so far becomes garbage. Any other error leaves nothing to build on. */
static void give_up_file(struct ckpt_ingest *in, enum ckpt_err why)
{
    in->engine->sweep = true;
    bool only_this_file = why == CKPT_ERR_CHANGED;
    if (!only_this_file || (in->txn != NULL && ckpt_ingest_book(in) != CKPT_OK)) {
        ckpt_ingest_abort(in);
    }
}

/*
 * Whether there is room for the file. Where it may be tight it is read once only to see what would be new of it, because
 * a file that turns out too big in the end would take the last of the space from the trainer, again and again.
 */
static enum ckpt_err check_space(struct ckpt_ingest *in, struct ckpt_job *job, int fd,
                                 const struct stat *st)
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
    if (room >= ckpt_ingest_room(in->file_size)) {
        return CKPT_OK;
    }
    if (job->measured_at != in->engine->recorded) {
        in->expected = 0;
        in->measuring = true;
        err = ckpt_ingest_take_file(in, job, fd, st);
        in->measuring = false;
        job->measured = in->expected;
        job->measured_at = in->engine->recorded;
    }
    in->expected = job->measured;
    if (err == CKPT_OK && room < ckpt_ingest_room(job->measured)) {
        job->lacks_space = true;
        err = CKPT_ERR_NOSPC;
    }
    return err;
}

static enum ckpt_err busy(struct ckpt_engine *engine, struct ckpt_job *job, bool closing)
{
    pthread_mutex_lock(&engine->lock);
    job->closing = closing;
    pthread_mutex_unlock(&engine->lock);
    return CKPT_ERR_BUSY;
}

static enum ckpt_err open_job(struct ckpt_ingest *in, struct ckpt_job *job, int *fd,
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
        return busy(in->engine, job,
                    hooks->closing != NULL &&
                        hooks->closing(in->engine->config.hooks_arg, st->st_dev, st->st_ino));
    }
    if (!ckpt_live_lease(*fd)) {
        /* The kernel lets go of the host file a moment after it has told the close; or it is mapped. */
        return busy(in->engine, job, true);
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
    in->costs_count = in->booked = in->rows_count = in->places_count = 0;
    in->added = 0;

    enum ckpt_err err = open_job(in, job, &fd, &st);
    if (err == CKPT_OK) {
        in->file_size = (uint64_t)st.st_size;
        err = check_space(in, job, fd, &st);
    }
    if (err == CKPT_OK) {
        err = ckpt_ingest_take_file(in, job, fd, &st);
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
    if (in->publishing == CKPT_BATCH_JOBS || in->batch_bytes >= CKPT_BATCH_BYTES) {
        return ckpt_ingest_commit(in);
    }
    return CKPT_OK;
}
