#include "process.h"
#include <ckpt/host.h>
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    SMALL_FILE = 4096,              /* status, stat */
    ENVIRONMENT_MAX = 256 << 10,    /* bytes that are looked at */
    ENVIRONMENT_VALUE = 256,        /* of one variable; longer ones are cut */
    PROC_NAME = 64,
};

/* Harmless, and say which part of which job it is. The environment as the process got it: what it sets itself isn't seen. */
static const char *const variables[] = {
    "CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID",  "SLURM_JOB_NAME", "SLURM_PROCID",        "SLURM_ARRAY_JOB_ID",
    "SLURM_ARRAY_TASK_ID",  "PBS_JOBID",     "LSB_JOBID",      "RANK",                "LOCAL_RANK",
    "GROUP_RANK",           "WORLD_SIZE",    "WANDB_RUN_ID",   "CONDA_DEFAULT_ENV",   "TORCHELASTIC_RUN_ID",
    "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE",
};

/* ---- files of /proc ---- */

/* Up to SIZE bytes. -1 and errno. */
static ssize_t read_file(int dir, const char *path, char *buf, size_t size)
{
    int fd = ckpt_host_openat(dir, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    ssize_t n = ckpt_host_read_all(fd, buf, size, 0);
    int saved = errno;
    ckpt_host_close(fd);
    errno = saved;
    return n;
}

/* The same as a string. */
static bool read_text(int dir, const char *path, char text[SMALL_FILE])
{
    ssize_t n = read_file(dir, path, text, SMALL_FILE - 1);
    text[n < 0 ? 0 : n] = '\0';
    return n > 0;
}

/* The number behind "\nNAME:\t" in a status file, or -1. */
static long status_number(const char *text, const char *name)
{
    char key[32];
    (void)snprintf(key, sizeof key, "\n%s:", name);
    const char *line = strstr(text, key);
    return line == NULL ? -1 : strtol(line + strlen(key), NULL, 10);
}

/* What of proc(5), /proc/pid/stat, is used. */
struct stat_line {
    char state;      /* field 3 */
    uint64_t threads; /* 20 */
    uint64_t start;   /* 22 */
    uint64_t arguments; /* 48: where they stand in memory; random with each program */
};

static bool parse_stat(const char *text, struct stat_line *line)
{
    /* The name in parentheses is whatever the process wants. */
    const char *p = strrchr(text, ')');
    if (p == NULL || p[1] != ' ' || p[2] == '\0') {
        return false;
    }
    memset(line, 0, sizeof *line);
    line->state = p[2];
    p += 3;
    for (int field = 4; field <= 48 && *p != '\0'; field++) {
        char *end = NULL;
        uint64_t value = strtoull(p, &end, 10);
        if (end == p) {
            return false;
        }
        p = end;
        line->threads = field == 20 ? value : line->threads;
        line->start = field == 22 ? value : line->start;
        line->arguments = field == 48 ? value : line->arguments;
    }
    return line->start > 0;
}

static void read_boot(char boot[CKPT_BOOT_ID])
{
    char text[SMALL_FILE];
    (void)read_text(AT_FDCWD, "/proc/sys/kernel/random/boot_id", text);
    text[strcspn(text, "\n")] = '\0';
    (void)snprintf(boot, CKPT_BOOT_ID, "%.36s", text);
}

void ckpt_process_host_init(struct ckpt_process_host *host, const char *mountpoint, int livefd)
{
    memset(host, 0, sizeof *host);
    read_boot(host->boot);
    host->mountpoint = mountpoint;
    host->livefd = livefd;
}

/* ---- which one ---- */

bool ckpt_process_same(const struct ckpt_process_key *a, const struct ckpt_process_key *b)
{
    return a->group == b->group && a->start == b->start && strcmp(a->boot, b->boot) == 0;
}

bool ckpt_process_look(pid_t thread, const struct ckpt_process_host *host, struct ckpt_process_look *look)
{
    char path[PROC_NAME];
    char text[SMALL_FILE];
    struct stat_line line;
    if (thread <= 0) {
        return false; /* of another pid namespace */
    }
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)thread);
    if (!read_text(AT_FDCWD, path, text)) {
        return false;
    }
    long group = status_number(text, "Tgid");
    long uid = status_number(text, "Uid");
    (void)snprintf(path, sizeof path, "/proc/%ld/stat", group);
    if (group <= 0 || !read_text(AT_FDCWD, path, text) || !parse_stat(text, &line)) {
        return false;
    }
    memset(look, 0, sizeof *look);
    look->key.group = (pid_t)group;
    look->key.start = line.start;
    memcpy(look->key.boot, host->boot, sizeof look->key.boot);
    look->image = line.arguments;
    look->uid = (uid_t)uid;
    return true;
}

bool ckpt_process_alive(const struct ckpt_process_key *key)
{
    char path[PROC_NAME];
    char text[SMALL_FILE];
    char boot[CKPT_BOOT_ID];
    struct stat_line line;
    read_boot(boot);
    if (boot[0] != '\0' && strcmp(boot, key->boot) != 0) {
        return false;
    }
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)key->group);
    errno = 0;
    if (!read_text(AT_FDCWD, path, text)) {
        return errno != ENOENT && errno != ESRCH;
    }
    if (!parse_stat(text, &line)) {
        return true;
    }
    /* Of a process whose first thread has ended only that one is a zombie. */
    bool ended = line.state == 'X' || (line.state == 'Z' && line.threads <= 1);
    return line.start == key->start && !ended;
}

/* ---- the quick part ---- */

static int64_t nanoseconds(clockid_t clock)
{
    struct timespec t = {0};
    (void)clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* From the ticks since the boot to the wall clock, as it goes now. */
static int64_t started(uint64_t start)
{
    long hertz = sysconf(_SC_CLK_TCK);
    if (hertz <= 0) {
        return 0;
    }
    int64_t since_boot = (int64_t)((double)start / (double)hertz * 1e9);
    return nanoseconds(CLOCK_REALTIME) - nanoseconds(CLOCK_BOOTTIME) + since_boot;
}

static enum ckpt_err read_command(int dir, struct ckpt_process *process)
{
    char *raw = malloc(CKPT_PROCESS_COMMAND + 1);
    if (raw == NULL) {
        return CKPT_ERR_NOMEM;
    }
    ssize_t n = read_file(dir, "cmdline", raw, CKPT_PROCESS_COMMAND);
    struct ckpt_strings strings = {.at = raw, .size = n < 0 ? 0 : (size_t)n};
    if (strings.size == CKPT_PROCESS_COMMAND) {
        /* The last string may be part of a secret that isn't recognised by it. */
        process->command_cut = true;
        while (strings.size > 0 && raw[strings.size - 1] != '\0') {
            strings.size--;
        }
    } else if (strings.size > 0 && raw[strings.size - 1] != '\0') {
        raw[strings.size++] = '\0'; /* a process may write over its arguments */
    }
    enum ckpt_err err = ckpt_secret_redact(&strings, &process->command);
    free(raw);
    return err;
}

static bool is_wanted(const char *variable, size_t n)
{
    for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
        if (strlen(variables[i]) == n && memcmp(variables[i], variable, n) == 0) {
            return true;
        }
    }
    return false;
}

/* Moves the wanted ones to the front of what was read; gives their bytes. */
static size_t choose_variables(char *raw, size_t size)
{
    size_t kept = 0;
    for (size_t at = 0; at < size;) {
        const char *end = memchr(raw + at, '\0', size - at);
        if (end == NULL) {
            break; /* cut */
        }
        size_t n = (size_t)(end - (raw + at));
        const char *equals = memchr(raw + at, '=', n);
        if (equals != NULL && is_wanted(raw + at, (size_t)(equals - (raw + at)))) {
            size_t keep = n < ENVIRONMENT_VALUE ? n : ENVIRONMENT_VALUE;
            memmove(raw + kept, raw + at, keep);
            raw[kept + keep] = '\0';
            kept += keep + 1;
        }
        at += n + 1;
    }
    return kept;
}

static enum ckpt_err read_environment(int dir, struct ckpt_process *process)
{
    char *raw = malloc(ENVIRONMENT_MAX);
    if (raw == NULL) {
        return CKPT_ERR_NOMEM;
    }
    ssize_t n = read_file(dir, "environ", raw, ENVIRONMENT_MAX);
    struct ckpt_strings chosen = {.at = raw, .size = n < 0 ? 0 : choose_variables(raw, (size_t)n)};
    enum ckpt_err err = ckpt_secret_redact(&chosen, &process->environment);
    free(raw);
    return err;
}

/* Asks no filesystem: the kernel knows the path. */
static enum ckpt_err read_directory(int dir, struct ckpt_process *process)
{
    char path[PATH_MAX];
    ssize_t n = ckpt_host_readlinkat(dir, "cwd", path, sizeof path - 1);
    if (n <= 0) {
        return CKPT_OK;
    }
    path[n] = '\0';
    process->directory = strdup(path);
    return process->directory == NULL ? CKPT_ERR_NOMEM : CKPT_OK;
}

enum ckpt_err ckpt_process_read(pid_t thread, const struct ckpt_process_host *host,
                                struct ckpt_process **out)
{
    char path[PROC_NAME];
    struct ckpt_process_look look;
    if (!ckpt_process_look(thread, host, &look)) {
        return CKPT_ERR_NOT_FOUND;
    }
    (void)snprintf(path, sizeof path, "/proc/%d", (int)look.key.group);
    int dir = ckpt_host_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (dir < 0) {
        return CKPT_ERR_NOT_FOUND;
    }
    struct ckpt_process *process = calloc(1, sizeof *process);
    enum ckpt_err err = process == NULL ? CKPT_ERR_NOMEM : CKPT_OK;
    if (err == CKPT_OK) {
        atomic_init(&process->references, 1);
        process->look = look;
        process->started_ns = started(look.key.start);
        (void)gethostname(process->host, sizeof process->host - 1);
        err = read_command(dir, process);
    }
    if (err == CKPT_OK) {
        err = read_environment(dir, process);
    }
    if (err == CKPT_OK) {
        err = read_directory(dir, process);
    }
    ckpt_host_close(dir);
    if (err != CKPT_OK) {
        ckpt_process_release(process);
        return err;
    }
    *out = process;
    return CKPT_OK;
}

struct ckpt_process *ckpt_process_hold(struct ckpt_process *process)
{
    if (process != NULL) {
        atomic_fetch_add(&process->references, 1);
    }
    return process;
}

void ckpt_process_release(struct ckpt_process *process)
{
    if (process == NULL || atomic_fetch_sub(&process->references, 1) != 1) {
        return;
    }
    free(process->command.at);
    free(process->environment.at);
    free(process->directory);
    free(process);
}

/* ---- the rest ---- */

static void read_user(struct ckpt_process *process)
{
    enum { ROOM = 16 << 10 };
    struct passwd entry;
    struct passwd *found = NULL;
    char *buf = malloc(ROOM);
    if (buf != NULL && getpwuid_r(process->look.uid, &entry, buf, ROOM, &found) == 0 && found != NULL) {
        (void)snprintf(process->user, sizeof process->user, "%s", found->pw_name);
    }
    free(buf);
}

void ckpt_process_complete(struct ckpt_process *process, const struct ckpt_process_host *host)
{
    if (process->complete) {
        return;
    }
    read_user(process);
    if (process->directory != NULL) {
        ckpt_git_read(process->directory, host, &process->git);
    }
    process->complete = true;
}
