/*
 * The store directory: what is made, and what is refused with the name of what was found. A store
 * whose parts are damaged, newer, lost or another's never opens.
 */
#include "unit.h"

#include "common/bytes.h"
#include "object/db.h"
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <sys/stat.h>
#include <sys/xattr.h>

enum { FILE_MAX = 4096, FORMAT_ROOM = 512 };

/* A closed store, its directory and a report of what is said about it. */
struct world {
    struct unit_store u;
    char other[UNIT_PATH]; /* a second one */
};

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    assert_int_equal(pthread_mutex_init(&w->u.lock, NULL), 0);
    unit_mkdir(w->u.dir);
    unit_mkdir(w->other);
    assert_ok(ckpt_store_create(w->u.dir, NULL));
    assert_ok(ckpt_store_create(w->other, NULL));
    *state = w;
    return 0;
}

static int tear_down(void **state)
{
    struct world *w = *state;
    unit_rmdir(w->u.dir);
    unit_rmdir(w->other);
    assert_int_equal(pthread_mutex_destroy(&w->u.lock), 0);
    free(w);
    return 0;
}

static const char *path_of(struct world *w, const char *name)
{
    static char path[2 * UNIT_PATH];
    (void)snprintf(path, sizeof path, "%s/%s", w->u.dir, name);
    return path;
}

static size_t read_file(const char *path, char *bytes, size_t room)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t n = fread(bytes, 1, room, file);
    assert_int_equal(fclose(file), 0);
    return n;
}

static void write_file(const char *path, const char *bytes, size_t n)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

static enum ckpt_err open_store(struct world *w, enum ckpt_access access)
{
    struct ckpt_report report = {.fn = unit_report, .arg = &w->u};
    struct ckpt_store *store = NULL;
    w->u.text[0] = '\0';
    w->u.reports = 0;
    enum ckpt_err err = ckpt_store_open(w->u.dir, access, "a test", &report, &store);
    assert_true((err == CKPT_OK) == (store != NULL));
    ckpt_store_close(store);
    return err;
}

/* Refused for readers and for writers, in one sentence that contains TEXT. */
static void assert_refused(struct world *w, const char *what, enum ckpt_err expected,
                           const char *text)
{
    for (int access = CKPT_READ; access <= CKPT_WRITE; access++) {
        enum ckpt_err err = open_store(w, (enum ckpt_access)access);
        if (err != expected || strstr(w->u.text, text) == NULL ||
            strstr(w->u.text, w->u.dir) == NULL || w->u.reports != 1) {
            print_error("%s: %s, %u reports, \"%s\"\n", what, ckpt_err_text(err), w->u.reports,
                        w->u.text);
            fail();
        }
    }
}

static void assert_opens(struct world *w)
{
    assert_ok(open_store(w, CKPT_READ));
    assert_ok(open_store(w, CKPT_WRITE));
    assert_int_equal(w->u.reports, 0);
}

/* ---- FORMAT ---- */

static void test_format_is_as_documented(void **state)
{
    struct world *w = *state;
    char text[FORMAT_ROOM] = "";
    char id[33];
    char seed[17];
    char created[21];
    char check[17];
    size_t n = read_file(path_of(w, "FORMAT"), text, sizeof text - 1);
    assert_int_equal(sscanf(text,
                            "ckptfs store\nformat 3\nid %32[0-9a-f]\nseed %16[0-9a-f]\ncreated "
                            "%20s\ncheck %16[0-9a-f]\n",
                            id, seed, created, check),
                     4);
    char again[FORMAT_ROOM];
    int length =
        snprintf(again, sizeof again, "ckptfs store\nformat 3\nid %s\nseed %s\ncreated %s\n", id,
                 seed, created);
    uint64_t sum = ckpt_checksum(0, again, (size_t)length);
    length += snprintf(again + length, sizeof again - (size_t)length, "check %016llx\n",
                       (unsigned long long)sum);
    assert_int_equal(n, length);
    assert_memory_equal(text, again, n);
    char mark[64] = "";
    assert_int_equal(getxattr(path_of(w, "live"), "user.ckptfs.store", mark, sizeof mark), 32);
    assert_string_equal(mark, id);
    assert_opens(w);
}

static void test_any_changed_byte_of_format_is_damage(void **state)
{
    struct world *w = *state;
    char text[FORMAT_ROOM];
    size_t n = read_file(path_of(w, "FORMAT"), text, sizeof text);
    for (size_t i = 0; i < n; i++) {
        text[i] ^= 2; /* the format becomes 1, which is older */
        write_file(path_of(w, "FORMAT"), text, n);
        text[i] ^= 2;
        assert_refused(w, "a changed byte", CKPT_ERR_CORRUPT, "/FORMAT: the file is damaged");
    }
    for (size_t i = 0; i < n; i++) {
        write_file(path_of(w, "FORMAT"), text, i);
        assert_refused(w, "a shorter file", CKPT_ERR_CORRUPT, "/FORMAT: the file is damaged");
    }
    text[n] = '\n';
    write_file(path_of(w, "FORMAT"), text, n + 1);
    assert_refused(w, "a longer file", CKPT_ERR_CORRUPT, "/FORMAT: the file is damaged");
    write_file(path_of(w, "FORMAT"), text, n);
    assert_opens(w);
}

static void test_formats_of_others(void **state)
{
    static const struct {
        const char *what;
        const char *text;
        enum ckpt_err err;
        const char *report;
    } cases[] = {
        {"the next format", "ckptfs store\nformat 4\n", CKPT_ERR_FORMAT,
         "newer format than this program reads (up to 3)"},
        {"a much later one", "ckptfs store\nformat 4711\nwho knows what\n", CKPT_ERR_FORMAT,
         "newer format"},
        {"no number", "ckptfs store\nformat x\n", CKPT_ERR_CORRUPT, "the file is damaged"},
        {"number zero", "ckptfs store\nformat 0\n", CKPT_ERR_CORRUPT, "the file is damaged"},
        {"a negative one", "ckptfs store\nformat -2\n", CKPT_ERR_CORRUPT, "the file is damaged"},
        {"more behind the number", "ckptfs store\nformat 3a\n", CKPT_ERR_CORRUPT,
         "the file is damaged"},
        {"this format and nothing else", "ckptfs store\nformat 3\n", CKPT_ERR_CORRUPT,
         "the file is damaged"},
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_file(path_of(w, "FORMAT"), cases[i].text, strlen(cases[i].text));
        assert_refused(w, cases[i].what, cases[i].err, cases[i].report);
    }
}

/* ---- directories that are no stores ---- */

static void test_what_is_no_store(void **state)
{
    struct world *w = *state;
    unit_rmdir(w->u.dir);
    assert_refused(w, "nothing there", CKPT_ERR_NOT_STORE, "the store directory can't be opened");
    assert_int_equal(mkdir(w->u.dir, 0700), 0);
    assert_refused(w, "an empty directory", CKPT_ERR_NOT_STORE,
                   "not a ckptfs store (no FORMAT file); create one with: ckpt init");
    write_file(path_of(w, "train.py"), "x", 1);
    assert_refused(w, "another directory", CKPT_ERR_NOT_STORE,
                   "not a ckptfs store (no FORMAT file)");
    write_file(path_of(w, "FORMAT"), "GIF89a", 6);
    assert_refused(w, "another FORMAT", CKPT_ERR_NOT_STORE, "its FORMAT file is something else");
}

static void test_where_a_store_is_made(void **state)
{
    struct world *w = *state;
    struct ckpt_report report = {.fn = unit_report, .arg = &w->u};
    assert_int_equal(ckpt_store_create(w->u.dir, &report), CKPT_ERR_EXISTS);
    assert_non_null(strstr(w->u.text, "there is a ckptfs store already"));
    assert_opens(w);
    unit_rmdir(w->u.dir);
    assert_ok(ckpt_store_create(w->u.dir, &report)); /* makes the directory */
    assert_opens(w);
    unit_rmdir(w->u.dir);
    assert_int_equal(mkdir(w->u.dir, 0700), 0);
    assert_ok(ckpt_store_create(w->u.dir, &report)); /* an empty one */
    assert_opens(w);
    unit_rmdir(w->u.dir);
    assert_int_equal(mkdir(w->u.dir, 0700), 0);
    write_file(path_of(w, "train.py"), "x", 1);
    assert_int_equal(ckpt_store_create(w->u.dir, &report), CKPT_ERR_EXISTS);
    assert_non_null(strstr(w->u.text, "the directory isn't empty (it has \"train.py\")"));
    assert_int_equal(access(path_of(w, "train.py"), F_OK), 0);
    assert_int_equal(access(path_of(w, "db"), F_OK), -1);
    char deep[2 * UNIT_PATH];
    (void)snprintf(deep, sizeof deep, "%s/no/such", w->u.dir);
    assert_int_equal(ckpt_store_create(deep, &report), CKPT_ERR_NOT_FOUND);
    assert_non_null(strstr(w->u.text, "can't be created"));
}

/* ---- the database ---- */

static void test_a_lost_or_cut_database(void **state)
{
    struct world *w = *state;
    char file[2 * UNIT_PATH];
    struct stat st;
    (void)snprintf(file, sizeof file, "%s", path_of(w, "db/data.mdb"));
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(truncate(file, 4 * 4096), 0);
    assert_refused(w, "cut", CKPT_ERR_CORRUPT,
                   "the database is truncated: it has 16384 bytes and needs ");
    assert_int_equal(truncate(file, 0), 0);
    assert_refused(w, "empty", CKPT_ERR_CORRUPT, "the database is truncated: it has 0 bytes");
    char noise[FILE_MAX];
    memset(noise, 'x', sizeof noise);
    write_file(file, noise, sizeof noise);
    assert_int_equal(truncate(file, st.st_size), 0);
    assert_refused(w, "something else", CKPT_ERR_CORRUPT, "the database can't be opened");
    assert_int_equal(unlink(file), 0);
    assert_refused(w, "gone", CKPT_ERR_CORRUPT,
                   "the database can't be opened: No such file or directory; put back");
    assert_int_equal(access(file, F_OK), -1); /* and no new one was made */
}

static void test_the_database_of_another_store(void **state)
{
    struct world *w = *state;
    char theirs[2 * UNIT_PATH];
    (void)snprintf(theirs, sizeof theirs, "%s/db/data.mdb", w->other);
    assert_int_equal(rename(theirs, path_of(w, "db/data.mdb")), 0);
    assert_refused(w, "exchanged", CKPT_ERR_CORRUPT, "the database isn't that of this store");
    write_file(theirs, "", 0);
}

static void set_meta(struct world *w, const char *key, const void *value, size_t size)
{
    struct ckpt_store *store = NULL;
    struct ckpt_txn *txn = NULL;
    assert_ok(ckpt_store_open(w->u.dir, CKPT_WRITE, NULL, NULL, &store));
    assert_ok(ckpt_txn_write(store->db, &txn));
    if (value != NULL) {
        assert_ok(ckpt_db_put(txn, CKPT_TABLE_META, key, strlen(key), value, size));
    } else {
        assert_ok(ckpt_db_del(txn, CKPT_TABLE_META, key, strlen(key)));
    }
    assert_ok(ckpt_txn_commit(txn));
    ckpt_store_close(store);
}

static void test_the_format_of_the_database(void **state)
{
    static const struct {
        const char *what;
        const char *key;
        const char *value;
        size_t size;
        enum ckpt_err err;
        const char *report;
    } cases[] = {
        {"a newer one", "format", "\x04\0\0\0", 4, CKPT_ERR_FORMAT,
         "/db: the database has a newer format"},
        {"none", "format", NULL, 0, CKPT_ERR_CORRUPT, "the database isn't that of this store"},
        {"zero", "format", "\0\0\0\0", 4, CKPT_ERR_CORRUPT,
         "the database isn't that of this store"},
        {"a shorter one", "format", "\x03", 1, CKPT_ERR_CORRUPT,
         "the database isn't that of this store"},
        {"no id", "store", NULL, 0, CKPT_ERR_CORRUPT, "the database isn't that of this store"},
        {"another id", "store", "0123456789abcdef", 16, CKPT_ERR_CORRUPT,
         "the database isn't that of this store"},
    };
    struct world *w = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        set_meta(w, cases[i].key, cases[i].value, cases[i].size);
        assert_refused(w, cases[i].what, cases[i].err, cases[i].report);
        unit_rmdir(w->u.dir);
        assert_ok(ckpt_store_create(w->u.dir, NULL));
    }
}

static void test_a_table_is_missing(void **state)
{
    struct world *w = *state;
    MDB_env *env = NULL;
    MDB_txn *txn = NULL;
    MDB_dbi table;
    assert_int_equal(mdb_env_create(&env), 0);
    assert_int_equal(mdb_env_set_maxdbs(env, CKPT_TABLES), 0);
    assert_int_equal(mdb_env_open(env, path_of(w, "db"), 0, 0600), 0);
    assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
    assert_int_equal(mdb_dbi_open(txn, "versions", 0, &table), 0);
    assert_int_equal(mdb_drop(txn, table, 1), 0);
    assert_int_equal(mdb_txn_commit(txn), 0);
    mdb_env_close(env);
    assert_int_equal(open_store(w, CKPT_READ), CKPT_ERR_CORRUPT);
    assert_non_null(strstr(w->u.text, "the database lacks a table"));
}

/* ---- live/ and its neighbours ---- */

static void test_a_copy_without_attributes(void **state)
{
    static const char attribute[] = "user.ckptfs.store";
    struct world *w = *state;
    char mark[33] = "";
    const char *live = path_of(w, "live");
    assert_int_equal(getxattr(live, attribute, mark, 32), 32);
    assert_int_equal(removexattr(live, attribute), 0);
    assert_refused(w, "lost", CKPT_ERR_CORRUPT,
                   "/live: the directory lost its extended attributes");
    assert_non_null(strstr(w->u.text, "rsync -aHSX"));
    mark[0] = mark[0] == '0' ? '1' : '0';
    assert_int_equal(setxattr(path_of(w, "live"), attribute, mark, 32, 0), 0);
    assert_refused(w, "another's", CKPT_ERR_CORRUPT,
                   "/live: the directory belongs to another store");
    assert_int_equal(setxattr(path_of(w, "live"), attribute, mark, 31, 0), 0);
    assert_refused(w, "shorter", CKPT_ERR_CORRUPT, "/live: the directory belongs to another store");
}

/* A copy may have left out what was empty. */
static void test_directories_that_are_missing(void **state)
{
    struct world *w = *state;
    assert_int_equal(rmdir(path_of(w, "pending")), 0);
    assert_int_equal(rmdir(path_of(w, "tmp")), 0);
    assert_ok(open_store(w, CKPT_READ));
    assert_int_equal(access(path_of(w, "pending"), F_OK), -1); /* a reader changes nothing */
    assert_ok(open_store(w, CKPT_WRITE));
    assert_int_equal(access(path_of(w, "pending"), F_OK), 0);
    assert_int_equal(access(path_of(w, "tmp"), F_OK), 0);
    assert_int_equal(rmdir(path_of(w, "live")), 0);
    assert_refused(w, "no live/", CKPT_ERR_CORRUPT, "/live: can't be opened");
}

/* ---- the lock, and stopping ---- */

static void test_one_writer_who_is_named(void **state)
{
    struct world *w = *state;
    struct ckpt_store *store = NULL;
    char holder[64] = "unset";
    assert_int_equal(ckpt_store_holder(w->u.dir, holder, sizeof holder), 0);
    assert_ok(
        ckpt_store_open(w->u.dir, CKPT_WRITE, "ckptfs on /mnt/x, pid 17\nmore", NULL, &store));
    assert_int_equal(open_store(w, CKPT_WRITE), CKPT_ERR_BUSY);
    assert_non_null(
        strstr(w->u.text, "the store is in use by ckptfs on /mnt/x, pid 17; unmount it"));
    assert_int_equal(ckpt_store_holder(w->u.dir, holder, sizeof holder), 1);
    assert_string_equal(holder, "ckptfs on /mnt/x, pid 17");
    ckpt_store_close(store);
    assert_int_equal(ckpt_store_holder(w->u.dir, holder, sizeof holder), 0);
    assert_opens(w);
}

static void test_a_stopped_store_takes_no_change(void **state)
{
    struct world *w = *state;
    struct ckpt_report report = {.fn = unit_report, .arg = &w->u};
    struct ckpt_store *store = NULL;
    struct ckpt_txn *txn = NULL;
    struct ckpt_counters counters;
    assert_ok(ckpt_store_open(w->u.dir, CKPT_WRITE, NULL, &report, &store));
    assert_false(ckpt_store_stopped(store));
    ckpt_store_stop(store, "the test says so");
    ckpt_store_stop(store, "it says so again");
    assert_int_equal(w->u.reports, 1);
    assert_non_null(strstr(w->u.text, "accepts no more changes: the test says so"));
    assert_true(ckpt_store_stopped(store));
    assert_int_equal(ckpt_store_begin(store, &txn), CKPT_ERR_STOPPED);
    assert_ok(ckpt_store_counters(store, &counters));
    ckpt_store_close(store);
    assert_opens(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_format_is_as_documented, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_any_changed_byte_of_format_is_damage, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(test_formats_of_others, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_no_store, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_where_a_store_is_made, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_lost_or_cut_database, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_database_of_another_store, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_the_format_of_the_database, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_table_is_missing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_copy_without_attributes, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_directories_that_are_missing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_one_writer_who_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_stopped_store_takes_no_change, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
