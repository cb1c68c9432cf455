/*
 * npy, one array of NumPy: a magic, a header that is a Python literal, then the elements
 * (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html, versions 1 to 3).
 */
#ifndef CKPT_STORE_NPY_H
#define CKPT_STORE_NPY_H

#include "container.h"

/* Adds everything after the header as one tensor. Errors: container.h. */
CKPT_MUST_USE enum ckpt_err ckpt_npy_read(struct ckpt_reading *reading, const struct ckpt_range *range);

#endif
