/*
 * Regular files: a handle is a descriptor of the host file, opened with the caller's flags. With passthrough
 * the kernel reads and writes the host file itself and only the rest comes here.
 *
 * Whatever opens a file for changing it first makes it changeable: a cold file becomes hot, a pending one is
 * preserved (fs/DESIGN.md, "Changing a pending file").
 */
#include "inode.h"
#include "log.h"
#include "ops.h"
#include "passthrough.h"
#include "view.h"
#include "view_text.h"
#include <ckpt/host.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* It fits into the number that the kernel keeps for it, so there is nothing to free when a RELEASE never comes. */
struct handle {
    int fd; /* -1 for a view */
    bool writable;
};

static struct handle handle_of(const struct fuse_file_info *fi)
{
    return (struct handle){.fd = (int)(uint32_t)fi->fh, .writable = fi->fh >> 32 != 0};
}

static uint64_t handle_number(struct handle handle)
{
    return (uint32_t)handle.fd | (uint64_t)handle.writable << 32;
}

static bool wants_write(int flags)
{
    return (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC) != 0;
}

/* Which of its names was used isn't told: one that isn't captured must not hide one that is. */
static enum ckpt_err capture_names(struct ckptfs *fs, struct inode *inode)
{
    size_t others = 0;
    enum ckpt_err err = ckpt_engine_capture(fs->engine, inode->fd);
    int *fds = inode_other_names(inode, &others);
    for (size_t i = 0; i < others; i++) {
        if (err == CKPT_OK && fds[i] >= 0) {
            err = ckpt_engine_capture(fs->engine, fds[i]);
        }
        ckpt_host_close(fds[i]);
    }
    free(fds);
    return err;
}

/* A close, or what comes to the same: the file may have become a new version. */
static int capture(struct ckptfs *fs, struct inode *inode)
{
    inode_find_name(fs, inode);
    enum ckpt_err err = capture_names(fs, inode);
    atomic_store(&inode->uncaptured, err != CKPT_OK);
    if (err != CKPT_OK) {
        char path[PATH_MAX] = "";
        (void)!ckpt_live_path(fs->store, inode->fd, path);
        log_write(fs->log, CKPT_ERROR,
                 "%s was closed but could not be put aside for recording: %s; its bytes are in place, "
                 "and it can't be overwritten until that is done",
                 path, ckpt_err_text(err));
    }
    return ckpt_err_errno(err);
}

/* ---- making a file changeable; the inode is claimed ---- */

static int warm(struct ckptfs *fs, struct inode *inode, bool keep)
{
    enum ckpt_err err = ckpt_engine_promote(fs->engine, inode->fd, keep);
    if (err == CKPT_OK) {
        atomic_store(&inode->cold, false);
    }
    return ckpt_err_errno(err);
}

/* One name, and nobody has it open: then another host inode may take its place. */
static int is_alone(struct ckptfs *fs, struct inode *inode, bool *alone)
{
    struct stat st;
    int err = inode_stat(fs, inode, &st);
    if (err == 0) {
        pthread_mutex_lock(&inode->lock);
        *alone = inode->handles == 0 && st.st_nlink == 1;
        pthread_mutex_unlock(&inode->lock);
    }
    return err;
}

/* EMPTIES: all the bytes are going to be thrown away. Then *EMPTIED says whether that has been done by the way. */
static int make_changeable(struct ckptfs *fs, struct inode *inode, bool empties, bool *emptied)
{
    bool alone = false;
    *emptied = false;
    if (ckpt_store_stopped(fs->store)) {
        return EROFS;
    }
    if (atomic_load(&inode->retired)) {
        return ESTALE;
    }
    inode_find_name(fs, inode);
    if (atomic_load(&inode->uncaptured)) {
        int failed = capture(fs, inode);
        if (failed != 0) {
            return failed;
        }
    }
    bool cold = atomic_load(&inode->cold);
    if (!cold && !ckpt_engine_is_pending(fs->engine, inode->key.dev, inode->key.ino)) {
        return 0;
    }
    int err = empties ? is_alone(fs, inode, &alone) : 0;
    if (err != 0) {
        return err;
    }
    if (alone) {
        err = ckpt_err_errno(ckpt_engine_swap_empty(fs->engine, inode->fd));
        *emptied = err == 0;
        return err;
    }
    return cold ? warm(fs, inode, !empties)
                : ckpt_err_errno(ckpt_engine_preserve(fs->engine, inode->fd));
}

/*
 * Writing takes set-id bits away, unless root does it, and the kernel leaves that to us (passthrough.h). Writing isn't always
 * seen here, so what counts is the open. File capabilities go with the host's write.
 */
static int drop_set_id(fuse_req_t req, struct inode *inode)
{
    struct ckptfs *fs = ckptfs_of(req);
    struct stat st;
    if (fuse_req_ctx(req)->uid == 0) {
        return 0;
    }
    if (ckpt_host_fstat(inode->fd, &st) != 0) {
        return errno;
    }
    mode_t bits = st.st_mode & S_ISUID;
    /* Without the x it once meant mandatory locking, and is the group's own affair. */
    if ((st.st_mode & S_IXGRP) != 0 || !caller_in_group(req, st.st_gid)) {
        bits |= st.st_mode & S_ISGID;
    }
    if (bits == 0) {
        return 0;
    }
    if (ckpt_host_fchmod(inode->fd, st.st_mode & 07777 & ~bits) != 0) {
        return errno;
    }
    (void)fuse_lowlevel_notify_inval_inode(fs->session, inode_node(fs, inode), -1, 0);
    return 0;
}

/* ---- open ---- */

static int open_host(const struct inode *inode, int flags)
{
    /* Offsets come with each request; direct I/O is the kernel's affair. */
    return ckpt_host_reopen(inode->fd,
                            flags & ~(O_CREAT | O_EXCL | O_NOFOLLOW | O_APPEND | O_DIRECT));
}

/* For a handle that is counted already: the last RELEASE, which asks nobody, closes the reader. */
static int open_reader(struct ckptfs *fs, struct inode *inode)
{
    char path[PATH_MAX] = "";
    struct ckpt_reader *reader = NULL;
    if (inode->reader != NULL) {
        return 0;
    }
    (void)!ckpt_live_path(fs->store, inode->fd, path);
    enum ckpt_err err = ckpt_reader_open(fs->cache, &inode->stub.recipe, path, &reader);
    if (err != CKPT_OK) {
        return err == CKPT_ERR_NOT_FOUND ? EIO : ckpt_err_errno(err);
    }
    inode->reader = reader;
    return 0;
}

/* Registers one more handle and decides its kind: that of the handles there are, else the best there is. */
static void count_handle(struct ckptfs *fs, struct inode *inode, struct handle handle)
{
    pthread_mutex_lock(&inode->lock);
    if (inode->handles == 0) {
        inode->kind = OPEN_CACHED;
        inode->backing_id =
            atomic_load(&inode->cold) ? 0 : passthrough_register(fs->passthrough, handle.fd);
        if (inode->backing_id > 0) {
            inode->kind = OPEN_PASSTHROUGH;
        }
    }
    inode->handles++;
    inode->writers += handle.writable;
    pthread_mutex_unlock(&inode->lock);
}

static void drop_handle(struct ckptfs *fs, struct inode *inode, struct handle handle)
{
    struct ckpt_reader *unused = NULL;
    pthread_mutex_lock(&inode->lock);
    inode->handles--;
    inode->writers -= handle.writable;
    inode->closing -= handle.writable && inode->closing > 0;
    if (inode->handles == 0) {
        if (inode->backing_id > 0) {
            passthrough_unregister(fs->passthrough, inode->backing_id);
        }
        inode->backing_id = 0;
        inode->kind = OPEN_NONE;
        unused = inode->reader;
        inode->reader = NULL;
    }
    pthread_mutex_unlock(&inode->lock);
    ckpt_reader_close(unused);
    ckpt_host_close(handle.fd);
}

/* With the inode claimed. 0 and FI->fh, or an errno. */
static int open_claimed(fuse_req_t req, struct inode *inode, struct fuse_file_info *fi)
{
    struct ckptfs *fs = ckptfs_of(req);
    bool writable = wants_write(fi->flags);
    bool emptied = false;
    int err = writable ? make_changeable(fs, inode, (fi->flags & O_TRUNC) != 0, &emptied) : 0;
    if (err == 0 && writable) {
        err = drop_set_id(req, inode);
    }
    if (err != 0) {
        return err;
    }
    if (emptied) {
        fi->flags &= ~O_TRUNC;
    }
    struct handle handle = {.fd = open_host(inode, fi->flags), .writable = writable};
    if (handle.fd < 0) {
        return errno;
    }
    count_handle(fs, inode, handle);
    err = atomic_load(&inode->cold) ? open_reader(fs, inode) : 0;
    if (err != 0) {
        drop_handle(fs, inode, handle);
        return err;
    }
    if (writable) {
        ckpt_engine_writes(fs->engine, fuse_req_ctx(req)->pid, handle.fd);
    } else {
        ckpt_engine_reads(fs->engine, fuse_req_ctx(req)->pid, inode->fd);
    }
    fi->fh = handle_number(handle);
    /* Cached pages stay good where every change goes through this cache, or where there are no changes. */
    fi->keep_cache = atomic_load(&inode->cold) || !passthrough_active(fs->passthrough);
    /* Who only writes needs no pages of his own: the host has them, and one copy less is twice as fast. */
    fi->direct_io = inode->kind == OPEN_CACHED && (fi->flags & O_ACCMODE) == O_WRONLY;
    return 0;
}

static int open_live(fuse_req_t req, struct inode *inode, struct fuse_file_info *fi)
{
    inode_claim_wait(inode);
    int err = open_claimed(req, inode, fi);
    inode_unclaim(inode);
    return err;
}

static bool is_text(const struct inode *inode)
{
    return inode->view != NULL && view_node_is_text(inode->view);
}

static int open_view(fuse_req_t req, struct inode *inode, struct fuse_file_info *fi)
{
    struct ckptfs *fs = ckptfs_of(req);
    if (is_text(inode)) {
        return view_text_open(fs, inode->view, fi);
    }
    int err = view_open(fs, inode, fi);
    if (err != 0) {
        return err;
    }
    ckpt_engine_reads_version(fs->engine, fuse_req_ctx(req)->pid, &inode->view->version);
    fi->fh = handle_number((struct handle){.fd = -1});
    fi->keep_cache = 1;
    return 0;
}

static void forget_handle(struct ckptfs *fs, struct inode *inode, struct fuse_file_info *fi)
{
    if (is_text(inode)) {
        view_text_close(fs, inode->view, fi);
    } else if (inode->view != NULL) {
        view_release(fs, inode);
    } else {
        drop_handle(fs, inode, handle_of(fi));
    }
}

void op_open(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
    struct ckptfs *fs = ckptfs_of(req);
    struct inode *inode = inode_of(fs, node);
    int err = inode->view != NULL ? open_view(req, inode, fi) : open_live(req, inode, fi);
    if (err != 0) {
        fuse_reply_err(req, err);
        return;
    }
    /* The kind is settled while there is a handle, and there is one now. */
    int sent = inode->view == NULL && inode->kind == OPEN_PASSTHROUGH
                   ? passthrough_reply_open(req, fi, inode->backing_id)
                   : fuse_reply_open(req, fi);
    if (sent != 0) {
        forget_handle(fs, inode, fi); /* the opener was interrupted */
    }
}

/* ---- create ---- */

/* A new file, or EEXIST. */
static int create_new(fuse_req_t req, struct inode *parent, const char *name, mode_t mode)
{
    struct ckptfs *fs = ckptfs_of(req);
    int err = 0;
    ckpt_engine_names_lock(fs->engine);
    int fd = ckpt_host_openat(parent->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                              create_mode(req, parent, mode));
    if (fd < 0) {
        err = errno;
    } else {
        err = create_owner(req, parent, fd, mode);
        if (err != 0) {
            (void)ckpt_host_unlinkat(parent->fd, name, 0);
        }
    }
    ckpt_engine_names_unlock(fs->engine);
    ckpt_host_close(fd);
    return err;
}

/* A new file, or the one that is there. */
static int create_or_find(fuse_req_t req, struct inode *parent, const char *name, mode_t mode,
                          struct fuse_file_info *fi, struct fuse_entry_param *entry)
{
    for (;;) {
        int made = create_new(req, parent, name, mode);
        if (made == 0) {
            /* It is empty, and a truncation would have ext4 write out at the close what is written from here on. */
            fi->flags &= ~O_TRUNC;
        } else if (made != EEXIST || (fi->flags & O_EXCL) != 0) {
            return made;
        }
        int err = inode_lookup(ckptfs_of(req), parent, name, entry);
        if (err != ENOENT || made == 0) {
            return err;
        }
        /* Somebody else was faster, and then it was removed. */
    }
}

void op_create(fuse_req_t req, fuse_ino_t parent_node, const char *name, mode_t mode,
               struct fuse_file_info *fi)
{
    struct ckptfs *fs = ckptfs_of(req);
    struct inode *parent = make_in(req, parent_node);
    struct fuse_entry_param entry;
    if (parent == NULL) {
        return;
    }
    int err = create_or_find(req, parent, name, mode, fi, &entry);
    make_in_done(fs, parent_node, parent, &entry);
    if (err != 0) {
        fuse_reply_err(req, err);
        return;
    }
    struct inode *inode = inode_of(fs, entry.ino);
    err = inode->type == S_IFREG ? open_live(req, inode, fi) : EEXIST;
    if (err != 0) {
        inode_forget(fs, inode, 1);
        fuse_reply_err(req, err);
        return;
    }
    ckpt_engine_note(fs->engine, inode->fd);
    int sent = inode->kind == OPEN_PASSTHROUGH
                   ? passthrough_reply_create(req, &entry, fi, inode->backing_id)
                   : fuse_reply_create(req, &entry, fi);
    if (sent != 0) {
        drop_handle(fs, inode, handle_of(fi));
        inode_forget(fs, inode, 1);
    }
}

/* ---- bytes ---- */

static int read_bytes(struct inode *inode, struct handle handle, char *buf, size_t size,
                      off_t offset, size_t *got)
{
    bool stored = inode->view != NULL || atomic_load(&inode->cold);
    struct ckpt_reader *reader = inode->view != NULL ? inode->view->reader : inode->reader;
    if (stored && reader == NULL) {
        return EIO; /* never the zeros that a stub has on the host */
    }
    if (stored) {
        enum ckpt_err err = ckpt_reader_pread(reader, buf, size, (uint64_t)offset, got);
        return ckpt_err_errno(err);
    }
    ssize_t n = ckpt_host_read_all(handle.fd, buf, size, offset);
    if (n < 0) {
        return errno;
    }
    *got = (size_t)n;
    return 0;
}

void op_read(fuse_req_t req, fuse_ino_t node, size_t size, off_t offset, struct fuse_file_info *fi)
{
    struct inode *inode = inode_of(ckptfs_of(req), node);
    size_t got = 0;
    char *buf = malloc(size);
    int err = buf == NULL      ? ENOMEM
              : is_text(inode) ? view_text_read(fi, buf, size, offset, &got)
                               : read_bytes(inode, handle_of(fi), buf, size, offset, &got);
    if (err != 0) {
        fuse_reply_err(req, err);
    } else {
        fuse_reply_buf(req, buf, got);
    }
    free(buf);
}

void op_write_buf(fuse_req_t req, fuse_ino_t node, struct fuse_bufvec *in, off_t offset,
                  struct fuse_file_info *fi)
{
    struct inode *inode = inode_of(ckptfs_of(req), node);
    /* Requests are read into memory (no splice), so the data is one buffer. */
    if (in->count != 1 || (in->buf[0].flags & FUSE_BUF_IS_FD) != 0) {
        fuse_reply_err(req, EIO);
        return;
    }
    const char *bytes = (const char *)in->buf[0].mem + in->off;
    ssize_t n = (ssize_t)(in->buf[0].size - in->off);
    if (is_text(inode)) {
        errno = view_text_write(fi, bytes, (size_t)n, offset);
        n = errno != 0 ? -1 : n;
    } else {
        n = ckpt_host_pwrite(handle_of(fi).fd, bytes, (size_t)n, offset);
    }
    if (n < 0) {
        fuse_reply_err(req, errno);
    } else {
        fuse_reply_write(req, (size_t)n);
    }
}

void op_flush(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
    struct ckptfs *fs = ckptfs_of(req);
    struct inode *inode = inode_of(fs, node);
    bool written = inode->view == NULL && handle_of(fi).writable;
    if (written) {
        pthread_mutex_lock(&inode->lock);
        inode->closing += inode->closing < inode->writers;
        pthread_mutex_unlock(&inode->lock);
    }
    fuse_reply_err(req, written          ? capture(fs, inode)
                        : is_text(inode) ? view_text_flush(fs, inode->view, fi)
                                         : 0);
}

void op_release(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
    struct ckptfs *fs = ckptfs_of(req);
    struct inode *inode = inode_of(fs, node);
    bool written = inode->view == NULL && handle_of(fi).writable;
    forget_handle(fs, inode, fi);
    if (written) {
        /* What came after the last flush; and what waits for nobody to have it open can go on. */
        (void)capture(fs, inode);
    }
    fuse_reply_err(req, 0);
}

void op_fsync(fuse_req_t req, fuse_ino_t node, int datasync, struct fuse_file_info *fi)
{
    struct ckptfs *fs = ckptfs_of(req);
    struct handle handle = handle_of(fi);
    if (inode_of(fs, node)->view != NULL) {
        fuse_reply_err(req, 0);
        return;
    }
    int err = 0;
    if ((datasync ? ckpt_host_fdatasync(handle.fd) : ckpt_host_fsync(handle.fd)) != 0) {
        err = errno;
        if (err == EIO) {
            /* The kernel has dropped what it could not write: nobody can tell what is on the disk. */
            ckpt_store_stop(fs->store, "the host failed to sync a file");
        }
    }
    fuse_reply_err(req, err);
}

void op_lseek(fuse_req_t req, fuse_ino_t node, off_t offset, int whence, struct fuse_file_info *fi)
{
    struct inode *inode = inode_of(ckptfs_of(req), node);
    struct ckpt_reader *reader = inode->view != NULL          ? inode->view->reader
                                 : atomic_load(&inode->cold) ? inode->reader
                                                              : NULL;
    off_t at = is_text(inode)   ? view_text_seek(fi, offset, whence)
               : reader != NULL ? ckpt_reader_seek(reader, offset, whence)
                                : ckpt_host_lseek(handle_of(fi).fd, offset, whence);
    if (at < 0) {
        fuse_reply_err(req, errno);
    } else {
        fuse_reply_lseek(req, at);
    }
}

void op_fallocate(fuse_req_t req, fuse_ino_t node, int mode, off_t offset, off_t length,
                  struct fuse_file_info *fi)
{
    if (inode_of(ckptfs_of(req), node)->view != NULL) {
        fuse_reply_err(req, EOPNOTSUPP);
        return;
    }
    int failed = ckpt_host_fallocate(handle_of(fi).fd, mode, offset, length);
    fuse_reply_err(req, failed != 0 ? errno : 0);
}

void op_copy_file_range(fuse_req_t req, fuse_ino_t in, off_t in_offset, struct fuse_file_info *in_fi,
                        fuse_ino_t out, off_t out_offset, struct fuse_file_info *out_fi, size_t n,
                        int flags)
{
    struct inode *from = inode_of(ckptfs_of(req), in);
    (void)flags;
    if (from->view != NULL || inode_of(ckptfs_of(req), out)->view != NULL || atomic_load(&from->cold)) {
        fuse_reply_err(req, EOPNOTSUPP); /* the kernel copies by reading and writing */
        return;
    }
    ssize_t copied = ckpt_host_copy_file_range(handle_of(in_fi).fd, &in_offset,
                                               handle_of(out_fi).fd, &out_offset, n);
    if (copied < 0) {
        fuse_reply_err(req, errno);
    } else {
        fuse_reply_write(req, (size_t)copied);
    }
}

/* ---- truncate ---- */

static int truncate_claimed(struct ckptfs *fs, struct inode *inode, off_t size)
{
    bool emptied = false;
    int err = make_changeable(fs, inode, size == 0, &emptied);
    if (err != 0 || emptied) {
        return err;
    }
    int fd = open_host(inode, O_WRONLY);
    if (fd < 0) {
        return errno;
    }
    if (ckpt_host_ftruncate(fd, size) != 0) {
        err = errno;
    }
    ckpt_host_close(fd);
    return err;
}

int file_truncate(fuse_req_t req, struct inode *inode, off_t size, struct fuse_file_info *fi)
{
    struct ckptfs *fs = ckptfs_of(req);
    if (inode->view != NULL) {
        return is_text(inode) ? view_text_truncate(fs, inode->view, fi, size) : EROFS;
    }
    if (fi != NULL) {
        return ckpt_host_ftruncate(handle_of(fi).fd, size) != 0 ? errno : 0;
    }
    inode_claim_wait(inode);
    int err = truncate_claimed(fs, inode, size);
    if (err == 0) {
        err = drop_set_id(req, inode);
    }
    inode_unclaim(inode);
    /* Without a handle there will be no close. */
    return err != 0 ? err : capture(fs, inode);
}
