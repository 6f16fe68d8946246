"""How long the shots of a document are: lengths, or first frames, and no mixture. Plans nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from holocine_ext.story.fields import Fields
from wan2.errors import InputError
from wan2.request.flat import RANGES
from wan2.shapes import TIME_STRIDE, snap_frames

TIMES = ("seconds", "frames", "cut_frame", "share")
# The take that a shot is.
FROM = "from"


@dataclass(frozen=True)
class ShotLength:
    """How long a shot was asked to be, in one of four ways; the others are 0.

    latents: in latent frames, exactly. share: of the whole video.
    """

    seconds: float = 0.0
    frames: int = 0
    latents: int = 0
    share: float = 0.0

    def end(self, start: float, fps: float, total: int) -> float:
        """Where a shot ends that begins at a frame, not rounded but where it is of whole latent frames.

        total: frames of the video, of which a share is taken.
        """
        if not self.latents:
            return start + self.seconds * fps + self.frames + self.share * total
        first = snap_frames(round(start)) if round(start) else 1 - TIME_STRIDE
        return first + TIME_STRIDE * self.latents


def ends_of(lengths: Sequence[ShotLength | None], fps: float, total: int) -> list[float]:
    """Where the shots of these lengths end, in frames, not rounded; one that stays open is left out.

    total: frames of the video.
    """
    ends: list[float] = []
    for length in lengths:
        if length is not None:
            ends.append(length.end(ends[-1] if ends else 0.0, fps, total))
    return ends


def timing(place: str, tables: Sequence[Fields]) -> tuple[tuple[ShotLength | None, ...] | None, tuple[int, ...] | None]:
    """The lengths of the shots, or their cuts, or neither: whichever the file gives, and no mixture.

    A shot that comes from a take has its length: it stays open here.

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
        seconds, frames, share = (
            table.number("seconds", 0, high),
            table.whole("frames", 1, high),
            table.number("share", 0, 1),
        )
        for name, value in (("seconds", seconds), ("share", share)):
            if value == 0:
                raise table.refuse(name, "must be more than 0")
        starts.append(table.whole("cut_frame", 0, high))
        timed = seconds or frames or share
        lengths.append(ShotLength(seconds or 0.0, frames or 0, share=share or 0.0) if timed else None)
    taken = [table.table.get(FROM) is not None for table in tables]
    if any(taken):
        return _beside_takes(tables, lengths, taken), None
    return _consistent(place, lengths, starts)


def _beside_takes(
    tables: Sequence[Fields], lengths: Sequence[ShotLength | None], taken: Sequence[bool]
) -> tuple[ShotLength | None, ...]:
    """The lengths where some shots come from takes: those say none, all others do."""
    for table, length, comes in zip(tables, lengths, taken, strict=True):
        if table.table.get("cut_frame") is not None or (comes and length):
            rule = "a shot from a take has the length that it has there" if comes else "beside a shot from a take"
            raise InputError(f"{table.place}: {rule}; give no cut_frame, and seconds or frames to the others only")
        if not comes and length is None:
            raise InputError(f"{table.place}: no seconds or frames; beside a shot from a take every other needs them")
    return tuple(lengths)


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
