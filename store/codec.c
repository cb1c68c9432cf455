/*
 * Payloads: raw, or one zstd frame. The only file that knows zstd.h.
 *
 * The frame carries its content size and neither a checksum (the record has one) nor a dictionary
 * id. Nothing is guessed before compressing: zstd gives up on incompressible data by itself and
 * quickly, and what comes out depends on the bytes alone.
 */
#include "codec.h"
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

enum { LEVEL = 3 };

struct ckpt_codec {
    ZSTD_CCtx *encoder;
    ZSTD_DCtx *decoder;
};

enum ckpt_err ckpt_codec_create(struct ckpt_codec **codec)
{
    enum ckpt_err err = CKPT_ERR_NOMEM;
    struct ckpt_codec *c = calloc(1, sizeof *c);
    if (c == NULL) {
        goto out;
    }
    c->encoder = ZSTD_createCCtx();
    c->decoder = ZSTD_createDCtx();
    if (c->encoder == NULL || c->decoder == NULL ||
        ZSTD_isError(ZSTD_CCtx_setParameter(c->encoder, ZSTD_c_compressionLevel, LEVEL)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(c->encoder, ZSTD_c_contentSizeFlag, 1)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(c->encoder, ZSTD_c_checksumFlag, 0)) ||
        ZSTD_isError(ZSTD_CCtx_setParameter(c->encoder, ZSTD_c_dictIDFlag, 0))) {
        goto out;
    }
    *codec = c;
    c = NULL;
    err = CKPT_OK;
out:
    ckpt_codec_free(c);
    return err;
}

void ckpt_codec_free(struct ckpt_codec *codec)
{
    if (codec == NULL) {
        return;
    }
    (void)ZSTD_freeCCtx(codec->encoder);
    (void)ZSTD_freeDCtx(codec->decoder);
    free(codec);
}

size_t ckpt_codec_bound(size_t n)
{
    return ZSTD_compressBound(n);
}

enum ckpt_err ckpt_codec_encode(struct ckpt_codec *codec, const void *raw, size_t n, void *out,
                                size_t *out_size, enum ckpt_codec_id *id)
{
    size_t size = ZSTD_compress2(codec->encoder, out, ckpt_codec_bound(n), raw, n);
    if (ZSTD_isError(size)) {
        /* With the bound as room and a buffer in memory only an allocation can fail. */
        return CKPT_ERR_NOMEM;
    }
    if (size < n) {
        *out_size = size;
        *id = CKPT_CODEC_ZSTD;
        return CKPT_OK;
    }
    if (n > 0) {
        memcpy(out, raw, n);
    }
    *out_size = n;
    *id = CKPT_CODEC_RAW;
    return CKPT_OK;
}

/* Whether PAYLOAD is exactly one frame of N bytes. The decoder alone would also take several
   frames, skippable ones, and formats older than zstd 1.0. */
static bool is_one_frame(const uint8_t *payload, size_t size, size_t n)
{
    static const uint8_t magic[] = {0x28, 0xb5, 0x2f, 0xfd};
    return n > 0 && size >= sizeof magic && memcmp(payload, magic, sizeof magic) == 0 &&
           ZSTD_getFrameContentSize(payload, size) == n &&
           ZSTD_findFrameCompressedSize(payload, size) == size;
}

enum ckpt_err ckpt_codec_decode(struct ckpt_codec *codec, enum ckpt_codec_id id,
                                const void *payload, size_t size, void *raw, size_t n)
{
    switch (id) {
    case CKPT_CODEC_RAW:
        if (size != n) {
            return CKPT_ERR_CORRUPT;
        }
        if (n > 0) {
            memcpy(raw, payload, n);
        }
        return CKPT_OK;
    case CKPT_CODEC_ZSTD:
        if (!is_one_frame(payload, size, n)) {
            return CKPT_ERR_CORRUPT;
        }
        size_t got = ZSTD_decompressDCtx(codec->decoder, raw, n, payload, size);
        if (ZSTD_isError(got)) {
            return ZSTD_getErrorCode(got) == ZSTD_error_memory_allocation ? CKPT_ERR_NOMEM
                                                                          : CKPT_ERR_CORRUPT;
        }
        return got == n ? CKPT_OK : CKPT_ERR_CORRUPT;
    }
    return CKPT_ERR_CORRUPT;
}
