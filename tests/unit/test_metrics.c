/*
 * What is read out of the files in which trainers leave their metrics. The samples are made by
 * tests/files/make-metrics.
 */
#include "metrics_samples.h"

#include <locale.h>

#define MLFLOW "mlruns/0/0123456789abcdef0123456789abcdef/metrics/val/loss"

static void test_samples(void **state)
{
    static const struct {
        const char *name;
        enum ckpt_metrics_kind kind;
        const char *points[40];
    } cases[] = {
        {"version_0/metrics.csv", CKPT_METRICS_LIGHTNING,
         {"train_loss 2.5 s50 e0", "train_loss 2.25 s100 e0", "val_acc 0.5 s100 e0", "val_loss 2.125 s100 e0",
          "lr-AdamW 1e-05 s150", "train_loss nan s150 e1", "val_acc 0.625 s200 e1", "val_loss inf s200 e1"}},
        {"training.log", CKPT_METRICS_KERAS,
         {"accuracy 0.25 e1", "loss 0.75 e1", "val_accuracy 0.5 e1", "val_loss 0.875 e1", "accuracy 0.5 e2",
          "loss 0.5 e2", "val_accuracy 0.5 e2", "val_loss 0.625 e2", "accuracy 0.625 e3", "loss 0.375 e3"}},
        {"semicolon.csv", CKPT_METRICS_KERAS,
         {"accuracy 0.25 e1", "loss 0.75 e1", "val_accuracy 0.5 e1", "val_loss 0.875 e1", "accuracy 0.5 e2",
          "loss 0.5 e2", "val_accuracy 0.5 e2", "val_loss 0.625 e2", "accuracy 0.625 e3", "loss 0.375 e3"}},
        {"ray/progress.csv", CKPT_METRICS_RAY_CSV,
         {"loss 0.5 s1 t1700000000000", "nested/acc 0.75 s1 t1700000000000", "nested/deep/f1 0.625 s1 t1700000000000",
          "pid 4711 s1 t1700000000000", "loss nan s2 c0 t1700000060000", "nested/acc 0.875 s2 c0 t1700000060000",
          "nested/deep/f1 0.75 s2 c0 t1700000060000", "pid 4711 s2 c0 t1700000060000"}},
        {"ray/result.json", CKPT_METRICS_RAY_JSON,
         {"loss 0.5 s1 t1700000000000", "nested/acc 0.75 s1 t1700000000000", "nested/deep/f1 0.625 s1 t1700000000000",
          "pid 4711 s1 t1700000000000", "loss nan s2 c0 t1700000060000", "nested/acc 0.875 s2 c0 t1700000060000",
          "nested/deep/f1 0.75 s2 c0 t1700000060000", "pid 4711 s2 c0 t1700000060000"}},
        {"checkpoint-300/trainer_state.json", CKPT_METRICS_HF,
         {"grad_norm nan s100 e0.5", "learning_rate 4.5e-05 s100 e0.5", "loss 2.5 s100 e0.5",
          "eval_loss 2.125 s200 e1", "eval_nested/f1 0.5 s200 e1", "eval_runtime 1.5 s200 e1", "eval_loss inf s300 e1.5",
          "best_metric 2.125 s200"}},
        {"wandb-summary.json", CKPT_METRICS_WANDB,
         {"val/loss 0.25 s943 e12 t1700000000500", "acc 14.5 s943 e12 t1700000000500", "bad nan s943 e12 t1700000000500",
          "nested/f1 0.5 s943 e12 t1700000000500"}},
        {"journal.log", CKPT_METRICS_OPTUNA,
         {"intermediate_value 0.5 s0 #0", "intermediate_value nan s1 #0", "value 0.25 #0", "intermediate_value 0.75 s3 #1",
          "values/0 0.125 #2", "values/1 inf #2"}},
        {MLFLOW, CKPT_METRICS_MLFLOW,
         {"val/loss 0.5 s1 t1700000000000", "val/loss nan s2 t1700000001500", "val/loss 0.25 t1700000003000",
          "val/loss 0.125 s0 t1700000004000"}},
        {"events.out.tfevents.1700000000.host.4711.0", CKPT_METRICS_TFEVENTS,
         {"loss 2.5 s0 t1700000001500", "loss nan s10 t1700000002000", "train/acc 0.5 s10 t1700000002000",
          "float 0.25 s20 t1700000003000", "content 0.125 s20 t1700000003000", "double 1e+300 s20 t1700000003000",
          "half 0.375 s20 t1700000003000", "bfloat16 1.5 s20 t1700000003000", "int64 -7 s20 t1700000003000",
          "unpacked 0.75 s20 t1700000003000", "late 4 s40 t1700000005000", "negative 8 t1700000006000"}},
    };
    struct points *points = calloc(1, sizeof *points);
    (void)state;
    assert_non_null(points);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sample sample = sample_read(cases[i].name);
        struct ckpt_metrics_mark mark = {0};
        points->count = 0;
        assert_int_equal(ckpt_metrics_kind_of(cases[i].name, sample.bytes, sample.size), cases[i].kind);
        assert_ok(metrics_read(cases[i].kind, cases[i].name, sample.bytes, sample.size, SIZE_MAX, &mark, points));
        assert_int_equal(mark.offset, sample.size);
        points_equal(points, cases[i].points, cases[i].name);
        free(sample.bytes);
    }
    free(points);
}

static void test_what_a_file_is(void **state)
{
    static const struct {
        const char *path;
        const char *head;
        enum ckpt_metrics_kind kind;
    } cases[] = {
        {"trainer_state.json", "", CKPT_METRICS_HF},
        {"out/checkpoint-500/trainer_state.json", "", CKPT_METRICS_HF},
        {"my_trainer_state.json", "{", CKPT_METRICS_NONE},
        {"wandb/run-1/files/wandb-summary.json", "", CKPT_METRICS_WANDB},
        {"runs/a/events.out.tfevents.1.host.2.0", "", CKPT_METRICS_TFEVENTS},
        {"events.out.tfevents.1.host.2.0.v2", "", CKPT_METRICS_TFEVENTS},
        {"events.log", "", CKPT_METRICS_NONE},
        {"mlruns/0/0123456789abcdef0123456789abcdef/metrics/loss", "", CKPT_METRICS_MLFLOW},
        {"0123456789abcdef0123456789abcdef/metrics/a/metrics/b", "", CKPT_METRICS_MLFLOW},
        {"/x/metrics/0123456789abcdef0123456789abcdef/metrics/b", "", CKPT_METRICS_MLFLOW},
        {"mlruns/0/0123456789abcdef0123456789abcdef/params/loss", "", CKPT_METRICS_NONE},
        {"mlruns/0/0123456789abcdef0123456789abcdef/metrics/", "", CKPT_METRICS_NONE},
        {"mlruns/0/x0123456789abcdef0123456789abcdef/metrics/loss", "", CKPT_METRICS_NONE},
        {"run/metrics/loss", "1 2 3\n", CKPT_METRICS_NONE},
        {"t/result.json", "{\"loss\": 1, \"training_iteration\": 1}\n", CKPT_METRICS_RAY_JSON},
        {"t/result.json", "{\"accuracy\": 0.9}\n", CKPT_METRICS_NONE},
        {"t/result.json", "", CKPT_METRICS_NONE},
        {"anything", "{\"op_code\": 0, \"worker_id\"", CKPT_METRICS_OPTUNA},
        {"progress.csv", "loss,training_iteration\n", CKPT_METRICS_RAY_CSV},
        {"progress.csv", "rollout/ep_rew_mean,iteration\n", CKPT_METRICS_CSV},
        {"metrics.csv", "epoch,step,train_loss,val_loss\r\n", CKPT_METRICS_CSV},
        {"logs/version_12/metrics.csv", "epoch,step,train_loss,val_loss\r\n", CKPT_METRICS_LIGHTNING},
        {"version_12/metrics.csv", "epoch,step,train_loss,val_loss\r\n", CKPT_METRICS_LIGHTNING},
        {"version_/metrics.csv", "epoch,step,train_loss,val_loss\r\n", CKPT_METRICS_CSV},
        {"version_1x/metrics.csv", "epoch,step,train_loss,val_loss\r\n", CKPT_METRICS_CSV},
        {"version_1/other.csv", "epoch,step,train_loss,val_loss\r\n", CKPT_METRICS_CSV},
        {"metrics.csv", "epoch,st", CKPT_METRICS_NONE},
        {"metrics.csv", "", CKPT_METRICS_NONE},
        {"results.csv", "   epoch,   train/box_loss\n", CKPT_METRICS_CSV},
        {"cities.csv", "name,inhabitants\n", CKPT_METRICS_NONE},
        {"train.log", "epoch 1: loss 0.5\n", CKPT_METRICS_NONE},
        {"metrics.txt", "epoch,loss\n", CKPT_METRICS_NONE},
        /* Keras counts from 0; the same header of people who count from 1 tells by its first row */
        {"history.csv", "epoch,loss,val_loss\r\n0,1,2\r\n", CKPT_METRICS_KERAS},
        {"history.csv", "epoch,loss,val_loss\r\n1,1,2\r\n", CKPT_METRICS_CSV},
        {"history.csv", "epoch,loss,val_loss\r\n", CKPT_METRICS_NONE},
        {"history.csv", "epoch,loss,val_loss\n0,1,2\n", CKPT_METRICS_CSV},
        {"history.csv", "epoch,val_loss,loss\r\n0,1,2\r\n", CKPT_METRICS_CSV},
        {"history.csv", "epoch,train_loss,val_loss\r\n0,1,2\r\n", CKPT_METRICS_CSV},
        {"history.csv", "loss,epoch\r\n0,1\r\n", CKPT_METRICS_CSV},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        enum ckpt_metrics_kind kind = ckpt_metrics_kind_of(cases[i].path, cases[i].head, strlen(cases[i].head));
        if (kind != cases[i].kind) {
            print_error("%s \"%s\" is %s, not %s\n", cases[i].path, cases[i].head, ckpt_metrics_kind_name(kind),
                        ckpt_metrics_kind_name(cases[i].kind));
            fail();
        }
    }
}

struct text_case {
    enum ckpt_metrics_kind kind;
    const char *text;
    const char *points[10];
};

static void read_texts(const struct text_case *cases, size_t count)
{
    struct points *points = calloc(1, sizeof *points);
    assert_non_null(points);
    for (size_t i = 0; i < count; i++) {
        struct ckpt_metrics_mark mark = {0};
        points->count = 0;
        assert_ok(metrics_read(cases[i].kind, MLFLOW, cases[i].text, strlen(cases[i].text), SIZE_MAX, &mark, points));
        points_equal(points, cases[i].points, cases[i].text);
    }
    free(points);
}

static void test_csv(void **state)
{
    static const struct text_case cases[] = {
        {CKPT_METRICS_CSV, "epoch,step,loss\n1,60,2.5\n2,120,2.25\n", {"loss 2.5 s60 e1", "loss 2.25 s120 e2"}},
        /* step before global_step before iteration before iter; the others are metrics */
        {CKPT_METRICS_CSV, "iter,Global_Step,iteration,x\n1,2,3,4\n", {"iter 1 s2", "iteration 3 s2", "x 4 s2"}},
        {CKPT_METRICS_CSV, "EPOCH,Step,x\n1,2,4\n", {"x 4 s2 e1"}},
        {CKPT_METRICS_CSV, "epoch,epoch,x\n1,2,4\n", {"epoch 2 e1", "x 4 e1"}},
        /* blanks, tabs, semicolons, BOM, columns padded as YOLO does it */
        {CKPT_METRICS_CSV, "  epoch,  box loss\n    3,   0.5\n", {"box loss 0.5 e3"}},
        {CKPT_METRICS_CSV, "epoch\tlr\tloss, mean\n3\t\t0.5\n", {"loss, mean 0.5 e3"}},
        {CKPT_METRICS_CSV, "\xef\xbb\xbf" "epoch;loss\n3;0.5\n", {"loss 0.5 e3"}},
        {CKPT_METRICS_CSV, "epoch,loss\n\n3,0.5\n\n", {"loss 0.5 e3"}},
        /* quotes */
        {CKPT_METRICS_CSV, "epoch,\"a,b\",\"say \"\"x\"\"\"\n1,\"0.5\",2\n", {"a,b 0.5 e1", "say \"x\" 2 e1"}},
        {CKPT_METRICS_CSV, "epoch,note,x\n1,\"two\nlines, one field\",4\n2,,5\n", {"x 4 e1", "x 5 e2"}},
        {CKPT_METRICS_CSV, "epoch,\"a\nb\",x\n1,2,4\n", {"x 4 e1"}},
        /* torn rows: other numbers of fields */
        {CKPT_METRICS_CSV, "epoch,a,b\n1,2\n1,2,3,4\n1,2,3\n", {"a 2 e1", "b 3 e1"}},
        {CKPT_METRICS_CSV, "epoch,a\n1,2\n3,4", {"a 2 e1"}},
        /* places that make no sense are not known */
        {CKPT_METRICS_CSV, "epoch,step,x\n-1,-1,1\nnan,nan,2\ninf,1.5,3\n1e300,1e300,4\n0.5,7.0,5\n",
         {"x 1", "x 2", "x 3", "x 4", "x 5 s7 e0.5"}},
        {CKPT_METRICS_CSV, "epoch,x\nepoch,x\n1,2\n", {"x 2 e1"}},
        /* Lightning: the step after; Keras: the epoch from 1 */
        {CKPT_METRICS_LIGHTNING, "epoch,step,x\n0,99,1\n", {"x 1 s100 e0"}},
        {CKPT_METRICS_KERAS, "epoch,loss\r\n0,1\r\n", {"loss 1 e1"}},
        {CKPT_METRICS_RAY_CSV, "training_iteration,step,config/lr,epoch\n4,9,1,2\n", {"step 9 s4 e2"}},
    };
    (void)state;
    read_texts(cases, sizeof cases / sizeof cases[0]);
}

static void test_numbers(void **state)
{
    static const struct text_case cases[] = {
        {CKPT_METRICS_CSV, "step,x\n1,1\n1,-1.5\n1,+2\n1,1e-5\n1,.5\n1,5.\n1,1E3\n",
         {"x 1 s1", "x -1.5 s1", "x 2 s1", "x 1e-05 s1", "x 0.5 s1", "x 5 s1", "x 1000 s1"}},
        {CKPT_METRICS_CSV, "step,x\n1,nan\n1,NaN\n1,-nan\n1,inf\n1,-Infinity\n",
         {"x nan s1", "x nan s1", "x -nan s1", "x inf s1", "x -inf s1"}},
        /* beyond a double, as Python reads it */
        {CKPT_METRICS_CSV, "step,x\n1,1e999\n1,-1e999\n1,1e-999\n", {"x inf s1", "x -inf s1", "x 0 s1"}},
        /* no numbers */
        {CKPT_METRICS_CSV,
         "step,x\n1,\n1,NA\n1,None\n1,True\n1,0x10\n1,1e\n1,1 2\n1,--1\n1,nan(1)\n1,\"[1, 2]\"\n1,tensor(1.)\n"
         "1,1_000\n1,infinit\n1,.\n1,00000000000000000000000000000000000000000000000000000000000000001\n",
         {NULL}},
        {CKPT_METRICS_CSV, "step,x\n9007199254740991,1\n9007199254740993,2\n", {"x 1 s9007199254740991", "x 2"}},
    };
    (void)state;
    read_texts(cases, sizeof cases / sizeof cases[0]);
    /* wherever the user lives */
    if (setlocale(LC_NUMERIC, "de_DE.UTF-8") != NULL) {
        read_texts(cases, sizeof cases / sizeof cases[0]);
        setlocale(LC_NUMERIC, "C");
    }
}

static void test_json(void **state)
{
    static const struct text_case cases[] = {
        /* lines: what is none is passed over */
        {CKPT_METRICS_RAY_JSON, "{\"training_iteration\": 1, \"a\": 1}\n{\"training_iteration\": 2, \"a\"\n\n[1]\nx\n"
                                "{\"training_iteration\": 3, \"a\": 3}\n{\"training_iteration\": 4, \"a\": 4}",
         {"a 1 s1", "a 3 s3"}},
        {CKPT_METRICS_RAY_JSON, "{\"a\": 1}\n", {NULL}},
        {CKPT_METRICS_RAY_JSON, "{\"training_iteration\": 1, \"a\": 1, \"a\": 2}\n", {NULL}},
        {CKPT_METRICS_RAY_JSON, "{\"training_iteration\": 1, \"a\": [1], \"b\": \"2\", \"c\": true, \"d\": null, \"e\": {}}\n",
         {NULL}},
        /* Python's numbers, but not in strings */
        {CKPT_METRICS_RAY_JSON, "{\"training_iteration\":1,\"a\":NaN,\"b\":Infinity,\"c\":-Infinity,\"d\":\"is NaN\",\"NaN\":1,"
                                "\"\\\"NaN\":[NaN,{\"x\":-Infinity}]}\n",
         {"a nan s1", "b inf s1", "c -inf s1", "NaN 1 s1"}},
        {CKPT_METRICS_RAY_JSON, "{\"training_iteration\":1,\"a\":xNaN}\n{\"training_iteration\":1,\"a\":NaNx}\n"
                                "{\"training_iteration\":1,\"a\":--Infinity}\n",
         {NULL}},
        /* numbers of more than 64 bits; beyond a double */
        {CKPT_METRICS_RAY_JSON, "{\"training_iteration\":1,\"a\":123456789012345678901234567890}\n"
                                "{\"training_iteration\":2,\"a\":1e999}\n{\"training_iteration\":1.5,\"a\":0}\n",
         {"a 1.23456789e+29 s1", "a 0"}},
        {CKPT_METRICS_HF, "{}", {NULL}},
        {CKPT_METRICS_HF, "{\"log_history\": null, \"best_metric\": null}", {NULL}},
        {CKPT_METRICS_HF, "{\"log_history\": []}\n", {NULL}},
        {CKPT_METRICS_HF, "{\"log_history\":[1,{\"step\":5,\"a\":1},\"x\",{\"b\":2},{\"c\":}],\"best_metric\":3}",
         {"a 1 s5", "b 2", "best_metric 3"}},
        {CKPT_METRICS_HF, "{\"best_model_checkpoint\":\"a/checkpoint-7\",\"best_metric\":1}", {"best_metric 1 s7"}},
        {CKPT_METRICS_HF, "{\"best_global_step\":8,\"best_model_checkpoint\":\"a/checkpoint-7\",\"best_metric\":1}",
         {"best_metric 1 s8"}},
        {CKPT_METRICS_HF, "{\"best_model_checkpoint\":\"a/best7\",\"best_metric\":1}", {"best_metric 1"}},
        /* the step of the trainer, where an integration logs it; Lightning's is the one before */
        {CKPT_METRICS_WANDB, "{\"_step\":12,\"train/global_step\":500,\"eval/loss\":1}", {"eval/loss 1 s500"}},
        {CKPT_METRICS_WANDB, "{\"_step\":12,\"trainer/global_step\":499,\"val_loss\":1}", {"val_loss 1 s500"}},
        {CKPT_METRICS_WANDB, "{\"val_loss\":1}", {"val_loss 1"}},
        /* Optuna: no trial, no values, not complete, other operations */
        {CKPT_METRICS_OPTUNA, "{\"op_code\":6,\"state\":1,\"values\":[1]}\n{\"op_code\":6,\"trial_id\":1,\"values\":null}\n"
                              "{\"op_code\":6,\"trial_id\":1,\"state\":2,\"values\":[1]}\n"
                              "{\"op_code\":5,\"trial_id\":1,\"param_value_internal\":1}\n"
                              "{\"op_code\":7,\"trial_id\":3,\"step\":-1,\"intermediate_value\":2}\n",
         {"intermediate_value 2 #3"}},
        {CKPT_METRICS_MLFLOW, "1700000000000 0.5 1 0123456789abcdef0123456789abcdef\n1700000000000\n\nx y z\n1 2 3x\n5  6  7\r\n",
         {"val/loss 0.5 s1 t1700000000000", "val/loss 6 s7 t5"}},
    };
    (void)state;
    read_texts(cases, sizeof cases / sizeof cases[0]);
}

static void test_names(void **state)
{
    char text[2048];
    char just_right[CKPT_METRIC_NAME_MAX + 1] = {0};
    memset(just_right, 'n', CKPT_METRIC_NAME_MAX);
    snprintf(text, sizeof text,
             "step,%s,n%s,,\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80,\xff,\xc3,\xe2\x82,\xc0\xaf,\xed\xa0\x80,\xf4\x90\x80\x80,\xc2\x80,"
             "a\x01" "b,a\x7f,\"a\nb\"\n1,1,1,1,1,1,1,1,1,1,1,1,1,1,1\n",
             just_right, just_right);
    char expected[2][POINT_TEXT];
    snprintf(expected[0], POINT_TEXT, "%s 1 s1", just_right);
    snprintf(expected[1], POINT_TEXT, "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80 1 s1");
    const struct text_case names = {CKPT_METRICS_CSV, text, {expected[0], expected[1]}};
    (void)state;
    read_texts(&names, 1);
    /* of nested objects, joined */
    snprintf(text, sizeof text, "{\"%.200s\": {\"%.54s\": 1, \"%.55s\": 2, \"x\": {\"y\": 3}}, \"%.255s\": {\"a\": 4}, \"b\": 5}\n",
             just_right, just_right, just_right, just_right);
    snprintf(expected[0], POINT_TEXT, "%.200s/%.54s 1", just_right, just_right);
    char deep[POINT_TEXT];
    snprintf(deep, POINT_TEXT, "%.200s/x/y 3", just_right);
    const struct text_case nested = {CKPT_METRICS_WANDB, text, {expected[0], deep, "b 5"}};
    read_texts(&nested, 1);
}

/* Lightning rewrites its file when a column comes up: what was read before is read again, with the new columns. */
static void test_new_columns(void **state)
{
    struct sample before = sample_read("version_0/before.csv");
    struct sample after = sample_read("version_0/metrics.csv");
    struct points *points = calloc(1, sizeof *points);
    struct ckpt_metrics_mark mark = {0};
    (void)state;
    assert_non_null(points);
    assert_ok(metrics_once(CKPT_METRICS_LIGHTNING, NULL, before.bytes, before.size, SIZE_MAX, &mark, points));
    assert_int_equal(points->count, 2);
    assert_int_equal(metrics_once(CKPT_METRICS_LIGHTNING, NULL, after.bytes, after.size, SIZE_MAX, &mark, points),
                     CKPT_ERR_CHANGED);
    assert_int_equal(points->count, 2);
    assert_int_equal(mark.offset, 0);
    points->count = 0;
    assert_ok(metrics_once(CKPT_METRICS_LIGHTNING, NULL, after.bytes, after.size, SIZE_MAX, &mark, points));
    assert_int_equal(points->count, 8);
    /* caught in the act: shorter than it was, then with half a header */
    assert_int_equal(metrics_once(CKPT_METRICS_LIGHTNING, NULL, after.bytes, 10, SIZE_MAX, &mark, points), CKPT_ERR_CHANGED);
    assert_ok(metrics_once(CKPT_METRICS_LIGHTNING, NULL, after.bytes, 10, SIZE_MAX, &mark, points));
    assert_int_equal(mark.offset, 0);
    assert_int_equal(points->count, 8);
    free(points);
    free(after.bytes);
    free(before.bytes);
}

static void test_a_sink_that_refuses(void **state)
{
    struct points *points = calloc(1, sizeof *points);
    struct ckpt_metrics_mark mark = {0};
    static const char text[] = "step,a,b\n1,1,1\n2,2,2\n";
    (void)state;
    assert_non_null(points);
    points->refuse_after = 3;
    assert_int_equal(metrics_once(CKPT_METRICS_CSV, NULL, text, strlen(text), SIZE_MAX, &mark, points), CKPT_ERR_STOPPED);
    /* The second row comes again, as a whole. */
    points->refuse_after = 0;
    points->count = 0;
    assert_ok(metrics_once(CKPT_METRICS_CSV, NULL, text, strlen(text), SIZE_MAX, &mark, points));
    points_equal(points, (const char *const[]){"a 2 s2", "b 2 s2", NULL}, text);
    free(points);
}

static void test_wrong_calls(void **state)
{
    struct ckpt_metrics_mark mark = {0};
    struct points *points = calloc(1, sizeof *points);
    struct ckpt_metrics_sink sink = {points_add, points};
    struct ckpt_metrics_input input = {.kind = CKPT_METRICS_NONE, .bytes = "{}", .size = 2, .file_size = 2};
    (void)state;
    assert_non_null(points);
    assert_int_equal(ckpt_metrics_read(&input, &mark, &sink), CKPT_ERR_INVALID);
    input.kind = CKPT_METRICS_MLFLOW;
    assert_int_equal(ckpt_metrics_read(&input, &mark, &sink), CKPT_ERR_INVALID);
    input.kind = CKPT_METRICS_HF;
    input.file_size = 3;
    assert_int_equal(ckpt_metrics_read(&input, &mark, &sink), CKPT_ERR_INVALID);
    input.file_size = 1;
    assert_int_equal(ckpt_metrics_read(&input, &mark, &sink), CKPT_ERR_INVALID);
    /* not what the name says */
    static const char *const texts[] = {"[1]", "{\"a\": 1} x", "{\"log_history\": [1 2]}", "{1}", "{\"a\" 1}", "{]", "\"x\""};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_int_equal(metrics_once(CKPT_METRICS_HF, NULL, texts[i], strlen(texts[i]), SIZE_MAX, &mark, points),
                         CKPT_ERR_CORRUPT);
    }
    assert_int_equal(metrics_once(CKPT_METRICS_WANDB, NULL, "[1]", 3, SIZE_MAX, &mark, points), CKPT_ERR_CORRUPT);
    assert_int_equal(points->count, 0);
    assert_string_equal(ckpt_metrics_kind_name(CKPT_METRICS_TFEVENTS), "tensorboard");
    assert_string_equal(ckpt_metrics_kind_name((enum ckpt_metrics_kind)99), "unknown");
    free(points);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples),
        cmocka_unit_test(test_what_a_file_is),
        cmocka_unit_test(test_csv),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_new_columns),
        cmocka_unit_test(test_a_sink_that_refuses),
        cmocka_unit_test(test_wrong_calls),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
