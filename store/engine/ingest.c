/*
 * Ingest: a pending file becomes chunks, a recipe and a version.
 *
 * The engine's thread plans the cuts (container.c, plan.c), chooses what the chunks may be differences from (base.c), and
 * commits what comes out of the pipeline. Chunks go into the database in transactions of at most CKPT_BATCH_BYTES
 * (ingest_batch.c); those of an unfinished file are booked as garbage with each commit (store/DESIGN.md), and the last
 * transaction turns them into a version. Small files share a transaction.
 */
#include "catalog/catalog_txn.h"
#include "common/live.h"
#include "file/base.h"
#include "file/pipeline.h"
#include "file/plan.h"
#include "format/container.h"
#include "ingest_parts.h"
#include "object/garbage.h"
#include "object/object.h"
#include <ckpt/host.h>
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    PAGE_BYTES = 4096, /* of the database: a record fills whole ones */
    /* A file from here on is worth a commit of what stands before it, because only what is committed can be its base. */
    BASE_MIN = 256 << 10,
};

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
        struct ckpt_ingest_cost *costs = realloc(in->costs, room * sizeof *costs);
        if (costs == NULL) {
            return CKPT_ERR_NOMEM;
        }
        in->costs = costs;
        in->costs_room = room;
    }
    in->costs[in->costs_count++] = (struct ckpt_ingest_cost){.id = *id, .record_size = record_size};
    return CKPT_OK;
}

static enum ckpt_err add_place(struct ckpt_ingest *in, const struct ckpt_ingest_place *place)
{
    if (in->places_count == in->places_room) {
        size_t room = in->places_room == 0 ? 1024 : 2 * in->places_room;
        struct ckpt_ingest_place *places = realloc(in->places, room * sizeof *places);
        if (places == NULL) {
            return CKPT_ERR_NOMEM;
        }
        in->places = places;
        in->places_room = room;
    }
    in->places[in->places_count++] = *place;
    return CKPT_OK;
}

/* The chunk that has just been committed, and where its bytes belong. */
static enum ckpt_err note_chunk(struct ckpt_ingest *in, const struct ckpt_product *product)
{
    struct ckpt_recipe_chunk chunk = {.id = product->draft->id,
                                      .size = (uint32_t)product->draft->raw_size,
                                      .width = product->width,
                                      .key = product->key};
    struct ckpt_ingest_place place = {.chunk = (uint32_t)in->recipe.chunk_count};
    enum ckpt_err err = ckpt_recipe_add(&in->recipe, &chunk);
    for (size_t i = 0; err == CKPT_OK && i < product->count; i++) {
        place.offset = product->pieces[i].offset;
        place.size = product->pieces[i].size;
        err = add_place(in, &place);
        place.at += product->pieces[i].size;
    }
    return err;
}

static enum ckpt_err commit_chunk(struct ckpt_ingest *in, const struct ckpt_product *product)
{
    uint32_t added = 0;
    uint32_t record_size = 0;
    enum ckpt_err err = ckpt_ingest_begin(in);
    if (err == CKPT_OK) {
        err = ckpt_object_commit(in->store, in->engine->codec, in->txn, product->draft, &added,
                                 &record_size);
    }
    if (err == CKPT_OK) {
        err = add_cost(in, &product->draft->id, record_size);
    }
    if (err == CKPT_OK) {
        err = note_chunk(in, product);
    }
    if (err != CKPT_OK) {
        return err;
    }
    in->added += added;
    in->batch_bytes += added;
    if (in->batch_bytes >= CKPT_BATCH_BYTES) {
        err = book(in);
        if (err == CKPT_OK) {
            err = ckpt_ingest_commit(in);
        }
    }
    return err;
}

static enum ckpt_err take_product(struct ckpt_ingest *in, const struct ckpt_product *product)
{
    if (in->measuring) {
        size_t record = product->draft == NULL ? 0 : product->draft->record_size;
        in->expected += (record + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
        return CKPT_OK;
    }
    if (product->draft != NULL) {
        return commit_chunk(in, product);
    }
    struct ckpt_ingest_place hole = {
        .offset = product->hole_offset, .size = product->hole_size, .chunk = CKPT_HOLE};
    return add_place(in, &hole);
}

static int host_pread(void *arg, void *buf, size_t n, uint64_t offset)
{
    ssize_t got = ckpt_host_read_all(*(const int *)arg, buf, n, (off_t)offset);
    return got >= 0 && (size_t)got == n ? 0 : -1;
}

/* How to cut it. A file that can't be read to its end has changed, or will fail again where that is told. One that is mostly
   holes is to keep them, whatever it says that it holds. */
static enum ckpt_err make_plan(int fd, const struct stat *st, struct ckpt_plan *plan)
{
    uint64_t size = (uint64_t)st->st_size;
    struct ckpt_source source = {.pread = host_pread, .arg = &fd, .size = size};
    struct ckpt_parts parts = {0};
    enum ckpt_err err = CKPT_OK;
    if ((uint64_t)st->st_blocks * 512 >= size / 2) {
        err = ckpt_container_read(&source, &parts);
    }
    if (err == CKPT_OK || err == CKPT_ERR_IO) {
        err = ckpt_plan_make(&parts, size, plan);
    }
    ckpt_parts_clear(&parts);
    return err;
}

static enum ckpt_err run_pipeline(struct ckpt_ingest *in, int fd, const struct ckpt_plan *plan,
                                  const struct ckpt_base *base)
{
    struct ckpt_product product;
    enum ckpt_err err = ckpt_pipeline_start(in->pipeline, fd, in->file_size, plan, base);
    while (err == CKPT_OK) {
        err = ckpt_pipeline_next(in->pipeline, &product);
        if (err == CKPT_OK) {
            err = take_product(in, &product);
            ckpt_pipeline_release(in->pipeline);
        }
    }
    ckpt_pipeline_stop(in->pipeline);
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

static enum ckpt_err take_file(struct ckpt_ingest *in, const struct ckpt_job *job, int fd,
                               const struct stat *st)
{
    struct ckpt_plan plan = {0};
    struct ckpt_base base = {0};
    struct ckpt_origin_info origin = {.has_base = false};
    if (in->file_size == 0) {
        return CKPT_OK;
    }
    enum ckpt_err err = make_plan(fd, st, &plan);
    if (err == CKPT_OK && in->file_size >= BASE_MIN) {
        err = ckpt_ingest_commit(in);
    }
    if (err == CKPT_OK) {
        (void)ckpt_origin_of(in->engine, st, &origin);
        err = ckpt_base_choose(in->store, in->engine->codec, job->dir, job->name,
                               origin.has_base ? &origin.base : NULL, &plan, &base);
        ckpt_origin_release(&origin);
    }
    if (err == CKPT_OK) {
        err = run_pipeline(in, fd, &plan, &base);
    }
    ckpt_base_clear(&base);
    ckpt_plan_clear(&plan);
    return err;
}

static int by_offset(const void *a, const void *b)
{
    const struct ckpt_ingest_place *one = a;
    const struct ckpt_ingest_place *other = b;
    return one->offset < other->offset ? -1 : one->offset > other->offset;
}

/* The chunks came in the order of their first bytes; the file is in the order of all of them. */
static enum ckpt_err complete_recipe(struct ckpt_ingest *in)
{
    enum ckpt_err err = CKPT_OK;
    if (in->places_count > 0) {
        qsort(in->places, in->places_count, sizeof *in->places, by_offset);
    }
    for (size_t i = 0; err == CKPT_OK && i < in->places_count; i++) {
        const struct ckpt_ingest_place *place = &in->places[i];
        assert(place->offset == in->recipe.size);
        err = ckpt_recipe_append(&in->recipe, place->chunk, place->at, place->size);
    }
    assert(err != CKPT_OK || in->recipe.size == in->file_size);
    return err;
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
    enum ckpt_err err = complete_recipe(in);
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

/* The file can't be taken, but the transaction and the files before it are fine: what it has referenced
   so far becomes garbage. Any other error leaves nothing to build on. */
static void give_up_file(struct ckpt_ingest *in, enum ckpt_err why)
{
    in->engine->sweep = true;
    bool only_this_file = why == CKPT_ERR_CHANGED;
    if (!only_this_file || (in->txn != NULL && book(in) != CKPT_OK)) {
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
        err = take_file(in, job, fd, st);
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
        err = take_file(in, job, fd, &st);
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
