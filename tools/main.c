/*
 * ckpt: looks after a store of ckptfs.
 */
#include "options.h"
#include "output.h"
#include "tool.h"
#include <locale.h>
#include <stdio.h>
#include <string.h>

static const struct command commands[] = {
    {"init", "DIR", "make a new, empty store",
     "Makes a new store in DIR, which must be missing or empty. ckptfs does the same when it is\n"
     "given a directory without a store; init is for scripts that want to know beforehand.\n"
     "\n"
     "Example:\n"
     "  ckpt init /data/store && ckptfs /data/store /mnt/ckpt\n",
     cmd_init},
    {"status", "", "what the store holds, and whether it is mounted",
     "Shows the mount, kernel passthrough, what waits to be taken into the store, how many versions\n"
     "there are and what they cost, and the room that is left.\n"
     "\n"
     "  logical  sizes of all kept versions, added up\n"
     "  unique   what is left of that when equal parts are counted once\n"
     "  stored   what that takes in the store, compressed\n"
     "  ratio    logical / stored\n"
     "\n"
     "Example:\n"
     "  ckpt --store /data/store status --json | jq .ratio\n",
     cmd_status},
    {"runs", "[PATH]", "list runs and how they do",
     "A run is a directory that directly holds checkpoints. Without PATH: all runs of the store; else those at\n"
     "PATH and below it.\n"
     "\n"
     "  checkpoints  those that are shown / all that were ever recorded\n"
     "  epochs       how many different ones of them there are\n"
     "  best         the value of the best one by the run's primary metric\n"
     "  latest       the age of the newest\n"
     "  size, added  of all files; and what the store grew by for them\n"
     "  early stop   there was no improvement for as long as the policy's patience\n"
     "\n"
     "Options:\n"
     "  -a, --all  also runs in which nothing is left\n"
     "\n"
     "Example:\n"
     "  ckpt runs /mnt/ckpt/sweep3\n",
     cmd_runs},
    {"ls", "[RUN]", "list the checkpoints of a run",
     "Without RUN: the current directory. Of each checkpoint the first 8 digits of its id, epoch, step, the\n"
     "primary metric, what it holds, age, size, state, marks, and why it is kept or when it goes.\n"
     "\n"
     "  complete  everything is there and in the store\n"
     "  writing   files are missing, or being written\n"
     "  invalid   truncated, damaged, or a part was forgotten: never latest, never best\n"
     "  marks     best, latest, final, pinned, #TAG; overwritten or deleted by the trainer; with --all\n"
     "            rotated (to be had back with \"ckpt undelete\") and dropped (gone, a record)\n"
     "\n"
     "Which files are open at the moment isn't looked at here; what is open isn't rotated.\n"
     "\n"
     "Options:\n"
     "  -a, --all      also those that were rotated, and the records of those that are gone\n"
     "  -m, --metrics  all metrics\n"
     "\n"
     "Example:\n"
     "  ckpt ls /mnt/ckpt/run7\n",
     cmd_ls},
    {"show", "CHECKPOINT", "all that is known about a checkpoint",
     "Epoch and step, metrics and where they are from, files, the process that wrote it (command, directory,\n"
     "user, host, git commit, environment), the checkpoints that it was begun from, why it is kept, and\n"
     "how to get it out.\n"
     "\n"
     "Example:\n"
     "  ckpt show /mnt/ckpt/run7@best\n",
     cmd_show},
    {"policy", "show|set|unset|test PATH [FILE|-]", "what is kept of runs",
     "A policy belongs to a directory and applies to the runs at it and below it, as far as no nearer\n"
     "directory has one of its own. It is text, one rule a line:\n"
     "\n"
     "  metric val_loss min      the primary metric, and what is better\n"
     "  keep last 5              and best 3, best 2 by val_acc, first, every 10 epochs, every 2h,\n"
     "                           within 7d, thinning 1h:24 1d:7\n"
     "  grace 7d                 how long what was let go can be had back\n"
     "  quota 500G, hot 20G, snapshot every 30m, patience 5\n"
     "\n"
     "  show PATH        the policy that applies there, and whose it is\n"
     "  set PATH FILE    make FILE (\"-\": standard input) the policy of PATH\n"
     "  unset PATH       PATH has none of its own any more\n"
     "  test PATH [FILE] what that policy, or without FILE the one that applies, would do to the runs\n"
     "                   now; changes nothing\n"
     "\n"
     "Options:\n"
     "  --text TEXT  TEXT in place of a FILE; \";\" ends a line\n"
     "\n"
     "Example:\n"
     "  ckpt policy set /mnt/ckpt/run7 --text \"keep last 5; keep best 1\"\n",
     cmd_policy},
    {"rotate", "[RUN]", "carry out the policies now",
     "ckptfs does this by itself after each checkpoint; this is for those who want to wait for it. RUN may also\n"
     "be a directory above runs; without it: all runs.\n"
     "\n"
     "Options:\n"
     "  -n, --dry-run  show what would be done, do nothing\n"
     "\n"
     "Example:\n"
     "  ckpt rotate --dry-run /mnt/ckpt/run7\n",
     cmd_rotate},
    {"tag", "CHECKPOINT NAME", "give a checkpoint a name",
     "It appears as tag/NAME/ in its run and isn't rotated. A tag stands on one checkpoint of a run: it is\n"
     "taken from another one. 1 to 64 letters, digits, \".\", \"_\", \"-\".\n"
     "\n"
     "Example:\n"
     "  ckpt tag /mnt/ckpt/run7@best stable\n",
     cmd_tag},
    {"untag", "CHECKPOINT|RUN NAME", "take a tag away",
     "Of a checkpoint, or of the one in RUN that has it.\n"
     "\n"
     "Example:\n"
     "  ckpt untag /mnt/ckpt/run7 stable\n",
     cmd_untag},
    {"pin", "CHECKPOINT", "keep a checkpoint whatever the policy says",
     "Until it is unpinned.\n"
     "\n"
     "Example:\n"
     "  ckpt pin /mnt/ckpt/run7@epoch=12\n",
     cmd_pin},
    {"unpin", "CHECKPOINT", "leave a checkpoint to the policy again",
     "Also of one that \"ckpt undelete\" has pinned.\n"
     "\n"
     "Example:\n"
     "  ckpt unpin /mnt/ckpt/run7@epoch=12\n",
     cmd_unpin},
    {"metric", "CHECKPOINT NAME=VALUE...", "say how good a checkpoint is",
     "What is said so outweighs what names, files and logs say. VALUE is a decimal number, nan, inf.\n"
     "\n"
     "Example:\n"
     "  ckpt metric /mnt/ckpt/run7@epoch=12 val_loss=0.21 bleu=31.4\n",
     cmd_metric},
    {"finish", "RUN", "say that a run is over",
     "final/ appears: its latest checkpoint.\n"
     "\n"
     "Options:\n"
     "  --undo  it isn't over\n"
     "\n"
     "Example:\n"
     "  python3 train.py && ckpt finish /mnt/ckpt/run7\n",
     cmd_finish},
    {"undelete", "CHECKPOINT", "bring back a checkpoint that was rotated or deleted",
     "Its files get their names back, and it is pinned, so that it isn't rotated again. Refused when a file\n"
     "of that name is there with other content. Possible until its grace is over: \"ckpt ls --all\".\n"
     "\n"
     "Example:\n"
     "  ckpt undelete /mnt/ckpt/run7@epoch=3\n",
     cmd_undelete},
    {"log", "[PATH...]", "list versions",
     "Of a file: its versions, oldest first. Of a directory: its files with their newest version.\n"
     "Without PATH: the current directory inside a mount, else the top of the store.\n"
     "Deleted files and directories are found by the path that they had.\n"
     "\n"
     "  size     of the file            stored  its chunks in the store, shared or not\n"
     "  added    what the store grew by when the version was captured\n"
     "  hot      the file has its bytes on the host filesystem\n"
     "  cold     its bytes are in the store only; reading works as ever\n"
     "  changed  the file has been written since (open, or about to be taken)\n"
     "  deleted  there is no such file any more; its versions can be restored\n"
     "\n"
     "Behind a version of a file stands the checkpoint that it belongs to.\n"
     "\n"
     "Options:\n"
     "  -r, --recursive  directories below as well\n"
     "\n"
     "Example:\n"
     "  ckpt log /mnt/ckpt/run7/last.pt\n",
     cmd_log},
    {"stats", "[PATH...]", "where the space goes",
     "Without PATH: the whole store, by run (a directory that directly holds captured files), by codec and\n"
     "by depth. Of a run: its versions, and the same. Of a file: its versions. What is equal counts once.\n"
     "\n"
     "  logical   sizes of the versions, added up\n"
     "  unique    what is left of that when equal parts are counted once\n"
     "  stored    what that takes in the store, compressed, and the lists of what stands where\n"
     "  unshared  of that, what nothing else refers to: other runs can share the rest\n"
     "  depth     how many differences one has to go through to decode a chunk\n"
     "  alone     what it takes to read that version: its own chunks, and those that they lean on\n"
     "  frees     what forgetting that version alone gives back; ~ where chunks that lean on it would\n"
     "            be coded anew: an estimate. Negative when those would take more than it does\n"
     "\n"
     "Example:\n"
     "  ckpt stats /mnt/ckpt/run7\n",
     cmd_stats},
    {"restore", "PATH[@vN]|CHECKPOINT DEST", "write a version or a checkpoint to files",
     "Writes the newest version of PATH, or version N, to DEST, with its mode and time (and owner,\n"
     "as root). DEST may be a directory. The bytes are written under a temporary name beside DEST,\n"
     "checked, synced and then renamed, so DEST is never half a file. It decodes in parallel and\n"
     "doesn't go through the mount; a plain cp from the mount works as well.\n"
     "\n"
     "Of a CHECKPOINT (RUN@best, an id, RUN/epoch/3, a directory) all files are written: a single one as\n"
     "above, several into the directory DEST, which is made.\n"
     "\n"
     "Options:\n"
     "  --force      replace DEST when it exists\n"
     "  --threads N  decode on N threads (default: all cores)\n"
     "\n"
     "Example:\n"
     "  ckpt restore /mnt/ckpt/run7/last.pt@v3 /tmp/last-v3.pt\n"
     "  ckpt restore /mnt/ckpt/run7@best /tmp/best\n",
     cmd_restore},
    {"forget", "PATH@vN... | --keep N PATH... | --pending PATH...", "forget versions and give their space back",
     "Forgets the named versions, or with --keep all but the newest N of each file, and prints what\n"
     "that freed. Parts that other versions share stay. The live file isn't touched; a version that\n"
     "a cold file consists of is refused. There is no way back.\n"
     "\n"
     "Options:\n"
     "  --keep N       keep the newest N versions, forget the others\n"
     "  --pending      give up what waits to become a version of PATH (on a full disk, a deleted\n"
     "                 file that waits keeps its space)\n"
     "  -n, --dry-run  show what would be forgotten, forget nothing\n"
     "\n"
     "Example:\n"
     "  ckpt forget --keep 3 /mnt/ckpt/run7/last.pt\n",
     cmd_forget},
    {"flush", "", "wait until everything closed so far is in the store",
     "Returns when every captured file that was closed before the call is a version. Files that are\n"
     "still open for writing are left out and counted.\n"
     "\n"
     "Example:\n"
     "  python3 train.py && ckpt --store /data/store flush\n",
     cmd_flush},
    {"demote", "PATH...", "make files cold: their bytes in the store only",
     "Takes a file's bytes off the host filesystem once the stored copy has been compared with them\n"
     "byte by byte. The file stays where it is and reads as before; writing to it brings the bytes\n"
     "back. Of a directory: all captured files directly in it. ckptfs does this by itself when\n"
     "files occupy more than its option hot=SIZE.\n"
     "\n"
     "Options:\n"
     "  -r, --recursive  directories below as well\n"
     "\n"
     "Example:\n"
     "  ckpt demote /mnt/ckpt/run6\n",
     cmd_demote},
    {"verify", "", "check every byte of the store",
     "Reads every record and checks its checksum, its decoding and its identity, recounts every\n"
     "reference and checks what versions and cold files depend on. Changes nothing; works beside a\n"
     "mount. Exits with 3 when it found problems; each one is told.\n"
     "\n"
     "Options:\n"
     "  --quick  don't read the data: structure and counts only\n"
     "\n"
     "Example:\n"
     "  ckpt --store /data/store verify\n",
     cmd_verify},
    {"views", "PATH [--show]", "bring back the views of a run that were removed",
     "A run (a directory with captured files) shows history/ and latest/. \"rm -rf\" of such an entry\n"
     "removes it from view in that run and touches nothing else. Without options: what the run PATH\n"
     "shows. RUN/.ckpt/ has everything at any time.\n"
     "\n"
     "Options:\n"
     "  --show  show all views of the run PATH again\n"
     "\n"
     "Example:\n"
     "  ckpt views /mnt/ckpt/run7 --show\n",
     cmd_views},
};

enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static const char global_help[] =
    "Options for every command, before or after it:\n"
    "  --store DIR    the store, by its directory or its mount point\n"
    "  --json         one JSON document on standard output, errors too; sizes in bytes\n"
    "  -h, --help     this text; with a command: about the command\n"
    "  -V, --version  the version\n";

static const char more_help[] =
    "\n"
    "The store is the one named by --store, else the one whose mount a PATH lies in, else the one\n"
    "named by the environment variable CKPT_STORE, else the one mounted at the current directory.\n"
    "A PATH is a path inside a mount; with --store or CKPT_STORE and outside any mount it is\n"
    "relative to the top of the store. PATH@v3 is its version 3, and so is\n"
    "RUN/.ckpt/history/FILE/v0003.\n"
    "\n"
    "A RUN is the path of a directory that directly holds checkpoints. A CHECKPOINT is the beginning of its\n"
    "id (4 digits or more), RUN@best, @latest, @final, @epoch=12, @step=400, @tag=NAME, @ID, or a path: a file\n"
    "or a directory of it, there or deleted, FILE@v3, or a path through a view, RUN/epoch/3/model.pt.\n"
    "\n"
    "Exit codes:\n"
    "  0  done\n"
    "  1  failed: the host, damaged data, no memory\n"
    "  2  wrong usage\n"
    "  3  verify found problems\n"
    "  4  no such store, path or version\n"
    "  5  refused: in use, still needed, in the way (--force), or the store has stopped\n";

static void print_help(void)
{
    printf("usage: ckpt [OPTIONS] COMMAND [...]\n\n"
           "Looks after a store of ckptfs: versions of training checkpoints.\n\n"
           "Commands:\n");
    for (size_t i = 0; i < COMMANDS; i++) {
        printf("  %-8s %s\n", commands[i].name, commands[i].summary);
    }
    printf("\n%s%s", global_help, more_help);
}

static void print_command_help(const struct command *command)
{
    printf("usage: ckpt %s%s%s\n\n%s\n%s", command->name, command->operands[0] ? " " : "",
           command->operands, command->help, global_help);
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

/* Also wrong usage is told as JSON to those who asked for it somewhere on the line. */
static bool wants_json(int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--json") == 0) {
            return true;
        }
    }
    return false;
}

static int show_version(struct tool *tool)
{
    if (tool->json) {
        (void)json_object_set_new(tool->result, "version", json_string(CKPT_VERSION));
    } else {
        printf("ckpt %s, store format %d\n", CKPT_VERSION, CKPT_STORE_FORMAT);
    }
    return tool_finish(tool, TOOL_OK);
}

/* A command that finds no options of its own still has to see -h and wrong ones; it does that in its parse. */
static bool asks_for_help(int argc, char **argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return true;
        }
    }
    return false;
}

static int run(struct tool *tool, int argc, char **argv)
{
    tool->json = wants_json(argc, argv);
    argc--;
    argv++;
    int code = options_parse(tool, NULL, true, &argc, argv);
    if (code != TOOL_OK) {
        return tool_finish(tool, code);
    }
    if (tool->version) {
        return show_version(tool);
    }
    const char *name = argc > 0 ? argv[0] : NULL;
    bool help = tool->help || (name && strcmp(name, "help") == 0);
    if (name && strcmp(name, "help") == 0) {
        name = argc > 1 ? argv[1] : NULL;
    }
    if (help && !name) {
        print_help();
        return fflush(stdout) == 0 ? TOOL_OK : TOOL_FAILED;
    }
    if (!name) {
        return tool_finish(tool, tool_usage(tool, "no command"));
    }
    tool->command = find_command(name);
    if (!tool->command) {
        return tool_finish(tool, tool_usage(tool, "there is no command \"%s\"", name));
    }
    if (help || asks_for_help(argc, argv)) {
        print_command_help(tool->command);
        return fflush(stdout) == 0 ? TOOL_OK : TOOL_FAILED;
    }
    return tool_finish(tool, tool->command->run(tool, argc - 1, argv + 1));
}

int main(int argc, char **argv)
{
    struct tool tool;
    (void)setlocale(LC_ALL, "");
    (void)setlocale(LC_NUMERIC, "C"); /* policies and metrics have a decimal point everywhere */
    int code = TOOL_FAILED;
    if (tool_init(&tool) == 0) {
        code = run(&tool, argc, argv);
    } else {
        fputs("ckpt: out of memory\n", stderr);
    }
    tool_free(&tool);
    return code;
}
