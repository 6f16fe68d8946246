"""Whether the numbers of a file can be right: floats, and a sound scale for what is scaled. Imports no PyTorch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from wan2.errors import InputError
from wan2.weights.dtypes import DTYPES
from wan2.weights.kinds.kind import Table
from wan2.weights.names import FP8_MARKS, SCALE_RULE
from wan2.weights.numbers import read_numbers

if TYPE_CHECKING:
    from wan2.weights.header import CheckpointHeader
    from wan2.weights.sources import Source

INT8 = "I8"
SCALE_DTYPES = ("F32", "F16", "BF16")


def check_dtypes(path: Path | str, tensors: Table, sources: Mapping[str, Source]) -> None:
    """Check dtypes: floats, and int8 for scaled matrices; a scale is a float, or one for each row; in a scaled file
    every fp8 matrix has one.

    Raises:
        InputError: the first that is otherwise.
    """
    scaled = any(source.scale for source in sources.values()) or any(name.endswith(FP8_MARKS) for name in tensors)
    for native, source in sources.items():
        dtype, shape = tensors[source.name]
        scaled_int8 = dtype == INT8 and source.scale is not None and len(shape) == 2
        if dtype not in DTYPES or not (DTYPES[dtype].is_float or scaled_int8):
            raise InputError(f"{path}: tensor {source.name} has the dtype {dtype}, which is not a float")
        if source.scale is not None:
            _check_scale(path, source.scale, tensors[source.scale], shape)
        elif scaled and dtype.startswith("F8") and native not in UNSCALED:
            raise InputError(f"{path}: tensor {source.name} is fp8 in a scaled file but has no scale")


# Tables of embeddings, which those who scale fp8 leave as they were cast.
UNSCALED = ("shared.weight", "encoder.embed_tokens.weight")


def _check_scale(path: Path | str, name: str, scale: tuple[str, tuple[int, ...]], shape: tuple[int, ...]) -> None:
    dtype, sizes = scale
    if dtype not in SCALE_DTYPES or sizes not in ((), (1,), shape[:1], (*shape[:1], 1)):
        raise InputError(f"{path}: tensor {name} is {dtype} {list(sizes)}; a scale is one float, or one a row")


def check_scales(header: CheckpointHeader, sources: Mapping[str, Source]) -> None:
    """Read every scale of a checkpoint.

    Raises:
        InputError: one that is zero, negative, infinite or NaN.
    """
    names = [source.scale for source in sources.values() if source.scale is not None]
    entries = [header.entries[name] for name in names]
    for name, entry, numbers in zip(names, entries, read_numbers(entries), strict=True):
        if wrong := [number for number in numbers if not 0 < number < math.inf]:
            raise InputError(f"{entry.path}: scale {name} holds {wrong[0]}; it {SCALE_RULE}")
