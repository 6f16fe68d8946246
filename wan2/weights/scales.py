"""Whether the scales of a scaled fp8 file can be right, read without PyTorch. Knows nothing of what they scale."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from wan2.errors import InputError
from wan2.weights.names import SCALE_RULE
from wan2.weights.numbers import read_numbers

if TYPE_CHECKING:
    from wan2.weights.sources import TransformerFile


def check_scales(file: TransformerFile) -> None:
    """Read every scale of a checkpoint.

    Raises:
        InputError: one that is zero, negative, infinite or NaN.
    """
    for source in file.sources.values():
        if source.scale is not None:
            entry = file.header.entries[source.scale]
            if wrong := [value for value in read_numbers(entry) if not 0 < value < math.inf]:
                raise InputError(f"{entry.path}: scale {source.scale} holds {wrong[0]}; it {SCALE_RULE}")
