/*
 * For the tests of metrics: samples of tests/files/metrics, a file that grows while it is read, and points as
 * text.
 *
 * A point is written "NAME VALUE", then what is known of s STEP, e EPOCH, # TRIAL, c CHECKPOINT and
 * t MILLISECONDS since 1970.
 */
#ifndef CKPT_TEST_METRICS_SAMPLES_H
#define CKPT_TEST_METRICS_SAMPLES_H

#include "unit.h"

#include "metrics/metrics.h"

enum { POINTS = 256, POINT_TEXT = 512 };

struct points {
    char text[POINTS][POINT_TEXT];
    size_t count;
    size_t refuse_after; /* 0: never */
};

struct sample {
    char *bytes;
    size_t size;
};

static inline enum ckpt_err points_add(void *arg, const struct ckpt_metric_point *point)
{
    struct points *points = arg;
    if (points->refuse_after != 0 && points->count == points->refuse_after) {
        return CKPT_ERR_STOPPED;
    }
    assert_true(points->count < POINTS);
    assert_in_range(strlen(point->name), 1, CKPT_METRIC_NAME_MAX);
    char *text = points->text[points->count++];
    int n = snprintf(text, POINT_TEXT, "%s %.9g", point->name, point->value);
    if (point->has_step) {
        n += snprintf(text + n, POINT_TEXT - (size_t)n, " s%llu", (unsigned long long)point->step);
    }
    if (point->has_epoch) {
        n += snprintf(text + n, POINT_TEXT - (size_t)n, " e%g", point->epoch);
    }
    if (point->has_trial) {
        n += snprintf(text + n, POINT_TEXT - (size_t)n, " #%llu", (unsigned long long)point->trial);
    }
    if (point->has_checkpoint) {
        n += snprintf(text + n, POINT_TEXT - (size_t)n, " c%llu", (unsigned long long)point->checkpoint);
    }
    if (point->time_ns != 0) {
        snprintf(text + n, POINT_TEXT - (size_t)n, " t%lld", (long long)(point->time_ns / 1000000));
    }
    return CKPT_OK;
}

/* All of a file of tests/files/metrics. The caller frees the bytes. */
static inline struct sample sample_read(const char *name)
{
    char path[2 * UNIT_PATH] = __FILE__;
    char *slash = strrchr(path, '/');
    assert_non_null(slash);
    snprintf(slash, sizeof path - (size_t)(slash - path), "/../files/metrics/%s", name);
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    struct sample sample = {malloc(1 << 16), 0};
    assert_non_null(sample.bytes);
    sample.size = fread(sample.bytes, 1, 1 << 16, file);
    assert_int_equal(fclose(file), 0);
    assert_in_range(sample.size, 1, (1 << 16) - 1);
    return sample;
}

/* One call: the file has SIZE bytes now, of which WINDOW are given from the mark on, each range in a block of its
   own length. */
static inline enum ckpt_err metrics_once(enum ckpt_metrics_kind kind, const char *path, const char *bytes,
                                         size_t size, size_t window, struct ckpt_metrics_mark *mark,
                                         struct points *points)
{
    bool whole = ckpt_metrics_is_whole(kind);
    size_t at = whole || mark->offset > size ? 0 : (size_t)mark->offset;
    size_t n = size - at > window && !whole ? window : size - at;
    size_t head_size = size < CKPT_METRICS_HEAD_MAX ? size : CKPT_METRICS_HEAD_MAX;
    char *head = malloc(head_size + 1);
    char *part = malloc(n + 1);
    assert_non_null(head);
    assert_non_null(part);
    memcpy(head + 1, bytes, head_size);
    memcpy(part + 1, bytes + at, n);
    if (whole) {
        points->count = 0;
    }
    struct ckpt_metrics_input input = {
        .kind = kind,
        .path = path,
        .head = head + 1,
        .head_size = head_size,
        .bytes = part + 1,
        .size = mark->offset > size ? 0 : n,
        .file_size = size,
    };
    struct ckpt_metrics_sink sink = {points_add, points};
    enum ckpt_err err = ckpt_metrics_read(&input, mark, &sink);
    free(head);
    free(part);
    return err;
}

/* Until nothing more is found: what a caller does, as metrics.h shows. */
static inline enum ckpt_err metrics_read(enum ckpt_metrics_kind kind, const char *path, const char *bytes,
                                         size_t size, size_t window, struct ckpt_metrics_mark *mark,
                                         struct points *points)
{
    for (;;) {
        uint64_t before = mark->offset;
        enum ckpt_err err = metrics_once(kind, path, bytes, size, window, mark, points);
        if (err == CKPT_ERR_CHANGED) {
            assert_int_equal(mark->offset, 0);
            points->count = 0;
            continue;
        }
        if (err != CKPT_OK || mark->offset <= before || mark->offset >= size) {
            return err;
        }
    }
}

static inline void points_equal(const struct points *points, const char *const *expected, const char *what)
{
    size_t n = 0;
    while (expected[n] != NULL) {
        if (n >= points->count || strcmp(points->text[n], expected[n]) != 0) {
            print_error("%s: point %zu is \"%s\", not \"%s\"\n", what, n,
                        n < points->count ? points->text[n] : "(none)", expected[n]);
            fail();
        }
        n++;
    }
    if (points->count != n) {
        print_error("%s: \"%s\" is one too many\n", what, points->text[n]);
        fail();
    }
}

#endif
