#include "common/text.h"
#include "recognise/recognise.h"
#include "sources_walk.h"
#include <ckpt/host.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH = 3, MLFLOW_DEPTH = 5 };

/* Directories of loggers that stand beside those of checkpoints: what frameworks make by default, and what
   their documentation calls them. "metrics" is MLflow's, beside artifacts/. */
static const char *const logger_directories[] = {
    "logs",   "log",  "csv_logs",    "tb_logs", "lightning_logs", "mlruns", "wandb",
    "events", "runs", "tensorboard", "tb",      "metrics",
};

/* ---- names ---- */

static bool ends_with_one(const char *text, const char *const *ends, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (ckpt_ends_with(text, ends[i])) {
            return true;
        }
    }
    return false;
}

enum ckpt_walk_what ckpt_walk_what(const char *path)
{
    static const char *const tables[] = {".csv", ".log", ".jsonl"};
    static const char *const foreign[] = {".pt", ".pth", ".safetensors", ".pdparams"};
    struct ckpt_recognised r;
    ckpt_recognise(ckpt_last_component(path), false, &r);
    if (r.role == CKPT_ROLE_TEMPORARY) {
        return CKPT_WALK_OTHER;
    }
    if (r.metrics == CKPT_LOGS_NONE) {
        ckpt_recognise(path, false, &r); /* MLflow's say it by their directories */
    }
    if (r.metrics != CKPT_LOGS_NONE || ends_with_one(path, tables, sizeof tables / sizeof tables[0])) {
        return CKPT_WALK_METRICS;
    }
    return ends_with_one(path, foreign, sizeof foreign / sizeof foreign[0]) ? CKPT_WALK_FOREIGN
                                                                            : CKPT_WALK_OTHER;
}

/* ---- reach ---- */

int ckpt_walk_above(const char *run, unsigned n)
{
    size_t length = strlen(run);
    for (; n > 0; n--) {
        if (length == 0) {
            return -1;
        }
        const char *slash = memrchr(run, '/', length);
        length = slash == NULL ? 0 : (size_t)(slash - run);
    }
    return (int)length;
}

/* What follows the first LENGTH bytes of BASE and a slash in PATH; NULL: it isn't below. */
static const char *below(const char *base, size_t length, const char *path)
{
    if (length == 0) {
        return path;
    }
    return strncmp(base, path, length) == 0 && path[length] == '/' ? path + length + 1 : NULL;
}

static bool component_is(const char *component, const char *word)
{
    size_t n = strlen(word);
    return strncmp(component, word, n) == 0 && component[n] == '/';
}

static bool is_logger_directory(const char *component)
{
    for (size_t i = 0; i < sizeof logger_directories / sizeof logger_directories[0]; i++) {
        if (component_is(component, logger_directories[i])) {
            return true;
        }
    }
    return false;
}

/* Whether PATH, relative to a run or to a directory above it, names a file within a checkpoint. */
static bool in_checkpoint(const char *path)
{
    struct ckpt_recognised r;
    ckpt_recognise(path, false, &r);
    return r.has_root && r.directory && r.root_size > 0 && r.root_at + r.root_size < strlen(path);
}

static bool is_within(const char *path)
{
    unsigned limit = DEPTH;
    unsigned depth = 0;
    const char *at = path;
    for (const char *slash = strchr(at, '/'); slash != NULL; slash = strchr(at, '/')) {
        depth++;
        limit = component_is(at, "mlruns") ? depth + MLFLOW_DEPTH : limit;
        at = slash + 1;
    }
    return depth <= limit && !in_checkpoint(path);
}

bool ckpt_walk_reaches(const char *run, unsigned above, const char *path)
{
    const char *rest = below(run, strlen(run), path);
    if (rest != NULL) {
        return is_within(rest);
    }
    for (unsigned n = 1; n <= above; n++) {
        int length = ckpt_walk_above(run, n);
        rest = length < 0 ? NULL : below(run, (size_t)length, path);
        if (rest != NULL && (strchr(rest, '/') == NULL || (is_logger_directory(rest) && is_within(rest)))) {
            return true;
        }
    }
    return false;
}

/* ---- the host ---- */

int ckpt_walk_open(int dirfd, const char *path, int flags)
{
    char name[NAME_MAX + 1];
    int fd = dirfd;
    const char *at = *path == '\0' ? "." : path;
    for (;;) {
        size_t n = strcspn(at, "/");
        bool last = at[n] == '\0';
        int next = -1;
        if (n == 0 || n > NAME_MAX || (n == 2 && memcmp(at, "..", n) == 0)) {
            errno = n > NAME_MAX ? ENAMETOOLONG : EINVAL;
        } else {
            memcpy(name, at, n);
            name[n] = '\0';
            next =
                ckpt_host_openat(fd, name, (last ? flags : O_PATH | O_DIRECTORY) | O_NOFOLLOW | O_CLOEXEC, 0);
        }
        int failed = errno;
        if (fd != dirfd) {
            ckpt_host_close(fd);
        }
        if (next < 0 || last) {
            errno = failed;
            return next;
        }
        fd = next;
        at += n + 1;
    }
}

struct walk {
    int livefd;
    const char *run;
    unsigned above;
    size_t base; /* length of the path that the walk started at */
    size_t left; /* entries */
    ckpt_walk_fn *fn;
    void *arg;
    char path[PATH_MAX];
};

struct entry {
    char *name;
    bool directory;
};

struct listing {
    struct entry *entries;
    size_t count;
    size_t capacity;
};

static void listing_clear(struct listing *listing)
{
    for (size_t i = 0; i < listing->count; i++) {
        free(listing->entries[i].name);
    }
    free(listing->entries);
}

static enum ckpt_err listing_add(struct listing *listing, const char *name, bool directory)
{
    if (listing->count == listing->capacity) {
        size_t capacity = listing->capacity == 0 ? 16 : 2 * listing->capacity;
        struct entry *entries = realloc(listing->entries, capacity * sizeof *entries);
        if (entries == NULL) {
            return CKPT_ERR_NOMEM;
        }
        listing->entries = entries;
        listing->capacity = capacity;
    }
    char *copy = strdup(name);
    if (copy == NULL) {
        return CKPT_ERR_NOMEM;
    }
    listing->entries[listing->count++] = (struct entry){copy, directory};
    return CKPT_OK;
}

/* The files and directories in walk->path, as far as the walk may still look. */
static enum ckpt_err list(struct walk *walk, struct listing *listing)
{
    int fd = ckpt_walk_open(walk->livefd, walk->path, O_RDONLY | O_DIRECTORY);
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    if (stream == NULL) {
        ckpt_host_close(fd);
        return CKPT_OK;
    }
    enum ckpt_err err = CKPT_OK;
    const struct dirent *entry = NULL;
    while (err == CKPT_OK && walk->left > 0 && (entry = ckpt_host_readdir(stream)) != NULL) {
        unsigned char type = entry->d_type;
        struct stat st;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        walk->left--;
        if (type == DT_UNKNOWN && ckpt_host_fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
            type = (unsigned char)IFTODT(st.st_mode);
        }
        if (type == DT_DIR || type == DT_REG) {
            err = listing_add(listing, entry->d_name, type == DT_DIR);
        }
    }
    (void)closedir(stream);
    return err;
}

/* Appends NAME to walk->path; the length before, or -1 when it is too long. */
static int push(struct walk *walk, const char *name)
{
    size_t length = strlen(walk->path);
    int n = snprintf(walk->path + length, sizeof walk->path - length, "%s%s", length == 0 ? "" : "/", name);
    if (n < 0 || (size_t)n >= sizeof walk->path - length) {
        walk->path[length] = '\0';
        return -1;
    }
    return (int)length;
}

/* walk->path relative to where the walk started. */
static const char *relative(const struct walk *walk)
{
    return walk->path + walk->base + (walk->base > 0 && walk->path[walk->base] == '/' ? 1 : 0);
}

/* Whether one of the files says that the directory, below the walk's start, is a checkpoint. */
static bool tells_checkpoint(struct walk *walk, const struct listing *listing)
{
    bool tells = false;
    if (strlen(walk->path) == walk->base) {
        return false;
    }
    for (size_t i = 0; i < listing->count && !tells; i++) {
        int length = listing->entries[i].directory ? -1 : push(walk, listing->entries[i].name);
        if (length >= 0) {
            tells = in_checkpoint(relative(walk));
            walk->path[length] = '\0';
        }
    }
    return tells;
}

static enum ckpt_err visit(struct walk *walk);

static enum ckpt_err visit_entry(struct walk *walk, const struct entry *entry)
{
    enum ckpt_err err = CKPT_OK;
    int length = push(walk, entry->name);
    if (length < 0) {
        return CKPT_OK;
    }
    if (!entry->directory) {
        enum ckpt_walk_what what = ckpt_walk_what(walk->path);
        if (what != CKPT_WALK_OTHER && ckpt_walk_reaches(walk->run, walk->above, walk->path)) {
            err = walk->fn(walk->arg, walk->path, what);
        }
    } else if (push(walk, "x") >= 0) {
        bool reaches = ckpt_walk_reaches(walk->run, walk->above, walk->path);
        walk->path[strlen(walk->path) - 2] = '\0';
        /* The run's own directory has its own walk. */
        if (reaches && strcmp(walk->path, walk->run) != 0) {
            err = visit(walk);
        }
    }
    walk->path[length] = '\0';
    return err;
}

static enum ckpt_err visit(struct walk *walk)
{
    struct listing listing = {0};
    enum ckpt_err err = list(walk, &listing);
    if (err == CKPT_OK && !tells_checkpoint(walk, &listing)) {
        for (int directories = 0; directories < 2; directories++) {
            for (size_t i = 0; err == CKPT_OK && i < listing.count; i++) {
                if (listing.entries[i].directory == (directories == 1)) {
                    err = visit_entry(walk, &listing.entries[i]);
                }
            }
        }
    }
    listing_clear(&listing);
    return err;
}

enum ckpt_err ckpt_walk_run(int livefd, const char *run, unsigned above, ckpt_walk_fn *fn, void *arg)
{
    struct walk *walk = malloc(sizeof *walk);
    enum ckpt_err err = CKPT_OK;
    if (walk == NULL) {
        return CKPT_ERR_NOMEM;
    }
    *walk = (struct walk){.livefd = livefd, .run = run, .fn = fn, .arg = arg, .left = CKPT_WALK_ENTRIES};
    for (unsigned n = 0; err == CKPT_OK && n <= above; n++) {
        int length = ckpt_walk_above(run, n);
        if (length < 0 || (size_t)length >= sizeof walk->path) {
            break;
        }
        memcpy(walk->path, run, (size_t)length);
        walk->path[length] = '\0';
        walk->base = (size_t)length;
        walk->above = n; /* the one at hand: those under it have been walked */
        walk->left = n == 1 ? CKPT_WALK_ENTRIES : walk->left;
        err = visit(walk);
    }
    free(walk);
    return err;
}
