/*
 * The calls that change what is known and kept of checkpoints, each a command of the engine's thread.
 */
#include "catalog/catalog_txn.h"
#include "catalog/run_rows.h"
#include "object/internal.h"
#include "retain.h"
#include "retire.h"
#include <ckpt/host.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TAG_MAX = 64 };

/* A command with its arguments; the first member is what the engine's thread gets. */
struct call {
    struct ckpt_command command;
    uint64_t run;
    uint32_t number;
    const char *text; /* tag, metric, policy */
    double value;
    bool on;
    struct ckpt_rotation rotation;
};

static struct call *call_of(struct ckpt_command *command)
{
    return (struct call *)command;
}

/* ---- one checkpoint ---- */

/* NOT_FOUND, which is told. ALSO_DROPPED: a record will do. */
static enum ckpt_err find(struct ckpt_engine *engine, const struct call *call, bool also_dropped, struct ckpt_run **run,
                          struct ckpt_checkpoint **c)
{
    enum ckpt_err err = ckpt_keeper_run(engine->keeper, call->run, false, run);
    *c = err == CKPT_OK ? ckpt_keeper_checkpoint(*run, call->number) : NULL;
    if (err == CKPT_OK && *c == NULL) {
        err = CKPT_ERR_NOT_FOUND;
    }
    if (err == CKPT_ERR_NOT_FOUND) {
        ckpt_reportf(CKPT_REPORT(engine), CKPT_ERROR, "there is no such checkpoint");
    } else if (err == CKPT_OK && (*c)->dropped && !also_dropped) {
        ckpt_reportf(CKPT_REPORT(engine), CKPT_ERROR,
                     "checkpoint %016llx is a record only: its bytes were given back", (unsigned long long)(*c)->id);
        err = CKPT_ERR_NOT_FOUND;
    }
    return err;
}

/* After a change of C: durable, shown, and judged. */
static enum ckpt_err save(struct ckpt_engine *engine, struct ckpt_run *run, struct ckpt_checkpoint *c)
{
    struct ckpt_rotation rotation = {0};
    uint64_t dir = run->dir;
    ckpt_keeper_touch(engine->keeper, run, c);
    enum ckpt_err err = ckpt_keeper_commit(engine->keeper);
    if (err == CKPT_OK && ckpt_retain_now(engine, dir, &rotation) != CKPT_OK) {
        /* Was told, and is tried again; what was asked for is done. */
        ckpt_retain_due(engine, dir);
    }
    return err;
}

/* ---- tags ---- */

static bool is_tag(const char *tag)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    size_t n = strlen(tag);
    return n > 0 && n <= TAG_MAX && tag[0] != '.' && strspn(tag, letters) == n;
}

/* A run's tag stands on one checkpoint. */
static void take_tag(struct ckpt_engine *engine, struct ckpt_run *run, const struct ckpt_checkpoint *but, const char *tag)
{
    for (size_t i = 0; i < run->count; i++) {
        if (run->list[i] != but && ckpt_checkpoint_remove_tag(run->list[i], tag)) {
            ckpt_keeper_touch(engine->keeper, run, run->list[i]);
        }
    }
}

static enum ckpt_err run_tag(struct ckpt_engine *engine, struct ckpt_command *command)
{
    struct call *call = call_of(command);
    struct ckpt_run *run = NULL;
    struct ckpt_checkpoint *c = NULL;
    bool changed = false;
    enum ckpt_err err = find(engine, call, !call->on, &run, &c);
    if (err != CKPT_OK) {
        return err;
    }
    if (!call->on) {
        if (!ckpt_checkpoint_remove_tag(c, call->text)) {
            ckpt_reportf(CKPT_REPORT(engine), CKPT_ERROR, "that checkpoint has no tag \"%s\"", call->text);
            return CKPT_ERR_NOT_FOUND;
        }
    } else {
        err = ckpt_checkpoint_add_tag(c, call->text, &changed);
        if (err != CKPT_OK) {
            return err;
        }
        take_tag(engine, run, c, call->text);
    }
    return save(engine, run, c);
}

enum ckpt_err ckpt_engine_tag(struct ckpt_engine *engine, uint64_t run, uint32_t number, const char *tag, bool set)
{
    struct call call = {.command.run = run_tag, .run = run, .number = number, .text = tag, .on = set};
    if (!is_tag(tag)) {
        ckpt_reportf(CKPT_REPORT(engine), CKPT_ERROR,
                     "\"%s\" is no tag: 1 to %d letters, digits, \".\", \"_\" and \"-\", the first not \".\"", tag, TAG_MAX);
        return CKPT_ERR_INVALID;
    }
    return ckpt_command_submit(engine, &call.command);
}

/* ---- pin, metric, finish ---- */

static enum ckpt_err run_pin(struct ckpt_engine *engine, struct ckpt_command *command)
{
    struct call *call = call_of(command);
    struct ckpt_run *run = NULL;
    struct ckpt_checkpoint *c = NULL;
    enum ckpt_err err = find(engine, call, !call->on, &run, &c);
    if (err == CKPT_OK) {
        c->pinned = call->on;
        err = save(engine, run, c);
    }
    return err;
}

enum ckpt_err ckpt_engine_pin(struct ckpt_engine *engine, uint64_t run, uint32_t number, bool pin)
{
    struct call call = {.command.run = run_pin, .run = run, .number = number, .on = pin};
    return ckpt_command_submit(engine, &call.command);
}

static enum ckpt_err run_metric(struct ckpt_engine *engine, struct ckpt_command *command)
{
    struct call *call = call_of(command);
    struct ckpt_run *run = NULL;
    struct ckpt_checkpoint *c = NULL;
    bool changed = false;
    char name[CKPT_POLICY_NAME_MAX + 1];
    enum ckpt_err err = find(engine, call, true, &run, &c);
    if (err != CKPT_OK) {
        return err;
    }
    memcpy(name, call->text, strlen(call->text) + 1);
    struct ckpt_value value = {.name = name, .value = call->value, .from = CKPT_FROM_USER, .by = CKPT_BY_ITSELF};
    err = ckpt_checkpoint_set_value(c, &value, &changed);
    return err == CKPT_OK && changed ? save(engine, run, c) : err;
}

static bool is_metric(const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < n; i++) {
        if ((unsigned char)name[i] <= ' ' || name[i] == 0x7f || name[i] == '#') {
            return false;
        }
    }
    return n > 0 && n <= CKPT_POLICY_NAME_MAX;
}

enum ckpt_err ckpt_engine_metric(struct ckpt_engine *engine, uint64_t run, uint32_t number, const char *name, double value)
{
    struct call call = {.command.run = run_metric, .run = run, .number = number, .text = name, .value = value};
    if (!is_metric(name)) {
        ckpt_reportf(CKPT_REPORT(engine), CKPT_ERROR,
                     "\"%s\" is no name of a metric: 1 to %d characters without spaces and \"#\"", name,
                     CKPT_POLICY_NAME_MAX);
        return CKPT_ERR_INVALID;
    }
    return ckpt_command_submit(engine, &call.command);
}

static enum ckpt_err run_finish(struct ckpt_engine *engine, struct ckpt_command *command)
{
    struct call *call = call_of(command);
    struct ckpt_run *run = NULL;
    enum ckpt_err err = ckpt_keeper_run(engine->keeper, call->run, false, &run);
    if (err == CKPT_ERR_NOT_FOUND) {
        ckpt_reportf(CKPT_REPORT(engine), CKPT_ERROR, "there is no such run");
    }
    if (err != CKPT_OK) {
        return err;
    }
    int64_t now_ns = ckpt_realtime_ns();
    run->finished_ns = call->on ? now_ns : 0;
    run->finished = call->on;
    if (!call->on) {
        run->written_ns = now_ns; /* else it would be over again at once */
    }
    return save(engine, run, NULL);
}

enum ckpt_err ckpt_engine_finish(struct ckpt_engine *engine, uint64_t run, bool finished)
{
    struct call call = {.command.run = run_finish, .run = run, .on = finished};
    return ckpt_command_submit(engine, &call.command);
}

/* ---- undelete ---- */

static bool is_shown(struct ckpt_shape shape, const struct ckpt_member *m)
{
    return ckpt_member_shown(shape, m) != NULL;
}

static enum ckpt_err run_undelete(struct ckpt_engine *engine, struct ckpt_command *command)
{
    struct call *call = call_of(command);
    struct ckpt_run *run = NULL;
    struct ckpt_checkpoint *c = NULL;
    struct ckpt_live_name *names = NULL;
    size_t n = 0;
    enum ckpt_err err = find(engine, call, false, &run, &c);
    if (err == CKPT_OK) {
        err = ckpt_retain_names(c, is_shown, &names, &n);
    }
    if (err != CKPT_OK) {
        return err;
    }
    err = ckpt_retain_is_superseded(run, c) ? CKPT_ERR_EXISTS : ckpt_revive(engine, names, n);
    free(names);
    if (err == CKPT_ERR_EXISTS) {
        ckpt_reportf(CKPT_REPORT(engine), CKPT_ERROR,
                     "another file has a name of checkpoint %016llx by now: move it away, or restore the checkpoint under "
                     "another name; nothing was changed",
                     (unsigned long long)c->id);
    } else if (err == CKPT_ERR_NOT_FOUND) {
        ckpt_reportf(CKPT_REPORT(engine), CKPT_ERROR, "a version that checkpoint %016llx consists of was forgotten",
                     (unsigned long long)c->id);
    }
    if (err != CKPT_OK) {
        return err;
    }
    struct ckpt_shape shape = ckpt_checkpoint_shape(c);
    for (size_t i = 0; i < c->n_members; i++) {
        c->members[i].gone = c->members[i].gone && !is_shown(shape, &c->members[i]);
    }
    c->pinned = true;
    c->hidden = false;
    c->hidden_ns = 0;
    c->left = CKPT_LEFT_NOT;
    c->left_ns = 0;
    return save(engine, run, c);
}

enum ckpt_err ckpt_engine_undelete(struct ckpt_engine *engine, uint64_t run, uint32_t number)
{
    struct call call = {.command.run = run_undelete, .run = run, .number = number};
    return ckpt_command_submit(engine, &call.command);
}

/* ---- judging many ---- */

struct scope {
    struct ckpt_engine *engine;
    uint64_t above;
    bool all;
    uint64_t *dirs;
    size_t count;
    size_t room;
};

static enum ckpt_err add_run(void *arg, struct ckpt_run *run)
{
    struct scope *scope = arg;
    char path[PATH_MAX];
    char above[PATH_MAX];
    bool in = scope->all || scope->above == CKPT_DIR_ROOT || run->dir == scope->above;
    if (!in && ckpt_catalog_path(scope->engine->store, run->dir, path, sizeof path) == CKPT_OK &&
        ckpt_catalog_path(scope->engine->store, scope->above, above, sizeof above) == CKPT_OK) {
        size_t n = strlen(above);
        in = strncmp(path, above, n) == 0 && path[n] == '/';
    }
    if (!in) {
        return CKPT_OK;
    }
    if (scope->count == scope->room) {
        size_t room = scope->room == 0 ? 64 : 2 * scope->room;
        uint64_t *dirs = reallocarray(scope->dirs, room, sizeof *dirs);
        if (dirs == NULL) {
            return CKPT_ERR_NOMEM;
        }
        scope->dirs = dirs;
        scope->room = room;
    }
    scope->dirs[scope->count++] = run->dir;
    return CKPT_OK;
}

/* The runs of ABOVE and below, or all; the first error counts, and keeps no other from being judged. */
static enum ckpt_err judge_all(struct ckpt_engine *engine, uint64_t above, bool all, struct ckpt_rotation *rotation)
{
    struct scope scope = {.engine = engine, .above = above, .all = all};
    enum ckpt_err err = ckpt_keeper_each(engine->keeper, true, add_run, &scope);
    for (size_t i = 0; i < scope.count; i++) {
        enum ckpt_err judged = ckpt_retain_now(engine, scope.dirs[i], rotation);
        err = err == CKPT_OK ? judged : err;
    }
    free(scope.dirs);
    return err;
}

static enum ckpt_err run_rotate(struct ckpt_engine *engine, struct ckpt_command *command)
{
    struct call *call = call_of(command);
    enum ckpt_err err = CKPT_OK;
    if (call->on) {
        err = judge_all(engine, CKPT_DIR_ROOT, true, &call->rotation);
    } else {
        err = ckpt_retain_now(engine, call->run, &call->rotation);
    }
    if (err == CKPT_ERR_NOT_FOUND) {
        ckpt_reportf(CKPT_REPORT(engine), CKPT_ERROR, "there is no such run");
    }
    /* What was dropped a moment before, too. */
    ckpt_give_back(engine);
    return err;
}

enum ckpt_err ckpt_engine_rotate(struct ckpt_engine *engine, uint64_t run, bool all, struct ckpt_rotation *rotation)
{
    struct call call = {.command.run = run_rotate, .run = run, .on = all};
    enum ckpt_err err = ckpt_command_submit(engine, &call.command);
    *rotation = call.rotation;
    return err;
}

/* ---- policies ---- */

/* The directory PATH in live/, which gets an id if it has none. */
static enum ckpt_err ensure_dir(struct ckpt_engine *engine, const char *path, uint64_t *dir)
{
    while (*path == '/') {
        path++;
    }
    int fd = ckpt_host_openat(ckpt_store_livefd(engine->store), path[0] == '\0' ? "." : path,
                              O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0);
    if (fd < 0) {
        enum ckpt_err err = ckpt_err_from_errno(errno);
        ckpt_reportf(CKPT_REPORT(engine), CKPT_ERROR, "%s: a policy stands at a directory: %s", path, ckpt_err_text(err));
        return err;
    }
    pthread_mutex_lock(&engine->capture);
    enum ckpt_err err = ckpt_dir_id_ensure(engine, fd, dir);
    pthread_mutex_unlock(&engine->capture);
    ckpt_host_close(fd);
    return err == CKPT_OK ? ckpt_dir_rows_save(engine) : err;
}

/* The nearest policy from DIR's parent upwards. NOT_FOUND. */
static enum ckpt_err find_above(struct ckpt_engine *engine, uint64_t dir, char **text, uint64_t *owner)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_dir row;
    int64_t changed_ns = 0;
    if (dir == CKPT_DIR_ROOT) {
        return CKPT_ERR_NOT_FOUND;
    }
    enum ckpt_err err = ckpt_txn_read(engine->store->db, &txn);
    if (err == CKPT_OK) {
        err = ckpt_catalog_dir_in(txn, dir, &row);
    }
    ckpt_txn_abort(txn);
    return err == CKPT_OK ? ckpt_policy_find(engine->store, row.parent, text, owner, &changed_ns) : err;
}

/*
 * Without its own policy a directory comes under another one. What was let go of before must have its grace from now on, which
 * that one's time of change says; where there is none, an empty policy of the root does.
 */
static enum ckpt_err remove_in(struct ckpt_engine *engine, struct ckpt_txn *txn, uint64_t dir, int64_t now_ns)
{
    char *text = NULL;
    char *old = NULL;
    uint64_t owner = CKPT_DIR_ROOT;
    int64_t changed_ns = 0;
    enum ckpt_err err = ckpt_policy_get_in(txn, dir, &old, &changed_ns);
    if (err == CKPT_OK && dir == CKPT_DIR_ROOT && old[0] == '\0') {
        err = CKPT_ERR_NOT_FOUND;
    }
    free(old);
    if (err == CKPT_OK && dir != CKPT_DIR_ROOT) {
        err = ckpt_policy_put_in(txn, dir, NULL, now_ns);
    }
    if (err == CKPT_OK) {
        err = find_above(engine, dir, &text, &owner);
        if (err == CKPT_OK || err == CKPT_ERR_NOT_FOUND) {
            bool found = err == CKPT_OK;
            err = ckpt_policy_put_in(txn, found ? owner : CKPT_DIR_ROOT, found ? text : "", now_ns);
        }
    }
    free(text);
    return err;
}

static enum ckpt_err write_policy(struct ckpt_engine *engine, uint64_t dir, const char *text)
{
    struct ckpt_txn *txn = NULL;
    int64_t now_ns = ckpt_realtime_ns();
    enum ckpt_err err = ckpt_store_begin(engine->store, &txn);
    if (err == CKPT_OK) {
        err = text == NULL ? remove_in(engine, txn, dir, now_ns) : ckpt_policy_put_in(txn, dir, text, now_ns);
    }
    if (err != CKPT_OK) {
        ckpt_txn_abort(txn);
        return err;
    }
    return ckpt_store_commit(engine->store, txn);
}

static enum ckpt_err run_set_policy(struct ckpt_engine *engine, struct ckpt_command *command)
{
    struct call *call = call_of(command);
    uint64_t dir = CKPT_DIR_ROOT;
    enum ckpt_err err = ensure_dir(engine, command->path, &dir);
    if (err == CKPT_OK) {
        err = write_policy(engine, dir, call->text);
    }
    if (err == CKPT_ERR_NOT_FOUND && call->text == NULL) {
        ckpt_reportf(CKPT_REPORT(engine), CKPT_ERROR, "%s has no policy of its own",
                     command->path[0] == '\0' ? "the top directory" : command->path);
    }
    if (err == CKPT_OK) {
        /* What can't be judged now was told, and is tried again: the policy is there. */
        (void)!judge_all(engine, dir, false, &call->rotation);
    }
    return err;
}

enum ckpt_err ckpt_engine_set_policy(struct ckpt_engine *engine, const char *path, const char *text)
{
    struct call call = {.command.run = run_set_policy, .command.path = path, .text = text};
    struct ckpt_policy policy;
    struct ckpt_policy_error error;
    enum ckpt_err err = text == NULL ? CKPT_OK : ckpt_policy_parse(text, strlen(text), &policy, &error);
    if (err == CKPT_ERR_INVALID) {
        ckpt_reportf(CKPT_REPORT(engine), CKPT_ERROR, "the policy is not set: %s", error.text);
    }
    return err == CKPT_OK ? ckpt_command_submit(engine, &call.command) : err;
}
