/*
 * Verify: the tables in one snapshot, then the chunks, then live/.
 *
 * What is wrong with objects is collected, so that one walk over the versions at the end finds the
 * files that each of them harms, however many there are.
 */
#include "catalog/catalog_txn.h"
#include "object/internal.h"
#include "verify_parts.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    TEXT_MAX = 8192, /* of one report: a path and a sentence */
    USERS_NAMED = 3, /* versions named with a bad object */
};

/* ---- telling ---- */

void ckpt_verify_problem(struct ckpt_verify *v, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list args;
    if (++v->result.problems > CKPT_VERIFY_REPORTS) {
        return;
    }
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ckpt_reportf(&v->store->report, CKPT_ERROR, "%s", text);
}

void ckpt_verify_bad(struct ckpt_verify *v, const struct ckpt_id *id, const char *format, ...)
{
    char text[TEXT_MAX];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    for (size_t i = 0; i < v->bad_count; i++) {
        if (ckpt_id_equal(&v->bads[i].id, id) && strcmp(v->bads[i].what, text) == 0) {
            return;
        }
    }
    char *what = v->bad_count < CKPT_VERIFY_REPORTS ? strdup(text) : NULL;
    if (what == NULL) {
        v->result.problems++; /* one more than can be told */
        return;
    }
    v->bads[v->bad_count++] = (struct ckpt_verify_bad){.id = *id, .what = what};
}

const char *ckpt_verify_label(struct ckpt_verify *v, uint64_t dir, const char *name, char *label)
{
    char path[PATH_MAX] = "";
    if (ckpt_catalog_path(v->store, dir, path, sizeof path) != CKPT_OK) {
        (void)snprintf(label, CKPT_VERIFY_LABEL, "(directory %016" PRIx64 ")/%s", dir, name);
    } else {
        (void)snprintf(label, CKPT_VERIFY_LABEL, "%s%s%s", path, path[0] == '\0' ? "" : "/", name);
    }
    return label;
}

enum ckpt_err ckpt_verify_each(struct ckpt_verify *v, enum ckpt_table table, ckpt_verify_row_fn *fn,
                               void *arg)
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
        err = fn(arg, &key, &value);
        if (err == CKPT_OK) {
            err = ckpt_cursor_next(cursor, &key, &value);
        }
    }
    ckpt_cursor_close(cursor);
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

/* ---- who is harmed ---- */

static int by_id(const void *a, const void *b)
{
    const struct ckpt_verify_bad *one = a;
    const struct ckpt_verify_bad *other = b;
    return memcmp(&one->id, &other->id, sizeof one->id);
}

/* The first bad object with this id, or the end. */
static size_t first_bad(const struct ckpt_verify *v, const struct ckpt_id *id)
{
    size_t low = 0;
    size_t high = v->bad_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (memcmp(&v->bads[middle].id, id, sizeof *id) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* VERSION can't be read because of BAD; at AT of the file, if that isn't NULL. */
static void add_user(struct ckpt_verify *v, struct ckpt_verify_bad *bad,
                     const struct ckpt_version *version, const uint64_t *at)
{
    char label[CKPT_VERIFY_LABEL];
    char where[48] = "";
    char *users = NULL;
    if (bad->versions++ >= USERS_NAMED) {
        return;
    }
    (void)ckpt_verify_label(v, version->dir, version->name, label);
    if (at != NULL) {
        (void)snprintf(where, sizeof where, " at offset %" PRIu64, *at);
    }
    if (asprintf(&users, "%s%s%s@v%" PRIu32 "%s", bad->users == NULL ? "" : bad->users,
                 bad->users == NULL ? "" : ", ", label, version->number, where) >= 0) {
        free(bad->users);
        bad->users = users;
    }
}

/* A chunk that stands in a file several times is named where it stands first. */
static enum ckpt_err note_chunks(struct ckpt_verify *v, const struct ckpt_version *version)
{
    struct ckpt_recipe recipe;
    struct ckpt_record record;
    ckpt_recipe_init(&recipe);
    enum ckpt_err err = ckpt_verify_recipe(v, &version->recipe, &record, &recipe);
    bool *noted = err == CKPT_OK ? calloc(v->bad_count, sizeof *noted) : NULL;
    if (err == CKPT_OK && noted == NULL) {
        err = CKPT_ERR_NOMEM;
    }
    for (size_t i = 0; err == CKPT_OK && i < recipe.count; i++) {
        const struct ckpt_extent *extent = &recipe.extents[i];
        if (ckpt_extent_is_hole(extent)) {
            continue;
        }
        const struct ckpt_id *chunk = &recipe.chunks[extent->chunk].id;
        for (size_t b = first_bad(v, chunk);
             b < v->bad_count && ckpt_id_equal(&v->bads[b].id, chunk); b++) {
            if (!noted[b]) {
                add_user(v, &v->bads[b], version, &extent->offset);
                noted[b] = true;
            }
        }
    }
    free(noted);
    ckpt_recipe_clear(&recipe);
    return err == CKPT_ERR_NOMEM ? err : CKPT_OK; /* a bad recipe is one of the bads itself */
}

static enum ckpt_err note_version(void *arg, const struct ckpt_slice *key,
                                  const struct ckpt_slice *value)
{
    struct ckpt_verify *v = arg;
    struct ckpt_version version;
    if (ckpt_version_parse(key, value, &version) != CKPT_OK) {
        return CKPT_OK;
    }
    for (size_t b = first_bad(v, &version.recipe);
         b < v->bad_count && ckpt_id_equal(&v->bads[b].id, &version.recipe); b++) {
        add_user(v, &v->bads[b], &version, NULL);
    }
    return note_chunks(v, &version);
}

static enum ckpt_err tell_bads(struct ckpt_verify *v)
{
    enum ckpt_err err = CKPT_OK;
    if (v->bad_count > 0) {
        qsort(v->bads, v->bad_count, sizeof *v->bads, by_id);
        err = ckpt_txn_read(v->store->db, &v->txn);
        if (err == CKPT_OK) {
            err = ckpt_verify_each(v, CKPT_TABLE_VERSIONS, note_version, v);
        }
        ckpt_txn_abort(v->txn);
        v->txn = NULL;
    }
    for (size_t i = 0; i < v->bad_count; i++) {
        const struct ckpt_verify_bad *bad = &v->bads[i];
        if (bad->versions > USERS_NAMED) {
            ckpt_verify_problem(v, "%s; used by %s and %" PRIu64 " more", bad->what, bad->users,
                                bad->versions - USERS_NAMED);
        } else {
            ckpt_verify_problem(v, "%s; used by %s", bad->what,
                                bad->users == NULL ? "no version" : bad->users);
        }
    }
    /* A table that can't be walked has been told. */
    return err == CKPT_ERR_CORRUPT ? CKPT_OK : err;
}

/* ---- all of it ---- */

static enum ckpt_err check_tables(struct ckpt_verify *v)
{
    enum ckpt_err err = ckpt_txn_read(v->store->db, &v->txn);
    if (err != CKPT_OK) {
        return err;
    }
    ckpt_verify_meta(v);
    err = ckpt_verify_objects(v);
    if (err == CKPT_OK) {
        err = ckpt_verify_catalog(v);
    }
    if (err == CKPT_OK) {
        err = ckpt_verify_runs(v);
    }
    if (err == CKPT_ERR_CORRUPT) {
        ckpt_verify_problem(
            v,
            "%s/db: the database's own pages are damaged, so not everything could be "
            "checked; put back a copy of the store",
            v->store->path);
        err = CKPT_OK;
    }
    ckpt_txn_abort(v->txn);
    v->txn = NULL;
    return err;
}

enum ckpt_err ckpt_verify(struct ckpt_store *store, bool quick, ckpt_progress_fn *progress,
                          void *arg, struct ckpt_verify_result *result)
{
    struct ckpt_verify v = {.store = store};
    v.bads = calloc(CKPT_VERIFY_REPORTS, sizeof *v.bads);
    v.lost_dirs = calloc(CKPT_VERIFY_REPORTS, sizeof *v.lost_dirs);
    enum ckpt_err err = v.bads == NULL || v.lost_dirs == NULL ? CKPT_ERR_NOMEM : ckpt_codec_create(&v.codec);
    if (err == CKPT_OK) {
        err = check_tables(&v);
    }
    if (err == CKPT_OK && !quick) {
        err = ckpt_verify_chunks(&v, progress, arg);
    }
    if (err == CKPT_OK) {
        ckpt_verify_live(&v);
        err = tell_bads(&v);
    }
    if (err == CKPT_OK) {
        if (v.result.problems > CKPT_VERIFY_REPORTS) {
            ckpt_reportf(&store->report, CKPT_WARNING, "%" PRIu64 " more problems are not listed",
                         v.result.problems - CKPT_VERIFY_REPORTS);
        }
        *result = v.result;
    }
    for (size_t i = 0; i < v.bad_count; i++) {
        free(v.bads[i].what);
        free(v.bads[i].users);
    }
    free(v.bads);
    free(v.objects);
    free(v.dirs);
    free(v.lost_dirs);
    ckpt_codec_free(v.codec);
    return err;
}
