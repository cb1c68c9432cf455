/*
 * The engine: everything that happens to a store behind the trainer's back. One thread takes closed
 * files from pending/ and makes versions of them, demotes hot files, forgets versions, releases what
 * nobody needs and gives free pages back; a pool of background workers hashes and encodes for it.
 *
 * The daemon runs one; the tool runs one when no daemon holds the store.
 *
 * Thread rules: start and stop from one thread; everything else from any thread. Calls marked "waits"
 * may block for as long as the engine's present step takes.
 */
#ifndef CKPT_ENGINE_H
#define CKPT_ENGINE_H

#include <ckpt/catalog.h>
#include <ckpt/err.h>
#include <ckpt/filter.h>
#include <ckpt/live.h>
#include <ckpt/reader.h>
#include <ckpt/run.h>
#include <ckpt/store.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

struct ckpt_engine;

/*
 * What the engine asks of a mounted filesystem. All NULL for a store that isn't mounted. Files are
 * named by host device and inode. No other lock of the engine is held when they are called than is said.
 */
struct ckpt_engine_hooks {
    /* Is it open for writing? Then its capture waits. With the names locked or not. */
    bool (*writing)(void *arg, dev_t dev, ino_t ino);
    /* It is, but all who have it open so have closed it, as the kernel has told already. May be NULL. */
    bool (*closing)(void *arg, dev_t dev, ino_t ino);
    /* About to exchange it for its stub, or to take its name away (READERS: those who read may keep it open). False when
       it is open or just being opened. After true, opens of it wait until disclaim, which is for all that have been
       claimed; to claim one again is fine. Called with the names locked or not; disclaim without. */
    bool (*claim)(void *arg, dev_t dev, ino_t ino, bool readers);
    void (*disclaim)(void *arg);
    /* Its last name has just been taken away; with the names locked and the file claimed. Whoever is about to open
       it for writing must look the name up once more, or what he writes would be lost. */
    void (*unlinked)(void *arg, dev_t dev, ino_t ino);
    /* The engine has taken the name of a file or directory away, or made one (a file or directory), in that directory: the
       kernel must be told. Called with nothing locked or claimed, but by the engine's thread, which others may be
       waiting for with a directory locked in the kernel: so it must not wait for the kernel. */
    void (*removed)(void *arg, dev_t dir_dev, ino_t dir_ino, const char *name, dev_t dev, ino_t ino);
    void (*appeared)(void *arg, dev_t dir_dev, ino_t dir_ino, const char *name);
    /* Its name has just passed to another inode, which is the same file to users: a stub of it (STUB), or an
       empty file (STUB is NULL). FD is an O_PATH descriptor of that one and ST its stat. Called with the names
       locked, so nobody has seen the name in between. */
    void (*exchanged)(void *arg, dev_t dev, ino_t ino, int fd, const struct stat *st,
                      const struct ckpt_stub *stub);
    /* The engine itself has just moved the ctime of a file or directory, which to users hasn't changed. */
    void (*touched)(void *arg, const struct stat *before, const struct stat *after);
};

/* The usual depth, and the most; store/DESIGN.md has the measurements. */
enum { CKPT_DEPTH = 5, CKPT_DEPTH_MAX = 64 };

/* The usual times. */
enum { CKPT_FINAL_MS = 10 * 60 * 1000, CKPT_QUIET_MS = 30 * 1000 };

struct ckpt_engine_config {
    unsigned threads;               /* background workers; 0: the number of cores, at most 4 */
    unsigned depth;                 /* a chunk is decoded through at most so many others (CKPT_DEPTH); 0: each alone */
    unsigned settle_ms;             /* a closed file rests this long before it is read */
    uint64_t hot_limit;             /* host bytes that captured live files may occupy */
    uint64_t reserve;               /* host bytes to leave free: below, demote, then give up what has a grace; and wait */
    unsigned final_ms;              /* a run to which nothing is written for so long is over; 0: CKPT_FINAL_MS */
    unsigned quiet_ms;              /* a checkpoint is complete when no file has come for so long; 0: CKPT_QUIET_MS */
    const struct ckpt_filter *filter; /* outlives the engine */
    struct ckpt_cache *cache;       /* for promotion; outlives the engine */
    struct ckpt_runs *runs;         /* to be kept up to date; outlives the engine; may be NULL */
    const char *mountpoint;         /* where the store is mounted, without symbolic links; NULL: nowhere. Outlives the engine */
    struct ckpt_engine_hooks hooks;
    void *hooks_arg;
};

/*
 * Empties tmp/, queues what pending/ holds, then compares live/ with the catalog and queues what changed
 * while nobody looked; then starts the thread. STORE must be open for writing.
 */
CKPT_MUST_USE enum ckpt_err ckpt_engine_start(struct ckpt_store *store,
                                              const struct ckpt_engine_config *config,
                                              struct ckpt_engine **engine);

/* Ends the thread after its present step. DRAIN: after the queue is empty (files that can't be taken
   stay in pending/ for the next start). Frees ENGINE; NULL is fine. */
void ckpt_engine_stop(struct ckpt_engine *engine, bool drain);

/*
 * The file FD was closed after being open for writing, or was moved. When it is one to capture and differs from
 * its newest version it is linked into pending/ and queued: from here on the trainer can't lose it. That goes for
 * each of its names that has versions or is to get some. OK when there is nothing to do. Host errors mean that it
 * is not safe yet. A file deeper than PATH_MAX has no name that a tool could say, and is not captured.
 */
CKPT_MUST_USE enum ckpt_err ckpt_engine_capture(struct ckpt_engine *engine, int fd);

/* The same for the one name NAME in directory DIRFD that FD has got (a hard link). */
CKPT_MUST_USE enum ckpt_err ckpt_engine_capture_name(struct ckpt_engine *engine, int fd, int dirfd,
                                                     const char *name);

/*
 * What THREAD (a thread id of the daemon's pid namespace) does, to find out who wrote a checkpoint and which one a run started
 * from: it has opened the live file FD, or a version, for reading; it has opened the live file FD for writing.
 */
void ckpt_engine_reads(struct ckpt_engine *engine, pid_t thread, int fd);
void ckpt_engine_reads_version(struct ckpt_engine *engine, pid_t thread, const struct ckpt_version *version);
void ckpt_engine_writes(struct ckpt_engine *engine, pid_t thread, int fd);

/* The file FD was made: it may be a log of metrics that is read while it is open. Cheap. (Closing and renaming are told by
   ckpt_engine_capture.) */
void ckpt_engine_note(struct ckpt_engine *engine, int fd);

/* Whether the inode waits in pending/: its bytes must not change before preserve or swap_empty. */
bool ckpt_engine_is_pending(struct ckpt_engine *engine, dev_t dev, ino_t ino);

/* fstat, with the links that users see: those from pending/ don't count. A count that is too high, once the kernel knows
   it, would keep the inode in its cache after the last unlink, and with it the file's space. */
CKPT_MUST_USE enum ckpt_err ckpt_engine_stat(struct ckpt_engine *engine, int fd, struct stat *st);

/* Gives pending/ a copy (a reflink where the host has them) of FD's bytes, so that the file may be changed in
   place. OK when it wasn't pending. */
CKPT_MUST_USE enum ckpt_err ckpt_engine_preserve(struct ckpt_engine *engine, int fd);

/* Puts a new empty file with the same owner, mode and attributes under FD's name; the old inode lives on in
   pending/, or was a stub, whose bytes are a version. The caller has claimed it and seen that nobody has it open and that
   it has one name. */
CKPT_MUST_USE enum ckpt_err ckpt_engine_swap_empty(struct ckpt_engine *engine, int fd);

/* Makes the cold file FD hot in place: its bytes are written and synced, then the attribute goes. With
   KEEP false the bytes aren't wanted (O_TRUNC): it becomes an empty hot file. OK when it is hot. */
CKPT_MUST_USE enum ckpt_err ckpt_engine_promote(struct ckpt_engine *engine, int fd, bool keep);

/* Before a cold file gets the name NAME in directory DIRFD (rename, link): records a version of that name,
   so that its bytes can't be forgotten under it; after those of files that were closed under that name before. Once more when
   the name was another file's: the engine may have captured that one meanwhile. OK and nothing for hot files. Waits. */
CKPT_MUST_USE enum ckpt_err ckpt_engine_name_stub(struct ckpt_engine *engine, int fd, int dirfd,
                                                  const char *name);

/* Before a directory is removed: what the catalog doesn't know yet about it nobody could find out after a crash, and the
   files that were closed in it would have no path. Waits when there is such a thing. */
void ckpt_engine_save_dirs(struct ckpt_engine *engine);

/* After the directory FD was renamed or moved. Waits when the catalog knows it. */
CKPT_MUST_USE enum ckpt_err ckpt_engine_dir_moved(struct ckpt_engine *engine, int fd);

/* After NAME in directory DIRFD was unlinked, moved away, replaced by a rename, or removed as a directory: remembers it for
   whoever keeps track of checkpoints. REMOVED: a directory was removed, so one that is there later is another one. Cheap. */
void ckpt_engine_name_gone(struct ckpt_engine *engine, int dirfd, const char *name, bool removed);

/*
 * Held for reading around every change of a name below live/ (create, link, unlink, rename, ...), and from looking
 * a name up until it is known which file that is; the engine holds it for writing while it exchanges the
 * file under a name.
 */
void ckpt_engine_names_lock(struct ckpt_engine *engine);
void ckpt_engine_names_unlock(struct ckpt_engine *engine);

/* Waits until everything closed so far is in the database, in its checkpoint, and judged by the policy. *STILL_OPEN: queued files that could not be taken
   because somebody has them open for writing. NOSPC: the queue is stuck on a full host. */
CKPT_MUST_USE enum ckpt_err ckpt_engine_flush(struct ckpt_engine *engine, unsigned *still_open);

/* Forgets versions NUMBERS[0..N) of the file PATH (relative to live/), or of nothing that isn't there
   (NOT_FOUND). NEEDED: a cold live file consists of one of them. All or nothing. Waits until the space
   has been given back. */
CKPT_MUST_USE enum ckpt_err ckpt_engine_forget(struct ckpt_engine *engine, const char *path,
                                               const uint32_t *numbers, size_t n);

/* Gives up what waits in pending/ under the name PATH: it becomes no version. For a full host, where a deleted file that
   waits keeps its space. A live file of that name stays. *BYTES: host bytes that came free. NOT_FOUND: nothing waits. Waits. */
CKPT_MUST_USE enum ckpt_err ckpt_engine_forget_pending(struct ckpt_engine *engine, const char *path,
                                                       uint64_t *files, uint64_t *bytes);

/* Makes the live file PATH cold, after comparing what is stored with it byte by byte. OK when it is cold already.
   BUSY: open, pending or hard-linked. NOT_FOUND: not captured. Waits. */
CKPT_MUST_USE enum ckpt_err ckpt_engine_demote(struct ckpt_engine *engine, const char *path);

struct ckpt_engine_status {
    uint64_t queued_files; /* waiting or in work */
    uint64_t queued_bytes;
    uint64_t hot_bytes;    /* host bytes of captured live files */
    uint64_t hot_limit;
    bool waiting_for_space;
    bool stopped;          /* see ckpt_store_stop */
};

void ckpt_engine_status(struct ckpt_engine *engine, struct ckpt_engine_status *out);

/* A file in pending/: where it was closed, and whether it still has a name in live/. */
typedef void ckpt_waiting_fn(void *arg, const char *path, uint64_t bytes, bool live);

/* The first MOST files that wait, oldest first. */
CKPT_MUST_USE enum ckpt_err ckpt_engine_each_waiting(struct ckpt_engine *engine, unsigned most,
                                                     ckpt_waiting_fn *fn, void *arg);

#endif
