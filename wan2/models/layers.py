"""The block of the transformer and its parts. Knows nothing of latents, grids or guidance.

Tensors are [B, tokens, dim] in the compute dtype; modulation is fp32 [B, 1, dim]. When no gradient is recorded, the
residual stream is updated in place, everything between two attentions runs on chunks of tokens, and queries are made
when an attention asks for them. So besides the stream, only the keys and values that it asks for at once are long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from einops import rearrange
from torch import nn
from torch.nn import functional as F

from wan2.models.attention import attend_in_parts
from wan2.models.chunks import chunks
from wan2.models.fp8 import KeptRows, Rows, quantised_once
from wan2.models.rope import Rope, apply_rope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from wan2.models.conditioning import Conditioning


def join_chunks(start: int, stop: int, part: Callable[[int, int], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    """The results of `part` for every chunk of tokens start..stop, joined along axis 1, never held twice."""
    joined: tuple[Tensor, ...] = ()
    for a, b in chunks(start, stop):
        pieces = part(a, b)
        if (a, b) == (start, stop):
            return pieces
        joined = joined or tuple(piece.new_empty(piece.shape[0], stop - start, *piece.shape[2:]) for piece in pieces)
        for whole, piece in zip(joined, pieces, strict=True):
            whole[:, a - start : b - start] = piece
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
    """Projections around an attention; the attention processor decides which keys a query sees."""

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
        return rearrange(x, "b l (h d) -> b l h d", h=self.num_heads)

    def queries(self, x: Tensor | Rows, rope: Rope | None = None) -> Tensor:
        """Normalised queries of x, rotated by `rope` if given: [B, L, H, D]."""
        q = self.heads(self.norm_q(self.q(x)))
        return q if rope is None else apply_rope(q, rope)

    def keys(self, x: Tensor | Rows, rope: Rope | None = None) -> Tensor:
        """Normalised keys of x, rotated by `rope` if given: [B, L, H, D]."""
        k = self.heads(self.norm_k(self.k(x)))
        return k if rope is None else apply_rope(k, rope)

    def values(self, x: Tensor | Rows) -> Tensor:
        """Values of x: [B, L, H, D]."""
        return self.heads(self.v(x))


def nowhere(_: int, __: int) -> None:
    """What is next does not matter."""


class Regions(NamedTuple):
    """What a block does between its attentions, each on a chunk of tokens: all that is worth compiling.

    They see tensors and the block's weights, never an attention processor: a graph compiled from one serves every
    block of its sizes, whatever the attentions are.
    """

    self_input: Callable[[Block, Tensor, Tensor, Tensor], Tensor | Rows]
    self_queries: Callable[[Block, Tensor | Rows, Rope], Tensor]
    self_keys: Callable[[Block, Tensor | Rows, Rope], tuple[Tensor, Tensor]]
    after_self: Callable[[Block, Tensor, Tensor, Tensor], Tensor]
    cross_queries: Callable[[Block, Tensor], Tensor]
    after_cross: Callable[[Block, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
    at: Callable[[int, int], None] = nowhere
    """Called before those with linears in them: the tokens start..stop are next."""


class Block(nn.Module):
    """Self-attention, cross-attention to the text, feed-forward; modulated by the timestep."""

    def __init__(self, dim: int, ffn_dim: int, num_heads: int, eps: float) -> None:
        super().__init__()
        self.eps = eps
        self.modulation = nn.Parameter(torch.randn(1, 6, dim) / dim**0.5)
        self.self_attn = AttentionLayer(dim, num_heads, eps)
        self.cross_attn = AttentionLayer(dim, num_heads, eps)
        self.norm3 = nn.LayerNorm(dim, eps)
        self.ffn = nn.Sequential(nn.Linear(dim, ffn_dim), nn.GELU(approximate="tanh"), nn.Linear(ffn_dim, dim))

    def forward(
        self,
        x: Tensor,
        time: Tensor,
        text: tuple[Tensor, Tensor],
        rope: Rope,
        conditioning: Conditioning,
        regions: Regions,
    ) -> Tensor:
        """One block. x [B, L, dim]; time fp32 [B, 6, dim]; text: the keys and values of `text_keys`.

        When no gradient is recorded, x itself is updated and returned, and `regions` do the work.
        """
        shift, scale, gate, *ffn_modulation = (self.modulation.float() + time).chunk(6, dim=1)
        if torch.is_grad_enabled():
            regions.at(0, x.shape[1])
            y = self.self_input(x, shift, scale)
            q, (k, v) = self.self_queries(y, rope), self.self_keys(y, rope)
            x = self.after_self(x, conditioning.self_attn(q, k, v), gate)
            return self.after_cross(x, conditioning.cross_attn(self.cross_queries(x), *text), *ffn_modulation)
        own = _OwnKeys(self, x, shift, scale, rope, regions)
        for chunk, y in _by_chunks(attend_in_parts(conditioning.self_attn, own), regions):
            regions.after_self(self, x[:, chunk], y, gate)
        for chunk, y in _by_chunks(
            attend_in_parts(conditioning.cross_attn, _TextKeys(self, x, text, regions)), regions
        ):
            regions.after_cross(self, x[:, chunk], y, *ffn_modulation)
        return x

    def text_keys(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of an embedded text [B, 512, dim], each [B, 512, H, D]."""
        shared = quantised_once(text, self.cross_attn.k, self.cross_attn.v)
        return self.cross_attn.keys(shared), self.cross_attn.values(shared)

    def self_input(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor | Rows:
        """The input of the self-attention's queries, keys and values, [B, L, dim]."""
        own = self.self_attn
        return quantised_once(norm(x, self.eps, scale, shift), own.q, own.k, own.v)

    def self_queries(self, y: Tensor | Rows, rope: Rope) -> Tensor:
        """Queries of the self-attention, [B, L, H, D]."""
        return self.self_attn.queries(y, rope)

    def self_keys(self, y: Tensor | Rows, rope: Rope) -> tuple[Tensor, Tensor]:
        """Keys and values of the self-attention, each [B, L, H, D]."""
        return self.self_attn.keys(y, rope), self.self_attn.values(y)

    def after_self(self, x: Tensor, y: Tensor, gate: Tensor) -> Tensor:
        """Add what the self-attention returned."""
        return add_gated(x, self.self_attn.o(rearrange(y, "b l h d -> b l (h d)")), gate)

    def cross_queries(self, x: Tensor) -> Tensor:
        """Queries of the cross-attention, [B, L, H, D]."""
        return self.cross_attn.queries(self.norm3(x))

    def after_cross(self, x: Tensor, y: Tensor, shift: Tensor, scale: Tensor, gate: Tensor) -> Tensor:
        """Add what the cross-attention returned, then the feed-forward."""
        x = add_gated(x, self.cross_attn.o(rearrange(y, "b l h d -> b l (h d)")))
        return add_gated(x, self.ffn(norm(x, self.eps, scale, shift)), gate)


REGIONS = Regions(
    Block.self_input, Block.self_queries, Block.self_keys, Block.after_self, Block.cross_queries, Block.after_cross
)


class _OwnKeys:
    """Queries, keys and values of a self-attention, projected from the stream when they are asked for.

    Their input is computed again for the queries, which saves the memory of a whole stream. An input that was quantised
    for the keys is kept for them instead, since it is half as large and takes longer to compute.
    """

    def __init__(self, block: Block, x: Tensor, shift: Tensor, scale: Tensor, rope: Rope, regions: Regions) -> None:
        self.num_queries = self.num_keys = x.shape[1]
        self._block, self._x, self._modulation = block, x, (shift, scale)
        self._rope, self._regions, self._kept = rope, regions, KeptRows()

    def queries(self, start: int, stop: int) -> Tensor:
        """See `Projections`."""

        def part(a: int, b: int) -> tuple[Tensor]:
            kept = self._kept.take(a, b)
            y = self._input(a, b) if kept is None else kept
            self._regions.at(a, b)
            return (self._regions.self_queries(self._block, y, self._rope.slice(slice(a, b))),)

        return join_chunks(start, stop, part)[0]

    def keys(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """See `Projections`."""

        def part(a: int, b: int) -> tuple[Tensor, Tensor]:
            y = self._input(a, b)
            if isinstance(y, Rows):
                self._kept.keep(a, y)
            self._regions.at(a, b)
            return self._regions.self_keys(self._block, y, self._rope.slice(slice(a, b)))

        k, v = join_chunks(start, stop, part)
        return k, v

    def _input(self, a: int, b: int) -> Tensor | Rows:
        return self._regions.self_input(self._block, self._x[:, a:b], *self._modulation)


class _TextKeys:
    """Queries of a cross-attention, projected when they are asked for; its keys and values exist already."""

    def __init__(self, block: Block, x: Tensor, text: tuple[Tensor, Tensor], regions: Regions) -> None:
        self.num_queries, self.num_keys = x.shape[1], text[0].shape[1]
        self._block, self._x, self._text, self._regions = block, x, text, regions

    def queries(self, start: int, stop: int) -> Tensor:
        """See `Projections`."""

        def part(a: int, b: int) -> tuple[Tensor]:
            self._regions.at(a, b)
            return (self._regions.cross_queries(self._block, self._x[:, a:b]),)

        return join_chunks(start, stop, part)[0]

    def keys(self, start: int, stop: int) -> tuple[Tensor, Tensor]:
        """See `Projections`."""
        k, v = self._text
        return k[:, start:stop], v[:, start:stop]


def _by_chunks(parts: Iterator[Tensor], regions: Regions) -> Iterator[tuple[slice, Tensor]]:
    """Consecutive parts of a result, none longer than a chunk, and the tokens of each."""
    end = 0
    for part in parts:
        start, end = end, end + part.shape[1]
        for a, b in chunks(start, end):
            regions.at(a, b)
            yield slice(a, b), part[:, a - start : b - start]


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
        if torch.is_grad_enabled():
            return self.head(norm(x, self.eps, scale, shift))
        (y,) = join_chunks(0, x.shape[1], lambda a, b: (self.head(norm(x[:, a:b], self.eps, scale, shift)),))
        return y
