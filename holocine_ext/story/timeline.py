"""A finished film as a timeline for editing programs: OpenTimelineIO and EDL (CMX 3600). Opens nothing to write.

Both are written by hand: one is JSON, the other lines of text. `opentimelineio` reads them back in the tests.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from wan2.plan.marks import MARK

OTIO_ENDING, EDL_ENDING = ".otio", ".edl"
SOFTWARE = "software"
MARK_LINE = f"* {SOFTWARE.upper()}: {MARK}"
# A timeline is a few pages; what is longer is none of ours.
MAX_BYTES = 1 << 22
REEL = "AX"


@dataclass(frozen=True)
class Timeline:
    """The shots of a film, in order.

    Attributes:
        name: of the film.
        video: the name of its file, which lies beside the timeline.
        rate: frames per second.
        edges: the first frame of every shot, then the number of frames.
        captions: one a shot.
        seed: of the film.
    """

    name: str
    video: str
    rate: float
    edges: Sequence[int]
    captions: Sequence[str]
    seed: int

    @property
    def shots(self) -> list[tuple[int, int]]:
        """First frame of every shot, and the one after its last."""
        return list(pairwise(self.edges))

    def otio(self) -> dict[str, Any]:
        """The timeline as JSON values of OpenTimelineIO, a clip for every shot."""
        track = {"OTIO_SCHEMA": "Track.1", "name": "Shots", "kind": "Video", "children": self._clips()}
        stack = {"OTIO_SCHEMA": "Stack.1", "name": "tracks", "children": [track]}
        about = {"seed": self.seed, SOFTWARE: MARK}
        return {"OTIO_SCHEMA": "Timeline.1", "name": self.name, "metadata": about, "tracks": stack}

    def edl(self) -> str:
        """The timeline as an EDL. Its timecode counts whole frames at the nearest whole rate."""
        lines = [f"TITLE: {_line(self.name)}", "FCM: NON-DROP FRAME"]
        for number, ((first, stop), caption) in enumerate(zip(self.shots, self.captions, strict=True), 1):
            times = " ".join(self._timecode(frame) for frame in (first, stop, first, stop))
            lines += ["", f"{number:03d}  {REEL:<8} V     C        {times}"]
            lines += [f"* FROM CLIP NAME: {_line(self.video)}", f"* COMMENT: {_line(caption)}", MARK_LINE]
        return "\n".join(lines) + "\n"

    def _clips(self) -> list[dict[str, Any]]:
        media = {
            "OTIO_SCHEMA": "ExternalReference.1",
            "target_url": self.video,
            "available_range": self._range(0, self.edges[-1]),
        }
        return [
            {
                "OTIO_SCHEMA": "Clip.2",
                "name": f"shot {number}",
                "metadata": {"caption": caption},
                "source_range": self._range(first, stop),
                "media_references": {"DEFAULT_MEDIA": media},
                "active_media_reference_key": "DEFAULT_MEDIA",
            }
            for number, ((first, stop), caption) in enumerate(zip(self.shots, self.captions, strict=True), 1)
        ]

    def _range(self, first: int, stop: int) -> dict[str, Any]:
        times = [{"OTIO_SCHEMA": "RationalTime.1", "value": float(x), "rate": self.rate} for x in (first, stop - first)]
        return {"OTIO_SCHEMA": "TimeRange.1", "start_time": times[0], "duration": times[1]}

    def _timecode(self, frame: int) -> str:
        """Hours, minutes, seconds and frames."""
        rate = max(1, round(self.rate))
        seconds, rest = divmod(frame, rate)
        return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}:{rest:02d}"


def is_our_otio(path: Path) -> bool:
    """Whether a file is a timeline that this program wrote. False for whatever cannot be read."""
    try:
        found = json.loads(_content(path))
        return bool(found["OTIO_SCHEMA"] == "Timeline.1" and found["metadata"][SOFTWARE] == MARK)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False


def is_our_edl(path: Path) -> bool:
    """Whether a file is an EDL that this program wrote. False for whatever cannot be read."""
    try:
        return MARK_LINE.encode() in _content(path).splitlines()
    except OSError:
        return False


def _content(path: Path) -> bytes:
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        return b""
    return path.read_bytes()


def _line(text: str) -> str:
    return " ".join(text.split())
