/*
 * Ingest: the transaction, a batch. It has a part of a big file, or several small ones. A file is done only when the
 * one with its version is committed; then its entry in pending/ goes, and the live file gets its stamp.
 */
#include "ingest_parts.h"
#include "object/internal.h"
#include <ckpt/host.h>
#include <stdlib.h>

/* A write within one tick of the clock after a stamp would not show in mtime. */
enum { TICK_NS = 20 * 1000 * 1000 };

uint64_t ckpt_ingest_room(uint64_t bytes)
{
    return bytes + bytes / 8 + CKPT_SPARE_BYTES;
}

enum ckpt_err ckpt_ingest_begin(struct ckpt_ingest *in)
{
    if (in->txn != NULL) {
        return CKPT_OK;
    }
    if (ckpt_store_stopped(in->store)) {
        return CKPT_ERR_STOPPED;
    }
    /* LMDB answers a full disk in the middle of a commit with an I/O error: look before. */
    struct ckpt_space space;
    enum ckpt_err err = ckpt_store_space(in->store, &space);
    if (err != CKPT_OK) {
        return err;
    }
    uint64_t rest = in->expected > in->added ? in->expected - in->added : 0;
    if (space.host_free < ckpt_ingest_room(rest < CKPT_BATCH_BYTES ? rest : CKPT_BATCH_BYTES)) {
        return CKPT_ERR_NOSPC;
    }
    in->batch_bytes = 0;
    err = ckpt_store_begin(in->store, &in->txn);
    /* Before the versions: what was seen of a file before is older than they are. */
    return err == CKPT_OK ? ckpt_stamps_put(in->engine, in->txn) : err;
}

/* Jobs whose transaction has come to nothing are queued as before; as failed when that was no fault of a full disk or
   of another job. */
static void unpublish(struct ckpt_ingest *in, bool failed)
{
    pthread_mutex_lock(&in->engine->lock);
    for (unsigned i = 0; i < in->publishing; i++) {
        in->published[i].job->running = false;
        in->published[i].job->recorded = false;
        in->published[i].job->failed |= failed;
    }
    pthread_cond_broadcast(&in->engine->quiet);
    pthread_mutex_unlock(&in->engine->lock);
    for (unsigned i = 0; i < in->publishing; i++) {
        ckpt_host_close(in->published[i].fd);
    }
    in->publishing = 0;
}

void ckpt_ingest_abort(struct ckpt_ingest *in)
{
    ckpt_txn_abort(in->txn);
    in->txn = NULL;
    unpublish(in, false);
}

/* After the pending link has gone: how the live file looks while it is known to equal its version. */
static void stamp_live(struct ckpt_ingest *in, const struct ckpt_ingest_published *p)
{
    struct ckpt_engine *engine = in->engine;
    struct stat st;
    struct ckpt_stamp stamp = {0};
    uint64_t hot_bytes = 0;
    if (ckpt_host_fstat(p->fd, &st) != 0) {
        return;
    }
    if (st.st_nlink > 0) {
        struct ckpt_stamp now = ckpt_stamp_of(&st);
        const struct ckpt_engine_hooks *hooks = &engine->config.hooks;
        bool writing =
            hooks->writing != NULL && hooks->writing(engine->config.hooks_arg, st.st_dev, st.st_ino);
        hot_bytes = (uint64_t)st.st_blocks * 512;
        if (!writing && now.ino == p->stamp.ino && now.size == p->stamp.size &&
            now.mtime_ns == p->stamp.mtime_ns &&
            ckpt_realtime_ns() - now.mtime_ns > TICK_NS) {
            stamp = now;
        }
        stamp.ino = now.ino;
    }
    ckpt_stamp_save(engine, p->job->dir, p->job->name, &stamp, hot_bytes);
}

static void finish(struct ckpt_ingest *in, struct ckpt_ingest_published *p)
{
    struct stat before;
    bool known = ckpt_host_fstat(p->fd, &before) == 0;
    in->engine->recorded++;
    ckpt_pending_finish(in->engine, p->job);
    if (known) {
        ckpt_touched(in->engine, &before, p->fd);
    }
    stamp_live(in, p);
    ckpt_host_close(p->fd);
    free(p->job);
}

enum ckpt_err ckpt_ingest_commit(struct ckpt_ingest *in)
{
    if (in->txn == NULL) {
        return CKPT_OK;
    }
    enum ckpt_err err = ckpt_txn_commit(in->txn);
    in->txn = NULL;
    if (err == CKPT_ERR_IO) {
        ckpt_store_stop(in->store, "a commit of the database failed");
    } else if (err != CKPT_OK && err != CKPT_ERR_NOSPC) {
        ckpt_reportf(CKPT_REPORT(in->engine), CKPT_ERROR,
                     "%s: closed files could not be recorded: %s; they stay in pending/ and are tried again",
                     ckpt_store_path(in->store), ckpt_err_text(err));
    }
    if (err != CKPT_OK) {
        unpublish(in, err != CKPT_ERR_NOSPC);
        return err;
    }
    for (unsigned i = 0; i < in->publishing; i++) {
        finish(in, &in->published[i]);
    }
    in->publishing = 0;
    return CKPT_OK;
}
