/*
 * What bytes look like: how long their Huffman code would be, whether they repeat, whether they are numbers. Estimates, for choosing a
 * coding; whether they are right costs bytes, never correctness. They depend on the bytes alone, and not on the processor. Pure
 * functions; any thread.
 */
#ifndef CKPT_STORE_PROBE_H
#define CKPT_STORE_PROBE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CKPT_BYTES = 256 };

/* Adds the N bytes to the counts. */
void ckpt_probe_count(const uint8_t *bytes, size_t n, uint32_t counts[CKPT_BYTES]);

/* The size in bytes of a zstd block that has a Huffman code for bytes of these counts: within a few percent, its table included. */
float ckpt_probe_huffman(const uint32_t counts[CKPT_BYTES]);

/* The same without the table, and with the bias taken out that a small sample has. */
float ckpt_probe_sampled(const uint32_t counts[CKPT_BYTES]);

/* Whether a noticeable part of the 8-byte strings that start every STEP bytes has been there before: what Huffman codes can't see. Looks
   at no more than the first 32 KiB. */
bool ckpt_probe_repeats(const uint8_t *bytes, size_t n, size_t step);

struct ckpt_numbers {
    uint8_t width; /* bytes of a word, 2, 4 or 8; 0: these are no numbers, or none that byte planes help */
    uint8_t head;  /* bytes before the first word, less than the width */
};

/* Looks at samples of the N bytes. */
struct ckpt_numbers ckpt_probe_numbers(const uint8_t *bytes, size_t n);

#endif
