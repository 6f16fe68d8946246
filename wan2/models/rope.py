"""Rotary positions over time, height and width. Knows nothing of attention.

Source: Wan2.1. Of a head's d channels, height and width take d//3 each, rounded down to pairs, and time takes the rest;
theta 10000; neighbouring channels form a pair. Angles come from float64, the rotation runs in fp32 on real numbers:
complex128, as published, takes four times the memory and cannot be compiled.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import torch
from einops import rearrange

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

THETA = 10000.0


class Rope(NamedTuple):
    """Cosine and sine of every token's angles, each fp32 [tokens, 1, head_dim // 2]."""

    cos: Tensor
    sin: Tensor

    def slice(self, tokens: slice) -> Rope:
        """The angles of some tokens."""
        return Rope(self.cos[tokens], self.sin[tokens])

    def pick(self, rows: Sequence[tuple[int, int]] | None) -> Rope:
        """The angles of some ranges of tokens, one after the other; of all of them for None."""
        if rows is None:
            return self
        spans = [slice(0, 1), *(slice(*row) for row in rows)]  # no chunk starts at byte 0: see `patchify`
        return Rope(*(torch.cat([angles[span] for span in spans])[1:] for angles in self))


@lru_cache(maxsize=4)
def rope_table(grid: tuple[int, int, int], head_dim: int, device: torch.device) -> Rope:
    """Angles for a grid of (frames, rows, columns) tokens in row-major order.

    The result is shared between calls: do not write to it. It is an ordinary tensor even when first asked for under
    inference mode, so that training may use it afterwards.
    """
    with torch.inference_mode(False):
        side = head_dim // 6 * 2
        axes = []
        for axis, (length, width) in enumerate(zip(grid, (head_dim - 2 * side, side, side), strict=True)):
            rates = THETA ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
            angles = torch.outer(torch.arange(length, dtype=torch.float64), rates)
            shape = [1, 1, 1, angles.shape[1]]
            shape[axis] = length
            axes.append(angles.reshape(shape).expand(*grid, -1))
        angles = rearrange(torch.cat(axes, dim=-1), "f h w d -> (f h w) 1 d")
        angles = torch.cat([angles[:1], angles])  # no chunk starts at byte 0: see `patchify`
        return Rope(angles.cos().float().to(device)[1:], angles.sin().float().to(device)[1:])


def apply_rope(x: Tensor, rope: Rope) -> Tensor:
    """Rotate the channel pairs of x [B, tokens, H, head_dim] by their angles, in fp32; returns x's dtype."""
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    rotated = torch.addcmul(even * rope.cos, odd, rope.sin, value=-1), torch.addcmul(odd * rope.cos, even, rope.sin)
    return torch.stack(rotated, dim=-1).flatten(-2).to(x.dtype)
