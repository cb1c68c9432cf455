/*
 * A store: one directory that keeps the live files and every version of them.
 *
 *     STORE/FORMAT      text: format version, store id, hash seed, creation date (store/FORMAT.md)
 *     STORE/live/       the namespace, an ordinary directory tree
 *     STORE/pending/    hard links to closed files that are not in the database yet
 *     STORE/tmp/        files on their way to a name; emptied at every start
 *     STORE/ballast     space to be given up when the host is full
 *     STORE/db/         one LMDB environment
 *     STORE/lock        flock held by whoever may change the store; its text names the holder
 *     STORE/ctl.sock    control socket of the daemon, while mounted
 *
 * Thread rules: open and close from one thread; everything else from any thread. Open after
 * daemonising: an LMDB environment does not survive fork().
 */
#ifndef CKPT_STORE_H
#define CKPT_STORE_H

#include <ckpt/err.h>
#include <ckpt/id.h>
#include <stdbool.h>
#include <stdint.h>

struct ckpt_store;

enum { CKPT_STORE_FORMAT = 3 };

enum ckpt_access {
    CKPT_READ,  /* beside a running daemon; no lock is taken */
    CKPT_WRITE, /* takes STORE/lock: the only writer */
};

/*
 * Makes a new store in DIR, which must be missing or empty (its parent must exist). The store is
 * complete or absent: FORMAT is written last. Errors: EXISTS (DIR holds something else, or a store),
 * UNSUPPORTED (no user extended attributes on the host filesystem), host errors.
 */
CKPT_MUST_USE enum ckpt_err ckpt_store_create(const char *dir, const struct ckpt_report *report);

/*
 * Opens the store in DIR. HOLDER is one line that names this process to whoever finds the lock taken
 * ("ckptfs on /mnt/x, pid 17"); used with CKPT_WRITE only, a NULL means "pid N". REPORT is copied.
 * Errors: NOT_STORE, FORMAT (newer format), CORRUPT (damaged header, truncated database, live/ copied
 * without its extended attributes), BUSY (the report names the holder), host errors.
 */
CKPT_MUST_USE enum ckpt_err ckpt_store_open(const char *dir, enum ckpt_access access,
                                            const char *holder, const struct ckpt_report *report,
                                            struct ckpt_store **store);

/* Waits for nothing: stop the engine first. Releases the lock. NULL is fine. */
void ckpt_store_close(struct ckpt_store *store);

/* Who holds the store's lock now: 1 and its text in HOLDER, 0 when nobody, -1 when it can't be told. */
int ckpt_store_holder(const char *dir, char *holder, size_t size);

/* Absolute path of the store; lives as long as the store. */
const char *ckpt_store_path(const struct ckpt_store *store);

/* Directory descriptors (O_RDONLY|O_DIRECTORY) that live as long as the store; do not close. */
int ckpt_store_dirfd(const struct ckpt_store *store);
int ckpt_store_livefd(const struct ckpt_store *store);
int ckpt_store_pendingfd(const struct ckpt_store *store);
int ckpt_store_tmpfd(const struct ckpt_store *store);

const struct ckpt_report *ckpt_store_report(const struct ckpt_store *store);

/*
 * Once a sync or a commit has failed with an I/O error nothing may be promised as durable any more:
 * the store stops. ckpt_store_stop reports WHY (the first time) and makes every later change fail with
 * CKPT_ERR_STOPPED; reading goes on. ckpt_store_stopped is true from then on.
 */
void ckpt_store_stop(struct ckpt_store *store, const char *why);
bool ckpt_store_stopped(const struct ckpt_store *store);

/* Kept inside the transactions that change them; ckpt verify recounts them. Bytes and numbers. */
struct ckpt_counters {
    uint64_t logical;  /* sum of the sizes of all kept versions */
    uint64_t unique;   /* raw bytes of the distinct chunks and recipes */
    uint64_t stored;   /* record bytes of the distinct chunks and recipes */
    uint64_t objects;  /* distinct chunks and recipes */
    uint64_t versions; /* kept versions */
};

CKPT_MUST_USE enum ckpt_err ckpt_store_counters(struct ckpt_store *store, struct ckpt_counters *out);

struct ckpt_space {
    uint64_t host_free; /* bytes the daemon may still use on the host filesystem */
    uint64_t host_size; /* bytes of the host filesystem */
    uint64_t db_bytes;  /* bytes that the database occupies on the host (holes not counted) */
};

CKPT_MUST_USE enum ckpt_err ckpt_store_space(struct ckpt_store *store, struct ckpt_space *out);

#endif
