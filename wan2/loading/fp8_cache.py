"""A transformer's fp8 weights, kept in a file beside its checkpoint: made once, read as any scaled fp8 file is.

The copy says in its metadata what it was made from. Knows nothing of devices; imports PyTorch only to write.
"""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from wan2.errors import InputError
from wan2.loading.checkpoint import inspect_transformer, read_header
from wan2.loading.fingerprint import fingerprint
from wan2.loading.fp8 import E4M3, WEIGHT, fp8_weights
from wan2.loading.header import ITEM_BYTES, checkpoint_files
from wan2.outputs import whole_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from wan2.loading.checkpoint import TransformerFile

ENDING = ".fp8.safetensors"
MARK = "fp8_cache"
# Changes with what is quantised and how.
FORMAT = 1
SCALE_ENDING = ".scale_weight"
Layout = dict[str, tuple[str, tuple[int, ...]]]


def cache_path(checkpoint: Path) -> Path:
    """Where the fp8 weights of a checkpoint (a file, an index or a folder) are kept: beside it."""
    return checkpoint.with_name(checkpoint.name.removesuffix(".index.json").removesuffix(".safetensors") + ENDING)


def source_mark(checkpoint: Path) -> str:
    """What a copy says of its source: the fingerprint of its files, and when they were last written."""
    files = checkpoint_files(checkpoint)
    written = [file.stat().st_mtime_ns for file in files]
    return json.dumps({"format": FORMAT, "source": fingerprint(files), "written": written})


def look_for_cache(checkpoint: Path) -> Literal["absent", "stale", "good"]:
    """What lies where the fp8 weights of a checkpoint would be kept.

    Raises:
        InputError: a file that was not written by `write_cache`, which would be lost.
    """
    path = cache_path(checkpoint)
    if not path.exists():
        return "absent"
    try:
        found = read_header(path).metadata.get(MARK)
    except InputError:
        found = None
    if found is None:
        raise InputError(f"--fp8_cache: {path} is in the way, and holds no fp8 weights kept by it; remove or rename it")
    return "good" if found == source_mark(checkpoint) else "stale"


def gains_by_cache(file: TransformerFile) -> bool:
    """Whether a checkpoint has linears left to quantise."""
    return fp8_weights(file, quantise=True) != fp8_weights(file, quantise=False)


def cache_layout(file: TransformerFile) -> Layout:
    """Native name -> dtype and shape of what is kept: linears in fp8, everything else as the checkpoint has it."""
    weights, layout = fp8_weights(file, quantise=True), Layout()
    for name, shape in file.config.tensor_shapes().items():
        if name in weights:
            layout[name] = E4M3, shape
            layout[name.removesuffix(WEIGHT) + SCALE_ENDING] = "F32", (shape[0], 1)
        else:
            dtype = file.header.entries[file.sources[name].name].dtype
            layout[name] = "F32" if dtype.startswith("F8") else dtype, shape
    return layout


def layout_bytes(layout: Layout) -> int:
    """Bytes of the tensors of a layout."""
    return sum(ITEM_BYTES[dtype] * math.prod(shape) for dtype, shape in layout.values())


def write_cache(checkpoint: Path) -> None:
    """Quantise a checkpoint, tensor by tensor, into the file beside it, whole or not at all.

    Raises:
        InputError: the checkpoint cannot be read, or holds values that are not finite.
        OSError: the file cannot be written.
    """
    import torch

    from wan2.loading.reader import DTYPES, TensorReader

    file = inspect_transformer(checkpoint)
    layout, reader = cache_layout(file), TensorReader(file.header, torch.device("cpu"))
    with whole_file(cache_path(checkpoint)) as part, part.open("wb") as out:
        out.write(_header(layout, {**file.header.metadata, MARK: source_mark(checkpoint)}))
        for name in file.config.tensor_shapes():
            source, dtype = file.sources[name], layout[name][0]
            for tensor in reader.read_fp8(source) if dtype == E4M3 else (reader.read(source, DTYPES[dtype]),):
                out.write(_bytes(tensor))


def _header(layout: Layout, metadata: Mapping[str, str]) -> bytes:
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, (dtype, shape) in layout.items():
        start, end = end, end + ITEM_BYTES[dtype] * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _bytes(tensor: Tensor) -> memoryview:
    import torch

    return tensor.contiguous().flatten().view(torch.uint8).numpy().data
