/*
 * Waiting until what was closed is in the database, and what is to be said of what isn't yet.
 */
#include "engine_parts.h"
#include <ckpt/host.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <utlist.h>

enum {
    CLOSING_MS = 500, /* what was closed may still look open for so long, on a busy machine */
    MOMENT_MS = 15,
};

/* With engine->lock: whether jobs up to SEQUENCE are still to be taken, directory rows to be saved, or runs to be judged;
   and the jobs that can't be taken. BEGAN: the flush (ckpt_now_ms). */
static bool busy_until(struct ckpt_engine *engine, uint64_t sequence, int64_t began, unsigned *writing,
                       unsigned *failed)
{
    bool busy = engine->finishing > 0 || engine->judging > 0 ||
                (engine->dir_rows != NULL && engine->rows_error == CKPT_OK);
    struct ckpt_job *job = NULL;
    *writing = 0;
    *failed = 0;
    DL_FOREACH (engine->jobs, job) {
        if (job->sequence > sequence) {
            continue;
        }
        /* The kernel tells a close twice, and the second time may be a moment behind. */
        bool closing = job->writing && job->closing && ckpt_now_ms() - began < CLOSING_MS;
        if (job->running || closing || (!job->writing && !job->failed)) {
            busy = true;
        }
        *writing += job->writing;
        *failed += job->failed;
    }
    return busy;
}

/* With engine->lock: until something is done, but not long. */
static void wait_a_moment(struct ckpt_engine *engine)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += (long)MOMENT_MS * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void)pthread_cond_timedwait(&engine->quiet, &engine->lock, &until);
}

/* With engine->lock: what has become versions becomes checkpoints, and what comes of it is judged. When that fails it is
   told, and nothing is lost. */
static enum ckpt_err wait_until_published(struct ckpt_engine *engine)
{
    unsigned mine = ++engine->publish_asked;
    engine->publish_found = engine->publish_open = false;
    pthread_cond_signal(&engine->wake);
    while ((int)(engine->publish_done - mine) < 0 || engine->judging > 0) {
        if (ckpt_store_stopped(engine->store)) {
            return CKPT_ERR_STOPPED;
        }
        pthread_cond_wait(&engine->quiet, &engine->lock);
    }
    return CKPT_OK;
}

/* With engine->lock: until the files that were closed before UNTIL are versions. */
static enum ckpt_err wait_until_recorded(struct ckpt_engine *engine, uint64_t until, int64_t began,
                                         unsigned *still_open, unsigned *failed)
{
    unsigned round = engine->rounds;
    while (busy_until(engine, until, began, still_open, failed)) {
        /* One may have been under way already: the next has seen all there is to take. */
        if (engine->no_space && engine->rounds - round >= 2) {
            return CKPT_ERR_NOSPC;
        }
        if (ckpt_store_stopped(engine->store)) {
            return CKPT_ERR_STOPPED;
        }
        wait_a_moment(engine);
    }
    return engine->dir_rows != NULL ? engine->rows_error : CKPT_OK;
}

enum ckpt_err ckpt_engine_flush(struct ckpt_engine *engine, unsigned *still_open)
{
    enum { ROUNDS = 8 };
    enum ckpt_err err = CKPT_OK;
    unsigned failed = 0;
    int64_t began = ckpt_now_ms();
    uint64_t until = atomic_load(&engine->next_sequence);
    pthread_mutex_lock(&engine->lock);
    engine->hurry++;
    engine->rows_error = CKPT_OK;
    engine->look_again = true;
    struct ckpt_job *job = NULL;
    DL_FOREACH (engine->jobs, job) {
        /* What was put off is looked at once more. */
        job->not_before = 0;
        job->writing = job->failed = false;
    }
    pthread_cond_signal(&engine->wake);
    /* In a checkpoint's directory there may be more than was captured by name, and it belongs to what was closed. */
    bool more = true;
    for (int round = 0; err == CKPT_OK && more && round < ROUNDS; round++) {
        err = wait_until_recorded(engine, until, began, still_open, &failed);
        if (err == CKPT_OK) {
            err = wait_until_published(engine);
        }
        more = engine->publish_found || engine->publish_open;
        if (more && !engine->publish_found) {
            wait_a_moment(engine); /* until it is closed, or it is open for longer */
        }
        until = atomic_load(&engine->next_sequence);
    }
    engine->hurry--;
    pthread_mutex_unlock(&engine->lock);
    if (err == CKPT_ERR_NOSPC) {
        ckpt_reportf(CKPT_REPORT(engine), CKPT_ERROR,
                     "%s: the host filesystem is full, and closed files wait in pending/; free some space, "
                     "\"ckpt status\" says what waits",
                     ckpt_store_path(engine->store));
    }
    return err != CKPT_OK ? err : failed > 0 ? CKPT_ERR_IO : CKPT_OK;
}

void ckpt_engine_status(struct ckpt_engine *engine, struct ckpt_engine_status *out)
{
    struct ckpt_engine_status status = {.hot_limit = engine->config.hot_limit,
                                        .stopped = ckpt_store_stopped(engine->store)};
    bool counted = ckpt_hot_count(engine, &status.hot_bytes) == CKPT_OK;
    pthread_mutex_lock(&engine->lock);
    if (counted && engine->stamps == NULL) {
        engine->hot_bytes = status.hot_bytes;
    } else {
        status.hot_bytes = engine->hot_bytes;
    }
    status.waiting_for_space = engine->no_space || engine->missed;
    struct ckpt_job *job = NULL;
    DL_FOREACH (engine->jobs, job) {
        status.queued_files++;
        status.queued_bytes += job->bytes;
    }
    pthread_mutex_unlock(&engine->lock);
    *out = status;
}

/* A copy of what the callback needs, because it may take its time. */
struct waiting {
    uint64_t dir;
    char name[NAME_MAX + 1];
    char entry[CKPT_PENDING_PATH];
    uint64_t bytes;
};

static size_t copy_waiting(struct ckpt_engine *engine, struct waiting *list, size_t room)
{
    size_t n = 0;
    const struct ckpt_job *job = NULL;
    pthread_mutex_lock(&engine->lock);
    DL_FOREACH (engine->jobs, job) {
        if (n == room) {
            break;
        }
        list[n].dir = job->dir;
        memcpy(list[n].name, job->name, sizeof list[n].name);
        ckpt_pending_path(job, list[n].entry);
        list[n++].bytes = job->bytes;
    }
    pthread_mutex_unlock(&engine->lock);
    return n;
}

enum ckpt_err ckpt_engine_each_waiting(struct ckpt_engine *engine, unsigned most, ckpt_waiting_fn *fn,
                                       void *arg)
{
    struct waiting *list = calloc(most, sizeof *list);
    if (list == NULL) {
        return CKPT_ERR_NOMEM;
    }
    size_t n = copy_waiting(engine, list, most);
    for (size_t i = 0; i < n; i++) {
        char path[PATH_MAX];
        struct stat st;
        int fd = ckpt_host_openat(ckpt_store_pendingfd(engine->store), list[i].entry,
                                  O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
        if (fd >= 0 && /* else it is done meanwhile */
            ckpt_catalog_path(engine->store, list[i].dir, path, sizeof path) == CKPT_OK &&
            strlen(path) + 1 + strlen(list[i].name) < sizeof path &&
            ckpt_engine_stat(engine, fd, &st) == CKPT_OK) {
            strcat(path, path[0] == '\0' ? "" : "/");
            strcat(path, list[i].name);
            fn(arg, path, list[i].bytes, st.st_nlink > 0);
        }
        ckpt_host_close(fd);
    }
    free(list);
    return CKPT_OK;
}
