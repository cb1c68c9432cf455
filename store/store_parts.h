/*
 * The directory of a store: its parts and what they share.
 *
 *     store.c          opening and closing; what is asked of a store as a whole
 *     store_create.c   making a new one
 *     store_header.c   the FORMAT file
 *     store_lock.c     the lock and its holder
 *
 * DIR is the directory and DIRFD a descriptor of it. Each failure is told to REPORT, unless it says otherwise.
 */
#ifndef CKPT_STORE_PARTS_H
#define CKPT_STORE_PARTS_H

#include <ckpt/err.h>
#include <ckpt/id.h>
#include <ckpt/store.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>

#define CKPT_FORMAT_NAME     "FORMAT"
#define CKPT_STORE_ATTRIBUTE "user.ckptfs.store" /* of live/: the store's id, CKPT_ID_DIGITS digits without a NUL */

enum {
    CKPT_ID_DIGITS = CKPT_ID_HEX - 1,
    CKPT_CREATED_SIZE = 21, /* "YYYY-MM-DDThh:mm:ssZ" and NUL */
    CKPT_DIR_MODE = 0700,
    CKPT_OPEN_DIR = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
};

/* ---- store.c ---- */

/* Reports errno as "DIR: WHAT: ..." and returns it as an error. */
CKPT_MUST_USE enum ckpt_err ckpt_store_failure(const struct ckpt_report *report, const char *dir, const char *what);

/* Opens DIR and makes its path absolute (ABSOLUTE has PATH_MAX bytes). The caller closes *DIRFD. Host errors. */
CKPT_MUST_USE enum ckpt_err ckpt_store_open_dir(const char *dir, const struct ckpt_report *report, char *absolute,
                                                int *dirfd);

/* Syncs directory NAME in DIRFD. -1 and errno, reported to nobody. */
CKPT_MUST_USE int ckpt_store_sync_dir(int dirfd, const char *name);

/* Address space for the database, enough whatever happens: twice the host filesystem. Host errors, which are reported to
   nobody. */
CKPT_MUST_USE enum ckpt_err ckpt_store_map_size(int dirfd, size_t *size);

/* ---- store_header.c ---- */

/* What FORMAT says. */
struct ckpt_store_header {
    unsigned format;
    struct ckpt_id id;
    uint64_t seed;
    char created[CKPT_CREATED_SIZE];
};

/* NOT_STORE: there is no FORMAT, or it is something else's. FORMAT: it is a newer one. CORRUPT: it is damaged. Host
   errors. */
CKPT_MUST_USE enum ckpt_err ckpt_store_header_read(const char *dir, int dirfd, const struct ckpt_report *report,
                                                   struct ckpt_store_header *header);

/* Puts HEADER in place of the FORMAT that there may be; the names in the directory and in db/ are on the disk before it,
   and it is when this returns. tmp/FORMAT is on the way: must not be there, and may be left by a failure. Host errors. */
CKPT_MUST_USE enum ckpt_err ckpt_store_header_write(const char *dir, int dirfd, const struct ckpt_store_header *header,
                                                    const struct ckpt_report *report);

/* ---- store_lock.c ---- */

/* Takes the lock, which is STORE->lockfd from then on, and writes HOLDER (NULL: "pid N") into it. The descriptor is to be
   closed after an error, too. BUSY, host errors; told to STORE->report. */
CKPT_MUST_USE enum ckpt_err ckpt_store_lock(struct ckpt_store *store, const char *holder);

#endif
