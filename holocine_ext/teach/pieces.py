"""The attentions of a clip with shots as a choice of keys: `holocine_ext.shots.attention` in integers."""

from __future__ import annotations

from collections.abc import Sequence

from holocine_ext.shots.layout import Range, ShotLayout
from wan2.text.tokenizer import TEXT_LENGTH
from wan2.training.pieces import Piece, Pieces


def pieces_of(layout: ShotLayout, key_ranges: Sequence[Sequence[Range]] | None, sparse: bool) -> Pieces:
    """The pieces of a pass.

    Args:
        layout: the shots.
        key_ranges: for every shot the text positions it may see; None opens the whole text to all.
        sparse: whether self-attention is sparse between shots.
    """
    whole = (0, layout.tokens)
    own = tuple(Piece(a, b, ((a, b), *layout.first_frames)) for a, b in layout.shots) if sparse else None
    windows = key_ranges if key_ranges is not None else [[(0, TEXT_LENGTH)]] * layout.num_shots
    text = tuple(Piece(a, b, tuple(spans)) for (a, b), spans in zip(layout.shots, windows, strict=True))
    return Pieces(own or (Piece(*whole, (whole,)),), text)
