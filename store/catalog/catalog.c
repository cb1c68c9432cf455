/*
 * The tables dirs, dirnames, files and versions. Keys start with the directory id, so that what belongs to a
 * directory stands together; names are the bytes of the host's names, which hold neither '/' nor NUL.
 */
#include "catalog_txn.h"
#include "common/bytes.h"
#include "object/garbage.h"
#include "object/internal.h"
#include "object/object.h"
#include "run_rows.h"
#include <ckpt/catalog.h>
#include <stdlib.h>
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

enum { DIR_SIZE = 8, KEY_MAX = DIR_SIZE + NAME_MAX + 1 + 4 };
/* A row of captures: directory and sequence -> number, name. */
enum { CAPTURE_KEY = DIR_SIZE + 8, CAPTURE_NAME = 4 };

static const char sequence_key[] = "sequence";

/* ---- keys and rows ---- */

/* Directory id and name. */
static size_t name_key(uint8_t key[KEY_MAX], uint64_t dir, const char *name)
{
    size_t n = strnlen(name, NAME_MAX);
    ckpt_put_be64(key, dir);
    memcpy(key + DIR_SIZE, name, n);
    return DIR_SIZE + n;
}

/* Directory id, name, NUL, number: a name that begins with another stands apart from it. */
static size_t version_key(uint8_t key[KEY_MAX], uint64_t dir, const char *name, uint32_t number)
{
    size_t n = name_key(key, dir, name);
    key[n++] = 0;
    ckpt_put_be32(key + n, number);
    return n + 4;
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
    enum ckpt_err err = take_name(bytes + DIR_SIZE, n, name);
    if (err == CKPT_OK) {
        *dir = ckpt_get_be64(bytes);
    }
    return err;
}

enum ckpt_err ckpt_file_parse(const struct ckpt_slice *key, const struct ckpt_slice *value,
                              struct ckpt_file *out)
{
    const uint8_t *row = value->data;
    if (key->size <= DIR_SIZE || value->size != FILE_SIZE ||
        memcmp(row, file_magic, sizeof file_magic) != 0 || ckpt_get_le64(row + FILE_RESERVED) != 0) {
        return CKPT_ERR_CORRUPT;
    }
    enum ckpt_err err = split_key(key, key->size - DIR_SIZE, &out->dir, out->name);
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

static enum ckpt_err put_file(struct ckpt_txn *txn, const struct ckpt_file *file)
{
    uint8_t key[KEY_MAX];
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
    return ckpt_db_put(txn, CKPT_TABLE_FILES, key, name_key(key, file->dir, file->name), row,
                       sizeof row);
}

enum ckpt_err ckpt_catalog_file_in(struct ckpt_txn *txn, uint64_t dir, const char *name,
                                   struct ckpt_file *out)
{
    uint8_t key[KEY_MAX];
    struct ckpt_slice key_slice = {.data = key, .size = name_key(key, dir, name)};
    struct ckpt_slice value;
    enum ckpt_err err = ckpt_db_get(txn, CKPT_TABLE_FILES, key, key_slice.size, &value);
    return err == CKPT_OK ? ckpt_file_parse(&key_slice, &value, out) : err;
}

enum ckpt_err ckpt_version_parse(const struct ckpt_slice *key, const struct ckpt_slice *value,
                                 struct ckpt_version *out)
{
    enum { TAIL = 1 + 4 };
    const uint8_t *row = value->data;
    const uint8_t *bytes = key->data;
    if (key->size <= DIR_SIZE + TAIL || bytes[key->size - TAIL] != 0 ||
        value->size != VERSION_SIZE || memcmp(row, version_magic, sizeof version_magic) != 0 ||
        !all_zero(row + VERSION_RESERVED, VERSION_RECIPE - VERSION_RESERVED) ||
        !all_zero(row + VERSION_RESERVED_END, VERSION_SIZE - VERSION_RESERVED_END)) {
        return CKPT_ERR_CORRUPT;
    }
    enum ckpt_err err = split_key(key, key->size - DIR_SIZE - TAIL, &out->dir, out->name);
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

static enum ckpt_err put_version_row(struct ckpt_txn *txn, const struct ckpt_version *version)
{
    uint8_t key[KEY_MAX];
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
    size_t n = version_key(key, version->dir, version->name, version->number);
    return ckpt_db_put(txn, CKPT_TABLE_VERSIONS, key, n, row, sizeof row);
}

enum ckpt_err ckpt_dir_parse(const struct ckpt_slice *key, const struct ckpt_slice *value,
                             struct ckpt_dir *out)
{
    const uint8_t *row = value->data;
    if (key->size != DIR_SIZE || ckpt_get_be64(key->data) == CKPT_DIR_ROOT ||
        value->size <= DIR_SIZE) {
        return CKPT_ERR_CORRUPT;
    }
    out->dir = ckpt_get_be64(key->data);
    out->parent = ckpt_get_le64(row);
    return take_name(row + DIR_SIZE, value->size - DIR_SIZE, out->name);
}

enum ckpt_err ckpt_dirname_parse(const struct ckpt_slice *key, const struct ckpt_slice *value,
                                 struct ckpt_dir *out)
{
    if (key->size <= DIR_SIZE || value->size != DIR_SIZE ||
        ckpt_get_le64(value->data) == CKPT_DIR_ROOT) {
        return CKPT_ERR_CORRUPT;
    }
    out->dir = ckpt_get_le64(value->data);
    return split_key(key, key->size - DIR_SIZE, &out->parent, out->name);
}

enum ckpt_err ckpt_catalog_dir_in(struct ckpt_txn *txn, uint64_t dir, struct ckpt_dir *out)
{
    uint8_t key[DIR_SIZE];
    struct ckpt_slice key_slice = {.data = key, .size = sizeof key};
    struct ckpt_slice value;
    ckpt_put_be64(key, dir);
    enum ckpt_err err = ckpt_db_get(txn, CKPT_TABLE_DIRS, key, sizeof key, &value);
    return err == CKPT_OK ? ckpt_dir_parse(&key_slice, &value, out) : err;
}

/* ---- walks ---- */

static bool has_prefix(const struct ckpt_slice *key, const uint8_t *prefix, size_t n)
{
    return key->size >= n && (n == 0 || memcmp(key->data, prefix, n) == 0);
}

/* Calls STEP for each entry whose key begins with PREFIX, in order, until it says stop or fails. */
typedef enum ckpt_err step_fn(void *arg, const struct ckpt_slice *key,
                              const struct ckpt_slice *value, bool *stop);

static enum ckpt_err walk(struct ckpt_txn *txn, enum ckpt_table table, const uint8_t *prefix,
                          size_t n, step_fn *step, void *arg)
{
    struct ckpt_cursor *cursor = NULL;
    struct ckpt_slice key;
    struct ckpt_slice value;
    bool stop = false;
    enum ckpt_err err = ckpt_cursor_open(txn, table, &cursor);
    if (err != CKPT_OK) {
        return err;
    }
    err = ckpt_cursor_seek(cursor, n == 0 ? NULL : prefix, n, &key, &value);
    while (err == CKPT_OK && !stop && has_prefix(&key, prefix, n)) {
        err = step(arg, &key, &value, &stop);
        if (err == CKPT_OK && !stop) {
            err = ckpt_cursor_next(cursor, &key, &value);
        }
    }
    ckpt_cursor_close(cursor);
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

static enum ckpt_err walk_store(struct ckpt_store *store, enum ckpt_table table,
                                const uint8_t *prefix, size_t n, step_fn *step, void *arg,
                                struct ckpt_txn **current)
{
    struct ckpt_txn *txn = NULL;
    enum ckpt_err err = ckpt_txn_read(store->db, &txn);
    if (err == CKPT_OK) {
        if (current != NULL) {
            *current = txn;
        }
        err = walk(txn, table, prefix, n, step, arg);
    }
    ckpt_txn_abort(txn);
    return err;
}

struct version_walk {
    ckpt_version_fn *fn;
    void *arg;
};

static enum ckpt_err version_step(void *arg, const struct ckpt_slice *key,
                                  const struct ckpt_slice *value, bool *stop)
{
    struct version_walk *walk = arg;
    struct ckpt_version version;
    enum ckpt_err err = ckpt_version_parse(key, value, &version);
    if (err == CKPT_OK) {
        *stop = !walk->fn(walk->arg, &version);
    }
    return err;
}

enum ckpt_err ckpt_catalog_each_version_in(struct ckpt_txn *txn, uint64_t dir, const char *name, ckpt_version_fn *fn,
                                           void *arg)
{
    uint8_t prefix[KEY_MAX];
    struct version_walk walk_arg = {.fn = fn, .arg = arg};
    return walk(txn, CKPT_TABLE_VERSIONS, prefix, version_key(prefix, dir, name, 0) - 4, version_step, &walk_arg);
}

enum ckpt_err ckpt_catalog_each_version(struct ckpt_store *store, uint64_t dir, const char *name,
                                        ckpt_version_fn *fn, void *arg)
{
    uint8_t prefix[KEY_MAX];
    struct version_walk walk = {.fn = fn, .arg = arg};
    size_t n = version_key(prefix, dir, name, 0) - 4;
    return walk_store(store, CKPT_TABLE_VERSIONS, prefix, n, version_step, &walk, NULL);
}

static enum ckpt_err count_step(void *arg, const struct ckpt_slice *key,
                                const struct ckpt_slice *value, bool *stop)
{
    (void)key;
    (void)value;
    (void)stop;
    ++*(uint32_t *)arg;
    return CKPT_OK;
}

static enum ckpt_err count_versions(struct ckpt_txn *txn, uint64_t dir, const char *name,
                                    uint32_t *count)
{
    uint8_t prefix[KEY_MAX];
    *count = 0;
    return walk(txn, CKPT_TABLE_VERSIONS, prefix, version_key(prefix, dir, name, 0) - 4, count_step,
                count);
}

struct file_walk {
    struct ckpt_txn *txn;
    ckpt_file_fn *fn;
    void *arg;
    bool all; /* files without versions too */
};

static enum ckpt_err file_step(void *arg, const struct ckpt_slice *key,
                               const struct ckpt_slice *value, bool *stop)
{
    struct file_walk *walk = arg;
    struct ckpt_file file;
    uint32_t versions = 0;
    enum ckpt_err err = ckpt_file_parse(key, value, &file);
    if (err == CKPT_OK) {
        err = count_versions(walk->txn, file.dir, file.name, &versions);
    }
    if (err == CKPT_OK && (versions > 0 || walk->all)) {
        *stop = !walk->fn(walk->arg, &file, versions);
    }
    return err;
}

enum ckpt_err ckpt_catalog_each_file(struct ckpt_store *store, uint64_t dir, ckpt_file_fn *fn,
                                     void *arg)
{
    uint8_t prefix[DIR_SIZE];
    struct file_walk walk = {.fn = fn, .arg = arg};
    ckpt_put_be64(prefix, dir);
    return walk_store(store, CKPT_TABLE_FILES, prefix, sizeof prefix, file_step, &walk, &walk.txn);
}

enum ckpt_err ckpt_catalog_each_file_of_all(struct ckpt_store *store, ckpt_file_fn *fn, void *arg)
{
    struct file_walk walk = {.fn = fn, .arg = arg, .all = true};
    return walk_store(store, CKPT_TABLE_FILES, NULL, 0, file_step, &walk, &walk.txn);
}

struct dir_walk {
    ckpt_dir_fn *fn;
    void *arg;
};

static enum ckpt_err dir_step(void *arg, const struct ckpt_slice *key,
                              const struct ckpt_slice *value, bool *stop)
{
    struct dir_walk *walk = arg;
    struct ckpt_dir row;
    enum ckpt_err err = ckpt_dirname_parse(key, value, &row);
    if (err == CKPT_OK) {
        *stop = !walk->fn(walk->arg, row.dir, row.name);
    }
    return err;
}

enum ckpt_err ckpt_catalog_each_subdir(struct ckpt_store *store, uint64_t parent, ckpt_dir_fn *fn,
                                       void *arg)
{
    uint8_t prefix[DIR_SIZE];
    struct dir_walk walk = {.fn = fn, .arg = arg};
    ckpt_put_be64(prefix, parent);
    return walk_store(store, CKPT_TABLE_DIRNAMES, prefix, sizeof prefix, dir_step, &walk, NULL);
}

/* ---- single rows ---- */

static enum ckpt_err get_subdir(struct ckpt_txn *txn, uint64_t parent, const char *name,
                                uint64_t *dir)
{
    uint8_t key[KEY_MAX];
    struct ckpt_slice key_slice = {.data = key, .size = name_key(key, parent, name)};
    struct ckpt_slice value;
    struct ckpt_dir row;
    enum ckpt_err err = ckpt_db_get(txn, CKPT_TABLE_DIRNAMES, key, key_slice.size, &value);
    if (err == CKPT_OK) {
        err = ckpt_dirname_parse(&key_slice, &value, &row);
    }
    if (err == CKPT_OK) {
        *dir = row.dir;
    }
    return err;
}

enum ckpt_err ckpt_catalog_subdir(struct ckpt_store *store, uint64_t parent, const char *name,
                                  uint64_t *dir)
{
    struct ckpt_txn *txn = NULL;
    enum ckpt_err err = ckpt_txn_read(store->db, &txn);
    if (err == CKPT_OK) {
        err = get_subdir(txn, parent, name, dir);
    }
    ckpt_txn_abort(txn);
    return err;
}

enum ckpt_err ckpt_catalog_resolve(struct ckpt_store *store, const char *path, uint64_t *dir,
                                   char *name)
{
    struct ckpt_txn *txn = NULL;
    uint64_t at = CKPT_DIR_ROOT;
    char part[NAME_MAX + 1] = "";
    enum ckpt_err err = ckpt_txn_read(store->db, &txn);
    while (err == CKPT_OK) {
        path += strspn(path, "/");
        size_t n = strcspn(path, "/");
        if (n == 0) {
            break;
        }
        if (n > NAME_MAX || (n == 2 && memcmp(path, "..", 2) == 0)) {
            err = CKPT_ERR_INVALID;
        } else if (!(n == 1 && *path == '.')) {
            if (*part != '\0') {
                err = get_subdir(txn, at, part, &at);
            }
            memcpy(part, path, n);
            part[n] = '\0';
        }
        path += n;
    }
    ckpt_txn_abort(txn);
    if (err == CKPT_OK) {
        *dir = at;
        memcpy(name, part, sizeof part);
    }
    return err;
}

/* Puts NAME and a slash in front of the path that ends the buffer at AT. */
static enum ckpt_err prepend(char *path, size_t *at, const char *name, size_t n, bool slash)
{
    if (*at < n + slash) {
        return CKPT_ERR_INVALID;
    }
    if (slash) {
        path[--*at] = '/';
    }
    *at -= n;
    memcpy(path + *at, name, n);
    return CKPT_OK;
}

enum ckpt_err ckpt_catalog_path(struct ckpt_store *store, uint64_t dir, char *path, size_t size)
{
    struct ckpt_txn *txn = NULL;
    char buffer[PATH_MAX];
    size_t at = sizeof buffer;
    enum ckpt_err err = ckpt_txn_read(store->db, &txn);
    /* Every step takes at least one byte, so a circle in a damaged table ends. */
    while (err == CKPT_OK && dir != CKPT_DIR_ROOT) {
        struct ckpt_dir row;
        err = ckpt_catalog_dir_in(txn, dir, &row);
        if (err == CKPT_OK) {
            err = prepend(buffer, &at, row.name, strlen(row.name), at < sizeof buffer);
            dir = row.parent;
        }
    }
    ckpt_txn_abort(txn);
    if (err == CKPT_OK && sizeof buffer - at >= size) {
        err = CKPT_ERR_INVALID;
    }
    if (err == CKPT_OK) {
        memcpy(path, buffer + at, sizeof buffer - at);
        path[sizeof buffer - at] = '\0';
    }
    return err;
}

static enum ckpt_err newest_version(struct ckpt_txn *txn, uint64_t dir, const char *name,
                                    struct ckpt_version *out)
{
    struct ckpt_cursor *cursor = NULL;
    struct ckpt_slice key;
    struct ckpt_slice value;
    uint8_t beyond[KEY_MAX];
    size_t n = version_key(beyond, dir, name, UINT32_MAX);
    enum ckpt_err err = ckpt_cursor_open(txn, CKPT_TABLE_VERSIONS, &cursor);
    if (err != CKPT_OK) {
        return err;
    }
    /* The last entry before the key that no version has. */
    err = ckpt_cursor_seek(cursor, beyond, n, &key, &value);
    if (err == CKPT_OK || err == CKPT_ERR_NOT_FOUND) {
        err = ckpt_cursor_prev(cursor, &key, &value);
    }
    if (err == CKPT_OK && !(key.size == n && has_prefix(&key, beyond, n - 4))) {
        err = CKPT_ERR_NOT_FOUND;
    }
    if (err == CKPT_OK) {
        err = ckpt_version_parse(&key, &value, out);
    }
    ckpt_cursor_close(cursor);
    return err;
}

enum ckpt_err ckpt_catalog_version_in(struct ckpt_txn *txn, uint64_t dir, const char *name,
                                      uint32_t number, struct ckpt_version *out)
{
    uint8_t key[KEY_MAX];
    struct ckpt_slice value;
    if (number == 0) {
        return newest_version(txn, dir, name, out);
    }
    struct ckpt_slice key_slice = {.data = key, .size = version_key(key, dir, name, number)};
    enum ckpt_err err = ckpt_db_get(txn, CKPT_TABLE_VERSIONS, key, key_slice.size, &value);
    return err == CKPT_OK ? ckpt_version_parse(&key_slice, &value, out) : err;
}

enum ckpt_err ckpt_catalog_version(struct ckpt_store *store, uint64_t dir, const char *name,
                                   uint32_t number, struct ckpt_version *out)
{
    struct ckpt_txn *txn = NULL;
    enum ckpt_err err = ckpt_txn_read(store->db, &txn);
    if (err == CKPT_OK) {
        err = ckpt_catalog_version_in(txn, dir, name, number, out);
    }
    ckpt_txn_abort(txn);
    return err;
}

enum ckpt_err ckpt_catalog_file(struct ckpt_store *store, uint64_t dir, const char *name,
                                struct ckpt_file *out)
{
    struct ckpt_txn *txn = NULL;
    enum ckpt_err err = ckpt_txn_read(store->db, &txn);
    if (err == CKPT_OK) {
        err = ckpt_catalog_file_in(txn, dir, name, out);
    }
    ckpt_txn_abort(txn);
    return err;
}

/* ---- captures ---- */

static void capture_key(uint8_t key[CAPTURE_KEY], uint64_t dir, uint64_t sequence)
{
    ckpt_put_be64(key, dir);
    ckpt_put_be64(key + DIR_SIZE, sequence);
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

static enum ckpt_err del_capture(struct ckpt_txn *txn, const struct ckpt_version *version)
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
    out->sequence = ckpt_get_be64((const uint8_t *)key->data + DIR_SIZE);
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
    while (err == CKPT_OK && has_prefix(&key, beyond, DIR_SIZE)) {
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

/* ---- changes ---- */

static enum ckpt_err set_dir(struct ckpt_txn *txn, uint64_t dir, uint64_t parent, const char *name)
{
    uint8_t dir_key[DIR_SIZE];
    uint8_t key[KEY_MAX];
    uint8_t value[KEY_MAX];
    struct ckpt_dir old;
    uint64_t holder = CKPT_DIR_ROOT;
    enum ckpt_err err = ckpt_catalog_dir_in(txn, dir, &old);
    if (err == CKPT_ERR_CORRUPT) {
        err = CKPT_OK; /* replaced */
    } else if (err == CKPT_OK) {
        /* Leave the old place, unless another directory has taken it. */
        err = get_subdir(txn, old.parent, old.name, &holder);
        if (err == CKPT_OK && holder == dir) {
            err = ckpt_db_del(txn, CKPT_TABLE_DIRNAMES, key, name_key(key, old.parent, old.name));
        }
    }
    if (err != CKPT_OK && err != CKPT_ERR_NOT_FOUND) {
        return err;
    }
    ckpt_put_be64(dir_key, dir);
    size_t n = name_key(value, 0, name);
    ckpt_put_le64(value, parent);
    err = ckpt_db_put(txn, CKPT_TABLE_DIRS, dir_key, sizeof dir_key, value, n);
    if (err == CKPT_OK) {
        ckpt_put_le64(value, dir);
        err = ckpt_db_put(txn, CKPT_TABLE_DIRNAMES, key, name_key(key, parent, name), value, DIR_SIZE);
    }
    return err;
}

enum ckpt_err ckpt_catalog_set_dir(struct ckpt_store *store, uint64_t dir, uint64_t parent,
                                   const char *name)
{
    struct ckpt_txn *txn = NULL;
    enum ckpt_err err = ckpt_store_begin(store, &txn);
    if (err == CKPT_OK) {
        err = set_dir(txn, dir, parent, name);
    }
    if (err != CKPT_OK) {
        ckpt_txn_abort(txn);
        return err;
    }
    return ckpt_store_commit(store, txn);
}

static enum ckpt_err next_sequence(struct ckpt_txn *txn, uint64_t *sequence)
{
    uint8_t value[8];
    struct ckpt_slice found;
    uint64_t last = 0;
    enum ckpt_err err = ckpt_db_get(txn, CKPT_TABLE_META, sequence_key, strlen(sequence_key), &found);
    if (err == CKPT_OK && found.size != sizeof value) {
        return CKPT_ERR_CORRUPT;
    }
    if (err == CKPT_OK) {
        last = ckpt_get_le64(found.data);
    } else if (err != CKPT_ERR_NOT_FOUND) {
        return err;
    }
    ckpt_put_le64(value, last + 1);
    *sequence = last + 1;
    return ckpt_db_put(txn, CKPT_TABLE_META, sequence_key, strlen(sequence_key), value, sizeof value);
}

/* For who makes checkpoints of them. What was saved again with the same content is news too: it is where it was once more. */
static enum ckpt_err put_fresh(struct ckpt_txn *txn, const struct ckpt_version *version, uint64_t sequence)
{
    struct ckpt_fresh fresh = {.sequence = sequence, .dir = version->dir, .number = version->number};
    memcpy(fresh.name, version->name, sizeof fresh.name);
    return ckpt_fresh_put_in(txn, &fresh);
}

enum ckpt_err ckpt_fresh_again_in(struct ckpt_txn *txn, const struct ckpt_version *version)
{
    uint64_t sequence = 0;
    enum ckpt_err err = next_sequence(txn, &sequence);
    return err == CKPT_OK ? put_fresh(txn, version, sequence) : err;
}

static enum ckpt_err add_version(struct ckpt_txn *txn, struct ckpt_version *version,
                                 struct ckpt_file *file)
{
    struct ckpt_counters difference = {.logical = version->size, .versions = 1};
    enum ckpt_err err = next_sequence(txn, &version->sequence);
    if (err != CKPT_OK) {
        return err;
    }
    version->number = file->next_number++;
    file->sequence = version->sequence;
    file->recipe = version->recipe;
    err = put_version_row(txn, version);
    if (err == CKPT_OK) {
        err = ckpt_catalog_put_capture_in(txn, version);
    }
    if (err == CKPT_OK) {
        err = put_fresh(txn, version, version->sequence);
    }
    return err == CKPT_OK ? ckpt_counters_add(txn, &difference) : err;
}

enum ckpt_err ckpt_catalog_put_version_in(struct ckpt_store *store, struct ckpt_codec *codec,
                                          struct ckpt_txn *txn, struct ckpt_version *version,
                                          const struct ckpt_stamp *stamp, uint64_t hot_bytes,
                                          bool *added)
{
    struct ckpt_file file;
    struct ckpt_version newest;
    memset(&file, 0, sizeof file);
    enum ckpt_err err = ckpt_catalog_file_in(txn, version->dir, version->name, &file);
    if (err == CKPT_ERR_NOT_FOUND) {
        file.dir = version->dir;
        memcpy(file.name, version->name, sizeof file.name);
        file.next_number = 1;
    } else if (err != CKPT_OK) {
        return err;
    }
    err = newest_version(txn, version->dir, version->name, &newest);
    if (err == CKPT_OK && ckpt_id_equal(&newest.recipe, &version->recipe)) {
        *added = false;
        version->number = newest.number;
        version->sequence = newest.sequence;
        file.recipe = version->recipe; /* a newer capture may have been forgotten */
        err = ckpt_recipe_unref(store, codec, txn, &version->recipe);
        /* The same bytes; a restore gives them the mode and time that the file had last. */
        newest.mtime_ns = version->mtime_ns;
        newest.mode = version->mode;
        newest.uid = version->uid;
        newest.gid = version->gid;
        if (err == CKPT_OK) {
            err = put_version_row(txn, &newest);
        }
        if (err == CKPT_OK) {
            err = ckpt_fresh_again_in(txn, &newest);
        }
    } else if (err == CKPT_OK || err == CKPT_ERR_NOT_FOUND) {
        *added = true;
        err = add_version(txn, version, &file);
    }
    if (err != CKPT_OK) {
        return err;
    }
    file.stamp = *stamp;
    file.hot_bytes = hot_bytes;
    return put_file(txn, &file);
}

enum ckpt_err ckpt_catalog_put_version(struct ckpt_store *store, struct ckpt_version *version,
                                       const struct ckpt_stamp *stamp, uint64_t hot_bytes,
                                       bool *added)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_codec *codec = NULL;
    enum ckpt_err err = ckpt_codec_create(&codec);
    if (err == CKPT_OK) {
        err = ckpt_store_begin(store, &txn);
    }
    if (err == CKPT_OK) {
        err = ckpt_object_ref(txn, &version->recipe);
    }
    if (err == CKPT_OK) {
        err = ckpt_catalog_put_version_in(store, codec, txn, version, stamp, hot_bytes, added);
    }
    if (err == CKPT_OK) {
        err = ckpt_store_commit(store, txn);
        txn = NULL;
    }
    ckpt_txn_abort(txn);
    ckpt_codec_free(codec);
    return err;
}

enum ckpt_err ckpt_catalog_set_stamp_in(struct ckpt_txn *txn, uint64_t dir, const char *name,
                                        const struct ckpt_stamp *stamp, uint64_t hot_bytes)
{
    struct ckpt_file file;
    enum ckpt_err err = ckpt_catalog_file_in(txn, dir, name, &file);
    if (err == CKPT_OK) {
        file.stamp = *stamp;
        file.hot_bytes = hot_bytes;
        err = put_file(txn, &file);
    }
    return err;
}

enum ckpt_err ckpt_catalog_set_stamp(struct ckpt_store *store, uint64_t dir, const char *name,
                                     const struct ckpt_stamp *stamp, uint64_t hot_bytes)
{
    struct ckpt_txn *txn = NULL;
    enum ckpt_err err = ckpt_store_begin(store, &txn);
    if (err == CKPT_OK) {
        err = ckpt_catalog_set_stamp_in(txn, dir, name, stamp, hot_bytes);
    }
    if (err != CKPT_OK) {
        ckpt_txn_abort(txn);
        return err;
    }
    return ckpt_store_commit(store, txn);
}

static enum ckpt_err drop(struct ckpt_store *store, struct ckpt_codec *codec, struct ckpt_txn *txn,
                          uint64_t dir, const char *name, uint32_t number)
{
    uint8_t key[KEY_MAX];
    struct ckpt_version version;
    enum ckpt_err err =
        number == 0 ? CKPT_ERR_INVALID : ckpt_catalog_version_in(txn, dir, name, number, &version);
    if (err == CKPT_OK) {
        err = ckpt_checkpoint_lose_version_in(txn, dir, name, number);
    }
    if (err == CKPT_OK) {
        err = ckpt_db_del(txn, CKPT_TABLE_VERSIONS, key, version_key(key, dir, name, number));
    }
    if (err == CKPT_OK) {
        err = del_capture(txn, &version);
    }
    if (err == CKPT_OK) {
        err = ckpt_recipe_unref(store, codec, txn, &version.recipe);
        err = err == CKPT_ERR_NOT_FOUND ? CKPT_ERR_CORRUPT : err;
    }
    if (err == CKPT_OK) {
        struct ckpt_counters difference = {.logical = 0 - version.size, .versions = (uint64_t)-1};
        err = ckpt_counters_add(txn, &difference);
    }
    return err;
}

enum ckpt_err ckpt_catalog_drop_in(struct ckpt_store *store, struct ckpt_codec *codec, struct ckpt_txn *txn,
                                   uint64_t dir, const char *name, const uint32_t *numbers, size_t n)
{
    enum ckpt_err err = CKPT_OK;
    for (size_t i = 0; err == CKPT_OK && i < n; i++) {
        err = drop(store, codec, txn, dir, name, numbers[i]);
    }
    return err;
}

enum ckpt_err ckpt_catalog_drop(struct ckpt_store *store, uint64_t dir, const char *name,
                                const uint32_t *numbers, size_t n)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_codec *codec = NULL;
    enum ckpt_err err = ckpt_codec_create(&codec);
    if (err == CKPT_OK) {
        err = ckpt_store_begin(store, &txn);
    }
    if (err == CKPT_OK) {
        err = ckpt_catalog_drop_in(store, codec, txn, dir, name, numbers, n);
    }
    if (err == CKPT_OK) {
        err = ckpt_store_commit(store, txn);
        txn = NULL;
    }
    ckpt_txn_abort(txn);
    ckpt_codec_free(codec);
    return err;
}
