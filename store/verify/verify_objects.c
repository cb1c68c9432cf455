/*
 * Verify: the objects, the recipes' content, and exact reference counts.
 */
#include "catalog/catalog_txn.h"
#include "object/garbage.h"
#include "object/internal.h"
#include "object/object.h"
#include "verify_parts.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- objects ---- */

/* Among the first N, which are in order. */
static struct ckpt_verify_object *find_among(struct ckpt_verify *v, const struct ckpt_id *id,
                                             size_t n)
{
    size_t low = 0;
    size_t high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = memcmp(&v->objects[middle].id, id, sizeof *id);
        if (order == 0) {
            return &v->objects[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

struct ckpt_verify_object *ckpt_verify_find(struct ckpt_verify *v, const struct ckpt_id *id)
{
    return find_among(v, id, v->count);
}

static enum ckpt_err append(struct ckpt_verify *v, const struct ckpt_verify_object *object)
{
    if (v->count == v->room) {
        size_t room = v->room == 0 ? 1024 : 2 * v->room;
        struct ckpt_verify_object *objects = realloc(v->objects, room * sizeof *objects);
        if (objects == NULL) {
            return CKPT_ERR_NOMEM;
        }
        v->objects = objects;
        v->room = room;
    }
    v->objects[v->count++] = *object;
    return CKPT_OK;
}

static enum ckpt_err refs_row(void *arg, const struct ckpt_slice *key,
                              const struct ckpt_slice *value)
{
    struct ckpt_verify *v = arg;
    struct ckpt_verify_object object = {.has_refs = true};
    struct ckpt_refs refs;
    char hex[CKPT_ID_HEX];
    (void)value;
    if (key->size != CKPT_ID_SIZE) {
        ckpt_verify_problem(v, "refs: a key of %zu bytes", key->size);
        return CKPT_OK;
    }
    memcpy(object.id.bytes, key->data, CKPT_ID_SIZE);
    if (ckpt_object_refs(v->txn, &object.id, &refs) != CKPT_OK) {
        ckpt_id_hex(&object.id, hex);
        ckpt_verify_problem(v, "object %s: its reference count is damaged", hex);
        object.has_refs = false;
    } else {
        object.booked = refs.count;
        object.raw_size = refs.raw_size;
        object.record_size = refs.record_size;
        object.kind = refs.kind;
        object.coding = refs.coding;
        object.previous = refs.previous;
        v->linked += !ckpt_id_is_zero(&refs.previous);
        object.is_recipe = refs.kind == CKPT_KIND_RECIPE;
    }
    return append(v, &object);
}

/* Nothing is booked for it that could be believed: its record's header has to tell. */
static void believe_record(struct ckpt_verify *v, struct ckpt_verify_object *object,
                           const struct ckpt_slice *value)
{
    struct ckpt_record record;
    object->record_size = (uint32_t)value->size;
    if (ckpt_record_parse(v->store->seed, value->data, value->size, &record) == CKPT_OK) {
        object->raw_size = record.raw_size;
        object->kind = record.kind;
        object->is_recipe = record.kind == CKPT_KIND_RECIPE;
    }
}

/* Looks at no byte of the record if there is a refs row. */
static enum ckpt_err object_row(void *arg, const struct ckpt_slice *key,
                                const struct ckpt_slice *value)
{
    struct ckpt_verify *v = arg;
    struct ckpt_verify_object missing = {.has_record = true};
    char hex[CKPT_ID_HEX];
    if (key->size != CKPT_ID_SIZE) {
        ckpt_verify_problem(v, "objects: a key of %zu bytes", key->size);
        return CKPT_OK;
    }
    v->result.objects++;
    memcpy(missing.id.bytes, key->data, CKPT_ID_SIZE);
    ckpt_id_hex(&missing.id, hex);
    struct ckpt_verify_object *object = find_among(v, &missing.id, v->with_refs);
    if (object == NULL) {
        ckpt_verify_problem(v, "object %s has no reference count", hex);
        believe_record(v, &missing, value);
        return append(v, &missing);
    }
    object->has_record = true;
    if (!object->has_refs) {
        believe_record(v, object, value);
    } else if (object->record_size != value->size) {
        ckpt_verify_problem(v, "object %s: its record has %zu bytes, booked are %" PRIu32, hex,
                            value->size, object->record_size);
    }
    return CKPT_OK;
}

static int by_id(const void *a, const void *b)
{
    const struct ckpt_verify_object *one = a;
    const struct ckpt_verify_object *other = b;
    return memcmp(&one->id, &other->id, sizeof one->id);
}

static enum ckpt_err load_objects(struct ckpt_verify *v)
{
    enum ckpt_err err = ckpt_verify_each(v, CKPT_TABLE_REFS, refs_row, v);
    v->with_refs = v->count;
    if (err == CKPT_OK) {
        err = ckpt_verify_each(v, CKPT_TABLE_OBJECTS, object_row, v);
    }
    if (v->count > 0) {
        qsort(v->objects, v->count, sizeof *v->objects, by_id);
    }
    for (size_t i = 0; i < v->count; i++) {
        const struct ckpt_verify_object *object = &v->objects[i];
        char hex[CKPT_ID_HEX];
        v->counted.objects++;
        v->counted.unique += object->raw_size;
        v->counted.stored += object->record_size;
        if (!object->has_record) {
            ckpt_id_hex(&object->id, hex);
            ckpt_verify_bad(v, &object->id, "%s %s: not found",
                            object->is_recipe ? "recipe" : "chunk", hex);
            v->incomplete |= object->is_recipe;
        }
    }
    return err;
}

/* ---- references ---- */

static enum ckpt_err version_reference(void *arg, const struct ckpt_slice *key,
                                       const struct ckpt_slice *value)
{
    struct ckpt_verify *v = arg;
    struct ckpt_version version;
    v->result.versions++;
    v->counted.versions++;
    if (ckpt_version_parse(key, value, &version) != CKPT_OK) {
        ckpt_verify_problem(
            v,
            "versions: a row of %zu bytes with a key of %zu is damaged; whose it is "
            "can't be told",
            value->size, key->size);
        v->incomplete = true;
        v->has_counters = false; /* the sum of the sizes can't be told either */
        return CKPT_OK;
    }
    v->counted.logical += version.size;
    struct ckpt_verify_object *recipe = ckpt_verify_find(v, &version.recipe);
    if (recipe == NULL) {
        char hex[CKPT_ID_HEX];
        ckpt_id_hex(&version.recipe, hex);
        ckpt_verify_bad(v, &version.recipe, "recipe %s: not found", hex);
        v->incomplete = true;
        return CKPT_OK;
    }
    recipe->found++;
    recipe->used = true;
    recipe->is_recipe = true;
    return CKPT_OK;
}

static enum ckpt_err garbage_row(void *arg, const struct ckpt_slice *key,
                                 const struct ckpt_slice *value)
{
    struct ckpt_verify *v = arg;
    struct ckpt_garbage garbage;
    if (ckpt_garbage_parse(key, value, &garbage) != CKPT_OK) {
        ckpt_verify_problem(v, "garbage: a row of %zu bytes with a key of %zu is damaged",
                            value->size, key->size);
        v->incomplete = true;
        return CKPT_OK;
    }
    if (garbage.key > v->last_garbage) {
        ckpt_verify_problem(
            v, "meta: the last garbage row given out is %" PRIu64 ", and there is %" PRIu64,
            v->last_garbage, garbage.key);
    }
    for (size_t i = 0; i < garbage.n; i++) {
        struct ckpt_id id;
        char hex[CKPT_ID_HEX];
        memcpy(id.bytes, garbage.ids + i * CKPT_ID_SIZE, CKPT_ID_SIZE);
        struct ckpt_verify_object *object = ckpt_verify_find(v, &id);
        if (object != NULL) {
            object->found++;
            continue;
        }
        ckpt_id_hex(&id, hex);
        ckpt_verify_problem(v, "garbage row %" PRIu64 " is to release object %s, which isn't there",
                            garbage.key, hex);
    }
    return CKPT_OK;
}

enum ckpt_err ckpt_verify_recipe(struct ckpt_verify *v, const struct ckpt_id *id,
                                 struct ckpt_record *record, struct ckpt_recipe *recipe)
{
    struct ckpt_slice value;
    enum ckpt_err err = ckpt_db_get(v->txn, CKPT_TABLE_OBJECTS, id->bytes, CKPT_ID_SIZE, &value);
    if (err == CKPT_OK) {
        err = ckpt_record_parse(v->store->seed, value.data, value.size, record);
    }
    if (err == CKPT_OK && (!ckpt_id_equal(&record->id, id) || record->kind != CKPT_KIND_RECIPE)) {
        err = CKPT_ERR_CORRUPT;
    }
    if (err != CKPT_OK) {
        return err;
    }
    uint8_t *raw = malloc(record->raw_size);
    if (raw == NULL) {
        return CKPT_ERR_NOMEM;
    }
    err = ckpt_record_decode(v->codec, v->store->seed, record, NULL, raw);
    if (err == CKPT_OK) {
        err = ckpt_recipe_decode(raw, record->raw_size, recipe);
    }
    free(raw);
    return err;
}

/* One of its chunks, with one more reference found. */
static void chunk_reference(struct ckpt_verify *v, const char *recipe_hex, const struct ckpt_id *recipe,
                            const struct ckpt_recipe_chunk *named)
{
    char hex[CKPT_ID_HEX];
    struct ckpt_verify_object *chunk = ckpt_verify_find(v, &named->id);
    ckpt_id_hex(&named->id, hex);
    if (chunk == NULL) {
        ckpt_verify_bad(v, &named->id, "chunk %s: not found", hex);
        return;
    }
    chunk->found++;
    chunk->used = true;
    if (chunk->is_recipe) {
        ckpt_verify_bad(v, recipe, "recipe %s has another recipe, %s, for a chunk", recipe_hex, hex);
    } else if (chunk->raw_size != 0 && chunk->raw_size != named->size) {
        ckpt_verify_bad(v, recipe,
                        "recipe %s has %" PRIu32 " bytes for chunk %s, which has %" PRIu32, recipe_hex,
                        named->size, hex, chunk->raw_size);
    }
}

static enum ckpt_err check_recipe(struct ckpt_verify *v, struct ckpt_verify_object *object)
{
    struct ckpt_recipe recipe;
    struct ckpt_record record;
    char hex[CKPT_ID_HEX];
    ckpt_recipe_init(&recipe);
    ckpt_id_hex(&object->id, hex);
    enum ckpt_err err = ckpt_verify_recipe(v, &object->id, &record, &recipe);
    if (err == CKPT_ERR_NOMEM) {
        return err;
    }
    v->result.bytes += object->record_size;
    if (err != CKPT_OK) {
        ckpt_verify_bad(v, &object->id, "recipe %s: %s", hex, ckpt_err_text(err));
        v->incomplete = true;
        return CKPT_OK;
    }
    if (object->has_refs && (object->raw_size != record.raw_size || object->kind != record.kind ||
                             object->coding.id != record.coding.id ||
                             object->coding.width != record.coding.width)) {
        ckpt_verify_bad(v, &object->id, "recipe %s: " CKPT_VERIFY_NOT_BOOKED, hex);
    }
    for (size_t i = 0; i < recipe.chunk_count; i++) {
        chunk_reference(v, hex, &object->id, &recipe.chunks[i]);
    }
    object->file_size = recipe.size;
    object->read = true;
    ckpt_recipe_clear(&recipe);
    return CKPT_OK;
}

/* What is booked as a recipe, isn't used as one and says that it is a chunk is a chunk. */
static void settle_kind(struct ckpt_verify *v, struct ckpt_verify_object *object)
{
    struct ckpt_slice value;
    struct ckpt_record record;
    char hex[CKPT_ID_HEX];
    if (ckpt_db_get(v->txn, CKPT_TABLE_OBJECTS, object->id.bytes, CKPT_ID_SIZE, &value) ==
            CKPT_OK &&
        ckpt_record_parse(v->store->seed, value.data, value.size, &record) == CKPT_OK &&
        record.kind == CKPT_KIND_CHUNK) {
        ckpt_id_hex(&object->id, hex);
        ckpt_verify_bad(v, &object->id, "chunk %s: " CKPT_VERIFY_NOT_BOOKED, hex);
        object->is_recipe = false;
    }
}

static enum ckpt_err check_recipes(struct ckpt_verify *v)
{
    enum ckpt_err err = CKPT_OK;
    for (size_t i = 0; i < v->count; i++) {
        struct ckpt_verify_object *object = &v->objects[i];
        if (object->is_recipe && object->has_record && !object->used) {
            settle_kind(v, object);
        }
    }
    for (size_t i = 0; err == CKPT_OK && i < v->count; i++) {
        struct ckpt_verify_object *object = &v->objects[i];
        if (object->is_recipe && object->has_record) {
            err = check_recipe(v, object);
        }
    }
    return err;
}

static void check_counts(struct ckpt_verify *v)
{
    for (size_t i = 0; i < v->count; i++) {
        const struct ckpt_verify_object *object = &v->objects[i];
        char hex[CKPT_ID_HEX];
        v->result.unused += object->found > 0 && !object->used;
        if (object->has_refs && object->booked != object->found &&
            (object->booked < object->found || !v->incomplete)) {
            ckpt_id_hex(&object->id, hex);
            ckpt_verify_problem(v, "%s %s has %" PRIu64 " references booked and %" PRIu64 " found",
                                object->is_recipe ? "recipe" : "chunk", hex, object->booked,
                                object->found);
        }
    }
    if (v->incomplete) {
        ckpt_reportf(&v->store->report, CKPT_WARNING,
                     "what is damaged keeps some references from being found: objects with more "
                     "references booked than found are not reported");
    }
}

/* ---- lineage ---- */

static enum ckpt_err dependent_row(void *arg, const struct ckpt_slice *key,
                                   const struct ckpt_slice *value)
{
    struct ckpt_verify *v = arg;
    struct ckpt_id previous;
    struct ckpt_id id;
    char hex[CKPT_ID_HEX];
    char previous_hex[CKPT_ID_HEX];
    if (key->size != (size_t)2 * CKPT_ID_SIZE || value->size != 0) {
        ckpt_verify_problem(v, "dependents: a row of %zu bytes with a key of %zu is damaged", value->size,
                            key->size);
        return CKPT_OK;
    }
    memcpy(previous.bytes, key->data, CKPT_ID_SIZE);
    memcpy(id.bytes, (const uint8_t *)key->data + CKPT_ID_SIZE, CKPT_ID_SIZE);
    const struct ckpt_verify_object *object = ckpt_verify_find(v, &id);
    if (object != NULL && object->has_refs && ckpt_id_equal(&object->previous, &previous)) {
        v->linked--;
        return CKPT_OK;
    }
    if (object == NULL || object->has_refs) {
        ckpt_id_hex(&id, hex);
        ckpt_id_hex(&previous, previous_hex);
        ckpt_verify_problem(v, "dependents: chunk %s isn't booked as a state after %s", hex, previous_hex);
    }
    return CKPT_OK;
}

static enum ckpt_err check_lineage(struct ckpt_verify *v)
{
    enum ckpt_err err = ckpt_verify_each(v, CKPT_TABLE_DEPENDENTS, dependent_row, v);
    if (err == CKPT_OK && v->linked != 0) {
        ckpt_verify_problem(v, "dependents: %" PRIu64 " chunks have a previous state and no row", v->linked);
    }
    for (size_t i = 0; err == CKPT_OK && i < v->count; i++) {
        const struct ckpt_verify_object *object = &v->objects[i];
        const struct ckpt_verify_object *previous = NULL;
        char hex[CKPT_ID_HEX];
        if (ckpt_id_is_zero(&object->previous)) {
            continue;
        }
        previous = ckpt_verify_find(v, &object->previous);
        if (previous == NULL || previous->raw_size != object->raw_size) {
            ckpt_id_hex(&object->id, hex);
            ckpt_verify_bad(v, &object->id, "chunk %s: the state before it %s", hex,
                            previous == NULL ? "isn't there" : "has another size");
        }
    }
    return err;
}

enum ckpt_err ckpt_verify_objects(struct ckpt_verify *v)
{
    enum ckpt_err err = load_objects(v);
    if (err == CKPT_OK) {
        err = check_lineage(v);
    }
    if (err == CKPT_OK) {
        err = ckpt_verify_each(v, CKPT_TABLE_VERSIONS, version_reference, v);
    }
    if (err == CKPT_OK) {
        err = ckpt_verify_each(v, CKPT_TABLE_GARBAGE, garbage_row, v);
    }
    if (err == CKPT_OK) {
        err = check_recipes(v);
    }
    if (err == CKPT_OK) {
        check_counts(v);
    }
    return err;
}
