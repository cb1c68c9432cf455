/*
 * What a store holds, for the modules of store/ only.
 */
#ifndef CKPT_STORE_INTERNAL_H
#define CKPT_STORE_INTERNAL_H

#include "chunker.h"
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
    pthread_mutex_t pins_lock;
    struct ckpt_pins *pins; /* pins_lock */
};

#endif
