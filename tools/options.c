#include "options.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { GLOBALS = 4 };

struct parser {
    struct tool *tool;
    const struct option_spec *own;
    struct option_spec globals[GLOBALS + 1];
    char **argv;
    int argc;
    int next; /* the argument that is looked at next */
};

static const struct option_spec *find(const struct option_spec *table, const char *name, size_t n,
                                      char letter)
{
    for (; table && table->name; table++) {
        bool long_match = name && strlen(table->name) == n && memcmp(table->name, name, n) == 0;
        if (long_match || (letter && table->letter == letter)) {
            return table;
        }
    }
    return NULL;
}

static const struct option_spec *find_any(const struct parser *parser, const char *name, size_t n,
                                          char letter)
{
    const struct option_spec *spec = find(parser->own, name, n, letter);
    return spec ? spec : find(parser->globals, name, n, letter);
}

static int parse_long(struct parser *parser, const char *arg)
{
    const char *equals = strchr(arg, '=');
    size_t n = equals ? (size_t)(equals - arg) : strlen(arg);
    const struct option_spec *spec = find_any(parser, arg, n, 0);
    if (!spec) {
        return tool_usage(parser->tool, "unknown option --%.*s", (int)n, arg);
    }
    if (spec->flag) {
        *spec->flag = true;
        return equals ? tool_usage(parser->tool, "option --%s takes no value", spec->name)
                      : TOOL_OK;
    }
    assert(spec->value != NULL); /* the table has one of the two */
    if (equals) {
        *spec->value = equals + 1;
    } else if (parser->next < parser->argc) {
        *spec->value = parser->argv[parser->next++];
    } else {
        return tool_usage(parser->tool, "option --%s needs a value", spec->name);
    }
    return TOOL_OK;
}

static int parse_letters(struct parser *parser, const char *letters)
{
    for (; *letters; letters++) {
        const struct option_spec *spec = find_any(parser, NULL, 0, *letters);
        if (!spec || !spec->flag) {
            return tool_usage(parser->tool, "unknown option -%c", *letters);
        }
        *spec->flag = true;
    }
    return TOOL_OK;
}

int options_parse(struct tool *tool, const struct option_spec *own, bool first_only, int *argc,
                  char **argv)
{
    struct parser parser = {
        .tool = tool,
        .own = own,
        .globals = {{"store", 0, NULL, &tool->store_option},
                    {"json", 0, &tool->json, NULL},
                    {"help", 'h', &tool->help, NULL},
                    {"version", 'V', &tool->version, NULL}},
        .argv = argv,
        .argc = *argc,
    };
    int kept = 0;
    bool options = true;
    while (parser.next < parser.argc) {
        char *arg = argv[parser.next];
        bool operand = !options || arg[0] != '-' || arg[1] == '\0';
        if (operand && first_only) {
            break;
        }
        parser.next++;
        int code = TOOL_OK;
        if (operand) {
            argv[kept++] = arg;
        } else if (strcmp(arg, "--") == 0) {
            options = false;
        } else if (arg[1] == '-') {
            code = parse_long(&parser, arg + 2);
        } else {
            code = parse_letters(&parser, arg + 1);
        }
        if (code != TOOL_OK) {
            return code;
        }
    }
    if (first_only) {
        memmove(argv, argv + parser.next, (size_t)(parser.argc - parser.next) * sizeof(*argv));
        kept = parser.argc - parser.next;
    }
    *argc = kept;
    return TOOL_OK;
}

int options_number(struct tool *tool, const char *name, const char *text, unsigned long min,
                   unsigned long max, unsigned long *number)
{
    char *end = NULL;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end || errno || value < min || value > max) {
        return tool_usage(tool, "option --%s needs a number from %lu to %lu, not \"%s\"", name, min,
                          max, text);
    }
    *number = value;
    return TOOL_OK;
}
