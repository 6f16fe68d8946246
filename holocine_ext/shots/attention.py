"""The two attentions of a video with shots. A window is a choice of keys, never a mask: one dense call per shot.

No mask tensor, no variable-length kernel, no device sync: only slices and concatenations with plain integers, so any
dense kernel serves and autograd passes through. Knows nothing of text or of frames, only of ranges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch
from torch import Tensor

from holocine_ext.shots.layout import Range, ShotLayout
from wan2.models.attention import Projected, Projections, attend_in_chunks
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
        """The same shot by shot.

        Raises:
            ValueError: there are not as many queries as tokens in the layout.
        """
        _expect(tokens.num_queries, self.layout.tokens)
        shots, frame = dict(enumerate(self.layout.shots)), self.layout.tokens_per_frame
        # Without a name here, it is let go of as soon as it has been copied.
        yield from _shot_by_shot(self.dense, tokens, shots, frame, self._summary(tokens))

    def _summary(self, tokens: Projections) -> tuple[Tensor, Tensor]:
        """Keys and values of the first frames of all shots."""
        return _join_keys([tokens.keys(a, b) for a, b in self.layout.first_frames])

    def of_groups(
        self, owners: Sequence[Sequence[int]], own: int, gather: Callable[[Tensor], Tensor]
    ) -> AttentionProcessor:
        """The same for some of the shots; see `GroupedAttention`."""
        return _SomeShots(self, tuple(map(tuple, owners)), own, gather)


@dataclass(frozen=True)
class _SomeShots:
    """The sparse attention of the shots `owners[own]`, whose tokens lie one shot after the other."""

    whole: SparseInterShotAttention
    owners: tuple[tuple[int, ...], ...]
    own: int
    gather: Callable[[Tensor], Tensor]

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q, k, v [B, L, H, D] with L the tokens of these shots -> [B, L, H, D], in their dtype."""
        return torch.cat(list(self.parts(Projected(q, k, v))), dim=1)

    def parts(self, tokens: Projections) -> Iterator[Tensor]:
        """See `SparseInterShotAttention.parts`; the first frames of the other shots come from elsewhere."""
        layout = self.whole.layout
        frame, mine = layout.tokens_per_frame, self.owners[self.own]
        spans = consecutive(layout.shots[shot][1] - layout.shots[shot][0] for shot in mine)
        _expect(tokens.num_queries, sum(b - a for a, b in spans))
        shots = dict(zip(mine, spans, strict=True))
        yield from _shot_by_shot(self.whole.dense, tokens, shots, frame, self._summary(tokens, spans))

    def _summary(self, tokens: Projections, spans: Sequence[Range]) -> tuple[Tensor, Tensor]:
        """Keys and values of the first frames of all shots, also of those that lie elsewhere."""
        layout = self.whole.layout
        blocks = [torch.stack(tokens.keys(a, a + layout.tokens_per_frame)) for a, _ in spans]
        found = self.gather(torch.stack(blocks))  # [shots, k and v, B, frame, H, D]
        everybody = [shot for own in self.owners for shot in own]
        k, v = torch.cat([found[everybody.index(shot)] for shot in range(layout.num_shots)], dim=2)
        return k, v


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
        yield from _by_windows(self.dense, tokens, zip(self.layout.shots, self.key_ranges, strict=True))

    def of_rows(self, rows: Sequence[Range]) -> AttentionProcessor:
        """The same for some of the queries."""
        windows = [
            (min(b, last) - max(a, first), keys)
            for first, last in rows
            for (a, b), keys in zip(self.layout.shots, self.key_ranges, strict=True)
            if max(a, first) < min(b, last)
        ]
        return _SomeWindows(tuple(length for length, _ in windows), tuple(keys for _, keys in windows), self.dense)


@dataclass(frozen=True)
class _SomeWindows:
    """Window cross-attention of some queries: runs of so many of them, and the text that each run may see."""

    lengths: tuple[int, ...]
    key_ranges: tuple[tuple[Range, ...], ...]
    dense: AttentionProcessor

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [B, Lq, H, D] with Lq those queries, k and v [B, Lk, H, D] -> [B, Lq, H, D], in their dtype."""
        return torch.cat(list(self.parts(Projected(q, k, v))), dim=1)

    def parts(self, tokens: Projections) -> Iterator[Tensor]:
        """See `WindowCrossAttention.parts`."""
        _expect(tokens.num_queries, sum(self.lengths))
        yield from _by_windows(self.dense, tokens, zip(consecutive(self.lengths), self.key_ranges, strict=True))


def consecutive(lengths: Iterable[int]) -> tuple[Range, ...]:
    """Ranges of these lengths, one after the other from 0 on."""
    return tuple(pairwise((0, *accumulate(lengths))))


def _shot_by_shot(
    dense: AttentionProcessor,
    tokens: Projections,
    shots: Mapping[int, Range],
    frame: int,
    summary: tuple[Tensor, Tensor],
) -> Iterator[Tensor]:
    """Sparse attention of some shots in one buffer: the first frames of all shots, and behind them the keys of one.

    shots: number and tokens of each. frame: tokens of a frame. summary: keys and values of the first frames.
    """
    shared, longest = summary[0].shape[1], max(b - a for a, b in shots.values())
    # No chunk starts at byte 0, where a compiled graph would be compiled again.
    k, v = (x.new_empty(x.shape[0], shared + longest + 1, *x.shape[2:])[:, 1:] for x in summary)
    k[:, :shared], v[:, :shared] = summary
    del summary
    for number, (a, b) in shots.items():
        first, own = slice(number * frame, (number + 1) * frame), slice(shared, shared + frame)
        k[:, own], v[:, own] = k[:, first], v[:, first]
        rest = slice(shared + frame, end := shared + b - a)
        tokens.keys(a + frame, b, into=(k[:, rest], v[:, rest]))
        yield from attend_in_chunks(dense, tokens, a, b, k[:, :end], v[:, :end])


def _by_windows(
    dense: AttentionProcessor, tokens: Projections, windows: Iterable[tuple[Range, tuple[Range, ...]]]
) -> Iterator[Tensor]:
    """Window cross-attention of runs of queries, each with the ranges of the text that it sees."""
    for (a, b), ranges in windows:
        k, v = _join_keys([tokens.keys(*span) for span in ranges])
        yield from attend_in_chunks(dense, tokens, a, b, k, v)


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
