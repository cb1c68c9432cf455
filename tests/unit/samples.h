/*
 * Walks through the samples in tests/files.
 */
#ifndef CKPT_TEST_SAMPLES_H
#define CKPT_TEST_SAMPLES_H

#include "unit.h"
#include <dirent.h>

#ifndef CKPT_FILES
#define CKPT_FILES "tests/files"
#endif

enum { SAMPLE_PATH = 1024 };

/* The bytes of a file, in memory of exactly that size. The caller frees. */
static inline uint8_t *sample_read(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    long size = ftell(f);
    assert_true(size >= 0);
    assert_int_equal(fseek(f, 0, SEEK_SET), 0);
    uint8_t *bytes = malloc(size > 0 ? (size_t)size : 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, (size_t)size, f), size);
    assert_int_equal(fclose(f), 0);
    *n = (size_t)size;
    return bytes;
}

/* Calls FN for each file of CKPT_FILES/FOLDER that isn't a table of another. Returns how many there were. */
static inline size_t sample_walk(const char *folder,
                                 void (*fn)(const char *path, const uint8_t *bytes, size_t n, void *arg), void *arg)
{
    char path[SAMPLE_PATH];
    size_t count = 0;
    (void)snprintf(path, sizeof path, "%s/%s", CKPT_FILES, folder);
    DIR *dir = opendir(path);
    assert_non_null(dir);
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        const char *dot = strrchr(entry->d_name, '.');
        if (entry->d_name[0] != '.' && (dot == NULL || strcmp(dot, ".parts") != 0)) {
            size_t n = 0;
            int length = snprintf(path, sizeof path, "%s/%s/%s", CKPT_FILES, folder, entry->d_name);
            assert_in_range(length, 1, sizeof path - 1);
            uint8_t *bytes = sample_read(path, &n);
            fn(path, bytes, n, arg);
            free(bytes);
            count++;
        }
    }
    assert_int_equal(closedir(dir), 0);
    return count;
}

#endif
