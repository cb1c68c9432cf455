/*
 * Lineage: which chunk is an earlier state of which.
 *
 * A chunk of a tensor may be stored as the difference from the same part of the tensor in the version before. Its refs row
 * then names that chunk as its PREVIOUS, and the table dependents has a row for it, so that whoever is to go finds
 * those that lean on him. A chunk that could have been a difference, but at the end of too long a chain, is stored
 * whole and names its previous all the same: so a later re-coding finds the way past it.
 *
 * Invariants: previous was in the store before the chunk was, so there are no circles; a chunk with dependents isn't
 * deleted; a chain of differences is at most store->depth long.
 */
#ifndef CKPT_STORE_LINEAGE_H
#define CKPT_STORE_LINEAGE_H

#include "chunk/codec.h"
#include "db.h"
#include "object.h"
#include <ckpt/engine.h>
#include <ckpt/err.h>
#include <ckpt/id.h>
#include <ckpt/store.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CKPT_LINEAGE_MAX = CKPT_DEPTH_MAX, /* no store has a longer chain of differences */
};

/* What a new chunk may use of an older one. */
struct ckpt_lineage {
    const void *bytes;       /* of the base, in one of the codec's buffers; NULL: it is to be stored whole */
    uint8_t chain;           /* differences that decoding it would go through */
    bool alone;              /* because differences don't pay in this tensor */
    struct ckpt_id previous; /* because the chain is long enough */
};

/* Looks at DRAFT->base, and reads it when DRAFT is to be tried as a difference from it. A base that isn't there or can't be
   read is none. Any thread. */
CKPT_MUST_USE enum ckpt_err ckpt_lineage_base(struct ckpt_store *store, struct ckpt_codec *codec,
                                              const struct ckpt_draft *draft, struct ckpt_lineage *out);

/* Rows of dependents. */
CKPT_MUST_USE enum ckpt_err ckpt_lineage_add(struct ckpt_txn *txn, const struct ckpt_id *previous,
                                             const struct ckpt_id *id);
CKPT_MUST_USE enum ckpt_err ckpt_lineage_del(struct ckpt_txn *txn, const struct ckpt_id *previous,
                                             const struct ckpt_id *id);
CKPT_MUST_USE enum ckpt_err ckpt_lineage_any(struct ckpt_txn *txn, const struct ckpt_id *previous,
                                             bool *any);
/* The first dependent after AFTER (zero: the first). NOT_FOUND at the end. */
CKPT_MUST_USE enum ckpt_err ckpt_lineage_next(struct ckpt_txn *txn, const struct ckpt_id *previous,
                                              const struct ckpt_id *after, struct ckpt_id *id);

/* Chunks that are about to go: nothing may be made to lean on them. */
struct ckpt_doomed;

/* Collects what all rows of garbage will release. NOMEM and errors of the database. */
CKPT_MUST_USE enum ckpt_err ckpt_doomed_collect(struct ckpt_store *store, struct ckpt_txn *txn,
                                                struct ckpt_doomed **out);
bool ckpt_is_doomed(const struct ckpt_doomed *doomed, const struct ckpt_id *id);
void ckpt_doomed_free(struct ckpt_doomed *doomed); /* NULL is fine */

/* A dependent of a chunk that goes, coded anew so that it leans on the nearest one before that stays, or on none. */
struct ckpt_rebase {
    struct ckpt_id id;
    uint8_t *buffer; /* of the record; freed by ckpt_rebase_clear */
    struct ckpt_recoded recoded;
    bool recode; /* false: only its previous changes */
};

/* Works out the new record. TXN may be any snapshot that has the chunk; DOOMED may be NULL. Any thread. */
CKPT_MUST_USE enum ckpt_err ckpt_rebase_prepare(struct ckpt_store *store, struct ckpt_codec *codec,
                                                struct ckpt_txn *txn, const struct ckpt_doomed *doomed,
                                                struct ckpt_rebase *rebase);
/* CHANGED: in TXN it isn't right any more; prepare again with TXN itself. */
CKPT_MUST_USE enum ckpt_err ckpt_rebase_commit(struct ckpt_store *store, struct ckpt_txn *txn,
                                               const struct ckpt_rebase *rebase);
void ckpt_rebase_clear(struct ckpt_rebase *rebase);

#endif
