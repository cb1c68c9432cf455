/*
 * The fields of a name (naming_fields.h) are read from left to right: each word that is known takes its
 * number with it; the words before the first of them are the model's.
 */
#include "naming.h"
#include "naming_fields.h"
#include "naming_words.h"
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { FIELDS_MAX = 48, SERIES_MAX = 8 };

struct reading {
    struct ckpt_naming *naming;
    struct ckpt_field fields[FIELDS_MAX];
    size_t count;
    size_t model_first; /* the model's fields, from here ... */
    size_t model_end;   /* ... to before here; none when they are equal */
    bool model_over;    /* what follows is no part of it */
    size_t counted;     /* behind the last epoch or step */
};

static const struct ckpt_field *field_at(const struct reading *reading, size_t i)
{
    return i < reading->count ? &reading->fields[i] : NULL;
}

static void use(struct reading *reading, size_t first, size_t end)
{
    for (size_t i = first; i < end && i < reading->count; i++) {
        reading->fields[i].used = true;
    }
    reading->model_over = reading->model_over || reading->model_end > reading->model_first;
}

/* ---- Words with a number ---- */

/* Gives the field behind a date, I when there is none. */
static size_t take_date(struct reading *reading, size_t i)
{
    struct ckpt_naming *naming = reading->naming;
    struct ckpt_moment moment;
    size_t next = ckpt_fields_date(reading->fields, reading->count, i, &moment);
    if (next > i) {
        naming->has_date = true;
        naming->date = moment.date;
        naming->has_time = moment.has_time;
        naming->time = moment.time;
    }
    return next;
}

static bool is_counter(enum ckpt_word word)
{
    return word >= CKPT_WORD_EPOCH && word <= CKPT_WORD_RANK;
}

static void set_counter(struct ckpt_naming *naming, enum ckpt_word word, uint64_t value)
{
    struct {
        bool *has;
        uint64_t *value;
    } const slots[] = {
        [CKPT_WORD_EPOCH] = {&naming->has_epoch, &naming->epoch},
        [CKPT_WORD_STEP] = {&naming->has_step, &naming->step},
        [CKPT_WORD_SEED] = {&naming->has_seed, &naming->seed},
        [CKPT_WORD_FOLD] = {&naming->has_fold, &naming->fold},
        [CKPT_WORD_RUN] = {&naming->has_run, &naming->run},
        [CKPT_WORD_RANK] = {&naming->has_rank, &naming->rank},
    };
    /* The first one counts: zero_pp_rank_1_mp_rank_00. */
    assert(is_counter(word) && slots[word].has != NULL);
    if (!*slots[word].has) {
        *slots[word].has = true;
        *slots[word].value = value;
    }
}

/*
 * "epoch_12", "epoch12", "12epochs", "12_epochs", "epoch_12_of_100". Gives the field behind, I when there
 * is none.
 */
static size_t take_counter(struct reading *reading, size_t i)
{
    struct ckpt_field *field = &reading->fields[i];
    enum ckpt_word word = ckpt_word_find(field->at, field->letters);
    size_t next = i;
    uint64_t value = 0;
    if (field->letters == 1 && (field->at[0] == 'e' || field->at[0] == 'E') && field->whole) {
        word = CKPT_WORD_EPOCH; /* "e12" */
    }
    if (is_counter(word) && field->number && field->whole) {
        value = field->integer;
        next = i + 1;
    } else if (is_counter(word) && field->letters == field->n &&
               ckpt_field_count(field_at(reading, i + 1), &value)) {
        next = i + 2;
    } else if ((word == CKPT_WORD_EPOCH || word == CKPT_WORD_STEP) && field->letters == field->n && i > 0 &&
               ckpt_field_count(&reading->fields[i - 1], &value)) {
        reading->fields[i - 1].used = true;
        reading->model_end -= reading->model_end == i && reading->model_end > reading->model_first ? 1 : 0;
        next = i + 1;
    } else if (field->letters == 0 && !field->number) {
        size_t number = strspn(field->at, "0123456789");
        word = ckpt_word_find(field->at + number, field->n - number);
        if (number > 0 && number < 19 && (word == CKPT_WORD_EPOCH || word == CKPT_WORD_STEP)) {
            value = strtoull(field->at, NULL, 10);
            next = i + 1;
        }
    }
    if (next > i) {
        set_counter(reading->naming, word, value);
        if (ckpt_field_is(field_at(reading, next), "of") &&
            ckpt_field_is_whole(field_at(reading, next + 1))) {
            next += 2;
        }
    }
    return next;
}

/* "00001-of-00004" */
static size_t take_shard(struct reading *reading, size_t i)
{
    const struct ckpt_field *shards = field_at(reading, i + 2);
    if (ckpt_field_is_whole(&reading->fields[i]) && ckpt_field_is(field_at(reading, i + 1), "of") &&
        ckpt_field_is_whole(shards)) {
        reading->naming->has_shard = true;
        reading->naming->shard = reading->fields[i].integer;
        reading->naming->shards = shards->integer;
        return i + 3;
    }
    return i;
}

/* ---- Metrics ---- */

static void copy_text(char out[CKPT_NAMING_TEXT], const char *text, size_t n)
{
    size_t size = n < CKPT_NAMING_TEXT ? n : CKPT_NAMING_TEXT - 1;
    memcpy(out, text, size);
    out[size] = '\0';
}

/* A metric called what stands from field FIRST up to END; no name: NULL. */
static void add_metric(struct ckpt_naming *naming, const char *first, const char *end, double value)
{
    if (naming->metric_count == CKPT_NAMING_METRICS) {
        return;
    }
    struct ckpt_named_metric *metric = &naming->metrics[naming->metric_count++];
    metric->value = value;
    if (first != NULL) {
        copy_text(metric->original, first, (size_t)(end - first));
        ckpt_metric_normalise(first, (size_t)(end - first), metric->name, sizeof metric->name);
    }
}

/* The value of a metric, which may be "nan" or "inf". */
static bool value_of(const struct ckpt_field *field, double *value)
{
    if (ckpt_field_is_number(field)) {
        *value = field->value;
        return true;
    }
    if (ckpt_field_is(field, "nan") || ckpt_field_is(field, "inf")) {
        *value = ckpt_field_is(field, "nan") ? (double)NAN : (double)INFINITY;
        return true;
    }
    return false;
}

static bool is_plain(const struct ckpt_field *field, enum ckpt_word word)
{
    return field != NULL && !field->used && field->letters == field->n &&
           ckpt_word_find(field->at, field->n) == word;
}

/* "val_loss_epoch=0.2": Lightning's own ending. The fields are those behind "loss". */
static bool ends_in_unit(const struct ckpt_field *unit, const struct ckpt_field *value)
{
    return (is_plain(unit, CKPT_WORD_EPOCH) || is_plain(unit, CKPT_WORD_STEP)) &&
           ckpt_field_is_number(value) && value->before == '=' && !value->whole;
}

/*
 * "val_loss_0.021", "valAcc=87.4", "loss0.3", "recall@5=0.4". Gives the field behind; a metric without a
 * value is passed over.
 */
static size_t take_metric(struct reading *reading, size_t i)
{
    struct ckpt_naming *naming = reading->naming;
    size_t at = i;
    double value = 0;
    while (is_plain(field_at(reading, at), CKPT_WORD_METRIC_PREFIX)) {
        at++;
    }
    const struct ckpt_field *base = field_at(reading, at);
    if (base == NULL || base->letters == 0) {
        return i;
    }
    const char *first = reading->fields[i].at;
    if (!ckpt_word_metric(base->at, base->n)) {
        if (!base->number || !ckpt_word_metric(base->at, base->letters)) {
            return i;
        }
        add_metric(naming, first, base->at + base->letters, base->value);
        return at + 1;
    }
    for (at++; at < reading->count; at++) {
        const struct ckpt_field *more = &reading->fields[at];
        bool name = more->letters > 0 && !more->used &&
                    (ckpt_word_metric(more->at, more->n) || is_plain(more, CKPT_WORD_METRIC_SUFFIX) ||
                     is_plain(more, CKPT_WORD_METRIC_PREFIX));
        if (!name && !(more->before == '@' && ckpt_field_is_number(more) && at + 1 < reading->count)) {
            break;
        }
    }
    if (ends_in_unit(field_at(reading, at), field_at(reading, at + 1))) {
        at++;
    }
    const struct ckpt_field *last = &reading->fields[at - 1];
    if (value_of(field_at(reading, at), &value)) {
        add_metric(naming, first, last->at + last->n, value);
        return at + 1;
    }
    return ckpt_word_family(base->at, base->n) ? i : at;
}

/*
 * "my_score_x=3.2": what a "=" names is a metric if it has a fraction and is nothing else. Gives the field
 * behind.
 */
static size_t take_assignment(struct reading *reading, size_t i)
{
    char before = reading->fields[i].before;
    if (i > 0 && before != '-' && before != ',' && before != ' ') {
        return i;
    }
    for (size_t at = i; at < reading->count; at++) {
        const struct ckpt_field *field = &reading->fields[at];
        enum ckpt_word word = ckpt_word_find(field->at, field->letters);
        if (field->used || field->letters == 0 || (at > i && field->before != '_' && field->before != '/') ||
            is_counter(word) || word == CKPT_WORD_SETTING || ckpt_word_metric(field->at, field->n)) {
            return i;
        }
        const struct ckpt_field *value = field_at(reading, at + 1);
        if (value != NULL && value->before == '=') {
            if (!ckpt_field_is_number(value)) {
                return i;
            }
            if (!value->whole) {
                add_metric(reading->naming, reading->fields[i].at, field->at + field->n, value->value);
            }
            return at + 2;
        }
    }
    return i;
}

/* ---- Words ---- */

/* "lr_1e-4", "bs32", "batch_size=32". Gives the field behind. */
static size_t take_setting(const struct reading *reading, size_t i)
{
    const struct ckpt_field *field = &reading->fields[i];
    if (ckpt_word_find(field->at, field->letters) != CKPT_WORD_SETTING) {
        return i;
    }
    if (field->letters < field->n) {
        return field->number ? i + 1 : i;
    }
    if (ckpt_field_is_number(field_at(reading, i + 1))) {
        return i + 2;
    }
    return is_plain(field_at(reading, i + 1), CKPT_WORD_SETTING) ? i + 1 : i;
}

/* Words that say which checkpoint it is or what is in it. */
static bool take_word(struct ckpt_naming *naming, enum ckpt_word word)
{
    switch (word) {
    case CKPT_WORD_BEST:
        naming->best = true;
        return true;
    case CKPT_WORD_LAST:
        naming->last = true;
        return true;
    case CKPT_WORD_FINAL:
        naming->final = true;
        return true;
    case CKPT_WORD_WEIGHTS:
        naming->hints |= CKPT_HINT_WEIGHTS;
        return true;
    case CKPT_WORD_EMA:
        naming->hints |= CKPT_HINT_EMA;
        return true;
    case CKPT_WORD_OPTIMIZER:
        naming->hints |= CKPT_HINT_OPTIMIZER;
        return true;
    case CKPT_WORD_FULL:
        naming->hints |= CKPT_HINT_FULL;
        return true;
    case CKPT_WORD_EXTRA:
        naming->hints |= CKPT_HINT_EXTRA;
        return true;
    case CKPT_WORD_GENERIC:
    case CKPT_WORD_PRECISION:
    case CKPT_WORD_METRIC_PREFIX:
    case CKPT_WORD_EPOCH:
    case CKPT_WORD_STEP:
        return true;
    default:
        return false;
    }
}

/* "cityscapes", "cifar-10". Gives the field behind. */
static size_t take_dataset(struct reading *reading, size_t i)
{
    const struct ckpt_field *field = &reading->fields[i];
    const struct ckpt_field *next = field_at(reading, i + 1);
    char joined[CKPT_NAMING_TEXT];
    char *dataset = reading->naming->dataset;
    if (next != NULL && !next->used && next->letters < next->n && field->n + next->n < sizeof joined) {
        memcpy(joined, field->at, field->n);
        memcpy(joined + field->n, next->at, next->n);
        if (ckpt_word_find(joined, field->n + next->n) == CKPT_WORD_DATASET) {
            copy_text(dataset, joined, field->n + next->n);
            return i + 2;
        }
    }
    if (ckpt_word_find(field->at, field->n) == CKPT_WORD_DATASET) {
        copy_text(dataset, field->at, field->n);
        return i + 1;
    }
    return i;
}

static bool model_is_open(const struct reading *reading, size_t i)
{
    return !reading->model_over && reading->model_end == i && reading->model_end > reading->model_first;
}

/* A number that no word has taken: part of "vit_b_16", or left for the series at the end. */
static void take_number(struct reading *reading, size_t i)
{
    const struct ckpt_field *field = &reading->fields[i];
    bool padded = field->n >= 3 && field->at[0] == '0';
    bool fits = field->whole ? !padded && field->n <= 4 : field->value >= 1 && i + 1 < reading->count;
    if (model_is_open(reading, i) && fits && memchr(field->at, 'e', field->n) == NULL) {
        reading->model_end = i + 1;
    } else {
        reading->model_over = reading->model_over || reading->model_end > reading->model_first;
    }
}

/* Reads what begins at field I and gives the field behind it. */
static size_t read_field(struct reading *reading, size_t i)
{
    static size_t (*const takers[])(struct reading *, size_t) = {take_date, take_shard, take_counter,
                                                                 take_metric, take_assignment};
    struct ckpt_field *field = &reading->fields[i];
    size_t next = i;
    for (size_t t = 0; t < sizeof takers / sizeof takers[0] && next == i; t++) {
        next = takers[t](reading, i);
        if (next > i && takers[t] == take_counter) {
            reading->counted = next;
        }
    }
    enum ckpt_word word = ckpt_word_find(field->at, field->letters);
    if (next == i && word == CKPT_WORD_VERSION && field->number && !model_is_open(reading, i)) {
        reading->naming->has_version = field->whole;
        reading->naming->version = field->integer;
        next = i + 1;
    }
    if (next == i) {
        next = take_setting(reading, i);
    }
    if (next == i) {
        next = take_dataset(reading, i);
    }
    if (next == i &&
        ((field->letters == field->n && take_word(reading->naming, word)) ||
         ckpt_word_find(field->at, field->n) == CKPT_WORD_PRECISION || ckpt_field_is_size_or_hash(field))) {
        next = i + 1;
    }
    if (next == i && (word == CKPT_WORD_GENERIC || word == CKPT_WORD_WEIGHTS) && field->whole) {
        reading->naming->has_number = true;
        reading->naming->number = field->integer;
        next = i + 1;
    }
    if (next > i) {
        use(reading, i, next);
        return next;
    }
    if (ckpt_field_is_number(field)) {
        take_number(reading, i);
    } else if (!reading->model_over) {
        reading->model_first = reading->model_end == i && i > reading->model_first ? reading->model_first : i;
        reading->model_end = i + 1;
    }
    return i + 1;
}

/* ---- What is left ---- */

/* The bare numbers that nothing has taken: a series, or Keras' metrics. */
static void read_series(struct reading *reading, bool directory)
{
    struct ckpt_naming *naming = reading->naming;
    const struct ckpt_field *list[SERIES_MAX];
    size_t count = 0;
    size_t whole = 0;
    size_t from = naming->has_epoch || naming->has_step ? reading->counted : 0;
    for (size_t i = from; i < reading->count && count < SERIES_MAX; i++) {
        const struct ckpt_field *field = &reading->fields[i];
        bool model = i >= reading->model_first && i < reading->model_end;
        if (ckpt_field_is_number(field) && !model && memchr(field->at, 'e', field->n) == NULL) {
            list[count++] = field;
            whole += field->whole && whole + 1 == count ? 1 : 0;
        }
    }
    bool counted = naming->has_epoch || naming->has_step;
    if (!counted && whole == 1 && count == 1 && directory && reading->count == 2 && list[0]->before == '-' &&
        ckpt_field_is(&reading->fields[0], "checkpoint")) {
        naming->has_step = true;
        naming->step = list[0]->integer;
    } else if (!counted && whole == 1 && count > 1) {
        set_counter(naming, CKPT_WORD_EPOCH, list[0]->integer);
    } else if (!counted && whole == 2 && count == 2 && ckpt_field_is(&reading->fields[0], "checkpoint")) {
        set_counter(naming, CKPT_WORD_EPOCH, list[0]->integer);
        set_counter(naming, CKPT_WORD_STEP, list[1]->integer);
    } else if (!counted && whole > 0) {
        naming->has_number = true;
        naming->number = list[whole - 1]->integer;
    }
    if ((naming->has_epoch || naming->best) && naming->metric_count == 0) {
        for (size_t i = 0; i < count; i++) {
            if (!list[i]->whole) {
                add_metric(naming, NULL, NULL, list[i]->value);
            }
        }
    }
    naming->has_number = naming->has_number && !naming->has_epoch && !naming->has_step;
}

static void read_model(struct reading *reading)
{
    struct ckpt_naming *naming = reading->naming;
    size_t first = reading->model_first;
    size_t end = reading->model_end;
    bool counted = naming->has_epoch || naming->has_step || naming->has_number;
    if (end == first) {
        return;
    }
    const struct ckpt_field *last = &reading->fields[end - 1];
    /* "policy_300" is one of a series, "resnet_18" isn't. */
    if (end - first > 1 && !counted && last->whole && last->letters == 0 &&
        !ckpt_word_family(reading->fields[first].at, reading->fields[first].n)) {
        naming->has_number = true;
        naming->number = last->integer;
        end--;
        last--;
    }
    if (end - first == 2 && naming->dataset[0] == '\0' && last->letters == last->n && last->n >= 4 &&
        ckpt_word_family(reading->fields[first].at, reading->fields[first].n) &&
        !ckpt_word_variant(last->at, last->n) && !ckpt_word_family(last->at, last->n)) {
        copy_text(naming->dataset, last->at, last->n);
        naming->dataset_guessed = true;
        end--;
        last--;
    }
    const char *at = reading->fields[first].at;
    copy_text(naming->model, at, (size_t)(last->at + last->n - at));
}

void ckpt_naming_read(const char *name, struct ckpt_naming *naming)
{
    struct reading reading = {.naming = naming};
    size_t n = ckpt_naming_stem(name);
    memset(naming, 0, sizeof *naming);
    reading.count = ckpt_fields_cut(name, n, reading.fields, FIELDS_MAX);
    for (size_t i = 0; i < reading.count;) {
        i = read_field(&reading, i);
    }
    read_series(&reading, name[n] == '\0');
    read_model(&reading);
    naming->plain = naming->metric_count == 0 && naming->model[0] == '\0' && naming->dataset[0] == '\0' &&
                    !naming->has_epoch && !naming->has_step && !naming->has_number && !naming->has_seed &&
                    !naming->has_fold && !naming->has_run && !naming->has_date;
}
