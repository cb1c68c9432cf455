/*
 * The engine's thread: what to do next, one step (steps.h) after the other; its start and its end.
 *
 * In order of urgency: what somebody waits for (commands), closed files, stamps and directory rows to save, captures
 * and names that have gone, checkpoints to be judged, hot files over the limit, garbage, free pages.
 */
#include "engine_parts.h"
#include "object/internal.h"
#include "object/lineage.h"
#include "object/sweep.h"
#include "publish/keeper.h"
#include "publish/publish.h"
#include "retain/retain.h"
#include "steps.h"
#include <ckpt/host.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

int64_t ckpt_now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t ckpt_realtime_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void ckpt_engine_names_lock(struct ckpt_engine *engine)
{
    pthread_rwlock_rdlock(&engine->names);
}

void ckpt_engine_names_unlock(struct ckpt_engine *engine)
{
    pthread_rwlock_unlock(&engine->names);
}

/* ---- the thread ---- */

static bool step(struct ckpt_engine *engine)
{
    return ckpt_step_command(engine) || ckpt_step_ingest(engine) || ckpt_step_missed(engine) ||
           ckpt_step_save(engine) || ckpt_step_publish(engine) || ckpt_step_retain(engine) ||
           ckpt_step_hot(engine) || ckpt_step_sweep(engine) || ckpt_step_punch(engine);
}

/* With engine->lock: milliseconds until there may be something to do. */
static int64_t idle_time(struct ckpt_engine *engine)
{
    int64_t wait = -1;
    if (ckpt_pending_next(engine, &wait) != NULL) {
        /* It has become ready while the last step was under way, or there is no space. */
        wait = engine->space_retry - ckpt_now_ms();
        wait = wait < 0 ? 0 : wait;
    }
    int64_t publish = ckpt_publish_wait(engine->publisher);
    if (publish >= 0 && (wait < 0 || publish < wait)) {
        wait = publish;
    }
    /* Asked for while a step was under way: nobody waited for the signal. */
    bool asked = engine->publish_asked != engine->publish_done || engine->looks != NULL || engine->notes != NULL ||
                 (engine->hurry > 0 && engine->judging > 0);
    if (asked && !ckpt_store_stopped(engine->store)) {
        wait = 0;
    }
    if (engine->publish_retry > 0 && wait < CKPT_RETRY_MS) {
        wait = CKPT_RETRY_MS;
    }
    if (wait < 0 || wait > CKPT_HOT_CHECK_MS) {
        wait = CKPT_HOT_CHECK_MS;
    }
    return wait < 1 ? 1 : wait;
}

static void *run(void *arg)
{
    struct ckpt_engine *engine = arg;
    ckpt_thread_background();
    pthread_mutex_lock(&engine->lock);
    for (;;) {
        if (engine->stop && engine->commands == NULL) {
            break;
        }
        pthread_mutex_unlock(&engine->lock);
        bool worked = step(engine);
        pthread_mutex_lock(&engine->lock);
        if (ckpt_store_stopped(engine->store)) {
            /* Whoever waits may have begun before somebody else's failed sync. */
            pthread_cond_broadcast(&engine->quiet);
        }
        if (!worked && !engine->stop && engine->commands == NULL) {
            int64_t ms = idle_time(engine);
            struct timespec until;
            clock_gettime(CLOCK_MONOTONIC, &until);
            until.tv_sec += ms / 1000;
            until.tv_nsec += ms % 1000 * 1000000;
            if (until.tv_nsec >= 1000000000) {
                until.tv_sec++;
                until.tv_nsec -= 1000000000;
            }
            pthread_cond_timedwait(&engine->wake, &engine->lock, &until);
        }
    }
    pthread_mutex_unlock(&engine->lock);
    (void)ckpt_step_save(engine);
    return NULL;
}

/* ---- start and stop ---- */

/* Whatever was on its way to a name when the last process ended. */
static enum ckpt_err empty_tmp(struct ckpt_engine *engine)
{
    int tmp = ckpt_store_tmpfd(engine->store);
    int fd = ckpt_host_openat(tmp, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0) {
        return ckpt_err_from_errno(errno);
    }
    DIR *stream = fdopendir(fd);
    if (stream == NULL) {
        ckpt_host_close(fd);
        return CKPT_ERR_NOMEM;
    }
    enum ckpt_err err = CKPT_OK;
    struct dirent *entry;
    while (err == CKPT_OK && (entry = ckpt_host_readdir(stream)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
            ckpt_host_unlinkat(tmp, entry->d_name, 0) != 0) {
            err = ckpt_err_from_errno(errno);
        }
    }
    if (err == CKPT_OK) {
        err = ckpt_err_from_errno(errno);
    }
    closedir(stream);
    return err;
}

static enum ckpt_err create(struct ckpt_store *store, const struct ckpt_engine_config *config,
                            struct ckpt_engine **out)
{
    struct ckpt_engine *engine = calloc(1, sizeof *engine);
    if (engine == NULL) {
        return CKPT_ERR_NOMEM;
    }
    engine->store = store;
    engine->config = *config;
    store->depth = config->depth < CKPT_LINEAGE_MAX ? config->depth : CKPT_LINEAGE_MAX;
    if (engine->config.threads == 0) {
        long cores = sysconf(_SC_NPROCESSORS_ONLN);
        engine->config.threads = cores < 1 ? 1 : cores > 4 ? 4 : (unsigned)cores;
    }
    /* Finds what the last process left behind. */
    engine->sweep = true;
    engine->recorded = 1;
    ckpt_origins_init(engine);
    /* An exchange mustn't wait until nobody looks anything up. */
    pthread_rwlockattr_t names;
    pthread_rwlockattr_init(&names);
    pthread_rwlockattr_setkind_np(&names, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&engine->names, &names);
    pthread_rwlockattr_destroy(&names);
    pthread_mutex_init(&engine->capture, NULL);
    pthread_mutex_init(&engine->rows, NULL);
    pthread_mutex_init(&engine->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&engine->wake, &attr);
    pthread_cond_init(&engine->quiet, NULL);
    pthread_condattr_destroy(&attr);
    *out = engine;
    return CKPT_OK;
}

static void free_looks(struct ckpt_look *list)
{
    struct ckpt_look *look = NULL;
    struct ckpt_look *next = NULL;
    LL_FOREACH_SAFE (list, look, next) {
        free(look);
    }
}

static void destroy(struct ckpt_engine *engine)
{
    struct ckpt_saved_stamp *saved = NULL;
    struct ckpt_saved_stamp *next_saved = NULL;
    struct ckpt_dir_row *row = NULL;
    struct ckpt_dir_row *next_row = NULL;
    ckpt_publisher_free(engine->publisher);
    free_looks(engine->looks);
    free_looks(engine->notes);
    ckpt_ingest_free(engine->ingest);
    ckpt_retainer_free(engine->retainer);
    ckpt_keeper_free(engine->keeper);
    ckpt_sweeper_free(engine->sweeper);
    ckpt_pool_free(engine->pool);
    ckpt_codec_free(engine->codec);
    ckpt_pending_free_all(engine);
    ckpt_origins_clear(engine);
    ckpt_gone_free(engine->gone);
    LL_FOREACH_SAFE (engine->stamps, saved, next_saved) {
        free(saved);
    }
    LL_FOREACH_SAFE (engine->dir_rows, row, next_row) {
        free(row);
    }
    pthread_cond_destroy(&engine->quiet);
    pthread_cond_destroy(&engine->wake);
    pthread_mutex_destroy(&engine->lock);
    pthread_mutex_destroy(&engine->rows);
    pthread_mutex_destroy(&engine->capture);
    pthread_rwlock_destroy(&engine->names);
    free(engine);
}

/* A start needs a little: names in pending/, directory rows, the daemon's socket. */
static void make_room(struct ckpt_engine *engine)
{
    struct ckpt_space space;
    if (ckpt_store_space(engine->store, &space) == CKPT_OK && space.host_free < CKPT_SPARE_BYTES) {
        (void)ckpt_ballast_drop(engine);
    }
}

enum ckpt_err ckpt_engine_start(struct ckpt_store *store, const struct ckpt_engine_config *config,
                                struct ckpt_engine **out)
{
    struct ckpt_engine *engine = NULL;
    enum ckpt_err err = create(store, config, &engine);
    if (err != CKPT_OK) {
        return err;
    }
    err = ckpt_codec_create(&engine->codec);
    if (err == CKPT_OK) {
        err = ckpt_pool_create(engine->config.threads, true, &engine->pool);
    }
    if (err == CKPT_OK) {
        err = ckpt_ingest_create(engine, &engine->ingest);
    }
    if (err == CKPT_OK) {
        err = ckpt_sweeper_create(store, engine->codec, engine->pool, &engine->sweeper);
    }
    if (err == CKPT_OK) {
        err = ckpt_keeper_create(store, config->runs, &engine->keeper);
    }
    if (err == CKPT_OK) {
        err = ckpt_publisher_create(engine, &engine->publisher);
    }
    if (err == CKPT_OK) {
        err = ckpt_retainer_create(engine, &engine->retainer);
    }
    if (err == CKPT_OK) {
        make_room(engine);
        err = empty_tmp(engine);
    }
    if (err == CKPT_OK) {
        err = ckpt_pending_load(engine);
    }
    if (err == CKPT_OK) {
        err = ckpt_reconcile(engine);
    }
    if (err == CKPT_OK) {
        (void)!ckpt_hot_count(engine, &engine->hot_bytes);
        err = pthread_create(&engine->thread, NULL, run, engine) == 0 ? CKPT_OK : CKPT_ERR_NOMEM;
    }
    if (err != CKPT_OK) {
        destroy(engine);
        return err;
    }
    *out = engine;
    return CKPT_OK;
}

void ckpt_engine_stop(struct ckpt_engine *engine, bool drain)
{
    if (engine == NULL) {
        return;
    }
    if (drain) {
        unsigned still_open = 0;
        (void)!ckpt_engine_flush(engine, &still_open);
    }
    pthread_mutex_lock(&engine->lock);
    engine->stop = true;
    pthread_cond_signal(&engine->wake);
    pthread_mutex_unlock(&engine->lock);
    pthread_join(engine->thread, NULL);
    destroy(engine);
}
