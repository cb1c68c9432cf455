/*
 * The FORMAT file of a store: its text, read and written.
 */
#include "common/bytes.h"
#include "store_parts.h"
#include <ckpt/host.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_LINE "ckptfs store\n"

enum { FORMAT_MAX = 4096 }; /* bytes of the FORMAT file */

/* Renders FORMAT as FORMAT.md has it; returns its length. */
static size_t header_text(const struct ckpt_store_header *header, char text[FORMAT_MAX])
{
    char hex[CKPT_ID_HEX];
    ckpt_id_hex(&header->id, hex);
    int n =
        snprintf(text, FORMAT_MAX, FIRST_LINE "format %d\nid %s\nseed %016" PRIx64 "\ncreated %s\n",
                 (int)header->format, hex, header->seed, header->created);
    uint64_t check = ckpt_checksum(0, text, (size_t)n);
    n += snprintf(text + n, FORMAT_MAX - (size_t)n, "check %016" PRIx64 "\n", check);
    return (size_t)n;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Reads 2 * N hexadecimal digits. */
static bool parse_hex(const char *text, uint8_t *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        int high = hex_value(text[2 * i]);
        int low = high < 0 ? -1 : hex_value(text[2 * i + 1]);
        if (low < 0) {
            return false;
        }
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* The value of the line "KEY value" at *AT, which is moved behind the line. NULL: another line. */
static const char *line_value(const char **at, const char *key)
{
    size_t n = strlen(key);
    const char *end = strchr(*at, '\n');
    if (end == NULL || strncmp(*at, key, n) != 0 || (*at)[n] != ' ') {
        return NULL;
    }
    const char *value = *at + n + 1;
    *at = end + 1;
    return value;
}

/*
 * Takes the text of FORMAT apart. The fields are read loosely and rendered again: only the one
 * right text passes. FORMAT for a newer one, which may look different after its second line.
 */
static enum ckpt_err header_parse(const char *text, struct ckpt_store_header *header)
{
    const char *at = text;
    if (strncmp(at, FIRST_LINE, strlen(FIRST_LINE)) != 0) {
        return CKPT_ERR_CORRUPT;
    }
    at += strlen(FIRST_LINE);
    const char *format = line_value(&at, "format");
    if (format == NULL || format[0] < '1' || format[0] > '9') {
        return CKPT_ERR_CORRUPT;
    }
    char *end = NULL;
    unsigned long number = strtoul(format, &end, 10);
    if (*end != '\n') {
        return CKPT_ERR_CORRUPT;
    }
    if (number > CKPT_STORE_FORMAT) {
        return CKPT_ERR_FORMAT;
    }
    const char *id = line_value(&at, "id");
    const char *seed = id == NULL ? NULL : line_value(&at, "seed");
    const char *created = seed == NULL ? NULL : line_value(&at, "created");
    uint8_t seed_bytes[8];
    if (created == NULL || !parse_hex(id, header->id.bytes, CKPT_ID_SIZE) ||
        !parse_hex(seed, seed_bytes, sizeof seed_bytes) || at - created != CKPT_CREATED_SIZE) {
        return CKPT_ERR_CORRUPT;
    }
    header->format = (unsigned)number;
    header->seed = ckpt_get_be64(seed_bytes);
    memcpy(header->created, created, CKPT_CREATED_SIZE - 1);
    header->created[CKPT_CREATED_SIZE - 1] = '\0';

    char again[FORMAT_MAX];
    size_t n = header_text(header, again);
    return strlen(text) == n && memcmp(text, again, n) == 0 ? CKPT_OK : CKPT_ERR_CORRUPT;
}

enum ckpt_err ckpt_store_header_read(const char *dir, int dirfd, const struct ckpt_report *report,
                                     struct ckpt_store_header *header)
{
    char text[FORMAT_MAX + 1];
    struct stat st;
    int fd = ckpt_host_openat(dirfd, CKPT_FORMAT_NAME, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0 && errno == ENOENT) {
        ckpt_reportf(report, CKPT_ERROR,
                     "%s: not a ckptfs store (no FORMAT file); create one with: ckpt init %s", dir,
                     dir);
        return CKPT_ERR_NOT_STORE;
    }
    ssize_t n = fd < 0 ? -1 : ckpt_host_read_all(fd, text, FORMAT_MAX, 0);
    int error = errno;
    (void)ckpt_host_close(fd);
    if (n < 0) {
        ckpt_reportf(report, CKPT_ERROR, "%s/FORMAT: can't be read: %s", dir, strerror(error));
        return ckpt_err_from_errno(error);
    }
    text[n] = '\0';
    enum ckpt_err err = header_parse(text, header);
    if (err == CKPT_ERR_FORMAT) {
        ckpt_reportf(report, CKPT_ERROR,
                     "%s: the store has a newer format than this program reads (up to %d); "
                     "use a newer ckptfs",
                     dir, (int)CKPT_STORE_FORMAT);
    } else if (err != CKPT_OK && strncmp(text, FIRST_LINE, strlen(FIRST_LINE)) != 0 &&
               ckpt_host_fstatat(dirfd, "db/data.mdb", &st, 0) != 0) {
        ckpt_reportf(report, CKPT_ERROR,
                     "%s: not a ckptfs store (its FORMAT file is something else); create one in "
                     "another directory with: ckpt init DIR",
                     dir);
        err = CKPT_ERR_NOT_STORE;
    } else if (err != CKPT_OK) {
        ckpt_reportf(report, CKPT_ERROR,
                     "%s/FORMAT: the file is damaged; put back a copy of it (only an upgrade changes it)",
                     dir);
    }
    return err;
}

enum ckpt_err ckpt_store_header_write(const char *dir, int dirfd, const struct ckpt_store_header *header,
                                      const struct ckpt_report *report)
{
    char text[FORMAT_MAX];
    size_t n = header_text(header, text);
    int fd =
        ckpt_host_openat(dirfd, "tmp/" CKPT_FORMAT_NAME, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool good = fd >= 0 && ckpt_host_write_all(fd, text, n, 0) == 0 && ckpt_host_fsync(fd) == 0;
    int error = errno;
    (void)ckpt_host_close(fd);
    errno = error;
    good = good && ckpt_store_sync_dir(dirfd, "db") == 0 && ckpt_store_sync_dir(dirfd, ".") == 0 &&
           ckpt_host_renameat2(dirfd, "tmp/" CKPT_FORMAT_NAME, dirfd, CKPT_FORMAT_NAME, 0) == 0 &&
           ckpt_store_sync_dir(dirfd, ".") == 0;
    return good ? CKPT_OK : ckpt_store_failure(report, dir, "the FORMAT file can't be written");
}
