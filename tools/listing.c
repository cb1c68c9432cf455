#include "listing.h"
#include "output.h"
#include <ckpt/host.h>
#include <ckpt/live.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct collector {
    const char *path;
    struct ckpt_store *store;
    struct listing *listing;
};

static char *path_in(const char *dir, const char *name)
{
    char *path = NULL;
    return asprintf(&path, "%s%s%s", dir, dir[0] ? "/" : "", name) < 0 ? NULL : path;
}

/* Room for one more in an array of N elements of SIZE bytes; arrays double. */
static void *grow(void *array, size_t n, size_t size)
{
    if ((n & (n - 1)) != 0) { /* between powers of two there is room */
        return array;
    }
    return reallocarray(array, n == 0 ? 1 : 2 * n, size);
}

static bool add_file(void *arg, const struct ckpt_file *file, uint32_t versions)
{
    struct collector *collector = arg;
    struct listing *listing = collector->listing;
    struct listed_file *files = grow(listing->files, listing->n_files, sizeof(*files));
    char *path = path_in(collector->path, file->name);
    if (files) {
        listing->files = files;
    }
    if (!files || !path) {
        free(path);
        listing->failed = true;
        return false;
    }
    struct listed_file *added = &files[listing->n_files++];
    *added = (struct listed_file){.path = path, .versions = versions};
    added->newest.dir = file->dir;
    memcpy(added->newest.name, file->name, sizeof(file->name));
    return true;
}

static bool add_dir(void *arg, uint64_t dir, const char *name)
{
    struct collector *collector = arg;
    struct listing *listing = collector->listing;
    for (size_t i = 0; i < listing->n_dirs; i++) {
        if (listing->dirs[i].dir == dir) { /* reached by two names: one is enough, and no walk in circles */
            return true;
        }
    }
    struct listed_dir *dirs = grow(listing->dirs, listing->n_dirs, sizeof(*dirs));
    char *path = path_in(collector->path, name);
    if (dirs) {
        listing->dirs = dirs;
    }
    if (!dirs || !path) {
        free(path);
        listing->failed = true;
        return false;
    }
    dirs[listing->n_dirs++] = (struct listed_dir){.path = path, .dir = dir};
    return true;
}

static int by_path(const void *a, const void *b)
{
    const struct listed_file *fa = a;
    const struct listed_file *fb = b;
    return strverscmp(fa->path, fb->path);
}

static int by_dir_path(const void *a, const void *b)
{
    const struct listed_dir *da = a;
    const struct listed_dir *db = b;
    return strverscmp(da->path, db->path);
}

/* The newest version and the live state of each file; a file whose versions went meanwhile is left out. */
static enum ckpt_err complete(struct ckpt_store *store, struct listing *listing)
{
    size_t kept = 0;
    enum ckpt_err err = CKPT_OK;
    for (size_t i = 0; i < listing->n_files; i++) {
        struct listed_file *file = &listing->files[i];
        struct ckpt_version newest;
        enum ckpt_err found =
            ckpt_catalog_version(store, file->newest.dir, file->newest.name, 0, &newest);
        if (found != CKPT_OK) {
            free(file->path);
            err = found == CKPT_ERR_NOT_FOUND ? err : found;
            continue;
        }
        file->newest = newest;
        file->state = listing_state(store, file->path, &newest);
        listing->files[kept++] = *file;
    }
    listing->n_files = kept;
    return err;
}

enum ckpt_err listing_read(struct ckpt_store *store, const char *path, uint64_t dir, bool recursive,
                           struct listing *listing)
{
    *listing = (struct listing){0};
    struct collector collector = {.path = path, .store = store, .listing = listing};
    enum ckpt_err err = ckpt_catalog_each_file(store, dir, add_file, &collector);
    if (err == CKPT_OK) {
        err = ckpt_catalog_each_subdir(store, dir, add_dir, &collector);
    }
    /* The array grows while it is walked, and moves: take a copy of each element. */
    for (size_t i = 0; recursive && err == CKPT_OK && i < listing->n_dirs; i++) {
        struct listed_dir below = listing->dirs[i];
        collector.path = below.path;
        err = ckpt_catalog_each_file(store, below.dir, add_file, &collector);
        if (err == CKPT_OK) {
            err = ckpt_catalog_each_subdir(store, below.dir, add_dir, &collector);
        }
    }
    if (err == CKPT_OK && listing->failed) {
        err = CKPT_ERR_NOMEM;
    }
    if (err == CKPT_OK) {
        err = complete(store, listing);
    }
    if (err == CKPT_OK && listing->n_files > 0) {
        qsort(listing->files, listing->n_files, sizeof(*listing->files), by_path);
    }
    if (err == CKPT_OK && listing->n_dirs > 0) {
        qsort(listing->dirs, listing->n_dirs, sizeof(*listing->dirs), by_dir_path);
    }
    return err;
}

void listing_free(struct listing *listing)
{
    for (size_t i = 0; i < listing->n_files; i++) {
        free(listing->files[i].path);
    }
    for (size_t i = 0; i < listing->n_dirs; i++) {
        free(listing->dirs[i].path);
    }
    free(listing->files);
    free(listing->dirs);
    *listing = (struct listing){0};
}

static bool add_version(void *arg, const struct ckpt_version *version)
{
    struct version_list *list = arg;
    struct ckpt_version *versions = grow(list->versions, list->n, sizeof(*versions));
    if (!versions) {
        list->failed = true;
        return false;
    }
    list->versions = versions;
    versions[list->n++] = *version;
    return true;
}

enum ckpt_err version_list_read(struct ckpt_store *store, uint64_t dir, const char *name,
                                struct version_list *list)
{
    *list = (struct version_list){0};
    enum ckpt_err err = ckpt_catalog_each_version(store, dir, name, add_version, list);
    return err == CKPT_OK && list->failed ? CKPT_ERR_NOMEM : err;
}

void version_list_free(struct version_list *list)
{
    free(list->versions);
    *list = (struct version_list){0};
}

enum live_state listing_state(struct ckpt_store *store, const char *path,
                              const struct ckpt_version *newest)
{
    enum live_state state = LIVE_DELETED;
    struct stat st;
    struct ckpt_stub stub;
    struct ckpt_file file;
    bool cold = false;
    int fd = ckpt_host_openat(ckpt_store_livefd(store), path, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd < 0 || ckpt_host_fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        goto out;
    }
    state = LIVE_CHANGED;
    if (ckpt_live_stub(fd, &stub, &cold) != CKPT_OK) {
        goto out;
    }
    if (cold) {
        state = ckpt_id_equal(&stub.recipe, &newest->recipe) ? LIVE_COLD : LIVE_CHANGED;
    } else if (ckpt_catalog_file(store, newest->dir, newest->name, &file) == CKPT_OK) {
        struct ckpt_stamp now = ckpt_stamp_of(&st);
        bool same = ckpt_stamp_equal(&now, &file.stamp) &&
                    ckpt_id_equal(&file.recipe, &newest->recipe);
        state = same ? LIVE_HOT : LIVE_CHANGED;
    }
out:
    (void)ckpt_host_close(fd);
    return state;
}

const char *listing_state_name(enum live_state state)
{
    static const char *const names[] = {
        [LIVE_NONE] = "",
        [LIVE_HOT] = "hot",
        [LIVE_COLD] = "cold",
        [LIVE_CHANGED] = "changed",
        [LIVE_DELETED] = "deleted",
    };
    return names[state];
}

json_t *listing_json(const char *path, const struct ckpt_version *version, enum live_state state)
{
    char recipe[CKPT_ID_HEX];
    ckpt_id_hex(&version->recipe, recipe);
    json_t *live = state == LIVE_NONE ? json_null() : json_string(listing_state_name(state));
    return json_pack("{s:o, s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:o}", /**/
                     "path", output_text(path),                                        /**/
                     "version", (json_int_t)version->number,                           /**/
                     "captured", output_json_time(version->captured_ns),               /**/
                     "captured_ns", (json_int_t)version->captured_ns,                  /**/
                     "mtime_ns", (json_int_t)version->mtime_ns,                        /**/
                     "size", (json_int_t)version->size,                                /**/
                     "stored", (json_int_t)version->stored,                            /**/
                     "added", (json_int_t)version->added,                              /**/
                     "mode", (json_int_t)version->mode,                                /**/
                     "uid", (json_int_t)version->uid,                                  /**/
                     "gid", (json_int_t)version->gid,                                  /**/
                     "recipe", recipe,                                                 /**/
                     "live", live);
}
