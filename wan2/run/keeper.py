"""Saves how far a run has come while it goes on, and when it ends early. Knows nothing of how latents are made."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from wan2.events import Event, Noted, StateSaved
from wan2.request.presets import SAVE_SECONDS
from wan2.run.state import save_state

if TYPE_CHECKING:
    from wan2.files import Whole
    from wan2.run.footage import Footage
    from wan2.sampling.denoise import DenoiseStep


@dataclass(frozen=True)
class StateFile:
    """Where a state is written: the file, and how it appears whole; of which plan of a wave.

    footage: the latents that come from elsewhere, which are kept in it, too.
    """

    plan: int
    path: Path
    whole: Whole
    footage: Footage | None = None


@dataclass
class Keeper:
    """Keeps the last good step of one run in a file; use it in a `with` around the steps.

    However the block ends, the last step is in the file afterwards: until everything is in its place, a run can go on.
    A file that cannot be written ends no run: that is an event, and tried again after the next step.

    file: where. every: steps between two saves; 0 is by the clock. notes, texts: what `save_state` gets, asked for at
    each save. late: where what happens at the end of the block goes.
    """

    file: StateFile
    every: int
    notes: Callable[[], Mapping[str, Any]]
    texts: Callable[[], Mapping[str, Any]]
    late: list[Event]
    last: DenoiseStep | None = None
    saved: bool = True
    since: float = field(default_factory=time.monotonic)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.saved:
            self.late.append(self.save())

    def took(self, step: DenoiseStep) -> None:
        """Remember a step."""
        self.last, self.saved = step, False

    def is_due(self, step: DenoiseStep) -> bool:
        """Whether it is time to save the step that was remembered."""
        passed = time.monotonic() - self.since
        return (step.index + 1) % self.every == 0 if self.every else passed >= SAVE_SECONDS

    def save(self) -> Event:
        """Write the last step."""
        if self.last is None:
            raise ValueError("no step was taken")
        try:
            self.file.path.parent.mkdir(parents=True, exist_ok=True)
            file = self.file
            save_state(file.path, self.last, self.notes(), self.texts(), file.whole, file.footage)
        except OSError as error:
            return Noted(self.file.plan, f"the state could not be saved: {error}")
        self.saved, self.since = True, time.monotonic()
        return StateSaved(self.file.plan, self.file.path)
