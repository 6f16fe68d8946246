"""The base's command line: reads arguments, prints, and turns errors into one line and an exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from wan2.arguments import build_parser
from wan2.errors import InputError, RunError
from wan2.jobs import plan_jobs
from wan2.preflight import check_run
from wan2.presets import WAN22_T2V

if TYPE_CHECKING:
    from tqdm import tqdm

PROGRAM = "wan2_generate_video"
EXIT_DONE, EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 0, 1, 2, 130


class Console:
    """Shows the stages of a run on stderr, a bar with the time left for those of several steps."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def stage(self, name: str, total: int = 1) -> None:
        """A stage of `total` steps begins."""
        self._close()
        if total > 1:
            from tqdm import tqdm

            quiet = not sys.stderr.isatty()
            self._bar = tqdm(total=total, desc=name, file=sys.stderr, mininterval=10.0 if quiet else 0.1)
        else:
            print(name, file=sys.stderr)

    def advance(self) -> None:
        """One more step of the stage is done."""
        if self._bar is not None:
            self._bar.update()

    def done(self, written: Iterable[Path]) -> None:
        """A video is finished: on stdout, where everything lies, the main thing first."""
        self._close()
        for path in written:
            print(path)

    def _close(self) -> None:
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
        sys.stdout.flush()
    except InputError as error:
        return _complain(program, str(error), EXIT_BAD_INPUT)
    except BrokenPipeError:  # whoever read the output has read enough
        sys.stdout = None  # type: ignore[assignment]  # nothing is left to flush at exit
        return EXIT_DONE
    except (RunError, OSError, MemoryError) as error:
        return _complain(program, str(error) or type(error).__name__, EXIT_FAILED)
    except RuntimeError as error:
        if type(error).__name__ != "OutOfMemoryError":  # PyTorch's, which is not imported here
            raise
        return _complain(program, f"{error}; try a smaller --video_size or --video_length", EXIT_FAILED)
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
    with Console() as console:
        console.stage("Loading PyTorch")
        from wan2.pipeline import generate

        for options in jobs:
            console.done(generate(options, progress=console).written)
