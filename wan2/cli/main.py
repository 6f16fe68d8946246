"""The base's command line: reads arguments and the environment, and turns the end of a run into an exit code.

Knows nothing of how a run is made or shown.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, TextIO, cast

from wan2.cli.arguments import WAVE, Parser, build_parser
from wan2.cli.asked import (
    BEGINNINGS,
    asked_alone,
    asked_by_line,
    asked_by_lines,
    check_begun,
    given_values,
    scenes_of,
)
from wan2.cli.console import Console
from wan2.cli.download import base_files, download
from wan2.cli.inspect import show_files
from wan2.cli.interrupts import Stopped, handled
from wan2.cli.lists import Item, held_names, items_of, make_each, plan_each
from wan2.cli.make import Sessions, make_one
from wan2.cli.models_dir import with_models
from wan2.cli.seeds import asked_by_seeds, make_seeds
from wan2.cli.streams import steady
from wan2.errors import Answered, Ended, InputError
from wan2.parallel.launched import Launched, launched
from wan2.plan.begun import begun_before
from wan2.plan.files import Files
from wan2.plan.outputs import Inputs
from wan2.plan.plan import Extension, make_plan
from wan2.plan.saved import read_state
from wan2.request.compute import Compute
from wan2.request.presets import CHECKPOINTS, WAN22_T2V
from wan2.request.request import Request
from wan2.run.job import Job
from wan2.run.session import Session

PROGRAM = "wan2_generate_video"
EXIT_INTERRUPTED = 130
CACHE = "WAN2_CACHE"
"""The variable that names the folder for what is kept for later runs."""
COMPILED = "compiled"
MOST = 10_000
ALLOCATOR_SETTINGS = ("PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF")
"""The variables in which PyTorch looks for settings of its allocator of GPU memory: any version, and from 2.9 on."""
EXCHANGES, LOOPBACK = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"), "lo"
"""The variables that name the network by which processes exchange, and the one that does not leave the machine."""
INDUCTOR_CACHE = "TORCHINDUCTOR_CACHE_DIR"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line on `argv` (that of the process when None); the exit code."""
    return run_command(PROGRAM, _run, argv)


def run_command(program: str, run: Callable[[Sequence[str], Console], None], argv: Sequence[str] | None) -> int:
    """Run a command on `argv` (that of the process when None), guarded; the exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    return guarded(program, lambda console: run(words, console))


def guarded(program: str, run: Callable[[Console], None]) -> int:
    """Run, and turn the ways of ending into exit codes; what went wrong is said in one line on stderr."""
    script = [sys.executable, sys.argv[0]] if sys.argv[0].endswith(".py") else [program]
    with steady() as out, Console(program, script, out) as console, handled(), Ended(console.failed) as ended:
        try:
            if not helps():
                run(console)
        except KeyboardInterrupt as stop:
            by = f" by {stop}" if isinstance(stop, Stopped) else ""
            code = stop.code if isinstance(stop, Stopped) else EXIT_INTERRUPTED
            return console.complain(f"interrupted{by}", code)
    return ended.code


def processes() -> Launched | None:
    """The processes of a run that `torchrun` started, if it did."""
    return launched(os.environ)


def helps() -> bool:
    """Compute with the first process that `torchrun` started, where this is another one; whether it was."""
    process = processes()
    if process is None or process.rank == 0:
        return False
    from wan2.run.worker import serve

    serve(process)
    return True


def check_cards(given: dict[str, Any]) -> None:
    """Use as many cards as `torchrun` started processes.

    Raises:
        InputError: another number was asked for.
    """
    process = processes()
    if process is None:
        return
    if given["gpus"] not in (None, process.size):
        raise InputError(f"torchrun started {process.size} processes", field="gpus", value=given["gpus"])
    given["gpus"] = process.size


def parsed(parser: Parser, words: Sequence[str], console: Console) -> argparse.Namespace:
    """The arguments on a command line, whose flags the console knows from then on; what `--help` prints is on stdout.

    Raises:
        InputError: an unknown flag, a value that is none, or one that is not text.
        Answered: `--help` was given.
    """
    console.flags = parser.names()
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
                raise InputError("its whole path is not UTF-8 text", field=name, value=path)


def check_several(given: Mapping[str, Any]) -> None:
    """Refuse flags for several videos where there is one, and numbers that count nothing.

    Raises:
        InputError: with the flag and the rule.
    """
    listed, seeds = given["from_file"] is not None, given["seeds"] is not None or given["num_seeds"] is not None
    if given["wave"] is not None and not (listed or seeds):
        raise InputError("is for several videos, of `from_file`, `seeds` or `num_seeds`", field="wave")
    if given["shard"] is not None and not listed:
        raise InputError("is for the lines of `from_file`", field="shard")
    if given["cluster"] is not None and (not listed or given["shard"] is not None):
        raise InputError("makes all lines of `from_file`, without `shard`", field="cluster", value=given["cluster"])
    for name in ("wave", "num_seeds"):
        if given[name] is not None and not 1 <= given[name] <= MOST:
            raise InputError(f"must lie between 1 and {MOST}", field=name, value=given[name])


def make_several(
    items: Sequence[Item],
    plan: Callable[[Item], Job],
    given: Mapping[str, Any],
    words: Sequence[str],
    console: Console,
    command: Callable[[Sequence[str]], int],
) -> None:
    """Plan every video, then make them a wave at a time, or on a cluster.

    words: the command line, which also goes on with them. command: what it is given to.
    """
    if given["cluster"] is not None:
        from wan2.cli.cluster import make_on_cluster

        with held_names(items, None):
            make_on_cluster(given["cluster"], items, command, words, console)
        return
    planned, broken = plan_each(items, plan, console)
    console.repeats(words)
    prepare(planned[0][1].plan.request)
    with held_names(items, given["shard"]), Sessions(_session, renewable=processes() is None) as sessions:
        make = partial(sessions.make, total=len(items), console=console)
        make_each(planned, broken, console, plan, make, given["wave"] or WAVE)


def _session(request: Request) -> Session:
    return Session(request.model, request.compute, cache_folder(), request.cards, processes())


def _run(words: Sequence[str], console: Console) -> None:
    parser = build_parser(PROGRAM, WAN22_T2V)
    given = given_values(parsed(parser, words, console))
    console.quiet = bool(given["quiet"])
    check_paths(given)
    if given["inspect"]:
        show_files(given, console)
        return
    if given["download"]:
        download(given, base_files(), CHECKPOINTS, console)
        return
    check_several(given)
    check_cards(given)
    given, files = with_models(given, console), Files()
    check_begun(given)
    if scenes_of(given) == ["--from_file"]:
        items, inputs = items_of(asked_by_lines(given)), {"from_file": [given["from_file"]]}
        make_several(items, lambda item: _planned(_by_line(item), files, inputs, console), given, words, console, main)
    elif seeds := asked_by_seeds(given):
        plan = partial(_by_seed, files=files, console=console)
        make_seeds(seeds, lambda: make_several(seeds, plan, given, words, console, main), given, console)
    else:
        job = _planned_alone(given, files, console)
        prepare(job.plan.request)
        make_one(job, console, cache_folder(), processes())


def _by_line(item: Item) -> Request:
    if item.line is None:
        raise ValueError("the item is no line")
    return asked_by_line(item.line, item.values, WAN22_T2V)


def _by_seed(item: Item, files: Files, console: Console) -> Job:
    return _planned_alone(item.values, files, console)


def _planned_alone(given: Mapping[str, Any], files: Files, console: Console) -> Job:
    """The plan of one video, which may begin from another."""
    request, begun = asked_alone(given, WAN22_T2V)
    if begun is None:
        state = None if request.resume is None or not request.resume.exists() else read_state(request.resume)
        return _planned(request, files, {}, console, None if state is None else begun_before(state))
    if begun.fitted:
        console.chose(begun.fitted)
    read = {name: [given[name]] for name in BEGINNINGS if given[name] is not None}
    return _planned(request, files, read, console, begun.extension())


def _planned(
    request: Request, files: Files, inputs: Inputs, console: Console, extension: Extension | None = None
) -> Job:
    check_cache(request.compute)
    plan = make_plan(request, extension, files, inputs)
    console.planned(plan)
    return Job(plan)


def prepare(request: Request) -> None:
    """What must be settled before PyTorch is imported.

    What `--compile` makes is kept in a folder, for the next run. GPU memory is taken in segments that can grow,
    where the platform has them: fixed ones leave gaps that nothing fits into. Processes of several cards of one machine
    talk within it. A setting of the user's own stays.
    """
    if sys.platform == "linux" and not any(name in os.environ for name in ALLOCATOR_SETTINGS):
        os.environ[ALLOCATOR_SETTINGS[0]] = "expandable_segments:True"
    if sys.platform == "linux" and request.cards.gpus > 1 and processes() is None:
        for name in EXCHANGES:
            os.environ.setdefault(name, LOOPBACK)
    if request.compute.compile:
        os.environ[INDUCTOR_CACHE] = str(_compiled_folder())


def check_cache(compute: Compute) -> None:
    """Refuse to compile where nothing that is compiled could be kept.

    Raises:
        InputError: with the folder.
    """
    if not compute.compile:
        return
    folder = _compiled_folder()
    above = next(path for path in (folder, *folder.parents) if path.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise InputError(f"the cache folder {folder} cannot be written to; {CACHE} names another", field="compile")


def cache_folder() -> Path:
    """Where what later runs can use is kept: `WAN2_CACHE` names the folder, else it is the cache folder of the user."""
    if cache := os.environ.get(CACHE):
        return Path(cache).absolute()
    from platformdirs import user_cache_path

    return user_cache_path("wan2", appauthor=False).absolute()


def _compiled_folder() -> Path:
    """PyTorch's own variable names it; else it is in the cache folder."""
    if kept := os.environ.get(INDUCTOR_CACHE):
        return Path(kept).absolute()
    return cache_folder() / COMPILED
