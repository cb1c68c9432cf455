/*
 * The table captures: the versions of a directory's files in the order of their captures.
 */
#include "catalog_parts.h"
#include "catalog_txn.h"
#include "common/bytes.h"
#include "object/internal.h"
#include <string.h>

/* A row of captures: directory and sequence -> number, name. */
enum { CAPTURE_KEY = CKPT_DIR_SIZE + 8, CAPTURE_NAME = 4 };

static void capture_key(uint8_t key[CAPTURE_KEY], uint64_t dir, uint64_t sequence)
{
    ckpt_put_be64(key, dir);
    ckpt_put_be64(key + CKPT_DIR_SIZE, sequence);
}

enum ckpt_err ckpt_catalog_put_capture_in(struct ckpt_txn *txn, const struct ckpt_version *version)
{
    uint8_t key[CAPTURE_KEY];
    uint8_t value[CAPTURE_NAME + NAME_MAX];
    size_t n = strlen(version->name);
    capture_key(key, version->dir, version->sequence);
    ckpt_put_le32(value, version->number);
    memcpy(value + CAPTURE_NAME, version->name, n);
    return ckpt_db_insert(txn, CKPT_TABLE_CAPTURES, key, sizeof key, value, CAPTURE_NAME + n);
}

enum ckpt_err ckpt_catalog_del_capture_in(struct ckpt_txn *txn, const struct ckpt_version *version)
{
    uint8_t key[CAPTURE_KEY];
    capture_key(key, version->dir, version->sequence);
    enum ckpt_err err = ckpt_db_del(txn, CKPT_TABLE_CAPTURES, key, sizeof key);
    return err == CKPT_ERR_NOT_FOUND ? CKPT_ERR_CORRUPT : err;
}

enum ckpt_err ckpt_capture_parse(const struct ckpt_slice *key, const struct ckpt_slice *value,
                                 struct ckpt_capture *out)
{
    const uint8_t *at = value->data;
    if (key->size != CAPTURE_KEY || value->size <= CAPTURE_NAME ||
        value->size > CAPTURE_NAME + NAME_MAX ||
        memchr(at + CAPTURE_NAME, '\0', value->size - CAPTURE_NAME) != NULL) {
        return CKPT_ERR_CORRUPT;
    }
    memset(out->name, 0, sizeof out->name);
    memcpy(out->name, at + CAPTURE_NAME, value->size - CAPTURE_NAME);
    out->dir = ckpt_get_be64(key->data);
    out->sequence = ckpt_get_be64((const uint8_t *)key->data + CKPT_DIR_SIZE);
    out->number = ckpt_get_le32(at);
    return CKPT_OK;
}

/* The version that a row of captures stands for. */
static enum ckpt_err captured(struct ckpt_txn *txn, const struct ckpt_slice *key,
                              const struct ckpt_slice *value, struct ckpt_version *version)
{
    struct ckpt_capture capture;
    enum ckpt_err err = ckpt_capture_parse(key, value, &capture);
    if (err == CKPT_OK) {
        err = capture.number == 0 ? CKPT_ERR_CORRUPT
                                  : ckpt_catalog_version_in(txn, capture.dir, capture.name,
                                                            capture.number, version);
    }
    return err == CKPT_ERR_NOT_FOUND ? CKPT_ERR_CORRUPT : err;
}

enum ckpt_err ckpt_catalog_each_capture_in(struct ckpt_txn *txn, uint64_t dir, ckpt_version_fn *fn,
                                           void *arg)
{
    struct ckpt_cursor *cursor = NULL;
    struct ckpt_slice key;
    struct ckpt_slice value;
    uint8_t beyond[CAPTURE_KEY];
    capture_key(beyond, dir, UINT64_MAX);
    enum ckpt_err err = ckpt_cursor_open(txn, CKPT_TABLE_CAPTURES, &cursor);
    if (err != CKPT_OK) {
        return err;
    }
    err = ckpt_cursor_seek(cursor, beyond, sizeof beyond, &key, &value);
    if (err == CKPT_OK || err == CKPT_ERR_NOT_FOUND) {
        err = ckpt_cursor_prev(cursor, &key, &value);
    }
    while (err == CKPT_OK && ckpt_slice_begins(&key, beyond, CKPT_DIR_SIZE)) {
        struct ckpt_version version;
        err = captured(txn, &key, &value, &version);
        if (err != CKPT_OK || !fn(arg, &version)) {
            break;
        }
        err = ckpt_cursor_prev(cursor, &key, &value);
    }
    ckpt_cursor_close(cursor);
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

static bool take_first(void *arg, const struct ckpt_version *version)
{
    *(struct ckpt_version *)arg = *version;
    return false;
}

enum ckpt_err ckpt_catalog_latest(struct ckpt_store *store, uint64_t dir, struct ckpt_version *out)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_version version = {.number = 0};
    enum ckpt_err err = ckpt_txn_read(store->db, &txn);
    if (err == CKPT_OK) {
        err = ckpt_catalog_each_capture_in(txn, dir, take_first, &version);
    }
    ckpt_txn_abort(txn);
    if (err == CKPT_OK && version.number == 0) {
        err = CKPT_ERR_NOT_FOUND;
    }
    if (err == CKPT_OK) {
        *out = version;
    }
    return err;
}
