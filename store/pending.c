/*
 * The queue of closed files: pending/ on disk, which survives anything, and its picture in memory.
 *
 * An entry is pending/<directory id>.<sequence>/<file name>, a hard link to the closed file, or a copy
 * of it when the file had to be changed before its turn came.
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
};

static void entry_name(const struct ckpt_job *job, char name[34])
{
    snprintf(name, 34, "%016" PRIx64 ".%016" PRIx64, job->target.dir, job->sequence);
}

void ckpt_pending_path(const struct ckpt_job *job, char *path)
{
    snprintf(path, CKPT_PENDING_PATH, "%016" PRIx64 ".%016" PRIx64 "/%s", job->target.dir,
             job->sequence, job->target.name);
}

struct ckpt_job *ckpt_pending_find(struct ckpt_engine *engine, dev_t dev, ino_t ino)
{
    struct ckpt_job probe;
    memset(&probe, 0, sizeof probe);
    probe.key.dev = dev;
    probe.key.ino = ino;
    struct ckpt_job *job = NULL;
    HASH_FIND(hh, engine->jobs, &probe.key, sizeof probe.key, job);
    return job;
}

static enum ckpt_err insert(struct ckpt_engine *engine, struct ckpt_job *job)
{
    HASH_ADD(hh, engine->jobs, key, sizeof job->key, job);
    if (job->hh.tbl == NULL) {
        return CKPT_ERR_NOMEM;
    }
    DL_APPEND(engine->first, job);
    return CKPT_OK;
}

/* A job that found no memory in rekey isn't in the hash. */
static void unhash(struct ckpt_engine *engine, struct ckpt_job *job)
{
    if (job->hh.tbl != NULL) {
        HASH_DEL(engine->jobs, job);
    }
}

void ckpt_pending_free(struct ckpt_job *job)
{
    struct ckpt_target *target = job->target.next;
    while (target != NULL) {
        struct ckpt_target *next = target->next;
        free(target);
        target = next;
    }
    free(job);
}

static struct ckpt_job *new_job(uint64_t dir, const char *name, uint64_t sequence)
{
    struct ckpt_job *job = calloc(1, sizeof *job);
    if (job != NULL) {
        job->target.dir = dir;
        job->sequence = sequence;
        snprintf(job->target.name, sizeof job->target.name, "%s", name);
    }
    return job;
}

static void set_key(struct ckpt_job *job, const struct stat *st)
{
    job->key.dev = st->st_dev;
    job->key.ino = st->st_ino;
    job->bytes = (uint64_t)st->st_size;
}

void ckpt_pending_closed(struct ckpt_engine *engine, struct ckpt_job *job)
{
    if (job->writing) {
        job->writing = false;
        job->busy_since = 0;
        job->not_before = ckpt_now_ms();
        pthread_cond_signal(&engine->wake);
    }
}

void ckpt_pending_rekey(struct ckpt_engine *engine, struct ckpt_job *job, const struct stat *st)
{
    ckpt_pending_closed(engine, job);
    unhash(engine, job);
    set_key(job, st);
    /* Nobody but the queue has this inode: without memory it is merely not found by it. */
    job->hh.tbl = NULL;
    HASH_ADD(hh, engine->jobs, key, sizeof job->key, job);
}

/* Another name for a file that is pending already, or its own once more: it rests again. */
static enum ckpt_err add_target(struct ckpt_engine *engine, struct ckpt_job *job, uint64_t dir,
                                const char *name, bool *joined)
{
    *joined = false;
    if (job->recorded) {
        /* Too late to join: it gets an entry of its own as soon as this one is done. */
        return CKPT_OK;
    }
    for (struct ckpt_target *t = &job->target; t != NULL; t = t->next) {
        if (t->dir == dir && strcmp(t->name, name) == 0) {
            *joined = true;
        }
    }
    if (!*joined) {
        struct ckpt_target *target = calloc(1, sizeof *target);
        if (target == NULL) {
            return CKPT_ERR_NOMEM;
        }
        target->dir = dir;
        snprintf(target->name, sizeof target->name, "%s", name);
        target->next = job->target.next;
        job->target.next = target;
        *joined = true;
    }
    job->not_before = ckpt_now_ms() + engine->config.settle_ms;
    job->writing = false;
    job->failed = false;
    pthread_cond_signal(&engine->wake);
    return CKPT_OK;
}

static enum ckpt_err link_entry(struct ckpt_engine *engine, int fd, const struct ckpt_job *job)
{
    char directory[34];
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

static int unlink_entry(struct ckpt_engine *engine, const struct ckpt_job *job)
{
    char directory[34];
    char path[CKPT_PENDING_PATH];
    int pending = ckpt_store_pendingfd(engine->store);
    entry_name(job, directory);
    ckpt_pending_path(job, path);
    return ckpt_host_unlinkat(pending, path, 0) != 0
               ? -1
               : ckpt_host_unlinkat(pending, directory, AT_REMOVEDIR);
}

enum ckpt_err ckpt_pending_add(struct ckpt_engine *engine, int fd, uint64_t dir, const char *name)
{
    struct stat st;
    if (ckpt_host_fstat(fd, &st) != 0) {
        return ckpt_err_from_errno(errno);
    }
    bool joined = false;
    enum ckpt_err err = CKPT_OK;
    pthread_mutex_lock(&engine->lock);
    struct ckpt_job *present = ckpt_pending_find(engine, st.st_dev, st.st_ino);
    while (present != NULL && !joined && err == CKPT_OK) {
        err = add_target(engine, present, dir, name, &joined);
        if (err == CKPT_OK && !joined) {
            pthread_cond_wait(&engine->quiet, &engine->lock);
            present = ckpt_pending_find(engine, st.st_dev, st.st_ino);
        }
    }
    pthread_mutex_unlock(&engine->lock);
    if (err != CKPT_OK || joined) {
        return err;
    }

    struct ckpt_job *job = new_job(dir, name, atomic_fetch_add(&engine->next_sequence, 1));
    if (job == NULL) {
        return CKPT_ERR_NOMEM;
    }
    err = link_entry(engine, fd, job);
    if (err != CKPT_OK) {
        ckpt_pending_free(job);
        /* The last name has gone meanwhile: nothing is left to capture. */
        return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
    }
    set_key(job, &st);
    job->not_before = ckpt_now_ms() + engine->config.settle_ms;
    pthread_mutex_lock(&engine->lock);
    err = insert(engine, job);
    pthread_cond_signal(&engine->wake);
    pthread_mutex_unlock(&engine->lock);
    if (err != CKPT_OK) {
        unlink_entry(engine, job);
        ckpt_pending_free(job);
    }
    return err;
}

static bool share_a_name(const struct ckpt_job *a, const struct ckpt_job *b)
{
    for (const struct ckpt_target *t = &a->target; t != NULL; t = t->next) {
        for (const struct ckpt_target *u = &b->target; u != NULL; u = u->next) {
            if (t->dir == u->dir && strcmp(t->name, u->name) == 0) {
                return true;
            }
        }
    }
    return false;
}

/* An earlier file of the same name goes first, or the history would be in disorder and its end not the newest.
   One that can't be read, or that somebody keeps open, is closed later than JOB and comes later. */
static bool must_wait(const struct ckpt_engine *engine, const struct ckpt_job *job, int64_t now)
{
    for (const struct ckpt_job *earlier = engine->first; earlier != job; earlier = earlier->next) {
        bool stuck = earlier->failed ||
                     (earlier->writing && now - earlier->busy_since >= RELEASE_MS);
        if (!earlier->running && !stuck && share_a_name(earlier, job)) {
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
    DL_FOREACH (engine->first, job) {
        if (job->running) {
            continue;
        }
        bool settling = !job->writing && !job->failed;
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

void ckpt_pending_finish(struct ckpt_engine *engine, struct ckpt_job *job)
{
    pthread_mutex_lock(&engine->lock);
    unhash(engine, job);
    DL_DELETE(engine->first, job);
    engine->finishing++;
    pthread_mutex_unlock(&engine->lock);

    if (unlink_entry(engine, job) != 0) {
        char path[CKPT_PENDING_PATH];
        ckpt_pending_path(job, path);
        ckpt_reportf(CKPT_REPORT(engine), CKPT_WARNING,
                     "%s/pending/%s is recorded but could not be removed from the queue: %s; the next "
                     "start takes it once more and finds nothing new",
                     ckpt_store_path(engine->store), path, strerror(errno));
    }
    pthread_mutex_lock(&engine->lock);
    engine->finishing--;
    pthread_cond_broadcast(&engine->quiet);
    pthread_mutex_unlock(&engine->lock);
}

/* Two entries of one inode come from a crash after one was recorded and before it was taken out: they become one. */
static enum ckpt_err load_job(struct ckpt_engine *engine, struct ckpt_job *job)
{
    struct ckpt_job *present = ckpt_pending_find(engine, job->key.dev, job->key.ino);
    if (present == NULL) {
        enum ckpt_err err = insert(engine, job);
        if (err != CKPT_OK) {
            ckpt_pending_free(job);
        }
        return err;
    }
    bool joined = false;
    enum ckpt_err err = add_target(engine, present, job->target.dir, job->target.name, &joined);
    if (err == CKPT_OK && unlink_entry(engine, job) != 0) {
        err = ckpt_err_from_errno(errno);
    }
    ckpt_pending_free(job);
    return err;
}

/* One directory of pending/ at start. A crash can leave it empty: between mkdir and link, or between
   unlink and rmdir. */
static enum ckpt_err load_entry(struct ckpt_engine *engine, const char *directory)
{
    int pending = ckpt_store_pendingfd(engine->store);
    char *end = NULL;
    uint64_t dir = strtoull(directory, &end, 16);
    bool ours = end == directory + 16 && *end == '.';
    uint64_t sequence = ours ? strtoull(directory + 17, &end, 16) : 0;
    if (!ours || end != directory + 33 || *end != '\0') {
        ckpt_reportf(CKPT_REPORT(engine), CKPT_WARNING,
                     "%s/pending/%s is nothing the queue has made; it is left alone",
                     ckpt_store_path(engine->store), directory);
        return CKPT_OK;
    }
    int fd = ckpt_host_openat(pending, directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0) {
        return ckpt_err_from_errno(errno);
    }
    DIR *stream = fdopendir(fd);
    if (stream == NULL) {
        ckpt_host_close(fd);
        return CKPT_ERR_NOMEM;
    }
    enum ckpt_err err = CKPT_OK;
    struct ckpt_job *job = NULL;
    struct dirent *entry;
    while (err == CKPT_OK && job == NULL && (entry = readdir(stream)) != NULL) {
        struct stat st;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) {
            continue;
        }
        if (ckpt_host_fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0) {
            err = ckpt_err_from_errno(errno);
        } else if ((job = new_job(dir, entry->d_name, sequence)) == NULL) {
            err = CKPT_ERR_NOMEM;
        } else {
            set_key(job, &st);
        }
    }
    closedir(stream);
    if (err == CKPT_OK && job == NULL &&
        ckpt_host_unlinkat(pending, directory, AT_REMOVEDIR) != 0) {
        err = ckpt_err_from_errno(errno);
    }
    if (job != NULL) {
        err = load_job(engine, job);
        if (sequence >= atomic_load(&engine->next_sequence)) {
            atomic_store(&engine->next_sequence, sequence + 1);
        }
    }
    return err;
}

static int by_sequence(struct ckpt_job *a, struct ckpt_job *b)
{
    return a->sequence < b->sequence ? -1 : a->sequence > b->sequence;
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
    while (err == CKPT_OK && (entry = readdir(stream)) != NULL) {
        if (entry->d_name[0] != '.') {
            err = load_entry(engine, entry->d_name);
        }
    }
    DL_SORT(engine->first, by_sequence);
    pthread_mutex_unlock(&engine->lock);
    closedir(stream);
    return err;
}

void ckpt_pending_free_all(struct ckpt_engine *engine)
{
    HASH_CLEAR(hh, engine->jobs);
    struct ckpt_job *job = engine->first;
    while (job != NULL) {
        struct ckpt_job *next = job->next;
        ckpt_pending_free(job);
        job = next;
    }
    engine->first = NULL;
}
