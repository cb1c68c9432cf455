/*
 * Which files are captured, and sizes as people write them.
 */
#include "unit.h"

#include <ckpt/filter.h>

enum { MiB = 1 << 20 };

static bool captures(const char *list, const char *name, uint64_t size)
{
    struct ckpt_filter *filter = NULL;
    assert_ok(ckpt_filter_parse(list, &filter, NULL));
    bool captured = ckpt_filter_match(filter, name, size);
    ckpt_filter_free(filter);
    return captured;
}

static void test_what_is_captured(void **state)
{
    static const struct {
        const char *list;
        const char *name;
        uint64_t size;
        bool captured;
    } cases[] = {
        /* what looks like a checkpoint, of any size */
        {"default", "last.pt", 0, true},
        {"default", "last.pth", 1, true},
        {"default", "epoch=3-step=100.ckpt", 1, true},
        {"default", "pytorch_model.bin", 1, true},
        {"default", "model-00001-of-00002.safetensors", 1, true},
        {"default", "weights.h5", 1, true},
        {"default", "weights.hdf5", 1, true},
        {"default", "model.keras", 1, true},
        {"default", "state.npz", 1, true},
        {"default", "state.npy", 1, true},
        {"default", "__0_0.distcp", 1, true},
        {"default", "flax_model.msgpack", 1, true},
        {"default", "optimizer.pkl", 1, true},
        {"default", "model.onnx", 1, true},
        {"default", "model.gguf", 1, true},
        {"default", "checkpoint.tar", 1, true},
        {"default", "LAST.PT", 1, true},
        /* anything big */
        {"default", "notes.txt", MiB - 1, false},
        {"default", "notes.txt", MiB, true},
        {"default", "no-extension", MiB, true},
        /* what is never one, however big */
        {"default", "train.log", MiB, false},
        {"default", "metrics.csv", MiB, false},
        {"default", "config.json", MiB, false},
        {"default", "samples.jsonl", MiB, false},
        {"default", "events.out.tfevents.1700000000.host.1.0", MiB, false},
        {"default", "last.pt.tmp", MiB, false},
        {"default", ".last.pt", MiB, false},
        {"default", ".nfs000000000000000100000001", MiB, false},
        /* names that only resemble these */
        {"default", "pt", 1, false},
        {"default", "last.pt.bak", 1, false},
        {"default", "model.ptx", 1, false},
        {"default", "metrics.csv.gz", MiB, true},
        {"default", "tmp", MiB, true},
        /* lists of one's own */
        {"*.foo", "a.foo", 0, true},
        {"*.foo", "a.pt", 0, false},
        {"*.foo", "a.bar", UINT64_MAX, false},
        {"default:*.foo", "a.foo", 0, true},
        {"default:*.foo", "a.pt", 0, true},
        {"default:!*.pt", "a.pt", 0, false},
        {"!*.pt:default", "a.pt", MiB, false},
        {"!a*:*", "b", 0, true},
        {"!a*:*", "a", 0, false},
        {">4K", "a", 4095, false},
        {">4K", "a", 4096, true},
        {"default:>4M", "a", MiB, false},
        {"default:>4M", "a", 4 * MiB, true},
        {">0", "a", 0, true},
        {"model-?.bin", "model-1.bin", 0, true},
        {"model-?.bin", "model-10.bin", 0, false},
        {"[ab]*", "b.x", 0, true},
        {"[ab]*", "c.x", 0, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (captures(cases[i].list, cases[i].name, cases[i].size) != cases[i].captured) {
            print_error("%s: %s of %llu bytes\n", cases[i].list, cases[i].name,
                        (unsigned long long)cases[i].size);
            fail();
        }
    }
}

/* Without the size, which is not known of a name. */
static void test_what_the_name_alone_says(void **state)
{
    struct ckpt_filter *filter = NULL;
    (void)state;
    assert_ok(ckpt_filter_parse(CKPT_FILTER_DEFAULT, &filter, NULL));
    assert_true(ckpt_filter_match_name(filter, "last.pt"));
    assert_false(ckpt_filter_match_name(filter, "notes.txt"));
    assert_false(ckpt_filter_match_name(filter, ".last.pt"));
    assert_false(ckpt_filter_match_name(filter, "last.pt.tmp"));
    ckpt_filter_free(filter);
    ckpt_filter_free(NULL);
}

static void test_bad_lists_are_refused_where_they_are_bad(void **state)
{
    static const struct {
        const char *list;
        size_t bad; /* where the item begins that is to blame */
    } cases[] = {
        {"", 0},
        {":", 0},
        {"*.pt:", 5},
        {"*.pt::*.bin", 5},
        {"!", 0},
        {"*.pt:!", 5},
        {"dir/*.pt", 0},
        {"*.a:dir/*.pt:*.b", 4},
        {"!dir/*.pt", 0},
        {">", 0},
        {"*.pt:>x", 5},
        {">-1", 0},
        {">1X:default", 0},
        {">1M1", 0},
        {"default:>", 8},
        {">00000000000000000000000000000001", 0},
        {"[:*.pt:/", 7},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ckpt_filter *filter = NULL;
        const char *bad = NULL;
        if (ckpt_filter_parse(cases[i].list, &filter, &bad) != CKPT_ERR_INVALID ||
            bad != cases[i].list + cases[i].bad || filter != NULL) {
            print_error("\"%s\", bad at \"%s\"\n", cases[i].list, bad == NULL ? "(nowhere)" : bad);
            fail();
        }
    }
    struct ckpt_filter *filter = NULL;
    assert_int_equal(ckpt_filter_parse("", &filter, NULL), CKPT_ERR_INVALID);
}

static void test_sizes(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"0", 0},
        {"1", 1},
        {"4096", 4096},
        {"1K", 1024},
        {"1k", 1024},
        {"10G", UINT64_C(10) << 30},
        {"10GB", UINT64_C(10) << 30},
        {"10GiB", UINT64_C(10) << 30},
        {"512M", 512 << 20},
        {"1.5T", UINT64_C(3) << 39},
        {"2P", UINT64_C(2) << 50},
        {"0.5K", 512},
    };
    static const char *const bad[] = {
        "",
        " ",
        "K",
        "-1",
        "+1",
        " 1",
        "1 ",
        "1 K",
        "1KK",
        "1KiBx",
        "1Gi",
        "1x",
        "nan",
        "inf",
        "-0",
        "0x10",
        "1e3",
        "9223372036854775808P",
        "99999999999999999999",
        "1e400",
        ".5",
        "5.",
    };
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        uint64_t bytes = 77;
        if (ckpt_size_parse(good[i].text, &bytes) != CKPT_OK || bytes != good[i].bytes) {
            print_error("\"%s\" is %llu\n", good[i].text, (unsigned long long)bytes);
            fail();
        }
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        uint64_t bytes = 77;
        if (ckpt_size_parse(bad[i], &bytes) != CKPT_ERR_INVALID || bytes != 77) {
            print_error("\"%s\" was taken for %llu\n", bad[i], (unsigned long long)bytes);
            fail();
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_captured),
        cmocka_unit_test(test_what_the_name_alone_says),
        cmocka_unit_test(test_bad_lists_are_refused_where_they_are_bad),
        cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
