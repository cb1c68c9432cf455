/*
 * The command line of ckptfs.
 */
#ifndef CKPTFS_OPTIONS_H
#define CKPTFS_OPTIONS_H

#include <ckpt/filter.h>
#include <stdbool.h>
#include <stdint.h>

/* A size that wasn't given: taken from the size of the host filesystem. */
#define OPTIONS_DEFAULT_SIZE (UINT64_MAX - 1)
/* hot=none */
#define OPTIONS_NO_LIMIT UINT64_MAX

struct options {
    bool help;
    bool version;
    bool foreground;
    bool debug;      /* libfuse prints every request */
    bool allow_root; /* then not allow_other */
    bool views_visible;
    bool passthrough;
    char *store;      /* as given */
    char *mountpoint; /* as given */
    char *log;        /* as given, or NULL: STORE/log */
    char *mount;      /* options for libfuse, ready for one -o, or NULL */
    struct ckpt_filter *filter;
    uint64_t hot_limit; /* OPTIONS_DEFAULT_SIZE, OPTIONS_NO_LIMIT or bytes */
    uint64_t reserve;   /* OPTIONS_DEFAULT_SIZE or bytes */
    uint64_t cache;
    unsigned threads; /* 0: as many as fit the machine */
    unsigned settle_ms;
    unsigned depth; /* of chains of differences */
    unsigned final_ms; /* a run to which nothing is written for so long is over */
    unsigned quiet_ms; /* a checkpoint of several files is complete after so long without one */
};

/* Fills OPTIONS in. 0, or -1 after a message on standard error that names what is wrong. Free in
 * either case. */
int options_parse(struct options *options, int argc, char **argv);
void options_free(struct options *options);

/* The text of -h, on standard output. */
void options_help(void);

#endif
