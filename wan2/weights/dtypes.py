"""The dtypes of values in files of weights, in one table. Knows nothing of files; imports no PyTorch."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import NamedTuple


class Dtype(NamedTuple):
    """One dtype of the safetensors format.

    torch: its name in PyTorch. nbytes: bytes of a value. code: how `struct` spells it, empty where numbers of this
    dtype are never read without PyTorch. is_float: whether it can be a weight.
    """

    torch: str
    nbytes: int
    code: str = ""
    is_float: bool = False


E4M3 = "F8_E4M3"
DTYPES = {
    "F64": Dtype("float64", 8, "d", is_float=True),
    "F32": Dtype("float32", 4, "f", is_float=True),
    "F16": Dtype("float16", 2, "e", is_float=True),
    # The upper half of a float32.
    "BF16": Dtype("bfloat16", 2, "f", is_float=True),
    E4M3: Dtype("float8_e4m3fn", 1, is_float=True),
    "F8_E5M2": Dtype("float8_e5m2", 1, is_float=True),
    "I64": Dtype("int64", 8, "q"),
    "I32": Dtype("int32", 4, "i"),
    "I16": Dtype("int16", 2),
    "I8": Dtype("int8", 1),
    "U8": Dtype("uint8", 1),
    "BOOL": Dtype("bool", 1),
}
"""By the names that the format gives them."""


def byte_length(dtype: str, shape: Sequence[int]) -> int:
    """Bytes of a tensor in a file."""
    return DTYPES[dtype].nbytes * math.prod(shape)


def decode_numbers(raw: bytes, dtype: str) -> tuple[float, ...]:
    """The values of a small tensor, without PyTorch. Its dtype must have a `code`."""
    if dtype == "BF16":
        raw = b"".join(b"\0\0" + raw[i : i + 2] for i in range(0, len(raw), 2))
    code = DTYPES[dtype].code
    return struct.unpack(f"<{len(raw) // struct.calcsize(code)}{code}", raw)
