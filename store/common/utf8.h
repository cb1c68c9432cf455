/*
 * UTF-8 (RFC 3629, section 4).
 */
#ifndef CKPT_UTF8_H
#define CKPT_UTF8_H

#include <stddef.h>

/* The bytes of the character at TEXT, which has N > 0 bytes; 0: none begins there. A NUL is a character. */
size_t ckpt_utf8_size(const char *text, size_t n);

#endif
