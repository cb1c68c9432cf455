/*
 * Which files give values to the checkpoints of a run. Real files in the live/ of a temporary store; the
 * samples are those of tests/files/metrics.
 *
 * What is joined is written "NAME VALUE PATH", a metric per line.
 */
#include "unit.h"

#include "common/crc32c.h"
#include "common/live.h"
#include "metrics/sources.h"
#include "metrics_samples.h"
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

enum { FILES = 8, TEXT = 2048, LIVE_PATH = 512 };

#define MLFLOW_RUN "0123456789abcdef0123456789abcdef"

/* ---- live/ ---- */

static void live_path(const struct unit_store *u, const char *path, char full[LIVE_PATH])
{
    int n = snprintf(full, LIVE_PATH, "%s/live/%s", u->dir, path);
    assert_in_range(n, 1, LIVE_PATH - 1);
}

static void make_directories(const struct unit_store *u, const char *path)
{
    char full[LIVE_PATH];
    live_path(u, path, full);
    for (char *slash = full + strlen(u->dir) + 1; (slash = strchr(slash, '/')) != NULL; slash++) {
        *slash = '\0';
        assert_true(mkdir(full, 0700) == 0 || errno == EEXIST);
        *slash = '/';
    }
}

static void put_bytes(const struct unit_store *u, const char *path, const char *mode, const void *bytes,
                      size_t n)
{
    char full[LIVE_PATH];
    make_directories(u, path);
    live_path(u, path, full);
    FILE *file = fopen(full, mode);
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static void put(const struct unit_store *u, const char *path, const char *text)
{
    put_bytes(u, path, "wb", text, strlen(text));
}

static void append(const struct unit_store *u, const char *path, const char *text)
{
    put_bytes(u, path, "ab", text, strlen(text));
}

static void set_age(const struct unit_store *u, const char *path, int64_t mtime_ns)
{
    char full[LIVE_PATH];
    struct timespec t = {.tv_sec = (time_t)(mtime_ns / 1000000000), .tv_nsec = (long)(mtime_ns % 1000000000)};
    struct timespec times[2] = {t, t};
    live_path(u, path, full);
    assert_int_equal(utimensat(AT_FDCWD, full, times, 0), 0);
}

static void remove_live(const struct unit_store *u, const char *path)
{
    char full[LIVE_PATH];
    live_path(u, path, full);
    assert_int_equal(unlink(full), 0);
}

/* ---- event files ---- */

static size_t put_le32(uint8_t *at, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++) {
        at[i] = (uint8_t)(value >> (8 * i));
    }
    return 4;
}

static size_t put_masked(uint8_t *at, const uint8_t *bytes, size_t n)
{
    uint32_t crc = ckpt_crc32c(bytes, n);
    return put_le32(at, ((crc >> 15) | (crc << 17)) + 0xa282ead8);
}

/* Appends one event with one simple value. STEP is below 128, TAG short. */
static void put_event(const struct unit_store *u, const char *path, const char *tag, float value, uint8_t step)
{
    uint8_t record[128];
    size_t tag_size = strlen(tag);
    size_t value_size = 2 + tag_size + 5;
    size_t event_size = 2 + 2 + 2 + value_size;
    uint32_t bits = 0;
    size_t n = put_le32(record, (uint32_t)event_size);
    assert_in_range(event_size, 1, 100);
    memcpy(&bits, &value, sizeof bits);
    n += put_le32(record + n, 0);
    n += put_masked(record + n, record, n);
    size_t data = n;
    const uint8_t start[] = {
        0x10, step, 0x2a, (uint8_t)(2 + value_size), 0x0a, (uint8_t)value_size, 0x0a, (uint8_t)tag_size};
    memcpy(record + n, start, sizeof start);
    n += sizeof start;
    memcpy(record + n, tag, tag_size);
    n += tag_size;
    record[n++] = 0x15;
    n += put_le32(record + n, bits);
    assert_int_equal(n - data, event_size);
    n += put_masked(record + n, record + data, event_size);
    put_bytes(u, path, "ab", record, n);
}

/* ---- a run ---- */

struct run {
    struct unit_store *u;
    const char *path;
    const char *shared; /* the lowest directory that other runs lie below; NULL: none */
    struct ckpt_sources *sources;
    struct ckpt_series *series;
    struct ckpt_polled polled;
};

static bool is_shared(void *arg, const char *ancestor)
{
    const struct run *run = arg;
    size_t n = strlen(ancestor);
    /* An ancestor of what is shared is shared. */
    return run->shared != NULL && (n == 0 || (strncmp(run->shared, ancestor, n) == 0 &&
                                              (run->shared[n] == '/' || run->shared[n] == '\0')));
}

static void run_open(struct run *run, void **state, const char *path)
{
    *run = (struct run){.u = *state, .path = path};
    assert_ok(ckpt_sources_create(&run->sources));
    assert_ok(ckpt_series_create(&run->series));
}

static void run_close(struct run *run)
{
    ckpt_sources_free(run->sources);
    ckpt_series_free(run->series);
}

/* Whether something changed. */
static bool poll_run(struct run *run, bool discover)
{
    assert_ok(ckpt_sources_poll(run->sources, run->u->store, run->path, discover, is_shared, run, run->series,
                                &run->polled));
    return run->polled.changed;
}

static bool note(struct run *run, const char *path)
{
    bool is = false;
    assert_ok(ckpt_sources_note(run->sources, run->path, path, &is));
    return is;
}

static const char *joined(struct run *run, struct ckpt_join_key key, char text[TEXT])
{
    struct ckpt_joined *list = NULL;
    size_t count = 0;
    int n = 0;
    text[0] = '\0';
    assert_ok(ckpt_series_join(run->series, &key, &list, &count));
    for (size_t i = 0; i < count; i++) {
        n += snprintf(text + n, TEXT - (size_t)n, "%s %g %s\n", list[i].name, list[i].value, list[i].path);
    }
    free(list);
    return text;
}

static const char *at_step(struct run *run, uint64_t step, char text[TEXT])
{
    return joined(run, (struct ckpt_join_key){.has_step = true, .step = step}, text);
}

static const char *at_epoch(struct run *run, uint64_t epoch, char text[TEXT])
{
    return joined(run, (struct ckpt_join_key){.has_epoch = true, .epoch = epoch}, text);
}

/* ---- where ---- */

struct layout {
    const char *what;
    struct {
        const char *path;
        const char *bytes; /* "@NAME": a sample */
    } files[FILES];
    const char *run;
    const char *shared;
    bool by_epoch;
    uint64_t number;
    const char *joined;
};

static const struct layout layouts[] = {
    {"Lightning: above checkpoints/",
     {{"exp/lightning_logs/version_0/metrics.csv", "@version_0/metrics.csv"},
      {"exp/lightning_logs/version_0/checkpoints/epoch=0-step=100.ckpt", "x"}},
     "exp/lightning_logs/version_0/checkpoints",
     NULL,
     false,
     100,
     "train_loss 2.25 exp/lightning_logs/version_0/metrics.csv\n"
     "val_acc 0.5 exp/lightning_logs/version_0/metrics.csv\n"
     "val_loss 2.125 exp/lightning_logs/version_0/metrics.csv\n"},
    {"Lightning, with a directory of another name: hparams.yaml says so",
     {{"exp/mine/metrics.csv", "epoch,step,loss\n0,49,0.5\n"}, {"exp/mine/hparams.yaml", ""}},
     "exp/mine/checkpoints",
     NULL,
     false,
     50,
     "loss 0.5 exp/mine/metrics.csv\n"},
    {"somebody's metrics.csv",
     {{"exp/metrics.csv", "epoch,step,loss\n0,50,0.5\n"}},
     "exp",
     NULL,
     false,
     50,
     "loss 0.5 exp/metrics.csv\n"},
    {"two directories up",
     {{"exp/metrics.csv", "step,loss\n1,0.5\n"}},
     "exp/a/checkpoints",
     NULL,
     false,
     1,
     "loss 0.5 exp/metrics.csv\n"},
    {"three directories up", {{"metrics.csv", "step,loss\n1,0.5\n"}}, "exp/a/checkpoints", NULL, false, 1, ""},
    {"live/ itself is above",
     {{"metrics.csv", "step,loss\n1,0.5\n"}},
     "checkpoints",
     NULL,
     false,
     1,
     "loss 0.5 metrics.csv\n"},
    {"live/ itself is the run",
     {{"metrics.csv", "step,loss\n1,0.5\n"}},
     "",
     NULL,
     false,
     1,
     "loss 0.5 metrics.csv\n"},
    {"another run lies there too", {{"exp/metrics.csv", "step,loss\n1,0.5\n"}}, "exp/a", "exp", false, 1, ""},
    {"another run lies further up",
     {{"exp/a/metrics.csv", "step,loss\n1,0.5\n"}, {"exp/metrics.csv", "step,loss\n1,0.25\n"}},
     "exp/a/checkpoints",
     "exp",
     false,
     1,
     "loss 0.5 exp/a/metrics.csv\n"},
    {"a directory beside that is no logger's",
     {{"exp/other/metrics.csv", "step,loss\n1,0.5\n"}},
     "exp/checkpoints",
     NULL,
     false,
     1,
     ""},
    {"a name that only begins as the run's",
     {{"exp/a2/metrics.csv", "step,loss\n1,0.5\n"}},
     "exp/a",
     NULL,
     false,
     1,
     ""},
    {"logs beside checkpoints",
     {{"exp/logs/x/metrics.csv", "step,loss\n1,0.5\n"}},
     "exp/checkpoints",
     NULL,
     false,
     1,
     "loss 0.5 exp/logs/x/metrics.csv\n"},
    {"three levels down",
     {{"exp/a/b/c/metrics.csv", "step,loss\n1,0.5\n"}},
     "exp",
     NULL,
     false,
     1,
     "loss 0.5 exp/a/b/c/metrics.csv\n"},
    {"four levels down", {{"exp/a/b/c/d/metrics.csv", "step,loss\n1,0.5\n"}}, "exp", NULL, false, 1, ""},
    {"MLflow",
     {{"mlruns/0/" MLFLOW_RUN "/metrics/val/loss", "@mlruns/0/" MLFLOW_RUN "/metrics/val/loss"}},
     "checkpoints",
     NULL,
     false,
     1,
     "val/loss 0.5 mlruns/0/" MLFLOW_RUN "/metrics/val/loss\n"},
    {"MLflow, checkpoints as artifacts",
     {{"mlruns/0/" MLFLOW_RUN "/metrics/val/loss", "@mlruns/0/" MLFLOW_RUN "/metrics/val/loss"}},
     "mlruns/0/" MLFLOW_RUN "/artifacts",
     NULL,
     false,
     1,
     "val/loss 0.5 mlruns/0/" MLFLOW_RUN "/metrics/val/loss\n"},
    {"W&B",
     {{"wandb/run-20240101_120000-abc/files/wandb-summary.json", "@wandb-summary.json"}},
     "checkpoints",
     NULL,
     false,
     943,
     "val/loss 0.25 wandb/run-20240101_120000-abc/files/wandb-summary.json\n"
     "acc 14.5 wandb/run-20240101_120000-abc/files/wandb-summary.json\n"
     "bad nan wandb/run-20240101_120000-abc/files/wandb-summary.json\n"
     "nested/f1 0.5 wandb/run-20240101_120000-abc/files/wandb-summary.json\n"},
    {"Ray",
     {{"trial/result.json", "@ray/result.json"}, {"trial/checkpoint_000000/model.pt", "x"}},
     "trial",
     NULL,
     false,
     1,
     "loss 0.5 trial/result.json\nnested/acc 0.75 trial/result.json\nnested/deep/f1 0.625 trial/result.json\n"
     "pid 4711 trial/result.json\n"},
    {"what is within a checkpoint isn't the run's",
     {{"out/checkpoint-300/trainer_state.json", "@checkpoint-300/trainer_state.json"},
      {"out/snap/.snapshot_metadata", "x"},
      {"out/snap/log.csv", "step,loss\n300,1\n"}},
     "out",
     NULL,
     false,
     300,
     ""},
    {"Keras counts from 0",
     {{"exp/training.log", "@training.log"}, {"exp/weights.keras", "x"}},
     "exp",
     NULL,
     true,
     2,
     "accuracy 0.5 exp/training.log\nloss 0.5 exp/training.log\nval_accuracy 0.5 exp/training.log\n"
     "val_loss 0.625 exp/training.log\n"},
    {"the same is somebody else's with checkpoints of torch",
     {{"exp/training.log", "@training.log"}, {"exp/a.pt", "x"}},
     "exp",
     NULL,
     true,
     1,
     "accuracy 0.5 exp/training.log\nloss 0.5 exp/training.log\nval_accuracy 0.5 exp/training.log\n"
     "val_loss 0.625 exp/training.log\n"},
    {"logs that are none, and a table",
     {{"exp/train.log", "Starting\nepoch 1\nepoch 2\n"},
      {"exp/a.csv", "a,b\n1,2\n3,4\n"},
      {"exp/results.csv", "epoch,loss\n1,0.5\n"}},
     "exp",
     NULL,
     true,
     1,
     "loss 0.5 exp/results.csv\n"},
    {"a file on its way", {{"exp/metrics.csv.tmp", "step,loss\n1,0.5\n"}}, "exp", NULL, false, 1, ""},
};

static void put_file(const struct unit_store *u, const char *path, const char *bytes)
{
    if (bytes[0] == '@') {
        struct sample sample = sample_read(bytes + 1);
        put_bytes(u, path, "wb", sample.bytes, sample.size);
        free(sample.bytes);
    } else {
        put(u, path, bytes);
    }
}

static void check_layout(const struct layout *layout)
{
    struct run run;
    void *state = NULL;
    char text[TEXT];
    assert_int_equal(unit_store_setup(&state), 0);
    run_open(&run, &state, layout->run);
    run.shared = layout->shared;
    for (size_t i = 0; i < FILES && layout->files[i].path != NULL; i++) {
        put_file(run.u, layout->files[i].path, layout->files[i].bytes);
    }
    bool changed = poll_run(&run, true);
    const char *got =
        layout->by_epoch ? at_epoch(&run, layout->number, text) : at_step(&run, layout->number, text);
    if (strcmp(got, layout->joined) != 0) {
        print_error("%s:\n%snot\n%s", layout->what, got, layout->joined);
        fail();
    }
    assert_int_equal(changed, ckpt_series_points(run.series) > 0);
    assert_false(run.polled.more);
    assert_false(poll_run(&run, true));
    run_close(&run);
    assert_int_equal(unit_store_teardown(&state), 0);
}

static void a_run_has_the_files_of_its_loggers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++) {
        check_layout(&layouts[i]);
    }
}

static void a_directory_of_events_says_the_split(void **state)
{
    struct run run;
    char text[TEXT];
    run_open(&run, state, "exp/checkpoints");
    put_event(run.u, "exp/logs/train/events.out.tfevents.1.h", "epoch_loss", 0.5F, 0);
    put_event(run.u, "exp/logs/train/events.out.tfevents.1.h", "epoch_loss", 0.25F, 1);
    put_event(run.u, "exp/logs/validation/events.out.tfevents.1.h", "epoch_loss", 0.75F, 1);
    put_event(run.u, "exp/logs/test/events.out.tfevents.1.h", "test_f1", 0.125F, 7);
    put_event(run.u, "exp/logs/test/events.out.tfevents.1.h", "acc", 0.375F, 7);
    put_event(run.u, "exp/logs/events.out.tfevents.1.h", "epoch_length", 64, 7);
    assert_true(poll_run(&run, true));
    assert_string_equal(at_epoch(&run, 2, text), "loss 0.25 exp/logs/train/events.out.tfevents.1.h\n"
                                                 "val_loss 0.75 exp/logs/validation/events.out.tfevents.1.h\n");
    assert_non_null(strstr(at_step(&run, 7, text), "test_f1 0.125 "));
    assert_non_null(strstr(text, "test_acc 0.375 "));
    assert_non_null(strstr(text, "epoch_length 64 "));
    run_close(&run);
}

static void mlflow_without_steps_goes_by_time(void **state)
{
    struct run run;
    char text[TEXT];
    struct ckpt_join_key key = {.has_step = true, .step = 500};
    run_open(&run, state, "checkpoints");
    put(run.u, "mlruns/0/" MLFLOW_RUN "/metrics/loss", "1700000000000 0.5 0\n1700000060000 0.25 0\n");
    assert_true(poll_run(&run, true));
    key.saved_ns = 1700000030000 * 1000000;
    assert_string_equal(joined(&run, key, text), "loss 0.5 mlruns/0/" MLFLOW_RUN "/metrics/loss\n");
    key.previous_ns = key.saved_ns;
    key.saved_ns = 1700000070000 * 1000000;
    assert_string_equal(joined(&run, key, text), "loss 0.25 mlruns/0/" MLFLOW_RUN "/metrics/loss\n");
    run_close(&run);
}

static void who_was_written_last_wins(void **state)
{
    struct run run;
    char text[TEXT];
    run_open(&run, state, "exp");
    put(run.u, "exp/lightning_logs/version_0/metrics.csv", "epoch,step,loss\n0,9,2\n");
    put(run.u, "exp/lightning_logs/version_1/metrics.csv", "epoch,step,loss\n0,9,1\n");
    set_age(run.u, "exp/lightning_logs/version_0/metrics.csv", 2000000000);
    set_age(run.u, "exp/lightning_logs/version_1/metrics.csv", 1000000000);
    assert_true(poll_run(&run, true));
    assert_string_equal(at_step(&run, 10, text), "loss 2 exp/lightning_logs/version_0/metrics.csv\n");
    run_close(&run);
}

static void another_run_comes_up_beside(void **state)
{
    struct run run;
    char text[TEXT];
    run_open(&run, state, "exp/a");
    put(run.u, "exp/a/own.csv", "step,val\n1,7\n");
    put(run.u, "exp/metrics.csv", "step,loss\n1,0.5\n");
    assert_true(poll_run(&run, true));
    run.shared = "exp";
    assert_true(poll_run(&run, true));
    assert_string_equal(at_step(&run, 1, text), "val 7 exp/a/own.csv\n");
    assert_false(note(&run, "exp/metrics.csv"));
    run_close(&run);
}

static void a_run_is_moved(void **state)
{
    struct run run;
    char text[TEXT];
    char from[LIVE_PATH];
    char to[LIVE_PATH];
    run_open(&run, state, "a");
    put(run.u, "a/metrics.csv", "step,loss\n1,0.5\n");
    assert_true(poll_run(&run, false)); /* the first one looks for itself */
    live_path(run.u, "a", from);
    live_path(run.u, "b", to);
    assert_int_equal(rename(from, to), 0);
    run.path = "b";
    assert_true(poll_run(&run, false));
    assert_string_equal(at_step(&run, 1, text), "loss 0.5 b/metrics.csv\n");
    run_close(&run);
}

/* ---- reading on ---- */

static void a_file_grows(void **state)
{
    struct run run;
    char text[TEXT];
    run_open(&run, state, "exp");
    put(run.u, "exp/log.csv", "");
    assert_false(poll_run(&run, true));
    append(run.u, "exp/log.csv", "step,loss\n1,0.5\n2,0.2");
    assert_true(poll_run(&run, false));
    assert_string_equal(at_step(&run, 2, text), "loss 0.5 exp/log.csv\n"); /* the last one before it */
    assert_false(poll_run(&run, false));
    append(run.u, "exp/log.csv", "5\n");
    assert_true(poll_run(&run, false));
    assert_string_equal(at_step(&run, 2, text), "loss 0.25 exp/log.csv\n");
    remove_live(run.u, "exp/log.csv");
    assert_false(poll_run(&run, false));
    assert_int_equal(ckpt_sources_count(run.sources), 0);
    assert_string_equal(at_step(&run, 2, text), "loss 0.25 exp/log.csv\n");
    run_close(&run);
}

/* How a file can be another one at the next poll. */
static void a_file_is_written_anew(void **state)
{
    static const struct {
        const char *what;
        bool replace; /* by another inode */
        const char *text;
        const char *at_3;
    } cases[] = {
        {"other columns", false, "step,acc,loss\n1,1,9\n2,1,8\n", "acc 1 exp/log.csv\nloss 8 exp/log.csv\n"},
        {"shorter", false, "step,loss\n1,9\n", "loss 9 exp/log.csv\n"},
        {"same header, longer", false, "step,loss\n1,9\n2,8\n4,6\n5,5\n", "loss 8 exp/log.csv\n"},
        {"of another kind", false, "epoch,acc,loss\r\n0,1,9\r\n1,1,8\r\n", ""},
        {"another inode of another kind", true, "epoch,acc,loss\r\n0,1,9\r\n1,1,8\r\n", ""},
        {"another inode", true, "step,loss\n1,0.5\n2,8\n4,1\n", "loss 8 exp/log.csv\n"},
    };
    char text[TEXT];
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct run run;
        char from[LIVE_PATH];
        char to[LIVE_PATH];
        run_open(&run, state, "exp");
        put(run.u, "exp/log.csv", "step,loss\n1,0.5\n3,0.25\n");
        assert_true(poll_run(&run, true));
        put(run.u, cases[i].replace ? "exp/new" : "exp/log.csv", cases[i].text);
        if (cases[i].replace) {
            live_path(run.u, "exp/new", from);
            live_path(run.u, "exp/log.csv", to);
            assert_int_equal(rename(from, to), 0);
        }
        assert_true(poll_run(&run, false));
        if (strcmp(at_step(&run, 3, text), cases[i].at_3) != 0) {
            print_error("%s: %s", cases[i].what, text);
            fail();
        }
        if (cases[i].at_3[0] == '\0') { /* as Keras counts */
            assert_string_equal(at_epoch(&run, 2, text), "acc 1 exp/log.csv\nloss 8 exp/log.csv\n");
        }
        run_close(&run);
    }
}

static void a_summary_is_rewritten_and_keeps_what_it_said(void **state)
{
    struct run run;
    char text[TEXT];
    run_open(&run, state, "exp");
    put(run.u, "exp/wandb-summary.json", "{\"_step\": 1, \"loss\": 0.5}");
    assert_true(poll_run(&run, true));
    put(run.u, "exp/wandb-summary.json", "{\"_step\": 20, \"loss\": 0.25}");
    assert_true(poll_run(&run, false));
    assert_string_equal(at_step(&run, 1, text), "loss 0.5 exp/wandb-summary.json\n");
    assert_string_equal(at_step(&run, 20, text), "loss 0.25 exp/wandb-summary.json\n");
    run_close(&run);
}

static void a_note_takes_the_place_of_a_walk(void **state)
{
    struct run run;
    char text[TEXT];
    run_open(&run, state, "exp/checkpoints");
    make_directories(run.u, "exp/checkpoints/");
    assert_false(poll_run(&run, true));
    put(run.u, "exp/metrics.csv", "step,loss\n1,0.5\n");
    assert_false(poll_run(&run, false));
    assert_false(note(&run, "exp/checkpoints/model.pt"));
    assert_false(note(&run, "exp/checkpoints/checkpoint-300/trainer_state.json"));
    assert_false(note(&run, "exp/notes.txt"));
    assert_false(note(&run, "exp/other/metrics.csv"));
    assert_true(note(&run, "exp/metrics.csv"));
    assert_true(note(&run, "exp/metrics.csv"));
    assert_int_equal(ckpt_sources_count(run.sources), 1);
    assert_true(poll_run(&run, false));
    assert_string_equal(at_step(&run, 1, text), "loss 0.5 exp/metrics.csv\n");
    run_close(&run);
}

static void a_checkpoint_says_that_it_is_not_keras(void **state)
{
    struct run run;
    char text[TEXT];
    run_open(&run, state, "exp");
    put(run.u, "exp/log.csv", "epoch,acc,loss\r\n0,0.5,4\r\n1,0.75,2\r\n");
    assert_true(poll_run(&run, true));
    assert_string_equal(at_epoch(&run, 1, text), "acc 0.5 exp/log.csv\nloss 4 exp/log.csv\n");
    assert_true(note(&run, "exp/epoch_1.pt"));
    assert_true(poll_run(&run, false));
    assert_string_equal(at_epoch(&run, 1, text), "acc 0.75 exp/log.csv\nloss 2 exp/log.csv\n");
    assert_false(poll_run(&run, false));
    run_close(&run);
}

static void trainer_states_are_read_by_name(void **state)
{
    struct run run;
    char text[TEXT];
    bool changed = false;
    run_open(&run, state, "out");
    put_file(run.u, "out/checkpoint-300/trainer_state.json", "@checkpoint-300/trainer_state.json");
    put(run.u, "out/checkpoint-300/config.json", "{}\n{}\n");
    assert_ok(
        ckpt_sources_read_file(run.u->store, "out/checkpoint-300/trainer_state.json", run.series, &changed));
    assert_true(changed);
    assert_non_null(
        strstr(at_step(&run, 200, text), "eval_loss 2.125 out/checkpoint-300/trainer_state.json\n"));
    changed = false;
    assert_ok(
        ckpt_sources_read_file(run.u->store, "out/checkpoint-300/trainer_state.json", run.series, &changed));
    assert_false(changed);
    static const struct {
        const char *path;
        enum ckpt_err err;
    } cases[] = {
        {"out/checkpoint-400/trainer_state.json", CKPT_ERR_NOT_FOUND},
        {"out/checkpoint-300", CKPT_ERR_NOT_FOUND},
        {"out/checkpoint-300/config.json", CKPT_ERR_INVALID},
        {"out/../../FORMAT", CKPT_ERR_INVALID},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(ckpt_sources_read_file(run.u->store, cases[i].path, run.series, &changed),
                         cases[i].err);
    }
    assert_false(changed);
    run_close(&run);
}

/* ---- what isn't to be trusted ---- */

static void links_lead_nowhere(void **state)
{
    struct run run;
    char outside[UNIT_PATH + 64];
    char link[LIVE_PATH];
    run_open(&run, state, "exp");
    snprintf(outside, sizeof outside, "%s/outside", run.u->dir);
    assert_int_equal(mkdir(outside, 0700), 0);
    put(run.u, "../outside/metrics.csv", "step,loss\n1,0.5\n");
    make_directories(run.u, "exp/");
    live_path(run.u, "exp/logs", link);
    assert_int_equal(symlink("../../outside", link), 0);
    live_path(run.u, "exp/metrics.csv", link);
    assert_int_equal(symlink("../../outside/metrics.csv", link), 0);
    live_path(run.u, "exp/pipe.csv", link);
    assert_int_equal(mkfifo(link, 0600), 0);
    assert_false(poll_run(&run, true));
    assert_int_equal(ckpt_sources_count(run.sources), 0);
    /* Nor if somebody names them. */
    assert_true(note(&run, "exp/metrics.csv"));
    assert_true(note(&run, "exp/logs/metrics.csv"));
    assert_true(note(&run, "exp/pipe.csv"));
    assert_false(poll_run(&run, false));
    assert_int_equal(ckpt_sources_count(run.sources), 0);
    run_close(&run);
}

static void a_cold_file_is_passed_over(void **state)
{
    struct run run;
    char full[LIVE_PATH];
    char text[TEXT];
    static const char table[] = "step,loss\n1,0.5\n";
    struct ckpt_stub stub = {.recipe.bytes = {1}, .size = sizeof table - 1, .stored = 1};
    bool changed = false;
    run_open(&run, state, "exp");
    put(run.u, "exp/log.csv", table);
    live_path(run.u, "exp/log.csv", full);
    int fd = open(full, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_ok(ckpt_live_set_stub(fd, &stub));
    assert_false(poll_run(&run, true));
    assert_int_equal(ckpt_sources_read_file(run.u->store, "exp/log.csv", run.series, &changed),
                     CKPT_ERR_UNSUPPORTED);
    assert_ok(ckpt_live_clear_stub(fd));
    assert_int_equal(close(fd), 0);
    assert_true(poll_run(&run, false));
    assert_string_equal(at_step(&run, 1, text), "loss 0.5 exp/log.csv\n");
    run_close(&run);
}

static void a_huge_file_takes_several_polls(void **state)
{
    struct run run;
    char text[TEXT];
    enum { LINE = 1 << 16, ROWS = 1600 }; /* 100 MiB */
    char *line = malloc(LINE);
    unsigned polls = 1;
    assert_non_null(line);
    run_open(&run, state, "exp");
    put(run.u, "exp/huge.csv", "step,note,loss\n");
    char full[LIVE_PATH];
    live_path(run.u, "exp/huge.csv", full);
    FILE *file = fopen(full, "ab");
    assert_non_null(file);
    for (unsigned i = 1; i <= ROWS; i++) {
        int n = snprintf(line, LINE, "%u,", i);
        memset(line + n, 'x', LINE - (size_t)n);
        n = snprintf(line + LINE - 32, 32, ",%u.5\n", i);
        assert_int_equal(fwrite(line, 1, LINE - 32 + (size_t)n, file), LINE - 32 + (size_t)n);
    }
    assert_int_equal(fclose(file), 0);
    put(run.u, "exp/small.csv", "step,val\n1,7\n"); /* the younger one: behind it */
    set_age(run.u, "exp/huge.csv", 1000000000);
    assert_true(poll_run(&run, true));
    assert_true(run.polled.more);
    assert_in_range(ckpt_series_points(run.series), ROWS / 2, ROWS - 1);
    for (; run.polled.more; polls++) {
        assert_true(polls < 5);
        assert_true(poll_run(&run, false));
    }
    assert_int_equal(polls, 2);
    assert_string_equal(at_step(&run, ROWS, text), "loss 1600.5 exp/huge.csv\nval 7 exp/small.csv\n");
    run_close(&run);
    free(line);
}

static void a_directory_of_thousands_ends_the_walk(void **state)
{
    struct run run;
    run_open(&run, state, "exp");
    for (unsigned i = 0; i < 5000; i++) {
        char path[64];
        snprintf(path, sizeof path, "exp/%u.csv", i);
        put(run.u, path, "step,loss\n1,0.5\n");
    }
    put(run.u, "exp/logs/metrics.csv", "step,val\n1,0.5\n");
    assert_true(poll_run(&run, true));
    assert_int_equal(ckpt_sources_count(run.sources), CKPT_SOURCES_FILES);
    assert_false(poll_run(&run, true));
    assert_false(note(&run, "exp/5001.csv"));
    run_close(&run);
    ckpt_sources_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_has_the_files_of_its_loggers),
        cmocka_unit_test_setup_teardown(a_directory_of_events_says_the_split, unit_store_setup,
                                        unit_store_teardown),
        cmocka_unit_test_setup_teardown(mlflow_without_steps_goes_by_time, unit_store_setup,
                                        unit_store_teardown),
        cmocka_unit_test_setup_teardown(who_was_written_last_wins, unit_store_setup, unit_store_teardown),
        cmocka_unit_test_setup_teardown(another_run_comes_up_beside, unit_store_setup, unit_store_teardown),
        cmocka_unit_test_setup_teardown(a_run_is_moved, unit_store_setup, unit_store_teardown),
        cmocka_unit_test_setup_teardown(a_file_grows, unit_store_setup, unit_store_teardown),
        cmocka_unit_test_setup_teardown(a_file_is_written_anew, unit_store_setup, unit_store_teardown),
        cmocka_unit_test_setup_teardown(a_summary_is_rewritten_and_keeps_what_it_said, unit_store_setup,
                                        unit_store_teardown),
        cmocka_unit_test_setup_teardown(a_note_takes_the_place_of_a_walk, unit_store_setup,
                                        unit_store_teardown),
        cmocka_unit_test_setup_teardown(a_checkpoint_says_that_it_is_not_keras, unit_store_setup,
                                        unit_store_teardown),
        cmocka_unit_test_setup_teardown(trainer_states_are_read_by_name, unit_store_setup, unit_store_teardown),
        cmocka_unit_test_setup_teardown(links_lead_nowhere, unit_store_setup, unit_store_teardown),
        cmocka_unit_test_setup_teardown(a_cold_file_is_passed_over, unit_store_setup, unit_store_teardown),
        cmocka_unit_test_setup_teardown(a_huge_file_takes_several_polls, unit_store_setup, unit_store_teardown),
        cmocka_unit_test_setup_teardown(a_directory_of_thousands_ends_the_walk, unit_store_setup,
                                        unit_store_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
