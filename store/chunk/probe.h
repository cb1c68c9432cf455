/*
 * What bytes look like: how long their Huffman code would be, whether they repeat, whether they are
 * numbers. Estimates, for choosing a coding; whether they are right costs bytes, never correctness.
 * They depend on the bytes alone, and not on the processor. Pure functions; any thread.
 */
#ifndef CKPT_STORE_PROBE_H
#define CKPT_STORE_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CKPT_BYTES = 256 };

/* Adds the N bytes to the counts; or, for speed, one EVERY so many of their pieces. */
void ckpt_probe_count(const uint8_t *bytes, size_t n, unsigned every, uint32_t counts[CKPT_BYTES]);

/* What bytes would take, in bytes. */
struct ckpt_estimate {
    float entropy; /* what they tell, one by one */
    float code;    /* with a Huffman code, which has no less than a bit for each */
    float block;   /* as a block of a zstd frame: with the code's table, or as they are */
};

/* From counts that SCALE times as many bytes would have. */
struct ckpt_estimate ckpt_probe_estimate(const uint32_t counts[CKPT_BYTES], float scale);

/* Where to look for what has been there before. */
struct ckpt_glances {
    size_t step;  /* 8-byte strings that start every so many bytes are looked at */
    size_t look;  /* those in the first so many bytes */
    size_t piece; /* of each piece of so many */
};

/* Whether a noticeable part of these strings repeats one before: what Huffman codes can't see. At
 * most 64 KiB. */
bool ckpt_probe_repeats(const uint8_t *bytes, size_t n, const struct ckpt_glances *glances);

struct ckpt_numbers {
    uint8_t width; /* bytes of a word, 2, 4 or 8; 0: these are no numbers, or none that byte planes
                      help */
    uint8_t head;  /* bytes before the first word, less than the width */
};

/* Looks at samples of the N bytes. */
struct ckpt_numbers ckpt_probe_numbers(const uint8_t *bytes, size_t n);

#endif
