"""ckpt stats: where the space of a training's history goes, and what forgetting gives back."""
import importlib
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from mounted import MountCase, main, run_ckpt, wait_for

try:
    torch = importlib.import_module("torch")
except ImportError as missing:
    sys.exit(f"{sys.argv[0]} needs the Python module torch ({missing}): tests/run installs it")

SAVES = 4


class StatsCase(MountCase):
    def train(self, name):
        """SAVES versions of a model that learns, slower and slower."""
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(256, 512), torch.nn.Tanh(), torch.nn.Linear(512, 256))
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
        for _ in range(SAVES):
            batch = torch.randn(64, 256)
            for _ in range(5):
                optimizer.zero_grad()
                torch.nn.functional.mse_loss(model(batch), batch.flip(1)).backward()
                optimizer.step()
            scheduler.step()
            torch.save(model.state_dict(), self.path(name))
            self.mount.flush()
        return self.path(name)

    def swept(self):
        """The store's figures once nothing waits to be released: it is all one run's own."""
        def look():
            stats = self.mount.ckpt_json("stats")
            done = stats["loose"] == 0 and stats["total"]["stored"] == stats["total"]["unshared"]
            return stats if done else None
        return wait_for("the garbage to be swept", look)

    def of(self, path):
        return self.mount.ckpt_json("stats", self.mount.relative(path))["paths"][0]

    def fails(self, status, *args):
        _, result = run_ckpt("stats", *args, store=self.mount.store)
        self.assertEqual(result.returncode, status, result)
        return result.stderr


class History(StatsCase):
    def test_the_figures_are_those_of_the_store(self):
        path = self.train("last.pt")
        stats, status = self.swept(), self.mount.status()
        total = stats["total"]
        for name in ("versions", "logical", "stored"):
            self.assertEqual(total[name], status[name], name)
        self.assertEqual(total["unique"] + total["recipes"]["raw"], status["unique"])
        self.assertEqual(sum(codec["stored"] for codec in total["codecs"]) + total["recipes"]["stored"],
                         status["stored"])
        self.assertEqual(sum(depth["stored"] for depth in total["depths"]) + total["recipes"]["stored"],
                         status["stored"])
        chunks = {codec["codec"]: codec["chunks"] for codec in total["codecs"]}
        self.assertEqual(list(chunks), ["raw", "zstd", "planes", "delta", "grouped"])
        self.assertGreater(chunks["delta"] + chunks["grouped"], 0)
        self.assertGreater(total["depths"][-1]["depth"], 0)
        self.assertEqual([(run["path"], run["total"]) for run in stats["runs"]], [("run", total)])
        self.assertEqual(self.of(self.dir)["total"], total)
        self.assertEqual(self.of(path)["total"], total)

    def test_forgetting_frees_what_was_said(self):
        for number in range(1, SAVES + 1):
            path = self.train(f"{number}.pt")
            self.swept()
            said = next(row for row in self.of(path)["versions"] if row["version"] == number)
            freed = self.mount.ckpt_json("forget", f"{self.mount.relative(path)}@v{number}")["stored_freed"]
            self.assertGreater(freed, 0)
            self.assertAlmostEqual(said["frees"] / freed, 1, delta=0.1, msg=f"version {number}: {said}, {freed}")
            if not said["estimate"]:
                self.assertEqual(said["frees"], freed)
            self.mount.ckpt("forget", *(f"{self.mount.relative(path)}@v{kept}" for kept in self.mount.kept(path)))

    def test_a_version_alone_needs_what_it_leans_on(self):
        rows = self.of(self.train("last.pt"))["versions"]
        self.assertEqual([row["version"] for row in rows], [1, 2, 3, 4])
        for row in rows:
            self.assertEqual(row["alone"], row["stored"] + row["leaned"])
            self.assertLessEqual(row["sole"], row["stored"])
        self.assertEqual(rows[0]["leaned"], 0)
        self.assertGreater(rows[1]["leaned"], 0)

    def test_a_copy_in_another_run_is_shared(self):
        path = self.train("last.pt")
        before = self.swept()["total"]
        os.mkdir(os.path.join(self.mount.root, "other"))
        with open(path, "rb") as source, open(os.path.join(self.mount.root, "other", "copy.pt"), "wb") as target:
            target.write(source.read())
        self.mount.flush()
        stats = self.mount.ckpt_json("stats")
        self.assertEqual(stats["total"]["stored"], before["stored"])
        self.assertEqual([run["path"] for run in stats["runs"]], ["other", "run"])
        other = stats["runs"][0]["total"]
        self.assertEqual((other["versions"], other["unshared"]), (1, 0))
        self.assertEqual(self.of(os.path.join(self.mount.root, "other"))["versions"][0]["frees"], 0)


class Output(StatsCase):
    def test_for_people(self):
        path = self.train("last.pt")
        run = self.mount.relative(self.dir)
        whole = self.mount.ckpt("stats")
        for word in ("versions", "unshared", "run", "codec", "planes", "depth", "total"):
            self.assertIn(word, whole)
        of_run = self.mount.ckpt("stats", run)
        self.assertEqual(len([line for line in of_run.splitlines() if line.endswith("  last.pt")]), SAVES)
        self.assertEqual(len([line for line in self.mount.ckpt("stats", f"{run}/last.pt@v2").splitlines()]), 3)
        both = self.mount.ckpt("stats", run, self.mount.relative(path))
        self.assertTrue(both.startswith(of_run + "\nrun/last.pt\n"), both)

    def test_what_is_not_there(self):
        self.assertEqual(self.mount.ckpt_json("stats")["runs"], [])
        self.assertIn("no versions", self.fails(4, "run/none.pt"))
        self.assertIn("is no run", self.fails(4, "run"))
        self.train("last.pt")
        self.assertIn("no version 9", self.fails(4, "run/last.pt@v9"))
        self.assertIn("unknown option", self.fails(2, "--nonsense"))
        _, result = run_ckpt("stats", store=os.path.join(self.base, "nowhere"))
        self.assertEqual(result.returncode, 4)

    def test_a_deleted_run_is_still_told(self):
        path = self.train("last.pt")
        self.mount.flush()
        os.unlink(path)
        os.rmdir(self.dir)
        self.assertEqual(self.of(self.dir)["total"]["versions"], SAVES)
        self.assertEqual(len(self.of(path)["versions"]), SAVES)
        self.assertEqual(self.mount.ckpt_json("stats")["runs"][0]["path"], "run")


if __name__ == "__main__":
    main()
