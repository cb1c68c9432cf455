/*
 * Checks a whole store and changes nothing:
 *
 *   - every record: checksum, decoding, id, and the lengths and kind that are booked for it
 *   - every recipe: its form, that its chunks are there and have the lengths of its extents
 *   - exact reference counts, and the counters and last numbers of the meta table
 *   - every version: its recipe, its file's row, its directory
 *   - the directories: parents up to the root, and the names that lead to them
 *   - captures that no checkpoint was made of yet, runs, checkpoints and the rows that lead to them, what is known of processes,
 *     policies
 *   - live/: every cold file has a version with its bytes
 *
 * Works beside a running daemon. The tables are looked at in one short snapshot. The chunks are
 * read in many short ones, so that the database doesn't grow meanwhile: one that was forgotten
 * since is no problem. A cold file that looks wrong is looked at again.
 */
#ifndef CKPT_VERIFY_H
#define CKPT_VERIFY_H

#include <ckpt/err.h>
#include <ckpt/reader.h>
#include <ckpt/store.h>
#include <stdbool.h>
#include <stdint.h>

struct ckpt_verify_result {
    uint64_t objects;  /* records there */
    uint64_t bytes;    /* record bytes read */
    uint64_t versions; /* versions seen */
    uint64_t stubs;    /* cold live files seen */
    uint64_t unused;   /* records held only by garbage that the sweeper has yet to release */
    uint64_t problems; /* how many were found */
};

/* Problems that are reported one by one; the others are only counted. */
enum { CKPT_VERIFY_REPORTS = 1000 };

/*
 * QUICK reads no data chunk: the tables, the recipes and live/ only. Each problem is an error to
 * the store's report callback, in the calling thread; it names what is wrong and, for an object,
 * the first versions that can't be read because of it. Where a damaged recipe or row keeps the
 * references from being counted, a warning says so instead of a report for each of its chunks.
 *
 * CKPT_OK when the check itself ran, whatever it found. PROGRESS (may be NULL) is called from the
 * calling thread.
 */
CKPT_MUST_USE enum ckpt_err ckpt_verify(struct ckpt_store *store, bool quick,
                                        ckpt_progress_fn *progress, void *arg,
                                        struct ckpt_verify_result *result);

#endif
