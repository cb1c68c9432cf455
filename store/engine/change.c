/*
 * Live files that must change without losing what they were: pending/ gets a copy of their bytes (preserve), or their
 * name gets another inode (swap, exchange), and users notice nothing else of it.
 */
#include "common/live.h"
#include "engine_parts.h"
#include <ckpt/host.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

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
