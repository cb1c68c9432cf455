#include "intent.h"
#include <ckpt/host.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

/* ---- which call it is ---- */

enum { NONE = -1 };

/* What an argument says about whether an entry is made. */
enum says {
    ALWAYS,    /* nothing: it is always made */
    DIRECTORY, /* the same, and its name may end in a slash */
    IF_CREAT,  /* open(2)'s flags */
    IF_HOW,    /* the address of a struct open_how */
    IF_RENAME, /* renameat2(2)'s flags: both exist when they are exchanged */
};

/* By the places of their arguments. */
static const struct maker {
    long number;
    int path;
    int other;
    enum says says;
    int flags;
} makers[] = {
#ifdef SYS_open
    {SYS_open, 0, NONE, IF_CREAT, 1},
#endif
#ifdef SYS_creat
    {SYS_creat, 0, NONE, ALWAYS, NONE},
#endif
#ifdef SYS_mkdir
    {SYS_mkdir, 0, NONE, DIRECTORY, NONE},
#endif
#ifdef SYS_mknod
    {SYS_mknod, 0, NONE, ALWAYS, NONE},
#endif
#ifdef SYS_symlink
    {SYS_symlink, 1, NONE, ALWAYS, NONE},
#endif
#ifdef SYS_link
    {SYS_link, 1, 0, ALWAYS, NONE},
#endif
#ifdef SYS_rename
    {SYS_rename, 1, 0, ALWAYS, NONE},
#endif
#ifdef SYS_renameat
    {SYS_renameat, 3, 1, ALWAYS, NONE},
#endif
#ifdef SYS_openat2
    {SYS_openat2, 1, NONE, IF_HOW, 2},
#endif
    {SYS_openat, 1, NONE, IF_CREAT, 2},
    {SYS_mkdirat, 1, NONE, DIRECTORY, NONE},
    {SYS_mknodat, 1, NONE, ALWAYS, NONE},
    {SYS_symlinkat, 2, NONE, ALWAYS, NONE},
    {SYS_linkat, 3, 1, ALWAYS, NONE},
    {SYS_renameat2, 3, 1, IF_RENAME, 4},
};

static const struct maker *maker_of(long number)
{
    for (size_t i = 0; i < sizeof makers / sizeof makers[0]; i++) {
        if (makers[i].number == number) {
            return &makers[i];
        }
    }
    return NULL;
}

/* "running", or "-1 SP PC" outside of any call, or NUMBER, six arguments, SP and PC. */
bool intent_parse(const char *line, struct intent_call *call)
{
    enum { STACK = 7, WORDS };
    uint64_t words[WORDS];
    const char *at = line;
    if (line[0] < '0' || line[0] > '9') {
        return false;
    }
    for (size_t i = 0; i < WORDS; i++) {
        char *end = NULL;
        words[i] = strtoull(at, &end, i == 0 ? 10 : 16);
        if (end == at || (*end != ' ' && *end != '\n')) {
            return false;
        }
        at = end;
    }
    /* 32-bit processes number their calls otherwise; their stacks can't be higher. */
    if (words[STACK] <= UINT32_MAX) {
        return false;
    }
    call->number = (long)words[0];
    memcpy(call->args, &words[1], sizeof call->args);
    return true;
}

/* ---- what /proc has ---- */

static int open_proc(pid_t thread, const char *file)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)thread, file);
    return ckpt_host_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
}

/*
 * The thread sends its question before it goes to sleep, and until then it is "running": usually for some microseconds, for longer
 * where there are more threads than processors.
 */
static bool read_call(pid_t thread, struct intent_call *call)
{
    enum { TRIES = 400 };
    static const struct timespec pause = {.tv_nsec = 50000};
    char line[256];
    bool running = true;
    bool known = false;
    int fd = open_proc(thread, "syscall");
    for (int i = 0; fd >= 0 && running && i < TRIES; i++) {
        if (i > 0) {
            (void)nanosleep(&pause, NULL);
        }
        ssize_t n = ckpt_host_pread(fd, line, sizeof line - 1, 0);
        line[n < 0 ? 0 : n] = '\0';
        running = strncmp(line, "running", strlen("running")) == 0;
        known = intent_parse(line, call);
    }
    ckpt_host_close(fd);
    return known;
}

/* What can be had of a path: it may stand just before memory that isn't there. */
static bool read_path(int memory, uint64_t address, char path[PATH_MAX])
{
    ssize_t n = address > INT64_MAX ? -1 : ckpt_host_pread(memory, path, PATH_MAX, (off_t)address);
    return n > 0 && memchr(path, '\0', (size_t)n) != NULL;
}

static bool empties(uint64_t flags)
{
    return (flags & O_TRUNC) != 0 && (flags & O_CREAT) == 0 && (flags & O_ACCMODE) != O_RDONLY;
}

/* Made anew, or as good as that. */
static bool is_made(int memory, const struct maker *maker, const struct intent_call *call)
{
    struct open_how how = {0};
    uint64_t flags = maker->flags == NONE ? 0 : call->args[maker->flags];
    switch (maker->says) {
    case ALWAYS:
    case DIRECTORY:
        break;
    case IF_CREAT:
        return (flags & O_CREAT) != 0 || empties(flags);
    case IF_HOW:
        return flags <= INT64_MAX &&
               ckpt_host_pread(memory, &how, sizeof how, (off_t)flags) == (ssize_t)sizeof how &&
               (how.flags & O_CREAT) != 0;
    case IF_RENAME:
        return (flags & RENAME_EXCHANGE) == 0;
    }
    return true;
}

bool intent_read(pid_t thread, struct intent *intent)
{
    struct intent_call call;
    const struct maker *maker = thread > 0 && read_call(thread, &call) ? maker_of(call.number) : NULL;
    /* Nearly always only a read, and then it isn't worth to open its memory. */
    if (maker == NULL || (maker->says != IF_HOW && !is_made(-1, maker, &call))) {
        return false;
    }
    intent->other[0] = '\0';
    int memory = open_proc(thread, "mem");
    bool read = memory >= 0 && is_made(memory, maker, &call) && read_path(memory, call.args[maker->path], intent->path) &&
                (maker->other == NONE || read_path(memory, call.args[maker->other], intent->other));
    intent->empties = maker->says == IF_CREAT && empties(call.args[maker->flags]);
    ckpt_host_close(memory);
    /* "ln x best/" means a directory that is there, and the kernel makes no other thing by such a name. */
    size_t n = read ? strlen(intent->path) : 0;
    return n > 0 && (intent->path[n - 1] != '/' || maker->says == DIRECTORY);
}

/* ---- which name it means ---- */

struct part {
    const char *name; /* N bytes; 0: none */
    size_t n;
};

/* The last component of the first *N bytes of PATH, and *N of what is before it. */
static struct part last_part(const char *path, size_t *n)
{
    size_t end = *n;
    while (end > 0 && path[end - 1] == '/') {
        end--;
    }
    size_t start = end;
    while (start > 0 && path[start - 1] != '/') {
        start--;
    }
    *n = start;
    return (struct part){.name = path + start, .n = end - start};
}

static bool is_part(struct part part, const char *name, size_t n)
{
    return part.n == n && memcmp(part.name, name, n) == 0;
}

/* How many components the directory, the first N bytes of PATH, has in common with PLACE, from the end on; -1: it is another.
   Relative paths end early, and with ".." nobody can tell. */
static int fit(const char *path, size_t n, const char *place)
{
    size_t m = strlen(place);
    for (int equal = 0;; equal++) {
        struct part mine = last_part(path, &n);
        while (is_part(mine, ".", 1)) {
            mine = last_part(path, &n);
        }
        struct part its = last_part(place, &m);
        if (mine.n == 0 || its.n == 0 || is_part(mine, "..", 2)) {
            return equal;
        }
        if (!is_part(mine, its.name, its.n)) {
            return equal > 0 ? equal : -1;
        }
    }
}

/* The best fit of the NAMEs in the first N bytes of PATH; -2: there is none. */
static int best_fit(const char *path, size_t n, const char *place, const char *name)
{
    int best = -2;
    for (struct part part = last_part(path, &n); part.n > 0; part = last_part(path, &n)) {
        int this = is_part(part, name, strlen(name)) ? fit(path, n, place) : -2;
        best = this > best ? this : best;
    }
    return best;
}

bool intent_makes(const struct intent *intent, const char *place, const char *name)
{
    size_t n = strlen(intent->path);
    if (!is_part(last_part(intent->path, &n), name, strlen(name))) {
        return false;
    }
    int made = fit(intent->path, n, place);
    return made > best_fit(intent->path, n, place, name) &&
           made >= best_fit(intent->other, strlen(intent->other), place, name);
}
