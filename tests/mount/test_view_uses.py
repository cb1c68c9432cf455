#!/usr/bin/python3
"""Those who use views: programs that stand in them, copy, move and remove runs that show them, ckpt with paths through them."""
import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
import time

from runs import HERE, ONE, TEN, TWO, RunCase, ThreeCase, layouts, names, tool
from mounted import VIEWS, main, read, write

for program in ("rsync", "tar", "find", "du", "bash"):
    if shutil.which(program) is None:
        sys.exit(f"{sys.argv[0]} needs the program {program}: tests/run installs it")

EXCLUDED = "{" + ",".join(VIEWS) + "}"  # as README.md writes it


@contextlib.contextmanager
def directory(path):
    """A descriptor of it."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield fd
    finally:
        os.close(fd)


class WhileItChanges(ThreeCase):
    NEW = "net_epoch_11_step_1100.pt"

    def publish(self):
        self.save(self.NEW, 11)
        self.mount.flush()

    def test_a_working_directory_in_latest(self):
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        os.chdir(self.path("latest"))
        self.assertEqual(names("."), ["checkpoint.pt", TEN])
        self.publish()
        self.assertEqual(os.getcwd(), self.path("latest"))
        self.assertEqual(names("."), ["checkpoint.pt", self.NEW])
        self.same_file("checkpoint.pt", self.saved[self.NEW])
        self.fails(errno.ENOENT, open, TEN, "rb")
        self.assertEqual(os.path.realpath(".."), self.dir)
        os.chdir(here)

    def test_a_shell_that_stands_there(self):
        shell = subprocess.Popen(["bash", "-c", "cd latest && ls && read go && ls && ls .. && pwd"], cwd=self.dir, text=True,
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.assertEqual([shell.stdout.readline() for _ in range(2)], ["checkpoint.pt\n", TEN + "\n"])
        self.publish()
        out, _ = shell.communicate("go\n", timeout=30)
        self.assertEqual((shell.returncode, out.splitlines()), (
            0, ["checkpoint.pt", self.NEW, *tool("ls", self.dir).splitlines(), self.path("latest")]))

    def test_an_open_directory(self):
        with directory(self.path("latest")) as fd, os.scandir(self.path(".ckpt", "epoch")) as begun:
            self.assertEqual(sorted(os.listdir(fd)), ["checkpoint.pt", TEN])
            first = next(begun).name
            self.publish()
            self.assertEqual(sorted([first, *(entry.name for entry in begun)]), ["1", "10", "2"])
            self.assertEqual(sorted(os.listdir(fd)), ["checkpoint.pt", self.NEW])
            with os.fdopen(os.open(self.NEW, os.O_RDONLY, dir_fd=fd), "rb") as file:
                self.same(file.read(), self.saved[self.NEW])

    def test_who_has_it_open_reads_on(self):
        with open(self.path("epoch/1", ONE), "rb") as file, open(self.path("latest/checkpoint.pt"), "rb") as last:
            os.unlink(self.path(ONE))
            self.publish()
            self.same(file.read(), self.saved[ONE])
            self.same(last.read(), self.saved[TEN])

    def test_a_view_that_has_gone(self):
        """Its directory is empty for those that stand in it."""
        with directory(self.path("tag/stable")) as fd:
            self.ckpt("untag", "run", "stable")
            self.assertEqual(os.listdir(fd), [])
            self.fails(errno.ENOENT, os.open, ONE, os.O_RDONLY, dir_fd=fd)
            self.ckpt("tag", "run@epoch=2", "stable")
            self.assertEqual(sorted(os.listdir(fd)), ["checkpoint.pt", TWO])


class Programs(ThreeCase):
    """cp, tar, rsync, mv, find, du and rm of a run whose views are visible."""

    def copied(self, name="copy"):
        return os.path.join(self.base, name)

    def only_files(self, top):
        self.assertEqual(names(top), sorted([ONE, TWO, TEN]))
        for name in (ONE, TWO, TEN):
            self.same_file(os.path.join(top, name), self.saved[name])

    def test_walkers_find_no_fault(self):
        os.mkdir(self.copied())
        for command in (["find", self.dir, "-ls"], ["tar", "-cf", self.copied("run.tar"), "-C", self.dir, "."],
                        ["rsync", "-aHAX", self.dir + "/", self.copied()], ["ls", "-laR", self.path(".ckpt")],
                        ["du", "-a", self.dir], ["cp", "-a", self.dir, self.copied("cp")],
                        ["find", "-L", self.dir, "-type", "f", "-size", "+0"]):
            with self.subTest(command[0]):
                tool(*command)
        self.assertEqual(tool("rsync", "-aHAXi", self.dir + "/", self.copied()), "")

    def test_cp_of_the_best_one(self):
        for command in (["cp", "-a", self.path("best"), self.copied()], ["cp", "-r", self.path("best"), self.copied("r")],
                        ["rsync", "-a", self.path("best") + "/", self.copied("rsync")]):
            tool(*command)
            self.assertEqual(names(command[-1]), ["checkpoint.pt", TWO])
            self.same_file(os.path.join(command[-1], TWO), self.saved[TWO])
            self.same_file(os.path.join(command[-1], "checkpoint.pt"), self.saved[TWO])
        self.assertEqual(os.stat(self.path(TWO)).st_mtime_ns, os.stat(os.path.join(self.copied(), TWO)).st_mtime_ns)
        tool("cp", self.path("best", "checkpoint.pt"), self.copied("one.pt"))
        self.same_file(self.copied("one.pt"), self.saved[TWO])

    def test_with_the_views(self):
        tool("tar", "-cf", self.copied("run.tar"), "-C", self.mount.root, "run")
        os.mkdir(self.copied())
        tool("tar", "-xf", self.copied("run.tar"), "-C", self.copied())
        tool("rsync", "-a", self.dir, self.copied("rsync"))
        for top in (self.copied(), self.copied("rsync")):
            self.shows("best", TWO, root=os.path.join(top, "run"))
            self.shows("epoch/10", TEN, root=os.path.join(top, "run"))
            self.assertFalse(os.path.exists(os.path.join(top, "run", ".ckpt")))

    def test_without_them(self):
        """The commands of README.md."""
        with open(os.path.join(HERE, "..", "..", "README.md")) as file:
            readme = file.read()
        for command in (f"tar -cf run.tar --exclude=run7/{EXCLUDED} run7", f"rsync -a --exclude=/{EXCLUDED} run7/ DEST/"):
            self.assertIn(command, readme)
            tool("bash", "-c", command.replace("run7", "run").replace("run.tar", self.copied("run.tar"))
                 .replace("DEST", self.copied("rsync")), cwd=self.mount.root)
        os.mkdir(self.copied())
        tool("tar", "-xf", self.copied("run.tar"), "-C", self.copied())
        self.only_files(os.path.join(self.copied(), "run"))
        self.only_files(self.copied("rsync"))

    def test_mv_takes_views_and_policy_along(self):
        write(self.path(".ckpt", "policy"), b"metric val_loss min\n")
        shutil.rmtree(self.path("top"))
        moved = os.path.join(self.mount.root, "moved")
        tool("mv", self.dir, moved)
        self.absent("")
        for view, name in (("best", TWO), ("epoch/1", ONE), ("tag/stable", ONE)):
            self.shows(view, name, root=moved)
        self.assertFalse(os.path.exists(os.path.join(moved, "top")), "what was removed comes back")
        self.assertEqual(read(os.path.join(moved, ".ckpt", "policy")), b"metric val_loss min\n")
        self.mount.flush()
        self.assertEqual(json.loads(read(os.path.join(moved, ".ckpt/best/info.json")))["run"], "moved")
        # It goes on there, and another run begins under the old name.
        self.save("net_epoch_11_valLoss_0.125.pt", 11, moved)
        self.save("other_epoch_1.pt", 1)
        self.mount.flush()
        self.shows("latest", "net_epoch_11_valLoss_0.125.pt", root=moved)
        self.assertEqual(names(self.dir, "epoch"), ["1"])
        self.assertEqual(read(self.path(".ckpt", "policy")), b"")


class Removed(ThreeCase):
    def setUp(self):
        super().setUp()
        self.ckpt("finish", "run")

    def letters(self):
        return os.getxattr(os.path.join(self.mount.store, "live", "run"), "user.ckptfs.views").decode()

    def test_one_view_is_hidden_and_nothing_else(self):
        for view, letter in (("latest", "L"), ("best", "B"), ("final", "F"), ("epoch", "E"), ("step", "S"), ("tag", "T"),
                             ("top", "O"), ("history", "H")):
            with self.subTest(view):
                tool("rm", "-rf", self.path(view))
                self.assertIn(letter, self.letters())
                self.absent(view)
                self.assertTrue(names(self.dir, ".ckpt", view))
        self.assertEqual(names(self.dir), sorted([ONE, TWO, TEN]))
        self.ckpt("views", "run", "--show")
        self.shows("epoch/1", ONE)
        for name in (ONE, TWO, TEN):
            self.assertEqual(self.mount.kept(self.path(name)), [1])

    def test_an_entry_of_one_unlists_it(self):
        tool("rm", "-rf", self.path("epoch/1"))
        self.assertEqual(self.letters(), "e")
        self.assertNotIn("epoch", names(self.dir))
        self.shows("epoch/1", ONE)
        self.assertIn("latest", names(self.dir))

    def test_the_run_goes_with_rm_and_with_rmtree(self):
        for remove in (lambda path: tool("rm", "-r", path), shutil.rmtree):
            remove(self.dir)
            self.fails(errno.ENOENT, os.stat, self.dir)
            self.assertEqual(names(self.mount.root), [])
            self.save(ONE, 7)  # another run begins there
            self.mount.flush()
            self.shows("epoch/1", ONE)

    def test_nothing_goes_below_ckpt(self):
        for path in (f".ckpt/epoch/1/{ONE}", ".ckpt/latest/checkpoint.pt", ".ckpt/latest/info.json"):
            self.fails(errno.EROFS, os.unlink, self.path(path))
        self.fails(errno.EROFS, os.rmdir, self.path(".ckpt/epoch/1"))

    def test_owner_mode_and_times_are_the_runs(self):
        """Who changes them of everything in the run isn't stopped by views, which follow the run."""
        before = os.stat(self.path("latest"))
        for command in (("chmod", "-R", "u+w,o-rwx"), ("chown", "-R", "1234"), ("touch", "-c", "-d", "2001-01-01")):
            tool(*command, self.path("latest"), self.path("epoch/1"), self.path("latest", TEN))
            self.assertEqual(os.stat(self.path("latest")), before)
        tool("chown", "-R", "1234", self.dir)
        self.assertEqual(os.stat(self.path("latest")).st_uid, 1234)
        self.fails(errno.EROFS, os.chmod, self.path(".ckpt", "latest"), 0o700)

    def test_nothing_is_moved_out_of_them(self):
        """What is made in them: test_intent.py."""
        self.fails(errno.EROFS, os.rename, self.path("epoch/1"), self.path("mine"))
        self.fails((errno.EROFS, errno.EACCES), os.open, self.path("latest", TEN), os.O_WRONLY)
        self.fails(errno.EXDEV, os.link, self.path("latest", TEN), self.path("d.pt"))


class Hidden(RunCase):
    options = {"views": "hidden"}

    def test_only_ckpt_is_there(self):
        self.save(ONE)
        self.mount.flush()
        self.absent(*VIEWS)
        self.assertEqual(names(self.dir), [ONE])
        self.shows(".ckpt/epoch/1", ONE)
        os.mkdir(self.path("latest"))  # the name is free
        self.shows(".ckpt/latest", ONE)
        tool("cp", "-a", self.dir, os.path.join(self.base, "copy"))
        self.assertEqual(names(self.base, "copy"), sorted([ONE, "latest"]))
        self.mount.restart(views="visible")
        self.assertEqual(names(self.dir, "latest"), [])
        self.shows("epoch/1", ONE)


class InTheTool(ThreeCase):
    """Paths through views as arguments of ckpt."""

    def test_name_the_version_that_the_view_shows(self):
        self.save(TWO, 22)  # best/ and history/ have the first one still
        first = layouts.torch_bytes(layouts.full_state(2))
        self.mount.flush()
        for path, name, version in (("best/" + TWO, TWO, None), ("latest/checkpoint.pt", TWO, 2), ("latest/" + TWO, TWO, 2),
                                    ("epoch/1/" + ONE, ONE, 1), (".ckpt/top/val_acc/1/checkpoint.pt", TEN, 1),
                                    ("top/3/" + ONE, ONE, 1),
                                    ("tag/stable", ONE, 1), (f"history/{TWO}/v0001", TWO, 1)):
            with self.subTest(path):
                shown = read(self.path(path) if path != "tag/stable" else self.path(path, ONE))
                version = version or (1 if shown == first else 2)
                for argument in (f"run/{path}", self.path(path)):
                    row = self.mount.ckpt_json("log", argument)["paths"][0]
                    self.assertEqual((row["path"], [v["version"] for v in row["versions"]]), (f"run/{name}", [version]))
                    stats = self.mount.ckpt_json("stats", argument)["paths"][0]
                    self.assertEqual([v["version"] for v in stats["versions"]], [version])
                    to = os.path.join(self.base, "restored")
                    self.ckpt("restore", "--force", argument, to)
                    self.same_file(to, shown)

    def test_of_a_directory(self):
        layouts.save(layouts.transformers, self.dir, 30)
        self.mount.flush()
        row = self.mount.ckpt_json("log", "run/latest/optimizer.pt")["paths"][0]
        self.assertEqual(row["path"], "run/checkpoint-3000/optimizer.pt")
        for path in ("latest", "latest/none.pt", "latest/checkpoint.pt"):
            with self.assertRaises(AssertionError) as failed:
                self.ckpt("log", f"run/{path}")
            self.assertEqual(failed.exception.status, 4)
        self.ckpt("demote", "run/latest/optimizer.pt")
        self.assertTrue(self.mount.is_cold(self.path("checkpoint-3000", "optimizer.pt")))

    def test_forget(self):
        self.save(TWO, 22)
        self.mount.flush()
        self.ckpt("forget", f"run/history/{TWO}/v0001")
        self.assertEqual(self.mount.kept(self.path(TWO)), [2])
        os.unlink(self.path(ONE))
        self.mount.flush()
        self.ckpt("forget", "run/epoch/1/checkpoint.pt")
        self.assertEqual(self.mount.kept(self.path(ONE)), [])
        self.absent("epoch/1")


    def test_forget_a_part(self):
        for k in (30, 31):
            layouts.save(layouts.transformers, self.dir, k)
        self.mount.flush()
        self.assertEqual(self.info("latest")["step"], 3100)
        self.ckpt("forget", "run/latest/optimizer.pt")
        self.assertEqual(self.info("latest")["step"], 3000)
        broken = next(row for row in self.rows("--all") if row["step"] == 3100)
        self.assertEqual((broken["state"], broken["why"]), ("invalid", "optimizer.pt was forgotten"))
        layouts.save(layouts.transformers, self.dir, 31)
        self.mount.flush()
        self.assertEqual(self.info("latest")["step"], 3100)
        self.same_file(self.path("latest", "optimizer.pt"), read(self.path("checkpoint-3100", "optimizer.pt")))


class ManyCheckpoints(RunCase):
    COUNT = 2000

    def test_in_one_run(self):
        for epoch in range(self.COUNT):
            write(self.path(f"epoch_{epoch}.pt"), layouts.torch_bytes({"epoch": epoch}))
        self.mount.flush()
        self.within(5, lambda: self.assertEqual(sorted(map(int, os.listdir(self.path("epoch")))), list(range(self.COUNT))))
        for where in ("epoch", ".ckpt/epoch"):
            self.within(5, lambda where=where: [self.same_file(self.path(where, str(epoch), "checkpoint.pt"), read(self.path(
                f"epoch_{epoch}.pt"))) for epoch in range(0, self.COUNT, 4)])
        self.within(5, lambda: [os.listdir(self.path("latest")) for _ in range(300)])
        self.within(5, lambda: [self.info(f"epoch/{epoch}") for epoch in range(0, self.COUNT, 20)])
        # Each of its directories is entered, but the attribute is written once.
        before = os.stat(os.path.join(self.mount.store, "live", "run"))
        self.within(10, lambda: tool("rm", "-rf", self.path("epoch")))
        self.absent("epoch")
        self.assertEqual(os.stat(os.path.join(self.mount.store, "live", "run")).st_mtime_ns, before.st_mtime_ns)
        self.assertEqual(names(self.dir, ".ckpt/epoch", str(self.COUNT - 1)), sorted(
            ["checkpoint.pt", "info.json", f"epoch_{self.COUNT - 1}.pt"]))
        self.ckpt("views", "run", "--show")
        self.within(20, lambda: tool("rm", "-rf", self.dir))
        self.fails(errno.ENOENT, os.stat, self.dir)

    def within(self, seconds, function):
        """Ten times what it takes, or more: what grows with the square of the number doesn't do it."""
        start = time.monotonic()
        function()
        self.assertLess(time.monotonic() - start, seconds)


if __name__ == "__main__":
    main()
