/*
 * The catalog inside a transaction of the caller, for the ingest (which publishes chunks, recipe and
 * version together) and for verify. What each does is told in ckpt/catalog.h.
 */
#ifndef CKPT_STORE_CATALOG_TXN_H
#define CKPT_STORE_CATALOG_TXN_H

#include "chunk/codec.h"
#include "object/db.h"
#include <ckpt/catalog.h>

/*
 * Like ckpt_catalog_put_version, but the caller hands over a reference to VERSION->recipe that it
 * already holds in TXN: when nothing is added the reference is given back.
 */
CKPT_MUST_USE enum ckpt_err ckpt_catalog_put_version_in(struct ckpt_store *store,
                                                        struct ckpt_codec *codec,
                                                        struct ckpt_txn *txn,
                                                        struct ckpt_version *version,
                                                        const struct ckpt_stamp *stamp,
                                                        uint64_t hot_bytes, bool *added);
CKPT_MUST_USE enum ckpt_err ckpt_catalog_set_stamp_in(struct ckpt_txn *txn, uint64_t dir,
                                                      const char *name,
                                                      const struct ckpt_stamp *stamp,
                                                      uint64_t hot_bytes);

/* NUMBER 0: the newest. NOT_FOUND. */
CKPT_MUST_USE enum ckpt_err ckpt_catalog_version_in(struct ckpt_txn *txn, uint64_t dir, const char *name,
                                                    uint32_t number, struct ckpt_version *out);

/* The kept versions of one file, oldest first. */
CKPT_MUST_USE enum ckpt_err ckpt_catalog_each_version_in(struct ckpt_txn *txn, uint64_t dir, const char *name,
                                                         ckpt_version_fn *fn, void *arg);
/* As ckpt_catalog_drop. */
CKPT_MUST_USE enum ckpt_err ckpt_catalog_drop_in(struct ckpt_store *store, struct ckpt_codec *codec, struct ckpt_txn *txn,
                                                 uint64_t dir, const char *name, const uint32_t *numbers, size_t n);

/* The kept versions of all files directly in DIR, the newest capture first, until FN returns false. */
CKPT_MUST_USE enum ckpt_err ckpt_catalog_each_capture_in(struct ckpt_txn *txn, uint64_t dir,
                                                         ckpt_version_fn *fn, void *arg);

/* Books a version that has its row as a capture of its directory. */
CKPT_MUST_USE enum ckpt_err ckpt_catalog_put_capture_in(struct ckpt_txn *txn,
                                                        const struct ckpt_version *version);

/* Each takes one row apart. CORRUPT. */

/* Of captures: version NUMBER of NAME is the capture SEQUENCE of directory DIR. */
struct ckpt_capture {
    uint64_t dir;
    uint64_t sequence;
    uint32_t number;
    char name[NAME_MAX + 1];
};
CKPT_MUST_USE enum ckpt_err ckpt_capture_parse(const struct ckpt_slice *key,
                                               const struct ckpt_slice *value,
                                               struct ckpt_capture *out);

CKPT_MUST_USE enum ckpt_err ckpt_version_parse(const struct ckpt_slice *key,
                                               const struct ckpt_slice *value,
                                               struct ckpt_version *out);
CKPT_MUST_USE enum ckpt_err ckpt_file_parse(const struct ckpt_slice *key,
                                            const struct ckpt_slice *value, struct ckpt_file *out);

/* Of dirs: directory DIR is (or last was) NAME in PARENT. Of dirnames: the same seen from the name. */
struct ckpt_dir {
    uint64_t dir;
    uint64_t parent;
    char name[NAME_MAX + 1];
};
CKPT_MUST_USE enum ckpt_err ckpt_dir_parse(const struct ckpt_slice *key,
                                           const struct ckpt_slice *value, struct ckpt_dir *out);
CKPT_MUST_USE enum ckpt_err ckpt_dirname_parse(const struct ckpt_slice *key,
                                               const struct ckpt_slice *value, struct ckpt_dir *out);

/* The row of a directory, of a file. NOT_FOUND. */
CKPT_MUST_USE enum ckpt_err ckpt_catalog_dir_in(struct ckpt_txn *txn, uint64_t dir,
                                                struct ckpt_dir *out);
CKPT_MUST_USE enum ckpt_err ckpt_catalog_file_in(struct ckpt_txn *txn, uint64_t dir,
                                                 const char *name, struct ckpt_file *out);

#endif
