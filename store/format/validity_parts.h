/*
 * The checks of validity.c, one for each format. Each says VALID, or INVALID and why. Errors: as
 * ckpt_validity_check.
 */
#ifndef CKPT_STORE_VALIDITY_PARTS_H
#define CKPT_STORE_VALIDITY_PARTS_H

#include "validity.h"

CKPT_MUST_USE enum ckpt_err ckpt_validity_zip(const struct ckpt_source *source,
                                              struct ckpt_validity_report *out);
CKPT_MUST_USE enum ckpt_err ckpt_validity_hdf5(const struct ckpt_source *source, uint64_t at,
                                               struct ckpt_validity_report *out);

/* Reads N bytes at OFFSET. False and *ERR: OK when they aren't all within the file, else IO. */
bool ckpt_validity_read(const struct ckpt_source *source, void *buf, size_t n, uint64_t offset,
                        enum ckpt_err *err);

__attribute__((format(printf, 2, 3))) void ckpt_validity_say(struct ckpt_validity_report *out,
                                                             const char *format, ...);

#endif
