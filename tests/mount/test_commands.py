"""What `ckpt` says of runs and checkpoints, and what it changes of them: mounted, and while nobody has the store."""
import json
import os

from runs import layouts
from mounted import MountCase, main, read, run_ckpt, wait_for, write

LOSSES = {1: 0.5, 2: 0.25, 3: 0.375, 4: 0.75}
BEST, LATEST = 2, 4


def name(epoch):
    return f"epoch_{epoch}_valLoss_{LOSSES[epoch]}.pt"


class CommandCase(MountCase):
    """A run of four epochs in self.dir, each a file whose name has its loss."""

    def setUp(self):
        super().setUp()
        self.here = self.mount.relative(self.dir)
        for epoch in LOSSES:
            self.save(epoch)
        self.mount.flush()
        wait_for("the best to be known", lambda: [row["epoch"] for row in self.rows() if row["best"]] == [BEST],
                 timeout=60)  # runs are judged behind a flush

    def save(self, epoch, run=None):
        os.makedirs(run or self.dir, exist_ok=True)
        write(os.path.join(run or self.dir, name(epoch)), layouts.torch_bytes(layouts.full_state(epoch)))

    def ckpt(self, *args):
        return self.mount.ckpt(*args)

    def json(self, *args):
        return self.mount.ckpt_json(*args)

    def refused(self, status, *args):
        """The message of a call that ends with STATUS; as JSON it is the same."""
        _, result = run_ckpt(*args, store=self.mount.store)
        self.assertEqual((result.returncode, result.stdout), (status, ""), result.stderr)
        _, again = run_ckpt("--json", *args, store=self.mount.store)
        document = json.loads(again.stdout)
        self.assertEqual((again.returncode, document["ok"]), (status, False), document)
        self.assertIn(document["message"].splitlines()[0], result.stderr)
        return document["message"]

    def rows(self, *options):
        return self.json("ls", self.here, *options)["checkpoints"]

    def row(self, epoch, *options):
        return next(row for row in self.rows(*options) if row["epoch"] == epoch)

    @staticmethod
    def loss(row):
        """The value, and where it is from; a metric is called as it was written first: valLoss, val_loss."""
        return next((metric["value"], metric["source"]) for name, metric in row["metrics"].items()
                    if name.lower().replace("_", "") == "valloss")

    def show(self, what):
        return self.json("show", what)["checkpoint"]

    def checkpoint_id(self, epoch):
        return self.row(epoch, "--all")["id"]


class Listing(CommandCase):
    def test_ls(self):
        rows = self.rows()
        self.assertEqual([row["epoch"] for row in rows], [1, 2, 3, 4])
        self.assertEqual([self.loss(row)[0] for row in rows], list(LOSSES.values()))
        self.assertEqual({(row["kind"], row["state"], row["verdict"]) for row in rows}, {("full", "complete", "keep")})
        self.assertEqual([row["epoch"] for row in rows if row["best"]], [BEST])
        self.assertEqual([row["epoch"] for row in rows if row["latest"]], [LATEST])
        text = self.ckpt("ls", self.here).splitlines()
        self.assertEqual(len(text), 5, text)
        for row, line in zip(rows, text[1:]):
            self.assertTrue(line.startswith(row["id"][:8] + " "), line)
            self.assertIn(name(row["epoch"]), line)
            self.assertIn(row["kept"], line)
            self.assertIn(str(LOSSES[row["epoch"]]), line)
            self.assertEqual("best" in line.split(), row["epoch"] == BEST, line)

    def test_what_only_has_weights_says_so(self):
        write(self.path("epoch_9.pt"), layouts.torch_bytes(layouts.tensors(9)))
        self.mount.flush()
        self.assertEqual((self.row(9)["kind"], self.row(9)["resumable"]), ("weights", False))
        self.assertIn("weights (can't resume)", self.ckpt("ls", self.here))

    def test_an_invalid_one_is_listed_with_its_reason(self):
        write(self.path("epoch_9.pt"), layouts.torch_bytes(layouts.full_state(9))[:-100])
        self.mount.flush()
        wait_for("epoch 9 to be invalid", lambda: self.row(9)["state"] == "invalid", timeout=60)
        why = self.row(9)["why"]
        self.assertTrue(why)
        self.assertIn(why, self.ckpt("ls", self.here))
        self.assertIn(why, self.ckpt("log", f"{self.here}/epoch_9.pt"))
        self.assertEqual(self.show(f"{self.here}@latest")["epoch"], LATEST)
        self.assertEqual(self.show(f"{self.here}@epoch=9")["state"], "invalid")

    def test_runs(self):
        run = os.path.join(self.mount.root, "sweep", "a")
        self.save(1, run)
        self.mount.flush()
        runs = {row["path"]: row for row in self.json("runs")["runs"]}
        self.assertEqual(sorted(runs), [self.here, "sweep/a"])
        row = runs[self.here]
        self.assertEqual((row["checkpoints"], row["total"], row["epochs"]), (4, 4, 4))
        self.assertEqual((row["best"]["epoch"], row["best"]["value"]), (BEST, LOSSES[BEST]))
        self.assertEqual(row["latest"]["epoch"], LATEST)
        self.assertFalse(row["finished"] or row["early_stop"])
        self.assertEqual([row["path"] for row in self.json("runs", "sweep")["runs"]], ["sweep/a"])
        self.assertEqual([row["path"] for row in self.json("runs", self.dir)["runs"]], [self.here])
        self.assertIn("sweep/a", self.ckpt("runs"))
        self.assertIn("sweep/a", self.refused(4, "ls", "sweep"))
        self.refused(4, "runs", "nowhere")

    def test_the_log_says_which_checkpoint_a_version_belongs_to(self):
        version = self.json("log", f"{self.here}/{name(3)}")["paths"][0]["versions"][0]
        self.assertEqual(version["checkpoint"]["id"], self.checkpoint_id(3))
        self.assertEqual(version["checkpoint"]["state"], "complete")

    def test_early_stop(self):
        self.assertEqual(self.mount.status()["early_stop"], [])
        self.ckpt("policy", "set", self.here, "--text", "metric val_loss min; patience 2")
        wait_for("early stopping", lambda: self.mount.status()["early_stop"] == [self.here], timeout=60)
        self.assertIn(f"{self.here}: no better val_loss in 2 evaluations since epoch {BEST}", self.ckpt("status"))
        self.assertTrue(self.json("runs")["runs"][0]["early_stop"])


class Names(CommandCase):
    def test_all_forms(self):
        ids = {epoch: self.checkpoint_id(epoch) for epoch in LOSSES}
        self.ckpt("tag", f"{self.here}@epoch=3", "stable")
        for what, epoch in ((f"{self.here}@best", BEST), (f"{self.here}@latest", LATEST), (f"{self.here}@epoch=1", 1),
                            (f"{self.here}@tag=stable", 3), (f"{self.here}@{ids[1][:6]}", 1), (ids[1], 1), (ids[2][:10], 2),
                            (ids[2][:10].upper(), 2), (f"{self.here}/{name(3)}", 3), (f"{self.here}/{name(3)}@v1", 3),
                            (f"{self.here}/best", BEST), (f"{self.here}/.ckpt/latest", LATEST),
                            (f"{self.here}/epoch/3/{name(3)}", 3), (f"{self.here}/top/val_loss/2", 3),
                            (f"{self.here}/tag/stable/checkpoint.pt", 3), (f"{self.here}/history/{name(1)}/v0001", 1),
                            (self.path(name(1)), 1), (self.path("epoch", "2"), 2), (f"{self.dir}@best", BEST)):
            with self.subTest(what=what):
                self.assertEqual(self.show(what)["id"], ids[epoch])

    def test_too_few_digits(self):
        """Many checkpoints: two of the ids begin alike somewhere."""
        run = os.path.join(self.mount.root, "many")
        os.mkdir(run)
        for step in range(1600):
            write(os.path.join(run, f"step_{step}.pt"), layouts.torch_bytes({"step": step}))
        self.mount.flush()
        ids = sorted(row["id"] for row in self.json("ls", "many")["checkpoints"])
        self.assertEqual(len(ids), 1600)
        alike = [(one, other) for one, other in zip(ids, ids[1:]) if one[:4] == other[:4]]
        self.assertTrue(alike, "1600 ids, and the first 16 bits of no two are equal")
        for what in (alike[0][0][:4], f"many@{alike[0][0][:4]}"):
            message = self.refused(2, "show", what)
            self.assertTrue(alike[0][0] in message and alike[0][1] in message, message)
        self.refused(4, "show", alike[0][0][:3])

    def test_without_store_by_the_path_alone(self):
        for what, epoch in ((f"{self.dir}@best", BEST), (self.path("latest"), LATEST)):
            _, result = run_ckpt("--json", "show", what)
            self.assertEqual(result.returncode, 0, result.stdout)
            self.assertEqual(json.loads(result.stdout)["checkpoint"]["epoch"], epoch)

    def test_a_directory_is_one(self):
        run = os.path.join(self.mount.root, "hf")
        os.mkdir(run)
        layouts.save(layouts.transformers, run, 1)
        self.mount.flush()
        step = self.show("hf@step=100")
        for what in ("hf/checkpoint-100", "hf/checkpoint-100/optimizer.pt", os.path.join(run, "checkpoint-100")):
            self.assertEqual(self.show(what)["id"], step["id"], what)

    def test_a_file_that_was_deleted(self):
        expected = self.checkpoint_id(3)
        os.unlink(self.path(name(3)))
        self.mount.flush()
        self.assertEqual(self.show(f"{self.here}/{name(3)}")["id"], expected)

    def test_best_and_latest_of_a_sweep(self):
        for trial, epochs in (("a", (1, 3)), ("b", (2,))):
            for epoch in epochs:
                self.save(epoch, os.path.join(self.mount.root, "sweep", trial))
                self.mount.flush()
        for what, run in (("sweep@best", "sweep/b"), ("sweep@latest", "sweep/b"), ("sweep/a@best", "sweep/a")):
            wait_for(f"{what} to be in {run}", lambda what=what, run=run: self.show(what)["run"] == run, timeout=60)
        self.assertIn("sweep/a", self.refused(4, "show", "sweep@epoch=1"))

    def test_what_is_not_there_is_answered_with_what_is(self):
        self.ckpt("tag", f"{self.here}@epoch=3", "stable")
        for what, told in ((f"{self.here}@epoch=99", "1, 2, 3, 4"), (f"{self.here}@tag=none", "stable"),
                           (f"{self.here}@final", "ckpt finish"), (f"{self.here}/top/bleu/1", "val_loss"),
                           ("ffffffffffff", "ffffffffffff"),
                           ("nowhere@best", "nowhere"), (self.here, f"{self.here}@latest"),
                           (f"{self.here}/nothing.pt", "nothing.pt")):
            with self.subTest(what=what):
                self.assertIn(told, self.refused(4, "show", what))

    def test_the_nearest_epochs(self):
        run = os.path.join(self.mount.root, "long")
        os.mkdir(run)
        for epoch in range(0, 200, 10):
            write(os.path.join(run, f"epoch_{epoch}.pt"), layouts.torch_bytes({"epoch": epoch}))
        self.mount.flush()
        self.assertIn("70, 80, 90, 100, 110, 120", self.refused(4, "show", "long@epoch=97"))

    def test_show(self):
        shown = self.json("show", f"{self.here}@best")
        self.assertEqual(self.loss(shown["checkpoint"])[0], LOSSES[BEST])
        self.assertEqual(shown["restore"], f"cp {self.dir}/.ckpt/epoch/{BEST}/{name(BEST)} DEST")
        text = self.ckpt("show", f"{self.here}@best")
        for part in (self.checkpoint_id(BEST), name(BEST), "val_loss 0.25", shown["restore"], shown["checkpoint"]["kept"]):
            self.assertIn(part, text)
        self.same(read(shown["restore"].split()[1]), read(self.path(name(BEST))))


class Changes(CommandCase):
    def change(self):
        """Each kind of change, and what is seen of it."""
        self.ckpt("tag", f"{self.here}@epoch=1", "stable")
        self.ckpt("tag", f"{self.here}@epoch=2", "stable")
        self.assertEqual((self.row(1)["tags"], self.row(2)["tags"]), ([], ["stable"]), "a tag stands on one")
        self.ckpt("untag", self.here, "stable")
        self.assertEqual(self.row(2)["tags"], [])
        self.assertIn("stable", self.refused(4, "untag", self.here, "stable"))
        self.refused(2, "tag", f"{self.here}@epoch=1", "../x")
        self.ckpt("pin", f"{self.here}@epoch=1")
        self.assertTrue(self.row(1)["pinned"])
        self.ckpt("unpin", f"{self.here}@epoch=1")
        self.assertFalse(self.row(1)["pinned"])
        self.ckpt("metric", f"{self.here}@epoch=3", "val_loss=0.0625", "top/k=-inf")
        metrics = self.row(3)["metrics"]
        self.assertEqual(self.loss(self.row(3)), (0.0625, "user"))
        self.assertEqual(metrics["top/k"]["value"], "-inf")
        wait_for("epoch 3 to be the best", lambda: self.show(f"{self.here}@best")["epoch"] == 3, timeout=60)
        self.refused(2, "metric", f"{self.here}@epoch=3", "val_loss=low")
        self.refused(4, "finish", "nowhere")
        self.ckpt("finish", self.here)
        self.assertEqual(self.show(f"{self.here}@final")["epoch"], LATEST)
        self.ckpt("finish", "--undo", self.here)
        self.refused(4, "show", f"{self.here}@final")

    def test_mounted(self):
        self.change()

    def test_not_mounted(self):
        self.mount.stop()
        self.change()
        self.mount.start()

    def test_right_after_the_save(self):
        write(self.path("epoch_7.pt"), layouts.torch_bytes(layouts.full_state(7)))
        self.ckpt("tag", f"{self.here}@epoch=7", "stable")
        self.assertEqual(self.row(7)["tags"], ["stable"])


class Policies(CommandCase):
    POLICY = "keep last 1\nkeep best 1\ngrace 1h\n"

    def live(self):
        return sorted(entry for entry in os.listdir(self.dir) if entry.startswith("epoch_"))

    def test_show_set_and_unset(self):
        self.assertIsNone(self.json("policy", "show", self.here)["policy"])
        file = os.path.join(self.base, "policy")
        write(file, self.POLICY.encode())
        self.ckpt("policy", "set", ".", file)
        shown = self.json("policy", "show", self.here)
        self.assertEqual((shown["policy"], shown["owner"]), (self.POLICY, ""))
        self.ckpt("policy", "set", self.here, "--text", "keep last 9; grace 2d")
        shown = self.json("policy", "show", self.here)
        self.assertEqual((shown["policy"], shown["owner"]), ("keep last 9\ngrace 2d\n", self.here))
        self.ckpt("policy", "unset", self.here)
        self.assertIn("keep last 1\n", self.ckpt("policy", "show", self.here))
        self.ckpt("policy", "unset", ".")
        self.assertIsNone(self.json("policy", "show", self.here)["policy"])

    def test_one_that_is_none(self):
        self.assertIn("line 2", self.refused(2, "policy", "set", self.here, "--text", "keep last 1; keep it all"))
        self.assertIn("line 1", self.refused(2, "policy", "test", self.here, "--text", "keep last x"))
        self.refused(2, "policy", "set", self.here)
        self.refused(2, "policy", "keep", self.here)
        self.refused(4, "policy", "set", "nowhere", "--text", "keep last 1")
        self.assertIsNone(self.json("policy", "show", self.here)["policy"])

    def test_a_test_changes_nothing_and_says_what_setting_does(self):
        before = self.live()
        tested = self.json("policy", "test", self.here, "--text", self.POLICY.replace("\n", ";"))
        self.assertEqual([run["path"] for run in tested["runs"]], [self.here])
        self.assertEqual({row["epoch"]: row["verdict"] for row in tested["runs"][0]["checkpoints"]},
                         {1: "hide", 2: "keep", 3: "hide", 4: "keep"})
        self.assertEqual([tested["summary"][verdict]["checkpoints"] for verdict in ("keep", "hide", "drop")], [2, 2, 0])
        self.assertEqual(tested["summary"]["hide"]["bytes"], self.row(1)["added"] + self.row(3)["added"])
        self.mount.flush()
        self.assertEqual(self.live(), before)
        self.ckpt("policy", "set", self.here, "--text", self.POLICY.replace("\n", ";"))
        self.ckpt("rotate", self.here)
        self.assertEqual(self.live(), [name(BEST), name(LATEST)])
        self.assertEqual([row["epoch"] for row in self.rows()], [BEST, LATEST])
        everything = {row["epoch"]: row for row in self.rows("--all")}
        self.assertEqual({epoch for epoch, row in everything.items() if row["hidden"]}, {1, 3})
        self.assertIn("2 rotated", self.ckpt("ls", self.here))

    def test_rotated_ones_come_back(self):
        content = read(self.path(name(1)))
        self.ckpt("policy", "set", self.here, "--text", self.POLICY.replace("\n", ";"))
        self.ckpt("rotate", self.here)
        self.assertFalse(os.path.exists(self.path(name(1))))
        self.ckpt("restore", f"{self.here}@epoch=1", os.path.join(self.base, "one.pt"))
        self.same(read(os.path.join(self.base, "one.pt")), content, "restored though it is rotated")
        self.ckpt("undelete", f"{self.here}@epoch=1")
        self.same(read(self.path(name(1))), content, "undeleted")
        self.assertTrue(self.row(1)["pinned"])
        self.ckpt("rotate", self.here)
        self.assertTrue(os.path.exists(self.path(name(1))))

    def test_what_is_gone_for_good_leaves_a_record(self):
        self.ckpt("policy", "set", self.here, "--text", "keep last 1; keep best 1; grace 0s")
        self.ckpt("rotate")
        self.assertEqual([row["epoch"] for row in self.rows()], [BEST, LATEST])
        self.assertEqual([row["epoch"] for row in self.rows("-a") if row["dropped"]], [1, 3])
        self.assertEqual(self.loss(self.show(f"{self.here}@epoch=3"))[0], LOSSES[3])
        self.refused(4, "restore", f"{self.here}@epoch=3", os.path.join(self.base, "three.pt"))
        self.refused(4, "undelete", f"{self.here}@epoch=3")
        self.assertFalse(os.path.exists(os.path.join(self.base, "three.pt")))

    def test_a_nearer_policy_is_not_touched(self):
        self.ckpt("policy", "set", self.here, "--text", "keep last 9")
        tested = self.json("policy", "test", ".", "--text", "keep last 1")
        self.assertEqual(tested["runs"], [])
        self.assertIn(self.here, tested["warnings"][0])

    def test_not_mounted(self):
        self.mount.stop()
        self.ckpt("policy", "set", self.here, "--text", self.POLICY.replace("\n", ";"))
        self.ckpt("rotate", self.here)
        self.assertEqual([row["epoch"] for row in self.rows()], [BEST, LATEST])
        self.mount.start()
        self.assertEqual(self.live(), [name(BEST), name(LATEST)])


class Restoring(CommandCase):
    def setUp(self):
        super().setUp()
        self.out = os.path.join(self.base, "out")
        os.mkdir(self.out)

    def target(self, *names):
        return os.path.join(self.out, *names)

    def test_one_file(self):
        content = read(self.path(name(BEST)))
        self.ckpt("restore", f"{self.here}@best", self.target("model.pt"))
        self.same(read(self.target("model.pt")), content)
        self.ckpt("restore", self.checkpoint_id(BEST)[:12], self.out)
        self.same(read(self.target(name(BEST))), content)
        self.ckpt("restore", f"{self.here}/epoch/{BEST}/checkpoint.pt", self.target("view.pt"))
        self.same(read(self.target("view.pt")), content)
        self.refused(5, "restore", f"{self.here}@latest", self.target("model.pt"))
        self.ckpt("restore", "--force", f"{self.here}@latest", self.target("model.pt"))
        self.same(read(self.target("model.pt")), read(self.path(name(LATEST))))
        self.refused(4, "restore", f"{self.here}/best/nothing.pt", self.target("nothing.pt"))

    def test_a_directory(self):
        run = os.path.join(self.mount.root, "hf")
        os.mkdir(run)
        layouts.save(layouts.transformers, run, 1)
        self.mount.flush()
        self.ckpt("restore", "hf@step=100", self.target("state"))
        shown = {file["path"] for file in self.show("hf@step=100")["files"]}
        self.assertEqual(set(os.listdir(self.target("state"))), shown)
        for file in shown:
            self.same_file(self.target("state", file), read(os.path.join(run, "checkpoint-100", file)))
        self.refused(5, "restore", "hf/checkpoint-100", self.target("state"))
        self.ckpt("restore", "hf/latest/optimizer.pt", self.target("optimizer.pt"))
        self.same_file(self.target("optimizer.pt"), read(os.path.join(run, "checkpoint-100", "optimizer.pt")))

    def test_a_version_as_ever(self):
        first = read(self.path(name(1)))
        write(self.path(name(1)), layouts.torch_bytes(layouts.full_state(11)))
        self.mount.flush()
        self.ckpt("restore", f"{self.here}/{name(1)}@v1", self.target("first.pt"))
        self.same(read(self.target("first.pt")), first)
        self.ckpt("restore", f"{self.here}/history/{name(1)}/v0001", self.target("again.pt"))
        self.same(read(self.target("again.pt")), first)
        self.ckpt("restore", f"{self.here}/{name(1)}", self.target("newest.pt"))
        self.same(read(self.target("newest.pt")), read(self.path(name(1))))


if __name__ == "__main__":
    main()
