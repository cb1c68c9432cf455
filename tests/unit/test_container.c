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
        /* One way is enough for the long ones. */
        for (size_t k = n < 4096 ? 0 : 1; k < sizeof flips; k++) {
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

/* A file as of torch.save with entries of equal size at equal distances; only the directory and local headers exist. */
struct vast {
    uint64_t stride;   /* from one local header to the next */
    size_t entries;    /* t/data.pkl, then storages */
    uint8_t *tail;     /* the directory and end records, at entries * stride */
    size_t tail_size;
    size_t reads;
    uint64_t bytes;
};

enum { VAST_NAME = 10, VAST_LOCAL = 30 + VAST_NAME, VAST_ENTRY = 46 + VAST_NAME + 28, VAST_END = 56 + 20 + 22 };

static void put_le(uint8_t *p, uint64_t value, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        p[i] = (uint8_t)(value >> (8 * i));
    }
}

static void put_name(uint8_t *p, size_t i)
{
    memcpy(p, i == 0 ? "t/data.pkl" : "t/data/", i == 0 ? 10 : 7);
    for (size_t k = 7; k < VAST_NAME && i > 0; k++) {
        p[k] = (uint8_t)('!' + i % 94);
        i = i / 94 + 1;
    }
}

static void vast_local(uint8_t local[VAST_LOCAL], size_t i)
{
    memset(local, 0, VAST_LOCAL);
    put_le(local, 0x04034b50, 4);
    put_le(local + 26, VAST_NAME, 2);
    put_name(local + 30, i);
}

static void vast_make(struct vast *vast)
{
    uint64_t directory = vast->entries * vast->stride;
    vast->tail_size = vast->entries * VAST_ENTRY + VAST_END;
    vast->tail = calloc(1, vast->tail_size);
    assert_non_null(vast->tail);
    uint8_t *p = vast->tail;
    for (size_t i = 0; i < vast->entries; i++, p += VAST_ENTRY) {
        put_le(p, 0x02014b50, 4);
        put_le(p + 20, UINT32_MAX, 4);
        put_le(p + 24, UINT32_MAX, 4);
        put_le(p + 28, VAST_NAME, 2);
        put_le(p + 30, 28, 2);
        put_le(p + 42, UINT32_MAX, 4);
        put_name(p + 46, i);
        uint8_t *extra = p + 46 + VAST_NAME;
        put_le(extra, 1, 2);
        put_le(extra + 2, 24, 2);
        put_le(extra + 4, vast->stride - VAST_LOCAL, 8);
        put_le(extra + 12, vast->stride - VAST_LOCAL, 8);
        put_le(extra + 20, i * vast->stride, 8);
    }
    put_le(p, 0x06064b50, 4);
    put_le(p + 40, vast->entries * VAST_ENTRY, 8);
    put_le(p + 48, directory, 8);
    put_le(p + 56, 0x07064b50, 4);
    put_le(p + 76, 0x06054b50, 4);
    put_le(p + 88, UINT32_MAX, 4);
    put_le(p + 92, UINT32_MAX, 4);
}

static int vast_pread(void *arg, void *buf, size_t n, uint64_t offset)
{
    struct vast *vast = arg;
    uint64_t directory = vast->entries * vast->stride;
    uint8_t local[VAST_LOCAL];
    uint8_t *out = buf;
    assert_true(offset + n <= directory + vast->tail_size);
    vast->reads++;
    vast->bytes += n;
    for (size_t k = 0; k < n; k++) {
        uint64_t at = offset + k;
        if (at >= directory) {
            memcpy(out + k, vast->tail + (at - directory), n - k);
            return 0;
        }
        if (at % vast->stride < VAST_LOCAL && (k == 0 || at % vast->stride == 0)) {
            vast_local(local, (size_t)(at / vast->stride));
        }
        out[k] = at % vast->stride < VAST_LOCAL ? local[at % vast->stride] : 0;
    }
    return 0;
}

static void test_a_file_of_100_gb_is_read_in_few_steps(void **state)
{
    struct vast vast = {.stride = 32 << 20, .entries = 3000};
    struct ckpt_parts parts = {0};
    (void)state;
    vast_make(&vast);
    struct ckpt_source source = {vast_pread, &vast, vast.entries * vast.stride + vast.tail_size};
    assert_true(source.size > UINT64_C(100) * 1000 * 1000 * 1000);
    assert_ok(ckpt_container_read(&source, &parts));
    assert_int_equal(parts.count, vast.entries);
    for (size_t i = 0; i < parts.count; i++) {
        assert_int_equal(parts.list[i].offset, i * vast.stride + VAST_LOCAL);
        assert_int_equal(parts.list[i].size, vast.stride - VAST_LOCAL);
        assert_int_equal(parts.list[i].kind, i == 0 ? CKPT_PART_BLOB : CKPT_PART_TENSOR);
    }
    /* A page for each entry, the directory, and the beginning of the pickle, which makes no sense. */
    assert_in_range(vast.reads, 1, vast.entries + 8);
    assert_in_range(vast.bytes, 1, (vast.entries + 8) * 4096 + vast.tail_size + (64 << 10));
    ckpt_parts_clear(&parts);
    free(vast.tail);
}

static void test_too_many_entries_are_none(void **state)
{
    static const struct {
        size_t entries;
        size_t parts;
    } rows[] = {{790000, 790000}, {800000, 0}}; /* the second one's directory is above 64 MiB */
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct vast vast = {.stride = 64, .entries = rows[i].entries};
        struct ckpt_parts parts = {0};
        vast_make(&vast);
        struct ckpt_source source = {vast_pread, &vast, vast.entries * vast.stride + vast.tail_size};
        assert_ok(ckpt_container_read(&source, &parts));
        assert_int_equal(parts.count, rows[i].parts);
        ckpt_parts_clear(&parts);
        free(vast.tail);
    }
}

/* Empty archives of 22 bytes each. */
static int ends_pread(void *arg, void *buf, size_t n, uint64_t offset)
{
    static const uint8_t end[22] = {'P', 'K', 5, 6};
    uint8_t *out = buf;
    for (size_t i = 0; i < n; i++) {
        out[i] = end[(offset + i) % sizeof end];
    }
    ++*(size_t *)arg;
    return 0;
}

static void test_too_many_archives_are_none(void **state)
{
    size_t reads = 0;
    struct ckpt_source source = {ends_pread, &reads, UINT64_C(22) << 40};
    struct ckpt_parts parts = {0};
    (void)state;
    assert_ok(ckpt_container_read(&source, &parts));
    assert_int_equal(parts.count, 0);
    assert_in_range(reads, 1, 3 * CKPT_READING_ARCHIVES);
    ckpt_parts_clear(&parts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples_have_the_parts_of_their_tables),
        cmocka_unit_test(test_samples_cut_at_every_length),
        cmocka_unit_test(test_samples_with_every_byte_changed),
        cmocka_unit_test(test_a_file_of_100_gb_is_read_in_few_steps),
        cmocka_unit_test(test_too_many_entries_are_none),
        cmocka_unit_test(test_too_many_archives_are_none),
        cmocka_unit_test(test_what_fuzzing_found),
        cmocka_unit_test(test_a_read_that_fails_is_an_io_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
