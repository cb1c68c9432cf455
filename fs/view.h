/*
 * Views: directories that the filesystem makes up from the catalog.
 *
 *     RUN/.ckpt/                     in every directory of live/; never listed
 *     RUN/.ckpt/latest/ best/ final/ epoch/N/ step/N/ tag/NAME/ top/K/ top/METRIC/K/
 *                                    one checkpoint: its files under their own names, and beside them
 *         checkpoint.EXT             a symbolic link to the one that stands for it, under a name that never changes
 *         info.json                  what is known about it
 *     RUN/.ckpt/history/FILE/vNNNN   every kept version of every file captured in RUN
 *     RUN/.ckpt/policy               the policy that applies in RUN; writing it sets RUN's
 *     RUN/.ckpt/early_stop           "1" once training should stop, else "0"
 *
 * With views=visible all but info.json, policy and early_stop also stand in RUN itself, unless a real entry has the name, somebody is
 * about to make one, or has removed the view there. What has nothing to show isn't there. A directory above at least two runs has latest/,
 * best/ and top/ over all of them (view_run.h).
 *
 *     view.c       nodes: what the kernel knows, stat, reading a version
 *     view_tree.c  the language above: lookup, removing
 *     view_list.c  listing
 *     view_run.c   which checkpoint a view shows
 *     view_rank.c  the order of checkpoints by a metric
 *     view_real.c  giving way to real entries
 *     view_text.c  info.json, policy, early_stop
 *
 * A directory's node is a place in that language and holds no state: what it shows comes from the catalog at every request.
 * A version's node is the version.
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
    VIEW_GROUP,        /* epoch, step, tag, top */
    VIEW_METRIC,       /* top/METRIC */
    VIEW_CHECKPOINT,   /* latest, epoch/7, ... */
    VIEW_FOLDER,       /* a directory in a checkpoint */
    VIEW_VERSION,      /* a regular file: one version */
    VIEW_LINK,         /* checkpoint.EXT */
    VIEW_INFO,         /* info.json */
    VIEW_POLICY,
    VIEW_STOP, /* early_stop */
};

/* Which of a run's views, and what in it. */
struct view_pick {
    char letter;     /* its letter in the run's attribute (store/FORMAT.md) */
    uint64_t number; /* the epoch, the step, the place in top/ */
    char name[NAME_MAX + 1]; /* the tag, the metric ("": the primary one), FILE in history/ */
};

struct view_node {
    enum view_kind kind;
    struct inode *run; /* holds one lookup of RUN's inode, for owner, mode and "..", or NULL */
    bool beside;       /* reached as RUN/history, not as RUN/.ckpt/history */
    struct view_pick pick;
    char *key;          /* all that makes the node what it is; owned */
    const char *path;   /* in key: from RUN; of a version something that is no path */
    const char *inside; /* in path: VIEW_FOLDER, from the checkpoint; else "" */
    struct ckpt_version version; /* VIEW_VERSION */
    struct ckpt_reader *reader;  /* VIEW_VERSION, while open; inode.lock */
};

CKPT_MUST_USE enum ckpt_err view_set_create(struct view_set **set);
/* Frees fs->views and all nodes, when the session is over and before the inode table goes. */
void view_set_free(struct ckptfs *fs);

void view_node_free(struct ckptfs *fs, struct view_node *view);
mode_t view_node_type(enum view_kind kind); /* S_IFDIR, S_IFREG or S_IFLNK */
bool view_node_is_text(const struct view_node *view);

/* Looks NAME up as a view entry of PARENT: a directory of live/ in which no real NAME exists, or a
   view directory. 0 and ENTRY (one lookup counted, see view_forget), or ENOENT or another errno. */
int view_lookup(struct ckptfs *fs, struct inode *parent, const char *name, struct fuse_entry_param *entry);

/* Takes back lookups that view_lookup has counted: what inode_forget is for the others. */
void view_forget(struct ckptfs *fs, struct inode *inode, uint64_t lookups);

int view_stat(struct ckptfs *fs, struct inode *inode, struct stat *st);
/* The st_ino of ".." in a view directory. */
ino_t view_parent_ino(const struct inode *inode);
int view_readlink(struct ckptfs *fs, struct inode *inode, char *target, size_t size);

/* Calls FN for each entry that a directory shows: of a view directory, or the visible views of a
   directory of live/ (whether a real entry has the name is for the caller to see). TYPE is S_IFDIR,
   S_IFREG or S_IFLNK. FN returns 0 or an errno, which ends it. */
typedef int view_entry_fn(void *arg, const char *name, ino_t ino, mode_t type);
int view_each(struct ckptfs *fs, struct inode *directory, view_entry_fn *fn, void *arg);

/* unlink or rmdir of an entry of a view (PARENT is a view directory or a directory of live/ in
   which NAME is a visible view). Reached beside the run's files: hides that view in that run and
   succeeds (so "rm -rf RUN" works), touching nothing else. Below .ckpt: EROFS. ENOENT when it is no
   view entry. */
int view_remove(struct ckptfs *fs, struct inode *parent, const char *name);

/* Whether the caller is about to make NAME in PARENT, where a view has that name: then it isn't there for him. EMPTIES: he
   opens it to write it anew, and without O_CREAT, so it has to be there: see view_make_empty. */
bool view_gives_way(fuse_req_t req, struct inode *parent, const char *name, bool *empties);

/* The same as view_make_real, with an empty real file NAME in it. */
int view_make_empty(fuse_req_t req, struct inode *directory, const char *name);

/* An entry is to be made in the view DIRECTORY. Reached beside the run's files: makes a real directory, empty, of its path, so that the
   view is gone from there, and returns ESTALE, upon which the kernel walks the path again and finds that one. Else EROFS, or another
   errno. */
int view_make_real(fuse_req_t req, struct inode *directory);

/* The real directory that has taken the place of the view DIRECTORY, in which somebody still stands, or that he has open: what he asks
   for is meant for that one. One lookup is counted on it (inode_forget). NULL: there is none, or it isn't the caller's. */
struct inode *view_real(fuse_req_t req, struct inode *directory);

/* Opening and reading a version, from file.c. 0 or an errno. */
int view_open(struct ckptfs *fs, struct inode *inode, struct fuse_file_info *fi);
void view_release(struct ckptfs *fs, struct inode *inode);

#endif
