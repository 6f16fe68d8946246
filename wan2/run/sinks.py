"""Where decoded frames go: into the video, or into a folder of stills. Knows nothing of how frames are made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from wan2.plan.marks import save_png
from wan2.plan.outputs import Chapter
from wan2.request.request import Request
from wan2.run.claim import Claim
from wan2.run.codecs import Container
from wan2.run.video_io import VideoWriter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FrameSink = Callable[[int, NDArray[np.uint8]], None]
    """Given every decoded frame in order: its number from 0 and its pixels, uint8 [H, W, 3]."""

    OpenSinks = Callable[[Claim], AbstractContextManager[Sequence[FrameSink]]]
    """Opens the sinks under the names of a run; they are closed after the last frame, or when decoding fails."""


@contextmanager
def open_main_sink(
    request: Request, claim: Claim, metadata: dict[str, str], chapters: Sequence[Chapter]
) -> Iterator[FrameSink]:
    """The sink of what `--output_type` asks for; it is a video or a folder of stills when the block ends well.

    Args:
        request: the run.
        claim: the names of its files.
        metadata: texts for the video.
        chapters: its parts that have names.
    """
    if request.output.writes_video:
        shape, path = request.shape, claim.paths.video
        made = Container(request.output.codec, tuple(chapters), request.output.soundtrack, claim.whole)
        with VideoWriter(path, request.fps, (shape.width, shape.height), metadata, request.output.crf, made) as writer:
            yield lambda _, frame: writer.write(frame)
        return
    from PIL import Image

    with claim.whole_folder(claim.paths.images) as folder:
        yield lambda index, frame: save_png(Image.fromarray(frame), folder / f"{index:05d}.png")
