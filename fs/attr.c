/*
 * Attributes: stat, mode, owner, times, extended attributes, space.
 */
#include "checkpoint_attr.h"
#include "inode.h"
#include "ops.h"
#include "view.h"
#include <ckpt/host.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int stat_any(struct ckptfs *fs, struct inode *inode, struct stat *st)
{
    return inode->view != NULL ? view_stat(fs, inode, st) : inode_stat(fs, inode, st);
}

void op_getattr(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi)
{
    struct ckptfs *fs = ckptfs_of(req);
    struct inode *inode = inode_of(fs, node);
    struct stat st;
    (void)fi;
    int err = stat_any(fs, inode, &st);
    if (err != 0) {
        fuse_reply_err(req, err);
    } else {
        fuse_reply_attr(req, &st, inode->view != NULL ? 0 : CKPTFS_TIMEOUT);
    }
}

static int set_owner(struct inode *inode, const struct stat *attr, int to_set)
{
    uid_t uid = (to_set & FUSE_SET_ATTR_UID) != 0 ? attr->st_uid : (uid_t)-1;
    gid_t gid = (to_set & FUSE_SET_ATTR_GID) != 0 ? attr->st_gid : (gid_t)-1;
    return ckpt_host_fchown(inode->fd, uid, gid) != 0 ? errno : 0;
}

static int set_times(struct inode *inode, const struct stat *attr, int to_set)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_nsec = UTIME_OMIT}};
    if ((to_set & FUSE_SET_ATTR_ATIME_NOW) != 0) {
        times[0].tv_nsec = UTIME_NOW;
    } else if ((to_set & FUSE_SET_ATTR_ATIME) != 0) {
        times[0] = attr->st_atim;
    }
    if ((to_set & FUSE_SET_ATTR_MTIME_NOW) != 0) {
        times[1].tv_nsec = UTIME_NOW;
    } else if ((to_set & FUSE_SET_ATTR_MTIME) != 0) {
        times[1] = attr->st_mtim;
    }
    return ckpt_host_futimens(inode->fd, times) != 0 ? errno : 0;
}

/* In the order of one chown and one chmod: a change of owner takes set-id bits away. */
static int set_others(struct inode *inode, const struct stat *attr, int to_set)
{
    const int times = FUSE_SET_ATTR_ATIME | FUSE_SET_ATTR_MTIME | FUSE_SET_ATTR_ATIME_NOW |
                      FUSE_SET_ATTR_MTIME_NOW;
    int err = 0;
    if ((to_set & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID)) != 0) {
        err = set_owner(inode, attr, to_set);
    }
    if (err == 0 && (to_set & FUSE_SET_ATTR_MODE) != 0) {
        err = ckpt_host_fchmod(inode->fd, attr->st_mode & 07777) != 0 ? errno : 0;
    }
    if (err == 0 && (to_set & times) != 0) {
        err = set_times(inode, attr, to_set);
    }
    return err;
}

static int set_all(fuse_req_t req, struct inode *inode, const struct stat *attr, int to_set,
                   struct fuse_file_info *fi)
{
    int err = 0;
    if ((to_set & FUSE_SET_ATTR_SIZE) != 0) {
        err = file_truncate(req, inode, attr->st_size, fi);
    }
    if (err == 0 && (to_set & ~FUSE_SET_ATTR_SIZE) != 0) {
        /* A file that is just being exchanged for its stub would take the change with it: claimed, it isn't. */
        inode_claim_wait(inode);
        err = set_others(inode, attr, to_set);
        inode_unclaim(inode);
    }
    return err;
}

void op_setattr(fuse_req_t req, fuse_ino_t node, struct stat *attr, int to_set,
                struct fuse_file_info *fi)
{
    struct ckptfs *fs = ckptfs_of(req);
    struct inode *inode = inode_of(fs, node);
    struct stat st;
    /* Of what views show only a policy can change, and only its text. Owner, mode and times are the run's: who changes those of
       a run and all that is in it has changed them, and who brings a directory here to be like another goes on to fill it. */
    int err = inode->view == NULL                    ? set_all(req, inode, attr, to_set, fi)
              : (to_set & FUSE_SET_ATTR_SIZE) != 0 ? file_truncate(req, inode, attr->st_size, fi)
              : inode->view->beside || inode->view->kind == VIEW_VERSION ? 0
                                                     : EROFS;
    if (err == 0) {
        err = stat_any(fs, inode, &st);
    }
    if (err != 0) {
        fuse_reply_err(req, err);
    } else {
        fuse_reply_attr(req, &st, inode->view != NULL ? 0 : CKPTFS_TIMEOUT);
    }
}

void op_readlink(fuse_req_t req, fuse_ino_t node)
{
    struct ckptfs *fs = ckptfs_of(req);
    struct inode *inode = inode_of(fs, node);
    char target[PATH_MAX + 1];
    int err = 0;
    if (inode->view != NULL) {
        err = view_readlink(fs, inode, target, sizeof target);
    } else {
        ssize_t n = ckpt_host_readlinkat(inode->fd, "", target, sizeof target - 1);
        err = n < 0 ? errno : 0;
        target[n < 0 ? 0 : n] = '\0';
    }
    if (err != 0) {
        fuse_reply_err(req, err);
    } else {
        fuse_reply_readlink(req, target);
    }
}

/* ---- extended attributes ---- */

#define ACL_ATTRIBUTE "system.posix_acl_access"

static bool is_own(const char *name)
{
    return strncmp(name, CKPT_XATTR_PREFIX, strlen(CKPT_XATTR_PREFIX)) == 0;
}

bool caller_in_group(fuse_req_t req, gid_t gid)
{
    enum { MAX_GROUPS = 1024 };
    gid_t groups[MAX_GROUPS];
    if (fuse_req_ctx(req)->gid == gid) {
        return true;
    }
    int n = fuse_req_getgroups(req, MAX_GROUPS, groups);
    for (int i = 0; i < n && i < MAX_GROUPS; i++) {
        if (groups[i] == gid) {
            return true;
        }
    }
    return false;
}

/* Changing the ACL may widen what set-gid gives, so it goes unless the caller is one of the group.
   The kernel asks for that in a word that libfuse doesn't hand on. */
static void drop_set_gid(fuse_req_t req, struct inode *inode)
{
    struct stat st;
    if (fuse_req_ctx(req)->uid != 0 && ckpt_host_fstat(inode->fd, &st) == 0 &&
        (st.st_mode & S_ISGID) != 0 && !caller_in_group(req, st.st_gid)) {
        (void)ckpt_host_fchmod(inode->fd, st.st_mode & 07777 & ~(mode_t)S_ISGID);
    }
}

void op_setxattr(fuse_req_t req, fuse_ino_t node, const char *name, const char *value, size_t size,
                 int flags)
{
    struct ckptfs *fs = ckptfs_of(req);
    struct inode *inode = inode_of(fs, node);
    if (is_own(name)) {
        fuse_reply_err(req, checkpoint_attr_set(fs, inode, name, value, size));
        return;
    }
    int err = inode->view != NULL ? EROFS : 0;
    if (err == 0) {
        inode_claim_wait(inode);
        if (ckpt_host_fsetxattr(inode->fd, name, value, size, flags) != 0) {
            err = errno;
        } else if (strcmp(name, ACL_ATTRIBUTE) == 0) {
            drop_set_gid(req, inode);
        }
        inode_unclaim(inode);
    }
    fuse_reply_err(req, err);
}

void op_removexattr(fuse_req_t req, fuse_ino_t node, const char *name)
{
    struct ckptfs *fs = ckptfs_of(req);
    struct inode *inode = inode_of(fs, node);
    int err = inode->view != NULL ? EROFS : is_own(name) ? EPERM : 0;
    if (err == 0) {
        inode_claim_wait(inode);
        err = ckpt_host_fremovexattr(inode->fd, name) != 0 ? errno : 0;
        inode_unclaim(inode);
    }
    fuse_reply_err(req, err);
}

/* The file whose attribute NAME (NULL: any) a request for reading means, or NULL: it has none. */
static struct inode *bearer(struct inode *inode, const char *name)
{
    if (inode->view == NULL) {
        return inode;
    }
    /* A view's directories are open to whom the run is: mode bits alone would say something else.
     */
    return inode->type == S_IFDIR && name != NULL && strcmp(name, ACL_ATTRIBUTE) == 0
               ? inode->view->run
               : NULL;
}

/* SIZE 0 asks for the length. */
static void reply_value(fuse_req_t req, const char *value, ssize_t n, size_t size)
{
    if (n < 0) {
        fuse_reply_err(req, errno);
    } else if (size == 0) {
        fuse_reply_xattr(req, (size_t)n);
    } else if ((size_t)n > size) {
        fuse_reply_err(req, ERANGE);
    } else {
        fuse_reply_buf(req, value, (size_t)n);
    }
}

static void get_own(fuse_req_t req, struct inode *inode, const char *name, size_t size)
{
    char value[CHECKPOINT_ATTR_SIZE];
    size_t n = 0;
    int err = checkpoint_attr_get(ckptfs_of(req), inode, name, value, &n);
    if (err != 0) {
        fuse_reply_err(req, err);
    } else {
        reply_value(req, value, (ssize_t)n, size);
    }
}

void op_getxattr(fuse_req_t req, fuse_ino_t node, const char *name, size_t size)
{
    struct ckptfs *fs = ckptfs_of(req);
    struct inode *inode = inode_of(fs, node);
    if (is_own(name)) {
        get_own(req, inode, name, size);
        return;
    }
    struct inode *from = bearer(inode, name);
    int err = from == NULL ? ENODATA : 0;
    char *value = err == 0 ? malloc(size > 0 ? size : 1) : NULL;
    if (err == 0 && value == NULL) {
        err = ENOMEM;
    }
    if (err != 0) {
        fuse_reply_err(req, err);
    } else {
        reply_value(req, value, ckpt_host_fgetxattr(from->fd, name, value, size), size);
    }
    free(value);
}

/* Takes the store's own names out of a list of N bytes; returns what is left. */
static ssize_t without_own(char *list, ssize_t n)
{
    ssize_t kept = 0;
    for (ssize_t at = 0; at < n;) {
        ssize_t length = (ssize_t)strlen(list + at) + 1;
        if (!is_own(list + at)) {
            memmove(list + kept, list + at, (size_t)length);
            kept += length;
        }
        at += length;
    }
    return kept;
}

void op_listxattr(fuse_req_t req, fuse_ino_t node, size_t size)
{
    enum { MAX_LIST = 65536 };
    struct ckptfs *fs = ckptfs_of(req);
    struct inode *inode = inode_of(fs, node);
    struct inode *from = bearer(inode, NULL);
    char *list = malloc(MAX_LIST);
    if (list == NULL) {
        fuse_reply_err(req, ENOMEM);
        return;
    }
    if (from == NULL) {
        reply_value(req, list, 0, size);
    } else {
        ssize_t n = ckpt_host_flistxattr(inode->fd, list, MAX_LIST);
        reply_value(req, list, n < 0 ? n : without_own(list, n), size);
    }
    free(list);
}

void op_statfs(fuse_req_t req, fuse_ino_t node)
{
    struct statvfs st;
    (void)node;
    if (ckpt_host_fstatvfs(ckpt_store_livefd(ckptfs_of(req)->store), &st) != 0) {
        fuse_reply_err(req, errno);
    } else {
        fuse_reply_statfs(req, &st);
    }
}
