#include "ctl_keep.h"
#include <ckpt/keep.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { RUN_DIGITS = 16 };

/* What most of them name. */
struct subject {
    uint64_t run;
    uint32_t checkpoint; /* 0: none */
    bool set;
};

static bool read_run(const json_t *request, uint64_t *run)
{
    const char *text = json_string_value(json_object_get(request, "run"));
    if (text == NULL || strlen(text) != RUN_DIGITS || strspn(text, "0123456789abcdef") != RUN_DIGITS) {
        return false;
    }
    *run = strtoull(text, NULL, 16);
    return true;
}

static bool read_checkpoint(const json_t *request, uint32_t *number)
{
    json_int_t value = json_integer_value(json_object_get(request, "checkpoint"));
    if (value < 1 || value > UINT32_MAX) {
        return false;
    }
    *number = (uint32_t)value;
    return true;
}

static enum ckpt_err do_tag(struct ckptfs *fs, const struct subject *s, const json_t *request)
{
    const char *tag = json_string_value(json_object_get(request, "tag"));
    return tag == NULL ? CKPT_ERR_INVALID : ckpt_engine_tag(fs->engine, s->run, s->checkpoint, tag, s->set);
}

static enum ckpt_err do_pin(struct ckptfs *fs, const struct subject *s, const json_t *request)
{
    (void)request;
    return ckpt_engine_pin(fs->engine, s->run, s->checkpoint, s->set);
}

/* JSON has no number for what isn't finite. */
static bool read_value(const json_t *value, double *number)
{
    const char *text = json_string_value(value);
    if (json_is_number(value)) {
        *number = json_number_value(value);
    } else if (text != NULL && strcmp(text, "nan") == 0) {
        *number = NAN;
    } else if (text != NULL && (strcmp(text, "inf") == 0 || strcmp(text, "-inf") == 0)) {
        *number = text[0] == '-' ? -INFINITY : INFINITY;
    } else {
        return false;
    }
    return true;
}

static enum ckpt_err do_metric(struct ckptfs *fs, const struct subject *s, const json_t *request)
{
    double value = 0;
    const char *name = json_string_value(json_object_get(request, "name"));
    if (name == NULL || !read_value(json_object_get(request, "value"), &value)) {
        return CKPT_ERR_INVALID;
    }
    return ckpt_engine_metric(fs->engine, s->run, s->checkpoint, name, value);
}

static enum ckpt_err do_undelete(struct ckptfs *fs, const struct subject *s, const json_t *request)
{
    (void)request;
    return ckpt_engine_undelete(fs->engine, s->run, s->checkpoint);
}

static enum ckpt_err do_finish(struct ckptfs *fs, const json_t *request, json_t *answer)
{
    uint64_t run = 0;
    const json_t *set = json_object_get(request, "set");
    (void)answer;
    if (!read_run(request, &run) || !json_is_boolean(set)) {
        return CKPT_ERR_INVALID;
    }
    return ckpt_engine_finish(fs->engine, run, json_is_true(set));
}

/* ctl.c has seen that PATH stays inside. */
static enum ckpt_err do_policy(struct ckptfs *fs, const json_t *request, json_t *answer)
{
    const char *path = json_string_value(json_object_get(request, "path"));
    const json_t *text = json_object_get(request, "text");
    (void)answer;
    if (path == NULL || !(json_is_null(text) || json_is_string(text))) {
        return CKPT_ERR_INVALID;
    }
    return ckpt_engine_set_policy(fs->engine, path, json_string_value(text));
}

static enum ckpt_err do_rotate(struct ckptfs *fs, const json_t *request, json_t *answer)
{
    uint64_t run = 0;
    struct ckpt_rotation rotation = {0};
    bool all = json_is_null(json_object_get(request, "run"));
    if (!all && !read_run(request, &run)) {
        return CKPT_ERR_INVALID;
    }
    enum ckpt_err err = ckpt_engine_rotate(fs->engine, run, all, &rotation);
    json_object_set_new(answer, "hidden", json_integer((json_int_t)rotation.hidden));
    json_object_set_new(answer, "dropped", json_integer((json_int_t)rotation.dropped));
    json_object_set_new(answer, "bytes", json_integer((json_int_t)rotation.bytes));
    json_object_set_new(answer, "held", json_integer((json_int_t)rotation.held));
    return err;
}

static const struct {
    const char *op;
    enum ckpt_err (*fn)(struct ckptfs *fs, const struct subject *s, const json_t *request);
    bool switches; /* it has "set" */
} of_checkpoints[] = {
    {"tag", do_tag, true},
    {"pin", do_pin, true},
    {"metric", do_metric, false},
    {"undelete", do_undelete, false},
};

static const struct {
    const char *op;
    enum ckpt_err (*fn)(struct ckptfs *fs, const json_t *request, json_t *answer);
} of_runs[] = {{"finish", do_finish}, {"policy", do_policy}, {"rotate", do_rotate}};

bool ctl_keep(struct ckptfs *fs, const char *op, const json_t *request, json_t *answer, enum ckpt_err *result)
{
    for (size_t i = 0; i < sizeof of_runs / sizeof *of_runs; i++) {
        if (strcmp(of_runs[i].op, op) == 0) {
            *result = of_runs[i].fn(fs, request, answer);
            return true;
        }
    }
    for (size_t i = 0; i < sizeof of_checkpoints / sizeof *of_checkpoints; i++) {
        const json_t *set = json_object_get(request, "set");
        struct subject subject = {.set = json_is_true(set)};
        if (strcmp(of_checkpoints[i].op, op) != 0) {
            continue;
        }
        bool complete = read_run(request, &subject.run) && read_checkpoint(request, &subject.checkpoint) &&
                        json_is_boolean(set) == of_checkpoints[i].switches;
        *result = complete ? of_checkpoints[i].fn(fs, &subject, request) : CKPT_ERR_INVALID;
        return true;
    }
    return false;
}
