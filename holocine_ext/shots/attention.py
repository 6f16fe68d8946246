"""The two attentions of a video with shots. A window is a choice of keys, never a mask: one dense call per shot.

No mask tensor, no variable-length kernel, no device sync: only slices and concatenations with plain integers, so any
dense kernel serves and autograd passes through. Knows nothing of text or of frames, only of ranges.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from holocine_ext.shots.layout import Range, ShotLayout
from wan2.models.attention import Projections, attend_in_chunks
from wan2.models.conditioning import AttentionProcessor, dense_attention


@dataclass(frozen=True)
class SparseInterShotAttention:
    """Self-attention of the `sparse` checkpoints (HoloCine, sparse inter-shot self-attention).

    The queries of a shot attend to all keys of that shot followed by the first latent frame of *every* shot, its own
    included: its own first frame counts twice, so that even a single shot is not dense attention.
    """

    layout: ShotLayout
    dense: AttentionProcessor = dense_attention

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q, k, v [B, L, H, D] with L the tokens of the layout -> [B, L, H, D], in their dtype.

        Raises:
            ValueError: L is not the number of tokens of the layout.
        """
        _expect(q.shape[1], self.layout.tokens)
        summary_k = _gather(k, self.layout.first_frames)
        summary_v = _gather(v, self.layout.first_frames)
        return _join(
            q,
            (
                self.dense(q[:, a:b], torch.cat([k[:, a:b], summary_k], 1), torch.cat([v[:, a:b], summary_v], 1))
                for a, b in self.layout.shots
            ),
        )

    def parts(self, tokens: Projections) -> Iterator[Tensor]:
        """The same shot by shot, in one buffer: the first frames of all shots, and behind them the keys of one shot.

        Raises:
            ValueError: there are not as many queries as tokens in the layout.
        """
        _expect(tokens.num_queries, self.layout.tokens)
        layout, frame = self.layout, self.layout.tokens_per_frame
        shared, longest = layout.num_shots * frame, max(b - a for a, b in layout.shots)
        k, v = tokens.room(shared + longest)
        for number, (a, b) in enumerate(layout.first_frames):
            own = slice(number * frame, (number + 1) * frame)
            tokens.keys(a, b, into=(k[:, own], v[:, own]))
        for number, (a, b) in enumerate(layout.shots):
            first, own = slice(number * frame, (number + 1) * frame), slice(shared, shared + frame)
            k[:, own], v[:, own] = k[:, first], v[:, first]
            rest = slice(shared + frame, end := shared + b - a)
            tokens.keys(a + frame, b, into=(k[:, rest], v[:, rest]))
            yield from attend_in_chunks(self.dense, tokens, a, b, k[:, :end], v[:, :end])


@dataclass(frozen=True)
class WindowCrossAttention:
    """Cross-attention in which every shot sees only its ranges of the text (HoloCine, window cross-attention).

    Args:
        layout: where the queries of every shot lie.
        key_ranges: for every shot the half-open ranges of text positions it may see.
        dense: the kernel for one shot.

    Raises:
        ValueError: the number of shots differs between layout and key ranges.
    """

    layout: ShotLayout
    key_ranges: tuple[tuple[Range, ...], ...]
    dense: AttentionProcessor = dense_attention

    def __post_init__(self) -> None:
        if len(self.key_ranges) != self.layout.num_shots:
            raise ValueError(f"{len(self.key_ranges)} windows for {self.layout.num_shots} shots")

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [B, Lq, H, D] with Lq the tokens of the layout, k and v [B, Lk, H, D] -> [B, Lq, H, D], in their dtype.

        Raises:
            ValueError: Lq is not the number of tokens of the layout.
        """
        _expect(q.shape[1], self.layout.tokens)
        return _join(
            q,
            (
                self.dense(q[:, a:b], _gather(k, ranges), _gather(v, ranges))
                for (a, b), ranges in zip(self.layout.shots, self.key_ranges, strict=True)
            ),
        )

    def parts(self, tokens: Projections) -> Iterator[Tensor]:
        """The same shot by shot, a run of queries at a time.

        Raises:
            ValueError: there are not as many queries as tokens in the layout.
        """
        _expect(tokens.num_queries, self.layout.tokens)
        for (a, b), ranges in zip(self.layout.shots, self.key_ranges, strict=True):
            k, v = _join_keys([tokens.keys(*span) for span in ranges])
            yield from attend_in_chunks(self.dense, tokens, a, b, k, v)


def _join(q: Tensor, results: Iterable[Tensor]) -> Tensor:
    """The results of consecutive shots as one tensor like q, never holding them twice unless gradients need it."""
    if torch.is_grad_enabled():
        return torch.cat(list(results), dim=1)
    out = torch.empty_like(q)
    start = 0
    for result in results:
        out[:, start : start + result.shape[1]] = result
        start += result.shape[1]
    return out


def _join_keys(pieces: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Keys and values of several spans as one; views when there is only one."""
    if len(pieces) == 1:
        return pieces[0]
    keys, values = zip(*pieces, strict=True)
    return torch.cat(keys, dim=1), torch.cat(values, dim=1)


def _gather(x: Tensor, ranges: Sequence[Range]) -> Tensor:
    """The given positions of x [B, L, H, D], one range after the other; a view when there is only one."""
    parts = [x[:, a:b] for a, b in ranges]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


def _expect(length: int, tokens: int) -> None:
    if length != tokens:
        raise ValueError(f"{length} queries for a layout of {tokens} tokens")
