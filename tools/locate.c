#include "locate.h"
#include <ckpt/host.h>
#include <errno.h>
#include <mntent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAX_LINKS = 40, MAX_LINE = 4 * PATH_MAX };

static const char mounts_file[] = "/proc/self/mounts";
static const char mount_type[] = "fuse.ckptfs";

/* OUT = A/B, unless it would be too long. */
static bool join(char out[PATH_MAX], const char *a, const char *b)
{
    const char *slash = a[0] && a[strlen(a) - 1] != '/' && b[0] ? "/" : "";
    char joined[2 * PATH_MAX];
    int n = snprintf(joined, sizeof(joined), "%s%s%s", a, slash, b);
    if (n < 0 || n >= PATH_MAX) {
        return false;
    }
    memcpy(out, joined, (size_t)n + 1);
    return true;
}

/* Removes "." and "..", doubled and trailing slashes by their letters alone. False when ".." leads out of it. */
static bool normalise(char path[PATH_MAX])
{
    char out[PATH_MAX] = "";
    char *save = NULL;
    for (char *part = strtok_r(path, "/", &save); part; part = strtok_r(NULL, "/", &save)) {
        if (strcmp(part, ".") == 0) {
            continue;
        }
        if (strcmp(part, "..") != 0) {
            if (!join(out, out, part)) {
                return false;
            }
            continue;
        }
        if (!out[0]) {
            return false;
        }
        char *slash = strrchr(out, '/');
        *(slash ? slash : out) = '\0';
    }
    memcpy(path, out, strlen(out) + 1); /* what stands behind the string may be another one of the caller's */
    return true;
}

/* HEAD is a symbolic link to nothing: puts its target in its place. */
static bool follow(char head[PATH_MAX])
{
    char target[PATH_MAX];
    ssize_t n = readlink(head, target, sizeof(target) - 1);
    if (n <= 0) {
        return false;
    }
    target[n] = '\0';
    char *slash = strrchr(head, '/');
    if (target[0] == '/' || !slash) {
        memcpy(head, target, (size_t)n + 1);
        return true;
    }
    slash[1] = '\0';
    return join(head, head, target);
}

/* Moves the last component of HEAD to the front of TAIL. */
static bool shorten(char head[PATH_MAX], char tail[PATH_MAX])
{
    size_t n = strlen(head);
    while (n > 1 && head[n - 1] == '/') {
        head[--n] = '\0';
    }
    char *slash = strrchr(head, '/');
    if (!slash || !slash[1] || !join(tail, slash + 1, tail)) {
        return false;
    }
    slash[slash == head ? 1 : 0] = '\0';
    return true;
}

bool locate_absolute(const char *arg, char out[PATH_MAX])
{
    char head[PATH_MAX] = "";
    char tail[PATH_MAX] = "";
    char found[PATH_MAX];
    if (arg[0] != '/' && !getcwd(head, sizeof(head))) {
        return false;
    }
    if (!join(head, head, arg)) {
        return false;
    }
    /* A dead mount fails realpath with ENOTCONN, a forbidden directory with EACCES: go up for any reason. */
    for (int links = 0; !realpath(head, found);) {
        if (links < MAX_LINKS && follow(head)) {
            links++;
        } else if (!shorten(head, tail)) {
            return false;
        }
    }
    char whole[PATH_MAX];
    if (!join(whole, found, tail) || !normalise(whole)) {
        return false;
    }
    out[0] = '/';
    out[1] = '\0';
    return join(out, out, whole);
}

static bool lies_in(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    if (n > 0 && dir[n - 1] == '/') {
        n--;
    }
    return strncmp(path, dir, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

static bool same_directory(const char *a, const char *b)
{
    struct stat sa;
    struct stat sb;
    if (strcmp(a, b) == 0) {
        return true;
    }
    return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev &&
           sa.st_ino == sb.st_ino;
}

/* Calls FN for each mount in order of mounting until it returns false. */
typedef bool mount_fn(void *arg, const struct mntent *entry);

static void each_mount(mount_fn *fn, void *arg)
{
    FILE *file = setmntent(mounts_file, "re");
    char *line = malloc(MAX_LINE);
    struct mntent entry;
    while (file && line && getmntent_r(file, &entry, line, MAX_LINE) && fn(arg, &entry)) {
    }
    free(line);
    if (file) {
        endmntent(file);
    }
}

struct mount_search {
    const char *path;
    size_t length; /* of the best mount point so far */
    bool found;
    struct mount_point *mount;
};

static void take_mount(struct mount_search *search, const struct mntent *entry)
{
    search->found = strcmp(entry->mnt_type, mount_type) == 0 &&
                    strlen(entry->mnt_dir) < PATH_MAX && strlen(entry->mnt_fsname) < PATH_MAX;
    if (search->found) {
        snprintf(search->mount->dir, PATH_MAX, "%s", entry->mnt_dir);
        snprintf(search->mount->store, PATH_MAX, "%s", entry->mnt_fsname);
    }
}

/* The longest mount point above the path wins, the later one of two equals, whatever its type is. */
static bool covers_path(void *arg, const struct mntent *entry)
{
    struct mount_search *search = arg;
    size_t length = strlen(entry->mnt_dir);
    if (lies_in(search->path, entry->mnt_dir) && length >= search->length) {
        search->length = length;
        take_mount(search, entry);
    }
    return true;
}

bool locate_mount_of(const char *absolute, struct mount_point *mount)
{
    struct mount_search search = {.path = absolute, .mount = mount};
    each_mount(covers_path, &search);
    return search.found;
}

static bool shows_store(void *arg, const struct mntent *entry)
{
    struct mount_search *search = arg;
    if (strcmp(entry->mnt_type, mount_type) == 0 &&
        same_directory(entry->mnt_fsname, search->path)) {
        take_mount(search, entry);
    }
    return !search->found;
}

bool locate_mount(const char *store_dir, struct mount_point *mount)
{
    struct mount_search search = {.path = store_dir, .mount = mount};
    each_mount(shows_store, &search);
    return search.found;
}

/* --store or CKPT_STORE: a store's directory or the mount point of one. */
static int take_named_store(struct tool *tool, const char *source, const char *dir)
{
    char absolute[PATH_MAX];
    struct mount_point mount;
    if (!locate_absolute(dir, absolute)) {
        return tool_fail(tool, CKPT_ERR_INVALID, "%s: \"%s\" is no usable path", source, dir);
    }
    if (locate_mount_of(absolute, &mount)) {
        snprintf(tool->store_dir, sizeof(tool->store_dir), "%s", mount.store);
    } else if (access(absolute, F_OK) != 0) {
        return tool_fail(tool, ckpt_err_from_errno(errno),
                         "%s: cannot find the store %s: %m; \"ckpt init %s\" makes one", source,
                         absolute, dir);
    } else {
        memcpy(tool->store_dir, absolute, sizeof(absolute));
    }
    tool->store_named = true;
    return TOOL_OK;
}

static int take_store_of_paths(struct tool *tool, char *const *paths, int n)
{
    for (int i = 0; i < n; i++) {
        char absolute[PATH_MAX];
        struct mount_point mount;
        if (!locate_absolute(paths[i], absolute) || !locate_mount_of(absolute, &mount)) {
            continue;
        }
        if (tool->store_dir[0] && !same_directory(tool->store_dir, mount.store)) {
            return tool_fail(tool, CKPT_ERR_INVALID,
                             "%s lies in a mount of the store %s, a path before it in one of %s; "
                             "call ckpt once for each store",
                             paths[i], mount.store, tool->store_dir);
        }
        memcpy(tool->store_dir, mount.store, sizeof(mount.store));
    }
    return TOOL_OK;
}

int locate_store(struct tool *tool, char *const *paths, int n)
{
    if (tool->store_option) {
        return take_named_store(tool, "--store", tool->store_option);
    }
    int code = take_store_of_paths(tool, paths, n);
    if (code != TOOL_OK || tool->store_dir[0]) {
        return code;
    }
    const char *named = getenv("CKPT_STORE");
    if (named && named[0]) {
        return take_named_store(tool, "CKPT_STORE", named);
    }
    char here[] = ".";
    char *const cwd[] = {here};
    code = take_store_of_paths(tool, cwd, 1);
    if (code == TOOL_OK && !tool->store_dir[0]) {
        return tool_fail(tool, CKPT_ERR_NOT_FOUND,
                         "no store: %s%sthe current directory is in no ckptfs mount; name a path "
                         "inside a mount, or the store with --store DIR or in CKPT_STORE",
                         n > 0 ? paths[0] : "", n > 0 ? " is in no ckptfs mount, and " : "");
    }
    return code;
}

/* ARG relative to live/, letters only: views and versions are still in it. */
int locate_relative(struct tool *tool, const char *arg, char out[PATH_MAX])
{
    char absolute[PATH_MAX];
    char live[PATH_MAX];
    char top[PATH_MAX] = "";
    struct mount_point mount;
    if (!locate_absolute(arg, absolute)) {
        return tool_fail(tool, CKPT_ERR_INVALID, "\"%s\" is no usable path", arg);
    }
    if (locate_mount_of(absolute, &mount)) {
        if (!same_directory(mount.store, tool->store_dir)) {
            return tool_fail(tool, CKPT_ERR_NOT_FOUND,
                             "%s lies in a mount of the store %s, not of %s; leave out --store", arg,
                             mount.store, tool->store_dir);
        }
        memcpy(top, mount.dir, sizeof(top));
    } else if (join(live, tool->store_dir, "live") && lies_in(absolute, live)) {
        memcpy(top, live, sizeof(top));
    } else if (arg[0] != '/' && tool->store_named) {
        absolute[0] = '\0';
        if (!join(absolute, absolute, arg) || !normalise(absolute)) {
            return tool_fail(tool, CKPT_ERR_INVALID,
                             "\"%s\" leads out of the store %s; a path outside a mount is relative "
                             "to the top of the store",
                             arg, tool->store_dir);
        }
    } else {
        return tool_fail(tool, CKPT_ERR_NOT_FOUND,
                         "%s is in no mount of the store %s; give a path inside the mount, or with "
                         "--store a path relative to the top of the store",
                         arg, tool->store_dir);
    }
    size_t skip = strcmp(top, "/") == 0 ? 0 : strlen(top);
    snprintf(out, PATH_MAX, "%s", absolute + skip + (absolute[skip] == '/' ? 1 : 0));
    return TOOL_OK;
}

static bool live_stat(const struct tool *tool, const char *path, struct stat *st)
{
    return ckpt_host_fstatat(ckpt_store_livefd(tool->store), path[0] ? path : ".", st,
                             AT_SYMLINK_NOFOLLOW) == 0;
}

/* Whether PATH exists, or its catalog row says that a directory of that name did. */
bool locate_is_real(struct tool *tool, const char *path)
{
    struct stat st;
    uint64_t dir;
    uint64_t self;
    char name[NAME_MAX + 1];
    return live_stat(tool, path, &st) ||
           (ckpt_catalog_resolve(tool->store, path, &dir, name) == CKPT_OK &&
            ckpt_catalog_subdir(tool->store, dir, name, &self) == CKPT_OK);
}

/* "17" from "@v17" or "v0017": a version number with nothing after it. */
static bool parse_version(const char *text, uint32_t *number)
{
    char *end = NULL;
    if (text[0] < '0' || text[0] > '9') {
        return false;
    }
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (*end || errno || value == 0 || value > UINT32_MAX) {
        return false;
    }
    *number = (uint32_t)value;
    return true;
}

/* VIEW is the part after RUN/history: "FILE/v0003", "FILE", "". False when there can't be one. */
static bool translate_history(char run[PATH_MAX], char *view, struct target *target)
{
    char *slash = strchr(view, '/');
    if (!normalise(run)) {
        return false;
    }
    if (slash) {
        *slash = '\0';
        if (slash[1] != 'v' || !parse_version(slash + 2, &target->version)) {
            return false;
        }
    }
    return join(target->path, run, view);
}

/*
 * Replaces RUN/.ckpt/history/FILE/v0003 (and RUN/history/..., unless that is a real directory) by RUN/FILE and
 * the version. False when such a path makes no sense.
 */
static bool resolve_history(struct tool *tool, struct target *target)
{
    char run[PATH_MAX];
    memcpy(run, target->path, sizeof(run));
    char *hidden = NULL; /* where .ckpt begins, when that was the component before */
    for (char *at = run; *at;) {
        size_t n = strcspn(at, "/");
        char *rest = at + n + (at[n] ? 1 : 0);
        char slash = at[n];
        at[n] = '\0';
        if (strcmp(at, "history") == 0 && (hidden || !locate_is_real(tool, run))) {
            *(hidden ? hidden : at) = '\0';
            return translate_history(run, rest, target);
        }
        if (hidden) {
            return false;
        }
        hidden = strcmp(at, ".ckpt") == 0 ? at : NULL;
        at[n] = slash;
        at = rest;
    }
    if (hidden) { /* .ckpt itself stands for its run */
        *hidden = '\0';
        return normalise(run) && join(target->path, run, "");
    }
    return true;
}

static void look_up(struct tool *tool, struct target *target)
{
    struct stat st;
    struct ckpt_file file;
    bool exists = live_stat(tool, target->path, &st);
    target->known =
        ckpt_catalog_resolve(tool->store, target->path, &target->dir, target->name) == CKPT_OK;
    target->is_dir = exists && S_ISDIR(st.st_mode);
    target->exists = exists;
    if (!target->known) {
        return;
    }
    target->self = target->dir;
    target->self_known =
        !target->name[0] ||
        ckpt_catalog_subdir(tool->store, target->dir, target->name, &target->self) == CKPT_OK;
    target->captured = target->name[0] && ckpt_catalog_file(tool->store, target->dir, target->name,
                                                            &file) == CKPT_OK;
    if (!exists) {
        target->is_dir = target->self_known && !target->captured;
    }
}

void locate_at(struct tool *tool, const char *path, struct target *target)
{
    *target = (struct target){.arg = path};
    snprintf(target->path, sizeof target->path, "%s", path);
    look_up(tool, target);
}

static int find(struct tool *tool, const char *arg, struct target *target)
{
    int code = locate_relative(tool, arg, target->path);
    if (code != TOOL_OK) {
        return code;
    }
    if (!resolve_history(tool, target)) {
        return tool_fail(tool, CKPT_ERR_NOT_FOUND,
                         "%s is no run, and no version; versions are RUN/.ckpt/history/FILE/vNNNN", arg);
    }
    look_up(tool, target);
    return TOOL_OK;
}

/* "PATH@v17": PATH into BASE. */
static bool split_version(const char *arg, char base[PATH_MAX], uint32_t *number)
{
    const char *at = NULL;
    for (const char *p = arg; (p = strstr(p, "@v")); p++) {
        at = p;
    }
    if (!at || at == arg || at - arg >= PATH_MAX || !parse_version(at + 2, number)) {
        return false;
    }
    memcpy(base, arg, (size_t)(at - arg));
    base[at - arg] = '\0';
    return true;
}

int locate_target(struct tool *tool, const char *arg, struct target *target)
{
    char base[PATH_MAX];
    uint32_t number;
    *target = (struct target){.arg = arg};
    int code = find(tool, arg, target);
    if (code != TOOL_OK || target->exists || target->captured ||
        !split_version(arg, base, &number)) {
        return code;
    }
    *target = (struct target){.arg = arg};
    code = find(tool, base, target);
    target->version = number;
    return code;
}
