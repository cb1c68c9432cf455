/*
 * Where a version stands: in which run, and what of its path names the checkpoint. Names say most of it (recognise.h); what
 * stands in a directory that is known as a checkpoint belongs to that, whatever it is called.
 */
#include "catalog/catalog_txn.h"
#include "keeper.h"
#include "object/internal.h"
#include "publish.h"
#include <stdio.h>
#include <string.h>

enum { LEVELS = 16 /* directories between a file and the checkpoint that it belongs to */ };


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
static enum ckpt_err find_known_root(struct ckpt_publisher *p, const char *path, uint64_t dir, struct ckpt_place *place)
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

enum ckpt_err ckpt_publish_place(struct ckpt_publisher *p, const struct ckpt_version *v, struct ckpt_place *place)
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
