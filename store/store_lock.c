/*
 * The lock of a store, and who holds it.
 */
#include "object/internal.h"
#include "store_parts.h"
#include <ckpt/host.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

enum {
    HOLDER_MAX = 512, /* bytes of the lock's text */
    LOCK_TRIES = 20,  /* for a lock that only a look at the holder takes, 5 ms each */
};

/* The first line of the lock's text; "" when it has none. */
static void holder_text(int fd, char *holder, size_t size)
{
    ssize_t n = ckpt_host_read_all(fd, holder, size - 1, 0);
    holder[n < 0 ? 0 : n] = '\0';
    holder[strcspn(holder, "\n")] = '\0';
}

static enum ckpt_err write_holder(int fd, const char *holder)
{
    char text[HOLDER_MAX];
    if (holder != NULL) {
        (void)snprintf(text, sizeof text, "%s", holder);
    } else {
        (void)snprintf(text, sizeof text, "pid %ld", (long)getpid());
    }
    size_t n = strcspn(text, "\n");
    n = n < sizeof text - 1 ? n : sizeof text - 2;
    text[n] = '\n';
    /* In this order: on a full host the old text's block is all there is. */
    if (ckpt_host_write_all(fd, text, n + 1, 0) != 0 || ckpt_host_ftruncate(fd, (off_t)n + 1) != 0) {
        return ckpt_err_from_errno(errno);
    }
    return CKPT_OK;
}

enum ckpt_err ckpt_store_lock(struct ckpt_store *store, const char *holder)
{
    const struct timespec pause = {.tv_nsec = 5000000};
    store->lockfd = ckpt_host_openat(store->dirfd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (store->lockfd < 0) {
        return ckpt_store_failure(&store->report, store->path, "the lock can't be opened");
    }
    int result = ckpt_host_flock(store->lockfd, LOCK_EX | LOCK_NB);
    /* ckpt_store_holder takes the lock for a moment to see whether it is free. */
    for (int i = 0; result != 0 && errno == EWOULDBLOCK && i < LOCK_TRIES; i++) {
        (void)nanosleep(&pause, NULL);
        result = ckpt_host_flock(store->lockfd, LOCK_EX | LOCK_NB);
    }
    if (result != 0 && errno == EWOULDBLOCK) {
        char text[HOLDER_MAX];
        holder_text(store->lockfd, text, sizeof text);
        ckpt_reportf(&store->report, CKPT_ERROR,
                     "%s: the store is in use by %s; unmount it or wait until it is done",
                     store->path, text[0] == '\0' ? "another process" : text);
        return CKPT_ERR_BUSY;
    }
    if (result != 0) {
        return ckpt_store_failure(&store->report, store->path, "the lock can't be taken");
    }
    enum ckpt_err err = write_holder(store->lockfd, holder);
    if (err == CKPT_ERR_NOSPC) {
        err = CKPT_OK; /* the lock counts; its text only says who has it */
    }
    if (err != CKPT_OK) {
        ckpt_reportf(&store->report, CKPT_ERROR, "%s/lock: can't be written: %s", store->path,
                     ckpt_err_text(err));
    }
    return err;
}

int ckpt_store_holder(const char *dir, char *holder, size_t size)
{
    char path[PATH_MAX];
    if (size == 0 || snprintf(path, sizeof path, "%s/lock", dir) >= (int)sizeof path) {
        return -1;
    }
    holder[0] = '\0';
    int fd = ckpt_host_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) {
        return errno == ENOENT ? 0 : -1;
    }
    int result = -1;
    if (ckpt_host_flock(fd, LOCK_SH | LOCK_NB) == 0) {
        result = 0;
    } else if (errno == EWOULDBLOCK) {
        holder_text(fd, holder, size);
        result = 1;
    }
    (void)ckpt_host_close(fd);
    return result;
}
