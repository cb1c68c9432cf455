"""What the views show after each step of a save, for every framework of layouts.py."""
import json
import os
import shutil
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import layouts
from client import ClientCase
from layouts import LAYOUTS, Layout, named, save
from mounted import main, read, wait_for, write

QUIET = 1  # seconds, of the mount where a quiet period is what completes a checkpoint
NEVER = 600  # where it mustn't be


class ViewCase(ClientCase):
    def shown(self, *view, run=None):
        """{path: bytes} of a view in RUN/.ckpt/, without what the view adds itself; None: it isn't there."""
        top = self.view(*view, run=run)
        if not os.path.isdir(top):
            return None
        return {os.path.relpath(os.path.join(where, name), top): read(os.path.join(where, name))
                for where, _, names in os.walk(top) for name in names
                if where != top or (name != "info.json" and not self.is_alias(where, name))}

    def visible(self, *view, run=None):
        """The same in RUN itself."""
        top = os.path.join(run or self.dir, *view)
        if not os.path.isdir(top):
            return None
        return {os.path.relpath(os.path.join(where, name), top): read(os.path.join(where, name))
                for where, _, names in os.walk(top) for name in names
                if where != top or not self.is_alias(where, name)}

    @staticmethod
    def is_alias(where, name):
        return os.path.splitext(name)[0] == "checkpoint" and os.path.islink(os.path.join(where, name))

    def info(self, *view, run=None):
        with open(self.view(*view, "info.json", run=run)) as file:
            return json.load(file)

    def rows(self, run=None):
        """What `ckpt ls` lists of a run."""
        return self.mount.ckpt_json("ls", self.mount.relative(run or self.dir))["checkpoints"]

    def assert_shows(self, view, expected, what="", run=None):
        """VIEW has exactly these files with these bytes, in both places; None: it isn't there (or is empty)."""
        for place, found in ((".ckpt/", self.shown(*view.split("/"), run=run)),
                             ("", self.visible(*view.split("/"), run=run))):
            if place == "" and os.path.isfile(os.path.join(run or self.dir, view.split("/")[0])):
                continue  # a real file has the name: DeepSpeed's latest
            where = f"{place}{view} {what}"
            self.assertEqual(sorted(found or ()), sorted(expected or ()), where)
            for name, content in (expected or {}).items():
                self.same(found[name], content, f"{where}: {name}")

    def assert_alias(self, view, name, run=None):
        """checkpoint.EXT is a relative symlink to that file of the view."""
        for top in (self.view(*view.split("/"), run=run), os.path.join(run or self.dir, view)):
            alias = os.path.join(top, "checkpoint" + os.path.splitext(name)[1])
            self.assertTrue(os.path.islink(alias), f"no {alias} in {os.listdir(top)}")
            self.assertEqual(os.readlink(alias), name)
            self.same(read(alias), read(os.path.join(top, name)), alias)

    def content(self, layout, k, run=None):
        return {name: read(path) for name, path in layout.paths(run or self.dir, k).items()}

    def abandon(self, writer, run, k, last):
        """The steps up to (and with) one of those in LAST."""
        os.makedirs(run, exist_ok=True)
        for label in writer(run, k):
            if label in last:
                return
        self.fail(f"{writer.__name__} has no step {last}")

    def flushed_save(self, writer, k, run=None, **options):
        save(writer, run or self.dir, k, **options)
        self.mount.flush()


class Markers(ViewCase):
    """No quiet period is over while these run: what shows a checkpoint is its marker, its rename or its close."""

    options = {"quiet": NEVER}

    def watch(self, layout: Layout, k, before):
        """The K-th save, looked at after each step: BEFORE in latest/ and nothing else until it is done."""
        done, expected = False, None
        for label in layout.write(self.dir, k):
            done = done or label == layout.done(k)
            self.mount.flush()
            expected = self.content(layout, k) if done else None
            what = f"of {layout.name} {k}, after {label}"
            self.assert_shows("latest", expected if done else before, what)
            for view in layout.views(k):
                self.assert_shows(view, expected, what)
        self.assertTrue(done, layout.name)
        self.check_info(layout, k, expected)
        return expected

    def check_info(self, layout, k, expected):
        info = self.info("latest")
        self.assertEqual(info["state"], "complete", info)
        self.assertEqual(info["framework"], layout.framework, info)
        if layout.kind is not None:
            self.assertEqual(info["kind"], layout.kind, info)
        for view in layout.views(k):
            name, number = view.split("/")
            self.assertEqual(info[name], int(number), info)
            self.assertEqual(self.info(name, number)["id"], info["id"])
        # Paths in info.json are those in the view.
        self.assertEqual({file["path"]: file["size"] for file in info["files"]},
                         {name: len(content) for name, content in expected.items()})
        if layout.root is None and len(expected) == 1:
            self.assert_alias("latest", *expected)
        elif layout.root is not None:
            top = self.view("latest")
            self.assertEqual([name for name in os.listdir(top) if self.is_alias(top, name)], [])

    def check(self, name):
        layout = named(name)
        first = self.watch(layout, 1, None)
        second = self.watch(layout, 2, first)
        self.assertNotEqual(first, second)
        for view in layout.views(1):
            self.assert_shows(view, first, f"of {name} after the second save")
        self.assertEqual(len(self.rows()), 2)

    def test_deepspeed_keeps_its_own_latest(self):
        self.flushed_save(layouts.deepspeed, 1)
        self.assertEqual(read(self.path("latest")), b"global_step100")
        self.assert_shows("latest", self.content(named("deepspeed"), 1))

    def test_a_marker_of_another_checkpoint_says_nothing(self):
        """DeepSpeed's latest and Megatron's tracker name one: the directory that is being written isn't that one."""
        for name, marker in (("deepspeed", "latest"), ("megatron", "latest_checkpointed_iteration.txt")):
            with self.subTest(name=name):
                run, layout = self.path(name), named(name)
                self.flushed_save(layout.write, 1, run)
                first = self.content(layout, 1, run)
                for label in layout.write(run, 2):
                    if label == marker:
                        break
                    write(os.path.join(run, marker), read(os.path.join(run, marker)))  # the old text anew
                    self.mount.flush()
                    self.assert_shows("latest", first, f"after {label}", run=run)

    def test_megatron_release(self):
        """Converted weights: release/ instead of a number, and the word in the tracker."""
        where = self.path("release", "mp_rank_00", "model_rng.pt")
        layouts.put(where, layouts.torch_bytes({"model": layouts.tensors(1)}))
        self.mount.flush()
        self.assert_shows("latest", None)
        write(self.path("latest_checkpointed_iteration.txt"), b"release")
        self.mount.flush()
        self.assert_shows("latest", {"mp_rank_00/model_rng.pt": read(where)})


def _add_layouts():
    for layout in LAYOUTS:
        if layout.done is not None:
            def test(self, name=layout.name):
                self.check(name)
            setattr(Markers, f"test_{layout.name}", test)


_add_layouts()


class QuietPeriods(ViewCase):
    options = {"quiet": QUIET}

    def watch(self, layout, k, before):
        for label in layout.write(self.dir, k):
            written = time.monotonic()
            self.mount.flush()
            found = self.shown("latest")
            if time.monotonic() - written < QUIET:  # else the machine was slow, and anything goes
                self.assertEqual(found or {}, before or {}, f"latest/ of {layout.name} {k} after {label}")
        expected = self.content(layout, k)
        wait_for(f"{layout.name} {k} in latest/ after the quiet period", lambda: self.shown("latest") == expected,
                 timeout=QUIET + 10)
        # Not the file system's answer to a flush, nor a timer that began with the first file.
        self.assertGreaterEqual(time.monotonic() - written, 0.9 * QUIET)
        self.assert_shows("latest", expected)
        self.assertEqual(self.info("latest")["framework"], layout.framework)
        if layout.kind is not None:
            self.assertEqual(self.info("latest")["kind"], layout.kind)
        return expected

    def test_directories_without_a_marker(self):
        """One behind the other in runs of their own, so that the waiting isn't multiplied by more than it must."""
        for layout in LAYOUTS:
            if layout.done is None:
                with self.subTest(name=layout.name):
                    self.dir = os.path.join(self.mount.root, f"quiet-{layout.name}")
                    os.mkdir(self.dir)
                    first = self.watch(layout, 1, None)
                    if layout.name == "accelerate":
                        self.watch(layout, 2, first)

    def test_a_directory_of_no_known_framework(self):
        where = self.path("epoch_3")
        layouts.put(f"{where}/model.pt", layouts.torch_bytes(layouts.tensors(3)))
        layouts.put(f"{where}/optimizer.pt", layouts.torch_bytes(layouts.optimizer_state(3)))
        self.mount.flush()
        expected = {name: read(os.path.join(where, name)) for name in ("model.pt", "optimizer.pt")}
        wait_for("epoch/3", lambda: self.shown("epoch", "3") == expected, timeout=QUIET + 10)

    def test_several_ranks_of_transformers(self):
        """trainer_state.json is rank 0's: the random state of another may come later."""
        where = self.path("checkpoint-100")
        for label in layouts.transformers(self.dir, 1):
            if label == "rng_state.pth":
                os.rename(f"{where}/rng_state.pth", f"{where}/rng_state_0.pth")
        written = time.monotonic()
        self.mount.flush()
        found = self.shown("latest")
        if time.monotonic() - written < QUIET:
            self.assertEqual(found or {}, {})
        shutil.copyfile(f"{where}/rng_state_0.pth", f"{where}/rng_state_1.pth")
        expected = {name: read(os.path.join(where, name)) for name in os.listdir(where)}
        wait_for("step/100", lambda: self.shown("step", "100") == expected, timeout=QUIET + 10)


class SingleFiles(ViewCase):
    options = {"quiet": NEVER}

    def test_a_last_that_equals_a_numbered_one_is_no_checkpoint_more(self):
        for k in (1, 2, 3):
            save(layouts.torch_file, self.dir, k, name=f"unet_epoch_{k}.pt", val_loss=1 / k)
            save(layouts.torch_file, self.dir, k, name="last.pt", val_loss=1 / k)
            self.mount.flush()
        self.assertEqual(sorted(row["epoch"] for row in self.rows()), [1, 2, 3])
        latest = self.shown("latest")
        self.assertIn("unet_epoch_3.pt", latest)
        self.same(latest["unet_epoch_3.pt"], read(self.path("last.pt")), "latest/unet_epoch_3.pt")

    def test_a_last_of_torch_save_is_no_checkpoint_more_either(self):
        """torch.save puts the name of the file into the archive: the bytes differ, what is saved doesn't."""
        for k in (1, 2):
            for name in (f"unet_epoch_{k}.pt", "last.pt"):
                layouts.torch.save(layouts.full_state(k), self.path(name))
            self.assertNotEqual(read(self.path(f"unet_epoch_{k}.pt")), read(self.path("last.pt")))
            self.mount.flush()
        self.assertEqual(sorted(row["epoch"] for row in self.rows()), [1, 2])
        self.assertIn("unet_epoch_2.pt", self.shown("latest"))

    def test_lightning_with_a_copied_last(self):
        for k in (1, 2):
            self.flushed_save(layouts.lightning, k, last="copy")
        self.assertEqual(sorted(row["step"] for row in self.rows()), [100, 200])
        self.assertIn("epoch=2-step=200.ckpt", self.shown("latest"))
        self.assert_shows("step/100", {"epoch=1-step=100.ckpt": read(self.path("epoch=1-step=100.ckpt"))})

    def test_lightning_with_a_linked_last(self):
        for k in (1, 2):
            self.flushed_save(layouts.lightning, k, last="link")
        self.assertEqual(sorted(row["step"] for row in self.rows()), [100, 200])
        self.assertEqual(os.readlink(self.path("last.ckpt")), "epoch=2-step=200.ckpt")
        self.assertIn("epoch=2-step=200.ckpt", self.shown("latest"))

    def test_a_slash_in_a_metric_makes_a_directory(self):
        self.flushed_save(layouts.lightning, 1, name="epoch=1-val/loss=0.50.ckpt")
        self.flushed_save(layouts.lightning, 2, name="epoch=2-val/loss=0.25.ckpt")
        for k, loss in ((1, "0.50"), (2, "0.25")):
            expected = read(self.path(f"epoch={k}-val", f"loss={loss}.ckpt"))
            self.same_file(self.view("epoch", str(k), "checkpoint.ckpt"), expected)
            self.assertEqual(self.value(self.info("epoch", str(k))["metrics"], "val_loss"), float(loss))
        self.same_file(self.view("best", "checkpoint.ckpt"), expected)

    @staticmethod
    def value(metrics, name):
        return next((metric["value"] for found, metric in metrics.items() if found.replace("/", "_") == name), None)

    def test_a_version_suffix_is_a_file_of_the_same_checkpoint(self):
        self.flushed_save(layouts.lightning, 1)
        self.flushed_save(layouts.lightning_with_version, 1)
        self.assertEqual(len(self.rows()), 1)
        self.assertEqual(sorted(self.shown("step", "100")), ["epoch=1-step=100-v1.ckpt", "epoch=1-step=100.ckpt"])

    def test_files_of_one_epoch_are_one_checkpoint(self):
        """checkpoint.EXT is the fullest of them, whatever came last."""
        for k in (1, 2):
            save(layouts.torch_file, self.dir, k, name=f"unet_epoch_{k:02d}_valLoss_{1 / k:.3f}.pt")
            layouts.put(self.path(f"weights_bf16_epoch_{k:02d}.pt"), layouts.torch_bytes(
                {name: tensor.bfloat16() for name, tensor in layouts.tensors(k).items()}))
            self.mount.flush()
            files = (f"unet_epoch_{k:02d}_valLoss_{1 / k:.3f}.pt", f"weights_bf16_epoch_{k:02d}.pt")
            self.assert_shows(f"epoch/{k}", {name: read(self.path(name)) for name in files})
            self.assert_alias(f"epoch/{k}", files[0])
        self.assertEqual([row["epoch"] for row in sorted(self.rows(), key=lambda row: row["epoch"])], [1, 2])
        self.assertEqual(self.info("latest")["kind"], "full")

    def test_final(self):
        self.flushed_save(layouts.torch_file, 1, name="model_epoch_1.pt")
        self.assertEqual(self.shown("final") or {}, {})
        self.flushed_save(layouts.torch_file, 2, name="model_final.pth")
        self.assert_shows("final", {"model_final.pth": read(self.path("model_final.pth"))})

    def test_a_run_that_is_finished_has_its_latest_as_final(self):
        for k in (1, 2):
            self.flushed_save(layouts.torch_file, k, name=f"model_epoch_{k}.pt")
        self.mount.ckpt("finish", self.mount.relative(self.dir))
        self.mount.flush()
        self.assert_shows("final", {"model_epoch_2.pt": read(self.path("model_epoch_2.pt"))})

    def test_tags(self):
        for k in (1, 2):
            self.flushed_save(layouts.torch_file, k, name=f"model_epoch_{k}.pt")
        here = self.mount.relative(self.dir)
        self.mount.ckpt("tag", f"{here}@epoch=1", "stable")
        expected = {"model_epoch_1.pt": read(self.path("model_epoch_1.pt"))}
        self.assert_shows("tag/stable", expected)
        self.mount.ckpt("tag", f"{here}@tag=stable", "shipped")
        self.assert_shows("tag/shipped", expected)
        self.mount.ckpt("untag", f"{here}@epoch=1", "stable")
        self.assert_shows("tag/stable", None)
        self.assert_shows("tag/shipped", expected)

    def test_history_has_every_version_of_an_overwritten_file(self):
        contents = []
        for k in (1, 2, 3):
            self.flushed_save(layouts.keras_h5, k, name="model.h5")
            contents.append(read(self.path("model.h5")))
        for number, content in enumerate(contents, start=1):
            for top in (self.dir, self.view()):
                self.same_file(os.path.join(top, "history", "model.h5", f"v{number:04d}"), content)
        self.assert_shows("latest", {"model.h5": contents[-1]})

    def test_info_has_what_the_contract_says(self):
        self.flushed_save(layouts.torch_file, 3, name="unet_epoch_3.pt", val_loss=0.25)
        info = self.info("latest")
        for key in ("id", "run", "epoch", "step", "kind", "state", "why", "metrics", "files", "framework", "saved",
                    "parent", "process"):
            self.assertIn(key, info)
        self.assertEqual((info["epoch"], info["kind"], info["state"]), (3, "full", "complete"))
        self.assertEqual([(file["path"], file["size"], file["version"]) for file in info["files"]],
                         [("unet_epoch_3.pt", os.path.getsize(self.path("unet_epoch_3.pt")), 1)])
        self.assertEqual(self.info("epoch", "3"), info)
        listed = json.loads(self.mount.ckpt("show", "--json", info["id"][:12]))
        self.assertEqual(listed.get("checkpoint", listed)["id"], info["id"])


class Runs(ViewCase):
    options = {"quiet": NEVER}

    def test_the_parent_of_runs_is_none(self):
        """A sweep's directory holds no checkpoints itself."""
        for trial in ("a", "b"):
            self.flushed_save(layouts.torch_file, 1, run=self.path(trial), name="epoch_1.pt")
        for trial in ("a", "b"):
            self.assert_shows("latest", {"epoch_1.pt": read(self.path(trial, "epoch_1.pt"))}, run=self.path(trial))
            self.assertEqual(len(self.rows(self.path(trial))), 1)
        self.assertFalse(os.path.exists(self.path("epoch")))
        runs = self.mount.ckpt("runs")
        for trial in ("a", "b"):
            self.assertIn(f"{self.mount.relative(self.dir)}/{trial}", runs)

    def test_a_checkpoint_directory_is_no_run(self):
        self.flushed_save(layouts.transformers, 1)
        self.assertFalse(os.path.exists(self.path("checkpoint-100", "latest")))
        self.assertEqual(sorted(os.listdir(self.path("checkpoint-100"))),
                         ["config.json", "model.safetensors", "optimizer.pt", "rng_state.pth", "scheduler.pt",
                          "trainer_state.json", "training_args.bin"])

    def test_a_temporary_directory_is_never_a_checkpoint(self):
        """What a killed job leaves behind."""
        for writer in (layouts.transformers_staged, layouts.orbax):
            with self.subTest(writer=writer.__name__):
                run = self.path(writer.__name__)
                self.abandon(writer, run, 1, {"trainer_state.json", "_CHECKPOINT_METADATA again"})
                self.mount.flush()
                self.assertEqual(self.shown("latest", run=run) or {}, {})
                self.flushed_save(writer, 2, run)
                self.assertEqual(sorted(self.shown("step", "200", run=run) or ()),
                                 sorted(named(writer.__name__).paths(run, 2)))
                self.assert_shows("step/100", None, run=run)

    def test_views_after_a_restart(self):
        self.flushed_save(layouts.transformers_sharded, 1)
        save(layouts.torch_file, self.path("files"), 2, name="epoch_2.pt")
        self.mount.flush()
        before = self.shown("latest"), self.info("latest"), self.shown("epoch", "2", run=self.path("files"))
        self.assertTrue(all(before))
        self.mount.restart()
        after = self.shown("latest"), self.info("latest"), self.shown("epoch", "2", run=self.path("files"))
        self.assertEqual(after, before)


class Truncated(ViewCase):
    """A save that was cut short is invalid, whatever its name promises: kept in the history, shown nowhere."""

    options = {"quiet": NEVER}

    def check(self, pattern, make, cut):
        """Epoch 1 is saved whole; epoch 2, the better one by its name, CUT bytes short."""
        names = {k: pattern.format(k=k, value=1 / (k + 1)) for k in (1, 2)}
        good, bad = make(1), make(2)
        write(self.path(names[1]), good)
        self.mount.flush()
        write(self.path(names[2]), bad[:-cut])
        self.mount.flush()
        for view in ("latest", "best"):
            self.assert_shows(view, {names[1]: good})
        self.assert_shows("epoch/2", None)
        row = next(row for row in self.rows() if row["epoch"] == 2)
        self.assertEqual(row["state"], "invalid", row)
        self.assertTrue(row["why"], row)
        self.assertIn(row["why"], self.mount.ckpt("log", self.mount.relative(self.path(names[2]))))
        self.assert_newest(self.path(names[2]), bad[:-cut])
        self.same_file(self.path(names[2]), bad[:-cut])
        # Saved once more it is a checkpoint, and the best.
        write(self.path(names[2]), bad)
        self.mount.flush()
        for view in ("latest", "best", "epoch/2"):
            self.assert_shows(view, {names[2]: bad})

    def saved(self, writer, name):
        """The bytes that a writer makes of its K-th save, as a function of K."""
        def make(k):
            save(writer, self.plain, k, name=name)
            return read(self.outside(name))
        return make

    def test_torch(self):
        self.check("unet_epoch_{k}_valLoss_{value:.2f}.pt", lambda k: layouts.torch_bytes(layouts.full_state(k)), 100)

    def test_safetensors(self):
        self.check("unet_epoch_{k}_valLoss_{value:.2f}.safetensors",
                   lambda k: layouts.safetensors_bytes(layouts.tensors(k)), 1)

    def test_hdf5(self):
        self.check("resnet50_epoch_{k}_valLoss_{value:.2f}.h5", self.saved(layouts.keras_h5, "a.h5"), 4000)

    def test_npz(self):
        self.check("unet_epoch_{k}_valLoss_{value:.2f}.npz", self.saved(layouts.numpy_file, "a.npz"), 1000)

    def test_a_shard(self):
        """One bad file makes the directory invalid, though its marker says that it is complete."""
        save(layouts.transformers_sharded, self.dir, 1)
        self.mount.flush()
        first = self.content(named("transformers_sharded"), 1)
        for label in layouts.transformers_sharded(self.dir, 2):
            if label == "model-00002-of-00003.safetensors":
                path = self.path("checkpoint-200", label)
                write(path, read(path)[:-10])
        self.mount.flush()
        self.assert_shows("latest", first)
        row = next(row for row in self.rows() if row["step"] == 200)
        self.assertEqual(row["state"], "invalid")
        self.assertIn("model-00002-of-00003.safetensors", row["why"])

    def test_what_is_being_written_is_no_checkpoint_of_the_past(self):
        """An older save that never ended doesn't keep a newer one from being latest; when it ends it has its place."""
        self.flushed_save(layouts.dcp, 1)
        unfinished = layouts.dcp(self.dir, 2)
        for label in unfinished:
            if label == ".metadata.tmp":
                break
        self.flushed_save(layouts.dcp, 3)
        states = {row["step"]: row["state"] for row in self.rows()}
        self.assertEqual(states.pop(200, "writing"), "writing")
        self.assertEqual(states, {100: "complete", 300: "complete"})
        self.assert_shows("latest", self.content(named("dcp"), 3))
        self.assertEqual(list(unfinished), [".metadata"])
        self.mount.flush()
        self.assert_shows("step/200", self.content(named("dcp"), 2))


if __name__ == "__main__":
    main()
