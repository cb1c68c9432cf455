/*
 * Verify: the meta table, the directories, the files and their versions.
 */
#include "catalog/catalog_txn.h"
#include "common/bytes.h"
#include "object/internal.h"
#include "object/object.h"
#include "verify_parts.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* ---- meta ---- */

static bool meta_row(struct ckpt_verify *v, const char *name, size_t size, const uint8_t **bytes)
{
    struct ckpt_slice value;
    if (ckpt_db_get(v->txn, CKPT_TABLE_META, name, strlen(name), &value) != CKPT_OK) {
        ckpt_verify_problem(v, "meta: the row \"%s\" is missing", name);
        return false;
    }
    if (value.size != size) {
        ckpt_verify_problem(v, "meta: the row \"%s\" has %zu bytes, not %zu", name, value.size,
                            size);
        return false;
    }
    *bytes = value.data;
    return true;
}

void ckpt_verify_meta(struct ckpt_verify *v)
{
    const uint8_t *bytes = NULL;
    if (meta_row(v, "format", 4, &bytes) && ckpt_get_le32(bytes) != CKPT_STORE_FORMAT) {
        ckpt_verify_problem(v, "meta: the format is %" PRIu32 ", not %d", ckpt_get_le32(bytes),
                            (int)CKPT_STORE_FORMAT);
    }
    if (meta_row(v, "store", CKPT_ID_SIZE, &bytes) &&
        memcmp(bytes, v->store->store_id.bytes, CKPT_ID_SIZE) != 0) {
        ckpt_verify_problem(v, "meta: the id is not that of the store's FORMAT file");
    }
    v->last_sequence = meta_row(v, "sequence", 8, &bytes) ? ckpt_get_le64(bytes) : UINT64_MAX;
    v->last_garbage = meta_row(v, "garbage", 8, &bytes) ? ckpt_get_le64(bytes) : UINT64_MAX;
    v->has_counters =
        meta_row(v, "counters", 40, &bytes) && ckpt_counters_get(v->txn, &v->booked) == CKPT_OK;
}

static void check_counters(struct ckpt_verify *v)
{
    const struct ckpt_counters *b = &v->booked;
    const struct ckpt_counters *c = &v->counted;
    if (v->has_counters && memcmp(b, c, sizeof *b) != 0) {
        ckpt_verify_problem(v,
                            "meta: the counters say %" PRIu64 " logical, %" PRIu64
                            " unique and %" PRIu64 " stored bytes, %" PRIu64 " objects and %" PRIu64
                            " versions; there are %" PRIu64 ", %" PRIu64 ", %" PRIu64 ", %" PRIu64
                            " and %" PRIu64,
                            b->logical, b->unique, b->stored, b->objects, b->versions, c->logical,
                            c->unique, c->stored, c->objects, c->versions);
    }
}

/* ---- directories ---- */

static enum ckpt_err dir_row(void *arg, const struct ckpt_slice *key,
                             const struct ckpt_slice *value)
{
    struct ckpt_verify *v = arg;
    struct ckpt_dir row;
    if (ckpt_dir_parse(key, value, &row) != CKPT_OK) {
        ckpt_verify_problem(v, "dirs: a row of %zu bytes with a key of %zu is damaged", value->size,
                            key->size);
        return CKPT_OK;
    }
    if (v->dir_count == v->dir_room) {
        size_t room = v->dir_room == 0 ? 64 : 2 * v->dir_room;
        struct ckpt_verify_dir *dirs = realloc(v->dirs, room * sizeof *dirs);
        if (dirs == NULL) {
            return CKPT_ERR_NOMEM;
        }
        v->dirs = dirs;
        v->dir_room = room;
    }
    v->dirs[v->dir_count++] = (struct ckpt_verify_dir){.id = row.dir, .parent = row.parent};
    return CKPT_OK;
}

static struct ckpt_verify_dir *find_dir(struct ckpt_verify *v, uint64_t id)
{
    size_t low = 0;
    size_t high = v->dir_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (v->dirs[middle].id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < v->dir_count && v->dirs[low].id == id ? &v->dirs[low] : NULL;
}

static void check_way_up(struct ckpt_verify *v, struct ckpt_verify_dir *from)
{
    struct ckpt_dir row = {0};
    struct ckpt_verify_dir *at = from;
    struct ckpt_verify_dir *next = NULL;
    while (at->state == DIR_UNKNOWN) {
        at->state = DIR_ON_THE_WAY;
        next = at->parent == CKPT_DIR_ROOT ? NULL : find_dir(v, at->parent);
        if (next == NULL) {
            break;
        }
        at = next;
    }
    (void)!ckpt_catalog_dir_in(v->txn, at->id, &row);
    if (next == NULL && at->state == DIR_ON_THE_WAY && at->parent != CKPT_DIR_ROOT) {
        ckpt_verify_problem(
            v, "directory %016" PRIx64 " (%s): the one above it, %016" PRIx64 ", has no row",
            at->id, row.name, at->parent);
    } else if (next != NULL && at->state == DIR_ON_THE_WAY) {
        ckpt_verify_problem(v, "directory %016" PRIx64 " (%s) stands below itself", at->id,
                            row.name);
    }
    for (at = from; at != NULL && at->state == DIR_ON_THE_WAY;) {
        at->state = DIR_KNOWN;
        at = at->parent == CKPT_DIR_ROOT ? NULL : find_dir(v, at->parent);
    }
}

static enum ckpt_err dirname_row(void *arg, const struct ckpt_slice *key,
                                 const struct ckpt_slice *value)
{
    struct ckpt_verify *v = arg;
    struct ckpt_dir row;
    struct ckpt_dir there;
    if (ckpt_dirname_parse(key, value, &row) != CKPT_OK) {
        ckpt_verify_problem(v, "dirnames: a row of %zu bytes with a key of %zu is damaged",
                            value->size, key->size);
        return CKPT_OK;
    }
    enum ckpt_err err = ckpt_catalog_dir_in(v->txn, row.dir, &there);
    if (err == CKPT_ERR_NOT_FOUND) {
        ckpt_verify_problem(v,
                            "the name \"%s\" leads to directory %016" PRIx64 ", which has no row",
                            row.name, row.dir);
    } else if (err == CKPT_OK &&
               (there.parent != row.parent || strcmp(there.name, row.name) != 0)) {
        ckpt_verify_problem(v,
                            "the name \"%s\" leads to directory %016" PRIx64
                            ", whose row says \"%s\" or another place",
                            row.name, row.dir, there.name);
    }
    return CKPT_OK;
}

static enum ckpt_err check_dirs(struct ckpt_verify *v)
{
    enum ckpt_err err = ckpt_verify_each(v, CKPT_TABLE_DIRS, dir_row, v);
    for (size_t i = 0; err == CKPT_OK && i < v->dir_count; i++) {
        check_way_up(v, &v->dirs[i]);
    }
    return err == CKPT_OK ? ckpt_verify_each(v, CKPT_TABLE_DIRNAMES, dirname_row, v) : err;
}

/* ---- files and versions ---- */

void ckpt_verify_dir_of(struct ckpt_verify *v, uint64_t dir, const char *name)
{
    if (dir == CKPT_DIR_ROOT || find_dir(v, dir) != NULL) {
        return;
    }
    /* Rows of one directory stand together: the last one is the likeliest. */
    for (size_t i = v->lost_count; i-- > 0;) {
        if (v->lost_dirs[i] == dir) {
            return;
        }
    }
    if (v->lost_dirs != NULL && v->lost_count < CKPT_VERIFY_REPORTS) {
        v->lost_dirs[v->lost_count++] = dir;
    }
    ckpt_verify_problem(
        v, "directory %016" PRIx64 ", which %s and perhaps others belong to, has no row", dir,
        name);
}

static enum ckpt_err file_row(void *arg, const struct ckpt_slice *key,
                              const struct ckpt_slice *value)
{
    struct ckpt_verify *v = arg;
    struct ckpt_file file;
    char label[CKPT_VERIFY_LABEL];
    if (ckpt_file_parse(key, value, &file) != CKPT_OK) {
        ckpt_verify_problem(v, "files: a row of %zu bytes with a key of %zu is damaged",
                            value->size, key->size);
        return CKPT_OK;
    }
    ckpt_verify_dir_of(v, file.dir, file.name);
    if (file.sequence > v->last_sequence) {
        v->sequence_told = true;
        ckpt_verify_problem(
            v, "meta: the last capture is %" PRIu64 ", and %s has the capture %" PRIu64,
            v->last_sequence, ckpt_verify_label(v, file.dir, file.name, label), file.sequence);
    }
    return CKPT_OK;
}

static void check_version_in_file(struct ckpt_verify *v, const struct ckpt_version *version,
                                  const char *label)
{
    struct ckpt_file file;
    enum ckpt_err err = ckpt_catalog_file_in(v->txn, version->dir, version->name, &file);
    if (err == CKPT_ERR_NOT_FOUND) {
        ckpt_verify_dir_of(v, version->dir, version->name);
        ckpt_verify_problem(v, "%s@v%" PRIu32 ": its file has no row", label, version->number);
    } else if (err == CKPT_OK && file.next_number <= version->number) {
        ckpt_verify_problem(
            v, "%s@v%" PRIu32 ": the next version of the file would get number %" PRIu32, label,
            version->number, file.next_number);
    } else if (err == CKPT_OK && file.sequence < version->sequence) {
        ckpt_verify_problem(v,
                            "%s@v%" PRIu32 " is capture %" PRIu64
                            ", and the newest one of its file is said to be %" PRIu64,
                            label, version->number, version->sequence, file.sequence);
    }
}

static enum ckpt_err version_row(void *arg, const struct ckpt_slice *key,
                                 const struct ckpt_slice *value)
{
    struct ckpt_verify *v = arg;
    struct ckpt_version version;
    char label[CKPT_VERIFY_LABEL];
    if (ckpt_version_parse(key, value, &version) != CKPT_OK) {
        return CKPT_OK; /* told already */
    }
    (void)ckpt_verify_label(v, version.dir, version.name, label);
    const struct ckpt_verify_object *recipe = ckpt_verify_find(v, &version.recipe);
    if (recipe != NULL && recipe->read && recipe->file_size != version.size) {
        ckpt_verify_problem(v, "%s@v%" PRIu32 " has %" PRIu64 " bytes, and its recipe %" PRIu64,
                            label, version.number, version.size, recipe->file_size);
    }
    if (version.sequence > v->last_sequence) {
        v->sequence_told = true;
        ckpt_verify_problem(
            v, "meta: the last capture is %" PRIu64 ", and %s@v%" PRIu32 " is %" PRIu64,
            v->last_sequence, label, version.number, version.sequence);
    }
    check_version_in_file(v, &version, label);
    v->captures++;
    return CKPT_OK;
}

static enum ckpt_err capture_row(void *arg, const struct ckpt_slice *key,
                                 const struct ckpt_slice *value)
{
    struct ckpt_verify *v = arg;
    struct ckpt_capture capture;
    struct ckpt_version version;
    if (ckpt_capture_parse(key, value, &capture) != CKPT_OK) {
        ckpt_verify_problem(v, "captures: a row of %zu bytes with a key of %zu is damaged", value->size,
                            key->size);
        return CKPT_OK;
    }
    enum ckpt_err err = capture.number == 0 ? CKPT_ERR_NOT_FOUND
                                            : ckpt_catalog_version_in(v->txn, capture.dir, capture.name,
                                                                      capture.number, &version);
    if (err == CKPT_OK && version.sequence == capture.sequence) {
        v->captures--;
    } else if (err == CKPT_OK || err == CKPT_ERR_NOT_FOUND) {
        ckpt_verify_problem(v, "captures: capture %" PRIu64 " is said to be %s@v%" PRIu32 ", which %s",
                            capture.sequence, capture.name, capture.number,
                            err == CKPT_OK ? "is another" : "isn't there");
    }
    return CKPT_OK;
}

static enum ckpt_err check_captures(struct ckpt_verify *v)
{
    enum ckpt_err err = ckpt_verify_each(v, CKPT_TABLE_CAPTURES, capture_row, v);
    if (err == CKPT_OK && v->captures != 0) {
        ckpt_verify_problem(v, "captures: %" PRId64 " versions have no row", v->captures);
    }
    return err;
}

enum ckpt_err ckpt_verify_catalog(struct ckpt_verify *v)
{
    enum ckpt_err err = check_dirs(v);
    if (err == CKPT_OK) {
        err = ckpt_verify_each(v, CKPT_TABLE_FILES, file_row, v);
    }
    if (err == CKPT_OK) {
        err = ckpt_verify_each(v, CKPT_TABLE_VERSIONS, version_row, v);
    }
    if (err == CKPT_OK) {
        err = check_captures(v);
    }
    if (err == CKPT_OK) {
        check_counters(v);
    }
    return err;
}
