/*
 * Verify, the part that looks at live/: every name of a cold file has a version with its bytes
 * (DESIGN.md, "Catalog").
 *
 * The daemon may be at work meanwhile: files are renamed, made hot, and then their versions
 * forgotten. So what looks wrong counts only if the name still stands for the same cold file
 * afterwards.
 */
#include "common/live.h"
#include "object/internal.h"
#include "verify_parts.h"
#include <ckpt/catalog.h>
#include <ckpt/host.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { LOOKS = 3 };

struct search {
    const struct ckpt_stub *stub;
    bool found;
};

static bool has_bytes(void *arg, const struct ckpt_version *version)
{
    struct search *search = arg;
    search->found = ckpt_id_equal(&version->recipe, &search->stub->recipe) &&
                    version->size == search->stub->size;
    return !search->found;
}

/* *BACKED: a version of NAME has the stub's bytes. An error says nothing about that. */
static enum ckpt_err is_backed(struct ckpt_verify *v, int dirfd, const char *name,
                               const struct ckpt_stub *stub, bool *backed)
{
    uint64_t dir = CKPT_DIR_ROOT;
    struct search search = {.stub = stub};
    enum ckpt_err err = ckpt_live_dir_id(v->store, dirfd, &dir);
    if (err == CKPT_OK) {
        err = ckpt_catalog_each_version(v->store, dir, name, has_bytes, &search);
    }
    *backed = search.found;
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

/* Where NAME in DIRFD stands below live/, for a report. */
static const char *label_of(struct ckpt_verify *v, int dirfd, const char *name, char *label)
{
    char path[PATH_MAX];
    if (ckpt_live_path(v->store, dirfd, path) != CKPT_OK) {
        strcpy(path, "...");
    }
    (void)snprintf(label, CKPT_VERIFY_LABEL, "%s%s%s", path, path[0] == '\0' ? "" : "/", name);
    return label;
}

/* Not in the frame of walk, which goes as deep as live/ does. */
static __attribute__((noinline)) void unchecked(struct ckpt_verify *v, int dirfd, const char *name,
                                                const char *why)
{
    char label[CKPT_VERIFY_LABEL];
    ckpt_verify_problem(v, "live/%s could not be checked: %s", label_of(v, dirfd, name, label),
                        why);
}

static bool still_named(int dirfd, const char *name, int fd)
{
    struct stat st;
    struct stat named;
    return ckpt_host_fstat(fd, &st) == 0 &&
           ckpt_host_fstatat(dirfd, name, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
           named.st_ino == st.st_ino && named.st_dev == st.st_dev;
}

static __attribute__((noinline)) void check_file(struct ckpt_verify *v, int dirfd, const char *name)
{
    struct ckpt_stub stub;
    char label[CKPT_VERIFY_LABEL];
    bool cold = false;
    enum ckpt_err err = CKPT_OK;
    int fd = ckpt_host_openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd < 0) {
        if (errno != ENOENT) {
            unchecked(v, dirfd, name, strerror(errno));
        }
        return;
    }
    bool wrong = true;
    for (int look = 0; wrong && look < LOOKS; look++) {
        bool backed = true;
        err = ckpt_live_stub(fd, &stub, &cold);
        if (look == 0 && err == CKPT_OK && cold) {
            v->result.stubs++;
        }
        if (err == CKPT_OK && cold) {
            err = is_backed(v, dirfd, name, &stub, &backed);
        }
        if (err != CKPT_OK && err != CKPT_ERR_CORRUPT) {
            break; /* not a matter of the moment */
        }
        wrong = (err != CKPT_OK || !backed) && still_named(dirfd, name, fd);
    }
    if (wrong && err == CKPT_ERR_CORRUPT) {
        ckpt_verify_problem(v, "live/%s carries a damaged mark of a cold file",
                            label_of(v, dirfd, name, label));
    } else if (wrong && err != CKPT_OK) {
        unchecked(v, dirfd, name, ckpt_err_text(err));
    } else if (wrong) {
        ckpt_verify_problem(v, "live/%s is cold and no version of it has its bytes",
                            label_of(v, dirfd, name, label));
    }
    ckpt_host_close(fd);
}

static void walk(struct ckpt_verify *v, int parent, const char *name);

static void check_entry(struct ckpt_verify *v, int dirfd, const char *name)
{
    struct stat st;
    if (ckpt_host_fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno != ENOENT) {
            unchecked(v, dirfd, name, strerror(errno));
        }
    } else if (S_ISREG(st.st_mode)) {
        check_file(v, dirfd, name);
    } else if (S_ISDIR(st.st_mode)) {
        walk(v, dirfd, name);
    }
}

static void walk(struct ckpt_verify *v, int parent, const char *name)
{
    int fd = ckpt_host_openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (stream == NULL) {
        if (errno != ENOENT && errno != ENOTDIR && errno != ELOOP) { /* gone, or replaced */
            unchecked(v, parent, name, strerror(errno));
        }
        ckpt_host_close(fd);
        return;
    }
    const struct dirent *entry = NULL;
    while ((entry = ckpt_host_readdir(stream)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            check_entry(v, fd, entry->d_name);
        }
    }
    if (errno != 0) {
        unchecked(v, parent, name, strerror(errno));
    }
    (void)closedir(stream);
}

void ckpt_verify_live(struct ckpt_verify *v)
{
    walk(v, ckpt_store_livefd(v->store), ".");
}
