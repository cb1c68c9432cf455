/*
 * Ids and checksums, by the fastest code that the processor has.
 */
#include "hash.h"
#include <ckpt/id.h>
#include <string.h>

static const struct ckpt_hash *hash(void)
{
#ifdef CKPT_HASH_AVX2
    if (__builtin_cpu_supports("avx2")) {
        return &ckpt_hash_avx2;
    }
#endif
    return &ckpt_hash_any;
}

struct ckpt_id ckpt_id_of(uint64_t seed, uint8_t salt, const void *bytes, size_t n)
{
    return hash()->id(seed + salt, bytes, n);
}

uint64_t ckpt_checksum(uint64_t seed, const void *bytes, size_t n)
{
    return hash()->checksum(seed, bytes, n, NULL, 0);
}

uint64_t ckpt_checksum2(uint64_t seed, const void *a, size_t na, const void *b, size_t nb)
{
    return hash()->checksum(seed, a, na, b, nb);
}

bool ckpt_id_equal(const struct ckpt_id *a, const struct ckpt_id *b)
{
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

bool ckpt_id_is_zero(const struct ckpt_id *id)
{
    static const struct ckpt_id zero;
    return ckpt_id_equal(id, &zero);
}

void ckpt_id_hex(const struct ckpt_id *id, char out[CKPT_ID_HEX])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < CKPT_ID_SIZE; i++) {
        out[2 * i] = digits[id->bytes[i] >> 4];
        out[2 * i + 1] = digits[id->bytes[i] & 15];
    }
    out[CKPT_ID_HEX - 1] = '\0';
}
