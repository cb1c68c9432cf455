#include "find.h"
#include "locate.h"
#include "options.h"
#include "output.h"
#include <ckpt/reader.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* DEST itself, or the file's name in it when it is a directory. */
static int final_name(struct tool *tool, const char *dest, const char *name, bool force,
                      char out[PATH_MAX])
{
    struct stat st;
    int n = snprintf(out, PATH_MAX, "%s", dest);
    if (stat(dest, &st) == 0 && S_ISDIR(st.st_mode)) {
        n = snprintf(out, PATH_MAX, "%s/%s", dest, name);
    }
    if (n >= PATH_MAX - 32) {
        return tool_fail(tool, CKPT_ERR_INVALID, "%s: the path is too long", dest);
    }
    if (!force && lstat(out, &st) == 0) {
        return tool_fail(tool, CKPT_ERR_EXISTS,
                         "%s exists and is not overwritten; choose another DEST, or use --force", out);
    }
    return TOOL_OK;
}

static int host_failure(struct tool *tool, const char *path)
{
    int err = errno;
    return tool_fail(tool, ckpt_err_from_errno(err), "cannot write %s: %s", path, strerror(err));
}

/* Owner (as root), mode and time; then on the disk, and only then under its name. */
static int finish(struct tool *tool, int fd, const char *temporary, const char *path,
                  const struct ckpt_version *version)
{
    struct timespec mtime = {.tv_sec = version->mtime_ns / 1000000000,
                             .tv_nsec = version->mtime_ns % 1000000000};
    struct timespec times[2] = {mtime, mtime};
    if (geteuid() == 0 && fchown(fd, version->uid, version->gid) != 0) {
        tool_warn(tool, "%s keeps your own owner: %s", path, strerror(errno));
    }
    if (fchmod(fd, version->mode) != 0 || futimens(fd, times) != 0 || fsync(fd) != 0 ||
        rename(temporary, path) != 0) {
        return host_failure(tool, path);
    }
    char parent[PATH_MAX];
    snprintf(parent, sizeof parent, "%s", path);
    int dir = open(dirname(parent), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0) {
        (void)fsync(dir);
        close(dir);
    }
    return TOOL_OK;
}

static int write_version(struct tool *tool, const char *label, const struct ckpt_version *version,
                         const char *path, unsigned threads)
{
    char temporary[PATH_MAX + 8];
    struct output_progress progress;
    snprintf(temporary, sizeof temporary, "%s.XXXXXX", path);
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) {
        return host_failure(tool, path);
    }
    output_progress_start(&progress, "restoring", !tool->json);
    enum ckpt_err err = ckpt_restore(tool->store, &version->recipe, label, fd, threads,
                                     output_progress_update, &progress);
    output_progress_end(&progress);
    int code = err == CKPT_OK ? finish(tool, fd, temporary, path, version)
                              : tool_store_fail(tool, err, "cannot restore %s to %s: %s", label, path,
                                                ckpt_err_text(err));
    close(fd);
    if (code != TOOL_OK) {
        (void)unlink(temporary);
    }
    return code;
}

static int restore(struct tool *tool, const char *arg, const char *dest, bool force,
                   unsigned threads)
{
    struct target target;
    struct ckpt_version version;
    char path[PATH_MAX];
    int code = locate_target(tool, arg, &target);
    if (code != TOOL_OK) {
        return code;
    }
    enum ckpt_err err = target.known && target.name[0] != '\0'
                            ? ckpt_catalog_version(tool->store, target.dir, target.name,
                                                   target.version, &version)
                            : CKPT_ERR_NOT_FOUND;
    if (err == CKPT_ERR_NOT_FOUND) {
        return tool_fail(tool, err, "there is no such version: %s; \"ckpt log\" lists what there is",
                         arg);
    }
    if (err != CKPT_OK) {
        return tool_store_fail(tool, err, "cannot look up %s: %s", arg, ckpt_err_text(err));
    }
    code = final_name(tool, dest, version.name, force, path);
    if (code == TOOL_OK) {
        code = write_version(tool, arg, &version, path, threads);
    }
    if (code == TOOL_OK) {
        char size[OUTPUT_SIZE];
        (void)json_object_set_new(tool->result, "path", output_text(path));
        (void)json_object_set_new(tool->result, "version", json_integer(version.number));
        (void)json_object_set_new(tool->result, "bytes", output_number(version.size));
        if (!tool->json) {
            printf("%s: version %u of %s, %s\n", path, version.number, target.path,
                   output_size(size, version.size));
        }
    }
    return code;
}

/* ---- checkpoints ---- */

struct piece {
    struct ckpt_version version;
    char *path; /* as the checkpoint shows it */
};

struct pieces {
    struct piece *list;
    size_t n;
    bool directory; /* one of them stands in a directory of the checkpoint's */
    uint64_t id;
};

static void free_pieces(struct pieces *pieces)
{
    for (size_t i = 0; i < pieces->n; i++) {
        free(pieces->list[i].path);
    }
    free(pieces->list);
}

/* Of the held run; INSIDE: that one only, unless it is "". */
static enum ckpt_err collect(struct tool *tool, const struct ckpt_checkpoint *c, const char *inside, struct pieces *pieces)
{
    struct ckpt_shape shape = ckpt_checkpoint_shape(c);
    const struct ckpt_member *named = inside[0] == '\0' ? NULL : find_member(c, inside);
    enum ckpt_err err = CKPT_OK;
    pieces->id = c->id;
    pieces->list = calloc(c->n_members + 1, sizeof *pieces->list);
    if (pieces->list == NULL) {
        return CKPT_ERR_NOMEM;
    }
    for (size_t i = 0; err == CKPT_OK && i < c->n_members; i++) {
        const struct ckpt_member *m = &c->members[i];
        const char *shown = ckpt_member_shown(shape, m);
        if (shown == NULL || (inside[0] != '\0' && m != named)) {
            continue;
        }
        struct piece *piece = &pieces->list[pieces->n];
        err = ckpt_catalog_version(tool->store, m->dir, m->name, m->number, &piece->version);
        if (err == CKPT_OK) {
            piece->path = strdup(shown);
            err = piece->path == NULL ? CKPT_ERR_NOMEM : CKPT_OK;
        }
        pieces->n += piece->path != NULL;
        pieces->directory |= m->directory;
    }
    return err == CKPT_OK && pieces->n == 0 ? CKPT_ERR_NOT_FOUND : err;
}

static int find_pieces(struct tool *tool, const char *arg, bool *one, struct pieces *pieces)
{
    char inside[PATH_MAX];
    uint64_t dir = 0;
    uint32_t number = 0;
    const struct ckpt_run *run = NULL;
    int code = find_checkpoint_file(tool, arg, &dir, &number, inside);
    if (code != TOOL_OK) {
        return code;
    }
    enum ckpt_err err = ckpt_runs_hold(tool->runs, dir, &run);
    if (err == CKPT_OK) {
        const struct ckpt_checkpoint *c = ckpt_run_number(run, number);
        err = c == NULL ? CKPT_ERR_NOT_FOUND : collect(tool, c, inside, pieces);
        ckpt_runs_release(tool->runs);
    }
    *one = pieces->n == 1 && (inside[0] != '\0' || !pieces->directory);
    if (err == CKPT_ERR_NOT_FOUND) {
        return tool_fail(tool, err, "%s can't be restored: %s", arg,
                         inside[0] != '\0' ? "it has no such file"
                                           : "its bytes are gone; \"ckpt show\" has what is known of it");
    }
    return err == CKPT_OK ? TOOL_OK : tool_store_fail(tool, err, "cannot look up %s: %s", arg, ckpt_err_text(err));
}

/* Makes the directories above PATH, all but the first SKIP bytes of which are the checkpoint's own. */
static int make_parents(struct tool *tool, char *path, size_t skip)
{
    for (char *slash = path + skip; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        bool failed = mkdir(path, 0777) != 0 && errno != EEXIST;
        *slash = '/';
        if (failed) {
            return host_failure(tool, path);
        }
    }
    return TOOL_OK;
}

/* Names come from the disk. */
static bool leads_out(const char *path)
{
    bool out = path[0] == '/';
    for (; *path != '\0' && !out; path += strspn(path, "/")) {
        size_t n = strcspn(path, "/");
        out = n == 2 && memcmp(path, "..", 2) == 0;
        path += n;
    }
    return out;
}

/* Where each piece goes: nothing is written before all of it can be. */
static int choose_paths(struct tool *tool, const char *dest, const struct pieces *pieces, bool one, bool force,
                        char (*paths)[PATH_MAX])
{
    struct stat st;
    int code = TOOL_OK;
    if (one) {
        const char *slash = strrchr(pieces->list[0].path, '/');
        return final_name(tool, dest, slash != NULL ? slash + 1 : pieces->list[0].path, force, paths[0]);
    }
    if (stat(dest, &st) == 0 && !S_ISDIR(st.st_mode)) {
        return tool_fail(tool, CKPT_ERR_EXISTS,
                         "%s is a file; a checkpoint of several files is written into a directory", dest);
    }
    for (size_t i = 0; code == TOOL_OK && i < pieces->n; i++) {
        char path[2 * PATH_MAX];
        int n = snprintf(path, sizeof path, "%s/%s", dest, pieces->list[i].path);
        if (n >= PATH_MAX - 32 || leads_out(pieces->list[i].path)) {
            return tool_fail(tool, CKPT_ERR_INVALID, "%s: no usable path", path);
        }
        code = final_name(tool, path, "", force, paths[i]);
    }
    return code;
}

static int write_pieces(struct tool *tool, const char *arg, const char *dest, const struct pieces *pieces, bool one,
                        char (*paths)[PATH_MAX], unsigned threads)
{
    json_t *files = json_array();
    uint64_t bytes = 0;
    int code = TOOL_OK;
    if (!one && mkdir(dest, 0777) != 0 && errno != EEXIST) {
        code = host_failure(tool, dest);
    }
    for (size_t i = 0; code == TOOL_OK && i < pieces->n; i++) {
        const struct ckpt_version *version = &pieces->list[i].version;
        code = one ? TOOL_OK : make_parents(tool, paths[i], strlen(dest) + 1);
        code = code == TOOL_OK ? write_version(tool, arg, version, paths[i], threads) : code;
        bytes += code == TOOL_OK ? version->size : 0;
        (void)json_array_append_new(files, json_pack("{s:o, s:I, s:I}", "path", output_text(paths[i]), "version",
                                                     (json_int_t)version->number, "bytes", (json_int_t)version->size));
    }
    (void)json_object_set_new(tool->result, "checkpoint", json_sprintf("%016" PRIx64, pieces->id));
    (void)json_object_set_new(tool->result, "path", output_text(one ? paths[0] : dest));
    (void)json_object_set_new(tool->result, "files", files);
    (void)json_object_set_new(tool->result, "bytes", output_number(bytes));
    if (code == TOOL_OK && !tool->json) {
        char size[OUTPUT_SIZE];
        printf("%s: checkpoint %08" PRIx64 ", %zu %s, %s\n", one ? paths[0] : dest, pieces->id >> 32, pieces->n,
               output_plural(pieces->n, "file", "files"), output_size(size, bytes));
    }
    return code;
}

static int restore_checkpoint(struct tool *tool, const char *arg, const char *dest, bool force, unsigned threads)
{
    struct pieces pieces = {0};
    bool one = false;
    char(*paths)[PATH_MAX] = NULL;
    int code = find_pieces(tool, arg, &one, &pieces);
    if (code == TOOL_OK) {
        paths = calloc(pieces.n + 1, sizeof *paths);
        code = paths == NULL ? tool_fail(tool, CKPT_ERR_NOMEM, "out of memory")
                             : choose_paths(tool, dest, &pieces, one, force, paths);
    }
    if (code == TOOL_OK && paths != NULL) {
        code = write_pieces(tool, arg, dest, &pieces, one, paths, threads);
    }
    free(paths);
    free_pieces(&pieces);
    return code;
}

int cmd_restore(struct tool *tool, int argc, char **argv)
{
    bool force = false;
    const char *threads_text = NULL;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned long threads = cores < 1 ? 1 : (unsigned long)cores;
    const struct option_spec own[] = {
        {.name = "force", .flag = &force}, {.name = "threads", .value = &threads_text}, {0}};
    int code = options_parse(tool, own, false, &argc, argv);
    if (code == TOOL_OK && argc != 2) {
        code = tool_usage(tool, "restore takes a PATH or a CHECKPOINT, and a DEST");
    }
    if (code == TOOL_OK && threads_text != NULL) {
        code = options_number(tool, "threads", threads_text, 1, 64, &threads);
    }
    if (code == TOOL_OK) {
        code = find_store(tool, argv, 1);
    }
    if (code == TOOL_OK) {
        code = tool_open_read(tool);
    }
    if (code != TOOL_OK) {
        return code;
    }
    bool file = find_is_file(tool, argv[0]);
    return file ? restore(tool, argv[0], argv[1], force, (unsigned)threads)
                : restore_checkpoint(tool, argv[0], argv[1], force, (unsigned)threads);
}
