/*
 * The store directory: making, opening, locking it, and its FORMAT file.
 */
#include "catalog/upgrade.h"
#include "common/bytes.h"
#include "object/garbage.h"
#include "object/internal.h"
#include "object/object.h"
#include <ckpt/engine.h>
#include <ckpt/host.h>
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define FORMAT_NAME     "FORMAT"
#define FIRST_LINE      "ckptfs store\n"
#define STORE_ATTRIBUTE "user.ckptfs.store"

enum {
    FORMAT_MAX = 4096, /* bytes of the FORMAT file */
    CREATED_SIZE = 21, /* "YYYY-MM-DDThh:mm:ssZ" and NUL */
    HOLDER_MAX = 512,  /* bytes of the lock's text */
    LOCK_TRIES = 20,   /* for a lock that only a look at the holder takes, 5 ms each */
    HEX_DIGITS = CKPT_ID_HEX - 1,
    DIR_MODE = 0700,
    OPEN_DIR = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
};

static const uint64_t map_unit = UINT64_C(1) << 20;
static const uint64_t map_least = UINT64_C(1) << 30;
#ifdef __SANITIZE_THREAD__
static const uint64_t map_sanitized = UINT64_C(1) << 38;
#endif

/* What FORMAT says. */
struct header {
    unsigned format;
    struct ckpt_id id;
    uint64_t seed;
    char created[CREATED_SIZE];
};

/* ---- FORMAT ---- */

/* Renders FORMAT as FORMAT.md has it; returns its length. */
static size_t header_text(const struct header *header, char text[FORMAT_MAX])
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
static enum ckpt_err header_parse(const char *text, struct header *header)
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
        !parse_hex(seed, seed_bytes, sizeof seed_bytes) || at - created != CREATED_SIZE) {
        return CKPT_ERR_CORRUPT;
    }
    header->format = (unsigned)number;
    header->seed = ckpt_get_be64(seed_bytes);
    memcpy(header->created, created, CREATED_SIZE - 1);
    header->created[CREATED_SIZE - 1] = '\0';

    char again[FORMAT_MAX];
    size_t n = header_text(header, again);
    return strlen(text) == n && memcmp(text, again, n) == 0 ? CKPT_OK : CKPT_ERR_CORRUPT;
}

static enum ckpt_err header_read(const char *dir, int dirfd, const struct ckpt_report *report,
                                 struct header *header)
{
    char text[FORMAT_MAX + 1];
    struct stat st;
    int fd = ckpt_host_openat(dirfd, FORMAT_NAME, O_RDONLY | O_CLOEXEC, 0);
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
                     "%s/FORMAT: the file is damaged; put back a copy of it (it never changes)",
                     dir);
    }
    return err;
}

/* ---- Creating ---- */

static enum ckpt_err host_failure(const struct ckpt_report *report, const char *dir,
                                  const char *what)
{
    int error = errno;
    ckpt_reportf(report, CKPT_ERROR, "%s: %s: %s", dir, what, strerror(error));
    return ckpt_err_from_errno(error);
}

static enum ckpt_err random_header(struct header *header)
{
    time_t now = time(NULL);
    struct tm tm;
    if (getrandom(header->id.bytes, CKPT_ID_SIZE, 0) != CKPT_ID_SIZE ||
        getrandom(&header->seed, sizeof header->seed, 0) != sizeof header->seed) {
        return CKPT_ERR_IO;
    }
    if (gmtime_r(&now, &tm) == NULL ||
        strftime(header->created, CREATED_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm) != CREATED_SIZE - 1) {
        return CKPT_ERR_INVALID;
    }
    return CKPT_OK;
}

/* OK for an empty directory. */
static enum ckpt_err check_empty(const char *dir, int dirfd, const struct ckpt_report *report)
{
    struct stat st;
    if (ckpt_host_fstatat(dirfd, FORMAT_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        ckpt_reportf(report, CKPT_ERROR,
                     "%s: there is a ckptfs store already; mount it with: "
                     "ckptfs %s MOUNTPOINT",
                     dir, dir);
        return CKPT_ERR_EXISTS;
    }
    if (errno != ENOENT) {
        return host_failure(report, dir, "can't be looked at");
    }
    int fd = ckpt_host_openat(dirfd, ".", OPEN_DIR, 0);
    DIR *listing = fd < 0 ? NULL : fdopendir(fd);
    if (listing == NULL) {
        enum ckpt_err err = host_failure(report, dir, "can't be listed");
        (void)ckpt_host_close(fd);
        return err;
    }
    enum ckpt_err err = CKPT_OK;
    const struct dirent *entry;
    while (err == CKPT_OK && (entry = ckpt_host_readdir(listing)) != NULL) {
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            ckpt_reportf(report, CKPT_ERROR,
                         "%s: the directory isn't empty (it has \"%s\"); name a new one, for "
                         "example %s/ckptfs",
                         dir, entry->d_name, dir);
            err = CKPT_ERR_EXISTS;
        }
    }
    if (err == CKPT_OK && errno != 0) {
        err = host_failure(report, dir, "can't be listed");
    }
    (void)closedir(listing);
    return err;
}

static const char *const dir_names[] = {"live", "pending", "tmp", "db"};
enum { DIRS = sizeof dir_names / sizeof dir_names[0] };

/* *MADE of them, in order. */
static enum ckpt_err make_dirs(const char *dir, int dirfd, const struct ckpt_report *report,
                               size_t *made)
{
    while (*made < DIRS) {
        if (ckpt_host_mkdirat(dirfd, dir_names[*made], DIR_MODE) != 0) {
            return host_failure(report, dir, "can't create a directory in it");
        }
        ++*made;
    }
    return CKPT_OK;
}

static enum ckpt_err mark_live(const char *dir, int dirfd, const struct ckpt_id *id,
                               const struct ckpt_report *report)
{
    char hex[CKPT_ID_HEX];
    enum ckpt_err err = CKPT_OK;
    ckpt_id_hex(id, hex);
    int fd = ckpt_host_openat(dirfd, "live", OPEN_DIR, 0);
    if (fd < 0) {
        return host_failure(report, dir, "can't open live/");
    }
    if (ckpt_host_fsetxattr(fd, STORE_ATTRIBUTE, hex, HEX_DIGITS, 0) != 0) {
        if (errno == EOPNOTSUPP) {
            ckpt_reportf(report, CKPT_ERROR,
                         "%s: the host filesystem has no user extended attributes, which a store "
                         "needs; use ext4, XFS or btrfs",
                         dir);
            err = CKPT_ERR_UNSUPPORTED;
        } else {
            err = host_failure(report, dir, "can't set an extended attribute on live/");
        }
    } else if (ckpt_host_fsync(fd) != 0) {
        err = host_failure(report, dir, "live/ can't be synced");
    }
    (void)ckpt_host_close(fd);
    return err;
}

/* Address space for the database, enough whatever happens: twice the host filesystem. */
static enum ckpt_err map_size(int dirfd, size_t *size)
{
    struct statvfs host;
    if (ckpt_host_fstatvfs(dirfd, &host) != 0) {
        return ckpt_err_from_errno(errno);
    }
    uint64_t bytes = (uint64_t)host.f_blocks * host.f_frsize;
    bytes = bytes > SIZE_MAX / 4 ? SIZE_MAX / 4 : bytes;
    bytes = (2 * bytes + map_unit - 1) / map_unit * map_unit;
#ifdef __SANITIZE_THREAD__
    /* Its shadow leaves a program little more than 1 TiB of address space. */
    bytes = bytes < map_sanitized ? bytes : map_sanitized;
#endif
    *size = bytes < map_least ? map_least : bytes;
    return CKPT_OK;
}

static enum ckpt_err put_first_rows(struct ckpt_txn *txn, const struct ckpt_id *id)
{
    uint8_t format[4];
    const uint8_t zeros[40] = {0};
    ckpt_put_le32(format, CKPT_STORE_FORMAT);
    const struct {
        const char *key;
        const void *value;
        size_t size;
    } rows[] = {
        {"format", format, sizeof format},
        {"store", id->bytes, CKPT_ID_SIZE},
        {"counters", zeros, 40},
        {"sequence", zeros, 8},
        {"garbage", zeros, 8},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        enum ckpt_err err = ckpt_db_insert(txn, CKPT_TABLE_META, rows[i].key, strlen(rows[i].key),
                                           rows[i].value, rows[i].size);
        if (err != CKPT_OK) {
            return err;
        }
    }
    return CKPT_OK;
}

static enum ckpt_err make_db(const char *dir, int dirfd, const struct ckpt_id *id,
                             const struct ckpt_report *report)
{
    char path[PATH_MAX + 8];
    struct ckpt_db *db = NULL;
    struct ckpt_txn *txn = NULL;
    size_t size = 0;
    (void)snprintf(path, sizeof path, "%s/db", dir);
    enum ckpt_err err = map_size(dirfd, &size);
    if (err == CKPT_OK) {
        err = ckpt_db_open(path, true, size, report, &db);
    }
    if (err == CKPT_OK) {
        err = ckpt_txn_write(db, &txn);
    }
    if (err == CKPT_OK) {
        err = put_first_rows(txn, id);
    }
    if (err == CKPT_OK) {
        err = ckpt_txn_commit(txn);
        txn = NULL;
    }
    ckpt_txn_abort(txn);
    ckpt_db_close(db);
    if (err != CKPT_OK) {
        ckpt_reportf(report, CKPT_ERROR, "%s: the database can't be created: %s", path,
                     ckpt_err_text(err));
    }
    return err;
}

/* Syncs directory NAME in DIRFD. */
static int sync_dir(int dirfd, const char *name)
{
    int fd = ckpt_host_openat(dirfd, name, OPEN_DIR, 0);
    int result = fd < 0 ? -1 : ckpt_host_fsync(fd);
    int error = errno;
    (void)ckpt_host_close(fd);
    errno = error;
    return result;
}

/* The last step: with FORMAT the directory is a store. */
static enum ckpt_err write_header(const char *dir, int dirfd, const struct header *header,
                                  const struct ckpt_report *report)
{
    char text[FORMAT_MAX];
    size_t n = header_text(header, text);
    int fd =
        ckpt_host_openat(dirfd, "tmp/" FORMAT_NAME, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool good = fd >= 0 && ckpt_host_write_all(fd, text, n, 0) == 0 && ckpt_host_fsync(fd) == 0;
    int error = errno;
    (void)ckpt_host_close(fd);
    errno = error;
    good = good && sync_dir(dirfd, "db") == 0 && sync_dir(dirfd, ".") == 0 &&
           ckpt_host_renameat2(dirfd, "tmp/" FORMAT_NAME, dirfd, FORMAT_NAME, 0) == 0 &&
           sync_dir(dirfd, ".") == 0;
    return good ? CKPT_OK : host_failure(report, dir, "the FORMAT file can't be written");
}

/* Takes back what a creation that failed has made, as far as it goes: its first MADE directories and, when it had
   them all, what it put into them. Nothing else: somebody may have been faster. */
static void remove_made(int dirfd, size_t made)
{
    static const char *const files[] = {FORMAT_NAME, "tmp/" FORMAT_NAME, "db/data.mdb", "db/lock.mdb"};
    for (size_t i = 0; made == DIRS && i < sizeof files / sizeof files[0]; i++) {
        (void)ckpt_host_unlinkat(dirfd, files[i], 0);
    }
    while (made > 0) {
        (void)ckpt_host_unlinkat(dirfd, dir_names[--made], AT_REMOVEDIR);
    }
}

/* Opens DIR and makes its path absolute (ABSOLUTE has PATH_MAX bytes). */
static enum ckpt_err open_dir(const char *dir, const struct ckpt_report *report, char *absolute,
                              int *dirfd)
{
    if (realpath(dir, absolute) == NULL) {
        return host_failure(report, dir, "the store directory can't be opened");
    }
    int fd = ckpt_host_openat(AT_FDCWD, absolute, OPEN_DIR, 0);
    if (fd < 0) {
        return host_failure(report, absolute, "the store directory can't be opened");
    }
    *dirfd = fd;
    return CKPT_OK;
}

enum ckpt_err ckpt_store_create(const char *dir, const struct ckpt_report *report)
{
    char path[PATH_MAX];
    int dirfd = -1;
    struct header header = {.format = CKPT_STORE_FORMAT};
    size_t made = 0;
    bool made_dir = ckpt_host_mkdirat(AT_FDCWD, dir, DIR_MODE) == 0;
    if (!made_dir && errno != EEXIST) {
        return host_failure(report, dir, "the store directory can't be created");
    }
    enum ckpt_err err = open_dir(dir, report, path, &dirfd);
    if (err == CKPT_OK) {
        err = check_empty(path, dirfd, report);
    }
    if (err == CKPT_OK) {
        err = random_header(&header);
    }
    if (err == CKPT_OK) {
        err = make_dirs(path, dirfd, report, &made);
    }
    if (err == CKPT_OK) {
        err = mark_live(path, dirfd, &header.id, report);
    }
    if (err == CKPT_OK) {
        err = make_db(path, dirfd, &header.id, report);
    }
    if (err == CKPT_OK && made_dir && sync_dir(dirfd, "..") != 0) {
        err = host_failure(report, path, "the directory above can't be synced");
    }
    if (err == CKPT_OK) {
        err = write_header(path, dirfd, &header, report);
    }
    if (err != CKPT_OK) {
        remove_made(dirfd, made);
        if (made_dir) {
            (void)ckpt_host_unlinkat(AT_FDCWD, dir, AT_REMOVEDIR);
        }
    }
    (void)ckpt_host_close(dirfd);
    return err;
}

/* ---- The lock ---- */

/* The first line of the lock's text; "" when it has none. */
static void holder_text(int fd, char *holder, size_t size)
{
    ssize_t n = ckpt_host_read_all(fd, holder, size - 1, 0);
    holder[n < 0 ? 0 : n] = '\0';
    holder[strcspn(holder, "\n")] = '\0';
}

static enum ckpt_err write_holder(int fd, const char *holder)
{
    char text[HOLDER_MAX];
    if (holder != NULL) {
        (void)snprintf(text, sizeof text, "%s", holder);
    } else {
        (void)snprintf(text, sizeof text, "pid %ld", (long)getpid());
    }
    size_t n = strcspn(text, "\n");
    n = n < sizeof text - 1 ? n : sizeof text - 2;
    text[n] = '\n';
    /* In this order: on a full host the old text's block is all there is. */
    if (ckpt_host_write_all(fd, text, n + 1, 0) != 0 || ckpt_host_ftruncate(fd, (off_t)n + 1) != 0) {
        return ckpt_err_from_errno(errno);
    }
    return CKPT_OK;
}

static enum ckpt_err take_lock(struct ckpt_store *store, const char *holder)
{
    const struct timespec pause = {.tv_nsec = 5000000};
    store->lockfd = ckpt_host_openat(store->dirfd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (store->lockfd < 0) {
        return host_failure(&store->report, store->path, "the lock can't be opened");
    }
    int result = ckpt_host_flock(store->lockfd, LOCK_EX | LOCK_NB);
    /* ckpt_store_holder takes the lock for a moment to see whether it is free. */
    for (int i = 0; result != 0 && errno == EWOULDBLOCK && i < LOCK_TRIES; i++) {
        (void)nanosleep(&pause, NULL);
        result = ckpt_host_flock(store->lockfd, LOCK_EX | LOCK_NB);
    }
    if (result != 0 && errno == EWOULDBLOCK) {
        char text[HOLDER_MAX];
        holder_text(store->lockfd, text, sizeof text);
        ckpt_reportf(&store->report, CKPT_ERROR,
                     "%s: the store is in use by %s; unmount it or wait until it is done",
                     store->path, text[0] == '\0' ? "another process" : text);
        return CKPT_ERR_BUSY;
    }
    if (result != 0) {
        return host_failure(&store->report, store->path, "the lock can't be taken");
    }
    enum ckpt_err err = write_holder(store->lockfd, holder);
    if (err == CKPT_ERR_NOSPC) {
        err = CKPT_OK; /* the lock counts; its text only says who has it */
    }
    if (err != CKPT_OK) {
        ckpt_reportf(&store->report, CKPT_ERROR, "%s/lock: can't be written: %s", store->path,
                     ckpt_err_text(err));
    }
    return err;
}

int ckpt_store_holder(const char *dir, char *holder, size_t size)
{
    char path[PATH_MAX];
    if (size == 0 || snprintf(path, sizeof path, "%s/lock", dir) >= (int)sizeof path) {
        return -1;
    }
    holder[0] = '\0';
    int fd = ckpt_host_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) {
        return errno == ENOENT ? 0 : -1;
    }
    int result = -1;
    if (ckpt_host_flock(fd, LOCK_SH | LOCK_NB) == 0) {
        result = 0;
    } else if (errno == EWOULDBLOCK) {
        holder_text(fd, holder, size);
        result = 1;
    }
    (void)ckpt_host_close(fd);
    return result;
}

/* ---- Opening ---- */

/* Opens a directory of the store. A copy may have left out the empty ones: OPTIONAL ones are made
   again by a writer, and are left closed by a reader. */
static enum ckpt_err open_subdir(struct ckpt_store *store, const char *name, bool optional, int *fd)
{
    *fd = ckpt_host_openat(store->dirfd, name, OPEN_DIR, 0);
    if (*fd < 0 && errno == ENOENT && optional) {
        if (store->lockfd < 0) {
            return CKPT_OK;
        }
        if (ckpt_host_mkdirat(store->dirfd, name, DIR_MODE) == 0) {
            *fd = ckpt_host_openat(store->dirfd, name, OPEN_DIR, 0);
        }
    }
    if (*fd >= 0) {
        return CKPT_OK;
    }
    enum ckpt_err err = errno == ENOENT ? CKPT_ERR_CORRUPT : ckpt_err_from_errno(errno);
    ckpt_reportf(&store->report, CKPT_ERROR,
                 "%s/%s: can't be opened: %s; put back a complete copy of the store", store->path,
                 name, strerror(errno));
    return err;
}

static enum ckpt_err check_live(struct ckpt_store *store)
{
    char hex[CKPT_ID_HEX];
    char value[CKPT_ID_HEX];
    ckpt_id_hex(&store->store_id, hex);
    ssize_t n = ckpt_host_fgetxattr(store->livefd, STORE_ATTRIBUTE, value, sizeof value);
    if (n == HEX_DIGITS && memcmp(value, hex, HEX_DIGITS) == 0) {
        return CKPT_OK;
    }
    if (n < 0 && errno == EOPNOTSUPP) {
        ckpt_reportf(&store->report, CKPT_ERROR,
                     "%s: the host filesystem has no user extended attributes, which a store "
                     "needs; copy the store to ext4, XFS or btrfs with its extended attributes",
                     store->path);
        return CKPT_ERR_UNSUPPORTED;
    }
    if (n < 0 && errno != ENODATA && errno != ERANGE) {
        return host_failure(&store->report, store->path,
                            "the extended attributes of live/ can't be read");
    }
    ckpt_reportf(&store->report, CKPT_ERROR,
                 n < 0 && errno == ENODATA
                     ? "%s/live: the directory lost its extended attributes, and cold files in it "
                       "theirs; copy the store again with: rsync -aHSX"
                     : "%s/live: the directory belongs to another store; put back a complete copy "
                       "of the store",
                 store->path);
    return CKPT_ERR_CORRUPT;
}

/* Whether the database is that of this store; *NUMBER receives its format. */
static enum ckpt_err check_db(struct ckpt_store *store, unsigned *number)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_slice format;
    struct ckpt_slice id;
    enum ckpt_err err = ckpt_txn_read(store->db, &txn);
    if (err == CKPT_OK) {
        err = ckpt_db_get(txn, CKPT_TABLE_META, "format", strlen("format"), &format);
    }
    if (err == CKPT_OK) {
        err = ckpt_db_get(txn, CKPT_TABLE_META, "store", strlen("store"), &id);
    }
    if (err == CKPT_OK && format.size == 4 && ckpt_get_le32(format.data) > CKPT_STORE_FORMAT) {
        ckpt_reportf(&store->report, CKPT_ERROR,
                     "%s/db: the database has a newer format than this program reads (up to %d); "
                     "use a newer ckptfs",
                     store->path, (int)CKPT_STORE_FORMAT);
        err = CKPT_ERR_FORMAT;
    } else if (err == CKPT_ERR_NOT_FOUND ||
               (err == CKPT_OK &&
                (format.size != 4 || ckpt_get_le32(format.data) == 0 || id.size != CKPT_ID_SIZE ||
                 memcmp(id.data, store->store_id.bytes, CKPT_ID_SIZE) != 0))) {
        ckpt_reportf(&store->report, CKPT_ERROR,
                     "%s/db: the database isn't that of this store; put back a complete copy of "
                     "the store",
                     store->path);
        err = CKPT_ERR_CORRUPT;
    }
    if (err == CKPT_OK) {
        *number = ckpt_get_le32(format.data);
    }
    ckpt_txn_abort(txn);
    return err;
}

static enum ckpt_err open_db(struct ckpt_store *store, bool writable, unsigned *number)
{
    char path[PATH_MAX + 8];
    struct stat st;
    size_t size = 0;
    (void)snprintf(path, sizeof path, "%s/db", store->path);
    /* LMDB would make a new one. */
    if (ckpt_host_fstatat(store->dirfd, "db/data.mdb", &st, 0) != 0) {
        enum ckpt_err err = errno == ENOENT ? CKPT_ERR_CORRUPT : ckpt_err_from_errno(errno);
        ckpt_reportf(&store->report, CKPT_ERROR,
                     "%s/data.mdb: the database can't be opened: %s; put back a complete copy of "
                     "the store",
                     path, strerror(errno));
        return err;
    }
    if (map_size(store->dirfd, &size) != CKPT_OK) {
        return host_failure(&store->report, store->path, "the host filesystem's size can't be told");
    }
    enum ckpt_err err = ckpt_db_open(path, writable, size, &store->report, &store->db);
    return err == CKPT_OK ? check_db(store, number) : err;
}

/* An older store becomes one of the present format: first the database, then FORMAT. After a crash in between the second
   step is made up for. */
static enum ckpt_err bring_up(struct ckpt_store *store, struct header *header, unsigned number)
{
    enum ckpt_err err = CKPT_OK;
    if (number == CKPT_STORE_FORMAT && header->format == CKPT_STORE_FORMAT) {
        return CKPT_OK;
    }
    if (number < CKPT_STORE_FORMAT) {
        err = ckpt_upgrade(store, number);
    }
    if (err == CKPT_OK) {
        (void)ckpt_host_unlinkat(store->dirfd, "tmp/" FORMAT_NAME, 0);
        header->format = CKPT_STORE_FORMAT;
        err = write_header(store->path, store->dirfd, header, &store->report);
    }
    ckpt_reportf(&store->report, err == CKPT_OK ? CKPT_NOTICE : CKPT_ERROR,
                 err == CKPT_OK ? "%s: the store was brought to format %d%s"
                                : "%s: the store can't be brought to format %d: %s",
                 store->path, (int)CKPT_STORE_FORMAT, err == CKPT_OK ? "" : ckpt_err_text(err));
    return err;
}

static enum ckpt_err open_parts(struct ckpt_store *store, enum ckpt_access access,
                                const char *holder)
{
    struct header header = {0};
    enum ckpt_err err = header_read(store->path, store->dirfd, &store->report, &header);
    if (err != CKPT_OK) {
        return err;
    }
    store->store_id = header.id;
    store->seed = header.seed;
    ckpt_chunker_init(&store->chunker, store->seed);
    if (access == CKPT_WRITE) {
        err = take_lock(store, holder);
    } else if (header.format < CKPT_STORE_FORMAT) {
        ckpt_reportf(&store->report, CKPT_ERROR,
                     "%s: the store has an older format (%u); mount it once, which brings it to "
                     "format %d",
                     store->path, header.format, (int)CKPT_STORE_FORMAT);
        err = CKPT_ERR_FORMAT;
    }
    if (err == CKPT_OK) {
        err = open_subdir(store, "live", false, &store->livefd);
    }
    if (err == CKPT_OK) {
        err = check_live(store);
    }
    if (err == CKPT_OK) {
        err = open_subdir(store, "pending", true, &store->pendingfd);
    }
    if (err == CKPT_OK) {
        err = open_subdir(store, "tmp", true, &store->tmpfd);
    }
    unsigned number = 0;
    if (err == CKPT_OK) {
        err = open_db(store, access == CKPT_WRITE, &number);
    }
    return err == CKPT_OK ? bring_up(store, &header, number) : err;
}

enum ckpt_err ckpt_store_open(const char *dir, enum ckpt_access access, const char *holder,
                              const struct ckpt_report *report, struct ckpt_store **store)
{
    char path[PATH_MAX];
    struct ckpt_store *opened = calloc(1, sizeof *opened);
    if (opened == NULL) {
        return CKPT_ERR_NOMEM;
    }
    opened->dirfd = opened->livefd = opened->pendingfd = opened->tmpfd = opened->lockfd = -1;
    opened->depth = CKPT_DEPTH;
    if (report != NULL) {
        opened->report = *report;
    }
    if (pthread_mutex_init(&opened->pins_lock, NULL) != 0) {
        free(opened);
        return CKPT_ERR_NOMEM;
    }
    enum ckpt_err err = open_dir(dir, report, path, &opened->dirfd);
    if (err == CKPT_ERR_NOT_FOUND) {
        err = CKPT_ERR_NOT_STORE;
    }
    if (err == CKPT_OK) {
        opened->path = strdup(path);
        err = opened->path == NULL ? CKPT_ERR_NOMEM : open_parts(opened, access, holder);
    }
    if (err == CKPT_OK) {
        *store = opened;
        opened = NULL;
    }
    ckpt_store_close(opened);
    return err;
}

void ckpt_store_close(struct ckpt_store *store)
{
    if (store == NULL) {
        return;
    }
    ckpt_db_close(store->db);
    ckpt_pins_free(store->pins);
    (void)pthread_mutex_destroy(&store->pins_lock);
    (void)ckpt_host_close(store->livefd);
    (void)ckpt_host_close(store->pendingfd);
    (void)ckpt_host_close(store->tmpfd);
    (void)ckpt_host_close(store->dirfd);
    (void)ckpt_host_close(store->lockfd); /* last: whoever gets the lock finds all of it released */
    free(store->path);
    free(store);
}

/* ---- Accessors ---- */

const char *ckpt_store_path(const struct ckpt_store *store)
{
    return store->path;
}

int ckpt_store_dirfd(const struct ckpt_store *store)
{
    return store->dirfd;
}

int ckpt_store_livefd(const struct ckpt_store *store)
{
    return store->livefd;
}

int ckpt_store_pendingfd(const struct ckpt_store *store)
{
    return store->pendingfd;
}

int ckpt_store_tmpfd(const struct ckpt_store *store)
{
    return store->tmpfd;
}

const struct ckpt_report *ckpt_store_report(const struct ckpt_store *store)
{
    return &store->report;
}

unsigned ckpt_store_depth(const struct ckpt_store *store)
{
    return store->depth;
}

/* ---- Stopping ---- */

void ckpt_store_stop(struct ckpt_store *store, const char *why)
{
    if (!atomic_exchange(&store->stopped, true)) {
        ckpt_reportf(&store->report, CKPT_ERROR,
                     "%s: the store accepts no more changes: %s; check the disk, then mount the "
                     "store again",
                     store->path, why);
    }
}

bool ckpt_store_stopped(const struct ckpt_store *store)
{
    return atomic_load(&store->stopped);
}

enum ckpt_err ckpt_store_begin(struct ckpt_store *store, struct ckpt_txn **txn)
{
    if (ckpt_store_stopped(store)) {
        return CKPT_ERR_STOPPED;
    }
    enum ckpt_err err = ckpt_txn_write(store->db, txn);
    if (err == CKPT_ERR_IO) {
        ckpt_store_stop(store, "the database can't be written or synced");
    }
    return err;
}

enum ckpt_err ckpt_store_commit(struct ckpt_store *store, struct ckpt_txn *txn)
{
    enum ckpt_err err = ckpt_txn_commit(txn);
    if (err == CKPT_ERR_IO) {
        ckpt_store_stop(store, "the database can't be written or synced");
    }
    return err;
}

/* ---- Figures ---- */

enum ckpt_err ckpt_store_counters(struct ckpt_store *store, struct ckpt_counters *out)
{
    struct ckpt_txn *txn = NULL;
    enum ckpt_err err = ckpt_txn_read(store->db, &txn);
    if (err == CKPT_OK) {
        err = ckpt_counters_get(txn, out);
    }
    ckpt_txn_abort(txn);
    return err;
}

enum ckpt_err ckpt_store_space(struct ckpt_store *store, struct ckpt_space *out)
{
    struct statvfs host;
    uint64_t db_bytes = 0;
    if (ckpt_host_fstatvfs(store->dirfd, &host) != 0) {
        return ckpt_err_from_errno(errno);
    }
    enum ckpt_err err = ckpt_db_host_bytes(store->db, &db_bytes);
    if (err == CKPT_OK) {
        out->host_free = (uint64_t)host.f_bavail * host.f_frsize;
        out->host_size = (uint64_t)host.f_blocks * host.f_frsize;
        out->db_bytes = db_bytes;
    }
    return err;
}
