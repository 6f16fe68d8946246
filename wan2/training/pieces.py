"""An attention as a choice of keys: which queries attend to which spans. Integers only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

Range = tuple[int, int]
"""Half-open: [first, last + 1)."""


class Piece(NamedTuple):
    """Queries start..stop, and the spans of keys that all of them attend to, one after the other."""

    start: int
    stop: int
    keys: tuple[Range, ...]


class Pieces(NamedTuple):
    """Both attentions of a pass. Pieces follow each other and cover every query.

    own: of the self-attention. text: of the cross-attention, with spans of text positions.
    """

    own: tuple[Piece, ...]
    text: tuple[Piece, ...]

    @property
    def shared(self) -> list[Range]:
        """The spans that pieces of the self-attention attend to besides their own queries' span, each once."""
        return sorted({span for piece in self.own for span in piece.keys if span != (piece.start, piece.stop)})


def dense_pieces(tokens: int, length: int) -> Pieces:
    """Every query attends to every key, and to the whole text."""
    return Pieces((Piece(0, tokens, ((0, tokens),)),), (Piece(0, tokens, ((0, length),)),))


def within(piece: Piece, others: Sequence[Piece]) -> Iterator[Piece]:
    """The parts of `others` whose queries are of `piece`."""
    for other in others:
        start, stop = max(piece.start, other.start), min(piece.stop, other.stop)
        if start < stop:
            yield Piece(start, stop, other.keys)
