"""A transformer's fp8 weights, kept in a file next to its checkpoint: made once, then read like any scaled fp8 file.

The metadata of the copy records what it was made from, LoRAs included; with LoRAs, the copy has a name of its own.
Knows nothing of devices; imports PyTorch only to write.
"""

from __future__ import annotations

import hashlib
import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from wan2.errors import InputError
from wan2.files import whole_file
from wan2.weights.checkpoint import inspect_transformer
from wan2.weights.dtypes import E4M3, byte_length
from wan2.weights.fingerprint import fingerprint
from wan2.weights.fp8 import WEIGHT, fp8_weights
from wan2.weights.header import read_header
from wan2.weights.peft import adapter_files

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from wan2.weights.sources import Lora, TransformerFile

ENDING = ".fp8.safetensors"
MARK = "fp8_cache"
# To be raised whenever other weights are quantised, or in another way.
FORMAT = 1
# Of the hash in the name of a copy that distinguishes sets of LoRAs.
NAME_DIGITS = 8
SCALE_ENDING = ".scale_weight"
Layout = dict[str, tuple[str, tuple[int, ...]]]


class KeptFp8(NamedTuple):
    """What is found at the path where the fp8 weights of a transformer are kept.

    "absent": no file; "stale": weights of another source; "good": its own weights, then `file` is set.
    """

    path: Path
    state: Literal["absent", "stale", "good"]
    file: TransformerFile | None = None


def cache_path(checkpoint: Path, loras: Sequence[Lora] = ()) -> Path:
    """Where the fp8 weights of a checkpoint (a file, an index or a folder) are kept: next to it."""
    named = json.dumps([[str(lora.path.absolute()), lora.multiplier] for lora in loras])
    merged = f".lora-{hashlib.sha256(named.encode()).hexdigest()[:NAME_DIGITS]}" if loras else ""
    stem = checkpoint.name.removesuffix(".index.json").removesuffix(".safetensors")
    return checkpoint.with_name(stem + merged + ENDING)


def source_mark(file: TransformerFile) -> str:
    """How a copy identifies its source: fingerprints of its files and of the LoRAs, and when they were last written."""
    mark: dict[str, Any] = {"format": FORMAT, **_written(file.header.files)}
    if file.loras:
        mark["loras"] = [{**_written(adapter_files(lora.path)), "multiplier": lora.multiplier} for lora in file.loras]
    return json.dumps(mark)


def _written(files: Sequence[Path]) -> dict[str, Any]:
    return {"source": fingerprint(files), "written": [file.stat().st_mtime_ns for file in files]}


def look_for_cache(file: TransformerFile) -> KeptFp8:
    """Look for the kept fp8 weights of a transformer.

    Raises:
        InputError: the file there was not written by `write_cache` and would be lost; or it is no transformer.
    """
    path = cache_path(file.path, file.loras)
    if not path.exists():
        return KeptFp8(path, "absent")
    try:
        header = read_header(path)
    except InputError:
        header = None
    if header is None or MARK not in header.metadata:
        rule = f"{path} is in the way, and holds no fp8 weights kept by it; remove or rename it"
        raise InputError(rule, field="fp8_cache")
    if header.metadata[MARK] != source_mark(file):
        return KeptFp8(path, "stale")
    return KeptFp8(path, "good", inspect_transformer(path, header=header))


def gains_by_cache(file: TransformerFile) -> bool:
    """Whether a checkpoint has linears left to quantise, or is changed by LoRAs."""
    merged = any(source.deltas for source in file.sources.values())
    return merged or fp8_weights(file, quantise=True) != fp8_weights(file, quantise=False)


def cache_layout(file: TransformerFile) -> Layout:
    """Native name -> dtype and shape of what is kept.

    Linears are in fp8, other tensors in float32 if LoRAs change them, all else in the dtype of the checkpoint.
    """
    weights, layout = fp8_weights(file, quantise=True), Layout()
    for name, shape in file.config.tensor_shapes().items():
        if name in weights:
            layout[name] = E4M3, shape
            layout[name.removesuffix(WEIGHT) + SCALE_ENDING] = "F32", (shape[0], 1)
        else:
            source = file.sources[name]
            dtype = file.header.entries[source.name].dtype
            layout[name] = "F32" if dtype.startswith("F8") or source.deltas else dtype, shape
    return layout


def layout_bytes(layout: Layout) -> int:
    """Bytes of the tensors of a layout."""
    return sum(byte_length(dtype, shape) for dtype, shape in layout.values())


def write_cache(file: TransformerFile) -> TransformerFile:
    """Quantise a transformer, its LoRAs merged in, tensor by tensor, into the file next to it, whole or not at all.

    Returns the written file, inspected.

    Raises:
        InputError: the checkpoint or a LoRA cannot be read, or holds values that are not finite.
        OSError: the file cannot be written.
    """
    import torch

    from wan2.weights.decode import TORCH_DTYPES
    from wan2.weights.reader import TensorReader

    layout, reader = cache_layout(file), TensorReader(file.header, torch.device("cpu"))
    path = cache_path(file.path, file.loras)
    with whole_file(path) as part, part.open("wb") as out:
        out.write(_header(layout, {**file.header.metadata, MARK: source_mark(file)}))
        for name in file.config.tensor_shapes():
            source, dtype = file.sources[name], layout[name][0]
            for tensor in reader.read_fp8(source) if dtype == E4M3 else (reader.read(source, TORCH_DTYPES[dtype]),):
                out.write(_bytes(tensor))
    return inspect_transformer(path)


def _header(layout: Layout, metadata: Mapping[str, str]) -> bytes:
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, (dtype, shape) in layout.items():
        start, end = end, end + byte_length(dtype, shape)
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def _bytes(tensor: Tensor) -> memoryview:
    import torch

    return tensor.contiguous().flatten().view(torch.uint8).numpy().data
