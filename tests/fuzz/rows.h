/*
 * What is fuzzed of the packed rows: any bytes are refused, or make a value that everything can be asked of, and that packs to
 * the same bytes. The unit tests call it with rows that they damage, and with what fuzzing found.
 */
#ifndef CKPT_TEST_FUZZ_ROWS_H
#define CKPT_TEST_FUZZ_ROWS_H

#include "catalog/run_parts.h"
#include "catalog/run_rows.h"
#include "fuzz.h"
#include "metrics/metrics.h"

enum { FUZZ_LOSE_MAX = 64 };

static const uint8_t fuzz_key[12] = {0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 3};

static inline void fuzz_ask(const struct ckpt_checkpoint *c)
{
    const struct ckpt_member *main = ckpt_checkpoint_main(c);
    struct ckpt_shape shape = ckpt_checkpoint_shape(c);
    fuzz_check(main == NULL || ckpt_member_shown(shape, main) != NULL);
    fuzz_check(ckpt_framework_name(c->framework) != NULL && ckpt_holds_name(c->holds) != NULL);
    (void)ckpt_checkpoint_size(c);
    (void)ckpt_checkpoint_added(c);
    for (size_t i = 0; i < c->n_members; i++) {
        const struct ckpt_member *m = &c->members[i];
        const char *shown = ckpt_member_shown(shape, m);
        fuzz_check(strlen(m->name) > 0 && strlen(m->name) <= NAME_MAX && strchr(m->name, '/') == NULL);
        fuzz_check(m->number > 0 && m->root <= strlen(m->path) && ckpt_holds_name(m->holds) != NULL);
        fuzz_check(shown == NULL || (shown >= m->path && shown <= m->path + strlen(m->path)));
    }
    for (size_t i = 0; i < c->n_values; i++) {
        fuzz_check(ckpt_metrics_kind_name((enum ckpt_metrics_kind)c->values[i].kind) != NULL);
    }
    fuzz_check(c->n_values == 0 || ckpt_checkpoint_value(c, c->values[0].name) == &c->values[0]);
    for (size_t i = 0; i < c->n_tags; i++) {
        fuzz_check(ckpt_checkpoint_has_tag(c, c->tags[i]));
    }
}

/* ERR: of packing, freed here. */
static inline void fuzz_check_packed(struct ckpt_pack *pack, enum ckpt_err err, const uint8_t *bytes, size_t n)
{
    fuzz_check(err == CKPT_OK && pack->size == n && memcmp(pack->bytes, bytes, n) == 0);
    free(pack->bytes);
}

/* Whether it was one. */
static inline bool fuzz_checkpoint(const uint8_t *bytes, size_t n)
{
    struct ckpt_slice key = {.data = fuzz_key, .size = 12};
    struct ckpt_slice value = {.data = bytes, .size = n};
    struct ckpt_checkpoint *c = NULL;
    struct ckpt_pack pack = {0};
    enum ckpt_err err = ckpt_checkpoint_parse(&key, &value, &c);
    fuzz_check(err == CKPT_OK ? c != NULL : err == CKPT_ERR_CORRUPT && c == NULL);
    if (err != CKPT_OK) {
        return false;
    }
    fuzz_ask(c);
    err = ckpt_checkpoint_pack(c, &pack);
    fuzz_check_packed(&pack, err, bytes, n);

    struct ckpt_checkpoint *copy = ckpt_checkpoint_copy(c);
    fuzz_check(copy != NULL);
    pack = (struct ckpt_pack){0};
    err = ckpt_checkpoint_pack(copy, &pack);
    fuzz_check_packed(&pack, err, bytes, n);

    /* The run takes it over, and loses it again by its files. */
    struct ckpt_run *run = ckpt_run_new(7);
    fuzz_check(run != NULL && ckpt_run_put(run, copy) == CKPT_OK);
    bool shown = ckpt_checkpoint_shown(copy);
    fuzz_check((ckpt_run_latest(run) == copy) == shown);
    fuzz_check(!copy->has_epoch || (ckpt_run_epoch(run, copy->epoch) == copy) == shown);
    size_t lost = c->n_members <= FUZZ_LOSE_MAX ? c->n_members : 0;
    for (size_t i = 0; i < lost; i++) {
        const struct ckpt_member *m = &c->members[i];
        (void)ckpt_checkpoint_lose_version(copy, m->dir, m->name, m->number);
        fuzz_check(!ckpt_checkpoint_lose_version(copy, m->dir, m->name, m->number));
    }
    ckpt_run_change(run, copy);
    fuzz_check(lost == 0 || (copy->n_members == 0 && copy->dropped && ckpt_run_latest(run) == NULL));
    ckpt_run_free(run);
    ckpt_checkpoint_free(c);
    return true;
}

static inline bool fuzz_run(const uint8_t *bytes, size_t n)
{
    struct ckpt_slice key = {.data = fuzz_key, .size = 8};
    struct ckpt_slice value = {.data = bytes, .size = n};
    struct ckpt_run run = {0};
    struct ckpt_pack pack = {0};
    enum ckpt_err err = ckpt_run_parse(&key, &value, &run);
    fuzz_check(err == CKPT_OK || err == CKPT_ERR_CORRUPT);
    if (err == CKPT_OK) {
        fuzz_check(run.next_number > 0);
        err = ckpt_run_pack(&run, &pack);
        fuzz_check_packed(&pack, err, bytes, n);
        free(run.metric);
        return true;
    }
    return false;
}

static inline void fuzz_rows(const uint8_t *bytes, size_t n)
{
    (void)fuzz_checkpoint(bytes, n);
    (void)fuzz_run(bytes, n);
}

#endif
