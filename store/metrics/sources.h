/*
 * The metric files of one run: which they are, and what is new in them.
 *
 * One walk finds them (sources_walk.h says how far it looks); from then on ckpt_sources_note is told of files
 * that come up, and a poll only looks at those that are known. Files above the run's own directory are a run's
 * only where no other run lies under the same directory: what is logged there could be either's.
 *
 * A file is read on from where the last poll ended. Another inode under its name, a CSV with another header, or
 * other bytes before that place, is another file: its points are forgotten and it is read from the start. (Not
 * trainer_state.json and wandb-summary.json, which are rewritten each time and only say more.) The points of a
 * file that has gone stay. A cold file is passed over: metrics are small and not captured; who captured one has
 * read it before.
 *
 * Better than by the file alone:
 *
 *     metrics.csv      with hparams.yaml beside it it is Lightning's
 *     Keras' CSV       in a run with checkpoints of another framework it is somebody else's, as written
 *     TensorBoard      validation/ and the like go before the tags ("loss" -> "val_loss"); in train/ and
 *                      validation/ "epoch_loss" is Keras' callback's: the loss of the epoch STEP + 1
 *
 * Where several files have a metric at the same step, the one that was written last wins: a first reading takes
 * them by the age of their last change.
 *
 * Not read: what ckpt_metrics_kind_of doesn't know, as detectron2's metrics.json.
 *
 * Thread rules: the caller's; no two calls for the same sources or series at a time.
 */
#ifndef CKPT_STORE_SOURCES_H
#define CKPT_STORE_SOURCES_H

#include "series.h"
#include <ckpt/err.h>
#include <ckpt/store.h>
#include <stdbool.h>
#include <stddef.h>

enum {
    CKPT_SOURCES_FILES = CKPT_SERIES_SOURCES, /* further ones are left out */
    CKPT_SOURCES_POLL = 64 << 20, /* bytes that one poll reads, and a window of metrics.h more at most */
};

struct ckpt_sources;

/* Whether another run than this one lies anywhere below the directory ANCESTOR (relative to live/, "" for live/
   itself). */
typedef bool ckpt_shared_fn(void *arg, const char *ancestor);

CKPT_MUST_USE enum ckpt_err ckpt_sources_create(struct ckpt_sources **sources);
void ckpt_sources_free(struct ckpt_sources *sources); /* NULL is fine */

struct ckpt_polled {
    bool changed; /* the series has other points than before */
    bool more;    /* there is more to read: poll again */
};

/*
 * Reads what is new into SERIES, which is only this run's. RUN: the run's directory relative to live/, "" for
 * live/ itself; when it isn't the last poll's, everything is found and read anew. DISCOVER walks; the first
 * poll always does. SHARED may be NULL: only the run's own directory is looked at.
 *
 * A file that can't be read now is tried again at the next poll. Errors: NOMEM; *POLLED says what had happened
 * until then.
 */
CKPT_MUST_USE enum ckpt_err ckpt_sources_poll(struct ckpt_sources *sources, struct ckpt_store *store,
                                              const char *run, bool discover, ckpt_shared_fn *shared, void *arg,
                                              struct ckpt_series *series, struct ckpt_polled *polled);

/*
 * Somebody made, closed or renamed the file PATH (relative to live/): true if it is, or may be, one of the
 * sources of RUN, so that a poll is worth while. Errors: NOMEM, with *IS as it was.
 */
CKPT_MUST_USE enum ckpt_err ckpt_sources_note(struct ckpt_sources *sources, const char *run, const char *path,
                                              bool *is);

size_t ckpt_sources_count(const struct ckpt_sources *sources); /* files that are known or may be */

/*
 * Reads the one file PATH (relative to live/) once, POLL bytes of it at most: the trainer_state.json in a
 * checkpoint. *CHANGED becomes true as with ckpt_series_add. Errors: NOT_FOUND; INVALID: no metrics are in it;
 * UNSUPPORTED: it is cold; CORRUPT, where the points up to there count; NEEDED: too many files in the series;
 * NOMEM; host errors.
 */
CKPT_MUST_USE enum ckpt_err ckpt_sources_read_file(struct ckpt_store *store, const char *path,
                                                   struct ckpt_series *series, bool *changed);

#endif
