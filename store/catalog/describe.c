#include "common/utf8.h"
#include "recognise/naming.h"
#include <ckpt/catalog.h>
#include <ckpt/describe.h>
#include <ckpt/kind.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Room for a sentence of ckpt_policy_explain. */
enum { SENTENCE = 512 };

/* Sets KEY and remembers in *FAILED whether that, or making VALUE (NULL), has failed. */
static void set(bool *failed, json_t *object, const char *key, json_t *value)
{
    *failed = json_object_set_new(object, key, value) != 0 || *failed;
}

static void append(bool *failed, json_t *array, json_t *value)
{
    *failed = json_array_append_new(array, value) != 0 || *failed;
}

/* As JSON can say it, to be freed by the caller; NULL: no memory. */
static char *readable(const char *text)
{
    size_t n = strlen(text);
    char *out = malloc(4 * n + 1);
    char *at = out;
    for (size_t i = 0; out != NULL && i < n;) {
        size_t length = ckpt_utf8_size(text + i, n - i);
        if (length == 0) {
            at += sprintf(at, "\\x%02x", (unsigned char)text[i]);
            i++;
        } else {
            memcpy(at, text + i, length);
            at += length;
            i += length;
        }
    }
    if (out != NULL) {
        *at = '\0';
    }
    return out;
}

/* null for NULL; NULL: no memory. */
static json_t *text_of(const char *text)
{
    if (text == NULL) {
        return json_null();
    }
    char *clean = readable(text);
    json_t *value = clean == NULL ? NULL : json_string(clean);
    free(clean);
    return value;
}

static void set_under(bool *failed, json_t *object, const char *name, json_t *value)
{
    char *key = readable(name);
    if (key == NULL) {
        json_decref(value);
        *failed = true;
        return;
    }
    set(failed, object, key, value);
    free(key);
}

/* JSON has no unsigned 64-bit integers that every reader understands; what doesn't fit was nobody's epoch. */
static json_t *count_of(uint64_t n)
{
    return json_integer(n > INT64_MAX ? INT64_MAX : (json_int_t)n);
}

static json_t *number_of(double value)
{
    if (isnan(value)) {
        return json_string("nan");
    }
    if (isinf(value)) {
        return json_string(value > 0 ? "inf" : "-inf");
    }
    return json_real(value);
}

static json_t *id_of(uint64_t id)
{
    return id == 0 ? json_null() : json_sprintf("%016" PRIx64, id);
}

static json_t *time_of(int64_t ns)
{
    struct tm tm;
    int64_t rest = ns % 1000000000;
    time_t seconds = (time_t)(ns / 1000000000 - (rest < 0));
    rest += rest < 0 ? 1000000000 : 0;
    if (gmtime_r(&seconds, &tm) == NULL) {
        return json_null();
    }
    return json_sprintf("%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday,
                        tm.tm_hour, tm.tm_min, tm.tm_sec, (int)(rest / 1000000));
}

static const char *from_name(enum ckpt_from from)
{
    switch (from) {
    case CKPT_FROM_NAME:
        return "name";
    case CKPT_FROM_INSIDE:
        return "inside";
    case CKPT_FROM_METRICS:
        return "metrics";
    case CKPT_FROM_USER:
        return "user";
    }
    return NULL;
}

static const char *by_name(enum ckpt_by by)
{
    switch (by) {
    case CKPT_BY_ITSELF:
        return "itself";
    case CKPT_BY_STEP:
        return "step";
    case CKPT_BY_EPOCH:
        return "epoch";
    case CKPT_BY_TIME:
        return "time";
    }
    return NULL;
}

/* ---- parts ---- */

static json_t *metrics_of(bool *failed, const struct ckpt_checkpoint *c)
{
    json_t *metrics = json_object();
    for (size_t i = 0; i < c->n_values; i++) {
        const struct ckpt_value *v = &c->values[i];
        json_t *metric = json_object();
        set(failed, metric, "value", number_of(v->value));
        set(failed, metric, "source", text_of(from_name(v->from)));
        set(failed, metric, "by", text_of(by_name(v->by)));
        if (v->path != NULL) {
            set(failed, metric, "path", text_of(v->path));
        }
        set_under(failed, metrics, v->name, metric);
    }
    return metrics;
}

static json_t *files_of(bool *failed, const struct ckpt_checkpoint *c)
{
    json_t *files = json_array();
    struct ckpt_shape shape = ckpt_checkpoint_shape(c);
    for (size_t i = 0; i < c->n_members; i++) {
        const struct ckpt_member *m = &c->members[i];
        const char *shown = ckpt_member_shown(shape, m);
        if (shown == NULL) {
            continue;
        }
        json_t *file = json_object();
        set(failed, file, "path", text_of(shown));
        set(failed, file, "size", count_of(m->size));
        set(failed, file, "version", json_integer(m->number));
        set(failed, file, "kind", text_of(ckpt_holds_name(m->holds)));
        append(failed, files, file);
    }
    return files;
}

static json_t *tags_of(bool *failed, const struct ckpt_checkpoint *c)
{
    json_t *tags = json_array();
    for (size_t i = 0; i < c->n_tags; i++) {
        append(failed, tags, text_of(c->tags[i]));
    }
    return tags;
}

/* What the name says and nothing else knows. */
static json_t *naming_of(bool *failed, const struct ckpt_checkpoint *c)
{
    struct ckpt_naming naming;
    json_t *object = json_object();
    ckpt_naming_read(c->root == NULL ? "" : c->root, &naming);
    if (naming.model[0] != '\0') {
        set(failed, object, "model", text_of(naming.model));
    }
    if (naming.dataset[0] != '\0') {
        set(failed, object, "dataset", text_of(naming.dataset));
    }
    if (naming.has_date) {
        set(failed, object, "date",
            json_sprintf("%04" PRIu32 "-%02" PRIu32 "-%02" PRIu32, naming.date / 10000, naming.date / 100 % 100,
                         naming.date % 100));
    }
    if (naming.has_seed) {
        set(failed, object, "seed", count_of(naming.seed));
    }
    if (naming.has_run) {
        set(failed, object, "run", count_of(naming.run));
    }
    if (naming.has_fold) {
        set(failed, object, "fold", count_of(naming.fold));
    }
    return object;
}

/* The document as it was stored; one that is none is told as text. */
static enum ckpt_err process_of(struct ckpt_runs *runs, uint64_t process, json_t **value)
{
    char *text = NULL;
    enum ckpt_err err = process == 0 ? CKPT_ERR_NOT_FOUND : ckpt_runs_process(runs, process, &text);
    if (err == CKPT_OK) {
        *value = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
        if (*value == NULL) {
            *value = text_of(text);
        }
    } else if (err == CKPT_ERR_NOT_FOUND) {
        *value = json_null();
        err = CKPT_OK;
    }
    free(text);
    return err;
}

static json_t *path_of(struct ckpt_store *store, uint64_t dir)
{
    char path[PATH_MAX];
    return text_of(ckpt_catalog_path(store, dir, path, sizeof path) == CKPT_OK ? path : NULL);
}

/* ---- all of it ---- */

/* The fewest digits with which every metric reads back as what it is: 0.21 rather than 0.20999999999999999. */
static unsigned digits_of(const struct ckpt_checkpoint *c)
{
    unsigned digits = 15;
    char text[32];
    for (size_t i = 0; i < c->n_values && digits < 17; i++) {
        double value = c->values[i].value;
        snprintf(text, sizeof text, "%.*g", (int)digits, value);
        if (isfinite(value) && strtod(text, NULL) != value) {
            digits++;
            i = SIZE_MAX; /* from the start */
        }
    }
    return digits;
}

static void describe(bool *failed, json_t *object, const struct ckpt_checkpoint *c)
{
    set(failed, object, "root", text_of(c->root));
    set(failed, object, "number", json_integer(c->number));
    set(failed, object, "epoch", c->has_epoch ? count_of(c->epoch) : json_null());
    set(failed, object, "step", c->has_step ? count_of(c->step) : json_null());
    set(failed, object, "kind", text_of(ckpt_holds_name(c->holds)));
    set(failed, object, "resumable", json_boolean(c->holds == CKPT_HOLDS_FULL));
    set(failed, object, "state", text_of(ckpt_status_name(c->status)));
    set(failed, object, "why", text_of(c->why));
    set(failed, object, "framework", text_of(ckpt_framework_name(c->framework)));
    set(failed, object, "saved", time_of(c->saved_ns));
    set(failed, object, "metrics", metrics_of(failed, c));
    set(failed, object, "files", files_of(failed, c));
    set(failed, object, "size", count_of(ckpt_checkpoint_size(c)));
    set(failed, object, "added", count_of(ckpt_checkpoint_added(c)));
    set(failed, object, "tags", tags_of(failed, c));
    set(failed, object, "pinned", json_boolean(c->pinned));
    set(failed, object, "left", text_of(ckpt_left_name(c->left)));
    set(failed, object, "hidden", json_boolean(c->hidden));
    set(failed, object, "dropped", json_boolean(c->dropped));
    set(failed, object, "parent", id_of(c->parent));
    set(failed, object, "naming", naming_of(failed, c));
}

enum ckpt_err ckpt_describe(struct ckpt_runs *runs, struct ckpt_store *store, const struct ckpt_run *run,
                            const struct ckpt_checkpoint *c, const struct ckpt_policy_verdict *verdict, char **json)
{
    char sentence[SENTENCE];
    bool failed = false;
    json_t *process = NULL;
    char *text = NULL;
    char *out = NULL;
    json_t *object = json_object();
    set(&failed, object, "id", json_sprintf("%016" PRIx64, c->id));
    set(&failed, object, "run", path_of(store, run->dir));
    describe(&failed, object, c);
    enum ckpt_err err = process_of(runs, c->process, &process);
    if (err == CKPT_OK) {
        set(&failed, object, "process", process);
    }
    if (verdict != NULL) {
        ckpt_policy_explain(verdict, sentence, sizeof sentence);
        set(&failed, object, "kept", text_of(sentence));
    }
    if (err == CKPT_OK && !failed) {
        text = json_dumps(object, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(digits_of(c)));
    }
    if (err == CKPT_OK && (text == NULL || asprintf(&out, "%s\n", text) < 0)) {
        err = CKPT_ERR_NOMEM;
    }
    free(text);
    json_decref(object);
    if (err == CKPT_OK) {
        *json = out;
    }
    return err;
}
