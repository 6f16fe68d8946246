"""A video that begins from another one: its latents, with so much noise, in the place of noise alone. Loads nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from wan2.errors import InputError
from wan2.plan.files import naming
from wan2.plan.pictures import fit
from wan2.plan.pieces import PIXELS, Origin, Piece, Source, read_origin
from wan2.plan.plan import Extension
from wan2.plan.saved import SavedState, state_origin
from wan2.plan.told import told_by
from wan2.request.fields import Number
from wan2.request.output import LATENT_SUFFIX
from wan2.request.request import Request
from wan2.shapes import TIME_STRIDE
from wan2.weights.fingerprint import fingerprint
from wan2.weights.header import read_header

STRENGTH = Number(0.01, 0.99)
BEGUN = "begun"
MICROSECOND = Fraction(1, 1_000_000)


@dataclass(frozen=True)
class Clip:
    """A video as its head tells of it. size: (width, height) as it is shown; frames: at most that many."""

    path: Path
    size: tuple[int, int]
    fps: float
    seconds: float

    def frames(self, fps: float) -> int:
        """How many frames it is at another rate."""
        return max(1, round(self.seconds * fps))

    def length(self, fps: float, most: int) -> int:
        """The most frames of a video, on the grid 4t+1, that it fills."""
        return TIME_STRIDE * ((min(self.frames(fps), most) - 1) // TIME_STRIDE) + 1


@dataclass(frozen=True)
class Begun:
    """What a video begins from: where its latents come from, what a record says of it, and what is done to it."""

    origin: Origin
    note: Mapping[str, Any]
    fitted: str = ""

    def extension(self) -> Extension:
        """What the base's own plan is given of it."""
        scene = {BEGUN: dict(self.note)}
        return Extension(scene=scene, deciding=scene, origin=self.origin)


def begun_before(state: SavedState) -> Extension | None:
    """The same of a run that goes on from its state; None where it began from noise."""
    note = state.scene.get(BEGUN)
    return None if not isinstance(note, dict) else Begun(state_origin(state), note).extension()


def read_clip(path: Path) -> Clip:
    """The head of a video.

    Raises:
        InputError: no such file, no video, or one whose length is not known.
    """
    import av
    from av.error import FFmpegError

    if not path.is_file():
        raise InputError("no such file", field="video_path", value=path)
    try:
        with av.open(f"file:{path}") as container:
            stream = container.streams.video[0]
            rate = stream.average_rate or Fraction(0)
            seconds = _seconds(stream.duration, stream.time_base) or _seconds(container.duration, MICROSECOND)
            size = stream.width, stream.height
    except (FFmpegError, IndexError) as error:
        raise InputError(f"is not a video that can be read ({error})", field="video_path", value=path) from error
    if not seconds or not rate or 0 in size:
        raise InputError("does not say how long it is", field="video_path", value=path)
    return Clip(path, size, float(rate), float(seconds))


def _seconds(duration: int | None, base: Fraction | None) -> Fraction | None:
    return None if duration is None or base is None else duration * base


def check_strength(strength: float | None) -> float:
    """The strength that was given.

    Raises:
        InputError: none, or one out of range.
    """
    if strength is None:
        raise InputError("needs `strength`: how much of it is made anew, from 0 to 1", field="video_path")
    STRENGTH.check("strength", strength)
    return strength


def begin_from(clip: Clip, strength: float, request: Request) -> Begun:
    """A video whose every frame begins from those of a clip.

    Raises:
        InputError: the clip is shorter than the video.
    """
    shape = request.shape
    if clip.frames(request.fps) < shape.num_frames:
        rule = f"has {clip.frames(request.fps)} frames at {request.fps:g} fps; the video has {shape.num_frames}"
        raise InputError(rule, field="video_path", value=clip.path)
    how = fit(clip.size, (shape.width, shape.height))
    words = f"{clip.path.name}: {how}; {clip.fps:g} to {request.fps:g} fps"
    return begin(clip.path, strength, request, words)


def begun_by_take(take: Path, strength: float | None, request: Request) -> Begun | None:
    """A video that begins from an earlier run: from its latents, or from what that began from; None for noise alone.

    Raises:
        InputError: its latents are not kept beside it, or the strength is out of range.
    """
    latents = take.with_suffix(LATENT_SUFFIX)
    if strength is not None:
        check_strength(strength)
        if not latents.is_file():
            raise InputError(f"its latents are not kept next to it, as {latents.name}", field="take", value=take)
        return begin(latents, strength, request)
    note = (told_by(take) or {}).get(BEGUN)
    if not isinstance(note, dict):
        return None
    with naming("take", latents):
        return Begun(read_origin(latents, read_header(latents)), note)


def begin(path: Path, strength: float, request: Request, words: str = "") -> Begun:
    """A video whose every frame begins from a file: a video, or latents of any size."""
    source = Source(path, PIXELS, (1, *request.shape.latent))
    piece = Piece(0, request.shape.latent_frames, source, 0, strength)
    prints = fingerprint([path])["fingerprint"]
    return Begun(Origin((piece,)), {"from": path.name, "strength": strength, "fingerprint": prints}, words)
