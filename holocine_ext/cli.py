"""The extension's command line: the base's, with a storyboard in front. Reads arguments and prints."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from typing import Any

from holocine_ext.job import Job, line_job, plan_job, plan_scenes, storyboards
from holocine_ext.plan import KeyRanges, Plan, render_plan
from holocine_ext.preflight import check_job, check_job_outputs, dry_plan, work_of_job
from holocine_ext.presets import DEFAULT_MODEL, DEFAULT_VARIANT, MODELS, VARIANTS
from holocine_ext.shots.layout import SHOT_MASK_TYPES
from wan2.cli.arguments import Parser, add_common_arguments, number, path, whole_number
from wan2.cli.asked import given_values
from wan2.cli.console import Console
from wan2.cli.lists import Lines, Make, held_list, make_each, plan_each
from wan2.cli.main import check_cache, check_paths, fitted, guarded, load_pytorch, make_one, parsed
from wan2.errors import InputError
from wan2.plan.outputs import Inputs
from wan2.plan.resume import what_remains
from wan2.plan.taken import check_names
from wan2.run.claim import claimed

PROGRAM = "holocine_generate_video"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line on `argv` (that of the process when None); the exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    return guarded(PROGRAM, lambda console: _run(words, console))


def _run(words: Sequence[str], console: Console) -> None:
    given = given_values(parsed(build_parser(), words, console))
    check_paths(given)
    tflops = given["tflops"]
    check_rate(tflops, given["dry_run"])
    listed = given["from_file"] is not None and given["latent_path"] is None
    lines = plan_scenes(given) if listed else []
    inputs = inputs_given(given, lines)
    if given["dry_run"]:
        _show(lines, given, inputs, tflops, console)
    elif listed:
        planned = plan_each(lines, lambda line, values: _checked(line_job(line, values), inputs, console))
        console.repeats(words)
        with held_list(lines):
            make_each(*planned, console)
    else:
        job = plan_job(given)
        make_one(job.options.output.save_path, _checked(job, inputs, console), console)


def inputs_given(given: Mapping[str, Any], lines: Lines) -> Inputs:
    """The files that the command itself reads: the storyboard, or the list and all of its storyboards."""
    inputs = {f"--{name}": [given[name]] for name in ("storyboard", "from_file") if given[name] is not None}
    return inputs | ({"the storyboard": storyboards(lines)} if lines else {})


def _show(lines: Lines, given: Mapping[str, Any], inputs: Inputs, tflops: float | None, console: Console) -> None:
    """Print the plan of the video, or of every line of a list."""

    def plan(job: Job) -> Plan:
        check_names(job.options, job.shown)
        check_job_outputs(job, inputs, replace=True)
        return dry_plan(job, tflops)

    if not lines:
        console.show(render_plan(plan(plan_job(given))))
        return
    planned, broken = plan_each(lines, lambda line, values: plan(line_job(line, values)))
    console.show("\n\n".join(render_plan(plan) for _, plan in planned))
    for _, said in broken:
        console.note(said)
    if broken:
        raise InputError(f"{len(broken)} of {len(lines)} lines cannot be made")


def _checked(job: Job, inputs: Inputs, console: Console) -> Make | None:
    """How a video is made, once nothing is left to refuse; None when it is there already.

    inputs: what the command reads besides the files of the run.
    """
    check_names(job.options, job.shown)
    if (left := what_remains(job.options, job.deciding)) is None:
        return None
    job = replace(job, request=left)
    inputs = check_job_outputs(job, inputs, replace=left.output.overwrite)
    check_cache(left)
    windows = check_job(job)
    job = replace(job, request=fitted(left, work_of_job(job), console))
    for warning in job.warnings:
        console.note(warning)
    return partial(_make, job, inputs, windows, console)


def _make(job: Job, inputs: Inputs, windows: KeyRanges | None, console: Console) -> Iterable[Path]:
    with claimed(job.options, inputs, job.shown) as claim:
        load_pytorch(job.options, console)
        from holocine_ext.run import run_job

        console.about(job.options, work_of_job(job))
        return run_job(job, claim, windows, console)


def check_rate(tflops: float | None, dry_run: bool | None) -> None:
    """Refuse a rate that is none, or that nobody asks for."""
    if tflops is not None and not dry_run:
        raise InputError("only `dry_run` tells seconds; give both", field="tflops", value=f"{tflops:g}")
    if tflops is not None and not 0 < tflops < inf:
        raise InputError("must be a finite number above 0", field="tflops", value=f"{tflops:g}")


def build_parser() -> Parser:
    """The extension's arguments: its own, then the base's."""
    parser = Parser(
        prog=PROGRAM,
        allow_abbrev=False,
        description="Make one video of several shots, cut where you ask, in a single pass of HoloCine.",
    )
    scene = parser.add_argument_group(
        "the scene (exactly one of --storyboard, --global_caption with --shot_captions, --prompt, --from_file, "
        "--latent_path)"
    )
    scene.add_argument("--storyboard", type=path, metavar="FILE", help="a scene as .toml, .json or .yaml")
    scene.add_argument("--global_caption", metavar="TEXT", help="what all shots share: place, people, style")
    scene.add_argument(
        "--shot_captions", nargs="+", action="extend", metavar="TEXT", help="what each shot shows, in order; repeatable"
    )
    scene.add_argument(
        "--shot_cut_frames",
        nargs="+",
        type=whole_number,
        metavar="N",
        help="first frame of every shot after the first, snapped to the nearest 4t+1 (default: even shots)",
    )
    scene.add_argument("--prompt", metavar="TEXT", help="a raw prompt with its own tags, or a plain one for one shot")
    what = "one storyboard a line, in the folder of the file, each with settings if wanted: scene.toml --d 42 --s 30"
    scene.add_argument("--from_file", type=path, metavar="FILE", help=what)

    model = parser.add_argument_group("model")
    what = (
        f"which model's files and settings are the defaults (default: {DEFAULT_MODEL}; nano is the built-in miniature)"
    )
    model.add_argument("--model", choices=tuple(MODELS), help=what)
    what = f"attention between shots: full, or sparse, which is faster (default: {DEFAULT_VARIANT})"
    model.add_argument("--variant", choices=VARIANTS, help=what)
    what = "what the 17th input channel tells, for checkpoints that have one (default: none)"
    model.add_argument("--shot_mask_type", choices=SHOT_MASK_TYPES, help=what)

    add_common_arguments(parser, scene, [family[DEFAULT_VARIANT] for family in MODELS.values()])

    show = parser.add_argument_group("looking")
    show.add_argument("--dry_run", action="store_const", const=True, help="print the plan and its cost, make nothing")
    what = "what the machine does in a second, in 10^12 operations; --dry_run then tells seconds, too"
    show.add_argument("--tflops", type=number, metavar="N", help=what)
    show.add_argument("--export_shots", action="store_const", const=True, help="also write every shot as its own video")
    what = "a picture with a row for every shot, beside the video (default: written)"
    show.add_argument("--contact_sheet", action="store_const", const=True, help=what)
    show.add_argument(
        "--no_contact_sheet", dest="contact_sheet", action="store_const", const=False, help="no such picture"
    )
    return parser
