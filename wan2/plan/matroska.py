"""The tags of a Matroska file, read by hand: a few elements of its head, never its pictures. Knows nothing of runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

HEAD = b"\x1a\x45\xdf\xa3"
# Names of elements, as numbers with their mark of length.
_HEAD, _SEGMENT, _CLUSTER, _TAGS, _TAG, _SIMPLE = 0x1A45DFA3, 0x18538067, 0x1F43B675, 0x1254C367, 0x7373, 0x67C8
_NAME, _TEXT = 0x45A3, 0x4487
_MOST_ELEMENTS = 4096
_LONGEST_TEXT = 1 << 24
_LONGEST_NUMBER = 8


def matroska_tags(file: BinaryIO, size: int) -> Iterator[tuple[str, bytes]]:
    """The texts of a file under their names in lower case; those that stand before its pictures."""
    for kind, start, end in _elements(file, 0, size):
        if kind == _SEGMENT:
            for inner, first, stop in _elements(file, start, end):
                if inner == _CLUSTER:
                    return
                if inner == _TAGS:
                    yield from _texts(file, first, stop)
        elif kind != _HEAD:
            return


def _texts(file: BinaryIO, start: int, end: int) -> Iterator[tuple[str, bytes]]:
    for kind, first, stop in _elements(file, start, end):
        if kind in (_TAG, _SIMPLE):
            yield from _texts(file, first, stop)
    parts = {kind: (first, stop) for kind, first, stop in _elements(file, start, end)}
    if {_NAME, _TEXT} <= parts.keys():
        yield _read(file, *parts[_NAME]).decode("utf-8", "replace").lower(), _read(file, *parts[_TEXT])


def _elements(file: BinaryIO, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Name, begin and end of the content of the elements between two places."""
    for _ in range(_MOST_ELEMENTS):
        kind, after = _number(file, start, end, marked=True)
        length, begin = _number(file, after, end, marked=False)
        if kind < 0 or length < 0 or begin + length > end:
            return
        yield kind, begin, begin + length
        start = begin + length


def _number(file: BinaryIO, start: int, end: int, *, marked: bool) -> tuple[int, int]:
    """A number of as many bytes as its first one says, and where it ends; -1 where there is none.

    marked: the bit that says the length is part of the number.
    """
    first = _read(file, start, min(start + 1, end))
    width = 9 - first[0].bit_length() if first else 9
    content = _read(file, start, start + width) if width <= _LONGEST_NUMBER and start + width <= end else b""
    if len(content) < width:
        return -1, start
    value = int.from_bytes(content, "big")
    return value if marked else value - (1 << 7 * width), start + width


def _read(file: BinaryIO, start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(max(0, min(end - start, _LONGEST_TEXT)))
