#include "locate.h"
#include "options.h"
#include "output.h"
#include <ckpt/reader.h>
#include <errno.h>
#include <fcntl.h>
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
        code = tool_usage(tool, "restore takes a PATH and a DEST");
    }
    if (code == TOOL_OK && threads_text != NULL) {
        code = options_number(tool, "threads", threads_text, 1, 64, &threads);
    }
    if (code == TOOL_OK) {
        code = locate_store(tool, argv, 1);
    }
    if (code == TOOL_OK) {
        code = tool_open_read(tool);
    }
    return code == TOOL_OK ? restore(tool, argv[0], argv[1], force, (unsigned)threads) : code;
}
