"""Where the latents of a video come from that are not made, and its noise where that is not drawn for the whole of it.

Integers only. Latents and states that hold such pieces say so in their metadata, under `origin`; `run/footage.py` loads
the tensors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from wan2.errors import InputError
from wan2.parsing import read_json
from wan2.weights.header import CheckpointHeader

ORIGIN = "origin"
SOURCE = "source."
# The tensor of a source that is a picture: its latents are made when the run begins.
PIXELS = "pixels"
# More latent frames than a video can have.
MOST_FRAMES = 1 << 12


class Draw(NamedTuple):
    """Noise of some latent frames: `length` of them from `first` on, of a draw with `seed` for `frames` of them."""

    seed: int
    frames: int
    first: int
    length: int


@dataclass(frozen=True)
class Source:
    """A tensor of latents [1, 16, F, h, w] in a file; `noise` of its frames, in order, empty where it is not known.

    With the tensor `PIXELS` the file is a picture, and the latents are those of F latent frames that show it.
    """

    path: Path
    tensor: str
    shape: tuple[int, ...]
    noise: tuple[Draw, ...] = ()


@dataclass(frozen=True)
class Piece:
    """Latent frames of a video that come from a source.

    place: the first of them in the video, or behind its end, where they are seen by the others and not shown; first:
    the first in the source. until: the noise level above which they are held; at 0 they are held to the end, and
    decoded as the source is.
    """

    place: int
    count: int
    source: Source
    first: int
    until: float = 0.0


@dataclass(frozen=True)
class Origin:
    """The pieces of a video, in order, and the draws of its noise; without draws it has one of its own seed."""

    pieces: tuple[Piece, ...] = ()
    noise: tuple[Draw, ...] = ()

    @property
    def sources(self) -> tuple[Source, ...]:
        """Every source once, in the order in which pieces come from them."""
        return tuple(dict.fromkeys(piece.source for piece in self.pieces))

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file of a source once."""
        return tuple(dict.fromkeys(source.path for source in self.sources))

    def notes(self) -> dict[str, Any]:
        """As JSON values; the sources are numbered, which their tensors are named by."""
        return {
            "noise": [list(draw) for draw in self.noise],
            "sources": [[list(draw) for draw in source.noise] for source in self.sources],
            "pieces": [[p.place, p.count, self.sources.index(p.source), p.first, p.until] for p in self.pieces],
        }


def part_of(noise: Sequence[Draw], first: int, count: int) -> tuple[Draw, ...]:
    """The draws of `count` frames from `first` on, of the frames whose noise these are."""
    found, place = [], 0
    for draw in noise:
        start, stop = max(first, place), min(first + count, place + draw.length)
        if start < stop:
            found.append(draw._replace(first=draw.first + start - place, length=stop - start))
        place += draw.length
    return tuple(found)


def pieces_from(whole: Source, origin: Origin, first: int, count: int) -> tuple[Piece, ...]:
    """Where latent frames of a video come from that are to be used again, from 0 on: from it, or from its own sources.

    Args:
        whole: the latents of the video.
        origin: its pieces.
        first, count: the frames.
    """
    found, place = [], first
    held = [piece for piece in origin.pieces if piece.until == 0]
    for piece in (*held, Piece(whole.shape[2], 0, whole, 0)):
        if place < (stop := min(piece.place, first + count)):
            found.append(Piece(place - first, stop - place, whole, place))
        place = max(place, stop)
        if place < (stop := min(piece.place + piece.count, first + count)):
            found.append(Piece(place - first, stop - place, piece.source, piece.first + place - piece.place))
            place = stop
    return tuple(found)


def read_origin(path: Path, header: CheckpointHeader) -> Origin:
    """The pieces of latents or of a state; none where its metadata does not speak of them.

    Raises:
        InputError: metadata that is not what this program writes, or contradicts the tensors.
    """
    if ORIGIN not in header.metadata:
        return Origin()
    notes = read_json(header.metadata[ORIGIN], str(path), ORIGIN)
    try:
        noise, drawn, pieces = notes["noise"], notes["sources"], notes["pieces"]
        sources = [_source(path, header, f"{SOURCE}{number}", draws) for number, draws in enumerate(drawn)]
        origin = Origin(tuple(_piece(sources, *piece) for piece in pieces), _draws(noise))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"{path}: its {ORIGIN} does not hold what it should") from error
    _check(origin, path, header)
    return origin


def _source(path: Path, header: CheckpointHeader, tensor: str, draws: Any) -> Source:  # noqa: ANN401
    return Source(path, tensor, header.shapes[tensor], _draws(draws))


def _piece(sources: Sequence[Source], *numbers: Any) -> Piece:  # noqa: ANN401
    place, count, number, first, until = numbers
    if not all(map(_is_count, (place, count, number, first))) or not 0 <= float(until) < 1:
        raise ValueError(numbers)
    return Piece(place, count, sources[number], first, float(until))


def _draws(numbers: Any) -> tuple[Draw, ...]:  # noqa: ANN401
    draws = tuple(Draw(*each) for each in numbers)
    if not all(type(draw.seed) is int and 0 <= draw.seed < 1 << 63 for draw in draws):
        raise ValueError(numbers)
    if not all(all(map(_is_count, draw[1:])) and draw.first + draw.length <= draw.frames for draw in draws):
        raise ValueError(numbers)
    return draws


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value <= MOST_FRAMES


def _check(origin: Origin, path: Path, header: CheckpointHeader) -> None:
    """The pieces lie in the video and in their sources, which are latents of its size."""
    whole, sources = header.shapes["latents"], origin.sources
    sound = all(header.entries[source.tensor].dtype == "F32" and _fits(source.shape, whole) for source in sources)
    if not sound:
        raise InputError(f"{path}: the sources of its {ORIGIN} are no latents of its size")
    inside = all(piece.first + piece.count <= piece.source.shape[2] for piece in origin.pieces)
    shown = [piece for piece in origin.pieces if piece.place < whole[2]]
    if not inside or not are_apart(shown, whole[2]) or not are_apart(origin.pieces, MOST_FRAMES):
        raise InputError(f"{path}: the pieces of its {ORIGIN} do not lie in it one after the other")


def _fits(shape: Sequence[int], whole: Sequence[int]) -> bool:
    return len(shape) == len(whole) == 5 and (*shape[:2], *shape[3:]) == (*whole[:2], *whole[3:])


def are_apart(pieces: Sequence[Piece], frames: int) -> bool:
    """Whether pieces follow each other within so many latent frames."""
    ends = [0, *(piece.place + piece.count for piece in pieces)]
    starts = [*(piece.place for piece in pieces), frames]
    return all(end <= start for end, start in zip(ends, starts, strict=True))
