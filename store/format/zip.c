/*
 * The records (integers are little-endian):
 *
 * local header           end record             zip64 end record        zip64 locator
 *  0  4 "PK" 3 4          0  4 "PK" 5 6          0  4 "PK" 6 6           0  4 "PK" 6 7
 *  6  2 flags             8  2 entries here     24  8 entries here       8  8 offset of the
 *  8  2 method           10  2 entries          32  8 entries                 zip64 end record
 * 26  2 length of name   12  4 directory size   40  8 directory size    20
 * 28  2 ... of extra     16  4 its offset       48  8 its offset
 * 30                     20  2 comment length   56
 *                        22
 * entry of the directory
 *  0  4 "PK" 1 2         20  4 compressed size  28  2 length of name    34  2 disk
 *  8  2 flags            24  4 size             30  2 ... of extra      42  4 offset of the local header
 * 10  2 method                                  32  2 ... of comment    46
 *
 * Where bytes stand before the archive, offsets count from its start, or from the file's. Both are found in the
 * same way: the directory ends where the end record starts, so the offset that it says shows where offsets
 * count from.
 */
#include "common/bytes.h"
#include "pickle.h"
#include "zip.h"
#include <stdlib.h>
#include <string.h>

enum {
    LOCAL = 30,
    ENTRY = 46,
    END = 22,
    END64 = 56,
    LOCATOR = 20,
    COMMENT_MAX = 65535,
    DIRECTORY_MAX = 64 << 20, /* 64 bytes for each of CKPT_PARTS_MAX entries; less within an entry: */
    DIRECTORY_SHIFT = 3,      /* an eighth at each level, so that all of them together aren't more */
    NAME_MAX_HERE = 1024,
    METHOD_STORED = 0,
    FLAG_ENCRYPTED = 1,
};

static const uint32_t local_magic = 0x04034b50;
static const uint32_t entry_magic = 0x02014b50;
static const uint32_t end_magic = 0x06054b50;
static const uint32_t end64_magic = 0x06064b50;
static const uint32_t locator_magic = 0x07064b50;

/* Offsets here and in entries count from the start of the range. */
struct archive {
    uint64_t start;     /* what offsets in the directory count from */
    uint64_t directory; /* where it stands: the entries are before it */
    uint64_t directory_size;
};

struct entry {
    uint64_t local; /* where its local header is */
    uint64_t at;    /* where its bytes are */
    uint64_t size;
    struct ckpt_name name; /* in the directory */
    uint16_t method;
    bool done; /* its part is added, or it has none */
};

/* One archive that is being read. */
struct zip {
    struct ckpt_reading *reading;
    const struct ckpt_range *range;
    struct archive archive;
    struct ckpt_range keys; /* the range, with the seed of this archive */
    char *directory;
    struct entry *entries;
    size_t count;
    size_t room;
    const struct ckpt_observer *observer; /* NULL: nobody asks */
};

static uint16_t get_le16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

/* ---- Which archives there are ---- */

/* The end record that ends at END, with a comment only if that may be. CORRUPT: there is none. */
static enum ckpt_err find_end(struct ckpt_reading *reading, const struct ckpt_range *range, uint64_t end,
                              bool comment, uint64_t *at)
{
    uint8_t record[END];
    if (end < END) {
        return CKPT_ERR_CORRUPT;
    }
    enum ckpt_err err = ckpt_reading_bytes(reading, range, end - END, record, END);
    if (err != CKPT_OK) {
        return err;
    }
    if (ckpt_get_le32(record) == end_magic && get_le16(record + 20) == 0) {
        *at = end - END;
        return CKPT_OK;
    }
    if (!comment) {
        return CKPT_ERR_CORRUPT;
    }
    size_t n = end < END + COMMENT_MAX ? (size_t)end : END + COMMENT_MAX;
    uint8_t *tail = malloc(n);
    if (tail == NULL) {
        return CKPT_ERR_NOMEM;
    }
    err = ckpt_reading_bytes(reading, range, end - n, tail, n);
    if (err == CKPT_OK) {
        err = CKPT_ERR_CORRUPT;
        for (size_t i = n - END; i > 0 && err != CKPT_OK; i--) {
            const uint8_t *p = tail + i - 1;
            if (ckpt_get_le32(p) == end_magic && get_le16(p + 20) == n - (i - 1) - END) {
                *at = end - n + (i - 1);
                err = CKPT_OK;
            }
        }
    }
    free(tail);
    return err;
}

/* Takes the end record at AT apart, with the zip64 one before it if there is one. CORRUPT: it makes no sense. */
static enum ckpt_err parse_end(struct ckpt_reading *reading, const struct ckpt_range *range, uint64_t at,
                               struct archive *archive)
{
    uint8_t bytes[END64 + LOCATOR + END];
    size_t before = at < END64 + LOCATOR ? 0 : END64 + LOCATOR;
    enum ckpt_err err = ckpt_reading_bytes(reading, range, at - before, bytes, before + END);
    if (err != CKPT_OK) {
        return err;
    }
    const uint8_t *end = bytes + before;
    uint64_t size = ckpt_get_le32(end + 12);
    uint64_t offset = ckpt_get_le32(end + 16);
    uint64_t stop = at;
    if (before > 0 && ckpt_get_le32(bytes) == end64_magic && ckpt_get_le32(bytes + END64) == locator_magic) {
        size = ckpt_get_le64(bytes + 40);
        offset = ckpt_get_le64(bytes + 48);
        stop = at - before;
    }
    if (size > stop || offset > stop - size) {
        return CKPT_ERR_CORRUPT;
    }
    archive->directory = stop - size;
    archive->directory_size = size;
    archive->start = archive->directory - offset;
    return CKPT_OK;
}

/*
 * Walks backwards: an archive ends where the next one starts. A comment may stand at the very end only, else
 * every archive would be a search. *LIST has the last one first; the caller frees it in any case. CORRUPT:
 * there is none, or too many.
 */
static enum ckpt_err find_archives(struct ckpt_reading *reading, const struct ckpt_range *range,
                                   struct archive **list, size_t *count)
{
    size_t room = 0;
    uint64_t end = range->size;
    while (end > 0) {
        uint64_t at = 0;
        struct archive archive = {0};
        enum ckpt_err err = find_end(reading, range, end, *count == 0, &at);
        if (err == CKPT_OK) {
            err = parse_end(reading, range, at, &archive);
        }
        if (err == CKPT_ERR_CORRUPT && *count > 0) {
            return CKPT_OK; /* bytes of another kind before the first archive */
        }
        if (err != CKPT_OK) {
            return err;
        }
        if (++reading->archives > CKPT_READING_ARCHIVES) {
            return CKPT_ERR_CORRUPT;
        }
        if (*count == room) {
            size_t more = room == 0 ? 16 : 2 * room;
            struct archive *grown = realloc(*list, more * sizeof *grown);
            if (grown == NULL) {
                return CKPT_ERR_NOMEM;
            }
            *list = grown;
            room = more;
        }
        (*list)[(*count)++] = archive;
        end = archive.start;
    }
    return *count > 0 ? CKPT_OK : CKPT_ERR_CORRUPT;
}

/* ---- The directory ---- */

/* Replaces those of the three numbers that don't fit into 32 bits by what the zip64 extra field says. */
static bool widen(const uint8_t *extra, size_t n, uint64_t *size, uint64_t *packed, uint64_t *local)
{
    uint64_t *const numbers[] = {size, packed, local};
    bool missing = false;
    for (size_t i = 0; i < 3; i++) {
        missing = missing || *numbers[i] == UINT32_MAX;
    }
    while (missing && n >= 4) {
        size_t field = get_le16(extra + 2);
        if (field > n - 4) {
            return false;
        }
        if (get_le16(extra) == 1) {
            const uint8_t *p = extra + 4;
            for (size_t i = 0; i < 3; i++) {
                if (*numbers[i] == UINT32_MAX) {
                    if (p + 8 > extra + 4 + field) {
                        return false;
                    }
                    *numbers[i] = ckpt_get_le64(p);
                    p += 8;
                }
            }
            return true;
        }
        extra += 4 + field;
        n -= 4 + field;
    }
    return !missing;
}

static enum ckpt_err push(struct zip *zip, const struct entry *entry)
{
    if (zip->count == CKPT_PARTS_MAX) {
        return CKPT_ERR_CORRUPT;
    }
    if (zip->count == zip->room) {
        size_t room = zip->room == 0 ? 64 : 2 * zip->room;
        struct entry *entries = realloc(zip->entries, room * sizeof *entries);
        if (entries == NULL) {
            return CKPT_ERR_NOMEM;
        }
        zip->entries = entries;
        zip->room = room;
    }
    zip->entries[zip->count++] = *entry;
    return CKPT_OK;
}

/* Takes an entry of the directory if it may have a part: bytes, in the room before the directory. */
static enum ckpt_err take(struct zip *zip, const uint8_t *p, size_t name_size, size_t extra_size)
{
    uint64_t packed = ckpt_get_le32(p + 20);
    uint64_t size = ckpt_get_le32(p + 24);
    uint64_t local = ckpt_get_le32(p + 42);
    uint64_t room = zip->archive.directory - zip->archive.start;
    uint16_t method = get_le16(p + 10);
    if (!widen(p + ENTRY + name_size, extra_size, &size, &packed, &local) || packed == 0 ||
        (get_le16(p + 8) & FLAG_ENCRYPTED) != 0 || name_size > NAME_MAX_HERE ||
        (method == METHOD_STORED && size != packed) || local > room || packed > room - local) {
        return CKPT_OK;
    }
    struct entry entry = {
        .local = zip->archive.start + local,
        .size = packed,
        .name = {(const char *)p + ENTRY, name_size},
        .method = method,
    };
    return push(zip, &entry);
}

static enum ckpt_err read_directory(struct zip *zip)
{
    size_t n = (size_t)zip->archive.directory_size;
    if (n > (size_t)DIRECTORY_MAX >> (DIRECTORY_SHIFT * zip->reading->depth)) {
        return CKPT_ERR_CORRUPT;
    }
    zip->directory = malloc(n + 1);
    if (zip->directory == NULL) {
        return CKPT_ERR_NOMEM;
    }
    enum ckpt_err err =
        ckpt_reading_bytes(zip->reading, zip->range, zip->archive.directory, zip->directory, n);
    const uint8_t *p = (const uint8_t *)zip->directory;
    while (err == CKPT_OK && n > 0) {
        if (n < ENTRY || ckpt_get_le32(p) != entry_magic) {
            return CKPT_ERR_CORRUPT;
        }
        size_t name_size = get_le16(p + 28);
        size_t extra_size = get_le16(p + 30);
        size_t size = ENTRY + name_size + extra_size + get_le16(p + 32);
        if (size > n) {
            return CKPT_ERR_CORRUPT;
        }
        err = take(zip, p, name_size, extra_size);
        p += size;
        n -= size;
    }
    return err;
}

static int by_local(const void *a, const void *b)
{
    const struct entry *x = a;
    const struct entry *y = b;
    return (x->local > y->local) - (x->local < y->local);
}

/* Finds the bytes of the entries. One whose local header says otherwise, or that reaches into the next one, has no
   part. */
static enum ckpt_err place(struct zip *zip)
{
    uint8_t local[LOCAL + NAME_MAX_HERE];
    if (zip->count > 0) {
        qsort(zip->entries, zip->count, sizeof *zip->entries, by_local);
    }
    for (size_t i = 0; i < zip->count; i++) {
        struct entry *entry = &zip->entries[i];
        uint64_t stop = i + 1 < zip->count ? entry[1].local : zip->archive.directory;
        uint64_t room = stop - entry->local;
        size_t head = LOCAL + entry->name.size;
        entry->done = true;
        if (room < head || entry->size > room - head) {
            continue;
        }
        enum ckpt_err err = ckpt_reading_bytes(zip->reading, zip->range, entry->local, local, head);
        if (err != CKPT_OK) {
            return err;
        }
        size_t extra = get_le16(local + 28);
        if (ckpt_get_le32(local) == local_magic && get_le16(local + 8) == entry->method &&
            get_le16(local + 26) == entry->name.size &&
            memcmp(local + LOCAL, entry->name.bytes, entry->name.size) == 0 &&
            extra <= room - head - entry->size) {
            entry->at = entry->local + head + extra;
            entry->done = false;
        }
    }
    return CKPT_OK;
}

/* ---- What the entries are ---- */

/* Strips PREFIX. */
static bool strip(struct ckpt_name *name, struct ckpt_name prefix)
{
    if (name->size < prefix.size || memcmp(name->bytes, prefix.bytes, prefix.size) != 0) {
        return false;
    }
    name->bytes += prefix.size;
    name->size -= prefix.size;
    return true;
}

/* The folder, with its slash, that torch.save puts everything in, as "last/"; nothing for other archives. Two saves of
   the same state have different ones, as it is the file's name. */
static struct ckpt_name find_root(const struct zip *zip)
{
    for (size_t i = 0; i < zip->count; i++) {
        struct ckpt_name name = zip->entries[i].name;
        const char *slash = memchr(name.bytes, '/', name.size);
        if (slash != NULL && !zip->entries[i].done) {
            struct ckpt_name root = {name.bytes, (size_t)(slash + 1 - name.bytes)};
            if (strip(&name, root) && ckpt_name_is(name, "data.pkl")) {
                return root;
            }
        }
    }
    return (struct ckpt_name){"", 0};
}

/* Reads ROOT/NAME, a pickle; none is fine. */
static enum ckpt_err read_pickle(struct zip *zip, struct ckpt_name root, const char *file,
                                 struct ckpt_pickle *pickle)
{
    for (size_t i = 0; i < zip->count; i++) {
        const struct entry *entry = &zip->entries[i];
        struct ckpt_name name = entry->name;
        if (!entry->done && entry->method == METHOD_STORED && strip(&name, root) && ckpt_name_is(name, file)) {
            return ckpt_pickle_read(zip->reading->source, zip->range->offset + entry->at, entry->size,
                                    pickle);
        }
    }
    return CKPT_OK;
}

static void tell_entries(const struct zip *zip, const struct ckpt_pickle *pickle)
{
    const struct ckpt_observer *observer = zip->observer;
    for (size_t i = 0; i < pickle->entry_count; i++) {
        const struct ckpt_pickle_entry *entry = &pickle->entries[i];
        if (entry->is_number) {
            observer->number(observer->arg, entry->group, entry->name, entry->number);
        } else {
            observer->branch(observer->arg, entry->name);
        }
    }
}

/* Adds the storages ROOT/FOLDERN that PICKLE is about. */
static enum ckpt_err add_storages(struct zip *zip, const struct ckpt_range *keys, struct ckpt_name root,
                                  const char *folder, const struct ckpt_pickle *pickle)
{
    struct ckpt_name prefix = {folder, strlen(folder)};
    for (size_t i = 0; i < zip->count; i++) {
        struct entry *entry = &zip->entries[i];
        struct ckpt_name name = entry->name;
        if (entry->done || entry->method != METHOD_STORED || !strip(&name, root)) {
            continue;
        }
        struct ckpt_name id = name;
        if (!strip(&id, prefix)) {
            continue;
        }
        struct ckpt_found found = {.at = entry->at, .size = entry->size, .name = name, .type = {"", 0}};
        const struct ckpt_storage *storage = ckpt_pickle_find(pickle, id);
        if (storage != NULL) {
            found.name = storage->path.bytes != NULL ? storage->path : name;
            found.type = storage->type;
            found.width = storage->width;
        }
        enum ckpt_err err = ckpt_reading_tensor(zip->reading, keys, &found);
        if (err != CKPT_OK) {
            return err;
        }
        if (zip->observer != NULL && storage != NULL && storage->path.bytes != NULL && found.name.size > 0) {
            zip->observer->tensor(zip->observer->arg, found.name, found.type, zip->range->offset + found.at,
                                  found.size);
        }
        entry->done = true;
    }
    return CKPT_OK;
}

static enum ckpt_err add_entries(struct zip *zip)
{
    /* The second pair is that of a script. */
    static const char *const files[][2] = {{"data.pkl", "data/"}, {"constants.pkl", "constants/"}};
    struct ckpt_name root = find_root(zip);
    enum ckpt_err err = CKPT_OK;
    for (size_t i = 0; i < 2 && root.size > 0 && err == CKPT_OK; i++) {
        struct ckpt_pickle pickle = {0};
        err = read_pickle(zip, root, files[i][0], &pickle);
        if (err == CKPT_OK && zip->observer != NULL) {
            tell_entries(zip, &pickle);
        }
        if (err == CKPT_OK) {
            struct ckpt_range keys = zip->keys;
            keys.seed += (uint64_t)i << 32; /* each pickle has paths of its own */
            err = add_storages(zip, &keys, root, files[i][1], &pickle);
        }
        ckpt_pickle_clear(&pickle);
    }
    for (size_t i = 0; i < zip->count && err == CKPT_OK; i++) {
        struct entry *entry = &zip->entries[i];
        struct ckpt_name name = entry->name;
        if (entry->done) {
            continue;
        }
        (void)strip(&name, root);
        if (zip->observer != NULL) {
            zip->observer->entry(zip->observer->arg, name,
                                 entry->method == METHOD_STORED ? zip->range->offset + entry->at : 0, entry->size);
        }
        if (entry->method == METHOD_STORED) {
            err = ckpt_reading_entry(zip->reading, &zip->keys, entry->at, entry->size, name);
        } else {
            err = ckpt_reading_blob(zip->reading, &zip->keys, entry->at, entry->size, name);
        }
    }
    return err;
}

/* Adds what is in one archive, the Nth of the range. */
static enum ckpt_err read_archive(struct ckpt_reading *reading, const struct ckpt_range *range,
                                  const struct archive *archive, size_t n)
{
    struct zip zip = {.reading = reading, .range = range, .archive = *archive, .keys = *range};
    zip.keys.seed += n;
    if (reading->depth == 0 && reading->archives == 1) {
        zip.observer = reading->observer;
    }
    size_t before = reading->parts->count;
    enum ckpt_err err = read_directory(&zip);
    if (err == CKPT_OK) {
        err = place(&zip);
    }
    if (err == CKPT_OK) {
        err = add_entries(&zip);
    }
    if (err == CKPT_ERR_CORRUPT) {
        reading->parts->count = before;
    }
    free(zip.entries);
    free(zip.directory);
    return err;
}

enum ckpt_err ckpt_zip_read(struct ckpt_reading *reading, const struct ckpt_range *range)
{
    struct archive *list = NULL;
    size_t count = 0;
    enum ckpt_err err = find_archives(reading, range, &list, &count);
    for (size_t i = 0; i < count && err == CKPT_OK; i++) {
        err = read_archive(reading, range, &list[count - 1 - i], i);
        if (err == CKPT_ERR_CORRUPT) {
            err = CKPT_OK; /* the others may make sense */
        }
    }
    free(list);
    return err;
}
