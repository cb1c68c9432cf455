#include "chunk/chunker.h"
#include "plan.h"
#include <ckpt/id.h>
#include <stdlib.h>
#include <string.h>

enum {
    TARGET = CKPT_CHUNK_TARGET,
    REST_MIN = TARGET / 4,  /* a tensor's last bytes, if fewer, go with the chunk before them */
    SMALL = 64 << 10,       /* tensors below share chunks */
    REGION_MIN = 128 << 10, /* other bytes from here on are a region */
    WIDTHS = 5,             /* a shared chunk has elements of one width: 0, 1, 2, 4, 8 */
};

/* Chunks that are being filled, one for each width of small tensors, and one for the bytes between. */
struct shared {
    struct ckpt_piece *pieces;
    size_t count;
    size_t room;
    uint64_t size;
    uint64_t key;
    uint8_t width;
};

struct planner {
    struct ckpt_plan *plan;
    struct shared tensors[WIDTHS];
    struct shared between;
};

static uint64_t mix(uint64_t key, uint64_t a, uint64_t b)
{
    uint64_t words[] = {key, a, b};
    uint64_t mixed = ckpt_checksum(0, words, sizeof words);
    return mixed == 0 ? 1 : mixed;
}

uint64_t ckpt_plan_region_key(const struct ckpt_step *region, uint64_t index)
{
    return mix(region->key, region->size, index);
}

static enum ckpt_err add_piece(struct ckpt_piece **pieces, size_t *count, size_t *room, uint64_t offset,
                               uint64_t size)
{
    if (*count == *room) {
        size_t more = *room == 0 ? 64 : 2 * *room;
        struct ckpt_piece *grown = realloc(*pieces, more * sizeof *grown);
        if (grown == NULL) {
            return CKPT_ERR_NOMEM;
        }
        *pieces = grown;
        *room = more;
    }
    (*pieces)[(*count)++] = (struct ckpt_piece){.offset = offset, .size = (uint32_t)size};
    return CKPT_OK;
}

static enum ckpt_err add_step(struct ckpt_plan *plan, const struct ckpt_step *step)
{
    if (plan->count == plan->room) {
        size_t room = plan->room == 0 ? 64 : 2 * plan->room;
        struct ckpt_step *steps = realloc(plan->steps, room * sizeof *steps);
        if (steps == NULL) {
            return CKPT_ERR_NOMEM;
        }
        plan->steps = steps;
        plan->room = room;
    }
    plan->steps[plan->count++] = *step;
    return CKPT_OK;
}

/* A large tensor. */
static enum ckpt_err add_tensor(struct planner *p, const struct ckpt_part *part)
{
    enum ckpt_err err = CKPT_OK;
    uint64_t at = 0;
    while (err == CKPT_OK && at < part->size) {
        uint64_t rest = part->size - at;
        uint64_t size = rest < TARGET + REST_MIN ? rest : TARGET;
        struct ckpt_step step = {.offset = part->offset + at,
                                 .size = size,
                                 .key = mix(part->key, at, size),
                                 .first = p->plan->piece_count,
                                 .pieces = 1,
                                 .width = part->width};
        err = add_piece(&p->plan->pieces, &p->plan->piece_count, &p->plan->piece_room, step.offset, size);
        if (err == CKPT_OK) {
            err = add_step(p->plan, &step);
        }
        at += size;
    }
    return err;
}

/* A shared chunk is full, or everything has been seen. */
static enum ckpt_err finish(struct planner *p, struct shared *shared)
{
    enum ckpt_err err = CKPT_OK;
    if (shared->count == 0) {
        return CKPT_OK;
    }
    struct ckpt_step step = {.offset = shared->pieces[0].offset,
                             .size = shared->size,
                             .key = mix(shared->key, shared->size, shared->width),
                             .first = p->plan->piece_count,
                             .pieces = (uint32_t)shared->count,
                             .width = shared->width};
    for (size_t i = 0; err == CKPT_OK && i < shared->count; i++) {
        err = add_piece(&p->plan->pieces, &p->plan->piece_count, &p->plan->piece_room,
                        shared->pieces[i].offset, shared->pieces[i].size);
    }
    shared->count = 0;
    shared->size = 0;
    shared->key = 0;
    return err == CKPT_OK ? add_step(p->plan, &step) : err;
}

static enum ckpt_err share(struct planner *p, struct shared *shared, uint64_t key, uint64_t offset,
                           uint64_t size)
{
    enum ckpt_err err = CKPT_OK;
    if (shared->size + size > TARGET) {
        err = finish(p, shared);
    }
    if (err == CKPT_OK) {
        err = add_piece(&shared->pieces, &shared->count, &shared->room, offset, size);
    }
    shared->size += size;
    shared->key = mix(shared->key, key, size);
    return err;
}

/* Bytes that are no tensor's. */
static enum ckpt_err add_bytes(struct planner *p, uint64_t key, uint64_t offset, uint64_t size)
{
    if (size == 0) {
        return CKPT_OK;
    }
    if (size < REGION_MIN) {
        return share(p, &p->between, key, offset, size);
    }
    struct ckpt_step region = {.offset = offset, .size = size, .key = key};
    return add_step(p->plan, &region);
}

static struct shared *shared_of(struct planner *p, uint8_t width)
{
    unsigned i = width == 8 ? 4 : width == 4 ? 3 : width;
    p->tensors[i].width = width;
    return &p->tensors[i];
}

static int by_offset(const void *a, const void *b)
{
    const struct ckpt_step *one = a;
    const struct ckpt_step *other = b;
    return one->offset < other->offset ? -1 : one->offset > other->offset;
}

static enum ckpt_err add_parts(struct planner *p, const struct ckpt_parts *parts, uint64_t size)
{
    enum ckpt_err err = CKPT_OK;
    uint64_t at = 0;
    for (size_t i = 0; err == CKPT_OK && i < parts->count; i++) {
        const struct ckpt_part *part = &parts->list[i];
        err = add_bytes(p, 0, at, part->offset - at);
        if (err != CKPT_OK) {
            break;
        }
        if (part->kind != CKPT_PART_TENSOR) {
            err = add_bytes(p, part->key, part->offset, part->size);
        } else if (part->size < SMALL) {
            err = share(p, shared_of(p, part->width), part->key, part->offset, part->size);
        } else {
            err = add_tensor(p, part);
        }
        at = part->offset + part->size;
    }
    if (err == CKPT_OK) {
        err = add_bytes(p, 0, at, size - at);
    }
    for (unsigned i = 0; err == CKPT_OK && i < WIDTHS; i++) {
        err = finish(p, &p->tensors[i]);
    }
    return err == CKPT_OK ? finish(p, &p->between) : err;
}

enum ckpt_err ckpt_plan_make(const struct ckpt_parts *parts, uint64_t size, struct ckpt_plan *plan)
{
    struct planner planner = {.plan = plan};
    enum ckpt_err err = CKPT_OK;
    memset(plan, 0, sizeof *plan);
    if (parts->count > 0) {
        err = add_parts(&planner, parts, size);
    } else {
        struct ckpt_step region = {.size = size};
        err = add_step(plan, &region);
    }
    for (unsigned i = 0; i < WIDTHS; i++) {
        free(planner.tensors[i].pieces);
    }
    free(planner.between.pieces);
    if (err != CKPT_OK) {
        ckpt_plan_clear(plan);
        return err;
    }
    /* In the order of the file, which is that of the disk. */
    qsort(plan->steps, plan->count, sizeof *plan->steps, by_offset);
    return CKPT_OK;
}

void ckpt_plan_clear(struct ckpt_plan *plan)
{
    free(plan->steps);
    free(plan->pieces);
    memset(plan, 0, sizeof *plan);
}
