/*
 * What a path in a run is, from its name alone: a checkpoint, part of one, a marker, a source of metrics,
 * something temporary. The names of the frameworks are the rows of recognise_rows.c; a new framework is a
 * few more rows there.
 *
 * A checkpoint has a *root*: a file, or a directory with everything in it. The outermost directory that is
 * one counts: `checkpoint-100/global_step100/mp_rank_00_model_states.pt` belongs to `checkpoint-100`. A
 * directory that any path names as a root is a checkpoint as a whole, also those files in it whose names
 * say nothing (torchsnapshot's `0/model/weight`).
 *
 * Pure: no I/O, nothing allocated. Thread rules: any thread.
 */
#ifndef CKPT_STORE_RECOGNISE_H
#define CKPT_STORE_RECOGNISE_H

#include "naming.h"
#include <ckpt/kind.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ckpt_role {
    CKPT_ROLE_OTHER,     /* says nothing; nothing of a checkpoint unless it stands below a root */
    CKPT_ROLE_FILE,      /* a checkpoint, or one of the files of one, beside others in the run */
    CKPT_ROLE_SHARD,     /* shard SHARD of SHARDS */
    CKPT_ROLE_MEMBER,    /* in a checkpoint directory */
    CKPT_ROLE_INDEX,     /* names the shards */
    CKPT_ROLE_MARKER,    /* see MARK */
    CKPT_ROLE_METRICS,   /* see METRICS, which other roles may have as well */
    CKPT_ROLE_TEMPORARY, /* never a checkpoint; to be looked at anew when it is renamed */
};

enum ckpt_mark {
    CKPT_MARK_NONE,
    CKPT_MARK_DONE,       /* in a checkpoint directory, written last */
    CKPT_MARK_NAMES,      /* in the run: its text names the checkpoint that is complete */
    CKPT_MARK_UNFINISHED, /* beside ROOT: as long as it is there, ROOT is incomplete */
};

enum ckpt_metric_source {
    CKPT_LOGS_NONE,
    CKPT_LOGS_TRAINER_STATE, /* Transformers' trainer_state.json */
    CKPT_LOGS_CSV,           /* Lightning, Keras' CSVLogger, Ray's progress.csv, ultralytics */
    CKPT_LOGS_TFEVENTS,
    CKPT_LOGS_MLFLOW,
    CKPT_LOGS_JSON_LINES, /* Ray's result.json, detectron2's metrics.json */
    CKPT_LOGS_WANDB,
    CKPT_LOGS_OPTUNA,
    CKPT_LOGS_JSON, /* Transformers' eval_results.json */
};

/* A name that is used again and again for what has other names too, or is overwritten. */
enum ckpt_alias { CKPT_ALIAS_NONE, CKPT_ALIAS_LAST, CKPT_ALIAS_BEST, CKPT_ALIAS_FINAL };

enum { CKPT_GROUP_MAX = 160 };

struct ckpt_recognised {
    enum ckpt_role role;
    enum ckpt_framework framework;
    enum ckpt_mark mark;
    enum ckpt_metric_source metrics;
    enum ckpt_holds holds;
    enum ckpt_alias alias;
    bool directory;   /* the root is a directory */
    bool has_root;    /* false: belongs to none */
    size_t root_at;   /* the root's name in the path; what stands before it is the run's directory */
    size_t root_size; /* 0 with DIRECTORY: the run's directory itself */
    size_t member_at; /* where the path within a root directory begins */
    bool has_rank;
    uint64_t rank;
    bool has_shard;
    uint64_t shard;
    uint64_t shards;
    struct ckpt_naming naming; /* of the root, with the unit that its row gives to a bare number */
    char group[CKPT_GROUP_MAX]; /* equal for roots of one run that are one checkpoint: "step=400", "epoch=3
                                   seed=42", "last" */
};

/*
 * Recognises PATH, relative to a run or to any directory above it. CAPTURED: the file is kept because of
 * its size, so it is a checkpoint whatever it is called.
 */
void ckpt_recognise(const char *path, bool captured, struct ckpt_recognised *out);

/*
 * Whether two roots of one run are one checkpoint: GROUP says it, except that "epoch 3" also joins "epoch
 * 3, step 400".
 */
bool ckpt_recognise_joins(const struct ckpt_naming *a, const struct ckpt_naming *b);

/* The order in which files of one checkpoint are asked to stand for it, the fullest highest. */
unsigned ckpt_holds_fullness(enum ckpt_holds holds);

#endif
