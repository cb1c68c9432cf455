/*
 * A store, opened and closed; what is asked of it as a whole; and what its parts share.
 */
#include "catalog/upgrade.h"
#include "common/bytes.h"
#include "object/garbage.h"
#include "object/internal.h"
#include "object/object.h"
#include "store_parts.h"
#include <ckpt/engine.h>
#include <ckpt/host.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t map_unit = UINT64_C(1) << 20;
static const uint64_t map_least = UINT64_C(1) << 30;
#ifdef __SANITIZE_THREAD__
static const uint64_t map_sanitized = UINT64_C(1) << 38;
#endif

/* ---- What the parts share ---- */

enum ckpt_err ckpt_store_failure(const struct ckpt_report *report, const char *dir, const char *what)
{
    int error = errno;
    ckpt_reportf(report, CKPT_ERROR, "%s: %s: %s", dir, what, strerror(error));
    return ckpt_err_from_errno(error);
}

enum ckpt_err ckpt_store_open_dir(const char *dir, const struct ckpt_report *report, char *absolute,
                                  int *dirfd)
{
    if (realpath(dir, absolute) == NULL) {
        return ckpt_store_failure(report, dir, "the store directory can't be opened");
    }
    int fd = ckpt_host_openat(AT_FDCWD, absolute, CKPT_OPEN_DIR, 0);
    if (fd < 0) {
        return ckpt_store_failure(report, absolute, "the store directory can't be opened");
    }
    *dirfd = fd;
    return CKPT_OK;
}

int ckpt_store_sync_dir(int dirfd, const char *name)
{
    int fd = ckpt_host_openat(dirfd, name, CKPT_OPEN_DIR, 0);
    int result = fd < 0 ? -1 : ckpt_host_fsync(fd);
    int error = errno;
    (void)ckpt_host_close(fd);
    errno = error;
    return result;
}

enum ckpt_err ckpt_store_map_size(int dirfd, size_t *size)
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

/* ---- Opening ---- */

/* Opens a directory of the store. A copy may have left out the empty ones: OPTIONAL ones are made
   again by a writer, and are left closed by a reader. */
static enum ckpt_err open_subdir(struct ckpt_store *store, const char *name, bool optional, int *fd)
{
    *fd = ckpt_host_openat(store->dirfd, name, CKPT_OPEN_DIR, 0);
    if (*fd < 0 && errno == ENOENT && optional) {
        if (store->lockfd < 0) {
            return CKPT_OK;
        }
        if (ckpt_host_mkdirat(store->dirfd, name, CKPT_DIR_MODE) == 0) {
            *fd = ckpt_host_openat(store->dirfd, name, CKPT_OPEN_DIR, 0);
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
    ssize_t n = ckpt_host_fgetxattr(store->livefd, CKPT_STORE_ATTRIBUTE, value, sizeof value);
    if (n == CKPT_ID_DIGITS && memcmp(value, hex, CKPT_ID_DIGITS) == 0) {
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
        return ckpt_store_failure(&store->report, store->path,
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
    if (ckpt_store_map_size(store->dirfd, &size) != CKPT_OK) {
        return ckpt_store_failure(&store->report, store->path, "the host filesystem's size can't be told");
    }
    enum ckpt_err err = ckpt_db_open(path, writable, size, &store->report, &store->db);
    return err == CKPT_OK ? check_db(store, number) : err;
}

/* An older store becomes one of the present format: first the database, then FORMAT. After a crash in between the second
   step is made up for. */
static enum ckpt_err bring_up(struct ckpt_store *store, struct ckpt_store_header *header, unsigned number)
{
    enum ckpt_err err = CKPT_OK;
    if (number == CKPT_STORE_FORMAT && header->format == CKPT_STORE_FORMAT) {
        return CKPT_OK;
    }
    if (number < CKPT_STORE_FORMAT) {
        err = ckpt_upgrade(store, number);
    }
    if (err == CKPT_OK) {
        (void)ckpt_host_unlinkat(store->dirfd, "tmp/" CKPT_FORMAT_NAME, 0);
        header->format = CKPT_STORE_FORMAT;
        err = ckpt_store_header_write(store->path, store->dirfd, header, &store->report);
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
    struct ckpt_store_header header = {0};
    enum ckpt_err err = ckpt_store_header_read(store->path, store->dirfd, &store->report, &header);
    if (err != CKPT_OK) {
        return err;
    }
    store->store_id = header.id;
    store->seed = header.seed;
    ckpt_chunker_init(&store->chunker, store->seed);
    if (access == CKPT_WRITE) {
        err = ckpt_store_lock(store, holder);
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
    enum ckpt_err err = ckpt_store_open_dir(dir, report, path, &opened->dirfd);
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
