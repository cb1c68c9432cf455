/*
 * Hot and cold: how many host bytes the captured live files occupy, and making the least wanted ones cold.
 *
 * The catalog remembers for each file how many host bytes its live file had when it was last looked at. What
 * happened to the name since (deleted, moved, replaced) is found out here, by looking.
 */
#include "catalog/catalog_txn.h"
#include "common/live.h"
#include "engine_parts.h"
#include "object/internal.h"
#include <ckpt/host.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

void ckpt_stamp_save(struct ckpt_engine *engine, uint64_t dir, const char *name,
                     const struct ckpt_stamp *stamp, uint64_t hot_bytes)
{
    pthread_mutex_lock(&engine->lock);
    struct ckpt_saved_stamp *saved = NULL;
    LL_FOREACH (engine->stamps, saved) {
        if (saved->dir == dir && strcmp(saved->name, name) == 0) {
            break;
        }
    }
    if (saved == NULL && (saved = calloc(1, sizeof *saved)) != NULL) {
        saved->dir = dir;
        memcpy(saved->name, name, strnlen(name, NAME_MAX));
        LL_PREPEND(engine->stamps, saved);
    }
    /* Without memory the stamp is lost, which costs one more reading of the file some day. */
    if (saved != NULL) {
        saved->stamp = *stamp;
        saved->hot_bytes = hot_bytes;
    }
    engine->hot_bytes += hot_bytes;
    engine->hot_check = true;
    pthread_cond_signal(&engine->wake);
    pthread_mutex_unlock(&engine->lock);
}

const struct ckpt_saved_stamp *ckpt_stamp_queued(struct ckpt_engine *engine, uint64_t dir,
                                                 const char *name)
{
    struct ckpt_saved_stamp *saved = NULL;
    LL_FOREACH (engine->stamps, saved) {
        if (saved->dir == dir && strcmp(saved->name, name) == 0) {
            return saved;
        }
    }
    return NULL;
}

enum ckpt_err ckpt_stamps_put(struct ckpt_engine *engine, struct ckpt_txn *txn)
{
    struct ckpt_saved_stamp *saved = NULL;
    struct ckpt_saved_stamp *next = NULL;
    enum ckpt_err err = CKPT_OK;
    pthread_mutex_lock(&engine->lock);
    struct ckpt_saved_stamp *stamps = engine->stamps;
    engine->stamps = NULL;
    pthread_mutex_unlock(&engine->lock);
    LL_FOREACH_SAFE (stamps, saved, next) {
        if (err == CKPT_OK) {
            err = ckpt_catalog_set_stamp_in(txn, saved->dir, saved->name, &saved->stamp,
                                            saved->hot_bytes);
            err = err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
        }
        free(saved);
    }
    return err;
}

/* ---- what is hot ---- */

struct candidate {
    uint64_t dir;
    char name[NAME_MAX + 1];
    uint64_t sequence;
    uint64_t hot_bytes;
    bool newest; /* the newest capture in its directory: goes last */
};

struct hot_list {
    struct candidate *items;
    size_t count;
    size_t room;
    bool no_memory;
};

static bool collect(void *arg, const struct ckpt_file *file, uint32_t versions)
{
    struct hot_list *list = arg;
    if (file->hot_bytes == 0 || versions == 0) {
        return true;
    }
    if (list->count == list->room) {
        size_t room = list->room == 0 ? 256 : 2 * list->room;
        struct candidate *items = realloc(list->items, room * sizeof *items);
        if (items == NULL) {
            list->no_memory = true;
            return false;
        }
        list->items = items;
        list->room = room;
    }
    struct candidate *item = &list->items[list->count++];
    item->dir = file->dir;
    item->sequence = file->sequence;
    item->hot_bytes = file->hot_bytes;
    item->newest = false;
    memcpy(item->name, file->name, sizeof item->name);
    return true;
}

static int by_directory(const void *a, const void *b)
{
    const struct candidate *x = a;
    const struct candidate *y = b;
    if (x->dir != y->dir) {
        return x->dir < y->dir ? -1 : 1;
    }
    return x->sequence < y->sequence ? -1 : x->sequence > y->sequence;
}

static int by_worth(const void *a, const void *b)
{
    const struct candidate *x = a;
    const struct candidate *y = b;
    if (x->newest != y->newest) {
        return x->newest ? 1 : -1;
    }
    return x->sequence < y->sequence ? -1 : x->sequence > y->sequence;
}

/* The path of a candidate in PATH, and what it occupies now: 0 when it isn't hot any more. What can't be looked at is as
   it was. */
static uint64_t look(struct ckpt_engine *engine, const struct candidate *item, char *path)
{
    struct stat st;
    if (ckpt_catalog_path(engine->store, item->dir, path, PATH_MAX) != CKPT_OK) {
        return 0;
    }
    size_t n = strlen(path);
    if (n + 1 + strlen(item->name) >= PATH_MAX) {
        return 0;
    }
    if (n > 0) {
        path[n++] = '/';
    }
    strcpy(path + n, item->name);
    if (ckpt_host_fstatat(ckpt_store_livefd(engine->store), path, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        return errno == ENOENT || errno == ENOTDIR ? 0 : item->hot_bytes;
    }
    return S_ISREG(st.st_mode) ? (uint64_t)st.st_blocks * 512 : 0;
}

static enum ckpt_err list_hot(struct ckpt_engine *engine, struct hot_list *list)
{
    enum ckpt_err err = ckpt_catalog_each_file_of_all(engine->store, collect, list);
    if (err == CKPT_OK && list->no_memory) {
        err = CKPT_ERR_NOMEM;
    }
    if (err != CKPT_OK || list->count == 0) {
        return err;
    }
    qsort(list->items, list->count, sizeof *list->items, by_directory);
    for (size_t i = 0; i < list->count; i++) {
        list->items[i].newest = i + 1 == list->count || list->items[i + 1].dir != list->items[i].dir;
    }
    return CKPT_OK;
}

enum ckpt_err ckpt_hot_count(struct ckpt_engine *engine, uint64_t *bytes)
{
    struct hot_list list = {0};
    char path[PATH_MAX];
    enum ckpt_err err = list_hot(engine, &list);
    uint64_t sum = 0;
    for (size_t i = 0; err == CKPT_OK && i < list.count; i++) {
        sum += look(engine, &list.items[i], path);
    }
    free(list.items);
    if (err == CKPT_OK) {
        *bytes = sum;
    }
    return err;
}

/* ---- making a file cold ---- */

/* One live file on its way to cold. */
struct demotion {
    const char *path;
    bool asked; /* by a person, who is told why not */
    int fd;
    struct stat st;
    struct ckpt_version newest;
    struct ckpt_stub stub;
    char stub_name[CKPT_TEMPORARY];
    int stub_fd;
};

static enum ckpt_err refuse(struct ckpt_engine *engine, const struct demotion *d, enum ckpt_err err,
                            const char *why)
{
    if (d->asked) {
        ckpt_reportf(CKPT_REPORT(engine), CKPT_ERROR, "%s stays hot: %s", d->path, why);
    }
    return err;
}

static enum ckpt_err find_newest(struct ckpt_engine *engine, struct demotion *d)
{
    char parent[PATH_MAX];
    const char *name = NULL;
    uint64_t dir = CKPT_DIR_ROOT;
    ckpt_split_path(d->path, parent, &name);
    int parent_fd = ckpt_host_openat(ckpt_store_livefd(engine->store), parent,
                                     O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (parent_fd < 0) {
        return ckpt_err_from_errno(errno);
    }
    enum ckpt_err err = ckpt_live_dir_id(engine->store, parent_fd, &dir);
    ckpt_host_close(parent_fd);
    if (err == CKPT_OK) {
        err = ckpt_catalog_version(engine->store, dir, name, 0, &d->newest);
    }
    if (err == CKPT_ERR_NOT_FOUND) {
        return refuse(engine, d, err,
                      "the store has no version of it (mount option capture= says what is captured)");
    }
    return err;
}

/* What can be seen without reading the file. That it has a version says nothing: the bytes decide. */
static enum ckpt_err check(struct ckpt_engine *engine, struct demotion *d)
{
    if (!S_ISREG(d->st.st_mode)) {
        return refuse(engine, d, CKPT_ERR_INVALID, "it is not a regular file");
    }
    if (ckpt_engine_is_pending(engine, d->st.st_dev, d->st.st_ino)) {
        return refuse(engine, d, CKPT_ERR_BUSY, "it is waiting to be recorded; run: ckpt flush");
    }
    if (d->st.st_nlink > 1) {
        return refuse(engine, d, CKPT_ERR_BUSY, "it has several names (hard links)");
    }
    return find_newest(engine, d);
}

static enum ckpt_err compare(struct ckpt_engine *engine, struct demotion *d)
{
    bool same = false;
    enum ckpt_err err = ckpt_compare(engine->store, &d->newest.recipe, d->path, d->fd,
                                     engine->config.threads, &same);
    if (err == CKPT_OK && !same) {
        /* It becomes a version, if it isn't being written just now. */
        struct ckpt_stamp unknown = {0};
        ckpt_stamp_save(engine, d->newest.dir, d->newest.name, &unknown,
                        (uint64_t)d->st.st_blocks * 512);
        err = ckpt_engine_capture(engine, d->fd);
        if (err == CKPT_OK) {
            err = refuse(engine, d, CKPT_ERR_BUSY,
                         "it differs from its newest version and is recorded first; run: ckpt flush");
        }
    }
    return err;
}

static enum ckpt_err make_stub(struct ckpt_engine *engine, struct demotion *d)
{
    d->stub = (struct ckpt_stub){.recipe = d->newest.recipe,
                                 .size = (uint64_t)d->st.st_size,
                                 .stored = d->newest.stored};
    d->stub_fd = ckpt_temporary(engine, d->stub_name);
    if (d->stub_fd < 0 || ckpt_host_ftruncate(d->stub_fd, d->st.st_size) != 0) {
        return ckpt_err_from_errno(errno);
    }
    enum ckpt_err err = ckpt_live_set_stub(d->stub_fd, &d->stub);
    if (err == CKPT_OK) {
        err = ckpt_live_copy_metadata(d->fd, d->stub_fd);
    }
    if (err == CKPT_OK && ckpt_host_fsync(d->stub_fd) != 0) {
        err = ckpt_err_from_errno(errno);
    }
    return err;
}

/* With the names locked, the inode claimed and a lease held nothing can get in between. */
static enum ckpt_err swap(struct ckpt_engine *engine, struct demotion *d)
{
    struct stat now;
    if (ckpt_host_fstatat(ckpt_store_livefd(engine->store), d->path, &now, AT_SYMLINK_NOFOLLOW) != 0) {
        return ckpt_err_from_errno(errno);
    }
    struct ckpt_stamp before = ckpt_stamp_of(&d->st);
    struct ckpt_stamp after = ckpt_stamp_of(&now);
    if (!ckpt_stamp_equal(&before, &after) || now.st_nlink > 1 ||
        ckpt_engine_is_pending(engine, now.st_dev, now.st_ino)) {
        return CKPT_ERR_BUSY;
    }
    return ckpt_exchange(engine, d->path, &now, d->stub_name, d->stub_fd, &d->stub);
}

static enum ckpt_err swap_claimed(struct ckpt_engine *engine, struct demotion *d)
{
    const struct ckpt_engine_hooks *hooks = &engine->config.hooks;
    void *arg = engine->config.hooks_arg;
    enum ckpt_err err = CKPT_ERR_BUSY;
    pthread_rwlock_wrlock(&engine->names);
    bool claimed = hooks->claim == NULL || hooks->claim(arg, d->st.st_dev, d->st.st_ino, false);
    if (claimed && ckpt_live_lease(d->fd)) {
        err = swap(engine, d);
        ckpt_live_unlease(d->fd);
    }
    pthread_rwlock_unlock(&engine->names);
    if (claimed && hooks->disclaim != NULL) {
        hooks->disclaim(arg);
    }
    return err;
}

enum ckpt_err ckpt_hot_demote(struct ckpt_engine *engine, const char *path, bool asked)
{
    struct demotion d = {.path = path, .asked = asked, .fd = -1, .stub_fd = -1};
    bool cold = false;
    struct ckpt_stamp unknown = {0};
    enum ckpt_err err = CKPT_OK;
    if (ckpt_store_stopped(engine->store)) {
        return CKPT_ERR_STOPPED;
    }
    d.fd = ckpt_host_openat(ckpt_store_livefd(engine->store), path,
                            O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
    if (d.fd < 0 || ckpt_host_fstat(d.fd, &d.st) != 0) {
        err = ckpt_err_from_errno(errno);
        goto out;
    }
    err = ckpt_live_stub(d.fd, &d.stub, &cold);
    if (err != CKPT_OK || cold || d.st.st_size == 0) {
        goto out;
    }
    err = check(engine, &d);
    if (err == CKPT_OK) {
        err = compare(engine, &d);
    }
    if (err == CKPT_OK) {
        err = make_stub(engine, &d);
    }
    if (err == CKPT_OK) {
        err = swap_claimed(engine, &d);
        if (err == CKPT_ERR_BUSY) {
            err = refuse(engine, &d, err, "it is open, or has just been changed");
        }
    }
    if (err == CKPT_OK) {
        ckpt_stamp_save(engine, d.newest.dir, d.newest.name, &unknown, 0);
    } else if (d.stub_fd >= 0) {
        (void)ckpt_host_unlinkat(ckpt_store_tmpfd(engine->store), d.stub_name, 0);
    }
out:
    ckpt_host_close(d.stub_fd);
    ckpt_host_close(d.fd);
    return err;
}

/* ---- the limits ---- */

static bool over(struct ckpt_engine *engine, uint64_t hot_bytes)
{
    struct ckpt_space space;
    if (hot_bytes > engine->config.hot_limit) {
        return true;
    }
    return hot_bytes > 0 && ckpt_store_space(engine->store, &space) == CKPT_OK &&
           space.host_free < engine->config.reserve;
}

enum ckpt_err ckpt_hot_enforce(struct ckpt_engine *engine, bool *worked)
{
    struct hot_list list = {0};
    char path[PATH_MAX];
    uint64_t sum = 0;
    *worked = false;
    enum ckpt_err err = list_hot(engine, &list);
    for (size_t i = 0; err == CKPT_OK && i < list.count; i++) {
        uint64_t now = look(engine, &list.items[i], path);
        if (now == 0) {
            struct ckpt_stamp unknown = {0};
            ckpt_stamp_save(engine, list.items[i].dir, list.items[i].name, &unknown, 0);
        }
        list.items[i].hot_bytes = now;
        sum += now;
    }
    if (err == CKPT_OK && list.count > 0) {
        qsort(list.items, list.count, sizeof *list.items, by_worth);
    }
    for (size_t i = 0; err == CKPT_OK && i < list.count && over(engine, sum); i++) {
        uint64_t bytes = list.items[i].hot_bytes;
        if (bytes == 0 || look(engine, &list.items[i], path) == 0) {
            continue;
        }
        enum ckpt_err demoted = ckpt_hot_demote(engine, path, false);
        if (demoted == CKPT_OK) {
            sum -= bytes;
            *worked = true;
        } else if (demoted == CKPT_ERR_STOPPED || demoted == CKPT_ERR_NOSPC) {
            err = demoted;
        }
        pthread_mutex_lock(&engine->lock);
        bool other_work = engine->stop || engine->commands != NULL;
        pthread_mutex_unlock(&engine->lock);
        if (other_work) {
            break;
        }
    }
    free(list.items);
    pthread_mutex_lock(&engine->lock);
    engine->hot_bytes = sum;
    pthread_mutex_unlock(&engine->lock);
    return err;
}
