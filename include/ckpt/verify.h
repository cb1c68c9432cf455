/*
 * Checks a whole store: every record's checksum, decoding and id, exact reference counts, recipes,
 * versions, counters, and the live stubs that depend on them. Changes nothing.
 */
#ifndef CKPT_VERIFY_H
#define CKPT_VERIFY_H

#include <ckpt/err.h>
#include <ckpt/reader.h>
#include <ckpt/store.h>
#include <stdbool.h>
#include <stdint.h>

struct ckpt_verify_result {
    uint64_t objects;   /* records seen */
    uint64_t bytes;     /* record bytes read */
    uint64_t versions;  /* versions seen */
    uint64_t stubs;     /* cold live files seen */
    uint64_t unused;    /* records held only by garbage that the sweeper has yet to release */
    uint64_t problems;  /* each one was reported as an error */
};

/*
 * QUICK skips reading the data chunks (structure and counts only). Each problem goes to the store's
 * report callback. CKPT_OK when the check itself ran, whatever it found. Works beside a running daemon:
 * what it sees is one consistent snapshot.
 */
CKPT_MUST_USE enum ckpt_err ckpt_verify(struct ckpt_store *store, bool quick,
                                        ckpt_progress_fn *progress, void *arg,
                                        struct ckpt_verify_result *result);

#endif
