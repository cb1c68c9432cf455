/*
 * What the catalog knows of a file or a directory, collected: catalog callbacks must be quick.
 */
#ifndef CKPT_TOOL_LISTING_H
#define CKPT_TOOL_LISTING_H

#include "tool.h"
#include <ckpt/catalog.h>
#include <stddef.h>

/* How the live file stands to its newest version. */
enum live_state {
    LIVE_NONE,    /* this is not the newest version */
    LIVE_HOT,     /* its bytes are in the live file */
    LIVE_COLD,    /* the live file is a stub, its bytes are in the store */
    LIVE_CHANGED, /* the live file has other bytes: open, or waiting to be taken */
    LIVE_DELETED, /* there is no live file of that name */
};

struct listed_file {
    char *path; /* relative to live/ */
    struct ckpt_version newest;
    uint32_t versions;
    enum live_state state;
};

struct listed_dir {
    char *path;
    uint64_t dir;
};

struct listing {
    struct listed_file *files; /* in natural order: epoch_2 before epoch_10 */
    size_t n_files;
    struct listed_dir *dirs; /* directly below; when recursive: all that were visited */
    size_t n_dirs;
    bool failed; /* out of memory */
};

struct version_list {
    struct ckpt_version *versions; /* oldest first */
    size_t n;
    bool failed;
};

/* All files with versions in directory DIR, which is PATH ("" for the top); with RECURSIVE below it too. */
CKPT_MUST_USE enum ckpt_err listing_read(struct ckpt_store *store, const char *path, uint64_t dir,
                                         bool recursive, struct listing *listing);
void listing_free(struct listing *listing);

CKPT_MUST_USE enum ckpt_err version_list_read(struct ckpt_store *store, uint64_t dir,
                                              const char *name, struct version_list *list);
void version_list_free(struct version_list *list);

/* The state of the live file PATH against its newest kept version. */
enum live_state listing_state(struct ckpt_store *store, const char *path,
                              const struct ckpt_version *newest);

/* "hot", "cold", ...; "" for LIVE_NONE. */
const char *listing_state_name(enum live_state state);

/* A version as --json shows it. */
json_t *listing_json(const char *path, const struct ckpt_version *version, enum live_state state);

#endif
