/*
 * Which checkpoint a view of a directory shows, and which names its groups have.
 *
 * A directory that is no run, with several runs below it, is a sweep: its latest/ is the one that was captured last, its best/
 * and top/ go by the primary metric that most of the runs share.
 */
#include "view_parts.h"
#include <ckpt/live.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct view_top tops[] = {
    {"history", 'h', VIEW_HISTORY}, {"latest", 'l', VIEW_CHECKPOINT}, {"best", 'b', VIEW_CHECKPOINT},
    {"final", 'f', VIEW_CHECKPOINT}, {"epoch", 'e', VIEW_GROUP},      {"step", 's', VIEW_GROUP},
    {"tag", 't', VIEW_GROUP},        {"top", 'o', VIEW_GROUP},
};

const struct view_top *view_top_at(unsigned i)
{
    return i < sizeof tops / sizeof *tops ? &tops[i] : NULL;
}

const struct view_top *view_top_named(const char *name)
{
    for (size_t i = 0; i < sizeof tops / sizeof *tops; i++) {
        if (strcmp(tops[i].name, name) == 0) {
            return &tops[i];
        }
    }
    return NULL;
}

/* ---- places ---- */

/* Anything may be captured, for its size, and is a checkpoint then. Where no name says so, as in a directory with a large data file,
   nothing is shown that nobody expects. */
static bool says_checkpoint(struct ckptfs *fs, const struct ckpt_run *run)
{
    for (size_t i = 0; i < run->count; i++) {
        const struct ckpt_checkpoint *c = run->list[i];
        bool whole = c->n_members > 0 && (c->members[0].directory || c->members[0].root == 0);
        if (whole || ckpt_filter_match_name(fs->filter, c->root)) {
            return true;
        }
    }
    return false;
}

bool view_run_is_named(struct ckptfs *fs, uint64_t dir)
{
    const struct ckpt_run *run = NULL;
    if (ckpt_runs_hold(fs->runs, dir, &run) != CKPT_OK) {
        return false;
    }
    bool named = says_checkpoint(fs, run);
    ckpt_runs_release(fs->runs);
    return named;
}

static void leave_named(struct ckptfs *fs, struct view_place *place)
{
    size_t n = 0;
    for (size_t i = 0; i < place->n_runs; i++) {
        if (view_run_is_named(fs, place->runs[i])) {
            place->runs[n++] = place->runs[i];
        }
    }
    place->n_runs = n;
}

int view_place_find(struct ckptfs *fs, const struct inode *run, struct view_place *place)
{
    const struct ckpt_run *held = NULL;
    *place = (struct view_place){0};
    enum ckpt_err err = ckpt_live_dir_id(fs->store, run->fd, &place->dir);
    if (err != CKPT_OK) {
        return ENOENT;
    }
    err = ckpt_runs_hold(fs->runs, place->dir, &held);
    if (err == CKPT_OK) {
        ckpt_runs_release(fs->runs);
        place->is_run = true;
        return 0;
    }
    if (err == CKPT_ERR_NOT_FOUND) {
        err = ckpt_runs_below(fs->runs, place->dir, &place->runs, &place->n_runs);
    }
    if (err != CKPT_OK) {
        return ckpt_err_errno(err);
    }
    leave_named(fs, place);
    if (place->n_runs < 2) {
        view_place_clear(place);
        return ENOENT;
    }
    return 0;
}

void view_place_clear(struct view_place *place)
{
    free(place->runs);
    place->runs = NULL;
    place->n_runs = 0;
}

enum ckpt_err view_place_each(struct ckptfs *fs, const struct view_place *place, view_place_fn *fn, void *arg)
{
    size_t n = place->is_run ? 1 : place->n_runs;
    for (size_t i = 0; i < n; i++) {
        const struct ckpt_run *run = NULL;
        enum ckpt_err err = ckpt_runs_hold(fs->runs, place->is_run ? place->dir : place->runs[i], &run);
        if (err == CKPT_ERR_NOT_FOUND) {
            continue;
        }
        if (err == CKPT_OK) {
            err = fn(arg, run);
            ckpt_runs_release(fs->runs);
        }
        if (err != CKPT_OK) {
            return err;
        }
    }
    return CKPT_OK;
}

/* ---- one checkpoint ---- */

/* The checkpoint with that number, if it is still shown. */
static int hold_number(struct ckptfs *fs, const struct view_ranked *which, const struct ckpt_run **of,
                       const struct ckpt_checkpoint **c)
{
    enum ckpt_err err = ckpt_runs_hold(fs->runs, which->dir, of);
    if (err != CKPT_OK) {
        return ckpt_err_errno(err);
    }
    *c = ckpt_run_number(*of, which->number);
    if (*c == NULL || !ckpt_checkpoint_shown(*c)) {
        ckpt_runs_release(fs->runs);
        return ENOENT;
    }
    return 0;
}

static int find_ranked(struct ckptfs *fs, const struct view_place *place, const struct view_pick *pick,
                       struct view_ranked *which)
{
    struct view_ranked *list = NULL;
    size_t n = 0;
    int err = view_rank(fs, place, pick->name, &list, &n);
    if (err == 0 && (pick->number == 0 || pick->number > n)) {
        err = ENOENT;
    }
    if (err == 0) {
        *which = list[pick->number - 1];
    }
    free(list);
    return err;
}

struct newest {
    uint64_t sequence; /* 0: there is none yet */
    struct view_ranked which;
};

/* Captures are numbered over the whole store. */
static enum ckpt_err take_newer(void *arg, const struct ckpt_run *run)
{
    struct newest *newest = arg;
    const struct ckpt_checkpoint *c = ckpt_run_latest(run);
    if (c != NULL && (newest->sequence == 0 || c->sequence > newest->sequence)) {
        newest->sequence = c->sequence;
        newest->which = (struct view_ranked){.dir = run->dir, .number = c->number};
    }
    return CKPT_OK;
}

static int find_newest(struct ckptfs *fs, const struct view_place *place, struct view_ranked *which)
{
    struct newest newest = {0};
    enum ckpt_err err = view_place_each(fs, place, take_newer, &newest);
    *which = newest.which;
    return err != CKPT_OK ? ckpt_err_errno(err) : newest.sequence == 0 ? ENOENT : 0;
}

static const struct ckpt_checkpoint *pick_of(const struct ckpt_run *run, const struct view_pick *pick)
{
    switch (pick->letter) {
    case 'l':
        return ckpt_run_latest(run);
    case 'b':
        return ckpt_run_best(run);
    case 'f':
        return ckpt_run_final(run);
    case 'e':
        return ckpt_run_epoch(run, pick->number);
    case 's':
        return ckpt_run_step(run, pick->number);
    case 't':
        return ckpt_run_tag(run, pick->name);
    default:
        return NULL;
    }
}

static int hold_in_sweep(struct ckptfs *fs, const struct view_place *place, const struct view_pick *pick,
                         const struct ckpt_run **of, const struct ckpt_checkpoint **c)
{
    struct view_ranked which = {0};
    int err = pick->letter == 'l'   ? find_newest(fs, place, &which)
              : pick->letter == 'b' ? view_rank_best(fs, place, &which)
                                    : ENOENT;
    return err == 0 ? hold_number(fs, &which, of, c) : err;
}

int view_checkpoint_hold(struct ckptfs *fs, const struct inode *run, const struct view_pick *pick,
                         const struct ckpt_run **of, const struct ckpt_checkpoint **c)
{
    struct view_place place;
    struct view_ranked which = {0};
    int err = view_place_find(fs, run, &place);
    if (err != 0) {
        return err;
    }
    if (pick->letter == 'o') {
        err = find_ranked(fs, &place, pick, &which);
        err = err == 0 ? hold_number(fs, &which, of, c) : err;
    } else if (!place.is_run) {
        err = hold_in_sweep(fs, &place, pick, of, c);
    } else {
        err = ckpt_err_errno(ckpt_runs_hold(fs->runs, place.dir, of));
        *c = err == 0 ? pick_of(*of, pick) : NULL;
        if (err == 0 && *c == NULL) {
            ckpt_runs_release(fs->runs);
            err = ENOENT;
        }
    }
    view_place_clear(&place);
    return err;
}

/* ---- what there is ---- */

static bool first_name(void *arg, const char *name)
{
    (void)name;
    *(bool *)arg = true;
    return false;
}

static int any_name(void *arg, const char *name)
{
    return first_name(arg, name) ? 0 : ECANCELED;
}

static bool has_files(void *arg, const struct ckpt_file *file, uint32_t versions)
{
    (void)file;
    (void)versions;
    *(bool *)arg = true;
    return false;
}

static bool group_has(const struct ckpt_run *run, char letter)
{
    bool any = false;
    switch (letter) {
    case 'e':
        return run->n_epochs > 0;
    case 's':
        return run->n_steps > 0;
    case 't':
        return ckpt_run_each_tag(run, first_name, &any) == CKPT_OK && any;
    default:
        return false;
    }
}

bool view_run_has(struct ckptfs *fs, const struct inode *run, char letter)
{
    const struct ckpt_run *of = NULL;
    const struct ckpt_checkpoint *c = NULL;
    struct view_pick pick = {.letter = letter};
    uint64_t dir = 0;
    bool any = false;
    switch (letter) {
    case 'h':
        return ckpt_live_dir_id(fs->store, run->fd, &dir) == CKPT_OK &&
               ckpt_catalog_each_file(fs->store, dir, has_files, &any) == CKPT_OK && any;
    case 'e':
    case 's':
    case 't':
        if (ckpt_live_dir_id(fs->store, run->fd, &dir) == CKPT_OK && ckpt_runs_hold(fs->runs, dir, &of) == CKPT_OK) {
            any = group_has(of, letter);
            ckpt_runs_release(fs->runs);
        }
        return any;
    case 'o':
        (void)view_run_each(fs, run, &pick, false, any_name, &any);
        return any;
    default:
        any = view_checkpoint_hold(fs, run, &pick, &of, &c) == 0;
        if (any) {
            ckpt_runs_release(fs->runs);
        }
        return any;
    }
}

/* ---- names in groups ---- */

struct names {
    view_name_fn *fn;
    void *arg;
    int err;
};

static bool add_number(void *arg, uint64_t number)
{
    struct names *names = arg;
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, number);
    names->err = names->fn(names->arg, text);
    return names->err == 0;
}

static bool add_text(void *arg, const char *text)
{
    struct names *names = arg;
    names->err = names->fn(names->arg, text);
    return names->err == 0;
}

static int each_in_run(struct ckptfs *fs, uint64_t dir, char letter, struct names *names)
{
    const struct ckpt_run *run = NULL;
    enum ckpt_err err = ckpt_runs_hold(fs->runs, dir, &run);
    if (err != CKPT_OK) {
        return ckpt_err_errno(err);
    }
    if (letter == 'e') {
        ckpt_run_each_epoch(run, add_number, names);
    } else if (letter == 's') {
        ckpt_run_each_step(run, add_number, names);
    } else {
        err = ckpt_run_each_tag(run, add_text, names);
    }
    ckpt_runs_release(fs->runs);
    return err != CKPT_OK ? ckpt_err_errno(err) : names->err;
}

/* How many places the ranking has; an error is told as none. */
static size_t places(struct ckptfs *fs, const struct view_place *place, const char *metric)
{
    struct view_ranked *list = NULL;
    size_t n = 0;
    if (view_rank(fs, place, metric, &list, &n) != 0) {
        n = 0;
    }
    free(list);
    return n;
}

static int each_place(struct names *names, size_t n)
{
    for (size_t i = 1; i <= n && add_number(names, i); i++) {
    }
    return names->err;
}

/* A metric whose name is that of a place can only be had by another name. */
static bool is_place(const char *name, size_t n)
{
    char text[24];
    uint64_t number = strtoull(name, NULL, 10);
    snprintf(text, sizeof text, "%" PRIu64, number);
    return number >= 1 && number <= n && strcmp(text, name) == 0;
}

static int each_in_top(struct ckptfs *fs, const struct view_place *place, struct names *names)
{
    char **metrics = NULL;
    size_t n_metrics = 0;
    size_t n = places(fs, place, "");
    int err = each_place(names, n);
    if (err == 0) {
        err = view_metrics(fs, place, &metrics, &n_metrics);
    }
    for (size_t i = 0; err == 0 && i < n_metrics; i++) {
        if (!is_place(metrics[i], n) && places(fs, place, metrics[i]) > 0) {
            err = names->fn(names->arg, metrics[i]);
        }
    }
    view_names_free(metrics, n_metrics);
    return err;
}

int view_run_each(struct ckptfs *fs, const struct inode *run, const struct view_pick *pick, bool in_metric,
                  view_name_fn *fn, void *arg)
{
    struct view_place place;
    struct names names = {.fn = fn, .arg = arg};
    int err = view_place_find(fs, run, &place);
    if (err != 0) {
        return err == ENOENT ? 0 : err;
    }
    if (in_metric) {
        err = each_place(&names, places(fs, &place, pick->name));
    } else if (pick->letter == 'o') {
        err = each_in_top(fs, &place, &names);
    } else if (place.is_run) {
        err = each_in_run(fs, place.dir, pick->letter, &names);
    }
    view_place_clear(&place);
    return err;
}
