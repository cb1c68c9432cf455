#include "common/bytes.h"
#include "container.h"
#include "npy.h"
#include "safetensors.h"
#include "zip.h"
#include <ckpt/id.h>
#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* Keys are compared between versions, so they don't depend on the store: any number, but always the same. */
static const uint64_t key_seed = 0x636b7074706172ff;

bool ckpt_name_is(struct ckpt_name name, const char *text)
{
    return name.size == strlen(text) && memcmp(name.bytes, text, name.size) == 0;
}

/* A hash of what a part is: its kind, type and size (0 for a blob), then its name. */
static uint64_t key_of(uint64_t seed, enum ckpt_part_kind kind, struct ckpt_name type, uint64_t size,
                       struct ckpt_name name)
{
    uint8_t head[48];
    size_t type_size = type.size < 32 ? type.size : 32;
    memset(head, 0, sizeof head);
    head[0] = (uint8_t)kind;
    ckpt_put_le64(head + 8, size);
    if (type_size > 0) {
        memcpy(head + 16, type.bytes, type_size);
    }
    uint64_t key = ckpt_checksum2(seed, head, sizeof head, name.size > 0 ? name.bytes : "", name.size);
    return key != 0 ? key : 1;
}

static uint64_t blob_key(const struct ckpt_range *range, struct ckpt_name name)
{
    return key_of(range->seed, CKPT_PART_BLOB, (struct ckpt_name){"", 0}, 0, name);
}

static bool within(const struct ckpt_range *range, uint64_t at, uint64_t n)
{
    return at <= range->size && n <= range->size - at;
}

enum ckpt_err ckpt_reading_bytes(struct ckpt_reading *reading, const struct ckpt_range *range, uint64_t at,
                                 void *buf, size_t n)
{
    const struct ckpt_source *source = reading->source;
    if (!within(range, at, n)) {
        return CKPT_ERR_CORRUPT;
    }
    uint64_t offset = range->offset + at;
    /* Who is observed may read stored chunks: those of a tensor need not be decoded for the header before it. */
    if (n > CKPT_READING_WINDOW || reading->observer != NULL) {
        return source->pread(source->arg, buf, n, offset) == 0 ? CKPT_OK : CKPT_ERR_IO;
    }
    if (offset < reading->window_at || offset + n > reading->window_at + reading->window_size) {
        /* What follows is often wanted next: a local header's name, and what the entry begins with. */
        uint64_t rest = source->size - offset;
        size_t size = rest < CKPT_READING_WINDOW ? (size_t)rest : CKPT_READING_WINDOW;
        reading->window_size = 0;
        if (source->pread(source->arg, reading->window, size, offset) != 0) {
            return CKPT_ERR_IO;
        }
        reading->window_at = offset;
        reading->window_size = size;
    }
    memcpy(buf, reading->window + (offset - reading->window_at), n);
    return CKPT_OK;
}

static enum ckpt_err add(struct ckpt_parts *parts, const struct ckpt_part *part)
{
    if (part->size == 0) {
        return CKPT_OK;
    }
    if (parts->count == CKPT_PARTS_MAX) {
        return CKPT_ERR_CORRUPT;
    }
    if (parts->count == parts->room) {
        size_t room = parts->room == 0 ? 64 : 2 * parts->room;
        struct ckpt_part *list = realloc(parts->list, room * sizeof *list);
        if (list == NULL) {
            return CKPT_ERR_NOMEM;
        }
        parts->list = list;
        parts->room = room;
    }
    parts->list[parts->count++] = *part;
    return CKPT_OK;
}

enum ckpt_err ckpt_reading_tensor(struct ckpt_reading *reading, const struct ckpt_range *range,
                                  const struct ckpt_found *found)
{
    if (!within(range, found->at, found->size)) {
        return CKPT_ERR_CORRUPT;
    }
    struct ckpt_part part = {
        .offset = range->offset + found->at,
        .size = found->size,
        .key = key_of(range->seed, CKPT_PART_TENSOR, found->type, found->size, found->name),
        .kind = CKPT_PART_TENSOR,
        /* Elements that don't fill it aren't what it holds. */
        .width = found->width != 0 && found->size % found->width == 0 ? found->width : 0,
    };
    return add(reading->parts, &part);
}

enum ckpt_err ckpt_reading_blob(struct ckpt_reading *reading, const struct ckpt_range *range, uint64_t at,
                                uint64_t size, struct ckpt_name name)
{
    if (!within(range, at, size)) {
        return CKPT_ERR_CORRUPT;
    }
    struct ckpt_part part = {
        .offset = range->offset + at,
        .size = size,
        .key = blob_key(range, name),
        .kind = CKPT_PART_BLOB,
    };
    return add(reading->parts, &part);
}

/* Adds the parts of the container that stands in the range. CORRUPT: none does. */
static enum ckpt_err read_range(struct ckpt_reading *reading, const struct ckpt_range *range)
{
    static const uint8_t npy[6] = {0x93, 'N', 'U', 'M', 'P', 'Y'};
    static const uint8_t zip[4] = {'P', 'K', 3, 4};
    uint8_t head[9];
    size_t before = reading->parts->count;
    enum ckpt_err err = ckpt_reading_bytes(reading, range, 0, head, sizeof head);
    if (err != CKPT_OK) {
        return err;
    }
    if (memcmp(head, npy, sizeof npy) == 0) {
        err = ckpt_npy_read(reading, range);
    } else if (head[8] == '{' && ckpt_get_le64(head) < range->size) {
        err = ckpt_safetensors_read(reading, range);
    } else if (memcmp(head, zip, sizeof zip) == 0 || reading->depth == 0) {
        /* A file may begin with something else, as archives that unpack themselves do. */
        err = ckpt_zip_read(reading, range);
    } else {
        err = CKPT_ERR_CORRUPT;
    }
    if (err == CKPT_ERR_CORRUPT) {
        reading->parts->count = before;
    }
    return err;
}

enum ckpt_err ckpt_reading_entry(struct ckpt_reading *reading, const struct ckpt_range *range, uint64_t at,
                                 uint64_t size, struct ckpt_name name)
{
    if (!within(range, at, size)) {
        return CKPT_ERR_CORRUPT;
    }
    if (reading->depth < CKPT_READING_DEPTH) {
        struct ckpt_range entry = {
            .offset = range->offset + at,
            .size = size,
            .seed = blob_key(range, name),
        };
        reading->depth++;
        enum ckpt_err err = read_range(reading, &entry);
        reading->depth--;
        if (err != CKPT_ERR_CORRUPT) {
            return err;
        }
    }
    return ckpt_reading_blob(reading, range, at, size, name);
}

static int by_offset(const void *a, const void *b)
{
    const struct ckpt_part *x = a;
    const struct ckpt_part *y = b;
    if (x->offset != y->offset) {
        return x->offset < y->offset ? -1 : 1;
    }
    return (x->size > y->size) - (x->size < y->size);
}

/* Sorts, and drops what overlaps what stands before it. */
static void settle(struct ckpt_parts *parts)
{
    uint64_t end = 0;
    size_t kept = 0;
    if (parts->count > 0) {
        qsort(parts->list, parts->count, sizeof *parts->list, by_offset);
    }
    for (size_t i = 0; i < parts->count; i++) {
        if (parts->list[i].offset >= end) {
            end = parts->list[i].offset + parts->list[i].size;
            parts->list[kept++] = parts->list[i];
        }
    }
    parts->count = kept;
}

enum ckpt_err ckpt_container_read(const struct ckpt_source *source, struct ckpt_parts *parts)
{
    struct ckpt_reading reading = {.source = source, .parts = parts};
    struct ckpt_range all = {.offset = 0, .size = source->size, .seed = key_seed};
    parts->count = 0;
    enum ckpt_err err = read_range(&reading, &all);
    assert(reading.depth == 0);
    if (err != CKPT_OK) {
        parts->count = 0;
        return err == CKPT_ERR_CORRUPT ? CKPT_OK : err;
    }
    settle(parts);
    return CKPT_OK;
}

enum ckpt_err ckpt_container_observe(const struct ckpt_source *source, const struct ckpt_observer *observer)
{
    struct ckpt_parts parts = {0};
    struct ckpt_reading reading = {.source = source, .parts = &parts, .observer = observer};
    struct ckpt_range all = {.offset = 0, .size = source->size, .seed = key_seed};
    enum ckpt_err err = read_range(&reading, &all);
    ckpt_parts_clear(&parts);
    return err;
}

void ckpt_parts_clear(struct ckpt_parts *parts)
{
    free(parts->list);
    memset(parts, 0, sizeof *parts);
}
