/*
 * At start: live/ against the catalog. Finds what changed while nobody looked (a crash between a rename and its
 * row, a file closed but not linked, somebody's hand in live/), queues it, and names what can't be right.
 *
 * Runs before the engine's thread and before the mount.
 */
#include "common/live.h"
#include "engine_parts.h"
#include <ckpt/host.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct search {
    struct ckpt_id recipe;
    bool found;
};

static bool has_recipe(void *arg, const struct ckpt_version *version)
{
    struct search *search = arg;
    search->found = ckpt_id_equal(&version->recipe, &search->recipe);
    return !search->found;
}

/* Every name of a stub has a version row with its recipe; a crash can have lost the last step to it. */
static enum ckpt_err check_stub(struct ckpt_engine *engine, int fd, int dirfd, const char *name,
                                const struct ckpt_stub *stub)
{
    uint64_t dir = CKPT_DIR_ROOT;
    struct search search = {.recipe = stub->recipe};
    enum ckpt_err err = ckpt_live_dir_id(engine->store, dirfd, &dir);
    if (err == CKPT_OK) {
        err = ckpt_catalog_each_version(engine->store, dir, name, has_recipe, &search);
    }
    if ((err != CKPT_OK && err != CKPT_ERR_NOT_FOUND) || search.found) {
        return err;
    }
    err = ckpt_name_stub(engine, fd, dirfd, name);
    if (err == CKPT_ERR_NOT_FOUND) {
        char path[PATH_MAX] = "";
        (void)!ckpt_live_path(engine->store, fd, path);
        ckpt_reportf(CKPT_REPORT(engine), CKPT_ERROR,
                     "%s is cold and its content is not in the store; it can't be read. Run: ckpt verify",
                     path);
        return CKPT_OK;
    }
    return err;
}

static enum ckpt_err check_file(struct ckpt_engine *engine, int dirfd, const char *name)
{
    struct ckpt_stub stub;
    bool cold = false;
    int fd = ckpt_host_openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd < 0) {
        return ckpt_err_from_errno(errno);
    }
    enum ckpt_err err = ckpt_live_stub(fd, &stub, &cold);
    if (err == CKPT_ERR_CORRUPT) {
        char path[PATH_MAX] = "";
        (void)!ckpt_live_path(engine->store, fd, path);
        ckpt_reportf(CKPT_REPORT(engine), CKPT_ERROR,
                     "%s carries a damaged mark of a cold file; its versions can still be restored: ckpt log %s",
                     path, path);
        err = CKPT_OK;
    } else if (err == CKPT_OK && cold) {
        err = check_stub(engine, fd, dirfd, name, &stub);
    } else if (err == CKPT_OK) {
        err = ckpt_engine_capture(engine, fd);
    }
    ckpt_host_close(fd);
    return err;
}

/* *ELSEWHERE: whether another directory of live/ carries this id where the catalog says it is. */
static enum ckpt_err lives_elsewhere(struct ckpt_engine *engine, int fd, uint64_t id, bool *elsewhere)
{
    char path[PATH_MAX];
    struct stat st;
    struct stat other;
    uint64_t other_id = CKPT_DIR_ROOT;
    *elsewhere = false;
    enum ckpt_err err = ckpt_catalog_path(engine->store, id, path, sizeof path);
    if (err != CKPT_OK) {
        return err == CKPT_ERR_NOT_FOUND || err == CKPT_ERR_INVALID ? CKPT_OK : err;
    }
    int there = ckpt_host_openat(ckpt_store_livefd(engine->store), path,
                                 O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (there < 0) {
        return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? CKPT_OK
                                                                     : ckpt_err_from_errno(errno);
    }
    if (ckpt_host_fstat(fd, &st) != 0 || ckpt_host_fstat(there, &other) != 0) {
        err = ckpt_err_from_errno(errno);
    } else if (other.st_ino != st.st_ino) {
        err = ckpt_live_dir_id(engine->store, there, &other_id);
        *elsewhere = err == CKPT_OK && other_id == id;
    }
    ckpt_host_close(there);
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

static enum ckpt_err check_dir_row(struct ckpt_engine *engine, int fd, uint64_t id, uint64_t parent,
                                   const char *name)
{
    uint64_t known = CKPT_DIR_ROOT;
    if (ckpt_catalog_subdir(engine->store, parent, name, &known) == CKPT_OK && known == id) {
        return CKPT_OK;
    }
    bool copied = false;
    enum ckpt_err err = lives_elsewhere(engine, fd, id, &copied);
    if (err != CKPT_OK) {
        return err;
    }
    if (copied) {
        /* A copy that somebody made in live/ with its attributes: it starts a history of its own. */
        if (ckpt_host_fremovexattr(fd, CKPT_XATTR_PREFIX "dir") != 0) {
            return ckpt_err_from_errno(errno);
        }
        return ckpt_dir_id_ensure(engine, fd, &id);
    }
    return ckpt_catalog_set_dir(engine->store, id, parent, name);
}

static enum ckpt_err walk(struct ckpt_engine *engine, int fd);

static enum ckpt_err check_dir(struct ckpt_engine *engine, int parent_fd, const char *name)
{
    uint64_t parent = CKPT_DIR_ROOT;
    uint64_t id = CKPT_DIR_ROOT;
    int fd = ckpt_host_openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd < 0) {
        return ckpt_err_from_errno(errno);
    }
    enum ckpt_err err = ckpt_live_dir_id(engine->store, fd, &id);
    if (err == CKPT_OK) {
        err = ckpt_dir_id_ensure(engine, parent_fd, &parent);
    }
    if (err == CKPT_OK) {
        err = ckpt_dir_rows_save(engine);
    }
    if (err == CKPT_OK) {
        err = check_dir_row(engine, fd, id, parent, name);
    }
    if (err == CKPT_OK || err == CKPT_ERR_NOT_FOUND) {
        err = walk(engine, fd);
    }
    ckpt_host_close(fd);
    return err;
}

/* One thing that can't be looked at must not keep all the others from being served. */
static enum ckpt_err tolerate(struct ckpt_engine *engine, int dirfd, const char *name,
                              enum ckpt_err err)
{
    if (err == CKPT_OK || err == CKPT_ERR_NOMEM || err == CKPT_ERR_STOPPED) {
        return err;
    }
    if (err == CKPT_ERR_NOSPC) {
        pthread_mutex_lock(&engine->lock);
        engine->missed = true;
        pthread_mutex_unlock(&engine->lock);
    }
    char path[PATH_MAX] = "";
    (void)!ckpt_live_path(engine->store, dirfd, path);
    ckpt_reportf(CKPT_REPORT(engine), CKPT_WARNING, "%s/%s could not be checked at start: %s", path,
                 name, ckpt_err_text(err));
    return CKPT_OK;
}

static enum ckpt_err walk(struct ckpt_engine *engine, int fd)
{
    int own = ckpt_host_openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (own < 0) {
        return ckpt_err_from_errno(errno);
    }
    DIR *stream = fdopendir(own);
    if (stream == NULL) {
        ckpt_host_close(own);
        return CKPT_ERR_NOMEM;
    }
    enum ckpt_err err = CKPT_OK;
    struct dirent *entry;
    while (err == CKPT_OK && (entry = ckpt_host_readdir(stream)) != NULL) {
        const char *name = entry->d_name;
        struct stat st;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
            continue;
        }
        if (ckpt_host_fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
            err = ckpt_err_from_errno(errno);
        } else if (S_ISDIR(st.st_mode)) {
            err = check_dir(engine, fd, name);
        } else if (S_ISREG(st.st_mode)) {
            err = check_file(engine, fd, name);
        }
        err = tolerate(engine, fd, name, err);
    }
    if (err == CKPT_OK) {
        err = ckpt_err_from_errno(errno);
    }
    closedir(stream);
    return err;
}

enum ckpt_err ckpt_reconcile(struct ckpt_engine *engine)
{
    return walk(engine, ckpt_store_livefd(engine->store));
}

/* ---- later ---- */

static enum ckpt_err capture_below(struct ckpt_engine *engine, int fd)
{
    int own = ckpt_host_openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    DIR *stream = own < 0 ? NULL : fdopendir(own);
    if (stream == NULL) {
        enum ckpt_err failed = own < 0 ? ckpt_err_from_errno(errno) : CKPT_ERR_NOMEM;
        ckpt_host_close(own);
        return failed;
    }
    enum ckpt_err err = CKPT_OK;
    struct dirent *entry;
    while (err == CKPT_OK && (entry = ckpt_host_readdir(stream)) != NULL) {
        struct stat st;
        int child = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0
                        ? -1
                        : ckpt_host_openat(fd, entry->d_name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
        /* What has gone meanwhile has been seen to by whoever moved it. */
        if (child >= 0 && ckpt_host_fstat(child, &st) == 0) {
            err = S_ISDIR(st.st_mode)   ? capture_below(engine, child)
                  : S_ISREG(st.st_mode) ? ckpt_engine_capture(engine, child)
                                        : CKPT_OK;
        }
        ckpt_host_close(child);
    }
    if (err == CKPT_OK) {
        err = ckpt_err_from_errno(errno);
    }
    closedir(stream);
    return err;
}

enum ckpt_err ckpt_capture_missed(struct ckpt_engine *engine)
{
    return capture_below(engine, ckpt_store_livefd(engine->store));
}
