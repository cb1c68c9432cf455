/*
 * The values that a pickle's machine works on. A value is a number: its tag and what that means. Dictionaries,
 * lists, tuples and objects are all a *box*: a list of children with keys. A box keeps the values that lead to
 * tensors, and names where they are arguments; of others only the count, so that a list of a million losses
 * takes no room. The numbers of the outermost dictionary, and of those in it, stand in a list of their own.
 *
 * Boxes may be shared and form rings. For pickle.c and pickle_machine.c.
 */
#ifndef CKPT_STORE_PICKLE_VALUE_H
#define CKPT_STORE_PICKLE_VALUE_H

#include "container.h"
#include <stdbool.h>

enum {
    CKPT_VALUE_BOXES_MAX = 2 << 20,
    CKPT_VALUE_CHILDREN_MAX = 2 << 20, /* a tensor takes 8 */
    CKPT_VALUE_TEXT_MAX = 32 << 20,
    CKPT_VALUE_REALS_MAX = 64 << 10,
    CKPT_VALUE_NUMBERS_MAX = 1024, /* of which the outermost dictionary has half to itself, */
    CKPT_VALUE_NUMBERS_BOX = 128,  /* and each other one may have that many */
};

enum ckpt_tag {
    CKPT_TAG_OTHER, /* anything that leads to no tensor and is no name */
    CKPT_TAG_MARK,
    CKPT_TAG_NUMBER,  /* the number, not negative, up to 55 bits */
    CKPT_TAG_TEXT,    /* offset in the text, 32 bits, then length */
    CKPT_TAG_TYPE,    /* an element type's index, ckpt_value_type */
    CKPT_TAG_ORDERED, /* the class OrderedDict */
    CKPT_TAG_STORAGE, /* index in storages */
    CKPT_TAG_BOX,     /* index in boxes */
    CKPT_TAG_WITHIN,  /* as a key: adds nothing to the path */
    CKPT_TAG_REAL,    /* index in reals: a number that is no CKPT_TAG_NUMBER, where it may be wanted */
    CKPT_TAG_SCALAR,  /* the function that makes a NumPy scalar */
};

enum { CKPT_VALUE_SHIFT = 56, CKPT_VALUE_LENGTH_SHIFT = 32 };

/* No index. */
#define CKPT_VALUE_NONE UINT32_MAX

struct ckpt_value_box {
    uint32_t first; /* child */
    uint32_t last;
    uint32_t count; /* with those that it doesn't keep */
    bool visited;   /* for who walks through them */
    uint16_t numbers; /* how many of it are kept */
};

struct ckpt_value_child {
    uint64_t key;
    uint64_t value;
    uint32_t next;
    uint32_t position; /* among all that were put */
};

/* A number under a name. */
struct ckpt_value_number {
    uint32_t box;
    uint32_t name; /* in the text */
    uint32_t name_size;
    double number;
};

/* One naming of a storage: a storage with several tensors is named by each. */
struct ckpt_value_storage {
    uint32_t id; /* in the text */
    uint32_t id_size;
    uint32_t path; /* in the text; NONE: not found */
    uint32_t path_size;
    uint32_t type; /* NONE: not known */
};

struct ckpt_list {
    void *items;
    size_t count;
    size_t room;
};

struct ckpt_values {
    struct ckpt_list boxes;    /* struct ckpt_value_box */
    struct ckpt_list children; /* struct ckpt_value_child */
    struct ckpt_list storages; /* struct ckpt_value_storage */
    struct ckpt_list text;     /* char */
    struct ckpt_list reals;    /* double */
    struct ckpt_list numbers;  /* struct ckpt_value_number */
};

static inline uint64_t ckpt_value(enum ckpt_tag tag, uint64_t payload)
{
    return (uint64_t)tag << CKPT_VALUE_SHIFT | payload;
}

static inline enum ckpt_tag ckpt_value_tag(uint64_t value)
{
    return (enum ckpt_tag)(value >> CKPT_VALUE_SHIFT);
}

/* Of a text its offset. */
static inline uint32_t ckpt_value_index(uint64_t value)
{
    return (uint32_t)value;
}

static inline uint64_t ckpt_value_number(uint64_t value)
{
    return value & ((UINT64_C(1) << CKPT_VALUE_SHIFT) - 1);
}

static inline struct ckpt_value_box *ckpt_values_box_at(const struct ckpt_values *values, uint32_t i)
{
    return (struct ckpt_value_box *)values->boxes.items + i;
}

static inline struct ckpt_value_child *ckpt_values_child_at(const struct ckpt_values *values, uint32_t i)
{
    return (struct ckpt_value_child *)values->children.items + i;
}

static inline struct ckpt_value_storage *ckpt_values_storage_at(const struct ckpt_values *values, uint32_t i)
{
    return (struct ckpt_value_storage *)values->storages.items + i;
}

static inline struct ckpt_value_number *ckpt_values_number_at(const struct ckpt_values *values, size_t i)
{
    return (struct ckpt_value_number *)values->numbers.items + i;
}

/* What a pickle means by a class or constant: a type, OrderedDict, SCALAR, or OTHER. */
uint64_t ckpt_value_global(struct ckpt_name module, struct ckpt_name name);

/* Name and width of a CKPT_TAG_TYPE; static storage. */
const char *ckpt_value_type(uint32_t type, uint8_t *width);

/* Makes room for N more items of SIZE bytes. CORRUPT: that would be more than MOST; NOMEM. So do all below. */
CKPT_MUST_USE enum ckpt_err ckpt_list_reserve(struct ckpt_list *list, size_t n, size_t size, size_t most);

/* Whether a box keeps the value; ARGUMENT: it is a tuple. */
bool ckpt_value_matters(uint64_t value, bool argument);

CKPT_MUST_USE enum ckpt_err ckpt_values_add_box(struct ckpt_values *values, uint64_t *value);
CKPT_MUST_USE enum ckpt_err ckpt_values_add_text(struct ckpt_values *values, const char *bytes, size_t n,
                                                 uint64_t *value);

/* Put VALUE into a box, the second one with its position as the key; what isn't a box forgets it. */
CKPT_MUST_USE enum ckpt_err ckpt_values_put(struct ckpt_values *values, uint64_t into, uint64_t key,
                                            uint64_t value, bool argument);
CKPT_MUST_USE enum ckpt_err ckpt_values_append(struct ckpt_values *values, uint64_t into, uint64_t value,
                                               bool argument);

/* A number as a value; OTHER when there are too many. NOMEM. */
CKPT_MUST_USE enum ckpt_err ckpt_values_add_real(struct ckpt_values *values, double number, uint64_t *value);

/* Keeps VALUE for BOX if it is a number, and KEY a text, and there is room: more for the OUTERMOST box. NOMEM. */
CKPT_MUST_USE enum ckpt_err ckpt_values_keep_number(struct ckpt_values *values, uint64_t box, uint64_t key,
                                                    uint64_t value, bool outermost);

/* Of a CKPT_TAG_TEXT; dies when text is added. */
struct ckpt_name ckpt_values_text(const struct ckpt_values *values, uint64_t value);

/* The argument at POSITION of a tuple; OTHER if it is nothing that matters, or none. */
uint64_t ckpt_values_argument(const struct ckpt_values *values, uint64_t tuple, uint32_t position);

void ckpt_values_free(struct ckpt_values *values);

#endif
