/*
 * zip archives, as torch.save, NumPy and Keras write them: entries are stored, not compressed (APPNOTE.TXT
 * 6.3.10 of PKWARE). Only the end record, the directory, the entries' local headers and torch's pickles are
 * read.
 */
#ifndef CKPT_STORE_ZIP_H
#define CKPT_STORE_ZIP_H

#include "container.h"

/* Adds the entries of all archives that stand one after another up to the end of the range. Errors: container.h. */
CKPT_MUST_USE enum ckpt_err ckpt_zip_read(struct ckpt_reading *reading, const struct ckpt_range *range);

#endif
