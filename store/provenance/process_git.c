/*
 * The commit that a directory stands at, from the files of git (gitrepository-layout(5)):
 *
 *     .git                 a directory, or a file "gitdir: PATH" (work trees, submodules)
 *     GITDIR/HEAD          "ref: refs/heads/main", or a commit
 *     GITDIR/commondir     of a work tree: where the refs are, relative to GITDIR
 *     COMMON/refs/...      a commit each, or "ref: ..."
 *     COMMON/packed-refs   lines "COMMIT refs/heads/main"; those of files go first
 *
 * The directory is another's, and may hold anything: paths are walked a name at a time without following symbolic links, only
 * regular files of bounded size are read, and only digits and the name of a branch come out.
 */
#include "process.h"
#include <ckpt/host.h>
#include <ctype.h>
#include <string.h>
#include <stdio.h>
#include <unistd.h>

enum {
    LINE = 4096 + 64,           /* of HEAD, a ref, .git, commondir */
    PACKED_MAX = 16 << 20,      /* bytes of packed-refs that are looked at */
    PACKED_STEP = 64 << 10,
    REF_DEPTH = 5,              /* as git */
    COMPONENTS = 256,
};

/* ---- paths ---- */

/* Called with each directory on the way, the last one included. */
typedef void visit_fn(void *arg, const char *path, size_t n, int dir);

/* Whether the first N bytes of PATH are the mount point. */
static bool is_mountpoint(const struct ckpt_process_host *host, const char *path, size_t n)
{
    return host->mountpoint != NULL && strlen(host->mountpoint) == n && n > 1 &&
           memcmp(host->mountpoint, path, n) == 0;
}

/* The directory PATH, which is absolute, has no "." nor "..", and no symbolic links; a descriptor for reading names, or -1. */
static int walk(const char *path, const struct ckpt_process_host *host, visit_fn *visit, void *arg)
{
    const int flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    char name[NAME_MAX + 1];
    if (path[0] != '/') {
        return -1;
    }
    int dir = ckpt_host_openat(AT_FDCWD, "/", flags, 0);
    const char *p = path;
    for (unsigned i = 0; dir >= 0; i++) {
        if (visit != NULL) {
            visit(arg, path, p == path ? 1 : (size_t)(p - path), dir);
        }
        p += strspn(p, "/");
        size_t n = strcspn(p, "/");
        if (n == 0) {
            return dir;
        }
        int next = -1;
        if (n <= NAME_MAX && i < COMPONENTS) {
            (void)snprintf(name, sizeof name, "%.*s", (int)n, p);
            next = is_mountpoint(host, path, (size_t)(p + n - path))
                       ? ckpt_host_openat(host->livefd, ".", flags, 0)
                       : ckpt_host_openat(dir, name, flags, 0);
        }
        ckpt_host_close(dir);
        dir = next;
        p += n;
    }
    return -1;
}

/* BASE/PATH or PATH, with "." and ".." taken out, as nothing on the way is a symbolic link. */
static bool join(const char *base, const char *path, char out[PATH_MAX])
{
    char both[2 * PATH_MAX];
    size_t n = 0;
    if (strlen(base) >= PATH_MAX || strlen(path) >= PATH_MAX) {
        return false;
    }
    (void)snprintf(both, sizeof both, "%s/%s", path[0] == '/' ? "" : base, path);
    for (const char *p = both; *(p += strspn(p, "/")) != '\0';) {
        size_t length = strcspn(p, "/");
        if (length == 2 && memcmp(p, "..", 2) == 0) {
            while (n > 0 && out[--n] != '/') {
            }
        } else if (length != 1 || *p != '.') {
            if (n + 1 + length >= PATH_MAX) {
                return false;
            }
            out[n++] = '/';
            memcpy(out + n, p, length);
            n += length;
        }
        p += length;
    }
    if (n == 0) {
        out[n++] = '/';
    }
    out[n] = '\0';
    return true;
}

/* ---- files ---- */

/* A regular file for reading, or -1. One that is none isn't opened: that could wait, or do things. */
static int open_file(int dir, const char *name)
{
    struct stat st;
    if (ckpt_host_fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode)) {
        return -1;
    }
    int fd = ckpt_host_openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0);
    if (fd >= 0 && (ckpt_host_fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))) {
        ckpt_host_close(fd);
        return -1;
    }
    return fd;
}

/* The first line of a file, without what is white at its end. */
static bool read_line(int dir, const char *name, char line[LINE])
{
    int fd = open_file(dir, name);
    ssize_t n = fd < 0 ? -1 : ckpt_host_read_all(fd, line, LINE - 1, 0);
    ckpt_host_close(fd);
    if (n <= 0) {
        return false;
    }
    line[n] = '\0';
    size_t length = strcspn(line, "\n");
    while (length > 0 && isspace((unsigned char)line[length - 1])) {
        length--;
    }
    line[length] = '\0';
    return length > 0;
}

/* What stands behind PREFIX, or NULL. */
static const char *behind(const char *line, const char *prefix)
{
    size_t n = strlen(prefix);
    if (strncmp(line, prefix, n) != 0) {
        return NULL;
    }
    return line + n + strspn(line + n, " \t");
}

/* A commit and nothing else. */
static bool take_commit(const char *text, size_t n, struct ckpt_git *git)
{
    if ((n != 40 && n != 64) || strspn(text, "0123456789abcdef") < n) {
        return false;
    }
    memcpy(git->commit, text, n);
    git->commit[n] = '\0';
    return true;
}

/* "refs/...": a path that stays where it is. */
static bool is_ref(const char *ref)
{
    size_t n = strlen(ref);
    return n < CKPT_GIT_BRANCH && strncmp(ref, "refs/", 5) == 0 && strstr(ref, "..") == NULL &&
           strstr(ref, "//") == NULL && ref[n - 1] != '/';
}

/* ---- refs ---- */

struct repository {
    const struct ckpt_process_host *host;
    char own[PATH_MAX];    /* of the work tree */
    char common[PATH_MAX]; /* of all of them */
};

/* The line of the file that PATH names below the directory BASE. */
static bool read_below(const struct repository *repository, const char *base, const char *path, char line[LINE])
{
    char whole[PATH_MAX];
    if (!join(base, path, whole)) {
        return false;
    }
    char *name = strrchr(whole, '/');
    *name++ = '\0';
    int dir = walk(whole[0] == '\0' ? "/" : whole, repository->host, NULL, NULL);
    bool done = dir >= 0 && read_line(dir, name, line);
    ckpt_host_close(dir);
    return done;
}

/* Finds "COMMIT REF\n" among the lines of TEXT; gives the bytes of whole lines. */
static size_t search_lines(const char *text, size_t n, const char *ref, struct ckpt_git *git)
{
    size_t at = 0;
    const char *end = NULL;
    while (git->commit[0] == '\0' && (end = memchr(text + at, '\n', n - at)) != NULL) {
        const char *line = text + at;
        const char *space = memchr(line, ' ', (size_t)(end - line));
        size_t length = strlen(ref);
        if (space != NULL && (size_t)(end - space - 1) == length && memcmp(space + 1, ref, length) == 0) {
            (void)take_commit(line, (size_t)(space - line), git);
        }
        at = (size_t)(end + 1 - text);
    }
    return at;
}

static void search_packed(const struct repository *repository, const char *ref, struct ckpt_git *git)
{
    char text[PACKED_STEP];
    off_t at = 0;
    int dir = walk(repository->common, repository->host, NULL, NULL);
    int fd = dir < 0 ? -1 : open_file(dir, "packed-refs");
    while (fd >= 0 && at < PACKED_MAX && git->commit[0] == '\0') {
        ssize_t n = ckpt_host_read_all(fd, text, sizeof text, at);
        size_t used = n <= 0 ? 0 : search_lines(text, (size_t)n, ref, git);
        if (used == 0) {
            break;
        }
        at += (off_t)used;
    }
    ckpt_host_close(fd);
    ckpt_host_close(dir);
}

static void follow_head(const struct repository *repository, struct ckpt_git *git)
{
    char line[LINE];
    char ref[CKPT_GIT_BRANCH];
    bool found = read_below(repository, repository->own, "HEAD", line);
    for (unsigned depth = 0; found && depth < REF_DEPTH; depth++) {
        const char *target = behind(line, "ref:");
        if (target == NULL) {
            (void)take_commit(line, strlen(line), git);
            return;
        }
        if (!is_ref(target)) {
            return;
        }
        (void)snprintf(ref, sizeof ref, "%s", target);
        const char *branch = behind(ref, "refs/heads/");
        if (depth == 0 && branch != NULL) {
            (void)snprintf(git->branch, sizeof git->branch, "%s", branch);
        }
        found = read_below(repository, repository->own, ref, line) ||
                read_below(repository, repository->common, ref, line);
        if (!found) {
            search_packed(repository, ref, git);
        }
    }
}

/* ---- where it is ---- */

/* The nearest directory with a ".git" so far. */
struct nearest {
    char path[PATH_MAX];
    bool found;
};

static void note_git(void *arg, const char *path, size_t n, int dir)
{
    struct nearest *nearest = arg;
    struct stat st;
    if (n < sizeof nearest->path && ckpt_host_fstatat(dir, ".git", &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        (S_ISDIR(st.st_mode) || S_ISREG(st.st_mode))) {
        memcpy(nearest->path, path, n);
        nearest->path[n] = '\0';
        nearest->found = true;
    }
}

static bool find_repository(const char *worktree, struct repository *repository)
{
    char line[LINE];
    bool file = read_below(repository, worktree, ".git", line);
    const char *target = file ? behind(line, "gitdir:") : ".git";
    if (target == NULL || !join(worktree, target, repository->own)) {
        return false;
    }
    const char *common = read_below(repository, repository->own, "commondir", line) ? line : ".";
    return join(repository->own, common, repository->common);
}

void ckpt_git_read(const char *directory, const struct ckpt_process_host *host, struct ckpt_git *git)
{
    struct nearest nearest = {.found = false};
    struct repository repository = {.host = host};
    memset(git, 0, sizeof *git);
    ckpt_host_close(walk(directory, host, note_git, &nearest));
    if (nearest.found && find_repository(nearest.path, &repository)) {
        follow_head(&repository, git);
    }
}
