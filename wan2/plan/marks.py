"""The mark by which a file is known again as one that this program made. Knows nothing of runs; loads no library.

Every video carries the tag `software`, every PNG a text chunk `Software`. They are read by hand, a few boxes or chunks
of the file and never its pictures, so that a run can look at what stands at its names before it loads anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from wan2.plan.matroska import HEAD, matroska_tags

if TYPE_CHECKING:
    from PIL.Image import Image

MARK = "wan2"
VIDEO_TAG, PICTURE_TAG = "software", "Software"

_PNG_START = b"\x89PNG\r\n\x1a\n"
# What is longer is no text of ours; the longest is the record of a run, whose captions may be long.
_LONGEST_TEXT = 1 << 24
_MOST_PARTS = 4096
_LONGEST_NAME = 64


def save_png(image: Image, path: Path) -> None:
    """Write a picture as PNG, with the mark of this program.

    Args:
        image: the picture.
        path: the file; one that is there is replaced.

    Raises:
        OSError: the file cannot be written.
    """
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text(PICTURE_TAG, MARK)
    image.save(path, format="PNG", pnginfo=info)


def is_our_png(path: Path) -> bool:
    """Whether a file is a PNG with the mark. False for whatever is absent, cannot be read or is no PNG."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(_PNG_START)) == _PNG_START and _png_text(file) == MARK.encode()
    except (OSError, ValueError):
        return False


def is_our_video(path: Path) -> bool:
    """Whether a file is a video with the mark, or one of an earlier version, whose comment is the record of its run.

    False for whatever is absent, cannot be read or is no video. A copy that FFmpeg made of such a video is not ours: it
    stores its tags in another way.
    """
    try:
        if not path.is_file():
            return False
        tags = _texts_of(path)
    except (OSError, ValueError):
        return False
    return tags.get(VIDEO_TAG) == MARK.encode() or _is_record(tags.get("comment", b""))


def video_record(path: Path) -> bytes:
    """The text in which a video carries the record of its run; empty where there is none.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no video.
    """
    return _texts_of(path).get("comment", b"")


def _texts_of(path: Path) -> dict[str, bytes]:
    """The texts of a video by their names, whatever its container."""
    with path.open("rb") as file:
        size = path.stat().st_size
        return dict(matroska_tags(file, size) if file.read(len(HEAD)) == HEAD else _tags(file, size))


def _png_text(file: BinaryIO) -> bytes:
    """What the chunk of the mark says; empty when the pictures begin before there was one."""
    wanted = PICTURE_TAG.encode() + b"\x00"
    for _ in range(_MOST_PARTS):
        head = file.read(8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if kind in (b"", b"IDAT", b"IEND"):
            return b""
        start = file.read(min(length, len(wanted) + len(MARK) + 1)) if kind == b"tEXt" else b""
        if start.startswith(wanted):
            return start.removeprefix(wanted)
        file.seek(length - len(start) + 4, 1)  # 4: the checksum
    return b""


def _tags(file: BinaryIO, size: int) -> Iterator[tuple[str, bytes]]:
    """The texts of an mp4 under their own names, where FFmpeg writes them with `use_metadata_tags`."""
    for _, movie, after in _boxes(file, 0, size, b"moov"):
        for _, user, behind in _boxes(file, movie, after, b"udta"):
            for _, meta, end in _boxes(file, user, behind, b"meta"):
                places = {kind: place for kind, *place in _boxes(file, meta + 4, end)}  # 4: version and flags
                if {b"keys", b"ilst"} <= places.keys():
                    yield from _named(file, places[b"keys"], places[b"ilst"])


def _named(file: BinaryIO, keys: Sequence[int], values: Sequence[int]) -> Iterator[tuple[str, bytes]]:
    """The two texts that tell whose a video is, each under its name; a value has the number of its key."""
    names: dict[int, str] = {}
    for number, (_, start, end) in enumerate(_boxes(file, keys[0] + 8, keys[1]), 1):  # 8: version and count
        names[number] = _read(file, start, min(end, start + _LONGEST_NAME)).decode("utf-8", "replace")
    for kind, start, end in _boxes(file, values[0], values[1]):
        name = names.get(int.from_bytes(kind, "big"))
        if name in (VIDEO_TAG, "comment"):
            yield from ((name, _read(file, data + 8, stop)) for _, data, stop in _boxes(file, start, end, b"data"))


def _boxes(file: BinaryIO, start: int, end: int, *kinds: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, begin and end of the content of the boxes between two places; of the kinds given, or of all."""
    for _ in range(_MOST_PARTS):
        if start + 8 > end:
            return
        head = _read(file, start, min(start + 16, end))
        length, kind, begin = int.from_bytes(head[:4], "big"), head[4:8], start + 8
        if length == 1:
            length, begin = int.from_bytes(head[8:16], "big"), start + 16
        stop = end if length == 0 else start + length
        if not begin <= stop <= end:
            return
        if not kinds or kind in kinds:
            yield kind, begin, stop
        start = stop


def _read(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(max(0, min(end - start, _LONGEST_TEXT)))


def _is_record(comment: bytes) -> bool:
    """Whether a comment is the record of a run, as every version of this program has written it."""
    try:
        record = json.loads(comment)
    except (ValueError, RecursionError):
        return False
    return isinstance(record, dict) and {"options", "checkpoints"} <= record.keys()
