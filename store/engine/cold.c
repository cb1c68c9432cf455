/*
 * Cold files that users want something of: making them hot again, in place, and giving them further names. hot.c makes
 * them cold.
 */
#include "common/live.h"
#include "engine_parts.h"
#include <ckpt/host.h>
#include <errno.h>
#include <string.h>

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
