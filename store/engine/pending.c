/*
 * The queue of closed files: pending/ on disk, which survives anything, and its picture in memory.
 *
 * An entry is pending/<directory id>.<sequence>/<file name>, a hard link to the closed file, or to a copy
 * of it when the file had to be changed before its turn came. It stands for one name and one capture: a file that is
 * moved while it is pending gets a second entry. So the order of the entries is the order in which each name had its
 * contents, whatever was moved over what.
 */
#include "engine_parts.h"
#include <ckpt/host.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

enum {
    RELEASE_MS = 5000, /* so long after a close its file may still look open */
    ENTRY_NAME = 34,   /* "<dir>.<sequence>" and NUL */
};

static void entry_name(const struct ckpt_job *job, char name[ENTRY_NAME])
{
    snprintf(name, ENTRY_NAME, "%016" PRIx64 ".%016" PRIx64, job->dir, job->sequence);
}

void ckpt_pending_path(const struct ckpt_job *job, char *path)
{
    snprintf(path, CKPT_PENDING_PATH, "%016" PRIx64 ".%016" PRIx64 "/%s", job->dir, job->sequence,
             job->name);
}

/* ---- in memory; with engine->lock ---- */

struct ckpt_held *ckpt_pending_find(struct ckpt_engine *engine, dev_t dev, ino_t ino)
{
    struct ckpt_held probe;
    memset(&probe, 0, sizeof probe);
    probe.key.dev = dev;
    probe.key.ino = ino;
    struct ckpt_held *held = NULL;
    HASH_FIND(hh, engine->held, &probe.key, sizeof probe.key, held);
    return held;
}

static struct ckpt_job *new_job(uint64_t dir, const char *name, uint64_t sequence)
{
    struct ckpt_job *job = calloc(1, sizeof *job);
    if (job != NULL) {
        job->dir = dir;
        job->sequence = sequence;
        snprintf(job->name, sizeof job->name, "%s", name);
    }
    return job;
}

/* The inode's, made if need be: NULL when there is no memory. */
static struct ckpt_held *held_of(struct ckpt_engine *engine, const struct stat *st)
{
    struct ckpt_held *held = ckpt_pending_find(engine, st->st_dev, st->st_ino);
    if (held != NULL || (held = calloc(1, sizeof *held)) == NULL) {
        return held;
    }
    held->key.dev = st->st_dev;
    held->key.ino = st->st_ino;
    HASH_ADD(hh, engine->held, key, sizeof held->key, held);
    if (held->hh.tbl == NULL) {
        free(held);
        return NULL;
    }
    return held;
}

static void free_unused(struct ckpt_engine *engine, struct ckpt_held *held)
{
    if (held->links == 0 && held->changing == 0) {
        HASH_DEL(engine->held, held);
        free(held);
    }
}

/* The job, whose link is there, is one of the inode's. */
static void hold(struct ckpt_held *held, struct ckpt_job *job, const struct stat *st)
{
    held->links++;
    job->held = held;
    LL_PREPEND2(held->jobs, job, twin);
    job->bytes = (uint64_t)st->st_size;
}

/* The job isn't one of its inode's any more. The link still counts until it has gone (let_go). */
static struct ckpt_held *unhold(struct ckpt_job *job)
{
    struct ckpt_held *held = job->held;
    if (held != NULL) {
        LL_DELETE2(held->jobs, job, twin);
    }
    job->held = NULL;
    return held;
}

/* The inode, if it is one, has one link in pending/ less. */
static void let_go(struct ckpt_engine *engine, struct ckpt_held *held)
{
    if (held != NULL) {
        held->links--;
        free_unused(engine, held);
    }
}

static int by_sequence(const struct ckpt_job *a, const struct ckpt_job *b)
{
    return a->sequence < b->sequence ? -1 : a->sequence > b->sequence;
}

static bool has_name(const struct ckpt_job *job, uint64_t dir, const char *name)
{
    return job->dir == dir && strcmp(job->name, name) == 0;
}

bool ckpt_pending_has_name(struct ckpt_engine *engine, uint64_t dir, const char *name)
{
    const struct ckpt_job *job = NULL;
    pthread_mutex_lock(&engine->lock);
    DL_FOREACH (engine->jobs, job) {
        if (has_name(job, dir, name)) {
            break;
        }
    }
    pthread_mutex_unlock(&engine->lock);
    return job != NULL;
}

/* The job of this inode that the capture of NAME comes to the same as: the last one of that name, if it isn't too
   late for it to take in what has changed. */
static struct ckpt_job *same_capture(struct ckpt_engine *engine, const struct stat *st, uint64_t dir,
                                     const char *name)
{
    struct ckpt_held *held = ckpt_pending_find(engine, st->st_dev, st->st_ino);
    struct ckpt_job *job = held == NULL ? NULL : held->jobs;
    while (job != NULL && !has_name(job, dir, name)) {
        job = job->twin;
    }
    if (job == NULL || job->recorded) {
        return NULL;
    }
    for (const struct ckpt_job *later = job->next; later != NULL; later = later->next) {
        if (has_name(later, dir, name)) {
            return NULL;
        }
    }
    return job;
}

static void rest(struct ckpt_engine *engine, struct ckpt_job *job)
{
    job->not_before = ckpt_now_ms() + engine->config.settle_ms;
    job->writing = false;
    job->failed = false;
    pthread_cond_signal(&engine->wake);
}

static void retry(struct ckpt_engine *engine, struct ckpt_job *job)
{
    if (job->writing) {
        job->writing = false;
        job->not_before = ckpt_now_ms();
        pthread_cond_signal(&engine->wake);
    }
}

void ckpt_pending_retry(struct ckpt_engine *engine, dev_t dev, ino_t ino)
{
    const struct ckpt_held *held = ckpt_pending_find(engine, dev, ino);
    struct ckpt_job *job = held == NULL ? NULL : held->jobs;
    for (; job != NULL; job = job->twin) {
        retry(engine, job);
    }
}

void ckpt_pending_rekey(struct ckpt_engine *engine, struct ckpt_job *job, const struct stat *st)
{
    retry(engine, job);
    if (job->held != NULL) {
        ckpt_origin_copied(engine, job->held->key.dev, job->held->key.ino, st);
    }
    let_go(engine, unhold(job));
    /* Nobody but the queue has this inode: without memory it is merely not found by it. */
    struct ckpt_held *held = held_of(engine, st);
    if (held != NULL) {
        hold(held, job, st);
    }
}

/* An earlier file of the same directory goes first, or histories would be in disorder, and latest/ not the latest.
   One that can't be read, or that somebody keeps open, is closed later than JOB and comes later. One that there is no room
   for holds up its own name only. */
static bool must_wait(const struct ckpt_engine *engine, const struct ckpt_job *job, int64_t now)
{
    for (const struct ckpt_job *earlier = engine->jobs; earlier != job; earlier = earlier->next) {
        bool stuck = earlier->failed ||
                     (earlier->writing && now - earlier->busy_since >= RELEASE_MS);
        bool same = earlier->lacks_space ? has_name(earlier, job->dir, job->name)
                                         : earlier->dir == job->dir;
        if (!earlier->running && !stuck && same) {
            return true;
        }
    }
    return false;
}

struct ckpt_job *ckpt_pending_next(struct ckpt_engine *engine, int64_t *wait)
{
    int64_t now = ckpt_now_ms();
    struct ckpt_job *job = NULL;
    *wait = -1;
    DL_FOREACH (engine->jobs, job) {
        if (job->running) {
            continue;
        }
        bool settling = !job->writing && !job->failed && !job->lacks_space;
        int64_t left = settling && engine->hurry > 0 ? 0 : job->not_before - now;
        if (left <= 0 && !must_wait(engine, job, now)) {
            return job;
        }
        if (left <= 0) {
            continue; /* until the one it waits for has had its turn */
        }
        if (*wait < 0 || left < *wait) {
            *wait = left;
        }
    }
    return NULL;
}

/* ---- on disk ---- */

static enum ckpt_err link_entry(struct ckpt_engine *engine, int fd, const struct ckpt_job *job)
{
    char directory[ENTRY_NAME];
    char path[CKPT_PENDING_PATH];
    int pending = ckpt_store_pendingfd(engine->store);
    entry_name(job, directory);
    ckpt_pending_path(job, path);
    if (ckpt_host_mkdirat(pending, directory, 0700) != 0) {
        return ckpt_err_from_errno(errno);
    }
    if (ckpt_host_link_fd(fd, pending, path) != 0) {
        enum ckpt_err err = ckpt_err_from_errno(errno);
        (void)ckpt_host_unlinkat(pending, directory, AT_REMOVEDIR);
        return err;
    }
    return CKPT_OK;
}

/* Can be repeated. */
static int unlink_entry(struct ckpt_engine *engine, const struct ckpt_job *job)
{
    char directory[ENTRY_NAME];
    char path[CKPT_PENDING_PATH];
    int pending = ckpt_store_pendingfd(engine->store);
    entry_name(job, directory);
    ckpt_pending_path(job, path);
    return ckpt_host_unlinkat(pending, path, 0) != 0 && errno != ENOENT
               ? -1
               : ckpt_host_unlinkat(pending, directory, AT_REMOVEDIR);
}

/* Links FD, which is the inode that is held for it, into pending/. */
static enum ckpt_err add(struct ckpt_engine *engine, int fd, struct ckpt_job *job,
                         struct ckpt_held *held)
{
    struct stat st;
    enum ckpt_err err =
        ckpt_host_fstat(fd, &st) != 0 ? ckpt_err_from_errno(errno) : link_entry(engine, fd, job);
    pthread_mutex_lock(&engine->lock);
    held->changing--;
    if (err == CKPT_OK) {
        hold(held, job, &st);
        DL_APPEND(engine->jobs, job);
        rest(engine, job);
    } else {
        free_unused(engine, held);
    }
    pthread_mutex_unlock(&engine->lock);
    if (err == CKPT_OK) {
        ckpt_touched(engine, &st, fd);
    }
    return err;
}

enum ckpt_err ckpt_pending_add(struct ckpt_engine *engine, int fd, uint64_t dir, const char *name)
{
    struct stat st;
    struct ckpt_held *held = NULL;
    if (ckpt_host_fstat(fd, &st) != 0) {
        return ckpt_err_from_errno(errno);
    }
    struct ckpt_job *job = new_job(dir, name, atomic_fetch_add(&engine->next_sequence, 1));
    if (job == NULL) {
        return CKPT_ERR_NOMEM;
    }
    pthread_mutex_lock(&engine->lock);
    struct ckpt_job *present = same_capture(engine, &st, dir, name);
    if (present != NULL) {
        rest(engine, present);
    } else if ((held = held_of(engine, &st)) != NULL) {
        held->changing++;
    }
    pthread_mutex_unlock(&engine->lock);
    enum ckpt_err err = present != NULL ? CKPT_OK
                        : held == NULL  ? CKPT_ERR_NOMEM
                                        : add(engine, fd, job, held);
    if (err != CKPT_OK || present != NULL) {
        free(job);
    }
    /* The last name has gone meanwhile: nothing is left to capture. */
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

void ckpt_pending_finish(struct ckpt_engine *engine, struct ckpt_job *job)
{
    pthread_mutex_lock(&engine->lock);
    struct ckpt_held *held = unhold(job);
    if (held != NULL) {
        held->changing++;
    }
    DL_DELETE(engine->jobs, job);
    engine->finishing++;
    pthread_mutex_unlock(&engine->lock);

    /* Tried twice, because an entry that stays is more than untidy: the next start takes it once more, and should the
       file have become another one by then, the old bytes come out as the newest version. */
    int failed = unlink_entry(engine, job);
    if (failed != 0) {
        failed = unlink_entry(engine, job);
    }
    if (failed != 0) {
        char path[CKPT_PENDING_PATH];
        ckpt_pending_path(job, path);
        ckpt_reportf(CKPT_REPORT(engine), CKPT_WARNING,
                     "%s/pending/%s is recorded but could not be removed from the queue: %s; the next "
                     "start takes it once more",
                     ckpt_store_path(engine->store), path, strerror(errno));
    }
    pthread_mutex_lock(&engine->lock);
    if (held != NULL) {
        held->changing--;
    }
    let_go(engine, held);
    engine->finishing--;
    pthread_cond_broadcast(&engine->quiet);
    pthread_mutex_unlock(&engine->lock);
}

/* One entry, with engine->lock. */
static enum ckpt_err drop(struct ckpt_engine *engine, struct ckpt_job *job, uint64_t *bytes)
{
    char path[CKPT_PENDING_PATH];
    struct stat st;
    ckpt_pending_path(job, path);
    if (ckpt_host_fstatat(ckpt_store_pendingfd(engine->store), path, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
        unlink_entry(engine, job) != 0) {
        return ckpt_err_from_errno(errno);
    }
    *bytes += st.st_nlink == 1 ? (uint64_t)st.st_blocks * 512 : 0;
    let_go(engine, unhold(job));
    DL_DELETE(engine->jobs, job);
    free(job);
    return CKPT_OK;
}

enum ckpt_err ckpt_pending_drop(struct ckpt_engine *engine, uint64_t dir, const char *name,
                                uint64_t *files, uint64_t *bytes)
{
    struct ckpt_job *job = NULL;
    struct ckpt_job *next = NULL;
    enum ckpt_err err = CKPT_OK;
    *files = *bytes = 0;
    pthread_mutex_lock(&engine->lock);
    DL_FOREACH_SAFE (engine->jobs, job, next) {
        if (has_name(job, dir, name) && err == CKPT_OK) {
            err = drop(engine, job, bytes);
            *files += err == CKPT_OK;
        }
    }
    pthread_cond_broadcast(&engine->quiet);
    pthread_mutex_unlock(&engine->lock);
    return err == CKPT_OK && *files == 0 ? CKPT_ERR_NOT_FOUND : err;
}

/* ---- at start; with engine->lock ---- */

/* Takes apart "<dir>.<sequence>". */
static bool parse_entry_name(const char *text, uint64_t *dir, uint64_t *sequence)
{
    char *end = NULL;
    *dir = strtoull(text, &end, 16);
    if (end != text + 16 || *end != '.') {
        return false;
    }
    *sequence = strtoull(text + 17, &end, 16);
    return end == text + 33 && *end == '\0';
}

/* Queues the one file in the entry's directory. A crash can leave it empty: between mkdir and link, or between unlink
   and rmdir. */
static enum ckpt_err load_file(struct ckpt_engine *engine, DIR *stream, const char *directory,
                               uint64_t dir, uint64_t sequence)
{
    struct dirent *entry = NULL;
    while ((entry = ckpt_host_readdir(stream)) != NULL &&
           (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)) {
    }
    if (entry == NULL && errno != 0) {
        return ckpt_err_from_errno(errno);
    }
    if (entry == NULL) {
        int removed = ckpt_host_unlinkat(ckpt_store_pendingfd(engine->store), directory, AT_REMOVEDIR);
        return removed != 0 ? ckpt_err_from_errno(errno) : CKPT_OK;
    }
    struct stat st;
    if (ckpt_host_fstatat(dirfd(stream), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
        return ckpt_err_from_errno(errno);
    }
    struct ckpt_held *held = held_of(engine, &st);
    struct ckpt_job *job = held == NULL ? NULL : new_job(dir, entry->d_name, sequence);
    if (job == NULL) {
        return CKPT_ERR_NOMEM;
    }
    hold(held, job, &st);
    DL_APPEND(engine->jobs, job);
    return CKPT_OK;
}

static enum ckpt_err load_entry(struct ckpt_engine *engine, const char *directory)
{
    uint64_t dir = 0;
    uint64_t sequence = 0;
    if (!parse_entry_name(directory, &dir, &sequence)) {
        ckpt_reportf(CKPT_REPORT(engine), CKPT_WARNING,
                     "%s/pending/%s is nothing the queue has made; it is left alone",
                     ckpt_store_path(engine->store), directory);
        return CKPT_OK;
    }
    int fd = ckpt_host_openat(ckpt_store_pendingfd(engine->store), directory,
                              O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0) {
        return ckpt_err_from_errno(errno);
    }
    DIR *stream = fdopendir(fd);
    if (stream == NULL) {
        ckpt_host_close(fd);
        return CKPT_ERR_NOMEM;
    }
    enum ckpt_err err = load_file(engine, stream, directory, dir, sequence);
    closedir(stream);
    if (sequence >= atomic_load(&engine->next_sequence)) {
        atomic_store(&engine->next_sequence, sequence + 1);
    }
    return err;
}

enum ckpt_err ckpt_pending_load(struct ckpt_engine *engine)
{
    int fd = ckpt_host_openat(ckpt_store_pendingfd(engine->store), ".",
                              O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0) {
        return ckpt_err_from_errno(errno);
    }
    DIR *stream = fdopendir(fd);
    if (stream == NULL) {
        ckpt_host_close(fd);
        return CKPT_ERR_NOMEM;
    }
    /* Entries are ordered by time over restarts, as long as the clock doesn't jump back; then by number. */
    atomic_store(&engine->next_sequence, (uint64_t)ckpt_realtime_ns());
    enum ckpt_err err = CKPT_OK;
    struct dirent *entry;
    pthread_mutex_lock(&engine->lock);
    while (err == CKPT_OK && (entry = ckpt_host_readdir(stream)) != NULL) {
        if (entry->d_name[0] != '.') {
            err = load_entry(engine, entry->d_name);
        }
    }
    if (err == CKPT_OK) {
        err = ckpt_err_from_errno(errno);
    }
    DL_SORT(engine->jobs, by_sequence);
    pthread_mutex_unlock(&engine->lock);
    closedir(stream);
    return err;
}

void ckpt_pending_free_all(struct ckpt_engine *engine)
{
    struct ckpt_job *job = NULL;
    struct ckpt_job *next = NULL;
    struct ckpt_held *held = engine->held;
    DL_FOREACH_SAFE (engine->jobs, job, next) {
        free(job);
    }
    engine->jobs = NULL;
    HASH_CLEAR(hh, engine->held);
    while (held != NULL) {
        struct ckpt_held *next_held = held->hh.next;
        free(held);
        held = next_held;
    }
}
