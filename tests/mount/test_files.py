"""What a regular file does under open, read, write, truncate, fallocate, lseek, mmap: as on the host."""
import ctypes
import errno
import mmap
import os
import random
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from mounted import (AT_FDCWD, AT_SYMLINK_FOLLOW, FALLOC_KEEP_SIZE, FALLOC_PUNCH_HOLE, FALLOC_ZERO_RANGE, Child,
                     KiB, MiB, PosixCase, call, data, fallocate, listed, main, read, write)


class Opening(PosixCase):
    def test_exclusive_create_succeeds_once(self):
        path = self.path("a.pt")
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        self.fails(errno.EEXIST, os.open, path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)

    def test_exclusive_create_does_not_follow_a_dangling_link(self):
        os.symlink("nothing", self.path("link"))
        self.fails(errno.EEXIST, os.open, self.path("link"), os.O_CREAT | os.O_EXCL | os.O_WRONLY)

    def test_create_opens_an_existing_file_unchanged(self):
        path = self.file("a", b"before")
        fd = self.open(path, os.O_CREAT | os.O_RDWR)
        self.assertEqual(os.read(fd, 10), b"before")

    def test_create_without_write_permission_in_the_mode_is_still_writable(self):
        fd = self.open(self.path("a"), os.O_CREAT | os.O_RDWR, 0o000)
        self.assertEqual(os.write(fd, b"x"), 1)
        self.assertEqual(os.fstat(fd).st_mode & 0o777, 0)

    def test_missing_file(self):
        self.fails(errno.ENOENT, os.open, self.path("none"), os.O_RDONLY)

    def test_truncating_open_empties_the_file_for_every_handle(self):
        path = self.file("a.pt", b"before")
        other = self.open(path)
        os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))
        self.assertEqual(os.stat(path).st_size, 0)
        self.assertEqual(os.fstat(other).st_size, 0)
        self.assertEqual(os.read(other, 10), b"")

    def test_append_goes_to_the_end_whatever_the_offset(self):
        path = self.file("a", b"one")
        first = self.open(path, os.O_WRONLY | os.O_APPEND)
        second = self.open(path, os.O_WRONLY | os.O_APPEND)
        os.write(first, b"two")
        os.lseek(second, 0, os.SEEK_SET)
        os.write(second, b"three")
        os.write(first, b"four")
        self.assertEqual(read(path), b"onetwothreefour")

    def test_access_mode_is_kept(self):
        path = self.file("a", b"x")
        self.fails(errno.EBADF, os.write, self.open(path, os.O_RDONLY), b"y")
        self.fails(errno.EBADF, os.read, self.open(path, os.O_WRONLY), 1)

    def test_directory_and_link_flags(self):
        path = self.file("a")
        os.symlink("a", self.path("link"))
        self.fails(errno.ENOTDIR, os.open, path, os.O_RDONLY | os.O_DIRECTORY)
        self.fails(errno.ELOOP, os.open, self.path("link"), os.O_RDONLY | os.O_NOFOLLOW)
        self.fails(errno.EISDIR, os.open, self.dir, os.O_WRONLY)
        self.fails(errno.ENOTDIR, os.open, self.path("a", "b"), os.O_RDONLY)

    def test_path_descriptor_reopens_through_proc(self):
        path = self.file("a.pt", b"content")
        fd = os.open(path, os.O_PATH)
        self.addCleanup(os.close, fd)
        self.assertEqual(os.fstat(fd).st_size, 7)
        self.assertEqual(read(f"/proc/self/fd/{fd}"), b"content")
        write(f"/proc/self/fd/{fd}", b"changed")
        self.assertEqual(read(path), b"changed")
        os.unlink(path)
        self.assertEqual(read(f"/proc/self/fd/{fd}"), b"changed")

    def test_unnamed_file_works_or_is_refused_clearly(self):
        try:
            fd = self.open(self.dir, os.O_TMPFILE | os.O_RDWR)
        except OSError as failure:
            self.assertEqual(failure.errno, errno.EOPNOTSUPP, failure)
            return
        os.write(fd, b"content")
        call("linkat", AT_FDCWD, f"/proc/self/fd/{fd}".encode(), AT_FDCWD,
             os.fsencode(self.path("named.pt")), AT_SYMLINK_FOLLOW)
        self.assertEqual(read(self.path("named.pt")), b"content")

    def test_a_program_runs_from_here(self):
        path = self.file("program", read("/bin/true"))
        os.chmod(path, 0o755)
        self.assertEqual(subprocess.run([path]).returncode, 0)

    def test_direct_io(self):
        size = 64 * KiB
        buffer = mmap.mmap(-1, size)
        buffer.write(data(size))
        fd = self.open(self.path("a.pt"), os.O_CREAT | os.O_RDWR | os.O_DIRECT)
        self.assertEqual(os.pwrite(fd, buffer, 0), size)
        again = mmap.mmap(-1, size)
        self.assertEqual(os.preadv(fd, [again], 0), size)
        self.same(again[:], data(size))


class ReadingAndWriting(PosixCase):
    def test_read_stops_at_the_end(self):
        fd = self.open(self.file("a", b"12345"))
        self.assertEqual(os.pread(fd, 10, 3), b"45")
        self.assertEqual(os.pread(fd, 10, 5), b"")
        self.assertEqual(os.pread(fd, 10, 1 << 40), b"")

    def test_write_beyond_the_end_leaves_zeros(self):
        path = self.path("a.pt")
        fd = self.open(path, os.O_CREAT | os.O_RDWR)
        os.pwrite(fd, b"end", 100_000)
        self.same_file(path, bytes(100_000) + b"end")

    def test_every_size_around_the_page_and_request_limits(self):
        fd = self.open(self.path("a.pt"), os.O_CREAT | os.O_RDWR)
        for edge in (1, 4 * KiB, 128 * KiB, 1 * MiB, 4 * MiB):
            for size in (edge - 1, edge, edge + 1):
                content = data(size, size)
                os.ftruncate(fd, 0)
                self.assertEqual(os.pwrite(fd, content, 0), size)
                self.same(os.pread(fd, size + 10, 0), content, f"{size} bytes")

    def test_vectors(self):
        fd = self.open(self.path("a"), os.O_CREAT | os.O_RDWR)
        self.assertEqual(os.pwritev(fd, [b"one", b"two", b"three"], 5), 11)
        parts = [bytearray(4), bytearray(20)]
        self.assertEqual(os.preadv(fd, parts, 4), 12)
        self.assertEqual(parts[0] + parts[1][:8], b"\0onetwothree")

    def test_seek_to_end(self):
        fd = self.open(self.file("a", b"12345"), os.O_RDWR)
        self.assertEqual(os.lseek(fd, 0, os.SEEK_END), 5)
        os.write(fd, b"678")
        self.assertEqual(os.lseek(fd, -2, os.SEEK_END), 6)
        self.fails(errno.EINVAL, os.lseek, fd, -1, os.SEEK_SET)

    def test_size_and_times_are_right_at_once_everywhere(self):
        path = self.path("a.pt")
        fd = self.open(path, os.O_CREAT | os.O_WRONLY)
        for step in range(1, 200):
            before = os.stat(path)
            os.write(fd, b"x" * 999)
            after = os.stat(path)
            self.assertEqual(after.st_size, step * 999)
            self.assertEqual(os.fstat(fd).st_size, step * 999)
            self.assertGreaterEqual(after.st_mtime_ns, before.st_mtime_ns)

    def test_another_process_reads_what_was_just_written(self):
        path = self.path("a.pt")
        fd = self.open(path, os.O_CREAT | os.O_RDWR)
        for step in range(20):
            os.pwrite(fd, bytes([step]) * 5000, step * 5000)
            seen = Child(lambda: read(path)[-5000:].hex()).result()
            self.assertEqual(seen, (bytes([step]) * 5000).hex())

    def test_sendfile_and_copy_file_range(self):
        content = data(3 * MiB)
        source = self.open(self.file("source.pt", content))
        target = self.open(self.path("sent.pt"), os.O_CREAT | os.O_RDWR)
        sent = 0
        while sent < len(content):
            sent += os.sendfile(target, source, sent, len(content) - sent)
        self.same_file(self.path("sent.pt"), content)

        target = self.open(self.path("copied.pt"), os.O_CREAT | os.O_RDWR)
        self.assertEqual(os.copy_file_range(source, target, 1000, 5000, 70), 1000)
        self.same(os.pread(target, 2000, 0), bytes(70) + content[5000:6000])
        self.assertEqual(os.copy_file_range(source, target, 1000, len(content), 0), 0)
        copied = os.copy_file_range(source, target, len(content), len(content) - 10, 2000)
        self.assertEqual(copied, 10)
        self.assertEqual(os.fstat(target).st_size, 2010)

    def test_copy_file_range_within_a_file(self):
        content = data(100_000)
        fd = self.open(self.file("a.pt", content), os.O_RDWR)
        self.fails(errno.EINVAL, os.copy_file_range, fd, fd, 1000, 0, 500)
        self.assertEqual(os.copy_file_range(fd, fd, 1000, 0, 50_000), 1000)
        self.same(os.pread(fd, 100_000, 0), content[:50_000] + content[:1000] + content[51_000:])

    def test_splice_from_a_pipe(self):
        content = data(50_000)
        read_end, write_end = os.pipe()
        os.write(write_end, content)
        os.close(write_end)
        fd = self.open(self.path("a.pt"), os.O_CREAT | os.O_RDWR)
        moved = 0
        while piece := os.splice(read_end, fd, 50_000):
            moved += piece
        os.close(read_end)
        self.assertEqual(moved, 50_000)
        self.same_file(self.path("a.pt"), content)

    def test_many_threads_write_their_own_blocks(self):
        fd = self.open(self.path("a.pt"), os.O_CREAT | os.O_RDWR)
        block, blocks, threads = 37_000, 40, 8

        def work(mine):
            for number in range(mine, blocks, threads):
                os.pwrite(fd, bytes([number]) * block, number * block)

        workers = [threading.Thread(target=work, args=(mine,)) for mine in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        self.same_file(self.path("a.pt"), b"".join(bytes([number]) * block for number in range(blocks)))

    def test_sync_calls(self):
        fd = self.open(self.file("a.pt", b"x"), os.O_RDWR)
        os.fsync(fd)
        os.fdatasync(fd)
        os.write(fd, b"y")
        os.fdatasync(fd)
        os.fsync(self.open(self.dir, os.O_RDONLY | os.O_DIRECTORY))
        call("syncfs", fd)
        synchronous = self.open(self.path("b"), os.O_CREAT | os.O_WRONLY | os.O_SYNC)
        self.assertEqual(os.write(synchronous, b"z"), 1)

    def test_preallocation_advice_and_readahead(self):
        content = data(2 * MiB)
        fd = self.open(self.file("a.pt", content), os.O_RDWR)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        self.same(os.pread(fd, len(content), 0), content)


class Truncating(PosixCase):
    def test_shrink_and_grow(self):
        path = self.file("a.pt", b"0123456789")
        os.truncate(path, 4)
        self.assertEqual(read(path), b"0123")
        os.truncate(path, 8)
        self.assertEqual(read(path), b"0123\0\0\0\0")
        fd = self.open(path, os.O_RDWR)
        os.ftruncate(fd, 2)
        os.ftruncate(fd, 5000)
        self.same_file(path, b"01" + bytes(4998))

    def test_partial_page_is_zeroed_for_mappings_too(self):
        path = self.file("a.pt", b"x" * 8192)
        fd = self.open(path, os.O_RDWR)
        with mmap.mmap(fd, 8192) as view:
            os.ftruncate(fd, 100)
            os.ftruncate(fd, 8192)
            self.assertEqual(view[:], b"x" * 100 + bytes(8092))

    def test_refusals(self):
        path = self.file("a", b"x")
        self.fails(errno.EINVAL, os.ftruncate, self.open(path, os.O_RDONLY), 0)
        self.fails(errno.EINVAL, os.truncate, path, -1)
        self.fails(errno.EISDIR, os.truncate, self.dir, 0)
        self.fails(errno.ENOENT, os.truncate, self.path("none"), 0)

    def test_sparse_terabyte(self):
        path = self.file("sparse.pt", b"start")
        os.truncate(path, 1 << 40)
        st = os.stat(path)
        self.assertEqual(st.st_size, 1 << 40)
        self.assertLessEqual(st.st_blocks * 512, 64 * KiB)
        fd = self.open(path)
        self.assertEqual(os.pread(fd, 10, (1 << 40) - 5), bytes(5))
        os.unlink(path)


class Allocating(PosixCase):
    def allocated(self, fd):
        os.fsync(fd)
        return os.fstat(fd).st_blocks * 512

    def test_plain_grows_the_file(self):
        fd = self.open(self.file("a.pt", b"start"), os.O_RDWR)
        os.posix_fallocate(fd, 0, 1 * MiB)
        self.assertEqual(os.fstat(fd).st_size, 1 * MiB)
        self.assertGreaterEqual(self.allocated(fd), 1 * MiB)
        self.same(os.pread(fd, 1 * MiB, 0), b"start" + bytes(1 * MiB - 5))

    def test_keep_size(self):
        fd = self.open(self.file("a.pt", b"start"), os.O_RDWR)
        fallocate(fd, FALLOC_KEEP_SIZE, 0, 1 * MiB)
        self.assertEqual(os.fstat(fd).st_size, 5)
        self.assertGreaterEqual(self.allocated(fd), 1 * MiB)

    def test_punch_hole(self):
        content = data(1 * MiB)
        fd = self.open(self.file("a.pt", content), os.O_RDWR)
        before = self.allocated(fd)
        fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, 100_000, 500_000)
        self.same(os.pread(fd, 1 * MiB, 0), content[:100_000] + bytes(500_000) + content[600_000:])
        self.assertEqual(os.fstat(fd).st_size, 1 * MiB)
        self.assertLess(self.allocated(fd), before - 400_000)

    def test_zero_range(self):
        content = data(100_000)
        fd = self.open(self.file("a.pt", content), os.O_RDWR)
        fallocate(fd, FALLOC_ZERO_RANGE, 10_000, 20_000)
        self.same(os.pread(fd, 100_000, 0), content[:10_000] + bytes(20_000) + content[30_000:])

    def test_needs_a_writable_descriptor(self):
        fd = self.open(self.file("a"), os.O_RDONLY)
        self.fails(errno.EBADF, fallocate, fd, 0, 0, 10)

    def test_data_and_holes_are_found(self):
        fd = self.open(self.path("a.pt"), os.O_CREAT | os.O_RDWR)
        os.pwrite(fd, b"x" * (64 * KiB), 0)
        os.pwrite(fd, b"y" * (64 * KiB), 1 * MiB)
        os.ftruncate(fd, 2 * MiB)
        os.fsync(fd)
        self.assertEqual(os.lseek(fd, 0, os.SEEK_DATA), 0)
        self.assertEqual(os.lseek(fd, 0, os.SEEK_HOLE), 64 * KiB)
        self.assertEqual(os.lseek(fd, 64 * KiB, os.SEEK_DATA), 1 * MiB)
        self.assertEqual(os.lseek(fd, 1 * MiB, os.SEEK_HOLE), 1 * MiB + 64 * KiB)
        self.fails(errno.ENXIO, os.lseek, fd, 1 * MiB + 64 * KiB, os.SEEK_DATA)
        self.fails(errno.ENXIO, os.lseek, fd, 2 * MiB, os.SEEK_HOLE)


class OpenWithoutAName(PosixCase):
    def test_an_unlinked_file_lives_until_its_last_close(self):
        content = data(300_000)
        path = self.file("a.pt", content)
        fd = self.open(path, os.O_RDWR)
        os.unlink(path)
        self.assertFalse(os.path.exists(path))
        st = os.fstat(fd)
        self.assertEqual((st.st_nlink, st.st_size), (0, 300_000))
        self.same(os.pread(fd, 300_000, 0), content)
        os.pwrite(fd, b"new", 0)
        os.ftruncate(fd, 10)
        os.fchmod(fd, 0o600)
        os.utime(fd, (1, 1))
        os.fsync(fd)
        self.assertEqual(os.pread(fd, 20, 0), b"new" + content[3:10])
        self.assertEqual(os.fstat(fd).st_mode & 0o777, 0o600)

    def test_a_created_file_may_be_unlinked_before_the_first_write(self):
        fd = self.open(self.path("a.pt"), os.O_CREAT | os.O_RDWR)
        os.unlink(self.path("a.pt"))
        os.write(fd, b"content")
        self.assertEqual(os.pread(fd, 10, 0), b"content")
        self.assertEqual(listed(self.dir), [])

    def test_the_name_can_be_used_again_at_once(self):
        fd = self.open(self.file("a.pt", b"old"), os.O_RDWR)
        os.unlink(self.path("a.pt"))
        write(self.path("a.pt"), b"new one")
        self.assertEqual(os.pread(fd, 10, 0), b"old")
        self.assertEqual(read(self.path("a.pt")), b"new one")
        self.assertNotEqual(os.fstat(fd).st_ino, os.stat(self.path("a.pt")).st_ino)

    def test_a_replaced_file_lives_until_its_last_close(self):
        fd = self.open(self.file("a.pt", b"old"), os.O_RDWR)
        os.rename(self.file("b.pt", b"new"), self.path("a.pt"))
        os.pwrite(fd, b"OLD", 0)
        self.assertEqual(os.pread(fd, 10, 0), b"OLD")
        self.assertEqual(read(self.path("a.pt")), b"new")
        self.assertEqual(os.fstat(fd).st_nlink, 0)

    def test_a_file_can_be_renamed_while_it_is_written(self):
        fd = self.open(self.path("a.tmp"), os.O_CREAT | os.O_RDWR)
        os.write(fd, b"one")
        os.rename(self.path("a.tmp"), self.path("a.pt"))
        os.write(fd, b"two")
        self.assertEqual(read(self.path("a.pt")), b"onetwo")


class Mapping(PosixCase):
    def test_shared_mapping_writes_the_file(self):
        path = self.file("a.pt", bytes(100_000))
        fd = self.open(path, os.O_RDWR)
        with mmap.mmap(fd, 100_000) as view:
            view[50_000:50_005] = b"hello"
            self.assertEqual(os.pread(fd, 5, 50_000), b"hello")
            os.pwrite(fd, b"there", 60_000)
            self.assertEqual(view[60_000:60_005], b"there")
            view.flush()
        self.assertEqual(read(path)[50_000:50_005], b"hello")

    def test_private_mapping_does_not(self):
        path = self.file("a.pt", b"x" * 10_000)
        with open(path, "r+b") as file:
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as view:
                view[:5] = b"hello"
                self.assertEqual(view[:6], b"hellox")
        self.assertEqual(read(path), b"x" * 10_000)

    def test_read_only_mapping_sees_later_writes(self):
        path = self.file("a.pt", b"x" * 10_000)
        fd = self.open(path)
        with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as view:
            with open(path, "r+b") as file:
                file.write(b"hello")
            self.assertEqual(view[:6], b"hellox")

    def test_mapping_outlives_the_descriptor_and_the_name(self):
        path = self.file("a.pt", bytes(10_000))
        fd = os.open(path, os.O_RDWR)
        view = mmap.mmap(fd, 10_000)
        os.close(fd)
        view[:5] = b"hello"
        self.assertEqual(read(path)[:5], b"hello")
        os.unlink(path)
        view[5:10] = b"there"
        self.assertEqual(view[:10], b"hellothere")
        view.close()

    def test_two_processes_share_a_mapping(self):
        path = self.file("a.pt", bytes(8192))
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), 8192) as mine:
            def child():
                with open(path, "r+b") as file, mmap.mmap(file.fileno(), 8192) as theirs:
                    theirs[4096:4101] = b"hello"
            Child(child).result()
            self.assertEqual(mine[4096:4101], b"hello")

    def test_writable_mapping_needs_a_writable_descriptor(self):
        fd = self.open(self.file("a.pt", bytes(4096)), os.O_RDONLY)
        self.fails(errno.EACCES, mmap.mmap, fd, 4096, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)


class AnyOrder(PosixCase):
    """Random operations on one file against a model in memory, the way fsx does it."""

    STEPS = 1500
    LIMIT = 2 * MiB

    def test_random_operations_match_the_model(self):
        seed = int(os.environ.get("MOUNTED_SEED", "0")) or random.randrange(1 << 32)
        chance = random.Random(seed)
        path = self.path("model.pt")
        model = bytearray()
        fd = os.open(path, os.O_CREAT | os.O_RDWR)
        done = []
        try:
            for step in range(self.STEPS):
                fd = self.step(chance, path, fd, model, done)
                self.assertEqual(os.stat(path).st_size, len(model), "size")
        except BaseException:
            print(f"MOUNTED_SEED={seed}, step {len(done)}, the last ones: {done[-8:]}")
            raise
        finally:
            os.close(fd)
        self.same_file(path, bytes(model))

    def step(self, chance, path, fd, model, done):
        offset = chance.randrange(self.LIMIT)
        length = chance.randrange(1, 1 + min(chance.choice((100, 9000, 300_000)), self.LIMIT - offset))
        what = chance.choices(
            ("write", "read", "map write", "map read", "truncate", "punch", "allocate", "reopen", "empty",
             "copy", "sync", "other"), (20, 20, 8, 8, 5, 4, 3, 12, 1, 4, 2, 6))[0]
        done.append((what, offset, length))
        if what == "write":
            content = chance.randbytes(length)
            os.pwrite(fd, content, offset)
            self.put(model, offset, content)
        elif what == "read":
            self.same(os.pread(fd, length, offset), model[offset:offset + length], "read")
        elif what in ("map write", "map read") and model:
            with mmap.mmap(fd, len(model)) as view:
                offset %= len(model)
                self.same(view[offset:offset + length], model[offset:offset + length], "mapping")
                if what == "map write":
                    content = chance.randbytes(len(model[offset:offset + length]))
                    view[offset:offset + len(content)] = content
                    model[offset:offset + len(content)] = content
        elif what == "truncate":
            if chance.random() < 0.5:
                os.ftruncate(fd, offset)
            else:
                os.truncate(path, offset)
            self.resize(model, offset)
        elif what == "punch":
            fallocate(fd, FALLOC_PUNCH_HOLE | FALLOC_KEEP_SIZE, offset, length)
            end = min(offset + length, len(model))
            if end > offset:
                model[offset:end] = bytes(end - offset)
        elif what == "allocate":
            fallocate(fd, 0, offset, length)
            if offset + length > len(model):
                self.resize(model, offset + length)
        elif what in ("reopen", "empty"):
            os.close(fd)
            if what == "empty":
                fd = os.open(path, os.O_RDWR | os.O_TRUNC)
                del model[:]
            else:
                self.between(chance, path)
                fd = os.open(path, os.O_RDWR)
        elif what == "copy" and model:
            source = chance.randrange(len(model))
            length = min(length, len(model) - source)
            if source + length <= offset or offset + length <= source:
                content = bytes(model[source:source + length])
                copied = os.copy_file_range(fd, fd, length, source, offset)
                self.put(model, offset, content[:copied])
        elif what == "sync":
            os.fsync(fd)
        elif what == "other":
            self.same_file(path, bytes(model), "another handle")
        return fd

    def between(self, chance, path):
        """While nobody has the file open."""

    @staticmethod
    def resize(model, size):
        if size < len(model):
            del model[size:]
        else:
            model.extend(bytes(size - len(model)))

    def put(self, model, offset, content):
        if offset > len(model):
            self.resize(model, offset)
        model[offset:offset + len(content)] = content


if __name__ == "__main__":
    main()
