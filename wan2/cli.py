"""The base's command line: reads arguments, prints, and turns errors into one line and an exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wan2.arguments import build_parser
from wan2.errors import InputError, RunError
from wan2.latents import saved_settings
from wan2.options import Options, make_options
from wan2.preflight import check_run
from wan2.presets import WAN22_T2V, Preset
from wan2.prompt_file import parse_line, read_lines

if TYPE_CHECKING:
    from tqdm import tqdm

    from wan2.outputs import Outputs

PROGRAM = "wan2_generate_video"
EXIT_DONE, EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 0, 1, 2, 130

# The flags that still mean something when saved latents are only decoded.
DECODE_FLAGS = frozenset({"latent_path", "vae", "fps", "device", "dtype", "output_type", "save_path", "no_metadata"})


class Console:
    """Shows the stages of a run on stderr, a bar with the time left for those of several steps."""

    def __init__(self) -> None:
        self._bar: tqdm | None = None

    def stage(self, name: str, total: int = 1) -> None:
        """A stage of `total` steps begins."""
        from tqdm import tqdm

        self.close()
        quiet = not sys.stderr.isatty()
        if total > 1:
            self._bar = tqdm(total=total, desc=name, file=sys.stderr, mininterval=10.0 if quiet else 0.1)
        else:
            print(name, file=sys.stderr)

    def advance(self, count: int = 1) -> None:
        """`count` more steps of the stage are done."""
        if self._bar is not None:
            self._bar.update(count)

    def close(self) -> None:
        """No more steps will come."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line on `argv` (that of the process when None); the exit code."""
    return guarded(PROGRAM, lambda: _run(build_parser(PROGRAM).parse_args(argv)))


def guarded(program: str, run: Callable[[], None]) -> int:
    """Run, and turn the ways of ending into exit codes; what went wrong is said in one line on stderr."""
    try:
        run()
    except InputError as error:
        return _complain(program, str(error), EXIT_BAD_INPUT)
    except (RunError, OSError, MemoryError) as error:
        return _complain(program, str(error) or type(error).__name__, EXIT_FAILED)
    except KeyboardInterrupt:
        return _complain(program, "interrupted; no unfinished file was left", EXIT_INTERRUPTED)
    return EXIT_DONE


def _complain(program: str, message: str, code: int) -> int:
    print(f"{program}: {' '.join(message.split())}", file=sys.stderr)
    return code


def _run(args: argparse.Namespace) -> None:
    jobs = plan_jobs(args, WAN22_T2V)
    for options in jobs:
        check_run(options)
    from wan2.pipeline import generate

    for options in jobs:
        console = Console()
        try:
            report(generate(options, progress=console))
        finally:
            console.close()


def plan_jobs(args: argparse.Namespace, preset: Preset) -> list[Options]:
    """One checked set of options for every video the arguments ask for."""
    given = given_values(args)
    scenes = [f"--{name}" for name in ("prompt", "from_file", "latent_path") if given.get(name) is not None]
    if len(scenes) != 1:
        found = " and ".join(scenes) or "nothing to make"
        raise InputError(f"{found}: give exactly one of --prompt, --from_file and --latent_path")
    path = given.pop("from_file")
    if path is None:
        return [make_options(preset, decode_values(given))]
    lines = [parse_line(where, line) for where, line in read_lines(path)]
    jobs = [{**given, **line} for line in lines]
    return [make_options(preset, values) for values in number_outputs(jobs)]


def given_values(args: argparse.Namespace) -> dict[str, Any]:
    """The arguments under the names of `Options`; None where a flag was not given."""
    given = dict(vars(args))
    given["height"], given["width"] = given.pop("video_size") or (None, None)
    given["num_frames"] = given.pop("video_length")
    return given


def decode_values(given: dict[str, Any], also: frozenset[str] = frozenset()) -> dict[str, Any]:
    """With --latent_path: the values completed by what the saved latents say of themselves; else as they are.

    Raises:
        InputError: a flag (outside `also`) that decoding alone would ignore, or a file that holds no saved latents.
    """
    if given["latent_path"] is None:
        return given
    if ignored := [name for name, v in given.items() if v is not None and name not in DECODE_FLAGS | also]:
        raise InputError(f"--latent_path: only decodes, it cannot be combined with --{ignored[0]}")
    saved = saved_settings(given["latent_path"])
    return given | {name: value for name, value in saved.items() if given[name] is None}


def number_outputs(jobs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Several videos cannot share one file name: `out.mp4` becomes `out-001.mp4`, `out-002.mp4` and so on."""
    return [
        {**job, "save_path": path.with_name(f"{path.stem}-{n:03d}{path.suffix}")} if path and path.suffix else job
        for n, job in enumerate(jobs, 1)
        for path in [job["save_path"]]
    ]


def report(outputs: Outputs) -> None:
    """Say where everything lies, the main thing first."""
    for path in outputs.paths:
        print(path)
