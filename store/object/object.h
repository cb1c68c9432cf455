/*
 * Objects: content-addressed, reference-counted byte strings (chunks and recipes) in the database.
 *
 * A put has two halves so that the work is done by many threads and the writing by one:
 * ckpt_object_prepare (any thread, its own read transaction) hashes, looks up, compares, encodes;
 * ckpt_object_commit (the writer) takes a reference or inserts the record.
 *
 *     object.c            putting and reading
 *     object_refs.c       the references to each; the last one takes it along
 *     object_counters.c   objects, versions and bytes in all
 */
#ifndef CKPT_STORE_OBJECT_H
#define CKPT_STORE_OBJECT_H

#include "chunk/codec.h"
#include "db.h"
#include "record.h"
#include <ckpt/err.h>
#include <ckpt/id.h>
#include <ckpt/store.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A row of the refs table. */
struct ckpt_refs {
    uint64_t count;
    uint32_t raw_size;
    uint32_t record_size;
    enum ckpt_kind kind;
    struct ckpt_coding coding;
    bool alone;              /* a difference from the state before it was tried and didn't pay */
    struct ckpt_id previous; /* the state before it, zero for none (lineage.h) */
};

/* One object on its way in. The caller sets the first part, owns RAW and RECORD (ckpt_record_bound bytes) and leaves both
   alone from prepare to commit. */
struct ckpt_draft {
    enum ckpt_kind kind;
    const void *raw;
    size_t raw_size;
    uint8_t width;       /* see struct ckpt_hint */
    struct ckpt_id base; /* an older state of the same size; zero for none */
    uint8_t *record;     /* scratch for the encoded record */

    size_t record_size; /* 0 when prepare found the object already stored and compared equal */
    struct ckpt_id id;
    uint8_t salt;
    struct ckpt_coding coding;
    bool alone;
    struct ckpt_id previous;
};

/* Fills what the caller hasn't set. */
CKPT_MUST_USE enum ckpt_err ckpt_object_prepare(struct ckpt_store *store, struct ckpt_codec *codec,
                                                struct ckpt_draft *draft);

/*
 * Adds one reference, inserting the record when the object is new; correct whatever has happened
 * between prepare and now (the object appeared, went, or another took its id). DRAFT->id is final
 * afterwards. *ADDED receives the record bytes that are new to the store (0 on a hit), *RECORD_SIZE
 * the object's record size in either case.
 */
CKPT_MUST_USE enum ckpt_err ckpt_object_commit(struct ckpt_store *store, struct ckpt_codec *codec,
                                               struct ckpt_txn *txn, struct ckpt_draft *draft,
                                               uint32_t *added, uint32_t *record_size);

/* The refs row of an object. NOT_FOUND. */
CKPT_MUST_USE enum ckpt_err ckpt_object_refs(struct ckpt_txn *txn, const struct ckpt_id *id,
                                             struct ckpt_refs *out);

/* Puts the row as it is, without a look at the object. insert: EXISTS when there is one. */
CKPT_MUST_USE enum ckpt_err ckpt_object_put_refs(struct ckpt_txn *txn, const struct ckpt_id *id,
                                                 const struct ckpt_refs *refs);
CKPT_MUST_USE enum ckpt_err ckpt_object_insert_refs(struct ckpt_txn *txn, const struct ckpt_id *id,
                                                    const struct ckpt_refs *refs);

/* One more reference to a stored object. NOT_FOUND. */
CKPT_MUST_USE enum ckpt_err ckpt_object_ref(struct ckpt_txn *txn, const struct ckpt_id *id);

/* One reference less; at zero the record goes with it and *GONE is true. NOT_FOUND. NEEDED: other chunks are differences
   from it; ckpt_lineage_free first. */
CKPT_MUST_USE enum ckpt_err ckpt_object_unref(struct ckpt_txn *txn, const struct ckpt_id *id,
                                              bool *gone);

/* Decodes and checks an object, with all that it is a difference from, into BUF, which has exactly its raw size.
   NOT_FOUND, CORRUPT. */
CKPT_MUST_USE enum ckpt_err ckpt_object_read(struct ckpt_store *store, struct ckpt_codec *codec,
                                             struct ckpt_txn *txn, const struct ckpt_id *id,
                                             enum ckpt_kind kind, void *buf, size_t size);

/* The same for a parsed record of TXN. */
CKPT_MUST_USE enum ckpt_err ckpt_object_decode(struct ckpt_store *store, struct ckpt_codec *codec,
                                               struct ckpt_txn *txn, const struct ckpt_record *record,
                                               void *buf);

/* ID is going to be read: has the host fetch its record and those that it is a difference from. */
void ckpt_object_prefetch(struct ckpt_txn *txn, const struct ckpt_id *id);

/* Puts another record in the place of a stored chunk's, for the same bytes. */
struct ckpt_recoded {
    struct ckpt_id id;
    const uint8_t *record;
    size_t record_size;
    struct ckpt_coding coding;
    bool alone;
    struct ckpt_id previous;
};
CKPT_MUST_USE enum ckpt_err ckpt_object_recode(struct ckpt_txn *txn, const struct ckpt_recoded *recoded);

/* Gives a chunk that is no difference another previous. */
CKPT_MUST_USE enum ckpt_err ckpt_object_relink(struct ckpt_txn *txn, const struct ckpt_id *id,
                                               const struct ckpt_id *previous);

/* The counters of the meta table; add() applies the differences (as two's complement). */
CKPT_MUST_USE enum ckpt_err ckpt_counters_get(struct ckpt_txn *txn, struct ckpt_counters *out);
CKPT_MUST_USE enum ckpt_err ckpt_counters_add(struct ckpt_txn *txn,
                                              const struct ckpt_counters *difference);

/* The next number, from 1, of those that the meta table's row KEY counts. CORRUPT: the row makes no sense. */
CKPT_MUST_USE enum ckpt_err ckpt_meta_next(struct ckpt_txn *txn, const char *key, uint64_t *number);

#endif
