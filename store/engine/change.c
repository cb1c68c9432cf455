/*
 * Live files that must change without losing what they were: capture at close, preservation and swap of
 * pending files, promotion of cold ones, further names for stubs.
 */
#include "common/live.h"
#include "engine_parts.h"
#include "object/internal.h"
#include <ckpt/host.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

void ckpt_temporary_name(struct ckpt_engine *engine, char name[CKPT_TEMPORARY])
{
    snprintf(name, CKPT_TEMPORARY, "%016" PRIxFAST64, atomic_fetch_add(&engine->next_temporary, 1));
}

int ckpt_temporary(struct ckpt_engine *engine, char name[CKPT_TEMPORARY])
{
    ckpt_temporary_name(engine, name);
    return ckpt_host_openat(ckpt_store_tmpfd(engine->store), name,
                            O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

void ckpt_touched(struct ckpt_engine *engine, const struct stat *before, int fd)
{
    struct stat after;
    if (engine->config.hooks.touched != NULL && ckpt_host_fstat(fd, &after) == 0) {
        engine->config.hooks.touched(engine->config.hooks_arg, before, &after);
    }
}

/* ---- capture ---- */

static bool known(struct ckpt_engine *engine, uint64_t dir, const char *name, const struct stat *st)
{
    struct ckpt_stamp now = ckpt_stamp_of(st);
    pthread_mutex_lock(&engine->lock);
    const struct ckpt_saved_stamp *queued = ckpt_stamp_queued(engine, dir, name);
    bool equal = queued != NULL && ckpt_stamp_equal(&queued->stamp, &now);
    bool decided = queued != NULL;
    pthread_mutex_unlock(&engine->lock);
    struct ckpt_file row;
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

/* ---- changing a pending file ---- */

/* Data of one run without a hole, by reflink or in the kernel where the host can. */
static enum ckpt_err copy_range(int from, int to, off_t at, off_t end)
{
    enum { BUFFER = 1 << 20 };
    while (at < end) {
        off_t in = at;
        off_t out = at;
        ssize_t n = ckpt_host_copy_file_range(from, &in, to, &out, (size_t)(end - at));
        if (n == 0) {
            return CKPT_ERR_CHANGED;
        }
        if (n < 0 && errno != EXDEV && errno != EINVAL && errno != ENOSYS && errno != EOPNOTSUPP) {
            return ckpt_err_from_errno(errno);
        }
        if (n < 0) {
            break;
        }
        at += n;
    }
    if (at >= end) {
        return CKPT_OK;
    }
    char *buffer = malloc(BUFFER);
    if (buffer == NULL) {
        return CKPT_ERR_NOMEM;
    }
    enum ckpt_err err = CKPT_OK;
    while (err == CKPT_OK && at < end) {
        size_t want = end - at < BUFFER ? (size_t)(end - at) : BUFFER;
        ssize_t n = ckpt_host_read_all(from, buffer, want, at);
        if (n <= 0) {
            err = n < 0 ? ckpt_err_from_errno(errno) : CKPT_ERR_CHANGED;
        } else if (ckpt_host_write_all(to, buffer, (size_t)n, at) != 0) {
            err = ckpt_err_from_errno(errno);
        } else {
            at += n;
        }
    }
    free(buffer);
    return err;
}

static enum ckpt_err copy_bytes(int from, int to, off_t size)
{
    enum ckpt_err err = CKPT_OK;
    off_t at = 0;
    if (ckpt_host_ftruncate(to, size) != 0) {
        return ckpt_err_from_errno(errno);
    }
    while (err == CKPT_OK && at < size) {
        off_t data = ckpt_host_lseek(from, at, SEEK_DATA);
        if (data < 0) {
            return errno == ENXIO ? CKPT_OK : copy_range(from, to, at, size);
        }
        off_t hole = ckpt_host_lseek(from, data, SEEK_HOLE);
        at = hole < 0 || hole > size ? size : hole;
        err = copy_range(from, to, data, at);
    }
    return err;
}

/* Puts a link to COPY in the place of the job's. With engine->lock. */
static enum ckpt_err exchange_one(struct ckpt_engine *engine, struct ckpt_job *job, int copy,
                                  const struct stat *copy_st)
{
    char name[CKPT_TEMPORARY];
    char path[CKPT_PENDING_PATH];
    int tmp = ckpt_store_tmpfd(engine->store);
    ckpt_temporary_name(engine, name);
    ckpt_pending_path(job, path);
    if (ckpt_host_link_fd(copy, tmp, name) != 0) {
        return ckpt_err_from_errno(errno);
    }
    enum ckpt_err err = CKPT_OK;
    if (ckpt_host_renameat2(tmp, name, ckpt_store_pendingfd(engine->store), path, RENAME_EXCHANGE) != 0) {
        err = ckpt_err_from_errno(errno);
    } else {
        ckpt_pending_rekey(engine, job, copy_st);
    }
    (void)ckpt_host_unlinkat(tmp, name, 0);
    return err;
}

/* Puts COPY in the place of all pending links that the inode still has. */
static enum ckpt_err exchange(struct ckpt_engine *engine, const struct stat *original, int copy)
{
    struct stat st;
    struct ckpt_held *held = NULL;
    if (ckpt_host_fstat(copy, &st) != 0) {
        return ckpt_err_from_errno(errno);
    }
    enum ckpt_err err = CKPT_OK;
    pthread_mutex_lock(&engine->lock);
    while (err == CKPT_OK &&
           (held = ckpt_pending_find(engine, original->st_dev, original->st_ino)) != NULL &&
           held->jobs != NULL) {
        err = exchange_one(engine, held->jobs, copy, &st);
    }
    pthread_mutex_unlock(&engine->lock);
    return err;
}

enum ckpt_err ckpt_engine_preserve(struct ckpt_engine *engine, int fd)
{
    struct stat st;
    struct stat before;
    char name[CKPT_TEMPORARY];
    if (ckpt_host_fstat(fd, &st) != 0) {
        return ckpt_err_from_errno(errno);
    }
    if (!ckpt_engine_is_pending(engine, st.st_dev, st.st_ino)) {
        return CKPT_OK;
    }
    int from = ckpt_host_reopen(fd, O_RDONLY);
    if (from < 0) {
        return ckpt_err_from_errno(errno);
    }
    int to = ckpt_temporary(engine, name);
    if (to < 0) {
        enum ckpt_err failed = ckpt_err_from_errno(errno);
        ckpt_host_close(from);
        return failed;
    }
    enum ckpt_err err = copy_bytes(from, to, st.st_size);
    if (err == CKPT_OK) {
        err = ckpt_live_copy_metadata(from, to);
    }
    bool known = ckpt_host_fstat(fd, &before) == 0;
    if (err == CKPT_OK) {
        err = exchange(engine, &st, to);
    }
    (void)ckpt_host_unlinkat(ckpt_store_tmpfd(engine->store), name, 0);
    if (known) {
        ckpt_touched(engine, &before, fd);
    }
    ckpt_host_close(to);
    ckpt_host_close(from);
    return err;
}

/* The directory of the live file PATH and its stat, or -1. */
static int open_directory(struct ckpt_engine *engine, const char *path, struct stat *st)
{
    char parent[PATH_MAX];
    const char *name = NULL;
    ckpt_split_path(path, parent, &name);
    int fd = ckpt_host_openat(ckpt_store_livefd(engine->store), parent, O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd >= 0 && ckpt_host_fstat(fd, st) != 0) {
        ckpt_host_close(fd);
        fd = -1;
    }
    return fd;
}

/* To users the name has been there all along, so its directory hasn't changed. */
static void restore_times(struct ckpt_engine *engine, int fd, const struct stat *before)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, before->st_mtim};
    if (fd >= 0 && ckpt_host_futimens(fd, times) == 0) {
        ckpt_touched(engine, before, fd);
    }
}

enum ckpt_err ckpt_exchange(struct ckpt_engine *engine, const char *path, const struct stat *was,
                            const char *temporary, int fd, const struct ckpt_stub *stub)
{
    struct stat st;
    struct stat directory = {0};
    enum ckpt_err err = CKPT_OK;
    int directory_fd = open_directory(engine, path, &directory);
    int path_fd = ckpt_host_reopen(fd, O_PATH);
    if (path_fd < 0 || ckpt_host_fstat(path_fd, &st) != 0 ||
        ckpt_host_renameat2(ckpt_store_tmpfd(engine->store), temporary,
                            ckpt_store_livefd(engine->store), path, 0) != 0) {
        err = ckpt_err_from_errno(errno);
    }
    if (err == CKPT_OK && engine->config.hooks.exchanged != NULL) {
        engine->config.hooks.exchanged(engine->config.hooks_arg, was->st_dev, was->st_ino, path_fd,
                                       &st, stub);
    }
    if (err == CKPT_OK) {
        restore_times(engine, directory_fd, &directory);
    }
    if (err == CKPT_OK && stub != NULL) {
        ckpt_touched(engine, was, path_fd);
    }
    ckpt_host_close(path_fd);
    ckpt_host_close(directory_fd);
    return err;
}

enum ckpt_err ckpt_engine_swap_empty(struct ckpt_engine *engine, int fd)
{
    char name[CKPT_TEMPORARY];
    char path[PATH_MAX];
    struct stat st = {0};
    int to = ckpt_temporary(engine, name);
    if (to < 0) {
        return ckpt_err_from_errno(errno);
    }
    const struct timespec truncated[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_NOW}};
    enum ckpt_err err = ckpt_live_copy_metadata(fd, to);
    if (err == CKPT_OK &&
        (ckpt_host_futimens(to, truncated) != 0 || ckpt_host_fstat(fd, &st) != 0)) {
        err = ckpt_err_from_errno(errno);
    }
    if (err == CKPT_OK) {
        pthread_rwlock_wrlock(&engine->names);
        err = ckpt_live_path(engine->store, fd, path);
        if (err == CKPT_OK) {
            err = ckpt_exchange(engine, path, &st, name, to, NULL);
        }
        pthread_rwlock_unlock(&engine->names);
        pthread_mutex_lock(&engine->lock);
        if (err == CKPT_OK) {
            ckpt_pending_retry(engine, st.st_dev, st.st_ino);
        }
        pthread_mutex_unlock(&engine->lock);
    }
    if (err != CKPT_OK) {
        (void)ckpt_host_unlinkat(ckpt_store_tmpfd(engine->store), name, 0);
    }
    ckpt_host_close(to);
    return err;
}

/* ---- cold files ---- */

/* After the attribute has gone: that must be on the disk before anything is written into the file. The caller may make
   what he writes durable with fdatasync, which doesn't take a removed attribute along, and a file of the old size that
   still had it after a power loss would show the old bytes. */
static enum ckpt_err sync_unmarked(int fd)
{
    return ckpt_host_fsync(fd) != 0 ? ckpt_err_from_errno(errno) : CKPT_OK;
}

static enum ckpt_err empty_stub(int fd, const struct ckpt_stub *stub)
{
    if (ckpt_host_ftruncate(fd, 0) != 0) {
        return ckpt_err_from_errno(errno);
    }
    enum ckpt_err err = ckpt_live_clear_stub(fd);
    if (err != CKPT_OK) {
        /* Who is told that it failed finds the stub that it was. */
        (void)ckpt_host_ftruncate(fd, (off_t)stub->size);
        return err;
    }
    return sync_unmarked(fd);
}

/* Until the attribute goes, the file is still the stub it was, whatever has been written into it. */
static enum ckpt_err fill_stub(struct ckpt_engine *engine, int fd, const struct ckpt_stub *stub)
{
    char path[PATH_MAX];
    struct stat st;
    if (ckpt_live_path(engine->store, fd, path) != CKPT_OK) {
        strcpy(path, "(a deleted file)");
    }
    if (ckpt_host_fstat(fd, &st) != 0) {
        return ckpt_err_from_errno(errno);
    }
    enum ckpt_err err = ckpt_restore(engine->store, &stub->recipe, path, fd, engine->config.threads,
                                     NULL, NULL);
    struct timespec times[2] = {st.st_atim, st.st_mtim};
    if (err == CKPT_OK && (ckpt_host_fdatasync(fd) != 0 || ckpt_host_futimens(fd, times) != 0)) {
        err = ckpt_err_from_errno(errno);
    }
    if (err == CKPT_OK) {
        err = ckpt_live_clear_stub(fd);
    }
    if (err != CKPT_OK) {
        (void)ckpt_host_fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, st.st_size);
        (void)ckpt_host_futimens(fd, times);
        return err;
    }
    return sync_unmarked(fd);
}

/* A stamp is for the newest capture, which a stub that was given back (revive.c) need not be. */
static void stamp_promoted(struct ckpt_engine *engine, int fd, const struct ckpt_stub *stub)
{
    char path[PATH_MAX];
    char parent[PATH_MAX];
    const char *name = NULL;
    struct stat st;
    uint64_t dir = CKPT_DIR_ROOT;
    if (ckpt_live_path(engine->store, fd, path) != CKPT_OK || ckpt_host_fstat(fd, &st) != 0) {
        return;
    }
    ckpt_split_path(path, parent, &name);
    int parent_fd = ckpt_host_openat(ckpt_store_livefd(engine->store), parent,
                                     O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (parent_fd >= 0 && ckpt_live_dir_id(engine->store, parent_fd, &dir) == CKPT_OK) {
        struct ckpt_file row;
        struct ckpt_stamp stamp = {.ino = st.st_ino};
        if (ckpt_catalog_file(engine->store, dir, name, &row) == CKPT_OK &&
            ckpt_id_equal(&row.recipe, &stub->recipe)) {
            stamp = ckpt_stamp_of(&st);
        }
        ckpt_stamp_save(engine, dir, name, &stamp, (uint64_t)st.st_blocks * 512);
    }
    ckpt_host_close(parent_fd);
}

enum ckpt_err ckpt_engine_promote(struct ckpt_engine *engine, int fd, bool keep)
{
    struct ckpt_stub stub;
    bool cold = false;
    enum ckpt_err err = ckpt_live_stub(fd, &stub, &cold);
    if (err != CKPT_OK || !cold) {
        return err;
    }
    int writable = ckpt_host_reopen(fd, O_RDWR);
    if (writable < 0) {
        return ckpt_err_from_errno(errno);
    }
    err = keep ? fill_stub(engine, writable, &stub) : empty_stub(writable, &stub);
    if (err == CKPT_OK && keep) {
        stamp_promoted(engine, writable, &stub);
    }
    ckpt_host_close(writable);
    return err;
}

enum ckpt_err ckpt_engine_name_stub(struct ckpt_engine *engine, int fd, int dirfd, const char *name)
{
    struct ckpt_stub stub;
    bool cold = false;
    uint64_t dir = CKPT_DIR_ROOT;
    unsigned still_open = 0;
    enum ckpt_err err = ckpt_live_stub(fd, &stub, &cold);
    if (err != CKPT_OK || !cold) {
        return err;
    }
    err = ckpt_live_dir_id(engine->store, dirfd, &dir);
    if (err == CKPT_OK && ckpt_pending_has_name(engine, dir, name)) {
        /* Its version comes first. A file that can't be read is no reason not to move another. */
        err = ckpt_engine_flush(engine, &still_open);
        err = err == CKPT_ERR_IO ? CKPT_OK : err;
    }
    return err == CKPT_OK || err == CKPT_ERR_NOT_FOUND ? ckpt_name_stub(engine, fd, dirfd, name) : err;
}

enum ckpt_err ckpt_name_stub(struct ckpt_engine *engine, int fd, int dirfd, const char *name)
{
    struct ckpt_stub stub;
    struct stat st;
    bool cold = false;
    enum ckpt_err err = ckpt_live_stub(fd, &stub, &cold);
    if (err != CKPT_OK || !cold) {
        return err;
    }
    if (ckpt_host_fstat(fd, &st) != 0) {
        return ckpt_err_from_errno(errno);
    }
    uint64_t dir = CKPT_DIR_ROOT;
    pthread_mutex_lock(&engine->capture);
    err = ckpt_dir_id_ensure(engine, dirfd, &dir);
    pthread_mutex_unlock(&engine->capture);
    if (err == CKPT_OK) {
        err = ckpt_dir_rows_save(engine);
    }
    if (err != CKPT_OK) {
        return err;
    }
    struct ckpt_version version = {.dir = dir,
                                   .recipe = stub.recipe,
                                   .size = stub.size,
                                   .stored = stub.stored,
                                   .mtime_ns = ckpt_stamp_of(&st).mtime_ns,
                                   .captured_ns = ckpt_realtime_ns(),
                                   .mode = st.st_mode & 07777,
                                   .uid = st.st_uid,
                                   .gid = st.st_gid};
    memcpy(version.name, name, strnlen(name, NAME_MAX));
    struct ckpt_stamp unknown = {0};
    bool added = false;
    return ckpt_catalog_put_version(engine->store, &version, &unknown, 0, &added);
}
