/*
 * Numbers that stand as bytes: in a tensor of one element, in the pickle of a NumPy scalar. For pickle_machine.c and
 * inspect.c.
 */
#ifndef CKPT_STORE_PICKLE_NUMBER_H
#define CKPT_STORE_PICKLE_NUMBER_H

#include "pickle_value.h"

enum { CKPT_NUMBER_BYTES = 8 };

/* The bytes of an element of torch's TYPE, "FloatStorage"; 0: no number, or one that isn't known. */
uint8_t ckpt_number_width(struct ckpt_name type);

/* The number in the bytes of an element of TYPE, little-endian. False: TYPE isn't known. */
bool ckpt_number_of_element(struct ckpt_name type, const uint8_t bytes[CKPT_NUMBER_BYTES], double *number);

/* What the function numpy.core.multiarray.scalar makes of ARGS, as protocol 2 has them. False: no number that is
   known. */
bool ckpt_number_of_numpy(const struct ckpt_values *values, uint64_t args, double *number);

#endif
