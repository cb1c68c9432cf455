/*
 * The names that frameworks give, as tables. For recognise.c and complete.c.
 *
 * Patterns: "#" is one or more digits, "*" is anything but a slash, "?" is a character. One without a slash
 * is compared with the last component of a path, one with a slash with as many as it has.
 */
#ifndef CKPT_STORE_RECOGNISE_ROWS_H
#define CKPT_STORE_RECOGNISE_ROWS_H

#include "recognise.h"

enum { CKPT_NUMBERS_MAX = 4 };

/* What the "#" of a pattern stood for. */
struct ckpt_numbers {
    uint64_t list[CKPT_NUMBERS_MAX];
    size_t count;
};

/* Whether the N bytes at TEXT are as PATTERN says. NUMBERS may be NULL. */
bool ckpt_pattern_match(const char *pattern, const char *text, size_t n, struct ckpt_numbers *numbers);

enum ckpt_unit { CKPT_UNIT_NONE, CKPT_UNIT_STEP, CKPT_UNIT_EPOCH, CKPT_UNIT_NUMBER };

/* When a directory of that name is a checkpoint. */
enum ckpt_trust {
    CKPT_TRUST_NAME,    /* always */
    CKPT_TRUST_MEMBERS, /* if the path goes on to a name that checkpoints have */
    CKPT_TRUST_TELLING, /* ... to one that nothing else has */
};

struct ckpt_directory_row {
    const char *pattern;
    enum ckpt_framework framework;
    enum ckpt_unit unit; /* of its last number */
    enum ckpt_trust trust;
};

struct ckpt_member_row {
    const char *pattern;
    enum ckpt_framework framework;
    enum ckpt_role role;
    enum ckpt_holds holds;
    bool telling;  /* the directory that has it is a checkpoint, whatever its name */
    bool has_rank; /* the first "#" is one */
};

struct ckpt_run_row {
    const char *pattern;
    enum ckpt_framework framework;
    enum ckpt_role role;
    enum ckpt_mark mark;
    enum ckpt_metric_source metrics;
};

/* The first row that fits, or NULL. NAME is one component, MEMBER a path within the root. */
const struct ckpt_directory_row *ckpt_directory_row_find(const char *name, size_t n,
                                                         struct ckpt_numbers *numbers);
const struct ckpt_member_row *ckpt_member_row_find(const char *member, size_t n,
                                                   struct ckpt_numbers *numbers);
const struct ckpt_run_row *ckpt_run_row_find(const char *name, size_t n);

/* Whether a file, or the root of a checkpoint, has the name of something temporary. */
bool ckpt_name_is_temporary(const char *name, size_t n);

/* Whether a directory on the way to a file has. Fewer are: people have runs in `tmp-ideas` and `.cache`. */
bool ckpt_directory_is_temporary(const char *name, size_t n);

/* Whether a file of that name is taken for a checkpoint. */
bool ckpt_name_is_checkpoint(const char *name, size_t n);

/* Whether one holds nothing but weights by its kind: safetensors, ONNX. */
bool ckpt_name_is_weights(const char *name, size_t n);

#endif
