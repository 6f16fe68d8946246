"""Saves how far a run has come while it goes on, and when it ends early. Knows nothing of how latents are made."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from wan2.plan.saved import plain_options, save_state
from wan2.request.presets import SAVE_SECONDS
from wan2.run.record import versions

if TYPE_CHECKING:
    from wan2.events import Progress
    from wan2.files import Whole
    from wan2.run.generate import Run
    from wan2.run.machine import Machine
    from wan2.sampling.denoise import DenoiseStep


@dataclass
class Keeper:
    """Keeps the last good step of one run in a file; use it in a `with` around the steps.

    However the block ends, the last step is in the file afterwards: until everything is in its place, a run can go on.
    A file that cannot be written ends no run: that is noted, and tried again after the next step.

    whole: how the file appears whole. every: steps between two saves; 0 is by the clock. notes, plan: what `save_state`
    is told, asked for at each save.
    """

    path: Path
    whole: Whole
    every: int
    notes: Callable[[], Mapping[str, Any]]
    plan: Callable[[], Mapping[str, Any]]
    progress: Progress
    last: DenoiseStep | None = None
    saved: bool = True
    since: float = field(default_factory=time.monotonic)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.saved:
            self.save()

    def took(self, step: DenoiseStep) -> None:
        """Remember a step."""
        self.last, self.saved = step, False

    def save_when_due(self, step: DenoiseStep) -> None:
        """Save the step that was remembered, when it is time."""
        passed = time.monotonic() - self.since
        if (step.index + 1) % self.every == 0 if self.every else passed >= SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Write the last step."""
        if self.last is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            save_state(self.path, self.last, self.notes(), self.plan(), self.whole)
        except OSError as error:
            self.progress.note(f"the state could not be saved: {error}")
            return
        self.progress.kept(self.path)
        self.saved, self.since = True, time.monotonic()


def keep_state(run: Run, text: str) -> Keeper:
    """What saves the state of a run; `text` is the hash of its encoded prompts."""
    options, recorder = run.options, run.recorder

    def notes() -> dict[str, Any]:
        return {
            "options": plain_options(options),
            "scene": dict(recorder.scene),
            "checkpoints": recorder.checkpoints,
            "versions": versions(),
            "text": text,
            "machine": machine_notes(run.machine) | {"attention": recorder.attention},
            "seconds": recorder.spent(),
            "passes": recorder.passes,
        }

    def plan() -> dict[str, Any]:
        return {"plan": {"fps": options.fps}} | ({} if options.no_metadata else {"record": recorder.so_far()})

    return Keeper(run.claim.paths.state, run.claim.whole, options.save_every, notes, plan, run.progress)


def machine_notes(machine: Machine) -> dict[str, Any]:
    """What of the machine decides the latents to the last bit."""
    used = machine.as_record()
    return {name: used[name] for name in ("device", "dtype")}
