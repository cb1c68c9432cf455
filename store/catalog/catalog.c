/*
 * Reading the catalog: walks over its tables, single rows, paths.
 */
#include "catalog_parts.h"
#include "catalog_txn.h"
#include "common/bytes.h"
#include "object/internal.h"
#include <string.h>

/* ---- walks ---- */

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
    while (err == CKPT_OK && !stop && ckpt_slice_begins(&key, prefix, n)) {
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
    uint8_t prefix[CKPT_CATALOG_KEY];
    struct version_walk walk_arg = {.fn = fn, .arg = arg};
    return walk(txn, CKPT_TABLE_VERSIONS, prefix, ckpt_catalog_version_prefix(prefix, dir, name), version_step, &walk_arg);
}

enum ckpt_err ckpt_catalog_each_version(struct ckpt_store *store, uint64_t dir, const char *name,
                                        ckpt_version_fn *fn, void *arg)
{
    uint8_t prefix[CKPT_CATALOG_KEY];
    struct version_walk walk = {.fn = fn, .arg = arg};
    size_t n = ckpt_catalog_version_prefix(prefix, dir, name);
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
    uint8_t prefix[CKPT_CATALOG_KEY];
    *count = 0;
    return walk(txn, CKPT_TABLE_VERSIONS, prefix, ckpt_catalog_version_prefix(prefix, dir, name), count_step,
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
    uint8_t prefix[CKPT_DIR_SIZE];
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
    uint8_t prefix[CKPT_DIR_SIZE];
    struct dir_walk walk = {.fn = fn, .arg = arg};
    ckpt_put_be64(prefix, parent);
    return walk_store(store, CKPT_TABLE_DIRNAMES, prefix, sizeof prefix, dir_step, &walk, NULL);
}

/* ---- single rows ---- */

enum ckpt_err ckpt_catalog_dir_in(struct ckpt_txn *txn, uint64_t dir, struct ckpt_dir *out)
{
    uint8_t key[CKPT_DIR_SIZE];
    struct ckpt_slice key_slice = {.data = key, .size = sizeof key};
    struct ckpt_slice value;
    ckpt_put_be64(key, dir);
    enum ckpt_err err = ckpt_db_get(txn, CKPT_TABLE_DIRS, key, sizeof key, &value);
    return err == CKPT_OK ? ckpt_dir_parse(&key_slice, &value, out) : err;
}

enum ckpt_err ckpt_catalog_subdir_in(struct ckpt_txn *txn, uint64_t parent, const char *name,
                                     uint64_t *dir)
{
    uint8_t key[CKPT_CATALOG_KEY];
    struct ckpt_slice key_slice = {.data = key, .size = ckpt_catalog_name_key(key, parent, name)};
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
        err = ckpt_catalog_subdir_in(txn, parent, name, dir);
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
                err = ckpt_catalog_subdir_in(txn, at, part, &at);
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
    uint8_t beyond[CKPT_CATALOG_KEY];
    size_t n = ckpt_catalog_version_key(beyond, dir, name, UINT32_MAX);
    enum ckpt_err err = ckpt_cursor_open(txn, CKPT_TABLE_VERSIONS, &cursor);
    if (err != CKPT_OK) {
        return err;
    }
    /* The last entry before the key that no version has. */
    err = ckpt_cursor_seek(cursor, beyond, n, &key, &value);
    if (err == CKPT_OK || err == CKPT_ERR_NOT_FOUND) {
        err = ckpt_cursor_prev(cursor, &key, &value);
    }
    if (err == CKPT_OK && !(key.size == n && ckpt_slice_begins(&key, beyond, n - 4))) {
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
    uint8_t key[CKPT_CATALOG_KEY];
    struct ckpt_slice value;
    if (number == 0) {
        return newest_version(txn, dir, name, out);
    }
    struct ckpt_slice key_slice = {.data = key, .size = ckpt_catalog_version_key(key, dir, name, number)};
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

enum ckpt_err ckpt_catalog_file_in(struct ckpt_txn *txn, uint64_t dir, const char *name,
                                   struct ckpt_file *out)
{
    uint8_t key[CKPT_CATALOG_KEY];
    struct ckpt_slice key_slice = {.data = key, .size = ckpt_catalog_name_key(key, dir, name)};
    struct ckpt_slice value;
    enum ckpt_err err = ckpt_db_get(txn, CKPT_TABLE_FILES, key, key_slice.size, &value);
    return err == CKPT_OK ? ckpt_file_parse(&key_slice, &value, out) : err;
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
