/*
 * The text form of a policy: parser and printer. The grammar stands in policy.h.
 */
#include <ckpt/filter.h>
#include <ckpt/policy.h>
#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WORDS_MAX = 16, WORD_MAX = CKPT_POLICY_NAME_MAX };

#define SECOND INT64_C(1000000000)
#define DURATION_MAX                                                                               \
    (INT64_C(36500) * 24 * 3600 * SECOND) /* a century, far from the end of int64_t */
#define COUNT_MAX UINT64_C(1000000000000000)

static const struct {
    char name;
    int64_t ns;
} units[] = {
    {'w', 604800 * SECOND}, {'d', 86400 * SECOND}, {'h', 3600 * SECOND},
    {'m', 60 * SECOND},     {'s', SECOND},
};

struct parser {
    unsigned line;
    char words[WORDS_MAX][WORD_MAX + 1];
    size_t n_words;
    size_t at; /* the next word */
    struct ckpt_policy policy;
    struct ckpt_policy_error error;
};

/* WORD NULL: there is none to blame. */
static bool __attribute__((format(printf, 4, 5)))
fail(struct parser *p, const char *word, const char *example, const char *format, ...)
{
    char cause[256];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(cause, sizeof cause, format, args);
    va_end(args);
    p->error.line = p->line;
    (void)snprintf(p->error.text, sizeof p->error.text, "line %u: %s%s%s%s; for example \"%s\"",
                   p->line, word == NULL ? "" : "\"", word == NULL ? "" : word,
                   word == NULL ? "" : "\" ", cause, example);
    return false;
}

static const char *next(struct parser *p)
{
    return p->at < p->n_words ? p->words[p->at++] : NULL;
}

/* The next word, or a complaint that the line ends before WHAT. */
static const char *expect(struct parser *p, const char *what, const char *example)
{
    const char *word = next(p);
    if (word == NULL) {
        (void)fail(p, p->words[p->n_words - 1], example, "must be followed by %s", what);
    }
    return word;
}

static bool at_end(struct parser *p, const char *example)
{
    const char *word = next(p);
    return word == NULL || fail(p, word, example, "is too much here");
}

static bool read_number(const char *text, size_t n, uint64_t *number)
{
    uint64_t value = 0;
    if (n == 0 || n > 18) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        if (!isdigit((unsigned char)text[i])) {
            return false;
        }
        value = 10 * value + (uint64_t)(text[i] - '0');
    }
    *number = value;
    return true;
}

static bool read_duration(const char *text, size_t n, int64_t *ns)
{
    uint64_t number = 0;
    if (n < 2 || !read_number(text, n - 1, &number)) {
        return false;
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (units[i].name == text[n - 1] && number <= (uint64_t)(DURATION_MAX / units[i].ns)) {
            *ns = (int64_t)number * units[i].ns;
            return true;
        }
    }
    return false;
}

static bool take_count(struct parser *p, const char *example, uint64_t most, uint64_t *count)
{
    const char *word = expect(p, "a number", example);
    if (word == NULL) {
        return false;
    }
    uint64_t n = 0;
    if (!read_number(word, strlen(word), &n) || n < 1 || n > most) {
        return fail(p, word, example, "is no number from 1 to %llu", (unsigned long long)most);
    }
    *count = n;
    return true;
}

static bool take_duration(struct parser *p, const char *example, int64_t least, int64_t *ns)
{
    const char *word = expect(p, "a duration", example);
    if (word == NULL) {
        return false;
    }
    int64_t value = 0;
    bool zero = least == 0 && strcmp(word, "0") == 0;
    if (!zero && (!read_duration(word, strlen(word), &value) || value < least)) {
        return fail(p, word, example,
                    "is no duration, which is a number and s, m, h, d or w, up to a century");
    }
    *ns = value;
    return true;
}

static bool take_size(struct parser *p, const char *example, uint64_t least, uint64_t *bytes)
{
    const char *word = expect(p, "a size", example);
    if (word == NULL) {
        return false;
    }
    uint64_t value = 0;
    if (ckpt_size_parse(word, &value) != CKPT_OK || value < least) {
        return fail(p, word, example,
                    "is no size, which is a number of bytes or of K, M, G, T or P");
    }
    *bytes = value;
    return true;
}

static bool take_min_delta(struct parser *p, const char *example, double *delta)
{
    const char *word = expect(p, "a number", example);
    if (word == NULL) {
        return false;
    }
    char *end = NULL;
    /* strtod also knows "inf", "nan" and "0x1p3". */
    bool plain = word[strspn(word, "0123456789.e-+")] == '\0' && word[0] != '-';
    double value = strtod(word, &end);
    if (!plain || end == word || *end != '\0' || !isfinite(value)) {
        return fail(p, word, example, "is no number from 0");
    }
    *delta = value;
    return true;
}

static bool parse_metric(struct parser *p)
{
    static const char example[] = "metric val_loss min min-delta 0.001 smooth 3";
    struct ckpt_policy *policy = &p->policy;
    struct ckpt_policy_metric m = {.smooth = 1};
    const char *name = expect(p, "the name of a metric", example);
    const char *direction = name == NULL ? NULL : expect(p, "min or max", example);
    if (direction == NULL) {
        return false;
    }
    if (strcmp(direction, "min") != 0 && strcmp(direction, "max") != 0) {
        return fail(p, direction, example, "is neither min nor max");
    }
    m.direction = strcmp(direction, "min") == 0 ? CKPT_DIRECTION_MIN : CKPT_DIRECTION_MAX;
    memcpy(m.name, name, strlen(name) + 1);
    for (size_t i = 0; i < policy->n_metrics; i++) {
        if (strcmp(policy->metrics[i].name, name) == 0) {
            return fail(p, name, example, "has a metric line already");
        }
    }
    if (policy->n_metrics == CKPT_POLICY_METRICS_MAX) {
        return fail(p, name, example, "is one metric more than %d", CKPT_POLICY_METRICS_MAX);
    }
    bool had_delta = false;
    bool had_smooth = false;
    for (const char *word = next(p); word != NULL; word = next(p)) {
        if (strcmp(word, "min-delta") == 0 && !had_delta) {
            had_delta = true;
            if (!take_min_delta(p, example, &m.min_delta)) {
                return false;
            }
        } else if (strcmp(word, "smooth") == 0 && !had_smooth) {
            uint64_t smooth = 0;
            had_smooth = true;
            if (!take_count(p, example, CKPT_POLICY_SMOOTH_MAX, &smooth)) {
                return false;
            }
            m.smooth = (unsigned)smooth;
        } else {
            return fail(
                p, word, example,
                "is too much here: after the direction come min-delta and smooth, once each");
        }
    }
    policy->metrics[policy->n_metrics++] = m;
    return true;
}

static bool keep_best(struct parser *p, struct ckpt_policy_rule *rule)
{
    static const char example[] = "keep best 2 by val_acc";
    rule->kind = CKPT_RULE_BEST;
    if (!take_count(p, example, COUNT_MAX, &rule->count)) {
        return false;
    }
    const char *by = next(p);
    if (by == NULL) {
        return true;
    }
    if (strcmp(by, "by") != 0) {
        return fail(p, by, example, "is too much here, where only \"by METRIC\" may follow");
    }
    const char *name = expect(p, "the name of a metric", example);
    if (name == NULL) {
        return false;
    }
    memcpy(rule->metric, name, strlen(name) + 1);
    return at_end(p, example);
}

/* "every 2h", "every 10 epochs" */
static bool keep_every(struct parser *p, struct ckpt_policy_rule *rule)
{
    static const char example[] =
        "keep every 10 epochs\", \"keep every 1000 steps\" or \"keep every 2h";
    const char *word = expect(p, "a duration or a number", example);
    uint64_t number = 0;
    if (word == NULL) {
        return false;
    }
    if (!read_number(word, strlen(word), &number)) {
        p->at--;
        rule->kind = CKPT_RULE_EVERY;
        return take_duration(p, example, SECOND, &rule->duration_ns) && at_end(p, example);
    }
    p->at--;
    if (!take_count(p, example, COUNT_MAX, &rule->count)) {
        return false;
    }
    const char *unit = expect(p, "epochs or steps", example);
    if (unit == NULL) {
        return false;
    }
    if (strcmp(unit, "epochs") == 0 || strcmp(unit, "epoch") == 0) {
        rule->kind = CKPT_RULE_EPOCHS;
    } else if (strcmp(unit, "steps") == 0 || strcmp(unit, "step") == 0) {
        rule->kind = CKPT_RULE_STEPS;
    } else {
        return fail(p, unit, example, "is neither epochs nor steps");
    }
    return at_end(p, example);
}

static bool keep_thinning(struct parser *p, struct ckpt_policy_rule *rule)
{
    static const char example[] = "keep thinning 1h:24 1d:7 1w:8";
    const char *word = expect(p, "pairs of a duration and a number", example);
    rule->kind = CKPT_RULE_THINNING;
    for (; word != NULL; word = next(p)) {
        struct ckpt_thinning t = {0};
        size_t n = strcspn(word, ":");
        if (rule->n_thinnings == CKPT_POLICY_THINNINGS_MAX) {
            return fail(p, word, example, "is one pair more than %d", CKPT_POLICY_THINNINGS_MAX);
        }
        if (word[n] == '\0' || !read_duration(word, n, &t.step_ns) || t.step_ns == 0 ||
            !read_number(word + n + 1, strlen(word + n + 1), &t.count) || t.count < 1 ||
            t.count > COUNT_MAX) {
            return fail(p, word, example, "is no pair DURATION:NUMBER");
        }
        rule->thinnings[rule->n_thinnings++] = t;
    }
    return rule->n_thinnings > 0;
}

static bool keep_last(struct parser *p, struct ckpt_policy_rule *rule)
{
    rule->kind = CKPT_RULE_LAST;
    return take_count(p, "keep last 5", COUNT_MAX, &rule->count) && at_end(p, "keep last 5");
}

static bool keep_first(struct parser *p, struct ckpt_policy_rule *rule)
{
    rule->kind = CKPT_RULE_FIRST;
    return at_end(p, "keep first");
}

static bool keep_within(struct parser *p, struct ckpt_policy_rule *rule)
{
    rule->kind = CKPT_RULE_WITHIN;
    return take_duration(p, "keep within 7d", SECOND, &rule->duration_ns) &&
           at_end(p, "keep within 7d");
}

static bool parse_keep(struct parser *p)
{
    static const struct {
        const char *word;
        bool (*fn)(struct parser *p, struct ckpt_policy_rule *rule);
    } kinds[] = {
        {"last", keep_last},   {"best", keep_best},     {"every", keep_every},
        {"first", keep_first}, {"within", keep_within}, {"thinning", keep_thinning},
    };
    struct ckpt_policy_rule rule = {0};
    const char *word = expect(p, "last, best, every, first, within or thinning", "keep last 5");
    if (word == NULL) {
        return false;
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(word, kinds[i].word) != 0) {
            continue;
        }
        if (p->policy.n_rules == CKPT_POLICY_RULES_MAX) {
            return fail(p, word, "keep last 5", "is one keep rule more than %d",
                        CKPT_POLICY_RULES_MAX);
        }
        if (!kinds[i].fn(p, &rule)) {
            return false;
        }
        p->policy.rules[p->policy.n_rules++] = rule;
        return true;
    }
    return fail(p, word, "keep last 5", "is not one of last, best, every, first, within, thinning");
}

static bool once(struct parser *p, bool already, const char *example)
{
    return !already || fail(p, p->words[0], example, "is set twice");
}

static bool parse_snapshot(struct parser *p)
{
    static const char example[] = "snapshot every 30m";
    const char *word = expect(p, "every", example);
    if (word == NULL) {
        return false;
    }
    if (strcmp(word, "every") != 0) {
        return fail(p, word, example, "stands where \"every\" belongs");
    }
    return once(p, p->policy.snapshot_ns > 0, example) &&
           take_duration(p, example, SECOND, &p->policy.snapshot_ns) && at_end(p, example);
}

static bool parse_grace(struct parser *p)
{
    bool already = p->policy.has_grace;
    p->policy.has_grace = true;
    return once(p, already, "grace 7d") && take_duration(p, "grace 7d", 0, &p->policy.grace_ns) &&
           at_end(p, "grace 7d");
}

static bool parse_bytes(struct parser *p, const char *example, uint64_t least, bool *has,
                        uint64_t *bytes)
{
    bool already = *has;
    *has = true;
    return once(p, already, example) && take_size(p, example, least, bytes) && at_end(p, example);
}

/* A quota of nothing would let everything go that can. */
static bool parse_quota(struct parser *p)
{
    return parse_bytes(p, "quota 500G", 1, &p->policy.has_quota, &p->policy.quota);
}

static bool parse_hot(struct parser *p)
{
    return parse_bytes(p, "hot 20G", 0, &p->policy.has_hot, &p->policy.hot);
}

static bool parse_patience(struct parser *p)
{
    return once(p, p->policy.patience > 0, "patience 5") &&
           take_count(p, "patience 5", COUNT_MAX, &p->policy.patience) && at_end(p, "patience 5");
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

/* Cuts a line into words, up to a comment. */
static bool split(struct parser *p, const char *line, size_t size)
{
    static const char example[] = "keep last 5";
    size_t i = 0;
    p->n_words = 0;
    p->at = 0;
    for (;;) {
        while (i < size && is_space(line[i])) {
            i++;
        }
        if (i == size || line[i] == '#') {
            return true;
        }
        if (p->n_words == WORDS_MAX) {
            return fail(p, NULL, example, "more than %d words", WORDS_MAX);
        }
        char *word = p->words[p->n_words++];
        size_t n = 0;
        for (; i < size && !is_space(line[i]); i++) {
            if (iscntrl((unsigned char)line[i])) {
                return fail(p, NULL, example, "byte 0x%02x is no text", (unsigned char)line[i]);
            }
            if (n == WORD_MAX) {
                word[n] = '\0';
                return fail(p, word, example, "goes on: a word has up to %d bytes", WORD_MAX);
            }
            word[n++] = line[i];
        }
        word[n] = '\0';
    }
}

static bool parse_line(struct parser *p, const char *line, size_t size)
{
    static const struct {
        const char *word;
        bool (*fn)(struct parser *p);
    } statements[] = {
        {"metric", parse_metric},     {"keep", parse_keep},   {"snapshot", parse_snapshot},
        {"grace", parse_grace},       {"quota", parse_quota}, {"hot", parse_hot},
        {"patience", parse_patience},
    };
    if (!split(p, line, size)) {
        return false;
    }
    const char *word = next(p);
    if (word == NULL) {
        return true;
    }
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++) {
        if (strcmp(word, statements[i].word) == 0) {
            return statements[i].fn(p);
        }
    }
    return fail(p, word, "keep last 5",
                "is not one of metric, keep, snapshot, grace, quota, hot, patience");
}

static bool parse_text(struct parser *p, const char *text, size_t size)
{
    if (size > CKPT_POLICY_TEXT_MAX) {
        p->line = 1;
        return fail(p, NULL, "keep last 5", "the policy has more than %d bytes",
                    CKPT_POLICY_TEXT_MAX);
    }
    for (size_t at = 0; at < size;) {
        const char *end = memchr(text + at, '\n', size - at);
        size_t n = end == NULL ? size - at : (size_t)(end - (text + at));
        p->line++;
        if (!parse_line(p, text + at, n)) {
            return false;
        }
        at += n + 1;
    }
    return true;
}

enum ckpt_err ckpt_policy_parse(const char *text, size_t size, struct ckpt_policy *policy,
                                struct ckpt_policy_error *error)
{
    struct parser *p = calloc(1, sizeof *p);
    enum ckpt_err err = CKPT_OK;
    if (p == NULL) {
        return CKPT_ERR_NOMEM;
    }
    ckpt_policy_init(&p->policy);
    if (parse_text(p, text, size)) {
        *policy = p->policy;
    } else {
        err = CKPT_ERR_INVALID;
        if (error != NULL) {
            *error = p->error;
        }
    }
    free(p);
    return err;
}
