/*
 * Where a file comes from: the process that wrote it, and the checkpoint that this process had read before. One that has read a
 * checkpoint and then writes files most likely goes on training from it: so what it writes has a parent in the history, and may
 * be the difference from what was read, even in another run.
 *
 * Both are remembered when files are opened: which process has read what, which inode was written by whom; and from a
 * capture on under its sequence, for whoever tells of it once it is committed. All of it is hints: lost at the end of the
 * daemon, and the oldest give way. FUSE tells the thread; /proc knows its process.
 *
 * The parent is chosen at the first checkpoint that a process writes: what it reads later (its own checkpoints, to test them) is
 * no beginning any more. The base is what it has read last, if that is big enough to be worth a difference.
 */
#include "engine_parts.h"
#include "object/internal.h"
#include "recognise/recognise.h"
#include <ckpt/host.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { READ_MIN = 1 << 20 /* bytes: what is smaller is no checkpoint worth a difference */ };

void ckpt_origins_init(struct ckpt_engine *engine)
{
    ckpt_process_host_init(&engine->origins.host, engine->config.mountpoint, ckpt_store_livefd(engine->store));
}

void ckpt_origins_clear(struct ckpt_engine *engine)
{
    struct ckpt_origins *origins = &engine->origins;
    for (unsigned i = 0; i < CKPT_ORIGIN_PROCESSES; i++) {
        ckpt_process_release(origins->processes[i].process);
    }
    for (unsigned i = 0; i < CKPT_ORIGIN_FILES; i++) {
        ckpt_process_release(origins->files[i].info.process);
    }
    for (unsigned i = 0; i < CKPT_ORIGIN_CAPTURES; i++) {
        ckpt_process_release(origins->captures[i].info.process);
    }
}

void ckpt_origin_release(struct ckpt_origin_info *info)
{
    ckpt_process_release(info->process);
    memset(info, 0, sizeof *info);
}

static void copy_info(struct ckpt_origin_info *to, const struct ckpt_origin_info *from)
{
    *to = *from;
    (void)ckpt_process_hold(to->process);
}

/* ---- names ---- */

/* What a checkpoint of this name is good for as a beginning: 2 all of it, 1 its weights, 0 only in addition to others. */
static unsigned fullness_of(const char *name)
{
    struct ckpt_recognised recognised;
    ckpt_recognise(name, true, &recognised);
    unsigned fullness = ckpt_holds_fullness(recognised.holds);
    return fullness == ckpt_holds_fullness(CKPT_HOLDS_FULL)      ? 2
           : fullness >= ckpt_holds_fullness(CKPT_HOLDS_WEIGHTS) ? 1
                                                                 : 0;
}

static enum ckpt_role role_of(const char *name)
{
    struct ckpt_recognised recognised;
    ckpt_recognise(name, false, &recognised);
    return recognised.role;
}

/* Whatever its size is. */
static bool says_checkpoint(const struct ckpt_engine *engine, const char *name)
{
    enum ckpt_role role = role_of(name);
    return role == CKPT_ROLE_FILE || role == CKPT_ROLE_SHARD || role == CKPT_ROLE_MEMBER ||
           ckpt_filter_match_name(engine->config.filter, name);
}

/* Under this name or, when that is a temporary one, under the next. */
static bool may_be_captured(const struct ckpt_engine *engine, const char *name)
{
    return ckpt_filter_match(engine->config.filter, name, UINT64_MAX) || role_of(name) == CKPT_ROLE_TEMPORARY;
}

/* ---- processes; with engine->lock ---- */

static struct ckpt_origin_process *find_process(struct ckpt_origins *origins, const struct ckpt_process_key *key)
{
    for (unsigned i = 0; i < CKPT_ORIGIN_PROCESSES; i++) {
        struct ckpt_origin_process *entry = &origins->processes[i];
        if (entry->used > 0 && ckpt_process_same(&entry->key, key)) {
            entry->used = ++origins->uses;
            return entry;
        }
    }
    return NULL;
}

/* Whether A is rather to be kept than B: free ones go first, then those that have ended, then what was used longest ago. Who
   trains may read at the start and write hours later, after many others have come and gone. */
static bool is_worth_more(const struct ckpt_origin_process *a, const struct ckpt_origin_process *b)
{
    bool there = a->used > 0 && (kill(a->key.group, 0) == 0 || errno == EPERM);
    bool other = b->used > 0 && (kill(b->key.group, 0) == 0 || errno == EPERM);
    return there != other ? there : a->used > b->used;
}

/* The entry, made if need be in the place of the least worth. */
static struct ckpt_origin_process *entry_of(struct ckpt_origins *origins, const struct ckpt_process_key *key)
{
    struct ckpt_origin_process *entry = find_process(origins, key);
    if (entry != NULL) {
        return entry;
    }
    entry = &origins->processes[0];
    for (unsigned i = 1; i < CKPT_ORIGIN_PROCESSES; i++) {
        if (is_worth_more(entry, &origins->processes[i])) {
            entry = &origins->processes[i];
        }
    }
    ckpt_process_release(entry->process);
    memset(entry, 0, sizeof *entry);
    entry->key = *key;
    entry->used = ++origins->uses;
    return entry;
}

static struct ckpt_origin_version parent_of(const struct ckpt_origin_process *entry)
{
    const struct ckpt_origin_read *best = NULL;
    if (entry->wrote) {
        return entry->parent;
    }
    for (unsigned i = 0; i < entry->read_count; i++) {
        best = best == NULL || entry->reads[i].fullness >= best->fullness ? &entry->reads[i] : best;
    }
    return best == NULL ? (struct ckpt_origin_version){.known = false} : best->version;
}

static bool is_version(const struct ckpt_origin_version *a, const struct ckpt_origin_version *b)
{
    return a->dir == b->dir && a->number == b->number && strcmp(a->name, b->name) == 0;
}

/* The newest of the reads, which are in their order; the least full one gives way, and of those the oldest. */
static void add_read(struct ckpt_origin_process *entry, const struct ckpt_origin_read *read)
{
    unsigned drop = entry->read_count;
    for (unsigned i = 0; i < entry->read_count; i++) {
        if (is_version(&entry->reads[i].version, &read->version)) {
            drop = i;
        }
    }
    if (drop == CKPT_ORIGIN_READS) {
        drop = 0;
        for (unsigned i = 1; i < CKPT_ORIGIN_READS; i++) {
            drop = entry->reads[i].fullness < entry->reads[drop].fullness ? i : drop;
        }
    }
    if (drop < entry->read_count) {
        entry->read_count--;
        memmove(&entry->reads[drop], &entry->reads[drop + 1],
                (entry->read_count - drop) * sizeof entry->reads[0]);
    }
    entry->reads[entry->read_count++] = *read;
}

/* ---- reading ---- */

/* BASE: it is worth a difference. NUMBER 0: not known to be that version, only to be that file. */
static void note_read(struct ckpt_engine *engine, pid_t thread, const struct ckpt_version *version,
                      uint32_t number, bool base)
{
    struct ckpt_process_look look;
    struct ckpt_origin_read read = {
        .version = {.known = true, .dir = version->dir, .number = number, .recipe = version->recipe},
        .fullness = fullness_of(version->name)};
    memcpy(read.version.name, version->name, sizeof read.version.name);
    if (!ckpt_process_look(thread, &engine->origins.host, &look)) {
        return;
    }
    pthread_mutex_lock(&engine->lock);
    struct ckpt_origin_process *entry = entry_of(&engine->origins, &look.key);
    if (!entry->wrote) {
        add_read(entry, &read);
    }
    if (base) {
        entry->base = version->recipe;
        entry->has_base = true;
    }
    pthread_mutex_unlock(&engine->lock);
}

void ckpt_engine_reads_version(struct ckpt_engine *engine, pid_t thread, const struct ckpt_version *version)
{
    bool base = version->size >= READ_MIN;
    if (base || says_checkpoint(engine, version->name)) {
        note_read(engine, thread, version, version->number, base);
    }
}

void ckpt_engine_reads(struct ckpt_engine *engine, pid_t thread, int fd)
{
    char path[PATH_MAX];
    char name[NAME_MAX + 1];
    struct stat st;
    struct ckpt_version version;
    uint64_t dir = 0;
    if (ckpt_host_fstat(fd, &st) != 0 || ckpt_live_path(engine->store, fd, path) != CKPT_OK) {
        return;
    }
    const char *slash = strrchr(path, '/');
    bool base = st.st_size >= READ_MIN;
    if ((!base && !says_checkpoint(engine, slash == NULL ? path : slash + 1)) ||
        ckpt_catalog_resolve(engine->store, path, &dir, name) != CKPT_OK ||
        ckpt_catalog_version(engine->store, dir, name, 0, &version) != CKPT_OK) {
        return;
    }
    /* What waits becomes a version whose number isn't given yet. */
    bool waits = ckpt_engine_is_pending(engine, st.st_dev, st.st_ino);
    note_read(engine, thread, &version, waits ? 0 : version.number, base);
}

/* ---- writing ---- */

/* With engine->lock: the entry of an inode, or NULL. */
static struct ckpt_origin_file *find_file(struct ckpt_origins *origins, dev_t dev, ino_t ino)
{
    for (unsigned i = 0; i < CKPT_ORIGIN_FILES; i++) {
        struct ckpt_origin_file *file = &origins->files[i];
        if (file->used && file->ino == ino && file->dev == dev) {
            return file;
        }
    }
    return NULL;
}

/* With engine->lock. */
static void forget_file(struct ckpt_origins *origins, dev_t dev, ino_t ino)
{
    struct ckpt_origin_file *file = find_file(origins, dev, ino);
    if (file != NULL) {
        ckpt_origin_release(&file->info);
        file->used = false;
    }
}

/* With engine->lock: INFO, whose reference it takes, is what is known of the inode. Files whose names don't say CHECKPOINT, of
   which there may be thousands while one is being written, have places of their own. */
static void put_file(struct ckpt_origins *origins, dev_t dev, ino_t ino, const struct ckpt_origin_info *info,
                     bool checkpoint)
{
    forget_file(origins, dev, ino);
    unsigned at = checkpoint ? CKPT_ORIGIN_OTHERS + origins->next_file++ % (CKPT_ORIGIN_FILES - CKPT_ORIGIN_OTHERS)
                             : origins->next_other++ % CKPT_ORIGIN_OTHERS;
    struct ckpt_origin_file *file = &origins->files[at];
    ckpt_process_release(file->info.process);
    *file = (struct ckpt_origin_file){.used = true, .dev = dev, .ino = ino, .info = *info};
}

/* What the process is, with a reference; read when it isn't known yet or executes something else by now. NULL: can't be. */
static struct ckpt_process *process_of(struct ckpt_engine *engine, pid_t thread, struct ckpt_process_key *key)
{
    struct ckpt_origins *origins = &engine->origins;
    struct ckpt_process_look look;
    struct ckpt_process *process = NULL;
    if (!ckpt_process_look(thread, &origins->host, &look)) {
        return NULL;
    }
    *key = look.key;
    pthread_mutex_lock(&engine->lock);
    const struct ckpt_origin_process *entry = find_process(origins, key);
    if (entry != NULL && entry->process != NULL && entry->process->look.image == look.image) {
        process = ckpt_process_hold(entry->process);
    }
    pthread_mutex_unlock(&engine->lock);
    if (process == NULL && ckpt_process_read(thread, &origins->host, &process) == CKPT_OK &&
        !ckpt_process_same(&process->look.key, key)) {
        ckpt_process_release(process);
        process = NULL;
    }
    return process;
}

/* CHECKPOINT: the name says so, and from here on what the process reads is no beginning. */
static void note_write(struct ckpt_engine *engine, pid_t thread, const struct stat *st, bool checkpoint)
{
    struct ckpt_origins *origins = &engine->origins;
    struct ckpt_process_key key;
    struct ckpt_origin_info info = {.process = process_of(engine, thread, &key)};
    pthread_mutex_lock(&engine->lock);
    if (info.process == NULL) {
        forget_file(origins, st->st_dev, st->st_ino);
    } else {
        struct ckpt_origin_process *entry = entry_of(origins, &key);
        if (entry->process != info.process) {
            ckpt_process_release(entry->process);
            entry->process = ckpt_process_hold(info.process);
        }
        info.parent = parent_of(entry);
        info.base = entry->base;
        info.has_base = entry->has_base;
        if (checkpoint && !entry->wrote) {
            entry->parent = info.parent;
            entry->wrote = true;
        }
        put_file(origins, st->st_dev, st->st_ino, &info, checkpoint);
    }
    pthread_mutex_unlock(&engine->lock);
}

void ckpt_engine_writes(struct ckpt_engine *engine, pid_t thread, int fd)
{
    char path[PATH_MAX];
    struct stat st;
    if (ckpt_host_fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        return;
    }
    bool named = ckpt_live_path(engine->store, fd, path) == CKPT_OK;
    const char *slash = named ? strrchr(path, '/') : NULL;
    const char *name = slash == NULL ? path : slash + 1;
    if (named && may_be_captured(engine, name)) {
        note_write(engine, thread, &st, says_checkpoint(engine, name));
        return;
    }
    /* The number of an inode that was another file before. */
    pthread_mutex_lock(&engine->lock);
    forget_file(&engine->origins, st.st_dev, st.st_ino);
    pthread_mutex_unlock(&engine->lock);
}

void ckpt_origin_copied(struct ckpt_engine *engine, dev_t dev, ino_t ino, const struct stat *copy)
{
    const struct ckpt_origin_file *file = find_file(&engine->origins, dev, ino);
    if (file != NULL && (dev != copy->st_dev || ino != copy->st_ino)) {
        struct ckpt_origin_info info;
        copy_info(&info, &file->info);
        put_file(&engine->origins, copy->st_dev, copy->st_ino, &info, true);
    }
}

bool ckpt_origin_of(struct ckpt_engine *engine, const struct stat *st, struct ckpt_origin_info *out)
{
    pthread_mutex_lock(&engine->lock);
    const struct ckpt_origin_file *file = find_file(&engine->origins, st->st_dev, st->st_ino);
    if (file != NULL) {
        copy_info(out, &file->info);
    }
    pthread_mutex_unlock(&engine->lock);
    return file != NULL;
}

/* ---- captures ---- */

/* With engine->lock. */
static struct ckpt_origin_capture *find_capture(struct ckpt_origins *origins, uint64_t sequence)
{
    for (unsigned i = 0; i < CKPT_ORIGIN_CAPTURES; i++) {
        if (origins->captures[i].used && origins->captures[i].sequence == sequence) {
            return &origins->captures[i];
        }
    }
    return NULL;
}

void ckpt_origin_publish(struct ckpt_engine *engine, uint64_t sequence, const struct stat *st)
{
    struct ckpt_origins *origins = &engine->origins;
    pthread_mutex_lock(&engine->lock);
    struct ckpt_origin_capture *capture = find_capture(origins, sequence);
    if (capture != NULL) {
        /* Of a transaction that came to nothing. */
        ckpt_origin_release(&capture->info);
        capture->used = false;
    }
    const struct ckpt_origin_file *file = find_file(origins, st->st_dev, st->st_ino);
    if (file != NULL) {
        /* A file that has become a checkpoint under a name that didn't say so was the first as well. */
        struct ckpt_origin_process *entry = find_process(origins, &file->info.process->look.key);
        if (entry != NULL && !entry->wrote) {
            entry->parent = file->info.parent;
            entry->wrote = true;
        }
        capture = &origins->captures[origins->next_capture];
        origins->next_capture = (origins->next_capture + 1) % CKPT_ORIGIN_CAPTURES;
        ckpt_process_release(capture->info.process);
        capture->used = true;
        capture->sequence = sequence;
        copy_info(&capture->info, &file->info);
    }
    pthread_mutex_unlock(&engine->lock);
}

bool ckpt_origin_of_capture(struct ckpt_engine *engine, uint64_t sequence, struct ckpt_origin_info *out)
{
    pthread_mutex_lock(&engine->lock);
    const struct ckpt_origin_capture *capture = find_capture(&engine->origins, sequence);
    if (capture != NULL) {
        copy_info(out, &capture->info);
    }
    pthread_mutex_unlock(&engine->lock);
    if (capture == NULL) {
        return false;
    }
    ckpt_process_complete(out->process, &engine->origins.host);
    return true;
}
