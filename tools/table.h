/*
 * A table for people: columns as wide as what stands in them.
 */
#ifndef CKPT_TOOL_TABLE_H
#define CKPT_TOOL_TABLE_H

#include <stdbool.h>
#include <stddef.h>

enum { TABLE_COLUMNS = 64 };

struct table {
    size_t columns;
    bool right[TABLE_COLUMNS]; /* aligned so; else left */
    char **cells;              /* line by line, the heading first */
    size_t n;
    bool failed; /* out of memory */
};

/* One more column, before the first cell. More than there is room for are left out. */
void table_column(struct table *table, const char *name, bool right);

/* The next cell; "" is an empty one. */
void table_cell(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Writes it to stdout; a column with nothing in it but its name is left out. */
void table_print(const struct table *table);
void table_clear(struct table *table);

#endif
