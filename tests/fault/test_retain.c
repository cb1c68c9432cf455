/* What a policy keeps, while host calls fail. */
#include "fault.h"
#include <ckpt/keep.h>
#include <ckpt/run.h>
#include <ckpt/verify.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ALL = SPACE_KIND | IO_KIND | SYNC_KIND, SAVES = 4, KEPT = 2 };

static const char *const paths[SAVES] = {"run/net_epoch_1.pt", "run/net_epoch_2.pt", "run/net_epoch_3.pt",
                                         "run/net_epoch_4.pt"};
static const int contents[SAVES] = {SMALL_A, SMALL_B, SMALL_C, HOLES};

static bool is_there(struct world *w, size_t i)
{
    return faccessat(ckpt_store_livefd(w->store), paths[i], F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static struct file_state *file_of(struct world *w, size_t i)
{
    for (unsigned f = 0; f < w->files_count; f++) {
        if (strcmp(w->files[f].name, paths[i]) == 0) {
            return &w->files[f];
        }
    }
    return NULL; /* the store had stopped before it */
}

static void policy(struct world *w)
{
    world_mkdir(w, "run");
    assert_int_equal(ckpt_engine_set_policy(w->engine, "run", "keep last 2\ngrace 0s\n"), CKPT_OK);
}

static void rotate(struct world *w)
{
    for (size_t i = 0; i < SAVES; i++) {
        (void)!world_save(w, paths[i], contents[i]);
        (void)!world_flush(w);
    }
}

/* The path of a checkpoint of one file. */
static size_t path_of(const struct ckpt_checkpoint *c)
{
    size_t i = 0;
    while (i < SAVES && strcmp(paths[i] + strlen("run/"), c->root) != 0) {
        i++;
    }
    assert_in_range(i, 0, SAVES - 1);
    return i;
}

/* SHOWN: by path; *KEPT, *ALL: the shown checkpoints and all that there ever were. */
static void find_shown(struct world *w, bool shown[SAVES], size_t *kept, size_t *all)
{
    struct ckpt_runs *runs = NULL;
    const struct ckpt_run *run = NULL;
    char name[NAME_MAX + 1];
    uint64_t dir = 0;
    assert_int_equal(ckpt_catalog_resolve(w->store, paths[0], &dir, name), CKPT_OK);
    assert_int_equal(ckpt_runs_create(w->store, &runs), CKPT_OK);
    if (ckpt_runs_hold(runs, dir, &run) == CKPT_OK) {
        for (size_t i = 0; i < run->count; i++) {
            if (ckpt_checkpoint_shown(run->list[i])) {
                shown[path_of(run->list[i])] = true;
                ++*kept;
            }
        }
        *all = run->count;
        ckpt_runs_release(runs);
    }
    ckpt_runs_free(runs);
}

/*
 * What could not be captured at its time is captured by the start, and so comes last. When the holes of a file could not be found
 * it is captured again with them: then that file has two of the checkpoints.
 */
static void two_are_kept(struct world *w)
{
    struct ckpt_verify_result result;
    bool shown[SAVES] = {false};
    size_t saved = 0;
    size_t captured = 0;
    size_t kept = 0;
    size_t all = 0;
    assert_int_equal(ckpt_verify(w->store, false, NULL, NULL, &result), CKPT_OK);
    assert_int_equal(result.problems, 0);
    find_shown(w, shown, &kept, &all);
    for (size_t i = 0; i < SAVES; i++) {
        struct file_state *file = file_of(w, i);
        assert_int_equal(is_there(w, i), shown[i]);
        saved += file != NULL;
        captured += file != NULL && file->captured[contents[i]];
        if (shown[i]) {
            assert_int_equal(world_restore(w, paths[i], 0, contents[i]), CKPT_OK);
        } else if (file != NULL) {
            file->live = ABSENT;
            file->captured[contents[i]] = false;
        }
    }
    assert_int_equal(kept, saved < KEPT ? saved : KEPT);
    for (size_t i = SAVES - KEPT; captured == SAVES && all == SAVES && i < SAVES; i++) {
        assert_true(shown[i]);
    }
}

static void what_the_policy_keeps_is_kept(void **state)
{
    (void)state;
    fault_loop(&(struct scenario){.name = "rotation", .kinds = ALL, .prepare = policy, .run = rotate, .check = two_are_kept});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(what_the_policy_keeps_is_kept),
    };
    cmocka_set_test_filter(getenv("FAULT_TEST"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
