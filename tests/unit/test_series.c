/*
 * Which points are values of which checkpoint. A point is written as metrics_samples.h does: "NAME VALUE", then
 * what is known of s STEP (o of Optuna's journal), e EPOCH, # TRIAL, c CHECKPOINT and t MILLISECONDS; without t,
 * r MILLISECONDS is when it was read.
 * So is a key, with p PREVIOUS STEP, n NUMBER, w MILLISECONDS when it was saved and q when the one before was.
 */
#include "unit.h"

#include "metrics/series.h"
#include <math.h>

enum { MS = 1000000, LINES = 12, TEXT = 512 };

static void parse_point(const char *text, struct ckpt_metric_point *point, char *name, int64_t *read_ns)
{
    int at = 0;
    *point = (struct ckpt_metric_point){.name = name, .source = CKPT_METRICS_CSV};
    *read_ns = 0;
    assert_int_equal(sscanf(text, "%255s %lf%n", name, &point->value, &at), 2);
    char *rest = (char *)text + at;
    while (*rest != '\0') {
        char field = rest[1];
        double number = strtod(rest + 2, &rest);
        switch (field) {
        case 's':
            point->has_step = true;
            point->step = (uint64_t)number;
            break;
        case 'e':
            point->has_epoch = true;
            point->epoch = number;
            break;
        case '#':
            point->has_trial = true;
            point->trial = (uint64_t)number;
            break;
        case 'c':
            point->has_checkpoint = true;
            point->checkpoint = (uint64_t)number;
            break;
        case 'o':
            point->source = CKPT_METRICS_OPTUNA;
            point->has_step = true;
            point->step = (uint64_t)number;
            break;
        case 't':
            point->time_ns = (int64_t)number * MS;
            break;
        case 'r':
            *read_ns = (int64_t)number * MS;
            break;
        default:
            fail();
        }
    }
}

static struct ckpt_join_key parse_key(const char *text)
{
    struct ckpt_join_key key = {0};
    char *rest = (char *)text;
    while (*rest != '\0') {
        rest += *rest == ' ' ? 1 : 0;
        char field = *rest;
        uint64_t number = strtoull(rest + 1, &rest, 10);
        switch (field) {
        case 's':
            key.has_step = true;
            key.step = number;
            break;
        case 'p':
            key.has_previous_step = true;
            key.previous_step = number;
            break;
        case 'e':
            key.has_epoch = true;
            key.epoch = number;
            break;
        case 'n':
            key.has_number = true;
            key.number = number;
            break;
        case '#':
            key.has_trial = true;
            key.trial = number;
            break;
        case 'w':
            key.saved_ns = (int64_t)number * MS;
            break;
        case 'q':
            key.previous_ns = (int64_t)number * MS;
            break;
        default:
            fail();
        }
    }
    return key;
}

/* Whether that changed something. */
static bool add(struct ckpt_series *series, const char *path, const char *text)
{
    char name[CKPT_METRIC_NAME_MAX + 1];
    struct ckpt_metric_point point;
    int64_t read_ns = 0;
    unsigned source = 0;
    bool changed = false;
    parse_point(text, &point, name, &read_ns);
    assert_ok(ckpt_series_source(series, path, &source));
    assert_ok(ckpt_series_add(series, source, &point, read_ns, &changed));
    return changed;
}

static const char *join(struct ckpt_series *series, const char *key_text, char text[TEXT])
{
    static const char *const by[] = {"step", "epoch", "time", "trial"};
    struct ckpt_join_key key = parse_key(key_text);
    struct ckpt_joined *list = NULL;
    size_t count = 0;
    int n = 0;
    text[0] = '\0';
    assert_ok(ckpt_series_join(series, &key, &list, &count));
    for (size_t i = 0; i < count; i++) {
        n += snprintf(text + n, TEXT - (size_t)n, "%s%s %g %s", i == 0 ? "" : ", ", list[i].name, list[i].value,
                      by[list[i].by]);
        assert_true(list[i].source == CKPT_METRICS_CSV || list[i].source == CKPT_METRICS_OPTUNA);
        assert_non_null(list[i].path);
    }
    free(list);
    return text;
}

struct row {
    const char *what;
    const char *points[LINES];
    const char *key;
    const char *joined;
};

static const struct row rows[] = {
    /* by step */
    {"exactly", {"loss 3 s100", "loss 2 s200", "loss 1 s300"}, "s200", "loss 2 step"},
    {"written again", {"loss 3 s100", "loss 2 s200", "loss 9 s100"}, "s100", "loss 9 step"},
    {"out of order", {"loss 3 s300", "loss 1 s100", "loss 2 s200", "loss 4 s100"}, "s100", "loss 4 step"},
    {"evaluation every 100 steps", {"loss 3 s300", "loss 2 s400", "loss 1 s500"}, "s450 p300", "loss 2 step"},
    {"no evaluation since the checkpoint before", {"loss 3 s300", "loss 2 s400"}, "s450 p400", ""},
    {"training went back", {"loss 3 s300", "loss 2 s400"}, "s350 p400", "loss 3 step"},
    {"nothing yet", {"loss 3 s300"}, "s200", ""},
    {"NaN is a value", {"loss nan s100", "loss inf s200"}, "s100", "loss nan step"},
    {"NaN isn't passed over", {"loss 1 s90", "loss nan s100"}, "s110", "loss nan step"},
    {"a step that counts within the epoch",
     {"loss 1 e0 s10", "loss 2 e1 s10", "loss 3 e2 s10"},
     "e1 s10",
     "loss 2 step"},
    {"an epoch that counts from elsewhere", {"loss 1 e0 s10", "loss 2 e1 s20"}, "e2 s20", "loss 2 step"},
    {"two spellings", {"val/loss 1 s10", "val_loss 2 s20", "valLoss 3 s30"}, "s20", "val/loss 2 step"},
    {"two metrics", {"a 1 s10", "b 2 s10"}, "s10", "a 1 step, b 2 step"},

    /* by epoch */
    {"Keras", {"loss 3 e1", "loss 2 e2"}, "e2", "loss 2 epoch"},
    {"fractions belong to the epoch that they end in",
     {"loss 5 e0.5", "loss 4 e1", "loss 3 e1.5", "loss 2 e2", "loss 1 e2.5"},
     "e2",
     "loss 2 epoch"},
    {"the last fraction", {"loss 4 e1", "loss 3 e1.25", "loss 2 e1.75"}, "e2", "loss 2 epoch"},
    {"the last step of the epoch", {"loss 3 e1 s10", "loss 2 e1 s20", "loss 1 e2 s30"}, "e1", "loss 2 epoch"},
    {"not past the step", {"loss 3 e1 s10", "loss 2 e1 s20"}, "e1 s15", "loss 3 epoch"},
    {"another epoch", {"loss 3 e1"}, "e2", ""},
    {"losses by step and metrics by epoch",
     {"loss 4 e0 s50", "loss 3 e0 s100", "val 0.5 e0 s100", "loss 2 e1 s150", "loss 1 e1 s200",
      "val 0.6 e1 s200"},
     "e0 s100",
     "loss 3 step, val 0.5 step"},
    {"the same with separate files",
     {"loss 3 s100", "loss 2 s150", "loss 1 s200", "val 0.5 e0", "val 0.6 e1"},
     "e1 s200 p100",
     "loss 1 step, val 0.6 epoch"},

    /* by time */
    {"newest one before", {"loss 3 t1000", "loss 2 t2000", "loss 1 t9000"}, "w5000", "loss 2 time"},
    {"after the checkpoint before", {"loss 3 t1000"}, "w60000 q30000", ""},
    {"just after", {"loss 3 t61500"}, "w60000", "loss 3 time"},
    {"long after", {"loss 3 t62500"}, "w60000", ""},
    {"who logs after saving", {"loss 3 t60500", "loss 2 t120500"}, "w120000 q60000", "loss 2 time"},
    {"saved every second", {"loss 3 t1000", "loss 2 t2000", "loss 1 t3000"}, "w2050 q1050", "loss 2 time"},
    {"when it was read", {"loss 3 r1000", "loss 2 r5000"}, "w4000", "loss 3 time"},
    {"steps without a step to compare", {"loss 3 s1 t1000", "loss 2 s2 t2000"}, "e7 w2500", "loss 2 time"},
    {"not against the step", {"loss 3 s400 t31000"}, "s450 p400 w60000 q30000", ""},
    {"not against the epoch", {"loss 3 e4 t31000"}, "e5 w60000 q30000", ""},
    {"times aren't known", {"loss 3"}, "w60000", ""},
    {"and of the checkpoint neither", {"loss 3 t1000"}, "", ""},
    {"step, not time", {"loss 3 s100 t1000", "loss 2 s200 t9000"}, "s200 w5000", "loss 2 step"},

    /* bare numbers */
    {"a step, by time", {"loss 3 s12 e1 t1000", "loss 2 s24 e2 t2000"}, "n24 w2500", "loss 2 step"},
    {"an epoch, by time",
     {"loss 3 s1 e1 t1000", "loss 2 s2 e1 t2000", "loss 1 s3 e2 t3000"},
     "n1 w2500",
     "loss 2 epoch"},
    {"an epoch", {"loss 3 s12 e1", "loss 2 s24 e2"}, "n2", "loss 2 epoch"},
    {"a step", {"loss 3 s12 e1", "loss 2 s24 e2"}, "n24", "loss 2 step"},
    {"not if the unit is known", {"loss 3 s2", "loss 2 e2"}, "n2 e7 s9 p5", ""},

    /* reports that say which checkpoint they are about */
    {"its report", {"loss 3 s1 c0", "loss 2 s2 c1", "loss 1 s3 c2"}, "n1", "loss 2 step"},
    {"not the report of its number", {"loss 3 s1 c0", "loss 2 s2 c1"}, "n2", ""},
    {"nor one at its time", {"loss 3 s1 c0 t1000", "loss 2 s2 c1 t2000"}, "n2 w2500", ""},
    {"whatever the step", {"loss 3 s10 c0", "loss 2 s20 c1"}, "s10 n1", "loss 2 step"},
    {"what was reported without a checkpoint before it",
     {"loss 4 s1", "val 1 s1", "loss 3 s2 c0", "loss 2 s3", "loss 1 s4 c1"},
     "n0",
     "loss 3 step, val 1 step"},
    {"what has no number joins as ever", {"loss 3 s1 c0", "loss 2 s2 c1"}, "s1", "loss 3 step"},

    /* trials */
    {"its own", {"loss 3 s1 #0", "loss 2 s1 #1"}, "s1 #1", "loss 2 step"},
    {"nobody knows which", {"loss 3 s1 #0", "loss 2 s1 #1"}, "s1", ""},
    {"there is one", {"loss 3 s1 #4", "loss 2 s2 #4"}, "s2", "loss 2 step"},
    {"the value of a trial", {"value 0.5 #0", "value 0.25 #1"}, "#1 s100", "value 0.25 trial"},
    {"what has no trial counts for all", {"loss 3 s1"}, "s1 #1", "loss 3 step"},
    {"Optuna's steps are epochs", {"x 3 o1 #0", "x 2 o2 #0", "x 1 o3 #0"}, "e2", "x 2 epoch"},
    {"or steps, if there are such", {"x 3 o1 #0", "x 2 o2 #0"}, "e2 s1", "x 3 step"},
    {"an epoch that wasn't reported", {"x 3 o1 #0 t1000", "x 2 o2 #0 t2000"}, "e3 w2500", ""},
    {"of two trials neither", {"x 3 o1 #0", "x 2 o1 #1"}, "e1", ""},
};

static void a_checkpoint_gets_its_points(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct ckpt_series *series = NULL;
        char text[TEXT];
        assert_ok(ckpt_series_create(&series));
        for (size_t j = 0; j < LINES && rows[i].points[j] != NULL; j++) {
            add(series, "a.csv", rows[i].points[j]);
        }
        if (strcmp(join(series, rows[i].key, text), rows[i].joined) != 0) {
            print_error("%s: \"%s\", not \"%s\"\n", rows[i].what, text, rows[i].joined);
            fail();
        }
        ckpt_series_free(series);
    }
}

static void where_training_was(void **state)
{
    (void)state;
    static const struct {
        const char *points[LINES];
        int64_t ms;
        const char *place;
    } cases[] = {
        {{"loss 1 s10 e1 t1000", "loss 1 s20 e2 t2000"}, 1500, "s10 e1"},
        {{"loss 1 s10 e1 t1000", "loss 1 s20 e2 t2000"}, 500, "nothing"},
        {{"loss 1 s10 t1000", "val 1 e3 t800", "loss 1 s20 t2000"}, 1500, "s10 e3"},
        {{"loss 1 s10 e0.5 r1000", "loss 1 s20 e1.5 r1000"}, 1500, "s20 e2"},
        {{"loss 1 s10 #3 t1000"}, 1500, "nothing"},
        {{"loss 1 t1000"}, 1500, "nothing"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ckpt_series *series = NULL;
        struct ckpt_series_place place;
        char text[TEXT] = "nothing";
        assert_ok(ckpt_series_create(&series));
        for (size_t j = 0; j < LINES && cases[i].points[j] != NULL; j++) {
            add(series, "a.csv", cases[i].points[j]);
        }
        if (ckpt_series_at_time(series, cases[i].ms * MS, &place)) {
            int n = place.has_step ? snprintf(text, TEXT, "s%llu", (unsigned long long)place.step) : 0;
            if (place.has_epoch) {
                snprintf(text + n, TEXT - (size_t)n, " e%llu", (unsigned long long)place.epoch);
            }
        }
        assert_string_equal(text, cases[i].place);
        ckpt_series_free(series);
    }
}

static void where_training_was_by_reports(void **state)
{
    (void)state;
    static const struct {
        const char *points[LINES];
        const char *key;
        const char *place;
    } cases[] = {
        {{"loss 1 s1 c0 t1000", "loss 1 s2 c1 t2000"}, "n0 w2500", "s1"},
        {{"loss 1 s10 e1 c0 t1000", "loss 1 s20 e2 c1 t2000"}, "n1 w500", "s20 e2"},
        {{"loss 1 s1 c0 t1000"}, "n1 w2500", "nothing"},
        {{"loss 1 s1 c0 t1000"}, "w2500", "s1"},
        {{"loss 1 s1 t1000"}, "n7 w2500", "s1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ckpt_series *series = NULL;
        struct ckpt_series_place place;
        struct ckpt_join_key key = parse_key(cases[i].key);
        char text[TEXT] = "nothing";
        assert_ok(ckpt_series_create(&series));
        for (size_t j = 0; j < LINES && cases[i].points[j] != NULL; j++) {
            add(series, "a.csv", cases[i].points[j]);
        }
        if (ckpt_series_find_place(series, &key, &place)) {
            int n = place.has_step ? snprintf(text, TEXT, "s%llu", (unsigned long long)place.step) : 0;
            if (place.has_epoch) {
                snprintf(text + n, TEXT - (size_t)n, " e%llu", (unsigned long long)place.epoch);
            }
        }
        assert_string_equal(text, cases[i].place);
        ckpt_series_free(series);
    }
}

static void which_checkpoints_points_may_be_about(void **state)
{
    (void)state;
    static const struct {
        const char *points[LINES];
        const char *key;
        enum ckpt_series_touch touch;
    } cases[] = {
        {{NULL}, "s100 w1000", CKPT_TOUCH_LATER},
        {{"loss 1 s100"}, "s100 p50", CKPT_TOUCH_IT},
        {{"loss 1 s51"}, "s100 p50", CKPT_TOUCH_IT},
        {{"loss 1 s50"}, "s100 p50", CKPT_TOUCH_EARLIER},
        {{"loss 1 s101"}, "s100 p50", CKPT_TOUCH_LATER},
        {{"loss 1 s0"}, "s0", CKPT_TOUCH_IT},
        {{"loss 1 s7"}, "s100", CKPT_TOUCH_IT},
        {{"loss 1 s50"}, "s40 p50", CKPT_TOUCH_LATER},
        {{"loss 1 s30"}, "s40 p50", CKPT_TOUCH_IT}, /* training went back */
        {{"loss 1 s10", "loss 1 s200"}, "s100 p50", CKPT_TOUCH_IT}, /* one span for all */
        {{"loss 1 e1.5"}, "e2", CKPT_TOUCH_IT},
        {{"loss 1 e2"}, "e2", CKPT_TOUCH_IT},
        {{"loss 1 e2.5"}, "e2", CKPT_TOUCH_LATER},
        {{"loss 1 e1"}, "e2", CKPT_TOUCH_EARLIER},
        {{"x 1 o2 #0"}, "e2", CKPT_TOUCH_IT},
        {{"x 1 o3 #0"}, "e2", CKPT_TOUCH_LATER},
        {{"loss 1 s5"}, "n5", CKPT_TOUCH_IT},
        {{"loss 1 s6 e5"}, "n5", CKPT_TOUCH_IT},
        {{"loss 1 s6 e6"}, "n5", CKPT_TOUCH_LATER},
        {{"loss 1 s6 c5"}, "n5", CKPT_TOUCH_IT},
        {{"loss 1 s6 c4"}, "n5", CKPT_TOUCH_EARLIER},
        {{"loss 1 t1000"}, "s100 w1000", CKPT_TOUCH_IT},
        {{"loss 1 t3000"}, "s100 w1000", CKPT_TOUCH_IT}, /* who logs after saving */
        {{"loss 1 t3001"}, "s100 w1000", CKPT_TOUCH_LATER},
        {{"loss 1 t1000"}, "s100 w9000 q1000", CKPT_TOUCH_EARLIER},
        {{"loss 1 t1000"}, "w9000 q1000", CKPT_TOUCH_IT}, /* it says where training was */
        {{"loss 1 s101 t9000"}, "s100 w1000", CKPT_TOUCH_LATER},
        {{"loss 1 s7 t90000"}, "s100 p50 w1000", CKPT_TOUCH_EARLIER},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ckpt_series *series = NULL;
        struct ckpt_series_news news = {0};
        struct ckpt_series_news again = {0};
        struct ckpt_join_key key = parse_key(cases[i].key);
        assert_ok(ckpt_series_create(&series));
        for (size_t j = 0; j < LINES && cases[i].points[j] != NULL; j++) {
            add(series, "a.csv", cases[i].points[j]);
        }
        ckpt_series_take_news(series, &news);
        if (ckpt_series_touches(&news, &key) != cases[i].touch) {
            print_error("%s: %d, not %d\n", cases[i].key, ckpt_series_touches(&news, &key), cases[i].touch);
            fail_msg("case %zu", i);
        }
        ckpt_series_take_news(series, &again);
        assert_false(ckpt_series_any_news(&again));
        ckpt_series_forget(series, "a.csv");
        ckpt_series_take_news(series, &again);
        assert_memory_equal(&news, &again, sizeof news); /* what goes is news too */
        ckpt_series_all_news(&news);
        assert_int_equal(ckpt_series_touches(&news, &key), CKPT_TOUCH_IT);
        ckpt_series_free(series);
    }
}

static void what_is_said_again_changes_nothing(void **state)
{
    (void)state;
    struct ckpt_series *series = NULL;
    char text[TEXT];
    assert_ok(ckpt_series_create(&series));
    assert_true(add(series, "a", "loss 3 s1 r1000"));
    assert_true(add(series, "a", "loss nan s2 r1000"));
    assert_false(add(series, "a", "loss 3 s1 r9000"));
    assert_false(add(series, "b", "loss nan s2 r9000"));
    struct ckpt_series_news news = {0};
    ckpt_series_take_news(series, &news);
    news = (struct ckpt_series_news){0};
    assert_false(add(series, "b", "loss nan s2 r9500"));
    ckpt_series_take_news(series, &news);
    assert_false(ckpt_series_any_news(&news));
    assert_int_equal(ckpt_series_points(series), 2);
    assert_string_equal(join(series, "w2000", text), "loss nan time"); /* of the first reading */
    assert_true(add(series, "b", "loss 4 s1 r9000"));
    assert_int_equal(ckpt_series_points(series), 2);
    ckpt_series_free(series);
}

static void a_file_is_forgotten(void **state)
{
    (void)state;
    struct ckpt_series *series = NULL;
    char text[TEXT];
    assert_ok(ckpt_series_create(&series));
    add(series, "a", "x 1 s1");
    add(series, "a", "y 1 s1");
    add(series, "b", "y 2 s2");
    add(series, "b", "z 2 s1");
    add(series, "b", "x 5 s1"); /* b's from now on */
    assert_int_equal(ckpt_series_forget(series, "c"), 0);
    assert_int_equal(ckpt_series_forget(series, "a"), 1);
    assert_string_equal(join(series, "s2", text), "x 5 step, y 2 step, z 2 step");
    assert_int_equal(ckpt_series_forget(series, "b"), 3);
    assert_int_equal(ckpt_series_points(series), 0);
    assert_string_equal(join(series, "s2", text), "");
    add(series, "a", "z 7 s1");
    assert_string_equal(join(series, "s1", text), "z 7 step");
    ckpt_series_free(series);
}

static void add_number(struct ckpt_series *series, unsigned source, const char *name, uint64_t step)
{
    struct ckpt_metric_point point = {
        .name = name, .value = (double)step, .has_step = true, .step = step, .source = CKPT_METRICS_CSV};
    bool changed = false;
    assert_ok(ckpt_series_add(series, source, &point, 0, &changed));
}

static void old_points_are_thinned(void **state)
{
    (void)state;
    struct ckpt_series *series = NULL;
    unsigned source = 0;
    char text[TEXT];
    const uint64_t n = 3 * (uint64_t)CKPT_SERIES_POINTS;
    assert_ok(ckpt_series_create(&series));
    assert_ok(ckpt_series_source(series, "a", &source));
    for (uint64_t i = 0; i < n; i++) {
        add_number(series, source, "loss", i);
        assert_true(ckpt_series_points(series) <= CKPT_SERIES_POINTS);
    }
    assert_true(ckpt_series_points(series) > CKPT_SERIES_POINTS / 2);
    for (uint64_t i = n - 100; i < n; i++) {
        char key[64];
        char expected[64];
        snprintf(key, sizeof key, "s%llu", (unsigned long long)i);
        snprintf(expected, sizeof expected, "loss %g step", (double)i);
        assert_string_equal(join(series, key, text), expected);
    }
    assert_string_not_equal(join(series, "s1000", text), ""); /* the last one before it */
    ckpt_series_free(series);
}

static void backwards_and_twice_is_bounded_too(void **state)
{
    (void)state;
    struct ckpt_series *series = NULL;
    unsigned source = 0;
    assert_ok(ckpt_series_create(&series));
    assert_ok(ckpt_series_source(series, "a", &source));
    for (uint64_t i = 2 * (uint64_t)CKPT_SERIES_POINTS; i > 0; i--) {
        add_number(series, source, "loss", i);
        add_number(series, source, "loss", i);
    }
    assert_in_range(ckpt_series_points(series), 1, CKPT_SERIES_POINTS);
    ckpt_series_free(series);
}

static void all_metrics_together_are_bounded(void **state)
{
    (void)state;
    struct ckpt_series *series = NULL;
    struct ckpt_join_key key = {.has_step = true, .step = 2999};
    struct ckpt_joined *list = NULL;
    size_t count = 0;
    unsigned source = 0;
    assert_ok(ckpt_series_create(&series));
    assert_ok(ckpt_series_source(series, "a", &source));
    for (uint64_t step = 0; step < 3000; step++) {
        for (unsigned i = 0; i < CKPT_SERIES_NAMES + 10; i++) {
            char name[32];
            snprintf(name, sizeof name, "metric_%u", i);
            add_number(series, source, name, step);
        }
        assert_true(ckpt_series_points(series) <= CKPT_SERIES_TOTAL);
    }
    assert_ok(ckpt_series_join(series, &key, &list, &count));
    assert_int_equal(count, CKPT_SERIES_NAMES);
    for (size_t i = 0; i < count; i++) {
        assert_true(list[i].value == 2999);
    }
    free(list);
    ckpt_series_free(series);
}

static void files_without_points_make_room(void **state)
{
    (void)state;
    struct ckpt_series *series = NULL;
    unsigned source = 0;
    assert_ok(ckpt_series_create(&series));
    for (unsigned i = 0; i < 2 * CKPT_SERIES_SOURCES; i++) {
        char path[64];
        snprintf(path, sizeof path, "checkpoint-%u/trainer_state.json", i);
        add(series, path, "loss 1 s1"); /* each says what the one before said */
    }
    for (unsigned i = 0; i < CKPT_SERIES_SOURCES - 1; i++) {
        char text[32];
        snprintf(text, sizeof text, "loss 1 s%u", i + 2);
        add(series, text, text);
    }
    assert_int_equal(ckpt_series_source(series, "one more", &source), CKPT_ERR_NEEDED);
    assert_true(ckpt_series_forget(series, "loss 1 s2") > 0);
    assert_ok(ckpt_series_source(series, "one more", &source));
    ckpt_series_free(series);
    ckpt_series_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_checkpoint_gets_its_points),
        cmocka_unit_test(where_training_was),
        cmocka_unit_test(where_training_was_by_reports),
        cmocka_unit_test(which_checkpoints_points_may_be_about),
        cmocka_unit_test(what_is_said_again_changes_nothing),
        cmocka_unit_test(a_file_is_forgotten),
        cmocka_unit_test(old_points_are_thinned),
        cmocka_unit_test(backwards_and_twice_is_bounded_too),
        cmocka_unit_test(all_metrics_together_are_bounded),
        cmocka_unit_test(files_without_points_make_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
