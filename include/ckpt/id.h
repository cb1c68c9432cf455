/*
 * Identity of stored content: XXH3-128 with the store's seed, in canonical (big-endian) byte order.
 * Equal ids are a hint, not a proof: the store compares bytes on every deduplication hit.
 */
#ifndef CKPT_ID_H
#define CKPT_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CKPT_ID_SIZE = 16, CKPT_ID_HEX = 33 };

struct ckpt_id {
    uint8_t bytes[CKPT_ID_SIZE];
};

/* The id of N bytes. SALT is 0 except after a collision (see store/FORMAT.md, "objects"). */
struct ckpt_id ckpt_id_of(uint64_t seed, uint8_t salt, const void *bytes, size_t n);

/* XXH3-64 with a seed, the checksum of records. */
uint64_t ckpt_checksum(uint64_t seed, const void *bytes, size_t n);

/* XXH3-64 over two byte ranges, as if they stood one after the other. */
uint64_t ckpt_checksum2(uint64_t seed, const void *a, size_t na, const void *b, size_t nb);

bool ckpt_id_equal(const struct ckpt_id *a, const struct ckpt_id *b);
bool ckpt_id_is_zero(const struct ckpt_id *id);

/* Writes 32 lower-case hexadecimal digits and a NUL. */
void ckpt_id_hex(const struct ckpt_id *id, char out[CKPT_ID_HEX]);

#endif
