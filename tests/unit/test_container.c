/*
 * Containers: every sample of tests/files holds exactly the parts that its table says, and damaged in any way
 * it is no crash and no part outside of the file.
 */
#include "../fuzz/fuzz.h"
#include "samples.h"
#include "unit.h"

/* What makes two parts the same tensor, and its key, over all samples. */
struct identity {
    char *text;
    uint64_t key;
};

struct identities {
    struct identity list[4096];
    size_t count;
};

static void check_identity(struct identities *ids, const char *text, uint64_t key)
{
    for (size_t i = 0; i < ids->count; i++) {
        bool same = strcmp(ids->list[i].text, text) == 0;
        if (same != (ids->list[i].key == key)) {
            fail_msg("%s and %s: keys %s", text, ids->list[i].text, same ? "differ" : "are equal");
        }
        if (same) {
            return;
        }
    }
    assert_true(ids->count < sizeof ids->list / sizeof ids->list[0]);
    ids->list[ids->count].text = strdup(text);
    assert_non_null(ids->list[ids->count].text);
    ids->list[ids->count++].key = key;
}

/* Compares the parts of the sample with PATH.parts. */
static void check_sample(const char *path, const uint8_t *bytes, size_t n, void *arg)
{
    char table[SAMPLE_PATH + 8];
    char kind[16];
    char identity[2048];
    unsigned long long offset = 0;
    unsigned long long size = 0;
    unsigned width = 0;
    struct fuzz_bytes at = {bytes, n};
    struct ckpt_source source = {fuzz_pread, &at, n};
    struct ckpt_parts parts = {0};
    assert_ok(ckpt_container_read(&source, &parts));
    (void)snprintf(table, sizeof table, "%s.parts", path);
    FILE *f = fopen(table, "r");
    if (f == NULL) {
        fail_msg("%s is not there", table);
    }
    size_t i = 0;
    while (fscanf(f, "%llu\t%llu\t%15s\t%u\t%2047[^\n]\n", &offset, &size, kind, &width, identity) == 5) {
        if (i == parts.count) {
            fail_msg("%s: only %zu parts, none at %llu (%s)", path, i, offset, identity);
        }
        const struct ckpt_part *part = &parts.list[i++];
        bool tensor = strcmp(kind, "tensor") == 0;
        if (part->offset != offset || part->size != size || part->width != width ||
            part->kind != (tensor ? CKPT_PART_TENSOR : CKPT_PART_BLOB)) {
            fail_msg("%s: %llu %llu %s %u (%s) is %llu %llu %d %u", path, offset, size, kind, width, identity,
                     (unsigned long long)part->offset, (unsigned long long)part->size, (int)part->kind,
                     part->width);
        }
        check_identity(arg, identity, part->key);
    }
    assert_true(feof(f) != 0);
    assert_int_equal(fclose(f), 0);
    if (i != parts.count) {
        fail_msg("%s: %zu parts instead of %zu", path, parts.count, i);
    }
    ckpt_parts_clear(&parts);
}

static void test_samples_have_the_parts_of_their_tables(void **state)
{
    (void)state;
    struct identities *ids = calloc(1, sizeof *ids);
    assert_non_null(ids);
    assert_true(sample_walk("good", check_sample, ids) > 30);
    assert_true(sample_walk("bad", check_sample, ids) > 50);
    assert_true(ids->count > 100);
    for (size_t i = 0; i < ids->count; i++) {
        free(ids->list[i].text);
    }
    free(ids);
}

/* In memory of exactly N bytes, so that the sanitizer sees a step beyond them. */
static uint8_t *copy_of(const uint8_t *bytes, size_t n)
{
    uint8_t *copy = malloc(n > 0 ? n : 1);
    assert_non_null(copy);
    memcpy(copy, bytes, n);
    return copy;
}

static void truncate_sample(const char *path, const uint8_t *bytes, size_t n, void *arg)
{
    (void)path;
    (void)arg;
    for (size_t i = 0; i < n; i++) {
        uint8_t *copy = copy_of(bytes, i);
        fuzz_container(copy, i);
        free(copy);
    }
}

static void test_samples_cut_at_every_length(void **state)
{
    (void)state;
    (void)sample_walk("good", truncate_sample, NULL);
    (void)sample_walk("bad", truncate_sample, NULL);
}

static void flip_sample(const char *path, const uint8_t *bytes, size_t n, void *arg)
{
    static const uint8_t flips[] = {0x01, 0xff};
    (void)path;
    (void)arg;
    uint8_t *copy = copy_of(bytes, n);
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < sizeof flips; k++) {
            copy[i] = bytes[i] ^ flips[k];
            fuzz_container(copy, n);
        }
        copy[i] = bytes[i];
    }
    free(copy);
}

static void test_samples_with_every_byte_changed(void **state)
{
    (void)state;
    (void)sample_walk("good", flip_sample, NULL);
    (void)sample_walk("bad", flip_sample, NULL);
}

typedef void fuzz_target(const uint8_t *bytes, size_t n);

struct target {
    const char *folder;
    fuzz_target *run;
};

static void replay(const char *path, const uint8_t *bytes, size_t n, void *arg)
{
    const struct target *target = arg;
    (void)path;
    target->run(bytes, n);
}

static void test_what_fuzzing_found(void **state)
{
    static struct target targets[] = {
        {"fuzz/zip", fuzz_container},
        {"fuzz/pickle", fuzz_pickle},
        {"fuzz/safetensors", fuzz_safetensors},
        {"fuzz/npy", fuzz_npy},
    };
    (void)state;
    for (size_t i = 0; i < sizeof targets / sizeof targets[0]; i++) {
        assert_true(sample_walk(targets[i].folder, replay, &targets[i]) > 0);
    }
}

struct failing {
    struct fuzz_bytes bytes;
    size_t left; /* reads that succeed */
};

static int failing_pread(void *arg, void *buf, size_t n, uint64_t offset)
{
    struct failing *failing = arg;
    if (failing->left == 0) {
        return -1;
    }
    failing->left--;
    return fuzz_pread(&failing->bytes, buf, n, offset);
}

static void fail_sample(const char *path, const uint8_t *bytes, size_t n, void *arg)
{
    (void)path;
    enum ckpt_err err = CKPT_ERR_IO;
    for (size_t good = 0; err != CKPT_OK; good++) {
        struct failing failing = {{bytes, n}, good};
        struct ckpt_source source = {failing_pread, &failing, n};
        struct ckpt_parts parts = {0};
        err = ckpt_container_read(&source, &parts);
        if (err != CKPT_OK) {
            assert_int_equal(err, CKPT_ERR_IO);
            assert_int_equal(parts.count, 0);
            ++*(size_t *)arg;
        }
        ckpt_parts_clear(&parts);
    }
}

static void test_a_read_that_fails_is_an_io_error(void **state)
{
    (void)state;
    size_t failures = 0;
    (void)sample_walk("good", fail_sample, &failures);
    assert_true(failures > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples_have_the_parts_of_their_tables),
        cmocka_unit_test(test_samples_cut_at_every_length),
        cmocka_unit_test(test_samples_with_every_byte_changed),
        cmocka_unit_test(test_what_fuzzing_found),
        cmocka_unit_test(test_a_read_that_fails_is_an_io_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
