#include "finder.h"
#include "keeper.h"
#include <ckpt/id.h>
#include <stdlib.h>
#include <string.h>
#define HASH_NONFATAL_OOM 1 /* then an element that could not be added has no hh.tbl */
#include <uthash.h>

struct hint {
    uint64_t key;
    uint64_t sequence; /* of the capture, of a path; else 0 */
    uint32_t number;
    UT_hash_handle hh;
};

struct ckpt_found_run {
    uint64_t dir;
    struct hint *hints;
    UT_hash_handle hh;
};

struct ckpt_finder {
    struct ckpt_found_run *runs;
};

enum ckpt_err ckpt_finder_create(struct ckpt_finder **out)
{
    struct ckpt_finder *f = calloc(1, sizeof *f);
    if (f == NULL) {
        return CKPT_ERR_NOMEM;
    }
    *out = f;
    return CKPT_OK;
}

static void forget_run(struct ckpt_finder *f, struct ckpt_found_run *found)
{
    struct hint *hint = found->hints;
    HASH_CLEAR(hh, found->hints);
    while (hint != NULL) {
        struct hint *next = hint->hh.next;
        free(hint);
        hint = next;
    }
    HASH_DEL(f->runs, found);
    free(found);
}

void ckpt_finder_forget(struct ckpt_finder *f)
{
    struct ckpt_found_run *found = NULL;
    struct ckpt_found_run *next = NULL;
    HASH_ITER (hh, f->runs, found, next) {
        forget_run(f, found);
    }
}

void ckpt_finder_free(struct ckpt_finder *f)
{
    if (f != NULL) {
        ckpt_finder_forget(f);
        free(f);
    }
}

static uint64_t key_of(enum ckpt_find kind, const void *bytes, size_t n)
{
    return ckpt_checksum((uint64_t)kind, bytes, n);
}

static uint64_t text_key(enum ckpt_find kind, const char *text)
{
    return key_of(kind, text, strlen(text));
}

static enum ckpt_err put_hint(struct ckpt_found_run *found, uint64_t key, uint64_t sequence, uint32_t number)
{
    struct hint *hint = NULL;
    HASH_FIND(hh, found->hints, &key, sizeof key, hint);
    if (hint != NULL) {
        if (sequence > hint->sequence || (sequence == hint->sequence && number > hint->number)) {
            hint->sequence = sequence;
            hint->number = number;
        }
        return CKPT_OK;
    }
    hint = calloc(1, sizeof *hint);
    if (hint == NULL) {
        return CKPT_ERR_NOMEM;
    }
    hint->key = key;
    hint->sequence = sequence;
    hint->number = number;
    HASH_ADD(hh, found->hints, key, sizeof hint->key, hint);
    if (hint->hh.tbl == NULL) {
        free(hint);
        return CKPT_ERR_NOMEM;
    }
    return CKPT_OK;
}

enum ckpt_err ckpt_find_put_member(struct ckpt_found_run *found, const struct ckpt_checkpoint *c,
                                      const struct ckpt_member *m)
{
    enum ckpt_err err = put_hint(found, text_key(CKPT_FIND_PATH, m->path), m->sequence, c->number);
    if (err == CKPT_OK && !ckpt_id_is_zero(&m->state)) {
        err = put_hint(found, key_of(CKPT_FIND_STATE, m->state.bytes, CKPT_ID_SIZE), 0, c->number);
    }
    return err;
}

enum ckpt_err ckpt_find_put(struct ckpt_found_run *found, const struct ckpt_checkpoint *c)
{
    enum ckpt_err err = put_hint(found, text_key(CKPT_FIND_GROUP, c->group), 0, c->number);
    if (err == CKPT_OK) {
        err = put_hint(found, text_key(CKPT_FIND_ROOT, c->root), 0, c->number);
    }
    if (err == CKPT_OK && c->has_epoch) {
        err = put_hint(found, key_of(CKPT_FIND_EPOCH, &c->epoch, sizeof c->epoch), 0, c->number);
    }
    if (err == CKPT_OK && c->has_step) {
        err = put_hint(found, key_of(CKPT_FIND_STEP, &c->step, sizeof c->step), 0, c->number);
    }
    return err;
}

enum ckpt_err ckpt_finder_run(struct ckpt_finder *f, const struct ckpt_run *run, struct ckpt_found_run **out)
{
    struct ckpt_found_run *found = NULL;
    HASH_FIND(hh, f->runs, &run->dir, sizeof run->dir, found);
    if (found != NULL) {
        *out = found;
        return CKPT_OK;
    }
    found = calloc(1, sizeof *found);
    if (found == NULL) {
        return CKPT_ERR_NOMEM;
    }
    found->dir = run->dir;
    HASH_ADD(hh, f->runs, dir, sizeof found->dir, found);
    if (found->hh.tbl == NULL) {
        free(found);
        return CKPT_ERR_NOMEM;
    }
    enum ckpt_err err = CKPT_OK;
    for (size_t i = 0; err == CKPT_OK && i < run->count; i++) {
        const struct ckpt_checkpoint *c = run->list[i];
        err = ckpt_find_put(found, c);
        for (size_t m = 0; err == CKPT_OK && m < c->n_members; m++) {
            err = ckpt_find_put_member(found, c, &c->members[m]);
        }
    }
    if (err != CKPT_OK) {
        forget_run(f, found);
        return err;
    }
    *out = found;
    return CKPT_OK;
}

struct ckpt_checkpoint *ckpt_find(const struct ckpt_found_run *found, struct ckpt_run *run, enum ckpt_find kind,
                                  const void *bytes, size_t n)
{
    struct hint *hint = NULL;
    uint64_t key = key_of(kind, bytes, n);
    HASH_FIND(hh, found->hints, &key, sizeof key, hint);
    return hint == NULL ? NULL : ckpt_keeper_checkpoint(run, hint->number);
}
