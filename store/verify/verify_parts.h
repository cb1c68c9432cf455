/*
 * The parts of verify and what they share.
 *
 *     verify.c           the order of it all; what is told and how
 *     verify_objects.c   objects, recipes and who refers to them, but for the chunks' bytes
 *     verify_catalog.c   meta, directories, files and versions
 *     verify_runs.c      fresh captures, runs, checkpoints, processes and policies
 *     verify_chunks.c    the chunks' bytes
 *     verify_live.c      the cold files of live/ and the versions that they need
 *
 * Objects and catalog are looked at in one snapshot, which ends before a chunk is read. One cause
 * is to give one report: what follows from something that has been told already is left out (the
 * chunks of a recipe that can't be read, the directories below one that is lost).
 */
#ifndef CKPT_STORE_VERIFY_PARTS_H
#define CKPT_STORE_VERIFY_PARTS_H

#include "chunk/codec.h"
#include "object/db.h"
#include "object/recipe.h"
#include "object/record.h"
#include <ckpt/err.h>
#include <ckpt/id.h>
#include <ckpt/verify.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One id that stands in refs, in objects, or in both, and what the tables say about it. */
struct ckpt_verify_object {
    struct ckpt_id id;
    uint64_t booked;    /* references, by its refs row */
    uint64_t found;     /* references, by recipes, versions and garbage */
    uint64_t file_size; /* a recipe's, once it has been read */
    uint32_t raw_size;
    uint32_t record_size;
    enum ckpt_kind kind;
    struct ckpt_coding coding;
    struct ckpt_id previous; /* by its refs row */
    bool has_refs; /* a refs row that makes sense */
    bool has_record;
    bool used;      /* one of its references is not garbage's */
    bool is_recipe; /* a version or its kind says so */
    bool read;      /* a recipe: file_size is valid */
};

/* Something wrong with an object that keeps files from being read. */
struct ckpt_verify_bad {
    struct ckpt_id id; /* who refers to this one is told with it */
    char *what;
    char *users;       /* the first few */
    uint64_t versions; /* how many use it */
};

/* A row of dirs. */
struct ckpt_verify_dir {
    uint64_t id;
    uint64_t parent;
    enum { DIR_UNKNOWN, DIR_ON_THE_WAY, DIR_KNOWN } state; /* is the way up followed? */
};

struct ckpt_verify {
    struct ckpt_store *store;
    struct ckpt_codec *codec;
    struct ckpt_txn *txn; /* the snapshot of the tables */
    struct ckpt_verify_result result;

    struct ckpt_verify_object *objects; /* by id */
    size_t count;
    size_t room;
    uint64_t linked;  /* objects that have a previous, less the rows of dependents that have been seen */
    size_t with_refs; /* while they are loaded: those without a refs row stand behind these */
    /* Some references could not be found because what holds them is damaged: then more booked than
       found says nothing. */
    bool incomplete;

    struct ckpt_counters booked;
    struct ckpt_counters counted;
    bool has_counters; /* both of them mean something */
    int64_t captures; /* versions seen, less the rows of captures that stand for them */
    uint64_t last_sequence;
    uint64_t last_garbage;

    struct ckpt_verify_dir *dirs; /* by id */
    size_t dir_count;
    size_t dir_room;
    uint64_t *lost_dirs; /* those that were told to be missing, at most CKPT_VERIFY_REPORTS */
    size_t lost_count;
    bool sequence_told; /* that meta is behind the captures */

    struct ckpt_verify_bad *bads;
    size_t bad_count;
};

/* Counts one problem and reports it, unless there have been too many. Calling thread only. */
void ckpt_verify_problem(struct ckpt_verify *v, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Counts one problem, which is reported at the end together with the files that need object ID. The
   same one twice is one. One thread at a time. */
void ckpt_verify_bad(struct ckpt_verify *v, const struct ckpt_id *id, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* "a/b.pt", or what can be said when the directory has no path. LABEL: CKPT_VERIFY_LABEL bytes. */
enum { CKPT_VERIFY_LABEL = PATH_MAX + NAME_MAX + 64 };
const char *ckpt_verify_label(struct ckpt_verify *v, uint64_t dir, const char *name, char *label);

/* The snapshot's parts, in this order. CORRUPT: a table can't be walked. */

/* What meta says. */
void ckpt_verify_meta(struct ckpt_verify *v);
/* Fills objects and counts their references. */
CKPT_MUST_USE enum ckpt_err ckpt_verify_objects(struct ckpt_verify *v);
/* Directories, files, versions; then the counters. */
CKPT_MUST_USE enum ckpt_err ckpt_verify_catalog(struct ckpt_verify *v);

/* Captures, checkpoints and what stands about them, after the catalog. */
CKPT_MUST_USE enum ckpt_err ckpt_verify_runs(struct ckpt_verify *v);

/* Tells, once for each, that directory DIR has no row; NAME is something that belongs to it. After the directories were read. */
void ckpt_verify_dir_of(struct ckpt_verify *v, uint64_t dir, const char *name);

/* NULL: not there. */
struct ckpt_verify_object *ckpt_verify_find(struct ckpt_verify *v, const struct ckpt_id *id);

/* Reads a recipe by its record alone: no refs row is needed. *RECORD receives its header. */
CKPT_MUST_USE enum ckpt_err ckpt_verify_recipe(struct ckpt_verify *v, const struct ckpt_id *id,
                                               struct ckpt_record *record,
                                               struct ckpt_recipe *recipe);

/* Calls FN for every row of TABLE, in order. CORRUPT when the table can't be walked to its end. */
typedef enum ckpt_err ckpt_verify_row_fn(void *arg, const struct ckpt_slice *key,
                                         const struct ckpt_slice *value);
CKPT_MUST_USE enum ckpt_err ckpt_verify_each(struct ckpt_verify *v, enum ckpt_table table,
                                             ckpt_verify_row_fn *fn, void *arg);

/* Reads every chunk, in short snapshots. */
CKPT_MUST_USE enum ckpt_err ckpt_verify_chunks(struct ckpt_verify *v, ckpt_progress_fn *progress,
                                               void *arg);

void ckpt_verify_live(struct ckpt_verify *v);

/* What is said of a record that isn't what its refs row says. */
#define CKPT_VERIFY_NOT_BOOKED                                                                     \
    "its record doesn't have the length, kind and coding that are booked for it"

#endif
