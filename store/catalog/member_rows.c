/*
 * The rows of members: from a version to the checkpoints that have it.
 */
#include "catalog_parts.h"
#include "common/bytes.h"
#include "object/internal.h"
#include "run_rows.h"
#include <stdlib.h>
#include <string.h>

/* A key: that of the version, directory, name, NUL, number; then the holder's run and number. */
enum { DIR_SIZE = CKPT_DIR_SIZE, TAIL = 1 + 4, HOLDER = 8 + 4, KEY_MAX = CKPT_CATALOG_KEY + HOLDER };

static size_t member_key(uint8_t key[KEY_MAX], const struct ckpt_checkpoint *c, const struct ckpt_member *m)
{
    size_t n = ckpt_catalog_version_key(key, m->dir, m->name, m->number);
    ckpt_put_be64(key + n, c->run);
    ckpt_put_be32(key + n + 8, c->number);
    return n + HOLDER;
}

enum ckpt_err ckpt_member_row_parse(const struct ckpt_slice *key, const struct ckpt_slice *value,
                                    struct ckpt_member_row *out)
{
    const uint8_t *bytes = key->data;
    if (key->size <= DIR_SIZE + TAIL + HOLDER || key->size > KEY_MAX || value->size != 0) {
        return CKPT_ERR_CORRUPT;
    }
    size_t n = key->size - DIR_SIZE - TAIL - HOLDER;
    const uint8_t *tail = bytes + DIR_SIZE + n;
    if (*tail != 0 || memchr(bytes + DIR_SIZE, '\0', n) != NULL || memchr(bytes + DIR_SIZE, '/', n) != NULL) {
        return CKPT_ERR_CORRUPT;
    }
    memset(out, 0, sizeof *out);
    out->dir = ckpt_get_be64(bytes);
    memcpy(out->name, bytes + DIR_SIZE, n);
    out->number = ckpt_get_be32(tail + 1);
    out->run = ckpt_get_be64(tail + TAIL);
    out->checkpoint = ckpt_get_be32(tail + TAIL + 8);
    return CKPT_OK;
}

/* Most of them are there already, and leaving a row alone writes no page. */
enum ckpt_err ckpt_member_put_in(struct ckpt_txn *txn, const struct ckpt_checkpoint *c, const struct ckpt_member *m)
{
    uint8_t key[KEY_MAX];
    size_t n = member_key(key, c, m);
    enum ckpt_err err = ckpt_db_insert(txn, CKPT_TABLE_MEMBERS, key, n, "", 0);
    return err == CKPT_ERR_EXISTS ? CKPT_OK : err;
}

enum ckpt_err ckpt_member_has_in(struct ckpt_txn *txn, const struct ckpt_checkpoint *c, const struct ckpt_member *m,
                                 bool *has)
{
    uint8_t key[KEY_MAX];
    struct ckpt_slice value;
    enum ckpt_err err = ckpt_db_get(txn, CKPT_TABLE_MEMBERS, key, member_key(key, c, m), &value);
    *has = err == CKPT_OK;
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

/* Calls FN with each row whose key begins with PREFIX, until it fails or says stop. */
typedef enum ckpt_err row_fn(void *arg, const uint8_t *holder, bool *stop);

static enum ckpt_err walk(struct ckpt_txn *txn, const uint8_t *prefix, size_t n, size_t key_size, row_fn *fn, void *arg)
{
    struct ckpt_cursor *cursor = NULL;
    struct ckpt_slice key;
    struct ckpt_slice value;
    bool stop = false;
    enum ckpt_err err = ckpt_cursor_open(txn, CKPT_TABLE_MEMBERS, &cursor);
    if (err == CKPT_OK) {
        err = ckpt_cursor_seek(cursor, prefix, n, &key, &value);
    }
    while (err == CKPT_OK && key.size == key_size && memcmp(key.data, prefix, n) == 0) {
        err = fn(arg, (const uint8_t *)key.data + key_size - HOLDER, &stop);
        if (err != CKPT_OK || stop) {
            break;
        }
        err = ckpt_cursor_next(cursor, &key, &value);
    }
    ckpt_cursor_close(cursor);
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

struct holder_walk {
    ckpt_holder_fn *fn;
    void *arg;
};

static enum ckpt_err see_holder(void *arg, const uint8_t *holder, bool *stop)
{
    const struct holder_walk *walk = arg;
    *stop = !walk->fn(walk->arg, ckpt_get_be64(holder), ckpt_get_be32(holder + 8));
    return CKPT_OK;
}

enum ckpt_err ckpt_member_each_holder_in(struct ckpt_txn *txn, uint64_t dir, const char *name, uint32_t number,
                                         ckpt_holder_fn *fn, void *arg)
{
    uint8_t prefix[KEY_MAX];
    struct holder_walk holders = {.fn = fn, .arg = arg};
    size_t n = ckpt_catalog_version_key(prefix, dir, name, number);
    return walk(txn, prefix, n, n + HOLDER, see_holder, &holders);
}

struct first_holder {
    bool found;
    uint64_t run;
    uint32_t checkpoint;
};

static bool take_first(void *arg, uint64_t run, uint32_t checkpoint)
{
    *(struct first_holder *)arg = (struct first_holder){.found = true, .run = run, .checkpoint = checkpoint};
    return false;
}

enum ckpt_err ckpt_member_release_in(struct ckpt_txn *txn, const struct ckpt_checkpoint *c,
                                     const struct ckpt_member *m, bool *last)
{
    uint8_t key[KEY_MAX];
    struct first_holder holder = {.found = false};
    enum ckpt_err err = ckpt_db_del(txn, CKPT_TABLE_MEMBERS, key, member_key(key, c, m));
    if (err == CKPT_OK || err == CKPT_ERR_NOT_FOUND) {
        err = ckpt_member_each_holder_in(txn, m->dir, m->name, m->number, take_first, &holder);
    }
    *last = err == CKPT_OK && !holder.found;
    return err;
}

/* A row that leads to nothing is verify's to tell; here it only goes. */
static enum ckpt_err lose_holder(struct ckpt_txn *txn, const struct first_holder *holder, uint64_t dir,
                                 const char *name, uint32_t number)
{
    uint8_t key[KEY_MAX];
    struct ckpt_checkpoint *c = NULL;
    size_t n = ckpt_catalog_version_key(key, dir, name, number);
    ckpt_put_be64(key + n, holder->run);
    ckpt_put_be32(key + n + 8, holder->checkpoint);
    enum ckpt_err err = ckpt_db_del(txn, CKPT_TABLE_MEMBERS, key, n + HOLDER);
    if (err != CKPT_OK) {
        return err == CKPT_ERR_NOT_FOUND ? CKPT_ERR_CORRUPT : err;
    }
    err = ckpt_checkpoint_get_in(txn, holder->run, holder->checkpoint, &c);
    if (err == CKPT_ERR_NOT_FOUND) {
        return CKPT_OK;
    }
    if (err == CKPT_OK && !c->dropped && ckpt_checkpoint_lose_version(c, dir, name, number)) {
        err = ckpt_checkpoint_put_in(txn, c);
    }
    ckpt_checkpoint_free(c);
    return err;
}

enum ckpt_err ckpt_checkpoint_lose_version_in(struct ckpt_txn *txn, uint64_t dir, const char *name, uint32_t number)
{
    /* Each turn removes a row, so it ends. */
    for (;;) {
        struct first_holder holder = {.found = false};
        enum ckpt_err err = ckpt_member_each_holder_in(txn, dir, name, number, take_first, &holder);
        if (err != CKPT_OK || !holder.found) {
            return err;
        }
        err = lose_holder(txn, &holder, dir, name, number);
        if (err != CKPT_OK) {
            return err;
        }
    }
}

/* ---- the runs of a file ---- */

struct run_list {
    uint64_t *list;
    size_t count;
};

/* There are few: that of the file's directory, and seldom one above it. */
static enum ckpt_err add_run(void *arg, const uint8_t *holder, bool *stop)
{
    struct run_list *runs = arg;
    uint64_t run = ckpt_get_be64(holder);
    (void)stop;
    for (size_t i = runs->count; i-- > 0;) {
        if (runs->list[i] == run) {
            return CKPT_OK;
        }
    }
    uint64_t *list = reallocarray(runs->list, runs->count + 1, sizeof *list);
    if (list == NULL) {
        return CKPT_ERR_NOMEM;
    }
    runs->list = list;
    list[runs->count++] = run;
    return CKPT_OK;
}

enum ckpt_err ckpt_member_runs(struct ckpt_store *store, uint64_t dir, const char *name, uint64_t **runs, size_t *n)
{
    uint8_t prefix[KEY_MAX];
    struct run_list found = {0};
    struct ckpt_txn *txn = NULL;
    size_t size = ckpt_catalog_version_prefix(prefix, dir, name);
    enum ckpt_err err = ckpt_txn_read(store->db, &txn);
    if (err == CKPT_OK) {
        err = walk(txn, prefix, size, size + 4 + HOLDER, add_run, &found);
    }
    ckpt_txn_abort(txn);
    if (err != CKPT_OK) {
        free(found.list);
        return err;
    }
    *runs = found.list;
    *n = found.count;
    return CKPT_OK;
}
