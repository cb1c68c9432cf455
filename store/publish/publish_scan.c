/*
 * What is in a checkpoint's directory now, and whether it is complete.
 *
 * Both are looked at in live/: what is being written has no version yet. What has been captured counts as it was recorded.
 */
#include "assemble.h"
#include "catalog/run_rows.h"
#include "object/internal.h"
#include "publish.h"
#include "recognise/complete.h"
#include <ckpt/host.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 16, ENTRIES_MAX = 1 << 16, TEXT_MAX = 256 };

struct scan {
    struct ckpt_publisher *publisher;
    const struct ckpt_checkpoint *c; /* NULL: only capture */
    const char *root;                /* relative to live/ */
    size_t skip;                     /* bytes of the path within live/ that lead to the entries' names */
    struct ckpt_entry *entries;
    size_t count;
    size_t room;
    bool only_look; /* for a file that says that ROOT is a checkpoint: IS_ROOT */
    bool is_root;
};

static enum ckpt_err add_entry(struct scan *scan, const char *path, bool open)
{
    if (scan->count == ENTRIES_MAX) {
        return CKPT_OK;
    }
    if (scan->count == scan->room) {
        size_t room = scan->room == 0 ? 64 : 2 * scan->room;
        struct ckpt_entry *entries = reallocarray(scan->entries, room, sizeof *entries);
        if (entries == NULL) {
            return CKPT_ERR_NOMEM;
        }
        scan->entries = entries;
        scan->room = room;
    }
    char *name = strdup(path + scan->skip);
    if (name == NULL) {
        return CKPT_ERR_NOMEM;
    }
    scan->entries[scan->count++] = (struct ckpt_entry){.name = name, .open = open};
    return CKPT_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct ckpt_entry *)a)->name, ((const struct ckpt_entry *)b)->name);
}

static void clear(struct scan *scan)
{
    for (size_t i = 0; i < scan->count; i++) {
        free((char *)(uintptr_t)scan->entries[i].name);
    }
    free(scan->entries);
}

static bool is_open(struct ckpt_engine *engine, const struct stat *st)
{
    const struct ckpt_engine_hooks *hooks = &engine->config.hooks;
    return hooks->writing != NULL && hooks->writing(engine->config.hooks_arg, st->st_dev, st->st_ino);
}

static bool is_closing(struct ckpt_engine *engine, const struct stat *st)
{
    const struct ckpt_engine_hooks *hooks = &engine->config.hooks;
    return hooks->closing != NULL && hooks->closing(engine->config.hooks_arg, st->st_dev, st->st_ino);
}

/* It is what it was when it was recorded: fresh, so that the checkpoint of its directory gets it. */
static enum ckpt_err put_fresh(struct ckpt_engine *engine, uint64_t dir, const char *name)
{
    struct ckpt_version v;
    struct ckpt_txn *txn = NULL;
    enum ckpt_err err = ckpt_catalog_version(engine->store, dir, name, 0, &v);
    if (err != CKPT_OK) {
        return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
    }
    err = ckpt_store_begin(engine->store, &txn);
    if (err == CKPT_OK) {
        err = ckpt_fresh_again_in(txn, &v);
    }
    if (err == CKPT_OK) {
        err = ckpt_store_commit(engine->store, txn);
        txn = NULL;
    }
    ckpt_txn_abort(txn);
    return err;
}

/* Somebody who waits for the checkpoint waits for this as well. */
static void tell_found(struct ckpt_engine *engine)
{
    pthread_mutex_lock(&engine->lock);
    engine->publish_found = true;
    pthread_mutex_unlock(&engine->lock);
}

/* Captures a file that nobody writes and that isn't recorded here; if it is a version already, that is looked at once
   more. *OPEN: it isn't one yet. */
static enum ckpt_err take_file(struct scan *scan, int dirfd, const char *name, bool *open)
{
    struct ckpt_engine *engine = scan->publisher->engine;
    uint64_t dir = CKPT_DIR_ROOT;
    bool captured = false;
    if (ckpt_filter_excludes(engine->config.filter, name)) {
        return CKPT_OK;
    }
    int fd = ckpt_host_openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd < 0) {
        return CKPT_OK; /* gone meanwhile */
    }
    enum ckpt_err err = ckpt_capture_whatever(engine, fd, dirfd, name, &captured);
    *open = captured;
    if (captured) {
        tell_found(engine);
    } else if (err == CKPT_OK && ckpt_live_dir_id(engine->store, dirfd, &dir) == CKPT_OK) {
        *open = ckpt_pending_has_name(engine, dir, name);
        if (!*open) {
            err = put_fresh(engine, dir, name);
            tell_found(engine);
        }
    }
    ckpt_host_close(fd);
    return err;
}

static const struct ckpt_member *member_at(const struct ckpt_checkpoint *c, const char *path)
{
    for (size_t i = c->n_members; i-- > 0;) {
        if (!c->members[i].replaced && strcmp(c->members[i].path, path) == 0) {
            return &c->members[i];
        }
    }
    return NULL;
}

static enum ckpt_err scan_file(struct scan *scan, int dirfd, const char *name, const char *path, const struct stat *st)
{
    bool open = is_open(scan->publisher->engine, st);
    struct ckpt_recognised what;
    enum ckpt_err err = CKPT_OK;
    const struct ckpt_member *m = NULL;
    if (scan->c != NULL) {
        m = member_at(scan->c, path + strlen(scan->root) - strlen(scan->c->root));
    }
    if (open && scan->c != NULL && is_closing(scan->publisher->engine, st)) {
        pthread_mutex_lock(&scan->publisher->engine->lock);
        scan->publisher->engine->publish_open = true;
        pthread_mutex_unlock(&scan->publisher->engine->lock);
    }
    ckpt_recognise(path, true, &what);
    if (scan->only_look) {
        scan->is_root |= what.has_root && what.directory && what.root_size > 0 &&
                         what.root_at + what.root_size == strlen(scan->root);
        return CKPT_OK;
    }
    if (!open && what.role != CKPT_ROLE_TEMPORARY) {
        if (m == NULL) {
            err = take_file(scan, dirfd, name, &open);
        } else {
            open = ckpt_pending_has_name(scan->publisher->engine, m->dir, name);
        }
    }
    if (err != CKPT_OK || scan->c == NULL) {
        return err;
    }
    /* What is left over from the save before doesn't say that this one is complete. */
    bool old = m != NULL && m->sequence < scan->c->sequence && !open;
    bool excluded = ckpt_filter_excludes(scan->publisher->engine->config.filter, name);
    open = open || (m == NULL && !excluded && what.role != CKPT_ROLE_TEMPORARY);
    return old ? CKPT_OK : add_entry(scan, path, open);
}

static enum ckpt_err scan_directory(struct scan *scan, int fd, const char *path, unsigned depth);

static enum ckpt_err scan_entry(struct scan *scan, int dirfd, const char *name, const char *above, unsigned depth)
{
    char path[PATH_MAX];
    struct stat st;
    int n = snprintf(path, sizeof path, "%s%s%s", above, above[0] == '\0' ? "" : "/", name);
    if (n < 0 || (size_t)n >= sizeof path || ckpt_host_fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        return CKPT_OK;
    }
    if (S_ISREG(st.st_mode)) {
        return scan_file(scan, dirfd, name, path, &st);
    }
    if (!S_ISDIR(st.st_mode) || depth == DEPTH_MAX) {
        return CKPT_OK;
    }
    int fd = ckpt_host_openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    return fd < 0 ? CKPT_OK : scan_directory(scan, fd, path, depth + 1);
}

/* Closes FD. */
static enum ckpt_err scan_directory(struct scan *scan, int fd, const char *path, unsigned depth)
{
    DIR *stream = fdopendir(fd);
    if (stream == NULL) {
        ckpt_host_close(fd);
        return CKPT_ERR_NOMEM;
    }
    enum ckpt_err err = CKPT_OK;
    struct dirent *entry = NULL;
    while (err == CKPT_OK && (entry = ckpt_host_readdir(stream)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            err = scan_entry(scan, dirfd(stream), entry->d_name, path, depth);
        }
    }
    closedir(stream);
    return err;
}

static int open_live(struct ckpt_engine *engine, const char *path)
{
    return ckpt_host_openat(ckpt_store_livefd(engine->store), path[0] == '\0' ? "." : path,
                            O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
}

enum ckpt_err ckpt_publish_look(struct ckpt_publisher *p, const char *path, bool *checkpoint)
{
    struct scan scan = {.publisher = p, .root = path, .only_look = true};
    int fd = open_live(p->engine, path);
    enum ckpt_err err = fd < 0 ? CKPT_OK : scan_directory(&scan, fd, path, 0);
    if (err == CKPT_OK && scan.is_root) {
        scan.only_look = false;
        fd = open_live(p->engine, path);
        err = fd < 0 ? CKPT_OK : scan_directory(&scan, fd, path, 0);
    }
    *checkpoint = scan.is_root;
    clear(&scan);
    return err;
}

/* ---- completeness ---- */

/* What was recorded, when it isn't live any more, or of a set of shards beside each other. */
static enum ckpt_err recorded_entries(struct scan *scan)
{
    enum ckpt_err err = CKPT_OK;
    for (size_t i = 0; err == CKPT_OK && i < scan->c->n_members; i++) {
        const struct ckpt_member *m = &scan->c->members[i];
        if (!m->replaced && m->sequence >= scan->c->sequence) {
            const char *name = m->directory ? m->path + m->root + 1 : m->path;
            scan->skip = 0;
            err = add_entry(scan, name, false);
        }
    }
    return err;
}

/* The text of a small file beside the checkpoint; NULL: there is none. */
static const char *read_text(struct ckpt_engine *engine, const char *run, const char *name, char text[TEXT_MAX])
{
    char path[PATH_MAX];
    if ((size_t)snprintf(path, sizeof path, "%s%s%s", run, run[0] == '\0' ? "" : "/", name) >= sizeof path) {
        return NULL;
    }
    int fd = ckpt_host_openat(ckpt_store_livefd(engine->store), path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0);
    ssize_t n = fd < 0 ? -1 : ckpt_host_read_all(fd, text, TEXT_MAX - 1, 0);
    ckpt_host_close(fd);
    if (n < 0) {
        return NULL;
    }
    text[n] = '\0';
    return text;
}

static bool has_mark(struct ckpt_engine *engine, const char *run, const char *root)
{
    char path[PATH_MAX];
    struct stat st;
    int n = snprintf(path, sizeof path, "%s%s%.*s-unfinished", run, run[0] == '\0' ? "" : "/",
                     (int)ckpt_complete_marked(root), root);
    return n > 0 && (size_t)n < sizeof path &&
           ckpt_host_fstatat(ckpt_store_livefd(engine->store), path, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

static bool is_directory(const struct ckpt_checkpoint *c)
{
    return c->n_members > 0 && c->members[0].directory;
}

static enum ckpt_err find_entries(struct scan *scan)
{
    struct ckpt_engine *engine = scan->publisher->engine;
    int fd = is_directory(scan->c) ? open_live(engine, scan->root) : -1;
    if (fd < 0) {
        return recorded_entries(scan);
    }
    scan->skip = strlen(scan->root) + 1;
    return scan_directory(scan, fd, scan->root, 0);
}

enum ckpt_err ckpt_publish_check(struct ckpt_publisher *p, const struct ckpt_run *run, const struct ckpt_checkpoint *c,
                                 const struct ckpt_watched *watched, struct ckpt_completeness *found)
{
    struct ckpt_engine *engine = p->engine;
    char above[PATH_MAX];
    char root[PATH_MAX + NAME_MAX + 2];
    char latest[TEXT_MAX];
    char iteration[TEXT_MAX];
    struct scan scan = {.publisher = p, .c = c, .root = root};
    bool is_set = c->n_members > 0 && c->members[0].root == 0;
    enum ckpt_err err = ckpt_catalog_path(engine->store, run->dir, above, sizeof above);
    if (err != CKPT_OK) {
        return err;
    }
    (void)snprintf(root, sizeof root, "%s%s%s", above, above[0] == '\0' ? "" : "/", c->root);
    err = find_entries(&scan);
    if (err == CKPT_OK) {
        if (scan.count > 0) {
            qsort(scan.entries, scan.count, sizeof *scan.entries, by_name);
        }
        struct ckpt_contents contents = {
            .root = is_set ? "" : c->root,
            .directory = is_set || is_directory(c),
            .entries = scan.entries,
            .count = scan.count,
            .unfinished = has_mark(engine, above, c->root),
            .renamed = watched->renamed,
            .latest = read_text(engine, above, "latest", latest),
            .iteration = read_text(engine, above, "latest_checkpointed_iteration.txt", iteration),
            .quiet = (uint64_t)(ckpt_now_ms() - watched->active_ms) / 1000,
            .quiet_needed = ((engine->config.quiet_ms == 0 ? CKPT_QUIET_MS : engine->config.quiet_ms) + 999) / 1000,
        };
        ckpt_complete_check(&contents, found);
    }
    clear(&scan);
    return err;
}

bool ckpt_publish_is_unfinished(struct ckpt_publisher *p, const struct ckpt_run *run, const struct ckpt_checkpoint *c)
{
    char above[PATH_MAX];
    return ckpt_catalog_path(p->engine->store, run->dir, above, sizeof above) == CKPT_OK &&
           has_mark(p->engine, above, c->root);
}

bool ckpt_publish_is_gone(struct ckpt_publisher *p, const struct ckpt_member *m)
{
    struct ckpt_live_name name = {.dir = m->dir, .number = m->number};
    enum ckpt_standing standing = CKPT_UNSURE;
    struct stat st;
    int dirfd = -1;
    int fd = -1;
    memcpy(name.name, m->name, strnlen(m->name, NAME_MAX));
    enum ckpt_err err = ckpt_live_open_dir(p->engine, m->dir, &dirfd);
    if (err == CKPT_OK && dirfd < 0) {
        return true;
    }
    if (err == CKPT_OK) {
        err = ckpt_live_look(p->engine, dirfd, &name, &fd, &st, &standing);
    }
    ckpt_host_close(fd);
    ckpt_host_close(dirfd);
    return err == CKPT_OK && (standing == CKPT_GONE || standing == CKPT_OTHER);
}
