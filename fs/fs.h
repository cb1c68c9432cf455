/*
 * The mounted filesystem: what all of fs/ shares.
 */
#ifndef CKPTFS_FS_H
#define CKPTFS_FS_H

#define FUSE_USE_VERSION 314
#include <ckpt/engine.h>
#include <ckpt/reader.h>
#include <ckpt/run.h>
#include <ckpt/store.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

struct inode_table;
struct ctl_server;
struct log;
struct notifier;
struct passthrough;
struct view_set;

/* Kernel caches of names and attributes are kept this long, in seconds: only this daemon changes live/. */
#define CKPTFS_TIMEOUT 1.0

struct ckptfs {
    struct ckpt_store *store;
    struct ckpt_cache *cache;
    struct ckpt_filter *filter;
    struct ckpt_runs *runs;
    struct ckpt_engine *engine;
    struct fuse_session *session;
    struct inode_table *inodes;
    struct view_set *views;
    struct passthrough *passthrough;
    struct notifier *notifier;
    struct ctl_server *ctl;
    struct log *log;
    char *mountpoint;      /* absolute */
    bool views_visible;
    bool may_chown;        /* running as root: files can belong to others */
    struct timespec started;
    dev_t live_dev;
};

static inline struct ckptfs *ckptfs_of(fuse_req_t req)
{
    return fuse_req_userdata(req);
}

#endif
