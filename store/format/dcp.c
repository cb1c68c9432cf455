#include "dcp.h"
#include "pickle_machine.h"
#include <stdlib.h>

static const struct ckpt_value_box *box_of(const struct ckpt_values *values, uint64_t value)
{
    return ckpt_value_tag(value) == CKPT_TAG_BOX ? ckpt_values_box_at(values, ckpt_value_index(value)) : NULL;
}

/* An object has its state last. NULL: it has none. */
static const struct ckpt_value_box *state_of(const struct ckpt_values *values, uint64_t object)
{
    const struct ckpt_value_box *box = box_of(values, object);
    if (box == NULL || box->last == CKPT_VALUE_NONE) {
        return NULL;
    }
    const struct ckpt_value_child *last = ckpt_values_child_at(values, box->last);
    return ckpt_value_tag(last->key) == CKPT_TAG_WITHIN ? box_of(values, last->value) : NULL;
}

static const struct ckpt_value_box *attribute_of(const struct ckpt_values *values, uint64_t object, const char *name)
{
    const struct ckpt_value_box *state = state_of(values, object);
    uint32_t i = state != NULL ? state->first : CKPT_VALUE_NONE;
    while (i != CKPT_VALUE_NONE) {
        const struct ckpt_value_child *child = ckpt_values_child_at(values, i);
        if (ckpt_value_tag(child->key) == CKPT_TAG_TEXT &&
            ckpt_name_is(ckpt_values_text(values, child->key), name)) {
            return box_of(values, child->value);
        }
        i = child->next;
    }
    return NULL;
}

/* What describes a tensor (TensorStorageMetadata) has attributes; what describes bytes (BytesStorageMetadata) has none. */
static enum ckpt_err tell(const struct ckpt_values *values, const struct ckpt_value_box *names,
                          const struct ckpt_observer *observer)
{
    size_t told = 0;
    uint32_t i = names->first;
    while (i != CKPT_VALUE_NONE) {
        const struct ckpt_value_child *child = ckpt_values_child_at(values, i);
        i = child->next;
        if (ckpt_value_tag(child->key) != CKPT_TAG_TEXT) {
            continue;
        }
        struct ckpt_name name = ckpt_values_text(values, child->key);
        const struct ckpt_value_box *state = state_of(values, child->value);
        told += name.size;
        if (told > CKPT_VALUE_TEXT_MAX) {
            return CKPT_ERR_CORRUPT; /* one text again and again */
        }
        if (state != NULL && state->count > 0) {
            observer->tensor(observer->arg, name, (struct ckpt_name){"", 0}, 0, 0);
        } else {
            observer->branch(observer->arg, name);
        }
    }
    return CKPT_OK;
}

enum ckpt_err ckpt_dcp_observe(const struct ckpt_source *source, const struct ckpt_observer *observer)
{
    uint64_t root = 0;
    struct ckpt_machine *machine = calloc(1, sizeof *machine);
    if (machine == NULL) {
        return CKPT_ERR_NOMEM;
    }
    machine->stream.source = source;
    machine->stream.end = source->size;
    enum ckpt_err err = ckpt_machine_run(machine, &root);
    if (err == CKPT_OK) {
        const struct ckpt_value_box *names = attribute_of(&machine->values, root, "state_dict_metadata");
        err = names != NULL ? tell(&machine->values, names, observer) : CKPT_ERR_CORRUPT;
    }
    ckpt_machine_free(machine);
    free(machine);
    return err;
}
