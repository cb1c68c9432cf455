/*
 * The FUSE operations, by the file that implements them. Arguments and lifetimes: fuse_lowlevel.h.
 */
#ifndef CKPTFS_OPS_H
#define CKPTFS_OPS_H

#include "fs.h"
#include "inode.h"

/* file.c: regular files of live/ (and, through view_*, of views) */
void op_open(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
               struct fuse_file_info *fi);
void op_read(fuse_req_t req, fuse_ino_t node, size_t size, off_t offset, struct fuse_file_info *fi);
void op_write_buf(fuse_req_t req, fuse_ino_t node, struct fuse_bufvec *in, off_t offset,
                  struct fuse_file_info *fi);
void op_flush(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void op_release(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void op_fsync(fuse_req_t req, fuse_ino_t node, int datasync, struct fuse_file_info *fi);
void op_lseek(fuse_req_t req, fuse_ino_t node, off_t offset, int whence, struct fuse_file_info *fi);
void op_fallocate(fuse_req_t req, fuse_ino_t node, int mode, off_t offset, off_t length,
                  struct fuse_file_info *fi);
void op_copy_file_range(fuse_req_t req, fuse_ino_t in, off_t in_offset, struct fuse_file_info *in_fi,
                        fuse_ino_t out, off_t out_offset, struct fuse_file_info *out_fi, size_t n,
                        int flags);
/* The size part of setattr: FI may be NULL. 0 or an errno. */
int file_truncate(fuse_req_t req, struct inode *inode, off_t size, struct fuse_file_info *fi);

/* tree.c: names */
void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_forget(fuse_req_t req, fuse_ino_t node, uint64_t lookups);
void op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void op_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void op_link(fuse_req_t req, fuse_ino_t node, fuse_ino_t new_parent, const char *new_name);
void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent,
               const char *new_name, unsigned flags);

/*
 * Where entries can be made: the directory NODE, or the real directory that has taken the place of the view NODE. NULL: the
 * reply, why not, has been sent. Else make_in_done follows, before the reply. It has the kernel ask each time for an ENTRY (may
 * be NULL) that it has below a view: whoever removes it goes another way.
 */
struct inode *make_in(fuse_req_t req, fuse_ino_t node);
void make_in_done(struct ckptfs *fs, fuse_ino_t node, struct inode *parent, struct fuse_entry_param *entry);

/*
 * How a new entry gets its owner: made by the daemon (so that the host applies set-gid directories and default
 * ACLs), then given to the caller. create_mode is the mode to create with (umask applied unless the parent has a
 * default ACL); create_owner fixes owner and mode of the new O_PATH or open descriptor FD. 0 or an errno.
 */
mode_t create_mode(fuse_req_t req, struct inode *parent, mode_t mode);
int create_owner(fuse_req_t req, struct inode *parent, int fd, mode_t mode);

/* attr.c: attributes */
void op_getattr(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void op_setattr(fuse_req_t req, fuse_ino_t node, struct stat *attr, int to_set,
                struct fuse_file_info *fi);
void op_readlink(fuse_req_t req, fuse_ino_t node);
void op_setxattr(fuse_req_t req, fuse_ino_t node, const char *name, const char *value, size_t size,
                 int flags);
void op_getxattr(fuse_req_t req, fuse_ino_t node, const char *name, size_t size);
void op_listxattr(fuse_req_t req, fuse_ino_t node, size_t size);
void op_removexattr(fuse_req_t req, fuse_ino_t node, const char *name);
void op_statfs(fuse_req_t req, fuse_ino_t node);
/* Whether GID is one of the caller's groups. */
bool caller_in_group(fuse_req_t req, gid_t gid);

/* dir.c: reading directories */
void op_opendir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void op_readdir(fuse_req_t req, fuse_ino_t node, size_t size, off_t offset,
                struct fuse_file_info *fi);
void op_releasedir(fuse_req_t req, fuse_ino_t node, struct fuse_file_info *fi);
void op_fsyncdir(fuse_req_t req, fuse_ino_t node, int datasync, struct fuse_file_info *fi);

#endif
