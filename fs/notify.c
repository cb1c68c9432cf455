#include "notify.h"
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

struct notice {
    struct inode *parent;
    struct inode *inode; /* NULL: the name has appeared */
    struct notice *prev;
    struct notice *next;
    char name[];
};

struct notifier {
    struct ckptfs *fs;
    pthread_t thread;
    pthread_mutex_t lock; /* everything below */
    pthread_cond_t wake;
    struct notice *queue; /* oldest first */
    bool stop;
};

static void finish(struct ckptfs *fs, struct notice *notice)
{
    inode_forget(fs, notice->parent, 1);
    if (notice->inode != NULL) {
        inode_forget(fs, notice->inode, 1);
    }
    free(notice);
}

/* An error means that the kernel doesn't have the name, or the mount has ended. */
static void tell(struct ckptfs *fs, const struct notice *notice)
{
    fuse_ino_t parent = inode_node(fs, notice->parent);
    size_t length = strlen(notice->name);
    struct inode *inode = notice->inode;
    if (inode != NULL && (inode->type == S_IFDIR || atomic_load(&inode->retired))) {
        (void)fuse_lowlevel_notify_delete(fs->session, parent, inode_node(fs, inode), notice->name, length);
        return;
    }
    (void)fuse_lowlevel_notify_inval_entry(fs->session, parent, notice->name, length);
    if (inode != NULL) {
        /* It has other names, and one link less than the kernel remembers. */
        (void)fuse_lowlevel_notify_inval_inode(fs->session, inode_node(fs, inode), -1, 0);
    }
}

static void *run(void *arg)
{
    struct notifier *notifier = arg;
    pthread_mutex_lock(&notifier->lock);
    while (!notifier->stop) {
        struct notice *notice = notifier->queue;
        if (notice == NULL) {
            pthread_cond_wait(&notifier->wake, &notifier->lock);
            continue;
        }
        DL_DELETE(notifier->queue, notice);
        pthread_mutex_unlock(&notifier->lock);
        tell(notifier->fs, notice);
        finish(notifier->fs, notice);
        pthread_mutex_lock(&notifier->lock);
    }
    pthread_mutex_unlock(&notifier->lock);
    return NULL;
}

enum ckpt_err notifier_create(struct ckptfs *fs, struct notifier **out)
{
    struct notifier *notifier = calloc(1, sizeof *notifier);
    if (notifier == NULL) {
        return CKPT_ERR_NOMEM;
    }
    notifier->fs = fs;
    pthread_mutex_init(&notifier->lock, NULL);
    pthread_cond_init(&notifier->wake, NULL);
    if (pthread_create(&notifier->thread, NULL, run, notifier) != 0) {
        pthread_cond_destroy(&notifier->wake);
        pthread_mutex_destroy(&notifier->lock);
        free(notifier);
        return CKPT_ERR_NOMEM;
    }
    *out = notifier;
    return CKPT_OK;
}

void notifier_quiet(struct notifier *notifier)
{
    if (notifier != NULL) {
        pthread_mutex_lock(&notifier->lock);
        notifier->stop = true;
        pthread_cond_signal(&notifier->wake);
        pthread_mutex_unlock(&notifier->lock);
    }
}

void notifier_free(struct notifier *notifier)
{
    struct notice *notice = NULL;
    struct notice *next = NULL;
    if (notifier == NULL) {
        return;
    }
    notifier_quiet(notifier);
    (void)pthread_join(notifier->thread, NULL);
    DL_FOREACH_SAFE (notifier->queue, notice, next) {
        finish(notifier->fs, notice);
    }
    pthread_cond_destroy(&notifier->wake);
    pthread_mutex_destroy(&notifier->lock);
    free(notifier);
}

static void queue(struct notifier *notifier, struct inode *parent, const char *name, struct inode *inode)
{
    size_t size = strlen(name) + 1;
    struct notice *notice = calloc(1, sizeof *notice + size);
    if (notice == NULL) {
        inode_forget(notifier->fs, parent, 1);
        if (inode != NULL) {
            inode_forget(notifier->fs, inode, 1);
        }
        return;
    }
    notice->parent = parent;
    notice->inode = inode;
    memcpy(notice->name, name, size);
    pthread_mutex_lock(&notifier->lock);
    DL_APPEND(notifier->queue, notice);
    pthread_cond_signal(&notifier->wake);
    pthread_mutex_unlock(&notifier->lock);
}

void notify_removed(struct notifier *notifier, struct inode *parent, const char *name, struct inode *inode)
{
    queue(notifier, parent, name, inode);
}

void notify_appeared(struct notifier *notifier, struct inode *parent, const char *name)
{
    queue(notifier, parent, name, NULL);
}
