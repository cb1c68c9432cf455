/*
 * Runs and their checkpoints, as the catalog has them.
 *
 * A *run* is a directory that directly holds checkpoints, known by its directory id (ckpt/catalog.h). A *checkpoint* is one
 * save of one state: one or several files, or a directory with everything in it. Its *members* are versions of files. It is
 * made when its first file is recorded, published when it is complete, and kept as a record when its bytes have been dropped.
 *
 * Everything here is a picture in memory of what is committed. struct ckpt_runs keeps the pictures of the runs that somebody
 * has asked for; they are filled from the database, and the engine brings them up to date after each of its commits.
 *
 * Thread rules: any thread. Between ckpt_runs_hold and ckpt_runs_release a run and all it points to stay as they are; be
 * quick, and hold one at a time.
 */
#ifndef CKPT_RUN_H
#define CKPT_RUN_H

#include <ckpt/catalog.h>
#include <ckpt/err.h>
#include <ckpt/id.h>
#include <ckpt/kind.h>
#include <ckpt/store.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One file of a checkpoint. */
struct ckpt_member {
    uint64_t dir;
    uint32_t number; /* of the version */
    char *name;
    char *path;       /* relative to the run's directory, when it was recorded: "model.pt", "checkpoint-100/model.bin" */
    uint16_t root;    /* so many bytes of PATH name the checkpoint's own file or directory: "checkpoint-100" */
    uint64_t sequence; /* of the capture */
    uint64_t size;
    uint64_t added; /* record bytes that were new to the store with it */
    enum ckpt_holds holds;
    bool directory; /* the root is a directory */
    bool alias;     /* a name that is used again and again, beside the checkpoint's own: last.pt */
    bool invalid;   /* truncated or damaged */
    bool replaced;  /* by a later file of the same name within this checkpoint; not shown */
    bool gone;      /* the live file is not there any more, or is another one */
    struct ckpt_id state; /* equal for files that hold the same tensors; see store/publish/inspect.h */
    struct ckpt_id recipe;
};

/* Where a number is from. Stable numbers: they are stored. */
enum ckpt_from {
    CKPT_FROM_NAME = 1,    /* the file's or directory's name */
    CKPT_FROM_INSIDE = 2,  /* the file itself: scalars of a pickle, safetensors' __metadata__ */
    CKPT_FROM_METRICS = 3, /* a metrics file, see ckpt_value.kind and .path */
    CKPT_FROM_USER = 4,    /* ckpt metric, an extended attribute */
};

/* How a metric found its checkpoint. Stable numbers: they are stored. */
enum ckpt_by { CKPT_BY_ITSELF = 0, CKPT_BY_STEP = 1, CKPT_BY_EPOCH = 2, CKPT_BY_TIME = 3 };

struct ckpt_value {
    char *name; /* as written */
    double value;
    enum ckpt_from from;
    enum ckpt_by by;
    uint8_t kind; /* enum ckpt_metrics_kind of a metrics file, else 0 */
    char *path;   /* of that file, relative to the mount; else NULL */
};

/* Stable numbers: they are stored. */
enum ckpt_status {
    CKPT_STATUS_WRITING = 0,  /* not complete: files are missing or being written */
    CKPT_STATUS_COMPLETE = 1, /* published */
    CKPT_STATUS_INVALID = 2,  /* truncated, damaged, or a part of it was forgotten: never latest, never best */
};

/* Stable numbers: they are stored. */
enum ckpt_left { CKPT_LEFT_NOT = 0, CKPT_LEFT_OVERWRITTEN = 1, CKPT_LEFT_DELETED = 2 };

/* For people and --json ("complete", "overwritten"; NULL for CKPT_LEFT_NOT); static storage. */
const char *ckpt_status_name(enum ckpt_status status);
const char *ckpt_left_name(enum ckpt_left left);

struct ckpt_checkpoint {
    uint64_t run;
    uint32_t number; /* within the run, from 1, in the order in which they were begun */
    uint64_t id;     /* shown as 16 hexadecimal digits */
    uint64_t sequence; /* of its first capture: the order of saves */
    int64_t saved_ns;  /* wall clock of that capture */
    enum ckpt_status status;
    enum ckpt_framework framework;
    enum ckpt_holds holds;
    char *why;   /* why it is incomplete or invalid, or what says that it is complete */
    char *root;  /* name of the file or directory that gave it its name */
    char *group; /* roots of one run with equal groups are one checkpoint (store/recognise/recognise.h) */
    bool has_epoch;
    bool has_step;
    enum ckpt_from epoch_from;
    enum ckpt_from step_from;
    uint64_t epoch;
    uint64_t step;
    bool pinned;
    bool hidden;  /* rotated: to be had back until its grace is over */
    bool dropped; /* its bytes are gone, this is a record */
    bool former;  /* it went with its run's directory: one that was made anew in its place is another run. Not shown */
    enum ckpt_left left; /* the trainer has overwritten or deleted all of its live files */
    int64_t left_ns;
    int64_t hidden_ns;
    uint64_t parent;  /* id of the checkpoint that its writer had read before; 0: none known */
    uint64_t process; /* of its writer, see ckpt_run_process; 0: not known */
    char **tags;
    size_t n_tags;
    struct ckpt_value *values;
    size_t n_values;
    struct ckpt_member *members; /* in order of capture */
    size_t n_members;

    /* In memory only, for run.c. */
    bool dirty;                   /* differs from the database, and is in its run's list of such */
    struct ckpt_checkpoint *next; /* in that list */
    bool in_epochs;               /* is in run->by_epoch, under AT_EPOCH and AT_SEQUENCE */
    bool in_steps;
    uint64_t at_epoch;
    uint64_t at_step;
    uint64_t at_sequence;
};

/* Whether it is shown: published, not rotated, and of the present run. */
bool ckpt_checkpoint_shown(const struct ckpt_checkpoint *c);
/* Sum over the members. */
uint64_t ckpt_checkpoint_size(const struct ckpt_checkpoint *c);
/* What dropping it would give back, about. */
uint64_t ckpt_checkpoint_added(const struct ckpt_checkpoint *c);
/* The member that stands for it: the fullest one of those that aren't in directories, its own names before aliases; NULL:
   it is a directory. */
const struct ckpt_member *ckpt_checkpoint_main(const struct ckpt_checkpoint *c);
/* What the place of each member depends on: a walk over all of them, so it is taken once for many. Of what a checkpoint is now. */
struct ckpt_shape {
    bool only_aliases;  /* last.pt alone: shown by them */
    bool one_directory; /* shown as what is in it */
};
struct ckpt_shape ckpt_checkpoint_shape(const struct ckpt_checkpoint *c);
/* Where a member stands in the checkpoint as users see it: a file's name, or the path within the directory. NULL: not shown. */
const char *ckpt_member_shown(struct ckpt_shape shape, const struct ckpt_member *m);
const struct ckpt_value *ckpt_checkpoint_value(const struct ckpt_checkpoint *c, const char *name);

struct ckpt_run {
    uint64_t dir;
    uint32_t next_number;
    bool finished; /* ckpt finish, or its writer has exited and nothing came for a while */
    bool stop;     /* early stopping: no improvement for as long as the policy's patience */
    int64_t finished_ns;
    int64_t written_ns; /* wall clock of the last capture */
    uint64_t process;   /* that wrote last */
    uint32_t best;      /* number of the best checkpoint as last judged; 0: none */
    char *metric;       /* the primary metric as last judged; NULL: none */
    struct ckpt_checkpoint **list; /* by number */
    size_t count;
    size_t room;
    uint64_t generation; /* grows with every change of this picture */
    bool dirty;          /* the row, or a checkpoint, differs from the database: the engine's own picture */
    struct ckpt_checkpoint *changed; /* those that differ, linked by NEXT */

    /* Complete ones by epoch and by step, then by sequence; see ckpt_run_epoch. */
    struct ckpt_checkpoint **by_epoch;
    size_t n_epochs;
    struct ckpt_checkpoint **by_step;
    size_t n_steps;
    size_t indexed_room; /* of each */
};

/* Each NULL when there is none. The latest is the newest that nobody has deleted, if there is one. The final one is the
   latest of a run that is finished, or the one whose name says so (model_final.pt). Of several with that epoch or step the
   newest. Only what is shown (ckpt_checkpoint_shown). */
const struct ckpt_checkpoint *ckpt_run_latest(const struct ckpt_run *run);
const struct ckpt_checkpoint *ckpt_run_best(const struct ckpt_run *run);
const struct ckpt_checkpoint *ckpt_run_final(const struct ckpt_run *run);
const struct ckpt_checkpoint *ckpt_run_epoch(const struct ckpt_run *run, uint64_t epoch);
const struct ckpt_checkpoint *ckpt_run_step(const struct ckpt_run *run, uint64_t step);
const struct ckpt_checkpoint *ckpt_run_tag(const struct ckpt_run *run, const char *tag);
/* Whatever its state. */
const struct ckpt_checkpoint *ckpt_run_number(const struct ckpt_run *run, uint32_t number);

/* Each epoch, step, tag, metric's name of what is shown, once, in order, until FN returns false. */
typedef bool ckpt_number_fn(void *arg, uint64_t number);
typedef bool ckpt_text_fn(void *arg, const char *text);
void ckpt_run_each_epoch(const struct ckpt_run *run, ckpt_number_fn *fn, void *arg);
void ckpt_run_each_step(const struct ckpt_run *run, ckpt_number_fn *fn, void *arg);
CKPT_MUST_USE enum ckpt_err ckpt_run_each_tag(const struct ckpt_run *run, ckpt_text_fn *fn, void *arg);
CKPT_MUST_USE enum ckpt_err ckpt_run_each_metric(const struct ckpt_run *run, ckpt_text_fn *fn, void *arg);

/* ---- all runs ---- */

struct ckpt_runs;

/* Nothing is read before it is asked for. STORE outlives it. */
CKPT_MUST_USE enum ckpt_err ckpt_runs_create(struct ckpt_store *store, struct ckpt_runs **runs);
void ckpt_runs_free(struct ckpt_runs *runs); /* NULL is fine */

/* *RUN: the run of directory DIR, held until ckpt_runs_release. NOT_FOUND, and any other error: nothing is held. */
CKPT_MUST_USE enum ckpt_err ckpt_runs_hold(struct ckpt_runs *runs, uint64_t dir, const struct ckpt_run **run);
void ckpt_runs_release(struct ckpt_runs *runs);

/* The directory ids of the runs that stand in ABOVE or up to three levels below it (not ABOVE itself), *N of them, to be
   freed by the caller. */
CKPT_MUST_USE enum ckpt_err ckpt_runs_below(struct ckpt_runs *runs, uint64_t above, uint64_t **dirs, size_t *n);
/* All of them. */
CKPT_MUST_USE enum ckpt_err ckpt_runs_all(struct ckpt_runs *runs, uint64_t **dirs, size_t *n);

/* The checkpoint with that id, or the only one whose id begins with the DIGITS hexadecimal digits of PREFIX (text).
   NOT_FOUND; EXISTS: several do. */
CKPT_MUST_USE enum ckpt_err ckpt_runs_by_id(struct ckpt_runs *runs, const char *prefix, uint64_t *dir, uint32_t *number);

/* A checkpoint that has this version as a member: the oldest one, if there are several. NOT_FOUND. */
CKPT_MUST_USE enum ckpt_err ckpt_runs_by_version(struct ckpt_runs *runs, uint64_t dir, const char *name, uint32_t number,
                                                 uint64_t *run, uint32_t *checkpoint);

/* What is known about a process (JSON), to be freed by the caller. NOT_FOUND. */
CKPT_MUST_USE enum ckpt_err ckpt_runs_process(struct ckpt_runs *runs, uint64_t process, char **json);

/* ---- policies ---- */

struct ckpt_policy;

enum { CKPT_POLICY_TEXT = 65536 };

/*
 * The policy that applies in directory DIR: that of the nearest directory from DIR upwards that has one. *TEXT is to be freed
 * by the caller; *OWNER is that directory, *CHANGED_NS the wall clock of its last change. NOT_FOUND: none has.
 */
CKPT_MUST_USE enum ckpt_err ckpt_policy_find(struct ckpt_store *store, uint64_t dir, char **text, uint64_t *owner,
                                             int64_t *changed_ns);

#endif
