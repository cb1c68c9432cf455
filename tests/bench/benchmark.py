"""What the benchmarks share: their options, stores and histories, comparisons, pairs, medians, a table.

Speed is shown here and never asserted. Everything that is compared is measured in turn in one run, and the
table gives medians and the median of the ratios within the pairs, because other things may be running on the
machine. What is asserted is that all bytes come back.
"""
import argparse
import collections
import contextlib
import glob
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
BUILD = os.environ.get("BUILD", os.path.join(HERE, "..", "..", "build"))
os.environ.setdefault("CKPTFS", os.path.join(BUILD, "ckptfs"))
os.environ.setdefault("CKPT", os.path.join(BUILD, "ckpt"))

import numpy  # noqa: E402
from mounted import Mount, filesystem_type, read, remove, scratch_parent  # noqa: E402

MiB, GiB = 1 << 20, 1 << 30
BLOCK = 8 * MiB


# A program's frame -----------------------------------------------------------------------------------------


def parser(description):
    """With the options that all have; parse() reads them."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--dir", default=scratch_parent(), metavar="DIRECTORY", help="work in it (on a disk)")
    made.add_argument("--passthrough", default="auto", choices=("auto", "off"))
    made.add_argument("--out", metavar="FILE", help="a copy of what is printed")
    return made


class Tee:
    def __init__(self, *files):
        self.files = files

    def write(self, text):
        for file in self.files:
            file.write(text)

    def flush(self):
        for file in self.files:
            file.flush()


def parse(made):
    args = made.parse_args()
    if args.out:
        sys.stdout = Tee(sys.stdout, open(args.out, "w", encoding="utf-8"))
    return args


@contextlib.contextmanager
def scratch(args):
    base = tempfile.mkdtemp(prefix="ckptfs-bench-", dir=args.dir)
    try:
        yield base
    finally:
        remove(base)


@contextlib.contextmanager
def mounted(base, args, verify=True, **options):
    """A new store, mounted. When VERIFY, it must end with an empty queue and a clean `ckpt verify`."""
    where = tempfile.mkdtemp(prefix="store-", dir=base)
    mount = Mount(where, passthrough=args.passthrough, settle=None, hot="none", **options)
    try:
        mount.start()
        yield mount
        if verify:
            mount.finish()
    finally:
        mount.kill()
        remove(where)


# Files -----------------------------------------------------------------------------------------------------

Epoch = collections.namedtuple("Epoch", "number full bf16")  # paths; bf16 may be None


def history(directory):
    """The epochs in a directory of gpt_*_epoch_NN_*.pt and weights_bf16_epoch_NN.pt, oldest first."""
    full, bf16 = {}, {}
    for path in glob.glob(os.path.join(directory, "*_epoch_*.pt")):
        kind = bf16 if os.path.basename(path).startswith("weights_bf16_") else full
        kind[int(re.search(r"_epoch_(\d+)", os.path.basename(path)).group(1))] = path
    if not full:
        sys.exit(f"{directory}: there is no *_epoch_NN_*.pt in it")
    return [Epoch(number, full[number], bf16.get(number)) for number in sorted(full)]


def checkpoints(directory, pattern=None):
    """The full states of a history, oldest first; or what PATTERN matches, by name."""
    if pattern is None:
        return [epoch.full for epoch in history(directory)]
    found = sorted(glob.glob(os.path.join(directory, pattern)))
    return found or sys.exit(f"{directory}: there is no {pattern} in it")


def weights(size, seed=0):
    """SIZE bytes of normally distributed float32, as a layer at its start has: zstd -3 makes 0.92 of them."""
    values = numpy.random.default_rng(seed).standard_normal(size // 4, dtype=numpy.float32)
    return memoryview((values * 0.02).view(numpy.uint8))


def save(path, content, sync=False):
    """Seconds to write a new file the way a trainer does: open, write in blocks, close."""
    start = time.perf_counter()
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o644)
    for at in range(0, len(content), BLOCK):
        os.write(fd, content[at:at + BLOCK])
    if sync:
        os.fsync(fd)
    os.close(fd)
    return time.perf_counter() - start


def load(path, buffer):
    """Seconds to read a file into memory that is there already."""
    start = time.perf_counter()
    with open(path, "rb", buffering=0) as file:
        at = 0
        while (n := file.readinto(buffer[at:at + BLOCK])) > 0:
            at += n
    assert at == len(buffer), f"{path}: {at} of {len(buffer)} bytes"
    return time.perf_counter() - start


def copy(source, target):
    """Seconds to write the bytes of a file to TARGET as save() does."""
    with open(source, "rb") as file:
        return save(target, file.read())


def prime(directory, size):
    """What is written next gets the memory that this file leaves: a virtual machine may have given other free
    memory back to its host, and whoever gets that first is slow."""
    path = os.path.join(directory, "prime")
    block = bytes(BLOCK)
    with open(path, "wb", buffering=0) as file:
        for at in range(0, size, BLOCK):
            file.write(block[:min(BLOCK, size - at)])
    os.unlink(path)


def sync(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def drop_caches():
    """What is read next comes from the disk (root only)."""
    os.sync()
    if os.geteuid() == 0:
        with open("/proc/sys/vm/drop_caches", "w") as file:
            file.write("1")


def zstd_size(path):
    """Bytes that zstd -3 makes of a file."""
    return len(subprocess.run(["zstd", "-q", "-3", "-c", path], check=True, stdout=subprocess.PIPE).stdout)


class Comparison:
    """What comes back is compared byte for byte with what went in, and counted."""

    def __init__(self):
        self.files = self.bytes = 0

    def same(self, path, source):
        with open(path, "rb") as one, open(source, "rb") as other:
            while True:
                got, expected = one.read(BLOCK), other.read(BLOCK)
                if got != expected:
                    raise AssertionError(f"{path} differs from {source}")
                if not got:
                    break
                self.bytes += len(got)
        self.files += 1

    def __str__(self):
        return f"{self.files} files read back, {self.bytes / 1e6:.1f} MB, all as they were written"


# Stores ----------------------------------------------------------------------------------------------------


def fresh(path):
    """A name that nothing has, for a tool that doesn't overwrite."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    return path


def restore(mount, name, number, target):
    """Seconds of `ckpt restore` to a new file, which is on the disk afterwards."""
    fresh(target)
    start = time.perf_counter()
    mount.ckpt("restore", f"{name}@v{number}", target)
    return time.perf_counter() - start


def restore_cold(mount, name, number, target, source, compared):
    """The same when nothing of it is in memory, compared with SOURCE."""
    fresh(target)
    drop_caches()
    prime(os.path.dirname(target), os.path.getsize(source))
    seconds = restore(mount, name, number, target)
    compared.same(target, source)
    return seconds


def settled(mount):
    """`ckpt status` when the store's size stands still: free space goes back to the host in steps."""
    mount.flush()
    status, since = mount.status(), time.monotonic()
    while time.monotonic() - since < 3:
        time.sleep(0.3)
        now = mount.status()
        if any(now[key] != status[key] for key in ("stored", "database_bytes")):
            status, since = now, time.monotonic()
    return status


def describe(mount, what):
    print(f"{what} on {filesystem_type(mount.base)}, passthrough: {mount.status()['passthrough_text']}")


# Figures ---------------------------------------------------------------------------------------------------


def gbs(size, seconds):
    return size / 1e9 / seconds


def mb(size):
    return f"{size / 1e6:.2f} MB"


def share(part, whole):
    """PART/WHOLE with three digits that say something."""
    return f"{part / whole:.4f}" if part < whole / 10 else f"{part / whole:.3f}"


def median(values):
    return statistics.median(values)


def ratio(of, to):
    """The median of the ratios within the pairs."""
    return statistics.median(a / b for a, b in zip(of, to))


def table(title, head, rows):
    print(f"\n{title}\n")
    widths = [max(len(str(row[i])) for row in [head] + rows) for i in range(len(head))]
    for row in [head, ["-" * w for w in widths]] + rows:
        print("| " + " | ".join(str(cell).ljust(w) for cell, w in zip(row, widths)) + " |")
    sys.stdout.flush()
