"""Weights in the block types of GGUF, and linears that hold them. Knows nothing of files.

A block is a run of values of one row: small integers, packed, and the scales and offsets by which they are multiplied
out, in fp32 and to the bits of ggml's own reference. Source: ggml's `ggml-quants.c`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from wan2.models.forms import BLOCKS
from wan2.models.multiplied import HeldLinear, frozen

# Values that are in fp32 at once while a weight is multiplied out: as many as keep a GPU busy, or fit a CPU's cache.
VALUES_AT_ONCE, VALUES_IN_CACHE = 1 << 22, 1 << 20


def multiply_out(blocks: Tensor, kind: str, dtype: torch.dtype) -> Tensor:
    """The values [n * values of a block] of blocks, uint8 [n, bytes of a block], of a type: in fp32, rounded once."""
    step = (VALUES_IN_CACHE if blocks.device.type == "cpu" else VALUES_AT_ONCE) // BLOCKS[kind].values
    if len(blocks) <= step:
        return _VALUES[kind](blocks).flatten().to(dtype)
    out = torch.empty(len(blocks), BLOCKS[kind].values, dtype=dtype, device=blocks.device)
    for start in range(0, len(blocks), step):
        part = slice(start, start + step)
        out[part] = _VALUES[kind](blocks[part]).flatten(1)
    return out.flatten()


class BlockLinear(HeldLinear):
    """A linear with a weight in a type of GGUF: blocks in memory, arithmetic in the input's dtype.

    stored: uint8 [out, bytes of a row].
    """

    parts = ("stored",)

    def __init__(self, in_features: int, out_features: int, bias: bool, kind: str) -> None:
        super().__init__(out_features, bias)
        self.kind = kind
        row = in_features // BLOCKS[kind].values * BLOCKS[kind].nbytes
        self.stored = frozen(torch.empty(out_features, row, dtype=torch.uint8))

    def weight_in(self, dtype: torch.dtype) -> Tensor:
        """The weight [out, in], multiplied out."""
        values = multiply_out(self.stored.view(-1, BLOCKS[self.kind].nbytes), self.kind, dtype)
        return values.view(len(self.stored), -1)


def _bits(packed: Tensor, run: int, step: int, width: int) -> Tensor:
    """Small integers: from every run of bytes the lowest `width` bits of each, then those `step` higher, and so on.

    uint8 [n, bytes] -> uint8 [n, bytes * 8 / step].
    """
    shifts = torch.arange(0, 8, step, dtype=torch.uint8, device=packed.device)
    parts = packed.unflatten(1, (-1, 1, run)) >> shifts[:, None]
    return (parts & (2**width - 1)).flatten(1)


def _half(blocks: Tensor, at: int) -> Tensor:
    """The half-precision number at a byte of every block: fp32 [n, 1]."""
    return blocks[:, at : at + 2].contiguous().view(torch.float16).float()


def _groups(numbers: Tensor, count: int, d: Tensor, offset: Tensor | None = None) -> Tensor:
    """Integers [n, values] in `count` groups, times d [n, count or 1], less an offset: fp32 [n, count, -1]."""
    values = numbers.unflatten(1, (count, -1)).float().mul_(d[:, :, None])
    return values if offset is None else values.sub_(offset[:, :, None])


def _signed(numbers: Tensor, zero: int) -> Tensor:
    return numbers.to(torch.int8).sub_(zero)


def _q4_0(b: Tensor) -> Tensor:
    return _groups(_signed(_bits(b[:, 2:], 16, 4, 4), 8), 1, _half(b, 0))


def _q4_1(b: Tensor) -> Tensor:
    return _groups(_bits(b[:, 4:], 16, 4, 4), 1, _half(b, 0), -_half(b, 2))


def _q5_0(b: Tensor) -> Tensor:
    return _groups(_signed(_five_bits(b[:, 6:], b[:, 2:6]), 16), 1, _half(b, 0))


def _q5_1(b: Tensor) -> Tensor:
    return _groups(_five_bits(b[:, 8:], b[:, 4:8]), 1, _half(b, 0), -_half(b, 2))


def _five_bits(low: Tensor, high: Tensor) -> Tensor:
    """The integers of Q5_0 and Q5_1: four bits in `low`, the fifth one in `high`, in the order of its bits."""
    return _bits(low, 16, 4, 4) | (_bits(high, 1, 1, 1) << 4)


def _q8_0(b: Tensor) -> Tensor:
    return _groups(b[:, 2:].view(torch.int8), 1, _half(b, 0))


def _q2_k(b: Tensor) -> Tensor:
    scales = b[:, :16]
    return _groups(_bits(b[:, 16:80], 32, 2, 2), 16, _half(b, 80) * (scales & 15), _half(b, 82) * (scales >> 4))


def _q3_k(b: Tensor) -> Tensor:
    scales = _bits(b[:, 96:104], 8, 4, 4) | (_bits(b[:, 104:108], 4, 2, 2) << 4)
    absent = _bits(b[:, :32], 32, 1, 1) ^ 1
    numbers = _bits(b[:, 32:96], 32, 2, 2).to(torch.int8) - (absent << 2).to(torch.int8)
    return _groups(numbers, 16, _half(b, 108) * _signed(scales, 32))


def _q4_k(b: Tensor) -> Tensor:
    scales, offsets = _k_scales(b)
    return _groups(_bits(b[:, 16:], 32, 4, 4), 8, scales, offsets)


def _q5_k(b: Tensor) -> Tensor:
    scales, offsets = _k_scales(b)
    return _groups(_bits(b[:, 48:], 32, 4, 4) | (_bits(b[:, 16:48], 32, 1, 1) << 4), 8, scales, offsets)


def _k_scales(b: Tensor) -> tuple[Tensor, Tensor]:
    """Scales and offsets of Q4_K and Q5_K, fp32 [n, 8] each: of six bits, the upper four spread over other bytes."""
    low, mid, high = b[:, 4:8], b[:, 8:12], b[:, 12:16]
    scales = torch.cat([low & 63, (high & 15) | ((low >> 2) & 48)], 1)
    offsets = torch.cat([mid & 63, (high >> 4) | ((mid >> 2) & 48)], 1)
    return _half(b, 0) * scales, _half(b, 2) * offsets


def _q6_k(b: Tensor) -> Tensor:
    numbers = _bits(b[:, :128], 64, 4, 4) | (_bits(b[:, 128:192], 32, 2, 2) << 4)
    return _groups(_signed(numbers, 32), 16, _half(b, 208) * b[:, 192:208].view(torch.int8))


_VALUES: dict[str, Callable[[Tensor], Tensor]] = {
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q8_0": _q8_0,
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
}
"""Blocks, uint8 [n, bytes], to their values, fp32 [n, groups, values of a group]."""
