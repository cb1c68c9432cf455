/*
 * offset  size  field
 *      0     8  length of the header, little-endian
 *      8        the header, JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...,
 *               "__metadata__": {"text": "text"}}, and spaces
 *               the tensors; their offsets count from here
 *
 * The header is read by a scanner of its own, which knows this form only and keeps nothing but what it looks
 * for. A JSON library builds a tree that takes 20 to 40 times the room of a hostile text ("[[],[],..."), and
 * this one may have 64 MiB.
 */
#include "common/bytes.h"
#include "safetensors.h"
#include <ckpt/id.h>
#include <stdlib.h>
#include <string.h>

/* The format allows 100 MB. A tensor takes about 100 bytes, so this is enough for 600,000 of them. */
enum { HEADER_MAX = 64 << 20, PREFIX = 8 };

struct scan {
    const char *at;
    const char *end;
};

/* Where a tensor is, to find two that overlap or have one name. */
struct spot {
    uint64_t begin;
    uint64_t end;
    uint64_t name; /* hash */
};

struct spots {
    struct spot *list;
    size_t count;
    size_t room;
};

struct dtype {
    const char *name;
    uint8_t bits;
    uint8_t width;
};

static const struct dtype dtypes[] = {
    {"F64", 64, 8},   {"F32", 32, 4},     {"F16", 16, 2},     {"BF16", 16, 2},       {"I64", 64, 8},
    {"I32", 32, 4},   {"I16", 16, 2},     {"I8", 8, 1},       {"U64", 64, 8},        {"U32", 32, 4},
    {"U16", 16, 2},   {"U8", 8, 1},       {"BOOL", 8, 1},     {"F8_E4M3", 8, 1},     {"F8_E5M2", 8, 1},
    {"C64", 64, 4},   {"F8_E8M0", 8, 1},  {"F8_E4M3FNUZ", 8, 1}, {"F8_E5M2FNUZ", 8, 1}, {"C128", 128, 8},
    {"F4", 4, 1},     {"F6_E2M3", 6, 1},  {"F6_E3M2", 6, 1},
};

/* ---- The scanner: each takes what it is called for and false means that something else stands there ---- */

static void skip_blanks(struct scan *scan)
{
    while (scan->at < scan->end &&
           (*scan->at == ' ' || *scan->at == '\t' || *scan->at == '\n' || *scan->at == '\r')) {
        scan->at++;
    }
}

static bool take(struct scan *scan, char c)
{
    skip_blanks(scan);
    if (scan->at == scan->end || *scan->at != c) {
        return false;
    }
    scan->at++;
    return true;
}

/* What is between the quotes, with its escapes as they are: names are only compared. */
static bool take_string(struct scan *scan, struct ckpt_name *string)
{
    if (!take(scan, '"')) {
        return false;
    }
    const char *start = scan->at;
    while (scan->at < scan->end && *scan->at != '"') {
        if ((unsigned char)*scan->at < ' ') {
            return false;
        }
        if (*scan->at == '\\') {
            scan->at++;
        }
        if (scan->at < scan->end) {
            scan->at++;
        }
    }
    if (scan->at == scan->end) {
        return false;
    }
    *string = (struct ckpt_name){start, (size_t)(scan->at - start)};
    scan->at++;
    return true;
}

static bool take_number(struct scan *scan, uint64_t *number)
{
    uint64_t value = 0;
    size_t digits = 0;
    skip_blanks(scan);
    for (; scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9'; scan->at++) {
        uint64_t digit = (uint64_t)(*scan->at - '0');
        if (value > (UINT64_MAX - digit) / 10) {
            return false;
        }
        value = 10 * value + digit;
        digits++;
    }
    *number = value;
    return digits > 0;
}

/* A list of dimensions; *PRODUCT is the number of elements. */
static bool take_shape(struct scan *scan, uint64_t *product)
{
    *product = 1;
    if (!take(scan, '[')) {
        return false;
    }
    if (take(scan, ']')) {
        return true;
    }
    do {
        uint64_t n = 0;
        if (!take_number(scan, &n) || __builtin_mul_overflow(*product, n, product)) {
            return false;
        }
    } while (take(scan, ','));
    return take(scan, ']');
}

/* {"text": "text", ...}; OBSERVER, which may be NULL, is told. */
static bool take_metadata(struct scan *scan, const struct ckpt_observer *observer)
{
    struct ckpt_name name;
    struct ckpt_name text;
    if (!take(scan, '{')) {
        return false;
    }
    if (take(scan, '}')) {
        return true;
    }
    do {
        if (!take_string(scan, &name) || !take(scan, ':') || !take_string(scan, &text)) {
            return false;
        }
        if (observer != NULL) {
            observer->text(observer->arg, name, text);
        }
    } while (take(scan, ','));
    return take(scan, '}');
}

/* ---- A tensor ---- */

static bool fits(struct ckpt_name type, uint64_t elements, uint64_t size, uint8_t *width)
{
    *width = 0;
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        uint64_t bits = 0;
        if (ckpt_name_is(type, dtypes[i].name)) {
            *width = dtypes[i].width;
            return !__builtin_mul_overflow(elements, dtypes[i].bits, &bits) && bits % 8 == 0 &&
                   bits / 8 == size;
        }
    }
    return true; /* a newer type: bytes of some kind */
}

/* {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, each field once. FOUND->at counts from the header's
   end. */
static bool take_tensor(struct scan *scan, struct ckpt_found *found)
{
    enum { DTYPE = 1, SHAPE = 2, OFFSETS = 4, ALL = 7 };
    unsigned seen = 0;
    uint64_t elements = 0;
    uint64_t end = 0;
    if (!take(scan, '{')) {
        return false;
    }
    do {
        struct ckpt_name field;
        unsigned bit = 0;
        bool good = false;
        if (!take_string(scan, &field) || !take(scan, ':')) {
            return false;
        }
        if (ckpt_name_is(field, "dtype")) {
            bit = DTYPE;
            good = take_string(scan, &found->type);
        } else if (ckpt_name_is(field, "shape")) {
            bit = SHAPE;
            good = take_shape(scan, &elements);
        } else if (ckpt_name_is(field, "data_offsets")) {
            bit = OFFSETS;
            good = take(scan, '[') && take_number(scan, &found->at) && take(scan, ',') &&
                   take_number(scan, &end) && take(scan, ']');
        }
        if (!good || (seen & bit) != 0) {
            return false;
        }
        seen |= bit;
    } while (take(scan, ','));
    found->size = end - found->at;
    return take(scan, '}') && seen == ALL && end >= found->at &&
           fits(found->type, elements, found->size, &found->width);
}

static int by_begin(const void *a, const void *b)
{
    const struct spot *x = a;
    const struct spot *y = b;
    return x->begin != y->begin ? (x->begin > y->begin ? 1 : -1) : (x->end > y->end) - (x->end < y->end);
}

static int by_name(const void *a, const void *b)
{
    const struct spot *x = a;
    const struct spot *y = b;
    return (x->name > y->name) - (x->name < y->name);
}

static bool spots_make_sense(struct spots *spots)
{
    if (spots->count == 0) {
        return true;
    }
    qsort(spots->list, spots->count, sizeof *spots->list, by_begin);
    for (size_t i = 1; i < spots->count; i++) {
        if (spots->list[i].begin < spots->list[i - 1].end) {
            return false;
        }
    }
    qsort(spots->list, spots->count, sizeof *spots->list, by_name);
    for (size_t i = 1; i < spots->count; i++) {
        if (spots->list[i].name == spots->list[i - 1].name) {
            return false;
        }
    }
    return true;
}

static enum ckpt_err remember(struct spots *spots, const struct ckpt_found *found)
{
    if (spots->count == spots->room) {
        size_t room = spots->room == 0 ? 64 : 2 * spots->room;
        struct spot *list = realloc(spots->list, room * sizeof *list);
        if (list == NULL) {
            return CKPT_ERR_NOMEM;
        }
        spots->list = list;
        spots->room = room;
    }
    spots->list[spots->count++] = (struct spot){
        .begin = found->at,
        .end = found->at + found->size,
        .name = ckpt_checksum(0, found->name.bytes, found->name.size),
    };
    return CKPT_OK;
}

/* Adds the tensors of the header, which ends at DATA of the range. */
static enum ckpt_err read_header(struct ckpt_reading *reading, const struct ckpt_range *range,
                                 struct scan *scan, uint64_t data, struct spots *spots)
{
    const struct ckpt_observer *observer = reading->depth == 0 ? reading->observer : NULL;
    bool had_metadata = false;
    if (!take(scan, '{')) {
        return CKPT_ERR_CORRUPT;
    }
    if (take(scan, '}')) {
        return CKPT_OK;
    }
    do {
        struct ckpt_found found = {0};
        if (!take_string(scan, &found.name) || !take(scan, ':')) {
            return CKPT_ERR_CORRUPT;
        }
        if (ckpt_name_is(found.name, "__metadata__")) {
            if (had_metadata || !take_metadata(scan, observer)) {
                return CKPT_ERR_CORRUPT;
            }
            had_metadata = true;
            continue;
        }
        if (!take_tensor(scan, &found) || found.at > range->size - data) {
            return CKPT_ERR_CORRUPT;
        }
        enum ckpt_err err = remember(spots, &found);
        if (err == CKPT_OK) {
            found.at += data;
            err = ckpt_reading_tensor(reading, range, &found);
        }
        if (err == CKPT_OK && observer != NULL) {
            observer->tensor(observer->arg, found.name, found.type, range->offset + found.at, found.size);
        }
        if (err != CKPT_OK) {
            return err;
        }
    } while (take(scan, ','));
    if (!take(scan, '}')) {
        return CKPT_ERR_CORRUPT;
    }
    skip_blanks(scan);
    return scan->at == scan->end && spots_make_sense(spots) ? CKPT_OK : CKPT_ERR_CORRUPT;
}

enum ckpt_err ckpt_safetensors_read(struct ckpt_reading *reading, const struct ckpt_range *range)
{
    uint8_t prefix[PREFIX];
    struct spots spots = {0};
    char *header = NULL;
    enum ckpt_err err = ckpt_reading_bytes(reading, range, 0, prefix, PREFIX);
    if (err != CKPT_OK) {
        return err;
    }
    uint64_t n = ckpt_get_le64(prefix);
    if (n > HEADER_MAX || n > range->size - PREFIX) {
        return CKPT_ERR_CORRUPT;
    }
    header = malloc((size_t)n + 1);
    if (header == NULL) {
        return CKPT_ERR_NOMEM;
    }
    err = ckpt_reading_bytes(reading, range, PREFIX, header, (size_t)n);
    if (err == CKPT_OK) {
        struct scan scan = {header, header + n};
        err = read_header(reading, range, &scan, PREFIX + n, &spots);
    }
    free(spots.list);
    free(header);
    return err;
}
