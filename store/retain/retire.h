/*
 * Live names of versions: taking them away (retire.c) and giving them back (revive.c).
 */
#ifndef CKPT_STORE_RETIRE_H
#define CKPT_STORE_RETIRE_H

#include "engine/engine_parts.h"

/*
 * Taking live files away, as `rm` does; their versions stay. Engine thread, without a transaction; the hooks are called.
 *
 * A name that has gone, or is another file or version by now, isn't ours any more and hinders nothing. What only reading
 * can tell is read and compared. One of ours hinders while it is open for writing or mapped so, while a
 * closed file waits to become a version under its name, and, with ASK_OPEN, while it is open at all.
 *
 * check: *FREE: whether nothing hinders. Errors: a host call or the catalog failed.
 *
 * retire: BUSY when something hinders: then nothing was done, except when there are more than CKPT_RETIRE_GROUP names,
 *   which go in groups of so many. *REMOVED names and *BYTES host bytes that came free, also after an error. With
 *   ROOT_DIR (0: none), directories from that one downwards that have become empty by it go as well. When it returns
 *   OK all of that is on the disk, and only then may the versions be dropped. Readers keep what they have open.
 */
enum { CKPT_RETIRE_GROUP = 1024 };
CKPT_MUST_USE enum ckpt_err ckpt_retire_check(struct ckpt_engine *engine, const struct ckpt_live_name *names,
                                              size_t n, bool ask_open, bool *free);
CKPT_MUST_USE enum ckpt_err ckpt_retire(struct ckpt_engine *engine, const struct ckpt_live_name *names,
                                        size_t n, bool ask_open, uint64_t root_dir, size_t *removed,
                                        uint64_t *bytes);

/*
 * Gives live names back: each becomes a stub of its version, with its mode, owner and mtime; directories that are
 * missing are made again. A name that has that version's bytes already is left alone. EXISTS: one is taken by something else;
 * NOT_FOUND: there is no such version. After an error nothing has been changed, or it can't be synced. OK: on the disk.
 */
CKPT_MUST_USE enum ckpt_err ckpt_revive(struct ckpt_engine *engine, const struct ckpt_live_name *names,
                                        size_t n);

#endif
