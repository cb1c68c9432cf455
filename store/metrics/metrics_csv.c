/*
 * CSV with a header line, as Python's csv module writes it (RFC 4180, lines end with CR LF or LF): fields in
 * quotes may have separators, newlines and doubled quotes. The separator is the one of , ; and tab that the
 * header has most of.
 *
 *     Lightning   lightning/fabric/loggers/csv_logs.py: sorted columns with epoch and step; blanks; all of the
 *                 file is rewritten when a column comes up
 *     Keras       keras/callbacks/csv_logger.py: epoch, then the sorted keys, loss among them; CR LF; "NA" where
 *                 a value is missing
 *     Ray         ray/tune/logger/csv.py: training_iteration, timestamp (seconds), checkpoint_dir_name (none
 *                 where a report has no checkpoint), config/..., nested keys with slashes
 *
 * A row that has another number of fields than the header is left out: it was torn when its writer died.
 */
#include "metrics_parts.h"
#include <ckpt/id.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum role { METRIC, EPOCH, STEP, TIME, CHECKPOINT, IGNORED };

struct column {
    struct ckpt_metrics_text name; /* in names */
    enum role role;
    bool given; /* in the row at hand */
    double value;
    struct ckpt_metrics_text text; /* in the row at hand */
};

struct table {
    enum ckpt_metrics_kind kind;
    char separator;
    char *names;
    struct column *columns;
    size_t count;
};

/* ---- fields ---- */

/* Takes the first field off REST, with doubled quotes as they are, and says whether another one follows. */
static bool take_field(struct ckpt_metrics_text *rest, char separator, struct ckpt_metrics_text *field)
{
    const char *at = rest->at;
    const char *end = at + rest->size;
    *field = (struct ckpt_metrics_text){at, 0};
    if (at < end && *at == '"') {
        field->at = ++at;
        while (at < end && (*at != '"' || (at + 1 < end && at[1] == '"'))) {
            at += *at == '"' ? 2 : 1;
        }
        field->size = (size_t)(at - field->at);
    }
    const char *next = at == end ? NULL : memchr(at, separator, (size_t)(end - at));
    const char *stop = next == NULL ? end : next;
    if (field->at == rest->at) {
        field->size = (size_t)(stop - field->at);
    }
    *rest = (struct ckpt_metrics_text){next == NULL ? end : next + 1,
                                       next == NULL ? 0 : (size_t)(end - next) - 1};
    return next != NULL;
}

static struct ckpt_metrics_text without_bom(struct ckpt_metrics_text line)
{
    if (line.size >= 3 && memcmp(line.at, "\xef\xbb\xbf", 3) == 0) {
        line.at += 3;
        line.size -= 3;
    }
    return line;
}

static char separator_of(struct ckpt_metrics_text header)
{
    static const char separators[] = {',', ';', '\t'};
    size_t counts[sizeof separators] = {0};
    size_t most = 0;
    bool quoted = false;
    for (size_t i = 0; i < header.size; i++) {
        quoted = quoted != (header.at[i] == '"');
        for (size_t j = 0; j < sizeof separators && !quoted; j++) {
            counts[j] += header.at[i] == separators[j] ? 1 : 0;
        }
    }
    for (size_t j = 1; j < sizeof separators; j++) {
        most = counts[j] > counts[most] ? j : most;
    }
    return separators[most];
}

static bool is_called(struct ckpt_metrics_text name, const char *word)
{
    return name.size == strlen(word) && strncasecmp(name.at, word, name.size) == 0;
}

/* How well a column's name says that it is the step: the lowest that isn't 0 is, the others are metrics. */
static unsigned step_rank(enum ckpt_metrics_kind kind, struct ckpt_metrics_text name)
{
    static const char *const words[] = {"step", "global_step", "iteration", "iter"};
    if (kind == CKPT_METRICS_RAY_CSV) {
        return is_called(name, "training_iteration") ? 1 : 0;
    }
    for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (is_called(name, words[i])) {
            return i + 1;
        }
    }
    return 0;
}

/* ---- which kind ---- */

struct signs {
    bool epoch;
    bool epoch_first;
    bool step;
    bool iteration;
    bool loss;
    bool sorted; /* but for the first */
};

static struct signs signs_of(struct ckpt_metrics_text header, char separator)
{
    struct signs signs = {.sorted = true};
    struct ckpt_metrics_text previous = {"", 0};
    struct ckpt_metrics_text field;
    bool more = true;
    for (size_t i = 0; more; i++) {
        more = take_field(&header, separator, &field);
        field = ckpt_metrics_trim(field);
        bool epoch = is_called(field, "epoch");
        signs.epoch |= epoch;
        signs.epoch_first |= epoch && i == 0;
        signs.step |= step_rank(CKPT_METRICS_CSV, field) != 0;
        signs.iteration |= ckpt_metrics_text_is(field, "training_iteration");
        signs.loss |= ckpt_metrics_text_is(field, "loss");
        if (i > 1) {
            size_t n = field.size < previous.size ? field.size : previous.size;
            int order = memcmp(previous.at, field.at, n);
            signs.sorted &= order < 0 || (order == 0 && previous.size < field.size);
        }
        previous = field;
    }
    return signs;
}

enum ckpt_metrics_kind ckpt_metrics_csv_kind(struct ckpt_metrics_text head)
{
    size_t n = ckpt_metrics_line_length(head, true, CKPT_METRICS_HEAD_MAX);
    if (n < 2) {
        return CKPT_METRICS_NONE;
    }
    struct ckpt_metrics_text header = without_bom((struct ckpt_metrics_text){head.at, n - 1});
    char separator = separator_of(header);
    struct signs signs = signs_of(header, separator);
    if (signs.iteration) {
        return CKPT_METRICS_RAY_CSV;
    }
    if (!signs.epoch && !signs.step) {
        return CKPT_METRICS_NONE;
    }
    if (!signs.epoch_first || signs.step || !signs.loss || !signs.sorted || head.at[n - 2] != '\r') {
        return CKPT_METRICS_CSV;
    }
    /* As Keras writes it. People who count from 1 write the same header: the first epoch tells. */
    struct ckpt_metrics_text row = {head.at + n, head.size - n};
    struct ckpt_metrics_text epoch;
    if (!take_field(&row, separator, &epoch)) {
        return CKPT_METRICS_NONE;
    }
    return ckpt_metrics_text_is(epoch, "0") ? CKPT_METRICS_KERAS : CKPT_METRICS_CSV;
}

/* ---- the header ---- */

/* Copies a field to TO with its doubled quotes made single. */
static struct ckpt_metrics_text unquote(struct ckpt_metrics_text field, char *to)
{
    size_t n = 0;
    for (size_t i = 0; i < field.size; i++) {
        if (field.at[i] == '"' && i + 1 < field.size && field.at[i + 1] == '"') {
            i++;
        }
        to[n++] = field.at[i];
    }
    return ckpt_metrics_trim((struct ckpt_metrics_text){to, n});
}

static void give_roles(struct table *table)
{
    struct column *step = NULL;
    unsigned best = 0;
    bool epoch = false;
    for (size_t i = 0; i < table->count; i++) {
        struct column *column = &table->columns[i];
        unsigned rank = step_rank(table->kind, column->name);
        if (is_called(column->name, "epoch") && !epoch) {
            column->role = EPOCH;
            epoch = true;
        } else if (rank != 0 && (best == 0 || rank < best)) {
            step = column;
            best = rank;
        } else if (table->kind == CKPT_METRICS_RAY_CSV && ckpt_metrics_text_is(column->name, "timestamp")) {
            column->role = TIME;
        } else if (table->kind == CKPT_METRICS_RAY_CSV &&
                   ckpt_metrics_text_is(column->name, "checkpoint_dir_name")) {
            column->role = CHECKPOINT;
        } else if (table->kind == CKPT_METRICS_RAY_CSV && column->name.size > 7 &&
                   memcmp(column->name.at, "config/", 7) == 0) {
            column->role = IGNORED;
        }
    }
    if (step != NULL) {
        step->role = STEP;
    }
}

static enum ckpt_err table_open(struct table *table, struct ckpt_metrics_text header)
{
    struct ckpt_metrics_text rest = header;
    struct ckpt_metrics_text field;
    size_t count = 1;
    table->separator = separator_of(header);
    while (take_field(&rest, table->separator, &field)) {
        count++;
    }
    table->names = malloc(header.size + 1);
    table->columns = calloc(count, sizeof *table->columns);
    if (table->names == NULL || table->columns == NULL) {
        return CKPT_ERR_NOMEM;
    }
    char *to = table->names;
    rest = header;
    for (; table->count < count; table->count++) {
        take_field(&rest, table->separator, &field);
        table->columns[table->count].name = unquote(field, to);
        to += field.size;
    }
    give_roles(table);
    return CKPT_OK;
}

static void table_close(struct table *table)
{
    free(table->names);
    free(table->columns);
}

/* ---- rows ---- */

static void set_place(const struct table *table, const struct column *column, struct ckpt_metric_point *point)
{
    if (column->role == CHECKPOINT) {
        ckpt_metrics_set_checkpoint(point, column->text);
        return;
    }
    if (!column->given) {
        return;
    }
    switch (column->role) {
    case EPOCH:
        ckpt_metrics_set_epoch(point, column->value + (table->kind == CKPT_METRICS_KERAS ? 1 : 0));
        break;
    case STEP:
        ckpt_metrics_set_step(point, column->value + (table->kind == CKPT_METRICS_LIGHTNING ? 1 : 0));
        break;
    case TIME:
        ckpt_metrics_set_seconds(point, column->value);
        break;
    case METRIC:
    case CHECKPOINT:
    case IGNORED:
        break;
    }
}

static enum ckpt_err take_row(struct ckpt_metrics_reading *reading, void *arg, struct ckpt_metrics_text line)
{
    struct table *table = arg;
    struct ckpt_metric_point point = {0};
    struct ckpt_metrics_text rest = line;
    struct ckpt_metrics_text field;
    bool more = true;
    for (size_t i = 0; i < table->count; i++) {
        struct column *column = &table->columns[i];
        if (!more) {
            return CKPT_OK;
        }
        more = take_field(&rest, table->separator, &field);
        column->text = ckpt_metrics_trim(field);
        column->given = ckpt_metrics_number(reading, field, &column->value);
    }
    if (more) {
        return CKPT_OK;
    }
    for (size_t i = 0; i < table->count; i++) {
        set_place(table, &table->columns[i], &point);
    }
    for (size_t i = 0; i < table->count; i++) {
        const struct column *column = &table->columns[i];
        if (column->given && column->role == METRIC) {
            enum ckpt_err err = ckpt_metrics_emit(reading, &point, column->name, column->value);
            if (err != CKPT_OK) {
                return err;
            }
        }
    }
    return CKPT_OK;
}

enum ckpt_err ckpt_metrics_csv_read(struct ckpt_metrics_reading *reading)
{
    const struct ckpt_metrics_input *input = reading->input;
    struct ckpt_metrics_mark *mark = reading->mark;
    bool first = mark->offset == 0;
    struct ckpt_metrics_text head = {first ? input->bytes : input->head,
                                     first ? input->size : input->head_size};
    size_t n = ckpt_metrics_line_length(head, true, CKPT_METRICS_HEAD_MAX);
    if (n == 0 && first) {
        return head.size < CKPT_METRICS_HEAD_MAX ? CKPT_OK : CKPT_ERR_CORRUPT;
    }
    uint64_t checksum = ckpt_checksum(0, head.at, n);
    if (!first && (n == 0 || checksum != mark->head)) {
        *mark = (struct ckpt_metrics_mark){0};
        return CKPT_ERR_CHANGED;
    }
    struct table table = {.kind = input->kind};
    struct ckpt_metrics_text header = without_bom((struct ckpt_metrics_text){head.at, n - 1});
    enum ckpt_err err = table_open(&table, ckpt_metrics_trim(header));
    if (err == CKPT_OK) {
        if (first) {
            mark->offset = n;
            mark->head = checksum;
        }
        err = ckpt_metrics_lines(reading, true, take_row, &table);
    }
    table_close(&table);
    return err;
}
