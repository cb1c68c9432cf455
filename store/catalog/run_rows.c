/*
 * The rows of checkpoints, ids and fresh.
 */
#include "common/bytes.h"
#include "common/pack.h"
#include "metrics/metrics.h"
#include "run_rows.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum {
    CHECKPOINT_KEY = 12, /* run, number */
    ID_KEY = 8,
    ID_ROW = 12,
    MEMBER_LEAST = 8 + 4 + 2 + 2 + 2 + 8 + 8 + 8 + 2 + 2 * CKPT_ID_SIZE,
    VALUE_LEAST = 2 + 8 + 3 + 2,
    TAG_LEAST = 2,
};

static const char checkpoint_magic[4] = "CKP1";

/* The flags of a checkpoint, and of a member. */
enum { HAS_EPOCH = 1, HAS_STEP = 2, PINNED = 4, HIDDEN = 8, DROPPED = 16, FORMER = 32 };
enum { DIRECTORY = 1, ALIAS = 2, INVALID = 4, REPLACED = 8, GONE = 16, MEMBER_FLAGS = 31 };

static void checkpoint_key(uint8_t key[CHECKPOINT_KEY], uint64_t run, uint32_t number)
{
    ckpt_put_be64(key, run);
    ckpt_put_be32(key + 8, number);
}

static bool is_name(const char *name)
{
    size_t n = name == NULL ? 0 : strlen(name);
    return n > 0 && n <= NAME_MAX && strchr(name, '/') == NULL;
}

/* What others rely on, whoever wrote it. The same going in and coming out, so that what was written can be read. */
static bool makes_sense(const struct ckpt_checkpoint *c)
{
    if (c->number == 0 || c->root == NULL || c->group == NULL) {
        return false;
    }
    for (size_t i = 0; i < c->n_values; i++) {
        if (c->values[i].name == NULL || c->values[i].kind > CKPT_METRICS_MLFLOW) {
            return false;
        }
    }
    for (size_t i = 0; i < c->n_members; i++) {
        const struct ckpt_member *m = &c->members[i];
        if (m->number == 0 || !is_name(m->name) || m->path == NULL || m->root > strlen(m->path)) {
            return false;
        }
    }
    return true;
}

/* ---- packing ---- */

static void pack_member(struct ckpt_pack *p, const struct ckpt_member *m)
{
    unsigned flags = (m->directory ? DIRECTORY : 0U) | (m->alias ? ALIAS : 0U) | (m->invalid ? INVALID : 0U) |
                     (m->replaced ? REPLACED : 0U) | (m->gone ? GONE : 0U);
    ckpt_pack_u64(p, m->dir);
    ckpt_pack_u32(p, m->number);
    ckpt_pack_text(p, m->name);
    ckpt_pack_text(p, m->path);
    ckpt_pack_u16(p, m->root);
    ckpt_pack_u64(p, m->sequence);
    ckpt_pack_u64(p, m->size);
    ckpt_pack_u64(p, m->added);
    ckpt_pack_u8(p, (uint8_t)m->holds);
    ckpt_pack_u8(p, (uint8_t)flags);
    ckpt_pack_bytes(p, m->state.bytes, CKPT_ID_SIZE);
    ckpt_pack_bytes(p, m->recipe.bytes, CKPT_ID_SIZE);
}

static void pack_value(struct ckpt_pack *p, const struct ckpt_value *v)
{
    ckpt_pack_text(p, v->name);
    ckpt_pack_f64(p, v->value);
    ckpt_pack_u8(p, (uint8_t)v->from);
    ckpt_pack_u8(p, (uint8_t)v->by);
    ckpt_pack_u8(p, v->kind);
    ckpt_pack_text(p, v->path);
}

enum ckpt_err ckpt_checkpoint_pack(const struct ckpt_checkpoint *c, struct ckpt_pack *p)
{
    if (!makes_sense(c)) {
        return CKPT_ERR_INVALID;
    }
    unsigned flags = (c->has_epoch ? HAS_EPOCH : 0U) | (c->has_step ? HAS_STEP : 0U) | (c->pinned ? PINNED : 0U) |
                     (c->hidden ? HIDDEN : 0U) | (c->dropped ? DROPPED : 0U) | (c->former ? FORMER : 0U);
    ckpt_pack_bytes(p, checkpoint_magic, sizeof checkpoint_magic);
    ckpt_pack_u8(p, (uint8_t)c->status);
    ckpt_pack_u8(p, (uint8_t)c->framework);
    ckpt_pack_u8(p, (uint8_t)c->holds);
    ckpt_pack_u8(p, (uint8_t)flags);
    ckpt_pack_u8(p, (uint8_t)c->left);
    ckpt_pack_u8(p, (uint8_t)(c->has_epoch ? c->epoch_from : 0));
    ckpt_pack_u8(p, (uint8_t)(c->has_step ? c->step_from : 0));
    ckpt_pack_u8(p, 0);
    ckpt_pack_u64(p, c->id);
    ckpt_pack_u64(p, c->sequence);
    ckpt_pack_u64(p, (uint64_t)c->saved_ns);
    ckpt_pack_u64(p, c->has_epoch ? c->epoch : 0);
    ckpt_pack_u64(p, c->has_step ? c->step : 0);
    ckpt_pack_u64(p, (uint64_t)c->left_ns);
    ckpt_pack_u64(p, (uint64_t)c->hidden_ns);
    ckpt_pack_u64(p, c->parent);
    ckpt_pack_u64(p, c->process);
    ckpt_pack_text(p, c->why);
    ckpt_pack_text(p, c->root);
    ckpt_pack_text(p, c->group);
    ckpt_pack_u32(p, (uint32_t)c->n_tags);
    for (size_t i = 0; i < c->n_tags; i++) {
        ckpt_pack_text(p, c->tags[i]);
    }
    ckpt_pack_u32(p, (uint32_t)c->n_values);
    for (size_t i = 0; i < c->n_values; i++) {
        pack_value(p, &c->values[i]);
    }
    ckpt_pack_u32(p, (uint32_t)c->n_members);
    for (size_t i = 0; i < c->n_members; i++) {
        pack_member(p, &c->members[i]);
    }
    return p->err;
}

/* ---- unpacking ---- */

/* A number that must be below END. */
static unsigned unpack_enum(struct ckpt_unpack *u, unsigned end)
{
    unsigned v = ckpt_unpack_u8(u);
    if (v >= end) {
        u->err = CKPT_ERR_CORRUPT;
        return 0;
    }
    return v;
}

static void unpack_member(struct ckpt_unpack *u, struct ckpt_member *m)
{
    m->dir = ckpt_unpack_u64(u);
    m->number = ckpt_unpack_u32(u);
    m->name = ckpt_unpack_some_text(u);
    m->path = ckpt_unpack_some_text(u);
    m->root = ckpt_unpack_u16(u);
    m->sequence = ckpt_unpack_u64(u);
    m->size = ckpt_unpack_u64(u);
    m->added = ckpt_unpack_u64(u);
    m->holds = (enum ckpt_holds)unpack_enum(u, CKPT_HOLDINGS);
    unsigned flags = unpack_enum(u, MEMBER_FLAGS + 1);
    m->directory = (flags & DIRECTORY) != 0;
    m->alias = (flags & ALIAS) != 0;
    m->invalid = (flags & INVALID) != 0;
    m->replaced = (flags & REPLACED) != 0;
    m->gone = (flags & GONE) != 0;
    ckpt_unpack_bytes(u, m->state.bytes, CKPT_ID_SIZE);
    ckpt_unpack_bytes(u, m->recipe.bytes, CKPT_ID_SIZE);
}

static void unpack_value(struct ckpt_unpack *u, struct ckpt_value *v)
{
    v->name = ckpt_unpack_some_text(u);
    v->value = ckpt_unpack_f64(u);
    v->from = (enum ckpt_from)unpack_enum(u, CKPT_FROM_USER + 1);
    v->by = (enum ckpt_by)unpack_enum(u, CKPT_BY_TIME + 1);
    v->kind = ckpt_unpack_u8(u);
    v->path = ckpt_unpack_text(u);
}

static void unpack_lists(struct ckpt_unpack *u, struct ckpt_checkpoint *c)
{
    size_t n = ckpt_unpack_count(u, TAG_LEAST);
    for (size_t i = 0; u->err == CKPT_OK && i < n; i++) {
        bool changed = false;
        char *tag = ckpt_unpack_some_text(u);
        if (tag != NULL) {
            u->err = ckpt_checkpoint_add_tag(c, tag, &changed);
        }
        if (u->err == CKPT_OK && !changed) {
            u->err = CKPT_ERR_CORRUPT;
        }
        free(tag);
    }
    n = ckpt_unpack_count(u, VALUE_LEAST);
    for (size_t i = 0; u->err == CKPT_OK && i < n; i++) {
        struct ckpt_value *v = ckpt_checkpoint_add_value(c);
        if (v == NULL) {
            u->err = CKPT_ERR_NOMEM;
        } else {
            unpack_value(u, v);
        }
    }
    n = ckpt_unpack_count(u, MEMBER_LEAST);
    for (size_t i = 0; u->err == CKPT_OK && i < n; i++) {
        struct ckpt_member *m = ckpt_checkpoint_add_member(c);
        if (m == NULL) {
            u->err = CKPT_ERR_NOMEM;
        } else {
            unpack_member(u, m);
        }
    }
}

static void unpack_checkpoint(struct ckpt_unpack *u, struct ckpt_checkpoint *c)
{
    char magic[4];
    ckpt_unpack_bytes(u, magic, sizeof magic);
    if (memcmp(magic, checkpoint_magic, sizeof magic) != 0) {
        u->err = CKPT_ERR_CORRUPT;
    }
    c->status = (enum ckpt_status)unpack_enum(u, CKPT_STATUS_INVALID + 1);
    c->framework = (enum ckpt_framework)unpack_enum(u, CKPT_FRAMEWORKS);
    c->holds = (enum ckpt_holds)unpack_enum(u, CKPT_HOLDINGS);
    unsigned flags = unpack_enum(u, 2 * FORMER);
    c->has_epoch = (flags & HAS_EPOCH) != 0;
    c->has_step = (flags & HAS_STEP) != 0;
    c->pinned = (flags & PINNED) != 0;
    c->hidden = (flags & HIDDEN) != 0;
    c->dropped = (flags & DROPPED) != 0;
    c->former = (flags & FORMER) != 0;
    c->left = (enum ckpt_left)unpack_enum(u, CKPT_LEFT_DELETED + 1);
    c->epoch_from = (enum ckpt_from)unpack_enum(u, CKPT_FROM_USER + 1);
    c->step_from = (enum ckpt_from)unpack_enum(u, CKPT_FROM_USER + 1);
    (void)unpack_enum(u, 1); /* reserved */
    c->id = ckpt_unpack_u64(u);
    c->sequence = ckpt_unpack_u64(u);
    c->saved_ns = (int64_t)ckpt_unpack_u64(u);
    c->epoch = ckpt_unpack_u64(u);
    c->step = ckpt_unpack_u64(u);
    if ((!c->has_epoch && (c->epoch != 0 || c->epoch_from != 0)) ||
        (!c->has_step && (c->step != 0 || c->step_from != 0))) {
        u->err = CKPT_ERR_CORRUPT;
    }
    c->left_ns = (int64_t)ckpt_unpack_u64(u);
    c->hidden_ns = (int64_t)ckpt_unpack_u64(u);
    c->parent = ckpt_unpack_u64(u);
    c->process = ckpt_unpack_u64(u);
    c->why = ckpt_unpack_text(u);
    c->root = ckpt_unpack_some_text(u);
    c->group = ckpt_unpack_some_text(u);
    unpack_lists(u, c);
    if (u->err == CKPT_OK && u->size != 0) {
        u->err = CKPT_ERR_CORRUPT;
    }
}

enum ckpt_err ckpt_checkpoint_parse(const struct ckpt_slice *key, const struct ckpt_slice *value,
                                    struct ckpt_checkpoint **out)
{
    struct ckpt_unpack u = {.bytes = value->data, .size = value->size};
    if (key->size != CHECKPOINT_KEY) {
        return CKPT_ERR_CORRUPT;
    }
    struct ckpt_checkpoint *c = ckpt_checkpoint_new();
    if (c == NULL) {
        return CKPT_ERR_NOMEM;
    }
    c->run = ckpt_get_be64(key->data);
    c->number = ckpt_get_be32((const uint8_t *)key->data + 8);
    unpack_checkpoint(&u, c);
    if (u.err == CKPT_OK && !makes_sense(c)) {
        u.err = CKPT_ERR_CORRUPT;
    }
    if (u.err != CKPT_OK) {
        ckpt_checkpoint_free(c);
        return u.err;
    }
    *out = c;
    return CKPT_OK;
}

/* ---- writing ---- */

enum ckpt_err ckpt_checkpoint_put_in(struct ckpt_txn *txn, const struct ckpt_checkpoint *c)
{
    struct ckpt_pack pack = {0};
    uint8_t key[CHECKPOINT_KEY];
    uint8_t id[ID_KEY];
    uint8_t where[ID_ROW];
    enum ckpt_err err = ckpt_checkpoint_pack(c, &pack);
    checkpoint_key(key, c->run, c->number);
    if (err == CKPT_OK) {
        err = ckpt_db_put(txn, CKPT_TABLE_CHECKPOINTS, key, sizeof key, pack.bytes, pack.size);
    }
    free(pack.bytes);
    if (err == CKPT_OK) {
        ckpt_put_be64(id, c->id);
        ckpt_put_le64(where, c->run);
        ckpt_put_le32(where + 8, c->number);
        err = ckpt_db_put(txn, CKPT_TABLE_IDS, id, sizeof id, where, sizeof where);
    }
    for (size_t i = 0; err == CKPT_OK && !c->dropped && i < c->n_members; i++) {
        err = ckpt_member_put_in(txn, c, &c->members[i]);
    }
    return err;
}

enum ckpt_err ckpt_checkpoint_get_in(struct ckpt_txn *txn, uint64_t run, uint32_t number,
                                     struct ckpt_checkpoint **out)
{
    uint8_t key[CHECKPOINT_KEY];
    struct ckpt_slice key_slice = {.data = key, .size = sizeof key};
    struct ckpt_slice value;
    checkpoint_key(key, run, number);
    enum ckpt_err err = ckpt_db_get(txn, CKPT_TABLE_CHECKPOINTS, key, sizeof key, &value);
    return err == CKPT_OK ? ckpt_checkpoint_parse(&key_slice, &value, out) : err;
}

/* ---- fresh ---- */

enum { FRESH_KEY = 8, FRESH_NAME = 12 };

enum ckpt_err ckpt_fresh_parse(const struct ckpt_slice *key, const struct ckpt_slice *value, struct ckpt_fresh *out)
{
    const uint8_t *row = value->data;
    if (key->size != FRESH_KEY || value->size <= FRESH_NAME || value->size > FRESH_NAME + NAME_MAX) {
        return CKPT_ERR_CORRUPT;
    }
    size_t n = value->size - FRESH_NAME;
    if (ckpt_get_le32(row + 8) == 0 || memchr(row + FRESH_NAME, '\0', n) != NULL ||
        memchr(row + FRESH_NAME, '/', n) != NULL) {
        return CKPT_ERR_CORRUPT;
    }
    memset(out, 0, sizeof *out);
    out->sequence = ckpt_get_be64(key->data);
    out->dir = ckpt_get_le64(row);
    out->number = ckpt_get_le32(row + 8);
    memcpy(out->name, row + FRESH_NAME, n);
    return CKPT_OK;
}

enum ckpt_err ckpt_fresh_put_in(struct ckpt_txn *txn, const struct ckpt_fresh *fresh)
{
    uint8_t key[FRESH_KEY];
    uint8_t row[FRESH_NAME + NAME_MAX];
    size_t n = strnlen(fresh->name, NAME_MAX);
    ckpt_put_be64(key, fresh->sequence);
    ckpt_put_le64(row, fresh->dir);
    ckpt_put_le32(row + 8, fresh->number);
    memcpy(row + FRESH_NAME, fresh->name, n);
    return ckpt_db_put(txn, CKPT_TABLE_FRESH, key, sizeof key, row, FRESH_NAME + n);
}

enum ckpt_err ckpt_fresh_del_in(struct ckpt_txn *txn, uint64_t sequence)
{
    uint8_t key[FRESH_KEY];
    ckpt_put_be64(key, sequence);
    return ckpt_db_del(txn, CKPT_TABLE_FRESH, key, sizeof key);
}

enum ckpt_err ckpt_fresh_next_in(struct ckpt_txn *txn, uint64_t sequence, struct ckpt_fresh *out)
{
    struct ckpt_cursor *cursor = NULL;
    struct ckpt_slice key;
    struct ckpt_slice value;
    uint8_t from[FRESH_KEY];
    ckpt_put_be64(from, sequence);
    enum ckpt_err err = ckpt_cursor_open(txn, CKPT_TABLE_FRESH, &cursor);
    if (err == CKPT_OK) {
        err = ckpt_cursor_seek(cursor, from, sizeof from, &key, &value);
    }
    if (err == CKPT_OK) {
        err = ckpt_fresh_parse(&key, &value, out);
    }
    ckpt_cursor_close(cursor);
    return err;
}
