/*
 * The end of a zip archive and its directory. zip.c has the layout of the records; it reads what makes
 * sense and passes over the rest, where this one says what doesn't make sense.
 */
#include "common/bytes.h"
#include "validity_parts.h"
#include <stdlib.h>
#include <string.h>

enum {
    LOCAL = 30,
    ENTRY = 46,
    END = 22,
    END64 = 56,
    LOCATOR = 20,
    COMMENT_MAX = 65535,
    DIRECTORY_MAX = 64 << 20,
};

struct archive {
    const struct ckpt_source *source;
    uint64_t end;       /* where the end record is */
    uint64_t directory; /* where it stands */
    uint64_t size;      /* of the directory */
    uint64_t start;     /* what offsets count from */
    uint64_t entries;   /* as the end record says */
};

static uint16_t get_le16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static bool is_magic(const uint8_t *p, uint8_t a, uint8_t b)
{
    return p[0] == 'P' && p[1] == 'K' && p[2] == a && p[3] == b;
}

/* Finds the end record; behind it there may be a comment and nothing else. False: there is none, or *ERR. */
static bool find_end(struct archive *archive, enum ckpt_err *err)
{
    uint64_t size = archive->source->size;
    size_t n = size < END + COMMENT_MAX ? (size_t)size : END + COMMENT_MAX;
    uint8_t *tail = malloc(n + 1);
    bool found = false;
    if (tail == NULL) {
        *err = CKPT_ERR_NOMEM;
        return false;
    }
    if (n >= END && ckpt_validity_read(archive->source, tail, n, size - n, err)) {
        for (size_t i = n - END + 1; i > 0 && !found; i--) {
            const uint8_t *p = tail + i - 1;
            found = is_magic(p, 5, 6) && get_le16(p + 20) == n - (i - 1) - END;
            archive->end = size - n + (i - 1);
        }
    }
    free(tail);
    return found;
}

/* Takes the end record apart, with the one for large archives before it. False: it makes no sense, or *ERR. */
static bool read_end(struct archive *archive, enum ckpt_err *err)
{
    uint8_t bytes[END64 + LOCATOR + END];
    size_t before = archive->end < END64 + LOCATOR ? 0 : END64 + LOCATOR;
    if (!ckpt_validity_read(archive->source, bytes, before + END, archive->end - before, err)) {
        return false;
    }
    const uint8_t *end = bytes + before;
    uint64_t stop = archive->end;
    uint64_t offset = ckpt_get_le32(end + 16);
    archive->entries = get_le16(end + 10);
    archive->size = ckpt_get_le32(end + 12);
    if (before > 0 && is_magic(bytes, 6, 6) && is_magic(bytes + END64, 6, 7)) {
        archive->entries = ckpt_get_le64(bytes + 32);
        archive->size = ckpt_get_le64(bytes + 40);
        offset = ckpt_get_le64(bytes + 48);
        stop -= before;
    }
    if (archive->size > stop || offset > stop - archive->size) {
        return false;
    }
    archive->directory = stop - archive->size;
    archive->start = archive->directory - offset;
    return true;
}

/* The values of the extra field for large archives, in the order in which they are missing. */
static bool widen(const uint8_t *extra, size_t n, uint64_t *size, uint64_t *packed, uint64_t *local)
{
    uint64_t *const numbers[] = {size, packed, local};
    while (n >= 4) {
        size_t field = get_le16(extra + 2);
        if (field > n - 4) {
            break;
        }
        if (get_le16(extra) == 1) {
            size_t at = 0;
            for (size_t i = 0; i < 3; i++) {
                if (*numbers[i] == UINT32_MAX && at + 8 <= field) {
                    *numbers[i] = ckpt_get_le64(extra + 4 + at);
                    at += 8;
                }
            }
            break;
        }
        extra += 4 + field;
        n -= 4 + field;
    }
    return *size != UINT32_MAX && *packed != UINT32_MAX && *local != UINT32_MAX;
}

/* Whether the entry at P of the directory has its local header and its bytes before the directory. Nothing is read
   along with the header: what follows may be a stored tensor, to be decoded for that. */
static bool check_entry(struct archive *archive, const uint8_t *p, enum ckpt_err *err)
{
    uint8_t local[LOCAL];
    size_t name = get_le16(p + 28);
    uint64_t packed = ckpt_get_le32(p + 20);
    uint64_t size = ckpt_get_le32(p + 24);
    uint64_t at = ckpt_get_le32(p + 42);
    uint64_t room = archive->directory - archive->start;
    bool wide = widen(p + ENTRY + name, get_le16(p + 30), &size, &packed, &at);
    if (!wide || at > room || room - at < LOCAL ||
        !ckpt_validity_read(archive->source, local, LOCAL, archive->start + at, err)) {
        return false;
    }
    uint64_t head = LOCAL + (uint64_t)get_le16(local + 26) + get_le16(local + 28);
    return is_magic(local, 3, 4) && get_le16(local + 26) == name && head <= room - at &&
           packed <= room - at - head;
}

/* Walks the directory. False: something in it makes no sense, which OUT says, or *ERR. */
static bool check_directory(struct archive *archive, const uint8_t *directory,
                            struct ckpt_validity_report *out, enum ckpt_err *err)
{
    const uint8_t *p = directory;
    size_t n = (size_t)archive->size;
    uint64_t entries = 0;
    while (n > 0) {
        size_t size =
            n < ENTRY ? n + 1 : (size_t)ENTRY + get_le16(p + 28) + get_le16(p + 30) + get_le16(p + 32);
        if (size > n || !is_magic(p, 1, 2)) {
            ckpt_validity_say(out, "the zip directory is damaged");
            return false;
        }
        if (!check_entry(archive, p, err)) {
            ckpt_validity_say(out, "entry %llu of the zip archive isn't where its directory says",
                              (unsigned long long)entries);
            return false;
        }
        entries++;
        p += size;
        n -= size;
    }
    /* Of an archive of more than 65535 entries old writers keep the lower 16 bits. */
    if (entries != archive->entries && (entries & 0xffff) != archive->entries) {
        ckpt_validity_say(out, "the zip directory has %llu entries, not %llu", (unsigned long long)entries,
                          (unsigned long long)archive->entries);
        return false;
    }
    return true;
}

enum ckpt_err ckpt_validity_zip(const struct ckpt_source *source, struct ckpt_validity_report *out)
{
    struct archive archive = {.source = source};
    uint8_t *directory = NULL;
    enum ckpt_err err = CKPT_OK;
    ckpt_validity_say(out, "the zip archive doesn't end in an end record: it was cut short");
    if (!find_end(&archive, &err)) {
        goto out;
    }
    if (!read_end(&archive, &err)) {
        ckpt_validity_say(out, "the end record of the zip archive makes no sense");
        goto out;
    }
    if (archive.size > DIRECTORY_MAX) {
        ckpt_validity_say(out, "the zip directory is too big to look at");
        out->validity = CKPT_VALIDITY_UNKNOWN;
        goto out;
    }
    directory = malloc((size_t)archive.size + 1);
    if (directory == NULL) {
        err = CKPT_ERR_NOMEM;
        goto out;
    }
    if (ckpt_validity_read(source, directory, (size_t)archive.size, archive.directory, &err) &&
        check_directory(&archive, directory, out, &err)) {
        out->validity = CKPT_VALIDITY_VALID;
        out->why[0] = '\0';
    }
out:
    free(directory);
    return err;
}
