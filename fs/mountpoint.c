#include "mountpoint.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

enum { READ_AHEAD_KB = 4096 };

char *path_absolute(const char *path)
{
    char *whole = realpath(path, NULL);
    char *copy = NULL;
    char *parent = NULL;
    if (whole != NULL || errno != ENOENT) {
        return whole;
    }
    copy = strdup(path);
    size_t n = copy == NULL ? 0 : strlen(copy);
    while (n > 1 && copy[n - 1] == '/') {
        copy[--n] = '\0';
    }
    char *slash = copy == NULL ? NULL : strrchr(copy, '/');
    const char *name = slash == NULL ? copy : slash + 1;
    if (copy == NULL || *name == '\0') {
        goto out;
    }
    if (slash == NULL) {
        parent = realpath(".", NULL);
    } else {
        *slash = '\0';
        parent = realpath(slash == copy ? "/" : copy, NULL);
    }
    if (parent != NULL &&
        asprintf(&whole, "%s/%s", strcmp(parent, "/") == 0 ? "" : parent, name) < 0) {
        whole = NULL;
        errno = ENOMEM;
    }
out:
    free(parent);
    free(copy);
    return whole;
}

bool path_lies_in(const char *path, const char *directory)
{
    size_t n = strlen(directory);
    return strcmp(directory, "/") == 0 ||
           (strncmp(path, directory, n) == 0 && (path[n] == '/' || path[n] == '\0'));
}

/* Whether a ckptfs is mounted exactly at MOUNTPOINT, on top, and then its STORE. */
static bool is_ckptfs_mount(const char *mountpoint, char *store, size_t size)
{
    FILE *table = setmntent("/proc/self/mounts", "re");
    char text[3 * PATH_MAX]; /* getmntent_r's, whose strings point into it */
    struct mntent entry;
    bool found = false;
    while (table != NULL && getmntent_r(table, &entry, text, sizeof text) != NULL) {
        if (strcmp(entry.mnt_dir, mountpoint) == 0) {
            found = strcmp(entry.mnt_type, "fuse.ckptfs") == 0;
            (void)snprintf(store, size, "%s", entry.mnt_fsname);
        }
    }
    if (table != NULL) {
        (void)endmntent(table);
    }
    return found;
}

bool mountpoint_detach(const char *mountpoint)
{
    if (umount2(mountpoint, MNT_DETACH) == 0) {
        return true;
    }
    pid_t child = fork();
    if (child == 0) {
        (void)execlp("fusermount3", "fusermount3", "-uz", mountpoint, (char *)NULL);
        _exit(127);
    }
    int status = 0;
    return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

/* stat that asks the filesystem: the kernel goes on answering for a dead one from what it
 * remembers. */
static int ask(const char *path, mode_t *mode)
{
    struct statx st;
    if (statx(AT_FDCWD, path, AT_STATX_FORCE_SYNC, STATX_TYPE, &st) != 0) {
        return -1;
    }
    *mode = st.stx_mode;
    return 0;
}

char *mountpoint_prepare(struct log *log, const char *given)
{
    mode_t mode = 0;
    char store[PATH_MAX] = "";
    int failed = ask(given, &mode);
    if (failed != 0 && errno == ENOTCONN) {
        if (!mountpoint_detach(given)) {
            log_write(
                log, CKPT_ERROR,
                "%s is the mount of a daemon that has died, and could not be cleaned up; run: "
                "fusermount3 -uz %s",
                given, given);
            return NULL;
        }
        log_write(log, CKPT_NOTICE, "%s was left mounted by a daemon that has died; cleaned up",
                  given);
        failed = ask(given, &mode);
    }
    char *path = failed != 0 ? NULL : realpath(given, NULL);
    if (path == NULL) {
        log_write(log, CKPT_ERROR, "mount point %s: %s%s%s", given, strerror(errno),
                  errno == ENOENT ? "; make it with: mkdir -p " : "", errno == ENOENT ? given : "");
        return NULL;
    }
    if (!S_ISDIR(mode)) {
        log_write(log, CKPT_ERROR, "mount point %s is not a directory; give an empty directory",
                  given);
    } else if (is_ckptfs_mount(path, store, sizeof store)) {
        log_write(log, CKPT_ERROR,
                  "%s is mounted already, with the store %s; unmount it with: fusermount3 -u %s",
                  path, store, path);
    } else {
        return path;
    }
    free(path);
    return NULL;
}

void mountpoint_read_ahead(struct log *log, dev_t device)
{
    char path[96];
    if (geteuid() != 0) {
        return;
    }
    (void)snprintf(path, sizeof path, "/sys/class/bdi/%u:%u/read_ahead_kb", major(device),
                   minor(device));
    FILE *file = fopen(path, "we");
    bool done = file != NULL && fprintf(file, "%d", READ_AHEAD_KB) > 0;
    if (file != NULL) {
        done = fclose(file) == 0 && done;
    }
    if (!done) {
        log_write(log, CKPT_WARNING, "%s could not be set: %s; cold files are read more slowly",
                  path, strerror(errno));
    }
}
