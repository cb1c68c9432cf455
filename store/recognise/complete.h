/*
 * Whether a checkpoint is complete: all that its framework writes is there, and nothing is being written.
 * (Whether each file of it makes sense is validity.h's matter.)
 *
 *     by a marker, written last       transformers (trainer_state.json), DCP (.metadata),
 *                                     torchsnapshot (.snapshot_metadata)
 *     by a text beside it             DeepSpeed (latest), Megatron-LM (latest_checkpointed_iteration.txt)
 *     by a rename                     orbax, some releases of transformers, all from a temporary name
 *     by a marker that has gone       NeMo (X-unfinished)
 *     by a quiet period               accelerate, Ray, diffusers, and directories of no known framework
 *     by being closed                 a single file
 *
 * Transformers up to 4.3x writes rng_state.pth behind trainer_state.json, and other ranks theirs at any
 * time: where one is to be expected and isn't there, or where there are several ranks, the marker is
 * followed by a quiet period.
 *
 * Pure: no I/O, nothing allocated. Thread rules: any thread.
 */
#ifndef CKPT_STORE_COMPLETE_H
#define CKPT_STORE_COMPLETE_H

#include "recognise.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ckpt_completion {
    CKPT_COMPLETION_NO, /* something is missing or being written; time alone doesn't change that */
    CKPT_COMPLETION_QUIET,      /* complete if nothing is written for a while: ask again then */
    CKPT_COMPLETION_YES,
};

struct ckpt_entry {
    const char *name; /* path within the root; of shards beside each other in a run, their names in the run */
    bool open;        /* for writing */
};

/* What is there. Everything is the caller's. */
struct ckpt_contents {
    const char *root; /* its name, the last component only */
    bool directory;   /* or a shard set, with ROOT "" */
    const struct ckpt_entry *entries; /* the files in it, sorted by strcmp; not looked at for a single file */
    size_t count;
    bool open;                  /* a single file is open for writing */
    bool unfinished;            /* ROOT-unfinished stands beside it (NeMo: without .ckpt, .nemo, -EMA) */
    bool renamed;               /* it came from a temporary name */
    const char *latest;         /* text of RUN/latest, NULL: there is none */
    const char *iteration;      /* text of RUN/latest_checkpointed_iteration.txt, NULL: there is none */
    const char *const *indexed; /* the files that the indexes in it name, as paths within the root */
    size_t indexed_count;
    uint64_t quiet;        /* seconds since the last write, creation or rename in it */
    uint64_t quiet_needed; /* how many make a quiet period */
};

struct ckpt_completeness {
    enum ckpt_completion state;
    enum ckpt_framework framework;
    char why[192]; /* for people: what is missing or being waited for, or what says that it is complete */
};

void ckpt_complete_check(const struct ckpt_contents *contents, struct ckpt_completeness *out);

/*
 * The name that the unfinished marker of ROOT has, without the suffix: NeMo takes off .ckpt, .nemo and
 * -EMA. Its length.
 */
size_t ckpt_complete_marked(const char *root);

#endif
