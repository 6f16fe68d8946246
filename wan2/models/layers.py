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

from wan2.models.attention import attend_in_parts, put
from wan2.models.chunks import chunks
from wan2.models.elementwise import PLAIN, Elementwise, RMSNorm, add_gated, gelu, norm
from wan2.models.fp8 import FastFp8Linear, KeptRows, Rows, quantised_once
from wan2.models.multiplied import multiplied_out
from wan2.models.rope import Rope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

    from wan2.models.attention import Pair
    from wan2.models.conditioning import Conditioning


def join_chunks(start: int, stop: int, part: Callable[[int, int], Tensor]) -> Tensor:
    """The results of `part` for every chunk of tokens start..stop, joined along axis 1, never held twice."""
    (a, b), *others = chunks(start, stop)
    piece = part(a, b)
    if not others:
        return piece
    joined = piece.new_empty(piece.shape[0], stop - start, *piece.shape[2:])
    joined[:, : b - a] = piece
    del piece
    for a, b in others:
        joined[:, a - start : b - start] = part(a, b)
    return joined


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

    def queries(self, x: Tensor | Rows, rope: Rope | None = None, by: Elementwise = PLAIN) -> Tensor:
        """Normalised queries of x, rotated by `rope` if given: [B, L, H, D]."""
        q, norm = self.heads(self.q(x)), self.norm_q
        return self._normed(q, norm) if rope is None else by.rms_rope(q, norm.weight, norm.eps, rope, None)

    def keys(
        self, x: Tensor | Rows, rope: Rope | None = None, out: Tensor | None = None, by: Elementwise = PLAIN
    ) -> Tensor:
        """Normalised keys of x, rotated by `rope` if given, then into `out` if given: [B, L, H, D]."""
        k, norm = self.heads(self.k(x)), self.norm_k
        return self._normed(k, norm) if rope is None else by.rms_rope(k, norm.weight, norm.eps, rope, out)

    def _normed(self, x: Tensor, norm: nn.Module) -> Tensor:
        return self.heads(norm(x.flatten(-2)))

    def values(self, x: Tensor | Rows) -> Tensor:
        """Values of x: [B, L, H, D]."""
        return self.heads(self.v(x))


def nowhere(_: int, __: int) -> None:
    """What is next does not matter."""


class Regions(NamedTuple):
    """What a block does between its attentions, each on a chunk of tokens: all that is worth compiling.

    They see tensors and the block's weights, never an attention processor: a graph compiled from one serves every
    block of its sizes, whatever the attentions are. `by` of the block's methods is how they compute value by value.
    """

    self_input: Callable[[Block, Tensor, Tensor, Tensor], Tensor | Rows]
    self_queries: Callable[[Block, Tensor | Rows, Rope], Tensor]
    self_keys: Callable[[Block, Tensor | Rows, Rope, Tensor], Tensor]
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
        shift, scale, gate, *parts = (self.modulation.float() + time).chunk(6, dim=1)
        ffn = parts[0], parts[1], parts[2]
        if torch.is_grad_enabled():
            regions.at(0, x.shape[1])
            y = self.self_input(x, shift, scale)
            q, k, v = self.self_queries(y, rope), self.self_attn.keys(y, rope), self.self_attn.values(y)
            x = self.after_self(x, conditioning.self_attn(q, k, v), gate)
            return self.after_cross(x, conditioning.cross_attn(self.cross_queries(x), *text), *ffn)
        own = _OwnKeys(self, x, shift, scale, rope, regions)
        with multiplied_out(x.dtype, self.self_attn):
            for chunk, y in _by_chunks(attend_in_parts(conditioning.self_attn, own), regions):
                regions.after_self(self, x[:, chunk], y, gate)
        texts = _TextKeys(self, x, text, regions)
        with multiplied_out(x.dtype, self.cross_attn.q, self.cross_attn.o, self.ffn):
            for chunk, y in _by_chunks(attend_in_parts(conditioning.cross_attn, texts), regions):
                regions.after_cross(self, x[:, chunk], y, *ffn)
        return x

    def text_keys(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of an embedded text [B, 512, dim], each [B, 512, H, D]."""
        shared = quantised_once(text, self.cross_attn.k, self.cross_attn.v)
        return self.cross_attn.keys(shared), self.cross_attn.values(shared)

    def self_input(self, x: Tensor, shift: Tensor, scale: Tensor, by: Elementwise = PLAIN) -> Tensor | Rows:
        """The input of the self-attention's queries, keys and values, [B, L, dim]."""
        own = self.self_attn
        return quantised_once(by.norm(x, self.eps, scale, shift), own.q, own.k, own.v, by=by.quantise_rows)

    def self_queries(self, y: Tensor | Rows, rope: Rope, by: Elementwise = PLAIN) -> Tensor:
        """Queries of the self-attention, [B, L, H, D]."""
        return self.self_attn.queries(y, rope, by)

    def self_keys(self, y: Tensor | Rows, rope: Rope, k: Tensor, by: Elementwise = PLAIN) -> Tensor:
        """Values of the self-attention [B, L, H, D]; its keys are written into `k`, of the same shape."""
        self.self_attn.keys(y, rope, k, by)
        return self.self_attn.values(y)

    def after_self(self, x: Tensor, y: Tensor, gate: Tensor, by: Elementwise = PLAIN) -> Tensor:
        """Add what the self-attention returned."""
        return add_gated(x, _projected(self.self_attn, y, by), gate)

    def cross_queries(self, x: Tensor, by: Elementwise = PLAIN) -> Tensor:
        """Queries of the cross-attention, [B, L, H, D]."""
        cross = self.cross_attn
        return cross.queries(quantised_once(self.norm3(x), cross.q, by=by.quantise_rows))

    def after_cross(
        self, x: Tensor, y: Tensor, shift: Tensor, scale: Tensor, gate: Tensor, by: Elementwise = PLAIN
    ) -> Tensor:
        """Add what the cross-attention returned, then the feed-forward."""
        x = add_gated(x, _projected(self.cross_attn, y, by))
        return add_gated(x, self._feed_forward(by.norm(x, self.eps, scale, shift), by), gate)

    def _feed_forward(self, x: Tensor, by: Elementwise) -> Tensor:
        wider, _, narrower = self.ffn
        hidden = wider(quantised_once(x, wider, by=by.quantise_rows))
        return narrower(by.gelu_rows(hidden) if isinstance(narrower, FastFp8Linear) else gelu(hidden))


def _projected(attention: AttentionLayer, y: Tensor, by: Elementwise) -> Tensor:
    """The output of an attention [B, L, H, D] through its last linear: [B, L, dim]."""
    joined = rearrange(y, "b l h d -> b l (h d)")
    return attention.o(quantised_once(joined, attention.o, by=by.quantise_rows))


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

        def part(a: int, b: int) -> Tensor:
            kept = self._kept.take(a, b)
            y = self._input(a, b) if kept is None else kept
            self._regions.at(a, b)
            return self._regions.self_queries(self._block, y, self._rope.slice(slice(a, b)))

        return join_chunks(start, stop, part)

    def keys(self, start: int, stop: int, into: Pair | None = None) -> Pair:
        """See `Projections`."""
        k, v = into or self._room(stop - start)
        for a, b in chunks(start, stop):
            y = self._input(a, b)
            if isinstance(y, Rows):
                self._kept.keep(a, y)
            chunk, turns = slice(a - start, b - start), self._rope.slice(slice(a, b))
            self._regions.at(a, b)
            v[:, chunk] = self._regions.self_keys(self._block, y, turns, k[:, chunk])
        return k, v

    def _room(self, length: int) -> Pair:
        """Memory for keys and values. No chunk starts at byte 0: see `patchify`."""
        attention, x = self._block.self_attn, self._x
        shape = (x.shape[0], length + 1, attention.num_heads, x.shape[-1] // attention.num_heads)
        return x.new_empty(shape)[:, 1:], x.new_empty(shape)[:, 1:]

    def _input(self, a: int, b: int) -> Tensor | Rows:
        return self._regions.self_input(self._block, self._x[:, a:b], *self._modulation)


class _TextKeys:
    """Queries of a cross-attention, projected when they are asked for; its keys and values exist already."""

    def __init__(self, block: Block, x: Tensor, text: tuple[Tensor, Tensor], regions: Regions) -> None:
        self.num_queries, self.num_keys = x.shape[1], text[0].shape[1]
        self._block, self._x, self._text, self._regions = block, x, text, regions

    def queries(self, start: int, stop: int) -> Tensor:
        """See `Projections`."""

        def part(a: int, b: int) -> Tensor:
            self._regions.at(a, b)
            return self._regions.cross_queries(self._block, self._x[:, a:b])

        return join_chunks(start, stop, part)

    def keys(self, start: int, stop: int, into: Pair | None = None) -> Pair:
        """See `Projections`."""
        k, v = self._text
        return put((k[:, start:stop], v[:, start:stop]), into)


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
        return join_chunks(0, x.shape[1], lambda a, b: self.head(norm(x[:, a:b], self.eps, scale, shift)))
