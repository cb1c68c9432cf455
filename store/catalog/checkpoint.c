/*
 * A checkpoint as a value in memory.
 */
#include "recognise/naming.h"
#include "recognise/recognise.h"
#include "run_rows.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ckpt_checkpoint *ckpt_checkpoint_new(void)
{
    return calloc(1, sizeof(struct ckpt_checkpoint));
}

void ckpt_checkpoint_free(struct ckpt_checkpoint *c)
{
    if (c == NULL) {
        return;
    }
    for (size_t i = 0; i < c->n_tags; i++) {
        free(c->tags[i]);
    }
    for (size_t i = 0; i < c->n_values; i++) {
        free(c->values[i].name);
        free(c->values[i].path);
    }
    for (size_t i = 0; i < c->n_members; i++) {
        free(c->members[i].name);
        free(c->members[i].path);
    }
    free(c->tags);
    free(c->values);
    free(c->members);
    free(c->why);
    free(c->root);
    free(c->group);
    free(c);
}

enum ckpt_err ckpt_text_set(char **field, const char *text)
{
    char *copy = text == NULL ? NULL : strdup(text);
    if (text != NULL && copy == NULL) {
        return CKPT_ERR_NOMEM;
    }
    free(*field);
    *field = copy;
    return CKPT_OK;
}

/* Room for one more of SIZE bytes behind N of them in LIST; the room doubles. */
static void *one_more(void *list, size_t n, size_t size)
{
    bool full = n == 0 || (n & (n - 1)) == 0;
    return full ? reallocarray(list, n == 0 ? 1 : 2 * n, size) : list;
}

struct ckpt_member *ckpt_checkpoint_add_member(struct ckpt_checkpoint *c)
{
    struct ckpt_member *members = one_more(c->members, c->n_members, sizeof *members);
    if (members == NULL) {
        return NULL;
    }
    c->members = members;
    struct ckpt_member *m = &members[c->n_members++];
    memset(m, 0, sizeof *m);
    return m;
}

static enum ckpt_err add_tag(struct ckpt_checkpoint *c, const char *tag)
{
    char **tags = one_more(c->tags, c->n_tags, sizeof *tags);
    if (tags == NULL) {
        return CKPT_ERR_NOMEM;
    }
    c->tags = tags;
    tags[c->n_tags] = strdup(tag);
    if (tags[c->n_tags] == NULL) {
        return CKPT_ERR_NOMEM;
    }
    c->n_tags++;
    return CKPT_OK;
}

struct ckpt_value *ckpt_checkpoint_add_value(struct ckpt_checkpoint *c)
{
    struct ckpt_value *values = one_more(c->values, c->n_values, sizeof *values);
    if (values == NULL) {
        return NULL;
    }
    c->values = values;
    struct ckpt_value *v = &values[c->n_values++];
    memset(v, 0, sizeof *v);
    return v;
}

static enum ckpt_err add_value(struct ckpt_checkpoint *c, const struct ckpt_value *value)
{
    char *name = NULL;
    char *path = NULL;
    enum ckpt_err err = ckpt_text_set(&name, value->name);
    if (err == CKPT_OK) {
        err = ckpt_text_set(&path, value->path);
    }
    struct ckpt_value *v = err == CKPT_OK ? ckpt_checkpoint_add_value(c) : NULL;
    if (v == NULL) {
        free(name);
        free(path);
        return CKPT_ERR_NOMEM;
    }
    *v = *value;
    v->name = name;
    v->path = path;
    return CKPT_OK;
}

enum ckpt_err ckpt_checkpoint_copy_member(struct ckpt_checkpoint *c, const struct ckpt_member *from)
{
    struct ckpt_member *m = ckpt_checkpoint_add_member(c);
    if (m == NULL) {
        return CKPT_ERR_NOMEM;
    }
    *m = *from;
    m->name = m->path = NULL;
    enum ckpt_err err = ckpt_text_set(&m->name, from->name);
    return err == CKPT_OK ? ckpt_text_set(&m->path, from->path) : err;
}

struct ckpt_checkpoint *ckpt_checkpoint_copy(const struct ckpt_checkpoint *c)
{
    struct ckpt_checkpoint *copy = malloc(sizeof *copy);
    if (copy == NULL) {
        return NULL;
    }
    *copy = *c;
    copy->why = copy->root = copy->group = NULL;
    copy->tags = NULL;
    copy->values = NULL;
    copy->members = NULL;
    copy->n_tags = copy->n_values = copy->n_members = 0;
    copy->dirty = copy->in_epochs = copy->in_steps = false;
    copy->next = NULL;
    enum ckpt_err err = ckpt_text_set(&copy->why, c->why);
    if (err == CKPT_OK) {
        err = ckpt_text_set(&copy->root, c->root);
    }
    if (err == CKPT_OK) {
        err = ckpt_text_set(&copy->group, c->group);
    }
    for (size_t i = 0; err == CKPT_OK && i < c->n_tags; i++) {
        err = add_tag(copy, c->tags[i]);
    }
    for (size_t i = 0; err == CKPT_OK && i < c->n_values; i++) {
        err = add_value(copy, &c->values[i]);
    }
    for (size_t i = 0; err == CKPT_OK && i < c->n_members; i++) {
        err = ckpt_checkpoint_copy_member(copy, &c->members[i]);
    }
    if (err != CKPT_OK) {
        ckpt_checkpoint_free(copy);
        return NULL;
    }
    return copy;
}

static bool same_metric(const char *a, const char *b)
{
    enum { ROOM = 2 * 256 }; /* a name of CKPT_METRIC_NAME_MAX bytes (metrics.h) with a "_" before each */
    char one[ROOM];
    char other[ROOM];
    ckpt_metric_normalise(a, strlen(a), one, sizeof one);
    ckpt_metric_normalise(b, strlen(b), other, sizeof other);
    return strcmp(one, other) == 0;
}

const struct ckpt_value *ckpt_checkpoint_value(const struct ckpt_checkpoint *c, const char *name)
{
    for (size_t i = 0; i < c->n_values; i++) {
        if (same_metric(c->values[i].name, name)) {
            return &c->values[i];
        }
    }
    return NULL;
}

static bool same_number(double a, double b)
{
    return a == b || (isnan(a) && isnan(b));
}

enum ckpt_err ckpt_checkpoint_set_value(struct ckpt_checkpoint *c, const struct ckpt_value *value, bool *changed)
{
    *changed = false;
    for (size_t i = 0; i < c->n_values; i++) {
        struct ckpt_value *v = &c->values[i];
        if (!same_metric(v->name, value->name)) {
            continue;
        }
        if (value->from < v->from ||
            (same_number(v->value, value->value) && v->from == value->from && v->by == value->by)) {
            return CKPT_OK;
        }
        enum ckpt_err err = ckpt_text_set(&v->path, value->path);
        if (err == CKPT_OK) {
            err = ckpt_text_set(&v->name, value->name);
        }
        if (err == CKPT_OK) {
            v->value = value->value;
            v->from = value->from;
            v->by = value->by;
            v->kind = value->kind;
            *changed = true;
        }
        return err;
    }
    enum ckpt_err err = add_value(c, value);
    *changed = err == CKPT_OK;
    return err;
}

bool ckpt_checkpoint_has_tag(const struct ckpt_checkpoint *c, const char *tag)
{
    for (size_t i = 0; i < c->n_tags; i++) {
        if (strcmp(c->tags[i], tag) == 0) {
            return true;
        }
    }
    return false;
}

enum ckpt_err ckpt_checkpoint_add_tag(struct ckpt_checkpoint *c, const char *tag, bool *changed)
{
    *changed = !ckpt_checkpoint_has_tag(c, tag);
    return *changed ? add_tag(c, tag) : CKPT_OK;
}

bool ckpt_checkpoint_remove_tag(struct ckpt_checkpoint *c, const char *tag)
{
    for (size_t i = 0; i < c->n_tags; i++) {
        if (strcmp(c->tags[i], tag) == 0) {
            free(c->tags[i]);
            memmove(&c->tags[i], &c->tags[i + 1], (c->n_tags - i - 1) * sizeof *c->tags);
            c->n_tags--;
            return true;
        }
    }
    return false;
}

/* ---- members ---- */

static bool is_version(const struct ckpt_member *m, uint64_t dir, const char *name, uint32_t number)
{
    return m->dir == dir && m->number == number && strcmp(m->name, name) == 0;
}

/* The newest of those that a file with this name in this directory had replaced; none when such a file is still there. */
static struct ckpt_member *replaced_by(struct ckpt_checkpoint *c, uint64_t dir, const char *name)
{
    struct ckpt_member *newest = NULL;
    for (size_t i = 0; i < c->n_members; i++) {
        struct ckpt_member *m = &c->members[i];
        if (m->dir != dir || strcmp(m->name, name) != 0) {
            continue;
        }
        if (!m->replaced) {
            return NULL;
        }
        newest = newest == NULL || m->sequence >= newest->sequence ? m : newest;
    }
    return newest;
}

static void remove_member(struct ckpt_checkpoint *c, size_t at)
{
    free(c->members[at].name);
    free(c->members[at].path);
    memmove(&c->members[at], &c->members[at + 1], (c->n_members - at - 1) * sizeof *c->members);
    c->n_members--;
}

/* Half a directory or set of shards is no checkpoint. */
static void set_broken(struct ckpt_checkpoint *c, const char *name)
{
    char why[NAME_MAX + 32];
    (void)snprintf(why, sizeof why, "%s was forgotten", name);
    c->status = CKPT_STATUS_INVALID;
    if (ckpt_text_set(&c->why, why) != CKPT_OK) {
        free(c->why); /* what it says isn't so any more */
        c->why = NULL;
    }
}

bool ckpt_checkpoint_lose_version(struct ckpt_checkpoint *c, uint64_t dir, const char *name, uint32_t number)
{
    bool lost = false;
    bool broken = false;
    for (size_t i = c->n_members; i-- > 0;) {
        const struct ckpt_member *m = &c->members[i];
        if (is_version(m, dir, name, number)) {
            broken = broken || (!m->replaced && (m->directory || m->root == 0));
            remove_member(c, i);
            lost = true;
        }
    }
    if (broken && c->status == CKPT_STATUS_COMPLETE) {
        set_broken(c, name);
    }
    struct ckpt_member *back = lost ? replaced_by(c, dir, name) : NULL;
    if (back != NULL) {
        back->replaced = false;
    }
    c->dropped = c->dropped || (lost && c->n_members == 0);
    return lost;
}

/* ---- what is shown ---- */

bool ckpt_checkpoint_shown(const struct ckpt_checkpoint *c)
{
    return c->status == CKPT_STATUS_COMPLETE && !c->hidden && !c->dropped && !c->former;
}

uint64_t ckpt_checkpoint_size(const struct ckpt_checkpoint *c)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < c->n_members; i++) {
        sum += c->members[i].replaced || c->members[i].alias ? 0 : c->members[i].size;
    }
    return sum;
}

uint64_t ckpt_checkpoint_added(const struct ckpt_checkpoint *c)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < c->n_members; i++) {
        sum += c->members[i].added;
    }
    return sum;
}

struct ckpt_shape ckpt_checkpoint_shape(const struct ckpt_checkpoint *c)
{
    struct ckpt_shape shape = {.only_aliases = true, .one_directory = true};
    const struct ckpt_member *first = NULL;
    for (size_t i = 0; i < c->n_members; i++) {
        const struct ckpt_member *m = &c->members[i];
        if (m->replaced || m->alias) {
            continue;
        }
        first = first == NULL ? m : first;
        shape.only_aliases = false;
        shape.one_directory = shape.one_directory && m->directory && m->root == first->root &&
                              strncmp(m->path, first->path, m->root) == 0;
    }
    return shape;
}

const char *ckpt_member_shown(struct ckpt_shape shape, const struct ckpt_member *m)
{
    if (m->replaced || (m->alias && !shape.only_aliases)) {
        return NULL;
    }
    return m->directory && shape.one_directory && m->path[m->root] == '/' ? m->path + m->root + 1 : m->path;
}

const struct ckpt_member *ckpt_checkpoint_main(const struct ckpt_checkpoint *c)
{
    const struct ckpt_member *best = NULL;
    struct ckpt_shape shape = ckpt_checkpoint_shape(c);
    for (size_t i = 0; i < c->n_members; i++) {
        const struct ckpt_member *m = &c->members[i];
        if (m->directory || ckpt_member_shown(shape, m) == NULL) {
            continue;
        }
        unsigned full = ckpt_holds_fullness(m->holds);
        unsigned most = best == NULL ? 0 : ckpt_holds_fullness(best->holds);
        if (best == NULL || full > most || (full == most && m->size > best->size)) {
            best = m;
        }
    }
    return best;
}

const char *ckpt_status_name(enum ckpt_status status)
{
    static const char *const names[] = {
        [CKPT_STATUS_WRITING] = "writing", [CKPT_STATUS_COMPLETE] = "complete", [CKPT_STATUS_INVALID] = "invalid"};
    return names[status];
}

const char *ckpt_left_name(enum ckpt_left left)
{
    static const char *const names[] = {[CKPT_LEFT_OVERWRITTEN] = "overwritten", [CKPT_LEFT_DELETED] = "deleted"};
    return names[left];
}
