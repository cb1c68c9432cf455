#include "common/bytes.h"
#include "pickle_number.h"
#include <string.h>

enum kind { KIND_FLOAT, KIND_BFLOAT, KIND_SIGNED, KIND_UNSIGNED };

struct type {
    const char *name;
    enum kind kind;
    uint8_t width;
};

static const struct type types[] = {
    {"FloatStorage", KIND_FLOAT, 4},     {"DoubleStorage", KIND_FLOAT, 8}, {"HalfStorage", KIND_FLOAT, 2},
    {"BFloat16Storage", KIND_BFLOAT, 2}, {"LongStorage", KIND_SIGNED, 8},  {"IntStorage", KIND_SIGNED, 4},
    {"ShortStorage", KIND_SIGNED, 2},    {"CharStorage", KIND_SIGNED, 1},  {"ByteStorage", KIND_UNSIGNED, 1},
    {"f8", KIND_FLOAT, 8},               {"f4", KIND_FLOAT, 4},            {"f2", KIND_FLOAT, 2},
    {"i8", KIND_SIGNED, 8},              {"i4", KIND_SIGNED, 4},           {"i2", KIND_SIGNED, 2},
    {"i1", KIND_SIGNED, 1},              {"u8", KIND_UNSIGNED, 8},         {"u4", KIND_UNSIGNED, 4},
    {"u2", KIND_UNSIGNED, 2},            {"u1", KIND_UNSIGNED, 1},
};

static const struct type *find_type(struct ckpt_name name)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (ckpt_name_is(name, types[i].name)) {
            return &types[i];
        }
    }
    return NULL;
}

static double from_float(uint32_t bits)
{
    float number = 0;
    memcpy(&number, &bits, sizeof number);
    return (double)number;
}

static double from_half(uint32_t bits)
{
    uint32_t sign = (bits & 0x8000) << 16;
    uint32_t exponent = bits >> 10 & 0x1f;
    uint32_t fraction = bits & 0x3ff;
    if (exponent == 0) {
        double number = (double)fraction / (1 << 24);
        return sign != 0 ? -number : number;
    }
    exponent = exponent == 0x1f ? 0xff : exponent + (127 - 15);
    return from_float(sign | exponent << 23 | fraction << 13);
}

static double from_bits(const struct type *type, uint64_t bits)
{
    unsigned unused = 64u - 8u * type->width;
    double number = 0;
    switch (type->kind) {
    case KIND_FLOAT:
        if (type->width == 8) {
            memcpy(&number, &bits, sizeof number);
        } else {
            number = type->width == 4 ? from_float((uint32_t)bits) : from_half((uint32_t)bits);
        }
        break;
    case KIND_BFLOAT:
        number = from_float((uint32_t)bits << 16);
        break;
    case KIND_SIGNED:
        number = (double)((int64_t)(bits << unused) >> unused);
        break;
    case KIND_UNSIGNED:
        number = (double)bits;
        break;
    }
    return number;
}

uint8_t ckpt_number_width(struct ckpt_name type)
{
    const struct type *found = find_type(type);
    return found != NULL ? found->width : 0;
}

bool ckpt_number_of_element(struct ckpt_name type, const uint8_t bytes[CKPT_NUMBER_BYTES], double *number)
{
    const struct type *found = find_type(type);
    if (found == NULL) {
        return false;
    }
    uint64_t bits = ckpt_get_le64(bytes);
    *number = from_bits(found, found->width == 8 ? bits : bits & ((UINT64_C(1) << (8 * found->width)) - 1));
    return true;
}

/* The text that is argument POSITION of the Nth thing that the object was made of; an empty one: there is none. */
static struct ckpt_name text_within(const struct ckpt_values *values, uint64_t object, unsigned n, uint32_t position)
{
    struct ckpt_name none = {"", 0};
    if (ckpt_value_tag(object) != CKPT_TAG_BOX) {
        return none;
    }
    uint32_t i = ckpt_values_box_at(values, ckpt_value_index(object))->first;
    while (i != CKPT_VALUE_NONE && n > 0) {
        i = ckpt_values_child_at(values, i)->next;
        n--;
    }
    if (i == CKPT_VALUE_NONE) {
        return none;
    }
    uint64_t text = ckpt_values_argument(values, ckpt_values_child_at(values, i)->value, position);
    return ckpt_value_tag(text) == CKPT_TAG_TEXT ? ckpt_values_text(values, text) : none;
}

/* Protocol 2 has no bytes: each is a character of a text in UTF-8, of U+0000 to U+00FF. The number of bytes; 0: others. */
static size_t bytes_of_text(struct ckpt_name text, uint8_t bytes[CKPT_NUMBER_BYTES])
{
    size_t n = 0;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = (uint8_t)text.bytes[i];
        if (n == CKPT_NUMBER_BYTES) {
            return 0;
        }
        if (c >= 0x80) {
            if ((c & 0xfe) != 0xc2 || i + 1 == text.size) {
                return 0;
            }
            c = (uint8_t)(c << 6 | ((uint8_t)text.bytes[++i] & 0x3f));
        }
        bytes[n++] = c;
    }
    return n;
}

/*
 * scalar(dtype('f8', False, True), _codecs.encode('...', 'latin1')): each of the two calls is an object that holds its
 * arguments, and of the dtype the state follows, whose second field is the order of the bytes.
 */
bool ckpt_number_of_numpy(const struct ckpt_values *values, uint64_t args, double *number)
{
    uint64_t dtype = ckpt_values_argument(values, args, 0);
    uint64_t encoded = ckpt_values_argument(values, args, 1);
    uint8_t bytes[CKPT_NUMBER_BYTES] = {0};
    struct ckpt_name name = text_within(values, dtype, 0, 0);
    uint8_t width = name.size == 2 ? ckpt_number_width(name) : 0;
    return width != 0 && !ckpt_name_is(text_within(values, dtype, 1, 1), ">") &&
           ckpt_name_is(text_within(values, encoded, 0, 1), "latin1") &&
           bytes_of_text(text_within(values, encoded, 0, 0), bytes) == width &&
           ckpt_number_of_element(name, bytes, number);
}
