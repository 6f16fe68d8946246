"""What a block computes value by value between its products. Knows nothing of blocks.

`Elementwise` has the same operations by one way or another: as PyTorch's own operators here, fused in `fused`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from wan2.models import fp8
from wan2.models.rope import Rope, apply_rope, writes_nowhere

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from wan2.models.fp8 import Rows


def norm(x: Tensor, eps: float, scale: Tensor, shift: Tensor) -> Tensor:
    """Layer norm over channels, then `* (1 + scale) + shift`, all in fp32; returns x's dtype.

    For one sample the modulation is the affine part of the norm itself, which saves two passes over x. A GPU has no
    such norm for half precision; from its statistics, which are fp32, it follows without x as a whole in fp32.
    """
    if x.is_cuda and x.dtype != torch.float32 and not writes_nowhere():
        out, mean, rstd = torch.native_layer_norm(x, x.shape[-1:], None, None, eps)
        normalised = torch.addcmul(-mean * rstd, x, rstd)
        return torch.addcmul(shift, normalised, 1 + scale, out=out)
    if x.shape[0] == 1:
        return F.layer_norm(x.float(), x.shape[-1:], (1 + scale).flatten(), shift.flatten(), eps).to(x.dtype)
    return torch.addcmul(shift, F.layer_norm(x.float(), x.shape[-1:], eps=eps), 1 + scale).to(x.dtype)


def add_gated(x: Tensor, y: Tensor, gate: Tensor | None = None) -> Tensor:
    """x + y * gate, the gate in fp32, rounded once. Writes into x when no gradient is recorded."""
    if torch.is_grad_enabled():
        return x + y if gate is None else torch.addcmul(x, y, gate).to(x.dtype)
    return x.add_(y) if gate is None else x.addcmul_(y, gate)


class RMSNorm(nn.Module):
    """Root mean square norm over the whole width, all heads together."""

    def __init__(self, dim: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis; statistics in fp32, result in x's dtype."""
        return F.rms_norm(x, x.shape[-1:], self.weight, self.eps)


def rms_rope(x: Tensor, weight: Tensor, eps: float, rope: Rope, out: Tensor | None = None) -> Tensor:
    """Root mean square norm over all heads of x [B, L, H, D] together, then the rotation by `rope`; returns x's dtype.

    weight: [H * D]. out: see `apply_rope`.
    """
    normalised = F.rms_norm(x.flatten(-2), weight.shape, weight, eps).view(x.shape)
    return apply_rope(normalised, rope, out)


def gelu(x: Tensor) -> Tensor:
    """GELU by its approximation with tanh."""
    return F.gelu(x, approximate="tanh")


def plain_rows(x: Tensor) -> Rows:
    """Rows [..., columns] quantised to fp8."""
    return fp8.quantise_rows(x)


def gelu_rows(x: Tensor) -> Rows:
    """`gelu` of rows [..., columns], quantised to fp8."""
    return fp8.quantise_rows(gelu(x))


class Elementwise(NamedTuple):
    """The operations that may be fused."""

    norm: Callable[[Tensor, float, Tensor, Tensor], Tensor]
    rms_rope: Callable[[Tensor, Tensor, float, Rope, Tensor | None], Tensor]
    quantise_rows: Callable[[Tensor], Rows]
    gelu_rows: Callable[[Tensor], Rows]


PLAIN = Elementwise(norm, rms_rope, plain_rows, gelu_rows)
