#include "utf8.h"

size_t ckpt_utf8_size(const char *text, size_t n)
{
    const unsigned char *p = (const unsigned char *)text;
    unsigned char first = p[0];
    if (first < 0x80) {
        return 1;
    }
    size_t size = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
    /* No overlong forms, no surrogates, nothing beyond U+10FFFF. */
    unsigned char least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    unsigned char most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    if (size == 0 || size > n || p[1] < least || p[1] > most) {
        return 0;
    }
    for (size_t i = 2; i < size; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    return size;
}
