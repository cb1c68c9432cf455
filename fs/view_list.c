/*
 * Listing views.
 */
#include "view_parts.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct listing {
    const struct inode *run;
    const char *path;
    mode_t type;
    view_entry_fn *fn;
    void *arg;
    int err;
};

static int list_name(void *arg, const char *name)
{
    struct listing *l = arg;
    return l->fn(l->arg, name, view_ino(l->run, l->path, name), l->type);
}

static bool list_file(void *arg, const struct ckpt_file *file, uint32_t versions)
{
    struct listing *l = arg;
    (void)versions;
    l->err = list_name(l, file->name);
    return l->err == 0;
}

static bool list_version(void *arg, const struct ckpt_version *version)
{
    struct listing *l = arg;
    char name[16];
    snprintf(name, sizeof name, "v%04" PRIu32, version->number);
    l->err = l->fn(l->arg, name, view_version_ino(l->run, version->dir, version->number, version->name), S_IFREG);
    return l->err == 0;
}

static int list_history(struct ckptfs *fs, const struct view_node *in, struct listing *l)
{
    uint64_t dir = 0;
    enum ckpt_err err = ckpt_live_dir_id(fs->store, in->run->fd, &dir);
    if (err == CKPT_OK && in->kind == VIEW_HISTORY) {
        err = ckpt_catalog_each_file(fs->store, dir, list_file, l);
    } else if (err == CKPT_OK) {
        err = ckpt_catalog_each_version(fs->store, dir, in->pick.name, list_version, l);
    }
    return err == CKPT_OK ? l->err : err == CKPT_ERR_NOT_FOUND ? 0 : ckpt_err_errno(err);
}

/* A member, by what it is in the directory that is listed. */
struct entry {
    const char *name; /* N bytes */
    size_t n;
    const struct ckpt_member *m;
    bool folder;
};

/* By name, then as they were captured. */
static int by_entry(const void *a, const void *b)
{
    const struct entry *x = a;
    const struct entry *y = b;
    int order = memcmp(x->name, y->name, x->n < y->n ? x->n : y->n);
    return order != 0 ? order : x->n != y->n ? (x->n < y->n ? -1 : 1) : (x->m > y->m) - (x->m < y->m);
}

static int list_member(struct listing *l, const struct entry *e)
{
    char name[NAME_MAX + 1];
    memcpy(name, e->name, e->n);
    name[e->n] = '\0';
    l->type = S_IFDIR;
    return e->folder ? list_name(l, name)
                     : l->fn(l->arg, name, view_version_ino(l->run, e->m->dir, e->m->number, e->m->name), S_IFREG);
}

static bool has_entry(const struct entry *entries, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (entries[i].n == strlen(name) && memcmp(entries[i].name, name, entries[i].n) == 0) {
            return true;
        }
    }
    return false;
}

static int list_members(const struct ckpt_checkpoint *c, const struct view_node *in, struct listing *l)
{
    char link[NAME_MAX + 1];
    size_t n = 0;
    struct ckpt_shape shape = ckpt_checkpoint_shape(c);
    struct entry *entries = calloc(c->n_members + 1, sizeof *entries);
    if (entries == NULL) {
        return ENOMEM;
    }
    for (size_t i = 0; i < c->n_members; i++) {
        const char *rest = view_below(ckpt_member_shown(shape, &c->members[i]), in->inside);
        size_t length = rest == NULL ? 0 : view_component(rest);
        if (length > 0) {
            entries[n++] = (struct entry){
                .name = rest, .n = length, .m = &c->members[i], .folder = rest[length] != '\0'};
        }
    }
    qsort(entries, n, sizeof *entries, by_entry);
    int err = 0;
    for (size_t i = 0; err == 0 && i < n; i++) {
        bool same = i > 0 && entries[i - 1].n == entries[i].n &&
                    memcmp(entries[i - 1].name, entries[i].name, entries[i].n) == 0;
        err = same ? 0 : list_member(l, &entries[i]);
    }
    view_link_name(c, link);
    if (err == 0 && in->kind == VIEW_CHECKPOINT && link[0] != '\0' && !has_entry(entries, n, link)) {
        l->type = S_IFLNK;
        err = list_name(l, link);
    }
    if (err == 0 && in->kind == VIEW_CHECKPOINT && !in->beside && !has_entry(entries, n, "info.json")) {
        l->type = S_IFREG;
        err = list_name(l, "info.json");
    }
    free(entries);
    return err;
}

static int list_checkpoint(struct ckptfs *fs, const struct view_node *in, struct listing *l)
{
    const struct ckpt_run *run = NULL;
    const struct ckpt_checkpoint *c = NULL;
    int err = view_checkpoint_hold(fs, in->run, &in->pick, &run, &c);
    if (err != 0) {
        return err == ENOENT ? 0 : err;
    }
    err = list_members(c, in, l);
    ckpt_runs_release(fs->runs);
    return err;
}

static int list_root(struct ckptfs *fs, const struct view_node *in, struct listing *l)
{
    int err = 0;
    const struct view_top *top = NULL;
    for (unsigned i = 0; err == 0 && (top = view_top_at(i)) != NULL; i++) {
        err = view_run_has(fs, in->run, top->letter) ? list_name(l, top->name) : 0;
    }
    l->type = S_IFREG;
    if (err == 0) {
        err = list_name(l, "policy");
    }
    return err == 0 ? list_name(l, "early_stop") : err;
}

static int list_live(struct ckptfs *fs, const struct inode *run, struct listing *l)
{
    char letters[VIEW_LETTERS + 1];
    uint64_t dir = 0;
    int err = 0;
    const struct view_top *top = NULL;
    if (!fs->views_visible || ckpt_live_dir_id(fs->store, run->fd, &dir) != CKPT_OK) {
        return 0;
    }
    view_letters(run, letters);
    for (unsigned i = 0; err == 0 && (top = view_top_at(i)) != NULL; i++) {
        bool listed = !view_is_removed(letters, top->letter) && strchr(letters, top->letter) == NULL;
        err = listed && view_is_visible(fs, run, top->letter) ? list_name(l, top->name) : 0;
    }
    return err;
}

int view_each(struct ckptfs *fs, struct inode *directory, view_entry_fn *fn, void *arg)
{
    const struct view_node *in = directory->view;
    struct listing l = {.run = directory, .path = "", .type = S_IFDIR, .fn = fn, .arg = arg};
    if (in == NULL) {
        return list_live(fs, directory, &l);
    }
    l.run = in->run;
    l.path = in->path;
    switch (in->kind) {
    case VIEW_ROOT:
        return list_root(fs, in, &l);
    case VIEW_HISTORY:
    case VIEW_HISTORY_FILE:
        return list_history(fs, in, &l);
    case VIEW_GROUP:
        return view_run_each(fs, in->run, &in->pick, false, list_name, &l);
    case VIEW_METRIC:
        return view_run_each(fs, in->run, &in->pick, true, list_name, &l);
    case VIEW_CHECKPOINT:
    case VIEW_FOLDER:
        return list_checkpoint(fs, in, &l);
    case VIEW_VERSION:
    case VIEW_LINK:
    case VIEW_INFO:
    case VIEW_POLICY:
    case VIEW_STOP:
        break;
    }
    return ENOTDIR;
}
