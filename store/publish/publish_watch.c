/*
 * Checkpoints that aren't complete yet: looked at again and again, less often the longer nothing comes.
 */
#include "assemble.h"
#include "catalog/run_rows.h"
#include "keeper.h"
#include "publish.h"
#include "recognise/complete.h"
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

enum {
    FIRST_LOOK_MS = 100, /* at something incomplete, and later, up to LAST_LOOK_MS */
    LAST_LOOK_MS = 2000,
};

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

enum ckpt_err ckpt_publish_watch(struct ckpt_publisher *p, const struct ckpt_checkpoint *c, bool renamed)
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

enum ckpt_err ckpt_publish_check_all(struct ckpt_publisher *p, bool asked)
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

/* Directories that have got their final name by a rename, and of what stood in them by then. */
bool ckpt_publish_is_renamed(const struct ckpt_publisher *p, const char *path, size_t n)
{
    for (size_t i = 0; i < CKPT_PUBLISH_RENAMED; i++) {
        if (strlen(p->renamed[i]) == n && strncmp(p->renamed[i], path, n) == 0) {
            return true;
        }
    }
    return false;
}
