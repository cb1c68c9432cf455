/*
 * ckptfs: options, the daemon, the mount, and the order in which things start and stop.
 *
 * The daemon forks before it opens the store, because an LMDB environment doesn't survive fork().
 * The first process waits at a pipe until the mount stands or the reason why not has been printed.
 */
#include "ctl.h"
#include "fs.h"
#include "inode.h"
#include "log.h"
#include "mountpoint.h"
#include "notify.h"
#include "ops.h"
#include "options.h"
#include "passthrough.h"
#include "signals.h"
#include "view.h"
#include <ckpt/host.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    DRAIN_BYTES = 256 << 20, /* a longer queue is left for the next start */
    MAX_WRITE = 1 << 20,
    IDLE_THREADS = 16,
    MAX_THREADS = 16,
};

/* ---- the session ---- */

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
    const unsigned wanted = FUSE_CAP_POSIX_ACL | FUSE_CAP_DONT_MASK | FUSE_CAP_ATOMIC_O_TRUNC |
                            FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_ASYNC_DIO;
    (void)userdata;
    /* What libfuse asks for by itself is replaced: locks stay with the kernel, data is never
     * spliced. */
    conn->want = wanted & conn->capable;
    conn->max_write = MAX_WRITE;
}

static const struct fuse_lowlevel_ops operations = {
    .init = op_init,
    .lookup = op_lookup,
    .forget = op_forget,
    .forget_multi = op_forget_multi,
    .getattr = op_getattr,
    .setattr = op_setattr,
    .readlink = op_readlink,
    .mknod = op_mknod,
    .mkdir = op_mkdir,
    .symlink = op_symlink,
    .link = op_link,
    .unlink = op_unlink,
    .rmdir = op_rmdir,
    .rename = op_rename,
    .open = op_open,
    .create = op_create,
    .read = op_read,
    .write_buf = op_write_buf,
    .flush = op_flush,
    .release = op_release,
    .fsync = op_fsync,
    .lseek = op_lseek,
    .fallocate = op_fallocate,
    .copy_file_range = op_copy_file_range,
    .opendir = op_opendir,
    .readdir = op_readdir,
    .releasedir = op_releasedir,
    .fsyncdir = op_fsyncdir,
    .statfs = op_statfs,
    .setxattr = op_setxattr,
    .getxattr = op_getxattr,
    .listxattr = op_listxattr,
    .removexattr = op_removexattr,
};

/* NAME and TEXT become one item of a list for -o, whatever characters are in TEXT. */
static int add_mount_option(char **list, const char *name, const char *text)
{
    char *item = NULL;
    if (asprintf(&item, "%s%s", name, text) < 0) {
        return -1;
    }
    int r = fuse_opt_add_opt_escaped(list, item);
    free(item);
    return r;
}

static struct fuse_session *new_session(struct ckptfs *fs, const struct options *options)
{
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    struct fuse_session *session = NULL;
    char *list = NULL;
    int failed = add_mount_option(&list, "fsname=", ckpt_store_path(fs->store)) |
                 add_mount_option(&list, "subtype=ckptfs", "") |
                 add_mount_option(&list, "default_permissions", "");
    if (geteuid() == 0 && !options->allow_root) {
        failed |= add_mount_option(&list, "allow_other", "");
    }
    failed |= fuse_opt_add_arg(&args, "ckptfs") | fuse_opt_add_arg(&args, "-o");
    if (failed == 0) {
        failed = fuse_opt_add_arg(&args, list);
    }
    if (options->mount != NULL) {
        failed |= fuse_opt_add_arg(&args, "-o") | fuse_opt_add_arg(&args, options->mount);
    }
    if (options->debug) {
        failed |= fuse_opt_add_arg(&args, "-d");
    }
    if (failed == 0) {
        session = fuse_session_new(&args, &operations, sizeof operations, fs);
    }
    free(list);
    fuse_opt_free_args(&args);
    return session;
}

/* Everything that lives from the start to the end. */
struct daemon {
    struct ckptfs fs;
    const struct options *options;
    char *store; /* absolute, like the log */
    char *log;   /* NULL: standard error only */
    struct signals *signals;
    int tell; /* where the first process waits for the exit code; -1 in the foreground */
    bool greeting;
    pthread_t greeter;
};

/* ---- before the mount ---- */

/* 1 when STORE is missing or an empty directory, 0 when not, -1 after a message. */
static int is_new_store(struct log *log, const char *store)
{
    int fd = ckpt_host_openat(AT_FDCWD, store, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);
    if (fd < 0 && errno == ENOENT) {
        return 1;
    }
    DIR *stream = fd < 0 ? NULL : fdopendir(fd);
    int entries = 0;
    while (stream != NULL && ckpt_host_readdir(stream) != NULL) {
        entries++;
    }
    if (stream == NULL || errno != 0) {
        log_write(log, CKPT_ERROR, "store %s: %s", store, strerror(errno));
        entries = -1;
    }
    if (stream != NULL) {
        (void)closedir(stream);
    } else {
        ckpt_host_close(fd);
    }
    return entries < 0 ? -1 : entries <= 2;
}

/* Makes the paths absolute and refuses those that would bite each other. 0, or -1 after a message.
 */
static int prepare_paths(struct daemon *d)
{
    struct ckptfs *fs = &d->fs;
    const struct options *options = d->options;
    fs->mountpoint = mountpoint_prepare(fs->log, options->mountpoint);
    if (fs->mountpoint == NULL) {
        return -1;
    }
    d->store = path_absolute(options->store);
    if (d->store == NULL) {
        log_write(fs->log, CKPT_ERROR, "store %s: %s", options->store, strerror(errno));
        return -1;
    }
    if (path_lies_in(fs->mountpoint, d->store)) {
        log_write(fs->log, CKPT_ERROR,
                  "mount point %s lies inside the store %s; choose another place", fs->mountpoint,
                  d->store);
        return -1;
    }
    if (path_lies_in(d->store, fs->mountpoint)) {
        log_write(fs->log, CKPT_ERROR,
                  "store %s lies inside the mount point %s; choose another place", d->store,
                  fs->mountpoint);
        return -1;
    }
    if (options->log != NULL) {
        d->log = path_absolute(options->log);
    } else if (!options->foreground && asprintf(&d->log, "%s/log", d->store) < 0) {
        d->log = NULL;
    }
    if (d->log == NULL && (options->log != NULL || !options->foreground)) {
        log_write(fs->log, CKPT_ERROR, "log %s: %s", options->log != NULL ? options->log : d->store,
                  strerror(errno));
        return -1;
    }
    if (d->log != NULL && path_lies_in(d->log, fs->mountpoint)) {
        log_write(fs->log, CKPT_ERROR,
                  "log %s lies inside the mount point %s; choose another place", d->log,
                  fs->mountpoint);
        return -1;
    }
    return 0;
}

static enum ckpt_err open_store(struct daemon *d)
{
    struct ckptfs *fs = &d->fs;
    char holder[PATH_MAX + 320];
    char host[256] = "?";
    struct ckpt_report report = {.fn = log_report, .arg = fs->log};
    int fresh = is_new_store(fs->log, d->store);
    if (fresh < 0) {
        return CKPT_ERR_INVALID;
    }
    if (fresh == 1) {
        enum ckpt_err err = ckpt_store_create(d->store, &report);
        if (err != CKPT_OK) {
            return err;
        }
        log_write(fs->log, CKPT_NOTICE, "made a new store in %s", d->store);
    }
    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(holder, sizeof holder, "ckptfs on %s, pid %d on %s", fs->mountpoint,
                   (int)getpid(), host);
    enum ckpt_err err = ckpt_store_open(d->store, CKPT_WRITE, holder, &report, &fs->store);
    /* Only now: until then the log may be another daemon's. */
    if (err == CKPT_OK && d->log != NULL) {
        err = log_file(fs->log, d->log);
        if (err != CKPT_OK) {
            log_write(fs->log, CKPT_ERROR, "log %s can't be written: %s", d->log,
                      ckpt_err_text(err));
        }
    }
    return err;
}

/* ---- parts ---- */

static uint64_t clamp(uint64_t value, uint64_t low, uint64_t high)
{
    return value < low ? low : value > high ? high : value;
}

static enum ckpt_err start_engine(struct ckptfs *fs, const struct options *options)
{
    struct ckpt_space space;
    enum ckpt_err err = ckpt_store_space(fs->store, &space);
    if (err != CKPT_OK) {
        return err;
    }
    struct ckpt_engine_config config = {
        .threads = options->threads,
        .depth = options->depth,
        .settle_ms = options->settle_ms,
        .final_ms = options->final_ms,
        .quiet_ms = options->quiet_ms,
        .hot_limit =
            options->hot_limit == OPTIONS_DEFAULT_SIZE ? space.host_size / 10 : options->hot_limit,
        .reserve = options->reserve == OPTIONS_DEFAULT_SIZE
                       ? clamp(space.host_size / 100, UINT64_C(64) << 20, UINT64_C(2) << 30)
                       : options->reserve,
        .filter = options->filter,
        .cache = fs->cache,
        .mountpoint = fs->mountpoint,
        .runs = fs->runs,
        .hooks = {.writing = inode_writing,
                  .closing = inode_closing,
                  .claim = inode_claim,
                  .disclaim = inode_disclaim,
                  .exchanged = inode_exchanged,
                  .touched = inode_touched,
                  .unlinked = inode_unlinked,
                  .removed = inode_removed,
                  .appeared = inode_appeared},
        .hooks_arg = fs,
    };
    return ckpt_engine_start(fs->store, &config, &fs->engine);
}

static enum ckpt_err mount_it(struct daemon *d)
{
    struct ckptfs *fs = &d->fs;
    fs->session = new_session(fs, d->options);
    if (fs->session == NULL || fuse_session_mount(fs->session, fs->mountpoint) != 0) {
        log_write(fs->log, CKPT_ERROR,
                  "%s could not be mounted; is /dev/fuse there, and may you use it?",
                  fs->mountpoint);
        return CKPT_ERR_UNSUPPORTED;
    }
    signals_mounted(d->signals, true);
    return passthrough_create(fs->session, d->options->passthrough, &fs->passthrough);
}

static enum ckpt_err start_all(struct daemon *d)
{
    struct ckptfs *fs = &d->fs;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned threads = cores < 1 ? 1 : cores > 8 ? 8 : (unsigned)cores;
    enum ckpt_err err = open_store(d);
    if (err == CKPT_OK) {
        err = ckpt_cache_create(fs->store, d->options->cache, threads, &fs->cache);
    }
    if (err == CKPT_OK) {
        err = ckpt_runs_create(fs->store, &fs->runs);
    }
    if (err == CKPT_OK) {
        err = inode_table_create(fs, &fs->inodes);
    }
    if (err == CKPT_OK) {
        err = view_set_create(&fs->views);
    }
    if (err == CKPT_OK) {
        err = notifier_create(fs, &fs->notifier);
    }
    if (err == CKPT_OK) {
        err = start_engine(fs, d->options);
    }
    if (err == CKPT_OK) {
        err = mount_it(d);
    }
    return err == CKPT_OK ? ctl_start(fs, &fs->ctl) : err;
}

/* A short queue is finished; a long one, or one that can't get on, is left for the next start. */
static void stop_engine(struct ckptfs *fs)
{
    struct ckpt_engine_status status = {0};
    if (fs->engine == NULL) {
        return;
    }
    ckpt_engine_status(fs->engine, &status);
    bool drain = status.queued_bytes <= DRAIN_BYTES && !status.waiting_for_space && !status.stopped;
    if (!drain && status.queued_files > 0) {
        log_write(fs->log, CKPT_NOTICE,
                  "%" PRIu64 " closed files stay in pending/; the next start takes them",
                  status.queued_files);
    }
    ckpt_engine_stop(fs->engine, drain);
    fs->engine = NULL;
}

/* In the order in which each still needs the next. */
static void stop_all(struct daemon *d)
{
    struct ckptfs *fs = &d->fs;
    ctl_stop(fs->ctl);
    notifier_quiet(fs->notifier);
    if (fs->session != NULL) {
        fuse_session_unmount(fs->session);
        signals_mounted(d->signals, false);
    }
    if (d->greeting) {
        /* If it was still waiting for an answer from the mount, it has got an error by now. */
        (void)pthread_join(d->greeter, NULL);
    }
    stop_engine(fs);
    notifier_free(fs->notifier);
    view_set_free(fs);
    inode_table_free(fs->inodes);
    ckpt_runs_free(fs->runs);
    ckpt_cache_free(fs->cache);
    if (fs->session != NULL) {
        fuse_session_destroy(fs->session);
    }
    passthrough_free(fs->passthrough);
    ckpt_store_close(fs->store);
}

/* ---- the process ---- */

static void prepare_process(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        /* Every file that the kernel knows costs a descriptor. */
        char text[32] = "";
        int most = geteuid() == 0 ? open("/proc/sys/fs/nr_open", O_RDONLY | O_CLOEXEC) : -1;
        if (most >= 0 && read(most, text, sizeof text - 1) > 0 &&
            strtoull(text, NULL, 10) > files.rlim_max) {
            files.rlim_max = strtoull(text, NULL, 10);
        }
        ckpt_host_close(most);
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    /* Big buffers go back to the system when they are freed. */
    (void)mallopt(M_ARENA_MAX, 2);
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 16 << 20);
    (void)umask(0);
    signals_block();
}

/* Waits for the daemon's word: its exit code, 0 once it is mounted. */
static int wait_for_daemon(int fd, pid_t child)
{
    char code = 1;
    if (read(fd, &code, 1) != 1) {
        (void)waitpid(child, NULL, 0);
        return 1;
    }
    return code;
}

/* -1 in the daemon, with *TELL to write the exit code to; else the exit code of the first process.
 */
static int daemonise(int *tell)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
        perror("ckptfs: pipe");
        return 1;
    }
    pid_t child = fork();
    if (child < 0) {
        perror("ckptfs: fork");
        return 1;
    }
    if (child > 0) {
        (void)close(ends[1]);
        return wait_for_daemon(ends[0], child);
    }
    (void)close(ends[0]);
    (void)setsid();
    *tell = ends[1];
    return -1;
}

/* Lets go of the terminal, or of the pipes of whoever waits for their end, and says that all is
 * well. */
static void detach_process(struct daemon *d)
{
    char code = 0;
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    (void)dup2(null, STDIN_FILENO);
    (void)dup2(null, STDOUT_FILENO);
    (void)close(null);
    log_echo(d->fs.log, false);
    (void)!write(d->tell, &code, 1);
    (void)close(d->tell);
}

/*
 * Says that the mount stands, from a thread of its own, because only an answer of the mount tells
 * that it does: then INIT is over, it is known whether there is passthrough, and the kernel has set
 * its read-ahead.
 */
static void *greet(void *arg)
{
    struct daemon *d = arg;
    struct ckptfs *fs = &d->fs;
    struct stat st;
    if (stat(fs->mountpoint, &st) != 0) {
        return NULL; /* gone again */
    }
    mountpoint_read_ahead(fs->log, st.st_dev);
    /* Whether the host filesystem can be passed through shows when a file is. */
    int probe = ckpt_host_openat(ckpt_store_dirfd(fs->store), "FORMAT", O_RDONLY | O_CLOEXEC, 0);
    int32_t id = probe < 0 ? 0 : passthrough_register(fs->passthrough, probe);
    if (id > 0) {
        passthrough_unregister(fs->passthrough, id);
    }
    ckpt_host_close(probe);
    if (!d->options->foreground) {
        (void)printf("%s mounted on %s (passthrough: %s)\n", d->store, fs->mountpoint,
                     passthrough_text(fs->passthrough));
        (void)fflush(stdout);
        detach_process(d);
    }
    log_write(fs->log, CKPT_NOTICE, "ckptfs %s, pid %d: %s mounted on %s (passthrough: %s)",
              CKPT_VERSION, (int)getpid(), d->store, fs->mountpoint,
              passthrough_text(fs->passthrough));
    return NULL;
}

static int serve(struct daemon *d)
{
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    int result = -ENOMEM;
    if (config != NULL) {
        fuse_loop_cfg_set_clone_fd(config, 0);
        fuse_loop_cfg_set_idle_threads(config, IDLE_THREADS);
        fuse_loop_cfg_set_max_threads(config, MAX_THREADS);
        signals_serving(d->signals, d->fs.session);
        d->greeting = pthread_create(&d->greeter, NULL, greet, d) == 0;
        if (d->greeting) {
            result = fuse_session_loop_mt(d->fs.session, config);
        }
        signals_serving(d->signals, NULL);
        fuse_loop_cfg_destroy(config);
    }
    if (result < 0) {
        log_write(d->fs.log, CKPT_ERROR, "%s can't be served any longer: %s", d->fs.mountpoint,
                  strerror(-result));
    }
    return result < 0 ? 1 : 0;
}

static int run(const struct options *options, int tell)
{
    struct daemon d = {.options = options,
                       .tell = tell,
                       .fs = {.views_visible = options->views_visible,
                              .filter = options->filter,
                              .may_chown = geteuid() == 0}};
    struct ckptfs *fs = &d.fs;
    int result = 1;
    (void)clock_gettime(CLOCK_REALTIME, &fs->started);
    fs->log = log_create();
    if (fs->log == NULL) {
        return 1;
    }
    if (prepare_paths(&d) == 0) {
        /* The mount point's directory, or any other, must not be kept from being unmounted. */
        (void)!chdir("/");
        d.signals = signals_start(fs->log, fs->mountpoint);
        enum ckpt_err err = d.signals == NULL ? CKPT_ERR_NOMEM : start_all(&d);
        if (err == CKPT_OK) {
            result = serve(&d);
        } else {
            log_write(fs->log, CKPT_ERROR, "%s is not mounted: %s", d.store, ckpt_err_text(err));
        }
        stop_all(&d);
        signals_stop(d.signals);
        if (err == CKPT_OK) {
            log_write(fs->log, CKPT_NOTICE, "%s: ended", d.store);
        }
    }
    log_free(fs->log);
    free(fs->mountpoint);
    free(d.store);
    free(d.log);
    return result;
}

int main(int argc, char **argv)
{
    struct options options;
    int tell = -1;
    int result = 2;
    if (options_parse(&options, argc, argv) == 0) {
        if (options.help) {
            options_help();
            result = 0;
        } else if (options.version) {
            (void)printf("ckptfs %s\n", CKPT_VERSION);
            result = 0;
        } else {
            result = options.foreground ? -1 : daemonise(&tell);
            if (result < 0) {
                prepare_process();
                result = run(&options, tell);
            }
        }
    }
    options_free(&options);
    return result;
}
