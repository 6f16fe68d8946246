"""Frames into a video and back. Knows nothing of how frames are made.

Usually H.264 in yuv420p with the moov atom first, so any browser plays it while it loads. Colours are converted by, and
tagged as, BT.709 in limited range: untagged files are guessed at by players, and the guess depends on their size.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast

import av
import numpy as np
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from wan2.errors import InputError, RunError
from wan2.plan.marks import MARK, VIDEO_TAG
from wan2.plan.outputs import Chapter
from wan2.request.fields import exact_rate
from wan2.run.codecs import BT709, ENCODERS, LIMITED_RANGE, USUAL, Container
from wan2.run.sound import Sound

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

# Players and editors know no rate whose denominator is larger: 30000/1001 and its kin.
LARGEST_DENOMINATOR = 1001


class VideoWriter:
    """Writes the frames of one video; use it in a `with`.

    The file has a temporary name in the same folder until the block ends well; when it does not, nothing is left.

    Args:
        path: the file that appears at the end; an older one of that name is replaced.
        fps: frames per second, kept exactly; 23.976 and its kin are the rates that they stand for, 24000/1001.
        size: width and height in pixels, both even.
        metadata: texts that survive under their own names, with the mark of this program; see `read_metadata`.
        crf: quality of H.264 and H.265, 0 (the best) to 51.
        made: what they are put into.
    """

    def __init__(
        self,
        path: Path,
        fps: float | Fraction,
        size: tuple[int, int],
        metadata: dict[str, str],
        crf: int,
        made: Container = USUAL,
    ) -> None:
        self.path = Path(path)
        self.rate = Fraction(exact_rate(float(fps))).limit_denominator(LARGEST_DENOMINATOR)
        (self.width, self.height), self.crf = size, crf
        self.metadata, self.made = metadata, made
        self.codec = ENCODERS[made.codec]
        self.written = 0
        self._begins = {chapter.first for chapter in made.chapters}
        self._sound: Sound | None = None
        self._open = ExitStack()

    def __enter__(self) -> Self:
        self._container, self._stream = self._open.enter_context(self._told())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._open.__exit__(kind, error, trace)

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Append one frame, uint8 [H, W, 3]. Raises `RunError` when it has another size than the video."""
        if frame.shape != (self.height, self.width, 3):
            raise RunError(f"{self.path}: a frame of shape {frame.shape} in a video of {self.height}x{self.width}")
        picture = self._picture(frame)
        picture.pts, picture.time_base = self.written, 1 / self.rate
        if self.written in self._begins:
            picture.pict_type = PictureType.I
        if self._sound is not None:
            self._container.mux(list(self._sound.until(float(self.written / self.rate))))
        self.written += 1
        self._container.mux(self._stream.encode(picture))

    def _picture(self, frame: NDArray[np.uint8]) -> VideoFrame:
        picture = VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        if self.codec.lossless:
            return picture.reformat(format=self.codec.pixels)
        return picture.reformat(
            format=self.codec.pixels, src_color_range="JPEG", dst_color_range="MPEG", dst_colorspace="ITU709"
        )

    @contextmanager
    def _told(self) -> Iterator[tuple[OutputContainer, VideoStream]]:
        """FFmpeg's errors, of the disk or of the encoder, under the name of the file."""
        try:
            with self._opened() as opened:
                yield opened
        except FFmpegError as error:
            raise RunError(f"{self.path}: the video cannot be written ({error})") from error

    @contextmanager
    def _opened(self) -> Iterator[tuple[OutputContainer, VideoStream]]:
        codec, made = self.codec, self.made
        with ExitStack() as stack:
            part = stack.enter_context(made.whole(self.path))
            options = dict(codec.container_settings)
            container = stack.enter_context(av.open(url_of(part), "w", format=codec.file, options=options))
            container.metadata.update({**self.metadata, VIDEO_TAG: MARK})
            container.set_chapters([self._chapter(number, one) for number, one in enumerate(made.chapters, 1)])
            stream = self._add_stream(container)
            if made.soundtrack is not None:
                self._sound = stack.enter_context(Sound(made.soundtrack, container, codec.sound))
            yield container, stream
            if not self.written:
                raise RunError(f"{self.path}: not one frame was made")
            container.mux(stream.encode())
            if self._sound is not None:
                container.mux([*self._sound.until(float(self.written / self.rate)), *self._sound.end()])

    def _add_stream(self, container: OutputContainer) -> VideoStream:
        codec = self.codec
        settings = {**codec.settings, **({"crf": str(self.crf)} if codec.rated else {})}
        stream = cast("VideoStream", container.add_stream(codec.encoder, rate=self.rate, options=settings))
        stream.width, stream.height, stream.pix_fmt = self.width, self.height, codec.pixels
        context = stream.codec_context
        if codec.tag:
            context.codec_tag = codec.tag
        if not codec.lossless:
            context.color_range = LIMITED_RANGE
            context.colorspace = context.color_primaries = context.color_trc = BT709
        return stream

    def _chapter(self, number: int, chapter: Chapter) -> dict[str, Any]:
        """A chapter as FFmpeg has it; times in frames."""
        edges = {"start": chapter.first, "end": chapter.stop, "time_base": 1 / self.rate}
        return {"id": number, **edges, "metadata": {"title": chapter.title}}


def url_of(path: Path) -> str:
    """A path for FFmpeg, which would read the beginning of `10:30.mp4` as a protocol."""
    return f"file:{path}"


def read_video(path: Path) -> NDArray[np.uint8]:
    """All frames of a video, uint8 [T, H, W, 3].

    Raises:
        InputError: the file is absent, no video, or holds no picture.
    """
    try:
        with av.open(url_of(path)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    except (FFmpegError, IndexError) as error:
        raise InputError(f"{path}: is not a video that can be read ({error})") from error
    if not frames:
        raise InputError(f"{path}: has no frames")
    return np.stack(frames).astype(np.uint8, copy=False)


def timed_frames(path: Path) -> Iterator[tuple[float, Image.Image]]:
    """Every frame of a video, with the seconds from which it is shown.

    Raises:
        RunError: the file cannot be read.
    """
    try:
        with av.open(url_of(path)) as container:
            first = None
            for frame in container.decode(video=0):
                first = frame.time if first is None else first
                yield (frame.time or 0.0) - (first or 0.0), frame.to_image()
    except (FFmpegError, IndexError) as error:
        raise RunError(f"{path}: cannot be read ({error})") from error


def count_frames(path: Path) -> int:
    """How many frames a video has.

    Raises:
        InputError: the file is absent or no video.
    """
    try:
        with av.open(url_of(path)) as container:
            return container.streams.video[0].frames or sum(1 for _ in container.decode(video=0))
    except (FFmpegError, IndexError) as error:
        raise InputError(f"{path}: is not a video that can be read ({error})") from error


def pick_frames(path: Path, numbers: Sequence[int]) -> list[Image.Image]:
    """Some frames of a video, by their numbers from 0, in ascending order.

    Raises:
        InputError: the file is absent, no video, or too short.
    """
    wanted, found = set(numbers), []
    try:
        with av.open(url_of(path)) as container:
            for index, frame in enumerate(container.decode(video=0)):
                if index in wanted:
                    found.append(frame.to_image())
                if len(found) == len(wanted):
                    return found
    except (FFmpegError, IndexError) as error:
        raise InputError(f"{path}: is not a video that can be read ({error})") from error
    raise InputError(f"{path}: has no frame {max(numbers)}")


def read_metadata(path: Path) -> dict[str, str]:
    """The texts a video carries, under their own names; bytes that are not UTF-8 are replaced.

    Raises:
        InputError: the file is absent or no video.
    """
    try:
        with av.open(url_of(path), metadata_errors="replace") as container:
            shouted = container.format.name.startswith("matroska")
            return {name.lower() if shouted else name: text for name, text in container.metadata.items()}
    except FFmpegError as error:
        raise InputError(f"{path}: is not a video that can be read ({error})") from error
