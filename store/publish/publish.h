/*
 * Publishing: what was captured becomes checkpoints, these become complete, and metrics find them.
 *
 *     publish.c           the step of the engine's thread
 *     publish_captures.c  fresh captures, a batch in one transaction
 *     publish_place.c     in which run a version stands, and what of its path names the checkpoint
 *     assemble.c          which checkpoint it belongs to
 *     publish_watch.c     what is incomplete
 *     publish_scan.c      what is in a checkpoint's directory now, and whether it is complete
 *     publish_gone.c      names that users have taken away
 *     publish_learn.c     metric files of the runs, and their values for checkpoints
 *
 * A capture is handled in one transaction: the checkpoint is written and the capture isn't fresh any more. So a crash at any
 * moment repeats at most what comes to the same.
 *
 * Thread rules: the engine's thread, without a transaction; where noted any thread.
 */
#ifndef CKPT_STORE_PUBLISH_H
#define CKPT_STORE_PUBLISH_H

#include "engine/engine_parts.h"
#include "metrics/series.h"
#include "recognise/recognise.h"
#include <ckpt/run.h>

struct ckpt_publisher;

CKPT_MUST_USE enum ckpt_err ckpt_publisher_create(struct ckpt_engine *engine, struct ckpt_publisher **publisher);
void ckpt_publisher_free(struct ckpt_publisher *publisher); /* NULL is fine */

/* Does what there is to do; *WORKED: something was done, and there may be more. */
CKPT_MUST_USE enum ckpt_err ckpt_publish_step(struct ckpt_publisher *publisher, bool *worked);
/* Milliseconds until something is to be looked at again; -1: nothing is. */
int64_t ckpt_publish_wait(const struct ckpt_publisher *publisher);

/* ---- for the parts ---- */

struct ckpt_completeness;
struct ckpt_sources;

/* A checkpoint that isn't complete yet. */
struct ckpt_watched {
    uint64_t run;
    uint32_t number;
    bool renamed;         /* its directory came from a temporary name */
    int64_t active_ms;    /* monotonic: when something of it was last recorded */
    int64_t next_ms;      /* when to look again */
    struct ckpt_watched *next;
};

/*
 * What its metrics files say; kept while the run is written to.
 *
 * News are mostly about the newest checkpoints, which are joined at once. What they are about beyond those, as when the first file of
 * a run with thousands of checkpoints turns up, waits in BACKLOG, of which a slice is joined now and then: so a step takes
 * as long with many checkpoints as with few.
 */
struct ckpt_learner {
    uint64_t run;
    struct ckpt_series *series;
    struct ckpt_sources *sources;
    struct ckpt_series_news news; /* not yet looked at */
    uint32_t joined;              /* number of the newest checkpoint that has been joined; 0: none */
    struct {
        struct ckpt_series_news news;
        size_t first; /* the checkpoints that it goes through, round and round, by index in the run's list */
        size_t end;
        size_t at;
        size_t left;     /* to be looked at; 0: it is done */
        int64_t next_ms; /* of the next slice */
    } backlog;
    int64_t next_ms;   /* of the next look at the files */
    int64_t read_ms;   /* of the last one */
    int64_t active_ms; /* last capture of the run */
    struct ckpt_learner *next;
};

enum { CKPT_PUBLISH_RENAMED = 16 };

struct ckpt_publisher {
    struct ckpt_engine *engine;
    struct ckpt_assembler *assembler;
    struct ckpt_watched *watched;
    struct ckpt_learner *learners;
    uint64_t *changed; /* runs that have something to judge, and to join */
    size_t changed_count;
    size_t changed_room;
    char renamed[CKPT_PUBLISH_RENAMED][PATH_MAX]; /* directories that came from a temporary name; the oldest give way */
    unsigned next_renamed;
    unsigned asked;    /* what somebody waits for: all was looked at for questions up to this one (engine->publish_asked) */
    bool checked_live; /* whether live files are still there was looked at since the start */
};

/* Where a version stands. */
struct ckpt_place {
    uint64_t run;
    char path[PATH_MAX];  /* relative to the run */
    size_t root_size;     /* so many bytes of it name the checkpoint; 0: it is one of a set in the run */
    char above[PATH_MAX]; /* relative to live/; ABOVE_SIZE bytes of it lead to the checkpoint, with its name */
    size_t above_size;
    struct ckpt_recognised what;
    bool skip; /* it is none: temporary, or a log or marker beside checkpoints */
};
CKPT_MUST_USE enum ckpt_err ckpt_publish_place(struct ckpt_publisher *publisher, const struct ckpt_version *version,
                                               struct ckpt_place *place);

/* What is fresh. *WORKED: something was; *FULL: there may be more. */
CKPT_MUST_USE enum ckpt_err ckpt_publish_captures(struct ckpt_publisher *publisher, bool *worked, bool *full);

/* C isn't complete: from now on it is looked at. RENAMED: its directory came from a temporary name. NOMEM. */
CKPT_MUST_USE enum ckpt_err ckpt_publish_watch(struct ckpt_publisher *publisher, const struct ckpt_checkpoint *c, bool renamed);
/* Those that it is time for. ASKED: somebody waits, so all of them. */
CKPT_MUST_USE enum ckpt_err ckpt_publish_check_all(struct ckpt_publisher *publisher, bool asked);
/* Whether the directory that the first N bytes of PATH name, relative to live/, has got its name by a rename. */
bool ckpt_publish_is_renamed(const struct ckpt_publisher *publisher, const char *path, size_t n);

/* Directories that were removed; then all names that have gone, and at first what is no longer there since the last start. */
CKPT_MUST_USE enum ckpt_err ckpt_publish_removed(struct ckpt_publisher *publisher);
CKPT_MUST_USE enum ckpt_err ckpt_publish_gone(struct ckpt_publisher *publisher, bool *worked);

/* Looks at a checkpoint that isn't complete. Captures what is in its directory and was not wanted by its name alone. */
CKPT_MUST_USE enum ckpt_err ckpt_publish_check(struct ckpt_publisher *publisher, const struct ckpt_run *run,
                                               const struct ckpt_checkpoint *c, const struct ckpt_watched *watched,
                                               struct ckpt_completeness *found);
/* Whether a file of a run is marked as unfinished (NeMo). */
bool ckpt_publish_is_unfinished(struct ckpt_publisher *publisher, const struct ckpt_run *run,
                                const struct ckpt_checkpoint *c);
/* Whether the live file of a member isn't there any more, or is another one for sure. */
bool ckpt_publish_is_gone(struct ckpt_publisher *publisher, const struct ckpt_member *m);
/* When it isn't, and that isn't known, C loses the member's file. */
CKPT_MUST_USE enum ckpt_err ckpt_publish_look_for(struct ckpt_publisher *publisher, struct ckpt_run *run,
                                                  struct ckpt_checkpoint *c, struct ckpt_member *m);
/* If the directory PATH (relative to live/) is a CHECKPOINT as a whole, everything in it is to be captured, or is fresh again. */
CKPT_MUST_USE enum ckpt_err ckpt_publish_look(struct ckpt_publisher *publisher, const char *path, bool *checkpoint);

/* Values for the checkpoints of RUN, from what its files say now. CAPTURED: there are new or changed ones. */
CKPT_MUST_USE enum ckpt_err ckpt_publish_learn(struct ckpt_publisher *publisher, struct ckpt_run *run, bool captured);
/* Looks at the files of all runs that it is time for; NOW: of all. */
CKPT_MUST_USE enum ckpt_err ckpt_publish_poll(struct ckpt_publisher *publisher, bool now);
/* Follows the files of a run to which nothing has been captured since the start, if there is room. */
CKPT_MUST_USE enum ckpt_err ckpt_publish_follow(struct ckpt_publisher *publisher, uint64_t run);
/* What was joined since the last commit is forgotten, and to be joined again. */
void ckpt_publish_unlearn(struct ckpt_publisher *publisher);
void ckpt_publish_learners_free(struct ckpt_publisher *publisher);

/* RUN has something to judge. NOMEM. */
CKPT_MUST_USE enum ckpt_err ckpt_publish_changed(struct ckpt_publisher *publisher, uint64_t run);

#endif
