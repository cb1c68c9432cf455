/*
 * What the content of a captured file says of the checkpoint that it is: whether it is whole, what it holds, how far
 * training was, and the metrics that were saved with it.
 *
 *     torch.save    the paths of the tensors and the entries of the outermost dictionary; its numbers (also NumPy
 *                   scalars, and tensors of one element whose name is a metric's), and those of a dictionary in it that
 *                   is called like metrics ("metrics", "val_results") or a trainer's state ("meta", "extra_state")
 *     safetensors   the names of the tensors; the texts of __metadata__ that are numbers
 *     .metadata     of DCP: the names of the tensors in the .distcp files beside it
 *     npz           the names of the arrays: FULL and OPTIMIZER only, as any arrays may stand in one
 *     HDF5, .keras  FULL when the groups of weights and of the optimizer are both seen in the first or the last MiB, as
 *                   Keras writes them; never anything else, as there is no reader of HDF5 (DESIGN.md)
 *
 * What isn't told: files of torch before 1.6, several archives one after another (.distcp: see .metadata), NumPy
 * scalars of pickle protocols after 2. Nothing of an invalid file is told.
 *
 *     inspect.c           collects what the readers of container.h tell
 *     inspect_names.c     what the name of a number says
 *     inspect_version.c   a version of a store, and the state that it holds
 *
 * The bytes may lie, and so may names: what is told only steers what is shown and kept. Memory is bounded as in
 * validity.h. Thread rules: any thread.
 */
#ifndef CKPT_STORE_INSPECT_H
#define CKPT_STORE_INSPECT_H

#include "chunk/codec.h"
#include "format/container.h"
#include "format/validity.h"
#include "object/recipe.h"
#include "recognise/holdings.h"
#include <ckpt/err.h>
#include <ckpt/id.h>
#include <ckpt/store.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CKPT_INSPECT_NAME = 128, CKPT_INSPECT_VALUES = 32 };

struct ckpt_inspected_value {
    char name[CKPT_INSPECT_NAME]; /* as it is written, printable ASCII; "val/loss" of the loss in a dictionary that
                                     is called "val_metrics" */
    double value;                 /* may be NaN or infinite */
};

struct ckpt_inspection {
    enum ckpt_validity validity;
    char format[16]; /* as in validity.h */
    char why[128];
    enum ckpt_holds holds; /* UNKNOWN when the content doesn't tell */
    bool has_epoch;
    bool has_step;
    uint64_t epoch; /* as it is written: frameworks count from 0 or from 1, or save the one that comes next */
    uint64_t step;  /* also iterations, updates */
    struct ckpt_inspected_value values[CKPT_INSPECT_VALUES]; /* those that read like metrics first; more are left out */
    size_t n_values;
};

/* NAME is the file's, for its extension. *OUT is whole in any case. Errors: NOMEM; IO (PREAD failed within
   SOURCE->size). */
CKPT_MUST_USE enum ckpt_err ckpt_inspect(const struct ckpt_source *source, const char *name,
                                         struct ckpt_inspection *out);

/*
 * The state that a file holds, apart from how it is packed: equal for `last.pt` and `epoch_3.pt` that were saved from the
 * same objects. A hash over the tensors' chunks, by name and content in any order. Not in it: numbers that are no
 * tensors (the epoch), and tensors whose element type isn't known. *KNOWN is false when there is nothing to hash: the
 * recipe's id then says the same. Only states of one store can be compared. NOMEM.
 */
CKPT_MUST_USE enum ckpt_err ckpt_inspect_state(const struct ckpt_recipe *recipe, struct ckpt_id *state, bool *known);

/*
 * Both for a stored file, which NAME also calls in reports. Decodes only the chunks that are looked at: hardly any of a large
 * tensor's. The recipe is pinned meanwhile; CODEC is used. *OUT is whole in any case, *STATE is all zeros when it isn't
 * known. Errors: NOT_FOUND: no such recipe; CORRUPT: it is damaged, or a chunk is, which is reported; NOMEM, IO.
 */
CKPT_MUST_USE enum ckpt_err ckpt_inspect_version(struct ckpt_store *store, struct ckpt_codec *codec,
                                                 const struct ckpt_id *recipe, const char *name,
                                                 struct ckpt_inspection *out, struct ckpt_id *state, bool *state_known);

#endif
