/*
 * Kernel passthrough (Linux >= 6.9): the kernel reads and writes the backing file itself; the daemon sees
 * only open and close. libfuse has an API for it from 3.17 on; the INIT, OPEN and CREATE replies are written by
 * hand instead (fs/DESIGN.md), which is the same with every version. Needs CAP_SYS_ADMIN. Without it everything goes through
 * the daemon, on the same paths.
 *
 * The kernel keeps one backing object per FUSE inode and refuses another while handles are open, and
 * refuses passthrough while handles that use the page cache are. So an inode's handles are all of one kind.
 *
 * In the same reply stands FUSE_HANDLE_KILLPRIV_V2, which libfuse 3.14 doesn't know either: taking set-id bits away when a file
 * is written becomes our affair (file.c). Without it the kernel asks for the attribute security.capability before every
 * single write, passed through or not.
 */
#ifndef CKPTFS_PASSTHROUGH_H
#define CKPTFS_PASSTHROUGH_H

#include "fs.h"

/* Prepares SESSION before its loop starts, after it was mounted. WANTED false: never use it. */
CKPT_MUST_USE enum ckpt_err passthrough_create(struct fuse_session *session, bool wanted,
                                               struct passthrough **passthrough);
void passthrough_free(struct passthrough *passthrough);

/* In use or not, and why: "yes", or "no: the kernel doesn't offer it". Static storage. */
bool passthrough_active(struct passthrough *passthrough);
const char *passthrough_text(struct passthrough *passthrough);

/* Registers the open file FD: its backing id (> 0), or 0 when it can't be had. */
int32_t passthrough_register(struct passthrough *passthrough, int fd);
void passthrough_unregister(struct passthrough *passthrough, int32_t backing_id);

/* Replies that carry a backing id. 0 or a negative errno, as fuse_reply_open does. */
int passthrough_reply_open(fuse_req_t req, const struct fuse_file_info *fi, int32_t backing_id);
int passthrough_reply_create(fuse_req_t req, const struct fuse_entry_param *entry,
                             const struct fuse_file_info *fi, int32_t backing_id);

#endif
