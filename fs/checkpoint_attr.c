#include "checkpoint_attr.h"
#include "view_parts.h"
#include <ckpt/host.h>
#include <ckpt/keep.h>
#include <ckpt/kind.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Which checkpoint an inode is of. */
struct subject {
    uint64_t run;
    uint32_t number;
    bool is_file;
    uint64_t stored; /* of a file */
};

/* ---- finding it ---- */

/*
 * Whether the live file is what its newest version has. Its ctime moves with its mode and its links, and the stamp in the catalog has
 * no times when it was taken too soon after the last write.
 */
static bool is_newest(struct inode *inode, const struct ckpt_file *file, const struct ckpt_version *version)
{
    struct stat st;
    if (atomic_load(&inode->cold)) {
        pthread_mutex_lock(&inode->lock);
        bool same = ckpt_id_equal(&inode->stub.recipe, &version->recipe);
        pthread_mutex_unlock(&inode->lock);
        return same;
    }
    if (ckpt_host_fstat(inode->fd, &st) != 0) {
        return false;
    }
    struct ckpt_stamp stamp = ckpt_stamp_of(&st);
    bool stamped = stamp.ino == file->stamp.ino && stamp.mtime_ns == file->stamp.mtime_ns;
    return stamp.size == version->size && (stamped || stamp.mtime_ns == version->mtime_ns);
}

/* The newest version of a live file, once what waits of it is recorded. ENODATA; EBUSY: somebody is writing it. */
static int newest_version(struct ckptfs *fs, struct inode *inode, struct ckpt_version *version)
{
    char path[PATH_MAX];
    char name[NAME_MAX + 1];
    struct ckpt_file file;
    uint64_t dir = 0;
    unsigned still_open = 0;
    enum ckpt_err err = CKPT_OK;
    if (ckpt_engine_is_pending(fs->engine, inode->key.dev, inode->key.ino)) {
        err = ckpt_engine_flush(fs->engine, &still_open);
        if (err == CKPT_OK && ckpt_engine_is_pending(fs->engine, inode->key.dev, inode->key.ino)) {
            return EBUSY;
        }
    }
    if (err != CKPT_OK) {
        return ckpt_err_errno(err);
    }
    inode_find_name(fs, inode);
    err = ckpt_live_path(fs->store, inode->fd, path);
    if (err == CKPT_OK) {
        err = ckpt_catalog_resolve(fs->store, path, &dir, name);
    }
    if (err == CKPT_OK) {
        err = ckpt_catalog_file(fs->store, dir, name, &file);
    }
    if (err == CKPT_OK) {
        err = ckpt_catalog_version(fs->store, dir, name, 0, version);
    }
    if (err == CKPT_OK && !is_newest(inode, &file, version)) {
        return inode_writing(fs, inode->key.dev, inode->key.ino) ? EBUSY : ENODATA;
    }
    return err == CKPT_OK ? 0 : err == CKPT_ERR_NOT_FOUND ? ENODATA : ckpt_err_errno(err);
}

static int find_by_version(struct ckptfs *fs, const struct ckpt_version *version, struct subject *subject)
{
    enum ckpt_err err =
        ckpt_runs_by_version(fs->runs, version->dir, version->name, version->number, &subject->run, &subject->number);
    subject->is_file = true;
    subject->stored = version->stored;
    return err == CKPT_OK ? 0 : err == CKPT_ERR_NOT_FOUND ? ENODATA : ckpt_err_errno(err);
}

static int find_subject(struct ckptfs *fs, struct inode *inode, struct subject *subject)
{
    const struct view_node *view = inode->view;
    const struct ckpt_run *run = NULL;
    const struct ckpt_checkpoint *c = NULL;
    struct ckpt_version version = {0};
    *subject = (struct subject){0};
    if (view == NULL) {
        int err = inode->type == S_IFREG ? newest_version(fs, inode, &version) : ENODATA;
        return err == 0 ? find_by_version(fs, &version, subject) : err;
    }
    if (view->kind == VIEW_VERSION) {
        return find_by_version(fs, &view->version, subject);
    }
    if (view->kind != VIEW_CHECKPOINT && view->kind != VIEW_FOLDER) {
        return ENODATA;
    }
    int err = view_checkpoint_hold(fs, view->run, &view->pick, &run, &c);
    if (err == 0) {
        subject->run = run->dir;
        subject->number = c->number;
        ckpt_runs_release(fs->runs);
    }
    return err == ENOENT ? ENODATA : err;
}

/* ---- reading ---- */

/* The shortest text that reads as the same number. */
static void print_value(double value, char *text, size_t size)
{
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, size, "%.*g", digits, value);
        if (strtod(text, NULL) == value) {
            return;
        }
    }
}

static void print_tags(const struct ckpt_checkpoint *c, char *text, size_t size)
{
    size_t n = 0;
    for (size_t i = 0; i < c->n_tags && n < size; i++) {
        n += (size_t)snprintf(text + n, size - n, "%s%s", i == 0 ? "" : ",", c->tags[i]);
    }
}

/* "" when the checkpoint doesn't have it. */
static void print_attribute(const struct ckpt_checkpoint *c, const struct subject *subject, const char *what, char *text,
                            size_t size)
{
    static const char metric[] = "metric.";
    text[0] = '\0';
    if (strcmp(what, "id") == 0) {
        snprintf(text, size, "%016" PRIx64, c->id);
    } else if (strcmp(what, "checkpoint") == 0) {
        snprintf(text, size, "%s", ckpt_status_name(c->status));
    } else if (strcmp(what, "epoch") == 0 && c->has_epoch) {
        snprintf(text, size, "%" PRIu64, c->epoch);
    } else if (strcmp(what, "step") == 0 && c->has_step) {
        snprintf(text, size, "%" PRIu64, c->step);
    } else if (strcmp(what, "kind") == 0) {
        snprintf(text, size, "%s", ckpt_holds_name(c->holds));
    } else if (strcmp(what, "tags") == 0) {
        print_tags(c, text, size);
    } else if (strcmp(what, "pin") == 0) {
        snprintf(text, size, "%d", c->pinned);
    } else if (strcmp(what, "stored_bytes") == 0 && subject->is_file) {
        snprintf(text, size, "%" PRIu64, subject->stored);
    } else if (strncmp(what, metric, strlen(metric)) == 0) {
        const struct ckpt_value *v = ckpt_checkpoint_value(c, what + strlen(metric));
        if (v != NULL) {
            print_value(v->value, text, size);
        }
    }
}

/* Whether asking for it may take time: anything else, as security.* or the store's own, is asked for by every ls. */
static bool is_known(const char *what)
{
    static const char *const all[] = {"id", "checkpoint", "epoch", "step", "kind", "tags", "pin", "stored_bytes"};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (strcmp(what, all[i]) == 0) {
            return true;
        }
    }
    return strncmp(what, "metric.", strlen("metric.")) == 0;
}

static int early_stop(struct ckptfs *fs, const struct inode *inode, char *value, size_t *n)
{
    const struct ckpt_run *run = NULL;
    uint64_t dir = 0;
    if (inode->view != NULL || inode->type != S_IFDIR || ckpt_live_dir_id(fs->store, inode->fd, &dir) != CKPT_OK ||
        ckpt_runs_hold(fs->runs, dir, &run) != CKPT_OK) {
        return ENODATA;
    }
    value[0] = run->stop ? '1' : '0';
    *n = 1;
    ckpt_runs_release(fs->runs);
    return 0;
}

int checkpoint_attr_get(struct ckptfs *fs, struct inode *inode, const char *name, char value[CHECKPOINT_ATTR_SIZE],
                        size_t *n)
{
    const char *what = name + strlen(CKPT_XATTR_PREFIX);
    const struct ckpt_run *run = NULL;
    struct subject subject;
    if (strcmp(what, "early_stop") == 0) {
        return early_stop(fs, inode, value, n);
    }
    int err = is_known(what) ? find_subject(fs, inode, &subject) : ENODATA;
    if (err == 0) {
        err = ckpt_err_errno(ckpt_runs_hold(fs->runs, subject.run, &run));
    }
    if (err != 0) {
        return err == ENOENT || err == EBUSY ? ENODATA : err;
    }
    const struct ckpt_checkpoint *c = ckpt_run_number(run, subject.number);
    value[0] = '\0';
    if (c != NULL) {
        print_attribute(c, &subject, what, value, CHECKPOINT_ATTR_SIZE);
    }
    ckpt_runs_release(fs->runs);
    *n = strlen(value);
    return *n == 0 ? ENODATA : 0;
}

/* ---- setting ---- */

enum { TEXT = 256 };

/* VALUE as text without a newline at its end. */
static bool take_text(const char *value, size_t size, char text[TEXT])
{
    if (size > 0 && value[size - 1] == '\n') {
        size--;
    }
    if (size == 0 || size >= TEXT || memchr(value, '\0', size) != NULL) {
        return false;
    }
    memcpy(text, value, size);
    text[size] = '\0';
    return true;
}

/* What is to be set. */
struct wish {
    const char *metric; /* else NULL */
    const char *tag;    /* else NULL */
    double value;
    bool pin;
};

/* 0, EPERM or EINVAL. */
static int read_wish(const char *what, const char *text, struct wish *wish)
{
    static const char metric[] = "metric.";
    *wish = (struct wish){0};
    if (strncmp(what, metric, strlen(metric)) == 0) {
        char *end = NULL;
        wish->metric = what + strlen(metric);
        wish->value = strtod(text, &end);
        return wish->metric[0] == '\0' || end == text || *end != '\0' ? EINVAL : 0;
    }
    if (strcmp(what, "tag") == 0) {
        wish->tag = text;
        return 0;
    }
    if (strcmp(what, "pin") == 0) {
        wish->pin = text[0] == '1';
        return strcmp(text, "1") != 0 && strcmp(text, "0") != 0 ? EINVAL : 0;
    }
    return EPERM;
}

int checkpoint_attr_set(struct ckptfs *fs, struct inode *inode, const char *name, const char *value, size_t size)
{
    char text[TEXT] = "";
    struct wish wish;
    struct subject subject;
    bool is_text = take_text(value, size, text);
    int failed = read_wish(name + strlen(CKPT_XATTR_PREFIX), text, &wish);
    if (failed == 0 && !is_text) {
        failed = EINVAL;
    }
    if (failed == 0) {
        failed = find_subject(fs, inode, &subject);
    }
    if (failed != 0) {
        return failed;
    }
    enum ckpt_err err =
        wish.metric != NULL ? ckpt_engine_metric(fs->engine, subject.run, subject.number, wish.metric, wish.value)
        : wish.tag != NULL  ? ckpt_engine_tag(fs->engine, subject.run, subject.number, wish.tag, true)
                            : ckpt_engine_pin(fs->engine, subject.run, subject.number, wish.pin);
    return err == CKPT_ERR_NOT_FOUND ? ENODATA : ckpt_err_errno(err);
}
