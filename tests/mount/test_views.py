#!/usr/bin/python3
"""Views of runs: what .ckpt, latest/, best/, epoch/ and the others show, what happens when they are removed, and the attributes of
checkpoints.

Most checkpoints here are rows that tests/mount/rows.c has put into the catalog.
"""
import errno
import json
import os
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from mounted import MountCase, as_nobody, data, main, needs_root, read, wait_for, write  # noqa: E402

ROWS = os.environ.get("ROWS", "rows")
POLICY = "metric val_loss min\nkeep best 2\n"


def names(*where):
    return sorted(os.listdir(os.path.join(*where)))


class EveryDirectory(MountCase):
    def setUp(self):
        super().setUp()
        self.hidden = self.path(".ckpt")
        self.policy = self.path(".ckpt", "policy")

    def test_has_a_ckpt_that_is_not_listed(self):
        deep = self.path("a", "b")
        os.makedirs(deep)
        for where in (self.mount.root, self.dir, deep):
            self.assertNotIn(".ckpt", os.listdir(where))
            self.assertEqual(names(where, ".ckpt"), ["early_stop", "policy"])
        self.assertEqual(names(self.dir), ["a"])

    def test_early_stop_is_0_before_there_is_anything(self):
        self.assertEqual(read(self.path(".ckpt", "early_stop")), b"0\n")
        self.assertEqual(os.stat(self.path(".ckpt", "early_stop")).st_size, 2)
        self.fails(errno.EROFS, write, self.path(".ckpt", "early_stop"), b"1")

    def test_has_no_policy_at_first(self):
        self.assertEqual(read(self.policy), b"")
        self.assertEqual(os.stat(self.policy).st_size, 0)

    def test_what_is_written_is_the_policy(self):
        write(self.policy, POLICY.encode())
        self.assertEqual(read(self.policy), POLICY.encode())
        self.assertEqual(os.stat(self.policy).st_size, len(POLICY))
        self.mount.restart()
        self.assertEqual(read(self.policy), POLICY.encode())

    def test_ways_to_write_it(self):
        other = self.file("policy.txt", b"keep first\n")
        ways = [("cp policy.txt .ckpt/policy", b"keep first\n"),
                ("echo keep last 3 > .ckpt/policy", b"keep last 3\n"),
                ("echo keep first >> .ckpt/policy", b"keep last 3\nkeep first\n"),
                ("printf 'keep last 1\\n' | dd of=.ckpt/policy conv=notrunc status=none", b"keep last 1\nkeep first\n"),
                ("(echo keep last 2; sh -c 'echo keep first') > .ckpt/policy", b"keep last 2\nkeep first\n"),
                ("truncate -s 12 .ckpt/policy", b"keep last 2\n"),
                ("cat policy.txt > .ckpt/policy", read(other))]
        for command, expected in ways:
            with self.subTest(command):
                subprocess.run(["bash", "-c", command], cwd=self.dir, check=True)
                self.assertEqual(read(self.policy), expected)

    def test_an_empty_one_is_none(self):
        write(self.policy, POLICY.encode())
        write(self.policy, b"\n")
        self.assertEqual(read(self.policy), b"")
        write(self.policy, POLICY.encode())
        subprocess.run([":> .ckpt/policy"], shell=True, cwd=self.dir, check=True)
        # Nothing was written, so nobody can be told when that is done.
        wait_for("the policy to be gone", lambda: read(self.policy) == b"")
        write(self.policy, POLICY.encode())
        os.truncate(self.policy, 0)
        self.assertEqual(read(self.policy), b"")

    def test_one_that_makes_no_sense_is_refused_and_the_old_one_stays(self):
        write(self.policy, POLICY.encode())
        for text in (b"keep first\nkeep best\nsometimes\n", b"keep first\0\n"):
            self.fails(errno.EINVAL, write, self.policy, text)
            self.assertEqual(read(self.policy), POLICY.encode())
        self.assertIn("line 2", self.mount.log_tail())

    def test_one_that_is_too_long_is_refused(self):
        self.fails(errno.EFBIG, write, self.policy, b"#" * 70_000)

    def test_it_applies_below_and_says_whose_it_is(self):
        below = self.path("a", "b")
        os.makedirs(below)
        write(self.policy, POLICY.encode())
        inherited = read(os.path.join(below, ".ckpt", "policy")).decode()
        first, rest = inherited.split("\n", 1)
        self.assertEqual(first, f"# inherited from {self.dir}")
        self.assertEqual(rest, POLICY)
        self.assertEqual(os.stat(os.path.join(below, ".ckpt", "policy")).st_size, len(inherited))
        # Written back it is a policy of its own.
        write(os.path.join(below, ".ckpt", "policy"), inherited.encode())
        self.assertEqual(read(os.path.join(below, ".ckpt", "policy")).decode(), POLICY)

    def test_nothing_else_can_be_changed(self):
        for call, *args in ((os.mkdir, self.path(".ckpt", "x")), (os.rmdir, self.path(".ckpt")),
                            (os.unlink, self.policy), (os.chmod, self.policy, 0o777),
                            (os.rename, self.policy, self.path("p")), (write, self.path(".ckpt", "x"), b"")):
            with self.subTest(call.__name__):
                self.fails(errno.EROFS, call, *args)
        self.fails(errno.EROFS, os.truncate, self.path(".ckpt", "early_stop"), 0)

    @needs_root
    def test_who_may_write_the_directory_may_write_the_policy(self):
        self.fails(errno.EACCES, as_nobody, write, self.policy, b"")
        os.chown(self.dir, 65534, 65534)
        os.chmod(self.dir, 0o750)
        self.assertEqual(os.stat(self.policy).st_mode & 0o777, 0o640)
        as_nobody(write, self.policy, POLICY.encode())
        self.assertEqual(read(self.policy), POLICY.encode())

    def test_attributes_of_what_is_no_checkpoint(self):
        path = self.file("notes.txt", b"x")
        for name in ("id", "epoch", "metric.loss", "tags", "checkpoint", "views", "dir", "cold"):
            self.fails(errno.ENODATA, os.getxattr, path, "user.ckptfs." + name)
        self.fails(errno.ENODATA, os.getxattr, self.dir, "user.ckptfs.early_stop")
        for name, value in (("metric.loss", b"0.5"), ("tag", b"good"), ("pin", b"1")):
            self.fails(errno.ENODATA, os.setxattr, path, "user.ckptfs." + name, value)
        for name, value in (("metric.loss", b"much"), ("metric.loss", b""), ("metric.", b"1"), ("pin", b"2"), ("tag", b"a\0b")):
            self.fails(errno.EINVAL, os.setxattr, path, "user.ckptfs." + name, value)
        for name in ("id", "views", "dir", "cold", "epoch", "anything"):
            self.fails(errno.EPERM, os.setxattr, path, "user.ckptfs." + name, b"1")
            self.fails(errno.EPERM, os.removexattr, path, "user.ckptfs." + name)


class RowsCase(MountCase):
    """self.saved: the contents of files that have versions and are put into checkpoints by rows()."""

    FILES = ["a.pt", "b.pt", "c.pt"]

    def setUp(self):
        super().setUp()
        self.saved = {name: self.save(self.path(name), i) for i, name in enumerate(self.FILES)}
        self.mount.flush()

    def save(self, path, seed):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        content = data(20_000 + seed, seed)
        write(path, content)
        return content

    def rows(self, *lines):
        """Each line: the arguments behind the store. The store must be unmounted meanwhile."""
        self.mount.stop()
        for line in lines:
            subprocess.run([ROWS, self.mount.store, *line.split()], check=True)
        self.mount.start()

    def shows(self, where, *files, root=None):
        """WHERE shows exactly these files, and a link to the first."""
        hidden = ".ckpt" in where
        expected = sorted([*files, "checkpoint.pt"] + (["info.json"] if hidden else []))
        self.assertEqual(names(root or self.dir, where), expected, where)
        for name in files:
            self.same_file(os.path.join(root or self.dir, where, name), self.saved[name])
        self.assertEqual(os.readlink(os.path.join(root or self.dir, where, "checkpoint.pt")), files[0])
        self.same_file(os.path.join(root or self.dir, where, "checkpoint.pt"), self.saved[files[0]])

    def absent(self, *where):
        for one in where:
            self.fails(errno.ENOENT, os.stat, self.path(one))


class ARun(RowsCase):
    def three(self, *more):
        self.rows("run epoch=1 step=100 metric.val_loss=0.5 metric.val/acc=0.7 tag=stable a.pt",
                  "run epoch=2 step=200 metric.val_loss=0.2 metric.val/acc=0.6 best=1 primary=val_loss b.pt",
                  "run epoch=10 step=1000 metric.val_loss=nan metric.val/acc=0.9 c.pt", *more)

    def test_shows_its_checkpoints_beside_its_files_and_below_ckpt(self):
        self.three()
        self.assertEqual(names(self.dir), sorted(self.FILES + ["best", "epoch", "history", "latest", "step", "tag", "top"]))
        for above in ("", ".ckpt/"):
            with self.subTest(above):
                self.shows(above + "latest", "c.pt")
                self.shows(above + "best", "b.pt")
                self.assertEqual(names(self.dir, above, "epoch"), ["1", "10", "2"])
                self.assertEqual(names(self.dir, above, "step"), ["100", "1000", "200"])
                self.assertEqual(names(self.dir, above, "tag"), ["stable"])
                self.shows(above + "epoch/1", "a.pt")
                self.shows(above + "step/1000", "c.pt")
                self.shows(above + "tag/stable", "a.pt")
                self.assertEqual(names(self.dir, above, "top"), ["1", "2", "val_acc", "val_loss"])
                self.assertEqual(names(self.dir, above, "top/val_loss"), ["1", "2"])
                self.assertEqual(names(self.dir, above, "top/val_acc"), ["1", "2", "3"])
                self.shows(above + "top/1", "b.pt")
                self.shows(above + "top/val_loss/2", "a.pt")
                self.shows(above + "top/val_acc/1", "c.pt")

    def test_what_is_not_there_is_not_found(self):
        self.three()
        self.absent("final", ".ckpt/final", "epoch/01", "epoch/3", "epoch/+1", "epoch/1x", "epoch/18446744073709551617", "step/1",
                    "tag/other", "top/0", "top/3", "top/val_loss/3", "top/val_loss/01", "top/loss", "latest/a.pt", "latest/info.json",
                    "latest/latest", ".ckpt/.ckpt", "latest/.ckpt", "epoch/1/x", "history/none.pt")

    def test_only_what_is_complete_is_shown(self):
        self.rows("run epoch=1 status=0 a.pt", "run epoch=2 status=2 best=1 b.pt")
        self.absent("latest", "best", "epoch", ".ckpt/epoch", "top", "tag")

    def test_final_is_there_once_it_is_over(self):
        self.three("run finished=1 epoch=11 a.pt")
        self.shows("final", "a.pt")

    def test_all_files_of_a_checkpoint(self):
        self.rows("run step=5 a.pt b.pt c.pt")
        self.assertEqual(names(self.dir, "latest"), ["a.pt", "b.pt", "c.pt", "checkpoint.pt"])
        # The biggest of those that are as full as each other stands for it.
        self.assertEqual(os.readlink(self.path("latest", "checkpoint.pt")), "c.pt")

    def test_a_directory(self):
        paths = ["model.safetensors", "sub/deep/x.pt", "sub/y.pt"]
        saved = {path: self.save(self.path("checkpoint-5", path), 7 + i) for i, path in enumerate(paths)}
        self.mount.flush()
        self.rows("run step=5 " + " ".join(f"checkpoint-5/{path}" for path in paths))
        self.assertEqual(names(self.dir, "step/5"), ["model.safetensors", "sub"])
        self.assertEqual(names(self.dir, "step/5/sub"), ["deep", "y.pt"])
        self.assertEqual(names(self.dir, "step/5/sub/deep"), ["x.pt"])
        self.assertEqual(names(self.dir, ".ckpt/latest"), ["info.json", "model.safetensors", "sub"])
        self.assertEqual(names(self.dir, ".ckpt/latest/sub"), ["deep", "y.pt"])
        for path, content in saved.items():
            self.same_file(self.path("latest", path), content)
        self.absent("step/5/deep", "step/5/sub/x.pt", "step/5/sub/deep/y.pt", "step/5/y.pt", ".ckpt/latest/sub/info.json")
        copy = os.path.join(self.base, "copy")
        shutil.copytree(self.path("step/5"), copy)
        for path, content in saved.items():
            self.same_file(os.path.join(copy, path), content)

    def test_info_json(self):
        self.three()
        text = read(self.path(".ckpt", "epoch", "1", "info.json"))
        self.assertEqual(os.stat(self.path(".ckpt/epoch/1/info.json")).st_size, len(text))
        info = json.loads(text)
        self.assertEqual((info["run"], info["root"], info["epoch"], info["step"], info["tags"]), ("run", "a.pt", 1, 100, ["stable"]))
        self.assertEqual(info["metrics"]["val_loss"]["value"], 0.5)
        self.assertEqual(json.loads(read(self.path(".ckpt/latest/info.json")))["metrics"]["val_loss"]["value"], "nan")
        self.fails(errno.EROFS, write, self.path(".ckpt/latest/info.json"), b"")

    def test_early_stop(self):
        self.three("run stop=1 epoch=11 a.pt")
        self.assertEqual(read(self.path(".ckpt", "early_stop")), b"1\n")
        self.assertEqual(os.getxattr(self.dir, "user.ckptfs.early_stop"), b"1")

    def test_nothing_counts_twice_and_times_are_those_of_the_saves(self):
        self.three()
        st, live = os.stat(self.path("epoch/1/a.pt")), os.stat(self.path("a.pt"))
        self.assertEqual((st.st_blocks, st.st_size, st.st_mtime_ns), (0, live.st_size, live.st_mtime_ns))
        self.assertEqual(st.st_mode & 0o222, 0)
        self.assertEqual(os.stat(self.path("latest")).st_blocks, 0)
        info = json.loads(read(self.path(".ckpt/epoch/1/info.json")))
        self.assertEqual(int(os.stat(self.path("epoch/1")).st_mtime), int(os.stat(self.path(".ckpt/epoch/1/info.json")).st_mtime))
        self.assertTrue(info["saved"].endswith("Z"))
        with_views = subprocess.run(["du", "-sk", self.dir], capture_output=True, check=True).stdout.split()[0]
        os.setxattr(os.path.join(self.mount.store, "live", "run"), "user.ckptfs.views", b"hlbestof")
        without = subprocess.run(["du", "-sk", self.dir], capture_output=True, check=True).stdout.split()[0]
        self.assertEqual(with_views, without)

    def test_walkers_find_no_fault(self):
        self.three()
        copy = os.path.join(self.base, "copy")
        os.mkdir(copy)
        for command in (["find", self.dir, "-ls"], ["tar", "-cf", copy + ".tar", "-C", self.dir, "."],
                        ["rsync", "-aHAX", self.dir + "/", copy], ["ls", "-laR", self.path(".ckpt")]):
            with self.subTest(command[0]):
                if shutil.which(command[0]) is None:
                    continue
                result = subprocess.run(command, capture_output=True, text=True)
                self.assertEqual((result.returncode, result.stderr), (0, ""))

    def test_a_move_takes_them_along(self):
        self.three()
        moved = os.path.join(self.mount.root, "moved")
        subprocess.run(["mv", self.dir, moved], check=True)
        self.shows("best", "b.pt", root=moved)
        self.mount.flush()
        self.assertEqual(json.loads(read(os.path.join(moved, ".ckpt/best/info.json")))["run"], "moved")

    def test_a_real_entry_of_that_name_wins(self):
        write(self.path("best"), b"mine")
        os.mkdir(self.path("epoch"))
        self.three()
        self.assertEqual(read(self.path("best")), b"mine")
        self.assertEqual(names(self.dir, "epoch"), [])
        self.shows(".ckpt/best", "b.pt")
        self.assertEqual(names(self.dir).count("best"), 1)

    def test_who_has_it_open_reads_on(self):
        self.three()
        with open(self.path("epoch/1/a.pt"), "rb") as file:
            os.unlink(self.path("a.pt"))
            self.same(file.read(), self.saved["a.pt"])


class Removed(RowsCase):
    def setUp(self):
        super().setUp()
        self.rows("run epoch=1 step=1 metric.loss=2 tag=x a.pt", "run epoch=2 step=2 metric.loss=1 best=1 primary=loss finished=1 b.pt c.pt")

    def letters(self):
        return os.getxattr(os.path.join(self.mount.store, "live", "run"), "user.ckptfs.views").decode()

    def test_one_view_is_hidden_and_nothing_else(self):
        for view, letter in (("latest", "L"), ("best", "B"), ("final", "F"), ("epoch", "E"), ("step", "S"), ("tag", "T"),
                             ("top", "O"), ("history", "H")):
            with self.subTest(view):
                subprocess.run(["rm", "-rf", self.path(view)], check=True)
                self.assertIn(letter, self.letters())
                self.absent(view)
                self.assertTrue(names(self.dir, ".ckpt", view))
        self.assertEqual(names(self.dir), self.FILES)
        self.mount.ckpt("views", "run", "--show")
        self.shows("epoch/1", "a.pt")
        for name in self.FILES:
            self.assertEqual(self.mount.kept(self.path(name)), [1])

    def test_an_entry_of_one_unlists_it(self):
        subprocess.run(["rm", "-rf", self.path("epoch/1")], check=True)
        self.assertEqual(self.letters(), "e")
        self.assertNotIn("epoch", names(self.dir))
        self.shows("epoch/1", "a.pt")
        self.assertIn("latest", names(self.dir))

    def test_the_run_goes_with_rm_and_with_rmtree(self):
        for remove in (lambda path: subprocess.run(["rm", "-r", path], check=True), shutil.rmtree):
            remove(self.dir)
            self.fails(errno.ENOENT, os.stat, self.dir)
            os.mkdir(self.dir)

    def test_nothing_goes_below_ckpt(self):
        for path in (".ckpt/epoch/1/a.pt", ".ckpt/latest/checkpoint.pt", ".ckpt/latest/info.json"):
            self.fails(errno.EROFS, os.unlink, self.path(path))
        self.fails(errno.EROFS, os.rmdir, self.path(".ckpt/epoch/1"))

    def test_nothing_is_moved_out_of_them(self):
        """What is made in them: test_intent.py."""
        self.fails(errno.EROFS, os.rename, self.path("epoch/1"), self.path("mine"))
        self.fails((errno.EROFS, errno.EACCES), os.open, self.path("latest/b.pt"), os.O_WRONLY)
        self.fails(errno.EXDEV, os.link, self.path("latest/b.pt"), self.path("d.pt"))


class Hidden(RowsCase):
    options = {"views": "hidden"}

    def test_only_ckpt_is_there(self):
        self.rows("run epoch=1 a.pt")
        self.absent("latest", "epoch", "history")
        self.assertEqual(names(self.dir), self.FILES)
        self.shows(".ckpt/epoch/1", "a.pt")


class ASweep(RowsCase):
    def setUp(self):
        super().setUp()
        for i, run in enumerate(("one", "two")):
            self.saved[run + ".pt"] = self.save(os.path.join(self.mount.root, "sweep", run, run + ".pt"), 20 + i)
        self.mount.flush()
        self.sweep = os.path.join(self.mount.root, "sweep")

    def test_shows_the_best_and_latest_of_its_runs(self):
        self.rows("sweep/one epoch=1 metric.val_acc=0.9 best=1 primary=val_acc one.pt",
                  "sweep/two epoch=1 metric.val_acc=0.8 best=1 primary=val_acc two.pt")
        self.assertEqual(names(self.sweep), ["best", "latest", "one", "top", "two"])
        for above in ("", ".ckpt/"):
            self.shows(above + "best", "one.pt", root=self.sweep)
            self.shows(above + "latest", "two.pt", root=self.sweep)
            self.shows(above + "top/1", "one.pt", root=self.sweep)
            self.shows(above + "top/val_acc/2", "two.pt", root=self.sweep)
            self.assertEqual(names(self.sweep, above, "top"), ["1", "2", "val_acc"])
        self.assertEqual(json.loads(read(os.path.join(self.sweep, ".ckpt/best/info.json")))["run"], "sweep/one")
        self.assertEqual(names(self.sweep, ".ckpt"), ["best", "early_stop", "latest", "policy", "top"])

    def test_goes_by_its_policy(self):
        write(os.path.join(self.sweep, ".ckpt", "policy"), b"metric val_acc min\n")
        self.rows("sweep/one metric.val_acc=0.9 best=1 primary=val_acc one.pt",
                  "sweep/two metric.val_acc=0.8 best=1 primary=val_acc two.pt")
        self.shows("best", "two.pt", root=self.sweep)

    def test_one_run_is_none(self):
        self.rows("sweep/one metric.val_acc=0.9 best=1 primary=val_acc one.pt")
        if "latest" in os.listdir(os.path.join(self.sweep, "two")):
            self.skipTest("the other is a run by itself")
        self.assertEqual(names(self.sweep), ["one", "two"])

    def test_a_view_of_it_can_be_removed(self):
        self.rows("sweep/one metric.val_acc=0.9 best=1 primary=val_acc one.pt",
                  "sweep/two metric.val_acc=0.8 best=1 primary=val_acc two.pt")
        shutil.rmtree(os.path.join(self.sweep, "top"))
        self.assertEqual(names(self.sweep), ["best", "latest", "one", "two"])
        shutil.rmtree(self.sweep)
        self.fails(errno.ENOENT, os.stat, self.sweep)


class Attributes(RowsCase):
    def setUp(self):
        super().setUp()
        self.rows("run epoch=3 step=30 metric.val_loss=0.21 tag=x tag=y a.pt")

    def get(self, path, name):
        return os.getxattr(path, "user.ckptfs." + name).decode()

    def test_are_those_of_the_checkpoint(self):
        for path in (self.path("a.pt"), self.path("latest/a.pt"), self.path(".ckpt/epoch/3/a.pt"), self.path("epoch/3")):
            with self.subTest(path):
                self.assertEqual(len(self.get(path, "id")), 16)
                expected = {"epoch": "3", "step": "30", "kind": "full", "tags": "x,y", "metric.val_loss": "0.21", "checkpoint": "complete"}
                self.assertEqual({name: self.get(path, name) for name in expected}, expected)
                self.fails(errno.ENODATA, os.getxattr, path, "user.ckptfs.metric.other")
                self.assertFalse([name for name in os.listxattr(path) if "ckptfs" in name])
        self.assertGreater(int(self.get(self.path("a.pt"), "stored_bytes")), 0)

    def test_are_there_for_a_cold_file(self):
        self.mount.demote(self.path("a.pt"))
        self.assertEqual(self.get(self.path("a.pt"), "epoch"), "3")

    def test_are_not_those_of_what_has_been_written_since(self):
        with open(self.path("a.pt"), "r+b") as file:
            file.write(b"new")
            file.flush()
            self.fails(errno.ENODATA, os.getxattr, self.path("a.pt"), "user.ckptfs.epoch")
            self.fails(errno.EBUSY, os.setxattr, self.path("a.pt"), "user.ckptfs.pin", b"1")

    def test_can_be_set(self):
        for path in (self.path("a.pt"), self.path("latest/a.pt")):
            os.setxattr(path, "user.ckptfs.metric.score", b"0.5\n")
            os.setxattr(path, "user.ckptfs.tag", b"stable")
            os.setxattr(path, "user.ckptfs.pin", b"1")
        self.assertEqual(self.get(self.path("a.pt"), "metric.score"), "0.5")
        self.assertEqual(self.get(self.path("a.pt"), "pin"), "1")
        self.shows("tag/stable", "a.pt")
        info = json.loads(read(self.path(".ckpt/latest/info.json")))
        self.assertEqual((info["pinned"], info["metrics"]["score"]["source"]), (True, "user"))


class ManyCheckpoints(RowsCase):
    def test_ten_thousand(self):
        self.rows("run epoch=0 step=0 count=10000 metric.loss=1 primary=loss a.pt")
        self.shows("epoch/9999", "a.pt")
        self.assertEqual(len(os.listdir(self.path("epoch"))), 10_000)
        for _ in range(200):
            os.listdir(self.path("latest"))
        # Each of its directories is entered, but the attribute is written once.
        before = os.stat(os.path.join(self.mount.store, "live", "run"))
        subprocess.run(["rm", "-rf", self.path("epoch")], check=True)
        self.absent("epoch")
        self.assertEqual(os.stat(os.path.join(self.mount.store, "live", "run")).st_mtime_ns, before.st_mtime_ns)
        self.shows(".ckpt/epoch/9999", "a.pt")


if __name__ == "__main__":
    main()
