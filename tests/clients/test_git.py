"""A git repository in the mount: many small files, renames, hard links, mapped packs."""
import os

from client import ClientCase, programs, run
from mounted import MiB, data, file_sha, main, write

programs("git")


class Repository(ClientCase):
    def setUp(self):
        super().setUp()
        self.repository = self.path("repository")
        self.env = {"HOME": self.plain, "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@b",
                    "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@b"}
        with open(self.outside(".gitconfig"), "w") as config:
            config.write("[safe]\n\tdirectory = *\n[gc]\n\tauto = 0\n")
        os.mkdir(self.repository)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *args, cwd=None):
        return run("git", *args, cwd=cwd or self.repository, env=self.env, timeout=240)

    def commit(self, number):
        """Sources that change, and a binary of 2 MiB, so that packs are captured."""
        for name in range(30):
            os.makedirs(os.path.join(self.repository, f"d{name % 5}"), exist_ok=True)
            write(os.path.join(self.repository, f"d{name % 5}", f"f{name}.py"), b"line %d %d\n" % (number, name) * 50)
        write(os.path.join(self.repository, "weights.raw"), data(2 * MiB, number))
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", f"commit {number}")

    def tracked(self, where):
        names = self.git("ls-files", "-z", cwd=where).split("\0")[:-1]
        return {name: file_sha(os.path.join(where, name)) for name in names}

    def check(self, where=None, commits=4):
        where = where or self.repository
        self.git("fsck", "--full", "--strict", "--no-progress", cwd=where)
        self.assertEqual(self.git("rev-list", "--count", "HEAD", cwd=where).strip(), str(commits))

    def packs(self):
        where = os.path.join(self.repository, ".git", "objects", "pack")
        return [os.path.join(where, name) for name in sorted(os.listdir(where)) if name.endswith(".pack")]

    def history(self):
        for number in range(1, 5):
            self.commit(number)


class WithHiddenViews(Repository):
    options = {"views": "hidden"}

    def test_a_day_of_work(self):
        self.history()
        self.assertEqual(self.git("status", "--porcelain"), "")
        self.git("checkout", "--quiet", "-b", "topic", "HEAD~2")
        write(os.path.join(self.repository, "topic.py"), b"topic\n")
        self.git("add", "topic.py")
        self.git("commit", "--quiet", "--message", "topic")
        self.git("checkout", "--quiet", "main")
        self.git("merge", "--quiet", "--no-edit", "topic")
        self.git("mv", "d0", "moved")
        self.git("stash", "--quiet")
        self.git("stash", "pop", "--index", "--quiet")
        self.git("commit", "--quiet", "--message", "moved")
        self.git("worktree", "add", "--quiet", self.path("second"), "topic")
        self.check(commits=7)
        self.assertEqual(self.git("status", "--porcelain"), "")
        self.same_file(os.path.join(self.repository, "weights.raw"), data(2 * MiB, 4))

    def test_packed(self):
        self.history()
        self.mount.flush()
        before = self.tracked(self.repository)
        self.git("gc", "--quiet", "--aggressive", "--prune=now")
        self.check()
        self.assertEqual(len(self.packs()), 1)
        self.assert_newest(self.packs()[0])
        self.mount.demote(*self.packs())
        self.check()
        for number in range(1, 5):
            self.git("checkout", "--quiet", f"main~{4 - number}")
            self.same_file(os.path.join(self.repository, "weights.raw"), data(2 * MiB, number))
        self.assertEqual(self.tracked(self.repository), before)
        self.assertEqual(self.git("status", "--porcelain"), "")
        self.git("repack", "-a", "-d", "--quiet")
        self.git("prune-packed")
        self.mount.restart()
        self.check()

    def test_cloned(self):
        self.history()
        self.git("gc", "--quiet")
        before = self.tracked(self.repository)
        for number, (source, options) in enumerate(((self.repository, []), (self.repository, ["--no-hardlinks"]),
                                                    ("file://" + self.repository, []))):
            with self.subTest(source=source, options=options):
                clone = self.path(f"clone{number}")
                self.git("clone", "--quiet", *options, source, clone)
                self.check(clone)
                self.assertEqual(self.tracked(clone), before)
        self.assertGreater(os.stat(self.packs()[0]).st_nlink, 1, "a local clone links the packs")
        self.git("clone", "--quiet", self.repository, self.outside("clone"))
        self.check(self.outside("clone"))
        self.git("clone", "--quiet", self.outside("clone"), self.path("back"))
        self.assertEqual(self.tracked(self.path("back")), before)
        write(os.path.join(self.path("back"), "new.py"), b"new\n")
        self.git("add", "new.py", cwd=self.path("back"))
        self.git("commit", "--quiet", "--message", "new", cwd=self.path("back"))
        self.git("push", "--quiet", self.repository, "HEAD:pushed", cwd=self.path("back"))
        self.check()
        self.assertEqual(self.git("rev-list", "--count", "pushed").strip(), "5")

    def test_checkpoints_beside_the_sources(self):
        write(os.path.join(self.repository, "model.pt"), data(300_000))
        self.mount.flush()
        self.assertEqual(self.git("status", "--porcelain"), "?? model.pt\n")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "model")
        self.assertEqual(self.git("ls-files"), "model.pt\n")


class WithVisibleViews(Repository):
    def test_ignored_views_do_not_disturb(self):
        write(os.path.join(self.repository, "model.pt"), data(300_000))
        write(os.path.join(self.repository, ".gitignore"), b"/history/\n/latest/\n")
        self.history()
        self.mount.flush()
        self.assertIn("history", os.listdir(self.repository))
        self.assertEqual(self.git("status", "--porcelain"), "")
        self.assertNotIn("history", self.git("ls-files"))
        self.git("gc", "--quiet", "--prune=now")
        self.check()

    def test_cleaned(self):
        """git clean -x may take the views away; the versions stay."""
        self.history()
        write(os.path.join(self.repository, "model.pt"), data(300_000))
        self.mount.flush()
        self.assertIn("history", os.listdir(self.repository))
        self.git("clean", "-d", "-f", "-x", "--quiet")
        self.assertEqual(self.git("status", "--porcelain"), "")
        self.assertNotIn("history", os.listdir(self.repository))
        self.assert_versions(os.path.join(self.repository, "model.pt"), [data(300_000)])


if __name__ == "__main__":
    main()
