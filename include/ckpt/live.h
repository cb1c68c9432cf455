/*
 * One live file or directory on the host: stubs, stamps, directory ids, and where it stands.
 *
 * Descriptors may be O_PATH ones everywhere.
 */
#ifndef CKPT_LIVE_H
#define CKPT_LIVE_H

#include <ckpt/catalog.h>
#include <ckpt/err.h>
#include <ckpt/id.h>
#include <ckpt/store.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/* Extended attributes under this prefix are the store's own: never shown, never set by users. */
#define CKPT_XATTR_PREFIX "user.ckptfs."

/* What a cold file's attribute says. */
struct ckpt_stub {
    struct ckpt_id recipe;
    uint64_t size;
    uint64_t stored; /* record bytes of its chunks */
};

/* *COLD: whether FD is a stub, and then *STUB. CORRUPT when the attribute makes no sense. */
CKPT_MUST_USE enum ckpt_err ckpt_live_stub(int fd, struct ckpt_stub *stub, bool *cold);

/* The stamp of a file, from its stat. */
struct ckpt_stamp ckpt_stamp_of(const struct stat *st);
bool ckpt_stamp_equal(const struct ckpt_stamp *a, const struct ckpt_stamp *b);

/* The directory id of FD (a directory in live/, live/ itself included): NOT_FOUND when it has none. */
CKPT_MUST_USE enum ckpt_err ckpt_live_dir_id(struct ckpt_store *store, int fd, uint64_t *id);

/* Where FD stands now: its path relative to live/ ("" for the root). NOT_FOUND when it has no name any
   more, UNSUPPORTED when it stands deeper than PATH_MAX. PATH has PATH_MAX bytes. */
CKPT_MUST_USE enum ckpt_err ckpt_live_path(struct ckpt_store *store, int fd, char *path);

#endif
