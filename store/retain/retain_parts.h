/*
 * What retain.c knows of runs, for retain_space.c.
 */
#ifndef CKPT_STORE_RETAIN_PARTS_H
#define CKPT_STORE_RETAIN_PARTS_H

#include "retain.h"

/* What is known of the process that wrote last. */
enum ckpt_writer { CKPT_WRITER_UNKNOWN, CKPT_WRITER_LIVES, CKPT_WRITER_ENDED };

/* A run, and when it is to be judged. */
struct ckpt_due_run {
    uint64_t dir;
    bool due;         /* something has come of it: counted in engine->judging */
    bool unfinished;  /* names of hidden ones may still be there */
    bool failed;      /* told */
    bool unranked;    /* told */
    int64_t next_ns;  /* wall clock: a grace ends, it may be over; INT64_MAX: nothing known */
    int64_t ready_ms; /* monotonic: rests until then */
    int64_t missing_ms; /* monotonic: its directory is not there since; 0: it is */
    uint64_t process;   /* its last writer, whom the following is about; 0: not known */
    enum ckpt_writer writer;
    struct ckpt_process_key key; /* when he lived */
    UT_hash_handle hh;
};

struct ckpt_retainer {
    struct ckpt_engine *engine;
    struct ckpt_due_run *runs;
    bool loaded; /* all runs are in RUNS */
    bool hot;    /* live files of a policy with a limit have changed */
    int64_t load_ms; /* monotonic, as the others: not before */
    int64_t space_ms;
    int64_t orphans_ms;
    int64_t hot_ms;
};

/* What judging needs to know about other runs and about the store's use. */
struct ckpt_knowledge {
    struct ckpt_engine *engine;
    int64_t now_ns;
    uint64_t *parents; /* sorted */
    size_t n_parents;
    size_t room;
};

/* K->parents is the caller's to free, also after an error. */
CKPT_MUST_USE enum ckpt_err ckpt_retain_learn(struct ckpt_engine *engine, struct ckpt_knowledge *k);

/* What the policy says about run D as it is now. POLICY outlives JUDGEMENT. */
CKPT_MUST_USE enum ckpt_err ckpt_retain_look(struct ckpt_engine *engine, struct ckpt_due_run *d,
                                             const struct ckpt_knowledge *k, uint64_t bytes_wanted,
                                             struct ckpt_policy *policy, struct ckpt_run **run,
                                             struct ckpt_judgement *judgement);

/* The same, carried out. An error was reported and is tried again later. ROTATION is added to. */
CKPT_MUST_USE enum ckpt_err ckpt_retain_run(struct ckpt_engine *engine, struct ckpt_due_run *d, uint64_t bytes_wanted,
                                            struct ckpt_rotation *rotation);

/* Below the low-water mark, when making files cold doesn't help and what was released before has been given back. */
CKPT_MUST_USE enum ckpt_err ckpt_retain_space(struct ckpt_engine *engine, bool *worked);

#endif
