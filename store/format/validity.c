#include "common/bytes.h"
#include "npy.h"
#include "safetensors.h"
#include "validity.h"
#include "validity_parts.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    HEAD = 16,
    SAFETENSORS_PREFIX = 8,
    SAFETENSORS_HEADER_MAX = 64 << 20, /* that of safetensors.c */
    NPY_PREFIX = 12,
    NPY_HEADER_MAX = 1 << 20,
    USERBLOCK_MAX = 64 << 20, /* nobody has a bigger one */
};

static const uint8_t hdf5_magic[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
static const uint8_t npy_magic[6] = {0x93, 'N', 'U', 'M', 'P', 'Y'};
static const uint8_t zip_magic[4] = {'P', 'K', 3, 4};
static const uint8_t empty_zip_magic[4] = {'P', 'K', 5, 6};

bool ckpt_validity_read(const struct ckpt_source *source, void *buf, size_t n, uint64_t offset,
                        enum ckpt_err *err)
{
    if (offset > source->size || n > source->size - offset) {
        return false;
    }
    if (n > 0 && source->pread(source->arg, buf, n, offset) != 0) {
        *err = CKPT_ERR_IO;
        return false;
    }
    return true;
}

void ckpt_validity_say(struct ckpt_validity_report *out, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    out->validity = CKPT_VALIDITY_INVALID;
    (void)vsnprintf(out->why, sizeof out->why, format, args);
    va_end(args);
}

static void set_valid(struct ckpt_validity_report *out)
{
    out->validity = CKPT_VALIDITY_VALID;
    out->why[0] = '\0';
}

static void set_unknown(struct ckpt_validity_report *out, const char *why)
{
    ckpt_validity_say(out, "%s", why);
    out->validity = CKPT_VALIDITY_UNKNOWN;
}

/* ---- safetensors ---- */

/* By the reader of the format, which gives the tensors if all of the header makes sense. */
static enum ckpt_err check_safetensors(const struct ckpt_source *source, struct ckpt_validity_report *out)
{
    uint8_t prefix[SAFETENSORS_PREFIX];
    struct ckpt_parts parts = {0};
    enum ckpt_err err = CKPT_OK;
    ckpt_validity_say(out, "the safetensors header is cut short");
    if (!ckpt_validity_read(source, prefix, sizeof prefix, 0, &err)) {
        return err;
    }
    uint64_t end = ckpt_get_le64(prefix);
    if (end > source->size - sizeof prefix) {
        return CKPT_OK;
    }
    if (end > SAFETENSORS_HEADER_MAX) {
        set_unknown(out, "the safetensors header is too big to look at");
        return CKPT_OK;
    }
    end += sizeof prefix;
    struct ckpt_reading reading = {.source = source, .parts = &parts};
    struct ckpt_range range = {.offset = 0, .size = source->size};
    err = ckpt_safetensors_read(&reading, &range);
    if (err == CKPT_OK) {
        for (size_t i = 0; i < parts.count; i++) {
            uint64_t stop = parts.list[i].offset + parts.list[i].size;
            end = stop > end ? stop : end;
        }
        if (end == source->size) {
            set_valid(out);
        } else {
            ckpt_validity_say(out, "its tensors end at %llu of %llu bytes", (unsigned long long)end,
                              (unsigned long long)source->size);
        }
    } else if (err == CKPT_ERR_CORRUPT) {
        ckpt_validity_say(
            out, "the safetensors header makes no sense, or its tensors reach beyond the end of the file");
        err = CKPT_OK;
    }
    ckpt_parts_clear(&parts);
    return err;
}

/* ---- npy ---- */

/* What stands behind 'FIELD': in the header, a Python literal; NULL: there is no such field. */
static const char *find_field(const char *header, const char *field)
{
    const char *at = strstr(header, field);
    if (at == NULL) {
        return NULL;
    }
    at += strlen(field);
    return at + strspn(at, " ");
}

/* The product of "(2, 3)". */
static bool read_shape(const char *at, uint64_t *product)
{
    *product = 1;
    if (at == NULL || *at++ != '(') {
        return false;
    }
    for (at += strspn(at, ", "); *at != ')'; at += strspn(at, ", ")) {
        char *end = NULL;
        uint64_t n = strtoull(at, &end, 10);
        if (*at < '0' || *at > '9' || end - at > 19 || __builtin_mul_overflow(*product, n, product)) {
            return false;
        }
        at = end + (*end == 'L' ? 1 : 0); /* NumPy on Python 2 */
    }
    return true;
}

/* The bytes of an element of '<f4', of '<U10' 40; 0: of another kind. */
static uint64_t element_size(const char *descr)
{
    if (descr == NULL || descr[0] != '\'' || strchr("<>|=", descr[1]) == NULL || descr[1] == '\0' ||
        strchr("biufcmMVSUa", descr[2]) == NULL || descr[2] == '\0') {
        return 0;
    }
    size_t digits = strspn(descr + 3, "0123456789");
    uint64_t size = digits > 0 && digits < 10 ? strtoull(descr + 3, NULL, 10) : 0;
    return descr[2] == 'U' ? 4 * size : size;
}

static void check_npy_size(const char *header, uint64_t data, uint64_t size, uint8_t last,
                           struct ckpt_validity_report *out)
{
    const char *descr = find_field(header, "'descr':");
    uint64_t element = element_size(descr);
    uint64_t elements = 0;
    uint64_t bytes = 0;
    if (descr == NULL || !read_shape(find_field(header, "'shape':"), &elements)) {
        ckpt_validity_say(out, "the npy header makes no sense");
    } else if (strncmp(descr, "'|O", 3) == 0 || strncmp(descr, "'O'", 3) == 0) {
        /* A pickle ends in a full stop. */
        if (data == 0 || last != '.') {
            ckpt_validity_say(out, "the pickled objects of the npy file are cut short");
        } else {
            set_valid(out);
        }
    } else if (element == 0) {
        set_unknown(out, "the size of this npy file's elements isn't known");
    } else if (__builtin_mul_overflow(elements, element, &bytes) || bytes != data) {
        ckpt_validity_say(out,
                          "the npy file has %llu bytes, of which %llu are elements; its shape says otherwise",
                          (unsigned long long)size, (unsigned long long)data);
    } else {
        set_valid(out);
    }
}

static enum ckpt_err check_npy(const struct ckpt_source *source, struct ckpt_validity_report *out)
{
    uint8_t prefix[NPY_PREFIX];
    uint8_t last = 0;
    enum ckpt_err err = CKPT_OK;
    ckpt_validity_say(out, "the npy header is cut short");
    if (!ckpt_validity_read(source, prefix, sizeof prefix, 0, &err)) {
        return err;
    }
    bool first = prefix[6] == 1;
    uint64_t at = first ? 10 : 12;
    uint64_t n = first ? (uint64_t)prefix[8] | (uint64_t)prefix[9] << 8 : ckpt_get_le32(prefix + 8);
    if (prefix[6] < 1 || prefix[6] > 3) {
        set_unknown(out, "a newer version of npy");
        return CKPT_OK;
    }
    if (n > NPY_HEADER_MAX || n > source->size - at) {
        return CKPT_OK;
    }
    char *header = malloc((size_t)n + 1);
    if (header == NULL) {
        return CKPT_ERR_NOMEM;
    }
    if (ckpt_validity_read(source, header, (size_t)n, at, &err) &&
        ckpt_validity_read(source, &last, 1, source->size - 1, &err)) {
        header[n] = '\0';
        check_npy_size(header, source->size - at - n, source->size, last, out);
    }
    free(header);
    return err;
}

/* ---- Pickles ---- */

/* Ends in a full stop. */
static enum ckpt_err check_pickle(const struct ckpt_source *source, struct ckpt_validity_report *out)
{
    uint8_t last = 0;
    enum ckpt_err err = CKPT_OK;
    ckpt_validity_say(out, "the pickle is cut short");
    if (ckpt_validity_read(source, &last, 1, source->size - 1, &err) && last == '.') {
        set_valid(out);
    }
    return err;
}

/* ---- HDF5 ---- */

/* An integer of SIZE bytes, 2, 4 or 8. */
static uint64_t get_sized(const uint8_t *p, unsigned size)
{
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++) {
        value |= (uint64_t)p[i] << (8 * i);
    }
    return value;
}

/*
 * The superblock, which stands AT. (Sizes in bytes; O is the size of an address.)
 *
 * version 0 and 1                              version 2 and 3
 *  8  1 version                                 8  1 version
 * 13  1 O                                       9  1 O
 * 24  O base address (28 in version 1)         11  1 flags: 1 open for writing, 4 for one writer and readers
 *     O address of the free space              12  O base address
 *     O end of the file                            O address of the extension
 *     O address of the driver's block              O end of the file
 *                                                  O address of the root
 *
 * The end counts from the start of the file, also behind a user block.
 */
enum ckpt_err ckpt_validity_hdf5(const struct ckpt_source *source, uint64_t at,
                                 struct ckpt_validity_report *out)
{
    uint8_t block[64] = {0};
    enum ckpt_err err = CKPT_OK;
    ckpt_validity_say(out, "the HDF5 superblock is cut short");
    uint64_t rest = source->size - at;
    size_t n = rest < sizeof block ? (size_t)rest : sizeof block;
    if (!ckpt_validity_read(source, block, n, at, &err)) {
        return err;
    }
    uint8_t version = block[8];
    if (n > 8 && version > 3) {
        set_unknown(out, "a newer version of HDF5");
        return CKPT_OK;
    }
    unsigned size = version < 2 ? block[13] : block[9];
    size_t first = version == 0 ? 24 : version == 1 ? 28 : 12;
    if (n < first || (size != 2 && size != 4 && size != 8) || n < first + 4 * (size_t)size) {
        return CKPT_OK;
    }
    uint64_t base = get_sized(block + first, size);
    uint64_t end = get_sized(block + first + 2 * (size_t)size, size);
    if (at > 0 && base != at) {
        set_unknown(out, "an HDF5 file within another one"); /* a tar archive */
    } else if (version == 3 && (block[11] & 5) != 0) {
        ckpt_validity_say(out, "the HDF5 file was not closed by its writer");
    } else if (end > source->size || base > source->size) {
        ckpt_validity_say(out, "the HDF5 file should have %llu bytes and has %llu", (unsigned long long)end,
                          (unsigned long long)source->size);
    } else if (end < at + first) {
        ckpt_validity_say(out, "the HDF5 file's end isn't written down: it was not closed");
    } else {
        set_valid(out);
    }
    return CKPT_OK;
}

/* The superblock stands at 0, or behind a user block of 512, 1024, 2048 ... bytes. */
static bool find_superblock(const struct ckpt_source *source, uint64_t *at, enum ckpt_err *err)
{
    uint8_t magic[sizeof hdf5_magic];
    for (uint64_t try = 0; try <= USERBLOCK_MAX; try = try == 0 ? 512 : 2 * try) {
        if (!ckpt_validity_read(source, magic, sizeof magic, try, err)) {
            return false;
        }
        if (memcmp(magic, hdf5_magic, sizeof magic) == 0) {
            *at = try;
            return true;
        }
    }
    return false;
}

/* ---- Which format ---- */

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name);
    size_t size = strlen(end);
    return n >= size && strcasecmp(name + n - size, end) == 0;
}

/* The format that a file of that name has to have; NULL: any. */
static const char *expected_of(const char *name)
{
    static const char *const formats[][2] = {
        {".safetensors", "safetensors"}, {".npy", "npy"},   {".npz", "zip"},   {".keras", "zip"},
        {".h5", "hdf5"},                 {".hdf5", "hdf5"}, {".distcp", "zip"},
    };
    for (size_t i = 0; i < sizeof formats / sizeof formats[0]; i++) {
        if (ends_with(name, formats[i][0])) {
            return formats[i][1];
        }
    }
    return NULL;
}

/* What its bytes say it is; "": nothing known. A pickle may be anything, so its name has to say it too. */
static const char *format_of(const struct ckpt_source *source, const char *name, const uint8_t *head, size_t n,
                             uint64_t *superblock, enum ckpt_err *err)
{
    if (n >= sizeof zip_magic && (memcmp(head, zip_magic, sizeof zip_magic) == 0 ||
                                  memcmp(head, empty_zip_magic, sizeof empty_zip_magic) == 0)) {
        return "zip";
    }
    if (n >= sizeof npy_magic && memcmp(head, npy_magic, sizeof npy_magic) == 0) {
        return "npy";
    }
    if (n > 0 && head[0] == 0x80 && ends_with(name, ".metadata")) {
        return "pickle";
    }
    /* A user block may begin with anything, but isn't a pickle. */
    if (n > 0 && head[0] != 0x80 && find_superblock(source, superblock, err)) {
        return "hdf5";
    }
    if (n > SAFETENSORS_PREFIX && head[SAFETENSORS_PREFIX] == '{' &&
        ckpt_get_le64(head) < UINT64_C(1) << 32) {
        return "safetensors";
    }
    return "";
}

enum ckpt_err ckpt_validity_check(const struct ckpt_source *source, const char *name,
                                  struct ckpt_validity_report *out)
{
    uint8_t head[HEAD] = {0};
    uint64_t superblock = 0;
    enum ckpt_err err = CKPT_OK;
    size_t n = source->size < HEAD ? (size_t)source->size : HEAD;
    memset(out, 0, sizeof *out);
    out->format = "";
    if (source->size == 0) {
        ckpt_validity_say(out, "the file is empty");
        return CKPT_OK;
    }
    if (!ckpt_validity_read(source, head, n, 0, &err)) {
        return err;
    }
    const char *format = format_of(source, name, head, n, &superblock, &err);
    if (err != CKPT_OK) {
        return err;
    }
    const char *expected = expected_of(name);
    out->format = format;
    if (expected != NULL && strcmp(expected, format) != 0) {
        ckpt_validity_say(out, "it doesn't begin like %s", expected);
    } else if (strcmp(format, "zip") == 0) {
        err = ckpt_validity_zip(source, out);
    } else if (strcmp(format, "safetensors") == 0) {
        err = check_safetensors(source, out);
    } else if (strcmp(format, "npy") == 0) {
        err = check_npy(source, out);
    } else if (strcmp(format, "pickle") == 0) {
        err = check_pickle(source, out);
    } else if (strcmp(format, "hdf5") == 0) {
        err = ckpt_validity_hdf5(source, superblock, out);
    } else {
        set_unknown(out, "no format whose structure is known");
    }
    return err;
}
