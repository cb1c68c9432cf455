/*
 * The steps of the engine's thread: when something is to be done, what is told when it can't be, and when it is tried
 * again. Doing it is for others: ingest.c, hot.c, publish/, ...
 *
 * Nothing here holds a lock that a trainer needs for longer than a rename.
 */
#include "engine_parts.h"
#include "object/internal.h"
#include "object/object.h"
#include "object/sweep.h"
#include "publish/publish.h"
#include "retain/retain.h"
#include "steps.h"
#include <utlist.h>

enum {
    FAILED_RETRY_MS = 60000, /* a file that can't be read */
    PUNCH_STEP = 64 << 20,
    AGING_COMMITS = 3, /* pages of the last transactions can't be punched yet (db.h) */
};

static void set_no_space(struct ckpt_engine *engine, bool no_space)
{
    pthread_mutex_lock(&engine->lock);
    bool news = engine->no_space != no_space;
    pthread_mutex_unlock(&engine->lock);
    engine->space_retry = no_space ? ckpt_now_ms() + CKPT_RETRY_MS : 0;
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
    job->not_before = ckpt_now_ms() + (failed ? FAILED_RETRY_MS : CKPT_RETRY_MS);
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

bool ckpt_step_ingest(struct ckpt_engine *engine)
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

bool ckpt_step_missed(struct ckpt_engine *engine)
{
    struct ckpt_space space;
    pthread_mutex_lock(&engine->lock);
    bool missed = engine->missed;
    pthread_mutex_unlock(&engine->lock);
    if (!missed || ckpt_now_ms() < engine->missed_retry || ckpt_store_stopped(engine->store)) {
        return false;
    }
    engine->missed_retry = ckpt_now_ms() + CKPT_RETRY_MS;
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

bool ckpt_step_save(struct ckpt_engine *engine)
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
    engine->save_retry = engine->save_stuck ? ckpt_now_ms() + CKPT_RETRY_MS : 0;
    return worked && err == CKPT_OK;
}

bool ckpt_step_hot(struct ckpt_engine *engine)
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
    engine->next_hot_check = now + CKPT_HOT_CHECK_MS;
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

bool ckpt_step_sweep(struct ckpt_engine *engine)
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

bool ckpt_step_punch(struct ckpt_engine *engine)
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

bool ckpt_step_publish(struct ckpt_engine *engine)
{
    bool worked = false;
    if (ckpt_store_stopped(engine->store) || ckpt_now_ms() < engine->publish_retry) {
        return false;
    }
    enum ckpt_err err = ckpt_publish_step(engine->publisher, &worked);
    engine->publish_retry = err == CKPT_OK ? 0 : ckpt_now_ms() + CKPT_RETRY_MS;
    if (err != CKPT_OK && err != CKPT_ERR_NOSPC && !engine->publish_failed) {
        ckpt_reportf(CKPT_REPORT(engine), CKPT_ERROR,
                     "%s: what was captured could not be made checkpoints of: %s; it is in the history, and is tried again",
                     ckpt_store_path(engine->store), ckpt_err_text(err));
    }
    engine->publish_failed = err != CKPT_OK;
    return err == CKPT_OK && worked;
}

bool ckpt_step_retain(struct ckpt_engine *engine)
{
    bool worked = false;
    (void)!ckpt_retain_step(engine, &worked);
    return worked;
}
