"""What the benchmarks share: the programs, data that looks like weights, pairs, medians, a table.

Speed is shown here and never asserted. Everything that is compared is measured in turn in one run, and the table gives medians
and the median of the ratios within the pairs, because other things may be running on the machine.
"""
import os
import statistics
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
BUILD = os.environ.get("BUILD", os.path.join(HERE, "..", "..", "build"))
os.environ.setdefault("CKPTFS", os.path.join(BUILD, "ckptfs"))
os.environ.setdefault("CKPT", os.path.join(BUILD, "ckpt"))

import numpy  # noqa: E402

MiB, GiB = 1 << 20, 1 << 30
BLOCK = 8 * MiB


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


def drop_caches():
    """What is read next comes from the disk (root only)."""
    os.sync()
    if os.geteuid() == 0:
        with open("/proc/sys/vm/drop_caches", "w") as file:
            file.write("1")


def gbs(size, seconds):
    return size / 1e9 / seconds


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
