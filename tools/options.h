/*
 * Options of the command line: --name VALUE, --name=VALUE, -l, grouped flags (-rn), "--" ends them.
 * They may stand before, between and after the operands.
 */
#ifndef CKPT_TOOL_OPTIONS_H
#define CKPT_TOOL_OPTIONS_H

#include "tool.h"

/* One option of a command; a table ends with an entry without a name. Either FLAG or VALUE is set. */
struct option_spec {
    const char *name; /* without the dashes */
    char letter;      /* 0 for none */
    bool *flag;
    const char **value;
};

/*
 * Takes the options out of ARGV: those in OWN (may be NULL) and the global ones. *ARGC operands are left at
 * its front. FIRST_ONLY stops before the first operand, and leaves it and all that follows in place.
 */
int options_parse(struct tool *tool, const struct option_spec *own, bool first_only, int *argc,
                  char **argv);

/* A number from MIN to MAX, in decimal. Returns an exit code. */
int options_number(struct tool *tool, const char *name, const char *text, unsigned long min,
                   unsigned long max, unsigned long *number);

#endif
