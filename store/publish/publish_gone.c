/*
 * Live names that users have taken away: which checkpoints have left, and which runs.
 */
#include "assemble.h"
#include "catalog/catalog_txn.h"
#include "catalog/run_rows.h"
#include "object/internal.h"
#include "publish.h"
#include <ckpt/host.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

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

/* A checkpoint that is hidden has no live names, and that says nothing. */
enum ckpt_err ckpt_publish_look_for(struct ckpt_publisher *p, struct ckpt_run *run, struct ckpt_checkpoint *c,
                                    struct ckpt_member *m)
{
    if (m->gone || c->hidden || !ckpt_publish_is_gone(p, m)) {
        return CKPT_OK;
    }
    ckpt_assemble_gone(p->engine->keeper, run, c, m, CKPT_LEFT_DELETED, ckpt_realtime_ns());
    return ckpt_publish_changed(p, run->dir);
}

static bool holder_lost(void *arg, uint64_t dir, uint32_t number)
{
    struct going *g = arg;
    struct ckpt_run *run = NULL;
    struct ckpt_engine *engine = g->publisher->engine;
    g->err = ckpt_keeper_run(engine->keeper, dir, false, &run);
    struct ckpt_checkpoint *c = g->err == CKPT_OK ? ckpt_keeper_checkpoint(run, number) : NULL;
    for (size_t i = 0; c != NULL && g->err == CKPT_OK && i < c->n_members; i++) {
        struct ckpt_member *m = &c->members[i];
        if (!is_named(g, m)) {
            continue;
        }
        g->last_run = dir;
        g->last_number = number;
        g->err = ckpt_publish_look_for(g->publisher, run, c, m);
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
            err = ckpt_publish_watch(p, c, false);
        }
        for (size_t k = 0; err == CKPT_OK && !c->dropped && k < c->n_members; k++) {
            err = ckpt_publish_look_for(p, run, c, &c->members[k]);
        }
    }
    return err;
}

enum ckpt_err ckpt_publish_removed(struct ckpt_publisher *p)
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

enum ckpt_err ckpt_publish_gone(struct ckpt_publisher *p, bool *worked)
{
    struct ckpt_gone *list = NULL;
    bool overflow = false;
    ckpt_gone_take(p->engine, &list, &overflow);
    enum ckpt_err err = CKPT_OK;
    struct ckpt_gone *gone = NULL;
    struct ckpt_gone *next = NULL;
    DL_FOREACH_SAFE (list, gone, next) {
        /* What was closed under that name isn't a version yet, which then is to be told of. */
        bool later = ckpt_pending_has_name(p->engine, gone->dir, gone->name);
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
        if (err == CKPT_OK) {
            ckpt_gone_expect(p->engine);
        }
        *worked = true;
    }
    return err;
}
