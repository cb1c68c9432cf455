#!/usr/bin/python3
"""Flat files for bench_codec: what consecutive checkpoints hold, one file per kind and checkpoint.

    extract_tensors.py DIR CHECKPOINT.pt [OLDER.pt]

writes DIR/weights, exp_avg, exp_avg_sq (float32) and bf16 (the weights rounded), and the same with .base of the older one.
A checkpoint is a torch.save of {"model": state_dict, "optimizer": AdamW's state_dict}.
"""

import sys

import torch


def write(path, tensors, dtype=None):
    with open(path, "wb") as out:
        for tensor in tensors:
            if tensor.is_floating_point():
                tensor = tensor.contiguous() if dtype is None else tensor.to(dtype).contiguous()
                out.write(tensor.view(torch.int16 if tensor.element_size() == 2 else torch.int32).numpy().tobytes())


def extract(checkpoint, prefix, suffix):
    state = torch.load(checkpoint, map_location="cpu")
    weights = list(state["model"].values())
    write(f"{prefix}/weights{suffix}", weights)
    write(f"{prefix}/bf16{suffix}", weights, torch.bfloat16)
    for name in "exp_avg", "exp_avg_sq":
        write(f"{prefix}/{name}{suffix}", [entry[name] for entry in state["optimizer"]["state"].values()])


if len(sys.argv) not in (3, 4):
    sys.exit(__doc__)
extract(sys.argv[2], sys.argv[1], "")
if len(sys.argv) == 4:
    extract(sys.argv[3], sys.argv[1], ".base")
