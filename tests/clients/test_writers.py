"""Programs that change files in their own ways: mappings, appends, editors, locks, dd, truncate, fallocate."""
import ctypes
import fcntl
import json
import logging.handlers
import mmap
import multiprocessing
import os
import shelve
import subprocess
import tempfile
import time
import zipfile

from client import ClientCase, host_bytes, programs, run
from mounted import Child, KiB, MiB, call, data, libc, main, read, sha, wait_for, write

programs("dd", "truncate", "fallocate", "sed", "ed", "flock", "cmp", "sha256sum")

PAGE = mmap.PAGESIZE
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
libc.msync.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
MS_SYNC = 4


class Mapping:
    """mmap(2) itself. Python's keeps a descriptor of its own, so with it the last close is never the program's."""

    def __init__(self, fd, size, flags=mmap.MAP_SHARED):
        self.size = size
        self.at = libc.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE, flags, fd, 0)
        if self.at == ctypes.c_void_p(-1).value:
            raise OSError(ctypes.get_errno(), "mmap")
        self.view = (ctypes.c_char * size).from_address(self.at)

    def store(self, offset, content):
        self.view[offset:offset + len(content)] = content

    def bytes(self):
        return bytes(self.view)

    def sync(self):
        call("msync", self.at, self.size, MS_SYNC)

    def unmap(self):
        del self.view
        call("munmap", self.at, self.size)


class Mapped(ClientCase):
    size = 3 * MiB + 500

    def setUp(self):
        super().setUp()
        self.first = data(self.size)
        self.changed = bytearray(self.first)
        for offset in (0, 5 * PAGE - 2, 1 * MiB, self.size - 5):
            self.changed[offset:offset + 5] = b"hello"
        self.changed = bytes(self.changed)

    def store(self, mapping):
        for offset in (0, 5 * PAGE - 2, 1 * MiB, self.size - 5):
            mapping.store(offset, b"hello")

    def prepare(self, name, state):
        path = self.file(name, self.first)
        if state != "pending":
            self.mount.flush()
        if state == "cold":
            self.mount.demote(path)
        return path

    def check(self, path):
        self.same_file(path, self.changed)
        wait_for(f"a version of {path} with what was stored", lambda: self.newest(path) == self.changed)
        self.assert_versions(path, [self.first, self.changed])

    def each(self, change):
        for state in ("pending", "hot", "cold"):
            for sync in (False, True):
                with self.subTest(state=state, msync=sync):
                    path = self.prepare(f"{state}-{sync}.pt", state)
                    change(path, sync)
                    self.check(path)

    def test_unmapped_before_the_close(self):
        def change(path, sync):
            fd = os.open(path, os.O_RDWR)
            mapping = Mapping(fd, self.size)
            self.store(mapping)
            if sync:
                mapping.sync()
            mapping.unmap()
            os.close(fd)
        self.each(change)

    def test_unmapped_after_the_close(self):
        def change(path, sync):
            fd = os.open(path, os.O_RDWR)
            mapping = Mapping(fd, self.size)
            os.close(fd)
            time.sleep(0.2)  # the daemon hears of the close before anything is stored
            self.store(mapping)
            if sync:
                mapping.sync()
            mapping.unmap()
        self.each(change)

    def test_stored_before_and_after_the_close(self):
        def change(path, sync):
            fd = os.open(path, os.O_RDWR)
            mapping = Mapping(fd, self.size)
            mapping.store(0, b"other")
            os.close(fd)
            self.same(read(path)[:5], b"other")
            self.store(mapping)
            if sync:
                mapping.sync()
            mapping.unmap()
        self.each(change)

    def test_left_to_the_end_of_the_process(self):
        def trainer(path, sync):
            fd = os.open(path, os.O_RDWR)
            mapping = Mapping(fd, self.size)
            os.close(fd)
            time.sleep(0.2)
            self.store(mapping)
            if sync:
                mapping.sync()
        self.each(lambda path, sync: Child(trainer, path, sync).result())

    def test_of_a_new_file(self):
        for sync in (False, True):
            path = self.path(f"new-{sync}.pt")
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            os.ftruncate(fd, self.size)
            mapping = Mapping(fd, self.size)
            mapping.store(0, self.first)
            os.close(fd)
            if sync:
                mapping.sync()
            mapping.unmap()
            self.same_file(path, self.first)
            wait_for(f"a version of {path}", lambda: self.newest(path) == self.first)
            self.assert_versions(path, [self.first])

    def test_between_processes(self):
        """What one stores the others see, and what is written too."""
        path = self.prepare("a.pt", "hot")
        fd = os.open(path, os.O_RDWR)
        mapping = Mapping(fd, self.size)
        Child(lambda: Mapping(os.open(path, os.O_RDWR), self.size).store(0, b"child")).result()
        self.assertEqual(mapping.view[0:5], b"child")
        os.pwrite(fd, b"write", 10)
        self.assertEqual(mapping.view[10:15], b"write")
        mapping.store(20, b"store")
        self.assertEqual(os.pread(fd, 5, 20), b"store")
        self.assertEqual(Child(lambda: read(path)[20:25].decode()).result(), "store")
        mapping.unmap()
        os.close(fd)
        expected = b"child" + self.first[5:10] + b"write" + self.first[15:20] + b"store" + self.first[25:]
        self.same_file(path, expected)
        wait_for("a version with all of it", lambda: self.newest(path) == expected)

    def test_private(self):
        """Nothing of it reaches the file; the pages nobody stored to go on showing it."""
        for state in ("pending", "hot", "cold"):
            with self.subTest(state=state):
                path = self.prepare(state + ".pt", state)
                fd = os.open(path, os.O_RDONLY)
                mapping = Mapping(fd, self.size, mmap.MAP_PRIVATE)
                os.close(fd)
                self.store(mapping)
                self.same(mapping.bytes(), self.changed)
                mapping.unmap()
                self.same_file(path, self.first)
                self.assert_versions(path, [self.first])
                if state == "cold":
                    self.assertTrue(self.mount.is_cold(path))


def record(writer, number):
    """Of a length of its own; tells whether it is whole."""
    body = f"{writer:02d} {number:05d} " + "x" * ((writer * 37 + number * 13) % 900)
    return f"{len(body):04d} {body}\n".encode()


class Appending(ClientCase):
    def check(self, path, writers, count):
        with open(path, "rb") as file:
            lines = file.read().splitlines(keepends=True)
        self.assertEqual(len(lines), writers * count)
        following = [0] * writers
        for line in lines:
            writer, number = int(line[5:7]), int(line[8:13])
            self.assertEqual(line, record(writer, number), "a torn record")
            self.assertEqual(number, following[writer], "a record is missing or out of order")
            following[writer] += 1

    def test_two_processes(self):
        for name in ("metrics.log", "records.bin"):
            path = self.path(name)

            def append(writer):
                fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
                for number in range(1000):
                    os.write(fd, record(writer, number))
                os.close(fd)
            for child in [Child(append, writer) for writer in range(2)]:
                child.result()
            self.check(path, 2, 1000)
        self.assert_newest(self.path("records.bin"))
        self.assertEqual(self.mount.versions(self.path("metrics.log")), [])

    def test_that_open_it_for_every_record(self):
        path = self.path("records.bin")
        write(path, b"")

        def append(writer):
            for number in range(100):
                with open(path, "ab") as file:
                    file.write(record(writer, number))
        for child in [Child(append, writer) for writer in range(4)]:
            child.result(timeout=240)
        self.check(path, 4, 100)
        self.assert_newest(path)

    def test_shell_redirections(self):
        path = self.path("out.bin")
        run("sh", "-c", f"for n in $(seq 200); do echo one $n; done >> {path} & "
                        f"for n in $(seq 200); do echo two $n; done >> {path} & wait")
        lines = read(path).decode().splitlines()
        for name in ("one", "two"):
            self.assertEqual([line for line in lines if line.startswith(name)], [f"{name} {n}" for n in range(1, 201)])
        self.assert_newest(path)

    def test_followed_by_tail(self):
        path = self.file("train.log", b"start\n")
        with subprocess.Popen(["tail", "-n", "+1", "-f", path], stdout=subprocess.PIPE) as tail:
            for number in range(50):
                with open(path, "ab") as file:
                    file.write(b"epoch %d\n" % number)
            lines = [tail.stdout.readline() for _ in range(51)]
            tail.kill()
        self.assertEqual(lines, [b"start\n"] + [b"epoch %d\n" % number for number in range(50)])

    def test_rotated_logs(self):
        handler = logging.handlers.RotatingFileHandler(self.path("run.log"), maxBytes=500, backupCount=3)
        for number in range(200):
            handler.emit(logging.LogRecord("a", 20, "", 0, "line %d", (number,), None))
        handler.close()
        found = b"".join(read(self.path(name)) for name in ("run.log.3", "run.log.2", "run.log.1", "run.log"))
        expected = b"".join(b"line %d\n" % number for number in range(200))
        self.assertTrue(found and expected.endswith(found))


class ByPrograms(ClientCase):
    def setUp(self):
        super().setUp()
        self.first = data(2 * MiB)
        self.saved = self.file("a.pt", self.first)
        self.mount.flush()

    def test_dd(self):
        write(self.outside("piece"), data(100_000, 7))
        for state in ("hot", "cold"):
            path = self.file(state + ".pt", self.first)
            if state == "cold":
                self.mount.demote(path)
            run("dd", f"if={self.outside('piece')}", f"of={path}", "bs=1000", "seek=500", "conv=notrunc", "status=none")
            expected = self.first[:500_000] + data(100_000, 7) + self.first[600_000:]
            self.assert_versions(path, [self.first, expected])
            run("dd", "if=/dev/zero", f"of={path}", "bs=64K", "count=4", "oflag=append", "conv=notrunc,fsync",
                "status=none")
            self.assert_versions(path, [self.first, expected, expected + bytes(256 * KiB)])
        run("dd", f"if={self.saved}", f"of={self.path('direct.pt')}", "bs=64K", "iflag=direct", "oflag=direct",
            "status=none")
        self.assert_versions(self.path("direct.pt"), [self.first])

    def test_truncate(self):
        run("truncate", "--size=1000000", self.saved)
        run("truncate", "--size=+500000", self.saved)
        self.assert_newest(self.saved, self.first[:1_000_000] + bytes(500_000))
        self.mount.demote(self.saved)
        run("truncate", "--size=0", self.saved)
        self.assert_newest(self.saved, b"")
        run("truncate", "--size=8G", self.path("huge.pt"))
        self.assertEqual(host_bytes(self.path("huge.pt")), 0)

    def test_fallocate(self):
        before = host_bytes(self.saved)
        run("fallocate", "--punch-hole", "--offset", 512 * KiB, "--length", 1 * MiB, self.saved)
        expected = self.first[:512 * KiB] + bytes(1 * MiB) + self.first[1536 * KiB:]
        self.assertLessEqual(host_bytes(self.saved), before - 1 * MiB)
        self.assert_versions(self.saved, [self.first, expected])
        self.mount.demote(self.saved)
        run("fallocate", "--zero-range", "--offset", 0, "--length", 64 * KiB, self.saved)
        expected = bytes(64 * KiB) + expected[64 * KiB:]
        self.assert_newest(self.saved, expected)
        run("fallocate", "--length", 3 * MiB, self.saved)
        self.assert_newest(self.saved, expected + bytes(1 * MiB))
        run("fallocate", "--dig-holes", self.saved)
        self.assert_newest(self.saved, expected + bytes(1 * MiB))
        run("fallocate", "--length", 16 * MiB, self.path("new.pt"))
        self.assertGreaterEqual(host_bytes(self.path("new.pt")), 16 * MiB)
        self.assert_newest(self.path("new.pt"), bytes(16 * MiB))

    def test_collapsed_and_inserted(self):
        """FUSE has no word for it: a clear refusal, and nothing has happened."""
        for option in ("--collapse-range", "--insert-range"):
            result = subprocess.run(["fallocate", option, "--offset", "0", "--length", "4096", self.saved],
                                    capture_output=True, text=True)
            self.assertNotEqual(result.returncode, 0)
            self.assertIn("not supported", result.stderr)
        self.assert_versions(self.saved, [self.first])

    def test_editors(self):
        """Written anew beside it and renamed, with the old one as a backup; or in place."""
        text = b"".join(b"learning_rate: %d\n" % number for number in range(2000))
        path = self.file("config.bin", text)
        contents = [text]
        run("sed", "-i.bak", "s/_rate/-rate/", path)
        contents.append(text.replace(b"_rate", b"-rate"))
        self.same_file(path + ".bak", text)
        run("sed", "-i", "1d", path)
        contents.append(contents[-1].split(b"\n", 1)[1])
        run("ed", "-s", path, text="1d\nw\nq\n")
        contents.append(contents[-1].split(b"\n", 1)[1])
        self.mount.demote(path)
        run("ed", "-s", path, text="1d\nw\nq\n")
        contents.append(contents[-1].split(b"\n", 1)[1])
        os.rename(path, path + "~")
        write(path, b"all new")
        contents.append(b"all new")
        self.same_file(path + "~", contents[-2])
        self.assert_versions(path, contents)

    def test_install_split_and_join(self):
        run("install", "-m", "640", self.saved, self.path("installed.pt"))
        self.assertEqual(os.stat(self.path("installed.pt")).st_mode & 0o777, 0o640)
        run("split", "--bytes=300000", self.saved, self.path("part."))
        run("sh", "-c", f"cat {self.path('part.')}* > {self.path('joined.pt')}")
        run("cmp", self.saved, self.path("joined.pt"))
        self.assert_versions(self.path("joined.pt"), [self.first])

    def test_checksums_of_cold_files(self):
        names = [os.path.basename(self.file(f"{number}.pt", data(200_000, number))) for number in range(5)]
        sums = run("sha256sum", *names, cwd=self.dir)
        self.mount.demote(*(self.path(name) for name in names))
        run("sha256sum", "--check", "--quiet", cwd=self.dir, text=sums)
        for name in names:
            self.assertTrue(self.mount.is_cold(self.path(name)))

    def test_archives_that_grow(self):
        path = self.path("parts.bin")
        for number in range(3):
            with zipfile.ZipFile(path, "a") as archive:
                archive.writestr(f"part{number}", data(300_000, number))
            if number == 1:
                self.mount.demote(path)
        versions = self.mount.versions(path)
        self.assertEqual(len(versions), 3)
        for version, count in zip(versions, (1, 2, 3)):
            with zipfile.ZipFile(self.mount.version(path, version)) as archive:
                self.assertIsNone(archive.testzip())
                self.assertEqual(len(archive.namelist()), count)

    def test_a_dbm_file(self):
        with shelve.open(self.path("results.bin")) as shelf:
            for number in range(200):
                shelf[str(number)] = {"loss": number}
        with shelve.open(self.path("results.bin")) as shelf:
            self.assertEqual(shelf["150"], {"loss": 150})
            self.assertEqual(len(shelf), 200)

    def test_temporary_files(self):
        with tempfile.NamedTemporaryFile(dir=self.dir, suffix=".pt", delete=False) as file:
            file.write(self.first)
        os.replace(file.name, self.path("final.pt"))
        self.assert_newest(self.path("final.pt"), self.first)
        with tempfile.TemporaryFile(dir=self.dir) as file:
            file.write(self.first)
            file.seek(0)
            self.same(file.read(), self.first)

    def test_compiled_and_run(self):
        write(self.path("main.c"), b"#include <stdio.h>\nint main(void) { puts(\"built\"); return 0; }\n")
        run("cc", "-o", self.path("program"), self.path("main.c"))
        self.assertEqual(run(self.path("program")), "built\n")


class Locks(ClientCase):
    def count(self, path, lock):
        with open(path, "r+") as file:
            for _ in range(50):
                lock(file, True)
                file.seek(0)
                number = json.load(file)["count"]
                file.seek(0)
                json.dump({"count": number + 1}, file)
                file.flush()
                lock(file, False)

    def counted(self, lock):
        path = self.file("counter.bin", b'{"count": 0}')
        for child in [Child(self.count, path, lock) for _ in range(4)]:
            child.result(timeout=120)
        self.assertEqual(json.loads(read(path)), {"count": 200})
        self.assert_newest(path)

    def test_flock(self):
        self.counted(lambda file, take: fcntl.flock(file, fcntl.LOCK_EX if take else fcntl.LOCK_UN))

    def test_record_locks(self):
        self.counted(lambda file, take: fcntl.lockf(file, fcntl.LOCK_EX if take else fcntl.LOCK_UN))

    def test_the_program(self):
        path = self.file("counter.bin", b"0\n")
        step = f"flock {path}.lock sh -c 'n=$(cat {path}); echo $((n + 1)) > {path}'"
        run("sh", "-c", f"for i in $(seq 20); do {step}; done & for i in $(seq 20); do {step}; done & wait")
        self.assertEqual(read(path), b"40\n")
        held = subprocess.Popen(["flock", "--no-fork", path, "sleep", "60"])
        try:
            wait_for("the lock to be taken", lambda: subprocess.run(
                ["flock", "--nonblock", path, "true"]).returncode == 1)
        finally:
            held.kill()
            held.wait()
        self.assert_newest(path)


def load_batch(job):
    path, offset, size = job
    with open(path, "rb") as file:
        view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return view[offset:offset + size]


class Readers(ClientCase):
    """The header says where each tensor is, and readers map the file: as safetensors does."""

    def setUp(self):
        super().setUp()
        self.tensors = {f"layer{number}": data(100_000 + number, number) for number in range(20)}
        header, at = {}, 0
        for name, content in self.tensors.items():
            header[name] = {"dtype": "U8", "shape": [len(content)], "data_offsets": [at, at + len(content)]}
            at += len(content)
        text = json.dumps(header).encode()
        self.model = self.file("model.safetensors", len(text).to_bytes(8, "little") + text +
                               b"".join(self.tensors.values()))

    def layout(self, path):
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        return {name: (8 + length + entry["data_offsets"][0], entry["shape"][0]) for name, entry in header.items()}

    def check(self, path):
        layout = self.layout(path)
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
            view.madvise(mmap.MADV_RANDOM)
            for name in reversed(layout):
                offset, size = layout[name]
                self.same(view[offset:offset + size], self.tensors[name], name)
            view.madvise(mmap.MADV_WILLNEED)
            view.madvise(mmap.MADV_DONTNEED)
            self.assertEqual(view[-1:], self.tensors["layer19"][-1:])

    def test_mapped_cold(self):
        self.mount.demote(self.model)
        self.check(self.model)
        self.assertTrue(self.mount.is_cold(self.model))
        self.mount.restart()
        self.check(self.model)
        self.check(self.mount.version(self.model, 1))
        self.check(self.view("latest", "model.safetensors"))

    def test_by_a_pool_of_processes_while_saving(self):
        self.mount.demote(self.model)
        layout, contents = self.layout(self.model), []
        jobs = [(self.model, *layout[name]) for name in layout]
        with multiprocessing.get_context("fork").Pool(3) as pool:
            answers = [pool.map_async(load_batch, jobs, chunksize=1) for _ in range(3)]
            for step in range(6):
                contents.append(data(200_000, 100 + step))
                write(self.path("last.tmp"), contents[-1])
                os.replace(self.path("last.tmp"), self.path("last.pt"))
            for answer in answers:
                for found, expected in zip(answer.get(timeout=120), self.tensors.values()):
                    self.same(found, expected)
        self.assert_versions(self.path("last.pt"), contents)

    def test_a_mapping_outlives_the_name(self):
        """A reader keeps what it has mapped when the file is replaced, demoted or removed."""
        content = read(self.model)
        for state in ("hot", "cold"):
            write(self.model, content)
            if state == "cold":
                self.mount.demote(self.model)
            with open(self.model, "rb") as file:
                view = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            self.assertEqual(view[:8], content[:8])
            write(self.path("new.tmp"), b"other")
            os.replace(self.path("new.tmp"), self.model)
            self.same(view[:], content)
            os.unlink(self.model)
            self.same(view[:], content)
            view.close()

    def test_another_program_reads_while_it_grows(self):
        path, content = self.path("stream.bin"), b""
        with open(path, "wb", buffering=0) as file:
            for step in range(4):
                file.write(data(50_000, step))
                content += data(50_000, step)
                self.assertEqual(run("sha256sum", path).split()[0], sha(content))
        self.assert_versions(path, [content])


if __name__ == "__main__":
    main()
