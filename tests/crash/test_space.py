"""What the store costs on the host: equal content, an insertion, and what is left after forgetting. Sizes, no times."""
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from mounted import MiB, Mount, data, main, remove, scratch, sha, wait_for, write

BASE = 100 * MiB
VERSION = 64 * MiB
VERSIONS = 8


def host_bytes(top):
    """du: what stands below TOP on the host, the same inode once."""
    seen = {}
    for where, _, names in os.walk(top):
        for name in names:
            st = os.lstat(os.path.join(where, name))
            seen[st.st_ino] = st.st_blocks * 512
    return sum(seen.values())


def compressible(size, seed):
    """Half of it is noise, half repeats."""
    noise = data(size // 2, seed)
    lines = b"".join(noise[at:at + 8] + b"\0" * 8 for at in range(0, 4096, 8))
    block = 256 * 1024
    return b"".join(noise[at:at + block] + (lines * (block // len(lines)))[:block] for at in range(0, size // 2, block))


class Space(unittest.TestCase):
    options = {}

    def store(self, **options):
        base = scratch("space")
        self.addCleanup(remove, base)
        mount = Mount(base, **options)
        self.addCleanup(mount.kill)
        mount.start()
        os.mkdir(os.path.join(mount.root, "run"))
        return mount

    def db(self, mount):
        return host_bytes(os.path.join(mount.store, "db"))

    def whole(self, mount):
        """Without the ballast, which belongs to the disk and not to what is stored."""
        ballast = os.path.join(mount.store, "ballast")
        return host_bytes(mount.store) - (os.stat(ballast).st_blocks * 512 if os.path.exists(ballast) else 0)

    def say(self, what, before, after):
        print(f"{what}: {before / MiB:.2f} MiB -> {after / MiB:.2f} MiB, {100 * (after - before) / before:+.2f} %", flush=True)

    def test_ten_names_with_one_content(self):
        mount = self.store(hot="0")
        content = data(BASE, "one content")
        paths = [os.path.join(mount.root, "run", f"epoch{number}.pt") for number in range(10)]
        write(paths[0], content)
        self.settle(mount, paths[:1])
        db, whole = self.db(mount), self.whole(mount)
        for path in paths[1:]:
            write(path, content)
        self.settle(mount, paths)
        self.say("ten names, db", db, self.db(mount))
        self.say("ten names, whole store, hot=0", whole, self.whole(mount))
        self.assertLessEqual(self.db(mount), 1.02 * db)
        self.assertLessEqual(self.whole(mount), 1.02 * whole)
        self.assertEqual(sha(mount.restored(paths[9], 1)), sha(content))
        mount.finish()

    def settle(self, mount, paths):
        """Recorded, cold, and the free pages given back."""
        mount.flush()
        wait_for("every file to be cold", lambda: all(mount.is_cold(path) for path in paths), timeout=120)
        self.assertGreater(mount.status()["versions"], 0)

    def test_one_byte_in_front(self):
        mount = self.store()
        content = data(BASE, "inserted")
        path = os.path.join(mount.root, "run", "a.pt")
        write(path, content)
        mount.flush()
        before = self.db(mount)
        write(path, b"\x55" + content)
        mount.flush()
        self.say("one byte in front of 100 MiB, db", before, self.db(mount))
        self.assertLessEqual(self.db(mount), 1.02 * before)
        self.assertEqual(sha(mount.restored(path, 2)), sha(b"\x55" + content))
        mount.finish()

    def forgetting(self, name, make):
        mount = self.store()
        path = os.path.join(mount.root, "run", "a.pt")
        for seed in range(VERSIONS):
            write(path, make(VERSION, seed))
            mount.flush()
        full = self.db(mount)
        mount.ckpt("forget", "--keep", "1", "run/a.pt")
        self.assertEqual(mount.kept(path), [VERSIONS])
        self.assertEqual(sha(mount.restored(path, VERSIONS)), sha(make(VERSION, VERSIONS - 1)))
        after = self.db(mount)
        mount.finish()

        fresh = self.store()
        write(os.path.join(fresh.root, "run", "a.pt"), make(VERSION, VERSIONS - 1))
        fresh.flush()
        alone = self.db(fresh)
        fresh.finish()
        print(f"{name}: {VERSIONS} versions {full / MiB:.2f} MiB, one kept {after / MiB:.2f} MiB, "
              f"a fresh store with it {alone / MiB:.2f} MiB", flush=True)
        self.assertGreater(full, 5 * alone, "the versions have nothing in common")
        self.assertLessEqual(after, 1.10 * alone + 16 * MiB)

    def test_forgetting_random_versions(self):
        self.forgetting("random", data)

    def test_forgetting_compressible_versions(self):
        self.forgetting("compressible", compressible)


if __name__ == "__main__":
    main()
