#include "recognise_rows.h"
#include <string.h>

/*
 * Directories. From transformers/trainer.py (checkpoint-STEP), accelerate (checkpoints/checkpoint_N),
 * deepspeed/runtime/engine.py (global_stepN), torchtitan (step-N), megatron/training/checkpointing.py
 * (iter_%07d, release), ray/train (checkpoint_%06d), nemo (epoch_E_step_S, MODEL--KEY=VALUE), lightning
 * (strategies that save directories give them the file's name), orbax ([PREFIX_]N), diffusers (checkpoint-N
 * with accelerate's files in it).
 */
static const struct ckpt_directory_row directories[] = {
    {"checkpoint-#", CKPT_FRAMEWORK_TRANSFORMERS, CKPT_UNIT_STEP, CKPT_TRUST_NAME},
    {"global_step#", CKPT_FRAMEWORK_DEEPSPEED, CKPT_UNIT_STEP, CKPT_TRUST_NAME},
    {"global_step_#", CKPT_FRAMEWORK_DEEPSPEED, CKPT_UNIT_STEP, CKPT_TRUST_NAME},
    {"iter_#", CKPT_FRAMEWORK_MEGATRON, CKPT_UNIT_STEP, CKPT_TRUST_NAME},
    {"release", CKPT_FRAMEWORK_MEGATRON, CKPT_UNIT_NONE, CKPT_TRUST_TELLING},
    {"checkpoint_######", CKPT_FRAMEWORK_RAY, CKPT_UNIT_NUMBER, CKPT_TRUST_NAME},
    {"checkpoint_#", CKPT_FRAMEWORK_ACCELERATE, CKPT_UNIT_NUMBER, CKPT_TRUST_NAME},
    {"step-#", CKPT_FRAMEWORK_DCP, CKPT_UNIT_STEP, CKPT_TRUST_NAME},
    {"step_#", CKPT_FRAMEWORK_NONE, CKPT_UNIT_STEP, CKPT_TRUST_NAME},
    {"step#", CKPT_FRAMEWORK_NONE, CKPT_UNIT_STEP, CKPT_TRUST_NAME},
    {"epoch_#_step_#", CKPT_FRAMEWORK_NEMO, CKPT_UNIT_STEP, CKPT_TRUST_NAME},
    {"epoch_#", CKPT_FRAMEWORK_NONE, CKPT_UNIT_EPOCH, CKPT_TRUST_NAME},
    {"epoch-#", CKPT_FRAMEWORK_NONE, CKPT_UNIT_EPOCH, CKPT_TRUST_NAME},
    {"epoch#", CKPT_FRAMEWORK_NONE, CKPT_UNIT_EPOCH, CKPT_TRUST_NAME},
    {"*.ckpt", CKPT_FRAMEWORK_LIGHTNING, CKPT_UNIT_NONE, CKPT_TRUST_NAME},
    {"*--*=*", CKPT_FRAMEWORK_NEMO, CKPT_UNIT_NONE, CKPT_TRUST_NAME},
    {"epoch=#*", CKPT_FRAMEWORK_LIGHTNING, CKPT_UNIT_NONE, CKPT_TRUST_NAME},
    {"step=#*", CKPT_FRAMEWORK_LIGHTNING, CKPT_UNIT_NONE, CKPT_TRUST_NAME},
    {"ckpt-#", CKPT_FRAMEWORK_NONE, CKPT_UNIT_NUMBER, CKPT_TRUST_MEMBERS},
    {"ckpt_#", CKPT_FRAMEWORK_NONE, CKPT_UNIT_NUMBER, CKPT_TRUST_MEMBERS},
    {"best", CKPT_FRAMEWORK_NONE, CKPT_UNIT_NONE, CKPT_TRUST_MEMBERS},
    {"last", CKPT_FRAMEWORK_NONE, CKPT_UNIT_NONE, CKPT_TRUST_MEMBERS},
    {"final", CKPT_FRAMEWORK_NONE, CKPT_UNIT_NONE, CKPT_TRUST_MEMBERS},
    {"latest", CKPT_FRAMEWORK_NONE, CKPT_UNIT_NONE, CKPT_TRUST_MEMBERS},
    {"best_*", CKPT_FRAMEWORK_NONE, CKPT_UNIT_NONE, CKPT_TRUST_MEMBERS},
    {"best-*", CKPT_FRAMEWORK_NONE, CKPT_UNIT_NONE, CKPT_TRUST_MEMBERS},
    {"*_best", CKPT_FRAMEWORK_NONE, CKPT_UNIT_NONE, CKPT_TRUST_MEMBERS},
    {"*-best", CKPT_FRAMEWORK_NONE, CKPT_UNIT_NONE, CKPT_TRUST_MEMBERS},
    {"final_*", CKPT_FRAMEWORK_NONE, CKPT_UNIT_NONE, CKPT_TRUST_MEMBERS},
    {"final-*", CKPT_FRAMEWORK_NONE, CKPT_UNIT_NONE, CKPT_TRUST_MEMBERS},
    {"*_final", CKPT_FRAMEWORK_NONE, CKPT_UNIT_NONE, CKPT_TRUST_MEMBERS},
    {"*-final", CKPT_FRAMEWORK_NONE, CKPT_UNIT_NONE, CKPT_TRUST_MEMBERS},
    {"last_*", CKPT_FRAMEWORK_NONE, CKPT_UNIT_NONE, CKPT_TRUST_MEMBERS},
    {"last-*", CKPT_FRAMEWORK_NONE, CKPT_UNIT_NONE, CKPT_TRUST_MEMBERS},
    {"*_last", CKPT_FRAMEWORK_NONE, CKPT_UNIT_NONE, CKPT_TRUST_MEMBERS},
    {"*-last", CKPT_FRAMEWORK_NONE, CKPT_UNIT_NONE, CKPT_TRUST_MEMBERS},
    {"#", CKPT_FRAMEWORK_ORBAX, CKPT_UNIT_STEP, CKPT_TRUST_TELLING},
    {"*_#", CKPT_FRAMEWORK_ORBAX, CKPT_UNIT_STEP, CKPT_TRUST_TELLING},
};

/*
 * Members of checkpoint directories. From transformers/trainer.py, accelerate/utils/constants.py,
 * deepspeed/runtime/engine.py, torch/distributed/checkpoint/filesystem.py,
 * megatron/training/checkpointing.py, torchsnapshot/snapshot.py (the metadata is written by rank 0 after a
 * barrier behind all other files), orbax/checkpoint (OCDBT stores), ray/rllib.
 */
#define MEMBER(pattern, framework, holds) \
    {pattern, CKPT_FRAMEWORK_##framework, CKPT_ROLE_MEMBER, CKPT_HOLDS_##holds, false, false}
#define RANKED(pattern, framework, holds) \
    {pattern, CKPT_FRAMEWORK_##framework, CKPT_ROLE_MEMBER, CKPT_HOLDS_##holds, false, true}
#define TELLING(pattern, framework, holds) \
    {pattern, CKPT_FRAMEWORK_##framework, CKPT_ROLE_MEMBER, CKPT_HOLDS_##holds, true, false}
#define TELLING_RANKED(pattern, framework, holds) \
    {pattern, CKPT_FRAMEWORK_##framework, CKPT_ROLE_MEMBER, CKPT_HOLDS_##holds, true, true}

static const struct ckpt_member_row members[] = {
    {"trainer_state.json", CKPT_FRAMEWORK_TRANSFORMERS, CKPT_ROLE_MARKER, CKPT_HOLDS_EXTRA, false, false},
    MEMBER("training_args.bin", TRANSFORMERS, EXTRA),
    MEMBER("optimizer.pt", TRANSFORMERS, OPTIMIZER),
    MEMBER("scheduler.pt", TRANSFORMERS, EXTRA),
    MEMBER("rng_state.pth", TRANSFORMERS, EXTRA),
    RANKED("rng_state_#.pth", TRANSFORMERS, EXTRA),
    MEMBER("model.safetensors", NONE, WEIGHTS),
    MEMBER("pytorch_model.bin", NONE, WEIGHTS),
    MEMBER("adapter_model.*", NONE, WEIGHTS),
    MEMBER("adapter_config.json", NONE, EXTRA),
    MEMBER("tf_model.h5", NONE, WEIGHTS),
    MEMBER("flax_model.msgpack", NONE, WEIGHTS),
    {"*-#-of-#.*", CKPT_FRAMEWORK_NONE, CKPT_ROLE_SHARD, CKPT_HOLDS_WEIGHTS, false, false},
    {"*.safetensors.index.json", CKPT_FRAMEWORK_NONE, CKPT_ROLE_INDEX, CKPT_HOLDS_EXTRA, false, false},
    {"*.bin.index.json", CKPT_FRAMEWORK_NONE, CKPT_ROLE_INDEX, CKPT_HOLDS_EXTRA, false, false},
    RANKED("consolidated.#.pth", NONE, WEIGHTS),
    TELLING_RANKED("mp_rank_#_model_states.pt", DEEPSPEED, WEIGHTS),
    TELLING_RANKED("*zero_pp_rank_#_mp_rank_#_optim_states.pt", DEEPSPEED, OPTIMIZER),
    TELLING_RANKED("*zero_pp_rank_#_mp_rank_#_model_states.pt", DEEPSPEED, WEIGHTS),
    TELLING("layer_#*model_states.pt", DEEPSPEED, WEIGHTS),
    TELLING("*expert_#_mp_rank_#_*_states.pt", DEEPSPEED, WEIGHTS),
    TELLING_RANKED("__#_#.distcp", DCP, UNKNOWN),
    {".metadata", CKPT_FRAMEWORK_DCP, CKPT_ROLE_MARKER, CKPT_HOLDS_EXTRA, true, false},
    TELLING_RANKED("mp_rank_#*/model_optim_rng.pt", MEGATRON, FULL),
    TELLING_RANKED("mp_rank_#*/distrib_optim.pt", MEGATRON, OPTIMIZER),
    TELLING_RANKED("mp_rank_#*/model_rng.pt", MEGATRON, WEIGHTS),
    {".snapshot_metadata", CKPT_FRAMEWORK_TORCHSNAPSHOT, CKPT_ROLE_MARKER, CKPT_HOLDS_EXTRA, true, false},
    {"commit_success.txt", CKPT_FRAMEWORK_ORBAX, CKPT_ROLE_MARKER, CKPT_HOLDS_EXTRA, true, false},
    TELLING("_CHECKPOINT_METADATA", ORBAX, EXTRA),
    TELLING("manifest.ocdbt", ORBAX, UNKNOWN),
    TELLING("_METADATA", ORBAX, EXTRA),
    TELLING("_sharding", ORBAX, EXTRA),
    TELLING_RANKED("ocdbt.process_#/*", ORBAX, UNKNOWN),
    MEMBER("d/*", ORBAX, UNKNOWN),
    MEMBER("array_metadatas/*", ORBAX, EXTRA),
    MEMBER("optimizer.bin", ACCELERATE, OPTIMIZER),
    RANKED("optimizer_#.bin", ACCELERATE, OPTIMIZER),
    MEMBER("scheduler.bin", ACCELERATE, EXTRA),
    MEMBER("sampler.bin", ACCELERATE, EXTRA),
    RANKED("random_states_#.pkl", ACCELERATE, EXTRA),
    MEMBER("custom_checkpoint_#.pkl", ACCELERATE, EXTRA),
    TELLING("algorithm_state.pkl", RAY, FULL),
    MEMBER("rllib_checkpoint.json", RAY, EXTRA),
    MEMBER("model.pt", NONE, UNKNOWN),
    MEMBER("model.pth", NONE, UNKNOWN),
    MEMBER("optimizer.pth", NONE, OPTIMIZER),
    MEMBER("scaler.pt", NONE, EXTRA),
    MEMBER("config.json", NONE, EXTRA),
};

/*
 * What stands in a run beside checkpoints. From deepspeed/runtime/engine.py (latest),
 * megatron/training/checkpointing.py (the tracker), MMEngine and detectron2 (last_checkpoint), TensorFlow
 * (checkpoint), and the loggers' own documentation.
 */
static const struct ckpt_run_row run_rows[] = {
    {"latest", CKPT_FRAMEWORK_DEEPSPEED, CKPT_ROLE_MARKER, CKPT_MARK_NAMES, CKPT_LOGS_NONE},
    {"latest_checkpointed_iteration.txt", CKPT_FRAMEWORK_MEGATRON, CKPT_ROLE_MARKER, CKPT_MARK_NAMES,
     CKPT_LOGS_NONE},
    {"last_checkpoint", CKPT_FRAMEWORK_NONE, CKPT_ROLE_MARKER, CKPT_MARK_NAMES, CKPT_LOGS_NONE},
    {"checkpoint", CKPT_FRAMEWORK_NONE, CKPT_ROLE_MARKER, CKPT_MARK_NAMES, CKPT_LOGS_NONE},
    {"trainer_state.json", CKPT_FRAMEWORK_TRANSFORMERS, CKPT_ROLE_METRICS, CKPT_MARK_NONE,
     CKPT_LOGS_TRAINER_STATE},
    {"*.safetensors.index.json", CKPT_FRAMEWORK_NONE, CKPT_ROLE_INDEX, CKPT_MARK_NONE, CKPT_LOGS_NONE},
    {"*.bin.index.json", CKPT_FRAMEWORK_NONE, CKPT_ROLE_INDEX, CKPT_MARK_NONE, CKPT_LOGS_NONE},
    {"events.out.tfevents.*", CKPT_FRAMEWORK_NONE, CKPT_ROLE_METRICS, CKPT_MARK_NONE, CKPT_LOGS_TFEVENTS},
    {"*.csv", CKPT_FRAMEWORK_NONE, CKPT_ROLE_METRICS, CKPT_MARK_NONE, CKPT_LOGS_CSV},
    {"result.json", CKPT_FRAMEWORK_RAY, CKPT_ROLE_METRICS, CKPT_MARK_NONE, CKPT_LOGS_JSON_LINES},
    {"metrics.json", CKPT_FRAMEWORK_NONE, CKPT_ROLE_METRICS, CKPT_MARK_NONE, CKPT_LOGS_JSON_LINES},
    {"*.jsonl", CKPT_FRAMEWORK_NONE, CKPT_ROLE_METRICS, CKPT_MARK_NONE, CKPT_LOGS_JSON_LINES},
    {"wandb-summary.json", CKPT_FRAMEWORK_NONE, CKPT_ROLE_METRICS, CKPT_MARK_NONE, CKPT_LOGS_WANDB},
    {"*journal*.log", CKPT_FRAMEWORK_NONE, CKPT_ROLE_METRICS, CKPT_MARK_NONE, CKPT_LOGS_OPTUNA},
    {"*optuna*.log", CKPT_FRAMEWORK_NONE, CKPT_ROLE_METRICS, CKPT_MARK_NONE, CKPT_LOGS_OPTUNA},
    {"*_results.json", CKPT_FRAMEWORK_TRANSFORMERS, CKPT_ROLE_METRICS, CKPT_MARK_NONE, CKPT_LOGS_JSON},
};

/*
 * Temporary names: transformers (tmp-checkpoint-N), orbax, flax (checkpoint_tmp), tempfile, rsync, editors,
 * downloads, NFS. Dot files are, but for those that are members.
 */
static const char *const temporaries[] = {
    "tmp-*",          "*.tmp",
    "*.tmp.*",        "*.temp",
    "*.part",         "*.partial",
    "*.crdownload",   "*.incomplete",
    "*.lock",         "*~",
    ".*.sw?",         "tmp????????",
    "checkpoint_tmp", "*_tmp",
    "*-tmp",          "*_temp",
    "*.tempstate*",   "*.orbax-checkpoint-tmp*",
    "*-unfinished",   "*.unfinished",
    ".nfs*",          ".fuse_hidden*",
};

static const char *const temporary_directories[] = {
    "*.tmp",        "*.tmp.*",      "*.temp", "*.part",
    "*.partial",    "*.incomplete", "*_temp", "*.orbax-checkpoint-tmp*",
    "*-unfinished", "*.unfinished",
};

static const char *const checkpoint_files[] = {
    "*.pt",  "*.pth",  "*.ckpt",   "*.bin",    "*.safetensors", "*.h5",    "*.hdf5",        "*.keras",
    "*.npz", "*.npy",  "*.pkl",    "*.onnx",   "*.msgpack",     "*.gguf",  "*.distcp",      "*.pdparams",
    "*.tar", "*.nemo", "*.joblib", "*.pickle", "*.zip",         "*.pdopt", "*.data-#-of-#",
};

static const char *const weights_files[] = {"*.safetensors", "*.onnx", "*.gguf", "*.weights.h5", "*.tflite"};

#define COUNT(rows) (sizeof(rows) / sizeof(rows)[0])

/* ---- Patterns ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool same(char a, char b)
{
    bool upper = b >= 'A' && b <= 'Z';
    return a == b || (upper && a == b - 'A' + 'a');
}

/*
 * Takes the digits at *AT; of several "#" in a row each takes one and the last one all the rest. False: too
 * few, or too many.
 */
static bool take_digits(const char **pattern, const char *text, size_t n, size_t *at,
                        struct ckpt_numbers *numbers)
{
    size_t least = strspn(*pattern, "#");
    size_t first = *at;
    uint64_t value = 0;
    while (*at < n && is_digit(text[*at])) {
        uint64_t digit = (uint64_t)(text[*at] - '0');
        if (value > (UINT64_MAX - digit) / 10) {
            return false;
        }
        value = 10 * value + digit;
        (*at)++;
    }
    if (*at - first < least) {
        return false;
    }
    if (numbers != NULL && numbers->count < CKPT_NUMBERS_MAX) {
        numbers->list[numbers->count++] = value;
    }
    *pattern += least;
    return true;
}

bool ckpt_pattern_match(const char *pattern, const char *text, size_t n, struct ckpt_numbers *numbers)
{
    struct ckpt_numbers none = {.count = 0};
    struct ckpt_numbers *found = numbers != NULL ? numbers : &none;
    size_t before = found->count;
    size_t at = 0;
    while (*pattern != '\0') {
        if (*pattern == '*') {
            /* Names are short and patterns have few stars. */
            for (size_t skip = at;; skip++) {
                size_t count = found->count;
                if (ckpt_pattern_match(pattern + 1, text + skip, n - skip, found)) {
                    return true;
                }
                found->count = count;
                if (skip == n || text[skip] == '/') {
                    found->count = before;
                    return false;
                }
            }
        }
        bool good = false;
        if (*pattern == '#') {
            good = take_digits(&pattern, text, n, &at, found);
        } else if (at < n && (same(*pattern, text[at]) || (*pattern == '?' && text[at] != '/'))) {
            pattern++;
            at++;
            good = true;
        }
        if (!good) {
            found->count = before;
            return false;
        }
    }
    if (at != n) {
        found->count = before;
        return false;
    }
    return true;
}

/* The last components of a path, as many as the pattern has; less than that: all. */
static size_t tail_of(const char *pattern, const char *path, size_t n)
{
    size_t slashes = 0;
    for (const char *p = pattern; *p != '\0'; p++) {
        slashes += *p == '/' ? 1 : 0;
    }
    size_t at = n;
    while (at > 0) {
        if (path[at - 1] == '/' && slashes-- == 0) {
            break;
        }
        at--;
    }
    return at;
}

/* ---- Rows ---- */

static bool any(const char *const *patterns, size_t count, const char *name, size_t n)
{
    for (size_t i = 0; i < count; i++) {
        if (ckpt_pattern_match(patterns[i], name, n, NULL)) {
            return true;
        }
    }
    return false;
}

const struct ckpt_directory_row *ckpt_directory_row_find(const char *name, size_t n,
                                                         struct ckpt_numbers *numbers)
{
    for (size_t i = 0; i < COUNT(directories); i++) {
        numbers->count = 0;
        if (ckpt_pattern_match(directories[i].pattern, name, n, numbers)) {
            return &directories[i];
        }
    }
    return NULL;
}

const struct ckpt_member_row *ckpt_member_row_find(const char *member, size_t n, struct ckpt_numbers *numbers)
{
    for (size_t i = 0; i < COUNT(members); i++) {
        size_t at = tail_of(members[i].pattern, member, n);
        numbers->count = 0;
        if (ckpt_pattern_match(members[i].pattern, member + at, n - at, numbers)) {
            return &members[i];
        }
    }
    return NULL;
}

const struct ckpt_run_row *ckpt_run_row_find(const char *name, size_t n)
{
    for (size_t i = 0; i < COUNT(run_rows); i++) {
        if (ckpt_pattern_match(run_rows[i].pattern, name, n, NULL)) {
            return &run_rows[i];
        }
    }
    return NULL;
}

bool ckpt_name_is_temporary(const char *name, size_t n)
{
    struct ckpt_numbers numbers;
    if (n > 0 && name[0] == '.') {
        return ckpt_member_row_find(name, n, &numbers) == NULL;
    }
    return any(temporaries, COUNT(temporaries), name, n);
}

bool ckpt_directory_is_temporary(const char *name, size_t n)
{
    struct ckpt_numbers numbers;
    size_t dot = n > 0 && name[0] == '.' ? 1 : 0;
    if (any(temporary_directories, COUNT(temporary_directories), name + dot, n - dot)) {
        return true;
    }
    /* What a checkpoint is called while it is written: tmp-checkpoint-500. */
    if (n - dot < 5 || memcmp(name + dot, "tmp", 3) != 0 || strchr("-_.", name[dot + 3]) == NULL) {
        return false;
    }
    const struct ckpt_directory_row *row = ckpt_directory_row_find(name + dot + 4, n - dot - 4, &numbers);
    return row != NULL && row->trust == CKPT_TRUST_NAME;
}

bool ckpt_name_is_checkpoint(const char *name, size_t n)
{
    return any(checkpoint_files, COUNT(checkpoint_files), name, n);
}

bool ckpt_name_is_weights(const char *name, size_t n)
{
    return any(weights_files, COUNT(weights_files), name, n);
}
