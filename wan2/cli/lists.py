"""Several videos of one command, a wave at a time: what cannot be made is reported and passed over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from wan2.cli.console import Console
from wan2.cli.flags import line_of, spelled
from wan2.errors import Ended, InputError, RunError
from wan2.files import Busy, held
from wan2.plan.taken import TakenError
from wan2.request.prompt_file import Line
from wan2.run.job import Job

Planned = TypeVar("Planned")
SHOWN = 5


@dataclass(frozen=True)
class Item:
    """One of several videos.

    Attributes:
        place: how messages about it begin.
        title: its name while it is made.
        kind, number: what it is in a sum of several: `scenes.txt, line` and 3.
        values: the values of the command line for it.
        line: the line of the list it comes from, if it comes from one.
    """

    place: str
    title: str
    kind: str
    number: int
    values: Mapping[str, Any]
    line: Line | None = None


def items_of(lines: Sequence[tuple[Line, Mapping[str, Any]]]) -> list[Item]:
    """The videos of a list."""
    return [
        Item(line.place, f"{line.path.name}:{line.number}", f"{line.path}, line", line.number, values, line)
        for line, values in lines
    ]


@contextmanager
def held_names(items: Sequence[Item], shard: tuple[int, int] | None) -> Iterator[None]:
    """A block in which no other process makes several videos under the same names, or the same shard of them.

    Raises:
        RunError: another one does.
    """
    first: Path = items[0].values["save_path"]
    part = "" if shard is None else "-{}-of-{}".format(*shard)
    name = first.with_name(f"{first.stem.rpartition('-')[0]}-list{part}")
    with ExitStack() as stack:
        try:
            stack.enter_context(held(name))
        except Busy as busy:
            rule = "another process is making a list there now; nothing was touched"
            raise RunError(f"`save_path` {first.parent}: {rule}") from busy
        yield


def plan_each(
    items: Sequence[Item], plan: Callable[[Item], Planned], console: Console
) -> tuple[list[tuple[Item, Planned]], list[tuple[Item, str]]]:
    """What every item leads to; and of those that lead to nothing, why.

    Raises:
        InputError: no item leads to anything, why the first does not; or an item would write where something stands
            that is not to be replaced.
    """
    planned, broken = _plan_all(items, plan, console)
    if not planned:
        what = "lines" if items[0].line is not None else "seeds"
        others = f" (none of the other {len(broken) - 1} {what} will do either)" if len(broken) > 1 else ""
        raise InputError(broken[0][1] + others)
    return planned, broken


def _plan_all(
    items: Sequence[Item], plan: Callable[[Item], Planned], console: Console
) -> tuple[list[tuple[Item, Planned]], list[tuple[Item, str]]]:
    planned: list[tuple[Item, Planned]] = []
    broken: list[tuple[Item, str]] = []
    for item in items:
        with Ended(partial(_pass_over, item, broken, console.flags)):
            planned.append((item, plan(item)))
    return planned, broken


def plan_anew(
    todo: Sequence[tuple[Item, Job]], plan: Callable[[Item], Job], console: Console
) -> tuple[Sequence[tuple[Item, Job]], list[Item]]:
    """Videos planned once more if model files have changed since; and the items that can no longer be made."""
    changed = todo[0][1].plan.files.renew()
    if changed is None:
        return todo, []
    console.note(f"{changed}: has changed; the videos that are left are planned anew")
    planned, broken = _plan_all([item for item, _ in todo], plan, console)
    for _, said in broken:
        console.note(f"{said}; passed over")
    return planned, [item for item, _ in broken]


def _pass_over(item: Item, broken: list[tuple[Item, str]], flags: frozenset[str], error: BaseException) -> int:
    """Any failure of an item is that item's, but for what would be lost by making the others."""
    said = line_of(error, flags) if isinstance(error, InputError | OSError) else f"{type(error).__name__}: {error}"
    place = spelled(item.place, flags)
    placed = said if said.startswith(place) else f"{place}: {said}"
    if isinstance(error, TakenError):
        raise InputError(placed) from error
    broken.append((item, placed))
    return 1


def make_each(
    planned: Sequence[tuple[Item, Job]],
    broken: Sequence[tuple[Item, str]],
    console: Console,
    plan: Callable[[Item], Job],
    make: Callable[[Sequence[tuple[Item, Job]]], Sequence[Item]],
    wave: int,
) -> None:
    """Make every video, whatever becomes of the others.

    Args:
        planned: items, and what is made of each.
        broken: items of which no video can be made, and why.
        console: shows what comes of each.
        plan: plans an item.
        make: makes the videos of one wave; those that failed.
        wave: how many are made together.

    Raises:
        RunError: some videos were not made; which.
    """
    for _, said in broken:
        console.note(f"{said}; passed over")
    todo = [(item, job) for item, job in planned if not job.plan.finished]
    count = len(planned) + len(broken)
    if ready := len(planned) - len(todo):
        console.note(f"{ready} of {count} videos are there already")
    failed = [item for item, _ in broken]
    while todo:
        left, lost = plan_anew(todo, plan, console)
        batch, todo = left[:wave], list(left[wave:])
        failed += [*lost, *(make(batch) if batch else [])]
    refuse_failed(failed, count)


def refuse_failed(failed: Sequence[Item], count: int) -> None:
    """Raise `RunError` if some of so many videos were not made; which."""
    if failed:
        raise RunError(f"{len(failed)} of {count} videos failed: {_named(failed)}")


def _named(items: Sequence[Item]) -> str:
    numbers = sorted(item.number for item in items)
    more = f" and {len(numbers) - SHOWN} more" if len(numbers) > SHOWN else ""
    return f"{items[0].kind} {', '.join(map(str, numbers[:SHOWN]))}{more}"
