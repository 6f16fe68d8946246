"""A video as it is measured: every frame, scaled down while it is decoded. Knows nothing of shots."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from wan2.errors import InputError
from wan2.request.flat import RANGES
from wan2.run.video_io import url_of

Frames = NDArray[np.uint8]

AREA = 320 * 192
"""Most pixels of a kept frame. Frames of nano, and inputs of image models, are smaller."""
TINY = (48, 27)
"""Width and height of the frames that TransNetV2 reads."""


@dataclass(frozen=True)
class Clip:
    """A whole video.

    `frames` is uint8 [T, h, w, 3], in the size of the video if that is small; `tiny` is uint8 [T, 27, 48, 3].
    """

    frames: Frames
    tiny: Frames
    fps: float
    size: tuple[int, int]
    """Height and width of the video in pixels."""

    @property
    def num_frames(self) -> int:
        """Frames in the video."""
        return len(self.frames)


def read_clip(path: Path) -> Clip:
    """Decode a video once, keeping small pictures only: memory does not depend on its resolution.

    Raises:
        InputError: the file is absent, is no video, or has no frame, or more frames than a scene can have.
    """
    try:
        with av.open(url_of(path), metadata_errors="replace") as container:
            stream = container.streams.video[0]
            rate = stream.average_rate or stream.guessed_rate or Fraction(25)
            return clip_of(container.decode(stream), float(rate), str(path))
    except (FFmpegError, IndexError) as error:
        raise InputError(f"{path}: is not a video that can be read ({error})") from error


def clip_of_pictures(pictures: Frames, fps: float) -> Clip:
    """The clip of pictures in memory, uint8 [T, H, W, 3]."""
    frames = (VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24") for picture in pictures)
    return clip_of(frames, fps, "pictures")


def clip_of(decoded: Iterable[VideoFrame], fps: float, name: str) -> Clip:
    """The clip of decoded frames; `name` begins the messages."""
    longest = int(RANGES["num_frames"][1])
    frames: list[Frames] = []
    tiny: list[Frames] = []
    size = (0, 0)
    for frame in decoded:
        if len(frames) == longest:
            raise InputError(f"{name}: has more than {longest} frames")
        size = size if frames else (frame.height, frame.width)
        scale = min(1.0, (AREA / (size[0] * size[1])) ** 0.5)
        width, height = round(size[1] * scale), round(size[0] * scale)
        frames.append(picture(frame, width, height))
        tiny.append(picture(frame, *TINY))
    if not frames:
        raise InputError(f"{name}: has no frames")
    return Clip(np.stack(frames), np.stack(tiny), fps, size)


def picture(frame: VideoFrame, width: int, height: int) -> Frames:
    """A frame in another size, uint8 [height, width, 3]."""
    resized = frame.reformat(width=width, height=height, format="rgb24", interpolation="BICUBIC")
    return np.asarray(resized.to_ndarray(), dtype=np.uint8)
