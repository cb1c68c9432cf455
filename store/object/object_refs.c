/*
 * References to objects: the table refs. With the last one an object goes.
 */
#include "common/bytes.h"
#include "lineage.h"
#include "object.h"
#include <string.h>

/*
 * A row of refs:
 *
 * offset  size  field
 *      0     8  references, never 0
 *      8     4  raw length
 *     12     4  record length
 *     16     1  kind
 *     17     1  codec
 *     18     1  element width
 *     19     1  flags: bit 0 alone
 *     20     4  reserved, zero
 *     24    16  id of the previous state, zero for none
 */
enum {
    REFS_COUNT = 0,
    REFS_RAW = 8,
    REFS_RECORD = 12,
    REFS_KIND = 16,
    REFS_CODEC = 17,
    REFS_WIDTH = 18,
    REFS_FLAGS = 19,
    REFS_RESERVED = 20,
    REFS_PREVIOUS = 24,
    REFS_SIZE = 40,
};
enum { FLAG_ALONE = 1 };

static void refs_encode(const struct ckpt_refs *refs, uint8_t row[REFS_SIZE])
{
    memset(row, 0, REFS_SIZE);
    ckpt_put_le64(row + REFS_COUNT, refs->count);
    ckpt_put_le32(row + REFS_RAW, refs->raw_size);
    ckpt_put_le32(row + REFS_RECORD, refs->record_size);
    row[REFS_KIND] = (uint8_t)refs->kind;
    row[REFS_CODEC] = (uint8_t)refs->coding.id;
    row[REFS_WIDTH] = refs->coding.width;
    row[REFS_FLAGS] = refs->alone ? FLAG_ALONE : 0;
    memcpy(row + REFS_PREVIOUS, refs->previous.bytes, CKPT_ID_SIZE);
}

enum ckpt_err ckpt_object_insert_refs(struct ckpt_txn *txn, const struct ckpt_id *id,
                                      const struct ckpt_refs *refs)
{
    uint8_t row[REFS_SIZE];
    refs_encode(refs, row);
    return ckpt_db_insert(txn, CKPT_TABLE_REFS, id->bytes, CKPT_ID_SIZE, row, sizeof row);
}

enum ckpt_err ckpt_object_put_refs(struct ckpt_txn *txn, const struct ckpt_id *id,
                                   const struct ckpt_refs *refs)
{
    uint8_t row[REFS_SIZE];
    refs_encode(refs, row);
    return ckpt_db_put(txn, CKPT_TABLE_REFS, id->bytes, CKPT_ID_SIZE, row, sizeof row);
}

enum ckpt_err ckpt_object_refs(struct ckpt_txn *txn, const struct ckpt_id *id,
                               struct ckpt_refs *out)
{
    struct ckpt_slice value;
    enum ckpt_err err = ckpt_db_get(txn, CKPT_TABLE_REFS, id->bytes, CKPT_ID_SIZE, &value);
    if (err != CKPT_OK) {
        return err;
    }
    const uint8_t *row = value.data;
    if (value.size != REFS_SIZE) {
        return CKPT_ERR_CORRUPT;
    }
    struct ckpt_refs refs = {
        .count = ckpt_get_le64(row + REFS_COUNT),
        .raw_size = ckpt_get_le32(row + REFS_RAW),
        .record_size = ckpt_get_le32(row + REFS_RECORD),
        .kind = (enum ckpt_kind)row[REFS_KIND],
        .coding = {.id = (enum ckpt_codec_id)row[REFS_CODEC], .width = row[REFS_WIDTH]},
        .alone = row[REFS_FLAGS] != 0,
    };
    memcpy(refs.previous.bytes, row + REFS_PREVIOUS, CKPT_ID_SIZE);
    if (refs.count == 0 ||
        (row[REFS_KIND] != CKPT_KIND_CHUNK && row[REFS_KIND] != CKPT_KIND_RECIPE) ||
        row[REFS_CODEC] >= CKPT_CODECS || row[REFS_FLAGS] > FLAG_ALONE ||
        ckpt_get_le32(row + REFS_RESERVED) != 0 ||
        (ckpt_codec_needs_base(refs.coding.id) && ckpt_id_is_zero(&refs.previous))) {
        return CKPT_ERR_CORRUPT;
    }
    *out = refs;
    return CKPT_OK;
}

enum ckpt_err ckpt_object_ref(struct ckpt_txn *txn, const struct ckpt_id *id)
{
    struct ckpt_refs refs;
    enum ckpt_err err = ckpt_object_refs(txn, id, &refs);
    if (err != CKPT_OK) {
        return err;
    }
    refs.count++;
    return ckpt_object_put_refs(txn, id, &refs);
}

enum ckpt_err ckpt_object_unref(struct ckpt_txn *txn, const struct ckpt_id *id, bool *gone)
{
    struct ckpt_refs refs;
    enum ckpt_err err = ckpt_object_refs(txn, id, &refs);
    if (err != CKPT_OK) {
        return err;
    }
    if (refs.count > 1) {
        refs.count--;
        err = ckpt_object_put_refs(txn, id, &refs);
        if (err == CKPT_OK) {
            *gone = false;
        }
        return err;
    }
    struct ckpt_counters less = {
        .unique = 0 - (uint64_t)refs.raw_size,
        .stored = 0 - (uint64_t)refs.record_size,
        .objects = UINT64_MAX,
    };
    bool needed = false;
    err = ckpt_lineage_any(txn, id, &needed);
    if (err != CKPT_OK || needed) {
        return needed ? CKPT_ERR_NEEDED : err;
    }
    err = ckpt_db_del(txn, CKPT_TABLE_OBJECTS, id->bytes, CKPT_ID_SIZE);
    if (err == CKPT_ERR_NOT_FOUND) { /* a refs row without an object */
        return CKPT_ERR_CORRUPT;
    }
    if (err == CKPT_OK && !ckpt_id_is_zero(&refs.previous)) {
        err = ckpt_lineage_del(txn, &refs.previous, id);
    }
    if (err == CKPT_OK) {
        err = ckpt_db_del(txn, CKPT_TABLE_REFS, id->bytes, CKPT_ID_SIZE);
    }
    if (err == CKPT_OK) {
        err = ckpt_counters_add(txn, &less);
    }
    if (err == CKPT_OK) {
        *gone = true;
    }
    return err;
}
