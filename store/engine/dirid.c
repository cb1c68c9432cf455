/*
 * Directory ids: who has one, who gets one, and the rows that tell the catalog.
 *
 * Rows are queued and written by the engine's thread before the next version, so that a trainer never waits
 * for the database when it closes the first file in a new directory. What a crash loses of them, the next
 * start finds by walking live/ (reconcile.c).
 */
#include "catalog/run_parts.h"
#include "common/live.h"
#include "engine_parts.h"
#include <ckpt/host.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include <utlist.h>

enum ckpt_err ckpt_dir_row_add(struct ckpt_engine *engine, uint64_t dir, uint64_t parent,
                               const char *name)
{
    struct ckpt_dir_row *row = calloc(1, sizeof *row);
    if (row == NULL) {
        return CKPT_ERR_NOMEM;
    }
    row->dir = dir;
    row->parent = parent;
    memcpy(row->name, name, strnlen(name, NAME_MAX));
    pthread_mutex_lock(&engine->lock);
    LL_APPEND(engine->dir_rows, row);
    pthread_cond_signal(&engine->wake);
    pthread_mutex_unlock(&engine->lock);
    return CKPT_OK;
}

enum ckpt_err ckpt_dir_rows_save(struct ckpt_engine *engine)
{
    enum ckpt_err err = CKPT_OK;
    pthread_mutex_lock(&engine->rows);
    pthread_mutex_lock(&engine->lock);
    struct ckpt_dir_row *row = NULL;
    while (err == CKPT_OK && (row = engine->dir_rows) != NULL) {
        /* It stays in the queue until it is saved, where predecessor() sees it. */
        pthread_mutex_unlock(&engine->lock);
        err = ckpt_catalog_set_dir(engine->store, row->dir, row->parent, row->name);
        pthread_mutex_lock(&engine->lock);
        if (err == CKPT_OK) {
            LL_DELETE(engine->dir_rows, row);
            free(row);
        }
    }
    pthread_cond_broadcast(&engine->quiet);
    pthread_mutex_unlock(&engine->lock);
    pthread_mutex_unlock(&engine->rows);
    return err;
}

void ckpt_engine_save_dirs(struct ckpt_engine *engine)
{
    /* On a full host removing must go on: it makes room. */
    (void)!ckpt_dir_rows_save(engine);
}

/* Where the queue says that a directory is now; with engine->lock. The last row counts. */
static const struct ckpt_dir_row *queued_row(struct ckpt_engine *engine, uint64_t dir)
{
    const struct ckpt_dir_row *found = NULL;
    struct ckpt_dir_row *row = NULL;
    LL_FOREACH (engine->dir_rows, row) {
        if (row->dir == dir) {
            found = row;
        }
    }
    return found;
}

/* The id of the directory that was NAME in PARENT before and is gone: its history goes on here. 0 if none. */
static uint64_t predecessor(struct ckpt_engine *engine, uint64_t parent, const char *name)
{
    uint64_t dir = CKPT_DIR_ROOT;
    if (ckpt_catalog_subdir(engine->store, parent, name, &dir) != CKPT_OK) {
        dir = CKPT_DIR_ROOT;
    }
    pthread_mutex_lock(&engine->lock);
    struct ckpt_dir_row *row = NULL;
    LL_FOREACH (engine->dir_rows, row) {
        if (row->parent == parent && strcmp(row->name, name) == 0) {
            dir = row->dir;
        }
    }
    const struct ckpt_dir_row *moved = dir == CKPT_DIR_ROOT ? NULL : queued_row(engine, dir);
    if (moved != NULL && (moved->parent != parent || strcmp(moved->name, name) != 0)) {
        dir = CKPT_DIR_ROOT;
    }
    pthread_mutex_unlock(&engine->lock);
    return dir;
}

/* A new id is durable before its attribute needs to be: an attribute without a row is found at start. */
static enum ckpt_err assign(struct ckpt_engine *engine, int fd, uint64_t parent, const char *name,
                            uint64_t *id)
{
    uint64_t fresh = predecessor(engine, parent, name);
    while (fresh == CKPT_DIR_ROOT) {
        if (getrandom(&fresh, sizeof fresh, 0) != sizeof fresh) {
            return CKPT_ERR_IO;
        }
    }
    struct stat before;
    enum ckpt_err err = CKPT_OK;
    if (ckpt_host_fstat(fd, &before) != 0) {
        return ckpt_err_from_errno(errno);
    }
    err = ckpt_live_set_dir_id(fd, fresh);
    ckpt_touched(engine, &before, fd);
    if (err == CKPT_OK) {
        err = ckpt_dir_row_add(engine, fresh, parent, name);
    }
    if (err == CKPT_OK) {
        *id = fresh;
    }
    return err;
}

enum ckpt_err ckpt_dir_id_ensure(struct ckpt_engine *engine, int fd, uint64_t *id)
{
    enum ckpt_err err = ckpt_live_dir_id(engine->store, fd, id);
    if (err != CKPT_ERR_NOT_FOUND) {
        return err;
    }
    char path[PATH_MAX];
    err = ckpt_live_path(engine->store, fd, path);
    if (err != CKPT_OK) {
        return err;
    }
    /* Parents first, from the top: every directory on the way has an id. */
    uint64_t parent = CKPT_DIR_ROOT;
    char *at = path;
    while (err == CKPT_OK && *at != '\0') {
        char *slash = strchr(at, '/');
        if (slash != NULL) {
            *slash = '\0';
        }
        int step = ckpt_host_openat(ckpt_store_livefd(engine->store), path,
                                    O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
        if (step < 0) {
            return ckpt_err_from_errno(errno);
        }
        uint64_t own = CKPT_DIR_ROOT;
        err = ckpt_live_dir_id(engine->store, step, &own);
        if (err == CKPT_ERR_NOT_FOUND) {
            err = assign(engine, step, parent, at, &own);
        }
        ckpt_host_close(step);
        parent = own;
        if (slash == NULL) {
            break;
        }
        *slash = '/';
        at = slash + 1;
    }
    if (err == CKPT_OK) {
        *id = parent;
    }
    return err;
}

/* Queues the row of the directory FD with the id ID, with engine->capture held: what is queued last is what was seen
   last. */
static enum ckpt_err add_moved(struct ckpt_engine *engine, int fd, uint64_t id)
{
    char path[PATH_MAX];
    char parent_path[PATH_MAX];
    const char *name = NULL;
    enum ckpt_err err = ckpt_live_path(engine->store, fd, path);
    if (err != CKPT_OK) {
        return err == CKPT_ERR_NOT_FOUND || err == CKPT_ERR_UNSUPPORTED ? CKPT_OK : err;
    }
    ckpt_split_path(path, parent_path, &name);
    int parent_fd = ckpt_host_openat(ckpt_store_livefd(engine->store), parent_path,
                                     O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    if (parent_fd < 0) {
        return ckpt_err_from_errno(errno);
    }
    uint64_t parent = CKPT_DIR_ROOT;
    err = ckpt_dir_id_ensure(engine, parent_fd, &parent);
    if (err == CKPT_OK) {
        err = ckpt_dir_row_add(engine, id, parent, name);
    }
    ckpt_host_close(parent_fd);
    return err;
}

enum ckpt_err ckpt_engine_dir_moved(struct ckpt_engine *engine, int fd)
{
    uint64_t id = CKPT_DIR_ROOT;
    char path[PATH_MAX];
    enum ckpt_err err = ckpt_live_dir_id(engine->store, fd, &id);
    if (err == CKPT_OK) {
        pthread_mutex_lock(&engine->capture);
        err = add_moved(engine, fd, id);
        pthread_mutex_unlock(&engine->capture);
    }
    if (err == CKPT_OK && engine->config.runs != NULL) {
        ckpt_runs_moved(engine->config.runs);
    }
    if ((err == CKPT_OK || err == CKPT_ERR_NOT_FOUND) && ckpt_live_path(engine->store, fd, path) == CKPT_OK) {
        ckpt_look_at(engine, path);
    }
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}
