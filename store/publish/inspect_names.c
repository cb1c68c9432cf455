#include "inspect_names.h"
#include "recognise/naming_words.h"
#include <ckpt/policy.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { IN_GROUP = 100, NAME_MAX_HERE = 128 };

/* Of several in one file the first one counts. Not "epochs", "max_steps": what was asked for. */
static const char *const epochs[] = {
    "epoch",      "current_epoch", "cur_epoch",      "epoch_num",      "epoch_idx",        "epoch_index",
    "last_epoch", "trained_epoch", "trained_epochs", "epochs_trained", "completed_epochs", "ss_epoch",
};

static const char *const steps[] = {
    "global_step",   "global_steps",  "step",        "iteration",   "iter",     "iter_num",   "current_step",
    "cur_step",      "train_step",    "train_steps", "num_updates", "update",   "step_count", "cur_iter",
    "current_iter",  "global_iter",   "n_iter",      "it",          "itr",      "iterations", "steps_completed",
    "num_timesteps", "trained_steps", "step_num",    "steps",       "ss_steps",
};

/* Dictionaries that say how far training was, besides other things. */
static const char *const trainers[] = {
    "meta",    "extra_state", "trainer_state", "train_state", "training_state",
    "trainer", "progress",    "state",         "train_loop",
};

/* Words of dictionaries that have nothing but metrics in them. */
static const char *const reports[] = {
    "metric", "metrics", "result", "results",    "score", "scores", "log", "logs", "loss",        "losses",     "stats",
    "eval",   "val",     "valid",  "validation", "test",  "train",  "dev", "best", "performance", "evaluation",
};

/* Words of reports that say which data they are about. */
static const char *const splits[] = {"val",        "valid", "validation", "test", "eval",
                                     "evaluation", "train", "dev",        "best"};

/* Words beside a metric's that make it a setting, "loss_weight", or a time, "best_acc_epoch". */
static const char *const settings[] = {
    "weight", "weights", "scale",  "scaling",   "coef",     "coeff", "lambda", "alpha",  "threshold", "patience",
    "lr",     "epoch",   "epochs", "smoothing", "step",     "iter",  "steps",  "margin", "iters",     "iteration",
    "time",   "target",  "seed",   "count",     "interval", "every", "freq",   "warmup", "type",      "momentum",
};

#define COUNT(list) (sizeof(list) / sizeof(list)[0])

static bool is_among(const char *const *list, size_t count, struct ckpt_name word, unsigned *place)
{
    for (size_t i = 0; i < count; i++) {
        if (strlen(list[i]) == word.size && strncasecmp(list[i], word.bytes, word.size) == 0) {
            *place = (unsigned)i;
            return true;
        }
    }
    return false;
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* Takes a word off REST: what stands between anything but letters and digits. */
static bool next_word(struct ckpt_name *rest, struct ckpt_name *word)
{
    while (rest->size > 0 && !is_letter(rest->bytes[0])) {
        rest->bytes++;
        rest->size--;
    }
    *word = (struct ckpt_name){rest->bytes, 0};
    while (rest->size > 0 && is_letter(rest->bytes[0])) {
        rest->bytes++;
        rest->size--;
        word->size++;
    }
    return word->size > 0;
}

/* Whether one of its words is in the list; *FOUND is the first. */
static bool has_word(struct ckpt_name name, const char *const *list, size_t count, struct ckpt_name *found)
{
    struct ckpt_name rest = name;
    unsigned place = 0;
    while (next_word(&rest, found)) {
        if (is_among(list, count, *found, &place)) {
            return true;
        }
    }
    return false;
}

/* "val_loss", "best_acc1", "bestValAcc", "best"; not "loss_weight", "best_epoch", "lr". */
static bool reads_like_metric(struct ckpt_name name)
{
    char copy[NAME_MAX_HERE];
    struct ckpt_name rest = name;
    struct ckpt_name word;
    if (name.size >= sizeof copy || has_word(name, settings, COUNT(settings), &word)) {
        return false;
    }
    while (next_word(&rest, &word)) {
        if (ckpt_word_metric(word.bytes, word.size) || ckpt_word_find(word.bytes, word.size) == CKPT_WORD_BEST) {
            return true;
        }
    }
    memcpy(copy, name.bytes, name.size);
    copy[name.size] = '\0';
    return ckpt_policy_direction(copy) != CKPT_DIRECTION_UNKNOWN;
}

enum ckpt_meaning ckpt_inspect_meaning(struct ckpt_name group, struct ckpt_name name, unsigned *rank)
{
    unsigned place = 0;
    struct ckpt_name word;
    bool outermost = group.size == 0;
    bool report = !outermost && has_word(group, reports, COUNT(reports), &word);
    bool trainer = !outermost && is_among(trainers, COUNT(trainers), group, &place);
    if (!outermost && !report && !trainer) {
        return CKPT_MEANING_OTHER;
    }
    bool epoch = is_among(epochs, COUNT(epochs), name, &place);
    bool step = !epoch && is_among(steps, COUNT(steps), name, &place);
    if (epoch || step) {
        /* What the best metrics' epoch was isn't how far training is. */
        *rank = place + (outermost ? 0 : IN_GROUP);
        return report && !trainer ? CKPT_MEANING_OTHER : epoch ? CKPT_MEANING_EPOCH : CKPT_MEANING_STEP;
    }
    if (report && !trainer) {
        return has_word(name, settings, COUNT(settings), &word) ? CKPT_MEANING_OTHER : CKPT_MEANING_METRIC;
    }
    return reads_like_metric(name) ? CKPT_MEANING_METRIC : CKPT_MEANING_OTHER;
}

bool ckpt_inspect_full_name(struct ckpt_name group, struct ckpt_name name, char *out, size_t size)
{
    struct ckpt_name split = {"", 0};
    struct ckpt_name ignored;
    if (name.size == 0 || !has_word(group, splits, COUNT(splits), &split) ||
        has_word(name, splits, COUNT(splits), &ignored)) {
        split.size = 0;
    }
    for (size_t i = 0; i < name.size; i++) {
        if (name.bytes[i] < ' ' || name.bytes[i] > '~') {
            return false;
        }
    }
    size_t n = split.size > 0 ? split.size + 1 : 0;
    if (name.size == 0 || name.size >= size || n >= size - name.size) {
        return false;
    }
    (void)snprintf(out, size, "%.*s%s%.*s", (int)split.size, split.bytes, n > 0 ? "/" : "", (int)name.size, name.bytes);
    return true;
}
