"""Linears whose weight is held in int8, with a scale for every row. Knows nothing of files.

ConvRot turns groups of columns of a weight before it is quantised, by a Hadamard matrix: symmetric, and its own
inverse. Turned back are the integers, of which every sum is exact in fp32, so the values are rounded once, and have the
same bits on every device. Source: ConvRot, arXiv 2512.03673, as ComfyUI writes it (`int8_tensorwise`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Values that are in fp32 at once, in a few copies.
VALUES_AT_ONCE = 1 << 22


def turned_back(numbers: Tensor, group: int) -> Tensor:
    """Rows [..., columns] whose groups of columns were turned, times the square root of `group`, a power of four.

    The matrix is a Kronecker power of that of four, which negates one of the four terms of a sum.
    """
    quarters = range(1, group.bit_length() // 2 + 1)
    parts = numbers.unflatten(-1, (-1, *[4 for _ in quarters]))
    for axis in quarters:
        a, b, c, d = parts.unbind(-axis)
        parts = ((a + b) + (c + d)).unsqueeze(-axis) - 2 * parts.flip(-axis)
    return parts.flatten(-len(quarters) - 1)


def multiply_out(stored: Tensor, scale: Tensor, turned: int, dtype: torch.dtype) -> Tensor:
    """int8 values [rows, columns] times fp32 scales [rows, 1] or [1], turned back: the product in fp32, rounded once.

    turned: columns of a group that was turned, 0 where none was.
    """
    out = torch.empty(stored.shape, dtype=dtype, device=stored.device)
    scale = (scale / math.sqrt(turned or 1)).expand(len(stored), 1)
    step = max(1, VALUES_AT_ONCE // stored.shape[1])
    for start in range(0, len(stored), step):
        rows = slice(start, start + step)
        values = stored[rows].float()
        out[rows] = (turned_back(values, turned) if turned else values) * scale[rows]
    return out


class Int8Linear(nn.Module):
    """A linear with an int8 weight, multiplied out whenever it is used, in the input's dtype.

    stored: int8 [out, in]; scale: fp32 [out, 1]. turned: columns of a group that ConvRot turned, 0 for none.
    """

    # transformers looks at the dtype of a linear's weight, and would convert the input to it.
    weight = None
    parts = ("stored", "scale")

    def __init__(self, in_features: int, out_features: int, bias: bool, turned: int) -> None:
        super().__init__()
        self.in_features, self.out_features, self.turned = in_features, out_features, turned
        self.stored = nn.Parameter(torch.empty(out_features, in_features, dtype=torch.int8), requires_grad=False)
        self.scale = nn.Parameter(torch.empty(out_features, 1), requires_grad=False)
        self.bias = nn.Parameter(torch.empty(out_features), requires_grad=False) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        return F.linear(x, multiply_out(self.stored, self.scale, self.turned, x.dtype), self.bias)
