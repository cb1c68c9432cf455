/*
 * The host filesystem, one thin layer: every call of the store and of the daemon that can fail for
 * outside reasons goes through here, under its POSIX name, with POSIX results (-1 and errno).
 *
 * In the ordinary build each function is the system call and nothing else. Built with CKPT_FAULT the
 * Nth of them fails on demand (tests/fault); ckpt_host_commit() marks the moments at which LMDB
 * commits, so that they can be failed too.
 *
 * Thread rules: all functions may be called from any thread.
 */
#ifndef CKPT_HOST_H
#define CKPT_HOST_H

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/types.h>
#include <sys/uio.h>

int ckpt_host_openat(int dir, const char *path, int flags, mode_t mode);
/* A second descriptor of the inode behind FD, which may be an O_PATH one: no name, no race. */
int ckpt_host_reopen(int fd, int flags);
int ckpt_host_close(int fd); /* -1 is ignored */
ssize_t ckpt_host_pread(int fd, void *buf, size_t n, off_t offset);
ssize_t ckpt_host_pwrite(int fd, const void *buf, size_t n, off_t offset);
off_t ckpt_host_lseek(int fd, off_t offset, int whence);
int ckpt_host_fsync(int fd);
int ckpt_host_fdatasync(int fd);
int ckpt_host_ftruncate(int fd, off_t size);
int ckpt_host_fallocate(int fd, int mode, off_t offset, off_t n);
ssize_t ckpt_host_copy_file_range(int in, off_t *in_off, int out, off_t *out_off, size_t n);
int ckpt_host_mkdirat(int dir, const char *path, mode_t mode);
int ckpt_host_mknodat(int dir, const char *path, mode_t mode, dev_t dev);
int ckpt_host_symlinkat(const char *target, int dir, const char *path);
int ckpt_host_linkat(int old_dir, const char *old_path, int new_dir, const char *new_path, int flags);
/* A further name for the inode behind FD, which may be an O_PATH one. */
int ckpt_host_link_fd(int fd, int dir, const char *path);
int ckpt_host_unlinkat(int dir, const char *path, int flags);
int ckpt_host_renameat2(int old_dir, const char *old_path, int new_dir, const char *new_path,
                        unsigned flags);
ssize_t ckpt_host_readlinkat(int dir, const char *path, char *buf, size_t size);
/* NULL: an error when errno is not 0, else the end. */
struct dirent *ckpt_host_readdir(DIR *stream);
int ckpt_host_flock(int fd, int operation);
int ckpt_host_fstatat(int dir, const char *path, struct stat *st, int flags);
int ckpt_host_fstat(int fd, struct stat *st);
int ckpt_host_fstatvfs(int fd, struct statvfs *st);
int ckpt_host_fchmod(int fd, mode_t mode);
int ckpt_host_fchown(int fd, uid_t uid, gid_t gid);
int ckpt_host_futimens(int fd, const struct timespec times[2]);
ssize_t ckpt_host_fgetxattr(int fd, const char *name, void *value, size_t size);
ssize_t ckpt_host_flistxattr(int fd, char *list, size_t size);
int ckpt_host_fsetxattr(int fd, const char *name, const void *value, size_t size, int flags);
int ckpt_host_fremovexattr(int fd, const char *name);

/* Before a commit of the database: 0, or -1 and errno when a test wants it to fail here. */
int ckpt_host_commit(void);

/* Whole-buffer forms: loop over short transfers. read_all returns the bytes read (short only at end
   of file) or -1; write_all returns 0 or -1. */
ssize_t ckpt_host_read_all(int fd, void *buf, size_t n, off_t offset);
int ckpt_host_write_all(int fd, const void *buf, size_t n, off_t offset);

#ifdef CKPT_FAULT
enum ckpt_fault_kind { CKPT_FAULT_ENOSPC, CKPT_FAULT_EIO, CKPT_FAULT_SHORT, CKPT_FAULT_SYNC };

/*
 * Makes the Nth (1-based) eligible call from now on fail, once: with ENOSPC or EIO (every call that
 * can), as a short transfer (writes only), or as a failing sync (fsync, fdatasync, commit). N = 0
 * disarms. A process started with CKPT_FAULT=N:KIND in its environment (enospc, eio, short, sync)
 * arms itself at the first call.
 */
void ckpt_fault_arm(unsigned n, enum ckpt_fault_kind kind);
bool ckpt_fault_fired(void);
#endif

#endif
