/*
 * Results of every fallible function of the store, and how errors are told.
 *
 * The store never prints. A function that fails returns one of these codes and, where a person can
 * act on it, has already handed one complete sentence (object, cause, next step) to the report
 * callback of its store. Codes map to errno (for the filesystem) and to text (for the tool).
 */
#ifndef CKPT_ERR_H
#define CKPT_ERR_H

#include <stdarg.h>

enum ckpt_err {
    CKPT_OK = 0,
    CKPT_ERR_NOMEM,       /* memory allocation failed */
    CKPT_ERR_IO,          /* the host failed a read, write or sync */
    CKPT_ERR_NOSPC,       /* the host filesystem is full, or a quota is reached */
    CKPT_ERR_PERM,        /* the host refused access */
    CKPT_ERR_NOT_FOUND,   /* no such file, version or object */
    CKPT_ERR_EXISTS,      /* the target exists already */
    CKPT_ERR_BUSY,        /* held by somebody else: another mount, an open file */
    CKPT_ERR_CHANGED,     /* the source changed while it was being read; try again */
    CKPT_ERR_CORRUPT,     /* stored bytes do not match their checksum or their format */
    CKPT_ERR_NOT_STORE,   /* the directory holds no store */
    CKPT_ERR_FORMAT,      /* the store has a newer format than this program reads */
    CKPT_ERR_INVALID,     /* the caller's argument makes no sense */
    CKPT_ERR_UNSUPPORTED, /* the host filesystem or kernel lacks what is needed */
    CKPT_ERR_NEEDED,      /* the version is all there is of a live file */
    CKPT_ERR_STOPPED,     /* the store stopped accepting changes after a failed sync */
};

#define CKPT_MUST_USE __attribute__((warn_unused_result))

/* A short lower-case phrase for the code; static storage. */
const char *ckpt_err_text(enum ckpt_err err);

/* The stable machine name of the code, as in --json output ("not_found"); static storage. */
const char *ckpt_err_name(enum ckpt_err err);

/* The errno that a filesystem call shows for the code; 0 for CKPT_OK. */
int ckpt_err_errno(enum ckpt_err err);

/* The code for an errno value of a failed host call; CKPT_ERR_IO for anything not listed. */
enum ckpt_err ckpt_err_from_errno(int host_errno);

enum ckpt_level { CKPT_ERROR, CKPT_WARNING, CKPT_NOTICE };

/*
 * Receives one line without a newline; TEXT dies when the callback returns. Called from any thread
 * of the store, never with a lock of the store held that the callback could need.
 */
struct ckpt_report {
    void (*fn)(void *arg, enum ckpt_level level, const char *text);
    void *arg;
};

/* Formats and delivers one report; REPORT may be NULL or have no callback. */
void ckpt_reportf(const struct ckpt_report *report, enum ckpt_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
