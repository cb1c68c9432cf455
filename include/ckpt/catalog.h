/*
 * The catalog: which versions of which files the store keeps.
 *
 * A directory of live/ that holds (or leads to) a captured file carries a random 64-bit id in its
 * extended attribute "user.ckptfs.dir", so a history follows its directory through renames; the root
 * of live/ has id 0. A file is (directory id, name); its versions are numbered 1, 2, 3, ... and a
 * number is never used twice. A directory that was deleted keeps its row, so its history can still be
 * reached by the old path, and a new directory at that path adopts the id.
 *
 * Thread rules: any thread. Callbacks run inside a read transaction: be quick, don't call the catalog.
 */
#ifndef CKPT_CATALOG_H
#define CKPT_CATALOG_H

#include <ckpt/err.h>
#include <ckpt/id.h>
#include <ckpt/store.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { CKPT_DIR_ROOT = 0 };

/* What identifies the content of a live file without reading it. Without times it matches nothing and says only which
   inode the file was. */
struct ckpt_stamp {
    uint64_t ino;
    uint64_t size;
    int64_t mtime_ns;
    int64_t ctime_ns;
};

struct ckpt_version {
    uint64_t dir;
    char name[NAME_MAX + 1];
    uint32_t number;
    uint64_t sequence;   /* order of capture over the whole store */
    struct ckpt_id recipe;
    uint64_t size;       /* bytes of the file */
    uint64_t stored;     /* record bytes of all its chunks: what it costs alone */
    uint64_t added;      /* record bytes that were new to the store when it was captured */
    int64_t mtime_ns;    /* of the file when it was captured, since the epoch */
    int64_t captured_ns; /* wall clock of the capture */
    mode_t mode;
    uid_t uid;
    gid_t gid;
};

struct ckpt_file {
    uint64_t dir;
    char name[NAME_MAX + 1];
    uint32_t next_number;    /* the number that the next version gets */
    uint64_t sequence;       /* of the newest capture */
    struct ckpt_id recipe;   /* of the newest capture */
    struct ckpt_stamp stamp; /* of the live file when it was last known to equal that recipe */
    uint64_t hot_bytes;      /* host bytes of the live file; 0 when cold or gone */
};

/*
 * Splits PATH, relative to live/ ("run/a.pt"; no "..", leading "/" ignored), and finds the id of its
 * directory, for existing and for deleted directories. NAME (NAME_MAX + 1 bytes) receives the last
 * component, "" for the root. NOT_FOUND: the store has never captured anything there.
 */
CKPT_MUST_USE enum ckpt_err ckpt_catalog_resolve(struct ckpt_store *store, const char *path,
                                                 uint64_t *dir, char *name);

/* The id of the directory NAME in directory PARENT. */
CKPT_MUST_USE enum ckpt_err ckpt_catalog_subdir(struct ckpt_store *store, uint64_t parent,
                                                const char *name, uint64_t *dir);

/* Writes "a/b/c" (relative to live/, "" for the root) into PATH. Walks the catalog, not the disk. */
CKPT_MUST_USE enum ckpt_err ckpt_catalog_path(struct ckpt_store *store, uint64_t dir, char *path,
                                              size_t size);

/* NUMBER 0 means the newest. */
CKPT_MUST_USE enum ckpt_err ckpt_catalog_version(struct ckpt_store *store, uint64_t dir,
                                                 const char *name, uint32_t number,
                                                 struct ckpt_version *out);

/* The newest capture of any file directly in DIR that still has a version. */
CKPT_MUST_USE enum ckpt_err ckpt_catalog_latest(struct ckpt_store *store, uint64_t dir,
                                                struct ckpt_version *out);

CKPT_MUST_USE enum ckpt_err ckpt_catalog_file(struct ckpt_store *store, uint64_t dir,
                                              const char *name, struct ckpt_file *out);

/* A callback that returns false ends the walk. */
typedef bool ckpt_version_fn(void *arg, const struct ckpt_version *version);
typedef bool ckpt_file_fn(void *arg, const struct ckpt_file *file, uint32_t versions);
typedef bool ckpt_dir_fn(void *arg, uint64_t dir, const char *name);

/* The kept versions of one file, oldest first. */
CKPT_MUST_USE enum ckpt_err ckpt_catalog_each_version(struct ckpt_store *store, uint64_t dir,
                                                      const char *name, ckpt_version_fn *fn,
                                                      void *arg);

/* The files directly in DIR that have at least one version, by name. */
CKPT_MUST_USE enum ckpt_err ckpt_catalog_each_file(struct ckpt_store *store, uint64_t dir,
                                                   ckpt_file_fn *fn, void *arg);

/* Every file of the store, in no useful order. */
CKPT_MUST_USE enum ckpt_err ckpt_catalog_each_file_of_all(struct ckpt_store *store, ckpt_file_fn *fn,
                                                          void *arg);

/* The known directories directly in PARENT (live or deleted), by name. */
CKPT_MUST_USE enum ckpt_err ckpt_catalog_each_subdir(struct ckpt_store *store, uint64_t parent,
                                                     ckpt_dir_fn *fn, void *arg);

/*
 * Changes. Each is one transaction, durable when it returns. STOPPED after a failed sync.
 *
 * set_dir: directory DIR is NAME in PARENT from now on (new, renamed or moved).
 * put_version: records VERSION with a new number; its recipe must be in the store and gains a
 *   reference. When the newest kept version of the file has the same recipe nothing is added (*ADDED
 *   is false) and only the file's stamp moves. VERSION->number and ->sequence are filled in.
 * set_stamp: the live file was seen unchanged with STAMP, occupying HOT_BYTES.
 * drop: forgets versions, all N or none, and takes them out of the checkpoints that have them as members, so pictures in memory
 *   of these are to be read anew. Recipes that nothing else holds become garbage for the sweeper.
 *   The caller has made sure that no cold live file needs them (CKPT_ERR_NEEDED is the engine's job).
 */
CKPT_MUST_USE enum ckpt_err ckpt_catalog_set_dir(struct ckpt_store *store, uint64_t dir,
                                                 uint64_t parent, const char *name);
CKPT_MUST_USE enum ckpt_err ckpt_catalog_put_version(struct ckpt_store *store,
                                                     struct ckpt_version *version,
                                                     const struct ckpt_stamp *stamp,
                                                     uint64_t hot_bytes, bool *added);
CKPT_MUST_USE enum ckpt_err ckpt_catalog_set_stamp(struct ckpt_store *store, uint64_t dir,
                                                   const char *name, const struct ckpt_stamp *stamp,
                                                   uint64_t hot_bytes);
CKPT_MUST_USE enum ckpt_err ckpt_catalog_drop(struct ckpt_store *store, uint64_t dir,
                                              const char *name, const uint32_t *numbers,
                                              size_t n);

#endif
