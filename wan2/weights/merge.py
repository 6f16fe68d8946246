"""What LoRAs add, added to a tensor in fp32, a few rows at a time. Knows nothing of files.

Always on the CPU, so that a merged tensor has the same bits for every device, streamed or not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

# Values that are in fp32 at once, in a few copies: as many as fit a CPU's cache.
VALUES_AT_ONCE = 1 << 19


class Addend(NamedTuple):
    """`factor` times up [rows, rank] @ down [rank, columns], or times `up` alone, which is then of the whole shape."""

    factor: float
    up: Tensor
    down: Tensor | None


def merged_rows(stored: Tensor, scale: Tensor | None, addends: Sequence[Addend]) -> Iterator[tuple[slice, Tensor]]:
    """A few rows of `stored` at a time, with all addends added in order: which rows, and fp32 [rows, ...].

    stored: [rows, ...] of any float type on the CPU. scale: by which its rows must be multiplied first, fp32 [1] or
    [rows].
    """
    step = max(1, VALUES_AT_ONCE // max(1, stored[:1].numel()))
    for start in range(0, len(stored), step):
        rows = slice(start, start + step)
        values = stored[rows].to(torch.float32, copy=True)
        if scale is not None:
            values *= (scale if scale.numel() == 1 else scale[rows]).reshape(-1, *[1] * (stored.dim() - 1))
        for factor, up, down in addends:
            delta = up[rows] if down is None else up[rows] @ down
            values += factor * delta.view_as(values)
        yield rows, values
