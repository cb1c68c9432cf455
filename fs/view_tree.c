/*
 * The names in views: looking them up and removing them.
 */
#include "view_parts.h"
#include <ckpt/host.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One letter per view in the run's attribute: lower case unlisted, upper case removed (store/FORMAT.md). */
#define VIEWS_ATTRIBUTE CKPT_XATTR_PREFIX "views"
enum { VIEW_PATH = PATH_MAX + NAME_MAX + 2 };

/* ---- what a run has, and what was hidden in it ---- */

/* Beside the files. */
bool view_is_visible(struct ckptfs *fs, const struct inode *run, char letter)
{
    struct view_place place;
    if (view_place_find(fs, run, &place) != 0) {
        return false;
    }
    bool visible = !place.is_run || view_run_is_named(fs, place.dir);
    view_place_clear(&place);
    return visible && view_run_has(fs, run, letter);
}

void view_letters(const struct inode *run, char letters[VIEW_LETTERS + 1])
{
    ssize_t n = ckpt_host_fgetxattr(run->fd, VIEWS_ATTRIBUTE, letters, VIEW_LETTERS);
    letters[n < 0 ? 0 : n] = '\0';
}

bool view_is_removed(const char *letters, char letter)
{
    return strchr(letters, toupper((unsigned char)letter)) != NULL;
}

/* With view_set.letters. Written once, however many of its entries are removed. */
static int add_letter(const struct inode *run, char letter, bool removed)
{
    char letters[VIEW_LETTERS + 1];
    view_letters(run, letters);
    char *at = strchr(letters, letter);
    if (view_is_removed(letters, letter) || (!removed && at != NULL)) {
        return 0;
    }
    size_t n = strlen(letters);
    if (at == NULL) {
        if (n == VIEW_LETTERS) {
            return EIO; /* whatever it is, it isn't ours */
        }
        at = letters + n++;
    }
    *at = (char)(removed ? toupper((unsigned char)letter) : letter);
    return ckpt_host_fsetxattr(run->fd, VIEWS_ATTRIBUTE, letters, n, 0) != 0 ? errno : 0;
}

static int write_letter(struct ckptfs *fs, const struct inode *run, char letter, bool removed)
{
    pthread_mutex_lock(&fs->views->letters);
    int err = add_letter(run, letter, removed);
    pthread_mutex_unlock(&fs->views->letters);
    return err;
}

/* ---- names ---- */

/* "v0003": at least four digits, and no other way to write the number. */
static uint32_t version_number(const char *name)
{
    char again[16];
    unsigned long number = name[0] == 'v' ? strtoul(name + 1, NULL, 10) : 0;
    if (number == 0 || number > UINT32_MAX) {
        return 0;
    }
    snprintf(again, sizeof again, "v%04lu", number);
    return strcmp(again, name) == 0 ? (uint32_t)number : 0;
}

/* A number in the one way to write it. */
static bool parse_number(const char *name, uint64_t *number)
{
    char again[24];
    if (name[0] < '0' || name[0] > '9') {
        return false;
    }
    *number = strtoull(name, NULL, 10);
    snprintf(again, sizeof again, "%" PRIu64, *number);
    return strcmp(again, name) == 0;
}

/* The name that a checkpoint gives its main file besides its own; "" when there is none. */
void view_link_name(const struct ckpt_checkpoint *c, char out[NAME_MAX + 1])
{
    const struct ckpt_member *m = ckpt_checkpoint_main(c);
    const char *shown = m == NULL ? NULL : ckpt_member_shown(ckpt_checkpoint_shape(c), m);
    const char *slash = shown == NULL ? NULL : strrchr(shown, '/');
    const char *file = slash == NULL ? shown : slash + 1;
    const char *dot = file == NULL ? NULL : strrchr(file, '.');
    out[0] = '\0';
    if (dot != NULL && dot != file && dot[1] != '\0') {
        snprintf(out, NAME_MAX + 1, "checkpoint%.200s", dot);
    }
}

/* What follows the directory INSIDE in the path at which a member is shown; NULL: it isn't in it. */
const char *view_below(const char *shown, const char *inside)
{
    size_t n = strlen(inside);
    if (n == 0 || shown == NULL) {
        return shown;
    }
    return strncmp(shown, inside, n) == 0 && shown[n] == '/' ? shown + n + 1 : NULL;
}

/* The length of the first component of PATH; 0: no directory can have such a name. */
size_t view_component(const char *path)
{
    size_t n = strcspn(path, "/");
    bool dots = (n == 1 && path[0] == '.') || (n == 2 && path[0] == '.' && path[1] == '.');
    return n > NAME_MAX || dots ? 0 : n;
}

/* ---- lookup ---- */

/* NAME in the view directory IN, of which it tells the last INSIDE bytes of the path. */
static int enter(struct ckptfs *fs, const struct view_node *in, enum view_kind kind, const struct view_pick *pick,
                 const char *name, size_t inside, struct fuse_entry_param *entry)
{
    char path[VIEW_PATH];
    if (snprintf(path, sizeof path, "%s/%s", in->path, name) >= PATH_MAX) {
        return ENAMETOOLONG;
    }
    return view_node_enter(fs, view_node_new(fs, in->run, kind, pick, path, inside), entry);
}

static int lookup_in_live(struct ckptfs *fs, struct inode *run, const char *name, struct fuse_entry_param *entry)
{
    char letters[VIEW_LETTERS + 1];
    if (run->type != S_IFDIR) {
        return ENOENT;
    }
    if (strcmp(name, ".ckpt") == 0) {
        return view_node_enter(fs, view_node_new(fs, run, VIEW_ROOT, NULL, ".ckpt", 0), entry);
    }
    const struct view_top *top = fs->views_visible ? view_top_named(name) : NULL;
    if (top == NULL || !view_is_visible(fs, run, top->letter)) {
        return ENOENT;
    }
    view_letters(run, letters);
    if (view_is_removed(letters, top->letter)) {
        return ENOENT;
    }
    struct view_pick pick = {.letter = top->letter};
    return view_node_enter(fs, view_node_new(fs, run, top->kind, &pick, name, 0), entry);
}

static int lookup_in_root(struct ckptfs *fs, const struct view_node *in, const char *name,
                          struct fuse_entry_param *entry)
{
    const struct view_top *top = view_top_named(name);
    struct view_pick pick = {0};
    if (strcmp(name, "policy") == 0) {
        return enter(fs, in, VIEW_POLICY, NULL, name, 0, entry);
    }
    if (strcmp(name, "early_stop") == 0) {
        return enter(fs, in, VIEW_STOP, NULL, name, 0, entry);
    }
    if (top == NULL || !view_run_has(fs, in->run, top->letter)) {
        return ENOENT;
    }
    pick.letter = top->letter;
    return enter(fs, in, top->kind, &pick, name, 0, entry);
}

static int lookup_version(struct ckptfs *fs, const struct view_node *in, uint64_t dir, const char *file,
                          uint32_t number, struct fuse_entry_param *entry)
{
    struct ckpt_version version;
    enum ckpt_err err = number == 0 ? CKPT_ERR_NOT_FOUND : ckpt_catalog_version(fs->store, dir, file, number, &version);
    return err != CKPT_OK ? ckpt_err_errno(err)
                          : view_node_enter(fs, view_node_version(fs, in->run, &version), entry);
}

static int lookup_history(struct ckptfs *fs, const struct view_node *in, const char *name,
                          struct fuse_entry_param *entry)
{
    struct ckpt_version version;
    struct view_pick pick = in->pick;
    uint64_t dir = 0;
    enum ckpt_err err = ckpt_live_dir_id(fs->store, in->run->fd, &dir);
    if (err == CKPT_OK && in->kind == VIEW_HISTORY_FILE) {
        return lookup_version(fs, in, dir, in->pick.name, version_number(name), entry);
    }
    if (err == CKPT_OK) {
        err = ckpt_catalog_version(fs->store, dir, name, 0, &version);
    }
    if (err != CKPT_OK) {
        return ckpt_err_errno(err);
    }
    snprintf(pick.name, sizeof pick.name, "%s", name);
    return enter(fs, in, VIEW_HISTORY_FILE, &pick, name, 0, entry);
}

/* In epoch/, step/, tag/, top/, top/METRIC/. */
static int lookup_in_group(struct ckptfs *fs, const struct view_node *in, const char *name,
                           struct fuse_entry_param *entry)
{
    const struct ckpt_run *run = NULL;
    const struct ckpt_checkpoint *c = NULL;
    struct view_pick pick = in->pick;
    bool numbered = parse_number(name, &pick.number);
    int err = ENOENT;
    if (pick.letter == 't') {
        snprintf(pick.name, sizeof pick.name, "%s", name);
        numbered = true;
    }
    if (numbered) {
        err = view_checkpoint_hold(fs, in->run, &pick, &run, &c);
    }
    if (err == 0) {
        ckpt_runs_release(fs->runs);
        return enter(fs, in, VIEW_CHECKPOINT, &pick, name, 0, entry);
    }
    if (err != ENOENT || in->kind != VIEW_GROUP || pick.letter != 'o') {
        return err;
    }
    pick.number = 1;
    snprintf(pick.name, sizeof pick.name, "%s", name);
    err = view_checkpoint_hold(fs, in->run, &pick, &run, &c);
    if (err == 0) {
        ckpt_runs_release(fs->runs);
        err = enter(fs, in, VIEW_METRIC, &pick, name, 0, entry);
    }
    return err;
}

/* What NAME is in a directory of a checkpoint. */
struct within {
    enum view_kind kind; /* VIEW_ROOT: nothing */
    uint64_t dir;
    uint32_t number;
    char name[NAME_MAX + 1];
};

static void find_within(const struct ckpt_checkpoint *c, const struct view_node *in, const char *name,
                        struct within *within)
{
    char link[NAME_MAX + 1];
    size_t n = strlen(name);
    struct ckpt_shape shape = ckpt_checkpoint_shape(c);
    for (size_t i = 0; i < c->n_members; i++) {
        const struct ckpt_member *m = &c->members[i];
        const char *rest = view_below(ckpt_member_shown(shape, m), in->inside);
        if (rest == NULL || view_component(rest) != n || memcmp(rest, name, n) != 0) {
            continue;
        }
        within->kind = rest[n] == '\0' ? VIEW_VERSION : VIEW_FOLDER;
        within->dir = m->dir;
        within->number = m->number;
        snprintf(within->name, sizeof within->name, "%s", m->name);
        return;
    }
    if (in->kind == VIEW_CHECKPOINT) {
        view_link_name(c, link);
        within->kind = strcmp(name, link) == 0                             ? VIEW_LINK
                       : !in->beside && strcmp(name, "info.json") == 0 ? VIEW_INFO
                                                                         : VIEW_ROOT;
    }
}

static int lookup_in_checkpoint(struct ckptfs *fs, const struct view_node *in, const char *name,
                                struct fuse_entry_param *entry)
{
    const struct ckpt_run *run = NULL;
    const struct ckpt_checkpoint *c = NULL;
    struct within within = {.kind = VIEW_ROOT};
    int err = view_checkpoint_hold(fs, in->run, &in->pick, &run, &c);
    if (err != 0) {
        return err;
    }
    find_within(c, in, name, &within);
    ckpt_runs_release(fs->runs);
    if (within.kind == VIEW_ROOT) {
        return ENOENT;
    }
    if (within.kind == VIEW_VERSION) {
        return lookup_version(fs, in, within.dir, within.name, within.number, entry);
    }
    size_t before = in->inside[0] == '\0' ? 0 : strlen(in->inside) + 1;
    size_t inside = within.kind == VIEW_FOLDER ? before + strlen(name) : 0;
    return enter(fs, in, within.kind, &in->pick, name, inside, entry);
}

int view_lookup(struct ckptfs *fs, struct inode *parent, const char *name, struct fuse_entry_param *entry)
{
    const struct view_node *in = parent->view;
    if (strlen(name) > NAME_MAX) {
        return ENAMETOOLONG;
    }
    if (in == NULL) {
        return lookup_in_live(fs, parent, name, entry);
    }
    switch (in->kind) {
    case VIEW_ROOT:
        return lookup_in_root(fs, in, name, entry);
    case VIEW_HISTORY:
    case VIEW_HISTORY_FILE:
        return lookup_history(fs, in, name, entry);
    case VIEW_GROUP:
    case VIEW_METRIC:
        return lookup_in_group(fs, in, name, entry);
    case VIEW_CHECKPOINT:
    case VIEW_FOLDER:
        return lookup_in_checkpoint(fs, in, name, entry);
    case VIEW_VERSION:
    case VIEW_LINK:
    case VIEW_INFO:
    case VIEW_POLICY:
    case VIEW_STOP:
        break;
    }
    return ENOTDIR;
}

int view_readlink(struct ckptfs *fs, struct inode *inode, char *target, size_t size)
{
    const struct view_node *view = inode->view;
    const struct ckpt_run *run = NULL;
    const struct ckpt_checkpoint *c = NULL;
    if (view->kind != VIEW_LINK) {
        return EINVAL;
    }
    int err = view_checkpoint_hold(fs, view->run, &view->pick, &run, &c);
    if (err != 0) {
        return err;
    }
    const struct ckpt_member *m = ckpt_checkpoint_main(c);
    err = m == NULL ? ENOENT : 0;
    if (err == 0) {
        snprintf(target, size, "%s", ckpt_member_shown(ckpt_checkpoint_shape(c), m));
    }
    ckpt_runs_release(fs->runs);
    return err;
}

/* ---- removing ---- */

int view_remove(struct ckptfs *fs, struct inode *parent, const char *name)
{
    struct fuse_entry_param entry = {0};
    const struct view_node *in = parent->view;
    int err = view_lookup(fs, parent, name, &entry);
    if (err != 0) {
        return err;
    }
    if (in != NULL) {
        err = in->beside ? write_letter(fs, in->run, in->pick.letter, false) : EROFS;
    } else {
        char letter = inode_of(fs, entry.ino)->view->pick.letter;
        err = letter != '\0' ? write_letter(fs, parent, letter, true) : EROFS;
    }
    view_forget(fs, inode_of(fs, entry.ino), 1);
    return err;
}
