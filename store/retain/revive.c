/*
 * Giving names of versions back to live/, as stubs: the opposite of retire.c.
 *
 * All that can be refused is refused first, and the stubs are made and synced in tmp/. Then, with the names locked,
 * directories are made and stubs moved to their names; what somebody else has taken meanwhile stops it, and takes
 * back what was done.
 */
#include "catalog/catalog_txn.h"
#include "common/live.h"
#include "retire.h"
#include <ckpt/host.h>
#include <errno.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

/* A directory on the way to a name that has been made again. */
struct made_dir {
    char path[PATH_MAX];
    struct stat parent;
    struct made_dir *next; /* newest first */
};

/* A name that isn't there. */
struct stub {
    const struct ckpt_live_name *name;
    struct ckpt_version version;
    char temporary[CKPT_TEMPORARY];
    bool made;   /* in tmp/ */
    bool placed; /* under its name */
    int dir_fd;  /* where it goes; -1 until it is known */
    bool shared; /* dir_fd is that of the stub before */
};

struct revival {
    struct ckpt_engine *engine;
    struct stub *stubs;
    size_t count;
    struct made_dir *made;
};

/* ---- before anything is done ---- */

/* Whether NAME is there: *TAKEN by the right bytes. EXISTS: by something else. */
static enum ckpt_err is_taken(struct ckpt_engine *engine, int dirfd, const struct ckpt_live_name *name,
                              const struct ckpt_version *version, bool *taken)
{
    enum ckpt_standing standing = CKPT_GONE;
    struct ckpt_live_name newest = *name; /* with the same bytes */
    struct stat st;
    int fd = -1;
    enum ckpt_err err =
        ckpt_live_number(engine, name->dir, name->name, &version->recipe, &newest.number);
    if (err == CKPT_OK) {
        err = ckpt_live_look(engine, dirfd, &newest, &fd, &st, &standing);
    }
    if (err == CKPT_OK && standing == CKPT_UNSURE) {
        err = ckpt_live_compare(engine, &newest, fd, &st, &standing);
    }
    ckpt_host_close(fd);
    *taken = standing == CKPT_SAME;
    return err == CKPT_OK && standing == CKPT_OTHER ? CKPT_ERR_EXISTS : err;
}

static enum ckpt_err add_stub(struct revival *r, const struct ckpt_live_name *name)
{
    struct stub *stub = &r->stubs[r->count];
    int dirfd = -1;
    bool taken = false;
    *stub = (struct stub){.name = name, .dir_fd = -1};
    enum ckpt_err err =
        name->number == 0
            ? CKPT_ERR_INVALID
            : ckpt_catalog_version(r->engine->store, name->dir, name->name, name->number, &stub->version);
    if (err == CKPT_OK) {
        err = ckpt_live_open_dir(r->engine, name->dir, &dirfd);
    }
    if (err == CKPT_OK && dirfd >= 0) {
        err = is_taken(r->engine, dirfd, name, &stub->version, &taken);
    }
    ckpt_host_close(dirfd);
    r->count += err == CKPT_OK && !taken;
    return err;
}

static enum ckpt_err make_stub(struct ckpt_engine *engine, struct stub *stub)
{
    const struct ckpt_version *v = &stub->version;
    struct ckpt_stub mark = {.recipe = v->recipe, .size = v->size, .stored = v->stored};
    struct stat st;
    struct timespec mtime = {.tv_sec = v->mtime_ns / 1000000000, .tv_nsec = v->mtime_ns % 1000000000};
    if (mtime.tv_nsec < 0) {
        mtime.tv_sec--;
        mtime.tv_nsec += 1000000000;
    }
    const struct timespec times[2] = {mtime, mtime};
    int fd = ckpt_temporary(engine, stub->temporary);
    if (fd < 0) {
        return ckpt_err_from_errno(errno);
    }
    stub->made = true;
    enum ckpt_err err = ckpt_host_ftruncate(fd, (off_t)v->size) != 0 ? ckpt_err_from_errno(errno)
                                                                     : ckpt_live_set_stub(fd, &mark);
    if (err == CKPT_OK &&
        (ckpt_host_fstat(fd, &st) != 0 ||
         ((st.st_uid != v->uid || st.st_gid != v->gid) && ckpt_host_fchown(fd, v->uid, v->gid) != 0) ||
         ckpt_host_fchmod(fd, v->mode) != 0 || ckpt_host_futimens(fd, times) != 0 || ckpt_host_fsync(fd) != 0)) {
        err = ckpt_err_from_errno(errno);
    }
    ckpt_host_close(fd);
    return err;
}

/* ---- directories; with the names locked ---- */

/* What the modes of files allow: who may read the file may enter its directory. */
static mode_t directory_mode(mode_t file)
{
    mode_t read = file & 0444;
    return 0700 | read | read >> 2;
}

/* Makes the directory NAME in PARENT_FD, which is PATH, for the version V. */
static enum ckpt_err make_directory(struct revival *r, int parent_fd, const char *name, const char *path,
                                    const struct ckpt_version *v)
{
    struct made_dir *made = calloc(1, sizeof *made);
    struct stat st;
    if (made == NULL) {
        return CKPT_ERR_NOMEM;
    }
    strcpy(made->path, path);
    if (ckpt_host_fstat(parent_fd, &made->parent) != 0 ||
        ckpt_host_mkdirat(parent_fd, name, directory_mode(v->mode)) != 0) {
        enum ckpt_err err = ckpt_err_from_errno(errno);
        free(made);
        return err;
    }
    LL_PREPEND(r->made, made);
    int fd = ckpt_host_openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    enum ckpt_err err = CKPT_OK;
    if (fd < 0 || ckpt_host_fstat(fd, &st) != 0 ||
        ((st.st_uid != v->uid || st.st_gid != v->gid) && ckpt_host_fchown(fd, v->uid, v->gid) != 0)) {
        err = ckpt_err_from_errno(errno);
    }
    ckpt_host_close(fd);
    return err;
}

/* Opens NAME in *FD, which is exchanged for it; makes it when it is missing. */
static enum ckpt_err enter(struct revival *r, int *fd, const char *name, const char *path,
                           const struct ckpt_version *v)
{
    enum { DIRECTORY = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };
    enum ckpt_err err = CKPT_OK;
    int child = ckpt_host_openat(*fd, name, DIRECTORY, 0);
    if (child < 0 && errno == ENOENT) {
        err = make_directory(r, *fd, name, path, v);
        child = err == CKPT_OK ? ckpt_host_openat(*fd, name, DIRECTORY, 0) : -1;
    }
    if (err == CKPT_OK && child < 0) {
        err = errno == ENOTDIR || errno == ELOOP ? CKPT_ERR_EXISTS : ckpt_err_from_errno(errno);
    }
    ckpt_host_close(*fd);
    *fd = child;
    return err;
}

/* The directory of STUB, by the path that the catalog has for it: a new one there adopts its id. */
static enum ckpt_err open_dir(struct revival *r, struct stub *stub)
{
    struct ckpt_engine *engine = r->engine;
    char path[PATH_MAX];
    uint64_t id = CKPT_DIR_ROOT;
    enum ckpt_err err = ckpt_catalog_path(engine->store, stub->name->dir, path, sizeof path);
    int fd = err != CKPT_OK ? -1
                            : ckpt_host_openat(ckpt_store_livefd(engine->store), ".",
                                               O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (err == CKPT_OK && fd < 0) {
        err = ckpt_err_from_errno(errno);
    }
    char *at = path;
    while (err == CKPT_OK && *at != '\0') {
        char *slash = strchr(at, '/');
        if (slash != NULL) {
            *slash = '\0';
        }
        err = enter(r, &fd, at, path, &stub->version);
        if (slash == NULL) {
            break;
        }
        *slash = '/';
        at = slash + 1;
    }
    if (err == CKPT_OK) {
        pthread_mutex_lock(&engine->capture);
        err = ckpt_dir_id_ensure(engine, fd, &id);
        pthread_mutex_unlock(&engine->capture);
    }
    if (err == CKPT_OK && id != stub->name->dir) {
        err = CKPT_ERR_EXISTS; /* another directory has its place */
    }
    stub->dir_fd = fd;
    return err;
}

/* ---- all at once; with the names locked ---- */

static enum ckpt_err place(struct revival *r, size_t index)
{
    struct stub *stub = &r->stubs[index];
    enum ckpt_err err = CKPT_OK;
    /* Names of a directory come together. */
    if (index > 0 && stub[-1].name->dir == stub->name->dir) {
        stub->dir_fd = stub[-1].dir_fd;
        stub->shared = true;
    } else {
        err = open_dir(r, stub);
    }
    /* A later file had the name, and is gone already; that it was there is about to be recorded. */
    if (err == CKPT_OK && ckpt_pending_has_name(r->engine, stub->name->dir, stub->name->name)) {
        err = CKPT_ERR_EXISTS;
    }
    if (err == CKPT_OK && ckpt_host_renameat2(ckpt_store_tmpfd(r->engine->store), stub->temporary,
                                              stub->dir_fd, stub->name->name, RENAME_NOREPLACE) != 0) {
        err = ckpt_err_from_errno(errno);
    }
    stub->placed = err == CKPT_OK;
    return err;
}

static void take_back(struct revival *r)
{
    const struct made_dir *made = NULL;
    for (size_t i = 0; i < r->count; i++) {
        if (r->stubs[i].placed) {
            (void)ckpt_host_unlinkat(r->stubs[i].dir_fd, r->stubs[i].name->name, 0);
        }
    }
    LL_FOREACH (r->made, made) {
        (void)ckpt_host_unlinkat(ckpt_store_livefd(r->engine->store), made->path, AT_REMOVEDIR);
    }
}

static enum ckpt_err place_all(struct revival *r)
{
    enum ckpt_err err = CKPT_OK;
    pthread_rwlock_wrlock(&r->engine->names);
    for (size_t i = 0; i < r->count && err == CKPT_OK; i++) {
        err = place(r, i);
    }
    if (err != CKPT_OK) {
        take_back(r);
    }
    pthread_rwlock_unlock(&r->engine->names);
    return err;
}

/* ---- afterwards ---- */

static enum ckpt_err sync_parent(struct revival *r, const struct made_dir *made)
{
    char parent[PATH_MAX];
    const char *name = NULL;
    ckpt_split_path(made->path, parent, &name);
    int fd = ckpt_host_openat(ckpt_store_livefd(r->engine->store), parent,
                              O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    enum ckpt_err err = fd < 0 || ckpt_host_fsync(fd) != 0 ? ckpt_err_from_errno(errno) : CKPT_OK;
    ckpt_host_close(fd);
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

static enum ckpt_err sync_all(struct revival *r)
{
    enum ckpt_err err = CKPT_OK;
    const struct made_dir *made = NULL;
    for (size_t i = 0; i < r->count && err == CKPT_OK; i++) {
        bool last = i + 1 == r->count || r->stubs[i + 1].name->dir != r->stubs[i].name->dir;
        if (last && ckpt_host_fsync(r->stubs[i].dir_fd) != 0) {
            err = ckpt_err_from_errno(errno);
        }
    }
    LL_FOREACH (r->made, made) {
        if (err == CKPT_OK) {
            err = sync_parent(r, made);
        }
    }
    return err;
}

static void tell(struct revival *r)
{
    struct ckpt_engine *engine = r->engine;
    const struct ckpt_engine_hooks *hooks = &engine->config.hooks;
    const struct ckpt_stamp unknown = {0};
    const struct made_dir *made = NULL;
    struct stat st;
    for (size_t i = 0; i < r->count; i++) {
        const struct stub *stub = &r->stubs[i];
        ckpt_stamp_save(engine, stub->name->dir, stub->name->name, &unknown, 0);
        if (hooks->appeared != NULL && ckpt_host_fstat(stub->dir_fd, &st) == 0) {
            hooks->appeared(engine->config.hooks_arg, st.st_dev, st.st_ino, stub->name->name);
        }
    }
    LL_FOREACH (r->made, made) {
        const char *slash = strrchr(made->path, '/');
        if (hooks->appeared != NULL) {
            hooks->appeared(engine->config.hooks_arg, made->parent.st_dev, made->parent.st_ino,
                            slash == NULL ? made->path : slash + 1);
        }
    }
}

static void close_revival(struct revival *r)
{
    struct made_dir *made = NULL;
    struct made_dir *next = NULL;
    for (size_t i = 0; i < r->count; i++) {
        if (r->stubs[i].made && !r->stubs[i].placed) {
            (void)ckpt_host_unlinkat(ckpt_store_tmpfd(r->engine->store), r->stubs[i].temporary, 0);
        }
        ckpt_host_close(r->stubs[i].shared ? -1 : r->stubs[i].dir_fd);
    }
    LL_FOREACH_SAFE (r->made, made, next) {
        free(made);
    }
    free(r->stubs);
}

enum ckpt_err ckpt_revive(struct ckpt_engine *engine, const struct ckpt_live_name *names, size_t n)
{
    struct revival r = {.engine = engine};
    if (ckpt_store_stopped(engine->store)) {
        return CKPT_ERR_STOPPED;
    }
    /* Paths and ids are found in the catalog. */
    enum ckpt_err err = ckpt_dir_rows_save(engine);
    if (err == CKPT_OK && (r.stubs = calloc(n + 1, sizeof *r.stubs)) == NULL) {
        err = CKPT_ERR_NOMEM;
    }
    for (size_t i = 0; i < n && err == CKPT_OK; i++) {
        err = add_stub(&r, &names[i]);
    }
    for (size_t i = 0; i < r.count && err == CKPT_OK; i++) {
        err = make_stub(engine, &r.stubs[i]);
    }
    if (err == CKPT_OK) {
        err = place_all(&r);
    }
    if (err == CKPT_OK) {
        tell(&r);
        err = sync_all(&r);
    }
    close_revival(&r);
    return err;
}
