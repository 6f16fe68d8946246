"""Linears whose weight is held in fp8 (e4m3), with a scale for every row. Knows nothing of files.

A scale made here is a power of two: division by it is exact, so only the mantissa is rounded (by 1/16 at the most, of a
value above 2^-13 of the largest in its row), every device gets the same bits, and converting back to bfloat16 rounds
nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from wan2.errors import InputError, is_out_of_memory
from wan2.models.multiplied import HeldLinear, frozen
from wan2.shown import shortened

FP8 = torch.float8_e4m3fn
LARGEST = 448.0
SMALLEST_SCALE = 2.0**-126
# A side of the smallest matrix to try.
SIDE = 16


class Rows(NamedTuple):
    """Rows in fp8 [..., columns], the scale each must be multiplied by, fp32 [..., 1], and their original dtype."""

    values: Tensor
    scale: Tensor
    dtype: torch.dtype


def quantise_rows(x: Tensor) -> Rows:
    """Rows of x [..., columns], float32 or bfloat16, in fp8: each by the smallest power of two that makes it fit.

    If a row contains inf or NaN, its scale is not finite either.
    """
    largest = x.abs().amax(-1, keepdim=True).float()
    # Adding all ones below the exponent carries into it, unless the number is a power of two already.
    bits = (largest / LARGEST).view(torch.int32) + 0x007FFFFF
    power = (bits & 0x7F800000).view(torch.float32).clamp(min=SMALLEST_SCALE)
    scale = torch.where(largest.isfinite(), power, largest)
    return Rows((x / scale.to(x.dtype)).to(FP8), scale, x.dtype)


def multiply_out(stored: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    """fp8 values times their scales in `dtype`: the product in fp32, rounded once."""
    return stored.to(dtype).mul_(scale)


class Fp8Linear(HeldLinear):
    """A linear with an fp8 weight: fp8 in memory, arithmetic in the input's dtype.

    stored: e4m3 [out, in]; scale: fp32 [out, 1].
    """

    def __init__(self, in_features: int, out_features: int, bias: bool) -> None:
        super().__init__(out_features, bias)
        self.stored = frozen(torch.empty(out_features, in_features, dtype=FP8))
        self.scale = frozen(torch.empty(out_features, 1))

    def weight_in(self, dtype: torch.dtype) -> Tensor:
        """The weight [out, in], multiplied out."""
        return multiply_out(self.stored, self.scale, dtype)


class FastFp8Linear(Fp8Linear):
    """A linear that multiplies fp8 by fp8: every row of its input is quantised, too."""

    fast = True

    def forward(self, x: Tensor | Rows) -> Tensor:
        """[..., in], quantised already or not -> [..., out]."""
        rows = x if isinstance(x, Rows) else quantise_rows(x)
        out = torch._scaled_mm(
            rows.values.flatten(0, -2),
            self.stored.t(),
            scale_a=rows.scale.flatten(0, -2),
            scale_b=self.scale.t(),
            bias=self.bias,
            out_dtype=rows.dtype,
            use_fast_accum=True,
        )
        return out.unflatten(0, rows.values.shape[:-1])


class KeptRows:
    """Rows in fp8 of a sequence, kept when the keys are made and used again for the queries."""

    def __init__(self) -> None:
        self._pieces: dict[int, Rows] = {}

    def keep(self, start: int, rows: Rows) -> None:
        """Keep rows [B, n, columns] as the rows start..start + n."""
        self._pieces[start] = rows

    def take(self, start: int, stop: int) -> Rows | None:
        """Rows start..stop joined, None if one of them was not kept; rows up to `stop` are released."""
        at, parts = start, []
        for first, (values, scale, dtype) in sorted(self._pieces.items()):
            end = min(first + values.shape[1], stop)
            if first <= at < end:
                cut = slice(at - first, end - first)
                parts.append(Rows(values[:, cut], scale[:, cut], dtype))
                at = end
        if at < stop:
            return None
        self._pieces = {first: rows for first, rows in self._pieces.items() if first + rows.values.shape[1] > stop}
        return Rows(torch.cat([p.values for p in parts], 1), torch.cat([p.scale for p in parts], 1), parts[0].dtype)


def quantised_once(x: Tensor, *readers: nn.Module, by: Callable[[Tensor], Rows] | None = None) -> Tensor | Rows:
    """x as the input of linears: quantised, once and `by` that, if all of them multiply in fp8."""
    return (by or quantise_rows)(x) if all(isinstance(reader, FastFp8Linear) for reader in readers) else x


def check_fast(device: torch.device) -> None:
    """Find out by trying whether a device multiplies fp8 by fp8 with a scale for every row.

    Raises:
        InputError: it does not; with what it takes.
    """
    dtype = torch.bfloat16
    try:
        linear = FastFp8Linear(SIDE, SIDE, bias=True).to(device)
        linear.stored, linear.scale = (frozen(part) for part in quantise_rows(torch.eye(SIDE, device=device))[:2])
        linear.bias = frozen(torch.zeros(SIDE, dtype=dtype, device=device))
        linear(torch.ones(SIDE, SIDE, dtype=dtype, device=device))
    except (RuntimeError, TypeError) as error:
        if is_out_of_memory(error):
            raise
        one = " ".join(str(error).split())
        rule = (
            f"PyTorch {torch.__version__} has no fp8 product with a scale a row on {device} ({shortened(one, 120)}); a "
            "GPU needs compute capability 8.9 (Ada) or 9.0 (Hopper) or later; `fp8_scaled` alone works everywhere"
        )
        raise InputError(rule, field="fp8_fast") from error
