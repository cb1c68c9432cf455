"""A real training run on the mount: what its views show, what the policy keeps, and how ordinary tools see it."""
import csv
import importlib
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from mounted import KiB, Mount, MountCase, main, read, remove, run_ckpt, scratch, wait_for, write

try:
    torch = importlib.import_module("torch")
except ImportError as missing:
    sys.exit(f"{sys.argv[0]} needs the Python module torch ({missing}): tests/run installs it")
for program in ("rsync", "tar", "find", "du"):
    if shutil.which(program) is None:
        sys.exit(f"{sys.argv[0]} needs the program {program}: tests/run installs it")

TRAINER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "clients", "trainer.py")
EPOCHS = 8
POLICY = "keep last 3\nkeep best 1\ngrace 0s\n"
VIEWS = ("latest", "best", "final", "epoch", "step", "tag", "top", "history")


def tool(*argv):
    """The standard output of a program that succeeds and has nothing to complain about."""
    result = subprocess.run([str(arg) for arg in argv], capture_output=True, text=True, timeout=120,
                            env={**os.environ, "LC_ALL": "C"})
    if result.returncode != 0 or result.stderr:
        raise AssertionError(f"{argv}: exit status {result.returncode}\n{result.stdout}\n{result.stderr}")
    return result.stdout


class Trained:
    """One training run outside any mount; tests copy its files in, in the trainer's order, or train themselves."""

    def __init__(self, where):
        self.where = where
        tool(sys.executable, TRAINER, where, "--epochs", EPOCHS)
        self.losses = losses(where)
        self.best = min(self.losses, key=self.losses.get)
        assert 1 < self.best <= EPOCHS - 3, f"the best epoch is {self.best}: nothing to see in {self.losses}"

    def full(self, epoch):
        return next(name for name in os.listdir(self.where) if f"_epoch_{epoch:02d}_valLoss_" in name)

    def files(self, epoch):
        return sorted([self.full(epoch), f"weights_bf16_epoch_{epoch:02d}.pt"])


def losses(run):
    with open(os.path.join(run, "metrics.csv"), newline="") as file:
        return {int(row["epoch"]): float(row["val_loss"]) for row in csv.DictReader(file)}


def real_entries(run):
    return sorted(name for name in os.listdir(run) if name not in VIEWS)


def epochs_live(run):
    """The epochs whose full states are in the run's directory."""
    matches = map(re.compile(r".*_epoch_(\d+)_valLoss_.*\.pt$").match, os.listdir(run))
    return sorted(int(match[1]) for match in matches if match)


class CheckpointCase(MountCase):
    """One mount per class and a run per test."""

    @classmethod
    def setUpClass(cls):
        cls.base = scratch(cls.__name__)
        cls.addClassCleanup(remove, cls.base)
        cls.mount = Mount(cls.base, **cls.options)
        cls.addClassCleanup(cls.mount.kill)
        cls.mount.start()
        cls.trained = Trained(os.path.join(cls.base, "trained"))

    @classmethod
    def tearDownClass(cls):
        cls.mount.finish()

    def setUp(self):
        self.dir = os.path.join(self.mount.root, self.id().rsplit(".", 1)[1])
        os.mkdir(self.dir)
        self.outside = scratch("outside")
        self.addCleanup(remove, self.outside)

    def tearDown(self):
        self.mount.check_alive()
        self.mount.flush()
        self.assertEqual(self.mount.pending(), [], "pending/ after a flush")

    def train(self, *options):
        tool(sys.executable, TRAINER, self.dir, *options)
        self.mount.flush()

    def copy_epoch(self, epoch):
        """What the trainer does in an epoch: its line, its files, last.pt in place."""
        with open(os.path.join(self.trained.where, "metrics.csv")) as source:
            lines = source.readlines()
        with open(self.path("metrics.csv"), "a") as log:
            log.writelines(lines[0 if epoch == 1 else epoch:epoch + 1])
        for name in (self.trained.full(epoch), f"weights_bf16_epoch_{epoch:02d}.pt"):
            shutil.copyfile(os.path.join(self.trained.where, name), self.path(name))
        shutil.copyfile(os.path.join(self.trained.where, self.trained.full(epoch)), self.path("last.pt"))
        self.mount.flush()

    def view(self, *names):
        return os.path.join(self.dir, ".ckpt", *names)

    def info(self, *view):
        with open(self.view(*view, "info.json")) as file:
            return json.load(file)

    def rows(self, run=None):
        return self.mount.ckpt_json("ls", self.mount.relative(run or self.dir))["checkpoints"]

    def epochs(self, run=None):
        return sorted(row["epoch"] for row in self.rows(run))

    def policy(self, text):
        write(self.view("policy"), text.encode())
        self.mount.flush()

    def assert_epochs(self, expected):
        """Exactly these are live, listed and shown. Rotation goes on behind the flush."""
        expected = sorted(expected)
        wait_for(f"the epochs {expected} and no others in {self.dir}",
                 lambda: epochs_live(self.dir) == expected and self.epochs() == expected, timeout=10)
        self.assertEqual(sorted(int(name) for name in os.listdir(self.view("epoch"))), expected)
        for epoch in expected:
            self.same_file(self.view("epoch", str(epoch), "checkpoint.pt"), read(self.path(self.full(epoch))))

    def full(self, epoch):
        return next(name for name in os.listdir(self.dir) if f"_epoch_{epoch:02d}_valLoss_" in name)

    def stored(self):
        """Bytes of this run in the store once nothing is left to sweep."""
        def look():
            stats = self.mount.ckpt_json("stats")
            runs = {run["path"]: run["total"]["stored"] for run in stats["runs"]}
            return stats["loose"] == 0 and runs.get(self.mount.relative(self.dir))
        return wait_for("the garbage to be swept", look, timeout=10)


class Training(CheckpointCase):
    def test_views_of_a_run(self):
        self.train("--epochs", EPOCHS)
        found = losses(self.dir)
        best = min(found, key=found.get)
        self.assertEqual(self.epochs(), list(range(1, EPOCHS + 1)))  # last.pt is none more
        for top in (self.dir, self.view()):
            state = torch.load(os.path.join(top, "best", "checkpoint.pt"))
            self.assertEqual(state["epoch"], best)
            self.assertAlmostEqual(state["val_loss"], found[best], places=5)
            self.assertEqual(torch.load(os.path.join(top, "epoch", "3", "checkpoint.pt"))["epoch"], 3)
            self.assertEqual(torch.load(os.path.join(top, "latest", "checkpoint.pt"))["epoch"], EPOCHS)
            weights = torch.load(os.path.join(top, "best", f"weights_bf16_epoch_{best:02d}.pt"))
            for name, tensor in state["model"].items():
                self.assertTrue(torch.equal(weights[name], tensor.bfloat16()), name)
        info = self.info("best")
        self.assertEqual((info["epoch"], info["kind"], info["state"]), (best, "full", "complete"))
        self.assertAlmostEqual(info["metrics"]["val_loss"]["value"], found[best], places=5)
        self.assertEqual(self.info("epoch", str(best)), info)
        steps = {row["epoch"]: row["step"] for row in self.rows()}
        self.assertTrue(all(step in (None, 12 * epoch) for epoch, step in steps.items()), steps)

    def test_the_best_at_each_epoch(self):
        """Epoch by epoch: best/ is the best so far, latest/ the newest."""
        so_far = {}
        for epoch in range(1, EPOCHS + 1):
            so_far[epoch] = self.trained.losses[epoch]
            self.copy_epoch(epoch)
            self.assertEqual(torch.load(self.view("latest", "checkpoint.pt"))["epoch"], epoch)
            best = min(so_far, key=so_far.get)
            wait_for(f"epoch {best} in best/",
                     lambda best=best: torch.load(self.view("best", "checkpoint.pt"))["epoch"] == best, timeout=10)

    def test_resumed_from_best(self):
        self.train("--epochs", 3)
        code = ("import sys, torch\n"
                "state = torch.load(sys.argv[1] + '/best/checkpoint.pt')\n"
                "print(state['epoch'], len(state['optimizer']['state']))\n")
        found = losses(self.dir)
        self.assertEqual(tool(sys.executable, "-c", code, self.dir), f"{min(found, key=found.get)} 6\n")


    def test_what_it_was_started_from_and_who_wrote_it(self):
        """A process that reads a checkpoint and then saves into a run makes it the parent of what it saves; its secrets aren't kept."""
        self.train("--epochs", 2)
        tuned = os.path.join(self.mount.root, "tuned")
        os.mkdir(tuned)
        script = ("import shutil, sys, torch\n"
                  "state = torch.load(sys.argv[1])\n"
                  "torch.save(state['model'], sys.argv[2] + '/tuned_epoch_1.pt')\n")
        subprocess.run([sys.executable, "-c", script, self.view("best", "checkpoint.pt"), tuned, "--api-key=hf_abcdefghijklmnopqrstuvwxyz"],
                       check=True, cwd="/", env={**os.environ, "SLURM_JOB_ID": "4711", "SECRET_TOKEN": "xyzzy"})
        self.mount.flush()
        with open(os.path.join(tuned, ".ckpt", "latest", "info.json"), encoding="utf-8") as file:
            text = file.read()
        info = json.loads(text)
        self.assertEqual(info["parent"], self.info("best")["id"])
        self.assertIsNone(self.info("best")["parent"])
        self.assertEqual(info["process"]["directory"], "/")
        self.assertEqual(info["process"]["command"][1:3], ["-c", script])
        self.assertEqual(info["process"]["environment"]["SLURM_JOB_ID"], "4711")
        self.assertNotIn("abcdefghijklmnopqrstuvwxyz", text)
        self.assertNotIn("xyzzy", text)


class Rotation(CheckpointCase):
    def test_keep_last_and_best(self):
        self.train("--epochs", EPOCHS, "--seed", 3)  # no other test's: they share the store, and equal tensors in it
        found = losses(self.dir)
        best = min(found, key=found.get)
        self.assertLess(best, EPOCHS - 2)
        before, whole = self.stored(), self.mount.status()["stored"]
        self.policy(POLICY)
        self.assertEqual(read(self.view("policy")).decode(), POLICY)
        self.assert_epochs({best, EPOCHS - 2, EPOCHS - 1, EPOCHS})
        gone = set(range(1, EPOCHS + 1)) - {best, EPOCHS - 2, EPOCHS - 1, EPOCHS}
        for epoch in gone:
            self.assertFalse(os.path.exists(self.path(f"weights_bf16_epoch_{epoch:02d}.pt")), epoch)
        self.assertTrue(os.path.exists(self.path("last.pt")))
        self.assertTrue(os.path.exists(self.path("metrics.csv")))
        wait_for("the run's stored bytes to fall", lambda: self.stored() < 0.8 * before, timeout=10)
        self.assertLess(self.mount.status()["stored"], whole - 0.2 * before)
        self.assertEqual(torch.load(self.view("best", "checkpoint.pt"))["epoch"], best)
        self.mount.verify()

    def test_while_training(self):
        """After each epoch there are the last three and the best so far."""
        so_far = {}
        for epoch in range(1, EPOCHS + 1):
            so_far[epoch] = self.trained.losses[epoch]
            self.copy_epoch(epoch)
            if epoch == 1:
                self.policy(POLICY)
            self.assert_epochs({min(so_far, key=so_far.get), *range(max(1, epoch - 2), epoch + 1)})

    def test_a_grace(self):
        """What is let go is hidden, not dropped: its bytes come back."""
        self.train("--epochs", 4)
        rotated = [epoch for epoch in (1, 2) if epoch != min(losses(self.dir), key=losses(self.dir).get)]
        content = {epoch: read(self.path(self.full(epoch))) for epoch in rotated}
        names = {epoch: self.full(epoch) for epoch in rotated}
        before = self.stored()
        self.policy("keep last 2\nkeep best 1\ngrace 1h\n")
        self.assert_epochs({1, 2, 3, 4} - set(rotated))
        self.assertGreaterEqual(self.stored(), 0.99 * before)
        self.mount.ckpt("undelete", f"{self.mount.relative(self.dir)}@epoch={rotated[0]}")
        self.mount.flush()
        wait_for("the live file", lambda: os.path.exists(self.path(names[rotated[0]])), timeout=10)
        self.same_file(self.path(names[rotated[0]]), content[rotated[0]])

    def test_pinned_and_tagged_ones_stay(self):
        self.train("--epochs", 6)
        here = self.mount.relative(self.dir)
        best = min(losses(self.dir), key=losses(self.dir).get)
        self.mount.ckpt("pin", f"{here}@epoch=1")
        self.mount.ckpt("tag", f"{here}@epoch=2", "stable")
        self.policy("keep last 1\nkeep best 1\ngrace 0s\n")
        self.assert_epochs({1, 2, best, 6})
        self.mount.ckpt("untag", f"{here}@epoch=2", "stable")
        self.mount.flush()
        self.assert_epochs({1, best, 6})

    def test_a_dry_run_says_what_rotate_does(self):
        self.train("--epochs", 5)
        here = self.mount.relative(self.dir)
        before = real_entries(self.dir)
        test = os.path.join(self.outside, "policy")
        write(test, b"keep last 1\nkeep best 1\ngrace 0s\n")
        self.mount.ckpt("policy", "test", here, test)
        self.mount.ckpt("rotate", "--dry-run", here)
        self.mount.flush()
        self.assertEqual(real_entries(self.dir), before)
        self.mount.ckpt("policy", "set", here, test)
        self.mount.ckpt("rotate", here)
        self.assert_epochs({min(losses(self.dir), key=losses(self.dir).get), 5})
        self.assertIn("keep last 1", self.mount.ckpt("policy", "show", here))

    def test_a_policy_that_is_none_is_refused(self):
        self.train("--epochs", 1)
        self.policy(POLICY)
        with self.assertRaises(OSError):
            write(self.view("policy"), b"keep everything forever\n")
        self.assertEqual(read(self.view("policy")).decode(), POLICY)

    def test_the_only_one_is_never_rotated(self):
        self.copy_epoch(1)
        self.policy("keep last 1\ngrace 0s\n")
        self.mount.ckpt("rotate", self.mount.relative(self.dir))
        self.assert_epochs({1})

    def test_after_a_restart(self):
        self.train("--epochs", 6)
        best = min(losses(self.dir), key=losses(self.dir).get)
        self.policy(POLICY)
        self.assert_epochs({best, 4, 5, 6})
        self.mount.restart()
        self.assert_epochs({best, 4, 5, 6})
        self.assertEqual(read(self.view("policy")).decode(), POLICY)


class Interrupted(CheckpointCase):
    def stalled(self, epoch, name="mlp_waves"):
        trainer = subprocess.Popen([sys.executable, TRAINER, self.dir, "--epochs", str(EPOCHS), "--stall", str(epoch),
                                    "--name", name], stdout=subprocess.PIPE, text=True)
        self.addCleanup(trainer.stdout.close)
        self.addCleanup(trainer.wait)
        self.addCleanup(trainer.kill)
        for line in trainer.stdout:
            if line == "stalled\n":
                return trainer
        self.fail(f"the trainer ended with status {trainer.wait()}")

    def assert_latest(self, epoch):
        """latest/ loads and is this one; there is no view of the one after it."""
        for top in (self.dir, self.view()):
            self.assertEqual(torch.load(os.path.join(top, "latest", "checkpoint.pt"))["epoch"], epoch)
            self.assertFalse(os.path.exists(os.path.join(top, "epoch", str(epoch + 1))))

    def test_killed_in_the_middle_of_a_save(self):
        trainer = self.stalled(4)
        self.mount.flush()
        self.assert_latest(3)
        self.assertIn([row["state"] for row in self.rows() if row["epoch"] == 4], ([], ["writing"]))
        trainer.kill()
        trainer.wait()
        self.mount.flush()
        self.assert_latest(3)
        self.assertRaises(Exception, torch.load, self.path(self.full(4)))
        row = next(row for row in self.rows() if row["epoch"] == 4)
        self.assertEqual(row["state"], "invalid")
        self.assertTrue(row["why"])
        # A new attempt in the same run goes on from there.
        self.train("--epochs", 4)
        self.assert_latest(4)

    def test_killed_together_with_the_daemon(self):
        """What was published is still there after both have died; the torn file is still none."""
        trainer = self.stalled(3)
        self.mount.flush()
        self.mount.kill()
        trainer.kill()
        trainer.wait()
        self.mount.start()
        self.mount.flush()
        self.assert_latest(2)
        self.assertEqual(torch.load(self.path("epoch", "1", "checkpoint.pt"))["epoch"], 1)

    def test_a_reader_of_best_keeps_what_it_has_opened(self):
        """Better ones come, and the policy would let the old one go: while it is open it stays, and then it goes."""
        def save(epoch):
            torch.save({"model": torch.randn(400_000, generator=torch.Generator().manual_seed(epoch)), "epoch": epoch},
                       self.path(f"mlp_epoch_{epoch}_valLoss_{1 / epoch:.2f}.pt"))
            self.mount.flush()

        save(1)
        first = "mlp_epoch_1_valLoss_1.00.pt"
        expected = read(self.path(first))
        with open(self.view("best", first), "rb") as reader, open(self.path("best", "checkpoint.pt"), "rb") as alias:
            head = reader.read(100_000)
            self.policy("keep last 1\nkeep best 1\ngrace 0s\n")
            save(2)
            save(3)
            self.mount.ckpt("rotate", self.mount.relative(self.dir))
            self.assertEqual(sorted(os.listdir(self.view("epoch"))), ["1", "3"])
            self.assertEqual(torch.load(self.view("best", "checkpoint.pt"))["epoch"], 3)
            self.assertEqual(os.fstat(reader.fileno()).st_size, len(expected))
            self.same(head + reader.read(), expected, "the handle of the old best")
            self.same(alias.read(), expected, "the handle of the old best by its alias")
        wait_for("epoch 1 to be gone", timeout=20, condition=lambda: not os.path.exists(
            self.path(first)) and not os.path.exists(self.view("epoch", "1")))


class OrdinaryTools(CheckpointCase):
    """views=visible: latest/, best/ and the others are listed beside the trainer's files."""

    def setUp(self):
        super().setUp()
        for name in sorted(os.listdir(self.trained.where)):
            shutil.copy2(os.path.join(self.trained.where, name), self.path(name))
        self.mount.flush()
        self.names = sorted(os.listdir(self.trained.where))

    def assert_run(self, run):
        """The trainer's files, and views that work."""
        self.assertEqual(real_entries(run), self.names)
        for name in self.names:
            self.same_file(os.path.join(run, name), read(os.path.join(self.trained.where, name)))
        self.assertEqual(torch.load(os.path.join(run, "best", "checkpoint.pt"))["epoch"], self.trained.best)

    def test_listing(self):
        entries = os.listdir(self.dir)
        for name in ("latest", "best", "epoch", "top", "history"):
            self.assertIn(name, entries)
        self.assertNotIn(".ckpt", entries)
        self.assertEqual(sorted(map(int, os.listdir(self.path("epoch")))), list(range(1, EPOCHS + 1)))
        self.assert_run(self.dir)

    def test_views_below_ckpt_are_read_only(self):
        """Those beside the run's files give way: test_intent.py."""
        for path in (self.view("best", "new.pt"), self.view("epoch", "3", self.trained.full(3)), self.view("latest", "x")):
            with self.assertRaises(OSError):
                write(path, b"no")
        with self.assertRaises(OSError):
            os.mkdir(self.view("epoch", "99"))
        self.assert_run(self.dir)

    def test_find(self):
        found = tool("find", self.dir, "-type", "f").splitlines()
        self.assertEqual(len(found), len(set(found)))
        self.assertEqual(sorted(path for path in found if os.path.dirname(path) == self.dir),
                         [self.path(name) for name in self.names])
        self.assertFalse([path for path in found if "/.ckpt/" in path])
        self.assertIn(self.path("epoch", "3", self.trained.full(3)), found)
        # Views never nest, so that nothing is found for ever.
        self.assertLess(len(tool("find", "-L", self.dir).splitlines()), 60 * EPOCHS)
        nested = re.compile(r"/(latest|best|epoch/\d+)/.*(latest|best|epoch)/")
        self.assertFalse([path for path in found if nested.search(path)])

    def test_du_counts_nothing_twice(self):
        live = sum(os.stat(self.path(name)).st_blocks * 512 for name in self.names)
        counted = int(tool("du", "-s", "--block-size=1", self.dir).split()[0])
        self.assertGreaterEqual(counted, live)
        self.assertLess(counted, live + 128 * KiB)
        shown = [os.path.join(where, name) for where, _, names in os.walk(self.path("epoch")) for name in names]
        self.assertGreaterEqual(len(shown), 2 * EPOCHS)
        self.assertEqual({os.lstat(path).st_blocks for path in shown}, {0})

    def test_tar_and_back(self):
        archive = os.path.join(self.outside, "run.tar")
        tool("tar", "-C", os.path.dirname(self.dir), "-cf", archive, os.path.basename(self.dir))
        with tarfile.open(archive) as opened:
            names = opened.getnames()
        self.assertEqual(len(names), len(set(names)))
        tool("tar", "-C", self.outside, "-xf", archive)
        self.assert_run(os.path.join(self.outside, os.path.basename(self.dir)))
        # Unpacked on a mount, without what the views have added, it is a run again.
        again, name = os.path.join(self.mount.root, "unpacked"), os.path.basename(self.dir)
        os.mkdir(again)
        tool("tar", "-C", again, "-xf", archive, *(f"--exclude={name}/{view}" for view in VIEWS))
        self.mount.flush()
        self.assert_run(os.path.join(again, name))

    def test_rsync(self):
        target = os.path.join(self.outside, "copy")
        tool("rsync", "-a", f"{self.dir}/", f"{target}/")
        self.assert_run(target)
        self.assertEqual(tool("rsync", "-ai", f"{self.dir}/", f"{target}/"), "", "a second rsync has nothing to do")
        self.assertEqual(tool("rsync", "-aic", f"{self.dir}/", f"{target}/"), "")

    def test_copytree(self):
        target = os.path.join(self.outside, "copy")
        shutil.copytree(self.dir, target, symlinks=True)
        self.assert_run(target)

    def test_mv_within_the_mount(self):
        moved = self.dir + "-moved"
        before = self.info("best")["id"], self.epochs()
        tool("mv", self.dir, moved)
        self.assertFalse(os.path.exists(self.dir))
        self.assert_run(moved)
        self.dir = moved
        self.mount.flush()
        self.assertEqual((self.info("best")["id"], self.epochs()), before)

    def test_mv_out_of_the_mount(self):
        target = os.path.join(self.outside, "run")
        tool("mv", self.dir, target)
        self.assertFalse(os.path.exists(self.dir))
        self.assert_run(target)

    def check_removed(self):
        self.assertFalse(os.path.exists(self.dir))
        self.assertNotIn(os.path.basename(self.dir), os.listdir(self.mount.root))
        self.mount.flush()
        self.assertEqual(self.mount.versions(self.path(self.trained.full(3))), [1], "a deleted file keeps its version")
        self.mount.verify()

    def test_rm_rf(self):
        self.assertEqual(tool("rm", "-rf", self.dir), "")
        self.check_removed()

    def test_rm_r_in_another_order(self):
        """The files first, then what is left, as `rm RUN/*.pt; rm -r RUN`."""
        for name in self.names:
            os.unlink(self.path(name))
        tool("rm", "-r", self.dir)
        self.check_removed()

    def test_rmtree(self):
        shutil.rmtree(self.dir)
        self.check_removed()

    def test_removal_and_another_run_in_its_place(self):
        shutil.rmtree(self.dir)
        os.mkdir(self.dir)
        name = self.trained.full(1)
        shutil.copyfile(os.path.join(self.trained.where, name), self.path(name))
        self.mount.flush()
        self.assertEqual(torch.load(self.path("latest", "checkpoint.pt"))["epoch"], 1)
        self.assertEqual(os.listdir(self.path("epoch")), ["1"])

    def test_owner_mode_and_time_are_those_of_the_file(self):
        os.chmod(self.path(self.trained.full(3)), 0o640)
        live, shown = os.stat(self.path(self.trained.full(3))), os.stat(self.view("epoch", "3", self.trained.full(3)))
        self.assertEqual((shown.st_uid, shown.st_gid, shown.st_size, shown.st_mtime_ns),
                         (live.st_uid, live.st_gid, live.st_size, live.st_mtime_ns))
        self.assertEqual(stat.S_IMODE(shown.st_mode) & 0o222, 0)


class Hidden(CheckpointCase):
    options = {"views": "hidden"}

    def test_only_the_trainers_files_are_listed(self):
        self.train("--epochs", 2)
        self.assertEqual([name for name in os.listdir(self.dir) if name in VIEWS], [])
        self.assertFalse(os.path.exists(self.path("best")))
        self.assertEqual(torch.load(self.view("latest", "checkpoint.pt"))["epoch"], 2)


class Commands(CheckpointCase):
    def setUp(self):
        super().setUp()
        self.train("--epochs", 3)
        self.here = self.mount.relative(self.dir)

    def shown(self, name):
        document = self.mount.ckpt_json("show", name)
        return document.get("checkpoint", document)

    def test_names_of_checkpoints(self):
        best = min(losses(self.dir), key=losses(self.dir).get)
        expected = {epoch: self.info("epoch", str(epoch))["id"] for epoch in (1, 2, 3)}
        self.assertEqual(len(set(expected.values())), 3)
        for name, epoch in ((f"{self.here}@best", best), (f"{self.here}@latest", 3), (f"{self.here}@epoch=2", 2),
                            (expected[1], 1), (expected[1][:12], 1), (f"{self.here}/{self.full(2)}", 2),
                            (f"{self.here}/last.pt", 3), (self.path("epoch", "2"), 2)):
            with self.subTest(name=name):
                self.assertEqual(self.shown(name)["id"], expected[epoch])

    def test_no_such_checkpoint(self):
        for name in (f"{self.here}@epoch=99", f"{self.here}@tag=none", "ffffffffffff", "nowhere@best"):
            with self.subTest(name=name):
                _, result = run_ckpt("show", name, store=self.mount.store)
                self.assertEqual(result.returncode, 4, result)

    def test_runs(self):
        self.assertIn(self.here, [row["path"] for row in self.mount.ckpt_json("runs")["runs"]])


if __name__ == "__main__":
    main()
