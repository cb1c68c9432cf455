/*
 * One chunk's bytes to its payload and back. The only file that knows zstd.h is codec.c.
 *
 * A struct ckpt_codec holds the scratch state of one thread.
 */
#ifndef CKPT_STORE_CODEC_H
#define CKPT_STORE_CODEC_H

#include <ckpt/err.h>
#include <stddef.h>
#include <stdint.h>

enum ckpt_codec_id { CKPT_CODEC_RAW = 0, CKPT_CODEC_ZSTD = 1 };

struct ckpt_codec;

CKPT_MUST_USE enum ckpt_err ckpt_codec_create(struct ckpt_codec **codec);
void ckpt_codec_free(struct ckpt_codec *codec); /* NULL is fine */

/* Room that encode needs for N raw bytes. */
size_t ckpt_codec_bound(size_t n);

/* Encodes with whatever is smallest; *ID says which. OUT has ckpt_codec_bound(n) bytes. */
CKPT_MUST_USE enum ckpt_err ckpt_codec_encode(struct ckpt_codec *codec, const void *raw, size_t n,
                                              void *out, size_t *out_size, enum ckpt_codec_id *id);

/* Decodes exactly N bytes into RAW. CORRUPT for anything else, an unknown ID included. */
CKPT_MUST_USE enum ckpt_err ckpt_codec_decode(struct ckpt_codec *codec, enum ckpt_codec_id id,
                                              const void *payload, size_t size, void *raw, size_t n);

#endif
