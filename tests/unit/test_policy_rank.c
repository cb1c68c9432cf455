/*
 * What is better by a metric, which metric counts, and when training should stop.
 */
#include "policy_history.h"

#include "policy/policy_rank.h"

static void test_ranking(void **state)
{
    static const struct row rows[] = {
        {"", 9 * H, 1, "val_loss 0.3 acc 0.7", ""},  {"x", 8 * H, 2, "val_loss 0.1 acc 0.9", ""},
        {"", 7 * H, 3, "val_loss 0.2 odd 1", ""},    {"I", 6 * H, 4, "val_loss 0.1", ""},
        {"h", 5 * H, 5, "val_loss 0.2 acc 0.8", ""}, {0},
    };
    static const struct {
        const char *metric;
        size_t count;
        size_t indices[3];
    } cases[] = {
        {NULL, 3, {2, 4, 0}}, {"val_loss", 3, {2, 4, 0}}, {"acc", 2, {4, 0}},
        {"odd", 0, {0}},      {"none", 0, {0}},
    };
    struct history h;
    (void)state;
    fill(&h, rows);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        size_t indices[ROWS];
        size_t count = 77;
        assert_ok(ckpt_policy_rank(NULL, h.checkpoints, h.n, cases[i].metric, indices, &count));
        assert_int_equal(count, cases[i].count);
        assert_memory_equal(indices, cases[i].indices, count * sizeof indices[0]);
    }
    size_t count = 77;
    assert_ok(ckpt_policy_rank(NULL, NULL, 0, "acc", NULL, &count));
    assert_int_equal(count, 0);
}

/* Few and many of a run in whatever order, with equals among them. */
static void test_the_best_few(void **state)
{
    enum { MOST = 60 };
    static char name[] = "val_loss";
    struct ckpt_policy policy;
    uint64_t seed = 1;
    (void)state;
    ckpt_policy_init(&policy);
    for (size_t n = 1; n <= MOST; n++) {
        struct ckpt_policy_checkpoint checkpoints[MOST] = {{0}};
        struct ckpt_policy_value values[MOST] = {{0}};
        struct ckpt_policy_ranked all[MOST];
        for (size_t i = 0; i < n; i++) {
            values[i].name = name;
            values[i].value = (double)(unit_random(&seed) % 20);
            checkpoints[i].sequence = unit_random(&seed) % 100;
            checkpoints[i].state = CKPT_STATE_COMPLETE;
            checkpoints[i].values = &values[i];
            checkpoints[i].n_values = 1;
        }
        struct ckpt_policy_item *items = ckpt_policy_order(&policy, checkpoints, n);
        assert_non_null(items);
        for (size_t i = 1; i < n; i++) {
            uint64_t before = items[i - 1].checkpoint->sequence;
            uint64_t sequence = items[i].checkpoint->sequence;
            assert_true(before < sequence || (before == sequence && items[i - 1].index < items[i].index));
        }
        struct ckpt_policy_ranking ranking = ckpt_policy_ranking(&policy, items, n, name);
        assert_int_equal(ckpt_policy_rank_items(items, n, &ranking, n, all), n);
        for (size_t i = 1; i < n; i++) {
            assert_true(all[i - 1].key < all[i].key ||
                        (all[i - 1].key == all[i].key && all[i - 1].position < all[i].position));
        }
        for (size_t most = 0; most <= n; most++) {
            struct ckpt_policy_ranked few[MOST];
            bool seen[MOST] = {false};
            assert_int_equal(ckpt_policy_rank_items(items, n, &ranking, most, few), n);
            for (size_t i = 0; i < n; i++) {
                assert_true(i >= most || few[i].position == all[i].position);
                assert_false(seen[few[i].position]);
                seen[few[i].position] = true;
            }
        }
        free(items);
    }
}

static void test_the_primary_metric(void **state)
{
    static const struct {
        const char *values[3];
        const char *metric;
    } cases[] = {
        {{"train_loss 1", "loss 1", "acc 1"}, NULL},
        {{"train_loss 1 val_acc 1", "eval_loss 1", ""}, "eval_loss"},
        {{"val_acc 1 val_aux_loss 1", "val_loss 1", ""}, "val_loss"},
        {{"val_acc 1 val_aux_loss 1", "", ""}, "val_aux_loss"},
        {{"train_loss 1 val_time 3", "val_acc 1 val_f1 1", "val_f1 1"}, "val_acc"},
        {{"valLoss 1", "val_loss 1", ""}, "valLoss"},
        {{"loss/val 1", "", ""}, "loss/val"},
        {{"validation/loss 1 eval_loss 1", "", ""}, "validation/loss"},
        {{"value 1 valuation_loss 1", "", ""}, NULL},
        {{"val_whatever 1", "", ""}, NULL},
        {{"loss 1 error 1 accuracy 1", "mse 1 perplexity 1", "top_p 1 cost 1"}, NULL},
        {{"loss 1 iou 1 f1 1", "val_acc 1", ""}, "val_acc"},
        {{"acc 1 f1 1", "iou 1", ""}, "f1"},
        {{"train_iou 1 train/f1 1", "trainIoU 1 training_auc 1", "trainiou 1"}, NULL},
        {{"dice_loss 1 iou_error 1", "", ""}, NULL},
        {{"loss 1 best_acc 1", "", ""}, "best_acc"},
        {{"best_train_acc 1 best_model 1", "", ""}, NULL},
        {{"best_iou 1", "val_loss 1", ""}, "val_loss"},
        {{"rollout/episode_reward_mean 1", "", ""}, "rollout/episode_reward_mean"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct row rows[4] = {{"", 3, 1, cases[i].values[0], "", 0, 0},
                              {"", 2, 2, cases[i].values[1], "", 0, 0},
                              {"", 1, 3, cases[i].values[2], "", 0, 0}};
        struct history h;
        struct ckpt_policy_verdict verdicts[ROWS];
        struct ckpt_policy_summary s;
        struct ckpt_policy_situation situation = {.now_ns = NOW * NS};
        fill(&h, rows);
        assert_ok(ckpt_policy_judge(NULL, h.checkpoints, h.n, &situation, verdicts, &s));
        bool same = s.metric == NULL || cases[i].metric == NULL
                        ? s.metric == cases[i].metric
                        : strcmp(s.metric, cases[i].metric) == 0;
        if (!same) {
            print_error("%s...: %s\n", cases[i].values[0], s.metric == NULL ? "none" : s.metric);
            fail();
        }
    }
}

static void test_which_metrics_suit(void **state)
{
    static const struct {
        unsigned primacy;
        const char *names[40];
    } cases[] = {
        {CKPT_PRIMACY_NONE,
         {"loss", "acc", "accuracy", "error", "mse", "mae", "kl", "nll", "elbo", "perplexity", "precision", "lr",
          "epoch", "best", "best_epoch", "train_iou", "trainIoU", "train/mAP50", "training_f1", "episode_length",
          "train/episode_reward", "dice_loss", "ssimLoss", "top", "top_k", "bestiary_lr"}},
        {CKPT_PRIMACY_EVALUATION,
         {"iou",     "mIoU",     "meanIoU", "map",   "mAP50",    "metrics/mAP50-95(B)",    "dice",       "F1",
          "bleu",    "rougeL",   "wer",     "cer",   "fid",      "roc_auc",                "R^2",        "psnr",
          "ssim",    "top1",     "acc_top5", "top5_acc", "return", "reward",              "episode_reward", "neg_fid",
          "best_acc", "bestAcc", "best_loss", "exact_match"}},
        {CKPT_PRIMACY_VALIDATION, {"val_acc", "valAcc", "eval/f1", "test_iou", "validation/neg_loss", "dev_wer"}},
        {CKPT_PRIMACY_LOSS, {"val_aux_loss", "best_val_loss"}},
        {CKPT_PRIMACY_MAX, {"val_loss", "valLoss", "eval/loss", "loss/val", "Loss/validation"}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (const char *const *name = cases[i].names; *name != NULL; name++) {
            if (ckpt_policy_primacy(*name) != cases[i].primacy) {
                print_error("%s: %u, not %u\n", *name, ckpt_policy_primacy(*name), cases[i].primacy);
                fail();
            }
        }
    }
}

static const char *const without_direction[] = {"",
                                                "/",
                                                "//",
                                                "lr",
                                                "learning_rate",
                                                "epoch",
                                                "step",
                                                "time",
                                                "score",
                                                "loose",
                                                "lossless",
                                                "accept",
                                                "mapping",
                                                "val",
                                                "grad_norm",
                                                "temperature",
                                                "5",
                                                "val_",
                                                "_",
                                                "fluff/",
                                                "vale",
                                                "averyveryveryveryveryverylongwordthatisnoloss"};

static const char *const more_is_better[] = {"acc",
                                             "accuracy",
                                             "val_acc",
                                             "valAcc",
                                             "val_accuracy",
                                             "eval/accuracy",
                                             "acc1",
                                             "acc_top1",
                                             "val_acc_top5",
                                             "top1",
                                             "top5_acc",
                                             "f1",
                                             "F1",
                                             "val_f1_macro",
                                             "macroF1",
                                             "f1_score",
                                             "bleu",
                                             "bleu4",
                                             "sacrebleu",
                                             "iou",
                                             "IoU",
                                             "mIoU",
                                             "meanIoU",
                                             "val_mean_iou",
                                             "auc",
                                             "AUC",
                                             "roc_auc",
                                             "val_auroc",
                                             "map",
                                             "mAP",
                                             "mAP50",
                                             "metrics/mAP50-95(B)",
                                             "metrics/mAP50(B)",
                                             "r2",
                                             "R2",
                                             "r2_score",
                                             "R^2",
                                             "psnr",
                                             "rougeL",
                                             "rougeLsum",
                                             "rouge_l",
                                             "exact_match",
                                             "hits@10",
                                             "episode_reward",
                                             "mean_return",
                                             "neg_mean_squared_error",
                                             "pixelAcc",
                                             "precision",
                                             "recall",
                                             "ndcg@10"};

static const char *const less_is_better[] = {"loss",
                                             "val_loss",
                                             "eval_loss",
                                             "train/loss",
                                             "loss/val",
                                             "valLoss",
                                             "valloss",
                                             "Loss",
                                             "LOSS",
                                             "loss_total",
                                             "dice_loss",
                                             "auc_loss",
                                             "perplexity",
                                             "val_ppl",
                                             "error",
                                             "error_rate",
                                             "top1_error",
                                             "mae",
                                             "MSE",
                                             "rmse",
                                             "mean_squared_error",
                                             "mean_absolute_error",
                                             "wer",
                                             "test_cer",
                                             "fid",
                                             "nll",
                                             "neg_log_likelihood",
                                             "negative_log_likelihood",
                                             "cross_entropy",
                                             "binary_crossentropy",
                                             "val/rmse_epoch",
                                             "acc_loss",
                                             "brier_score",
                                             "a/b/c/loss"};

static void test_directions(void **state)
{
    const struct {
        const char *const *names;
        size_t n;
        enum ckpt_direction direction;
    } lists[] = {
        {less_is_better, sizeof less_is_better / sizeof less_is_better[0], CKPT_DIRECTION_MIN},
        {more_is_better, sizeof more_is_better / sizeof more_is_better[0], CKPT_DIRECTION_MAX},
        {without_direction, sizeof without_direction / sizeof without_direction[0],
         CKPT_DIRECTION_UNKNOWN},
    };
    bool right = true;
    (void)state;
    for (size_t k = 0; k < sizeof lists / sizeof lists[0]; k++) {
        for (size_t i = 0; i < lists[k].n; i++) {
            if (ckpt_policy_direction(lists[k].names[i]) != lists[k].direction) {
                print_error("%s\n", lists[k].names[i]);
                right = false;
            }
        }
    }
    assert_true(right);
}

static void test_early_stopping(void **state)
{
    static const struct {
        const char *policy;
        struct row rows[8];
        struct ckpt_policy_stop stop;
    } cases[] = {
        {"patience 2",
         {{"", 5, 1, "val_loss 3", ""}, {"", 4, 2, "val_loss 2", ""}, {"", 3, 3, "val_loss 2", ""}},
         {false, 1, 3, 1}},
        {"patience 2",
         {{"", 5, 1, "val_loss 3", ""},
          {"", 4, 2, "val_loss 3", ""},
          {"", 4, 3, "", ""},
          {"", 3, 4, "val_loss 4", ""}},
         {true, 0, 3, 2}},
        {"patience 2",
         {{"x", 5, 1, "val_loss 1", ""},
          {"I", 4, 2, "val_loss 3", ""},
          {"W", 3, 3, "val_loss nan", ""}},
         {true, 0, 3, 2}},
        {"patience 2\nmetric val_loss min min-delta 0.5",
         {{"", 5, 1, "val_loss 3", ""},
          {"", 4, 2, "val_loss 2.6", ""},
          {"", 3, 3, "val_loss 2.51", ""}},
         {true, 0, 3, 2}},
        {"patience 2\nmetric val_loss min min-delta 0.5",
         {{"", 5, 1, "val_loss 3", ""},
          {"", 4, 2, "val_loss 2.6", ""},
          {"", 3, 3, "val_loss 2.5", ""}},
         {false, 2, 3, 0}},
        {"patience 1\nmetric val_acc max",
         {{"", 5, 1, "val_acc 0.1", ""},
          {"", 4, 2, "val_acc 0.2", ""},
          {"", 3, 3, "val_acc 0.1", ""}},
         {true, 1, 3, 1}},
        {"patience 1\nmetric val_loss min smooth 2",
         {{"", 5, 1, "val_loss 4", ""}, {"", 4, 2, "val_loss 1", ""}, {"", 3, 3, "val_loss 2", ""}},
         {false, 2, 3, 0}},
        {"patience 2",
         {{"", 5, 1, "val_loss nan", ""}, {"", 4, 2, "val_loss nan", ""}},
         {true, CKPT_POLICY_NONE, 2, 2}},
        {"patience 1",
         {{"", 5, 1, "fluff 1", ""}, {"", 4, 2, "fluff 1", ""}},
         {false, CKPT_POLICY_NONE, 0, 0}},
        {"keep last 1",
         {{"", 5, 1, "val_loss 1", ""}, {"", 4, 2, "val_loss 3", ""}, {"", 3, 3, "val_loss 3", ""}},
         {false, 0, 3, 2}},
        {"patience 1", {{0}}, {false, CKPT_POLICY_NONE, 0, 0}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ckpt_policy policy;
        struct history h;
        struct ckpt_policy_stop stop;
        parse(cases[i].policy, &policy);
        fill(&h, cases[i].rows);
        assert_ok(ckpt_policy_early_stop(&policy, h.checkpoints, h.n, &stop));
        if (stop.should_stop != cases[i].stop.should_stop || stop.best != cases[i].stop.best ||
            stop.evaluations != cases[i].stop.evaluations ||
            stop.since_best != cases[i].stop.since_best) {
            print_error("case %zu: %d, best %zu, %zu evaluations, %zu since\n", i, stop.should_stop,
                        stop.best, stop.evaluations, stop.since_best);
            fail();
        }
    }
}

static void test_summary(void **state)
{
    static const struct row rows[] = {
        {"", 9 * H, 1, "val_loss 0.2 odd 1", "", 1},
        {"", 8 * H, 2, "val_loss 0.1", "", 20},
        {"h", 7 * H, 3, "", "", 300, 8 * D},
        {"", 6 * H, 4, "", "", 4000},
        {"I", 5 * H, 5, "", "", 50000},
        {"x", 5 * H, 5, "", "", 600000},
        {0},
    };
    struct ckpt_policy policy;
    struct history h;
    struct ckpt_policy_verdict verdicts[ROWS];
    struct ckpt_policy_summary s;
    struct ckpt_policy_situation situation = {.now_ns = NOW * NS};
    (void)state;
    fill(&h, rows);
    parse("keep best 1", &policy);
    assert_ok(ckpt_policy_judge(&policy, h.checkpoints, h.n, &situation, verdicts, &s));
    assert_int_equal(s.best, 1);
    assert_int_equal(s.latest, 3);
    assert_string_equal(s.metric, "val_loss");
    assert_int_equal(s.direction, CKPT_DIRECTION_MIN);
    assert_null(s.unranked);
    assert_int_equal(s.kept_bytes, 54020);
    assert_int_equal(s.hidden_bytes, 1);
    assert_int_equal(s.dropped_bytes, 300);
    assert_int_equal(verdicts[0].since_ns, NOW * NS);
    assert_int_equal(verdicts[0].until_ns, (NOW + 7 * D) * NS);
    assert_int_equal(verdicts[2].since_ns, (NOW - 8 * D) * NS);

    parse("keep last 1\nkeep best 1 by odd", &policy);
    assert_ok(ckpt_policy_judge(&policy, h.checkpoints, h.n, &situation, verdicts, &s));
    assert_string_equal(s.unranked, "odd");

    assert_ok(ckpt_policy_judge(&policy, NULL, 0, &situation, NULL, &s));
    assert_int_equal(s.best, CKPT_POLICY_NONE);
    assert_int_equal(s.latest, CKPT_POLICY_NONE);
    assert_null(s.metric);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranking),    cmocka_unit_test(test_the_best_few),
        cmocka_unit_test(test_the_primary_metric),
        cmocka_unit_test(test_which_metrics_suit),
        cmocka_unit_test(test_directions), cmocka_unit_test(test_early_stopping),
        cmocka_unit_test(test_summary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
