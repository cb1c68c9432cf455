/*
 * What must be true of files and checkpoints, whatever has been saved, deleted, renamed, restarted and decided in which order.
 *
 *     a live file that is captured is the newest version of its name, and a live member of exactly one checkpoint that is
 *     neither hidden nor dropped
 *     a live member of such a checkpoint is such a file
 *     a checkpoint that wasn't dropped has all of its versions
 *     at the end verify finds nothing
 *
 * RANDOM_SEED=N repeats one sequence, and tells what it does; RANDOM_SEQUENCES=N does so many.
 */
#include "unit.h"

#include "common/live.h"
#include <ckpt/engine.h>
#include <ckpt/keep.h>
#include <ckpt/reader.h>
#include <ckpt/verify.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>

enum { SEQUENCES = 150, A_STORE = 10, STEPS = 30, LOG = 8192, CONTENTS = 6 };

static const char *const names[] = {
    "net_epoch_1.pt",
    "net_epoch_2.pt",
    "weights_epoch_1.pt",
    "last.pt",
    "model.pt",
    "checkpoint-1/pytorch_model.bin",
    "checkpoint-1/rng_state.pth",
    "checkpoint-1/trainer_state.json",
    "checkpoint-2/pytorch_model.bin",
    "checkpoint-2/trainer_state.json",
};
enum { NAMES = sizeof names / sizeof names[0] };

static const char *const policies[] = {
    "keep last 1\n", "keep last 1\ngrace 0s\n", "keep last 2\ngrace 0s\n", "keep first\n", "quota 40\ngrace 0s\n", NULL,
};

struct world {
    char dir[UNIT_PATH];
    char store_dir[UNIT_PATH + 8];
    struct ckpt_store *store;
    struct ckpt_runs *runs;
    struct ckpt_filter *filter;
    struct ckpt_engine *engine;
    char run[32]; /* of this sequence */
    uint64_t seed;
    char log[LOG]; /* what has been done */
    bool talk;
};

__attribute__((format(printf, 2, 3))) static void say(struct world *w, const char *format, ...)
{
    char line[256];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(line, sizeof line, format, args);
    va_end(args);
    size_t n = strlen(w->log);
    (void)snprintf(w->log + n, sizeof w->log - n, "    %s\n", line);
    if (w->talk) {
        print_message("    %s\n", line);
    }
}

static size_t below(struct world *w, size_t n)
{
    return (size_t)(unit_random(&w->seed) % n);
}

static void start(struct world *w)
{
    struct ckpt_report none = {0};
    assert_ok(ckpt_store_open(w->store_dir, CKPT_WRITE, "a test", &none, &w->store));
    assert_ok(ckpt_runs_create(w->store, &w->runs));
    struct ckpt_engine_config config = {
        .threads = 1, .hot_limit = UINT64_MAX, .filter = w->filter, .runs = w->runs, .quiet_ms = 1000};
    assert_ok(ckpt_engine_start(w->store, &config, &w->engine));
}

static void stop(struct world *w, bool drain)
{
    ckpt_engine_stop(w->engine, drain);
    ckpt_runs_free(w->runs);
    ckpt_store_close(w->store);
    w->engine = NULL;
    w->runs = NULL;
    w->store = NULL;
}

static int live(const struct world *w)
{
    return ckpt_store_livefd(w->store);
}

static void path_of(const struct world *w, size_t name, char path[UNIT_PATH])
{
    (void)snprintf(path, UNIT_PATH, "%s/%s", w->run, names[name]);
}

/* ---- steps: what the filesystem does, and tells ---- */

static void make_parent(struct world *w, const char *path)
{
    char parent[UNIT_PATH];
    const char *slash = strrchr(path, '/');
    (void)snprintf(parent, sizeof parent, "%.*s", (int)(slash - path), path);
    if (mkdirat(live(w), parent, 0755) != 0) {
        assert_int_equal(errno, EEXIST);
    }
}

static void tell_gone(struct world *w, const char *path)
{
    char parent[UNIT_PATH];
    const char *slash = strrchr(path, '/');
    (void)snprintf(parent, sizeof parent, "%.*s", (int)(slash - path), path);
    int fd = openat(live(w), parent, O_PATH | O_DIRECTORY);
    if (fd >= 0) {
        ckpt_engine_name_gone(w->engine, fd, slash + 1, false);
        close(fd);
    }
}

/* A rename over what is there. RAW: nobody tells the engine. */
static void save(struct world *w, size_t name, size_t content, bool raw)
{
    char path[UNIT_PATH];
    char bytes[32];
    int fd = openat(live(w), "new.tmp", O_RDWR | O_CREAT | O_TRUNC, 0644);
    int n = snprintf(bytes, sizeof bytes, "content %zu", content);
    assert_int_equal(write(fd, bytes, (size_t)n), n);
    path_of(w, name, path);
    for (int renamed = -1; renamed != 0;) {
        make_parent(w, path);
        ckpt_engine_names_lock(w->engine);
        renamed = renameat(live(w), "new.tmp", live(w), path); /* rotation may take the directory away */
        ckpt_engine_names_unlock(w->engine);
    }
    if (!raw) {
        tell_gone(w, path);
        assert_ok(ckpt_engine_capture(w->engine, fd));
    }
    close(fd);
}

static void delete(struct world *w, size_t name, bool raw)
{
    char path[UNIT_PATH];
    path_of(w, name, path);
    ckpt_engine_names_lock(w->engine);
    int err = unlinkat(live(w), path, 0);
    ckpt_engine_names_unlock(w->engine);
    if (err == 0 && !raw) {
        tell_gone(w, path);
    }
}

static void move(struct world *w, size_t from, size_t to)
{
    char old[UNIT_PATH];
    char new[UNIT_PATH];
    path_of(w, from, old);
    path_of(w, to, new);
    make_parent(w, new);
    char parent[UNIT_PATH];
    const char *slash = strrchr(new, '/');
    (void)snprintf(parent, sizeof parent, "%.*s", (int)(slash - new), new);
    int fd = openat(live(w), old, O_PATH | O_NOFOLLOW);
    int dirfd = openat(live(w), parent, O_PATH | O_DIRECTORY);
    enum ckpt_err named = fd >= 0 && dirfd >= 0 ? ckpt_engine_name_stub(w->engine, fd, dirfd, slash + 1)
                                                : CKPT_ERR_NOT_FOUND;
    if (named == CKPT_ERR_NOT_FOUND) {
        /* It isn't there, or rotation has taken it or the directory away just now. */
        assert_true(faccessat(live(w), old, F_OK, AT_SYMLINK_NOFOLLOW) != 0 || faccessat(live(w), parent, F_OK, 0) != 0);
    } else {
        assert_ok(named);
        ckpt_engine_names_lock(w->engine);
        int err = renameat(live(w), old, dirfd, slash + 1);
        ckpt_engine_names_unlock(w->engine);
        if (err == 0) {
            tell_gone(w, old);
            tell_gone(w, new);
            assert_ok(ckpt_engine_name_stub(w->engine, fd, dirfd, slash + 1));
            assert_ok(ckpt_engine_capture(w->engine, fd));
        }
    }
    close(fd);
    close(dirfd);
}

static void demote(struct world *w, size_t name)
{
    char path[UNIT_PATH];
    path_of(w, name, path);
    (void)!ckpt_engine_demote(w->engine, path);
}

static uint64_t run_dir(struct world *w)
{
    char path[UNIT_PATH];
    char name[NAME_MAX + 1];
    uint64_t dir = UINT64_MAX;
    (void)snprintf(path, sizeof path, "%s/x", w->run);
    enum ckpt_err err = ckpt_catalog_resolve(w->store, path, &dir, name);
    assert_true(err == CKPT_OK || err == CKPT_ERR_NOT_FOUND);
    return dir;
}

static void set_policy(struct world *w, const char *text)
{
    enum ckpt_err err = ckpt_engine_set_policy(w->engine, w->run, text);
    assert_true(err == CKPT_OK || (text == NULL && err == CKPT_ERR_NOT_FOUND));
}

static void restart(struct world *w, size_t raw)
{
    bool drain = below(w, 2) == 0;
    for (size_t i = 0; i < raw; i++) {
        size_t name = below(w, NAMES);
        size_t content = below(w, CONTENTS);
        say(w, content == 0 ? "rm %s, and nobody hears of it" : "save %s %zu, and nobody hears of it", names[name], content);
        if (content == 0) {
            delete(w, name, true);
        } else {
            save(w, name, content, true);
        }
    }
    say(w, drain ? "restart" : "restart at once");
    stop(w, drain);
    start(w);
}

/* ---- what must be true ---- */

static void tell_run(struct world *w)
{
    const struct ckpt_run *run = NULL;
    if (ckpt_runs_hold(w->runs, run_dir(w), &run) != CKPT_OK) {
        return;
    }
    for (size_t i = 0; i < run->count; i++) {
        const struct ckpt_checkpoint *c = run->list[i];
        print_error("#%u status %d%s%s left %d:", c->number, (int)c->status, c->hidden ? " hidden" : "",
                    c->dropped ? " dropped" : "", (int)c->left);
        for (size_t k = 0; k < c->n_members; k++) {
            const struct ckpt_member *m = &c->members[k];
            print_error(" %s@%u%s%s%s", m->path, m->number, m->alias ? "~" : "", m->gone ? "-" : "", m->replaced ? "x" : "");
        }
        print_error("\n");
    }
    ckpt_runs_release(w->runs);
}

#define wrong(w, ...)                             \
    do {                                          \
        print_error("%s:\n%s", (w)->run, (w)->log); \
        tell_run(w);                              \
        fail_msg(__VA_ARGS__);                    \
    } while (0)

static bool same_bytes(struct world *w, int fd, const struct ckpt_id *recipe)
{
    struct ckpt_stub stub;
    bool same = false;
    assert_ok(ckpt_live_stub(fd, &stub, &same));
    if (same) {
        return ckpt_id_equal(&stub.recipe, recipe);
    }
    assert_ok(ckpt_compare(w->store, recipe, "a file", fd, 1, &same));
    return same;
}

/* The live members among shown checkpoints that are this version. */
static unsigned count_holders(struct world *w, uint64_t dir, const char *name, uint32_t number)
{
    uint64_t *dirs = NULL;
    size_t n = 0;
    unsigned count = 0;
    assert_ok(ckpt_runs_all(w->runs, &dirs, &n));
    for (size_t r = 0; r < n; r++) {
        const struct ckpt_run *run = NULL;
        assert_ok(ckpt_runs_hold(w->runs, dirs[r], &run));
        for (size_t i = 0; i < run->count; i++) {
            const struct ckpt_checkpoint *c = run->list[i];
            for (size_t k = 0; !c->hidden && !c->dropped && k < c->n_members; k++) {
                const struct ckpt_member *m = &c->members[k];
                count += !m->gone && !m->replaced && m->dir == dir && m->number == number && strcmp(m->name, name) == 0;
            }
        }
        ckpt_runs_release(w->runs);
    }
    free(dirs);
    return count;
}

static void check_file(struct world *w, size_t i)
{
    char path[UNIT_PATH];
    char name[NAME_MAX + 1];
    uint64_t dir = 0;
    struct ckpt_version version;
    path_of(w, i, path);
    int fd = openat(live(w), path, O_RDONLY | O_NOFOLLOW);
    if (fd < 0) {
        return;
    }
    if (ckpt_catalog_resolve(w->store, path, &dir, name) != CKPT_OK ||
        ckpt_catalog_version(w->store, dir, name, 0, &version) != CKPT_OK) {
        wrong(w, "%s is no version", names[i]);
    }
    if (!same_bytes(w, fd, &version.recipe)) {
        wrong(w, "%s isn't its newest version, which is %u", names[i], version.number);
    }
    close(fd);
    unsigned holders = count_holders(w, dir, name, version.number);
    if (holders != 1) {
        wrong(w, "%s, version %u, is live in %u checkpoints", names[i], version.number, holders);
    }
}

static void check_member(struct world *w, const struct ckpt_checkpoint *c, const struct ckpt_member *m)
{
    char path[UNIT_PATH];
    struct ckpt_version version;
    if (ckpt_catalog_version(w->store, m->dir, m->name, m->number, &version) != CKPT_OK) {
        wrong(w, "#%u has no version %u of %s any more", c->number, m->number, m->path);
    }
    if (c->hidden || m->gone || m->replaced) {
        return;
    }
    (void)snprintf(path, sizeof path, "%s/%s", w->run, m->path);
    int fd = openat(live(w), path, O_RDONLY | O_NOFOLLOW);
    if (fd < 0) {
        wrong(w, "#%u says that %s is there", c->number, m->path);
    }
    if (!same_bytes(w, fd, &version.recipe)) {
        wrong(w, "#%u says that %s is there as version %u", c->number, m->path, m->number);
    }
    close(fd);
}

static void check(struct world *w)
{
    const struct ckpt_run *run = NULL;
    unsigned still_open = 0;
    assert_ok(ckpt_engine_flush(w->engine, &still_open));
    say(w, "flush");
    for (size_t i = 0; i < NAMES; i++) {
        check_file(w, i);
    }
    if (ckpt_runs_hold(w->runs, run_dir(w), &run) != CKPT_OK) {
        return;
    }
    for (size_t i = 0; i < run->count; i++) {
        const struct ckpt_checkpoint *c = run->list[i];
        for (size_t k = 0; !c->dropped && k < c->n_members; k++) {
            check_member(w, c, &c->members[k]);
        }
        if (!c->dropped && !c->hidden && c->left != CKPT_LEFT_NOT) {
            for (size_t k = 0; k < c->n_members; k++) {
                if (!c->members[k].gone && !c->members[k].replaced) {
                    wrong(w, "#%u has left, and has %s", c->number, c->members[k].path);
                }
            }
        }
    }
    ckpt_runs_release(w->runs);
}

/* ---- sequences ---- */

static void step(struct world *w)
{
    size_t name = below(w, NAMES);
    size_t other = below(w, NAMES);
    size_t content = 1 + below(w, CONTENTS - 1);
    size_t policy = below(w, sizeof policies / sizeof policies[0]);
    size_t what = below(w, 100);
    if (what < 45) {
        say(w, "save %s %zu", names[name], content);
        save(w, name, content, false);
    } else if (what < 57) {
        say(w, "rm %s", names[name]);
        delete(w, name, false);
    } else if (what < 69 && name != other) {
        say(w, "mv %s %s", names[name], names[other]);
        move(w, name, other);
    } else if (what < 75) {
        say(w, "policy %s", policies[policy] == NULL ? "none" : policies[policy]);
        set_policy(w, policies[policy]);
    } else if (what < 80) {
        say(w, "demote %s", names[name]);
        demote(w, name);
    } else if (what < 83) {
        restart(w, below(w, 3));
    } else {
        check(w);
    }
}

static void sequence(struct world *w, unsigned number)
{
    w->seed = number;
    w->log[0] = '\0';
    (void)snprintf(w->run, sizeof w->run, "run%u", number);
    assert_int_equal(mkdirat(live(w), w->run, 0755), 0);
    for (unsigned i = 0; i < STEPS; i++) {
        step(w);
    }
    check(w);
    set_policy(w, "keep last 1\ngrace 0s\n");
    check(w);
}

static void sequences(struct world *w, unsigned from, unsigned to)
{
    struct ckpt_report none = {0};
    struct ckpt_verify_result result;
    unit_mkdir(w->dir);
    (void)snprintf(w->store_dir, sizeof w->store_dir, "%s/store", w->dir);
    assert_ok(ckpt_store_create(w->store_dir, &none));
    start(w);
    for (unsigned i = from; i < to; i++) {
        sequence(w, i);
    }
    assert_ok(ckpt_verify(w->store, false, NULL, NULL, &result));
    if (result.problems != 0) {
        fail_msg("verify has found something in sequences %u to %u", from, to - 1);
    }
    stop(w, true);
    unit_rmdir(w->dir);
}

/* Memory, where it can have extended attributes: hundreds of stores' syncs take their time on a disk. */
static void choose_directory(void)
{
    char path[] = "/dev/shm/ckpt-unit-XXXXXX";
    int fd = getenv("TMPDIR") == NULL ? mkstemp(path) : -1;
    if (fd >= 0) {
        if (fsetxattr(fd, "user.ckpt", "", 0, 0) == 0) {
            assert_int_equal(setenv("TMPDIR", "/dev/shm", 1), 0);
        }
        close(fd);
        (void)unlink(path);
    }
}

static void whatever_happens_each_file_has_its_checkpoint(void **state)
{
    /* What others than the first ones have found. */
    static const unsigned found[] = {371, 441, 447, 1671, 2525};
    const char *only = getenv("RANDOM_SEED");
    const char *many = getenv("RANDOM_SEQUENCES");
    unsigned count = many == NULL ? SEQUENCES : (unsigned)strtoul(many, NULL, 10);
    const char *bad = NULL;
    struct world w = {.talk = only != NULL};
    (void)state;
    choose_directory();
    assert_ok(ckpt_filter_parse("default", &w.filter, &bad));
    if (only != NULL) {
        unsigned seed = (unsigned)strtoul(only, NULL, 10);
        sequences(&w, seed, seed + 1);
    }
    for (unsigned i = 0; only == NULL && i < count; i += A_STORE) {
        sequences(&w, i, i + A_STORE);
    }
    for (size_t i = 0; only == NULL && i < sizeof found / sizeof found[0]; i++) {
        sequences(&w, found[i], found[i] + 1);
    }
    ckpt_filter_free(w.filter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_happens_each_file_has_its_checkpoint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
