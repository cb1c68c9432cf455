#include "pack.h"
#include "bytes.h"
#include <stdlib.h>
#include <string.h>

enum { ABSENT = 0xffff };

void ckpt_pack_bytes(struct ckpt_pack *pack, const void *bytes, size_t n)
{
    if (pack->err != CKPT_OK || n == 0) {
        return;
    }
    if (pack->room - pack->size < n) {
        size_t room = pack->room < 256 ? 256 : pack->room;
        while (room - pack->size < n) {
            room *= 2;
        }
        uint8_t *grown = realloc(pack->bytes, room);
        if (grown == NULL) {
            pack->err = CKPT_ERR_NOMEM;
            return;
        }
        pack->bytes = grown;
        pack->room = room;
    }
    memcpy(pack->bytes + pack->size, bytes, n);
    pack->size += n;
}

void ckpt_pack_u8(struct ckpt_pack *pack, uint8_t v)
{
    ckpt_pack_bytes(pack, &v, 1);
}

void ckpt_pack_u16(struct ckpt_pack *pack, uint16_t v)
{
    uint8_t bytes[2] = {(uint8_t)v, (uint8_t)(v >> 8)};
    ckpt_pack_bytes(pack, bytes, sizeof bytes);
}

void ckpt_pack_u32(struct ckpt_pack *pack, uint32_t v)
{
    uint8_t bytes[4];
    ckpt_put_le32(bytes, v);
    ckpt_pack_bytes(pack, bytes, sizeof bytes);
}

void ckpt_pack_u64(struct ckpt_pack *pack, uint64_t v)
{
    uint8_t bytes[8];
    ckpt_put_le64(bytes, v);
    ckpt_pack_bytes(pack, bytes, sizeof bytes);
}

void ckpt_pack_f64(struct ckpt_pack *pack, double v)
{
    uint64_t bits = 0;
    memcpy(&bits, &v, sizeof bits);
    ckpt_pack_u64(pack, bits);
}

void ckpt_pack_text(struct ckpt_pack *pack, const char *text)
{
    size_t n = text == NULL ? 0 : strlen(text);
    if (n >= ABSENT) {
        pack->err = pack->err == CKPT_OK ? CKPT_ERR_INVALID : pack->err;
        return;
    }
    ckpt_pack_u16(pack, text == NULL ? ABSENT : (uint16_t)n);
    ckpt_pack_bytes(pack, text, n);
}

void ckpt_unpack_bytes(struct ckpt_unpack *unpack, void *bytes, size_t n)
{
    if (unpack->err == CKPT_OK && unpack->size < n) {
        unpack->err = CKPT_ERR_CORRUPT;
    }
    if (unpack->err != CKPT_OK) {
        memset(bytes, 0, n);
        return;
    }
    memcpy(bytes, unpack->bytes, n);
    unpack->bytes += n;
    unpack->size -= n;
}

uint8_t ckpt_unpack_u8(struct ckpt_unpack *unpack)
{
    uint8_t v = 0;
    ckpt_unpack_bytes(unpack, &v, sizeof v);
    return v;
}

uint16_t ckpt_unpack_u16(struct ckpt_unpack *unpack)
{
    uint8_t bytes[2];
    ckpt_unpack_bytes(unpack, bytes, sizeof bytes);
    return (uint16_t)(bytes[0] | bytes[1] << 8);
}

uint32_t ckpt_unpack_u32(struct ckpt_unpack *unpack)
{
    uint8_t bytes[4];
    ckpt_unpack_bytes(unpack, bytes, sizeof bytes);
    return ckpt_get_le32(bytes);
}

uint64_t ckpt_unpack_u64(struct ckpt_unpack *unpack)
{
    uint8_t bytes[8];
    ckpt_unpack_bytes(unpack, bytes, sizeof bytes);
    return ckpt_get_le64(bytes);
}

double ckpt_unpack_f64(struct ckpt_unpack *unpack)
{
    uint64_t bits = ckpt_unpack_u64(unpack);
    double v = 0;
    memcpy(&v, &bits, sizeof v);
    return v;
}

char *ckpt_unpack_text(struct ckpt_unpack *unpack)
{
    uint16_t n = ckpt_unpack_u16(unpack);
    if (unpack->err != CKPT_OK || n == ABSENT) {
        return NULL;
    }
    if (unpack->size < n || memchr(unpack->bytes, '\0', n) != NULL) {
        unpack->err = CKPT_ERR_CORRUPT;
        return NULL;
    }
    char *text = malloc((size_t)n + 1);
    if (text == NULL) {
        unpack->err = CKPT_ERR_NOMEM;
        return NULL;
    }
    ckpt_unpack_bytes(unpack, text, n);
    text[n] = '\0';
    return text;
}

char *ckpt_unpack_some_text(struct ckpt_unpack *unpack)
{
    char *text = ckpt_unpack_text(unpack);
    if (text == NULL && unpack->err == CKPT_OK) {
        unpack->err = CKPT_ERR_CORRUPT;
    }
    return text;
}

size_t ckpt_unpack_count(struct ckpt_unpack *unpack, size_t least)
{
    size_t n = ckpt_unpack_u32(unpack);
    if (unpack->err == CKPT_OK && n > unpack->size / least) {
        unpack->err = CKPT_ERR_CORRUPT;
    }
    return unpack->err == CKPT_OK ? n : 0;
}
