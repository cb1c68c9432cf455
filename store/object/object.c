/*
 * Objects: the table objects, what is put into it and read from it.
 *
 * What a draft's scratch holds between prepare and commit: the encoded record when the object
 * looked new, else the 64 header bytes of the stored record that was compared and found equal. The
 * header holds id, lengths and the payload's checksum, so commit recognises the record that prepare
 * has compared without decoding it again.
 */
#include "internal.h"
#include "lineage.h"
#include "object.h"
#include <string.h>

enum { SALT_MAX = 255 };

/* What stands in the objects table under the id of a draft. */
enum found { FOUND_NOTHING, FOUND_SAME, FOUND_OTHER };

static enum ckpt_err get_record(struct ckpt_txn *txn, const struct ckpt_id *id,
                                struct ckpt_slice *record)
{
    enum ckpt_err err = ckpt_db_get(txn, CKPT_TABLE_OBJECTS, id->bytes, CKPT_ID_SIZE, record);
    if (err == CKPT_OK) {
        ckpt_db_prefetch(record);
    }
    return err;
}

/*
 * Compares the stored record byte for byte with the draft's raw bytes, decoding it into the draft's
 * scratch. A damaged record is "other": the draft then takes the next salt, so new data is safe
 * even where old data is damaged.
 */
static enum ckpt_err compare(struct ckpt_store *store, struct ckpt_codec *codec, struct ckpt_txn *txn,
                             const struct ckpt_draft *draft, const struct ckpt_slice *stored,
                             enum found *found)
{
    struct ckpt_record record;
    const void *raw = NULL;
    enum ckpt_err err = ckpt_record_parse(store->seed, stored->data, stored->size, &record);
    if (err == CKPT_OK && (record.kind != draft->kind || record.raw_size != draft->raw_size)) {
        *found = FOUND_OTHER;
        return CKPT_OK;
    }
    if (err == CKPT_OK && record.coding.id == CKPT_CODEC_RAW) {
        raw = record.payload;
    } else if (err == CKPT_OK) {
        err = ckpt_object_decode(store, codec, txn, &record, draft->record);
        raw = draft->record;
    }
    if (err == CKPT_ERR_CORRUPT) {
        char hex[CKPT_ID_HEX];
        ckpt_id_hex(&draft->id, hex);
        ckpt_reportf(&store->report, CKPT_WARNING,
                     "%s: stored object %s is damaged and was not used again for the same data; "
                     "run: ckpt verify",
                     store->path, hex);
        *found = FOUND_OTHER;
        return CKPT_OK;
    }
    if (err != CKPT_OK) {
        return err;
    }
    *found = memcmp(raw, draft->raw, draft->raw_size) == 0 ? FOUND_SAME : FOUND_OTHER;
    return CKPT_OK;
}

/* BASE: the raw bytes of draft->base, NULL when it isn't to be used. CHAIN: how many differences it would go through. */
static enum ckpt_err encode(struct ckpt_store *store, struct ckpt_codec *codec,
                            struct ckpt_draft *draft, const void *base, uint8_t chain)
{
    struct ckpt_recording recording = {.kind = draft->kind,
                                       .id = draft->id,
                                       .salt = draft->salt,
                                       .raw = draft->raw,
                                       .raw_size = draft->raw_size,
                                       .width = draft->width,
                                       .chain = chain,
                                       .base = base};
    if (base != NULL) {
        recording.base_id = draft->base;
    }
    enum ckpt_err err = ckpt_record_encode(codec, store->seed, &recording, draft->record,
                                           &draft->record_size, &draft->coding);
    if (err == CKPT_OK && base != NULL) {
        /* At the end of a chain it may pay again from here on. */
        draft->alone = chain == 1 && !ckpt_codec_needs_base(draft->coding.id);
        draft->previous = draft->alone ? (struct ckpt_id){0} : draft->base;
    }
    return err;
}

/* With the state before it where that can be had and may help. */
static enum ckpt_err encode_new(struct ckpt_store *store, struct ckpt_codec *codec,
                                struct ckpt_draft *draft)
{
    struct ckpt_lineage lineage = {0};
    draft->alone = false;
    draft->previous = (struct ckpt_id){0};
    if (!ckpt_id_is_zero(&draft->base)) {
        enum ckpt_err err = ckpt_lineage_base(store, codec, draft, &lineage);
        if (err != CKPT_OK) {
            return err;
        }
        draft->alone = lineage.alone;
        draft->previous = lineage.previous;
    }
    return encode(store, codec, draft, lineage.bytes, lineage.chain);
}

/* All salts taken: 256 different contents under ids that were meant to be unique. Damage, not
 * chance. */
static enum ckpt_err out_of_salts(struct ckpt_store *store, const struct ckpt_draft *draft)
{
    char hex[CKPT_ID_HEX];
    ckpt_id_hex(&draft->id, hex);
    ckpt_reportf(&store->report, CKPT_ERROR,
                 "%s: no id is left for an object, the last one tried was %s; run: ckpt verify",
                 store->path, hex);
    return CKPT_ERR_CORRUPT;
}

static void set_salt(struct ckpt_store *store, struct ckpt_draft *draft, unsigned salt)
{
    draft->salt = (uint8_t)salt;
    draft->id = ckpt_id_of(store->seed, draft->salt, draft->raw, draft->raw_size);
    draft->record_size = 0;
}

enum ckpt_err ckpt_object_prepare(struct ckpt_store *store, struct ckpt_codec *codec,
                                  struct ckpt_draft *draft)
{
    struct ckpt_txn *txn = NULL;
    enum found found = FOUND_OTHER;
    enum ckpt_err err = ckpt_txn_read(store->db, &txn);
    for (unsigned salt = 0; err == CKPT_OK && found == FOUND_OTHER; salt++) {
        struct ckpt_slice stored;
        if (salt > SALT_MAX) {
            err = out_of_salts(store, draft);
            break;
        }
        set_salt(store, draft, salt);
        err = get_record(txn, &draft->id, &stored);
        if (err == CKPT_ERR_NOT_FOUND) {
            found = FOUND_NOTHING;
            err = CKPT_OK;
        } else if (err == CKPT_OK) {
            err = compare(store, codec, txn, draft, &stored, &found);
            if (err == CKPT_OK && found == FOUND_SAME) {
                memcpy(draft->record, stored.data, CKPT_RECORD_HEADER);
            }
        }
    }
    ckpt_txn_abort(txn); /* before the encoding: a reader makes the file grow */
    if (err == CKPT_OK && found == FOUND_NOTHING) {
        err = encode_new(store, codec, draft);
    }
    return err;
}

/* Whether the record under the draft's id is the one that prepare compared or encoded; decides it
   by comparing where that can't be seen from the scratch (which is then used up). */
static enum ckpt_err recheck(struct ckpt_store *store, struct ckpt_codec *codec, struct ckpt_txn *txn,
                             struct ckpt_draft *draft, bool scratch_valid,
                             const struct ckpt_slice *stored, enum found *found)
{
    size_t known = !scratch_valid           ? 0
                   : draft->record_size > 0 ? draft->record_size
                                            : (size_t)CKPT_RECORD_HEADER;
    if (known > 0 && stored->size >= known &&
        (draft->record_size == 0 || stored->size == draft->record_size) &&
        memcmp(stored->data, draft->record, known) == 0) {
        *found = FOUND_SAME;
        return CKPT_OK;
    }
    draft->record_size = 0;
    return compare(store, codec, txn, draft, stored, found);
}

/* Puts the draft's encoded record, its first reference and its share of the counters. */
static enum ckpt_err insert(struct ckpt_txn *txn, const struct ckpt_draft *draft)
{
    struct ckpt_refs refs = {
        .count = 1,
        .raw_size = (uint32_t)draft->raw_size,
        .record_size = (uint32_t)draft->record_size,
        .kind = draft->kind,
        .coding = draft->coding,
        .alone = draft->alone,
        .previous = draft->previous,
    };
    struct ckpt_counters more = {
        .unique = draft->raw_size,
        .stored = draft->record_size,
        .objects = 1,
    };
    enum ckpt_err err = ckpt_db_insert(txn, CKPT_TABLE_OBJECTS, draft->id.bytes, CKPT_ID_SIZE,
                                       draft->record, draft->record_size);
    if (err == CKPT_OK) {
        err = ckpt_object_insert_refs(txn, &draft->id, &refs);
    }
    if (err == CKPT_OK && !ckpt_id_is_zero(&draft->previous)) {
        err = ckpt_lineage_add(txn, &draft->previous, &draft->id);
    }
    if (err == CKPT_OK) {
        err = ckpt_counters_add(txn, &more);
    }
    return err == CKPT_ERR_EXISTS ? CKPT_ERR_CORRUPT : err; /* a refs row without an object */
}

/* One more reference to the object with the draft's id, which has a record. */
static enum ckpt_err take(struct ckpt_txn *txn, const struct ckpt_draft *draft,
                          uint32_t *record_size)
{
    struct ckpt_refs refs;
    enum ckpt_err err = ckpt_object_refs(txn, &draft->id, &refs);
    if (err != CKPT_OK) {
        return err == CKPT_ERR_NOT_FOUND ? CKPT_ERR_CORRUPT
                                         : err; /* an object without a refs row */
    }
    refs.count++;
    err = ckpt_object_put_refs(txn, &draft->id, &refs);
    if (err == CKPT_OK) {
        *record_size = refs.record_size;
    }
    return err;
}

enum ckpt_err ckpt_object_commit(struct ckpt_store *store, struct ckpt_codec *codec,
                                 struct ckpt_txn *txn, struct ckpt_draft *draft, uint32_t *added,
                                 uint32_t *record_size)
{
    enum found found = FOUND_OTHER;
    enum ckpt_err err = CKPT_OK;
    bool scratch_valid = true;
    for (;;) {
        struct ckpt_slice stored;
        err = get_record(txn, &draft->id, &stored);
        if (err == CKPT_ERR_NOT_FOUND) {
            found = FOUND_NOTHING;
            break;
        }
        if (err == CKPT_OK) {
            err = recheck(store, codec, txn, draft, scratch_valid, &stored, &found);
        }
        if (err != CKPT_OK) {
            return err;
        }
        if (found == FOUND_SAME) {
            break;
        }
        if (draft->salt == SALT_MAX) {
            return out_of_salts(store, draft);
        }
        set_salt(store, draft, draft->salt + 1u);
        scratch_valid = false;
    }
    if (found == FOUND_SAME) {
        err = take(txn, draft, record_size);
        if (err == CKPT_OK) {
            *added = 0;
        }
        return err;
    }
    /* Not encoded yet when prepare had a hit that has gone, or when the salt is another one now; both are rare, and then
       it goes without a base. */
    if (draft->record_size == 0) {
        draft->alone = false;
        draft->previous = (struct ckpt_id){0};
        err = encode(store, codec, draft, NULL, 0);
    } else {
        err = CKPT_OK;
    }
    if (err == CKPT_OK) {
        err = insert(txn, draft);
    }
    if (err == CKPT_OK) {
        *added = (uint32_t)draft->record_size;
        *record_size = (uint32_t)draft->record_size;
    }
    return err;
}

/* Puts REFS, whose previous was BEFORE. */
static enum ckpt_err relink(struct ckpt_txn *txn, const struct ckpt_id *id, const struct ckpt_refs *refs,
                            const struct ckpt_id *before)
{
    enum ckpt_err err = ckpt_object_put_refs(txn, id, refs);
    if (err == CKPT_OK && !ckpt_id_is_zero(before)) {
        err = ckpt_lineage_del(txn, before, id);
    }
    if (err == CKPT_OK && !ckpt_id_is_zero(&refs->previous)) {
        err = ckpt_lineage_add(txn, &refs->previous, id);
    }
    return err;
}

enum ckpt_err ckpt_object_recode(struct ckpt_txn *txn, const struct ckpt_recoded *recoded)
{
    struct ckpt_refs refs;
    enum ckpt_err err = ckpt_object_refs(txn, &recoded->id, &refs);
    if (err != CKPT_OK) {
        return err;
    }
    struct ckpt_counters change = {.stored = recoded->record_size - (uint64_t)refs.record_size};
    struct ckpt_id before = refs.previous;
    refs.record_size = (uint32_t)recoded->record_size;
    refs.coding = recoded->coding;
    refs.alone = recoded->alone;
    refs.previous = recoded->previous;
    err = ckpt_db_put(txn, CKPT_TABLE_OBJECTS, recoded->id.bytes, CKPT_ID_SIZE, recoded->record,
                      recoded->record_size);
    if (err == CKPT_OK) {
        err = relink(txn, &recoded->id, &refs, &before);
    }
    return err == CKPT_OK ? ckpt_counters_add(txn, &change) : err;
}

enum ckpt_err ckpt_object_relink(struct ckpt_txn *txn, const struct ckpt_id *id,
                                 const struct ckpt_id *previous)
{
    struct ckpt_refs refs;
    enum ckpt_err err = ckpt_object_refs(txn, id, &refs);
    if (err != CKPT_OK) {
        return err;
    }
    struct ckpt_id before = refs.previous;
    refs.previous = *previous;
    return relink(txn, id, &refs, &before);
}

/* The record of the chunk that the record AFTER is a difference from. */
static enum ckpt_err base_record(struct ckpt_store *store, struct ckpt_txn *txn,
                                 const struct ckpt_record *after, struct ckpt_record *out)
{
    struct ckpt_slice stored;
    struct ckpt_record record;
    enum ckpt_err err = get_record(txn, &after->base, &stored);
    if (err == CKPT_OK) {
        err = ckpt_record_parse(store->seed, stored.data, stored.size, &record);
    }
    if (err == CKPT_OK && (record.kind != CKPT_KIND_CHUNK || record.raw_size != after->raw_size ||
                           !ckpt_id_equal(&record.id, &after->base))) {
        err = CKPT_ERR_CORRUPT;
    }
    if (err == CKPT_OK) {
        *out = record;
    }
    return err == CKPT_ERR_NOT_FOUND ? CKPT_ERR_CORRUPT : err;
}

enum ckpt_err ckpt_object_decode(struct ckpt_store *store, struct ckpt_codec *codec,
                                 struct ckpt_txn *txn, const struct ckpt_record *record, void *buf)
{
    struct ckpt_record chain[CKPT_LINEAGE_MAX + 1];
    unsigned n = 1;
    enum ckpt_err err = CKPT_OK;
    chain[0] = *record;
    while (err == CKPT_OK && !ckpt_id_is_zero(&chain[n - 1].base)) {
        if (n > CKPT_LINEAGE_MAX) {
            return CKPT_ERR_CORRUPT; /* no chain is that long: they go round in a circle */
        }
        err = base_record(store, txn, &chain[n - 1], &chain[n]);
        n++;
    }
    const void *base = NULL;
    while (err == CKPT_OK && n-- > 0) {
        void *out = n == 0 ? buf : ckpt_codec_buffer(codec, n % 2, chain[n].raw_size);
        err = out == NULL ? CKPT_ERR_NOMEM
                          : ckpt_record_decode(codec, store->seed, &chain[n], base, out);
        base = out;
    }
    return err;
}

void ckpt_object_prefetch(struct ckpt_txn *txn, const struct ckpt_id *id)
{
    struct ckpt_id at = *id;
    for (unsigned n = 0; n <= CKPT_LINEAGE_MAX; n++) {
        struct ckpt_slice stored;
        struct ckpt_refs refs;
        if (get_record(txn, &at, &stored) != CKPT_OK || ckpt_object_refs(txn, &at, &refs) != CKPT_OK) {
            return;
        }
        if (!ckpt_codec_needs_base(refs.coding.id)) {
            return;
        }
        at = refs.previous;
    }
}

enum ckpt_err ckpt_object_read(struct ckpt_store *store, struct ckpt_codec *codec,
                               struct ckpt_txn *txn, const struct ckpt_id *id, enum ckpt_kind kind,
                               void *buf, size_t size)
{
    struct ckpt_slice stored;
    struct ckpt_record record;
    enum ckpt_err err = get_record(txn, id, &stored);
    if (err == CKPT_OK) {
        err = ckpt_record_parse(store->seed, stored.data, stored.size, &record);
    }
    if (err != CKPT_OK) {
        return err;
    }
    /* An intact record under a wrong key would pass all its own checks. */
    if (record.kind != kind || record.raw_size != size || !ckpt_id_equal(&record.id, id)) {
        return CKPT_ERR_CORRUPT;
    }
    return ckpt_object_decode(store, codec, txn, &record, buf);
}
