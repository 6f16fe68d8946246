"""A finished video for people who would rather look than read: a contact sheet, and every shot as a video of its own.

Both are fed frame by frame while the video is decoded, and keep only what they show. Know nothing of models.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from PIL import Image, ImageDraw

from holocine_ext.pictures.lettering import Text, leading, own_font
from holocine_ext.shots.layout import Range
from wan2.files import Whole, whole_file
from wan2.plan.marks import save_png
from wan2.run.codecs import USUAL, Container
from wan2.run.video_io import VideoWriter

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PICTURES = 5
THUMB_AREA = 240 * 139
MARGIN, GAP, TEXT_WIDTH = 28, 8, 330
SIZE, SMALL, LARGE = 15, 12, 24
# What bounds the picture: lines of a caption, rows, pixels of a side of what stands in them.
MOST_LINES, MOST_ROWS, LONGEST_SIDE = 24, 60, 480
PAPER, INK, FAINT, RULE = "#f7f6f3", "#22211f", "#8a877f", "#dcd9d2"


class ShownShots(Protocol):
    """What is shown of a layout: half-open ranges of frames that follow each other from 0 to `num_frames`."""

    @property
    def num_frames(self) -> int: ...

    @property
    def num_shots(self) -> int: ...

    @property
    def frames(self) -> tuple[Range, ...]: ...


def pick_frames(frames: Range, count: int = PICTURES) -> tuple[int, ...]:
    """At most `count` frames of a shot, evenly spread, the first and the last among them."""
    first, last = frames[0], frames[1] - 1
    count = min(count, last - first + 1)
    return tuple(first + round(i * (last - first) / max(count - 1, 1)) for i in range(count))


class ContactSheet:
    """One row a shot: number, seconds, frames and caption, then five pictures from its first frame to its last.

    A caption of more lines than `MOST_LINES` ends in "…"; of more shots than `MOST_ROWS` the first have a row.

    Args:
        layout: the shots.
        fps: frames per second.
        captions: one a shot.
        title: what stands above the rows; the global caption, or nothing.
    """

    def __init__(self, layout: ShownShots, fps: float, captions: Sequence[str], title: str = "") -> None:
        if len(captions) != layout.num_shots:
            raise ValueError(f"{len(captions)} captions for {layout.num_shots} shots")
        self.layout, self.fps, self.captions, self.title = layout, fps, tuple(captions), title
        self.picks = tuple(pick_frames(frames) for frames in layout.frames[:MOST_ROWS])
        self._wanted = {frame for picks in self.picks for frame in picks}
        self._pictures: dict[int, Image.Image] = {}

    @property
    def wanted(self) -> list[int]:
        """The numbers of the frames that are shown."""
        return sorted(self._wanted)

    def __call__(self, index: int, frame: NDArray[np.uint8]) -> None:
        """See frame `index`, uint8 [H, W, 3]; kept, made small, only if it will be shown."""
        if index in self._wanted:
            height, width = frame.shape[:2]
            scale = min((THUMB_AREA / (height * width)) ** 0.5, LONGEST_SIDE / max(height, width))
            size = max(round(width * scale), 1), max(round(height * scale), 1)
            self._pictures[index] = Image.fromarray(frame).resize(size, Image.Resampling.LANCZOS)

    def image(self) -> Image.Image:
        """The sheet.

        Raises:
            ValueError: frames that it shows were never seen.
        """
        if missing := self._wanted - self._pictures.keys():
            raise ValueError(f"frames {sorted(missing)} were never seen")
        thumb_width, thumb_height = self._pictures[0].size
        width = 2 * MARGIN + TEXT_WIDTH + PICTURES * thumb_width + PICTURES * GAP
        heading = Text(self.title, SIZE, width - 2 * MARGIN, MOST_LINES)
        rows = [self._row_text(shot) for shot in range(len(self.picks))]
        heights = [max(thumb_height + 2 * SMALL, text.height) + 2 * GAP for text in rows]
        top = MARGIN + heading.height + leading(SIZE) + 2 * GAP
        sheet = Image.new("RGB", (width, top + sum(heights) + MARGIN), PAPER)
        draw = ImageDraw.Draw(sheet)
        heading.draw(draw, MARGIN, MARGIN, INK)
        facts = (
            f"{_count(self.layout.num_shots, 'shot')}, {_count(self.layout.num_frames, 'frame')}, "
            f"{self._seconds(self.layout.num_frames)} s"
        )
        if (left_out := self.layout.num_shots - len(rows)) > 0:
            facts += f"; the last {_count(left_out, 'shot')} not shown"
        draw.text((MARGIN, MARGIN + heading.height), facts, FAINT, own_font(SIZE))
        for picks, text, height in zip(self.picks, rows, heights, strict=True):
            draw.line((MARGIN, top, width - MARGIN, top), RULE)
            text.draw(draw, MARGIN, top + GAP)
            for column, frame in enumerate(picks):
                left = MARGIN + TEXT_WIDTH + GAP + column * (thumb_width + GAP)
                sheet.paste(self._pictures[frame], (left, top + GAP))
                draw.text((left, top + GAP + thumb_height + 3), f"{frame}", FAINT, own_font(SMALL))
            top += height
        return sheet

    def save(self, path: Path, whole: Whole = whole_file) -> None:
        """Write the sheet as PNG, whole or not at all."""
        with whole(path) as part:
            save_png(self.image(), part)

    def _row_text(self, shot: int) -> _Row:
        first, stop = self.layout.frames[shot]
        when = f"{self._seconds(first)} to {self._seconds(stop)} s, frames {first} to {stop - 1}"
        return _Row(str(shot + 1), when, Text(self.captions[shot], SIZE, TEXT_WIDTH - 3 * GAP, MOST_LINES))

    def _seconds(self, frames: int) -> str:
        return f"{frames / self.fps:.1f}"


@dataclass(frozen=True)
class _Row:
    """What stands beside the pictures of a shot."""

    number: str
    when: str
    caption: Text

    @property
    def height(self) -> int:
        return leading(LARGE) + self.caption.height

    def draw(self, draw: ImageDraw.ImageDraw, left: int, top: int) -> None:
        number, small = own_font(LARGE), own_font(SMALL)
        draw.text((left, top), self.number, INK, number)
        beside = left + round(number.getlength(self.number)) + GAP
        draw.text((beside, top + leading(LARGE) - GAP), self.when, FAINT, small, anchor="ls")
        self.caption.draw(draw, left, top + leading(LARGE), INK)


class ShotExport:
    """Writes every shot as an mp4 of its own; use it in a `with`.

    When the block ends badly, the shot being written is left out; those before it are whole.

    Args:
        paths: a file for each shot; see `job.shot_paths`.
        layout: the shots.
        fps: frames per second, kept exactly.
        captions: one a shot; goes into the file's metadata.
        crf: quality of the video.
        made: what a shot is put into.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        layout: ShownShots,
        fps: float,
        captions: Sequence[str],
        crf: int,
        made: Container = USUAL,
    ) -> None:
        self.paths, self.layout, self.fps, self.captions, self.crf = paths, layout, fps, tuple(captions), crf
        self.made = made
        self._starts = {first: shot for shot, (first, _) in enumerate(layout.frames)}
        self._open = ExitStack()
        self._writer: VideoWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._open.__exit__(kind, error, trace)

    def __call__(self, index: int, frame: NDArray[np.uint8]) -> None:
        """Append frame `index`, uint8 [H, W, 3], to the shot it belongs to; frames come in order."""
        if index in self._starts:
            self._open.close()
            self._writer = self._open.enter_context(self._shot_writer(self._starts[index], frame))
        if self._writer is None:
            raise ValueError(f"frame {index} comes before frame 0")
        self._writer.write(frame)

    def _shot_writer(self, shot: int, frame: NDArray[np.uint8]) -> VideoWriter:
        height, width = frame.shape[:2]
        metadata = {"title": f"shot {shot + 1} of {self.layout.num_shots}", "comment": self.captions[shot]}
        return VideoWriter(self.paths[shot], self.fps, (width, height), metadata, self.crf, self.made)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
