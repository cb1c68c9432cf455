/*
 * What the daemon has to say. Until it is mounted every line also goes to standard error, where the
 * person who started it reads along; afterwards to the log file, or, in the foreground, still to
 * standard error.
 *
 * The file holds at most 1 MiB; the part before that is FILE.1. A log that can't be written never
 * stops the filesystem: lines are lost silently.
 *
 * Thread rules: any thread, except create, file, echo and free.
 */
#ifndef CKPTFS_LOG_H
#define CKPTFS_LOG_H

#include <ckpt/err.h>
#include <stdbool.h>

struct log;

/* A log that writes to standard error only. NULL: no memory. */
struct log *log_create(void);
void log_free(struct log *log); /* NULL is fine */

/* Writes to the file PATH (absolute) as well from now on, behind what it holds already. */
CKPT_MUST_USE enum ckpt_err log_file(struct log *log, const char *path);

/* The file's path or NULL; lives as long as the log. */
const char *log_path(const struct log *log);

/* Whether lines also go to standard error. Once they don't, standard error becomes the log file, so
   that what libfuse and its helpers print there isn't lost. */
void log_echo(struct log *log, bool on);

/* Opens the file anew, after somebody has moved it away. */
void log_reopen(struct log *log);

void log_write(struct log *log, enum ckpt_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same as the callback of a struct ckpt_report, whose arg is the log. */
void log_report(void *arg, enum ckpt_level level, const char *text);

/*
 * Remembers what is reported while a request is carried out: the last error or warning, but rather
 * one in which ABOUT occurs, because other work reports at the same time.
 */
struct log_listener {
    const char *about; /* may be NULL */
    bool matched;
    char text[4096]; /* "" while nothing was reported */
    struct log_listener *next;
};

void log_listen(struct log *log, struct log_listener *listener, const char *about);
void log_unlisten(struct log *log, struct log_listener *listener);

#endif
