/*
 * The .metadata of torch.distributed.checkpoint: what the files beside it (.distcp) hold. It is a pickle of one object,
 * whose attribute state_dict_metadata is a dictionary by the names of the tensors
 * (torch/distributed/checkpoint/metadata.py; in torch 1.13 below _shard/).
 */
#ifndef CKPT_STORE_DCP_H
#define CKPT_STORE_DCP_H

#include "container.h"

/*
 * Tells OBSERVER the tensors, without bytes and type, because they stand in other files, and as branches the names of
 * what is none. Memory is bounded as in pickle.h. CORRUPT: the pickle makes no sense, is another one, or is too big:
 * with some 200,000 pieces of tensors (each rank has one of each) it comes to the limits of pickle_value.h; forget
 * what was told. NOMEM, IO.
 */
CKPT_MUST_USE enum ckpt_err ckpt_dcp_observe(const struct ckpt_source *source, const struct ckpt_observer *observer);

#endif
