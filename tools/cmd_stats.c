#include "find.h"
#include "locate.h"
#include "options.h"
#include "output.h"
#include <ckpt/stats.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct counted_run {
    uint64_t dir;
    char *path; /* "" for the top */
    struct ckpt_stats stats;
};

struct counted_version {
    struct ckpt_version version;
    struct ckpt_stats_version stats;
};

/* What a call of ckpt/stats.h told; callbacks must be quick. One of the two arrays is used. */
struct collected {
    struct counted_run *runs;
    struct counted_version *versions;
    size_t n;
    bool failed; /* out of memory */
};

static void collected_free(struct collected *all)
{
    for (size_t i = 0; all->runs != NULL && i < all->n; i++) {
        free(all->runs[i].path);
    }
    free(all->runs);
    free(all->versions);
}

/* Room for one more in an array of N elements of SIZE bytes; arrays double. */
static void *grow(void *array, size_t n, size_t size)
{
    if ((n & (n - 1)) != 0) { /* between powers of two there is room */
        return array;
    }
    return reallocarray(array, n == 0 ? 1 : 2 * n, size);
}

static bool add_run(void *arg, uint64_t dir, const struct ckpt_stats *stats)
{
    struct collected *all = arg;
    struct counted_run *runs = grow(all->runs, all->n, sizeof *runs);
    all->failed = runs == NULL;
    if (runs == NULL) {
        return false;
    }
    all->runs = runs;
    runs[all->n++] = (struct counted_run){.dir = dir, .stats = *stats};
    return true;
}

static bool add_version(void *arg, const struct ckpt_stats_version *stats)
{
    struct collected *all = arg;
    struct counted_version *versions = grow(all->versions, all->n, sizeof *versions);
    all->failed = versions == NULL;
    if (versions == NULL) {
        return false;
    }
    all->versions = versions;
    versions[all->n++] = (struct counted_version){.version = *stats->version, .stats = *stats};
    return true;
}

static int by_path(const void *a, const void *b)
{
    const struct counted_run *one = a;
    const struct counted_run *other = b;
    return strverscmp(one->path, other->path);
}

/* epoch_2 before epoch_10 */
static int by_name(const void *a, const void *b)
{
    const struct ckpt_version *one = &((const struct counted_version *)a)->version;
    const struct ckpt_version *other = &((const struct counted_version *)b)->version;
    int order = strverscmp(one->name, other->name);
    return order != 0 ? order : (one->number > other->number) - (one->number < other->number);
}

/* ---- --json ---- */

static double ratio(uint64_t bytes, uint64_t stored)
{
    return stored > 0 ? (double)bytes / (double)stored : 1.0;
}

static json_t *part_json(const struct ckpt_stats_part *part, const char *counted)
{
    return json_pack("{s:o, s:o, s:o}", counted, output_number(part->count), "raw", output_number(part->raw),
                     "stored", output_number(part->stored));
}

static json_t *stats_json(const struct ckpt_stats *stats)
{
    json_t *codecs = json_array();
    json_t *depths = json_array();
    for (unsigned i = 0; i < CKPT_STATS_CODECS; i++) {
        json_t *part = part_json(&stats->codecs[i], "chunks");
        (void)json_object_set_new(part, "codec", json_string(ckpt_stats_codec(i)));
        (void)json_array_append_new(codecs, part);
    }
    for (unsigned i = 0; i < CKPT_STATS_DEPTHS; i++) {
        if (stats->depths[i].count > 0) {
            json_t *part = part_json(&stats->depths[i], "chunks");
            (void)json_object_set_new(part, "depth", output_number(i));
            (void)json_array_append_new(depths, part);
        }
    }
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:f, s:o, s:o, s:o}", "versions",
                     output_number(stats->versions), "logical", output_number(stats->logical), "unique",
                     output_number(stats->unique), "stored", output_number(stats->stored), "unshared",
                     output_number(stats->unshared), "ratio", ratio(stats->logical, stats->stored), "recipes",
                     part_json(&stats->recipes, "recipes"), "codecs", codecs, "depths", depths);
}

static json_t *version_json(const struct counted_version *counted)
{
    const struct ckpt_version *version = &counted->version;
    const struct ckpt_stats_version *stats = &counted->stats;
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:I, s:b}", "name",
                     output_text(version->name), "version", output_number(version->number), "captured",
                     output_json_time(version->captured_ns), "size", output_number(version->size), "chunks",
                     output_number(stats->chunks), "stored", output_number(stats->stored), "leaned",
                     output_number(stats->leaned), "alone", output_number(stats->stored + stats->leaned),
                     "sole", output_number(stats->sole), "recoded", output_number(stats->recoded), "frees",
                     (json_int_t)stats->frees, "estimate", stats->recoded > 0);
}

/* ---- for people ---- */

static void print_part(const struct ckpt_stats_part *part)
{
    char raw[OUTPUT_SIZE];
    char stored[OUTPUT_SIZE];
    printf("%8" PRIu64 "  %10s  %10s  %6.2f  ", part->count, output_size(raw, part->raw),
           output_size(stored, part->stored), ratio(part->raw, part->stored));
}

static void print_parts_header(const char *last)
{
    printf("\n%8s  %10s  %10s  %6s  %s\n", "chunks", "raw", "stored", "ratio", last);
}

static void add_part(struct ckpt_stats_part *sum, const struct ckpt_stats_part *part)
{
    sum->count += part->count;
    sum->raw += part->raw;
    sum->stored += part->stored;
}

static void print_codecs(const struct ckpt_stats *stats)
{
    struct ckpt_stats_part all = stats->recipes;
    print_parts_header("codec");
    for (unsigned i = 0; i < CKPT_STATS_CODECS; i++) {
        add_part(&all, &stats->codecs[i]);
        if (stats->codecs[i].count > 0) {
            print_part(&stats->codecs[i]);
            printf("%s\n", ckpt_stats_codec(i));
        }
    }
    print_part(&stats->recipes);
    printf("(lists of chunks)\n");
    print_part(&all);
    printf("total\n");
}

static void print_depths(const struct ckpt_stats *stats)
{
    print_parts_header("depth");
    for (unsigned i = 0; i < CKPT_STATS_DEPTHS; i++) {
        if (stats->depths[i].count > 0) {
            print_part(&stats->depths[i]);
            printf("%u\n", i);
        }
    }
}

static void print_sizes(const struct ckpt_stats *stats)
{
    char logical[OUTPUT_SIZE];
    char unique[OUTPUT_SIZE];
    char stored[OUTPUT_SIZE];
    char unshared[OUTPUT_SIZE];
    printf("%8" PRIu64 "  %10s  %10s  %10s  %10s  %6.2f  ", stats->versions,
           output_size(logical, stats->logical), output_size(unique, stats->unique),
           output_size(stored, stats->stored), output_size(unshared, stats->unshared),
           ratio(stats->logical, stats->stored));
}

static void print_sizes_header(const char *last)
{
    printf("%8s  %10s  %10s  %10s  %10s  %6s%s\n", "versions", "logical", "unique", "stored", "unshared",
           "ratio", last);
}

static const char *frees_text(char out[OUTPUT_SIZE + 2], const struct ckpt_stats_version *stats)
{
    char size[OUTPUT_SIZE];
    uint64_t bytes = stats->frees < 0 ? 0 - (uint64_t)stats->frees : (uint64_t)stats->frees;
    snprintf(out, OUTPUT_SIZE + 2, "%s%s%s", stats->recoded > 0 ? "~" : "", stats->frees < 0 ? "-" : "",
             output_size(size, bytes));
    return out;
}

/* NAMES: of several files. */
static void print_versions(const struct collected *all, uint32_t only, bool names)
{
    printf("%7s  %-19s  %10s  %10s  %10s  %11s%s\n", "version", "captured", "size", "stored", "alone",
           "frees", names ? "  file" : "");
    for (size_t i = 0; i < all->n; i++) {
        const struct ckpt_version *version = &all->versions[i].version;
        const struct ckpt_stats_version *stats = &all->versions[i].stats;
        char captured[OUTPUT_TIME];
        char size[OUTPUT_SIZE];
        char stored[OUTPUT_SIZE];
        char alone[OUTPUT_SIZE];
        char frees[OUTPUT_SIZE + 2];
        if (only != 0 && version->number != only) {
            continue;
        }
        printf("%7" PRIu32 "  %-19s  %10s  %10s  %10s  %11s", version->number,
               output_time(captured, version->captured_ns), output_size(size, version->size),
               output_size(stored, stats->stored), output_size(alone, stats->stored + stats->leaned),
               frees_text(frees, stats));
        printf("%s", names ? "  " : "");
        output_name(names ? version->name : "");
        putchar('\n');
    }
}

static void print_paths(const struct target *target, const struct ckpt_stats *stats,
                        const struct collected *all)
{
    output_name(target->path[0] ? target->path : "the top of the store");
    putchar('\n');
    print_versions(all, target->version, target->is_dir);
    if (target->version != 0) {
        return;
    }
    putchar('\n');
    print_sizes_header("");
    print_sizes(stats);
    printf("total\n");
    print_codecs(stats);
    print_depths(stats);
}

/* ---- the calls ---- */

static int store_fails(struct tool *tool, enum ckpt_err err)
{
    return tool_store_fail(tool, err, "cannot tell where the space of %s goes: %s", tool->store_dir,
                           ckpt_err_text(err));
}

static enum ckpt_err name_runs(struct tool *tool, struct collected *all)
{
    char path[PATH_MAX];
    for (size_t i = 0; i < all->n; i++) {
        struct counted_run *run = &all->runs[i];
        if (ckpt_catalog_path(tool->store, run->dir, path, sizeof path) != CKPT_OK) {
            snprintf(path, sizeof path, "(directory %016" PRIx64 ")", run->dir);
        }
        run->path = strdup(path);
        if (run->path == NULL) {
            return CKPT_ERR_NOMEM;
        }
    }
    if (all->n > 0) {
        qsort(all->runs, all->n, sizeof *all->runs, by_path);
    }
    return CKPT_OK;
}

static int whole_store(struct tool *tool)
{
    struct collected all = {0};
    struct ckpt_stats stats;
    uint64_t loose = 0;
    int code = TOOL_OK;
    enum ckpt_err err = ckpt_stats_store(tool->store, add_run, &all, &stats, &loose);
    if (err == CKPT_OK) {
        err = all.failed ? CKPT_ERR_NOMEM : name_runs(tool, &all);
    }
    if (err != CKPT_OK) {
        code = store_fails(tool, err);
        goto out;
    }
    json_t *runs = json_array();
    for (size_t i = 0; i < all.n; i++) {
        (void)json_array_append_new(runs, json_pack("{s:o, s:o}", "path", output_text(all.runs[i].path),
                                                    "total", stats_json(&all.runs[i].stats)));
    }
    (void)json_object_set_new(tool->result, "total", stats_json(&stats));
    (void)json_object_set_new(tool->result, "loose", output_number(loose));
    (void)json_object_set_new(tool->result, "runs", runs);
    if (tool->json) {
        goto out;
    }
    print_sizes_header("  run");
    for (size_t i = 0; i < all.n; i++) {
        print_sizes(&all.runs[i].stats);
        output_name(all.runs[i].path[0] ? all.runs[i].path : "the top of the store");
        putchar('\n');
    }
    print_sizes(&stats);
    printf("total\n");
    print_codecs(&stats);
    print_depths(&stats);
    if (loose > 0) {
        char size[OUTPUT_SIZE];
        printf("\n%s belong to no version: being captured, or about to be released\n",
               output_size(size, loose));
    }
out:
    collected_free(&all);
    return code;
}

static int nothing_there(struct tool *tool, const struct target *target)
{
    if (target->is_dir) {
        return tool_fail(
            tool, CKPT_ERR_NOT_FOUND,
            "%s is no run: no file directly in it has versions; \"ckpt stats\" without a PATH lists "
            "the runs",
            target->arg);
    }
    return tool_fail(tool, CKPT_ERR_NOT_FOUND,
                     "%s has no versions; \"ckpt log\" of the directory above lists what the store knows",
                     target->arg);
}

static bool has_version(const struct collected *all, uint32_t number)
{
    for (size_t i = 0; i < all->n; i++) {
        if (all->versions[i].version.number == number) {
            return true;
        }
    }
    return number == 0;
}

static int one_path(struct tool *tool, const char *arg, json_t *out, bool first)
{
    struct target target;
    struct collected all = {0};
    struct ckpt_stats stats;
    int code = find_target(tool, arg, &target);
    if (code != TOOL_OK) {
        return code;
    }
    enum ckpt_err err = CKPT_ERR_NOT_FOUND;
    if (target.is_dir ? target.self_known : target.captured) {
        err = ckpt_stats_run(tool->store, target.is_dir ? target.self : target.dir,
                             target.is_dir ? NULL : target.name, add_version, &all, &stats);
    }
    if (err == CKPT_OK && all.failed) {
        err = CKPT_ERR_NOMEM;
    }
    if (err != CKPT_OK) {
        code = err == CKPT_ERR_NOT_FOUND ? nothing_there(tool, &target) : store_fails(tool, err);
        goto out;
    }
    if (!has_version(&all, target.version)) {
        code = tool_fail(tool, CKPT_ERR_NOT_FOUND, "%s has no version %" PRIu32, target.path, target.version);
        goto out;
    }
    qsort(all.versions, all.n, sizeof *all.versions, by_name);
    json_t *versions = json_array();
    for (size_t i = 0; i < all.n; i++) {
        if (target.version == 0 || target.version == all.versions[i].version.number) {
            (void)json_array_append_new(versions, version_json(&all.versions[i]));
        }
    }
    (void)json_array_append_new(out, json_pack("{s:o, s:s, s:o, s:o}", "path", output_text(target.path),
                                               "kind", target.is_dir ? "run" : "file", "total",
                                               stats_json(&stats), "versions", versions));
    if (!tool->json) {
        printf("%s", first ? "" : "\n");
        print_paths(&target, &stats, &all);
    }
out:
    collected_free(&all);
    return code;
}

int cmd_stats(struct tool *tool, int argc, char **argv)
{
    int code = options_parse(tool, NULL, false, &argc, argv);
    if (code == TOOL_OK) {
        code = locate_store(tool, argv, argc);
    }
    if (code == TOOL_OK) {
        code = tool_open_read(tool);
    }
    if (code != TOOL_OK || argc == 0) {
        return code != TOOL_OK ? code : whole_store(tool);
    }
    json_t *out = json_array();
    int first = TOOL_OK;
    for (int i = 0; i < argc; i++) {
        code = one_path(tool, argv[i], out, i == 0);
        first = first == TOOL_OK ? code : first;
    }
    (void)json_object_set_new(tool->result, "paths", out);
    return first;
}
