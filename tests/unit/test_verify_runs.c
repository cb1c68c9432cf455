/*
 * Verify, of the tables of runs and checkpoints: each damage is found and told once, with the name of what is wrong, and
 * nothing else is told. The same store before and after is clean.
 *
 * The store: run (directory 7) with
 *
 *     checkpoint 1    epoch_1.pt@v1, last.pt@v1
 *     checkpoint 2    epoch_2.pt@v1, and last.pt@v1 as well
 *     checkpoint 3    dropped; it lists epoch_3.pt@v1, which is gone
 *
 * a process, and policies of the root and of run. A version of gone.pt was dropped and is still fresh.
 */
#include "run_samples.h"

#include "changed_rows.h"
#include "common/bytes.h"
#include <ckpt/verify.h>

enum { RUN = 7, KEY_ROOM = 320, REPORTS_MAX = 32, ID_1 = 0x7001, ID_2 = 0x7002 };

struct world {
    char dir[UNIT_PATH];
    struct ckpt_store *store;
    uint64_t process;
    struct ckpt_version file1; /* epoch_1.pt */
    struct unit_row *changed;
    char *reports[REPORTS_MAX];
    size_t report_count;
};

static void collect(void *arg, enum ckpt_level level, const char *text)
{
    struct world *w = arg;
    (void)level;
    assert_true(w->report_count < REPORTS_MAX);
    w->reports[w->report_count++] = strdup(text);
}

static void forget_reports(struct world *w)
{
    for (size_t i = 0; i < w->report_count; i++) {
        free(w->reports[i]);
    }
    w->report_count = 0;
}

static void fill(struct world *w)
{
    static const uint32_t one[] = {1};
    struct ckpt_txn *txn = NULL;
    sample_dir(w->store, RUN, CKPT_DIR_ROOT, "run");
    w->file1 = sample_version(w->store, RUN, "epoch_1.pt", 1000);
    struct ckpt_version last = sample_version(w->store, RUN, "last.pt", 1000);
    struct ckpt_version file2 = sample_version(w->store, RUN, "epoch_2.pt", 2000);
    struct ckpt_version gone = sample_version(w->store, RUN, "gone.pt", 3000);
    assert_int_equal(gone.number, 1);
    assert_ok(ckpt_catalog_drop(w->store, RUN, "gone.pt", one, 1));
    struct ckpt_checkpoint *c = sample_checkpoint(RUN, 1, 1);
    (void)sample_member_of(c, &w->file1);
    (void)sample_member_of(c, &last);
    sample_put(w->store, c);
    c = sample_checkpoint(RUN, 2, 3);
    (void)sample_member_of(c, &file2);
    (void)sample_member_of(c, &last);
    (void)sample_member_of(c, &last); /* saved once more without a change */
    sample_put(w->store, c);
    c = sample_checkpoint(RUN, 3, 4);
    (void)sample_member(c, RUN, "epoch_3.pt", 1);
    c->dropped = true;
    sample_put(w->store, c);
    sample_put_run(w->store, RUN, 4);
    assert_ok(ckpt_store_begin(w->store, &txn));
    assert_ok(ckpt_process_put_in(txn, "{\"pid\":42}", &w->process));
    assert_ok(ckpt_policy_put_in(txn, CKPT_DIR_ROOT, "keep last 3\n", 5));
    assert_ok(ckpt_policy_put_in(txn, RUN, "keep last 4\n", 5));
    assert_ok(ckpt_store_commit(w->store, txn));
}

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    struct ckpt_report report = {.fn = collect, .arg = w};
    unit_mkdir(w->dir);
    assert_ok(ckpt_store_create(w->dir, &report));
    assert_ok(ckpt_store_open(w->dir, CKPT_WRITE, NULL, &report, &w->store));
    fill(w);
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    ckpt_store_close(w->store);
    forget_reports(w);
    unit_rmdir(w->dir);
    free(w);
    return 0;
}

/* ---- damaging, with a memory of what was there ---- */

struct key {
    uint8_t bytes[KEY_ROOM];
    size_t size;
};

static struct key number_key(uint64_t number)
{
    struct key key = {.size = 8};
    ckpt_put_be64(key.bytes, number);
    return key;
}

static struct key checkpoint_key(uint64_t run, uint32_t number)
{
    struct key key = number_key(run);
    ckpt_put_be32(key.bytes + 8, number);
    key.size = 12;
    return key;
}

static struct key version_key(const char *name, uint32_t number)
{
    struct key key = number_key(RUN);
    memcpy(key.bytes + 8, name, strlen(name) + 1);
    key.size += strlen(name) + 1;
    ckpt_put_be32(key.bytes + key.size, number);
    key.size += 4;
    return key;
}

static struct key member_key(const char *name, uint32_t number, uint64_t run, uint32_t checkpoint)
{
    struct key key = version_key(name, number);
    struct key holder = checkpoint_key(run, checkpoint);
    memcpy(key.bytes + key.size, holder.bytes, holder.size);
    key.size += holder.size;
    return key;
}

/* Sets a row, or removes it (VALUE is NULL). */
static void set(struct world *w, enum ckpt_table table, struct key key, const void *value, size_t size)
{
    unit_row_set(&w->changed, w->store->db, table, key.bytes, key.size, value, size);
}

static void put_back(struct world *w)
{
    unit_row_undo(&w->changed, w->store->db);
}

/* Adds DIFFERENCE to the byte at AT (from the end when negative). */
static void change(struct world *w, enum ckpt_table table, struct key key, int at, int difference)
{
    struct ckpt_txn *txn = NULL;
    struct ckpt_slice value;
    assert_ok(ckpt_txn_read(w->store->db, &txn));
    assert_ok(ckpt_db_get(txn, table, key.bytes, key.size, &value));
    size_t size = value.size;
    uint8_t *row = malloc(size);
    assert_non_null(row);
    memcpy(row, value.data, size);
    ckpt_txn_abort(txn);
    size_t index = at < 0 ? size - (size_t)-at : (size_t)at;
    assert_true(index < size);
    row[index] = (uint8_t)(row[index] + difference);
    set(w, table, key, row, size);
    free(row);
}

/* ---- the damages ---- */

static void fresh_key(struct world *w)
{
    set(w, CKPT_TABLE_FRESH, (struct key){.bytes = "abc", .size = 3}, "x", 1);
}

static void fresh_row(struct world *w)
{
    change(w, CKPT_TABLE_FRESH, number_key(1), 12, '/' - 'e');
}

static void fresh_beyond(struct world *w)
{
    set(w, CKPT_TABLE_FRESH, number_key(77), "\7\0\0\0\0\0\0\0\1\0\0\0last.pt", 19);
    set(w, CKPT_TABLE_FRESH, number_key(78), "\7\0\0\0\0\0\0\0\1\0\0\0last.pt", 19);
}

static void run_magic(struct world *w)
{
    change(w, CKPT_TABLE_RUNS, number_key(RUN), 0, 1);
}

static void run_key(struct world *w)
{
    set(w, CKPT_TABLE_RUNS, (struct key){.bytes = "abc", .size = 3}, "x", 1);
}

static void run_gone(struct world *w)
{
    set(w, CKPT_TABLE_RUNS, number_key(RUN), NULL, 0);
}

static void next_number(struct world *w)
{
    change(w, CKPT_TABLE_RUNS, number_key(RUN), 8, -2);
}

static void checkpoint_magic(struct world *w)
{
    change(w, CKPT_TABLE_CHECKPOINTS, checkpoint_key(RUN, 1), 0, 1);
}

static void checkpoint_status(struct world *w)
{
    change(w, CKPT_TABLE_CHECKPOINTS, checkpoint_key(RUN, 1), 4, 5);
}

static void checkpoint_cut(struct world *w)
{
    set(w, CKPT_TABLE_CHECKPOINTS, checkpoint_key(RUN, 1), "CKP1", 4);
}

static void checkpoint_odd_key(struct world *w)
{
    set(w, CKPT_TABLE_CHECKPOINTS, number_key(RUN), "CKP1", 4);
}

static void checkpoint_gone(struct world *w)
{
    set(w, CKPT_TABLE_CHECKPOINTS, checkpoint_key(RUN, 1), NULL, 0);
}

static void checkpoint_id(struct world *w)
{
    change(w, CKPT_TABLE_CHECKPOINTS, checkpoint_key(RUN, 1), 12, 5);
}

static void checkpoint_dropped(struct world *w)
{
    change(w, CKPT_TABLE_CHECKPOINTS, checkpoint_key(RUN, 1), 7, 16);
}

static void version_gone(struct world *w)
{
    set(w, CKPT_TABLE_VERSIONS, version_key("epoch_1.pt", 1), NULL, 0);
}

/* As if it had been dropped by who knows nothing of checkpoints. */
static void version_dropped(struct world *w)
{
    struct key key = number_key(RUN);
    ckpt_put_be64(key.bytes + 8, w->file1.sequence);
    key.size = 16;
    version_gone(w);
    set(w, CKPT_TABLE_CAPTURES, key, NULL, 0);
}

static void version_damaged(struct world *w)
{
    change(w, CKPT_TABLE_VERSIONS, version_key("epoch_1.pt", 1), 0, 1);
}

static void member_gone(struct world *w)
{
    set(w, CKPT_TABLE_MEMBERS, member_key("epoch_1.pt", 1, RUN, 1), NULL, 0);
}

static void members_gone(struct world *w)
{
    member_gone(w);
    set(w, CKPT_TABLE_MEMBERS, member_key("last.pt", 1, RUN, 1), NULL, 0);
}

static void member_of_nothing(struct world *w)
{
    set(w, CKPT_TABLE_MEMBERS, member_key("last.pt", 1, RUN, 77), "", 0);
    set(w, CKPT_TABLE_MEMBERS, member_key("epoch_1.pt", 1, RUN, 77), "", 0);
}

static void member_not_listed(struct world *w)
{
    set(w, CKPT_TABLE_MEMBERS, member_key("epoch_2.pt", 1, RUN, 1), "", 0);
}

/* One of its versions is listed twice, which stands for one row. */
static void member_beside_one_listed_twice(struct world *w)
{
    set(w, CKPT_TABLE_MEMBERS, member_key("epoch_1.pt", 1, RUN, 2), "", 0);
}

static void member_of_a_dropped_one(struct world *w)
{
    set(w, CKPT_TABLE_MEMBERS, member_key("last.pt", 1, RUN, 3), "", 0);
}

static void member_with_a_value(struct world *w)
{
    set(w, CKPT_TABLE_MEMBERS, member_key("other.pt", 1, RUN, 1), "x", 1);
}

static void member_odd_key(struct world *w)
{
    set(w, CKPT_TABLE_MEMBERS, number_key(RUN), "", 0);
}

static void id_gone(struct world *w)
{
    set(w, CKPT_TABLE_IDS, number_key(ID_1), NULL, 0);
}

static void id_leads(struct world *w, uint64_t id, uint64_t run, uint32_t number)
{
    uint8_t row[12];
    ckpt_put_le64(row, run);
    ckpt_put_le32(row + 8, number);
    set(w, CKPT_TABLE_IDS, number_key(id), row, sizeof row);
}

static void id_of_another(struct world *w)
{
    id_leads(w, ID_1, RUN, 2);
}

static void id_of_nothing(struct world *w)
{
    id_leads(w, ID_1, RUN, 77);
}

static void id_of_no_run(struct world *w)
{
    id_leads(w, 0x99, 0, 1);
}

static void id_too_many(struct world *w)
{
    id_leads(w, 0x99, RUN, 2);
}

static void id_short(struct world *w)
{
    set(w, CKPT_TABLE_IDS, number_key(ID_1), "x", 1);
}

static void process_text(struct world *w)
{
    change(w, CKPT_TABLE_PROCESSES, number_key(w->process), 3, 1);
}

static void process_key(struct world *w)
{
    set(w, CKPT_TABLE_PROCESSES, (struct key){.bytes = "abc", .size = 3}, "{}", 2);
}

static void policy_text(struct world *w)
{
    change(w, CKPT_TABLE_POLICIES, number_key(RUN), 8, 1);
}

static void policy_short(struct world *w)
{
    set(w, CKPT_TABLE_POLICIES, number_key(RUN), "1234567", 7);
}

static void policy_of_nothing(struct world *w)
{
    set(w, CKPT_TABLE_POLICIES, number_key(0x99), "12345678", 8);
}

/* Its files tell, so its policy needn't. */
static void dir_gone(struct world *w)
{
    set(w, CKPT_TABLE_DIRS, number_key(RUN), NULL, 0);
}

enum { EXPECTED_MAX = 4 };

static const struct damage {
    const char *name;
    void (*damage)(struct world *w);
    const char *reports[EXPECTED_MAX]; /* each is part of one; there are no others */
} damages[] = {
    {"an odd key of fresh", fresh_key, {"fresh: a row of 1 bytes with a key of 3 is damaged"}},
    {"a fresh name", fresh_row, {"fresh: a row of 22 bytes with a key of 8 is damaged"}},
    {"fresh captures of the future",
     fresh_beyond,
     {"meta: the last capture is 4, and run/last.pt@v1 was captured as 77"}},
    {"a run's magic", run_magic, {"runs: the row of run run is damaged"}},
    {"an odd key of a run", run_key, {"runs: a row of 1 bytes with a key of 3 is damaged"}},
    {"a run's row", run_gone, {"run run has checkpoints and no row in runs"}},
    {"a run's next number",
     next_number,
     {"run run: its next checkpoint would get number 2, and there is one with number 2"}},
    {"a checkpoint's magic", checkpoint_magic, {"checkpoints: the row of checkpoint 1 of run run is damaged"}},
    {"a checkpoint's status", checkpoint_status, {"checkpoints: the row of checkpoint 1 of run run is damaged"}},
    {"a checkpoint's row cut", checkpoint_cut, {"checkpoints: the row of checkpoint 1 of run run is damaged"}},
    {"an odd key of a checkpoint", checkpoint_odd_key, {"checkpoints: a row of 4 bytes with a key of 8 is damaged"}},
    {"a checkpoint gone",
     checkpoint_gone,
     {"the id 0000000000007001 leads to checkpoint 1 of run run, which isn't there"}},
    {"a checkpoint's id",
     checkpoint_id,
     {"the id 0000000000007001 leads to checkpoint 0000000000007006 (run/epoch_1.pt)"}},
    {"a checkpoint said to be dropped",
     checkpoint_dropped,
     {"members: 2 versions lead to checkpoint 0000000000007001 (run/epoch_1.pt), which was dropped"}},
    {"a version gone",
     version_gone,
     {"captures: capture 1 is said to be epoch_1.pt@v1, which isn't there", "meta: the counters say",
      "references booked and 1 found"}},
    {"a version dropped behind its checkpoint",
     version_dropped,
     {"checkpoint 0000000000007001 (run/epoch_1.pt): 1 of its 2 files are in no version, the first is "
      "run/epoch_1.pt@v1",
      "meta: the counters say", "references booked and 1 found"}},
    {"a version's row", version_damaged, {"versions: a row "}},
    {"a member's row",
     member_gone,
     {"checkpoint 0000000000007001 (run/epoch_1.pt): 1 of its 2 files have no row in members, the first is "
      "run/epoch_1.pt@v1"}},
    {"all of its members' rows",
     members_gone,
     {"checkpoint 0000000000007001 (run/epoch_1.pt): 2 of its 2 files have no row in members, the first is "
      "run/epoch_1.pt@v1"}},
    {"members of no checkpoint",
     member_of_nothing,
     {"members: run/epoch_1.pt@v1 leads to checkpoint 77 of run run, which isn't there"}},
    {"a member that isn't listed",
     member_not_listed,
     {"members: 1 versions lead to checkpoint 0000000000007001 (run/epoch_1.pt), which doesn't list them"}},
    {"a member that isn't listed, beside one that is twice",
     member_beside_one_listed_twice,
     {"members: 1 versions lead to checkpoint 0000000000007002 (run/epoch_2.pt), which doesn't list them"}},
    {"a member of a dropped one",
     member_of_a_dropped_one,
     {"members: 1 versions lead to checkpoint 0000000000007003 (run/epoch_3.pt), which was dropped"}},
    {"a member's row with a value", member_with_a_value, {"members: a row of 1 bytes with a key of 33 is damaged"}},
    {"an odd key of a member", member_odd_key, {"members: a row of 0 bytes with a key of 8 is damaged"}},
    {"an id gone", id_gone, {"checkpoint 0000000000007001 (run/epoch_1.pt) has no row in ids"}},
    {"an id that leads to another one",
     id_of_another,
     {"the id 0000000000007001 leads to checkpoint 0000000000007002 (run/epoch_2.pt)"}},
    {"an id that leads to nothing",
     id_of_nothing,
     {"the id 0000000000007001 leads to checkpoint 77 of run run, which isn't there"}},
    {"an id in a directory that is no run",
     id_of_no_run,
     {"the id 0000000000000099 leads to checkpoint 1 of run /, which isn't there"}},
    {"a second id", id_too_many, {"the id 0000000000000099 leads to checkpoint 0000000000007002 (run/epoch_2.pt)"}},
    {"an id's row cut", id_short, {"ids: a row of 1 bytes with a key of 8 is damaged"}},
    {"a process' text", process_text, {"processes: what is known of process "}},
    {"an odd key of a process", process_key, {"processes: a row of 2 bytes with a key of 3 is damaged"}},
    {"a policy's text", policy_text, {"policies: the policy of run can't be read: "}},
    {"a policy cut", policy_short, {"policies: a row of 7 bytes with a key of 8 is damaged"}},
    {"a policy of no directory",
     policy_of_nothing,
     {"directory 0000000000000099, which a policy and perhaps others belong to, has no row"}},
    {"a run's directory",
     dir_gone,
     {"directory 0000000000000007, which epoch_1.pt and perhaps others belong to, has no row",
      "the name \"run\" leads to directory 0000000000000007, which has no row"}},
};

/* ---- */

static uint64_t verify(struct world *w)
{
    struct ckpt_verify_result result;
    forget_reports(w);
    assert_ok(ckpt_verify(w->store, true, NULL, NULL, &result));
    return result.problems;
}

static void assert_clean(struct world *w, const char *when)
{
    if (verify(w) > 0) {
        fail_msg("%s: %s", when, w->reports[0]);
    }
    assert_int_equal(w->report_count, 0);
}

static bool is_reported(const struct world *w, const char *text)
{
    for (size_t i = 0; i < w->report_count; i++) {
        if (strstr(w->reports[i], text) != NULL) {
            return true;
        }
    }
    return false;
}

static void every_damage_is_told_once(void **state)
{
    struct world *w = *state;
    bool failed = false;
    assert_clean(w, "at first");
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        const struct damage *d = &damages[i];
        uint64_t expected = 0;
        bool good = true;
        d->damage(w);
        uint64_t problems = verify(w);
        for (size_t r = 0; r < EXPECTED_MAX && d->reports[r] != NULL; r++) {
            expected++;
            good = good && is_reported(w, d->reports[r]);
        }
        if (!good || problems != expected) {
            print_error("%s: expected \"%s\"%s\n", d->name, d->reports[0], expected > 1 ? " and more" : "");
            for (size_t r = 0; r < w->report_count; r++) {
                print_error("    %s\n", w->reports[r]);
            }
            failed = true;
        }
        put_back(w);
        assert_clean(w, d->name);
    }
    assert_false(failed);
}

/* More than are remembered one by one. */
static void many_rows_that_lead_to_nothing(void **state)
{
    enum { MANY = 200 };
    struct world *w = *state;
    for (uint32_t i = 0; i < MANY; i++) {
        id_leads(w, 0x5000 + i, RUN, 1000 + i);
    }
    struct ckpt_verify_result result;
    ckpt_store_close(w->store);
    assert_ok(ckpt_store_open(w->dir, CKPT_WRITE, NULL, NULL, &w->store)); /* says nothing */
    assert_ok(ckpt_verify(w->store, true, NULL, NULL, &result));
    assert_int_equal(result.problems, MANY);
    put_back(w);
}

/* A version that a user forgets leaves nothing to complain about, in any order. */
static void forgetting_leaves_a_clean_store(void **state)
{
    static const uint32_t one[] = {1};
    static const char *const names[] = {"last.pt", "epoch_1.pt", "epoch_2.pt"};
    struct world *w = *state;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_ok(ckpt_catalog_drop(w->store, RUN, names[i], one, 1));
        assert_clean(w, names[i]);
    }
    assert_int_equal(sample_rows(w->store, CKPT_TABLE_MEMBERS), 0);
    assert_int_equal(sample_rows(w->store, CKPT_TABLE_CHECKPOINTS), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_damage_is_told_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_rows_that_lead_to_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(forgetting_leaves_a_clean_store, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
