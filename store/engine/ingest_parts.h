/*
 * The parts of ingest and what they share. Engine thread.
 *
 *     ingest.c          a pending file becomes a version
 *     ingest_chunks.c   its bytes become chunks, and the places of these its recipe
 *     ingest_batch.c    the transaction: begun, committed, given up
 */
#ifndef CKPT_STORE_INGEST_PARTS_H
#define CKPT_STORE_INGEST_PARTS_H

#include "engine_parts.h"
#include "object/recipe.h"

/* A transaction is committed when it has so many bytes of new records, or so many files. */
enum {
#ifdef CKPT_FAULT
    CKPT_BATCH_BYTES = 1 << 20, /* several in a file that a test makes a thousand times */
#else
    CKPT_BATCH_BYTES = 32 << 20,
#endif
    CKPT_BATCH_JOBS = 256,
};

/* A file whose version stands in the open transaction. */
struct ckpt_ingest_published {
    struct ckpt_job *job;
    int fd;
    struct ckpt_stamp stamp;
};

/* A chunk of the file in work, for what it costs. */
struct ckpt_ingest_cost {
    struct ckpt_id id;
    uint32_t record_size;
};

/* Where bytes of a chunk, or a hole, stand in the file in work. */
struct ckpt_ingest_place {
    uint64_t offset;
    uint64_t size;
    uint32_t chunk;
    uint32_t at;
};

struct ckpt_ingest {
    struct ckpt_engine *engine;
    struct ckpt_store *store;
    struct ckpt_pipeline *pipeline;

    struct ckpt_txn *txn; /* NULL between batches */
    uint64_t batch_bytes; /* record bytes added in it */
    struct ckpt_ingest_published published[CKPT_BATCH_JOBS];
    unsigned publishing;

    /* The file in work. */
    uint64_t file_size;
    bool measuring;    /* nothing is stored, only counted in EXPECTED */
    uint64_t expected; /* at most so many bytes will be new in the database */
    struct ckpt_recipe recipe;
    struct ckpt_ingest_place *places;
    size_t places_count;
    size_t places_room;
    struct ckpt_ingest_cost *costs;
    size_t costs_count;
    size_t costs_room;
    uint64_t added;
    size_t booked;          /* costs[0..booked) are held by garbage rows */
    uint64_t *rows;         /* their keys */
    size_t rows_count;
};

/* ---- ingest_chunks.c ---- */

/* Puts the chunks of the job's file FD, which was like ST, into the database, in as many transactions as it takes, and
   notes them and their places; when measuring it only adds up what would be new. What stands in the open transaction is
   committed before a big file. CHANGED: the file is shorter than it was. */
CKPT_MUST_USE enum ckpt_err ckpt_ingest_take_file(struct ckpt_ingest *in, const struct ckpt_job *job, int fd,
                                                  const struct stat *st);

/* Books what the open transaction references as garbage, so that a crash before the file is done leaks nothing. */
CKPT_MUST_USE enum ckpt_err ckpt_ingest_book(struct ckpt_ingest *in);

/* When the file has been taken: completes its recipe with the places of the chunks. */
CKPT_MUST_USE enum ckpt_err ckpt_ingest_complete_recipe(struct ckpt_ingest *in);

/* ---- ingest_batch.c ---- */

/* Host bytes that must be free for BYTES more in the database. */
uint64_t ckpt_ingest_room(uint64_t bytes);

/* Begins a transaction where there is none. STOPPED. NOSPC: there isn't the room for what the file in work may still
   add. Also after an error there may be one, for the caller to abort. */
CKPT_MUST_USE enum ckpt_err ckpt_ingest_begin(struct ckpt_ingest *in);

/* Aborts the transaction, if there is one; its jobs are queued as before. */
void ckpt_ingest_abort(struct ckpt_ingest *in);

#endif
