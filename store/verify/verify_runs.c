/*
 * Verify: fresh captures, runs, their checkpoints and what leads to them, processes, policies.
 *
 * One walk over each table. Of every checkpoint a few bytes are remembered, by which the rows of ids and members are then
 * judged; its row is read again only to name it in a report.
 */
#include "catalog/catalog_txn.h"
#include "catalog/run_rows.h"
#include "common/bytes.h"
#include "object/internal.h"
#include "verify_parts.h"
#include <ckpt/policy.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DIR_KEY = 8, CHECKPOINT_KEY = 12, ID_KEY = 8, ID_ROW = 12, POLICY_TEXT_AT = 8, NAMED = CKPT_VERIFY_LABEL + 64 };

/* One row of checkpoints. */
struct entry {
    uint64_t run;
    uint64_t id;
    uint32_t number;
    uint32_t rows;   /* of members that are to lead here and haven't been seen yet */
    uint32_t beyond; /* seen that it doesn't list */
    bool damaged;    /* and told */
    bool dropped;
    bool id_told; /* something about its row in ids was, or the row is right */
};

/* A checkpoint that isn't there, and that was told. */
struct absent {
    uint64_t run;
    uint32_t number;
};

struct runs_check {
    struct ckpt_verify *v;
    struct entry *entries; /* by run and number, the order of the table */
    size_t count;
    size_t room;
    struct absent absent[64];
    size_t absent_count;
    bool in_run; /* RUN and NEXT_NUMBER are those of the last row of checkpoints */
    uint64_t run;
    uint32_t next_number; /* 0: not known, or told to be too low */
};

/* ---- names for reports ---- */

static const char *name_run(struct ckpt_verify *v, uint64_t dir, char *label)
{
    if (ckpt_catalog_path(v->store, dir, label, PATH_MAX) != CKPT_OK) {
        (void)snprintf(label, CKPT_VERIFY_LABEL, "(directory %016" PRIx64 ")", dir);
    } else if (*label == '\0') {
        (void)snprintf(label, CKPT_VERIFY_LABEL, "/");
    }
    return label;
}

static const char *name_value(struct ckpt_verify *v, const struct ckpt_checkpoint *c, char *named)
{
    char label[CKPT_VERIFY_LABEL];
    (void)snprintf(named, NAMED, "checkpoint %016" PRIx64 " (%s)", c->id, ckpt_verify_label(v, c->run, c->root, label));
    return named;
}

static const char *name_entry(struct ckpt_verify *v, const struct entry *e, char *named)
{
    char label[CKPT_VERIFY_LABEL];
    struct ckpt_checkpoint *c = NULL;
    if (ckpt_checkpoint_get_in(v->txn, e->run, e->number, &c) == CKPT_OK) {
        (void)name_value(v, c, named);
    } else {
        (void)snprintf(named, NAMED, "checkpoint %" PRIu32 " of run %s", e->number, name_run(v, e->run, label));
    }
    ckpt_checkpoint_free(c);
    return named;
}

static void odd_row(struct ckpt_verify *v, const char *table, const struct ckpt_slice *key,
                    const struct ckpt_slice *value)
{
    ckpt_verify_problem(v, "%s: a row of %zu bytes with a key of %zu is damaged", table, value->size, key->size);
}

/* ---- fresh ---- */

static enum ckpt_err fresh_row(void *arg, const struct ckpt_slice *key, const struct ckpt_slice *value)
{
    struct ckpt_verify *v = arg;
    struct ckpt_fresh fresh;
    char label[CKPT_VERIFY_LABEL];
    if (ckpt_fresh_parse(key, value, &fresh) != CKPT_OK) {
        odd_row(v, "fresh", key, value);
    } else if (fresh.sequence > v->last_sequence && !v->sequence_told) {
        v->sequence_told = true;
        ckpt_verify_problem(v, "meta: the last capture is %" PRIu64 ", and %s@v%" PRIu32 " was captured as %" PRIu64,
                            v->last_sequence, ckpt_verify_label(v, fresh.dir, fresh.name, label), fresh.number,
                            fresh.sequence);
    }
    return CKPT_OK;
}

/* ---- runs and checkpoints ---- */

static enum ckpt_err run_row(void *arg, const struct ckpt_slice *key, const struct ckpt_slice *value)
{
    struct ckpt_verify *v = arg;
    struct ckpt_run run = {0};
    char label[CKPT_VERIFY_LABEL];
    enum ckpt_err err = ckpt_run_parse(key, value, &run);
    free(run.metric);
    if (err == CKPT_ERR_CORRUPT && key->size == DIR_KEY) {
        ckpt_verify_problem(v, "runs: the row of run %s is damaged", name_run(v, ckpt_get_be64(key->data), label));
    } else if (err == CKPT_ERR_CORRUPT) {
        odd_row(v, "runs", key, value);
    }
    return err == CKPT_ERR_CORRUPT ? CKPT_OK : err;
}

/* The checkpoints of a run stand together. */
static enum ckpt_err begin_run(struct runs_check *check, uint64_t dir)
{
    struct ckpt_slice value;
    struct ckpt_run run = {0};
    char label[CKPT_VERIFY_LABEL];
    uint8_t key[DIR_KEY];
    struct ckpt_slice key_slice = {.data = key, .size = sizeof key};
    if (check->in_run && check->run == dir) {
        return CKPT_OK;
    }
    ckpt_put_be64(key, dir);
    enum ckpt_err err = ckpt_db_get(check->v->txn, CKPT_TABLE_RUNS, key, sizeof key, &value);
    if (err == CKPT_ERR_NOT_FOUND) {
        ckpt_verify_problem(check->v, "run %s has checkpoints and no row in runs", name_run(check->v, dir, label));
    } else if (err == CKPT_OK) {
        err = ckpt_run_parse(&key_slice, &value, &run);
    }
    free(run.metric);
    check->in_run = true;
    check->run = dir;
    check->next_number = run.next_number;
    return err == CKPT_ERR_NOT_FOUND || err == CKPT_ERR_CORRUPT ? CKPT_OK : err;
}

static void check_number(struct runs_check *check, uint32_t number)
{
    char label[CKPT_VERIFY_LABEL];
    if (check->next_number != 0 && number >= check->next_number) {
        ckpt_verify_problem(check->v,
                            "run %s: its next checkpoint would get number %" PRIu32 ", and there is one with number "
                            "%" PRIu32,
                            name_run(check->v, check->run, label), check->next_number, number);
        check->next_number = 0;
    }
}

/* When its capture's row is there, captures has told that it leads to nothing. */
static enum ckpt_err is_captured(struct ckpt_verify *v, const struct ckpt_member *m, bool *captured)
{
    uint8_t key[16];
    struct ckpt_slice value;
    ckpt_put_be64(key, m->dir);
    ckpt_put_be64(key + 8, m->sequence);
    enum ckpt_err err = ckpt_db_get(v->txn, CKPT_TABLE_CAPTURES, key, sizeof key, &value);
    *captured = err == CKPT_OK;
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

static enum ckpt_err is_there(struct ckpt_verify *v, const struct ckpt_member *m, bool *there)
{
    struct ckpt_version version;
    enum ckpt_err err = ckpt_catalog_version_in(v->txn, m->dir, m->name, m->number, &version);
    *there = err != CKPT_ERR_NOT_FOUND; /* a damaged row has been told */
    return err == CKPT_ERR_NOT_FOUND || err == CKPT_ERR_CORRUPT ? CKPT_OK : err;
}

static int by_value(const void *a, const void *b)
{
    const uint64_t *one = a;
    const uint64_t *other = b;
    return (*one > *other) - (*one < *other);
}

/* A version that is listed twice has one row. HASHES is sorted. */
static uint32_t distinct(uint64_t *hashes, size_t n)
{
    uint32_t count = 0;
    if (n > 1) {
        qsort(hashes, n, sizeof *hashes, by_value);
    }
    for (size_t i = 0; i < n; i++) {
        count += i == 0 || hashes[i] != hashes[i - 1];
    }
    return count;
}

/* What is wrong with the members of one checkpoint. */
struct missing {
    size_t versions; /* that aren't there */
    size_t rows;     /* of members, that aren't there */
    const struct ckpt_member *first;
};

static void tell_missing(struct ckpt_verify *v, const struct ckpt_checkpoint *c, const struct missing *missing)
{
    char named[NAMED];
    char label[CKPT_VERIFY_LABEL];
    if (missing->first == NULL) {
        return;
    }
    (void)name_value(v, c, named);
    (void)ckpt_verify_label(v, missing->first->dir, missing->first->name, label);
    if (missing->versions > 0) {
        ckpt_verify_problem(v, "%s: %zu of its %zu files are in no version, the first is %s@v%" PRIu32, named,
                            missing->versions, c->n_members, label, missing->first->number);
    } else {
        ckpt_verify_problem(v, "%s: %zu of its %zu files have no row in members, the first is %s@v%" PRIu32, named,
                            missing->rows, c->n_members, label, missing->first->number);
    }
}

static enum ckpt_err check_members(struct ckpt_verify *v, const struct ckpt_checkpoint *c, struct entry *e)
{
    struct missing missing = {0};
    enum ckpt_err err = CKPT_OK;
    size_t n = 0;
    uint64_t *hashes = calloc(c->n_members + 1, sizeof *hashes);
    if (hashes == NULL) {
        return CKPT_ERR_NOMEM;
    }
    for (size_t i = 0; err == CKPT_OK && i < c->n_members; i++) {
        const struct ckpt_member *m = &c->members[i];
        bool there = false;
        bool has_row = false;
        bool captured = false;
        err = is_there(v, m, &there);
        if (err == CKPT_OK) {
            err = ckpt_member_has_in(v->txn, c, m, &has_row);
        }
        if (err == CKPT_OK && !there) {
            err = is_captured(v, m, &captured);
        }
        if (has_row) {
            hashes[n++] = ckpt_checksum(m->dir ^ (uint64_t)m->number << 32, m->name, strlen(m->name));
        }
        if (!there && !captured) {
            missing.first = missing.versions == 0 ? m : missing.first;
            missing.versions++;
        } else if (there && !has_row) {
            missing.first = missing.first == NULL ? m : missing.first;
            missing.rows++;
        }
    }
    e->rows = distinct(hashes, n);
    free(hashes);
    if (err == CKPT_OK) {
        tell_missing(v, c, &missing);
    }
    return err;
}

static struct entry *add_entry(struct runs_check *check, const uint8_t *key)
{
    if (check->count == check->room) {
        size_t room = check->room == 0 ? 64 : 2 * check->room;
        struct entry *entries = reallocarray(check->entries, room, sizeof *entries);
        if (entries == NULL) {
            return NULL;
        }
        check->entries = entries;
        check->room = room;
    }
    struct entry *e = &check->entries[check->count++];
    *e = (struct entry){.run = ckpt_get_be64(key), .number = ckpt_get_be32(key + DIR_KEY)};
    return e;
}

static enum ckpt_err checkpoint_row(void *arg, const struct ckpt_slice *key, const struct ckpt_slice *value)
{
    struct runs_check *check = arg;
    struct ckpt_checkpoint *c = NULL;
    char named[NAMED];
    if (key->size != CHECKPOINT_KEY) {
        odd_row(check->v, "checkpoints", key, value);
        return CKPT_OK;
    }
    struct entry *e = add_entry(check, key->data);
    enum ckpt_err err = e == NULL ? CKPT_ERR_NOMEM : begin_run(check, e->run);
    if (err != CKPT_OK) {
        return err;
    }
    check_number(check, e->number);
    err = ckpt_checkpoint_parse(key, value, &c);
    if (err == CKPT_ERR_CORRUPT) {
        e->damaged = true;
        ckpt_verify_problem(check->v, "checkpoints: the row of %s is damaged", name_entry(check->v, e, named));
        return CKPT_OK;
    }
    if (err == CKPT_OK) {
        e->id = c->id;
        e->dropped = c->dropped;
        err = c->dropped ? CKPT_OK : check_members(check->v, c, e);
    }
    ckpt_checkpoint_free(c);
    return err;
}

static struct entry *find_entry(struct runs_check *check, uint64_t run, uint32_t number)
{
    size_t low = 0;
    size_t high = check->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const struct entry *e = &check->entries[middle];
        if (e->run < run || (e->run == run && e->number < number)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    struct entry *e = low < check->count ? &check->entries[low] : NULL;
    return e != NULL && e->run == run && e->number == number ? e : NULL;
}

/* WHAT leads to a checkpoint that has no row: told once for each of these, as long as they are few. */
static void tell_absent(struct runs_check *check, uint64_t run, uint32_t number, const char *what)
{
    char label[CKPT_VERIFY_LABEL];
    for (size_t i = 0; i < check->absent_count; i++) {
        if (check->absent[i].run == run && check->absent[i].number == number) {
            return;
        }
    }
    if (check->absent_count < sizeof check->absent / sizeof check->absent[0]) {
        check->absent[check->absent_count++] = (struct absent){.run = run, .number = number};
    }
    ckpt_verify_problem(check->v, "%s leads to checkpoint %" PRIu32 " of run %s, which isn't there", what, number,
                        name_run(check->v, run, label));
}

/* ---- ids ---- */

static enum ckpt_err id_row(void *arg, const struct ckpt_slice *key, const struct ckpt_slice *value)
{
    struct runs_check *check = arg;
    const uint8_t *row = value->data;
    char what[32];
    char named[NAMED];
    if (key->size != ID_KEY || value->size != ID_ROW) {
        odd_row(check->v, "ids", key, value);
        return CKPT_OK;
    }
    uint64_t id = ckpt_get_be64(key->data);
    struct entry *e = find_entry(check, ckpt_get_le64(row), ckpt_get_le32(row + 8));
    if (e == NULL) {
        (void)snprintf(what, sizeof what, "the id %016" PRIx64, id);
        tell_absent(check, ckpt_get_le64(row), ckpt_get_le32(row + 8), what);
    } else if (!e->damaged) {
        if (e->id != id) {
            ckpt_verify_problem(check->v, "the id %016" PRIx64 " leads to %s", id, name_entry(check->v, e, named));
        }
        e->id_told = true;
    }
    return CKPT_OK;
}

/* A row that is there and leads elsewhere has been told. */
static enum ckpt_err check_ids(struct runs_check *check)
{
    char named[NAMED];
    enum ckpt_err err = ckpt_verify_each(check->v, CKPT_TABLE_IDS, id_row, check);
    for (size_t i = 0; err == CKPT_OK && i < check->count; i++) {
        const struct entry *e = &check->entries[i];
        struct ckpt_slice value;
        uint8_t key[ID_KEY];
        if (e->id_told || e->damaged) {
            continue;
        }
        ckpt_put_be64(key, e->id);
        err = ckpt_db_get(check->v->txn, CKPT_TABLE_IDS, key, sizeof key, &value);
        if (err == CKPT_ERR_NOT_FOUND) {
            ckpt_verify_problem(check->v, "%s has no row in ids", name_entry(check->v, e, named));
            err = CKPT_OK;
        }
    }
    return err;
}

/* ---- members ---- */

static enum ckpt_err member_row(void *arg, const struct ckpt_slice *key, const struct ckpt_slice *value)
{
    struct runs_check *check = arg;
    struct ckpt_member_row row;
    char label[CKPT_VERIFY_LABEL];
    char what[NAMED];
    if (ckpt_member_row_parse(key, value, &row) != CKPT_OK) {
        odd_row(check->v, "members", key, value);
        return CKPT_OK;
    }
    struct entry *e = find_entry(check, row.run, row.checkpoint);
    if (e == NULL) {
        (void)snprintf(what, sizeof what, "members: %s@v%" PRIu32, ckpt_verify_label(check->v, row.dir, row.name, label),
                       row.number);
        tell_absent(check, row.run, row.checkpoint, what);
    } else if (e->rows > 0) {
        e->rows--;
    } else {
        e->beyond++;
    }
    return CKPT_OK;
}

static enum ckpt_err check_member_rows(struct runs_check *check)
{
    char named[NAMED];
    enum ckpt_err err = ckpt_verify_each(check->v, CKPT_TABLE_MEMBERS, member_row, check);
    for (size_t i = 0; err == CKPT_OK && i < check->count; i++) {
        const struct entry *e = &check->entries[i];
        if (e->beyond > 0 && !e->damaged) {
            ckpt_verify_problem(check->v, "members: %" PRIu32 " versions lead to %s, which %s", e->beyond,
                                name_entry(check->v, e, named),
                                e->dropped ? "was dropped" : "doesn't list them");
        }
    }
    return err;
}

/* ---- processes and policies ---- */

static enum ckpt_err process_row(void *arg, const struct ckpt_slice *key, const struct ckpt_slice *value)
{
    struct ckpt_verify *v = arg;
    uint64_t sum = ckpt_checksum(0, value->data, value->size);
    if (key->size != DIR_KEY) {
        odd_row(v, "processes", key, value);
    } else if (ckpt_get_be64(key->data) != (sum == 0 ? 1 : sum)) {
        ckpt_verify_problem(v, "processes: what is known of process %016" PRIx64 " is damaged",
                            ckpt_get_be64(key->data));
    }
    return CKPT_OK;
}

static enum ckpt_err policy_row(void *arg, const struct ckpt_slice *key, const struct ckpt_slice *value)
{
    struct ckpt_verify *v = arg;
    struct ckpt_policy_error error;
    char label[CKPT_VERIFY_LABEL];
    if (key->size != DIR_KEY || value->size < POLICY_TEXT_AT || value->size > POLICY_TEXT_AT + CKPT_POLICY_TEXT) {
        odd_row(v, "policies", key, value);
        return CKPT_OK;
    }
    uint64_t dir = ckpt_get_be64(key->data);
    struct ckpt_policy *policy = malloc(sizeof *policy);
    if (policy == NULL) {
        return CKPT_ERR_NOMEM;
    }
    enum ckpt_err err = ckpt_policy_parse((const char *)value->data + POLICY_TEXT_AT, value->size - POLICY_TEXT_AT,
                                          policy, &error);
    free(policy);
    ckpt_verify_dir_of(v, dir, "a policy");
    if (err == CKPT_ERR_INVALID) {
        ckpt_verify_problem(v, "policies: the policy of %s can't be read: %s", name_run(v, dir, label), error.text);
    }
    return err == CKPT_ERR_INVALID ? CKPT_OK : err;
}

/* ---- all of it ---- */

enum ckpt_err ckpt_verify_runs(struct ckpt_verify *v)
{
    struct runs_check check = {.v = v};
    enum ckpt_err err = ckpt_verify_each(v, CKPT_TABLE_FRESH, fresh_row, v);
    if (err == CKPT_OK) {
        err = ckpt_verify_each(v, CKPT_TABLE_RUNS, run_row, v);
    }
    if (err == CKPT_OK) {
        err = ckpt_verify_each(v, CKPT_TABLE_CHECKPOINTS, checkpoint_row, &check);
    }
    if (err == CKPT_OK) {
        err = check_ids(&check);
    }
    if (err == CKPT_OK) {
        err = check_member_rows(&check);
    }
    if (err == CKPT_OK) {
        err = ckpt_verify_each(v, CKPT_TABLE_PROCESSES, process_row, v);
    }
    if (err == CKPT_OK) {
        err = ckpt_verify_each(v, CKPT_TABLE_POLICIES, policy_row, v);
    }
    free(check.entries);
    return err;
}
