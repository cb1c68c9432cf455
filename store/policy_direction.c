/*
 * What is better of a metric, and whether it is about validation, by its name.
 */
#include "policy_rank.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { NAME_WORD_MAX = 32 };

struct known {
    const char *word;
    enum ckpt_direction direction;
};

#define MIN CKPT_DIRECTION_MIN
#define MAX CKPT_DIRECTION_MAX

/* Sorted. */
static const struct known table[] = {
    {"acc", MAX},     {"accuracy", MAX},     {"ade", MIN},         {"ap", MAX},
    {"auc", MAX},     {"aucpr", MAX},        {"auprc", MAX},       {"auroc", MAX},
    {"bce", MIN},     {"bertscore", MAX},    {"bleu", MAX},        {"bpb", MIN},
    {"bpc", MIN},     {"bpd", MIN},          {"brier", MIN},       {"cer", MIN},
    {"chrf", MAX},    {"cider", MAX},        {"corr", MAX},        {"correlation", MAX},
    {"cost", MIN},    {"crossentropy", MIN}, {"dice", MAX},        {"ece", MIN},
    {"eer", MIN},     {"elbo", MAX},         {"epe", MIN},         {"err", MIN},
    {"error", MIN},   {"exactmatch", MAX},   {"f1", MAX},          {"f2", MAX},
    {"fbeta", MAX},   {"fde", MIN},          {"fid", MIN},         {"fscore", MAX},
    {"fwiou", MAX},   {"hits", MAX},         {"iou", MAX},         {"jaccard", MAX},
    {"kappa", MAX},   {"kid", MIN},          {"kl", MIN},          {"likelihood", MAX},
    {"logloss", MIN}, {"loss", MIN},         {"lpips", MIN},       {"mae", MIN},
    {"map", MAX},     {"mape", MIN},         {"mcc", MAX},         {"meteor", MAX},
    {"miou", MAX},    {"mpjpe", MIN},        {"mrr", MAX},         {"mse", MIN},
    {"msle", MIN},    {"ndcg", MAX},         {"nll", MIN},         {"nme", MIN},
    {"nrmse", MIN},   {"pearson", MAX},      {"perplexity", MIN},  {"ppl", MIN},
    {"pq", MAX},      {"precision", MAX},    {"psnr", MAX},        {"r2", MAX},
    {"recall", MAX},  {"regret", MIN},       {"return", MAX},      {"reward", MAX},
    {"rmse", MIN},    {"rmsle", MIN},        {"rocauc", MAX},      {"rouge", MAX},
    {"rougel", MAX},  {"rougelsum", MAX},    {"sacrebleu", MAX},   {"sensitivity", MAX},
    {"smape", MIN},   {"spearman", MAX},     {"specificity", MAX}, {"ssim", MAX},
    {"ter", MIN},     {"top", MAX},          {"wer", MIN},         {"winrate", MAX},
    {"xent", MIN},
};

#undef MIN
#undef MAX

/* What stands in front of a name, also without anything in between: "valacc", "meanIoU". */
static const char *const prefixes[] = {"validation", "valid",    "val",   "evaluation", "eval",
                                       "test",       "training", "train", "dev",        "mean",
                                       "avg",        "best",     "macro", "micro",      "total"};

static int compare_known(const void *a, const void *b)
{
    return strcmp(((const struct known *)a)->word, ((const struct known *)b)->word);
}

static enum ckpt_direction look_up(const char *word)
{
    struct known key = {.word = word};
    const struct known *found =
        bsearch(&key, table, sizeof table / sizeof table[0], sizeof table[0], compare_known);
    return found == NULL ? CKPT_DIRECTION_UNKNOWN : found->direction;
}

/* N bytes in lower case; false: more than any word has. */
static bool lower(const char *text, size_t n, char word[NAME_WORD_MAX])
{
    if (n >= NAME_WORD_MAX) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        word[i] = (char)tolower((unsigned char)text[i]);
    }
    word[n] = '\0';
    return true;
}

/* "acc", "acc5" and "valacc"; but "f1" is itself. */
static enum ckpt_direction of_word(const char *text, size_t n)
{
    char buffer[NAME_WORD_MAX];
    char *word = buffer;
    if (!lower(text, n, buffer)) {
        return CKPT_DIRECTION_UNKNOWN;
    }
    for (;;) {
        enum ckpt_direction direction = look_up(word);
        if (direction != CKPT_DIRECTION_UNKNOWN) {
            return direction;
        }
        size_t length = strlen(word);
        size_t i = 0;
        while (i < sizeof prefixes / sizeof prefixes[0] &&
               strncmp(word, prefixes[i], strlen(prefixes[i])) != 0) {
            i++;
        }
        if (i < sizeof prefixes / sizeof prefixes[0]) {
            word += strlen(prefixes[i]);
        } else if (length > 0 && isdigit((unsigned char)word[length - 1])) {
            word[length - 1] = '\0';
        } else {
            return CKPT_DIRECTION_UNKNOWN;
        }
    }
}

/* The word, or what follows a change from lower to upper case in it: "pixelAcc". */
static enum ckpt_direction of_mixed_word(const char *text, size_t n)
{
    enum ckpt_direction direction = of_word(text, n);
    for (size_t i = 1; i < n && direction == CKPT_DIRECTION_UNKNOWN; i++) {
        if (islower((unsigned char)text[i - 1]) && isupper((unsigned char)text[i])) {
            direction = of_word(text + i, n - i);
        }
    }
    return direction;
}

/* "exact_match" and "R^2" are one word in the table. */
static enum ckpt_direction of_pair(const char *first, size_t n_first, const char *second,
                                   size_t n_second)
{
    char word[NAME_WORD_MAX];
    if (n_first >= sizeof word || n_second >= sizeof word - n_first) {
        return CKPT_DIRECTION_UNKNOWN;
    }
    memcpy(word, first, n_first);
    memcpy(word + n_first, second, n_second);
    return of_word(word, n_first + n_second);
}

static bool is_word(const char *text, size_t n, const char *word)
{
    return n == strlen(word) && strncasecmp(text, word, n) == 0;
}

static bool is_negation(const char *text, size_t n)
{
    return is_word(text, n, "neg") || is_word(text, n, "negative");
}

static bool next_word(const char **at, const char *end, const char **word, size_t *n)
{
    const char *p = *at;
    while (p < end && !isalnum((unsigned char)*p)) {
        p++;
    }
    *word = p;
    while (p < end && isalnum((unsigned char)*p)) {
        p++;
    }
    *n = (size_t)(p - *word);
    *at = p;
    return *n > 0;
}

/* The last known word decides ("dice_loss"); "neg" anywhere turns it over
 * ("neg_mean_squared_error"). */
static enum ckpt_direction of_part(const char *part, const char *end)
{
    enum ckpt_direction direction = CKPT_DIRECTION_UNKNOWN;
    const char *before = part;
    const char *word = NULL;
    size_t n_before = 0;
    size_t n = 0;
    bool negated = false;
    while (next_word(&part, end, &word, &n)) {
        enum ckpt_direction found = of_mixed_word(word, n);
        if (found == CKPT_DIRECTION_UNKNOWN) {
            found = of_pair(before, n_before, word, n);
        }
        direction = found != CKPT_DIRECTION_UNKNOWN ? found : direction;
        negated = negated || is_negation(word, n);
        before = word;
        n_before = n;
    }
    if (negated && direction != CKPT_DIRECTION_UNKNOWN) {
        return direction == CKPT_DIRECTION_MIN ? CKPT_DIRECTION_MAX : CKPT_DIRECTION_MIN;
    }
    return direction;
}

/* "loss/val": the last part says which data, so the one before it says what. */
enum ckpt_direction ckpt_policy_direction(const char *name)
{
    const char *end = name + strlen(name);
    for (unsigned parts = 0; parts < 2; parts++) {
        const char *part = end;
        while (part > name && part[-1] != '/') {
            part--;
        }
        enum ckpt_direction direction = of_part(part, end);
        if (direction != CKPT_DIRECTION_UNKNOWN || part == name) {
            return direction;
        }
        end = part - 1;
    }
    return CKPT_DIRECTION_UNKNOWN;
}

static bool is_validation(const char *word, size_t n)
{
    static const char *const words[] = {"val",        "valid", "validation", "eval",
                                        "evaluation", "dev",   "test"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        size_t length = strlen(words[i]);
        /* "valLoss" */
        bool mixed = n > length && islower((unsigned char)word[length - 1]) &&
                     isupper((unsigned char)word[length]);
        if ((n == length || mixed) && strncasecmp(word, words[i], length) == 0) {
            return true;
        }
    }
    return false;
}

static bool ends_with_loss(const char *word, size_t n)
{
    return n >= 4 && strncasecmp(word + n - 4, "loss", 4) == 0;
}

unsigned ckpt_policy_primacy(const char *name)
{
    const char *at = name;
    const char *word = NULL;
    size_t n = 0;
    unsigned words = 0;
    bool validation = false;
    bool loss = false;
    while (next_word(&at, name + strlen(name), &word, &n)) {
        words++;
        bool valid = is_validation(word, n);
        bool is_loss = ends_with_loss(word, n);
        words += valid && is_loss; /* "valLoss" is two */
        validation = validation || valid;
        loss = loss || is_loss;
    }
    enum ckpt_direction direction =
        validation ? ckpt_policy_direction(name) : CKPT_DIRECTION_UNKNOWN;
    if (direction == CKPT_DIRECTION_UNKNOWN) {
        return 0;
    }
    if (!loss || direction != CKPT_DIRECTION_MIN) {
        return 1;
    }
    return words == 2 ? CKPT_PRIMACY_MAX : 2;
}
