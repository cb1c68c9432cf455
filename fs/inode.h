/*
 * Inode numbers and what stands behind them.
 *
 * Three identities meet here:
 *
 * - The host inode (device, number) of a file in live/. It is what st_ino shows, and for its whole life it
 *   stands behind exactly one FUSE inode, because the kernel accepts one backing file per FUSE inode.
 * - The FUSE node id: the address of a struct inode, known to the kernel from lookup until forget. An
 *   O_PATH descriptor in it keeps the host inode's number from being used again meanwhile.
 * - The name. One host inode may have several, or none any more while it is open. Names aren't kept: the host
 *   knows where an O_PATH descriptor stands (ckpt_live_path).
 *
 * When a name gets another host inode behind the kernel's back (a file is demoted to a stub; a pending
 * file is opened with O_TRUNC), the old struct inode is marked replaced and every request for it is
 * answered with ESTALE. The VFS then looks the name up again and goes on with the new inode; the program
 * doesn't notice.
 *
 * Views (fs/view.h) have nodes of their own, with no host inode.
 */
#ifndef CKPTFS_INODE_H
#define CKPTFS_INODE_H

#include "fs.h"
#include <ckpt/live.h>
#include <stdint.h>
#include <uthash.h>

struct view_node;

/* How the handles of a file are open; all of an inode's handles are of one kind (see passthrough.h). */
enum open_kind { OPEN_NONE, OPEN_PASSTHROUGH, OPEN_CACHED };

struct inode {
    /* Fixed from creation. */
    struct {
        dev_t dev;
        ino_t ino;
    } key;                  /* of the host inode */
    mode_t type;            /* S_IFMT bits */
    int fd;                 /* O_PATH; -1 for a view node */
    struct view_node *view; /* NULL for a file of live/ */

    uint64_t lookups; /* inode_table.lock */

    /* Regular files. The lock is only ever held for a moment; whoever needs the inode to himself for longer
       (open, truncate, a demotion) claims it. */
    pthread_mutex_t lock;
    pthread_cond_t unclaimed;
    bool claimed;
    bool replaced;
    unsigned handles;
    unsigned writers;
    enum open_kind kind;
    int32_t backing_id;
    struct ckpt_reader *reader; /* opened by the first cold open, closed with the last handle */
    atomic_bool cold;
    struct ckpt_stub stub; /* while cold */

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

/* Claims a regular file: waits for whoever has it. 0, or ESTALE when it has been replaced. */
int inode_claim_wait(struct inode *inode);
void inode_unclaim(struct inode *inode);

/* stat of a live inode as users see it: stubs with their real size and their stored blocks, link counts without
   pending/. Returns 0 or an errno (ESTALE when replaced). */
int inode_stat(struct ckptfs *fs, struct inode *inode, struct stat *st);

/* The engine's hooks that concern inodes. */
bool inode_writing(void *fs, dev_t dev, ino_t ino);
bool inode_claim(void *fs, dev_t dev, ino_t ino);
void inode_disclaim(void *fs, dev_t dev, ino_t ino, bool replaced);
void inode_entry_changed(void *fs, const char *path);

#endif
