#!/usr/bin/python3
"""Views of runs: what .ckpt, latest/, best/, epoch/ and the others show of real saves, and the attributes of checkpoints."""
import errno
import json
import os
import shutil
import subprocess
import tarfile

from runs import ONE, TEN, TWO, RunCase, ThreeCase, layouts, names, tool
from mounted import MountCase, as_nobody, main, needs_root, read, wait_for, write

POLICY = "metric val_loss min\nkeep best 2\n"


def du(path):
    return tool("du", "-sk", path).split()[0]


class EveryDirectory(MountCase):
    def setUp(self):
        super().setUp()
        self.hidden = self.path(".ckpt")
        self.policy = self.path(".ckpt", "policy")

    def test_has_a_ckpt_that_is_not_listed(self):
        deep = self.path("a", "b")
        os.makedirs(deep)
        for where in (self.mount.root, self.dir, deep):
            self.assertNotIn(".ckpt", os.listdir(where))
            self.assertEqual(names(where, ".ckpt"), ["early_stop", "policy"])
        self.assertEqual(names(self.dir), ["a"])

    def test_early_stop_is_0_before_there_is_anything(self):
        self.assertEqual(read(self.path(".ckpt", "early_stop")), b"0\n")
        self.assertEqual(os.stat(self.path(".ckpt", "early_stop")).st_size, 2)
        self.fails(errno.EROFS, write, self.path(".ckpt", "early_stop"), b"1")

    def test_has_no_policy_at_first(self):
        self.assertEqual(read(self.policy), b"")
        self.assertEqual(os.stat(self.policy).st_size, 0)

    def test_what_is_written_is_the_policy(self):
        write(self.policy, POLICY.encode())
        self.assertEqual(read(self.policy), POLICY.encode())
        self.assertEqual(os.stat(self.policy).st_size, len(POLICY))
        self.mount.restart()
        self.assertEqual(read(self.policy), POLICY.encode())

    def test_ways_to_write_it(self):
        other = self.file("policy.txt", b"keep first\n")
        ways = [("cp policy.txt .ckpt/policy", b"keep first\n"),
                ("echo keep last 3 > .ckpt/policy", b"keep last 3\n"),
                ("echo keep first >> .ckpt/policy", b"keep last 3\nkeep first\n"),
                ("printf 'keep last 1\\n' | dd of=.ckpt/policy conv=notrunc status=none", b"keep last 1\nkeep first\n"),
                ("(echo keep last 2; sh -c 'echo keep first') > .ckpt/policy", b"keep last 2\nkeep first\n"),
                ("truncate -s 12 .ckpt/policy", b"keep last 2\n"),
                ("cat policy.txt > .ckpt/policy", read(other))]
        for command, expected in ways:
            with self.subTest(command):
                subprocess.run(["bash", "-c", command], cwd=self.dir, check=True)
                self.assertEqual(read(self.policy), expected)

    def test_an_empty_one_is_none(self):
        write(self.policy, POLICY.encode())
        write(self.policy, b"\n")
        self.assertEqual(read(self.policy), b"")
        write(self.policy, POLICY.encode())
        subprocess.run([":> .ckpt/policy"], shell=True, cwd=self.dir, check=True)
        # Nothing was written, so nobody can be told when that is done.
        wait_for("the policy to be gone", lambda: read(self.policy) == b"")
        write(self.policy, POLICY.encode())
        os.truncate(self.policy, 0)
        self.assertEqual(read(self.policy), b"")
        os.mkdir(self.path("below"))
        for blank in (b"\n", b" \n\t\n"):
            write(os.path.join(self.mount.root, ".ckpt", "policy"), blank)
            for where in (self.path("below"), self.dir, self.mount.root):
                self.assertEqual(read(os.path.join(where, ".ckpt", "policy")), b"")
        self.assertIsNone(self.mount.ckpt_json("policy", "show", "run/below")["policy"])

    def test_one_that_makes_no_sense_is_refused_and_the_old_one_stays(self):
        write(self.policy, POLICY.encode())
        for text in (b"keep first\nkeep best\nsometimes\n", b"keep first\0\n"):
            self.fails(errno.EINVAL, write, self.policy, text)
            self.assertEqual(read(self.policy), POLICY.encode())
        self.assertIn("line 2", self.mount.log_tail())

    def test_one_that_is_too_long_is_refused(self):
        self.fails(errno.EFBIG, write, self.policy, b"#" * 70_000)

    def test_it_applies_below_and_says_whose_it_is(self):
        below = self.path("a", "b")
        os.makedirs(below)
        write(self.policy, POLICY.encode())
        inherited = read(os.path.join(below, ".ckpt", "policy")).decode()
        first, rest = inherited.split("\n", 1)
        self.assertEqual(first, f"# inherited from {self.dir}")
        self.assertEqual(rest, POLICY)
        self.assertEqual(os.stat(os.path.join(below, ".ckpt", "policy")).st_size, len(inherited))
        # Written back it is a policy of its own.
        write(os.path.join(below, ".ckpt", "policy"), inherited.encode())
        self.assertEqual(read(os.path.join(below, ".ckpt", "policy")).decode(), POLICY)

    def test_nothing_else_can_be_changed(self):
        for call, *args in ((os.mkdir, self.path(".ckpt", "x")), (os.rmdir, self.path(".ckpt")),
                            (os.unlink, self.policy), (os.chmod, self.policy, 0o777),
                            (os.rename, self.policy, self.path("p")), (write, self.path(".ckpt", "x"), b"")):
            with self.subTest(call.__name__):
                self.fails(errno.EROFS, call, *args)
        self.fails(errno.EROFS, os.truncate, self.path(".ckpt", "early_stop"), 0)

    @needs_root
    def test_who_may_write_the_directory_may_write_the_policy(self):
        self.fails(errno.EACCES, as_nobody, write, self.policy, b"")
        os.chown(self.dir, 65534, 65534)
        os.chmod(self.dir, 0o750)
        self.assertEqual(os.stat(self.policy).st_mode & 0o777, 0o640)
        as_nobody(write, self.policy, POLICY.encode())
        self.assertEqual(read(self.policy), POLICY.encode())

    def test_attributes_of_what_is_no_checkpoint(self):
        path = self.file("notes.txt", b"x")
        for name in ("id", "epoch", "metric.loss", "tags", "checkpoint", "views", "dir", "cold"):
            self.fails(errno.ENODATA, os.getxattr, path, "user.ckptfs." + name)
        self.fails(errno.ENODATA, os.getxattr, self.dir, "user.ckptfs.early_stop")
        for name, value in (("metric.loss", b"0.5"), ("tag", b"good"), ("pin", b"1")):
            self.fails(errno.ENODATA, os.setxattr, path, "user.ckptfs." + name, value)
        for name, value in (("metric.loss", b"much"), ("metric.loss", b""), ("metric.", b"1"), ("pin", b"2"), ("tag", b"a\0b")):
            self.fails(errno.EINVAL, os.setxattr, path, "user.ckptfs." + name, value)
        for name in ("id", "views", "dir", "cold", "epoch", "anything"):
            self.fails(errno.EPERM, os.setxattr, path, "user.ckptfs." + name, b"1")
            self.fails(errno.EPERM, os.removexattr, path, "user.ckptfs." + name)


class ARun(ThreeCase):
    def test_shows_its_checkpoints_beside_its_files_and_below_ckpt(self):
        self.assertEqual(names(self.dir), sorted([ONE, TWO, TEN, "best", "epoch", "history", "latest", "step", "tag", "top"]))
        for above in ("", ".ckpt/"):
            with self.subTest(above):
                self.shows(above + "latest", TEN)
                self.shows(above + "best", TWO)
                self.assertEqual(names(self.dir, above, "epoch"), ["1", "10", "2"])
                self.assertEqual(names(self.dir, above, "step"), ["100", "1000", "200"])
                self.assertEqual(names(self.dir, above, "tag"), ["stable"])
                self.shows(above + "epoch/1", ONE)
                self.shows(above + "step/1000", TEN)
                self.shows(above + "tag/stable", ONE)
                self.assertEqual(names(self.dir, above, "top"), ["1", "2", "val_acc", "val_loss"])
                self.assertEqual(names(self.dir, above, "top/val_loss"), ["1", "2"])
                self.assertEqual(names(self.dir, above, "top/val_acc"), ["1", "2", "3"])
                self.shows(above + "top/1", TWO)
                self.shows(above + "top/val_loss/2", ONE)
                self.shows(above + "top/val_acc/1", TEN)
                self.assertEqual(names(self.dir, above, "history"), sorted([ONE, TWO, TEN]))
                self.same_file(self.path(above, "history", ONE, "v0001"), self.saved[ONE])

    def test_what_is_not_there_is_not_found(self):
        self.absent("final", ".ckpt/final", "epoch/01", "epoch/3", "epoch/+1", "epoch/1x", "epoch/18446744073709551617", "step/1",
                    "tag/other", "top/0", "top/3", "top/val_loss/3", "top/val_loss/01", "top/loss", f"latest/{ONE}",
                    "latest/info.json", "latest/latest", ".ckpt/.ckpt", "latest/.ckpt", "epoch/1/x", "history/none.pt",
                    f"history/{ONE}/v0002")

    def test_a_new_epoch_is_there_when_it_is_durable(self):
        name = "net_epoch_11_step_1100_valLoss_0.125.pt"
        self.save(name, 11)
        self.mount.flush()
        self.shows("latest", name)
        self.shows("epoch/11", name)
        self.assertEqual(names(self.dir, "step"), ["100", "1000", "1100", "200"])
        wait_for("the new best one", lambda: os.path.exists(self.path("best", name)))
        self.assertEqual(names(self.dir, "top/val_loss"), ["1", "2", "3"])
        self.shows("top/3", ONE)

    def test_an_epoch_that_is_done_again_is_the_new_one(self):
        self.save(TWO, 22)
        self.mount.flush()
        self.shows("epoch/2", TWO)
        self.shows("latest", TWO)
        self.assertEqual(names(self.dir, "history", TWO), ["v0001", "v0002"])

    def test_final_is_there_once_it_is_over(self):
        self.ckpt("finish", "run")
        self.shows("final", TEN)
        self.shows(".ckpt/final", TEN)
        self.ckpt("finish", "--undo", "run")
        self.absent("final", ".ckpt/final")

    def test_a_tag_moves(self):
        self.ckpt("tag", "run@epoch=10", "stable")
        self.shows("tag/stable", TEN)
        self.ckpt("untag", "run", "stable")
        self.absent("tag", ".ckpt/tag")

    def test_the_trainers_own_metrics_decide(self):
        self.ckpt("metric", "run@epoch=1", "val_loss=0.125")
        wait_for("the first to be the best", lambda: os.path.exists(self.path("best", ONE)))
        self.shows("top/val_loss/1", ONE)
        write(self.path(".ckpt/policy"), b"metric val/acc max\n")
        self.mount.flush()
        wait_for("the most accurate to be the best", lambda: os.path.exists(self.path("best", TEN)))
        self.shows("top/1", TEN)

    def test_early_stop(self):
        self.assertEqual(read(self.path(".ckpt", "early_stop")), b"0\n")
        write(self.path(".ckpt", "policy"), b"metric val_loss min\npatience 2\n")
        for epoch in (11, 12):
            self.save(f"net_epoch_{epoch}_valLoss_0.75.pt", epoch)
        self.mount.flush()
        wait_for("early stopping", lambda: read(self.path(".ckpt", "early_stop")) == b"1\n")
        self.assertEqual(os.getxattr(self.dir, "user.ckptfs.early_stop"), b"1")

    def test_nothing_counts_twice_and_times_are_those_of_the_saves(self):
        st, live = os.stat(self.path("epoch/1", ONE)), os.stat(self.path(ONE))
        self.assertEqual((st.st_blocks, st.st_size, st.st_mtime_ns), (0, live.st_size, live.st_mtime_ns))
        self.assertEqual(st.st_mode & 0o222, 0)
        self.assertEqual(os.stat(self.path("latest")).st_blocks, 0)
        self.assertEqual(int(os.stat(self.path("epoch/1")).st_mtime), int(os.stat(self.path(".ckpt/epoch/1/info.json")).st_mtime))
        self.assertTrue(self.info("epoch/1")["saved"].endswith("Z"))
        with_views = du(self.dir)
        os.setxattr(os.path.join(self.mount.store, "live", "run"), "user.ckptfs.views", b"hlbestof")
        self.assertEqual(with_views, du(self.dir))

    def test_a_real_entry_of_that_name_wins(self):
        run = os.path.join(self.mount.root, "mine")
        os.mkdir(run)
        write(os.path.join(run, "best"), b"mine")
        os.mkdir(os.path.join(run, "epoch"))
        self.save(TWO, 2, run)
        self.mount.flush()
        self.assertEqual(read(os.path.join(run, "best")), b"mine")
        self.assertEqual(names(run, "epoch"), [])
        wait_for("the best one", lambda: os.path.exists(os.path.join(run, ".ckpt", "best")))
        self.shows(".ckpt/best", TWO, root=run)
        self.assertEqual(names(run).count("best"), 1)
        os.rmdir(os.path.join(run, "epoch"))
        self.shows("epoch/2", TWO, root=run)


class InfoJson(ThreeCase):
    def test_says_what_is_known(self):
        text = read(self.path(".ckpt", "epoch", "1", "info.json"))
        self.assertEqual(os.stat(self.path(".ckpt/epoch/1/info.json")).st_size, len(text))
        info = json.loads(text)
        self.assertEqual((info["run"], info["root"], info["epoch"], info["step"], info["tags"]), ("run", ONE, 1, 100, ["stable"]))
        self.assertEqual(info["metrics"]["val_loss"]["value"], 0.5)
        self.assertEqual(self.info("latest")["metrics"]["val_loss"]["value"], "nan")
        self.assertEqual(self.info("top/1"), self.info("epoch/2"))
        self.fails(errno.EROFS, write, self.path(".ckpt/latest/info.json"), b"")

    def test_says_why_it_is_kept(self):
        """As `ckpt ls` does."""
        write(self.path(".ckpt/policy"), b"metric val_loss min\nkeep last 1\nkeep best 1\n")
        self.mount.flush()
        for row in self.rows():
            self.assertEqual(self.info(f"epoch/{row['epoch']}")["kept"], row["kept"])
        self.assertEqual([self.info(view)["kept"] for view in ("best", "latest", "tag/stable")],
                         ["keep: best val_loss 0.25", "keep: latest", "keep: tagged"])

    def test_read_in_pieces(self):
        """A handle has the text of its opening, whatever becomes known meanwhile."""
        path = self.path(".ckpt", "epoch", "1", "info.json")
        before = read(path)
        with open(path, "rb", buffering=0) as file:
            text = file.read(10)
            self.ckpt("metric", "run@epoch=1", "a_metric_with_a_long_name=0.123456789")
            while piece := file.read(10):
                text += piece
            self.same(text, before)
            self.assertEqual(os.pread(file.fileno(), 20, 5), before[5:25])
            self.assertEqual(os.pread(file.fileno(), 20, len(before) - 3), before[-3:])
            self.assertEqual(os.pread(file.fileno(), 20, len(before) + 3), b"")
            self.assertEqual(os.lseek(file.fileno(), 0, os.SEEK_DATA), 0)
        self.assertIn("a_metric_with_a_long_name", self.info("epoch/1")["metrics"])

    def test_by_all_ways_to_read(self):
        path = self.path(".ckpt", "best", "info.json")
        text = read(path)
        self.assertEqual(tool("cat", path).encode(), text)
        self.assertEqual(tool("head", "-c", 100, path).encode(), text[:100])
        self.assertEqual(tool("dd", f"if={path}", "bs=7", "status=none").encode(), text)
        for copy in (lambda to: tool("cp", "-a", path, to), lambda to: shutil.copy2(path, to),
                     lambda to: tool("rsync", "-a", path, to)):
            to = os.path.join(self.base, "copy")
            copy(to)
            self.assertEqual(read(to), text)
            os.unlink(to)
        archive = os.path.join(self.base, "all.tar")
        tool("tar", "-cf", archive, "-C", self.dir, ".ckpt")
        with tarfile.open(archive) as opened:
            self.same(opened.extractfile(".ckpt/best/info.json").read(), text)


class States(RunCase):
    """What isn't complete, not good or not wanted any more isn't shown, and is when that changes."""

    def setUp(self):
        super().setUp()
        self.save(ONE)
        self.mount.flush()

    def test_a_truncated_file(self):
        write(self.path(TWO), layouts.torch_bytes(layouts.full_state(2))[:-100])
        self.mount.flush()
        wait_for("it to be judged", lambda: [row["state"] for row in self.rows()] == ["complete", "invalid"])
        self.absent("epoch/2", "step/200", ".ckpt/epoch/2", "top/2")
        self.shows("latest", ONE)
        self.shows("best", ONE)
        self.assertEqual(names(self.dir, "history", TWO), ["v0001"])
        self.save(TWO, 2)
        self.mount.flush()
        self.shows("latest", TWO)
        self.shows("epoch/2", TWO)

    def test_alone_in_its_run(self):
        run = os.path.join(self.mount.root, "torn")
        os.mkdir(run)
        write(os.path.join(run, TWO), self.saved[ONE][:-100])
        self.mount.flush()
        wait_for("it to be judged", lambda: self.mount.ckpt_json("ls", "torn")["checkpoints"][0]["state"] == "invalid")
        self.assertEqual(names(run), sorted([TWO, "history"]))
        self.assertEqual(names(run, ".ckpt"), ["early_stop", "history", "policy"])

    def test_a_directory_that_is_being_written(self):
        steps = layouts.dcp(self.dir, 3)
        for label in steps:
            if label == ".metadata.tmp":
                break
        self.mount.flush()
        self.assertEqual([row["state"] for row in self.rows()], ["complete", "writing"])
        self.absent("step/300", ".ckpt/step/300")
        self.shows("latest", ONE)
        self.assertEqual(list(steps), [".metadata"])
        self.mount.flush()
        self.assertEqual(names(self.dir, "step/300"), [".metadata", "__0_0.distcp", "__1_0.distcp"])
        self.assertEqual(names(self.dir, "latest"), names(self.dir, "step/300"))

    def test_one_that_a_policy_has_hidden(self):
        self.save(TWO, 2)
        self.mount.flush()
        write(self.path(".ckpt/policy"), b"keep last 1\nkeep best 1\ngrace 1h\n")
        self.mount.flush()
        wait_for("the first to go", lambda: not os.path.exists(self.path(ONE)))
        self.absent("epoch/1", "step/100", ".ckpt/epoch/1", "top/2")
        self.assertEqual(names(self.dir, "epoch"), ["2"])
        self.same_file(self.path("history", ONE, "v0001"), self.saved[ONE])
        self.ckpt("undelete", "run@epoch=1")
        self.shows("epoch/1", ONE)
        self.same_file(self.path(ONE), self.saved[ONE])

    def test_one_that_was_deleted(self):
        """By the trainer: it is kept for a grace, and its view with it."""
        os.unlink(self.path(ONE))
        self.mount.flush()
        self.shows("epoch/1", ONE)
        self.shows("latest", ONE)


class SeveralFiles(RunCase):
    def tree(self, top):
        return {os.path.relpath(os.path.join(where, name), top): read(os.path.join(where, name))
                for where, _, found in os.walk(top) for name in found}

    def test_all_files_of_an_epoch(self):
        self.save("net_epoch_3.pt", 3)
        self.saved["weights_bf16_epoch_3.pt"] = layouts.torch_bytes(layouts.tensors(3))
        write(self.path("weights_bf16_epoch_3.pt"), self.saved["weights_bf16_epoch_3.pt"])
        self.mount.flush()
        self.shows("epoch/3", "net_epoch_3.pt", "weights_bf16_epoch_3.pt")
        self.shows(".ckpt/latest", "net_epoch_3.pt", "weights_bf16_epoch_3.pt")

    def test_a_directory_with_directories(self):
        for path, k in (("sub/deep/x.pt", 1), ("sub/y.pt", 2)):
            self.save(os.path.join("checkpoint-500", path), k)
        layouts.save(layouts.transformers, self.dir, 5)
        self.mount.flush()
        expected = self.tree(self.path("checkpoint-500"))
        self.assertIn("sub/deep/x.pt", expected)
        for view in ("step/500", "latest", ".ckpt/step/500"):
            shown = self.tree(self.path(view))
            if view.startswith("."):
                self.assertEqual(json.loads(shown.pop("info.json"))["step"], 500)
            self.assertEqual(sorted(shown), sorted(expected), view)
            for path, content in expected.items():
                self.same(shown[path], content, path)
        self.assertEqual(names(self.dir, "step/500/sub"), ["deep", "y.pt"])
        self.assertEqual(names(self.dir, ".ckpt/latest/sub"), ["deep", "y.pt"])
        self.absent("step/500/deep", "step/500/sub/x.pt", "step/500/sub/deep/y.pt", "step/500/y.pt", "step/500/checkpoint.pt",
                    ".ckpt/latest/sub/info.json")
        copy = os.path.join(self.base, "copy")
        shutil.copytree(self.path("step/500"), copy)
        self.assertEqual(self.tree(copy), expected)

    def test_shards_by_two_ranks(self):
        layouts.save(layouts.dcp, self.dir, 1)
        layouts.save(layouts.dcp, self.dir, 2)
        self.mount.flush()
        self.assertEqual(names(self.dir, "step"), ["100", "200"])
        self.assertEqual(self.tree(self.path("step/100")), self.tree(self.path("step-100")))
        self.assertEqual(self.tree(self.path("latest")), self.tree(self.path("step-200")))


class ASweep(RunCase):
    """Runs below self.sweep."""

    def setUp(self):
        super().setUp()
        self.sweep = os.path.join(self.mount.root, "sweep")

    def trial(self, run, *accuracies):
        for epoch, value in enumerate(accuracies, 1):
            name = f"{os.path.dirname(run) or run}_epoch_{epoch}_valAcc_{value}.pt"
            self.save(name, epoch, os.path.join(self.sweep, run))
            self.mount.flush()

    def shows_best(self, name, root=None):
        root = root or self.sweep
        wait_for(f"{name} to be the best", lambda: os.path.exists(os.path.join(root, "best", name)))
        self.shows("best", name, root=root)

    def test_shows_the_best_and_latest_of_its_runs(self):
        self.trial("one", 0.5, 0.9)
        self.trial("two", 0.8)
        self.trial("three", 0.7, 0.6)
        self.shows_best("one_epoch_2_valAcc_0.9.pt")
        self.assertEqual(names(self.sweep), ["best", "latest", "one", "three", "top", "two"])
        for above in ("", ".ckpt/"):
            self.shows(above + "best", "one_epoch_2_valAcc_0.9.pt", root=self.sweep)
            self.shows(above + "latest", "three_epoch_2_valAcc_0.6.pt", root=self.sweep)
            self.shows(above + "top/1", "one_epoch_2_valAcc_0.9.pt", root=self.sweep)
            self.shows(above + "top/val_acc/2", "two_epoch_1_valAcc_0.8.pt", root=self.sweep)
            self.assertEqual(names(self.sweep, above, "top"), ["1", "2", "3", "4", "5", "val_acc"])
        self.assertEqual(json.loads(read(os.path.join(self.sweep, ".ckpt/best/info.json")))["run"], "sweep/one")
        self.assertEqual(names(self.sweep, ".ckpt"), ["best", "early_stop", "latest", "policy", "top"])
        self.trial("four", 0.95)
        self.shows_best("four_epoch_1_valAcc_0.95.pt")
        shutil.rmtree(os.path.join(self.sweep, "four"))
        self.mount.flush()
        self.assertEqual(names(self.sweep), ["best", "latest", "one", "three", "top", "two"])

    def test_goes_by_its_policy(self):
        self.trial("one", 0.9)
        write(os.path.join(self.sweep, ".ckpt", "policy"), b"metric val_acc min\n")
        self.trial("two", 0.8)
        self.shows_best("two_epoch_1_valAcc_0.8.pt")

    def test_two_levels_below(self):
        """As Lightning has it: RUNS/version_N/checkpoints."""
        self.trial("version_0/checkpoints", 0.7)
        self.assertEqual(names(self.sweep), ["version_0"])
        self.trial("version_1/checkpoints", 0.9, 0.6)
        self.trial("version_2/checkpoints", 0.8)
        self.shows_best("version_1_epoch_1_valAcc_0.9.pt")
        self.shows("latest", "version_2_epoch_1_valAcc_0.8.pt", root=self.sweep)
        self.shows("top/2", "version_2_epoch_1_valAcc_0.8.pt", root=self.sweep)
        for version in ("version_0", "version_1"):  # one run is no sweep
            self.assertEqual(names(self.sweep, version), ["checkpoints"])
        self.shows_best("version_1_epoch_1_valAcc_0.9.pt", os.path.join(self.sweep, "version_1", "checkpoints"))
        self.assertIn("sweep/version_1/checkpoints", self.ckpt("show", "sweep@best"))

    def test_a_view_of_it_can_be_removed(self):
        self.trial("one", 0.9)
        self.trial("two", 0.8)
        self.shows_best("one_epoch_1_valAcc_0.9.pt")
        shutil.rmtree(os.path.join(self.sweep, "top"))
        self.assertEqual(names(self.sweep), ["best", "latest", "one", "two"])
        shutil.rmtree(self.sweep)
        self.fails(errno.ENOENT, os.stat, self.sweep)


class Attributes(RunCase):
    NAME = "net_epoch_3_step_30_valLoss_0.21.pt"

    def setUp(self):
        super().setUp()
        self.save(self.NAME, 3)
        self.mount.flush()
        self.ckpt("tag", "run@epoch=3", "x")
        self.ckpt("tag", "run@epoch=3", "y")

    def get(self, path, name):
        return os.getxattr(path, "user.ckptfs." + name).decode()

    def test_are_those_of_the_checkpoint(self):
        for path in (self.path(self.NAME), self.path("latest", self.NAME), self.path(".ckpt/epoch/3", self.NAME),
                     self.path("epoch/3")):
            with self.subTest(path):
                self.assertEqual(len(self.get(path, "id")), 16)
                expected = {"epoch": "3", "step": "30", "kind": "full", "tags": "x,y", "metric.val_loss": "0.21",
                            "checkpoint": "complete"}
                self.assertEqual({name: self.get(path, name) for name in expected}, expected)
                self.fails(errno.ENODATA, os.getxattr, path, "user.ckptfs.metric.other")
                self.assertFalse([name for name in os.listxattr(path) if "ckptfs" in name])
        self.assertGreater(int(self.get(self.path(self.NAME), "stored_bytes")), 0)

    def test_are_there_for_a_cold_file(self):
        self.mount.demote(self.path(self.NAME))
        self.assertEqual(self.get(self.path(self.NAME), "epoch"), "3")

    def test_are_not_those_of_what_has_been_written_since(self):
        with open(self.path(self.NAME), "r+b") as file:
            file.write(b"new")
            file.flush()
            self.fails(errno.ENODATA, os.getxattr, self.path(self.NAME), "user.ckptfs.epoch")
            self.fails(errno.EBUSY, os.setxattr, self.path(self.NAME), "user.ckptfs.pin", b"1")

    def test_can_be_set(self):
        for path in (self.path(self.NAME), self.path("latest", self.NAME)):
            os.setxattr(path, "user.ckptfs.metric.score", b"0.5\n")
            os.setxattr(path, "user.ckptfs.tag", b"stable")
            os.setxattr(path, "user.ckptfs.pin", b"1")
        self.assertEqual(self.get(self.path(self.NAME), "metric.score"), "0.5")
        self.assertEqual(self.get(self.path(self.NAME), "pin"), "1")
        self.shows("tag/stable", self.NAME)
        info = self.info("latest")
        self.assertEqual((info["pinned"], info["metrics"]["score"]["source"]), (True, "user"))


if __name__ == "__main__":
    main()
