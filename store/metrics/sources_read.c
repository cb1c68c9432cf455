#include "common/text.h"
#include "sources_read.h"
#include "sources_walk.h"
#include <ckpt/host.h>
#include <ckpt/id.h>
#include <ckpt/live.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum {
    OPINION = 4096,   /* a file of that size whose format isn't known has none that is */
    RESTARTS_MAX = 2, /* of one file in one poll, as its writer may be at it */
    TAIL = 256,
};

/* ---- what the directory says ---- */

static bool has_hparams(const struct ckpt_store *store, const char *path)
{
    char beside[PATH_MAX];
    struct stat st;
    int n = snprintf(beside, sizeof beside, "%.*shparams.yaml", (int)(ckpt_last_component(path) - path), path);
    if (n < 0 || (size_t)n >= sizeof beside) {
        return false;
    }
    int fd = ckpt_walk_open(ckpt_store_livefd(store), beside, O_PATH);
    bool has = fd >= 0 && ckpt_host_fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
    ckpt_host_close(fd);
    return has;
}

static enum ckpt_metrics_kind kind_in_directory(const struct ckpt_source_reading *reading,
                                                const struct ckpt_source_file *file)
{
    if (file->by_head == CKPT_METRICS_KERAS && reading->foreign) {
        return CKPT_METRICS_CSV;
    }
    if (file->by_head == CKPT_METRICS_CSV && strcmp(ckpt_last_component(file->path), "metrics.csv") == 0 &&
        has_hparams(reading->store, file->path)) {
        return CKPT_METRICS_LIGHTNING;
    }
    return file->by_head;
}

/* ---- points ---- */

struct sink {
    struct ckpt_source_reading *reading;
    const char *prefix; /* "val_"; "" */
    bool keras;         /* in one of the directories that its callback makes */
    unsigned source;
    int64_t read_ns;
};

/* What the directory of an event file says about its tags. */
static void split_of(const char *path, struct sink *sink)
{
    static const struct {
        const char *directory;
        const char *prefix;
    } splits[] = {
        {"train", ""},     {"validation", "val_"},  {"valid", "val_"}, {"val", "val_"},
        {"eval", "eval_"}, {"evaluation", "eval_"}, {"test", "test_"},
    };
    const char *name = ckpt_last_component(path);
    for (size_t i = 0; i < sizeof splits / sizeof splits[0]; i++) {
        size_t n = strlen(splits[i].directory);
        size_t before = (size_t)(name - path);
        if (before > n && strncmp(name - n - 1, splits[i].directory, n) == 0 &&
            (before == n + 1 || name[-(ptrdiff_t)n - 2] == '/')) {
            sink->prefix = splits[i].prefix;
            sink->keras = i < 2;
        }
    }
}

static enum ckpt_err take_point(void *arg, const struct ckpt_metric_point *point)
{
    static const char of_epoch[] = "epoch_";
    struct sink *sink = arg;
    struct ckpt_metric_point p = *point;
    char name[CKPT_METRIC_NAME_MAX + 1];
    if (sink->keras && p.has_step && strncmp(p.name, of_epoch, sizeof of_epoch - 1) == 0 &&
        p.name[sizeof of_epoch - 1] != '\0') {
        p.name += sizeof of_epoch - 1;
        p.epoch = (double)p.step + 1;
        p.has_epoch = true;
        p.has_step = false;
    }
    size_t word = strlen(sink->prefix);
    word -= word > 0 ? 1 : 0;
    if (word > 0 && strncasecmp(p.name, sink->prefix, word) != 0) {
        int n = snprintf(name, sizeof name, "%s%s", sink->prefix, p.name);
        p.name = n < 0 || (size_t)n >= sizeof name ? p.name : name;
    }
    return ckpt_series_add(sink->reading->series, sink->source, &p, sink->read_ns, &sink->reading->changed);
}

/* ---- bytes ---- */

static enum ckpt_err read_bytes(struct ckpt_source_reading *reading, int fd, void *buffer, size_t n,
                                uint64_t offset, size_t *got)
{
    ssize_t r = ckpt_host_read_all(fd, buffer, n, (off_t)offset);
    if (r < 0) {
        return ckpt_err_from_errno(errno);
    }
    reading->left -= (uint64_t)r < reading->left ? (uint64_t)r : reading->left;
    *got = (size_t)r;
    return CKPT_OK;
}

static enum ckpt_err need(uint8_t **buffer, size_t size)
{
    *buffer = *buffer == NULL ? malloc(size) : *buffer;
    return *buffer == NULL ? CKPT_ERR_NOMEM : CKPT_OK;
}

void ckpt_source_reading_end(struct ckpt_source_reading *reading)
{
    free(reading->head);
    free(reading->window);
    reading->head = NULL;
    reading->window = NULL;
}

static void forget(struct ckpt_source_reading *reading, const struct ckpt_source_file *file)
{
    reading->changed |= ckpt_series_forget(reading->series, file->path) > 0;
}

static void start_over(struct ckpt_source_reading *reading, struct ckpt_source_file *file)
{
    if (!ckpt_metrics_is_whole(file->kind)) {
        forget(reading, file);
    }
    file->mark = (struct ckpt_metrics_mark){0};
    file->tail_size = 0;
}

/* A checksum of the last bytes before the mark: a program that is started again writes the same header, and may
   have come further than the last time when somebody looks. 0 bytes: there are none to tell by. */
static enum ckpt_err tail_of(struct ckpt_source_reading *reading, int fd, uint64_t end, uint64_t size,
                             uint64_t *tail, size_t *n)
{
    uint8_t bytes[TAIL];
    size_t want = end < TAIL ? (size_t)end : TAIL;
    if (end > size) {
        *n = 0;
        return CKPT_OK;
    }
    enum ckpt_err err = read_bytes(reading, fd, bytes, want, end - want, n);
    if (err == CKPT_OK) {
        *tail = ckpt_checksum(0, bytes, *n);
    }
    return err;
}

static enum ckpt_err check_tail(struct ckpt_source_reading *reading, struct ckpt_source_file *file, int fd,
                                uint64_t size)
{
    uint64_t tail = 0;
    size_t n = 0;
    if (file->tail_size == 0 || file->mark.offset > size) {
        return CKPT_OK;
    }
    enum ckpt_err err = tail_of(reading, fd, file->mark.offset, size, &tail, &n);
    if (err == CKPT_OK && (n != file->tail_size || tail != file->tail)) {
        start_over(reading, file);
    }
    return err;
}

/* Everything there is; or later, when it wouldn't fit this poll. */
static enum ckpt_err read_whole(struct ckpt_source_reading *reading, struct ckpt_source_file *file, int fd,
                                uint64_t size, struct sink *sink, bool *finished)
{
    struct ckpt_metrics_sink out = {take_point, sink};
    size_t got = 0;
    *finished = true;
    if (size == 0 || size > CKPT_METRICS_WHOLE_MAX) {
        return CKPT_OK;
    }
    if (size > reading->left) {
        *finished = false;
        return CKPT_OK;
    }
    uint8_t *bytes = malloc(size);
    if (bytes == NULL) {
        return CKPT_ERR_NOMEM;
    }
    enum ckpt_err err = read_bytes(reading, fd, bytes, size, 0, &got);
    if (err == CKPT_OK) {
        struct ckpt_metrics_input input = {
            .kind = file->kind, .path = file->path, .bytes = bytes, .size = got, .file_size = got};
        err = ckpt_metrics_read(&input, &file->mark, &out);
    }
    free(bytes);
    return err;
}

/* Says what FILE is, of which HEAD_SIZE bytes of the head have been read. INVALID: nothing that is read here.
 */
static enum ckpt_err name_kind(struct ckpt_source_reading *reading, struct ckpt_source_file *file,
                               size_t head_size)
{
    if (file->mark.offset == 0) {
        const uint8_t *head = reading->head;
        file->by_head = ckpt_metrics_kind_of(file->path, head, head_size);
        const uint8_t *line = file->by_head != CKPT_METRICS_NONE ? NULL : memchr(head, '\n', head_size);
        bool lines = line != NULL && memchr(line + 1, '\n', head_size - (size_t)(line + 1 - head)) != NULL;
        if (file->by_head == CKPT_METRICS_NONE && (lines || head_size >= OPINION)) {
            return CKPT_ERR_INVALID;
        }
    }
    enum ckpt_metrics_kind kind = kind_in_directory(reading, file);
    if (file->kind != CKPT_METRICS_NONE && kind != file->kind) {
        start_over(reading, file);
    }
    file->kind = kind;
    return CKPT_OK;
}

/* The loop of metrics.h, as long as there are bytes to spend. HEAD_SIZE bytes of the head have been read. */
static enum ckpt_err read_grown(struct ckpt_source_reading *reading, struct ckpt_source_file *file, int fd,
                                uint64_t size, size_t head_size, struct sink *sink, bool *finished)
{
    struct ckpt_metrics_sink out = {take_point, sink};
    struct ckpt_metrics_mark *mark = &file->mark;
    unsigned restarts = 0;
    *finished = true;
    enum ckpt_err err = need(&reading->window, CKPT_METRICS_WINDOW);
    while (err == CKPT_OK) {
        uint64_t before = mark->offset;
        size_t n = 0;
        if (before <= size) {
            n = size - before < CKPT_METRICS_WINDOW ? (size_t)(size - before) : CKPT_METRICS_WINDOW;
        }
        if (n > 0 && reading->left == 0) {
            *finished = false;
            break;
        }
        err = read_bytes(reading, fd, reading->window, n, before, &n);
        if (err != CKPT_OK) {
            return err;
        }
        struct ckpt_metrics_input input = {.kind = file->kind,
                                           .path = file->path,
                                           .head = reading->head,
                                           .head_size = head_size,
                                           .bytes = reading->window,
                                           .size = n,
                                           .file_size = size};
        err = ckpt_metrics_read(&input, mark, &out);
        if (err == CKPT_ERR_CHANGED && restarts < RESTARTS_MAX) {
            forget(reading, file);
            restarts++;
            err = name_kind(reading, file, head_size);
            if (err == CKPT_OK && file->kind == CKPT_METRICS_NONE) {
                return CKPT_OK;
            }
            if (err == CKPT_OK) {
                err = ckpt_series_source(reading->series, file->path, &sink->source);
            }
            continue;
        }
        if (mark->offset <= before || mark->offset >= size) {
            break;
        }
    }
    if (err == CKPT_OK) {
        err = tail_of(reading, fd, mark->offset, size, &file->tail, &file->tail_size);
    }
    if (err == CKPT_ERR_CHANGED) {
        *finished = false;
        err = CKPT_OK;
    }
    return err;
}

/* ---- one file ---- */

static enum ckpt_err read_open(struct ckpt_source_reading *reading, struct ckpt_source_file *file, int fd,
                               const struct stat *st)
{
    struct ckpt_stamp stamp = ckpt_stamp_of(st);
    struct sink sink = {.reading = reading, .prefix = "", .read_ns = stamp.mtime_ns};
    size_t head_size = 0;
    bool finished = false;
    if (file->ino != 0 && (file->ino != st->st_ino || file->dev != st->st_dev)) {
        start_over(reading, file);
    }
    file->ino = st->st_ino;
    file->dev = st->st_dev;
    file->seen = false;
    enum ckpt_err err = need(&reading->head, CKPT_METRICS_HEAD_MAX);
    if (err == CKPT_OK) {
        size_t n = stamp.size < CKPT_METRICS_HEAD_MAX ? (size_t)stamp.size : CKPT_METRICS_HEAD_MAX;
        err = read_bytes(reading, fd, reading->head, n, 0, &head_size);
    }
    if (err == CKPT_OK) {
        err = check_tail(reading, file, fd, stamp.size);
    }
    if (err == CKPT_OK) {
        err = name_kind(reading, file, head_size);
    }
    if (err == CKPT_OK && file->kind == CKPT_METRICS_NONE) {
        finished = true;
    } else if (err == CKPT_OK) {
        if (file->kind == CKPT_METRICS_TFEVENTS) {
            split_of(file->path, &sink);
        }
        err = ckpt_series_source(reading->series, file->path, &sink.source);
        if (err == CKPT_OK) {
            err = ckpt_metrics_is_whole(file->kind)
                      ? read_whole(reading, file, fd, stamp.size, &sink, &finished)
                      : read_grown(reading, file, fd, stamp.size, head_size, &sink, &finished);
        }
    }
    if (err == CKPT_OK || err == CKPT_ERR_CORRUPT) {
        file->size = stamp.size;
        file->mtime_ns = stamp.mtime_ns;
        file->foreign = reading->foreign;
        file->seen = finished;
        reading->more |= !finished;
    }
    return err;
}

enum ckpt_err ckpt_source_read(struct ckpt_source_reading *reading, struct ckpt_source_file *file)
{
    struct ckpt_stub stub;
    struct stat st;
    bool cold = false;
    int data = -1;
    enum ckpt_err err = CKPT_OK;
    int fd = ckpt_walk_open(ckpt_store_livefd(reading->store), file->path, O_PATH);
    if (fd < 0) {
        return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? CKPT_ERR_NOT_FOUND
                                                                     : ckpt_err_from_errno(errno);
    }
    if (ckpt_host_fstat(fd, &st) != 0) {
        err = ckpt_err_from_errno(errno);
        goto out;
    }
    if (!S_ISREG(st.st_mode)) {
        err = CKPT_ERR_NOT_FOUND;
        goto out;
    }
    struct ckpt_stamp stamp = ckpt_stamp_of(&st);
    if (file->seen && file->ino == st.st_ino && file->dev == st.st_dev && file->size == stamp.size &&
        file->mtime_ns == stamp.mtime_ns && file->foreign == reading->foreign) {
        goto out;
    }
    data = ckpt_host_reopen(fd, O_RDONLY | O_NONBLOCK);
    if (data < 0) {
        err = ckpt_err_from_errno(errno);
        goto out;
    }
    err = ckpt_live_stub(data, &stub, &cold);
    if (err == CKPT_OK) {
        err = cold ? CKPT_ERR_UNSUPPORTED : read_open(reading, file, data, &st);
    }
out:
    ckpt_host_close(data);
    ckpt_host_close(fd);
    return err;
}
