/*
 * Changing a database row by row, with a memory of what was there.
 */
#ifndef CKPT_TEST_CHANGED_ROWS_H
#define CKPT_TEST_CHANGED_ROWS_H

#include "unit.h"

#include "object/db.h"

enum { UNIT_ROW_KEY = 512 };

struct unit_row {
    enum ckpt_table table;
    uint8_t key[UNIT_ROW_KEY];
    size_t key_size;
    void *value; /* NULL: there was none */
    size_t size;
    struct unit_row *next;
};

/* Sets a row, or removes it (VALUE is NULL). */
static inline void unit_row_set(struct unit_row **list, struct ckpt_db *db, enum ckpt_table table, const void *key,
                              size_t key_size, const void *value, size_t size)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_slice old;
    struct unit_row *row = calloc(1, sizeof *row);
    assert_non_null(row);
    assert_true(key_size <= sizeof row->key);
    row->table = table;
    row->key_size = key_size;
    memcpy(row->key, key, key_size);
    assert_ok(ckpt_txn_write(db, &txn));
    if (ckpt_db_get(txn, table, key, key_size, &old) == CKPT_OK) {
        row->size = old.size;
        row->value = malloc(old.size + 1);
        assert_non_null(row->value);
        memcpy(row->value, old.data, old.size);
    }
    if (value != NULL) {
        assert_ok(ckpt_db_put(txn, table, key, key_size, value, size));
    } else {
        assert_ok(ckpt_db_del(txn, table, key, key_size));
    }
    assert_ok(ckpt_txn_commit(txn));
    row->next = *list;
    *list = row;
}

static inline void unit_row_undo(struct unit_row **list, struct ckpt_db *db)
{
    while (*list != NULL) {
        struct unit_row *row = *list;
        struct ckpt_txn *txn = NULL;
        assert_ok(ckpt_txn_write(db, &txn));
        if (row->value != NULL) {
            assert_ok(ckpt_db_put(txn, row->table, row->key, row->key_size, row->value, row->size));
        } else {
            assert_ok(ckpt_db_del(txn, row->table, row->key, row->key_size));
        }
        assert_ok(ckpt_txn_commit(txn));
        *list = row->next;
        free(row->value);
        free(row);
    }
}

#endif
