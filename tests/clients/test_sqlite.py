"""SQLite: locks, shared memory (the -shm file of a WAL database is mapped by every process), recovery."""
import os
import signal
import sqlite3
import subprocess
import sys

from client import ClientCase, programs, run
from mounted import Child, MiB, main, read

programs("sqlite3")

WRITERS, BATCHES, ROWS = 4, 10, 20


def connect(path, journal=None, **options):
    connection = sqlite3.connect(path, timeout=120, isolation_level=None, **options)
    if journal:
        found = connection.execute(f"PRAGMA journal_mode={journal}").fetchone()[0]
        if found != journal:
            raise AssertionError(f"journal mode is {found}, not {journal}")
    return connection


def write_batches(path, writer):
    """Transactions of ROWS rows each; every second one on a connection of its own."""
    connection = connect(path)
    for batch in range(BATCHES):
        if batch % 2:
            connection.close()
            connection = connect(path)
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO trials VALUES (?, ?, ?, randomblob(1500))",
                               [(writer, batch, row) for row in range(ROWS)])
        connection.execute("COMMIT")
    connection.close()


def read_batches(path, until):
    """What another process sees at any time is whole batches, and never fewer than before."""
    connection, seen = connect(path), 0
    while seen < until:
        counts = connection.execute("SELECT count(*) FROM trials GROUP BY writer, batch").fetchall()
        total = sum(count for count, in counts)
        if any(count != ROWS for count, in counts) or total < seen:
            raise AssertionError(f"a reader saw {counts} after {seen} rows")
        seen = total
    connection.close()
    return seen


class Database(ClientCase):
    """Every close of a connection is captured, so the file is pending nearly all of the time."""

    options = {"capture": "default:*.db"}

    def setUp(self):
        super().setUp()
        self.db = self.path("study.db")

    def create(self, journal="wal", path=None):
        with connect(path or self.db, journal) as connection:
            connection.execute("CREATE TABLE trials (writer, batch, row, params BLOB)")
        connection.close()

    def check(self, path, rows=WRITERS * BATCHES * ROWS):
        connection = connect(path)
        self.assertEqual(connection.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
        self.assertEqual(connection.execute("SELECT count(*) FROM trials").fetchone(), (rows,))
        connection.close()

    def check_version(self, rows=WRITERS * BATCHES * ROWS):
        """The newest version is a database with everything in it, without the help of a WAL."""
        with open(self.outside("restored.db"), "wb") as file:
            file.write(self.newest(self.db))
        self.check(self.outside("restored.db"), rows)

    def many_processes(self):
        total = WRITERS * BATCHES * ROWS
        children = [Child(write_batches, self.db, writer) for writer in range(WRITERS)]
        children += [Child(read_batches, self.db, total) for _ in range(2)]
        for child in children:
            child.result(timeout=240)

    def test_wal_with_many_processes(self):
        self.create()
        self.many_processes()
        self.check(self.db)
        connection = connect(self.db)
        self.assertEqual(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone(), (0, 0, 0))
        connection.close()
        self.assertEqual(sorted(name for name in os.listdir(self.dir) if name.startswith("study")), ["study.db"])
        self.assert_newest(self.db)
        self.check_version()

    def test_rollback_journal_with_many_processes(self):
        self.create("delete")
        self.many_processes()
        self.check(self.db)
        self.assert_newest(self.db)
        self.check_version()

    def test_shared_memory_between_processes(self):
        """A long reader keeps its snapshot, a new one sees the commit: that is what the -shm file is for."""
        self.create()
        first, second = connect(self.db), connect(self.db)
        first.execute("BEGIN")
        self.assertEqual(first.execute("SELECT count(*) FROM trials").fetchone(), (0,))
        for name in ("study.db-wal", "study.db-shm"):
            self.assertTrue(os.path.exists(self.path(name)), name)
        Child(write_batches, self.db, 0).result(timeout=120)
        self.assertEqual(first.execute("SELECT count(*) FROM trials").fetchone(), (0,))
        self.assertEqual(second.execute("SELECT count(*) FROM trials").fetchone(), (BATCHES * ROWS,))
        first.execute("COMMIT")
        self.assertEqual(first.execute("SELECT count(*) FROM trials").fetchone(), (BATCHES * ROWS,))
        first.close()
        second.close()
        self.check_version(BATCHES * ROWS)

    def test_mapped_database(self):
        self.create()
        connection = connect(self.db)
        connection.execute(f"PRAGMA mmap_size={64 * MiB}")
        for batch in range(5):
            connection.execute("INSERT INTO trials SELECT 1, ?, value, randomblob(4000) FROM "
                               "(WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n LIMIT 100) "
                               "SELECT value FROM n)", (batch,))
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            self.assertEqual(connection.execute("SELECT sum(length(params)) FROM trials").fetchone(),
                             ((batch + 1) * 400_000,))
        connection.close()
        self.check(self.db, 500)
        self.check_version(500)

    def killed_writer(self):
        """A process that dies with committed rows in the WAL only, and others not committed."""
        code = ("import os, signal, sqlite3, sys\n"
                "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
                "c.execute('PRAGMA wal_autocheckpoint=0')\n"
                "c.executemany('INSERT INTO trials VALUES (9, 0, ?, randomblob(500))', [(n,) for n in range(30)])\n"
                "c.execute('PRAGMA cache_size=5')\n"
                "c.execute('BEGIN IMMEDIATE')\n"
                "c.executemany('INSERT INTO trials VALUES (9, 1, ?, randomblob(5000))', [(n,) for n in range(300)])\n"
                "os.kill(os.getpid(), signal.SIGKILL)\n")
        killed = subprocess.run([sys.executable, "-c", code, self.db], timeout=120)
        self.assertEqual(killed.returncode, -signal.SIGKILL)
        self.assertGreater(os.stat(self.db + "-wal").st_size, 0)

    def test_recovery_after_a_killed_writer(self):
        self.create()
        self.killed_writer()
        self.check(self.db, 30)
        self.check_version(30)

    def test_recovery_beside_a_reader(self):
        self.create()
        reader = connect(self.db)
        self.assertEqual(reader.execute("SELECT count(*) FROM trials").fetchone(), (0,))
        self.killed_writer()
        self.assertEqual(reader.execute("SELECT count(*) FROM trials").fetchone(), (30,))
        Child(write_batches, self.db, 0).result(timeout=120)
        self.assertEqual(reader.execute("SELECT count(*) FROM trials").fetchone(), (30 + BATCHES * ROWS,))
        reader.close()
        self.check_version(30 + BATCHES * ROWS)

    def test_recovery_after_a_restart_of_the_mount(self):
        self.create()
        self.killed_writer()
        self.mount.restart()
        self.check(self.db, 30)

    def test_cold_database(self):
        self.create("delete")
        Child(write_batches, self.db, 0).result(timeout=120)
        before = read(self.db)
        self.mount.demote(self.db)
        rows = run("sqlite3", "-readonly", self.db, "SELECT count(*) FROM trials; PRAGMA integrity_check;")
        self.assertEqual(rows.split(), [str(BATCHES * ROWS), "ok"])
        self.assertTrue(self.mount.is_cold(self.db), "reading made it hot")
        first = self.mount.kept(self.db)[-1]
        Child(write_batches, self.db, 1).result(timeout=120)
        self.check(self.db, 2 * BATCHES * ROWS)
        self.check_version(2 * BATCHES * ROWS)
        self.same(self.mount.restored(self.db, first), before)

    def test_the_program(self):
        """Backup, VACUUM, dump and reload."""
        self.create()
        Child(write_batches, self.db, 0).result(timeout=120)
        run("sqlite3", self.db, f".backup {self.path('backup.db')}", f"VACUUM INTO '{self.path('packed.db')}'",
            "DELETE FROM trials WHERE batch >= 5", "VACUUM")
        self.check(self.db, 5 * ROWS)
        for name in ("backup.db", "packed.db"):
            self.check(self.path(name), BATCHES * ROWS)
            self.assert_newest(self.path(name))
        run("sqlite3", self.path("again.db"), text=run("sqlite3", self.db, ".dump"))
        self.check(self.path("again.db"), 5 * ROWS)
        self.check_version(5 * ROWS)


if __name__ == "__main__":
    main()
