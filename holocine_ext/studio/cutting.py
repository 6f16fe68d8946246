"""A take as a timeline for editing programs. Opens nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holocine_ext.story.timeline import Timeline


def timeline(take: Mapping[str, Any]) -> dict[str, Any]:
    """The timeline of a take, as JSON values of OpenTimelineIO; its clips lie in the film beside it."""
    shots = take["shots"]
    edges = [0, *(shot["frames"][1] for shot in shots)]
    captions = [shot["caption"] for shot in shots]
    made = Timeline(take["name"], f"{take['name']}.mp4", float(take["fps"]), edges, captions, take["seed"])
    return made.otio()
