#include "fault.h"
#include <ckpt/filter.h>
#include <ckpt/verify.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum {
    DEFAULT_STRIDE = 9,
    PATIENCE_S = 120, /* for one run; a hang, not slowness */
    SMALL_SIZE = 300 << 10,
    BIG_SIZE = 3 << 20,
    PIECE = 256 << 10,
};

#define assert_ok(expression) assert_int_equal((expression), CKPT_OK)

/* ---- contents ---- */

static struct {
    uint8_t *bytes;
    size_t size;
} contents[CONTENTS];

static void make_noise(uint8_t *bytes, size_t n, uint64_t seed)
{
    for (size_t i = 0; i + 8 <= n; i += 8) {
        seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
        memcpy(bytes + i, &seed, 8);
    }
}

static void make_contents(void)
{
    static const size_t sizes[CONTENTS] = {[SMALL_A] = SMALL_SIZE,
                                           [SMALL_B] = SMALL_SIZE + 4096,
                                           [SMALL_C] = SMALL_SIZE / 2,
                                           [BIG] = BIG_SIZE,
                                           [HOLES] = 5 * PIECE};
    if (contents[BIG].bytes != NULL) {
        return;
    }
    for (int i = 0; i < CONTENTS; i++) {
        contents[i].size = sizes[i];
        contents[i].bytes = calloc(1, sizes[i] + 8);
        assert_non_null(contents[i].bytes);
        if (i != HOLES) {
            make_noise(contents[i].bytes, sizes[i], 0x9e3779b97f4a7c15u + (uint64_t)i);
        }
    }
    make_noise(contents[HOLES].bytes, PIECE, 77);
    make_noise(contents[HOLES].bytes + 3 * PIECE, PIECE, 78);
}

static void free_contents(void) __attribute__((destructor));

static void free_contents(void)
{
    for (int i = 0; i < CONTENTS; i++) {
        free(contents[i].bytes);
    }
}

static void write_content(int fd, int content)
{
    const uint8_t *bytes = contents[content].bytes;
    if (content == HOLES) {
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(pwrite(fd, bytes, PIECE, 0), PIECE);
        assert_int_equal(pwrite(fd, bytes + 3 * PIECE, PIECE, 3 * PIECE), PIECE);
    } else {
        assert_int_equal(pwrite(fd, bytes, contents[content].size, 0), contents[content].size);
    }
    assert_int_equal(ftruncate(fd, (off_t)contents[content].size), 0);
}

/* Which content FD has; ABSENT when nobody has ever made such bytes. */
static int recognise(int fd)
{
    struct stat st;
    int found = ABSENT;
    assert_int_equal(fstat(fd, &st), 0);
    uint8_t *bytes = malloc((size_t)st.st_size + 1);
    assert_non_null(bytes);
    assert_int_equal(pread(fd, bytes, (size_t)st.st_size + 1, 0), st.st_size);
    for (int i = 0; i < CONTENTS; i++) {
        if (contents[i].size == (size_t)st.st_size &&
            memcmp(contents[i].bytes, bytes, contents[i].size) == 0) {
            found = i;
        }
    }
    free(bytes);
    return found;
}

/* ---- files of the host ---- */

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void remove_tree(const char *path)
{
    (void)nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

static unsigned entries(int dirfd, const char *name)
{
    int fd = openat(dirfd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = fdopendir(fd);
    unsigned n = 0;
    assert_non_null(stream);
    for (const struct dirent *entry; (entry = readdir(stream)) != NULL;) {
        n += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    }
    closedir(stream);
    return n;
}

static unsigned open_descriptors(void)
{
    return entries(AT_FDCWD, "/proc/self/fd");
}

/* ---- the world ---- */

static void report(void *arg, enum ckpt_level level, const char *text)
{
    struct world *w = arg;
    (void)level;
    __atomic_add_fetch(&w->reports, 1, __ATOMIC_SEQ_CST);
    if (getenv("FAULT_TALK") != NULL) {
        (void)fprintf(stderr, "    %s\n", text);
    }
}

static struct file_state *file_of(struct world *w, const char *name)
{
    for (unsigned i = 0; i < w->files_count; i++) {
        if (strcmp(w->files[i].name, name) == 0) {
            return &w->files[i];
        }
    }
    assert_true(w->files_count < WORLD_FILES);
    struct file_state *file = &w->files[w->files_count++];
    *file = (struct file_state){.name = name, .live = ABSENT};
    return file;
}

enum ckpt_err world_open(struct world *w)
{
    struct ckpt_report to = {.fn = report, .arg = w};
    struct ckpt_engine_config config = {.threads = 2,
                                        .settle_ms = w->settle_ms,
                                        .hot_limit = w->hot_limit == 0 ? UINT64_MAX : w->hot_limit,
                                        .filter = w->filter};
    unsigned before = w->reports;
    enum ckpt_err err = ckpt_store_open(w->store_dir, CKPT_WRITE, "a test", &to, &w->store);
    if (err != CKPT_OK) {
        w->store = NULL;
        assert_int_not_equal(w->reports, before); /* a refusal says why */
        return err;
    }
    err = ckpt_engine_start(w->store, &config, &w->engine);
    if (err != CKPT_OK) {
        w->engine = NULL;
        ckpt_store_close(w->store);
        w->store = NULL;
    }
    return err;
}

void world_close(struct world *w, bool drain)
{
    ckpt_engine_stop(w->engine, drain);
    ckpt_store_close(w->store);
    w->engine = NULL;
    w->store = NULL;
}

static int live(struct world *w)
{
    return ckpt_store_livefd(w->store);
}

/* As fs/file.c does before it lets anybody change the file. */
static enum ckpt_err make_changeable(struct world *w, int fd, bool empties)
{
    struct ckpt_stub stub;
    struct stat st;
    bool cold = false;
    if (ckpt_store_stopped(w->store)) {
        return CKPT_ERR_STOPPED;
    }
    enum ckpt_err err = ckpt_live_stub(fd, &stub, &cold);
    if (err != CKPT_OK || cold) {
        return err != CKPT_OK ? err : ckpt_engine_promote(w->engine, fd, !empties);
    }
    assert_int_equal(fstat(fd, &st), 0);
    if (!ckpt_engine_is_pending(w->engine, st.st_dev, st.st_ino)) {
        return CKPT_OK;
    }
    return !empties || st.st_nlink > 2 ? ckpt_engine_preserve(w->engine, fd)
                                       : ckpt_engine_swap_empty(w->engine, fd);
}

static void know_changed(struct file_state *file, int content, bool captured)
{
    file->live = content;
    file->saved[content] = true;
    file->captured[content] |= captured;
}

/* The file NAME has been changed to CONTENT and is closed now. */
static enum ckpt_err capture(struct world *w, const char *name, int content)
{
    int fd = openat(live(w), name, O_PATH | O_CLOEXEC);
    assert_true(fd >= 0);
    enum ckpt_err err = ckpt_engine_capture(w->engine, fd);
    close(fd);
    struct file_state *file = file_of(w, name);
    know_changed(file, content, err == CKPT_OK);
    if (file->twin != NULL) {
        know_changed(file_of(w, file->twin), content, err == CKPT_OK);
    }
    return err;
}

static enum ckpt_err change(struct world *w, const char *name, int content, bool empties)
{
    int fd = openat(live(w), name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0) {
        enum ckpt_err err = make_changeable(w, fd, empties);
        close(fd);
        if (err != CKPT_OK) {
            return err;
        }
    }
    fd = openat(live(w), name, O_RDWR | O_CREAT | O_CLOEXEC | (empties ? O_TRUNC : 0), 0644);
    assert_true(fd >= 0);
    write_content(fd, content);
    close(fd);
    return capture(w, name, content);
}

enum ckpt_err world_save(struct world *w, const char *name, int content)
{
    return change(w, name, content, true);
}

enum ckpt_err world_rewrite(struct world *w, const char *name, int content)
{
    return change(w, name, content, false);
}

enum ckpt_err world_replace(struct world *w, const char *name, int content)
{
    int fd = openat(live(w), "save.tmp", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    write_content(fd, content);
    close(fd);
    ckpt_engine_names_lock(w->engine);
    assert_int_equal(renameat(live(w), "save.tmp", live(w), name), 0);
    ckpt_engine_names_unlock(w->engine);
    assert_null(file_of(w, name)->twin);
    return capture(w, name, content);
}

/* The further name of a file, given by GIVE after a stub has got a row for it; as fs/tree.c does. */
static enum ckpt_err give_name(struct world *w, const char *old, const char *name, bool move)
{
    int fd = openat(live(w), old, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    assert_true(fd >= 0);
    struct file_state *from = file_of(w, old);
    struct file_state *to = file_of(w, name);
    int content = from->live;
    to->saved[content] = true;
    enum ckpt_err err = ckpt_engine_name_stub(w->engine, fd, live(w), name);
    if (err == CKPT_OK) {
        ckpt_engine_names_lock(w->engine);
        assert_int_equal(move ? renameat(live(w), old, live(w), name)
                              : linkat(live(w), old, live(w), name, 0),
                         0);
        ckpt_engine_names_unlock(w->engine);
        to->live = content;
        from->live = move ? ABSENT : content;
        if (!move) {
            from->twin = name;
            to->twin = old;
        }
        err = move ? ckpt_engine_capture(w->engine, fd)
                   : ckpt_engine_capture_name(w->engine, fd, live(w), name);
        if (err == CKPT_OK) {
            to->captured[content] = true;
        }
    }
    close(fd);
    return err;
}

enum ckpt_err world_link(struct world *w, const char *old, const char *name)
{
    return give_name(w, old, name, false);
}

enum ckpt_err world_rename(struct world *w, const char *old, const char *name)
{
    return give_name(w, old, name, true);
}

enum ckpt_err world_flush(struct world *w)
{
    unsigned still_open = 0;
    unsigned before = w->reports;
    enum ckpt_err err = ckpt_engine_flush(w->engine, &still_open);
    assert_int_equal(still_open, 0);
    if (err != CKPT_OK) {
        /* Something has been said about it, here or when it happened; a store that stops tells so a moment later. */
        for (int i = 0; i < 1000 && __atomic_load_n(&w->reports, __ATOMIC_SEQ_CST) == 0 && before == 0; i++) {
            usleep(1000);
        }
        assert_true(w->reports > 0 || before > 0);
    }
    return err;
}

enum ckpt_err world_demote(struct world *w, const char *name)
{
    return ckpt_engine_demote(w->engine, name);
}

/* Directory id and name of a path; an id that no directory has when nothing was ever captured there. */
static void resolve(struct world *w, const char *path, uint64_t *dir, char *name)
{
    enum ckpt_err err = ckpt_catalog_resolve(w->store, path, dir, name);
    if (err == CKPT_ERR_NOT_FOUND) {
        *dir = UINT64_MAX;
    } else {
        assert_ok(err);
    }
}

static enum ckpt_err find_version(struct world *w, const char *path, uint32_t number,
                                  struct ckpt_version *version)
{
    uint64_t dir = CKPT_DIR_ROOT;
    char name[NAME_MAX + 1] = "";
    resolve(w, path, &dir, name);
    return ckpt_catalog_version(w->store, dir, name, number, version);
}

enum ckpt_err world_forget(struct world *w, const char *name, size_t n, const uint32_t *numbers,
                           const int *which)
{
    struct file_state *file = file_of(w, name);
    enum ckpt_err err = ckpt_engine_forget(w->engine, name, numbers, n);
    unsigned at = 0;
    while (file->forgotten[at] != 0) {
        at++;
    }
    for (size_t i = 0; i < n; i++) {
        struct ckpt_version version;
        enum ckpt_err found = find_version(w, name, numbers[i], &version);
        if (found != (err == CKPT_OK ? CKPT_ERR_NOT_FOUND : CKPT_OK)) {
            fail_msg("forgetting %s@v%u: %s, and then it is: %s", name, numbers[i], ckpt_err_text(err),
                     ckpt_err_text(found));
        }
        if (err == CKPT_OK) {
            assert_true(at + 1 < WORLD_VERSIONS);
            file->forgotten[at++] = numbers[i];
            file->captured[which[i]] = false;
        }
    }
    return err;
}

enum ckpt_err world_restore(struct world *w, const char *name, uint32_t number, int content)
{
    char path[2 * WORLD_PATH];
    struct ckpt_version version;
    (void)snprintf(path, sizeof path, "%s/restored", w->dir);
    assert_ok(find_version(w, name, number, &version));
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    enum ckpt_err err = ckpt_restore(w->store, &version.recipe, name, fd, 2, NULL, NULL);
    if (err == CKPT_OK) {
        assert_int_equal(recognise(fd), content);
    }
    close(fd);
    unlink(path);
    return err;
}

void world_unlink(struct world *w, const char *name)
{
    assert_int_equal(unlinkat(live(w), name, 0), 0);
    file_of(w, name)->live = ABSENT;
}

void world_mkdir(struct world *w, const char *name)
{
    assert_int_equal(mkdirat(live(w), name, 0755), 0);
}

void world_write_raw(struct world *w, const char *name, int content)
{
    char path[2 * WORLD_PATH];
    struct file_state *file = file_of(w, name);
    (void)snprintf(path, sizeof path, "%s/live/%s", w->store_dir, name);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    write_content(fd, content);
    close(fd);
    file->live = content;
    file->saved[content] = true;
}

bool world_is_cold(struct world *w, const char *name)
{
    int fd = openat(live(w), name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    assert_true(fd >= 0);
    ssize_t n = fgetxattr(fd, CKPT_XATTR_PREFIX "cold", NULL, 0);
    close(fd);
    return n > 0;
}

/* ---- what must be true afterwards ---- */

static int recognise_recipe(struct world *w, const struct ckpt_id *recipe, const char *name)
{
    int fd = memfd_create("content", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_ok(ckpt_restore(w->store, recipe, name, fd, 2, NULL, NULL));
    int content = recognise(fd);
    close(fd);
    return content;
}

static int recognise_live(struct world *w, const char *name)
{
    struct ckpt_stub stub;
    bool cold = false;
    int fd = openat(live(w), name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        assert_int_equal(errno, ENOENT);
        return ABSENT;
    }
    assert_ok(ckpt_live_stub(fd, &stub, &cold));
    int content = cold ? recognise_recipe(w, &stub.recipe, name) : recognise(fd);
    if (content == ABSENT) {
        fail_msg("%s has bytes that nobody has written", name);
    }
    close(fd);
    return content;
}

struct kept {
    struct ckpt_version items[2 * WORLD_VERSIONS];
    size_t count;
};

static bool keep(void *arg, const struct ckpt_version *version)
{
    struct kept *kept = arg;
    assert_true(kept->count < 2 * WORLD_VERSIONS);
    kept->items[kept->count++] = *version;
    return true;
}

static void check_file(struct world *w, const struct file_state *file)
{
    struct kept kept = {.count = 0};
    bool found[CONTENTS] = {false};
    uint64_t dir = CKPT_DIR_ROOT;
    char name[NAME_MAX + 1] = "";
    int newest = ABSENT;
    int now = recognise_live(w, file->name);
    if (now != file->live) {
        fail_msg("%s has content %d and not %d", file->name, now, file->live);
    }
    resolve(w, file->name, &dir, name);
    assert_ok(ckpt_catalog_each_version(w->store, dir, name, keep, &kept));
    for (size_t i = 0; i < kept.count; i++) {
        newest = recognise_recipe(w, &kept.items[i].recipe, file->name);
        if (newest == ABSENT || !file->saved[newest]) {
            fail_msg("%s@v%u has content %d, which was never saved there", file->name,
                     kept.items[i].number, newest);
        }
        found[newest] = true;
        for (const uint32_t *gone = file->forgotten; *gone != 0; gone++) {
            assert_int_not_equal(kept.items[i].number, *gone);
        }
    }
    for (int i = 0; i < CONTENTS; i++) {
        if (file->captured[i] && !found[i]) {
            fail_msg("content %d of %s was captured and is no version", i, file->name);
        }
    }
    if (now != ABSENT && newest != now) {
        fail_msg("the newest version of %s has content %d, the file %d", file->name, newest, now);
    }
}

static void check_verify(struct world *w, uint64_t objects)
{
    struct ckpt_verify_result result;
    assert_ok(ckpt_verify(w->store, false, NULL, NULL, &result));
    assert_int_equal(result.problems, 0);
    if (objects == 0) {
        assert_int_equal(result.objects, 0);
    }
}

static void forget_everything(struct world *w)
{
    struct ckpt_counters counters;
    for (unsigned i = 0; i < w->files_count; i++) {
        (void)unlinkat(live(w), w->files[i].name, 0);
    }
    for (unsigned i = 0; i < w->files_count; i++) {
        struct kept kept = {.count = 0};
        uint32_t numbers[2 * WORLD_VERSIONS];
        uint64_t dir = CKPT_DIR_ROOT;
        char name[NAME_MAX + 1] = "";
        resolve(w, w->files[i].name, &dir, name);
        assert_ok(ckpt_catalog_each_version(w->store, dir, name, keep, &kept));
        for (size_t v = 0; v < kept.count; v++) {
            numbers[v] = kept.items[v].number;
        }
        if (kept.count > 0) {
            assert_ok(ckpt_engine_forget(w->engine, w->files[i].name, numbers, kept.count));
        }
    }
    assert_ok(ckpt_store_counters(w->store, &counters));
    assert_int_equal(counters.versions, 0);
    assert_int_equal(counters.objects, 0);
    assert_int_equal(counters.stored, 0);
    assert_int_equal(counters.unique, 0);
    assert_int_equal(counters.logical, 0);
}

static void check_world(struct world *w, const struct scenario *s)
{
    uint64_t limit = w->hot_limit;
    w->hot_limit = 0;
    w->settle_ms = 0;
    assert_ok(world_open(w));
    assert_ok(world_flush(w));
    if (s->check != NULL) {
        s->check(w);
    }
    assert_int_equal(entries(ckpt_store_pendingfd(w->store), "."), 0);
    assert_int_equal(entries(ckpt_store_tmpfd(w->store), "."), 0);
    for (unsigned i = 0; i < w->files_count; i++) {
        check_file(w, &w->files[i]);
    }
    check_verify(w, 1);
    forget_everything(w);
    check_verify(w, 0);
    world_close(w, true);
    w->hot_limit = limit;
}

/* ---- the loop ---- */

static const char *const kind_names[] = {"enospc", "eio", "short", "sync"};

static char running[128]; /* for the message about a hang */

static void on_alarm(int number)
{
    (void)number;
    (void)!write(STDERR_FILENO, "hangs: ", 7);
    (void)!write(STDERR_FILENO, running, strlen(running));
    (void)!write(STDERR_FILENO, "\n", 1);
    abort();
}

static unsigned number_from(const char *variable, unsigned otherwise)
{
    const char *text = getenv(variable);
    return text == NULL ? otherwise : (unsigned)strtoul(text, NULL, 10);
}

static void copy_store(const char *from, const char *to)
{
    char command[3 * WORLD_PATH];
    remove_tree(to);
    (void)snprintf(command, sizeof command, "cp -a --sparse=always --reflink=auto '%s' '%s'", from, to);
    assert_int_equal(system(command), 0);
}

/* One run; true when the fault has fired. */
static bool run_once(const struct scenario *s, const struct world *base, unsigned kind, unsigned n)
{
    struct world w = *base;
    (void)snprintf(w.store_dir, sizeof w.store_dir, "%.150s/store", base->dir);
    (void)snprintf(running, sizeof running, "%s, %s %u", s->name, kind_names[kind], n);
    copy_store(base->store_dir, w.store_dir);
    unsigned descriptors = open_descriptors();
    alarm(PATIENCE_S);
    if (!s->closed) {
        assert_ok(world_open(&w));
        assert_ok(world_flush(&w));
    }
    ckpt_fault_arm(n, (enum ckpt_fault_kind)kind);
    s->run(&w);
    if (w.store != NULL) {
        world_close(&w, true);
    }
    bool fired = ckpt_fault_fired();
    ckpt_fault_arm(0, CKPT_FAULT_EIO);
    assert_int_equal(open_descriptors(), descriptors);
    check_world(&w, s);
    assert_int_equal(open_descriptors(), descriptors);
    alarm(0);
    running[0] = '\0';
    return fired;
}

static void loop_kind(const struct scenario *s, const struct world *base, unsigned kind)
{
    bool full = getenv("FAULT_FULL") != NULL;
    unsigned stride = full ? 1 : number_from("FAULT_STRIDE", DEFAULT_STRIDE);
    unsigned only = number_from("FAULT_ONLY", 0);
    unsigned fired = 0;
    /* The engine's thread makes calls of its own, so the number of the last one is not quite sharp. */
    unsigned patience = full ? 3 : 1;
    if (only != 0) {
        (void)run_once(s, base, kind, only);
        return;
    }
    for (unsigned n = 1, missed = 0; missed < patience; n += stride) {
        if (run_once(s, base, kind, n)) {
            fired++;
            missed = 0;
        } else {
            missed++;
        }
    }
    print_message("%s, %s: %u runs\n", s->name, kind_names[kind], fired);
    assert_true(fired > 0);
}

int fault_teardown(void **state)
{
    (void)state;
    alarm(0);
    if (running[0] != '\0') {
        print_error("in the run: %s\n", running);
        running[0] = '\0';
    }
    return 0;
}

void fault_loop(const struct scenario *s)
{
    struct world base = {.hot_limit = s->hot_limit};
    const char *parent = getenv("TMPDIR");
    const char *bad = NULL;
    struct ckpt_report to = {.fn = report, .arg = &base};
    ckpt_fault_arm(0, CKPT_FAULT_EIO);
    make_contents();
    (void)signal(SIGALRM, on_alarm);
    (void)snprintf(base.dir, sizeof base.dir, "%.100s/ckpt-fault-XXXXXX",
                   parent != NULL ? parent : "/var/tmp");
    assert_non_null(mkdtemp(base.dir));
    (void)snprintf(base.store_dir, sizeof base.store_dir, "%.150s/template", base.dir);
    assert_ok(ckpt_filter_parse(CKPT_FILTER_DEFAULT, &base.filter, &bad));
    assert_ok(ckpt_store_create(base.store_dir, &to));
    base.hot_limit = 0;
    assert_ok(world_open(&base));
    s->prepare(&base);
    if (base.store != NULL) {
        assert_ok(world_flush(&base));
        world_close(&base, true);
    }
    base.hot_limit = s->hot_limit;
    base.reports = 0;
    for (unsigned kind = 0; kind < sizeof kind_names / sizeof kind_names[0]; kind++) {
        if ((s->kinds & 1u << kind) != 0) {
            loop_kind(s, &base, kind);
        }
    }
    ckpt_filter_free(base.filter);
    remove_tree(base.dir);
}
