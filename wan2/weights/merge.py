"""What adapters add, added to a tensor in fp32, a few rows at a time. Knows nothing of files.

Always on the CPU, so that a merged tensor has the same bits for every device, streamed or not.
Source of the magnitudes: Liu et al., DoRA, arXiv 2402.09353.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from wan2.models.adapters import Factors

# Values that are in fp32 at once, in a few copies: as many as fit a CPU's cache.
VALUES_AT_ONCE = 1 << 19


class Addend(NamedTuple):
    """What one adapter adds to a tensor W: `strength` times D, D being `scale` times the factors.

    With a magnitude, fp32 [rows, 1] or [1, columns], D is what W + D, every row (or column) brought to this length,
    differs from W.
    """

    strength: float
    scale: float
    factors: Factors
    magnitude: Tensor | None = None

    @property
    def of_columns(self) -> bool:
        """Whether the magnitude is that of columns."""
        return self.magnitude is not None and len(self.magnitude) == 1


@dataclass(frozen=True)
class Stored:
    """A tensor on the CPU, of any float type, and the fp32 scale its rows must be multiplied by, [1] or [rows]."""

    values: Tensor
    scale: Tensor | None = None

    def chunks(self) -> Iterator[tuple[slice, Tensor]]:
        """A few rows at a time: which rows, and a fresh fp32 copy [rows, ...] of them."""
        values, scale = self.values, self.scale
        step = max(1, VALUES_AT_ONCE // max(1, values[:1].numel()))
        for start in range(0, len(values), step):
            rows = slice(start, start + step)
            copy = values[rows].to(torch.float32, copy=True)
            if scale is not None:
                copy *= (scale if scale.numel() == 1 else scale[rows]).reshape(-1, *[1] * (values.dim() - 1))
            yield rows, copy


def merged_rows(stored: Stored, addends: Sequence[Addend]) -> Iterator[tuple[slice, Tensor]]:
    """A few rows at a time, with all addends added in order: which rows, and fp32 [rows, ...].

    Every addend is one of the stored tensor alone, whatever the others add.
    """
    gains = [gains_of(stored, addend) if addend.of_columns else None for addend in addends]
    for rows, values in stored.chunks():
        before = values.clone() if any(addend.magnitude is not None for addend in addends) else values
        for addend, gain in zip(addends, gains, strict=True):
            if addend.magnitude is None:
                values += addend.strength * addend.scale * addend.factors.rows(rows).view_as(values)
                continue
            moved = before + addend.scale * addend.factors.rows(rows).view_as(before)
            gain = _gain(addend.magnitude[rows], _lengths(moved, 1)) if gain is None else gain
            values += addend.strength * (_along(gain, moved) * moved - before)
        yield rows, values


def gains_of(stored: Stored, addend: Addend) -> Tensor:
    """By what a magnitude multiplies the rows, fp32 [rows, 1], or the columns, fp32 [1, columns], of W + D."""
    if addend.magnitude is None:
        raise ValueError("the addend has no magnitude")
    moved = (rows_of + addend.scale * addend.factors.rows(rows).view_as(rows_of) for rows, rows_of in stored.chunks())
    if addend.of_columns:
        squares = sum((part.double().square().sum(0, keepdim=True) for part in moved), torch.zeros(1))
        return _gain(addend.magnitude, squares.sqrt().float())
    return _gain(addend.magnitude, torch.cat([_lengths(part, 1) for part in moved]))


def _lengths(moved: Tensor, axis: int) -> Tensor:
    return moved.flatten(1).norm(dim=axis, keepdim=True)


def _gain(magnitude: Tensor, length: Tensor) -> Tensor:
    return magnitude / (length + torch.finfo(torch.float32).eps)


def _along(gain: Tensor, values: Tensor) -> Tensor:
    """A gain [rows, 1] or [1, columns] for values [rows, ...]."""
    return gain.reshape(*gain.shape[:2], *[1] * (values.dim() - 2))
