/*
 * Records: encoder, parser, decoder.
 */
#include "common/bytes.h"
#include "record.h"
#include <stdbool.h>
#include <string.h>

/*
 * offset  size  field
 *      0     4  magic "CKO1"
 *      4     1  record format, 1
 *      5     1  kind: 1 chunk, 2 recipe
 *      6     1  codec: 0 raw, 1 zstd (one frame), 2 planes, 3 delta, 4 grouped (codec.c)
 *      7     1  width of a word: 2, 4 or 8; 0 for raw and zstd
 *      8     1  salt
 *      9     7  reserved, zero
 *     16     4  raw length
 *     20     4  payload length
 *     24    16  id
 *     40    16  base id, of the chunk that delta and grouped need (of the same raw length); else zero
 *     56     8  XXH3-64 with the store's seed of bytes 0..55 followed by the payload
 *     64        payload
 *
 * A later record format keeps magic, header size and checksum in their places: so a record that is
 * only newer can be told from a damaged one.
 */
enum {
    AT_MAGIC = 0,
    AT_FORMAT = 4,
    AT_KIND = 5,
    AT_CODEC = 6,
    AT_WIDTH = 7,
    AT_SALT = 8,
    AT_RESERVED = 9,
    AT_RAW_SIZE = 16,
    AT_PAYLOAD_SIZE = 20,
    AT_ID = 24,
    AT_BASE = 40,
    AT_CHECKSUM = 56,
};

enum { FORMAT = 1 };

static const uint8_t magic[4] = {'C', 'K', 'O', '1'};

static bool all_zero(const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (p[i] != 0) {
            return false;
        }
    }
    return true;
}

/* Neither a chunk nor a recipe is ever empty. */
static bool raw_size_ok(enum ckpt_kind kind, size_t n)
{
    return n > 0 && n <= (kind == CKPT_KIND_CHUNK ? CKPT_CHUNK_RAW_MAX : UINT32_MAX);
}

size_t ckpt_record_bound(size_t n)
{
    return CKPT_RECORD_HEADER + ckpt_codec_bound(n);
}

enum ckpt_err ckpt_record_encode(struct ckpt_codec *codec, uint64_t seed,
                                 const struct ckpt_recording *recording, void *out, size_t *size,
                                 struct ckpt_coding *coding)
{
    uint8_t *header = out;
    size_t n = recording->raw_size;
    size_t payload_size = 0;
    struct ckpt_coding made;
    bool chunk = recording->kind == CKPT_KIND_CHUNK;
    /* A recipe is ids, mostly: nothing that planes or differences would help. */
    struct ckpt_hint hint = {
        .width = chunk ? recording->width : 1,
        .chain = recording->chain,
        .base = chunk && !ckpt_id_is_zero(&recording->base_id) ? recording->base : NULL,
    };
    if (!raw_size_ok(recording->kind, n)) {
        return CKPT_ERR_INVALID;
    }
    enum ckpt_err err = ckpt_codec_encode(codec, recording->raw, n, &hint,
                                          header + CKPT_RECORD_HEADER, &payload_size, &made);
    if (err != CKPT_OK) {
        return err;
    }
    if (payload_size >
        UINT32_MAX - CKPT_RECORD_HEADER) { /* the refs row has 32 bits for a record */
        return CKPT_ERR_INVALID;
    }
    memset(header, 0, CKPT_RECORD_HEADER);
    memcpy(header + AT_MAGIC, magic, sizeof magic);
    header[AT_FORMAT] = FORMAT;
    header[AT_KIND] = (uint8_t)recording->kind;
    header[AT_CODEC] = (uint8_t)made.id;
    header[AT_WIDTH] = made.width;
    header[AT_SALT] = recording->salt;
    ckpt_put_le32(header + AT_RAW_SIZE, (uint32_t)n);
    ckpt_put_le32(header + AT_PAYLOAD_SIZE, (uint32_t)payload_size);
    memcpy(header + AT_ID, recording->id.bytes, CKPT_ID_SIZE);
    if (ckpt_codec_needs_base(made.id)) {
        memcpy(header + AT_BASE, recording->base_id.bytes, CKPT_ID_SIZE);
    }
    ckpt_put_le64(header + AT_CHECKSUM, ckpt_checksum2(seed, header, AT_CHECKSUM,
                                                       header + CKPT_RECORD_HEADER, payload_size));
    *size = CKPT_RECORD_HEADER + payload_size;
    *coding = made;
    return CKPT_OK;
}

/* Whether a header's fields, each of which is known, make sense together. */
static bool consistent(const struct ckpt_record *record)
{
    bool words = record->coding.id >= CKPT_CODEC_PLANES;
    unsigned width = record->coding.width;
    bool has_base = !ckpt_id_is_zero(&record->base);
    return raw_size_ok(record->kind, record->raw_size) &&
           (words ? width == 2 || width == 4 || width == 8 : width == 0) &&
           (!words || record->kind == CKPT_KIND_CHUNK) &&
           has_base == ckpt_codec_needs_base(record->coding.id) &&
           (record->coding.id != CKPT_CODEC_RAW || record->payload_size == record->raw_size);
}

enum ckpt_err ckpt_record_parse(uint64_t seed, const void *bytes, size_t size,
                                struct ckpt_record *out)
{
    const uint8_t *p = bytes;
    if (size < CKPT_RECORD_HEADER || memcmp(p + AT_MAGIC, magic, sizeof magic) != 0) {
        return CKPT_ERR_CORRUPT;
    }
    size_t payload_size = size - CKPT_RECORD_HEADER;
    if (ckpt_get_le32(p + AT_PAYLOAD_SIZE) != payload_size ||
        ckpt_get_le64(p + AT_CHECKSUM) !=
            ckpt_checksum2(seed, p, AT_CHECKSUM, p + CKPT_RECORD_HEADER, payload_size)) {
        return CKPT_ERR_CORRUPT;
    }
    /* From here on the bytes are what somebody wrote: what we don't know is newer. */
    if (p[AT_FORMAT] != FORMAT ||
        (p[AT_KIND] != CKPT_KIND_CHUNK && p[AT_KIND] != CKPT_KIND_RECIPE) ||
        p[AT_CODEC] >= CKPT_CODECS) {
        return CKPT_ERR_FORMAT;
    }
    struct ckpt_record record = {
        .kind = (enum ckpt_kind)p[AT_KIND],
        .coding = {.id = (enum ckpt_codec_id)p[AT_CODEC], .width = p[AT_WIDTH]},
        .salt = p[AT_SALT],
        .raw_size = ckpt_get_le32(p + AT_RAW_SIZE),
        .payload_size = (uint32_t)payload_size,
        .payload = p + CKPT_RECORD_HEADER,
    };
    memcpy(record.id.bytes, p + AT_ID, CKPT_ID_SIZE);
    memcpy(record.base.bytes, p + AT_BASE, CKPT_ID_SIZE);
    if (!all_zero(p + AT_RESERVED, AT_RAW_SIZE - AT_RESERVED) || !consistent(&record)) {
        return CKPT_ERR_CORRUPT;
    }
    *out = record;
    return CKPT_OK;
}

enum ckpt_err ckpt_record_decode(struct ckpt_codec *codec, uint64_t seed,
                                 const struct ckpt_record *record, const void *base, void *raw)
{
    enum ckpt_err err = ckpt_codec_decode(codec, &record->coding, record->payload,
                                          record->payload_size, base, raw, record->raw_size);
    if (err != CKPT_OK) {
        return err;
    }
    struct ckpt_id id = ckpt_id_of(seed, record->salt, raw, record->raw_size);
    return ckpt_id_equal(&id, &record->id) ? CKPT_OK : CKPT_ERR_CORRUPT;
}
