/*
 * Policies as people write them: what is understood, how it is printed, and what is said about
 * mistakes.
 */
#include "unit.h"

#include <ckpt/policy.h>

enum { PRINTED = 16384 };

/* Parsing what is printed gives the same policy and the same text. */
static void check_round_trip(const struct ckpt_policy *policy)
{
    char *text = malloc(PRINTED);
    char *again = malloc(PRINTED);
    struct ckpt_policy parsed;
    struct ckpt_policy_error error;
    assert_non_null(text);
    assert_non_null(again);
    size_t n = ckpt_policy_print(policy, text, PRINTED);
    assert_in_range(n, 0, PRINTED - 1);
    if (ckpt_policy_parse(text, n, &parsed, &error) != CKPT_OK) {
        print_error("%s\n%s\n", text, error.text);
        fail();
    }
    assert_memory_equal(policy, &parsed, sizeof parsed);
    assert_int_equal(ckpt_policy_print(&parsed, again, PRINTED), n);
    assert_string_equal(text, again);
    free(again);
    free(text);
}

static const struct {
    const char *text;
    const char *printed;
} good_texts[] = {
    {"", ""},
    {"\n\n  \n\t\r\n", ""},
    {"# nothing\n   # at all", ""},
    {"keep last 5", "keep last 5\n"},
    {"keep last 5\n", "keep last 5\n"},
    {"\tkeep   last\t5  # five\r\n", "keep last 5\n"},
    {"keep last 00005", "keep last 5\n"},
    {"keep last 5#", NULL},
    {"keep best 3", "keep best 3\n"},
    {"keep best 2 by val_acc", "keep best 2 by val_acc\n"},
    {"keep best 2 by a#b", "keep best 2 by a#b\n"},
    {"keep best 2 by val/acc@5=\xc3\xa4", "keep best 2 by val/acc@5=\xc3\xa4\n"},
    {"keep best 2 by by", "keep best 2 by by\n"},
    {"keep every 10 epochs", "keep every 10 epochs\n"},
    {"keep every 1 epoch", "keep every 1 epochs\n"},
    {"keep every 1000 steps", "keep every 1000 steps\n"},
    {"keep every 1 step", "keep every 1 steps\n"},
    {"keep every 2h", "keep every 2h\n"},
    {"keep every 120m", "keep every 2h\n"},
    {"keep every 90m", "keep every 90m\n"},
    {"keep every 90s", "keep every 90s\n"},
    {"keep every 2w", "keep every 14d\n"},
    {"keep every 36500d", "keep every 36500d\n"},
    {"keep first", "keep first\n"},
    {"keep within 7d", "keep within 7d\n"},
    {"keep thinning 1h:24 1d:7 1w:8", "keep thinning 1h:24 1d:7 1w:8\n"},
    {"keep thinning 7d:8", "keep thinning 1w:8\n"},
    {"keep last 1\nkeep last 1", "keep last 1\nkeep last 1\n"},
    {"metric val_loss min", "metric val_loss min\n"},
    {"metric min max", "metric min max\n"},
    {"metric val_loss min min-delta 0.001 smooth 3",
     "metric val_loss min min-delta 0.001 smooth 3\n"},
    {"metric val_loss min smooth 3 min-delta 1e-3",
     "metric val_loss min min-delta 0.001 smooth 3\n"},
    {"metric a max min-delta 0 smooth 1", "metric a max\n"},
    {"metric a max min-delta 0.1", "metric a max min-delta 0.1\n"},
    {"metric a max min-delta 0.10000000000000001", "metric a max min-delta 0.1\n"},
    {"metric a max min-delta 0.30000000000000004", "metric a max min-delta 0.30000000000000004\n"},
    {"metric a max min-delta 5e-324", "metric a max min-delta 5e-324\n"},
    {"snapshot every 30m", "snapshot every 30m\n"},
    {"grace 7d", "grace 7d\n"},
    {"grace 0", "grace 0s\n"},
    {"grace 0h", "grace 0s\n"},
    {"quota 500G", "quota 500G\n"},
    {"quota 1.5T", "quota 1536G\n"},
    {"quota 1", "quota 1\n"},
    {"quota 9007199254740993", "quota 8P\n"},
    {"hot 20GiB", "hot 20G\n"},
    {"hot 0", "hot 0\n"},
    {"patience 5", "patience 5\n"},
    {"patience 3\nhot 1M\nquota 2K\ngrace 1h\nsnapshot every 1d\nkeep first\nmetric b "
     "max\nkeep last 2\nmetric a min",
     "metric b max\nmetric a min\nkeep first\nkeep last 2\nsnapshot every 1d\ngrace 1h\nquota "
     "2K\nhot 1M\n"
     "patience 3\n"},
};

static void test_good_texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof good_texts / sizeof good_texts[0]; i++) {
        struct ckpt_policy policy;
        struct ckpt_policy_error error = {0};
        char printed[1024];
        enum ckpt_err err =
            ckpt_policy_parse(good_texts[i].text, strlen(good_texts[i].text), &policy, &error);
        if (good_texts[i].printed == NULL) { /* only at the start of a word a comment begins */
            assert_int_equal(err, CKPT_ERR_INVALID);
            continue;
        }
        if (err != CKPT_OK) {
            print_error("\"%s\": %s\n", good_texts[i].text, error.text);
            fail();
        }
        assert_int_equal(ckpt_policy_print(&policy, printed, sizeof printed),
                         strlen(good_texts[i].printed));
        assert_string_equal(printed, good_texts[i].printed);
        check_round_trip(&policy);
    }
}

static void test_what_is_understood(void **state)
{
    static const char text[] =
        "metric val_loss min min-delta 0.25 smooth 3\nkeep every 2h\nquota 3K\n"
        "keep thinning 1h:24 1w:8\nkeep best 2 by acc\n";
    struct ckpt_policy policy;
    (void)state;
    assert_ok(ckpt_policy_parse(text, sizeof text - 1, &policy, NULL));
    assert_int_equal(policy.n_metrics, 1);
    assert_string_equal(policy.metrics[0].name, "val_loss");
    assert_int_equal(policy.metrics[0].direction, CKPT_DIRECTION_MIN);
    assert_true(policy.metrics[0].min_delta == 0.25);
    assert_int_equal(policy.metrics[0].smooth, 3);
    assert_int_equal(policy.n_rules, 3);
    assert_int_equal(policy.rules[0].kind, CKPT_RULE_EVERY);
    assert_int_equal(policy.rules[0].duration_ns, INT64_C(7200) * 1000000000);
    assert_int_equal(policy.rules[1].kind, CKPT_RULE_THINNING);
    assert_int_equal(policy.rules[1].n_thinnings, 2);
    assert_int_equal(policy.rules[1].thinnings[1].step_ns, INT64_C(604800) * 1000000000);
    assert_int_equal(policy.rules[1].thinnings[1].count, 8);
    assert_int_equal(policy.rules[2].kind, CKPT_RULE_BEST);
    assert_string_equal(policy.rules[2].metric, "acc");
    assert_int_equal(policy.grace_ns, CKPT_POLICY_GRACE_DEFAULT);
    assert_false(policy.has_grace);
    assert_true(policy.has_quota);
    assert_int_equal(policy.quota, 3072);
    assert_false(policy.has_hot);
}

#define EVERY       "\"keep every 10 epochs\", \"keep every 1000 steps\" or \"keep every 2h\""
#define METRIC      "\"metric val_loss min min-delta 0.001 smooth 3\""
#define NO_DURATION "is no duration, which is a number and s, m, h, d or w, up to a century"
#define NO_SIZE     "is no size, which is a number of bytes or of K, M, G, T or P"
#define KEEP        "\"keep last 5\""
#define COUNT       "is no number from 1 to 1000000000000000"

static const struct {
    const char *text;
    unsigned line;
    const char *message; /* after "line N: " */
} mistakes[] = {
    {"keep lats 5", 1,
     "\"lats\" is not one of last, best, every, first, within, thinning; for example " KEEP},
    {"\n# x\nkepe last 5", 3,
     "\"kepe\" is not one of metric, keep, snapshot, grace, quota, hot, patience; for "
     "example " KEEP},
    {"Keep last 5", 1,
     "\"Keep\" is not one of metric, keep, snapshot, grace, quota, hot, patience; for "
     "example " KEEP},
    {"keep", 1,
     "\"keep\" must be followed by last, best, every, first, within or thinning; for "
     "example " KEEP},
    {"keep last", 1, "\"last\" must be followed by a number; for example " KEEP},
    {"keep last 0", 1, "\"0\" " COUNT "; for example " KEEP},
    {"keep last -1", 1, "\"-1\" " COUNT "; for example " KEEP},
    {"keep last 1e3", 1, "\"1e3\" " COUNT "; for example " KEEP},
    {"keep last five", 1, "\"five\" " COUNT "; for example " KEEP},
    {"keep last 1000000000000001", 1, "\"1000000000000001\" " COUNT "; for example " KEEP},
    {"keep last 99999999999999999999999", 1,
     "\"99999999999999999999999\" " COUNT "; for example " KEEP},
    {"keep last 5 epochs", 1, "\"epochs\" is too much here; for example " KEEP},
    {"keep best", 1,
     "\"best\" must be followed by a number; for example \"keep best 2 by val_acc\""},
    {"keep best 2 val_acc", 1,
     "\"val_acc\" is too much here, where only \"by METRIC\" may follow; for example \"keep "
     "best 2 by val_acc\""},
    {"keep best 2 by", 1,
     "\"by\" must be followed by the name of a metric; for example \"keep best 2 by val_acc\""},
    {"keep best 2 by a b", 1, "\"b\" is too much here; for example \"keep best 2 by val_acc\""},
    {"keep every", 1, "\"every\" must be followed by a duration or a number; for example " EVERY},
    {"keep every 10", 1, "\"10\" must be followed by epochs or steps; for example " EVERY},
    {"keep every 10 hours", 1, "\"hours\" is neither epochs nor steps; for example " EVERY},
    {"keep every 0 epochs", 1, "\"0\" " COUNT "; for example " EVERY},
    {"keep every 10 epochs now", 1, "\"now\" is too much here; for example " EVERY},
    {"keep every 2x", 1, "\"2x\" " NO_DURATION "; for example " EVERY},
    {"keep every h", 1, "\"h\" " NO_DURATION "; for example " EVERY},
    {"keep every 0h", 1, "\"0h\" " NO_DURATION "; for example " EVERY},
    {"keep every 1.5h", 1, "\"1.5h\" " NO_DURATION "; for example " EVERY},
    {"keep every 2h30m", 1, "\"2h30m\" " NO_DURATION "; for example " EVERY},
    {"keep every 36501d", 1, "\"36501d\" " NO_DURATION "; for example " EVERY},
    {"keep every 999999999999999999w", 1,
     "\"999999999999999999w\" " NO_DURATION "; for example " EVERY},
    {"keep every 2h x", 1, "\"x\" is too much here; for example " EVERY},
    {"keep first 1", 1, "\"1\" is too much here; for example \"keep first\""},
    {"keep within", 1, "\"within\" must be followed by a duration; for example \"keep within 7d\""},
    {"keep within 7", 1, "\"7\" " NO_DURATION "; for example \"keep within 7d\""},
    {"keep thinning", 1,
     "\"thinning\" must be followed by pairs of a duration and a number; for example \"keep "
     "thinning 1h:24 1d:7 1w:8\""},
    {"keep thinning 1h", 1,
     "\"1h\" is no pair DURATION:NUMBER; for example \"keep thinning 1h:24 1d:7 1w:8\""},
    {"keep thinning 1h:2 1d:0", 1,
     "\"1d:0\" is no pair DURATION:NUMBER; for example \"keep thinning 1h:24 1d:7 1w:8\""},
    {"keep thinning 0h:2", 1,
     "\"0h:2\" is no pair DURATION:NUMBER; for example \"keep thinning 1h:24 1d:7 1w:8\""},
    {"keep thinning :", 1,
     "\":\" is no pair DURATION:NUMBER; for example \"keep thinning 1h:24 1d:7 1w:8\""},
    {"keep thinning 1h:1 1h:1 1h:1 1h:1 1h:1 1h:1 1h:1 1h:1 1d:9", 1,
     "\"1d:9\" is one pair more than 8; for example \"keep thinning 1h:24 1d:7 1w:8\""},
    {"metric", 1, "\"metric\" must be followed by the name of a metric; for example " METRIC},
    {"metric a", 1, "\"a\" must be followed by min or max; for example " METRIC},
    {"metric a up", 1, "\"up\" is neither min nor max; for example " METRIC},
    {"metric a min min-delta", 1,
     "\"min-delta\" must be followed by a number; for example " METRIC},
    {"metric a min min-delta -1", 1, "\"-1\" is no number from 0; for example " METRIC},
    {"metric a min min-delta nan", 1, "\"nan\" is no number from 0; for example " METRIC},
    {"metric a min min-delta inf", 1, "\"inf\" is no number from 0; for example " METRIC},
    {"metric a min min-delta 1e999", 1, "\"1e999\" is no number from 0; for example " METRIC},
    {"metric a min min-delta 0x1", 1, "\"0x1\" is no number from 0; for example " METRIC},
    {"metric a min min-delta 1.2.3", 1, "\"1.2.3\" is no number from 0; for example " METRIC},
    {"metric a min smooth 101", 1, "\"101\" is no number from 1 to 100; for example " METRIC},
    {"metric a min smooth 2 smooth 2", 1,
     "\"smooth\" is too much here: after the direction come min-delta and smooth, once each; "
     "for example " METRIC},
    {"metric a min\nmetric b max\nmetric a max", 3,
     "\"a\" has a metric line already; for example " METRIC},
    {"snapshot", 1, "\"snapshot\" must be followed by every; for example \"snapshot every 30m\""},
    {"snapshot 30m", 1,
     "\"30m\" stands where \"every\" belongs; for example \"snapshot every 30m\""},
    {"snapshot every", 1,
     "\"every\" must be followed by a duration; for example \"snapshot every 30m\""},
    {"snapshot every 1m\nsnapshot every 1m", 2,
     "\"snapshot\" is set twice; for example \"snapshot every 30m\""},
    {"grace", 1, "\"grace\" must be followed by a duration; for example \"grace 7d\""},
    {"grace 7", 1, "\"7\" " NO_DURATION "; for example \"grace 7d\""},
    {"grace 7d\n\ngrace 7d", 3, "\"grace\" is set twice; for example \"grace 7d\""},
    {"quota", 1, "\"quota\" must be followed by a size; for example \"quota 500G\""},
    {"quota 0", 1, "\"0\" " NO_SIZE "; for example \"quota 500G\""},
    {"quota 5 G", 1, "\"G\" is too much here; for example \"quota 500G\""},
    {"quota lots", 1, "\"lots\" " NO_SIZE "; for example \"quota 500G\""},
    {"quota 1\nquota 2", 2, "\"quota\" is set twice; for example \"quota 500G\""},
    {"hot -1", 1, "\"-1\" " NO_SIZE "; for example \"hot 20G\""},
    {"hot 1\nhot 1", 2, "\"hot\" is set twice; for example \"hot 20G\""},
    {"patience", 1, "\"patience\" must be followed by a number; for example \"patience 5\""},
    {"patience 0", 1, "\"0\" " COUNT "; for example \"patience 5\""},
    {"patience 1\npatience 1", 2, "\"patience\" is set twice; for example \"patience 5\""},
    {"keep\x01 last 5", 1, "byte 0x01 is no text; for example " KEEP},
    {"1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17", 1, "more than 16 words; for example " KEEP},
};

static void test_mistakes(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        struct ckpt_policy policy;
        struct ckpt_policy before;
        struct ckpt_policy_error error = {0};
        char message[512];
        memset(&policy, 0x55, sizeof policy);
        before = policy;
        (void)snprintf(message, sizeof message, "line %u: %s", mistakes[i].line,
                       mistakes[i].message);
        enum ckpt_err err =
            ckpt_policy_parse(mistakes[i].text, strlen(mistakes[i].text), &policy, &error);
        if (err != CKPT_ERR_INVALID || error.line != mistakes[i].line ||
            strcmp(error.text, message) != 0) {
            print_error("\"%s\": %s\n", mistakes[i].text, error.text);
            fail();
        }
        assert_memory_equal(&policy, &before, sizeof policy);
        assert_int_equal(
            ckpt_policy_parse(mistakes[i].text, strlen(mistakes[i].text), &policy, NULL),
            CKPT_ERR_INVALID);
    }
}

/* LINE, with its number for %zu, so many times. */
static enum ckpt_err parse_many(const char *format, size_t n, struct ckpt_policy *policy,
                                struct ckpt_policy_error *error)
{
    char *text = malloc(64 * n + 1);
    size_t size = 0;
    assert_non_null(text);
    for (size_t i = 0; i < n; i++) {
        size += (size_t)snprintf(text + size, 64, "%s%zu\n", format, i + 1);
    }
    enum ckpt_err err = ckpt_policy_parse(text, size, policy, error);
    free(text);
    return err;
}

static void test_limits(void **state)
{
    struct ckpt_policy policy;
    struct ckpt_policy_error error;
    char *text = malloc(CKPT_POLICY_TEXT_MAX + 1);
    (void)state;
    assert_non_null(text);
    assert_ok(parse_many("keep last ", CKPT_POLICY_RULES_MAX, &policy, &error));
    check_round_trip(&policy);
    assert_int_equal(parse_many("keep last ", CKPT_POLICY_RULES_MAX + 1, &policy, &error),
                     CKPT_ERR_INVALID);
    assert_string_equal(error.text,
                        "line 33: \"last\" is one keep rule more than 32; for example " KEEP);

    memset(text, '\n', CKPT_POLICY_TEXT_MAX + 1);
    assert_ok(ckpt_policy_parse(text, CKPT_POLICY_TEXT_MAX, &policy, &error));
    assert_int_equal(ckpt_policy_parse(text, CKPT_POLICY_TEXT_MAX + 1, &policy, &error),
                     CKPT_ERR_INVALID);
    assert_string_equal(error.text,
                        "line 1: the policy has more than 65536 bytes; for example " KEEP);

    /* the longest name, and one byte more */
    size_t n = (size_t)snprintf(text, 64, "keep best 1 by ");
    memset(text + n, 'x', CKPT_POLICY_NAME_MAX + 1);
    assert_ok(ckpt_policy_parse(text, n + CKPT_POLICY_NAME_MAX, &policy, &error));
    assert_int_equal(strlen(policy.rules[0].metric), CKPT_POLICY_NAME_MAX);
    check_round_trip(&policy);
    assert_int_equal(ckpt_policy_parse(text, n + CKPT_POLICY_NAME_MAX + 1, &policy, &error),
                     CKPT_ERR_INVALID);
    assert_non_null(
        strstr(error.text, "xxx\" goes on: a word has up to 127 bytes; for example " KEEP));
    free(text);

    static const char zero[] = "keep last 5\0\n";
    assert_int_equal(ckpt_policy_parse(zero, sizeof zero - 1, &policy, &error), CKPT_ERR_INVALID);
    assert_string_equal(error.text, "line 1: byte 0x00 is no text; for example " KEEP);
}

/* As snprintf does: what fits, with a NUL, and the length that it has. */
static void test_little_room(void **state)
{
    static const char text[] = "keep last 5\ngrace 7d\n";
    struct ckpt_policy policy;
    (void)state;
    assert_ok(ckpt_policy_parse(text, sizeof text - 1, &policy, NULL));
    assert_int_equal(ckpt_policy_print(&policy, NULL, 0), sizeof text - 1);
    for (size_t size = 1; size <= sizeof text; size++) {
        char *room = malloc(size);
        assert_non_null(room);
        memset(room, 'x', size);
        assert_int_equal(ckpt_policy_print(&policy, room, size), sizeof text - 1);
        assert_int_equal(strlen(room), size - 1);
        assert_memory_equal(room, text, size - 1);
        free(room);
    }
}

static const char *const random_words[] = {
    "keep",
    "keep last 3\n",
    "keep best 2 by acc\n",
    "keep every 2h\n",
    "keep every 7 epochs\n",
    "keep first\n",
    "keep thinning 1h:24 1d:7\n",
    "metric acc max min-delta 0.03\n",
    "grace 3h\n",
    "quota 77M\n",
    "last",
    "best",
    "every",
    "first",
    "within",
    "thinning",
    "by",
    "metric",
    "min",
    "max",
    "min-delta",
    "smooth",
    "snapshot",
    "grace",
    "quota",
    "hot",
    "patience",
    "epochs",
    "steps",
    "1",
    "5",
    "0.001",
    "2h",
    "7d",
    "1w",
    "1h:24",
    "1d:7",
    "val_loss",
    "500G",
    "#",
    "\n",
    "\n",
    "\n",
    "\n",
    "99999999999",
    "-",
    "\xff",
    "\r",
    "1e-7",
    "0",
};

/* Words that make sense somewhere, in any order: often wrong, sometimes right, never harmful. */
static void test_random_texts(void **state)
{
    uint64_t seed = 4;
    size_t good = 0;
    (void)state;
    for (unsigned round = 0; round < 40000; round++) {
        char text[512];
        size_t n = 0;
        size_t count = unit_random(&seed) % 14;
        struct ckpt_policy policy;
        struct ckpt_policy_error error = {0};
        for (size_t i = 0; i < count; i++) {
            n += (size_t)snprintf(
                text + n, sizeof text - n, "%s ",
                random_words[unit_random(&seed) % (sizeof random_words / sizeof random_words[0])]);
        }
        if (round % 4 == 0 && n > 0) {
            text[unit_random(&seed) % n] = (char)unit_random(&seed);
        }
        enum ckpt_err err = ckpt_policy_parse(text, n, &policy, &error);
        if (err == CKPT_OK) {
            good += policy.n_rules > 0;
            check_round_trip(&policy);
        } else {
            assert_int_equal(err, CKPT_ERR_INVALID);
            assert_in_range(error.line, 1, 20);
            assert_in_range(strlen(error.text), 10, CKPT_POLICY_MESSAGE_MAX);
        }
    }
    assert_true(good > 100);
}

static void test_random_bytes(void **state)
{
    uint64_t seed = 5;
    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        size_t n = unit_random(&seed) % 300;
        uint8_t *bytes = unit_noise(n, round);
        struct ckpt_policy policy;
        struct ckpt_policy_error error;
        enum ckpt_err err = ckpt_policy_parse((const char *)bytes, n, &policy, &error);
        assert_true(err == CKPT_OK || err == CKPT_ERR_INVALID);
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_texts),   cmocka_unit_test(test_what_is_understood),
        cmocka_unit_test(test_mistakes),     cmocka_unit_test(test_limits),
        cmocka_unit_test(test_little_room),  cmocka_unit_test(test_random_texts),
        cmocka_unit_test(test_random_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
