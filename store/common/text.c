#include "text.h"
#include <string.h>

bool ckpt_ends_with(const char *text, const char *end)
{
    size_t n = strlen(text);
    size_t size = strlen(end);
    return n >= size && strcmp(text + n - size, end) == 0;
}

const char *ckpt_last_component(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}
