#include "find.h"
#include "find_pick.h"
#include "locate.h"
#include "selection.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RUNS_TOLD = 5 };

/* ---- stores and runs ---- */

int find_store(struct tool *tool, char *const *args, int n)
{
    char **paths = calloc((size_t)n + 1, sizeof *paths);
    int count = 0;
    int code = TOOL_OK;
    for (int i = 0; paths != NULL && i < n; i++) {
        char run[PATH_MAX];
        struct selection selection;
        bool selected = selection_parse(args[i], run, &selection);
        if (selected || !selection_is_id(args[i])) { /* an id says nothing about the store */
            paths[count] = strdup(selected ? run : args[i]);
            code = paths[count] == NULL ? tool_fail(tool, CKPT_ERR_NOMEM, "out of memory") : code;
            count += paths[count] != NULL;
        }
    }
    if (paths == NULL) {
        code = tool_fail(tool, CKPT_ERR_NOMEM, "out of memory");
    }
    if (code == TOOL_OK) {
        code = locate_store(tool, paths, count);
    }
    for (int i = 0; i < count; i++) {
        free(paths[i]);
    }
    free(paths);
    return code;
}

int find_runs(struct tool *tool)
{
    if (tool->runs != NULL) {
        return TOOL_OK;
    }
    enum ckpt_err err = ckpt_runs_create(tool->store, &tool->runs);
    if (err != CKPT_OK) {
        return tool_store_fail(tool, err, "cannot read the runs of %s: %s", tool->store_dir, ckpt_err_text(err));
    }
    return TOOL_OK;
}

void find_free(struct found_run *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(list[i].path);
    }
    free(list);
}

static bool lies_at(const char *path, const char *above)
{
    size_t n = above == NULL ? 0 : strlen(above);
    return n == 0 || (strncmp(path, above, n) == 0 && (path[n] == '/' || path[n] == '\0'));
}

/* As people count: run2 before run10. */
static int by_path(const void *a, const void *b)
{
    return strverscmp(((const struct found_run *)a)->path, ((const struct found_run *)b)->path);
}

/* Takes those of DIRS that stand at or below ABOVE. */
static enum ckpt_err take_runs(struct tool *tool, const uint64_t *dirs, size_t count, const char *above,
                               struct found_run *list, size_t *n)
{
    for (size_t i = 0; i < count; i++) {
        char path[PATH_MAX];
        enum ckpt_err err = ckpt_catalog_path(tool->store, dirs[i], path, sizeof path);
        if (err == CKPT_ERR_NOT_FOUND || (err == CKPT_OK && !lies_at(path, above))) {
            continue;
        }
        if (err != CKPT_OK) {
            return err;
        }
        list[*n] = (struct found_run){.dir = dirs[i], .path = strdup(path)};
        if (list[*n].path == NULL) {
            return CKPT_ERR_NOMEM;
        }
        ++*n;
    }
    return CKPT_OK;
}

int find_runs_at(struct tool *tool, const char *path, struct found_run **out, size_t *n)
{
    uint64_t *dirs = NULL;
    struct found_run *list = NULL;
    size_t count = 0;
    size_t taken = 0;
    int code = find_runs(tool);
    if (code != TOOL_OK) {
        return code;
    }
    enum ckpt_err err = ckpt_runs_all(tool->runs, &dirs, &count);
    if (err == CKPT_OK) {
        list = calloc(count + 1, sizeof *list);
        err = list == NULL ? CKPT_ERR_NOMEM : take_runs(tool, dirs, count, path, list, &taken);
    }
    free(dirs);
    if (err != CKPT_OK) {
        find_free(list, taken);
        return tool_store_fail(tool, err, "cannot list the runs of %s: %s", tool->store_dir, ckpt_err_text(err));
    }
    qsort(list, taken, sizeof *list, by_path);
    *out = list;
    *n = taken;
    return TOOL_OK;
}

static bool is_run(struct tool *tool, uint64_t dir)
{
    const struct ckpt_run *run = NULL;
    if (ckpt_runs_hold(tool->runs, dir, &run) != CKPT_OK) {
        return false;
    }
    ckpt_runs_release(tool->runs);
    return true;
}

/* ARG is no run: says so, and which there are below it. */
static int no_run(struct tool *tool, const char *arg, const char *path)
{
    struct found_run *list = NULL;
    size_t n = 0;
    char below[RUNS_TOLD * 128] = "";
    size_t used = 0;
    int code = find_runs_at(tool, path, &list, &n);
    if (code != TOOL_OK) {
        return code;
    }
    for (size_t i = 0; i < n && i < RUNS_TOLD && used < sizeof below; i++) {
        used += (size_t)snprintf(below + used, sizeof below - used, "%s %.100s", i > 0 ? "," : "", list[i].path);
    }
    if (n == 0) {
        code = tool_fail(tool, CKPT_ERR_NOT_FOUND,
                         "%s is no run: no checkpoint was recorded there; \"ckpt runs\" lists the runs", arg);
    } else {
        code = tool_fail(tool, CKPT_ERR_NOT_FOUND, "%s is no run itself; below it there are%s%s", arg, below,
                         n > RUNS_TOLD ? ", ..." : "");
    }
    find_free(list, n);
    return code;
}

int find_run(struct tool *tool, const char *arg, uint64_t *dir, char path[PATH_MAX])
{
    struct target target;
    int code = find_runs(tool);
    if (code == TOOL_OK) {
        code = locate_target(tool, arg, &target);
    }
    if (code != TOOL_OK) {
        return code;
    }
    if (!target.known || !target.self_known || !is_run(tool, target.self)) {
        return no_run(tool, arg, target.path);
    }
    *dir = target.self;
    memcpy(path, target.path, sizeof target.path);
    return TOOL_OK;
}

/* ---- checkpoints ---- */

struct found {
    uint64_t dir;
    uint32_t number;
    char inside[PATH_MAX];
};

/* In the run PATH, relative to live/; it may also be a directory above runs. */
static int find_selected(struct tool *tool, const char *path, const struct selection *selection, struct found *found)
{
    struct target target;
    struct found_run *list = NULL;
    size_t n = 0;
    bool over_all = selection->by == SELECT_BEST || selection->by == SELECT_LATEST;
    locate_at(tool, path, &target);
    if (target.known && target.self_known && is_run(tool, target.self)) {
        found->dir = target.self;
        return find_pick(tool, target.self, path, selection, &found->number);
    }
    int code = over_all ? find_runs_at(tool, path, &list, &n) : TOOL_OK;
    if (code == TOOL_OK && n == 0) {
        code = no_run(tool, path[0] != '\0' ? path : "the top of the store", path);
    } else if (code == TOOL_OK) {
        code = find_pick_below(tool, list, n, path, selection, &found->dir, &found->number);
    }
    find_free(list, n);
    return code;
}

/* A path that leads through a view, unless something real has that name: RUN and what the view selects. */
static bool split_view(struct tool *tool, const char *relative, char run[PATH_MAX], struct selection *selection,
                       const char **rest)
{
    bool hidden = false; /* the component before was .ckpt */
    for (const char *at = relative; *at != '\0';) {
        size_t n = strcspn(at, "/");
        const char *next = at + n + (at[n] != '\0');
        size_t above = (size_t)(at - relative) - (hidden ? sizeof ".ckpt" : 0);
        snprintf(run, PATH_MAX, "%.*s", (int)(at + n - relative), relative);
        if (selection_of_view(at, selection, rest) && (hidden || !locate_is_real(tool, run))) {
            snprintf(run, PATH_MAX, "%.*s", (int)(above > 0 ? above - 1 : 0), relative);
            return true;
        }
        if (hidden) {
            return false;
        }
        hidden = n == sizeof ".ckpt" - 1 && memcmp(at, ".ckpt", n) == 0;
        at = next;
    }
    return false;
}

/* "checkpoint.EXT": the name that views give the file that stands for a checkpoint, which has EXT itself. */
static bool is_link(const char *inside, const char *shown)
{
    static const char link[] = "checkpoint";
    const char *slash = strrchr(shown, '/');
    const char *dot = strrchr(slash != NULL ? slash : shown, '.');
    return dot != NULL && strncmp(inside, link, sizeof link - 1) == 0 && strcmp(inside + sizeof link - 1, dot) == 0;
}

const struct ckpt_member *find_member(const struct ckpt_checkpoint *c, const char *inside)
{
    struct ckpt_shape shape = ckpt_checkpoint_shape(c);
    const struct ckpt_member *only = NULL;
    size_t n = 0;
    for (size_t i = 0; i < c->n_members; i++) {
        const char *shown = ckpt_member_shown(shape, &c->members[i]);
        if (shown != NULL && strcmp(shown, inside) == 0) {
            return &c->members[i];
        }
        n += shown != NULL;
        only = shown != NULL ? &c->members[i] : only;
    }
    if (inside[0] == '\0') {
        return n == 1 ? only : NULL;
    }
    const struct ckpt_member *main = ckpt_checkpoint_main(c);
    const char *shown = main == NULL ? NULL : ckpt_member_shown(shape, main);
    return shown != NULL && is_link(inside, shown) ? main : NULL;
}

/* PATH and VERSION of what FOUND shows. NOT_FOUND without a message. */
static enum ckpt_err member_path(struct tool *tool, const struct found *found, char path[PATH_MAX], uint32_t *version)
{
    const struct ckpt_run *run = NULL;
    char dir[PATH_MAX];
    enum ckpt_err err = ckpt_runs_hold(tool->runs, found->dir, &run);
    if (err != CKPT_OK) {
        return err;
    }
    const struct ckpt_checkpoint *c = ckpt_run_number(run, found->number);
    const struct ckpt_member *m = c == NULL ? NULL : find_member(c, found->inside);
    err = m == NULL ? CKPT_ERR_NOT_FOUND : ckpt_catalog_path(tool->store, m->dir, dir, sizeof dir);
    if (err == CKPT_OK) {
        int n = snprintf(path, PATH_MAX, "%s%s%s", dir, dir[0] != '\0' ? "/" : "", m->name);
        err = n < PATH_MAX ? CKPT_OK : CKPT_ERR_INVALID;
        *version = m->number;
    }
    ckpt_runs_release(tool->runs);
    return err;
}

int find_target(struct tool *tool, const char *arg, struct target *target)
{
    char relative[PATH_MAX];
    char path[PATH_MAX];
    struct selection selection;
    struct found found = {0};
    const char *rest = NULL;
    uint32_t version = 0;
    int code = locate_relative(tool, arg, relative);
    if (code == TOOL_OK && !split_view(tool, relative, path, &selection, &rest)) {
        return locate_target(tool, arg, target);
    }
    code = code == TOOL_OK ? find_runs(tool) : code;
    code = code == TOOL_OK ? find_selected(tool, path, &selection, &found) : code;
    if (code != TOOL_OK) {
        return code;
    }
    snprintf(found.inside, sizeof found.inside, "%s", rest);
    enum ckpt_err err = member_path(tool, &found, path, &version);
    if (err == CKPT_ERR_NOT_FOUND) {
        return tool_fail(tool, err, "%s is none of the files of that checkpoint; \"ckpt show\" lists them", arg);
    }
    if (err != CKPT_OK) {
        return tool_store_fail(tool, err, "cannot look up %s: %s", arg, ckpt_err_text(err));
    }
    locate_at(tool, path, target);
    target->arg = arg;
    target->version = version;
    return TOOL_OK;
}

/* The path of a version. NOT_FOUND without a message. */
static enum ckpt_err find_version(struct tool *tool, const struct target *target, struct found *found)
{
    struct ckpt_version version;
    if (!target->captured) {
        return CKPT_ERR_NOT_FOUND;
    }
    enum ckpt_err err = ckpt_catalog_version(tool->store, target->dir, target->name, target->version, &version);
    if (err == CKPT_OK) {
        err = ckpt_runs_by_version(tool->runs, version.dir, version.name, version.number, &found->dir, &found->number);
    }
    return err;
}

static bool has_root(const struct ckpt_checkpoint *c, const char *name)
{
    for (size_t i = 0; i < c->n_members; i++) {
        const struct ckpt_member *m = &c->members[i];
        if (m->directory && strlen(name) == m->root && strncmp(m->path, name, m->root) == 0) {
            return true;
        }
    }
    return c->root != NULL && strcmp(c->root, name) == 0;
}

/* PATH is a directory: the checkpoint that it, or a directory above it, is. NOT_FOUND without a message. */
static enum ckpt_err find_directory(struct tool *tool, const char *path, struct found *found)
{
    char at[PATH_MAX];
    snprintf(at, sizeof at, "%s", path);
    while (at[0] != '\0') {
        uint64_t dir = 0;
        char name[NAME_MAX + 1];
        const struct ckpt_run *run = NULL;
        enum ckpt_err err = ckpt_catalog_resolve(tool->store, at, &dir, name);
        if (err == CKPT_OK) {
            err = ckpt_runs_hold(tool->runs, dir, &run);
        }
        const struct ckpt_checkpoint *c = NULL;
        for (size_t i = err == CKPT_OK ? run->count : 0; i-- > 0 && (c == NULL || !ckpt_checkpoint_shown(c));) {
            bool better = c == NULL || ckpt_checkpoint_shown(run->list[i]);
            c = better && has_root(run->list[i], name) ? run->list[i] : c;
        }
        if (c != NULL) {
            *found = (struct found){.dir = dir, .number = c->number};
        }
        if (err == CKPT_OK) {
            ckpt_runs_release(tool->runs);
        }
        if (c != NULL || (err != CKPT_OK && err != CKPT_ERR_NOT_FOUND)) {
            return err;
        }
        char *slash = strrchr(at, '/');
        *(slash != NULL ? slash : at) = '\0';
    }
    return CKPT_ERR_NOT_FOUND;
}

static int no_checkpoint(struct tool *tool, const char *arg, const struct target *target)
{
    if (target->self_known && is_run(tool, target->self)) {
        return tool_fail(
            tool, CKPT_ERR_NOT_FOUND,
            "%s is a run: say which of its checkpoints (%s@latest, %s@best, %s@epoch=N); \"ckpt ls\" lists them", arg,
            arg, arg, arg);
    }
    if (target->exists || target->captured) {
        return tool_fail(tool, CKPT_ERR_NOT_FOUND,
                         "%s belongs to no checkpoint; \"ckpt flush\" waits for files that were just closed", arg);
    }
    return tool_fail(tool, CKPT_ERR_NOT_FOUND,
                     "there is no checkpoint %s: no id begins with it, and there is no such file, directory or view; "
                     "\"ckpt runs\" and \"ckpt ls RUN\" list what there is",
                     arg);
}

static int find_path(struct tool *tool, const char *arg, struct found *found)
{
    struct target target;
    struct selection selection;
    char relative[PATH_MAX];
    char run[PATH_MAX];
    const char *rest = NULL;
    int code = locate_relative(tool, arg, relative);
    if (code != TOOL_OK) {
        return code;
    }
    if (split_view(tool, relative, run, &selection, &rest)) {
        snprintf(found->inside, sizeof found->inside, "%s", rest);
        return find_selected(tool, run, &selection, found);
    }
    code = locate_target(tool, arg, &target);
    if (code != TOOL_OK) {
        return code;
    }
    enum ckpt_err err = find_version(tool, &target, found);
    if (err == CKPT_ERR_NOT_FOUND && target.version == 0) {
        err = find_directory(tool, target.path, found);
    }
    if (err == CKPT_ERR_NOT_FOUND) {
        return no_checkpoint(tool, arg, &target);
    }
    return err == CKPT_OK ? TOOL_OK : tool_store_fail(tool, err, "cannot look up %s: %s", arg, ckpt_err_text(err));
}

/* "RUN@best", unless something of that whole name was captured or is there. */
static bool is_selection(struct tool *tool, const char *arg, char run[PATH_MAX], struct selection *selection)
{
    struct target target;
    if (!selection_parse(arg, run, selection)) {
        return false;
    }
    bool real = locate_target(tool, arg, &target) == TOOL_OK && (target.exists || target.captured);
    tool_forgive(tool);
    return !real;
}

static int find_any(struct tool *tool, const char *arg, struct found *found)
{
    struct target target;
    struct selection selection;
    char run[PATH_MAX];
    int code = find_runs(tool);
    if (code == TOOL_OK && is_selection(tool, arg, run, &selection)) {
        code = locate_target(tool, run, &target);
        return code == TOOL_OK ? find_selected(tool, target.path, &selection, found) : code;
    }
    if (code != TOOL_OK || !selection_is_id(arg)) {
        return code == TOOL_OK ? find_path(tool, arg, found) : code;
    }
    enum ckpt_err err = ckpt_runs_by_id(tool->runs, arg, &found->dir, &found->number);
    if (err == CKPT_ERR_EXISTS) {
        return find_ambiguous(tool, arg, NULL);
    }
    if (err != CKPT_OK && err != CKPT_ERR_NOT_FOUND) {
        return tool_store_fail(tool, err, "cannot look up the id %s: %s", arg, ckpt_err_text(err));
    }
    if (err == CKPT_OK) {
        return TOOL_OK;
    }
    /* A file may have such a name; outside of a mount the id alone is worth telling. */
    code = find_path(tool, arg, found);
    if (code != TOOL_OK) {
        tool_forgive(tool);
        code = tool_fail(
            tool, CKPT_ERR_NOT_FOUND,
            "there is no checkpoint whose id begins with %s; \"ckpt runs\" and \"ckpt ls RUN\" list what there is",
            arg);
    }
    return code;
}

int find_checkpoint_file(struct tool *tool, const char *arg, uint64_t *dir, uint32_t *number, char inside[PATH_MAX])
{
    struct found found = {0};
    int code = find_any(tool, arg, &found);
    if (code == TOOL_OK) {
        *dir = found.dir;
        *number = found.number;
        memcpy(inside, found.inside, sizeof found.inside);
    }
    return code;
}

int find_checkpoint(struct tool *tool, const char *arg, uint64_t *dir, uint32_t *number)
{
    char inside[PATH_MAX];
    return find_checkpoint_file(tool, arg, dir, number, inside);
}

bool find_is_file(struct tool *tool, const char *arg)
{
    struct target target;
    struct selection selection;
    const char *rest = NULL;
    char run[PATH_MAX];
    char relative[PATH_MAX];
    uint64_t dir = 0;
    uint32_t number = 0;
    bool file = false;
    if (find_runs(tool) == TOOL_OK && !is_selection(tool, arg, run, &selection) &&
        !(selection_is_id(arg) && ckpt_runs_by_id(tool->runs, arg, &dir, &number) != CKPT_ERR_NOT_FOUND) &&
        locate_relative(tool, arg, relative) == TOOL_OK && !split_view(tool, relative, run, &selection, &rest)) {
        file = locate_target(tool, arg, &target) == TOOL_OK && target.captured;
    }
    tool_forgive(tool);
    return file;
}
