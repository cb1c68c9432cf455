/*
 * The keys and rows of the tables dirs, dirnames, files and versions: put together and taken apart. Keys start with
 * the directory id, so that what belongs to a directory stands together; names are the bytes of the host's names, which
 * hold neither '/' nor NUL.
 */
#include "catalog_parts.h"
#include "catalog_txn.h"
#include "common/bytes.h"
#include <string.h>

/*
 * A row of files (FORMAT.md): magic, next number, sequence, recipe, stamp (ino, size, mtime, ctime), hot
 * bytes, reserved.
 */
enum {
    FILE_NEXT = 4,
    FILE_SEQUENCE = 8,
    FILE_RECIPE = 16,
    FILE_INO = 32,
    FILE_BYTES = 40,
    FILE_MTIME = 48,
    FILE_CTIME = 56,
    FILE_HOT = 64,
    FILE_RESERVED = 72,
    FILE_SIZE = 80,
};
static const char file_magic[4] = "CKF1";

/* A row of versions (FORMAT.md). */
enum {
    VERSION_RESERVED = 4, /* 4 bytes */
    VERSION_RECIPE = 8,
    VERSION_SEQUENCE = 24,
    VERSION_BYTES = 32,
    VERSION_STORED = 40,
    VERSION_ADDED = 48,
    VERSION_MTIME = 56,
    VERSION_CAPTURED = 64,
    VERSION_MODE = 72,
    VERSION_UID = 76,
    VERSION_GID = 80,
    VERSION_RESERVED_END = 84, /* to the end of the row */
    VERSION_SIZE = 96,
};
static const char version_magic[4] = "CKV1";

size_t ckpt_catalog_name_key(uint8_t key[CKPT_CATALOG_KEY], uint64_t dir, const char *name)
{
    size_t n = strnlen(name, NAME_MAX);
    ckpt_put_be64(key, dir);
    memcpy(key + CKPT_DIR_SIZE, name, n);
    return CKPT_DIR_SIZE + n;
}

size_t ckpt_catalog_version_key(uint8_t key[CKPT_CATALOG_KEY], uint64_t dir, const char *name, uint32_t number)
{
    size_t n = ckpt_catalog_name_key(key, dir, name);
    key[n++] = 0;
    ckpt_put_be32(key + n, number);
    return n + 4;
}

size_t ckpt_catalog_version_prefix(uint8_t key[CKPT_CATALOG_KEY], uint64_t dir, const char *name)
{
    return ckpt_catalog_version_key(key, dir, name, 0) - sizeof(uint32_t);
}

bool ckpt_slice_begins(const struct ckpt_slice *key, const uint8_t *prefix, size_t n)
{
    return key->size >= n && (n == 0 || memcmp(key->data, prefix, n) == 0);
}

static bool all_zero(const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (bytes[i] != 0) {
            return false;
        }
    }
    return true;
}

/* A host's name of N bytes. */
static enum ckpt_err take_name(const uint8_t *bytes, size_t n, char *name)
{
    if (n == 0 || n > NAME_MAX || memchr(bytes, '\0', n) != NULL || memchr(bytes, '/', n) != NULL) {
        return CKPT_ERR_CORRUPT;
    }
    memcpy(name, bytes, n);
    name[n] = '\0';
    return CKPT_OK;
}

/* Takes directory id and name off a key whose name has N bytes. */
static enum ckpt_err split_key(const struct ckpt_slice *key, size_t n, uint64_t *dir, char *name)
{
    const uint8_t *bytes = key->data;
    enum ckpt_err err = take_name(bytes + CKPT_DIR_SIZE, n, name);
    if (err == CKPT_OK) {
        *dir = ckpt_get_be64(bytes);
    }
    return err;
}

enum ckpt_err ckpt_file_parse(const struct ckpt_slice *key, const struct ckpt_slice *value,
                              struct ckpt_file *out)
{
    const uint8_t *row = value->data;
    if (key->size <= CKPT_DIR_SIZE || value->size != FILE_SIZE ||
        memcmp(row, file_magic, sizeof file_magic) != 0 || ckpt_get_le64(row + FILE_RESERVED) != 0) {
        return CKPT_ERR_CORRUPT;
    }
    enum ckpt_err err = split_key(key, key->size - CKPT_DIR_SIZE, &out->dir, out->name);
    if (err != CKPT_OK) {
        return err;
    }
    out->next_number = ckpt_get_le32(row + FILE_NEXT);
    out->sequence = ckpt_get_le64(row + FILE_SEQUENCE);
    memcpy(out->recipe.bytes, row + FILE_RECIPE, CKPT_ID_SIZE);
    out->stamp = (struct ckpt_stamp){.ino = ckpt_get_le64(row + FILE_INO),
                                     .size = ckpt_get_le64(row + FILE_BYTES),
                                     .mtime_ns = (int64_t)ckpt_get_le64(row + FILE_MTIME),
                                     .ctime_ns = (int64_t)ckpt_get_le64(row + FILE_CTIME)};
    out->hot_bytes = ckpt_get_le64(row + FILE_HOT);
    return CKPT_OK;
}

enum ckpt_err ckpt_file_put_in(struct ckpt_txn *txn, const struct ckpt_file *file)
{
    uint8_t key[CKPT_CATALOG_KEY];
    uint8_t row[FILE_SIZE] = {0};
    memcpy(row, file_magic, sizeof file_magic);
    ckpt_put_le32(row + FILE_NEXT, file->next_number);
    ckpt_put_le64(row + FILE_SEQUENCE, file->sequence);
    memcpy(row + FILE_RECIPE, file->recipe.bytes, CKPT_ID_SIZE);
    ckpt_put_le64(row + FILE_INO, file->stamp.ino);
    ckpt_put_le64(row + FILE_BYTES, file->stamp.size);
    ckpt_put_le64(row + FILE_MTIME, (uint64_t)file->stamp.mtime_ns);
    ckpt_put_le64(row + FILE_CTIME, (uint64_t)file->stamp.ctime_ns);
    ckpt_put_le64(row + FILE_HOT, file->hot_bytes);
    size_t n = ckpt_catalog_name_key(key, file->dir, file->name);
    return ckpt_db_put(txn, CKPT_TABLE_FILES, key, n, row, sizeof row);
}

enum ckpt_err ckpt_version_parse(const struct ckpt_slice *key, const struct ckpt_slice *value,
                                 struct ckpt_version *out)
{
    enum { TAIL = 1 + 4 };
    const uint8_t *row = value->data;
    const uint8_t *bytes = key->data;
    if (key->size <= CKPT_DIR_SIZE + TAIL || bytes[key->size - TAIL] != 0 ||
        value->size != VERSION_SIZE || memcmp(row, version_magic, sizeof version_magic) != 0 ||
        !all_zero(row + VERSION_RESERVED, VERSION_RECIPE - VERSION_RESERVED) ||
        !all_zero(row + VERSION_RESERVED_END, VERSION_SIZE - VERSION_RESERVED_END)) {
        return CKPT_ERR_CORRUPT;
    }
    enum ckpt_err err = split_key(key, key->size - CKPT_DIR_SIZE - TAIL, &out->dir, out->name);
    if (err != CKPT_OK) {
        return err;
    }
    out->number = ckpt_get_be32(bytes + key->size - 4);
    memcpy(out->recipe.bytes, row + VERSION_RECIPE, CKPT_ID_SIZE);
    out->sequence = ckpt_get_le64(row + VERSION_SEQUENCE);
    out->size = ckpt_get_le64(row + VERSION_BYTES);
    out->stored = ckpt_get_le64(row + VERSION_STORED);
    out->added = ckpt_get_le64(row + VERSION_ADDED);
    out->mtime_ns = (int64_t)ckpt_get_le64(row + VERSION_MTIME);
    out->captured_ns = (int64_t)ckpt_get_le64(row + VERSION_CAPTURED);
    out->mode = ckpt_get_le32(row + VERSION_MODE);
    out->uid = ckpt_get_le32(row + VERSION_UID);
    out->gid = ckpt_get_le32(row + VERSION_GID);
    return CKPT_OK;
}

enum ckpt_err ckpt_version_put_in(struct ckpt_txn *txn, const struct ckpt_version *version)
{
    uint8_t key[CKPT_CATALOG_KEY];
    uint8_t row[VERSION_SIZE] = {0};
    memcpy(row, version_magic, sizeof version_magic);
    memcpy(row + VERSION_RECIPE, version->recipe.bytes, CKPT_ID_SIZE);
    ckpt_put_le64(row + VERSION_SEQUENCE, version->sequence);
    ckpt_put_le64(row + VERSION_BYTES, version->size);
    ckpt_put_le64(row + VERSION_STORED, version->stored);
    ckpt_put_le64(row + VERSION_ADDED, version->added);
    ckpt_put_le64(row + VERSION_MTIME, (uint64_t)version->mtime_ns);
    ckpt_put_le64(row + VERSION_CAPTURED, (uint64_t)version->captured_ns);
    ckpt_put_le32(row + VERSION_MODE, version->mode);
    ckpt_put_le32(row + VERSION_UID, version->uid);
    ckpt_put_le32(row + VERSION_GID, version->gid);
    size_t n = ckpt_catalog_version_key(key, version->dir, version->name, version->number);
    return ckpt_db_put(txn, CKPT_TABLE_VERSIONS, key, n, row, sizeof row);
}

enum ckpt_err ckpt_dir_parse(const struct ckpt_slice *key, const struct ckpt_slice *value,
                             struct ckpt_dir *out)
{
    const uint8_t *row = value->data;
    if (key->size != CKPT_DIR_SIZE || ckpt_get_be64(key->data) == CKPT_DIR_ROOT ||
        value->size <= CKPT_DIR_SIZE) {
        return CKPT_ERR_CORRUPT;
    }
    out->dir = ckpt_get_be64(key->data);
    out->parent = ckpt_get_le64(row);
    return take_name(row + CKPT_DIR_SIZE, value->size - CKPT_DIR_SIZE, out->name);
}

enum ckpt_err ckpt_dirname_parse(const struct ckpt_slice *key, const struct ckpt_slice *value,
                                 struct ckpt_dir *out)
{
    if (key->size <= CKPT_DIR_SIZE || value->size != CKPT_DIR_SIZE ||
        ckpt_get_le64(value->data) == CKPT_DIR_ROOT) {
        return CKPT_ERR_CORRUPT;
    }
    out->dir = ckpt_get_le64(value->data);
    return split_key(key, key->size - CKPT_DIR_SIZE, &out->parent, out->name);
}
