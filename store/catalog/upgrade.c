/*
 * Version 1 to 2: refs rows get what their records say about their coding, and captures gets a row for each version. Records
 * and recipes stay as they are: this program reads those of version 1.
 *
 * Version 2 to 3: every version is fresh, so the engine makes checkpoints of them all.
 */
#include "catalog_txn.h"
#include "common/bytes.h"
#include "object/internal.h"
#include "object/object.h"
#include "object/record.h"
#include "run_rows.h"
#include "upgrade.h"
#include <string.h>

/* A row of refs in version 1: u64 references, u32 raw length, u32 record length, u8 kind, 7 reserved. */
enum { OLD_REFS = 24 };

static enum ckpt_err upgrade_refs_row(struct ckpt_store *store, struct ckpt_txn *txn,
                                      const struct ckpt_id *id, const uint8_t *row)
{
    struct ckpt_slice stored;
    struct ckpt_record record;
    enum ckpt_err err = ckpt_db_get(txn, CKPT_TABLE_OBJECTS, id->bytes, CKPT_ID_SIZE, &stored);
    struct ckpt_refs refs = {
        .count = ckpt_get_le64(row),
        .raw_size = ckpt_get_le32(row + 8),
        .record_size = ckpt_get_le32(row + 12),
        .kind = (enum ckpt_kind)row[16],
    };
    if (err != CKPT_OK && err != CKPT_ERR_NOT_FOUND) {
        return err;
    }
    /* A damaged record is for verify to tell: its row gets what can be known. */
    if (err == CKPT_OK &&
        ckpt_record_parse(store->seed, stored.data, stored.size, &record) == CKPT_OK) {
        refs.coding = record.coding;
    }
    return ckpt_object_put_refs(txn, id, &refs);
}

/* Each row is looked up anew: putting one ends the life of what a cursor has given. */
static enum ckpt_err upgrade_refs(struct ckpt_store *store, struct ckpt_txn *txn)
{
    struct ckpt_id id = {0};
    enum ckpt_err err = CKPT_OK;
    for (bool first = true; err == CKPT_OK; first = false) {
        struct ckpt_cursor *cursor = NULL;
        struct ckpt_slice key;
        struct ckpt_slice value;
        uint8_t row[OLD_REFS];
        err = ckpt_cursor_open(txn, CKPT_TABLE_REFS, &cursor);
        if (err == CKPT_OK) {
            err = ckpt_cursor_seek(cursor, id.bytes, sizeof id.bytes, &key, &value);
        }
        if (err == CKPT_OK && !first) {
            err = ckpt_cursor_next(cursor, &key, &value);
        }
        if (err == CKPT_OK && (key.size != CKPT_ID_SIZE || value.size != OLD_REFS)) {
            err = CKPT_ERR_CORRUPT;
        }
        if (err == CKPT_OK) {
            memcpy(id.bytes, key.data, sizeof id.bytes);
            memcpy(row, value.data, sizeof row);
        }
        ckpt_cursor_close(cursor);
        if (err == CKPT_OK) {
            err = upgrade_refs_row(store, txn, &id, row);
        }
    }
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

/* Changes only captures, so the cursor over versions stays good; its values don't. */
static enum ckpt_err fill_captures(struct ckpt_txn *txn)
{
    struct ckpt_cursor *cursor = NULL;
    struct ckpt_slice key;
    struct ckpt_slice value;
    enum ckpt_err err = ckpt_cursor_open(txn, CKPT_TABLE_VERSIONS, &cursor);
    if (err == CKPT_OK) {
        err = ckpt_cursor_seek(cursor, NULL, 0, &key, &value);
    }
    while (err == CKPT_OK) {
        struct ckpt_version version;
        err = ckpt_version_parse(&key, &value, &version);
        if (err == CKPT_OK) {
            err = ckpt_catalog_put_capture_in(txn, &version);
        }
        if (err == CKPT_OK) {
            err = ckpt_cursor_next(cursor, &key, &value);
        }
    }
    ckpt_cursor_close(cursor);
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

/* Changes only fresh, so the cursor over captures stays good. */
static enum ckpt_err fill_fresh(struct ckpt_txn *txn)
{
    struct ckpt_cursor *cursor = NULL;
    struct ckpt_slice key;
    struct ckpt_slice value;
    enum ckpt_err err = ckpt_cursor_open(txn, CKPT_TABLE_CAPTURES, &cursor);
    if (err == CKPT_OK) {
        err = ckpt_cursor_seek(cursor, NULL, 0, &key, &value);
    }
    while (err == CKPT_OK) {
        struct ckpt_capture capture;
        err = ckpt_capture_parse(&key, &value, &capture);
        if (err == CKPT_OK) {
            struct ckpt_fresh fresh = {
                .sequence = capture.sequence, .dir = capture.dir, .number = capture.number};
            memcpy(fresh.name, capture.name, sizeof fresh.name);
            err = ckpt_fresh_put_in(txn, &fresh);
        }
        if (err == CKPT_OK) {
            err = ckpt_cursor_next(cursor, &key, &value);
        }
    }
    ckpt_cursor_close(cursor);
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

enum ckpt_err ckpt_upgrade(struct ckpt_store *store, unsigned from)
{
    struct ckpt_txn *txn = NULL;
    uint8_t format[4];
    ckpt_put_le32(format, CKPT_STORE_FORMAT);
    enum ckpt_err err = ckpt_store_begin(store, &txn);
    if (err == CKPT_OK && from < 2) {
        err = upgrade_refs(store, txn);
    }
    if (err == CKPT_OK && from < 2) {
        err = fill_captures(txn);
    }
    if (err == CKPT_OK) {
        err = fill_fresh(txn);
    }
    if (err == CKPT_OK) {
        err = ckpt_db_put(txn, CKPT_TABLE_META, "format", strlen("format"), format, sizeof format);
    }
    if (err == CKPT_OK) {
        err = ckpt_store_commit(store, txn);
        txn = NULL;
    }
    ckpt_txn_abort(txn);
    return err;
}
