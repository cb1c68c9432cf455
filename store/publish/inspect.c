#include "format/dcp.h"
#include "format/pickle_number.h"
#include "inspect.h"
#include "inspect_names.h"
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SCAN = 1 << 20, NUMBER_TEXT = 64 };

static const double exact = 9007199254740992.0; /* 2^53: up to here a double tells integers apart */

/* One file that is looked at. */
struct inspector {
    const struct ckpt_source *source;
    struct ckpt_inspection *out;
    struct ckpt_holdings holdings;
    unsigned epoch_rank;
    unsigned step_rank;
    size_t n_metrics;  /* of the values */
    bool arrays;       /* the names are those of an npz */
    bool keras;        /* weights and optimizer were seen in HDF5 */
    locale_t locale;   /* "C": numbers have a point, wherever the user lives */
    enum ckpt_err err; /* of a read */
};

/* ---- Numbers ---- */

/* A metric comes before what is none, and takes its place when there is no more. */
static void add_value(struct inspector *in, struct ckpt_name group, struct ckpt_name name, double value, bool metric)
{
    struct ckpt_inspected_value added = {.value = value};
    struct ckpt_inspection *out = in->out;
    if (!ckpt_inspect_full_name(group, name, added.name, sizeof added.name)) {
        return;
    }
    for (size_t i = 0; i < out->n_values; i++) {
        if (strcmp(out->values[i].name, added.name) == 0) {
            return;
        }
    }
    size_t place = metric ? in->n_metrics : out->n_values;
    if (place == CKPT_INSPECT_VALUES) {
        return;
    }
    if (out->n_values < CKPT_INSPECT_VALUES) {
        out->values[out->n_values++] = out->values[place];
    }
    out->values[place] = added;
    in->n_metrics += metric ? 1 : 0;
}

static void set_count(bool *has, uint64_t *count, unsigned *rank, double value, unsigned its_rank)
{
    if (value >= 0 && value < exact && value == (double)(uint64_t)value && (!*has || its_rank < *rank)) {
        *has = true;
        *count = (uint64_t)value;
        *rank = its_rank;
    }
}

/* OTHERS: also a number that is no metric is told. */
static void add_number(struct inspector *in, struct ckpt_name group, struct ckpt_name name, double value, bool others)
{
    unsigned rank = 0;
    switch (ckpt_inspect_meaning(group, name, &rank)) {
    case CKPT_MEANING_EPOCH:
        set_count(&in->out->has_epoch, &in->out->epoch, &in->epoch_rank, value, rank);
        break;
    case CKPT_MEANING_STEP:
        set_count(&in->out->has_step, &in->out->step, &in->step_rank, value, rank);
        break;
    case CKPT_MEANING_METRIC:
        add_value(in, group, name, value, true);
        break;
    case CKPT_MEANING_OTHER:
        if (others) {
            add_value(in, group, name, value, false);
        }
        break;
    }
}

/* ---- What the file holds ---- */

/* An entry that is no tensor: "optimizer" of SGD without momentum, "epoch". Its name never says that weights are there. */
static void add_entry_name(struct inspector *in, struct ckpt_name name, bool branch)
{
    struct ckpt_holdings one = {0};
    ckpt_holdings_add(&one, name.bytes, name.size);
    in->holdings.extra += one.extra;
    in->holdings.optimizer += branch ? one.optimizer : 0;
}

/* "best_acc1", "metrics.loss": a metric that was saved as a tensor of one element, and its value. Its own name has to
   say so: "score.bias" is the model's. */
static bool take_metric_tensor(struct inspector *in, struct ckpt_name name, struct ckpt_name type, uint64_t offset,
                               uint64_t size)
{
    uint8_t bytes[CKPT_NUMBER_BYTES] = {0};
    struct ckpt_name group = {name.bytes, 0};
    const char *dot = memchr(name.bytes, '.', name.size);
    unsigned rank = 0;
    double value = 0;
    if (dot != NULL) {
        group.size = (size_t)(dot - name.bytes);
        name = (struct ckpt_name){dot + 1, name.size - group.size - 1};
    }
    if (size == 0 || size != ckpt_number_width(type) || memchr(name.bytes, '.', name.size) != NULL ||
        ckpt_inspect_meaning(group, name, &rank) != CKPT_MEANING_METRIC ||
        ckpt_inspect_meaning((struct ckpt_name){"", 0}, name, &rank) != CKPT_MEANING_METRIC) {
        return false;
    }
    if (in->source->pread(in->source->arg, bytes, (size_t)size, offset) != 0) {
        in->err = CKPT_ERR_IO;
        return true;
    }
    if (ckpt_number_of_element(type, bytes, &value)) {
        add_value(in, group, name, value, true);
    }
    return true;
}

/* ---- HDF5 ---- */

/* Whether a group is called so: in a heap of names, as the library writes them unless it is asked for its latest
   format, each ends in a zero and has one in front. */
static bool has_group(const char *bytes, size_t n, const char *name)
{
    char wanted[NUMBER_TEXT];
    int size = snprintf(wanted + 1, sizeof wanted - 1, "%s", name);
    wanted[0] = '\0';
    return memmem(bytes, n, wanted, (size_t)size + 2) != NULL;
}

/* Looks for the groups of Keras 2 and 3 in the first and the last MiB of a range of the file. */
static enum ckpt_err scan_hdf5(struct inspector *in, uint64_t at, uint64_t size)
{
    static const char *const pairs[][2] = {
        {"model_weights", "optimizer_weights"},
        {"layers", "optimizer"},
        {"_layer_checkpoint_dependencies", "optimizer"},
    };
    size_t first = size < SCAN ? (size_t)size : SCAN;
    size_t last = size - first < SCAN ? (size_t)(size - first) : SCAN;
    char *bytes = malloc(first + last + 1);
    if (bytes == NULL) {
        return CKPT_ERR_NOMEM;
    }
    const struct ckpt_source *source = in->source;
    if (source->pread(source->arg, bytes, first, at) != 0 ||
        (last > 0 && source->pread(source->arg, bytes + first, last, at + size - last) != 0)) {
        free(bytes);
        return CKPT_ERR_IO;
    }
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        in->keras =
            in->keras || (has_group(bytes, first + last, pairs[i][0]) && has_group(bytes, first + last, pairs[i][1]));
    }
    free(bytes);
    return CKPT_OK;
}

/* ---- What the readers tell ---- */

static void on_tensor(void *arg, struct ckpt_name name, struct ckpt_name type, uint64_t offset, uint64_t size)
{
    struct inspector *in = arg;
    if (!take_metric_tensor(in, name, type, offset, size)) {
        ckpt_holdings_add(&in->holdings, name.bytes, name.size);
    }
}

static bool ends_with(struct ckpt_name name, const char *end)
{
    size_t n = strlen(end);
    return name.size > n && memcmp(name.bytes + name.size - n, end, n) == 0;
}

static void on_entry(void *arg, struct ckpt_name name, uint64_t at, uint64_t size)
{
    struct inspector *in = arg;
    if (ends_with(name, ".npy")) {
        in->arrays = true;
        ckpt_holdings_add(&in->holdings, name.bytes, name.size - strlen(".npy"));
    } else if (ckpt_name_is(name, "model.weights.h5") && at > 0 && in->err == CKPT_OK) {
        in->err = scan_hdf5(in, at, size);
    }
}

static void on_branch(void *arg, struct ckpt_name name)
{
    add_entry_name(arg, name, true);
}

static void on_number(void *arg, struct ckpt_name group, struct ckpt_name name, double value)
{
    if (group.size == 0) {
        add_entry_name(arg, name, false);
    }
    add_number(arg, group, name, value, false);
}

static void on_text(void *arg, struct ckpt_name name, struct ckpt_name text)
{
    struct inspector *in = arg;
    char copy[NUMBER_TEXT];
    char *end = NULL;
    if (text.size == 0 || text.size >= sizeof copy) {
        return;
    }
    memcpy(copy, text.bytes, text.size);
    copy[text.size] = '\0';
    /* strtod also knows "inf", "nan" and "0x1p3". */
    double value = strspn(copy, "0123456789+-.eE") == text.size ? strtod_l(copy, &end, in->locale) : 0;
    if (end == copy + text.size) {
        add_number(in, (struct ckpt_name){"", 0}, name, value, true);
    }
}

static enum ckpt_holds holds_of(const struct inspector *in)
{
    enum ckpt_holds holds = in->keras ? CKPT_HOLDS_FULL : ckpt_holdings_sum(&in->holdings);
    bool told = !in->arrays || holds == CKPT_HOLDS_FULL || holds == CKPT_HOLDS_OPTIMIZER;
    return told ? holds : CKPT_HOLDS_UNKNOWN;
}

/* Forgets all but what is known of the structure. */
static void forget(struct ckpt_inspection *out)
{
    out->holds = CKPT_HOLDS_UNKNOWN;
    out->has_epoch = false;
    out->has_step = false;
    out->n_values = 0;
}

enum ckpt_err ckpt_inspect(const struct ckpt_source *source, const char *name, struct ckpt_inspection *out)
{
    struct inspector in = {.source = source, .out = out};
    struct ckpt_observer observer = {&in, on_tensor, on_entry, on_branch, on_number, on_text};
    struct ckpt_validity_report report;
    memset(out, 0, sizeof *out);
    enum ckpt_err err = ckpt_validity_check(source, name, &report);
    out->validity = report.validity;
    (void)snprintf(out->format, sizeof out->format, "%s", report.format);
    (void)snprintf(out->why, sizeof out->why, "%s", report.why);
    if (err != CKPT_OK || report.validity == CKPT_VALIDITY_INVALID) {
        return err;
    }
    in.locale = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
    if (in.locale == (locale_t)0) {
        return CKPT_ERR_NOMEM;
    }
    if (strcmp(out->format, "hdf5") == 0) {
        err = scan_hdf5(&in, 0, source->size);
    } else if (strcmp(out->format, "pickle") == 0) {
        err = ckpt_dcp_observe(source, &observer);
    } else {
        err = ckpt_container_observe(source, &observer);
    }
    freelocale(in.locale);
    if (err == CKPT_OK) {
        err = in.err;
    }
    if (err == CKPT_OK) {
        out->holds = holds_of(&in);
    } else {
        forget(out);
    }
    return err == CKPT_ERR_CORRUPT ? CKPT_OK : err;
}
