"""A model of PyTorch's CUDA allocator: how much of a card a list of allocations takes, gaps between tensors included.

With `expandable_segments`, as the commands set it on Linux, memory is one range of addresses, backed by pages of 20 MB
while anything lies on them; where memory is short, pages on which nothing lies go back. A freed piece joins its
neighbours; a request takes the smallest piece that holds it, and the range grows if none does. Requests of up to 1 MB
have a range of their own, of pages of 2 MB.

Source: PyTorch 2.13, c10/cuda/CUDACachingAllocator.cpp.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable, Sequence

from benchmarks.fake_card.notes import Memory

ROUNDED_TO = 512
SMALL = 1 << 20
SMALL_PAGE, LARGE_PAGE = 2 << 20, 20 << 20


class Range:
    """A range of addresses that grows."""

    def __init__(self, page: int) -> None:
        self.page, self.end = page, 0
        self._free: list[tuple[int, int]] = []  # (size, start), sorted
        self._starts: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._live: dict[object, tuple[int, int]] = {}
        self._used: Counter[int] = Counter()

    @property
    def backed(self) -> int:
        """Bytes of the pages on which something lies."""
        return len(self._used) * self.page

    def take(self, key: object, size: int) -> None:
        """A request, by its name."""
        found = bisect.bisect_left(self._free, (size, -1))
        if found < len(self._free):
            whole, start = self._free[found]
            self._remove(start)
            if whole > size:
                self._add(start + size, whole - size)
        else:
            start = self._ends.get(self.end, self.end)  # a free piece at the end grows
            if start < self.end:
                self._remove(start)
            self.end = start + size
        self._live[key] = start, size
        self._used.update(self._pages(start, size))

    def free(self, key: object) -> None:
        """What was requested by that name is not needed any more."""
        start, size = self._live.pop(key)
        self._used.subtract(self._pages(start, size))
        self._used += Counter()
        if start in self._ends:
            before = self._ends[start]
            size, start = size + self._remove(before), before
        if start + size in self._starts:
            size += self._remove(start + size)
        self._add(start, size)

    def _pages(self, start: int, size: int) -> range:
        return range(start // self.page, (start + size - 1) // self.page + 1)

    def _add(self, start: int, size: int) -> None:
        self._starts[start], self._ends[start + size] = size, start
        bisect.insort(self._free, (size, start))

    def _remove(self, start: int) -> int:
        size = self._starts.pop(start)
        del self._ends[start + size], self._free[bisect.bisect_left(self._free, (size, start))]
        return size


def least(events: Iterable[Memory], before: Sequence[int] = ()) -> int:
    """The least bytes of a card with which a list of allocations survives.

    before: sizes of what lies there from the start to the end.
    """
    small, large = Range(SMALL_PAGE), Range(LARGE_PAGE)
    sizes: dict[object, Range] = {}
    most = 0

    def take(key: object, nbytes: int) -> None:
        size = max(ROUNDED_TO, -(-nbytes // ROUNDED_TO) * ROUNDED_TO)
        sizes[key] = small if size <= SMALL else large
        sizes[key].take(key, size)

    for number, nbytes in enumerate(before):
        take(("before", number), nbytes)
    for event in events:
        if event.what == "taken":
            take(event.key, event.nbytes)
        elif event.key in sizes:
            sizes.pop(event.key).free(event.key)
        most = max(most, small.backed + large.backed)
    return most
