"""A checkpoint's tensors in its memory-mapped files, for a model of which a layer at a time is on the device.

A mapped weight costs no memory except page cache, which the system takes back whenever it needs it. Knows nothing of
models.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from wan2.errors import InputError
from wan2.weights.checkpoint import load_tensors
from wan2.weights.decode import FileTensor, ScaledTensor, as_scale, file_tensor, is_sound
from wan2.weights.head import readable
from wan2.weights.header import CheckpointHeader, read_header
from wan2.weights.names import FP8_NOTES, SCALE_RULE, SCALES
from wan2.weights.sources import Source
from wan2.weights.turned import with_turns


def map_tensors(path: Path, header: CheckpointHeader | None = None) -> dict[str, FileTensor]:
    """Name -> mapped tensor of a safetensors, GGUF or PyTorch file; fp8 scales and markers are folded in.

    header: that of a safetensors or GGUF file, if it was read already.

    Raises:
        InputError: the file cannot be read, contradicts itself, or is no table of tensors.
    """
    tensors: dict[str, FileTensor]
    if readable(path):
        tensors = dict(_mapped(path, header or read_header(path)))
    else:
        plain = dict(load_tensors(path))
        if int8 := [name for name, tensor in plain.items() if tensor.dtype == torch.int8]:
            raise InputError(f"{path}: tensor {int8[0]} is int8, which is read from safetensors files only")
        tensors = {name: ScaledTensor(tensor) for name, tensor in plain.items()}
    scales = {
        name.removesuffix(ending) + ".weight": as_scale(tensor.on("cpu"))
        for ending in SCALES
        for name, tensor in tensors.items()
        if name.endswith(ending)
    }
    for name, scale in scales.items():
        if not is_sound(scale):
            raise InputError(f"{path}: the scale of {name} {SCALE_RULE}")
    return {
        name: replace(tensor, scale=scales[name]) if name in scales and isinstance(tensor, ScaledTensor) else tensor
        for name, tensor in tensors.items()
        if not name.endswith(FP8_NOTES)
    }


def _mapped(path: Path, header: CheckpointHeader) -> Iterator[tuple[str, FileTensor]]:
    """Slices of the mapped files. The library's own reader would leak two numbers for every tensor."""
    entries = header.entries
    files = {file: _map_file(file) for file in {entry.path for entry in entries.values()}}
    found = with_turns(path, header, {name: Source(name) for name in entries})
    for name, entry in entries.items():
        memory = files[entry.path][entry.start : entry.end]
        yield name, file_tensor(memory, entry.dtype, entry.shape, turned=found[name].turned)


def _map_file(path: Path) -> Tensor:
    try:
        return torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)
    except (OSError, RuntimeError) as error:
        raise InputError(f"{path}: cannot be mapped ({error})") from error
