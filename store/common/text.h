/*
 * Text in names and paths. Pure; any thread.
 */
#ifndef CKPT_STORE_TEXT_H
#define CKPT_STORE_TEXT_H

#include <stdbool.h>

bool ckpt_ends_with(const char *text, const char *end);

/* What stands behind the last slash of PATH, all of it without one. */
const char *ckpt_last_component(const char *path);

#endif
