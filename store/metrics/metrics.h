/*
 * Metrics: the numbers that trainers write down beside their checkpoints. Pure readers: no I/O of their own,
 * and nothing in the bytes is trusted. What can't be read is left out; a damaged or hostile file costs time
 * and memory in proportion to what was given, never more.
 *
 *     metrics.c            which format a file has, and what the readers share
 *     metrics_csv.c        CSV with a header line: Lightning, Keras, Ray, and what people write themselves
 *     metrics_json.c, metrics_scan.c
 *                          trainer_state.json, wandb-summary.json, Ray's result.json, Optuna's journal
 *     metrics_tfevents.c   TensorBoard's event files
 *     metrics_mlflow.c     MLflow's file store
 *
 * Files that grow are read on from where the last reading ended. The caller keeps a mark per file and gives
 * the bytes that follow it; the mark moves past the records (lines, events) that were whole. A record that
 * isn't whole yet is read next time, and one of more than CKPT_METRICS_RECORD_MAX bytes never.
 *
 *     mark = {0};                                         // a new file, or another inode under the name
 *     do {
 *         before = mark.offset;
 *         read HEAD from 0, up to CKPT_METRICS_HEAD_MAX bytes; BYTES from the mark, up to CKPT_METRICS_WINDOW;
 *         err = ckpt_metrics_read(&input, &mark, &sink);  // CHANGED: forget its points, go round again
 *     } while (err == CKPT_ERR_CHANGED || (err == CKPT_OK && mark.offset > before && mark.offset < size));
 *
 * Conventions. Names are as written; who joins metrics and checkpoints makes them comparable. Steps and
 * epochs are those that the same framework puts into the names of its checkpoints, so that they can be
 * joined:
 *
 *     Keras       CSVLogger counts epochs from 0, ModelCheckpoint's names from 1: one is added
 *     Lightning   loggers have the step before the optimizer's, names the one after: one is added to the step;
 *                 the epoch counts from 0 in both
 *     HF Trainer  step is the optimizer's; epochs are fractions: 1.5 is the middle of the second
 *     Ray         step is training_iteration, which counts from 1; checkpoint_N counts saves, from 0, and
 *                 checkpoint_dir_name says which of them a report belongs to
 *     others      as written. (Keras' TensorBoard callback has tags "epoch_...": the step is the epoch)
 *
 * Thread rules: any thread; a mark is its caller's.
 */
#ifndef CKPT_STORE_METRICS_H
#define CKPT_STORE_METRICS_H

#include <ckpt/err.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Stable numbers: they may be stored. */
enum ckpt_metrics_kind {
    CKPT_METRICS_NONE = 0,
    CKPT_METRICS_CSV = 1,
    CKPT_METRICS_LIGHTNING = 2, /* metrics.csv of its CSVLogger */
    CKPT_METRICS_KERAS = 3,     /* CSVLogger */
    CKPT_METRICS_RAY_CSV = 4,   /* progress.csv */
    CKPT_METRICS_RAY_JSON = 5,  /* result.json */
    CKPT_METRICS_HF = 6,        /* trainer_state.json */
    CKPT_METRICS_WANDB = 7,     /* wandb-summary.json */
    CKPT_METRICS_OPTUNA = 8,    /* journal */
    CKPT_METRICS_TFEVENTS = 9,
    CKPT_METRICS_MLFLOW = 10,
};

enum {
    CKPT_METRIC_NAME_MAX = 255,        /* bytes; a point with a longer name, or none, is left out */
    CKPT_METRICS_HEAD_MAX = 64 << 10,  /* of a header line */
    CKPT_METRICS_RECORD_MAX = 1 << 20, /* of a line, an event */
    CKPT_METRICS_WINDOW = 4 << 20,     /* to give at once; RECORD_MAX + 16 at least, if the file has that */
    CKPT_METRICS_WHOLE_MAX = 64 << 20, /* of a file that is read whole */
};

struct ckpt_metric_point {
    const char *name; /* UTF-8 without control characters; dies when the callback returns */
    double value;     /* may be NaN or infinite */
    uint64_t step;
    double epoch;     /* finite, >= 0 */
    uint64_t trial;   /* Optuna's trial_id */
    uint64_t checkpoint; /* N of the checkpoint_N that it is about (Ray) */
    int64_t time_ns;  /* wall clock since 1970; 0: not known */
    bool has_step;
    bool has_epoch;
    bool has_trial;
    bool has_checkpoint;
    enum ckpt_metrics_kind source;
};

/* Takes one point. Anything but CKPT_OK ends the reading, which returns it. */
struct ckpt_metrics_sink {
    enum ckpt_err (*fn)(void *arg, const struct ckpt_metric_point *point);
    void *arg;
};

/* Where the last reading of a file ended. All zeros: nothing was read. */
struct ckpt_metrics_mark {
    uint64_t offset; /* of the first record that wasn't read; past what was given if a long event is skipped */
    uint64_t head;   /* checksum of a CSV's header line */
    bool skipping;   /* within a line that is too long */
};

struct ckpt_metrics_input {
    enum ckpt_metrics_kind kind;
    const char *path;   /* for MLflow, whose path is the metric's name; else it may be NULL */
    const void *head;   /* the file's first bytes; for CSV, when the mark isn't at 0 */
    size_t head_size;
    const void *bytes;  /* from the mark's offset on; of a file that is read whole all of it */
    size_t size;
    uint64_t file_size; /* now */
};

/*
 * The format of the file at PATH (relative or absolute), by its name and its first bytes. NONE: not known, or
 * not yet: many names are free, so a file that is still empty may get another answer when it has a line. HEAD
 * may be short.
 *
 * Two guesses, which who sees more of the directory can make better: a metrics.csv is taken for Lightning's in
 * a directory version_N (hparams.yaml beside it says so elsewhere: read CSV as LIGHTNING), and a CSV for Keras'
 * when it has the columns and line ends of CSVLogger and counts from 0 (checkpoints of another framework beside
 * it say no: read KERAS as CSV).
 */
enum ckpt_metrics_kind ckpt_metrics_kind_of(const char *path, const void *head, size_t head_size);

/* Whether a file of this kind is rewritten, and to be read whole each time. While its writer is at it nothing
   is found and the mark stays at 0; then it is at the file's end. */
bool ckpt_metrics_is_whole(enum ckpt_metrics_kind kind);

/* The name of a kind ("csv", "tensorboard"), for people and --json; static storage. */
const char *ckpt_metrics_kind_name(enum ckpt_metrics_kind kind);

/*
 * Gives the points of all whole records to the sink, in the file's order, and moves the mark. After an error
 * of the sink or NOMEM the record that it happened in is read again next time.
 *
 * Errors: CHANGED: the file isn't the one that the mark is of (a CSV got other columns, or it became
 * shorter); the mark is zero now: forget what came from it and read from the start. CORRUPT: the file isn't
 * what KIND says, or it is damaged from the mark on; the points so far are good. INVALID: a whole file of
 * more than WHOLE_MAX, a KIND of NONE. NOMEM. The sink's.
 */
CKPT_MUST_USE enum ckpt_err ckpt_metrics_read(const struct ckpt_metrics_input *input,
                                              struct ckpt_metrics_mark *mark,
                                              const struct ckpt_metrics_sink *sink);

#endif
