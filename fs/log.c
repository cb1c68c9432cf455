#include "log.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LOG_MAX_BYTES = 1 << 20, LOG_MAX_LINE = 8192 };

struct log {
    pthread_mutex_t lock; /* everything below */
    char *path;           /* NULL without a file */
    char *old_path;       /* PATH.1 */
    int fd;               /* -1 without a file */
    off_t size;
    bool echo;
    struct log_listener *listeners;
};

/*
 * The system calls here are plain ones and not ckpt/host.h's: a failure is nothing that anybody
 * could act on, and lines of the log must not count among the host calls that the fault tests
 * number.
 */

struct log *log_create(void)
{
    struct log *log = calloc(1, sizeof *log);
    if (log == NULL) {
        return NULL;
    }
    if (pthread_mutex_init(&log->lock, NULL) != 0) {
        free(log);
        return NULL;
    }
    log->fd = -1;
    log->echo = true;
    return log;
}

void log_free(struct log *log)
{
    if (log == NULL) {
        return;
    }
    if (log->fd >= 0) {
        (void)close(log->fd);
    }
    (void)pthread_mutex_destroy(&log->lock);
    free(log->path);
    free(log->old_path);
    free(log);
}

/* Opens log->path for appending; keeps the old descriptor when that fails. With log->lock. */
static int open_file(struct log *log)
{
    struct stat st;
    int fd = open(log->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);
    if (fd < 0) {
        return -1;
    }
    if (log->fd >= 0) {
        (void)close(log->fd);
    }
    log->fd = fd;
    log->size = fstat(fd, &st) == 0 ? st.st_size : 0;
    if (!log->echo) {
        (void)dup2(fd, STDERR_FILENO);
    }
    return 0;
}

enum ckpt_err log_file(struct log *log, const char *path)
{
    enum ckpt_err err = CKPT_OK;
    char *old_path = NULL;
    char *copy = strdup(path);
    if (copy == NULL || asprintf(&old_path, "%s.1", path) < 0) {
        free(copy);
        return CKPT_ERR_NOMEM;
    }
    (void)pthread_mutex_lock(&log->lock);
    log->path = copy;
    log->old_path = old_path;
    if (open_file(log) != 0) {
        err = ckpt_err_from_errno(errno);
        log->path = NULL;
        log->old_path = NULL;
    }
    (void)pthread_mutex_unlock(&log->lock);
    if (err != CKPT_OK) {
        free(copy);
        free(old_path);
    }
    return err;
}

const char *log_path(const struct log *log)
{
    return log->path;
}

void log_echo(struct log *log, bool on)
{
    (void)pthread_mutex_lock(&log->lock);
    log->echo = on;
    if (!on && log->fd >= 0) {
        (void)dup2(log->fd, STDERR_FILENO);
    }
    (void)pthread_mutex_unlock(&log->lock);
}

void log_reopen(struct log *log)
{
    (void)pthread_mutex_lock(&log->lock);
    if (log->path != NULL) {
        (void)open_file(log);
    }
    (void)pthread_mutex_unlock(&log->lock);
}

static const char *level_text(enum ckpt_level level)
{
    switch (level) {
    case CKPT_ERROR:
        return "error: ";
    case CKPT_WARNING:
        return "warning: ";
    case CKPT_NOTICE:
        break;
    }
    return "";
}

/* One line into the file, which is exchanged for a new one when it is full. With log->lock. */
static void write_file(struct log *log, enum ckpt_level level, const char *text)
{
    char line[LOG_MAX_LINE];
    char when[32] = "";
    struct timespec now;
    struct tm local;
    if (log->size >= LOG_MAX_BYTES && rename(log->path, log->old_path) == 0) {
        (void)open_file(log);
    }
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (localtime_r(&now.tv_sec, &local) != NULL) {
        (void)strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &local);
    }
    int n = snprintf(line, sizeof line, "%s.%03d %s%s", when, (int)(now.tv_nsec / 1000000),
                     level_text(level), text);
    if (n < 0) {
        return;
    }
    size_t length = (size_t)n < sizeof line - 1 ? (size_t)n : sizeof line - 2;
    line[length++] = '\n';
    /* One write, so that lines from libfuse on the same file don't end up inside. */
    ssize_t done = write(log->fd, line, length);
    if (done > 0) {
        log->size += done;
    }
}

static void tell_listeners(struct log *log, enum ckpt_level level, const char *text)
{
    if (level == CKPT_NOTICE) {
        return;
    }
    for (struct log_listener *l = log->listeners; l != NULL; l = l->next) {
        bool matches = l->about != NULL && strstr(text, l->about) != NULL;
        if (matches || !l->matched) {
            (void)snprintf(l->text, sizeof l->text, "%s", text);
            l->matched = matches;
        }
    }
}

void log_report(void *arg, enum ckpt_level level, const char *text)
{
    struct log *log = arg;
    (void)pthread_mutex_lock(&log->lock);
    if (log->fd >= 0) {
        write_file(log, level, text);
    }
    if (log->echo) {
        /* Whoever reads standard error may be gone: nothing to be done about it. */
        (void)fprintf(stderr, "ckptfs: %s%s\n", level == CKPT_WARNING ? "warning: " : "", text);
    }
    tell_listeners(log, level, text);
    (void)pthread_mutex_unlock(&log->lock);
}

void log_write(struct log *log, enum ckpt_level level, const char *format, ...)
{
    char text[LOG_MAX_LINE - 64];
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    log_report(log, level, n < 0 ? format : text);
}

void log_listen(struct log *log, struct log_listener *listener, const char *about)
{
    *listener = (struct log_listener){.about = about};
    (void)pthread_mutex_lock(&log->lock);
    listener->next = log->listeners;
    log->listeners = listener;
    (void)pthread_mutex_unlock(&log->lock);
}

void log_unlisten(struct log *log, struct log_listener *listener)
{
    (void)pthread_mutex_lock(&log->lock);
    struct log_listener **at = &log->listeners;
    while (*at != NULL && *at != listener) {
        at = &(*at)->next;
    }
    if (*at != NULL) {
        *at = listener->next;
    }
    (void)pthread_mutex_unlock(&log->lock);
}
