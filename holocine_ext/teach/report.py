"""What a preparation made and what it left out, as a page that works offline and as JSON."""

from __future__ import annotations

import json
from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from holocine_ext.evaluate.report import POLICY, STYLE, escape
from holocine_ext.teach.clips import files_of
from holocine_ext.teach.cutting import Clip, Cutting

PROGRAM = "holocine_prepare"
PAGE, DATA = "report.html", "report.json"


@dataclass(frozen=True)
class LeftOut:
    """Frames first..stop of a film that no clip has, and why."""

    film: Path
    first: int
    stop: int
    why: str


def as_json(clips: Sequence[Clip], left_out: Sequence[LeftOut], cutting: Cutting) -> str:
    """The report for programs."""
    made = [
        {
            "name": clip.name,
            "film": clip.film.path.name,
            "frames": clip.num_frames,
            "cuts": list(clip.cuts),
            "source": [[shot.first, shot.stop] for shot in clip.shots],
            "captioned": clip.is_captioned,
        }
        for clip in clips
    ]
    left = [{"film": out.film.name, "frames": [out.first, out.stop], "why": out.why} for out in left_out]
    document = {"program": PROGRAM, "fps": cutting.fps, "size": [cutting.height, cutting.width]}
    return json.dumps(document | {"clips": made, "left_out": left}, indent=1) + "\n"


def as_page(clips: Sequence[Clip], left_out: Sequence[LeftOut], folder: Path) -> str:
    """The report for people: a sheet of every clip, then what was left out."""
    counts = Counter(len(clip.shots) for clip in clips)
    spread = ", ".join(f"{made} of {shots} shot{'s' * (shots != 1)}" for shots, made in sorted(counts.items()))
    body = [
        "<h1>Clips for teaching</h1>",
        f"<p>{len(clips)} clips: {escape(spread) or 'none'}. {len(left_out)} shots left out.</p>",
        *(_clip(clip, folder) for clip in clips),
        "<h1>Left out</h1>" if left_out else "",
        *(
            f"<p>{escape(out.film.name)}, frames {out.first} to {out.stop - 1}: {escape(out.why)}</p>"
            for out in left_out
        ),
    ]
    head = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f'<meta name="generator" content="{PROGRAM}">\n'
        f"<title>Clips for teaching</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
    )
    return head + "\n".join(body) + "\n</body>\n</html>\n"


def _clip(clip: Clip, folder: Path) -> str:
    sheet = b64encode(files_of(clip.name, folder)[2].read_bytes()).decode()
    facts = f"{clip.num_frames} frames, cuts at {', '.join(map(str, clip.cuts)) or 'none'}, of {clip.film.path.name}"
    return (
        f'<details open><summary><h2>{escape(clip.name)}</h2> <span class="faint">{escape(facts)}</span></summary>'
        f'<img alt="Contact sheet" src="data:image/png;base64,{sheet}"></details>'
    )
