"""Linears whose weight is held in int8, with a scale for every row. Knows nothing of files.

ConvRot turns groups of columns of a weight before it is quantised, by a Hadamard matrix: symmetric, and its own
inverse. Turned back are the integers, of which every sum is exact in fp32, so the values are rounded once, and have the
same bits on every device. Source: ConvRot, arXiv 2512.03673, as ComfyUI writes it (`int8_tensorwise`).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from wan2.errors import InputError, is_out_of_memory
from wan2.models.multiplied import HeldLinear, frozen
from wan2.shown import shortened

# Values that are in fp32 at once, in a few copies.
VALUES_AT_ONCE = 1 << 22
LARGEST, SMALLEST_SCALE = 127.0, 2.0**-126
# cuBLAS multiplies int8 only if there are more rows than 16.
MORE_ROWS = 17
# A side of the matrices to try.
SIDE = 32


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


class Int8Linear(HeldLinear):
    """A linear with an int8 weight: int8 in memory, arithmetic in the input's dtype.

    stored: int8 [out, in]; scale: fp32 [out, 1]. turned: columns of a group that ConvRot turned, 0 for none.
    """

    def __init__(self, in_features: int, out_features: int, bias: bool, turned: int) -> None:
        super().__init__(out_features, bias)
        self.turned = turned
        self.stored = frozen(torch.empty(out_features, in_features, dtype=torch.int8))
        self.scale = frozen(torch.empty(out_features, 1))

    def weight_in(self, dtype: torch.dtype) -> Tensor:
        """The weight [out, in], multiplied out."""
        return multiply_out(self.stored, self.scale, self.turned, dtype)


class FastInt8Linear(Int8Linear):
    """A linear that multiplies int8 by int8: every row of its input is turned as the weight is, and quantised, too."""

    fast = True

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        rows = x.flatten(0, -2)
        values, scale = quantise_rows(turned(rows, self.turned) if self.turned else rows)
        out = product(values, self.stored).float().mul_(scale).mul_(self.scale.t())
        out = out if self.bias is None else out.add_(self.bias)
        return out.to(x.dtype).unflatten(0, x.shape[:-1])


def turned(x: Tensor, group: int) -> Tensor:
    """Rows x [n, columns] with every group of columns turned, in their dtype."""
    four = 1 - 2 * torch.eye(4, dtype=x.dtype, device=x.device).flip(0)
    matrix = four / 2
    while len(matrix) < group:
        matrix = torch.kron(matrix, four / 2)
    return (x.unflatten(-1, (-1, group)) @ matrix).flatten(-2)


def quantise_rows(x: Tensor) -> tuple[Tensor, Tensor]:
    """Rows x [n, columns] in int8, and the scale each must be multiplied by, fp32 [n, 1].

    If a row contains inf or NaN, its scale is not finite either.
    """
    scale = (x.abs().amax(-1, keepdim=True).float() / LARGEST).clamp(min=SMALLEST_SCALE)
    return (x / scale).round_().to(torch.int8), scale


def product(values: Tensor, stored: Tensor) -> Tensor:
    """int8 [n, in] times int8 [out, in], exact: int32 [n, out]."""
    padded = F.pad(values, (0, 0, 0, MORE_ROWS))
    return torch._int_mm(padded, stored.t())[: len(values)]


def check_product(device: torch.device) -> None:
    """Find out by trying whether a device multiplies int8 by int8.

    Raises:
        InputError: it does not.
    """
    try:
        product(*torch.ones(2, SIDE, SIDE, dtype=torch.int8, device=device))
    except (RuntimeError, TypeError) as error:
        if is_out_of_memory(error):
            raise
        one = shortened(" ".join(str(error).split()), 120)
        raise InputError(
            f"PyTorch {torch.__version__} has no int8 product on {device} ({one})", field="int8_fast"
        ) from error
