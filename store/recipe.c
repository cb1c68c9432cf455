/*
 * A recipe's raw bytes (FORMAT.md):
 *
 * offset  size  field
 *      0     4  magic "CKR1"
 *      4     4  reserved, zero
 *      8     8  size of the file
 *     16     8  number of extents
 *     24    24  each: id (16), then bits 0..62 length, bit 63 set for a hole
 */
#include "recipe.h"
#include "bytes.h"
#include "internal.h"
#include <stdlib.h>
#include <string.h>

enum { HEADER = 24, EXTENT = 24, EXTENT_LENGTH = 16 };
static const char magic[4] = "CKR1";
static const uint64_t hole_bit = UINT64_C(1) << 63;

void ckpt_recipe_init(struct ckpt_recipe *recipe)
{
    memset(recipe, 0, sizeof *recipe);
}

void ckpt_recipe_clear(struct ckpt_recipe *recipe)
{
    free(recipe->extents);
    ckpt_recipe_init(recipe);
}

bool ckpt_extent_is_hole(const struct ckpt_extent *extent)
{
    return ckpt_id_is_zero(&extent->id);
}

enum ckpt_err ckpt_recipe_append(struct ckpt_recipe *recipe, const struct ckpt_id *id, uint64_t size)
{
    if (size == 0 || size >= hole_bit - recipe->size) {
        return CKPT_ERR_INVALID;
    }
    if (id == NULL && recipe->count > 0 &&
        ckpt_extent_is_hole(&recipe->extents[recipe->count - 1])) {
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
    struct ckpt_extent *extent = &recipe->extents[recipe->count++];
    memset(extent, 0, sizeof *extent);
    if (id != NULL) {
        extent->id = *id;
    }
    extent->offset = recipe->size;
    extent->size = size;
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
    size_t n = HEADER + recipe->count * EXTENT;
    if (n > UINT32_MAX) {
        return CKPT_ERR_INVALID;
    }
    uint8_t *bytes = calloc(1, n);
    if (bytes == NULL) {
        return CKPT_ERR_NOMEM;
    }
    memcpy(bytes, magic, sizeof magic);
    ckpt_put_le64(bytes + 8, recipe->size);
    ckpt_put_le64(bytes + 16, recipe->count);
    uint8_t *at = bytes + HEADER;
    for (size_t i = 0; i < recipe->count; i++, at += EXTENT) {
        const struct ckpt_extent *extent = &recipe->extents[i];
        memcpy(at, extent->id.bytes, CKPT_ID_SIZE);
        ckpt_put_le64(at + EXTENT_LENGTH,
                      extent->size | (ckpt_extent_is_hole(extent) ? hole_bit : 0));
    }
    *out = bytes;
    *size = n;
    return CKPT_OK;
}

/* One extent of hostile bytes. */
static enum ckpt_err decode_extent(const uint8_t *at, struct ckpt_recipe *recipe)
{
    struct ckpt_id id;
    memcpy(id.bytes, at, CKPT_ID_SIZE);
    uint64_t word = ckpt_get_le64(at + EXTENT_LENGTH);
    uint64_t length = word & ~hole_bit;
    bool hole = (word & hole_bit) != 0;
    bool after_hole =
        recipe->count > 0 && ckpt_extent_is_hole(&recipe->extents[recipe->count - 1]);
    if (hole != ckpt_id_is_zero(&id) || (hole && after_hole) ||
        (!hole && length > CKPT_CHUNK_RAW_MAX)) {
        return CKPT_ERR_CORRUPT;
    }
    enum ckpt_err err = ckpt_recipe_append(recipe, hole ? NULL : &id, length);
    return err == CKPT_ERR_INVALID ? CKPT_ERR_CORRUPT : err;
}

enum ckpt_err ckpt_recipe_decode(const void *bytes, size_t size, struct ckpt_recipe *recipe)
{
    const uint8_t *at = bytes;
    struct ckpt_recipe found;
    ckpt_recipe_init(&found);
    if (size < HEADER || (size - HEADER) % EXTENT != 0 || memcmp(at, magic, sizeof magic) != 0 ||
        ckpt_get_le32(at + 4) != 0 || ckpt_get_le64(at + 16) != (size - HEADER) / EXTENT) {
        return CKPT_ERR_CORRUPT;
    }
    enum ckpt_err err = CKPT_OK;
    for (size_t i = HEADER; err == CKPT_OK && i < size; i += EXTENT) {
        err = decode_extent(at + i, &found);
    }
    if (err == CKPT_OK && found.size != ckpt_get_le64(at + 8)) {
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
