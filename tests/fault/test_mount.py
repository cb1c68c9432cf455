"""Saving through a mount while the Nth host call of the daemon fails.

Each run starts ckptfs-fault with one fault armed, lets a client work on the mount, unmounts, and looks at the store with
the ordinary program: what the client was told is saved is there, live and as a version; no version has a byte that
nobody has written; verify is clean. The daemon answers every call, survives, or refuses to start and says why.

    FAULT_FULL=1      every N until the scenario runs through; else every FAULT_STRIDEth, for each kind of fault
    FAULT_ONLY=N      just this one
"""
import os
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import mounted
from mounted import KiB, Child, Mount, data, read, run_ckpt

FULL = os.environ.get("FAULT_FULL") == "1"
ONLY = int(os.environ.get("FAULT_ONLY", "0"))
BLOCK = 4 * KiB
SIZE = 320 * KiB
PATIENCE = 120  # seconds; for a hang, not for slowness

CONTENTS = {name: data(SIZE, seed) for seed, name in enumerate("ABCDE")}


class Client:
    """What a trainer does; remembers for each path what it was told."""

    def __init__(self, mount):
        self.mount = mount
        self.steps = []  # path, content or None when it failed, tried content

    def path(self, name):
        return os.path.join(self.mount.root, name)

    def step(self, name, content, function, *args):
        """FUNCTION leaves NAME with CONTENT, or fails and leaves it half done."""
        try:
            function(*args)
            done = True
        except OSError:
            done = False
        self.steps.append([name, content, done])
        return done

    def tool(self, *args):
        """The tool says yes or no in time; what it does is no change that a reader sees."""
        command, result = run_ckpt(*args, store=self.mount.store, timeout=PATIENCE)
        if result.returncode != 0 and not result.stderr.strip():
            raise AssertionError(f"{' '.join(command)} failed with {result.returncode} and said nothing")
        return result.returncode == 0

    @staticmethod
    def write_all(fd, content):
        at = 0
        while at < len(content):
            at += os.write(fd, content[at:at + 128 * KiB])

    def save_to(self, name, content, flags):
        fd = os.open(self.path(name), os.O_RDWR | os.O_CREAT | flags, 0o644)
        try:
            self.write_all(fd, content)
            os.fsync(fd)
        finally:
            os.close(fd)

    def save(self, name, content):
        return self.step(name, content, self.save_to, name, CONTENTS[content], os.O_TRUNC)

    def rewrite(self, name, content):
        return self.step(name, content, self.save_to, name, CONTENTS[content], 0)

    def truncate(self, name, content):
        """To half of what it is, if it is what it should be."""
        whole = self.steps[-1] == [name, content, True]
        done = self.step(name, content + "/2", os.truncate, self.path(name), SIZE // 2)
        self.steps[-1][2] = done and whole

    def replace(self, name, content):
        def both():
            self.save_to("run/save.tmp", CONTENTS[content], os.O_TRUNC)
            os.rename(self.path("run/save.tmp"), self.path(name))
        return self.step(name, content, both)

    def reads(self, name, content):
        """Right bytes or an error."""
        try:
            found = read(self.path(name))
        except OSError:
            return
        if found != bytes_of(content):
            raise AssertionError(f"{name} was read with wrong bytes")


def bytes_of(content):
    return CONTENTS[content[0]][:SIZE // 2] if content.endswith("/2") else CONTENTS[content]


def work_fresh(mount):
    client = Client(mount)
    try:
        os.mkdir(client.path("run"))
    except OSError:
        return client.steps
    client.save("run/a.pt", "A")
    client.save("run/a.pt", "B")      # pending: another inode takes the name
    client.rewrite("run/a.pt", "C")   # pending: preserved
    client.truncate("run/a.pt", "C")
    client.replace("run/b.pt", "D")
    client.tool("flush")
    client.save("run/b.pt", "E")
    client.tool("flush")
    return client.steps


def work_existing(mount):
    client = Client(mount)
    client.reads("run/cold.pt", "A")
    client.rewrite("run/cold.pt", "B")
    client.save("run/empty.pt", "C")  # cold until now
    if client.tool("demote", "run/hot.pt"):
        client.reads("run/hot.pt", "B")
    client.tool("flush")
    client.tool("forget", "run/old.pt@v1")
    client.replace("run/hot.pt", "E")
    client.tool("flush")
    return client.steps


def prepare_existing(mount):
    """A cold file, one to be emptied, a hot one, one with two versions."""
    mount.start()
    client = Client(mount)
    os.mkdir(client.path("run"))
    for name, content in (("cold", "A"), ("empty", "B"), ("hot", "B"), ("old", "C")):
        client.save(f"run/{name}.pt", content)
    mount.flush()
    client.save("run/old.pt", "D")
    mount.demote("run/cold.pt", "run/empty.pt")
    mount.stop()
    # Half of run/old.pt@v1 may be forgotten: nothing is expected of it.
    return [step for step in client.steps if step[:2] != ["run/old.pt", "C"]] , {"run/old.pt": ["C"]}


class FaultyMount(unittest.TestCase):

    def setUp(self):
        self.base = mounted.scratch("fault")
        self.addCleanup(mounted.remove, self.base)

    def loop(self, kind, work, prepare=None, stride=1):
        template = os.path.join(self.base, "template")
        os.mkdir(template)
        before, allowed = prepare(Mount(template, passthrough="off", hot="none")) if prepare else ([], {})
        if ONLY:
            self.run_once(kind, ONLY, work, template, before, allowed)
            return
        stride = 1 if FULL else int(os.environ.get("FAULT_STRIDE", stride))
        n, fired = 1, 0
        while self.run_once(kind, n, work, template, before, allowed):
            fired += 1
            n += stride
        self.assertGreater(fired, 0)

    def run_once(self, kind, n, work, template, before, allowed):
        base = os.path.join(self.base, f"{n}")
        os.mkdir(base)
        mount = Mount(base, program=mounted.CKPTFS_FAULT, passthrough="off", hot="none")
        try:
            return self.one_run(kind, n, work, template, before, allowed, mount)
        except BaseException as failure:
            raise AssertionError(f"CKPT_FAULT={n}:{kind}: {failure}\n{mount.log_tail()}") from failure
        finally:
            mount.kill()
            shutil.rmtree(base, ignore_errors=True)

    def one_run(self, kind, n, work, template, before, allowed, mount):
        base = mount.base
        mark = os.path.join(base, "mark")
        if os.path.isdir(os.path.join(template, "store")):
            subprocess.run(["cp", "-a", "--sparse=always", os.path.join(template, "store"), base], check=True)
        try:
            mount.start(env={"CKPT_FAULT": f"{n}:{kind}", "CKPT_FAULT_MARK": mark}, expect_failure=True)
        except OSError:
            self.assertTrue(os.path.exists(mark))  # it stands; its chmod of the root was what failed
        steps = list(before)
        if mount.alive():
            steps += Child(work, mount).result(timeout=PATIENCE)
            mount.stop(timeout=PATIENCE)
        else:
            self.assertGreater(mount.process.returncode, 0, mount.log_tail())  # no signal
            self.assertRegex(mount.log_tail(), "is not mounted: |^store ", "it refused and didn't say so")
            mount.process = None
            mounted.unmount_lazily(mount.root)
        fired = os.path.exists(mark)
        mount.program = mounted.CKPTFS
        mount.start()
        self.check(mount, steps, allowed)
        mount.finish()
        return fired

    def check(self, mount, steps, allowed):
        mount.flush()
        for name in sorted({step[0] for step in steps}):
            mine = [step for step in steps if step[0] == name]
            contents = {content: bytes_of(content) for _, content, _ in mine}
            contents.update({content: bytes_of(content) for content in allowed.get(name, [])})
            versions = {number: mount.restored(name, number) for number in mount.kept(name)}
            for content, done in ((content, done) for _, content, done in mine):
                self.assertTrue(not done or contents[content] in versions.values(),
                                f"{name} was saved with {content} and no version has it")
            for number, found in versions.items():
                self.made_of(found, contents.values(), f"{name}@v{number}")
            if mine[-1][2]:
                self.assertTrue(read(os.path.join(mount.root, name)) == contents[mine[-1][1]],
                                f"{name} does not have the content that was saved last")

    def made_of(self, found, contents, what):
        """Every block was written there, in whatever order the failures came, or nothing was."""
        for at in range(0, len(found), BLOCK):
            block = found[at:at + BLOCK]
            self.assertTrue(block == bytes(len(block)) or
                            any(content[at:at + len(block)] == block for content in contents),
                            f"{what} has bytes at {at} that nobody has written")

    def test_fresh_enospc(self):
        self.loop("enospc", work_fresh, stride=7)

    def test_fresh_eio(self):
        self.loop("eio", work_fresh, stride=41)

    def test_fresh_short(self):
        self.loop("short", work_fresh, stride=5)

    def test_fresh_sync(self):
        self.loop("sync", work_fresh, stride=5)

    def test_existing_enospc(self):
        self.loop("enospc", work_existing, prepare_existing, stride=7)

    def test_existing_eio(self):
        self.loop("eio", work_existing, prepare_existing, stride=41)

    def test_existing_short(self):
        self.loop("short", work_existing, prepare_existing, stride=5)

    def test_existing_sync(self):
        self.loop("sync", work_existing, prepare_existing, stride=5)


if __name__ == "__main__":
    if mounted.PLAIN:
        sys.exit(mounted.SKIPPED)
    mounted.main()
