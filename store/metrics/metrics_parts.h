/*
 * What the readers of metrics share: metrics.h says what they are.
 */
#ifndef CKPT_STORE_METRICS_PARTS_H
#define CKPT_STORE_METRICS_PARTS_H

#include "metrics.h"
#include <locale.h>

/* One call of ckpt_metrics_read. */
struct ckpt_metrics_reading {
    const struct ckpt_metrics_input *input;
    struct ckpt_metrics_mark *mark;
    const struct ckpt_metrics_sink *sink;
    uint64_t base;   /* the mark's offset at the start: where input->bytes stands in the file */
    locale_t locale; /* "C": numbers have a point, wherever the user lives */
};

/* Bytes in some buffer, not terminated. */
struct ckpt_metrics_text {
    const char *at;
    size_t size;
};

/* ---- metrics.c ---- */

/* Gives POINT under that name with that value to the sink, or nothing when the name is none. */
CKPT_MUST_USE enum ckpt_err ckpt_metrics_emit(struct ckpt_metrics_reading *reading,
                                              struct ckpt_metric_point *point, struct ckpt_metrics_text name,
                                              double value);

/* A decimal number, nan, inf or infinity in any case, with blanks around it; nothing else. */
bool ckpt_metrics_number(const struct ckpt_metrics_reading *reading, struct ckpt_metrics_text text,
                         double *value);

/* Set what VALUE or NAME is good for, or leave the point as it is. */
void ckpt_metrics_set_step(struct ckpt_metric_point *point, double value);
void ckpt_metrics_set_epoch(struct ckpt_metric_point *point, double value);
void ckpt_metrics_set_seconds(struct ckpt_metric_point *point, double value);
void ckpt_metrics_set_checkpoint(struct ckpt_metric_point *point, struct ckpt_metrics_text name);

/* TEXT without blanks at both ends. */
struct ckpt_metrics_text ckpt_metrics_trim(struct ckpt_metrics_text text);
bool ckpt_metrics_text_is(struct ckpt_metrics_text text, const char *word);

/* The length of the first line with its newline, where a newline within quotes is none if QUOTES; 0: there is
   none within MAX bytes. */
size_t ckpt_metrics_line_length(struct ckpt_metrics_text text, bool quotes, size_t max);

/* Calls FN for each whole line, without its newline, from the mark on, and moves the mark past it. */
CKPT_MUST_USE enum ckpt_err ckpt_metrics_lines(struct ckpt_metrics_reading *reading, bool quotes,
                                               enum ckpt_err (*fn)(struct ckpt_metrics_reading *reading,
                                                                   void *arg, struct ckpt_metrics_text line),
                                               void *arg);

/* ---- metrics_scan.c: JSON. Both skip blanks first ---- */

/* Takes C off REST, if it stands there. */
bool ckpt_metrics_scan_char(struct ckpt_metrics_text *rest, char c);

/* Takes a value off REST, brackets and quotes closed; false: there is none, or it isn't whole. */
bool ckpt_metrics_scan_value(struct ckpt_metrics_text *rest, struct ckpt_metrics_text *value);

/* ---- the formats ---- */

/* Which kind of CSV the header says; NONE: its line isn't whole, or it has no column for step or epoch. */
enum ckpt_metrics_kind ckpt_metrics_csv_kind(struct ckpt_metrics_text head);

/* The metric's name in the path of a file of MLflow's; nothing for another path. */
struct ckpt_metrics_text ckpt_metrics_mlflow_key(const char *path);

CKPT_MUST_USE enum ckpt_err ckpt_metrics_csv_read(struct ckpt_metrics_reading *reading);
CKPT_MUST_USE enum ckpt_err ckpt_metrics_json_read(struct ckpt_metrics_reading *reading);
CKPT_MUST_USE enum ckpt_err ckpt_metrics_tfevents_read(struct ckpt_metrics_reading *reading);
CKPT_MUST_USE enum ckpt_err ckpt_metrics_mlflow_read(struct ckpt_metrics_reading *reading);

#endif
