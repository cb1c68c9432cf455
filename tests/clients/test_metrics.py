"""Where the numbers of checkpoints come from: each source, written before the checkpoints and after them."""
import errno
import json
import math
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.dirname(HERE)]
import layouts
from layouts import save
from mounted import main, read, wait_for, write
from test_layouts import NEVER, QUIET, ViewCase

# The best epoch is neither the first nor the last.
VALUES = {1: 0.5, 2: 0.25, 3: 0.375}
BEST = 2
SOON = 5  # seconds in which a number that was written is there


def comparable(name):
    """Names may stand as written ("val/loss") or in the form in which they are compared."""
    return name.replace("/", "_").lower()


class MetricCase(ViewCase):
    options = {"quiet": NEVER}

    def metric(self, name, *view, run=None):
        """The value that info.json of a view has, or None."""
        try:
            info = self.info(*view, run=run)
        except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError):
            return None
        for found, metric in info["metrics"].items():
            if comparable(found) == name:
                self.assertTrue(metric["source"] and metric["by"], info)
                return metric["value"]
        return None

    def assert_metrics(self, name, values, view, best, run=None):
        """{k: value} in the view of each checkpoint, and the best of them in best/."""
        for k, value in values.items():
            where = view(k).split("/")
            wait_for(f"{name} {value} of {view(k)} in info.json", timeout=SOON,
                     condition=lambda where=where, value=value: self.close(self.metric(name, *where, run=run), value))
        expected = self.info(*view(best).split("/"), run=run)["id"]
        wait_for(f"{view(best)} as the best", lambda: self.best(run) == expected, timeout=SOON)
        self.assert_shows("best", self.shown(*view(best).split("/"), run=run), run=run)

    def best(self, run=None):
        try:
            return self.info("best", run=run)["id"]
        except FileNotFoundError:
            return None

    @staticmethod
    def close(found, value):
        return found is not None and math.isclose(found, value, rel_tol=1e-6)  # tfevents has float32


class Sources(MetricCase):
    """Each test runs for every order: the source is there before the checkpoints, it comes when they are in the store,
    and, where it grows, a line before each save."""

    def each_order(self, name, checkpoint, numbers, view, place=""):
        """
        CHECKPOINT(run, k) saves; NUMBERS(top, {k: value}) writes the source; VIEW(k) is the checkpoint's view. PLACE:
        the run below TOP.
        """
        for order in ("before", "after", "in turn"):
            with self.subTest(order=order):
                top = self.path(order.replace(" ", "-"))
                run = os.path.join(top, place) if place else top
                os.makedirs(run)
                if order == "before":
                    numbers(top, VALUES)
                for k, value in VALUES.items():
                    if order == "in turn":
                        numbers(top, {k: value})
                    checkpoint(run, k)
                self.mount.flush()
                if order == "after":
                    numbers(top, VALUES)
                    self.mount.flush()
                self.assert_metrics(name, VALUES, view, BEST, run=run)

    @staticmethod
    def epoch_file(run, k):
        save(layouts.torch_file, run, k, name=f"unet_epoch_{k:02d}.pt")

    @staticmethod
    def step_file(run, k):
        save(layouts.torch_file, run, k, name=f"unet_step_{100 * k}.pt")

    @staticmethod
    def epoch(k):
        return f"epoch/{k}"

    @staticmethod
    def step(k):
        return f"step/{100 * k}"

    def test_a_csv_of_ones_own(self):
        self.each_order("val_loss", self.epoch_file,
                        lambda top, values: layouts.plain_csv(f"{top}/metrics.csv", values), self.epoch)

    def test_keras_csv(self):
        """CSVLogger counts epochs from 0, the names of ModelCheckpoint from 1."""
        self.each_order("val_loss", lambda run, k: save(
            layouts.keras_h5, run, k, name=f"weights.{k:02d}-{VALUES[k]:.2f}.h5"),
                        lambda top, values: layouts.keras_csv(f"{top}/training.csv", values), self.epoch)

    def test_keras_csv_with_semicolons(self):
        self.each_order("val_loss", lambda run, k: save(layouts.keras_zip, run, k),
                        lambda top, values: layouts.keras_csv(f"{top}/training.csv", values, ";"), self.epoch)

    def test_tensorboard(self):
        self.each_order("val_loss", self.step_file,
                        lambda top, values: layouts.tfevents(f"{top}/events.out.tfevents.1700000000.host.1.0", values),
                        self.step)

    def test_tensorboard_above_lightnings_checkpoints(self):
        """Loggers have the step before the optimizer's, the checkpoint's name the one after it."""
        self.each_order("val_loss", lambda run, k: save(layouts.lightning, run, k),
                        lambda top, values: layouts.tfevents(
                            f"{top}/version_0/events.out.tfevents.1700000000.host.1.0", values, behind=1),
                        self.step, "version_0/checkpoints")

    def test_mlflow(self):
        self.each_order("val_loss", self.step_file, layouts.mlflow, self.step)

    def test_optuna(self):
        """One trial whose steps are epochs. The journal has no name for the value: the policy says what is better."""
        def numbers(top, values):
            layouts.optuna_journal(f"{top}/optuna_journal.log", values)
        for order in ("before", "after"):
            with self.subTest(order=order):
                run = self.path(order)
                os.mkdir(run)
                if order == "before":
                    numbers(run, VALUES)
                for k in VALUES:
                    self.epoch_file(run, k)
                self.mount.flush()
                write(self.view("policy", run=run), b"metric intermediate_value min\n")
                if order == "after":
                    numbers(run, VALUES)
                    self.mount.flush()
                self.assert_metrics("intermediate_value", VALUES, self.epoch, BEST, run=run)

    def test_lightning_csv(self):
        """metrics.csv sits above checkpoints/ and is rewritten; its steps are one less than those in the names."""
        for order in ("before", "after"):
            with self.subTest(order=order):
                top = self.path(order, "lightning_logs", "version_0")
                run = os.path.join(top, "checkpoints")
                os.makedirs(run)
                if order == "before":
                    layouts.lightning_csv(f"{top}/metrics.csv", VALUES)
                for k in VALUES:
                    save(layouts.lightning, run, k)
                self.mount.flush()
                if order == "after":
                    for last in VALUES:  # flushed late, whole each time
                        layouts.lightning_csv(f"{top}/metrics.csv", {k: VALUES[k] for k in VALUES if k <= last})
                    self.mount.flush()
                self.assert_metrics("val_loss", VALUES, self.step, BEST, run=run)

    def test_wandb(self):
        """The summary has the newest values only: each save sees its own."""
        for order in ("before", "after"):
            with self.subTest(order=order):
                run = self.path(order)
                os.mkdir(run)
                for k, value in VALUES.items():
                    if order == "before":
                        layouts.wandb_summary(run, k, value)
                    self.step_file(run, k)
                    self.mount.flush()
                    if order == "after":
                        layouts.wandb_summary(run, k, value)
                        self.mount.flush()
                    wait_for(f"val_loss of {self.step(k)}", lambda k=k, value=value: self.close(
                        self.metric("val_loss", *self.step(k).split("/"), run=run), value), timeout=SOON)
                self.assert_metrics("val_loss", VALUES, self.step, BEST, run=run)

    def history(self, upto):
        return [{"epoch": float(k), "step": 100 * k, "eval_loss": VALUES[k], "eval_runtime": 1.5}
                for k in VALUES if k <= upto]

    def test_trainer_state_in_the_checkpoint(self):
        """Evaluation runs before the save: a checkpoint has its own."""
        for k in VALUES:
            save(layouts.transformers, self.dir, k, history=self.history(k))
            self.mount.flush()
        self.assert_metrics("eval_loss", VALUES, self.step, BEST)

    def test_trainer_state_beside_the_checkpoints(self):
        """Trainer.save_state at the end: values of evaluations that came after the saves."""
        for k in VALUES:
            save(layouts.transformers, self.dir, k)
        self.mount.flush()
        self.assertIsNone(self.metric("eval_loss", "step", "100"))
        layouts.put_json(self.path("trainer_state.json"), layouts.trainer_state(3, self.history(3)))
        self.mount.flush()
        self.assert_metrics("eval_loss", VALUES, self.step, BEST)

    def test_trainer_state_of_a_later_checkpoint(self):
        for k in VALUES:
            save(layouts.transformers, self.dir, k, history=self.history(k - 1))
        self.mount.flush()
        for k in (1, 2):
            wait_for(f"eval_loss of {self.step(k)}", lambda k=k: self.close(
                self.metric("eval_loss", "step", str(100 * k)), VALUES[k]), timeout=SOON)
        self.assertIsNone(self.metric("eval_loss", "step", "300"))

    def test_values_in_names(self):
        for k, value in VALUES.items():
            save(layouts.torch_file, self.dir, k, name=f"unet_cityscapes_epoch_{k}_valLoss_{value}.pt")
        self.mount.flush()
        self.assert_metrics("val_loss", VALUES, self.epoch, BEST)

    def test_values_in_names_where_more_is_better(self):
        values = {1: 87.4, 2: 91.25, 3: 90.0}
        for k, value in values.items():
            save(layouts.keras_h5, self.dir, k, name=f"resnet50_epoch_{k}_valAcc_{value}.h5")
        self.mount.flush()
        self.assert_metrics("val_acc", values, self.epoch, 2)

    def test_a_best_of_the_trainers_own(self):
        """Its value counts as any other's, not the word."""
        names = {"unet_cityscapes_epoch_1_iou_0.80.pth": 0.8, "unet_cityscapes_best_iou_0.92.pth": 0.92,
                 "unet_cityscapes_epoch_3_iou_0.85.pth": 0.85}
        for k, name in enumerate(names, start=1):
            layouts.put(self.path(name), layouts.torch_bytes({"model": layouts.tensors(k)}))
            self.mount.flush()
        best = "unet_cityscapes_best_iou_0.92.pth"
        self.assert_shows("best", {best: read(self.path(best))})
        self.assertEqual(self.metric("iou", "best"), 0.92)
        self.assertEqual(self.metric("iou", "latest"), 0.85)

    def test_values_in_names_of_directories(self):
        for k, value in VALUES.items():
            save(layouts.dcp, self.dir, k)
            os.rename(self.path(f"step-{100 * k}"), self.path(f"step={100 * k}-val_loss={value}"))
        self.mount.flush()
        self.assert_metrics("val_loss", VALUES, self.step, BEST)

    def test_scalars_in_a_torch_file(self):
        """`epoch` and `val_loss` beside the tensors, under names that say nothing; no code of the pickle is run."""
        for k, value in VALUES.items():
            save(layouts.torch_file, self.dir, k, name=f"state-{'abc'[k - 1]}.pt", val_loss=value)
        self.mount.flush()
        self.assert_metrics("val_loss", VALUES, self.epoch, BEST)

    def test_metadata_in_safetensors(self):
        for k, value in VALUES.items():
            save(layouts.safetensors_file, self.dir, k, name=f"unet_epoch_{k}.safetensors",
                 metadata={"format": "pt", "val_loss": str(value)})
        self.mount.flush()
        self.assert_metrics("val_loss", VALUES, self.epoch, BEST)


class Quiet(MetricCase):
    options = {"quiet": QUIET}

    def check(self, form, order):
        trial = self.path(f"{form}-{order}", "train_abc_00000")
        os.makedirs(trial)
        for k, value in VALUES.items():
            if order == "before":
                layouts.ray_results(trial, {k: value}, form)
            save(layouts.ray, trial, k)
            if order == "after":
                layouts.ray_results(trial, {k: value}, form)
        return trial

    def test_ray(self):
        """training_iteration counts reports; checkpoint_dir_name says which directory a report belongs to."""
        trials = [self.check(form, order) for form in ("json", "csv") for order in ("before", "after")]
        self.mount.flush()
        for trial in trials:
            with self.subTest(trial=os.path.relpath(trial, self.dir)):
                expected = self.content(layouts.named("ray"), BEST, run=trial)
                wait_for("the last checkpoint in latest/", lambda: self.shown("latest", run=trial) == self.content(
                    layouts.named("ray"), 3, run=trial), timeout=QUIET + SOON)
                wait_for("the best trial's checkpoint in best/", lambda: self.shown("best", run=trial) == expected,
                         timeout=QUIET + SOON)
                self.assertEqual(self.metric("val_loss", "best", run=trial), VALUES[BEST])
                for k, value in VALUES.items():  # the step is training_iteration of its report
                    wait_for(f"{value} of step {k}", timeout=SOON, condition=lambda k=k, value=value: self.close(
                        self.metric("val_loss", "step", str(k), run=trial), value))
                    self.assert_shows(f"step/{k}", self.content(layouts.named("ray"), k, run=trial), run=trial)


class Explicit(MetricCase):
    """What a person says, of checkpoints that nothing else tells about."""

    def setUp(self):
        super().setUp()
        for k in VALUES:
            save(layouts.torch_file, self.dir, k, name=f"unet_epoch_{k}.pt")
        self.mount.flush()
        self.here = self.mount.relative(self.dir)

    def test_extended_attributes(self):
        """Before it is in the store (on the file as it is being written) and after."""
        for k, value in VALUES.items():
            os.setxattr(self.path(f"unet_epoch_{k}.pt"), "user.ckptfs.metric.val_loss", str(value).encode())
        self.mount.flush()
        self.assert_metrics("val_loss", VALUES, lambda k: f"epoch/{k}", BEST)
        self.assertEqual(float(os.getxattr(self.path("unet_epoch_2.pt"), "user.ckptfs.metric.val_loss")), 0.25)

    def test_extended_attribute_of_an_open_file(self):
        """While it is being written it is no checkpoint yet; once it is closed it is one, without any waiting."""
        path, name = self.path("unet_epoch_4.pt"), "user.ckptfs.metric.val_loss"
        with open(path, "wb") as file:
            file.write(layouts.torch_bytes(layouts.full_state(4)))
            with self.assertRaises(OSError) as caught:
                os.setxattr(path, name, b"0.125")
            self.assertIn(caught.exception.errno, (errno.EBUSY, errno.ENODATA))
        os.setxattr(path, name, b"0.125")
        self.assertEqual(float(os.getxattr(path, name)), 0.125)
        self.assert_metrics("val_loss", {4: 0.125}, lambda k: f"epoch/{k}", 4)

    def test_command(self):
        for k, value in VALUES.items():
            self.mount.ckpt("metric", f"{self.here}@epoch={k}", f"val_loss={value}")
        self.assert_metrics("val_loss", VALUES, lambda k: f"epoch/{k}", BEST)
        self.mount.ckpt("metric", f"{self.here}@epoch=3", "val_loss=0.2")
        self.assert_metrics("val_loss", {**VALUES, 3: 0.2}, lambda k: f"epoch/{k}", 3)

    def test_what_is_said_outweighs_what_is_read(self):
        layouts.plain_csv(self.path("metrics.csv"), VALUES)
        self.mount.flush()
        self.assert_metrics("val_loss", VALUES, lambda k: f"epoch/{k}", BEST)
        self.mount.ckpt("metric", f"{self.here}@epoch=2", "val_loss=0.75")
        self.assert_metrics("val_loss", {**VALUES, 2: 0.75}, lambda k: f"epoch/{k}", 3)
        layouts.plain_csv(self.path("metrics.csv"), {4: 0.0625})  # the source goes on, and is read again
        save(layouts.torch_file, self.dir, 4, name="unet_epoch_4.pt")
        self.mount.flush()
        self.assert_metrics("val_loss", {1: 0.5, 2: 0.75, 3: 0.375, 4: 0.0625}, lambda k: f"epoch/{k}", 4)


class Ranking(MetricCase):
    def values(self, values, name="metrics.csv"):
        for k in values:
            save(layouts.torch_file, self.dir, k, name=f"unet_epoch_{k}.pt")
        layouts.plain_csv(self.path(name), values)
        self.mount.flush()

    def test_the_older_of_equals_wins(self):
        self.values({1: 0.5, 2: 0.25, 3: 0.25})
        self.assert_metrics("val_loss", {1: 0.5, 2: 0.25, 3: 0.25}, lambda k: f"epoch/{k}", 2)

    def test_nan_never_wins(self):
        self.values({1: math.nan, 2: 0.5, 3: math.nan})
        self.assert_metrics("val_loss", {2: 0.5}, lambda k: f"epoch/{k}", 2)

    def test_top(self):
        self.values(VALUES)
        self.assert_metrics("val_loss", VALUES, lambda k: f"epoch/{k}", BEST)
        for rank, k in enumerate(sorted(VALUES, key=VALUES.get), start=1):
            self.assert_shows(f"top/val_loss/{rank}", {f"unet_epoch_{k}.pt": read(self.path(f"unet_epoch_{k}.pt"))})
        self.assertEqual(sorted(os.listdir(self.view("top", "val_loss"))), ["1", "2", "3"])
        self.assertIn("train_loss", os.listdir(self.view("top")))

    def test_best_moves_when_a_value_comes(self):
        self.values({1: 0.5, 2: 0.25})
        self.assert_metrics("val_loss", {1: 0.5, 2: 0.25}, lambda k: f"epoch/{k}", 2)
        self.values({3: 0.125})
        self.assert_metrics("val_loss", {1: 0.5, 2: 0.25, 3: 0.125}, lambda k: f"epoch/{k}", 3)

    def test_a_broken_source_harms_nothing(self):
        self.values(VALUES)
        for name in ("wandb-summary.json", "result.json", "events.out.tfevents.1.host", "other.csv"):
            layouts.put(self.path(name), b"\x00\xff{\n" * 100)
        self.mount.flush()
        self.assert_metrics("val_loss", VALUES, lambda k: f"epoch/{k}", BEST)

    def test_without_numbers_there_is_no_best(self):
        save(layouts.torch_file, self.dir, 1, name="unet_epoch_1.pt")
        self.mount.flush()
        self.assertEqual(self.info("latest")["metrics"], {})
        self.assertEqual(self.shown("best") or {}, {})


if __name__ == "__main__":
    main()
