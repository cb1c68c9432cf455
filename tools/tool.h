/*
 * What all commands of ckpt share: the context of one call, its errors and its exit code.
 *
 * Messages go to stderr, results to stdout. With --json nothing but one document goes to stdout and nothing to
 * stderr; a command puts its results into tool->result, and tool_finish() prints it.
 */
#ifndef CKPT_TOOL_H
#define CKPT_TOOL_H

#include <ckpt/err.h>
#include <ckpt/store.h>
#include <jansson.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>

enum exit_code {
    TOOL_OK = 0,
    TOOL_FAILED = 1,
    TOOL_USAGE = 2,
    TOOL_PROBLEMS = 3,  /* verify ran and found problems */
    TOOL_NOT_FOUND = 4, /* no such store, path or version */
    TOOL_REFUSED = 5,   /* busy, still needed, in the way, or the store has stopped */
};

struct ckpt_runs;
struct tool;

struct command {
    const char *name;
    const char *operands; /* for the usage line */
    const char *summary;  /* one line for the list of commands */
    const char *help;     /* what it does, its options, an example */
    int (*run)(struct tool *tool, int argc, char **argv);
};

struct tool {
    const struct command *command; /* NULL until it is known */
    const char *store_option;      /* --store */
    bool json;
    bool help;
    bool version;

    char store_dir[PATH_MAX]; /* absolute, once located */
    bool store_named;         /* by --store or CKPT_STORE: PATHs may be relative to its top */
    struct ckpt_store *store; /* open, or NULL */
    struct ckpt_runs *runs;   /* of it, once find_runs() was called */
    struct ckpt_report report;

    json_t *result;       /* an object: what --json prints beside "ok" */
    pthread_mutex_t lock; /* guards the rest: reports come from any thread */
    json_t *reported;     /* array: errors that the store has reported */
    json_t *warnings;     /* array: warnings, with --json */
    enum ckpt_err err;    /* of the failure that the call ends with */
    char *message;
};

int tool_init(struct tool *tool);
void tool_free(struct tool *tool);

/*
 * Record how the call fails and return its exit code; the first failure is the one that is told.
 * tool_fail takes the text as it is: a complete sentence with object, cause and next step.
 * tool_store_fail is for a failed store function, which may have reported a better text already.
 * tool_usage adds where to find help.
 */
int tool_fail(struct tool *tool, enum ckpt_err err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int tool_store_fail(struct tool *tool, enum ckpt_err err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
int tool_usage(struct tool *tool, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Tells the user something that doesn't end the call: stderr, or "warnings" with --json. */
void tool_warn(struct tool *tool, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Takes the errors that the store has reported so far: a new array. */
json_t *tool_take_reported(struct tool *tool);

/* Forgets a recorded failure, so that the call can go on with something else. */
void tool_forgive(struct tool *tool);

int tool_exit_code(enum ckpt_err err);

/* The code with this machine name; CKPT_ERR_IO for an unknown one. */
enum ckpt_err tool_err_named(const char *name);

/* Prints the outcome: the JSON document, or the error text. Returns the exit code, which is CODE unless stdout
   could not be written. */
int tool_finish(struct tool *tool, int code);

/* Opens the store for reading; locate_store() has found it. Returns an exit code. */
int tool_open_read(struct tool *tool);

int cmd_init(struct tool *tool, int argc, char **argv);
int cmd_status(struct tool *tool, int argc, char **argv);
int cmd_log(struct tool *tool, int argc, char **argv);
int cmd_stats(struct tool *tool, int argc, char **argv);
int cmd_restore(struct tool *tool, int argc, char **argv);
int cmd_forget(struct tool *tool, int argc, char **argv);
int cmd_flush(struct tool *tool, int argc, char **argv);
int cmd_demote(struct tool *tool, int argc, char **argv);
int cmd_verify(struct tool *tool, int argc, char **argv);
int cmd_views(struct tool *tool, int argc, char **argv);
int cmd_runs(struct tool *tool, int argc, char **argv);
int cmd_ls(struct tool *tool, int argc, char **argv);
int cmd_show(struct tool *tool, int argc, char **argv);
int cmd_policy(struct tool *tool, int argc, char **argv);
int cmd_rotate(struct tool *tool, int argc, char **argv);
int cmd_tag(struct tool *tool, int argc, char **argv);
int cmd_untag(struct tool *tool, int argc, char **argv);
int cmd_pin(struct tool *tool, int argc, char **argv);
int cmd_unpin(struct tool *tool, int argc, char **argv);
int cmd_metric(struct tool *tool, int argc, char **argv);
int cmd_finish(struct tool *tool, int argc, char **argv);
int cmd_undelete(struct tool *tool, int argc, char **argv);

#endif
