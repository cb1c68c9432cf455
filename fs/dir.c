/*
 * Reading directories: the names are taken once, at the first read at offset 0, and handed out from
 * there. So positions stay valid whatever happens to the directory meanwhile, and removing while
 * reading skips nothing.
 */
#include "inode.h"
#include "ops.h"
#include "view.h"
#include <ckpt/host.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct item {
    ino_t ino;
    mode_t type;
    size_t name; /* offset in names */
};

struct listing {
    pthread_mutex_t lock;
    int fd; /* -1 for a view */
    bool taken;
    struct item *items;
    size_t count;
    size_t room;
    char *names;
    size_t names_size;
    size_t names_room;
};

static struct listing *listing_of(const struct fuse_file_info *fi)
{
    return (struct listing *)(uintptr_t)fi->fh;
}

static int add(struct listing *listing, const char *name, ino_t ino, mode_t type)
{
    size_t n = strlen(name) + 1;
    if (listing->count == listing->room) {
        size_t room = listing->room == 0 ? 64 : 2 * listing->room;
        struct item *items = realloc(listing->items, room * sizeof *items);
        if (items == NULL) {
            return ENOMEM;
        }
        listing->items = items;
        listing->room = room;
    }
    if (listing->names_size + n > listing->names_room) {
        size_t room = 2 * (listing->names_room + n);
        char *names = realloc(listing->names, room);
        if (names == NULL) {
            return ENOMEM;
        }
        listing->names = names;
        listing->names_room = room;
    }
    memcpy(listing->names + listing->names_size, name, n);
    listing->items[listing->count++] =
        (struct item){.ino = ino, .type = type, .name = listing->names_size};
    listing->names_size += n;
    return 0;
}

static bool has(const struct listing *listing, const char *name)
{
    for (size_t i = 0; i < listing->count; i++) {
        if (strcmp(listing->names + listing->items[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* There are few views, so looking through the real names for each is cheap. A real entry wins. */
static int add_view(void *arg, const char *name, ino_t ino, mode_t type)
{
    struct listing *listing = arg;
    return listing->fd >= 0 && has(listing, name) ? 0 : add(listing, name, ino, type);
}

static int take_host(struct listing *listing, bool is_root)
{
    struct stat root = {0};
    int fd = ckpt_host_openat(listing->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (stream == NULL) {
        int err = errno;
        ckpt_host_close(fd);
        return err;
    }
    int err = is_root && ckpt_host_fstat(fd, &root) != 0 ? errno : 0;
    struct dirent *entry;
    while (err == 0 && (entry = ckpt_host_readdir(stream)) != NULL) {
        /* Above the mount's root stands its mount point; what the host has there is nobody's
         * affair. */
        bool above = is_root && strcmp(entry->d_name, "..") == 0;
        err = add(listing, entry->d_name, above ? root.st_ino : entry->d_ino,
                  (mode_t)DTTOIF(entry->d_type));
    }
    if (err == 0) {
        err = errno;
    }
    closedir(stream);
    return err;
}

static int take(struct ckptfs *fs, struct inode *inode, struct listing *listing)
{
    struct stat st;
    listing->count = 0;
    listing->names_size = 0;
    int err = 0;
    if (inode->view == NULL) {
        err = take_host(listing, inode == inode_of(fs, FUSE_ROOT_ID));
    } else {
        err = view_stat(fs, inode, &st);
        if (err == 0) {
            err = add(listing, ".", st.st_ino, S_IFDIR);
        }
        if (err == 0) {
            err = add(listing, "..", view_parent_ino(inode), S_IFDIR);
        }
    }
    return err == 0 ? view_each(fs, inode, add_view, listing) : err;
}

void op_opendir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
    struct inode *inode = inode_of(ckptfs_of(req), node);
    struct listing *listing = calloc(1, sizeof *listing);
    if (listing == NULL) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    pthread_mutex_init(&listing->lock, NULL);
    listing->fd = -1;
    if (inode->view == NULL) {
        listing->fd = ckpt_host_openat(inode->fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
        if (listing->fd < 0) {
            fuse_reply_err(req, errno);
            pthread_mutex_destroy(&listing->lock);
            free(listing);
            return;
        }
    }
    fi->fh = (uint64_t)(uintptr_t)listing;
    if (fuse_reply_open(req, fi) != 0) {
        ckpt_host_close(listing->fd);
        pthread_mutex_destroy(&listing->lock);
        free(listing);
    }
}

void op_readdir(fuse_req_t req, fuse_ino_t node, size_t size, off_t offset,
                struct fuse_file_info *fi)
{
    struct ckptfs *fs = ckptfs_of(req);
    struct listing *listing = listing_of(fi);
    size_t used = 0;
    char *buf = malloc(size);
    pthread_mutex_lock(&listing->lock);
    int err = buf == NULL ? ENOMEM : 0;
    if (err == 0 && (offset == 0 || !listing->taken)) {
        err = take(fs, inode_of(fs, node), listing);
        listing->taken = err == 0;
    }
    for (size_t i = (size_t)offset; err == 0 && i < listing->count; i++) {
        const struct item *item = &listing->items[i];
        struct stat st = {.st_ino = item->ino, .st_mode = item->type};
        size_t n = fuse_add_direntry(req, buf + used, size - used, listing->names + item->name, &st,
                                     (off_t)(i + 1));
        if (n > size - used) {
            break;
        }
        used += n;
    }
    pthread_mutex_unlock(&listing->lock);
    if (err != 0) {
        fuse_reply_err(req, err);
    } else {
        fuse_reply_buf(req, buf, used);
    }
    free(buf);
}

void op_releasedir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
    struct listing *listing = listing_of(fi);
    (void)node;
    ckpt_host_close(listing->fd);
    pthread_mutex_destroy(&listing->lock);
    free(listing->items);
    free(listing->names);
    free(listing);
    fuse_reply_err(req, 0);
}

void op_fsyncdir(fuse_req_t req, fuse_ino_t node, int datasync, struct fuse_file_info *fi)
{
    struct listing *listing = listing_of(fi);
    (void)node;
    int err = 0;
    if (listing->fd >= 0 &&
        (datasync ? ckpt_host_fdatasync(listing->fd) : ckpt_host_fsync(listing->fd)) != 0) {
        err = errno;
        if (err == EIO) {
            ckpt_store_stop(ckptfs_of(req)->store, "the host failed to sync a directory");
        }
    }
    fuse_reply_err(req, err);
}
