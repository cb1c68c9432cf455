/*
 * The record: how one object (a chunk or a recipe) stands in the database. A record describes itself,
 * so that a tool can find and check it by scanning pages when the tree above it is lost. The layout
 * is in FORMAT.md and beside the encoder in record.c.
 */
#ifndef CKPT_STORE_RECORD_H
#define CKPT_STORE_RECORD_H

#include "chunk/codec.h"
#include <ckpt/err.h>
#include <ckpt/id.h>
#include <stddef.h>
#include <stdint.h>

enum {
    CKPT_RECORD_HEADER = 64,
    CKPT_CHUNK_RAW_MAX = 16 << 20, /* no chunk of any format is longer; a recipe may be (32 bits) */
};

enum ckpt_kind { CKPT_KIND_CHUNK = 1, CKPT_KIND_RECIPE = 2 };

struct ckpt_record {
    enum ckpt_kind kind;
    struct ckpt_coding coding;
    uint8_t salt;
    uint32_t raw_size;
    uint32_t payload_size;
    struct ckpt_id id;
    struct ckpt_id base;    /* of the chunk that decoding needs, of the same raw size; zero for none */
    const uint8_t *payload; /* into the parsed buffer */
};

/* What to encode. */
struct ckpt_recording {
    enum ckpt_kind kind;
    struct ckpt_id id;
    uint8_t salt;
    const void *raw;
    size_t raw_size;
    uint8_t width;          /* see struct ckpt_hint; 0 for a recipe */
    uint8_t chain;          /* see struct ckpt_hint */
    struct ckpt_id base_id; /* zero for none */
    const void *base;       /* its raw bytes, RAW_SIZE of them; NULL for none */
};

/* Room that ckpt_record_encode needs for N raw bytes. */
size_t ckpt_record_bound(size_t n);

/* Encodes a whole record into OUT (ckpt_record_bound(raw_size) bytes); *SIZE receives its length and *CODING how its payload
   was made: the record names the base only when that needs it. A recipe is never a difference.
   INVALID: no bytes, or too many for its kind. */
CKPT_MUST_USE enum ckpt_err ckpt_record_encode(struct ckpt_codec *codec, uint64_t seed,
                                               const struct ckpt_recording *recording, void *out,
                                               size_t *size, struct ckpt_coding *coding);

/* Checks magic, format, lengths and checksum, and takes the header apart. CORRUPT, or FORMAT when the
   record is of a newer kind than this program knows. */
CKPT_MUST_USE enum ckpt_err ckpt_record_parse(uint64_t seed, const void *bytes, size_t size,
                                              struct ckpt_record *out);

/* Decodes a parsed record into RAW (raw_size bytes) and checks the id of what came out. BASE: the raw bytes of the chunk
   that record->base names, NULL when that is zero. */
CKPT_MUST_USE enum ckpt_err ckpt_record_decode(struct ckpt_codec *codec, uint64_t seed,
                                               const struct ckpt_record *record, const void *base,
                                               void *raw);

#endif
