"""HDF5 through h5py: a file that is opened again and again and changed in its middle."""
import os
import signal
import subprocess
import sys

from client import ClientCase, module
from mounted import Child, main, read

h5py = module("h5py")
np = module("numpy")


def rows(first, last):
    """Rows of a table that say which they are."""
    return np.arange(first * 50, last * 50, dtype=np.float64).reshape(-1, 50)


class Hdf5(ClientCase):
    def setUp(self):
        super().setUp()
        self.saved = self.path("run.h5")
        self.contents = []

    def closed(self):
        """After each close."""
        self.contents.append(read(self.saved))

    def create(self):
        with h5py.File(self.saved, "w") as file:
            file.create_dataset("weights", data=rows(0, 1000))
            file.create_dataset("log", data=rows(0, 10), maxshape=(None, 50), chunks=(64, 50))
            file.attrs["epoch"] = 0
        self.closed()

    def check(self, path, epoch, log_rows, weights):
        with h5py.File(path, "r") as file:
            self.assertEqual(file.attrs["epoch"], epoch)
            np.testing.assert_array_equal(file["log"], rows(0, log_rows))
            np.testing.assert_array_equal(file["weights"], weights)

    def epoch(self, number):
        """Reopened, resized, changed in place."""
        with h5py.File(self.saved, "r+") as file:
            file["log"].resize(10 + 200 * number, axis=0)
            file["log"][10 + 200 * (number - 1):] = rows(10 + 200 * (number - 1), 10 + 200 * number)
            file["weights"][number * 100:number * 100 + 10] = -number
            file.attrs["epoch"] = number
        self.closed()

    def weights(self, epoch):
        expected = rows(0, 1000)
        for number in range(1, epoch + 1):
            expected[number * 100:number * 100 + 10] = -number
        return expected

    def check_all(self, epochs):
        self.assert_versions(self.saved, self.contents)
        for epoch in range(epochs + 1):
            self.check(self.mount.version(self.saved, epoch + 1), epoch, 10 + 200 * epoch, self.weights(epoch))

    def test_every_close_is_a_version(self):
        self.create()
        for number in range(1, 5):
            self.epoch(number)
        self.check_all(4)
        self.check(self.view("latest", "run.h5"), 4, 810, self.weights(4))

    def test_flushed_in_between(self):
        self.create()
        for number in range(1, 4):
            self.mount.flush()
            self.epoch(number)
        self.check_all(3)

    def test_demoted_in_between(self):
        self.create()
        for number in range(1, 4):
            self.mount.demote(self.saved)
            self.check(self.saved, number - 1, 10 + 200 * (number - 1), self.weights(number - 1))
            self.assertTrue(self.mount.is_cold(self.saved), "reading made it hot")
            self.epoch(number)
            self.assertFalse(self.mount.is_cold(self.saved))
        self.check_all(3)

    def test_opening_for_appending_without_a_change(self):
        """h5py's "a" writes nothing unless it is told to; what the library itself touches is a version."""
        self.create()
        with h5py.File(self.saved, "a") as file:
            self.assertEqual(file.attrs["epoch"], 0)
        content = read(self.saved)
        self.assert_versions(self.saved, self.contents + ([] if content == self.contents[0] else [content]))

    def test_compressed_and_shrunk(self):
        with h5py.File(self.saved, "w", libver="latest") as file:
            file.create_dataset("packed", data=rows(0, 2000), compression="gzip", shuffle=True, chunks=(100, 50),
                                maxshape=(None, 50))
        self.closed()
        with h5py.File(self.saved, "r+", libver="latest") as file:
            file["packed"].resize(500, axis=0)
            file.create_group("deep/deeper")["values"] = [1, 2, 3]
        self.closed()
        with h5py.File(self.saved, "r+", libver="latest") as file:
            del file["deep"]
        self.closed()
        self.assert_versions(self.saved, self.contents)
        for version, count, deep in ((1, 2000, False), (2, 500, True), (3, 500, False)):
            with h5py.File(self.mount.version(self.saved, version), "r") as file:
                np.testing.assert_array_equal(file["packed"], rows(0, count))
                self.assertEqual("deep/deeper/values" in file, deep)

    def test_through_a_file_object(self):
        with open(self.saved, "w+b") as host, h5py.File(host, "w") as file:
            file["values"] = rows(0, 3000)
        self.mount.demote(self.saved)
        with open(self.saved, "rb") as host, h5py.File(host, "r") as file:
            np.testing.assert_array_equal(file["values"], rows(0, 3000))
        self.assert_versions(self.saved, [read(self.saved)])

    def test_a_second_writer_is_kept_out(self):
        """The library locks its files."""
        self.create()
        code = "import h5py, sys; h5py.File(sys.argv[1], sys.argv[2]); print('opened')"

        def other(mode):
            return subprocess.run([sys.executable, "-c", code, self.saved, mode], capture_output=True, text=True,
                                  timeout=60, env={**os.environ, "HDF5_USE_FILE_LOCKING": "TRUE"})
        with h5py.File(self.saved, "r+"):
            refused = other("r+")
            self.assertNotEqual(refused.returncode, 0)
            self.assertIn("unable to lock file", refused.stderr)
        self.assertEqual(other("r+").stdout, "opened\n")

    def test_one_writer_and_readers_at_once(self):
        """Single writer, multiple readers: what the writer has flushed the others see."""
        with h5py.File(self.saved, "w", libver="latest") as file:
            log = file.create_dataset("log", shape=(0, 50), maxshape=(None, 50), chunks=(16, 50), dtype=np.float64)
            file.swmr_mode = True

            def follow(count):
                with h5py.File(self.saved, "r", libver="latest", swmr=True) as reader:
                    reader["log"].refresh()
                    return bool(np.array_equal(reader["log"], rows(0, count)))
            for step in range(1, 6):
                log.resize(step * 40, axis=0)
                log[(step - 1) * 40:] = rows((step - 1) * 40, step * 40)
                log.flush()
                self.assertTrue(Child(follow, step * 40).result())
        with h5py.File(self.saved, "r") as file:
            np.testing.assert_array_equal(file["log"], rows(0, 200))
        self.assert_newest(self.saved)

    def test_killed_in_the_middle_of_a_change(self):
        """The file may be broken, as anywhere; what was closed before isn't."""
        self.create()
        code = ("import h5py, os, signal, sys\n"
                "file = h5py.File(sys.argv[1], 'r+')\n"
                "file['log'].resize(5000, axis=0)\n"
                "file['log'][:] = 1\n"
                "file['weights'][:] = 1\n"
                "file.flush()\n"
                "os.kill(os.getpid(), signal.SIGKILL)\n")
        killed = subprocess.run([sys.executable, "-c", code, self.saved], timeout=60)
        self.assertEqual(killed.returncode, -signal.SIGKILL)
        self.closed()
        self.assertNotEqual(self.contents[0], self.contents[1])
        self.assert_versions(self.saved, self.contents)
        self.check(self.mount.version(self.saved, 1), 0, 10, self.weights(0))


if __name__ == "__main__":
    main()
