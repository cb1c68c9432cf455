/*
 * The protocol, from include/uapi/linux/fuse.h of Linux 6.9 and later. It is spoken by hand, the same with every
 * libfuse: 3.14 has no word for it, and the bits on the wire don't depend on the library.
 */
#include "passthrough.h"
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    KERNEL_INIT = 26,              /* opcode */
    KERNEL_INIT_EXT = 1 << 30,     /* in flags: flags2 counts */
    KERNEL_KILLPRIV_V2 = 1 << 28,  /* in flags */
    KERNEL_PASSTHROUGH2 = 1 << 5,  /* bit 37, in flags2 */
    KERNEL_FOPEN_PASSTHROUGH = 1 << 7,
};

/* struct fuse_in_header and the head of struct fuse_init_in, as 32-bit words. */
enum { IN_OPCODE = 1, IN_HEADER_WORDS = 10, INIT_IN_FLAGS = 3, INIT_IN_FLAGS2 = 4 };
/* struct fuse_init_out, as 32-bit words. */
enum { INIT_OUT_FLAGS = 3, INIT_OUT_FLAGS2 = 8, INIT_OUT_STACK_DEPTH = 9, INIT_OUT_WORDS = 16 };

struct kernel_backing_map {
    int32_t fd;
    uint32_t flags;
    uint64_t padding;
};
#define KERNEL_BACKING_OPEN  _IOW(229, 1, struct kernel_backing_map)
#define KERNEL_BACKING_CLOSE _IOW(229, 2, uint32_t)

struct kernel_attr {
    uint64_t ino, size, blocks, atime, mtime, ctime;
    uint32_t atime_nsec, mtime_nsec, ctime_nsec;
    uint32_t mode, nlink, uid, gid, rdev, blksize, flags;
};

struct kernel_entry_out {
    uint64_t node, generation, entry_valid, attr_valid;
    uint32_t entry_valid_nsec, attr_valid_nsec;
    struct kernel_attr attr;
};

struct kernel_open_out {
    uint64_t handle;
    uint32_t open_flags;
    int32_t backing_id;
};

struct passthrough {
    int fd; /* of the session */
    bool wanted;
    atomic_bool decided; /* INIT has been answered */
    atomic_bool offered;
    atomic_bool killpriv; /* offered as well */
    atomic_int refused; /* errno of the first registration that failed, or 0 */
};

/* Sees INIT coming: what does the kernel offer? */
static ssize_t read_request(int fd, void *buf, size_t size, void *userdata)
{
    ssize_t n = read(fd, buf, size);
    struct ckptfs *fs = userdata;
    struct passthrough *p = fs->passthrough;
    if (n > 0 && !atomic_load_explicit(&p->decided, memory_order_relaxed)) {
        const uint32_t *words = buf;
        const uint32_t *init = words + IN_HEADER_WORDS;
        if ((size_t)n >= (IN_HEADER_WORDS + INIT_IN_FLAGS2 + 1) * sizeof *words &&
            words[IN_OPCODE] == KERNEL_INIT && (init[INIT_IN_FLAGS] & KERNEL_INIT_EXT) != 0) {
            atomic_store(&p->offered, (init[INIT_IN_FLAGS2] & KERNEL_PASSTHROUGH2) != 0);
            atomic_store(&p->killpriv, (init[INIT_IN_FLAGS] & KERNEL_KILLPRIV_V2) != 0);
        }
    }
    return n;
}

static void accept_offers(const struct passthrough *p, uint32_t *out)
{
    if (p->wanted && atomic_load(&p->offered)) {
        out[INIT_OUT_FLAGS] |= KERNEL_INIT_EXT;
        out[INIT_OUT_FLAGS2] |= KERNEL_PASSTHROUGH2;
        out[INIT_OUT_STACK_DEPTH] = 1;
    }
    if (atomic_load(&p->killpriv)) {
        out[INIT_OUT_FLAGS] |= KERNEL_KILLPRIV_V2;
    }
}

/* The first reply of a session is INIT's; says yes in it. */
static ssize_t write_reply(int fd, struct iovec *iov, int count, void *userdata)
{
    struct ckptfs *fs = userdata;
    struct passthrough *p = fs->passthrough;
    if (!atomic_exchange_explicit(&p->decided, true, memory_order_relaxed) && count >= 2 &&
        iov[1].iov_len >= INIT_OUT_WORDS * sizeof(uint32_t)) {
        accept_offers(p, iov[1].iov_base);
    }
    return writev(fd, iov, count);
}

enum ckpt_err passthrough_create(struct fuse_session *session, bool wanted,
                                 struct passthrough **passthrough)
{
    static const struct fuse_custom_io io = {.writev = write_reply, .read = read_request};
    struct passthrough *p = calloc(1, sizeof *p);
    if (p == NULL) {
        return CKPT_ERR_NOMEM;
    }
    p->fd = fuse_session_fd(session);
    p->wanted = wanted;
    if (geteuid() != 0) {
        atomic_store(&p->refused, EPERM);
    }
    if (fuse_session_custom_io(session, &io, p->fd) != 0) {
        free(p);
        return CKPT_ERR_UNSUPPORTED;
    }
    *passthrough = p;
    return CKPT_OK;
}

void passthrough_free(struct passthrough *passthrough)
{
    free(passthrough);
}

bool passthrough_active(struct passthrough *p)
{
    return p->wanted && atomic_load(&p->offered) && atomic_load(&p->refused) == 0;
}

const char *passthrough_text(struct passthrough *p)
{
    if (!p->wanted) {
        return "no: switched off by the mount option passthrough=off";
    }
    switch (atomic_load(&p->refused)) {
    case 0:
        break;
    case EPERM:
        return "no: the kernel gives it to root only; the daemon copies";
    default:
        return "no: the host filesystem of the store can't be passed through; the daemon copies";
    }
    return atomic_load(&p->offered) ? "yes"
                                    : "no: the kernel doesn't offer it (Linux 6.9 and later do)";
}

int32_t passthrough_register(struct passthrough *p, int fd)
{
    if (!passthrough_active(p)) {
        return 0;
    }
    struct kernel_backing_map map = {.fd = fd};
    int id = ioctl(p->fd, KERNEL_BACKING_OPEN, &map);
    if (id > 0) {
        return id;
    }
    /* Refused for good (no privilege, a stacked host filesystem), or only now (memory, descriptors). */
    if (errno == EPERM || errno == ELOOP || errno == EOPNOTSUPP || errno == ENOTTY) {
        int none = 0;
        atomic_compare_exchange_strong(&p->refused, &none, errno);
    }
    return 0;
}

void passthrough_unregister(struct passthrough *p, int32_t backing_id)
{
    uint32_t id = (uint32_t)backing_id;
    (void)ioctl(p->fd, KERNEL_BACKING_CLOSE, &id);
}

static struct kernel_open_out open_out(const struct fuse_file_info *fi, int32_t backing_id)
{
    return (struct kernel_open_out){.handle = fi->fh,
                                    .open_flags = KERNEL_FOPEN_PASSTHROUGH,
                                    .backing_id = backing_id};
}

int passthrough_reply_open(fuse_req_t req, const struct fuse_file_info *fi, int32_t backing_id)
{
    struct kernel_open_out out = open_out(fi, backing_id);
    return fuse_reply_buf(req, (const char *)&out, sizeof out);
}

static void split_timeout(double timeout, uint64_t *seconds, uint32_t *nanoseconds)
{
    *seconds = (uint64_t)timeout;
    *nanoseconds = (uint32_t)((timeout - (double)*seconds) * 1e9);
}

int passthrough_reply_create(fuse_req_t req, const struct fuse_entry_param *entry,
                             const struct fuse_file_info *fi, int32_t backing_id)
{
    struct {
        struct kernel_entry_out entry;
        struct kernel_open_out open;
    } out;
    memset(&out, 0, sizeof out);
    const struct stat *st = &entry->attr;
    out.entry.node = entry->ino;
    out.entry.generation = entry->generation;
    split_timeout(entry->entry_timeout, &out.entry.entry_valid, &out.entry.entry_valid_nsec);
    split_timeout(entry->attr_timeout, &out.entry.attr_valid, &out.entry.attr_valid_nsec);
    out.entry.attr = (struct kernel_attr){.ino = st->st_ino,
                                          .size = (uint64_t)st->st_size,
                                          .blocks = (uint64_t)st->st_blocks,
                                          .atime = (uint64_t)st->st_atim.tv_sec,
                                          .mtime = (uint64_t)st->st_mtim.tv_sec,
                                          .ctime = (uint64_t)st->st_ctim.tv_sec,
                                          .atime_nsec = (uint32_t)st->st_atim.tv_nsec,
                                          .mtime_nsec = (uint32_t)st->st_mtim.tv_nsec,
                                          .ctime_nsec = (uint32_t)st->st_ctim.tv_nsec,
                                          .mode = st->st_mode,
                                          .nlink = (uint32_t)st->st_nlink,
                                          .uid = st->st_uid,
                                          .gid = st->st_gid,
                                          .rdev = (uint32_t)st->st_rdev,
                                          .blksize = (uint32_t)st->st_blksize};
    out.open = open_out(fi, backing_id);
    return fuse_reply_buf(req, (const char *)&out, sizeof out);
}
