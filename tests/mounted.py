"""What the tests of the mounted filesystem share: a scratch directory, a store in it, its mount, the tool.

    CKPTFS, CKPT, CKPTFS_FAULT    the programs (CMake sets them)
    MOUNTED_PLAIN=1               run the tests of ordinary behaviour on a plain directory instead: whatever
                                  they expect must hold on the host filesystem too
    MOUNTED_PASSTHROUGH=off       mount with passthrough=off
    MOUNTED_KEEP=1                leave the scratch directories behind

Every mount that a test case starts ends with the same three checks: the daemon is still alive and leaves with
status 0, nothing is left in pending/ after a flush, and `ckpt verify` finds nothing.
"""
import ctypes
import errno
import hashlib
import json
import os
import random
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import unittest

PLAIN = os.environ.get("MOUNTED_PLAIN") == "1"
PASSTHROUGH = os.environ.get("MOUNTED_PASSTHROUGH", "auto")
KEEP = os.environ.get("MOUNTED_KEEP") == "1"
CKPTFS = os.environ.get("CKPTFS", "ckptfs")
CKPTFS_FAULT = os.environ.get("CKPTFS_FAULT", "ckptfs-fault")
CKPT = os.environ.get("CKPT", "ckpt")

SKIPPED = 77  # exit status that ctest reads as "skipped"
KiB, MiB, GiB = 1 << 10, 1 << 20, 1 << 30
VERIFY_PROBLEMS = 3  # exit status of `ckpt verify` that found something

libc = ctypes.CDLL(None, use_errno=True)

PR_SET_PDEATHSIG = 1


# Data ------------------------------------------------------------------------------------------------------


def data(size, seed=0):
    """SIZE random bytes, the same for the same seed."""
    return random.Random(seed).randbytes(size)


def sha(content):
    return hashlib.sha256(content).hexdigest()


def file_sha(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(4 * MiB):
            digest.update(block)
    return digest.hexdigest()


def read(path):
    with open(path, "rb") as file:
        return file.read()


def write(path, content):
    with open(path, "wb") as file:
        file.write(content)


# The views that a directory may show beside its own entries.
VIEWS = ("history", "latest", "best", "final", "epoch", "step", "tag", "top")


def listed(where):
    """The names in a directory (or an open one) without the views that a run shows once it has versions."""
    return [name for name in os.listdir(where) if os.fsdecode(name) not in VIEWS]


# Waiting and processes -------------------------------------------------------------------------------------


def wait_for(what, condition, timeout=30.0):
    """The first true value of CONDITION(); WHAT says in the failure what never came."""
    deadline = time.monotonic() + timeout
    pause = 0.001
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout:g} s for {what}; last seen: {value!r}")
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


def call(name, *args):
    """A C library function that returns -1 and errno."""
    result = getattr(libc, name)(*args)
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result


class Child:
    """FUNCTION in a forked process, its result or exception in result(). Optionally as another user."""

    def __init__(self, function, *args, uid=None, gid=None, groups=()):
        self._read, write_end = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            status = 1
            try:
                os.close(self._read)
                call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
                if uid is not None:
                    os.setgroups(list(groups))
                    os.setgid(gid)
                    os.setuid(uid)
                answer = {"value": function(*args)}
                status = 0
            except OSError as failure:
                answer = {"errno": failure.errno, "text": str(failure)}
            except BaseException:
                answer = {"trace": traceback.format_exc()}
            try:
                with os.fdopen(write_end, "w") as pipe:
                    json.dump(answer, pipe)
            finally:
                os._exit(status)
        os.close(write_end)

    def result(self, timeout=60):
        text = b""
        deadline = time.monotonic() + timeout
        while True:
            if not select.select([self._read], [], [], max(0, deadline - time.monotonic()))[0]:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                os.close(self._read)
                raise AssertionError(f"a child process was not done after {timeout} s")
            piece = os.read(self._read, 65536)
            if not piece:
                break
            text += piece
        os.close(self._read)
        os.waitpid(self.pid, 0)
        answer = json.loads(text) if text else {"trace": "the child died without an answer"}
        if "errno" in answer:
            raise OSError(answer["errno"], answer["text"])
        if "trace" in answer:
            raise AssertionError("in a child process:\n" + answer["trace"])
        return answer["value"]


NOBODY = 65534


def as_nobody(function, *args, groups=()):
    return Child(function, *args, uid=NOBODY, gid=NOBODY, groups=groups).result()


# Calls that Python doesn't have ----------------------------------------------------------------------------

AT_FDCWD = -100
AT_SYMLINK_FOLLOW = 0x400
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2
FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE = 1, 2, 16


def renameat2(old, new, flags):
    call("renameat2", AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new), ctypes.c_uint(flags))


def fallocate(fd, mode, offset, length):
    call("fallocate", fd, mode, ctypes.c_long(offset), ctypes.c_long(length))


ACL_USER_OBJ, ACL_USER, ACL_GROUP_OBJ, ACL_GROUP, ACL_MASK, ACL_OTHER = 1, 2, 4, 8, 16, 32
ACL_NONE = 0xFFFFFFFF


def acl(*entries):
    """The value of system.posix_acl_*: entries are (tag, permissions, id)."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


# The scratch directory -------------------------------------------------------------------------------------


def filesystem_type(path):
    best, kind = "", ""
    real = os.path.realpath(path)
    with open("/proc/self/mounts") as mounts:
        for line in mounts:
            _, point, fstype = line.split()[:3]
            if (real + "/").startswith(point.rstrip("/") + "/") and len(point) >= len(best):
                best, kind = point, fstype
    return kind


def scratch_parent():
    """$TMPDIR, or /var/tmp when that isn't on a disk."""
    parent = os.environ.get("TMPDIR", "/var/tmp")
    return "/var/tmp" if filesystem_type(parent) in ("tmpfs", "ramfs", "overlay") else parent


def scratch(name):
    path = tempfile.mkdtemp(prefix=f"ckptfs-{name}-", dir=scratch_parent())
    os.chmod(path, 0o755)
    return path


def remove(path):
    if not KEEP:
        shutil.rmtree(path, ignore_errors=True)


# The mount -------------------------------------------------------------------------------------------------


class ToolFailed(AssertionError):
    def __init__(self, command, result):
        super().__init__(f"{' '.join(command)}: exit status {result.returncode}\n"
                         f"stdout: {result.stdout}\nstderr: {result.stderr}")
        self.status = result.returncode
        self.stderr = result.stderr
        self.stdout = result.stdout


def run_ckpt(*args, store=None, env=None, timeout=300):
    """The completed process of `ckpt ARGS`, whatever its exit status."""
    command = [CKPT] + (["--store", store] if store else []) + [str(arg) for arg in args]
    result = subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=env)
    return command, result


def unmount_lazily(mountpoint):
    if os.geteuid() == 0:
        subprocess.run(["umount", "-l", mountpoint], capture_output=True)
    subprocess.run(["fusermount3", "-uz", mountpoint], capture_output=True)


def is_mounted(mountpoint):
    with open("/proc/self/mounts") as mounts:
        return any(line.split()[1] == mountpoint for line in mounts)


class Mount:
    """A store in BASE/store, mounted at BASE/mnt, its log in BASE/log. PLAIN: BASE/mnt is just a directory."""

    def __init__(self, base, plain=False, program=None, **options):
        self.base = base
        self.store = os.path.join(base, "store")
        self.root = os.path.join(base, "mnt")
        self.log = os.path.join(base, "log")
        self.plain = plain
        self.program = program or CKPTFS
        self.options = {"passthrough": PASSTHROUGH, "settle": 0, **options}
        self.process = None
        os.makedirs(self.root, exist_ok=True)

    def command(self, **options):
        merged = {**self.options, **options}
        text = ",".join(f"{key}={value}" for key, value in merged.items() if value is not None)
        return [self.program, "-f"] + (["-o", text] if text else []) + [self.store, self.root]

    def start(self, env=None, expect_failure=False, **options):
        if self.plain:
            return self
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command(**options), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=log, env={**os.environ, **(env or {})},
                preexec_fn=lambda: call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
        wait_for("the mount (or the daemon's end)",
                 lambda: self.process.poll() is not None or self._answers(), timeout=60)
        if self.process.poll() is not None:
            if expect_failure:
                return self
            raise AssertionError(f"{' '.join(self.command(**options))} ended with status "
                                 f"{self.process.returncode}:\n{self.log_tail()}")
        if os.geteuid() == 0:
            os.chmod(self.root, 0o755)
        return self

    def _answers(self):
        try:
            os.statvfs(self.root)  # of a dead mount the kernel still knows the attributes, but not this
            return os.stat(self.root).st_dev != os.stat(self.base).st_dev
        except OSError:
            return False

    def alive(self):
        return self.process is not None and self.process.poll() is None

    def log_tail(self, lines=40):
        try:
            with open(self.log, errors="replace") as log:
                return "".join(log.readlines()[-lines:])
        except FileNotFoundError:
            return ""

    def check_alive(self):
        if not self.plain and not self.alive():
            raise AssertionError(f"the daemon has died, status {self.process.poll()}:\n{self.log_tail()}")

    def _join(self, timeout):
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the daemon was still there {timeout} s after it was asked to end:\n"
                                 f"{self.log_tail()}") from None
        unmount_lazily(self.root)
        if status != 0:
            raise AssertionError(f"the daemon ended with status {status}:\n{self.log_tail()}")
        self.process = None

    def stop(self, timeout=120):
        """fusermount3 -u, as users do."""
        if self.process is None:
            return
        self.check_alive()
        wait_for(f"fusermount3 -u {self.root} to succeed", lambda: subprocess.run(
            ["fusermount3", "-u", self.root], capture_output=True).returncode == 0, timeout=10)
        self._join(timeout)

    def terminate(self, timeout=120):
        """SIGTERM, as init systems do."""
        self.check_alive()
        self.process.send_signal(signal.SIGTERM)
        self._join(timeout)

    def kill(self):
        """SIGKILL, and the dead mount point cleaned up."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process = None
        unmount_lazily(self.root)

    def restart(self, **options):
        self.stop()
        return self.start(**options)

    # What `ckpt` says

    def ckpt(self, *args):
        """`ckpt --store STORE ARGS`, which must succeed; its standard output."""
        command, result = run_ckpt(*args, store=self.store)
        if result.returncode != 0:
            raise ToolFailed(command, result)
        return result.stdout

    def ckpt_json(self, *args):
        text = self.ckpt("--json", *args)
        try:
            return json.loads(text)
        except json.JSONDecodeError as failure:
            raise AssertionError(f"ckpt --json {' '.join(map(str, args))} printed no JSON ({failure}): {text!r}")

    def flush(self):
        if not self.plain:
            self.ckpt("flush")

    def relative(self, path):
        path = os.fspath(path)
        return os.path.relpath(path, self.root) if os.path.isabs(path) else path

    def versions(self, path):
        """The numbers of the kept versions of PATH, oldest first, after a flush."""
        self.flush()
        return self.kept(path)

    def kept(self, path):
        """The same without the flush."""
        return [row["version"] for row in self.log_rows(path)]

    def log_rows(self, path):
        command, result = run_ckpt("--json", "log", self.relative(path), store=self.store)
        if result.returncode != 0:
            if "not_found" in result.stdout + result.stderr or result.returncode == 4:
                return []
            raise ToolFailed(command, result)
        return json.loads(result.stdout)["paths"][0]["versions"]

    def version(self, path, number):
        """The path of a version in the history view."""
        path = os.path.join(self.root, self.relative(path))
        return os.path.join(os.path.dirname(path), ".ckpt", "history", os.path.basename(path),
                            f"v{number:04d}")

    def restored(self, path, number):
        """The bytes of a version as `ckpt restore` writes them."""
        target = os.path.join(self.base, "restored")
        if os.path.exists(target):
            os.unlink(target)
        self.ckpt("restore", f"{self.relative(path)}@v{number}", target)
        content = read(target)
        os.unlink(target)
        return content

    def demote(self, *paths):
        """Makes the files cold; fails when one isn't afterwards."""
        if self.plain:
            return
        self.flush()
        self.ckpt("demote", *(self.relative(path) for path in paths))
        for path in paths:
            if not self.is_cold(path):
                raise AssertionError(f"{path} is not cold after ckpt demote")

    def live(self, path):
        return os.path.join(self.store, "live", self.relative(path))

    def is_cold(self, path):
        return "user.ckptfs.cold" in os.listxattr(self.live(path), follow_symlinks=False)

    def status(self):
        return self.ckpt_json("status")

    def verify(self):
        command, result = run_ckpt("verify", store=self.store)
        if result.returncode != 0:
            raise ToolFailed(command, result)

    def pending(self):
        """What the durable queue holds, as paths relative to pending/."""
        top = os.path.join(self.store, "pending")
        return sorted(os.path.relpath(os.path.join(where, name), top)
                      for where, _, names in os.walk(top) for name in names)

    def disk_usage(self):
        """Host bytes of the store."""
        total, seen = 0, set()
        for where, _, names in os.walk(self.store):
            for name in names:
                st = os.lstat(os.path.join(where, name))
                if st.st_ino not in seen:
                    seen.add(st.st_ino)
                    total += st.st_blocks * 512
        return total

    def finish(self):
        """The checks that every test ends with."""
        if self.plain or self.process is None:
            return
        self.check_alive()
        self.flush()
        if self.pending():
            raise AssertionError(f"pending/ is not empty after a flush: {self.pending()}\n{self.log_tail()}")
        self.stop()
        self.verify()


# Test cases ------------------------------------------------------------------------------------------------


class PosixCase(unittest.TestCase):
    """Ordinary behaviour: one mount (or plain directory) per class, one directory per test in self.dir."""

    options = {}

    @classmethod
    def setUpClass(cls):
        cls.base = scratch(cls.__name__)
        cls.addClassCleanup(remove, cls.base)
        cls.mount = Mount(cls.base, plain=PLAIN, **cls.options)
        cls.addClassCleanup(cls.mount.kill)
        cls.mount.start()

    @classmethod
    def tearDownClass(cls):
        cls.mount.finish()

    def setUp(self):
        self.dir = os.path.join(self.mount.root, self.id().rsplit(".", 1)[1])
        os.mkdir(self.dir)

    def tearDown(self):
        self.mount.check_alive()

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def file(self, name, content=b""):
        path = self.path(name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write(path, content)
        return path

    def open(self, path, flags=os.O_RDONLY, mode=0o644):
        """A descriptor that the end of the test closes."""
        fd = os.open(path, flags, mode)
        self.addCleanup(self._close, fd, os.fstat(fd))
        return fd

    @staticmethod
    def _close(fd, opened):
        try:
            now = os.fstat(fd)
        except OSError:
            return
        if (now.st_dev, now.st_ino) == (opened.st_dev, opened.st_ino):
            os.close(fd)

    def fails(self, number, function, *args, **kwargs):
        """FUNCTION fails with this errno (or one of these)."""
        numbers = number if isinstance(number, tuple) else (number,)
        expected = " or ".join(errno.errorcode[one] for one in numbers)
        try:
            result = function(*args, **kwargs)
        except OSError as failure:
            self.assertIn(failure.errno, numbers,
                          f"expected {expected}, got {errno.errorcode.get(failure.errno)}: {failure}")
            return failure
        self.fail(f"expected {expected}, but the call succeeded with {result!r}")

    def same(self, actual, expected, what=""):
        """Byte comparison that doesn't print megabytes."""
        if actual == expected:
            return
        where = next((i for i, (a, b) in enumerate(zip(actual, expected)) if a != b),
                     min(len(actual), len(expected)))
        self.fail(f"{what or 'content'} differs: {len(actual)} bytes, expected {len(expected)}; "
                  f"first difference at {where}: {bytes(actual[where:where + 16]).hex()}, "
                  f"expected {bytes(expected[where:where + 16]).hex()}")

    def same_file(self, path, expected, what=""):
        self.same(read(path), expected, what or path)


@unittest.skipIf(PLAIN, "needs a mount")
class MountCase(PosixCase):
    """Behaviour that only the mount has: one mount per test, with the test's own options."""

    @classmethod
    def setUpClass(cls):
        pass

    @classmethod
    def tearDownClass(cls):
        pass

    def setUp(self):
        self.base = scratch(self.id().rsplit(".", 1)[1])
        self.addCleanup(remove, self.base)
        self.mount = Mount(self.base, **self.options)
        self.addCleanup(self.mount.kill)
        self.mount.start()
        self.dir = os.path.join(self.mount.root, "run")
        os.mkdir(self.dir)

    def tearDown(self):
        self.mount.finish()

    def assert_versions(self, path, contents):
        """The kept versions of PATH are exactly CONTENTS, oldest first; the views and `ckpt restore` agree."""
        numbers = self.mount.versions(path)
        self.assertEqual(len(numbers), len(contents),
                         f"expected {len(contents)} versions of {path}, got {numbers}")
        for number, content in zip(numbers, contents):
            self.same(self.mount.restored(path, number), content, f"{path}@v{number} restored")
            if os.path.isdir(os.path.join(self.mount.root, os.path.dirname(self.mount.relative(path)))):
                self.same_file(self.mount.version(path, number), content)
        return numbers


def needs_root(test):
    return unittest.skipUnless(os.geteuid() == 0, "needs root")(test)


def main():
    """unittest.main, but "skipped" for ctest where there is no FUSE."""
    if not PLAIN and not os.access("/dev/fuse", os.R_OK | os.W_OK):
        print("skipped: no access to /dev/fuse")
        sys.exit(SKIPPED)
    unittest.main(verbosity=2)
