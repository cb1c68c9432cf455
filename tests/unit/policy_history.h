/*
 * Histories of a run as tables, for the tests of the policy.
 */
#ifndef CKPT_TEST_POLICY_HISTORY_H
#define CKPT_TEST_POLICY_HISTORY_H

#include "unit.h"

#include <ckpt/policy.h>
#include <math.h>

/* What a row leaves out is 0. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

enum { ROWS = 16, VALUES = 4, NOW = 1000 * 86400, M = 60, H = 3600, D = 86400 };

#define NS INT64_C(1000000000)

/*
 * One checkpoint, in the order of saves. Flags: P pinned, T tagged, O open, R parent of a running
 * run, A a live name needs it, W being written, I invalid, o overwritten, d deleted, x dropped, h
 * hidden. Values: "val_loss 0.5 val_acc 0.9". A time is in seconds before now.
 */
struct row {
    const char *flags;
    int64_t ago;
    int epoch; /* below 0: unknown; a step is 100 epochs */
    const char *values;
    const char *expected; /* NULL ends the table */
    uint64_t bytes;
    int64_t since; /* of being gone or hidden: so long ago */
};

struct history {
    struct ckpt_policy_checkpoint checkpoints[ROWS];
    struct ckpt_policy_value values[ROWS][VALUES];
    char names[ROWS][VALUES][40];
    size_t n;
};

static inline bool has(const struct row *row, char flag)
{
    return strchr(row->flags, flag) != NULL;
}

static inline void fill(struct history *h, const struct row *rows)
{
    memset(h, 0, sizeof *h);
    for (; h->n < ROWS && rows[h->n].expected != NULL; h->n++) {
        const struct row *row = &rows[h->n];
        struct ckpt_policy_checkpoint *c = &h->checkpoints[h->n];
        *c = (struct ckpt_policy_checkpoint){
            .sequence = h->n + 1,
            .saved_ns = (NOW - row->ago) * NS,
            .epoch = row->epoch < 0 ? 0 : (uint64_t)row->epoch,
            .step = row->epoch < 0 ? 0 : (uint64_t)row->epoch * 100,
            .has_epoch = row->epoch >= 0,
            .has_step = row->epoch >= 0,
            .bytes = row->bytes,
            .state = has(row, 'W')   ? CKPT_STATE_WRITING
                     : has(row, 'I') ? CKPT_STATE_INVALID
                                     : CKPT_STATE_COMPLETE,
            .pinned = has(row, 'P'),
            .tagged = has(row, 'T'),
            .open = has(row, 'O'),
            .parent = has(row, 'R'),
            .alias = has(row, 'A'),
            .dropped = has(row, 'x'),
            .hidden = has(row, 'h'),
            .hidden_ns = (NOW - row->since) * NS,
            .gone = has(row, 'o')   ? CKPT_GONE_OVERWRITTEN
                    : has(row, 'd') ? CKPT_GONE_DELETED
                                    : CKPT_GONE_NOT,
            .gone_ns = (NOW - row->since) * NS,
            .values = h->values[h->n],
        };
        char text[128];
        char *rest = NULL;
        (void)snprintf(text, sizeof text, "%s", row->values);
        for (char *name = strtok_r(text, " ", &rest); name != NULL;
             name = strtok_r(NULL, " ", &rest)) {
            assert_in_range(c->n_values, 0, VALUES - 1);
            (void)snprintf(h->names[h->n][c->n_values], sizeof h->names[0][0], "%s", name);
            h->values[h->n][c->n_values] = (struct ckpt_policy_value){
                .name = h->names[h->n][c->n_values],
                .value = strtod(strtok_r(NULL, " ", &rest), NULL),
            };
            c->n_values++;
        }
    }
}

static inline void parse(const char *text, struct ckpt_policy *policy)
{
    struct ckpt_policy_error error;
    if (ckpt_policy_parse(text, strlen(text), policy, &error) != CKPT_OK) {
        print_error("%s\n", error.text);
        fail();
    }
}

#endif
