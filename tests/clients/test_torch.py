"""PyTorch: torch.save, torch.load and what trainers do around them."""
import io
import os
import signal
import subprocess
import sys

from client import ClientCase, module
from mounted import Child, main, read, wait_for

torch = module("torch")
torch.set_num_threads(1)  # forked children can't use the parent's pool


class Trainer:
    """A small network that learns something: every epoch's state differs from the one before."""

    def __init__(self):
        torch.manual_seed(0)
        self.model = torch.nn.Sequential(torch.nn.Linear(64, 256), torch.nn.ReLU(), torch.nn.Linear(256, 64))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.01)
        self.epochs = 0

    def epoch(self):
        for _ in range(3):
            batch = torch.randn(32, 64)
            loss = torch.nn.functional.mse_loss(self.model(batch), batch.flip(1))
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        self.epochs += 1

    def state(self):
        return {"epochs": self.epochs, "model": self.model.state_dict(), "random": torch.get_rng_state(),
                "optimizer": self.optimizer.state_dict()}

    def resume(self, state):
        self.epochs = state["epochs"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"])


def frozen(state):
    """A copy that training on doesn't change."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return torch.load(buffer)


class TorchCase(ClientCase):
    def equal(self, one, other, where="state"):
        self.assertIs(type(one), type(other), where)
        if isinstance(one, torch.Tensor):
            self.assertTrue(one.dtype == other.dtype and torch.equal(one, other), f"{where} differs")
        elif isinstance(one, dict):
            self.assertEqual(list(one), list(other), where)
            for key in one:
                self.equal(one[key], other[key], f"{where}[{key!r}]")
        elif isinstance(one, (list, tuple)):
            self.assertEqual(len(one), len(other), where)
            for number, (a, b) in enumerate(zip(one, other)):
                self.equal(a, b, f"{where}[{number}]")
        else:
            self.assertEqual(one, other, where)

    def expected(self, state, name, **options):
        """The bytes that torch.save makes of STATE in a file NAME on the host."""
        torch.save(state, self.outside(name), **options)
        return read(self.outside(name))


class Saving(TorchCase):
    def test_numbered_files_and_an_overwritten_last(self):
        trainer, numbered, last = Trainer(), {}, []
        for epoch in range(1, 6):
            trainer.epoch()
            for name in (f"epoch_{epoch}.pt", "last.pt"):
                torch.save(trainer.state(), self.path(name))
            numbered[f"epoch_{epoch}.pt"] = self.expected(trainer.state(), f"epoch_{epoch}.pt")
            last.append(self.expected(trainer.state(), "last.pt"))
            if epoch % 2 == 0:
                self.mount.flush()
        self.assertEqual(len(set(last)), 5)
        self.assert_versions(self.path("last.pt"), last)
        for name, content in numbered.items():
            self.assert_versions(self.path(name), [content])

    def test_through_a_file_object(self):
        trainer, contents = Trainer(), []
        for epoch in range(3):
            trainer.epoch()
            with open(self.path("last.pt"), "wb") as file:
                torch.save(trainer.state(), file)
                if epoch == 1:
                    file.flush()
                    os.fsync(file.fileno())
            with open(self.outside("last.pt"), "wb") as file:
                torch.save(trainer.state(), file)
            contents.append(read(self.outside("last.pt")))
        self.assert_versions(self.path("last.pt"), contents)

    def test_to_a_temporary_name_and_replaced(self):
        trainer, contents = Trainer(), []
        for _ in range(4):
            trainer.epoch()
            torch.save(trainer.state(), self.path("last.tmp"))
            os.replace(self.path("last.tmp"), self.path("last.pt"))
            contents.append(self.expected(trainer.state(), "last.tmp"))
        self.assert_versions(self.path("last.pt"), contents)
        self.assertEqual(self.mount.versions(self.path("last.tmp")), [])

    def test_the_older_format_and_a_script_module(self):
        trainer = Trainer()
        old = {"_use_new_zipfile_serialization": False}
        for name in ("old.pth", "other.pth"):
            torch.save(trainer.state(), self.path(name), **old)
            self.equal(torch.load(self.path(name)), trainer.state())
            self.assert_versions(self.path(name), [read(self.path(name))])
        torch.jit.script(trainer.model).save(self.path("script.pt"))
        self.mount.demote(self.path("script.pt"))
        probe = torch.randn(4, 64)
        again = torch.jit.load(self.path("script.pt"))
        self.assertTrue(torch.equal(again(probe), trainer.model(probe)))

    def test_keeping_the_newest_three(self):
        """What a trainer deletes of its own accord stays in the store."""
        trainer, contents = Trainer(), []
        for epoch in range(6):
            trainer.epoch()
            torch.save(trainer.state(), self.path(f"e{epoch}.pt"))
            contents.append(self.expected(trainer.state(), f"e{epoch}.pt"))
            if epoch >= 3:
                os.remove(self.path(f"e{epoch - 3}.pt"))
        for epoch, content in enumerate(contents):
            self.assertEqual(os.path.exists(self.path(f"e{epoch}.pt")), epoch >= 3)
            self.assert_versions(self.path(f"e{epoch}.pt"), [content])
        self.same_file(self.view("latest", "e5.pt"), contents[5])

    def test_every_rank_saves_its_part_at_once(self):
        def rank(number, step):
            torch.manual_seed(100 * step + number)
            torch.save({"rank": number, "part": torch.randn(200_000)}, self.path(f"__{number}_0.distcp"))

        for step in range(3):
            for child in [Child(rank, number, step) for number in range(4)]:
                child.result()
        for number in range(4):
            versions = self.mount.versions(self.path(f"__{number}_0.distcp"))
            self.assertEqual(len(versions), 3)
            for step, version in enumerate(versions):
                torch.manual_seed(100 * step + number)
                found = torch.load(self.mount.version(self.path(f"__{number}_0.distcp"), version))
                self.equal(found, {"rank": number, "part": torch.randn(200_000)})

    def test_a_tensor_in_a_mapped_file(self):
        """A storage that lives in the file (MAP_SHARED, nothing is written otherwise)."""
        size = 500_000
        storage = torch.FloatStorage.from_file(self.path("weights.bin"), shared=True, size=size)
        tensor = torch.FloatTensor(storage)
        torch.manual_seed(1)
        tensor.copy_(torch.randn(size))
        expected = tensor.numpy().tobytes()
        del tensor, storage
        wait_for("a version with the tensor", lambda: self.newest(self.path("weights.bin")) == expected)

    def test_killed_in_the_middle_of_a_save(self):
        trainer = Trainer()
        trainer.epoch()
        torch.save(trainer.state(), self.path("last.pt"))
        first = self.expected(trainer.state(), "last.pt")
        code = ("import os, signal, sys, torch\n"
                "class Dying:\n"
                "    def __init__(self, file): self.file, self.left = file, 300_000\n"
                "    def write(self, piece):\n"
                "        piece = bytes(piece)\n"
                "        os.write(self.file.fileno(), piece[:self.left])\n"
                "        self.left -= len(piece)\n"
                "        if self.left <= 0: os.kill(os.getpid(), signal.SIGKILL)\n"
                "        return len(piece)\n"
                "    def flush(self): pass\n"
                "torch.save(torch.randn(1_000_000), Dying(open(sys.argv[1], 'wb')))\n")
        killed = subprocess.run([sys.executable, "-c", code, self.path("last.pt")], timeout=120)
        self.assertEqual(killed.returncode, -signal.SIGKILL)
        torn = wait_for("the torn file", lambda: read(self.path("last.pt")))
        self.assertEqual(len(torn), 300_000)
        self.assertRaises(Exception, torch.load, self.path("last.pt"))
        self.assert_versions(self.path("last.pt"), [first, torn])
        self.equal(torch.load(self.mount.version(self.path("last.pt"), 1)), trainer.state())


class Loading(TorchCase):
    def setUp(self):
        super().setUp()
        self.saved, trainer = [], Trainer()
        for _ in range(3):
            trainer.epoch()
            torch.save(trainer.state(), self.path("last.pt"))
            self.saved.append(frozen(trainer.state()))
        self.last = self.path("last.pt")

    def loads(self, path, state):
        self.equal(torch.load(path), state)
        with open(path, "rb") as file:
            self.equal(torch.load(file), state)
        self.equal(torch.load(path, map_location="cpu")["model"], state["model"])

    def test_hot(self):
        self.loads(self.last, self.saved[-1])
        self.mount.flush()
        self.loads(self.last, self.saved[-1])

    def test_cold(self):
        self.mount.demote(self.last)
        self.loads(self.last, self.saved[-1])
        self.assertTrue(self.mount.is_cold(self.last), "reading made it hot")

    def test_cold_after_a_restart(self):
        self.mount.demote(self.last)
        self.mount.restart()
        self.loads(self.last, self.saved[-1])

    def test_views(self):
        numbers = self.mount.versions(self.last)
        self.assertEqual(numbers, [1, 2, 3])
        for visible in ("", ".ckpt"):
            for number, state in zip(numbers, self.saved):
                self.loads(self.path(visible, "history", "last.pt", f"v{number:04d}"), state)
            self.loads(self.path(visible, "latest", "last.pt"), self.saved[-1])
            self.loads(self.path(visible, "latest", "checkpoint.pt"), self.saved[-1])

    def test_restored(self):
        self.mount.demote(self.last)
        self.mount.ckpt("restore", f"{self.mount.relative(self.last)}@v3", self.outside("restored.pt"))
        self.loads(self.outside("restored.pt"), self.saved[-1])
        self.same_file(self.last, read(self.outside("restored.pt")))

    def test_resumed_from_a_cold_checkpoint(self):
        """Six epochs are the same as three, a crash and three more in another process."""
        straight = Trainer()
        for _ in range(6):
            straight.epoch()
        self.mount.demote(self.last)

        def another_process():
            trainer = Trainer()
            trainer.resume(torch.load(self.last))
            for _ in range(3):
                trainer.epoch()
                torch.save(trainer.state(), self.last)
        Child(another_process).result(timeout=120)
        self.equal(torch.load(self.last), straight.state())
        for number, state in zip(self.mount.versions(self.last), self.saved):
            self.equal(torch.load(self.mount.version(self.last, number)), state)
        self.assertEqual(self.mount.kept(self.last), [1, 2, 3, 4, 5, 6])

    def test_loaded_while_it_is_overwritten(self):
        """Who has opened a version in a view keeps reading that one."""
        self.mount.flush()
        with open(self.mount.version(self.last, 3), "rb") as file:
            head = file.read(1000)
            torch.save(Trainer().state(), self.last)
            self.mount.ckpt("forget", f"{self.mount.relative(self.last)}@v3")
            self.equal(torch.load(io.BytesIO(head + file.read())), self.saved[-1])


class Shards(torch.utils.data.Dataset):
    def __init__(self, paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, number):
        return number, torch.load(self.paths[number])


class Feeding(TorchCase):
    def test_loader_processes_read_while_the_trainer_saves(self):
        shards, paths = [], []
        for number in range(12):
            torch.manual_seed(number)
            shards.append(torch.randn(20_000))
            paths.append(self.path(f"shard{number:02d}.pt"))
            torch.save(shards[-1], paths[-1])
        self.mount.demote(*paths[::2])
        trainer, contents = Trainer(), []
        loader = torch.utils.data.DataLoader(Shards(paths), batch_size=None, num_workers=2, shuffle=True,
                                             timeout=120)
        for _ in range(2):
            seen = set()
            for number, tensor in loader:
                self.assertTrue(torch.equal(tensor, shards[number]), f"shard {number}")
                seen.add(number)
                trainer.epoch()
                torch.save(trainer.state(), self.path("last.pt"))
                contents.append(self.expected(trainer.state(), "last.pt"))
            self.assertEqual(len(seen), len(shards))
        self.assert_versions(self.path("last.pt"), contents)


if __name__ == "__main__":
    main()
