/*
 * zstd frames: the only module that knows zstd.h.
 *
 * A frame carries its content size and neither a checksum (the record has one) nor a dictionary id.
 * A struct ckpt_frames holds zstd's state for one thread.
 */
#ifndef CKPT_STORE_FRAME_H
#define CKPT_STORE_FRAME_H

#include <ckpt/err.h>
#include <stddef.h>
#include <stdint.h>

/* Huffman's frames are of at most so many bytes. */
enum { CKPT_HUFFMAN_MAX = 16 << 20, CKPT_HUFFMAN_CUTS = 256 };

struct ckpt_frames;

CKPT_MUST_USE enum ckpt_err ckpt_frames_create(struct ckpt_frames **frames);
void ckpt_frames_free(struct ckpt_frames *frames); /* NULL is fine */

/* Room that either encoder needs for N bytes. */
size_t ckpt_frame_bound(size_t n);

/* An ordinary frame. NOMEM. */
CKPT_MUST_USE enum ckpt_err ckpt_frame_zstd(struct ckpt_frames *frames, const void *bytes, size_t n,
                                            void *out, size_t *size);

/* A frame of literals only, whose blocks end at the CUTS (offsets in order, the last one N): each
   block has its own Huffman table, or stands as it is when that is no gain. NOMEM. */
CKPT_MUST_USE enum ckpt_err ckpt_frame_huffman(struct ckpt_frames *frames, const void *bytes,
                                               size_t n, const uint32_t *cuts, size_t cut_count,
                                               void *out, size_t *size);

/* Decodes what must be exactly one frame of N bytes, N > 0. CORRUPT, NOMEM. */
CKPT_MUST_USE enum ckpt_err ckpt_frame_decode(struct ckpt_frames *frames, const void *frame,
                                              size_t size, void *bytes, size_t n);

#endif
