/*
 * The parts of the catalog of directories, files and versions, and what they share.
 *
 *     catalog.c            reading: walks, single rows, paths
 *     catalog_rows.c       the keys and rows of dirs, dirnames, files and versions
 *     catalog_captures.c   the captures of a directory, in their order
 *     catalog_change.c     changes
 *
 * What others call stands in ckpt/catalog.h and catalog_txn.h. Each _in function works in a transaction of the caller;
 * errors as in db.h. CORRUPT: a row doesn't make sense.
 */
#ifndef CKPT_STORE_CATALOG_PARTS_H
#define CKPT_STORE_CATALOG_PARTS_H

#include "object/db.h"
#include <ckpt/catalog.h>

enum {
    CKPT_DIR_SIZE = 8,                                   /* bytes of a directory's id, in keys and in rows */
    CKPT_CATALOG_KEY = CKPT_DIR_SIZE + NAME_MAX + 1 + 4, /* of the longest key */
};

/* ---- catalog_rows.c ---- */

/* Each makes a key and returns its length. Of files and dirnames: directory id and name. */
size_t ckpt_catalog_name_key(uint8_t key[CKPT_CATALOG_KEY], uint64_t dir, const char *name);
/* Of versions: directory id, name, NUL, number. A name that begins with another stands apart from it. */
size_t ckpt_catalog_version_key(uint8_t key[CKPT_CATALOG_KEY], uint64_t dir, const char *name, uint32_t number);
/* What the keys of all versions of a file begin with. */
size_t ckpt_catalog_version_prefix(uint8_t key[CKPT_CATALOG_KEY], uint64_t dir, const char *name);

/* Whether KEY begins with the N bytes of PREFIX. N 0: any does. */
bool ckpt_slice_begins(const struct ckpt_slice *key, const uint8_t *prefix, size_t n);

/* Each writes its one row, in place of an older one with that key, and nothing else. */
CKPT_MUST_USE enum ckpt_err ckpt_file_put_in(struct ckpt_txn *txn, const struct ckpt_file *file);
CKPT_MUST_USE enum ckpt_err ckpt_version_put_in(struct ckpt_txn *txn, const struct ckpt_version *version);

/* ---- catalog.c ---- */

/* As ckpt_catalog_subdir. NOT_FOUND; *DIR is only changed when it is found. */
CKPT_MUST_USE enum ckpt_err ckpt_catalog_subdir_in(struct ckpt_txn *txn, uint64_t parent, const char *name,
                                                   uint64_t *dir);

/* ---- catalog_captures.c ---- */

/* The version is being dropped: it is no capture of its directory any more. CORRUPT: it was none. */
CKPT_MUST_USE enum ckpt_err ckpt_catalog_del_capture_in(struct ckpt_txn *txn, const struct ckpt_version *version);

#endif
