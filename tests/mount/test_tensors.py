#!/usr/bin/python3
"""What the store makes of files whose tensors it knows: real files of torch, numpy, h5py and safetensors' format, changed as training does.

How small they get is for tests/bench; here stands that the right mechanism is at work, by margins that no noise crosses, and that every
version comes back byte for byte.
"""
import json
import os
import struct
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
import mounted  # noqa: E402
from mounted import MountCase, KiB, MiB, read  # noqa: E402

import numpy  # noqa: E402

try:
    import torch
except ImportError:
    torch = None
try:
    import h5py
except ImportError:
    h5py = None


def weights(count, seed=1):
    return (numpy.random.default_rng(seed).standard_normal(count) * 0.02).astype(numpy.float32)


def trained(values, seed):
    """A step of training: every weight moves by about a thousandth."""
    noise = numpy.random.default_rng(seed).standard_normal(len(values)).astype(numpy.float32)
    return values * (1 + noise * numpy.float32(1e-3))


class Tensors(MountCase):
    options = {"hot": "none"}

    def added(self, path):
        """What the newest version took, as a share of its size."""
        self.mount.flush()
        row = self.mount.log_rows(path)[-1]
        return row["added"] / row["size"]

    def keep(self, path):
        self.contents.setdefault(path, []).append(read(path))

    def setUp(self):
        super().setUp()
        self.contents = {}

    def tearDown(self):
        self.mount.flush()
        for path, contents in self.contents.items():
            self.assert_versions(path, contents)
        super().tearDown()

    def series(self, path, save, steps=3, count=512 * 1024):
        """Saves the same weights STEPS times, a step of training apart; the share that each took."""
        values, shares = weights(count), []
        for step in range(steps):
            save(path, values, step)
            shares.append(self.added(path))
            self.keep(path)
            values = trained(values, step)
        return shares

    def assert_whole_then_differences(self, shares, most=0.72):
        self.assertGreater(shares[0], 0.8)
        self.assertLess(shares[0], 0.9)  # byte planes
        for share in shares[1:]:
            self.assertLess(share, most)

    def test_npy(self):
        self.assert_whole_then_differences(self.series(
            os.path.join(self.dir, "w.npy"), lambda path, values, _: numpy.save(path, values)))

    def test_npz(self):
        self.assert_whole_then_differences(self.series(
            os.path.join(self.dir, "w.npz"),
            lambda path, values, step: numpy.savez(path, step=step, a=values[:1000], b=values[1000:])))

    def test_safetensors(self):
        def save(path, values, step):
            half = len(values) // 2 * 4
            header = json.dumps({"__metadata__": {"step": str(step)},
                                 "a": {"dtype": "F32", "shape": [half // 4], "data_offsets": [0, half]},
                                 "b": {"dtype": "F32", "shape": [len(values) - half // 4],
                                       "data_offsets": [half, len(values) * 4]}}).encode()
            with open(path, "wb") as file:
                file.write(struct.pack("<Q", len(header)) + header + values.tobytes())
        self.assert_whole_then_differences(self.series(os.path.join(self.dir, "model.safetensors"), save))

    @unittest.skipUnless(h5py, "no h5py")
    def test_hdf5_has_no_reader_and_is_the_same_size_each_time(self):
        def save(path, values, step):
            with h5py.File(path, "w") as file:
                file.attrs["step"] = step
                file["layer/kernel"] = values[:300000]
                file["layer/bias"] = values[300000:]
        self.assert_whole_then_differences(self.series(os.path.join(self.dir, "model.h5"), save))

    def test_numbers_at_any_place_of_an_unknown_format(self):
        def save(path, values, step):
            with open(path, "wb") as file:
                file.write(b"HEADER" + bytes([step]) + values.astype(numpy.float64).tobytes() + b"end")
        shares = self.series(os.path.join(self.dir, "w.bin"), save, count=256 * 1024)
        self.assertLess(shares[0], 0.6)  # half of the bits are zero
        for share in shares[1:]:
            self.assertLess(share, shares[0])

    @unittest.skipUnless(torch, "no torch")
    def test_last_beside_the_numbered_file_takes_next_to_nothing(self):
        model = torch.nn.Sequential(torch.nn.Linear(512, 512), torch.nn.Linear(512, 512))
        for epoch in range(3):
            state = {"model": model.state_dict(), "epoch": epoch}
            numbered = os.path.join(self.dir, f"model_epoch_{epoch}.pt")
            last = os.path.join(self.dir, "last.pt")
            torch.save(state, numbered)
            share = self.added(numbered)
            torch.save(state, last)
            self.assertLess(self.added(last), 0.01)
            self.keep(numbered)
            self.keep(last)
            if epoch > 0:
                self.assertLess(share, 0.75)  # the difference from the epoch before, under another name
            with torch.no_grad():
                for p in model.parameters():
                    p.mul_(1 + torch.randn_like(p) * 1e-3)

    @unittest.skipUnless(torch, "no torch")
    def test_frozen_layers_are_stored_once_and_a_run_finds_what_it_started_from(self):
        model = torch.nn.Sequential(torch.nn.Linear(512, 1024), torch.nn.Linear(1024, 512))
        base = os.path.join(self.dir, "base.pt")
        torch.save(model.state_dict(), base)
        self.mount.flush()
        self.keep(base)
        # Another process, as a real fine-tuning is: it reads the base through the mount and writes into another run.
        run = os.path.join(self.mount.root, "tuned")
        os.mkdir(run)
        path = os.path.join(run, "tuned_epoch_1.pt")
        subprocess.run(["/usr/bin/python3", "-c", f"""
import torch
state = torch.load({base!r})
for name in state:
    if name.startswith("1."):
        state[name] = state[name] * (1 + torch.randn_like(state[name]) * 1e-3)
torch.save(state, {path!r})
"""], check=True)
        share = self.added(path)
        self.keep(path)
        self.assertLess(share, 0.5 * 0.75)  # half of it was trained, and is a difference

    def test_a_new_name_for_the_same_tensors(self):
        values = weights(512 * 1024)
        first, second = (os.path.join(self.dir, name) for name in ("w_epoch_1.npy", "w_epoch_2.npy"))
        numpy.save(first, values)
        self.keep(first)
        self.added(first)
        temporary = second + ".tmp"
        with open(temporary, "wb") as file:
            numpy.save(file, trained(values, 1))
        os.rename(temporary, second)
        self.keep(second)
        self.assertLess(self.added(second), 0.72)

    def test_forgetting_gives_space_back_and_the_rest_can_be_read(self):
        path = os.path.join(self.dir, "w.npy")
        self.series(path, lambda name, values, _: numpy.save(name, values), steps=9)
        numbers = self.mount.versions(path)
        for number in (1, 2, 5, 6):
            before = self.mount.status()["stored"]
            self.mount.ckpt("forget", f"{path}@v{number}")
            self.assertLess(self.mount.status()["stored"], before)
        self.contents[path] = [c for n, c in zip(numbers, self.contents[path]) if n not in (1, 2, 5, 6)]
        self.mount.demote(path)

    def test_small_tensors_and_headers_share_chunks(self):
        path = os.path.join(self.dir, "small.npz")
        numpy.savez(path, **{f"t{i}": weights(200, seed=i) for i in range(300)})
        self.keep(path)
        self.mount.flush()
        self.assertLess(self.mount.status()["objects"], 8)
        self.assertGreater(os.path.getsize(path), 256 * KiB)
        self.assertLess(os.path.getsize(path), MiB)


class Alone(MountCase):
    options = {"hot": "none", "depth": 0}

    def test_depth_0_makes_no_differences(self):
        path = os.path.join(self.dir, "w.npy")
        values = weights(512 * 1024)
        for step in range(3):
            numpy.save(path, values)
            self.mount.flush()
            row = self.mount.log_rows(path)[-1]
            self.assertGreater(row["added"] / row["size"], 0.8)
            values = trained(values, step)


if __name__ == "__main__":
    mounted.main()
