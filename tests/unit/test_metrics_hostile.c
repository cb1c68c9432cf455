/*
 * Metric files that are cut, damaged, made to harm, or read while they grow. Every buffer is a block of its
 * own, so that a sanitizer sees the first byte that is read beyond it.
 */
#include "metrics_samples.h"

#include "common/bytes.h"
#include "common/crc32c.h"

#define MLFLOW "mlruns/0/0123456789abcdef0123456789abcdef/metrics/val/loss"

static const struct {
    const char *name;
    enum ckpt_metrics_kind kind;
} samples[] = {
    {"version_0/metrics.csv", CKPT_METRICS_LIGHTNING},
    {"training.log", CKPT_METRICS_KERAS},
    {"semicolon.csv", CKPT_METRICS_KERAS},
    {"ray/progress.csv", CKPT_METRICS_RAY_CSV},
    {"ray/result.json", CKPT_METRICS_RAY_JSON},
    {"checkpoint-300/trainer_state.json", CKPT_METRICS_HF},
    {"wandb-summary.json", CKPT_METRICS_WANDB},
    {"journal.log", CKPT_METRICS_OPTUNA},
    {MLFLOW, CKPT_METRICS_MLFLOW},
    {"events.out.tfevents.1700000000.host.4711.0", CKPT_METRICS_TFEVENTS},
};

enum { SAMPLES = sizeof samples / sizeof samples[0] };

static struct points *points_make(void)
{
    struct points *points = calloc(1, sizeof *points);
    assert_non_null(points);
    return points;
}

static void assert_prefix(const struct points *points, const struct points *all)
{
    assert_true(points->count <= all->count);
    for (size_t i = 0; i < points->count; i++) {
        assert_string_equal(points->text[i], all->text[i]);
    }
}

static void assert_same(const struct points *points, const struct points *all)
{
    assert_int_equal(points->count, all->count);
    assert_prefix(points, all);
}

static struct points *read_all(size_t i, const struct sample *sample)
{
    struct ckpt_metrics_mark mark = {0};
    struct points *points = points_make();
    assert_ok(metrics_read(samples[i].kind, samples[i].name, sample->bytes, sample->size, SIZE_MAX, &mark, points));
    assert_true(points->count > 0);
    return points;
}

/* A file that ends anywhere gives whole records only, and the rest of them when it has become whole. */
static void test_cut_at_every_byte(void **state)
{
    struct points *points = points_make();
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        struct sample sample = sample_read(samples[i].name);
        struct points *all = read_all(i, &sample);
        for (size_t cut = 0; cut < sample.size; cut++) {
            struct ckpt_metrics_mark mark = {0};
            points->count = 0;
            assert_ok(metrics_read(samples[i].kind, samples[i].name, sample.bytes, cut, SIZE_MAX, &mark, points));
            assert_true(mark.offset <= cut);
            assert_prefix(points, all);
            if (ckpt_metrics_is_whole(samples[i].kind)) {
                assert_true(points->count == 0 || points->count == all->count);
            }
            assert_ok(metrics_read(samples[i].kind, samples[i].name, sample.bytes, sample.size, SIZE_MAX, &mark, points));
            assert_same(points, all);
        }
        free(all);
        free(sample.bytes);
    }
    free(points);
}

static void test_every_bit_flipped(void **state)
{
    struct points *points = points_make();
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        struct sample sample = sample_read(samples[i].name);
        struct points *all = read_all(i, &sample);
        for (size_t bit = 0; bit < 8 * sample.size; bit++) {
            struct ckpt_metrics_mark mark = {0};
            points->count = 0;
            sample.bytes[bit / 8] ^= (char)(1 << bit % 8);
            enum ckpt_err err = metrics_read(samples[i].kind, samples[i].name, sample.bytes, sample.size, SIZE_MAX, &mark,
                                             points);
            sample.bytes[bit / 8] ^= (char)(1 << bit % 8);
            assert_true(err == CKPT_OK || err == CKPT_ERR_CORRUPT);
            assert_true(mark.offset <= sample.size);
            if (samples[i].kind == CKPT_METRICS_TFEVENTS) {
                /* Everything stands under a checksum. */
                assert_int_equal(err, CKPT_ERR_CORRUPT);
                assert_prefix(points, all);
                assert_true(points->count < all->count);
            }
        }
        free(all);
        free(sample.bytes);
    }
    free(points);
}

static void test_growing_in_random_pieces(void **state)
{
    uint64_t seed = 1;
    struct points *points = points_make();
    (void)state;
    for (size_t i = 0; i < SAMPLES; i++) {
        struct sample sample = sample_read(samples[i].name);
        struct points *all = read_all(i, &sample);
        for (size_t round = 0; round < 200; round++) {
            struct ckpt_metrics_mark mark = {0};
            size_t size = 0;
            points->count = 0;
            while (size < sample.size) {
                size += 1 + unit_random(&seed) % (round < 100 ? 10 : sample.size);
                size = size < sample.size ? size : sample.size;
                assert_ok(metrics_read(samples[i].kind, samples[i].name, sample.bytes, size, SIZE_MAX, &mark, points));
            }
            assert_int_equal(mark.offset, sample.size);
            assert_same(points, all);
        }
        free(all);
        free(sample.bytes);
    }
    free(points);
}

/* Random bytes out of those that mean something to the formats. */
static void test_noise(void **state)
{
    static const char alphabet[] = "{}[]\",:;\\\n\r\t 0123456789.eE+-NaNInfinitystepepochloss\xff\xc3\x00";
    static const char *const starts[] = {"", "epoch,a,b\n", "{\"training_iteration\":1,\"a\":", "{\"log_history\":[{\"a\":",
                                         "{\"op_code\":6,\"trial_id\":1,\"state\":1,\"values\":["};
    uint64_t seed = 2;
    struct points *points = points_make();
    (void)state;
    for (size_t round = 0; round < 20000; round++) {
        char text[256];
        const char *start = starts[unit_random(&seed) % (sizeof starts / sizeof starts[0])];
        size_t n = strlen(start);
        memcpy(text, start, n);
        for (size_t end = n + unit_random(&seed) % (sizeof text - n); n < end; n++) {
            text[n] = alphabet[unit_random(&seed) % sizeof alphabet];
        }
        size_t i = unit_random(&seed) % SAMPLES;
        struct ckpt_metrics_mark mark = {0};
        points->count = 0;
        enum ckpt_err err = metrics_read(samples[i].kind, samples[i].name, text, n, SIZE_MAX, &mark, points);
        assert_true(err == CKPT_OK || err == CKPT_ERR_CORRUPT);
        ckpt_metrics_kind_of("x.csv", text, n);
    }
    free(points);
}

/* ---- records that are too long ---- */

struct text {
    char *bytes;
    size_t size;
};

static struct text text_make(void)
{
    struct text text = {malloc(16 << 20), 0};
    assert_non_null(text.bytes);
    return text;
}

static void text_add(struct text *text, const char *what, size_t times)
{
    size_t n = strlen(what);
    assert_true(text->size + n * times <= 16 << 20);
    for (size_t i = 0; i < times; i++) {
        memcpy(text->bytes + text->size, what, n);
        text->size += n;
    }
}

static void read_in_windows(enum ckpt_metrics_kind kind, const struct text *text, const char *const *expected,
                            const char *what)
{
    static const size_t windows[] = {SIZE_MAX, CKPT_METRICS_WINDOW, CKPT_METRICS_RECORD_MAX + 16};
    struct points *points = points_make();
    for (size_t i = 0; i < sizeof windows / sizeof windows[0]; i++) {
        struct ckpt_metrics_mark mark = {0};
        points->count = 0;
        assert_ok(metrics_read(kind, MLFLOW, text->bytes, text->size, windows[i], &mark, points));
        points_equal(points, expected, what);
        assert_int_equal(mark.offset, text->size);
    }
    free(points);
}

static void test_lines_that_are_too_long(void **state)
{
    static const char *const expected[] = {"a 1 s1", "a 3 s3", NULL};
    struct text text = text_make();
    (void)state;
    text_add(&text, "{\"training_iteration\": 1, \"a\": 1}\n{\"training_iteration\": 2, \"a\": 2, \"b\": \"", 1);
    text_add(&text, "x", 3 * CKPT_METRICS_RECORD_MAX);
    text_add(&text, "\"}\n{\"training_iteration\": 3, \"a\": 3}\n", 1);
    read_in_windows(CKPT_METRICS_RAY_JSON, &text, expected, "a long line");
    /* A quote that nobody closes takes no more than that with it. */
    text.size = 0;
    text_add(&text, "step,a\n1,1\n2,\"", 1);
    text_add(&text, "9,9\n", CKPT_METRICS_RECORD_MAX / 4);
    text_add(&text, "3,3\n", 1);
    read_in_windows(CKPT_METRICS_CSV, &text, expected, "an open quote");
    /* The longest that is read. */
    text.size = 0;
    text_add(&text, "step,a\n1,1", 1);
    text_add(&text, " ", CKPT_METRICS_RECORD_MAX - 4);
    text_add(&text, "\n3,3\n2,2", 1);
    text_add(&text, " ", CKPT_METRICS_RECORD_MAX - 3);
    text_add(&text, "\n", 1);
    read_in_windows(CKPT_METRICS_CSV, &text, expected, "the longest line");
    free(text.bytes);
}

static void test_headers_that_are_too_long(void **state)
{
    struct text text = text_make();
    struct points *points = points_make();
    struct ckpt_metrics_mark mark = {0};
    (void)state;
    text_add(&text, "step,", CKPT_METRICS_HEAD_MAX);
    text_add(&text, "\n", 1);
    assert_int_equal(metrics_read(CKPT_METRICS_CSV, NULL, text.bytes, text.size, SIZE_MAX, &mark, points), CKPT_ERR_CORRUPT);
    assert_int_equal(ckpt_metrics_kind_of("metrics.csv", text.bytes, text.size), CKPT_METRICS_NONE);
    /* As many columns as there is room for. */
    text.size = 0;
    text_add(&text, ",", CKPT_METRICS_HEAD_MAX - 1);
    text_add(&text, "\n", 1);
    text_add(&text, "1,", CKPT_METRICS_HEAD_MAX);
    text_add(&text, "1\n", 1);
    assert_ok(metrics_read(CKPT_METRICS_CSV, NULL, text.bytes, text.size, SIZE_MAX, &mark, points));
    assert_int_equal(points->count, 0);
    free(points);
    free(text.bytes);
}

/* Trees that would take many times their text. */
static void test_json_that_is_too_much(void **state)
{
    static const char *const expected[] = {"a 1 s1", "a 3 s3", NULL};
    static const struct {
        const char *open;
        const char *more;
        size_t times;
    } cases[] = {
        {"[", "[],", 300000},
        {"[", "{},", 300000},
        {"[", "0,", 500000},
        {"", "[", 1000},
        {"", "{\"a\":", 1000},
        {"", "[", 1000000},
    };
    struct text text = text_make();
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        text.size = 0;
        text_add(&text, "{\"training_iteration\":1,\"a\":1}\n{\"training_iteration\":2,\"a\":2,\"b\":", 1);
        text_add(&text, cases[i].open, 1);
        text_add(&text, cases[i].more, cases[i].times);
        text_add(&text, "\n{\"training_iteration\":3,\"a\":3}\n", 1);
        read_in_windows(CKPT_METRICS_RAY_JSON, &text, expected, cases[i].more);
    }
    /* The same as a whole file: what isn't closed isn't there yet. */
    struct points *points = points_make();
    struct ckpt_metrics_mark mark = {0};
    text.size = 0;
    text_add(&text, "{\"log_history\":", 1);
    text_add(&text, "[", 4 << 20);
    assert_ok(metrics_read(CKPT_METRICS_HF, NULL, text.bytes, text.size, SIZE_MAX, &mark, points));
    assert_int_equal(mark.offset, 0);
    text_add(&text, "]", 4 << 20);
    text_add(&text, "}", 1);
    assert_ok(metrics_read(CKPT_METRICS_HF, NULL, text.bytes, text.size, SIZE_MAX, &mark, points));
    assert_int_equal(points->count, 0);
    free(points);
    free(text.bytes);
}

/* ---- event files ---- */

static void add_bytes(struct text *text, const void *bytes, size_t n)
{
    assert_true(text->size + n <= 16 << 20);
    memcpy(text->bytes + text->size, bytes, n);
    text->size += n;
}

static void add_masked(struct text *text, const void *bytes, size_t n)
{
    uint8_t masked[4];
    uint32_t crc = ckpt_crc32c(bytes, n);
    ckpt_put_le32(masked, (crc >> 15 | crc << 17) + 0xa282ead8);
    add_bytes(text, masked, sizeof masked);
}

/* The header of a record of N bytes. */
static void add_header(struct text *text, uint64_t n)
{
    uint8_t length[8];
    ckpt_put_le64(length, n);
    add_bytes(text, length, sizeof length);
    add_masked(text, length, sizeof length);
}

static void add_record(struct text *text, const void *bytes, size_t n)
{
    add_header(text, n);
    add_bytes(text, bytes, n);
    add_masked(text, bytes, n);
}

/* step S, {tag "a", simple_value V} */
static void add_scalar(struct text *text, uint8_t step, float value)
{
    uint8_t event[14] = {0x10, step, 0x2a, 10, 0x0a, 8, 0x0a, 1, 'a', 0x15};
    memcpy(event + 10, &value, 4);
    add_record(text, event, sizeof event);
}

static void test_crc32c(void **state)
{
    uint8_t bytes[32] = {0};
    (void)state;
    assert_int_equal(ckpt_crc32c("", 0), 0);
    assert_int_equal(ckpt_crc32c("123456789", 9), 0xe3069283);
    /* RFC 3720, B.4 */
    assert_int_equal(ckpt_crc32c(bytes, 32), 0x8a9136aa);
    memset(bytes, 0xff, 32);
    assert_int_equal(ckpt_crc32c(bytes, 32), 0x62a8ab43);
    for (uint8_t i = 0; i < 32; i++) {
        bytes[i] = i;
    }
    assert_int_equal(ckpt_crc32c(bytes, 32), 0x46dd794e);
}

static void test_long_events(void **state)
{
    static const char *const expected[] = {"a 1 s1", "a 3 s3", NULL};
    struct text text = text_make();
    uint8_t *graph = calloc(1, 5 << 20);
    (void)state;
    assert_non_null(graph);
    add_scalar(&text, 1, 1);
    add_record(&text, graph, 5 << 20);
    add_record(&text, graph, CKPT_METRICS_RECORD_MAX + 1);
    add_record(&text, graph, CKPT_METRICS_RECORD_MAX);
    add_scalar(&text, 3, 3);
    read_in_windows(CKPT_METRICS_TFEVENTS, &text, expected, "a graph");
    free(graph);
    free(text.bytes);
}

static void test_lengths_that_lie(void **state)
{
    static const uint64_t lengths[] = {100, CKPT_METRICS_RECORD_MAX + 1, UINT32_MAX, INT64_MAX, UINT64_MAX - 16, UINT64_MAX - 15,
                                       UINT64_MAX};
    struct text text = text_make();
    struct points *points = points_make();
    (void)state;
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        struct ckpt_metrics_mark mark = {0};
        text.size = 0;
        points->count = 0;
        add_scalar(&text, 1, 1);
        uint64_t end = text.size;
        add_header(&text, lengths[i]);
        add_bytes(&text, "not that much of it, though", 27);
        /* Not there yet, as far as anyone can tell. */
        assert_ok(metrics_read(CKPT_METRICS_TFEVENTS, NULL, text.bytes, text.size, SIZE_MAX, &mark, points));
        assert_int_equal(mark.offset, end);
        assert_int_equal(points->count, 1);
    }
    free(points);
    free(text.bytes);
}

/* Events with right checksums whose inside makes no sense are passed over. */
static void test_events_that_make_no_sense(void **state)
{
    static const char *const expected[] = {"a 1 s1", "a 3 s3", NULL};
    static const struct {
        const char *bytes;
        size_t size;
    } events[] = {
        {"", 0},
        {"\x10", 1},                                                 /* no value */
        {"\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 13}, /* a number of 77 bits */
        {"\x2a\x7f\x0a", 3},                                         /* longer than the event */
        {"\x2a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11},        /* longer than memory */
        {"\x2a\x02\x0a\x7f", 4},                                     /* a value longer than the summary */
        {"\x2b\x2c", 2},                                             /* a group */
        {"\x2e\x2f", 2},                                             /* no such wire type */
        {"\x2a\x07\x0a\x05\x15\x00\x00\x80\x3f", 9},                 /* a number without a tag */
        {"\x2a\x05\x0a\x03\x0a\x01" "a", 7},                         /* a tag without a number */
        {"\x2a\x0b\x0a\x09\x0a\x01" "a\x15\x00\x00\x80\x3f\x0a", 13}, /* a value that breaks off */
        {"\x2a\x0a\x0a\x08\x0a\x01\xff\x15\x00\x00\x80\x3f", 12},    /* a tag that is no text */
        {"\x2a\x07\x0a\x05\x0a\x01" "a\x42\x00", 9},                 /* an empty tensor */
        {"\x28\x01", 2},                                             /* a number where the summary should be */
    };
    struct text text = text_make();
    (void)state;
    add_scalar(&text, 1, 1);
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++) {
        add_record(&text, events[i].bytes, events[i].size);
    }
    add_scalar(&text, 3, 3);
    read_in_windows(CKPT_METRICS_TFEVENTS, &text, expected, "nonsense");
    free(text.bytes);
}

/* Any bytes within a record that is right. */
static void test_noise_in_events(void **state)
{
    struct sample sample = sample_read("events.out.tfevents.1700000000.host.4711.0");
    struct text text = text_make();
    struct points *points = points_make();
    uint64_t seed = 3;
    (void)state;
    for (size_t round = 0; round < 20000; round++) {
        /* a record of the sample with a few bytes changed */
        struct ckpt_metrics_mark mark = {0};
        size_t at = 0;
        for (size_t skip = unit_random(&seed) % 7; skip > 0; skip--) {
            at += (size_t)ckpt_get_le64((const uint8_t *)sample.bytes + at) + 16;
        }
        size_t n = (size_t)ckpt_get_le64((const uint8_t *)sample.bytes + at);
        char *event = malloc(n);
        assert_non_null(event);
        memcpy(event, sample.bytes + at + 12, n);
        for (size_t changes = 1 + unit_random(&seed) % 4; changes > 0; changes--) {
            event[unit_random(&seed) % n] = (char)unit_random(&seed);
        }
        text.size = 0;
        points->count = 0;
        add_record(&text, event, n);
        assert_ok(metrics_read(CKPT_METRICS_TFEVENTS, NULL, text.bytes, text.size, SIZE_MAX, &mark, points));
        assert_int_equal(mark.offset, text.size);
        free(event);
    }
    free(points);
    free(text.bytes);
    free(sample.bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cut_at_every_byte),
        cmocka_unit_test(test_every_bit_flipped),
        cmocka_unit_test(test_growing_in_random_pieces),
        cmocka_unit_test(test_noise),
        cmocka_unit_test(test_lines_that_are_too_long),
        cmocka_unit_test(test_headers_that_are_too_long),
        cmocka_unit_test(test_json_that_is_too_much),
        cmocka_unit_test(test_crc32c),
        cmocka_unit_test(test_long_events),
        cmocka_unit_test(test_lengths_that_lie),
        cmocka_unit_test(test_events_that_make_no_sense),
        cmocka_unit_test(test_noise_in_events),
    };
    return cmocka_run_group_tests_name("metrics_hostile", tests, NULL, NULL);
}
