/*
 * Carrying a judgement out.
 *
 * First what comes back and what is hidden is decided and written in one transaction, then names are taken away, then what is
 * to be dropped is dropped. Whatever fails in between, the next judgement finds the rest.
 */
#include "catalog/catalog_txn.h"
#include "catalog/run_rows.h"
#include "object/internal.h"
#include "object/sweep.h"
#include "retain.h"
#include "retire.h"
#include <stdlib.h>
#include <string.h>

enum { DROP_BATCH = 256 /* members in one transaction, about */ };

/* What is to become of one. */
enum deed {
    STAY,
    SHOW, /* it was hidden */
    HIDE,
    DROP,
};

static enum deed deed_of(const struct ckpt_checkpoint *c, const struct ckpt_policy_verdict *v)
{
    if (c->dropped) {
        return STAY;
    }
    switch (v->kind) {
    case CKPT_VERDICT_KEEP:
        /* A hidden one that somebody reads, or has started from, stays what it is for so long. */
        return c->hidden && v->reason != CKPT_REASON_OPEN && v->reason != CKPT_REASON_PARENT ? SHOW : STAY;
    case CKPT_VERDICT_HIDE:
        return HIDE;
    case CKPT_VERDICT_DROP:
        break;
    }
    return DROP;
}

/* ---- names ---- */

static bool is_live(const struct ckpt_member *m)
{
    return !m->gone && !m->replaced;
}

static bool wants_live(struct ckpt_shape shape, const struct ckpt_member *m)
{
    (void)shape;
    return is_live(m);
}

enum ckpt_err ckpt_retain_names(const struct ckpt_checkpoint *c, ckpt_member_fn *wanted, struct ckpt_live_name **out,
                                size_t *n)
{
    struct ckpt_live_name *names = calloc(c->n_members + 1, sizeof *names);
    struct ckpt_shape shape = ckpt_checkpoint_shape(c);
    size_t count = 0;
    if (names == NULL) {
        return CKPT_ERR_NOMEM;
    }
    for (size_t i = 0; i < c->n_members; i++) {
        const struct ckpt_member *m = &c->members[i];
        if (wanted(shape, m)) {
            names[count].dir = m->dir;
            names[count].number = m->number;
            memcpy(names[count++].name, m->name, strnlen(m->name, NAME_MAX));
        }
    }
    *out = names;
    *n = count;
    return CKPT_OK;
}

/* Live names of one checkpoint that are to go, and the directory that each goes with (0: none). */
struct leaving {
    struct ckpt_live_name *names;
    uint64_t *roots;
    size_t n;
};

static void free_leaving(struct leaving *leaving)
{
    free(leaving->names);
    free(leaving->roots);
}

/* The directory that holds all of a member's checkpoint. */
static uint64_t root_of(struct ckpt_engine *engine, const struct ckpt_checkpoint *c, const struct ckpt_member *m)
{
    char part[NAME_MAX + 1];
    uint64_t dir = c->run;
    size_t at = 0;
    while (m->directory && at < m->root) {
        size_t n = strcspn(m->path + at, "/");
        n = n < m->root - at ? n : m->root - at;
        if (n > NAME_MAX) {
            return CKPT_DIR_ROOT;
        }
        memcpy(part, m->path + at, n);
        part[n] = '\0';
        if (ckpt_catalog_subdir(engine->store, dir, part, &dir) != CKPT_OK) {
            return CKPT_DIR_ROOT;
        }
        at += n + 1;
    }
    return m->directory ? dir : CKPT_DIR_ROOT;
}

struct sharing {
    struct ckpt_keeper *keeper;
    const struct ckpt_checkpoint *c;
    const struct ckpt_member *m;
    enum ckpt_err err;
    bool shared;
};

/* One that had the name before, and lost it to C, has the version too. */
static bool has_name(const struct ckpt_checkpoint *other, const struct ckpt_member *m)
{
    for (size_t i = 0; i < other->n_members; i++) {
        const struct ckpt_member *o = &other->members[i];
        if (is_live(o) && o->dir == m->dir && o->number == m->number && strcmp(o->name, m->name) == 0) {
            return true;
        }
    }
    return false;
}

static bool see_holder(void *arg, uint64_t run_dir, uint32_t number)
{
    struct sharing *s = arg;
    struct ckpt_run *run = NULL;
    if (run_dir == s->c->run && number == s->c->number) {
        return true;
    }
    s->err = ckpt_keeper_run(s->keeper, run_dir, false, &run);
    const struct ckpt_checkpoint *other = s->err == CKPT_OK ? ckpt_run_number(run, number) : NULL;
    s->shared = other != NULL && !other->hidden && !other->dropped && has_name(other, s->m);
    return s->err == CKPT_OK && !s->shared;
}

/* Whether another checkpoint that stays has this name as well. */
static enum ckpt_err is_shared(struct ckpt_retention *r, struct ckpt_txn *txn, const struct ckpt_checkpoint *c,
                               const struct ckpt_member *m, bool *shared)
{
    struct sharing s = {.keeper = r->engine->keeper, .c = c, .m = m};
    enum ckpt_err err = ckpt_member_each_holder_in(txn, m->dir, m->name, m->number, see_holder, &s);
    *shared = s.shared;
    return err != CKPT_OK ? err : s.err == CKPT_ERR_NOT_FOUND ? CKPT_OK : s.err;
}

static enum ckpt_err find_leaving(struct ckpt_retention *r, const struct ckpt_checkpoint *c, struct leaving *leaving)
{
    struct ckpt_txn *txn = NULL;
    *leaving = (struct leaving){.names = calloc(c->n_members + 1, sizeof *leaving->names),
                                .roots = calloc(c->n_members + 1, sizeof *leaving->roots)};
    enum ckpt_err err = leaving->names == NULL || leaving->roots == NULL ? CKPT_ERR_NOMEM
                                                                         : ckpt_txn_read(r->engine->store->db, &txn);
    for (size_t i = 0; err == CKPT_OK && i < c->n_members; i++) {
        const struct ckpt_member *m = &c->members[i];
        bool shared = false;
        if (!is_live(m)) {
            continue;
        }
        err = is_shared(r, txn, c, m, &shared);
        if (err == CKPT_OK && !shared) {
            struct ckpt_live_name *name = &leaving->names[leaving->n];
            name->dir = m->dir;
            name->number = m->number;
            memcpy(name->name, m->name, strnlen(m->name, NAME_MAX));
            leaving->roots[leaving->n++] = root_of(r->engine, c, m);
        }
    }
    ckpt_txn_abort(txn);
    if (err != CKPT_OK) {
        free_leaving(leaving);
        *leaving = (struct leaving){0};
    }
    return err;
}

/* ---- taking them away ---- */

static enum ckpt_err is_free(struct ckpt_retention *r, const struct ckpt_checkpoint *c, bool *free_now)
{
    struct leaving leaving;
    *free_now = true;
    enum ckpt_err err = find_leaving(r, c, &leaving);
    if (err == CKPT_OK && leaving.n > 0) {
        err = ckpt_retire_check(r->engine, leaving.names, leaving.n, true, free_now);
    }
    free_leaving(&leaving);
    return err;
}

/* The names that stand in one directory of the checkpoint's own, or in none, at a time: such a directory goes with them. */
static enum ckpt_err retire_by_root(struct ckpt_retention *r, struct leaving *leaving, size_t *removed)
{
    enum ckpt_err err = CKPT_OK;
    size_t from = 0;
    while (err == CKPT_OK && from < leaving->n) {
        size_t to = from + 1;
        for (size_t i = to; i < leaving->n; i++) {
            if (leaving->roots[i] == leaving->roots[from]) {
                struct ckpt_live_name name = leaving->names[i];
                uint64_t root = leaving->roots[i];
                leaving->names[i] = leaving->names[to];
                leaving->roots[i] = leaving->roots[to];
                leaving->names[to] = name;
                leaving->roots[to++] = root;
            }
        }
        size_t gone = 0;
        uint64_t bytes = 0;
        err = ckpt_retire(r->engine, leaving->names + from, to - from, true, leaving->roots[from], &gone, &bytes);
        *removed += gone;
        r->rotation.bytes += bytes;
        from = to;
    }
    return err;
}

/* Of one whose row says hidden. BUSY: *REMOVED none, or not all of them. */
static enum ckpt_err take_names(struct ckpt_retention *r, const struct ckpt_checkpoint *c, size_t *removed)
{
    struct leaving leaving;
    *removed = 0;
    enum ckpt_err err = find_leaving(r, c, &leaving);
    if (err == CKPT_OK) {
        err = retire_by_root(r, &leaving, removed);
    }
    free_leaving(&leaving);
    return err;
}

/* ---- showing again ---- */

/* Other files have its names by now: it comes back without them. */
static void lose_names(struct ckpt_retention *r, struct ckpt_checkpoint *c)
{
    for (size_t i = 0; i < c->n_members; i++) {
        c->members[i].gone = true;
    }
    c->left = CKPT_LEFT_OVERWRITTEN;
    c->left_ns = r->now_ns;
}

bool ckpt_retain_is_superseded(const struct ckpt_run *run, const struct ckpt_checkpoint *c)
{
    bool superseded = false;
    for (size_t i = 0; c->n_members > 0 && c->members[0].directory && i < run->count; i++) {
        const struct ckpt_checkpoint *other = run->list[i];
        superseded = superseded || (other != c && !other->hidden && !other->dropped && other->left == CKPT_LEFT_NOT &&
                                    other->n_members > 0 && other->members[0].directory &&
                                    strcmp(other->root, c->root) == 0);
    }
    return superseded;
}

static enum ckpt_err show(struct ckpt_retention *r, struct ckpt_checkpoint *c)
{
    struct ckpt_live_name *names = NULL;
    size_t n = 0;
    enum ckpt_err err =
        ckpt_retain_is_superseded(r->run, c) ? CKPT_ERR_EXISTS : ckpt_retain_names(c, wants_live, &names, &n);
    if (err == CKPT_OK && n > 0) {
        err = ckpt_revive(r->engine, names, n);
    }
    free(names);
    /* They may have been given to other files one by one while it was hidden. */
    if (err == CKPT_ERR_EXISTS || (err == CKPT_OK && n == 0 && c->left == CKPT_LEFT_NOT)) {
        lose_names(r, c);
        err = CKPT_OK;
    }
    if (err == CKPT_OK) {
        c->hidden = false;
        c->hidden_ns = 0;
        ckpt_keeper_touch(r->engine->keeper, r->run, c);
    }
    /* Somebody has forgotten a version of it: as it is, it can't come back. */
    return err == CKPT_ERR_NOT_FOUND ? CKPT_OK : err;
}

/* ---- hiding ---- */

static bool has_live_name(const struct ckpt_checkpoint *c)
{
    for (size_t i = 0; i < c->n_members; i++) {
        if (is_live(&c->members[i])) {
            return true;
        }
    }
    return false;
}

static enum ckpt_err hide(struct ckpt_retention *r, size_t i, enum deed *deed)
{
    struct ckpt_checkpoint *c = r->run->list[i];
    const struct ckpt_policy_verdict *v = &r->judgement->verdicts[i];
    bool free_now = true;
    if (*deed == DROP && !has_live_name(c)) {
        return CKPT_OK;
    }
    enum ckpt_err err = is_free(r, c, &free_now);
    if (err != CKPT_OK) {
        return err;
    }
    if (!free_now) {
        r->rotation.held++;
        *deed = STAY;
        return CKPT_OK;
    }
    c->hidden = true;
    c->hidden_ns = v->since_ns != 0 ? v->since_ns : r->now_ns;
    ckpt_keeper_touch(r->engine->keeper, r->run, c);
    return CKPT_OK;
}

/* NEW: it has just been hidden. */
static enum ckpt_err finish_hiding(struct ckpt_retention *r, struct ckpt_checkpoint *c, bool new, enum deed *deed)
{
    size_t removed = 0;
    enum ckpt_err err = take_names(r, c, &removed);
    if (err != CKPT_OK && err != CKPT_ERR_BUSY) {
        r->unfinished = true;
        return err;
    }
    if (err == CKPT_OK) {
        r->rotation.hidden += new;
        return CKPT_OK;
    }
    r->rotation.held++;
    *deed = STAY;
    if (new && removed == 0) {
        /* Opened at the last moment: nothing has happened yet, so nothing is said. */
        c->hidden = false;
        c->hidden_ns = 0;
        ckpt_keeper_touch(r->engine->keeper, r->run, c);
    } else {
        r->unfinished = true;
    }
    return CKPT_OK;
}

/* ---- dropping ---- */

/* What the live names of the members of one checkpoint need. */
static enum ckpt_err find_needed(struct ckpt_engine *engine, const struct ckpt_checkpoint *c, struct ckpt_needed **out)
{
    enum ckpt_err err = CKPT_OK;
    struct ckpt_needed *needed = calloc(c->n_members + 1, sizeof *needed);
    if (needed == NULL) {
        return CKPT_ERR_NOMEM;
    }
    for (size_t i = 0; err == CKPT_OK && i < c->n_members; i++) {
        err = ckpt_needed_find(engine, c->members[i].dir, c->members[i].name, &needed[i]);
        if (err == CKPT_ERR_CORRUPT) {
            /* It may consist of anything. */
            needed[i] = (struct ckpt_needed){.cold = true};
            err = CKPT_OK;
        }
    }
    if (err != CKPT_OK) {
        free(needed);
        return err;
    }
    *out = needed;
    return CKPT_OK;
}

/* The version goes unless it is somebody else's too, was forgotten before, or a cold live file consists of it. */
static enum ckpt_err drop_member(struct ckpt_engine *engine, struct ckpt_txn *txn, const struct ckpt_checkpoint *c,
                                 const struct ckpt_member *m, const struct ckpt_needed *needed)
{
    bool last = false;
    bool survives = false;
    size_t found = 0;
    enum ckpt_err err = ckpt_member_release_in(txn, c, m, &last);
    if (err == CKPT_OK && last) {
        err = ckpt_needed_survives_in(txn, needed, m->dir, m->name, &m->number, 1, &found, &survives);
    }
    if (err == CKPT_OK && last && found > 0 && survives) {
        err = ckpt_catalog_drop_in(engine->store, engine->codec, txn, m->dir, m->name, &m->number, 1);
    }
    return err;
}

static enum ckpt_err drop_in(struct ckpt_retention *r, struct ckpt_txn *txn, struct ckpt_checkpoint *c)
{
    struct ckpt_needed *needed = NULL;
    enum ckpt_err err = find_needed(r->engine, c, &needed);
    for (size_t i = 0; err == CKPT_OK && i < c->n_members; i++) {
        err = drop_member(r->engine, txn, c, &c->members[i], &needed[i]);
    }
    free(needed);
    if (err == CKPT_OK) {
        c->dropped = true;
        ckpt_keeper_touch(r->engine->keeper, r->run, c);
        r->rotation.dropped++;
        r->rotation.bytes += ckpt_checkpoint_added(c);
    }
    return err;
}

/* From place *AT on, as many as one transaction takes. */
static enum ckpt_err drop_some(struct ckpt_retention *r, const enum deed *deeds, size_t *at)
{
    struct ckpt_engine *engine = r->engine;
    struct ckpt_txn *txn = NULL;
    size_t members = 0;
    enum ckpt_err err = CKPT_OK;
    for (; err == CKPT_OK && *at < r->run->count && members < DROP_BATCH; ++*at) {
        struct ckpt_checkpoint *c = r->run->list[*at];
        if (deeds[*at] != DROP) {
            continue;
        }
        if (txn == NULL) {
            err = ckpt_store_begin(engine->store, &txn);
        }
        if (err == CKPT_OK) {
            members += c->n_members + 1;
            err = drop_in(r, txn, c);
        }
    }
    if (txn == NULL) {
        return err;
    }
    if (err == CKPT_OK) {
        err = ckpt_keeper_save_in(engine->keeper, txn);
    }
    if (err == CKPT_OK) {
        err = ckpt_store_commit(engine->store, txn);
    } else {
        ckpt_txn_abort(txn);
    }
    ckpt_keeper_saved(engine->keeper, err == CKPT_OK);
    if (err == CKPT_OK) {
        engine->sweep = true;
        ckpt_sweeper_refresh(engine->sweeper);
    }
    return err;
}

/* ---- all of it ---- */

/* Names of what is hidden, now or before. */
static enum ckpt_err take_all_names(struct ckpt_retention *r, enum deed *deeds, const bool *new)
{
    bool look_again = r->unfinished;
    enum ckpt_err err = CKPT_OK;
    r->unfinished = false;
    for (size_t i = 0; err == CKPT_OK && i < r->run->count; i++) {
        struct ckpt_checkpoint *c = r->run->list[i];
        if ((deeds[i] == HIDE || deeds[i] == DROP) && c->hidden && (new[i] || look_again)) {
            err = finish_hiding(r, c, new[i], &deeds[i]);
        }
    }
    return err;
}

enum ckpt_err ckpt_retain_apply(struct ckpt_retention *r)
{
    size_t n = r->run->count;
    size_t at = 0;
    enum ckpt_err err = CKPT_OK;
    enum deed *deeds = calloc(n + 1, sizeof *deeds);
    bool *new = calloc(n + 1, sizeof *new);
    if (deeds == NULL || new == NULL) {
        err = CKPT_ERR_NOMEM;
    }
    /* Of several that had a name the newest gets it. */
    for (size_t i = n; err == CKPT_OK && i-- > 0;) {
        struct ckpt_checkpoint *c = r->run->list[i];
        deeds[i] = deed_of(c, &r->judgement->verdicts[i]);
        if (deeds[i] == SHOW) {
            err = show(r, c);
        } else if ((deeds[i] == HIDE || deeds[i] == DROP) && !c->hidden) {
            err = hide(r, i, &deeds[i]);
            new[i] = c->hidden;
        }
    }
    if (err == CKPT_OK) {
        err = ckpt_keeper_commit(r->engine->keeper);
    }
    if (err == CKPT_OK) {
        err = take_all_names(r, deeds, new);
    }
    while (err == CKPT_OK && at < n) {
        err = drop_some(r, deeds, &at);
    }
    /* What turned out to be held. */
    if (err == CKPT_OK) {
        err = ckpt_keeper_commit(r->engine->keeper);
    } else {
        ckpt_keeper_saved(r->engine->keeper, false);
    }
    free(deeds);
    free(new);
    return err;
}
