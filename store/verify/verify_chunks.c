/*
 * Verify: the bytes of the chunks, read by several threads in many short snapshots, so that the
 * database doesn't grow while the daemon works. A chunk that has gone since the tables were looked
 * at is no problem if its refs row has gone too.
 */
#include "chunk/pool.h"
#include "object/internal.h"
#include "object/object.h"
#include "verify_parts.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    THREADS_MAX = 8,       /* more don't read faster */
    BATCH_BYTES = 4 << 20, /* record bytes read in one snapshot */
};

/* What the threads share that read the chunks. */
struct reading {
    struct ckpt_verify *v;
    pthread_mutex_t lock; /* everything below, and v->bads */
    pthread_cond_t moved;
    size_t next;
    uint64_t done; /* bytes */
    unsigned running;
    enum ckpt_err err;
};

struct buffer {
    uint8_t *bytes;
    size_t size;
};

static enum ckpt_err make_room(struct buffer *buffer, size_t size)
{
    if (size > buffer->size) {
        free(buffer->bytes);
        buffer->bytes = malloc(size);
        buffer->size = buffer->bytes == NULL ? 0 : size;
    }
    return buffer->size < size ? CKPT_ERR_NOMEM : CKPT_OK;
}

/* A chunk as it is now; *BOOKED: its length and kind are those of its refs row. OK when it has been
   released since the tables were looked at. */
static enum ckpt_err read_chunk(struct reading *reading, struct ckpt_codec *codec,
                                struct ckpt_txn *txn, const struct ckpt_id *id,
                                struct buffer *buffer, bool *booked)
{
    struct ckpt_store *store = reading->v->store;
    struct ckpt_slice value;
    struct ckpt_record record;
    struct ckpt_refs refs;
    enum ckpt_err counted = ckpt_object_refs(txn, id, &refs);
    enum ckpt_err err = ckpt_db_get(txn, CKPT_TABLE_OBJECTS, id->bytes, CKPT_ID_SIZE, &value);
    *booked = true;
    if (err == CKPT_ERR_NOT_FOUND && counted == CKPT_ERR_NOT_FOUND) {
        return CKPT_OK;
    }
    if (err == CKPT_OK) {
        ckpt_db_prefetch(&value);
        err = ckpt_record_parse(store->seed, value.data, value.size, &record);
    }
    if (err == CKPT_OK && !ckpt_id_equal(&record.id, id)) {
        err = CKPT_ERR_CORRUPT;
    }
    if (err == CKPT_OK) {
        err = make_room(buffer, record.raw_size);
    }
    if (err == CKPT_OK) {
        err = ckpt_object_decode(store, codec, txn, &record, buffer->bytes);
    }
    if (err == CKPT_OK && counted == CKPT_OK) {
        *booked = refs.raw_size == record.raw_size && refs.kind == record.kind &&
                  refs.coding.id == record.coding.id && refs.coding.width == record.coding.width &&
                  (ckpt_id_is_zero(&record.base) || ckpt_id_equal(&record.base, &refs.previous));
    }
    return err;
}

static bool is_data(const struct ckpt_verify_object *object)
{
    return object->has_record && !object->is_recipe;
}

/* The next objects to read, as many as one snapshot is to see: FROM and their end, with the lock.
 */
static size_t take_batch(struct reading *reading, size_t *from, uint64_t *bytes)
{
    const struct ckpt_verify *v = reading->v;
    *from = reading->next;
    *bytes = 0;
    while (reading->next < v->count && *bytes < BATCH_BYTES) {
        const struct ckpt_verify_object *object = &v->objects[reading->next++];
        *bytes += is_data(object) ? object->record_size : 0;
    }
    return reading->next;
}

static enum ckpt_err read_batch(struct reading *reading, struct ckpt_codec *codec, size_t from,
                                size_t end, struct buffer *buffer)
{
    struct ckpt_txn *txn = NULL;
    enum ckpt_err err = ckpt_txn_read(reading->v->store->db, &txn);
    for (size_t i = from; err == CKPT_OK && i < end; i++) {
        const struct ckpt_verify_object *object = &reading->v->objects[i];
        bool booked = true;
        if (!is_data(object)) {
            continue;
        }
        err = read_chunk(reading, codec, txn, &object->id, buffer, &booked);
        if (err == CKPT_ERR_NOMEM || (err == CKPT_OK && booked)) {
            continue;
        }
        char hex[CKPT_ID_HEX];
        ckpt_id_hex(&object->id, hex);
        pthread_mutex_lock(&reading->lock);
        ckpt_verify_bad(reading->v, &object->id, "chunk %s: %s", hex,
                        err != CKPT_OK ? ckpt_err_text(err) : CKPT_VERIFY_NOT_BOOKED);
        pthread_mutex_unlock(&reading->lock);
        err = CKPT_OK;
    }
    ckpt_txn_abort(txn);
    return err;
}

static void read_some(void *arg, struct ckpt_codec *codec)
{
    struct reading *reading = arg;
    struct buffer buffer = {0};
    pthread_mutex_lock(&reading->lock);
    while (reading->err == CKPT_OK && reading->next < reading->v->count) {
        size_t from = 0;
        uint64_t bytes = 0;
        size_t end = take_batch(reading, &from, &bytes);
        pthread_mutex_unlock(&reading->lock);
        enum ckpt_err err = read_batch(reading, codec, from, end, &buffer);
        pthread_mutex_lock(&reading->lock);
        reading->done += bytes;
        if (err != CKPT_OK) {
            reading->err = err;
        }
        pthread_cond_signal(&reading->moved);
    }
    reading->running--;
    pthread_cond_signal(&reading->moved);
    pthread_mutex_unlock(&reading->lock);
    free(buffer.bytes);
}

static unsigned threads(void)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 1 ? 1 : cores > THREADS_MAX ? THREADS_MAX : (unsigned)cores;
}

enum ckpt_err ckpt_verify_chunks(struct ckpt_verify *v, ckpt_progress_fn *progress, void *arg)
{
    struct reading reading = {.v = v};
    struct ckpt_pool *pool = NULL;
    uint64_t total = v->result.bytes;
    for (size_t i = 0; i < v->count; i++) {
        total += is_data(&v->objects[i]) ? v->objects[i].record_size : 0;
    }
    enum ckpt_err err = ckpt_pool_create(threads(), false, &pool);
    if (err != CKPT_OK) {
        return err;
    }
    pthread_mutex_init(&reading.lock, NULL);
    pthread_cond_init(&reading.moved, NULL);
    pthread_mutex_lock(&reading.lock);
    for (unsigned i = 0; err == CKPT_OK && i < threads(); i++) {
        err = ckpt_pool_submit(pool, read_some, &reading);
        reading.running += err == CKPT_OK;
    }
    if (err != CKPT_OK) {
        reading.err = err; /* those that run end */
    }
    while (reading.running > 0) {
        pthread_cond_wait(&reading.moved, &reading.lock);
        uint64_t done = v->result.bytes + reading.done;
        if (progress != NULL) {
            pthread_mutex_unlock(&reading.lock);
            progress(arg, done, total);
            pthread_mutex_lock(&reading.lock);
        }
    }
    pthread_mutex_unlock(&reading.lock);
    ckpt_pool_free(pool);
    pthread_cond_destroy(&reading.moved);
    pthread_mutex_destroy(&reading.lock);
    v->result.bytes += reading.done;
    return reading.err;
}
