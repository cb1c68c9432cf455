/*
 * Captures become checkpoints: what is saved, in steps, and what the runs look like then.
 *
 * A step is what the filesystem tells the engine: "save PATH CONTENT" (a file is written and closed), "log PATH CONTENT" (the same of a file that
 * isn't captured), "open PATH CONTENT" (a file that stays open for writing), "close PATH", "rm PATH", "rmdir PATH", "mv PATH PATH", "mvdir PATH PATH", "quiet"
 * (waits as long as makes a quiet period), "restart". CONTENT beginning with "@" is a file of tests/files/inspect.
 *
 * A checkpoint is written as
 *     #NUMBER STATUS KIND [epoch=N] [step=N] [left] [metric=value]... { files }
 * where a file is PATH@VERSION, with "~" behind it for an alias, "-" for one that has gone, "x" for one that was replaced.
 */
#include "unit.h"

#include "object/internal.h"
#include <ckpt/engine.h>
#include <ckpt/run.h>
#include <ckpt/verify.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

enum { QUIET_MS = 1000, TEXT = 1 << 14 };

struct world {
    struct unit_store *u;
    struct ckpt_store *store;
    struct ckpt_filter *filter;
    struct ckpt_runs *runs;
    struct ckpt_engine *engine;
    ino_t open[8];
};

static bool is_open(void *arg, dev_t dev, ino_t ino)
{
    const struct world *w = arg;
    (void)dev;
    for (size_t i = 0; i < sizeof w->open / sizeof w->open[0]; i++) {
        if (w->open[i] == ino) {
            return true;
        }
    }
    return false;
}

static void start(struct world *w)
{
    struct ckpt_engine_config config = {.threads = 2,
                                        .hot_limit = UINT64_MAX,
                                        .filter = w->filter,
                                        .quiet_ms = QUIET_MS,
                                        .hooks.writing = is_open,
                                        .hooks_arg = w};
    assert_ok(ckpt_runs_create(w->store, &w->runs));
    config.runs = w->runs;
    assert_ok(ckpt_engine_start(w->store, &config, &w->engine));
}

static void stop(struct world *w)
{
    ckpt_engine_stop(w->engine, true);
    ckpt_runs_free(w->runs);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    void *u = NULL;
    const char *bad = NULL;
    assert_non_null(w);
    assert_int_equal(unit_store_setup(&u), 0);
    w->u = u;
    w->store = w->u->store;
    assert_ok(ckpt_filter_parse("default", &w->filter, &bad));
    start(w);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    void *u = w->u;
    struct ckpt_verify_result result;
    stop(w);
    assert_ok(ckpt_verify(w->store, false, NULL, NULL, &result));
    assert_int_equal(result.problems, 0);
    ckpt_filter_free(w->filter);
    assert_int_equal(unit_store_teardown(&u), 0);
    free(w);
    return 0;
}

/* ---- steps ---- */

static void make_parents(int live, const char *path)
{
    char part[256];
    for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        (void)snprintf(part, sizeof part, "%.*s", (int)(slash - path), path);
        assert_true(mkdirat(live, part, 0755) == 0 || errno == EEXIST);
    }
}

static void write_content(int fd, const char *content)
{
    char path[256];
    char buffer[4096];
    ssize_t n = 0;
    if (content[0] != '@') {
        assert_int_equal(write(fd, content, strlen(content)), strlen(content));
        return;
    }
    (void)snprintf(path, sizeof path, "%s/inspect/%s", CKPT_FILES, content + 1);
    int from = open(path, O_RDONLY);
    assert_true(from >= 0);
    while ((n = read(from, buffer, sizeof buffer)) > 0) {
        assert_int_equal(write(fd, buffer, (size_t)n), n);
    }
    close(from);
}

static void close_open(struct world *w, const char *path)
{
    struct stat st;
    int fd = openat(ckpt_store_livefd(w->store), path, O_PATH);
    assert_int_equal(fstat(fd, &st), 0);
    for (size_t i = 0; i < sizeof w->open / sizeof w->open[0]; i++) {
        w->open[i] = w->open[i] == st.st_ino ? 0 : w->open[i];
    }
    assert_ok(ckpt_engine_capture(w->engine, fd));
    close(fd);
}

static void put(struct world *w, const char *path, const char *content, bool keep_open)
{
    struct stat st;
    int live = ckpt_store_livefd(w->store);
    make_parents(live, path);
    (void)unlinkat(live, path, 0); /* another inode, as the filesystem makes one while the old one is pending */
    int fd = openat(live, path, O_RDWR | O_CREAT | O_EXCL, 0644);
    assert_true(fd >= 0);
    write_content(fd, content);
    assert_int_equal(fstat(fd, &st), 0);
    close(fd);
    size_t free_place = 0;
    while (keep_open && w->open[free_place] != 0) {
        free_place++;
    }
    if (keep_open) {
        w->open[free_place] = st.st_ino;
        return;
    }
    fd = openat(live, path, O_PATH);
    assert_ok(ckpt_engine_capture(w->engine, fd));
    ckpt_engine_note(w->engine, fd);
    close(fd);
}

static void tell_gone(struct world *w, const char *path, bool removed)
{
    char parent[256];
    const char *slash = strrchr(path, '/');
    (void)snprintf(parent, sizeof parent, "%.*s", slash == NULL ? 1 : (int)(slash - path), slash == NULL ? "." : path);
    int dirfd = openat(ckpt_store_livefd(w->store), parent, O_PATH | O_DIRECTORY);
    ckpt_engine_name_gone(w->engine, dirfd, slash == NULL ? path : slash + 1, removed);
    close(dirfd);
}

static void move(struct world *w, const char *from, const char *to, bool directory)
{
    int live = ckpt_store_livefd(w->store);
    make_parents(live, to);
    assert_int_equal(renameat(live, from, live, to), 0);
    int fd = openat(live, to, O_PATH);
    if (directory) {
        assert_ok(ckpt_engine_dir_moved(w->engine, fd));
    } else {
        assert_ok(ckpt_engine_capture(w->engine, fd));
        tell_gone(w, from, false);
    }
    close(fd);
}

static void flush(struct world *w)
{
    unsigned still_open = 0;
    assert_ok(ckpt_engine_flush(w->engine, &still_open));
}

static void do_step(struct world *w, const char *step)
{
    char verb[16] = "";
    char path[256] = "";
    int at = 0;
    assert_true(sscanf(step, "%15s %n", verb, &at) >= 1);
    const char *rest = step + at;
    size_t n = strcspn(rest, " ");
    (void)snprintf(path, sizeof path, "%.*s", (int)n, rest);
    const char *more = rest[n] == ' ' ? rest + n + 1 : "";
    if (strcmp(verb, "save") == 0 || strcmp(verb, "log") == 0 || strcmp(verb, "open") == 0) {
        put(w, path, more, verb[0] == 'o');
    } else if (strcmp(verb, "close") == 0) {
        close_open(w, path);
    } else if (strcmp(verb, "rm") == 0) {
        assert_int_equal(unlinkat(ckpt_store_livefd(w->store), path, 0), 0);
        tell_gone(w, path, false);
    } else if (strcmp(verb, "rmdir") == 0) {
        assert_int_equal(unlinkat(ckpt_store_livefd(w->store), path, AT_REMOVEDIR), 0);
        tell_gone(w, path, true);
    } else if (strcmp(verb, "mv") == 0 || strcmp(verb, "mvdir") == 0) {
        move(w, path, more, verb[2] == 'd');
    } else if (strcmp(verb, "quiet") == 0) {
        flush(w);
        (void)usleep((QUIET_MS + 300) * 1000);
    } else if (strcmp(verb, "restart") == 0) {
        stop(w);
        start(w);
    } else {
        fail_msg("no such step: %s", step);
    }
    flush(w);
}

/* ---- what there is ---- */

static int by_path(const void *a, const void *b)
{
    const struct ckpt_member *one = *(const struct ckpt_member *const *)a;
    const struct ckpt_member *other = *(const struct ckpt_member *const *)b;
    int order = strcmp(one->path, other->path);
    return order != 0 ? order : (int)one->number - (int)other->number;
}

static void write_members(char *text, const struct ckpt_checkpoint *c)
{
    const struct ckpt_member *members[64];
    assert_true(c->n_members <= sizeof members / sizeof members[0]);
    for (size_t i = 0; i < c->n_members; i++) {
        members[i] = &c->members[i];
    }
    qsort(members, c->n_members, sizeof members[0], by_path);
    for (size_t i = 0; i < c->n_members; i++) {
        const struct ckpt_member *m = members[i];
        size_t n = strlen(text);
        (void)snprintf(text + n, TEXT - n, " %s@%" PRIu32 "%s%s%s", m->path, m->number, m->alias ? "~" : "",
                       m->gone ? "-" : "", m->replaced ? "x" : "");
    }
}

static void write_checkpoint(char *text, const struct ckpt_checkpoint *c)
{
    static const char *const status[] = {"writing", "complete", "invalid"};
    static const char *const left[] = {"", " overwritten", " deleted"};
    size_t n = strlen(text);
    n += (size_t)snprintf(text + n, TEXT - n, "#%" PRIu32 " %s %s", c->number, status[c->status],
                          ckpt_holds_name(c->holds));
    if (c->has_epoch) {
        n += (size_t)snprintf(text + n, TEXT - n, " epoch=%" PRIu64, c->epoch);
    }
    if (c->has_step) {
        n += (size_t)snprintf(text + n, TEXT - n, " step=%" PRIu64, c->step);
    }
    n += (size_t)snprintf(text + n, TEXT - n, "%s%s", left[c->left], c->dropped  ? " dropped"
                           : c->former ? " former"
                                       : "");
    for (size_t i = 0; i < c->n_values; i++) {
        n += (size_t)snprintf(text + n, TEXT - n, " %s=%g", c->values[i].name, c->values[i].value);
    }
    (void)snprintf(text + n, TEXT - n, " {");
    write_members(text, c);
    (void)strcat(text, " }\n");
}

static void write_run(struct world *w, const char *path, char *text)
{
    char inside[300];
    char name[NAME_MAX + 1];
    uint64_t dir = 0;
    const struct ckpt_run *run = NULL;
    text[0] = '\0';
    (void)snprintf(inside, sizeof inside, "%s/x", path);
    if (ckpt_catalog_resolve(w->store, inside, &dir, name) != CKPT_OK ||
        ckpt_runs_hold(w->runs, dir, &run) != CKPT_OK) {
        return;
    }
    for (size_t i = 0; i < run->count; i++) {
        write_checkpoint(text, run->list[i]);
    }
    ckpt_runs_release(w->runs);
}

struct row {
    const char *what;
    const char *run;
    const char *steps[16];
    const char *expected;
};

static void check(void **state, const struct row *rows, size_t n)
{
    struct world *w = *state;
    char *text = malloc(TEXT);
    char run[256];
    bool right = true;
    assert_non_null(text);
    for (size_t i = 0; i < n; i++) {
        for (size_t s = 0; rows[i].steps[s] != NULL; s++) {
            do_step(w, rows[i].steps[s]);
        }
        (void)snprintf(run, sizeof run, "%s", rows[i].run);
        write_run(w, run, text);
        if (strcmp(text, rows[i].expected) != 0) {
            print_error("%s\nexpected:\n%sfound:\n%s\n", rows[i].what, rows[i].expected, text);
            right = false;
        }
    }
    free(text);
    assert_true(right);
}

#define CHECK(state, rows) check(state, rows, sizeof rows / sizeof rows[0])

static void files_of_a_run(void **state)
{
    static const struct row rows[] = {
        {"each numbered file is one", "a", {"save a/net_epoch_1.pt one", "save a/net_epoch_2.pt two"},
         "#1 complete unknown epoch=1 { net_epoch_1.pt@1 }\n"
         "#2 complete unknown epoch=2 { net_epoch_2.pt@1 }\n"},
        {"weights of the same epoch belong to it", "b", {"save b/net_epoch_1.pt one", "save b/weights_epoch_1.pt w"},
         "#1 complete unknown epoch=1 { net_epoch_1.pt@1 weights_epoch_1.pt@1 }\n"},
        {"what is overwritten is another one", "c", {"save c/model.pt one", "save c/model.pt two"},
         "#1 complete unknown overwritten { model.pt@1- }\n"
         "#2 complete unknown { model.pt@2 }\n"},
        {"model and optimizer go together", "d",
         {"save d/model.pt one", "save d/optimizer.pt o1", "save d/model.pt two", "save d/optimizer.pt o2"},
         "#1 complete unknown overwritten { model.pt@1- optimizer.pt@1- }\n"
         "#2 complete unknown { model.pt@2 optimizer.pt@2 }\n"},
        {"saved again as it was", "e", {"save e/net_epoch_1.pt one", "save e/net_epoch_1.pt one"},
         "#1 complete unknown epoch=1 { net_epoch_1.pt@1 }\n"},
        {"the same tensors under another name", "f", {"save f/epoch_3.pt @epoch_3.pt", "save f/last.pt @last.pt"},
         "#1 complete full epoch=3 best_acc1=76.125 { epoch_3.pt@1 last.pt@1~ }\n"},
        {"the other name first", "g", {"save g/last.pt @last.pt", "save g/epoch_3.pt @epoch_3.pt"},
         "#1 complete full epoch=3 best_acc1=76.125 { epoch_3.pt@1 last.pt@1~ }\n"},
        {"last is overwritten", "h",
         {"save h/epoch_3.pt @epoch_3.pt", "save h/last.pt @last.pt", "save h/last.pt @weights-later.pt"},
         "#1 complete full epoch=3 best_acc1=76.125 { epoch_3.pt@1 last.pt@1~- }\n"
         "#2 complete weights { last.pt@2~ }\n"},
        {"deleted", "i", {"save i/net_epoch_1.pt one", "save i/net_epoch_2.pt two", "rm i/net_epoch_1.pt"},
         "#1 complete unknown epoch=1 deleted { net_epoch_1.pt@1- }\n"
         "#2 complete unknown epoch=2 { net_epoch_2.pt@1 }\n"},
        {"deleted while nobody looked", "j", {"save j/net_epoch_1.pt one", "rm j/net_epoch_1.pt", "restart"},
         "#1 complete unknown epoch=1 deleted { net_epoch_1.pt@1- }\n"},
        {"removed with its run, and another one in its place", "n",
         {"save n/net_epoch_1.pt one", "save n/net_epoch_2.pt two", "rm n/net_epoch_1.pt", "rm n/net_epoch_2.pt", "rmdir n",
          "save n/net_epoch_2.pt other", "save n/net_epoch_1.pt one"},
         "#1 complete unknown epoch=1 { net_epoch_1.pt@1 }\n"
         "#2 complete unknown epoch=2 overwritten former { net_epoch_2.pt@1- }\n"
         "#3 complete unknown epoch=2 { net_epoch_2.pt@2 }\n"},
        {"renamed from a temporary name", "k", {"log k/net_epoch_1.pt.tmp one", "mv k/net_epoch_1.pt.tmp k/net_epoch_1.pt"},
         "#1 complete unknown epoch=1 { net_epoch_1.pt@1 }\n"},
        {"cut short", "l", {"save l/net_epoch_1.safetensors \x10", "save l/net_epoch_2.npz PK"},
         "#1 invalid weights epoch=1 { net_epoch_1.safetensors@1 }\n"
         "#2 invalid unknown epoch=2 { net_epoch_2.npz@1 }\n"},
        {"numbers inside", "m", {"save m/state.pt @numbers.pt"},
         "#1 complete weights epoch=12 step=70 val/loss=0.375 best_acc=0.9 train_loss=0.25 recall=-3 f1=0.5 reward=-5 return=-1.09951e+12 nll_loss=nan top5=98 mAP50(B)=0.75 fitness=0.5 val_acc=0.0625 best_prec1=93.5 psnr=-7 half_loss=1.5 bf16_loss=-2.5 test/loss=0.125 { state.pt@1 }\n"},
    };
    CHECK(state, rows);
}

static void directories(void **state)
{
    static const struct row rows[] = {
        {"transformers", "a",
         {"save a/checkpoint-10/config.json {}", "save a/checkpoint-10/model.safetensors @model.safetensors",
          "save a/checkpoint-10/optimizer.pt @optimizer.pt", "save a/checkpoint-10/rng_state.pth r"},
         "#1 writing full epoch=5 step=10 val_loss=0.15 size=12 { checkpoint-10/config.json@1 checkpoint-10/model.safetensors@1 checkpoint-10/optimizer.pt@1 checkpoint-10/rng_state.pth@1 }\n"},
        {"... and its marker", "a", {"save a/checkpoint-10/trainer_state.json {\"global_step\": 10, \"epoch\": 1.0, \"log_history\": [{\"step\": 10, \"epoch\": 1.0, \"eval_loss\": 0.5}]}"},
         "#1 complete full epoch=5 step=10 val_loss=0.15 size=12 eval_loss=0.5 { checkpoint-10/config.json@1 checkpoint-10/model.safetensors@1 checkpoint-10/optimizer.pt@1 checkpoint-10/rng_state.pth@1 checkpoint-10/trainer_state.json@1 }\n"},
        {"... saved once more", "a",
         {"save a/checkpoint-10/config.json {}", "save a/checkpoint-10/model.safetensors @ema.safetensors"},
         "#1 complete full epoch=5 step=10 overwritten val_loss=0.15 size=12 eval_loss=0.5 { checkpoint-10/config.json@1- checkpoint-10/model.safetensors@1- checkpoint-10/optimizer.pt@1- checkpoint-10/rng_state.pth@1- checkpoint-10/trainer_state.json@1- }\n"
         "#2 writing full epoch=1 step=10 eval_loss=0.5 { checkpoint-10/config.json@1 checkpoint-10/model.safetensors@2 checkpoint-10/optimizer.pt@1 checkpoint-10/rng_state.pth@1 checkpoint-10/trainer_state.json@1 }\n"},
        {"a directory from a temporary name", "b",
         {"log b/tmp-checkpoint-10/config.json {}", "save b/tmp-checkpoint-10/model.safetensors @model.safetensors",
          "mvdir b/tmp-checkpoint-10 b/checkpoint-10", "save b/checkpoint-10/trainer_state.json {}"},
         "#1 complete weights epoch=5 step=10 val_loss=0.15 size=12 { checkpoint-10/config.json@1 checkpoint-10/model.safetensors@1 checkpoint-10/trainer_state.json@1 }\n"},
        {"a quiet period", "c", {"save c/checkpoint_1/model.safetensors @model.safetensors", "save c/checkpoint_1/random_states_0.pkl r"},
         "#1 writing weights epoch=5 step=1200 val_loss=0.15 size=12 { checkpoint_1/model.safetensors@1 checkpoint_1/random_states_0.pkl@1 }\n"},
        {"... and then", "c", {"quiet"},
         "#1 complete weights epoch=5 step=1200 val_loss=0.15 size=12 { checkpoint_1/model.safetensors@1 checkpoint_1/random_states_0.pkl@1 }\n"},
        {"deepspeed", "d",
         {"save d/global_step5/mp_rank_00_model_states.pt m", "save d/global_step5/zero_pp_rank_0_mp_rank_00_optim_states.pt o"},
         "#1 writing full step=5 { global_step5/mp_rank_00_model_states.pt@1 global_step5/zero_pp_rank_0_mp_rank_00_optim_states.pt@1 }\n"},
        {"... and latest", "d", {"log d/latest global_step5"},
         "#1 complete full step=5 { global_step5/mp_rank_00_model_states.pt@1 global_step5/zero_pp_rank_0_mp_rank_00_optim_states.pt@1 }\n"},
        {"a file is still being written", "e",
         {"save e/step-5/__0_0.distcp @weights.pt", "open e/step-5/__1_0.distcp @weights-later.pt", "save e/step-5/.metadata m"},
         "#1 writing weights step=5 { step-5/.metadata@1 step-5/__0_0.distcp@1 }\n"},
        {"... and closed", "e", {"close e/step-5/__1_0.distcp"},
         "#1 complete weights step=5 { step-5/.metadata@1 step-5/__0_0.distcp@1 step-5/__1_0.distcp@1 }\n"},
        {"dcp", "h", {"save h/step-5/__0_0.distcp @arrays.npz"}, "#1 writing unknown step=5 { step-5/__0_0.distcp@1 }\n"},
        {"... with an optimizer", "h", {"save h/step-5/.metadata @dcp.metadata"},
         "#1 complete full step=5 { step-5/.metadata@1 step-5/__0_0.distcp@1 }\n"},
        {"... without", "i", {"save i/step-5/__0_0.distcp @arrays.npz", "save i/step-5/.metadata @dcp-weights.metadata"},
         "#1 complete weights step=5 { step-5/.metadata@1 step-5/__0_0.distcp@1 }\n"},
        {"... that isn't told", "j", {"save j/step-5/__0_0.distcp @arrays.npz", "save j/step-5/.metadata @dcp-2-bytes.metadata"},
         "#1 complete unknown step=5 { step-5/.metadata@1 step-5/__0_0.distcp@1 }\n"},
        {"... of two parts", "k",
         {"save k/checkpoint-5/model_0/__0_0.distcp @arrays.npz", "save k/checkpoint-5/model_0/.metadata @dcp-weights.metadata",
          "save k/checkpoint-5/optimizer_0/__0_0.distcp @arrays.npz", "save k/checkpoint-5/optimizer_0/.metadata @dcp-optimizer.metadata"},
         "#1 writing full step=5 { checkpoint-5/model_0/.metadata@1 checkpoint-5/model_0/__0_0.distcp@1 "
         "checkpoint-5/optimizer_0/.metadata@1 checkpoint-5/optimizer_0/__0_0.distcp@1 }\n"},
        {"shards", "f", {"save f/model-00001-of-00002.safetensors @model.safetensors", "save f/model.safetensors.index.json {}"},
         "#1 writing weights epoch=5 step=1200 val_loss=0.15 size=12 { model-00001-of-00002.safetensors@1 model.safetensors.index.json@1 }\n"},
        {"... all of them", "f", {"save f/model-00002-of-00002.safetensors @ema.safetensors"},
         "#1 complete weights epoch=5 step=1200 val_loss=0.15 size=12 { model-00001-of-00002.safetensors@1 model-00002-of-00002.safetensors@1 model.safetensors.index.json@1 }\n"},
        {"torchsnapshot", "g", {"save g/snap/0/weight.bin x", "log g/snap/0/small s", "save g/snap/.snapshot_metadata m"},
         "#1 complete unknown { snap/.snapshot_metadata@1 snap/0/small@1 snap/0/weight.bin@1 }\n"},
    };
    CHECK(state, rows);
}

static void metrics(void **state)
{
    static const struct row rows[] = {
        {"a csv before", "a",
         {"log a/metrics.csv epoch,val_loss\n1,0.5\n2,0.25\n", "save a/net_epoch_1.pt one", "save a/net_epoch_2.pt two"},
         "#1 complete unknown epoch=1 val_loss=0.5 { net_epoch_1.pt@1 }\n"
         "#2 complete unknown epoch=2 val_loss=0.25 { net_epoch_2.pt@1 }\n"},
        {"a csv after", "b",
         {"save b/net_epoch_1.pt one", "save b/net_epoch_2.pt two", "log b/metrics.csv epoch,val_loss\n1,0.5\n2,0.25\n"},
         "#1 complete unknown epoch=1 val_loss=0.5 { net_epoch_1.pt@1 }\n"
         "#2 complete unknown epoch=2 val_loss=0.25 { net_epoch_2.pt@1 }\n"},
        {"the epoch that ended with a step", "d",
         {"log d/metrics.csv epoch,step,val_loss\n1,100,0.5\n1.5,150,0.4\n", "save d/net_step_100.pt one", "save d/net_step_150.pt two"},
         "#1 complete unknown epoch=1 step=100 val_loss=0.5 { net_step_100.pt@1 }\n"
         "#2 complete unknown step=150 val_loss=0.4 { net_step_150.pt@1 }\n"},
        {"Lightning's, above", "c/version_0/checkpoints",
         {"log c/version_0/metrics.csv epoch,step,val_loss\n0,9,0.5\n", "save c/version_0/checkpoints/epoch=0-step=10.ckpt one"},
         "#1 complete unknown epoch=0 step=10 val_loss=0.5 { epoch=0-step=10.ckpt@1 }\n"},
    };
    CHECK(state, rows);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(files_of_a_run, setup, teardown),
        cmocka_unit_test_setup_teardown(directories, setup, teardown),
        cmocka_unit_test_setup_teardown(metrics, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
