/*
 * The ballast: a file STORE/ballast of some megabytes that is there to be deleted. Forgetting versions gives space back,
 * but the transaction that does so needs some first, and on a full host there would be none.
 */
#include "engine_parts.h"
#include <ckpt/host.h>
#include <errno.h>

static const char ballast_name[] = "ballast";

static uint64_t ballast_size(const struct ckpt_space *space)
{
    const uint64_t least = UINT64_C(8) << 20;
    const uint64_t most = UINT64_C(64) << 20;
    uint64_t size = space->host_size / 1024;
    return size < least ? least : size > most ? most : size;
}

void ckpt_ballast_keep(struct ckpt_engine *engine)
{
    struct ckpt_space space;
    struct stat st;
    int dir = ckpt_store_dirfd(engine->store);
    if (engine->ballast || ckpt_store_space(engine->store, &space) != CKPT_OK) {
        return;
    }
    uint64_t size = ballast_size(&space);
    if (ckpt_host_fstatat(dir, ballast_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
        (uint64_t)st.st_size >= size && (uint64_t)st.st_blocks * 512 >= size) {
        engine->ballast = true;
        return;
    }
    /* Not from the last of the space, which others may want at once. */
    if (space.host_free < 2 * size) {
        return;
    }
    int fd = ckpt_host_openat(dir, ballast_name, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    engine->ballast = fd >= 0 && ckpt_host_fallocate(fd, 0, 0, (off_t)size) == 0;
    if (fd >= 0 && !engine->ballast) {
        (void)ckpt_host_unlinkat(dir, ballast_name, 0);
    }
    ckpt_host_close(fd);
}

bool ckpt_ballast_drop(struct ckpt_engine *engine)
{
    int dir = ckpt_store_dirfd(engine->store);
    engine->ballast = false;
    /* XFS frees the blocks of a deleted file some time later, but those of a shortened one at once. */
    int fd = ckpt_host_openat(dir, ballast_name, O_WRONLY | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd >= 0) {
        ckpt_host_close(fd);
    }
    return ckpt_host_unlinkat(dir, ballast_name, 0) == 0;
}
