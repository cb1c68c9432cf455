#include "view_text.h"
#include "log.h"
#include "view_parts.h"
#include <ckpt/describe.h>
#include <ckpt/host.h>
#include <ckpt/keep.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Begins the line in front of a policy that stands elsewhere. It isn't taken for a part of it when it is written back. */
#define INHERITED "# inherited from "

struct text {
    char *bytes; /* N bytes and a NUL */
    size_t n;
    int64_t changed_ns; /* 0: not known */
};

struct view_handle {
    pthread_mutex_t lock;
    struct text text;
    bool append;
    bool written; /* and not set yet */
    bool emptied; /* by O_TRUNC, and nothing was written since */
};

static struct view_handle *handle_of(const struct fuse_file_info *fi)
{
    return (struct view_handle *)(uintptr_t)fi->fh;
}

static bool is_blank(const char *text)
{
    return text[strspn(text, " \t\r\n")] == '\0';
}

/* ---- what they say ---- */

/* What the policy says of it, as "ckpt ls" asks: not who has it open, nor who started from it. Points into POLICY and
   JUDGEMENT (all zeros). NULL: it can't be told, for which the log has the reason if it is a damaged policy. */
static const struct ckpt_policy_verdict *judge(struct ckptfs *fs, const struct ckpt_run *run,
                                               const struct ckpt_checkpoint *c, struct ckpt_policy *policy,
                                               struct ckpt_judgement *judgement)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    struct ckpt_judge_context context = {.now_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec};
    if (ckpt_judge_policy(fs->store, run->dir, policy, &context.changed_ns) != CKPT_OK ||
        ckpt_judge(run, policy, &context, judgement) != CKPT_OK) {
        return NULL;
    }
    size_t i = 0;
    while (i < judgement->count && run->list[i] != c) {
        i++;
    }
    return i < judgement->count ? &judgement->verdicts[i] : NULL;
}

static int info_text(struct ckptfs *fs, const struct view_node *view, struct text *text)
{
    const struct ckpt_run *run = NULL;
    const struct ckpt_checkpoint *c = NULL;
    struct ckpt_policy policy;
    struct ckpt_judgement judgement = {0};
    int err = view_checkpoint_hold(fs, view->run, &view->pick, &run, &c);
    if (err != 0) {
        return err;
    }
    const struct ckpt_policy_verdict *verdict = judge(fs, run, c, &policy, &judgement);
    err = ckpt_err_errno(ckpt_describe(fs->runs, fs->store, run, c, verdict, &text->bytes));
    text->changed_ns = c->saved_ns;
    ckpt_judgement_clear(&judgement);
    ckpt_runs_release(fs->runs);
    return err;
}

/* The id of the run's directory, or of the nearest one above it that has one. *OWN: it is the run's. */
static int nearest_dir(struct ckptfs *fs, const struct inode *run, uint64_t *dir, bool *own)
{
    enum ckpt_err err = ckpt_live_dir_id(fs->store, run->fd, dir);
    int fd = -1;
    int failed = 0;
    *own = err == CKPT_OK;
    while (err == CKPT_ERR_NOT_FOUND && failed == 0) {
        int above = ckpt_host_openat(fd < 0 ? run->fd : fd, "..", O_PATH | O_DIRECTORY | O_CLOEXEC, 0);
        failed = above < 0 ? errno : 0;
        ckpt_host_close(fd);
        fd = above;
        if (failed == 0) {
            err = ckpt_live_dir_id(fs->store, fd, dir); /* the top has one */
        }
    }
    ckpt_host_close(fd);
    return failed != 0 ? failed : ckpt_err_errno(err);
}

/* A line that says whose policy it is, whatever characters are in the name. */
static int say_owner(struct ckptfs *fs, uint64_t owner, struct text *text)
{
    char path[PATH_MAX] = "";
    char *whole = NULL;
    (void)!ckpt_catalog_path(fs->store, owner, path, sizeof path);
    for (char *c = path; *c != '\0'; c++) {
        if ((unsigned char)*c < ' ') {
            *c = '?';
        }
    }
    int n = asprintf(&whole, INHERITED "%s%s%s\n%s", fs->mountpoint, path[0] == '\0' ? "" : "/", path, text->bytes);
    if (n < 0) {
        return ENOMEM;
    }
    free(text->bytes);
    text->bytes = whole;
    return 0;
}

static int policy_text(struct ckptfs *fs, const struct view_node *view, struct text *text)
{
    uint64_t dir = 0;
    uint64_t owner = 0;
    bool own = false;
    int err = nearest_dir(fs, view->run, &dir, &own);
    if (err != 0) {
        return err;
    }
    enum ckpt_err found = ckpt_policy_find(fs->store, dir, &text->bytes, &owner, &text->changed_ns);
    if (found == CKPT_ERR_NOT_FOUND) {
        text->bytes = strdup("");
        return text->bytes == NULL ? ENOMEM : 0;
    }
    if (found != CKPT_OK) {
        return ckpt_err_errno(found);
    }
    if (is_blank(text->bytes)) { /* of the root it stands in for none (store/retain/keep.c) */
        text->bytes[0] = '\0';
        return 0;
    }
    return own && owner == dir ? 0 : say_owner(fs, owner, text);
}

/* A directory that is no run yet has no reason to stop. */
static int stop_text(struct ckptfs *fs, const struct view_node *view, struct text *text)
{
    const struct ckpt_run *run = NULL;
    uint64_t dir = 0;
    bool stop = false;
    if (ckpt_live_dir_id(fs->store, view->run->fd, &dir) == CKPT_OK && ckpt_runs_hold(fs->runs, dir, &run) == CKPT_OK) {
        stop = run->stop;
        ckpt_runs_release(fs->runs);
    }
    text->bytes = strdup(stop ? "1\n" : "0\n");
    return text->bytes == NULL ? ENOMEM : 0;
}

static int make_text(struct ckptfs *fs, const struct view_node *view, struct text *text)
{
    *text = (struct text){0};
    int err = view->kind == VIEW_INFO     ? info_text(fs, view, text)
              : view->kind == VIEW_POLICY ? policy_text(fs, view, text)
                                          : stop_text(fs, view, text);
    if (err != 0) {
        free(text->bytes);
        text->bytes = NULL;
        return err;
    }
    text->n = strlen(text->bytes);
    return 0;
}

int view_text_stat(struct ckptfs *fs, const struct view_node *view, struct stat *st)
{
    struct text text;
    int err = make_text(fs, view, &text);
    if (err != 0) {
        return err;
    }
    st->st_size = (off_t)text.n;
    if (text.changed_ns != 0) {
        st->st_mtim.tv_sec = text.changed_ns / 1000000000;
        st->st_mtim.tv_nsec = text.changed_ns % 1000000000;
        st->st_atim = st->st_ctim = st->st_mtim;
    }
    free(text.bytes);
    return 0;
}

/* ---- handles ---- */

/* EMPTY: its text isn't wanted. */
static int new_handle(struct ckptfs *fs, const struct view_node *view, bool empty, struct view_handle **out)
{
    struct view_handle *handle = calloc(1, sizeof *handle);
    int err = handle == NULL ? ENOMEM : 0;
    if (err == 0 && !empty) {
        err = make_text(fs, view, &handle->text);
    } else if (err == 0) {
        handle->text.bytes = calloc(1, 1);
        err = handle->text.bytes == NULL ? ENOMEM : 0;
    }
    if (err != 0) {
        free(handle);
        return err;
    }
    pthread_mutex_init(&handle->lock, NULL);
    *out = handle;
    return 0;
}

static void free_handle(struct view_handle *handle)
{
    pthread_mutex_destroy(&handle->lock);
    free(handle->text.bytes);
    free(handle);
}

int view_text_open(struct ckptfs *fs, const struct view_node *view, struct fuse_file_info *fi)
{
    struct view_handle *handle = NULL;
    bool empty = (fi->flags & O_TRUNC) != 0;
    bool writes = empty || (fi->flags & O_ACCMODE) != O_RDONLY;
    if (writes && (view->kind != VIEW_POLICY || ckpt_store_stopped(fs->store))) {
        return EROFS;
    }
    int err = new_handle(fs, view, empty, &handle);
    if (err == 0) {
        handle->append = (fi->flags & O_APPEND) != 0;
        handle->emptied = empty;
        fi->fh = (uint64_t)(uintptr_t)handle;
        fi->direct_io = 1;
    }
    return err;
}

int view_text_read(struct fuse_file_info *fi, char *buf, size_t size, off_t offset, size_t *got)
{
    struct view_handle *handle = handle_of(fi);
    pthread_mutex_lock(&handle->lock);
    size_t at = offset < 0 || (uint64_t)offset > handle->text.n ? handle->text.n : (size_t)offset;
    size_t n = handle->text.n - at < size ? handle->text.n - at : size;
    memcpy(buf, handle->text.bytes + at, n);
    pthread_mutex_unlock(&handle->lock);
    *got = n;
    return 0;
}

/* With the lock: N bytes, new ones are zeros. */
static int resize(struct view_handle *handle, size_t n)
{
    if (n > CKPT_POLICY_TEXT) {
        return EFBIG;
    }
    char *bytes = realloc(handle->text.bytes, n + 1);
    if (bytes == NULL) {
        return ENOMEM;
    }
    if (n > handle->text.n) {
        memset(bytes + handle->text.n, 0, n - handle->text.n);
    }
    bytes[n] = '\0';
    handle->text.bytes = bytes;
    handle->text.n = n;
    handle->written = true;
    handle->emptied = false;
    return 0;
}

int view_text_write(struct fuse_file_info *fi, const char *buf, size_t size, off_t offset)
{
    struct view_handle *handle = handle_of(fi);
    int err = 0;
    pthread_mutex_lock(&handle->lock);
    /* Where the end is only the handle knows. */
    size_t at = handle->append ? handle->text.n : (size_t)offset;
    if (at > CKPT_POLICY_TEXT || size > CKPT_POLICY_TEXT - at) {
        err = EFBIG;
    } else {
        err = resize(handle, at + size > handle->text.n ? at + size : handle->text.n);
    }
    if (err == 0) {
        memcpy(handle->text.bytes + at, buf, size);
    }
    pthread_mutex_unlock(&handle->lock);
    return err;
}

off_t view_text_seek(struct fuse_file_info *fi, off_t offset, int whence)
{
    struct view_handle *handle = handle_of(fi);
    pthread_mutex_lock(&handle->lock);
    off_t n = (off_t)handle->text.n;
    pthread_mutex_unlock(&handle->lock);
    if (offset < 0 || offset >= n) {
        errno = ENXIO;
        return -1;
    }
    return whence == SEEK_HOLE ? n : offset;
}

/* ---- setting a policy ---- */

/* NULL: only blanks, so there is to be none. */
static const char *policy_in(const char *text)
{
    if (strncmp(text, INHERITED, strlen(INHERITED)) == 0) {
        text += strcspn(text, "\n");
    }
    return is_blank(text) ? NULL : text[0] == '\n' ? text + 1 : text;
}

static int set_policy(struct ckptfs *fs, const struct view_node *view, const struct text *text)
{
    char path[PATH_MAX];
    enum ckpt_err err = ckpt_live_path(fs->store, view->run->fd, path);
    if (err == CKPT_OK && memchr(text->bytes, '\0', text->n) != NULL) {
        log_write(fs->log, CKPT_ERROR, "the policy written for %s is not text: it has a zero byte; the old one stays", path);
        return EINVAL;
    }
    const char *policy = policy_in(text->bytes);
    if (err == CKPT_OK) {
        err = ckpt_engine_set_policy(fs->engine, path, policy);
    }
    return policy == NULL && err == CKPT_ERR_NOT_FOUND ? 0 : ckpt_err_errno(err);
}

/*
 * A shell that redirects a command closes its first descriptor before the command has written anything: a handle that was
 * only emptied has its say when it is released.
 */
static int set_if(struct ckptfs *fs, const struct view_node *view, struct view_handle *handle, bool emptied_too)
{
    int err = 0;
    pthread_mutex_lock(&handle->lock);
    if (handle->written || (emptied_too && handle->emptied)) {
        handle->written = handle->emptied = false;
        err = set_policy(fs, view, &handle->text);
    }
    pthread_mutex_unlock(&handle->lock);
    return err;
}

int view_text_flush(struct ckptfs *fs, const struct view_node *view, struct fuse_file_info *fi)
{
    return set_if(fs, view, handle_of(fi), false);
}

void view_text_close(struct ckptfs *fs, const struct view_node *view, struct fuse_file_info *fi)
{
    (void)set_if(fs, view, handle_of(fi), true);
    free_handle(handle_of(fi));
}

int view_text_truncate(struct ckptfs *fs, const struct view_node *view, struct fuse_file_info *fi, off_t size)
{
    struct view_handle *handle = fi == NULL ? NULL : handle_of(fi);
    int err = view->kind != VIEW_POLICY || ckpt_store_stopped(fs->store) ? EROFS
              : size < 0 || size > CKPT_POLICY_TEXT                      ? EFBIG
                                                                         : 0;
    if (err == 0 && fi == NULL) {
        err = new_handle(fs, view, false, &handle);
    }
    if (err != 0) {
        return err;
    }
    pthread_mutex_lock(&handle->lock);
    err = resize(handle, (size_t)size);
    pthread_mutex_unlock(&handle->lock);
    if (fi == NULL) {
        err = err == 0 ? set_if(fs, view, handle, false) : err;
        free_handle(handle);
    }
    return err;
}
