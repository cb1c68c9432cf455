/*
 * Where the values of a JSON text begin and end, for texts that are too long for one tree. What they are is
 * jansson's business.
 */
#include "metrics_parts.h"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void skip_blanks(struct ckpt_metrics_text *rest)
{
    while (rest->size > 0 && is_blank(rest->at[0])) {
        rest->at++;
        rest->size--;
    }
}

bool ckpt_metrics_scan_char(struct ckpt_metrics_text *rest, char c)
{
    skip_blanks(rest);
    if (rest->size == 0 || rest->at[0] != c) {
        return false;
    }
    rest->at++;
    rest->size--;
    return true;
}

/* The length of the value that REST begins with, brackets and quotes closed; 0: it isn't whole. */
static size_t value_length(struct ckpt_metrics_text rest)
{
    size_t depth = 0;
    bool quoted = false;
    for (size_t i = 0; i < rest.size; i++) {
        char c = rest.at[i];
        if (quoted) {
            i += c == '\\' ? 1 : 0;
            quoted = c != '"';
            if (!quoted && depth == 0) {
                return i + 1;
            }
        } else if (c == '"') {
            quoted = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            if (depth <= 1) {
                return depth == 0 ? i : i + 1;
            }
            depth--;
        } else if (depth == 0 && (c == ',' || c == ':' || is_blank(c))) {
            return i;
        }
    }
    return 0;
}

bool ckpt_metrics_scan_value(struct ckpt_metrics_text *rest, struct ckpt_metrics_text *value)
{
    skip_blanks(rest);
    *value = (struct ckpt_metrics_text){rest->at, value_length(*rest)};
    rest->at += value->size;
    rest->size -= value->size;
    return value->size > 0;
}
