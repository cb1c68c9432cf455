/*
 * Changing the catalog: places of directories, new versions, stamps, versions that are dropped.
 */
#include "catalog_parts.h"
#include "catalog_txn.h"
#include "common/bytes.h"
#include "object/garbage.h"
#include "object/internal.h"
#include "object/object.h"
#include "run_rows.h"
#include <string.h>

static const char sequence_key[] = "sequence";

static enum ckpt_err set_dir(struct ckpt_txn *txn, uint64_t dir, uint64_t parent, const char *name)
{
    uint8_t dir_key[CKPT_DIR_SIZE];
    uint8_t key[CKPT_CATALOG_KEY];
    uint8_t value[CKPT_CATALOG_KEY];
    struct ckpt_dir old;
    uint64_t holder = CKPT_DIR_ROOT;
    enum ckpt_err err = ckpt_catalog_dir_in(txn, dir, &old);
    if (err == CKPT_ERR_CORRUPT) {
        err = CKPT_OK; /* replaced */
    } else if (err == CKPT_OK) {
        /* Leave the old place, unless another directory has taken it. */
        err = ckpt_catalog_subdir_in(txn, old.parent, old.name, &holder);
        if (err == CKPT_OK && holder == dir) {
            err = ckpt_db_del(txn, CKPT_TABLE_DIRNAMES, key, ckpt_catalog_name_key(key, old.parent, old.name));
        }
    }
    if (err != CKPT_OK && err != CKPT_ERR_NOT_FOUND) {
        return err;
    }
    ckpt_put_be64(dir_key, dir);
    size_t n = ckpt_catalog_name_key(value, 0, name);
    ckpt_put_le64(value, parent);
    err = ckpt_db_put(txn, CKPT_TABLE_DIRS, dir_key, sizeof dir_key, value, n);
    if (err == CKPT_OK) {
        ckpt_put_le64(value, dir);
        n = ckpt_catalog_name_key(key, parent, name);
        err = ckpt_db_put(txn, CKPT_TABLE_DIRNAMES, key, n, value, CKPT_DIR_SIZE);
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
    enum ckpt_err err = ckpt_meta_next(txn, sequence_key, &sequence);
    return err == CKPT_OK ? put_fresh(txn, version, sequence) : err;
}

static enum ckpt_err add_version(struct ckpt_txn *txn, struct ckpt_version *version,
                                 struct ckpt_file *file)
{
    struct ckpt_counters difference = {.logical = version->size, .versions = 1};
    enum ckpt_err err = ckpt_meta_next(txn, sequence_key, &version->sequence);
    if (err != CKPT_OK) {
        return err;
    }
    version->number = file->next_number++;
    file->sequence = version->sequence;
    file->recipe = version->recipe;
    err = ckpt_version_put_in(txn, version);
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
    err = ckpt_catalog_version_in(txn, version->dir, version->name, 0, &newest);
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
            err = ckpt_version_put_in(txn, &newest);
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
    return ckpt_file_put_in(txn, &file);
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
        err = ckpt_file_put_in(txn, &file);
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
    uint8_t key[CKPT_CATALOG_KEY];
    struct ckpt_version version;
    enum ckpt_err err =
        number == 0 ? CKPT_ERR_INVALID : ckpt_catalog_version_in(txn, dir, name, number, &version);
    if (err == CKPT_OK) {
        err = ckpt_checkpoint_lose_version_in(txn, dir, name, number);
    }
    if (err == CKPT_OK) {
        err = ckpt_db_del(txn, CKPT_TABLE_VERSIONS, key, ckpt_catalog_version_key(key, dir, name, number));
    }
    if (err == CKPT_OK) {
        err = ckpt_catalog_del_capture_in(txn, &version);
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
