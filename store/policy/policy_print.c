/*
 * A policy as text, in the order in which its parts stand in policy.h: parsing it again gives the
 * same policy.
 */
#include <ckpt/policy.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ckpt_policy_init(struct ckpt_policy *policy)
{
    memset(policy, 0, sizeof *policy);
    policy->grace_ns = CKPT_POLICY_GRACE_DEFAULT;
}

/* Text that is written as far as there is room, and counted beyond that. */
struct output {
    char *text;
    size_t size;
    size_t length;
};

static void __attribute__((format(printf, 2, 3))) put(struct output *o, const char *format, ...)
{
    size_t room = o->length < o->size ? o->size - o->length : 0;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(room > 0 ? o->text + o->length : NULL, room, format, args);
    va_end(args);
    o->length += n > 0 ? (size_t)n : 0;
}

/* In the largest unit of which it is a whole number; in weeks only where people count in them. */
static void put_duration(struct output *o, int64_t ns, bool weeks)
{
    static const struct {
        char name;
        int64_t seconds;
    } units[] = {{'w', 604800}, {'d', 86400}, {'h', 3600}, {'m', 60}, {'s', 1}};
    int64_t seconds = ns / 1000000000;
    size_t i = weeks ? 0 : 1;
    while (seconds % units[i].seconds != 0) {
        i++;
    }
    if (seconds == 0) {
        put(o, "0s");
    } else {
        put(o, "%" PRId64 "%c", seconds / units[i].seconds, units[i].name);
    }
}

static void put_size(struct output *o, uint64_t bytes)
{
    static const char units[] = "KMGTP";
    size_t i = 0;
    while (bytes > 0 && bytes % 1024 == 0 && units[i] != '\0') {
        bytes /= 1024;
        i++;
    }
    put(o, "%" PRIu64, bytes);
    if (i > 0) {
        put(o, "%c", units[i - 1]);
    }
}

/* The shortest text that reads as the same number. */
static void put_double(struct output *o, double value)
{
    char text[40];
    int digits = 0;
    do {
        digits++;
        (void)snprintf(text, sizeof text, "%.*g", digits, value);
    } while (digits < 17 && strtod(text, NULL) != value);
    put(o, "%s", text);
}

static void put_metric(struct output *o, const struct ckpt_policy_metric *m)
{
    put(o, "metric %s %s", m->name, m->direction == CKPT_DIRECTION_MAX ? "max" : "min");
    if (m->min_delta > 0) {
        put(o, " min-delta ");
        put_double(o, m->min_delta);
    }
    if (m->smooth > 1) {
        put(o, " smooth %u", m->smooth);
    }
    put(o, "\n");
}

static void put_rule(struct output *o, const struct ckpt_policy_rule *rule)
{
    switch (rule->kind) {
    case CKPT_RULE_LAST:
        put(o, "last %" PRIu64, rule->count);
        break;
    case CKPT_RULE_BEST:
        put(o, "best %" PRIu64, rule->count);
        if (rule->metric[0] != '\0') {
            put(o, " by %s", rule->metric);
        }
        break;
    case CKPT_RULE_EPOCHS:
        put(o, "every %" PRIu64 " epochs", rule->count);
        break;
    case CKPT_RULE_STEPS:
        put(o, "every %" PRIu64 " steps", rule->count);
        break;
    case CKPT_RULE_EVERY:
        put(o, "every ");
        put_duration(o, rule->duration_ns, false);
        break;
    case CKPT_RULE_FIRST:
        put(o, "first");
        break;
    case CKPT_RULE_WITHIN:
        put(o, "within ");
        put_duration(o, rule->duration_ns, false);
        break;
    case CKPT_RULE_THINNING:
        put(o, "thinning");
        for (size_t i = 0; i < rule->n_thinnings; i++) {
            put(o, " ");
            put_duration(o, rule->thinnings[i].step_ns, true);
            put(o, ":%" PRIu64, rule->thinnings[i].count);
        }
        break;
    }
}

size_t ckpt_policy_print(const struct ckpt_policy *policy, char *text, size_t size)
{
    struct output o = {.text = text, .size = size};
    put(&o, "%s", "");
    for (size_t i = 0; i < policy->n_metrics; i++) {
        put_metric(&o, &policy->metrics[i]);
    }
    for (size_t i = 0; i < policy->n_rules; i++) {
        put(&o, "keep ");
        put_rule(&o, &policy->rules[i]);
        put(&o, "\n");
    }
    if (policy->snapshot_ns > 0) {
        put(&o, "snapshot every ");
        put_duration(&o, policy->snapshot_ns, false);
        put(&o, "\n");
    }
    if (policy->has_grace) {
        put(&o, "grace ");
        put_duration(&o, policy->grace_ns, false);
        put(&o, "\n");
    }
    if (policy->has_quota) {
        put(&o, "quota ");
        put_size(&o, policy->quota);
        put(&o, "\n");
    }
    if (policy->has_hot) {
        put(&o, "hot ");
        put_size(&o, policy->hot);
        put(&o, "\n");
    }
    if (policy->patience > 0) {
        put(&o, "patience %" PRIu64 "\n", policy->patience);
    }
    return o.length;
}

size_t ckpt_policy_print_rule(const struct ckpt_policy_rule *rule, char *text, size_t size)
{
    struct output o = {.text = text, .size = size};
    put_rule(&o, rule);
    return o.length;
}

size_t ckpt_policy_print_duration(int64_t ns, char *text, size_t size)
{
    struct output o = {.text = text, .size = size};
    put_duration(&o, ns, false);
    return o.length;
}
