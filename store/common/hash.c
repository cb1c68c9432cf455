#include "hash.h"
#include <assert.h>
#include <string.h>

/* The code comes from the header, not from the shared library: only so may a hashing state live on
   the stack, whatever release of the library is installed later, and no hash needs an allocation.
 */
#define XXH_INLINE_ALL
#include <xxhash.h>

static_assert(sizeof(XXH128_canonical_t) == CKPT_ID_SIZE, "an id is one XXH3-128");

static struct ckpt_id id(uint64_t seed, const void *bytes, size_t n)
{
    struct ckpt_id made;
    XXH128_canonical_t canonical;
    XXH128_canonicalFromHash(&canonical, XXH3_128bits_withSeed(bytes, n, seed));
    memcpy(made.bytes, canonical.digest, sizeof made.bytes);
    return made;
}

static uint64_t checksum(uint64_t seed, const void *a, size_t na, const void *b, size_t nb)
{
    if (nb == 0) {
        return XXH3_64bits_withSeed(a, na, seed);
    }
    XXH3_state_t state;
    XXH3_INITSTATE(&state); /* reset looks at the old seed */
    /* These fail for a NULL state only (and, before 0.8.2, for a NULL input even of no bytes). */
    (void)XXH3_64bits_reset_withSeed(&state, seed);
    if (na > 0) {
        (void)XXH3_64bits_update(&state, a, na);
    }
    (void)XXH3_64bits_update(&state, b, nb);
    return XXH3_64bits_digest(&state);
}

#ifdef CKPT_HASH_FOR_AVX2
const struct ckpt_hash ckpt_hash_avx2 = {.id = id, .checksum = checksum};
#else
const struct ckpt_hash ckpt_hash_any = {.id = id, .checksum = checksum};
#endif
