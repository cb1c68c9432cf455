/*
 * The requests of ckpt/ctl.h that change what is known and kept of checkpoints.
 */
#ifndef CKPTFS_CTL_KEEP_H
#define CKPTFS_CTL_KEEP_H

#include "fs.h"
#include <jansson.h>

/* Carries out REQUEST if OP is one of them: *RESULT, and what the answer has besides. Any thread. */
bool ctl_keep(struct ckptfs *fs, const char *op, const json_t *request, json_t *answer, enum ckpt_err *result);

#endif
