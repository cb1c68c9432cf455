/*
 * Versions that must stay because a cold live file consists of them.
 */
#include "catalog/catalog_txn.h"
#include "common/live.h"
#include "engine_parts.h"
#include <ckpt/host.h>
#include <errno.h>
#include <unistd.h>

enum ckpt_err ckpt_needed_find(struct ckpt_engine *engine, uint64_t dir, const char *name, struct ckpt_needed *needed)
{
    struct ckpt_stub stub = {0};
    struct stat st;
    int dirfd = -1;
    int fd = -1;
    *needed = (struct ckpt_needed){0};
    enum ckpt_err err = ckpt_live_open_dir(engine, dir, &dirfd);
    if (err == CKPT_OK && dirfd >= 0) {
        fd = ckpt_host_openat(dirfd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0);
        if (fd < 0 && errno != ENOENT) {
            err = ckpt_err_from_errno(errno);
        }
    }
    if (fd >= 0 && ckpt_host_fstat(fd, &st) != 0) {
        err = ckpt_err_from_errno(errno);
    } else if (fd >= 0 && S_ISREG(st.st_mode)) {
        err = ckpt_live_stub(fd, &stub, &needed->cold);
        needed->recipe = stub.recipe;
    }
    ckpt_host_close(fd);
    ckpt_host_close(dirfd);
    return err;
}

struct survivors {
    const struct ckpt_needed *needed;
    const uint32_t *numbers; /* that are to go */
    size_t n;
    size_t found; /* of these */
    bool kept;    /* a version with that recipe stays */
};

static bool is_listed(const struct survivors *s, uint32_t number)
{
    for (size_t i = 0; i < s->n; i++) {
        if (s->numbers[i] == number) {
            return true;
        }
    }
    return false;
}

static bool see_version(void *arg, const struct ckpt_version *version)
{
    struct survivors *s = arg;
    if (is_listed(s, version->number)) {
        s->found++;
    } else if (ckpt_id_equal(&version->recipe, &s->needed->recipe)) {
        s->kept = true;
    }
    return true;
}

enum ckpt_err ckpt_needed_survives_in(struct ckpt_txn *txn, const struct ckpt_needed *needed, uint64_t dir,
                                      const char *name, const uint32_t *numbers, size_t n, size_t *found, bool *survives)
{
    struct survivors s = {.needed = needed, .numbers = numbers, .n = n};
    enum ckpt_err err = ckpt_catalog_each_version_in(txn, dir, name, see_version, &s);
    if (err == CKPT_OK) {
        *found = s.found;
        *survives = !needed->cold || s.kept;
    }
    return err;
}
