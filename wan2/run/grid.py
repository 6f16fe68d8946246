"""Several videos side by side in one picture: a row each, some of their frames in columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from wan2.run.video_io import pick_frames

MARGIN, GAP, LABEL = 16, 6, 110
THUMB_WIDTH, FONT = 200, 15
PAPER, INK = "#f7f6f3", "#22211f"


def grid(rows: Sequence[tuple[str, Path]], frames: Sequence[int]) -> Image.Image:
    """A picture of several videos.

    Args:
        rows: for each a label, and its mp4; all of one size and length.
        frames: the numbers of the frames that are shown, in order.

    Raises:
        InputError: a file is no video, or too short.
    """
    font = ImageFont.load_default(FONT)
    pictures = [(label, [_thumb(frame) for frame in pick_frames(path, frames)]) for label, path in rows]
    width, height = pictures[0][1][0].size
    size = (
        2 * MARGIN + LABEL + len(frames) * (width + GAP) - GAP,
        2 * MARGIN + FONT + GAP + len(rows) * (height + GAP) - GAP,
    )
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, number in enumerate(frames):
        draw.text((MARGIN + LABEL + column * (width + GAP), MARGIN), f"frame {number}", INK, font)
    for row, (label, thumbs) in enumerate(pictures):
        top = MARGIN + FONT + GAP + row * (height + GAP)
        draw.text((MARGIN, top), label, INK, font)
        for column, thumb in enumerate(thumbs):
            sheet.paste(thumb, (MARGIN + LABEL + column * (width + GAP), top))
    return sheet


def _thumb(frame: Image.Image) -> Image.Image:
    height = max(1, round(frame.height * THUMB_WIDTH / frame.width))
    return frame.resize((THUMB_WIDTH, height), Image.Resampling.LANCZOS)
