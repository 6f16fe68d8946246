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
    names = [source.scale for source in file.sources.values() if source.scale is not None]
    entries = [file.header.entries[name] for name in names]
    for name, entry, numbers in zip(names, entries, read_numbers(entries), strict=True):
        if wrong := [number for number in numbers if not 0 < number < math.inf]:
            raise InputError(f"{entry.path}: scale {name} holds {wrong[0]}; it {SCALE_RULE}")
