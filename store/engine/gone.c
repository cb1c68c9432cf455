/*
 * Names that the users of a mount have taken away or replaced, for whoever keeps track of which checkpoints are
 * still there. A list in memory: what a crash loses of it is found by looking at live/.
 */
#include "common/live.h"
#include "engine_parts.h"
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

enum { GONE_MOST = 65536 };

void ckpt_gone_free(struct ckpt_gone *list)
{
    struct ckpt_gone *gone = NULL;
    struct ckpt_gone *next = NULL;
    DL_FOREACH_SAFE (list, gone, next) {
        free(gone);
    }
}

static struct ckpt_gone *new_gone(uint64_t dir, const char *name, bool removed)
{
    size_t size = strlen(name) + 1;
    struct ckpt_gone *gone = malloc(sizeof *gone + size);
    if (gone != NULL) {
        gone->dir = dir;
        gone->removed = removed;
        memcpy(gone->name, name, size);
    }
    return gone;
}

/* With engine->lock; GONE may be NULL for want of memory. */
static void add(struct ckpt_engine *engine, struct ckpt_gone *gone)
{
    if (gone == NULL || engine->gone_overflow || engine->gone_count == GONE_MOST) {
        /* Who has to look at everything needs no list. */
        engine->gone_overflow = true;
        ckpt_gone_free(engine->gone);
        engine->gone = NULL;
        engine->gone_count = 0;
        free(gone);
    } else {
        DL_APPEND(engine->gone, gone);
        engine->gone_count++;
    }
}

void ckpt_engine_name_gone(struct ckpt_engine *engine, int dirfd, const char *name, bool removed)
{
    uint64_t dir = CKPT_DIR_ROOT;
    /* Without an id nothing was ever captured there. */
    if (ckpt_live_dir_id(engine->store, dirfd, &dir) != CKPT_OK) {
        return;
    }
    struct ckpt_gone *gone = new_gone(dir, name, removed);
    pthread_mutex_lock(&engine->lock);
    add(engine, gone);
    pthread_mutex_unlock(&engine->lock);
}

void ckpt_gone_expect(struct ckpt_engine *engine)
{
    const struct ckpt_job *job = NULL;
    pthread_mutex_lock(&engine->lock);
    DL_FOREACH (engine->jobs, job) {
        add(engine, new_gone(job->dir, job->name, false));
    }
    pthread_mutex_unlock(&engine->lock);
}

void ckpt_gone_give_back(struct ckpt_engine *engine, struct ckpt_gone *list)
{
    unsigned count = 0;
    const struct ckpt_gone *gone = NULL;
    DL_FOREACH (list, gone) {
        count++;
    }
    pthread_mutex_lock(&engine->lock);
    if (!engine->gone_overflow) {
        DL_CONCAT(list, engine->gone);
        engine->gone = list;
        engine->gone_count += count;
        list = NULL;
    }
    pthread_mutex_unlock(&engine->lock);
    ckpt_gone_free(list);
}

void ckpt_gone_take(struct ckpt_engine *engine, struct ckpt_gone **list, bool *overflow)
{
    pthread_mutex_lock(&engine->lock);
    *list = engine->gone;
    *overflow = engine->gone_overflow;
    engine->gone = NULL;
    engine->gone_count = 0;
    engine->gone_overflow = false;
    pthread_mutex_unlock(&engine->lock);
}
