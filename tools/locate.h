/*
 * Which store a call means, and what its PATH arguments mean in it.
 *
 * The store, in this order: --store, a mount that a PATH argument lies in, CKPT_STORE, a mount that the current
 * directory lies in. --store and CKPT_STORE name the store's directory or its mount point.
 */
#ifndef CKPT_TOOL_LOCATE_H
#define CKPT_TOOL_LOCATE_H

#include "tool.h"
#include <ckpt/catalog.h>
#include <stdbool.h>
#include <stdint.h>

/* One mounted ckptfs. */
struct mount_point {
    char dir[PATH_MAX];
    char store[PATH_MAX];
};

/* Fills tool->store_dir. PATHS may be empty. Returns an exit code. */
int locate_store(struct tool *tool, char *const *paths, int n);

/* The mount of the store STORE_DIR, also a dead one; false when there is none. */
bool locate_mount(const char *store_dir, struct mount_point *mount);

/* What a PATH argument names. */
struct target {
    const char *arg;     /* as the user wrote it */
    char path[PATH_MAX]; /* relative to live/, "" for its top; without @vN */
    bool exists;         /* something has that name now */
    bool known;          /* the catalog knows the directory that holds it: DIR and NAME are set */
    bool captured;       /* a file of that name was captured, now or once */
    uint64_t dir;        /* id of the directory that holds it; of itself when NAME is "" */
    char name[NAME_MAX + 1];
    uint32_t version; /* 0 when none was named */
    bool is_dir;      /* a directory, or known to have been one */
    bool self_known;  /* it is a directory with an id: SELF */
    uint64_t self;
};

/*
 * Finds what ARG means: PATH, PATH@vN, RUN/history/FILE/vNNNN, of existing and of deleted files. The store is open.
 * It need not have been captured. Paths through other views: find_target (find.h). Returns an exit code.
 */
int locate_target(struct tool *tool, const char *arg, struct target *target);

/* The same for a path relative to live/, without history and versions in it; PATH is taken as it is and outlives TARGET. */
void locate_at(struct tool *tool, const char *path, struct target *target);

/* ARG relative to live/, by its letters: what a view or a version is in it is left. Returns an exit code. */
int locate_relative(struct tool *tool, const char *arg, char out[PATH_MAX]);

/* Whether PATH (relative to live/) exists, or was a directory once that the catalog knows. */
bool locate_is_real(struct tool *tool, const char *path);

/* The mount that ABSOLUTE lies in, when it is a ckptfs. */
bool locate_mount_of(const char *absolute, struct mount_point *mount);

/* ARG as an absolute path without symbolic links, as far as it exists; the rest is taken by its letters. */
bool locate_absolute(const char *arg, char out[PATH_MAX]);

#endif
