"""A take as a timeline for editing programs: OpenTimelineIO, a clip for every shot. Opens nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def timeline(take: Mapping[str, Any]) -> dict[str, Any]:
    """The timeline of a take, as JSON values of OpenTimelineIO; its clips lie in the film beside it."""
    rate = float(take["fps"])
    clips = [_clip(take, number, rate) for number in range(len(take["shots"]))]
    track = {"OTIO_SCHEMA": "Track.1", "name": "Shots", "kind": "Video", "children": clips}
    stack = {"OTIO_SCHEMA": "Stack.1", "name": "tracks", "children": [track]}
    return {"OTIO_SCHEMA": "Timeline.1", "name": take["name"], "metadata": {"seed": take["seed"]}, "tracks": stack}


def _clip(take: Mapping[str, Any], number: int, rate: float) -> dict[str, Any]:
    shot = take["shots"][number]
    media = {
        "OTIO_SCHEMA": "ExternalReference.1",
        "target_url": f"{take['name']}.mp4",
        "available_range": _range(0, take["shots"][-1]["frames"][1], rate),
    }
    return {
        "OTIO_SCHEMA": "Clip.2",
        "name": f"shot {number + 1}",
        "metadata": {"caption": shot["caption"]},
        "source_range": _range(shot["frames"][0], shot["frames"][1], rate),
        "media_references": {"DEFAULT_MEDIA": media},
        "active_media_reference_key": "DEFAULT_MEDIA",
    }


def _range(first: int, stop: int, rate: float) -> dict[str, Any]:
    return {"OTIO_SCHEMA": "TimeRange.1", "start_time": _time(first, rate), "duration": _time(stop - first, rate)}


def _time(frames: int, rate: float) -> dict[str, Any]:
    return {"OTIO_SCHEMA": "RationalTime.1", "value": float(frames), "rate": rate}
