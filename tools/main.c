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
    {"restore", "PATH[@vN] DEST", "write a version to a file",
     "Writes the newest version of PATH, or version N, to DEST, with its mode and time (and owner,\n"
     "as root). DEST may be a directory. The bytes are written under a temporary name beside DEST,\n"
     "checked, synced and then renamed, so DEST is never half a file. It decodes in parallel and\n"
     "doesn't go through the mount; a plain cp from the mount works as well.\n"
     "\n"
     "Options:\n"
     "  --force      replace DEST when it exists\n"
     "  --threads N  decode on N threads (default: all cores)\n"
     "\n"
     "Example:\n"
     "  ckpt restore /mnt/ckpt/run7/last.pt@v3 /tmp/last-v3.pt\n",
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
    int code = TOOL_FAILED;
    if (tool_init(&tool) == 0) {
        code = run(&tool, argc, argv);
    } else {
        fputs("ckpt: out of memory\n", stderr);
    }
    tool_free(&tool);
    return code;
}
