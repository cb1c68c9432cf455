/*
 * Who wrote a file and from what: an engine without a mount is told which process opens what. The processes are children that
 * do nothing.
 */
#include "unit.h"

#include "engine/engine_parts.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { SMALL = 1000, BIG = 2 << 20, NEVER_MS = 600 * 1000 };

struct world {
    struct unit_store *u;
    struct ckpt_filter *filter;
    struct ckpt_engine *engine;
    pid_t children[CKPT_ORIGIN_PROCESSES + 2];
    size_t count;
    uint64_t seed;
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    void *u = NULL;
    const char *bad = NULL;
    assert_int_equal(unit_store_setup(&u), 0);
    w->u = u;
    assert_ok(ckpt_filter_parse("default", &w->filter, &bad));
    /* A flush doesn't wait; nothing else is to take a file early. */
    struct ckpt_engine_config config = {
        .threads = 1, .settle_ms = NEVER_MS, .hot_limit = UINT64_MAX, .filter = w->filter};
    assert_ok(ckpt_engine_start(w->u->store, &config, &w->engine));
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    void *u = w->u;
    for (size_t i = 0; i < w->count; i++) {
        assert_int_equal(kill(w->children[i], SIGKILL), 0);
        assert_int_equal(waitpid(w->children[i], NULL, 0), w->children[i]);
    }
    ckpt_engine_stop(w->engine, true);
    ckpt_filter_free(w->filter);
    assert_int_equal(unit_store_teardown(&u), 0);
    free(w);
    return 0;
}

static pid_t new_process(struct world *w)
{
    assert_true(w->count < sizeof w->children / sizeof w->children[0]);
    pid_t child = fork();
    if (child == 0) {
        for (;;) {
            (void)pause();
        }
    }
    assert_true(child > 0);
    w->children[w->count++] = child;
    return child;
}

static int live_open(struct world *w, const char *name, int flags)
{
    int fd = openat(ckpt_store_livefd(w->u->store), name, flags | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    return fd;
}

static struct stat stat_of(struct world *w, const char *name)
{
    struct stat st;
    assert_int_equal(fstatat(ckpt_store_livefd(w->u->store), name, &st, AT_SYMLINK_NOFOLLOW), 0);
    return st;
}

/* PROCESS writes N new bytes and closes the file. */
static void write_file(struct world *w, pid_t process, const char *name, size_t n)
{
    int fd = live_open(w, name, O_RDWR | O_CREAT);
    uint8_t *bytes = unit_noise(n, ++w->seed);
    assert_ok(ckpt_engine_preserve(w->engine, fd)); /* as the filesystem does before it opens one */
    ckpt_engine_writes(w->engine, process, fd);
    assert_int_equal(pwrite(fd, bytes, n, 0), n);
    assert_ok(ckpt_engine_capture(w->engine, fd));
    assert_int_equal(close(fd), 0);
    free(bytes);
}

static void read_file(struct world *w, pid_t process, const char *name)
{
    int fd = live_open(w, name, O_RDONLY);
    ckpt_engine_reads(w->engine, process, fd);
    assert_int_equal(close(fd), 0);
}

static void flush(struct world *w)
{
    unsigned still_open = 0;
    assert_ok(ckpt_engine_flush(w->engine, &still_open));
    assert_int_equal(still_open, 0);
}

static struct ckpt_version version_of(struct world *w, const char *name, uint32_t number)
{
    struct ckpt_version version;
    assert_ok(ckpt_catalog_version(w->u->store, CKPT_DIR_ROOT, name, number, &version));
    return version;
}

/* What is known of a version; the caller releases it. */
static struct ckpt_origin_info origin_of(struct world *w, const char *name, uint32_t number)
{
    struct ckpt_origin_info info = {0};
    assert_true(ckpt_origin_of_capture(w->engine, version_of(w, name, number).sequence, &info));
    return info;
}

static void assert_written_by(struct world *w, const char *name, uint32_t number, pid_t process)
{
    struct ckpt_origin_info info = origin_of(w, name, number);
    assert_int_equal(info.process->look.key.group, process);
    assert_true(info.process->complete);
    ckpt_origin_release(&info);
}

/* PARENT "": none is known. */
static void assert_parent(struct world *w, const char *name, const char *parent)
{
    struct ckpt_origin_info info = origin_of(w, name, 0);
    assert_string_equal(info.parent.name, parent);
    assert_int_equal(info.parent.known, parent[0] != '\0');
    ckpt_origin_release(&info);
}

/* ---- what is known ---- */

static void a_version_has_its_process_and_its_parent(void **state)
{
    struct world *w = *state;
    pid_t first = new_process(w);
    pid_t second = new_process(w);
    write_file(w, first, "base.pt", BIG);
    flush(w);
    read_file(w, second, "base.pt");
    write_file(w, second, "tuned.pt", BIG);
    flush(w);

    struct ckpt_version base = version_of(w, "base.pt", 0);
    struct ckpt_origin_info info = origin_of(w, "tuned.pt", 0);
    assert_int_equal(info.process->look.key.group, second);
    assert_true(info.process->command.size > 0);
    assert_true(info.parent.known);
    assert_string_equal(info.parent.name, "base.pt");
    assert_int_equal(info.parent.dir, CKPT_DIR_ROOT);
    assert_int_equal(info.parent.number, 1);
    assert_true(ckpt_id_equal(&info.parent.recipe, &base.recipe));
    assert_true(info.has_base);
    assert_true(ckpt_id_equal(&info.base, &base.recipe));
    ckpt_origin_release(&info);

    assert_written_by(w, "base.pt", 0, first);
    assert_parent(w, "base.pt", "");
    assert_false(ckpt_origin_of_capture(w->engine, UINT64_MAX, &info));
}

static void a_version_that_was_read_is_a_parent_though_newer_ones_exist(void **state)
{
    struct world *w = *state;
    pid_t process = new_process(w);
    write_file(w, getpid(), "a.pt", SMALL);
    flush(w);
    write_file(w, getpid(), "a.pt", SMALL);
    flush(w);
    struct ckpt_version old = version_of(w, "a.pt", 1);
    ckpt_engine_reads_version(w->engine, process, &old);
    write_file(w, process, "b.pt", SMALL);
    flush(w);
    struct ckpt_origin_info info = origin_of(w, "b.pt", 0);
    assert_int_equal(info.parent.number, 1);
    assert_false(info.has_base); /* too small to be worth a difference */
    ckpt_origin_release(&info);
}

static void what_is_read_before_its_turn_has_no_number_yet(void **state)
{
    struct world *w = *state;
    pid_t process = new_process(w);
    write_file(w, getpid(), "a.pt", SMALL);
    flush(w);
    write_file(w, getpid(), "a.pt", SMALL);
    read_file(w, process, "a.pt");
    write_file(w, process, "b.pt", SMALL);
    flush(w);
    struct ckpt_origin_info info = origin_of(w, "b.pt", 0);
    assert_string_equal(info.parent.name, "a.pt");
    assert_int_equal(info.parent.number, 0);
    ckpt_origin_release(&info);
}

/* What a process does, in this order: reads before its first checkpoint, that one, more reads, and "out.pt". */
static const struct {
    const char *reads[7];
    const char *first; /* NULL: none */
    const char *later; /* NULL: none */
    const char *parent;
} choices[] = {
    {{NULL}, NULL, NULL, ""},
    {{"a.pt"}, NULL, NULL, "a.pt"},
    {{"a.pt", "b.pt"}, NULL, NULL, "b.pt"},
    {{"a.pt", "b.pt", "a.pt"}, NULL, NULL, "a.pt"},
    /* Weights go before what belongs to them, whatever the order and the number. */
    {{"model.safetensors", "optimizer.pt", "scheduler.pt"}, NULL, NULL, "model.safetensors"},
    {{"model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state_0.pth", "rng_state_1.pth", "rng_state_2.pth"},
     NULL,
     NULL,
     "model.safetensors"},
    {{"optimizer.pt"}, NULL, NULL, "optimizer.pt"},
    /* From the first checkpoint on nothing is a beginning. */
    {{"a.pt"}, "first.pt", "b.pt", "a.pt"},
    {{NULL}, "first.pt", "b.pt", ""},
    /* A log is none. */
    {{"a.pt"}, "train.log", "b.pt", "b.pt"},
    {{"a.pt"}, "metrics.csv", "b.pt", "b.pt"},
    /* Nor does reading something else count. */
    {{"a.pt", "notes.txt"}, NULL, NULL, "a.pt"},
};

static void the_parent_is_what_training_began_with(void **state)
{
    struct world *w = *state;
    static const char *const files[] = {"a.pt",          "b.pt",            "model.safetensors", "optimizer.pt", "scheduler.pt",
                                        "rng_state_0.pth", "rng_state_1.pth", "rng_state_2.pth",   "notes.txt"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        write_file(w, getpid(), files[i], SMALL);
    }
    flush(w);
    for (size_t i = 0; i < sizeof choices / sizeof choices[0]; i++) {
        pid_t process = new_process(w);
        for (size_t k = 0; choices[i].reads[k] != NULL; k++) {
            read_file(w, process, choices[i].reads[k]);
        }
        if (choices[i].first != NULL) {
            write_file(w, process, choices[i].first, SMALL);
        }
        if (choices[i].later != NULL) {
            read_file(w, process, choices[i].later);
        }
        write_file(w, process, "out.pt", SMALL);
        flush(w);
        assert_written_by(w, "out.pt", 0, process);
        assert_parent(w, "out.pt", choices[i].parent);
    }
}

/* ---- inodes ---- */

static void a_temporary_file_keeps_its_writer_when_it_gets_its_name(void **state)
{
    struct world *w = *state;
    pid_t process = new_process(w);
    int live = ckpt_store_livefd(w->u->store);
    static const char *const names[] = {"a.pt.tmp", "tmpab12cd"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        write_file(w, process, names[i], SMALL);
        assert_int_equal(renameat(live, names[i], live, "a.pt"), 0);
        int fd = live_open(w, "a.pt", O_RDONLY);
        assert_ok(ckpt_engine_capture(w->engine, fd));
        assert_int_equal(close(fd), 0);
        flush(w);
        assert_written_by(w, "a.pt", (uint32_t)i + 1, process);
    }
}

static void each_version_keeps_its_own_writer(void **state)
{
    struct world *w = *state;
    pid_t first = new_process(w);
    pid_t second = new_process(w);
    write_file(w, first, "a.pt", SMALL);
    ino_t before = stat_of(w, "a.pt").st_ino;
    write_file(w, second, "a.pt", SMALL); /* in place, while the first waits */
    assert_int_equal(stat_of(w, "a.pt").st_ino, before);
    flush(w);
    assert_written_by(w, "a.pt", 1, first);
    assert_written_by(w, "a.pt", 2, second);
}

static void an_inode_that_becomes_something_else_is_forgotten(void **state)
{
    struct world *w = *state;
    struct ckpt_origin_info info = {0};
    pid_t process = new_process(w);
    int live = ckpt_store_livefd(w->u->store);
    write_file(w, process, "a.pt", SMALL);
    struct stat st = stat_of(w, "a.pt");
    assert_true(ckpt_origin_of(w->engine, &st, &info));
    assert_int_equal(info.process->look.key.group, process);
    ckpt_origin_release(&info);
    flush(w);
    assert_int_equal(renameat(live, "a.pt", live, "a.json"), 0);
    write_file(w, getpid(), "a.json", SMALL);
    assert_false(ckpt_origin_of(w->engine, &st, &info));

    /* Nor is it the older one's when its writer can't be told. */
    write_file(w, process, "b.pt", SMALL);
    write_file(w, 0, "b.pt", SMALL);
    st = stat_of(w, "b.pt");
    assert_false(ckpt_origin_of(w->engine, &st, &info));
}

/* ---- bounds ---- */

static void the_oldest_files_give_way(void **state)
{
    struct world *w = *state;
    char name[32];
    struct ckpt_origin_info info = {0};
    struct stat first = {0};
    struct stat st = {0};
    for (unsigned i = 0; i <= CKPT_ORIGIN_FILES - CKPT_ORIGIN_OTHERS; i++) {
        (void)snprintf(name, sizeof name, "f%u.pt", i);
        int fd = live_open(w, name, O_RDWR | O_CREAT);
        ckpt_engine_writes(w->engine, getpid(), fd);
        assert_int_equal(close(fd), 0);
        st = stat_of(w, name);
        first = i == 0 ? st : first;
    }
    assert_false(ckpt_origin_of(w->engine, &first, &info));
    assert_true(ckpt_origin_of(w->engine, &st, &info));
    ckpt_origin_release(&info);
}

static void other_files_don_t_drive_out_checkpoints(void **state)
{
    struct world *w = *state;
    struct ckpt_origin_info info = {0};
    char name[32];
    pid_t process = new_process(w);
    write_file(w, process, "a.pt", SMALL);
    for (unsigned i = 0; i <= CKPT_ORIGIN_FILES; i++) {
        (void)snprintf(name, sizeof name, "source%u.c", i);
        int fd = live_open(w, name, O_RDWR | O_CREAT);
        ckpt_engine_writes(w->engine, getpid(), fd);
        assert_int_equal(close(fd), 0);
    }
    struct stat st = stat_of(w, name);
    assert_true(ckpt_origin_of(w->engine, &st, &info)); /* it may still become one */
    ckpt_origin_release(&info);
    flush(w);
    assert_written_by(w, "a.pt", 0, process);
}

static void the_processes_that_did_nothing_for_longest_give_way(void **state)
{
    struct world *w = *state;
    write_file(w, getpid(), "a.pt", SMALL);
    flush(w);
    pid_t forgotten = new_process(w);
    pid_t busy = new_process(w);
    read_file(w, forgotten, "a.pt");
    read_file(w, busy, "a.pt");
    for (unsigned i = 0; i < CKPT_ORIGIN_PROCESSES - 1; i++) {
        read_file(w, new_process(w), "a.pt");
        read_file(w, busy, "a.pt");
    }
    write_file(w, forgotten, "b.pt", SMALL);
    write_file(w, busy, "c.pt", SMALL);
    flush(w);
    assert_written_by(w, "b.pt", 0, forgotten);
    assert_parent(w, "b.pt", "");
    assert_parent(w, "c.pt", "a.pt");
}

static void a_process_that_waits_outlives_those_that_have_ended(void **state)
{
    struct world *w = *state;
    write_file(w, getpid(), "a.pt", SMALL);
    flush(w);
    pid_t patient = new_process(w);
    read_file(w, patient, "a.pt");
    for (unsigned i = 0; i < 2 * CKPT_ORIGIN_PROCESSES; i++) {
        pid_t passing = new_process(w);
        read_file(w, passing, "a.pt");
        assert_int_equal(kill(passing, SIGKILL), 0);
        assert_int_equal(waitpid(passing, NULL, 0), passing);
        w->count--;
    }
    write_file(w, patient, "b.pt", SMALL);
    flush(w);
    assert_parent(w, "b.pt", "a.pt");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_version_has_its_process_and_its_parent, setup, teardown),
        cmocka_unit_test_setup_teardown(a_version_that_was_read_is_a_parent_though_newer_ones_exist, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_read_before_its_turn_has_no_number_yet, setup, teardown),
        cmocka_unit_test_setup_teardown(the_parent_is_what_training_began_with, setup, teardown),
        cmocka_unit_test_setup_teardown(a_temporary_file_keeps_its_writer_when_it_gets_its_name, setup, teardown),
        cmocka_unit_test_setup_teardown(each_version_keeps_its_own_writer, setup, teardown),
        cmocka_unit_test_setup_teardown(an_inode_that_becomes_something_else_is_forgotten, setup, teardown),
        cmocka_unit_test_setup_teardown(the_oldest_files_give_way, setup, teardown),
        cmocka_unit_test_setup_teardown(other_files_don_t_drive_out_checkpoints, setup, teardown),
        cmocka_unit_test_setup_teardown(a_process_that_waits_outlives_those_that_have_ended, setup, teardown),
        cmocka_unit_test_setup_teardown(the_processes_that_did_nothing_for_longest_give_way, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
