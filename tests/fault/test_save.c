/* Saving and recording while host calls fail: capture, ingest, flush, and changing files that are still pending. */
#include "fault.h"
#include <stdlib.h>

enum { ALL = SPACE_KIND | IO_KIND | SYNC_KIND };

static void nothing(struct world *w)
{
    (void)w;
}

static void new_files(struct world *w)
{
    (void)!world_save(w, "a.pt", SMALL_A);
    (void)!world_save(w, "empty.pt", NOTHING);
    (void)!world_flush(w);
    (void)!world_save(w, "b.pt", SMALL_B);
    (void)!world_flush(w);
}

static void a_new_file(void **state)
{
    (void)state;
    fault_loop(&(struct scenario){.name = "new file", .kinds = ALL, .prepare = nothing, .run = new_files});
}

static void make_directory(struct world *w)
{
    world_mkdir(w, "run");
    world_mkdir(w, "run/deep");
}

static void in_directory(struct world *w)
{
    (void)!world_save(w, "run/deep/a.pt", SMALL_A);
    (void)!world_flush(w);
}

static void a_new_directory(void **state)
{
    (void)state;
    fault_loop(&(struct scenario){
        .name = "new directory", .kinds = ALL, .prepare = make_directory, .run = in_directory});
}

static void big(struct world *w)
{
    (void)!world_save(w, "big.pt", BIG);
    (void)!world_save(w, "a.pt", SMALL_A);
    (void)!world_flush(w);
}

static void several_transactions(void **state)
{
    (void)state;
    fault_loop(&(struct scenario){
        .name = "several transactions", .kinds = ALL, .prepare = nothing, .run = big});
}

static void holes(struct world *w)
{
    (void)!world_save(w, "holes.pt", HOLES);
    (void)!world_flush(w);
}

static void a_file_with_holes(void **state)
{
    (void)state;
    fault_loop(&(struct scenario){.name = "holes", .kinds = ALL, .prepare = nothing, .run = holes});
}

static void one_version(struct world *w)
{
    assert_int_equal(world_save(w, "a.pt", SMALL_A), CKPT_OK);
    assert_int_equal(world_flush(w), CKPT_OK);
}

static void overwrite(struct world *w)
{
    (void)!world_save(w, "a.pt", SMALL_B);
    (void)!world_flush(w);
    (void)!world_replace(w, "a.pt", SMALL_C);
    (void)!world_replace(w, "a.pt", SMALL_A);
    (void)!world_flush(w);
}

static void an_overwritten_file(void **state)
{
    (void)state;
    fault_loop(&(struct scenario){
        .name = "overwritten file", .kinds = ALL, .prepare = one_version, .run = overwrite});
}

static void same_content(struct world *w)
{
    (void)!world_save(w, "a.pt", SMALL_A); /* unchanged */
    (void)!world_save(w, "b.pt", SMALL_A); /* known under another name */
    (void)!world_link(w, "a.pt", "c.pt");
    (void)!world_flush(w);
    (void)!world_rename(w, "b.pt", "d.pt");
    (void)!world_flush(w);
}

static void the_same_content_again(void **state)
{
    (void)state;
    fault_loop(&(struct scenario){
        .name = "same content", .kinds = ALL, .prepare = one_version, .run = same_content});
}

/* Nothing is flushed in between, so each change finds the file pending. */
static void change_pending(struct world *w)
{
    (void)!world_save(w, "a.pt", SMALL_B);
    (void)!world_rewrite(w, "a.pt", SMALL_C); /* preserve */
    (void)!world_save(w, "a.pt", SMALL_A);    /* swap */
    (void)!world_rewrite(w, "a.pt", HOLES);
    (void)!world_rewrite(w, "a.pt", SMALL_B); /* a copy of a file with holes */
    (void)!world_flush(w);
}

static void prepare_pending(struct world *w)
{
    one_version(w);
    w->settle_ms = 60000;
}

static void changes_of_a_pending_file(void **state)
{
    (void)state;
    fault_loop(&(struct scenario){.name = "pending file changed",
                                  .kinds = ALL | SHORT_KIND,
                                  .prepare = prepare_pending,
                                  .run = change_pending});
}

static void two_names(struct world *w)
{
    one_version(w);
    assert_int_equal(world_link(w, "a.pt", "b.pt"), CKPT_OK);
    assert_int_equal(world_flush(w), CKPT_OK);
}

/* Written through one name, changed under both. */
static void write_linked(struct world *w)
{
    (void)!world_rewrite(w, "a.pt", SMALL_B);
    (void)!world_save(w, "b.pt", SMALL_C);
    (void)!world_flush(w);
}

static void a_file_with_two_names(void **state)
{
    (void)state;
    fault_loop(&(struct scenario){
        .name = "two names", .kinds = ALL, .prepare = two_names, .run = write_linked});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fault_test(a_new_file),
        fault_test(a_new_directory),
        fault_test(several_transactions),
        fault_test(a_file_with_holes),
        fault_test(an_overwritten_file),
        fault_test(the_same_content_again),
        fault_test(changes_of_a_pending_file),
        fault_test(a_file_with_two_names),
    };
    cmocka_set_test_filter(getenv("FAULT_TEST"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
