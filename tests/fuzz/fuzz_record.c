/*
 * Records that anybody may have written, for libFuzzer:
 *
 *     clang -g -O1 -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -Iinclude -Istore
 *           tests/fuzz/fuzz_record.c store/{codec,plan,planes,groups,probe,frame,record,id,err}.c
 *           -lzstd -o fuzz_record
 *
 * (or with all of store/). The input is taken for a record: its magic, format, lengths and checksum
 * are put right first, or hardly anything would get past them. What decodes is encoded again in
 * every way and must come back. Then the input is taken for a chunk: encoded, damaged, decoded.
 */
#include "chunk/codec.h"
#include "common/bytes.h"
#include "object/record.h"
#include <ckpt/id.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    SEED = 0x5eed,
    RAW_MAX = 1 << 18,
    AT_RAW_SIZE = 16,
    AT_PAYLOAD_SIZE = 20,
    AT_CHECKSUM = 56
};

static void check(int holds)
{
    if (!holds) {
        abort();
    }
}

static void *need(void *p)
{
    check(p != NULL);
    return p;
}

/* Some numbers, always the same. */
static uint8_t *make_base(size_t n)
{
    uint8_t *base = need(malloc(n + 4));
    uint32_t random = 1;
    for (size_t i = 0; i < n; i += 4) {
        random = random * 1664525 + 1013904223;
        ckpt_put_le32(base + i, 0x3c000000 + (random >> 7));
    }
    return base;
}

static void seal(uint8_t *record, size_t size)
{
    memcpy(record, "CKO1\1", 5);
    ckpt_put_le32(record + AT_RAW_SIZE, ckpt_get_le32(record + AT_RAW_SIZE) % RAW_MAX);
    ckpt_put_le32(record + AT_PAYLOAD_SIZE, (uint32_t)(size - CKPT_RECORD_HEADER));
    ckpt_put_le64(record + AT_CHECKSUM,
                  ckpt_checksum2(SEED, record, AT_CHECKSUM, record + CKPT_RECORD_HEADER,
                                 size - CKPT_RECORD_HEADER));
}

/* What came out of a payload goes in again, by each hint, and comes back. */
static void again(struct ckpt_codec *codec, const uint8_t *raw, const uint8_t *base, size_t n)
{
    static const uint8_t widths[] = {0, 1, 2, 4, 8};
    uint8_t *payload = need(malloc(ckpt_codec_bound(n)));
    uint8_t *back = need(malloc(n + 1));
    for (size_t i = 0; i < 2 * sizeof widths; i++) {
        struct ckpt_hint hint = {.width = widths[i / 2], .base = i % 2 == 0 ? NULL : base};
        struct ckpt_coding coding;
        size_t size = 0;
        check(ckpt_codec_encode(codec, raw, n, &hint, payload, &size, &coding) == CKPT_OK);
        check(size <= n);
        check(ckpt_codec_decode(codec, &coding, payload, size, base, back, n) == CKPT_OK);
        check(memcmp(back, raw, n) == 0);
    }
    free(back);
    free(payload);
}

static void decode(struct ckpt_codec *codec, const struct ckpt_record *record)
{
    size_t n = record->raw_size;
    uint8_t *raw = need(malloc(n + 1));
    uint8_t *base = make_base(n);
    /* The id is of other bytes, so this fails in the end at the latest. */
    (void)!ckpt_record_decode(codec, SEED, record, base, raw);
    if (ckpt_codec_decode(codec, &record->coding, record->payload, record->payload_size, base, raw,
                          n) == CKPT_OK) {
        again(codec, raw, base, n);
    }
    free(base);
    free(raw);
}

/* The input as raw bytes instead: encoded, then damaged as its first bytes say. So zstd's frames
 * are seen, which mutations hardly hit. */
static void damage(struct ckpt_codec *codec, const uint8_t *data, size_t n)
{
    enum { PAIRS = 8 };
    uint8_t *base = make_base(n);
    uint8_t *payload = need(malloc(ckpt_codec_bound(n)));
    uint8_t *raw = need(malloc(n));
    struct ckpt_hint hint = {.width = (uint8_t)(1 << data[0] % 4), .base = base};
    struct ckpt_coding coding;
    size_t size = 0;
    check(ckpt_codec_encode_as(codec, data, n, &hint, (enum ckpt_codec_id)(data[1] % CKPT_CODECS),
                               payload, &size, &coding) == CKPT_OK ||
          hint.width == 1);
    if (size > 0) {
        for (size_t i = 0; i < PAIRS; i++) {
            const uint8_t *pair = data + 2 + 3 * i;
            payload[(pair[0] | (size_t)pair[1] << 8) % size] ^= pair[2];
        }
        /* Its own room, so that a byte read beyond is seen. */
        size_t length = size - (data[2 + 3 * PAIRS] % 8 == 0 && size > 1);
        uint8_t *exact = need(malloc(length));
        memcpy(exact, payload, length);
        (void)!ckpt_codec_decode(codec, &coding, exact, length, base, raw, n);
        free(exact);
    }
    free(raw);
    free(payload);
    free(base);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ckpt_codec *codec = NULL;
    struct ckpt_record record;
    if (size < CKPT_RECORD_HEADER || size > RAW_MAX) {
        return 0;
    }
    uint8_t *copy = need(malloc(size));
    memcpy(copy, data, size);
    check(ckpt_record_parse(SEED, copy, size, &record) == CKPT_ERR_CORRUPT ||
          memcmp(copy, "CKO1", 4) == 0);
    seal(copy, size);
    check(ckpt_codec_create(&codec) == CKPT_OK);
    if (ckpt_record_parse(SEED, copy, size, &record) == CKPT_OK) {
        check(record.payload + record.payload_size == copy + size);
        decode(codec, &record);
    }
    damage(codec, data, size);
    ckpt_codec_free(codec);
    free(copy);
    return 0;
}
