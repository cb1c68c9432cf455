#include "publish.h"
#include "assemble.h"
#include "catalog_txn.h"
#include "complete.h"
#include "internal.h"
#include "process.h"
#include "retain.h"
#include "run_parts.h"
#include "run_rows.h"
#include <ckpt/host.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

enum {
    BATCH = 256,        /* captures in one transaction */
    LEVELS = 16,        /* directories between a file and the checkpoint that it belongs to */
    FIRST_LOOK_MS = 100, /* at something incomplete, and later, up to LAST_LOOK_MS */
    LAST_LOOK_MS = 2000,
};

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

/* ---- the publisher ---- */

enum ckpt_err ckpt_publisher_create(struct ckpt_engine *engine, struct ckpt_publisher **out)
{
    struct ckpt_publisher *p = calloc(1, sizeof *p);
    if (p == NULL) {
        return CKPT_ERR_NOMEM;
    }
    p->engine = engine;
    enum ckpt_err err = ckpt_assembler_create(engine->keeper, &p->assembler);
    if (err != CKPT_OK) {
        free(p);
        return err;
    }
    *out = p;
    return CKPT_OK;
}

void ckpt_publisher_free(struct ckpt_publisher *p)
{
    struct ckpt_watched *w = NULL;
    struct ckpt_watched *next = NULL;
    if (p == NULL) {
        return;
    }
    LL_FOREACH_SAFE (p->watched, w, next) {
        free(w);
    }
    ckpt_publish_learners_free(p);
    ckpt_assembler_free(p->assembler);
    free(p->changed);
    free(p);
}

enum ckpt_err ckpt_publish_changed(struct ckpt_publisher *p, uint64_t run)
{
    for (size_t i = 0; i < p->changed_count; i++) {
        if (p->changed[i] == run) {
            return CKPT_OK;
        }
    }
    if (p->changed_count == p->changed_room) {
        size_t room = p->changed_room == 0 ? 16 : 2 * p->changed_room;
        uint64_t *changed = reallocarray(p->changed, room, sizeof *changed);
        if (changed == NULL) {
            return CKPT_ERR_NOMEM;
        }
        p->changed = changed;
        p->changed_room = room;
    }
    p->changed[p->changed_count++] = run;
    return CKPT_OK;
}

/* ---- watching what is incomplete ---- */

static struct ckpt_watched *find_watched(struct ckpt_publisher *p, uint64_t run, uint32_t number)
{
    struct ckpt_watched *w = NULL;
    LL_FOREACH (p->watched, w) {
        if (w->run == run && w->number == number) {
            return w;
        }
    }
    return NULL;
}

static enum ckpt_err watch(struct ckpt_publisher *p, const struct ckpt_checkpoint *c, bool renamed)
{
    struct ckpt_watched *w = find_watched(p, c->run, c->number);
    if (w == NULL) {
        w = calloc(1, sizeof *w);
        if (w == NULL) {
            return CKPT_ERR_NOMEM;
        }
        w->run = c->run;
        w->number = c->number;
        LL_PREPEND(p->watched, w);
    }
    w->renamed |= renamed;
    w->active_ms = ckpt_now_ms();
    w->next_ms = 0;
    return CKPT_OK;
}

/* What was there in passing, under another name, or was left over from the save before, is no part of it. */
static void leave_out_gone(struct ckpt_checkpoint *c)
{
    bool any = false;
    for (size_t i = 0; i < c->n_members; i++) {
        any |= !c->members[i].gone;
    }
    for (size_t i = 0; any && i < c->n_members; i++) {
        c->members[i].replaced |= c->members[i].gone;
    }
    ckpt_assemble_sum(c);
}

static enum ckpt_err check_watched(struct ckpt_publisher *p, struct ckpt_watched *w, bool *done)
{
    struct ckpt_run *run = NULL;
    struct ckpt_completeness found = {0};
    enum ckpt_err err = ckpt_keeper_run(p->engine->keeper, w->run, false, &run);
    struct ckpt_checkpoint *c = err == CKPT_OK ? ckpt_keeper_checkpoint(run, w->number) : NULL;
    /* What is where a hidden one was belongs to another by now. */
    *done = c == NULL || c->status != CKPT_STATUS_WRITING || c->dropped || c->hidden;
    if (*done) {
        return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
    }
    err = ckpt_publish_check(p, run, c, w, &found);
    if (err != CKPT_OK) {
        return err;
    }
    bool complete = found.state == CKPT_COMPLETION_YES;
    if (c->why == NULL || strcmp(c->why, found.why) != 0 || complete) {
        err = ckpt_text_set(&c->why, found.why);
        c->status = complete ? CKPT_STATUS_COMPLETE : c->status;
        c->framework = found.framework != CKPT_FRAMEWORK_NONE ? found.framework : c->framework;
        if (complete) {
            leave_out_gone(c);
        }
        ckpt_keeper_touch(p->engine->keeper, run, c);
    }
    *done = complete;
    if (err == CKPT_OK && complete) {
        err = ckpt_publish_changed(p, w->run);
    }
    return err;
}

/* ASKED: somebody waits, so all are looked at. */
static enum ckpt_err check_all(struct ckpt_publisher *p, bool asked)
{
    struct ckpt_watched *w = NULL;
    struct ckpt_watched *next = NULL;
    enum ckpt_err err = CKPT_OK;
    LL_FOREACH_SAFE (p->watched, w, next) {
        int64_t now = ckpt_now_ms();
        bool done = false;
        if (err != CKPT_OK || (!asked && now < w->next_ms)) {
            continue;
        }
        err = check_watched(p, w, &done);
        int64_t rest = (now - w->active_ms) / 4;
        w->next_ms = now + (rest < FIRST_LOOK_MS ? FIRST_LOOK_MS : rest > LAST_LOOK_MS ? LAST_LOOK_MS : rest);
        if (done) {
            LL_DELETE(p->watched, w);
            free(w);
        }
    }
    return err;
}

int64_t ckpt_publish_wait(const struct ckpt_publisher *p)
{
    int64_t first = -1;
    const struct ckpt_watched *w = NULL;
    const struct ckpt_learner *l = NULL;
    LL_FOREACH (p->watched, w) {
        first = first < 0 || w->next_ms < first ? w->next_ms : first;
    }
    LL_FOREACH (p->learners, l) {
        first = first < 0 || l->next_ms < first ? l->next_ms : first;
        first = l->backlog.left > 0 && l->backlog.next_ms < first ? l->backlog.next_ms : first;
    }
    int64_t wait = first - ckpt_now_ms();
    return first < 0 ? -1 : wait < 0 ? 0 : wait;
}

/* Directories that have got their final name by a rename, and of what stood in them by then. */
static bool is_renamed(const struct ckpt_publisher *p, const char *path, size_t n)
{
    for (size_t i = 0; i < CKPT_PUBLISH_RENAMED; i++) {
        if (strlen(p->renamed[i]) == n && strncmp(p->renamed[i], path, n) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- which run, which root ---- */

/* Where a version stands: its run, and what of its path names the checkpoint. */
struct place {
    uint64_t run;
    char path[PATH_MAX]; /* relative to the run */
    size_t root_size;
    char above[PATH_MAX]; /* relative to live/; so many bytes of it lead to the root, with its name */
    size_t above_size;
    struct ckpt_recognised what;
    bool skip;
};

static enum ckpt_err dir_above(struct ckpt_publisher *p, uint64_t *dir, unsigned levels)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_dir row;
    enum ckpt_err err = ckpt_txn_read(p->engine->store->db, &txn);
    for (; err == CKPT_OK && levels > 0; levels--) {
        err = ckpt_catalog_dir_in(txn, *dir, &row);
        *dir = row.parent;
    }
    ckpt_txn_abort(txn);
    return err;
}

static unsigned slashes(const char *path)
{
    unsigned n = 0;
    for (const char *at = path; *at != '\0'; at++) {
        n += *at == '/';
    }
    return n;
}

static bool is_root_of(const struct ckpt_run *run, const char *root, size_t n, enum ckpt_framework *framework)
{
    for (size_t i = run->count; i-- > 0;) {
        const struct ckpt_checkpoint *c = run->list[i];
        if (c->n_members > 0 && c->members[0].directory && strlen(c->root) == n && strncmp(c->root, root, n) == 0) {
            *framework = c->framework;
            return true;
        }
    }
    return false;
}

/* A directory that is known as a checkpoint is one as a whole, with the files whose names say nothing. */
static enum ckpt_err find_known_root(struct ckpt_publisher *p, const char *path, uint64_t dir, struct place *place)
{
    unsigned depth = slashes(path);
    for (unsigned up = depth > LEVELS ? LEVELS : depth; up > 0; up--) {
        struct ckpt_run *run = NULL;
        uint64_t above = dir;
        const char *from = path;
        for (unsigned skip = depth - up; skip > 0; skip--) {
            from = strchr(from, '/') + 1;
        }
        enum ckpt_err err = dir_above(p, &above, up);
        if (err == CKPT_OK) {
            err = ckpt_keeper_run(p->engine->keeper, above, false, &run);
        }
        if (err == CKPT_ERR_NOT_FOUND) {
            continue;
        }
        if (err != CKPT_OK) {
            return err;
        }
        size_t n = strcspn(from, "/");
        if (is_root_of(run, from, n, &place->what.framework)) {
            place->run = above;
            place->root_size = n;
            place->above_size = (size_t)(from - path) + n;
            place->what.directory = true;
            place->what.role = CKPT_ROLE_MEMBER;
            (void)snprintf(place->path, sizeof place->path, "%s", from);
            return CKPT_OK;
        }
    }
    return CKPT_OK;
}

static enum ckpt_err find_place(struct ckpt_publisher *p, const struct ckpt_version *v, struct place *place)
{
    char path[PATH_MAX];
    enum ckpt_err err = ckpt_catalog_path(p->engine->store, v->dir, path, sizeof path);
    if (err == CKPT_OK && strlen(path) + 1 + strlen(v->name) >= sizeof path) {
        err = CKPT_ERR_INVALID;
    }
    if (err != CKPT_OK) {
        return err;
    }
    (void)strcat(path, path[0] == '\0' ? "" : "/");
    (void)strcat(path, v->name);
    (void)snprintf(place->above, sizeof place->above, "%s", path);
    ckpt_recognise(path, true, &place->what);
    const struct ckpt_recognised *what = &place->what;
    place->skip = what->role == CKPT_ROLE_TEMPORARY;
    if (place->skip) {
        return CKPT_OK;
    }
    if (!what->directory && (what->role == CKPT_ROLE_SHARD || what->role == CKPT_ROLE_INDEX)) {
        place->what.directory = true; /* a set, of which each file is a part */
        place->what.root_size = 0;
    }
    if (!what->has_root || !(what->directory && what->root_size > 0)) {
        err = find_known_root(p, path, v->dir, place);
        if (err != CKPT_OK || place->root_size > 0) {
            return err;
        }
    }
    /* Markers and logs beside checkpoints. */
    place->skip = !what->has_root;
    if (place->skip) {
        return CKPT_OK;
    }
    const char *from = path + what->root_at;
    place->run = v->dir;
    place->root_size = what->root_size;
    place->above_size = what->root_at + what->root_size;
    (void)snprintf(place->path, sizeof place->path, "%s", from);
    return dir_above(p, &place->run, slashes(from));
}

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

/* The file was deleted while it waited; when that was told it was no checkpoint's yet. */
static void leave_if_gone(struct ckpt_publisher *p, struct ckpt_run *run, struct ckpt_checkpoint *c,
                          const struct ckpt_version *v)
{
    struct ckpt_member *m = &c->members[c->n_members - 1];
    if (m->dir == v->dir && m->number == v->number && strcmp(m->name, v->name) == 0 && !m->gone &&
        ckpt_publish_is_gone(p, m)) {
        ckpt_assemble_gone(p->engine->keeper, run, c, m, CKPT_LEFT_DELETED, ckpt_realtime_ns());
    }
}

static enum ckpt_err assemble(struct ckpt_publisher *p, struct batch *batch, const struct ckpt_fresh *fresh,
                              const struct ckpt_version *v, const struct place *place)
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
    leave_if_gone(p, run, c, v);
    if (c->status == CKPT_STATUS_COMPLETE && !place->what.directory && ckpt_publish_is_unfinished(p, run, c)) {
        c->status = CKPT_STATUS_WRITING;
    }
    if (c->status == CKPT_STATUS_WRITING) {
        err = watch(p, c, is_renamed(p, place->above, place->above_size));
    }
    return err == CKPT_OK ? ckpt_publish_changed(p, run->dir) : err;
}

static enum ckpt_err take_fresh(struct ckpt_publisher *p, struct batch *batch, const struct ckpt_fresh *fresh)
{
    struct ckpt_version v;
    struct place place = {0};
    enum ckpt_err err = ckpt_catalog_version(p->engine->store, fresh->dir, fresh->name, fresh->number, &v);
    if (err == CKPT_OK) {
        err = find_place(p, &v, &place);
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
static enum ckpt_err take_captures(struct ckpt_publisher *p, bool *worked, bool *full)
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

/* ---- names that have gone ---- */

struct going {
    struct ckpt_publisher *publisher;
    uint64_t dir;
    const char *name;
    uint64_t last_run; /* of the holders */
    uint32_t last_number;
    bool there; /* one of them has it */
    enum ckpt_err err;
};

static bool is_named(const struct going *g, const struct ckpt_member *m)
{
    return m->dir == g->dir && !m->replaced && strcmp(m->name, g->name) == 0;
}

static bool holder_lost(void *arg, uint64_t dir, uint32_t number)
{
    struct going *g = arg;
    struct ckpt_run *run = NULL;
    struct ckpt_engine *engine = g->publisher->engine;
    g->err = ckpt_keeper_run(engine->keeper, dir, false, &run);
    struct ckpt_checkpoint *c = g->err == CKPT_OK ? ckpt_keeper_checkpoint(run, number) : NULL;
    for (size_t i = 0; c != NULL && i < c->n_members; i++) {
        struct ckpt_member *m = &c->members[i];
        if (!is_named(g, m)) {
            continue;
        }
        g->last_run = dir;
        g->last_number = number;
        if (!m->gone && !c->hidden && ckpt_publish_is_gone(g->publisher, m)) {
            ckpt_assemble_gone(engine->keeper, run, c, m, CKPT_LEFT_DELETED, ckpt_realtime_ns());
            g->err = ckpt_publish_changed(g->publisher, dir);
        }
        g->there |= !m->gone && !c->hidden;
    }
    return g->err == CKPT_OK;
}

static bool dir_is_there(struct ckpt_publisher *p, uint64_t dir)
{
    int fd = -1;
    bool there = ckpt_live_open_dir(p->engine, dir, &fd) != CKPT_OK || fd >= 0;
    ckpt_host_close(fd);
    return there;
}

/* The directory of a run was removed. Should there be one again, it is another run. */
static enum ckpt_err run_lost(struct ckpt_publisher *p, struct ckpt_run *run)
{
    for (size_t i = 0; i < run->count; i++) {
        struct ckpt_checkpoint *c = run->list[i];
        if (!c->dropped && !c->former) {
            c->former = true;
            c->left_ns = c->left == CKPT_LEFT_NOT ? ckpt_realtime_ns() : c->left_ns;
            c->left = c->left == CKPT_LEFT_NOT ? CKPT_LEFT_DELETED : c->left;
            ckpt_keeper_touch(p->engine->keeper, run, c);
        }
    }
    return ckpt_publish_changed(p, run->dir);
}

static enum ckpt_err dir_lost(struct ckpt_publisher *p, uint64_t parent, const char *name, bool removed)
{
    uint64_t dir = 0;
    struct ckpt_run *run = NULL;
    enum ckpt_err err = ckpt_catalog_subdir(p->engine->store, parent, name, &dir);
    if (err == CKPT_OK) {
        err = ckpt_keeper_run(p->engine->keeper, dir, false, &run);
    }
    if (err == CKPT_OK && (removed || !dir_is_there(p, dir))) {
        err = run_lost(p, run);
    }
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

/* A stub that is moved is a version of its new name before it is there. */
static enum ckpt_err is_there_again(struct going *g, const struct ckpt_version *v)
{
    struct ckpt_run *run = NULL;
    struct ckpt_engine *engine = g->publisher->engine;
    if (g->there || g->last_number == 0 || !ckpt_live_is_version(engine, g->dir, g->name, v->number)) {
        return CKPT_OK;
    }
    enum ckpt_err err = ckpt_keeper_run(engine->keeper, g->last_run, false, &run);
    struct ckpt_checkpoint *c = err == CKPT_OK ? ckpt_keeper_checkpoint(run, g->last_number) : NULL;
    for (size_t i = 0; c != NULL && !c->hidden && !c->dropped && i < c->n_members; i++) {
        struct ckpt_member *m = &c->members[i];
        if (is_named(g, m) && m->number == v->number) {
            m->gone = false;
            c->left = CKPT_LEFT_NOT;
            ckpt_keeper_touch(engine->keeper, run, c);
        }
    }
    return err == CKPT_OK ? ckpt_publish_changed(g->publisher, g->last_run) : err;
}

static enum ckpt_err name_lost(struct ckpt_publisher *p, uint64_t dir, const char *name)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_version v;
    struct going going = {.publisher = p, .dir = dir, .name = name};
    enum ckpt_err err = dir_lost(p, dir, name, false);
    if (err != CKPT_OK) {
        return err;
    }
    err = ckpt_txn_read(p->engine->store->db, &txn);
    if (err == CKPT_OK) {
        err = ckpt_catalog_version_in(txn, dir, name, 0, &v);
    }
    if (err == CKPT_OK) {
        err = ckpt_member_each_holder_in(txn, dir, name, v.number, holder_lost, &going);
    }
    ckpt_txn_abort(txn);
    if (err == CKPT_OK) {
        err = going.err;
    }
    if (err == CKPT_OK) {
        err = is_there_again(&going, &v);
    }
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

/* After a start, and when too many names have gone to be told one by one. */
static enum ckpt_err check_live(void *arg, struct ckpt_run *run)
{
    struct ckpt_publisher *p = arg;
    enum ckpt_err err = dir_is_there(p, run->dir) ? CKPT_OK : run_lost(p, run);
    if (err == CKPT_OK && !run->finished) {
        err = ckpt_publish_follow(p, run->dir);
    }
    for (size_t i = 0; err == CKPT_OK && i < run->count; i++) {
        struct ckpt_checkpoint *c = run->list[i];
        if (c->status == CKPT_STATUS_WRITING && !c->dropped) {
            err = watch(p, c, false);
        }
        for (size_t k = 0; err == CKPT_OK && !c->dropped && !c->hidden && k < c->n_members; k++) {
            struct ckpt_member *m = &c->members[k];
            if (!m->gone && ckpt_publish_is_gone(p, m)) {
                ckpt_assemble_gone(p->engine->keeper, run, c, m, CKPT_LEFT_DELETED, ckpt_realtime_ns());
                err = ckpt_publish_changed(p, run->dir);
            }
        }
    }
    return err;
}

static enum ckpt_err take_removed(struct ckpt_publisher *p)
{
    struct ckpt_gone *list = NULL;
    struct ckpt_gone *gone = NULL;
    struct ckpt_gone *next = NULL;
    bool overflow = false;
    enum ckpt_err err = CKPT_OK;
    ckpt_gone_take(p->engine, &list, &overflow);
    p->checked_live = p->checked_live && !overflow;
    DL_FOREACH_SAFE (list, gone, next) {
        if (gone->removed && err == CKPT_OK) {
            err = dir_lost(p, gone->dir, gone->name, true);
            DL_DELETE(list, gone);
            free(gone);
        }
    }
    ckpt_gone_give_back(p->engine, list);
    return err;
}

static enum ckpt_err take_gone(struct ckpt_publisher *p, bool *worked)
{
    struct ckpt_gone *list = NULL;
    bool overflow = false;
    ckpt_gone_take(p->engine, &list, &overflow);
    enum ckpt_err err = CKPT_OK;
    struct ckpt_gone *gone = NULL;
    struct ckpt_gone *next = NULL;
    DL_FOREACH_SAFE (list, gone, next) {
        /* What was closed under that name isn't a version yet, which then is to be told of. */
        pthread_mutex_lock(&p->engine->lock);
        bool later = ckpt_pending_has_name(p->engine, gone->dir, gone->name);
        pthread_mutex_unlock(&p->engine->lock);
        if (!later && err == CKPT_OK) {
            err = name_lost(p, gone->dir, gone->name);
            *worked = true;
        }
        if (!later) {
            DL_DELETE(list, gone);
            free(gone);
        }
    }
    ckpt_gone_give_back(p->engine, list);
    if (err == CKPT_OK && (overflow || !p->checked_live)) {
        err = ckpt_keeper_each(p->engine->keeper, true, check_live, p);
        p->checked_live = err == CKPT_OK;
        *worked = true;
    }
    return err;
}

/* ---- directories that have got their name ---- */

static enum ckpt_err take_looks(struct ckpt_publisher *p, bool *worked)
{
    struct ckpt_look *looks = NULL;
    struct ckpt_look *look = NULL;
    struct ckpt_look *next = NULL;
    enum ckpt_err err = CKPT_OK;
    pthread_mutex_lock(&p->engine->lock);
    looks = p->engine->looks;
    p->engine->looks = NULL;
    pthread_mutex_unlock(&p->engine->lock);
    LL_FOREACH_SAFE (looks, look, next) {
        bool checkpoint = false;
        if (err == CKPT_OK) {
            err = ckpt_publish_look(p, look->path, &checkpoint);
        }
        if (checkpoint) {
            (void)snprintf(p->renamed[p->next_renamed], sizeof p->renamed[0], "%s", look->path);
            p->next_renamed = (p->next_renamed + 1) % CKPT_PUBLISH_RENAMED;
        }
        *worked = true;
        free(look);
    }
    return err;
}

/* ---- the step ---- */

static enum ckpt_err learn_changed(struct ckpt_publisher *p)
{
    enum ckpt_err err = CKPT_OK;
    for (size_t i = 0; err == CKPT_OK && i < p->changed_count; i++) {
        struct ckpt_run *run = NULL;
        err = ckpt_keeper_run(p->engine->keeper, p->changed[i], false, &run);
        if (err == CKPT_OK) {
            err = ckpt_publish_learn(p, run, true);
        }
        err = err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
    }
    return err;
}

enum ckpt_err ckpt_publish_step(struct ckpt_publisher *p, bool *worked)
{
    struct ckpt_engine *engine = p->engine;
    pthread_mutex_lock(&engine->lock);
    unsigned asked = engine->publish_asked;
    bool hurry = engine->publish_done != asked;
    pthread_mutex_unlock(&engine->lock);
    bool more = false;
    bool full = false;
    /* A run that was removed is older than what is fresh now. */
    enum ckpt_err err = take_removed(p);
    if (err == CKPT_OK) {
        err = take_looks(p, worked);
    }
    if (err == CKPT_OK) {
        err = take_captures(p, &more, &full);
    }
    /* A name may be that of a capture that is still to be taken. */
    if (err == CKPT_OK && !full) {
        err = take_gone(p, worked);
    }
    if (err == CKPT_OK) {
        /* Once for each question: what a look makes fresh would keep who asks waiting for ever. */
        err = check_all(p, hurry && p->asked != asked);
        p->asked = asked;
    }
    if (err == CKPT_OK) {
        err = learn_changed(p);
    }
    if (err == CKPT_OK) {
        err = ckpt_publish_poll(p, hurry);
    }
    if (err == CKPT_OK) {
        err = ckpt_keeper_commit(engine->keeper);
    } else {
        ckpt_keeper_saved(engine->keeper, false);
        ckpt_assembler_forget(p->assembler);
        ckpt_publish_unlearn(p);
    }
    for (size_t i = 0; err == CKPT_OK && i < p->changed_count; i++) {
        ckpt_retain_due(engine, p->changed[i]);
        *worked = true;
    }
    if (err == CKPT_OK) {
        p->changed_count = 0;
    } else {
        p->checked_live = false; /* what was found to be complete or gone is to be found again */
    }
    *worked |= more;
    pthread_mutex_lock(&engine->lock);
    if (!more || err != CKPT_OK) {
        engine->publish_done = asked;
        pthread_cond_broadcast(&engine->quiet);
    }
    pthread_mutex_unlock(&engine->lock);
    return err;
}
