/*
 * Rotation on live files: taking the names of versions away, and nothing that is something else by now.
 *
 * First each file is looked at, and read when only that tells what it is. Then, with the names locked, all of them are
 * claimed, leased and looked at once more, and only then does the first name go: users see a checkpoint or none.
 * They go in groups, because each takes a descriptor (which also puts off the freeing of its bytes until the names
 * are unlocked).
 */
#include "common/live.h"
#include "retire.h"
#include <ckpt/host.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- a group of names ---- */

/* A directory that they stand in. */
struct place {
    uint64_t dir;
    int fd; /* -1: it isn't there */
    struct stat st;
    bool changed; /* a name has gone */
};

/* A name that is still there and ours. */
struct item {
    const struct ckpt_live_name *name;
    size_t place;
    int fd; /* for reading, with a lease while the names are locked */
    struct stat st;
    bool removed;
};

struct group {
    struct ckpt_engine *engine;
    bool ask_open;
    struct item *items;
    size_t count;
    struct place *places;
    size_t place_count;
};

static void close_items(struct group *group)
{
    for (size_t i = 0; i < group->count; i++) {
        ckpt_host_close(group->items[i].fd);
    }
    group->count = 0;
}

static void close_group(struct group *group)
{
    close_items(group);
    for (size_t i = 0; i < group->place_count; i++) {
        ckpt_host_close(group->places[i].fd);
    }
    free(group->items);
    free(group->places);
}

/* Room for N names in all; MOST of them at a time. */
static enum ckpt_err open_group(struct ckpt_engine *engine, size_t n, bool ask_open, struct group *group)
{
    size_t most = n < CKPT_RETIRE_GROUP ? n : CKPT_RETIRE_GROUP;
    *group = (struct group){.engine = engine, .ask_open = ask_open};
    group->items = calloc(most + 1, sizeof *group->items);
    group->places = calloc(n + 1, sizeof *group->places);
    if (group->items == NULL || group->places == NULL) {
        close_group(group);
        return CKPT_ERR_NOMEM;
    }
    return CKPT_OK;
}

static enum ckpt_err find_place(struct group *group, uint64_t dir, size_t *index)
{
    /* Names of a directory come together. */
    for (size_t i = group->place_count; i > 0; i--) {
        if (group->places[i - 1].dir == dir) {
            *index = i - 1;
            return CKPT_OK;
        }
    }
    struct place place = {.dir = dir};
    enum ckpt_err err = ckpt_live_open_dir(group->engine, dir, &place.fd);
    if (err == CKPT_OK && place.fd >= 0 && ckpt_host_fstat(place.fd, &place.st) != 0) {
        err = ckpt_err_from_errno(errno);
        ckpt_host_close(place.fd);
    }
    if (err == CKPT_OK) {
        *index = group->place_count;
        group->places[group->place_count++] = place;
    }
    return err;
}

/* What can be seen without claiming it. BUSY. */
static enum ckpt_err is_at_rest(struct group *group, const struct ckpt_live_name *name,
                                const struct stat *st)
{
    struct ckpt_engine *engine = group->engine;
    const struct ckpt_engine_hooks *hooks = &engine->config.hooks;
    bool busy = ckpt_pending_has_name(engine, name->dir, name->name) || ckpt_engine_is_pending(engine, st->st_dev, st->st_ino) ||
                (hooks->writing != NULL &&
                 hooks->writing(engine->config.hooks_arg, st->st_dev, st->st_ino));
    return busy ? CKPT_ERR_BUSY : CKPT_OK;
}

/* Adds NAME when it is there and ours. BUSY. */
static enum ckpt_err add_item(struct group *group, const struct ckpt_live_name *name)
{
    struct item item = {.name = name};
    enum ckpt_standing standing = CKPT_GONE;
    int path_fd = -1;
    enum ckpt_err err = find_place(group, name->dir, &item.place);
    if (err != CKPT_OK || group->places[item.place].fd < 0) {
        return err;
    }
    err = ckpt_live_look(group->engine, group->places[item.place].fd, name, &path_fd, &item.st, &standing);
    if (err == CKPT_OK && (standing == CKPT_SAME || standing == CKPT_UNSURE)) {
        err = is_at_rest(group, name, &item.st);
    }
    if (err == CKPT_OK && standing == CKPT_UNSURE) {
        err = ckpt_live_compare(group->engine, name, path_fd, &item.st, &standing);
        err = err == CKPT_ERR_CHANGED ? CKPT_ERR_BUSY : err;
    }
    if (err == CKPT_OK && standing == CKPT_SAME) {
        item.fd = ckpt_host_reopen(path_fd, O_RDONLY);
        if (item.fd < 0) {
            err = ckpt_err_from_errno(errno);
        } else {
            group->items[group->count++] = item;
        }
    }
    ckpt_host_close(path_fd);
    return err;
}

static enum ckpt_err fill(struct group *group, const struct ckpt_live_name *names, size_t n)
{
    enum ckpt_err err = CKPT_OK;
    for (size_t i = 0; i < n && err == CKPT_OK; i++) {
        err = add_item(group, &names[i]);
    }
    return err;
}

/* Takes what keeps others from changing the file, and sees that nobody has. BUSY. */
static enum ckpt_err secure(struct group *group, const struct item *item)
{
    struct ckpt_engine *engine = group->engine;
    const struct ckpt_engine_hooks *hooks = &engine->config.hooks;
    struct stat now;
    if (hooks->claim != NULL &&
        !hooks->claim(engine->config.hooks_arg, item->st.st_dev, item->st.st_ino, !group->ask_open)) {
        return CKPT_ERR_BUSY;
    }
    if (!ckpt_live_lease(item->fd)) {
        return CKPT_ERR_BUSY;
    }
    if (ckpt_host_fstatat(group->places[item->place].fd, item->name->name, &now, AT_SYMLINK_NOFOLLOW) != 0) {
        return errno == ENOENT ? CKPT_ERR_BUSY : ckpt_err_from_errno(errno);
    }
    struct ckpt_stamp before = ckpt_stamp_of(&item->st);
    struct ckpt_stamp after = ckpt_stamp_of(&now);
    if (now.st_dev != item->st.st_dev || !ckpt_stamp_equal(&before, &after)) {
        return CKPT_ERR_BUSY;
    }
    return is_at_rest(group, item->name, &now);
}

static enum ckpt_err secure_all(struct group *group)
{
    enum ckpt_err err = CKPT_OK;
    for (size_t i = 0; i < group->count && err == CKPT_OK; i++) {
        err = secure(group, &group->items[i]);
    }
    return err;
}

static void release_all(struct group *group)
{
    const struct ckpt_engine_hooks *hooks = &group->engine->config.hooks;
    for (size_t i = 0; i < group->count; i++) {
        ckpt_live_unlease(group->items[i].fd);
    }
    if (hooks->disclaim != NULL) {
        hooks->disclaim(group->engine->config.hooks_arg);
    }
}

enum ckpt_err ckpt_retire_check(struct ckpt_engine *engine, const struct ckpt_live_name *names, size_t n,
                                bool ask_open, bool *free)
{
    struct group group;
    ckpt_engine_save_dirs(engine);
    enum ckpt_err err = open_group(engine, n, ask_open, &group);
    if (err != CKPT_OK) {
        return err;
    }
    for (size_t at = 0; at < n && err == CKPT_OK; at += CKPT_RETIRE_GROUP) {
        err = fill(&group, names + at, n - at < CKPT_RETIRE_GROUP ? n - at : CKPT_RETIRE_GROUP);
        if (err == CKPT_OK) {
            err = secure_all(&group);
            release_all(&group);
        }
        close_items(&group);
    }
    close_group(&group);
    if (err == CKPT_OK || err == CKPT_ERR_BUSY) {
        *free = err == CKPT_OK;
        err = CKPT_OK;
    }
    return err;
}

/* ---- taking names away ---- */

static enum ckpt_err remove_item(struct group *group, struct item *item, uint64_t *bytes)
{
    const struct ckpt_engine_hooks *hooks = &group->engine->config.hooks;
    struct place *place = &group->places[item->place];
    struct stat now;
    if (ckpt_host_unlinkat(place->fd, item->name->name, 0) != 0) {
        return errno == ENOENT ? CKPT_OK : ckpt_err_from_errno(errno); /* listed twice */
    }
    item->removed = true;
    place->changed = true;
    if (ckpt_host_fstat(item->fd, &now) == 0 && now.st_nlink == 0) {
        *bytes += (uint64_t)now.st_blocks * 512;
        if (hooks->unlinked != NULL) {
            hooks->unlinked(group->engine->config.hooks_arg, now.st_dev, now.st_ino);
        }
    }
    return CKPT_OK;
}

/* What is to be told and remembered when nothing is locked any more. */
static void tell_removed(struct group *group, size_t *removed)
{
    struct ckpt_engine *engine = group->engine;
    const struct ckpt_engine_hooks *hooks = &engine->config.hooks;
    const struct ckpt_stamp unknown = {0};
    for (size_t i = 0; i < group->count; i++) {
        const struct item *item = &group->items[i];
        const struct stat *place = &group->places[item->place].st;
        if (!item->removed) {
            continue;
        }
        ++*removed;
        ckpt_stamp_save(engine, item->name->dir, item->name->name, &unknown, 0);
        if (hooks->removed != NULL) {
            hooks->removed(engine->config.hooks_arg, place->st_dev, place->st_ino, item->name->name,
                           item->st.st_dev, item->st.st_ino);
        }
    }
}

static enum ckpt_err remove_group(struct group *group, size_t *removed, uint64_t *bytes)
{
    struct ckpt_engine *engine = group->engine;
    pthread_rwlock_wrlock(&engine->names);
    enum ckpt_err err = secure_all(group);
    for (size_t i = 0; i < group->count && err == CKPT_OK; i++) {
        err = remove_item(group, &group->items[i], bytes);
    }
    pthread_rwlock_unlock(&engine->names);
    release_all(group);
    tell_removed(group, removed);
    return err;
}

/* A name that comes back after a power loss could be a stub whose version has been dropped by then. */
static enum ckpt_err sync_places(struct group *group)
{
    enum ckpt_err err = CKPT_OK;
    for (size_t i = 0; i < group->place_count; i++) {
        if (group->places[i].changed && ckpt_host_fsync(group->places[i].fd) != 0 && err == CKPT_OK) {
            err = ckpt_err_from_errno(errno);
        }
    }
    if (err != CKPT_OK) {
        /* Called again it would find nothing to sync. */
        ckpt_store_stop(group->engine->store, "the host failed to sync a directory");
    }
    return err;
}

/* ---- emptied directories ---- */

/* Whether PATH still is the directory ST: *THERE. */
static enum ckpt_err stands(struct ckpt_engine *engine, const char *path, const struct stat *st, bool *there)
{
    struct stat now;
    *there = false;
    if (ckpt_host_fstatat(ckpt_store_livefd(engine->store), path, &now, AT_SYMLINK_NOFOLLOW) != 0) {
        return errno == ENOENT || errno == ENOTDIR ? CKPT_OK : ckpt_err_from_errno(errno);
    }
    *there = now.st_dev == st->st_dev && now.st_ino == st->st_ino;
    return CKPT_OK;
}

/* One directory that goes, and the one that it stands in. */
struct leaving {
    char name[NAME_MAX + 1];
    int fd; /* so that nothing else gets its inode number before all are told */
    struct stat st;
    int parent_fd;
    struct stat parent;
};

/* Removes the directory PATH if it is empty: *GONE. */
static enum ckpt_err remove_directory(struct ckpt_engine *engine, const char *path, struct leaving *leaving,
                                      bool *gone)
{
    char parent[PATH_MAX];
    const char *name = NULL;
    ckpt_split_path(path, parent, &name);
    memcpy(leaving->name, name, strnlen(name, NAME_MAX) + 1);
    leaving->parent_fd = ckpt_host_openat(ckpt_store_livefd(engine->store), parent,
                                          O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (leaving->parent_fd < 0 || ckpt_host_fstat(leaving->parent_fd, &leaving->parent) != 0) {
        return errno == ENOENT ? CKPT_OK : ckpt_err_from_errno(errno);
    }
    leaving->fd = ckpt_host_openat(leaving->parent_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
    if (leaving->fd < 0 || ckpt_host_fstat(leaving->fd, &leaving->st) != 0) {
        return errno == ENOENT ? CKPT_OK : ckpt_err_from_errno(errno);
    }
    if (ckpt_host_unlinkat(leaving->parent_fd, name, AT_REMOVEDIR) != 0) {
        return errno == ENOTEMPTY || errno == EEXIST || errno == ENOENT || errno == EBUSY
                   ? CKPT_OK
                   : ckpt_err_from_errno(errno);
    }
    *gone = true;
    return CKPT_OK;
}

/* One step of the climb, synced and told. */
static enum ckpt_err leave(struct ckpt_engine *engine, const char *path, const char *root,
                           const struct stat *root_st, bool *gone)
{
    const struct ckpt_engine_hooks *hooks = &engine->config.hooks;
    struct leaving leaving = {.fd = -1, .parent_fd = -1};
    bool there = false;
    *gone = false;
    pthread_rwlock_wrlock(&engine->names);
    enum ckpt_err err = stands(engine, root, root_st, &there);
    if (err == CKPT_OK && there) {
        err = remove_directory(engine, path, &leaving, gone);
    }
    pthread_rwlock_unlock(&engine->names);
    if (*gone && hooks->removed != NULL) {
        hooks->removed(engine->config.hooks_arg, leaving.parent.st_dev, leaving.parent.st_ino, leaving.name,
                       leaving.st.st_dev, leaving.st.st_ino);
    }
    if (*gone && ckpt_host_fsync(leaving.parent_fd) != 0) {
        err = ckpt_err_from_errno(errno);
    }
    ckpt_host_close(leaving.fd);
    ckpt_host_close(leaving.parent_fd);
    return err;
}

/* From the directory of PLACE, which names have left, up to the root, as long as they are empty. */
static enum ckpt_err climb(struct ckpt_engine *engine, const struct place *place, const char *root,
                           const struct stat *root_st)
{
    char path[PATH_MAX];
    size_t length = strlen(root);
    bool gone = false;
    enum ckpt_err err = ckpt_catalog_path(engine->store, place->dir, path, sizeof path);
    if (err != CKPT_OK || strncmp(path, root, length) != 0 ||
        (path[length] != '/' && path[length] != '\0')) {
        return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
    }
    err = stands(engine, path, &place->st, &gone);
    while (err == CKPT_OK && gone) {
        err = leave(engine, path, root, root_st, &gone);
        char *slash = strrchr(path, '/');
        if (slash == NULL || (size_t)(slash - path) < length) {
            break;
        }
        *slash = '\0';
    }
    return err;
}

static enum ckpt_err remove_emptied(struct group *group, uint64_t root_dir)
{
    struct ckpt_engine *engine = group->engine;
    char root[PATH_MAX];
    struct stat root_st;
    int root_fd = -1;
    enum ckpt_err err = ckpt_live_open_dir(engine, root_dir, &root_fd);
    if (err != CKPT_OK || root_fd < 0) {
        return err;
    }
    err = ckpt_catalog_path(engine->store, root_dir, root, sizeof root);
    if (err == CKPT_OK && ckpt_host_fstat(root_fd, &root_st) != 0) {
        err = ckpt_err_from_errno(errno);
    }
    for (size_t i = 0; i < group->place_count && err == CKPT_OK; i++) {
        if (group->places[i].changed) {
            err = climb(engine, &group->places[i], root, &root_st);
        }
    }
    ckpt_host_close(root_fd);
    return err;
}

enum ckpt_err ckpt_retire(struct ckpt_engine *engine, const struct ckpt_live_name *names, size_t n,
                          bool ask_open, uint64_t root_dir, size_t *removed, uint64_t *bytes)
{
    struct group group;
    *removed = 0;
    *bytes = 0;
    if (ckpt_store_stopped(engine->store)) {
        return CKPT_ERR_STOPPED;
    }
    /* Paths are found in the catalog, and that of a directory that goes must stay there. */
    ckpt_engine_save_dirs(engine);
    bool free_now = n <= CKPT_RETIRE_GROUP;
    enum ckpt_err err = free_now ? CKPT_OK : ckpt_retire_check(engine, names, n, ask_open, &free_now);
    if (err == CKPT_OK && !free_now) {
        err = CKPT_ERR_BUSY;
    }
    if (err == CKPT_OK) {
        err = open_group(engine, n, ask_open, &group);
    }
    if (err != CKPT_OK) {
        return err;
    }
    for (size_t at = 0; at < n && err == CKPT_OK; at += CKPT_RETIRE_GROUP) {
        err = fill(&group, names + at, n - at < CKPT_RETIRE_GROUP ? n - at : CKPT_RETIRE_GROUP);
        if (err == CKPT_OK) {
            err = remove_group(&group, removed, bytes);
        }
        close_items(&group);
    }
    enum ckpt_err synced = sync_places(&group);
    if (synced == CKPT_OK && root_dir != CKPT_DIR_ROOT) {
        synced = remove_emptied(&group, root_dir);
    }
    close_group(&group);
    return err == CKPT_OK ? synced : err;
}
