/*
 * CRC-32C (Castagnoli, RFC 3720 appendix B.4), as TensorBoard's event files have it. Pure; any thread.
 */
#ifndef CKPT_STORE_CRC32C_H
#define CKPT_STORE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t ckpt_crc32c(const void *bytes, size_t n);

#endif
