"""The few numbers of a small tensor, read without PyTorch. Knows nothing of what they mean."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wan2.weights.header import StoredTensor

# As the format spells a dtype -> as `struct` does; bfloat16 is the upper half of a float32.
CODES = {"F64": "d", "F32": "f", "BF16": "f", "F16": "e", "I64": "q", "I32": "i"}


def read_numbers(entry: StoredTensor) -> tuple[float, ...]:
    """The values of a tensor whose dtype is among `CODES`."""
    with entry.path.open("rb") as file:
        file.seek(entry.start)
        raw = file.read(entry.end - entry.start)
    if entry.dtype == "BF16":
        raw = b"".join(b"\0\0" + raw[i : i + 2] for i in range(0, len(raw), 2))
    code = CODES[entry.dtype]
    return struct.unpack(f"<{len(raw) // struct.calcsize(code)}{code}", raw)
