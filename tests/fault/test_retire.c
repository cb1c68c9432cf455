/* Live names that are taken away and given back while host calls fail. */
#include "fault.h"
#include "retain/retire.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ALL = SPACE_KIND | IO_KIND | SYNC_KIND, NAMES = 3 };

/* A checkpoint: a hot file, one whose stamp says nothing, and a stub. */
static const char *const paths[NAMES] = {"run/hot.pt", "run/sub/read.pt", "run/sub/cold.pt"};
static const int contents[NAMES] = {SMALL_A, SMALL_B, HOLES};

struct call {
    struct ckpt_command command; /* first */
    struct ckpt_live_name names[NAMES];
    uint64_t root_dir;
    size_t removed;
    uint64_t bytes;
};

static enum ckpt_err run_retire(struct ckpt_engine *engine, struct ckpt_command *command)
{
    struct call *call = (struct call *)command;
    return ckpt_retire(engine, call->names, NAMES, false, call->root_dir, &call->removed, &call->bytes);
}

static enum ckpt_err run_revive(struct ckpt_engine *engine, struct ckpt_command *command)
{
    return ckpt_revive(engine, ((struct call *)command)->names, NAMES);
}

static enum ckpt_err call(struct world *w, enum ckpt_err (*run)(struct ckpt_engine *, struct ckpt_command *),
                          size_t *removed)
{
    struct call call = {.command.run = run};
    char name[NAME_MAX + 1];
    for (int i = 0; i < NAMES; i++) {
        call.names[i].number = 1;
        assert_int_equal(ckpt_catalog_resolve(w->store, paths[i], &call.names[i].dir, call.names[i].name),
                         CKPT_OK);
    }
    assert_int_equal(ckpt_catalog_resolve(w->store, "run/x", &call.root_dir, name), CKPT_OK);
    enum ckpt_err err = ckpt_command_submit(w->engine, &call.command);
    if (removed != NULL) {
        *removed = call.removed;
    }
    return err;
}

/* Tells WORLD what is live, and returns how many of the names are. */
static size_t look(struct world *w)
{
    size_t count = 0;
    for (int i = 0; i < NAMES; i++) {
        bool there = faccessat(ckpt_store_livefd(w->store), paths[i], F_OK, AT_SYMLINK_NOFOLLOW) == 0;
        count += there;
        for (unsigned f = 0; f < w->files_count; f++) {
            if (strcmp(w->files[f].name, paths[i]) == 0) {
                w->files[f].live = there ? contents[i] : ABSENT;
            }
        }
    }
    return count;
}

static void live(struct world *w)
{
    world_mkdir(w, "run");
    world_mkdir(w, "run/sub");
    for (int i = 0; i < NAMES; i++) {
        assert_int_equal(world_save(w, paths[i], contents[i]), CKPT_OK);
    }
    usleep(30000);
    assert_int_equal(world_flush(w), CKPT_OK);
    assert_int_equal(world_demote(w, "run/sub/cold.pt"), CKPT_OK);
    assert_int_equal(fchmodat(ckpt_store_livefd(w->store), "run/sub/read.pt", 0600, 0), 0);
}

static void retire(struct world *w)
{
    size_t removed = 0;
    enum ckpt_err err = call(w, run_retire, &removed);
    size_t left = look(w);
    assert_int_equal(left + removed, NAMES);
    if (err == CKPT_OK) {
        assert_int_equal(left, 0);
        assert_int_not_equal(faccessat(ckpt_store_livefd(w->store), "run", F_OK, 0), 0);
    }
}

static void taking_names_away(void **state)
{
    (void)state;
    fault_loop(&(struct scenario){.name = "retire", .kinds = ALL, .prepare = live, .run = retire});
}

static void retired(struct world *w)
{
    live(w);
    assert_int_equal(call(w, run_retire, NULL), CKPT_OK);
    assert_int_equal(look(w), 0);
}

/* All of them or none; all after a failed sync as well. */
static void revive(struct world *w)
{
    enum ckpt_err err = call(w, run_revive, NULL);
    size_t there = look(w);
    assert_true(there == NAMES || (err != CKPT_OK && there == 0));
    if (there == 0) {
        assert_int_not_equal(faccessat(ckpt_store_livefd(w->store), "run", F_OK, 0), 0);
        assert_int_equal(call(w, run_revive, NULL), CKPT_OK);
        assert_int_equal(look(w), NAMES);
    }
}

static void giving_names_back(void **state)
{
    (void)state;
    fault_loop(&(struct scenario){.name = "revive", .kinds = ALL, .prepare = retired, .run = revive});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(taking_names_away),
        fault_test(giving_names_back),
    };
    cmocka_set_test_filter(getenv("FAULT_TEST"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
