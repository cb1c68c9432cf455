/*
 * The machine of a pickle: runs its opcodes and leaves the outermost value on the stack. For pickle.c.
 */
#ifndef CKPT_STORE_PICKLE_MACHINE_H
#define CKPT_STORE_PICKLE_MACHINE_H

#include "pickle_stream.h"
#include "pickle_value.h"

struct ckpt_machine {
    struct ckpt_pickle_stream stream;
    uint8_t code; /* the opcode under way */
    bool stopped;
    struct ckpt_list stack; /* uint64_t */
    struct ckpt_list memo;  /* uint64_t */
    size_t marks;           /* on the stack */
    struct ckpt_values values;
};

/* Runs the pickle to its end; *ROOT is its value. MACHINE is all zeros except the stream's source, next and end; free it
   in any case. CORRUPT: it makes no sense, or is too big; what was found so far is in VALUES. NOMEM, IO. */
CKPT_MUST_USE enum ckpt_err ckpt_machine_run(struct ckpt_machine *machine, uint64_t *root);

void ckpt_machine_free(struct ckpt_machine *machine);

#endif
