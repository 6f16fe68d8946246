"""What every video should show, from its record or a storyboard. Reads names and texts; decodes no video.

A path may be a video, a record (`out/a.json` for `out/a.mp4`) or a folder of videos with their records.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

from holocine_ext.story.boards import from_file
from holocine_ext.story.fields import MAX_BYTES, read_document
from holocine_ext.story.lengths import ends_of
from holocine_ext.story.scene import Storyboard
from wan2.errors import InputError
from wan2.request.flat import RANGES

VIDEO_SUFFIXES = (".mp4", ".mkv", ".webm", ".mov", ".avi")
EXPORTED_SHOT = re.compile(r"_shot\d{2,}$")
FILES_ROW = "videos"
NANO = "nano"


@dataclass(frozen=True)
class Asked:
    """What one video was asked to show. Videos of the same `row` are counted together."""

    row: str
    video: Path
    global_caption: str
    captions: tuple[str, ...]
    cuts: tuple[int, ...] | None
    """First frames of the shots after the first; None when the storyboard gives lengths, or neither."""
    storyboard: Storyboard | None
    model: str
    """The model's name in the record, or ""."""

    def cuts_in(self, num_frames: int, fps: float) -> tuple[int, ...]:
        """The asked cuts of a video this long: as listed, from the lengths of the shots, or evenly divided."""
        if self.cuts is not None:
            return self.cuts
        if self.storyboard is not None and self.storyboard.lengths is not None:
            return tuple(round(end) for end in ends_of(self.storyboard.lengths[:-1], fps, num_frames))
        count = len(self.captions)
        return tuple(round(i * num_frames / count) for i in range(1, count))


def find_asked(paths: Sequence[Path], storyboard: Path | None, model: str) -> tuple[list[Asked], list[str]]:
    """Every video of `paths` with what was asked of it, and a line for each that was left out.

    Every folder is a row of its own. Videos of a folder without a record are left out, unless there is a `storyboard`:
    it applies to all videos, in place of their records. `model` counts for videos whose record names no model.

    Raises:
        InputError: a path is absent, is no video, or has no record; or no video was found.
    """
    board = None if storyboard is None else _board(storyboard)
    found: list[Asked] = []
    left_out: list[str] = []
    for path in paths:
        if not path.is_dir():
            found.append(_asked_of(FILES_ROW, _video_of(path), board))
            continue
        for video in _videos_in(path):
            if board is None and _record_of(video) is None:
                left_out.append(f"{video}: left out, no record next to it or inside it")
            else:
                found.append(_asked_of(str(path), video, board))
    if not found:
        raise InputError(
            f"{', '.join(map(str, paths))}: no video with a record; or give what was asked with `storyboard`"
        )
    return [replace(one, model=one.model or model) for one in _once(found)], left_out


def _board(path: Path) -> Storyboard:
    """The storyboard of a file. Its cuts are checked, but may be any frames: videos of other tools have no grid."""
    board = from_file(path)
    cuts, count = board.shot_cut_frames, len(board.shot_captions)
    if cuts is not None and (len(cuts) != count - 1 or not _are_cuts(list(cuts))):
        raise InputError(f"{path}: cuts {list(cuts)}: must be ascending frames above 0, {count - 1} for {count} shots")
    return board


def _asked_of(row: str, video: Path, board: Storyboard | None) -> Asked:
    """What was asked of one video: by the storyboard when there is one, else by its record."""
    if board is not None:
        title = board.global_caption or ""
        return Asked(row, video, title, board.shot_captions, board.shot_cut_frames, board, "")
    record = _record_of(video)
    if record is None:
        raise InputError(f"{video}: no record next to it or inside it; give what was asked with `storyboard`")
    cuts, captions, title = record["cuts"], record.get("captions"), record.get("title", "")
    readable = isinstance(captions, list) and all(_is_text(text) for text in [title, *captions])
    if not readable or not _are_cuts(cuts) or len(cuts) != len(captions or ()) - 1:
        raise InputError(f"{video}: its record is damaged: cuts must be ascending frames, one fewer than captions")
    model = record.get("model")
    return Asked(row, video, title, tuple(captions or ()), tuple(cuts), None, model if _is_text(model) else "")


def _is_text(value: object) -> TypeGuard[str]:
    """Whether a value is text that a file can hold; JSON can stand for halves of characters."""
    return isinstance(value, str) and not any("\ud800" <= char <= "\udfff" for char in value)


def _are_cuts(cuts: object) -> bool:
    longest = RANGES["num_frames"][1]
    if not isinstance(cuts, list) or not all(type(cut) is int and 0 < cut < longest for cut in cuts):
        return False
    return sorted(set(cuts)) == cuts


def _record_of(video: Path) -> dict[str, Any] | None:
    """The record of a run that made shots: in a file next to the video, or inside the video."""
    own = video.with_suffix(".json")
    document: object
    if own.is_file():
        document = read_document(own, "record")
    else:
        from wan2.run.video_io import read_metadata

        comment = read_metadata(video).get("comment", "null")
        try:
            document = json.loads(comment) if len(comment) <= MAX_BYTES else None
        except (ValueError, RecursionError):  # also a number of thousands of digits
            return None
    return document if isinstance(document, dict) and document.get("cuts") is not None else None


def _video_of(path: Path) -> Path:
    """The video that a path stands for: itself, or the one next to a record."""
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder")
    if path.suffix.lower() != ".json":
        return path
    videos = [path.with_suffix(suffix) for suffix in VIDEO_SUFFIXES if path.with_suffix(suffix).is_file()]
    if not videos:
        raise InputError(f"{path}: no video of that name next to the record")
    return videos[0]


def _videos_in(folder: Path) -> list[Path]:
    """The videos of a folder, without the single shots that were exported from them."""
    videos = sorted(path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)
    stems = {path.stem for path in videos}
    return [path for path in videos if EXPORTED_SHOT.sub("", path.stem) not in stems - {path.stem}]


def _once(asked: Iterable[Asked]) -> list[Asked]:
    """Every video once in its row, even if both the video and its record were named."""
    return list({(one.row, one.video): one for one in asked}.values())
