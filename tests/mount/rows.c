/*
 * Writes a checkpoint into the catalog of a store that isn't mounted, so that the tests of views needn't wait for anything to be
 * recognised:
 *
 *     rows STORE RUN [KEY=VALUE]... FILE...
 *
 * FILEs are paths in RUN of files that have versions; what has a slash is in a directory checkpoint. Keys: epoch, step, tag,
 * metric.NAME, status (0, 1, 2), count (so many checkpoints, epoch and step counting on); of the run: primary (its metric), best
 * (this is it), finished, stop.
 */
#include "keeper.h"
#include "run_rows.h"
#include <ckpt/catalog.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(enum ckpt_err err, const char *what)
{
    if (err != CKPT_OK) {
        fprintf(stderr, "rows: %s: %s\n", what, ckpt_err_text(err));
        exit(1);
    }
}

static void report(void *arg, enum ckpt_level level, const char *text)
{
    (void)arg;
    (void)level;
    fprintf(stderr, "rows: %s\n", text);
}

/* The id of a directory by its path, and the last part of the path of a file. */
static uint64_t directory(struct ckpt_store *store, const char *path)
{
    char name[NAME_MAX + 1];
    uint64_t dir = 0;
    check(ckpt_catalog_resolve(store, path, &dir, name), path);
    if (name[0] != '\0') {
        check(ckpt_catalog_subdir(store, dir, name, &dir), path);
    }
    return dir;
}

static void add_member(struct ckpt_store *store, struct ckpt_checkpoint *c, const char *run, const char *path)
{
    char whole[PATH_MAX];
    char name[NAME_MAX + 1];
    struct ckpt_version version;
    uint64_t dir = 0;
    snprintf(whole, sizeof whole, "%s/%s", run, path);
    check(ckpt_catalog_resolve(store, whole, &dir, name), whole);
    check(ckpt_catalog_version(store, dir, name, 0, &version), whole);
    struct ckpt_member *m = ckpt_checkpoint_add_member(c);
    check(m == NULL ? CKPT_ERR_NOMEM : CKPT_OK, path);
    m->dir = dir;
    m->number = version.number;
    m->sequence = version.sequence;
    m->size = version.size;
    m->holds = CKPT_HOLDS_FULL;
    m->recipe = version.recipe;
    m->directory = strchr(path, '/') != NULL;
    m->root = (uint16_t)strcspn(path, "/");
    check(ckpt_text_set(&m->name, name), path);
    check(ckpt_text_set(&m->path, path), path);
    if (c->root == NULL) {
        check(ckpt_text_set(&c->root, path), path);
        check(ckpt_text_set(&c->group, path), path);
        c->sequence = version.sequence;
        c->saved_ns = version.captured_ns;
        c->holds = CKPT_HOLDS_FULL;
    }
}

static void set_value(struct ckpt_checkpoint *c, const char *text)
{
    char name[NAME_MAX + 1];
    bool changed = false;
    snprintf(name, sizeof name, "%.*s", (int)strcspn(text, "="), text);
    struct ckpt_value value = {.name = name, .value = strtod(strchr(text, '=') + 1, NULL), .from = CKPT_FROM_USER};
    check(ckpt_checkpoint_set_value(c, &value, &changed), name);
}

static void set_key(struct ckpt_run *run, struct ckpt_checkpoint *c, const char *text)
{
    const char *value = strchr(text, '=') + 1;
    bool changed = false;
    if (strncmp(text, "epoch=", 6) == 0) {
        c->has_epoch = true;
        c->epoch = strtoull(value, NULL, 10);
    } else if (strncmp(text, "step=", 5) == 0) {
        c->has_step = true;
        c->step = strtoull(value, NULL, 10);
    } else if (strncmp(text, "tag=", 4) == 0) {
        check(ckpt_checkpoint_add_tag(c, value, &changed), text);
    } else if (strncmp(text, "metric.", 7) == 0) {
        set_value(c, text + 7);
    } else if (strncmp(text, "status=", 7) == 0) {
        c->status = (enum ckpt_status)atoi(value);
    } else if (strncmp(text, "primary=", 8) == 0) {
        check(ckpt_text_set(&run->metric, value), text);
    } else if (strncmp(text, "best=", 5) == 0) {
        run->best = c->number;
    } else if (strncmp(text, "finished=", 9) == 0) {
        run->finished = value[0] == '1';
    } else if (strncmp(text, "stop=", 5) == 0) {
        run->stop = value[0] == '1';
    } else if (strncmp(text, "count=", 6) != 0) {
        check(CKPT_ERR_INVALID, text);
    }
}

int main(int argc, char **argv)
{
    struct ckpt_report to = {.fn = report};
    struct ckpt_store *store = NULL;
    struct ckpt_keeper *keeper = NULL;
    struct ckpt_run *run = NULL;
    unsigned long count = 1;
    if (argc < 4) {
        fprintf(stderr, "usage: rows STORE RUN [KEY=VALUE]... FILE...\n");
        return 2;
    }
    for (int i = 3; i < argc; i++) {
        count = strncmp(argv[i], "count=", 6) == 0 ? strtoul(argv[i] + 6, NULL, 10) : count;
    }
    check(ckpt_store_open(argv[1], CKPT_WRITE, "rows", &to, &store), argv[1]);
    check(ckpt_keeper_create(store, NULL, &keeper), "keeper");
    check(ckpt_keeper_run(keeper, directory(store, argv[2]), true, &run), argv[2]);
    for (unsigned long n = 0; n < count; n++) {
        struct ckpt_checkpoint *c = ckpt_keeper_begin(keeper, run);
        check(c == NULL ? CKPT_ERR_NOMEM : CKPT_OK, "checkpoint");
        c->status = CKPT_STATUS_COMPLETE;
        for (int i = 3; i < argc; i++) {
            if (strchr(argv[i], '=') != NULL) {
                set_key(run, c, argv[i]);
            } else {
                add_member(store, c, argv[2], argv[i]);
            }
        }
        c->epoch += n;
        c->step += n;
        c->sequence += n;
        ckpt_keeper_touch(keeper, run, c);
    }
    check(ckpt_keeper_commit(keeper), "commit");
    ckpt_keeper_free(keeper);
    ckpt_store_close(store);
    return 0;
}
