"""Measures one video: its cuts, then its shots at the frames that were asked for. Writes nothing."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from holocine_ext.evaluate.asked import NANO, Asked
from holocine_ext.evaluate.clip import Clip, clip_of_pictures, read_clip
from holocine_ext.evaluate.cuts import score_cuts
from holocine_ext.evaluate.detect import Detector
from holocine_ext.evaluate.embed import Embedder
from holocine_ext.evaluate.embed import measure as measure_embedded
from holocine_ext.evaluate.nano_world import facts
from holocine_ext.evaluate.result import ShotNote, VideoResult
from holocine_ext.pictures.sheet import ContactSheet
from holocine_ext.shots.layout import Range

CEILING = "nano's own drawings (ceiling)"
QUALITY = 80
"""Of the contact sheets' JPEG."""


@dataclass(frozen=True)
class Means:
    """The tools that measure videos. `detectors` by name; the score of the first one counts."""

    detectors: Mapping[str, Detector]
    embedder: Embedder | None = None

    def reads(self, asked: Asked) -> bool:
        """Whether the facts of a video can be read from its pixels."""
        return asked.model == NANO


@dataclass(frozen=True)
class Shots:
    """The asked shots that begin within the video, at any frames (no grid)."""

    num_frames: int
    cuts: tuple[int, ...]

    @property
    def num_shots(self) -> int:
        """Number of shots, at least one."""
        return len(self.cuts) + 1

    @property
    def frames(self) -> tuple[Range, ...]:
        """The frames of every shot, half-open."""
        return tuple(pairwise((0, *self.cuts, self.num_frames)))


def measure_video(asked: Asked, means: Means) -> VideoResult:
    """Read and measure one video. Shots are measured where they were asked for, not where cuts were found.

    Raises:
        InputError: it cannot be read, or it is a video of nano in another size.
    """
    clip = read_clip(asked.video)
    result = _measured(asked, clip, means)
    return replace(result, sheet=_sheet(asked, clip, _shots(result)))


def measure_ceiling(result: VideoResult, means: Means, seed: int) -> VideoResult | None:
    """The same measures on a drawing of what was asked; None if it cannot be drawn."""
    if not means.reads(result.asked) or _shots(result).num_shots < len(result.asked.captions):
        return None
    named = facts.caption_facts(result.asked.global_caption, result.asked.captions)
    film = facts.drawing(named, result.score.asked, result.num_frames, seed)
    return _measured(replace(result.asked, row=CEILING), clip_of_pictures(film, result.fps), means)


def _measured(asked: Asked, clip: Clip, means: Means) -> VideoResult:
    cuts = asked.cuts_in(clip.num_frames, clip.fps)
    scores = {name: score_cuts(cuts, detect(clip), clip.num_frames) for name, detect in means.detectors.items()}
    result = VideoResult(asked, clip.num_frames, clip.fps, clip.size, scores, {})
    shots = _shots(result)
    captions = asked.captions[: shots.num_shots]
    if means.reads(asked):
        seen = facts.read_facts(clip.frames, shots.frames, facts.caption_facts(asked.global_caption, captions))
        notes = tuple(ShotNote(tuple((f, value, s.seen[f]) for f, value in s.asked.items())) for s in seen)
        return replace(result, measures=facts.measure(seen), shots=notes)
    if means.embedder is not None:
        return replace(result, measures=measure_embedded(means.embedder, clip.frames, shots.frames, captions))
    return result


def _shots(result: VideoResult) -> Shots:
    return Shots(result.num_frames, tuple(cut for cut in result.score.asked if cut < result.num_frames))


def _sheet(asked: Asked, clip: Clip, shots: Shots) -> bytes:
    """The contact sheet as a JPEG."""
    captions: Sequence[str] = asked.captions[: shots.num_shots]
    sheet = ContactSheet(shots, clip.fps, captions, asked.global_caption)
    for index, frame in enumerate(clip.frames):
        sheet(index, frame)
    file = io.BytesIO()
    sheet.image().save(file, "JPEG", quality=QUALITY)
    return file.getvalue()
