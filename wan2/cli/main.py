"""The base's command line: reads arguments and the environment, and turns the end of a run into an exit code.

Knows nothing of how a run is made or shown.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, TextIO, cast

from wan2.cli.arguments import Parser, build_parser
from wan2.cli.asked import given_values, plan_job, plan_line, plan_lines, scenes_of
from wan2.cli.console import Console
from wan2.cli.interrupts import Stopped, handled
from wan2.cli.lists import Make, held_list, make_each, plan_each
from wan2.cli.streams import steady
from wan2.errors import Answered, Ended, InputError
from wan2.plan.budget import Work, chosen, within_budget, work_of
from wan2.plan.checks import check_run, inputs_of
from wan2.plan.outputs import Inputs
from wan2.plan.resume import check_resume, what_remains
from wan2.plan.taken import check_names, check_outputs
from wan2.request.fields import flag_of
from wan2.request.presets import WAN22_T2V
from wan2.request.request import Options
from wan2.run.claim import claimed

PROGRAM = "wan2_generate_video"
EXIT_INTERRUPTED = 130
CACHE = "WAN2_CACHE"
"""The variable that names the folder for what is kept for later runs."""
COMPILED = "compiled"
INDUCTOR_CACHE = "TORCHINDUCTOR_CACHE_DIR"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line on `argv` (that of the process when None); the exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    return guarded(PROGRAM, lambda console: _run(words, console))


def guarded(program: str, run: Callable[[Console], None]) -> int:
    """Run, and turn the ways of ending into exit codes; what went wrong is said in one line on stderr."""
    script = [sys.executable, sys.argv[0]] if sys.argv[0].endswith(".py") else [program]
    with steady() as out, Console(program, script, out) as console, handled(), Ended(console.failed) as ended:
        try:
            run(console)
        except KeyboardInterrupt as stop:
            by = f" by {stop}" if isinstance(stop, Stopped) else ""
            code = stop.code if isinstance(stop, Stopped) else EXIT_INTERRUPTED
            return console.complain(f"interrupted{by}", code)
    return ended.code


def parsed(parser: Parser, words: Sequence[str], console: Console) -> argparse.Namespace:
    """The arguments on a command line; what `--help` prints is on stdout.

    Raises:
        InputError: an unknown flag, a value that is none, or one that is not text.
        Answered: `--help` was given.
    """
    with redirect_stdout(cast("TextIO", console.out)):
        try:
            return parser.parse_args(words)
        except SystemExit as end:
            raise Answered(end.code) from None


def check_paths(given: Mapping[str, Any]) -> None:
    """Refuse files that a run could use, but whose names it could not write into its record.

    Raises:
        InputError: a path that is not UTF-8 text.
    """
    for name, value in given.items():
        for path in value if isinstance(value, list) else [value]:
            if isinstance(path, Path) and any("\ud800" <= char <= "\udfff" for char in str(path.absolute())):
                raise InputError(f"{flag_of(name)} {path}: its whole path is not UTF-8 text")


def _run(words: Sequence[str], console: Console) -> None:
    given = given_values(parsed(build_parser(PROGRAM), words, console))
    check_paths(given)
    if scenes_of(given) == ["--from_file"]:
        lines = plan_lines(given, WAN22_T2V)
        inputs = {"--from_file": [given["from_file"]]}
        planned = plan_each(lines, lambda line, values: _checked(plan_line(line, values, WAN22_T2V), inputs, console))
        console.repeats(words)
        with held_list(lines):
            make_each(*planned, console)
        return
    options = plan_job(given, WAN22_T2V)
    make_one(options.save_path, _checked(options, {}, console), console)


def make_one(path: Path, make: Make | None, console: Console) -> None:
    """Make a single video, at `path`, unless it is there already."""
    if make is None:
        console.note(f"{path}: is there already")
        return
    console.done(make())


def _checked(options: Options, inputs: Inputs, console: Console) -> Make | None:
    """How a video is made, once nothing is left to refuse; None when it is there already.

    inputs: what the command reads besides the files of the run.
    """
    check_names(options)
    if (left := what_remains(options, {})) is None:
        return None
    inputs = {**inputs, **inputs_of(left)}
    check_outputs(left, inputs, replace=left.overwrite)
    check_cache(left)
    check_run(left)
    check_resume(left, {})
    return partial(_make, fitted(left, work_of(left), console), inputs, console)


def _make(options: Options, inputs: Inputs, console: Console) -> Iterable[Path]:
    with claimed(options, inputs) as claim:
        load_pytorch(options, console)
        from wan2.run.generate import generate

        console.about(options, work_of(options))
        return generate(options, claim, progress=console).written


def load_pytorch(options: Options, console: Console) -> None:
    """The first thing that takes seconds; names are held by then."""
    keep_compiled(options)
    if "torch" not in sys.modules:
        console.stage("Loading PyTorch")


def fitted(options: Options, work: Work, console: Console) -> Options:
    """The options within `--vram_budget`; what was chosen for that is told."""
    made = within_budget(options, work)
    if told := chosen(options, made):
        console.chose(f"to fit --vram_budget {options.vram_budget:g}: {told}")
    return made


def check_cache(options: Options) -> None:
    """Refuse to compile where nothing that is compiled could be kept.

    Raises:
        InputError: with the folder.
    """
    if not options.compile:
        return
    folder = _compiled_folder()
    above = next(path for path in (folder, *folder.parents) if path.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise InputError(f"--compile: the cache folder {folder} cannot be written to; {CACHE} names another")


def keep_compiled(options: Options) -> None:
    """What `--compile` makes stays in a folder, for the next run."""
    if options.compile:
        os.environ[INDUCTOR_CACHE] = str(_compiled_folder())


def _compiled_folder() -> Path:
    """PyTorch's own variable names it, or ours the folder above; else it is in the cache folder of the user."""
    if kept := os.environ.get(INDUCTOR_CACHE):
        return Path(kept).absolute()
    if cache := os.environ.get(CACHE):
        return Path(cache).absolute() / COMPILED
    from platformdirs import user_cache_path

    return user_cache_path("wan2", appauthor=False).absolute() / COMPILED
