#include "lineage.h"
#include "garbage.h"
#include "internal.h"
#include <stdlib.h>
#include <string.h>
#define HASH_NONFATAL_OOM 1 /* then an element that could not be added has no hh.tbl */
#include <uthash.h>

enum {
    PAIR = 2 * CKPT_ID_SIZE, /* a key of dependents: previous, then the dependent; the value is empty */
    BASE_BUFFER = 2,         /* of the codec; 0 and 1 are for chains */
    RAW_BUFFER = 3,
    /* Where differences didn't pay last time, one chunk of so many is tried again: training changes. */
    TRY_AGAIN = 8,
};

/* ---- rows ---- */

static void pair_key(uint8_t key[PAIR], const struct ckpt_id *previous, const struct ckpt_id *id)
{
    memcpy(key, previous->bytes, CKPT_ID_SIZE);
    memcpy(key + CKPT_ID_SIZE, id->bytes, CKPT_ID_SIZE);
}

enum ckpt_err ckpt_lineage_add(struct ckpt_txn *txn, const struct ckpt_id *previous,
                               const struct ckpt_id *id)
{
    uint8_t key[PAIR];
    pair_key(key, previous, id);
    return ckpt_db_put(txn, CKPT_TABLE_DEPENDENTS, key, sizeof key, "", 0);
}

enum ckpt_err ckpt_lineage_del(struct ckpt_txn *txn, const struct ckpt_id *previous,
                               const struct ckpt_id *id)
{
    uint8_t key[PAIR];
    pair_key(key, previous, id);
    enum ckpt_err err = ckpt_db_del(txn, CKPT_TABLE_DEPENDENTS, key, sizeof key);
    return err == CKPT_ERR_NOT_FOUND ? CKPT_ERR_CORRUPT : err;
}

enum ckpt_err ckpt_lineage_next(struct ckpt_txn *txn, const struct ckpt_id *previous,
                                const struct ckpt_id *after, struct ckpt_id *id)
{
    uint8_t from[PAIR];
    struct ckpt_cursor *cursor = NULL;
    struct ckpt_slice key;
    struct ckpt_slice value;
    pair_key(from, previous, after);
    enum ckpt_err err = ckpt_cursor_open(txn, CKPT_TABLE_DEPENDENTS, &cursor);
    if (err != CKPT_OK) {
        return err;
    }
    err = ckpt_cursor_seek(cursor, from, sizeof from, &key, &value);
    if (err == CKPT_OK && key.size == sizeof from && memcmp(key.data, from, sizeof from) == 0) {
        err = ckpt_cursor_next(cursor, &key, &value);
    }
    if (err == CKPT_OK && key.size != PAIR) {
        err = CKPT_ERR_CORRUPT;
    }
    if (err == CKPT_OK && memcmp(key.data, previous->bytes, CKPT_ID_SIZE) != 0) {
        err = CKPT_ERR_NOT_FOUND;
    }
    if (err == CKPT_OK) {
        memcpy(id->bytes, (const uint8_t *)key.data + CKPT_ID_SIZE, CKPT_ID_SIZE);
    }
    ckpt_cursor_close(cursor);
    return err;
}

enum ckpt_err ckpt_lineage_any(struct ckpt_txn *txn, const struct ckpt_id *previous, bool *any)
{
    static const struct ckpt_id first;
    struct ckpt_id id;
    enum ckpt_err err = ckpt_lineage_next(txn, previous, &first, &id);
    if (err != CKPT_OK && err != CKPT_ERR_NOT_FOUND) {
        return err;
    }
    *any = err == CKPT_OK;
    return CKPT_OK;
}

/* ---- chains ---- */

/* How many differences decoding ID goes through. CORRUPT when it needs NOT (may be NULL). */
static enum ckpt_err depth_of(struct ckpt_txn *txn, struct ckpt_id id, const struct ckpt_id *not,
                              unsigned *depth)
{
    for (unsigned n = 0; n <= CKPT_LINEAGE_MAX; n++) {
        struct ckpt_refs refs;
        if (not != NULL && ckpt_id_equal(&id, not)) {
            return CKPT_ERR_CORRUPT;
        }
        enum ckpt_err err = ckpt_object_refs(txn, &id, &refs);
        if (err != CKPT_OK) {
            return err;
        }
        if (!ckpt_codec_needs_base(refs.coding.id)) {
            *depth = n;
            return CKPT_OK;
        }
        id = refs.previous;
    }
    return CKPT_ERR_CORRUPT;
}

/* The longest chain of differences that hangs on ID, looked at up to MOST. */
static enum ckpt_err height_of(struct ckpt_txn *txn, const struct ckpt_id *id, unsigned most,
                               unsigned *height)
{
    struct ckpt_id dependent = {0};
    unsigned highest = 0;
    enum ckpt_err err = CKPT_OK;
    while (highest < most &&
           (err = ckpt_lineage_next(txn, id, &dependent, &dependent)) == CKPT_OK) {
        struct ckpt_refs refs;
        unsigned below = 0;
        err = ckpt_object_refs(txn, &dependent, &refs);
        if (err == CKPT_OK && !ckpt_codec_needs_base(refs.coding.id)) {
            continue;
        }
        if (err == CKPT_OK) {
            err = height_of(txn, &dependent, most - 1, &below);
        }
        if (err != CKPT_OK) {
            return err == CKPT_ERR_NOT_FOUND ? CKPT_ERR_CORRUPT : err;
        }
        highest = below + 1 > highest ? below + 1 : highest;
    }
    if (err != CKPT_OK && err != CKPT_ERR_NOT_FOUND) {
        return err;
    }
    *height = highest;
    return CKPT_OK;
}

static enum ckpt_err look_at_base(struct ckpt_store *store, struct ckpt_codec *codec, struct ckpt_txn *txn,
                                  const struct ckpt_draft *draft, struct ckpt_lineage *out)
{
    struct ckpt_refs refs;
    unsigned depth = 0;
    enum ckpt_err err = ckpt_object_refs(txn, &draft->base, &refs);
    if (err == CKPT_OK && (refs.kind != CKPT_KIND_CHUNK || refs.raw_size != draft->raw_size)) {
        return CKPT_OK;
    }
    if (err == CKPT_OK) {
        err = depth_of(txn, draft->base, NULL, &depth);
    }
    if (err != CKPT_OK) {
        return err;
    }
    if (refs.alone && draft->id.bytes[0] % TRY_AGAIN != 0) {
        out->alone = true;
        return CKPT_OK;
    }
    if (depth + 1 > ckpt_store_depth(store)) {
        out->previous = draft->base;
        return CKPT_OK;
    }
    void *bytes = ckpt_codec_buffer(codec, BASE_BUFFER, draft->raw_size);
    if (bytes == NULL) {
        return CKPT_ERR_NOMEM;
    }
    err = ckpt_object_read(store, codec, txn, &draft->base, CKPT_KIND_CHUNK, bytes, draft->raw_size);
    if (err == CKPT_OK) {
        out->bytes = bytes;
        out->chain = (uint8_t)(depth + 1);
    }
    return err;
}

enum ckpt_err ckpt_lineage_base(struct ckpt_store *store, struct ckpt_codec *codec,
                                const struct ckpt_draft *draft, struct ckpt_lineage *out)
{
    struct ckpt_txn *txn = NULL;
    enum ckpt_err err = ckpt_txn_read(store->db, &txn);
    if (err == CKPT_OK) {
        err = look_at_base(store, codec, txn, draft, out);
    }
    ckpt_txn_abort(txn);
    /* New data is safe even where old data is damaged or has gone. */
    return err == CKPT_ERR_NOT_FOUND || err == CKPT_ERR_CORRUPT || err == CKPT_ERR_FORMAT ? CKPT_OK : err;
}

/* ---- what is about to go ---- */

struct doomed_id {
    struct ckpt_id id;
    uint64_t references; /* that garbage releases; 0 when it stays all the same */
    UT_hash_handle hh;
};

struct ckpt_doomed {
    struct doomed_id *ids;
};

static enum ckpt_err doom(struct ckpt_doomed *doomed, const struct ckpt_id *id)
{
    struct doomed_id *found = NULL;
    HASH_FIND(hh, doomed->ids, id, sizeof *id, found);
    if (found == NULL) {
        found = calloc(1, sizeof *found);
        if (found == NULL) {
            return CKPT_ERR_NOMEM;
        }
        found->id = *id;
        HASH_ADD(hh, doomed->ids, id, sizeof found->id, found);
        if (found->hh.tbl == NULL) {
            free(found);
            return CKPT_ERR_NOMEM;
        }
    }
    found->references++;
    return CKPT_OK;
}

static enum ckpt_err doom_rows(struct ckpt_doomed *doomed, struct ckpt_store *store, struct ckpt_txn *txn)
{
    struct ckpt_cursor *cursor = NULL;
    struct ckpt_slice key;
    struct ckpt_slice value;
    enum ckpt_err err = ckpt_cursor_open(txn, CKPT_TABLE_GARBAGE, &cursor);
    if (err == CKPT_OK) {
        err = ckpt_cursor_seek(cursor, NULL, 0, &key, &value);
    }
    while (err == CKPT_OK) {
        struct ckpt_garbage row;
        err = ckpt_garbage_parse(&key, &value, &row);
        /* What a reader holds isn't about to go. */
        bool pinned = err == CKPT_OK && ckpt_is_pinned(store, &row.recipe);
        for (size_t i = 0; err == CKPT_OK && !pinned && i < row.n; i++) {
            struct ckpt_id id;
            memcpy(id.bytes, row.ids + i * CKPT_ID_SIZE, CKPT_ID_SIZE);
            err = doom(doomed, &id);
        }
        if (err == CKPT_OK) {
            err = ckpt_cursor_next(cursor, &key, &value);
        }
    }
    ckpt_cursor_close(cursor);
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

/* Those with more references than garbage has stay. */
static enum ckpt_err spare(struct ckpt_doomed *doomed, struct ckpt_txn *txn)
{
    struct doomed_id *entry = NULL;
    struct doomed_id *next = NULL;
    HASH_ITER (hh, doomed->ids, entry, next) {
        struct ckpt_refs refs;
        enum ckpt_err err = ckpt_object_refs(txn, &entry->id, &refs);
        if (err != CKPT_OK && err != CKPT_ERR_NOT_FOUND) {
            return err;
        }
        /* What isn't there is told when its row is to be released; the others mustn't wait for that. */
        if (err == CKPT_ERR_NOT_FOUND || refs.count > entry->references) {
            entry->references = 0;
        }
    }
    return CKPT_OK;
}

enum ckpt_err ckpt_doomed_collect(struct ckpt_store *store, struct ckpt_txn *txn,
                                  struct ckpt_doomed **out)
{
    struct ckpt_doomed *doomed = calloc(1, sizeof *doomed);
    if (doomed == NULL) {
        return CKPT_ERR_NOMEM;
    }
    enum ckpt_err err = doom_rows(doomed, store, txn);
    if (err == CKPT_OK) {
        err = spare(doomed, txn);
    }
    if (err != CKPT_OK) {
        ckpt_doomed_free(doomed);
        return err;
    }
    *out = doomed;
    return CKPT_OK;
}

bool ckpt_is_doomed(const struct ckpt_doomed *doomed, const struct ckpt_id *id)
{
    struct doomed_id *found = NULL;
    if (doomed != NULL) {
        HASH_FIND(hh, doomed->ids, id, sizeof *id, found);
    }
    return found != NULL && found->references > 0;
}

void ckpt_doomed_free(struct ckpt_doomed *doomed)
{
    if (doomed == NULL) {
        return;
    }
    struct doomed_id *entry = doomed->ids;
    HASH_CLEAR(hh, doomed->ids);
    while (entry != NULL) {
        struct doomed_id *next = entry->hh.next;
        free(entry);
        entry = next;
    }
    free(doomed);
}

/* ---- leaning on another one ---- */

/* The nearest chunk before ID's previous that stays; zero for none. */
static enum ckpt_err find_survivor(struct ckpt_txn *txn, const struct ckpt_doomed *doomed,
                                   const struct ckpt_refs *refs, struct ckpt_id *survivor)
{
    enum { STEPS_MAX = 1 << 20 }; /* more only in a circle */
    struct ckpt_id at = refs->previous;
    struct ckpt_refs goes;
    unsigned steps = 0;
    *survivor = (struct ckpt_id){0};
    if (ckpt_id_is_zero(&at)) {
        return CKPT_ERR_CORRUPT; /* a row of dependents says that it has one */
    }
    do {
        if (steps++ == STEPS_MAX) {
            return CKPT_ERR_CORRUPT;
        }
        enum ckpt_err err = ckpt_object_refs(txn, &at, &goes);
        if (err != CKPT_OK) {
            return err == CKPT_ERR_NOT_FOUND ? CKPT_ERR_CORRUPT : err;
        }
        at = goes.previous;
    } while (!ckpt_id_is_zero(&at) && ckpt_is_doomed(doomed, &at));
    *survivor = at;
    return CKPT_OK;
}

/* Whether ID may become a difference from SURVIVOR with all that hangs on it; *CHAIN: how many it then goes through. */
static enum ckpt_err fits(struct ckpt_store *store, struct ckpt_txn *txn, const struct ckpt_id *id,
                          const struct ckpt_refs *refs, const struct ckpt_id *survivor, unsigned *chain,
                          bool *yes)
{
    struct ckpt_refs base;
    unsigned depth = 0;
    unsigned height = 0;
    *yes = false;
    if (ckpt_id_is_zero(survivor)) {
        return CKPT_OK;
    }
    enum ckpt_err err = ckpt_object_refs(txn, survivor, &base);
    if (err == CKPT_OK && base.raw_size != refs->raw_size) {
        return CKPT_OK;
    }
    if (err == CKPT_OK) {
        /* Where rows go round in a circle: it would be lost if it became a difference from itself. */
        err = depth_of(txn, *survivor, id, &depth);
    }
    if (err == CKPT_OK) {
        err = height_of(txn, id, ckpt_store_depth(store), &height);
    }
    if (err == CKPT_OK) {
        *chain = depth + 1;
        *yes = depth + 1 + height <= ckpt_store_depth(store);
    }
    return err;
}

/* BASE: bytes of SURVIVOR, or NULL. */
static enum ckpt_err recode(struct ckpt_store *store, struct ckpt_codec *codec, struct ckpt_txn *txn,
                            const struct ckpt_refs *refs, const struct ckpt_id *survivor,
                            const void *base, unsigned chain, struct ckpt_rebase *rebase)
{
    struct ckpt_slice stored;
    struct ckpt_record record;
    enum ckpt_err err =
        ckpt_db_get(txn, CKPT_TABLE_OBJECTS, rebase->id.bytes, CKPT_ID_SIZE, &stored);
    if (err == CKPT_OK) {
        ckpt_db_prefetch(&stored);
        err = ckpt_record_parse(store->seed, stored.data, stored.size, &record);
    }
    if (err != CKPT_OK) {
        return err;
    }
    if (record.raw_size != refs->raw_size || record.kind != CKPT_KIND_CHUNK) {
        return CKPT_ERR_CORRUPT;
    }
    void *raw = ckpt_codec_buffer(codec, RAW_BUFFER, record.raw_size);
    rebase->buffer = malloc(ckpt_record_bound(record.raw_size));
    if (raw == NULL || rebase->buffer == NULL) {
        return CKPT_ERR_NOMEM;
    }
    err = ckpt_object_decode(store, codec, txn, &record, raw);
    if (err != CKPT_OK) {
        return err;
    }
    struct ckpt_recording recording = {.kind = CKPT_KIND_CHUNK,
                                       .id = rebase->id,
                                       .salt = record.salt,
                                       .raw = raw,
                                       .raw_size = record.raw_size,
                                       .width = record.coding.width,
                                       .chain = (uint8_t)chain,
                                       .base = base};
    if (base != NULL) {
        recording.base_id = *survivor;
    }
    err = ckpt_record_encode(codec, store->seed, &recording, rebase->buffer,
                             &rebase->recoded.record_size, &rebase->recoded.coding);
    rebase->recoded.record = rebase->buffer;
    rebase->recoded.alone = base != NULL && chain == 1 && !ckpt_codec_needs_base(rebase->recoded.coding.id);
    return err;
}

enum ckpt_err ckpt_rebase_prepare(struct ckpt_store *store, struct ckpt_codec *codec,
                                  struct ckpt_txn *txn, const struct ckpt_doomed *doomed,
                                  struct ckpt_rebase *rebase)
{
    struct ckpt_refs refs;
    struct ckpt_id survivor;
    unsigned chain = 0;
    bool fit = false;
    const void *base = NULL;
    enum ckpt_err err = ckpt_object_refs(txn, &rebase->id, &refs);
    if (err == CKPT_OK) {
        err = find_survivor(txn, doomed, &refs, &survivor);
    }
    if (err == CKPT_OK) {
        err = fits(store, txn, &rebase->id, &refs, &survivor, &chain, &fit);
    }
    if (err != CKPT_OK) {
        return err;
    }
    rebase->recoded = (struct ckpt_recoded){.id = rebase->id, .previous = survivor};
    rebase->recode = fit || ckpt_codec_needs_base(refs.coding.id);
    if (!rebase->recode) {
        return CKPT_OK;
    }
    if (fit) {
        void *bytes = ckpt_codec_buffer(codec, BASE_BUFFER, refs.raw_size);
        err = bytes == NULL ? CKPT_ERR_NOMEM
                            : ckpt_object_read(store, codec, txn, &survivor, CKPT_KIND_CHUNK, bytes,
                                               refs.raw_size);
        base = err == CKPT_OK ? bytes : NULL;
        err = err == CKPT_ERR_CORRUPT || err == CKPT_ERR_FORMAT ? CKPT_OK : err; /* then it is better off without */
    }
    if (err == CKPT_OK) {
        err = recode(store, codec, txn, &refs, &survivor, base, chain, rebase);
    }
    if (err == CKPT_OK && rebase->recoded.alone) {
        rebase->recoded.previous = (struct ckpt_id){0};
    }
    return err;
}

enum ckpt_err ckpt_rebase_commit(struct ckpt_store *store, struct ckpt_txn *txn,
                                 const struct ckpt_rebase *rebase)
{
    const struct ckpt_id *survivor = &rebase->recoded.previous;
    struct ckpt_refs refs;
    enum ckpt_err err = CKPT_OK;
    /* What it is to lean on may have gone in the same transaction, or may have got a longer chain. */
    if (!ckpt_id_is_zero(survivor)) {
        unsigned chain = 0;
        bool fit = true;
        err = ckpt_object_refs(txn, survivor, &refs);
        if (err == CKPT_OK && ckpt_codec_needs_base(rebase->recoded.coding.id)) {
            err = fits(store, txn, &rebase->id, &refs, survivor, &chain, &fit);
        }
        if (err == CKPT_ERR_NOT_FOUND || !fit) {
            return CKPT_ERR_CHANGED;
        }
    }
    if (err != CKPT_OK) {
        return err;
    }
    return rebase->recode ? ckpt_object_recode(txn, &rebase->recoded)
                          : ckpt_object_relink(txn, &rebase->id, survivor);
}

void ckpt_rebase_clear(struct ckpt_rebase *rebase)
{
    free(rebase->buffer);
    rebase->buffer = NULL;
}
