/*
 * The words of checkpoint names and what they mean; a new word is a new row. For naming.c.
 */
#ifndef CKPT_STORE_NAMING_WORDS_H
#define CKPT_STORE_NAMING_WORDS_H

#include <stdbool.h>
#include <stddef.h>

enum ckpt_word {
    CKPT_WORD_NONE,
    CKPT_WORD_EPOCH,
    CKPT_WORD_STEP,
    CKPT_WORD_SEED,
    CKPT_WORD_FOLD,
    CKPT_WORD_RUN,
    CKPT_WORD_RANK,
    CKPT_WORD_VERSION,
    CKPT_WORD_METRIC,
    CKPT_WORD_METRIC_PREFIX, /* "val" of "val_loss" */
    CKPT_WORD_METRIC_SUFFIX, /* "macro" of "f1_macro" */
    CKPT_WORD_SETTING,       /* its number says nothing about progress: "lr", "bs" */
    CKPT_WORD_BEST,
    CKPT_WORD_LAST,
    CKPT_WORD_FINAL,
    CKPT_WORD_WEIGHTS,
    CKPT_WORD_EMA,
    CKPT_WORD_OPTIMIZER,
    CKPT_WORD_FULL,
    CKPT_WORD_EXTRA,
    CKPT_WORD_GENERIC,   /* "model", "checkpoint": every name has them */
    CKPT_WORD_PRECISION, /* "fp16" */
    CKPT_WORD_DATASET,
};

/* What the N bytes at WORD mean, in any case. "valloss" is none: see ckpt_word_metric. */
enum ckpt_word ckpt_word_find(const char *word, size_t n);

/*
 * Whether they are the name of a metric, with prefixes written together: "loss", "valLoss", "bestValAcc",
 * "f1".
 */
bool ckpt_word_metric(const char *word, size_t n);

/* The length of "val" in "valLoss", of "bestVal" in "bestValAcc"; 0: no prefix, or no metric. */
size_t ckpt_word_prefix(const char *word, size_t n);

/* Whether it begins with the name of a family of models, as "resnet50" does. */
bool ckpt_word_family(const char *word, size_t n);

/* Whether it says which variant of a model or of training: no data set's name. */
bool ckpt_word_variant(const char *word, size_t n);

#endif
