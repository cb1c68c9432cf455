/*
 * The host filesystem: system calls under their own names.
 *
 * Descriptors may be O_PATH ones. The kernel refuses those for fchmod and the xattr calls, so these
 * go through the descriptor's magic link in /proc, which leads to the inode itself, whatever its
 * names are by now; owner and times take AT_EMPTY_PATH.
 *
 * EINTR is retried where trying again is harmless. Calls that change names don't say it on any
 * filesystem that can hold a store, and one that was interrupted halfway could not be repeated
 * blindly.
 *
 * The fault build counts the eligible calls and fails the Nth. That counter is the one piece of
 * mutable file-scope state in the store, and it isn't in the ordinary build.
 */
#include <ckpt/host.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifdef CKPT_FAULT
#include <pthread.h>
#include <stdatomic.h>
#endif

/* Which ways a call can fail: bits, one per enum ckpt_fault_kind. */
enum {
    FAIL_SPACE = 1 << 0,
    FAIL_IO = 1 << 1,
    FAIL_SHORT = 1 << 2,
    FAIL_SYNC = 1 << 3,
};

/* What a call that changes data must expect. */
enum { FAIL_WRITE = FAIL_SPACE | FAIL_IO };

#ifdef CKPT_FAULT

static atomic_uint fault_left;  /* eligible calls until the one that fails; 0: disarmed */
static atomic_uint fault_ways;  /* the FAIL_ bit that is armed */
static atomic_bool fault_fired; /* since the last ckpt_fault_arm */
static pthread_once_t fault_once = PTHREAD_ONCE_INIT;

static void fault_arm(unsigned n, enum ckpt_fault_kind kind)
{
    atomic_store(&fault_left, 0);
    atomic_store(&fault_ways, 1u << (unsigned)kind);
    atomic_store(&fault_fired, false);
    atomic_store(&fault_left, n);
}

/* CKPT_FAULT=N:KIND. A value that makes no sense ends the process: a test with it would test
 * nothing. */
static void fault_from_environment(void)
{
    static const char *const names[] = {"enospc", "eio", "short", "sync"};
    const char *text = getenv("CKPT_FAULT");
    if (text == NULL) {
        return;
    }
    char *end = NULL;
    unsigned long n = strtoul(text, &end, 10);
    for (unsigned kind = 0; kind < sizeof names / sizeof names[0]; kind++) {
        if (end != text && *end == ':' && strcmp(end + 1, names[kind]) == 0) {
            fault_arm((unsigned)n, (enum ckpt_fault_kind)kind);
            return;
        }
    }
    abort();
}

void ckpt_fault_arm(unsigned n, enum ckpt_fault_kind kind)
{
    /* What a test asks for must not be undone by the environment at the first call. */
    (void)pthread_once(&fault_once, fault_from_environment);
    fault_arm(n, kind);
}

bool ckpt_fault_fired(void)
{
    return atomic_load(&fault_fired);
}

/* Tells a test outside of the process that the Nth call was reached. Not through the wrappers
 * below. */
static void fault_mark(void)
{
    const char *path = getenv("CKPT_FAULT_MARK");
    if (path == NULL) {
        return;
    }
    long fd = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (fd >= 0) {
        (void)syscall(SYS_close, fd);
    }
}

/* Counts a call that can fail in WAYS: true for the one that has to. */
static bool fault_here(unsigned ways)
{
    (void)pthread_once(&fault_once, fault_from_environment);
    unsigned left = atomic_load(&fault_left);
    do {
        if (left == 0 || (atomic_load(&fault_ways) & ways) == 0) {
            return false;
        }
    } while (!atomic_compare_exchange_weak(&fault_left, &left, left - 1));
    if (left != 1) {
        return false;
    }
    atomic_store(&fault_fired, true);
    fault_mark();
    return true;
}

/* True, with errno set, when this call must fail. */
static bool fail(unsigned ways)
{
    if (!fault_here(ways)) {
        return false;
    }
    errno = atomic_load(&fault_ways) == FAIL_SPACE ? ENOSPC : EIO;
    return true;
}

/* The same for a transfer of *N bytes, which may have to be a short one instead. */
static bool fail_transfer(unsigned ways, size_t *n)
{
    if (!fault_here(ways)) {
        return false;
    }
    if (atomic_load(&fault_ways) == FAIL_SHORT) {
        *n = *n > 1 ? *n / 2 : *n;
        return false;
    }
    errno = atomic_load(&fault_ways) == FAIL_SPACE ? ENOSPC : EIO;
    return true;
}

#else

static inline bool fail(unsigned ways)
{
    (void)ways;
    return false;
}

static inline bool fail_transfer(unsigned ways, size_t *n)
{
    (void)ways;
    (void)n;
    return false;
}

#endif

/* Room for "/proc/self/fd/" and any int. */
enum { PROC_PATH = 32 };

static const char *proc_path(int fd, char path[PROC_PATH])
{
    (void)snprintf(path, PROC_PATH, "/proc/self/fd/%d", fd);
    return path;
}

/*
 * What the magic link of a closed descriptor gives, ENOENT, would be read as an answer about the
 * file. The true one is EBADF.
 */
static void fix_errno(int fd)
{
    if (errno == ENOENT && fcntl(fd, F_GETFD) < 0) {
        errno = EBADF;
    }
}

int ckpt_host_openat(int dir, const char *path, int flags, mode_t mode)
{
    bool creates = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
    int fd = -1;
    if (fail(creates ? FAIL_WRITE : FAIL_IO)) {
        return -1;
    }
    do {
        fd = openat(dir, path, flags, mode);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

int ckpt_host_reopen(int fd, int flags)
{
    char link[PROC_PATH];
    return ckpt_host_openat(AT_FDCWD, proc_path(fd, link), flags | O_CLOEXEC, 0);
}

int ckpt_host_close(int fd)
{
    if (fd < 0) {
        return 0;
    }
    /* Linux has let go of the descriptor even when it says EINTR: never again. */
    int r = close(fd);
    return r < 0 && errno == EINTR ? 0 : r;
}

ssize_t ckpt_host_pread(int fd, void *buf, size_t n, off_t offset)
{
    ssize_t r = -1;
    if (fail(FAIL_IO)) {
        return -1;
    }
    do {
        r = pread(fd, buf, n, offset);
    } while (r < 0 && errno == EINTR);
    return r;
}

ssize_t ckpt_host_pwrite(int fd, const void *buf, size_t n, off_t offset)
{
    ssize_t r = -1;
    if (fail_transfer(FAIL_WRITE | FAIL_SHORT, &n)) {
        return -1;
    }
    do {
        r = pwrite(fd, buf, n, offset);
    } while (r < 0 && errno == EINTR);
    return r;
}

off_t ckpt_host_lseek(int fd, off_t offset, int whence)
{
    return fail(FAIL_IO) ? -1 : lseek(fd, offset, whence);
}

int ckpt_host_fsync(int fd)
{
    int r = -1;
    if (fail(FAIL_IO | FAIL_SYNC)) {
        return -1;
    }
    do {
        r = fsync(fd);
    } while (r < 0 && errno == EINTR);
    return r;
}

int ckpt_host_fdatasync(int fd)
{
    int r = -1;
    if (fail(FAIL_IO | FAIL_SYNC)) {
        return -1;
    }
    do {
        r = fdatasync(fd);
    } while (r < 0 && errno == EINTR);
    return r;
}

#ifdef CKPT_FAULT
static bool grows(int fd, off_t size)
{
    struct stat st;
    return fstat(fd, &st) == 0 && size > st.st_size;
}
#else
static inline bool grows(int fd, off_t size)
{
    (void)fd;
    (void)size;
    return false;
}
#endif

int ckpt_host_ftruncate(int fd, off_t size)
{
    int r = -1;
    if (fail(grows(fd, size) ? FAIL_WRITE : FAIL_IO)) {
        return -1;
    }
    do {
        r = ftruncate(fd, size);
    } while (r < 0 && errno == EINTR);
    return r;
}

int ckpt_host_fallocate(int fd, int mode, off_t offset, off_t n)
{
    int r = -1;
    if (fail((mode & FALLOC_FL_PUNCH_HOLE) != 0 ? FAIL_IO : FAIL_WRITE)) {
        return -1;
    }
    do {
        r = fallocate(fd, mode, offset, n);
    } while (r < 0 && errno == EINTR);
    return r;
}

ssize_t ckpt_host_copy_file_range(int in, off_t *in_off, int out, off_t *out_off, size_t n)
{
    ssize_t r = -1;
    if (fail_transfer(FAIL_WRITE | FAIL_SHORT, &n)) {
        return -1;
    }
    do {
        r = copy_file_range(in, in_off, out, out_off, n, 0);
    } while (r < 0 && errno == EINTR);
    return r;
}

int ckpt_host_mkdirat(int dir, const char *path, mode_t mode)
{
    return fail(FAIL_WRITE) ? -1 : mkdirat(dir, path, mode);
}

int ckpt_host_mknodat(int dir, const char *path, mode_t mode, dev_t dev)
{
    return fail(FAIL_WRITE) ? -1 : mknodat(dir, path, mode, dev);
}

int ckpt_host_symlinkat(const char *target, int dir, const char *path)
{
    return fail(FAIL_WRITE) ? -1 : symlinkat(target, dir, path);
}

int ckpt_host_linkat(int old_dir, const char *old_path, int new_dir, const char *new_path,
                     int flags)
{
    return fail(FAIL_WRITE) ? -1 : linkat(old_dir, old_path, new_dir, new_path, flags);
}

int ckpt_host_link_fd(int fd, int dir, const char *path)
{
    char link[PROC_PATH];
    return ckpt_host_linkat(AT_FDCWD, proc_path(fd, link), dir, path, AT_SYMLINK_FOLLOW);
}

int ckpt_host_unlinkat(int dir, const char *path, int flags)
{
    return fail(FAIL_IO) ? -1 : unlinkat(dir, path, flags);
}

int ckpt_host_renameat2(int old_dir, const char *old_path, int new_dir, const char *new_path,
                        unsigned flags)
{
    return fail(FAIL_WRITE) ? -1 : renameat2(old_dir, old_path, new_dir, new_path, flags);
}

ssize_t ckpt_host_readlinkat(int dir, const char *path, char *buf, size_t size)
{
    return fail(FAIL_IO) ? -1 : readlinkat(dir, path, buf, size);
}

struct dirent *ckpt_host_readdir(DIR *stream)
{
    if (fail(FAIL_IO)) {
        return NULL;
    }
    errno = 0;
    return readdir(stream);
}

int ckpt_host_flock(int fd, int operation)
{
    int r = -1;
    if (fail(FAIL_IO)) {
        return -1;
    }
    do {
        r = flock(fd, operation);
    } while (r < 0 && errno == EINTR);
    return r;
}

int ckpt_host_fstatat(int dir, const char *path, struct stat *st, int flags)
{
    return fail(FAIL_IO) ? -1 : fstatat(dir, path, st, flags);
}

int ckpt_host_fstat(int fd, struct stat *st)
{
    return fail(FAIL_IO) ? -1 : fstat(fd, st);
}

int ckpt_host_fstatvfs(int fd, struct statvfs *st)
{
    int r = -1;
    if (fail(FAIL_IO)) {
        return -1;
    }
    do {
        r = fstatvfs(fd, st);
    } while (r < 0 && errno == EINTR);
    return r;
}

int ckpt_host_fchmod(int fd, mode_t mode)
{
    char path[PROC_PATH];
    if (fail(FAIL_IO)) {
        return -1;
    }
    int r = chmod(proc_path(fd, path), mode);
    if (r < 0) {
        fix_errno(fd);
    }
    return r;
}

int ckpt_host_fchown(int fd, uid_t uid, gid_t gid)
{
    return fail(FAIL_IO) ? -1 : fchownat(fd, "", uid, gid, AT_EMPTY_PATH);
}

int ckpt_host_futimens(int fd, const struct timespec times[2])
{
    return fail(FAIL_IO) ? -1 : utimensat(fd, "", times, AT_EMPTY_PATH);
}

ssize_t ckpt_host_fgetxattr(int fd, const char *name, void *value, size_t size)
{
    char path[PROC_PATH];
    if (fail(FAIL_IO)) {
        return -1;
    }
    ssize_t r = getxattr(proc_path(fd, path), name, value, size);
    if (r < 0) {
        fix_errno(fd);
    }
    return r;
}

ssize_t ckpt_host_flistxattr(int fd, char *list, size_t size)
{
    char path[PROC_PATH];
    if (fail(FAIL_IO)) {
        return -1;
    }
    ssize_t r = listxattr(proc_path(fd, path), list, size);
    if (r < 0) {
        fix_errno(fd);
    }
    return r;
}

int ckpt_host_fsetxattr(int fd, const char *name, const void *value, size_t size, int flags)
{
    char path[PROC_PATH];
    if (fail(FAIL_WRITE)) {
        return -1;
    }
    int r = setxattr(proc_path(fd, path), name, value, size, flags);
    if (r < 0) {
        fix_errno(fd);
    }
    return r;
}

int ckpt_host_fremovexattr(int fd, const char *name)
{
    char path[PROC_PATH];
    if (fail(FAIL_IO)) {
        return -1;
    }
    int r = removexattr(proc_path(fd, path), name);
    if (r < 0) {
        fix_errno(fd);
    }
    return r;
}

int ckpt_host_commit(void)
{
    return fail(FAIL_WRITE | FAIL_SYNC) ? -1 : 0;
}

ssize_t ckpt_host_read_all(int fd, void *buf, size_t n, off_t offset)
{
    size_t done = 0;
    while (done < n) {
        ssize_t r = ckpt_host_pread(fd, (char *)buf + done, n - done, offset + (off_t)done);
        if (r < 0) {
            return -1;
        }
        if (r == 0) {
            break;
        }
        done += (size_t)r;
    }
    return (ssize_t)done;
}

int ckpt_host_write_all(int fd, const void *buf, size_t n, off_t offset)
{
    size_t done = 0;
    while (done < n) {
        ssize_t r = ckpt_host_pwrite(fd, (const char *)buf + done, n - done, offset + (off_t)done);
        if (r < 0) {
            return -1;
        }
        if (r == 0) { /* no regular file does this; not an endless loop if one did */
            errno = EIO;
            return -1;
        }
        done += (size_t)r;
    }
    return 0;
}
