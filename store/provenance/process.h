/*
 * What a process is that writes checkpoints: its command, its directory, the commit of its code; what provenance needs.
 *
 * The quick part is read from /proc while the process waits for an open; what may take long (the user's name from a
 * directory service, the commit from a slow filesystem) is added by ckpt_process_complete, later. Values that look like
 * secrets are replaced as they are read: nothing here ever holds one.
 *
 * What can't be read (another user's process, another pid namespace) is left out; nothing here fails for it.
 *
 * Thread rules: any thread, except where noted. A process doesn't change once it was read, except by ckpt_process_complete.
 */
#ifndef CKPT_STORE_PROCESS_H
#define CKPT_STORE_PROCESS_H

#include <ckpt/err.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
    CKPT_BOOT_ID = 37,                /* a UUID and NUL */
    CKPT_PROCESS_COMMAND = 16 << 10,  /* bytes of a command line that are looked at */
    CKPT_PROCESS_JSON = 16 << 10,     /* bytes of the document at most, with its NUL */
    CKPT_GIT_COMMIT = 65,             /* SHA-256 in hexadecimal and NUL */
    CKPT_GIT_BRANCH = 256,
    CKPT_USER_NAME = 64,
};

/* Which process it is, for good: a number is used again, but not with the same start, and ticks count from the boot. */
struct ckpt_process_key {
    pid_t group;    /* thread group, in the pid namespace of the reader */
    uint64_t start; /* clock ticks since the boot */
    char boot[CKPT_BOOT_ID];
};

/* Where this process itself runs. MOUNTPOINT (NULL: none) is a path without symbolic links; what lies below it is read below
   LIVEFD instead, as the daemon must not ask itself. */
struct ckpt_process_host {
    char boot[CKPT_BOOT_ID];
    const char *mountpoint;
    int livefd;
};

struct ckpt_git {
    char commit[CKPT_GIT_COMMIT]; /* 40 or 64 lower-case digits; empty: not known */
    char branch[CKPT_GIT_BRANCH]; /* empty: none, or not known */
};

/* N strings one after the other, each with its NUL. */
struct ckpt_strings {
    char *at;
    size_t size; /* bytes */
};

/* What costs two small reads: enough to tell whether a process is known. */
struct ckpt_process_look {
    struct ckpt_process_key key;
    uint64_t image; /* changes when it executes another program; 0: can't be told */
    uid_t uid;
};

struct ckpt_process {
    atomic_uint references;
    struct ckpt_process_look look;
    int64_t started_ns;              /* wall clock; 0: not known */
    struct ckpt_strings command;     /* without secrets; empty: not known */
    bool command_cut;                /* it was longer */
    char *directory;                 /* where it worked, at the time; NULL: not known */
    struct ckpt_strings environment; /* "NAME=value": those of the table in process.c, without secrets */
    char host[HOST_NAME_MAX + 1];
    /* By ckpt_process_complete. */
    bool complete;
    char user[CKPT_USER_NAME]; /* empty: no name */
    struct ckpt_git git;
};

/* MOUNTPOINT and LIVEFD stay the caller's. */
void ckpt_process_host_init(struct ckpt_process_host *host, const char *mountpoint, int livefd);

/* The process of a thread. False: there is none, or not here. */
bool ckpt_process_look(pid_t thread, const struct ckpt_process_host *host, struct ckpt_process_look *look);

/* The quick part, with one reference. NOT_FOUND, NOMEM. */
CKPT_MUST_USE enum ckpt_err ckpt_process_read(pid_t thread, const struct ckpt_process_host *host,
                                              struct ckpt_process **process);

/* The rest, when it isn't there: may wait for other filesystems. One thread only, the one that also asks for the JSON. */
void ckpt_process_complete(struct ckpt_process *process, const struct ckpt_process_host *host);

struct ckpt_process *ckpt_process_hold(struct ckpt_process *process); /* one reference more; NULL gives NULL */
void ckpt_process_release(struct ckpt_process *process);              /* NULL is fine */

bool ckpt_process_same(const struct ckpt_process_key *a, const struct ckpt_process_key *b);

/* Whether it still runs on this machine. True as well when /proc can't be read: it isn't known to have ended. */
bool ckpt_process_alive(const struct ckpt_process_key *key);

/*
 * One JSON object in UTF-8, less than CKPT_PROCESS_JSON bytes; the caller frees *TEXT. Bytes that are no UTF-8 become U+FFFD.
 *
 *     {"pid": 17, "start": 123, "boot": "...", "started": 1700000000.25, "command": ["python", ...], "directory": "/home/x",
 *      "user": "x", "uid": 1000, "host": "...", "environment": {"RANK": "0"}, "git": {"commit": "...", "branch": "main"},
 *      "cut": true}
 *
 * What isn't known is left out; "cut" is there when something was too long. NOMEM.
 */
CKPT_MUST_USE enum ckpt_err ckpt_process_json(const struct ckpt_process *process, char **text);

/* Which process such a document is about. False: it doesn't say. */
bool ckpt_process_key_from_json(const char *text, struct ckpt_process_key *key);

/* ---- process_git.c ---- */

/* The commit of the work tree that DIRECTORY (absolute, without symbolic links) lies in, as far as files say it: no git
   program, no symbolic link is followed, nothing but hexadecimal digits and a branch's name is taken. */
void ckpt_git_read(const char *directory, const struct ckpt_process_host *host, struct ckpt_git *git);

/* ---- process_secrets.c ---- */

/*
 * Copies the strings of a command line with what looks like a secret replaced by "***": the values of options and assignments
 * whose name says so, the user information of addresses, tokens of known forms, and long words that look random. It errs on
 * the side of "***", but leaves alone what trainings are started with. Pure. The caller frees OUT->at. NOMEM.
 */
CKPT_MUST_USE enum ckpt_err ckpt_secret_redact(const struct ckpt_strings *strings, struct ckpt_strings *out);

#endif
