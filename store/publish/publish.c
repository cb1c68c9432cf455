#include "assemble.h"
#include "keeper.h"
#include "publish.h"
#include "retain/retain.h"
#include <stdio.h>
#include <stdlib.h>
#include <utlist.h>

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
    enum ckpt_err err = ckpt_publish_removed(p);
    if (err == CKPT_OK) {
        err = take_looks(p, worked);
    }
    if (err == CKPT_OK) {
        err = ckpt_publish_captures(p, &more, &full);
    }
    /* A name may be that of a capture that is still to be taken. */
    if (err == CKPT_OK && !full) {
        err = ckpt_publish_gone(p, worked);
    }
    if (err == CKPT_OK) {
        /* Once for each question: what a look makes fresh would keep who asks waiting for ever. */
        err = ckpt_publish_check_all(p, hurry && p->asked != asked);
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
