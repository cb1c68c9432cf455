#include "recognise.h"
#include "recognise_rows.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { COMPONENTS_MAX = 64, NAME_SIZE = 512 };

struct component {
    size_t at;
    size_t n;
};

/* A path that is being looked at. */
struct look {
    const char *path;
    bool captured;
    struct ckpt_recognised *out;
    struct component list[COMPONENTS_MAX];
    size_t count;
    size_t end; /* of the last component */
};

static const char *text_of(const struct look *look, size_t i)
{
    return look->path + look->list[i].at;
}

static void split(struct look *look)
{
    size_t n = strlen(look->path);
    for (size_t at = 0; at < n && look->count < COMPONENTS_MAX;) {
        const char *slash = memchr(look->path + at, '/', n - at);
        size_t end = slash != NULL ? (size_t)(slash - look->path) : n;
        if (end > at) {
            look->list[look->count++] = (struct component){at, end - at};
            look->end = end;
        }
        at = end + 1;
    }
}

/* ---- Groups ---- */

__attribute__((format(printf, 2, 3))) static void append(char group[CKPT_GROUP_MAX], const char *format, ...)
{
    size_t n = strlen(group);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(group + n, CKPT_GROUP_MAX - n, format, args);
    va_end(args);
}

/* The stem of the root's name, for those that have no number. */
static void append_stem(const struct look *look, char group[CKPT_GROUP_MAX])
{
    char name[NAME_SIZE];
    (void)snprintf(name, sizeof name, "%.*s", (int)look->out->root_size, look->path + look->out->root_at);
    append(group, "name=%.*s", (int)ckpt_naming_stem(name), name);
}

/*
 * Equal for the roots of one run that are one checkpoint. Other seeds, folds and runs in one directory are
 * others.
 */
static void set_group(const struct look *look)
{
    struct ckpt_recognised *out = look->out;
    const struct ckpt_naming *naming = &out->naming;
    out->group[0] = '\0';
    if (naming->has_step) {
        append(out->group, "step=%" PRIu64, naming->step);
    } else if (naming->has_epoch) {
        append(out->group, "epoch=%" PRIu64, naming->epoch);
    } else if (naming->has_number) {
        append(out->group, "number=%" PRIu64, naming->number);
    } else if (naming->plain) {
        /* model.pt and optimizer.pt, last.pt and last_ema.pt */
        append(out->group, "%s%s%s", naming->best ? "best" : "", naming->last ? "last" : "",
               naming->final ? "final" : "");
        append(out->group, "%s", out->group[0] == '\0' ? "plain" : "");
    } else {
        append_stem(look, out->group);
        return;
    }
    if (naming->has_run) {
        append(out->group, " run=%" PRIu64, naming->run);
    }
    if (naming->has_seed) {
        append(out->group, " seed=%" PRIu64, naming->seed);
    }
    if (naming->has_fold) {
        append(out->group, " fold=%" PRIu64, naming->fold);
    }
}

static bool same_number(bool a_has, uint64_t a, bool b_has, uint64_t b)
{
    return a_has == b_has && (!a_has || a == b);
}

bool ckpt_recognise_joins(const struct ckpt_naming *a, const struct ckpt_naming *b)
{
    if (!same_number(a->has_run, a->run, b->has_run, b->run) ||
        !same_number(a->has_seed, a->seed, b->has_seed, b->seed) ||
        !same_number(a->has_fold, a->fold, b->has_fold, b->fold)) {
        return false;
    }
    if (a->has_step && b->has_step) {
        return a->step == b->step && (!a->has_epoch || !b->has_epoch || a->epoch == b->epoch);
    }
    if (a->has_epoch && b->has_epoch) {
        return a->epoch == b->epoch;
    }
    if (a->has_step || b->has_step || a->has_epoch || b->has_epoch) {
        return false;
    }
    if (a->has_number && b->has_number) {
        return a->number == b->number;
    }
    return a->plain && b->plain && a->best == b->best && a->last == b->last && a->final == b->final;
}

/* ---- What is in it ---- */

unsigned ckpt_holds_fullness(enum ckpt_holds holds)
{
    static const unsigned fullness[] = {
        [CKPT_HOLDS_FULL] = 5, [CKPT_HOLDS_UNKNOWN] = 4,   [CKPT_HOLDS_WEIGHTS] = 3,
        [CKPT_HOLDS_EMA] = 2,  [CKPT_HOLDS_OPTIMIZER] = 1, [CKPT_HOLDS_EXTRA] = 0,
    };
    return fullness[holds];
}

static enum ckpt_holds holds_of(const struct ckpt_naming *naming, const char *name, size_t n)
{
    static const struct {
        unsigned hint;
        enum ckpt_holds holds;
    } order[] = {
        {CKPT_HINT_FULL, CKPT_HOLDS_FULL},       {CKPT_HINT_EMA, CKPT_HOLDS_EMA},
        {CKPT_HINT_WEIGHTS, CKPT_HOLDS_WEIGHTS}, {CKPT_HINT_OPTIMIZER, CKPT_HOLDS_OPTIMIZER},
        {CKPT_HINT_EXTRA, CKPT_HOLDS_EXTRA},
    };
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        if ((naming->hints & order[i].hint) != 0) {
            return order[i].holds;
        }
    }
    return ckpt_name_is_weights(name, n) ? CKPT_HOLDS_WEIGHTS : CKPT_HOLDS_UNKNOWN;
}

/* ---- Roots ---- */

static void set_root(struct look *look, size_t at, size_t n)
{
    struct ckpt_recognised *out = look->out;
    char name[NAME_SIZE];
    out->has_root = true;
    out->root_at = at;
    out->root_size = n;
    (void)snprintf(name, sizeof name, "%.*s", (int)(n < sizeof name ? n : sizeof name - 1), look->path + at);
    ckpt_naming_read(name, &out->naming);
    if (!out->naming.has_epoch && !out->naming.has_step && !out->naming.has_number &&
        out->naming.metric_count == 0) {
        out->alias = out->naming.best    ? CKPT_ALIAS_BEST
                     : out->naming.last  ? CKPT_ALIAS_LAST
                     : out->naming.final ? CKPT_ALIAS_FINAL
                                         : CKPT_ALIAS_NONE;
    }
    out->has_rank = out->naming.has_rank;
    out->rank = out->naming.rank;
}

/* What a bare number in a directory's name counts. */
static void set_unit(struct ckpt_naming *naming, const struct ckpt_directory_row *row,
                     const struct ckpt_numbers *numbers)
{
    if (numbers->count == 0 || row->unit == CKPT_UNIT_NONE) {
        return;
    }
    uint64_t value = numbers->list[numbers->count - 1];
    naming->plain = false;
    naming->has_number = row->unit == CKPT_UNIT_NUMBER;
    if (row->unit == CKPT_UNIT_NUMBER) {
        naming->number = value;
    } else if (row->unit == CKPT_UNIT_STEP) {
        naming->has_step = true;
        naming->step = value;
    } else {
        naming->has_epoch = true;
        naming->epoch = value;
    }
}

/* The outermost directory that is a checkpoint by its name: true if there is one. */
static bool find_named(struct look *look)
{
    for (size_t i = 0; i + 1 < look->count; i++) {
        struct ckpt_numbers numbers = {.count = 0};
        struct ckpt_numbers ignored = {.count = 0};
        const struct component *component = &look->list[i];
        const struct ckpt_directory_row *row =
            ckpt_directory_row_find(text_of(look, i), component->n, &numbers);
        if (row == NULL) {
            continue;
        }
        if (row->trust != CKPT_TRUST_NAME) {
            size_t at = look->list[i + 1].at;
            const struct ckpt_member_row *member =
                ckpt_member_row_find(look->path + at, look->end - at, &ignored);
            bool telling = member != NULL && (member->telling || member->framework == row->framework);
            if (member == NULL || (row->trust == CKPT_TRUST_TELLING && !telling)) {
                continue;
            }
        }
        set_root(look, component->at, component->n);
        set_unit(&look->out->naming, row, &numbers);
        look->out->framework = row->framework;
        look->out->directory = true;
        look->out->member_at = look->list[i + 1].at;
        return true;
    }
    return false;
}

/* The directory of a file that only checkpoints have, whatever the directory's name. */
static bool find_telling(struct look *look)
{
    struct ckpt_numbers ignored = {.count = 0};
    const struct ckpt_member_row *row = ckpt_member_row_find(look->path, look->end, &ignored);
    if (row == NULL || !row->telling) {
        return false;
    }
    size_t depth = strchr(row->pattern, '/') != NULL ? 2 : 1;
    size_t first = look->count > depth ? look->count - depth : 0;
    if (first == 0) {
        set_root(look, 0, 0);
    } else {
        set_root(look, look->list[first - 1].at, look->list[first - 1].n);
    }
    look->out->framework = row->framework;
    look->out->directory = true;
    look->out->member_at = look->list[first].at;
    return true;
}

/* ---- Roles ---- */

static void recognise_member(struct look *look)
{
    struct ckpt_recognised *out = look->out;
    struct ckpt_numbers numbers = {.count = 0};
    const char *member = look->path + out->member_at;
    size_t n = look->end - out->member_at;
    const struct component *last = &look->list[look->count - 1];
    const struct ckpt_member_row *row = ckpt_member_row_find(member, n, &numbers);
    const struct ckpt_run_row *metrics = ckpt_run_row_find(text_of(look, look->count - 1), last->n);
    bool direct = last->at == out->member_at;
    out->role = CKPT_ROLE_MEMBER;
    out->metrics = metrics != NULL ? metrics->metrics : CKPT_LOGS_NONE;
    if (row == NULL) {
        struct ckpt_naming naming;
        char name[NAME_SIZE];
        (void)snprintf(name, sizeof name, "%.*s", (int)(last->n < NAME_SIZE ? last->n : NAME_SIZE - 1),
                       text_of(look, look->count - 1));
        ckpt_naming_read(name, &naming);
        out->holds = holds_of(&naming, name, strlen(name));
        return;
    }
    if (out->framework == CKPT_FRAMEWORK_NONE || (row->telling && direct)) {
        out->framework = row->framework != CKPT_FRAMEWORK_NONE ? row->framework : out->framework;
    }
    out->holds = row->holds;
    out->role = row->role;
    if (row->role == CKPT_ROLE_MARKER) {
        /* That of something within says nothing of the whole. */
        out->mark = direct ? CKPT_MARK_DONE : CKPT_MARK_NONE;
        out->role = direct ? CKPT_ROLE_MARKER : CKPT_ROLE_MEMBER;
    }
    if (row->has_rank && numbers.count > 0) {
        out->has_rank = true;
        out->rank = numbers.list[0];
    }
    if (row->role == CKPT_ROLE_SHARD && numbers.count >= 2) {
        out->has_shard = true;
        out->shard = numbers.list[numbers.count - 2];
        out->shards = numbers.list[numbers.count - 1];
    }
}

/* "mlruns/0/RUN/metrics/val/loss" */
static bool is_mlflow(const struct look *look)
{
    bool below = false;
    for (size_t i = 0; i + 1 < look->count; i++) {
        below = below || ckpt_pattern_match("mlruns", text_of(look, i), look->list[i].n, NULL);
        if (below && ckpt_pattern_match("metrics", text_of(look, i), look->list[i].n, NULL)) {
            return true;
        }
    }
    return false;
}

/*
 * Where the name of a file begins: with the directories that Lightning makes of
 * "epoch=3-val/loss=0.21.ckpt".
 */
static size_t first_of_name(const struct look *look)
{
    size_t i = look->count - 1;
    bool assigns = memchr(text_of(look, i), '=', look->list[i].n) != NULL;
    while (assigns && i > 0 && memchr(text_of(look, i - 1), '=', look->list[i - 1].n) != NULL) {
        i--;
    }
    return i;
}

static void recognise_file(struct look *look)
{
    struct ckpt_recognised *out = look->out;
    size_t last = look->count - 1;
    const char *name = text_of(look, last);
    size_t n = look->list[last].n;
    const struct ckpt_run_row *row = ckpt_run_row_find(name, n);
    if (row == NULL && is_mlflow(look)) {
        out->role = CKPT_ROLE_METRICS;
        out->metrics = CKPT_LOGS_MLFLOW;
        return;
    }
    if (row == NULL && !look->captured && !ckpt_name_is_checkpoint(name, n)) {
        return;
    }
    if (row != NULL) {
        out->role = row->role;
        out->framework = row->framework;
        out->mark = row->mark;
        out->metrics = row->metrics;
        if (row->role != CKPT_ROLE_INDEX) {
            return;
        }
    }
    size_t first = first_of_name(look);
    set_root(look, look->list[first].at, look->end - look->list[first].at);
    out->holds = holds_of(&out->naming, name, n);
    if (row == NULL && out->naming.has_shard) {
        out->role = CKPT_ROLE_SHARD;
        out->has_shard = true;
        out->shard = out->naming.shard;
        out->shards = out->naming.shards;
    } else if (row == NULL) {
        out->role = CKPT_ROLE_FILE;
    }
}

/* Something temporary on the way: true. "X-unfinished" also says that X is. */
static bool is_temporary(struct look *look)
{
    static const char unfinished[] = "-unfinished";
    struct ckpt_recognised *out = look->out;
    for (size_t i = 0; i < look->count; i++) {
        const char *name = text_of(look, i);
        size_t n = look->list[i].n;
        bool directory = i + 1 < look->count;
        if (directory ? !ckpt_directory_is_temporary(name, n) : !ckpt_name_is_temporary(name, n)) {
            continue;
        }
        out->role = CKPT_ROLE_TEMPORARY;
        if (!directory && n > sizeof unfinished - 1 && ckpt_pattern_match("*-unfinished", name, n, NULL)) {
            out->role = CKPT_ROLE_MARKER;
            out->mark = CKPT_MARK_UNFINISHED;
            out->framework = CKPT_FRAMEWORK_NEMO;
            set_root(look, look->list[i].at, n - (sizeof unfinished - 1));
        }
        return true;
    }
    return false;
}

void ckpt_recognise(const char *path, bool captured, struct ckpt_recognised *out)
{
    struct look look = {.path = path, .captured = captured, .out = out};
    memset(out, 0, sizeof *out);
    split(&look);
    if (look.count == 0) {
        return;
    }
    if (is_temporary(&look)) {
        /* Nothing more to say. */
    } else if ((first_of_name(&look) + 1 == look.count && find_named(&look)) || find_telling(&look)) {
        recognise_member(&look);
    } else {
        recognise_file(&look);
    }
    if (out->has_root) {
        set_group(&look);
    }
}
