"""Directories, renames, links and names: as on the host."""
import ctypes
import errno
import os
import shutil
import socket
import stat
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from mounted import (RENAME_EXCHANGE, RENAME_NOREPLACE, VIEWS, Child, PosixCase, libc, listed, main, read, renameat2, write)


class Directories(PosixCase):
    def test_make_and_remove(self):
        os.mkdir(self.path("d"))
        self.fails(errno.EEXIST, os.mkdir, self.path("d"))
        self.file("d/a")
        self.fails(errno.ENOTEMPTY, os.rmdir, self.path("d"))
        self.fails(errno.ENOTDIR, os.rmdir, self.path("d", "a"))
        self.fails(errno.EISDIR, os.unlink, self.path("d"))
        os.unlink(self.path("d", "a"))
        os.rmdir(self.path("d"))
        self.fails(errno.ENOENT, os.rmdir, self.path("d"))

    def test_parents_must_exist(self):
        self.fails(errno.ENOENT, os.mkdir, self.path("none", "d"))
        self.fails(errno.ENOTDIR, os.mkdir, os.path.join(self.file("a"), "d"))

    def test_link_count_is_two_and_one_per_subdirectory(self):
        os.mkdir(self.path("d"))
        self.assertEqual(os.stat(self.path("d")).st_nlink, 2)
        os.mkdir(self.path("d", "one"))
        os.mkdir(self.path("d", "two"))
        self.assertEqual(os.stat(self.path("d")).st_nlink, 4)
        os.rmdir(self.path("d", "one"))
        self.assertEqual(os.stat(self.path("d")).st_nlink, 3)

    def test_removed_directory_is_empty_and_takes_no_entries(self):
        os.mkdir(self.path("d"))
        fd = self.open(self.path("d"), os.O_RDONLY | os.O_DIRECTORY)
        os.rmdir(self.path("d"))
        self.assertEqual(listed(fd), [])
        self.fails(errno.ENOENT, os.open, "a", os.O_CREAT | os.O_WRONLY, dir_fd=fd)

    def test_dot_and_dot_dot(self):
        os.makedirs(self.path("a", "b"))
        self.assertEqual(os.stat(self.path("a", "b", "..")).st_ino, os.stat(self.path("a")).st_ino)
        fd = self.open(self.path("a"), os.O_RDONLY | os.O_DIRECTORY)
        entries = raw_entries(fd)
        self.assertEqual(entries["."][0], os.stat(self.path("a")).st_ino)
        self.assertEqual(entries[".."][0], os.stat(self.dir).st_ino)
        self.assertEqual(entries["b"][0], os.stat(self.path("a", "b")).st_ino)

    def test_times_of_a_directory_move_with_its_entries(self):
        os.mkdir(self.path("d"))
        os.utime(self.path("d"), (1, 1))
        for change in (lambda: write(self.path("d", "a"), b""),
                       lambda: os.rename(self.path("d", "a"), self.path("d", "b")),
                       lambda: os.unlink(self.path("d", "b")),
                       lambda: os.symlink("x", self.path("d", "c"))):
            change()
            self.assertGreater(os.stat(self.path("d")).st_mtime, 1)
            os.utime(self.path("d"), (1, 1))


class dirent(ctypes.Structure):
    _fields_ = [("ino", ctypes.c_uint64), ("off", ctypes.c_int64), ("reclen", ctypes.c_ushort),
                ("type", ctypes.c_ubyte), ("name", ctypes.c_char * 256)]


libc.fdopendir.restype = ctypes.c_void_p
libc.readdir.restype = ctypes.POINTER(dirent)
libc.readdir.argtypes = libc.closedir.argtypes = libc.rewinddir.argtypes = libc.telldir.argtypes = [ctypes.c_void_p]
libc.telldir.restype = ctypes.c_long
libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]


def raw_entries(fd):
    """name -> (inode, type) as readdir(3) tells."""
    stream = libc.fdopendir(os.dup(fd))
    libc.rewinddir(stream)
    entries = {}
    while entry := libc.readdir(stream):
        entries[os.fsdecode(entry.contents.name)] = (entry.contents.ino, entry.contents.type)
    libc.closedir(stream)
    return entries


class Listing(PosixCase):
    def test_many_entries_come_once_each(self):
        names = {f"entry-{number:05d}-{'x' * (number % 40)}" for number in range(3000)}
        for name in names:
            os.close(os.open(self.path(name), os.O_CREAT | os.O_WRONLY))
        there = listed(self.dir)
        self.assertEqual(len(there), 3000)
        self.assertEqual(set(there), names)

    def test_types_are_told(self):
        self.file("file")
        os.mkdir(self.path("directory"))
        os.symlink("file", self.path("link"))
        os.mkfifo(self.path("fifo"))
        kinds = {entry.name: (entry.is_file(follow_symlinks=False), entry.is_dir(follow_symlinks=False),
                              entry.is_symlink()) for entry in os.scandir(self.dir)}
        self.assertEqual(kinds, {"file": (True, False, False), "directory": (False, True, False),
                                 "link": (False, False, True), "fifo": (False, False, False)})
        fd = self.open(self.dir, os.O_RDONLY | os.O_DIRECTORY)
        types = {name: kind for name, (_, kind) in raw_entries(fd).items()}
        self.assertEqual(types["fifo"], 1)

    def test_inode_numbers_match_stat(self):
        for number in range(50):
            self.file(f"f{number}.pt", b"x")
        for entry in os.scandir(self.dir):
            self.assertEqual(entry.inode(), os.stat(entry.path).st_ino, entry.name)

    def test_every_entry_comes_while_others_are_deleted(self):
        names = [f"entry{number:04d}" for number in range(2000)]
        for name in names:
            self.file(name)
        seen = []
        with os.scandir(self.dir) as entries:
            for entry in entries:
                seen.append(entry.name)
                os.unlink(entry.path)
        self.assertEqual(sorted(seen), names)
        self.assertEqual(listed(self.dir), [])

    def test_no_entry_comes_twice_while_others_are_added(self):
        for number in range(500):
            self.file(f"old{number:04d}")
        seen = []
        with os.scandir(self.dir) as entries:
            for count, entry in enumerate(entries):
                seen.append(entry.name)
                if count < 500:
                    self.file(f"new{count:04d}")
        self.assertEqual(len(seen), len(set(seen)))
        self.assertEqual(sum(name.startswith("old") for name in seen), 500)

    def test_rewind_shows_what_is_there_now(self):
        self.file("one")
        fd = self.open(self.dir, os.O_RDONLY | os.O_DIRECTORY)
        self.assertEqual(set(listed(fd)), {"one"})
        self.file("two")
        os.unlink(self.path("one"))
        self.assertEqual(set(listed(fd)), {"two"})

    def test_telling_and_seeking(self):
        for number in range(300):
            self.file(f"f{number}")
        fd = os.open(self.dir, os.O_RDONLY | os.O_DIRECTORY)
        stream = libc.fdopendir(fd)
        for _ in range(100):
            libc.readdir(stream)
        place = libc.telldir(stream)
        rest = []
        while entry := libc.readdir(stream):
            rest.append(entry.contents.name)
        libc.seekdir(stream, place)
        again = []
        while entry := libc.readdir(stream):
            again.append(entry.contents.name)
        libc.closedir(stream)
        self.assertEqual(len(rest), 300 + 2 - 100)
        self.assertEqual(again, rest)


class Renaming(PosixCase):
    def test_over_an_existing_file(self):
        source = self.file("a.tmp", b"new")
        ino = os.stat(source).st_ino
        self.file("a.pt", b"old")
        os.rename(source, self.path("a.pt"))
        self.assertEqual(read(self.path("a.pt")), b"new")
        self.assertEqual(os.stat(self.path("a.pt")).st_ino, ino)
        self.assertEqual(listed(self.dir), ["a.pt"])
        self.fails(errno.ENOENT, os.stat, source)

    def test_between_directories(self):
        os.mkdir(self.path("d"))
        os.rename(self.file("a.pt", b"x"), self.path("d", "b.pt"))
        self.assertEqual(read(self.path("d", "b.pt")), b"x")

    def test_a_directory_moves_with_everything_in_it(self):
        self.file("one/deep/er/a.pt", b"x")
        os.mkdir(self.path("two"))
        inside = self.open(self.path("one", "deep"), os.O_RDONLY | os.O_DIRECTORY)
        os.rename(self.path("one", "deep"), self.path("two", "moved"))
        self.assertEqual(read(self.path("two", "moved", "er", "a.pt")), b"x")
        self.assertEqual(os.stat(self.path("one")).st_nlink, 2)
        self.assertEqual(os.stat(self.path("two")).st_nlink, 3)
        self.assertEqual(os.stat("..", dir_fd=inside).st_ino, os.stat(self.path("two")).st_ino)
        write(self.path("two", "moved", "er", "b.pt"), b"y")
        self.assertEqual(sorted(listed(self.path("two", "moved", "er"))), ["a.pt", "b.pt"])

    def test_a_directory_replaces_only_an_empty_one(self):
        os.mkdir(self.path("empty"))
        self.file("full/a")
        self.file("source/b")
        self.fails(errno.ENOTEMPTY, os.rename, self.path("source"), self.path("full"))
        os.rename(self.path("source"), self.path("empty"))
        self.assertEqual(listed(self.path("empty")), ["b"])

    def test_refusals(self):
        path = self.file("a")
        os.makedirs(self.path("d", "e"))
        self.fails(errno.ENOENT, os.rename, self.path("none"), self.path("x"))
        self.fails(errno.EISDIR, os.rename, path, self.path("d"))
        self.fails(errno.ENOTDIR, os.rename, self.path("d"), path)
        self.fails(errno.EINVAL, os.rename, self.path("d"), self.path("d", "e", "f"))
        self.fails(errno.ENOTEMPTY, os.rename, self.path("d", "e"), self.path("d"))

    def test_to_itself_and_to_another_link_of_itself_does_nothing(self):
        path = self.file("a.pt", b"x")
        os.rename(path, path)
        os.link(path, self.path("b.pt"))
        os.rename(path, self.path("b.pt"))
        self.assertEqual(sorted(listed(self.dir)), ["a.pt", "b.pt"])

    def test_noreplace(self):
        self.file("a.pt", b"a")
        self.file("b.pt", b"b")
        self.fails(errno.EEXIST, renameat2, self.path("a.pt"), self.path("b.pt"), RENAME_NOREPLACE)
        renameat2(self.path("a.pt"), self.path("c.pt"), RENAME_NOREPLACE)
        self.assertEqual((read(self.path("b.pt")), read(self.path("c.pt"))), (b"b", b"a"))

    def test_exchange(self):
        self.file("a.pt", b"a")
        self.file("b.pt", b"b")
        self.file("d/inside.pt", b"inside")
        renameat2(self.path("a.pt"), self.path("b.pt"), RENAME_EXCHANGE)
        self.assertEqual((read(self.path("a.pt")), read(self.path("b.pt"))), (b"b", b"a"))
        renameat2(self.path("a.pt"), self.path("d"), RENAME_EXCHANGE)
        self.assertEqual(read(self.path("a.pt", "inside.pt")), b"inside")
        self.assertEqual(read(self.path("d")), b"b")
        self.fails(errno.ENOENT, renameat2, self.path("b.pt"), self.path("none"), RENAME_EXCHANGE)
        self.fails(errno.EINVAL, renameat2, self.path("b.pt"), self.path("d"), RENAME_EXCHANGE | RENAME_NOREPLACE)

    def test_a_symbolic_link_itself_is_renamed(self):
        self.file("a")
        os.symlink("a", self.path("link"))
        os.rename(self.path("link"), self.path("other"))
        self.assertEqual(os.readlink(self.path("other")), "a")


class Links(PosixCase):
    def test_hard_links_are_one_file(self):
        path = self.file("a.pt", b"x")
        os.link(path, self.path("b.pt"))
        a, b = os.stat(path), os.stat(self.path("b.pt"))
        self.assertEqual((a.st_ino, a.st_nlink), (b.st_ino, 2))
        self.assertEqual(b.st_nlink, 2)
        write(self.path("b.pt"), b"changed through b")
        self.assertEqual(read(path), b"changed through b")
        os.truncate(path, 7)
        self.assertEqual(read(self.path("b.pt")), b"changed")
        os.unlink(path)
        self.assertEqual(os.stat(self.path("b.pt")).st_nlink, 1)
        self.assertEqual(read(self.path("b.pt")), b"changed")

    def test_link_count_is_one_after_a_save(self):
        self.assertEqual(os.stat(self.file("a.pt", b"x" * 5000)).st_nlink, 1)

    def test_refusals(self):
        path = self.file("a")
        os.mkdir(self.path("d"))
        self.fails(errno.EEXIST, os.link, path, self.path("d"))
        self.fails(errno.EPERM, os.link, self.path("d"), self.path("e"))
        self.fails(errno.ENOENT, os.link, self.path("none"), self.path("e"))

    def test_a_hard_link_of_a_symbolic_link(self):
        os.symlink("nothing", self.path("a"))
        os.link(self.path("a"), self.path("b"), follow_symlinks=False)
        self.assertEqual(os.readlink(self.path("b")), "nothing")
        self.assertEqual(os.lstat(self.path("a")).st_nlink, 2)

    def test_symbolic_links(self):
        self.file("d/a.pt", b"x")
        os.symlink("d/a.pt", self.path("link.pt"))
        os.symlink("d", self.path("dirlink"))
        self.assertEqual(read(self.path("link.pt")), b"x")
        self.assertEqual(read(self.path("dirlink", "a.pt")), b"x")
        self.assertEqual(os.lstat(self.path("link.pt")).st_size, len("d/a.pt"))
        write(self.path("link.pt"), b"through the link")
        self.assertEqual(read(self.path("d", "a.pt")), b"through the link")
        self.fails(errno.EEXIST, os.symlink, "x", self.path("link.pt"))
        self.fails(errno.EINVAL, os.readlink, self.path("d", "a.pt"))

    def test_dangling_looping_and_long_links(self):
        os.symlink("nothing", self.path("dangling"))
        self.fails(errno.ENOENT, read, self.path("dangling"))
        os.symlink("two", self.path("one"))
        os.symlink("one", self.path("two"))
        self.fails(errno.ELOOP, read, self.path("one"))
        long = "x/" * 2000 + "y"
        os.symlink(long, self.path("long"))
        self.assertEqual(os.readlink(self.path("long")), long)


class SpecialFiles(PosixCase):
    def test_fifo(self):
        os.mkfifo(self.path("fifo"), 0o640)
        st = os.stat(self.path("fifo"))
        self.assertTrue(stat.S_ISFIFO(st.st_mode))
        child = Child(lambda: write(self.path("fifo"), b"hello"))
        self.assertEqual(read(self.path("fifo")), b"hello")
        child.result()

    def test_socket(self):
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
            os.chdir(self.dir)
            self.addCleanup(os.chdir, "/")
            server.bind("socket")
            server.listen()
            client.connect("socket")
            self.assertTrue(stat.S_ISSOCK(os.stat("socket").st_mode))

    def test_mknod_of_a_regular_file(self):
        os.mknod(self.path("a.pt"), 0o600 | stat.S_IFREG)
        st = os.stat(self.path("a.pt"))
        self.assertEqual((stat.S_ISREG(st.st_mode), st.st_size), (True, 0))
        self.fails(errno.EEXIST, os.mknod, self.path("a.pt"), 0o600 | stat.S_IFIFO)


class Names(PosixCase):
    def test_longest_name(self):
        name = "n" * 252 + ".pt"
        self.file(name, b"x")
        os.rename(self.path(name), self.path("m" * 255))
        os.mkdir(self.path("d" * 255))
        self.assertEqual(sorted(listed(self.dir)), ["d" * 255, "m" * 255])
        for make in (lambda path: write(path, b""), os.mkdir, lambda path: os.symlink("x", path),
                     lambda path: os.rename(self.path("m" * 255), path), os.stat):
            self.fails(errno.ENAMETOOLONG, make, self.path("n" * 256))

    def test_any_bytes_but_slash_and_zero(self):
        names = [b"with space.pt", b"new\nline.pt", b"\xff\xfe not UTF-8.pt", "Prüfpunkt-检查点.pt".encode(),
                 b"-rf.pt", b"a\\b.pt", b"'quoted\".pt", b"@v3.pt", b"..pt", b"...", bytes(range(1, 47)) + b".pt"]
        for name in names:
            write(os.path.join(os.fsencode(self.dir), name), name)
        names_there = sorted(listed(os.fsencode(self.dir)))
        self.assertEqual(names_there, sorted(names))
        for name in names:
            self.assertEqual(read(os.path.join(os.fsencode(self.dir), name)), name)

    def test_deeper_than_a_path_can_say(self):
        """Directories far below PATH_MAX: relative names go on working there."""
        name = "d" * 200
        fd = os.open(self.dir, os.O_RDONLY | os.O_DIRECTORY)
        for _ in range(30):
            os.mkdir(name, dir_fd=fd)
            fd, above = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd), fd
            os.close(above)
        with open(os.open("a.pt", os.O_CREAT | os.O_WRONLY, 0o644, dir_fd=fd), "wb") as file:
            file.write(b"deep")
        os.rename("a.pt", "b.pt", src_dir_fd=fd, dst_dir_fd=fd)
        with open(os.open("b.pt", os.O_RDONLY, dir_fd=fd), "rb") as file:
            self.assertEqual(file.read(), b"deep")
        self.assertEqual(listed(fd), ["b.pt"])
        os.close(fd)
        shutil.rmtree(self.dir)
        os.mkdir(self.dir)

    def test_a_tree_is_copied_and_removed(self):
        for number in range(60):
            self.file(f"tree/{number % 5}/{number % 3}/f{number}.pt", bytes([number]) * number)
        # A copy makes views of its own.
        shutil.copytree(self.path("tree"), self.path("copy"), symlinks=True,
                        ignore=shutil.ignore_patterns(*VIEWS))
        for number in range(60):
            self.assertEqual(read(self.path(f"copy/{number % 5}/{number % 3}/f{number}.pt")),
                             bytes([number]) * number)
        shutil.rmtree(self.path("tree"))
        self.assertEqual(listed(self.dir), ["copy"])


if __name__ == "__main__":
    main()
