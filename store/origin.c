/*
 * Where a run comes from: a process that has read a checkpoint and then writes files most likely goes on training from it, so
 * what it writes may be the difference from what it has read, even in another run.
 *
 * Two short lists in memory: who has read what, and which inode was written by whom. They are hints: lost at the end of the
 * daemon, and the oldest give way. A process is known by its thread group, because FUSE tells the thread.
 */
#include "engine_parts.h"
#include "internal.h"
#include <ckpt/host.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { READ_MIN = 1 << 20 /* bytes: what is smaller is no checkpoint worth a difference */ };

static pid_t group_of(pid_t thread)
{
    char path[40];
    char text[1024];
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)thread);
    int fd = ckpt_host_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    ssize_t n = fd < 0 ? -1 : ckpt_host_read_all(fd, text, sizeof text - 1, 0);
    ckpt_host_close(fd);
    if (n <= 0) {
        return thread;
    }
    text[n] = '\0';
    const char *line = strstr(text, "\nTgid:");
    long group = line == NULL ? 0 : strtol(line + strlen("\nTgid:"), NULL, 10);
    return group > 0 ? (pid_t)group : thread;
}

void ckpt_engine_reads_recipe(struct ckpt_engine *engine, pid_t thread, const struct ckpt_id *recipe)
{
    pid_t group = group_of(thread);
    struct ckpt_origins *origins = &engine->origins;
    if (group <= 0) {
        return; /* of another pid namespace */
    }
    pthread_mutex_lock(&engine->lock);
    unsigned at = origins->read_next;
    for (unsigned i = 0; i < CKPT_ORIGINS; i++) {
        if (origins->reads[i].group == group) {
            at = i;
        }
    }
    if (at == origins->read_next) {
        origins->read_next = (at + 1) % CKPT_ORIGINS;
    }
    origins->reads[at].group = group;
    origins->reads[at].recipe = *recipe;
    pthread_mutex_unlock(&engine->lock);
}

void ckpt_engine_reads(struct ckpt_engine *engine, pid_t thread, int fd)
{
    char path[PATH_MAX];
    char name[NAME_MAX + 1];
    struct stat st;
    struct ckpt_version version;
    uint64_t dir = 0;
    if (ckpt_host_fstat(fd, &st) != 0 || st.st_size < READ_MIN ||
        ckpt_live_path(engine->store, fd, path) != CKPT_OK ||
        ckpt_catalog_resolve(engine->store, path, &dir, name) != CKPT_OK ||
        ckpt_catalog_version(engine->store, dir, name, 0, &version) != CKPT_OK) {
        return;
    }
    ckpt_engine_reads_recipe(engine, thread, &version.recipe);
}

void ckpt_engine_writes(struct ckpt_engine *engine, pid_t thread, dev_t dev, ino_t ino)
{
    struct ckpt_origins *origins = &engine->origins;
    pthread_mutex_lock(&engine->lock);
    bool any = origins->read_next != 0 || origins->reads[0].group != 0;
    pthread_mutex_unlock(&engine->lock);
    if (!any) {
        return;
    }
    pid_t group = group_of(thread);
    pthread_mutex_lock(&engine->lock);
    for (unsigned i = 0; i < CKPT_ORIGINS; i++) {
        if (group > 0 && origins->reads[i].group == group) {
            origins->written[origins->written_next] = (struct ckpt_origin){
                .dev = dev, .ino = ino, .recipe = origins->reads[i].recipe, .known = true};
            origins->written_next = (origins->written_next + 1) % CKPT_ORIGINS;
            break;
        }
    }
    pthread_mutex_unlock(&engine->lock);
}

bool ckpt_origin_find(struct ckpt_engine *engine, const struct stat *st, struct ckpt_id *recipe)
{
    const struct ckpt_origins *origins = &engine->origins;
    bool found = false;
    pthread_mutex_lock(&engine->lock);
    /* The newest one. */
    for (unsigned i = 0; !found && i < CKPT_ORIGINS; i++) {
        const struct ckpt_origin *origin =
            &origins->written[(origins->written_next + CKPT_ORIGINS - 1 - i) % CKPT_ORIGINS];
        found = origin->known && origin->dev == st->st_dev && origin->ino == st->st_ino;
        if (found) {
            *recipe = origin->recipe;
        }
    }
    pthread_mutex_unlock(&engine->lock);
    return found;
}
