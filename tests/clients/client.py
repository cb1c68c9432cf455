"""What the tests with client programs share: one mount per class, and the programs themselves."""
import importlib
import os
import shutil
import stat
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from mounted import MountCase, file_sha, read, remove, scratch


def module(name):
    """A Python module that the tests of a file are about. They fail without it: skipping would hide that."""
    try:
        return importlib.import_module(name)
    except ImportError as failure:
        sys.exit(f"{sys.argv[0]} needs the Python module {name} ({failure}): tests/run installs it")


def programs(*names):
    """The same for programs."""
    for name in names:
        if shutil.which(name) is None:
            sys.exit(f"{sys.argv[0]} needs the program {name}: tests/run installs it")


def run(*argv, cwd=None, env=None, text=None, timeout=120):
    """The standard output of a program, which must succeed and have nothing to complain about."""
    argv = [str(arg) for arg in argv]
    result = subprocess.run(argv, cwd=cwd, input=text, capture_output=True, text=True, timeout=timeout,
                            env={**os.environ, "LC_ALL": "C", **(env or {})})
    if result.returncode != 0 or result.stderr:
        raise AssertionError(f"{' '.join(argv)}: exit status {result.returncode}\n"
                             f"stdout: {result.stdout}\nstderr: {result.stderr}")
    return result.stdout


def python(code, *args, **kwargs):
    """A Python program of its own: nothing of this process (page cache aside) can help it."""
    return run(sys.executable, "-c", code, *args, **kwargs)


def host_bytes(path):
    return os.stat(path).st_blocks * 512


def attributes(path):
    """Extended attributes, ACLs among them; those of the machine's security modules aside."""
    return {name: os.getxattr(path, name, follow_symlinks=False)
            for name in os.listxattr(path, follow_symlinks=False) if not name.startswith("security.")}


def tree(top, without=()):
    """What a faithful copy of a directory must agree in: {relative path: everything about the entry}."""
    found, first_names = {}, {}
    for where, directories, files in os.walk(top):
        directories[:] = sorted(name for name in directories if name not in without)
        for name in sorted(directories + files) + (["."] if where == top else []):
            path = os.path.join(where, name)
            relative = os.path.relpath(path, top)
            st = os.lstat(path)
            about = {"mode": oct(st.st_mode), "owner": (st.st_uid, st.st_gid), "xattrs": attributes(path)}
            if not stat.S_ISDIR(st.st_mode):
                about["links"] = st.st_nlink
                about["same as"] = first_names.setdefault(st.st_ino, relative)
            if not stat.S_ISLNK(st.st_mode):
                about["mtime"] = st.st_mtime_ns
            if stat.S_ISREG(st.st_mode):
                about["size"] = st.st_size
                about["bytes"] = file_sha(path)
            elif stat.S_ISLNK(st.st_mode):
                about["target"] = os.readlink(path)
            found[relative] = about
    return found


class ClientCase(MountCase):
    """One mount per class and a directory per test; the checks of a mount's end after each test."""

    @classmethod
    def setUpClass(cls):
        super(MountCase, cls).setUpClass()

    @classmethod
    def tearDownClass(cls):
        super(MountCase, cls).tearDownClass()

    def setUp(self):
        super(MountCase, self).setUp()
        self.plain = scratch("plain")
        self.addCleanup(remove, self.plain)

    def tearDown(self):
        self.mount.check_alive()
        self.mount.flush()
        self.assertEqual(self.mount.pending(), [], "pending/ after a flush")
        self.mount.verify()

    def outside(self, *names):
        """A path on the host filesystem, to compare with or to copy from and to."""
        return os.path.join(self.plain, *names)

    def view(self, *names, run=None):
        """A path in the views of a run (this test's directory)."""
        return os.path.join(run or self.dir, ".ckpt", *names)

    def newest(self, path):
        """The bytes of the newest version, after a flush."""
        numbers = self.mount.versions(path)
        return self.mount.restored(path, numbers[-1]) if numbers else None

    def assert_newest(self, path, content=None):
        """The newest version of PATH has these bytes (those it has live)."""
        newest = self.newest(path)
        self.assertIsNotNone(newest, f"{path} has no version")
        self.same(newest, read(path) if content is None else content, f"the newest version of {path}")
