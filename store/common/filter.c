#include <ckpt/filter.h>
#include <ctype.h>
#include <errno.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

static const char *const default_items =
    "*.pt:*.pth:*.ckpt:*.bin:*.safetensors:*.h5:*.hdf5:*.keras:*.npz:*.npy:*.distcp:*.msgpack:"
    "*.pkl:*.onnx:*.gguf:*.tar:>1M:"
    "!*.log:!*.csv:!*.json:!*.jsonl:!events.out.tfevents*:!*.tmp:!.*";

struct pattern {
    char *text;
    bool exclude;
    bool builtin; /* of the built-in list */
    struct pattern *next;
};

struct ckpt_filter {
    struct pattern *patterns;
    bool has_size;
    uint64_t least_size;
};

enum ckpt_err ckpt_size_parse(const char *text, uint64_t *bytes)
{
    static const char units[] = "KMGTP";
    static const char digits[] = "0123456789";
    char *end = NULL;
    size_t whole = strspn(text, digits);
    size_t part = text[whole] == '.' ? strspn(text + whole + 1, digits) : 0;
    size_t n = whole + (part > 0 ? 1 + part : 0);
    errno = 0;
    double value = strtod(text, &end);
    /* It also takes "1e3", "0x10" and "inf", which are no sizes. */
    if (whole == 0 || errno != 0 || end != text + n) {
        return CKPT_ERR_INVALID;
    }
    const char *unit = *end == '\0' ? NULL : strchr(units, toupper((unsigned char)*end));
    if (*end != '\0') {
        if (unit == NULL) {
            return CKPT_ERR_INVALID;
        }
        end++;
        /* "10G", "10GB" and "10GiB" mean the same. */
        if (strcmp(end, "") != 0 && strcasecmp(end, "B") != 0 && strcasecmp(end, "iB") != 0) {
            return CKPT_ERR_INVALID;
        }
        value *= (double)(UINT64_C(1) << (10 * (unit - units + 1)));
    }
    if (value >= 9e18) {
        return CKPT_ERR_INVALID;
    }
    *bytes = (uint64_t)value;
    return CKPT_OK;
}

static enum ckpt_err add_pattern(struct ckpt_filter *filter, const char *text, size_t n,
                                 bool exclude)
{
    struct pattern *pattern = calloc(1, sizeof *pattern);
    if (pattern == NULL || (pattern->text = strndup(text, n)) == NULL) {
        free(pattern);
        return CKPT_ERR_NOMEM;
    }
    pattern->exclude = exclude;
    pattern->next = filter->patterns;
    filter->patterns = pattern;
    return CKPT_OK;
}

static enum ckpt_err add_items(struct ckpt_filter *filter, const char *text, const char **bad);

static enum ckpt_err add_item(struct ckpt_filter *filter, const char *item, size_t n)
{
    const char *ignored = NULL;
    if (n == strlen(CKPT_FILTER_DEFAULT) && memcmp(item, CKPT_FILTER_DEFAULT, n) == 0) {
        const struct pattern *before = filter->patterns;
        enum ckpt_err err = add_items(filter, default_items, &ignored);
        for (struct pattern *p = filter->patterns; p != before; p = p->next) {
            p->builtin = true;
        }
        return err;
    }
    if (item[0] == '>') {
        char size[32];
        if (n - 1 >= sizeof size) {
            return CKPT_ERR_INVALID;
        }
        memcpy(size, item + 1, n - 1);
        size[n - 1] = '\0';
        filter->has_size = true;
        return ckpt_size_parse(size, &filter->least_size);
    }
    bool exclude = item[0] == '!';
    if (n - exclude == 0 || memchr(item, '/', n) != NULL) {
        return CKPT_ERR_INVALID;
    }
    return add_pattern(filter, item + exclude, n - exclude, exclude);
}

static enum ckpt_err add_items(struct ckpt_filter *filter, const char *text, const char **bad)
{
    const char *at = text;
    for (;;) {
        size_t n = strcspn(at, ":");
        enum ckpt_err err = n == 0 ? CKPT_ERR_INVALID : add_item(filter, at, n);
        if (err != CKPT_OK) {
            *bad = at;
            return err;
        }
        if (at[n] == '\0') {
            return CKPT_OK;
        }
        at += n + 1;
    }
}

enum ckpt_err ckpt_filter_parse(const char *text, struct ckpt_filter **out, const char **bad)
{
    const char *where = text;
    struct ckpt_filter *filter = calloc(1, sizeof *filter);
    if (filter == NULL) {
        return CKPT_ERR_NOMEM;
    }
    enum ckpt_err err = add_items(filter, text, &where);
    if (err != CKPT_OK) {
        ckpt_filter_free(filter);
        if (bad != NULL) {
            *bad = where;
        }
        return err;
    }
    *out = filter;
    return CKPT_OK;
}

void ckpt_filter_free(struct ckpt_filter *filter)
{
    if (filter == NULL) {
        return;
    }
    struct pattern *pattern = filter->patterns;
    while (pattern != NULL) {
        struct pattern *next = pattern->next;
        free(pattern->text);
        free(pattern);
        pattern = next;
    }
    free(filter);
}

static bool matches(const struct ckpt_filter *filter, const char *name, bool exclude)
{
    for (const struct pattern *p = filter->patterns; p != NULL; p = p->next) {
        if (p->exclude == exclude && fnmatch(p->text, name, FNM_CASEFOLD) == 0) {
            return true;
        }
    }
    return false;
}

bool ckpt_filter_excludes(const struct ckpt_filter *filter, const char *name)
{
    for (const struct pattern *p = filter->patterns; p != NULL; p = p->next) {
        if (p->exclude && !p->builtin && fnmatch(p->text, name, FNM_CASEFOLD) == 0) {
            return true;
        }
    }
    return false;
}

bool ckpt_filter_match_name(const struct ckpt_filter *filter, const char *name)
{
    return !matches(filter, name, true) && matches(filter, name, false);
}

bool ckpt_filter_match(const struct ckpt_filter *filter, const char *name, uint64_t size)
{
    if (matches(filter, name, true)) {
        return false;
    }
    return matches(filter, name, false) || (filter->has_size && size >= filter->least_size);
}
