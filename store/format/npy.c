/*
 * offset  size  field
 *      0     6  magic, 0x93 "NUMPY"
 *      6     2  version: major, minor
 *      8     2  length of the header (version 1), 4 bytes from version 2
 *               the header: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } and spaces
 *               the elements
 */
#include "common/bytes.h"
#include "npy.h"
#include <stdlib.h>
#include <string.h>

enum {
    PREFIX = 10,
    PREFIX_2 = 12,
    HEADER_MAX = 1 << 20, /* a header grows with the fields of a structure: NumPy itself warns from 10,000 bytes on */
    DESCR_MAX = 16,
};

/* The bytes of an element, or of half a complex one; 0 for what isn't made of numbers of one kind. */
static uint8_t width_of(struct ckpt_name descr)
{
    /* '<f4': byte order, kind, size; '<M8[s]' has its unit behind. */
    unsigned size = 0;
    if (descr.size < 3) {
        return 0;
    }
    for (size_t i = 2; i < descr.size && descr.bytes[i] != '['; i++) {
        if (descr.bytes[i] < '0' || descr.bytes[i] > '9' || size > 1000) {
            return 0;
        }
        size = 10 * size + (unsigned)(descr.bytes[i] - '0');
    }
    switch (descr.bytes[1]) {
    case 'c':
        size /= 2;
        break;
    case 'V':
        /* What NumPy has no kind for: bfloat16 and the floats of 8 bits. */
        size = size <= 2 ? size : 0;
        break;
    case 'b':
    case 'f':
    case 'i':
    case 'u':
    case 'm':
    case 'M':
        break;
    default:
        size = 0;
    }
    return size == 1 || size == 2 || size == 4 || size == 8 ? (uint8_t)size : 0;
}

/* The value of 'descr' if it is a string, else nothing: a structure's is a list. */
static struct ckpt_name find_descr(const char *header, size_t n)
{
    static const char field[] = "'descr':";
    struct ckpt_name none = {"", 0};
    const char *at = memmem(header, n, field, sizeof field - 1);
    if (at == NULL) {
        return none;
    }
    const char *end = header + n;
    at += sizeof field - 1;
    while (at < end && *at == ' ') {
        at++;
    }
    if (at == end || *at != '\'') {
        return none;
    }
    at++;
    const char *quote = memchr(at, '\'', (size_t)(end - at));
    if (quote == NULL || quote - at > DESCR_MAX) {
        return none;
    }
    return (struct ckpt_name){at, (size_t)(quote - at)};
}

enum ckpt_err ckpt_npy_read(struct ckpt_reading *reading, const struct ckpt_range *range)
{
    uint8_t prefix[PREFIX_2];
    enum ckpt_err err = ckpt_reading_bytes(reading, range, 0, prefix, sizeof prefix);
    if (err != CKPT_OK) {
        return err;
    }
    if (prefix[6] < 1 || prefix[6] > 3) {
        return CKPT_ERR_CORRUPT;
    }
    size_t at = prefix[6] == 1 ? PREFIX : PREFIX_2;
    size_t n = prefix[6] == 1 ? (size_t)prefix[8] | (size_t)prefix[9] << 8 : ckpt_get_le32(prefix + 8);
    if (n > HEADER_MAX || at + n > range->size) {
        return CKPT_ERR_CORRUPT;
    }
    char *header = malloc(n + 1);
    if (header == NULL) {
        return CKPT_ERR_NOMEM;
    }
    err = ckpt_reading_bytes(reading, range, at, header, n);
    if (err != CKPT_OK) {
        goto out;
    }
    header[n] = '\0';
    if (header[0] != '{') {
        err = CKPT_ERR_CORRUPT;
        goto out;
    }
    struct ckpt_name descr = find_descr(header, n);
    struct ckpt_found found = {
        .at = at + n,
        .size = range->size - at - n,
        .name = {"", 0},
        .type = descr,
        .width = width_of(descr),
    };
    err = ckpt_reading_tensor(reading, range, &found);
out:
    free(header);
    return err;
}
