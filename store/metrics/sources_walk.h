/*
 * Where the metrics of a run may be: the files below the run's directory and those of the loggers around it, by
 * their names. sources.h reads them.
 *
 * Paths are relative to live/, "" for live/ itself. A file is within reach when it is
 *
 *     below the run       at most 3 directories deep, 5 more below mlruns (mlruns/EXP/RUN/metrics/KEY/KEY)
 *     above the run       directly in one of the ABOVE directories over it, or so deep in one of their
 *                         directories that loggers make: logs, lightning_logs, mlruns, wandb, ...
 *
 * and not in a checkpoint. Symbolic links lead nowhere: live/ is all there is. (W&B's latest-run is one; the
 * directory that it names is found under its own name.)
 *
 * Thread rules: any thread.
 */
#ifndef CKPT_STORE_SOURCES_WALK_H
#define CKPT_STORE_SOURCES_WALK_H

#include <ckpt/err.h>
#include <stdbool.h>
#include <stddef.h>

enum { CKPT_WALK_ABOVE = 2, CKPT_WALK_ENTRIES = 4096 };

enum ckpt_walk_what {
    CKPT_WALK_OTHER,
    CKPT_WALK_METRICS, /* may have some: of a .csv or .log only its bytes say */
    CKPT_WALK_FOREIGN, /* a checkpoint that Keras doesn't write */
};

/* What the name of a file says. */
enum ckpt_walk_what ckpt_walk_what(const char *path);

/* Whether a file at PATH is within reach of RUN. */
bool ckpt_walk_reaches(const char *run, unsigned above, const char *path);

/* The path of the directory N above RUN, cut out of it: its length, or -1 when there is none. */
int ckpt_walk_above(const char *run, unsigned n);

/* Opens PATH below DIRFD; no component of it may be "..", nor a symbolic link, but with O_PATH the last. -1 and
   errno. */
int ckpt_walk_open(int dirfd, const char *path, int flags);

/* One file within reach that says something, WHAT. Anything but CKPT_OK ends the walk. */
typedef enum ckpt_err ckpt_walk_fn(void *arg, const char *path, enum ckpt_walk_what what);

/*
 * Gives all files within reach that say something, a directory's own before those of its directories. Ends
 * after ENTRIES names below the run, and after as many above it. A directory that can't be read is passed over.
 * Errors: NOMEM, FN's.
 */
CKPT_MUST_USE enum ckpt_err ckpt_walk_run(int livefd, const char *run, unsigned above, ckpt_walk_fn *fn,
                                          void *arg);

#endif
