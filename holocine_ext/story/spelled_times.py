"""Shots in one text, with their frames or shares of the length before them, as storyboard apps write them.

`0-39: A gull lands. | 40-80: The lamp turns.`, or `[0%:33%] A gull lands. [33%:100%] The lamp turns.`; what stands
before the first of them is what all shots share.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from holocine_ext.story.foreign import Read
from holocine_ext.story.prompt import COUNT_PHRASE
from wan2.errors import InputError

_FRAMES = re.compile(r"\s*(\d{1,5})\s*[-–]\s*(\d{1,5})\s*:\s*(.*)", re.DOTALL)
_SHARE = re.compile(r"\[\s*(\d{1,3}(?:\.\d{1,6})?)\s*%\s*[:–-]\s*(\d{1,3}(?:\.\d{1,6})?)\s*%\s*\]")


def timed_text(text: str, name: str) -> Read | None:
    """The shots of a text that gives each its frames or its share; None where it gives none.

    Raises:
        InputError: shots that do not follow each other, or leave a part of the length out. `name` begins the message.
    """
    return _by_frames(text, name) or _by_shares(text, name)


def _by_frames(text: str, name: str) -> Read | None:
    pieces = text.split("|")
    matches = [_FRAMES.fullmatch(piece) for piece in pieces]
    shared = "" if matches[0] else pieces[0]
    found = [match for match in matches if match is not None]
    if len(found) < 2 or None in matches[0 if matches[0] else 1 :]:
        return None
    edges = [(int(match[1]), int(match[2]) + 1) for match in found]
    _check_follow(edges, name, 0, "frame")
    shots = [{"caption": match[3].strip(), "frames": b - a} for match, (a, b) in zip(found, edges, strict=True)]
    return _read(shared, shots, "frames of each before it")


def _by_shares(text: str, name: str) -> Read | None:
    shared, *rest = _SHARE.split(text)
    if len(rest) < 2 * 3:
        return None
    edges = [(float(a), float(b)) for a, b in zip(rest[::3], rest[1::3], strict=True)]
    _check_follow(edges, name, 100, "%")
    ends = [*(end / 100 for _, end in edges[:-1]), 1.0]
    shares = [end - start for start, end in zip([0.0, *ends], ends, strict=False)]
    shots = [{"caption": text.strip(" \n|"), "share": part} for part, text in zip(shares, rest[2::3], strict=True)]
    return _read(shared, shots, "its share of the length before each")


def _check_follow(edges: Sequence[tuple[float, float]], name: str, last: float, unit: str) -> None:
    """Every shot begins where the one before ends, the first at 0; the last ends at `last`, unless that is 0."""
    shown = (lambda edge: f"{edge:g}%") if unit == "%" else (lambda edge: f"frame {edge:g}")
    for number, ((_, end), (start, _)) in enumerate(zip(((0.0, 0.0), *edges), edges, strict=False), 1):
        if start != end:
            raise InputError(f"{name}: shot {number} begins at {shown(start)}; it must begin at {shown(end)}")
    if short := next((number for number, (a, b) in enumerate(edges, 1) if b <= a), None):
        raise InputError(f"{name}: shot {short} ends before it begins")
    if last and abs(edges[-1][1] - last) > 1:
        raise InputError(f"{name}: the last shot ends at {shown(edges[-1][1])}; it must end at {shown(last)}")


def _read(shared: str, shots: list[dict[str, Any]], how: str) -> Read:
    text = shared.strip(" \n|")
    said = "what they share before them" if text else "nothing says what all of them share (global_caption)"
    document = {"global_caption": text or f"{COUNT_PHRASE} {len(shots)} shots.", "shots": shots}
    return Read(document, f"{len(shots)} shots, {how}; {said}")
