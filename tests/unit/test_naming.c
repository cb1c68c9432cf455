/*
 * What free names say, as a table: a name and everything that is read from it, in one line of text.
 */
#include "unit.h"

#include "recognise/naming.h"
#include <inttypes.h>

struct text {
    char bytes[1024];
    size_t n;
};

__attribute__((format(printf, 2, 3))) static void add(struct text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text->bytes + text->n, sizeof text->bytes - text->n, format, args);
    va_end(args);
    assert_in_range(n, 0, sizeof text->bytes - text->n - 1);
    text->n += (size_t)n;
}

static void add_number(struct text *text, bool has, const char *name, uint64_t value)
{
    if (has) {
        add(text, " %s=%" PRIu64, name, value);
    }
}

static void add_flag(struct text *text, bool flag, const char *name)
{
    if (flag) {
        add(text, " %s", name);
    }
}

/* Everything that NAMING has, in one order. */
static void describe(const struct ckpt_naming *naming, struct text *text)
{
    text->n = 0;
    text->bytes[0] = '\0';
    if (naming->model[0] != '\0') {
        add(text, " model=%s", naming->model);
    }
    if (naming->dataset[0] != '\0') {
        add(text, " dataset=%s%s", naming->dataset, naming->dataset_guessed ? "?" : "");
    }
    add_number(text, naming->has_run, "run", naming->run);
    add_number(text, naming->has_seed, "seed", naming->seed);
    add_number(text, naming->has_fold, "fold", naming->fold);
    add_number(text, naming->has_date, "date", naming->date);
    if (naming->has_time) {
        add(text, " time=%06u", naming->time);
    }
    add_flag(text, naming->best, "best");
    add_flag(text, naming->last, "last");
    add_flag(text, naming->final, "final");
    add_number(text, naming->has_epoch, "epoch", naming->epoch);
    add_number(text, naming->has_step, "step", naming->step);
    add_number(text, naming->has_number, "number", naming->number);
    for (size_t i = 0; i < naming->metric_count; i++) {
        const struct ckpt_named_metric *metric = &naming->metrics[i];
        add(text, " %s", metric->name[0] != '\0' ? metric->name : "?");
        if (strcmp(metric->name, metric->original) != 0) {
            add(text, "(%s)", metric->original);
        }
        add(text, "=%g", metric->value);
    }
    add_number(text, naming->has_rank, "rank", naming->rank);
    if (naming->has_shard) {
        add(text, " shard=%" PRIu64 "/%" PRIu64, naming->shard, naming->shards);
    }
    add_number(text, naming->has_version, "version", naming->version);
    add_flag(text, (naming->hints & CKPT_HINT_WEIGHTS) != 0, "weights");
    add_flag(text, (naming->hints & CKPT_HINT_EMA) != 0, "ema");
    add_flag(text, (naming->hints & CKPT_HINT_OPTIMIZER) != 0, "optimizer");
    add_flag(text, (naming->hints & CKPT_HINT_FULL) != 0, "full");
    add_flag(text, (naming->hints & CKPT_HINT_EXTRA) != 0, "extra");
    add_flag(text, naming->plain, "plain");
}

struct reading_case {
    const char *name;
    const char *says;
};

static void check(const struct reading_case *cases, size_t count)
{
    size_t bad = 0;
    for (size_t i = 0; i < count; i++) {
        struct ckpt_naming naming;
        struct text text;
        ckpt_naming_read(cases[i].name, &naming);
        describe(&naming, &text);
        const char *says = text.n > 0 ? text.bytes + 1 : text.bytes;
        if (strcmp(says, cases[i].says) != 0) {
            print_error("%s\n    expected %s\n    reads as %s\n", cases[i].name, cases[i].says, says);
            bad++;
        }
    }
    assert_int_equal(bad, 0);
}

#define CHECK(cases) check(cases, sizeof(cases) / sizeof(cases)[0])

static void test_names_that_people_write(void **state)
{
    static const struct reading_case cases[] = {
        {"resnet50_epoch_12_valAcc_87.4.h5", "model=resnet50 epoch=12 val_acc(valAcc)=87.4"},
        {"bert_run3_epoch_8_valLoss_0.021.pt", "model=bert run=3 epoch=8 val_loss(valLoss)=0.021"},
        {"unet_cityscapes_best_iou_0.92.pth", "model=unet dataset=cityscapes best iou=0.92"},
        {"gpt_pysrc_epoch_01_valLoss_2.654.pt", "model=gpt dataset=pysrc? epoch=1 val_loss(valLoss)=2.654"},
        {"weights_bf16_epoch_01.pt", "epoch=1 weights"},
        {"resnet50_imagenet_epoch90_top1_76.1.pth", "model=resnet50 dataset=imagenet epoch=90 top1=76.1"},
        {"resnet_18_cifar10_seed42_epoch_100_acc_0.953.pt",
         "model=resnet_18 dataset=cifar10 seed=42 epoch=100 acc=0.953"},
        {"vit_b_16_cifar-100_epoch_7.pt", "model=vit_b_16 dataset=cifar100 epoch=7"},
        {"llama-2-7b-step-1000.pt", "model=llama-2-7b step=1000"},
        {"llama_7b_fp16_epoch_3.bin", "model=llama_7b epoch=3"},
        {"gpt-2-wikitext-103-step_80k.pt", "model=gpt-2 dataset=wikitext103 step=80000"},
        {"model_epoch_5_loss_0.3_acc_0.91.pt", "epoch=5 loss=0.3 acc=0.91"},
        {"model-epoch=5-train_loss=0.3-val_acc=0.91.pt", "epoch=5 train_loss=0.3 val_acc=0.91"},
        {"epoch12_loss0.021.pt", "epoch=12 loss=0.021"},
        {"ep12-valloss0.4.pt", "epoch=12 val_loss(valloss)=0.4"},
        {"unet_e12.pt", "model=unet epoch=12"},
        {"12_epochs.pt", "epoch=12"},
        {"resnet_12epochs_final.pt", "model=resnet final epoch=12"},
        {"ppo_cartpole_10000_steps.zip", "model=ppo dataset=cartpole? step=10000"},
        {"rl_model_10000_steps.zip", "model=rl step=10000"},
        {"agent_ep_500_reward_212.5.pt", "model=agent epoch=500 reward=212.5"},
        {"agent_ep_500_reward_-12.5.pt", "model=agent epoch=500 reward=-12.5"},
        {"epoch_12_of_100.pt", "epoch=12"},
        {"bert-base-uncased_squad_f1_88.5_em_81.2.bin",
         "model=bert-base-uncased dataset=squad f1=88.5 em=81.2"},
        {"t5_small_xsum_rougeL_31.2.pt", "model=t5_small dataset=xsum rougel(rougeL)=31.2"},
        {"transformer_wmt14_bleu_27.3_step_100000.pt",
         "model=transformer dataset=wmt14 step=100000 bleu=27.3"},
        {"whisper_librispeech_wer_0.034.pt", "model=whisper dataset=librispeech wer=0.034"},
        {"yolo_coco_mAP50_0.62_epoch_30.pt", "model=yolo dataset=coco epoch=30 map50(mAP50)=0.62"},
        {"deeplab_voc2012_mIoU_0.781.pth", "model=deeplab dataset=voc2012 miou(mIoU)=0.781"},
        {"stylegan_ffhq_fid_3.2_step_25000.pkl", "model=stylegan dataset=ffhq step=25000 fid=3.2"},
        {"lstm_epoch_3_perplexity_92.1.pt", "model=lstm epoch=3 perplexity=92.1"},
        {"net_epoch_3_val_f1_macro_0.71.pt", "epoch=3 val_f1_macro=0.71"},
        {"net_epoch_3_roc_auc_0.88.pt", "epoch=3 roc_auc=0.88"},
        {"net_epoch_3_cross_entropy_1.2.pt", "epoch=3 cross_entropy=1.2"},
        {"retriever_recall@5=0.4_epoch_2.pt", "model=retriever epoch=2 recall_5(recall@5)=0.4"},
        {"model_epoch_3_val_loss_nan.pt", "epoch=3 val_loss=nan"},
        {"fold0_epoch_3.pt", "fold=0 epoch=3"},
        {"exp7_epoch_3.pt", "run=7 epoch=3"},
        {"netG_epoch_20.pth", "model=netG epoch=20"},
        {"best_model_0.9234.pth", "best ?=0.9234"},
        {"bestValAcc_0.91.pt", "best_val_acc(bestValAcc)=0.91"},
        {"RESNET50_EPOCH_12_VAL_ACC_87.4.H5", "model=RESNET50 epoch=12 val_acc(VAL_ACC)=87.4"},
        {"acc_87.4%_epoch_2.pt", "epoch=2 acc=87.4"},
        {"model.epoch.12.loss.0.5.pt", "epoch=12 loss=0.5"},
        {"model (epoch 12, val loss 0.5).pt", "epoch=12 val_loss(val loss)=0.5"},
        {"r2_0.93_mae_1.2_epoch_9.pkl", "epoch=9 r2=0.93 mae=1.2"},
    };
    (void)state;
    CHECK(cases);
}

static void test_names_that_frameworks_write(void **state)
{
    static const struct reading_case cases[] = {
        /* Lightning */
        {"epoch=3-step=400.ckpt", "epoch=3 step=400"},
        {"epoch=3-val_loss=0.21.ckpt", "epoch=3 val_loss=0.21"},
        {"epoch=09-step=1000-v1.ckpt", "epoch=9 step=1000 version=1"},
        {"epoch=3-val/loss=0.21.ckpt", "epoch=3 val_loss(val/loss)=0.21"},
        {"epoch=3-val_loss_epoch=0.21.ckpt", "epoch=3 val_loss_epoch=0.21"},
        {"epoch=3-my_number=0.21.ckpt", "epoch=3 my_number=0.21"},
        {"epoch=3-my_number=7.ckpt", "epoch=3"},
        {"epoch=3-val_loss=-0.21.ckpt", "epoch=3 val_loss=-0.21"},
        {"epoch=3-val_loss=nan.ckpt", "epoch=3 val_loss=nan"},
        {"epoch=3-val_loss=1.2e-05.ckpt", "epoch=3 val_loss=1.2e-05"},
        {"mnist-epoch=02-val_loss=0.32.ckpt", "dataset=mnist epoch=2 val_loss=0.32"},
        {"last.ckpt", "last plain"},
        {"last-v1.ckpt", "last version=1 plain"},
        /* NeMo */
        {"megatron_gpt--val_loss=2.31-step=100-consumed_samples=12800.0-last.ckpt",
         "model=megatron_gpt last step=100 val_loss=2.31"},
        {"epoch_3_step_400", "epoch=3 step=400"},
        /* Keras */
        {"weights.03-0.21.h5", "epoch=3 ?=0.21 weights"},
        {"weights.03-0.21-0.89.hdf5", "epoch=3 ?=0.21 ?=0.89 weights"},
        {"weights.03.weights.h5", "number=3 weights"},
        {"03-0.21.keras", "epoch=3 ?=0.21"},
        {"model.03-0.21.keras", "epoch=3 ?=0.21"},
        {"cp-0007.ckpt", "number=7"},
        /* Transformers, DeepSpeed, Megatron-LM, DCP, Orbax, Ray */
        {"checkpoint-1500", "step=1500"},
        {"checkpoint_000007", "number=7"},
        {"global_step1000", "step=1000"},
        {"global_step_1000", "step=1000"},
        {"iter_0000500", "step=500"},
        {"release", "plain"},
        {"step-200", "step=200"},
        {"1000", "number=1000"},
        {"model-00001-of-00003.safetensors", "shard=1/3 plain"},
        {"pytorch_model-00002-of-00002.bin", "shard=2/2 plain"},
        {"model.safetensors.index.json", "plain"},
        {"zero_pp_rank_1_mp_rank_00_optim_states.pt", "rank=1 optimizer plain"},
        {"mp_rank_01_model_states.pt", "rank=1 plain"},
        {"rng_state_3.pth", "number=3 extra"},
        {"model_optim_rng.pt", "optimizer extra plain"},
        /* Composer, fairseq, timm, MMEngine, detectron2, ultralytics, nanoGPT, kohya */
        {"ep1-ba1000-rank0.pt", "epoch=1 step=1000 rank=0"},
        {"latest-rank0.pt", "last rank=0 plain"},
        {"checkpoint12.pt", "number=12"},
        {"checkpoint_1_1000.pt", "epoch=1 step=1000"},
        {"checkpoint_best.pt", "best plain"},
        {"checkpoint_last.pt", "last plain"},
        {"checkpoint-12.pth.tar", "number=12"},
        {"model_best.pth.tar", "best plain"},
        {"best_coco_bbox_mAP_epoch_12.pth", "model=bbox dataset=coco best epoch=12"},
        {"iter_20000.pth", "step=20000"},
        {"model_0004999.pth", "number=4999"},
        {"model_final.pth", "final plain"},
        {"best.pt", "best plain"},
        {"epoch10.pt", "epoch=10"},
        {"ckpt.pt", "plain"},
        {"style-000010.safetensors", "model=style number=10"},
        {"style-step00000500.safetensors", "model=style step=500"},
    };
    (void)state;
    CHECK(cases);
}

static void test_numbers_that_are_something_else(void **state)
{
    static const struct reading_case cases[] = {
        {"resnet50.pth", "model=resnet50"},
        {"resnet50-0676ba61.pth", "model=resnet50"},
        {"resnet50_v2.h5", "model=resnet50_v2"},
        {"inception_v3_epoch_3.pt", "model=inception_v3 epoch=3"},
        {"vgg16_bn-6c64b313.pth", "model=vgg16_bn"},
        {"resnet_18.pth", "model=resnet_18"},
        {"efficientnet_b0_224x224.onnx", "model=efficientnet_b0"},
        {"llama-2-7b.gguf", "model=llama-2-7b"},
        {"llama-3.1-8b-instruct.gguf", "model=llama-3.1-8b-instruct"},
        {"mistral-7B-v0.1.safetensors", "model=mistral-7B-v0.1"},
        {"model_fp16.safetensors", "plain"},
        {"model_bf16.pt", "plain"},
        {"model_int8.onnx", "plain"},
        {"model_lr_1e-4.pt", "plain"},
        {"model_1e-4.pt", "plain"},
        {"resnet50_lr1e-4_bs32_epoch_3.pt", "model=resnet50 epoch=3"},
        {"resnet50_lr=0.001-wd=0.01-epoch=3.ckpt", "model=resnet50 epoch=3"},
        {"bert_batch_size=32_epoch=2.pt", "model=bert epoch=2"},
        {"bert_dropout0.1_weight_decay_0.01_epoch_2.pt", "model=bert epoch=2"},
        {"unet_512x1024_epoch_2.pt", "model=unet epoch=2"},
        {"seed42.pt", "seed=42"},
        {"seed_42_best.pt", "seed=42 best"},
        {"model_run3.pt", "run=3"},
        {"model_20241124.pt", "date=20241124"},
        {"model_2024-11-24.pt", "date=20241124"},
        {"model_2024_11_24.pt", "date=20241124"},
        {"model_20241124_153000.pt", "date=20241124 time=153000"},
        {"model_20241124-1530.pt", "date=20241124 time=153000"},
        {"model_20241124T153000.pt", "date=20241124 time=153000"},
        {"model_20241124153000.pt", "date=20241124 time=153000"},
        {"model_2024-11-24_15-30-00.pt", "date=20241124 time=153000"},
        {"model_2024-11-24T15:30:00.pt", "date=20241124 time=153000"},
        {"2024-11-24_resnet50_epoch_3.pt", "model=resnet50 date=20241124 epoch=3"},
        {"resnet50_20241124_epoch_3_acc_0.9.pt", "model=resnet50 date=20241124 epoch=3 acc=0.9"},
        {"step_20241124.pt", "step=20241124"},
        {"model_20249999.pt", "number=20249999"},
        {"model_12.pt", "number=12"},
        {"policy_300.pt", "model=policy number=300"},
        {"model.pt", "plain"},
        {"optimizer.pt", "optimizer plain"},
        {"scheduler.pt", "extra plain"},
        {"last_ema.pt", "last ema plain"},
        {"training_args.bin", "extra plain"},
        {"epoch_3_ema.pt", "epoch=3 ema"},
        {"epoch_3_optimizer.pt", "epoch=3 optimizer"},
        {"epoch_3_full.pt", "epoch=3 full"},
        {"epoch.pt", "plain"},
        {"best_acc.pt", "best plain"},
        {"epoch_99999999999999999999999.pt", "plain"},
        {"epoch_-3.pt", "plain"},
        {"epoch_3.5.pt", "plain"},
        {"", "plain"},
        {".", "plain"},
        {"---___...", "plain"},
    };
    (void)state;
    CHECK(cases);
}

static void test_names_of_metrics_have_one_form(void **state)
{
    static const struct {
        const char *name;
        const char *normal;
    } cases[] = {
        {"valAcc", "val_acc"},     {"valLoss", "val_loss"},       {"val_loss", "val_loss"},
        {"val/loss", "val_loss"},  {"val/Loss", "val_loss"},      {"valloss", "val_loss"},
        {"mAP", "map"},            {"mAP50-95", "map50_95"},      {"eval_accuracy", "eval_accuracy"},
        {"F1 score", "f1_score"},  {"recall@5", "recall_5"},      {"bestValAcc", "best_val_acc"},
        {"myOwnScore", "my_own_score"}, {"__x__", "x"},           {"", ""},
    };
    char out[CKPT_NAMING_TEXT];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        ckpt_metric_normalise(cases[i].name, strlen(cases[i].name), out, sizeof out);
        assert_string_equal(out, cases[i].normal);
    }
    ckpt_metric_normalise("validation_loss", 15, out, 6);
    assert_string_equal(out, "valid");
}

/* Any bytes: nothing is read beyond them, and every text ends. */
static void test_random_names_do_no_harm(void **state)
{
    static const char alphabet[] = "epoch_step=loss-val.0123456789eE+-/@TxvK of\x80\xff";
    uint64_t seed = 7;
    (void)state;
    for (size_t round = 0; round < 20000; round++) {
        struct ckpt_naming naming;
        size_t n = (size_t)(unit_random(&seed) % 300);
        char *name = malloc(n + 1);
        assert_non_null(name);
        for (size_t i = 0; i < n; i++) {
            name[i] = alphabet[unit_random(&seed) % (sizeof alphabet - 1)];
        }
        name[n] = '\0';
        ckpt_naming_read(name, &naming);
        assert_non_null(memchr(naming.model, '\0', sizeof naming.model));
        assert_non_null(memchr(naming.dataset, '\0', sizeof naming.dataset));
        assert_in_range(naming.metric_count, 0, CKPT_NAMING_METRICS);
        free(name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_that_people_write),
        cmocka_unit_test(test_names_that_frameworks_write),
        cmocka_unit_test(test_numbers_that_are_something_else),
        cmocka_unit_test(test_names_of_metrics_have_one_form),
        cmocka_unit_test(test_random_names_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
