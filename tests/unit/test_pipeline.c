/*
 * The pipeline: what comes out is the file, in the order of the plan, whatever is read and coded when;
 * and it can be stopped at any time.
 */
#include "lab.h"

#include "chunk/chunker.h"
#include "file/pipeline.h"
#include <errno.h>
#include <fcntl.h>

enum {
    SLOTS = 160, /* more chunks than this are on their way at no time */
    TENSOR = 64 << 10,
};

struct file {
    int fd;
    uint8_t *bytes;
    size_t size;
};

/* A file of these bytes, but for HOLE bytes from HOLE_AT on, which are zero. */
static struct file file_of(struct lab *lab, uint8_t *bytes, size_t size, size_t hole_at, size_t hole)
{
    struct file file = {.bytes = bytes, .size = size};
    file.fd = openat(ckpt_store_tmpfd(lab->store), "file", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(file.fd >= 0);
    memset(bytes + hole_at, 0, hole);
    assert_int_equal(pwrite(file.fd, bytes, hole_at, 0), hole_at);
    size_t rest = size - hole_at - hole;
    assert_int_equal(pwrite(file.fd, bytes + hole_at + hole, rest, (off_t)(hole_at + hole)), rest);
    assert_int_equal(ftruncate(file.fd, (off_t)size), 0);
    return file;
}

static void drop_file(struct file *file)
{
    assert_int_equal(close(file->fd), 0);
    free(file->bytes);
}

static struct ckpt_pipeline *pipeline_of(struct lab *lab)
{
    struct ckpt_pipeline *pipeline = NULL;
    assert_ok(ckpt_pipeline_create(lab->store, lab->pool, &pipeline));
    return pipeline;
}

static struct ckpt_plan region_of(uint64_t size)
{
    struct ckpt_plan plan;
    assert_ok(ckpt_plan_make(&(struct ckpt_parts){0}, size, &plan));
    return plan;
}

/* COUNT tensors with HEADER bytes before each, at the start of SIZE bytes. */
static struct ckpt_plan tensors_of(size_t count, uint64_t header, uint64_t size)
{
    struct ckpt_parts parts = {.count = count, .list = calloc(count + 1, sizeof *parts.list)};
    struct ckpt_plan plan;
    assert_non_null(parts.list);
    for (size_t i = 0; i < count; i++) {
        parts.list[i] = (struct ckpt_part){.offset = i * (TENSOR + header) + header,
                                           .size = TENSOR,
                                           .key = i + 1,
                                           .kind = CKPT_PART_TENSOR,
                                           .width = 4};
    }
    assert_ok(ckpt_plan_make(&parts, size, &plan));
    free(parts.list);
    return plan;
}

static const struct ckpt_base no_base;

/* Takes everything and puts it together. SEEN: one for each byte. Returns the number of chunks. */
static size_t take_all(struct ckpt_pipeline *pipeline, uint8_t *out, uint8_t *seen, size_t *holes)
{
    struct ckpt_product product;
    uint64_t last = 0;
    size_t chunks = 0;
    enum ckpt_err err = CKPT_OK;
    while ((err = ckpt_pipeline_next(pipeline, &product)) == CKPT_OK) {
        uint64_t offset = product.draft != NULL ? product.pieces[0].offset : product.hole_offset;
        assert_true(chunks + *holes == 0 || offset > last);
        last = offset;
        if (product.draft == NULL) {
            memset(out + product.hole_offset, 0, product.hole_size);
            memset(seen + product.hole_offset, 1, product.hole_size);
            (*holes)++;
        } else {
            const uint8_t *raw = product.draft->raw;
            assert_true(product.key != 0);
            assert_true(product.draft->record_size > 0 && !ckpt_id_is_zero(&product.draft->id));
            for (size_t i = 0; i < product.count; i++) {
                memcpy(out + product.pieces[i].offset, raw, product.pieces[i].size);
                for (uint32_t n = 0; n < product.pieces[i].size; n++) {
                    assert_int_equal(seen[product.pieces[i].offset + n]++, 0);
                }
                raw += product.pieces[i].size;
            }
            assert_true(raw == (const uint8_t *)product.draft->raw + product.draft->raw_size);
            chunks++;
        }
        ckpt_pipeline_release(pipeline);
    }
    assert_int_equal(err, CKPT_ERR_NOT_FOUND);
    assert_int_equal(ckpt_pipeline_next(pipeline, &product), CKPT_ERR_NOT_FOUND);
    return chunks;
}

/* Returns the number of chunks. */
static size_t assert_comes_out(struct ckpt_pipeline *pipeline, const char *what, const struct file *file,
                               const struct ckpt_plan *plan, size_t holes)
{
    uint8_t *out = malloc(file->size);
    uint8_t *seen = calloc(1, file->size);
    size_t holes_seen = 0;
    assert_non_null(out);
    assert_non_null(seen);
    memset(out, 0xaa, file->size);
    assert_ok(ckpt_pipeline_start(pipeline, file->fd, file->size, plan, &no_base));
    size_t chunks = take_all(pipeline, out, seen, &holes_seen);
    ckpt_pipeline_stop(pipeline);
    if (holes_seen != holes || memchr(seen, 0, file->size) != NULL ||
        memcmp(out, file->bytes, file->size) != 0) {
        print_error("%s: %zu holes\n", what, holes_seen);
        fail();
    }
    free(seen);
    free(out);
    return chunks;
}

static void test_a_region_comes_in_order(void **state)
{
    static const size_t sizes[] = {1, 4096, CKPT_CHUNK_MIN + 1, CKPT_CHUNK_MAX, 4 << 20, (4 << 20) + 1, 13 << 20};
    struct lab *lab = *state;
    struct ckpt_pipeline *pipeline = pipeline_of(lab);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct file file = file_of(lab, unit_noise(sizes[i], i), sizes[i], 0, 0);
        struct ckpt_plan plan = region_of(sizes[i]);
        size_t chunks = assert_comes_out(pipeline, "it", &file, &plan, 0);
        assert_in_range(chunks, 1 + sizes[i] / (CKPT_CHUNK_MAX + 1), 1 + sizes[i] / CKPT_CHUNK_MIN);
        ckpt_plan_clear(&plan);
        drop_file(&file);
    }
    ckpt_pipeline_free(pipeline);
}

/* More tensors than slots, and one chunk of all the headers, which stands first. */
static void test_tensors_come_in_order(void **state)
{
    enum { COUNT = 2 * SLOTS + 3, HEADER = 64 };
    struct lab *lab = *state;
    struct ckpt_pipeline *pipeline = pipeline_of(lab);
    size_t size = COUNT * (TENSOR + HEADER);
    struct file file = file_of(lab, unit_floats(size, 1), size, 0, 0);
    struct ckpt_plan plan = tensors_of(COUNT, HEADER, size);
    assert_int_equal(assert_comes_out(pipeline, "it", &file, &plan, 0), COUNT + 1);
    ckpt_plan_clear(&plan);
    drop_file(&file);
    ckpt_pipeline_free(pipeline);
}

/* Holes of a whole file are kept when they are as long as a chunk; those within a container are zeros. */
static void test_holes(void **state)
{
    static const struct {
        const char *what;
        size_t size;
        size_t at;
        size_t hole;
        size_t tensors; /* at the start; what follows is a region */
        size_t holes;
    } cases[] = {
        {"at the start", 3 << 20, 0, 1 << 20, 0, 1},
        {"in the middle", 3 << 20, 1 << 20, 1 << 20, 0, 1},
        {"at the end", 3 << 20, 2 << 20, 1 << 20, 0, 1},
        {"nothing else", 3 << 20, 0, 3 << 20, 0, 1},
        {"the smallest", 3 << 20, 1 << 20, CKPT_CHUNK_MIN, 0, 1},
        {"a small one", 3 << 20, 1 << 20, CKPT_CHUNK_MIN - 4096, 0, 0},
        {"tensors", 48 * TENSOR, 16 * TENSOR, 16 * TENSOR, 48, 0},
        {"behind a tensor", 48 * TENSOR, TENSOR, 16 * TENSOR, 1, 0},
    };
    struct lab *lab = *state;
    struct ckpt_pipeline *pipeline = pipeline_of(lab);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct file file = file_of(lab, unit_noise(cases[i].size, i), cases[i].size, cases[i].at, cases[i].hole);
        struct ckpt_plan plan = tensors_of(cases[i].tensors, 0, cases[i].size);
        (void)assert_comes_out(pipeline, cases[i].what, &file, &plan, cases[i].holes);
        ckpt_plan_clear(&plan);
        drop_file(&file);
    }
    ckpt_pipeline_free(pipeline);
}

/* A file that is shorter than it was: CHANGED, and not before what is still there has come. */
static void test_a_file_that_shrinks(void **state)
{
    enum { SIZE = 4 << 20 };
    static const size_t left[] = {0, 1, SIZE / 2, SIZE - 1};
    struct lab *lab = *state;
    struct ckpt_pipeline *pipeline = pipeline_of(lab);
    for (unsigned kind = 0; kind < 2; kind++) {
        for (size_t i = 0; i < sizeof left / sizeof left[0]; i++) {
            struct file file = file_of(lab, unit_noise(SIZE, i), SIZE, 0, 0);
            struct ckpt_plan plan = kind == 0 ? tensors_of(SIZE / TENSOR, 0, SIZE) : region_of(SIZE);
            struct ckpt_product product;
            enum ckpt_err err = CKPT_OK;
            size_t chunks = 0;
            assert_int_equal(ftruncate(file.fd, (off_t)left[i]), 0);
            assert_ok(ckpt_pipeline_start(pipeline, file.fd, SIZE, &plan, &no_base));
            while ((err = ckpt_pipeline_next(pipeline, &product)) == CKPT_OK) {
                assert_non_null(product.draft);
                assert_true(product.pieces[0].offset + product.pieces[0].size <= left[i]);
                assert_memory_equal(product.draft->raw, file.bytes + product.pieces[0].offset, product.pieces[0].size);
                chunks++;
                ckpt_pipeline_release(pipeline);
            }
            assert_int_equal(err, CKPT_ERR_CHANGED);
            assert_true(kind == 1 || chunks == left[i] / TENSOR);
            ckpt_pipeline_stop(pipeline);
            ckpt_plan_clear(&plan);
            drop_file(&file);
        }
    }
    ckpt_pipeline_free(pipeline);
}

/* Stopped after any number of chunks, released or not, it is ready for the next file. */
static void test_it_stops_anywhere(void **state)
{
    enum { COUNT = 2 * SLOTS };
    static const unsigned taken[] = {0, 1, 2, 17, SLOTS - 1, SLOTS, SLOTS + 1, COUNT};
    struct lab *lab = *state;
    struct ckpt_pipeline *pipeline = pipeline_of(lab);
    struct file file = file_of(lab, unit_floats((size_t)COUNT * TENSOR, 1), (size_t)COUNT * TENSOR, 0, 0);
    struct ckpt_plan tensors = tensors_of(COUNT, 0, (uint64_t)COUNT * TENSOR);
    struct ckpt_plan region = region_of(file.size);
    for (size_t i = 0; i < 2 * (sizeof taken / sizeof taken[0]); i++) {
        struct ckpt_product product;
        const struct ckpt_plan *plan = i % 2 == 0 ? &tensors : &region;
        assert_ok(ckpt_pipeline_start(pipeline, file.fd, file.size, plan, &no_base));
        for (unsigned n = 0; n < taken[i / 2]; n++) {
            if (ckpt_pipeline_next(pipeline, &product) != CKPT_OK) {
                assert_ptr_equal(plan, &region); /* which has fewer chunks */
                break;
            }
            if (n + 1 < taken[i / 2]) {
                ckpt_pipeline_release(pipeline);
            }
        }
        ckpt_pipeline_stop(pipeline);
    }
    assert_int_equal(assert_comes_out(pipeline, "it", &file, &tensors, 0), COUNT);
    ckpt_plan_clear(&tensors);
    ckpt_plan_clear(&region);
    drop_file(&file);
    ckpt_pipeline_free(pipeline);
    ckpt_pipeline_free(NULL);
}

/* ---- with a base ---- */

/* Chunks of a base with these sizes that have the keys of REGION's first chunks. The caller frees. */
static struct ckpt_base base_of(struct lab *lab, const uint8_t *bytes, const struct ckpt_step *region,
                                const uint32_t *sizes, size_t n)
{
    struct ckpt_base base = {.chunks = calloc(n, sizeof *base.chunks)};
    assert_non_null(base.chunks);
    for (size_t i = 0; i < n; i++) {
        struct ckpt_base_chunk chunk = {.key = ckpt_plan_region_key(region, i), .size = sizes[i]};
        size_t at = base.count++;
        chunk.id = lab_put(lab, bytes, sizes[i], NULL);
        bytes += sizes[i];
        for (; at > 0 && base.chunks[at - 1].key > chunk.key; at--) {
            base.chunks[at] = base.chunks[at - 1];
        }
        base.chunks[at] = chunk;
    }
    return base;
}

/* A region of numbers is cut as its base was, so that the same places are compared; one of other bytes
   where its content says. */
static void test_numbers_are_cut_like_their_base(void **state)
{
    static const uint32_t sizes[] = {200000, 140000, 300000, 384000};
    enum { CUTS = 4, SIZE = 1024000 };
    struct lab *lab = *state;
    struct ckpt_pipeline *pipeline = pipeline_of(lab);
    for (unsigned numbers = 0; numbers < 2; numbers++) {
        uint8_t *bytes = numbers ? unit_floats(SIZE, 1) : unit_noise(SIZE, 1);
        struct ckpt_plan plan = region_of(SIZE);
        struct ckpt_base base = base_of(lab, bytes, &plan.steps[0], sizes, CUTS);
        struct ckpt_product product;
        size_t same = 0;
        size_t differences = 0;
        unit_train(bytes, SIZE, 2);
        struct file file = file_of(lab, bytes, SIZE, 0, 0);
        assert_ok(ckpt_pipeline_start(pipeline, file.fd, SIZE, &plan, &base));
        for (size_t i = 0; ckpt_pipeline_next(pipeline, &product) == CKPT_OK; i++) {
            same += i < CUTS && product.draft->raw_size == sizes[i];
            differences += ckpt_codec_needs_base(product.draft->coding.id);
            ckpt_pipeline_release(pipeline);
        }
        ckpt_pipeline_stop(pipeline);
        assert_int_equal(same, numbers ? CUTS : 0);
        assert_int_equal(differences, numbers ? CUTS : 0);
        free(base.chunks);
        ckpt_plan_clear(&plan);
        drop_file(&file);
    }
    ckpt_pipeline_free(pipeline);
}

/* A tensor is compared with the chunk of its key. */
static void test_tensors_lean_on_their_base(void **state)
{
    enum { COUNT = 4 };
    struct lab *lab = *state;
    struct ckpt_pipeline *pipeline = pipeline_of(lab);
    struct ckpt_plan plan = tensors_of(COUNT, 0, (uint64_t)COUNT * TENSOR);
    uint8_t *bytes = unit_floats((size_t)COUNT * TENSOR, 1);
    struct ckpt_base_chunk chunk = {.key = plan.steps[2].key, .size = TENSOR};
    struct ckpt_base base = {.chunks = &chunk, .count = 1};
    struct ckpt_product product;
    chunk.id = lab_put(lab, bytes + 2 * TENSOR, TENSOR, NULL);
    unit_train(bytes, (size_t)COUNT * TENSOR, 2);
    struct file file = file_of(lab, bytes, (size_t)COUNT * TENSOR, 0, 0);
    assert_ok(ckpt_pipeline_start(pipeline, file.fd, file.size, &plan, &base));
    for (size_t i = 0; i < COUNT; i++) {
        assert_ok(ckpt_pipeline_next(pipeline, &product));
        assert_true(product.key == plan.steps[i].key);
        assert_int_equal(product.width, 4);
        assert_int_equal(ckpt_codec_needs_base(product.draft->coding.id), i == 2);
        assert_true(ckpt_id_equal(&product.draft->previous, i == 2 ? &chunk.id : &lab_none));
        ckpt_pipeline_release(pipeline);
    }
    ckpt_pipeline_stop(pipeline);
    ckpt_plan_clear(&plan);
    drop_file(&file);
    ckpt_pipeline_free(pipeline);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, lab_setup, lab_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_a_region_comes_in_order),
        TEST(test_tensors_come_in_order),
        TEST(test_holes),
        TEST(test_a_file_that_shrinks),
        TEST(test_it_stops_anywhere),
        TEST(test_numbers_are_cut_like_their_base),
        TEST(test_tensors_lean_on_their_base),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
