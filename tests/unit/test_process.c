/*
 * What is read of a process, from this one and from children with a given environment, directory and command.
 */
#include "unit.h"

#include "provenance/process.h"
#include <fcntl.h>
#include <jansson.h>
#include <pwd.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

static const char commit[] = "0123456789abcdef0123456789abcdef01234567";
static const char other_commit[] = "89abcdef0123456789abcdef0123456789abcdef";
static const char sha256_commit[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

struct world {
    char dir[UNIT_PATH]; /* without symbolic links */
    struct ckpt_process_host host;
};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    char dir[UNIT_PATH];
    unit_mkdir(dir);
    char *real = realpath(dir, NULL);
    assert_non_null(real);
    (void)snprintf(w->dir, sizeof w->dir, "%s", real);
    free(real);
    ckpt_process_host_init(&w->host, NULL, -1);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    unit_rmdir(w->dir);
    free(w);
    return 0;
}

/* Writes TEXT to the file PATH of the world, with the directories that it needs; a directory where it ends with a slash. */
static void put(const struct world *w, const char *path, const char *text)
{
    char whole[PATH_MAX];
    (void)snprintf(whole, sizeof whole, "%s/%s", w->dir, path);
    for (char *p = whole + strlen(w->dir) + 1; (p = strchr(p, '/')) != NULL; p++) {
        *p = '\0';
        (void)mkdir(whole, 0755);
        *p = '/';
    }
    if (path[strlen(path) - 1] != '/') {
        FILE *file = fopen(whole, "we");
        assert_non_null(file);
        assert_true(fputs(text, file) >= 0);
        assert_int_equal(fclose(file), 0);
    }
}

/* ---- which process ---- */

static void this_process_is_read(void **state)
{
    const struct world *w = *state;
    struct ckpt_process *process = NULL;
    char here[PATH_MAX];
    struct timespec now;
    assert_ok(ckpt_process_read(getpid(), &w->host, &process));
    assert_int_equal(process->look.key.group, getpid());
    assert_int_equal(strlen(process->look.key.boot), 36);
    assert_int_equal(process->look.uid, geteuid());
    assert_non_null(getcwd(here, sizeof here));
    assert_string_equal(process->directory, here);
    assert_non_null(strstr(process->command.at, "test_process"));
    assert_int_equal(clock_gettime(CLOCK_REALTIME, &now), 0);
    int64_t age = (int64_t)now.tv_sec - process->started_ns / 1000000000;
    assert_in_range(age + 2, 0, 600);
    assert_true(ckpt_process_alive(&process->look.key));
    ckpt_process_complete(process, &w->host);
    const struct passwd *user = getpwuid(geteuid());
    assert_string_equal(process->user, user == NULL ? "" : user->pw_name);
    ckpt_process_release(process);
}

static void *look_at_itself(void *arg)
{
    struct world *w = arg;
    struct ckpt_process_look look;
    assert_int_not_equal(gettid(), getpid());
    assert_true(ckpt_process_look(gettid(), &w->host, &look));
    assert_int_equal(look.key.group, getpid());
    return NULL;
}

static void a_thread_is_its_process(void **state)
{
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, look_at_itself, *state), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void what_is_no_process_is_not_read(void **state)
{
    const struct world *w = *state;
    struct ckpt_process *process = NULL;
    assert_int_equal(ckpt_process_read(0, &w->host, &process), CKPT_ERR_NOT_FOUND);
    assert_int_equal(ckpt_process_read(-1, &w->host, &process), CKPT_ERR_NOT_FOUND);
    assert_int_equal(ckpt_process_read(INT_MAX, &w->host, &process), CKPT_ERR_NOT_FOUND);
    assert_null(process);
}

static void a_key_tells_who_is_alive(void **state)
{
    const struct world *w = *state;
    struct ckpt_process_look look;
    int ready[2];
    char byte = 0;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        (void)!write(ready[1], "x", 1);
        (void)pause();
        _exit(0);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    assert_true(ckpt_process_look(child, &w->host, &look));
    assert_true(ckpt_process_alive(&look.key));

    struct ckpt_process_key other = look.key;
    other.start++;
    assert_false(ckpt_process_alive(&other)); /* the number was used again */
    other = look.key;
    other.boot[0] = other.boot[0] == '0' ? '1' : '0';
    assert_false(ckpt_process_alive(&other)); /* before the last boot */

    assert_int_equal(kill(child, SIGKILL), 0);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    assert_false(ckpt_process_alive(&look.key)); /* a zombie */
    assert_int_equal(waitpid(child, NULL, 0), child);
    assert_false(ckpt_process_alive(&look.key));
    assert_int_equal(close(ready[0]) + close(ready[1]), 0);
}

/* Starts a program that waits, in DIRECTORY; gives its process when it is the program. */
static pid_t start(const struct world *w, const char *directory, char *const arguments[], char *const environment[])
{
    struct ckpt_process *process = NULL;
    pid_t child = fork();
    if (child == 0) {
        if (chdir(directory) == 0) {
            (void)execve("/bin/sh", arguments, environment);
        }
        _exit(127);
    }
    for (int i = 0; i < 1000; i++) { /* until it has executed */
        const struct timespec moment = {.tv_nsec = 5 * 1000 * 1000};
        assert_ok(ckpt_process_read(child, &w->host, &process));
        bool there = process->command.size > 0 && strcmp(process->command.at, arguments[0]) == 0;
        ckpt_process_release(process);
        if (there) {
            return child;
        }
        (void)nanosleep(&moment, NULL);
    }
    fail_msg("the child did not start");
    return -1;
}

static void end(pid_t child)
{
    assert_int_equal(kill(child, SIGKILL), 0);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

static bool has(const struct ckpt_strings *strings, const char *wanted)
{
    for (size_t at = 0; at < strings->size; at += strlen(strings->at + at) + 1) {
        if (strcmp(strings->at + at, wanted) == 0) {
            return true;
        }
    }
    return false;
}

static void a_child_is_known_by_command_directory_environment_and_commit(void **state)
{
    const struct world *w = *state;
    struct ckpt_process *process = NULL;
    char directory[PATH_MAX];
    char *const arguments[] = {"a-shell", "-c", "read x; exit", "train.py", "--lr", "1e-4", "--api-key", "abc", NULL};
    char *const environment[] = {"RANK=3", "WORLD_SIZE=8", "HF_TOKEN=hf_x", "SLURM_JOB_ID=4711", "PATH=/bin",
                                 "SLURM_JOB_NAME=hf_abcdefghijklmnopqrst", "RANKS=1", NULL};
    put(w, "code/.git/HEAD", "ref: refs/heads/topic/lr\n");
    put(w, "code/.git/refs/heads/topic/lr", commit);
    put(w, "code/runs/a/", "");
    (void)snprintf(directory, sizeof directory, "%s/code/runs/a", w->dir);
    int hold[2];
    assert_int_equal(pipe(hold), 0);
    int saved = dup(0);
    assert_int_equal(dup2(hold[0], 0), 0);
    pid_t child = start(w, directory, arguments, environment);
    assert_int_equal(dup2(saved, 0), 0);
    assert_ok(ckpt_process_read(child, &w->host, &process));
    assert_string_equal(process->directory, directory);
    assert_true(has(&process->command, "train.py"));
    assert_true(has(&process->command, "1e-4"));
    assert_true(has(&process->command, "***"));
    assert_false(has(&process->command, "abc"));
    assert_true(has(&process->environment, "RANK=3"));
    assert_true(has(&process->environment, "WORLD_SIZE=8"));
    assert_true(has(&process->environment, "SLURM_JOB_ID=4711"));
    assert_true(has(&process->environment, "SLURM_JOB_NAME=***"));
    assert_false(has(&process->environment, "RANKS=1"));
    assert_false(has(&process->environment, "HF_TOKEN=***"));
    end(child);
    /* The process needn't be there any more for the rest. */
    ckpt_process_complete(process, &w->host);
    assert_string_equal(process->git.commit, commit);
    assert_string_equal(process->git.branch, "topic/lr");
    ckpt_process_release(process);
    assert_int_equal(close(hold[0]) + close(hold[1]) + close(saved), 0);
}

static void another_program_is_another_image(void **state)
{
    const struct world *w = *state;
    struct ckpt_process_look before;
    struct ckpt_process_look after;
    char *const arguments[] = {"a-shell", "-c", "read x; exit", NULL};
    char *const environment[] = {NULL};
    int hold[2];
    int go[2];
    assert_int_equal(pipe(hold) + pipe(go), 0);
    pid_t child = fork();
    if (child == 0) {
        char byte;
        (void)!read(go[0], &byte, 1);
        (void)dup2(hold[0], 0);
        (void)execve("/bin/sh", arguments, environment);
        _exit(127);
    }
    assert_true(ckpt_process_look(child, &w->host, &before));
    assert_int_equal(write(go[1], "x", 1), 1);
    for (int i = 0; i < 1000; i++) {
        const struct timespec moment = {.tv_nsec = 5 * 1000 * 1000};
        assert_true(ckpt_process_look(child, &w->host, &after));
        if (after.image != before.image) {
            break;
        }
        (void)nanosleep(&moment, NULL);
    }
    assert_true(ckpt_process_same(&before.key, &after.key));
    assert_int_not_equal(before.image, after.image);
    end(child);
    assert_int_equal(close(hold[0]) + close(hold[1]) + close(go[0]) + close(go[1]), 0);
}

/* ---- git ---- */

static struct ckpt_git git_of(const struct world *w, const char *directory)
{
    struct ckpt_git git;
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/%s", w->dir, directory);
    ckpt_git_read(path, &w->host, &git);
    return git;
}

static void assert_git(const struct world *w, const char *directory, const char *expected, const char *branch)
{
    struct ckpt_git git = git_of(w, directory);
    assert_string_equal(git.commit, expected);
    assert_string_equal(git.branch, branch);
}

static void commits_are_found_wherever_git_keeps_them(void **state)
{
    const struct world *w = *state;
    char text[PATH_MAX];
    put(w, "detached/.git/HEAD", sha256_commit);
    assert_git(w, "detached", sha256_commit, "");

    (void)snprintf(text, sizeof text,
                   "# pack-refs with: peeled fully-peeled sorted \n%s refs/heads/a\n%s refs/heads/main\n^%s\n",
                   other_commit, commit, other_commit);
    put(w, "packed/.git/HEAD", "ref: refs/heads/main\n");
    put(w, "packed/.git/packed-refs", text);
    assert_git(w, "packed", commit, "main");

    /* A file goes before what is packed; the nearest .git before those above it. */
    put(w, "packed/.git/refs/heads/main", other_commit);
    assert_git(w, "packed", other_commit, "main");
    put(w, "packed/sub/.git/HEAD", commit);
    put(w, "packed/sub/deep/", "");
    assert_git(w, "packed/sub/deep", commit, "");

    /* A work tree has a HEAD of its own; the branches are with all others. */
    (void)snprintf(text, sizeof text, "gitdir: %s/packed/.git/worktrees/w\n", w->dir);
    put(w, "tree/.git", text);
    put(w, "packed/.git/worktrees/w/HEAD", "ref: refs/heads/w\n");
    put(w, "packed/.git/worktrees/w/commondir", "../..\n");
    put(w, "packed/.git/refs/heads/w", commit);
    assert_git(w, "tree", commit, "w");

    /* A submodule says where relative to itself. */
    put(w, "packed/module/.git", "gitdir: ../.git/modules/m\n");
    put(w, "packed/.git/modules/m/HEAD", other_commit);
    assert_git(w, "packed/module", other_commit, "");
}

static void nothing_but_commits_comes_out(void **state)
{
    const struct world *w = *state;
    static const struct {
        const char *head;
        const char *target; /* of refs/heads/main */
    } cases[] = {
        {"", commit},
        {"0123456789abcdef\n", commit},
        {"0123456789abcdef0123456789abcdef0123456g\n", commit},
        {"0123456789abcdef0123456789abcdef012345678\n", commit},
        {"ref: ../../../../etc/passwd\n", commit},
        {"ref: refs/../refs/heads/main\n", commit},
        {"ref: /etc/passwd\n", commit},
        {"ref: refs/heads/\n", commit},
        {"ref: refs/heads/none\n", commit},
        {"ref: refs/heads/main\n", "a secret of somebody\n"},
        {"ref: refs/heads/main\n", "ref: refs/heads/main\n"}, /* a circle */
    };
    char path[PATH_MAX];
    char target[PATH_MAX];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        put(w, "r/.git/HEAD", cases[i].head);
        put(w, "r/.git/refs/heads/main", cases[i].target);
        struct ckpt_git git = git_of(w, "r");
        assert_string_equal(git.commit, "");
    }
    /* Symbolic links are not followed, and what isn't a file isn't opened: a FIFO would wait. */
    put(w, "commit", commit);
    (void)snprintf(target, sizeof target, "%s/commit", w->dir);
    (void)snprintf(path, sizeof path, "%s/r/.git/HEAD", w->dir);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink(target, path), 0);
    assert_git(w, "r", "", "");
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_git(w, "r", "", "");
    assert_git(w, "nowhere", "", "");
}

static void below_the_mount_point_the_live_directory_is_read(void **state)
{
    struct world *w = *state;
    char mountpoint[PATH_MAX];
    char live[PATH_MAX];
    put(w, "mnt/run/.git/HEAD", other_commit);
    put(w, "mnt/.git/HEAD", other_commit);
    put(w, "live/run/.git/HEAD", commit);
    put(w, "live/plain/", "");
    put(w, "mnt-too/.git/HEAD", other_commit);
    put(w, ".git/HEAD", sha256_commit);
    (void)snprintf(mountpoint, sizeof mountpoint, "%s/mnt", w->dir);
    (void)snprintf(live, sizeof live, "%s/live", w->dir);
    w->host.mountpoint = mountpoint;
    w->host.livefd = open(live, O_RDONLY | O_DIRECTORY);
    assert_git(w, "mnt/run", commit, "");
    assert_git(w, "mnt/plain", sha256_commit, ""); /* of the directory that holds the mount point */
    assert_git(w, "mnt-too", other_commit, "");
    assert_int_equal(close(w->host.livefd), 0);
    w->host.mountpoint = NULL;
}

/* ---- JSON ---- */

static json_t *json_of(const struct ckpt_process *process)
{
    char *text = NULL;
    assert_ok(ckpt_process_json(process, &text));
    assert_true(strlen(text) < CKPT_PROCESS_JSON);
    json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL); /* refuses bad UTF-8 */
    assert_non_null(json);
    free(text);
    return json;
}

static const char *text_of(const json_t *json, const char *key)
{
    return json_string_value(json_object_get(json, key));
}

static void a_process_is_one_json_document(void **state)
{
    (void)state;
    char command[] = "python\0train.py\0--name\0b\xffz \xc3\xa9 \xed\xa0\x80";
    char environment[] = "RANK=0\0SLURM_JOB_NAME=a=b";
    char directory[] = "/home/x\xc3";
    struct ckpt_process process = {
        .look = {.key = {.group = 17, .start = 99, .boot = "b"}, .uid = 1000},
        .started_ns = INT64_C(1700000000250000000),
        .command = {.at = command, .size = sizeof command},
        .environment = {.at = environment, .size = sizeof environment},
        .directory = directory,
        .user = "x",
        .git = {.branch = "main"},
    };
    memcpy(process.git.commit, commit, sizeof commit);
    json_t *json = json_of(&process);
    const json_t *words = json_object_get(json, "command");
    assert_int_equal(json_integer_value(json_object_get(json, "pid")), 17);
    assert_int_equal(json_integer_value(json_object_get(json, "start")), 99);
    assert_true(json_real_value(json_object_get(json, "started")) == 1700000000.25);
    assert_int_equal(json_array_size(words), 4);
    assert_string_equal(json_string_value(json_array_get(words, 1)), "train.py");
    assert_string_equal(json_string_value(json_array_get(words, 3)),
                        "b\xef\xbf\xbdz \xc3\xa9 \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    assert_string_equal(text_of(json, "directory"), "/home/x\xef\xbf\xbd");
    assert_string_equal(text_of(json_object_get(json, "environment"), "SLURM_JOB_NAME"), "a=b");
    assert_string_equal(text_of(json_object_get(json, "git"), "commit"), commit);
    assert_null(json_object_get(json, "host"));
    assert_null(json_object_get(json, "cut"));
    json_decref(json);
}

static void a_document_is_never_too_long(void **state)
{
    (void)state;
    /* What takes most room: six bytes for one. */
    static char command[CKPT_PROCESS_COMMAND];
    static char directory[PATH_MAX];
    static char environment[4096];
    memset(command, '\1', sizeof command - 1);
    memset(directory, '\2', sizeof directory - 1);
    memset(environment, '\3', sizeof environment - 1);
    memcpy(environment, "RANK=", 5);
    struct ckpt_process process = {
        .command = {.at = command, .size = sizeof command},
        .environment = {.at = environment, .size = sizeof environment},
        .directory = directory,
    };
    json_t *json = json_of(&process);
    assert_true(json_is_true(json_object_get(json, "cut")));
    assert_true(strlen(text_of(json, "directory")) > 64);
    json_decref(json);
    /* And many short ones. */
    memset(command, '\0', sizeof command);
    process.directory = NULL;
    process.environment.size = 0;
    json = json_of(&process);
    assert_true(json_array_size(json_object_get(json, "command")) > 1000);
    assert_true(json_is_true(json_object_get(json, "cut")));
    json_decref(json);
}

static void a_document_says_which_process_it_is(void **state)
{
    const struct world *w = *state;
    static const char *const useless[] = {
        "", "{}", "[]", "17", "{\"pid\": 17",
        "{\"pid\": 17, \"start\": 99}",
        "{\"pid\": \"17\", \"start\": 99, \"boot\": \"0123456789abcdef0123456789abcdef0123\"}",
        "{\"pid\": 0, \"start\": 99, \"boot\": \"0123456789abcdef0123456789abcdef0123\"}",
        "{\"pid\": -1, \"start\": 99, \"boot\": \"0123456789abcdef0123456789abcdef0123\"}",
        "{\"pid\": 4294967297, \"start\": 99, \"boot\": \"0123456789abcdef0123456789abcdef0123\"}",
        "{\"pid\": 17, \"start\": -1, \"boot\": \"0123456789abcdef0123456789abcdef0123\"}",
        "{\"pid\": 17, \"start\": 99, \"boot\": \"0123456789abcdef0123456789abcdef01234\"}",
    };
    struct ckpt_process *process = NULL;
    struct ckpt_process_key key = {.group = -7};
    char *text = NULL;
    assert_ok(ckpt_process_read(getpid(), &w->host, &process));
    assert_ok(ckpt_process_json(process, &text));
    for (size_t i = 0; i < sizeof useless / sizeof useless[0]; i++) {
        assert_false(ckpt_process_key_from_json(useless[i], &key));
        assert_int_equal(key.group, -7);
    }
    assert_true(ckpt_process_key_from_json(text, &key));
    assert_true(ckpt_process_same(&key, &process->look.key));
    assert_true(ckpt_process_alive(&key));
    free(text);
    ckpt_process_release(process);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(this_process_is_read, setup, teardown),
        cmocka_unit_test_setup_teardown(a_thread_is_its_process, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_process_is_not_read, setup, teardown),
        cmocka_unit_test_setup_teardown(a_key_tells_who_is_alive, setup, teardown),
        cmocka_unit_test_setup_teardown(a_child_is_known_by_command_directory_environment_and_commit, setup, teardown),
        cmocka_unit_test_setup_teardown(another_program_is_another_image, setup, teardown),
        cmocka_unit_test_setup_teardown(commits_are_found_wherever_git_keeps_them, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_but_commits_comes_out, setup, teardown),
        cmocka_unit_test_setup_teardown(below_the_mount_point_the_live_directory_is_read, setup, teardown),
        cmocka_unit_test(a_process_is_one_json_document),
        cmocka_unit_test(a_document_is_never_too_long),
        cmocka_unit_test_setup_teardown(a_document_says_which_process_it_is, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
