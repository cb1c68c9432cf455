#include "unit.h"

#include "common/utf8.h"

static void what_begins_a_text(void **state)
{
    static const struct {
        const char *text;
        size_t n;
        size_t expected;
    } cases[] = {
        {"a", 1, 1},
        {"\x7f", 1, 1},
        {"\0", 1, 1},
        {"\xc2\x80", 2, 2},
        {"\xdf\xbf" "a", 3, 2},
        {"\xe0\xa0\x80", 3, 3},
        {"\xed\x9f\xbf", 3, 3},
        {"\xee\x80\x80", 3, 3},
        {"\xf0\x90\x80\x80", 4, 4},
        {"\xf4\x8f\xbf\xbf", 4, 4},
        {"\x80", 1, 0},             /* nothing before it */
        {"\xc1\xbf", 2, 0},         /* overlong */
        {"\xe0\x9f\xbf", 3, 0},
        {"\xf0\x8f\xbf\xbf", 4, 0},
        {"\xed\xa0\x80", 3, 0},     /* a surrogate */
        {"\xf4\x90\x80\x80", 4, 0}, /* beyond U+10FFFF */
        {"\xf5\x80\x80\x80", 4, 0},
        {"\xff", 1, 0},
        {"\xc3", 1, 0}, /* cut off */
        {"\xe2\x82\xac", 2, 0},
        {"\xf0\x9f\x98\x80", 3, 0},
        {"\xc3" "a", 2, 0},
        {"\xe2\x82" "a", 3, 0},
        {"\xf0\x9f\x98" "a", 4, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        if (ckpt_utf8_size(cases[i].text, cases[i].n) != cases[i].expected) {
            fail_msg("case %zu", i);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_begins_a_text)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
