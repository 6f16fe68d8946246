"""A failure of one plan of a wave is kept from the others. Knows nothing of what the stages do."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import TYPE_CHECKING

from wan2.errors import Ended
from wan2.events import Event, Failed

if TYPE_CHECKING:
    from wan2.run.job import Active

Events = Generator[Event]


def each(active: Sequence[Active], stage: Callable[[Active], Events]) -> Events:
    """A stage of every plan that has not ended, one after the other."""
    for one in active:
        if not one.ended:
            yield from only([one.number], stage(one), [one])


def all_of(active: Sequence[Active], stage: Callable[[Sequence[Active]], Events]) -> Events:
    """A stage of all plans that have not ended, together: what fails there fails for all of them."""
    left = [one for one in active if not one.ended]
    if left:
        yield from only([one.number for one in left], stage(left), left)


def only(numbers: Sequence[int], events: Events, active: Sequence[Active] = ()) -> Events:
    """The events of a block; a failure ends the plans it belongs to, and is an event for each."""
    errors: list[BaseException] = []

    def keep(error: BaseException) -> int:
        errors.append(error)
        return 1

    with Ended(keep), closing(events):
        yield from events
    ended = {one.number for one in active if one.ended}
    for one in active:
        if errors and not one.ended:
            one.end()
    try:
        yield from (Failed(number, errors[0]) for number in numbers if errors and number not in ended)
    finally:
        errors.clear()  # an error refers to this frame, and to every tensor of the run that it ended
