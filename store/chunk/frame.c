/*
 * zstd frames.
 */
#include "frame.h"
#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* For ZSTD_compressSequences: a sequence that is a literal only ends a block. */
#define ZSTD_STATIC_LINKING_ONLY
#include <zstd.h>
#include <zstd_errors.h>

enum {
    LEVEL = 3,
    HUFFMAN_LEVEL = 1,
    BLOCK_MAX = 128 << 10, /* zstd's own limit */
    BLOCKS_MAX = CKPT_HUFFMAN_MAX / BLOCK_MAX + CKPT_HUFFMAN_CUTS
};

struct ckpt_frames {
    ZSTD_CCtx *zstd;
    ZSTD_CCtx *huffman;
    ZSTD_DCtx *decoder;
    ZSTD_Sequence blocks[BLOCKS_MAX];
};

struct setting {
    ZSTD_cParameter parameter;
    int value;
};

static const struct setting zstd_settings[] = {
    {ZSTD_c_compressionLevel, LEVEL},
    {ZSTD_c_contentSizeFlag, 1},
    {ZSTD_c_checksumFlag, 0},
    {ZSTD_c_dictIDFlag, 0},
};

/* Nothing is searched for, so there is no need of tables to clear, nor of buffers between ours and
 * zstd's. */
static const struct setting huffman_settings[] = {
    {ZSTD_c_compressionLevel, HUFFMAN_LEVEL},
    {ZSTD_c_strategy, ZSTD_fast},
    {ZSTD_c_hashLog, 6},
    {ZSTD_c_chainLog, 6},
    {ZSTD_c_contentSizeFlag, 1},
    {ZSTD_c_checksumFlag, 0},
    {ZSTD_c_dictIDFlag, 0},
    {ZSTD_c_blockDelimiters, ZSTD_sf_explicitBlockDelimiters},
    {ZSTD_c_literalCompressionMode, ZSTD_ps_enable},
    {ZSTD_c_stableInBuffer, 1},
    {ZSTD_c_stableOutBuffer, 1},
};

static bool apply(ZSTD_CCtx *context, const struct setting *settings, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (ZSTD_isError(
                ZSTD_CCtx_setParameter(context, settings[i].parameter, settings[i].value))) {
            return false;
        }
    }
    return true;
}

enum ckpt_err ckpt_frames_create(struct ckpt_frames **frames)
{
    enum ckpt_err err = CKPT_ERR_NOMEM;
    struct ckpt_frames *f = calloc(1, sizeof *f);
    if (f == NULL) {
        goto out;
    }
    f->zstd = ZSTD_createCCtx();
    f->huffman = ZSTD_createCCtx();
    f->decoder = ZSTD_createDCtx();
    if (f->zstd == NULL || f->huffman == NULL || f->decoder == NULL ||
        !apply(f->zstd, zstd_settings, sizeof zstd_settings / sizeof zstd_settings[0]) ||
        !apply(f->huffman, huffman_settings,
               sizeof huffman_settings / sizeof huffman_settings[0])) {
        goto out;
    }
    *frames = f;
    f = NULL;
    err = CKPT_OK;
out:
    ckpt_frames_free(f);
    return err;
}

void ckpt_frames_free(struct ckpt_frames *frames)
{
    if (frames == NULL) {
        return;
    }
    (void)ZSTD_freeCCtx(frames->zstd);
    (void)ZSTD_freeCCtx(frames->huffman);
    (void)ZSTD_freeDCtx(frames->decoder);
    free(frames);
}

/* zstd's bound allows for a block header per 128 KiB; a cut adds 3 bytes of header. */
size_t ckpt_frame_bound(size_t n)
{
    return ZSTD_compressBound(n) + (size_t)4 * CKPT_HUFFMAN_CUTS;
}

enum ckpt_err ckpt_frame_zstd(struct ckpt_frames *frames, const void *bytes, size_t n, void *out,
                              size_t *size)
{
    size_t got = ZSTD_compress2(frames->zstd, out, ckpt_frame_bound(n), bytes, n);
    if (ZSTD_isError(got)) {
        /* With the bound as room and a buffer in memory only an allocation can fail. */
        return CKPT_ERR_NOMEM;
    }
    *size = got;
    return CKPT_OK;
}

enum ckpt_err ckpt_frame_huffman(struct ckpt_frames *frames, const void *bytes, size_t n,
                                 const uint32_t *cuts, size_t cut_count, void *out, size_t *size)
{
    size_t blocks = 0;
    size_t at = 0;
    assert(n > 0 && n <= CKPT_HUFFMAN_MAX);
    assert(cut_count > 0 && cut_count <= CKPT_HUFFMAN_CUTS && cuts[cut_count - 1] == n);
    for (size_t i = 0; i < cut_count; i++) {
        while (at < cuts[i]) {
            size_t length = cuts[i] - at < BLOCK_MAX ? cuts[i] - at : BLOCK_MAX;
            frames->blocks[blocks++] = (ZSTD_Sequence){.litLength = (unsigned)length};
            at += length;
        }
    }
    size_t got = ZSTD_compressSequences(frames->huffman, out, ckpt_frame_bound(n), frames->blocks,
                                        blocks, bytes, n);
    if (ZSTD_isError(got)) {
        return CKPT_ERR_NOMEM;
    }
    *size = got;
    return CKPT_OK;
}

/* Whether these are exactly one frame of N bytes. The decoder alone would also take several
   frames, skippable ones, and formats older than zstd 1.0. */
static bool is_one_frame(const uint8_t *frame, size_t size, size_t n)
{
    static const uint8_t magic[] = {0x28, 0xb5, 0x2f, 0xfd};
    return n > 0 && size >= sizeof magic && memcmp(frame, magic, sizeof magic) == 0 &&
           ZSTD_getFrameContentSize(frame, size) == n &&
           ZSTD_findFrameCompressedSize(frame, size) == size;
}

enum ckpt_err ckpt_frame_decode(struct ckpt_frames *frames, const void *frame, size_t size,
                                void *bytes, size_t n)
{
    if (!is_one_frame(frame, size, n)) {
        return CKPT_ERR_CORRUPT;
    }
    size_t got = ZSTD_decompressDCtx(frames->decoder, bytes, n, frame, size);
    if (ZSTD_isError(got)) {
        return ZSTD_getErrorCode(got) == ZSTD_error_memory_allocation ? CKPT_ERR_NOMEM
                                                                      : CKPT_ERR_CORRUPT;
    }
    return got == n ? CKPT_OK : CKPT_ERR_CORRUPT;
}
