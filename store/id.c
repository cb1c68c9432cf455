/*
 * Ids and checksums. The only file that knows xxhash.h.
 */
#include <assert.h>
#include <ckpt/id.h>
#include <string.h>

/* The code comes from the header, not from the shared library: only so may a hashing state live on
   the stack, whatever release of the library is installed later, and no hash needs an allocation.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

static_assert(sizeof(XXH128_canonical_t) == CKPT_ID_SIZE, "an id is one XXH3-128");

struct ckpt_id ckpt_id_of(uint64_t seed, uint8_t salt, const void *bytes, size_t n)
{
    struct ckpt_id id;
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_withSeed(bytes, n, seed + salt));
    memcpy(id.bytes, canonical.digest, sizeof id.bytes);
    return id;
}

uint64_t ckpt_checksum(uint64_t seed, const void *bytes, size_t n)
{
    return XXH3_64bits_withSeed(bytes, n, seed);
}

uint64_t ckpt_checksum2(uint64_t seed, const void *a, size_t na, const void *b, size_t nb)
{
    XXH3_state_t state;
    XXH3_INITSTATE(&state); /* reset looks at the old seed */
    /* These fail for a NULL state only (and, before 0.8.2, for a NULL input even of no bytes). */
    (void)XXH3_64bits_reset_withSeed(&state, seed);
    if (na > 0) {
        (void)XXH3_64bits_update(&state, a, na);
    }
    if (nb > 0) {
        (void)XXH3_64bits_update(&state, b, nb);
    }
    return XXH3_64bits_digest(&state);
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
