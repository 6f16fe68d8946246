"""What a person sees of a run: its stages, its warnings, its end. Knows nothing of how a run works.

File names go to stdout, everything else to stderr. Every text is made safe to show here, and only here.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from wan2.cli.flags import line_of, spelled
from wan2.cli.interrupts import waiting
from wan2.cli.out_of_memory import explain_out_of_memory
from wan2.cli.streams import Steady
from wan2.errors import InputError, RunError, is_out_of_memory
from wan2.events import (
    Event,
    Failed,
    Finished,
    FramesDecoded,
    Noted,
    Settled,
    Stage,
    StageBegan,
    StateSaved,
    StepTaken,
)
from wan2.models.kernel_table import AUTO
from wan2.plan.budget import leanest
from wan2.shown import LONGEST, as_lines, command, one_line, shortened

if TYPE_CHECKING:
    from tqdm import tqdm

    from wan2.plan.budget import Part
    from wan2.plan.plan import Plan

EXIT_DONE, EXIT_FAILED, EXIT_BAD_INPUT = 0, 1, 2
STAGES = {
    Stage.LOAD: "Loading PyTorch",
    Stage.ENCODE_TEXT: "Reading the text",
    Stage.PREPARE_PREVIEWS: "Preparing previews",
    Stage.QUANTISE: "Writing fp8 weights",
    Stage.DENOISE: "Denoising",
    Stage.DECODE: "Decoding",
}
PARTS: dict[Stage, Part] = {
    Stage.ENCODE_TEXT: "text_encoder",
    Stage.DENOISE: "transformer",
    Stage.DECODE: "vae",
}


class Console:
    """Shows the stages of a run on stderr, a bar with the time left for those of several steps.

    program: begins the lines of warnings and errors. script: the words that start it again. out: takes file names.
    """

    def __init__(self, program: str, script: Sequence[str], out: Steady) -> None:
        self.program, self.script, self.out = program, script, out
        self.flags: frozenset[str] = frozenset()
        self.quiet = False
        self.state: Path | None = None
        self.again: list[str] = []
        self.also: list[str] = []
        self.doing: Stage | None = None
        self._about: Plan | None = None
        self._bar: tqdm[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def stage(self, name: str, total: int = 1) -> None:
        """A stage of `total` steps begins."""
        self.close()
        if self.quiet:
            return
        if total > 1:
            from tqdm import tqdm

            quiet = not sys.stderr.isatty()
            self._bar = tqdm(total=total, desc=name, file=sys.stderr, mininterval=10.0 if quiet else 0.1)
        else:
            self._line(name)

    def advance(self, steps: int = 1) -> None:
        """So many more steps of the stage are done."""
        if self._bar is not None:
            self._bar.update(steps)

    def say(self, text: str) -> None:
        """Something was settled that is worth a line on stderr."""
        if not self.quiet:
            self._line(text)

    def note(self, text: str) -> None:
        """Something worth knowing that ends nothing, in one line on stderr."""
        self._line(f"{self.program}: warning: {spelled(text, self.flags)}")

    def chose(self, text: str) -> None:
        """What was settled for the user, in one line on stderr."""
        if not self.quiet:
            self._line(f"{self.program}: {spelled(text, self.flags)}")

    def planned(self, plan: Plan) -> None:
        """What was chosen for `vram_budget`, and what looks like a mistake."""
        if plan.chosen:
            self.chose(f"to fit `vram_budget` {plan.request.compute.vram_budget:g}: {plan.chosen}")
        for warning in plan.warnings:
            self.note(warning)

    def about(self, plan: Plan) -> None:
        """The run that begins; `leanest` knows of it."""
        self._about, cards = plan, plan.request.cards
        self.also = ["--gpus", str(cards.gpus)] if cards.gpus > 1 else []
        if cards.parallel != AUTO:
            self.also += ["--parallel", cards.parallel]

    def leanest(self) -> str:
        """The settings with which the present stage would take the least memory, if any would."""
        if self._about is None or self._about.work is None or self.doing is None:
            return ""
        return spelled(leanest(self._about.request, self._about.work, PARTS.get(self.doing)), self.flags)

    def stepwise(self) -> AbstractContextManager[Callable[[], bool]]:
        """A block in which Ctrl-C waits for the end of a step: whether one does."""
        # Not through the stream: the signal may arrive while something is written to it.
        told = f"\n{self.program}: finishing this step; Ctrl-C again to stop at once\n".encode()
        return waiting(lambda: _write_quietly(told))

    def show(self, text: str) -> None:
        """Several lines that were asked for, on stdout."""
        self.out.write(as_lines(spelled(text, self.flags)) + "\n")
        self.out.flush()

    def done(self, written: Iterable[Path]) -> None:
        """A video is finished: on stdout, where everything lies, the main thing first."""
        self.close()
        self.state = None
        for path in written:
            self.out.write_path(path)

    def event(self, event: Event, title: str = "") -> None:
        """Show what happened to a plan. title: which of several it is."""
        match event:
            case StageBegan():
                self._began(event, title)
            case StepTaken():
                self.advance()
            case FramesDecoded():
                self.advance(len(event.frames))
            case Settled():
                self.say(spelled(event.text, self.flags))
            case Noted():
                self.note(event.text)
            case StateSaved():
                self.state = event.path
            case Finished():
                self.done(event.files)
            case Failed():
                self.close()
                self.state = None
                self._line(f"{self.program}: {spelled(title, self.flags)}: {self._explained(event.error)}")

    def _began(self, event: StageBegan, title: str) -> None:
        name = f"Writing {event.of}" if event.of else STAGES[event.stage]
        self.stage(f"{title}: {name}" if title else name, event.total)
        self.doing = event.stage
        if event.done:
            self.advance(event.done)

    def failed(self, error: BaseException) -> int:
        """The run ended by an error: says which, and how to go on; the exit code."""
        self.close()
        long = isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG
        return self.complain(
            self._explained(error), EXIT_BAD_INPUT if isinstance(error, InputError) or long else EXIT_FAILED
        )

    def complain(self, message: str, code: int) -> int:
        """The last line of a run that did not end well; gives back its exit code."""
        self.close()
        self._line(f"{self.program}: {message}", self.how_to_resume())
        return code

    def repeats(self, words: Sequence[str]) -> None:
        """The run goes on by the command line that began it, with `--resume`, and not from one state."""
        self.again = [*words, *(() if "--resume" in words else ("--resume",))]

    def how_to_resume(self) -> str:
        """The end of a line about an early end: what goes on from what was saved, if anything was."""
        words = self.again
        if not words and self.state is not None and self.state.exists():
            words = ["--resume", str(self.state), *self.also]
        if not words:
            return ""
        line = command([*self.script, *words])
        return f"; to go on: {line if len(line) <= LONGEST else 'the same command line with --resume'}"

    def close(self) -> None:
        """Nothing is under way any more."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _explained(self, error: BaseException) -> str:
        """A line about an error; the traceback of one that nobody expected is shown before."""
        if isinstance(error, InputError | RunError | OSError):
            return line_of(error, self.flags)
        if is_out_of_memory(error):
            return explain_out_of_memory(error, self.doing, self.leanest())
        told = traceback.TracebackException.from_exception(error)
        self._print(as_lines("".join(told.format()).rstrip("\n")))
        return shortened(" ".join("".join(told.format_exception_only()).split()))

    def _line(self, text: str, command: str = "") -> None:
        self._print(one_line(text) + command)

    def _print(self, text: str) -> None:
        if self._bar is not None:
            self._bar.clear()
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()


def _write_quietly(text: bytes) -> None:
    with suppress(OSError):
        os.write(2, text)
