/*
 * Cut points by a gear hash, with FastCDC's normalisation.
 *
 * Every byte shifts the hash left and adds its table entry, so the top bits depend on the last 64
 * bytes and nothing else. A cut stands where enough top bits are zero. No cut is looked for below
 * the minimum; up to the target it takes CUT_BITS_BEFORE zero bits, after it fewer, which narrows
 * the sizes.
 *
 * The expected size on random data, in KiB: 128 + 256 (1 - e^-0.5) + e^-0.5 * 64 (1 - e^-4) = 267.
 */
#include "chunker.h"

enum {
    WINDOW = 64, /* bytes that the hash remembers: its width */
    CUT_BITS_BEFORE = 18,
    CUT_BITS_AFTER = 16,
};

/* splitmix64 (Steele, Lea, Flood 2014): the next number of the sequence. */
static uint64_t splitmix64(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15;
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

void ckpt_chunker_init(struct ckpt_chunker *chunker, uint64_t seed)
{
    uint64_t state = seed;
    for (size_t i = 0; i < 256; i++) {
        uint64_t gear = 0;
        /* In a run of one byte the hash settles at gear * (2^64 - 1) = -gear. If that were a cut,
           such a run (a zeroed tensor) would fall into pieces of the minimum. */
        do {
            gear = splitmix64(&state);
        } while ((0 - gear) >> (64 - CUT_BITS_AFTER) == 0);
        chunker->gear[i] = gear;
    }
}

/* The position after the first byte of [FROM, TO) at which the hash is below LIMIT, else 0. */
static size_t scan(const uint64_t *gear, const uint8_t *bytes, size_t from, size_t to,
                   uint64_t limit, uint64_t *hash)
{
    uint64_t h = *hash;
    for (size_t i = from; i < to; i++) {
        h = (h << 1) + gear[bytes[i]];
        if (h < limit) {
            return i + 1;
        }
    }
    *hash = h;
    return 0;
}

size_t ckpt_chunker_cut(const struct ckpt_chunker *chunker, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    if (n <= CKPT_CHUNK_MIN) {
        return n;
    }
    size_t end = n < CKPT_CHUNK_MAX ? n : CKPT_CHUNK_MAX;
    size_t target = end < CKPT_CHUNK_TARGET ? end : CKPT_CHUNK_TARGET;

    /* Warm up over one window, so that a cut depends on the bytes before it and not on where the
       chunk began: that is what lets two files find each other again. */
    uint64_t hash = 0;
    for (size_t i = CKPT_CHUNK_MIN - WINDOW; i < CKPT_CHUNK_MIN; i++) {
        hash = (hash << 1) + chunker->gear[p[i]];
    }
    size_t cut = scan(chunker->gear, p, CKPT_CHUNK_MIN, target,
                      UINT64_C(1) << (64 - CUT_BITS_BEFORE), &hash);
    if (cut == 0) {
        cut = scan(chunker->gear, p, target, end, UINT64_C(1) << (64 - CUT_BITS_AFTER), &hash);
    }
    return cut != 0 ? cut : end;
}
