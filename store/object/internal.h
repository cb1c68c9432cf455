/*
 * What a store holds, for the modules of store/ only.
 */
#ifndef CKPT_STORE_INTERNAL_H
#define CKPT_STORE_INTERNAL_H

#include "chunk/chunker.h"
#include "db.h"
#include <ckpt/err.h>
#include <ckpt/store.h>
#include <pthread.h>
#include <stdatomic.h>

struct ckpt_pins;

struct ckpt_store {
    char *path;
    int dirfd;
    int livefd;
    int pendingfd;
    int tmpfd;
    int lockfd; /* -1 when opened for reading */
    uint64_t seed;
    struct ckpt_id store_id;
    struct ckpt_db *db;
    struct ckpt_report report;
    struct ckpt_chunker chunker;
    atomic_bool stopped;
    unsigned depth; /* see ckpt_store_depth; set before there are threads */
    pthread_mutex_t pins_lock;
    struct ckpt_pins *pins; /* pins_lock */
};

/* The longest chain of differences that is made. Existing longer ones stay. */
unsigned ckpt_store_depth(const struct ckpt_store *store);

/* ckpt_txn_write for a change of the store: STOPPED when it has stopped. An I/O error stops it. */
CKPT_MUST_USE enum ckpt_err ckpt_store_begin(struct ckpt_store *store, struct ckpt_txn **txn);

/* ckpt_txn_commit. An I/O error stops the store. */
CKPT_MUST_USE enum ckpt_err ckpt_store_commit(struct ckpt_store *store, struct ckpt_txn *txn);

#endif
