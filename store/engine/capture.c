/*
 * Capture: a file that was closed is linked into pending/, once for each of its names, so that its bytes can't be lost.
 * And what the filesystem asks about such a file: whether it is pending, and its stat without those links.
 */
#include "common/live.h"
#include "engine_parts.h"
#include <ckpt/host.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <utlist.h>

/* Whether the file is the newest version of its name, and none of another file is to come. */
static bool known(struct ckpt_engine *engine, uint64_t dir, const char *name, const struct stat *st)
{
    struct ckpt_stamp now = ckpt_stamp_of(st);
    struct ckpt_file row;
    if (ckpt_pending_has_name(engine, dir, name)) {
        return false;
    }
    pthread_mutex_lock(&engine->lock);
    const struct ckpt_saved_stamp *queued = ckpt_stamp_queued(engine, dir, name);
    bool equal = queued != NULL && ckpt_stamp_equal(&queued->stamp, &now);
    bool decided = queued != NULL;
    pthread_mutex_unlock(&engine->lock);
    if (!decided && ckpt_catalog_file(engine->store, dir, name, &row) == CKPT_OK) {
        equal = ckpt_stamp_equal(&row.stamp, &now);
    }
    return equal;
}

/* Whether somebody can still change the file through a mapping. With passthrough the kernel maps the host file, and
   nothing is heard of it after the last close. While the file is open on the mount another close will come. */
static bool is_mapped(struct ckpt_engine *engine, int fd, const struct stat *st)
{
    enum { LOOKS = 3 };
    const struct timespec pause = {.tv_nsec = 1000000};
    const struct ckpt_engine_hooks *hooks = &engine->config.hooks;
    if (hooks->writing != NULL && hooks->writing(engine->config.hooks_arg, st->st_dev, st->st_ino)) {
        return false;
    }
    int readable = ckpt_host_reopen(fd, O_RDONLY);
    if (readable < 0) {
        return false;
    }
    bool free = ckpt_live_lease(readable);
    /* The kernel lets go of the host file a moment after it has told the close. */
    for (int look = 1; !free && look < LOOKS; look++) {
        (void)nanosleep(&pause, NULL);
        free = ckpt_live_lease(readable);
    }
    if (free) {
        ckpt_live_unlease(readable);
    }
    ckpt_host_close(readable);
    return !free;
}

/* Whether the file ST is still the one with that name. */
static bool stands_there(int dirfd, const char *name, const struct stat *st)
{
    struct stat now;
    return ckpt_host_fstatat(dirfd, name, &now, AT_SYMLINK_NOFOLLOW) == 0 && now.st_ino == st->st_ino &&
           now.st_dev == st->st_dev;
}

/* WANTED: by the engine, which has found it. */
static enum ckpt_err capture_name(struct ckpt_engine *engine, int fd, int dirfd, const char *name, bool wanted,
                                  bool *captured)
{
    struct stat st;
    struct ckpt_stub stub;
    bool cold = false;
    if (ckpt_host_fstat(fd, &st) != 0) {
        return ckpt_err_from_errno(errno);
    }
    if (!S_ISREG(st.st_mode) || st.st_nlink == 0 ||
        (!wanted && !ckpt_capture_wanted(engine, dirfd, name, (uint64_t)st.st_size))) {
        return CKPT_OK;
    }
    enum ckpt_err err = ckpt_live_stub(fd, &stub, &cold);
    if (err == CKPT_OK && cold && !wanted) {
        ckpt_engine_name_gone(engine, dirfd, name, false); /* or is there only now, with a version from before */
    }
    if (err != CKPT_OK || cold) {
        return err;
    }
    uint64_t dir = CKPT_DIR_ROOT;
    pthread_mutex_lock(&engine->capture);
    err = ckpt_dir_id_ensure(engine, dirfd, &dir);
    bool too_deep = err == CKPT_ERR_UNSUPPORTED;
    /* Another file that has got the name since it was looked up may have been captured before: this one would be its successor. */
    bool late = wanted && !stands_there(dirfd, name, &st);
    /* A mapped file is looked at again when it is so no more. */
    if (err == CKPT_OK && !late && (!known(engine, dir, name, &st) || is_mapped(engine, fd, &st))) {
        err = ckpt_pending_add(engine, fd, dir, name);
        *captured = err == CKPT_OK;
    }
    pthread_mutex_unlock(&engine->capture);
    if (err == CKPT_ERR_NOSPC) {
        pthread_mutex_lock(&engine->lock);
        engine->missed = true;
        pthread_mutex_unlock(&engine->lock);
    }
    return too_deep ? CKPT_OK : err;
}

enum ckpt_err ckpt_engine_capture_name(struct ckpt_engine *engine, int fd, int dirfd, const char *name)
{
    bool captured = false;
    struct stat st;
    int at = fd;
    enum ckpt_err err = capture_name(engine, at, dirfd, name, false, &captured);
    /* Whoever has replaced it at the same time may have been faster: what has the name is to be the newest version of it. */
    while (err == CKPT_OK && captured && ckpt_host_fstat(at, &st) == 0 && !stands_there(dirfd, name, &st)) {
        ckpt_host_close(at == fd ? -1 : at);
        at = ckpt_host_openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
        captured = false;
        err = at < 0 ? CKPT_OK : capture_name(engine, at, dirfd, name, false, &captured);
    }
    ckpt_host_close(at == fd ? -1 : at);
    return err;
}

enum ckpt_err ckpt_capture_whatever(struct ckpt_engine *engine, int fd, int dirfd, const char *name, bool *captured)
{
    *captured = false;
    return capture_name(engine, fd, dirfd, name, true, captured);
}

/* The names, of all that were captured or are queued, that may be names of one inode. */
struct name {
    uint64_t dir;
    char name[NAME_MAX + 1];
    struct name *next;
};

struct names {
    uint64_t ino;
    struct name *list;
    bool no_memory;
};

static void add_name(struct names *names, uint64_t dir, const char *name)
{
    struct name *added = calloc(1, sizeof *added);
    if (added == NULL) {
        names->no_memory = true;
        return;
    }
    added->dir = dir;
    memcpy(added->name, name, strnlen(name, NAME_MAX));
    LL_PREPEND(names->list, added);
}

static bool see_file(void *arg, const struct ckpt_file *file, uint32_t versions)
{
    struct names *names = arg;
    (void)versions;
    if (file->stamp.ino == names->ino) {
        add_name(names, file->dir, file->name);
    }
    return !names->no_memory;
}

static void see_queue(struct ckpt_engine *engine, struct names *names)
{
    const struct ckpt_saved_stamp *saved = NULL;
    const struct ckpt_job *job = NULL;
    pthread_mutex_lock(&engine->lock);
    LL_FOREACH (engine->stamps, saved) {
        if (saved->stamp.ino == names->ino) {
            add_name(names, saved->dir, saved->name);
        }
    }
    DL_FOREACH (engine->jobs, job) {
        add_name(names, job->dir, job->name);
    }
    pthread_mutex_unlock(&engine->lock);
}

static enum ckpt_err capture_if_name(struct ckpt_engine *engine, int fd, const struct stat *st,
                                     const struct name *name)
{
    char path[PATH_MAX];
    struct stat named;
    enum ckpt_err err = ckpt_catalog_path(engine->store, name->dir, path, sizeof path);
    if (err != CKPT_OK) {
        return err == CKPT_ERR_NOT_FOUND || err == CKPT_ERR_INVALID ? CKPT_OK : err;
    }
    int dirfd = ckpt_host_openat(ckpt_store_livefd(engine->store), path[0] == '\0' ? "." : path,
                                 O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (dirfd < 0) {
        return errno == ENOENT || errno == ENOTDIR ? CKPT_OK : ckpt_err_from_errno(errno);
    }
    if (ckpt_host_fstatat(dirfd, name->name, &named, AT_SYMLINK_NOFOLLOW) != 0) {
        err = errno == ENOENT ? CKPT_OK : ckpt_err_from_errno(errno);
    } else if (named.st_dev == st->st_dev && named.st_ino == st->st_ino) {
        err = ckpt_engine_capture_name(engine, fd, dirfd, name->name);
    }
    ckpt_host_close(dirfd);
    return err;
}

/* A file with several names was written through one of them, and FUSE doesn't say which: all have changed. */
static enum ckpt_err capture_other_names(struct ckpt_engine *engine, int fd, const struct stat *st)
{
    struct names names = {.ino = st->st_ino};
    struct name *name = NULL;
    struct name *next = NULL;
    enum ckpt_err err = ckpt_dir_rows_save(engine);
    if (err == CKPT_OK) {
        err = ckpt_catalog_each_file_of_all(engine->store, see_file, &names);
        see_queue(engine, &names);
    }
    if (err == CKPT_OK && names.no_memory) {
        err = CKPT_ERR_NOMEM;
    }
    LL_FOREACH_SAFE (names.list, name, next) {
        if (err == CKPT_OK) {
            err = capture_if_name(engine, fd, st, name);
        }
        free(name);
    }
    return err;
}

enum ckpt_err ckpt_engine_capture(struct ckpt_engine *engine, int fd)
{
    struct stat st = {0};
    char path[PATH_MAX];
    char parent[PATH_MAX];
    const char *name = NULL;
    enum ckpt_err err = ckpt_engine_stat(engine, fd, &st);
    if (err != CKPT_OK || !S_ISREG(st.st_mode)) {
        return err;
    }
    /* This may be the last close of what was left out as open; when it has lost its name nothing else says so. */
    pthread_mutex_lock(&engine->lock);
    ckpt_pending_retry(engine, st.st_dev, st.st_ino);
    pthread_mutex_unlock(&engine->lock);
    err = st.st_nlink == 0 ? CKPT_ERR_NOT_FOUND : ckpt_live_path(engine->store, fd, path);
    if (err != CKPT_OK) {
        return err == CKPT_ERR_NOT_FOUND || err == CKPT_ERR_UNSUPPORTED ? CKPT_OK : err;
    }
    ckpt_note_path(engine, path);
    ckpt_split_path(path, parent, &name);
    int parent_fd = ckpt_host_openat(ckpt_store_livefd(engine->store), parent,
                                     O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (parent_fd < 0) {
        return ckpt_err_from_errno(errno);
    }
    err = ckpt_engine_capture_name(engine, fd, parent_fd, name);
    ckpt_host_close(parent_fd);
    if (err == CKPT_OK && st.st_nlink > 1) {
        err = capture_other_names(engine, fd, &st);
    }
    return err;
}

bool ckpt_engine_is_pending(struct ckpt_engine *engine, dev_t dev, ino_t ino)
{
    pthread_mutex_lock(&engine->lock);
    const struct ckpt_held *held = ckpt_pending_find(engine, dev, ino);
    bool pending = held != NULL && held->jobs != NULL;
    pthread_mutex_unlock(&engine->lock);
    return pending;
}

/* How many links pending/ has to the inode; -1: that changes just now. */
static int pending_links(struct ckpt_engine *engine, const struct stat *st)
{
    pthread_mutex_lock(&engine->lock);
    const struct ckpt_held *held = ckpt_pending_find(engine, st->st_dev, st->st_ino);
    int links = held == NULL ? 0 : held->changing > 0 ? -1 : (int)held->links;
    pthread_mutex_unlock(&engine->lock);
    return links;
}

enum ckpt_err ckpt_engine_stat(struct ckpt_engine *engine, int fd, struct stat *st)
{
    const struct timespec moment = {.tv_nsec = 200000};
    struct stat found;
    if (ckpt_host_fstat(fd, &found) != 0) {
        return ckpt_err_from_errno(errno);
    }
    while (S_ISREG(found.st_mode)) {
        int before = pending_links(engine, &found);
        if (ckpt_host_fstat(fd, &found) != 0) {
            return ckpt_err_from_errno(errno);
        }
        if (before >= 0 && before == pending_links(engine, &found)) {
            found.st_nlink -= (nlink_t)before;
            break;
        }
        (void)nanosleep(&moment, NULL);
    }
    *st = found;
    return CKPT_OK;
}
