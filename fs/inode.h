/*
 * Inode numbers and what stands behind them.
 *
 * Three identities meet here:
 *
 * - The FUSE node id: the address of a struct inode, known to the kernel from lookup until forget. It is the file
 *   as its users know it.
 * - The host inode (device, number) of a file in live/, which st_ino shows. At any time it stands behind exactly
 *   one FUSE inode, because the kernel accepts one backing file per FUSE inode. An O_PATH descriptor keeps its
 *   number from being used again.
 * - The name. One host inode may have several, or none any more while it is open. Names aren't kept: the host
 *   knows where an O_PATH descriptor stands (ckpt_live_path). Each stands for one name, though, so a file with hard
 *   links has a descriptor for each name it was looked up by: when one goes, another takes its place.
 *
 * A file that nobody has open may be exchanged for another host inode under its name: for its stub when it is
 * demoted, for an empty file when it is emptied while its bytes wait in pending/. The FUSE inode stays; its descriptor
 * keeps its number and changes what it stands for (dup3), so whoever is using it gets the one or the other. Names
 * are locked meanwhile (ckpt_engine_names_lock), so every lookup agrees with the table.
 *
 * The engine may also take a file's name away (rotation), which the kernel learns a moment later (notify.h). Whoever has
 * it open reads on. Who opens it for writing in that moment, by the name that the kernel still has, must not write into a
 * file without a name: he is told ESTALE, upon which the kernel looks the name up anew.
 *
 * Views (fs/view.h) have nodes of their own, with no host inode.
 */
#ifndef CKPTFS_INODE_H
#define CKPTFS_INODE_H

#include "fs.h"
#include <ckpt/live.h>
#include <stdint.h>
#define HASH_NONFATAL_OOM 1 /* then an element that could not be added has no hh.tbl */
#include <uthash.h>

struct view_node;

/* How the handles of a file are open; all of an inode's handles are of one kind (see passthrough.h). */
enum open_kind { OPEN_NONE, OPEN_PASSTHROUGH, OPEN_CACHED };

struct inode {
    struct {
        dev_t dev;
        ino_t ino;
    } key;                  /* of the host inode; inode_table.lock, fixed while claimed and for all but files */
    /* Fixed from creation. */
    mode_t type;            /* S_IFMT bits */
    int fd;                 /* O_PATH; -1 for a view node */
    struct view_node *view; /* NULL for a file of live/ */

    uint64_t lookups; /* inode_table.lock */

    /* The lock is only ever held for a moment; whoever needs the inode to himself for longer (open, truncate, a
       demotion) claims it. */
    pthread_mutex_t lock;
    pthread_cond_t unclaimed;
    bool claimed;
    bool by_engine;             /* the engine's thread only */
    struct inode *next_claimed; /* likewise */
    unsigned handles;
    unsigned writers;
    unsigned closing; /* of these, by the closes that have been told: the release follows */
    enum open_kind kind;
    int32_t backing_id;
    struct ckpt_reader *reader; /* opened by the first cold open, closed with the last handle */
    atomic_bool cold;
    struct ckpt_stub stub; /* while cold */
    int *other_fds;        /* O_PATH, by its other names */
    size_t others;
    /* As long as the host says CTIME_HOST, which is the engine's doing, the users' ctime is CTIME_SHOWN: tar and
       others take a file with another ctime for a changed one. */
    struct timespec ctime_host;
    struct timespec ctime_shown;
    atomic_bool uncaptured; /* what it is now should be in pending/ and could not be put there */
    atomic_bool retired;    /* the engine took its last name away: no more opening for writing */

    UT_hash_handle hh; /* inode_table.lock */
};

CKPT_MUST_USE enum ckpt_err inode_table_create(struct ckptfs *fs, struct inode_table **table);
void inode_table_free(struct inode_table *table);

/* The inode for a node id. Node id 1 is the root of live/. */
struct inode *inode_of(struct ckptfs *fs, fuse_ino_t node);
fuse_ino_t inode_node(struct ckptfs *fs, const struct inode *inode);

/*
 * Looks NAME up in PARENT (a directory of live/) and counts one lookup on the inode, made if need be; ENTRY is
 * filled in completely for a reply. Returns 0 or an errno. If the reply then fails, undo with inode_forget.
 */
int inode_lookup(struct ckptfs *fs, struct inode *parent, const char *name,
                 struct fuse_entry_param *entry);

/* A node for a view; counts one lookup. The inode owns VIEW from here (view_node_free). NULL: no memory. */
struct inode *inode_for_view(struct ckptfs *fs, struct view_node *view);

void inode_forget(struct ckptfs *fs, struct inode *inode, uint64_t lookups);

/* Before the engine asks where inode->fd stands: has it stand for a name that is still there, if there is one. */
void inode_find_name(struct ckptfs *fs, struct inode *inode);

/* Descriptors by its other names, to be closed and freed by the caller; NULL when there are none. */
int *inode_other_names(struct inode *inode, size_t *count);

/* Claims the inode: waits for whoever has it. */
void inode_claim_wait(struct inode *inode);
void inode_unclaim(struct inode *inode);

/* Remembers that the file with this host inode could not be captured, so that it is tried again before it changes. */
void inode_set_uncaptured(struct ckptfs *fs, dev_t dev, ino_t ino);

/* stat of a live inode as users see it: stubs with their real size and their stored blocks, link counts and ctime
   without pending/. Returns 0 or an errno. */
int inode_stat(struct ckptfs *fs, struct inode *inode, struct stat *st);

/* The engine's hooks that concern inodes; ARG is the struct ckptfs. */
bool inode_writing(void *arg, dev_t dev, ino_t ino);
bool inode_closing(void *arg, dev_t dev, ino_t ino);
bool inode_claim(void *arg, dev_t dev, ino_t ino, bool readers);
void inode_disclaim(void *arg);
void inode_exchanged(void *arg, dev_t dev, ino_t ino, int fd, const struct stat *st,
                     const struct ckpt_stub *stub);
void inode_touched(void *arg, const struct stat *before, const struct stat *after);
void inode_unlinked(void *arg, dev_t dev, ino_t ino);
void inode_removed(void *arg, dev_t dir_dev, ino_t dir_ino, const char *name, dev_t dev, ino_t ino);
void inode_appeared(void *arg, dev_t dir_dev, ino_t dir_ino, const char *name);

#endif
