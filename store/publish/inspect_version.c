/*
 * A stored file is read by its recipe, one chunk at a time: what is looked at stands in few chunks, most of all in
 * those of the bytes between tensors, so the last few are kept.
 */
#include "common/bytes.h"
#include "inspect.h"
#include "object/garbage.h"
#include "object/internal.h"
#include <stdlib.h>
#include <string.h>

enum { KEPT = 4 };

/* A decoded chunk. */
struct kept {
    uint8_t *bytes; /* NULL: none */
    uint32_t chunk;
    uint64_t used; /* when it was */
};

struct stored {
    struct ckpt_store *store;
    struct ckpt_codec *codec;
    const struct ckpt_recipe *recipe;
    const char *name;
    struct kept kept[KEPT];
    uint64_t clock;
    enum ckpt_err err; /* of the read that failed */
};

static enum ckpt_err decode(struct stored *stored, uint32_t chunk, uint8_t *bytes)
{
    struct ckpt_txn *txn = NULL;
    const struct ckpt_recipe_chunk *wanted = &stored->recipe->chunks[chunk];
    enum ckpt_err err = ckpt_txn_read(stored->store->db, &txn);
    if (err == CKPT_OK) {
        err = ckpt_object_read(stored->store, stored->codec, txn, &wanted->id, CKPT_KIND_CHUNK, bytes, wanted->size);
    }
    ckpt_txn_abort(txn);
    return err;
}

/* The chunk's bytes, until the next call. */
static enum ckpt_err get(struct stored *stored, uint32_t chunk, const uint8_t **bytes)
{
    struct kept *oldest = &stored->kept[0];
    stored->clock++;
    for (size_t i = 0; i < KEPT; i++) {
        struct kept *kept = &stored->kept[i];
        if (kept->bytes != NULL && kept->chunk == chunk) {
            kept->used = stored->clock;
            *bytes = kept->bytes;
            return CKPT_OK;
        }
        oldest = kept->used < oldest->used ? kept : oldest;
    }
    free(oldest->bytes);
    *oldest = (struct kept){.chunk = chunk, .used = stored->clock};
    oldest->bytes = malloc(stored->recipe->chunks[chunk].size);
    enum ckpt_err err = oldest->bytes != NULL ? decode(stored, chunk, oldest->bytes) : CKPT_ERR_NOMEM;
    if (err != CKPT_OK) {
        free(oldest->bytes);
        *oldest = (struct kept){0};
        return err;
    }
    *bytes = oldest->bytes;
    return CKPT_OK;
}

static int stored_pread(void *arg, void *buf, size_t n, uint64_t offset)
{
    struct stored *stored = arg;
    const struct ckpt_recipe *recipe = stored->recipe;
    uint8_t *out = buf;
    if (offset > recipe->size || n > recipe->size - offset) {
        return -1;
    }
    for (size_t i = n > 0 ? ckpt_recipe_at(recipe, offset) : 0; n > 0; i++) {
        const struct ckpt_extent *extent = &recipe->extents[i];
        uint64_t from = offset - extent->offset;
        size_t some = extent->size - from < n ? (size_t)(extent->size - from) : n;
        const uint8_t *bytes = NULL;
        if (ckpt_extent_is_hole(extent)) {
            memset(out, 0, some);
        } else {
            stored->err = get(stored, extent->chunk, &bytes);
            if (stored->err != CKPT_OK) {
                ckpt_report_chunk(stored->store, stored->name, extent->offset, &recipe->chunks[extent->chunk].id,
                                  stored->err);
                return -1;
            }
            memcpy(out, bytes + extent->at + from, some);
        }
        out += some;
        offset += some;
        n -= some;
    }
    return 0;
}

static enum ckpt_err inspect_stored(struct ckpt_store *store, struct ckpt_codec *codec,
                                    const struct ckpt_recipe *recipe, const char *name, struct ckpt_inspection *out)
{
    struct stored stored = {.store = store, .codec = codec, .recipe = recipe, .name = name};
    struct ckpt_source source = {.pread = stored_pread, .arg = &stored, .size = recipe->size};
    enum ckpt_err err = ckpt_inspect(&source, name, out);
    if (stored.err != CKPT_OK) {
        err = stored.err == CKPT_ERR_NOT_FOUND ? CKPT_ERR_CORRUPT : stored.err;
    }
    for (size_t i = 0; i < KEPT; i++) {
        free(stored.kept[i].bytes);
    }
    return err;
}

static enum ckpt_err load(struct ckpt_store *store, struct ckpt_codec *codec, const struct ckpt_id *id,
                          const char *name, struct ckpt_recipe *recipe)
{
    struct ckpt_txn *txn = NULL;
    enum ckpt_err err = ckpt_txn_read(store->db, &txn);
    if (err == CKPT_OK) {
        err = ckpt_recipe_load(store, codec, txn, id, recipe);
    }
    ckpt_txn_abort(txn);
    if (err == CKPT_ERR_CORRUPT) {
        char hex[CKPT_ID_HEX];
        ckpt_id_hex(id, hex);
        ckpt_reportf(&store->report, CKPT_ERROR, "%s can't be read: its recipe %s is damaged; run: ckpt verify", name,
                     hex);
    }
    return err;
}

enum ckpt_err ckpt_inspect_version(struct ckpt_store *store, struct ckpt_codec *codec, const struct ckpt_id *id,
                                   const char *name, struct ckpt_inspection *out, struct ckpt_id *state,
                                   bool *state_known)
{
    struct ckpt_recipe recipe;
    memset(out, 0, sizeof *out);
    memset(state, 0, sizeof *state);
    *state_known = false;
    ckpt_recipe_init(&recipe);
    /* Pinned before it is looked up: what is found then stays. */
    enum ckpt_err err = ckpt_pin(store, id);
    if (err != CKPT_OK) {
        return err;
    }
    err = load(store, codec, id, name, &recipe);
    if (err == CKPT_OK) {
        err = ckpt_inspect_state(&recipe, state, state_known);
    }
    if (err == CKPT_OK) {
        err = inspect_stored(store, codec, &recipe, name, out);
    }
    ckpt_recipe_clear(&recipe);
    ckpt_unpin(store, id);
    return err;
}

/* ---- The state ---- */

enum { KEY = 8, ROW = KEY + CKPT_ID_SIZE };

static int by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, ROW);
}

/*
 * Of a tensor's chunk the width is known, and of no other: bytes between tensors, other entries and files without tensors
 * have none (plan.h). Its key says which part of which tensor it is, or of which small ones. Neither depends on the name of
 * the file or on where the tensors stand in it.
 */
enum ckpt_err ckpt_inspect_state(const struct ckpt_recipe *recipe, struct ckpt_id *state, bool *known)
{
    size_t count = 0;
    uint8_t *rows = malloc(recipe->chunk_count * ROW + 1);
    if (rows == NULL) {
        return CKPT_ERR_NOMEM;
    }
    for (size_t i = 0; i < recipe->chunk_count; i++) {
        const struct ckpt_recipe_chunk *chunk = &recipe->chunks[i];
        if (chunk->key != 0 && chunk->width != 0) {
            ckpt_put_le64(rows + count * ROW, chunk->key);
            memcpy(rows + count * ROW + KEY, chunk->id.bytes, CKPT_ID_SIZE);
            count++;
        }
    }
    if (count > 0) {
        qsort(rows, count, ROW, by_bytes);
        *state = ckpt_id_of(0, 0, rows, count * ROW);
    }
    *known = count > 0;
    free(rows);
    return CKPT_OK;
}
