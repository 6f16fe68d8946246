"""Which of the possible clips are made: none shares a shot with another, and numbers of shots are even."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from holocine_ext.teach.cutting import Clip, Cutting, FilmShot, candidates

Possible = tuple[int, int, tuple[int, ...]]
"""A run of shots, the first of them, and the frames of each."""


def gather(runs: Sequence[Sequence[FilmShot]], cutting: Cutting) -> tuple[list[Clip], list[FilmShot]]:
    """Clips of consecutive shots, and the shots that no clip uses.

    Of the numbers of shots that a clip can still have, the one that was made least often is made next.

    Args:
        runs: shots that follow each other without a gap, run by run.
        cutting: the lengths.
    """
    by_count: dict[int, deque[Possible]] = {}
    for number, run in enumerate(runs):
        for start, counts in candidates(run, cutting):
            by_count.setdefault(len(counts), deque()).append((number, start, counts))
    used: set[tuple[int, int]] = set()
    made = dict.fromkeys(sorted(by_count, reverse=True), 0)
    chosen: list[Possible] = []
    while made:
        count = min(made, key=lambda shots: made[shots])
        found = _next(by_count[count], used)
        if found is None:
            del made[count]
        else:
            made[count] += 1
            chosen.append(found)
    clips = _named([(runs[run][start : start + len(counts)], counts) for run, start, counts in sorted(chosen)])
    left = [shot for n, run in enumerate(runs) for i, shot in enumerate(run) if (n, i) not in used]
    return clips, left


def _next(possible: deque[Possible], used: set[tuple[int, int]]) -> Possible | None:
    """The next possible clip of free shots, which are used from then on."""
    while possible:
        run, start, counts = found = possible.popleft()
        wanted = {(run, start + i) for i in range(len(counts))}
        if not wanted & used:
            used |= wanted
            return found
    return None


def _named(found: Sequence[tuple[Sequence[FilmShot], tuple[int, ...]]]) -> list[Clip]:
    """Clips named for their film and numbered within it."""
    numbers: dict[str, int] = {}
    clips = []
    for shots, counts in found:
        stem = shots[0].film.path.stem
        numbers[stem] = numbers.get(stem, 0) + 1
        clips.append(Clip(f"{stem}-{numbers[stem]:03d}", tuple(shots), counts))
    return clips
