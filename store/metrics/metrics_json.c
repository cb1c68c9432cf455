/*
 * JSON, read by jansson, a record at a time.
 *
 *     trainer_state.json   transformers/trainer_callback.py: {"log_history": [{"epoch": 1.0, "step": 500,
 *                          "eval_loss": 0.4}, ...], "best_metric": 0.4, "best_global_step": 500,
 *                          "best_model_checkpoint": "out/checkpoint-500", ...}
 *     wandb-summary.json   last values: {"_step": 943, "_timestamp": 1520536475.17, "acc": 14.6, ...}
 *     result.json          ray/tune/logger/json.py, lines: {"training_iteration": 1, "timestamp": 1520536475,
 *                          "config": {...}, ...}
 *     Optuna's journal     optuna/storages/journal/_storage.py, lines: {"op_code": 7, "trial_id": 0, "step": 2,
 *                          "intermediate_value": 2.3}, {"op_code": 6, "trial_id": 0, "state": 1,
 *                          "values": [0.3]}
 *
 * Python's json module writes NaN, Infinity and -Infinity, which JSON doesn't have: they become strings
 * before jansson sees them, and W&B writes strings in the first place, so such strings are numbers here. Keys
 * of nested objects are joined with slashes; lists are left out. A record with a number beyond a double's is
 * left out too.
 *
 * A tree takes 40 times the room of a hostile text ("[[],[],..."), so the values of a record are counted
 * first. The history of a long training is too long for one record: trainer_state.json is taken apart by a
 * scanner, and its entries are the records.
 */
#include "metrics_parts.h"
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 32, VALUES_MAX = 1 << 16 };

static const char not_a_number[] = "NaN";
static const char infinite[] = "Infinity";
static const char minus_infinite[] = "-Infinity";

/* ---- one record ---- */

/* The length of a Python number at TEXT that JSON doesn't have; 0: there is none. */
static size_t python_number(struct ckpt_metrics_text text)
{
    static const struct ckpt_metrics_text words[] = {
        {not_a_number, sizeof not_a_number - 1},
        {infinite, sizeof infinite - 1},
        {minus_infinite, sizeof minus_infinite - 1},
    };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (text.size >= words[i].size && memcmp(text.at, words[i].at, words[i].size) == 0) {
            return words[i].size;
        }
    }
    return 0;
}

/* Copies a text to TO, which has twice its room, with Python's numbers in quotes. 0: it is too deep or has too
   many values. */
static size_t to_json(struct ckpt_metrics_text text, char *to)
{
    size_t n = 0;
    size_t values = 0;
    unsigned depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < text.size; i++) {
        char c = text.at[i];
        size_t word = quoted ? 0 : python_number((struct ckpt_metrics_text){text.at + i, text.size - i});
        if (word > 0) {
            to[n++] = '"';
            memcpy(to + n, text.at + i, word);
            n += word;
            to[n++] = '"';
            i += word - 1;
            continue;
        }
        to[n++] = c;
        if (c == '"') {
            quoted = !quoted;
        } else if (quoted && c == '\\' && i + 1 < text.size) {
            to[n++] = text.at[++i];
        } else if (!quoted && (c == '[' || c == '{')) {
            depth++;
            values++;
        } else if (!quoted && (c == ']' || c == '}')) {
            depth -= depth > 0 ? 1 : 0;
        } else if (!quoted && c == ',') {
            values++;
        }
        if (depth > DEPTH_MAX || values > VALUES_MAX) {
            return 0;
        }
    }
    return n;
}

/* The value that TEXT is; *JSON stays NULL when it is none, or out of bounds. The caller drops it. */
static enum ckpt_err parse(struct ckpt_metrics_text text, json_t **json)
{
    json_error_t error;
    if (text.size == 0 || text.size > CKPT_METRICS_RECORD_MAX) {
        return CKPT_OK;
    }
    char *copy = malloc(2 * text.size);
    if (copy == NULL) {
        return CKPT_ERR_NOMEM;
    }
    size_t n = to_json(text, copy);
    /* Integers as real numbers: jansson would refuse a record for one of more than 64 bits. Python writes them. */
    if (n > 0) {
        *json =
            json_loadb(copy, n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, &error);
    }
    free(copy);
    return n > 0 && *json == NULL && json_error_code(&error) == json_error_out_of_memory ? CKPT_ERR_NOMEM
                                                                                         : CKPT_OK;
}

static bool number_of(const json_t *json, double *value)
{
    if (json_is_real(json)) {
        *value = json_real_value(json);
        return true;
    }
    const char *text = json_string_value(json);
    if (text == NULL) {
        return false;
    }
    if (strcmp(text, not_a_number) == 0) {
        *value = (double)NAN;
        return true;
    }
    if (strcmp(text, infinite) == 0 || strcmp(text, minus_infinite) == 0) {
        *value = text[0] == '-' ? -(double)INFINITY : (double)INFINITY;
        return true;
    }
    return false;
}

static bool get_number(const json_t *object, const char *key, double *value)
{
    return number_of(json_object_get(object, key), value);
}

/* ---- the numbers of an object ---- */

struct flat {
    struct ckpt_metrics_reading *reading;
    struct ckpt_metric_point *point;
    char name[CKPT_METRIC_NAME_MAX + 1];
};

/* What says where a record stands, or belongs to the writer, is no metric. */
static bool is_bookkeeping(enum ckpt_metrics_kind kind, const char *key)
{
    if (strcmp(key, "epoch") == 0) {
        return true;
    }
    switch (kind) {
    case CKPT_METRICS_HF:
        return strcmp(key, "step") == 0;
    case CKPT_METRICS_WANDB:
        return key[0] == '_' || strcmp(key, "train/global_step") == 0 ||
               strcmp(key, "trainer/global_step") == 0;
    case CKPT_METRICS_RAY_JSON:
        return strcmp(key, "training_iteration") == 0 || strcmp(key, "timestamp") == 0 ||
               strcmp(key, "config") == 0;
    default:
        return false;
    }
}

/* USED bytes of the name are those of the objects around. The depth is bounded by to_json. */
static enum ckpt_err flatten(struct flat *flat, json_t *object, size_t used)
{
    const char *key = NULL;
    json_t *member = NULL;
    json_object_foreach (object, key, member) {
        size_t n = strlen(key);
        double value = 0;
        enum ckpt_err err = CKPT_OK;
        if (n > CKPT_METRIC_NAME_MAX - used ||
            (used == 0 && is_bookkeeping(flat->reading->input->kind, key))) {
            continue;
        }
        memcpy(flat->name + used, key, n);
        n += used;
        if (number_of(member, &value)) {
            err = ckpt_metrics_emit(flat->reading, flat->point, (struct ckpt_metrics_text){flat->name, n},
                                    value);
        } else if (json_is_object(member) && n < CKPT_METRIC_NAME_MAX &&
                   json_object_get(member, "_type") == NULL) {
            /* W&B's objects with a _type are histograms, tables, pictures. */
            flat->name[n] = '/';
            err = flatten(flat, member, n + 1);
        }
        if (err != CKPT_OK) {
            return err;
        }
    }
    return CKPT_OK;
}

static enum ckpt_err give_all(struct ckpt_metrics_reading *reading, struct ckpt_metric_point *point,
                              json_t *object)
{
    struct flat flat = {.reading = reading, .point = point};
    double epoch = 0;
    if (get_number(object, "epoch", &epoch)) {
        ckpt_metrics_set_epoch(point, epoch);
    }
    return flatten(&flat, object, 0);
}

static enum ckpt_err give_one(struct ckpt_metrics_reading *reading, struct ckpt_metric_point *point,
                              const char *name, double value)
{
    return ckpt_metrics_emit(reading, point, (struct ckpt_metrics_text){name, strlen(name)}, value);
}

/* ---- the records of each kind ---- */

static enum ckpt_err take_log_entry(struct ckpt_metrics_reading *reading, json_t *entry)
{
    struct ckpt_metric_point point = {0};
    double step = 0;
    if (get_number(entry, "step", &step)) {
        ckpt_metrics_set_step(&point, step);
    }
    return give_all(reading, &point, entry);
}

/* _step counts calls of log(). The integrations of Hugging Face and Lightning log the trainer's step too. */
static enum ckpt_err take_summary(struct ckpt_metrics_reading *reading, json_t *summary)
{
    struct ckpt_metric_point point = {0};
    double value = -1;
    bool known = get_number(summary, "train/global_step", &value);
    bool lightning = !known && get_number(summary, "trainer/global_step", &value);
    known = known || lightning || get_number(summary, "_step", &value);
    if (known) {
        ckpt_metrics_set_step(&point, lightning ? value + 1 : value);
    }
    if (get_number(summary, "_timestamp", &value)) {
        ckpt_metrics_set_seconds(&point, value);
    }
    return give_all(reading, &point, summary);
}

static enum ckpt_err take_result(struct ckpt_metrics_reading *reading, json_t *result)
{
    struct ckpt_metric_point point = {0};
    double value = 0;
    if (!get_number(result, "training_iteration", &value)) {
        return CKPT_OK;
    }
    ckpt_metrics_set_step(&point, value);
    if (get_number(result, "timestamp", &value)) {
        ckpt_metrics_set_seconds(&point, value);
    }
    const json_t *checkpoint = json_object_get(result, "checkpoint_dir_name"); /* null: the report has none */
    if (json_is_string(checkpoint)) {
        struct ckpt_metrics_text name = {json_string_value(checkpoint), json_string_length(checkpoint)};
        ckpt_metrics_set_checkpoint(&point, name);
    }
    return give_all(reading, &point, result);
}

/* The values of a trial count when it is complete: one that was pruned has its last intermediate value there.
   Times are left out: they are local ones without a zone. */
static enum ckpt_err take_operation(struct ckpt_metrics_reading *reading, json_t *operation)
{
    enum { VALUES = 6, INTERMEDIATE = 7, COMPLETE = 1 };
    struct ckpt_metric_point point = {0};
    double code = 0;
    double value = 0;
    if (!get_number(operation, "op_code", &code) || !get_number(operation, "trial_id", &value)) {
        return CKPT_OK;
    }
    ckpt_metrics_set_step(&point, value);
    point.trial = point.step;
    point.has_trial = point.has_step;
    point.has_step = false;
    point.step = 0;
    if (code == INTERMEDIATE && get_number(operation, "intermediate_value", &value)) {
        double step = 0;
        if (get_number(operation, "step", &step)) {
            ckpt_metrics_set_step(&point, step);
        }
        return give_one(reading, &point, "intermediate_value", value);
    }
    const json_t *values = json_object_get(operation, "values");
    bool complete = code == VALUES && get_number(operation, "state", &value) && value == COMPLETE;
    for (size_t i = 0; complete && i < json_array_size(values); i++) {
        char name[32] = "value"; /* of several objectives values/0, values/1, ... */
        if (json_array_size(values) > 1) {
            snprintf(name, sizeof name, "values/%zu", i);
        }
        if (number_of(json_array_get(values, i), &value)) {
            enum ckpt_err err = give_one(reading, &point, name, value);
            if (err != CKPT_OK) {
                return err;
            }
        }
    }
    return CKPT_OK;
}

/* Whether the record IS_OBJECT; one that isn't is passed over. */
static enum ckpt_err take_record(struct ckpt_metrics_reading *reading, struct ckpt_metrics_text text,
                                 bool *is_object)
{
    json_t *json = NULL;
    enum ckpt_err err = parse(text, &json);
    *is_object = json_is_object(json);
    if (*is_object) {
        switch (reading->input->kind) {
        case CKPT_METRICS_HF:
            err = take_log_entry(reading, json);
            break;
        case CKPT_METRICS_WANDB:
            err = take_summary(reading, json);
            break;
        case CKPT_METRICS_RAY_JSON:
            err = take_result(reading, json);
            break;
        default:
            err = take_operation(reading, json);
        }
    }
    json_decref(json);
    return err;
}

static enum ckpt_err take_line(struct ckpt_metrics_reading *reading, void *arg, struct ckpt_metrics_text line)
{
    bool ignored = false;
    (void)arg;
    return take_record(reading, line, &ignored);
}

/* ---- whole files ---- */

static enum ckpt_err take_history(struct ckpt_metrics_reading *reading, struct ckpt_metrics_text list)
{
    struct ckpt_metrics_text entry;
    if (!ckpt_metrics_scan_char(&list, '[')) {
        return CKPT_OK; /* null */
    }
    if (ckpt_metrics_scan_char(&list, ']')) {
        return CKPT_OK;
    }
    do {
        if (!ckpt_metrics_scan_value(&list, &entry)) {
            return CKPT_ERR_CORRUPT;
        }
        bool ignored = false;
        enum ckpt_err err = take_record(reading, entry, &ignored);
        if (err != CKPT_OK) {
            return err;
        }
    } while (ckpt_metrics_scan_char(&list, ','));
    return ckpt_metrics_scan_char(&list, ']') ? CKPT_OK : CKPT_ERR_CORRUPT;
}

/* The number at the end of "out/checkpoint-500". */
static bool checkpoint_step(const struct ckpt_metrics_reading *reading, struct ckpt_metrics_text path,
                            double *step)
{
    size_t digits = 0;
    while (digits < path.size && path.at[path.size - digits - 1] >= '0' &&
           path.at[path.size - digits - 1] <= '9') {
        digits++;
    }
    return digits < path.size && path.at[path.size - digits - 1] == '-' &&
           ckpt_metrics_number(reading, (struct ckpt_metrics_text){path.at + path.size - digits, digits},
                               step);
}

struct best {
    bool has_value;
    double value;
    double step; /* below 0: not known */
};

static enum ckpt_err take_best(struct ckpt_metrics_reading *reading, struct ckpt_metrics_text key,
                               struct ckpt_metrics_text text, struct best *best)
{
    json_t *json = NULL;
    enum ckpt_err err = parse(text, &json);
    if (ckpt_metrics_text_is(key, "\"best_metric\"")) {
        best->has_value = number_of(json, &best->value);
    } else if (ckpt_metrics_text_is(key, "\"best_global_step\"")) {
        number_of(json, &best->step);
    } else if (json_is_string(json) && best->step < 0) {
        struct ckpt_metrics_text path = {json_string_value(json), json_string_length(json)};
        checkpoint_step(reading, path, &best->step);
    }
    json_decref(json);
    return err;
}

static enum ckpt_err take_state(struct ckpt_metrics_reading *reading, struct ckpt_metrics_text state)
{
    struct best best = {.step = -1};
    struct ckpt_metrics_text key;
    struct ckpt_metrics_text value;
    if (!ckpt_metrics_scan_char(&state, '{')) {
        return CKPT_ERR_CORRUPT;
    }
    if (ckpt_metrics_scan_char(&state, '}')) {
        return CKPT_OK;
    }
    do {
        enum ckpt_err err = CKPT_OK;
        if (!ckpt_metrics_scan_value(&state, &key) || !ckpt_metrics_scan_char(&state, ':') ||
            !ckpt_metrics_scan_value(&state, &value)) {
            return CKPT_ERR_CORRUPT;
        }
        if (ckpt_metrics_text_is(key, "\"log_history\"")) {
            err = take_history(reading, value);
        } else if (key.size > 6 && memcmp(key.at, "\"best_", 6) == 0) {
            err = take_best(reading, key, value, &best);
        }
        if (err != CKPT_OK) {
            return err;
        }
    } while (ckpt_metrics_scan_char(&state, ','));
    if (!ckpt_metrics_scan_char(&state, '}')) {
        return CKPT_ERR_CORRUPT;
    }
    struct ckpt_metric_point point = {0};
    ckpt_metrics_set_step(&point, best.step);
    return best.has_value ? give_one(reading, &point, "best_metric", best.value) : CKPT_OK;
}

static enum ckpt_err read_whole(struct ckpt_metrics_reading *reading)
{
    const struct ckpt_metrics_input *input = reading->input;
    struct ckpt_metrics_text rest = {input->bytes, input->size};
    struct ckpt_metrics_text value;
    bool is_object = true;
    if (!ckpt_metrics_scan_value(&rest, &value)) {
        return CKPT_OK;
    }
    if (ckpt_metrics_trim(rest).size > 0) {
        return CKPT_ERR_CORRUPT;
    }
    enum ckpt_err err =
        input->kind == CKPT_METRICS_HF ? take_state(reading, value) : take_record(reading, value, &is_object);
    if (err == CKPT_OK && !is_object) {
        err = CKPT_ERR_CORRUPT;
    }
    if (err == CKPT_OK) {
        reading->mark->offset = input->size;
    }
    return err;
}

enum ckpt_err ckpt_metrics_json_read(struct ckpt_metrics_reading *reading)
{
    return ckpt_metrics_is_whole(reading->input->kind) ? read_whole(reading)
                                                       : ckpt_metrics_lines(reading, false, take_line, NULL);
}
