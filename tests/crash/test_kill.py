"""The daemon is killed at random moments; nothing that was closed is ever lost.

    CRASH_CYCLES   kills (default 25)
    CRASH_SEED     seed of every choice, printed at the start (timing still differs from run to run)

One cycle: writers and an administrator work in the mount, the daemon gets SIGKILL, perhaps more than once while it
starts again, then it starts on the same store. After a flush everything that the journals promise must be there.
SIGKILL is not a power failure: what the host has accepted stays.
"""
import collections
import fcntl
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from model import Model, difference, is_captured
from mounted import PR_SET_PDEATHSIG, VIEWS, MiB, Mount, call, file_sha, main, remove, run_ckpt, scratch, unmount_lazily, wait_for
from workload import DEAD, TOOL_REFUSED, Administrator, Writer

CYCLES = int(os.environ.get("CRASH_CYCLES", "25"))
SEED = int(os.environ.get("CRASH_SEED", str(random.SystemRandom().randrange(10**9))))
CYCLES_PER_STORE = 10


class Store:
    """One store over several kills: its mount, what its writers were promised, what has been seen of it."""

    def __init__(self, rng, figures):
        self.rng = rng
        self.figures = figures
        self.base = scratch("kill")
        self.mount = Mount(self.base)
        self.models = {f"w{n}": Model() for n in range(rng.choice((1, 2, 3)))}
        self.next_run = 10
        self.read_before = {}  # recipe -> sha: what `ckpt verify` confirms from then on
        self.cycle = 0

    def options(self):
        rng = self.rng
        return {"passthrough": rng.choice(("off", "auto")), "settle": rng.choice((0, 50, 500)),
                "hot": rng.choice(("0", "1M", "none")), "threads": rng.choice((1, 2)),
                "cache": rng.choice(("1M", "64M"))}

    # The work

    def make_workers(self):
        rng, workers = self.rng, []
        self.cycle += 1
        victim_writer = rng.randrange(len(self.models)) if rng.random() < 0.3 else -1
        for index, (name, model) in enumerate(self.models.items()):
            state = model.state
            runs = sorted(state.dirs) or [f"{name}-0", f"{name}-1"]
            groups = {path: file.group if len(state.names_of(file)) > 1 else None
                      for path, file in state.files.items()}
            self.next_run += 1000
            workers.append(Writer(self.mount.root, self.journal(name), rng.randrange(10**9), runs, groups, self.next_run,
                                  victim=(self.mount.process.pid, rng.randrange(1, 60)) if index == victim_writer else None,
                                  big=rng.random() < 0.04))
        known = [(path, number, recipe, self.read_before[recipe]) for model in self.models.values()
                 for (path, number, recipe) in self.current_versions(model)]
        workers.append(Administrator(self.mount.root, self.journal("admin"), rng.randrange(10**9), self.mount.store, known))
        return workers

    def journal(self, name):
        return os.path.join(self.base, f"journal-{self.cycle}-{name}")

    def current_versions(self, model):
        places = collections.defaultdict(list)
        for path, identity in model.state.dirs.items():
            places[identity].append(path)
        return [(f"{path}/{key[1]}", number, recipe) for (key, number), recipe in model.versions.items()
                for path in places[key[0]]]

    # The kill

    def kill(self, workers):
        """Returns when it was."""
        rng, process = self.rng, self.mount.process
        if any(isinstance(worker, Writer) and worker.victim for worker in workers):
            wait_for_end = time.monotonic() + 3
            while process.poll() is None and time.monotonic() < wait_for_end:
                time.sleep(0.002)
        else:
            time.sleep(rng.uniform(0, 1.5 if any(getattr(worker, "big", False) for worker in workers) else 0.5))
            if rng.random() < 0.2:
                process.send_signal(signal.SIGTERM)
                killed = time.monotonic()
                time.sleep(rng.uniform(0, 0.1))
                self.figures["killed while it ended"] += 1
                process.kill()
                process.wait()
                return killed
        killed = time.monotonic()
        process.kill()
        process.wait()
        return killed

    def end(self, workers):
        """All of them; with what they had open nothing can change any more."""
        deadline = time.monotonic() + 5
        for worker in workers:
            if self.rng.random() < 0.5 or isinstance(worker, Administrator):
                worker.kill()
        # Reads and writes of the others fail now, but what hangs in the dead mount needs its end.
        unmount_lazily(self.mount.root)
        for worker in workers:
            while worker.pid is not None and time.monotonic() < deadline:
                if os.waitpid(worker.pid, os.WNOHANG)[0] != 0:
                    worker.pid = None
                else:
                    time.sleep(0.002)
            if worker.pid is not None:
                worker.kill()

    def wait_for_lock(self):
        """A tool that found no daemon any more may have worked on the store itself, and be dying."""
        with open(os.path.join(self.mount.store, "lock")) as lock:
            def free():
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
                return True
            wait_for("the store's lock", free)

    def kill_at_start(self):
        """Starts the daemon only to kill it on its way, and leaves the mount point as it is then."""
        with open(self.mount.log, "ab") as log:
            process = subprocess.Popen(
                self.mount.command(**self.options()), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
                preexec_fn=lambda: call("prctl", PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
        time.sleep(self.rng.uniform(0, 0.15))
        if process.poll() is not None:
            raise AssertionError(f"the daemon did not start again, status {process.returncode}:\n{self.mount.log_tail()}")
        process.kill()
        process.wait()
        self.figures["killed while it started"] += 1

    def start_again(self):
        self.mount.process = None
        self.wait_for_lock()
        while self.rng.random() < 0.3:
            self.kill_at_start()
        self.mount.start(**self.options())

    # The check

    def check(self, workers, killed):
        """Everything that is wrong, as sentences."""
        problems = []
        journals = {name: worker.records() for name, worker in zip([*self.models, "admin"], workers)}
        killed = min([killed] + [r["killed"] for records in journals.values() for r in records if "killed" in r])
        for name, records in journals.items():
            problems += [f"{name}: {text}" for text in self.complaints(records, killed)]
        flushed = self.mount.ckpt_json("flush")
        if flushed["still_open"] != 0:
            problems.append(f"flush says {flushed['still_open']} files are open, but all writers have ended")
        wait_for("an empty pending/", lambda: not self.mount.pending(), timeout=120)
        wait_for("an empty tmp/", lambda: not os.listdir(os.path.join(self.mount.store, "tmp")), timeout=120)
        versions = self.list_versions()
        for record in journals["admin"]:
            if record["what"] == "forget":
                self.model_of(record["path"]).forget(record["path"], record["number"], record["sha"])
        for name, model in self.models.items():
            problems += self.check_names(name, model, journals[name])
        problems += self.check_versions(versions)
        command, result = run_ckpt("verify", store=self.mount.store)
        if result.returncode != 0:
            problems.append(f"ckpt verify: status {result.returncode}: {result.stdout}{result.stderr}")
        return problems

    def complaints(self, records, killed):
        for record in records:
            if record["what"] in ("bad", "bug"):
                yield f"{record}"
            # A call may have begun before the kill and have ended after it.
            elif record["what"] == "error" and (record["at"] < killed or record["number"] not in DEAD):
                yield f"a call failed {record['at'] - killed:+.3f} s from the kill: {record['text']}; {records[-2:]}"
            elif record["what"] == "tool" and record["at"] < killed and record["status"] not in (0, *TOOL_REFUSED):
                yield f"{record}"
        self.figures["operations"] += sum(record["what"] == "ok" for record in records)

    def model_of(self, path):
        return self.models[path.split("-")[0]]

    def check_names(self, name, model, records):
        possible = model.replay(records)
        dirs, files = self.walk(name + "-")
        reasons = [difference(state, name + "-", dirs, files) for state in possible]
        if None not in reasons:
            last = [record for record in records if record["what"] not in ("error",)][-3:]
            return [f"{name}: live files are not as they were left: {' | or: '.join(reasons)}; last records: {last}"]
        model.state = possible[reasons.index(None)]
        for path, file in model.state.files.items():
            file.sha, file.size = files[path]
            file.keys = {model.state.key(other) for other in model.state.names_of(file) if is_captured(other, file.size)}
        self.figures["files checked"] += len(files)
        return []

    def walk(self, prefix):
        dirs, files = set(), {}
        for run in os.listdir(self.mount.root):
            if run.startswith(prefix):
                dirs.add(run)
                for entry in os.scandir(os.path.join(self.mount.root, run)):
                    if entry.name not in VIEWS:
                        files[f"{run}/{entry.name}"] = (file_sha(entry.path), os.stat(entry.path).st_size)
        return dirs, files

    def list_versions(self):
        """path -> rows of `ckpt log`, for everything the store has."""
        listing = self.mount.ckpt_json("log", "-r", ".")["paths"][0]["files"]
        paths = [row["path"] for row in listing]
        return {item["path"]: item["versions"] for item in
                (self.mount.ckpt_json("log", *paths)["paths"] if paths else [])}

    def check_versions(self, listed):
        problems = []
        found = collections.defaultdict(dict)  # key -> number -> recipe
        for path, rows in listed.items():
            model = self.model_of(path)
            if os.path.dirname(path) not in model.state.places:
                problems.append(f"the store has versions of {path}, in a directory that never was")
                continue
            for row in rows:
                digest = self.bytes_of(path, row)
                found[model.state.key(path)][row["version"]] = (row["recipe"], digest)
                self.figures["versions checked"] += 1
        for model in self.models.values():
            problems += self.check_promises(model, found)
        return problems

    def bytes_of(self, path, row):
        """The sha of a version, by the view and now and then by the tool. Known ones are read again at random."""
        recipe = row["recipe"]
        if recipe in self.read_before and self.rng.random() > 0.05:
            return self.read_before[recipe]
        run = os.path.dirname(path)
        # A directory made anew finds its history with the first file that is captured in it.
        has_view = any(os.path.dirname(other) == run and is_captured(other, file.size)
                       for other, file in self.model_of(path).state.files.items())
        if has_view and self.rng.random() < 0.9:
            digest = file_sha(self.mount.version(path, row["version"]))
        else:
            digest = hashlib.sha256(self.mount.restored(path, row["version"])).hexdigest()
        self.figures["versions read"] += 1
        if self.read_before.setdefault(recipe, digest) != digest:
            raise AssertionError(f"{path}@v{row['version']} has other bytes than before the kill")
        return digest

    def check_promises(self, model, found):
        problems = []
        for (key, number), recipe in model.versions.items():
            if (key, number) not in model.forgotten and found[key].get(number, (None,))[0] != recipe:
                problems.append(f"version {number} of {key} has gone; there are {len(found[key])}")
        for keys, digest, where in model.promises:
            if any((key, digest) in model.waived for key in keys):
                continue
            self.figures["promises checked"] += 1
            if not any(digest == there for key in keys for _, there in found[key].values()):
                problems.append(f"no version of {sorted(keys)} has what was written by {where} ({digest})")
        for path, file in model.state.files.items():
            key = model.state.key(path)
            if is_captured(path, file.size) and (key, file.sha) not in model.waived:
                newest = found[key][max(found[key])][1] if found[key] else None
                if newest != file.sha:
                    same = [number for number, (_, digest) in found[key].items() if digest == file.sha]
                    problems.append(f"the newest version of {path}, {max(found[key], default='none')}, is not what the "
                                    f"file has; that is {same or 'in none'} ({file.sha})")
        model.versions = {(key, number): recipe for key, rows in found.items() for number, (recipe, _) in rows.items()
                          if key[0] in model.state.places.values()}
        return problems


class Kill(unittest.TestCase):
    def setUp(self):
        self.rng = random.Random(SEED)
        self.figures = collections.Counter()
        print(f"CRASH_SEED={SEED} CRASH_CYCLES={CYCLES}", flush=True)

    def test_kill(self):
        store = None
        try:
            for cycle in range(CYCLES):
                if store is None:
                    store = Store(self.rng, self.figures)
                    store.mount.start(**store.options())
                self.one_cycle(store, cycle)
                if store.cycle == CYCLES_PER_STORE or cycle + 1 == CYCLES:
                    store.mount.finish()
                    remove(store.base)
                    store = None
        finally:
            if store is not None:
                store.mount.kill()
                print(f"left behind: {store.base}")
            print(", ".join(f"{value} {name}" for name, value in self.figures.items()), flush=True)

    def one_cycle(self, store, cycle):
        workers = store.make_workers()
        ready, write_end = os.pipe()
        for worker in workers:
            worker.start(write_end)
        os.close(write_end)
        # Until all are ready, or have found the daemon dead: one of them may be that fast.
        while os.read(ready, 1):
            pass
        os.close(ready)
        killed = store.kill(workers)
        store.end(workers)
        store.start_again()
        problems = store.check(workers, killed)
        self.figures["cycles"] += 1
        self.figures["failures"] += len(problems)
        if problems:
            self.fail(f"after cycle {cycle} (seed {SEED}, store {store.base}):\n" + "\n".join(problems[:20]) +
                         f"\nlog:\n{store.mount.log_tail(15)}")


if __name__ == "__main__":
    main()
