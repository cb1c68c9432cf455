/*
 * What several unit tests need: cmocka in the right order, a directory on a real filesystem, bytes
 * that look random, and a store that remembers what it reported.
 */
#ifndef CKPT_TEST_UNIT_H
#define CKPT_TEST_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "object/internal.h"
#include <ckpt/store.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { UNIT_PATH = 256, UNIT_TEXT = 1024 };

#define assert_ok(expression) assert_int_equal((expression), CKPT_OK)

/* A fresh directory; /var/tmp is a disk where /tmp may be memory, which has no user attributes. */
static inline void unit_mkdir(char path[UNIT_PATH])
{
    const char *base = getenv("TMPDIR");
    int n = snprintf(path, UNIT_PATH, "%s/ckpt-unit-XXXXXX", base != NULL ? base : "/var/tmp");
    assert_in_range(n, 1, UNIT_PATH - 1);
    assert_non_null(mkdtemp(path));
}

static inline int unit_remove_entry(const char *path, const struct stat *st, int type,
                                    struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static inline void unit_rmdir(const char *path)
{
    assert_int_equal(nftw(path, unit_remove_entry, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static inline uint64_t unit_random(uint64_t *state)
{
    *state += 0x9e3779b97f4a7c15;
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

/* N bytes that don't compress; equal seeds give equal bytes. The caller frees. */
static inline uint8_t *unit_noise(size_t n, uint64_t seed)
{
    uint8_t *bytes = malloc(n + 8);
    assert_non_null(bytes);
    for (size_t i = 0; i < n; i += 8) {
        uint64_t word = unit_random(&seed);
        memcpy(bytes + i, &word, 8);
    }
    return bytes;
}

/* N bytes that compress to about half, as float weights do. The caller frees. */
static inline uint8_t *unit_weights(size_t n, uint64_t seed)
{
    uint8_t *bytes = unit_noise(n, seed);
    for (size_t i = 0; i < n; i++) {
        bytes[i] = i % 2 == 0 ? bytes[i] : 0x3c;
    }
    return bytes;
}

/* The same 32-bit floats a step of training later, in place: only their low bits differ. N is a multiple of 4. */
static inline void unit_train(uint8_t *bytes, size_t n, uint64_t seed)
{
    for (size_t i = 0; i < n; i += 4) {
        uint32_t word;
        memcpy(&word, bytes + i, 4);
        word += (uint32_t)(unit_random(&seed) % 512) - 256;
        memcpy(bytes + i, &word, 4);
    }
}

/* N bytes of 32-bit floats around zero: seven exponents, random signs and mantissas. The caller frees. */
static inline uint8_t *unit_floats(size_t n, uint64_t seed)
{
    uint8_t *bytes = unit_noise(n, seed);
    for (size_t i = 0; i + 4 <= n; i += 4) {
        uint32_t word;
        memcpy(&word, bytes + i, 4);
        word = (word & 0x807fffff) | (uint32_t)(0x7a - __builtin_ctz(word | 0x40)) << 23;
        memcpy(bytes + i, &word, 4);
    }
    return bytes;
}

struct unit_store {
    char dir[UNIT_PATH];
    struct ckpt_store *store;
    pthread_mutex_t lock;
    unsigned reports;     /* lock; how many there were */
    char text[UNIT_TEXT]; /* lock; the last one */
};

static inline void unit_report(void *arg, enum ckpt_level level, const char *text)
{
    struct unit_store *u = arg;
    (void)level;
    (void)pthread_mutex_lock(&u->lock);
    u->reports++;
    (void)snprintf(u->text, sizeof u->text, "%s", text);
    (void)pthread_mutex_unlock(&u->lock);
}

/* cmocka fixtures: *STATE is a struct unit_store with an empty store open for writing. */
static inline int unit_store_setup(void **state)
{
    struct unit_store *u = calloc(1, sizeof *u);
    assert_non_null(u);
    assert_int_equal(pthread_mutex_init(&u->lock, NULL), 0);
    struct ckpt_report report = {.fn = unit_report, .arg = u};
    unit_mkdir(u->dir);
    assert_ok(ckpt_store_create(u->dir, &report));
    assert_ok(ckpt_store_open(u->dir, CKPT_WRITE, NULL, &report, &u->store));
    *state = u;
    return 0;
}

static inline int unit_store_teardown(void **state)
{
    struct unit_store *u = *state;
    ckpt_store_close(u->store);
    unit_rmdir(u->dir);
    assert_int_equal(pthread_mutex_destroy(&u->lock), 0);
    free(u);
    return 0;
}

#endif
