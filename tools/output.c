#include "output.h"
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { NS_PER_S = 1000000000, BAR_WIDTH = 30 };

const char *output_size(char out[OUTPUT_SIZE], uint64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double size = (double)bytes;
    size_t unit = 0;
    while (size >= 1023.95 && unit + 1 < sizeof(units) / sizeof(units[0])) {
        size /= 1024;
        unit++;
    }
    snprintf(out, OUTPUT_SIZE, unit == 0 ? "%.0f %s" : "%.1f %s", size, units[unit]);
    return out;
}

static void split_time(int64_t ns, time_t *seconds, int64_t *rest)
{
    *seconds = (time_t)(ns / NS_PER_S);
    *rest = ns % NS_PER_S;
    if (*rest < 0) {
        *rest += NS_PER_S;
        *seconds -= 1;
    }
}

const char *output_time(char out[OUTPUT_TIME], int64_t ns)
{
    time_t seconds;
    int64_t rest;
    struct tm tm;
    split_time(ns, &seconds, &rest);
    if (!localtime_r(&seconds, &tm) || strftime(out, OUTPUT_TIME, "%Y-%m-%d %H:%M:%S", &tm) == 0) {
        snprintf(out, OUTPUT_TIME, "?");
    }
    return out;
}

int64_t output_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

const char *output_age(char out[OUTPUT_SIZE], int64_t ns)
{
    static const struct {
        const char *name;
        int64_t seconds;
    } units[] = {{"d", 86400}, {"h", 3600}, {"min", 60}, {"s", 1}};
    int64_t seconds = (output_now() - ns) / NS_PER_S;
    size_t unit = 0;
    /* 100 min rather than 1 h: what is told is never far off. */
    while (unit + 1 < sizeof(units) / sizeof(units[0]) && seconds < 2 * units[unit].seconds) {
        unit++;
    }
    snprintf(out, OUTPUT_SIZE, "%" PRId64 " %s", seconds < 0 ? 0 : seconds / units[unit].seconds, units[unit].name);
    return out;
}

json_t *output_json_time(int64_t ns)
{
    time_t seconds;
    int64_t rest;
    struct tm tm;
    char date[OUTPUT_TIME];
    split_time(ns, &seconds, &rest);
    if (!gmtime_r(&seconds, &tm) || strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm) == 0) {
        return json_null();
    }
    return json_sprintf("%s.%09" PRId64 "Z", date, rest);
}

json_t *output_text(const char *text)
{
    json_t *string = json_string(text);
    if (string) {
        return string;
    }
    size_t n = strlen(text);
    char *escaped = malloc(4 * n + 1);
    if (!escaped) {
        return json_null();
    }
    char *at = escaped;
    for (const char *p = text; *p; p++) {
        if ((unsigned char)*p < 0x80) {
            *at++ = *p;
        } else {
            at += snprintf(at, 5, "\\x%02x", (unsigned)(unsigned char)*p);
        }
    }
    *at = '\0';
    string = json_string(escaped);
    free(escaped);
    return string;
}

json_t *output_number(uint64_t number)
{
    return json_integer((json_int_t)number);
}

json_t *output_value(double value)
{
    if (isnan(value)) {
        return json_string("nan");
    }
    return isinf(value) ? json_string(value > 0 ? "inf" : "-inf") : json_real(value);
}

void output_name(const char *name)
{
    for (; *name; name++) {
        unsigned char c = (unsigned char)*name;
        if (c < 0x20 || c == 0x7f) {
            printf("\\x%02x", (unsigned)c);
        } else {
            putchar(c);
        }
    }
}

const char *output_plural(uint64_t n, const char *one, const char *many)
{
    return n == 1 ? one : many;
}

static double seconds_between(const struct timespec *from, const struct timespec *to)
{
    return (double)(to->tv_sec - from->tv_sec) + (double)(to->tv_nsec - from->tv_nsec) / NS_PER_S;
}

double output_seconds_since(const struct timespec *start)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return seconds_between(start, &now);
}

void output_clear_progress(void)
{
    if (isatty(STDERR_FILENO)) {
        fputs("\r\033[K", stderr);
    }
}

void output_progress_start(struct output_progress *progress, const char *verb, bool wanted)
{
    *progress = (struct output_progress){
        .verb = verb,
        .shown = wanted && isatty(STDERR_FILENO),
    };
    clock_gettime(CLOCK_MONOTONIC, &progress->start);
    progress->drawn = progress->start;
}

void output_progress_update(void *arg, uint64_t done, uint64_t total)
{
    struct output_progress *progress = arg;
    if (!progress->shown || output_seconds_since(&progress->drawn) < 0.1) {
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &progress->drawn);
    double seconds = seconds_between(&progress->start, &progress->drawn);
    double share = total == 0 || done >= total ? 1.0 : (double)done / (double)total;
    char bar[BAR_WIDTH + 1];
    int full = (int)(share * BAR_WIDTH);
    memset(bar, '#', (size_t)full);
    memset(bar + full, '.', (size_t)(BAR_WIDTH - full));
    bar[BAR_WIDTH] = '\0';
    char of[OUTPUT_SIZE];
    char rate[OUTPUT_SIZE];
    fprintf(stderr, "\r\033[K%s [%s] %3.0f%% of %s, %s/s", progress->verb, bar, share * 100,
            output_size(of, total), output_size(rate, (uint64_t)((double)done / seconds)));
    fflush(stderr);
}

void output_progress_end(struct output_progress *progress)
{
    if (progress->shown) {
        output_clear_progress();
    }
}
