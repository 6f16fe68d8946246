"""Whether the scales of a scaled fp8 file can be right, read without PyTorch. Knows nothing of what they scale."""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING

from wan2.errors import InputError
from wan2.loading.formats import SCALE_RULE

if TYPE_CHECKING:
    from wan2.loading.checkpoint import TransformerFile
    from wan2.loading.header import StoredTensor


def check_scales(file: TransformerFile) -> None:
    """Read every scale of a checkpoint.

    Raises:
        InputError: one that is zero, negative, infinite or NaN.
    """
    for source in file.sources.values():
        if source.scale is not None:
            entry = file.header.entries[source.scale]
            if wrong := [value for value in _values(entry) if not 0 < value < math.inf]:
                raise InputError(f"{entry.path}: scale {source.scale} holds {wrong[0]}; it {SCALE_RULE}")


def _values(entry: StoredTensor) -> tuple[float, ...]:
    """The values of a float tensor."""
    with entry.path.open("rb") as file:
        file.seek(entry.start)
        raw = file.read(entry.end - entry.start)
    if entry.dtype == "BF16":  # the upper half of a float32
        raw = b"".join(b"\0\0" + raw[i : i + 2] for i in range(0, len(raw), 2))
    code = "e" if entry.dtype == "F16" else "f"
    return struct.unpack(f"<{len(raw) // struct.calcsize(code)}{code}", raw)
