"""The forms in which the weight of a linear can be held in fewer bits. Names and integers; knows nothing of PyTorch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

FP8, INT8 = "fp8", "int8"
# For a product in this form, every side of a matrix must be a multiple of this.
FAST_MULTIPLES = {FP8: 16, INT8: 8}
FP8_BYTES, SCALE_BYTES = 1, 4


class BlockType(NamedTuple):
    """A type of GGUF: blocks of so many bytes, each of so many values with scales of their own."""

    nbytes: int
    values: int


BLOCKS = {
    "Q4_0": BlockType(18, 32),
    "Q4_1": BlockType(20, 32),
    "Q5_0": BlockType(22, 32),
    "Q5_1": BlockType(24, 32),
    "Q8_0": BlockType(34, 32),
    "Q2_K": BlockType(84, 256),
    "Q3_K": BlockType(110, 256),
    "Q4_K": BlockType(144, 256),
    "Q5_K": BlockType(176, 256),
    "Q6_K": BlockType(210, 256),
}
"""The types of GGUF that can be multiplied out."""


class Form(NamedTuple):
    """How a weight is held.

    kind: "fp8" (e4m3) or "int8", with a scale for every row, or a type of GGUF. turned: columns of a group that ConvRot
    turned before they became int8, 0 for none.
    """

    kind: str
    turned: int = 0

    def nbytes(self, shape: Sequence[int]) -> int:
        """Bytes of a weight [rows, columns]."""
        if self.kind in BLOCKS:
            block = BLOCKS[self.kind]
            return math.prod(shape) // block.values * block.nbytes
        return math.prod(shape) * FP8_BYTES + shape[0] * SCALE_BYTES


def holds_fp8(held: Mapping[str, Form]) -> bool:
    """Whether any of these weights is in fp8."""
    return any(form.kind == FP8 for form in held.values())


def as_fp8(names: Iterable[str]) -> dict[str, Form]:
    """All of these weights in fp8."""
    return dict.fromkeys(names, Form(FP8))
