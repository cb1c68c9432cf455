#include "table.h"
#include "output.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

/* Places on a terminal, as output_name() writes it. */
static size_t width_of(const char *text)
{
    size_t width = 0;
    mbstate_t state = {0};
    while (*text != '\0') {
        wchar_t c = 0;
        unsigned char byte = (unsigned char)*text;
        size_t n = mbrtowc(&c, text, strlen(text), &state);
        if (n > (size_t)-3 || n == 0) { /* no character of this locale */
            state = (mbstate_t){0};
            n = 1;
        }
        int places = byte < 0x20 || byte == 0x7f ? 4 : n == 1 ? 1 : wcwidth(c);
        width += places < 0 ? 1 : (size_t)places;
        text += n;
    }
    return width;
}

static void add(struct table *table, char *text)
{
    if ((table->n & (table->n - 1)) == 0) {
        char **cells = reallocarray(table->cells, table->n == 0 ? 1 : 2 * table->n, sizeof *cells);
        if (cells == NULL) {
            free(text);
            text = NULL;
        } else {
            table->cells = cells;
        }
    }
    if (text == NULL) {
        table->failed = true;
        return;
    }
    table->cells[table->n++] = text;
}

void table_column(struct table *table, const char *name, bool right)
{
    if (table->columns < TABLE_COLUMNS) {
        table->right[table->columns++] = right;
        add(table, strdup(name));
    }
}

void table_cell(struct table *table, const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    add(table, vasprintf(&text, format, args) < 0 ? NULL : text);
    va_end(args);
}

/* *GAP: spaces that are due, so that none stand at the end of a line. */
static void print_cell(const struct table *table, size_t column, size_t width, const char *text, size_t *gap)
{
    size_t pad = width - width_of(text);
    *gap += table->right[column] ? pad : 0;
    for (; text[0] != '\0' && *gap > 0; --*gap) {
        putchar(' ');
    }
    output_name(text);
    *gap += (table->right[column] ? 0 : pad) + 2;
}

void table_print(const struct table *table)
{
    size_t widths[TABLE_COLUMNS] = {0};
    for (size_t i = table->columns; i < table->n; i++) {
        size_t width = width_of(table->cells[i]);
        size_t column = i % table->columns;
        widths[column] = width > widths[column] ? width : widths[column];
    }
    for (size_t c = 0; c < table->columns; c++) {
        size_t width = width_of(table->cells[c]);
        widths[c] = widths[c] > 0 && width > widths[c] ? width : widths[c];
    }
    for (size_t i = 0; i + table->columns <= table->n; i += table->columns) {
        size_t gap = 0;
        for (size_t c = 0; c < table->columns; c++) {
            if (widths[c] > 0) {
                print_cell(table, c, widths[c], table->cells[i + c], &gap);
            }
        }
        putchar('\n');
    }
}

void table_clear(struct table *table)
{
    for (size_t i = 0; i < table->n; i++) {
        free(table->cells[i]);
    }
    free(table->cells);
    *table = (struct table){0};
}
