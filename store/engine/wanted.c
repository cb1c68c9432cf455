/*
 * Which closed files become versions: what the filter says, and everything that belongs to a checkpoint in a directory, or
 * leads to its shards, however small.
 */
#include "engine_parts.h"
#include "recognise/recognise.h"
#include <ckpt/filter.h>
#include <ckpt/host.h>
#include <string.h>

bool ckpt_capture_wanted(struct ckpt_engine *engine, int dirfd, const char *name, uint64_t size)
{
    char path[PATH_MAX];
    struct ckpt_recognised what;
    if (ckpt_filter_match(engine->config.filter, name, size)) {
        return true;
    }
    if (ckpt_filter_excludes(engine->config.filter, name) || ckpt_live_path(engine->store, dirfd, path) != CKPT_OK ||
        strlen(path) + 1 + strlen(name) >= sizeof path) {
        return false;
    }
    (void)strcat(path, path[0] == '\0' ? "" : "/");
    (void)strcat(path, name);
    ckpt_recognise(path, false, &what);
    if (!what.has_root || what.role == CKPT_ROLE_TEMPORARY) {
        return false;
    }
    return what.role == CKPT_ROLE_INDEX || (what.directory && what.root_size > 0);
}
