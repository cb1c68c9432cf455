#include "holdings.h"
#include <string.h>
#include <strings.h>

enum part { PART_MODEL, PART_OPTIMIZER, PART_EXTRA, PART_EMA };

struct word {
    const char *text;
    enum part part;
};

/* A part of a name that says what all of the name is about. */
static const struct word anywhere[] = {
    {"exp_avg", PART_OPTIMIZER},
    {"exp_avg_sq", PART_OPTIMIZER},
    {"max_exp_avg_sq", PART_OPTIMIZER},
    {"exp_avg_diff", PART_OPTIMIZER},
    {"momentum_buffer", PART_OPTIMIZER},
    {"square_avg", PART_OPTIMIZER},
    {"acc_delta", PART_OPTIMIZER},
    {"exp_inf", PART_OPTIMIZER},
    {"exp_avg_sq_row", PART_OPTIMIZER},
    {"exp_avg_sq_col", PART_OPTIMIZER},
    {"state1", PART_OPTIMIZER},
    {"state2", PART_OPTIMIZER},
    {"fp32_flat_groups", PART_OPTIMIZER},
    {"base_optimizer_state", PART_OPTIMIZER},
    {"single_partition_of_fp32_groups", PART_OPTIMIZER},
};

/*
 * A part that says so when it is one of the first two: "state.optimizer", "0.opt_state" (the rank, with
 * torchsnapshot).
 */
static const struct word leading[] = {
    {"optimizer", PART_OPTIMIZER},
    {"optimizers", PART_OPTIMIZER},
    {"optimizer_state", PART_OPTIMIZER},
    {"optimizer_states", PART_OPTIMIZER},
    {"optimizer_state_dict", PART_OPTIMIZER},
    {"optim", PART_OPTIMIZER},
    {"optim_state", PART_OPTIMIZER},
    {"optim_state_dict", PART_OPTIMIZER},
    {"optimizer_weights", PART_OPTIMIZER},
    {"opt_state", PART_OPTIMIZER},
    {"opt_states", PART_OPTIMIZER},
    {"opt", PART_OPTIMIZER},
    {"optimizer_g", PART_OPTIMIZER},
    {"optimizer_d", PART_OPTIMIZER},
    {"optim_g", PART_OPTIMIZER},
    {"optim_d", PART_OPTIMIZER},
    {"trainer_state", PART_EXTRA},
    {"train_state", PART_EXTRA},
    {"scheduler", PART_EXTRA},
    {"lr_scheduler", PART_EXTRA},
    {"lr_schedulers", PART_EXTRA},
    {"schedulers", PART_EXTRA},
    {"rng_state", PART_EXTRA},
    {"rng_states", PART_EXTRA},
    {"rng", PART_EXTRA},
    {"random_rng_state", PART_EXTRA},
    {"torch_rng_state", PART_EXTRA},
    {"cuda_rng_state", PART_EXTRA},
    {"scaler", PART_EXTRA},
    {"grad_scaler", PART_EXTRA},
    {"callbacks", PART_EXTRA},
    {"loops", PART_EXTRA},
    {"epoch", PART_EXTRA},
    {"step", PART_EXTRA},
    {"global_step", PART_EXTRA},
    {"iteration", PART_EXTRA},
    {"args", PART_EXTRA},
    {"config", PART_EXTRA},
    {"hyper_parameters", PART_EXTRA},
    {"cpu", PART_EXTRA},
    {"cuda", PART_EXTRA},
    {"ema", PART_EMA},
    {"ema_state_dict", PART_EMA},
    {"model_ema", PART_EMA},
    {"state_dict_ema", PART_EMA},
    {"ema_params", PART_EMA},
    {"ema_weights", PART_EMA},
    {"shadow_params", PART_EMA},
};

static bool is_between(char c)
{
    return c == '.' || c == '/' || c == '[' || c == ']' || c == '\'' || c == ':' || c == '\0';
}

static bool find(const struct word *words, size_t count, const char *part, size_t n, enum part *out)
{
    for (size_t i = 0; i < count; i++) {
        if (strlen(words[i].text) == n && strncasecmp(words[i].text, part, n) == 0) {
            *out = words[i].part;
            return true;
        }
    }
    return false;
}

static bool is_number(const char *part, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (part[i] < '0' || part[i] > '9') {
            return false;
        }
    }
    return n > 0;
}

static enum part part_of(const char *name, size_t n)
{
    enum part part = PART_MODEL;
    enum part first = PART_MODEL;
    bool led = false;
    bool state = false; /* "state.0." begins what an optimizer's own state_dict() has */
    size_t index = 0;
    for (size_t at = 0; at < n; index++) {
        size_t end = at;
        while (end < n && !is_between(name[end])) {
            end++;
        }
        size_t size = end - at;
        if (size == 0) {
            index--;
        } else if (find(anywhere, sizeof anywhere / sizeof anywhere[0], name + at, size, &part)) {
            return part;
        } else if (!led && index < 2) {
            /* "epoch" or "step" below something else is a name of the model's. */
            led = find(leading, sizeof leading / sizeof leading[0], name + at, size, &first) &&
                  (index == 0 || first != PART_EXTRA);
            first = led ? first : PART_MODEL;
        }
        if (state && index == 1 && is_number(name + at, size)) {
            return PART_OPTIMIZER;
        }
        state = index == 0 && size == 5 && strncasecmp(name + at, "state", 5) == 0;
        at = end + 1;
    }
    return first;
}

void ckpt_holdings_add(struct ckpt_holdings *holdings, const char *name, size_t n)
{
    switch (part_of(name, n)) {
    case PART_OPTIMIZER:
        holdings->optimizer++;
        break;
    case PART_EXTRA:
        holdings->extra++;
        break;
    case PART_EMA:
        holdings->ema++;
        break;
    case PART_MODEL:
        holdings->model++;
        break;
    }
}

enum ckpt_holds ckpt_holdings_sum(const struct ckpt_holdings *holdings)
{
    if (holdings->optimizer > 0) {
        return holdings->model > 0 || holdings->ema > 0 ? CKPT_HOLDS_FULL : CKPT_HOLDS_OPTIMIZER;
    }
    if (holdings->model > 0) {
        return CKPT_HOLDS_WEIGHTS;
    }
    if (holdings->ema > 0) {
        return CKPT_HOLDS_EMA;
    }
    return holdings->extra > 0 ? CKPT_HOLDS_EXTRA : CKPT_HOLDS_UNKNOWN;
}
