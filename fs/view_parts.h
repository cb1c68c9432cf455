/*
 * What the parts of the views share among themselves; see view.h.
 */
#ifndef CKPTFS_VIEW_PARTS_H
#define CKPTFS_VIEW_PARTS_H

#include "view.h"
#include <ckpt/run.h>

struct view_ranks;

/*
 * The nodes that the kernel knows. It asks for every name anew, because what views show changes by
 * itself, and an answer with another node makes it drop what it has: working directories in views
 * would be gone, and the pages of versions with them. So the same thing is always the same node.
 */
struct view_set {
    pthread_mutex_t lock;
    struct view_known *known; /* lock */
    pthread_mutex_t letters;  /* held while a run's attribute is changed */
    struct view_ranks *ranks;
};

/* ---- nodes: view.c ---- */

/* A node below RUN at PATH, of which the last INSIDE bytes are view->inside. PICK may be NULL. NULL: no memory. */
struct view_node *view_node_new(struct ckptfs *fs, struct inode *run, enum view_kind kind, const struct view_pick *pick,
                                const char *path, size_t inside);
/* A node of VERSION, as RUN shows it. */
struct view_node *view_node_version(struct ckptfs *fs, struct inode *run, const struct ckpt_version *version);
/* The answer to a lookup of VIEW, which is its own from here; NULL: ENOMEM. */
int view_node_enter(struct ckptfs *fs, struct view_node *view, struct fuse_entry_param *entry);

/* The number of what stands at PATH, or of what is NAME in it. */
ino_t view_ino(const struct inode *run, const char *path, const char *name);
ino_t view_version_ino(const struct inode *run, uint64_t dir, uint32_t number, const char *name);

/* ---- names: view_tree.c ---- */

enum { VIEW_LETTERS = 16 };

/* The letters of the views that were removed in RUN, or unlisted (store/FORMAT.md). */
void view_letters(const struct inode *run, char letters[VIEW_LETTERS + 1]);
bool view_is_removed(const char *letters, char letter);
/* Whether RUN has something to show beside its files in the view with that letter. */
bool view_is_visible(struct ckptfs *fs, const struct inode *run, char letter);

/* The name that a checkpoint gives its main file besides its own; "" when there is none. */
void view_link_name(const struct ckpt_checkpoint *c, char out[NAME_MAX + 1]);
/* What follows the directory INSIDE in the path at which a member is shown (may be NULL); NULL: it isn't in it. */
const char *view_below(const char *shown, const char *inside);
/* The length of the first component of PATH; 0: no directory can have such a name. */
size_t view_component(const char *path);

/* ---- checkpoints: view_run.c ---- */

/* The view of that name or letter, or NULL. */
struct view_top {
    const char *name;
    char letter;
    enum view_kind kind;
};
const struct view_top *view_top_named(const char *name);
const struct view_top *view_top_at(unsigned i); /* from 0 on, NULL behind the last */

/* The metric's name as a directory has it. Cut at NAME_MAX. */
void view_metric_name(const char *metric, char name[NAME_MAX + 1]);

/* A directory of live/, as far as its checkpoints go. */
struct view_place {
    uint64_t dir;
    bool is_run;
    uint64_t *runs; /* of a sweep: a directory above several runs */
    size_t n_runs;
};
/* 0, ENOENT: neither, and nothing is to be cleared. */
int view_place_find(struct ckptfs *fs, const struct inode *run, struct view_place *place);
void view_place_clear(struct view_place *place);

/* Calls FN with each run of PLACE, held, until it fails; those that have just gone are left out. */
typedef enum ckpt_err view_place_fn(void *arg, const struct ckpt_run *run);
enum ckpt_err view_place_each(struct ckptfs *fs, const struct view_place *place, view_place_fn *fn, void *arg);

/* The checkpoint that a view shows, held until ckpt_runs_release. ENOENT and any other errno: nothing is held. */
int view_checkpoint_hold(struct ckptfs *fs, const struct inode *run, const struct view_pick *pick,
                         const struct ckpt_run **of, const struct ckpt_checkpoint **c);

/* Whether the directory is a run with a checkpoint whose name says that it is one. */
bool view_run_is_named(struct ckptfs *fs, uint64_t dir);

/* Whether the view has something to show in RUN. */
bool view_run_has(struct ckptfs *fs, const struct inode *run, char letter);

/* The names in epoch/, step/, tag/, top/ or (IN_METRIC) top/METRIC/, until FN returns an errno. */
typedef int view_name_fn(void *arg, const char *name);
int view_run_each(struct ckptfs *fs, const struct inode *run, const struct view_pick *pick, bool in_metric,
                  view_name_fn *fn, void *arg);

/* ---- order: view_rank.c ---- */

struct view_ranked {
    uint64_t dir;
    uint32_t number;
};

struct view_ranks *view_ranks_create(void); /* NULL: no memory */
void view_ranks_free(struct view_ranks *ranks);

/* The checkpoints of PLACE by the metric with that directory name ("": the primary one), best first, to be freed by the caller;
   none when nothing says what is better. */
int view_rank(struct ckptfs *fs, const struct view_place *place, const char *metric, struct view_ranked **list, size_t *n);
/* The best of a sweep. ENOENT. */
int view_rank_best(struct ckptfs *fs, const struct view_place *place, struct view_ranked *best);

/* *OUT: the names of the metrics of PLACE, sorted, each once, to be freed with view_names_free. */
int view_metrics(struct ckptfs *fs, const struct view_place *place, char ***out, size_t *n);
void view_names_free(char **names, size_t n);

#endif
