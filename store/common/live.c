#include "live.h"
#include <ckpt/host.h>
#include <ckpt/live.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#define COLD_ATTRIBUTE CKPT_XATTR_PREFIX "cold"
#define DIR_ATTRIBUTE  CKPT_XATTR_PREFIX "dir"

/*
 * The attribute of a stub (FORMAT.md, "Extended attributes below live/"):
 *
 *     0   4  magic "CKC1"
 *     4  16  recipe id
 *    20   8  file size, little-endian
 *    28   8  stored bytes, little-endian
 */
enum { COLD_SIZE = 36, COLD_ID = 4, COLD_FILE_SIZE = 20, COLD_STORED = 28 };
static const char cold_magic[4] = "CKC1";

static uint64_t load64(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--) {
        v = v << 8 | p[i];
    }
    return v;
}

static void store64(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++) {
        p[i] = (uint8_t)(v >> (8 * i));
    }
}

enum ckpt_err ckpt_live_stub(int fd, struct ckpt_stub *stub, bool *cold)
{
    uint8_t value[COLD_SIZE + 1];
    ssize_t n = ckpt_host_fgetxattr(fd, COLD_ATTRIBUTE, value, sizeof value);
    if (n < 0 && errno == ENODATA) {
        *cold = false;
        return CKPT_OK;
    }
    if (n < 0 && errno != ERANGE) {
        return ckpt_err_from_errno(errno);
    }
    if (n != COLD_SIZE || memcmp(value, cold_magic, sizeof cold_magic) != 0) {
        return CKPT_ERR_CORRUPT;
    }
    struct stat st;
    if (ckpt_host_fstat(fd, &st) != 0) {
        return ckpt_err_from_errno(errno);
    }
    struct ckpt_stub found = {.size = load64(value + COLD_FILE_SIZE),
                              .stored = load64(value + COLD_STORED)};
    memcpy(found.recipe.bytes, value + COLD_ID, CKPT_ID_SIZE);
    /* Being emptied when something stopped it: the truncation counts, the attribute doesn't. */
    *cold = !(st.st_size == 0 && found.size != 0);
    if (*cold && (uint64_t)st.st_size != found.size) {
        return CKPT_ERR_CORRUPT;
    }
    *stub = found;
    return CKPT_OK;
}

enum ckpt_err ckpt_live_set_stub(int fd, const struct ckpt_stub *stub)
{
    uint8_t value[COLD_SIZE];
    memcpy(value, cold_magic, sizeof cold_magic);
    memcpy(value + COLD_ID, stub->recipe.bytes, CKPT_ID_SIZE);
    store64(value + COLD_FILE_SIZE, stub->size);
    store64(value + COLD_STORED, stub->stored);
    if (ckpt_host_fsetxattr(fd, COLD_ATTRIBUTE, value, sizeof value, 0) != 0) {
        return ckpt_err_from_errno(errno);
    }
    return CKPT_OK;
}

enum ckpt_err ckpt_live_clear_stub(int fd)
{
    if (ckpt_host_fremovexattr(fd, COLD_ATTRIBUTE) != 0 && errno != ENODATA) {
        return ckpt_err_from_errno(errno);
    }
    return CKPT_OK;
}

static int64_t ns_of(struct timespec t)
{
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

struct ckpt_stamp ckpt_stamp_of(const struct stat *st)
{
    return (struct ckpt_stamp){.ino = st->st_ino,
                               .size = (uint64_t)st->st_size,
                               .mtime_ns = ns_of(st->st_mtim),
                               .ctime_ns = ns_of(st->st_ctim)};
}

bool ckpt_stamp_equal(const struct ckpt_stamp *a, const struct ckpt_stamp *b)
{
    return a->ino == b->ino && a->size == b->size && a->mtime_ns == b->mtime_ns &&
           a->ctime_ns == b->ctime_ns && a->ctime_ns != 0;
}

enum ckpt_err ckpt_live_dir_id(struct ckpt_store *store, int fd, uint64_t *id)
{
    struct stat st;
    struct stat root;
    if (ckpt_host_fstat(fd, &st) != 0 || ckpt_host_fstat(ckpt_store_livefd(store), &root) != 0) {
        return ckpt_err_from_errno(errno);
    }
    if (st.st_dev == root.st_dev && st.st_ino == root.st_ino) {
        *id = CKPT_DIR_ROOT;
        return CKPT_OK;
    }
    char text[17] = "";
    ssize_t n = ckpt_host_fgetxattr(fd, DIR_ATTRIBUTE, text, sizeof text);
    if (n < 0) {
        return errno == ENODATA ? CKPT_ERR_NOT_FOUND : ckpt_err_from_errno(errno);
    }
    char *end = NULL;
    uint64_t value = strtoull(text, &end, 16);
    if (n != 16 || end != text + 16 || value == CKPT_DIR_ROOT) {
        return CKPT_ERR_CORRUPT;
    }
    *id = value;
    return CKPT_OK;
}

enum ckpt_err ckpt_live_set_dir_id(int fd, uint64_t id)
{
    char text[17];
    snprintf(text, sizeof text, "%016" PRIx64, id);
    if (ckpt_host_fsetxattr(fd, DIR_ATTRIBUTE, text, 16, 0) != 0) {
        return ckpt_err_from_errno(errno);
    }
    return CKPT_OK;
}

/* The kernel tells where a descriptor stands; it follows renames, of parents too. */
static enum ckpt_err host_path(int fd, char *path)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = ckpt_host_readlinkat(AT_FDCWD, link, path, PATH_MAX);
    if (n >= PATH_MAX || (n < 0 && errno == ENAMETOOLONG)) {
        return CKPT_ERR_UNSUPPORTED;
    }
    if (n < 0) {
        return ckpt_err_from_errno(errno);
    }
    path[n] = '\0';
    return CKPT_OK;
}

enum ckpt_err ckpt_live_path(struct ckpt_store *store, int fd, char *path)
{
    char here[PATH_MAX];
    char root[PATH_MAX];
    enum ckpt_err err = host_path(fd, here);
    if (err == CKPT_OK) {
        err = host_path(ckpt_store_livefd(store), root);
    }
    if (err != CKPT_OK) {
        return err;
    }
    size_t prefix = strlen(root);
    if (strncmp(here, root, prefix) != 0 || (here[prefix] != '/' && here[prefix] != '\0')) {
        return CKPT_ERR_NOT_FOUND;
    }
    const char *relative = here[prefix] == '/' ? here + prefix + 1 : "";
    /* A file without a name shows its last one with " (deleted)", which a file may be called as well. */
    struct stat named;
    struct stat st;
    if (ckpt_host_fstat(fd, &st) != 0) {
        return ckpt_err_from_errno(errno);
    }
    if (*relative != '\0') {
        if (ckpt_host_fstatat(ckpt_store_livefd(store), relative, &named, AT_SYMLINK_NOFOLLOW) != 0) {
            return errno == ENOTDIR ? CKPT_ERR_NOT_FOUND : ckpt_err_from_errno(errno);
        }
        if (named.st_ino != st.st_ino || named.st_dev != st.st_dev) {
            return CKPT_ERR_NOT_FOUND;
        }
    }
    memmove(path, relative, strlen(relative) + 1);
    return CKPT_OK;
}

/* One attribute from one file to another, whatever its size. */
static enum ckpt_err copy_attribute(int from, int to, const char *name)
{
    enum { MAX_VALUE = 65536 };
    char *value = malloc(MAX_VALUE);
    if (value == NULL) {
        return CKPT_ERR_NOMEM;
    }
    enum ckpt_err err = CKPT_OK;
    ssize_t n = ckpt_host_fgetxattr(from, name, value, MAX_VALUE);
    if (n < 0) {
        err = errno == ENODATA ? CKPT_OK : ckpt_err_from_errno(errno);
    } else if (ckpt_host_fsetxattr(to, name, value, (size_t)n, 0) != 0) {
        err = ckpt_err_from_errno(errno);
    }
    free(value);
    return err;
}

static enum ckpt_err copy_attributes(int from, int to)
{
    enum { MAX_LIST = 65536 };
    char *list = malloc(MAX_LIST);
    if (list == NULL) {
        return CKPT_ERR_NOMEM;
    }
    enum ckpt_err err = CKPT_OK;
    ssize_t n = ckpt_host_flistxattr(from, list, MAX_LIST);
    if (n < 0) {
        err = ckpt_err_from_errno(errno);
    }
    for (char *name = list; err == CKPT_OK && name < list + n; name += strlen(name) + 1) {
        if (strcmp(name, COLD_ATTRIBUTE) != 0) {
            err = copy_attribute(from, to, name);
        }
    }
    free(list);
    return err;
}

enum ckpt_err ckpt_live_copy_metadata(int from, int to)
{
    struct stat st;
    if (ckpt_host_fstat(from, &st) != 0) {
        return ckpt_err_from_errno(errno);
    }
    struct stat target;
    if (ckpt_host_fstat(to, &target) != 0) {
        return ckpt_err_from_errno(errno);
    }
    if ((target.st_uid != st.st_uid || target.st_gid != st.st_gid) &&
        ckpt_host_fchown(to, st.st_uid, st.st_gid) != 0) {
        return ckpt_err_from_errno(errno);
    }
    enum ckpt_err err = copy_attributes(from, to);
    if (err != CKPT_OK) {
        return err;
    }
    struct timespec times[2] = {st.st_atim, st.st_mtim};
    if (ckpt_host_fchmod(to, st.st_mode & 07777) != 0 || ckpt_host_futimens(to, times) != 0) {
        return ckpt_err_from_errno(errno);
    }
    return CKPT_OK;
}

bool ckpt_live_lease(int fd)
{
    /* A writer that comes while the lease is held waits for us; the signal that tells us is one that
       is ignored by default. */
    (void)fcntl(fd, F_SETSIG, SIGURG);
    if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0) {
        return true;
    }
    /* Not every host has leases; without one the stamps have to do. */
    return errno != EAGAIN;
}

void ckpt_live_unlease(int fd)
{
    (void)fcntl(fd, F_SETLEASE, F_UNLCK);
}

void ckpt_split_path(const char *path, char *parent, const char **name)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        strcpy(parent, ".");
        *name = path;
        return;
    }
    memcpy(parent, path, (size_t)(slash - path));
    parent[slash - path] = '\0';
    *name = slash + 1;
}
