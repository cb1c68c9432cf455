"""Runs of small saves with real names, for the tests of views."""
import errno
import importlib
import json
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, ".."))
sys.path.insert(0, os.path.join(HERE, "..", "clients"))
from mounted import MountCase, read, wait_for, write  # noqa: E402

try:
    layouts = importlib.import_module("layouts")
except ImportError as missing:
    sys.exit(f"{sys.argv[0]} needs the Python modules of tests/clients/layouts.py ({missing}): tests/run installs them")


def names(*where):
    return sorted(os.listdir(os.path.join(*where)))


def tool(*command, cwd=None):
    """The standard output of a program that succeeds and has nothing to complain about."""
    result = subprocess.run([str(arg) for arg in command], capture_output=True, text=True, timeout=120, cwd=cwd,
                            env={**os.environ, "LC_ALL": "C"})
    if result.returncode != 0 or result.stderr:
        raise AssertionError(f"{command}: exit status {result.returncode}\n{result.stdout}\n{result.stderr}")
    return result.stdout


class RunCase(MountCase):
    """self.saved: the content of each file that save() has written, by its name."""

    def setUp(self):
        super().setUp()
        self.saved = {}

    def save(self, name, k=1, run=None):
        """A small state of K epochs with its optimizer, as torch.save writes it; its name says the rest."""
        path = os.path.join(run or self.dir, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        self.saved[name] = layouts.torch_bytes(layouts.full_state(k))
        write(path, self.saved[name])
        return path

    def ckpt(self, *args):
        return self.mount.ckpt(*args)

    def rows(self, *options):
        return self.mount.ckpt_json("ls", "run", *options)["checkpoints"]

    def shows(self, where, *files, root=None):
        """WHERE shows exactly these files, and a link to the first."""
        root = root or self.dir
        expected = sorted([*files, "checkpoint.pt"] + (["info.json"] if ".ckpt" in where else []))
        self.assertEqual(names(root, where), expected, where)
        for name in files:
            self.same_file(os.path.join(root, where, name), self.saved[name])
        self.assertEqual(os.readlink(os.path.join(root, where, "checkpoint.pt")), files[0])
        self.same_file(os.path.join(root, where, "checkpoint.pt"), self.saved[files[0]])

    def absent(self, *where):
        for one in where:
            self.fails(errno.ENOENT, os.stat, self.path(one))

    def info(self, where):
        return json.loads(read(self.path(".ckpt", where, "info.json")))


ONE, TWO, TEN = "net_epoch_1_step_100_valLoss_0.5.pt", "net_epoch_2_step_200_valLoss_0.25.pt", "net_epoch_10_step_1000.pt"


class ThreeCase(RunCase):
    """Three epochs: the second has the least loss, the tenth the most accuracy and a loss that is no number."""

    def setUp(self):
        super().setUp()
        for name, k in ((ONE, 1), (TWO, 2), (TEN, 10)):
            self.save(name, k)
        self.mount.flush()
        self.ckpt("metric", "run@epoch=1", "val/acc=0.7")
        self.ckpt("metric", "run@epoch=2", "val/acc=0.6")
        self.ckpt("metric", "run@epoch=10", "val/acc=0.9", "val_loss=nan")
        self.ckpt("tag", "run@epoch=1", "stable")
        wait_for("the best one", lambda: os.path.exists(self.path(".ckpt", "best", TWO)))
