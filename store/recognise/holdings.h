/*
 * Whether a checkpoint can resume training, from the names of its tensors: the state of an optimizer is
 * there or it isn't.
 *
 * Names are paths in the saved object as pickle.h, safetensors and HDF5 give them, with ".", "/" or "["
 * between their parts: torch.optim (state.0.exp_avg, momentum_buffer), Lightning
 * (optimizer_states.0.state...), DeepSpeed (optimizer_state_dict.fp32_flat_groups), Keras (optimizer/...,
 * optimizer_weights/...), optax (opt_state/0/mu), Megatron (optimizer.state.exp_avg),
 * torchtitan (optimizer.state.layers.0.weight.exp_avg). The names of top-level entries that aren't tensors may be
 * added as well: SGD without momentum keeps no tensors, but an "optimizer" entry.
 *
 * Pure. Thread rules: any thread, one for each struct.
 */
#ifndef CKPT_STORE_HOLDINGS_H
#define CKPT_STORE_HOLDINGS_H

#include "recognise.h"

/* All zeros at first. */
struct ckpt_holdings {
    uint64_t optimizer; /* names that belong to an optimizer's state */
    uint64_t extra;     /* to random states, schedulers, scalers */
    uint64_t ema;       /* to averaged weights */
    uint64_t model;     /* to anything else */
};

void ckpt_holdings_add(struct ckpt_holdings *holdings, const char *name, size_t n);

/* FULL, WEIGHTS, EMA, OPTIMIZER, EXTRA; UNKNOWN when nothing was added. */
enum ckpt_holds ckpt_holdings_sum(const struct ckpt_holdings *holdings);

#endif
