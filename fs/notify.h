/*
 * Telling the kernel about names that the engine has taken away or made.
 *
 * The kernel locks the name's directory for it, and may hold that lock for an operation that waits for the engine's
 * thread (the rename of a cold file over one that waits in pending/). So a thread of its own tells, and the
 * functions here only queue.
 */
#ifndef CKPTFS_NOTIFY_H
#define CKPTFS_NOTIFY_H

#include "inode.h"

struct notifier;

CKPT_MUST_USE enum ckpt_err notifier_create(struct ckptfs *fs, struct notifier **notifier);

/* Before the mount ends: nothing more is told, because nobody serves the requests any more that a lock may wait for. NULL
   is fine. */
void notifier_quiet(struct notifier *notifier);

/* After the engine, which queues, and after the mount has ended, before the inodes. NULL is fine. */
void notifier_free(struct notifier *notifier);

/* NAME in PARENT was INODE. Takes over one lookup of each. Without memory the kernel isn't told, and finds
   out when its entry expires. */
void notify_removed(struct notifier *notifier, struct inode *parent, const char *name, struct inode *inode);

/* NAME in PARENT is new; a view may have been shown there. Takes over one lookup of PARENT. */
void notify_appeared(struct notifier *notifier, struct inode *parent, const char *name);

#endif
