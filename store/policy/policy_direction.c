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
    bool evaluation; /* nobody measures it but to evaluate; a loss or an accuracy may be training's */
};

static const struct known unknown;

#define MIN CKPT_DIRECTION_MIN
#define MAX CKPT_DIRECTION_MAX
#define EVALUATION true
#define ANY false

/* Sorted. */
static const struct known table[] = {
    {"acc", MAX, ANY},               {"accuracy", MAX, ANY},          {"ade", MIN, ANY},
    {"ap", MAX, EVALUATION},         {"auc", MAX, EVALUATION},        {"aucpr", MAX, EVALUATION},
    {"auprc", MAX, EVALUATION},      {"auroc", MAX, EVALUATION},      {"bce", MIN, ANY},
    {"bertscore", MAX, EVALUATION},  {"bleu", MAX, EVALUATION},       {"bpb", MIN, ANY},
    {"bpc", MIN, ANY},               {"bpd", MIN, ANY},               {"brier", MIN, ANY},
    {"cer", MIN, EVALUATION},        {"chrf", MAX, EVALUATION},       {"cider", MAX, EVALUATION},
    {"corr", MAX, ANY},              {"correlation", MAX, ANY},       {"cost", MIN, ANY},
    {"crossentropy", MIN, ANY},      {"dice", MAX, EVALUATION},       {"ece", MIN, ANY},
    {"eer", MIN, EVALUATION},        {"elbo", MAX, ANY},              {"epe", MIN, ANY},
    {"err", MIN, ANY},               {"error", MIN, ANY},             {"exactmatch", MAX, EVALUATION},
    {"f1", MAX, EVALUATION},         {"f2", MAX, EVALUATION},         {"fbeta", MAX, EVALUATION},
    {"fde", MIN, ANY},               {"fid", MIN, EVALUATION},        {"fscore", MAX, EVALUATION},
    {"fwiou", MAX, EVALUATION},      {"hits", MAX, EVALUATION},       {"iou", MAX, EVALUATION},
    {"jaccard", MAX, EVALUATION},    {"kappa", MAX, EVALUATION},      {"kid", MIN, EVALUATION},
    {"kl", MIN, ANY},                {"likelihood", MAX, ANY},        {"logloss", MIN, ANY},
    {"loss", MIN, ANY},              {"lpips", MIN, ANY},             {"mae", MIN, ANY},
    {"map", MAX, EVALUATION},        {"mape", MIN, ANY},              {"mcc", MAX, EVALUATION},
    {"meteor", MAX, EVALUATION},     {"miou", MAX, EVALUATION},       {"mpjpe", MIN, ANY},
    {"mrr", MAX, EVALUATION},        {"mse", MIN, ANY},               {"msle", MIN, ANY},
    {"ndcg", MAX, EVALUATION},       {"nll", MIN, ANY},               {"nme", MIN, ANY},
    {"nrmse", MIN, ANY},             {"pearson", MAX, ANY},           {"perplexity", MIN, ANY},
    {"ppl", MIN, ANY},               {"pq", MAX, EVALUATION},         {"precision", MAX, ANY},
    {"psnr", MAX, EVALUATION},       {"r2", MAX, EVALUATION},         {"recall", MAX, ANY},
    {"regret", MIN, ANY},            {"return", MAX, EVALUATION},     {"reward", MAX, EVALUATION},
    {"rmse", MIN, ANY},              {"rmsle", MIN, ANY},             {"rocauc", MAX, EVALUATION},
    {"rouge", MAX, EVALUATION},      {"rougel", MAX, EVALUATION},     {"rougelsum", MAX, EVALUATION},
    {"sacrebleu", MAX, EVALUATION},  {"sensitivity", MAX, ANY},       {"smape", MIN, ANY},
    {"spearman", MAX, ANY},          {"specificity", MAX, ANY},       {"ssim", MAX, EVALUATION},
    {"ter", MIN, EVALUATION},        {"top", MAX, ANY},               {"top1", MAX, EVALUATION},
    {"top10", MAX, EVALUATION},      {"top3", MAX, EVALUATION},       {"top5", MAX, EVALUATION},
    {"wer", MIN, EVALUATION},        {"winrate", MAX, EVALUATION},    {"xent", MIN, ANY},
};

#undef EVALUATION
#undef ANY
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

static const struct known *look_up(const char *word)
{
    struct known key = {.word = word};
    const struct known *found =
        bsearch(&key, table, sizeof table / sizeof table[0], sizeof table[0], compare_known);
    return found == NULL ? &unknown : found;
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
static const struct known *of_word(const char *text, size_t n)
{
    char buffer[NAME_WORD_MAX];
    char *word = buffer;
    if (!lower(text, n, buffer)) {
        return &unknown;
    }
    for (;;) {
        const struct known *known = look_up(word);
        if (known != &unknown) {
            return known;
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
            return &unknown;
        }
    }
}

/* The word, or what follows a change from lower to upper case in it: "pixelAcc". */
static const struct known *of_mixed_word(const char *text, size_t n)
{
    const struct known *known = of_word(text, n);
    for (size_t i = 1; i < n && known == &unknown; i++) {
        if (islower((unsigned char)text[i - 1]) && isupper((unsigned char)text[i])) {
            known = of_word(text + i, n - i);
        }
    }
    return known;
}

/* "exact_match" and "R^2" are one word in the table. */
static const struct known *of_pair(const char *first, size_t n_first, const char *second,
                                   size_t n_second)
{
    char word[NAME_WORD_MAX];
    if (n_first >= sizeof word || n_second >= sizeof word - n_first) {
        return &unknown;
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

/* What a name says. */
struct meaning {
    enum ckpt_direction direction;
    bool evaluation;
};

/* The last known word decides ("dice_loss", but "top5_acc" stays an evaluation); "neg" anywhere
 * turns it over ("neg_mean_squared_error"). */
static struct meaning of_part(const char *part, const char *end)
{
    struct meaning meaning = {CKPT_DIRECTION_UNKNOWN, false};
    const char *before = part;
    const char *word = NULL;
    size_t n_before = 0;
    size_t n = 0;
    bool negated = false;
    while (next_word(&part, end, &word, &n)) {
        const struct known *found = of_mixed_word(word, n);
        if (found == &unknown) {
            found = of_pair(before, n_before, word, n);
        }
        if (found != &unknown) {
            bool still = meaning.evaluation && found->direction == CKPT_DIRECTION_MAX;
            meaning = (struct meaning){found->direction, found->evaluation || still};
        }
        negated = negated || is_negation(word, n);
        before = word;
        n_before = n;
    }
    if (negated && meaning.direction != CKPT_DIRECTION_UNKNOWN) {
        meaning.direction = meaning.direction == CKPT_DIRECTION_MIN ? CKPT_DIRECTION_MAX
                                                                    : CKPT_DIRECTION_MIN;
    }
    return meaning;
}

/* "loss/val": the last part says which data, so the one before it says what. */
static struct meaning of_name(const char *name)
{
    const char *end = name + strlen(name);
    for (unsigned parts = 0; parts < 2; parts++) {
        const char *part = end;
        while (part > name && part[-1] != '/') {
            part--;
        }
        struct meaning meaning = of_part(part, end);
        if (meaning.direction != CKPT_DIRECTION_UNKNOWN || part == name) {
            return meaning;
        }
        end = part - 1;
    }
    return (struct meaning){CKPT_DIRECTION_UNKNOWN, false};
}

enum ckpt_direction ckpt_policy_direction(const char *name)
{
    return of_name(name).direction;
}

enum ckpt_direction ckpt_policy_direction_of(const struct ckpt_policy *policy, const char *name)
{
    for (size_t i = 0; i < policy->n_metrics; i++) {
        const struct ckpt_policy_metric *m = &policy->metrics[i];
        if (strcmp(m->name, name) == 0 && m->direction != CKPT_DIRECTION_UNKNOWN) {
            return m->direction;
        }
    }
    return ckpt_policy_direction(name);
}

/* "val" and the "val" of "valLoss". */
static bool begins_with(const char *word, size_t n, const char *with)
{
    size_t length = strlen(with);
    bool mixed = n > length && islower((unsigned char)word[length - 1]) &&
                 isupper((unsigned char)word[length]);
    return (n == length || mixed) && strncasecmp(word, with, length) == 0;
}

static bool is_validation(const char *word, size_t n)
{
    static const char *const words[] = {"val",        "valid", "validation", "eval",
                                        "evaluation", "dev",   "test"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (begins_with(word, n, words[i])) {
            return true;
        }
    }
    return false;
}

/* Also "trainiou". */
static bool is_training(const char *word, size_t n)
{
    return n >= 5 && strncasecmp(word, "train", 5) == 0;
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
    bool training = false;
    bool best = false;
    bool loss = false;
    struct meaning meaning = of_name(name);
    if (meaning.direction == CKPT_DIRECTION_UNKNOWN) {
        return CKPT_PRIMACY_NONE;
    }
    while (next_word(&at, name + strlen(name), &word, &n)) {
        words++;
        bool valid = is_validation(word, n);
        bool is_loss = ends_with_loss(word, n);
        words += valid && is_loss; /* "valLoss" is two */
        validation = validation || valid;
        training = training || is_training(word, n);
        best = best || begins_with(word, n, "best");
        loss = loss || is_loss;
    }
    if (!validation) {
        return !training && (meaning.evaluation || best) ? CKPT_PRIMACY_EVALUATION : CKPT_PRIMACY_NONE;
    }
    if (!loss || meaning.direction != CKPT_DIRECTION_MIN) {
        return CKPT_PRIMACY_VALIDATION;
    }
    return words == 2 ? CKPT_PRIMACY_MAX : CKPT_PRIMACY_LOSS;
}
