/*
 * What paths are, whether checkpoints are complete at each step of being written, and what tensors' names
 * tell, as tables.
 */
#include "unit.h"

#include "recognise/complete.h"
#include "recognise/holdings.h"
#include "recognise/recognise.h"
#include <inttypes.h>

static const char *const roles[] = {"other", "file",   "shard",   "member",
                                    "index", "marker", "metrics", "temporary"};
static const char *const kinds[] = {"unknown", "full", "weights", "ema", "optimizer", "extra"};
static const char *const states[] = {"incomplete", "quiet", "complete"};

/* ---- Paths ---- */

/* ROLE FRAMEWORK HOLDS root=ROOT [group] and what else there is. */
static void describe(const char *path, bool captured, char text[512])
{
    struct ckpt_recognised r;
    ckpt_recognise(path, captured, &r);
    int n = snprintf(text, 512, "%s %s %s", roles[r.role], ckpt_framework_name(r.framework), kinds[r.holds]);
    if (r.has_root) {
        n += snprintf(text + n, 512 - (size_t)n, " root=%.*s%s [%s]", (int)r.root_size, path + r.root_at,
                      r.directory ? "/" : "", r.group);
    }
    if (r.has_rank) {
        n += snprintf(text + n, 512 - (size_t)n, " rank=%" PRIu64, r.rank);
    }
    if (r.has_shard) {
        n += snprintf(text + n, 512 - (size_t)n, " shard=%" PRIu64 "/%" PRIu64, r.shard, r.shards);
    }
    static const char *const marks[] = {"", " done", " names", " unfinished"};
    static const char *const aliases[] = {"", " alias-last", " alias-best", " alias-final"};
    static const char *const sources[] = {"",       " trainer-state", " csv",    " tfevents", " mlflow",
                                          " jsonl", " wandb",         " optuna", " json"};
    (void)snprintf(text + n, 512 - (size_t)n, "%s%s%s", marks[r.mark], aliases[r.alias], sources[r.metrics]);
}

struct path_case {
    const char *path;
    const char *is;
};

static void check_paths(const struct path_case *cases, size_t count)
{
    size_t bad = 0;
    for (size_t i = 0; i < count; i++) {
        char text[512];
        describe(cases[i].path, false, text);
        if (strcmp(text, cases[i].is) != 0) {
            print_error("%s\n    expected %s\n    is       %s\n", cases[i].path, cases[i].is, text);
            bad++;
        }
    }
    assert_int_equal(bad, 0);
}

#define CHECK_PATHS(cases) check_paths(cases, sizeof(cases) / sizeof(cases)[0])

static void test_single_files(void **state)
{
    static const struct path_case cases[] = {
        {"model.pt", "file plain unknown root=model.pt [plain]"},
        {"optimizer.pt", "file plain optimizer root=optimizer.pt [plain]"},
        {"resnet50.pth", "file plain unknown root=resnet50.pth [name=resnet50]"},
        {"gpt_epoch_01_valLoss_2.654.pt", "file plain unknown root=gpt_epoch_01_valLoss_2.654.pt [epoch=1]"},
        {"weights_bf16_epoch_01.pt", "file plain weights root=weights_bf16_epoch_01.pt [epoch=1]"},
        {"gpt_epoch_1_ema.pt", "file plain ema root=gpt_epoch_1_ema.pt [epoch=1]"},
        {"seed42_epoch_1.pt", "file plain unknown root=seed42_epoch_1.pt [epoch=1 seed=42]"},
        {"fold1_epoch_1.pt", "file plain unknown root=fold1_epoch_1.pt [epoch=1 fold=1]"},
        {"epoch=3-step=400.ckpt", "file plain unknown root=epoch=3-step=400.ckpt [step=400]"},
        {"checkpoints/epoch=3-step=400.ckpt", "file plain unknown root=epoch=3-step=400.ckpt [step=400]"},
        {"epoch=3-val/loss=0.21.ckpt", "file plain unknown root=epoch=3-val/loss=0.21.ckpt [epoch=3]"},
        {"last.ckpt", "file plain unknown root=last.ckpt [last] alias-last"},
        {"last-v1.ckpt", "file plain unknown root=last-v1.ckpt [last] alias-last"},
        {"last_ema.pt", "file plain ema root=last_ema.pt [last] alias-last"},
        {"best.pt", "file plain unknown root=best.pt [best] alias-best"},
        {"model_best.pth.tar", "file plain unknown root=model_best.pth.tar [best] alias-best"},
        {"model_final.pth", "file plain unknown root=model_final.pth [final] alias-final"},
        {"unet_best_iou_0.92.pth",
         "file plain unknown root=unet_best_iou_0.92.pth [name=unet_best_iou_0.92]"},
        {"best_coco_mAP_epoch_12.pth", "file plain unknown root=best_coco_mAP_epoch_12.pth [epoch=12]"},
        {"weights.03-0.21.h5", "file plain weights root=weights.03-0.21.h5 [epoch=3]"},
        {"03.weights.h5", "file plain weights root=03.weights.h5 [number=3]"},
        {"model.keras", "file plain unknown root=model.keras [plain]"},
        {"model.safetensors", "file plain weights root=model.safetensors [plain]"},
        {"model-00001-of-00003.safetensors",
         "shard plain weights root=model-00001-of-00003.safetensors [plain] shard=1/3"},
        {"model.safetensors.index.json", "index plain unknown root=model.safetensors.index.json [plain]"},
        {"ep1-ba100-rank3.pt", "file plain unknown root=ep1-ba100-rank3.pt [step=100] rank=3"},
        {"3/best.pt", "file plain unknown root=best.pt [best] alias-best"},
        {"release/best.pt", "file plain unknown root=best.pt [best] alias-best"},
        {"notes.txt", "other plain unknown"},
        {"train.log", "other plain unknown"},
        {"", "other plain unknown"},
        {"///", "other plain unknown"},
    };
    char text[512];
    (void)state;
    CHECK_PATHS(cases);
    /* What was captured is a checkpoint, whatever it is called. */
    describe("state_0012", true, text);
    assert_string_equal(text, "file plain unknown root=state_0012 [number=12]");
    describe("blob", true, text);
    assert_string_equal(text, "file plain unknown root=blob [name=blob]");
    describe("metrics.csv", true, text);
    assert_string_equal(text, "metrics plain unknown csv");
}

static void test_members_of_directories(void **state)
{
    static const struct path_case cases[] = {
        /* transformers, also with DeepSpeed and FSDP within */
        {"checkpoint-500/model.safetensors", "member transformers weights root=checkpoint-500/ [step=500]"},
        {"checkpoint-500/model-00002-of-00003.safetensors",
         "shard transformers weights root=checkpoint-500/ [step=500] shard=2/3"},
        {"checkpoint-500/model.safetensors.index.json",
         "index transformers extra root=checkpoint-500/ [step=500]"},
        {"checkpoint-500/optimizer.pt", "member transformers optimizer root=checkpoint-500/ [step=500]"},
        {"checkpoint-500/rng_state_3.pth",
         "member transformers extra root=checkpoint-500/ [step=500] rank=3"},
        {"checkpoint-500/trainer_state.json",
         "marker transformers extra root=checkpoint-500/ [step=500] done trainer-state"},
        {"checkpoint-500/global_step500/mp_rank_00_model_states.pt",
         "member transformers weights root=checkpoint-500/ [step=500] rank=0"},
        {"checkpoint-500/pytorch_model_fsdp_0/.metadata",
         "member transformers extra root=checkpoint-500/ [step=500]"},
        {"checkpoint-500/anything", "member transformers unknown root=checkpoint-500/ [step=500]"},
        {"tmp-checkpoint-500/optimizer.pt", "temporary plain unknown"},
        {"final/model.safetensors", "member plain weights root=final/ [final] alias-final"},
        /* accelerate, Ray */
        {"checkpoints/checkpoint_3/random_states_0.pkl",
         "member accelerate extra root=checkpoint_3/ [number=3] rank=0"},
        {"checkpoints/checkpoint_3/optimizer.bin",
         "member accelerate optimizer root=checkpoint_3/ [number=3]"},
        {"trial_1/checkpoint_000003/model.pt", "member ray unknown root=checkpoint_000003/ [number=3]"},
        /* DeepSpeed */
        {"global_step100/mp_rank_01_model_states.pt",
         "member deepspeed weights root=global_step100/ [step=100] rank=1"},
        {"global_step100/bf16_zero_pp_rank_2_mp_rank_00_optim_states.pt",
         "member deepspeed optimizer root=global_step100/ [step=100] rank=2"},
        {"my_tag/mp_rank_00_model_states.pt", "member deepspeed weights root=my_tag/ [name=my_tag] rank=0"},
        {"latest", "marker deepspeed unknown names"},
        /* DCP */
        {"step-200/__3_0.distcp", "member dcp unknown root=step-200/ [step=200] rank=3"},
        {"step-200/.metadata", "marker dcp extra root=step-200/ [step=200] done"},
        {"step-200/.metadata.tmp", "temporary plain unknown"},
        {"anyname/.metadata", "marker dcp extra root=anyname/ [name=anyname] done"},
        {"__0_0.distcp", "member dcp unknown root=/ [plain] rank=0"},
        /* Megatron-LM */
        {"iter_0000500/mp_rank_01_002/model_optim_rng.pt",
         "member megatron full root=iter_0000500/ [step=500] rank=1"},
        {"iter_0000500/mp_rank_01/distrib_optim.pt",
         "member megatron optimizer root=iter_0000500/ [step=500] rank=1"},
        {"iter_0000500/__0_0.distcp", "member dcp unknown root=iter_0000500/ [step=500] rank=0"},
        {"release/mp_rank_00/model_rng.pt", "member megatron weights root=release/ [plain] rank=0"},
        {"latest_checkpointed_iteration.txt", "marker megatron unknown names"},
        /* NeMo, Lightning's directories */
        {"epoch_3_step_400/x", "member nemo unknown root=epoch_3_step_400/ [step=400]"},
        {"gpt--val_loss=2.3-epoch=1/weights/x",
         "member nemo unknown root=gpt--val_loss=2.3-epoch=1/ [epoch=1]"},
        {"gpt--val_loss=2.3-epoch=1-unfinished",
         "marker nemo unknown root=gpt--val_loss=2.3-epoch=1 [epoch=1] unfinished"},
        {"epoch=3-step=400.ckpt/.metadata", "marker dcp extra root=epoch=3-step=400.ckpt/ [step=400] done"},
        {"epoch=3-step=400.ckpt/checkpoint/mp_rank_00_model_states.pt",
         "member lightning weights root=epoch=3-step=400.ckpt/ [step=400] rank=0"},
        {"last.ckpt/meta.pt", "member lightning unknown root=last.ckpt/ [last] alias-last"},
        /* Orbax */
        {"1000/_CHECKPOINT_METADATA", "member orbax extra root=1000/ [step=1000]"},
        {"1000/default/manifest.ocdbt", "member orbax unknown root=1000/ [step=1000]"},
        {"1000/default/d/0a1b2c", "member orbax unknown root=1000/ [step=1000]"},
        {"1000/default/ocdbt.process_2/d/0a1b2c", "member orbax unknown root=1000/ [step=1000]"},
        {"state_1000/commit_success.txt", "marker orbax extra root=state_1000/ [step=1000] done"},
        {"1000.orbax-checkpoint-tmp/default/d/x", "temporary plain unknown"},
        {"1000.orbax-checkpoint-tmp-1700000000/x", "temporary plain unknown"},
        {"1000/default.orbax-checkpoint-tmp-0/d/x", "temporary plain unknown"},
        /* torchsnapshot: the marker shows that the directory is one */
        {"snap/.snapshot_metadata", "marker torchsnapshot extra root=snap/ [name=snap] done"},
        {"snap/0/model/weight", "other plain unknown"},
        {"epoch_3/0/model/weight", "member plain unknown root=epoch_3/ [epoch=3]"},
    };
    (void)state;
    CHECK_PATHS(cases);
}

static void test_metrics_and_temporary_names(void **state)
{
    static const struct path_case cases[] = {
        {"metrics.csv", "metrics plain unknown csv"},
        {"logs/version_0/metrics.csv", "metrics plain unknown csv"},
        {"trainer_state.json", "metrics transformers unknown trainer-state"},
        {"runs/events.out.tfevents.1700000000.host.1.0", "metrics plain unknown tfevents"},
        {"mlruns/0/0a1b/metrics/val/loss", "metrics plain unknown mlflow"},
        {"metrics/val/loss", "other plain unknown"},
        {"result.json", "metrics ray unknown jsonl"},
        {"progress.csv", "metrics plain unknown csv"},
        {"wandb/run-1/files/wandb-summary.json", "metrics plain unknown wandb"},
        {"optuna_journal.log", "metrics plain unknown optuna"},
        {"eval_results.json", "metrics transformers unknown json"},
        {"last.pt.tmp", "temporary plain unknown"},
        {"last.pt.tmp.1234", "temporary plain unknown"},
        {"tmp-last.pt", "temporary plain unknown"},
        {"last.pt.part", "temporary plain unknown"},
        {".last.pt.swp", "temporary plain unknown"},
        {".last.pt.Xa81Qz", "temporary plain unknown"},
        {"last.pt~", "temporary plain unknown"},
        {".nfs000000000000000100000001", "temporary plain unknown"},
        {"model.safetensors.incomplete", "temporary plain unknown"},
        {"checkpoint_tmp", "temporary plain unknown"},
        {"tmp8xk2_w1q", "temporary plain unknown"},
        {"a/b.tmp/last.pt", "temporary plain unknown"},
        {"tmp-checkpoint-500/x", "temporary plain unknown"},
        {".epoch_3.tmp/model.pt", "temporary plain unknown"},
        {"tmp-epoch_3/model.pt", "temporary plain unknown"},
        /* where people have their runs */
        {"tmp-ideas/last.pt", "file plain unknown root=last.pt [last] alias-last"},
        {"tmp_runs_01/epoch_3.pt", "file plain unknown root=epoch_3.pt [epoch=3]"},
        {".cache/run/last.pt", "file plain unknown root=last.pt [last] alias-last"},
    };
    (void)state;
    CHECK_PATHS(cases);
}

static void test_what_is_one_checkpoint(void **state)
{
    static const struct {
        const char *a;
        const char *b;
        bool joins;
    } cases[] = {
        {"gpt_epoch_01_valLoss_2.6.pt", "weights_bf16_epoch_01.pt", true},
        {"epoch_1.pt", "epoch_2.pt", false},
        {"netG_epoch_1.pt", "netD_epoch_1.pt", true},
        {"epoch=3-step=400.ckpt", "weights_epoch_3.pt", true},
        {"epoch=3-step=400.ckpt", "step-400.pt", true},
        {"epoch=3-step=400.ckpt", "epoch=3-step=500.ckpt", false},
        {"epoch=3-step=400.ckpt", "epoch=2-step=400.ckpt", false},
        {"epoch=3-step=400.ckpt", "epoch=3-step=400-v1.ckpt", true},
        {"seed1_epoch_3.pt", "seed2_epoch_3.pt", false},
        {"fold1_epoch_3.pt", "fold2_epoch_3.pt", false},
        {"model.pt", "optimizer.pt", true},
        {"last.pt", "last_ema.pt", true},
        {"last.pt", "best.pt", false},
        {"last.pt", "epoch_3.pt", false},
        {"model_12.pt", "optimizer_12.pt", true},
        {"model_12.pt", "epoch_12.pt", false},
        {"resnet50.pt", "resnet50.pt", false}, /* nothing says so but the name itself */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ckpt_recognised a;
        struct ckpt_recognised b;
        ckpt_recognise(cases[i].a, false, &a);
        ckpt_recognise(cases[i].b, false, &b);
        if (ckpt_recognise_joins(&a.naming, &b.naming) != cases[i].joins ||
            ckpt_recognise_joins(&b.naming, &a.naming) != cases[i].joins) {
            print_error("%s and %s\n", cases[i].a, cases[i].b);
            fail();
        }
    }
}

/* ---- Steps of writing ---- */

enum { STEP_FILES = 24 };

/* What happens in a run, in order. Each step changes something and says what the checkpoint is then. */
struct step {
    const char *root; /* its name from now on; NULL: as before */
    /*
     * "+NAME" opens a new file, "-NAME" closes it, "xNAME" removes it; "LTEXT" and "ITEXT" write latest and
     * the iteration's file; "U+" and "U-" make and remove the unfinished marker; "R" is the rename that
     * gave it its name; "XNAME" is a name in the index; "Q" is a minute of quiet.
     */
    const char *does;
    const char *state;
};

struct world {
    struct ckpt_contents contents;
    struct ckpt_entry entries[STEP_FILES];
    const char *indexed[STEP_FILES];
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct ckpt_entry *)a)->name, ((const struct ckpt_entry *)b)->name);
}

static void apply(struct world *world, const char *does)
{
    struct ckpt_contents *contents = &world->contents;
    const char *name = does + 1;
    size_t i = 0;
    while (i < contents->count && strcmp(world->entries[i].name, name) != 0) {
        i++;
    }
    if (does[0] == '+' && i == contents->count) {
        assert_in_range(contents->count, 0, STEP_FILES - 1);
        world->entries[contents->count++] = (struct ckpt_entry){name, true};
    } else if (does[0] == '-') {
        assert_in_range(i, 0, contents->count - 1);
        world->entries[i].open = false;
    } else if (does[0] == 'x') {
        assert_in_range(i, 0, contents->count - 1);
        world->entries[i] = world->entries[--contents->count];
    } else if (does[0] == 'L') {
        contents->latest = name;
    } else if (does[0] == 'I') {
        contents->iteration = name;
    } else if (does[0] == 'U') {
        contents->unfinished = name[0] == '+';
    } else if (does[0] == 'R') {
        contents->renamed = true;
    } else if (does[0] == 'Q') {
        contents->quiet = 60;
    } else if (does[0] == 'X') {
        world->indexed[contents->indexed_count++] = name;
    }
    if (does[0] != 'Q') {
        contents->quiet = 0;
    }
    qsort(world->entries, contents->count, sizeof world->entries[0], by_name);
}

static void play(const char *title, const struct step *steps, size_t count)
{
    struct world world = {.contents = {.root = "", .directory = true, .quiet_needed = 30}};
    world.contents.entries = world.entries;
    world.contents.indexed = world.indexed;
    for (size_t i = 0; i < count; i++) {
        struct ckpt_completeness is;
        world.contents.root = steps[i].root != NULL ? steps[i].root : world.contents.root;
        apply(&world, steps[i].does);
        ckpt_complete_check(&world.contents, &is);
        if (strcmp(states[is.state], steps[i].state) != 0) {
            print_error("%s: after step %zu, %s, it is %s (%s), not %s\n", title, i + 1, steps[i].does,
                        states[is.state], is.why, steps[i].state);
            fail();
        }
        assert_true(strlen(is.why) > 0);
    }
}

#define PLAY(title, steps) play(title, steps, sizeof(steps) / sizeof(steps)[0])

/* transformers/trainer.py, _save_checkpoint: model, optimizer, scheduler, random state, trainer_state.json. */
static void test_transformers(void **state)
{
    static const struct step now[] = {
        {"checkpoint-500", "+config.json", "incomplete"},   {NULL, "-config.json", "quiet"},
        {NULL, "+model.safetensors", "incomplete"},         {NULL, "-model.safetensors", "quiet"},
        {NULL, "+training_args.bin", "incomplete"},         {NULL, "-training_args.bin", "incomplete"},
        {NULL, "Q", "incomplete"},                          {NULL, "+optimizer.pt", "incomplete"},
        {NULL, "-optimizer.pt", "incomplete"},              {NULL, "+scheduler.pt", "incomplete"},
        {NULL, "-scheduler.pt", "incomplete"},              {NULL, "+rng_state.pth", "incomplete"},
        {NULL, "-rng_state.pth", "incomplete"},             {NULL, "+trainer_state.json", "incomplete"},
        {NULL, "-trainer_state.json", "complete"},
    };
    /* Releases up to 4.3x write the random state last. */
    static const struct step before[] = {
        {"checkpoint-500", "+model.safetensors", "incomplete"}, {NULL, "-model.safetensors", "quiet"},
        {NULL, "+training_args.bin", "incomplete"},             {NULL, "-training_args.bin", "incomplete"},
        {NULL, "+optimizer.pt", "incomplete"},                  {NULL, "-optimizer.pt", "incomplete"},
        {NULL, "+trainer_state.json", "incomplete"},            {NULL, "-trainer_state.json", "quiet"},
        {NULL, "+rng_state.pth", "incomplete"},                 {NULL, "-rng_state.pth", "complete"},
    };
    /* save_only_model, with shards */
    static const struct step weights[] = {
        {"checkpoint-500", "+model-00001-of-00002.safetensors", "incomplete"},
        {NULL, "-model-00001-of-00002.safetensors", "incomplete"},
        {NULL, "+model-00002-of-00002.safetensors", "incomplete"},
        {NULL, "-model-00002-of-00002.safetensors", "quiet"},
        {NULL, "+model.safetensors.index.json", "incomplete"},
        {NULL, "-model.safetensors.index.json", "quiet"},
        {NULL, "+training_args.bin", "incomplete"},
        {NULL, "-training_args.bin", "incomplete"},
        {NULL, "+trainer_state.json", "incomplete"},
        {NULL, "-trainer_state.json", "complete"},
        {NULL, "xmodel-00001-of-00002.safetensors", "incomplete"},
    };
    /* tmp-checkpoint-N and a rename; two ranks */
    static const struct step renamed[] = {
        {"tmp-checkpoint-500", "+model.safetensors", "incomplete"},
        {NULL, "-model.safetensors", "incomplete"},
        {NULL, "+optimizer.pt", "incomplete"},
        {NULL, "-optimizer.pt", "incomplete"},
        {NULL, "+rng_state_0.pth", "incomplete"},
        {NULL, "-rng_state_0.pth", "incomplete"},
        {NULL, "+rng_state_1.pth", "incomplete"},
        {NULL, "-rng_state_1.pth", "incomplete"},
        {NULL, "+trainer_state.json", "incomplete"},
        {NULL, "-trainer_state.json", "incomplete"},
        {"checkpoint-500", "R", "complete"},
    };
    /* DeepSpeed within: its own tracker doesn't count */
    static const struct step deepspeed[] = {
        {"checkpoint-500", "+global_step500/mp_rank_00_model_states.pt", "incomplete"},
        {NULL, "-global_step500/mp_rank_00_model_states.pt", "incomplete"},
        {NULL, "+latest", "incomplete"},
        {NULL, "-latest", "incomplete"},
        {NULL, "+training_args.bin", "incomplete"},
        {NULL, "-training_args.bin", "incomplete"},
        {NULL, "+trainer_state.json", "incomplete"},
        {NULL, "-trainer_state.json", "quiet"},
        {NULL, "+rng_state_0.pth", "incomplete"},
        {NULL, "-rng_state_0.pth", "quiet"},
        {NULL, "Q", "complete"},
    };
    (void)state;
    PLAY("transformers", now);
    PLAY("transformers before", before);
    PLAY("weights only", weights);
    PLAY("renamed", renamed);
    PLAY("deepspeed within", deepspeed);
}

/* deepspeed/runtime/engine.py, save_checkpoint: all ranks' files, a barrier, then latest. */
static void test_deepspeed(void **state)
{
    static const struct step steps[] = {
        {"global_step200", "Lglobal_step100", "incomplete"},
        {NULL, "+mp_rank_00_model_states.pt", "incomplete"},
        {NULL, "-mp_rank_00_model_states.pt", "incomplete"},
        {NULL, "+zero_pp_rank_0_mp_rank_00_optim_states.pt", "incomplete"},
        {NULL, "-zero_pp_rank_0_mp_rank_00_optim_states.pt", "incomplete"},
        {NULL, "Q", "incomplete"},
        {NULL, "Lglobal_step200\n", "complete"},
        {NULL, "Lglobal_step300", "quiet"},
        {NULL, "Q", "complete"},
    };
    /*
     * lightning/pytorch/strategies/deepspeed.py and accelerate: the tag's directory and latest in one of
     * their own
     */
    static const struct step lightning[] = {
        {"epoch=3-step=40.ckpt", "+checkpoint/mp_rank_00_model_states.pt", "incomplete"},
        {NULL, "-checkpoint/mp_rank_00_model_states.pt", "incomplete"},
        {NULL, "+latest", "incomplete"},
        {NULL, "-latest", "complete"},
    };
    static const struct step accelerate[] = {
        {"checkpoint_3", "+pytorch_model/mp_rank_00_model_states.pt", "incomplete"},
        {NULL, "-pytorch_model/mp_rank_00_model_states.pt", "incomplete"},
        {NULL, "+latest", "incomplete"},
        {NULL, "-latest", "quiet"},
        {NULL, "+random_states_0.pkl", "incomplete"},
        {NULL, "-random_states_0.pkl", "quiet"},
    };
    (void)state;
    PLAY("deepspeed", steps);
    PLAY("lightning deepspeed", lightning);
    PLAY("accelerate deepspeed", accelerate);
}

/* torch/distributed/checkpoint/filesystem.py: each rank's files, then .metadata.tmp, renamed. */
static void test_dcp(void **state)
{
    static const struct step steps[] = {
        {"step-200", "+__0_0.distcp", "incomplete"},  {NULL, "-__0_0.distcp", "incomplete"},
        {NULL, "+__1_0.distcp", "incomplete"},        {NULL, "-__1_0.distcp", "incomplete"},
        {NULL, "Q", "incomplete"},                    {NULL, "+.metadata.tmp", "incomplete"},
        {NULL, "-.metadata.tmp", "incomplete"},       {NULL, "x.metadata.tmp", "incomplete"},
        {NULL, "+.metadata", "incomplete"},           {NULL, "-.metadata", "complete"},
    };
    /* lightning/fabric/strategies/fsdp.py: meta.pt behind it */
    static const struct step lightning[] = {
        {"epoch=3-step=40.ckpt", "+__0_0.distcp", "incomplete"}, {NULL, "-__0_0.distcp", "incomplete"},
        {NULL, "+.metadata", "incomplete"},                      {NULL, "-.metadata", "incomplete"},
        {NULL, "+meta.pt", "incomplete"},                        {NULL, "-meta.pt", "complete"},
    };
    static const struct step parts[] = {
        {"checkpoint_3", "+pytorch_model_fsdp_0/__0_0.distcp", "incomplete"},
        {NULL, "-pytorch_model_fsdp_0/__0_0.distcp", "incomplete"},
        {NULL, "+pytorch_model_fsdp_0/.metadata", "incomplete"},
        {NULL, "-pytorch_model_fsdp_0/.metadata", "quiet"},
        {NULL, "+optimizer_0/__0_0.distcp", "incomplete"},
        {NULL, "-optimizer_0/__0_0.distcp", "incomplete"},
        {NULL, "+optimizer_0/.metadata", "incomplete"},
        {NULL, "-optimizer_0/.metadata", "quiet"},
        {NULL, "Q", "complete"},
    };
    (void)state;
    PLAY("dcp", steps);
    PLAY("lightning fsdp", lightning);
    PLAY("accelerate fsdp", parts);
}

/* megatron/training/checkpointing.py: all ranks' files, a barrier, then the tracker. */
static void test_megatron(void **state)
{
    static const struct step steps[] = {
        {"iter_0000500", "+mp_rank_00/model_optim_rng.pt", "incomplete"},
        {NULL, "-mp_rank_00/model_optim_rng.pt", "incomplete"},
        {NULL, "I400", "incomplete"},
        {NULL, "Q", "incomplete"},
        {NULL, "I500", "complete"},
        {NULL, "I600", "quiet"},
    };
    static const struct step release[] = {
        {"release", "+mp_rank_00/model_rng.pt", "incomplete"},
        {NULL, "-mp_rank_00/model_rng.pt", "incomplete"},
        {NULL, "Irelease", "complete"},
    };
    static const struct step sharded[] = {
        {"iter_0000500", "+__0_0.distcp", "incomplete"}, {NULL, "-__0_0.distcp", "incomplete"},
        {NULL, "+.metadata", "incomplete"},              {NULL, "-.metadata", "incomplete"},
        {NULL, "I500", "complete"},
    };
    (void)state;
    PLAY("megatron", steps);
    PLAY("release", release);
    PLAY("megatron sharded", sharded);
}

/* nemo/utils/callbacks/nemo_model_checkpoint.py: the marker is made before and removed behind the save. */
static void test_nemo(void **state)
{
    static const struct step steps[] = {
        {"gpt--val_loss=2.3-epoch=1", "U+", "incomplete"}, {NULL, "+weights/common.pt", "incomplete"},
        {NULL, "-weights/common.pt", "incomplete"},        {NULL, "Q", "incomplete"},
        {NULL, "U-", "quiet"},                             {NULL, "Q", "complete"},
    };
    (void)state;
    PLAY("nemo", steps);
    assert_int_equal(ckpt_complete_marked("gpt--step=1-EMA.ckpt"), strlen("gpt--step=1"));
    assert_int_equal(ckpt_complete_marked("gpt"), strlen("gpt"));
}

/* orbax/checkpoint: everything below a temporary name, then a rename; on object stores commit_success.txt. */
static void test_orbax(void **state)
{
    static const struct step steps[] = {
        {"1000.orbax-checkpoint-tmp-17", "+_CHECKPOINT_METADATA", "incomplete"},
        {NULL, "-_CHECKPOINT_METADATA", "incomplete"},
        {NULL, "+default.orbax-checkpoint-tmp-18/manifest.ocdbt", "incomplete"},
        {NULL, "-default.orbax-checkpoint-tmp-18/manifest.ocdbt", "incomplete"},
        {NULL, "xdefault.orbax-checkpoint-tmp-18/manifest.ocdbt", "incomplete"},
        {NULL, "+default/manifest.ocdbt", "incomplete"},
        {NULL, "-default/manifest.ocdbt", "incomplete"},
        {NULL, "Q", "incomplete"},
        {"1000", "R", "complete"},
    };
    static const struct step committed[] = {
        {"1000", "+default/manifest.ocdbt", "incomplete"}, {NULL, "-default/manifest.ocdbt", "quiet"},
        {NULL, "+commit_success.txt", "incomplete"},       {NULL, "-commit_success.txt", "complete"},
    };
    (void)state;
    PLAY("orbax", steps);
    PLAY("orbax committed", committed);
}

/* torchsnapshot/snapshot.py: all ranks' files, a barrier, then the metadata. */
static void test_torchsnapshot(void **state)
{
    static const struct step steps[] = {
        {"snap", "+0/model/weight", "incomplete"},
        {NULL, "-0/model/weight", "quiet"},
        {NULL, "+.snapshot_metadata", "incomplete"},
        {NULL, "-.snapshot_metadata", "complete"},
    };
    (void)state;
    PLAY("torchsnapshot", steps);
}

/* accelerate/accelerator.py, save_state; ray/train; people's own directories: nothing says when. */
static void test_quiet_period(void **state)
{
    static const struct step accelerate[] = {
        {"checkpoint_3", "+model.safetensors", "incomplete"}, {NULL, "-model.safetensors", "quiet"},
        {NULL, "+optimizer.bin", "incomplete"},               {NULL, "-optimizer.bin", "quiet"},
        {NULL, "+random_states_0.pkl", "incomplete"},         {NULL, "-random_states_0.pkl", "quiet"},
        {NULL, "Q", "complete"},
    };
    static const struct step ray[] = {
        {"checkpoint_000003", "+model.pt", "incomplete"},
        {NULL, "-model.pt", "quiet"},
        {NULL, "Q", "complete"},
        {NULL, "+more.pt.tmp", "incomplete"},
        {NULL, "-more.pt.tmp", "incomplete"},
        {NULL, "Q", "incomplete"},
        {NULL, "xmore.pt.tmp", "quiet"},
        {NULL, "+.lock", "incomplete"},
        {NULL, "-.lock", "quiet"},
    };
    static const struct step own[] = {
        {"epoch_3.tmp", "+model.pt", "incomplete"},
        {NULL, "-model.pt", "incomplete"},
        {"epoch_3", "R", "complete"},
    };
    static const struct step empty[] = {{"epoch_3", "Q", "incomplete"}};
    (void)state;
    PLAY("accelerate", accelerate);
    PLAY("ray", ray);
    PLAY("own", own);
    PLAY("empty", empty);
}

/* Shards beside each other in a run, in any order. */
static void test_shards(void **state)
{
    static const struct step indexed[] = {
        {"", "+m-00003-of-00003.safetensors", "incomplete"},
        {NULL, "-m-00003-of-00003.safetensors", "incomplete"},
        {NULL, "+m-00001-of-00003.safetensors", "incomplete"},
        {NULL, "-m-00001-of-00003.safetensors", "incomplete"},
        {NULL, "+m-00002-of-00003.safetensors", "incomplete"},
        {NULL, "-m-00002-of-00003.safetensors", "quiet"},
        {NULL, "Xm-00001-of-00003.safetensors", "complete"},
        {NULL, "Xm-00002-of-00003.safetensors", "complete"},
        {NULL, "Xanother.safetensors", "incomplete"},
    };
    static const struct step from_zero[] = {
        {"", "+w.data-00000-of-00002", "incomplete"},   {NULL, "-w.data-00000-of-00002", "incomplete"},
        {NULL, "+w.data-00001-of-00002", "incomplete"}, {NULL, "-w.data-00001-of-00002", "quiet"},
        {NULL, "xw.data-00000-of-00002", "incomplete"},
    };
    static const struct step one[] = {
        {"", "+m-00001-of-00001.bin", "incomplete"},
        {NULL, "-m-00001-of-00001.bin", "quiet"},
        {NULL, "Xm-00001-of-00001.bin", "complete"},
    };
    (void)state;
    PLAY("indexed", indexed);
    PLAY("from zero", from_zero);
    PLAY("one", one);
}

static void test_single_file_is_complete_when_closed(void **state)
{
    struct ckpt_contents contents = {.root = "last.ckpt", .open = true};
    struct ckpt_completeness is;
    (void)state;
    ckpt_complete_check(&contents, &is);
    assert_int_equal(is.state, CKPT_COMPLETION_NO);
    contents.open = false;
    ckpt_complete_check(&contents, &is);
    assert_int_equal(is.state, CKPT_COMPLETION_YES);
    contents.unfinished = true;
    ckpt_complete_check(&contents, &is);
    assert_int_equal(is.state, CKPT_COMPLETION_NO);
    assert_string_equal(is.why, "last-unfinished is there");
    contents = (struct ckpt_contents){.root = "last.ckpt.tmp", .renamed = true};
    ckpt_complete_check(&contents, &is);
    assert_int_equal(is.state, CKPT_COMPLETION_NO);
}

/* ---- What is in it ---- */

static void test_tensor_names_tell_what_is_in_it(void **state)
{
    static const struct {
        const char *names[4];
        const char *kind;
    } cases[] = {
        {{NULL}, "unknown"},
        {{"blocks.0.weight", "head.bias"}, "weights"},
        {{"model.blocks.0.weight", "optimizer.state.0.exp_avg"}, "full"},
        {{"model.weight", "optimizer"}, "full"}, /* an entry without tensors: SGD */
        {{"state_dict.weight", "optimizer_states.0.state.0.exp_avg_sq"}, "full"},
        {{"state.0.exp_avg", "state.0.step", "state.1.exp_avg"}, "optimizer"},
        {{"state.0.step"}, "optimizer"},
        {{"state.0.momentum_buffer"}, "optimizer"},
        {{"optimizer_state_dict.single_partition_of_fp32_groups.0"}, "optimizer"},
        {{"model_weights/dense/kernel:0", "optimizer_weights/adam/m:0"}, "full"},
        {{"params/dense/kernel", "opt_state/0/mu/dense/kernel"}, "full"},
        {{"0/model/weight", "0/optim/state/0/exp_avg"}, "full"},
        {{"model['weight']", "optimizer['state'][0]['exp_avg']"}, "full"},
        {{"ema.weight"}, "ema"},
        {{"model.weight", "ema.weight"}, "weights"},
        {{"rng_state", "cuda.0"}, "extra"},
        {{"epoch", "model.weight"}, "weights"},
        {{"model.optimizer_head.weight"}, "weights"},
        {{"model.step.weight"}, "weights"},
        {{"encoder.layer.0.step.weight"}, "weights"},
        {{"", "...", "/"}, "weights"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ckpt_holdings holdings = {0};
        for (size_t j = 0; j < 4 && cases[i].names[j] != NULL; j++) {
            ckpt_holdings_add(&holdings, cases[i].names[j], strlen(cases[i].names[j]));
        }
        if (strcmp(kinds[ckpt_holdings_sum(&holdings)], cases[i].kind) != 0) {
            print_error("case %zu, %s: %s\n", i, cases[i].names[0], kinds[ckpt_holdings_sum(&holdings)]);
            fail();
        }
    }
    assert_true(ckpt_holds_fullness(CKPT_HOLDS_FULL) > ckpt_holds_fullness(CKPT_HOLDS_UNKNOWN));
    assert_true(ckpt_holds_fullness(CKPT_HOLDS_UNKNOWN) > ckpt_holds_fullness(CKPT_HOLDS_WEIGHTS));
    assert_true(ckpt_holds_fullness(CKPT_HOLDS_WEIGHTS) > ckpt_holds_fullness(CKPT_HOLDS_OPTIMIZER));
}

/* Any bytes: offsets stay within the path. */
static void test_random_paths_do_no_harm(void **state)
{
    static const char *const parts[] = {"checkpoint-", "/",  "12",   "epoch=",   "-of-",      ".tmp",
                                        "*",           "d/", "//",   "mp_rank_", ".metadata", "-unfinished",
                                        "global_step", "=",  ".ckpt", "99999999999999999999"};
    uint64_t seed = 11;
    (void)state;
    for (size_t round = 0; round < 20000; round++) {
        char path[2048] = "";
        size_t count = (size_t)(unit_random(&seed) % 60);
        for (size_t i = 0; i < count; i++) {
            strcat(path, parts[unit_random(&seed) % (sizeof parts / sizeof parts[0])]);
        }
        struct ckpt_recognised r;
        ckpt_recognise(path, round % 2 == 0, &r);
        assert_in_range(r.root_at + r.root_size, 0, strlen(path));
        assert_in_range(r.member_at, 0, strlen(path));
        assert_non_null(memchr(r.group, '\0', sizeof r.group));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_single_files),
        cmocka_unit_test(test_members_of_directories),
        cmocka_unit_test(test_metrics_and_temporary_names),
        cmocka_unit_test(test_what_is_one_checkpoint),
        cmocka_unit_test(test_transformers),
        cmocka_unit_test(test_deepspeed),
        cmocka_unit_test(test_dcp),
        cmocka_unit_test(test_megatron),
        cmocka_unit_test(test_nemo),
        cmocka_unit_test(test_orbax),
        cmocka_unit_test(test_torchsnapshot),
        cmocka_unit_test(test_quiet_period),
        cmocka_unit_test(test_shards),
        cmocka_unit_test(test_single_file_is_complete_when_closed),
        cmocka_unit_test(test_tensor_names_tell_what_is_in_it),
        cmocka_unit_test(test_random_paths_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
