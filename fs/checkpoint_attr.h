/*
 * What is known about a checkpoint, as extended attributes of its files (those of live/ as long as they are what was recorded,
 * and those in views) and of the directories that show it:
 *
 *     user.ckptfs.id            16 hexadecimal digits
 *     user.ckptfs.checkpoint    complete, writing, invalid
 *     user.ckptfs.epoch .step   when it has one
 *     user.ckptfs.kind          full, weights, ...
 *     user.ckptfs.tags          with commas between them
 *     user.ckptfs.metric.NAME   the value of that metric
 *     user.ckptfs.pin           1 or 0
 *     user.ckptfs.stored_bytes  what the file costs in the store; files only
 *     user.ckptfs.early_stop    1 or 0; of a run's directory in live/
 *
 * Setting metric.NAME, tag (a name) and pin is telling the store. None of them is listed: cp -a and rsync -X copy what is
 * listed, and a copy is another checkpoint, if it is one at all.
 */
#ifndef CKPTFS_CHECKPOINT_ATTR_H
#define CKPTFS_CHECKPOINT_ATTR_H

#include "fs.h"
#include "inode.h"

enum { CHECKPOINT_ATTR_SIZE = 4096 };

/* NAME begins with CKPT_XATTR_PREFIX. 0 and the value with its length (longer ones are cut), ENODATA, or another errno. Waits while
   the file's last version is being recorded. */
int checkpoint_attr_get(struct ckptfs *fs, struct inode *inode, const char *name, char value[CHECKPOINT_ATTR_SIZE],
                        size_t *n);

/* EPERM: NAME is none to be set; EINVAL: VALUE makes no sense; ENODATA: it is no checkpoint's; EBUSY: not yet, it is being
   written (the kernel makes something else of EAGAIN). Waits for the engine. */
int checkpoint_attr_set(struct ckptfs *fs, struct inode *inode, const char *name, const char *value, size_t size);

#endif
