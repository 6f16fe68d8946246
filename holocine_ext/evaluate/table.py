"""The summary as a table for a terminal of 80 columns. Knows nothing of how anything was measured."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from textwrap import fill

from holocine_ext.evaluate.cuts import PROTOCOL
from holocine_ext.evaluate.result import Estimate, Row
from wan2.shown import one_line

WIDTH = 80
LABEL, CELL, GAP = 20, 18, 2
"""Widths of the column of measures and of every column of values, and the blanks before each value."""
SIDE_BY_SIDE = (WIDTH - LABEL) // (CELL + GAP)
LONGEST_NAME = 4 * CELL
EXPLANATION = "Each value is the mean over the videos, followed by its 95 % interval."


def render_table(rows: Sequence[Row]) -> str:
    """The rows as columns of values, three side by side and more below, then what the values mean."""
    blocks = (rows[i : i + SIDE_BY_SIDE] for i in range(0, len(rows), SIDE_BY_SIDE))
    texts = ["\n".join(_block(block)) for block in blocks]
    return "\n\n".join([*texts, fill(EXPLANATION, WIDTH), fill(PROTOCOL, WIDTH)])


def _block(rows: Sequence[Row]) -> Iterator[str]:
    names = [_wrapped(one_line(row.name, LONGEST_NAME)) for row in rows]
    for parts in zip_longest(*names, fillvalue=""):
        yield _line("", parts)
    yield _line("videos", [str(row.videos) for row in rows])
    for measure in rows[0].columns:
        yield _line(measure, [_value(row.columns[measure]) for row in rows])


def _line(label: str, cells: Sequence[str]) -> str:
    line = _padded(label, LABEL) + "".join(" " * GAP + _padded(cell, CELL) for cell in cells)
    return line.rstrip()


def _value(estimate: Estimate | None) -> str:
    return "-" if estimate is None else f"{estimate.mean:.3f} {estimate.low:.3f}-{estimate.high:.3f}"


def _padded(text: str, columns: int) -> str:
    return text + " " * (columns - _width(text))


def _wrapped(text: str) -> list[str]:
    """The text in lines of at most `CELL` columns, ended after a blank or a slash where the line has one."""
    lines = [""]
    for char in text:
        while _width(lines[-1] + char) > CELL:
            end = max(lines[-1].rfind(mark) for mark in " /") + 1 or len(lines[-1])
            lines[-1:] = [lines[-1][:end], lines[-1][end:]]
        lines[-1] += char
    return lines


def _width(text: str) -> int:
    return sum(map(_columns, text))


def _columns(char: str) -> int:
    """Columns that a terminal gives to a character: none to a mark on another, two to a wide one."""
    if unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
