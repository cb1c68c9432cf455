/*
 * One run in memory: its checkpoints by number, and those that are shown by epoch and by step.
 */
#include "run_parts.h"
#include "run_rows.h"
#include <stdlib.h>
#include <string.h>

struct ckpt_run *ckpt_run_new(uint64_t dir)
{
    struct ckpt_run *run = calloc(1, sizeof *run);
    if (run != NULL) {
        run->dir = dir;
        run->next_number = 1;
    }
    return run;
}

void ckpt_run_free(struct ckpt_run *run)
{
    if (run == NULL) {
        return;
    }
    for (size_t i = 0; i < run->count; i++) {
        ckpt_checkpoint_free(run->list[i]);
    }
    free(run->list);
    free(run->by_epoch);
    free(run->by_step);
    free(run->metric);
    free(run);
}

/*
 * ---- indexes ----
 *
 * A checkpoint stands where its epoch (or step) and sequence were when it was put there, and remembers them: so it is found
 * again, and the order holds, while it is being changed in place.
 */

typedef uint64_t key_fn(const struct ckpt_checkpoint *c);

static uint64_t epoch_of(const struct ckpt_checkpoint *c)
{
    return c->at_epoch;
}

static uint64_t step_of(const struct ckpt_checkpoint *c)
{
    return c->at_step;
}

/* The first place whose key is at least KEY, and of those with that key, whose sequence is at least SEQUENCE. */
static size_t place(struct ckpt_checkpoint *const *index, size_t n, key_fn *key_of, uint64_t key, uint64_t sequence)
{
    size_t low = 0;
    size_t high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        uint64_t k = key_of(index[middle]);
        if (k < key || (k == key && index[middle]->at_sequence < sequence)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void take_out(struct ckpt_checkpoint **index, size_t *n, key_fn *key_of, const struct ckpt_checkpoint *c)
{
    for (size_t at = place(index, *n, key_of, key_of(c), c->at_sequence);
         at < *n && key_of(index[at]) == key_of(c); at++) {
        if (index[at] == c) {
            memmove(&index[at], &index[at + 1], (*n - at - 1) * sizeof(struct ckpt_checkpoint *));
            --*n;
            return;
        }
    }
}

static void put_in(struct ckpt_checkpoint **index, size_t *n, key_fn *key_of, struct ckpt_checkpoint *c)
{
    size_t at = place(index, *n, key_of, key_of(c), c->at_sequence);
    memmove(&index[at + 1], &index[at], (*n - at) * sizeof(struct ckpt_checkpoint *));
    index[at] = c;
    ++*n;
}

static void unindex(struct ckpt_run *run, struct ckpt_checkpoint *c)
{
    if (c->in_epochs) {
        take_out(run->by_epoch, &run->n_epochs, epoch_of, c);
    }
    if (c->in_steps) {
        take_out(run->by_step, &run->n_steps, step_of, c);
    }
    c->in_epochs = c->in_steps = false;
}

static void index_one(struct ckpt_run *run, struct ckpt_checkpoint *c)
{
    c->in_epochs = ckpt_checkpoint_shown(c) && c->has_epoch;
    c->in_steps = ckpt_checkpoint_shown(c) && c->has_step;
    c->at_epoch = c->epoch;
    c->at_step = c->step;
    c->at_sequence = c->sequence;
    if (c->in_epochs) {
        put_in(run->by_epoch, &run->n_epochs, epoch_of, c);
    }
    if (c->in_steps) {
        put_in(run->by_step, &run->n_steps, step_of, c);
    }
}

static bool is_indexed_right(const struct ckpt_checkpoint *c)
{
    bool shown = ckpt_checkpoint_shown(c);
    return c->in_epochs == (shown && c->has_epoch) && c->in_steps == (shown && c->has_step) &&
           (!(c->in_epochs || c->in_steps) || c->at_sequence == c->sequence) &&
           (!c->in_epochs || c->at_epoch == c->epoch) && (!c->in_steps || c->at_step == c->step);
}

/* ---- the list ---- */

static enum ckpt_err make_room(struct ckpt_run *run)
{
    if (run->count < run->room) {
        return CKPT_OK;
    }
    size_t room = run->room == 0 ? 16 : 2 * run->room;
    struct ckpt_checkpoint **list = reallocarray(run->list, room, sizeof(struct ckpt_checkpoint *));
    if (list == NULL) {
        return CKPT_ERR_NOMEM;
    }
    run->list = list;
    struct ckpt_checkpoint **epochs = reallocarray(run->by_epoch, room, sizeof(struct ckpt_checkpoint *));
    if (epochs == NULL) {
        return CKPT_ERR_NOMEM;
    }
    run->by_epoch = epochs;
    struct ckpt_checkpoint **steps = reallocarray(run->by_step, room, sizeof(struct ckpt_checkpoint *));
    if (steps == NULL) {
        return CKPT_ERR_NOMEM;
    }
    run->by_step = steps;
    run->room = run->indexed_room = room;
    return CKPT_OK;
}

/* The first place whose number is at least NUMBER; most often the end. */
static size_t place_of(const struct ckpt_run *run, uint32_t number)
{
    if (run->count == 0 || run->list[run->count - 1]->number < number) {
        return run->count;
    }
    size_t low = 0;
    size_t high = run->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (run->list[middle]->number < number) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

static void unlist(struct ckpt_run *run, const struct ckpt_checkpoint *c)
{
    for (struct ckpt_checkpoint **at = &run->changed; *at != NULL; at = &(*at)->next) {
        if (*at == c) {
            *at = c->next;
            return;
        }
    }
}

enum ckpt_err ckpt_run_put(struct ckpt_run *run, struct ckpt_checkpoint *c)
{
    enum ckpt_err err = make_room(run);
    if (err != CKPT_OK) {
        ckpt_checkpoint_free(c);
        return err;
    }
    size_t at = place_of(run, c->number);
    if (at < run->count && run->list[at]->number == c->number) {
        unindex(run, run->list[at]);
        unlist(run, run->list[at]);
        ckpt_checkpoint_free(run->list[at]);
    } else {
        memmove(&run->list[at + 1], &run->list[at], (run->count - at) * sizeof(struct ckpt_checkpoint *));
        run->count++;
    }
    run->list[at] = c;
    index_one(run, c);
    run->generation++;
    return CKPT_OK;
}

struct ckpt_checkpoint *ckpt_run_find(struct ckpt_run *run, uint32_t number)
{
    size_t at = place_of(run, number);
    return at < run->count && run->list[at]->number == number ? run->list[at] : NULL;
}

void ckpt_run_change(struct ckpt_run *run, struct ckpt_checkpoint *c)
{
    run->dirty = true;
    run->generation++;
    if (c == NULL) {
        return;
    }
    if (!is_indexed_right(c)) {
        unindex(run, c);
        index_one(run, c);
    }
    if (!c->dirty) {
        c->dirty = true;
        c->next = run->changed;
        run->changed = c;
    }
}

void ckpt_run_settle(struct ckpt_run *run)
{
    struct ckpt_checkpoint *next = NULL;
    for (struct ckpt_checkpoint *c = run->changed; c != NULL; c = next) {
        next = c->next;
        c->next = NULL;
        c->dirty = false;
    }
    run->changed = NULL;
    run->dirty = false;
}

enum ckpt_err ckpt_run_set(struct ckpt_run *run, const struct ckpt_run *row)
{
    enum ckpt_err err = ckpt_text_set(&run->metric, row->metric);
    if (err == CKPT_OK) {
        run->next_number = row->next_number;
        run->finished = row->finished;
        run->stop = row->stop;
        run->finished_ns = row->finished_ns;
        run->written_ns = row->written_ns;
        run->process = row->process;
        run->best = row->best;
        run->generation++;
    }
    return err;
}

/* ---- looking up ---- */

const struct ckpt_checkpoint *ckpt_run_number(const struct ckpt_run *run, uint32_t number)
{
    size_t at = place_of(run, number);
    return at < run->count && run->list[at]->number == number ? run->list[at] : NULL;
}

const struct ckpt_checkpoint *ckpt_run_latest(const struct ckpt_run *run)
{
    const struct ckpt_checkpoint *deleted = NULL;
    for (size_t i = run->count; i-- > 0;) {
        const struct ckpt_checkpoint *c = run->list[i];
        if (ckpt_checkpoint_shown(c) && c->left != CKPT_LEFT_DELETED) {
            return c;
        }
        deleted = deleted == NULL && ckpt_checkpoint_shown(c) ? c : deleted;
    }
    return deleted;
}

const struct ckpt_checkpoint *ckpt_run_best(const struct ckpt_run *run)
{
    const struct ckpt_checkpoint *c = run->best == 0 ? NULL : ckpt_run_number(run, run->best);
    return c != NULL && ckpt_checkpoint_shown(c) ? c : NULL;
}

const struct ckpt_checkpoint *ckpt_run_final(const struct ckpt_run *run)
{
    if (run->finished) {
        return ckpt_run_latest(run);
    }
    /* Or its name says it. */
    for (size_t i = run->count; i-- > 0;) {
        if (ckpt_checkpoint_shown(run->list[i]) && strcmp(run->list[i]->group, "final") == 0) {
            return run->list[i];
        }
    }
    return NULL;
}

/* The newest with that key. */
static const struct ckpt_checkpoint *find(struct ckpt_checkpoint *const *index, size_t n, key_fn *key_of, uint64_t key)
{
    size_t beyond = place(index, n, key_of, key, UINT64_MAX);
    while (beyond < n && key_of(index[beyond]) == key) {
        beyond++; /* a sequence that only a damaged row has */
    }
    return beyond > 0 && key_of(index[beyond - 1]) == key ? index[beyond - 1] : NULL;
}

const struct ckpt_checkpoint *ckpt_run_epoch(const struct ckpt_run *run, uint64_t epoch)
{
    return find(run->by_epoch, run->n_epochs, epoch_of, epoch);
}

const struct ckpt_checkpoint *ckpt_run_step(const struct ckpt_run *run, uint64_t step)
{
    return find(run->by_step, run->n_steps, step_of, step);
}

const struct ckpt_checkpoint *ckpt_run_tag(const struct ckpt_run *run, const char *tag)
{
    for (size_t i = run->count; i-- > 0;) {
        if (ckpt_checkpoint_shown(run->list[i]) && ckpt_checkpoint_has_tag(run->list[i], tag)) {
            return run->list[i];
        }
    }
    return NULL;
}

static void each(struct ckpt_checkpoint *const *index, size_t n, key_fn *key_of, ckpt_number_fn *fn, void *arg)
{
    for (size_t i = 0; i < n; i++) {
        if ((i == 0 || key_of(index[i - 1]) != key_of(index[i])) && !fn(arg, key_of(index[i]))) {
            return;
        }
    }
}

void ckpt_run_each_epoch(const struct ckpt_run *run, ckpt_number_fn *fn, void *arg)
{
    each(run->by_epoch, run->n_epochs, epoch_of, fn, arg);
}

void ckpt_run_each_step(const struct ckpt_run *run, ckpt_number_fn *fn, void *arg)
{
    each(run->by_step, run->n_steps, step_of, fn, arg);
}

/* ---- distinct texts ---- */

struct texts {
    const char **list;
    size_t count;
    size_t room;
};

static enum ckpt_err add_text(struct texts *texts, const char *text)
{
    if (texts->count == texts->room) {
        size_t room = texts->room == 0 ? 64 : 2 * texts->room;
        const char **list = reallocarray(texts->list, room, sizeof *list);
        if (list == NULL) {
            return CKPT_ERR_NOMEM;
        }
        texts->list = list;
        texts->room = room;
    }
    texts->list[texts->count++] = text;
    return CKPT_OK;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static enum ckpt_err each_text(struct texts *texts, enum ckpt_err err, ckpt_text_fn *fn, void *arg)
{
    if (err == CKPT_OK && texts->count > 0) {
        qsort(texts->list, texts->count, sizeof *texts->list, by_text);
    }
    for (size_t i = 0; err == CKPT_OK && i < texts->count; i++) {
        if ((i == 0 || strcmp(texts->list[i - 1], texts->list[i]) != 0) && !fn(arg, texts->list[i])) {
            break;
        }
    }
    free(texts->list);
    return err;
}

enum ckpt_err ckpt_run_each_tag(const struct ckpt_run *run, ckpt_text_fn *fn, void *arg)
{
    struct texts texts = {0};
    enum ckpt_err err = CKPT_OK;
    for (size_t i = 0; i < run->count; i++) {
        const struct ckpt_checkpoint *c = run->list[i];
        for (size_t t = 0; err == CKPT_OK && ckpt_checkpoint_shown(c) && t < c->n_tags; t++) {
            err = add_text(&texts, c->tags[t]);
        }
    }
    return each_text(&texts, err, fn, arg);
}

enum ckpt_err ckpt_run_each_metric(const struct ckpt_run *run, ckpt_text_fn *fn, void *arg)
{
    struct texts texts = {0};
    enum ckpt_err err = CKPT_OK;
    for (size_t i = 0; i < run->count; i++) {
        const struct ckpt_checkpoint *c = run->list[i];
        for (size_t v = 0; err == CKPT_OK && ckpt_checkpoint_shown(c) && v < c->n_values; v++) {
            err = add_text(&texts, c->values[v].name);
        }
    }
    return each_text(&texts, err, fn, arg);
}
