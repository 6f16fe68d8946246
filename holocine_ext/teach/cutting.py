"""How films are cut into clips: what is asked for, and in integers which frames a clip takes. Decodes nothing.

A label is never moved. Every cut of a clip lies on the grid 4t+1 because frames are left out at the end of the shot
before it, so no latent frame holds frames of two shots.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wan2.errors import InputError
from wan2.request.fields import Number, Pixels, Setting, check_settings, setting
from wan2.shapes import SIZE_MULTIPLE, TIME_STRIDE

LENGTH = Number(0.1, 600)


@dataclass(frozen=True)
class Cutting:
    """How films become clips. Sizes in pixels, `fps` in frames per second, lengths in seconds."""

    height: int = setting(Setting("height of the clips, a multiple of 16", Pixels("height", SIZE_MULTIPLE)))
    width: int = setting(Setting("width of the clips, a multiple of 16", Pixels("width", SIZE_MULTIPLE)))
    fps: float = setting(Setting("frames per second of the clips", Number(0.1, 240)))
    lengths: tuple[float, ...] = setting(Setting("lengths of clips in seconds"), (5.0, 15.0, 60.0))
    tolerance: float = setting(Setting("how far from a length a clip may be, as a share of it", Number(0, 0.5)), 0.1)
    most_shots: int = setting(Setting("most shots of a clip", Number(1, 100, whole=True)), 13)
    shortest: float = setting(Setting("seconds below which a shot is left out", Number(0, 600)), 0.5)
    darkest: float = setting(Setting("mean brightness (0 to 255) below which a shot is left out", Number(0, 255)), 16.0)

    def __post_init__(self) -> None:
        check_settings(self)
        for length in self.lengths:
            LENGTH.check("lengths", length)


@dataclass(frozen=True)
class Film:
    """A video file. fps: frames per second; size: height and width in pixels."""

    path: Path
    num_frames: int
    fps: float
    size: tuple[int, int]


@dataclass(frozen=True)
class FilmShot:
    """Frames first..stop of a film. caption: what it shows, if that is known."""

    film: Film
    first: int
    stop: int
    caption: str = ""

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.stop - self.first) / self.film.fps

    def sampled(self, fps: float) -> int:
        """How many frames it has at another rate, none of them outside it."""
        return max(1, int(self.seconds * fps + 1e-6))


@dataclass(frozen=True)
class Clip:
    """Consecutive shots of one film that are made into one clip.

    name: of its files. counts: frames of each shot at the clip's rate, on the grid: 4t+1 of the first, 4t of others.
    global_caption: what all of them share, if that is known. whole: the film had a storyboard, and is taken as it is.
    """

    name: str
    shots: tuple[FilmShot, ...]
    counts: tuple[int, ...]
    global_caption: str = ""
    whole: bool = False

    @property
    def film(self) -> Film:
        """Where its frames come from."""
        return self.shots[0].film

    @property
    def is_captioned(self) -> bool:
        """Whether no caption is missing. A single shot needs none that it shares with others."""
        return bool(self.global_caption or len(self.shots) == 1) and all(shot.caption for shot in self.shots)

    @property
    def num_frames(self) -> int:
        """Frames of the clip, 4t+1."""
        return sum(self.counts)

    @property
    def cuts(self) -> tuple[int, ...]:
        """First frames of the shots after the first, each 4t+1."""
        return tuple(sum(self.counts[: i + 1]) for i in range(len(self.counts) - 1))

    def captioned(self, global_caption: str, captions: Sequence[str]) -> Clip:
        """The same clip with captions."""
        shots = tuple(replace(shot, caption=text) for shot, text in zip(self.shots, captions, strict=True))
        return replace(self, shots=shots, global_caption=global_caption)

    def sources(self, fps: float) -> list[int]:
        """The frame of the film that each frame of the clip shows, every one inside its shot."""
        found = []
        for shot, count in zip(self.shots, self.counts, strict=True):
            step = shot.film.fps / fps
            found += [min(shot.first + int(i * step + 1e-6), shot.stop - 1) for i in range(count)]
        return found


def on_grid(count: int, first: bool) -> int:
    """The most frames of a shot of `count` that keep the grid: 4t+1 of a first shot, 4t of a later one, 0 if none."""
    return (count - 1) // TIME_STRIDE * TIME_STRIDE + 1 if first else count // TIME_STRIDE * TIME_STRIDE


def whole_clip(name: str, shots: Sequence[FilmShot], title: str, fps: float) -> Clip:
    """A film with a storyboard, all of its shots.

    Raises:
        InputError: a shot is too short for a latent frame.
    """
    counts = tuple(on_grid(shot.sampled(fps), number == 0) for number, shot in enumerate(shots))
    if 0 in counts:
        number = counts.index(0)
        rule = f"shot {number + 1} has {shots[number].sampled(fps)} frames at {fps:g} fps; it needs {TIME_STRIDE}"
        raise InputError(f"{shots[0].film.path}: {rule}")
    return Clip(name, tuple(shots), counts, title, whole=True)


def candidates(shots: Sequence[FilmShot], cutting: Cutting) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Every clip that consecutive shots could make: the first of them, and the frames of each.

    The length of a clip is within the tolerance of a target; of its last shot so much is taken that it is.
    """
    for start in range(len(shots)):
        counts: list[int] = []
        for shot in shots[start : start + cutting.most_shots]:
            count = on_grid(shot.sampled(cutting.fps), not counts)
            if not count:
                break
            for length in cutting.lengths:
                if last := _last_count(sum(counts), count, length, cutting):
                    yield start, (*counts, last)
            counts.append(count)


def _last_count(before: int, count: int, length: float, cutting: Cutting) -> int:
    """Frames of a last shot with which a clip has a length, after so many frames; 0 when it has not."""
    least, most = (length * (1 + side * cutting.tolerance) * cutting.fps for side in (-1, 1))
    if least <= before + count <= most:
        return count
    cut = on_grid(max(int(most) - before, 0), not before)
    enough = cut >= max(cutting.shortest * cutting.fps, 1)
    return cut if before + count > most and enough and before + cut >= least else 0
