/*
 * How things are shown: sizes, times, names, progress. JSON gets raw numbers, people get binary units.
 */
#ifndef CKPT_TOOL_OUTPUT_H
#define CKPT_TOOL_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum { OUTPUT_SIZE = 24, OUTPUT_TIME = 40 };

/* "17 B", "1.5 MiB" into OUT, which is returned. */
const char *output_size(char out[OUTPUT_SIZE], uint64_t bytes);

/* Local time to the second ("2026-01-31 17:05:09") of nanoseconds since the epoch. */
const char *output_time(char out[OUTPUT_TIME], int64_t ns);

/* Wall clock, nanoseconds since the epoch. */
int64_t output_now(void);

/* How long ago that was: "12 s", "3 h", "5 d". */
const char *output_age(char out[OUTPUT_SIZE], int64_t ns);

/* The same moment as RFC 3339 in UTC with all its digits. */
json_t *output_json_time(int64_t ns);

/* A JSON string of TEXT; bytes that aren't UTF-8 become \xNN. */
json_t *output_text(const char *text);

json_t *output_number(uint64_t number);

/* A string ("nan", "inf", "-inf") of what JSON has no number for. */
json_t *output_value(double value);

/* Writes a file name to stdout with control characters as \xNN: a name can't send commands to a terminal. */
void output_name(const char *name);

/* "file" or "files". */
const char *output_plural(uint64_t n, const char *one, const char *many);

double output_seconds_since(const struct timespec *start);

/* A bar with rate on stderr; shows nothing when that isn't a terminal. */
struct output_progress {
    const char *verb;
    bool shown;
    struct timespec start;
    struct timespec drawn;
};

void output_progress_start(struct output_progress *progress, const char *verb, bool wanted);
void output_progress_update(void *arg, uint64_t done, uint64_t total); /* a ckpt_progress_fn */
void output_progress_end(struct output_progress *progress);

/* Empties the terminal's line, in which a bar may stand, before something else is written to stderr. */
void output_clear_progress(void);

#endif
