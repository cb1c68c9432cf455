/*
 * Which files are a run's. sources_walk.c finds them, sources_read.c reads them.
 */
#include "sources.h"
#include "sources_read.h"
#include "sources_walk.h"
#include <ckpt/host.h>
#include <ckpt/live.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

struct ckpt_sources {
    char *run; /* of the last poll; NULL: there was none */
    unsigned above;
    bool foreign; /* the run has checkpoints of another framework than Keras */
    struct ckpt_source_file files[CKPT_SOURCES_FILES];
    size_t count;
    size_t next; /* to be read first */
};

static void file_clear(struct ckpt_source_file *file)
{
    free(file->path);
    *file = (struct ckpt_source_file){0};
}

enum ckpt_err ckpt_sources_create(struct ckpt_sources **sources)
{
    *sources = calloc(1, sizeof **sources);
    return *sources == NULL ? CKPT_ERR_NOMEM : CKPT_OK;
}

void ckpt_sources_free(struct ckpt_sources *sources)
{
    if (sources == NULL) {
        return;
    }
    for (size_t i = 0; i < sources->count; i++) {
        file_clear(&sources->files[i]);
    }
    free(sources->run);
    free(sources);
}

size_t ckpt_sources_count(const struct ckpt_sources *sources)
{
    return sources->count;
}

static struct ckpt_source_file *find_file(struct ckpt_sources *sources, const char *path)
{
    for (size_t i = 0; i < sources->count; i++) {
        if (strcmp(sources->files[i].path, path) == 0) {
            return &sources->files[i];
        }
    }
    return NULL;
}

/* Takes PATH in. Of too many those give way that have said nothing yet, unless it says nothing either. */
static enum ckpt_err add_file(struct ckpt_sources *sources, const char *path, bool *added)
{
    struct ckpt_source_file *file = NULL;
    *added = true;
    if (find_file(sources, path) != NULL) {
        return CKPT_OK;
    }
    if (sources->count < CKPT_SOURCES_FILES) {
        file = &sources->files[sources->count];
    } else if (ckpt_metrics_kind_of(path, NULL, 0) != CKPT_METRICS_NONE) {
        for (size_t i = 0; i < sources->count && file == NULL; i++) {
            const struct ckpt_source_file *other = &sources->files[i];
            bool says = other->kind != CKPT_METRICS_NONE ||
                        ckpt_metrics_kind_of(other->path, NULL, 0) != CKPT_METRICS_NONE;
            file = says ? NULL : &sources->files[i];
        }
    }
    if (file == NULL) {
        *added = false;
        return CKPT_OK;
    }
    char *copy = strdup(path);
    if (copy == NULL) {
        return CKPT_ERR_NOMEM;
    }
    if (file == &sources->files[sources->count]) {
        sources->count++;
    }
    file_clear(file);
    file->path = copy;
    return CKPT_OK;
}

static void remove_file(struct ckpt_sources *sources, size_t at)
{
    file_clear(&sources->files[at]);
    sources->count--;
    memmove(&sources->files[at], &sources->files[at + 1], (sources->count - at) * sizeof sources->files[0]);
    sources->files[sources->count] = (struct ckpt_source_file){0};
}

/* ---- discovery ---- */

struct discovery {
    struct ckpt_sources *sources;
    const char *run;
};

static bool is_below_run(const char *run, const char *path)
{
    size_t n = strlen(run);
    return n == 0 || (strncmp(run, path, n) == 0 && path[n] == '/');
}

static enum ckpt_err take_file(void *arg, const char *path, enum ckpt_walk_what what)
{
    struct discovery *d = arg;
    bool added = false;
    if (what == CKPT_WALK_FOREIGN) {
        d->sources->foreign |= is_below_run(d->run, path);
        return CKPT_OK;
    }
    return add_file(d->sources, path, &added);
}

static unsigned count_above(const char *run, ckpt_shared_fn *shared, void *arg)
{
    char ancestor[PATH_MAX];
    unsigned n = 0;
    while (shared != NULL && n < CKPT_WALK_ABOVE) {
        int length = ckpt_walk_above(run, n + 1);
        if (length < 0 || (size_t)length >= sizeof ancestor) {
            break;
        }
        memcpy(ancestor, run, (size_t)length);
        ancestor[length] = '\0';
        if (shared(arg, ancestor)) {
            break;
        }
        n++;
    }
    return n;
}

/* The files that have been read stay in front, as they are; the others stand by their last change, oldest
 * first. */
static int compare_files(const void *left, const void *right)
{
    const struct ckpt_source_file *a = left;
    const struct ckpt_source_file *b = right;
    if (a->ino != 0 || b->ino != 0) {
        int r = (b->ino != 0) - (a->ino != 0);
        return r != 0 ? r : strcmp(a->path, b->path);
    }
    int r = (a->mtime_ns > b->mtime_ns) - (a->mtime_ns < b->mtime_ns);
    return r != 0 ? r : strcmp(a->path, b->path);
}

static void sort_files(struct ckpt_sources *sources, struct ckpt_store *store)
{
    for (size_t i = 0; i < sources->count; i++) {
        struct ckpt_source_file *file = &sources->files[i];
        struct stat st;
        if (file->ino != 0) {
            continue;
        }
        int fd = ckpt_walk_open(ckpt_store_livefd(store), file->path, O_PATH);
        if (fd >= 0 && ckpt_host_fstat(fd, &st) == 0) {
            file->mtime_ns = ckpt_stamp_of(&st).mtime_ns;
        }
        ckpt_host_close(fd);
    }
    qsort(sources->files, sources->count, sizeof sources->files[0], compare_files);
    sources->next = 0;
}

static enum ckpt_err discover_files(struct ckpt_sources *sources, struct ckpt_store *store,
                                    ckpt_shared_fn *shared, void *arg, struct ckpt_series *series,
                                    struct ckpt_polled *polled)
{
    struct discovery d = {sources, sources->run};
    sources->above = count_above(sources->run, shared, arg);
    /* Another run lies under that directory now. */
    for (size_t i = sources->count; i > 0; i--) {
        if (!ckpt_walk_reaches(sources->run, sources->above, sources->files[i - 1].path)) {
            polled->changed |= ckpt_series_forget(series, sources->files[i - 1].path) > 0;
            remove_file(sources, i - 1);
        }
    }
    enum ckpt_err err = ckpt_walk_run(ckpt_store_livefd(store), sources->run, sources->above, take_file, &d);
    sort_files(sources, store);
    return err;
}

/* Forgets the files of a run that is somewhere else now: what they gave is found there again. */
static enum ckpt_err set_run(struct ckpt_sources *sources, const char *run, struct ckpt_series *series,
                             struct ckpt_polled *polled)
{
    char *copy = strdup(run);
    if (copy == NULL) {
        return CKPT_ERR_NOMEM;
    }
    for (; sources->count > 0; sources->count--) {
        struct ckpt_source_file *file = &sources->files[sources->count - 1];
        polled->changed |= ckpt_series_forget(series, file->path) > 0;
        file_clear(file);
    }
    free(sources->run);
    sources->run = copy;
    sources->foreign = false;
    sources->next = 0;
    return CKPT_OK;
}

/* ---- the poll ---- */

static enum ckpt_err read_files(struct ckpt_sources *sources, struct ckpt_source_reading *reading)
{
    enum ckpt_err err = CKPT_OK;
    size_t first = sources->next < sources->count ? sources->next : 0;
    size_t todo = sources->count;
    size_t at = first;
    sources->next = 0;
    while (err == CKPT_OK && todo > 0 && sources->count > 0) {
        at = at < sources->count ? at : 0;
        if (reading->left == 0) {
            reading->more = true;
            sources->next = at;
            break;
        }
        bool more = reading->more;
        reading->more = false;
        err = ckpt_source_read(reading, &sources->files[at]);
        if (reading->more && !more) {
            sources->next = at;
        }
        reading->more |= more;
        todo--;
        if (err == CKPT_ERR_NOT_FOUND || err == CKPT_ERR_INVALID) {
            remove_file(sources, at);
        } else {
            at++;
        }
        err = err == CKPT_ERR_NOMEM ? err : CKPT_OK;
    }
    return err;
}

enum ckpt_err ckpt_sources_poll(struct ckpt_sources *sources, struct ckpt_store *store, const char *run,
                                bool discover, ckpt_shared_fn *shared, void *arg, struct ckpt_series *series,
                                struct ckpt_polled *polled)
{
    struct ckpt_source_reading reading = {
        .store = store, .series = series, .left = (uint64_t)CKPT_SOURCES_POLL + CKPT_METRICS_HEAD_MAX};
    enum ckpt_err err = CKPT_OK;
    *polled = (struct ckpt_polled){0};
    if (sources->run == NULL || strcmp(sources->run, run) != 0) {
        err = set_run(sources, run, series, polled);
        discover = true;
    }
    if (err == CKPT_OK && discover) {
        err = discover_files(sources, store, shared, arg, series, polled);
    }
    if (err == CKPT_OK) {
        reading.foreign = sources->foreign;
        err = read_files(sources, &reading);
    }
    ckpt_source_reading_end(&reading);
    polled->changed |= reading.changed;
    polled->more = reading.more;
    return err;
}

static bool has_keras(const struct ckpt_sources *sources)
{
    for (size_t i = 0; i < sources->count; i++) {
        if (sources->files[i].by_head == CKPT_METRICS_KERAS) {
            return true;
        }
    }
    return false;
}

enum ckpt_err ckpt_sources_note(struct ckpt_sources *sources, const char *run, const char *path, bool *is)
{
    bool added = false;
    bool same = sources->run != NULL && strcmp(sources->run, run) == 0;
    enum ckpt_walk_what what = ckpt_walk_what(path);
    if (what == CKPT_WALK_OTHER || !ckpt_walk_reaches(run, same ? sources->above : 0, path)) {
        *is = false;
        return CKPT_OK;
    }
    if (what == CKPT_WALK_FOREIGN) {
        bool news = same && !sources->foreign && is_below_run(run, path);
        sources->foreign |= news;
        *is = news && has_keras(sources);
        return CKPT_OK;
    }
    /* The first poll in another place finds it. */
    enum ckpt_err err = same ? add_file(sources, path, &added) : CKPT_OK;
    if (err == CKPT_OK) {
        *is = added || !same;
    }
    return err;
}

enum ckpt_err ckpt_sources_read_file(struct ckpt_store *store, const char *path, struct ckpt_series *series,
                                     bool *changed)
{
    struct ckpt_source_file file = {.path = strdup(path)};
    struct ckpt_source_reading reading = {
        .store = store, .series = series, .left = (uint64_t)CKPT_SOURCES_POLL + CKPT_METRICS_HEAD_MAX};
    if (file.path == NULL) {
        return CKPT_ERR_NOMEM;
    }
    enum ckpt_err err = ckpt_source_read(&reading, &file);
    if (err == CKPT_OK && file.kind == CKPT_METRICS_NONE) {
        err = CKPT_ERR_INVALID;
    }
    ckpt_source_reading_end(&reading);
    free(file.path);
    *changed |= reading.changed;
    return err;
}
