"""Copies into, out of and within the mount: rsync, tar, cp, mv, shutil. A faithful copy agrees in everything."""
import os
import shutil
import tarfile
import tempfile

from client import ClientCase, attributes, host_bytes, programs, run, tree
from mounted import VIEWS, MiB, data, file_sha, main, read, write

programs("rsync", "tar", "cp", "mv", "setfacl", "getfacl")

SPARSE_SIZE, SPARSE_DATA = 24 * MiB, 1 * MiB


def make_sparse(path):
    with open(path, "wb") as file:
        file.truncate(SPARSE_SIZE)
        for offset in (0, 10 * MiB, SPARSE_SIZE - SPARSE_DATA):
            file.seek(offset)
            file.write(data(SPARSE_DATA, offset))


def make_tree(top):
    """Whatever a run can have in it."""
    os.makedirs(os.path.join(top, "sub", "deeper"))
    os.mkdir(os.path.join(top, "empty"))
    for number, name in enumerate(("last.pt", "sub/epoch_1.pt", "sub/deeper/weights.safetensors")):
        write(os.path.join(top, name), data(700_000, number))
    write(os.path.join(top, "big"), data(2 * MiB, 5))
    write(os.path.join(top, "notes.txt"), b"notes\n")
    write(os.path.join(top, "none.pt"), b"")
    os.link(os.path.join(top, "last.pt"), os.path.join(top, "sub", "linked.pt"))
    os.link(os.path.join(top, "notes.txt"), os.path.join(top, "empty", "linked.txt"))
    os.symlink("last.pt", os.path.join(top, "current"))
    os.symlink("/nowhere/at all", os.path.join(top, "dangling"))
    os.mkfifo(os.path.join(top, "fifo"))
    make_sparse(os.path.join(top, "sparse.pt"))
    write(os.path.join(top, "sub", "a name with spaces, ünï and \n newline.pt"), data(1000))
    os.setxattr(os.path.join(top, "last.pt"), "user.note", b"\x00binary\xff")
    os.setxattr(os.path.join(top, "sub"), "user.note", b"of a directory")
    run("setfacl", "-m", "u:12345:rw,g:54321:r", os.path.join(top, "sub", "epoch_1.pt"))
    run("setfacl", "-m", "d:u:12345:rwx,u:12345:rx", os.path.join(top, "sub", "deeper"))
    os.chmod(os.path.join(top, "notes.txt"), 0o600)
    os.chmod(os.path.join(top, "big"), 0o444)
    os.chmod(os.path.join(top, "empty"), 0o2775)
    if os.geteuid() == 0:
        os.chown(os.path.join(top, "big"), 1234, 4321)
        os.setxattr(os.path.join(top, "big"), "trusted.note", b"for root")
    for number, (where, _, names) in enumerate(os.walk(top, topdown=False)):
        for name in names:
            os.utime(os.path.join(where, name), ns=(10**18, 10**18 + number * 10**9 + 123_456_789),
                     follow_symlinks=False)
        os.utime(where, ns=(10**18, 10**18 - number * 10**9 + 987_654_321))


class Copies(ClientCase):
    def setUp(self):
        super().setUp()
        self.source = self.outside("run")
        make_tree(self.source)
        self.target = self.path("run")
        self.captured = ["last.pt", "big", "none.pt", "sparse.pt", "sub/epoch_1.pt", "sub/linked.pt",
                         "sub/deeper/weights.safetensors"]

    def assert_tree(self, copy, original, without=()):
        one, two = tree(original, without), tree(copy, without)
        self.assertEqual(sorted(two), sorted(one))
        for name, about in one.items():
            self.assertEqual(two[name], about, name)

    def assert_captured(self, top=None):
        """Every captured file is a version with its bytes."""
        self.mount.flush()
        for name in self.captured:
            self.assert_newest(os.path.join(top or self.target, name))

    def demote_all(self, top=None):
        top = top or self.target
        single = [name for name in self.captured if os.stat(os.path.join(top, name)).st_nlink == 1
                  and os.stat(os.path.join(top, name)).st_size > 0]
        self.assertGreater(len(single), 3)
        self.mount.demote(*(os.path.join(top, name) for name in single))
        return [os.path.join(top, name) for name in single]

    def still_cold(self, paths):
        for path in paths:
            self.assertTrue(self.mount.is_cold(path), f"{path} has become hot")


class WithRsync(Copies):
    options = {"views": "hidden"}

    def rsync(self, source, target, *options):
        return run("rsync", "-aHAX", "--itemize-changes", *options, f"{source}/", f"{target}/")

    def test_in(self):
        self.assertTrue(self.rsync(self.source, self.target))
        self.assert_tree(self.target, self.source)
        self.assertEqual(self.rsync(self.source, self.target), "")
        self.assertEqual(self.rsync(self.source, self.target, "--checksum"), "")
        self.assert_captured()
        self.assertEqual(self.rsync(self.source, self.target), "")

    def test_in_over_cold_files(self):
        self.rsync(self.source, self.target)
        cold = self.demote_all()
        self.assertEqual(self.rsync(self.source, self.target), "")
        self.assertEqual(self.rsync(self.source, self.target, "--checksum"), "")
        self.still_cold(cold)
        self.assert_tree(self.target, self.source)

    def test_out(self):
        make_tree(self.target)
        self.assertTrue(self.rsync(self.target, self.outside("copy")))
        self.assert_tree(self.outside("copy"), self.target)
        self.assertEqual(self.rsync(self.target, self.outside("copy")), "")
        cold = self.demote_all()
        self.assertEqual(self.rsync(self.target, self.outside("copy")), "")
        self.assertTrue(self.rsync(self.target, self.outside("from cold")))
        self.assert_tree(self.outside("from cold"), self.target)
        self.still_cold(cold)

    def test_own_attributes_stay_at_home(self):
        """Those of the store, which -X as root would copy if it saw them."""
        make_tree(self.target)
        self.demote_all()
        self.rsync(self.target, self.outside("copy"))
        for where, directories, files in os.walk(self.outside("copy")):
            for name in directories + files + ["."]:
                found = attributes(os.path.join(where, name))
                self.assertFalse([key for key in found if "ckptfs" in key], (where, name, found))

    def test_changes_only(self):
        self.rsync(self.source, self.target)
        first = read(os.path.join(self.source, "last.pt"))
        self.mount.flush()
        changed = data(300_000, 77)
        write(os.path.join(self.source, "last.pt"), changed)
        write(os.path.join(self.source, "new.pt"), changed)
        os.unlink(os.path.join(self.source, "big"))
        os.utime(self.source, (2, 2))  # rsync takes times of one second for the same
        lines = self.rsync(self.source, self.target, "--delete").splitlines()
        self.assertEqual(sorted(line.split(" ", 1)[1].strip() for line in lines if "/" not in line.split(" ", 1)[1]),
                         ["big", "last.pt", "new.pt"], lines)
        self.assert_tree(self.target, self.source)
        self.assertEqual(self.rsync(self.source, self.target, "--delete"), "")
        self.assert_versions(os.path.join(self.target, "last.pt"), [first, changed])
        self.assert_versions(os.path.join(self.target, "big"), [data(2 * MiB, 5)])

    def test_in_place_and_resumed(self):
        path, source = os.path.join(self.target, "big"), os.path.join(self.source, "big")
        os.mkdir(self.target)
        write(path, data(2 * MiB, 5)[:1_500_000])
        run("rsync", "-a", "--append-verify", source, path)
        self.same_file(path, data(2 * MiB, 5))
        self.mount.demote(path)
        changed = data(2 * MiB, 5)[:1 * MiB] + data(1 * MiB, 6)
        os.chmod(source, 0o644)
        write(source, changed)
        run("rsync", "-a", "--inplace", "--no-whole-file", source, path)
        self.assert_versions(path, [data(2 * MiB, 5)[:1_500_000], data(2 * MiB, 5), changed])

    def test_hidden_views_are_not_copied(self):
        make_tree(self.target)
        self.mount.flush()
        self.assertTrue(os.listdir(self.view("history", run=self.target)))
        self.rsync(self.target, self.outside("copy"))
        self.assert_tree(self.outside("copy"), self.target)
        for where, directories, _ in os.walk(self.outside("copy")):
            self.assertFalse(set(directories) & {*VIEWS, ".ckpt"}, where)


class WithRsyncAndViews(Copies):
    def test_out_with_the_views(self):
        """What is listed is copied, as ordinary files."""
        self.rsync_in()
        write(os.path.join(self.target, "last.pt"), b"two")
        self.mount.flush()
        run("rsync", "-aHAX", f"{self.target}/", self.outside("copy"))
        self.same_file(self.outside("copy", "history", "last.pt", "v0001"), data(700_000, 0))
        self.same_file(self.outside("copy", "history", "last.pt", "v0002"), b"two")
        run("rsync", "-aHAX", *(f"--exclude={name}" for name in VIEWS), f"{self.target}/", self.outside("plain"))
        self.assert_tree(self.outside("plain"), self.target, without=VIEWS)

    def rsync_in(self, *options):
        return run("rsync", "-aHAX", "--itemize-changes", *options, f"{self.source}/", f"{self.target}/")

    def test_in_twice(self):
        self.assertTrue(self.rsync_in())
        self.assert_captured()
        self.assertIn("history", os.listdir(self.target))
        self.assertEqual(self.rsync_in(), "")
        self.assert_tree(self.target, self.source, without=VIEWS)

    def test_deleting_what_the_source_does_not_have(self):
        """The views are in the way of a mirror: it may remove them, and no version goes with them."""
        self.rsync_in()
        os.unlink(os.path.join(self.source, "sub", "epoch_1.pt"))
        os.utime(os.path.join(self.source, "sub"), (2, 2))
        self.mount.flush()
        self.rsync_in("--delete")
        self.assertEqual(self.rsync_in("--delete"), "")
        self.assert_tree(self.target, self.source)
        self.assert_versions(os.path.join(self.target, "last.pt"), [data(700_000, 0)])
        self.assert_versions(os.path.join(self.target, "sub", "epoch_1.pt"), [data(700_000, 1)])


class WithTar(Copies):
    options = {"views": "hidden"}
    faithful = ("--xattrs", "--xattrs-include=*", "--acls", "--sparse", "--numeric-owner")

    def tar(self, *args):
        return run("tar", *self.faithful, *args)

    def test_extracted_into(self):
        self.tar("-cf", self.outside("run.tar"), "-C", self.plain, "run")
        self.tar("-xpf", self.outside("run.tar"), "-C", self.dir)
        self.assert_tree(self.target, self.source)
        self.tar("-df", self.outside("run.tar"), "-C", self.dir)
        self.assertLess(host_bytes(os.path.join(self.target, "sparse.pt")), 4 * SPARSE_DATA)
        self.assert_captured()
        self.tar("-df", self.outside("run.tar"), "-C", self.dir)

    def test_created_from(self):
        make_tree(self.target)
        self.mount.flush()
        for state in ("hot", "cold"):
            with self.subTest(state=state):
                cold = self.demote_all() if state == "cold" else []
                archive, copy = self.outside(state + ".tar"), self.outside(state)
                self.tar("-cf", archive, "-C", self.dir, "run")
                self.assertLess(os.stat(archive).st_size, SPARSE_SIZE // 2, "holes were archived")
                self.tar("-df", archive, "-C", self.dir)
                os.mkdir(copy)
                self.tar("-xpf", archive, "-C", copy)
                self.assert_tree(os.path.join(copy, "run"), self.target)
                self.still_cold(cold)

    def test_created_within(self):
        """The archive is a checkpoint itself (*.tar)."""
        make_tree(self.target)
        self.mount.flush()
        self.tar("-cf", self.path("run.tar"), "-C", self.dir, "run")
        self.assert_newest(self.path("run.tar"))
        self.mount.demote(self.path("run.tar"))
        self.tar("-df", self.path("run.tar"), "-C", self.dir)
        os.mkdir(self.path("again"))
        self.tar("-xpf", self.path("run.tar"), "-C", self.path("again"))
        self.assert_tree(self.path("again", "run"), self.target)
        self.assertTrue(self.mount.is_cold(self.path("run.tar")))

    def test_compressed_and_appended_to(self):
        self.tar("-czf", self.path("run.tar.gz"), "-C", self.plain, "run")
        self.tar("-cf", self.path("run.tar"), "-C", self.plain, "run/last.pt")
        self.tar("-rf", self.path("run.tar"), "-C", self.plain, "run/big")
        self.tar("--delete", "-f", self.path("run.tar"), "run/last.pt")
        self.assertEqual(run("tar", "-tf", self.path("run.tar")), "run/big\n")
        self.assertEqual(len(self.mount.versions(self.path("run.tar"))), 3)
        self.assert_newest(self.path("run.tar"))
        self.tar("-xpzf", self.path("run.tar.gz"), "-C", self.dir)
        self.assert_tree(self.target, self.source)

    def test_incremental(self):
        make_tree(self.target)
        self.mount.flush()
        self.tar("-cf", self.outside("full.tar"), "-g", self.outside("state"), "-C", self.dir, "run")
        write(os.path.join(self.target, "last.pt"), data(1000, 9))
        write(os.path.join(self.target, "new.pt"), data(1000, 10))
        self.mount.flush()
        self.tar("-cf", self.outside("more.tar"), "-g", self.outside("state"), "-C", self.dir, "run")
        found = [name for name in run("tar", "-tf", self.outside("more.tar")).splitlines()
                 if not name.endswith("/")]
        self.assertEqual(found, ["run/last.pt", "run/new.pt", "run/sub/linked.pt"])

    def test_with_python(self):
        with tarfile.open(self.path("python.tar"), "w") as archive:
            archive.add(self.source, "run", filter=lambda member: None if "sparse" in member.name else member)
        self.assert_newest(self.path("python.tar"))
        self.mount.demote(self.path("python.tar"))
        with tarfile.open(self.path("python.tar")) as archive:
            archive.extractall(self.dir)
        for name in ("last.pt", "big", "sub/deeper/weights.safetensors"):
            self.same_file(os.path.join(self.target, name), read(os.path.join(self.source, name)))


class WithCp(Copies):
    options = {"views": "hidden"}

    def test_holes_are_kept(self):
        source = os.path.join(self.source, "sparse.pt")
        for mode in ("always", "auto"):
            path, back = self.path(mode + ".pt"), self.outside(mode + ".pt")
            run("cp", "-a", f"--sparse={mode}", source, path)
            self.assertEqual(file_sha(path), file_sha(source))
            self.assertLess(host_bytes(path), 4 * SPARSE_DATA)
            self.assertEqual(self.data_ranges(path), self.data_ranges(source))
            self.mount.demote(path)
            self.assertLess(host_bytes(path), 4 * SPARSE_DATA)
            run("cp", "-a", f"--sparse={mode}", path, back)
            self.assertEqual(file_sha(back), file_sha(source))
            self.assertLess(host_bytes(back), 4 * SPARSE_DATA, "a cold file's holes")
            run("cp", f"--sparse={mode}", self.mount.version(path, 1), self.outside("version.pt"))
            self.assertEqual(file_sha(self.outside("version.pt")), file_sha(source))
            self.assertLess(host_bytes(self.outside("version.pt")), 4 * SPARSE_DATA, "a version's holes")
            os.unlink(self.outside("version.pt"))

    @staticmethod
    def data_ranges(path):
        found, at = [], 0
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            while at < size:
                try:
                    start = os.lseek(file.fileno(), at, os.SEEK_DATA)
                except OSError:
                    break
                at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
                found.append((start, at))
        return found

    def test_zeros_become_holes(self):
        write(self.outside("zeros.pt"), bytes(16 * MiB) + b"end")
        run("cp", "--sparse=always", self.outside("zeros.pt"), self.path("zeros.pt"))
        self.assertLess(host_bytes(self.path("zeros.pt")), 1 * MiB)
        self.assert_newest(self.path("zeros.pt"), bytes(16 * MiB) + b"end")
        run("cp", "--sparse=never", self.path("zeros.pt"), self.path("full.pt"))
        self.assertGreaterEqual(host_bytes(self.path("full.pt")), 16 * MiB)

    def test_whole_trees(self):
        run("cp", "-a", self.source, self.dir)
        self.assert_tree(self.target, self.source)
        self.assert_captured()
        cold = self.demote_all()
        run("cp", "-a", self.target, self.path("within"))
        self.assert_tree(self.path("within"), self.source)
        self.assert_captured(self.path("within"))
        run("cp", "-a", self.target, self.outside("out"))
        self.assert_tree(self.outside("out"), self.source)
        self.still_cold(cold)

    def test_hard_and_symbolic_copies(self):
        run("cp", "-a", self.source, self.dir)
        self.demote_all()
        run("cp", "-al", self.target, self.path("links"))
        for name in self.captured:
            one, two = os.path.join(self.target, name), self.path("links", name)
            self.assertTrue(os.path.samefile(one, two), name)
            self.same_file(two, read(os.path.join(self.source, name)))
        run("cp", "--update", "--backup=numbered", os.path.join(self.source, "last.pt"), self.target)

    def test_reflink_when_possible(self):
        run("cp", "--reflink=auto", os.path.join(self.source, "big"), self.path("big"))
        run("cp", "--reflink=auto", self.path("big"), self.path("big.pt"))
        self.same_file(self.path("big.pt"), data(2 * MiB, 5))


class Moving(Copies):
    """From and to another filesystem, where a move is a copy."""

    options = {"views": "hidden"}

    def setUp(self):
        super().setUp()
        self.elsewhere = self.outside("elsewhere")
        if os.geteuid() == 0:
            os.mkdir(self.elsewhere)
            run("mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", self.elsewhere)
            self.addCleanup(run, "umount", "-l", self.elsewhere)
        else:
            self.elsewhere = tempfile.mkdtemp(dir="/dev/shm")
            self.addCleanup(shutil.rmtree, self.elsewhere)

    def test_files_with_shutil(self):
        content = data(3 * MiB, 11)
        source = os.path.join(self.elsewhere, "a.pt")
        write(source, content)
        os.utime(source, ns=(10**18, 10**18 + 5))
        self.assertEqual(shutil.move(source, self.dir), self.path("a.pt"))
        self.assertFalse(os.path.exists(source))
        self.assertEqual(os.stat(self.path("a.pt")).st_mtime_ns, 10**18 + 5)
        self.assert_versions(self.path("a.pt"), [content])
        self.mount.demote(self.path("a.pt"))
        shutil.move(self.path("a.pt"), self.elsewhere)
        self.same_file(source, content)
        self.assertFalse(os.path.exists(self.path("a.pt")))
        self.assert_versions(self.path("a.pt"), [content])
        write(source, content[:1000])
        shutil.move(source, self.path("a.pt"))
        self.assert_versions(self.path("a.pt"), [content, content[:1000]])

    def test_runs_with_shutil(self):
        shutil.copytree(self.source, os.path.join(self.elsewhere, "run"), symlinks=True,
                        ignore=shutil.ignore_patterns("fifo"))
        original = tree(os.path.join(self.elsewhere, "run"))
        shutil.move(os.path.join(self.elsewhere, "run"), self.target)
        self.assertFalse(os.path.exists(os.path.join(self.elsewhere, "run")))
        moved = tree(self.target)
        self.assertEqual(sorted(moved), sorted(original))
        for name in original:
            for key in ("bytes", "target", "mtime", "mode"):
                self.assertEqual(moved[name].get(key), original[name].get(key), f"{key} of {name}")
        self.assert_captured()
        shutil.move(self.target, os.path.join(self.elsewhere, "back"))
        self.assertFalse(os.path.exists(self.target))
        back = tree(os.path.join(self.elsewhere, "back"))
        self.assertEqual({name: back[name].get("bytes") for name in back},
                         {name: original[name].get("bytes") for name in original})
        self.assert_versions(os.path.join(self.target, "big"), [data(2 * MiB, 5)])

    def test_runs_with_mv(self):
        before = tree(self.source)
        run("cp", "-a", self.source, os.path.join(self.elsewhere, "run"))
        run("mv", os.path.join(self.elsewhere, "run"), self.dir)
        self.assertEqual({name: about.get("bytes") for name, about in tree(self.target).items()},
                         {name: about.get("bytes") for name, about in before.items()})
        self.assert_captured()
        run("mv", self.target, self.outside("moved"))
        self.assertEqual(tree(self.outside("moved")), before)
        self.assertFalse(os.path.exists(self.target))


class RunsWithViews(Copies):
    """A run as users see it, with history/ and latest/ in it."""

    def setUp(self):
        super().setUp()
        os.mkdir(self.target)
        self.contents = [data(200_000, seed) for seed in range(3)]
        for content in self.contents:
            write(os.path.join(self.target, "last.pt"), content)
        write(os.path.join(self.target, "train.log"), b"log\n")
        self.mount.flush()
        self.assertEqual(sorted(os.listdir(self.target)), ["history", "last.pt", "latest", "train.log"])

    def assert_all_versions(self):
        self.assert_versions(os.path.join(self.target, "last.pt"), self.contents)

    def test_copytree(self):
        copy = self.outside("copy")
        shutil.copytree(self.target, copy)
        for number, content in enumerate(self.contents, 1):
            self.same_file(os.path.join(copy, "history", "last.pt", f"v{number:04d}"), content)
        self.same_file(os.path.join(copy, "latest", "last.pt"), self.contents[-1])
        self.same_file(os.path.join(copy, "last.pt"), self.contents[-1])
        self.assert_all_versions()

    def test_copytree_within(self):
        """The copy is a run of its own and gets its own views, so those of the other are left out."""
        copy = self.path("copy")
        shutil.copytree(self.target, copy, ignore=shutil.ignore_patterns(*VIEWS))
        self.assert_versions(os.path.join(copy, "last.pt"), [self.contents[-1]])
        self.same_file(os.path.join(copy, "latest", "last.pt"), self.contents[-1])
        self.assert_all_versions()

    def test_rmtree(self):
        shutil.rmtree(self.target)
        self.assertFalse(os.path.exists(self.target))
        self.assert_all_versions()
        os.mkdir(self.target)
        write(os.path.join(self.target, "last.pt"), b"new")
        self.contents.append(b"new")
        self.assert_all_versions()

    def test_rm(self):
        run("rm", "-r", self.target)
        self.assertFalse(os.path.exists(self.target))
        self.assert_all_versions()

    def test_moved_within(self):
        shutil.move(self.target, self.path("renamed"))
        self.target = self.path("renamed")
        self.assert_all_versions()

    def test_moved_out(self):
        shutil.move(self.target, "/dev/shm/" + os.path.basename(self.base))
        self.addCleanup(shutil.rmtree, "/dev/shm/" + os.path.basename(self.base))
        self.assertFalse(os.path.exists(self.target))
        self.same_file(f"/dev/shm/{os.path.basename(self.base)}/history/last.pt/v0002", self.contents[1])
        self.assert_all_versions()

    def test_walkers(self):
        """find, du and grep meet versions as ordinary files, and du doesn't count them."""
        found = run("find", self.target, "-type", "f", "-name", "v0*").splitlines()
        self.assertEqual(len(found), len(self.contents))
        without = run("du", "-sk", *(f"--exclude={name}" for name in VIEWS), self.target).split()[0]
        self.assertEqual(run("du", "-sk", self.target).split()[0], without)
        self.assertEqual(run("grep", "-rl", "^log$", self.target).splitlines(),
                         [os.path.join(self.target, "train.log")])
        self.assertEqual(run("find", self.target, "-empty"), "")


if __name__ == "__main__":
    main()
