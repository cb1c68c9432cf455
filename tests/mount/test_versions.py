"""When a version is made, what it holds, and what never makes one."""
import mmap
import os
import random
import shutil
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from mounted import (RENAME_EXCHANGE, KiB, MiB, MountCase, data, main, read, renameat2, wait_for,
                     write)

# A closed file rests this long before it is read: "while pending" means before that. A flush doesn't wait for it.
RESTING = 600_000


class OneVersionPerClose(MountCase):
    def test_close_makes_a_version(self):
        content = data(3 * MiB)
        path = self.file("a.pt", content)
        self.assert_versions(path, [content])
        rows = self.mount.log_rows(path)
        self.assertEqual((rows[0]["version"], rows[0]["size"]), (1, len(content)))

    def test_an_overwrite_makes_another(self):
        contents = [data(500 * KiB, seed) for seed in range(4)]
        for content in contents:
            path = self.file("a.pt", content)
            self.mount.flush()
        self.assert_versions(path, contents)

    def test_an_empty_file_is_a_version_too(self):
        self.assert_versions(self.file("a.pt", b""), [b""])

    def test_close_without_a_change_makes_none(self):
        content = data(100_000)
        path = self.file("a.pt", content)
        self.mount.flush()
        read(path)
        for flags in (os.O_RDWR, os.O_WRONLY, os.O_RDWR | os.O_APPEND):
            os.close(os.open(path, flags))
            self.mount.flush()
        self.assert_versions(path, [content])

    def test_closing_a_duplicate_of_an_unchanged_handle_makes_none(self):
        path = self.path("a.pt")
        fd = os.open(path, os.O_CREAT | os.O_WRONLY)
        os.write(fd, b"content")
        for _ in range(5):
            os.close(os.dup(fd))
        os.close(fd)
        self.assert_versions(path, [b"content"])

    def test_the_same_content_again_adds_no_version_of_the_same_file(self):
        content = data(2 * MiB)
        path = self.file("a.pt", content)
        self.mount.flush()
        before = os.stat(path).st_mtime_ns
        write(path, content)
        self.assertNotEqual(os.stat(path).st_mtime_ns, before)
        self.assert_versions(path, [content])

    def test_going_back_to_an_older_content_is_a_version(self):
        one, two = data(400_000, 1), data(400_000, 2)
        for content in (one, two, one):
            path = self.file("a.pt", content)
            self.mount.flush()
        self.assert_versions(path, [one, two, one])

    def test_attributes_alone_make_none(self):
        path = self.file("a.pt", b"content")
        self.mount.flush()
        os.chmod(path, 0o600)
        os.utime(path, (1, 1))
        os.setxattr(path, "user.a", b"1")
        os.close(os.open(path, os.O_RDWR))
        self.assert_versions(path, [b"content"])

    def test_truncate_by_path_is_captured(self):
        content = data(300_000)
        path = self.file("a.pt", content)
        self.mount.flush()
        os.truncate(path, 100_000)
        with open(path, "r+b"):
            pass
        self.assert_versions(path, [content, content[:100_000]])

    def test_in_place_change_of_one_byte(self):
        content = bytearray(data(4 * MiB))
        path = self.file("a.pt", content)
        self.mount.flush()
        changed = bytearray(content)
        changed[2_000_000] ^= 1
        with open(path, "r+b") as file:
            file.seek(2_000_000)
            file.write(changed[2_000_000:2_000_001])
        self.assert_versions(path, [bytes(content), bytes(changed)])
        self.assertLess(self.mount.log_rows(path)[1]["added"], 1.3 * MiB)

    def test_mode_and_time_belong_to_the_version(self):
        path = self.file("a.pt", b"one")
        os.chmod(path, 0o640)
        os.utime(path, ns=(10**18, 10**18))
        with open(path, "r+b") as file:
            os.utime(file.fileno(), ns=(10**18 + 5, 10**18 + 5))
        number = self.mount.versions(path)[-1]
        st = os.stat(self.mount.version(path, number))
        self.assertEqual(st.st_mtime_ns, 10**18 + 5)
        self.assertEqual(st.st_mode & 0o777 & ~0o222, 0o440)


class BehindTheBack(MountCase):
    """What the daemon does with files by itself doesn't look like a change: backups and mirrors go by the times."""

    options = {"settle": RESTING}

    def setUp(self):
        super().setUp()
        self.saved = self.file("a.pt", data(300_000))
        self.seen = self.look()

    def look(self):
        """mtime and ctime as the daemon says, not as the kernel remembers them."""
        return subprocess.run(["stat", "--cached=never", "--format=%n %.9Y %.9Z", self.saved, self.dir, self.mount.root],
                              capture_output=True, text=True, check=True).stdout.splitlines()

    def test_recording(self):
        self.mount.flush()
        self.assertEqual(self.look(), self.seen)

    def test_demotion(self):
        self.mount.demote(self.saved)
        self.assertEqual(self.look(), self.seen)
        os.utime(self.dir, ns=(10**18, 10**18 + 7))
        self.file("b.pt", b"b")
        os.utime(self.dir, ns=(10**18, 10**18 + 7))
        self.mount.demote(self.path("b.pt"))
        self.assertEqual(os.stat(self.dir).st_mtime_ns, 10**18 + 7)

    def test_an_open_for_writing_that_changes_nothing(self):
        os.close(os.open(self.saved, os.O_RDWR))
        self.assertEqual(self.look(), self.seen)

    def test_changes_are_seen(self):
        for step in (lambda: None, self.mount.flush, lambda: self.mount.demote(self.saved)):
            step()
            before = os.stat(self.saved).st_ctime_ns
            os.chmod(self.saved, os.stat(self.saved).st_mode ^ 0o100)
            self.assertGreater(os.stat(self.saved).st_ctime_ns, before)
            before = os.stat(self.dir).st_ctime_ns
            os.utime(self.dir, ns=(10**18, 10**18))
            self.assertGreater(os.stat(self.dir).st_ctime_ns, before)


class SameContentElsewhere(MountCase):
    def test_costs_only_its_row(self):
        content = data(8 * MiB)
        self.file("a0.pt", content)
        self.mount.flush()
        before = self.mount.status()
        for number in range(1, 10):
            self.file(f"a{number}.pt", content)
        self.mount.flush()
        after = self.mount.status()
        self.assertEqual(after["versions"], before["versions"] + 9)
        self.assertEqual(after["logical"], before["logical"] + 9 * len(content))
        self.assertEqual(after["stored"], before["stored"])

    def test_insertion_in_front_shares_nearly_everything(self):
        content = data(16 * MiB)
        self.file("a.pt", content)
        self.mount.flush()
        before = self.mount.status()["stored"]
        path = self.file("b.pt", b"!" + content)
        self.assert_versions(path, [b"!" + content])
        self.assertLess(self.mount.status()["stored"] - before, 2 * MiB)

    def test_holes_cost_nothing(self):
        path = self.path("sparse.pt")
        with open(path, "wb") as file:
            file.write(b"start")
            file.seek(8 << 30)
            file.write(b"end")
        self.mount.flush()
        self.assertEqual(self.mount.log_rows(path)[0]["size"], (8 << 30) + 3)
        self.assertLess(self.mount.status()["stored"], 1 * MiB)
        view = self.mount.version(path, 1)
        self.assertEqual(os.stat(view).st_size, (8 << 30) + 3)
        with open(view, "rb") as file:
            self.assertEqual(file.read(8), b"start\0\0\0")
            file.seek((8 << 30) - 3)
            self.assertEqual(file.read(), b"\0\0\0end")


class WhilePending(MountCase):
    """The trainer goes on before the daemon has read what it closed."""

    options = {"settle": RESTING}

    def setUp(self):
        super().setUp()
        self.first, self.second = data(3 * MiB, 1), data(2 * MiB, 2)
        self.saved = self.file("a.pt", self.first)
        self.assertEqual(len(self.mount.pending()), 1)
        self.assertEqual(os.stat(self.saved).st_nlink, 1)

    def test_rewrite_with_truncation_keeps_both(self):
        write(self.saved, self.second)
        self.same_file(self.saved, self.second)
        self.assert_versions(self.saved, [self.first, self.second])

    def test_many_rewrites_keep_all(self):
        contents = [self.first]
        for seed in range(10, 20):
            contents.append(data(200_000, seed))
            write(self.saved, contents[-1])
        self.assert_versions(self.saved, contents)

    def test_rewrite_in_place_keeps_both(self):
        with open(self.saved, "r+b") as file:
            file.seek(1_000_000)
            file.write(b"changed")
        changed = self.first[:1_000_000] + b"changed" + self.first[1_000_007:]
        self.same_file(self.saved, changed)
        self.assert_versions(self.saved, [self.first, changed])

    def test_append_keeps_both(self):
        with open(self.saved, "ab") as file:
            file.write(self.second)
        self.assert_versions(self.saved, [self.first, self.first + self.second])

    def test_truncation_keeps_both(self):
        os.truncate(self.saved, 1000)
        os.close(os.open(self.saved, os.O_RDWR))
        self.assert_versions(self.saved, [self.first, self.first[:1000]])

    def test_truncation_to_nothing_keeps_both(self):
        os.truncate(self.saved, 0)
        os.close(os.open(self.saved, os.O_RDWR))
        self.assert_versions(self.saved, [self.first, b""])

    def test_change_through_a_mapping_keeps_both(self):
        with open(self.saved, "r+b") as file, mmap.mmap(file.fileno(), 0) as view:
            view[5:10] = b"hello"
        changed = self.first[:5] + b"hello" + self.first[10:]
        self.assert_versions(self.saved, [self.first, changed])

    def test_truncating_open_while_a_reader_has_it_open(self):
        """The reader's handle sees what it would on the host: the same file, emptied and rewritten."""
        with open(self.saved, "rb") as reader:
            write(self.saved, self.second)
            self.same(os.pread(reader.fileno(), 10 * MiB, 0), self.second, "the reader's handle")
            self.assertEqual(os.fstat(reader.fileno()).st_ino, os.stat(self.saved).st_ino)
        self.assert_versions(self.saved, [self.first, self.second])

    def test_a_second_writer_that_was_open_all_along(self):
        path = self.path("b.pt")
        one = os.open(path, os.O_CREAT | os.O_RDWR)
        two = os.open(path, os.O_RDWR)
        os.write(one, b"one")
        os.close(one)
        os.pwrite(two, b"two", 3)
        os.close(two)
        self.mount.flush()
        newest = self.mount.kept(path)[-1]
        self.assertEqual(self.mount.restored(path, newest), b"onetwo")
        self.assertEqual(read(path), b"onetwo")

    def test_unlink_right_after_close_keeps_the_version(self):
        os.unlink(self.saved)
        self.assertEqual(os.listdir(self.dir), self.visible_views())
        self.assert_versions(self.saved, [self.first])

    def visible_views(self):
        return [name for name in os.listdir(self.dir) if name in ("history", "latest")]

    def test_a_new_file_of_the_same_name_goes_on_with_the_history(self):
        os.unlink(self.saved)
        write(self.saved, self.second)
        self.assert_versions(self.saved, [self.first, self.second])

    def test_rename_over_it_keeps_both(self):
        self.file("a.tmp", self.second)
        os.rename(self.path("a.tmp"), self.saved)
        self.same_file(self.saved, self.second)
        self.assert_versions(self.saved, [self.first, self.second])

    def test_a_cold_file_moved_or_linked_over_it_comes_after_it(self):
        cold = data(100_000, 3)
        for place in (os.rename, os.link):
            with self.subTest(place=place.__name__):
                name = self.path(place.__name__ + ".pt")
                self.mount.demote(self.file("cold.pt", cold))
                write(name, self.second)
                if place is os.link:
                    os.unlink(name)
                place(self.path("cold.pt"), name)
                self.assert_versions(name, [self.second, cold])

    def test_an_older_file_moved_over_a_newer_one_is_the_newest_version(self):
        one, two = data(300_000, 11), data(300_000, 12)
        old, new = self.file("old.pt", one), self.file("new.pt", two)
        os.rename(old, new)
        self.assert_versions(new, [two, one])
        self.assert_versions(old, [one])

    def test_exchanged_files_have_their_versions_in_order(self):
        one, two = data(300_000, 11), data(300_000, 12)
        a, b = self.file("first.pt", one), self.file("second.pt", two)
        renameat2(a, b, RENAME_EXCHANGE)
        self.assert_versions(a, [one, two])
        self.assert_versions(b, [two, one])

    def test_an_older_file_back_under_its_name_is_the_newest_version(self):
        one, two = data(300_000, 11), data(300_000, 12)
        path, aside = self.file("c.pt", one), self.path("aside.pt")
        os.rename(path, aside)
        self.file("c.pt", two)
        os.rename(aside, path)
        self.assert_versions(path, [one, two, one])

    def test_hard_link_and_change_through_it(self):
        os.link(self.saved, self.path("b.pt"))
        self.assertEqual(os.stat(self.saved).st_nlink, 2)
        write(self.path("b.pt"), self.second)
        self.same_file(self.saved, self.second)
        for path in (self.saved, self.path("b.pt")):
            self.assert_versions(path, [self.first, self.second])

    def test_of_two_hard_links_the_one_that_is_left_goes_on(self):
        link = self.path("b.pt")
        os.link(self.saved, link)
        os.unlink(self.saved)
        third = data(300_000, 3)
        write(link, self.second)
        write(link, third)
        self.assert_versions(link, [self.first, self.second, third])

    def test_the_first_of_two_hard_links_goes_on_when_the_second_has_gone(self):
        link = self.path("b.pt")
        os.link(self.saved, link)
        os.stat(link)
        os.unlink(link)
        third = data(300_000, 3)
        write(self.saved, self.second)
        write(self.saved, third)
        self.assert_versions(self.saved, [self.first, self.second, third])

    def test_hard_links_in_two_directories_share_every_change(self):
        os.mkdir(self.path("other"))
        linked = self.path("other", "b.pt")
        self.mount.flush()
        os.link(self.saved, linked)
        self.mount.flush()
        write(linked, self.second)
        self.mount.flush()
        self.mount.restart()
        write(self.saved, b"third")
        for path in (self.saved, linked):
            self.assert_versions(path, [self.first, self.second, b"third"])
        os.unlink(self.saved)
        write(linked, b"fourth")
        self.assert_versions(self.saved, [self.first, self.second, b"third"])
        self.assert_versions(linked, [self.first, self.second, b"third", b"fourth"])

    def test_a_hard_link_goes_on_when_it_is_looked_up_after_the_other_has_gone(self):
        linked = self.path("b.pt")
        os.link(self.saved, linked)
        self.mount.flush()
        self.mount.restart()
        with open(self.saved, "rb"):
            self.mount.flush()
            os.unlink(self.saved)
            write(linked, self.second)
        self.assert_versions(linked, [self.first, self.second])

    def test_removal_of_the_whole_run_keeps_it(self):
        shutil.rmtree(self.dir)
        self.assertFalse(os.path.exists(self.dir))
        self.assert_versions(self.saved, [self.first])

    def test_removal_of_a_run_right_after_its_first_file_survives_a_kill(self):
        for number in range(20):
            run = os.path.join(self.mount.root, f"short{number}")
            os.mkdir(run)
            write(f"{run}/a.pt", self.second)
            os.unlink(f"{run}/a.pt")
            os.rmdir(run)
        self.mount.kill()
        self.mount.start()
        for number in range(20):
            self.assert_versions(f"short{number}/a.pt", [self.second])

    def test_rename_of_the_run_takes_it_along(self):
        os.rename(self.dir, self.dir + "-renamed")
        self.assert_versions(self.dir + "-renamed/a.pt", [self.first])

    def test_the_queue_survives_an_orderly_restart(self):
        write(self.saved, self.second)
        self.mount.terminate()
        self.mount.start()
        self.assert_versions(self.saved, [self.first, self.second])

    def test_the_queue_survives_a_kill(self):
        write(self.saved, self.second)
        os.unlink(self.saved)
        self.mount.kill()
        self.mount.start()
        self.assert_versions(self.saved, [self.first, self.second])


class Renames(MountCase):
    def test_save_to_a_temporary_name_and_rename(self):
        content = data(500_000)
        self.file("a.pt.tmp", content)
        os.rename(self.path("a.pt.tmp"), self.path("a.pt"))
        self.assert_versions(self.path("a.pt"), [content])
        self.assertEqual(self.mount.versions(self.path("a.pt.tmp")), [])

    def test_temporary_name_and_rename_again_and_again(self):
        contents = [data(100_000, seed) for seed in range(5)]
        for content in contents:
            self.file("a.tmp", content)
            os.rename(self.path("a.tmp"), self.path("a.pt"))
        self.assert_versions(self.path("a.pt"), contents)

    def test_history_stays_with_the_name_and_the_content_goes_on_under_the_new_one(self):
        one, two = data(100_000, 1), data(100_000, 2)
        for content in (one, two):
            self.file("a.pt", content)
            self.mount.flush()
        os.rename(self.path("a.pt"), self.path("b.pt"))
        self.assert_versions(self.path("a.pt"), [one, two])
        self.assert_versions(self.path("b.pt"), [two])

    def test_exchange_records_both(self):
        one, two = data(100_000, 1), data(100_000, 2)
        self.file("a.pt", one)
        self.file("b.pt", two)
        self.mount.flush()
        renameat2(self.path("a.pt"), self.path("b.pt"), RENAME_EXCHANGE)
        self.assert_versions(self.path("a.pt"), [one, two])
        self.assert_versions(self.path("b.pt"), [two, one])

    def test_history_follows_its_directory(self):
        one, two = data(100_000, 1), data(100_000, 2)
        self.file("deep/a.pt", one)
        self.mount.flush()
        os.rename(self.dir, self.dir + "2")
        self.assert_versions(self.dir + "2/deep/a.pt", [one])
        write(self.dir + "2/deep/a.pt", two)
        self.assert_versions(self.dir + "2/deep/a.pt", [one, two])
        os.makedirs(os.path.join(self.mount.root, "elsewhere"))
        os.rename(self.dir + "2/deep", os.path.join(self.mount.root, "elsewhere", "moved"))
        self.assert_versions("elsewhere/moved/a.pt", [one, two])

    def test_a_directory_in_the_place_of_a_renamed_one_has_its_own_history(self):
        one, two = data(100_000, 1), data(100_000, 2)
        self.file("a.pt", one)
        self.mount.flush()
        os.rename(self.dir, self.dir + "2")
        os.mkdir(self.dir)
        self.file("a.pt", two)
        self.mount.flush()
        self.assertEqual(self.mount.restored(self.path("a.pt"), self.mount.versions(self.path("a.pt"))[-1]), two)
        self.assert_versions(self.dir + "2/a.pt", [one])

    def test_a_deleted_run_is_found_by_its_path_and_goes_on_when_made_anew(self):
        one, two = data(100_000, 1), data(100_000, 2)
        self.file("a.pt", one)
        self.mount.flush()
        shutil.rmtree(self.dir)
        self.assert_versions("run/a.pt", [one])
        os.mkdir(self.dir)
        self.file("a.pt", two)
        self.assert_versions("run/a.pt", [one, two])


class WhatIsCaptured(MountCase):
    def captured(self, name, size):
        path = self.file(name, data(size))
        return bool(self.mount.versions(path))

    def test_the_default_list(self):
        expected = {"a.pt": True, "a.PT": None, "a.pth": True, "a.ckpt": True, "a.bin": True, "a.safetensors": True,
                    "a.h5": True, "a.hdf5": True, "a.keras": True, "a.npz": True, "a.npy": True, "a.distcp": True,
                    "a.msgpack": True, "a.pkl": True, "a.onnx": True, "a.gguf": True, "a.tar": True,
                    "a.txt": False, "notes": False, "a.log": False, "a.csv": False, "a.json": False,
                    "a.jsonl": False, "a.tmp": False, ".a.pt": False, "events.out.tfevents.17.host": False}
        for name in expected:
            self.file(name, b"content of " + name.encode())
        self.mount.flush()
        found = {name: bool(self.mount.kept(self.path(name))) for name in expected}
        self.assertEqual(found, {name: found[name] if wanted is None else wanted
                                 for name, wanted in expected.items()})

    def test_anything_of_a_mebibyte(self):
        self.assertTrue(self.captured("notes", 1 * MiB))
        self.assertFalse(self.captured("others", 1 * MiB - 1))
        self.assertFalse(self.captured("big.log", 1 * MiB))
        self.assertFalse(self.captured("big.jsonl", 1 * MiB))
        self.assertFalse(self.captured(".hidden", 1 * MiB))


class WhatIsCapturedByOption(MountCase):
    options = {"capture": "default:*.foo:!*.npy:>64K"}

    def test_the_option_changes_the_list(self):
        for name, size, expected in (("a.foo", 10, True), ("a.pt", 10, True), ("a.npy", 10, False),
                                     ("b", 64 * KiB, True), ("c", 10, False)):
            with self.subTest(name=name):
                self.assertEqual(bool(self.mount.versions(self.file(name, data(size)))), expected)


class Mappings(MountCase):
    def test_writes_through_a_mapping_after_close_are_in_the_version(self):
        path = self.file("a.pt", bytes(200_000))
        fd = os.open(path, os.O_RDWR)
        view = mmap.mmap(fd, 200_000)
        os.pwrite(fd, b"first", 0)
        os.close(fd)
        view[100_000:100_005] = b"later"
        view.close()
        expected = b"first" + bytes(99_995) + b"later" + bytes(99_995)
        self.same_file(path, expected)
        wait_for("a version with the bytes of the mapping", lambda: self.newest(path) == expected)

    def newest(self, path):
        numbers = self.mount.versions(path)
        return self.mount.restored(path, numbers[-1]) if numbers else None

    def test_no_version_holds_half_of_a_mapped_write(self):
        """While the mapping is there the file isn't done: a flush says so instead of taking it."""
        path = self.path("a.pt")
        fd = os.open(path, os.O_CREAT | os.O_RDWR)
        os.ftruncate(fd, 100_000)
        view = mmap.mmap(fd, 100_000)
        os.close(fd)
        view[0:50_000] = b"x" * 50_000
        self.mount.flush()
        view[50_000:] = b"y" * 50_000
        view.close()
        expected = b"x" * 50_000 + b"y" * 50_000
        wait_for("the finished version", lambda: self.newest(path) == expected)
        self.assert_versions(path, [expected])


class ColdReaders(MountCase):
    def test_opened_again_while_the_last_close_is_on_its_way(self):
        content = data(200_000)
        path = self.file("a.pt", content)
        self.mount.demote(path)
        for _ in range(1000):
            os.close(os.open(path, os.O_RDONLY))
            fd = os.open(path, os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            self.same(os.pread(fd, 4096, 135_168), content[135_168:139_264])
            os.close(fd)


class ManyWriters(MountCase):
    options = {"settle": 5}

    def test_nothing_that_was_closed_is_missing(self):
        """Threads save, overwrite, rename and delete without waiting; every content is live or in a history."""
        kept, lock = {}, threading.Lock()

        def trainer(number):
            chance = random.Random(number)
            for step in range(25):
                name = f"w{number}-{chance.randrange(3)}.pt"
                content = chance.randbytes(chance.randrange(1, 400_000))
                if chance.random() < 0.5:
                    write(self.path(name), content)
                else:
                    write(self.path(name + ".tmp"), content)
                    os.rename(self.path(name + ".tmp"), self.path(name))
                with lock:
                    kept.setdefault(name, []).append(content)
                if chance.random() < 0.2:
                    os.unlink(self.path(name))
        workers = [threading.Thread(target=trainer, args=(number,)) for number in range(6)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        self.mount.flush()
        for name, contents in kept.items():
            rows = self.mount.kept(self.path(name))
            self.assertEqual(len(rows), len(contents), f"versions of {name}")
            for number, content in zip(rows, contents):
                self.same_file(self.mount.version(self.path(name), number), content)


if __name__ == "__main__":
    main()
