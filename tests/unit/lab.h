/*
 * What the tests of lineage, sweeper, base and pipeline share: a store with a codec and workers, and
 * chunks that are put into it by hand.
 */
#ifndef CKPT_TEST_LAB_H
#define CKPT_TEST_LAB_H

#include "unit.h"

#include "chunk/codec.h"
#include "chunk/pool.h"
#include "object/lineage.h"
#include "object/object.h"

struct lab {
    struct unit_store *u;
    struct ckpt_store *store;
    struct ckpt_codec *codec;
    struct ckpt_pool *pool;
};

static const struct ckpt_id lab_none;

/* cmocka fixtures: *STATE is a struct lab. */
static inline int lab_setup(void **state)
{
    struct lab *lab = calloc(1, sizeof *lab);
    void *u = NULL;
    assert_non_null(lab);
    assert_int_equal(unit_store_setup(&u), 0);
    lab->u = u;
    lab->store = lab->u->store;
    lab->store->depth = 4;
    assert_ok(ckpt_codec_create(&lab->codec));
    assert_ok(ckpt_pool_create(2, false, &lab->pool));
    *state = lab;
    return 0;
}

static inline int lab_teardown(void **state)
{
    struct lab *lab = *state;
    void *u = lab->u;
    ckpt_pool_free(lab->pool);
    ckpt_codec_free(lab->codec);
    assert_int_equal(unit_store_teardown(&u), 0);
    free(lab);
    return 0;
}

/* Stores N bytes of KIND, or takes one more reference to them, in TXN. BASE may be NULL; it has been
   committed. */
static inline struct ckpt_id lab_put_in(struct lab *lab, struct ckpt_txn *txn, enum ckpt_kind kind,
                                        const uint8_t *bytes, size_t n, const struct ckpt_id *base)
{
    struct ckpt_draft draft = {.kind = kind, .raw = bytes, .raw_size = n, .width = 4};
    uint32_t added = 0;
    uint32_t record_size = 0;
    if (base != NULL) {
        draft.base = *base;
    }
    draft.record = malloc(ckpt_record_bound(n));
    assert_non_null(draft.record);
    assert_ok(ckpt_object_prepare(lab->store, lab->codec, &draft));
    assert_ok(ckpt_object_commit(lab->store, lab->codec, txn, &draft, &added, &record_size));
    free(draft.record);
    return draft.id;
}

static inline struct ckpt_id lab_put(struct lab *lab, const uint8_t *bytes, size_t n,
                                     const struct ckpt_id *base)
{
    struct ckpt_txn *txn = NULL;
    assert_ok(ckpt_store_begin(lab->store, &txn));
    struct ckpt_id id = lab_put_in(lab, txn, CKPT_KIND_CHUNK, bytes, n, base);
    assert_ok(ckpt_store_commit(lab->store, txn));
    return id;
}

static inline bool lab_has(struct lab *lab, const struct ckpt_id *id)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_refs refs;
    assert_ok(ckpt_txn_read(lab->store->db, &txn));
    enum ckpt_err err = ckpt_object_refs(txn, id, &refs);
    ckpt_txn_abort(txn);
    assert_true(err == CKPT_OK || err == CKPT_ERR_NOT_FOUND);
    return err == CKPT_OK;
}

static inline struct ckpt_refs lab_refs(struct lab *lab, const struct ckpt_id *id)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_refs refs;
    assert_ok(ckpt_txn_read(lab->store->db, &txn));
    assert_ok(ckpt_object_refs(txn, id, &refs));
    ckpt_txn_abort(txn);
    return refs;
}

static inline bool lab_is_difference(struct lab *lab, const struct ckpt_id *id)
{
    return ckpt_codec_needs_base(lab_refs(lab, id).coding.id);
}

/* How many differences decoding ID goes through. */
static inline unsigned lab_depth(struct lab *lab, const struct ckpt_id *id)
{
    struct ckpt_refs refs = lab_refs(lab, id);
    unsigned depth = 0;
    for (; ckpt_codec_needs_base(refs.coding.id); depth++) {
        refs = lab_refs(lab, &refs.previous);
        assert_true(depth <= CKPT_LINEAGE_MAX);
    }
    return depth;
}

static inline bool lab_is_dependent(struct lab *lab, const struct ckpt_id *previous, const struct ckpt_id *id)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_slice value;
    uint8_t key[2 * CKPT_ID_SIZE];
    memcpy(key, previous->bytes, CKPT_ID_SIZE);
    memcpy(key + CKPT_ID_SIZE, id->bytes, CKPT_ID_SIZE);
    assert_ok(ckpt_txn_read(lab->store->db, &txn));
    enum ckpt_err err = ckpt_db_get(txn, CKPT_TABLE_DEPENDENTS, key, sizeof key, &value);
    ckpt_txn_abort(txn);
    assert_true(err == CKPT_OK || err == CKPT_ERR_NOT_FOUND);
    return err == CKPT_OK;
}

static inline uint64_t lab_rows(struct lab *lab, enum ckpt_table table)
{
    struct ckpt_txn *txn = NULL;
    uint64_t n = 0;
    assert_ok(ckpt_txn_read(lab->store->db, &txn));
    assert_ok(ckpt_db_count(txn, table, &n));
    ckpt_txn_abort(txn);
    return n;
}

/* Reads chunk ID of N bytes and compares it with EXPECTED when that went well. */
static inline enum ckpt_err lab_read(struct lab *lab, const struct ckpt_id *id, const uint8_t *expected,
                                     size_t n)
{
    struct ckpt_txn *txn = NULL;
    uint8_t *bytes = malloc(n);
    assert_non_null(bytes);
    assert_ok(ckpt_txn_read(lab->store->db, &txn));
    enum ckpt_err err = ckpt_object_read(lab->store, lab->codec, txn, id, CKPT_KIND_CHUNK, bytes, n);
    ckpt_txn_abort(txn);
    if (err == CKPT_OK) {
        assert_memory_equal(bytes, expected, n);
    }
    free(bytes);
    return err;
}

static inline void lab_set(struct lab *lab, enum ckpt_table table, const struct ckpt_id *id, const void *row,
                           size_t size)
{
    struct ckpt_txn *txn = NULL;
    assert_ok(ckpt_txn_write(lab->store->db, &txn));
    assert_ok(ckpt_db_put(txn, table, id->bytes, CKPT_ID_SIZE, row, size));
    assert_ok(ckpt_txn_commit(txn));
}

/* Changes the byte at AT (from the end when negative) of a row; the same again puts it right. */
static inline void lab_damage(struct lab *lab, enum ckpt_table table, const struct ckpt_id *id, int at)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_slice value;
    assert_ok(ckpt_txn_write(lab->store->db, &txn));
    assert_ok(ckpt_db_get(txn, table, id->bytes, CKPT_ID_SIZE, &value));
    uint8_t *row = malloc(value.size);
    assert_non_null(row);
    memcpy(row, value.data, value.size);
    row[at < 0 ? value.size - (size_t)-at : (size_t)at] ^= 0x40;
    assert_ok(ckpt_db_put(txn, table, id->bytes, CKPT_ID_SIZE, row, value.size));
    assert_ok(ckpt_txn_commit(txn));
    free(row);
}

/* Says in the refs row of ID that PREVIOUS is the state before it, and nowhere else. */
static inline void lab_lie(struct lab *lab, const struct ckpt_id *id, const struct ckpt_id *previous)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_slice value;
    uint8_t row[40];
    assert_ok(ckpt_txn_write(lab->store->db, &txn));
    assert_ok(ckpt_db_get(txn, CKPT_TABLE_REFS, id->bytes, CKPT_ID_SIZE, &value));
    assert_int_equal(value.size, sizeof row);
    memcpy(row, value.data, sizeof row);
    memcpy(row + 24, previous->bytes, CKPT_ID_SIZE);
    assert_ok(ckpt_db_put(txn, CKPT_TABLE_REFS, id->bytes, CKPT_ID_SIZE, row, sizeof row));
    assert_ok(ckpt_txn_commit(txn));
}

#endif
