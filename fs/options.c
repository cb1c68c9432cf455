#include "options.h"
#include "fs.h"
#include <ckpt/engine.h>
#include <fuse_opt.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DEFAULT_CACHE = 64 << 20,
    MAX_CACHE_SHIFT = 40, /* a cache beyond 1 TiB is a typing error */
    DEFAULT_SETTLE_MS = 200,
    MAX_SETTLE_MS = 3600 * 1000,
    MAX_THREADS = 256,
    MAX_FINAL_MS = 24 * 3600 * 1000, /* a day */
    MAX_QUIET_S = 3600,
};

static int complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int complain(const char *format, ...)
{
    va_list args;
    (void)fputs("ckptfs: ", stderr);
    va_start(args, format);
    (void)vfprintf(stderr, format, args);
    va_end(args);
    (void)fputs("; 'ckptfs -h' shows how to call it\n", stderr);
    return -1;
}

static int set_string(char **to, const char *value)
{
    char *copy = strdup(value);
    if (copy == NULL) {
        return complain("out of memory");
    }
    free(*to);
    *to = copy;
    return 0;
}

static int set_size(const char *name, const char *value, uint64_t *to)
{
    uint64_t bytes = 0;
    if (ckpt_size_parse(value, &bytes) != CKPT_OK || bytes >= OPTIONS_DEFAULT_SIZE) {
        return complain("%s=%s is not a size (examples: 512M, 10G, 1.5T)", name, value);
    }
    *to = bytes;
    return 0;
}

static int set_number(const char *name, const char *value, unsigned low, unsigned high,
                      unsigned *to)
{
    char *end = NULL;
    unsigned long number = strtoul(value, &end, 10);
    if (*value < '0' || *value > '9' || *end != '\0' || number < low || number > high) {
        return complain("%s=%s is not a number from %u to %u", name, value, low, high);
    }
    *to = (unsigned)number;
    return 0;
}

/* Exactly one of two words. */
static int set_choice(const char *name, const char *value, const char *yes, const char *no,
                      bool *to)
{
    if (strcmp(value, yes) != 0 && strcmp(value, no) != 0) {
        return complain("%s=%s: it is %s=%s or %s=%s", name, value, name, yes, name, no);
    }
    *to = strcmp(value, yes) == 0;
    return 0;
}

static int set_hot(struct options *options, const char *name, const char *value)
{
    if (strcmp(value, "none") == 0) {
        options->hot_limit = OPTIONS_NO_LIMIT;
        return 0;
    }
    return set_size(name, value, &options->hot_limit);
}

static int set_reserve(struct options *options, const char *name, const char *value)
{
    return set_size(name, value, &options->reserve);
}

static int set_cache(struct options *options, const char *name, const char *value)
{
    if (set_size(name, value, &options->cache) != 0) {
        return -1;
    }
    if (options->cache >> MAX_CACHE_SHIFT != 0) {
        return complain("%s=%s is more memory than a cache can have", name, value);
    }
    return 0;
}

static int set_views(struct options *options, const char *name, const char *value)
{
    return set_choice(name, value, "visible", "hidden", &options->views_visible);
}

static int set_passthrough(struct options *options, const char *name, const char *value)
{
    return set_choice(name, value, "auto", "off", &options->passthrough);
}

static int set_threads(struct options *options, const char *name, const char *value)
{
    return set_number(name, value, 1, MAX_THREADS, &options->threads);
}

static int set_depth(struct options *options, const char *name, const char *value)
{
    return set_number(name, value, 0, CKPT_DEPTH_MAX, &options->depth);
}

static int set_settle(struct options *options, const char *name, const char *value)
{
    return set_number(name, value, 0, MAX_SETTLE_MS, &options->settle_ms);
}

/* Seconds, minutes, hours: as in a policy. */
static int set_final(struct options *options, const char *name, const char *value)
{
    static const struct {
        char letter;
        unsigned ms;
    } units[] = {{'s', 1000}, {'m', 60 * 1000}, {'h', 3600 * 1000}, {'d', 24 * 3600 * 1000}};
    char *end = NULL;
    unsigned long number = strtoul(value, &end, 10);
    for (size_t i = 0; *value >= '0' && *value <= '9' && i < sizeof units / sizeof units[0]; i++) {
        if (end[0] == units[i].letter && end[1] == '\0' && number > 0 && number <= MAX_FINAL_MS / units[i].ms) {
            options->final_ms = (unsigned)number * units[i].ms;
            return 0;
        }
    }
    return complain("%s=%s is not a duration from 1s to 1d (examples: 90s, 10m, 2h)", name, value);
}

static int set_quiet(struct options *options, const char *name, const char *value)
{
    unsigned seconds = 0;
    if (set_number(name, value, 1, MAX_QUIET_S, &seconds) != 0) {
        return -1;
    }
    options->quiet_ms = 1000 * seconds;
    return 0;
}

static int set_log(struct options *options, const char *name, const char *value)
{
    return *value == '\0' ? complain("%s= needs a file name", name)
                          : set_string(&options->log, value);
}

static int set_capture(struct options *options, const char *name, const char *value)
{
    const char *bad = value;
    struct ckpt_filter *filter = NULL;
    enum ckpt_err err = ckpt_filter_parse(value, &filter, &bad);
    if (err == CKPT_ERR_INVALID) {
        return complain("%s=%s: '%s' is no pattern (examples: default:*.foo, !*.tmp, >16M)", name,
                        value, bad);
    }
    if (err != CKPT_OK) {
        return complain("%s=%s: %s", name, value, ckpt_err_text(err));
    }
    ckpt_filter_free(options->filter);
    options->filter = filter;
    return 0;
}

static const struct {
    const char *name;
    int (*set)(struct options *options, const char *name, const char *value);
} own_options[] = {
    {"hot", set_hot},       {"views", set_views},     {"capture", set_capture},
    {"cache", set_cache},   {"reserve", set_reserve}, {"passthrough", set_passthrough},
    {"settle", set_settle}, {"threads", set_threads}, {"log", set_log},
    {"depth", set_depth},   {"final", set_final},     {"quiet", set_quiet},
};

/* What libfuse and the kernel understand and what does no harm here. One that ends in '=' takes a
 * value. */
static const char *const mount_options[] = {
    "allow_other", "allow_root", "rw",       "suid",       "nosuid",      "dev",          "nodev",
    "exec",        "noexec",     "sync",     "async",      "dirsync",     "atime",        "noatime",
    "debug",       "max_read=",  "context=", "fscontext=", "defcontext=", "rootcontext=",
};

/* fstab's own words, which mount(8) may hand on: they mean nothing to a filesystem. */
static const char *const fstab_words[] = {
    "defaults", "auto",   "noauto",
    "user",     "nouser", "users",
    "_netdev",  "nofail", "default_permissions",
};

static bool among(const char *const *list, size_t n, const char *option)
{
    for (size_t i = 0; i < n; i++) {
        size_t length = strlen(list[i]);
        bool has_value = list[i][length - 1] == '=';
        if (has_value ? strncmp(list[i], option, length) == 0 : strcmp(list[i], option) == 0) {
            return true;
        }
    }
    return false;
}

#define AMONG(list, option) among(list, sizeof(list) / sizeof(list)[0], option)

static int mount_option(struct options *options, const char *option)
{
    if (strcmp(option, "ro") == 0) {
        return complain(
            "a store can't be mounted read-only (option 'ro'): make a directory read-only "
            "with chmod, or read versions with 'ckpt restore'");
    }
    if (strcmp(option, "auto_unmount") == 0) {
        return complain(
            "option 'auto_unmount' doesn't go with passthrough and isn't needed: the next "
            "start cleans a dead mount up");
    }
    if (AMONG(fstab_words, option) || strncmp(option, "x-", 2) == 0) {
        return 0;
    }
    if (!AMONG(mount_options, option)) {
        return complain("unknown option '-o %s'", option);
    }
    if (strcmp(option, "allow_root") == 0) {
        options->allow_root = true;
    } else if (strcmp(option, "debug") == 0) {
        options->debug = true;
        options->foreground = true;
        return 0;
    } else if (strcmp(option, "allow_other") == 0) {
        options->allow_root = false;
    }
    return fuse_opt_add_opt_escaped(&options->mount, option) == 0 ? 0 : complain("out of memory");
}

/* An item of -o: our own, or one for the mount. */
static int o_option(struct options *options, const char *option)
{
    for (size_t i = 0; i < sizeof own_options / sizeof own_options[0]; i++) {
        const char *name = own_options[i].name;
        size_t length = strlen(name);
        if (strncmp(option, name, length) != 0) {
            continue;
        }
        if (option[length] == '=') {
            return own_options[i].set(options, name, option + length + 1);
        }
        if (option[length] == '\0') {
            return complain("option '-o %s' needs a value (%s=...)", name, name);
        }
    }
    return mount_option(options, option);
}

static int dash_option(struct options *options, const char *option)
{
    if (strcmp(option, "-f") == 0) {
        options->foreground = true;
    } else if (strcmp(option, "-d") == 0) {
        options->foreground = true;
        options->debug = true;
    } else if (strcmp(option, "-h") == 0 || strcmp(option, "--help") == 0) {
        options->help = true;
    } else if (strcmp(option, "-V") == 0 || strcmp(option, "--version") == 0) {
        options->version = true;
    } else {
        return complain("unknown option '%s'", option);
    }
    return 0;
}

static int process(void *data, const char *arg, int key, struct fuse_args *out)
{
    struct options *options = data;
    (void)out;
    if (key == FUSE_OPT_KEY_NONOPT) {
        if (options->store == NULL) {
            return set_string(&options->store, arg);
        }
        if (options->mountpoint == NULL) {
            return set_string(&options->mountpoint, arg);
        }
        return complain("'%s' is one argument too many", arg);
    }
    return arg[0] == '-' ? dash_option(options, arg) : o_option(options, arg);
}

static int check_arguments(struct options *options)
{
    if (options->help || options->version) {
        return 0;
    }
    if (options->store == NULL || *options->store == '\0') {
        return complain("which store? The first argument, STORE, is missing");
    }
    if (options->mountpoint == NULL || *options->mountpoint == '\0') {
        return complain("where to mount %s? The second argument, MOUNTPOINT, is missing",
                        options->store);
    }
    if (options->filter == NULL) {
        return set_capture(options, "capture", CKPT_FILTER_DEFAULT);
    }
    return 0;
}

int options_parse(struct options *options, int argc, char **argv)
{
    /* The library splits -o at commas, honours "\," and finds "--"; what an item means is decided
     * here. */
    static const struct fuse_opt none[] = {FUSE_OPT_END};
    struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
    *options = (struct options){.views_visible = true,
                                .passthrough = true,
                                .hot_limit = OPTIONS_DEFAULT_SIZE,
                                .reserve = OPTIONS_DEFAULT_SIZE,
                                .cache = DEFAULT_CACHE,
                                .settle_ms = DEFAULT_SETTLE_MS,
                                .depth = CKPT_DEPTH,
                                .final_ms = CKPT_FINAL_MS,
                                .quiet_ms = CKPT_QUIET_MS};
    if (argc > 1 && strcmp(argv[argc - 1], "-o") == 0) {
        return complain("nothing stands after the last -o");
    }
    int r = fuse_opt_parse(&args, options, none, process);
    fuse_opt_free_args(&args);
    return r != 0 ? -1 : check_arguments(options);
}

void options_free(struct options *options)
{
    free(options->store);
    free(options->mountpoint);
    free(options->log);
    free(options->mount);
    ckpt_filter_free(options->filter);
    *options = (struct options){0};
}

void options_help(void)
{
    (void)fputs(
        "usage: ckptfs [-f] [-o OPTIONS] STORE MOUNTPOINT\n"
        "\n"
        "Mounts the checkpoint store in the directory STORE; makes one when STORE is missing or "
        "empty.\n"
        "Every checkpoint that is written below MOUNTPOINT becomes a version in the store.\n"
        "'fusermount3 -u MOUNTPOINT' (or umount) ends it.\n"
        "\n"
        "  -f                  stay in the foreground, log to standard error\n"
        "  -d                  the same, and print every request\n"
        "  -h, -V              this text; the version\n"
        "  -o OPTIONS          a comma-separated list of:\n"
        "\n"
        "  hot=SIZE            host space for files kept as they are (default: 10% of the host\n"
        "                      filesystem); beyond it, the longest unused are stored compressed "
        "only.\n"
        "                      0: as few as possible; none: no limit\n"
        "  reserve=SIZE        host space to leave free (default: 1% of the host filesystem, at\n"
        "                      least 64M, at most 2G)\n"
        "  capture=LIST        which files become versions, as a colon-separated list: *.pt "
        "captures,\n"
        "                      !*.log doesn't, >1M captures big files, default is the built-in "
        "list\n"
        "  views=visible       list latest/ and history/ in directories with checkpoints "
        "(default);\n"
        "  views=hidden        they are under .ckpt/ in any case\n"
        "  settle=MS           let a closed file rest before it is read (default: 200)\n"
        "  threads=N           threads that compress (default: one for each core, at most 4)\n"
        "  depth=N             store a tensor as the difference from the version before, at most N in a\n"
        "                      row: more saves space and slows reading (default: 5; 0: never)\n"
        "  final=DURATION      a run to which nothing was written for so long is over (default: 10m)\n"
        "  quiet=SECONDS       a checkpoint of several files is complete when none has come for so long\n"
        "                      (default: 30)\n"
        "  cache=SIZE          memory for decompressed data (default: 64M)\n"
        "  passthrough=auto    let the kernel read and write files itself where it can (default)\n"
        "  passthrough=off     don't\n"
        "  log=FILE            the daemon's log (default: STORE/log)\n"
        "  allow_other, suid, dev, noexec, noatime, ...   as for every FUSE filesystem\n",
        stdout);
}
