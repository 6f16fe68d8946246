"""What changed in a film since it was last looked at, for one open page. Looks at files only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from holocine_ext.studio.film import Film
from holocine_ext.studio.takes import Takes
from holocine_ext.studio.workers import Workers


class Watch:
    """Remembers what one page was told.

    Args:
        film: its boards are watched.
        takes: their coming and going is watched.
        queue: gives the queue as JSON values.
        workers: who makes what is in it.
    """

    def __init__(self, film: Film, takes: Takes, queue: Callable[[], list[Any]], workers: Workers) -> None:
        self._looks: dict[str, Callable[[], object]] = {
            "boards": film.boards,
            "queue": lambda: {"jobs": queue(), "trouble": workers.trouble},
            "takes": takes.stamp,
        }
        self._told: dict[str, object] = {}

    def changes(self) -> Iterator[tuple[str, object]]:
        """The names and values of what is not as it was told."""
        found = [(name, look()) for name, look in self._looks.items()]
        changed = [(name, value) for name, value in found if self._told.get(name) != value]
        self._told.update(changed)
        return iter(changed)
