/*
 * For the fuzz targets of metrics: reads the bytes as a file at once and as one that grows, and aborts when
 * both don't give the same points.
 */
#ifndef CKPT_FUZZ_METRICS_FEED_H
#define CKPT_FUZZ_METRICS_FEED_H

#include "metrics/metrics.h"
#include <ckpt/id.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct feed_points {
    uint64_t digest;
    size_t count;
};

static inline enum ckpt_err feed_point(void *arg, const struct ckpt_metric_point *point)
{
    struct feed_points *points = arg;
    struct {
        double value, epoch;
        uint64_t step, trial, bits;
        int64_t time_ns;
    } rest = {point->value,
              point->epoch,
              point->step,
              point->trial,
              (uint64_t)point->has_step | (uint64_t)point->has_epoch << 1 | (uint64_t)point->has_trial << 2,
              point->time_ns};
    size_t n = strlen(point->name);
    if (n == 0 || n > CKPT_METRIC_NAME_MAX || (point->has_epoch && !(point->epoch >= 0))) {
        abort();
    }
    points->digest = ckpt_checksum2(points->digest, point->name, n, &rest, sizeof rest);
    points->count++;
    return CKPT_OK;
}

/* Reads on in a file that has SIZE bytes now, each range in a block of its own. */
static inline enum ckpt_err feed_read(enum ckpt_metrics_kind kind, const uint8_t *bytes, size_t size,
                                      struct ckpt_metrics_mark *mark, struct feed_points *points)
{
    size_t at = ckpt_metrics_is_whole(kind) ? 0 : (size_t)mark->offset;
    size_t n = size - at;
    uint8_t *part = malloc(n + 1);
    uint8_t *head = malloc(size + 1);
    if (part == NULL || head == NULL) {
        abort();
    }
    memcpy(part, bytes + at, n);
    memcpy(head, bytes, size);
    struct ckpt_metrics_input input = {
        .kind = kind,
        .path = "0123456789abcdef0123456789abcdef/metrics/loss",
        .head = head,
        .head_size = size < CKPT_METRICS_HEAD_MAX ? size : CKPT_METRICS_HEAD_MAX,
        .bytes = part,
        .size = n,
        .file_size = size,
    };
    struct ckpt_metrics_sink sink = {feed_point, points};
    if (ckpt_metrics_is_whole(kind)) {
        *points = (struct feed_points){0};
    }
    enum ckpt_err err = ckpt_metrics_read(&input, mark, &sink);
    if (mark->offset > size || (err != CKPT_OK && err != CKPT_ERR_CORRUPT)) {
        abort();
    }
    free(part);
    free(head);
    return err;
}

/* What has been read once of a file that only grows doesn't depend on how it grew. STEP > 0. */
static inline void feed_both_ways(enum ckpt_metrics_kind kind, const uint8_t *bytes, size_t size, size_t step)
{
    struct ckpt_metrics_mark once = {0};
    struct ckpt_metrics_mark often = {0};
    struct feed_points all = {0};
    struct feed_points points = {0};
    enum ckpt_err err = feed_read(kind, bytes, size, &once, &all);
    enum ckpt_err piece_err = CKPT_OK;
    for (size_t end = 0; end < size && piece_err == CKPT_OK;) {
        end = size - end < step ? size : end + step;
        piece_err = feed_read(kind, bytes, end, &often, &points);
    }
    if (ckpt_metrics_is_whole(kind)) {
        return; /* a whole file may be one in between and not afterwards */
    }
    if (piece_err != err || once.offset != often.offset || all.count != points.count ||
        all.digest != points.digest) {
        abort();
    }
}

#endif
