/*
 * The files of .ckpt that are made when they are opened: info.json, policy, early_stop. A handle has its own text, which
 * the kernel doesn't cache. That of a policy may be written, and is set when it is closed.
 */
#ifndef CKPTFS_VIEW_TEXT_H
#define CKPTFS_VIEW_TEXT_H

#include "view.h"

/* Size and time of what opening it would show. 0 or an errno, like all that follows. */
int view_text_stat(struct ckptfs *fs, const struct view_node *view, struct stat *st);

/* Sets FI->fh to a handle, which view_text_close frees. */
int view_text_open(struct ckptfs *fs, const struct view_node *view, struct fuse_file_info *fi);
void view_text_close(struct ckptfs *fs, const struct view_node *view, struct fuse_file_info *fi);

int view_text_read(struct fuse_file_info *fi, char *buf, size_t size, off_t offset, size_t *got);
int view_text_write(struct fuse_file_info *fi, const char *buf, size_t size, off_t offset);
/* As SEEK_DATA and SEEK_HOLE of a file without holes; -1 and errno. */
off_t view_text_seek(struct fuse_file_info *fi, off_t offset, int whence);
/* FI NULL: nobody has it open, and it is set at once. */
int view_text_truncate(struct ckptfs *fs, const struct view_node *view, struct fuse_file_info *fi, off_t size);
/* Sets the policy, if the handle has changed it since the last time. EINVAL: it is none, and the log says why. */
int view_text_flush(struct ckptfs *fs, const struct view_node *view, struct fuse_file_info *fi);

#endif
