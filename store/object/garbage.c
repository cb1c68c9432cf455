#include "common/bytes.h"
#include "garbage.h"
#include "internal.h"
#include "object.h"
#include "recipe.h"
#include <stdlib.h>
#include <string.h>
#define HASH_NONFATAL_OOM 1 /* then an element that could not be added has no hh.tbl */
#include <uthash.h>

/* A row: key u64 big-endian; value the recipe's id (zero for none), then the ids (FORMAT.md). */
enum { KEY_SIZE = 8 };
static const char last_key[] = "garbage";

/* ---- pins ---- */

struct ckpt_pins {
    struct ckpt_id recipe;
    unsigned count;
    UT_hash_handle hh;
};

enum ckpt_err ckpt_pin(struct ckpt_store *store, const struct ckpt_id *recipe)
{
    struct ckpt_pins *pin = NULL;
    enum ckpt_err err = CKPT_OK;
    pthread_mutex_lock(&store->pins_lock);
    HASH_FIND(hh, store->pins, recipe, sizeof *recipe, pin);
    if (pin == NULL && (pin = calloc(1, sizeof *pin)) != NULL) {
        pin->recipe = *recipe;
        HASH_ADD(hh, store->pins, recipe, sizeof pin->recipe, pin);
        if (pin->hh.tbl == NULL) {
            free(pin);
            pin = NULL;
        }
    }
    if (pin == NULL) {
        err = CKPT_ERR_NOMEM;
    } else {
        pin->count++;
    }
    pthread_mutex_unlock(&store->pins_lock);
    return err;
}

void ckpt_unpin(struct ckpt_store *store, const struct ckpt_id *recipe)
{
    struct ckpt_pins *pin = NULL;
    pthread_mutex_lock(&store->pins_lock);
    HASH_FIND(hh, store->pins, recipe, sizeof *recipe, pin);
    if (pin != NULL && --pin->count == 0) {
        HASH_DEL(store->pins, pin);
        free(pin);
    }
    pthread_mutex_unlock(&store->pins_lock);
}

void ckpt_pins_free(struct ckpt_pins *pins)
{
    struct ckpt_pins *pin = pins;
    HASH_CLEAR(hh, pins);
    while (pin != NULL) {
        struct ckpt_pins *next = pin->hh.next;
        free(pin);
        pin = next;
    }
}

bool ckpt_is_pinned(struct ckpt_store *store, const struct ckpt_id *recipe)
{
    struct ckpt_pins *pin = NULL;
    pthread_mutex_lock(&store->pins_lock);
    HASH_FIND(hh, store->pins, recipe, sizeof *recipe, pin);
    pthread_mutex_unlock(&store->pins_lock);
    return pin != NULL;
}

/* ---- rows ---- */

enum ckpt_err ckpt_garbage_add(struct ckpt_txn *txn, const struct ckpt_id *recipe,
                               const struct ckpt_id *ids, size_t n, uint64_t *key)
{
    uint8_t key_bytes[KEY_SIZE];
    size_t size = (n + 1) * CKPT_ID_SIZE;
    if (n > CKPT_GARBAGE_ROW) {
        return CKPT_ERR_INVALID;
    }
    uint8_t *value = calloc(1, size);
    if (value == NULL) {
        return CKPT_ERR_NOMEM;
    }
    if (recipe != NULL) {
        memcpy(value, recipe->bytes, CKPT_ID_SIZE);
    }
    memcpy(value + CKPT_ID_SIZE, ids, n * CKPT_ID_SIZE);
    enum ckpt_err err = ckpt_meta_next(txn, last_key, key);
    if (err == CKPT_OK) {
        ckpt_put_be64(key_bytes, *key);
        err = ckpt_db_insert(txn, CKPT_TABLE_GARBAGE, key_bytes, sizeof key_bytes, value, size);
    }
    free(value);
    return err;
}

enum ckpt_err ckpt_garbage_del(struct ckpt_txn *txn, uint64_t key)
{
    uint8_t key_bytes[KEY_SIZE];
    ckpt_put_be64(key_bytes, key);
    return ckpt_db_del(txn, CKPT_TABLE_GARBAGE, key_bytes, sizeof key_bytes);
}

enum ckpt_err ckpt_garbage_shrink(struct ckpt_txn *txn, uint64_t key, const void *row, size_t size)
{
    uint8_t key_bytes[KEY_SIZE];
    ckpt_put_be64(key_bytes, key);
    return ckpt_db_put(txn, CKPT_TABLE_GARBAGE, key_bytes, sizeof key_bytes, row, size);
}

enum ckpt_err ckpt_garbage_parse(const struct ckpt_slice *key, const struct ckpt_slice *value,
                                 struct ckpt_garbage *out)
{
    const uint8_t *row = value->data;
    if (key->size != KEY_SIZE || value->size < CKPT_ID_SIZE || value->size % CKPT_ID_SIZE != 0 ||
        value->size / CKPT_ID_SIZE - 1 > CKPT_GARBAGE_ROW) {
        return CKPT_ERR_CORRUPT;
    }
    out->key = ckpt_get_be64(key->data);
    memcpy(out->recipe.bytes, row, CKPT_ID_SIZE);
    out->ids = row + CKPT_ID_SIZE;
    out->n = value->size / CKPT_ID_SIZE - 1;
    return CKPT_OK;
}

/* All chunks of a recipe as garbage rows. */
static enum ckpt_err discard_chunks(struct ckpt_txn *txn, const struct ckpt_recipe *recipe)
{
    struct ckpt_id *ids = malloc(CKPT_GARBAGE_ROW * sizeof *ids);
    if (ids == NULL) {
        return CKPT_ERR_NOMEM;
    }
    enum ckpt_err err = CKPT_OK;
    uint64_t key = 0;
    size_t n = 0;
    for (size_t i = 0; err == CKPT_OK && i < recipe->chunk_count; i++) {
        ids[n++] = recipe->chunks[i].id;
        if (n == CKPT_GARBAGE_ROW) {
            err = ckpt_garbage_add(txn, &recipe->id, ids, n, &key);
            n = 0;
        }
    }
    if (err == CKPT_OK && n > 0) {
        err = ckpt_garbage_add(txn, &recipe->id, ids, n, &key);
    }
    free(ids);
    return err;
}

enum ckpt_err ckpt_recipe_unref(struct ckpt_store *store, struct ckpt_codec *codec,
                                struct ckpt_txn *txn, const struct ckpt_id *recipe)
{
    struct ckpt_refs refs;
    struct ckpt_recipe content;
    bool gone = false;
    ckpt_recipe_init(&content);
    enum ckpt_err err = ckpt_object_refs(txn, recipe, &refs);
    if (err == CKPT_OK && refs.kind != CKPT_KIND_RECIPE) {
        err = CKPT_ERR_CORRUPT;
    }
    if (err == CKPT_OK && refs.count == 1) {
        err = ckpt_recipe_load(store, codec, txn, recipe, &content);
        if (err == CKPT_OK) {
            err = discard_chunks(txn, &content);
        }
    }
    if (err == CKPT_OK) {
        err = ckpt_object_unref(txn, recipe, &gone);
    }
    ckpt_recipe_clear(&content);
    return err;
}
