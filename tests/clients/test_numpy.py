"""NumPy: save, savez, memmap."""
import os
import shutil

from client import ClientCase, module, python
from mounted import Child, main, read, wait_for, write

np = module("numpy")


def array(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape or (300_000,), dtype=np.float32)


class Saving(ClientCase):
    def expected(self, name, save, *args, **arrays):
        save(self.outside(name), *args, **arrays)
        return read(self.outside(name))

    def test_save_and_load(self):
        contents = []
        for step in range(4):
            np.save(self.path("w.npy"), array(step))
            contents.append(self.expected("w.npy", np.save, array(step)))
            if step == 1:
                self.mount.flush()
        self.assert_versions(self.path("w.npy"), contents)
        self.mount.demote(self.path("w.npy"))
        np.testing.assert_array_equal(np.load(self.path("w.npy")), array(3))
        for step in range(4):
            np.testing.assert_array_equal(np.load(self.mount.version(self.path("w.npy"), step + 1)), array(step))

    def test_archives(self):
        """np.savez writes a zip file: the header of each member is gone back to."""
        for save, name in ((np.savez, "plain.npz"), (np.savez_compressed, "packed.npz")):
            path, saved = self.path(name), []
            for step in range(3):
                arrays = {"a": array(step), "b": array(step + 10, 100, 200), "step": np.int64(step)}
                save(path, **arrays)
                saved.append((read(path), arrays))
            self.assert_versions(path, [content for content, _ in saved])
            self.mount.demote(path)
            for where, arrays in ([(path, saved[-1][1]), (self.view("latest", name), saved[-1][1])] +
                                  [(self.mount.version(path, step + 1), saved[step][1]) for step in range(3)]):
                with np.load(where) as found:
                    self.assertEqual(sorted(found), sorted(arrays))
                    for key, value in arrays.items():
                        np.testing.assert_array_equal(found[key], value, err_msg=f"{where}: {key}")

    def test_through_file_objects(self):
        with open(self.path("two.npy"), "wb") as file:
            np.save(file, array(1))
            np.save(file, array(2))
        with open(self.path("two.npy"), "ab") as file:
            np.save(file, array(3))
        versions = self.mount.versions(self.path("two.npy"))
        self.assertEqual(len(versions), 2)
        for version, count in zip(versions, (2, 3)):
            with open(self.mount.version(self.path("two.npy"), version), "rb") as file:
                for step in range(1, count + 1):
                    np.testing.assert_array_equal(np.load(file), array(step))
                self.assertEqual(file.read(), b"")

    def test_raw_arrays(self):
        array(1).tofile(self.path("raw.bin"))
        self.assert_versions(self.path("raw.bin"), [array(1).tobytes()])
        self.mount.demote(self.path("raw.bin"))
        np.testing.assert_array_equal(np.fromfile(self.path("raw.bin"), np.float32), array(1))
        np.testing.assert_array_equal(np.fromfile(self.path("raw.bin"), np.float32, 1000, offset=400_000),
                                      array(1)[100_000:101_000])


class Mapping(ClientCase):
    shape = (1000, 500)

    def setUp(self):
        super().setUp()
        self.saved = self.path("m.npy")
        np.save(self.saved, array(1, *self.shape))
        self.first = read(self.saved)

    def changed(self):
        expected = array(1, *self.shape)
        expected[100:200] = 7
        np.save(self.outside("m.npy"), expected)
        return expected, read(self.outside("m.npy"))

    def test_new_raw_file(self):
        path = self.path("raw.bin")
        mapped = np.memmap(path, np.float32, "w+", shape=self.shape)
        mapped[:] = array(1, *self.shape)
        mapped.flush()
        mapped[10:20] = 3
        del mapped
        expected = array(1, *self.shape)
        expected[10:20] = 3
        wait_for("a version with all of the array", lambda: self.newest(path) == expected.tobytes())
        self.same_file(path, expected.tobytes())

    def test_new_npy_file(self):
        path = self.path("new.npy")
        mapped = np.lib.format.open_memmap(path, "w+", np.float32, self.shape)
        for row in range(0, self.shape[0], 100):
            mapped[row:row + 100] = array(1, *self.shape)[row:row + 100]
        del mapped
        wait_for("a version with all of the array", lambda: self.newest(path) == self.first)
        np.testing.assert_array_equal(np.load(path), array(1, *self.shape))

    def test_changed_in_place(self):
        """Hot and pending, hot and recorded, cold: after it the new bytes are there, and the old ones a version."""
        for state in ("pending", "hot", "cold"):
            with self.subTest(state=state):
                path = self.path(state + ".npy")
                shutil.copyfile(self.saved, path)
                if state != "pending":
                    self.mount.flush()
                if state == "cold":
                    self.mount.demote(path)
                expected, content = self.changed()
                mapped = np.load(path, mmap_mode="r+")
                np.testing.assert_array_equal(mapped, array(1, *self.shape))
                mapped[100:200] = 7
                del mapped
                np.testing.assert_array_equal(np.load(path), expected)
                wait_for("a version with the change", lambda: self.newest(path) == content)
                self.assert_versions(path, [self.first, content])

    def test_cold_file_is_read_in_place(self):
        self.mount.demote(self.saved)
        mapped = np.load(self.saved, mmap_mode="r")
        self.assertIsInstance(mapped, np.memmap)
        expected = array(1, *self.shape)
        for row in np.random.default_rng(5).integers(0, self.shape[0], 50):
            np.testing.assert_array_equal(mapped[row], expected[row])
        np.testing.assert_array_equal(mapped, expected)
        self.assertTrue(self.mount.is_cold(self.saved), "reading made it hot")
        self.assertRaises(ValueError, mapped.__setitem__, 0, 1)

    def test_copy_on_write_changes_nothing(self):
        self.mount.demote(self.saved)
        mapped = np.load(self.saved, mmap_mode="c")
        mapped[100:200] = 7
        np.testing.assert_array_equal(mapped, self.changed()[0])
        del mapped
        np.testing.assert_array_equal(np.load(self.saved), array(1, *self.shape))
        self.assertTrue(self.mount.is_cold(self.saved))
        self.assert_versions(self.saved, [self.first])

    def test_versions_are_mapped_too(self):
        expected, content = self.changed()
        np.save(self.saved, expected)
        self.assert_versions(self.saved, [self.first, content])
        for version, wanted in ((1, array(1, *self.shape)), (2, expected)):
            mapped = np.load(self.mount.version(self.saved, version), mmap_mode="r")
            np.testing.assert_array_equal(mapped, wanted)
            del mapped

    def test_a_reader_of_a_cold_file_sees_a_writer(self):
        """Both map the same file: what one stores the other reads, whatever the file was when it was opened."""
        self.mount.demote(self.saved)
        reader = np.load(self.saved, mmap_mode="r")
        np.testing.assert_array_equal(reader[100:200], array(1, *self.shape)[100:200])
        expected, content = self.changed()
        writer = np.load(self.saved, mmap_mode="r+")
        writer[100:200] = 7
        np.testing.assert_array_equal(reader, expected)
        del writer
        np.testing.assert_array_equal(reader, expected)
        del reader
        wait_for("a version with the change", lambda: self.newest(self.saved) == content)

    def test_a_reader_of_a_cold_file_sees_what_is_written(self):
        self.mount.demote(self.saved)
        reader = np.load(self.saved, mmap_mode="r")
        np.testing.assert_array_equal(reader[0], array(1, *self.shape)[0])
        expected, content = self.changed()
        with open(self.saved, "r+b") as file:
            file.write(content)
        np.testing.assert_array_equal(reader, expected)
        del reader
        self.assert_versions(self.saved, [self.first, content])

    def test_processes_fill_one_array(self):
        path = self.path("shared.bin")
        write(path, bytes(4 * 500_000))

        def fill(part):
            mapped = np.memmap(path, np.float32, "r+")
            mapped[part * 100_000:(part + 1) * 100_000] = array(part, 100_000)
            mapped.flush()
            del mapped
        for child in [Child(fill, part) for part in range(5)]:
            child.result()
        expected = b"".join(array(part, 100_000).tobytes() for part in range(5))
        self.same_file(path, expected)
        wait_for("a version with all parts", lambda: self.newest(path) == expected)

    def test_cold_after_a_restart_in_another_process(self):
        self.mount.demote(self.saved)
        self.mount.restart()
        total = python("import numpy, sys; print(repr(float(numpy.load(sys.argv[1], mmap_mode='r')[::7].sum())))",
                       self.saved)
        self.assertEqual(total.strip(), repr(float(array(1, *self.shape)[::7].sum())))


if __name__ == "__main__":
    main()
