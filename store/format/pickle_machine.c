/*
 * Opcodes by what they do. Values without tensors in them are OTHER, whatever they are, except numbers.
 */
#include "pickle_machine.h"
#include "pickle_number.h"
#include <stdlib.h>
#include <string.h>

enum {
    STACK_MAX = 1 << 20,
    MEMO_MAX = 4 << 20, /* torch notes about 10 values for each tensor */
    MEMO_GAP = 256,     /* every pickler numbers them one after another, so a few bytes can't ask for all of it */
};

static enum ckpt_err push(struct ckpt_machine *m, uint64_t value)
{
    enum ckpt_err err = ckpt_list_reserve(&m->stack, 1, sizeof value, STACK_MAX);
    if (err == CKPT_OK) {
        ((uint64_t *)m->stack.items)[m->stack.count++] = value;
        m->marks += ckpt_value_tag(value) == CKPT_TAG_MARK ? 1 : 0;
    }
    return err;
}

/* Takes N values off the stack; there must be that many. */
static void drop(struct ckpt_machine *m, size_t n)
{
    for (; n > 0; n--) {
        uint64_t value = ((const uint64_t *)m->stack.items)[--m->stack.count];
        m->marks -= ckpt_value_tag(value) == CKPT_TAG_MARK && m->marks > 0 ? 1 : 0;
    }
}

/* The Nth value from the top, 0 for the topmost; there must be that many. */
static uint64_t *peek(struct ckpt_machine *m, size_t n)
{
    return (uint64_t *)m->stack.items + (m->stack.count - 1 - n);
}

/* A number that isn't one of CKPT_TAG_NUMBER. It takes room, so only where it may be a value of the outermost dictionary or
   of one that stands in it: at most their marks are below it, and next to it its name. */
static enum ckpt_err push_real(struct ckpt_machine *m, double number)
{
    enum { MARKS = 2 };
    uint64_t value = ckpt_value(CKPT_TAG_OTHER, 0);
    enum ckpt_err err = CKPT_OK;
    if (m->stack.count > 0 && m->marks <= MARKS && ckpt_value_tag(*peek(m, 0)) == CKPT_TAG_TEXT) {
        err = ckpt_values_add_real(&m->values, number, &value);
    }
    return err == CKPT_OK ? push(m, value) : err;
}

/* ---- The opcodes, each by what it does; CORRUPT when the stack doesn't have what it needs ---- */

static enum ckpt_err do_nothing(struct ckpt_machine *m)
{
    (void)m;
    return CKPT_OK;
}

static enum ckpt_err do_other(struct ckpt_machine *m)
{
    return push(m, ckpt_value(CKPT_TAG_OTHER, 0));
}

static enum ckpt_err do_mark(struct ckpt_machine *m)
{
    return push(m, ckpt_value(CKPT_TAG_MARK, 0));
}

static enum ckpt_err do_stop(struct ckpt_machine *m)
{
    m->stopped = true;
    return m->stack.count > 0 ? CKPT_OK : CKPT_ERR_CORRUPT;
}

static enum ckpt_err do_number(struct ckpt_machine *m)
{
    uint64_t number = m->stream.number;
    bool negative = m->code == 'J' && number > INT32_MAX;
    return negative ? push_real(m, (double)(int32_t)(uint32_t)number) : push(m, ckpt_value(CKPT_TAG_NUMBER, number));
}

/* BINFLOAT: eight bytes, the highest first. */
static enum ckpt_err do_real(struct ckpt_machine *m)
{
    uint64_t bits = __builtin_bswap64(m->stream.number);
    double number = 0;
    memcpy(&number, &bits, sizeof number);
    return push_real(m, number);
}

/* LONG1: as many bytes as the number needs. */
static enum ckpt_err do_long(struct ckpt_machine *m)
{
    const uint8_t *bytes = (const uint8_t *)m->stream.text;
    size_t n = m->stream.text_size;
    uint64_t number = 0;
    if (n > 7) {
        return do_other(m);
    }
    for (size_t i = 0; i < n; i++) {
        number |= (uint64_t)bytes[i] << (8 * i);
    }
    if (n > 0 && (bytes[n - 1] & 0x80) != 0) {
        return push_real(m, -(double)((UINT64_C(1) << (8 * n)) - number));
    }
    return push(m, ckpt_value(CKPT_TAG_NUMBER, number));
}

/* The line as a number: "12", or "12L". */
static bool digits_of(const struct ckpt_pickle_stream *stream, uint64_t *number)
{
    enum { DIGITS_MAX = 15 };
    size_t n = stream->text_size;
    *number = 0;
    if (n > 0 && stream->text[n - 1] == 'L') {
        n--;
    }
    if (n == 0 || n > DIGITS_MAX) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (stream->text[i] < '0' || stream->text[i] > '9') {
            return false;
        }
        *number = 10 * *number + (uint64_t)(stream->text[i] - '0');
    }
    return true;
}

static enum ckpt_err do_digits(struct ckpt_machine *m)
{
    uint64_t number = 0;
    return digits_of(&m->stream, &number) ? push(m, ckpt_value(CKPT_TAG_NUMBER, number)) : do_other(m);
}

static enum ckpt_err do_text(struct ckpt_machine *m)
{
    uint64_t value = 0;
    const char *bytes = m->stream.text;
    size_t n = m->stream.text_size;
    if (m->stream.too_long) {
        return do_other(m);
    }
    if (m->code == 'S' && n >= 2) {
        bytes++; /* quotes */
        n -= 2;
    }
    enum ckpt_err err = ckpt_values_add_text(&m->values, bytes, n, &value);
    return err == CKPT_OK ? push(m, value) : err;
}

static enum ckpt_err do_pop(struct ckpt_machine *m)
{
    if (m->stack.count == 0) {
        return CKPT_ERR_CORRUPT;
    }
    drop(m, 1);
    return CKPT_OK;
}

static enum ckpt_err do_dup(struct ckpt_machine *m)
{
    return m->stack.count > 0 ? push(m, *peek(m, 0)) : CKPT_ERR_CORRUPT;
}

/* How many values stand on the topmost mark. */
static enum ckpt_err above_mark(struct ckpt_machine *m, size_t *n)
{
    for (size_t i = 0; i < m->stack.count; i++) {
        if (ckpt_value_tag(*peek(m, i)) == CKPT_TAG_MARK) {
            *n = i;
            return CKPT_OK;
        }
    }
    return CKPT_ERR_CORRUPT;
}

static enum ckpt_err do_pop_mark(struct ckpt_machine *m)
{
    size_t n = 0;
    enum ckpt_err err = above_mark(m, &n);
    if (err == CKPT_OK) {
        drop(m, n + 1);
    }
    return err;
}

static enum ckpt_err do_box(struct ckpt_machine *m)
{
    uint64_t box = 0;
    enum ckpt_err err = ckpt_values_add_box(&m->values, &box);
    return err == CKPT_OK ? push(m, box) : err;
}

/* Replaces the topmost N values, and BELOW more under them, by a box of them. */
static enum ckpt_err gather(struct ckpt_machine *m, size_t n, size_t below, bool arguments)
{
    uint64_t box = ckpt_value(CKPT_TAG_OTHER, 0);
    enum ckpt_err err = CKPT_OK;
    bool any = !arguments;
    if (m->stack.count < n + below) {
        return CKPT_ERR_CORRUPT;
    }
    for (size_t i = 0; i < n && !any; i++) {
        any = ckpt_value_matters(*peek(m, i), true);
    }
    /* A tuple can't grow, so one of numbers, as the shape of a tensor, is nothing. */
    if (any) {
        err = ckpt_values_add_box(&m->values, &box);
    }
    for (size_t i = n; i > 0 && any && err == CKPT_OK; i--) {
        err = ckpt_values_append(&m->values, box, *peek(m, i - 1), arguments);
    }
    if (err != CKPT_OK) {
        return err;
    }
    drop(m, n + below);
    return push(m, box);
}

/* Also FROZENSET. */
static enum ckpt_err do_tuple(struct ckpt_machine *m)
{
    size_t n = 0;
    enum ckpt_err err = above_mark(m, &n);
    return err == CKPT_OK ? gather(m, n, 1, true) : err;
}

static enum ckpt_err do_short_tuple(struct ckpt_machine *m)
{
    return gather(m, (size_t)(m->code - 0x85) + 1, 0, true);
}

static enum ckpt_err do_list(struct ckpt_machine *m)
{
    size_t n = 0;
    enum ckpt_err err = above_mark(m, &n);
    return err == CKPT_OK ? gather(m, n, 1, false) : err;
}

/* Puts the topmost N values, in pairs of key and value, into INTO. */
static enum ckpt_err put_pairs(struct ckpt_machine *m, uint64_t into, size_t n)
{
    enum ckpt_err err = n % 2 == 0 ? CKPT_OK : CKPT_ERR_CORRUPT;
    for (size_t i = n; i > 0 && err == CKPT_OK; i -= 2) {
        err = ckpt_values_put(&m->values, into, *peek(m, i - 1), *peek(m, i - 2), false);
    }
    return err;
}

/*
 * Keeps the numbers among the topmost N values, pairs that are put into what stands below them and their MARK (0 or 1):
 * if that is the outermost box, or may be in it, with nothing but its mark and a name below. Which it is will be seen at
 * the end; here only so much is kept that many numbers elsewhere don't take the room.
 */
static enum ckpt_err keep_numbers(struct ckpt_machine *m, size_t n, size_t mark)
{
    enum ckpt_err err = CKPT_OK;
    size_t into = n + mark;
    bool outermost = m->stack.count == into + 1;
    bool near = m->marks <= 1 + mark && !outermost && ckpt_value_tag(*peek(m, into + 1)) == CKPT_TAG_TEXT;
    for (size_t i = n; i > 0 && (outermost || near) && err == CKPT_OK; i -= 2) {
        err = ckpt_values_keep_number(&m->values, *peek(m, into), *peek(m, i - 1), *peek(m, i - 2), outermost);
    }
    return err;
}

static enum ckpt_err do_dict(struct ckpt_machine *m)
{
    size_t n = 0;
    uint64_t box = 0;
    enum ckpt_err err = above_mark(m, &n);
    if (err == CKPT_OK) {
        err = ckpt_values_add_box(&m->values, &box);
    }
    if (err == CKPT_OK) {
        err = put_pairs(m, box, n);
    }
    if (err != CKPT_OK) {
        return err;
    }
    drop(m, n + 1);
    return push(m, box);
}

/* SETITEM: key and value; SETITEMS: pairs of them above a mark. Into what is below. */
static enum ckpt_err do_set(struct ckpt_machine *m)
{
    size_t n = 2;
    size_t mark = m->code == 'u' ? 1 : 0;
    enum ckpt_err err = mark != 0 ? above_mark(m, &n) : CKPT_OK;
    if (err != CKPT_OK || m->stack.count < n + mark + 1) {
        return CKPT_ERR_CORRUPT;
    }
    err = put_pairs(m, *peek(m, n + mark), n);
    if (err == CKPT_OK) {
        err = keep_numbers(m, n, mark);
    }
    drop(m, n + mark);
    return err;
}

/* APPEND one, or APPENDS and ADDITEMS those above a mark. */
static enum ckpt_err do_append(struct ckpt_machine *m)
{
    size_t n = 1;
    size_t mark = m->code == 'a' ? 0 : 1;
    enum ckpt_err err = mark != 0 ? above_mark(m, &n) : CKPT_OK;
    if (err != CKPT_OK || m->stack.count < n + mark + 1) {
        return CKPT_ERR_CORRUPT;
    }
    uint64_t into = *peek(m, n + mark);
    for (size_t i = n; i > 0 && err == CKPT_OK; i--) {
        err = ckpt_values_append(&m->values, into, *peek(m, i - 1), false);
    }
    drop(m, n + mark);
    return err;
}

static enum ckpt_err do_global(struct ckpt_machine *m)
{
    struct ckpt_name module = {m->stream.text, m->stream.text_size};
    struct ckpt_name name = {m->stream.second, m->stream.second_size};
    return push(m, ckpt_value_global(module, name));
}

/* STACK_GLOBAL: the names are on the stack. */
static enum ckpt_err do_stack_global(struct ckpt_machine *m)
{
    if (m->stack.count < 2) {
        return CKPT_ERR_CORRUPT;
    }
    uint64_t module = *peek(m, 1);
    uint64_t name = *peek(m, 0);
    bool named = ckpt_value_tag(module) == CKPT_TAG_TEXT && ckpt_value_tag(name) == CKPT_TAG_TEXT;
    drop(m, 2);
    return named ? push(m, ckpt_value_global(ckpt_values_text(&m->values, module),
                                             ckpt_values_text(&m->values, name)))
                 : do_other(m);
}

/* What torch calls a storage: ('storage', class, id, device, number of elements). */
static enum ckpt_err do_persistent(struct ckpt_machine *m)
{
    if (m->stack.count == 0) {
        return CKPT_ERR_CORRUPT;
    }
    uint64_t tuple = *peek(m, 0);
    uint64_t word = ckpt_values_argument(&m->values, tuple, 0);
    uint64_t type = ckpt_values_argument(&m->values, tuple, 1);
    uint64_t id = ckpt_values_argument(&m->values, tuple, 2);
    uint64_t value = ckpt_value(CKPT_TAG_OTHER, 0);
    if (ckpt_value_tag(word) == CKPT_TAG_TEXT && ckpt_value_tag(id) == CKPT_TAG_TEXT &&
        ckpt_name_is(ckpt_values_text(&m->values, word), "storage")) {
        enum ckpt_err err = ckpt_list_reserve(&m->values.storages, 1, sizeof(struct ckpt_value_storage),
                                              CKPT_PARTS_MAX);
        if (err != CKPT_OK) {
            return err;
        }
        value = ckpt_value(CKPT_TAG_STORAGE, m->values.storages.count);
        *ckpt_values_storage_at(&m->values, (uint32_t)m->values.storages.count++) = (struct ckpt_value_storage){
            .id = ckpt_value_index(id),
            .id_size = (uint32_t)ckpt_values_text(&m->values, id).size,
            .path = CKPT_VALUE_NONE,
            .type = ckpt_value_tag(type) == CKPT_TAG_TYPE ? ckpt_value_index(type) : CKPT_VALUE_NONE,
        };
    }
    *peek(m, 0) = value;
    return CKPT_OK;
}

/*
 * What CLASS makes of the arguments ARGS. Whatever has a storage, or a tensor, as its first one is a tensor
 * (_rebuild_tensor_v2, _rebuild_parameter and their relatives). Its type, if the storage has only bytes, is the
 * seventh argument of _rebuild_tensor_v3.
 */
static enum ckpt_err call(struct ckpt_machine *m, uint64_t class, uint64_t args, uint64_t *value)
{
    enum { DTYPE_ARGUMENT = 6 };
    uint64_t first = ckpt_values_argument(&m->values, args, 0);
    if (ckpt_value_tag(first) == CKPT_TAG_STORAGE) {
        struct ckpt_value_storage *storage = ckpt_values_storage_at(&m->values, ckpt_value_index(first));
        uint64_t type = ckpt_values_argument(&m->values, args, DTYPE_ARGUMENT);
        if (storage->type == CKPT_VALUE_NONE && ckpt_value_tag(type) == CKPT_TAG_TYPE) {
            storage->type = ckpt_value_index(type);
        }
        *value = first;
        return CKPT_OK;
    }
    enum ckpt_err err = ckpt_values_add_box(&m->values, value);
    if (err == CKPT_OK && ckpt_value_tag(class) != CKPT_TAG_ORDERED) {
        err = ckpt_values_put(&m->values, *value, ckpt_value(CKPT_TAG_WITHIN, 0), args, false);
    }
    return err;
}

/* REDUCE and NEWOBJ: class and arguments; NEWOBJ_EX: and arguments by name. */
static enum ckpt_err do_call(struct ckpt_machine *m)
{
    size_t n = m->code == 0x92 ? 3 : 2;
    uint64_t value = 0;
    if (m->stack.count < n) {
        return CKPT_ERR_CORRUPT;
    }
    double number = 0;
    if (ckpt_value_tag(*peek(m, n - 1)) == CKPT_TAG_SCALAR &&
        ckpt_number_of_numpy(&m->values, *peek(m, n - 2), &number)) {
        drop(m, n);
        return push_real(m, number);
    }
    enum ckpt_err err = call(m, *peek(m, n - 1), *peek(m, n - 2), &value);
    if (err == CKPT_OK && n == 3) {
        err = ckpt_values_put(&m->values, value, ckpt_value(CKPT_TAG_WITHIN, 0), *peek(m, 0), false);
    }
    drop(m, n);
    return err == CKPT_OK ? push(m, value) : err;
}

/* INST: the class is named here; OBJ: it is the first value above the mark. */
static enum ckpt_err do_instance(struct ckpt_machine *m)
{
    size_t n = 0;
    size_t class = m->code == 'o' ? 1 : 0;
    uint64_t value = 0;
    enum ckpt_err err = above_mark(m, &n);
    if (err != CKPT_OK || n < class) {
        return CKPT_ERR_CORRUPT;
    }
    err = gather(m, n - class, 1 + class, true);
    if (err == CKPT_OK) {
        err = call(m, ckpt_value(CKPT_TAG_OTHER, 0), *peek(m, 0), &value);
    }
    if (err == CKPT_OK) {
        *peek(m, 0) = value;
    }
    return err;
}

/* Gives the object below its state. */
static enum ckpt_err do_build(struct ckpt_machine *m)
{
    if (m->stack.count < 2) {
        return CKPT_ERR_CORRUPT;
    }
    enum ckpt_err err =
        ckpt_values_put(&m->values, *peek(m, 1), ckpt_value(CKPT_TAG_WITHIN, 0), *peek(m, 0), false);
    drop(m, 1);
    return err;
}

static bool memo_index(const struct ckpt_machine *m, size_t *index)
{
    uint64_t number = m->stream.number;
    bool good = (m->code != 'p' && m->code != 'g') || digits_of(&m->stream, &number);
    *index = (size_t)number;
    return good && number < MEMO_MAX;
}

/* PUT and its relatives; MEMOIZE takes the next place. */
static enum ckpt_err do_memo_put(struct ckpt_machine *m)
{
    size_t index = m->memo.count;
    if (m->stack.count == 0) {
        return CKPT_ERR_CORRUPT;
    }
    if (m->code != 0x94 && (!memo_index(m, &index) || index > m->memo.count + MEMO_GAP)) {
        return CKPT_OK;
    }
    if (index >= m->memo.count) {
        enum ckpt_err err = ckpt_list_reserve(&m->memo, index + 1 - m->memo.count, sizeof(uint64_t), MEMO_MAX);
        if (err != CKPT_OK) {
            return err;
        }
        while (m->memo.count <= index) {
            ((uint64_t *)m->memo.items)[m->memo.count++] = ckpt_value(CKPT_TAG_OTHER, 0);
        }
    }
    ((uint64_t *)m->memo.items)[index] = *peek(m, 0);
    return CKPT_OK;
}

static enum ckpt_err do_memo_get(struct ckpt_machine *m)
{
    size_t index = 0;
    bool known = memo_index(m, &index) && index < m->memo.count;
    return push(m, known ? ((const uint64_t *)m->memo.items)[index] : ckpt_value(CKPT_TAG_OTHER, 0));
}

struct opcode {
    enum ckpt_err (*run)(struct ckpt_machine *m);
    enum ckpt_operand operand;
};

/* By code; those without a function aren't known. */
static const struct opcode opcodes[256] = {
    ['('] = {do_mark, CKPT_OPERAND_NONE},
    [')'] = {do_other, CKPT_OPERAND_NONE}, /* EMPTY_TUPLE */
    ['.'] = {do_stop, CKPT_OPERAND_NONE},
    ['0'] = {do_pop, CKPT_OPERAND_NONE},
    ['1'] = {do_pop_mark, CKPT_OPERAND_NONE},
    ['2'] = {do_dup, CKPT_OPERAND_NONE},
    ['B'] = {do_other, CKPT_OPERAND_TEXT32}, /* BINBYTES */
    ['C'] = {do_other, CKPT_OPERAND_TEXT8},  /* SHORT_BINBYTES */
    ['F'] = {do_other, CKPT_OPERAND_LINE},   /* FLOAT */
    ['G'] = {do_real, CKPT_OPERAND_U64},     /* BINFLOAT */
    ['I'] = {do_digits, CKPT_OPERAND_LINE},  /* INT */
    ['J'] = {do_number, CKPT_OPERAND_U32},   /* BININT */
    ['K'] = {do_number, CKPT_OPERAND_U8},    /* BININT1 */
    ['L'] = {do_digits, CKPT_OPERAND_LINE},  /* LONG */
    ['M'] = {do_number, CKPT_OPERAND_U16},   /* BININT2 */
    ['N'] = {do_other, CKPT_OPERAND_NONE},
    ['P'] = {do_other, CKPT_OPERAND_LINE}, /* PERSID */
    ['Q'] = {do_persistent, CKPT_OPERAND_NONE},
    ['R'] = {do_call, CKPT_OPERAND_NONE},
    ['S'] = {do_text, CKPT_OPERAND_LINE},   /* STRING */
    ['T'] = {do_text, CKPT_OPERAND_TEXT32}, /* BINSTRING */
    ['U'] = {do_text, CKPT_OPERAND_TEXT8},  /* SHORT_BINSTRING */
    ['V'] = {do_text, CKPT_OPERAND_LINE},   /* UNICODE */
    ['X'] = {do_text, CKPT_OPERAND_TEXT32}, /* BINUNICODE */
    [']'] = {do_box, CKPT_OPERAND_NONE},
    ['a'] = {do_append, CKPT_OPERAND_NONE},
    ['b'] = {do_build, CKPT_OPERAND_NONE},
    ['c'] = {do_global, CKPT_OPERAND_LINES},
    ['d'] = {do_dict, CKPT_OPERAND_NONE},
    ['e'] = {do_append, CKPT_OPERAND_NONE},
    ['g'] = {do_memo_get, CKPT_OPERAND_LINE},
    ['h'] = {do_memo_get, CKPT_OPERAND_U8},
    ['i'] = {do_instance, CKPT_OPERAND_LINES},
    ['j'] = {do_memo_get, CKPT_OPERAND_U32},
    ['l'] = {do_list, CKPT_OPERAND_NONE},
    ['o'] = {do_instance, CKPT_OPERAND_NONE},
    ['p'] = {do_memo_put, CKPT_OPERAND_LINE},
    ['q'] = {do_memo_put, CKPT_OPERAND_U8},
    ['r'] = {do_memo_put, CKPT_OPERAND_U32},
    ['s'] = {do_set, CKPT_OPERAND_NONE},
    ['t'] = {do_tuple, CKPT_OPERAND_NONE},
    ['u'] = {do_set, CKPT_OPERAND_NONE},
    ['}'] = {do_box, CKPT_OPERAND_NONE},
    [0x80] = {do_nothing, CKPT_OPERAND_U8}, /* PROTO */
    [0x81] = {do_call, CKPT_OPERAND_NONE},  /* NEWOBJ */
    [0x82] = {do_other, CKPT_OPERAND_U8},   /* EXT1, 2, 4 */
    [0x83] = {do_other, CKPT_OPERAND_U16},
    [0x84] = {do_other, CKPT_OPERAND_U32},
    [0x85] = {do_short_tuple, CKPT_OPERAND_NONE},
    [0x86] = {do_short_tuple, CKPT_OPERAND_NONE},
    [0x87] = {do_short_tuple, CKPT_OPERAND_NONE},
    [0x88] = {do_other, CKPT_OPERAND_NONE}, /* NEWTRUE */
    [0x89] = {do_other, CKPT_OPERAND_NONE},
    [0x8a] = {do_long, CKPT_OPERAND_TEXT8},
    [0x8b] = {do_other, CKPT_OPERAND_TEXT32}, /* LONG4 */
    [0x8c] = {do_text, CKPT_OPERAND_TEXT8},   /* SHORT_BINUNICODE */
    [0x8d] = {do_text, CKPT_OPERAND_TEXT64},
    [0x8e] = {do_other, CKPT_OPERAND_TEXT64}, /* BINBYTES8 */
    [0x8f] = {do_box, CKPT_OPERAND_NONE},     /* EMPTY_SET */
    [0x90] = {do_append, CKPT_OPERAND_NONE},  /* ADDITEMS */
    [0x91] = {do_tuple, CKPT_OPERAND_NONE},   /* FROZENSET */
    [0x92] = {do_call, CKPT_OPERAND_NONE},    /* NEWOBJ_EX */
    [0x93] = {do_stack_global, CKPT_OPERAND_NONE},
    [0x94] = {do_memo_put, CKPT_OPERAND_NONE}, /* MEMOIZE */
    [0x95] = {do_nothing, CKPT_OPERAND_U64},   /* FRAME */
    [0x96] = {do_other, CKPT_OPERAND_TEXT64},  /* BYTEARRAY8 */
    [0x97] = {do_other, CKPT_OPERAND_NONE},    /* NEXT_BUFFER */
    [0x98] = {do_nothing, CKPT_OPERAND_NONE},  /* READONLY_BUFFER */
};

enum ckpt_err ckpt_machine_run(struct ckpt_machine *machine, uint64_t *root)
{
    while (!machine->stopped) {
        enum ckpt_err err = ckpt_pickle_opcode(&machine->stream, &machine->code);
        const struct opcode *opcode = &opcodes[machine->code];
        if (err == CKPT_OK) {
            err = opcode->run != NULL ? ckpt_pickle_operand(&machine->stream, opcode->operand)
                                      : CKPT_ERR_CORRUPT;
        }
        if (err == CKPT_OK) {
            err = opcode->run(machine);
        }
        if (err != CKPT_OK) {
            return err;
        }
    }
    *root = *peek(machine, 0);
    return CKPT_OK;
}

void ckpt_machine_free(struct ckpt_machine *machine)
{
    free(machine->stack.items);
    free(machine->memo.items);
    ckpt_values_free(&machine->values);
}
