#!/usr/bin/python3
"""Views give way: whoever makes an entry where a view stands, or in one, gets a real one, as if there were no views."""
import errno
import os
import platform
import shutil
import struct
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from mounted import (AT_FDCWD, RENAME_EXCHANGE, RENAME_NOREPLACE, VIEWS, Child, as_nobody, call, listed, main,  # noqa: E402
                     needs_root, read, renameat2, write)
from mounted import MountCase, data  # noqa: E402

SYS_OPENAT2 = 437
SYS_MKDIR = {"x86_64": 83}.get(platform.machine())
SYS_RENAMEAT = {"x86_64": 264, "aarch64": 38}.get(platform.machine())

SHOWN = [view for view in VIEWS if view != "final"]


def names(*where):
    return sorted(os.listdir(os.path.join(*where)))


def openat2(path, flags):
    how = struct.pack("QQQ", flags, 0o644 if flags & os.O_CREAT else 0, 0)
    return call("syscall", SYS_OPENAT2, AT_FDCWD, os.fsencode(path), how, len(how))


def open_and_close(path, flags, mode=0o644):
    os.close(os.open(path, flags, mode))


def write_in_mode(mode):
    def run(path):
        with open(path, mode) as file:
            file.write(b"mine")
    return run


class IntentCase(MountCase):
    """A run that shows all views but final, which would go with the next file that is seen."""

    # A file "final" or "latest" would be a checkpoint, which changes what the run shows.
    options = {"capture": "*.pt"}

    FILES = ["a_epoch_1_step_1.pt", "b_epoch_2_step_2.pt", "c_epoch_2_step_2.pt"]

    def setUp(self):
        super().setUp()
        write(self.path(".ckpt", "policy"), b"metric loss min\n")
        self.saved = {name: data(20_000 + seed, seed) for seed, name in enumerate(self.FILES)}
        for name, content in self.saved.items():
            write(self.path(name), content)
        self.mount.flush()
        for epoch, loss in ((1, 2), (2, 1)):
            self.mount.ckpt("metric", f"run@epoch={epoch}", f"loss={loss}")
        self.mount.ckpt("tag", "run@epoch=1", "x")
        os.mkdir(self.path("src"))
        self.held = []

    def directory(self, *where):
        """A descriptor, closed before the mount ends."""
        fd = os.open(self.path(*where), os.O_RDONLY | os.O_DIRECTORY)
        self.held.append(fd)
        return fd

    def tearDown(self):
        for fd in self.held:
            os.close(fd)
        super().tearDown()

    def is_view(self, path):
        """Views have no directory behind them."""
        return os.path.isdir(path) and not os.path.lexists(self.mount.live(path))

    def assert_view(self, *where):
        path = self.path(*where)
        self.assertTrue(self.is_view(path), f"{path} is no view")

    def assert_real(self, *where):
        self.assertTrue(os.path.lexists(self.mount.live(self.path(*where))), f"{where} isn't there")
        os.lstat(self.path(*where))

    def again(self, path):
        """Takes the real entry away: the view is back. Not before its own views are settled: shutil.rmtree fails when something
        goes by itself between its listing and its removal."""
        self.mount.flush()
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        else:
            os.unlink(path)
        self.assertTrue(self.is_view(path), f"{path} didn't come back")


class InItsPlace(IntentCase):
    """mkdir best and the like."""

    def source(self, name="file"):
        path = self.path("src", name)
        write(path, b"mine")
        return path

    def source_dir(self):
        path = self.path("src", "dir")
        os.makedirs(path, exist_ok=True)
        return path

    def calls(self):
        calls = {
            "mkdir": os.mkdir,
            "mkdir with a slash": lambda path: os.mkdir(path + "/"),
            "mkdir with slashes": lambda path: os.mkdir(path.replace("/run/", "//run/./") + "//"),
            "makedirs": os.makedirs,
            "makedirs exist_ok": lambda path: os.makedirs(path, exist_ok=True),
            "w": write_in_mode("wb"),
            "x": write_in_mode("xb"),
            "a": write_in_mode("ab"),
            "w+": write_in_mode("w+b"),
            "O_CREAT": lambda path: open_and_close(path, os.O_WRONLY | os.O_CREAT),
            "O_CREAT to read": lambda path: open_and_close(path, os.O_RDONLY | os.O_CREAT),
            "openat2": lambda path: os.close(openat2(path, os.O_WRONLY | os.O_CREAT)),
            "creat": lambda path: os.close(call("creat", os.fsencode(path), 0o644)),
            "mkfifo": os.mkfifo,
            "symlink": lambda path: os.symlink("a_epoch_1_step_1.pt", path),
            "link": lambda path: os.link(self.source(), path),
            "link of the same name": lambda path: os.link(self.source(os.path.basename(path)), path),
            "rename a file": lambda path: os.rename(self.source(), path),
            "rename a directory": lambda path: os.rename(self.source_dir(), path),
            "replace": lambda path: os.replace(self.source(), path),
            "replace by the same name": lambda path: os.replace(self.source(os.path.basename(path)), path),
            "renameat2": lambda path: renameat2(self.source(), path, RENAME_NOREPLACE),
            "copytree": lambda path: shutil.copytree(self.source_dir(), path),
        }
        if SYS_MKDIR:
            calls["the mkdir system call"] = lambda path: call("syscall", SYS_MKDIR, os.fsencode(path), 0o755)
        if SYS_RENAMEAT:
            calls["renameat"] = lambda path: call("syscall", SYS_RENAMEAT, AT_FDCWD, os.fsencode(self.source()), AT_FDCWD,
                                                  os.fsencode(path))
        return calls

    def test_every_view_gives_way_to_every_call(self):
        for view in SHOWN:
            for name, make in self.calls().items():
                with self.subTest(f"{name} {view}"):
                    self.assert_view(view)
                    make(self.path(view))
                    self.assert_real(view)
                    self.again(self.path(view))
        self.assertEqual(names(self.dir, ".ckpt"), sorted([*SHOWN, "early_stop", "policy"]))

    def test_relative_to_a_directory(self):
        self.source()
        fd, source = self.directory(), self.directory("src")
        for make in (lambda: os.mkdir("best", dir_fd=fd),
                     lambda: os.close(os.open("best", os.O_CREAT | os.O_WRONLY, dir_fd=fd)),
                     lambda: os.symlink("a_epoch_1_step_1.pt", "best", dir_fd=fd),
                     lambda: os.link("file", "best", src_dir_fd=source, dst_dir_fd=fd),
                     lambda: os.replace("file", "best", src_dir_fd=source, dst_dir_fd=fd)):
            make()
            self.assert_real("best")
            self.again(self.path("best"))
            self.source()
        subprocess.run(["mkdir", "best"], cwd=self.dir, check=True)
        self.assert_real("best")

    def test_in_a_thread_and_in_a_child(self):
        failures = []

        def run(path):
            try:
                for _ in range(20):
                    os.mkdir(path)
                    os.rmdir(path)
            except OSError as failure:
                failures.append(failure)
        threads = [threading.Thread(target=run, args=(self.path(view),)) for view in SHOWN]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        Child(os.mkdir, self.path("best")).result()
        self.assert_real("best")

    def test_what_was_cached_is_dropped(self):
        held = self.directory("latest")
        os.stat(self.path("latest", "b_epoch_2_step_2.pt"))
        write(self.path("latest"), b"epoch_2")
        self.same_file(self.path("latest"), b"epoch_2")
        self.fails(errno.ENOTDIR, os.listdir, self.path("latest"))
        # Who has the view open goes on.
        self.assertIn("b_epoch_2_step_2.pt", os.listdir(held))
        self.assertEqual(names(self.dir, ".ckpt/latest"), ["b_epoch_2_step_2.pt", "c_epoch_2_step_2.pt", "checkpoint.pt", "info.json"])

    def test_shell(self):
        for command in ("mkdir best", "mkdir -p best", "touch best", "echo x > best", "ln -s a_epoch_1_step_1.pt best", "ln -sfn a_epoch_1_step_1.pt best", "mkfifo best",
                        "mv src best", "mkdir -p best/deep/er", "cp -r src best/src"):
            with self.subTest(command):
                subprocess.run(["bash", "-c", "mkdir -p src && " + command], cwd=self.dir, check=True)
                self.assert_real("best")
                self.again(self.path("best"))

    def test_exclusive_is_exclusive(self):
        os.mkdir(self.path("best"))
        self.fails(errno.EEXIST, os.mkdir, self.path("best"))
        write(self.path("latest"), b"")
        self.fails(errno.EEXIST, os.open, self.path("latest"), os.O_CREAT | os.O_EXCL | os.O_WRONLY)

    @needs_root
    def test_who_may_not_write_the_run_makes_nothing(self):
        os.chmod(self.dir, 0o755)
        for make in (lambda: as_nobody(os.mkdir, self.path("best")), lambda: as_nobody(write, self.path("latest"), b""),
                     lambda: as_nobody(os.mkdir, self.path("best", "sub")), lambda: as_nobody(write, self.path("epoch", "1", "x"), b"")):
            self.fails(errno.EACCES, make)
        for view in SHOWN:
            self.assert_view(view)

    def test_a_view_is_not_moved_nor_exchanged(self):
        self.fails(errno.EROFS, os.rename, self.path("best"), self.path("mine"))
        os.mkdir(self.path("other"))
        self.fails(errno.EROFS, os.rename, self.path("best"), self.path("other", "best"))
        self.fails(errno.EROFS, os.rename, self.path("best", "b_epoch_2_step_2.pt"), self.path("other", "b_epoch_2_step_2.pt"))
        self.fails(errno.EROFS, renameat2, self.path("other"), self.path("best"), RENAME_EXCHANGE)
        self.fails(errno.EROFS, renameat2, self.path("other"), self.path("best", "b_epoch_2_step_2.pt"), RENAME_EXCHANGE)
        # A link out of one is told to be a copy, which many programs then make.
        self.fails(errno.EXDEV, os.link, self.path("best", "b_epoch_2_step_2.pt"), self.path("other", "b_epoch_2_step_2.pt"))
        self.fails(errno.EXDEV, os.link, "b_epoch_2_step_2.pt", self.path("other", "b_epoch_2_step_2.pt"),
                   src_dir_fd=self.directory("best"))
        self.assert_view("best")

    def test_below_ckpt_nothing_gives_way(self):
        for path in (".ckpt", ".ckpt/best", ".ckpt/epoch/1"):
            self.fails(errno.EEXIST, os.mkdir, self.path(path))
        for path in (".ckpt/new", ".ckpt/best/new", ".ckpt/epoch/3"):
            self.fails(errno.EROFS, os.mkdir, self.path(path))
        self.fails(errno.EROFS, write, self.path(".ckpt/best/b_epoch_2_step_2.pt"), b"")


class Within(IntentCase):
    """Saving into best/, which is a view."""

    def test_a_file_makes_a_real_directory(self):
        for where, real in (("best", ["best"]), ("epoch/3", ["epoch", "epoch/3"]), ("epoch/1", ["epoch", "epoch/1"]),
                            ("tag/x", ["tag/x"]), ("top/loss/1", ["top/loss/1"]), ("history", ["history"]), ("latest", ["latest"])):
            with self.subTest(where):
                if where == "epoch/3":
                    self.fails(errno.ENOENT, write, self.path(where, "model.pt"), b"mine")
                    continue
                write(self.path(where, "model.pt"), b"mine")
                self.assertEqual(listed(self.path(where)), ["model.pt"])
                self.same_file(self.path(where, "model.pt"), b"mine")
                for one in real:
                    self.assert_real(one)
                self.again(self.path(where.split("/", maxsplit=1)[0]))

    def test_as_trainers_do(self):
        if not os.path.exists(self.path("best")):
            os.makedirs(self.path("best"))
        for i in range(3):
            write(self.path("best", "model.pt"), b"%d" % i)
        self.assertEqual(sorted(listed(self.path("best"))), ["model.pt"])
        self.assertEqual(self.mount.versions(self.path("best", "model.pt")), [1, 2, 3])
        self.assertEqual(names(self.dir, ".ckpt/best"), ["b_epoch_2_step_2.pt", "c_epoch_2_step_2.pt", "checkpoint.pt", "info.json"])

    def test_every_call_makes_the_directory(self):
        write(self.path("src", "file"), b"mine")
        os.mkdir(self.path("src", "dir"))
        new = self.path("best", "new")
        calls = {
            "mkdir": lambda: os.mkdir(new),
            "makedirs": lambda: os.makedirs(os.path.join(new, "deeper")),
            "w": lambda: write(new, b""),
            "O_EXCL": lambda: open_and_close(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY),
            "openat2": lambda: os.close(openat2(new, os.O_CREAT | os.O_WRONLY)),
            "mkfifo": lambda: os.mkfifo(new),
            "symlink": lambda: os.symlink("x", new),
            "link": lambda: os.link(self.path("src", "file"), new),
            "rename a directory": lambda: os.rename(self.path("src", "dir"), new),
            "replace": lambda: os.replace(self.path("src", "file"), new),
            "shell": lambda: subprocess.run(["bash", "-c", "echo x > best/new"], cwd=self.dir, check=True),
            "thread": lambda: self.in_thread(write, new, b""),
        }
        for name, make in calls.items():
            with self.subTest(name):
                self.assert_view("best")
                make()
                self.assert_real("best", "new")
                self.assertEqual(sorted(listed(self.path("best"))), ["new"])
                self.again(self.path("best"))

    @staticmethod
    def in_thread(function, *args):
        thread = threading.Thread(target=function, args=args)
        thread.start()
        thread.join()

    def test_a_name_that_the_view_has_is_new_there(self):
        for name, mode in (("b_epoch_2_step_2.pt", "wb"), ("b_epoch_2_step_2.pt", "xb"), ("c_epoch_2_step_2.pt", "ab"), ("checkpoint.pt", "wb")):
            with self.subTest(f"{name} {mode}"):
                with open(self.path("best", name), mode) as file:
                    file.write(b"mine")
                self.assertEqual(listed(self.path("best")), [name])
                self.same_file(self.path("best", name), b"mine")
                self.again(self.path("best"))
        write(self.path("src", "b_epoch_2_step_2.pt"), b"mine")
        os.replace(self.path("src", "b_epoch_2_step_2.pt"), self.path("best", "b_epoch_2_step_2.pt"))
        self.same_file(self.path("best", "b_epoch_2_step_2.pt"), b"mine")
        for name in self.FILES:
            self.same_file(self.path(name), self.saved[name])

    def test_a_path_that_has_the_name_twice(self):
        for path in ("best/best", "latest/latest"):
            write(self.path(path), b"mine")
            self.same_file(self.path(path), b"mine")
            self.again(self.path(os.path.dirname(path)))
        subprocess.run(["bash", "-c", "echo mine > best/best && mkdir epoch/epoch"], cwd=self.dir, check=True)
        self.assert_real("best", "best")
        self.assert_real("epoch", "epoch")

    def test_without_creating_it_stays_read_only(self):
        for flags in (os.O_WRONLY, os.O_RDWR):
            self.fails((errno.EROFS, errno.EACCES), os.open, self.path("best", "b_epoch_2_step_2.pt"), flags)
        self.fails((errno.EROFS, errno.EACCES), os.truncate, self.path("best", "b_epoch_2_step_2.pt"), 0)
        self.assert_view("best")

    def test_emptying_a_file_by_opening_it_makes_a_real_one(self):
        """What cp does with a file that is there."""
        fd = os.open(self.path("best", "b_epoch_2_step_2.pt"), os.O_WRONLY | os.O_TRUNC)
        self.assertEqual(os.write(fd, b"mine"), 4)
        os.close(fd)
        self.assert_real("best", "b_epoch_2_step_2.pt")
        self.same_file(self.path("best", "b_epoch_2_step_2.pt"), b"mine")
        self.assertEqual(names(self.dir, ".ckpt", "best"), ["b_epoch_2_step_2.pt", "c_epoch_2_step_2.pt", "checkpoint.pt", "info.json"])

    def test_a_copy_of_the_run_beside_it(self):
        """With its views, while those of the copy come up by themselves."""
        copy = os.path.join(self.mount.root, "copy")
        subprocess.run(["cp", "-r", self.dir, copy], check=True)
        for name, content in self.saved.items():
            self.same_file(os.path.join(copy, name), content)
        self.same_file(os.path.join(copy, "best", "b_epoch_2_step_2.pt"), self.saved["b_epoch_2_step_2.pt"])

    def test_copytree_onto_one(self):
        os.makedirs(self.path("src", "sub"))
        write(self.path("src", "model.pt"), b"1")
        write(self.path("src", "sub", "more.pt"), b"2")
        shutil.copytree(self.path("src"), self.path("best"), dirs_exist_ok=True)
        self.assertEqual(sorted(listed(self.path("best"))), ["model.pt", "sub"])
        self.same_file(self.path("best", "sub", "more.pt"), b"2")
        subprocess.run(["cp", "-r", "src/.", "epoch/1"], cwd=self.dir, check=True)
        self.assertEqual(sorted(listed(self.path("epoch/1"))), ["model.pt", "sub"])
        self.assertEqual(listed(self.path("epoch")), ["1"])

    def test_a_copy_of_one_is_a_copy(self):
        shutil.copytree(self.path("best"), self.path("copy"))
        self.same_file(self.path("copy", "b_epoch_2_step_2.pt"), self.saved["b_epoch_2_step_2.pt"])
        subprocess.run(["cp", "best/b_epoch_2_step_2.pt", "."], cwd=self.dir, check=True)
        self.same_file(self.path("b_epoch_2_step_2.pt"), self.saved["b_epoch_2_step_2.pt"])
        self.assert_view("best")

    def test_relative_to_a_directory(self):
        fd = self.directory()
        os.close(os.open("best/model.pt", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
        self.assert_real("best", "model.pt")

    def test_from_inside_a_view(self):
        """cp opens the directory first, and names the files in it; others stand in it."""
        write(self.path("src", "x"), b"x")
        fd, source = self.directory("best"), self.directory("src")
        opened = os.open("b_epoch_2_step_2.pt", os.O_CREAT | os.O_RDWR, dir_fd=fd)
        os.write(opened, b"mine")
        os.close(opened)
        self.same_file(self.path("best", "b_epoch_2_step_2.pt"), b"mine")
        os.mkdir("sub", dir_fd=fd)
        os.mkdir("sub/deeper", dir_fd=fd)
        os.symlink("b_epoch_2_step_2.pt", "link", dir_fd=fd)
        os.link("x", "hard", src_dir_fd=source, dst_dir_fd=fd)
        os.rename("x", "y.tmp", src_dir_fd=source, dst_dir_fd=fd)
        os.replace("y.tmp", "y", src_dir_fd=fd, dst_dir_fd=fd)
        self.assertEqual(sorted(listed(self.path("best"))), ["b_epoch_2_step_2.pt", "hard", "link", "sub", "y"])
        self.assertEqual(os.stat("b_epoch_2_step_2.pt", dir_fd=fd).st_ino, os.stat(self.path("best", "b_epoch_2_step_2.pt")).st_ino)
        self.assertEqual(os.stat("sub/deeper", dir_fd=fd).st_ino, os.stat(self.path("best", "sub", "deeper")).st_ino)
        self.fails(errno.ENOENT, os.stat, "c_epoch_2_step_2.pt", dir_fd=fd)
        self.fails(errno.EEXIST, os.mkdir, "sub", dir_fd=fd)
        os.unlink("hard", dir_fd=fd)
        os.rmdir("sub/deeper", dir_fd=fd)
        self.assertEqual(names(self.dir, "best", "sub"), [])
        subprocess.run(["bash", "-ec", "mkdir 3; echo x > 3/x; rm -r 3"], cwd=self.path("epoch", "1"), check=True)
        subprocess.run(["bash", "-ec", "cd latest && mkdir a && echo x > a/x && mv a b && cat b/x && [ -f ../latest/b/x ]"], cwd=self.dir,
                       check=True, stdout=subprocess.DEVNULL)
        # Below a directory that is a view, too.
        os.mkdir("2/sub", dir_fd=self.directory("step"))
        self.assert_real("step", "2", "sub")

    @needs_root
    def test_from_inside_a_view_only_what_is_the_callers(self):
        os.chmod(self.dir, 0o777)
        fd = self.directory("best")
        os.mkdir(self.path("best"), 0o700)
        write(self.path("best", "b_epoch_2_step_2.pt"), b"private")
        for make in (lambda: as_nobody(os.mkdir, f"/proc/self/fd/{fd}/new"), lambda: as_nobody(write, f"/proc/self/fd/{fd}/b_epoch_2_step_2.pt", b""),
                     lambda: as_nobody(os.rename, f"/proc/self/fd/{fd}/b_epoch_2_step_2.pt", self.path("mine"))):
            self.fails((errno.ESTALE, errno.EROFS, errno.EACCES), make)
        self.fails(errno.EACCES, as_nobody, read, self.path("best", "b_epoch_2_step_2.pt"))
        self.assertEqual(listed(self.path("best")), ["b_epoch_2_step_2.pt"])

    def test_tools(self):
        write(self.path("src", "x"), b"x")
        for where in ("best", "epoch/1"):
            for command in ("cp src/x DIR", "cp -a src/x DIR/", "cp -r src/. DIR", "ln -s ../src/x DIR/", "ln src/x DIR/", "mv src/x DIR/",
                            "install -m 644 src/x DIR", "rsync -a src/ DIR/", "tar cC src x | tar xC DIR", "dd if=src/x of=DIR/x status=none",
                            "cp -r src DIR/x", "install -d DIR/x", "mkdir -p DIR/x/y", "python3 -c 'open(\"DIR/x\", \"w\")'"):
                if command.startswith("rsync") and shutil.which("rsync") is None:
                    continue
                with self.subTest(f"{command} {where}"):
                    write(self.path("src", "x"), b"x")
                    self.assert_view(where)
                    subprocess.run(["bash", "-ec", command.replace("DIR", where)], cwd=self.dir, check=True)
                    self.assertTrue(os.path.isdir(self.path(where)))
                    self.assertEqual(listed(self.path(where)), ["x"])
                    self.assert_real(where, "x")
                    shutil.rmtree(self.path(where.split("/", maxsplit=1)[0]))

    def test_many_at_once(self):
        failures = []
        start = threading.Barrier(8)

        def run(i):
            start.wait()
            try:
                write(self.path("best", f"rank_{i}.pt"), b"%d" % i)
            except OSError as failure:
                failures.append(failure)
        for _ in range(5):
            threads = [threading.Thread(target=run, args=(i,)) for i in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(failures, [])
            self.assertEqual(sorted(listed(self.path("best"))), [f"rank_{i}.pt" for i in range(8)])
            self.again(self.path("best"))

    @needs_root
    def test_it_belongs_to_who_made_it(self):
        os.chown(self.dir, 65534, 65534)
        os.chmod(self.dir, 0o750)
        as_nobody(write, self.path("epoch", "1", "model.pt"), b"mine")
        as_nobody(write, self.path("src2"), b"mine")
        as_nobody(os.rename, self.path("src2"), self.path("best", "model.pt"))
        for path in ("epoch", "epoch/1", "epoch/1/model.pt", "best", "best/model.pt"):
            st = os.stat(self.path(path))
            self.assertEqual((st.st_uid, st.st_gid), (65534, 65534), path)
            self.assertEqual(st.st_mode & 0o027, 0 if os.path.isdir(self.path(path)) else 0o004, path)

    def test_torch(self):
        try:
            import torch
        except ImportError:
            self.skipTest("no torch")
        saved = {"weight": torch.arange(1000)}
        torch.save(saved, self.path("best", "model.pt"))
        self.assertTrue(torch.equal(torch.load(self.path("best", "model.pt"))["weight"], saved["weight"]))
        self.assertEqual(sorted(listed(self.path("best"))), ["model.pt"])


class Reading(IntentCase):
    """Nothing of the kind happens to who only looks."""

    def test_views_stay(self):
        commands = ("cat best/b_epoch_2_step_2.pt", "ls -lR best latest epoch", "stat best epoch/1/a_epoch_1_step_1.pt", "find . -name '*.pt'", "du -a .", "test -d best",
                    "[ -e latest/b_epoch_2_step_2.pt ]", "grep -c x best/b_epoch_2_step_2.pt || true", "head -c 1 < latest/b_epoch_2_step_2.pt", "cp best/b_epoch_2_step_2.pt src/",
                    "tar c best latest | tar t", "cd best && cat b_epoch_2_step_2.pt", "ln -s ../best/b_epoch_2_step_2.pt src/link && cat src/link", "cp best/checkpoint.pt src/")
        for command in commands:
            with self.subTest(command):
                subprocess.run(["bash", "-ec", command], cwd=self.dir, check=True, stdout=subprocess.DEVNULL)
        for view in SHOWN:
            self.assert_view(view)
        os.close(openat2(self.path("best", "b_epoch_2_step_2.pt"), os.O_RDONLY))
        self.same_file(self.path("best", "c_epoch_2_step_2.pt"), self.saved["c_epoch_2_step_2.pt"])

    def test_rm_rf(self):
        subprocess.run(["rm", "-rf", self.path("best")], check=True)
        self.fails(errno.ENOENT, os.stat, self.path("best"))
        write(self.path("latest"), b"x")
        os.mkdir(self.path("epoch"))
        write(self.path("step", "2", "b_epoch_2_step_2.pt"), b"x")
        subprocess.run(["rm", "-rf", self.dir], check=True)
        self.fails(errno.ENOENT, os.stat, self.dir)


if __name__ == "__main__":
    main()
