#include "pickle_value.h"
#include <stdlib.h>
#include <string.h>

/* Element types by the name of their storage class, and of their dtype for a storage that has only bytes. */
static const struct {
    const char *name;
    uint8_t width;
} types[] = {
    {"FloatStorage", 4},         {"HalfStorage", 2},     {"BFloat16Storage", 2}, {"DoubleStorage", 8},
    {"LongStorage", 8},          {"IntStorage", 4},      {"ShortStorage", 2},    {"CharStorage", 1},
    {"ByteStorage", 1},          {"BoolStorage", 1},     {"ComplexFloatStorage", 4},
    {"ComplexDoubleStorage", 8}, {"QInt8Storage", 1},    {"QUInt8Storage", 1},   {"QInt32Storage", 4},
    {"QUInt4x2Storage", 1},      {"QUInt2x4Storage", 1}, {"float64", 8},         {"float32", 4},
    {"float16", 2},              {"bfloat16", 2},        {"int64", 8},           {"int32", 4},
    {"int16", 2},                {"int8", 1},            {"uint64", 8},          {"uint32", 4},
    {"uint16", 2},               {"uint8", 1},           {"bool", 1},            {"complex64", 4},
    {"complex128", 8},           {"complex32", 2},       {"float8_e4m3fn", 1},   {"float8_e5m2", 1},
    {"float8_e4m3fnuz", 1},      {"float8_e5m2fnuz", 1}, {"float8_e8m0fnu", 1},
};

const char *ckpt_value_type(uint32_t type, uint8_t *width)
{
    *width = types[type].width;
    return types[type].name;
}

uint64_t ckpt_value_global(struct ckpt_name module, struct ckpt_name name)
{
    if (ckpt_name_is(module, "collections") && ckpt_name_is(name, "OrderedDict")) {
        return ckpt_value(CKPT_TAG_ORDERED, 0);
    }
    if (ckpt_name_is(name, "scalar") && (ckpt_name_is(module, "numpy.core.multiarray") ||
                                         ckpt_name_is(module, "numpy._core.multiarray"))) {
        return ckpt_value(CKPT_TAG_SCALAR, 0);
    }
    if (module.size >= 5 && memcmp(module.bytes, "torch", 5) == 0) {
        for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
            if (ckpt_name_is(name, types[i].name)) {
                return ckpt_value(CKPT_TAG_TYPE, i);
            }
        }
    }
    return ckpt_value(CKPT_TAG_OTHER, 0);
}

enum ckpt_err ckpt_list_reserve(struct ckpt_list *list, size_t n, size_t size, size_t most)
{
    if (n > most - list->count) {
        return CKPT_ERR_CORRUPT;
    }
    if (list->count + n > list->room) {
        size_t room = list->room == 0 ? 256 : 2 * list->room;
        room = room < list->count + n ? list->count + n : room;
        void *items = realloc(list->items, room * size);
        if (items == NULL) {
            return CKPT_ERR_NOMEM;
        }
        list->items = items;
        list->room = room;
    }
    return CKPT_OK;
}

bool ckpt_value_matters(uint64_t value, bool argument)
{
    enum ckpt_tag tag = ckpt_value_tag(value);
    return tag == CKPT_TAG_BOX || tag == CKPT_TAG_STORAGE ||
           (argument && (tag == CKPT_TAG_TEXT || tag == CKPT_TAG_TYPE));
}

enum ckpt_err ckpt_values_add_box(struct ckpt_values *values, uint64_t *value)
{
    enum ckpt_err err =
        ckpt_list_reserve(&values->boxes, 1, sizeof(struct ckpt_value_box), CKPT_VALUE_BOXES_MAX);
    if (err == CKPT_OK) {
        *value = ckpt_value(CKPT_TAG_BOX, values->boxes.count);
        *ckpt_values_box_at(values, (uint32_t)values->boxes.count++) =
            (struct ckpt_value_box){.first = CKPT_VALUE_NONE, .last = CKPT_VALUE_NONE};
    }
    return err;
}

enum ckpt_err ckpt_values_add_text(struct ckpt_values *values, const char *bytes, size_t n, uint64_t *value)
{
    struct ckpt_list *text = &values->text;
    enum ckpt_err err = ckpt_list_reserve(text, n + 1, 1, CKPT_VALUE_TEXT_MAX);
    if (err == CKPT_OK) {
        *value = ckpt_value(CKPT_TAG_TEXT, (uint64_t)n << CKPT_VALUE_LENGTH_SHIFT | text->count);
        memcpy((char *)text->items + text->count, bytes, n);
        text->count += n;
    }
    return err;
}

enum ckpt_err ckpt_values_add_real(struct ckpt_values *values, double number, uint64_t *value)
{
    struct ckpt_list *reals = &values->reals;
    *value = ckpt_value(CKPT_TAG_OTHER, 0);
    if (reals->count == CKPT_VALUE_REALS_MAX) {
        return CKPT_OK;
    }
    enum ckpt_err err = ckpt_list_reserve(reals, 1, sizeof number, CKPT_VALUE_REALS_MAX);
    if (err == CKPT_OK) {
        *value = ckpt_value(CKPT_TAG_REAL, reals->count);
        ((double *)reals->items)[reals->count++] = number;
    }
    return err;
}

enum ckpt_err ckpt_values_keep_number(struct ckpt_values *values, uint64_t box, uint64_t key, uint64_t value,
                                      bool outermost)
{
    enum ckpt_tag tag = ckpt_value_tag(value);
    size_t most = outermost ? CKPT_VALUE_NUMBERS_MAX : CKPT_VALUE_NUMBERS_MAX / 2;
    if (ckpt_value_tag(box) != CKPT_TAG_BOX || ckpt_value_tag(key) != CKPT_TAG_TEXT ||
        (tag != CKPT_TAG_NUMBER && tag != CKPT_TAG_REAL) || values->numbers.count >= most) {
        return CKPT_OK;
    }
    struct ckpt_value_box *into = ckpt_values_box_at(values, ckpt_value_index(box));
    if (!outermost && into->numbers == CKPT_VALUE_NUMBERS_BOX) {
        return CKPT_OK;
    }
    enum ckpt_err err = ckpt_list_reserve(&values->numbers, 1, sizeof(struct ckpt_value_number), most);
    if (err == CKPT_OK) {
        into->numbers++;
        *ckpt_values_number_at(values, values->numbers.count++) = (struct ckpt_value_number){
            .box = ckpt_value_index(box),
            .name = ckpt_value_index(key),
            .name_size = (uint32_t)ckpt_values_text(values, key).size,
            .number = tag == CKPT_TAG_REAL ? ((const double *)values->reals.items)[ckpt_value_index(value)]
                                           : (double)ckpt_value_number(value),
        };
    }
    return err;
}

struct ckpt_name ckpt_values_text(const struct ckpt_values *values, uint64_t value)
{
    const char *text = values->text.items;
    return (struct ckpt_name){text + ckpt_value_index(value),
                              (size_t)(ckpt_value_number(value) >> CKPT_VALUE_LENGTH_SHIFT)};
}

enum ckpt_err ckpt_values_put(struct ckpt_values *values, uint64_t into, uint64_t key, uint64_t value,
                              bool argument)
{
    if (ckpt_value_tag(into) != CKPT_TAG_BOX) {
        return CKPT_OK;
    }
    struct ckpt_value_box *box = ckpt_values_box_at(values, ckpt_value_index(into));
    uint32_t position = box->count++;
    if (!ckpt_value_matters(value, argument)) {
        return CKPT_OK;
    }
    enum ckpt_err err = ckpt_list_reserve(&values->children, 1, sizeof(struct ckpt_value_child),
                                          CKPT_VALUE_CHILDREN_MAX);
    if (err != CKPT_OK) {
        return err;
    }
    uint32_t i = (uint32_t)values->children.count++;
    *ckpt_values_child_at(values, i) = (struct ckpt_value_child){
        .key = key,
        .value = value,
        .next = CKPT_VALUE_NONE,
        .position = position,
    };
    if (box->last == CKPT_VALUE_NONE) {
        box->first = i;
    } else {
        ckpt_values_child_at(values, box->last)->next = i;
    }
    box->last = i;
    return CKPT_OK;
}

enum ckpt_err ckpt_values_append(struct ckpt_values *values, uint64_t into, uint64_t value, bool argument)
{
    bool box = ckpt_value_tag(into) == CKPT_TAG_BOX;
    uint64_t position = box ? ckpt_values_box_at(values, ckpt_value_index(into))->count : 0;
    return ckpt_values_put(values, into, ckpt_value(CKPT_TAG_NUMBER, position), value, argument);
}

uint64_t ckpt_values_argument(const struct ckpt_values *values, uint64_t tuple, uint32_t position)
{
    uint64_t other = ckpt_value(CKPT_TAG_OTHER, 0);
    if (ckpt_value_tag(tuple) != CKPT_TAG_BOX) {
        return other;
    }
    uint32_t i = ckpt_values_box_at(values, ckpt_value_index(tuple))->first;
    while (i != CKPT_VALUE_NONE) {
        const struct ckpt_value_child *child = ckpt_values_child_at(values, i);
        if (child->position >= position) {
            return child->position == position ? child->value : other;
        }
        i = child->next;
    }
    return other;
}

void ckpt_values_free(struct ckpt_values *values)
{
    free(values->boxes.items);
    free(values->children.items);
    free(values->storages.items);
    free(values->text.items);
    free(values->reals.items);
    free(values->numbers.items);
    memset(values, 0, sizeof *values);
}
