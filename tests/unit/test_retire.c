/*
 * Rotation on live files, without a mount: names of versions are taken away and given back, and nothing else is
 * touched.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <unistd.h>
#include <cmocka.h>
#include "object/internal.h"
#include "retain/retire.h"
#include <ckpt/verify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <utlist.h>

enum { SIZE = 300 << 10, NAMES = 8, TOLD = 4096 };

struct world {
    char dir[64];
    char store_dir[80];
    struct ckpt_store *store;
    struct ckpt_filter *filter;
    struct ckpt_engine *engine;
    int live;
    uint8_t bytes[4][SIZE];    /* contents A, B, C, D */
    atomic_ullong writing_ino; /* open for writing */
    atomic_ullong reading_ino; /* open for reading */
    int claims;                /* not given back yet */
    char told[TOLD];           /* what the hooks were told: "-name" removed, "+name" appeared, "!" last name */
};

enum { A, B, C, D };

/* ---- a filesystem that has files open ---- */

static bool writing(void *arg, dev_t dev, ino_t ino)
{
    struct world *w = arg;
    (void)dev;
    return ino == w->writing_ino;
}

static bool claim(void *arg, dev_t dev, ino_t ino, bool readers)
{
    struct world *w = arg;
    (void)dev;
    if (ino == w->writing_ino || (!readers && ino == w->reading_ino)) {
        return false;
    }
    w->claims++;
    return true;
}

static void disclaim(void *arg)
{
    struct world *w = arg;
    w->claims = 0;
}

static void say(struct world *w, char sign, const char *name)
{
    size_t n = strlen(w->told);
    snprintf(w->told + n, TOLD - n, "%c%s ", sign, name);
}

static void unlinked(void *arg, dev_t dev, ino_t ino)
{
    struct world *w = arg;
    (void)dev;
    (void)ino;
    assert_true(w->claims > 0);
    say(w, '!', "");
}

static void told(struct world *w, char sign, const char *name)
{
    /* Whoever tells the kernel may need the names. */
    assert_int_equal(pthread_rwlock_trywrlock(&w->engine->names), 0);
    pthread_rwlock_unlock(&w->engine->names);
    assert_int_equal(w->claims, 0);
    say(w, sign, name);
}

static void removed(void *arg, dev_t dir_dev, ino_t dir_ino, const char *name, dev_t dev, ino_t ino)
{
    assert_true(dir_dev != 0 && dir_ino != 0 && dev != 0 && ino != 0);
    told(arg, '-', name);
}

static void appeared(void *arg, dev_t dir_dev, ino_t dir_ino, const char *name)
{
    assert_true(dir_dev != 0 && dir_ino != 0);
    told(arg, '+', name);
}

/* ---- the world ---- */

static void start(struct world *w)
{
    struct ckpt_report none = {0};
    assert_int_equal(ckpt_store_open(w->store_dir, CKPT_WRITE, "a test", &none, &w->store), CKPT_OK);
    struct ckpt_engine_config config = {.threads = 2,
                                        .hot_limit = UINT64_MAX,
                                        .filter = w->filter,
                                        .hooks = {.writing = writing,
                                                  .claim = claim,
                                                  .disclaim = disclaim,
                                                  .unlinked = unlinked,
                                                  .removed = removed,
                                                  .appeared = appeared},
                                        .hooks_arg = w};
    assert_int_equal(ckpt_engine_start(w->store, &config, &w->engine), CKPT_OK);
    w->live = ckpt_store_livefd(w->store);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    struct ckpt_report none = {0};
    const char *bad = NULL;
    assert_non_null(w);
    strcpy(w->dir, "/var/tmp/ckpt-retire-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    snprintf(w->store_dir, sizeof w->store_dir, "%s/store", w->dir);
    assert_int_equal(ckpt_store_create(w->store_dir, &none), CKPT_OK);
    assert_int_equal(ckpt_filter_parse("default", &w->filter, &bad), CKPT_OK);
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; i < sizeof w->bytes; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        ((uint8_t *)w->bytes)[i] = (uint8_t)x;
    }
    start(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    char command[128];
    ckpt_engine_stop(w->engine, true);
    ckpt_store_close(w->store);
    ckpt_filter_free(w->filter);
    snprintf(command, sizeof command, "rm -rf '%s'", w->dir);
    assert_int_equal(system(command), 0);
    free(w);
    return 0;
}

static void flush(struct world *w)
{
    unsigned still_open = 0;
    assert_int_equal(ckpt_engine_flush(w->engine, &still_open), CKPT_OK);
    assert_int_equal(still_open, 0);
}

static void write_file(struct world *w, const char *path, int content)
{
    int fd = openat(w->live, path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, w->bytes[content], SIZE), SIZE);
    close(fd);
}

static void capture(struct world *w, const char *path)
{
    int fd = openat(w->live, path, O_PATH);
    assert_int_equal(ckpt_engine_capture(w->engine, fd), CKPT_OK);
    close(fd);
}

/* A new file at PATH becomes a version, with a stamp. */
static void save(struct world *w, const char *path, int content)
{
    (void)unlinkat(w->live, path, 0);
    write_file(w, path, content);
    usleep(30000); /* younger ones get no stamp */
    capture(w, path);
    flush(w);
}

static bool is_there(struct world *w, const char *path)
{
    return faccessat(w->live, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static ino_t inode_of(struct world *w, const char *path)
{
    struct stat st;
    assert_int_equal(fstatat(w->live, path, &st, AT_SYMLINK_NOFOLLOW), 0);
    return st.st_ino;
}

static bool is_cold(struct world *w, const char *path)
{
    struct ckpt_stub stub;
    bool cold = false;
    int fd = openat(w->live, path, O_PATH);
    assert_int_equal(ckpt_live_stub(fd, &stub, &cold), CKPT_OK);
    close(fd);
    return cold;
}

/* Makes it hot, and compares its bytes. */
static void assert_bytes(struct world *w, const char *path, int content)
{
    static uint8_t back[SIZE];
    int fd = openat(w->live, path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(ckpt_engine_promote(w->engine, fd, true), CKPT_OK);
    assert_int_equal(pread(fd, back, SIZE, 0), SIZE);
    assert_memory_equal(back, w->bytes[content], SIZE);
    close(fd);
}

static struct ckpt_live_name version_of(struct world *w, const char *path, uint32_t number)
{
    struct ckpt_live_name name = {.number = number};
    assert_int_equal(ckpt_catalog_resolve(w->store, path, &name.dir, name.name), CKPT_OK);
    return name;
}

static bool is_version(struct world *w, const char *path, uint32_t number)
{
    struct ckpt_live_name name = version_of(w, path, number);
    return ckpt_live_is_version(w->engine, name.dir, name.name, number);
}

static uint32_t newest(struct world *w, const char *path)
{
    struct ckpt_live_name name = version_of(w, path, 0);
    struct ckpt_version version;
    assert_int_equal(ckpt_catalog_version(w->store, name.dir, name.name, 0, &version), CKPT_OK);
    return version.number;
}

static void assert_clean(struct world *w, uint64_t versions)
{
    struct ckpt_verify_result result;
    flush(w);
    assert_int_equal(ckpt_verify(w->store, false, NULL, NULL, &result), CKPT_OK);
    assert_int_equal(result.problems, 0);
    assert_int_equal(result.versions, versions);
}

/* ---- what the engine's thread is asked to do ---- */

struct call {
    struct ckpt_command command; /* first */
    const struct ckpt_live_name *names;
    size_t n;
    bool ask_open;
    uint64_t root_dir;
    bool free;
    size_t removed;
    uint64_t bytes;
};

static enum ckpt_err run_check(struct ckpt_engine *engine, struct ckpt_command *command)
{
    struct call *call = (struct call *)command;
    return ckpt_retire_check(engine, call->names, call->n, call->ask_open, &call->free);
}

static enum ckpt_err run_retire(struct ckpt_engine *engine, struct ckpt_command *command)
{
    struct call *call = (struct call *)command;
    return ckpt_retire(engine, call->names, call->n, call->ask_open, call->root_dir, &call->removed,
                       &call->bytes);
}

static enum ckpt_err run_revive(struct ckpt_engine *engine, struct ckpt_command *command)
{
    struct call *call = (struct call *)command;
    return ckpt_revive(engine, call->names, call->n);
}

static bool is_free(struct world *w, const struct ckpt_live_name *names, size_t n, bool ask_open)
{
    struct call call = {.command.run = run_check, .names = names, .n = n, .ask_open = ask_open};
    assert_int_equal(ckpt_command_submit(w->engine, &call.command), CKPT_OK);
    assert_int_equal(w->claims, 0);
    return call.free;
}

/* Returns how many names have gone. */
static size_t retire_open(struct world *w, const struct ckpt_live_name *names, size_t n, bool ask_open,
                          uint64_t root_dir, enum ckpt_err expected)
{
    struct call call = {
        .command.run = run_retire, .names = names, .n = n, .ask_open = ask_open, .root_dir = root_dir};
    assert_int_equal(is_free(w, names, n, ask_open), expected == CKPT_OK);
    w->told[0] = '\0';
    assert_int_equal(ckpt_command_submit(w->engine, &call.command), expected);
    assert_int_equal(w->claims, 0);
    return call.removed;
}

static size_t retire(struct world *w, const struct ckpt_live_name *names, size_t n, enum ckpt_err expected)
{
    return retire_open(w, names, n, false, CKPT_DIR_ROOT, expected);
}

static void revive(struct world *w, const struct ckpt_live_name *names, size_t n, enum ckpt_err expected)
{
    struct call call = {.command.run = run_revive, .names = names, .n = n};
    w->told[0] = '\0';
    assert_int_equal(ckpt_command_submit(w->engine, &call.command), expected);
}

/* ---- taking away ---- */

static void names_go_and_versions_stay(void **state)
{
    struct world *w = *state;
    save(w, "a.pt", A);
    save(w, "b.pt", B);
    save(w, "other.pt", C);
    struct ckpt_live_name names[] = {version_of(w, "a.pt", 1), version_of(w, "b.pt", 1)};
    assert_true(is_version(w, "a.pt", 1));
    struct call call = {.command.run = run_retire, .names = names, .n = 2};
    assert_int_equal(ckpt_command_submit(w->engine, &call.command), CKPT_OK);
    assert_int_equal(call.removed, 2);
    assert_true(call.bytes >= (uint64_t)2 * SIZE);
    assert_string_equal(w->told, "! ! -a.pt -b.pt ");
    assert_false(is_there(w, "a.pt") || is_there(w, "b.pt"));
    assert_true(is_there(w, "other.pt"));
    assert_false(is_version(w, "a.pt", 1));
    assert_clean(w, 3);
    /* Once more there is nothing to do. */
    assert_int_equal(retire(w, names, 2, CKPT_OK), 0);
    assert_string_equal(w->told, "");
}

static void all_go_or_none(void **state)
{
    struct world *w = *state;
    const char *const paths[] = {"a.pt", "b.pt", "c.pt"};
    struct ckpt_live_name names[3];
    for (int i = 0; i < 3; i++) {
        save(w, paths[i], i);
        names[i] = version_of(w, paths[i], 1);
    }
    for (int busy = 0; busy < 3; busy++) {
        w->writing_ino = inode_of(w, paths[busy]);
        assert_int_equal(retire(w, names, 3, CKPT_ERR_BUSY), 0);
        assert_string_equal(w->told, "");
        for (int i = 0; i < 3; i++) {
            assert_true(is_there(w, paths[i]));
        }
    }
    w->writing_ino = 0;
    assert_int_equal(retire(w, names, 3, CKPT_OK), 3);
    assert_clean(w, 3);
}

static void readers_hinder_when_asked(void **state)
{
    struct world *w = *state;
    static uint8_t back[SIZE];
    save(w, "a.pt", A);
    struct ckpt_live_name name = version_of(w, "a.pt", 1);
    int fd = openat(w->live, "a.pt", O_RDONLY);
    w->reading_ino = inode_of(w, "a.pt");
    assert_int_equal(retire_open(w, &name, 1, true, CKPT_DIR_ROOT, CKPT_ERR_BUSY), 0);
    assert_int_equal(retire_open(w, &name, 1, false, CKPT_DIR_ROOT, CKPT_OK), 1);
    assert_int_equal(pread(fd, back, SIZE, 0), SIZE);
    assert_memory_equal(back, w->bytes[A], SIZE);
    close(fd);
    assert_clean(w, 1);
}

static void a_writable_mapping_hinders(void **state)
{
    struct world *w = *state;
    save(w, "a.pt", A);
    struct ckpt_live_name name = version_of(w, "a.pt", 1);
    int fd = openat(w->live, "a.pt", O_RDWR);
    uint8_t *map = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(map, MAP_FAILED);
    close(fd);
    assert_int_equal(retire(w, &name, 1, CKPT_ERR_BUSY), 0);
    assert_true(is_there(w, "a.pt"));
    munmap(map, SIZE);
    assert_int_equal(retire(w, &name, 1, CKPT_OK), 1);
}

/* Its bytes are the version's, but what was closed under the name before isn't recorded yet. */
static void what_waits_hinders(void **state)
{
    struct world *w = *state;
    save(w, "a.pt", A);
    struct ckpt_live_name name = version_of(w, "a.pt", 1);
    assert_int_equal(renameat(w->live, "a.pt", w->live, "kept"), 0);
    write_file(w, "a.pt", B);
    w->writing_ino = inode_of(w, "a.pt"); /* so it can't be recorded */
    capture(w, "a.pt");
    assert_int_equal(unlinkat(w->live, "a.pt", 0), 0);
    assert_int_equal(renameat(w->live, "kept", w->live, "a.pt"), 0);
    assert_int_equal(retire(w, &name, 1, CKPT_ERR_BUSY), 0);
    w->writing_ino = 0;
    flush(w);
    assert_int_equal(newest(w, "a.pt"), 2);
    /* Its stamp is lost by the rename, so it is read. */
    assert_int_equal(retire(w, &name, 1, CKPT_OK), 1);
    assert_false(is_there(w, "a.pt"));
}

static void what_is_something_else_stays(void **state)
{
    struct world *w = *state;
    save(w, "later.pt", A);
    save(w, "later.pt", B);
    save(w, "back.pt", A);
    save(w, "back.pt", B);
    save(w, "back.pt", A);
    save(w, "edited.pt", A);
    write_file(w, "edited.pt", B); /* of the same size, and nobody has closed it */
    save(w, "dir.pt", A);
    assert_int_equal(unlinkat(w->live, "dir.pt", 0), 0);
    assert_int_equal(mkdirat(w->live, "dir.pt", 0755), 0);
    save(w, "link.pt", A);
    assert_int_equal(unlinkat(w->live, "link.pt", 0), 0);
    assert_int_equal(symlinkat("back.pt", w->live, "link.pt"), 0);
    struct ckpt_live_name names[] = {version_of(w, "later.pt", 1),  version_of(w, "back.pt", 1),
                                     version_of(w, "edited.pt", 1), version_of(w, "dir.pt", 1),
                                     version_of(w, "link.pt", 1),   version_of(w, "back.pt", 7)};
    assert_int_equal(retire(w, names, sizeof names / sizeof *names, CKPT_OK), 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_true(is_there(w, names[i].name));
        assert_false(is_version(w, names[i].name, names[i].number));
    }
    assert_true(is_version(w, "later.pt", 2));
    assert_true(is_version(w, "back.pt", 3)); /* of those with these bytes the newest */
}

/* chmod, or a stamp that could not be trusted: only the bytes tell. */
static void a_file_without_a_good_stamp_is_read(void **state)
{
    struct world *w = *state;
    save(w, "a.pt", A);
    struct ckpt_live_name name = version_of(w, "a.pt", 1);
    assert_int_equal(fchmodat(w->live, "a.pt", 0600, 0), 0);
    assert_false(is_version(w, "a.pt", 1));
    assert_true(is_free(w, &name, 1, false));
    for (int i = 0; i < 1000 && !is_version(w, "a.pt", 1); i++) {
        usleep(10000); /* it has its stamp again, as soon as that is saved */
    }
    assert_true(is_version(w, "a.pt", 1));
    assert_int_equal(fchmodat(w->live, "a.pt", 0640, 0), 0);
    assert_int_equal(retire(w, &name, 1, CKPT_OK), 1);
    assert_false(is_there(w, "a.pt"));
}

static void of_hard_links_only_the_name_goes(void **state)
{
    struct world *w = *state;
    save(w, "a.pt", A);
    assert_int_equal(linkat(w->live, "a.pt", w->live, "best.pt", 0), 0);
    capture(w, "best.pt");
    flush(w);
    struct ckpt_live_name names[] = {version_of(w, "a.pt", 1), version_of(w, "best.pt", 1)};
    assert_int_equal(retire(w, names, 1, CKPT_OK), 1);
    assert_string_equal(w->told, "-a.pt ");
    assert_false(is_there(w, "a.pt"));
    assert_bytes(w, "best.pt", A);
    /* Both at once. */
    revive(w, names, 1, CKPT_OK);
    assert_int_equal(unlinkat(w->live, "a.pt", 0), 0);
    assert_int_equal(linkat(w->live, "best.pt", w->live, "a.pt", 0), 0);
    assert_int_equal(retire(w, names, 2, CKPT_OK), 2);
    assert_string_equal(w->told, "! -a.pt -best.pt ");
    assert_clean(w, 2);
}

static void stubs_go_like_files(void **state)
{
    struct world *w = *state;
    save(w, "a.pt", A);
    save(w, "b.pt", A);
    save(w, "b.pt", B);
    assert_int_equal(ckpt_engine_demote(w->engine, "a.pt"), CKPT_OK);
    assert_int_equal(ckpt_engine_demote(w->engine, "b.pt"), CKPT_OK);
    assert_true(is_version(w, "a.pt", 1));
    struct ckpt_live_name names[] = {version_of(w, "a.pt", 1), version_of(w, "b.pt", 1)};
    assert_int_equal(retire(w, names, 2, CKPT_OK), 1);
    assert_false(is_there(w, "a.pt"));
    assert_true(is_there(w, "b.pt")); /* is version 2 */
    uint32_t number = 1;
    assert_int_equal(ckpt_engine_forget(w->engine, "a.pt", &number, 1), CKPT_OK);
    assert_clean(w, 2);
}

static void save_tree(struct world *w)
{
    assert_int_equal(mkdirat(w->live, "run", 0755), 0);
    assert_int_equal(mkdirat(w->live, "run/ck-1", 0755), 0);
    assert_int_equal(mkdirat(w->live, "run/ck-1/deep", 0755), 0);
    assert_int_equal(mkdirat(w->live, "run/ck-1/deep/er", 0755), 0);
    save(w, "run/ck-1/model.pt", A);
    save(w, "run/ck-1/deep/er/optimizer.pt", B);
}

enum { TREE = 2 };

static uint64_t tree_names(struct world *w, struct ckpt_live_name names[TREE])
{
    uint64_t root = 0;
    char name[NAME_MAX + 1];
    names[0] = version_of(w, "run/ck-1/model.pt", 1);
    names[1] = version_of(w, "run/ck-1/deep/er/optimizer.pt", 1);
    assert_int_equal(ckpt_catalog_resolve(w->store, "run/ck-1/x", &root, name), CKPT_OK);
    return root;
}

static void emptied_directories_go_too(void **state)
{
    struct world *w = *state;
    struct ckpt_live_name names[TREE];
    save_tree(w);
    uint64_t root = tree_names(w, names);
    assert_int_equal(retire_open(w, names, TREE, false, root, CKPT_OK), TREE);
    assert_string_equal(w->told, "! ! -model.pt -optimizer.pt -er -deep -ck-1 ");
    assert_false(is_there(w, "run/ck-1"));
    assert_true(is_there(w, "run"));
    /* The history keeps its path, and goes on in a directory that is made anew. */
    assert_int_equal(newest(w, "run/ck-1/deep/er/optimizer.pt"), 1);
    assert_int_equal(mkdirat(w->live, "run/ck-1", 0755), 0);
    save(w, "run/ck-1/model.pt", C);
    assert_int_equal(newest(w, "run/ck-1/model.pt"), 2);
    assert_int_equal(retire_open(w, names, TREE, false, root, CKPT_OK), 0);
    assert_true(is_there(w, "run/ck-1/model.pt"));
    assert_clean(w, 3);
}

static void directories_with_something_else_stay(void **state)
{
    struct world *w = *state;
    struct ckpt_live_name names[TREE];
    save_tree(w);
    uint64_t root = tree_names(w, names);
    write_file(w, "run/ck-1/notes.txt", C);
    assert_int_equal(retire_open(w, names, TREE, false, root, CKPT_OK), TREE);
    assert_true(is_there(w, "run/ck-1/notes.txt"));
    assert_false(is_there(w, "run/ck-1/deep"));
    assert_clean(w, 2);
}

/* Somebody is about to save into it. */
static void an_empty_directory_that_nothing_left_stays(void **state)
{
    struct world *w = *state;
    struct ckpt_live_name names[TREE];
    save_tree(w);
    uint64_t root = tree_names(w, names);
    assert_int_equal(unlinkat(w->live, "run/ck-1/deep/er/optimizer.pt", 0), 0);
    assert_int_equal(retire_open(w, names, TREE, false, root, CKPT_OK), 1);
    assert_true(is_there(w, "run/ck-1/deep/er"));
}

static void more_names_than_go_at_once(void **state)
{
    struct world *w = *state;
    enum { MANY = CKPT_RETIRE_GROUP + 50 };
    struct ckpt_live_name *names = calloc(MANY, sizeof *names);
    char path[32];
    assert_non_null(names);
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(path, sizeof path, "%04u.pt", i);
        int fd = openat(w->live, path, O_WRONLY | O_CREAT | O_EXCL, 0644);
        assert_int_equal(write(fd, path, strlen(path)), strlen(path));
        close(fd);
        capture(w, path);
    }
    flush(w);
    for (unsigned i = 0; i < MANY; i++) {
        snprintf(path, sizeof path, "%04u.pt", i);
        names[i] = version_of(w, path, 1);
    }
    w->writing_ino = inode_of(w, names[MANY - 1].name);
    struct call call = {.command.run = run_retire, .names = names, .n = MANY};
    assert_int_equal(ckpt_command_submit(w->engine, &call.command), CKPT_ERR_BUSY);
    assert_int_equal(call.removed, 0);
    w->writing_ino = 0;
    call.command.done = false;
    assert_int_equal(ckpt_command_submit(w->engine, &call.command), CKPT_OK);
    assert_int_equal(call.removed, MANY);
    assert_false(is_there(w, "0000.pt") || is_there(w, names[MANY - 1].name));
    free(names);
}

/* ---- giving back ---- */

static void names_come_back_as_stubs(void **state)
{
    struct world *w = *state;
    struct ckpt_live_name names[TREE];
    struct stat before;
    struct stat after;
    const struct timespec old[2] = {{.tv_sec = 1000000000, .tv_nsec = 7}, {.tv_sec = 1000000000, .tv_nsec = 7}};
    save_tree(w);
    assert_int_equal(fchmodat(w->live, "run/ck-1/model.pt", 0640, 0), 0);
    assert_int_equal(utimensat(w->live, "run/ck-1/model.pt", old, 0), 0);
    write_file(w, "run/ck-1/tmp", C);
    assert_int_equal(renameat(w->live, "run/ck-1/model.pt", w->live, "run/ck-1/x.pt"), 0);
    capture(w, "run/ck-1/x.pt");
    flush(w);
    assert_int_equal(unlinkat(w->live, "run/ck-1/tmp", 0), 0);
    assert_int_equal(fstatat(w->live, "run/ck-1/x.pt", &before, 0), 0);
    uint64_t root = tree_names(w, names);
    names[0] = version_of(w, "run/ck-1/x.pt", 1);
    assert_int_equal(retire_open(w, names, TREE, false, root, CKPT_OK), TREE);
    assert_false(is_there(w, "run/ck-1"));

    revive(w, names, TREE, CKPT_OK);
    assert_string_equal(w->told, "+x.pt +optimizer.pt +er +deep +ck-1 ");
    assert_int_equal(fstatat(w->live, "run/ck-1/x.pt", &after, 0), 0);
    assert_int_equal(after.st_size, SIZE);
    assert_int_equal(after.st_mode, before.st_mode);
    assert_int_equal(after.st_uid, before.st_uid);
    assert_int_equal(after.st_mtim.tv_sec, 1000000000);
    assert_int_equal(after.st_mtim.tv_nsec, 7);
    assert_true(is_cold(w, "run/ck-1/x.pt") && is_version(w, "run/ck-1/x.pt", 1));
    assert_true(is_version(w, "run/ck-1/deep/er/optimizer.pt", 1));
    assert_clean(w, 3);
    assert_bytes(w, "run/ck-1/deep/er/optimizer.pt", B);
    /* Nothing is left to do. */
    revive(w, names, TREE, CKPT_OK);
    assert_string_equal(w->told, "");
    assert_bytes(w, "run/ck-1/x.pt", A);
    assert_int_equal(retire_open(w, names, TREE, false, root, CKPT_OK), TREE);
    assert_clean(w, 3);
}

static void a_taken_name_stops_a_revival(void **state)
{
    struct world *w = *state;
    struct ckpt_live_name names[TREE];
    save_tree(w);
    uint64_t root = tree_names(w, names);
    assert_int_equal(retire_open(w, names, TREE, false, root, CKPT_OK), TREE);

    /* By another file; a directory on the way by a file; the name by a directory. */
    static const struct {
        const char *make_dir;
        const char *make_file;
    } cases[] = {{"run/ck-1", "run/ck-1/model.pt"}, {"run/ck-1", "run/ck-1/deep"}, {"run/ck-1/model.pt", NULL},
                 {NULL, "run/ck-1"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        if (i == 2) {
            assert_int_equal(mkdirat(w->live, "run/ck-1", 0755), 0);
        }
        if (cases[i].make_dir != NULL) {
            assert_int_equal(mkdirat(w->live, cases[i].make_dir, 0755), 0);
        }
        if (cases[i].make_file != NULL) {
            write_file(w, cases[i].make_file, D);
        }
        revive(w, names, TREE, CKPT_ERR_EXISTS);
        assert_string_equal(w->told, "");
        /* Only what was there before can be removed, and all of it. */
        if (cases[i].make_file != NULL) {
            assert_int_equal(unlinkat(w->live, cases[i].make_file, 0), 0);
        }
        if (cases[i].make_dir != NULL) {
            assert_int_equal(unlinkat(w->live, cases[i].make_dir, AT_REMOVEDIR), 0);
        }
        if (i == 2) {
            assert_int_equal(unlinkat(w->live, "run/ck-1", AT_REMOVEDIR), 0);
        }
    }
    names[1].number = 9;
    revive(w, names, TREE, CKPT_ERR_NOT_FOUND);
    assert_false(is_there(w, "run/ck-1"));
    assert_int_equal(unlinkat(w->live, "run", AT_REMOVEDIR), 0);
    assert_clean(w, 2);
}

/* What is live again isn't the newest version, and must not be taken for it once it is hot. */
static void an_older_version_comes_back(void **state)
{
    struct world *w = *state;
    save(w, "a.pt", A);
    save(w, "a.pt", B);
    assert_int_equal(unlinkat(w->live, "a.pt", 0), 0);
    struct ckpt_live_name name = version_of(w, "a.pt", 1);
    revive(w, &name, 1, CKPT_OK);
    assert_true(is_version(w, "a.pt", 1));
    assert_false(is_version(w, "a.pt", 2));
    uint32_t number = 1;
    assert_int_equal(ckpt_engine_forget(w->engine, "a.pt", &number, 1), CKPT_ERR_NEEDED);
    assert_bytes(w, "a.pt", A);
    assert_false(is_version(w, "a.pt", 2));
    struct ckpt_live_name newer = version_of(w, "a.pt", 2);
    assert_int_equal(retire(w, &newer, 1, CKPT_OK), 0);
    assert_int_equal(retire(w, &name, 1, CKPT_OK), 1);
    assert_clean(w, 2);
}

static void an_empty_file_comes_back(void **state)
{
    struct world *w = *state;
    struct stat st;
    int fd = openat(w->live, "empty.pt", O_WRONLY | O_CREAT, 0644);
    close(fd);
    capture(w, "empty.pt");
    flush(w);
    struct ckpt_live_name name = version_of(w, "empty.pt", 1);
    assert_int_equal(retire(w, &name, 1, CKPT_OK), 1);
    revive(w, &name, 1, CKPT_OK);
    assert_int_equal(fstatat(w->live, "empty.pt", &st, 0), 0);
    assert_int_equal(st.st_size, 0);
    assert_true(is_version(w, "empty.pt", 1));
    fd = openat(w->live, "empty.pt", O_RDWR);
    assert_int_equal(ckpt_engine_promote(w->engine, fd, true), CKPT_OK);
    close(fd);
    assert_false(is_cold(w, "empty.pt"));
    assert_clean(w, 1);
}

static void stubs_given_back_survive_a_restart(void **state)
{
    struct world *w = *state;
    struct ckpt_live_name names[TREE];
    save_tree(w);
    uint64_t root = tree_names(w, names);
    assert_int_equal(retire_open(w, names, TREE, false, root, CKPT_OK), TREE);
    revive(w, names, TREE, CKPT_OK);
    ckpt_engine_stop(w->engine, true);
    ckpt_store_close(w->store);
    start(w);
    assert_true(is_version(w, "run/ck-1/model.pt", 1));
    assert_int_equal(newest(w, "run/ck-1/model.pt"), 1);
    assert_clean(w, TREE);
}

/* ---- names that users take away ---- */

static enum ckpt_err run_gone(struct ckpt_engine *engine, struct ckpt_command *command)
{
    struct call *call = (struct call *)command;
    struct ckpt_gone *list = NULL;
    const struct ckpt_gone *gone = NULL;
    bool overflow = true;
    char name[32];
    int live = ckpt_store_livefd(engine->store);
    int plain = openat(live, "plain", O_PATH | O_DIRECTORY);
    ckpt_gone_take(engine, &list, &overflow); /* what was there before */
    ckpt_gone_free(list);
    for (size_t i = 0; i < call->n; i++) {
        snprintf(name, sizeof name, "%zu.pt", i);
        ckpt_engine_name_gone(engine, live, name, false);
        ckpt_engine_name_gone(engine, plain, name, false); /* nothing was ever captured there */
    }
    ckpt_gone_take(engine, &list, &overflow);
    call->free = overflow;
    call->removed = 0;
    DL_FOREACH (list, gone) {
        snprintf(name, sizeof name, "%zu.pt", call->removed++);
        assert_int_equal(gone->dir, CKPT_DIR_ROOT);
        assert_string_equal(gone->name, name);
    }
    ckpt_gone_free(list);
    ckpt_gone_take(engine, &list, &overflow);
    assert_null(list);
    assert_false(overflow);
    close(plain);
    return CKPT_OK;
}

static void names_that_have_gone_are_kept_in_order_up_to_a_limit(void **state)
{
    struct world *w = *state;
    static const struct {
        size_t n;
        size_t kept;
        bool overflow;
    } cases[] = {{0, 0, false}, {3, 3, false}, {65536, 65536, false}, {65537, 0, true}, {65600, 0, true}};
    assert_int_equal(mkdirat(w->live, "plain", 0755), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct call call = {.command.run = run_gone, .n = cases[i].n};
        assert_int_equal(ckpt_command_submit(w->engine, &call.command), CKPT_OK);
        assert_int_equal(call.removed, cases[i].kept);
        assert_int_equal(call.free, cases[i].overflow);
    }
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(names_go_and_versions_stay),
        CASE(all_go_or_none),
        CASE(readers_hinder_when_asked),
        CASE(a_writable_mapping_hinders),
        CASE(what_waits_hinders),
        CASE(what_is_something_else_stays),
        CASE(a_file_without_a_good_stamp_is_read),
        CASE(of_hard_links_only_the_name_goes),
        CASE(stubs_go_like_files),
        CASE(emptied_directories_go_too),
        CASE(directories_with_something_else_stay),
        CASE(an_empty_directory_that_nothing_left_stays),
        CASE(more_names_than_go_at_once),
        CASE(names_come_back_as_stubs),
        CASE(a_taken_name_stops_a_revival),
        CASE(an_older_version_comes_back),
        CASE(an_empty_file_comes_back),
        CASE(stubs_given_back_survive_a_restart),
        CASE(names_that_have_gone_are_kept_in_order_up_to_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
