/*
 * Reading on in one metric file: sources.h says by which rules.
 */
#ifndef CKPT_STORE_SOURCES_READ_H
#define CKPT_STORE_SOURCES_READ_H

#include "series.h"
#include <ckpt/store.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct ckpt_source_file {
    char *path;                     /* relative to live/ */
    enum ckpt_metrics_kind by_head; /* NONE: not known yet */
    enum ckpt_metrics_kind kind;    /* with what the directory says */
    struct ckpt_metrics_mark mark;
    uint64_t tail; /* checksum of the tail_size bytes before the mark */
    size_t tail_size;
    dev_t dev; /* of the inode that the mark is of; it was read, if ino isn't 0 */
    ino_t ino;
    uint64_t size; /* at the last reading, which came to the end if `seen` */
    int64_t mtime_ns;
    bool seen;
    bool foreign; /* in the last reading */
};

/* One poll. Zero but for the first four. */
struct ckpt_source_reading {
    struct ckpt_store *store;
    struct ckpt_series *series;
    bool foreign;  /* checkpoints of another framework than Keras are in the run */
    uint64_t left; /* bytes to read */
    bool changed;  /* the series */
    bool more;
    uint8_t *head;
    uint8_t *window;
};

/*
 * Reads what is new in FILE. Errors: NOMEM; NOT_FOUND: it isn't there, or no regular file; INVALID: it has no
 * metrics and never will; UNSUPPORTED: it is cold; CORRUPT; NEEDED: no room for a further file in the series;
 * host errors. Only after NOT_FOUND and INVALID there is no point in trying again.
 */
CKPT_MUST_USE enum ckpt_err ckpt_source_read(struct ckpt_source_reading *reading,
                                             struct ckpt_source_file *file);

/* Frees what READING holds. */
void ckpt_source_reading_end(struct ckpt_source_reading *reading);

#endif
