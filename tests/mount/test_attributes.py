"""Mode, owner, times, extended attributes, ACLs, permission checks, statfs and locks: as on the host."""
import errno
import fcntl
import os
import signal
import stat
import struct
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from mounted import (ACL_GROUP, ACL_GROUP_OBJ, ACL_MASK, ACL_NONE, ACL_OTHER, ACL_USER, ACL_USER_OBJ, GiB, NOBODY,
                     PLAIN, Child, PosixCase, acl, as_nobody, listed, main, needs_root, read, wait_for, write)


def mode(path):
    return os.lstat(path).st_mode & 0o7777


class Modes(PosixCase):
    def test_chmod(self):
        path = self.file("a.pt", b"x")
        for bits in (0o000, 0o644, 0o755, 0o4755, 0o2755, 0o1777, 0o600):
            os.chmod(path, bits)
            self.assertEqual(mode(path), bits)
        os.fchmod(self.open(path), 0o640)
        self.assertEqual(mode(path), 0o640)
        os.chmod(self.dir, 0o3770)
        self.assertEqual(mode(self.dir), 0o3770)

    def test_umask_applies_to_everything_new(self):
        old = os.umask(0o027)
        self.addCleanup(os.umask, old)
        os.close(os.open(self.path("file"), os.O_CREAT | os.O_WRONLY, 0o777))
        os.mkdir(self.path("dir"), 0o777)
        os.mkfifo(self.path("fifo"), 0o666)
        self.assertEqual([mode(self.path(name)) for name in ("file", "dir", "fifo")], [0o750, 0o750, 0o640])

    def test_change_time_moves(self):
        path = self.file("a.pt", b"x")
        before = os.stat(path).st_ctime_ns
        wait_for("the clock to tick", lambda: self.tick(path) > before)

    def tick(self, path):
        os.chmod(path, 0o600)
        return os.stat(path).st_ctime_ns

    @needs_root
    def test_chown_and_the_bits_it_clears(self):
        path = self.file("a.pt", b"x")
        os.chmod(path, 0o6755)
        os.chown(path, NOBODY, 4321)
        st = os.stat(path)
        self.assertEqual((st.st_uid, st.st_gid, stat.S_IMODE(st.st_mode)), (NOBODY, 4321, 0o755))
        os.chown(path, -1, 7)
        self.assertEqual((os.stat(path).st_uid, os.stat(path).st_gid), (NOBODY, 7))
        os.symlink("a.pt", self.path("link"))
        os.chown(self.path("link"), 5, 6, follow_symlinks=False)
        self.assertEqual(os.lstat(self.path("link")).st_uid, 5)
        self.assertEqual(os.stat(path).st_uid, NOBODY)

    @needs_root
    def test_a_write_by_another_user_clears_the_set_id_bits(self):
        path = self.file("a.pt", b"xxxx")
        os.chmod(path, 0o6777)

        def change():
            fd = os.open(path, os.O_WRONLY)
            os.write(fd, b"y")
            os.close(fd)
        as_nobody(change)
        self.assertEqual(mode(path), 0o777)


class Times(PosixCase):
    def test_set_to_the_nanosecond(self):
        path = self.file("a.pt", b"x")
        os.utime(path, ns=(1_234_567_890_123_456_789, 987_654_321_012_345_678))
        st = os.stat(path)
        self.assertEqual((st.st_atime_ns, st.st_mtime_ns), (1_234_567_890_123_456_789, 987_654_321_012_345_678))
        fd = self.open(path)
        os.utime(fd, ns=(5, 6))
        self.assertEqual((os.fstat(fd).st_atime_ns, os.fstat(fd).st_mtime_ns), (5, 6))
        os.utime(self.dir, ns=(7, 8))
        self.assertEqual(os.stat(self.dir).st_mtime_ns, 8)

    def test_before_1970(self):
        path = self.file("a", b"x")
        os.utime(path, (-1000, -2000))
        self.assertEqual(os.stat(path).st_mtime, -2000)

    def test_of_a_symbolic_link_itself(self):
        path = self.file("a", b"x")
        os.symlink("a", self.path("link"))
        before = os.stat(path).st_mtime_ns
        os.utime(self.path("link"), ns=(1, 2), follow_symlinks=False)
        self.assertEqual(os.lstat(self.path("link")).st_mtime_ns, 2)
        self.assertEqual(os.stat(path).st_mtime_ns, before)

    def test_now(self):
        path = self.file("a", b"x")
        os.utime(path, (1, 1))
        os.utime(path)
        self.assertLess(abs(os.stat(path).st_mtime - time.time()), 60)

    def test_writing_and_truncating_move_mtime_and_reading_does_not(self):
        path = self.file("a.pt", b"12345")
        for change in (lambda: write(path, b"x"), lambda: os.truncate(path, 3), lambda: os.truncate(path, 0)):
            os.utime(path, (1, 1))
            read(path)
            self.assertEqual(os.stat(path).st_mtime, 1)
            change()
            self.assertLess(abs(os.stat(path).st_mtime - time.time()), 60)

    def test_times_set_through_a_handle_survive_its_close(self):
        path = self.path("a.pt")
        with open(path, "wb") as file:
            file.write(b"content")
            file.flush()
            os.utime(file.fileno(), (100, 200))
        self.assertEqual(os.stat(path).st_mtime, 200)


class ExtendedAttributes(PosixCase):
    def test_set_get_list_remove(self):
        path = self.file("a.pt", b"x")
        os.setxattr(path, "user.one", b"1")
        os.setxattr(path, "user.two", b"")
        os.setxattr(path, "user.one", b"changed")
        self.assertEqual(os.getxattr(path, "user.one"), b"changed")
        self.assertEqual(os.getxattr(path, "user.two"), b"")
        self.assertEqual(sorted(self.user_attributes(path)), ["user.one", "user.two"])
        os.removexattr(path, "user.one")
        self.assertEqual(self.user_attributes(path), ["user.two"])
        self.fails(errno.ENODATA, os.getxattr, path, "user.one")
        self.fails(errno.ENODATA, os.removexattr, path, "user.one")

    @staticmethod
    def user_attributes(path):
        return [name for name in os.listxattr(path) if name.startswith("user.")]

    def test_flags(self):
        path = self.file("a.pt")
        self.fails(errno.ENODATA, os.setxattr, path, "user.a", b"1", os.XATTR_REPLACE)
        os.setxattr(path, "user.a", b"1", os.XATTR_CREATE)
        self.fails(errno.EEXIST, os.setxattr, path, "user.a", b"2", os.XATTR_CREATE)
        os.setxattr(path, "user.a", b"3", os.XATTR_REPLACE)
        self.assertEqual(os.getxattr(path, "user.a"), b"3")

    def test_on_descriptors_and_directories(self):
        fd = self.open(self.file("a.pt"), os.O_RDWR)
        os.setxattr(fd, "user.a", b"1")
        self.assertEqual(os.getxattr(fd, "user.a"), b"1")
        os.setxattr(self.dir, "user.d", b"2")
        self.assertEqual(os.getxattr(self.dir, "user.d"), b"2")

    def test_refusals(self):
        path = self.file("a")
        os.symlink("a", self.path("link"))
        self.fails(errno.EPERM, os.setxattr, self.path("link"), "user.a", b"1", follow_symlinks=False)
        self.fails((errno.E2BIG, errno.ENOSPC), os.setxattr, path, "user.a", bytes(70_000))
        self.fails(errno.EOPNOTSUPP, os.setxattr, path, "nonsense", b"1")

    @needs_root
    def test_trusted(self):
        path = self.file("a")
        os.setxattr(path, "trusted.a", b"1")
        self.assertEqual(os.getxattr(path, "trusted.a"), b"1")

    @unittest.skipIf(PLAIN, "needs a mount")
    def test_the_stores_own_are_out_of_reach(self):
        path = self.file("a.pt", b"x" * 5000)
        self.mount.demote(path)
        for name in ("user.ckptfs.cold", "user.ckptfs.dir", "user.ckptfs.store"):
            for where in (path, self.dir, self.mount.root):
                self.assertNotIn(name, os.listxattr(where))
                self.fails((errno.EPERM, errno.EACCES, errno.EOPNOTSUPP), os.setxattr, where, name, b"1")
                self.fails((errno.EPERM, errno.EACCES, errno.ENODATA, errno.EOPNOTSUPP), os.removexattr, where, name)
        self.assertEqual(read(path), b"x" * 5000)


class AccessLists(PosixCase):
    def test_access_acl_is_kept_and_follows_chmod(self):
        path = self.file("a.pt")
        os.chmod(path, 0o640)
        value = acl((ACL_USER_OBJ, 6, ACL_NONE), (ACL_USER, 6, 1234), (ACL_GROUP_OBJ, 4, ACL_NONE),
                    (ACL_GROUP, 4, 77), (ACL_MASK, 6, ACL_NONE), (ACL_OTHER, 0, ACL_NONE))
        os.setxattr(path, "system.posix_acl_access", value)
        self.assertEqual(os.getxattr(path, "system.posix_acl_access"), value)
        self.assertEqual(mode(path), 0o660)
        os.chmod(path, 0o640)
        self.assertEqual(os.getxattr(path, "system.posix_acl_access"),
                         value.replace(struct.pack("<HHI", ACL_MASK, 6, ACL_NONE),
                                       struct.pack("<HHI", ACL_MASK, 4, ACL_NONE)))

    def test_default_acl_is_inherited_instead_of_the_umask(self):
        old = os.umask(0o077)
        self.addCleanup(os.umask, old)
        value = acl((ACL_USER_OBJ, 7, ACL_NONE), (ACL_USER, 7, 1234), (ACL_GROUP_OBJ, 5, ACL_NONE),
                    (ACL_MASK, 7, ACL_NONE), (ACL_OTHER, 5, ACL_NONE))
        os.setxattr(self.dir, "system.posix_acl_default", value)
        os.close(os.open(self.path("a.pt"), os.O_CREAT | os.O_WRONLY, 0o666))
        os.mkdir(self.path("d"), 0o777)
        self.assertEqual(mode(self.path("a.pt")), 0o664)
        self.assertEqual(mode(self.path("d")), 0o775)
        self.assertEqual(os.getxattr(self.path("d"), "system.posix_acl_default"), value)
        self.assertIn(struct.pack("<HHI", ACL_USER, 7, 1234),
                      os.getxattr(self.path("a.pt"), "system.posix_acl_access"))

    @needs_root
    def test_access_acl_is_obeyed(self):
        path = self.file("a.pt", b"secret")
        os.chmod(path, 0o600)
        self.fails(errno.EACCES, as_nobody, lambda: read(path).decode())
        os.setxattr(path, "system.posix_acl_access",
                    acl((ACL_USER_OBJ, 6, ACL_NONE), (ACL_USER, 4, NOBODY), (ACL_GROUP_OBJ, 0, ACL_NONE),
                        (ACL_MASK, 4, ACL_NONE), (ACL_OTHER, 0, ACL_NONE)))
        self.assertEqual(as_nobody(lambda: read(path).decode()), "secret")
        self.fails(errno.EACCES, as_nobody, lambda: os.open(path, os.O_WRONLY))


@needs_root
class OtherUsers(PosixCase):
    def test_files_of_others(self):
        secret = self.file("secret.pt", b"x")
        os.chmod(secret, 0o600)
        shown = self.file("shown.pt", b"shown")
        os.chmod(shown, 0o644)
        self.fails(errno.EACCES, as_nobody, lambda: os.open(secret, os.O_RDONLY))
        self.fails(errno.EACCES, as_nobody, lambda: os.open(shown, os.O_WRONLY))
        self.fails(errno.EACCES, as_nobody, lambda: os.truncate(shown, 0))
        self.fails(errno.EACCES, as_nobody, lambda: os.open(self.path("new"), os.O_CREAT | os.O_WRONLY))
        self.fails(errno.EACCES, as_nobody, lambda: os.unlink(shown))
        self.fails(errno.EACCES, as_nobody, lambda: os.rename(shown, self.path("x")))
        self.fails(errno.EPERM, as_nobody, lambda: os.chmod(shown, 0o777))
        self.fails(errno.EPERM, as_nobody, lambda: os.chown(shown, NOBODY, NOBODY))
        self.fails(errno.EPERM, as_nobody, lambda: os.utime(shown, (1, 1)))
        self.fails(errno.EACCES, as_nobody, lambda: os.utime(shown))
        self.fails((errno.EACCES, errno.EPERM), as_nobody, lambda: os.setxattr(shown, "user.a", b"1"))
        self.assertEqual(as_nobody(lambda: read(shown).decode()), "shown")
        self.assertEqual(as_nobody(lambda: [os.access(shown, bit) for bit in (os.R_OK, os.W_OK, os.X_OK)]),
                         [True, False, False])

    def test_directories_without_search_permission(self):
        self.file("d/a.pt", b"x")
        os.chmod(self.path("d"), 0o744)
        self.assertEqual(as_nobody(lambda: listed(self.path("d"))), ["a.pt"])
        self.fails(errno.EACCES, as_nobody, lambda: os.open(self.path("d", "a.pt"), os.O_RDONLY))
        os.chmod(self.path("d"), 0o711)
        self.fails(errno.EACCES, as_nobody, lambda: listed(self.path("d")))
        self.assertEqual(as_nobody(lambda: read(self.path("d", "a.pt")).decode()), "x")

    def test_what_a_user_makes_belongs_to_it(self):
        os.chmod(self.dir, 0o777)

        def make():
            os.umask(0o022)
            write(self.path("a.pt"), b"mine" * 1000)
            os.mkdir(self.path("d"))
            os.symlink("a.pt", self.path("link"))
            os.mkfifo(self.path("fifo"))
            write(self.path("d", "inside.pt"), b"x")
            write(self.path("a.pt"), b"mine again")
            os.chmod(self.path("a.pt"), 0o400)
        as_nobody(make)
        for name in ("a.pt", "d", "link", "fifo", "d/inside.pt"):
            st = os.lstat(self.path(name))
            self.assertEqual((st.st_uid, st.st_gid), (NOBODY, NOBODY), name)
        self.assertEqual(mode(self.path("a.pt")), 0o400)
        self.assertEqual(mode(self.path("d")), 0o755)

    def test_a_read_only_file_can_be_written_by_its_creating_handle(self):
        os.chmod(self.dir, 0o777)

        def make():
            fd = os.open(self.path("a.pt"), os.O_CREAT | os.O_RDWR, 0o444)
            os.write(fd, b"content")
            os.close(fd)
        as_nobody(make)
        self.assertEqual(read(self.path("a.pt")), b"content")
        self.fails(errno.EACCES, as_nobody, lambda: os.open(self.path("a.pt"), os.O_WRONLY))

    def test_sticky_directory(self):
        os.chmod(self.dir, 0o1777)
        path = self.file("a.pt", b"x")
        self.fails((errno.EPERM, errno.EACCES), as_nobody, lambda: os.unlink(path))
        self.fails((errno.EPERM, errno.EACCES), as_nobody, lambda: os.rename(path, self.path("b.pt")))

        def own():
            write(self.path("own.pt"), b"x")
            os.unlink(self.path("own.pt"))
        as_nobody(own)

    def test_set_gid_directory_passes_its_group_on(self):
        os.chown(self.dir, -1, 4321)
        os.chmod(self.dir, 0o2777)

        def make():
            write(self.path("a.pt"), b"x")
            os.mkdir(self.path("d"))
            os.symlink("a.pt", self.path("link"))
            os.mkfifo(self.path("fifo"))
        as_nobody(make)
        for name in ("a.pt", "d", "link", "fifo"):
            st = os.lstat(self.path(name))
            self.assertEqual((st.st_uid, st.st_gid), (NOBODY, 4321), name)
        self.assertEqual(mode(self.path("d")) & stat.S_ISGID, stat.S_ISGID)
        self.assertEqual(mode(self.path("a.pt")) & stat.S_ISGID, 0)

    def test_writing_takes_set_id_bits_away_unless_root_does_it(self):
        def append(path):
            with open(path, "ab") as file:
                file.write(b"more")

        def shrink(path):
            os.truncate(path, 1)

        for change in (append, shrink):
            for before, after in ((0o4777, 0o777), (0o2777, 0o777), (0o6777, 0o777), (0o2767, 0o767)):
                with self.subTest(change=change.__name__, before=oct(before)):
                    path = self.file("a.pt", b"bytes")
                    os.chmod(path, before)
                    as_nobody(change, path)
                    self.assertEqual(oct(mode(path)), oct(after))
                    os.chmod(path, before)
                    change(path)
                    self.assertEqual(oct(mode(path)), oct(before))
            os.chmod(path, 0o2767)
            as_nobody(change, path, groups=[os.stat(path).st_gid])
            self.assertEqual(oct(mode(path)), oct(0o2767))

    def test_writing_takes_file_capabilities_away(self):
        capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)  # CAP_NET_BIND_SERVICE
        path = self.file("a.pt", b"bytes")
        os.setxattr(path, "security.capability", capability)
        self.assertIn("security.capability", os.listxattr(path))
        with open(path, "ab") as file:
            file.write(b"more")
        self.assertNotIn("security.capability", os.listxattr(path))

    def test_supplementary_groups_count(self):
        path = self.file("a.pt", b"shared")
        os.chown(path, -1, 4321)
        os.chmod(path, 0o660)
        self.fails(errno.EACCES, as_nobody, lambda: read(path).decode())
        self.assertEqual(as_nobody(lambda: read(path).decode(), groups=[4321]), "shared")
        as_nobody(lambda: write(path, b"changed"), groups=[4321])
        self.assertEqual((read(path), os.stat(path).st_uid), (b"changed", 0))

    def test_an_owner_gives_a_file_only_to_its_own_groups(self):
        path = self.file("a.pt", b"x")
        os.chown(path, NOBODY, NOBODY)
        as_nobody(lambda: os.chown(path, -1, 4321), groups=[4321])
        self.assertEqual(os.stat(path).st_gid, 4321)
        self.fails(errno.EPERM, as_nobody, lambda: os.chown(path, -1, 9), groups=[4321])

    def test_set_gid_bit_needs_membership(self):
        path = self.file("a.pt", b"x")
        os.chown(path, NOBODY, 4321)
        as_nobody(lambda: os.chmod(path, 0o2755))
        self.assertEqual(mode(path), 0o755)


class Statfs(PosixCase):
    def test_is_the_hosts(self):
        here, host = os.statvfs(self.dir), os.statvfs(self.base)
        self.assertEqual(here.f_namemax, 255)
        self.assertEqual(here.f_blocks * here.f_frsize, host.f_blocks * host.f_frsize)
        self.assertLess(abs(here.f_bavail * here.f_frsize - host.f_bavail * host.f_frsize), 4 * GiB)


class Locks(PosixCase):
    def test_flock_between_processes(self):
        path = self.file("a", b"x")
        fd = self.open(path, os.O_RDWR)
        fcntl.flock(fd, fcntl.LOCK_EX)

        def other(kind):
            fd = os.open(path, os.O_RDWR)
            fcntl.flock(fd, kind | fcntl.LOCK_NB)
        self.fails(errno.EAGAIN, lambda: Child(other, fcntl.LOCK_SH).result())
        fcntl.flock(fd, fcntl.LOCK_SH)
        Child(other, fcntl.LOCK_SH).result()
        self.fails(errno.EAGAIN, lambda: Child(other, fcntl.LOCK_EX).result())
        os.close(fd)
        Child(other, fcntl.LOCK_EX).result()

    def test_record_locks_between_processes(self):
        path = self.file("a", bytes(100))
        fd = self.open(path, os.O_RDWR)
        fcntl.lockf(fd, fcntl.LOCK_EX, 10, 20)

        def other(length, start):
            fd = os.open(path, os.O_RDWR)
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, length, start)
        self.fails((errno.EAGAIN, errno.EACCES), lambda: Child(other, 5, 25).result())
        Child(other, 20, 0).result()
        Child(other, 0, 30).result()

        def holder():
            fd = os.open(path, os.O_RDWR)
            lock = fcntl.fcntl(fd, fcntl.F_GETLK, struct.pack("hhqqi", fcntl.F_WRLCK, 0, 0, 0, 0))
            return list(struct.unpack("hhqqi", lock))[2:]
        self.assertEqual(Child(holder).result(), [20, 10, os.getpid()])

    def test_closing_any_descriptor_releases_record_locks(self):
        path = self.file("a", bytes(10))
        fd = self.open(path, os.O_RDWR)
        fcntl.lockf(fd, fcntl.LOCK_EX)
        os.close(os.open(path, os.O_RDONLY))

        def other():
            fcntl.lockf(os.open(path, os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
        Child(other).result()

    def test_open_file_description_locks(self):
        path = self.file("a", bytes(10))
        one, two = self.open(path, os.O_RDWR), self.open(path, os.O_RDWR)
        lock = struct.pack("hhqqi", fcntl.F_WRLCK, 0, 0, 0, 0)
        fcntl.fcntl(one, fcntl.F_OFD_SETLK, lock)
        self.fails((errno.EAGAIN, errno.EACCES), fcntl.fcntl, two, fcntl.F_OFD_SETLK, lock)

    def test_a_waiting_process_gets_the_lock_when_the_holder_dies(self):
        path = self.file("a", bytes(10))
        ready, go = os.pipe()

        def hold():
            fcntl.lockf(os.open(path, os.O_RDWR), fcntl.LOCK_EX)
            os.write(go, b"x")
            signal.pause()
        holder = Child(hold)
        os.read(ready, 1)
        waiter = Child(lambda: fcntl.lockf(os.open(path, os.O_RDWR), fcntl.LOCK_EX))
        os.kill(holder.pid, signal.SIGKILL)
        waiter.result(timeout=20)
        self.fails_dead(holder)

    def fails_dead(self, child):
        with self.assertRaisesRegex(AssertionError, "died without an answer"):
            child.result()


if __name__ == "__main__":
    main()
