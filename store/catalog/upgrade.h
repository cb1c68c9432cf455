/*
 * Brings the database of an older format to the present one (FORMAT.md, the table of versions).
 */
#ifndef CKPT_STORE_UPGRADE_H
#define CKPT_STORE_UPGRADE_H

#include <ckpt/err.h>
#include <ckpt/store.h>

/* From version FROM (1 or 2), in one transaction: all or nothing. STORE is open for writing, without threads. CORRUPT: something in it
   doesn't make sense, and nothing was changed. */
CKPT_MUST_USE enum ckpt_err ckpt_upgrade(struct ckpt_store *store, unsigned from);

#endif
