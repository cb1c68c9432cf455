"""A full host filesystem: the writer is told, nothing saved before is harmed, and with space everything goes on."""
import errno
import os
import shutil
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from mounted import (CKPT, KiB, MiB, Mount, ToolFailed, data, file_sha, main, needs_root, read, remove, run_ckpt, scratch,
                     sha, wait_for, write)

DISK = 512 * MiB


def free_bytes(path):
    st = os.statvfs(path)
    return st.f_bavail * st.f_frsize


class Disk:
    """A small filesystem of its own in BASE/disk."""

    def __init__(self, base, kind):
        self.root = os.path.join(base, "disk")
        image = os.path.join(base, "image")
        os.mkdir(self.root)
        with open(image, "wb") as file:
            file.truncate(DISK)
        subprocess.run([f"mkfs.{kind}", "-q", *(("-m", "0") if kind == "ext4" else ()), image], check=True, capture_output=True)
        subprocess.run(["mount", "-o", "loop", image, self.root], check=True)

    def unmount(self):
        subprocess.run(["umount", self.root], check=True)

    def other(self, name="other"):
        return os.path.join(self.root, name)

    def leave(self, size):
        """Takes all but SIZE bytes away with a file outside of the store."""
        with open(self.other(), "wb") as file:
            os.posix_fallocate(file.fileno(), 0, free_bytes(self.root) - size)
        os.sync()

    def fill(self):
        """Takes the last block away."""
        with open(self.other("rest"), "wb", buffering=0) as file:
            for size in (MiB, 64 * KiB, 4 * KiB):
                try:
                    while True:
                        file.write(b"\1" * size)
                        os.fsync(file.fileno())
                except OSError as failure:
                    if failure.errno != errno.ENOSPC:
                        raise

    def free(self):
        for name in ("other", "rest"):
            if os.path.exists(self.other(name)):
                os.unlink(self.other(name))
        os.sync()


@needs_root
class FullCase(unittest.TestCase):
    kind = "ext4"
    options = {"hot": "none", "reserve": "0"}

    def setUp(self):
        if shutil.which(f"mkfs.{self.kind}") is None:
            self.skipTest(f"no mkfs.{self.kind}")
        self.base = scratch("full")
        self.addCleanup(remove, self.base)
        self.disk = Disk(self.base, self.kind)
        self.addCleanup(self.disk.unmount)
        self.mount = Mount(self.base, **self.options)
        self.mount.store = os.path.join(self.disk.root, "store")
        self.addCleanup(self.mount.kill)
        self.kept = {}

    def start(self, **options):
        self.mount.start(**options)
        os.makedirs(self.path(), exist_ok=True)

    def tearDown(self):
        self.mount.finish()

    def path(self, *names):
        return os.path.join(self.mount.root, "run", *names)

    def save(self, name, size, seed=None):
        """Saved and recorded before the disk is full."""
        content = data(size, seed if seed is not None else name)
        write(self.path(name), content)
        self.mount.flush()
        self.kept.setdefault(name, []).append(content)
        return content

    def check_kept(self):
        """Nothing saved before is harmed."""
        self.mount.check_alive()
        for name, contents in self.kept.items():
            if os.path.exists(self.path(name)):
                self.assertEqual(file_sha(self.path(name)), sha(contents[-1]), f"{name}, live")
            numbers = self.mount.kept(self.path(name))
            for number, content in zip(numbers, contents):
                self.assertEqual(sha(self.mount.restored(self.path(name), number)), sha(content), f"{name}@v{number}")

    def write_until_full(self, name, seed=99):
        """What the writer got in, after ENOSPC from write(2) or fsync(2); its last MiB is given back, for the close."""
        content = bytearray()
        fd = os.open(self.path(name), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        try:
            with self.assertRaises(OSError) as refused:
                while len(content) < DISK:
                    block = data(MiB, f"{seed} {len(content)}")
                    written = os.write(fd, block)
                    content += block[:written]
                    if len(content) % (8 * MiB) == 0:
                        os.fsync(fd)
            self.assertEqual(refused.exception.errno, errno.ENOSPC)
            size = max(0, (len(content) // MiB - 2) * MiB)
            os.ftruncate(fd, size)
            os.fsync(fd)
        finally:
            os.close(fd)
        return bytes(content[:size])

    def wait_until_stuck(self):
        wait_for("ckpt status to say that it waits for space", lambda: self.mount.status()["waiting_for_space"])

    def wait_until_drained(self):
        wait_for("pending/ to be empty", lambda: not self.mount.pending(), timeout=280)
        wait_for("ckpt status to say that all is well", lambda: not self.mount.status()["waiting_for_space"])
        self.mount.flush()
        self.mount.verify()

    def version_of(self, name, content):
        number = self.mount.versions(self.path(name))[-1]
        self.assertEqual(sha(self.mount.restored(self.path(name), number)), sha(content), f"newest version of {name}")


class Filled(FullCase):
    gives_back = True  # what is forgotten, at once

    def test_it_goes_on_when_something_else_is_deleted(self):
        self.start()
        for name in ("a.pt", "b.pt", "c.pt"):
            self.save(name, 15 * MiB)
        self.disk.leave(60 * MiB)
        content = self.write_until_full("big.pt")
        self.wait_until_stuck()
        self.assertEqual(len(self.mount.pending()), 1)
        command, result = run_ckpt("flush", store=self.mount.store)
        self.assertEqual(result.returncode, 1, result.stderr)
        self.assertIn("full", result.stderr)
        self.assertIn("ckpt status", result.stderr)
        self.check_kept()
        self.disk.free()
        self.wait_until_drained()
        self.version_of("big.pt", content)
        self.check_kept()

    def test_it_goes_on_when_a_file_in_the_mount_is_deleted(self):
        self.start()
        for name in ("a.pt", "b.pt", "c.pt"):
            self.save(name, 25 * MiB)
        self.disk.leave(50 * MiB)
        content = self.write_until_full("big.pt")
        self.wait_until_stuck()
        for name in ("a.pt", "b.pt", "c.pt"):
            os.unlink(self.path(name))
        self.wait_until_drained()
        self.version_of("big.pt", content)
        self.check_kept()

    def test_forgetting_works_on_a_full_disk(self):
        self.start()
        self.save("old.pt", 70 * MiB)
        os.unlink(self.path("old.pt"))
        self.save("a.pt", 5 * MiB)
        wait_for("the ballast", lambda: os.path.exists(os.path.join(self.mount.store, "ballast")))
        self.disk.leave(40 * MiB)
        content = self.write_until_full("big.pt")
        self.wait_until_stuck()
        self.disk.fill()
        before = free_bytes(self.disk.root)
        self.assertLess(before, 4 * MiB)
        self.mount.ckpt("forget", "run/old.pt@v1")
        del self.kept["old.pt"]
        if not self.gives_back:
            self.disk.free()
        self.wait_until_drained()
        self.version_of("big.pt", content)
        self.check_kept()

    def test_the_disk_is_full_at_start(self):
        self.start()
        self.save("a.pt", 20 * MiB)
        self.disk.leave(50 * MiB)
        content = self.write_until_full("big.pt")
        self.wait_until_stuck()
        self.disk.fill()
        self.mount.kill()
        self.start()
        self.wait_until_stuck()
        self.check_kept()
        self.assertEqual(sha(read(self.path("big.pt"))), sha(content))
        self.disk.free()
        self.wait_until_drained()
        self.version_of("big.pt", content)


class FilledXfs(Filled):
    """What differs from host to host is what still works without a free block."""

    kind = "xfs"
    test_it_goes_on_when_something_else_is_deleted = None
    test_it_goes_on_when_a_file_in_the_mount_is_deleted = None


class FilledBtrfs(FilledXfs):
    kind = "btrfs"
    gives_back = False  # btrfs keeps an extent whole until nothing of it is used any more


class Waiting(FullCase):
    def test_a_deleted_file_that_waits_can_be_given_up(self):
        self.start()
        self.save("a.pt", 5 * MiB)
        self.disk.leave(80 * MiB)
        content = self.write_until_full("big.pt")
        os.unlink(self.path("big.pt"))
        self.wait_until_stuck()
        self.assertLess(free_bytes(self.disk.root), 30 * MiB)
        waiting = self.mount.status()["waiting"]
        self.assertEqual([(item["path"], item["bytes"], item["live"]) for item in waiting],
                         [("run/big.pt", len(content), False)])
        text = self.mount.ckpt("status")
        self.assertIn("run/big.pt", text)
        self.assertIn("--pending", text)
        self.assertIn("--pending", self.mount.log_tail())
        with self.assertRaises(ToolFailed) as refused:
            self.mount.ckpt("forget", "--pending", "run/a.pt")
        self.assertEqual(refused.exception.status, 4)
        freed = self.mount.ckpt_json("forget", "--pending", "run/big.pt")
        self.assertEqual(freed["files"], 1)
        self.assertGreaterEqual(freed["host_freed"], len(content))
        self.assertGreater(free_bytes(self.disk.root), 60 * MiB)
        self.wait_until_drained()
        self.assertEqual(self.mount.versions(self.path("big.pt")), [])
        self.check_kept()
        self.save("next.pt", 20 * MiB)
        self.check_kept()

    def test_of_two_names_only_the_one_named_is_given_up(self):
        self.start(settle=600_000)
        content = data(300_000)
        write(self.path("a.pt"), content)
        os.rename(self.path("a.pt"), self.path("b.pt"))
        os.rename(self.path("b.pt"), self.path("c.pt"))
        for name in ("a.pt", "c.pt"):
            self.mount.ckpt("forget", "--pending", f"run/{name}")
        self.assertEqual(self.mount.pending()[0].split("/")[1], "b.pt")
        self.assertEqual(self.mount.versions(self.path("b.pt")), [1])
        self.assertEqual(self.mount.versions(self.path("a.pt")), [])

    def test_what_fits_is_recorded_before_what_does_not(self):
        self.start()
        self.save("a.pt", 5 * MiB)
        self.disk.leave(100 * MiB)
        random, small, text = data(60 * MiB, 1), data(2 * MiB, 2), b"the same line again\n" * (1 << 20)
        write(self.path("big.pt"), random)
        write(self.path("small.pt"), small)
        write(self.path("text.pt"), text)
        self.wait_until_stuck()
        wait_for("what fits", lambda: len(self.mount.pending()) == 1)
        self.assertTrue(self.mount.pending()[0].endswith("/big.pt"))
        self.version_of_waiting("small.pt", small)
        self.version_of_waiting("text.pt", text)
        self.disk.free()
        self.wait_until_drained()
        self.version_of("big.pt", random)

    def version_of_waiting(self, name, content):
        number = self.mount.kept(self.path(name))[-1]
        self.assertEqual(sha(self.mount.restored(self.path(name), number)), sha(content))

    def test_versions_of_a_name_keep_their_order(self):
        self.start()
        self.disk.leave(85 * MiB)
        first, second = data(60 * MiB, 1), data(1 * MiB, 2)
        write(self.path("big.pt"), first)
        self.wait_until_stuck()
        write(self.path("big.pt"), second)
        self.wait_until_stuck()
        self.assertEqual(len(self.mount.pending()), 2)
        self.disk.free()
        self.wait_until_drained()
        self.kept["big.pt"] = [first, second]
        self.assertEqual(len(self.mount.versions(self.path("big.pt"))), 2)
        self.check_kept()

    def test_nothing_is_stored_of_a_file_that_does_not_fit(self):
        """Otherwise it would take the trainer's last space once a second, in vain."""
        self.start()
        self.disk.leave(160 * MiB)
        write(self.path("big.pt"), data(100 * MiB, 1))
        self.wait_until_stuck()
        before = self.mount.status()["database_bytes"]
        free = free_bytes(self.disk.root)
        for _ in range(30):
            self.assertGreaterEqual(free_bytes(self.disk.root), free - 2 * MiB)
            time.sleep(0.1)
        self.assertLess(self.mount.status()["database_bytes"], before + 2 * MiB)
        self.disk.free()
        self.wait_until_drained()

    def test_a_close_that_could_not_be_put_aside_is_made_up_for(self):
        self.start()
        content = bytearray(self.save("a.pt", 5 * MiB))
        self.disk.leave(20 * MiB)
        self.disk.fill()
        content[1_000_000:1_000_010] = b"0123456789"
        fd = os.open(self.path("a.pt"), os.O_WRONLY)
        os.pwrite(fd, b"0123456789", 1_000_000)
        try:
            os.close(fd)
            told = False
        except OSError as failure:
            self.assertEqual(failure.errno, errno.ENOSPC)
            told = True
        if not told:
            self.assertEqual(len(self.mount.pending()), 1)
        self.wait_until_stuck()
        self.disk.free()
        wait_for("a second version", lambda: len(self.mount.kept(self.path("a.pt"))) == 2)
        self.wait_until_drained()
        self.version_of("a.pt", bytes(content))


class HotAndCold(FullCase):
    def test_no_room_to_promote(self):
        self.start()
        content = self.save("a.pt", 40 * MiB)
        self.mount.demote(self.path("a.pt"))
        self.disk.leave(20 * MiB)
        with self.assertRaises(OSError) as refused:
            os.open(self.path("a.pt"), os.O_RDWR)
        self.assertEqual(refused.exception.errno, errno.ENOSPC)
        self.assertTrue(self.mount.is_cold(self.path("a.pt")))
        self.assertGreater(free_bytes(self.disk.root), 15 * MiB)
        self.check_kept()
        self.disk.free()
        with open(self.path("a.pt"), "r+b") as file:
            file.write(b"changed")
        self.mount.flush()
        self.version_of("a.pt", b"changed" + content[7:])
        self.assertFalse(self.mount.is_cold(self.path("a.pt")))

    def test_demoting_gives_room_on_a_full_disk(self):
        self.start()
        self.save("a.pt", 40 * MiB)
        self.disk.leave(20 * MiB)
        self.disk.fill()
        self.mount.ckpt("demote", "run/a.pt")
        self.assertTrue(self.mount.is_cold(self.path("a.pt")))
        self.assertGreater(free_bytes(self.disk.root), 35 * MiB)
        self.check_kept()
        self.disk.free()

    def test_below_the_reserve_files_become_cold(self):
        self.start(reserve="100M")
        for name in ("a.pt", "b.pt"):
            self.save(name, 30 * MiB)
        self.assertFalse(self.mount.is_cold(self.path("a.pt")))
        self.disk.leave(80 * MiB)
        wait_for("the older one to become cold", lambda: self.mount.is_cold(self.path("a.pt")))
        wait_for("the reserve", lambda: free_bytes(self.disk.root) > 100 * MiB)
        self.assertFalse(self.mount.is_cold(self.path("b.pt")), "one was enough")
        self.check_kept()


@needs_root
class NewStore(unittest.TestCase):
    def test_no_room_for_a_new_store(self):
        base = scratch("full")
        self.addCleanup(remove, base)
        disk = Disk(base, "ext4")
        self.addCleanup(disk.unmount)
        disk.fill()
        store = disk.other("store")
        for command in ([CKPT, "init", store], Mount(base).command()[:-2] + [store, os.path.join(base, "mnt")]):
            result = subprocess.run(command, capture_output=True, text=True, timeout=60)
            self.assertNotEqual(result.returncode, 0)
            self.assertIn(store, result.stderr)
            self.assertIn("space", result.stderr.lower())
            self.assertFalse(os.path.exists(store), "something was left behind")
        disk.free()
        os.mkdir(store)
        disk.fill()
        result = subprocess.run([CKPT, "init", store], capture_output=True, text=True, timeout=60)
        self.assertNotEqual(result.returncode, 0)
        self.assertEqual(os.listdir(store), [])
        disk.free()
        subprocess.run([CKPT, "init", store], check=True, capture_output=True)


del FullCase

if __name__ == "__main__":
    main()
