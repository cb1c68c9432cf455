/*
 * Names: lookup, and making, linking, removing and renaming entries.
 *
 * Every change of a name stands between ckpt_engine_names_lock and _unlock, and nothing waits for
 * the engine's thread in between. What needs an inode to itself claims it before.
 */
#include "inode.h"
#include "log.h"
#include "ops.h"
#include "view.h"
#include <ckpt/host.h>
#include <errno.h>
#include <linux/fs.h>
#include <string.h>
#include <unistd.h>

/* ---- owners ---- */

mode_t create_mode(fuse_req_t req, struct inode *parent, mode_t mode)
{
    char none;
    /* A default ACL takes the place of the umask; the host applies it. */
    if (ckpt_host_fgetxattr(parent->fd, "system.posix_acl_default", &none, 0) > 0) {
        return mode;
    }
    return mode & ~fuse_req_ctx(req)->umask;
}

int create_owner(fuse_req_t req, struct inode *parent, int fd, mode_t mode)
{
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    struct stat st;
    struct stat parent_st;
    (void)mode;
    if (ckpt_host_fstat(fd, &st) != 0 || ckpt_host_fstat(parent->fd, &parent_st) != 0) {
        return errno;
    }
    /* In a set-gid directory the host has given the entry the directory's group. */
    gid_t gid = (parent_st.st_mode & S_ISGID) != 0 ? st.st_gid : ctx->gid;
    if (st.st_uid == ctx->uid && st.st_gid == gid) {
        return 0;
    }
    if (ckpt_host_fchown(fd, ctx->uid, gid) != 0) {
        return errno;
    }
    /* chown takes set-id bits away. */
    if (!S_ISLNK(st.st_mode) && (st.st_mode & (S_ISUID | S_ISGID)) != 0 &&
        ckpt_host_fchmod(fd, st.st_mode & 07777) != 0) {
        return errno;
    }
    return 0;
}

/* ---- lookup ---- */

static void forget(struct ckptfs *fs, struct inode *inode, uint64_t lookups)
{
    if (inode->view != NULL) {
        view_forget(fs, inode, lookups);
    } else {
        inode_forget(fs, inode, lookups);
    }
}

static int lookup_view(fuse_req_t req, struct inode *parent, const char *name, struct fuse_entry_param *entry)
{
    struct ckptfs *fs = ckptfs_of(req);
    bool empties = false;
    int err = view_lookup(fs, parent, name, entry);
    if (err != 0 || !view_gives_way(req, parent, name, &empties)) {
        return err;
    }
    bool file = S_ISREG(entry->attr.st_mode);
    if (empties && (!file || parent->view == NULL)) {
        return 0;
    }
    forget(fs, inode_of(fs, entry->ino), 1);
    return empties ? view_make_empty(req, parent, name) : ENOENT;
}

/* In a directory of live/. */
static int lookup_live(fuse_req_t req, struct inode *parent, const char *name, struct fuse_entry_param *entry)
{
    struct ckptfs *fs = ckptfs_of(req);
    int err = inode_lookup(fs, parent, name, entry);
    return err == ENOENT ? lookup_view(req, parent, name, entry) : err;
}

static int lookup(fuse_req_t req, struct inode *parent, const char *name, struct fuse_entry_param *entry)
{
    struct inode *real = parent->view != NULL ? view_real(req, parent) : NULL;
    if (real != NULL) {
        int err = lookup_live(req, real, name, entry);
        inode_forget(ckptfs_of(req), real, 1);
        entry->entry_timeout = 0;
        return err;
    }
    return parent->view != NULL ? lookup_view(req, parent, name, entry) : lookup_live(req, parent, name, entry);
}

static void reply_entry(fuse_req_t req, int err, const struct fuse_entry_param *entry)
{
    struct ckptfs *fs = ckptfs_of(req);
    if (err != 0) {
        fuse_reply_err(req, err);
    } else if (fuse_reply_entry(req, entry) != 0) {
        forget(fs, inode_of(fs, entry->ino), 1);
    }
}

void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param entry;
    int err = lookup(req, inode_of(ckptfs_of(req), parent), name, &entry);
    reply_entry(req, err, &entry);
}

void op_forget(fuse_req_t req, fuse_ino_t node, uint64_t lookups)
{
    struct ckptfs *fs = ckptfs_of(req);
    forget(fs, inode_of(fs, node), lookups);
    fuse_reply_none(req);
}

void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
    struct ckptfs *fs = ckptfs_of(req);
    for (size_t i = 0; i < count; i++) {
        forget(fs, inode_of(fs, forgets[i].ino), forgets[i].nlookup);
    }
    fuse_reply_none(req);
}

/* What came of recording a new name. NOT_FOUND: it is lost again already. */
static void report_move(struct ckptfs *fs, enum ckpt_err err, const char *name)
{
    if (err != CKPT_OK && err != CKPT_ERR_NOT_FOUND) {
        log_write(fs->log, CKPT_WARNING,
                  "%s got its name but could not be recorded: %s; that is tried again before it is overwritten, "
                  "and at the next start",
                  name,
                  ckpt_err_text(err));
    }
}

/* ---- making entries ---- */

/* Nothing changes once the store can't promise anything; in views nothing is made, but a real directory may replace them. */
struct inode *make_in(fuse_req_t req, fuse_ino_t node)
{
    struct ckptfs *fs = ckptfs_of(req);
    struct inode *parent = inode_of(fs, node);
    int err = ckpt_store_stopped(fs->store) ? EROFS : 0;
    if (err == 0 && parent->view != NULL) {
        struct inode *real = view_real(req, parent);
        err = real == NULL ? view_make_real(req, parent) : 0;
        parent = real;
    }
    if (err != 0) {
        fuse_reply_err(req, err);
        return NULL;
    }
    return parent;
}

void make_in_done(struct ckptfs *fs, fuse_ino_t node, struct inode *parent, struct fuse_entry_param *entry)
{
    if (inode_node(fs, parent) != node) {
        inode_forget(fs, parent, 1);
        if (entry != NULL) {
            entry->entry_timeout = 0;
        }
    }
}

/* An entry has just been made by MADE == 0 (else errno is set) in PARENT, of make_in(NODE): owner, lookup, reply. */
static void finish_make(fuse_req_t req, fuse_ino_t node, struct inode *parent, const char *name, int made, mode_t mode,
                        bool directory)
{
    struct ckptfs *fs = ckptfs_of(req);
    struct fuse_entry_param entry;
    int err = made == 0 ? 0 : errno;
    if (err == 0) {
        int fd = ckpt_host_openat(parent->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
        err = fd < 0 ? errno : create_owner(req, parent, fd, mode);
        ckpt_host_close(fd);
        if (err != 0) {
            (void)ckpt_host_unlinkat(parent->fd, name, directory ? AT_REMOVEDIR : 0);
        }
    }
    ckpt_engine_names_unlock(fs->engine);
    if (err == 0) {
        err = inode_lookup(fs, parent, name, &entry);
    }
    make_in_done(fs, node, parent, &entry);
    reply_entry(req, err, &entry);
}

void op_mknod(fuse_req_t req, fuse_ino_t parent_node, const char *name, mode_t mode, dev_t rdev)
{
    struct ckptfs *fs = ckptfs_of(req);
    struct inode *parent = make_in(req, parent_node);
    if (parent == NULL) {
        return;
    }
    ckpt_engine_names_lock(fs->engine);
    int made = ckpt_host_mknodat(parent->fd, name, create_mode(req, parent, mode), rdev);
    finish_make(req, parent_node, parent, name, made, mode, false);
}

void op_mkdir(fuse_req_t req, fuse_ino_t parent_node, const char *name, mode_t mode)
{
    struct ckptfs *fs = ckptfs_of(req);
    struct inode *parent = make_in(req, parent_node);
    if (parent == NULL) {
        return;
    }
    ckpt_engine_names_lock(fs->engine);
    int made = ckpt_host_mkdirat(parent->fd, name, create_mode(req, parent, mode));
    finish_make(req, parent_node, parent, name, made, mode, true);
}

void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent_node, const char *name)
{
    struct ckptfs *fs = ckptfs_of(req);
    struct inode *parent = make_in(req, parent_node);
    if (parent == NULL) {
        return;
    }
    ckpt_engine_names_lock(fs->engine);
    int made = ckpt_host_symlinkat(target, parent->fd, name);
    finish_make(req, parent_node, parent, name, made, 0777, false);
}

/* The inode is claimed, so that it can't become another one on the host meanwhile. */
static int make_link(struct ckptfs *fs, struct inode *inode, struct inode *parent, const char *name)
{
    int err = 0;
    if (inode->type == S_IFREG) {
        err = ckpt_err_errno(ckpt_engine_name_stub(fs->engine, inode->fd, parent->fd, name));
    }
    if (err == 0) {
        ckpt_engine_names_lock(fs->engine);
        if (ckpt_host_link_fd(inode->fd, parent->fd, name) != 0) {
            err = errno;
        }
        ckpt_engine_names_unlock(fs->engine);
    }
    if (err == 0 && inode->type == S_IFREG) {
        /* The link has happened, whatever becomes of this. */
        enum ckpt_err captured = ckpt_engine_capture_name(fs->engine, inode->fd, parent->fd, name);
        if (captured != CKPT_OK) {
            atomic_store(&inode->uncaptured, true);
        }
        report_move(fs, captured, name);
    }
    return err;
}

void op_link(fuse_req_t req, fuse_ino_t node, fuse_ino_t new_parent, const char *new_name)
{
    struct ckptfs *fs = ckptfs_of(req);
    struct inode *inode = inode_of(fs, node);
    struct fuse_entry_param entry = {0};
    if (inode->view != NULL) {
        fuse_reply_err(req, EXDEV);
        return;
    }
    struct inode *parent = make_in(req, new_parent);
    if (parent == NULL) {
        return;
    }
    inode_claim_wait(inode);
    int err = make_link(fs, inode, parent, new_name);
    inode_unclaim(inode);
    if (err == 0) {
        err = inode_lookup(fs, parent, new_name, &entry);
    }
    make_in_done(fs, new_parent, parent, &entry);
    reply_entry(req, err, &entry);
}

/* ---- removing entries ---- */

static int remove_from(struct ckptfs *fs, struct inode *parent, const char *name, int flags)
{
    int err = 0;
    if (ckpt_store_stopped(fs->store)) {
        return EROFS;
    }
    if ((flags & AT_REMOVEDIR) != 0) {
        ckpt_engine_save_dirs(fs->engine);
    }
    ckpt_engine_names_lock(fs->engine);
    if (ckpt_host_unlinkat(parent->fd, name, flags) != 0) {
        err = errno;
    }
    ckpt_engine_names_unlock(fs->engine);
    if (err == 0) {
        ckpt_engine_name_gone(fs->engine, parent->fd, name, (flags & AT_REMOVEDIR) != 0);
    } else if (err == ENOENT) {
        err = view_remove(fs, parent, name);
    }
    return err;
}

static void remove_entry(fuse_req_t req, fuse_ino_t parent_node, const char *name, int flags)
{
    struct ckptfs *fs = ckptfs_of(req);
    struct inode *parent = inode_of(fs, parent_node);
    struct inode *real = parent->view != NULL ? view_real(req, parent) : NULL;
    int err = 0;
    if (real != NULL) {
        err = remove_from(fs, real, name, flags);
        inode_forget(fs, real, 1);
    } else {
        err = parent->view != NULL ? view_remove(fs, parent, name) : remove_from(fs, parent, name, flags);
    }
    fuse_reply_err(req, err);
}

void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    remove_entry(req, parent, name, 0);
}

void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    remove_entry(req, parent, name, AT_REMOVEDIR);
}

/* ---- rename ---- */

/* One entry that is being moved: a descriptor that follows it. */
struct moved {
    int fd;
    struct stat st;
};

static void close_moved(struct moved *moved)
{
    ckpt_host_close(moved->fd);
    moved->fd = -1;
}

/* Finds NAME in PARENT before it goes to NEW_NAME in NEW_PARENT, where a stub needs a version. */
static int prepare_move(struct ckptfs *fs, struct inode *parent, const char *name,
                        struct inode *new_parent, const char *new_name, struct moved *moved)
{
    moved->fd = ckpt_host_openat(parent->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
    if (moved->fd < 0 || ckpt_host_fstat(moved->fd, &moved->st) != 0) {
        return errno;
    }
    if (!S_ISREG(moved->st.st_mode)) {
        return 0;
    }
    return ckpt_err_errno(ckpt_engine_name_stub(fs->engine, moved->fd, new_parent->fd, new_name));
}

/* With the names locked: whether NAME still is what was prepared, or has become a stub (or anything
 * else) since. */
static bool has_changed(struct inode *parent, const char *name, const struct moved *moved)
{
    struct stat st;
    return ckpt_host_fstatat(parent->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           (st.st_ino != moved->st.st_ino || st.st_dev != moved->st.st_dev);
}

static bool exists(struct inode *parent, const char *name)
{
    struct stat st;
    return ckpt_host_fstatat(parent->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* The rename to NAME in TO has happened, whatever becomes of this. REPLACED: another file. */
static void record_move(struct ckptfs *fs, const struct moved *moved, const struct inode *to, const char *name, bool replaced)
{
    enum ckpt_err err = CKPT_OK;
    if (S_ISREG(moved->st.st_mode)) {
        /* The other one may have been captured after the stub's version was recorded, which is to be the newest. */
        err = replaced ? ckpt_engine_name_stub(fs->engine, moved->fd, to->fd, name) : CKPT_OK;
        if (err == CKPT_OK) {
            err = ckpt_engine_capture(fs->engine, moved->fd);
        }
        if (err != CKPT_OK) {
            inode_set_uncaptured(fs, moved->st.st_dev, moved->st.st_ino);
        }
    } else if (S_ISDIR(moved->st.st_mode)) {
        err = ckpt_engine_dir_moved(fs->engine, moved->fd);
    }
    report_move(fs, err, name);
}

static int rename_entry(struct ckptfs *fs, struct inode *from, const char *name, struct inode *to,
                        const char *new_name, unsigned flags)
{
    struct moved moved = {.fd = -1};
    struct moved other = {.fd = -1};
    bool exchange = (flags & RENAME_EXCHANGE) != 0;
    bool replaces = false;
    bool again = true;
    int err = 0;
    while (again && err == 0) {
        close_moved(&moved);
        close_moved(&other);
        err = prepare_move(fs, from, name, to, new_name, &moved);
        if (err == 0 && exchange) {
            err = prepare_move(fs, to, new_name, from, name, &other);
        }
        if (err != 0) {
            break;
        }
        if (S_ISDIR(moved.st.st_mode)) {
            ckpt_engine_save_dirs(fs->engine); /* it may take the place of another, which is gone then */
        }
        ckpt_engine_names_lock(fs->engine);
        again = has_changed(from, name, &moved) || (exchange && has_changed(to, new_name, &other));
        replaces = exists(to, new_name);
        if (!again && ckpt_host_renameat2(from->fd, name, to->fd, new_name, flags) != 0) {
            err = errno;
        }
        ckpt_engine_names_unlock(fs->engine);
    }
    if (err == 0) {
        /* A directory takes its id and all that is in it along. */
        if (!S_ISDIR(moved.st.st_mode)) {
            ckpt_engine_name_gone(fs->engine, from->fd, name, false);
        }
        if (replaces) {
            ckpt_engine_name_gone(fs->engine, to->fd, new_name, false);
        }
        record_move(fs, &moved, to, new_name, replaces);
        if (exchange) {
            record_move(fs, &other, from, name, true);
        }
    }
    close_moved(&moved);
    close_moved(&other);
    return err;
}

/* Whether NAME in PARENT is a view and nothing else. */
static bool is_view(struct ckptfs *fs, struct inode *parent, const char *name)
{
    struct fuse_entry_param entry;
    if (view_lookup(fs, parent, name, &entry) != 0) {
        return false;
    }
    view_forget(fs, inode_of(fs, entry.ino), 1);
    return true;
}

/* Between directories of live/. */
static int rename_live(struct ckptfs *fs, struct inode *from, const char *name, struct inode *to, const char *new_name,
                       unsigned flags)
{
    int err = rename_entry(fs, from, name, to, new_name, flags);
    /* A view's name exists but can't be moved. */
    bool view = err == ENOENT && (is_view(fs, from, name) || ((flags & RENAME_EXCHANGE) != 0 && is_view(fs, to, new_name)));
    return view ? EROFS : err;
}

void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
               const char *new_name, unsigned flags)
{
    struct ckptfs *fs = ckptfs_of(req);
    struct inode *from = inode_of(fs, parent);
    struct inode *real = from->view != NULL ? view_real(req, from) : NULL;
    struct inode *to = NULL;
    int err = 0;
    if ((flags & ~(unsigned)(RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0) {
        err = EINVAL;
    } else if ((from->view != NULL && real == NULL) ||
               ((flags & RENAME_EXCHANGE) != 0 && inode_of(fs, new_parent)->view != NULL)) {
        err = EROFS;
    }
    bool replied = err == 0 && (to = make_in(req, new_parent)) == NULL;
    if (to != NULL) {
        err = rename_live(fs, real != NULL ? real : from, name, to, new_name, flags);
        make_in_done(fs, new_parent, to, NULL);
    }
    if (real != NULL) {
        inode_forget(fs, real, 1);
    }
    if (!replied) {
        fuse_reply_err(req, err);
    }
}
