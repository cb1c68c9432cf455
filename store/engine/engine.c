/*
 * The engine's thread: what to do next, one bounded step after the other.
 *
 * In order of urgency: what somebody waits for (commands), closed files, stamps and directory rows to save, names that
 * have gone, hot files over the limit, garbage, free pages. Nothing here holds a lock that a trainer needs for longer than a rename.
 */
#include "catalog/catalog_txn.h"
#include "catalog/run_parts.h"
#include "catalog/run_rows.h"
#include "common/live.h"
#include "engine_parts.h"
#include "object/internal.h"
#include "object/lineage.h"
#include "object/object.h"
#include "object/sweep.h"
#include "publish/keeper.h"
#include "publish/publish.h"
#include "retain/retain.h"
#include <ckpt/host.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

enum {
    RETRY_MS = 1000,        /* a file that is open, a full disk */
    FAILED_RETRY_MS = 60000, /* a file that can't be read */
    HOT_CHECK_MS = 2000,
    CLOSING_MS = 100, /* what was closed may still look open for so long */
    MOMENT_MS = 15,
    PUNCH_STEP = 64 << 20,
    AGING_COMMITS = 3, /* pages of the last transactions can't be punched yet (db.h) */
};

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

/* ---- steps ---- */

static void set_no_space(struct ckpt_engine *engine, bool no_space)
{
    pthread_mutex_lock(&engine->lock);
    bool news = engine->no_space != no_space;
    pthread_mutex_unlock(&engine->lock);
    engine->space_retry = no_space ? ckpt_now_ms() + RETRY_MS : 0;
    /* Told before whoever waits is woken and passes on what was told. */
    if (news && no_space) {
        ckpt_reportf(CKPT_REPORT(engine), CKPT_WARNING,
                     "%s: the host filesystem is full; closed files wait in pending/ and nothing is "
                     "lost. Free some space there and it goes on by itself: delete other files, or "
                     "forget versions (ckpt forget). Files that wait occupy their space even when "
                     "they are deleted; ckpt status lists them, ckpt forget --pending PATH gives one up",
                     ckpt_store_path(engine->store));
    } else if (news) {
        ckpt_reportf(CKPT_REPORT(engine), CKPT_NOTICE, "%s: there is space again",
                     ckpt_store_path(engine->store));
    }
    pthread_mutex_lock(&engine->lock);
    engine->no_space = no_space;
    pthread_cond_broadcast(&engine->quiet);
    pthread_mutex_unlock(&engine->lock);
}

/* After an error with a job: when to try it again. */
static void postpone(struct ckpt_engine *engine, struct ckpt_job *job, enum ckpt_err err)
{
    bool failed = err != CKPT_ERR_BUSY && err != CKPT_ERR_CHANGED && err != CKPT_ERR_NOSPC;
    char path[CKPT_PENDING_PATH];
    pthread_mutex_lock(&engine->lock);
    bool tell = failed && !job->failed;
    pthread_mutex_unlock(&engine->lock);
    if (tell) {
        ckpt_pending_path(job, path);
        ckpt_reportf(CKPT_REPORT(engine), CKPT_ERROR,
                     "%s/pending/%s could not be recorded: %s; it stays there and is tried again",
                     ckpt_store_path(engine->store), path, ckpt_err_text(err));
    }
    pthread_mutex_lock(&engine->lock);
    job->running = false;
    job->recorded = false;
    job->writing = err == CKPT_ERR_BUSY;
    if (!job->writing) {
        job->busy_since = 0;
    } else if (job->busy_since == 0) {
        job->busy_since = ckpt_now_ms();
    }
    job->failed = failed;
    job->not_before = ckpt_now_ms() + (failed ? FAILED_RETRY_MS : RETRY_MS);
    if (err == CKPT_ERR_CHANGED) {
        job->not_before = ckpt_now_ms() + engine->config.settle_ms;
    }
    pthread_cond_broadcast(&engine->quiet);
    pthread_mutex_unlock(&engine->lock);
}

/* Rows have transactions of their own, so the one that the files share ends first. The row of a job's directory
   was queued before the job. */
static enum ckpt_err save_rows_between(struct ckpt_engine *engine)
{
    pthread_mutex_lock(&engine->lock);
    bool rows = engine->dir_rows != NULL;
    pthread_mutex_unlock(&engine->lock);
    enum ckpt_err err = rows ? ckpt_ingest_commit(engine->ingest) : CKPT_OK;
    return err == CKPT_OK && rows ? ckpt_dir_rows_save(engine) : err;
}

/* With engine->lock. */
static bool any_lacks_space(const struct ckpt_engine *engine)
{
    const struct ckpt_job *job = NULL;
    DL_FOREACH (engine->jobs, job) {
        if (job->lacks_space) {
            return true;
        }
    }
    return false;
}

/* Every file that can go now, up to what somebody waits for. *WORKED: one was recorded, or was tried in vain for another
   reason than space. *INTERRUPTED: there may be more. */
static enum ckpt_err take_files(struct ckpt_engine *engine, bool *worked, bool *interrupted)
{
    for (;;) {
        int64_t wait = 0;
        pthread_mutex_lock(&engine->lock);
        *interrupted = engine->stop || engine->commands != NULL;
        struct ckpt_job *job = *interrupted ? NULL : ckpt_pending_next(engine, &wait);
        if (job != NULL) {
            job->running = true;
        }
        pthread_mutex_unlock(&engine->lock);
        if (job == NULL) {
            return CKPT_OK;
        }
        enum ckpt_err err = save_rows_between(engine);
        if (err == CKPT_OK) {
            err = ckpt_ingest_file(engine->ingest, job);
        }
        bool lacks_space = err == CKPT_ERR_NOSPC && job->lacks_space;
        if (err != CKPT_OK) {
            postpone(engine, job, err);
        }
        *worked = *worked || !lacks_space;
        /* One that is too big doesn't keep the smaller ones. */
        if ((err == CKPT_ERR_NOSPC && !lacks_space) || err == CKPT_ERR_STOPPED) {
            return err;
        }
    }
}

/* Closed files, as many as can go now; they share transactions. */
static bool step_ingest(struct ckpt_engine *engine)
{
    bool worked = false;
    bool interrupted = false;
    pthread_mutex_lock(&engine->lock);
    bool look_again = engine->look_again;
    engine->look_again = false;
    pthread_mutex_unlock(&engine->lock);
    if (ckpt_store_stopped(engine->store) ||
        (!look_again && ckpt_now_ms() < engine->space_retry)) {
        return false;
    }
    enum ckpt_err err = take_files(engine, &worked, &interrupted);
    enum ckpt_err committed = ckpt_ingest_commit(engine->ingest);
    if (err == CKPT_OK || committed != CKPT_OK) {
        err = committed;
    }
    pthread_mutex_lock(&engine->lock);
    bool no_space = err == CKPT_ERR_NOSPC || engine->save_stuck || any_lacks_space(engine);
    engine->rounds += !interrupted;
    pthread_mutex_unlock(&engine->lock);
    if (!interrupted || no_space) {
        set_no_space(engine, no_space);
    }
    /* What a failed commit has put back waits for the next round, as after a full disk. */
    return worked && committed == CKPT_OK && err != CKPT_ERR_NOSPC;
}

/* A row that can't be saved, and not because the host is full or the store has stopped: nobody waits for it. */
static void set_rows_error(struct ckpt_engine *engine, enum ckpt_err err)
{
    pthread_mutex_lock(&engine->lock);
    bool news = err != CKPT_OK && engine->rows_error == CKPT_OK;
    pthread_mutex_unlock(&engine->lock);
    if (news) {
        ckpt_reportf(CKPT_REPORT(engine), CKPT_ERROR,
                     "%s: the place of a directory could not be recorded: %s; it is tried again",
                     ckpt_store_path(engine->store), ckpt_err_text(err));
    }
    pthread_mutex_lock(&engine->lock);
    engine->rows_error = err;
    pthread_cond_broadcast(&engine->quiet);
    pthread_mutex_unlock(&engine->lock);
}

/* Files that could not be put aside when they were closed, for want of space. */
static bool step_missed(struct ckpt_engine *engine)
{
    struct ckpt_space space;
    pthread_mutex_lock(&engine->lock);
    bool missed = engine->missed;
    pthread_mutex_unlock(&engine->lock);
    if (!missed || ckpt_now_ms() < engine->missed_retry || ckpt_store_stopped(engine->store)) {
        return false;
    }
    engine->missed_retry = ckpt_now_ms() + RETRY_MS;
    if (ckpt_store_space(engine->store, &space) != CKPT_OK || space.host_free < CKPT_SPARE_BYTES) {
        return false;
    }
    pthread_mutex_lock(&engine->lock);
    engine->missed = false;
    pthread_mutex_unlock(&engine->lock);
    enum ckpt_err err = ckpt_capture_missed(engine);
    if (err != CKPT_OK) {
        pthread_mutex_lock(&engine->lock);
        engine->missed = true;
        pthread_mutex_unlock(&engine->lock);
    }
    return err == CKPT_OK;
}

/* Stamps and directory rows, when no version takes them along. */
static bool step_save(struct ckpt_engine *engine)
{
    struct ckpt_txn *txn = NULL;
    if (ckpt_store_stopped(engine->store) || ckpt_now_ms() < engine->save_retry) {
        return false;
    }
    bool worked = false;
    pthread_mutex_lock(&engine->lock);
    bool rows = engine->dir_rows != NULL;
    bool stamps = engine->stamps != NULL;
    pthread_mutex_unlock(&engine->lock);
    enum ckpt_err err = rows ? ckpt_dir_rows_save(engine) : CKPT_OK;
    if (rows && err != CKPT_ERR_NOSPC && err != CKPT_ERR_IO && err != CKPT_ERR_STOPPED) {
        set_rows_error(engine, err);
    }
    if (err == CKPT_OK && stamps) {
        err = ckpt_txn_write(engine->store->db, &txn);
    }
    if (err == CKPT_OK && txn != NULL) {
        worked = true;
        err = ckpt_stamps_put(engine, txn);
        if (err == CKPT_OK) {
            err = ckpt_txn_commit(txn);
        } else {
            ckpt_txn_abort(txn);
        }
    }
    if (err == CKPT_ERR_IO) {
        ckpt_store_stop(engine->store, "a commit of the database failed");
    }
    engine->save_stuck = err == CKPT_ERR_NOSPC;
    if (engine->save_stuck || (err == CKPT_OK && (rows || worked))) {
        pthread_mutex_lock(&engine->lock);
        bool no_space = engine->save_stuck || any_lacks_space(engine);
        pthread_mutex_unlock(&engine->lock);
        set_no_space(engine, no_space);
    }
    engine->save_retry = engine->save_stuck ? ckpt_now_ms() + RETRY_MS : 0;
    return worked && err == CKPT_OK;
}

static bool step_hot(struct ckpt_engine *engine)
{
    int64_t now = ckpt_now_ms();
    struct ckpt_space space;
    pthread_mutex_lock(&engine->lock);
    bool over = engine->hot_bytes > engine->config.hot_limit;
    uint64_t hot = engine->hot_bytes;
    bool news = engine->hot_check;
    engine->hot_check = false;
    pthread_mutex_unlock(&engine->lock);
    if (now < engine->next_hot_check && !(news && over)) {
        return false;
    }
    engine->next_hot_check = now + HOT_CHECK_MS;
    ckpt_ballast_keep(engine);
    /* What an open reader has kept may have become free. */
    engine->sweep = true;
    if (!over && hot > 0 && ckpt_store_space(engine->store, &space) == CKPT_OK) {
        over = space.host_free < engine->config.reserve;
    }
    bool worked = false;
    if (over && !ckpt_store_stopped(engine->store)) {
        (void)!ckpt_hot_enforce(engine, &worked);
    }
    engine->short_of_space = !worked && engine->config.reserve > 0 &&
                             ckpt_store_space(engine->store, &space) == CKPT_OK &&
                             space.host_free < engine->config.reserve;
    return worked;
}

/* Pages that were freed by the last transactions become usable after a few more. */
static enum ckpt_err age_free_pages(struct ckpt_engine *engine)
{
    enum ckpt_err err = CKPT_OK;
    struct ckpt_counters nothing = {0};
    for (int i = 0; err == CKPT_OK && i < AGING_COMMITS; i++) {
        struct ckpt_txn *txn = NULL;
        err = ckpt_store_begin(engine->store, &txn);
        if (err != CKPT_OK) {
            return err;
        }
        err = ckpt_counters_add(txn, &nothing);
        if (err == CKPT_OK) {
            err = ckpt_store_commit(engine->store, txn);
        } else {
            ckpt_txn_abort(txn);
        }
    }
    return err;
}

static bool step_sweep(struct ckpt_engine *engine)
{
    if (!engine->sweep || ckpt_store_stopped(engine->store)) {
        return false;
    }
    bool more = false;
    enum ckpt_err err = ckpt_sweep(engine->sweeper, &more);
    if (err == CKPT_ERR_NOSPC && ckpt_ballast_drop(engine)) {
        err = ckpt_sweep(engine->sweeper, &more);
    }
    engine->swept |= err == CKPT_OK;
    engine->sweep = more;
    if (!more && engine->swept) {
        err = age_free_pages(engine);
        if (err == CKPT_ERR_NOSPC && ckpt_ballast_drop(engine)) {
            err = age_free_pages(engine);
        }
        engine->punch = err == CKPT_OK;
        engine->swept = false;
    }
    return err == CKPT_OK;
}

static bool step_punch(struct ckpt_engine *engine)
{
    uint64_t punched = 0;
    if (!engine->punch || ckpt_store_stopped(engine->store)) {
        return false;
    }
    if (ckpt_db_punch(engine->store->db, PUNCH_STEP, &punched, &engine->punch) != CKPT_OK) {
        engine->punch = false;
    }
    return engine->punch;
}

/* What was captured becomes checkpoints. */
static bool step_publish(struct ckpt_engine *engine)
{
    bool worked = false;
    if (ckpt_store_stopped(engine->store) || ckpt_now_ms() < engine->publish_retry) {
        return false;
    }
    enum ckpt_err err = ckpt_publish_step(engine->publisher, &worked);
    engine->publish_retry = err == CKPT_OK ? 0 : ckpt_now_ms() + RETRY_MS;
    if (err != CKPT_OK && err != CKPT_ERR_NOSPC && !engine->publish_failed) {
        ckpt_reportf(CKPT_REPORT(engine), CKPT_ERROR,
                     "%s: what was captured could not be made checkpoints of: %s; it is in the history, and is tried again",
                     ckpt_store_path(engine->store), ckpt_err_text(err));
    }
    engine->publish_failed = err != CKPT_OK;
    return err == CKPT_OK && worked;
}

/* What is to be kept of checkpoints. An error was reported, and is tried again. */
static bool step_retain(struct ckpt_engine *engine)
{
    bool worked = false;
    (void)!ckpt_retain_step(engine, &worked);
    return worked;
}

/* ---- commands ---- */

enum ckpt_err ckpt_command_submit(struct ckpt_engine *engine, struct ckpt_command *command)
{
    pthread_mutex_lock(&engine->lock);
    LL_APPEND(engine->commands, command);
    pthread_cond_signal(&engine->wake);
    while (!command->done) {
        pthread_cond_wait(&engine->quiet, &engine->lock);
    }
    pthread_mutex_unlock(&engine->lock);
    return command->result;
}

static bool step_command(struct ckpt_engine *engine)
{
    pthread_mutex_lock(&engine->lock);
    struct ckpt_command *command = engine->commands;
    pthread_mutex_unlock(&engine->lock);
    if (command == NULL) {
        return false;
    }
    enum ckpt_err result = command->run(engine, command);
    pthread_mutex_lock(&engine->lock);
    LL_DELETE(engine->commands, command);
    command->result = result;
    command->done = true;
    pthread_cond_broadcast(&engine->quiet);
    pthread_mutex_unlock(&engine->lock);
    return true;
}

void ckpt_give_back(struct ckpt_engine *engine)
{
    engine->sweep = true;
    ckpt_sweeper_refresh(engine->sweeper);
    while (step_sweep(engine)) {
    }
    while (step_punch(engine)) {
    }
}

/* Whoever frees space must not fail for want of it. */
static enum ckpt_err save_rows_with_ballast(struct ckpt_engine *engine)
{
    enum ckpt_err err = ckpt_dir_rows_save(engine);
    return err == CKPT_ERR_NOSPC && ckpt_ballast_drop(engine) ? ckpt_dir_rows_save(engine) : err;
}

static enum ckpt_err drop_with_ballast(struct ckpt_engine *engine, uint64_t dir, const char *name,
                                       const struct ckpt_command *command)
{
    enum ckpt_err err =
        ckpt_catalog_drop(engine->store, dir, name, command->numbers, command->count);
    return err == CKPT_ERR_NOSPC && ckpt_ballast_drop(engine)
               ? ckpt_catalog_drop(engine->store, dir, name, command->numbers, command->count)
               : err;
}

/* Whether the versions exist (NOT_FOUND) and no cold live file consists of them (NEEDED). */
static enum ckpt_err may_forget(struct ckpt_engine *engine, uint64_t dir, const char *name,
                                const struct ckpt_command *command)
{
    struct ckpt_needed needed;
    struct ckpt_txn *txn = NULL;
    size_t found = 0;
    bool survives = false;
    enum ckpt_err err = ckpt_needed_find(engine, dir, name, &needed);
    if (err == CKPT_OK) {
        err = ckpt_txn_read(engine->store->db, &txn);
    }
    if (err == CKPT_OK) {
        err = ckpt_needed_survives_in(txn, &needed, dir, name, command->numbers, command->count, &found, &survives);
    }
    ckpt_txn_abort(txn);
    if (err == CKPT_OK && found < command->count) {
        err = CKPT_ERR_NOT_FOUND;
    }
    if (err == CKPT_OK && !survives) {
        ckpt_reportf(CKPT_REPORT(engine), CKPT_ERROR,
                     "%s is cold: its bytes are only in a version you want to forget. Delete the file first, or "
                     "open it for writing to make it hot",
                     command->path);
        err = CKPT_ERR_NEEDED;
    }
    return err;
}

static enum ckpt_err run_forget(struct ckpt_engine *engine, struct ckpt_command *command)
{
    uint64_t dir = CKPT_DIR_ROOT;
    uint64_t *runs = NULL;
    size_t n_runs = 0;
    char name[NAME_MAX + 1];
    enum ckpt_err err = save_rows_with_ballast(engine);
    if (err == CKPT_OK) {
        err = ckpt_catalog_resolve(engine->store, command->path, &dir, name);
    }
    if (err == CKPT_OK) {
        err = may_forget(engine, dir, name, command);
    }
    if (err == CKPT_OK) {
        /* Runs are read anew afterwards, which would lose what is touched and not saved. Steps leave nothing so. */
        err = ckpt_keeper_commit(engine->keeper);
    }
    if (err == CKPT_OK) {
        err = ckpt_member_runs(engine->store, dir, name, &runs, &n_runs);
    }
    if (err == CKPT_OK) {
        err = drop_with_ballast(engine, dir, name, command);
    }
    for (size_t i = 0; err == CKPT_OK && i < n_runs; i++) {
        ckpt_keeper_reload(engine->keeper, runs[i]);
        ckpt_retain_due(engine, runs[i]);
        if (engine->config.runs != NULL) {
            ckpt_runs_reload(engine->config.runs, runs[i]);
        }
    }
    free(runs);
    if (err == CKPT_OK) {
        ckpt_give_back(engine);
    }
    return err;
}

enum ckpt_err ckpt_engine_forget(struct ckpt_engine *engine, const char *path,
                                 const uint32_t *numbers, size_t n)
{
    struct ckpt_command command = {.run = run_forget, .path = path, .numbers = numbers, .count = n};
    return ckpt_command_submit(engine, &command);
}

static enum ckpt_err run_forget_pending(struct ckpt_engine *engine, struct ckpt_command *command)
{
    uint64_t dir = CKPT_DIR_ROOT;
    char name[NAME_MAX + 1];
    enum ckpt_err err = save_rows_with_ballast(engine);
    if (err == CKPT_OK) {
        err = ckpt_catalog_resolve(engine->store, command->path, &dir, name);
    }
    if (err == CKPT_OK) {
        err = ckpt_pending_drop(engine, dir, name, &command->files, &command->bytes);
    }
    if (err == CKPT_OK) {
        ckpt_reportf(CKPT_REPORT(engine), CKPT_NOTICE,
                     "%s: what waited in pending/ was given up on request, it is in no version",
                     command->path);
        engine->space_retry = 0;
    } else if (err == CKPT_ERR_NOT_FOUND) {
        ckpt_reportf(CKPT_REPORT(engine), CKPT_ERROR,
                     "nothing waits in pending/ under the name %s; \"ckpt status\" lists what does",
                     command->path);
    }
    return err;
}

enum ckpt_err ckpt_engine_forget_pending(struct ckpt_engine *engine, const char *path,
                                         uint64_t *files, uint64_t *bytes)
{
    struct ckpt_command command = {.run = run_forget_pending, .path = path};
    enum ckpt_err err = ckpt_command_submit(engine, &command);
    if (err == CKPT_OK) {
        *files = command.files;
        *bytes = command.bytes;
    }
    return err;
}

static enum ckpt_err run_demote(struct ckpt_engine *engine, struct ckpt_command *command)
{
    enum ckpt_err err = ckpt_dir_rows_save(engine);
    return err == CKPT_OK ? ckpt_hot_demote(engine, command->path, true) : err;
}

enum ckpt_err ckpt_engine_demote(struct ckpt_engine *engine, const char *path)
{
    struct ckpt_command command = {.run = run_demote, .path = path};
    return ckpt_command_submit(engine, &command);
}

/* ---- flush and status ---- */

/* With engine->lock: whether jobs up to SEQUENCE are still to be taken, directory rows to be saved, or runs to be judged;
   and the jobs that can't be taken. */
static bool busy_until(struct ckpt_engine *engine, uint64_t sequence, unsigned *writing,
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
        bool closing = job->writing && job->closing && ckpt_now_ms() - job->busy_since < CLOSING_MS;
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
static enum ckpt_err wait_until_recorded(struct ckpt_engine *engine, uint64_t until, unsigned *still_open,
                                         unsigned *failed)
{
    unsigned round = engine->rounds;
    while (busy_until(engine, until, still_open, failed)) {
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
        err = wait_until_recorded(engine, until, still_open, &failed);
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

/* ---- the thread ---- */

static bool step(struct ckpt_engine *engine)
{
    return step_command(engine) || step_ingest(engine) || step_missed(engine) || step_save(engine) ||
           step_publish(engine) || step_retain(engine) || step_hot(engine) || step_sweep(engine) || step_punch(engine);
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
    if (engine->publish_retry > 0 && wait < RETRY_MS) {
        wait = RETRY_MS;
    }
    if (wait < 0 || wait > HOT_CHECK_MS) {
        wait = HOT_CHECK_MS;
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
    (void)step_save(engine);
    return NULL;
}

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
