#include "view.h"
#include "view_parts.h"
#include "view_text.h"
#include <ckpt/host.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

struct view_known {
    const char *key;
    struct inode *inode; /* one lookup of inode.c's counting */
    uint64_t lookups;    /* the kernel's; view_set.lock */
    UT_hash_handle hh;   /* view_set.lock */
};

enum ckpt_err view_set_create(struct view_set **set)
{
    struct view_set *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return CKPT_ERR_NOMEM;
    }
    s->ranks = view_ranks_create();
    if (s->ranks == NULL) {
        free(s);
        return CKPT_ERR_NOMEM;
    }
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->letters, NULL);
    *set = s;
    return CKPT_OK;
}

void view_set_free(struct ckptfs *fs)
{
    struct view_known *known = NULL;
    struct view_known *next = NULL;
    if (fs->views == NULL) {
        return;
    }
    HASH_ITER(hh, fs->views->known, known, next)
    {
        HASH_DEL(fs->views->known, known);
        inode_forget(fs, known->inode, 1);
        free(known);
    }
    view_ranks_free(fs->views->ranks);
    pthread_mutex_destroy(&fs->views->letters);
    pthread_mutex_destroy(&fs->views->lock);
    free(fs->views);
    fs->views = NULL;
}

/* ---- known ones ---- */

static struct view_known *find_known(struct view_set *set, const struct view_node *view)
{
    struct view_known *known = NULL;
    HASH_FIND_STR(set->known, view->key, known);
    return known;
}

/* The inode of VIEW, which it owns from here, with one more lookup. NULL: no memory, and VIEW is
 * the caller's. */
static struct inode *hold_node(struct ckptfs *fs, struct view_node *view)
{
    struct view_set *set = fs->views;
    struct view_node *spare = view;
    struct inode *inode = NULL;
    struct view_known *fresh = calloc(1, sizeof *fresh);
    if (fresh == NULL) {
        return NULL;
    }
    pthread_mutex_lock(&set->lock);
    struct view_known *known = find_known(set, view);
    if (known == NULL && (fresh->inode = inode_for_view(fs, view)) != NULL) {
        fresh->key = view->key;
        HASH_ADD_KEYPTR(hh, set->known, fresh->key, strlen(fresh->key), fresh);
        if (fresh->hh.tbl != NULL) {
            known = fresh;
            fresh = NULL;
            spare = NULL;
        } else {
            fresh->inode->view = NULL;
            inode_forget(fs, fresh->inode, 1);
        }
    }
    if (known != NULL) {
        known->lookups++;
        inode = known->inode;
    }
    pthread_mutex_unlock(&set->lock);
    free(fresh);
    if (inode != NULL && spare != NULL) {
        view_node_free(fs, spare);
    }
    return inode;
}

void view_forget(struct ckptfs *fs, struct inode *inode, uint64_t lookups)
{
    struct view_set *set = fs->views;
    pthread_mutex_lock(&set->lock);
    struct view_known *known = find_known(set, inode->view);
    known->lookups -= lookups;
    bool last = known->lookups == 0;
    if (last) {
        HASH_DEL(set->known, known);
    }
    pthread_mutex_unlock(&set->lock);
    if (last) {
        inode_forget(fs, inode, 1);
        free(known);
    }
}

void view_node_free(struct ckptfs *fs, struct view_node *view)
{
    ckpt_reader_close(view->reader);
    if (view->run != NULL && fs != NULL) {
        inode_forget(fs, view->run, 1);
    }
    free(view->key);
    free(view);
}

mode_t view_node_type(enum view_kind kind)
{
    switch (kind) {
    case VIEW_ROOT:
    case VIEW_HISTORY:
    case VIEW_HISTORY_FILE:
    case VIEW_GROUP:
    case VIEW_METRIC:
    case VIEW_CHECKPOINT:
    case VIEW_FOLDER:
        break;
    case VIEW_VERSION:
    case VIEW_INFO:
    case VIEW_POLICY:
    case VIEW_STOP:
        return S_IFREG;
    case VIEW_LINK:
        return S_IFLNK;
    }
    return S_IFDIR;
}

bool view_node_is_text(const struct view_node *view)
{
    return view->kind == VIEW_INFO || view->kind == VIEW_POLICY || view->kind == VIEW_STOP;
}

/* ---- making them ---- */

static struct view_node *new_node(struct ckptfs *fs, struct inode *run, enum view_kind kind, const char *path)
{
    struct view_node *view = calloc(1, sizeof *view);
    struct fuse_entry_param self;
    int head = 0;
    if (view == NULL) {
        return NULL;
    }
    view->kind = kind;
    /* By its inode, as a directory that was made anew has the id of its predecessor. */
    if (asprintf(&view->key, "%p %d %n%s", (void *)run, (int)kind, &head, path) < 0) {
        view->key = NULL;
    }
    if (view->key == NULL || inode_lookup(fs, run, ".", &self) != 0) {
        free(view->key);
        free(view);
        return NULL;
    }
    view->run = inode_of(fs, self.ino);
    view->path = view->key + head;
    return view;
}

struct view_node *view_node_new(struct ckptfs *fs, struct inode *run, enum view_kind kind, const struct view_pick *pick,
                                const char *path, size_t inside)
{
    struct view_node *view = new_node(fs, run, kind, path);
    if (view != NULL) {
        size_t head = strcspn(path, "/");
        view->beside = head != strlen(".ckpt") || memcmp(path, ".ckpt", head) != 0;
        view->inside = view->path + strlen(path) - inside;
        if (pick != NULL) {
            view->pick = *pick;
        }
    }
    return view;
}

struct view_node *view_node_version(struct ckptfs *fs, struct inode *run, const struct ckpt_version *version)
{
    char name[NAME_MAX + 48];
    snprintf(name, sizeof name, "%016" PRIx64 "/%" PRIu32 "/%s", version->dir, version->number, version->name);
    struct view_node *view = new_node(fs, run, VIEW_VERSION, name);
    if (view != NULL) {
        view->version = *version;
        view->inside = "";
    }
    return view;
}

int view_node_enter(struct ckptfs *fs, struct view_node *view, struct fuse_entry_param *entry)
{
    struct inode *inode = view == NULL ? NULL : hold_node(fs, view);
    if (inode == NULL) {
        if (view != NULL) {
            view_node_free(fs, view);
        }
        return ENOMEM;
    }
    memset(entry, 0, sizeof *entry);
    entry->ino = inode_node(fs, inode);
    int err = view_stat(fs, inode, &entry->attr);
    if (err != 0) {
        view_forget(fs, inode, 1);
    }
    return err;
}

/* ---- numbers ---- */

static ino_t number_of(const struct inode *run, const char *path, size_t n)
{
    /* The top bit keeps them apart from the host's numbers. */
    return ckpt_checksum(run->key.ino, path, n) | UINT64_C(1) << 63;
}

ino_t view_ino(const struct inode *run, const char *path, const char *name)
{
    char whole[PATH_MAX + NAME_MAX + 2];
    int n = snprintf(whole, sizeof whole, "%s%s%s", path, path[0] != '\0' && name[0] != '\0' ? "/" : "", name);
    return number_of(run, whole, (size_t)n < sizeof whole ? (size_t)n : sizeof whole - 1);
}

ino_t view_version_ino(const struct inode *run, uint64_t dir, uint32_t number, const char *name)
{
    char path[NAME_MAX + 48];
    /* No view's name begins like this. */
    int n = snprintf(path, sizeof path, "/%016" PRIx64 "/%" PRIu32 "/%s", dir, number, name);
    return number_of(run, path, (size_t)n < sizeof path ? (size_t)n : sizeof path - 1);
}

ino_t view_parent_ino(const struct inode *inode)
{
    const struct view_node *view = inode->view;
    const char *slash = strrchr(view->path, '/');
    return slash == NULL ? view->run->key.ino : number_of(view->run, view->path, (size_t)(slash - view->path));
}

/* ---- stat ---- */

static struct timespec timespec_of(int64_t ns)
{
    struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    return t;
}

static void stat_version(const struct ckpt_version *version, const struct inode *run, struct stat *st)
{
    st->st_ino = view_version_ino(run, version->dir, version->number, version->name);
    st->st_mode = S_IFREG | (version->mode & 0444);
    st->st_uid = version->uid;
    st->st_gid = version->gid;
    st->st_nlink = 1;
    st->st_size = (off_t)version->size;
    st->st_mtim = st->st_atim = timespec_of(version->mtime_ns);
    st->st_ctim = timespec_of(version->captured_ns);
}

/* So that "ls -t epoch" says something. A directory that shows nothing any more has the time of its run. */
static void stat_checkpoint(struct ckptfs *fs, const struct view_node *view, struct stat *st)
{
    const struct ckpt_run *run = NULL;
    const struct ckpt_checkpoint *c = NULL;
    if (view_checkpoint_hold(fs, view->run, &view->pick, &run, &c) == 0) {
        st->st_mtim = st->st_ctim = st->st_atim = timespec_of(c->saved_ns);
        ckpt_runs_release(fs->runs);
    }
}

int view_stat(struct ckptfs *fs, struct inode *inode, struct stat *st)
{
    const struct view_node *view = inode->view;
    char target[PATH_MAX];
    struct stat found;
    /* Owner and mode of the run, so that who may remove the run may remove this with it. */
    int err = inode_stat(fs, view->run, &found);
    if (err != 0) {
        return err;
    }
    mode_t mode = found.st_mode & ~(mode_t)(S_IFMT | S_ISUID | S_ISGID | S_ISVTX);
    found.st_ino = view_ino(view->run, view->path, "");
    found.st_blocks = 0;
    found.st_nlink = S_ISDIR(view_node_type(view->kind)) ? 2 : 1;
    found.st_size = 0;
    found.st_mode = view_node_type(view->kind) | mode;
    if (view->kind == VIEW_VERSION) {
        stat_version(&view->version, view->run, &found);
    } else if (view->kind == VIEW_CHECKPOINT || view->kind == VIEW_FOLDER) {
        stat_checkpoint(fs, view, &found);
    } else if (view->kind == VIEW_LINK) {
        stat_checkpoint(fs, view, &found);
        found.st_mode = S_IFLNK | 0777;
        err = view_readlink(fs, inode, target, sizeof target);
        found.st_size = err == 0 ? (off_t)strlen(target) : 0;
    } else if (view_node_is_text(view)) {
        found.st_mode = S_IFREG | (mode & (view->kind == VIEW_POLICY ? 0666 : 0444));
        err = view_text_stat(fs, view, &found);
    }
    if (err == 0) {
        *st = found;
    }
    return err;
}

/* ---- reading ---- */

int view_open(struct ckptfs *fs, struct inode *inode, struct fuse_file_info *fi)
{
    struct view_node *view = inode->view;
    char path[PATH_MAX] = "";
    char label[PATH_MAX + NAME_MAX + 16];
    enum ckpt_err err = CKPT_OK;
    if (view->kind != VIEW_VERSION) {
        return EINVAL;
    }
    if ((fi->flags & O_ACCMODE) != O_RDONLY || (fi->flags & O_TRUNC) != 0) {
        return EROFS;
    }
    pthread_mutex_lock(&inode->lock);
    if (view->reader == NULL) {
        (void)!ckpt_catalog_path(fs->store, view->version.dir, path, sizeof path);
        snprintf(label, sizeof label, "%s%s%s@v%" PRIu32, path, path[0] == '\0' ? "" : "/", view->version.name,
                 view->version.number);
        err = ckpt_reader_open(fs->cache, &view->version.recipe, label, &view->reader);
    }
    if (err == CKPT_OK) {
        inode->handles++;
    }
    pthread_mutex_unlock(&inode->lock);
    return ckpt_err_errno(err);
}

void view_release(struct ckptfs *fs, struct inode *inode)
{
    struct ckpt_reader *done = NULL;
    (void)fs;
    pthread_mutex_lock(&inode->lock);
    if (--inode->handles == 0) {
        done = inode->view->reader;
        inode->view->reader = NULL;
    }
    pthread_mutex_unlock(&inode->lock);
    ckpt_reader_close(done);
}
