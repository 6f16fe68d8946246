"""The dtypes of values in files of weights, in one table. Knows nothing of files; imports no PyTorch."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import NamedTuple

from wan2.models.forms import BLOCKS


class Dtype(NamedTuple):
    """One dtype of a file of weights.

    torch: its name in PyTorch. nbytes: bytes of a value, or of a block of so many `values`, which is one of GGUF's.
    code: how `struct` spells it, empty where numbers of this dtype are never read without PyTorch. is_float: whether it
    can be a weight.
    """

    torch: str
    nbytes: int
    code: str = ""
    is_float: bool = False
    values: int = 1


def _blocks(nbytes: int, values: int, is_float: bool = False) -> Dtype:
    return Dtype("uint8", nbytes, is_float=is_float, values=values)


E4M3 = "F8_E4M3"
DTYPES = {
    "F64": Dtype("float64", 8, "d", is_float=True),
    "F32": Dtype("float32", 4, "f", is_float=True),
    "F16": Dtype("float16", 2, "e", is_float=True),
    # The upper half of a float32.
    "BF16": Dtype("bfloat16", 2, "f", is_float=True),
    E4M3: Dtype("float8_e4m3fn", 1, is_float=True),
    "F8_E5M2": Dtype("float8_e5m2", 1, is_float=True),
    # The scales of mxfp8: powers of two, which are only named here.
    "F8_E8M0": Dtype("uint8", 1),
    "I64": Dtype("int64", 8, "q"),
    "I32": Dtype("int32", 4, "i"),
    "I16": Dtype("int16", 2),
    "I8": Dtype("int8", 1),
    "U8": Dtype("uint8", 1),
    "BOOL": Dtype("bool", 1),
    **{name: _blocks(*block, is_float=True) for name, block in BLOCKS.items()},
    # Named, not read.
    "Q8_1": _blocks(40, 32),
    "Q8_K": _blocks(292, 256),
    "IQ1_S": _blocks(50, 256),
    "IQ1_M": _blocks(56, 256),
    "IQ2_XXS": _blocks(66, 256),
    "IQ2_XS": _blocks(74, 256),
    "IQ2_S": _blocks(82, 256),
    "IQ3_XXS": _blocks(98, 256),
    "IQ3_S": _blocks(110, 256),
    "IQ4_NL": _blocks(18, 32),
    "IQ4_XS": _blocks(136, 256),
    "TQ1_0": _blocks(54, 256),
    "TQ2_0": _blocks(66, 256),
    "MXFP4": _blocks(17, 32),
    "NVFP4": _blocks(36, 64),
    "Q1_0": _blocks(18, 128),
}
"""By the names that safetensors and GGUF give them."""


def byte_length(dtype: str, shape: Sequence[int]) -> int:
    """Bytes of a tensor in a file. Blocks lie along the last axis, which must hold a whole number of them."""
    return DTYPES[dtype].nbytes * math.prod(shape) // DTYPES[dtype].values


def decode_numbers(raw: bytes, dtype: str) -> tuple[float, ...]:
    """The values of a small tensor, without PyTorch. Its dtype must have a `code`."""
    if dtype == "BF16":
        raw = b"".join(b"\0\0" + raw[i : i + 2] for i in range(0, len(raw), 2))
    code = DTYPES[dtype].code
    return struct.unpack(f"<{len(raw) // struct.calcsize(code)}{code}", raw)
