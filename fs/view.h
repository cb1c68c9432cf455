/*
 * Views: read-only directories that the filesystem makes up from the catalog.
 *
 *     RUN/.ckpt/                        in every directory that has captured files; never listed
 *     RUN/.ckpt/history/FILE/vNNNN      every kept version of every file captured in RUN
 *     RUN/.ckpt/latest/FILE             the newest version captured in RUN, whatever its file
 *     RUN/.ckpt/latest/checkpoint.EXT   a symbolic link to it, under a name that never changes
 *
 * With views=visible, history/ and latest/ are also listed in RUN itself when it holds versions of
 * files whose names say checkpoint, unless a real entry has that name or somebody has removed the
 * view there.
 *
 * A node is a path in that little language plus the directory id, so nodes are made at lookup and
 * hold no state; what they show comes from the catalog at every request.
 */
#ifndef CKPTFS_VIEW_H
#define CKPTFS_VIEW_H

#include "fs.h"
#include "inode.h"
#include <ckpt/catalog.h>

enum view_kind {
    VIEW_ROOT,         /* .ckpt */
    VIEW_HISTORY,      /* history */
    VIEW_HISTORY_FILE, /* history/FILE */
    VIEW_LATEST,       /* latest */
    VIEW_VERSION,      /* a regular file: one version */
    VIEW_LINK,         /* checkpoint.EXT */
};

/* What a directory of live/ shows; see view.c. */
struct view_node {
    enum view_kind kind;
    bool beside;       /* reached as RUN/history, not as RUN/.ckpt/history */
    uint64_t dir;      /* id of RUN */
    struct inode *run; /* holds one lookup of RUN's inode, for owner, mode and "..", or NULL */
    char name[NAME_MAX + 1];     /* FILE */
    struct ckpt_version version; /* VIEW_VERSION */
    struct ckpt_reader *reader;  /* VIEW_VERSION, while open; inode.lock */
};

CKPT_MUST_USE enum ckpt_err view_set_create(struct view_set **set);
/* Frees fs->views and all nodes, when the session is over and before the inode table goes. */
void view_set_free(struct ckptfs *fs);

void view_node_free(struct ckptfs *fs, struct view_node *view);

/* Looks NAME up as a view entry of PARENT: a directory of live/ in which no real NAME exists, or a
   view directory. 0 and ENTRY (one lookup counted, see view_forget), or ENOENT or another errno. */
int view_lookup(struct ckptfs *fs, struct inode *parent, const char *name,
                struct fuse_entry_param *entry);

/* Takes back lookups that view_lookup has counted: what inode_forget is for the others. */
void view_forget(struct ckptfs *fs, struct inode *inode, uint64_t lookups);

int view_stat(struct ckptfs *fs, struct inode *inode, struct stat *st);
/* The st_ino of ".." in a view directory. */
ino_t view_parent_ino(const struct inode *inode);
int view_readlink(struct ckptfs *fs, struct inode *inode, char *target, size_t size);

/* Calls FN for each entry that a directory shows: of a view directory, or the visible views of a
   directory of live/ (whether a real entry has the name is for the caller to see). TYPE is S_IFDIR,
   S_IFREG or S_IFLNK. */
typedef int view_entry_fn(void *arg, const char *name, ino_t ino, mode_t type);
int view_each(struct ckptfs *fs, struct inode *directory, view_entry_fn *fn, void *arg);

/* unlink or rmdir of an entry of a view (PARENT is a view directory or a directory of live/ in
   which NAME is a visible view). Reached beside the run's files: hides that view in that run and
   succeeds (so "rm -rf RUN" works), touching nothing else. Below .ckpt: EROFS. ENOENT when it is no
   view entry. */
int view_remove(struct ckptfs *fs, struct inode *parent, const char *name);

/* Opening and reading a version, from file.c. 0 or an errno. */
int view_open(struct ckptfs *fs, struct inode *inode, struct fuse_file_info *fi);
void view_release(struct ckptfs *fs, struct inode *inode);

#endif
