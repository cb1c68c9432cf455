/*
 * Names of checkpoints, by their letters.
 */
#include "unit.h"

#include "selection.h"

struct expected {
    const char *text;
    const char *run; /* NULL: it is no such name */
    enum selection_by by;
    uint64_t number;
    const char *what; /* text of the selection */
};

static const struct expected names[] = {
    {"run@best", "run", SELECT_BEST, 0, ""},
    {"/mnt/a b/run@latest", "/mnt/a b/run", SELECT_LATEST, 0, ""},
    {"run@final", "run", SELECT_FINAL, 0, ""},
    {"@best", ".", SELECT_BEST, 0, ""},
    {"run@epoch=12", "run", SELECT_EPOCH, 12, ""},
    {"run@step=18446744073709551615", "run", SELECT_STEP, UINT64_MAX, ""},
    {"run@tag=v1.0", "run", SELECT_TAG, 0, "v1.0"},
    {"me@home/run@tag=stable", "me@home/run", SELECT_TAG, 0, "stable"},
    {"run@0a1b", "run", SELECT_ID, 0, "0a1b"},
    {"run@0A1B2C3D4E5F6071", "run", SELECT_ID, 0, "0A1B2C3D4E5F6071"},
    {"run", NULL, 0, 0, NULL},
    {"run@", NULL, 0, 0, NULL},
    {"run@v3", NULL, 0, 0, NULL},
    {"run@best/model.pt", NULL, 0, 0, NULL},
    {"run@0a1", NULL, 0, 0, NULL},
    {"run@0a1b2c3d4e5f60718", NULL, 0, 0, NULL},
    {"run@epoch", NULL, 0, 0, NULL},
    {"run@epoch=", NULL, 0, 0, NULL},
    {"run@epoch=-1", NULL, 0, 0, NULL},
    {"run@epoch=1x", NULL, 0, 0, NULL},
    {"run@step=18446744073709551616", NULL, 0, 0, NULL},
    {"run@tag=", NULL, 0, 0, NULL},
    {"run@best=1", NULL, 0, 0, NULL},
};

static void test_names(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const struct expected *e = &names[i];
        char run[PATH_MAX] = "";
        struct selection s = {0};
        if (selection_parse(e->text, run, &s) != (e->run != NULL)) {
            fail_msg("%s", e->text);
        }
        if (e->run != NULL) {
            assert_string_equal(run, e->run);
            assert_int_equal(s.by, e->by);
            assert_int_equal(s.number, e->number);
            assert_string_equal(s.text, e->what);
        }
    }
}

static const struct {
    const char *view;
    const char *rest; /* NULL: it is none */
    enum selection_by by;
    uint64_t number;
    const char *what;
} views[] = {
    {"best", "", SELECT_BEST, 0, ""},
    {"latest/checkpoint.pt", "checkpoint.pt", SELECT_LATEST, 0, ""},
    {"final/sub/model.bin", "sub/model.bin", SELECT_FINAL, 0, ""},
    {"epoch/3", "", SELECT_EPOCH, 3, ""},
    {"epoch/3/model.pt", "model.pt", SELECT_EPOCH, 3, ""},
    {"step/400/a/b", "a/b", SELECT_STEP, 400, ""},
    {"tag/stable/model.pt", "model.pt", SELECT_TAG, 0, "stable"},
    {"top/val_loss/2/model.pt", "model.pt", SELECT_TOP, 2, "val_loss"},
    {"bestial", NULL, 0, 0, NULL},
    {"epoch", NULL, 0, 0, NULL},
    {"epoch/", NULL, 0, 0, NULL},
    {"epoch/x", NULL, 0, 0, NULL},
    {"tag", NULL, 0, 0, NULL},
    {"top/2/model.pt", "model.pt", SELECT_TOP, 2, ""},
    {"top/2/3", "3", SELECT_TOP, 2, ""},
    {"top/2", "", SELECT_TOP, 2, ""},
    {"top/0", NULL, 0, 0, NULL},
    {"top/val_loss", NULL, 0, 0, NULL},
    {"top/val_loss/0", NULL, 0, 0, NULL},
    {"history/model.pt/v0001", NULL, 0, 0, NULL},
    {"", NULL, 0, 0, NULL},
};

static void test_views(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
        const char *rest = NULL;
        struct selection s = {0};
        if (selection_of_view(views[i].view, &s, &rest) != (views[i].rest != NULL)) {
            fail_msg("%s", views[i].view);
        }
        if (rest != NULL) {
            assert_string_equal(rest, views[i].rest);
            assert_int_equal(s.by, views[i].by);
            assert_int_equal(s.number, views[i].number);
            assert_string_equal(s.text, views[i].what);
        }
    }
}

static void test_texts_that_are_too_long_are_no_names(void **state)
{
    (void)state;
    static char text[2 * PATH_MAX];
    char run[PATH_MAX];
    struct selection s;
    const char *rest = NULL;
    memset(text, 'a', sizeof text - 8);
    memcpy(text + sizeof text - 8, "@best", 6);
    assert_false(selection_parse(text, run, &s));
    memcpy(text, "run@tag=", 8);
    text[8 + NAME_MAX + 1] = '\0';
    assert_false(selection_parse(text, run, &s));
    memcpy(text, "tag/aaaa", 8);
    assert_false(selection_of_view(text, &s, &rest));
}

static void test_ids(void **state)
{
    (void)state;
    assert_true(selection_is_id("0a1b"));
    assert_true(selection_is_id("0123456789abcdef"));
    assert_false(selection_is_id("0a1"));
    assert_false(selection_is_id("0123456789abcdef0"));
    assert_false(selection_is_id("0a1g"));
    assert_false(selection_is_id(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_views),
        cmocka_unit_test(test_texts_that_are_too_long_are_no_names),
        cmocka_unit_test(test_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
