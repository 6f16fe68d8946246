"""The command that trains LoRAs on clips with storyboards: reads arguments, shows how it goes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from holocine_ext.evaluate.detect import DETECTORS, check_detector
from holocine_ext.presets import DEFAULT_MODEL, DEFAULT_VARIANT, MODELS, VARIANTS
from holocine_ext.rate import RATE_FLAGS, rate_given
from holocine_ext.teach.flags import add_settings, record_of
from holocine_ext.teach.settings import STATE, Job, Teaching, Watching
from wan2.cli.arguments import Parser, path, whole_number_or_auto
from wan2.cli.console import Console
from wan2.cli.main import check_paths, parsed, prepare, run_command
from wan2.errors import InputError, RunError
from wan2.files import Busy, held
from wan2.plan.files import Files
from wan2.request.compute import Compute
from wan2.request.flat import make_request
from wan2.request.model import Model
from wan2.training.lora_file import is_ours
from wan2.training.packages import check_optimiser
from wan2.training.processes import numbers_of

if TYPE_CHECKING:
    from holocine_ext.teach.plan import Found
    from wan2.training.team import Team

PROGRAM = "holocine_train_lora"
OF_MODEL = ("vae", "t5", "tokenizer")
OF_COMPUTE = ("device", "dtype", "fp8_scaled", "weights_from", "vram_budget")
PROMPT = "not used: training has the prompts of its clips"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line on `argv` (that of the process when None); the exit code."""
    return run_command(PROGRAM, _run, argv)


def build_parser() -> Parser:
    """The arguments."""
    parser = Parser(
        prog=PROGRAM,
        allow_abbrev=False,
        description="Train two LoRAs, one for each expert, on clips of several shots with storyboards.",
    )
    what = "folder of clips, film.mp4 with film.toml, as holocine_prepare makes them"
    parser.add_argument("--data", type=path, metavar="FOLDER", required=True, help=what)
    add_settings(parser.add_argument_group("what is written and looked at"), Watching)
    add_settings(parser.add_argument_group("how it is learnt"), Teaching)
    group = parser.add_argument_group("model and machine")
    what = f"which model is trained on (default: {DEFAULT_MODEL}; nano is the built-in miniature)"
    group.add_argument("--model", choices=tuple(MODELS), default=DEFAULT_MODEL, help=what)
    what = f"attention between shots (default: {DEFAULT_VARIANT})"
    group.add_argument("--variant", choices=VARIANTS, default=DEFAULT_VARIANT, help=what)
    for noise in ("high", "low"):
        group.add_argument(f"--dit_{noise}_noise", type=path, metavar="PATH", help=f"transformer of {noise} noise")
    add_settings(group, Model, OF_MODEL)
    add_settings(group, Compute, OF_COMPUTE)
    what = "transformer blocks that are streamed, 0 or 2 to 40; auto is as few as fit (default: auto)"
    group.add_argument("--blocks_to_swap", type=whole_number_or_auto, metavar="N", help=what)
    parser.add_argument("--dry_run", action="store_true", help="show memory, operations and time, train nothing")
    for name, (what, how) in RATE_FLAGS.items():
        parser.add_argument(f"--{name}", help=what, **how)
    parser.add_argument("--resume", action="store_true", help="go on from the states next to --save_path")
    parser.add_argument("--overwrite", action="store_true", help="begin anew, and replace what stands there")
    return parser


def _run(words: Sequence[str], console: Console) -> None:
    given = vars(parsed(build_parser(), words, console))
    check_paths(given)
    numbers = numbers_of(os.environ)
    job, rate = job_of(given), rate_given(given)
    if given["dry_run"]:
        from holocine_ext.teach.forecast import forecast

        console.show(forecast(job, Files(), rate))
        return
    from holocine_ext.teach.forecast import fitted
    from holocine_ext.teach.plan import find

    files = Files()
    if not numbers["rank"]:
        check_outputs(job.watching, job.resume, given["overwrite"])
    found = find(job, files)
    fitted(job, found, None)
    prepare(job.request)
    from wan2.training.team import joined, own_device

    device = own_device(job.request.compute.device, numbers)
    job = replace(job, request=job.request.computing(device=device))
    watching = job.watching
    try:
        with ExitStack() as stack:
            if not numbers["rank"]:
                stack.enter_context(held(watching.save_path))
                if given["overwrite"]:
                    forget(watching)
            team = stack.enter_context(joined(numbers, device))
            _train(job, found, files, team, console)
    except Busy as error:
        raise RunError(f"`save_path` {watching.save_path}: another process is training it now") from error


def job_of(given: dict[str, Any]) -> Job:
    """The training that the flags ask for, checked as far as no file is opened.

    Raises:
        InputError: a value breaks its rule.
    """
    teaching, watching = record_of(Teaching, given), record_of(Watching, given)
    check_optimiser(teaching.optimiser)
    if watching.films:
        check_detector(DETECTORS[0])
    preset = MODELS[given["model"]][given["variant"]]
    names = (*OF_MODEL, *OF_COMPUTE, "blocks_to_swap", "dit_high_noise", "dit_low_noise")
    values = {name: given[name] for name in names if given[name] is not None}
    request = make_request(preset, {**values, "prompt": PROMPT, "seed": 0})
    return Job(preset, request, given["data"], teaching, watching, given["resume"])


def check_outputs(watching: Watching, resume: bool, overwrite: bool) -> None:
    """Refuse to replace what stands there, unless that is asked for and this program made it.

    Raises:
        InputError: with what is in the way.
    """
    folder = watching.save_path.absolute().parent
    above = next(path for path in (folder, *folder.parents) if path.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise InputError(f"{above} cannot be written to", field="save_path", value=watching.save_path)
    if resume and overwrite:
        raise InputError("goes on, so it cannot go with `overwrite`", field="resume")
    for noise in watching.noises:
        state, lora = watching.file(noise, STATE), watching.file(noise)
        if state.exists() and not resume and not overwrite:
            raise InputError(f"{state} is unfinished; go on with `resume`, or begin anew with `overwrite`")
        if lora.exists() and not resume and not overwrite:
            raise InputError(f"{lora} is there already; keep it by another `save_path`, or replace it by `overwrite`")
        if lora.exists() and not is_ours(lora):
            raise InputError(f"{lora} is there, and not this program's; remove it or give another `save_path`")


def forget(watching: Watching) -> None:
    """Remove what an unfinished training left."""
    for noise in watching.noises:
        watching.file(noise, STATE).unlink(missing_ok=True)


def _train(job: Job, found: Found, files: Files, team: Team, console: Console) -> None:
    from holocine_ext.teach.looks import Films
    from holocine_ext.teach.train import Watcher, train

    quiet = not team.leads
    films = Films(job, console.note).make if job.watching.films else None
    watcher = Watcher(_no_stage if quiet else console.stage, console.advance, console.chose, console.stepwise, films)
    written = train(job, found, files, team, watcher)
    if team.leads:
        console.done(written)


def _no_stage(_: str, __: int) -> None:
    """Only one process shows how it goes."""
