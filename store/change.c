/*
 * Live files that must change without losing what they were: capture at close, preservation and swap of
 * pending files, promotion of cold ones, further names for stubs.
 */
#include "engine_parts.h"
#include "internal.h"
#include "live.h"
#include <ckpt/host.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int ckpt_temporary(struct ckpt_engine *engine, char *name)
{
    snprintf(name, 32, "%016" PRIxFAST64, atomic_fetch_add(&engine->next_temporary, 1));
    return ckpt_host_openat(ckpt_store_tmpfd(engine->store), name,
                            O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

/* A second descriptor of the same inode, which may be an O_PATH one. */
static int reopen(int fd, int flags)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    return ckpt_host_openat(AT_FDCWD, link, flags | O_CLOEXEC, 0);
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

enum ckpt_err ckpt_engine_capture(struct ckpt_engine *engine, int fd)
{
    struct stat st;
    char path[PATH_MAX];
    char parent[PATH_MAX];
    const char *name = NULL;
    if (ckpt_host_fstat(fd, &st) != 0) {
        return ckpt_err_from_errno(errno);
    }
    if (!S_ISREG(st.st_mode) || st.st_nlink == 0) {
        return CKPT_OK;
    }
    enum ckpt_err err = ckpt_live_path(engine->store, fd, path);
    if (err != CKPT_OK) {
        return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
    }
    ckpt_split_path(path, parent, &name);
    if (!ckpt_filter_match(engine->config.filter, name, (uint64_t)st.st_size)) {
        return CKPT_OK;
    }
    struct ckpt_stub stub;
    bool cold = false;
    err = ckpt_live_stub(fd, &stub, &cold);
    if (err != CKPT_OK || cold) {
        return err;
    }
    int parent_fd = ckpt_host_openat(ckpt_store_livefd(engine->store), parent,
                                     O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (parent_fd < 0) {
        return ckpt_err_from_errno(errno);
    }
    uint64_t dir = CKPT_DIR_ROOT;
    pthread_mutex_lock(&engine->capture);
    err = ckpt_dir_id_ensure(engine, parent_fd, &dir);
    if (err == CKPT_OK && !known(engine, dir, name, &st)) {
        err = ckpt_pending_add(engine, fd, dir, name);
    }
    pthread_mutex_unlock(&engine->capture);
    ckpt_host_close(parent_fd);
    return err;
}

bool ckpt_engine_is_pending(struct ckpt_engine *engine, dev_t dev, ino_t ino)
{
    pthread_mutex_lock(&engine->lock);
    bool pending = ckpt_pending_find(engine, dev, ino) != NULL;
    pthread_mutex_unlock(&engine->lock);
    return pending;
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
        off_t data = lseek(from, at, SEEK_DATA);
        if (data < 0) {
            return errno == ENXIO ? CKPT_OK : copy_range(from, to, at, size);
        }
        off_t hole = lseek(from, data, SEEK_HOLE);
        at = hole < 0 || hole > size ? size : hole;
        err = copy_range(from, to, data, at);
    }
    return err;
}

/* Puts the copy tmp/NAME in the place of the inode's pending link, if that is still there. */
static enum ckpt_err exchange(struct ckpt_engine *engine, const struct stat *original, int copy,
                              const char *name)
{
    enum ckpt_err err = CKPT_OK;
    char path[CKPT_PENDING_PATH];
    struct stat st;
    pthread_mutex_lock(&engine->lock);
    struct ckpt_job *job = ckpt_pending_find(engine, original->st_dev, original->st_ino);
    if (job != NULL) {
        ckpt_pending_path(job, path);
        if (ckpt_host_fstat(copy, &st) != 0 ||
            ckpt_host_renameat2(ckpt_store_tmpfd(engine->store), name,
                                ckpt_store_pendingfd(engine->store), path, RENAME_EXCHANGE) != 0) {
            err = ckpt_err_from_errno(errno);
        } else {
            ckpt_pending_rekey(engine, job, &st);
        }
    }
    pthread_mutex_unlock(&engine->lock);
    return err;
}

enum ckpt_err ckpt_engine_preserve(struct ckpt_engine *engine, int fd)
{
    struct stat st;
    char name[32];
    if (ckpt_host_fstat(fd, &st) != 0) {
        return ckpt_err_from_errno(errno);
    }
    if (!ckpt_engine_is_pending(engine, st.st_dev, st.st_ino)) {
        return CKPT_OK;
    }
    int from = reopen(fd, O_RDONLY);
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
    if (err == CKPT_OK) {
        err = exchange(engine, &st, to, name);
    }
    (void)ckpt_host_unlinkat(ckpt_store_tmpfd(engine->store), name, 0);
    ckpt_host_close(to);
    ckpt_host_close(from);
    return err;
}

enum ckpt_err ckpt_engine_swap_empty(struct ckpt_engine *engine, int fd)
{
    char name[32];
    char path[PATH_MAX];
    int to = ckpt_temporary(engine, name);
    if (to < 0) {
        return ckpt_err_from_errno(errno);
    }
    enum ckpt_err err = ckpt_live_copy_metadata(fd, to);
    if (err == CKPT_OK) {
        pthread_rwlock_wrlock(&engine->names);
        err = ckpt_live_path(engine->store, fd, path);
        if (err == CKPT_OK && ckpt_host_renameat2(ckpt_store_tmpfd(engine->store), name,
                                                  ckpt_store_livefd(engine->store), path, 0) != 0) {
            err = ckpt_err_from_errno(errno);
        }
        pthread_rwlock_unlock(&engine->names);
    }
    if (err != CKPT_OK) {
        (void)ckpt_host_unlinkat(ckpt_store_tmpfd(engine->store), name, 0);
    }
    ckpt_host_close(to);
    return err;
}

/* ---- cold files ---- */

static enum ckpt_err empty_stub(int fd)
{
    if (ckpt_host_ftruncate(fd, 0) != 0) {
        return ckpt_err_from_errno(errno);
    }
    return ckpt_live_clear_stub(fd);
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
    }
    return err;
}

static void stamp_promoted(struct ckpt_engine *engine, int fd)
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
        struct ckpt_stamp stamp = ckpt_stamp_of(&st);
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
    int writable = reopen(fd, O_RDWR);
    if (writable < 0) {
        return ckpt_err_from_errno(errno);
    }
    err = keep ? fill_stub(engine, writable, &stub) : empty_stub(writable);
    if (err == CKPT_OK && keep) {
        stamp_promoted(engine, writable);
    }
    ckpt_host_close(writable);
    return err;
}

enum ckpt_err ckpt_engine_name_stub(struct ckpt_engine *engine, int fd, int dirfd, const char *name)
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
    err = ckpt_catalog_put_version(engine->store, &version, &unknown, 0, &added);
    if (err == CKPT_OK && engine->config.hooks.versions_changed != NULL) {
        engine->config.hooks.versions_changed(engine->config.hooks_arg, dir);
    }
    return err;
}
