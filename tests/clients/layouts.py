#!/usr/bin/python3
"""Trainers' checkpoints as their frameworks write them: the same steps in the same order, for the tests.

    layouts.py              checks the writers themselves: what each leaves behind loads in its own library

A writer is a generator, writer(run, k, ...): it makes the K-th checkpoint (from 1) of the directory RUN and yields
a label after each of its steps. Where a framework can be interrupted within a file, there is a step in the middle
of it. The real libraries write where Debian has them (torch, h5py, numpy, zipfile, optuna); elsewhere the bytes are
those of the format. Epochs and steps: K and 100 K.

Each writer names the source that its order follows: project, file, release. "As documented" means that only the
project's documentation was at hand.

The helpers at the end write the files with numbers: what tests/files/make-metrics has samples of, growing.
"""
import csv
import enum
import importlib.machinery
import importlib.util
import io
import json
import os
import pickle
import shutil
import struct
import sys
import tempfile
import types
import zipfile
from typing import Callable, List, NamedTuple, Optional
from unittest import mock

import h5py
import numpy
import torch

HERE = os.path.dirname(os.path.abspath(__file__))


# What is saved ----------------------------------------------------------------------------------------------


def tensors(k, parts=3):
    """The weights after K epochs: the same for the same K."""
    generator = torch.Generator().manual_seed(k)
    return {f"layers.{part}.weight": torch.randn(16, 24, generator=generator) for part in range(parts)}


def optimizer_state(k):
    generator = torch.Generator().manual_seed(1000 + k)
    return {"state": {part: {"step": 100 * k, "exp_avg": torch.randn(16, 24, generator=generator),
                             "exp_avg_sq": torch.rand(16, 24, generator=generator)} for part in range(3)},
            "param_groups": [{"lr": 1e-3, "params": [0, 1, 2]}]}


def full_state(k, **scalars):
    return {"model": tensors(k), "optimizer": optimizer_state(k), "epoch": k, **scalars}


def torch_bytes(state):
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def safetensors_bytes(state, metadata=None):
    """safetensors/src/tensor.rs, serialize: length, JSON padded with spaces to 8 bytes, tensors."""
    header, body = {"__metadata__": metadata} if metadata else {}, b""
    for name, tensor in state.items():
        raw = tensor.contiguous().numpy().tobytes()
        header[name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


def load_safetensors(path):
    """(tensors, metadata), read strictly."""
    with open(path, "rb") as file:
        content = file.read()
    length = struct.unpack("<Q", content[:8])[0]
    header, body = json.loads(content[8:8 + length]), content[8 + length:]
    metadata, ends = header.pop("__metadata__", {}), [0]
    found = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        found[name] = torch.frombuffer(bytearray(body[start:end]), dtype=torch.float32).reshape(entry["shape"])
        ends.append(end)
    assert max(ends) == len(body), f"{path}: {len(body)} bytes of tensors, {max(ends)} in the header"
    return found, metadata


# Steps ------------------------------------------------------------------------------------------------------


def put(path, content):
    """A whole file at once."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb" if isinstance(content, bytes) else "w") as file:
        file.write(content)
    return os.path.basename(path)


def put_json(path, document):
    return put(path, json.dumps(document, indent=2) + "\n")


def slowly(path, content):
    """The same with a step in the middle, while the file is open."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content[:len(content) // 2])
        file.flush()
        yield f"half of {os.path.basename(path)}"
        file.write(content[len(content) // 2:])
    yield os.path.basename(path)


# Directories ------------------------------------------------------------------------------------------------


def trainer_state(k, history=()):
    """transformers/trainer_callback.py, TrainerState (4.47)."""
    return {"best_metric": None, "best_model_checkpoint": None, "epoch": float(k), "global_step": 100 * k,
            "is_local_process_zero": True, "is_world_process_zero": True, "log_history": list(history),
            "max_steps": 1000, "num_train_epochs": 10, "stateful_callbacks": {}}


def _transformers_members(where, k, sharded, history, random_last=False):
    """
    transformers/trainer.py, Trainer._save_checkpoint: save_model (config, weights: the shards, then their index;
    training_args.bin), _save_optimizer_and_scheduler, _save_rng_state, TrainerState.save_to_json. Releases up
    to 4.35 wrote the random state behind trainer_state.json.
    """
    yield put_json(f"{where}/config.json", {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2"})
    if sharded:
        names = {f"model-{i + 1:05d}-of-00003.safetensors": name for i, name in enumerate(tensors(k))}
        for file, name in names.items():
            yield put(f"{where}/{file}", safetensors_bytes({name: tensors(k)[name]}, {"format": "pt"}))
        yield put_json(f"{where}/model.safetensors.index.json",
                       {"metadata": {"total_size": 4 * 16 * 24 * 3},
                        "weight_map": {name: file for file, name in names.items()}})
    else:
        yield from slowly(f"{where}/model.safetensors", safetensors_bytes(tensors(k), {"format": "pt"}))
    for name, state in (("training_args.bin", {"learning_rate": 5e-5, "seed": 42}),
                        ("optimizer.pt", optimizer_state(k)), ("scheduler.pt", {"last_epoch": 100 * k}),
                        ("rng_state.pth", {"cpu": torch.get_rng_state()})):
        if name != "rng_state.pth" or not random_last:
            torch.save(state, f"{where}/{name}")
            yield name
    yield put_json(f"{where}/trainer_state.json", trainer_state(k, history))
    if random_last:
        torch.save({"cpu": torch.get_rng_state()}, f"{where}/rng_state.pth")
        yield "rng_state.pth"


def transformers(run, k, sharded=False, history=()):
    """transformers 4.47: into checkpoint-STEP itself."""
    yield from _transformers_members(f"{run}/checkpoint-{100 * k}", k, sharded, history)


def transformers_sharded(run, k):
    yield from transformers(run, k, sharded=True)


def transformers_4_35(run, k):
    yield from _transformers_members(f"{run}/checkpoint-{100 * k}", k, False, (), random_last=True)


def transformers_staged(run, k):
    """transformers 4.37: into tmp-checkpoint-STEP, which is renamed."""
    yield from _transformers_members(f"{run}/tmp-checkpoint-{100 * k}", k, False, ())
    os.rename(f"{run}/tmp-checkpoint-{100 * k}", f"{run}/checkpoint-{100 * k}")
    yield "rename"


def accelerate(run, k):
    """accelerate/checkpointing.py, save_accelerator_state (1.0): models, optimizers, schedulers, samplers, random
    states. With automatic names: checkpoint_N. No marker."""
    where = f"{run}/checkpoint_{k}"
    yield from slowly(f"{where}/model.safetensors", safetensors_bytes(tensors(k), {"format": "pt"}))
    for name, state in (("optimizer.bin", optimizer_state(k)), ("scheduler.bin", {"last_epoch": k}),
                        ("sampler.bin", {"epoch": k}), ("random_states_0.pkl", {"torch": torch.get_rng_state()})):
        torch.save(state, f"{where}/{name}")
        yield name


def deepspeed(run, k, ranks=2):
    """deepspeed/runtime/engine.py, save_checkpoint (0.14): _save_checkpoint (model states), _save_zero_checkpoint on
    each rank, with zero_to_fp32.py copied to the parent by rank 0; a barrier; rank 0 rewrites `latest`."""
    tag = f"global_step{100 * k}"
    yield from slowly(f"{run}/{tag}/mp_rank_00_model_states.pt",
                      torch_bytes({"module": tensors(k), "optimizer": None, "global_steps": 100 * k,
                                   "dp_world_size": ranks}))
    for rank in range(ranks):
        name = f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"
        torch.save({"optimizer_state_dict": optimizer_state(10 * k + rank)}, f"{run}/{tag}/{name}")
        yield name
    yield put(f"{run}/zero_to_fp32.py", "#!/usr/bin/env python\n")
    with open(f"{run}/latest", "w") as file:
        file.write(tag)
    yield "latest"


def dcp_state(k, rank, optimizer=True):
    """What a rank saves, each under its flat name, as torchtitan/components/checkpoint.py has them."""
    state = {f"model.{name}.{rank}": tensor for name, tensor in tensors(10 * k + rank).items()}
    if optimizer:
        for part, moments in optimizer_state(10 * k + rank)["state"].items():
            state.update({f"optimizer.state.layers.{part}.weight.{rank}.{moment}": moments[moment]
                          for moment in ("exp_avg", "exp_avg_sq")})
            state[f"optimizer.param_groups.layers.{part}.weight.{rank}.lr"] = 1e-3
    state[f"dataloader.dp_rank_{rank}"] = b"where it was"
    return state


def distcp_bytes(state, rank):
    """torch/distributed/checkpoint/filesystem.py, _write_item: one torch.save after the other, what is no tensor first;
    (bytes, index)."""
    content, index = b"", {}
    for name, value in sorted(state.items(), key=lambda item: torch.is_tensor(item[1])):
        piece = torch_bytes(value)
        index[name] = (f"__{rank}_0.distcp", len(content), len(piece))
        content += piece
    return content, index


def dcp_metadata(state, index):
    """.metadata as torch/distributed/checkpoint/metadata.py, default_planner.py and filesystem.py (2.5) make it. The
    classes are called as those of torch, for which Debian's is too old."""
    names = {"metadata": ("Metadata", "TensorStorageMetadata", "BytesStorageMetadata", "ChunkStorageMetadata",
                          "TensorProperties", "MetadataIndex", "StorageMeta"), "filesystem": ("_StorageInfo",)}
    modules, classes = {}, {}
    for name, within in names.items():
        module = f"torch.distributed.checkpoint.{name}"
        modules[module] = types.ModuleType(module)
        for each in within:
            classes[each] = type(each, (), {"__module__": module})
            setattr(modules[module], each, classes[each])
    # The only one that isn't pickled as a dictionary.
    encoding = enum.Enum("_MEM_FORMAT_ENCODING", ["TORCH_CONTIGUOUS_FORMAT"], module=classes["Metadata"].__module__)
    modules[encoding.__module__]._MEM_FORMAT_ENCODING = encoding
    classes["TensorProperties"].__getstate__ = lambda self: (
        torch.float32, torch.strided, False, encoding.TORCH_CONTIGUOUS_FORMAT, False)

    def make(name, **attributes):
        made = classes[name]()
        vars(made).update(attributes)
        return made

    def describe(value):
        if not torch.is_tensor(value):
            return make("BytesStorageMetadata")
        chunk = make("ChunkStorageMetadata", offsets=torch.Size([0] * value.dim()), sizes=value.size())
        return make("TensorStorageMetadata", properties=make("TensorProperties"), size=value.size(), chunks=[chunk])

    stored = {make("MetadataIndex", fqn=name, offset=torch.Size([0, 0]), index=0):
              make("_StorageInfo", relative_path=file, offset=offset, length=length)
              for name, (file, offset, length) in index.items()}
    metadata = make("Metadata", state_dict_metadata={name: describe(value) for name, value in state.items()},
                    planner_data={name: tuple(name.split(".")) for name in state}, storage_data=stored,
                    storage_meta=make("StorageMeta", checkpoint_id="step-100", save_id="0", load_id=None, modules=[]))
    with mock.patch.dict(sys.modules, modules):
        return pickle.dumps(metadata, protocol=4)


def dcp(run, k, ranks=2, optimizer=True):
    """torch/distributed/checkpoint/filesystem.py (2.5): each rank's files, then _FileSystemWriter.finish: .metadata.tmp
    with fsync, an old .metadata is removed, the rename. Directory as torchtitan/components/checkpoint.py: step-N."""
    where, index, state = f"{run}/step-{100 * k}", {}, {}
    for rank in range(ranks):
        mine = dcp_state(k, rank, optimizer)
        content, part = distcp_bytes(mine, rank)
        state.update(mine)
        index.update(part)
        yield from slowly(f"{where}/__{rank}_0.distcp", content)
    with open(f"{where}/.metadata.tmp", "wb") as file:
        file.write(dcp_metadata(state, index))
        file.flush()
        os.fsync(file.fileno())
    yield ".metadata.tmp"
    if os.path.exists(f"{where}/.metadata"):
        os.unlink(f"{where}/.metadata")
    os.rename(f"{where}/.metadata.tmp", f"{where}/.metadata")
    yield ".metadata"


def dcp_weights(run, k):
    """As torchtitan's last one is, with last_save_model_only."""
    yield from dcp(run, k, optimizer=False)


def megatron(run, k, ranks=2):
    """megatron/training/checkpointing.py, save_checkpoint (core 0.9): torch.save on each rank, a barrier, rank 0 writes
    the tracker."""
    where = f"{run}/iter_{100 * k:07d}"
    for rank in range(ranks):
        state = {"iteration": 100 * k, "checkpoint_version": 3.0, "model": tensors(10 * k + rank),
                 "optimizer": optimizer_state(10 * k + rank)}
        for label in slowly(f"{where}/mp_rank_{rank:02d}/model_optim_rng.pt", torch_bytes(state)):
            yield f"rank {rank}: {label}"
    with open(f"{run}/latest_checkpointed_iteration.txt", "w") as file:
        file.write(str(100 * k))
    yield "latest_checkpointed_iteration.txt"


def _nemo_marker(path):
    """nemo/utils/callbacks/nemo_model_checkpoint.py, format_checkpoint_unfinished_marker_path."""
    for suffix in (".nemo", ".ckpt", "-EMA"):
        path = path[:-len(suffix)] if path.endswith(suffix) else path
    return path + "-unfinished"


def nemo(run, k):
    """nemo/utils/callbacks/nemo_model_checkpoint.py, _save_checkpoint (1.23): marker, file, marker removed."""
    path = f"{run}/megatron_gpt--val_loss={1 / k:.2f}-step={100 * k}.ckpt"
    marker = _nemo_marker(path)
    put(marker, "")
    yield "the marker"
    yield from slowly(path, torch_bytes(full_state(k)))
    os.unlink(marker)
    yield "the marker removed"


def nemo_directory(run, k):
    """nemo/lightning/pytorch/callbacks/model_checkpoint.py (2.0): a directory of weights (as DCP) and context."""
    path = f"{run}/gpt--val_loss={1 / k:.2f}-epoch={k}"
    put(_nemo_marker(path), "")
    yield "the marker"
    state = dcp_state(k, 0, optimizer=False)
    content, index = distcp_bytes(state, 0)
    yield from slowly(f"{path}/weights/__0_0.distcp", content)
    torch.save({"iteration": 100 * k}, f"{path}/weights/common.pt")
    yield "common.pt"
    yield put(f"{path}/weights/.metadata", dcp_metadata(state, index))
    yield put(f"{path}/context/model.yaml", "_target_: nemo.collections.llm.GPTModel\n")
    os.unlink(_nemo_marker(path))
    yield "the marker removed"


def orbax(run, k):
    """orbax/checkpoint/_src/path/atomicity.py, AtomicRenameTemporaryPath (0.11): N.orbax-checkpoint-tmp with
    _CHECKPOINT_METADATA, the items (OCDBT, written to temporary names themselves), the metadata again, the rename."""
    final = f"{run}/{100 * k}"
    temporary = f"{final}.orbax-checkpoint-tmp"
    item = f"{temporary}/default.orbax-checkpoint-tmp"
    metadata = {"init_timestamp_nsecs": 10**18 + k, "commit_timestamp_nsecs": None, "custom_metadata": {}}
    yield put(f"{temporary}/_CHECKPOINT_METADATA", json.dumps(metadata))
    yield put(f"{item}/array_metadatas/process_0", json.dumps({"array_metadatas": []}))
    raw = b"".join(tensor.numpy().tobytes() for tensor in tensors(k).values())
    yield from slowly(f"{item}/ocdbt.process_0/d/{k:032x}", raw)
    yield put(f"{item}/ocdbt.process_0/manifest.ocdbt", b"\x0c\xdb\x3a\x2a" + bytes(28))
    yield put(f"{item}/d/{k + 1:032x}", raw[:512])
    put(f"{item}/manifest.ocdbt", b"\x0c\xdb\x3a\x2a" + bytes(60))
    yield "manifest.ocdbt of all"
    yield put(f"{item}/_METADATA", json.dumps({"tree_metadata": {name: {} for name in tensors(k)}}))
    os.rename(item, f"{temporary}/default")
    yield "rename of the item"
    put(f"{temporary}/_CHECKPOINT_METADATA", json.dumps({**metadata, "commit_timestamp_nsecs": 10**18 + k + 1}))
    yield "_CHECKPOINT_METADATA again"
    os.rename(temporary, final)
    yield "rename"


def torchsnapshot(run, k):
    """torchsnapshot/snapshot.py, Snapshot.take (0.1): each rank's RANK/STATEFUL/NAME, raw; a barrier; rank 0 writes
    .snapshot_metadata (YAML)."""
    where, manifest = f"{run}/step-{100 * k}", {}
    for name, tensor in tensors(k).items():
        manifest[f"0/model/{name}"] = {"type": "Tensor", "location": f"0/model/{name}", "serializer": "buffer_protocol",
                                       "dtype": "torch.float32", "shape": list(tensor.shape), "replicated": False}
        yield from slowly(f"{where}/0/model/{name}", tensor.numpy().tobytes())
    yield put_json(f"{where}/.snapshot_metadata", {"version": "0.1.0", "world_size": 1, "manifest": manifest})


def ray(run, k):
    """ray/train/_internal/storage.py, StorageContext.persist_current_checkpoint (2.9): the trainer's own directory is
    copied file by file to TRIAL/checkpoint_NNNNNN, N from 0. No marker; result.json gets its line afterwards."""
    with tempfile.TemporaryDirectory() as own:
        torch.save(tensors(k), f"{own}/model.pt")
        torch.save(optimizer_state(k), f"{own}/optimizer.pt")
        where = f"{run}/checkpoint_{k - 1:06d}"
        os.makedirs(where)
        yield "the directory"
        for name in ("model.pt", "optimizer.pt"):
            with open(f"{own}/{name}", "rb") as file:
                yield from slowly(f"{where}/{name}", file.read())


# Single files -----------------------------------------------------------------------------------------------


def lightning(run, k, name=None, last=None, state=None):
    """
    lightning/fabric/utilities/cloud_io.py, _atomic_save (2.4): torch.save to memory, then fsspec/implementations/
    local.py, LocalFileOpener: mkstemp in $TMPDIR, and commit() by shutil.move, which across filesystems is copyfile
    onto the final name, copystat, unlink. A "/" in the name makes a directory. Then
    lightning/pytorch/callbacks/model_checkpoint.py, _save_last_checkpoint: the same again onto last.ckpt (LAST "copy"),
    or a relative symlink (LAST "link").
    """
    state = state or {"epoch": k, "global_step": 100 * k, "pytorch-lightning_version": "2.4.0",
                      "state_dict": tensors(k), "optimizer_states": [optimizer_state(k)], "lr_schedulers": [],
                      "callbacks": {}, "loops": {}}
    names = [name or f"epoch={k}-step={100 * k}.ckpt"] + (["last.ckpt"] if last == "copy" else [])
    for name in names:
        descriptor, temporary = tempfile.mkstemp()
        with os.fdopen(descriptor, "wb") as file:
            file.write(torch_bytes(state))
        with open(temporary, "rb") as file:
            yield from slowly(f"{run}/{name}", file.read())
        shutil.copystat(temporary, f"{run}/{name}")
        os.unlink(temporary)
        yield f"{name} with the times of its temporary file"
    if last == "link":
        if os.path.lexists(f"{run}/last.ckpt"):
            os.unlink(f"{run}/last.ckpt")
        os.symlink(names[0], f"{run}/last.ckpt")
        yield "last.ckpt"


def lightning_with_version(run, k):
    """ModelCheckpoint.file_exists: a name that is taken gets "-v1"."""
    yield from lightning(run, k, name=f"epoch={k}-step={100 * k}-v1.ckpt")


def keras_h5(run, k, name=None):
    """keras/src/callbacks/model_checkpoint.py and legacy/saving/legacy_h5_format.py (3.5): h5py.File(name, "w"), config
    attributes, the weights, the optimizer's. Overwritten in place when the name has no epoch."""
    path = f"{run}/{name or f'weights.{k:02d}-{1 / k:.2f}.h5'}"
    file = h5py.File(path, "w")
    file.attrs["keras_version"] = "3.5.0"
    file.attrs["model_config"] = json.dumps({"class_name": "Sequential"})
    file.flush()
    yield f"opened {os.path.basename(path)}"
    for group, tree in (("model_weights", tensors(k)), ("optimizer_weights", tensors(1000 + k))):
        for entry, tensor in tree.items():
            file.create_dataset(f"{group}/{entry.replace('.', '/')}", data=tensor.numpy())
    file.flush()
    yield f"flushed {os.path.basename(path)}"
    file.close()
    yield os.path.basename(path)


def keras_weights_bytes(k):
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for entry, tensor in tensors(k).items():
            file.create_dataset(f"layers/dense_{entry.split('.')[1]}/vars/0", data=tensor.numpy())
    return buffer.getvalue()


def keras_zip(run, k, name=None):
    """keras/src/saving/saving_lib.py, _save_model_to_fileobj (3.5): open(name, "wb"), a zip of metadata.json,
    config.json and model.weights.h5, which is made in memory and added last."""
    path = f"{run}/{name or f'model_epoch_{k:02d}.keras'}"
    with open(path, "wb") as file:
        with zipfile.ZipFile(file, "w") as archive:
            with archive.open("metadata.json", "w") as entry:
                entry.write(json.dumps({"keras_version": "3.5.0", "date_saved": "2024-11-24@15:30:00"}).encode())
            with archive.open("config.json", "w") as entry:
                entry.write(json.dumps({"module": "keras", "class_name": "Sequential"}).encode())
            file.flush()
            yield f"half of {os.path.basename(path)}"
            with archive.open("model.weights.h5", "w") as entry:
                entry.write(keras_weights_bytes(k))
    yield os.path.basename(path)


def torch_file(run, k, name=None, **scalars):
    """torch/serialization.py: a zip, written front to back into the final name, as every script does it."""
    yield from slowly(f"{run}/{name or f'bert_run3_epoch_{k}_valLoss_{1 / k:.3f}.pt'}",
                      torch_bytes(full_state(k, **scalars)))


def torch_file_and_rename(run, k):
    """As torch_file, by scripts that know better: to NAME.tmp, then os.replace."""
    path = f"{run}/epoch_{k:02d}.pt"
    yield from slowly(path + ".tmp", torch_bytes(full_state(k)))
    os.replace(path + ".tmp", path)
    yield "rename"


def safetensors_file(run, k, name=None, metadata=None):
    """safetensors/src/tensor.rs, serialize_to_file (0.4): a buffered writer onto the final name."""
    yield from slowly(f"{run}/{name or f'model_epoch_{k}.safetensors'}", safetensors_bytes(tensors(k), metadata))


def safetensors_shards(run, k):
    """huggingface_hub/serialization/_torch.py, save_torch_state_dict (0.24): the shards, then the index; beside each
    other in the run. The next save overwrites them."""
    names = {f"model-{i + 1:05d}-of-00003.safetensors": name for i, name in enumerate(tensors(k))}
    for file, name in names.items():
        yield from slowly(f"{run}/{file}", safetensors_bytes({name: tensors(k)[name]}, {"format": "pt"}))
    yield put_json(f"{run}/model.safetensors.index.json",
                   {"metadata": {"total_size": 4 * 16 * 24 * 3},
                    "weight_map": {name: file for file, name in names.items()}})


def numpy_file(run, k, name=None):
    """numpy/lib/npyio.py, savez (1.24): a zip onto the final name."""
    path = f"{run}/{name or f'params_epoch_{k}.npz'}"
    buffer = io.BytesIO()
    numpy.savez(buffer, **{entry: tensor.numpy() for entry, tensor in tensors(k).items()})
    yield from slowly(path, buffer.getvalue())


# The table --------------------------------------------------------------------------------------------------


class Layout(NamedTuple):
    """One row: how it is written and what of it a user sees then. Paths are relative to the run, NUMBER is K."""

    name: str
    write: Callable
    root: Optional[Callable]  # k -> the directory that is the checkpoint; None: the files below
    files: Optional[Callable]  # k -> the files that are the checkpoint
    done: Optional[Callable]  # k -> the label of the step that completes it; None: a quiet period does
    views: Callable  # k -> the views besides latest/
    framework: str = "plain"
    kind: Optional[str] = "full"  # None: nothing in names or tensors tells it for certain
    overwrites: bool = False  # the next save is under the same names

    def paths(self, run, k):
        """{name in the views: path of the file}, as the disk has it now."""
        if self.root is None:
            return {name: os.path.join(run, name) for name in self.files(k)}
        top = os.path.join(run, self.root(k))
        return {os.path.relpath(os.path.join(where, name), top): os.path.join(where, name)
                for where, _, names in os.walk(top) for name in names}


def _steps(k):
    return [f"step/{100 * k}"]


def _epochs(k):
    return [f"epoch/{k}"]


def _directory(name, write, root, done, views=_steps, **more):
    return Layout(name, write, root, None, (lambda k: done) if done else None, views, **more)


def _file(name, write, pattern, views=_epochs, done=None, **more):
    def file_name(k):
        return pattern.format(k=k, step=100 * k, value=1 / k)
    return Layout(name, write, None, lambda k: [file_name(k)], done or file_name, views, **more)


def _shards(k):
    return [f"model-{i:05d}-of-00003.safetensors" for i in (1, 2, 3)] + ["model.safetensors.index.json"]


LAYOUTS: List[Layout] = [
    _directory("transformers", transformers, lambda k: f"checkpoint-{100 * k}", "trainer_state.json",
               framework="transformers"),
    _directory("transformers_sharded", transformers_sharded, lambda k: f"checkpoint-{100 * k}", "trainer_state.json",
               framework="transformers"),
    _directory("transformers_4_35", transformers_4_35, lambda k: f"checkpoint-{100 * k}",
               "rng_state.pth", framework="transformers"),
    _directory("transformers_staged", transformers_staged, lambda k: f"checkpoint-{100 * k}", "rename",
               framework="transformers"),
    _directory("accelerate", accelerate, lambda k: f"checkpoint_{k}", None, lambda k: [], framework="accelerate"),
    _directory("deepspeed", deepspeed, lambda k: f"global_step{100 * k}", "latest", framework="deepspeed"),
    _directory("dcp", dcp, lambda k: f"step-{100 * k}", ".metadata", framework="dcp"),
    _directory("dcp_weights", dcp_weights, lambda k: f"step-{100 * k}", ".metadata", framework="dcp", kind="weights"),
    _directory("megatron", megatron, lambda k: f"iter_{100 * k:07d}", "latest_checkpointed_iteration.txt",
               framework="megatron"),
    _file("nemo", nemo, "megatron_gpt--val_loss={value:.2f}-step={step}.ckpt", _steps,
          done=lambda k: "the marker removed", framework="nemo"),
    _directory("nemo_directory", nemo_directory, lambda k: f"gpt--val_loss={1 / k:.2f}-epoch={k}", None, _epochs,
               framework="nemo", kind="weights"),
    _directory("orbax", orbax, lambda k: f"{100 * k}", "rename", framework="orbax", kind=None),
    _directory("torchsnapshot", torchsnapshot, lambda k: f"step-{100 * k}", ".snapshot_metadata",
               framework="torchsnapshot", kind=None),
    _directory("ray", ray, lambda k: f"checkpoint_{k - 1:06d}", None, lambda k: [], framework="ray"),
    _file("lightning", lightning, "epoch={k}-step={step}.ckpt", lambda k: _epochs(k) + _steps(k)),
    _file("lightning_with_version", lightning_with_version, "epoch={k}-step={step}-v1.ckpt",
          lambda k: _epochs(k) + _steps(k)),
    _file("keras_h5", keras_h5, "weights.{k:02d}-{value:.2f}.h5", kind=None),
    _file("keras_h5_in_place", lambda run, k: keras_h5(run, k, "model.h5"), "model.h5", lambda k: [],
          kind=None, overwrites=True),
    _file("keras_zip", keras_zip, "model_epoch_{k:02d}.keras", kind=None),
    _file("keras_zip_in_place", lambda run, k: keras_zip(run, k, "model.keras"), "model.keras", lambda k: [],
          kind=None, overwrites=True),
    _file("torch", torch_file, "bert_run3_epoch_{k}_valLoss_{value:.3f}.pt"),
    _file("torch_renamed", torch_file_and_rename, "epoch_{k:02d}.pt", done=lambda k: "rename"),
    _file("torch_in_place", lambda run, k: torch_file(run, k, "last.pt"), "last.pt", overwrites=True),
    _file("safetensors", safetensors_file, "model_epoch_{k}.safetensors", kind="weights"),
    Layout("safetensors_shards", safetensors_shards, None, lambda k: _shards(k),
           lambda k: "model.safetensors.index.json", lambda k: [], kind="weights", overwrites=True),
    _file("numpy", numpy_file, "params_epoch_{k}.npz", kind="unknown"),
]


def named(name):
    return next(layout for layout in LAYOUTS if layout.name == name)


def save(writer, run, k, **options):
    """All steps at once."""
    os.makedirs(run, exist_ok=True)
    for _ in writer(run, k, **options):
        pass


# Numbers ----------------------------------------------------------------------------------------------------


def _samples():
    """tests/files/make-metrics, which knows the formats byte by byte."""
    path = os.path.join(HERE, "..", "files", "make-metrics")
    loader = importlib.machinery.SourceFileLoader("make_metrics", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("make_metrics", loader))
    exec(compile(loader.get_data(path), path, "exec"), module.__dict__)  # without a __pycache__ beside the samples
    return module


samples = _samples()


def append_text(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "a") as file:
        file.write(text)


def csv_rows(path, rows, separator=",", end="\r\n"):
    """csv.DictWriter, the header when the file is new; columns are those of the first row."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    new = not os.path.exists(path)
    with open(path, "a", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=separator, lineterminator=end)
        if new:
            writer.writeheader()
        writer.writerows(rows)


def plain_csv(path, values):
    """A script's own: {epoch: val_loss}."""
    csv_rows(path, [{"epoch": epoch, "step": 100 * epoch, "train_loss": value / 2, "val_loss": value}
                    for epoch, value in values.items()], end="\n")


def lightning_csv(path, values):
    """lightning/fabric/loggers/csv_logs.py, _ExperimentWriter.save (2.4): sorted columns, blanks, a row per call of the
    logger, steps counted from 0: the row behind the step that the checkpoint's name has. When a column is new the file
    is rewritten."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    rows = []
    for epoch, value in values.items():
        rows += [{"epoch": epoch, "step": 100 * epoch - 51, "train_loss": 2 * value},
                 {"epoch": epoch, "step": 100 * epoch - 1, "val_loss": value}]
    for keys in (["epoch", "step", "train_loss"], ["epoch", "step", "train_loss", "val_loss"]):
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, keys)
            writer.writeheader()
            writer.writerows(row for row in rows if set(row) <= set(keys))


def keras_csv(path, values, separator=","):
    """keras/src/callbacks/csv_logger.py (3.5): epochs from 0, so that the K-th is K - 1; lines end as csv.excel's do, of
    which its CustomDialect is one."""
    csv_rows(path, [{"epoch": epoch - 1, "loss": value / 2, "val_loss": value} for epoch, value in values.items()],
             separator)


def tfevents(path, values, behind=0):
    """tensorboard/summary/writer/event_file_writer.py: tag val/loss at the step, or so many steps BEHIND it."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    new = not os.path.exists(path)
    with open(path, "ab") as file:
        if new:
            file.write(samples.record(samples.double(1, 1.7e9) + samples.message(3, b"brain.Event:2")))
        for epoch, value in values.items():
            file.write(samples.event(1.7e9 + epoch, 100 * epoch - behind,
                                     samples.value("val/loss", samples.float32(2, value))))


def mlflow(top, values):
    """mlflow/store/tracking/file_store.py, _log_run_metric (2.9): a line per value; "/" in a key nests."""
    where = f"{top}/mlruns/0/0123456789abcdef0123456789abcdef"
    if not os.path.exists(where):
        put(f"{where}/meta.yaml", "experiment_id: '0'\nrun_id: 0123456789abcdef0123456789abcdef\nstatus: 1\n")
    for epoch, value in values.items():
        append_text(f"{where}/metrics/val/loss", f"{1700000000000 + epoch} {value} {100 * epoch}\n")


def ray_results(trial, values, form="json"):
    """ray/tune/logger/json.py and csv.py (2.9): a line per report; checkpoint_dir_name says which checkpoint it has."""
    for epoch, value in values.items():
        result = {"val_loss": value, "timestamp": 1700000000 + epoch, "done": False, "training_iteration": epoch,
                  "checkpoint_dir_name": f"checkpoint_{epoch - 1:06d}", "trial_id": "abc_00000", "pid": 4711}
        if form == "json":
            append_text(f"{trial}/result.json", json.dumps(result) + "\n")
        else:
            csv_rows(f"{trial}/progress.csv", [result])


def wandb_summary(top, epoch, value):
    """wandb/sdk/internal: files/wandb-summary.json is rewritten with the newest values."""
    put(f"{top}/wandb/run-20241124_153000-abc123/files/wandb-summary.json",
        json.dumps({"_step": 100 * epoch, "_timestamp": 1.7e9 + epoch, "_runtime": 5.5, "val_loss": value}))


def optuna_journal(path, values):
    """Optuna's own writer (Debian's python3-optuna), or its lines: optuna/storages/_journal/file.py, append_logs."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        import optuna
        from optuna.storages import JournalFileStorage, JournalStorage
    except ImportError:
        worker = "74721df8-7ba3-4853-ab7e-c62bfb1bca87-139726863831104"
        if not os.path.exists(path):
            for operation in ({"op_code": 0, "worker_id": worker, "study_name": "s", "directions": [1]},
                              {"op_code": 4, "worker_id": worker, "study_id": 0,
                               "datetime_start": "2024-11-24T18:43:06.286534"}):
                append_text(path, json.dumps(operation) + "\n")
        for epoch, value in values.items():
            append_text(path, json.dumps({"op_code": 7, "worker_id": worker, "trial_id": 0, "step": epoch,
                                          "intermediate_value": value}) + "\n")
        return
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = JournalStorage(JournalFileStorage(path))
    study = optuna.create_study(storage=storage, study_name="s", load_if_exists=True)
    running = study.get_trials(states=[optuna.trial.TrialState.RUNNING])
    trial = optuna.trial.Trial(study, running[0]._trial_id) if running else study.ask()
    for epoch, value in values.items():
        trial.report(value, epoch)


# The check of the writers themselves -------------------------------------------------------------------------


def same(one, other):
    assert list(one) == list(other), f"{list(one)} and {list(other)}"
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def check_hdf5(source, k, prefix, expected):
    with h5py.File(source, "r") as file:
        for name, tensor in expected.items():
            assert numpy.array_equal(file[prefix(name)][()], tensor.numpy()), name


def load(path, k):
    """Loads a file in its own library and compares it with what the K-th save has; False: it is of no library."""
    name = os.path.basename(path)
    if name.endswith(".safetensors"):
        found, _ = load_safetensors(path)
        same(found, {entry: tensors(k)[entry] for entry in found})
    elif name.endswith((".h5", ".keras")):
        if name.endswith(".keras"):
            with zipfile.ZipFile(path) as archive:
                assert archive.testzip() is None
                assert archive.namelist() == ["metadata.json", "config.json", "model.weights.h5"]
                check_hdf5(io.BytesIO(archive.read("model.weights.h5")), k,
                           lambda entry: f"layers/dense_{entry.split('.')[1]}/vars/0", tensors(k))
        else:
            check_hdf5(path, k, lambda entry: f"model_weights/{entry.replace('.', '/')}", tensors(k))
    elif name.endswith(".npz"):
        with numpy.load(path) as found:
            same({entry: torch.from_numpy(found[entry]) for entry in found.files}, tensors(k))
    elif name.endswith(".distcp"):
        rank = int(name.split("_")[2])
        state = dcp_state(k, rank, "/dcp/" in path)
        content, index = distcp_bytes(state, rank)
        with open(path, "rb") as file:
            assert file.read() == content
        for where, (_, offset, length) in index.items():
            found = torch.load(io.BytesIO(content[offset:offset + length]))
            assert torch.equal(found, state[where]) if torch.is_tensor(found) else found == state[where]
    elif name.endswith((".pt", ".pth", ".bin", ".ckpt", ".pkl")):
        state = torch.load(path)
        weights = state.get("model", state.get("state_dict")) if isinstance(state, dict) else None
        if weights is not None and "mp_rank" not in path:
            same(weights, tensors(k))
    elif name.endswith(".json") or name in ("_CHECKPOINT_METADATA", ".snapshot_metadata"):
        with open(path) as file:
            json.load(file)
    elif "/0/model/" in path:
        with open(path, "rb") as file:
            assert file.read() == tensors(k)[name].numpy().tobytes()
    else:
        return False
    return True


def check_layout(layout, top):
    """Runs it twice on a plain directory: the labels are distinct, what completes it is one of them, and it loads."""
    run = os.path.join(top, layout.name)
    os.makedirs(run)
    checked = 0
    for k in (1, 2):
        labels = list(layout.write(run, k))
        assert len(set(labels)) == len(labels) > 1, f"{layout.name}: {labels}"
        assert layout.done is None or layout.done(k) in labels, f"{layout.name}: no {layout.done(k)} in {labels}"
        paths = layout.paths(run, k)
        assert paths and all(os.path.isfile(path) for path in paths.values()), f"{layout.name}: {paths}"
        checked += sum(load(path, k) for path in paths.values())
    return checked


def check_numbers(top):
    """The writers of numbers: readable by their own kind, and what is appended stays one file."""
    values = {1: 0.5, 2: 0.25}
    for epoch, value in values.items():
        plain_csv(f"{top}/plain.csv", {epoch: value})
        keras_csv(f"{top}/keras.csv", {epoch: value}, ";")
        tfevents(f"{top}/events.out.tfevents.1700000000.host.1.0", {epoch: value})
        mlflow(top, {epoch: value})
        ray_results(top, {epoch: value})
        ray_results(top, {epoch: value}, "csv")
        wandb_summary(top, epoch, value)
        optuna_journal(f"{top}/journal.log", {epoch: value})
    lightning_csv(f"{top}/version_0/metrics.csv", values)
    for path, separator in (("plain.csv", ","), ("keras.csv", ";"), ("progress.csv", ","),
                            ("version_0/metrics.csv", ",")):
        with open(f"{top}/{path}", newline="") as file:
            found = [row["val_loss"] for row in csv.DictReader(file, delimiter=separator) if row["val_loss"]]
        assert found == ["0.5", "0.25"], f"{path}: {found}"
    with open(f"{top}/events.out.tfevents.1700000000.host.1.0", "rb") as file:
        content, count = file.read(), 0
    while content:
        length = struct.unpack("<Q", content[:8])[0]
        assert content[8:12] == samples.masked(content[:8])
        assert content[12 + length:16 + length] == samples.masked(content[12:12 + length])
        content, count = content[16 + length:], count + 1
    assert count == 3
    with open(f"{top}/journal.log") as file:
        reports = [line["intermediate_value"] for line in map(json.loads, file) if line["op_code"] == 7]
    assert reports == [0.5, 0.25], reports


def main():
    with tempfile.TemporaryDirectory(prefix="layouts-", dir="/var/tmp") as top:
        for layout in LAYOUTS:
            print(f"{layout.name}: {check_layout(layout, top)} files load")
        check_numbers(os.path.join(top, "numbers"))
        print("numbers: read back")


if __name__ == "__main__":
    main()
