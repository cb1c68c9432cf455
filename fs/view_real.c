/*
 * Where views give way to entries that are about to be made.
 */
#include "intent.h"
#include "ops.h"
#include "view_parts.h"
#include <ckpt/host.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Below .ckpt nothing real can be. */
static bool is_beside(const struct inode *parent, const char *name)
{
    return parent->view != NULL ? parent->view->beside : strcmp(name, ".ckpt") != 0;
}

/* From the root, as far as this process sees it. */
static bool place_of(struct ckptfs *fs, const struct inode *directory, char *place, size_t size)
{
    char run[PATH_MAX];
    const struct view_node *view = directory->view;
    const struct inode *live = view == NULL ? directory : view->run;
    if (ckpt_live_path(fs->store, live->fd, run) != CKPT_OK) {
        return false;
    }
    int n = snprintf(place, size, "%s/%s/%s", fs->mountpoint, run, view == NULL ? "" : view->path);
    return n > 0 && (size_t)n < size;
}

bool view_gives_way(fuse_req_t req, struct inode *parent, const char *name, bool *empties)
{
    char place[3 * PATH_MAX];
    struct intent intent;
    bool gives_way = is_beside(parent, name) && intent_read(fuse_req_ctx(req)->pid, &intent) &&
                     place_of(ckptfs_of(req), parent, place, sizeof place) && intent_makes(&intent, place, name);
    *empties = gives_way && intent.empties;
    return gives_way;
}

/* Somebody else may have been faster. */
static int make_directory(fuse_req_t req, struct inode *parent, const char *name, mode_t mode)
{
    struct ckptfs *fs = ckptfs_of(req);
    int err = 0;
    ckpt_engine_names_lock(fs->engine);
    if (ckpt_host_mkdirat(parent->fd, name, create_mode(req, parent, mode)) != 0) {
        err = errno == EEXIST ? 0 : errno;
    } else {
        int fd = ckpt_host_openat(parent->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
        err = fd < 0 ? errno : create_owner(req, parent, fd, mode);
        ckpt_host_close(fd);
        if (err != 0) {
            (void)ckpt_host_unlinkat(parent->fd, name, AT_REMOVEDIR);
        }
    }
    ckpt_engine_names_unlock(fs->engine);
    return err;
}

/* The next component of *PATH, which goes on behind it. False: there is none that a directory can have. */
static bool next_name(const char **path, char name[NAME_MAX + 1])
{
    size_t n = view_component(*path);
    snprintf(name, NAME_MAX + 1, "%.*s", (int)n, *path);
    *path += n;
    *path += **path == '/';
    return n > 0;
}

/* The directory NAME in *AT, which is one that is held, unless it is RUN, and takes its place. */
static int step(struct ckptfs *fs, const struct inode *run, struct inode **at, const char *name)
{
    struct fuse_entry_param entry;
    int err = inode_lookup(fs, *at, name, &entry);
    if (err == 0 && inode_of(fs, entry.ino)->type != S_IFDIR) {
        inode_forget(fs, inode_of(fs, entry.ino), 1);
        err = ENOTDIR;
    }
    if (err == 0) {
        if (*at != run) {
            inode_forget(fs, *at, 1);
        }
        *at = inode_of(fs, entry.ino);
    }
    return err;
}

/* The real directory of the view's path, if there is one, with one lookup counted. */
static struct inode *find_directory(struct ckptfs *fs, const struct view_node *view)
{
    struct inode *at = view->run;
    const char *path = view->path;
    char name[NAME_MAX + 1];
    bool found = true;
    while (found && path[0] != '\0') {
        found = next_name(&path, name) && step(fs, view->run, &at, name) == 0;
    }
    if (!found && at != view->run) {
        inode_forget(fs, at, 1);
    }
    return found && at != view->run ? at : NULL;
}

/* Makes RUN/PATH, with the mode that its views have: RUN's, which the kernel has checked. Something else there is for its
   next walk to find. */
static int make_directories(fuse_req_t req, struct inode *run, const char *path)
{
    struct inode *at = run;
    struct stat st;
    char name[NAME_MAX + 1];
    int err = inode_stat(ckptfs_of(req), run, &st);
    while (err == 0 && path[0] != '\0') {
        err = next_name(&path, name) ? make_directory(req, at, name, st.st_mode & 0777) : EROFS;
        if (err == 0) {
            err = step(ckptfs_of(req), run, &at, name);
        }
    }
    if (at != run) {
        inode_forget(ckptfs_of(req), at, 1);
    }
    return err == ENOTDIR ? 0 : err;
}

int view_make_real(fuse_req_t req, struct inode *directory)
{
    const struct view_node *view = directory->view;
    int err = view->beside ? make_directories(req, view->run, view->path) : EROFS;
    return err == 0 ? ESTALE : err;
}

/* The kernel has checked what the caller may do in the view, which isn't the directory that is asked about here. */
static bool owns(fuse_req_t req, const struct inode *directory)
{
    struct stat st;
    uid_t uid = fuse_req_ctx(req)->uid;
    return ckpt_host_fstat(directory->fd, &st) == 0 && (uid == 0 || (uid == st.st_uid && (st.st_mode & S_IRWXU) == S_IRWXU));
}

struct inode *view_real(fuse_req_t req, struct inode *directory)
{
    struct ckptfs *fs = ckptfs_of(req);
    struct inode *real = directory->view->beside ? find_directory(fs, directory->view) : NULL;
    if (real != NULL && !owns(req, real)) {
        inode_forget(fs, real, 1);
        real = NULL;
    }
    return real;
}

/* Somebody else may have been faster. */
static int make_file(fuse_req_t req, struct inode *directory, const char *name)
{
    enum { MODE = 0666 };
    struct ckptfs *fs = ckptfs_of(req);
    int err = 0;
    ckpt_engine_names_lock(fs->engine);
    int fd = ckpt_host_openat(directory->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                              create_mode(req, directory, MODE));
    if (fd < 0) {
        err = errno == EEXIST ? 0 : errno;
    } else if ((err = create_owner(req, directory, fd, MODE)) != 0) {
        (void)ckpt_host_unlinkat(directory->fd, name, 0);
    }
    ckpt_engine_names_unlock(fs->engine);
    ckpt_host_close(fd);
    return err;
}

int view_make_empty(fuse_req_t req, struct inode *directory, const char *name)
{
    int err = view_make_real(req, directory);
    struct inode *real = err == ESTALE ? find_directory(ckptfs_of(req), directory->view) : NULL;
    if (real != NULL) {
        int failed = make_file(req, real, name);
        inode_forget(ckptfs_of(req), real, 1);
        err = failed != 0 ? failed : err;
    }
    return err;
}
