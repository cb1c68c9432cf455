#!/usr/bin/python3
"""Stores that older versions have written: samples in tests/files/stores, made by those versions themselves.

The sample of version 1 has a run with three files: a.pt, which was overwritten (two versions), model_epoch_1.pt, which is cold, and
sparse.pt, which is a hole and a byte. That of version 2 has a run with three epochs, the first one cold, and last.pt, which was
overwritten with each of them (three versions).
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


VERSION_2 = {
    "run/last.pt": "7f676dd405ab28ebc6ea8cf1055601796f9612d45cff4d60c17c97edfb51d192",
    "run/net_epoch_01_valLoss_1.000.pt": "e776c78600d980797b9a32c3397cb8d6de12230702f0bd3f585f0d2b66b0284b",
    "run/net_epoch_02_valLoss_0.500.pt": "3c66acf5cbf3ba2ed0d487733e1e190945889c74fc1695d1ce08340e9cb34677",
    "run/net_epoch_03_valLoss_0.333.pt": "7733e91df593776064b231499088be159644335ee7996e051e542dd4167dbaab",
    "run/history/last.pt/v0001": "974e1a436050b8c43bef866b68d163d0a13bab04cb0ec6d97d62c0887704a5e2",
    "run/history/last.pt/v0002": "16beaca8377d4f418519f4c445d7c89f5b2692646dada84c3230b5ee6de034bc",
    "run/history/last.pt/v0003": "7f676dd405ab28ebc6ea8cf1055601796f9612d45cff4d60c17c97edfb51d192",
}

NOW = "format 3\n"


class Sample(unittest.TestCase):
    """A store that the sample NUMBER was unpacked into."""

    NUMBER = 0
    CONTENTS = {}

    def setUp(self):
        self.base = scratch("formats")
        self.addCleanup(remove, self.base)
        self.mount = Mount(self.base)
        self.addCleanup(self.mount.kill)
        os.mkdir(self.mount.store)
        subprocess.run(["tar", "--xattrs", "--xattrs-include=user.*", "-xJf",
                        os.path.join(SAMPLES, f"version-{self.NUMBER}.tar.xz"), "-C", self.mount.store], check=True)

    def header(self):
        with open(os.path.join(self.mount.store, "FORMAT")) as file:
            return file.read()

    def check_contents(self):
        self.mount.flush()  # views follow when checkpoints were made of what the store has
        for path, sha in self.CONTENTS.items():
            self.assertEqual(file_sha(os.path.join(self.mount.root, path)), sha, path)

    def check_sound(self):
        _, result = run_ckpt("verify", store=self.mount.store)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)


class EachFormat:
    """What is true of every older format; mixed into a Sample."""

    def test_it_is_brought_up_by_a_mount_and_nothing_changes(self):
        self.assertIn(f"format {self.NUMBER}\n", self.header())
        self.mount.start()
        self.assertIn(NOW, self.header())
        self.check_contents()
        self.mount.finish()
        self.check_sound()
        self.mount.start()
        self.check_contents()
        self.mount.finish()

    def test_until_then_a_reader_says_what_to_do(self):
        _, result = run_ckpt("status", store=self.mount.store)
        self.assertNotEqual(result.returncode, 0)
        self.assertIn(f"older format ({self.NUMBER}); mount it once", result.stderr)
        self.assertIn(f"format {self.NUMBER}\n", self.header())

    def test_an_interruption_between_its_two_steps_is_made_up_for(self):
        before = self.header()
        self.mount.start()
        self.mount.finish()
        with open(os.path.join(self.mount.store, "FORMAT"), "w") as file:
            file.write(before)
        self.mount.start()
        self.assertIn(NOW, self.header())
        self.check_contents()
        self.mount.finish()
        self.check_sound()


class Version1(EachFormat, Sample):
    NUMBER = 1
    CONTENTS = VERSION_1

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
        self.check_sound()


class Version2(EachFormat, Sample):
    NUMBER = 2
    CONTENTS = VERSION_2

    def test_history_goes_on(self):
        self.mount.start()
        path = os.path.join(self.mount.root, "run/last.pt")
        # The same bytes under other inodes are no new version: the recipes are those of version 2.
        self.mount.flush()
        self.assertEqual(self.mount.versions(path), [1, 2, 3])
        mounted.write(path, b"fourth")
        self.mount.flush()
        self.assertEqual(self.mount.versions(path), [1, 2, 3, 4])
        self.assertEqual(self.mount.restored(path, 4), b"fourth")
        self.mount.ckpt("forget", f"{path}@v1")
        self.assertEqual(self.mount.versions(path), [2, 3, 4])
        self.mount.finish()
        self.check_sound()

    def test_the_cold_file_stays_cold(self):
        stub = os.path.join(self.mount.store, "live/run/net_epoch_01_valLoss_1.000.pt")
        self.assertIn("user.ckptfs.cold", os.listxattr(stub))
        self.mount.start()
        self.check_contents()
        self.mount.finish()
        self.assertIn("user.ckptfs.cold", os.listxattr(stub))


if __name__ == "__main__":
    mounted.main()
