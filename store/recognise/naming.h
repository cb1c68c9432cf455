/*
 * What a free file or directory name says: `resnet50_epoch_12_valAcc_87.4.h5`,
 * `epoch=3-val_loss=0.21.ckpt`, `checkpoint-1500`.
 *
 * Where forms come from: Lightning's ModelCheckpoint ({name}={value} joined by "-", "-v1" on collisions),
 * Keras' ModelCheckpoint (weights.{epoch:02d}-{val_loss:.2f}: the metric has a value and no name),
 * Transformers (checkpoint-STEP), DeepSpeed (global_stepN), Megatron-LM (iter_%07d), MMEngine
 * (best_*_epoch_N), fairseq (checkpoint_EPOCH_UPDATES, checkpointN), Composer (epN-baN-rankN), and what
 * people write. naming_words.c has the words.
 *
 * What isn't said isn't guessed: `resnet50`, `vit_b_16`, `7b`, `v2`, `fp16`, `1e-4`, `224x224` give no
 * number. A bare number whose unit the name doesn't say (`model_12.pt`) is NUMBER, for others to find out.
 *
 * Pure: no I/O, nothing allocated. Thread rules: any thread.
 */
#ifndef CKPT_STORE_NAMING_H
#define CKPT_STORE_NAMING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CKPT_NAMING_TEXT = 64, CKPT_NAMING_METRICS = 4 };

struct ckpt_named_metric {
    char name[CKPT_NAMING_TEXT]; /* in lower case with "_" between words: "val_acc"; empty: a value without a
                                    name */
    char original[CKPT_NAMING_TEXT]; /* as it was written: "valAcc" */
    double value;                    /* may be NaN or infinite, as trainers write that too */
};

/* Words that tell what is in the file. Bits, as a name may have several. */
enum ckpt_naming_hint {
    CKPT_HINT_WEIGHTS = 1,
    CKPT_HINT_EMA = 2,
    CKPT_HINT_OPTIMIZER = 4,
    CKPT_HINT_FULL = 8,
    CKPT_HINT_EXTRA = 16, /* scheduler, random state, scaler, arguments */
};

/* Each value counts only with its flag. */
struct ckpt_naming {
    bool has_epoch;
    bool has_step; /* also iteration, update, batch */
    bool has_number;
    bool has_seed;
    bool has_fold;
    bool has_run;
    bool has_rank;
    bool has_shard;
    bool has_version;
    bool has_date;
    bool has_time;
    bool best;
    bool last; /* also "latest" */
    bool final;
    bool plain; /* nothing but words about checkpoints and kinds, as `model.pt`, `optimizer.pt`, `last_ema.pt`
                 */
    uint64_t epoch;
    uint64_t step;
    uint64_t number; /* of a series whose unit isn't said; only where there is neither epoch nor step */
    uint64_t seed;
    uint64_t fold;
    uint64_t run;
    uint64_t rank;
    uint64_t shard; /* as written: from 1 with Hugging Face, from 0 with TensorFlow */
    uint64_t shards;
    uint64_t version; /* the "-v1" that Lightning adds to a name that is taken */
    uint32_t date;    /* 20241124 */
    uint32_t time;    /* 153000 */
    unsigned hints;   /* enum ckpt_naming_hint */
    char model[CKPT_NAMING_TEXT];   /* "resnet50"; empty when not said */
    char dataset[CKPT_NAMING_TEXT]; /* "cityscapes"; empty when not said */
    bool dataset_guessed; /* no known one: the word that stands between a known model and the numbers */
    struct ckpt_named_metric metrics[CKPT_NAMING_METRICS];
    size_t metric_count;
};

/*
 * Reads NAME: the last component of a path, or, where a metric has a slash, several. Always gives all of
 * *NAMING.
 */
void ckpt_naming_read(const char *name, struct ckpt_naming *naming);

/*
 * The name of a metric in the one form in which it is kept: "val/Loss" and "valLoss" are "val_loss". Cut at
 * SIZE - 1.
 */
void ckpt_metric_normalise(const char *name, size_t n, char *out, size_t size);

/*
 * The bytes of NAME before the extension of a kind of file that is known ("a.weights.h5" -> 1); all of it
 * when there is none.
 */
size_t ckpt_naming_stem(const char *name);

#endif
