/*
 * Rows of the table meta that count. The counters: one row of five u64: logical, unique, stored, objects, versions.
 * Numbers in order: one row of one u64 each, the last one that was given.
 */
#include "common/bytes.h"
#include "object.h"
#include <string.h>

static const char counters_key[] = "counters";

enum { COUNTERS_SIZE = 5 * 8 };

enum ckpt_err ckpt_counters_get(struct ckpt_txn *txn, struct ckpt_counters *out)
{
    struct ckpt_slice value;
    enum ckpt_err err =
        ckpt_db_get(txn, CKPT_TABLE_META, counters_key, sizeof counters_key - 1, &value);
    if (err == CKPT_ERR_NOT_FOUND) { /* nothing has been counted yet */
        *out = (struct ckpt_counters){0};
        return CKPT_OK;
    }
    if (err != CKPT_OK) {
        return err;
    }
    if (value.size != COUNTERS_SIZE) {
        return CKPT_ERR_CORRUPT;
    }
    const uint8_t *p = value.data;
    out->logical = ckpt_get_le64(p);
    out->unique = ckpt_get_le64(p + 8);
    out->stored = ckpt_get_le64(p + 16);
    out->objects = ckpt_get_le64(p + 24);
    out->versions = ckpt_get_le64(p + 32);
    return CKPT_OK;
}

enum ckpt_err ckpt_counters_add(struct ckpt_txn *txn, const struct ckpt_counters *difference)
{
    uint8_t row[COUNTERS_SIZE];
    struct ckpt_counters now;
    enum ckpt_err err = ckpt_counters_get(txn, &now);
    if (err != CKPT_OK) {
        return err;
    }
    ckpt_put_le64(row, now.logical + difference->logical);
    ckpt_put_le64(row + 8, now.unique + difference->unique);
    ckpt_put_le64(row + 16, now.stored + difference->stored);
    ckpt_put_le64(row + 24, now.objects + difference->objects);
    ckpt_put_le64(row + 32, now.versions + difference->versions);
    return ckpt_db_put(txn, CKPT_TABLE_META, counters_key, sizeof counters_key - 1, row,
                       sizeof row);
}

enum ckpt_err ckpt_meta_next(struct ckpt_txn *txn, const char *key, uint64_t *number)
{
    uint8_t value[8];
    struct ckpt_slice found;
    uint64_t last = 0;
    enum ckpt_err err = ckpt_db_get(txn, CKPT_TABLE_META, key, strlen(key), &found);
    if (err == CKPT_OK && found.size != sizeof value) {
        return CKPT_ERR_CORRUPT;
    }
    if (err == CKPT_OK) {
        last = ckpt_get_le64(found.data);
    } else if (err != CKPT_ERR_NOT_FOUND) {
        return err;
    }
    ckpt_put_le64(value, last + 1);
    *number = last + 1;
    return ckpt_db_put(txn, CKPT_TABLE_META, key, strlen(key), value, sizeof value);
}
