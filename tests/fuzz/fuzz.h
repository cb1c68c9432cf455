/*
 * What is fuzzed of containers: each function takes any bytes, calls a reader, and aborts when what it says
 * can't be. The unit tests call them with every file of tests/files. Memory that is read or written wrongly is
 * the sanitizer's to notice.
 */
#ifndef CKPT_TEST_FUZZ_H
#define CKPT_TEST_FUZZ_H

#include "format/container.h"
#include "format/dcp.h"
#include "format/npy.h"
#include "format/pickle.h"
#include "format/safetensors.h"
#include <stdlib.h>
#include <string.h>

/* An assertion of every build. */
static inline void fuzz_check(bool holds)
{
    if (!holds) {
        abort();
    }
}

struct fuzz_bytes {
    const uint8_t *bytes;
    size_t size;
};

/* A ckpt_source's: reading outside of the file is a bug of the reader. */
static inline int fuzz_pread(void *arg, void *buf, size_t n, uint64_t offset)
{
    const struct fuzz_bytes *at = arg;
    fuzz_check(offset <= at->size && n <= at->size - offset);
    memcpy(buf, at->bytes + offset, n);
    return 0;
}

static inline void fuzz_check_part(const struct ckpt_part *part, uint64_t size)
{
    fuzz_check(part->size > 0 && part->offset <= size && part->size <= size - part->offset);
    fuzz_check(part->key != 0);
    fuzz_check(part->width <= 2 || part->width == 4 || part->width == 8);
    fuzz_check(part->width == 0 || (part->kind == CKPT_PART_TENSOR && part->size % part->width == 0));
}

/* A whole file. */
static inline void fuzz_container(const uint8_t *bytes, size_t n)
{
    struct fuzz_bytes at = {bytes, n};
    struct ckpt_source source = {fuzz_pread, &at, n};
    struct ckpt_parts parts = {0};
    uint64_t end = 0;
    fuzz_check(ckpt_container_read(&source, &parts) == CKPT_OK);
    for (size_t i = 0; i < parts.count; i++) {
        fuzz_check_part(&parts.list[i], n);
        fuzz_check(parts.list[i].offset >= end);
        end = parts.list[i].offset + parts.list[i].size;
    }
    ckpt_parts_clear(&parts);
}

/* One reader, in a range that isn't all of the file. */
typedef enum ckpt_err fuzz_read(struct ckpt_reading *reading, const struct ckpt_range *range);

static inline void fuzz_reader(fuzz_read *read, const uint8_t *bytes, size_t n)
{
    size_t before = n < 3 ? n : 3;
    struct fuzz_bytes at = {bytes, n};
    struct ckpt_source source = {fuzz_pread, &at, n};
    struct ckpt_parts parts = {0};
    struct ckpt_reading reading = {.source = &source, .parts = &parts};
    struct ckpt_range range = {.offset = 0, .size = n, .seed = 1};
    enum ckpt_err err = read(&reading, &range);
    fuzz_check(err == CKPT_OK || err == CKPT_ERR_CORRUPT);
    for (size_t i = 0; i < parts.count; i++) {
        fuzz_check_part(&parts.list[i], n);
    }
    parts.count = 0;
    range = (struct ckpt_range){.offset = before, .size = n - before, .seed = 1};
    err = read(&reading, &range);
    fuzz_check(err == CKPT_OK || err == CKPT_ERR_CORRUPT);
    for (size_t i = 0; i < parts.count; i++) {
        fuzz_check_part(&parts.list[i], n);
        fuzz_check(parts.list[i].offset >= before);
    }
    ckpt_parts_clear(&parts);
}

static inline void fuzz_safetensors(const uint8_t *bytes, size_t n)
{
    fuzz_reader(ckpt_safetensors_read, bytes, n);
}

static inline void fuzz_npy(const uint8_t *bytes, size_t n)
{
    fuzz_reader(ckpt_npy_read, bytes, n);
}

/* Reads every byte, for the sanitizer. */
static inline uint64_t fuzz_sum(struct ckpt_name name)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < name.size; i++) {
        sum += (uint8_t)name.bytes[i];
    }
    return sum;
}

static inline void fuzz_told_tensor(void *arg, struct ckpt_name name, struct ckpt_name type, uint64_t offset,
                                    uint64_t size)
{
    (void)arg;
    fuzz_check(fuzz_sum(name) != UINT64_MAX && type.size == 0 && offset == 0 && size == 0);
}

static inline void fuzz_told_branch(void *arg, struct ckpt_name name)
{
    (void)arg;
    fuzz_check(fuzz_sum(name) != UINT64_MAX);
}

static inline void fuzz_dcp(const struct ckpt_source *source)
{
    struct ckpt_observer observer = {.tensor = fuzz_told_tensor, .branch = fuzz_told_branch};
    enum ckpt_err err = ckpt_dcp_observe(source, &observer);
    fuzz_check(err == CKPT_OK || err == CKPT_ERR_CORRUPT);
}

/* Every storage is found by its id, and each id is there once. */
static inline void fuzz_pickle(const uint8_t *bytes, size_t n)
{
    struct fuzz_bytes at = {bytes, n};
    struct ckpt_source source = {fuzz_pread, &at, n};
    struct ckpt_pickle pickle = {0};
    fuzz_check(ckpt_pickle_read(&source, 0, n, &pickle) == CKPT_OK);
    for (size_t i = 0; i < pickle.count; i++) {
        const struct ckpt_storage *storage = &pickle.list[i];
        fuzz_check(ckpt_pickle_find(&pickle, storage->id) == storage);
        fuzz_check((storage->width == 0) == (storage->type.size == 0));
        fuzz_check(storage->path.bytes != NULL || storage->path.size == 0);
        fuzz_check(fuzz_sum(storage->path) != UINT64_MAX);
    }
    for (size_t i = 0; i < pickle.entry_count; i++) {
        const struct ckpt_pickle_entry *entry = &pickle.entries[i];
        fuzz_check(entry->is_number || entry->group.size == 0);
        fuzz_check(fuzz_sum(entry->group) != UINT64_MAX && fuzz_sum(entry->name) != UINT64_MAX);
    }
    ckpt_pickle_clear(&pickle);
    fuzz_dcp(&source);
}

#endif
