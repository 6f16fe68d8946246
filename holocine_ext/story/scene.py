"""What follows from a storyboard once length and frame rate are known (`Scene`).

Frames and seconds only; knows nothing of files, arguments or latent frames.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holocine_ext.story.characters import strangers
from holocine_ext.story.lengths import ShotLength, ends_of
from holocine_ext.story.prompt import COUNT_PHRASE, CUT_TAG, GLOBAL_TAG, SHOTS_TAG, shorten, untagged_parts
from holocine_ext.story.storyboard import Storyboard
from wan2.errors import InputError, refusal
from wan2.request.fields import exact_rate
from wan2.request.flat import RANGES
from wan2.request.presets import Preset
from wan2.shapes import snap_frames


@dataclass(frozen=True)
class Scene:
    """A storyboard with its length in frames, frames per second, and the cuts as asked (None: divide evenly)."""

    storyboard: Storyboard
    num_frames: int
    fps: float
    cuts: tuple[int, ...] | None
    names: tuple[str, str]
    """Flag or field of the length and of the cuts, for the messages of `layout.plan_layout`."""

    @property
    def num_shots(self) -> int:
        """Number of shots, at least one."""
        return len(self.storyboard.shot_captions)

    def as_record(self) -> dict[str, Any]:
        """The scene as plain JSON values; its captions and cuts, read as a storyboard, give the same scene again."""
        board = self.storyboard
        return {
            "prompt": board.prompt,
            "global_caption": board.global_caption,
            "shot_captions": list(board.shot_captions),
            "characters": {character.name: character.description for character in board.characters},
            "shot_cut_frames": None if self.cuts is None else list(self.cuts),
            "num_frames": self.num_frames,
            "fps": self.fps,
            "source": Path(board.source).name,  # a record travels inside the video; folders tell who made it
        }


def plan_scene(
    storyboard: Storyboard, preset: Preset, num_frames: int | None = None, fps: float | None = None
) -> Scene:
    """Settle the length of the video, its frame rate and its cuts, all in frames and not yet snapped.

    Args:
        storyboard: what was said.
        preset: what holds where neither a flag nor the storyboard says anything.
        num_frames: `--video_length`, when given; wins over the storyboard, but must agree with shots that say their
            own lengths.
        fps: `--fps`, when given; wins over the storyboard, and turns seconds into frames.

    Raises:
        InputError: a flag outside its range, or lengths that do not fit the video's.
    """
    prefix = f"{storyboard.source}: " if storyboard.source else ""
    _check("num_frames", num_frames)
    _check("fps", fps)
    length_name = f"{prefix}num_frames" if num_frames is None and storyboard.num_frames else "`num_frames`"
    asked = num_frames if num_frames is not None else storyboard.num_frames
    rate = exact_rate(next(value for value in (fps, storyboard.fps, preset.fps) if value is not None))
    if storyboard.lengths is None:
        cuts_name = f"{prefix}cuts" if prefix else "`shot_cut_frames`"
        return Scene(storyboard, asked or preset.num_frames, rate, storyboard.shot_cut_frames, (length_name, cuts_name))
    total, cuts = _place(storyboard.lengths, asked, preset.num_frames, rate, length_name)
    return Scene(storyboard, total, rate, cuts, (length_name, f"{prefix}lengths of the shots, cuts at"))


def _check(field: str, value: float | None) -> None:
    low, high = RANGES[field]
    if value is not None and not low <= value <= high:  # which NaN does not, either
        raise InputError(f"must lie between {low:g} and {high:g}", field=field, value=value)


def _place(
    lengths: Sequence[ShotLength | None], asked: int | None, default: int, fps: float, name: str
) -> tuple[int, tuple[int, ...]]:
    """Frames of the video and the cuts between shots of these lengths; an open last shot takes what remains."""
    shares = any(length and length.share for length in lengths)
    total = default if asked is None else asked
    ends = ends_of(lengths, fps, total)
    if lengths[-1] is None:
        if round(ends[-1]) >= total:
            raise refusal(
                name,
                total,
                f"the shots before the last take {round(ends[-1])} frames at {fps:g} fps; nothing is left for the last",
            )
        return total, tuple(round(end) for end in ends)
    if shares and round(ends[-1]) != total:
        raise refusal(name, total, f"the shots take {ends[-1] / total:.1%} of it; together they take all of it")
    total = round(ends[-1])
    if not 1 <= total <= RANGES["num_frames"][1]:
        raise refusal(name, total, "the lengths of the shots add up to it; must lie between 1 and 10000")
    if asked is not None and snap_frames(asked) != snap_frames(total):
        raise refusal(name, asked, f"the lengths of the shots add up to {total} frames at {fps:g} fps; give one")
    return total, tuple(round(end) for end in ends[:-1])


def scene_warnings(scene: Scene, trained_frames: int, trained_shots: int) -> tuple[str, ...]:
    """What is allowed but likely to disappoint, a line each.

    More than training had, a wrong count, a character whom no shot calls, or one whom nothing introduces; and a prompt
    without tags that seems to tell of several shots.
    """
    found = list(scene.storyboard.notes)
    if snap_frames(scene.num_frames) > trained_frames:
        found.append(f"{scene.num_frames} frames: the released weights were trained on at most {trained_frames}")
    if scene.num_shots > trained_shots:
        found.append(f"{scene.num_shots} shots: the released weights were trained on at most {trained_shots}")
    if scene.storyboard.global_caption is None:
        if parts := untagged_parts(scene.storyboard.prompt):
            found.append(
                f"the prompt says {' and '.join(map(shorten, parts))}, but without tags it is a single shot; write "
                f"{GLOBAL_TAG} ... {SHOTS_TAG} ... {CUT_TAG} ..., or `global_caption` and `shot_captions`"
            )
        return tuple(found)
    stated = re.search(rf"{COUNT_PHRASE} ([0-9]+) shots?", scene.storyboard.global_caption)
    if stated and stated[1].lstrip("0") != str(scene.num_shots):
        found.append(f"the global caption says {shorten(stated[0])}, but there are {scene.num_shots}")
    for shot, tag in strangers(scene.storyboard.global_caption, scene.storyboard.shot_captions):
        found.append(f"shot {shot} calls [{tag}], whom the global caption does not introduce")
    return tuple(found)
