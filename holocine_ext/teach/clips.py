"""The files of a clip: video, storyboard, contact sheet. Each appears whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from holocine_ext.evaluate.clip import Frames
from holocine_ext.evaluate.clip import picture as picture_of
from holocine_ext.pictures.sheet import ContactSheet, pick_frames
from holocine_ext.shots.layout import ShotLayout
from holocine_ext.teach.boards import board_text
from holocine_ext.teach.captions import Captioner
from holocine_ext.teach.cutting import Clip, Cutting
from holocine_ext.teach.films import frames_at, pictures_at
from wan2.files import whole_file
from wan2.run.video_io import VideoWriter

CRF = 12
"""Of clips: what is taught is what is seen, so it is compressed little."""
SHOWN = 3
"""Frames of a shot that a vision model sees."""
UNTITLED = "(to write)"


def write_clip(clip: Clip, cutting: Cutting, folder: Path) -> list[Path]:
    """Write video, storyboard and sheet of a clip into a folder; the paths.

    Raises:
        InputError: the film cannot be read any more.
        RunError: the video cannot be written.
    """
    video, board, sheet = files_of(clip.name, folder)
    layout = ShotLayout(clip.num_frames, clip.cuts, 1)
    shown = ContactSheet(layout, cutting.fps, [s.caption or UNTITLED for s in clip.shots], clip.global_caption)
    with VideoWriter(video, cutting.fps, (cutting.width, cutting.height), {}, CRF) as writer:
        for index, picture in enumerate(clip_frames(clip, cutting)):
            writer.write(picture)
            shown(index, picture)
    with whole_file(board) as part:
        part.write_text(board_text(clip, cutting), encoding="utf-8")
    shown.save(sheet)
    return [video, board, sheet]


def files_of(name: str, folder: Path) -> tuple[Path, Path, Path]:
    """Video, storyboard and sheet of a clip."""
    return folder / f"{name}.mp4", folder / f"{name}.toml", folder / f"{name}_sheet.png"


def clip_frames(clip: Clip, cutting: Cutting) -> Iterator[Frames]:
    """The frames of a clip in its size, uint8 [H, W, 3], in order."""
    sources = clip.sources(cutting.fps)
    repeats = {number: sources.count(number) for number in sources}
    crop = cropped(clip.film.size, (cutting.height, cutting.width))
    for number, frame in frames_at(clip.film.path, sources):
        picture = fitted(picture_of(frame, frame.width, frame.height), crop, (cutting.height, cutting.width))
        for _ in range(repeats[number]):
            yield picture


def cropped(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[int, int, int, int]:
    """The middle of a picture that has the wanted shape: left, top, right, bottom. Sizes are (height, width)."""
    scale = min(size[0] / wanted[0], size[1] / wanted[1])
    height, width = (min(round(side * scale), most) for side, most in zip(wanted, size, strict=True))
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return left, top, left + width, top + height


def fitted(picture: Frames, crop: tuple[int, int, int, int], size: tuple[int, int]) -> Frames:
    """A part of a picture in a size (height, width); untouched where nothing changes."""
    from PIL import Image

    if crop == (0, 0, size[1], size[0]) and picture.shape[:2] == size:
        return picture
    resized = Image.fromarray(picture).resize((size[1], size[0]), Image.Resampling.LANCZOS, box=crop)
    return np.asarray(resized)


def captioned(clip: Clip, captioner: Captioner) -> Clip:
    """A clip with captions of a vision model.

    Raises:
        RunError: the endpoint gives no usable answer.
    """
    picks = [pick_frames((shot.first, shot.stop), SHOWN) for shot in clip.shots]
    seen = dict(pictures_at(clip.film.path, [number for numbers in picks for number in numbers]))
    return clip.captioned(*captioner.captions([[seen[number] for number in numbers] for numbers in picks]))
