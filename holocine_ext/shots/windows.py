"""A film that is longer than the weights take, in windows: which shots each holds and which it makes. Integers only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from holocine_ext.shots.layout import ShotLayout
from wan2.shapes import latent_index


@dataclass(frozen=True)
class Window:
    """Shots that are made in one pass, by their numbers from 0, beside those that are held meanwhile."""

    held: tuple[int, ...]
    made: tuple[int, ...]

    @property
    def shots(self) -> tuple[int, ...]:
        """All of them, in order."""
        return (*self.held, *self.made)

    def __str__(self) -> str:
        """In words; shots count from 1."""
        made = f"shots {self.made[0] + 1} to {self.made[-1] + 1}" if len(self.made) > 1 else f"shot {self.made[0] + 1}"
        return f"{made} beside {' and '.join(str(shot + 1) for shot in self.held)}" if self.held else made


def plan_windows(layout: ShotLayout, most_frames: int, most_shots: int, behind: int = 0) -> tuple[Window, ...]:
    """The windows of a film: one of all shots where it is short enough.

    Every later window holds the first shot, which says what the film looks like, and the last one before it, and makes
    as many as there is room for; at least one, however long that is.

    Args:
        layout: the shots.
        most_frames, most_shots: what the weights take in one pass.
        behind: latent frames of the cast, which every window has, too.
    """
    lengths = [stop - start for start, stop in layout.latents]
    room = latent_index(most_frames - 1) + 1 - behind
    found, first = list[Window](), 0
    while first < len(lengths):
        held = tuple(sorted({0, first - 1})) if first else ()
        count = _fitting(lengths[first:], room - sum(lengths[shot] for shot in held), most_shots - len(held))
        found.append(Window(held, tuple(range(first, first + count))))
        first += count
    return tuple(found)


def _fitting(lengths: Sequence[int], room: int, most: int) -> int:
    """How many of the first shots fit; one at least."""
    count = 1
    while count < min(most, len(lengths)) and sum(lengths[: count + 1]) <= room:
        count += 1
    return count
