#include "naming_fields.h"
#include "naming.h"
#include "naming_words.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { NUMBER_MAX = 40 };

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static char lower(char c)
{
    if (c >= 'A' && c <= 'Z') {
        return (char)(c - 'A' + 'a');
    }
    return c;
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (unsigned char)c >= 0x80;
}

/* ---- The extension ---- */

size_t ckpt_naming_stem(const char *name)
{
    /* Those that end another one come after it. */
    static const char *const extensions[] = {
        ".safetensors.index.json",
        ".bin.index.json",
        ".weights.h5",
        ".pth.tar",
        ".pt.tar",
        ".ckpt.tar",
        ".tar.gz",
        ".safetensors",
        ".ckpt",
        ".pth",
        ".pt",
        ".bin",
        ".h5",
        ".hdf5",
        ".keras",
        ".npz",
        ".npy",
        ".pkl",
        ".pickle",
        ".msgpack",
        ".onnx",
        ".gguf",
        ".tar",
        ".distcp",
        ".zip",
        ".joblib",
        ".json",
        ".jsonl",
        ".nemo",
        ".model",
        ".params",
        ".pdparams",
        ".pdopt",
        ".tflite",
        ".pb",
        ".index",
        ".txt",
        ".csv",
        ".th",
        ".t7",
        ".mar",
        ".torch",
    };
    size_t n = strlen(name);
    for (size_t i = 0; i < sizeof extensions / sizeof extensions[0]; i++) {
        size_t extension = strlen(extensions[i]);
        if (n > extension && strcasecmp(name + n - extension, extensions[i]) == 0) {
            return n - extension;
        }
    }
    return n;
}

/* ---- Fields ---- */

/* How many bytes of a number stand at TEXT: "12", "0.21", "1e-4", with a sign. */
static size_t number_length(const char *text, size_t n)
{
    size_t at = n > 0 && (text[0] == '-' || text[0] == '+') ? 1 : 0;
    size_t first = at;
    while (at < n && is_digit(text[at])) {
        at++;
    }
    if (at == first) {
        return 0;
    }
    if (at + 1 < n && text[at] == '.' && is_digit(text[at + 1])) {
        at++;
        while (at < n && is_digit(text[at])) {
            at++;
        }
    }
    if (at + 1 < n && (text[at] == 'e' || text[at] == 'E')) {
        size_t exponent = at + 1;
        exponent += text[exponent] == '-' || text[exponent] == '+' ? 1 : 0;
        size_t digits = exponent;
        while (digits < n && is_digit(text[digits])) {
            digits++;
        }
        /* "6c64e313" is the hash of a file. */
        if (digits > exponent && digits - exponent <= 3 && (digits == n || !is_letter(text[digits]))) {
            at = digits;
        }
    }
    return at;
}

static void set_number(struct ckpt_field *field, const char *text, size_t n)
{
    char copy[NUMBER_MAX];
    field->number = n > 0 && n < sizeof copy;
    if (!field->number) {
        return;
    }
    memcpy(copy, text, n);
    copy[n] = '\0';
    field->value = strtod(copy, NULL);
    field->whole = n < 20 && strspn(copy, "0123456789") == n;
    field->integer = field->whole ? strtoull(copy, NULL, 10) : 0;
}

/* Cuts the field that begins at TEXT; N is what is left of the name. */
static void cut_field(struct ckpt_field *field, const char *text, size_t n)
{
    size_t at = number_length(text, n);
    field->at = text;
    if (at > 0 && (at == n || !(is_letter(text[at]) || is_digit(text[at])))) {
        field->n = at;
        set_number(field, text, at);
        return;
    }
    at = 0;
    while (at < n && is_letter(text[at])) {
        at++;
    }
    field->letters = at;
    size_t number = at < n && is_digit(text[at]) ? number_length(text + at, n - at) : 0;
    if (number > 0 && (at + number == n || !(is_letter(text[at + number]) || is_digit(text[at + number])))) {
        field->n = at + number;
        set_number(field, text + at, number);
        return;
    }
    while (at < n && (is_letter(text[at]) || is_digit(text[at]))) {
        at++;
    }
    field->n = at;
}

size_t ckpt_fields_cut(const char *name, size_t n, struct ckpt_field *fields, size_t max)
{
    size_t count = 0;
    for (size_t at = 0; at < n && count < max;) {
        bool minus = at > 0 && at + 1 < n && name[at] == '-' && is_digit(name[at + 1]) &&
                     (name[at - 1] == '=' || name[at - 1] == '-' || name[at - 1] == '_');
        if (!is_letter(name[at]) && !is_digit(name[at]) && !minus) {
            at++;
            continue;
        }
        struct ckpt_field *field = &fields[count++];
        memset(field, 0, sizeof *field);
        cut_field(field, name + at, n - at);
        field->before = '\0';
        if (at > 0) {
            field->before = name[at - 1];
        }
        at += field->n;
    }
    return count;
}

/* ---- What a field is ---- */

bool ckpt_field_is_number(const struct ckpt_field *field)
{
    return field != NULL && !field->used && field->number && field->letters == 0;
}

bool ckpt_field_is_whole(const struct ckpt_field *field)
{
    return ckpt_field_is_number(field) && field->whole;
}

bool ckpt_field_is(const struct ckpt_field *field, const char *word)
{
    return field != NULL && field->n == strlen(word) && strncasecmp(field->at, word, field->n) == 0;
}

bool ckpt_field_count(const struct ckpt_field *field, uint64_t *count)
{
    if (ckpt_field_is_whole(field)) {
        *count = field->integer;
        return true;
    }
    if (field == NULL || field->used || field->letters > 0 || field->n < 2 || field->n > 7) {
        return false;
    }
    char unit = field->at[field->n - 1];
    uint64_t factor = unit == 'k' || unit == 'K' ? 1000 : unit == 'M' || unit == 'm' ? 1000000 : 0;
    for (size_t i = 0; i + 1 < field->n; i++) {
        if (!is_digit(field->at[i])) {
            return false;
        }
    }
    *count = strtoull(field->at, NULL, 10) * factor;
    return factor > 0;
}

bool ckpt_field_is_size_or_hash(const struct ckpt_field *field)
{
    size_t first = 0;
    while (first < field->n && is_digit(field->at[first])) {
        first++;
    }
    size_t rest = first + 1;
    while (rest < field->n && is_digit(field->at[rest])) {
        rest++;
    }
    if (first > 0 && first + 1 < field->n && rest == field->n &&
        (field->at[first] == 'x' || field->at[first] == 'X')) {
        return true;
    }
    size_t digit = 0;
    for (size_t i = 0; i < field->n; i++) {
        if (strchr("0123456789abcdef", field->at[i]) == NULL) {
            return false;
        }
        digit += is_digit(field->at[i]) ? 1 : 0;
    }
    return field->n == 8 && digit > 0 && digit < 8;
}

/* ---- Dates ---- */

static bool good_date(uint64_t year, uint64_t month, uint64_t day)
{
    return year >= 1990 && year < 2100 && month >= 1 && month <= 12 && day >= 1 && day <= 31;
}

/* A field of N digits and nothing else. */
static bool digits(const struct ckpt_field *fields, size_t count, size_t i, size_t n)
{
    return i < count && !fields[i].used && fields[i].whole && fields[i].letters == 0 && fields[i].n == n;
}

static bool set_time(struct ckpt_moment *moment, uint64_t hour, uint64_t minute, uint64_t second)
{
    if (hour >= 24 || minute >= 60 || second >= 60) {
        return false;
    }
    moment->has_time = true;
    moment->time = (uint32_t)(10000 * hour + 100 * minute + second);
    return true;
}

/* The time of day behind a date, at field I: 153000, 1530, 15-30-00 or 15-30. Gives the field behind it. */
static size_t read_time(const struct ckpt_field *fields, size_t count, size_t i, struct ckpt_moment *moment)
{
    if (digits(fields, count, i, 6) || digits(fields, count, i, 4)) {
        uint64_t time = fields[i].integer * (fields[i].n == 4 ? 100 : 1);
        return set_time(moment, time / 10000, time / 100 % 100, time % 100) ? i + 1 : i;
    }
    if (digits(fields, count, i, 2) && digits(fields, count, i + 1, 2)) {
        bool seconds = digits(fields, count, i + 2, 2);
        size_t end = i + (seconds ? 3 : 2);
        return set_time(moment, fields[i].integer, fields[i + 1].integer, seconds ? fields[i + 2].integer : 0)
                   ? end
                   : i;
    }
    return i;
}

/* Of "24T15" in "2024-11-24T15:30:00" the 24 and the 15. */
static bool split_at_t(const struct ckpt_field *field, uint64_t *day, uint64_t *hour)
{
    if (field->n != 5 || (field->at[2] != 'T' && field->at[2] != 't')) {
        return false;
    }
    char *end = NULL;
    *day = strtoull(field->at, &end, 10);
    if (end != field->at + 2) {
        return false;
    }
    *hour = strtoull(field->at + 3, &end, 10);
    return end == field->at + 5;
}

/* "2024-11-24", with or without a time. */
static size_t read_spread(const struct ckpt_field *fields, size_t count, size_t i, struct ckpt_moment *moment)
{
    uint64_t day = 0;
    uint64_t hour = 0;
    if (!digits(fields, count, i, 4) || !digits(fields, count, i + 1, 2) || i + 2 >= count) {
        return i;
    }
    bool joined = split_at_t(&fields[i + 2], &day, &hour);
    if (digits(fields, count, i + 2, 2)) {
        day = fields[i + 2].integer;
    }
    if (!good_date(fields[i].integer, fields[i + 1].integer, day)) {
        return i;
    }
    moment->date = (uint32_t)(10000 * fields[i].integer + 100 * fields[i + 1].integer + day);
    if (!joined) {
        return read_time(fields, count, i + 3, moment);
    }
    if (!digits(fields, count, i + 3, 2)) {
        return i + 3;
    }
    bool seconds = digits(fields, count, i + 4, 2);
    (void)set_time(moment, hour, fields[i + 3].integer, seconds ? fields[i + 4].integer : 0);
    return i + (seconds ? 5 : 4);
}

/* "20241124", "20241124T153000", "20241124153000". */
static size_t read_joined(const struct ckpt_field *fields, size_t count, size_t i, struct ckpt_moment *moment)
{
    const struct ckpt_field *field = &fields[i];
    uint64_t date = field->integer;
    uint64_t time = 0;
    bool has_time = false;
    if (digits(fields, count, i, 14)) {
        time = date % 1000000;
        date /= 1000000;
        has_time = true;
    } else if (field->n == 15 && (field->at[8] == 'T' || field->at[8] == 't')) {
        char *end = NULL;
        date = strtoull(field->at, NULL, 10);
        time = strtoull(field->at + 9, &end, 10);
        has_time = end == field->at + 15;
    } else if (!digits(fields, count, i, 8)) {
        return i;
    }
    if (!good_date(date / 10000, date / 100 % 100, date % 100)) {
        return i;
    }
    moment->date = (uint32_t)date;
    if (has_time) {
        (void)set_time(moment, time / 10000, time / 100 % 100, time % 100);
        return i + 1;
    }
    return read_time(fields, count, i + 1, moment);
}

size_t ckpt_fields_date(const struct ckpt_field *fields, size_t count, size_t i, struct ckpt_moment *moment)
{
    struct ckpt_moment found = {0};
    size_t next = read_joined(fields, count, i, &found);
    if (next == i) {
        next = read_spread(fields, count, i, &found);
    }
    if (next > i) {
        *moment = found;
    }
    return next;
}

/* ---- Names of metrics ---- */

void ckpt_metric_normalise(const char *name, size_t n, char *out, size_t size)
{
    size_t at = 0;
    size_t prefix = ckpt_word_prefix(name, n);
    for (size_t i = 0; i < n && at + 1 < size; i++) {
        char c = name[i];
        bool upper = c >= 'A' && c <= 'Z';
        bool after_lower = i > 0 && name[i - 1] >= 'a' && name[i - 1] <= 'z';
        /* "valLoss" and "valloss", but not "mAP". */
        bool camel = upper && after_lower && (prefix > 0 ? i < prefix : i > 1 && !ckpt_word_metric(name, n));
        bool starts = camel || (prefix > 0 && i == prefix);
        if (!is_letter(c) && !is_digit(c)) {
            if (at > 0 && out[at - 1] != '_') {
                out[at++] = '_';
            }
            continue;
        }
        if (starts && at > 0 && out[at - 1] != '_' && at + 2 < size) {
            out[at++] = '_';
        }
        out[at++] = lower(c);
    }
    while (at > 0 && out[at - 1] == '_') {
        at--;
    }
    out[at] = '\0';
}
