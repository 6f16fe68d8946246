"""The shots of another program's list: their texts as one caption each, their times as lengths. Opens no file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from holocine_ext.story.words import describe
from wan2.errors import InputError

LIST_NAMES = ("shots", "scenes", "clips", "segments", "shot_list", "storyboard", "timeline", "sequence", "beats")
# Parts of a caption in their order: how it is framed, what is seen, how the camera moves, the light.
_FRAMING = ("shot_type", "shot_size", "framing", "angle", "camera_angle")
_TEXT = ("caption", "prompt", "description", "text", "action", "visual", "content", "visual_description", "subject")
_AFTER = ("camera", "camera_movement", "camera_motion", "movement", "lighting", "mood")
_PARTS = (*_FRAMING, *_TEXT, *_AFTER)
_SECONDS = ("duration", "seconds", "duration_seconds", "duration_s", "duration_sec", "length_seconds", "secs")
_STARTS, _ENDS = ("start", "start_time", "start_seconds", "begin"), ("end", "end_time", "end_seconds", "stop")
_SPANS = ("time", "timestamp", "timecode", "time_range")
_FIRST, _LAST = ("start_frame", "first_frame"), ("end_frame", "last_frame")
_TIMES = (*_SECONDS, *_STARTS, *_ENDS, *_SPANS, *_FIRST, *_LAST, "frames")
IGNORED_IN_SHOT: tuple[str, ...] = ("id", "index", "number", "shot", "shot_number", "shot_id", "scene_number")
IGNORED_IN_SHOT += ("name", "title", "dialogue", "narration", "voiceover", "sound", "audio", "music", "sfx")
IGNORED_IN_SHOT += ("transition", "notes")
# Seconds or frames that no scene has.
MOST = 1_000_000
ENDS = (".", "!", "?", "。")
OUR_FIELDS = frozenset({"caption", "seconds", "frames"})
_NUMBER = re.compile(r"(?:(\d+):)?(?:(\d+):)?(\d+(?:[.,]\d+)?)\s*(?:s|secs?|seconds?)?")
_SPAN = re.compile(r"\s*([\d:.,]+)\s*s?(?:econds)?\s*(?:-|–|—|to)\s*([\d:.,]+)\s*s?(?:ec(?:ond)?s?)?\s*")


def is_foreign(shots: object, whole: bool) -> bool:
    """Whether a list holds shots of another program, all of whose fields are known. whole: its name is another's."""
    if not isinstance(shots, list) or not shots or not all(isinstance(shot, Mapping) for shot in shots):
        return False
    fields = {field for shot in shots for field in shot}
    if fields - {*_PARTS, *_TIMES, *IGNORED_IN_SHOT}:
        return False
    return whole or bool(fields - OUR_FIELDS)


@dataclass(frozen=True)
class ShotList:
    """Captions and times; `times` are seconds or frames (`unit`) a shot, the last None if it is open; or none."""

    captions: tuple[str, ...]
    times: tuple[float | None, ...]
    unit: str
    fields: tuple[str, ...]

    @classmethod
    def read(cls, shots: Sequence[Mapping[str, Any]]) -> ShotList:
        """The shots of a list for which `is_foreign` holds.

        Raises:
            InputError: a shot without a text, or times that are none or do not follow each other.
        """
        fields = tuple(dict.fromkeys(field for shot in shots for field in shot))
        captions = tuple(_caption(shot, number) for number, shot in enumerate(shots, 1))
        times, unit = _times(shots)
        return cls(captions, times, unit, fields)

    @property
    def words(self) -> str:
        """What was understood."""
        parts = [name for name in _PARTS if name in self.fields]
        timed = [name for name in _TIMES if name in self.fields]
        return f"caption from {', '.join(parts)}" + (f", {self.unit} from {', '.join(timed)}" if self.unit else "")

    def tables(self, captions: Sequence[str]) -> list[dict[str, Any]]:
        """The shots in our fields, with these captions."""
        timed: Sequence[float | None] = self.times or [None] * len(captions)
        shots: list[dict[str, Any]] = [{"caption": caption} for caption in captions]
        for shot, time in zip(shots, timed, strict=True):
            shot |= {} if time is None else {self.unit: time}
        return shots


def _caption(shot: Mapping[str, Any], number: int) -> str:
    found = {name: shot[name] for name in _PARTS if shot.get(name) is not None}
    for name, text in found.items():
        if not isinstance(text, str):
            raise InputError(f"shot {number}: {name} {describe(text)}: must be text")
    if not any(found[name].strip() for name in found if name in _TEXT):
        raise InputError(f"shot {number}: says nothing of what it shows; give it a caption")
    return sentences(list(found.values()))


def sentences(texts: Sequence[str]) -> str:
    """Texts as one, each with its full stop where there are several."""
    plain = [" ".join(text.split()) for text in texts if text.strip()]
    return " ".join(text if text.endswith(ENDS) or len(plain) == 1 else f"{text}." for text in plain)


def _times(shots: Sequence[Mapping[str, Any]]) -> tuple[tuple[float | None, ...], str]:
    """How long the shots are, and in what; nothing where none of them says so."""
    if any(_given(shot, (*_FIRST, *_LAST)) or isinstance(shot.get("frames"), str) for shot in shots):
        return _from_edges([_frames(shot, number) for number, shot in enumerate(shots, 1)], 1), "frames"
    if any(_given(shot, (*_STARTS, *_ENDS, *_SPANS)) for shot in shots):
        return _from_edges([_span(shot, number) for number, shot in enumerate(shots, 1)], 0), "seconds"
    if any(isinstance(shot.get("frames"), int) for shot in shots):
        return tuple(shot.get("frames") for shot in shots), "frames"
    if any(_given(shot, _SECONDS) for shot in shots):
        return tuple(_first(shot, _SECONDS, number) for number, shot in enumerate(shots, 1)), "seconds"
    return (), ""


def _given(shot: Mapping[str, Any], names: Sequence[str]) -> bool:
    return any(shot.get(name) is not None for name in names)


def _first(shot: Mapping[str, Any], names: Sequence[str], number: int) -> float | None:
    name = next((name for name in names if shot.get(name) is not None), None)
    return None if name is None else _number(shot[name], f"shot {number}: {name}")


def _number(value: object, place: str) -> float:
    """Seconds or frames: a number, or a text such as 4s, 1:05 or 00:01:05,5."""
    if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= MOST:
        return value
    match = _NUMBER.fullmatch(value.strip().lower()) if isinstance(value, str) and len(value) < 32 else None
    if match is None:
        raise InputError(f"{place} {describe(value)}: is no time; write seconds, such as 4.5 or 0:04")
    first, second, last = match[1] or "0", match[2], float(match[3].replace(",", "."))
    minutes = int(first) * 60 + int(second) if second is not None else int(first)
    return minutes * 60 + last


def _span(shot: Mapping[str, Any], number: int) -> tuple[float | None, float | None]:
    """Where a shot begins and ends, in seconds."""
    name = next((name for name in _SPANS if shot.get(name) is not None), None)
    if name is None:
        return _first(shot, _STARTS, number), _end_of(shot, number)
    match = _SPAN.fullmatch(shot[name].lower()) if isinstance(shot[name], str) else None
    if match is None:
        raise InputError(f"shot {number}: {name} {describe(shot[name])}: is no span of time, such as 0:04 - 0:09")
    return tuple(_number(text, f"shot {number}: {name}") for text in match.groups())  # type: ignore[return-value]


def _end_of(shot: Mapping[str, Any], number: int) -> float | None:
    end, start, length = _first(shot, _ENDS, number), _first(shot, _STARTS, number), _first(shot, _SECONDS, number)
    return start + length if end is None and start is not None and length is not None else end


def _frames(shot: Mapping[str, Any], number: int) -> tuple[float | None, float | None]:
    """The first frame of a shot and its last, or the one after that."""
    span = shot.get("frames")
    match = _SPAN.fullmatch(span) if isinstance(span, str) else None
    if isinstance(span, str) and match is None:
        raise InputError(f"shot {number}: frames {describe(span)}: is no range of frames, such as 40-80")
    if match is not None:
        return _number(match[1], f"shot {number}: frames"), _number(match[2], f"shot {number}: frames")
    return _first(shot, _FIRST, number), _first(shot, _LAST, number)


def _from_edges(edges: Sequence[tuple[float | None, float | None]], step: int) -> tuple[float | None, ...]:
    """Lengths from where the shots begin and end; the last may stay open.

    step: 1 where an end may be the last frame of a shot, 0 where it is always the beginning of the next.

    Raises:
        InputError: the first shot does not begin at 0, or a shot does not begin where the one before ends.
    """
    starts = [edges[0][0] or 0.0]
    if starts[0]:
        raise InputError(f"shot 1: begins at {starts[0]:g}; the first shot begins at 0")
    between = [(end, start) for (_, end), (start, _) in pairwise(edges)]
    for number, (end, start) in enumerate(between, 2):
        starts.append(_beginning(end, start, number, step))
    inclusive = any(end is not None and start == end + 1 for end, start in between)
    last = edges[-1][1]
    stops = [*starts[1:], None if last is None else last + (step if inclusive else 0)]
    for number, (begin, stop) in enumerate(zip(starts, stops, strict=True), 1):
        if stop is not None and stop <= begin:
            raise InputError(f"shot {number}: ends at {stop:g}, where it begins at {begin:g}")
    lengths = [None if stop is None else stop - begin for begin, stop in zip(starts, stops, strict=True)]
    return tuple(round(length) if step and length is not None else length for length in lengths)


def _beginning(end: float | None, start: float | None, number: int, step: int) -> float:
    """Where a shot begins: where it says, or where the one before ends."""
    begins = start if start is not None else end
    if begins is None:
        raise InputError(f"shot {number}: nothing says where it begins")
    if end is not None and begins not in (end, end + step):
        raise InputError(f"shot {number}: begins at {begins:g}, where shot {number - 1} ends at {end:g}")
    return begins
