#include "view.h"
#include <ckpt/host.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

/* One letter per view in the run's attribute: lower case unlisted, upper case removed
 * (store/FORMAT.md). */
#define VIEWS_ATTRIBUTE CKPT_XATTR_PREFIX "views"
enum { VIEWS_MAX = 8 };

struct top_view {
    const char *name;
    enum view_kind kind;
    char letter;
};

static const struct top_view top_views[] = {
    {"history", VIEW_HISTORY, 'h'},
    {"latest", VIEW_LATEST, 'l'},
};
enum { TOP_VIEWS = sizeof top_views / sizeof *top_views };

/*
 * The nodes that the kernel knows. It asks for every name anew, because what views show changes by
 * itself, and an answer with another node makes it drop what it has: working directories in views
 * would be gone, and the pages of versions with them. So the same thing is always the same node.
 */
struct view_key {
    uint64_t dir;
    const struct inode *run; /* a directory that was made anew has the id of its predecessor */
    uint32_t kind;
    uint32_t number;
    uint32_t beside;
    uint32_t zero; /* no padding: the bytes are hashed */
    char name[NAME_MAX + 1];
};

struct view_known {
    struct view_key key;
    struct inode *inode; /* one lookup of inode.c's counting */
    uint64_t lookups;    /* the kernel's; view_set.lock */
    UT_hash_handle hh;   /* view_set.lock */
};

struct view_set {
    pthread_mutex_t lock;
    struct view_known *known; /* lock */
    pthread_mutex_t letters;  /* held while a run's attribute is changed */
};

enum ckpt_err view_set_create(struct view_set **set)
{
    struct view_set *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return CKPT_ERR_NOMEM;
    }
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->letters, NULL);
    *set = s;
    return CKPT_OK;
}

void view_set_free(struct ckptfs *fs)
{
    struct view_known *known = NULL;
    struct view_known *next = NULL;
    if (fs->views == NULL) {
        return;
    }
    HASH_ITER(hh, fs->views->known, known, next)
    {
        HASH_DEL(fs->views->known, known);
        inode_forget(fs, known->inode, 1);
        free(known);
    }
    pthread_mutex_destroy(&fs->views->letters);
    pthread_mutex_destroy(&fs->views->lock);
    free(fs->views);
    fs->views = NULL;
}

static struct view_key key_of(const struct view_node *view)
{
    struct view_key key;
    memset(&key, 0, sizeof key);
    key.dir = view->dir;
    key.run = view->run;
    key.kind = view->kind;
    key.number = view->kind == VIEW_VERSION ? view->version.number : 0;
    key.beside = view->beside;
    memcpy(key.name, view->name, strnlen(view->name, NAME_MAX));
    return key;
}

static struct view_known *find_known(struct view_set *set, const struct view_node *view)
{
    struct view_key key = key_of(view);
    struct view_known *known = NULL;
    HASH_FIND(hh, set->known, &key, sizeof key, known);
    return known;
}

/* The inode of VIEW, which it owns from here, with one more lookup. NULL: no memory, and VIEW is
 * the caller's. */
static struct inode *hold_node(struct ckptfs *fs, struct view_node *view)
{
    struct view_set *set = fs->views;
    struct view_node *spare = view;
    struct inode *inode = NULL;
    struct view_known *fresh = calloc(1, sizeof *fresh);
    if (fresh == NULL) {
        return NULL;
    }
    pthread_mutex_lock(&set->lock);
    struct view_known *known = find_known(set, view);
    if (known == NULL && (fresh->inode = inode_for_view(fs, view)) != NULL) {
        fresh->key = key_of(view);
        HASH_ADD(hh, set->known, key, sizeof fresh->key, fresh);
        if (fresh->hh.tbl != NULL) {
            known = fresh;
            fresh = NULL;
            spare = NULL;
        } else {
            fresh->inode->view = NULL;
            inode_forget(fs, fresh->inode, 1);
        }
    }
    if (known != NULL) {
        known->lookups++;
        inode = known->inode;
    }
    pthread_mutex_unlock(&set->lock);
    free(fresh);
    if (inode != NULL && spare != NULL) {
        view_node_free(fs, spare);
    }
    return inode;
}

void view_forget(struct ckptfs *fs, struct inode *inode, uint64_t lookups)
{
    struct view_set *set = fs->views;
    pthread_mutex_lock(&set->lock);
    struct view_known *known = find_known(set, inode->view);
    known->lookups -= lookups;
    bool last = known->lookups == 0;
    if (last) {
        HASH_DEL(set->known, known);
    }
    pthread_mutex_unlock(&set->lock);
    if (last) {
        inode_forget(fs, inode, 1);
        free(known);
    }
}

void view_node_free(struct ckptfs *fs, struct view_node *view)
{
    ckpt_reader_close(view->reader);
    if (view->run != NULL && fs != NULL) {
        inode_forget(fs, view->run, 1);
    }
    free(view);
}

/* ---- numbers ---- */

static ino_t view_ino(uint64_t dir, enum view_kind kind, bool beside, const char *name,
                      uint32_t number)
{
    struct {
        uint64_t dir;
        uint32_t kind;
        uint32_t number;
        uint8_t beside;
        char name[NAME_MAX + 1];
    } key;
    memset(&key, 0, sizeof key);
    key.dir = dir;
    key.kind = kind;
    key.number = number;
    key.beside = beside;
    memcpy(key.name, name, strnlen(name, NAME_MAX));
    /* The top bit keeps them apart from the host's numbers. */
    return ckpt_checksum(0, &key, sizeof key) | UINT64_C(1) << 63;
}

static ino_t node_ino(const struct view_node *view)
{
    return view_ino(view->dir, view->kind, view->beside, view->name,
                    view->kind == VIEW_VERSION ? view->version.number : 0);
}

/* ---- what a run has ---- */

struct found {
    const struct ckpt_filter *filter;
    bool any;
    bool checkpoint;
};

static bool see_file(void *arg, const struct ckpt_file *file, uint32_t versions)
{
    struct found *found = arg;
    (void)versions;
    found->any = true;
    found->checkpoint |= ckpt_filter_match_name(found->filter, file->name);
    return !found->checkpoint;
}

static struct found look(struct ckptfs *fs, uint64_t dir)
{
    struct found found = {.filter = fs->filter};
    if (ckpt_catalog_each_file(fs->store, dir, see_file, &found) != CKPT_OK) {
        found.any = found.checkpoint = false;
    }
    return found;
}

static void read_letters(const struct inode *run, char letters[VIEWS_MAX + 1])
{
    ssize_t n = ckpt_host_fgetxattr(run->fd, VIEWS_ATTRIBUTE, letters, VIEWS_MAX);
    letters[n < 0 ? 0 : n] = '\0';
}

/* With view_set.letters. */
static int add_letter(const struct inode *run, char letter, bool removed)
{
    char letters[VIEWS_MAX + 1];
    char upper = (char)toupper((unsigned char)letter);
    read_letters(run, letters);
    if (strchr(letters, upper) != NULL || (!removed && strchr(letters, letter) != NULL)) {
        return 0;
    }
    char *at = strchr(letters, letter);
    size_t n = strlen(letters);
    if (at == NULL) {
        at = letters + n;
        n++;
    }
    *at = letter;
    if (removed) {
        *at = upper;
    }
    return ckpt_host_fsetxattr(run->fd, VIEWS_ATTRIBUTE, letters, n, 0) != 0 ? errno : 0;
}

static int write_letter(struct ckptfs *fs, const struct inode *run, char letter, bool removed)
{
    pthread_mutex_lock(&fs->views->letters);
    int err = add_letter(run, letter, removed);
    pthread_mutex_unlock(&fs->views->letters);
    return err;
}

/* ---- nodes ---- */

static int enter(struct ckptfs *fs, struct view_node *view, struct fuse_entry_param *entry)
{
    struct inode *inode = hold_node(fs, view);
    if (inode == NULL) {
        view_node_free(fs, view);
        return ENOMEM;
    }
    memset(entry, 0, sizeof *entry);
    entry->ino = inode_node(fs, inode);
    int err = view_stat(fs, inode, &entry->attr);
    if (err != 0) {
        view_forget(fs, inode, 1);
    }
    return err;
}

/* A node below RUN, of which it holds one lookup. */
static struct view_node *new_node(struct ckptfs *fs, struct inode *run, uint64_t dir,
                                  enum view_kind kind, bool beside)
{
    struct view_node *view = calloc(1, sizeof *view);
    struct fuse_entry_param self;
    if (view == NULL) {
        return NULL;
    }
    view->kind = kind;
    view->beside = beside;
    view->dir = dir;
    if (inode_lookup(fs, run, ".", &self) != 0) {
        free(view);
        return NULL;
    }
    view->run = inode_of(fs, self.ino);
    return view;
}

static int enter_top(struct ckptfs *fs, struct inode *run, uint64_t dir, const char *name,
                     bool beside, struct fuse_entry_param *entry)
{
    for (int i = 0; i < TOP_VIEWS; i++) {
        char letters[VIEWS_MAX + 1] = "";
        if (strcmp(name, top_views[i].name) != 0) {
            continue;
        }
        if (beside) {
            read_letters(run, letters);
        }
        if (strchr(letters, top_views[i].letter - 'a' + 'A') != NULL) {
            return ENOENT;
        }
        struct view_node *view = new_node(fs, run, dir, top_views[i].kind, beside);
        return view == NULL ? ENOMEM : enter(fs, view, entry);
    }
    return ENOENT;
}

static int lookup_in_live(struct ckptfs *fs, struct inode *run, const char *name,
                          struct fuse_entry_param *entry)
{
    bool hidden = strcmp(name, ".ckpt") == 0;
    uint64_t dir = CKPT_DIR_ROOT;
    if (!hidden &&
        (!fs->views_visible || (strcmp(name, "history") != 0 && strcmp(name, "latest") != 0))) {
        return ENOENT;
    }
    if (run->type != S_IFDIR || ckpt_live_dir_id(fs->store, run->fd, &dir) != CKPT_OK) {
        return ENOENT;
    }
    struct found found = look(fs, dir);
    if (!hidden) {
        return found.checkpoint ? enter_top(fs, run, dir, name, true, entry) : ENOENT;
    }
    struct view_node *view = found.any ? new_node(fs, run, dir, VIEW_ROOT, false) : NULL;
    return view == NULL ? ENOENT : enter(fs, view, entry);
}

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

/* The name that latest/ gives its file besides its own; "" when there is no need. */
static void link_name(const char *file, char *out, size_t size)
{
    const char *dot = strrchr(file, '.');
    out[0] = '\0';
    if (dot != NULL && dot != file && dot[1] != '\0') {
        snprintf(out, size, "checkpoint%.200s", dot);
        if (strcmp(out, file) == 0) {
            out[0] = '\0';
        }
    }
}

static int enter_version(struct ckptfs *fs, const struct view_node *in,
                         const struct ckpt_version *version, struct fuse_entry_param *entry)
{
    struct view_node *view = new_node(fs, in->run, in->dir, VIEW_VERSION, in->beside);
    if (view == NULL) {
        return ENOMEM;
    }
    view->version = *version;
    memcpy(view->name, version->name, sizeof view->name);
    return enter(fs, view, entry);
}

static int lookup_latest(struct ckptfs *fs, const struct view_node *in, const char *name,
                         struct fuse_entry_param *entry)
{
    struct ckpt_version version;
    char link[NAME_MAX + 1];
    enum ckpt_err err = ckpt_catalog_latest(fs->store, in->dir, &version);
    if (err != CKPT_OK) {
        return ckpt_err_errno(err);
    }
    if (strcmp(name, version.name) == 0) {
        return enter_version(fs, in, &version, entry);
    }
    link_name(version.name, link, sizeof link);
    if (link[0] == '\0' || strcmp(name, link) != 0) {
        return ENOENT;
    }
    struct view_node *view = new_node(fs, in->run, in->dir, VIEW_LINK, in->beside);
    if (view == NULL) {
        return ENOMEM;
    }
    memcpy(view->name, version.name, sizeof view->name);
    return enter(fs, view, entry);
}

static int lookup_history(struct ckptfs *fs, const struct view_node *in, const char *name,
                          struct fuse_entry_param *entry)
{
    struct ckpt_version version;
    enum ckpt_err err = strlen(name) > NAME_MAX
                            ? CKPT_ERR_NOT_FOUND
                            : ckpt_catalog_version(fs->store, in->dir, name, 0, &version);
    if (err != CKPT_OK) {
        return ckpt_err_errno(err);
    }
    struct view_node *view = new_node(fs, in->run, in->dir, VIEW_HISTORY_FILE, in->beside);
    if (view == NULL) {
        return ENOMEM;
    }
    memcpy(view->name, version.name, sizeof view->name);
    return enter(fs, view, entry);
}

int view_lookup(struct ckptfs *fs, struct inode *parent, const char *name,
                struct fuse_entry_param *entry)
{
    struct ckpt_version version;
    const struct view_node *in = parent->view;
    if (in == NULL) {
        return lookup_in_live(fs, parent, name, entry);
    }
    switch (in->kind) {
    case VIEW_ROOT:
        return enter_top(fs, in->run, in->dir, name, false, entry);
    case VIEW_HISTORY:
        return lookup_history(fs, in, name, entry);
    case VIEW_HISTORY_FILE: {
        uint32_t number = version_number(name);
        enum ckpt_err err =
            number == 0 ? CKPT_ERR_NOT_FOUND
                        : ckpt_catalog_version(fs->store, in->dir, in->name, number, &version);
        return err != CKPT_OK ? ckpt_err_errno(err) : enter_version(fs, in, &version, entry);
    }
    case VIEW_LATEST:
        return lookup_latest(fs, in, name, entry);
    case VIEW_VERSION:
    case VIEW_LINK:
        break;
    }
    return ENOTDIR;
}

static struct timespec timespec_of(int64_t ns)
{
    struct timespec t = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    return t;
}

ino_t view_parent_ino(const struct inode *inode)
{
    const struct view_node *view = inode->view;
    switch (view->kind) {
    case VIEW_HISTORY:
    case VIEW_LATEST:
        if (!view->beside) {
            return view_ino(view->dir, VIEW_ROOT, false, "", 0);
        }
        break;
    case VIEW_HISTORY_FILE:
        return view_ino(view->dir, VIEW_HISTORY, view->beside, "", 0);
    case VIEW_ROOT:
    case VIEW_VERSION:
    case VIEW_LINK:
        break;
    }
    return view->run->key.ino;
}

int view_stat(struct ckptfs *fs, struct inode *inode, struct stat *st)
{
    const struct view_node *view = inode->view;
    struct stat found;
    /* Owner and mode of the run, so that who may remove the run may remove this with it. */
    int err = inode_stat(fs, view->run, &found);
    if (err != 0) {
        return err;
    }
    found.st_ino = node_ino(view);
    found.st_mode &= ~(mode_t)(S_ISUID | S_ISGID | S_ISVTX);
    found.st_blocks = 0;
    found.st_nlink = 2;
    found.st_size = 0;
    if (view->kind == VIEW_VERSION) {
        const struct ckpt_version *version = &view->version;
        found.st_mode = S_IFREG | (version->mode & 0444);
        found.st_uid = version->uid;
        found.st_gid = version->gid;
        found.st_nlink = 1;
        found.st_size = (off_t)version->size;
        found.st_mtim = found.st_atim = timespec_of(version->mtime_ns);
        found.st_ctim = timespec_of(version->captured_ns);
    } else if (view->kind == VIEW_LINK) {
        found.st_mode = S_IFLNK | 0777;
        found.st_nlink = 1;
        found.st_size = (off_t)strlen(view->name);
    }
    *st = found;
    return 0;
}

int view_readlink(struct ckptfs *fs, struct inode *inode, char *target, size_t size)
{
    (void)fs;
    if (inode->view->kind != VIEW_LINK) {
        return EINVAL;
    }
    snprintf(target, size, "%s", inode->view->name);
    return 0;
}

/* ---- listing ---- */

struct listing {
    const struct view_node *in;
    view_entry_fn *fn;
    void *arg;
    int err;
};

static bool list_file(void *arg, const struct ckpt_file *file, uint32_t versions)
{
    struct listing *l = arg;
    (void)versions;
    l->err = l->fn(l->arg, file->name,
                   view_ino(l->in->dir, VIEW_HISTORY_FILE, l->in->beside, file->name, 0), S_IFDIR);
    return l->err == 0;
}

static bool list_version(void *arg, const struct ckpt_version *version)
{
    struct listing *l = arg;
    char name[16];
    snprintf(name, sizeof name, "v%04" PRIu32, version->number);
    l->err = l->fn(
        l->arg, name,
        view_ino(l->in->dir, VIEW_VERSION, l->in->beside, version->name, version->number), S_IFREG);
    return l->err == 0;
}

static int list_latest(struct ckptfs *fs, const struct view_node *in, view_entry_fn *fn, void *arg)
{
    struct ckpt_version version;
    char link[NAME_MAX + 1];
    enum ckpt_err err = ckpt_catalog_latest(fs->store, in->dir, &version);
    if (err != CKPT_OK) {
        return err == CKPT_ERR_NOT_FOUND ? 0 : ckpt_err_errno(err);
    }
    int failed =
        fn(arg, version.name,
           view_ino(in->dir, VIEW_VERSION, in->beside, version.name, version.number), S_IFREG);
    link_name(version.name, link, sizeof link);
    if (failed == 0 && link[0] != '\0') {
        failed = fn(arg, link, view_ino(in->dir, VIEW_LINK, in->beside, version.name, 0), S_IFLNK);
    }
    return failed;
}

static int list_top(const struct view_node *in, const char *letters, view_entry_fn *fn, void *arg)
{
    int err = 0;
    for (int i = 0; err == 0 && i < TOP_VIEWS; i++) {
        const struct top_view *top = &top_views[i];
        if (strchr(letters, top->letter) == NULL &&
            strchr(letters, top->letter - 'a' + 'A') == NULL) {
            err = fn(arg, top->name, view_ino(in->dir, top->kind, in->beside, "", 0), S_IFDIR);
        }
    }
    return err;
}

static int list_live(struct ckptfs *fs, struct inode *run, view_entry_fn *fn, void *arg)
{
    struct view_node in = {.beside = true};
    char letters[VIEWS_MAX + 1];
    if (!fs->views_visible || ckpt_live_dir_id(fs->store, run->fd, &in.dir) != CKPT_OK ||
        !look(fs, in.dir).checkpoint) {
        return 0;
    }
    read_letters(run, letters);
    return list_top(&in, letters, fn, arg);
}

int view_each(struct ckptfs *fs, struct inode *directory, view_entry_fn *fn, void *arg)
{
    const struct view_node *in = directory->view;
    if (in == NULL) {
        return list_live(fs, directory, fn, arg);
    }
    struct listing l = {.in = in, .fn = fn, .arg = arg};
    enum ckpt_err err = CKPT_OK;
    switch (in->kind) {
    case VIEW_ROOT:
        return list_top(in, "", fn, arg);
    case VIEW_LATEST:
        return list_latest(fs, in, fn, arg);
    case VIEW_HISTORY:
        err = ckpt_catalog_each_file(fs->store, in->dir, list_file, &l);
        break;
    case VIEW_HISTORY_FILE:
        err = ckpt_catalog_each_version(fs->store, in->dir, in->name, list_version, &l);
        break;
    case VIEW_VERSION:
    case VIEW_LINK:
        return ENOTDIR;
    }
    return err != CKPT_OK ? ckpt_err_errno(err) : l.err;
}

/* ---- removing ---- */

static char letter_of(enum view_kind kind)
{
    return kind == VIEW_LATEST ? 'l' : 'h';
}

int view_remove(struct ckptfs *fs, struct inode *parent, const char *name)
{
    struct fuse_entry_param entry = {0};
    int err = view_lookup(fs, parent, name, &entry);
    if (err != 0) {
        return err;
    }
    struct inode *inode = inode_of(fs, entry.ino);
    const struct view_node *view = inode->view;
    if (!view->beside) {
        err = EROFS;
    } else if (parent->view != NULL) {
        err = write_letter(fs, view->run, letter_of(parent->view->kind), false);
    } else {
        err = write_letter(fs, parent, letter_of(view->kind), true);
    }
    view_forget(fs, inode, 1);
    return err;
}

/* ---- reading ---- */

int view_open(struct ckptfs *fs, struct inode *inode, struct fuse_file_info *fi)
{
    struct view_node *view = inode->view;
    char run[PATH_MAX] = "";
    char label[PATH_MAX + NAME_MAX + 16];
    enum ckpt_err err = CKPT_OK;
    if (view->kind != VIEW_VERSION) {
        return EINVAL;
    }
    if ((fi->flags & O_ACCMODE) != O_RDONLY || (fi->flags & O_TRUNC) != 0) {
        return EROFS;
    }
    pthread_mutex_lock(&inode->lock);
    if (view->reader == NULL) {
        (void)!ckpt_catalog_path(fs->store, view->dir, run, sizeof run);
        snprintf(label, sizeof label, "%s%s%s@v%" PRIu32, run, run[0] == '\0' ? "" : "/",
                 view->name, view->version.number);
        err = ckpt_reader_open(fs->cache, &view->version.recipe, label, &view->reader);
    }
    if (err == CKPT_OK) {
        inode->handles++;
    }
    pthread_mutex_unlock(&inode->lock);
    return ckpt_err_errno(err);
}

void view_release(struct ckptfs *fs, struct inode *inode)
{
    struct ckpt_reader *done = NULL;
    (void)fs;
    pthread_mutex_lock(&inode->lock);
    if (--inode->handles == 0) {
        done = inode->view->reader;
        inode->view->reader = NULL;
    }
    pthread_mutex_unlock(&inode->lock);
    ckpt_reader_close(done);
}
