"""The base's command line: reads arguments, prints, and turns errors into one line and an exit code."""

from __future__ import annotations

import errno
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from wan2.arguments import build_parser
from wan2.claim import claimed
from wan2.errors import InputError, RunError
from wan2.interrupts import Stopped, handled, waiting
from wan2.jobs import given_values, plan_job, plan_line, plan_lines, scenes_of
from wan2.lists import Make, held_list, make_each, plan_each
from wan2.memory import explain_out_of_memory, is_out_of_memory
from wan2.options import Options
from wan2.outputs import Inputs
from wan2.planner import Work, chosen, leanest, within_budget, work_of
from wan2.preflight import check_run, inputs_of
from wan2.presets import COMPILED, WAN22_T2V
from wan2.resume import check_resume, what_remains
from wan2.taken import check_outputs

if TYPE_CHECKING:
    from tqdm import tqdm

PROGRAM = "wan2_generate_video"
EXIT_DONE, EXIT_FAILED, EXIT_BAD_INPUT, EXIT_INTERRUPTED = 0, 1, 2, 130
# What a run may raise that is told in a line; a `RuntimeError` also where it is a bug, or the machine's.
EXPECTED = (InputError, RunError, OSError, MemoryError, RuntimeError)


class Console:
    """Shows the stages of a run on stderr, a bar with the time left for those of several steps."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.state: Path | None = None
        self.again: list[str] = []
        self.doing = ""
        self._about: tuple[Options, Work] | None = None
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if isinstance(error, Exception) and (how := self.how_to_resume()):
            # Before the traceback of an error that nobody expected: what is saved nevertheless.
            print(f"{self.program}: failed{how}", file=sys.stderr)

    def stage(self, name: str, total: int = 1) -> None:
        """A stage of `total` steps begins."""
        self.close()
        self.doing = name
        if total > 1:
            from tqdm import tqdm

            quiet = not sys.stderr.isatty()
            self._bar = tqdm(total=total, desc=name, file=sys.stderr, mininterval=10.0 if quiet else 0.1)
        else:
            print(name, file=sys.stderr)

    def advance(self, steps: int = 1) -> None:
        """So many more steps of the stage are done."""
        if self._bar is not None:
            self._bar.update(steps)

    def say(self, text: str) -> None:
        """Something was settled that is worth a line on stderr."""
        if self._bar is not None:
            self._bar.clear()
        print(text, file=sys.stderr)

    def note(self, text: str) -> None:
        """Something worth knowing that ends nothing, in one line on stderr."""
        line = f"{self.program}: warning: {' '.join(text.split())}"
        if self._bar is not None:
            self._bar.clear()
        print(line, file=sys.stderr)

    def chose(self, text: str) -> None:
        """What was settled for the user, in one line on stderr."""
        print(f"{self.program}: {text}", file=sys.stderr)

    def about(self, options: Options, work: Work) -> None:
        """The run that begins; `leanest` knows of it."""
        self._about = options, work

    def leanest(self) -> str:
        """The options with which the present stage would take the least memory, if any would."""
        return leanest(*self._about, self.doing) if self._about else ""

    def kept(self, state: Path) -> None:
        """The run could go on from this file."""
        self.state = state

    def stepwise(self) -> AbstractContextManager[Callable[[], bool]]:
        """A block in which Ctrl-C waits for the end of a step: whether one does."""
        # Not `print`: the signal may arrive in the middle of one.
        told = f"\n{self.program}: finishing this step; Ctrl-C again to stop at once\n".encode()
        return waiting(lambda: _write_quietly(told))

    def done(self, written: Iterable[Path]) -> None:
        """A video is finished: on stdout, where everything lies, the main thing first."""
        self.close()
        self.state = None
        try:
            for path in written:
                print(path, flush=True)
        except BrokenPipeError:  # whoever read the output has read enough
            sys.stdout = None  # type: ignore[assignment]  # nothing is left to flush at exit

    def attempt(self, make: Make, place: str, title: str) -> bool:
        """Make one video of several; whether that went well. What did not is told, and the others can still be made."""
        print(title, file=sys.stderr)
        try:
            self.done(make())
        except EXPECTED as error:
            self.close()
            self.state = None
            if (said := _explained(error, self)) is None:
                traceback.print_exception(error)
                said = f"{type(error).__name__}: {error}"
            print(f"{self.program}: {place}: {' '.join(said.split())}", file=sys.stderr)
            return False
        return True

    def repeats(self, words: Sequence[str]) -> None:
        """The run goes on by the command line that began it, with `--resume`, and not from one state."""
        self.again = [*words, *(() if "--resume" in words else ("--resume",))]

    def how_to_resume(self) -> str:
        """The end of a line about an early end: what goes on from what was saved, if anything was."""
        words = self.again
        if not words and self.state is not None and self.state.exists():
            words = ["--resume", str(self.state)]
        script = [sys.executable, sys.argv[0]] if sys.argv[0].endswith(".py") else [self.program]
        return f"; to go on: {shlex.join([*script, *words])}" if words else ""

    def close(self) -> None:
        """Nothing is under way any more."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


def _write_quietly(text: bytes) -> None:
    with suppress(OSError):
        os.write(2, text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line on `argv` (that of the process when None); the exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    return guarded(PROGRAM, lambda console: _run(words, console))


def guarded(program: str, run: Callable[[Console], None]) -> int:
    """Run, and turn the ways of ending into exit codes; what went wrong is said in one line on stderr."""
    with Console(program) as console, handled():
        try:
            run(console)
            if sys.stdout is not None:
                sys.stdout.flush()
        except BrokenPipeError:  # whoever read the output has read enough
            sys.stdout = None  # type: ignore[assignment]  # nothing is left to flush at exit
        except EXPECTED as error:
            if (said := _explained(error, console)) is None:
                raise
            bad = isinstance(error, InputError) or (isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG)
            return _complain(console, said, EXIT_BAD_INPUT if bad else EXIT_FAILED)
        except KeyboardInterrupt as stop:
            by = f" by {stop}" if isinstance(stop, Stopped) else ""
            code = stop.code if isinstance(stop, Stopped) else EXIT_INTERRUPTED
            return _complain(console, f"interrupted{by}", code)
        return EXIT_DONE


def _explained(error: Exception, console: Console) -> str | None:
    """A line about an error that can be expected; None for any other."""
    if isinstance(error, InputError | RunError | OSError):
        return str(error)
    return explain_out_of_memory(error, console.doing, console.leanest()) if is_out_of_memory(error) else None


def _complain(console: Console, message: str, code: int) -> int:
    with suppress(OSError):  # a terminal that is gone reads no more
        console.close()
        print(f"{console.program}: {' '.join(message.split())}{console.how_to_resume()}", file=sys.stderr)
    return code


def _run(words: Sequence[str], console: Console) -> None:
    given = given_values(build_parser(PROGRAM).parse_args(words))
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
    if (left := what_remains(options, {})) is None:
        return None
    inputs = {**inputs, **inputs_of(left)}
    check_outputs(left, inputs, replace=left.overwrite)
    check_run(left)
    check_resume(left, {})
    return partial(_make, fitted(left, work_of(left), console), inputs, console)


def _make(options: Options, inputs: Inputs, console: Console) -> Iterable[Path]:
    with claimed(options, inputs) as claim:
        load_pytorch(console)
        from wan2.pipeline import generate

        console.about(options, work_of(options))
        return generate(options, claim, progress=console).written


def load_pytorch(console: Console) -> None:
    """The first thing that takes seconds; names are held by then."""
    keep_compiled()
    if "torch" not in sys.modules:
        console.stage("Loading PyTorch")


def fitted(options: Options, work: Work, console: Console) -> Options:
    """The options within `--vram_budget`; what was chosen for that is told."""
    made = within_budget(options, work)
    if told := chosen(options, made):
        console.chose(f"to fit --vram_budget {options.vram_budget:g}: {told}")
    return made


def keep_compiled() -> None:
    """What `--compile` makes stays in a folder, for the next run; the environment may name another."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(COMPILED.absolute()))
