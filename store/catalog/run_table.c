/*
 * The rows of runs, processes and policies; a run as a whole.
 */
#include "catalog_txn.h"
#include "common/bytes.h"
#include "common/pack.h"
#include "object/internal.h"
#include "run_parts.h"
#include "run_rows.h"
#include <ckpt/id.h>
#include <stdlib.h>
#include <string.h>

enum { DIR_KEY = 8, POLICY_TEXT_AT = 8, PROCESS_TEXT_MAX = 65536 };

static const char run_magic[4] = "CKN1";

enum { FINISHED = 1, STOP = 2, RUN_FLAGS = 3 };

enum ckpt_err ckpt_run_parse(const struct ckpt_slice *key, const struct ckpt_slice *value, struct ckpt_run *out)
{
    struct ckpt_unpack u = {.bytes = value->data, .size = value->size};
    char magic[4];
    if (key->size != DIR_KEY) {
        return CKPT_ERR_CORRUPT;
    }
    ckpt_unpack_bytes(&u, magic, sizeof magic);
    unsigned flags = ckpt_unpack_u8(&u);
    unsigned zero = ckpt_unpack_u8(&u) | (unsigned)ckpt_unpack_u16(&u);
    if (memcmp(magic, run_magic, sizeof magic) != 0 || (flags & ~(unsigned)RUN_FLAGS) != 0 || zero != 0) {
        return CKPT_ERR_CORRUPT;
    }
    struct ckpt_run run = {.dir = ckpt_get_be64(key->data),
                           .finished = (flags & FINISHED) != 0,
                           .stop = (flags & STOP) != 0};
    run.next_number = ckpt_unpack_u32(&u);
    run.best = ckpt_unpack_u32(&u);
    run.finished_ns = (int64_t)ckpt_unpack_u64(&u);
    run.written_ns = (int64_t)ckpt_unpack_u64(&u);
    run.process = ckpt_unpack_u64(&u);
    run.metric = ckpt_unpack_text(&u);
    if (u.err == CKPT_OK && (u.size != 0 || run.next_number == 0)) {
        u.err = CKPT_ERR_CORRUPT;
    }
    if (u.err != CKPT_OK) {
        free(run.metric);
        return u.err;
    }
    *out = run;
    return CKPT_OK;
}

enum ckpt_err ckpt_run_pack(const struct ckpt_run *run, struct ckpt_pack *p)
{
    if (run->next_number == 0) {
        return CKPT_ERR_INVALID;
    }
    ckpt_pack_bytes(p, run_magic, sizeof run_magic);
    ckpt_pack_u8(p, (uint8_t)((run->finished ? FINISHED : 0U) | (run->stop ? STOP : 0U)));
    ckpt_pack_u8(p, 0);
    ckpt_pack_u16(p, 0);
    ckpt_pack_u32(p, run->next_number);
    ckpt_pack_u32(p, run->best);
    ckpt_pack_u64(p, (uint64_t)run->finished_ns);
    ckpt_pack_u64(p, (uint64_t)run->written_ns);
    ckpt_pack_u64(p, run->process);
    ckpt_pack_text(p, run->metric);
    return p->err;
}

enum ckpt_err ckpt_run_put_in(struct ckpt_txn *txn, const struct ckpt_run *run)
{
    struct ckpt_pack p = {0};
    uint8_t key[DIR_KEY];
    ckpt_put_be64(key, run->dir);
    enum ckpt_err err = ckpt_run_pack(run, &p);
    if (err == CKPT_OK) {
        err = ckpt_db_put(txn, CKPT_TABLE_RUNS, key, sizeof key, p.bytes, p.size);
    }
    free(p.bytes);
    return err;
}

enum ckpt_err ckpt_run_exists_in(struct ckpt_txn *txn, uint64_t dir, bool *exists)
{
    struct ckpt_slice value;
    uint8_t key[DIR_KEY];
    ckpt_put_be64(key, dir);
    enum ckpt_err err = ckpt_db_get(txn, CKPT_TABLE_RUNS, key, sizeof key, &value);
    *exists = err == CKPT_OK;
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

static enum ckpt_err load_checkpoints(struct ckpt_txn *txn, struct ckpt_run *run)
{
    struct ckpt_cursor *cursor = NULL;
    struct ckpt_slice key;
    struct ckpt_slice value;
    uint8_t prefix[DIR_KEY];
    ckpt_put_be64(prefix, run->dir);
    enum ckpt_err err = ckpt_cursor_open(txn, CKPT_TABLE_CHECKPOINTS, &cursor);
    if (err == CKPT_OK) {
        err = ckpt_cursor_seek(cursor, prefix, sizeof prefix, &key, &value);
    }
    while (err == CKPT_OK && key.size > DIR_KEY && memcmp(key.data, prefix, sizeof prefix) == 0) {
        struct ckpt_checkpoint *c = NULL;
        err = ckpt_checkpoint_parse(&key, &value, &c);
        if (err == CKPT_OK) {
            err = ckpt_run_put(run, c);
        }
        if (err != CKPT_OK) {
            break;
        }
        err = ckpt_cursor_next(cursor, &key, &value);
    }
    ckpt_cursor_close(cursor);
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

enum ckpt_err ckpt_run_load_in(struct ckpt_txn *txn, uint64_t dir, struct ckpt_run **out)
{
    struct ckpt_slice value;
    uint8_t key[DIR_KEY];
    struct ckpt_slice key_slice = {.data = key, .size = sizeof key};
    ckpt_put_be64(key, dir);
    enum ckpt_err err = ckpt_db_get(txn, CKPT_TABLE_RUNS, key, sizeof key, &value);
    if (err != CKPT_OK) {
        return err;
    }
    struct ckpt_run *run = calloc(1, sizeof *run);
    if (run == NULL) {
        return CKPT_ERR_NOMEM;
    }
    err = ckpt_run_parse(&key_slice, &value, run);
    if (err == CKPT_OK) {
        err = load_checkpoints(txn, run);
    }
    if (err != CKPT_OK) {
        ckpt_run_free(run);
        return err;
    }
    *out = run;
    return CKPT_OK;
}

/* ---- processes ---- */

static enum ckpt_err copy_text(const void *bytes, size_t n, char **out)
{
    char *text = malloc(n + 1);
    if (text == NULL) {
        return CKPT_ERR_NOMEM;
    }
    memcpy(text, bytes, n);
    text[n] = '\0';
    *out = text;
    return CKPT_OK;
}

uint64_t ckpt_process_id(const char *json)
{
    uint64_t id = ckpt_checksum(0, json, strlen(json));
    return id == 0 ? 1 : id;
}

enum ckpt_err ckpt_process_put_in(struct ckpt_txn *txn, const char *json, uint64_t *process)
{
    uint8_t key[DIR_KEY];
    size_t n = strlen(json);
    uint64_t id = ckpt_process_id(json);
    ckpt_put_be64(key, id);
    if (n > PROCESS_TEXT_MAX) {
        return CKPT_ERR_INVALID;
    }
    enum ckpt_err err = ckpt_db_put(txn, CKPT_TABLE_PROCESSES, key, sizeof key, json, n);
    if (err == CKPT_OK) {
        *process = id;
    }
    return err;
}

enum ckpt_err ckpt_process_get_in(struct ckpt_txn *txn, uint64_t process, char **json)
{
    struct ckpt_slice value;
    uint8_t key[DIR_KEY];
    ckpt_put_be64(key, process);
    enum ckpt_err err = ckpt_db_get(txn, CKPT_TABLE_PROCESSES, key, sizeof key, &value);
    return err == CKPT_OK ? copy_text(value.data, value.size, json) : err;
}

/* ---- policies ---- */

enum ckpt_err ckpt_policy_put_in(struct ckpt_txn *txn, uint64_t dir, const char *text, int64_t changed_ns)
{
    uint8_t key[DIR_KEY];
    ckpt_put_be64(key, dir);
    if (text == NULL) {
        return ckpt_db_del(txn, CKPT_TABLE_POLICIES, key, sizeof key);
    }
    struct ckpt_pack p = {0};
    ckpt_pack_u64(&p, (uint64_t)changed_ns);
    ckpt_pack_bytes(&p, text, strlen(text));
    enum ckpt_err err = p.err;
    if (err == CKPT_OK && p.size > POLICY_TEXT_AT + CKPT_POLICY_TEXT) {
        err = CKPT_ERR_INVALID;
    }
    if (err == CKPT_OK) {
        err = ckpt_db_put(txn, CKPT_TABLE_POLICIES, key, sizeof key, p.bytes, p.size);
    }
    free(p.bytes);
    return err;
}

enum ckpt_err ckpt_policy_get_in(struct ckpt_txn *txn, uint64_t dir, char **text, int64_t *changed_ns)
{
    struct ckpt_slice value;
    uint8_t key[DIR_KEY];
    ckpt_put_be64(key, dir);
    enum ckpt_err err = ckpt_db_get(txn, CKPT_TABLE_POLICIES, key, sizeof key, &value);
    if (err != CKPT_OK) {
        return err;
    }
    if (value.size < POLICY_TEXT_AT || value.size > POLICY_TEXT_AT + CKPT_POLICY_TEXT) {
        return CKPT_ERR_CORRUPT;
    }
    err = copy_text((const uint8_t *)value.data + POLICY_TEXT_AT, value.size - POLICY_TEXT_AT, text);
    if (err == CKPT_OK) {
        *changed_ns = (int64_t)ckpt_get_le64(value.data);
    }
    return err;
}

enum ckpt_err ckpt_policy_find(struct ckpt_store *store, uint64_t dir, char **text, uint64_t *owner,
                               int64_t *changed_ns)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_dir row;
    enum { STEPS_MAX = 4096 /* a circle in a damaged table ends */ };
    enum ckpt_err err = ckpt_txn_read(store->db, &txn);
    bool found = false;
    for (int i = 0; err == CKPT_OK && i < STEPS_MAX; i++) {
        err = ckpt_policy_get_in(txn, dir, text, changed_ns);
        if (err == CKPT_OK) {
            *owner = dir;
            found = true;
            break;
        }
        if (err == CKPT_ERR_NOT_FOUND && dir != CKPT_DIR_ROOT) {
            err = ckpt_catalog_dir_in(txn, dir, &row);
            dir = err == CKPT_OK ? row.parent : dir;
        }
    }
    if (err == CKPT_OK && !found) {
        err = CKPT_ERR_CORRUPT;
    }
    ckpt_txn_abort(txn);
    return err;
}
