/*
 * What /proc tells of a system call, and which name it means.
 */
#include "unit.h"

#include "../../fs/intent.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

static void a_line_is_a_call(void **state)
{
    static const struct {
        const char *line;
        bool known;
    } table[] = {
        {"258 0xffffff9c 0x7ffc1 0x1ff 0x0 0x0 0x6 0x7ffc2a3b4c5d 0x7f00deadbeef\n", true},
        {"running\n", false},
        {"-1 0x7ffc2a3b4c5d 0x7f00deadbeef\n", false},
        {"", false},
        {"258", false},
        {"258 0xffffff9c 0x7ffc1 0x1ff 0x0 0x0 0x6\n", false},
        {"258 0xffffff9c 0x7ffc1 what 0x0 0x0 0x6 0x7ffc2a3b4c5d 0x7f00deadbeef\n", false},
        /* A stack that a 32-bit process has. */
        {"39 0x1 0x2 0x3 0x4 0x5 0x6 0xff8a1234 0xf7f12345\n", false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct intent_call call;
        assert_int_equal(intent_parse(table[i].line, &call), table[i].known);
        if (table[i].known) {
            assert_int_equal(call.number, 258);
            assert_int_equal(call.args[0], 0xffffff9c);
            assert_int_equal(call.args[1], 0x7ffc1);
            assert_int_equal(call.args[5], 6);
        }
    }
}

static void a_path_means_a_name_in_a_place(void **state)
{
    static const struct {
        const char *path;
        const char *other;
        const char *place;
        const char *name;
        bool makes;
    } table[] = {
        {"best", "", "/mnt/run", "best", true},
        {"best/", "", "/mnt/run", "best", true},
        {"//mnt//run/./best//", "", "/mnt/run", "best", true},
        {"link/best", "", "/mnt/run", "best", true}, /* a symbolic link to run */
        {"../best", "", "/mnt/run", "best", true},
        {"bes", "", "/mnt/run", "best", false},
        {"bestest", "", "/mnt/run", "best", false},
        {"", "", "/mnt/run", "best", false},
        {"/", "", "/mnt/run", "best", false},
        {"best/.", "", "/mnt/run", "best", false},
        {"best/..", "", "/mnt/run", "best", false},
        /* What is on the way is looked up as ever. */
        {"best/model.pt", "", "/mnt/run", "best", false},
        {"best/model.pt", "", "/mnt/run/best", "model.pt", true},
        {"/mnt/run/best/best", "", "/mnt/run", "best", false},
        {"/mnt/run/best/best", "", "/mnt/run/best", "best", true},
        {"best/best", "", "/mnt/run", "best", false},
        {"best/best", "", "/mnt/run/best", "best", true},
        {"best/best", "", "/mnt/best", "best", true},
        {"best/best/best", "", "/mnt/best", "best", false},
        {"/mnt/best/best", "", "/mnt", "best", false},
        {"x/../best/best", "", "/mnt/run", "best", false},
        /* A link or a rename that keeps the name: only the new one is made. */
        {"b.pt", "best/b.pt", "/mnt/run/best", "b.pt", false},
        {"./b.pt", "/mnt/run/best/b.pt", "/mnt/run/best", "b.pt", false},
        {"../other/b.pt", "b.pt", "/mnt/run/best", "b.pt", false},
        {"/mnt/other/best", "/mnt/run/best", "/mnt/run", "best", false},
        {"/mnt/run/latest", "/mnt/run/tmp/latest", "/mnt/run", "latest", true},
        {"latest", "tmp/latest", "/mnt/run", "latest", true},
        {"/home/run/latest", "/home/run/tmp/latest", "/mnt/exp7", "latest", true},
        {"/mnt/run/best/b.pt", "/mnt/run/b.pt", "/mnt/run/best", "b.pt", true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        struct intent intent;
        (void)snprintf(intent.path, sizeof intent.path, "%s", table[i].path);
        (void)snprintf(intent.other, sizeof intent.other, "%s", table[i].other);
        if (intent_makes(&intent, table[i].place, table[i].name) != table[i].makes) {
            fail_msg("%s (%s): %s in %s", table[i].path, table[i].other, table[i].name, table[i].place);
        }
    }
}

/* Nothing hangs in mkdir here (tests/mount/test_intent.py has that); a child waits in another call, or in none any more. */
static void who_makes_nothing_has_no_intent(void **state)
{
    struct intent intent;
    int pipe_fds[2];
    (void)state;
    assert_int_equal(pipe(pipe_fds), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char byte = 0;
        (void)close(pipe_fds[1]);
        _exit(read(pipe_fds[0], &byte, 1) == 0 ? 0 : 1);
    }
    assert_false(intent_read(child, &intent));
    assert_false(intent_read(0, &intent));
    assert_false(intent_read(getpid(), &intent));
    (void)close(pipe_fds[0]);
    (void)close(pipe_fds[1]);
    int status = 1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_false(intent_read(child, &intent));
}

/* Opening a FIFO to read it waits for a writer. */
static void a_waiting_call_is_read_with_its_path(void **state)
{
    static const int flags[] = {O_RDONLY | O_CREAT, O_RDONLY};
    char path[] = "/var/tmp/ckpt-intent-XXXXXX";
    char fifo[sizeof path + 8];
    struct intent intent;
    (void)state;
    assert_non_null(mkdtemp(path));
    (void)snprintf(fifo, sizeof fifo, "%s/fifo", path);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    for (size_t i = 0; i < 2; i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0) {
            _exit(open(fifo, flags[i], 0600) >= 0 ? 0 : 1);
        }
        bool makes = false;
        for (int tries = 0; tries < 200 && !makes; tries++) {
            makes = intent_read(child, &intent);
            (void)usleep(1000);
        }
        assert_int_equal(makes, i == 0);
        if (makes) {
            assert_string_equal(intent.path, fifo);
            assert_string_equal(intent.other, "");
            assert_true(intent_makes(&intent, path, "fifo"));
        }
        int fd = open(fifo, O_WRONLY);
        assert_true(fd >= 0);
        int status = 1;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_int_equal(status, 0);
        (void)close(fd);
    }
    assert_int_equal(unlink(fifo), 0);
    assert_int_equal(rmdir(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_a_call),
        cmocka_unit_test(a_path_means_a_name_in_a_place),
        cmocka_unit_test(who_makes_nothing_has_no_intent),
        cmocka_unit_test(a_waiting_call_is_read_with_its_path),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
