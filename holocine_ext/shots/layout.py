"""Where the shots of a video lie, in frames, latent frames and tokens. Integers only; knows nothing of text or tensors.

A cut at frame f (counted from 0) means that frame f is the first of the next shot. Every cut, like the video's length,
lies on the grid 4t+1, where a latent frame begins; a shot therefore owns whole latent frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from wan2.errors import InputError, refusal
from wan2.shapes import TIME_STRIDE, latent_index, snap_frames

Range = tuple[int, int]
"""Half-open: [first, last + 1)."""

SHOT_MASK_TYPES = ("id", "normalized", "alternating")
_NORMALIZED_BY = 20  # the value at which the `normalized` mask of the trained weights reaches 1.0


@dataclass(frozen=True)
class ShotLayout:
    """The shots of one video. Every range is half-open; ranges follow each other and cover the whole video.

    Args:
        num_frames: length of the video in frames, on the grid 4t+1.
        cuts: first frame of every shot after the first, on the grid 4t+1, ascending, inside the video.
        tokens_per_frame: transformer tokens of one latent frame.

    Raises:
        ValueError: the numbers break one of those rules (`plan_layout` is the place for friendly messages).
    """

    num_frames: int
    cuts: tuple[int, ...]
    tokens_per_frame: int

    def __post_init__(self) -> None:
        edges = (0, *self.cuts, self.num_frames)
        if any(frame % 4 != 1 for frame in edges[1:]):
            raise ValueError(f"frames {edges[1:]} do not all lie on the grid 4t+1")
        if any(a >= b for a, b in pairwise(edges)):
            raise ValueError(f"cuts {self.cuts} do not ascend inside {self.num_frames} frames")
        if self.tokens_per_frame < 1:
            raise ValueError(f"tokens_per_frame is {self.tokens_per_frame}")

    @property
    def num_shots(self) -> int:
        """Number of shots, at least one."""
        return len(self.cuts) + 1

    @property
    def latent_frames(self) -> int:
        """Latent frames of the video, (num_frames - 1) / 4 + 1."""
        return latent_index(self.num_frames - 1) + 1

    @property
    def tokens(self) -> int:
        """Transformer tokens of the video."""
        return self.latent_frames * self.tokens_per_frame

    def with_more(self, latents: Sequence[int]) -> ShotLayout:
        """The same with more shots behind the last, of so many latent frames each."""
        edges = [self.num_frames + TIME_STRIDE * sum(latents[:number]) for number in range(len(latents) + 1)]
        return ShotLayout(edges[-1], (*self.cuts, *edges[:-1]), self.tokens_per_frame)

    @cached_property
    def frames(self) -> tuple[Range, ...]:
        """The frames of every shot."""
        return tuple(pairwise((0, *self.cuts, self.num_frames)))

    @cached_property
    def latents(self) -> tuple[Range, ...]:
        """The latent frames of every shot."""
        starts = (0, *(latent_index(cut) for cut in self.cuts), self.latent_frames)
        return tuple(pairwise(starts))

    @cached_property
    def shots(self) -> tuple[Range, ...]:
        """The tokens of every shot."""
        n = self.tokens_per_frame
        return tuple((a * n, b * n) for a, b in self.latents)

    @cached_property
    def first_frames(self) -> tuple[Range, ...]:
        """The tokens of the first latent frame of every shot."""
        return tuple((a, a + self.tokens_per_frame) for a, _ in self.shots)

    @cached_property
    def shot_ids(self) -> tuple[int, ...]:
        """The shot that every latent frame belongs to."""
        return tuple(shot for shot, (a, b) in enumerate(self.latents) for _ in range(a, b))


def auto_cuts(num_frames: int, num_shots: int) -> tuple[int, ...]:
    """Cuts that divide `num_frames` (on the grid 4t+1) into shots of near equal length: snap(round(i * total / N))."""
    return tuple(snap_frames(round(i * num_frames / num_shots)) for i in range(1, num_shots))


def repair_cuts(num_frames: int, cuts: Sequence[int]) -> tuple[int, ...]:
    """Snap and sort `cuts`, drop those outside the video and merge equal ones, as the original HoloCine code does.

    The command line refuses such cuts (`plan_layout`); reference figures measured on the original need this rule.
    """
    snapped = {snap_frames(cut) for cut in cuts if cut >= -1}  # 0 and -1 are nearest to frame 1, lower ones to none
    return tuple(sorted(cut for cut in snapped if cut < num_frames))


def plan_layout(
    num_frames: int,
    num_shots: int,
    cuts: Sequence[int] | None,
    tokens_per_frame: int,
    names: tuple[str, str] = ("`num_frames`", "`shot_cut_frames`"),
) -> ShotLayout:
    """Snap a video and its cuts to the latent grid.

    Args:
        num_frames: length asked for, in frames; snapped to the nearest 4t+1.
        num_shots: how many shots the scene has.
        cuts: first frame of every shot after the first, as asked; None divides the video evenly.
        tokens_per_frame: transformer tokens of one latent frame.
        names: flag or field of the length and of the cuts, for messages.

    Raises:
        InputError: a length below 1, more or fewer cuts than shots need, cuts out of order, outside the video, equal
            after snapping, or that leave a shot without a latent frame.
    """
    length_name, cuts_name = names
    if num_frames < 1:
        raise refusal(length_name, num_frames, "a video has at least 1 frame")
    total = snap_frames(num_frames)
    room = latent_index(total - 1) + 1
    if num_shots > room:
        raise refusal(
            length_name,
            num_frames,
            f"{total} frames are {room} latent frames, too few for {num_shots} shots; every shot needs at least one",
        )
    if cuts is None:
        even = auto_cuts(total, num_shots)
        if len({0, *even, total}) < num_shots + 1:
            raise refusal(
                length_name,
                num_frames,
                f"{total} frames do not divide evenly into {num_shots} shots of at least "
                "one latent frame; make the video longer, or say where to cut",
            )
        return ShotLayout(total, even, tokens_per_frame)
    if len(cuts) != num_shots - 1:
        raise refusal(
            cuts_name,
            _words(cuts),
            f"{_count(len(cuts), 'cut')} for {_count(num_shots, 'shot')}; "
            f"must be {num_shots - 1}, the first frame of every shot but the first",
        )
    return ShotLayout(total, _snap_cuts(total, cuts, cuts_name), tokens_per_frame)


def _snap_cuts(total: int, cuts: Sequence[int], name: str) -> tuple[int, ...]:
    """The cuts on the grid 4t+1; InputError unless every shot they bound owns a latent frame."""
    for cut in cuts:
        if not 0 < cut < total:
            raise refusal(name, cut, f"outside the video; a cut lies between 1 and {total - 1} ({total} frames)")
    for a, b in pairwise(cuts):
        if a >= b:
            raise refusal(name, f"{a} {b}", "out of order; every cut must be later than the one before")
    snapped = tuple(snap_frames(cut) for cut in cuts)
    for (a, b), frame in zip(pairwise(cuts), snapped[1:], strict=False):
        if snap_frames(a) == frame:
            raise refusal(
                name,
                f"{a} {b}",
                f"both snap to frame {frame} (the nearest 4t+1), which leaves a shot without a latent "
                "frame; keep cuts at least 4 frames apart",
            )
    if snapped and snapped[-1] >= total:
        raise refusal(
            name,
            cuts[-1],
            f"snaps to frame {snapped[-1]}, past the last frame {total - 1}, which leaves the last "
            f"shot without a latent frame; the latest cut here is {total - 4}",
        )
    return snapped


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' * (number != 1)}"


def _words(numbers: Sequence[int]) -> str:
    return " ".join(map(str, numbers)) or "(none)"


def shot_mask(layout: ShotLayout, kind: str) -> tuple[float, ...]:
    """One value per latent frame for checkpoints with a 17th input channel.

    `id` is the number of the shot from 0, `normalized` is id / 20, `alternating` is id % 2.

    Raises:
        InputError: `kind` is none of the three.
    """
    ids = layout.shot_ids
    match kind:
        case "id":
            return tuple(float(i) for i in ids)
        case "normalized":
            return tuple(i / _NORMALIZED_BY for i in ids)
        case "alternating":
            return tuple(float(i % 2) for i in ids)
    raise InputError(f"must be one of {', '.join(SHOT_MASK_TYPES)}", field="shot_mask_type", value=kind)
