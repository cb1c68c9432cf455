/*
 * Plans: which bytes of a file become which chunk, and under which key they are found again.
 */
#include "unit.h"

#include "chunk/chunker.h"
#include "file/plan.h"

enum {
    K = 1 << 10,
    TARGET = 256 * K, /* of a large tensor's chunks */
    REST = 64 * K,    /* less at a tensor's end belongs to the chunk before */
    SMALL = 64 * K,   /* tensors below share chunks */
    REGION = 128 * K, /* other bytes from here on are a region */
};

enum kind { TENSOR, BLOB };

struct part {
    enum kind kind;
    uint64_t offset;
    uint64_t size;
    uint64_t key;
    uint8_t width;
};

/* Parts end with one of no bytes. */
static struct ckpt_plan plan_of(const struct part *list, uint64_t size)
{
    struct ckpt_part parts[32];
    struct ckpt_plan plan;
    size_t n = 0;
    for (; list[n].size > 0; n++) {
        parts[n] = (struct ckpt_part){.offset = list[n].offset,
                                      .size = list[n].size,
                                      .key = list[n].key,
                                      .kind = list[n].kind == TENSOR ? CKPT_PART_TENSOR : CKPT_PART_BLOB,
                                      .width = list[n].width};
    }
    assert_ok(ckpt_plan_make(&(struct ckpt_parts){.list = parts, .count = n}, size, &plan));
    return plan;
}

enum { PARTS = 8, STEPS = 8 };

struct step {
    uint64_t offset;
    uint64_t size;
    uint32_t pieces; /* 0: a region */
    uint8_t width;
};

static const struct {
    const char *name;
    uint64_t size; /* of the file */
    struct part parts[PARTS];
    struct step steps[STEPS]; /* end with one of no bytes */
} cases[] = {
    {"no parts", 100, {{0}}, {{0, 100, 0, 0}}},
    {"no parts, large", 9 * TARGET, {{0}}, {{0, 9 * TARGET, 0, 0}}},
    {"a small tensor", 100, {{TENSOR, 0, 100, 1, 4}}, {{0, 100, 1, 4}}},
    {"the largest small tensor", SMALL - 1, {{TENSOR, 0, SMALL - 1, 1, 4}}, {{0, SMALL - 1, 1, 4}}},
    {"the smallest large tensor", SMALL, {{TENSOR, 0, SMALL, 1, 8}}, {{0, SMALL, 1, 8}}},
    {"two of them don't share",
     2 * SMALL,
     {{TENSOR, 0, SMALL, 1, 8}, {TENSOR, SMALL, SMALL, 2, 8}},
     {{0, SMALL, 1, 8}, {SMALL, SMALL, 1, 8}}},
    {"a tensor of two chunks",
     2 * TARGET,
     {{TENSOR, 0, 2 * TARGET, 1, 2}},
     {{0, TARGET, 1, 2}, {TARGET, TARGET, 1, 2}}},
    {"a rest that joins the chunk before it",
     2 * TARGET + REST - 1,
     {{TENSOR, 0, 2 * TARGET + REST - 1, 1, 2}},
     {{0, TARGET, 1, 2}, {TARGET, TARGET + REST - 1, 1, 2}}},
    {"a rest that is a chunk",
     2 * TARGET + REST,
     {{TENSOR, 0, 2 * TARGET + REST, 1, 2}},
     {{0, TARGET, 1, 2}, {TARGET, TARGET, 1, 2}, {2 * TARGET, REST, 1, 2}}},
    {"a tensor that is a bit longer than a chunk",
     TARGET + 1,
     {{TENSOR, 0, TARGET + 1, 1, 4}},
     {{0, TARGET + 1, 1, 4}}},
    {"cuts count from the tensor's start",
     64 + 2 * TARGET,
     {{TENSOR, 64, 2 * TARGET, 1, 4}},
     {{0, 64, 1, 0}, {64, TARGET, 1, 4}, {64 + TARGET, TARGET, 1, 4}}},
    {"small tensors share, each width for itself",
     60,
     {{TENSOR, 0, 10, 1, 4}, {TENSOR, 10, 10, 2, 8}, {TENSOR, 20, 10, 3, 4}, {TENSOR, 30, 10, 4, 1},
      {TENSOR, 40, 10, 5, 2}, {TENSOR, 50, 10, 6, 0}},
     {{0, 20, 2, 4}, {10, 10, 1, 8}, {30, 10, 1, 1}, {40, 10, 1, 2}, {50, 10, 1, 0}}},
    {"small tensors beside a large one",
     TARGET + 20,
     {{TENSOR, 0, 10, 1, 4}, {TENSOR, 10, TARGET, 2, 4}, {TENSOR, 10 + TARGET, 10, 3, 4}},
     {{0, 20, 2, 4}, {10, TARGET, 1, 4}}},
    {"a shared chunk is full",
     6 * 50 * K,
     {{TENSOR, 0, 50 * K, 1, 4}, {TENSOR, 50 * K, 50 * K, 2, 4}, {TENSOR, 100 * K, 50 * K, 3, 4},
      {TENSOR, 150 * K, 50 * K, 4, 4}, {TENSOR, 200 * K, 50 * K, 5, 4}, {TENSOR, 250 * K, 50 * K, 6, 4}},
     {{0, 250 * K, 5, 4}, {250 * K, 50 * K, 1, 4}}},
    {"a shared chunk of exactly the size",
     4 * 64 * K + 1,
     {{TENSOR, 0, SMALL - 1, 1, 4}, {TENSOR, SMALL - 1, SMALL - 1, 2, 4},
      {TENSOR, 2 * SMALL - 2, SMALL - 1, 3, 4}, {TENSOR, 3 * SMALL - 3, SMALL - 1, 4, 4},
      {TENSOR, 4 * SMALL - 4, 4, 5, 4}, {TENSOR, 4 * SMALL, 1, 6, 4}},
     {{0, TARGET, 5, 4}, {TARGET, 1, 1, 4}}},
    {"headers between tensors share",
     3 * TARGET + 300,
     {{TENSOR, 100, TARGET, 1, 4}, {TENSOR, 200 + TARGET, TARGET, 2, 4},
      {TENSOR, 300 + 2 * TARGET, TARGET, 3, 4}},
     {{0, 300, 3, 0}, {100, TARGET, 1, 4}, {200 + TARGET, TARGET, 1, 4}, {300 + 2 * TARGET, TARGET, 1, 4}}},
    {"headers don't mix with tensors of no known width",
     30,
     {{TENSOR, 10, 10, 1, 0}},
     {{0, 20, 2, 0}, {10, 10, 1, 0}}},
    {"what stands behind the last part",
     TARGET + 7,
     {{TENSOR, 0, TARGET, 1, 4}},
     {{0, TARGET, 1, 4}, {TARGET, 7, 1, 0}}},
    {"a blob and the bytes around it share",
     300,
     {{BLOB, 100, 100, 1, 0}},
     {{0, 300, 3, 0}}},
    {"the largest blob that shares",
     REGION - 1,
     {{BLOB, 0, REGION - 1, 1, 0}},
     {{0, REGION - 1, 1, 0}}},
    {"the smallest blob that is a region",
     10 + REGION,
     {{BLOB, 10, REGION, 1, 0}},
     {{0, 10, 1, 0}, {10, REGION, 0, 0}}},
    {"many bytes between are a region too",
     REGION + 100,
     {{TENSOR, REGION, 100, 1, 4}},
     {{0, REGION, 0, 0}, {REGION, 100, 1, 4}}},
    {"a blob's width says nothing", 300 * K, {{BLOB, 0, 300 * K, 1, 4}}, {{0, 300 * K, 0, 0}}},
};

static void assert_planned(const char *name, const struct ckpt_plan *plan, const struct step *steps)
{
    size_t n = 0;
    while (n < STEPS && steps[n].size > 0) {
        n++;
    }
    bool right = plan->count == n;
    for (size_t i = 0; right && i < n; i++) {
        right = plan->steps[i].offset == steps[i].offset && plan->steps[i].size == steps[i].size &&
                plan->steps[i].pieces == steps[i].pieces && plan->steps[i].width == steps[i].width;
    }
    if (!right) {
        print_error("%s:\n", name);
        for (size_t i = 0; i < plan->count; i++) {
            print_error("    %lu +%lu: %u pieces of width %u\n", (unsigned long)plan->steps[i].offset,
                        (unsigned long)plan->steps[i].size, plan->steps[i].pieces, plan->steps[i].width);
        }
        fail();
    }
}

static void test_parts_become_steps(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ckpt_plan plan = plan_of(cases[i].parts, cases[i].size);
        assert_planned(cases[i].name, &plan, cases[i].steps);
        ckpt_plan_clear(&plan);
    }
}

static void test_pieces_stand_in_the_order_of_the_file(void **state)
{
    static const struct part parts[] = {
        {TENSOR, 100, 10, 1, 4}, {TENSOR, 150, 20, 2, 2}, {TENSOR, 200, 30, 3, 4}, {0}};
    static const struct ckpt_piece between[] = {{0, 100}, {110, 40}, {170, 30}, {230, 70}};
    static const struct ckpt_piece four[] = {{100, 10}, {200, 30}};
    (void)state;
    struct ckpt_plan plan = plan_of(parts, 300);
    assert_int_equal(plan.count, 3);
    const struct ckpt_piece *pieces = plan.pieces + plan.steps[0].first;
    assert_int_equal(plan.steps[0].pieces, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(pieces[i].offset, between[i].offset);
        assert_int_equal(pieces[i].size, between[i].size);
    }
    pieces = plan.pieces + plan.steps[1].first;
    assert_int_equal(plan.steps[1].pieces, 2);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pieces[i].offset, four[i].offset);
        assert_int_equal(pieces[i].size, four[i].size);
    }
    ckpt_plan_clear(&plan);
}

/* ---- keys ---- */

static const struct ckpt_step *step_at(const struct ckpt_plan *plan, uint64_t offset)
{
    for (size_t i = 0; i < plan->count; i++) {
        if (plan->steps[i].offset == offset) {
            return &plan->steps[i];
        }
    }
    fail();
    return NULL;
}

/* The same tensors, in another order and at other places, behind a header of another size. */
static void test_a_tensor_is_found_at_another_place(void **state)
{
    static const struct part here[] = {
        {TENSOR, 64, 2 * TARGET, 7, 4}, {TENSOR, 1 << 20, TARGET, 8, 4}, {0}};
    static const struct part there[] = {
        {TENSOR, 96, TARGET, 8, 4}, {TENSOR, 1 << 20, 2 * TARGET, 7, 4}, {0}};
    (void)state;
    struct ckpt_plan one = plan_of(here, 2 << 20);
    struct ckpt_plan other = plan_of(there, 2 << 20);
    assert_true(step_at(&one, 64)->key == step_at(&other, 1 << 20)->key);
    assert_true(step_at(&one, 64 + TARGET)->key == step_at(&other, (1 << 20) + TARGET)->key);
    assert_true(step_at(&one, 1 << 20)->key == step_at(&other, 96)->key);
    ckpt_plan_clear(&one);
    ckpt_plan_clear(&other);
}

static void test_small_tensors_are_found_at_another_place(void **state)
{
    static const struct part here[] = {
        {TENSOR, 0, 10, 7, 4}, {TENSOR, 20, 10, 8, 2}, {TENSOR, 40, 30, 9, 4}, {0}};
    static const struct part there[] = {
        {TENSOR, 5, 10, 8, 2}, {TENSOR, 30, 10, 7, 4}, {TENSOR, 90, 30, 9, 4}, {0}};
    (void)state;
    struct ckpt_plan one = plan_of(here, 200);
    struct ckpt_plan other = plan_of(there, 200);
    assert_true(step_at(&one, 0)->key == step_at(&other, 30)->key);
    assert_true(step_at(&one, 20)->key == step_at(&other, 5)->key);
    ckpt_plan_clear(&one);
    ckpt_plan_clear(&other);
}

/* A full shared chunk has nothing to do with the next one. */
static void test_a_shared_chunk_depends_on_no_other(void **state)
{
    static const struct part here[] = {
        {TENSOR, 0, 60 * K, 1, 4}, {TENSOR, 60 * K, 60 * K, 2, 4}, {TENSOR, 120 * K, 60 * K, 3, 4},
        {TENSOR, 180 * K, 60 * K, 4, 4}, {TENSOR, 240 * K, 60 * K, 5, 4}, {0}};
    static const struct part there[] = {
        {TENSOR, 0, 60 * K, 9, 4}, {TENSOR, 60 * K, 60 * K, 2, 4}, {TENSOR, 120 * K, 60 * K, 3, 4},
        {TENSOR, 180 * K, 60 * K, 4, 4}, {TENSOR, 240 * K, 60 * K, 5, 4}, {0}};
    (void)state;
    struct ckpt_plan one = plan_of(here, 300 * K);
    struct ckpt_plan other = plan_of(there, 300 * K);
    assert_true(step_at(&one, 0)->key != step_at(&other, 0)->key);
    assert_true(step_at(&one, 240 * K)->key == step_at(&other, 240 * K)->key);
    ckpt_plan_clear(&one);
    ckpt_plan_clear(&other);
}

/* What must not be taken for each other: all the keys of all these files' first steps differ. */
static void test_what_has_another_key(void **state)
{
    static const struct {
        const char *name;
        struct part parts[4];
    } files[] = {
        {"a tensor", {{TENSOR, 0, TARGET, 7, 4}}},
        {"another tensor", {{TENSOR, 0, TARGET, 8, 4}}},
        {"of another size", {{TENSOR, 0, TARGET + 4, 7, 4}}},
        {"of a size with the same first chunk", {{TENSOR, 0, 100 * K, 7, 4}}},
        {"a small one", {{TENSOR, 0, 100, 7, 4}}},
        {"a small one of another size", {{TENSOR, 0, 104, 7, 4}}},
        {"a small one of another width", {{TENSOR, 0, 100, 7, 2}}},
        {"a small one that isn't alone", {{TENSOR, 0, 100, 7, 4}, {TENSOR, 100, 100, 8, 4}}},
        {"the same two the other way round", {{TENSOR, 0, 100, 8, 4}, {TENSOR, 100, 100, 7, 4}}},
        {"another one first", {{TENSOR, 0, 100, 9, 4}, {TENSOR, 100, 100, 7, 4}}},
        {"cut elsewhere", {{TENSOR, 0, 96, 7, 4}, {TENSOR, 96, 104, 8, 4}}},
        {"a blob", {{BLOB, 0, 100, 70, 0}}},
        {"a tensor of no known width", {{TENSOR, 0, 100, 7, 0}}},
        {"a header", {{TENSOR, 100, 100, 7, 4}}},
        {"a longer header", {{TENSOR, 101, 100, 7, 4}}},
    };
    enum { FILES = sizeof files / sizeof files[0] };
    uint64_t keys[FILES];
    (void)state;
    for (size_t i = 0; i < FILES; i++) {
        uint64_t end = 0;
        for (size_t n = 0; n < 4 && files[i].parts[n].size > 0; n++) {
            end = files[i].parts[n].offset + files[i].parts[n].size;
        }
        struct ckpt_plan plan = plan_of(files[i].parts, end);
        keys[i] = plan.steps[0].key;
        assert_true(keys[i] != 0);
        ckpt_plan_clear(&plan);
        for (size_t other = 0; other < i; other++) {
            if (keys[i] == keys[other]) {
                print_error("%s and %s\n", files[i].name, files[other].name);
                fail();
            }
        }
    }
}

/* The parts of one tensor don't look like each other either. */
static void test_the_chunks_of_a_tensor_have_keys_of_their_own(void **state)
{
    static const struct part parts[] = {{TENSOR, 0, 16 * TARGET, 7, 4}, {0}};
    (void)state;
    struct ckpt_plan plan = plan_of(parts, 16 * TARGET);
    assert_int_equal(plan.count, 16);
    for (size_t i = 0; i < plan.count; i++) {
        for (size_t other = 0; other < i; other++) {
            assert_true(plan.steps[i].key != plan.steps[other].key);
        }
    }
    ckpt_plan_clear(&plan);
}

static void test_keys_of_regions(void **state)
{
    static const struct ckpt_step regions[] = {
        {.offset = 0, .size = TARGET, .key = 7},
        {.offset = 0, .size = TARGET, .key = 8},
        {.offset = 0, .size = TARGET + 1, .key = 7},
        {.offset = 0, .size = TARGET, .key = 0},
    };
    enum { REGIONS = 4, EACH = 3 };
    const struct ckpt_step moved = {.offset = 4096, .size = TARGET, .key = 7};
    uint64_t keys[REGIONS * EACH];
    (void)state;
    for (size_t i = 0; i < REGIONS * EACH; i++) {
        keys[i] = ckpt_plan_region_key(&regions[i / EACH], i % EACH);
        assert_true(keys[i] != 0);
        for (size_t other = 0; other < i; other++) {
            assert_true(keys[i] != keys[other]);
        }
    }
    assert_true(ckpt_plan_region_key(&moved, 2) == keys[2]);
    /* A blob brings its key, whatever stands around it; a whole file has none. */
    static const struct part blob[] = {{BLOB, 50, TARGET, 7, 0}, {0}};
    struct ckpt_plan plan = plan_of(blob, 50 + TARGET);
    assert_true(step_at(&plan, 50)->key == 7);
    ckpt_plan_clear(&plan);
    plan = plan_of(&(struct part){0}, TARGET);
    assert_true(plan.steps[0].key == 0);
    ckpt_plan_clear(&plan);
}

/* ---- anything ---- */

/* Parts of all kinds and sizes, with and without gaps. Returns the file's size. */
static uint64_t random_parts(struct ckpt_part *parts, size_t n, uint64_t *seed)
{
    static const uint8_t widths[] = {0, 1, 2, 4, 8};
    static const uint64_t sizes[] = {16, SMALL - 1, SMALL, REGION - 1, REGION, TARGET, TARGET + REST, 5 * TARGET};
    uint64_t at = 0;
    for (size_t i = 0; i < n; i++) {
        uint64_t most = sizes[unit_random(seed) % (sizeof sizes / sizeof sizes[0])];
        at += unit_random(seed) % 3 == 0 ? unit_random(seed) % (200 * K) : unit_random(seed) % 2 * 64;
        parts[i] = (struct ckpt_part){
            .offset = at,
            .size = 1 + (unit_random(seed) % 2 == 0 ? most : unit_random(seed) % most),
            .key = 1 + unit_random(seed) % 100,
            .kind = unit_random(seed) % 4 == 0 ? CKPT_PART_BLOB : CKPT_PART_TENSOR,
            .width = widths[unit_random(seed) % sizeof widths],
        };
        at += parts[i].size;
    }
    return at + unit_random(seed) % 2 * (1 + unit_random(seed) % (200 * K));
}

static int by_offset(const void *a, const void *b)
{
    const struct ckpt_piece *one = a;
    const struct ckpt_piece *other = b;
    return one->offset < other->offset ? -1 : one->offset > other->offset;
}

/* Every byte stands in exactly one place; no chunk is longer than a slot of the pipeline. */
static void assert_covers(const struct ckpt_plan *plan, uint64_t size)
{
    struct range {
        struct ckpt_piece piece; /* its size doesn't hold that of a region */
        uint64_t size;
    } *ranges = calloc(plan->piece_count + plan->count + 1, sizeof *ranges);
    size_t n = 0;
    uint64_t at = 0;
    assert_non_null(ranges);
    for (size_t i = 0; i < plan->count; i++) {
        const struct ckpt_step *step = &plan->steps[i];
        uint64_t sum = 0;
        assert_true(step->size > 0);
        assert_true(i == 0 || step->offset > plan->steps[i - 1].offset);
        if (step->pieces == 0) {
            ranges[n++] = (struct range){.piece.offset = step->offset, .size = step->size};
            continue;
        }
        assert_true(step->size <= CKPT_CHUNK_MAX);
        assert_true(step->first + step->pieces <= plan->piece_count);
        for (uint32_t p = 0; p < step->pieces; p++) {
            const struct ckpt_piece *piece = &plan->pieces[step->first + p];
            assert_true(p == 0 ? piece->offset == step->offset : piece->offset > piece[-1].offset);
            ranges[n++] = (struct range){.piece.offset = piece->offset, .size = piece->size};
            sum += piece->size;
        }
        assert_true(sum == step->size);
    }
    qsort(ranges, n, sizeof *ranges, by_offset);
    for (size_t i = 0; i < n; i++) {
        assert_true(ranges[i].piece.offset == at);
        at += ranges[i].size;
    }
    assert_true(at == size);
    free(ranges);
}

static void test_every_byte_is_planned_once(void **state)
{
    enum { ROUNDS = 2000, MOST = 60 };
    uint64_t seed = 1;
    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct ckpt_part list[MOST];
        struct ckpt_plan plan;
        struct ckpt_plan again;
        struct ckpt_parts parts = {.list = list, .count = 1 + unit_random(&seed) % (MOST - 1)};
        uint64_t size = random_parts(list, parts.count, &seed);
        assert_ok(ckpt_plan_make(&parts, size, &plan));
        assert_covers(&plan, size);
        assert_ok(ckpt_plan_make(&parts, size, &again));
        assert_int_equal(again.count, plan.count);
        for (size_t i = 0; i < plan.count; i++) {
            assert_true(again.steps[i].key == plan.steps[i].key);
        }
        ckpt_plan_clear(&again);
        ckpt_plan_clear(&plan);
    }
}

/* As many pieces as a file of many tiny tensors has. */
static void test_a_file_of_a_million_parts(void **state)
{
    enum { EACH = 40 };
    struct ckpt_parts parts = {.count = CKPT_PARTS_MAX};
    struct ckpt_plan plan;
    (void)state;
    parts.list = calloc(parts.count, sizeof *parts.list);
    assert_non_null(parts.list);
    for (size_t i = 0; i < parts.count; i++) {
        parts.list[i] = (struct ckpt_part){
            .offset = i * EACH + 8, .size = EACH - 8, .key = i + 1, .kind = CKPT_PART_TENSOR, .width = 4};
    }
    uint64_t size = (uint64_t)parts.count * EACH;
    assert_ok(ckpt_plan_make(&parts, size, &plan));
    assert_covers(&plan, size);
    assert_true(plan.count < 1 + 2 * (size / (TARGET - EACH)));
    ckpt_plan_clear(&plan);
    free(parts.list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parts_become_steps),
        cmocka_unit_test(test_pieces_stand_in_the_order_of_the_file),
        cmocka_unit_test(test_a_tensor_is_found_at_another_place),
        cmocka_unit_test(test_small_tensors_are_found_at_another_place),
        cmocka_unit_test(test_a_shared_chunk_depends_on_no_other),
        cmocka_unit_test(test_what_has_another_key),
        cmocka_unit_test(test_the_chunks_of_a_tensor_have_keys_of_their_own),
        cmocka_unit_test(test_keys_of_regions),
        cmocka_unit_test(test_every_byte_is_planned_once),
        cmocka_unit_test(test_a_file_of_a_million_parts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
