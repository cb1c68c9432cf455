#include "common/text.h"
#include "common/utf8.h"
#include "metrics_parts.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    NUMBER_MAX = 64,          /* a double takes 24 characters, a fixed-point one of numpy's rarely more */
    SECONDS_MAX = 9000000000, /* the year 2255: nanoseconds fit 63 bits */
    CHECKPOINT_DIGITS = 18,
};

static const double exact = 9007199254740992.0; /* 2^53: up to here a double tells integers apart */

static const char *const kind_names[] = {
    [CKPT_METRICS_NONE] = "none",           [CKPT_METRICS_CSV] = "csv",
    [CKPT_METRICS_LIGHTNING] = "lightning", [CKPT_METRICS_KERAS] = "keras",
    [CKPT_METRICS_RAY_CSV] = "ray-csv",     [CKPT_METRICS_RAY_JSON] = "ray",
    [CKPT_METRICS_HF] = "trainer-state",    [CKPT_METRICS_WANDB] = "wandb",
    [CKPT_METRICS_OPTUNA] = "optuna",       [CKPT_METRICS_TFEVENTS] = "tensorboard",
    [CKPT_METRICS_MLFLOW] = "mlflow",
};

const char *ckpt_metrics_kind_name(enum ckpt_metrics_kind kind)
{
    return (size_t)kind < sizeof kind_names / sizeof kind_names[0] ? kind_names[kind] : "unknown";
}

bool ckpt_metrics_is_whole(enum ckpt_metrics_kind kind)
{
    return kind == CKPT_METRICS_HF || kind == CKPT_METRICS_WANDB;
}

/* ---- which format ---- */

/* Whether the last directory of the path is version_N, as Lightning's loggers call it. */
static bool in_version(const char *path, const char *name)
{
    static const char prefix[] = "version_";
    if (name - path < 2) {
        return false;
    }
    const char *slash = name - 1;
    const char *directory = memrchr(path, '/', (size_t)(slash - path));
    directory = directory == NULL ? path : directory + 1;
    const char *digits = directory + sizeof prefix - 1;
    if (slash <= digits || memcmp(directory, prefix, sizeof prefix - 1) != 0) {
        return false;
    }
    return strspn(digits, "0123456789") == (size_t)(slash - digits);
}

enum ckpt_metrics_kind ckpt_metrics_kind_of(const char *path, const void *head, size_t head_size)
{
    static const char journal[] = "{\"op_code\":";
    static const char iteration[] = "\"training_iteration\"";
    const char *name = ckpt_last_component(path);
    struct ckpt_metrics_text text = {head, head_size};
    if (strcmp(name, "trainer_state.json") == 0) {
        return CKPT_METRICS_HF;
    }
    if (strcmp(name, "wandb-summary.json") == 0) {
        return CKPT_METRICS_WANDB;
    }
    if (strstr(name, "tfevents.") != NULL) {
        return CKPT_METRICS_TFEVENTS;
    }
    if (ckpt_metrics_mlflow_key(path).size > 0) {
        return CKPT_METRICS_MLFLOW;
    }
    if (head_size == 0) {
        return CKPT_METRICS_NONE;
    }
    if (strcmp(name, "result.json") == 0) {
        return memmem(head, head_size, iteration, sizeof iteration - 1) != NULL ? CKPT_METRICS_RAY_JSON
                                                                                : CKPT_METRICS_NONE;
    }
    if (head_size >= sizeof journal && memcmp(head, journal, sizeof journal - 1) == 0) {
        return CKPT_METRICS_OPTUNA;
    }
    if (!ckpt_ends_with(name, ".csv") && !ckpt_ends_with(name, ".log")) {
        return CKPT_METRICS_NONE;
    }
    enum ckpt_metrics_kind kind = ckpt_metrics_csv_kind(text);
    bool lightning = kind == CKPT_METRICS_CSV && strcmp(name, "metrics.csv") == 0 && in_version(path, name);
    return lightning ? CKPT_METRICS_LIGHTNING : kind;
}

/* ---- points ---- */

/* U+0000 to U+001F and U+007F to U+009F, of SIZE bytes. */
static bool is_control(const char *character, size_t size)
{
    unsigned char first = (unsigned char)character[0];
    return first < 0x20 || first == 0x7f || (size == 2 && first == 0xc2 && (unsigned char)character[1] < 0xa0);
}

enum ckpt_err ckpt_metrics_emit(struct ckpt_metrics_reading *reading, struct ckpt_metric_point *point,
                                struct ckpt_metrics_text name, double value)
{
    char copy[CKPT_METRIC_NAME_MAX + 1];
    name = ckpt_metrics_trim(name);
    if (name.size == 0 || name.size > CKPT_METRIC_NAME_MAX) {
        return CKPT_OK;
    }
    for (size_t i = 0; i < name.size;) {
        const char *at = (const char *)name.at + i;
        size_t n = ckpt_utf8_size(at, name.size - i);
        if (n == 0 || is_control(at, n)) {
            return CKPT_OK;
        }
        i += n;
    }
    memcpy(copy, name.at, name.size);
    copy[name.size] = '\0';
    point->name = copy;
    point->value = value;
    point->source = reading->input->kind;
    enum ckpt_err err = reading->sink->fn(reading->sink->arg, point);
    point->name = NULL;
    return err;
}

void ckpt_metrics_set_step(struct ckpt_metric_point *point, double value)
{
    if (value >= 0 && value < exact && value == floor(value)) {
        point->has_step = true;
        point->step = (uint64_t)value;
    }
}

void ckpt_metrics_set_epoch(struct ckpt_metric_point *point, double value)
{
    if (value >= 0 && value < exact) {
        point->has_epoch = true;
        point->epoch = value;
    }
}

void ckpt_metrics_set_seconds(struct ckpt_metric_point *point, double value)
{
    if (value > 0 && value < (double)SECONDS_MAX) {
        point->time_ns = (int64_t)(value * 1e9);
    }
}

void ckpt_metrics_set_checkpoint(struct ckpt_metric_point *point, struct ckpt_metrics_text name)
{
    static const char prefix[] = "checkpoint_";
    size_t n = sizeof prefix - 1;
    uint64_t number = 0;
    if (name.size <= n || name.size - n > CHECKPOINT_DIGITS || memcmp(name.at, prefix, n) != 0) {
        return;
    }
    for (size_t i = n; i < name.size; i++) {
        if (name.at[i] < '0' || name.at[i] > '9') {
            return;
        }
        number = 10 * number + (uint64_t)(name.at[i] - '0');
    }
    point->checkpoint = number;
    point->has_checkpoint = true;
}

/* ---- text ---- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct ckpt_metrics_text ckpt_metrics_trim(struct ckpt_metrics_text text)
{
    while (text.size > 0 && is_blank(text.at[0])) {
        text.at++;
        text.size--;
    }
    while (text.size > 0 && is_blank(text.at[text.size - 1])) {
        text.size--;
    }
    return text;
}

bool ckpt_metrics_text_is(struct ckpt_metrics_text text, const char *word)
{
    return text.size == strlen(word) && memcmp(text.at, word, text.size) == 0;
}

static bool is_word(const char *text)
{
    text += *text == '-' || *text == '+' ? 1 : 0;
    return strcasecmp(text, "nan") == 0 || strcasecmp(text, "inf") == 0 || strcasecmp(text, "infinity") == 0;
}

bool ckpt_metrics_number(const struct ckpt_metrics_reading *reading, struct ckpt_metrics_text text,
                         double *value)
{
    char copy[NUMBER_MAX + 1];
    text = ckpt_metrics_trim(text);
    if (text.size == 0 || text.size > NUMBER_MAX) {
        return false;
    }
    memcpy(copy, text.at, text.size);
    copy[text.size] = '\0';
    /* strtod takes hexadecimal ones too. */
    if (strspn(copy, "0123456789+-.eE") != text.size && !is_word(copy)) {
        return false;
    }
    char *end = NULL;
    double number = strtod_l(copy, &end, reading->locale);
    if (end != copy + text.size) {
        return false;
    }
    *value = number;
    return true;
}

size_t ckpt_metrics_line_length(struct ckpt_metrics_text text, bool quotes, size_t max)
{
    size_t n = text.size < max ? text.size : max;
    bool quoted = false;
    if (!quotes) {
        const char *newline = n == 0 ? NULL : memchr(text.at, '\n', n);
        return newline == NULL ? 0 : (size_t)(newline - text.at) + 1;
    }
    for (size_t i = 0; i < n; i++) {
        if (text.at[i] == '"') {
            quoted = !quoted;
        } else if (text.at[i] == '\n' && !quoted) {
            return i + 1;
        }
    }
    return 0;
}

/* The end of a line that is too long is the first newline after RECORD_MAX bytes, quoted or not: so it doesn't
   depend on what was given at once. */
enum ckpt_err ckpt_metrics_lines(struct ckpt_metrics_reading *reading, bool quotes,
                                 enum ckpt_err (*fn)(struct ckpt_metrics_reading *reading, void *arg,
                                                     struct ckpt_metrics_text line),
                                 void *arg)
{
    struct ckpt_metrics_mark *mark = reading->mark;
    const char *bytes = reading->input->bytes;
    size_t size = reading->input->size;
    size_t at = (size_t)(mark->offset - reading->base);
    while (at < size) {
        struct ckpt_metrics_text rest = {bytes + at, size - at};
        size_t n = 0;
        if (mark->skipping) {
            n = ckpt_metrics_line_length(rest, false, rest.size);
            mark->skipping = n == 0;
            n = n == 0 ? rest.size : n;
        } else if ((n = ckpt_metrics_line_length(rest, quotes, CKPT_METRICS_RECORD_MAX)) > 0) {
            enum ckpt_err err = fn(reading, arg, (struct ckpt_metrics_text){rest.at, n - 1});
            if (err != CKPT_OK) {
                return err;
            }
        } else if (rest.size >= CKPT_METRICS_RECORD_MAX) {
            n = CKPT_METRICS_RECORD_MAX;
            mark->skipping = true;
        } else {
            break;
        }
        at += n;
        mark->offset = reading->base + at;
    }
    return CKPT_OK;
}

/* ---- the reading ---- */

static enum ckpt_err read_kind(struct ckpt_metrics_reading *reading)
{
    switch (reading->input->kind) {
    case CKPT_METRICS_CSV:
    case CKPT_METRICS_LIGHTNING:
    case CKPT_METRICS_KERAS:
    case CKPT_METRICS_RAY_CSV:
        return ckpt_metrics_csv_read(reading);
    case CKPT_METRICS_RAY_JSON:
    case CKPT_METRICS_HF:
    case CKPT_METRICS_WANDB:
    case CKPT_METRICS_OPTUNA:
        return ckpt_metrics_json_read(reading);
    case CKPT_METRICS_TFEVENTS:
        return ckpt_metrics_tfevents_read(reading);
    case CKPT_METRICS_MLFLOW:
        return ckpt_metrics_mlflow_read(reading);
    case CKPT_METRICS_NONE:
        break;
    }
    return CKPT_ERR_INVALID;
}

enum ckpt_err ckpt_metrics_read(const struct ckpt_metrics_input *input, struct ckpt_metrics_mark *mark,
                                const struct ckpt_metrics_sink *sink)
{
    bool whole = ckpt_metrics_is_whole(input->kind);
    if (whole) {
        *mark = (struct ckpt_metrics_mark){0};
    }
    if (input->file_size < mark->offset) {
        *mark = (struct ckpt_metrics_mark){0};
        return CKPT_ERR_CHANGED;
    }
    if (input->size > input->file_size - mark->offset ||
        (whole && (input->size > CKPT_METRICS_WHOLE_MAX || input->size != input->file_size))) {
        return CKPT_ERR_INVALID;
    }
    if (input->size == 0) {
        return CKPT_OK;
    }
    struct ckpt_metrics_reading reading = {.input = input, .mark = mark, .sink = sink, .base = mark->offset};
    reading.locale = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    if (reading.locale == (locale_t)0) {
        return CKPT_ERR_NOMEM;
    }
    enum ckpt_err err = read_kind(&reading);
    freelocale(reading.locale);
    return err;
}
