/*
 * data.pkl of torch.save: which storages the pickled object has, of what element type, and where in the object
 * each one is.
 *
 * A pickle is a program for a stack machine. This one runs no code of anybody: it makes dictionaries, lists and
 * tuples, and for whatever else is called or built keeps the arguments and the state, so that tensors in them
 * are found (https://github.com/python/cpython/blob/main/Lib/pickletools.py, protocols 0 to 5).
 */
#ifndef CKPT_STORE_PICKLE_H
#define CKPT_STORE_PICKLE_H

#include "container.h"

struct ckpt_storage {
    struct ckpt_name id;   /* "12" of data/12 */
    struct ckpt_name path; /* "model.blocks.0.weight"; BYTES is NULL when it isn't known */
    struct ckpt_name type; /* "FloatStorage", "float8_e4m3fn" for one of bytes; empty: not known */
    uint8_t width;         /* of an element, 0 when it isn't known */
};

/* What the outermost dictionary has besides tensors: numbers, also those of a dictionary that stands in it, and what is
   no number and not empty. Bounded by the limits in pickle_value.h; more are left out. */
struct ckpt_pickle_entry {
    struct ckpt_name group; /* the dictionary that the number stands in; empty for the outermost */
    struct ckpt_name name;
    bool is_number; /* else a dictionary, list or object */
    double number;  /* also of a NumPy scalar */
};

struct ckpt_pickle {
    struct ckpt_storage *list; /* by id, each once */
    size_t count;
    struct ckpt_pickle_entry *entries;
    size_t entry_count;
    char *text; /* what the names point into */
};

/*
 * Reads the pickle in SIZE bytes at OFFSET of SOURCE; PICKLE is all zeros before, to be cleared afterwards in
 * any case. One that makes no sense, or is too big, gives what was found before that, without paths. Memory is
 * bounded by the limits in pickle_value.h, pickle_machine.c and pickle_stream.h. Errors: NOMEM, IO.
 */
CKPT_MUST_USE enum ckpt_err ckpt_pickle_read(const struct ckpt_source *source, uint64_t offset, uint64_t size,
                                             struct ckpt_pickle *pickle);

/* The storage of that id; NULL: none. */
const struct ckpt_storage *ckpt_pickle_find(const struct ckpt_pickle *pickle, struct ckpt_name id);

void ckpt_pickle_clear(struct ckpt_pickle *pickle);

#endif
