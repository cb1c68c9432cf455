#include "common/text.h"
#include "complete.h"
#include "recognise_rows.h"
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_SIZE = 1024 };

/* A checkpoint that is being looked at. */
struct check {
    const struct ckpt_contents *contents;
    struct ckpt_completeness *out;
};

__attribute__((format(printf, 3, 4))) static bool say(const struct check *check, enum ckpt_completion state,
                                                      const char *format, ...)
{
    va_list args;
    va_start(args, format);
    check->out->state = state;
    (void)vsnprintf(check->out->why, sizeof check->out->why, format, args);
    va_end(args);
    return true;
}

static bool quiet(const struct check *check, const char *why)
{
    const struct ckpt_contents *contents = check->contents;
    if (contents->renamed) {
        return say(check, CKPT_COMPLETION_YES, "renamed from a temporary name");
    }
    if (contents->quiet >= contents->quiet_needed) {
        return say(check, CKPT_COMPLETION_YES, "%s; nothing was written for %" PRIu64 " s", why,
                   contents->quiet);
    }
    return say(check, CKPT_COMPLETION_QUIET, "%s; waiting until nothing is written for %" PRIu64 " s", why,
               contents->quiet_needed);
}

/* ---- What is there ---- */

static int compare_entry(const void *key, const void *entry)
{
    return strcmp(key, ((const struct ckpt_entry *)entry)->name);
}

static bool has(const struct ckpt_contents *contents, const char *name)
{
    return contents->count > 0 && bsearch(name, contents->entries, contents->count, sizeof *contents->entries,
                                          compare_entry) != NULL;
}

static bool matches(const char *pattern, const char *name)
{
    return ckpt_pattern_match(pattern, name, strlen(name), NULL);
}

/* Whether there is a file directly in the root that is as PATTERN says. */
static bool has_any(const struct ckpt_contents *contents, const char *pattern)
{
    for (size_t i = 0; i < contents->count; i++) {
        if (matches(pattern, contents->entries[i].name)) {
            return true;
        }
    }
    return false;
}

/* ---- What may not be ---- */

/* Those that are left behind and that nobody waits for. */
static bool is_debris(const char *name, size_t n)
{
    return name[0] == '.' || name[n - 1] == '~' || ckpt_pattern_match("*.lock", name, n, NULL);
}

static bool is_being_written(const struct check *check)
{
    const struct ckpt_contents *contents = check->contents;
    for (size_t i = 0; i < contents->count; i++) {
        const char *name = contents->entries[i].name;
        if (contents->entries[i].open) {
            return say(check, CKPT_COMPLETION_NO, "%s is being written", name);
        }
        for (size_t n = strcspn(name, "/");; n = strcspn(name, "/")) {
            if (n > 0 && ckpt_name_is_temporary(name, n) && !is_debris(name, n)) {
                return say(check, CKPT_COMPLETION_NO, "%s is temporary", contents->entries[i].name);
            }
            if (name[n] == '\0') {
                break;
            }
            name += n + 1;
        }
    }
    return false;
}

/* ---- Shards ---- */

/* "DIR/model-00001-of-00003.safetensors" taken apart. */
struct shard {
    char name[NAME_SIZE];
    size_t at; /* of the first number */
    int width;
    uint64_t number;
    uint64_t count;
    const char *rest; /* "-of-00003.safetensors" */
};

static bool parse_shard(const char *name, struct shard *shard)
{
    size_t n = strlen(name);
    const char *of = NULL;
    for (const char *p = strstr(name, "-of-"); p != NULL; p = strstr(p + 1, "-of-")) {
        of = p;
    }
    if (of == NULL || n >= sizeof shard->name) {
        return false;
    }
    size_t end = (size_t)(of - name);
    size_t at = end;
    while (at > 0 && name[at - 1] >= '0' && name[at - 1] <= '9') {
        at--;
    }
    size_t digits = strspn(of + 4, "0123456789");
    if (at == end || end - at > 9 || digits == 0 || digits > 9) {
        return false;
    }
    memcpy(shard->name, name, n + 1);
    shard->at = at;
    shard->width = (int)(end - at);
    shard->number = strtoull(name + at, NULL, 10);
    shard->count = strtoull(of + 4, NULL, 10);
    shard->rest = of;
    return shard->count > 0;
}

static bool has_shard(const struct ckpt_contents *contents, const struct shard *shard, uint64_t number)
{
    char name[2 * NAME_SIZE];
    (void)snprintf(name, sizeof name, "%.*s%0*" PRIu64 "%s", (int)shard->at, shard->name, shard->width,
                   number, shard->rest);
    return has(contents, name);
}

/*
 * Each shard looks for the one before it and the one behind it, so that a gap is seen from its edges.
 * Hugging Face counts from 1, TensorFlow from 0.
 */
static bool shard_is_missing(const struct check *check, bool *sharded)
{
    const struct ckpt_contents *contents = check->contents;
    for (size_t i = 0; i < contents->count; i++) {
        struct shard shard;
        if (!parse_shard(contents->entries[i].name, &shard)) {
            continue;
        }
        uint64_t number = shard.number;
        bool before = number <= 1 || has_shard(contents, &shard, number - 1);
        bool behind = number == shard.count || has_shard(contents, &shard, number + 1) ||
                      (number + 1 == shard.count && has_shard(contents, &shard, 0));
        *sharded = true;
        if (!before || !behind) {
            return say(check, CKPT_COMPLETION_NO, "the shard %s %s is missing",
                       before ? "behind" : "before", contents->entries[i].name);
        }
    }
    return false;
}

static bool indexed_is_missing(const struct check *check)
{
    const struct ckpt_contents *contents = check->contents;
    for (size_t i = 0; i < contents->indexed_count; i++) {
        if (!has(contents, contents->indexed[i])) {
            return say(check, CKPT_COMPLETION_NO, "%s, which the index names, is missing",
                       contents->indexed[i]);
        }
    }
    return false;
}

/*
 * Every directory with .distcp files has a .metadata when it is done, also where several are one
 * checkpoint.
 */
static bool metadata_is_missing(const struct check *check)
{
    const struct ckpt_contents *contents = check->contents;
    for (size_t i = 0; i < contents->count; i++) {
        const char *name = contents->entries[i].name;
        const char *last = ckpt_last_component(name);
        char metadata[NAME_SIZE];
        if (!matches("*.distcp", last)) {
            continue;
        }
        (void)snprintf(metadata, sizeof metadata, "%.*s.metadata", (int)(last - name), name);
        if (!has(contents, metadata)) {
            return say(check, CKPT_COMPLETION_NO, "%s, which is written last, isn't there", metadata);
        }
    }
    return false;
}

/* ---- Frameworks ---- */

/* Files that show, in a directory of whatever name, who wrote it. The first that is there counts. */
static const struct {
    const char *pattern;
    enum ckpt_framework framework;
} evidence[] = {
    {".snapshot_metadata", CKPT_FRAMEWORK_TORCHSNAPSHOT},
    {"trainer_state.json", CKPT_FRAMEWORK_TRANSFORMERS},
    {"training_args.bin", CKPT_FRAMEWORK_TRANSFORMERS},
    {"rng_state*.pth", CKPT_FRAMEWORK_TRANSFORMERS},
    {"_CHECKPOINT_METADATA", CKPT_FRAMEWORK_ORBAX},
    {"commit_success.txt", CKPT_FRAMEWORK_ORBAX},
    {"manifest.ocdbt", CKPT_FRAMEWORK_ORBAX},
    {"*/manifest.ocdbt", CKPT_FRAMEWORK_ORBAX},
    {"random_states_#.pkl", CKPT_FRAMEWORK_ACCELERATE},
    {"optimizer.bin", CKPT_FRAMEWORK_ACCELERATE},
    {"*_states.pt", CKPT_FRAMEWORK_DEEPSPEED},
    {"*/*_states.pt", CKPT_FRAMEWORK_DEEPSPEED},
    {"mp_rank_#*/*.pt", CKPT_FRAMEWORK_MEGATRON},
    {"common.pt", CKPT_FRAMEWORK_MEGATRON},
    {"*.distcp", CKPT_FRAMEWORK_DCP},
    {".metadata", CKPT_FRAMEWORK_DCP},
    {"rllib_checkpoint.json", CKPT_FRAMEWORK_RAY},
};

static enum ckpt_framework framework_of(const struct ckpt_contents *contents)
{
    struct ckpt_numbers numbers = {.count = 0};
    const struct ckpt_directory_row *row =
        ckpt_directory_row_find(contents->root, strlen(contents->root), &numbers);
    enum ckpt_framework named =
        row != NULL && row->trust == CKPT_TRUST_NAME ? row->framework : CKPT_FRAMEWORK_NONE;
    if (named == CKPT_FRAMEWORK_MEGATRON) {
        return named; /* its newer releases write DCP's files, but go by the tracker */
    }
    for (size_t i = 0; i < sizeof evidence / sizeof evidence[0]; i++) {
        if (has_any(contents, evidence[i].pattern)) {
            /* What DeepSpeed or FSDP write into checkpoint-N isn't all of it. */
            bool within =
                named == CKPT_FRAMEWORK_TRANSFORMERS && (evidence[i].framework == CKPT_FRAMEWORK_DEEPSPEED ||
                                                         evidence[i].framework == CKPT_FRAMEWORK_DCP);
            return within ? named : evidence[i].framework;
        }
    }
    /* optimizer.pt is too common a name to show who wrote it elsewhere. */
    if (named == CKPT_FRAMEWORK_TRANSFORMERS && has(contents, "optimizer.pt")) {
        return named;
    }
    return named == CKPT_FRAMEWORK_TRANSFORMERS ? CKPT_FRAMEWORK_NONE : named;
}

static bool check_transformers(const struct check *check)
{
    const struct ckpt_contents *contents = check->contents;
    if (!has(contents, "trainer_state.json")) {
        return say(check, CKPT_COMPLETION_NO, "trainer_state.json isn't there");
    }
    bool resumes = has(contents, "optimizer.pt") || has_any(contents, "global_step#/*");
    if (has_any(contents, "rng_state_#.pth")) {
        return quiet(check, "trainer_state.json is there; each rank writes its random state");
    }
    if (resumes && !has(contents, "rng_state.pth")) {
        return quiet(check, "trainer_state.json is there; the random state may follow");
    }
    return say(check, CKPT_COMPLETION_YES, "trainer_state.json is there");
}

/* The number at the end of a name; false: there is none. */
static bool number_of(const char *name, size_t n, uint64_t *number)
{
    size_t at = n;
    while (at > 0 && name[at - 1] >= '0' && name[at - 1] <= '9') {
        at--;
    }
    if (at == n || n - at > 18) {
        return false;
    }
    *number = strtoull(name + at, NULL, 10);
    return true;
}

/*
 * By the text of FILE in the run, which names the newest that is complete. WHOLE: by its name, else by its
 * number.
 */
static bool check_tracker(const struct check *check, const char *file, const char *text, bool whole)
{
    const char *root = check->contents->root;
    uint64_t mine = 0;
    uint64_t named = 0;
    if (text == NULL) {
        return say(check, CKPT_COMPLETION_NO, "%s, which is written last, isn't there", file);
    }
    text += strspn(text, " \t\r\n");
    size_t n = strcspn(text, " \t\r\n");
    bool numbers = number_of(root, strlen(root), &mine) && number_of(text, n, &named);
    bool same = n == strlen(root) && memcmp(text, root, n) == 0;
    if (same || (!whole && numbers && mine == named)) {
        return say(check, CKPT_COMPLETION_YES, "%s names it", file);
    }
    if (numbers && named > mine) {
        return quiet(check, "a later one is complete");
    }
    return say(check, CKPT_COMPLETION_NO, "%s names %.*s", file, (int)(n < 64 ? n : 64), text);
}

static bool check_deepspeed(const struct check *check)
{
    /*
     * Lightning has a directory of its own for each, with "latest" in it; accelerate too, but saves more
     * behind it.
     */
    if (has(check->contents, "latest")) {
        return matches("*.ckpt", check->contents->root) ? say(check, CKPT_COMPLETION_YES, "latest is there")
                                                        : quiet(check, "latest is there; more may follow");
    }
    return check_tracker(check, "latest", check->contents->latest, true);
}

static bool check_dcp(const struct check *check)
{
    const struct ckpt_contents *contents = check->contents;
    if (!has(contents, ".metadata")) {
        return quiet(check, "each part has its .metadata");
    }
    /* Lightning saves what isn't sharded behind it. */
    if (matches("*.ckpt", contents->root) && !has(contents, "meta.pt")) {
        return say(check, CKPT_COMPLETION_NO, "meta.pt isn't there");
    }
    return say(check, CKPT_COMPLETION_YES, ".metadata is there");
}

static bool check_orbax(const struct check *check)
{
    if (has(check->contents, "commit_success.txt")) {
        return say(check, CKPT_COMPLETION_YES, "commit_success.txt is there");
    }
    return quiet(check, "its name isn't temporary");
}

static bool check_framework(const struct check *check, bool sharded)
{
    const struct ckpt_contents *contents = check->contents;
    switch (check->out->framework) {
    case CKPT_FRAMEWORK_TRANSFORMERS:
        return check_transformers(check);
    case CKPT_FRAMEWORK_DEEPSPEED:
        return check_deepspeed(check);
    case CKPT_FRAMEWORK_MEGATRON:
        return check_tracker(check, "latest_checkpointed_iteration.txt", contents->iteration, false);
    case CKPT_FRAMEWORK_DCP:
        return check_dcp(check);
    case CKPT_FRAMEWORK_TORCHSNAPSHOT:
        return say(check, CKPT_COMPLETION_YES, ".snapshot_metadata is there");
    case CKPT_FRAMEWORK_ORBAX:
        return check_orbax(check);
    default:
        break;
    }
    if (sharded && contents->root[0] == '\0' && (contents->indexed_count > 0 || has_any(contents, "*.index.json"))) {
        return say(check, CKPT_COMPLETION_YES, "all shards are there, and the index");
    }
    return quiet(check, sharded ? "all shards are there" : "no marker says when it is complete");
}

/* ---- The whole ---- */

size_t ckpt_complete_marked(const char *root)
{
    static const char *const suffixes[] = {".nemo", ".ckpt", "-EMA"};
    size_t n = strlen(root);
    for (size_t i = 0; i < sizeof suffixes / sizeof suffixes[0]; i++) {
        size_t suffix = strlen(suffixes[i]);
        if (n > suffix && memcmp(root + n - suffix, suffixes[i], suffix) == 0) {
            n -= suffix;
        }
    }
    return n;
}

void ckpt_complete_check(const struct ckpt_contents *contents, struct ckpt_completeness *out)
{
    struct check check = {contents, out};
    bool sharded = false;
    memset(out, 0, sizeof *out);
    if (contents->root[0] != '\0' && ckpt_name_is_temporary(contents->root, strlen(contents->root))) {
        (void)say(&check, CKPT_COMPLETION_NO, "its name is temporary");
        return;
    }
    if (contents->unfinished) {
        out->framework = CKPT_FRAMEWORK_NEMO;
        (void)say(&check, CKPT_COMPLETION_NO, "%.*s-unfinished is there",
                  (int)ckpt_complete_marked(contents->root), contents->root);
        return;
    }
    if (!contents->directory) {
        enum ckpt_completion state = contents->open ? CKPT_COMPLETION_NO : CKPT_COMPLETION_YES;
        (void)say(&check, state, contents->open ? "it is being written" : "it is closed");
        return;
    }
    if (contents->count == 0) {
        (void)say(&check, CKPT_COMPLETION_NO, "nothing is in it");
        return;
    }
    out->framework = framework_of(contents);
    if (is_being_written(&check) || shard_is_missing(&check, &sharded) || indexed_is_missing(&check) ||
        metadata_is_missing(&check)) {
        return;
    }
    (void)check_framework(&check, sharded);
}
