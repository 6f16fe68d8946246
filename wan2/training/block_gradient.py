"""The gradient of one block, a run of queries at a time, so that no activation of a block is ever whole.

1. The keys and values of a piece are made without a graph, as leaves.
2. Each run of its queries is computed anew, from the block's input to its output, and gives its gradients at once: to
   the input, to the adapters, to keys and values of the piece and of the text.
3. The gradients of keys and values go back through their projections: at once for the piece's own span; for spans that
   other pieces read, too, they are summed up first.

Only the block's input, its gradient, and the keys and values of one piece are long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from wan2.models.attention import dense_attention
from wan2.models.chunks import chunks
from wan2.training.pieces import Piece, Pieces, Range, within

if TYPE_CHECKING:
    from wan2.models.attention import AttentionProcessor
    from wan2.models.layers import Block
    from wan2.models.rope import Rope

KeysValues = tuple[Tensor, Tensor]


@dataclass(frozen=True)
class Surroundings:
    """What all blocks of a pass share: the text [B, 512, dim], time [B, 6, dim], positions, attentions.

    dense: the kernel, which must have a gradient.
    """

    text: Tensor
    time: Tensor
    rope: Rope
    pieces: Pieces
    dense: AttentionProcessor = dense_attention


def block_gradient(block: Block, x: Tensor, gradient: Tensor, around: Surroundings) -> Tensor:
    """The gradient of a block's input x [B, L, dim], of that of its output; those of adapters are added to them."""
    return _BlockGradient(block, x, around).of(gradient)


class _BlockGradient:
    def __init__(self, block: Block, x: Tensor, around: Surroundings) -> None:
        self.block, self.x, self.around = block, x, around
        modulation = block.modulation.detach().float() + around.time
        self.shift, self.scale, self.gate, *self.ffn = modulation.chunk(6, dim=1)
        self.result = torch.zeros_like(x)

    def of(self, gradient: Tensor) -> Tensor:
        """See `block_gradient`."""
        pieces = self.around.pieces
        text = _leaves(self._text_keys())
        shared = {span: self._keys(span) for span in pieces.shared}
        sums = {span: tuple(torch.zeros_like(part) for part in parts) for span, parts in shared.items()}
        for piece in pieces.own:
            own = (piece.start, piece.stop)
            known = shared | ({own: self._keys(own)} if own in piece.keys else {})
            keys = _leaves(tuple(torch.cat([known[s][i] for s in piece.keys], 1) for i in (0, 1)))
            del known
            self._through_queries(piece, keys, text, gradient)
            self._share_out(piece, keys, sums)
        for span, (k, v) in sums.items():
            self._through_keys(span, k, v)
        self._through_text(text)
        return self.result

    def _through_queries(self, piece: Piece, keys: KeysValues, text: KeysValues, gradient: Tensor) -> None:
        """Every run of a piece's queries, to the end of the block and back."""
        for part in within(piece, self.around.pieces.text):
            for a, b in chunks(part.start, part.stop):
                x = self.x[:, a:b].detach().requires_grad_()
                with torch.enable_grad():
                    self._output(x, (a, b), keys, [_gathered(one, part.keys) for one in text]).backward(
                        gradient[:, a:b]
                    )
                self._add((a, b), x)

    def _output(self, x: Tensor, span: Range, keys: KeysValues, text: Sequence[Tensor]) -> Tensor:
        block, dense = self.block, self.around.dense
        q = block.self_queries(block.self_input(x, self.shift, self.scale), self.around.rope.slice(slice(*span)))
        x = block.after_self(x, dense(q, *keys), self.gate)
        return block.after_cross(x, dense(block.cross_queries(x), *text), *self.ffn)

    def _share_out(self, piece: Piece, keys: KeysValues, sums: dict[Range, tuple[Tensor, ...]]) -> None:
        """The gradients of a piece's keys and values, to where its spans come from."""
        at, own = 0, (piece.start, piece.stop)
        for span in piece.keys:
            end = at + span[1] - span[0]
            k, v = (gradient_of(part)[:, at:end] for part in keys)
            if span == own:
                self._through_keys(span, k, v)
            else:
                for total, part in zip(sums[span], (k, v), strict=True):
                    total += part
            at = end

    def _through_keys(self, span: Range, k: Tensor, v: Tensor) -> None:
        """Back through the projections of keys and values, given their gradients."""
        start = span[0]
        for a, b in chunks(*span):
            x = self.x[:, a:b].detach().requires_grad_()
            with torch.enable_grad():
                made = self._keys_of(x, (a, b))
                torch.autograd.backward(made, (k[:, a - start : b - start], v[:, a - start : b - start]))
            self._add((a, b), x)

    def _through_text(self, text: KeysValues) -> None:
        with torch.enable_grad():
            made = self._text_keys()
            for y, leaf in zip(made, text, strict=True):
                if y.requires_grad:
                    y.backward(gradient_of(leaf))

    def _keys(self, span: Range) -> KeysValues:
        """Keys and values of a span, without a graph."""
        with torch.no_grad():
            parts = [self._keys_of(self.x[:, a:b], (a, b)) for a, b in chunks(*span)]
            k, v = (torch.cat(part, dim=1) if len(part) > 1 else part[0] for part in zip(*parts, strict=True))
        return k, v

    def _keys_of(self, x: Tensor, span: Range) -> KeysValues:
        y = self.block.self_input(x, self.shift, self.scale)
        return self.block.self_keys(y, self.around.rope.slice(slice(*span)))

    def _text_keys(self) -> KeysValues:
        return self.block.text_keys(self.around.text)

    def _add(self, span: Range, x: Tensor) -> None:
        self.result[:, slice(*span)] += gradient_of(x)


def _leaves(parts: tuple[Tensor, ...]) -> KeysValues:
    k, v = (part.detach().requires_grad_() for part in parts)
    return k, v


def gradient_of(leaf: Tensor) -> Tensor:
    """The gradient of a leaf, zeros where it has none."""
    return torch.zeros_like(leaf) if leaf.grad is None else leaf.grad


def _gathered(x: Tensor, spans: Sequence[Range]) -> Tensor:
    """Spans of x [B, L, H, D], one after the other."""
    parts = [x[:, a:b] for a, b in spans]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
