/*
 * Commands: what other threads have the engine's thread do, and wait for. Here are those for files: forgetting, giving
 * up what waits in pending/, making cold.
 */
#include "catalog/run_parts.h"
#include "catalog/run_rows.h"
#include "engine_parts.h"
#include "object/internal.h"
#include "object/sweep.h"
#include "publish/keeper.h"
#include "retain/retain.h"
#include "steps.h"
#include <stdlib.h>
#include <utlist.h>

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

bool ckpt_step_command(struct ckpt_engine *engine)
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
    while (ckpt_step_sweep(engine)) {
    }
    while (ckpt_step_punch(engine)) {
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
