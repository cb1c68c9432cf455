#include "inode.h"
#include "notify.h"
#include "view.h"
#include <assert.h>
#include <ckpt/host.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct inode_table {
    struct inode *root;
    pthread_mutex_t lock;
    struct inode *live; /* hash by host inode; lock */
    struct inode *claimed_by_engine; /* list, each with one lookup; the engine's thread only */
};

static struct inode *new_inode(int fd, const struct stat *st)
{
    struct inode *inode = calloc(1, sizeof *inode);
    if (inode == NULL) {
        return NULL;
    }
    inode->fd = fd;
    inode->key.dev = st->st_dev;
    inode->key.ino = st->st_ino;
    inode->type = st->st_mode & S_IFMT;
    inode->lookups = 1;
    pthread_mutex_init(&inode->lock, NULL);
    pthread_cond_init(&inode->unclaimed, NULL);
    return inode;
}

static void close_others(struct inode *inode)
{
    for (size_t i = 0; i < inode->others; i++) {
        ckpt_host_close(inode->other_fds[i]);
    }
    free(inode->other_fds);
    inode->other_fds = NULL;
    inode->others = 0;
}

static void free_inode(struct ckptfs *fs, struct inode *inode)
{
    close_others(inode);
    ckpt_reader_close(inode->reader);
    if (inode->view != NULL) {
        view_node_free(fs, inode->view);
    }
    ckpt_host_close(inode->fd);
    pthread_cond_destroy(&inode->unclaimed);
    pthread_mutex_destroy(&inode->lock);
    free(inode);
}

enum ckpt_err inode_table_create(struct ckptfs *fs, struct inode_table **table)
{
    struct stat st = {0};
    struct inode_table *t = calloc(1, sizeof *t);
    if (t == NULL) {
        return CKPT_ERR_NOMEM;
    }
    pthread_mutex_init(&t->lock, NULL);
    int fd = ckpt_host_openat(ckpt_store_livefd(fs->store), ".", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
    enum ckpt_err err =
        fd < 0 || ckpt_host_fstat(fd, &st) != 0 ? ckpt_err_from_errno(errno) : CKPT_OK;
    if (err == CKPT_OK && (t->root = new_inode(fd, &st)) == NULL) {
        err = CKPT_ERR_NOMEM;
    }
    if (err == CKPT_OK) {
        HASH_ADD(hh, t->live, key, sizeof t->root->key, t->root);
        err = t->root->hh.tbl == NULL ? CKPT_ERR_NOMEM : CKPT_OK;
    }
    if (err != CKPT_OK) {
        if (t->root != NULL) {
            free_inode(NULL, t->root);
        } else {
            ckpt_host_close(fd);
        }
        pthread_mutex_destroy(&t->lock);
        free(t);
        return err;
    }
    fs->live_dev = st.st_dev;
    *table = t;
    return CKPT_OK;
}

void inode_table_free(struct inode_table *table)
{
    if (table == NULL) {
        return;
    }
    struct inode *inode = table->live;
    HASH_CLEAR(hh, table->live);
    while (inode != NULL) {
        struct inode *next = inode->hh.next;
        free_inode(NULL, inode);
        inode = next;
    }
    pthread_mutex_destroy(&table->lock);
    free(table);
}

struct inode *inode_of(struct ckptfs *fs, fuse_ino_t node)
{
    return node == FUSE_ROOT_ID ? fs->inodes->root : (struct inode *)(uintptr_t)node;
}

fuse_ino_t inode_node(struct ckptfs *fs, const struct inode *inode)
{
    return inode == fs->inodes->root ? FUSE_ROOT_ID : (fuse_ino_t)(uintptr_t)inode;
}

static struct inode *find(struct inode_table *table, dev_t dev, ino_t ino)
{
    struct inode probe;
    memset(&probe.key, 0, sizeof probe.key);
    probe.key.dev = dev;
    probe.key.ino = ino;
    struct inode *inode = NULL;
    HASH_FIND(hh, table->live, &probe.key, sizeof probe.key, inode);
    return inode;
}

/* The inode with one more lookup, or NULL. */
static struct inode *hold(struct ckptfs *fs, dev_t dev, ino_t ino)
{
    pthread_mutex_lock(&fs->inodes->lock);
    struct inode *inode = find(fs->inodes, dev, ino);
    if (inode != NULL) {
        inode->lookups++;
    }
    pthread_mutex_unlock(&fs->inodes->lock);
    return inode;
}

static int learn_stub(struct inode *inode)
{
    bool cold = false;
    if (inode->type != S_IFREG) {
        return 0;
    }
    enum ckpt_err err = ckpt_live_stub(inode->fd, &inode->stub, &cold);
    if (err == CKPT_ERR_CORRUPT) {
        /* Shown, so that it can be removed or restored, but never read: its recipe is none. */
        memset(&inode->stub, 0, sizeof inode->stub);
        cold = true;
    } else if (err == CKPT_ERR_UNSUPPORTED) {
        cold = false;
    } else if (err != CKPT_OK) {
        return ckpt_err_errno(err);
    }
    atomic_store(&inode->cold, cold);
    return 0;
}

/* ---- names of hard links ---- */

static bool same_name(int a, int b)
{
    char link[64];
    char path_a[PATH_MAX];
    char path_b[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", a);
    ssize_t n = readlink(link, path_a, sizeof path_a);
    snprintf(link, sizeof link, "/proc/self/fd/%d", b);
    return n > 0 && readlink(link, path_b, sizeof path_b) == n &&
           memcmp(path_a, path_b, (size_t)n) == 0;
}

/* Keeps FD, which is INODE by the name just looked up, if that name is a new one. */
static void keep_name(struct inode *inode, int fd)
{
    pthread_mutex_lock(&inode->lock);
    bool known = same_name(inode->fd, fd);
    for (size_t i = 0; i < inode->others && !known; i++) {
        known = same_name(inode->other_fds[i], fd);
    }
    int *fds = known ? NULL
                     : realloc(inode->other_fds, (inode->others + 1) * sizeof *inode->other_fds);
    if (fds != NULL) {
        inode->other_fds = fds;
        inode->other_fds[inode->others++] = fd;
    }
    pthread_mutex_unlock(&inode->lock);
    if (fds == NULL) {
        ckpt_host_close(fd);
    }
}

void inode_find_name(struct ckptfs *fs, struct inode *inode)
{
    char path[PATH_MAX];
    pthread_mutex_lock(&inode->lock);
    while (inode->others > 0 &&
           ckpt_live_path(fs->store, inode->fd, path) == CKPT_ERR_NOT_FOUND) {
        int fd = inode->other_fds[--inode->others];
        if (ckpt_live_path(fs->store, fd, path) == CKPT_OK) {
            (void)dup3(fd, inode->fd, O_CLOEXEC);
        }
        ckpt_host_close(fd);
    }
    pthread_mutex_unlock(&inode->lock);
}

int *inode_other_names(struct inode *inode, size_t *count)
{
    pthread_mutex_lock(&inode->lock);
    int *fds = inode->others > 0 ? calloc(inode->others, sizeof *fds) : NULL;
    *count = fds != NULL ? inode->others : 0;
    for (size_t i = 0; i < *count; i++) {
        fds[i] = fcntl(inode->other_fds[i], F_DUPFD_CLOEXEC, 0);
    }
    pthread_mutex_unlock(&inode->lock);
    return fds;
}

/* Finds or makes the inode of FD, which it owns from here. */
static int adopt(struct ckptfs *fs, int fd, const struct stat *st, struct inode **out)
{
    struct inode_table *table = fs->inodes;
    struct inode *inode = hold(fs, st->st_dev, st->st_ino);
    if (inode != NULL) {
        /* Also of a file with one name: it may have had another when the inode was made. */
        if (inode->type == S_IFREG) {
            keep_name(inode, fd);
        } else {
            ckpt_host_close(fd);
        }
        *out = inode;
        return 0;
    }
    struct inode *fresh = new_inode(fd, st);
    if (fresh == NULL) {
        ckpt_host_close(fd);
        return ENOMEM;
    }
    int err = learn_stub(fresh);
    if (err != 0) {
        free_inode(fs, fresh);
        return err;
    }
    pthread_mutex_lock(&table->lock);
    inode = find(table, st->st_dev, st->st_ino);
    if (inode == NULL) {
        HASH_ADD(hh, table->live, key, sizeof fresh->key, fresh);
        inode = fresh->hh.tbl == NULL ? NULL : fresh;
    } else {
        inode->lookups++;
    }
    pthread_mutex_unlock(&table->lock);
    if (inode != fresh) {
        free_inode(fs, fresh);
    }
    *out = inode;
    return inode == NULL ? ENOMEM : 0;
}

/* NULL: the mount's root is made before the engine starts and goes after it. */
static void lock_names(struct ckptfs *fs)
{
    if (fs->engine != NULL) {
        ckpt_engine_names_lock(fs->engine);
    }
}

static void unlock_names(struct ckptfs *fs)
{
    if (fs->engine != NULL) {
        ckpt_engine_names_unlock(fs->engine);
    }
}

int inode_lookup(struct ckptfs *fs, struct inode *parent, const char *name,
                 struct fuse_entry_param *entry)
{
    struct stat st;
    struct inode *inode = NULL;
    int err = 0;
    lock_names(fs);
    int fd = ckpt_host_openat(parent->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd < 0) {
        err = errno;
    } else if (ckpt_host_fstat(fd, &st) != 0) {
        err = errno;
        ckpt_host_close(fd);
    } else {
        err = adopt(fs, fd, &st, &inode);
    }
    unlock_names(fs);
    if (err != 0) {
        return err;
    }
    assert(inode != NULL);
    memset(entry, 0, sizeof *entry);
    entry->ino = inode_node(fs, inode);
    entry->attr_timeout = CKPTFS_TIMEOUT;
    entry->entry_timeout = CKPTFS_TIMEOUT;
    err = inode_stat(fs, inode, &entry->attr);
    if (err != 0) {
        inode_forget(fs, inode, 1);
    }
    return err;
}

struct inode *inode_for_view(struct ckptfs *fs, struct view_node *view)
{
    struct stat st = {0};
    struct inode *inode = new_inode(-1, &st);
    (void)fs;
    if (inode != NULL) {
        inode->view = view;
        inode->type = view_node_type(view->kind);
    }
    return inode;
}

void inode_forget(struct ckptfs *fs, struct inode *inode, uint64_t lookups)
{
    if (inode == fs->inodes->root) {
        return;
    }
    pthread_mutex_lock(&fs->inodes->lock);
    inode->lookups -= lookups;
    bool last = inode->lookups == 0;
    if (last && inode->hh.tbl != NULL) {
        HASH_DEL(fs->inodes->live, inode);
    }
    pthread_mutex_unlock(&fs->inodes->lock);
    if (last) {
        free_inode(fs, inode);
    }
}

void inode_set_uncaptured(struct ckptfs *fs, dev_t dev, ino_t ino)
{
    struct inode *inode = hold(fs, dev, ino);
    if (inode != NULL) {
        atomic_store(&inode->uncaptured, true);
        inode_forget(fs, inode, 1);
    }
}

static bool same_time(const struct timespec *a, const struct timespec *b)
{
    return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

int inode_stat(struct ckptfs *fs, struct inode *inode, struct stat *st)
{
    struct stat found;
    if (fs->engine != NULL) {
        enum ckpt_err err = ckpt_engine_stat(fs->engine, inode->fd, &found);
        if (err != CKPT_OK) {
            return ckpt_err_errno(err);
        }
    } else if (ckpt_host_fstat(inode->fd, &found) != 0) {
        return errno;
    }
    pthread_mutex_lock(&inode->lock);
    if (atomic_load(&inode->cold)) {
        found.st_blocks = (blkcnt_t)((inode->stub.stored + 511) / 512);
    }
    if (same_time(&found.st_ctim, &inode->ctime_host)) {
        found.st_ctim = inode->ctime_shown;
    }
    pthread_mutex_unlock(&inode->lock);
    *st = found;
    return 0;
}

/* ---- claims ---- */

void inode_claim_wait(struct inode *inode)
{
    pthread_mutex_lock(&inode->lock);
    while (inode->claimed) {
        pthread_cond_wait(&inode->unclaimed, &inode->lock);
    }
    inode->claimed = true;
    pthread_mutex_unlock(&inode->lock);
}

void inode_unclaim(struct inode *inode)
{
    pthread_mutex_lock(&inode->lock);
    inode->claimed = false;
    pthread_cond_broadcast(&inode->unclaimed);
    pthread_mutex_unlock(&inode->lock);
}

/* Whether there are writers; *CLOSING: all of them are about to go. */
static bool has_writers(struct ckptfs *fs, dev_t dev, ino_t ino, bool *closing)
{
    struct inode *inode = hold(fs, dev, ino);
    if (inode == NULL) {
        return false;
    }
    pthread_mutex_lock(&inode->lock);
    bool writing = inode->writers > 0;
    *closing = writing && inode->closing >= inode->writers;
    pthread_mutex_unlock(&inode->lock);
    inode_forget(fs, inode, 1);
    return writing;
}

bool inode_writing(void *arg, dev_t dev, ino_t ino)
{
    bool closing = false;
    return has_writers(arg, dev, ino, &closing);
}

bool inode_closing(void *arg, dev_t dev, ino_t ino)
{
    bool closing = false;
    return has_writers(arg, dev, ino, &closing) && closing;
}

bool inode_claim(void *arg, dev_t dev, ino_t ino, bool readers)
{
    struct ckptfs *fs = arg;
    struct inode *inode = hold(fs, dev, ino);
    if (inode == NULL) {
        return true; /* and nobody can look it up while the names are locked */
    }
    if (inode->by_engine) {
        inode_forget(fs, inode, 1);
        return true;
    }
    pthread_mutex_lock(&inode->lock);
    bool claimed = !inode->claimed && (readers ? inode->writers : inode->handles) == 0;
    if (claimed) {
        inode->claimed = true;
    }
    pthread_mutex_unlock(&inode->lock);
    if (claimed) {
        inode->by_engine = true;
        inode->next_claimed = fs->inodes->claimed_by_engine;
        fs->inodes->claimed_by_engine = inode;
    } else {
        inode_forget(fs, inode, 1);
    }
    return claimed;
}

void inode_disclaim(void *arg)
{
    struct ckptfs *fs = arg;
    struct inode *inode = NULL;
    while ((inode = fs->inodes->claimed_by_engine) != NULL) {
        fs->inodes->claimed_by_engine = inode->next_claimed;
        inode->by_engine = false;
        inode_unclaim(inode);
        /* What it occupies is not what the kernel remembers. */
        (void)fuse_lowlevel_notify_inval_inode(fs->session, inode_node(fs, inode), -1, 0);
        inode_forget(fs, inode, 1);
    }
}

void inode_unlinked(void *arg, dev_t dev, ino_t ino)
{
    struct ckptfs *fs = arg;
    struct inode *inode = hold(fs, dev, ino);
    if (inode != NULL) {
        atomic_store(&inode->retired, true);
        inode_forget(fs, inode, 1);
    }
}

void inode_removed(void *arg, dev_t dir_dev, ino_t dir_ino, const char *name, dev_t dev, ino_t ino)
{
    struct ckptfs *fs = arg;
    struct inode *parent = hold(fs, dir_dev, dir_ino);
    struct inode *inode = hold(fs, dev, ino);
    if (parent != NULL && inode != NULL) {
        notify_removed(fs->notifier, parent, name, inode);
        return;
    }
    /* What has no node the kernel doesn't know. */
    if (parent != NULL) {
        inode_forget(fs, parent, 1);
    }
    if (inode != NULL) {
        inode_forget(fs, inode, 1);
    }
}

void inode_appeared(void *arg, dev_t dir_dev, ino_t dir_ino, const char *name)
{
    struct ckptfs *fs = arg;
    struct inode *parent = hold(fs, dir_dev, dir_ino);
    if (parent != NULL) {
        notify_appeared(fs->notifier, parent, name);
    }
}

void inode_exchanged(void *arg, dev_t dev, ino_t ino, int fd, const struct stat *st,
                     const struct ckpt_stub *stub)
{
    struct ckptfs *fs = arg;
    struct inode_table *table = fs->inodes;
    pthread_mutex_lock(&table->lock);
    struct inode *inode = find(table, dev, ino);
    if (inode != NULL) {
        HASH_DEL(table->live, inode);
        inode->key.dev = st->st_dev;
        inode->key.ino = st->st_ino;
        inode->hh.tbl = NULL;
        HASH_ADD(hh, table->live, key, sizeof inode->key, inode);
        (void)dup3(fd, inode->fd, O_CLOEXEC);
        pthread_mutex_lock(&inode->lock);
        close_others(inode); /* it had one name */
        if (stub != NULL) {
            inode->stub = *stub;
        }
        atomic_store(&inode->cold, stub != NULL);
        pthread_mutex_unlock(&inode->lock);
    }
    pthread_mutex_unlock(&table->lock);
}

void inode_touched(void *arg, const struct stat *before, const struct stat *after)
{
    struct ckptfs *fs = arg;
    struct inode *inode = hold(fs, after->st_dev, after->st_ino);
    if (inode == NULL) {
        return;
    }
    pthread_mutex_lock(&inode->lock);
    if (!same_time(&inode->ctime_host, &before->st_ctim)) {
        inode->ctime_shown = before->st_ctim;
    }
    inode->ctime_host = after->st_ctim;
    pthread_mutex_unlock(&inode->lock);
    inode_forget(fs, inode, 1);
}
