"""A film before it is cut: its rate and size, and every frame very small. Knows nothing of shots."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame

from holocine_ext.evaluate.clip import TINY, Clip, Frames, picture
from holocine_ext.teach.cutting import Film
from wan2.errors import InputError
from wan2.run.video_io import url_of

UNKNOWN_RATE = Fraction(25)


class Survey(NamedTuple):
    """A film, and its frames as the detector reads them, uint8 [T, 27, 48, 3]."""

    film: Film
    tiny: Frames

    @property
    def clip(self) -> Clip:
        """The film as detectors take it."""
        return Clip(self.tiny, self.tiny, self.film.fps, self.film.size)

    def brightness(self, first: int, stop: int) -> float:
        """Mean luma of frames first..stop, 0 to 255."""
        weights = np.array([0.2126, 0.7152, 0.0722])
        return float((self.tiny[first:stop].mean(axis=(0, 1, 2)) * weights).sum())


def survey(path: Path) -> Survey:
    """Decode a film once. Four kilobytes a frame are kept: an hour at 24 fps takes 0.34 GB.

    Raises:
        InputError: the file is absent, is no video, or has no frame.
    """
    with _frames_of(path) as (rate, frames):
        small: list[Frames] = []
        size = (0, 0)
        for frame in frames:
            size = size if small else (frame.height, frame.width)
            small.append(picture(frame, *TINY))
    if not small:
        raise InputError(f"{path}: has no frames")
    return Survey(Film(path, len(small), float(rate), size), np.stack(small))


def frames_at(path: Path, numbers: Iterable[int]) -> Iterator[tuple[int, VideoFrame]]:
    """Some frames of a film with their numbers, in order, one at a time.

    Raises:
        InputError: the file cannot be read, or ends before the last of them.
    """
    wanted = set(numbers)
    with _frames_of(path) as (_, frames):
        for number, frame in enumerate(frames):
            if number in wanted:
                wanted.remove(number)
                yield number, frame
            if not wanted:
                return
    raise InputError(f"{path}: has no frame {min(wanted)}")


def pictures_at(path: Path, numbers: Iterable[int]) -> Iterator[tuple[int, Frames]]:
    """`frames_at` as pictures, uint8 [H, W, 3]."""
    for number, frame in frames_at(path, numbers):
        yield number, picture(frame, frame.width, frame.height)


@contextmanager
def _frames_of(path: Path) -> Iterator[tuple[Fraction, Iterator[VideoFrame]]]:
    """A film's frames per second, and its frames."""
    try:
        with av.open(url_of(path), metadata_errors="replace") as container:
            stream = container.streams.video[0]
            yield stream.average_rate or stream.guessed_rate or UNKNOWN_RATE, container.decode(stream)
    except (FFmpegError, IndexError) as error:
        raise InputError(f"{path}: is not a video that can be read ({error})") from error
