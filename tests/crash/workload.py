"""What goes on in a mount while its daemon is killed: writers, an administrator, and the journals they keep.

Each is a process of its own and appends to a file outside of the mount what it is about to do and, after the call has
returned, that it is done. The daemon's death ends it: from then on every call fails. A writer has directories of its
own (no two writers touch one file), so its journal says exactly what must be there; see model.py.
"""
import errno
import hashlib
import json
import mmap
import os
import random
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from model import CAPTURED
from mounted import CKPT, PR_SET_PDEATHSIG, KiB, MiB, call, data, sha

NAMES = ("a.pt", "b.ckpt", "last.safetensors", "m.npz", "notes.txt", "part.tmp")
# What a call may say once the daemon is gone.
DEAD = {errno.ENOTCONN, errno.ECONNABORTED, errno.EIO, errno.ENODEV, errno.EINTR}
TOOL_REFUSED = (4, 5)  # not found; busy or needed

_pool = data(4 * MiB, "shared by all")


def fresh_content(rng):
    """Some bytes of their own, and in half of the cases a stretch that other files have too."""
    size = int(rng.choice((0, 1, 5 * KiB, 60 * KiB, 400 * KiB, 1200 * KiB, 3 * MiB)) * rng.uniform(0.5, 1.5))
    if rng.random() < 0.5:
        return rng.randbytes(size)
    at = rng.randrange(0, len(_pool), 4096)
    return (rng.randbytes(min(size, 3000)) + (_pool + _pool)[at:at + size])[:size]


class Journal:
    """Lines of JSON. One write(2) each: what SIGKILL finds is whole lines."""

    def __init__(self, path):
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def put(self, what, **rest):
        os.write(self.fd, (json.dumps({"what": what, "at": time.monotonic(), **rest}) + "\n").encode())

    @staticmethod
    def read(path):
        with open(path) as file:
            return [json.loads(line) for line in file]


class Worker:
    """A forked process that runs self.work() until the daemon is gone or somebody kills it."""

    def __init__(self, root, journal, seed):
        self.root = root
        self.journal_path = journal
        self.rng = random.Random(seed)
        self.pid = None

    def start(self, ready):
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid != 0:
            return
        try:
            call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            self.journal = Journal(self.journal_path)
            # By this directory the paths never lead to what is below the mount once it is gone.
            os.chdir(self.root)
            self.prepare()
            os.close(ready)
            self.work()
        except OSError as failure:
            self.journal.put("error", number=failure.errno, text=str(failure))
        except BaseException as failure:
            self.journal.put("bug", text=repr(failure), line=failure.__traceback__.tb_lineno)
        finally:
            os._exit(0)

    def prepare(self):
        pass

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        self.join()

    def join(self):
        os.waitpid(self.pid, 0)
        self.pid = None

    def records(self):
        return Journal.read(self.journal_path) if os.path.exists(self.journal_path) else []


class Writer(Worker):
    """Saves, changes, moves and deletes the files of its runs. VICTIM: (pid, operations): kills that process itself,
    right after so many operations have returned."""

    def __init__(self, root, journal, seed, runs, files, next_run, victim=None, big=False):
        super().__init__(root, journal, seed)
        self.runs = list(runs)
        self.files = {path: None for path in files}  # path -> bytes, None when not read yet
        self.links = dict(files)  # path -> what is the same for all names of one file; None for the others
        self.next_run = next_run
        self.victim = victim
        self.big = big
        self.done = 0
        self.old_contents = []

    # The journal

    def begin(self, what, **rest):
        self.journal.put(what, **rest)

    def opened(self):
        self.journal.put("opened")

    def ok(self, **rest):
        if self.victim is not None and self.done + 1 == self.victim[1]:
            rest["killed"] = time.monotonic()
            os.kill(self.victim[0], signal.SIGKILL)
        self.journal.put("ok", **rest)
        self.done += 1

    # Contents

    def content(self, path):
        if self.files[path] is None:
            with open(path, "rb") as file:
                self.files[path] = file.read()
        return self.files[path]

    def set_content(self, path, content):
        group = self.links.get(path)
        for other in [p for p in self.files if p == path or (group is not None and self.links.get(p) == group)]:
            self.files[other] = content
        self.files[path] = content

    def finish_write(self, fd, path, content):
        """close(2), and what it has promised."""
        if self.rng.random() < 0.1:
            os.fsync(fd)
        digest = sha(content)
        os.close(fd)
        self.ok(sha=digest, size=len(content))
        self.set_content(path, content)

    def pick(self, existing=True):
        run = self.rng.choice(self.runs)
        if not existing:
            return f"{run}/{self.rng.choice(NAMES)}"
        names = list(self.files)
        return self.rng.choice(names) if names else None

    # Operations

    def write_all(self, fd, content):
        at = 0
        while at < len(content):
            at += os.write(fd, content[at:at + self.rng.choice((10_000, 128 * KiB, 1 * MiB))])

    def save(self, path=None, content=None):
        path = path or self.pick(existing=False)
        if content is None and self.old_contents and self.rng.random() < 0.2:
            content = self.rng.choice(self.old_contents)
        if content is None:
            content = fresh_content(self.rng)
            self.old_contents = (self.old_contents + [content])[-4:]
        self.begin("write", path=path, truncates=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        self.opened()
        self.write_all(fd, content)
        self.finish_write(fd, path, content)

    def save_and_rename(self):
        target = self.pick(existing=False)
        temporary = f"{os.path.dirname(target)}/{self.rng.choice(('new.tmp', 'new.pt'))}"
        self.save(temporary)
        self.move(temporary, target)

    def in_place(self):
        path = self.pick()
        if path is None:
            return
        content = bytearray(self.content(path))
        self.begin("write", path=path, truncates=False)
        fd = os.open(path, os.O_RDWR)
        self.opened()
        for _ in range(self.rng.randrange(1, 4)):
            at = self.rng.randrange(0, len(content) + 1000)
            piece = self.rng.randbytes(self.rng.randrange(1, 9000))
            content.extend(bytes(max(0, at - len(content))))
            content[at:at + len(piece)] = piece
            os.pwrite(fd, piece, at)
        self.finish_write(fd, path, bytes(content))

    def append(self):
        path = self.pick()
        if path is None:
            return
        content = self.content(path)
        self.begin("write", path=path, truncates=False)
        fd = os.open(path, os.O_WRONLY | os.O_APPEND)
        self.opened()
        piece = self.rng.randbytes(self.rng.randrange(1, 50_000))
        self.write_all(fd, piece)
        self.finish_write(fd, path, content + piece)

    def mapped(self):
        path = self.pick()
        content = bytearray(self.content(path) if path else b"")
        if not content:
            return
        self.begin("write", path=path, truncates=False)
        fd = os.open(path, os.O_RDWR)
        self.opened()
        with mmap.mmap(fd, len(content)) as area:
            for _ in range(3):
                at = self.rng.randrange(len(content))
                area[at] = content[at] = self.rng.randrange(256)
            if self.rng.random() < 0.5:
                area.flush()
        self.finish_write(fd, path, bytes(content))

    def truncate(self):
        path = self.pick()
        if path is None:
            return
        content = self.content(path)
        size = self.rng.choice((0, len(content) // 2, len(content) + 5000))
        content = content[:size] + bytes(max(0, size - len(content)))
        if self.rng.random() < 0.5:
            self.begin("truncate", path=path)
            os.truncate(path, size)
            self.ok(sha=sha(content), size=size)
            self.set_content(path, content)
        else:
            self.begin("write", path=path, truncates=False)
            fd = os.open(path, os.O_WRONLY)
            self.opened()
            os.ftruncate(fd, size)
            self.finish_write(fd, path, content)

    def move(self, old, new):
        group = self.links.get(old)
        if new in self.files and group is not None and self.links.get(new) == group:
            return  # rename(2) of two names of one file does nothing
        self.begin("rename", old=old, new=new)
        os.rename(old, new)
        self.ok()
        self.files[new] = self.files.pop(old)
        self.links.pop(new, None)
        if group is not None:
            self.links[new] = self.links.pop(old)

    def rename(self):
        old, new = self.pick(), self.pick(existing=False)
        if old is not None and old != new:
            self.move(old, new)

    def unlink(self, path=None):
        path = path or self.pick()
        if path is None:
            return
        self.begin("unlink", path=path)
        os.unlink(path)
        self.ok()
        del self.files[path]
        self.links.pop(path, None)

    def link(self):
        old, new = self.pick(), self.pick(existing=False)
        if old is None or new in self.files:
            return
        self.begin("link", old=old, new=new)
        os.link(old, new)
        self.ok()
        self.files[new] = self.files[old]
        self.links[old] = self.links[new] = self.links.get(old) or f"{old} {time.monotonic_ns()}"

    def move_run(self):
        """To a name that never was: what is asked of the old path later means the run that had it. A run that was made
        anew finds its history with the first file that is captured in it, so there must be one."""
        old = self.rng.choice(self.runs)
        if not any(path.startswith(old + "/") and path.endswith(CAPTURED) for path in self.files):
            return
        new = f"{old.split('-')[0]}-{self.next_run}"
        self.next_run += 1
        self.begin("move_run", old=old, new=new)
        os.rename(old, new)
        self.ok()
        self.runs[self.runs.index(old)] = new
        for table in (self.files, self.links):
            for path in [path for path in table if path.startswith(old + "/")]:
                table[new + path[len(old):]] = table.pop(path)

    def remove_run(self):
        """And makes it again: its history goes on."""
        run = self.rng.choice(self.runs)
        for path in [path for path in self.files if path.startswith(run + "/")]:
            self.unlink(path)
        self.begin("rmdir", path=run)
        os.rmdir(run)
        self.ok()
        self.make_run(run)

    def make_run(self, run):
        self.begin("mkdir", path=run)
        os.mkdir(run)
        self.ok()

    def read(self):
        path = self.pick()
        if path is None or self.files[path] is None:
            return
        with open(path, "rb") as file:
            content = file.read()
        if content != self.files[path]:
            self.journal.put("bad", text=f"{path} read as {sha(content)}, {len(content)} bytes, "
                                         f"expected {sha(self.files[path])}, {len(self.files[path])} bytes")

    OPERATIONS = ((save, 30), (save_and_rename, 15), (in_place, 12), (append, 4), (mapped, 6), (truncate, 6),
                  (rename, 8), (unlink, 6), (link, 5), (move_run, 2), (remove_run, 2), (read, 10))

    def prepare(self):
        for run in self.runs:
            if not os.path.isdir(run):
                self.make_run(run)

    def work(self):
        functions, weights = zip(*self.OPERATIONS)
        if self.big:
            # More than one transaction of the database.
            self.save(f"{self.runs[0]}/big.pt", self.rng.randbytes(90 * MiB))
        while True:
            self.rng.choices(functions, weights)[0](self)
            if self.rng.random() < 0.3:
                time.sleep(self.rng.uniform(0, 0.02))


class Administrator(Worker):
    """Forgets, demotes, flushes, and reads old versions. VERSIONS: (path, number, recipe, sha) known at the start."""

    def __init__(self, root, journal, seed, store, versions):
        super().__init__(root, journal, seed)
        self.store = store
        self.versions = versions

    def ckpt(self, *args):
        parent = os.getpid()

        def end_with_parent():
            call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != parent:  # it was killed before, and the tool would take the store for itself
                os._exit(1)

        command = [CKPT, "--store", self.store, *args]
        result = subprocess.run(command, capture_output=True, text=True, preexec_fn=end_with_parent)
        self.journal.put("tool", args=args, status=result.returncode, text=result.stderr)
        return result.returncode

    def forget(self):
        if not self.versions:
            return
        # The newest of a file is the only one of a cold file, mostly.
        path, number, recipe, digest = self.rng.choice(self.versions)
        self.journal.put("forget", path=path, number=number, sha=digest)
        self.ckpt("forget", f"{path}@v{number}")

    def demote(self):
        paths = sorted({path for path, *_ in self.versions})
        if paths:
            self.ckpt("demote", *self.rng.sample(paths, min(3, len(paths))))

    def flush(self):
        self.ckpt("flush")

    def read_view(self):
        if not self.versions:
            return
        path, number, recipe, digest = self.rng.choice(self.versions)
        view = f"{os.path.dirname(path)}/.ckpt/history/{os.path.basename(path)}/v{number:04d}"
        hashed = hashlib.sha256()
        try:
            with open(view, "rb") as file:
                while block := file.read(1 * MiB):
                    hashed.update(block)
        except OSError as failure:
            # Forgotten, or its run has moved.
            if failure.errno in DEAD:
                raise
            return
        if hashed.hexdigest() != digest:
            self.journal.put("bad", text=f"{view} read as {hashed.hexdigest()}, expected {digest}")

    OPERATIONS = ((forget, 3), (demote, 3), (flush, 1), (read_view, 8))

    def work(self):
        functions, weights = zip(*self.OPERATIONS)
        while True:
            self.rng.choices(functions, weights)[0](self)
            os.stat(".")  # ends with the daemon
            time.sleep(self.rng.uniform(0, 0.03))
