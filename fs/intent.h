/*
 * What a thread is doing with a name that the kernel looks up for it.
 *
 * A view stands beside the files of a run under a name that a trainer may want for itself. The kernel asks for every name
 * before it makes one, and decides from the answer alone that "mkdir best" is EEXIST; the question doesn't say what it is for.
 * But the thread waits in its system call meanwhile, and /proc tells which one and with what arguments.
 *
 * It tells nothing of 32-bit processes, io_uring, pid namespaces that aren't below this one, and processes that this one may not
 * look into (without root: yama's ptrace_scope, programs with set-id bits). These see the view.
 *
 * No FUSE in here, so that unit tests can have it. All functions may be called from any thread.
 */
#ifndef CKPTFS_INTENT_H
#define CKPTFS_INTENT_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct intent_call {
    long number; /* of <sys/syscall.h> */
    uint64_t args[6];
};

/* The content of /proc/PID/syscall. False: in no system call that is known here. */
bool intent_parse(const char *line, struct intent_call *call);

/* What a call makes. */
struct intent {
    char path[PATH_MAX];  /* of the new entry, as the caller gave it; never empty */
    char other[PATH_MAX]; /* another path that the call looks up (the old name of a rename, of a link), or "" */
    bool empties;         /* it makes nothing, but empties a file that is there (open with O_TRUNC alone) */
};

/* What THREAD is about to make. False: nothing, or nobody can tell. */
bool intent_read(pid_t thread, struct intent *intent);

/*
 * Whether the intent is to make NAME in the directory PLACE: its path from the root, which decides when a call names NAME more
 * than once (symbolic links and mounts elsewhere make that a guess). An intermediate component is an ordinary lookup, and so is
 * a path that ends in "." or "..".
 */
bool intent_makes(const struct intent *intent, const char *place, const char *name);

#endif
