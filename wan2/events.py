"""Whoever watches a run: what it is told, and what it may ask. Knows nothing of how a run works."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path


class Progress(Protocol):
    """Whoever watches a run."""

    def stage(self, name: str, total: int = 1) -> None:
        """A stage of `total` steps begins."""
        ...

    def advance(self, steps: int = 1) -> None:
        """So many more steps of the stage are done."""
        ...

    def say(self, text: str) -> None:
        """Something was settled that is worth a line."""
        ...

    def note(self, text: str) -> None:
        """Something went wrong that does not end the run."""
        ...

    def kept(self, state: Path) -> None:
        """The run could go on from this file."""
        ...

    def stepwise(self) -> AbstractContextManager[Callable[[], bool]]:
        """A block in which an interrupt waits for the end of a step: whether one does."""
        ...


class Silent:
    """Watches nothing, interrupts nothing."""

    def stage(self, name: str, total: int = 1) -> None:
        """Nothing to do."""

    def advance(self, steps: int = 1) -> None:
        """Nothing to do."""

    def say(self, text: str) -> None:
        """Nothing to do."""

    def note(self, text: str) -> None:
        """Nothing to do."""

    def kept(self, state: Path) -> None:
        """Nothing to do."""

    def stepwise(self) -> AbstractContextManager[Callable[[], bool]]:
        """Nobody interrupts."""
        return nullcontext(lambda: False)
