/* Cold files while host calls fail: demotion, the hot limit, promotion, further names of stubs, forgetting. */
#include "fault.h"
#include <stdlib.h>

enum { ALL = SPACE_KIND | IO_KIND | SYNC_KIND };

static void two_versions(struct world *w)
{
    assert_int_equal(world_save(w, "a.pt", SMALL_A), CKPT_OK);
    assert_int_equal(world_save(w, "holes.pt", HOLES), CKPT_OK);
    assert_int_equal(world_flush(w), CKPT_OK);
    assert_int_equal(world_save(w, "a.pt", SMALL_B), CKPT_OK);
    assert_int_equal(world_flush(w), CKPT_OK);
}

static void cold(struct world *w)
{
    two_versions(w);
    assert_int_equal(world_demote(w, "a.pt"), CKPT_OK);
    assert_int_equal(world_demote(w, "holes.pt"), CKPT_OK);
    assert_true(world_is_cold(w, "a.pt"));
}

static void demote(struct world *w)
{
    if (world_demote(w, "a.pt") == CKPT_OK) {
        assert_true(world_is_cold(w, "a.pt"));
    }
    (void)!world_demote(w, "holes.pt");
}

static void demotion(void **state)
{
    (void)state;
    fault_loop(
        &(struct scenario){.name = "demote", .kinds = ALL, .prepare = two_versions, .run = demote});
}

/* The engine does it by itself. */
static void over_limit(struct world *w)
{
    (void)!world_save(w, "b.pt", SMALL_C);
    (void)!world_flush(w);
    (void)!world_save(w, "c.pt", SMALL_A);
    (void)!world_flush(w);
}

static void the_hot_limit(void **state)
{
    (void)state;
    fault_loop(&(struct scenario){.name = "hot limit",
                                  .kinds = ALL,
                                  .prepare = two_versions,
                                  .run = over_limit,
                                  .hot_limit = 400 << 10});
}

static void promote(struct world *w)
{
    (void)!world_rewrite(w, "a.pt", SMALL_C);
    (void)!world_rewrite(w, "holes.pt", SMALL_A);
    (void)!world_flush(w);
}

static void promotion(void **state)
{
    (void)state;
    fault_loop(&(struct scenario){
        .name = "promote", .kinds = ALL | SHORT_KIND, .prepare = cold, .run = promote});
}

static void empty(struct world *w)
{
    (void)!world_save(w, "a.pt", SMALL_C);
    (void)!world_save(w, "holes.pt", NOTHING);
    (void)!world_flush(w);
}

static void promotion_of_what_is_emptied(void **state)
{
    (void)state;
    fault_loop(&(struct scenario){
        .name = "promote without bytes", .kinds = IO_KIND | SPACE_KIND, .prepare = cold, .run = empty});
}

static void name_again(struct world *w)
{
    (void)!world_link(w, "a.pt", "b.pt");
    (void)!world_rename(w, "holes.pt", "c.pt");
    (void)!world_flush(w);
}

static void further_names_of_stubs(void **state)
{
    (void)state;
    fault_loop(
        &(struct scenario){.name = "names of stubs", .kinds = ALL, .prepare = cold, .run = name_again});
}

static void three_versions(struct world *w)
{
    two_versions(w);
    assert_int_equal(world_save(w, "a.pt", SMALL_C), CKPT_OK);
    assert_int_equal(world_save(w, "big.pt", BIG), CKPT_OK);
    assert_int_equal(world_flush(w), CKPT_OK);
    world_unlink(w, "big.pt");
}

static void forget(struct world *w)
{
    (void)!world_forget(w, "a.pt", 2, (const uint32_t[]){1, 2}, (const int[]){SMALL_A, SMALL_B});
    (void)!world_forget(w, "big.pt", 1, (const uint32_t[]){1}, (const int[]){BIG});
}

static void forgetting(void **state)
{
    (void)state;
    fault_loop(
        &(struct scenario){.name = "forget", .kinds = ALL, .prepare = three_versions, .run = forget});
}

/* Version 2 is all there is of a.pt. */
static void forget_cold(struct world *w)
{
    enum ckpt_err err =
        world_forget(w, "a.pt", 2, (const uint32_t[]){1, 2}, (const int[]){SMALL_A, SMALL_B});
    assert_int_not_equal(err, CKPT_OK);
    (void)!world_forget(w, "a.pt", 1, (const uint32_t[]){1}, (const int[]){SMALL_A});
}

static void forgetting_beside_a_cold_file(void **state)
{
    (void)state;
    fault_loop(
        &(struct scenario){.name = "forget cold", .kinds = ALL, .prepare = cold, .run = forget_cold});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(demotion),
        fault_test(the_hot_limit),
        fault_test(promotion),
        fault_test(promotion_of_what_is_emptied),
        fault_test(further_names_of_stubs),
        fault_test(forgetting),
        fault_test(forgetting_beside_a_cold_file),
    };
    cmocka_set_test_filter(getenv("FAULT_TEST"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
