/*
 * Fresh captures become members of checkpoints, a batch of them in one transaction.
 */
#include "assemble.h"
#include "catalog/run_rows.h"
#include "object/internal.h"
#include "provenance/process.h"
#include "publish.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { BATCH = 256 /* captures in one transaction */ };

/* What a batch does to the database besides the checkpoints. */
struct process_text {
    char *json;
    uint64_t process;
};

struct batch {
    struct ckpt_fresh fresh[BATCH];
    size_t count;
    struct process_text processes[BATCH];
    size_t process_count;
    /* Checkpoints of other runs whose files turned out to be parts of something bigger. */
    struct {
        uint64_t run;
        uint32_t number;
    } absorbed[BATCH];
    size_t absorbed_count;
};

/* ---- what is known about it ---- */

static enum ckpt_err find_parent(struct ckpt_publisher *p, const struct ckpt_origin_version *read, uint64_t *parent)
{
    struct ckpt_version v;
    struct ckpt_runs *runs = p->engine->config.runs;
    struct ckpt_run *run = NULL;
    uint64_t dir = 0;
    uint32_t number = 0;
    if (!read->known || runs == NULL) {
        return CKPT_OK;
    }
    /* Number 0: it was still waiting in pending/ when it was read, and is the newest one. */
    enum ckpt_err err = ckpt_catalog_version(p->engine->store, read->dir, read->name, read->number, &v);
    if (err == CKPT_OK) {
        err = ckpt_runs_by_version(runs, v.dir, v.name, v.number, &dir, &number);
    }
    if (err == CKPT_OK) {
        err = ckpt_keeper_run(p->engine->keeper, dir, false, &run);
    }
    if (err == CKPT_OK) {
        const struct ckpt_checkpoint *c = ckpt_run_number(run, number);
        *parent = c == NULL ? 0 : c->id;
    }
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

/* Who wrote it, and what he had read before. */
static enum ckpt_err find_origin(struct ckpt_publisher *p, struct batch *batch, struct ckpt_arrival *at)
{
    struct ckpt_origin_info info = {0};
    struct ckpt_engine *engine = p->engine;
    if (!ckpt_origin_of_capture(engine, at->version->sequence, &info)) {
        return CKPT_OK;
    }
    enum ckpt_err err = find_parent(p, &info.parent, &at->parent);
    if (err == CKPT_OK && info.process != NULL) {
        struct process_text *text = &batch->processes[batch->process_count];
        err = ckpt_process_json(info.process, &text->json);
        if (err == CKPT_OK) {
            text->process = ckpt_process_id(text->json);
            at->process = text->process;
            batch->process_count++;
        }
    }
    ckpt_origin_release(&info);
    return err;
}

/* The file was a checkpoint by itself until the directory that it stands in turned out to be one. */
struct absorbing {
    struct batch *batch;
    uint64_t run;
};

static bool absorb(void *arg, uint64_t run, uint32_t number)
{
    struct absorbing *a = arg;
    if (run != a->run && a->batch->absorbed_count < BATCH) {
        a->batch->absorbed[a->batch->absorbed_count].run = run;
        a->batch->absorbed[a->batch->absorbed_count++].number = number;
    }
    return true;
}

static enum ckpt_err find_absorbed(struct ckpt_publisher *p, struct batch *batch, const struct ckpt_run *run,
                                   const struct ckpt_version *v)
{
    struct ckpt_txn *txn = NULL;
    struct absorbing a = {.batch = batch, .run = run->dir};
    enum ckpt_err err = ckpt_txn_read(p->engine->store->db, &txn);
    if (err == CKPT_OK) {
        err = ckpt_member_each_holder_in(txn, v->dir, v->name, v->number, absorb, &a);
    }
    ckpt_txn_abort(txn);
    return err;
}

/*
 * The file may have been deleted while it waited: when that was told it was no checkpoint's yet. One that had been rotated, or had
 * gone with its directory, is there again because one of its files is; what has become of the others nobody has told.
 */
static enum ckpt_err look_for_members(struct ckpt_publisher *p, struct ckpt_run *run, struct ckpt_checkpoint *c,
                                      const struct ckpt_version *v)
{
    enum ckpt_err err = CKPT_OK;
    bool all = c->hidden || c->former;
    c->hidden = c->former = false;
    for (size_t i = c->n_members; err == CKPT_OK && i-- > 0;) {
        struct ckpt_member *m = &c->members[i];
        bool it = m->dir == v->dir && m->number == v->number && strcmp(m->name, v->name) == 0;
        if (all || it) {
            err = ckpt_publish_look_for(p, run, c, m);
        }
        if (it && !all) {
            break;
        }
    }
    return err;
}

static enum ckpt_err assemble(struct ckpt_publisher *p, struct batch *batch, const struct ckpt_fresh *fresh,
                              const struct ckpt_version *v, const struct ckpt_place *place)
{
    struct ckpt_inspection content;
    bool known = false;
    struct ckpt_run *run = NULL;
    struct ckpt_checkpoint *c = NULL;
    struct ckpt_arrival at = {.version = v,
                              .sequence = fresh->sequence,
                              .path = place->path,
                              .root_size = place->root_size,
                              .what = &place->what,
                              .content = &content};
    enum ckpt_err err =
        ckpt_inspect_version(p->engine->store, p->engine->codec, &v->recipe, v->name, &content, &at.state, &known);
    if (err == CKPT_ERR_CORRUPT || err == CKPT_ERR_NOT_FOUND) {
        err = CKPT_OK; /* told already; it is a checkpoint of which nothing is known */
    }
    if (!known) {
        at.state = v->recipe;
    }
    if (err == CKPT_OK) {
        err = find_origin(p, batch, &at);
    }
    if (err == CKPT_OK) {
        err = ckpt_keeper_run(p->engine->keeper, place->run, true, &run);
    }
    if (err == CKPT_OK) {
        err = ckpt_assemble(p->assembler, run, &at, &c);
    }
    if (err == CKPT_OK && place->what.directory) {
        err = find_absorbed(p, batch, run, v);
    }
    if (err != CKPT_OK) {
        return err;
    }
    run->written_ns = v->captured_ns > run->written_ns ? v->captured_ns : run->written_ns;
    run->process = at.process != 0 ? at.process : run->process;
    run->finished = false;
    ckpt_keeper_touch(p->engine->keeper, run, c);
    err = look_for_members(p, run, c, v);
    if (c->status == CKPT_STATUS_COMPLETE && !place->what.directory && ckpt_publish_is_unfinished(p, run, c)) {
        c->status = CKPT_STATUS_WRITING;
    }
    if (err == CKPT_OK && c->status == CKPT_STATUS_WRITING) {
        err = ckpt_publish_watch(p, c, ckpt_publish_is_renamed(p, place->above, place->above_size));
    }
    return err == CKPT_OK ? ckpt_publish_changed(p, run->dir) : err;
}

static enum ckpt_err take_fresh(struct ckpt_publisher *p, struct batch *batch, const struct ckpt_fresh *fresh)
{
    struct ckpt_version v;
    struct ckpt_place place = {0};
    enum ckpt_err err = ckpt_catalog_version(p->engine->store, fresh->dir, fresh->name, fresh->number, &v);
    if (err == CKPT_OK) {
        err = ckpt_publish_place(p, &v, &place);
    }
    if (err == CKPT_OK && !place.skip) {
        err = assemble(p, batch, fresh, &v, &place);
    }
    if (err == CKPT_ERR_CORRUPT) {
        /* One damaged row must not keep all other runs from being seen. */
        ckpt_reportf(CKPT_REPORT(p->engine), CKPT_ERROR,
                     "version %" PRIu32 " of %s was recorded but can't be made a checkpoint of, because the database is "
                     "damaged there; \"ckpt log\" has it, \"ckpt verify\" says more",
                     fresh->number, fresh->name);
        err = CKPT_OK;
    }
    /* Forgotten meanwhile, or without a way up: there is nothing to make of it. */
    return err == CKPT_ERR_NOT_FOUND || err == CKPT_ERR_INVALID ? CKPT_OK : err;
}

static enum ckpt_err read_fresh(struct ckpt_publisher *p, struct batch *batch)
{
    struct ckpt_txn *txn = NULL;
    uint64_t sequence = 0;
    enum ckpt_err err = ckpt_txn_read(p->engine->store->db, &txn);
    while (err == CKPT_OK && batch->count < BATCH) {
        err = ckpt_fresh_next_in(txn, sequence, &batch->fresh[batch->count]);
        if (err == CKPT_OK) {
            sequence = batch->fresh[batch->count++].sequence + 1;
        }
    }
    ckpt_txn_abort(txn);
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

/* ---- saving ---- */

static enum ckpt_err let_go_absorbed(struct ckpt_publisher *p, struct ckpt_txn *txn, const struct batch *batch)
{
    enum ckpt_err err = CKPT_OK;
    for (size_t i = 0; err == CKPT_OK && i < batch->absorbed_count; i++) {
        struct ckpt_run *run = NULL;
        err = ckpt_keeper_run(p->engine->keeper, batch->absorbed[i].run, false, &run);
        struct ckpt_checkpoint *c = err == CKPT_OK ? ckpt_keeper_checkpoint(run, batch->absorbed[i].number) : NULL;
        for (size_t m = 0; err == CKPT_OK && c != NULL && !c->dropped && m < c->n_members; m++) {
            bool last = false;
            err = ckpt_member_release_in(txn, c, &c->members[m], &last);
        }
        if (err == CKPT_OK && c != NULL) {
            c->dropped = true;
            ckpt_keeper_touch(p->engine->keeper, run, c);
        }
    }
    return err;
}

/* Checkpoints, processes and what isn't fresh any more, in one transaction. */
static enum ckpt_err save(struct ckpt_publisher *p, const struct batch *batch)
{
    struct ckpt_txn *txn = NULL;
    enum ckpt_err err = ckpt_store_begin(p->engine->store, &txn);
    if (err == CKPT_OK) {
        err = let_go_absorbed(p, txn, batch);
    }
    for (size_t i = 0; err == CKPT_OK && i < batch->process_count; i++) {
        uint64_t process = 0;
        err = ckpt_process_put_in(txn, batch->processes[i].json, &process);
    }
    if (err == CKPT_OK) {
        err = ckpt_keeper_save_in(p->engine->keeper, txn);
    }
    for (size_t i = 0; err == CKPT_OK && i < batch->count; i++) {
        err = ckpt_fresh_del_in(txn, batch->fresh[i].sequence);
    }
    if (err == CKPT_OK) {
        err = ckpt_store_commit(p->engine->store, txn);
    } else {
        ckpt_txn_abort(txn);
    }
    ckpt_keeper_saved(p->engine->keeper, err == CKPT_OK);
    if (err != CKPT_OK) {
        ckpt_assembler_forget(p->assembler);
    }
    return err;
}

/* *FULL: there may be more than were taken. */
enum ckpt_err ckpt_publish_captures(struct ckpt_publisher *p, bool *worked, bool *full)
{
    struct batch *batch = calloc(1, sizeof *batch);
    if (batch == NULL) {
        return CKPT_ERR_NOMEM;
    }
    enum ckpt_err err = read_fresh(p, batch);
    for (size_t i = 0; err == CKPT_OK && i < batch->count; i++) {
        err = take_fresh(p, batch, &batch->fresh[i]);
    }
    if (err == CKPT_OK && batch->count > 0) {
        err = save(p, batch);
    } else if (err != CKPT_OK) {
        ckpt_keeper_saved(p->engine->keeper, false);
        ckpt_assembler_forget(p->assembler);
    }
    *worked = batch->count > 0;
    *full = batch->count == BATCH;
    for (size_t i = 0; i < batch->process_count; i++) {
        free(batch->processes[i].json);
    }
    free(batch);
    return err;
}
