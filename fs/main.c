/*
 * ckptfs: options, the daemon, the mount, and the order in which things start and stop.
 *
 * The daemon forks before it opens the store, because an LMDB environment doesn't survive fork(). The first
 * process waits at a pipe until the mount stands or the reason why not has been printed.
 */
#include "ctl.h"
#include "fs.h"
#include "inode.h"
#include "log.h"
#include "mountpoint.h"
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
};

/* ---- the session ---- */

static void op_init(void *userdata, struct fuse_conn_info *conn)
{
    const unsigned wanted = FUSE_CAP_POSIX_ACL | FUSE_CAP_DONT_MASK | FUSE_CAP_ATOMIC_O_TRUNC |
                            FUSE_CAP_ASYNC_READ | FUSE_CAP_PARALLEL_DIROPS | FUSE_CAP_ASYNC_DIO;
    (void)userdata;
    /* What libfuse asks for by itself is replaced: locks stay with the kernel, data is never spliced. */
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

/* ---- before the mount ---- */

/* 1 when STORE is missing or an empty directory, 0 when not, -1 after a message. */
static int is_new_store(struct log *log, const char *store)
{
    DIR *stream = opendir(store);
    if (stream == NULL) {
        if (errno == ENOENT) {
            return 1;
        }
        log_write(log, CKPT_ERROR, "store %s: %s", store, strerror(errno));
        return -1;
    }
    int entries = 0;
    while (readdir(stream) != NULL) {
        entries++;
    }
    closedir(stream);
    return entries <= 2;
}

static enum ckpt_err open_store(struct ckptfs *fs, const struct options *options)
{
    char holder[PATH_MAX + 320];
    char host[256] = "?";
    struct ckpt_report report = {.fn = log_report, .arg = fs->log};
    int fresh = is_new_store(fs->log, options->store);
    if (fresh < 0) {
        return CKPT_ERR_INVALID;
    }
    if (fresh == 1) {
        enum ckpt_err err = ckpt_store_create(options->store, &report);
        if (err != CKPT_OK) {
            return err;
        }
        log_write(fs->log, CKPT_NOTICE, "made a new store in %s", options->store);
    }
    (void)gethostname(host, sizeof host - 1);
    snprintf(holder, sizeof holder, "ckptfs on %s, pid %d on %s", fs->mountpoint, (int)getpid(), host);
    return ckpt_store_open(options->store, CKPT_WRITE, holder, &report, &fs->store);
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
        .settle_ms = options->settle_ms,
        .hot_limit = options->hot_limit == OPTIONS_DEFAULT_SIZE ? space.host_size / 10
                                                                : options->hot_limit,
        .reserve = options->reserve == OPTIONS_DEFAULT_SIZE
                       ? clamp(space.host_size / 100, UINT64_C(64) << 20, UINT64_C(2) << 30)
                       : options->reserve,
        .filter = options->filter,
        .cache = fs->cache,
        .hooks = {.writing = inode_writing,
                  .claim = inode_claim,
                  .disclaim = inode_disclaim,
                  .entry_changed = inode_entry_changed},
        .hooks_arg = fs,
    };
    return ckpt_engine_start(fs->store, &config, &fs->engine);
}

static enum ckpt_err mount_it(struct ckptfs *fs, const struct options *options)
{
    fs->session = new_session(fs, options);
    if (fs->session == NULL || fuse_session_mount(fs->session, fs->mountpoint) != 0) {
        log_write(fs->log, CKPT_ERROR, "%s could not be mounted; is /dev/fuse there, and may you use it?",
                  fs->mountpoint);
        return CKPT_ERR_UNSUPPORTED;
    }
    return passthrough_create(fs->session, options->passthrough, &fs->passthrough);
}

static enum ckpt_err start_all(struct ckptfs *fs, const struct options *options)
{
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned threads = cores < 1 ? 1 : cores > 8 ? 8 : (unsigned)cores;
    char *log_name = NULL;
    enum ckpt_err err = open_store(fs, options);
    if (err == CKPT_OK && lies_in(fs->mountpoint, ckpt_store_path(fs->store))) {
        log_write(fs->log, CKPT_ERROR, "mount point %s lies inside the store %s; choose another place",
                  fs->mountpoint, ckpt_store_path(fs->store));
        err = CKPT_ERR_INVALID;
    }
    if (err == CKPT_OK && lies_in(ckpt_store_path(fs->store), fs->mountpoint)) {
        log_write(fs->log, CKPT_ERROR, "store %s lies inside the mount point %s; choose another place",
                  ckpt_store_path(fs->store), fs->mountpoint);
        err = CKPT_ERR_INVALID;
    }
    if (err == CKPT_OK && (options->log != NULL || !options->foreground)) {
        if (options->log == NULL &&
            asprintf(&log_name, "%s/log", ckpt_store_path(fs->store)) < 0) {
            err = CKPT_ERR_NOMEM;
        } else {
            err = log_file(fs->log, options->log != NULL ? options->log : log_name);
        }
        free(log_name);
    }
    if (err == CKPT_OK) {
        err = ckpt_cache_create(fs->store, options->cache, threads, &fs->cache);
    }
    if (err == CKPT_OK) {
        err = inode_table_create(fs, &fs->inodes);
    }
    if (err == CKPT_OK) {
        err = start_engine(fs, options);
    }
    if (err == CKPT_OK) {
        err = mount_it(fs, options);
    }
    return err == CKPT_OK ? ctl_start(fs, &fs->ctl) : err;
}

/* In the order in which each still needs the next. */
static void stop_all(struct ckptfs *fs)
{
    struct ckpt_engine_status status = {0};
    ctl_stop(fs->ctl);
    if (fs->session != NULL) {
        fuse_session_unmount(fs->session);
    }
    if (fs->engine != NULL) {
        ckpt_engine_status(fs->engine, &status);
        if (status.queued_bytes > DRAIN_BYTES) {
            log_write(fs->log, CKPT_NOTICE, "%" PRIu64 " closed files stay in pending/; the next start "
                                            "takes them", status.queued_files);
        }
        ckpt_engine_stop(fs->engine, status.queued_bytes <= DRAIN_BYTES);
        fs->engine = NULL;
    }
    inode_table_free(fs->inodes);
    ckpt_cache_free(fs->cache);
    if (fs->session != NULL) {
        fuse_session_destroy(fs->session);
    }
    passthrough_free(fs->passthrough);
    ckpt_store_close(fs->store);
    free(fs->mountpoint);
}

/* ---- the process ---- */

static void prepare_process(void)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        /* Every file that the kernel knows costs a descriptor. */
        FILE *most = geteuid() == 0 ? fopen("/proc/sys/fs/nr_open", "re") : NULL;
        unsigned long long limit = 0;
        if (most != NULL && fscanf(most, "%llu", &limit) == 1 && limit > files.rlim_max) {
            files.rlim_max = limit;
        }
        if (most != NULL) {
            fclose(most);
        }
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    /* Big buffers go back to the system when they are freed. */
    (void)mallopt(M_ARENA_MAX, 2);
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 16 << 20);
    (void)signal(SIGPIPE, SIG_IGN);
    umask(0);
}

/* Waits for the daemon's word: its exit code, 0 once it is mounted. */
static int wait_for_daemon(int fd, pid_t child)
{
    char code = 1;
    if (read(fd, &code, 1) != 1) {
        int status = 0;
        (void)waitpid(child, &status, 0);
        return 1;
    }
    return code;
}

/* -1 in the daemon, with *TELL to write the exit code to; else the exit code of the first process. */
static int daemonise(int *tell)
{
    int ends[2];
    if (pipe(ends) != 0) {
        perror("ckptfs: pipe");
        return 1;
    }
    pid_t child = fork();
    if (child < 0) {
        perror("ckptfs: fork");
        return 1;
    }
    if (child > 0) {
        close(ends[1]);
        return wait_for_daemon(ends[0], child);
    }
    close(ends[0]);
    (void)setsid();
    *tell = ends[1];
    return -1;
}

static void announce(struct ckptfs *fs, const struct options *options, int tell)
{
    char code = 0;
    raise_read_ahead(fs);
    log_write(fs->log, CKPT_NOTICE, "ckptfs %s: %s mounted on %s", CKPT_VERSION,
              ckpt_store_path(fs->store), fs->mountpoint);
    if (!options->foreground) {
        (void)!write(tell, &code, 1);
        close(tell);
        log_echo(fs->log, false);
        int null = open("/dev/null", O_RDWR | O_CLOEXEC);
        (void)dup2(null, STDIN_FILENO);
        (void)dup2(null, STDOUT_FILENO);
        close(null);
        (void)!chdir("/");
    }
}

static int serve(struct ckptfs *fs, const struct options *options, int tell)
{
    struct fuse_loop_config *config = fuse_loop_cfg_create();
    int result = 1;
    if (config != NULL && fuse_set_signal_handlers(fs->session) == 0) {
        fuse_loop_cfg_set_clone_fd(config, 0);
        fuse_loop_cfg_set_max_threads(config, 16);
        announce(fs, options, tell);
        result = fuse_session_loop_mt(fs->session, config) < 0 ? 1 : 0;
        fuse_remove_signal_handlers(fs->session);
    }
    fuse_loop_cfg_destroy(config);
    return result;
}

static int run(const struct options *options, int tell)
{
    struct ckptfs fs = {.views_visible = options->views_visible,
                        .filter = options->filter,
                        .may_chown = geteuid() == 0};
    clock_gettime(CLOCK_REALTIME, &fs.started);
    fs.log = log_create();
    if (fs.log == NULL) {
        return 1;
    }
    fs.mountpoint = prepare_mountpoint(fs.log, options->mountpoint);
    int result = 1;
    if (fs.mountpoint != NULL) {
        enum ckpt_err err = start_all(&fs, options);
        if (err == CKPT_OK) {
            result = serve(&fs, options, tell);
        } else {
            log_write(fs.log, CKPT_ERROR, "%s is not mounted: %s", options->store, ckpt_err_text(err));
        }
        stop_all(&fs);
    }
    log_write(fs.log, CKPT_NOTICE, "ckptfs ended");
    log_free(fs.log);
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
            printf("ckptfs %s\n", CKPT_VERSION);
            result = 0;
        } else {
            prepare_process();
            result = options.foreground ? -1 : daemonise(&tell);
            if (result < 0) {
                result = run(&options, tell);
            }
        }
    }
    options_free(&options);
    return result;
}
