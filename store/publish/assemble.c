#include "assemble.h"
#include "catalog/run_rows.h"
#include "common/text.h"
#include "finder.h"
#include "recognise/naming.h"
#include <ckpt/id.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct ckpt_assembler {
    struct ckpt_keeper *keeper;
    struct ckpt_finder *finder;
};

enum ckpt_err ckpt_assembler_create(struct ckpt_keeper *keeper, struct ckpt_assembler **out)
{
    struct ckpt_assembler *a = calloc(1, sizeof *a);
    if (a == NULL) {
        return CKPT_ERR_NOMEM;
    }
    a->keeper = keeper;
    enum ckpt_err err = ckpt_finder_create(&a->finder);
    if (err != CKPT_OK) {
        free(a);
        return err;
    }
    *out = a;
    return CKPT_OK;
}

void ckpt_assembler_free(struct ckpt_assembler *a)
{
    if (a != NULL) {
        ckpt_finder_free(a->finder);
        free(a);
    }
}

void ckpt_assembler_forget(struct ckpt_assembler *a)
{
    ckpt_finder_forget(a->finder);
}

static struct ckpt_checkpoint *find_text(const struct ckpt_found_run *found, struct ckpt_run *run, enum ckpt_find kind,
                                         const char *text)
{
    return ckpt_find(found, run, kind, text, strlen(text));
}

/* ---- members ---- */

static struct ckpt_member *member_of(struct ckpt_checkpoint *c, const char *path)
{
    for (size_t i = 0; i < c->n_members; i++) {
        if (!c->members[i].replaced && strcmp(c->members[i].path, path) == 0) {
            return &c->members[i];
        }
    }
    return NULL;
}

static bool is_left(const struct ckpt_checkpoint *c)
{
    for (size_t i = 0; i < c->n_members; i++) {
        if (!c->members[i].gone && !c->members[i].replaced) {
            return false;
        }
    }
    return true;
}

void ckpt_assemble_gone(struct ckpt_keeper *keeper, struct ckpt_run *run, struct ckpt_checkpoint *c,
                        struct ckpt_member *m, enum ckpt_left left, int64_t now_ns)
{
    m->gone = true;
    if (is_left(c) && c->left == CKPT_LEFT_NOT && !c->hidden) {
        c->left = left;
        c->left_ns = now_ns;
    } else if (c->left == CKPT_LEFT_DELETED && left == CKPT_LEFT_OVERWRITTEN) {
        c->left = left; /* a rename over it took the name first */
    }
    ckpt_keeper_touch(keeper, run, c);
}

/* The file is there again, as it was. A checkpoint that isn't shown stays so until the caller has looked for its other files. */
static void come_back(struct ckpt_assembler *a, struct ckpt_run *run, struct ckpt_checkpoint *c,
                      struct ckpt_member *m, uint64_t sequence)
{
    m->gone = false;
    m->sequence = sequence;
    c->left = CKPT_LEFT_NOT;
    ckpt_keeper_touch(a->keeper, run, c);
}

/* Weights beside a file of which nothing is known may be all there is, or not. */
static enum ckpt_holds kind_of(const bool has[CKPT_HOLDINGS])
{
    bool model = has[CKPT_HOLDS_WEIGHTS] || has[CKPT_HOLDS_EMA];
    if (has[CKPT_HOLDS_FULL] || (model && has[CKPT_HOLDS_OPTIMIZER])) {
        return CKPT_HOLDS_FULL;
    }
    if (model && !has[CKPT_HOLDS_UNKNOWN]) {
        return has[CKPT_HOLDS_WEIGHTS] ? CKPT_HOLDS_WEIGHTS : CKPT_HOLDS_EMA;
    }
    if (has[CKPT_HOLDS_UNKNOWN]) {
        return CKPT_HOLDS_UNKNOWN;
    }
    return has[CKPT_HOLDS_OPTIMIZER] ? CKPT_HOLDS_OPTIMIZER : CKPT_HOLDS_EXTRA;
}

void ckpt_assemble_sum(struct ckpt_checkpoint *c)
{
    bool has[CKPT_HOLDINGS] = {false};
    bool parts = false; /* DCP's, of which nothing is known unless it was told beside them */
    bool told = false;
    bool invalid = false;
    bool directory = false;
    for (size_t i = 0; i < c->n_members; i++) {
        const struct ckpt_member *m = &c->members[i];
        if (!m->replaced) {
            bool part = m->holds == CKPT_HOLDS_UNKNOWN && ckpt_ends_with(m->name, ".distcp");
            parts |= part;
            has[m->holds] |= !part;
            told |= m->holds != CKPT_HOLDS_EXTRA && ckpt_ends_with(m->name, ".metadata");
            invalid |= m->invalid;
            directory |= m->directory || m->root == 0;
        }
    }
    has[CKPT_HOLDS_UNKNOWN] |= parts && !told;
    c->holds = kind_of(has);
    if (invalid) {
        c->status = CKPT_STATUS_INVALID;
    } else if (c->status == CKPT_STATUS_INVALID) {
        c->status = directory ? CKPT_STATUS_WRITING : CKPT_STATUS_COMPLETE;
    }
}

/* Configurations, vocabularies and the like, which say nothing about what else there is. */
static bool is_text(const char *name)
{
    static const char *const suffixes[] = {".json", ".txt", ".yaml", ".yml", ".md", ".jinja", ".py", ".csv", ".toml"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot != NULL && i < sizeof suffixes / sizeof suffixes[0]; i++) {
        if (strcmp(dot, suffixes[i]) == 0) {
            return true;
        }
    }
    return false;
}

static enum ckpt_holds holds_of(const struct ckpt_arrival *at)
{
    if (at->content->holds != CKPT_HOLDS_UNKNOWN) {
        return at->content->holds;
    }
    bool text = at->what->holds == CKPT_HOLDS_UNKNOWN && is_text(at->version->name);
    return text ? CKPT_HOLDS_EXTRA : at->what->holds;
}

static enum ckpt_err add_member(struct ckpt_assembler *a, struct ckpt_run *run, struct ckpt_checkpoint *c,
                                const struct ckpt_arrival *at, bool alias)
{
    const struct ckpt_version *v = at->version;
    struct ckpt_member *m = ckpt_checkpoint_add_member(c);
    if (m == NULL) {
        return CKPT_ERR_NOMEM;
    }
    m->dir = v->dir;
    m->number = v->number;
    m->root = (uint16_t)at->root_size;
    m->sequence = at->sequence;
    m->size = v->size;
    m->added = v->added;
    m->holds = holds_of(at);
    m->directory = at->what->directory && at->root_size > 0;
    m->alias = alias;
    m->invalid = at->content->validity == CKPT_VALIDITY_INVALID;
    m->state = at->state;
    m->recipe = v->recipe;
    enum ckpt_err err = ckpt_text_set(&m->name, v->name);
    if (err == CKPT_OK) {
        err = ckpt_text_set(&m->path, at->path);
    }
    if (err != CKPT_OK) {
        free(m->name);
        c->n_members--;
        return err;
    }
    c->left = CKPT_LEFT_NOT; /* with this one it is there again */
    c->process = at->process != 0 ? at->process : c->process;
    c->parent = c->parent != 0 || at->parent == c->id ? c->parent : at->parent;
    if (c->framework == CKPT_FRAMEWORK_NONE) {
        c->framework = at->what->framework;
    }
    if (m->invalid) {
        char why[sizeof at->content->why + NAME_MAX + 8];
        (void)snprintf(why, sizeof why, "%s: %s", v->name, at->content->why);
        err = ckpt_text_set(&c->why, why);
    }
    ckpt_assemble_sum(c);
    ckpt_keeper_touch(a->keeper, run, c);
    return err;
}

/* ---- numbers ---- */

static enum ckpt_err add_value(struct ckpt_checkpoint *c, const char *name, double number, enum ckpt_from from)
{
    char text[CKPT_INSPECT_NAME];
    bool changed = false;
    (void)snprintf(text, sizeof text, "%s", name[0] == '\0' ? "metric" : name);
    struct ckpt_value value = {.name = text, .value = number, .from = from};
    return ckpt_checkpoint_set_value(c, &value, &changed);
}

static void take_epoch(struct ckpt_checkpoint *c, uint64_t epoch, enum ckpt_from from)
{
    if (!c->has_epoch || from < c->epoch_from) {
        c->has_epoch = true;
        c->epoch = epoch;
        c->epoch_from = from;
    }
}

static void take_step(struct ckpt_checkpoint *c, uint64_t step, enum ckpt_from from)
{
    if (!c->has_step || from < c->step_from) {
        c->has_step = true;
        c->step = step;
        c->step_from = from;
    }
}

/* What the root's name and the file's content say. A name that is used again and again says nothing of its own. */
static enum ckpt_err take_numbers(struct ckpt_checkpoint *c, const struct ckpt_arrival *at)
{
    static const struct ckpt_inspection nothing;
    const struct ckpt_naming *naming = &at->what->naming;
    /* A scheduler counts epochs of its own, which may be steps. */
    enum ckpt_holds holds = holds_of(at);
    bool beside = holds == CKPT_HOLDS_EXTRA || holds == CKPT_HOLDS_OPTIMIZER;
    const struct ckpt_inspection *content = beside ? &nothing : at->content;
    enum ckpt_err err = CKPT_OK;
    if (naming->has_epoch) {
        take_epoch(c, naming->epoch, CKPT_FROM_NAME);
    }
    if (naming->has_step) {
        take_step(c, naming->step, CKPT_FROM_NAME);
    }
    if (content->has_epoch) {
        take_epoch(c, content->epoch, CKPT_FROM_INSIDE);
    }
    if (content->has_step) {
        take_step(c, content->step, CKPT_FROM_INSIDE);
    }
    for (size_t i = 0; err == CKPT_OK && i < naming->metric_count; i++) {
        err = add_value(c, naming->metrics[i].name, naming->metrics[i].value, CKPT_FROM_NAME);
    }
    for (size_t i = 0; err == CKPT_OK && i < content->n_values; i++) {
        err = add_value(c, content->values[i].name, content->values[i].value, CKPT_FROM_INSIDE);
    }
    return err;
}

/* ---- beginning one ---- */

static enum ckpt_err begin(struct ckpt_assembler *a, struct ckpt_run *run, const struct ckpt_arrival *at,
                           struct ckpt_checkpoint **out)
{
    char root[NAME_MAX + 1];
    struct ckpt_checkpoint *c = ckpt_keeper_begin(a->keeper, run);
    if (c == NULL) {
        return CKPT_ERR_NOMEM;
    }
    const char *name = at->root_size > 0 ? at->path : at->version->name;
    size_t n = at->root_size > 0 ? at->root_size : strlen(name);
    (void)snprintf(root, sizeof root, "%.*s", (int)(n < NAME_MAX ? n : NAME_MAX), name);
    c->sequence = at->sequence;
    c->saved_ns = at->version->captured_ns;
    c->framework = at->what->framework;
    c->status = at->what->directory ? CKPT_STATUS_WRITING : CKPT_STATUS_COMPLETE;
    enum ckpt_err err = ckpt_text_set(&c->root, root);
    if (err == CKPT_OK) {
        err = ckpt_text_set(&c->group, at->what->group);
    }
    *out = c;
    return err;
}

/* ---- in a checkpoint's directory, and sets of shards ---- */

static bool same_directory(const struct ckpt_checkpoint *c, const struct ckpt_arrival *at)
{
    for (size_t i = 0; i < c->n_members; i++) {
        const struct ckpt_member *m = &c->members[i];
        if (at->root_size == 0 ? !m->directory && m->root == 0 && strcmp(c->group, at->what->group) == 0
                               : m->directory && m->root == at->root_size &&
                                     strncmp(m->path, at->path, at->root_size) == 0) {
            return true;
        }
    }
    return false;
}

/* What the new checkpoint of a directory has in common with the one before. Nothing of a hidden one is there any more. */
static enum ckpt_err carry_over(struct ckpt_assembler *a, struct ckpt_run *run, struct ckpt_checkpoint *from,
                                struct ckpt_checkpoint *to, const struct ckpt_arrival *at)
{
    enum ckpt_err err = CKPT_OK;
    for (size_t i = 0; err == CKPT_OK && i < from->n_members; i++) {
        struct ckpt_member *old = &from->members[i];
        bool same = strcmp(old->path, at->path) == 0;
        if (old->replaced || old->gone || same || from->hidden) {
            old->gone = old->gone || old->replaced || same;
            continue;
        }
        err = ckpt_checkpoint_copy_member(to, old);
        old->gone = true;
    }
    if (from->left == CKPT_LEFT_NOT && !from->hidden) {
        from->left = CKPT_LEFT_OVERWRITTEN;
        from->left_ns = at->version->captured_ns;
    }
    ckpt_keeper_touch(a->keeper, run, from);
    return err;
}

/* An older one stands there when the newest was rotated and a policy gave the older one back. */
static struct ckpt_checkpoint *find_standing(struct ckpt_run *run, struct ckpt_checkpoint *newest,
                                             const struct ckpt_arrival *at)
{
    for (size_t i = newest != NULL && newest->hidden ? run->count : 0; i-- > 0;) {
        struct ckpt_checkpoint *c = run->list[i];
        if (!c->hidden && !c->dropped && !c->former && c->left == CKPT_LEFT_NOT && same_directory(c, at)) {
            return c;
        }
    }
    return newest;
}

static enum ckpt_err into_directory(struct ckpt_assembler *a, struct ckpt_found_run *found, struct ckpt_run *run,
                                    const struct ckpt_arrival *at, struct ckpt_checkpoint **out)
{
    char root[NAME_MAX + 1];
    (void)snprintf(root, sizeof root, "%.*s", (int)at->root_size, at->path);
    struct ckpt_checkpoint *c =
        at->root_size > 0 ? find_text(found, run, CKPT_FIND_ROOT, root)
                          : find_text(found, run, CKPT_FIND_GROUP, at->what->group);
    if (c != NULL && (!same_directory(c, at) || c->dropped)) {
        c = NULL;
    }
    c = find_standing(run, c, at);
    struct ckpt_member *m = c == NULL ? NULL : member_of(c, at->path);
    if (m != NULL && m->number == at->version->number) {
        come_back(a, run, c, m, at->sequence);
        *out = c;
        return CKPT_OK;
    }
    enum ckpt_err err = CKPT_OK;
    bool full = c != NULL && c->status != CKPT_STATUS_WRITING && (m != NULL || c->left != CKPT_LEFT_NOT);
    if (c == NULL || c->hidden || c->former || full) {
        struct ckpt_checkpoint *before = c;
        err = begin(a, run, at, &c);
        if (err == CKPT_OK && before != NULL) {
            err = carry_over(a, run, before, c, at);
        }
    } else if (m != NULL) {
        m->replaced = m->gone = true;
    }
    if (err == CKPT_OK) {
        err = add_member(a, run, c, at, false);
    }
    *out = c;
    return err;
}

/* ---- files of a run ---- */

static struct ckpt_naming naming_of(const struct ckpt_checkpoint *c)
{
    struct ckpt_naming naming;
    ckpt_naming_read(c->root, &naming);
    naming.has_epoch = c->has_epoch;
    naming.epoch = c->epoch;
    naming.has_step = c->has_step;
    naming.step = c->step;
    return naming;
}

static struct ckpt_naming naming_at(const struct ckpt_arrival *at)
{
    struct ckpt_naming naming = at->what->naming;
    if (!naming.has_epoch && at->content->has_epoch) {
        naming.has_epoch = true;
        naming.epoch = at->content->epoch;
    }
    if (!naming.has_step && at->content->has_step) {
        naming.has_step = true;
        naming.step = at->content->step;
    }
    return naming;
}

static bool may_be_joined(const struct ckpt_checkpoint *c)
{
    return c != NULL && !c->dropped && !c->hidden && !c->former && c->status != CKPT_STATUS_INVALID;
}

/* Another epoch or step in both names: two checkpoints, whatever is in them. */
static bool names_differ(const struct ckpt_checkpoint *c, const struct ckpt_naming *n)
{
    return (c->has_epoch && c->epoch_from == CKPT_FROM_NAME && n->has_epoch && c->epoch != n->epoch) ||
           (c->has_step && c->step_from == CKPT_FROM_NAME && n->has_step && c->step != n->step);
}

static bool has_state(const struct ckpt_checkpoint *c, const struct ckpt_id *state)
{
    for (size_t i = 0; i < c->n_members; i++) {
        if (!c->members[i].replaced && !c->members[i].directory && ckpt_id_equal(&c->members[i].state, state)) {
            return true;
        }
    }
    return false;
}

static struct ckpt_checkpoint *find_same_state(const struct ckpt_found_run *found, struct ckpt_run *run,
                                               const struct ckpt_arrival *at)
{
    struct ckpt_checkpoint *c = ckpt_find(found, run, CKPT_FIND_STATE, at->state.bytes, CKPT_ID_SIZE);
    return may_be_joined(c) && has_state(c, &at->state) && !names_differ(c, &at->what->naming) ? c : NULL;
}

static bool is_directory(const struct ckpt_checkpoint *c)
{
    return c->n_members > 0 && (c->members[0].directory || c->members[0].root == 0);
}

static struct ckpt_checkpoint *find_same_numbers(const struct ckpt_found_run *found, struct ckpt_run *run,
                                                 const struct ckpt_arrival *at)
{
    struct ckpt_naming mine = naming_at(at);
    struct ckpt_checkpoint *list[3];
    size_t n = 0;
    if (mine.has_step) {
        list[n++] = ckpt_find(found, run, CKPT_FIND_STEP, &mine.step, sizeof mine.step);
    }
    if (mine.has_epoch) {
        list[n++] = ckpt_find(found, run, CKPT_FIND_EPOCH, &mine.epoch, sizeof mine.epoch);
    }
    list[n++] = find_text(found, run, CKPT_FIND_GROUP, at->what->group);
    for (size_t i = 0; i < n; i++) {
        struct ckpt_checkpoint *c = list[i];
        if (may_be_joined(c) && c->left == CKPT_LEFT_NOT && !is_directory(c) && member_of(c, at->path) == NULL) {
            struct ckpt_naming theirs = naming_of(c);
            if (strcmp(c->group, at->what->group) == 0 || ckpt_recognise_joins(&theirs, &mine)) {
                return c;
            }
        }
    }
    return NULL;
}

static bool names_only_aliases(const struct ckpt_checkpoint *c)
{
    for (size_t i = 0; i < c->n_members; i++) {
        if (!c->members[i].alias) {
            return false;
        }
    }
    return true;
}

/* A numbered file gives the checkpoint its name, if it had only names that are used again and again. */
static enum ckpt_err take_name(struct ckpt_checkpoint *c, const struct ckpt_arrival *at)
{
    for (size_t i = 0; i + 1 < c->n_members; i++) {
        if (!c->members[i].alias) {
            return CKPT_OK;
        }
    }
    enum ckpt_err err = ckpt_text_set(&c->root, at->version->name);
    return err == CKPT_OK ? ckpt_text_set(&c->group, at->what->group) : err;
}

static enum ckpt_err as_file(struct ckpt_assembler *a, struct ckpt_found_run *found, struct ckpt_run *run,
                             const struct ckpt_arrival *at, struct ckpt_checkpoint **out)
{
    struct ckpt_checkpoint *owner = find_text(found, run, CKPT_FIND_PATH, at->path);
    struct ckpt_member *m = owner == NULL || owner->dropped ? NULL : member_of(owner, at->path);
    if (m != NULL && m->number == at->version->number) {
        come_back(a, run, owner, m, at->sequence);
        *out = owner;
        return CKPT_OK;
    }
    if (m != NULL) {
        ckpt_assemble_gone(a->keeper, run, owner, m, CKPT_LEFT_OVERWRITTEN, at->version->captured_ns);
    }
    bool alias = at->what->alias != CKPT_ALIAS_NONE;
    struct ckpt_checkpoint *c = NULL;
    enum ckpt_err err = CKPT_OK;
    if (at->content->validity != CKPT_VALIDITY_INVALID) {
        c = find_same_state(found, run, at);
        struct ckpt_checkpoint *numbered = find_same_numbers(found, run, at);
        alias = alias || (c != NULL && c != numbered && !names_only_aliases(c));
        c = c != NULL ? c : numbered;
    }
    struct ckpt_member *before = c == NULL ? NULL : member_of(c, at->path);
    if (before != NULL) {
        before->replaced = before->gone = true;
    }
    if (c == NULL) {
        err = begin(a, run, at, &c);
    }
    if (err == CKPT_OK) {
        err = add_member(a, run, c, at, alias);
    }
    if (err == CKPT_OK && !alias) {
        err = take_name(c, at);
    }
    *out = c;
    return err;
}

enum ckpt_err ckpt_assemble(struct ckpt_assembler *a, struct ckpt_run *run, const struct ckpt_arrival *at,
                            struct ckpt_checkpoint **out)
{
    struct ckpt_found_run *found = NULL;
    struct ckpt_checkpoint *c = NULL;
    enum ckpt_err err = ckpt_finder_run(a->finder, run, &found);
    if (err == CKPT_OK) {
        err = at->what->directory ? into_directory(a, found, run, at, &c) : as_file(a, found, run, at, &c);
    }
    if (err == CKPT_OK) {
        err = take_numbers(c, at);
    }
    if (err == CKPT_OK) {
        err = ckpt_find_put(found, c);
    }
    /* One that has just begun may have members from the one before. */
    size_t first = c == NULL || c->sequence == at->sequence || c->n_members == 0 ? 0 : c->n_members - 1;
    for (size_t i = first; err == CKPT_OK && i < c->n_members; i++) {
        err = ckpt_find_put_member(found, c, &c->members[i]);
    }
    if (err == CKPT_OK) {
        *out = c;
    }
    return err;
}
