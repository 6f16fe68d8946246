"""The results as one HTML page that works offline: pictures are inside it, it has no script and loads nothing.

Every text from a user is escaped and shortened; a content security policy blocks all loading.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape as escape_html

from holocine_ext.evaluate.cuts import PROTOCOL, CutScore
from holocine_ext.evaluate.files import GENERATOR
from holocine_ext.evaluate.result import Row, VideoResult
from wan2.shown import one_line

LONGEST_TEXT = 8000
"""Most characters of a caption that are shown; a text encoder reads fewer."""
WIDTH, LANE, LABEL = 1000, 26, 130
"""Sizes of a timeline, in units of the SVG."""
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #22211f; background: #f7f6f3; margin: 2rem auto; max-width: 70rem;
  padding: 0 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin: 0; display: inline; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid #dcd9d2; vertical-align: top; }
th { font-weight: 600; } td small, .faint { color: #77746c; }
td:nth-child(2), th:nth-child(2), small { white-space: nowrap; }
details { border-top: 1px solid #dcd9d2; padding: .8rem 0; } summary { cursor: pointer; }
svg, img { display: block; width: 100%; height: auto; margin: .8rem 0; }
.wrong { color: #b3261e; font-weight: 600; }
"""


def render(rows: Sequence[Row], results: Sequence[VideoResult], notes: Sequence[str]) -> str:
    """The page: the table, how it was measured, then every video, the worst one first."""
    worst_first = sorted(results, key=lambda result: result.score.sca)
    body = [
        "<h1>Shot control, measured</h1>",
        _table(rows),
        f"<p>Each cell: the mean over videos, with its 95 % interval. {escape(PROTOCOL)}</p>",
        *(f'<p class="faint">{escape(note)}</p>' for note in notes),
        *(_video(result) for result in worst_first),
    ]
    head = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"{GENERATOR}\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Shot control, measured</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
    )
    return head + "\n".join(body) + "\n</body>\n</html>\n"


def escape(text: str) -> str:
    """A text as HTML: shortened, without invisible characters and without those that change the direction of text."""
    return escape_html(one_line(text, LONGEST_TEXT))


def _table(rows: Sequence[Row]) -> str:
    headings = "".join(f"<th>{escape(heading)}</th>" for heading in ("", "videos", *rows[0].columns))
    lines = []
    for row in rows:
        cells = [
            "<td>-</td>" if e is None else f"<td>{e.mean:.3f}<br><small>{e.low:.3f} to {e.high:.3f}</small></td>"
            for e in row.columns.values()
        ]
        lines.append(f"<tr><th>{escape(row.name)}</th><td>{row.videos}</td>{''.join(cells)}</tr>")
    return f'<div class="scroll"><table><tr>{headings}</tr>{"".join(lines)}</table></div>'


def _video(result: VideoResult) -> str:
    score, asked = result.score, result.asked
    counts = f"{len(score.found)} of {len(score.asked)} cuts"
    facts = f"{result.num_frames} frames at {result.fps:g} fps, {result.size[1]}x{result.size[0]}"
    parts = [
        f"<summary><h2>{escape(asked.video.name)}</h2> SCA {score.sca:.3f}, {counts} "
        f'<span class="faint">{escape(asked.row)}; {facts}</span></summary>',
        _timeline(result),
        _components(result),
        _shots(result),
    ]
    if result.sheet:
        picture = b64encode(result.sheet).decode()
        parts.append(f'<img alt="Contact sheet" src="data:image/jpeg;base64,{picture}">')
    return f"<details{'' if score.sca == 1 else ' open'}>{''.join(parts)}</details>"


def _components(result: VideoResult) -> str:
    headings = ("detector", "SCA", "E_matched", "E_penalty", "asked", "found", "missed", "extra")
    lines = []
    for name, s in result.cuts.items():
        cells = [escape(name), f"{s.sca:.4f}", f"{s.matched_error} frames", f"{s.penalty_error:.1f} frames"]
        cells += [", ".join(map(str, cuts)) or "none" for cuts in (s.asked, s.found, s.missed, s.extra)]
        lines.append("".join(f"<td>{cell}</td>" for cell in cells))
    head = "".join(f"<th>{heading}</th>" for heading in headings)
    return f'<div class="scroll"><table><tr>{head}</tr>{"".join(f"<tr>{line}</tr>" for line in lines)}</table></div>'


def _shots(result: VideoResult) -> str:
    """The captions, each with the facts that the video shows differently."""
    items = []
    notes = [note.facts for note in result.shots] + [()] * len(result.asked.captions)
    for caption, facts in zip(result.asked.captions, notes, strict=False):
        wrong = [f"{fact}: {asked} asked, {seen} seen" for fact, asked, seen in facts if asked != seen]
        said = f' <span class="wrong">{escape("; ".join(wrong))}</span>' if wrong else ""
        items.append(f"<li>{escape(caption)}{said}</li>")
    title = escape(result.asked.global_caption)
    return f"<p>{title}</p><ol>{''.join(items)}</ol>"


def _timeline(result: VideoResult) -> str:
    """The asked cuts, and below them the cuts that each detector found, with frame numbers."""
    lanes = [_lane("asked", 0, result.num_frames, result.score.asked, ())]
    for number, (name, score) in enumerate(result.cuts.items(), 1):
        lanes.append(_lane(name, number, result.num_frames, score.found, score.extra))
        lanes += [_missed(cut, number, score) for cut in score.missed]
    height = LANE * (len(result.cuts) + 1)
    label = f"Cuts asked for at {list(result.score.asked)}, found at {list(result.score.found)}"
    return f'<svg viewBox="0 0 {LABEL + WIDTH} {height}" role="img" aria-label="{label}">{"".join(lanes)}</svg>'


def _lane(name: str, number: int, num_frames: int, cuts: Sequence[int], wrong: Sequence[int]) -> str:
    """One line of shots as blocks in two shades; a shot that begins at an extra cut is red."""
    top = number * LANE
    edges = [0, *(cut for cut in cuts if cut < num_frames), num_frames]
    parts = [f'<text x="0" y="{top + 17}" font-size="13">{escape(name)}</text>']
    for shot, (start, end) in enumerate(zip(edges, edges[1:], strict=False)):
        left, right = _at(start, num_frames), _at(end, num_frames)
        fill = "#b3261e" if start in wrong else "#4a6fa5" if shot % 2 else "#86a3cc"
        parts.append(f'<rect x="{left:.1f}" y="{top + 3}" width="{right - left:.1f}" height="20" fill="{fill}"/>')
        parts.append(f'<text x="{left + 4:.1f}" y="{top + 17}" font-size="12" fill="#fff">{start}</text>')
    return "".join(parts)


def _missed(cut: int, number: int, score: CutScore) -> str:
    """A mark where a cut is missing."""
    x, top = _at(min(cut, score.num_frames), score.num_frames), number * LANE
    line = f'x1="{x:.1f}" x2="{x:.1f}" y1="{top + 1}" y2="{top + 25}"'
    return f'<line {line} stroke="#b3261e" stroke-width="3" stroke-dasharray="3 2"/>'


def _at(frame: int, num_frames: int) -> float:
    return LABEL + WIDTH * frame / num_frames
