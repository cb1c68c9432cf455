/*
 * Verify: walks everything and recounts it. Structure in one read transaction, so that what it sees is one
 * moment of the store; the live stubs afterwards, each mismatch looked at again in a later moment.
 */
#include "catalog_txn.h"
#include "garbage.h"
#include "internal.h"
#include "live.h"
#include "object.h"
#include "recipe.h"
#include <ckpt/host.h>
#include <ckpt/verify.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#define HASH_NONFATAL_OOM 1 /* then an element that could not be added has no hh.tbl */
#include <uthash.h>

/* What the references to one object add up to. */
struct tally {
    struct ckpt_id id;
    uint64_t expected; /* references found */
    bool used;         /* one of them is not garbage's */
    UT_hash_handle hh;
};

struct verify {
    struct ckpt_store *store;
    struct ckpt_codec *codec;
    struct ckpt_txn *txn;
    bool quick;
    ckpt_progress_fn *progress;
    void *arg;
    struct tally *tallies;
    struct ckpt_counters counted;
    struct ckpt_counters booked;
    uint8_t *raw;
    size_t raw_room;
    struct ckpt_verify_result *result;
};

static void problem(struct verify *v, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void problem(struct verify *v, const char *format, ...)
{
    char text[1024];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    v->result->problems++;
    ckpt_reportf(&v->store->report, CKPT_ERROR, "%s", text);
}

static enum ckpt_err count(struct verify *v, const struct ckpt_id *id, bool used)
{
    struct tally *tally = NULL;
    HASH_FIND(hh, v->tallies, id, sizeof *id, tally);
    if (tally == NULL) {
        tally = calloc(1, sizeof *tally);
        if (tally == NULL) {
            return CKPT_ERR_NOMEM;
        }
        tally->id = *id;
        HASH_ADD(hh, v->tallies, id, sizeof tally->id, tally);
        if (tally->hh.tbl == NULL) {
            free(tally);
            return CKPT_ERR_NOMEM;
        }
    }
    tally->expected++;
    tally->used |= used;
    return CKPT_OK;
}

typedef enum ckpt_err row_fn(struct verify *v, const struct ckpt_slice *key,
                             const struct ckpt_slice *value);

static enum ckpt_err each_row(struct verify *v, enum ckpt_table table, row_fn *fn)
{
    struct ckpt_cursor *cursor = NULL;
    struct ckpt_slice key;
    struct ckpt_slice value;
    enum ckpt_err err = ckpt_cursor_open(v->txn, table, &cursor);
    if (err != CKPT_OK) {
        return err;
    }
    err = ckpt_cursor_seek(cursor, NULL, 0, &key, &value);
    while (err == CKPT_OK) {
        err = fn(v, &key, &value);
        if (err == CKPT_OK) {
            err = ckpt_cursor_next(cursor, &key, &value);
        }
    }
    ckpt_cursor_close(cursor);
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

/* ---- versions and garbage ---- */

static enum ckpt_err version_row(struct verify *v, const struct ckpt_slice *key,
                                 const struct ckpt_slice *value)
{
    struct ckpt_version version;
    struct ckpt_recipe recipe;
    ckpt_recipe_init(&recipe);
    v->result->versions++;
    if (ckpt_version_parse(key, value, &version) != CKPT_OK) {
        problem(v, "a version row of %zu bytes is damaged; its file can't be told", value->size);
        return CKPT_OK;
    }
    v->counted.versions++;
    v->counted.logical += version.size;
    enum ckpt_err err = ckpt_recipe_load(v->store, v->codec, v->txn, &version.recipe, &recipe);
    if (err != CKPT_OK && err != CKPT_ERR_NOMEM) {
        problem(v, "%s@v%" PRIu32 " can't be read: its recipe: %s", version.name, version.number,
                ckpt_err_text(err));
        err = CKPT_OK;
    } else if (err == CKPT_OK && recipe.size != version.size) {
        problem(v, "%s@v%" PRIu32 " has %" PRIu64 " bytes, its recipe %" PRIu64, version.name,
                version.number, version.size, recipe.size);
    }
    ckpt_recipe_clear(&recipe);
    return err == CKPT_OK ? count(v, &version.recipe, true) : err;
}

static enum ckpt_err garbage_row(struct verify *v, const struct ckpt_slice *key,
                                 const struct ckpt_slice *value)
{
    const uint8_t *bytes = value->data;
    enum ckpt_err err = CKPT_OK;
    if (key->size != 8 || value->size < CKPT_ID_SIZE || value->size % CKPT_ID_SIZE != 0) {
        problem(v, "a garbage row of %zu bytes is damaged", value->size);
        return CKPT_OK;
    }
    for (size_t at = CKPT_ID_SIZE; err == CKPT_OK && at < value->size; at += CKPT_ID_SIZE) {
        struct ckpt_id id;
        memcpy(id.bytes, bytes + at, CKPT_ID_SIZE);
        err = count(v, &id, false);
    }
    return err;
}

static enum ckpt_err file_row(struct verify *v, const struct ckpt_slice *key,
                              const struct ckpt_slice *value)
{
    struct ckpt_file file;
    if (ckpt_file_parse(key, value, &file) != CKPT_OK) {
        problem(v, "a file row of %zu bytes is damaged", value->size);
    }
    return CKPT_OK;
}

/* ---- objects ---- */

static enum ckpt_err recipe_chunks(struct verify *v, const struct ckpt_id *id)
{
    struct ckpt_recipe recipe;
    ckpt_recipe_init(&recipe);
    enum ckpt_err err = ckpt_recipe_load(v->store, v->codec, v->txn, id, &recipe);
    if (err != CKPT_OK) {
        return err == CKPT_ERR_NOMEM ? err : CKPT_OK; /* reported with its record */
    }
    for (size_t i = 0; err == CKPT_OK && i < recipe.count; i++) {
        if (!ckpt_extent_is_hole(&recipe.extents[i])) {
            err = count(v, &recipe.extents[i].id, true);
        }
    }
    ckpt_recipe_clear(&recipe);
    return err;
}

static enum ckpt_err refs_row(struct verify *v, const struct ckpt_slice *key,
                              const struct ckpt_slice *value)
{
    struct ckpt_id id;
    struct ckpt_refs refs;
    (void)value;
    if (key->size != CKPT_ID_SIZE) {
        problem(v, "a refs row has a key of %zu bytes", key->size);
        return CKPT_OK;
    }
    memcpy(id.bytes, key->data, CKPT_ID_SIZE);
    enum ckpt_err err = ckpt_object_refs(v->txn, &id, &refs);
    return err == CKPT_OK && refs.kind == CKPT_KIND_RECIPE ? recipe_chunks(v, &id) : CKPT_OK;
}

/* Who uses a bad chunk: the first version whose recipe has it. */
struct culprit {
    struct ckpt_id id;
    bool found;
};

static enum ckpt_err name_user(struct verify *v, const struct ckpt_id *id, char *out, size_t size)
{
    struct ckpt_cursor *cursor = NULL;
    struct ckpt_slice key;
    struct ckpt_slice value;
    bool found = false;
    enum ckpt_err err = ckpt_cursor_open(v->txn, CKPT_TABLE_VERSIONS, &cursor);
    if (err != CKPT_OK) {
        return err;
    }
    (void)snprintf(out, size, "no file");
    err = ckpt_cursor_seek(cursor, NULL, 0, &key, &value);
    while (err == CKPT_OK && !found) {
        struct ckpt_version version;
        struct ckpt_recipe recipe;
        ckpt_recipe_init(&recipe);
        if (ckpt_version_parse(&key, &value, &version) == CKPT_OK &&
            ckpt_recipe_load(v->store, v->codec, v->txn, &version.recipe, &recipe) == CKPT_OK) {
            for (size_t i = 0; !found && i < recipe.count; i++) {
                found = ckpt_id_equal(&recipe.extents[i].id, id);
                if (found) {
                    char path[PATH_MAX] = "";
                    (void)!ckpt_catalog_path(v->store, version.dir, path, sizeof path);
                    (void)snprintf(out, size, "%s%s%s@v%" PRIu32 " at offset %" PRIu64, path,
                                   path[0] == '\0' ? "" : "/", version.name, version.number,
                                   recipe.extents[i].offset);
                }
            }
        }
        ckpt_recipe_clear(&recipe);
        err = ckpt_cursor_next(cursor, &key, &value);
    }
    ckpt_cursor_close(cursor);
    return CKPT_OK;
}

static void bad_object(struct verify *v, const struct ckpt_id *id, enum ckpt_err err)
{
    char hex[CKPT_ID_HEX];
    char user[PATH_MAX + NAME_MAX + 64];
    ckpt_id_hex(id, hex);
    if (name_user(v, id, user, sizeof user) != CKPT_OK) {
        (void)snprintf(user, sizeof user, "unknown files");
    }
    problem(v, "object %s: %s; used by %.600s", hex, ckpt_err_text(err), user);
}

static enum ckpt_err read_object(struct verify *v, const struct ckpt_record *record)
{
    if (record->raw_size > v->raw_room) {
        free(v->raw);
        v->raw_room = 0;
        v->raw = malloc(record->raw_size);
        if (v->raw == NULL) {
            return CKPT_ERR_NOMEM;
        }
        v->raw_room = record->raw_size;
    }
    return ckpt_record_decode(v->codec, v->store->seed, record, v->raw);
}

static void check_refs(struct verify *v, const struct ckpt_id *id, size_t record_size,
                       const struct ckpt_record *record)
{
    struct ckpt_refs refs;
    struct tally *tally = NULL;
    char hex[CKPT_ID_HEX];
    ckpt_id_hex(id, hex);
    HASH_FIND(hh, v->tallies, id, sizeof *id, tally);
    if (ckpt_object_refs(v->txn, id, &refs) != CKPT_OK) {
        problem(v, "object %s has no reference count", hex);
        return;
    }
    uint64_t expected = tally == NULL ? 0 : tally->expected;
    if (refs.count != expected) {
        problem(v, "object %s has %" PRIu64 " references booked and %" PRIu64 " found", hex, refs.count,
                expected);
    }
    if (tally != NULL && !tally->used) {
        v->result->unused++;
    }
    if (refs.record_size != record_size || refs.raw_size != record->raw_size ||
        refs.kind != record->kind) {
        problem(v, "object %s does not have the sizes that are booked for it", hex);
    }
}

static enum ckpt_err object_row(struct verify *v, const struct ckpt_slice *key,
                                const struct ckpt_slice *value)
{
    struct ckpt_record record;
    struct ckpt_id id;
    if (key->size != CKPT_ID_SIZE) {
        problem(v, "an object has a key of %zu bytes", key->size);
        return CKPT_OK;
    }
    memcpy(id.bytes, key->data, CKPT_ID_SIZE);
    v->result->objects++;
    v->result->bytes += value->size;
    enum ckpt_err err = ckpt_record_parse(v->store->seed, value->data, value->size, &record);
    if (err == CKPT_OK && !ckpt_id_equal(&record.id, &id)) {
        err = CKPT_ERR_CORRUPT;
    }
    if (err == CKPT_OK) {
        check_refs(v, &id, value->size, &record);
        v->counted.objects++;
        v->counted.stored += value->size;
        v->counted.unique += record.raw_size;
        if (!v->quick || record.kind == CKPT_KIND_RECIPE) {
            err = read_object(v, &record);
        }
    }
    if (err == CKPT_ERR_NOMEM) {
        return err;
    }
    if (err != CKPT_OK) {
        bad_object(v, &id, err);
    }
    if (v->progress != NULL) {
        v->progress(v->arg, v->result->bytes, v->booked.stored);
    }
    return CKPT_OK;
}

static void missing_objects(struct verify *v)
{
    for (struct tally *t = v->tallies; t != NULL; t = t->hh.next) {
        struct ckpt_slice value;
        if (ckpt_db_get(v->txn, CKPT_TABLE_OBJECTS, t->id.bytes, CKPT_ID_SIZE, &value) != CKPT_OK) {
            bad_object(v, &t->id, CKPT_ERR_NOT_FOUND);
        }
    }
}

static void check_counters(struct verify *v)
{
    if (memcmp(&v->counted, &v->booked, sizeof v->counted) != 0) {
        problem(v,
                "the counters say %" PRIu64 " versions, %" PRIu64 " objects, %" PRIu64
                " stored bytes; there are %" PRIu64 ", %" PRIu64 ", %" PRIu64,
                v->booked.versions, v->booked.objects, v->booked.stored, v->counted.versions,
                v->counted.objects, v->counted.stored);
    }
}

static enum ckpt_err check_structure(struct verify *v)
{
    enum ckpt_err err = ckpt_txn_read(v->store->db, &v->txn);
    if (err == CKPT_OK) {
        err = ckpt_counters_get(v->txn, &v->booked);
    }
    if (err == CKPT_OK) {
        err = each_row(v, CKPT_TABLE_VERSIONS, version_row);
    }
    if (err == CKPT_OK) {
        err = each_row(v, CKPT_TABLE_FILES, file_row);
    }
    if (err == CKPT_OK) {
        err = each_row(v, CKPT_TABLE_GARBAGE, garbage_row);
    }
    if (err == CKPT_OK) {
        err = each_row(v, CKPT_TABLE_REFS, refs_row);
    }
    if (err == CKPT_OK) {
        err = each_row(v, CKPT_TABLE_OBJECTS, object_row);
    }
    if (err == CKPT_OK) {
        missing_objects(v);
        check_counters(v);
    }
    ckpt_txn_abort(v->txn);
    v->txn = NULL;
    return err;
}

/* ---- stubs ---- */

static bool same_recipe(void *arg, const struct ckpt_version *version)
{
    struct culprit *wanted = arg;
    wanted->found = ckpt_id_equal(&version->recipe, &wanted->id);
    return !wanted->found;
}

/* NOT_FOUND: no version has the stub's bytes. */
static enum ckpt_err find_backing(struct verify *v, int dirfd, const char *name,
                                  const struct ckpt_stub *stub)
{
    uint64_t dir = CKPT_DIR_ROOT;
    struct culprit wanted = {.id = stub->recipe};
    enum ckpt_err err = ckpt_live_dir_id(v->store, dirfd, &dir);
    if (err == CKPT_OK) {
        err = ckpt_catalog_each_version(v->store, dir, name, same_recipe, &wanted);
    }
    return err == CKPT_OK && !wanted.found ? CKPT_ERR_NOT_FOUND : err;
}

/* What can't be looked at can't be said to be right. What has gone meanwhile needs nothing. */
static void cannot_look(struct verify *v, int dirfd, const char *name, enum ckpt_err err)
{
    char path[PATH_MAX] = "";
    if (err != CKPT_ERR_NOT_FOUND) {
        (void)!ckpt_live_path(v->store, dirfd, path);
        problem(v, "live/%s%s%s can't be looked at: %s", path, path[0] == '\0' ? "" : "/", name,
                ckpt_err_text(err));
    }
}

static void check_file(struct verify *v, int dirfd, const char *name)
{
    struct ckpt_stub stub;
    bool cold = false;
    int fd = ckpt_host_openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd < 0) {
        cannot_look(v, dirfd, name, ckpt_err_from_errno(errno));
        return;
    }
    enum ckpt_err err = ckpt_live_stub(fd, &stub, &cold);
    if (err == CKPT_ERR_CORRUPT) {
        problem(v, "%s carries a damaged mark of a cold file", name);
    } else if (err == CKPT_OK && cold) {
        v->result->stubs++;
        /* A daemon at work may just be moving it: what has no name any more needs nothing. */
        char path[PATH_MAX];
        err = find_backing(v, dirfd, name, &stub);
        if (err == CKPT_ERR_NOT_FOUND) {
            err = find_backing(v, dirfd, name, &stub);
        }
        if (err == CKPT_ERR_NOT_FOUND && (err = ckpt_live_path(v->store, fd, path)) == CKPT_OK) {
            problem(v, "%s is cold and no version of it has its bytes", path);
        }
    }
    if (err != CKPT_OK && err != CKPT_ERR_CORRUPT && err != CKPT_ERR_UNSUPPORTED) {
        cannot_look(v, dirfd, name, err);
    }
    ckpt_host_close(fd);
}

static void walk_live(struct verify *v, int fd)
{
    int own = ckpt_host_openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    DIR *stream = own < 0 ? NULL : fdopendir(own);
    if (stream == NULL) {
        cannot_look(v, fd, ".", ckpt_err_from_errno(errno));
        ckpt_host_close(own);
        return;
    }
    struct dirent *entry;
    while ((entry = ckpt_host_readdir(stream)) != NULL) {
        struct stat st;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        if (ckpt_host_fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
            cannot_look(v, fd, entry->d_name, ckpt_err_from_errno(errno));
        } else if (S_ISREG(st.st_mode)) {
            check_file(v, fd, entry->d_name);
        } else if (S_ISDIR(st.st_mode)) {
            int child = ckpt_host_openat(fd, entry->d_name,
                                         O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
            if (child >= 0) {
                walk_live(v, child);
                ckpt_host_close(child);
            } else {
                cannot_look(v, fd, entry->d_name, ckpt_err_from_errno(errno));
            }
        }
    }
    if (errno != 0) {
        cannot_look(v, fd, ".", ckpt_err_from_errno(errno));
    }
    closedir(stream);
}

enum ckpt_err ckpt_verify(struct ckpt_store *store, bool quick, ckpt_progress_fn *progress,
                          void *arg, struct ckpt_verify_result *result)
{
    struct ckpt_verify_result found = {0};
    struct verify v = {
        .store = store, .quick = quick, .progress = progress, .arg = arg, .result = &found};
    enum ckpt_err err = ckpt_codec_create(&v.codec);
    if (err == CKPT_OK) {
        err = check_structure(&v);
    }
    if (err == CKPT_OK) {
        walk_live(&v, ckpt_store_livefd(store));
        *result = found;
    }
    struct tally *tally = NULL;
    struct tally *next = NULL;
    HASH_ITER (hh, v.tallies, tally, next) {
        HASH_DEL(v.tallies, tally);
        free(tally);
    }
    free(v.raw);
    ckpt_codec_free(v.codec);
    return err;
}
