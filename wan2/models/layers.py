"""The block of the transformer and its parts. Knows nothing of latents, grids or guidance.

Tensors are [B, tokens, dim] in the compute dtype; modulation is fp32 [B, 1, dim]. When no gradient is recorded, the
residual stream is updated in place and everything between two attentions runs over runs of tokens, so the only tensors
as long as the video are the stream, the queries, keys and values, and what an attention returns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional as F

from wan2.models.fp8 import Rows, quantised_once
from wan2.models.rope import Rope, apply_rope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from wan2.conditioning import Conditioning

TOKENS_AT_ONCE = 8192


def token_runs(length: int) -> Iterator[slice]:
    """Split `length` tokens into runs to work on one after another; a single run when gradients are recorded."""
    step = max(length, 1) if torch.is_grad_enabled() else TOKENS_AT_ONCE
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


def run_by_run(length: int, part: Callable[[slice], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """The results of `part` for every run of tokens, joined along axis 1 without ever holding them twice."""
    joined: tuple[Tensor, ...] = ()
    for run in token_runs(length):
        pieces = part(run)
        if pieces[0].shape[1] == length:
            return pieces
        joined = joined or tuple(piece.new_empty(piece.shape[0], length, *piece.shape[2:]) for piece in pieces)
        for whole, piece in zip(joined, pieces, strict=True):
            whole[:, run] = piece
        del pieces, piece
    return joined


def norm(x: Tensor, eps: float, scale: Tensor, shift: Tensor) -> Tensor:
    """Layer norm over channels, then `* (1 + scale) + shift`, all in fp32; returns x's dtype.

    For one sample the modulation is the affine part of the norm itself, which saves two passes over x.
    """
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


class AttentionLayer(nn.Module):
    """Projections around an attention; which keys a query sees is the processor's business."""

    def __init__(self, dim: int, num_heads: int, eps: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(dim, dim)
        self.k = nn.Linear(dim, dim)
        self.v = nn.Linear(dim, dim)
        self.o = nn.Linear(dim, dim)
        self.norm_q = RMSNorm(dim, eps)
        self.norm_k = RMSNorm(dim, eps)

    def heads(self, x: Tensor) -> Tensor:
        """[B, L, dim] -> [B, L, H, D]."""
        return x.unflatten(-1, (self.num_heads, -1))

    def queries(self, x: Tensor | Rows, rope: Rope | None = None) -> Tensor:
        """Normalised queries of x, turned by `rope` when given: [B, L, H, D]."""
        q = self.heads(self.norm_q(self.q(x)))
        return q if rope is None else apply_rope(q, rope)

    def keys(self, x: Tensor | Rows, rope: Rope | None = None) -> Tensor:
        """Normalised keys of x, turned by `rope` when given: [B, L, H, D]."""
        k = self.heads(self.norm_k(self.k(x)))
        return k if rope is None else apply_rope(k, rope)

    def values(self, x: Tensor | Rows) -> Tensor:
        """Values of x: [B, L, H, D]."""
        return self.heads(self.v(x))


class Block(nn.Module):
    """Self-attention, cross-attention to the text, feed-forward; modulated by the timestep.

    The three methods between the attentions see a run of tokens and never the processors: a graph compiled from one
    stays valid whatever the attentions are.
    """

    def __init__(self, dim: int, ffn_dim: int, num_heads: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.modulation = nn.Parameter(torch.randn(1, 6, dim) / dim**0.5)
        self.self_attn = AttentionLayer(dim, num_heads, eps)
        self.cross_attn = AttentionLayer(dim, num_heads, eps)
        self.norm3 = nn.LayerNorm(dim, eps)
        self.ffn = nn.Sequential(nn.Linear(dim, ffn_dim), nn.GELU(approximate="tanh"), nn.Linear(ffn_dim, dim))

    def forward(
        self, x: Tensor, time: Tensor, text: tuple[Tensor, Tensor], rope: Rope, conditioning: Conditioning
    ) -> Tensor:
        """One block. x [B, L, dim]; time fp32 [B, 6, dim]; text: what `text_keys` makes of it."""
        length = x.shape[1]
        shift, scale, gate, *ffn_modulation = (self.modulation.float() + time).chunk(6, dim=1)
        y = conditioning.self_attn(
            *run_by_run(length, lambda run: self.before_self(x[:, run], shift, scale, rope.slice(run)))
        )
        if torch.is_grad_enabled():
            x, q = self.before_cross(x, y, gate)
        else:
            (q,) = run_by_run(length, lambda run: self.before_cross(x[:, run], y[:, run], gate)[1:])
        del y
        y = conditioning.cross_attn(q, *text)
        del q
        if torch.is_grad_enabled():
            return self.after_cross(x, y, *ffn_modulation)
        for run in token_runs(length):
            self.after_cross(x[:, run], y[:, run], *ffn_modulation)
        return x

    def text_keys(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of an embedded text [B, 512, dim], each [B, 512, H, D]."""
        shared = quantised_once(text, self.cross_attn.k, self.cross_attn.v)
        return self.cross_attn.keys(shared), self.cross_attn.values(shared)

    def before_self(self, x: Tensor, shift: Tensor, scale: Tensor, rope: Rope) -> tuple[Tensor, ...]:
        """Queries, keys and values of the self-attention, each [B, L, H, D]."""
        attn = self.self_attn
        shared = quantised_once(norm(x, self.eps, scale, shift), attn.q, attn.k, attn.v)
        return attn.queries(shared, rope), attn.keys(shared, rope), attn.values(shared)

    def before_cross(self, x: Tensor, y: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
        """Add what the self-attention returned; the new x, and the queries of the cross-attention."""
        x = add_gated(x, self.self_attn.o(y.flatten(2)), gate)
        return x, self.cross_attn.queries(self.norm3(x))

    def after_cross(self, x: Tensor, y: Tensor, shift: Tensor, scale: Tensor, gate: Tensor) -> Tensor:
        """Add what the cross-attention returned, then the feed-forward."""
        x = add_gated(x, self.cross_attn.o(y.flatten(2)))
        return add_gated(x, self.ffn(norm(x, self.eps, scale, shift)), gate)


class Head(nn.Module):
    """Modulated norm and the projection from a token to the values of its patch."""

    def __init__(self, dim: int, out: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.modulation = nn.Parameter(torch.randn(1, 2, dim) / dim**0.5)
        self.head = nn.Linear(dim, out)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """x [B, L, dim], time fp32 [B, 1, dim] -> [B, L, out]."""
        shift, scale = (self.modulation.float() + time).chunk(2, dim=1)
        (y,) = run_by_run(x.shape[1], lambda run: (self.head(norm(x[:, run], self.eps, scale, shift)),))
        return y
