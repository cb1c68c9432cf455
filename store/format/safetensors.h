/*
 * safetensors: a JSON header that says where each tensor stands, then the tensors
 * (https://huggingface.co/docs/safetensors, "Format").
 */
#ifndef CKPT_STORE_SAFETENSORS_H
#define CKPT_STORE_SAFETENSORS_H

#include "container.h"

/* Adds every tensor. Errors: container.h. */
CKPT_MUST_USE enum ckpt_err ckpt_safetensors_read(struct ckpt_reading *reading, const struct ckpt_range *range);

#endif
