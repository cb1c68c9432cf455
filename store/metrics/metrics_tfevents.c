/*
 * TensorBoard's event files. A record (tensorflow/core/lib/io/record_writer.h):
 *
 *     offset  size  field
 *          0     8  length of the data, little-endian
 *          8     4  masked CRC-32C of these 8 bytes
 *         12        the data: one Event
 *          +     4  masked CRC-32C of the data
 *
 * masked(crc) = (crc rotated right by 15) + 0xa282ead8. Event is a protocol buffer
 * (tensorboard/compat/proto/event.proto, summary.proto, tensor.proto, tensor_shape.proto); of its fields
 * these are looked at, all others are passed over:
 *
 *     Event        1 wall_time double, 2 step int64, 5 Summary
 *     Summary      1 Value, repeated
 *     Value        1 tag, 2 simple_value float, 8 TensorProto
 *     TensorProto  1 dtype, 2 TensorShapeProto (2 Dim (1 size)), 4 tensor_content, 5 float_val, 6 double_val,
 *                  7 int_val, 10 int64_val, 13 half_val
 *
 * A tensor is a metric when it has exactly one number.
 */
#include "common/bytes.h"
#include "common/crc32c.h"
#include "metrics_parts.h"
#include <math.h>
#include <string.h>

enum { HEADER = 12, FOOTER = 4, VARINT_BITS = 64 };

static const uint32_t mask = 0xa282ead8;

/* types.proto */
enum { DT_FLOAT = 1, DT_DOUBLE = 2, DT_INT32 = 3, DT_INT64 = 9, DT_BFLOAT16 = 14, DT_HALF = 19 };

enum wire { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

struct span {
    const uint8_t *at;
    const uint8_t *end;
};

struct field {
    uint64_t number;
    enum wire wire;
    uint64_t value; /* of a number, as bits */
    struct span bytes;
};

/* ---- protocol buffers ---- */

static bool take_varint(struct span *span, uint64_t *value)
{
    uint64_t v = 0;
    for (unsigned shift = 0; shift < VARINT_BITS && span->at < span->end; shift += 7) {
        uint8_t byte = *span->at++;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *value = v;
            return true;
        }
    }
    return false;
}

/* Takes a field off SPAN, or returns false and may leave SPAN anywhere. */
static bool try_field(struct span *span, struct field *field)
{
    uint64_t key = 0;
    uint64_t n = 0;
    if (!take_varint(span, &key)) {
        return false;
    }
    *field = (struct field){.number = key >> 3, .wire = (enum wire)(key & 7)};
    switch (field->wire) {
    case VARINT:
        return take_varint(span, &field->value);
    case FIXED64:
        n = sizeof(uint64_t);
        break;
    case FIXED32:
        n = sizeof(uint32_t);
        break;
    case BYTES:
        if (!take_varint(span, &n)) {
            return false;
        }
        break;
    default: /* groups: nobody has written them for years */
        return false;
    }
    if (n > (uint64_t)(span->end - span->at)) {
        return false;
    }
    field->bytes = (struct span){span->at, span->at + n};
    span->at += n;
    if (field->wire == FIXED64) {
        field->value = ckpt_get_le64(field->bytes.at);
    } else if (field->wire == FIXED32) {
        field->value = ckpt_get_le32(field->bytes.at);
    }
    return true;
}

/* The next field; false: the message is over, or makes no sense from here on and SPAN isn't empty. */
static bool take_field(struct span *span, struct field *field)
{
    const uint8_t *start = span->at;
    bool taken = try_field(span, field);
    if (!taken) {
        span->at = start;
    }
    return taken;
}

static double as_double(uint64_t bits)
{
    double value = 0;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static double as_float(uint64_t bits)
{
    uint32_t low = (uint32_t)bits;
    float value = 0;
    memcpy(&value, &low, sizeof value);
    return (double)value;
}

static double as_half(uint64_t bits)
{
    int exponent = (int)(bits >> 10 & 31);
    double fraction = (double)(bits & 1023);
    double value = 0;
    if (exponent == 31) {
        value = fraction > 0 ? (double)NAN : (double)INFINITY;
    } else {
        value = exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
    }
    return (bits & 0x8000) != 0 ? -value : value;
}

/* ---- a tensor ---- */

static double number_of(uint64_t type, uint64_t bits)
{
    switch (type) {
    case DT_FLOAT:
        return as_float(bits);
    case DT_DOUBLE:
        return as_double(bits);
    case DT_HALF:
        return as_half(bits);
    case DT_BFLOAT16:
        return as_float(bits << 16);
    case DT_INT32:
        return (double)(int32_t)(uint32_t)bits;
    default:
        return (double)(int64_t)bits;
    }
}

/* Where numbers of a type stand, one after the other: the field, how each is written there, and its bytes in
   tensor_content. */
static const struct form {
    uint8_t type;
    uint8_t field;
    enum wire wire;
    uint8_t width;
} forms[] = {
    {DT_FLOAT, 5, FIXED32, 4}, {DT_DOUBLE, 6, FIXED64, 8}, {DT_INT32, 7, VARINT, 4},
    {DT_INT64, 10, VARINT, 8}, {DT_HALF, 13, VARINT, 2},   {DT_BFLOAT16, 13, VARINT, 2},
};

static const struct form *form_of(struct span tensor)
{
    struct field field;
    uint64_t type = 0;
    while (take_field(&tensor, &field)) {
        if (field.number == 1 && field.wire == VARINT) {
            type = field.value;
        }
    }
    for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
        if (forms[i].type == type) {
            return &forms[i];
        }
    }
    return NULL;
}

static bool is_one_element(struct span shape)
{
    struct field field;
    while (take_field(&shape, &field)) {
        uint64_t size = 0;
        if (field.number != 2 || field.wire != BYTES) {
            continue;
        }
        struct span dimension = field.bytes;
        while (take_field(&dimension, &field)) {
            if (field.number == 1 && field.wire == VARINT) {
                size = field.value;
            }
        }
        if (size != 1) {
            return false;
        }
    }
    return true;
}

/* The only number of a list in BYTES; false: it has another count. */
static bool take_packed(struct span bytes, enum wire wire, uint64_t *bits)
{
    size_t size = (size_t)(bytes.end - bytes.at);
    if (wire == FIXED32 && size == sizeof(uint32_t)) {
        *bits = ckpt_get_le32(bytes.at);
        return true;
    }
    if (wire == FIXED64 && size == sizeof(uint64_t)) {
        *bits = ckpt_get_le64(bytes.at);
        return true;
    }
    return wire == VARINT && take_varint(&bytes, bits) && bytes.at == bytes.end;
}

static bool take_content(struct span bytes, uint8_t width, uint64_t *bits)
{
    uint64_t value = 0;
    if ((size_t)(bytes.end - bytes.at) != width) {
        return false;
    }
    for (uint8_t i = 0; i < width; i++) {
        value |= (uint64_t)bytes.at[i] << (8 * i);
    }
    *bits = value;
    return true;
}

static bool tensor_number(struct span tensor, double *value)
{
    const struct form *form = form_of(tensor);
    struct field field;
    uint64_t bits = 0;
    unsigned count = 0;
    while (form != NULL && take_field(&tensor, &field)) {
        bool good = true;
        if (field.number == 2 && field.wire == BYTES) {
            good = is_one_element(field.bytes);
        } else if (field.number == 4 && field.wire == BYTES) {
            good = take_content(field.bytes, form->width, &bits);
            count++;
        } else if (field.number == form->field && field.wire == BYTES) {
            good = take_packed(field.bytes, form->wire, &bits);
            count++;
        } else if (field.number == form->field && field.wire == form->wire) {
            bits = field.value;
            count++;
        }
        if (!good) {
            return false;
        }
    }
    if (count != 1) {
        return false;
    }
    *value = number_of(form->type, bits);
    return true;
}

/* ---- an event ---- */

static enum ckpt_err take_value(struct ckpt_metrics_reading *reading, struct ckpt_metric_point *point,
                                struct span value)
{
    struct ckpt_metrics_text tag = {"", 0};
    struct field field;
    double number = 0;
    bool found = false;
    while (take_field(&value, &field)) {
        if (field.number == 1 && field.wire == BYTES) {
            tag = (struct ckpt_metrics_text){(const char *)field.bytes.at,
                                             (size_t)(field.bytes.end - field.bytes.at)};
        } else if (field.number == 2 && field.wire == FIXED32) {
            number = as_float(field.value);
            found = true;
        } else if (field.number == 8 && field.wire == BYTES) {
            found = tensor_number(field.bytes, &number);
        }
    }
    return found && value.at == value.end ? ckpt_metrics_emit(reading, point, tag, number) : CKPT_OK;
}

/* An event that makes no sense is passed over: its checksum says that it was written so. */
static enum ckpt_err take_event(struct ckpt_metrics_reading *reading, struct span event)
{
    /* A step of 0 isn't written: it is the default. */
    struct ckpt_metric_point point = {.has_step = true};
    struct field field;
    struct span fields = event;
    while (take_field(&fields, &field)) {
        if (field.number == 1 && field.wire == FIXED64) {
            ckpt_metrics_set_seconds(&point, as_double(field.value));
        } else if (field.number == 2 && field.wire == VARINT) {
            point.has_step = field.value <= INT64_MAX;
            point.step = point.has_step ? field.value : 0;
        }
    }
    fields = event;
    while (take_field(&fields, &field)) {
        struct span summary = field.bytes;
        if (field.number != 5 || field.wire != BYTES) {
            continue;
        }
        while (take_field(&summary, &field)) {
            if (field.number == 1 && field.wire == BYTES) {
                enum ckpt_err err = take_value(reading, &point, field.bytes);
                if (err != CKPT_OK) {
                    return err;
                }
            }
        }
    }
    return CKPT_OK;
}

/* ---- records ---- */

static bool is_right(const uint8_t *bytes, size_t n, const uint8_t *masked)
{
    uint32_t crc = ckpt_crc32c(bytes, n);
    return ckpt_get_le32(masked) == (crc >> 15 | crc << 17) + mask;
}

enum ckpt_err ckpt_metrics_tfevents_read(struct ckpt_metrics_reading *reading)
{
    const struct ckpt_metrics_input *input = reading->input;
    const uint8_t *bytes = input->bytes;
    size_t at = 0;
    while (input->size - at >= HEADER) {
        const uint8_t *record = bytes + at;
        uint64_t length = ckpt_get_le64(record);
        uint64_t in_file = input->file_size - reading->base - at;
        if (!is_right(record, sizeof length, record + sizeof length)) {
            return CKPT_ERR_CORRUPT;
        }
        if (in_file < HEADER + FOOTER || length > in_file - HEADER - FOOTER) {
            return CKPT_OK;
        }
        if (length > CKPT_METRICS_RECORD_MAX) {
            /* A graph, a picture. It may go on after what was given. */
            reading->mark->offset += HEADER + length + FOOTER;
            if (length > input->size - at || HEADER + length + FOOTER > input->size - at) {
                return CKPT_OK;
            }
            at += (size_t)(HEADER + length + FOOTER);
            continue;
        }
        size_t n = (size_t)length;
        if (HEADER + n + FOOTER > input->size - at) {
            return CKPT_OK;
        }
        if (!is_right(record + HEADER, n, record + HEADER + n)) {
            return CKPT_ERR_CORRUPT;
        }
        enum ckpt_err err = take_event(reading, (struct span){record + HEADER, record + HEADER + n});
        if (err != CKPT_OK) {
            return err;
        }
        at += HEADER + n + FOOTER;
        reading->mark->offset = reading->base + at;
    }
    return CKPT_OK;
}
