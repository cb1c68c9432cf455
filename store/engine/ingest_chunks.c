/*
 * Ingest: chunks. Plans the cuts (container.c, plan.c), chooses what the chunks may be differences from (base.c), and
 * commits what comes out of the pipeline. From what it notes meanwhile comes the recipe.
 */
#include "file/base.h"
#include "file/pipeline.h"
#include "file/plan.h"
#include "format/container.h"
#include "ingest_parts.h"
#include "object/garbage.h"
#include "object/object.h"
#include <ckpt/host.h>
#include <assert.h>
#include <stdlib.h>

enum {
    PAGE_BYTES = 4096, /* of the database: a record fills whole ones */
    /* A file from here on is worth a commit of what stands before it, because only what is committed can be its base. */
    BASE_MIN = 256 << 10,
};

enum ckpt_err ckpt_ingest_book(struct ckpt_ingest *in)
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
        err = ckpt_ingest_book(in);
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

enum ckpt_err ckpt_ingest_take_file(struct ckpt_ingest *in, const struct ckpt_job *job, int fd,
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
enum ckpt_err ckpt_ingest_complete_recipe(struct ckpt_ingest *in)
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
