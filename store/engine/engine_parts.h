/*
 * The parts of the engine and what they share.
 *
 *     engine.c     the thread: what to do next; start and stop
 *     steps.c      its steps, see steps.h
 *     commands.c   what others have it do: forget, demote
 *     flush.c      waiting for it, and what waits
 *     pending.c    the queue: pending/ and its picture in memory
 *     ingest.c     a pending file becomes a version,
 *                  with ingest_chunks.c (its bytes) and ingest_batch.c (the transaction, which files may share)
 *     origin.c     which process wrote a file, and which checkpoint it was trained from
 *     dirid.c      directory ids and their rows
 *     wanted.c     which closed files become versions
 *     capture.c    a closed file gets into pending/
 *     change.c     live files that must be changed safely: preserve, swap, exchange
 *     cold.c       cold live files: promote, name a stub
 *     hot.c        which live files are hot, and making them cold
 *     standing.c   whether a live name is a version
 *     gone.c       names that users have taken away
 *     needed.c     versions that a cold live file consists of
 *     reconcile.c  at start: live/ against the catalog
 *     notes.c      paths that the filesystem mentions, for publish/
 *     ballast.c    host space for forgetting on a full disk
 *
 * publish/ and retain/ are the same thread, see publish.h and retain.h.
 */
#ifndef CKPT_STORE_ENGINE_PARTS_H
#define CKPT_STORE_ENGINE_PARTS_H

#include "chunk/codec.h"
#include "chunk/pool.h"
#include "provenance/process.h"
#include <ckpt/engine.h>
#include <pthread.h>
#include <stdatomic.h>
#define HASH_NONFATAL_OOM 1 /* then an element that could not be added has no hh.tbl */
#include <uthash.h>

/* An inode with links in pending/. */
struct ckpt_held {
    struct {
        dev_t dev;
        ino_t ino;
    } key; /* padding is zeroed */
    unsigned links;        /* in pending/, for st_nlink */
    unsigned changing;     /* links that are just being made or removed */
    struct ckpt_job *jobs; /* in the queue, newest first */
    UT_hash_handle hh;
};

/* One entry of pending/: one name that is to get one version. A file that was captured under several names has
   as many. */
struct ckpt_job {
    uint64_t dir;
    uint64_t sequence; /* of the capture: the versions of a directory come in this order */
    char name[NAME_MAX + 1];
    uint64_t bytes;
    int64_t not_before; /* milliseconds, monotonic */
    bool running;
    bool recorded;      /* its version stands in a transaction that is not committed yet */
    bool writing;       /* left out until whoever has it open for writing is done */
    bool closing;       /* and he has closed it, as it seems */
    int64_t busy_since; /* milliseconds, monotonic: first found open for writing; 0: wasn't when last tried */
    bool failed;        /* could not be read; tried again now and then */
    bool lacks_space;      /* left out until there is room */
    uint64_t measured;     /* new bytes in the database, ... */
    uint64_t measured_at;  /* ... as it was when so many files had been recorded; 0 when not measured */
    struct ckpt_held *held;
    struct ckpt_job *twin; /* of the same inode */
    struct ckpt_job *prev; /* by sequence */
    struct ckpt_job *next;
};

/* A stamp to be saved with the next transaction. */
struct ckpt_saved_stamp {
    uint64_t dir;
    char name[NAME_MAX + 1];
    struct ckpt_stamp stamp;
    uint64_t hot_bytes;
    struct ckpt_saved_stamp *next;
};

/* A directory's row to be saved before the next version. */
struct ckpt_dir_row {
    uint64_t dir;
    uint64_t parent;
    char name[NAME_MAX + 1];
    struct ckpt_dir_row *next;
};

/* A name that isn't what it was: unlinked, moved away, or replaced by a rename; of a file or of a directory. */
struct ckpt_gone {
    struct ckpt_gone *prev;
    struct ckpt_gone *next;
    uint64_t dir; /* the directory that it stood in */
    bool removed; /* it was a directory, which is no more */
    char name[];
};

/* A call of another thread that the engine's thread carries out. */
struct ckpt_command {
    enum ckpt_err (*run)(struct ckpt_engine *engine, struct ckpt_command *command);
    const char *path;
    const uint32_t *numbers;
    size_t count;
    uint64_t files; /* what came of it */
    uint64_t bytes;
    enum ckpt_err result;
    bool done;
    struct ckpt_command *next;
};

struct ckpt_txn;
struct ckpt_keeper;
struct ckpt_publisher;
struct ckpt_retainer;

/* A path below live/ that somebody is to look at. */
struct ckpt_look {
    struct ckpt_look *next;
    char path[]; /* relative to live/ */
};

/* ---- what origin.c remembers; all of it with engine->lock ---- */

enum {
    CKPT_ORIGIN_PROCESSES = 64,
    CKPT_ORIGIN_READS = 4, /* distinct ones of a process */
    CKPT_ORIGIN_FILES = 512,
    CKPT_ORIGIN_OTHERS = 128, /* of them those that get their names later */
    CKPT_ORIGIN_CAPTURES = 512, /* more than one transaction has files */
};

/* Some version that a process has read. NUMBER 0: the one that was just being captured, most likely the newest; RECIPE is
   then that of the one before. */
struct ckpt_origin_version {
    bool known;
    uint64_t dir;
    char name[NAME_MAX + 1];
    uint32_t number;
    struct ckpt_id recipe;
};

/* Where a file comes from. Whoever is given one has a reference to PROCESS, until ckpt_origin_release. */
struct ckpt_origin_info {
    struct ckpt_process *process;
    struct ckpt_origin_version parent; /* what the process went on from */
    bool has_base;
    struct ckpt_id base; /* the recipe of the last big file that it had read */
};

struct ckpt_origin_read {
    struct ckpt_origin_version version;
    unsigned fullness; /* see fullness_of */
};

struct ckpt_origin_process {
    uint64_t used; /* when, in uses; 0: free */
    struct ckpt_process_key key;
    struct ckpt_process *process; /* a reference; NULL: hasn't written */
    struct ckpt_origin_read reads[CKPT_ORIGIN_READS]; /* oldest first */
    unsigned read_count;
    bool has_base;
    struct ckpt_id base;
    bool wrote; /* a checkpoint: PARENT is settled */
    struct ckpt_origin_version parent;
};

struct ckpt_origin_file {
    bool used;
    dev_t dev;
    ino_t ino;
    struct ckpt_origin_info info;
};

struct ckpt_origin_capture {
    bool used;
    uint64_t sequence; /* of the version */
    struct ckpt_origin_info info;
};

struct ckpt_origins {
    struct ckpt_process_host host; /* doesn't change */
    struct ckpt_origin_process processes[CKPT_ORIGIN_PROCESSES];
    uint64_t uses;
    struct ckpt_origin_file files[CKPT_ORIGIN_FILES];
    unsigned next_file;
    unsigned next_other;
    struct ckpt_origin_capture captures[CKPT_ORIGIN_CAPTURES];
    unsigned next_capture;
};

struct ckpt_engine {
    struct ckpt_store *store;
    struct ckpt_engine_config config;
    struct ckpt_pool *pool;
    struct ckpt_codec *codec;  /* the engine thread's */
    struct ckpt_ingest *ingest; /* the engine thread's */
    struct ckpt_sweeper *sweeper; /* the engine thread's */
    struct ckpt_keeper *keeper; /* the engine thread's */
    struct ckpt_publisher *publisher; /* the engine thread's */
    struct ckpt_retainer *retainer; /* the engine thread's */
    pthread_t thread;

    pthread_rwlock_t names; /* see ckpt_engine_names_lock */
    pthread_mutex_t capture; /* one capture links at a time; taken before lock */
    pthread_mutex_t rows;    /* one thread saves directory rows at a time; taken before lock */
    atomic_uint_fast64_t next_sequence;
    atomic_uint_fast64_t next_temporary;

    pthread_mutex_t lock; /* everything below */
    pthread_cond_t wake;  /* something for the engine's thread */
    pthread_cond_t quiet; /* a job or a command is done */
    struct ckpt_held *held; /* hash by inode */
    struct ckpt_job *jobs;  /* list by sequence */
    struct ckpt_origins origins;
    struct ckpt_saved_stamp *stamps;
    struct ckpt_dir_row *dir_rows;      /* oldest first */
    enum ckpt_err rows_error;           /* why they can't be saved, when it isn't the disk */
    struct ckpt_gone *gone;             /* oldest first */
    unsigned gone_count;
    bool gone_overflow;                 /* some were not kept: look at everything */
    struct ckpt_command *commands;      /* oldest first */
    struct ckpt_look *looks;            /* directories that have got their name by a rename */
    struct ckpt_look *notes;            /* files that may be logs, newest first */
    unsigned note_count;
    unsigned publish_asked;             /* somebody waits until all that was captured by now is published, ... */
    unsigned publish_done;              /* ... which has been done up to that one */
    bool publish_open;                  /* a file of an incomplete checkpoint was just being closed */
    bool publish_found;                 /* files that nobody had asked to capture: who waits waits for these too */
    unsigned finishing;                 /* jobs done whose pending entry is still to be unlinked */
    unsigned hurry;                     /* flushes waiting: don't let files settle */
    bool stop;
    bool no_space;
    bool look_again;     /* for a flush: don't wait for the next try to find space */
    unsigned rounds;     /* of looking for files that can be taken */
    bool missed;         /* a file could not be put aside for want of space: look for it when there is some */
    uint64_t hot_bytes; /* as last counted, plus what came since */
    bool hot_check;     /* count again */
    unsigned judging;   /* runs that are to be judged, for what has come of them */

    /* The engine thread's own. */
    bool sweep;            /* there may be garbage */
    bool swept;            /* some was released since pages were last punched */
    bool punch;            /* there may be free pages */
    bool short_of_space;   /* less than the reserve is free, and no file can be made cold */
    bool save_stuck;       /* stamps or rows could not be saved for want of space */
    bool ballast;          /* it is there */
    uint64_t recorded;     /* files that were recorded, plus one */
    int64_t space_retry;   /* milliseconds, monotonic */
    int64_t save_retry;
    int64_t missed_retry;
    int64_t next_hot_check;
    int64_t publish_retry;
    bool publish_failed;   /* and it was told */
};

#define CKPT_REPORT(engine) ckpt_store_report((engine)->store)

/* What the tables of a batch take, and more than any other transaction does on a full host. */
enum { CKPT_SPARE_BYTES = 4 << 20 };

/* ---- engine.c; any thread ---- */

int64_t ckpt_now_ms(void);      /* monotonic */
int64_t ckpt_realtime_ns(void); /* since the epoch */

/* ---- pending.c; thread rules as noted ---- */

/* Any thread, with engine->capture held: links FD into pending/ and queues it for DIR, NAME; or lets the job
   that it has for that name rest again. */
CKPT_MUST_USE enum ckpt_err ckpt_pending_add(struct ckpt_engine *engine, int fd, uint64_t dir,
                                             const char *name);
/* At start: queues what is there, clears what is broken. */
CKPT_MUST_USE enum ckpt_err ckpt_pending_load(struct ckpt_engine *engine);
/* "<dir>.<sequence>/<name>" of a job; PATH has CKPT_PENDING_PATH bytes. */
enum { CKPT_PENDING_PATH = 34 + NAME_MAX + 1 };
void ckpt_pending_path(const struct ckpt_job *job, char *path);
/* With engine->lock: the inode, when it has jobs or links, or NULL. */
struct ckpt_held *ckpt_pending_find(struct ckpt_engine *engine, dev_t dev, ino_t ino);
/* Whether a closed file waits to become a version of this name. */
bool ckpt_pending_has_name(struct ckpt_engine *engine, uint64_t dir, const char *name);
/* With engine->lock: the first job that can run now or NULL, with *WAIT the milliseconds until one may (-1: none
   known). Those of a directory run in the order of their captures. */
struct ckpt_job *ckpt_pending_next(struct ckpt_engine *engine, int64_t *wait);
/* With engine->lock: what was left out because this inode was open may be tried again. */
void ckpt_pending_retry(struct ckpt_engine *engine, dev_t dev, ino_t ino);
/* With engine->lock: the job's entry has become a link of the inode of ST, which only pending/ has. NOMEM: it isn't found by
   that inode, and needn't be. */
void ckpt_pending_rekey(struct ckpt_engine *engine, struct ckpt_job *job, const struct stat *st);
/* The job is in the database: takes it out of the queue, then out of pending/. The caller frees it. Engine thread. */
void ckpt_pending_finish(struct ckpt_engine *engine, struct ckpt_job *job);
/* Takes NAME in DIR out of the queue for good. *BYTES: host bytes that had no other name any more. Engine thread. */
CKPT_MUST_USE enum ckpt_err ckpt_pending_drop(struct ckpt_engine *engine, uint64_t dir,
                                              const char *name, uint64_t *files, uint64_t *bytes);
void ckpt_pending_free_all(struct ckpt_engine *engine);

/* ---- origin.c ---- */

void ckpt_origins_init(struct ckpt_engine *engine);
void ckpt_origins_clear(struct ckpt_engine *engine);

/* Who has written this inode, the last one that opened it. False: not known. Any thread. The caller releases *OUT, whose
   process may be incomplete. */
bool ckpt_origin_of(struct ckpt_engine *engine, const struct stat *st, struct ckpt_origin_info *out);
void ckpt_origin_release(struct ckpt_origin_info *info);

/* With engine->lock: COPY has the contents that the inode DEV, INO has now, which is about to get others. */
void ckpt_origin_copied(struct ckpt_engine *engine, dev_t dev, ino_t ino, const struct stat *copy);

/* Engine thread: the inode of ST is becoming the version with that sequence. What is known of it is kept under the sequence,
   also when the inode is written anew. A transaction that comes to nothing gives the sequence to another. */
void ckpt_origin_publish(struct ckpt_engine *engine, uint64_t sequence, const struct stat *st);

/* Engine thread, without a transaction: where the version with that sequence comes from, with a complete process. False: not
   known, or CKPT_ORIGIN_CAPTURES captures ago. The caller releases *OUT. */
bool ckpt_origin_of_capture(struct ckpt_engine *engine, uint64_t sequence, struct ckpt_origin_info *out);

/* ---- ingest*.c; engine thread ---- */

struct ckpt_ingest;
CKPT_MUST_USE enum ckpt_err ckpt_ingest_create(struct ckpt_engine *engine, struct ckpt_ingest **ingest);
void ckpt_ingest_free(struct ckpt_ingest *ingest); /* NULL is fine */
/*
 * Turns the job's file into a version, as part of a transaction that may hold several files. The transaction
 * is committed when it is big enough or by ckpt_ingest_commit; only then is the job finished. Errors abort the
 * transaction: its other jobs go back to the queue. CHANGED: try this one again. BUSY: open for writing.
 */
CKPT_MUST_USE enum ckpt_err ckpt_ingest_file(struct ckpt_ingest *ingest, struct ckpt_job *job);
CKPT_MUST_USE enum ckpt_err ckpt_ingest_commit(struct ckpt_ingest *ingest);

/* ---- dirid.c ---- */

/* The id of the directory FD in live/, giving it and its parents ids if need be; rows are queued. Any thread,
   with engine->capture held. */
CKPT_MUST_USE enum ckpt_err ckpt_dir_id_ensure(struct ckpt_engine *engine, int fd, uint64_t *id);
/* Writes the queued rows. Any thread, without engine->lock and without a transaction. */
CKPT_MUST_USE enum ckpt_err ckpt_dir_rows_save(struct ckpt_engine *engine);
/* Queues one row. */
CKPT_MUST_USE enum ckpt_err ckpt_dir_row_add(struct ckpt_engine *engine, uint64_t dir, uint64_t parent,
                                             const char *name);

/* ---- wanted.c ---- */

/* Whether the file NAME of SIZE bytes in DIRFD is to become a version when it is closed. Any thread. */
bool ckpt_capture_wanted(struct ckpt_engine *engine, int dirfd, const char *name, uint64_t size);

/* ---- capture.c ---- */

/* ckpt_engine_capture_name, whatever the file is called, for a file that was found under that name. *CAPTURED: it was queued; else
   it is its newest version already, can't be captured, or another one has the name by now. */
CKPT_MUST_USE enum ckpt_err ckpt_capture_whatever(struct ckpt_engine *engine, int fd, int dirfd, const char *name,
                                                  bool *captured);

/* ---- change.c ---- */

/* A name in tmp/ that nobody else gets; and a file of such a name, open for reading and writing, or -1 and errno. */
enum { CKPT_TEMPORARY = 17 };
void ckpt_temporary_name(struct ckpt_engine *engine, char name[CKPT_TEMPORARY]);
int ckpt_temporary(struct ckpt_engine *engine, char name[CKPT_TEMPORARY]);
/* The engine has done something to the inode FD that users are not to notice; BEFORE is its stat until then. */
void ckpt_touched(struct ckpt_engine *engine, const struct stat *before, int fd);
/* Moves tmp/TEMPORARY, which is FD, over the live file PATH, which WAS is the stat of; a stub or an empty file
   (STUB NULL). With the names locked for writing and the file claimed. */
CKPT_MUST_USE enum ckpt_err ckpt_exchange(struct ckpt_engine *engine, const char *path,
                                          const struct stat *was, const char *temporary, int fd,
                                          const struct ckpt_stub *stub);

/* ---- cold.c ---- */

/* ckpt_engine_name_stub, which waits for nothing: at start there is no thread that could be waited for. */
CKPT_MUST_USE enum ckpt_err ckpt_name_stub(struct ckpt_engine *engine, int fd, int dirfd,
                                           const char *name);

/* ---- hot.c ---- */

/* A stamp for the next transaction; all zero when FD can't be trusted to still be what was read. */
void ckpt_stamp_save(struct ckpt_engine *engine, uint64_t dir, const char *name,
                     const struct ckpt_stamp *stamp, uint64_t hot_bytes);
/* Engine thread: writes the queued stamps; lost ones cost another reading, no more. */
CKPT_MUST_USE enum ckpt_err ckpt_stamps_put(struct ckpt_engine *engine, struct ckpt_txn *txn);
/* A queued stamp that catalog rows don't have yet; with engine->lock. */
const struct ckpt_saved_stamp *ckpt_stamp_queued(struct ckpt_engine *engine, uint64_t dir,
                                                 const char *name);
/* Engine thread, without a transaction: demotes what the limits demand. *WORKED: something was done. */
CKPT_MUST_USE enum ckpt_err ckpt_hot_enforce(struct ckpt_engine *engine, bool *worked);
/* ASKED: somebody waits for the reason when it can't be done. */
CKPT_MUST_USE enum ckpt_err ckpt_hot_demote(struct ckpt_engine *engine, const char *path, bool asked);
/* Counts the host bytes of captured live files by looking at them. Any thread. */
CKPT_MUST_USE enum ckpt_err ckpt_hot_count(struct ckpt_engine *engine, uint64_t *bytes);

/* ---- needed.c ---- */

/* What a live name needs of the store: a cold file consists of that recipe. */
struct ckpt_needed {
    bool cold;
    struct ckpt_id recipe;
};
CKPT_MUST_USE enum ckpt_err ckpt_needed_find(struct ckpt_engine *engine, uint64_t dir, const char *name,
                                             struct ckpt_needed *needed);
/* *FOUND: how many of the versions NUMBERS[0..N) of NAME in DIR there are; *SURVIVES: what the live name needs is there
   without them. */
CKPT_MUST_USE enum ckpt_err ckpt_needed_survives_in(struct ckpt_txn *txn, const struct ckpt_needed *needed, uint64_t dir,
                                                    const char *name, const uint32_t *numbers, size_t n, size_t *found,
                                                    bool *survives);

/* ---- commands.c ---- */

/* Has the engine's thread run it between two steps, and waits for it. Another thread. */
CKPT_MUST_USE enum ckpt_err ckpt_command_submit(struct ckpt_engine *engine, struct ckpt_command *command);
/* Releases what has become garbage, and gives the space back, now. Engine thread, without a transaction. */
void ckpt_give_back(struct ckpt_engine *engine);

/* ---- standing.c ---- */

/* Version NUMBER of that file is what should be live. */
struct ckpt_live_name {
    uint64_t dir;
    char name[NAME_MAX + 1];
    uint32_t number;
};

/*
 * Whether the live file NAME in DIR is known to be version NUMBER: by its stamp, or because it is a stub. Of several
 * versions with the same content it is the newest. False as well when only reading it could tell (its ctime has
 * moved, or it was stamped too early). Any thread.
 */
bool ckpt_live_is_version(struct ckpt_engine *engine, uint64_t dir, const char *name, uint32_t number);

/* Which version a live file with these bytes is: the newest that has them; 0: none. Any thread. */
CKPT_MUST_USE enum ckpt_err ckpt_live_number(struct ckpt_engine *engine, uint64_t dir, const char *name,
                                             const struct ckpt_id *recipe, uint32_t *number);
/* The directory DIR, open for reading; -1 in *FD when it isn't there any more. Any thread. */
CKPT_MUST_USE enum ckpt_err ckpt_live_open_dir(struct ckpt_engine *engine, uint64_t dir, int *fd);
/* What ITEM, which stands in DIRFD, is now. UNSURE: only reading can tell. *FD, for the caller to close, also after an
   error: an O_PATH descriptor of the file, or -1. *ST unless it is GONE. Any thread. */
enum ckpt_standing { CKPT_GONE, CKPT_OTHER, CKPT_SAME, CKPT_UNSURE };
CKPT_MUST_USE enum ckpt_err ckpt_live_look(struct ckpt_engine *engine, int dirfd, const struct ckpt_live_name *item,
                                           int *fd, struct stat *st, enum ckpt_standing *standing);
/* Reads an UNSURE one: SAME or OTHER. CHANGED: it was written meanwhile. Engine thread. */
CKPT_MUST_USE enum ckpt_err ckpt_live_compare(struct ckpt_engine *engine, const struct ckpt_live_name *item,
                                              int fd, const struct stat *st, enum ckpt_standing *standing);

/* ---- gone.c; any thread ---- */

/* The names that have gone since the last call, oldest first, for the caller to free. *OVERFLOW: there were too many, and
   any other may be gone as well. A name may be there again, and it may have been nothing that was captured. */
void ckpt_gone_take(struct ckpt_engine *engine, struct ckpt_gone **list, bool *overflow);
void ckpt_gone_free(struct ckpt_gone *list); /* NULL is fine */
/* The files that wait in pending/ may be gone as well: to be looked at when they are versions. */
void ckpt_gone_expect(struct ckpt_engine *engine);
/* Those of LIST, which becomes the engine's, are still to be looked at, before what has come since. */
void ckpt_gone_give_back(struct ckpt_engine *engine, struct ckpt_gone *list);

/* ---- reconcile.c ---- */

CKPT_MUST_USE enum ckpt_err ckpt_reconcile(struct ckpt_engine *engine);
/* Captures whatever differs from its newest version. Beside a running filesystem; engine thread, without a
   transaction. */
CKPT_MUST_USE enum ckpt_err ckpt_capture_missed(struct ckpt_engine *engine);

/* ---- notes.c; any thread ---- */

/* The directory PATH has got its name by a rename: what is in it may be a checkpoint now. */
void ckpt_look_at(struct ckpt_engine *engine, const char *path);
/* The file PATH was made, closed or renamed: it may be a log. */
void ckpt_note_path(struct ckpt_engine *engine, const char *path);

/* ---- ballast.c; engine thread ---- */

/* Makes the ballast when it isn't there and there is room for it. */
void ckpt_ballast_keep(struct ckpt_engine *engine);
/* Gives it up: true when that made room. */
bool ckpt_ballast_drop(struct ckpt_engine *engine);

#endif
