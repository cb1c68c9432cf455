/*
 * What the filesystem tells the publisher in passing: paths to be looked at when the engine's thread gets to it.
 */
#include "engine_parts.h"
#include <ckpt/host.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

enum { NOTES_MAX = 4096 /* further ones are found when their run is looked at again */ };

static struct ckpt_look *new_look(const char *path)
{
    size_t n = strlen(path) + 1;
    struct ckpt_look *look = malloc(sizeof *look + n);
    if (look != NULL) {
        memcpy(look->path, path, n);
    }
    return look;
}

void ckpt_look_at(struct ckpt_engine *engine, const char *path)
{
    struct ckpt_look *look = new_look(path);
    if (look == NULL) {
        return;
    }
    pthread_mutex_lock(&engine->lock);
    LL_APPEND(engine->looks, look);
    pthread_cond_signal(&engine->wake);
    pthread_mutex_unlock(&engine->lock);
}

void ckpt_engine_note(struct ckpt_engine *engine, int fd)
{
    char path[PATH_MAX];
    if (ckpt_live_path(engine->store, fd, path) == CKPT_OK) {
        ckpt_note_path(engine, path);
    }
}

void ckpt_note_path(struct ckpt_engine *engine, const char *path)
{
    struct ckpt_look *note = new_look(path);
    pthread_mutex_lock(&engine->lock);
    if (note != NULL && engine->note_count < NOTES_MAX) {
        LL_PREPEND(engine->notes, note);
        engine->note_count++;
        note = NULL;
        pthread_cond_signal(&engine->wake);
    }
    pthread_mutex_unlock(&engine->lock);
    free(note);
}
