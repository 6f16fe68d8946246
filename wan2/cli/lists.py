"""Many videos, one a line of a file: what cannot be made is told and passed over. Knows nothing of how one is made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from wan2.errors import Ended, InputError, RunError
from wan2.files import Busy, held
from wan2.plan.taken import TakenError
from wan2.request.prompt_file import Line

Planned = TypeVar("Planned")
Lines = Sequence[tuple[Line, Mapping[str, Any]]]
"""Lines of a file, and for each the values that the command line gives for it."""
Make = Callable[[], Iterable[Path]]
"""Makes one video: the files that it leaves."""

SHOWN = 5


class Teller(Protocol):
    """Whoever is told how a list comes along."""

    def stage(self, name: str, total: int = 1) -> None:
        """A stage of `total` steps begins."""
        ...

    def note(self, text: str) -> None:
        """Something worth knowing that ends nothing."""
        ...

    def attempt(self, make: Make, place: str, title: str) -> bool:
        """Make one video; whether that went well. What did not is told."""
        ...


@contextmanager
def held_list(lines: Lines) -> Iterator[None]:
    """A block in which no other process makes a list under the same names.

    Raises:
        RunError: another one does.
    """
    first = lines[0][1]["save_path"]
    name = first.with_name(f"{first.stem.rpartition('-')[0]}-list")
    with ExitStack() as stack:
        try:
            stack.enter_context(held(name))
        except Busy as busy:
            where = f"--save_path {first.parent}"
            raise RunError(f"{where}: another process is making a list there now; nothing was touched") from busy
        yield


def plan_each(
    lines: Lines, plan: Callable[[Line, Mapping[str, Any]], Planned]
) -> tuple[list[tuple[Line, Planned]], list[tuple[Line, str]]]:
    """What every line leads to; and of those that lead to nothing, why.

    Raises:
        InputError: no line leads to anything, why the first does not; or a line would write where something stands
            that is not to be replaced.
    """
    planned: list[tuple[Line, Planned]] = []
    broken: list[tuple[Line, str]] = []
    for line, given in lines:
        with Ended(partial(_pass_over, line, broken)):
            planned.append((line, plan(line, given)))
    if not planned:
        others = f" (none of the other {len(broken) - 1} lines will do either)" if len(broken) > 1 else ""
        raise InputError(broken[0][1] + others)
    return planned, broken


def _pass_over(line: Line, broken: list[tuple[Line, str]], error: BaseException) -> int:
    """Any failure of a line is that line's, but for what would be lost by making the list."""
    said = str(error) if isinstance(error, InputError | OSError) else f"{type(error).__name__}: {error}"
    placed = said if said.startswith(line.place) else f"{line.place}: {said}"
    if isinstance(error, TakenError):
        raise InputError(placed) from error
    broken.append((line, placed))
    return 1


def make_each(planned: Sequence[tuple[Line, Make | None]], broken: Sequence[tuple[Line, str]], teller: Teller) -> None:
    """Make the video of every line, whatever becomes of the others.

    Args:
        planned: lines, and how the video of each is made; None when it is there already.
        broken: lines of which no video can be made, and why.
        teller: told what comes of each.

    Raises:
        RunError: some videos were not made; which.
    """
    for _, said in broken:
        teller.note(f"{said}; passed over")
    todo = [(line, make) for line, make in planned if make is not None]
    count = len(planned) + len(broken)
    if ready := len(planned) - len(todo):
        teller.note(f"{ready} of {count} videos are there already")
    failed = [line for line, _ in broken]
    for number, (line, make) in enumerate(todo, 1):
        if not teller.attempt(make, line.place, f"{line.path.name}:{line.number} ({number} of {len(todo)})"):
            failed.append(line)
    if failed:
        raise RunError(f"{len(failed)} of {count} videos failed: {_named(failed)}")


def _named(lines: Sequence[Line]) -> str:
    numbers = sorted(line.number for line in lines)
    more = f" and {len(numbers) - SHOWN} more" if len(numbers) > SHOWN else ""
    return f"{lines[0].path}, line {', '.join(map(str, numbers[:SHOWN]))}{more}"
