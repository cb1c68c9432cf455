/*
 * The rows of the tables runs, checkpoints, members, ids, processes, policies and fresh (FORMAT.md), and the checkpoint
 * as a value in memory.
 *
 * Each _in function works in a transaction of the caller. Errors as in db.h; CORRUPT: a row doesn't make sense.
 */
#ifndef CKPT_STORE_RUN_ROWS_H
#define CKPT_STORE_RUN_ROWS_H

#include "common/pack.h"
#include "object/db.h"
#include <ckpt/run.h>

/* ---- in memory ---- */

/* A checkpoint with nothing in it; a copy of all of it. NULL: no memory. */
struct ckpt_checkpoint *ckpt_checkpoint_new(void);
struct ckpt_checkpoint *ckpt_checkpoint_copy(const struct ckpt_checkpoint *c);
void ckpt_checkpoint_free(struct ckpt_checkpoint *c); /* NULL is fine */

/* Replaces the string *FIELD by a copy of TEXT (NULL: none). NOMEM: unchanged. */
CKPT_MUST_USE enum ckpt_err ckpt_text_set(char **field, const char *text);

/* One more member, or value, all zeros, at the end; NULL: no memory. Pointers to the others die. */
struct ckpt_member *ckpt_checkpoint_add_member(struct ckpt_checkpoint *c);
/* One more like FROM, which is another checkpoint's. NOMEM. */
CKPT_MUST_USE enum ckpt_err ckpt_checkpoint_copy_member(struct ckpt_checkpoint *c, const struct ckpt_member *from);
struct ckpt_value *ckpt_checkpoint_add_value(struct ckpt_checkpoint *c);
/* Takes version NUMBER of file NAME in directory DIR out of the members. A file that it had replaced within the checkpoint stands
   for its name again. A directory or set of shards that was complete is invalid then. Without any member left the checkpoint is
   dropped. False: it wasn't one. NAME isn't one of C's own. */
bool ckpt_checkpoint_lose_version(struct ckpt_checkpoint *c, uint64_t dir, const char *name, uint32_t number);
/* Sets the value of that name (made comparable by ckpt_metric_normalise); *CHANGED: it is news. It is only replaced
   by one from as good a source: what the user says, then metrics files, then the checkpoint's content, then its name. NOMEM. */
CKPT_MUST_USE enum ckpt_err ckpt_checkpoint_set_value(struct ckpt_checkpoint *c, const struct ckpt_value *value,
                                                      bool *changed);
/* NOMEM; *CHANGED: it wasn't there; it was there. */
CKPT_MUST_USE enum ckpt_err ckpt_checkpoint_add_tag(struct ckpt_checkpoint *c, const char *tag, bool *changed);
bool ckpt_checkpoint_remove_tag(struct ckpt_checkpoint *c, const char *tag);
bool ckpt_checkpoint_has_tag(const struct ckpt_checkpoint *c, const char *tag);

/* ---- checkpoints ---- */

/* A row, and what it was packed of. Parsing and packing again gives the same bytes. INVALID, before anything is packed: the row
   would not be read again (a number of 0, no root or group, a name that can't be one). */
CKPT_MUST_USE enum ckpt_err ckpt_checkpoint_pack(const struct ckpt_checkpoint *c, struct ckpt_pack *row);
CKPT_MUST_USE enum ckpt_err ckpt_checkpoint_parse(const struct ckpt_slice *key, const struct ckpt_slice *value,
                                                  struct ckpt_checkpoint **out);
/* The row as it is in the database; NOT_FOUND. */
CKPT_MUST_USE enum ckpt_err ckpt_checkpoint_get_in(struct ckpt_txn *txn, uint64_t run, uint32_t number,
                                                   struct ckpt_checkpoint **out);
/* Writes the row, and what leads to it: ids, and unless it is dropped a row in members for each of its members. INVALID as above,
   and nothing was written. */
CKPT_MUST_USE enum ckpt_err ckpt_checkpoint_put_in(struct ckpt_txn *txn, const struct ckpt_checkpoint *c);
/* ---- members (member_rows.c) ---- */

CKPT_MUST_USE enum ckpt_err ckpt_member_put_in(struct ckpt_txn *txn, const struct ckpt_checkpoint *c,
                                               const struct ckpt_member *m);
/* Whether M's version leads back to C. */
CKPT_MUST_USE enum ckpt_err ckpt_member_has_in(struct ckpt_txn *txn, const struct ckpt_checkpoint *c,
                                               const struct ckpt_member *m, bool *has);

/* Before a member's version is dropped: the version isn't this checkpoint's any more. *LAST: nor of any other. */
CKPT_MUST_USE enum ckpt_err ckpt_member_release_in(struct ckpt_txn *txn, const struct ckpt_checkpoint *c,
                                                   const struct ckpt_member *m, bool *last);

/* Calls FN for each checkpoint that the version is a member of, oldest first, until it returns false. */
typedef bool ckpt_holder_fn(void *arg, uint64_t run, uint32_t checkpoint);
CKPT_MUST_USE enum ckpt_err ckpt_member_each_holder_in(struct ckpt_txn *txn, uint64_t dir, const char *name,
                                                       uint32_t number, ckpt_holder_fn *fn, void *arg);

/* The version is about to be dropped: takes it out of every checkpoint that has it as a member (ckpt_checkpoint_lose_version).
   Pictures in memory of their runs are to be read anew: ckpt_keeper_reload, ckpt_runs_reload. */
CKPT_MUST_USE enum ckpt_err ckpt_checkpoint_lose_version_in(struct ckpt_txn *txn, uint64_t dir, const char *name,
                                                            uint32_t number);

/* The runs that have a checkpoint with any version of this file as a member, *N of them, to be freed by the caller. */
CKPT_MUST_USE enum ckpt_err ckpt_member_runs(struct ckpt_store *store, uint64_t dir, const char *name, uint64_t **runs,
                                             size_t *n);

/* Takes a row apart. CORRUPT. */
struct ckpt_member_row {
    uint64_t dir;
    uint32_t number;
    char name[NAME_MAX + 1];
    uint64_t run;
    uint32_t checkpoint;
};
CKPT_MUST_USE enum ckpt_err ckpt_member_row_parse(const struct ckpt_slice *key, const struct ckpt_slice *value,
                                                  struct ckpt_member_row *out);

/* ---- runs ---- */

/* As ckpt_checkpoint_pack; INVALID: it has no next number. */
CKPT_MUST_USE enum ckpt_err ckpt_run_pack(const struct ckpt_run *run, struct ckpt_pack *row);
CKPT_MUST_USE enum ckpt_err ckpt_run_parse(const struct ckpt_slice *key, const struct ckpt_slice *value,
                                           struct ckpt_run *out);
CKPT_MUST_USE enum ckpt_err ckpt_run_put_in(struct ckpt_txn *txn, const struct ckpt_run *run);
/* The run with all of its checkpoints; NOT_FOUND. */
CKPT_MUST_USE enum ckpt_err ckpt_run_load_in(struct ckpt_txn *txn, uint64_t dir, struct ckpt_run **out);
CKPT_MUST_USE enum ckpt_err ckpt_run_exists_in(struct ckpt_txn *txn, uint64_t dir, bool *exists);

/* ---- processes: hash of the text -> text ---- */

uint64_t ckpt_process_id(const char *json);
CKPT_MUST_USE enum ckpt_err ckpt_process_put_in(struct ckpt_txn *txn, const char *json, uint64_t *process);
CKPT_MUST_USE enum ckpt_err ckpt_process_get_in(struct ckpt_txn *txn, uint64_t process, char **json);

/* ---- policies ---- */

/* TEXT NULL: the directory has none from now on (NOT_FOUND: it had none). */
CKPT_MUST_USE enum ckpt_err ckpt_policy_put_in(struct ckpt_txn *txn, uint64_t dir, const char *text, int64_t changed_ns);
/* That of this directory itself. NOT_FOUND. */
CKPT_MUST_USE enum ckpt_err ckpt_policy_get_in(struct ckpt_txn *txn, uint64_t dir, char **text, int64_t *changed_ns);

/* ---- fresh: captures that nobody has looked at yet ---- */

struct ckpt_fresh {
    uint64_t sequence; /* of the capture that made it fresh: also a file that was saved again with the same content */
    uint64_t dir;
    uint32_t number;
    char name[NAME_MAX + 1];
};

/* Takes a row apart. CORRUPT. */
CKPT_MUST_USE enum ckpt_err ckpt_fresh_parse(const struct ckpt_slice *key, const struct ckpt_slice *value,
                                             struct ckpt_fresh *out);
CKPT_MUST_USE enum ckpt_err ckpt_fresh_put_in(struct ckpt_txn *txn, const struct ckpt_fresh *fresh);
/* The version is fresh once more, with a sequence of its own (catalog_change.c). */
CKPT_MUST_USE enum ckpt_err ckpt_fresh_again_in(struct ckpt_txn *txn, const struct ckpt_version *version);
CKPT_MUST_USE enum ckpt_err ckpt_fresh_del_in(struct ckpt_txn *txn, uint64_t sequence);
/* The first one from SEQUENCE on. NOT_FOUND. */
CKPT_MUST_USE enum ckpt_err ckpt_fresh_next_in(struct ckpt_txn *txn, uint64_t sequence, struct ckpt_fresh *out);

#endif
