/*
 * Making a new store.
 */
#include "common/bytes.h"
#include "object/db.h"
#include "store_parts.h"
#include <ckpt/host.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

static enum ckpt_err random_header(struct ckpt_store_header *header)
{
    time_t now = time(NULL);
    struct tm tm;
    if (getrandom(header->id.bytes, CKPT_ID_SIZE, 0) != CKPT_ID_SIZE ||
        getrandom(&header->seed, sizeof header->seed, 0) != sizeof header->seed) {
        return CKPT_ERR_IO;
    }
    if (gmtime_r(&now, &tm) == NULL ||
        strftime(header->created, CKPT_CREATED_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm) != CKPT_CREATED_SIZE - 1) {
        return CKPT_ERR_INVALID;
    }
    return CKPT_OK;
}

/* OK for an empty directory. */
static enum ckpt_err check_empty(const char *dir, int dirfd, const struct ckpt_report *report)
{
    struct stat st;
    if (ckpt_host_fstatat(dirfd, CKPT_FORMAT_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        ckpt_reportf(report, CKPT_ERROR,
                     "%s: there is a ckptfs store already; mount it with: "
                     "ckptfs %s MOUNTPOINT",
                     dir, dir);
        return CKPT_ERR_EXISTS;
    }
    if (errno != ENOENT) {
        return ckpt_store_failure(report, dir, "can't be looked at");
    }
    int fd = ckpt_host_openat(dirfd, ".", CKPT_OPEN_DIR, 0);
    DIR *listing = fd < 0 ? NULL : fdopendir(fd);
    if (listing == NULL) {
        enum ckpt_err err = ckpt_store_failure(report, dir, "can't be listed");
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
        err = ckpt_store_failure(report, dir, "can't be listed");
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
        if (ckpt_host_mkdirat(dirfd, dir_names[*made], CKPT_DIR_MODE) != 0) {
            return ckpt_store_failure(report, dir, "can't create a directory in it");
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
    int fd = ckpt_host_openat(dirfd, "live", CKPT_OPEN_DIR, 0);
    if (fd < 0) {
        return ckpt_store_failure(report, dir, "can't open live/");
    }
    if (ckpt_host_fsetxattr(fd, CKPT_STORE_ATTRIBUTE, hex, CKPT_ID_DIGITS, 0) != 0) {
        if (errno == EOPNOTSUPP) {
            ckpt_reportf(report, CKPT_ERROR,
                         "%s: the host filesystem has no user extended attributes, which a store "
                         "needs; use ext4, XFS or btrfs",
                         dir);
            err = CKPT_ERR_UNSUPPORTED;
        } else {
            err = ckpt_store_failure(report, dir, "can't set an extended attribute on live/");
        }
    } else if (ckpt_host_fsync(fd) != 0) {
        err = ckpt_store_failure(report, dir, "live/ can't be synced");
    }
    (void)ckpt_host_close(fd);
    return err;
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
    enum ckpt_err err = ckpt_store_map_size(dirfd, &size);
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

/* Takes back what a creation that failed has made, as far as it goes: its first MADE directories and, when it had
   them all, what it put into them. Nothing else: somebody may have been faster. */
static void remove_made(int dirfd, size_t made)
{
    static const char *const files[] = {CKPT_FORMAT_NAME, "tmp/" CKPT_FORMAT_NAME, "db/data.mdb", "db/lock.mdb"};
    for (size_t i = 0; made == DIRS && i < sizeof files / sizeof files[0]; i++) {
        (void)ckpt_host_unlinkat(dirfd, files[i], 0);
    }
    while (made > 0) {
        (void)ckpt_host_unlinkat(dirfd, dir_names[--made], AT_REMOVEDIR);
    }
}

enum ckpt_err ckpt_store_create(const char *dir, const struct ckpt_report *report)
{
    char path[PATH_MAX];
    int dirfd = -1;
    struct ckpt_store_header header = {.format = CKPT_STORE_FORMAT};
    size_t made = 0;
    bool made_dir = ckpt_host_mkdirat(AT_FDCWD, dir, CKPT_DIR_MODE) == 0;
    if (!made_dir && errno != EEXIST) {
        return ckpt_store_failure(report, dir, "the store directory can't be created");
    }
    enum ckpt_err err = ckpt_store_open_dir(dir, report, path, &dirfd);
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
    if (err == CKPT_OK && made_dir && ckpt_store_sync_dir(dirfd, "..") != 0) {
        err = ckpt_store_failure(report, path, "the directory above can't be synced");
    }
    /* The last step: with FORMAT the directory is a store. */
    if (err == CKPT_OK) {
        err = ckpt_store_header_write(path, dirfd, &header, report);
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
