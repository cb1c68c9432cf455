#include "find_pick.h"
#include <ckpt/keep.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NEAREST = 6, WORDS = 512, CANDIDATES = 6, CANDIDATE_TEXT = 512 };

/* ---- what isn't shown any more ---- */

static bool fits(const struct ckpt_checkpoint *c, const struct selection *s)
{
    switch (s->by) {
    case SELECT_EPOCH:
        return c->has_epoch && c->epoch == s->number;
    case SELECT_STEP:
        return c->has_step && c->step == s->number;
    case SELECT_TAG:
        for (size_t i = 0; i < c->n_tags; i++) {
            if (strcmp(c->tags[i], s->text) == 0) {
                return true;
            }
        }
        return false;
    default:
        return false;
    }
}

/* The newest that fits: a rotated one, else one that is no good, else one of which only the record is left. */
static const struct ckpt_checkpoint *pick_gone(const struct ckpt_run *run, const struct selection *s)
{
    const struct ckpt_checkpoint *found = NULL;
    unsigned worst = 0;
    for (size_t i = run->count; i-- > 0;) {
        const struct ckpt_checkpoint *c = run->list[i];
        unsigned rank = c->dropped ? 1 : c->status != CKPT_STATUS_COMPLETE ? 2 : 3;
        if (rank > worst && fits(c, s)) {
            found = c;
            worst = rank;
        }
    }
    return found;
}

/* ---- what there is ---- */

struct numbers {
    uint64_t near[NEAREST]; /* the nearest to WANTED, in order */
    uint64_t wanted;
    size_t n;
    size_t all;
};

static uint64_t distance(uint64_t a, uint64_t b)
{
    return a > b ? a - b : b - a;
}

/* They come in order, so the nearest are neighbours. */
static bool see_number(void *arg, uint64_t number)
{
    struct numbers *numbers = arg;
    numbers->all++;
    if (numbers->n < NEAREST) {
        numbers->near[numbers->n++] = number;
    } else if (distance(number, numbers->wanted) < distance(numbers->near[0], numbers->wanted)) {
        memmove(numbers->near, numbers->near + 1, (NEAREST - 1) * sizeof numbers->near[0]);
        numbers->near[NEAREST - 1] = number;
    }
    return true;
}

struct words {
    char *text;
    size_t used;
    size_t n;
};

static bool see_word(void *arg, const char *word)
{
    struct words *words = arg;
    int n = snprintf(words->text + words->used, WORDS - words->used, "%s%s", words->n > 0 ? ", " : "", word);
    if (n < 0 || (size_t)n >= WORDS - words->used) {
        words->text[words->used] = '\0';
        return false;
    }
    words->used += (size_t)n;
    words->n++;
    return true;
}

static void tell_numbers(const struct numbers *numbers, const char *what, char text[WORDS])
{
    size_t used =
        (size_t)snprintf(text, WORDS, "%s %ss:", numbers->all > numbers->n ? "the nearest" : "it has the", what);
    for (size_t i = 0; i < numbers->n && used < WORDS; i++) {
        used += (size_t)snprintf(text + used, WORDS - used, "%s %" PRIu64, i > 0 ? "," : "", numbers->near[i]);
    }
    if (numbers->n == 0) {
        snprintf(text, WORDS, "none that is shown has %s %s", what[0] == 'e' ? "an" : "a", what);
    }
}

static void tell_tags(const struct ckpt_run *run, char text[WORDS])
{
    static const char none[] = "it has no tags";
    static const char some[] = "its tags: ";
    struct words words = {.text = text, .used = sizeof some - 1};
    memcpy(text, some, sizeof some);
    if (ckpt_run_each_tag(run, see_word, &words) != CKPT_OK || words.n == 0) {
        memcpy(text, none, sizeof none);
    }
}

static void tell_metrics(const struct ckpt_run *run, char text[WORDS])
{
    static const char none[] = "none of it has a metric";
    static const char some[] = "its metrics: ";
    struct words words = {.text = text, .used = sizeof some - 1};
    memcpy(text, some, sizeof some);
    if (ckpt_run_each_metric(run, see_word, &words) != CKPT_OK || words.n == 0) {
        memcpy(text, none, sizeof none);
    }
}

/* What there is instead. The run is held. */
static void tell(const struct ckpt_run *run, const struct selection *s, char text[WORDS])
{
    struct numbers numbers = {.wanted = s->number};
    switch (s->by) {
    case SELECT_EPOCH:
        ckpt_run_each_epoch(run, see_number, &numbers);
        tell_numbers(&numbers, "epoch", text);
        break;
    case SELECT_STEP:
        ckpt_run_each_step(run, see_number, &numbers);
        tell_numbers(&numbers, "step", text);
        break;
    case SELECT_TAG:
        tell_tags(run, text);
        break;
    case SELECT_BEST:
    case SELECT_TOP:
        tell_metrics(run, text);
        break;
    case SELECT_FINAL:
        snprintf(text, WORDS, "it isn't finished; \"ckpt finish\" says that it is");
        break;
    case SELECT_LATEST:
    case SELECT_ID:
        snprintf(text, WORDS, "\"ckpt ls\" lists what it has");
        break;
    }
}

/* ---- one run ---- */

/* By the digits of an id, among those of one run. EXISTS: several. */
static enum ckpt_err pick_id(const struct ckpt_run *run, const char *digits, const struct ckpt_checkpoint **found)
{
    unsigned open = 4 * (SELECTION_ID - (unsigned)strlen(digits));
    uint64_t id = strtoull(digits, NULL, 16);
    for (size_t i = 0; i < run->count; i++) {
        if (run->list[i]->id >> open != id) {
            continue;
        }
        if (*found != NULL) {
            return CKPT_ERR_EXISTS;
        }
        *found = run->list[i];
    }
    return *found == NULL ? CKPT_ERR_NOT_FOUND : CKPT_OK;
}

static enum ckpt_err pick_top(struct tool *tool, const struct ckpt_run *run, const struct selection *s,
                              const struct ckpt_checkpoint **found)
{
    struct ckpt_policy policy;
    int64_t changed = 0;
    uint32_t *numbers = NULL;
    size_t n = 0;
    enum ckpt_err err = ckpt_judge_policy(tool->store, run->dir, &policy, &changed);
    if (err == CKPT_OK) {
        err = ckpt_judge_rank(run, &policy, s->text[0] != '\0' ? s->text : NULL, &numbers, &n);
    }
    if (err == CKPT_OK && s->number <= n) {
        *found = ckpt_run_number(run, numbers[s->number - 1]);
    }
    free(numbers);
    return err;
}

static enum ckpt_err pick(struct tool *tool, const struct ckpt_run *run, const struct selection *s,
                          const struct ckpt_checkpoint **found)
{
    switch (s->by) {
    case SELECT_BEST:
        *found = ckpt_run_best(run);
        break;
    case SELECT_LATEST:
        *found = ckpt_run_latest(run);
        break;
    case SELECT_FINAL:
        *found = ckpt_run_final(run);
        break;
    case SELECT_EPOCH:
        *found = ckpt_run_epoch(run, s->number);
        break;
    case SELECT_STEP:
        *found = ckpt_run_step(run, s->number);
        break;
    case SELECT_TAG:
        *found = ckpt_run_tag(run, s->text);
        break;
    case SELECT_ID:
        return pick_id(run, s->text, found);
    case SELECT_TOP:
        return pick_top(tool, run, s, found);
    }
    if (*found == NULL) {
        *found = pick_gone(run, s);
    }
    return CKPT_OK;
}

int find_pick(struct tool *tool, uint64_t dir, const char *path, const struct selection *s, uint32_t *number)
{
    const struct ckpt_run *run = NULL;
    const struct ckpt_checkpoint *c = NULL;
    char wanted[NAME_MAX + 64];
    char there[WORDS] = "";
    selection_print(s, wanted, sizeof wanted);
    enum ckpt_err err = ckpt_runs_hold(tool->runs, dir, &run);
    if (err != CKPT_OK) {
        return tool_store_fail(tool, err, "cannot read the run %s: %s", path, ckpt_err_text(err));
    }
    err = pick(tool, run, s, &c);
    if (err == CKPT_OK && c == NULL) {
        err = CKPT_ERR_NOT_FOUND;
    }
    if (err == CKPT_OK) {
        *number = c->number;
    } else if (err == CKPT_ERR_NOT_FOUND) {
        tell(run, s, there);
    }
    ckpt_runs_release(tool->runs);
    if (err == CKPT_ERR_NOT_FOUND) {
        return tool_fail(tool, err, "%s has no %s; %s", path[0] != '\0' ? path : "the top of the store", wanted, there);
    }
    if (err == CKPT_ERR_EXISTS) {
        return find_ambiguous(tool, s->text, &dir);
    }
    if (err != CKPT_OK) {
        return tool_store_fail(tool, err, "cannot look for the %s of %s: %s", wanted, path, ckpt_err_text(err));
    }
    return TOOL_OK;
}

/* ---- several ids ---- */

struct candidates {
    uint64_t id; /* the digits that are given, without those that are open */
    unsigned open;
    char text[CANDIDATE_TEXT];
    size_t used;
    size_t n;
};

static void add_candidates(struct candidates *list, const struct ckpt_run *run, const char *path)
{
    for (size_t i = 0; i < run->count && list->n < CANDIDATES && list->used < sizeof list->text; i++) {
        if (run->list[i]->id >> list->open == list->id) {
            list->used += (size_t)snprintf(list->text + list->used, sizeof list->text - list->used,
                                           "%s%016" PRIx64 " (%.40s)", list->n > 0 ? ", " : "", run->list[i]->id, path);
            list->n++;
        }
    }
}

int find_ambiguous(struct tool *tool, const char *digits, const uint64_t *only)
{
    struct candidates list = {.id = strtoull(digits, NULL, 16), .open = 4 * (SELECTION_ID - (unsigned)strlen(digits))};
    uint64_t *dirs = NULL;
    size_t n = 0;
    if (ckpt_runs_all(tool->runs, &dirs, &n) != CKPT_OK) {
        n = 0;
    }
    for (size_t i = 0; i < n; i++) {
        const struct ckpt_run *run = NULL;
        char path[PATH_MAX] = "?";
        (void)!ckpt_catalog_path(tool->store, dirs[i], path, sizeof path);
        if ((only == NULL || dirs[i] == *only) && ckpt_runs_hold(tool->runs, dirs[i], &run) == CKPT_OK) {
            add_candidates(&list, run, path);
            ckpt_runs_release(tool->runs);
        }
    }
    free(dirs);
    return tool_fail(tool, CKPT_ERR_INVALID, "several ids begin with %s: %s%s; give more digits", digits, list.text,
                     list.n == CANDIDATES ? ", ..." : "");
}

/* ---- several runs ---- */

/* The best so far by one metric, or the newest. */
struct champion {
    char *metric; /* the primary one of most of the runs, of the first of several */
    enum ckpt_direction direction;
    double value;
    uint64_t sequence;
    uint64_t dir;
    uint32_t number; /* 0: none */
};

struct vote {
    char *metric;
    size_t runs;
    enum ckpt_direction direction;
};

static enum ckpt_direction direction_of(struct tool *tool, const struct ckpt_run *run)
{
    struct ckpt_policy policy;
    int64_t changed = 0;
    if (ckpt_judge_policy(tool->store, run->dir, &policy, &changed) != CKPT_OK) {
        return CKPT_DIRECTION_UNKNOWN;
    }
    return ckpt_policy_direction_of(&policy, run->metric);
}

static void count_vote(struct tool *tool, struct vote *votes, size_t *n, const struct ckpt_run *run)
{
    size_t i = 0;
    if (run->metric == NULL || ckpt_run_best(run) == NULL) {
        return;
    }
    while (i < *n && strcmp(votes[i].metric, run->metric) != 0) {
        i++;
    }
    if (i == *n) {
        votes[i] = (struct vote){.metric = strdup(run->metric), .direction = direction_of(tool, run)};
        if (votes[i].metric == NULL) {
            return;
        }
        ++*n;
    }
    votes[i].runs++;
}

/* By which metric runs are compared: that which most of them have. */
static void choose_metric(struct vote *votes, size_t n, struct champion *champion)
{
    size_t most = 0;
    for (size_t i = 1; i < n; i++) {
        most = votes[i].runs > votes[most].runs ? i : most;
    }
    for (size_t i = 0; i < n; i++) {
        if (i == most) {
            champion->metric = votes[i].metric;
            champion->direction = votes[i].direction;
        } else {
            free(votes[i].metric);
        }
    }
}

static void challenge_best(struct champion *champion, const struct ckpt_run *run)
{
    const struct ckpt_checkpoint *c = ckpt_run_best(run);
    if (c == NULL || run->metric == NULL || champion->metric == NULL || strcmp(run->metric, champion->metric) != 0) {
        return; /* another metric: the two say nothing about each other */
    }
    const struct ckpt_value *v = ckpt_checkpoint_value(c, run->metric);
    if (v == NULL) {
        return;
    }
    bool better = champion->direction == CKPT_DIRECTION_MIN ? v->value < champion->value : v->value > champion->value;
    bool older = v->value == champion->value && c->sequence < champion->sequence;
    if (champion->number == 0 || better || older) {
        champion->value = v->value;
        champion->sequence = c->sequence;
        champion->dir = run->dir;
        champion->number = c->number;
    }
}

static void challenge_latest(struct champion *champion, const struct ckpt_run *run)
{
    const struct ckpt_checkpoint *c = ckpt_run_latest(run);
    if (c != NULL && (champion->number == 0 || c->sequence > champion->sequence)) {
        champion->sequence = c->sequence;
        champion->dir = run->dir;
        champion->number = c->number;
    }
}

/* Goes through the runs: counts what they are judged by into VOTES, or (NULL) compares them. */
static enum ckpt_err visit(struct tool *tool, const struct found_run *list, size_t n, bool best, struct vote *votes,
                           size_t *n_votes, struct champion *champion)
{
    for (size_t i = 0; i < n; i++) {
        const struct ckpt_run *run = NULL;
        enum ckpt_err err = ckpt_runs_hold(tool->runs, list[i].dir, &run);
        if (err == CKPT_ERR_NOT_FOUND) {
            continue;
        }
        if (err != CKPT_OK) {
            return err;
        }
        if (votes != NULL) {
            count_vote(tool, votes, n_votes, run);
        } else if (best) {
            challenge_best(champion, run);
        } else {
            challenge_latest(champion, run);
        }
        ckpt_runs_release(tool->runs);
    }
    return CKPT_OK;
}

int find_pick_below(struct tool *tool, const struct found_run *list, size_t n, const char *path,
                    const struct selection *s, uint64_t *dir, uint32_t *number)
{
    struct champion champion = {0};
    bool best = s->by == SELECT_BEST;
    size_t n_votes = 0;
    struct vote *votes = best ? calloc(n + 1, sizeof *votes) : NULL;
    enum ckpt_err err = best && votes == NULL ? CKPT_ERR_NOMEM : CKPT_OK;
    if (votes != NULL) {
        err = visit(tool, list, n, best, votes, &n_votes, &champion);
        choose_metric(votes, n_votes, &champion);
    }
    if (err == CKPT_OK) {
        err = visit(tool, list, n, best, NULL, NULL, &champion);
    }
    free(votes);
    free(champion.metric);
    if (err != CKPT_OK) {
        return tool_store_fail(tool, err, "cannot read the runs below %s: %s", path, ckpt_err_text(err));
    }
    if (champion.number == 0) {
        return tool_fail(tool, CKPT_ERR_NOT_FOUND, "none of the runs below %s has a %s checkpoint",
                         path[0] != '\0' ? path : "the top of the store", best ? "best" : "complete");
    }
    *dir = champion.dir;
    *number = champion.number;
    return TOOL_OK;
}
