/*
 * One chunk's bytes to its payload and back. The layout of a payload is in FORMAT.md and beside its
 * encoder.
 *
 *     codec.c    which coding, and the payloads
 *     attempt.c  what to try with each plane, and what it should take
 *     probe.c    estimates from counts; whether bytes are numbers, and of what width
 *     planes.c   words and differences to byte planes, and back
 *     groups.c   differences sorted by what they are differences from
 *     frame.c    zstd: the only file that knows zstd.h
 *
 * A struct ckpt_codec holds the scratch state of one thread.
 */
#ifndef CKPT_STORE_CODEC_H
#define CKPT_STORE_CODEC_H

#include <ckpt/err.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* On disk: never renumber. */
enum ckpt_codec_id {
    CKPT_CODEC_RAW = 0,     /* the bytes */
    CKPT_CODEC_ZSTD = 1,    /* one zstd frame */
    CKPT_CODEC_PLANES = 2,  /* words of WIDTH bytes as byte planes */
    CKPT_CODEC_DELTA = 3,   /* the differences from the words of a base, as byte planes */
    CKPT_CODEC_GROUPED = 4, /* the same, sorted by the base's exponents */
    CKPT_CODECS
};

/* How a payload was made; what decode needs besides the base's bytes. */
struct ckpt_coding {
    enum ckpt_codec_id id;
    uint8_t width; /* bytes of a word, 2, 4 or 8; 0 for raw and zstd */
};

/* What encode may use. */
struct ckpt_hint {
    uint8_t width; /* 1, 2, 4 or 8: the bytes start with a word of that size; 0: not known, probe */
    uint8_t chain; /* how many differences decoding it would go through with that base: each has to pay for itself */
    const void *base; /* as many bytes, of an older state of the same tensor; NULL for none */
};

struct ckpt_codec;

CKPT_MUST_USE enum ckpt_err ckpt_codec_create(struct ckpt_codec **codec);
void ckpt_codec_free(struct ckpt_codec *codec); /* NULL is fine */

/* Room that encode needs for N raw bytes. */
size_t ckpt_codec_bound(size_t n);

/* Whether decoding needs the base's bytes. */
bool ckpt_codec_needs_base(enum ckpt_codec_id id);

/* Encodes with whatever is smallest, within what DESIGN.md says about guessing; *CODING says which.
   HINT may be NULL, which is the same as all zero. OUT has ckpt_codec_bound(n) bytes. The same
   arguments always give the same payload. NOMEM. */
CKPT_MUST_USE enum ckpt_err ckpt_codec_encode(struct ckpt_codec *codec, const void *raw, size_t n,
                                              const struct ckpt_hint *hint, void *out,
                                              size_t *out_size, struct ckpt_coding *coding);

/* Encodes as ID and nothing else, however long that gets: to measure what the choice of encode is
   worth. INVALID where it can't be: no word of a known width, no base. */
CKPT_MUST_USE enum ckpt_err ckpt_codec_encode_as(struct ckpt_codec *codec, const void *raw,
                                                 size_t n, const struct ckpt_hint *hint,
                                                 enum ckpt_codec_id id, void *out, size_t *out_size,
                                                 struct ckpt_coding *coding);

/* Decodes exactly N bytes into RAW. BASE has N bytes where the coding needs one. CORRUPT for
   anything else than what encode makes, an unknown coding included; never reads or writes outside
   of what it is given. NOMEM. */
CKPT_MUST_USE enum ckpt_err ckpt_codec_decode(struct ckpt_codec *codec,
                                              const struct ckpt_coding *coding, const void *payload,
                                              size_t size, const void *base, void *raw, size_t n);

/* A buffer of SIZE bytes that lives until the next call with the same WHICH (0 to 3): for whoever
   decodes a chain of chunks. NULL: no memory. encode and decode don't use it. */
void *ckpt_codec_buffer(struct ckpt_codec *codec, unsigned which, size_t size);

#endif
