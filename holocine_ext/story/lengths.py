"""How long the shots of a document are: lengths, or first frames, and no mixture. Plans nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from holocine_ext.story.fields import Fields
from wan2.errors import InputError
from wan2.request.flat import RANGES

TIMES = ("seconds", "frames", "cut_frame")


@dataclass(frozen=True)
class ShotLength:
    """How long a shot was asked to be; one of the two is 0."""

    seconds: float = 0.0
    frames: int = 0

    def in_frames(self, fps: float) -> float:
        """The length in frames, not rounded."""
        return self.seconds * fps + self.frames


def timing(place: str, tables: Sequence[Fields]) -> tuple[tuple[ShotLength | None, ...] | None, tuple[int, ...] | None]:
    """The lengths of the shots, or their cuts, or neither: whichever the file gives, and no mixture.

    Args:
        place: what messages begin with.
        tables: the shots.

    Raises:
        InputError: lengths and cuts together, or some of them only.
    """
    lengths: list[ShotLength | None] = []
    starts: list[int | None] = []
    high = RANGES["num_frames"][1]
    for table in tables:
        given = [field for field in TIMES if table.table.get(field) is not None]
        if len(given) > 1:
            raise InputError(f"{table.place}: {given[0]} and {given[1]}: give at most one of {', '.join(TIMES)}")
        seconds, frames = table.number("seconds", 0, high), table.whole("frames", 1, high)
        if seconds == 0:
            raise table.refuse("seconds", "must be more than 0")
        starts.append(table.whole("cut_frame", 0, high))
        lengths.append(ShotLength(seconds or 0.0, frames or 0) if seconds or frames else None)
    return _consistent(place, lengths, starts)


def _consistent(
    place: str, lengths: Sequence[ShotLength | None], starts: Sequence[int | None]
) -> tuple[tuple[ShotLength | None, ...] | None, tuple[int, ...] | None]:
    """All lengths (the last may be open), or all cuts (the first is 0 or open), or InputError for what lies between."""
    timed, cut = any(lengths), any(start is not None for start in starts)
    if timed and cut:
        raise InputError(f"{place}: shots: some give a length and some a cut_frame; use one of them throughout")
    if timed:
        for number, length in enumerate(lengths[:-1], 1):
            if length is None:
                raise InputError(f"{place}: shot {number}: no seconds or frames; only the last shot may leave it open")
        return tuple(lengths), None
    if not cut:
        return None, None
    if starts[0]:
        raise InputError(f"{place}: shot 1: cut_frame {starts[0]}: the first shot begins at frame 0")
    cuts = tuple(start for start in starts[1:] if start is not None)
    if len(cuts) != len(starts) - 1:
        number = 2 + starts[1:].index(None)
        raise InputError(f"{place}: shot {number}: no cut_frame; when one shot has it, every shot but the first does")
    return None, cuts
