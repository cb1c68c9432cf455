/*
 * Records: encoder, parser, decoder.
 */
#include "record.h"
#include "bytes.h"
#include <stdbool.h>
#include <string.h>

/*
 * offset  size  field
 *      0     4  magic "CKO1"
 *      4     1  record format, 1
 *      5     1  kind: 1 chunk, 2 recipe
 *      6     1  codec: 0 raw, 1 zstd (one frame)
 *      7     1  element width: 0 none
 *      8     1  salt
 *      9     7  reserved, zero
 *     16     4  raw length
 *     20     4  payload length
 *     24    16  id
 *     40    16  base id, zero for none
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

enum ckpt_err ckpt_record_encode(struct ckpt_codec *codec, uint64_t seed, enum ckpt_kind kind,
                                 const struct ckpt_id *id, uint8_t salt, const void *raw, size_t n,
                                 void *out, size_t *size)
{
    uint8_t *header = out;
    size_t payload_size = 0;
    enum ckpt_codec_id codec_id = CKPT_CODEC_RAW;
    if (!raw_size_ok(kind, n)) {
        return CKPT_ERR_INVALID;
    }
    enum ckpt_err err =
        ckpt_codec_encode(codec, raw, n, header + CKPT_RECORD_HEADER, &payload_size, &codec_id);
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
    header[AT_KIND] = (uint8_t)kind;
    header[AT_CODEC] = (uint8_t)codec_id;
    header[AT_SALT] = salt;
    ckpt_put_le32(header + AT_RAW_SIZE, (uint32_t)n);
    ckpt_put_le32(header + AT_PAYLOAD_SIZE, (uint32_t)payload_size);
    memcpy(header + AT_ID, id->bytes, CKPT_ID_SIZE);
    ckpt_put_le64(header + AT_CHECKSUM, ckpt_checksum2(seed, header, AT_CHECKSUM,
                                                       header + CKPT_RECORD_HEADER, payload_size));
    *size = CKPT_RECORD_HEADER + payload_size;
    return CKPT_OK;
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
    /* From here on the bytes are what somebody wrote: what makes no sense to us is newer. */
    if (p[AT_FORMAT] != FORMAT ||
        (p[AT_KIND] != CKPT_KIND_CHUNK && p[AT_KIND] != CKPT_KIND_RECIPE) ||
        (p[AT_CODEC] != CKPT_CODEC_RAW && p[AT_CODEC] != CKPT_CODEC_ZSTD) || p[AT_WIDTH] != 0 ||
        !all_zero(p + AT_BASE, CKPT_ID_SIZE)) {
        return CKPT_ERR_FORMAT;
    }
    struct ckpt_record record = {
        .kind = (enum ckpt_kind)p[AT_KIND],
        .codec = (enum ckpt_codec_id)p[AT_CODEC],
        .salt = p[AT_SALT],
        .raw_size = ckpt_get_le32(p + AT_RAW_SIZE),
        .payload_size = (uint32_t)payload_size,
        .payload = p + CKPT_RECORD_HEADER,
    };
    memcpy(record.id.bytes, p + AT_ID, CKPT_ID_SIZE);
    if (!all_zero(p + AT_RESERVED, AT_RAW_SIZE - AT_RESERVED) ||
        !raw_size_ok(record.kind, record.raw_size) ||
        (record.codec == CKPT_CODEC_RAW && record.payload_size != record.raw_size)) {
        return CKPT_ERR_CORRUPT;
    }
    *out = record;
    return CKPT_OK;
}

enum ckpt_err ckpt_record_decode(struct ckpt_codec *codec, uint64_t seed,
                                 const struct ckpt_record *record, void *raw)
{
    enum ckpt_err err = ckpt_codec_decode(codec, record->codec, record->payload,
                                          record->payload_size, raw, record->raw_size);
    if (err != CKPT_OK) {
        return err;
    }
    struct ckpt_id id = ckpt_id_of(seed, record->salt, raw, record->raw_size);
    return ckpt_id_equal(&id, &record->id) ? CKPT_OK : CKPT_ERR_CORRUPT;
}
