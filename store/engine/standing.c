/*
 * What stands under a live name: a version, by its stamp or its stub, or something else.
 *
 * A stamp that doesn't match says nothing: a further hard link, chmod, or a write in the tick of the clock in which it
 * was taken do that. Then only reading the file tells.
 */
#include "catalog/catalog_txn.h"
#include "common/live.h"
#include "engine_parts.h"
#include <ckpt/host.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

enum ckpt_err ckpt_live_open_dir(struct ckpt_engine *engine, uint64_t dir, int *fd)
{
    char path[PATH_MAX];
    uint64_t id = CKPT_DIR_ROOT;
    *fd = -1;
    enum ckpt_err err = ckpt_catalog_path(engine->store, dir, path, sizeof path);
    if (err != CKPT_OK) {
        return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
    }
    int found = ckpt_host_openat(ckpt_store_livefd(engine->store), path[0] == '\0' ? "." : path,
                                 O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (found < 0) {
        return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? CKPT_OK : ckpt_err_from_errno(errno);
    }
    err = ckpt_live_dir_id(engine->store, found, &id);
    if (err == CKPT_OK && id == dir) {
        *fd = found;
        return CKPT_OK;
    }
    ckpt_host_close(found);
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

struct search {
    struct ckpt_id recipe;
    uint32_t number; /* the newest version that has it; 0: none */
};

static bool see_version(void *arg, const struct ckpt_version *version)
{
    struct search *search = arg;
    if (ckpt_id_equal(&version->recipe, &search->recipe)) {
        search->number = version->number;
    }
    return true;
}

enum ckpt_err ckpt_live_number(struct ckpt_engine *engine, uint64_t dir, const char *name,
                               const struct ckpt_id *recipe, uint32_t *number)
{
    struct search search = {.recipe = *recipe};
    enum ckpt_err err = ckpt_catalog_each_version(engine->store, dir, name, see_version, &search);
    if (err == CKPT_OK) {
        *number = search.number;
    }
    return err;
}

static enum ckpt_err is_number(struct ckpt_engine *engine, const struct ckpt_live_name *item,
                               const struct ckpt_id *recipe, enum ckpt_standing *standing)
{
    uint32_t number = 0;
    enum ckpt_err err = ckpt_live_number(engine, item->dir, item->name, recipe, &number);
    if (err == CKPT_OK) {
        *standing = number != 0 && number == item->number ? CKPT_SAME : CKPT_OTHER;
    }
    return err;
}

static enum ckpt_err look_at_hot(struct ckpt_engine *engine, const struct ckpt_live_name *item,
                                 const struct stat *st, enum ckpt_standing *standing)
{
    struct ckpt_file row;
    struct ckpt_version version;
    struct ckpt_stamp now = ckpt_stamp_of(st);
    enum ckpt_err err = ckpt_catalog_file(engine->store, item->dir, item->name, &row);
    if (err != CKPT_OK) {
        return err;
    }
    pthread_mutex_lock(&engine->lock);
    const struct ckpt_saved_stamp *queued = ckpt_stamp_queued(engine, item->dir, item->name);
    struct ckpt_stamp stamp = queued != NULL ? queued->stamp : row.stamp;
    pthread_mutex_unlock(&engine->lock);
    if (ckpt_stamp_equal(&stamp, &now)) {
        return is_number(engine, item, &row.recipe, standing);
    }
    err = ckpt_catalog_version(engine->store, item->dir, item->name, item->number, &version);
    if (err == CKPT_OK && version.size == now.size) {
        err = is_number(engine, item, &version.recipe, standing);
        *standing = err == CKPT_OK && *standing == CKPT_SAME ? CKPT_UNSURE : *standing;
    }
    return err;
}

enum ckpt_err ckpt_live_look(struct ckpt_engine *engine, int dirfd, const struct ckpt_live_name *item,
                             int *fd, struct stat *st, enum ckpt_standing *standing)
{
    struct ckpt_stub stub;
    bool cold = false;
    *standing = CKPT_GONE;
    *fd = ckpt_host_openat(dirfd, item->name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
    if (*fd < 0) {
        return errno == ENOENT ? CKPT_OK : ckpt_err_from_errno(errno);
    }
    *standing = CKPT_OTHER;
    if (ckpt_host_fstat(*fd, st) != 0) {
        return ckpt_err_from_errno(errno);
    }
    if (!S_ISREG(st->st_mode) || item->number == 0) {
        return CKPT_OK;
    }
    enum ckpt_err err = ckpt_live_stub(*fd, &stub, &cold);
    if (err == CKPT_ERR_CORRUPT) {
        return CKPT_OK; /* whatever it was, it isn't one now */
    }
    if (err == CKPT_OK) {
        err = cold ? is_number(engine, item, &stub.recipe, standing)
                   : look_at_hot(engine, item, st, standing);
    }
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

bool ckpt_live_is_version(struct ckpt_engine *engine, uint64_t dir, const char *name, uint32_t number)
{
    struct ckpt_live_name item = {.dir = dir, .number = number};
    enum ckpt_standing standing = CKPT_GONE;
    struct stat st;
    int dirfd = -1;
    int fd = -1;
    memcpy(item.name, name, strnlen(name, NAME_MAX));
    enum ckpt_err err = ckpt_live_open_dir(engine, dir, &dirfd);
    if (err == CKPT_OK && dirfd >= 0) {
        err = ckpt_live_look(engine, dirfd, &item, &fd, &st, &standing);
    }
    ckpt_host_close(fd);
    ckpt_host_close(dirfd);
    return err == CKPT_OK && standing == CKPT_SAME;
}

/* So that it needn't be read again; unless the version isn't the one that stamps are for, or a write could have come in
   the same tick of the clock. */
static void restamp(struct ckpt_engine *engine, const struct ckpt_live_name *item,
                    const struct ckpt_version *version, const struct stat *st)
{
    enum { TICK_NS = 20 * 1000 * 1000 };
    struct ckpt_file row;
    struct ckpt_stamp stamp = ckpt_stamp_of(st);
    if (ckpt_realtime_ns() - stamp.mtime_ns > TICK_NS &&
        ckpt_catalog_file(engine->store, item->dir, item->name, &row) == CKPT_OK &&
        ckpt_id_equal(&row.recipe, &version->recipe)) {
        ckpt_stamp_save(engine, item->dir, item->name, &stamp, (uint64_t)st->st_blocks * 512);
    }
}

enum ckpt_err ckpt_live_compare(struct ckpt_engine *engine, const struct ckpt_live_name *item, int fd,
                                const struct stat *st, enum ckpt_standing *standing)
{
    struct ckpt_version version;
    struct stat after;
    bool same = false;
    int readable = ckpt_host_reopen(fd, O_RDONLY);
    if (readable < 0) {
        return ckpt_err_from_errno(errno);
    }
    enum ckpt_err err =
        ckpt_catalog_version(engine->store, item->dir, item->name, item->number, &version);
    if (err == CKPT_OK) {
        err = ckpt_compare(engine->store, &version.recipe, item->name, readable,
                           engine->config.threads, &same);
    }
    if (err == CKPT_OK && ckpt_host_fstat(readable, &after) != 0) {
        err = ckpt_err_from_errno(errno);
    }
    ckpt_host_close(readable);
    if (err != CKPT_OK) {
        return err;
    }
    struct ckpt_stamp a = ckpt_stamp_of(st);
    struct ckpt_stamp b = ckpt_stamp_of(&after);
    if (!ckpt_stamp_equal(&a, &b)) {
        return CKPT_ERR_CHANGED;
    }
    if (same) {
        restamp(engine, item, &version, st);
    }
    *standing = same ? CKPT_SAME : CKPT_OTHER;
    return CKPT_OK;
}
