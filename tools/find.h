/*
 * Which run and which checkpoint an argument means.
 *
 * A RUN is the path of its directory, as PATH in locate.h. A CHECKPOINT is one of
 *
 *     0a1b2c3d                the first digits of an id, at least four
 *     RUN@best  @latest  @final  @epoch=12  @step=400  @tag=stable  @0a1b2c3d
 *     RUN/best, RUN/epoch/3/model.pt, RUN/.ckpt/top/val_loss/1, RUN/history/FILE/v0003: a path through a view
 *     a file or a directory that is a checkpoint's, there or deleted; FILE@v3
 *
 * In a directory above several runs that is none itself @best and @latest are over all of them (top/ is in the mount only). Of what isn't
 * shown any more (rotated, invalid) the newest is meant, if nothing that is shown has that epoch, step or tag.
 */
#ifndef CKPT_TOOL_FIND_H
#define CKPT_TOOL_FIND_H

#include "tool.h"
#include <ckpt/run.h>

struct target;

/* locate_store() for arguments that may be CHECKPOINTs. Returns an exit code. */
int find_store(struct tool *tool, char *const *args, int n);

/* tool->runs, made when it is first needed; the store is open. Returns an exit code. */
int find_runs(struct tool *tool);

/* The runs at PATH and anywhere below it, by path; NULL: all. *N of them, to be freed. Returns an exit code. */
struct found_run {
    uint64_t dir;
    char *path; /* relative to live/ */
};
int find_runs_at(struct tool *tool, const char *path, struct found_run **out, size_t *n);
void find_free(struct found_run *list, size_t n);

/* The run ARG, and its path relative to live/. Returns an exit code. */
int find_run(struct tool *tool, const char *arg, uint64_t *dir, char path[PATH_MAX]);

/* The checkpoint ARG. Returns an exit code. */
int find_checkpoint(struct tool *tool, const char *arg, uint64_t *dir, uint32_t *number);

/* The same; *INSIDE: which of its files was named by a path through a view, "" for none. */
int find_checkpoint_file(struct tool *tool, const char *arg, uint64_t *dir, uint32_t *number, char inside[PATH_MAX]);

/* The member that a view of C shows as INSIDE, or as checkpoint.EXT; for "" the only one. NULL: there is none. */
const struct ckpt_member *find_member(const struct ckpt_checkpoint *c, const char *inside);

/* locate_target() for paths that may lead through any view: the file and its version there. Returns an exit code. */
int find_target(struct tool *tool, const char *arg, struct target *target);

/* Whether ARG is the path of a file with versions, FILE@vN or RUN/history/FILE/vNNNN, and no other name of a
 * checkpoint. */
bool find_is_file(struct tool *tool, const char *arg);

#endif
