/*
 * What the fault tests share: a store that a scenario works on while the Nth host call fails, and what must be
 * true of it afterwards, whatever failed.
 *
 * A scenario is prepared once without faults (its template). Each run copies the template, arms one fault, lets
 * the scenario work, and then looks at what is left with a fresh store and engine:
 *
 *     every content whose capture returned OK restores bit by bit, unless it was forgotten
 *     no version has bytes that nobody saved; the newest is what the live file has
 *     the live file has the bytes of the last change that returned OK
 *     a forget that failed forgot nothing, one that returned OK forgot all
 *     nothing is left in pending/ and tmp/, no descriptor is lost, verify finds nothing
 *     after everything has been forgotten the store has no object
 *
 *     FAULT_FULL=1     every N of every scenario; else every FAULT_STRIDEth (default below)
 *     FAULT_ONLY=N     just this one
 *     FAULT_TEST=NAME  just the test (wildcards)
 *     TMPDIR=DIR       where; on a disk in memory the full loops take a tenth of the time
 */
#ifndef CKPT_TEST_FAULT_H
#define CKPT_TEST_FAULT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <ckpt/engine.h>
#include <ckpt/host.h>

/* Contents by number: equal numbers are equal bytes. */
enum {
    NOTHING,    /* an empty file */
    SMALL_A,    /* two chunks or so */
    SMALL_B,
    SMALL_C,
    BIG,        /* several transactions in the fault build */
    HOLES,      /* data, hole, data, hole */
    CONTENTS,
    ABSENT = CONTENTS, /* no such file */
};

enum { WORLD_PATH = 192, WORLD_FILES = 8, WORLD_VERSIONS = 8 };

/* What is known of one name. */
struct file_state {
    const char *name;
    const char *twin;        /* another name of the same file, or NULL */
    int live;                /* a content or ABSENT */
    bool saved[CONTENTS];    /* may be a version */
    bool captured[CONTENTS]; /* must be one */
    uint32_t forgotten[WORLD_VERSIONS]; /* numbers that must be gone; 0 ends */
};

struct world {
    char dir[WORLD_PATH];   /* scratch */
    char store_dir[WORLD_PATH];
    struct ckpt_filter *filter;
    uint64_t hot_limit;
    unsigned settle_ms;
    struct ckpt_store *store; /* NULL: not open */
    struct ckpt_engine *engine;
    struct file_state files[WORLD_FILES];
    unsigned files_count;
    unsigned reports; /* atomic */
    char text[512];
};

struct scenario {
    const char *name;
    unsigned kinds; /* bits of enum ckpt_fault_kind that it can meet */
    void (*prepare)(struct world *w); /* with the engine running; leaves it so or has stopped it itself */
    void (*run)(struct world *w);     /* armed; WORLD's store is open and its engine running unless CLOSED */
    bool closed;
    uint64_t hot_limit; /* 0: none */
    void (*check)(struct world *w); /* after the start without faults, before all else is looked at; or NULL */
};

enum {
    SPACE_KIND = 1 << CKPT_FAULT_ENOSPC,
    IO_KIND = 1 << CKPT_FAULT_EIO,
    SHORT_KIND = 1 << CKPT_FAULT_SHORT,
    SYNC_KIND = 1 << CKPT_FAULT_SYNC,
};

/* Runs a scenario for all its kinds and all N; fails the test (cmocka) when something isn't as it must be. */
void fault_loop(const struct scenario *scenario);

/* cmocka: says in which run a test has failed. */
int fault_teardown(void **state);

#define fault_test(function) cmocka_unit_test_teardown(function, fault_teardown)

/* ---- what a scenario does: each is what the daemon does for a trainer ---- */

enum ckpt_err world_open(struct world *w);  /* store and engine; a refusal has been reported */
void world_close(struct world *w, bool drain);

/* open(O_CREAT|O_TRUNC), write, close. */
enum ckpt_err world_save(struct world *w, const char *name, int content);
/* open(O_RDWR), write, truncate to size, close. */
enum ckpt_err world_rewrite(struct world *w, const char *name, int content);
/* Save to a temporary name, rename over NAME. */
enum ckpt_err world_replace(struct world *w, const char *name, int content);
enum ckpt_err world_link(struct world *w, const char *old, const char *name);
enum ckpt_err world_rename(struct world *w, const char *old, const char *name);
enum ckpt_err world_flush(struct world *w);
enum ckpt_err world_demote(struct world *w, const char *name);
/* NUMBERS[0..N) whose contents are CONTENTS[0..N). */
enum ckpt_err world_forget(struct world *w, const char *name, size_t n, const uint32_t *numbers,
                           const int *contents);
/* Writes a version (0: the newest) to a new file in the scratch directory; OK only with the right bytes. */
enum ckpt_err world_restore(struct world *w, const char *name, uint32_t number, int content);
void world_unlink(struct world *w, const char *name);
void world_mkdir(struct world *w, const char *name);
/* Behind the engine's back. */
void world_write_raw(struct world *w, const char *name, int content);
bool world_is_cold(struct world *w, const char *name);

#endif
