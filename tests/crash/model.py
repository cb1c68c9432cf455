"""What must be there after a kill, from the journals of the writers (workload.py).

A promise is made by the return of a call:

    close of a written file, truncate    the bytes are a version of one of the names that the file has then,
                                         if the name is one to capture; and they are in live/ as long as it stays
    rename to a name that is captured    the bytes are a version of that name
    unlink, link, mkdir, ...             the names are so

The call that was on its way when the daemon died may have happened or not: what is found must be one of the two. A
file that was open for writing may have any bytes, but can be read. Only ckpt forget takes a promise back.
"""
import copy
import os

CAPTURED = (".pt", ".ckpt", ".safetensors", ".npz")
CAPTURED_SIZE = 1 << 20


def is_captured(path, size):
    return path.endswith(CAPTURED) or (size >= CAPTURED_SIZE and not path.endswith(".tmp"))


class File:
    """SHA is None while nobody can say what the bytes are. GROUP: unique among files. KEYS: under which histories
    the present bytes may be."""

    def __init__(self, group, digest=None, size=0):
        self.group = group
        self.keys = set()
        self.sha = digest
        self.size = size


class State:
    """The names below live/, and who they are."""

    def __init__(self):
        self.dirs = {}    # path -> identity of its history
        self.files = {}   # path -> File
        self.places = {}  # path of a directory, now or once -> identity
        self.groups = 0

    def names_of(self, file):
        return [path for path, other in self.files.items() if other is file]

    def key(self, path):
        """What a history hangs on: the directory, wherever it has moved, and the name."""
        directory, name = os.path.split(path)
        return self.places[directory], name

    def apply(self, record):
        getattr(self, "do_" + record["what"])(record)

    def do_mkdir(self, record):
        path = record["path"]
        # A directory made anew goes on with the history of the one that was there.
        self.dirs[path] = self.places.setdefault(path, path)

    def do_rmdir(self, record):
        del self.dirs[record["path"]]

    def do_move_run(self, record):
        old, new = record["old"], record["new"]
        self.dirs[new] = self.places[new] = self.dirs.pop(old)
        for path in [path for path in self.files if path.startswith(old + "/")]:
            self.files[new + path[len(old):]] = self.files.pop(path)

    def do_write(self, record):
        """Opened: from here on the bytes may be anything."""
        path = record["path"]
        if path not in self.files:
            self.groups += 1
            self.files[path] = File(f"{path} {self.groups}")
        self.files[path].sha = None

    do_truncate = do_write

    def do_rename(self, record):
        self.files[record["new"]] = self.files.pop(record["old"])

    def do_unlink(self, record):
        del self.files[record["path"]]

    def do_link(self, record):
        self.files[record["new"]] = self.files[record["old"]]


class Model:
    """One store: the state that is known for sure, and the promises."""

    def __init__(self):
        self.state = State()
        self.promises = []    # (keys, sha, where): a version of one of these histories has these bytes
        self.versions = {}    # (key, number) -> recipe
        self.forgotten = set()  # (key, number)
        self.waived = set()   # (key, sha)

    def promise(self, paths, file, where):
        file.keys |= {self.state.key(path) for path in paths if is_captured(path, file.size)}
        if file.keys:
            self.promises.append((set(file.keys), file.sha, where))

    def replay(self, records):
        """Takes one writer's journal; returns the states one of which must be found below its runs."""
        pending = None
        opened = False
        for record in records:
            what = record["what"]
            if what == "opened":
                opened = True
                self.state.apply(pending)
            elif what == "ok":
                self._done(pending, record, opened)
                pending, opened = None, False
            elif hasattr(State, "do_" + what):
                pending, opened = record, False
        return self._possible(pending, opened)

    def _done(self, pending, record, opened):
        state = self.state
        if not opened:
            state.apply(pending)
        where = f"{pending} at {record['at']:.3f}"
        if pending["what"] in ("write", "truncate"):
            file = state.files[pending["path"]]
            file.sha, file.size, file.keys = record["sha"], record["size"], set()
            self.promise(state.names_of(file), file, where)
        elif pending["what"] == "rename":
            file = state.files[pending["new"]]
            if is_captured(pending["new"], file.size):
                key = state.key(pending["new"])
                file.keys.add(key)
                self.promises.append(({key}, file.sha, where))
        elif pending["what"] == "link":
            file = state.files[pending["new"]]
            if is_captured(pending["new"], file.size):
                file.keys.add(state.key(pending["new"]))

    def _possible(self, pending, opened):
        before = self.state
        if pending is None or opened:
            return [before]
        if pending["what"] == "write" and not pending["truncates"]:
            return [before]  # opened or not, nothing was written yet
        after = copy.deepcopy(before)
        after.apply(pending)
        return [before, after]

    def forget(self, path, number, digest):
        key = self.state.key(path)
        self.forgotten.add((key, number))
        self.waived.add((key, digest))


def difference(state, prefix, dirs, files):
    """What speaks against STATE for the runs of one writer; None when FILES (path -> sha) and DIRS agree."""
    expected_dirs = {path for path in state.dirs if path.startswith(prefix)}
    expected = {path: file for path, file in state.files.items() if path.startswith(prefix)}
    if expected_dirs != dirs:
        return f"directories {sorted(dirs)}, expected {sorted(expected_dirs)}"
    if set(expected) != set(files):
        return (f"missing: {sorted(set(expected) - set(files))}, "
                f"too many: {sorted(set(files) - set(expected))}")
    for path, file in expected.items():
        if file.sha is not None and file.sha != files[path][0]:
            return f"{path} has {files[path][1]} bytes, sha {files[path][0]}; expected {file.size}, {file.sha}"
    return None
