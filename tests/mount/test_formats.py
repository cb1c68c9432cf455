#!/usr/bin/python3
"""Stores that older versions have written: samples in tests/files/stores, made by those versions themselves.

The sample of version 1 has a run with three files: a.pt, which was overwritten (two versions), model_epoch_1.pt, which is cold, and
sparse.pt, which is a hole and a byte.
"""
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import mounted  # noqa: E402
from mounted import Mount, file_sha, remove, run_ckpt, scratch  # noqa: E402

SAMPLES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "files", "stores")

VERSION_1 = {
    "run/a.pt": "2396099c6c084fa4b9beac9f0d52cf3be9cf8d47040ef127883d532b5790cd74",
    "run/model_epoch_1.pt": "32215c1221441c9ccdc56ae7d9208954e05a9856100a444fe7629510d47534d5",
    "run/sparse.pt": "2cb74edba754a81d121c9db6833704a8e7d417e5b13d1a19f4a52f007d644264",
    "run/history/a.pt/v0001": "8e138f987445d1591420ddcfa9894dd42a98e732f9981239b2b6785b65f0126a",
    "run/history/a.pt/v0002": "2396099c6c084fa4b9beac9f0d52cf3be9cf8d47040ef127883d532b5790cd74",
}


class Formats(unittest.TestCase):
    def setUp(self):
        self.base = scratch("formats")
        self.addCleanup(remove, self.base)
        self.mount = Mount(self.base)
        self.addCleanup(self.mount.kill)
        os.mkdir(self.mount.store)
        subprocess.run(["tar", "--xattrs", "--xattrs-include=user.*", "-xJf", os.path.join(SAMPLES, "version-1.tar.xz"),
                        "-C", self.mount.store], check=True)

    def header(self):
        with open(os.path.join(self.mount.store, "FORMAT")) as file:
            return file.read()

    def check_contents(self):
        for path, sha in VERSION_1.items():
            self.assertEqual(file_sha(os.path.join(self.mount.root, path)), sha, path)

    def test_version_1_is_brought_up_by_a_mount_and_nothing_changes(self):
        self.assertIn("format 1\n", self.header())
        self.mount.start()
        self.assertIn("format 2\n", self.header())
        self.check_contents()
        self.mount.finish()
        self.mount.start()
        self.check_contents()
        self.mount.finish()

    def test_history_goes_on(self):
        self.mount.start()
        path = os.path.join(self.mount.root, "run/a.pt")
        mounted.write(path, b"third")
        self.mount.flush()
        # The unpacked files have other inodes, so they were read again when the store was mounted; a recipe of this
        # version isn't that of version 1, though the bytes are the same.
        numbers = self.mount.versions(path)
        self.assertEqual(numbers[:2], [1, 2])
        self.assertEqual(self.mount.restored(path, numbers[-1]), b"third")
        self.mount.ckpt("forget", f"{path}@v1")
        self.assertEqual(self.mount.versions(path), numbers[1:])
        self.assertEqual(self.mount.restored(path, 2), b"more\n")
        self.mount.finish()

    def test_until_then_a_reader_says_what_to_do(self):
        _, result = run_ckpt("status", store=self.mount.store)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn("older format (1); mount it once", result.stderr)
        self.assertIn("format 1\n", self.header())

    def test_an_interruption_between_its_two_steps_is_made_up_for(self):
        before = self.header()
        self.mount.start()
        self.mount.finish()
        with open(os.path.join(self.mount.store, "FORMAT"), "w") as file:
            file.write(before)
        self.mount.start()
        self.assertIn("format 2\n", self.header())
        self.check_contents()
        self.mount.finish()


if __name__ == "__main__":
    mounted.main()
