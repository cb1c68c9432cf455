/*
 * The fields of a name: what stands between its separators. For naming.c.
 */
#ifndef CKPT_STORE_NAMING_FIELDS_H
#define CKPT_STORE_NAMING_FIELDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ckpt_field {
    const char *at;
    size_t n;
    char before;    /* the character before it, '\0' at the start */
    size_t letters; /* it begins with so many; of "epoch12" 5, of "12" 0 */
    bool number;    /* what follows the letters is a number and nothing else */
    bool whole;     /* a number of digits only, that fits */
    uint64_t integer;
    double value;
    bool used;
};

/*
 * Cuts NAME at everything that is neither a letter nor a digit, but keeps "." and exponents within numbers,
 * and a "-" that is a sign. Gives their number, MAX at most; what is beyond isn't looked at.
 */
size_t ckpt_fields_cut(const char *name, size_t n, struct ckpt_field *fields, size_t max);

/* Whether a field is a number alone that nothing has taken yet; NULL is none. */
bool ckpt_field_is_number(const struct ckpt_field *field);

/* ... and one of digits only. */
bool ckpt_field_is_whole(const struct ckpt_field *field);

/* Whether it is that word, in any case. */
bool ckpt_field_is(const struct ckpt_field *field, const char *word);

/* The number of "12", "80k", "1M"; false: something else, *COUNT is untouched. */
bool ckpt_field_count(const struct ckpt_field *field, uint64_t *count);

/* "224x224", or the "6c64b313" of a download. */
bool ckpt_field_is_size_or_hash(const struct ckpt_field *field);

/* A date, and the time of day if there is one. */
struct ckpt_moment {
    uint32_t date; /* 20241124 */
    uint32_t time; /* 153000 */
    bool has_time;
};

/*
 * Reads a date at field I, in any of the common forms. Gives the field behind it; I: there is none, *MOMENT
 * is untouched.
 */
size_t ckpt_fields_date(const struct ckpt_field *fields, size_t count, size_t i, struct ckpt_moment *moment);

#endif
