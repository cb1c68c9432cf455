#include "common/bytes.h"
#include "garbage.h"
#include "internal.h"
#include "lineage.h"
#include "object.h"
#include "sweep.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum {
    STEP_BYTES = 16 << 20, /* raw bytes that are coded anew in one step */
    STEP_CHUNKS = 1024,    /* that are coded anew in one step */
    STUCK_MAX = 16,
};

/* A dependent of a chunk that goes, on its way through the pool. */
struct task {
    struct ckpt_sweeper *sweeper;
    struct ckpt_rebase rebase;
    enum ckpt_err err;
};

struct ckpt_sweeper {
    struct ckpt_store *store;
    struct ckpt_codec *codec;
    struct ckpt_pool *pool;
    struct ckpt_doomed *doomed; /* NULL: to be collected */
    uint64_t stuck[STUCK_MAX];  /* rows that damage keeps from being released */
    unsigned stuck_count;

    /* The step: the last ids of one row. */
    uint64_t key;
    uint8_t *row; /* a copy of its value */
    size_t row_size;
    size_t keep; /* so many bytes of it stay for the next step */
    struct task tasks[STEP_CHUNKS]; /* by id, once they are all there */
    size_t count;
    uint64_t bytes;

    pthread_mutex_t lock;
    pthread_cond_t moved;
    size_t running; /* lock */
};

enum ckpt_err ckpt_sweeper_create(struct ckpt_store *store, struct ckpt_codec *codec,
                                  struct ckpt_pool *pool, struct ckpt_sweeper **out)
{
    struct ckpt_sweeper *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return CKPT_ERR_NOMEM;
    }
    s->store = store;
    s->codec = codec;
    s->pool = pool;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->moved, NULL);
    *out = s;
    return CKPT_OK;
}

static void end_step(struct ckpt_sweeper *s)
{
    for (size_t i = 0; i < s->count; i++) {
        ckpt_rebase_clear(&s->tasks[i].rebase);
    }
    s->count = 0;
    s->bytes = 0;
    free(s->row);
    s->row = NULL;
}

void ckpt_sweeper_free(struct ckpt_sweeper *s)
{
    if (s == NULL) {
        return;
    }
    end_step(s);
    ckpt_doomed_free(s->doomed);
    pthread_cond_destroy(&s->moved);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

void ckpt_sweeper_refresh(struct ckpt_sweeper *s)
{
    ckpt_doomed_free(s->doomed);
    s->doomed = NULL;
}

/* ---- which row ---- */

static bool is_stuck(const struct ckpt_sweeper *s, uint64_t key)
{
    for (unsigned i = 0; i < s->stuck_count; i++) {
        if (s->stuck[i] == key) {
            return true;
        }
    }
    return false;
}

/* What can't be read can't be coded anew, and what it leans on stays: salvage may still make something of it. */
static void set_stuck(struct ckpt_sweeper *s)
{
    if (s->stuck_count < STUCK_MAX) {
        s->stuck[s->stuck_count++] = s->key;
    }
    ckpt_reportf(&s->store->report, CKPT_ERROR,
                 "%s: some of what was forgotten can't be released, because chunks that lean on it are "
                 "damaged; its space stays in use; run: ckpt verify",
                 s->store->path);
}

/* The newest row that may go: what came last leans on what came first. The value lives as long as TXN. */
static enum ckpt_err find_row(const struct ckpt_sweeper *s, struct ckpt_txn *txn,
                              struct ckpt_garbage *row, struct ckpt_slice *value)
{
    struct ckpt_cursor *cursor = NULL;
    struct ckpt_slice key;
    uint8_t from[8];
    ckpt_put_be64(from, UINT64_MAX);
    enum ckpt_err err = ckpt_cursor_open(txn, CKPT_TABLE_GARBAGE, &cursor);
    if (err != CKPT_OK) {
        return err;
    }
    err = ckpt_cursor_seek(cursor, from, sizeof from, &key, value);
    if (err == CKPT_OK || err == CKPT_ERR_NOT_FOUND) {
        err = ckpt_cursor_prev(cursor, &key, value);
    }
    while (err == CKPT_OK) {
        err = ckpt_garbage_parse(&key, value, row);
        if (err != CKPT_OK || (!ckpt_is_pinned(s->store, &row->recipe) && !is_stuck(s, row->key))) {
            break;
        }
        err = ckpt_cursor_prev(cursor, &key, value);
    }
    ckpt_cursor_close(cursor);
    return err;
}

static struct ckpt_id id_at(const struct ckpt_sweeper *s, size_t at)
{
    struct ckpt_id id;
    memcpy(id.bytes, s->row + at, CKPT_ID_SIZE);
    return id;
}

/* Takes up the dependents of the id at AT, which goes. False: they don't fit into this step any more. */
static enum ckpt_err take_dependents(struct ckpt_sweeper *s, struct ckpt_txn *txn, size_t at, bool *fit)
{
    struct ckpt_id id = id_at(s, at);
    struct ckpt_id dependent = {0};
    size_t before = s->count;
    uint64_t bytes = 0;
    struct ckpt_refs refs;
    enum ckpt_err err = ckpt_object_refs(txn, &id, &refs);
    *fit = true;
    if (err != CKPT_OK) {
        return err == CKPT_ERR_NOT_FOUND ? CKPT_ERR_CORRUPT : err;
    }
    if (refs.count > 1) {
        return CKPT_OK;
    }
    while ((err = ckpt_lineage_next(txn, &id, &dependent, &dependent)) == CKPT_OK) {
        if (s->count == STEP_CHUNKS) {
            break; /* what is left of them is done when this one is released */
        }
        s->tasks[s->count++] = (struct task){.sweeper = s, .rebase = {.id = dependent}};
        bytes += refs.raw_size;
    }
    if (err != CKPT_OK && err != CKPT_ERR_NOT_FOUND) {
        return err;
    }
    if (before > 0 && s->bytes + bytes > STEP_BYTES) {
        s->count = before;
        *fit = false;
        return CKPT_OK;
    }
    s->bytes += bytes;
    return CKPT_OK;
}

/* Chooses a row, and how much of it goes in this step: s->keep. */
static enum ckpt_err choose(struct ckpt_sweeper *s)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_garbage row;
    struct ckpt_slice value;
    enum ckpt_err err = ckpt_txn_read(s->store->db, &txn);
    if (err == CKPT_OK) {
        err = find_row(s, txn, &row, &value);
    }
    if (err == CKPT_OK && s->doomed == NULL) {
        err = ckpt_doomed_collect(s->store, txn, &s->doomed);
    }
    if (err == CKPT_OK) {
        s->key = row.key;
        s->row = malloc(value.size);
        err = s->row == NULL ? CKPT_ERR_NOMEM : CKPT_OK;
    }
    if (err == CKPT_OK) {
        memcpy(s->row, value.data, value.size);
        s->row_size = s->keep = value.size;
    }
    bool fit = true;
    while (err == CKPT_OK && s->keep > CKPT_ID_SIZE && s->count < STEP_CHUNKS) {
        err = take_dependents(s, txn, s->keep - CKPT_ID_SIZE, &fit);
        if (!fit) {
            break;
        }
        s->keep -= CKPT_ID_SIZE;
    }
    ckpt_txn_abort(txn);
    return err;
}

/* ---- coding anew ---- */

static int by_id(const void *a, const void *b)
{
    const struct task *one = a;
    const struct task *other = b;
    return memcmp(&one->rebase.id, &other->rebase.id, sizeof one->rebase.id);
}

static void prepare(void *arg, struct ckpt_codec *codec)
{
    struct task *task = arg;
    struct ckpt_sweeper *s = task->sweeper;
    struct ckpt_txn *txn = NULL;
    task->err = ckpt_txn_read(s->store->db, &txn);
    if (task->err == CKPT_OK) {
        task->err = ckpt_rebase_prepare(s->store, codec, txn, s->doomed, &task->rebase);
    }
    ckpt_txn_abort(txn);
    pthread_mutex_lock(&s->lock);
    s->running--;
    pthread_cond_signal(&s->moved);
    pthread_mutex_unlock(&s->lock);
}

static enum ckpt_err prepare_all(struct ckpt_sweeper *s)
{
    enum ckpt_err err = CKPT_OK;
    qsort(s->tasks, s->count, sizeof *s->tasks, by_id);
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; err == CKPT_OK && i < s->count; i++) {
        err = ckpt_pool_submit(s->pool, prepare, &s->tasks[i]);
        s->running += err == CKPT_OK;
    }
    while (s->running > 0) {
        pthread_cond_wait(&s->moved, &s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    for (size_t i = 0; err == CKPT_OK && i < s->count; i++) {
        err = s->tasks[i].err;
    }
    return err;
}

/* Makes ID lean on somebody else than GOES, as was prepared; what no longer holds in TXN is worked out again. */
static enum ckpt_err rebase(struct ckpt_sweeper *s, struct ckpt_txn *txn, const struct ckpt_id *goes,
                            const struct ckpt_id *id)
{
    struct task wanted = {.rebase = {.id = *id}};
    struct task *task =
        s->count == 0 ? NULL : bsearch(&wanted, s->tasks, s->count, sizeof *s->tasks, by_id);
    /* What a reader has held until now isn't among the doomed, and may be what was chosen to lean on. */
    if (task != NULL && !ckpt_id_equal(&task->rebase.recoded.previous, goes)) {
        enum ckpt_err err = ckpt_rebase_commit(s->store, txn, &task->rebase);
        if (err != CKPT_ERR_CHANGED) {
            return err;
        }
    }
    enum ckpt_err err = ckpt_rebase_prepare(s->store, s->codec, txn, s->doomed, &wanted.rebase);
    if (err == CKPT_OK && ckpt_id_equal(&wanted.rebase.recoded.previous, goes)) {
        err = CKPT_ERR_CORRUPT; /* they go round in a circle */
    }
    if (err == CKPT_OK) {
        err = ckpt_rebase_commit(s->store, txn, &wanted.rebase);
    }
    ckpt_rebase_clear(&wanted.rebase);
    return err == CKPT_ERR_CHANGED ? CKPT_ERR_CORRUPT : err;
}

/* ---- releasing ---- */

static enum ckpt_err release(struct ckpt_sweeper *s, struct ckpt_txn *txn, const struct ckpt_id *id)
{
    static const struct ckpt_id first;
    struct ckpt_id dependent;
    bool gone = false;
    enum ckpt_err err = ckpt_object_unref(txn, id, &gone);
    while (err == CKPT_ERR_NEEDED) {
        err = ckpt_lineage_next(txn, id, &first, &dependent);
        if (err == CKPT_OK) {
            err = rebase(s, txn, id, &dependent);
        }
        if (err == CKPT_OK) {
            err = ckpt_object_unref(txn, id, &gone);
        }
    }
    return err == CKPT_ERR_NOT_FOUND ? CKPT_ERR_CORRUPT : err;
}

static enum ckpt_err release_all(struct ckpt_sweeper *s, struct ckpt_txn *txn)
{
    enum ckpt_err err = CKPT_OK;
    for (size_t at = s->row_size; err == CKPT_OK && at > s->keep; at -= CKPT_ID_SIZE) {
        struct ckpt_id id = id_at(s, at - CKPT_ID_SIZE);
        err = release(s, txn, &id);
    }
    if (err != CKPT_OK) {
        return err;
    }
    return s->keep > CKPT_ID_SIZE ? ckpt_garbage_shrink(txn, s->key, s->row, s->keep)
                                  : ckpt_garbage_del(txn, s->key);
}

enum ckpt_err ckpt_sweep(struct ckpt_sweeper *s, bool *more)
{
    struct ckpt_txn *txn = NULL;
    *more = false;
    /* Looking costs nothing; a write transaction costs a sync. */
    enum ckpt_err err = choose(s);
    if (err == CKPT_OK) {
        err = prepare_all(s);
    }
    if (err == CKPT_OK) {
        err = ckpt_store_begin(s->store, &txn);
    }
    if (err == CKPT_OK) {
        err = release_all(s, txn);
    }
    if (err == CKPT_OK) {
        struct ckpt_garbage row;
        struct ckpt_slice value;
        enum ckpt_err another = find_row(s, txn, &row, &value);
        err = ckpt_store_commit(s->store, txn);
        txn = NULL;
        *more = err == CKPT_OK && another == CKPT_OK;
    }
    ckpt_txn_abort(txn);
    if ((err == CKPT_ERR_CORRUPT || err == CKPT_ERR_FORMAT) && s->row != NULL) {
        set_stuck(s);
        *more = s->stuck_count < STUCK_MAX;
        err = *more ? CKPT_OK : err;
    }
    end_step(s);
    if (!*more) {
        ckpt_sweeper_refresh(s);
    }
    return err;
}
