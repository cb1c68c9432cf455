/*
 * A recipe's raw bytes (FORMAT.md):
 *
 * offset  size  field
 *      0     4  magic "CKR2"
 *      4     4  number of chunks
 *      8     8  size of the file
 *     16     8  number of extents
 *     24    32  each chunk: id (16), length (4), width (1), reserved (3), key (8)
 *           16  each extent: length (8), chunk (4; all ones for a hole), offset in the chunk (4)
 *
 * Version 1 of the format, which is still read:
 *
 *      0     4  magic "CKR1"
 *      4     4  reserved, zero
 *      8     8  size of the file
 *     16     8  number of extents
 *     24    24  each: id (16), then bits 0..62 length, bit 63 set for a hole
 */
#include "common/bytes.h"
#include "internal.h"
#include "recipe.h"
#include <stdlib.h>
#include <string.h>

enum {
    HEADER = 24,
    CHUNK = 32,
    CHUNK_SIZE = 16,
    CHUNK_WIDTH = 20,
    CHUNK_KEY = 24,
    EXTENT = 16,
    EXTENT_CHUNK = 8,
    EXTENT_AT = 12,
};
static const char magic[4] = "CKR2";

enum { OLD_EXTENT = 24, OLD_LENGTH = 16 };
static const char old_magic[4] = "CKR1";
static const uint64_t old_hole = UINT64_C(1) << 63;

void ckpt_recipe_init(struct ckpt_recipe *recipe)
{
    memset(recipe, 0, sizeof *recipe);
}

void ckpt_recipe_clear(struct ckpt_recipe *recipe)
{
    free(recipe->chunks);
    free(recipe->extents);
    ckpt_recipe_init(recipe);
}

bool ckpt_extent_is_hole(const struct ckpt_extent *extent)
{
    return extent->chunk == CKPT_HOLE;
}

enum ckpt_err ckpt_recipe_add(struct ckpt_recipe *recipe, const struct ckpt_recipe_chunk *chunk)
{
    bool width_ok = chunk->width <= 2 || chunk->width == 4 || chunk->width == 8;
    if (chunk->size == 0 || chunk->size > CKPT_CHUNK_RAW_MAX || !width_ok ||
        ckpt_id_is_zero(&chunk->id) || recipe->chunk_count == CKPT_HOLE) {
        return CKPT_ERR_INVALID;
    }
    if (recipe->chunk_count == recipe->chunk_room) {
        size_t room = recipe->chunk_room == 0 ? 64 : 2 * recipe->chunk_room;
        struct ckpt_recipe_chunk *chunks = realloc(recipe->chunks, room * sizeof *chunks);
        if (chunks == NULL) {
            return CKPT_ERR_NOMEM;
        }
        recipe->chunks = chunks;
        recipe->chunk_room = room;
    }
    recipe->chunks[recipe->chunk_count++] = *chunk;
    return CKPT_OK;
}

enum ckpt_err ckpt_recipe_append(struct ckpt_recipe *recipe, uint32_t chunk, uint32_t at, uint64_t size)
{
    bool hole = chunk == CKPT_HOLE;
    if (size == 0 || size > (uint64_t)INT64_MAX - recipe->size ||
        (hole ? at != 0
              : chunk >= recipe->chunk_count || at > recipe->chunks[chunk].size ||
                    size > recipe->chunks[chunk].size - at)) {
        return CKPT_ERR_INVALID;
    }
    if (hole && recipe->count > 0 && ckpt_extent_is_hole(&recipe->extents[recipe->count - 1])) {
        recipe->extents[recipe->count - 1].size += size;
        recipe->size += size;
        return CKPT_OK;
    }
    if (recipe->count == recipe->room) {
        size_t room = recipe->room == 0 ? 64 : 2 * recipe->room;
        struct ckpt_extent *extents = realloc(recipe->extents, room * sizeof *extents);
        if (extents == NULL) {
            return CKPT_ERR_NOMEM;
        }
        recipe->extents = extents;
        recipe->room = room;
    }
    recipe->extents[recipe->count++] =
        (struct ckpt_extent){.offset = recipe->size, .size = size, .chunk = chunk, .at = at};
    recipe->size += size;
    return CKPT_OK;
}

size_t ckpt_recipe_at(const struct ckpt_recipe *recipe, uint64_t offset)
{
    size_t low = 0;
    size_t high = recipe->count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (recipe->extents[middle].offset <= offset) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return low;
}

enum ckpt_err ckpt_recipe_encode(const struct ckpt_recipe *recipe, uint8_t **out, size_t *size)
{
    size_t n = HEADER + recipe->chunk_count * CHUNK + recipe->count * EXTENT;
    if (n > UINT32_MAX) {
        return CKPT_ERR_INVALID;
    }
    uint8_t *bytes = calloc(1, n);
    if (bytes == NULL) {
        return CKPT_ERR_NOMEM;
    }
    memcpy(bytes, magic, sizeof magic);
    ckpt_put_le32(bytes + 4, (uint32_t)recipe->chunk_count);
    ckpt_put_le64(bytes + 8, recipe->size);
    ckpt_put_le64(bytes + 16, recipe->count);
    uint8_t *at = bytes + HEADER;
    for (size_t i = 0; i < recipe->chunk_count; i++, at += CHUNK) {
        const struct ckpt_recipe_chunk *chunk = &recipe->chunks[i];
        memcpy(at, chunk->id.bytes, CKPT_ID_SIZE);
        ckpt_put_le32(at + CHUNK_SIZE, chunk->size);
        at[CHUNK_WIDTH] = chunk->width;
        ckpt_put_le64(at + CHUNK_KEY, chunk->key);
    }
    for (size_t i = 0; i < recipe->count; i++, at += EXTENT) {
        const struct ckpt_extent *extent = &recipe->extents[i];
        ckpt_put_le64(at, extent->size);
        ckpt_put_le32(at + EXTENT_CHUNK, extent->chunk);
        ckpt_put_le32(at + EXTENT_AT, extent->at);
    }
    *out = bytes;
    *size = n;
    return CKPT_OK;
}

/* One chunk of hostile bytes. */
static enum ckpt_err decode_chunk(const uint8_t *at, struct ckpt_recipe *recipe)
{
    struct ckpt_recipe_chunk chunk = {.size = ckpt_get_le32(at + CHUNK_SIZE),
                                      .width = at[CHUNK_WIDTH],
                                      .key = ckpt_get_le64(at + CHUNK_KEY)};
    memcpy(chunk.id.bytes, at, CKPT_ID_SIZE);
    if (at[CHUNK_WIDTH + 1] != 0 || at[CHUNK_WIDTH + 2] != 0 || at[CHUNK_WIDTH + 3] != 0) {
        return CKPT_ERR_CORRUPT;
    }
    enum ckpt_err err = ckpt_recipe_add(recipe, &chunk);
    return err == CKPT_ERR_INVALID ? CKPT_ERR_CORRUPT : err;
}

static enum ckpt_err decode_extent(const uint8_t *at, struct ckpt_recipe *recipe)
{
    uint32_t chunk = ckpt_get_le32(at + EXTENT_CHUNK);
    bool after_hole = recipe->count > 0 && ckpt_extent_is_hole(&recipe->extents[recipe->count - 1]);
    if (chunk == CKPT_HOLE && after_hole) {
        return CKPT_ERR_CORRUPT;
    }
    enum ckpt_err err =
        ckpt_recipe_append(recipe, chunk, ckpt_get_le32(at + EXTENT_AT), ckpt_get_le64(at));
    return err == CKPT_ERR_INVALID ? CKPT_ERR_CORRUPT : err;
}

static enum ckpt_err decode_tables(const uint8_t *start, size_t size, struct ckpt_recipe *recipe)
{
    uint64_t chunks = ckpt_get_le32(start + 4);
    uint64_t extents = ckpt_get_le64(start + 16);
    size_t rest = size - HEADER;
    if (chunks > rest / CHUNK || extents != (rest - chunks * CHUNK) / EXTENT ||
        (rest - chunks * CHUNK) % EXTENT != 0) {
        return CKPT_ERR_CORRUPT;
    }
    enum ckpt_err err = CKPT_OK;
    const uint8_t *at = start + HEADER;
    for (uint64_t i = 0; err == CKPT_OK && i < chunks; i++, at += CHUNK) {
        err = decode_chunk(at, recipe);
    }
    for (uint64_t i = 0; err == CKPT_OK && i < extents; i++, at += EXTENT) {
        err = decode_extent(at, recipe);
    }
    return err;
}

/* A whole chunk of its own, or a hole. */
static enum ckpt_err decode_old_extent(const uint8_t *at, struct ckpt_recipe *recipe)
{
    uint64_t word = ckpt_get_le64(at + OLD_LENGTH);
    uint64_t length = word & ~old_hole;
    struct ckpt_recipe_chunk chunk = {.size = (uint32_t)length};
    memcpy(chunk.id.bytes, at, CKPT_ID_SIZE);
    bool hole = (word & old_hole) != 0;
    bool after_hole = recipe->count > 0 && ckpt_extent_is_hole(&recipe->extents[recipe->count - 1]);
    if (hole != ckpt_id_is_zero(&chunk.id) || (hole && after_hole) ||
        (!hole && length > CKPT_CHUNK_RAW_MAX)) {
        return CKPT_ERR_CORRUPT;
    }
    uint32_t index = hole ? CKPT_HOLE : (uint32_t)recipe->chunk_count;
    enum ckpt_err err = hole ? CKPT_OK : ckpt_recipe_add(recipe, &chunk);
    if (err == CKPT_OK) {
        err = ckpt_recipe_append(recipe, index, 0, length);
    }
    return err == CKPT_ERR_INVALID ? CKPT_ERR_CORRUPT : err;
}

static enum ckpt_err decode_old(const uint8_t *start, size_t size, struct ckpt_recipe *recipe)
{
    enum ckpt_err err = CKPT_OK;
    if ((size - HEADER) % OLD_EXTENT != 0 || ckpt_get_le32(start + 4) != 0 ||
        ckpt_get_le64(start + 16) != (size - HEADER) / OLD_EXTENT) {
        return CKPT_ERR_CORRUPT;
    }
    for (size_t at = HEADER; err == CKPT_OK && at < size; at += OLD_EXTENT) {
        err = decode_old_extent(start + at, recipe);
    }
    return err;
}

enum ckpt_err ckpt_recipe_decode(const void *bytes, size_t size, struct ckpt_recipe *recipe)
{
    const uint8_t *start = bytes;
    struct ckpt_recipe found;
    enum ckpt_err err = CKPT_ERR_CORRUPT;
    ckpt_recipe_init(&found);
    if (size >= HEADER && memcmp(start, magic, sizeof magic) == 0) {
        err = decode_tables(start, size, &found);
    } else if (size >= HEADER && memcmp(start, old_magic, sizeof old_magic) == 0) {
        err = decode_old(start, size, &found);
    }
    if (err == CKPT_OK && found.size != ckpt_get_le64(start + 8)) {
        err = CKPT_ERR_CORRUPT;
    }
    if (err != CKPT_OK) {
        ckpt_recipe_clear(&found);
        return err;
    }
    *recipe = found;
    return CKPT_OK;
}

enum ckpt_err ckpt_recipe_load(struct ckpt_store *store, struct ckpt_codec *codec,
                               struct ckpt_txn *txn, const struct ckpt_id *id,
                               struct ckpt_recipe *recipe)
{
    struct ckpt_refs refs;
    enum ckpt_err err = ckpt_object_refs(txn, id, &refs);
    if (err != CKPT_OK) {
        return err;
    }
    uint8_t *bytes = malloc(refs.raw_size > 0 ? refs.raw_size : 1);
    if (bytes == NULL) {
        return CKPT_ERR_NOMEM;
    }
    err = ckpt_object_read(store, codec, txn, id, CKPT_KIND_RECIPE, bytes, refs.raw_size);
    if (err == CKPT_OK) {
        err = ckpt_recipe_decode(bytes, refs.raw_size, recipe);
    }
    if (err == CKPT_OK) {
        recipe->id = *id;
    }
    free(bytes);
    return err;
}
