#include "selection.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct word {
    const char *name;
    enum selection_by by;
};

/* As they stand behind "@" alone, and in front of "=" or, in views, of "/". */
static const struct word alone[] = {{"best", SELECT_BEST}, {"latest", SELECT_LATEST}, {"final", SELECT_FINAL}};
static const struct word keys[] = {{"epoch", SELECT_EPOCH}, {"step", SELECT_STEP}, {"tag", SELECT_TAG}};

static const struct word *word_of(const struct word *words, size_t n, const char *text, size_t length)
{
    for (size_t i = 0; i < n; i++) {
        if (strlen(words[i].name) == length && memcmp(words[i].name, text, length) == 0) {
            return &words[i];
        }
    }
    return NULL;
}

#define WORD_OF(words, text, length) word_of(words, sizeof(words) / sizeof *(words), text, length)

bool selection_is_id(const char *text)
{
    size_t n = strlen(text);
    return n >= SELECTION_DIGITS && n <= SELECTION_ID && strspn(text, "0123456789abcdefABCDEF") == n;
}

static bool parse_number(const char *text, size_t n, uint64_t *number)
{
    char copy[24];
    if (n == 0 || n >= sizeof copy || strspn(text, "0123456789") < n) {
        return false;
    }
    memcpy(copy, text, n);
    copy[n] = '\0';
    errno = 0;
    *number = strtoull(copy, NULL, 10);
    return errno == 0;
}

static bool take_text(struct selection *selection, const char *text, size_t n)
{
    if (n == 0 || n >= sizeof selection->text) {
        return false;
    }
    memcpy(selection->text, text, n);
    selection->text[n] = '\0';
    return true;
}

static bool take_value(struct selection *selection, const struct word *key, const char *value, size_t n)
{
    *selection = (struct selection){.by = key->by};
    return key->by == SELECT_TAG ? take_text(selection, value, n) : parse_number(value, n, &selection->number);
}

static bool parse_what(const char *what, struct selection *selection)
{
    const struct word *word = WORD_OF(alone, what, strlen(what));
    if (word != NULL) {
        *selection = (struct selection){.by = word->by};
        return true;
    }
    size_t n = strcspn(what, "=");
    word = WORD_OF(keys, what, n);
    if (word != NULL && what[n] == '=') {
        return take_value(selection, word, what + n + 1, strlen(what + n + 1));
    }
    *selection = (struct selection){.by = SELECT_ID};
    return selection_is_id(what) && take_text(selection, what, strlen(what));
}

bool selection_parse(const char *text, char run[PATH_MAX], struct selection *selection)
{
    struct selection found;
    const char *at = strrchr(text, '@');
    if (at == NULL || at - text >= PATH_MAX || !parse_what(at + 1, &found)) {
        return false;
    }
    snprintf(run, PATH_MAX, "%.*s", (int)(at - text), text);
    if (at == text) {
        snprintf(run, PATH_MAX, ".");
    }
    *selection = found;
    return true;
}

/* Moves *TEXT behind the component that it begins with, of *N bytes. */
static const char *component(const char **text, size_t *n)
{
    const char *start = *text;
    *n = strcspn(start, "/");
    *text = start + *n + strspn(start + *n, "/");
    return start;
}

bool selection_of_view(const char *view, struct selection *selection, const char **rest)
{
    size_t n = 0;
    size_t value_size = 0;
    struct selection found = {.by = SELECT_TOP};
    const char *at = view;
    const char *name = component(&at, &n);
    const struct word *word = WORD_OF(alone, name, n);
    if (word != NULL) {
        found.by = word->by;
    } else {
        bool top = n == 3 && memcmp(name, "top", 3) == 0;
        word = WORD_OF(keys, name, n);
        const char *value = component(&at, &value_size);
        if ((word == NULL || !take_value(&found, word, value, value_size)) &&
            (!top || !take_text(&found, value, value_size))) {
            return false;
        }
        if (top && parse_number(value, value_size, &found.number)) {
            found.text[0] = '\0'; /* top/2: no metric is listed under the name of a place */
        } else if (top) {
            value = component(&at, &value_size);
            if (!parse_number(value, value_size, &found.number)) {
                return false;
            }
        }
        if (top && found.number == 0) {
            return false;
        }
    }
    *selection = found;
    *rest = at;
    return true;
}

void selection_print(const struct selection *selection, char *text, size_t size)
{
    switch (selection->by) {
    case SELECT_BEST:
        snprintf(text, size, "best checkpoint");
        break;
    case SELECT_LATEST:
        snprintf(text, size, "complete checkpoint");
        break;
    case SELECT_FINAL:
        snprintf(text, size, "final checkpoint");
        break;
    case SELECT_EPOCH:
        snprintf(text, size, "checkpoint of epoch %" PRIu64, selection->number);
        break;
    case SELECT_STEP:
        snprintf(text, size, "checkpoint of step %" PRIu64, selection->number);
        break;
    case SELECT_TAG:
        snprintf(text, size, "checkpoint with the tag \"%s\"", selection->text);
        break;
    case SELECT_ID:
        snprintf(text, size, "checkpoint whose id begins with %s", selection->text);
        break;
    case SELECT_TOP:
        snprintf(text, size, "place %" PRIu64 " by %s", selection->number,
                 selection->text[0] != '\0' ? selection->text : "its primary metric");
        break;
    }
}
