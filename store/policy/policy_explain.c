/*
 * Verdicts in words.
 */
#include <ckpt/policy.h>
#include <stdio.h>

const char *ckpt_policy_reason_name(enum ckpt_policy_reason reason)
{
    static const char *const names[] = {
        [CKPT_REASON_WRITING] = "writing",     [CKPT_REASON_ONLY] = "only",
        [CKPT_REASON_BEST] = "best",           [CKPT_REASON_LATEST] = "latest",
        [CKPT_REASON_PINNED] = "pinned",       [CKPT_REASON_TAGGED] = "tagged",
        [CKPT_REASON_PARENT] = "parent",       [CKPT_REASON_OPEN] = "open",
        [CKPT_REASON_ALIAS] = "alias",         [CKPT_REASON_RULE] = "rule",
        [CKPT_REASON_UNRANKED] = "unranked",   [CKPT_REASON_DEFAULT] = "default",
        [CKPT_REASON_DIRECTION] = "direction", [CKPT_REASON_OVERWRITTEN] = "overwritten",
        [CKPT_REASON_DELETED] = "deleted",     [CKPT_REASON_INVALID] = "invalid",
        [CKPT_REASON_NO_RULE] = "no_rule",     [CKPT_REASON_SNAPSHOT] = "snapshot",
        [CKPT_REASON_QUOTA] = "quota",         [CKPT_REASON_SPACE] = "space",
        [CKPT_REASON_DROPPED] = "dropped",
    };
    return (size_t)reason < sizeof names / sizeof names[0] ? names[reason] : "unknown";
}

static const char *ordinal_suffix(size_t n)
{
    static const char *const suffixes[] = {"th", "st", "nd", "rd"};
    bool teen = n / 10 % 10 == 1;
    return teen || n % 10 > 3 ? suffixes[0] : suffixes[n % 10];
}

static void explain_best(const struct ckpt_policy_verdict *v, char *text, size_t size)
{
    if (v->rank <= 1) {
        (void)snprintf(text, size, "keep: best %s %g", v->metric, v->value);
    } else {
        (void)snprintf(text, size, "keep: %zu%s best %s %g", v->rank, ordinal_suffix(v->rank),
                       v->metric, v->value);
    }
}

static void explain_rule(const struct ckpt_policy_verdict *v, char *text, size_t size)
{
    char rule[CKPT_POLICY_MESSAGE_MAX + 1];
    if (v->metric != NULL) {
        explain_best(v, text, size);
        return;
    }
    (void)ckpt_policy_print_rule(v->rule, rule, sizeof rule);
    (void)snprintf(text, size, "keep: %s", rule);
}

static void explain_unranked(const struct ckpt_policy_verdict *v, char *text, size_t size)
{
    if (v->metric == NULL) {
        (void)snprintf(text, size, "keep: no metric tells the best");
    } else if (v->reason == CKPT_REASON_DIRECTION) {
        (void)snprintf(text, size, "keep: is min or max better of %s? a metric line tells",
                       v->metric);
    } else {
        (void)snprintf(text, size, "keep: no %s is known to tell the best", v->metric);
    }
}

static void explain_grace(const struct ckpt_policy_verdict *v, const char *what, char *text,
                          size_t size)
{
    char duration[32];
    (void)ckpt_policy_print_duration(v->until_ns - v->since_ns, duration, sizeof duration);
    if (v->kind == CKPT_VERDICT_KEEP) {
        (void)snprintf(text, size, "keep: %s less than %s ago", what, duration);
    } else {
        (void)snprintf(text, size, "rotate: %s", what);
    }
}

void ckpt_policy_explain(const struct ckpt_policy_verdict *v, char *text, size_t size)
{
    static const char *const plain[] = {
        [CKPT_REASON_WRITING] = "keep: being written",
        [CKPT_REASON_ONLY] = "keep: the only one",
        [CKPT_REASON_LATEST] = "keep: latest",
        [CKPT_REASON_PINNED] = "keep: pinned",
        [CKPT_REASON_TAGGED] = "keep: tagged",
        [CKPT_REASON_PARENT] = "keep: parent of a running run",
        [CKPT_REASON_OPEN] = "keep: open",
        [CKPT_REASON_ALIAS] = "keep: a live name needs it",
        [CKPT_REASON_DEFAULT] = "keep: there is no keep rule",
        [CKPT_REASON_NO_RULE] = "rotate: no rule keeps it",
        [CKPT_REASON_SNAPSHOT] = "rotate: overwritten between two snapshots",
        [CKPT_REASON_QUOTA] = "rotate: over quota",
        [CKPT_REASON_SPACE] = "rotate: space is needed",
        [CKPT_REASON_DROPPED] = "rotated",
    };
    switch (v->reason) {
    case CKPT_REASON_BEST:
        explain_best(v, text, size);
        break;
    case CKPT_REASON_RULE:
        explain_rule(v, text, size);
        break;
    case CKPT_REASON_UNRANKED:
    case CKPT_REASON_DIRECTION:
        explain_unranked(v, text, size);
        break;
    case CKPT_REASON_OVERWRITTEN:
        explain_grace(v, "overwritten", text, size);
        break;
    case CKPT_REASON_DELETED:
        explain_grace(v, "deleted", text, size);
        break;
    case CKPT_REASON_INVALID:
        explain_grace(v, "invalid", text, size);
        break;
    default:
        (void)snprintf(text, size, "%s", plain[v->reason]);
        break;
    }
}
