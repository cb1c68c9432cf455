/*
 * Live files, the part that only store/ needs. See also ckpt/live.h.
 */
#ifndef CKPT_STORE_LIVE_H
#define CKPT_STORE_LIVE_H

#include <ckpt/live.h>
#include <stdbool.h>

CKPT_MUST_USE enum ckpt_err ckpt_live_set_stub(int fd, const struct ckpt_stub *stub);
CKPT_MUST_USE enum ckpt_err ckpt_live_clear_stub(int fd);
CKPT_MUST_USE enum ckpt_err ckpt_live_set_dir_id(int fd, uint64_t id);

/* Owner, mode, times and extended attributes (the cold attribute excepted). */
CKPT_MUST_USE enum ckpt_err ckpt_live_copy_metadata(int from, int to);

/*
 * Takes a read lease on FD (open for reading only): false while any descriptor or mapping of the file
 * can still write, which is the only way to see a mapping that outlived its descriptor. True where the
 * host has no leases. Until unlease, whoever opens it for writing waits.
 */
bool ckpt_live_lease(int fd);
void ckpt_live_unlease(int fd);

/* "a/b/c" -> PARENT "a/b" (PATH_MAX bytes; "." when there is none), *NAME "c" (into PATH). */
void ckpt_split_path(const char *path, char *parent, const char **name);

#endif
