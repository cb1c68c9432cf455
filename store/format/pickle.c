/*
 * The machine works from the inside out, so paths are found when it is done, by walking from the outermost box.
 * Every box is visited once.
 */
#include "pickle.h"
#include "pickle_machine.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH_MAX = 64, LONGEST_PATH = 1024, ENTRIES_MAX = 2048 };

/* A box on the way from the outermost one. */
struct level {
    uint32_t child; /* the next one to look at */
    size_t path_size;
};

struct walk {
    struct ckpt_values *values;
    struct level levels[DEPTH_MAX];
    size_t depth;
    char path[LONGEST_PATH];
};

/* Adds a child's key to the path that has *N bytes: "a.b", "list.0"; "#3" for one that is neither text nor number.
   False: it gets too long. */
static bool extend(struct walk *walk, const struct ckpt_value_child *child, size_t *n)
{
    char digits[32];
    struct ckpt_name name = {digits, 0};
    size_t dot = *n > 0 ? 1 : 0;
    if (ckpt_value_tag(child->key) == CKPT_TAG_WITHIN) {
        return true;
    }
    if (ckpt_value_tag(child->key) == CKPT_TAG_TEXT) {
        name = ckpt_values_text(walk->values, child->key);
    } else if (ckpt_value_tag(child->key) == CKPT_TAG_NUMBER) {
        name.size = (size_t)snprintf(digits, sizeof digits, "%llu",
                                     (unsigned long long)ckpt_value_number(child->key));
    } else {
        name.size = (size_t)snprintf(digits, sizeof digits, "#%u", child->position);
    }
    if (name.size + dot > LONGEST_PATH - *n) {
        return false;
    }
    walk->path[*n] = '.';
    memcpy(walk->path + *n + dot, name.bytes, name.size);
    *n += name.size + dot;
    return true;
}

/* Looks at a value whose path has N bytes. */
static enum ckpt_err visit(struct walk *walk, uint64_t value, size_t n)
{
    struct ckpt_values *values = walk->values;
    if (ckpt_value_tag(value) == CKPT_TAG_STORAGE) {
        struct ckpt_value_storage *storage = ckpt_values_storage_at(values, ckpt_value_index(value));
        uint64_t text = 0;
        enum ckpt_err err = CKPT_OK;
        if (storage->path == CKPT_VALUE_NONE) {
            err = ckpt_values_add_text(values, walk->path, n, &text);
            storage->path = err == CKPT_OK ? ckpt_value_index(text) : CKPT_VALUE_NONE;
            storage->path_size = (uint32_t)n;
        }
        return err;
    }
    if (ckpt_value_tag(value) == CKPT_TAG_BOX) {
        struct ckpt_value_box *box = ckpt_values_box_at(values, ckpt_value_index(value));
        if (!box->visited && walk->depth < DEPTH_MAX) {
            box->visited = true;
            walk->levels[walk->depth++] = (struct level){.child = box->first, .path_size = n};
        }
    }
    return CKPT_OK;
}

/* Finds the paths. CORRUPT: there is no room for all. */
static enum ckpt_err find_paths(struct walk *walk, uint64_t root)
{
    enum ckpt_err err = visit(walk, root, 0);
    while (err == CKPT_OK && walk->depth > 0) {
        struct level *level = &walk->levels[walk->depth - 1];
        size_t n = level->path_size;
        if (level->child == CKPT_VALUE_NONE) {
            walk->depth--;
            continue;
        }
        const struct ckpt_value_child *child = ckpt_values_child_at(walk->values, level->child);
        level->child = child->next;
        if (extend(walk, child, &n)) {
            err = visit(walk, child->value, n);
        }
    }
    return err;
}

static int compare_ids(struct ckpt_name a, struct ckpt_name b)
{
    if (a.size != b.size) {
        return a.size < b.size ? -1 : 1;
    }
    return a.size == 0 ? 0 : memcmp(a.bytes, b.bytes, a.size);
}

/* By id; of the namings of one storage that comes first which was met first. Paths are in one text in that order. */
static int by_id(const void *a, const void *b)
{
    const struct ckpt_storage *x = a;
    const struct ckpt_storage *y = b;
    int order = compare_ids(x->id, y->id);
    if (order != 0) {
        return order;
    }
    if (x->path.bytes == NULL || y->path.bytes == NULL) {
        return (x->path.bytes == NULL) - (y->path.bytes == NULL);
    }
    return (x->path.bytes > y->path.bytes) - (x->path.bytes < y->path.bytes);
}

/* Adds the numbers of a box, which has that name in the outermost one. There is ROOM for so many entries. */
static void collect_numbers(const struct ckpt_values *values, uint32_t box, struct ckpt_name group, size_t room,
                            struct ckpt_pickle *pickle)
{
    for (size_t i = 0; i < values->numbers.count && pickle->entry_count < room; i++) {
        const struct ckpt_value_number *number = ckpt_values_number_at(values, i);
        if (number->box == box) {
            pickle->entries[pickle->entry_count++] = (struct ckpt_pickle_entry){
                .group = group,
                .name = {pickle->text + number->name, number->name_size},
                .is_number = true,
                .number = number->number,
            };
        }
    }
}

/* Makes the entries of ROOT, when the text has been taken. */
static enum ckpt_err collect_entries(const struct ckpt_values *values, uint64_t root, struct ckpt_pickle *pickle)
{
    if (ckpt_value_tag(root) != CKPT_TAG_BOX || pickle->text == NULL) {
        return CKPT_OK;
    }
    const struct ckpt_value_box *outermost = ckpt_values_box_at(values, ckpt_value_index(root));
    size_t room = outermost->count + 2 * values->numbers.count; /* a dictionary may stand in it under two names */
    room = room < ENTRIES_MAX ? room : ENTRIES_MAX;
    pickle->entries = calloc(room + 1, sizeof *pickle->entries);
    if (pickle->entries == NULL) {
        return CKPT_ERR_NOMEM;
    }
    collect_numbers(values, ckpt_value_index(root), (struct ckpt_name){"", 0}, room, pickle);
    uint32_t i = outermost->first;
    while (i != CKPT_VALUE_NONE && pickle->entry_count < room) {
        const struct ckpt_value_child *child = ckpt_values_child_at(values, i);
        i = child->next;
        if (ckpt_value_tag(child->key) != CKPT_TAG_TEXT || ckpt_value_tag(child->value) != CKPT_TAG_BOX) {
            continue;
        }
        uint32_t box = ckpt_value_index(child->value);
        struct ckpt_name name = {pickle->text + ckpt_value_index(child->key),
                                 (size_t)(ckpt_value_number(child->key) >> CKPT_VALUE_LENGTH_SHIFT)};
        if (ckpt_values_box_at(values, box)->count > 0) {
            pickle->entries[pickle->entry_count++] = (struct ckpt_pickle_entry){.name = name};
        }
        if (ckpt_values_box_at(values, box)->numbers > 0) {
            collect_numbers(values, box, name, room, pickle);
        }
    }
    return CKPT_OK;
}

/* Makes the result of what the machine found; takes its text. ROOT is OTHER when it didn't come to its end. */
static enum ckpt_err collect(struct ckpt_values *values, uint64_t root, struct ckpt_pickle *pickle)
{
    size_t count = values->storages.count;
    pickle->text = values->text.items;
    memset(&values->text, 0, sizeof values->text);
    enum ckpt_err err = collect_entries(values, root, pickle);
    if (err != CKPT_OK || count == 0) {
        return err;
    }
    pickle->list = calloc(count, sizeof *pickle->list);
    if (pickle->list == NULL) {
        return CKPT_ERR_NOMEM;
    }
    for (size_t i = 0; i < count; i++) {
        const struct ckpt_value_storage *from = ckpt_values_storage_at(values, (uint32_t)i);
        struct ckpt_storage *to = &pickle->list[i];
        to->id = (struct ckpt_name){pickle->text + from->id, from->id_size};
        if (from->path != CKPT_VALUE_NONE) {
            to->path = (struct ckpt_name){pickle->text + from->path, from->path_size};
        }
        to->type.bytes = "";
        if (from->type != CKPT_VALUE_NONE) {
            to->type.bytes = ckpt_value_type(from->type, &to->width);
            to->type.size = strlen(to->type.bytes);
        }
    }
    qsort(pickle->list, count, sizeof *pickle->list, by_id);
    for (size_t i = 0; i < count; i++) {
        struct ckpt_storage *last = pickle->count > 0 ? &pickle->list[pickle->count - 1] : NULL;
        if (last == NULL || compare_ids(last->id, pickle->list[i].id) != 0) {
            pickle->list[pickle->count++] = pickle->list[i];
        } else if (last->type.size == 0) {
            last->type = pickle->list[i].type;
            last->width = pickle->list[i].width;
        }
    }
    return CKPT_OK;
}

enum ckpt_err ckpt_pickle_read(const struct ckpt_source *source, uint64_t offset, uint64_t size,
                               struct ckpt_pickle *pickle)
{
    uint64_t root = ckpt_value(CKPT_TAG_OTHER, 0);
    struct walk *walk = calloc(1, sizeof *walk);
    struct ckpt_machine *machine = calloc(1, sizeof *machine);
    enum ckpt_err err = walk != NULL && machine != NULL ? CKPT_OK : CKPT_ERR_NOMEM;
    if (err != CKPT_OK) {
        goto out;
    }
    machine->stream.source = source;
    machine->stream.next = offset;
    machine->stream.end = offset + size;
    walk->values = &machine->values;
    err = ckpt_machine_run(machine, &root);
    if (err == CKPT_OK) {
        err = find_paths(walk, root);
    }
    if (err == CKPT_OK || err == CKPT_ERR_CORRUPT) {
        err = collect(&machine->values, root, pickle);
    }
out:
    if (machine != NULL) {
        ckpt_machine_free(machine);
    }
    free(machine);
    free(walk);
    return err;
}

const struct ckpt_storage *ckpt_pickle_find(const struct ckpt_pickle *pickle, struct ckpt_name id)
{
    size_t low = 0;
    size_t high = pickle->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = compare_ids(pickle->list[middle].id, id);
        if (order == 0) {
            return &pickle->list[middle];
        }
        if (order < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

void ckpt_pickle_clear(struct ckpt_pickle *pickle)
{
    free(pickle->list);
    free(pickle->entries);
    free(pickle->text);
    memset(pickle, 0, sizeof *pickle);
}
